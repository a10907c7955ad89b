/* SPDX-License-Identifier: MIT */
/*
 * How alike are the meanings of positions (step.h): asks the embeddings server once, at the decision; every later run
 * reads the journal. Called by the engine. Without a server, or when it does not answer, the words have to do.
 */
#include "worker/engine/step.h"

#include "common/json.h"
#include "common/log.h"
#include "worker/agents/embed.h"
#include "worker/runner/journal.h"
#include "worker/worker.h"

#define ALIKE_ONE 1000000
#define ALIKE_PAYER "embeddings" /* the agent of the ledger's row */

/* n x n, in integers: the journal and what is computed from it hold no others. */
static json_t *alike_matrix(const float *vectors, size_t n, size_t dim)
{
	json_t *list = json_array();
	size_t i, k;

	for (i = 0; i < n; i++)
		for (k = 0; k < n; k++) {
			double c = i == k ? 1 : embed_cosine(vectors + i * dim, vectors + k * dim, dim);

			json_array_append_new(list, json_integer(c <= 0 ? 0 : (json_int_t)(c * ALIKE_ONE + 0.5)));
		}
	return list;
}

CO_FN static json_t *alike_ask(struct debate *d, const struct str *texts, size_t n, struct embed_bill *bill)
{
	json_t *value = json_pack("{s:s}", "source", "words");
	struct error err = ERROR_INIT;
	float *vectors;
	struct arena *a;
	size_t dim;

	if (!embed_configured(d->w->conf))
		return value;
	a = arena_new(0);
	if (embed_texts_billed(d->w, a, d->ctx.org_id, texts, n, &vectors, &dim, bill, &err)) {
		json_put_str(value, "source", STR("embeddings"));
		json_object_set_new(value, "ppm", alike_matrix(vectors, n, dim));
	} else {
		log_warn("debate", "positions are compared by their words", KV_S("reason", err.msg));
	}
	if (bill->tokens > 0) {
		json_put_int(value, "tokens_in", bill->tokens);
		json_put_int(value, "cost_micro", bill->cost_micro);
	}
	arena_free(a);
	return value;
}

static void alike_pay(struct db_batch *b, struct debate *d, void *arg, int64_t now_ms)
{
	const struct embed_bill *bill = arg;

	db_batch_add(
	    b,
	    "INSERT INTO usage_ledger (debate_id, step_key, org_id, workspace_id, user_id, agent, provider, model,"
	    " tokens_in, tokens_out, cost_micro, created_at) VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $8, 0, $9,"
	    " $10) ON CONFLICT (debate_id, step_key) DO NOTHING",
	    DB_ARGS(DB_S(d->plan.debate_id), DB_Z(ALIKE_PAYER "#1"), DB_S(d->ctx.org_id), DB_S(d->ctx.workspace_id),
		    DB_S(d->ctx.principal), DB_Z(ALIKE_PAYER), DB_Z(d->w->conf->embeddings.model), DB_I(bill->tokens),
		    DB_I(bill->cost_micro), DB_I(now_ms)),
	    1);
}

CO_FN bool step_alike(struct debate *d, const char *key, const struct str *texts, size_t n, const json_t **result)
{
	struct embed_bill bill = {0};
	struct step_write w;
	struct step s;
	json_t *value;
	bool ok;

	*result = step_done(d, key);
	if (*result != NULL)
		return true;
	if (!step_may_start(d, key))
		return false;
	value = alike_ask(d, texts, n, &bill);
	step_open(&s, d, key);
	w = (struct step_write){.state = "done", .starts = 1, .result = value};
	if (bill.tokens > 0) {
		w.extra = alike_pay;
		w.extra_arg = &bill;
	}
	ok = w.extra != NULL ? step_commit(&s, &w) : step_commit_later(&s, &w);
	step_close(&s);
	json_decref(value);
	*result = ok ? step_done(d, key) : NULL;
	return ok;
}
