/* SPDX-License-Identifier: MIT */
/*
 * The decision router (decisions.h): cache, joining, debate; rows of decisions and what came of them. Called by the
 * routes in api.c and by its job. Asks no agent itself: a quick decision is a debate in the light format, for what is
 * paid for goes through the journal.
 */
#include "worker/decisions/decisions.h"

#include "common/clock.h"
#include "common/crypto.h"
#include "common/ids.h"
#include "common/json.h"
#include "common/log.h"
#include "common/tenant.h"
#include "worker/agents/select.h"
#include "worker/debate/debate.h"
#include "worker/jobs/jobs.h"
#include "worker/worker.h"

#define DECISION_JOIN_MS 5000 /* rest-wide 10.2: the window in which the same question is one question */
#define DECISION_POLL_US (50 * MS_US)
#define DECISION_POLL_MAX_US (500 * MS_US)
#define DECISION_REASONING_MAX 2000
#define DECISION_DAY_MS (24 * INT64_C(3600000))

#define DECISION_COLUMNS                                                                                              \
	"id, user_id, content, request, decision_type, priority, debate_id, status, cache_key, policy_version, tags," \
	" result, reason, generation, created_at, completed_at, cached"

static struct decision decision_row(const struct db_rows *r, size_t i)
{
	return (struct decision){.id = db_str(r, i, 0),
				 .user_id = db_str(r, i, 1),
				 .content = db_str(r, i, 2),
				 .request = db_str(r, i, 3),
				 .type = db_str(r, i, 4),
				 .priority = db_str(r, i, 5),
				 .debate_id = db_str(r, i, 6),
				 .status = db_str(r, i, 7),
				 .key = db_str(r, i, 8),
				 .policy_version = db_str(r, i, 9),
				 .tags = db_str(r, i, 10),
				 .result = db_str(r, i, 11),
				 .reason = db_str(r, i, 12),
				 .generation = db_int(r, i, 13),
				 .created_at = db_int(r, i, 14),
				 .completed_at = db_int(r, i, 15),
				 .cached = db_int(r, i, 16) != 0};
}

bool decisions_open(const struct decision *d)
{
	return str_eqz(d->status, "running");
}

/* ---- what a debate came to ---- */

/* What carried it: the reasons of those who voted for it. */
static struct str decision_reasoning(struct arena *a, const json_t *result)
{
	struct str winner = json_get_str(result, "winner", STR(""));
	const json_t *v;
	struct buf b = BUF_INIT;
	struct str out;
	size_t i;

	json_array_foreach(json_get_arr(result, "votes"), i, v)
	{
		struct str reason = json_get_str(v, "reasoning", STR(""));

		if (reason.n > 0 && str_eq(json_get_str(v, "choice", STR("")), winner))
			buf_printf(&b, "%s%.*s", b.n > 0 ? "\n" : "", STR_ARG(reason));
	}
	out = arena_str(a, str_utf8_cut(buf_str(&b), DECISION_REASONING_MAX));
	buf_free(&b);
	return out;
}

static json_t *decision_evidence(const json_t *result)
{
	json_t *list = json_array();
	const json_t *item;
	size_t i;

	json_array_foreach(json_get_arr(result, "background"), i,
			   item) if (json_array_size(json_get_arr(item, "cited_by")) > 0)
	{
		json_t *o = json_object();

		json_object_set(o, "id", json_object_get(item, "id"));
		json_object_set(o, "source", json_object_get(item, "source"));
		json_object_set(o, "title", json_object_get(item, "title"));
		json_array_append_new(list, o);
	}
	return list;
}

/* The part of an answer that is kept and cached. */
static json_t *decision_result(struct arena *a, const struct debate_row *row, const json_t *result)
{
	json_t *o = json_own(a, json_object());
	int64_t end = row->completed_at > 0 ? row->completed_at : row->updated_at;

	json_put_str(o, "answer", row->final_answer);
	json_object_set_new(o, "confidence", json_real((double)row->confidence_ppm / 1e6));
	json_object_set_new(o, "consensus_reached", json_boolean(row->consensus_reached != 0));
	json_put_str(o, "reasoning", decision_reasoning(a, result));
	json_object_set_new(o, "evidence_used", decision_evidence(result));
	json_object_set_new(o, "duration_seconds", json_real((double)(end - row->created_at) / 1000.0));
	json_object_set_new(o, "cost_usd", json_real((double)row->cost_micro / 1e6));
	json_put_str(o, "debate_id", row->id);
	json_object_set_new(o, "receipt_id", row->receipt_id.n > 0 ? json_str(row->receipt_id) : json_null());
	json_object_set_new(o, "error", row->error.n > 0 ? json_str(row->error) : json_null());
	json_object_set_new(o, "demo", json_boolean(row->demo != 0));
	return o;
}

/* {name: model} of those who took part, and of providers: a version of either may be invalidated. */
static json_t *decision_agents(struct arena *a, const json_t *result)
{
	json_t *out = json_own(a, json_object()), *o;
	const char *name;

	json_object_foreach(json_get_obj(result, "per_agent"), name, o)
	{
		struct str provider = json_get_str(o, "provider", STR(""));

		json_object_set(out, name, json_object_get(o, "model"));
		if (provider.n > 0 && json_object_getn(out, provider.p, provider.n) == NULL)
			json_object_setn(out, provider.p, provider.n, json_object_get(o, "model"));
	}
	return out;
}

CO_FN static bool decision_store_end(struct worker *w, struct arena *a, const struct context *ctx, struct decision *d,
				     const json_t *result, struct error *err)
{
	struct db_batch *b = db_batch_new(w->db);

	d->completed_at = clock_wall_ms();
	d->result = json_text(a, result);
	db_batch_add(b,
		     "UPDATE decisions SET status = $3, result = $4, completed_at = $5, reason = $6"
		     " WHERE id = $1 AND workspace_id = $2 AND status = 'running'",
		     DB_ARGS(DB_S(d->id), DB_S(ctx->workspace_id), DB_S(d->status), DB_S(d->result),
			     DB_I(d->completed_at), DB_S(d->reason)),
		     DB_ANY);
	return db_commit(w->db, b, err);
}

CO_FN static bool decision_keep(struct worker *w, struct arena *a, const struct context *ctx, const struct decision *d,
				const json_t *result, const json_t *document, struct error *err)
{
	const struct decision_entry e = {.key = d->key,
					 .policy_version = d->policy_version,
					 .generation = d->generation,
					 .result = result,
					 .tags = json_parse(a, d->tags, err),
					 .agents = decision_agents(a, document)};
	bool stored;

	return d->key.n == 0 || decision_cache_put(w, ctx, &e, &stored, err);
}

/* Takes over the end of its debate, if there is one. */
CO_FN static bool decision_settle(struct worker *w, struct arena *a, const struct context *ctx, struct decision *d,
				  struct error *err)
{
	static const char *const ends[][2] = {
	    {"completed", "completed"}, {"failed", "failed"}, {"timeout", "timeout"}, {"cancelled", "cancelled"}};
	struct error none = ERROR_INIT;
	struct debate_row row;
	json_t *document, *result;
	size_t i;

	if (!decisions_open(d))
		return true;
	if (!debate_get(w->db, a, ctx, d->debate_id, &row, &none)) {
		if (none.code != ERR_NOT_FOUND) {
			*err = none;
			return false;
		}
		d->status = STR("failed");
		result = json_own(a, json_pack("{s:s, s:s}", "answer", "", "error", "its debate was deleted"));
		return decision_store_end(w, a, ctx, d, result, err);
	}
	for (i = 0; i < countof(ends) && !str_eqz(row.status, ends[i][0]); i++)
		;
	if (i == countof(ends))
		return true;
	document = row.result.n > 0 ? json_parse(a, row.result, &none) : NULL;
	result = decision_result(a, &row, document);
	d->status = str_of(ends[i][1]);
	d->reason = row.cancel_reason;
	/* What was decided is kept before it is told: who asks next finds it. */
	return (i > 0 || decision_keep(w, a, ctx, d, result, document, err)) &&
	       decision_store_end(w, a, ctx, d, result, err);
}

/* ---- reading ---- */

CO_FN bool decisions_read(struct worker *w, struct arena *a, const struct context *ctx, struct str id,
			  struct decision *out, struct error *err)
{
	struct db_rows r;

	if (!db_query(w->db, a,
		      "SELECT " DECISION_COLUMNS
		      " FROM decisions WHERE id = $1 AND workspace_id = $2 AND expires_at > $3",
		      DB_ARGS(DB_S(id), DB_S(ctx->workspace_id), DB_I(clock_wall_ms())), &r, err))
		return false;
	if (r.count == 0)
		return error_field(err, ERR_NOT_FOUND, "id", "Decision not found");
	*out = decision_row(&r, 0);
	return decision_settle(w, a, ctx, out, err);
}

CO_FN bool decisions_wait(struct worker *w, struct arena *a, const struct context *ctx, int64_t until_us,
			  struct decision *d, struct error *err)
{
	bool deduplicated = d->deduplicated;
	int64_t pause = DECISION_POLL_US;

	while (decisions_open(d) && clock_mono_us() < until_us) {
		if (co_sleep(pause) == CO_ENDED)
			return error_set(err, ERR_UNAVAILABLE, "the server is stopping; the decision goes on");
		pause = pause * 3 / 2 < DECISION_POLL_MAX_US ? pause * 3 / 2 : DECISION_POLL_MAX_US;
		if (!decisions_read(w, a, ctx, d->id, d, err))
			return false;
	}
	d->deduplicated = deduplicated;
	return true;
}

/* ---- submitting ---- */

struct decision_birth {
	struct worker *w;
	const struct context *ctx;
	const struct decision_request *q;
	struct decision *d;
	struct arena *a;
};

static void decision_add(struct db_batch *b, struct str debate_id, void *arg)
{
	const struct decision_birth *n = arg;
	const struct decision *d = n->d;

	db_batch_add(
	    b,
	    "INSERT INTO decisions (id, org_id, workspace_id, user_id, content, request, decision_type, priority, "
	    "debate_id,"
	    " status, cache_key, policy_version, tags, result, reason, generation, created_at, completed_at, cached,"
	    " expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, '', $15, $16, $17, $18, "
	    "$19)",
	    DB_ARGS(DB_S(d->id), DB_S(n->ctx->org_id), DB_S(n->ctx->workspace_id), DB_S(n->ctx->principal),
		    DB_S(d->content), DB_S(d->request), DB_S(d->type), DB_S(d->priority), DB_S(debate_id),
		    DB_S(d->status), DB_S(d->key), DB_S(d->policy_version), DB_S(d->tags), DB_S(d->result),
		    DB_I(d->generation), DB_I(d->created_at), DB_I(d->completed_at), DB_I(d->cached),
		    DB_I(d->created_at + n->w->conf->decisions.retention_days * DECISION_DAY_MS)),
	    1);
}

static void decision_begin(struct arena *a, const struct context *ctx, const struct decision_request *q,
			   const struct decision_state *state, struct decision *d)
{
	char hex[13];

	ids_hex(hex, 6);
	*d = (struct decision){.id = arena_printf(a, "dec_%s", hex),
			       .user_id = ctx->principal,
			       .content = q->content,
			       .request = json_text(a, q->asked),
			       .type = str_eqz(q->type, "auto") ? STR("debate") : q->type,
			       .priority = q->priority,
			       .debate_id = STR(""),
			       .status = STR("running"),
			       .key = q->key,
			       .tags = json_text(a, q->tags),
			       .result = STR(""),
			       .reason = STR(""),
			       .generation = state->generation,
			       .created_at = clock_wall_ms()};
}

/* With who would decide and by which models: an agent that was upgraded in the configuration has not answered yet. */
static struct str decision_key(struct arena *a, struct str key, const json_t *plan)
{
	char hex[SHA256_HEX];

	if (key.n == 0)
		return key;
	crypto_sha256_hex(json_text(a, json_get_arr(plan, "agents")), hex);
	return arena_printf(a, "%.*s:%.16s", STR_ARG(key), hex);
}

/*
 * The policy by which a question is decided: the version that an admin has named, and all that configuration, engine
 * and request make of the debate's plan besides the question itself and the agents, who are in the key. An answer that
 * was given under another one is dropped by the lookup that finds it; nodes that are configured alike agree.
 */
static struct str decision_policy(struct arena *a, struct str version, const json_t *plan)
{
	static const char *const own[] = {"task", "domain", "context", "documents", "taint", "seed", "agents"};
	json_t *rules = json_own(a, json_copy((json_t *)(uintptr_t)plan));
	char hex[SHA256_HEX];
	size_t i;

	for (i = 0; i < countof(own); i++)
		json_object_del(rules, own[i]);
	crypto_sha256_hex(json_python(a, rules), hex);
	return arena_printf(a, "%.*s+%.12s", STR_ARG(version), hex);
}

/* A hit is a decision too: it has an id, and can be read again. */
CO_FN static bool decision_from_cache(struct decision_birth *n, const json_t *hit, struct error *err)
{
	struct db_batch *b = db_batch_new(n->w->db);
	struct decision *d = n->d;

	d->status = STR("completed");
	d->cached = true;
	d->result = json_text(n->a, hit);
	d->completed_at = d->created_at;
	d->debate_id = json_get_str(hit, "debate_id", STR(""));
	decision_add(b, d->debate_id, n);
	return db_commit(n->w->db, b, err);
}

/*
 * The latest open decision on the same question: settled if it is over by now, and then its result is in the cache;
 * joined if the same person asked within the window. *found tells the latter.
 */
CO_FN static bool decision_same(struct decision_birth *n, struct decision *same, bool *found, struct error *err)
{
	struct db_rows r;

	*found = false;
	if (!db_query(
		n->w->db, n->a,
		"SELECT " DECISION_COLUMNS " FROM decisions WHERE workspace_id = $1 AND cache_key = $2"
		" AND status = 'running' AND generation = $3 AND policy_version = $4 ORDER BY created_at DESC LIMIT 1",
		DB_ARGS(DB_S(n->ctx->workspace_id), DB_S(n->d->key), DB_I(n->d->generation),
			DB_S(n->d->policy_version)),
		&r, err))
		return false;
	if (r.count == 0)
		return true;
	*same = decision_row(&r, 0);
	if (!decision_settle(n->w, n->a, n->ctx, same, err))
		return false;
	*found = str_eq(same->user_id, n->ctx->principal) && n->d->created_at - same->created_at < DECISION_JOIN_MS &&
		 (decisions_open(same) || str_eqz(same->status, "completed"));
	same->deduplicated = true;
	return true;
}

/* From the cache or by joining; *done false: it has to be debated. */
CO_FN static bool decision_known(struct decision_birth *n, bool *done, struct error *err)
{
	struct decision same;
	json_t *hit;

	*done = false;
	if (n->d->key.n == 0)
		return true;
	if (!decision_same(n, &same, done, err))
		return false;
	if (*done) {
		*n->d = same;
		return true;
	}
	if (!decision_cache_get(n->w, n->a, n->ctx, n->d->key, n->d->policy_version, &hit, err))
		return false;
	*done = hit != NULL;
	return hit == NULL || decision_from_cache(n, hit, err);
}

CO_FN bool decisions_submit(struct worker *w, struct arena *a, const struct context *ctx,
			    const struct decision_request *q, struct decision *out, json_t **problems,
			    struct error *err)
{
	struct decision_birth n = {w, ctx, q, out, a};
	struct debate_birth birth = {.more = decision_add, .arg = &n, .idempotency_key = STR(""), .body_hash = STR("")};
	json_t *body = json_own(a, json_deep_copy(q->body)), *plan, *metadata = json_own(a, json_object());
	struct decision_state state;
	struct str debate_id;
	bool done, replayed;

	*problems = NULL;
	/* The state first: what is invalidated from here on is not answered by what this computes. */
	if (!decision_state_read(w, a, ctx, &state, err))
		return false;
	select_agents(w, a, ctx, &body);
	if (!plan_resolve(w->conf, a, body, &plan, problems, err))
		return false;
	decision_begin(a, ctx, q, &state, out);
	out->key = decision_key(a, q->key, plan);
	out->policy_version = decision_policy(a, state.policy_version, plan);
	if (!decision_known(&n, &done, err))
		return false;
	if (done)
		return true;
	json_put_str(metadata, "decision_id", out->id);
	birth.plan = plan;
	birth.metadata = metadata;
	if (!debate_create(w, a, ctx, &birth, &debate_id, &replayed, err))
		return false;
	out->debate_id = debate_id;
	log_info("decisions", "a decision is debated", KV_STR("decision_id", out->id), KV_STR("debate_id", debate_id));
	return true;
}

CO_FN bool decisions_cancel(struct worker *w, const struct context *ctx, const struct decision *d, struct str reason,
			    struct error *err)
{
	return debate_cancel(w, ctx, d->debate_id, reason, err);
}

/* ---- the job ---- */

static int64_t decisions_interval(const struct conf *c)
{
	return c->decisions.cache_ttl / MS_US < 600000 ? c->decisions.cache_ttl / MS_US + 1000 : 600000;
}

CO_FN static bool decisions_run(struct worker *w, json_t *result, int64_t *count, struct error *err)
{
	struct db_batch *b = db_batch_new(w->db);
	int64_t entries = 0;

	db_batch_add(b, SQL_ANYBODY("removes by age") "DELETE FROM decisions WHERE expires_at <= $1",
		     DB_ARGS(DB_I(clock_wall_ms())), DB_ANY);
	if (!db_commit(w->db, b, err) || !decision_cache_sweep(w, &entries, err))
		return false;
	json_put_int(result, "cache_entries_removed", entries);
	*count += entries;
	return true;
}

const struct job decisions_job = {"decisions", 60 * INT64_C(1000), decisions_interval, decisions_run};
