/* SPDX-License-Identifier: MIT */
/*
 * Bodies of requests about identities: an object, and all that is wrong with its members at once.
 */
#ifndef WORKER_IDENTITY_BODY_H
#define WORKER_IDENTITY_BODY_H

#include "common/json.h"
#include "worker/http/http.h"

/* The body as an object of the request's arena; an empty one is {}. NULL: the request has been refused. */
const json_t *body_object(struct http_request *req);

struct body_problems {
	json_t *list; /* of {field, code, message}, in the request's arena */
	struct error first;
};
void body_problems_begin(struct http_request *req, struct body_problems *p);
void body_problem(struct body_problems *p, const struct error *err);
/*
 * A string member of min to max bytes (min 0: may be absent, and is then ""), blanks around it cut off unless it is
 * `exact`. What is wrong is added to p.
 */
struct str body_text(struct body_problems *p, const json_t *body, const char *field, size_t min, size_t max,
		     bool exact);
/* Answers 400 with all of them; false: there are none. */
bool body_refused(struct http_request *req, struct body_problems *p);

#endif
