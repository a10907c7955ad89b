/* SPDX-License-Identifier: MIT */
/*
 * Bodies of requests that are JSON objects, and the answer to what is wrong with their members.
 */
#ifndef WORKER_HTTP_BODY_H
#define WORKER_HTTP_BODY_H

#include "common/json.h"
#include "worker/http/http.h"

/* The body as an object of the request's arena; an empty one is {}. NULL: it has been answered with 400. */
json_t *body_object(struct http_request *req);

/* ---- one field at a time ---- */

/* 400 for one field. Always false. */
bool body_reject(struct http_request *req, const char *field, const char *text);
/* 400 with every bad field ([{field, code, message}]): the envelope names the first, `errors` lists all. */
void body_reject_all(struct http_request *req, const struct error *err, json_t *problems);
/* A text of at most `max` bytes, cut of blanks at its ends; STR("") if absent. False: it has been answered. */
bool body_text_or_reject(struct http_request *req, const json_t *body, const char *field, size_t max,
			 struct str *out) MUST_CHECK;

/* ---- all that is wrong at once ---- */

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
