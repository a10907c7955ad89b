/* SPDX-License-Identifier: MIT */
/*
 * From the journalled result of a debate to its receipt document, and into the batch that finishes the debate. Called
 * by the runner, possibly several times for one debate: equal input gives equal bytes. Reads no clock and no table.
 */
#include "worker/receipts/receipt_doc.h"

#include "common/clock.h"
#include "common/json.h"

#define BUILD_SUMMARY 500      /* bytes of the question in input_summary */
#define BUILD_EXCERPT 200      /* bytes of text in an entry of the chain */
#define BUILD_CONFIDENT 700000 /* from this confidence on a consensus is approved without conditions */
#define BUILD_SEVERE 8000      /* severity of a critique, of 10,000, that counts as a high risk */
#define BUILD_NOTABLE 5000

/* Members taken over from the result as they are. */
static const char *const build_same[] = {
    "debate_id",    "final_answer", "synthesis",    "status",      "reason",          "demo",          "engine_version",
    "participants", "winner",       "proposals",    "critiques",   "votes",           "flips",         "agent_failures",
    "early_stop",   "convergence",  "total_rounds", "rounds_used", "abandoned_calls", "started_at_ms", "ended_at_ms"};
static const char *const build_consensus[] = {"reached",
					      "method",
					      "strength",
					      "threshold_ppm",
					      "confidence_ppm",
					      "share_ppm",
					      "weighted_share_ppm",
					      "margin_ppm",
					      "supporting_agents",
					      "dissenting_agents",
					      "groups"};
static const char *const build_cost[] = {"tokens_in", "tokens_out", "cost_micro", "abandoned_calls"};

static void build_copy(json_t *to, const json_t *from, const char *const *names, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (json_object_get(from, names[i]) != NULL)
			json_object_set_new(to, names[i], json_deep_copy(json_object_get(from, names[i])));
}

static void build_put_hash(json_t *o, const char *key, struct str data, size_t digits)
{
	char hex[SHA256_HEX];

	crypto_sha256_hex(data, hex);
	json_put_str(o, key, (struct str){hex, digits});
}

static void build_put_time(json_t *o, const char *key, int64_t ms)
{
	char iso[CLOCK_ISO_MAX];

	json_put_str(o, key, str_of(clock_iso(iso, ms)));
}

/* ---- the verdict ---- */

static const struct build_verdict {
	const char *verdict, *canonical, *risk, *why;
} build_verdicts[] = {
    {"APPROVED", "PASS", "LOW", "The agents reached consensus with high confidence."},
    {"APPROVED_WITH_CONDITIONS", "CONDITIONAL", "MEDIUM",
     "The agents reached consensus, but their confidence is below 70 %; check the conditions and dissent before "
     "acting."},
    {"NEEDS_REVIEW", "FAIL", "MEDIUM", "The agents did not reach consensus; a person should decide."},
};

static const struct build_verdict *build_verdict_of(const json_t *consensus)
{
	if (!json_get_bool(consensus, "reached", false))
		return &build_verdicts[2];
	return &build_verdicts[json_get_int(consensus, "confidence_ppm", 0) >= BUILD_CONFIDENT ? 0 : 1];
}

/* Confidence times 0.8 (0.5 without consensus), averaged with how similar the answers became, when that is known. */
static int64_t build_robustness(const json_t *result, const json_t *consensus)
{
	const json_t *similarity = json_object_get(json_get_obj(result, "convergence"), "similarity_ppm");
	int64_t r =
	    json_get_int(consensus, "confidence_ppm", 0) * (json_get_bool(consensus, "reached", false) ? 8 : 5) / 10;

	return json_is_integer(similarity) ? (r + json_integer_value(similarity)) / 2 : r;
}

/*
 * What speaks against the answer: dissent is a medium risk; critiques of the winner in the last round count by their
 * severity. Nothing a debate says is critical by itself.
 */
static json_t *build_risks(const json_t *result)
{
	struct str winner = json_get_str(result, "winner", STR(""));
	const json_t *critiques = json_get_arr(result, "critiques"), *c;
	int64_t last = 0, high = 0, low = 0, medium = (int64_t)json_array_size(json_get_arr(result, "dissents")),
		severity;
	json_t *o = json_object();
	size_t i;

	json_array_foreach(critiques, i, c) if (json_get_int(c, "round", 0) > last) last = json_get_int(c, "round", 0);
	json_array_foreach(critiques, i, c)
	{
		severity = json_get_int(c, "severity_milli", 0);
		if (winner.n == 0 || json_get_int(c, "round", 0) != last ||
		    !str_eq(json_get_str(c, "target_agent", STR("")), winner))
			continue;
		high += severity >= BUILD_SEVERE;
		low += severity >= BUILD_NOTABLE && severity < BUILD_SEVERE;
	}
	json_put_int(o, "critical", 0);
	json_put_int(o, "high", high);
	json_put_int(o, "medium", medium);
	json_put_int(o, "low", low);
	json_put_int(o, "total", high + medium + low);
	return o;
}

/* ---- the chain of what happened ---- */

struct build_chain {
	struct arena *arena;
	json_t *entries;
	char previous[SHA256_HEX];
};

/* Each entry holds the hash of the one before it: none can be changed, left out or moved alone. */
static void build_link(struct build_chain *c, const char *type, const json_t *from, int64_t round, struct str content,
		       struct str description)
{
	json_t *e = json_object();

	json_put_int(e, "sequence", (int64_t)json_array_size(c->entries) + 1);
	json_put_str(e, "event_type", str_of(type));
	json_put_str(e, "agent", json_get_str(from, "agent", STR("")));
	json_put_int(e, "round", round);
	json_put_int(e, "at_ms", json_get_int(from, "at_ms", 0));
	json_put_str(e, "description", str_utf8_cut(description, BUILD_EXCERPT));
	build_put_hash(e, "content_sha256", content, SHA256_HEX - 1);
	json_put_str(e, "previous_hash", str_of(c->previous));
	json_array_append_new(c->entries, e);
	crypto_sha256_hex(json_canonical(c->arena, e), c->previous);
}

static void build_link_round(struct build_chain *c, const json_t *result, int64_t round)
{
	const json_t *e;
	size_t i;

	json_array_foreach(json_get_arr(result, "critiques"), i, e)
	{
		struct str target = json_get_str(e, "target_agent", STR(""));

		if (json_get_int(e, "round", 0) == round)
			build_link(c, "critique", e, round, json_canonical(c->arena, e),
				   arena_printf(c->arena, "Critique of %.*s: %.*s", STR_ARG(target),
						STR_ARG(json_get_str(e, "reasoning", STR("")))));
	}
	json_array_foreach(json_get_arr(result, "messages"), i, e)
	{
		struct str text = json_get_str(e, "content", STR(""));

		if (json_get_int(e, "round", 0) == round)
			build_link(c, "message", e, round, text, text);
	}
}

static json_t *build_chain(struct arena *a, const json_t *result, const struct build_verdict *v, int64_t signed_at_ms)
{
	struct build_chain c = {.arena = a, .entries = json_array()};
	int64_t used = json_get_int(result, "rounds_used", 0), round, last = used;
	json_t *end = json_object();
	const json_t *e;
	size_t i;

	memset(c.previous, '0', SHA256_HEX - 1);
	json_array_foreach(json_get_arr(result, "messages"), i, e) if (json_get_int(e, "round", 0) > last) last =
	    json_get_int(e, "round", 0);
	for (round = 0; round <= last; round++)
		build_link_round(&c, result, round);
	json_array_foreach(json_get_arr(result, "votes"), i, e)
	    build_link(&c, "vote", e, used, json_canonical(a, e),
		       arena_printf(a, "Vote for %.*s", STR_ARG(json_get_str(e, "choice", STR("")))));
	json_put_int(end, "at_ms", signed_at_ms);
	build_link(&c, "verdict", end, used, json_get_str(result, "final_answer", STR("")), str_of(v->verdict));
	json_decref(end);
	return c.entries;
}

/* ---- the parts ---- */

static json_t *build_agents(const json_t *result)
{
	static const char *const names[] = {"provider",  "model",      "calls",      "failures",
					    "tokens_in", "tokens_out", "cost_micro", "ms"};
	const json_t *participants = json_get_arr(result, "participants"),
		     *per_agent = json_get_obj(result, "per_agent"), *p;
	json_t *list = json_array();
	size_t i;

	json_array_foreach(participants, i, p)
	{
		json_t *o = json_object();

		json_object_set_new(o, "agent", json_deep_copy(p));
		build_copy(o, json_object_get(per_agent, json_string_value(p)), names, countof(names));
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *build_proof(const json_t *result, const json_t *consensus)
{
	json_t *o = json_object();

	build_copy(o, consensus, build_consensus, countof(build_consensus));
	json_put_str(o, "winner", json_get_str(result, "winner", STR("")));
	build_put_hash(o, "evidence_hash", json_get_str(result, "final_answer", STR("")), 16);
	return o;
}

static void build_identity(json_t *doc, const json_t *result, int64_t signed_at_ms, const char *key_id)
{
	struct str debate_id = json_get_str(result, "debate_id", STR("")), task = json_get_str(result, "task", STR(""));
	char hex[SHA256_HEX], id[RECEIPT_ID_LEN + 1];
	struct buf seed = BUF_INIT;

	buf_add(&seed, debate_id);
	buf_addz(&seed, "receipt");
	crypto_sha256_hex(buf_str(&seed), hex);
	buf_free(&seed);
	snprintf(id, sizeof(id), "rcpt_%.32s", hex);
	json_put_str(doc, "schema_version", STR(RECEIPT_SCHEMA));
	json_put_str(doc, "receipt_id", str_of(id));
	json_put_str(doc, "gauntlet_id", debate_id);
	build_put_time(doc, "timestamp", signed_at_ms);
	build_put_time(doc, "signed_at", signed_at_ms);
	json_put_int(doc, "signed_at_ms", signed_at_ms);
	json_put_str(doc, "signature_algorithm", STR(RECEIPT_ALGORITHM));
	json_put_str(doc, "signature_key_id", str_of(key_id));
	json_put_str(doc, "question", task);
	json_put_str(doc, "input_summary", str_utf8_cut(task, BUILD_SUMMARY));
	build_put_hash(doc, "input_hash", task, SHA256_HEX - 1);
}

json_t *receipt_build(struct arena *a, const json_t *result, int64_t signed_at_ms, const char *key_id)
{
	const json_t *consensus = json_get_obj(result, "consensus");
	const struct build_verdict *v = build_verdict_of(consensus);
	json_t *doc = json_object(), *cost = json_object();

	build_identity(doc, result, signed_at_ms, key_id);
	build_copy(doc, result, build_same, countof(build_same));
	json_put_str(doc, "verdict", str_of(v->verdict));
	json_put_str(doc, "canonical_verdict", str_of(v->canonical));
	json_put_str(doc, "verdict_reasoning", str_of(v->why));
	json_put_str(doc, "risk_level", str_of(v->risk));
	json_put_int(doc, "confidence_ppm", json_get_int(consensus, "confidence_ppm", 0));
	json_put_int(doc, "robustness_ppm", build_robustness(result, consensus));
	json_object_set_new(doc, "risk_summary", build_risks(result));
	json_object_set_new(doc, "consensus_proof", build_proof(result, consensus));
	json_object_set_new(doc, "dissenting_views",
			    json_is_array(json_object_get(result, "dissents"))
				? json_deep_copy(json_object_get(result, "dissents"))
				: json_array());
	json_object_set_new(doc, "agents", build_agents(result));
	json_put_int(doc, "duration_ms", json_get_int(result, "running_ms", 0));
	build_copy(cost, result, build_cost, countof(build_cost));
	json_object_set_new(doc, "cost_summary", cost);
	json_object_set_new(doc, "provenance_chain", build_chain(a, result, v, signed_at_ms));
	return doc;
}

bool receipt_add(struct db_batch *b, const struct receipt_keys *k, const struct context *ctx, const json_t *result,
		 int64_t signed_at_ms, json_t **doc, struct error *err)
{
	struct arena *a;

	*doc = NULL;
	if (json_get_str(result, "debate_id", STR("")).n == 0)
		return error_set(err, ERR_INTERNAL, "a result without debate_id gets no receipt");
	a = arena_new(0);
	*doc = receipt_build(a, result, signed_at_ms, k->id);
	receipt_sign(k, *doc);
	db_batch_add(
	    b,
	    "INSERT INTO receipts (id, org_id, workspace_id, debate_id, verdict, confidence_ppm, risk_level, "
	    "content_hash,"
	    " key_id, document, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
	    DB_ARGS(DB_S(json_get_str(*doc, "receipt_id", STR(""))), DB_S(ctx->org_id), DB_S(ctx->workspace_id),
		    DB_S(json_get_str(*doc, "debate_id", STR(""))), DB_S(json_get_str(*doc, "verdict", STR(""))),
		    DB_I(json_get_int(*doc, "confidence_ppm", 0)), DB_S(json_get_str(*doc, "risk_level", STR(""))),
		    DB_S(json_get_str(*doc, "content_hash", STR(""))), DB_Z(k->id), DB_S(json_canonical(a, *doc)),
		    DB_I(signed_at_ms)),
	    1);
	arena_free(a);
	return true;
}
