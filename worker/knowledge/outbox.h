/* SPDX-License-Identifier: MIT */
/*
 * What the engine calls when a debate has ended: the Knowledge Mound learns from it afterwards.
 */
#ifndef WORKER_KNOWLEDGE_OUTBOX_H
#define WORKER_KNOWLEDGE_OUTBOX_H

#include "common/context.h"
#include "common/db.h"

struct background_item;
struct worker;

/* Adds the row that says a debate's knowledge is to be written, to the batch that ends it. */
void knowledge_ended(struct db_batch *b, const struct context *ctx, struct str debate_id, int64_t at_ms);
/* That batch was committed: writes it now, on a coroutine of its own. */
void knowledge_hint(struct worker *w, const struct context *ctx, struct str debate_id);

/*
 * Adds what takes away the knowledge that is one debate's alone (its decision, dissent, evidence, changes of position)
 * to the batch that deletes it. Points of critique stay: they are counted over all debates. Waits; fails as db_query
 * does.
 */
CO_FN bool knowledge_forget(struct db *db, struct db_batch *b, const struct context *ctx, struct str debate_id,
			    struct error *err) MUST_CHECK;

/* A source of background (worker/runner/background.h): what the workspace knows, and was told by others. */
CO_FN bool knowledge_gather(struct worker *w, struct arena *a, const struct context *ctx, struct str task,
			    struct background_item **items, size_t *n, struct error *err);

#endif
