/* SPDX-License-Identifier: MIT */
/*
 * Everything that is wrong with a request, collected and answered at once: the error envelope of the first problem with
 * a list "errors" of all, each {field, code, message}.
 */
#ifndef WORKER_HTTP_PROBLEMS_H
#define WORKER_HTTP_PROBLEMS_H

#include "worker/http/http.h"

#define PROBLEMS_MAX 32 /* further ones are not listed */

struct problems {
	struct error first; /* .code ERR_OK: nothing is wrong */
	json_t *list;
};

#define PROBLEMS_INIT ((struct problems){.list = NULL})

/* Adds one. `field` is what the client calls it. */
void problem_add(struct problems *p, enum err code, const char *field, const char *fmt, ...) PRINTF_FMT(4, 5);
/* Answers if anything is wrong, and frees the list; true: nothing is wrong, go on. */
bool problems_none(struct http_request *req, struct problems *p) MUST_CHECK;

#endif
