/* SPDX-License-Identifier: MIT */
/*
 * The table of effects of a debate's end and the adapters of those areas that know nothing of debates. Called by
 * step_finish.c while it builds the finishing batch. Neither waits nor reads a clock.
 */
#include "worker/runner/effects.h"

#include "common/json.h"
#include "common/log.h"
#include "worker/audit/audit.h"
#include "worker/delivery/delivery.h"
#include "worker/knowledge/outbox.h"
#include "worker/memory/consensus_memory.h"
#include "worker/memory/continuum.h"
#include "worker/ranking/ranking.h"
#include "worker/receipts/receipt.h"
#include "worker/traces/traces.h"
#include "worker/worker.h"

static bool effect_completed(const struct debate_ending *e)
{
	return strcmp(e->status, "completed") == 0;
}

static bool effect_receipt(struct db_batch *b, struct debate_ending *e, struct error *err)
{
	return !effect_completed(e) ||
	       receipt_add(b, e->w->receipt_keys, e->ctx, e->result, e->at_ms, &e->receipt, err);
}

/* Demo agents are never rated; nor is anybody on ratings that were not read (a cancel came in between). */
static bool effect_ratings(struct db_batch *b, struct debate_ending *e, struct error *err)
{
	if (!effect_completed(e) || e->receipt == NULL || e->ratings == NULL || json_get_bool(e->result, "demo", false))
		return true;
	return ranking_add(b, e->ctx, e->result, e->ratings, e->events, err);
}

static void effect_number(json_t *o, const char *key, const json_t *from, const char *ppm)
{
	json_object_set_new(o, key, json_real((double)json_get_int(from, ppm, 0) / 1e6));
}

/* What the receiver of callback_url is told. A debate out of time has failed, as the API says it. */
static bool effect_callback(struct db_batch *b, struct debate_ending *e, struct error *err)
{
	const json_t *r = e->result, *consensus = json_get_obj(r, "consensus");
	const char *status = strcmp(e->status, "timeout") == 0 ? "failed" : e->status;
	struct str id = json_get_str(r, "debate_id", STR("")), reason = json_get_str(r, "reason", STR(""));
	json_t *o = json_object();

	(void)err;
	json_put_str(o, "debate_id", id);
	json_put_str(o, "status", str_of(status));
	json_put_str(o, "result", json_get_str(r, "final_answer", STR("")));
	json_put_str(o, "outcome", json_get_str(r, "status", STR("")));
	json_put_str(o, "task", json_get_str(r, "task", STR("")));
	json_object_set_new(o, "consensus_reached", json_boolean(json_get_bool(consensus, "reached", false)));
	effect_number(o, "confidence", consensus, "confidence_ppm");
	json_put_str(o, "winner", json_get_str(r, "winner", STR("")));
	json_put_int(o, "rounds_used", json_get_int(r, "rounds_used", 0));
	effect_number(o, "cost_usd", r, "cost_micro");
	json_object_set_new(o, "duration_seconds", json_real((double)json_get_int(r, "running_ms", 0) / 1000.0));
	json_object_set_new(o, "demo", json_boolean(json_get_bool(r, "demo", false)));
	json_object_set_new(o, "error", reason.n > 0 ? json_str(reason) : json_null());
	if (e->receipt != NULL) {
		json_object_set(o, "receipt_id", json_object_get(e->receipt, "receipt_id"));
		json_object_set(o, "verdict", json_object_get(e->receipt, "verdict"));
	}
	callback_ended(b, id, o, e->at_ms);
	json_decref(o);
	return true;
}

static bool effect_trace(struct db_batch *b, struct debate_ending *e, struct error *err)
{
	(void)err;
	traces_ended(b, e->w, json_get_str(e->result, "debate_id", STR("")), e->at_ms);
	return true;
}

/* Task and answer are the debate's, and no matter of the audit log. */
static bool effect_audit(struct db_batch *b, struct debate_ending *e, struct error *err)
{
	static const struct {
		const char *status, *action, *outcome;
	} ends[] = {{"completed", "debate.completed", "success"},
		    {"cancelled", "debate.cancelled", "success"},
		    {NULL, "debate.failed", "failure"}};
	size_t i;

	(void)err;
	for (i = 0; ends[i].status != NULL && strcmp(ends[i].status, e->status) != 0; i++)
		;
	audit_add_as(b, e->w, e->ctx,
		     &(struct audit_event){.category = "debate",
					   .action = ends[i].action,
					   .outcome = ends[i].outcome,
					   .resource_type = STR("debate"),
					   .resource_id = json_get_str(e->result, "debate_id", STR(""))});
	return true;
}

/* What demo agents say is nothing to remember. */
static bool effect_memory(struct db_batch *b, struct debate_ending *e, struct error *err)
{
	(void)err;
	if (e->w->conf->memory.enabled && effect_completed(e) && !json_get_bool(e->result, "demo", false)) {
		consensus_memory_add(b, e->ctx, e->result, e->at_ms);
		continuum_ended(b, e->ctx, e->result, e->at_ms);
	}
	return true;
}

static bool effect_knowledge(struct db_batch *b, struct debate_ending *e, struct error *err)
{
	(void)err;
	if (e->w->conf->knowledge.enabled && effect_completed(e) && !json_get_bool(e->result, "demo", false))
		knowledge_ended(b, e->ctx, json_get_str(e->result, "debate_id", STR("")), e->at_ms);
	return true;
}

/* In this order: ratings follow the receipt, the callback names it. */
static const struct debate_effect effects[] = {
    {"receipt", effect_receipt}, {"ratings", effect_ratings}, {"callback", effect_callback},   {"trace", effect_trace},
    {"audit", effect_audit},     {"memory", effect_memory},   {"knowledge", effect_knowledge},
};

void debate_effects(struct db_batch *b, struct debate_ending *e)
{
	size_t i;

	json_decref(e->receipt);
	json_decref(e->events);
	e->receipt = NULL;
	e->events = json_array();
	for (i = 0; i < countof(effects); i++) {
		struct error err = ERROR_INIT;

		if (!effects[i].add(b, e, &err))
			log_error("debate", "an effect of the end failed", KV_S("effect", effects[i].name),
				  KV_S("reason", err.msg));
	}
}

void debate_ending_free(struct debate_ending *e)
{
	json_decref(e->receipt);
	json_decref(e->events);
}
