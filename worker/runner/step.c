/* SPDX-License-Identifier: MIT */
/*
 * Steps that compute in place or read (step.h): run once ever, answered from the journal in every later run. Called by
 * the engine only. Calls that are paid for are in step_call.c, the end is in step_finish.c.
 */
#include "worker/engine/step.h"

#include "common/json.h"
#include "common/log.h"
#include "worker/debate/inbox_events.h"
#include "worker/ranking/ranking.h"
#include "worker/runner/journal.h"
#include "worker/worker.h"

/* ---- small accessors ---- */

const struct debate_plan *debate_plan(const struct debate *d)
{
	return &d->plan;
}

struct arena *debate_arena(struct debate *d)
{
	return d->arena;
}

enum debate_stop debate_stop(const struct debate *d)
{
	return d->stop;
}

void debate_set_engine(struct debate *d, void *ctx)
{
	d->engine = ctx;
}

void *debate_engine(const struct debate *d)
{
	return d->engine;
}

int64_t debate_running_ms(const struct debate *d)
{
	return run_running_ms(d);
}

/* ---- steps that compute ---- */

CO_FN bool step_run(struct debate *d, const char *key, json_t *(*compute)(struct step *s, void *arg), void *arg,
		    const json_t **result)
{
	struct step s;
	json_t *value;
	bool ok;

	*result = step_done(d, key);
	if (*result != NULL)
		return true;
	if (!step_may_start(d, key))
		return false;
	step_open(&s, d, key);
	value = compute(&s, arg);
	BUG_ON(value == NULL);
	ok = step_commit_later(&s, &(struct step_write){.state = "done", .starts = 1, .result = value});
	json_decref(value);
	step_close(&s);
	*result = ok ? step_done(d, key) : NULL;
	return ok;
}

static json_t *step_keep(struct step *s, void *arg)
{
	(void)s;
	return json_incref(arg);
}

/* Asked of the ranking room; without an answer all agents count alike, and that too is journalled. */
enum step_question { STEP_RATINGS, STEP_STANDING, STEP_BEFORE };

CO_FN static bool step_ask(struct debate *d, enum step_question question, const json_t *names, json_t **out,
			   struct error *err)
{
	struct db *db = d->w->db;

	switch (question) {
	case STEP_RATINGS:
		return ranking_read(db, &d->ctx, names, out, err);
	case STEP_STANDING:
		return ranking_standing(db, &d->ctx, names, d->plan.task, out, err);
	case STEP_BEFORE:
		break;
	}
	return ranking_before(db, &d->ctx, d->plan.debate_id, names, d->plan.task, out, err);
}

/* The names as ranking rooms take them. New reference. */
static json_t *step_names(const struct debate *d)
{
	json_t *names = json_array();
	size_t i;

	for (i = 0; i < d->plan.agent_count; i++)
		json_array_append_new(names, json_str(d->plan.agents[i].name));
	return names;
}

CO_FN static bool step_ask_ranking(struct debate *d, const char *key, enum step_question question,
				   const json_t **result)
{
	struct error err = ERROR_INIT;
	json_t *names, *ratings = NULL;
	size_t i;
	bool ok;

	*result = step_done(d, key);
	if (*result != NULL)
		return true;
	if (!step_may_start(d, key))
		return false;
	names = json_array();
	for (i = 0; i < d->plan.agent_count; i++)
		json_array_append_new(names, json_str(d->plan.agents[i].name));
	if (d->keeper != NULL) {
		ratings = json_object(); /* nobody is rated apart from the server */
	} else if (!step_ask(d, question, names, &ratings, &err)) {
		log_warn("debate", "ratings cannot be read", KV_S("reason", err.msg));
		ratings = json_object();
	}
	ok = step_run(d, key, step_keep, ratings, result);
	json_decref(ratings);
	json_decref(names);
	return ok;
}

CO_FN bool step_ratings(struct debate *d, const char *key, const json_t **result)
{
	return step_ask_ranking(d, key, STEP_RATINGS, result);
}

CO_FN bool step_standing(struct debate *d, const char *key, const json_t **result)
{
	return step_ask_ranking(d, key, STEP_STANDING, result);
}

CO_FN bool step_ranking_before(struct debate *d, const char *key, const json_t **result)
{
	return step_ask_ranking(d, key, STEP_BEFORE, result);
}

CO_FN const json_t *step_ranking_late(struct debate *d)
{
	struct error err = ERROR_INIT;
	json_t *names = step_names(d), *before = NULL;
	struct co_shield shield;

	co_shield(&shield, d->w->conf->debates.max_age);
	if (!step_ask(d, STEP_BEFORE, names, &before, &err))
		log_warn("debate", "a decided debate is not rated", KV_S("reason", err.msg));
	co_unshield(&shield);
	json_decref(names);
	return json_own(d->arena, before);
}

struct step_inbox {
	const char *key;
	json_t *items;
	json_t *votes; /* all so far, {user_id: {choice, intensity}}; only if there is a new one */
};

static void step_inbox_take(struct db_batch *b, struct debate *d, void *arg, int64_t now_ms)
{
	const struct step_inbox *in = arg;
	size_t i;

	(void)now_ms;
	for (i = 0; i < json_array_size(in->items); i++)
		db_batch_add(b, "UPDATE debate_inbox SET step_key = $3 WHERE id = $1 AND debate_id = $2",
			     DB_ARGS(DB_S(json_get_str(json_array_get(in->items, i), "id", STR(""))),
				     DB_S(d->plan.debate_id), DB_Z(in->key)),
			     1);
}

/* At the step before a round all that is meant for it; before the decision what it is decided by. */
static bool step_inbox_due(const struct debate *d, const char *key, const json_t *item)
{
	bool round = key[0] == 'r' && key[1] >= '0' && key[1] <= '9';
	struct str kind = json_get_str(item, "kind", STR(""));

	if (!round)
		return str_eqz(kind, "vote") || str_eqz(kind, "user_vote") || str_eqz(kind, "setting");
	return json_get_int(json_get_obj(item, "payload"), "apply_at_round", 0) <= d->current_round + 1;
}

CO_FN static bool step_inbox_read(struct debate *d, struct step_inbox *in, struct error *err)
{
	struct arena *a = arena_new(0);
	struct db_rows rows;
	size_t i;
	bool ok;

	ok = db_query(d->w->db, a,
		      "SELECT id, kind, user_id, payload FROM debate_inbox WHERE debate_id = $1 AND step_key IS NULL"
		      " ORDER BY id LIMIT 500",
		      DB_ARGS(DB_S(d->plan.debate_id)), &rows, err);
	for (i = 0; ok && i < rows.count; i++) {
		json_t *o = json_object();
		json_t *payload = json_parse(NULL, db_str(&rows, i, 3), err);

		json_put_str(o, "id", db_str(&rows, i, 0));
		json_put_str(o, "kind", db_str(&rows, i, 1));
		json_put_str(o, "user_id", db_str(&rows, i, 2));
		json_object_set_new(o, "payload", payload != NULL ? payload : json_object());
		if (step_inbox_due(d, in->key, o))
			json_array_append(in->items, o);
		json_decref(o);
	}
	arena_free(a);
	return ok;
}

/* For the figures that watchers are shown; the last vote of a person counts. */
CO_FN static void step_inbox_votes(struct debate *d, struct step_inbox *in)
{
	struct arena *a = arena_new(0);
	struct error err = ERROR_INIT;
	struct db_rows rows = {0};
	size_t i, n = 0;

	for (i = 0; i < json_array_size(in->items); i++)
		n += str_eqz(json_get_str(json_array_get(in->items, i), "kind", STR("")), "vote");
	if (n > 0 && !db_query(d->w->db, a,
			       "SELECT user_id, payload FROM debate_inbox WHERE debate_id = $1 AND kind = 'vote'"
			       " ORDER BY id LIMIT 10000",
			       DB_ARGS(DB_S(d->plan.debate_id)), &rows, &err))
		log_warn("debate", "the votes of the audience cannot be read", KV_S("reason", err.msg));
	for (i = 0; i < rows.count; i++)
		json_object_setn(in->votes, db_str(&rows, i, 0).p, db_str(&rows, i, 0).n,
				 json_parse(a, db_str(&rows, i, 1), &err));
	arena_free(a);
}

CO_FN bool step_inbox(struct debate *d, const char *key, const json_t **result)
{
	struct step_inbox in = {.key = key};
	struct step_write w;
	struct error err = ERROR_INIT;
	struct step s;
	bool ok;

	*result = step_done(d, key);
	if (*result != NULL)
		return true;
	if (!step_may_start(d, key))
		return false;
	in.items = json_array();
	in.votes = json_object();
	/* What cannot be read now waits for the next inbox step. */
	if (d->keeper == NULL && !step_inbox_read(d, &in, &err))
		log_warn("debate", "the inbox cannot be read", KV_S("reason", err.msg));
	step_inbox_votes(d, &in);
	step_open(&s, d, key);
	inbox_emit(&s, d->plan.debate_id, (int)d->current_round, in.items, in.votes);
	w = (struct step_write){.state = "done", .starts = 1, .result = in.items};
	if (json_array_size(in.items) > 0) {
		w.extra = step_inbox_take;
		w.extra_arg = &in;
	}
	ok = w.extra != NULL ? step_commit(&s, &w) : step_commit_later(&s, &w);
	step_close(&s);
	json_decref(in.items);
	json_decref(in.votes);
	*result = ok ? step_done(d, key) : NULL;
	return ok;
}
