/* SPDX-License-Identifier: MIT */
/*
 * From the journalled result of a debate to its receipt document, and into the batch that finishes the debate. Called
 * by the runner, possibly several times for one debate: equal input gives equal bytes. Reads no clock and no table.
 */
#include "worker/receipts/receipt_doc.h"

#include "common/clock.h"
#include "common/json.h"
#include "worker/explain/explain.h"

#define BUILD_SUMMARY 500      /* bytes of the question in input_summary */
#define BUILD_EXCERPT 200      /* bytes of text in an entry of the chain */
#define BUILD_CONFIDENT 700000 /* from this confidence on a consensus is approved without conditions */

/*
 * Members of the result that are left out: messages are in the chain by their hashes, the others have another shape or
 * name here. All others are taken over as they are, also those that a newer engine adds.
 */
static const char *const build_left_out[] = {"messages",  "task",       "consensus",  "dissents",   "per_agent",
					     "tokens_in", "tokens_out", "cost_micro", "running_ms", "budget_micro"};
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
static const char *const build_cost[] = {"tokens_in", "tokens_out", "cost_micro", "abandoned_calls", "budget_micro"};
static const char *const build_config[] = {"participants", "method",       "engine_version",
					   "demo",         "budget_micro", "protocol"};

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

const char *receipt_verdict(const json_t *consensus)
{
	return build_verdict_of(consensus)->verdict;
}

/* debate.md 7.1; the words stand in the receipt beside the figure. */
#define BUILD_ROBUSTNESS \
	"confidence x 0.8 (0.5 without consensus), averaged with how similar the answers became when that is known"

static int64_t build_robustness(const json_t *result, const json_t *consensus)
{
	const json_t *similarity = json_object_get(json_get_obj(result, "convergence"), "similarity_ppm");
	int64_t r =
	    json_get_int(consensus, "confidence_ppm", 0) * (json_get_bool(consensus, "reached", false) ? 8 : 5) / 10;

	return json_is_integer(similarity) ? (r + json_integer_value(similarity)) / 2 : r;
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
	build_put_hash(e, "evidence_hash", content, 16);
	if (json_get_int(from, "at_ms", 0) > 0)
		build_put_time(e, "timestamp", json_get_int(from, "at_ms", 0));
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

/* The question, and what earlier debates and the knowledge base brought to it. */
static void build_link_start(struct build_chain *c, const json_t *result)
{
	json_t *start = json_object();
	struct str task = json_get_str(result, "task", STR(""));
	const json_t *e;
	size_t i;

	json_put_int(start, "at_ms", json_get_int(result, "started_at_ms", 0));
	build_link(c, "debate_start", start, 0, task, task);
	json_array_foreach(json_get_arr(result, "background"), i, e)
	    build_link(c, "background", start, 0, json_canonical(c->arena, e),
		       arena_printf(c->arena, "%.*s: %.*s", STR_ARG(json_get_str(e, "label", STR(""))),
				    STR_ARG(json_get_str(e, "title", STR("")))));
	json_decref(start);
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
	build_link_start(&c, result);
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

/* How sure a dissenter was: of its vote, or of what it last held against the winner. */
static int64_t build_dissent_weight(const json_t *result, struct str agent)
{
	struct str winner = json_get_str(result, "winner", STR(""));
	int64_t weight = 0;
	const json_t *e;
	size_t i;

	json_array_foreach(json_get_arr(result, "critiques"), i,
			   e) if (str_eq(json_get_str(e, "agent", STR("")), agent) &&
				  str_eq(json_get_str(e, "target_agent", STR("")), winner)) weight =
	    json_get_int(e, "severity_milli", 0) * 100;
	json_array_foreach(json_get_arr(result, "votes"), i, e) if (str_eq(json_get_str(e, "agent", STR("")), agent) &&
								    json_get_int(e, "confidence_ppm", 0) > weight)
	    weight = json_get_int(e, "confidence_ppm", 0);
	return weight;
}

static json_t *build_dissents(const json_t *result)
{
	json_t *list = json_array();
	const json_t *e;
	size_t i;

	json_array_foreach(json_get_arr(result, "dissents"), i, e)
	{
		json_t *o = json_deep_copy(e);

		json_put_str(o, "type", STR("full"));
		json_put_str(o, "alternative_view", json_get_str(e, "view", STR("")));
		json_put_int(o, "severity_ppm", build_dissent_weight(result, json_get_str(e, "agent", STR(""))));
		json_array_append_new(list, o);
	}
	return list;
}

static bool build_holds(const json_t *group, struct str agent)
{
	const json_t *e;
	size_t i;

	json_array_foreach(json_get_arr(group, "agents"), i,
			   e) if (agent.n > 0 && json_is_string(e) && str_eqz(agent, json_string_value(e))) return true;
	return false;
}

/* Positions that got votes and did not win. */
static json_t *build_tensions(struct arena *a, const json_t *result, const json_t *consensus)
{
	const json_t *groups = json_get_arr(consensus, "groups"), *e;
	struct str winner = json_get_str(result, "winner", STR("")), won = STR("");
	json_t *list = json_array(), *o;
	size_t i;

	json_array_foreach(groups, i, e) if (build_holds(e, winner)) won = json_get_str(e, "label", STR(""));
	json_array_foreach(groups, i, e)
	{
		struct str label = json_get_str(e, "label", STR(""));

		if (json_get_int(e, "votes", 0) == 0 || build_holds(e, winner))
			continue;
		o = json_object();
		json_object_set(o, "agents_involved", json_object_get(e, "agents"));
		json_object_set_new(o, "options", json_array());
		json_array_append_new(json_object_get(o, "options"), json_str(won));
		json_array_append_new(json_object_get(o, "options"), json_str(label));
		json_put_str(o, "description",
			     arena_printf(a, "%lld voted for another position: %.*s",
					  (long long)json_get_int(e, "votes", 0), STR_ARG(label)));
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *build_config_used(const json_t *result, const json_t *consensus)
{
	json_t *o = json_object();

	build_copy(o, result, build_config, countof(build_config));
	json_put_int(o, "rounds", json_get_int(result, "total_rounds", 0));
	json_put_int(o, "duration_ms", json_get_int(result, "running_ms", 0));
	json_put_int(o, "threshold_ppm", json_get_int(consensus, "threshold_ppm", 0));
	return o;
}

static void build_identity(json_t *doc, const json_t *result, int64_t signed_at_ms, const struct receipt_key *key)
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
	json_put_str(doc, "signature_algorithm", str_of(receipt_algorithm_name(key->algorithm)));
	json_put_str(doc, "signature_key_id", str_of(key->id));
	json_put_str(doc, "question", task);
	json_put_str(doc, "audit_trail_id", debate_id);
	json_put_str(doc, "input_type", STR("debate"));
	json_put_str(doc, "input_summary", str_utf8_cut(task, BUILD_SUMMARY));
	build_put_hash(doc, "input_hash", task, SHA256_HEX - 1);
}

/* Everything of the result that has no other place; no name that clients are shown besides what is signed. */
static void build_rest(json_t *doc, const json_t *result)
{
	const char *key;
	json_t *v;
	size_t i;

	/* jansson's iterators want a mutable object but do not change it. */
	json_object_foreach((json_t *)(uintptr_t)result, key, v)
	{
		for (i = 0; i < countof(build_left_out) && strcmp(key, build_left_out[i]) != 0; i++)
			;
		if (i == countof(build_left_out) && !receipt_is_view(key))
			json_object_set_new(doc, key, json_deep_copy(v));
	}
}

/* What votes weighed and what would have changed the outcome; why they were cast is told with the votes themselves. */
static json_t *build_explanation(struct arena *a, const json_t *result)
{
	json_t *o = explain_votes(a, result), *e;
	size_t i;

	json_array_foreach(json_get_arr(o, "votes"), i, e) json_object_del(e, "reasoning");
	return o;
}

/* What a gauntlet receipt says: a debate attacks nothing, its rounds probe the answer. */
static void build_gauntlet(struct arena *a, json_t *doc, const json_t *result)
{
	const json_t *dissents = json_get_arr(result, "dissents");
	json_t *findings =
	    receipt_findings(a, json_get_str(result, "winner", STR("")), json_get_arr(result, "critiques"), dissents);

	json_object_set_new(doc, "risk_summary", receipt_risks(findings));
	json_object_set_new(doc, "findings", findings);
	json_put_int(doc, "attacks_attempted", 0);
	json_put_int(doc, "attacks_successful", 0);
	json_put_int(doc, "probes_run", json_get_int(result, "rounds_used", 0));
	json_put_int(doc, "vulnerabilities_found", (int64_t)json_array_size(dissents));
	json_object_set_new(doc, "verified_claims", json_array());
	json_object_set_new(doc, "unverified_claims", json_array());
	json_object_set_new(doc, "settlement_metadata", json_pack("{s:s}", "state", "CREATED"));
}

static void build_judgement(json_t *doc, const json_t *result, const json_t *consensus, const struct build_verdict *v)
{
	json_put_str(doc, "verdict", str_of(v->verdict));
	json_put_str(doc, "canonical_verdict", str_of(v->canonical));
	json_put_str(doc, "verdict_reasoning", str_of(v->why));
	json_put_str(doc, "risk_level", str_of(v->risk));
	json_put_int(doc, "confidence_ppm", json_get_int(consensus, "confidence_ppm", 0));
	json_put_int(doc, "robustness_ppm", build_robustness(result, consensus));
	json_put_str(doc, "robustness_formula", STR(BUILD_ROBUSTNESS));
}

json_t *receipt_build(struct arena *a, const json_t *result, int64_t signed_at_ms, const struct receipt_key *key)
{
	const json_t *consensus = json_get_obj(result, "consensus");
	const struct build_verdict *v = build_verdict_of(consensus);
	json_t *doc = json_object(), *cost = json_object(), *chain;

	build_rest(doc, result);
	build_identity(doc, result, signed_at_ms, key);
	build_judgement(doc, result, consensus, v);
	build_gauntlet(a, doc, result);
	json_object_set_new(doc, "explainability", build_explanation(a, result));
	json_object_set_new(doc, "consensus_proof", build_proof(result, consensus));
	json_object_set_new(doc, "dissenting_views", build_dissents(result));
	json_object_set_new(doc, "unresolved_tensions", build_tensions(a, result, consensus));
	json_object_set_new(doc, "agents", build_agents(result));
	json_put_int(doc, "duration_ms", json_get_int(result, "running_ms", 0));
	build_copy(cost, result, build_cost, countof(build_cost));
	json_object_set_new(doc, "cost_summary", cost);
	json_object_set_new(doc, "config_used", build_config_used(result, consensus));
	chain = build_chain(a, result, v, signed_at_ms);
	build_put_hash(doc, "provenance_head", json_canonical(a, json_array_get(chain, json_array_size(chain) - 1)),
		       SHA256_HEX - 1);
	json_object_set_new(doc, "provenance_chain", chain);
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
	*doc = receipt_build(a, result, signed_at_ms, &k->v[0]);
	receipt_sign(&k->v[0], *doc);
	db_batch_add(
	    b,
	    "INSERT INTO receipts (id, org_id, workspace_id, debate_id, verdict, confidence_ppm, risk_level, "
	    "content_hash,"
	    " key_id, document, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
	    DB_ARGS(DB_S(json_get_str(*doc, "receipt_id", STR(""))), DB_S(ctx->org_id), DB_S(ctx->workspace_id),
		    DB_S(json_get_str(*doc, "debate_id", STR(""))), DB_S(json_get_str(*doc, "verdict", STR(""))),
		    DB_I(json_get_int(*doc, "confidence_ppm", 0)), DB_S(json_get_str(*doc, "risk_level", STR(""))),
		    DB_S(json_get_str(*doc, "content_hash", STR(""))), DB_Z(k->v[0].id), DB_S(json_canonical(a, *doc)),
		    DB_I(signed_at_ms)),
	    1);
	arena_free(a);
	return true;
}
