/* SPDX-License-Identifier: MIT */
/*
 * What the handlers of debates share: the debate of the path, its creation, refusals.
 */
#ifndef WORKER_DEBATE_REQUEST_H
#define WORKER_DEBATE_REQUEST_H

#include "worker/debate/debate.h"
#include "worker/http/http.h"

static inline struct worker *request_worker(const struct http_request *req)
{
	return req->user;
}

/* The debate that parameter 0 of the path names. False: answered. */
CO_FN bool request_debate(struct http_request *req, struct debate_row *row) MUST_CHECK;
/*
 * The debate as an object, with what was said so far where there is no result yet. ctx: of the debate. New reference;
 * NULL: answered.
 */
CO_FN json_t *request_view(struct http_request *req, const struct context *ctx, const struct debate_row *row);
/* Are these tags: at most 20 strings of at most 100 bytes? False: answered. */
bool request_tags(struct http_request *req, const json_t *tags) MUST_CHECK;
/* Where a debate comes from that is not asked for by a body alone. All members may be NULL. */
struct request_origin {
	const json_t *plan;                                         /* of the debate whose protocol it takes over */
	void (*more)(struct db_batch *b, struct str id, void *arg); /* more to store with it, see debate_birth */
	void (*answer)(struct http_request *req, json_t *answer, struct str id, void *arg); /* more to tell */
	void *arg;
};
/* Creates a debate from a body and answers (rest-core 4.2). `from` may be NULL. */
CO_FN void request_create(struct http_request *req, json_t *body, const struct request_origin *from);
/* Refusal of an act that does not fit the debate's state: 400 is what clients know for it (rest-core 4.5). */
void request_refused(struct http_request *req, struct error *err);

#endif
