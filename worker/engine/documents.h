/* SPDX-License-Identifier: MIT */
/*
 * Texts that are given with a question, besides its context: `documents` of a creation body (rest-core 4.2). They are
 * part of the plan and reach the agents as material, each under a label of its own. Pure.
 */
#ifndef WORKER_ENGINE_DOCUMENTS_H
#define WORKER_ENGINE_DOCUMENTS_H

#include <jansson.h>

#include "common/arena.h"
#include "worker/engine/protocol.h"

#define DOCUMENTS_MAX 50
#define DOCUMENTS_CHARACTERS 100000 /* of all together, as many as `context` may have */
#define DOCUMENTS_TITLE 200

/*
 * Reads strings or {title?, content|text} into a list of {title, text}, in the arena; empty: there are none. What is
 * wrong is told to problem() and left out.
 */
json_t *documents_read(struct arena *a, const json_t *body, protocol_problem_fn *problem, void *arg);
/* Does a document name this word? */
bool documents_mention(const json_t *documents, struct str word);
/* Adds what taint_scan() finds in titles and texts to counts. */
void documents_taint(json_t *counts, const json_t *documents);
/* What a debate's object shows of them: [{label, title, characters}]. New reference. */
json_t *documents_view(const json_t *documents);

#endif
