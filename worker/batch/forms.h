/* SPDX-License-Identifier: MIT */
/*
 * Private to the room: what matrix and graph debates share (forms_api.c), and their own parts.
 */
#ifndef WORKER_BATCH_FORMS_H
#define WORKER_BATCH_FORMS_H

#include "worker/batch/room.h"
#include "worker/http/http.h"

/* The creation body of a child: question, agents, mode, rounds as asked for, at most `most`. In the arena. */
json_t *forms_body(struct arena *a, const json_t *given, int64_t rounds, int64_t most);
/* The position that an item's debate came to, as one sentence; STR(""): none. */
struct str forms_position(struct arena *a, const struct batch_item *item);
/* Checks the first item's body and the webhook, stores the batch and answers. */
CO_FN void forms_submit(struct http_request *req, const json_t *given, const char *kind, const json_t *settings,
			const json_t *items);

/* matrix.c: the answer's own members, {results, universal_conclusions, …}. In the arena. */
json_t *matrix_document(struct arena *a, const struct batch_row *batch, const struct batch_item *items, size_t n);
CO_FN void matrix_submit(struct http_request *req);

/* graph.c: {graph {nodes, edges}, branches, merge_results, …}. In the arena. */
json_t *graph_document(struct arena *a, const struct batch_row *batch, const struct batch_item *items, size_t n);
CO_FN void graph_submit(struct http_request *req);

#endif
