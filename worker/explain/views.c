/* SPDX-License-Identifier: MIT */
/*
 * Derived views of debates. Called by the routes of this room, in a lane. Every figure comes from the stored result;
 * what nobody measured (verification by proof, say) is said to be off or stays empty.
 */
#include "worker/explain/views.h"

#include "common/json.h"
#include "worker/engine/evidence.h"
#include "worker/engine/parse.h"
#include "worker/engine/similarity.h"
#include "worker/explain/explain.h"
#include "worker/receipts/receipt.h"

#define VIEW_SEVERE 7000          /* of 10,000; rest-core 4.9 takes 7 of 10 */
#define VIEW_REPEATED_PPM 600000  /* critiques at least so alike repeat each other */
#define VIEW_PRODUCTIVE_PPM 50000 /* a round in which no text changed more brought nothing */
#define VIEW_SENTENCE 300
#define VIEW_LIST_MAX 20

static json_t *view_open(const json_t *debate)
{
	json_t *o = json_object();

	json_object_set(o, "debate_id", json_object_get(debate, "id"));
	return o;
}

static void view_fraction(json_t *o, const char *key, int64_t ppm)
{
	json_object_set_new(o, key, json_real((double)ppm / 1e6));
}

static void view_same(json_t *o, const json_t *from, const char *key)
{
	json_object_set(o, key, json_object_get(from, key) != NULL ? json_object_get(from, key) : json_null());
}

/* A list of the result, or an empty one. */
static json_t *view_list(const json_t *result, const char *key)
{
	json_t *list = json_get_arr(result, key);

	return list != NULL ? json_deep_copy(list) : json_array();
}

static int64_t view_last_round(const json_t *list)
{
	int64_t last = 0;
	const json_t *e;
	size_t i;

	json_array_foreach(list, i, e) if (json_get_int(e, "round", 0) > last) last = json_get_int(e, "round", 0);
	return last;
}

/* ---- convergence ---- */

/* Mean likeness of all pairs of texts of a round; -1: fewer than two. */
static int64_t view_round_alike(struct arena *a, const json_t *messages, int64_t round)
{
	const struct similarity_vector *v[64];
	int64_t sum = 0, pairs = 0;
	const json_t *e;
	size_t i, k, n = 0;

	json_array_foreach(messages, i, e) if (json_get_int(e, "round", 0) == round && n < countof(v)) v[n++] =
	    similarity_vector(a, json_get_str(e, "content", STR("")));
	for (i = 0; i < n; i++)
		for (k = 0; k < i; k++, pairs++)
			sum += similarity_cosine(v[k], v[i]);
	return pairs > 0 ? sum / pairs : -1;
}

static json_t *view_convergence(struct arena *a, const json_t *debate, const json_t *result)
{
	static const char *const words[][2] = {
	    {"converged", "converged"}, {"refining", "converging"}, {"diverging", "diverging"}};
	const json_t *messages = json_get_arr(result, "messages"), *convergence = json_get_obj(result, "convergence");
	struct str status = json_get_str(convergence, "status", STR(""));
	json_t *o = view_open(debate), *path = json_array();
	const char *said = "unknown";
	int64_t round, alike;
	size_t i;

	for (i = 0; i < countof(words); i++)
		if (str_eqz(status, words[i][0]))
			said = words[i][1];
	for (round = 0; round <= view_last_round(messages); round++) {
		alike = view_round_alike(a, messages, round);
		if (alike >= 0)
			json_array_append_new(path, json_pack("{s:I, s:f}", "round", (json_int_t)round, "similarity",
							      (double)alike / 1e6));
	}
	json_put_str(o, "convergence_status", str_of(said));
	view_fraction(o, "convergence_similarity", json_get_int(convergence, "similarity_ppm", 0));
	view_fraction(o, "semantic_similarity", json_get_int(convergence, "agreement_ppm", 0));
	view_fraction(o, "agreement_level", json_get_int(json_get_obj(result, "consensus"), "share_ppm", 0));
	json_object_set_new(o, "convergence_trajectory", path);
	view_same(o, debate, "consensus_reached");
	view_same(o, debate, "rounds_used");
	view_same(o, debate, "confidence");
	json_object_set_new(o, "positions", json_object());
	for (i = 0; i < json_array_size(messages); i++) {
		const json_t *m = json_array_get(messages, i);
		struct str agent = json_get_str(m, "agent", STR(""));

		json_object_setn_new(json_object_get(o, "positions"), agent.p, agent.n,
				     json_str(parse_position(json_get_str(m, "content", STR("")))));
	}
	json_object_set(o, "timestamp", json_object_get(debate, "completed_at"));
	return o;
}

/* ---- impasse ---- */

static const struct similarity_vector *view_issues(struct arena *a, const json_t *critique)
{
	struct buf text = BUF_INIT;
	const struct similarity_vector *v;
	const json_t *e;
	size_t i;

	json_array_foreach(json_get_arr(critique, "issues"), i, e) if (json_is_string(e))
	{
		buf_add(&text, (struct str){json_string_value(e), json_string_length(e)});
		buf_addc(&text, '\n');
	}
	v = similarity_vector(a, arena_str(a, buf_str(&text)));
	buf_free(&text);
	return v;
}

/* How many critiques of a round say what the same critic said of the same text a round before; *first: the earliest. */
static size_t view_repeated(struct arena *a, const json_t *critiques, int64_t *first)
{
	const json_t *x, *y;
	size_t i, k, n = 0;

	*first = 0;
	json_array_foreach(critiques, i, x) json_array_foreach(critiques, k, y)
	{
		if (json_get_int(y, "round", 0) != json_get_int(x, "round", 0) - 1 ||
		    !str_eq(json_get_str(x, "agent", STR("")), json_get_str(y, "agent", STR(""))) ||
		    !str_eq(json_get_str(x, "target_agent", STR("")), json_get_str(y, "target_agent", STR(""))) ||
		    similarity_cosine(view_issues(a, x), view_issues(a, y)) < VIEW_REPEATED_PPM)
			continue;
		if (n++ == 0)
			*first = json_get_int(y, "round", 0);
	}
	return n;
}

static json_t *view_impasse(struct arena *a, const json_t *debate, const json_t *result)
{
	const json_t *critiques = json_get_arr(result, "critiques"), *e;
	bool over = result != NULL, reached = json_get_bool(debate, "consensus_reached", false);
	struct str status = json_get_str(json_get_obj(result, "convergence"), "status", STR(""));
	int64_t last = view_last_round(critiques), first;
	size_t i, severe = 0, of = 0, repeated = view_repeated(a, critiques, &first), flags;
	bool stuck = over && !reached && !str_eqz(status, "converged"), heavy;
	json_t *o = view_open(debate);

	json_array_foreach(critiques, i, e) if (json_get_int(e, "round", 0) == last)
	{
		of++;
		severe += json_get_int(e, "severity_milli", 0) >= VIEW_SEVERE;
	}
	heavy = of > 0 && 2 * severe >= of;
	flags = (repeated > 0) + (size_t)stuck + (size_t)heavy;
	json_object_set_new(o, "is_impasse", json_boolean(flags >= 2));
	json_object_set_new(o, "indicators",
			    json_pack("{s:b, s:b, s:b}", "repeated_critiques", repeated > 0, "no_convergence", stuck,
				      "high_severity_critiques", heavy));
	view_fraction(o, "confidence", (int64_t)flags * SIMILARITY_ONE / 3);
	json_object_set_new(
	    o, "reason",
	    flags < 2 ? json_null()
		      : json_str(arena_printf(
			    a, "%zu critiques repeat the round before, %zu of %zu of the last round are severe%s",
			    repeated, severe, of, stuck ? ", and positions did not converge" : "")));
	json_object_set_new(o, "stuck_since_round", flags >= 2 && repeated > 0 ? json_integer(first) : json_null());
	json_object_set_new(o, "suggested_intervention",
			    flags >= 2 ? json_string("Let a judge decide (consensus: judge), or add evidence.")
				       : json_null());
	return o;
}

/* ---- what texts rest on ---- */

/* Addresses in a text, each once: {source, agent, round}. */
static void view_urls(json_t *list, const json_t *message)
{
	struct str rest = json_get_str(message, "content", STR(""));
	ptrdiff_t at;

	while (json_array_size(list) < 10 * VIEW_LIST_MAX && (at = str_find(rest, STR("http"))) >= 0) {
		size_t n = 0, k;
		struct str url;

		rest = str_sub(rest, (size_t)at, rest.n);
		while (n < rest.n && n < 500 && (unsigned char)rest.p[n] > ' ' &&
		       strchr("<>\"'`)]}|,", rest.p[n]) == NULL)
			n++;
		url = str_sub(rest, 0, n);
		rest = str_sub(rest, n > 0 ? n : 1, rest.n);
		if (!str_starts(url, STR("http://")) && !str_starts(url, STR("https://")))
			continue;
		for (k = 0; k < json_array_size(list); k++)
			if (str_eq(json_get_str(json_array_get(list, k), "source", STR("")), url))
				break;
		if (k < json_array_size(list))
			continue;
		json_array_append_new(list, json_pack("{s:s%, s:s, s:O, s:O}", "source", url.p, url.n, "type", "url",
						      "agent", json_object_get(message, "agent"), "round",
						      json_object_get(message, "round")));
	}
}

/* Sources named by agents: what was known before and is cited, and addresses. */
static json_t *view_sources(const json_t *result)
{
	json_t *list = json_array();
	const json_t *e;
	size_t i;

	json_array_foreach(json_get_arr(result, "background"), i, e)
	{
		json_t *o;

		if (json_array_size(json_get_arr(e, "cited_by")) == 0)
			continue;
		o = json_pack("{s:s}", "type", "background");
		json_object_set(o, "label", json_object_get(e, "label"));
		json_object_set(o, "id", json_object_get(e, "id"));
		json_object_set(o, "source", json_object_get(e, "source"));
		json_object_set(o, "content", json_object_get(e, "title"));
		json_object_set(o, "cited_by", json_object_get(e, "cited_by"));
		json_array_append_new(list, o);
	}
	json_array_foreach(json_get_arr(result, "messages"), i, e) view_urls(list, e);
	return list;
}

static json_t *view_citations(struct arena *a, const json_t *debate, const json_t *result)
{
	struct evidence v = evidence_of(json_get_str(result, "final_answer", STR("")));
	json_t *o = view_open(debate), *sources = view_sources(result);
	size_t n = json_array_size(sources);

	(void)a;
	json_object_set_new(o, "has_citations", json_boolean(n > 0));
	if (n == 0)
		json_put_str(o, "message", STR("No sources were named in this debate."));
	view_fraction(o, "grounding_score", v.citation);
	view_same(o, debate, "confidence");
	json_object_set_new(o, "claims", json_array());
	json_object_set(o, "all_citations", sources);
	json_object_set_new(o, "citations", sources);
	json_put_int(o, "total", (int64_t)n);
	/* Nobody has followed them. */
	json_object_set_new(o, "verification_summary",
			    json_pack("{s:i, s:I, s:i}", "verified", 0, "unverified", (json_int_t)n, "invalid", 0));
	json_object_set_new(o, "verdict", json_null());
	return o;
}

static json_t *view_evidence(struct arena *a, const json_t *debate, const json_t *result)
{
	struct evidence v = evidence_of(json_get_str(result, "final_answer", STR("")));
	json_t *o = view_open(debate), *sources = view_sources(result), *related = json_array();
	const json_t *e;
	size_t i;

	(void)a;
	json_array_foreach(json_get_arr(result, "background"), i, e)
	{
		json_t *one = json_object();

		json_object_set(one, "id", json_object_get(e, "id"));
		json_object_set(one, "source", json_object_get(e, "source"));
		json_object_set(one, "content", json_object_get(e, "title"));
		view_fraction(one, "relevance_score", json_get_int(e, "score_ppm", 0));
		view_fraction(one, "importance", json_get_int(e, "score_ppm", 0));
		json_object_set_new(one, "cited_by", view_list(e, "cited_by"));
		json_array_append_new(related, one);
	}
	view_same(o, debate, "task");
	json_object_set_new(o, "has_evidence", json_boolean(json_array_size(sources) + json_array_size(related) > 0));
	json_object_set_new(o, "grounded_verdict", json_null());
	json_object_set_new(o, "claims", json_array());
	json_put_int(o, "evidence_count", (int64_t)json_array_size(sources));
	json_object_set_new(o, "citations", sources);
	json_object_set(o, "evidence", related);
	json_object_set_new(o, "related_evidence", related);
	view_fraction(o, "evidence_quality_score", result != NULL ? v.quality : 0);
	return o;
}

void view_evidence_cut(json_t *evidence, double relevance_min, size_t limit)
{
	const json_t *e, *other, *all = json_get_arr(evidence, "evidence");
	json_t *kept = json_array();
	size_t i, k;

	json_array_foreach(all, i, e)
	{
		double relevance = json_get_num(e, "relevance_score", 0);

		json_array_foreach(kept, k, other) if (json_get_num(other, "relevance_score", 0) < relevance) break;
		if (relevance >= relevance_min && k < limit)
			json_array_insert(kept, k, json_array_get(all, i));
		if (json_array_size(kept) > limit)
			json_array_remove(kept, limit);
	}
	json_object_set(evidence, "related_evidence", kept);
	json_object_set_new(evidence, "evidence", kept);
}

/* Is proof asked of anybody? No: claims are judged by agents only. */
static json_t *view_verification(struct arena *a, const json_t *debate, const json_t *result)
{
	json_t *o = view_open(debate);

	(void)a;
	(void)result;
	json_object_set_new(o, "verification_enabled", json_false());
	json_object_set_new(o, "verification_results", json_object());
	json_object_set_new(o, "verification_bonuses", json_object());
	json_object_set_new(o, "summary",
			    json_pack("{s:i, s:i, s:f}", "total_verified_claims", 0, "agents_with_verified_claims", 0,
				      "total_bonus_applied", 0.0));
	json_object_set_new(o, "verified", json_false());
	json_put_int(o, "claims_verified", 0);
	json_put_int(o, "claims_total", 0);
	json_object_set_new(o, "verification_details", json_array());
	json_object_set_new(o, "bonuses", json_array());
	view_same(o, debate, "winner");
	view_same(o, debate, "consensus_reached");
	view_same(o, debate, "confidence");
	json_object_set(o, "generated_at", json_object_get(debate, "completed_at"));
	return o;
}

/* ---- summary ---- */

static struct str view_item(struct str line)
{
	size_t n = 0;

	line = str_trim(line);
	if (str_starts(line, STR("- ")) || str_starts(line, STR("* ")))
		return str_trim(str_sub(line, 2, line.n));
	while (n < line.n && n < 3 && line.p[n] >= '0' && line.p[n] <= '9')
		n++;
	if (n > 0 && n + 1 < line.n && (line.p[n] == '.' || line.p[n] == ')') && line.p[n + 1] == ' ')
		return str_trim(str_sub(line, n + 2, line.n));
	return STR("");
}

/* Items of lists in the answer: those under a heading that speaks of steps, and the others. */
static void view_points(struct str answer, json_t *points, json_t *steps)
{
	struct str line;
	bool in_steps = false;

	while (str_split(&answer, '\n', &line)) {
		struct str item = view_item(line);

		if (item.n == 0) {
			if (str_trim(line).n > 0)
				in_steps = str_ifind(line, STR("step")) >= 0 || str_ifind(line, STR("action")) >= 0;
			continue;
		}
		if (json_array_size(in_steps ? steps : points) < VIEW_LIST_MAX)
			json_array_append_new(in_steps ? steps : points, json_str(str_utf8_cut(item, VIEW_SENTENCE)));
	}
}

static void view_caveats(json_t *list, const json_t *result)
{
	const json_t *e, *reason;
	size_t i, k;

	json_array_foreach(json_get_arr(result, "dissents"), i, e)
	    json_array_foreach(json_get_arr(e, "reasons"), k, reason) if (json_array_size(list) < VIEW_LIST_MAX)
		json_array_append(list, json_array_get(json_get_arr(e, "reasons"), k));
}

static const char *view_label(double confidence)
{
	return confidence >= .8 ? "high" : confidence >= .5 ? "medium" : "low";
}

static json_t *view_summary_of(const json_t *debate, const json_t *result)
{
	struct str answer = json_get_str(result, "final_answer", STR("")),
		   strength = json_get_str(json_get_obj(result, "consensus"), "strength", STR("none"));
	json_t *o = json_object(), *points = json_array(), *steps = json_array(), *caveats = json_array(),
	       *agree = json_array(), *disagree = json_array();
	const json_t *e;
	size_t i;

	view_points(answer, points, steps);
	view_caveats(caveats, result);
	json_array_foreach(json_get_arr(result, "dissents"), i, e)
	    json_array_append_new(disagree, json_str(json_get_str(e, "view", STR(""))));
	if (json_get_bool(debate, "consensus_reached", false))
		json_array_append_new(agree, json_str(str_utf8_cut(parse_position(answer), VIEW_SENTENCE)));
	json_put_str(o, "one_liner", str_utf8_cut(parse_position(answer), VIEW_SENTENCE));
	json_object_set_new(o, "key_points", points);
	json_object_set_new(o, "agreement_areas", agree);
	json_object_set_new(o, "disagreement_areas", disagree);
	view_same(o, debate, "confidence");
	json_put_str(o, "confidence_label", str_of(view_label(json_get_num(debate, "confidence", 0))));
	json_put_str(o, "consensus_strength",
		     str_eqz(strength, "unanimous")  ? STR("strong")
		     : str_eqz(strength, "moderate") ? STR("medium")
		     : str_eqz(strength, "split")    ? STR("none")
						     : strength);
	json_object_set_new(o, "next_steps", steps);
	json_object_set_new(o, "caveats", caveats);
	view_same(o, debate, "rounds_used");
	json_put_int(o, "agents_participated", (int64_t)json_array_size(json_get_arr(debate, "agents")));
	view_same(o, debate, "duration_seconds");
	return o;
}

static json_t *view_summary_page(struct arena *a, const json_t *debate, const json_t *result)
{
	json_t *o = view_open(debate), *inner = view_summary_of(debate, result);

	(void)a;
	json_object_set(o, "key_points", json_object_get(inner, "key_points"));
	json_object_set(o, "dissenting_views", json_object_get(inner, "disagreement_areas"));
	json_object_set_new(o, "summary", inner);
	view_same(o, debate, "task");
	view_same(o, debate, "consensus_reached");
	view_same(o, debate, "confidence");
	json_object_set_new(o, "verdict",
			    result != NULL ? json_string(receipt_verdict(json_get_obj(result, "consensus")))
					   : json_null());
	view_fraction(o, "evidence_quality",
		      result != NULL ? evidence_of(json_get_str(result, "final_answer", STR(""))).quality : 0);
	json_object_set(o, "generated_at", json_object_get(debate, "completed_at"));
	return o;
}

/* ---- how the debate went ---- */

static void view_observe(json_t *list, const char *type, double severity, struct str agent, int64_t round,
			 struct str description)
{
	json_t *o = json_pack("{s:s, s:f, s:o, s:I}", "type", type, "severity", severity, "agent",
			      agent.n > 0 ? json_str(agent) : json_null(), "round", (json_int_t)round);

	json_put_str(o, "description", description);
	json_array_append_new(list, o);
}

/* The largest change of a text in a round. */
static int64_t view_moved(const json_t *changes, int64_t round)
{
	int64_t most = 0;
	const json_t *e;
	size_t i;

	json_array_foreach(changes, i,
			   e) if (json_get_int(e, "round", 0) == round && json_get_int(e, "changed_ppm", 0) > most)
	    most = json_get_int(e, "changed_ppm", 0);
	return most;
}

/* Mean quality of the last texts by the engine's own measure (evidence.h). */
static json_t *view_performance(struct arena *a, const json_t *result, int64_t *mean)
{
	json_t *list = json_array(), *proposals = json_get_obj(result, "proposals"), *text;
	const char *agent;
	int64_t sum = 0, n = 0;

	json_object_foreach(proposals, agent, text)
	{
		struct evidence v = evidence_of((struct str){json_string_value(text), json_string_length(text)});
		json_t *o = json_pack("{s:s, s:f}", "agent", agent, "contribution_score", (double)v.quality / 1e6);

		json_put_str(o, "critique",
			     arena_printf(a, "sources %.0f %%, figures %.0f %%, reasons %.0f %%",
					  (double)v.citation / 1e4, (double)v.specificity / 1e4,
					  (double)v.reasoning / 1e4));
		json_array_append_new(list, o);
		sum += v.quality;
		n++;
	}
	*mean = n > 0 ? sum / n : 0;
	return list;
}

static void view_observations(struct arena *a, json_t *list, const json_t *result)
{
	const json_t *critiques = json_get_arr(result, "critiques"), *failures = json_get_obj(result, "agent_failures"),
		     *e;
	json_t *v;
	const char *agent;
	int64_t first;
	size_t i, repeated = view_repeated(a, critiques, &first);

	if (repeated > 0)
		view_observe(list, "repetition", .5, STR(""), first,
			     arena_printf(a, "%zu critiques repeat those of the round before", repeated));
	json_array_foreach(json_get_arr(result, "flips"), i, e)
	    view_observe(list, "flip", .3, json_get_str(e, "agent", STR("")), json_get_int(e, "round", 0),
			 STR("changed its position"));
	json_object_foreach((json_t *)(uintptr_t)failures, agent, v) view_observe(
	    list, "failure", .7, str_of(agent), 0, arena_printf(a, "%zu calls failed", json_array_size(v)));
}

static void view_say(json_t *list, bool is, const char *sentence)
{
	if (is)
		json_array_append_new(list, json_string(sentence));
}

/* The figures of the debate in words; each sentence is there only if its figure says so. */
static void view_judge(struct arena *a, json_t *o, const json_t *debate, const json_t *result, int64_t quality)
{
	const json_t *good = json_get_arr(o, "productive_rounds"), *idle = json_get_arr(o, "unproductive_rounds");
	bool reached = json_get_bool(debate, "consensus_reached", false),
	     failed = json_object_size(json_get_obj(result, "agent_failures")) > 0,
	     dissent = json_array_size(json_get_arr(result, "dissents")) > 0;
	json_t *strong = json_array(), *weak = json_array();

	view_say(strong, result != NULL && reached, "The agents came to a decision.");
	view_say(strong, json_array_size(good) > 0 && json_array_size(idle) == 0, "Every round changed a text.");
	view_say(strong, dissent, "The position of the minority is kept.");
	view_say(strong, result != NULL && quality >= EVIDENCE_QUALITY_MIN,
		 "The last texts name sources, figures and reasons.");
	view_say(weak, result != NULL && !reached, "The agents came to no decision.");
	view_say(weak, json_array_size(idle) > 0, "There were rounds in which no text changed.");
	view_say(weak, failed, "Calls of agents failed.");
	view_say(weak, result != NULL && quality < EVIDENCE_QUALITY_MIN,
		 "The last texts name few sources, figures or reasons.");
	json_put_str(o, "critique",
		     result == NULL
			 ? STR("")
			 : arena_printf(a,
					"%zu of %zu rounds changed something; quality of the texts %.0f %%; "
					"%zu strengths, %zu weaknesses.",
					json_array_size(good), json_array_size(good) + json_array_size(idle),
					(double)quality / 1e4, json_array_size(strong), json_array_size(weak)));
	json_object_set_new(o, "strengths", strong);
	json_object_set_new(o, "weaknesses", weak);
}

static json_t *view_meta_critique(struct arena *a, const json_t *debate, const json_t *result)
{
	json_t *o = view_open(debate), *good = json_array(), *idle = json_array(), *seen = json_array(),
	       *advice = json_array(), *explained = explain_changes(a, result);
	const json_t *changes = json_get_arr(explained, "changes");
	int64_t round, mean;

	for (round = 1; round <= view_last_round(changes); round++)
		json_array_append_new(view_moved(changes, round) >= VIEW_PRODUCTIVE_PPM ? good : idle,
				      json_integer(round));
	view_observations(a, seen, result);
	if (json_array_size(idle) > 0)
		json_array_append_new(advice, json_string("Fewer rounds: in some of them no text changed."));
	if (json_array_size(json_get_arr(result, "dissents")) > 0 && !json_get_bool(debate, "consensus_reached", false))
		json_array_append_new(advice, json_string("Let a judge or a person decide between the positions."));
	json_object_set_new(o, "agent_performance", view_performance(a, result, &mean));
	view_fraction(o, "overall_quality", mean);
	view_fraction(o, "quality_score", mean);
	json_object_set_new(o, "productive_rounds", good);
	json_object_set_new(o, "unproductive_rounds", idle);
	view_judge(a, o, debate, result, mean);
	json_object_set_new(o, "observations", seen);
	json_object_set_new(o, "recommendations", advice);
	json_decref(explained);
	return o;
}

/* ---- positions over time ---- */

static const char *view_stance(struct arena *a, struct str position, struct str chosen)
{
	static const struct {
		int64_t from;
		const char *name;
	} bands[] = {{850000, "strongly_agree"}, {600000, "agree"}, {400000, "lean_agree"}, {0, "neutral"}};
	int64_t alike;
	size_t i = 0;

	if (chosen.n == 0)
		return "neutral";
	alike = similarity_cosine(similarity_vector(a, position), similarity_vector(a, chosen));
	if (similarity_contradicts(position, chosen))
		return alike >= 400000 ? "strongly_disagree" : "disagree";
	while (alike < bands[i].from)
		i++;
	return bands[i].name;
}

/* Stances are towards the position that was chosen: by wording, and by the engine's test for contradiction. */
static json_t *view_positions(struct arena *a, const json_t *debate, const json_t *result)
{
	const json_t *messages = json_get_arr(result, "messages"), *m;
	struct str winner = json_get_str(result, "winner", STR("")), chosen = STR("");
	json_t *o = view_open(debate), *all = json_object(), *list, *pivots = view_list(result, "flips"),
	       *stable = json_object();
	size_t i;

	json_array_foreach(messages, i, m) if (winner.n > 0 && str_eq(json_get_str(m, "agent", STR("")), winner))
	    chosen = parse_position(json_get_str(m, "content", STR("")));
	json_array_foreach(messages, i, m)
	{
		struct str agent = json_get_str(m, "agent", STR("")),
			   position = parse_position(json_get_str(m, "content", STR("")));
		json_t *one = json_pack("{s:s%, s:O, s:s}", "agent", agent.p, agent.n, "round",
					json_object_get(m, "round"), "stance", view_stance(a, position, chosen));

		json_put_str(one, "key_argument", str_utf8_cut(position, VIEW_SENTENCE));
		json_object_set_new(one, "confidence", json_null());
		list = json_object_getn(all, agent.p, agent.n);
		if (list == NULL) {
			list = json_array();
			json_object_setn_new(all, agent.p, agent.n, list);
			json_object_setn_new(stable, agent.p, agent.n, json_real(1.0));
		}
		json_array_append_new(list, one);
	}
	json_array_foreach(pivots, i, m)
	{
		struct str agent = json_get_str(m, "agent", STR(""));
		size_t n = json_array_size(json_object_getn(all, agent.p, agent.n));
		double before = json_number_value(json_object_getn(stable, agent.p, agent.n));

		if (n > 1)
			json_object_setn_new(stable, agent.p, agent.n, json_real(before - 1.0 / (double)(n - 1)));
	}
	view_same(o, debate, "task");
	json_object_set(o, "topic", json_object_get(debate, "task"));
	json_object_set_new(o, "positions", all);
	json_object_set_new(
	    o, "summary",
	    json_pack("{s:f, s:I, s:I, s:o}", "convergence_score",
		      (double)json_get_int(json_get_obj(result, "convergence"), "agreement_ppm", 0) / 1e6,
		      "total_pivots", (json_int_t)json_array_size(pivots), "reversals",
		      (json_int_t)json_array_size(pivots), "stability_scores", stable));
	json_object_set_new(o, "pivots", pivots);
	return o;
}

/* ---- running it ---- */

static size_t view_count_of(const json_t *list, const char *key, struct str agent)
{
	const json_t *e;
	size_t i, n = 0;

	json_array_foreach(list, i, e) n += str_eq(json_get_str(e, key, STR("")), agent);
	return n;
}

static json_t *view_diagnostics(struct arena *a, const json_t *debate, const json_t *result)
{
	const json_t *failures = json_get_obj(result, "agent_failures"), *name,
		     *per = json_get_obj(result, "per_agent");
	json_t *o = view_open(debate), *agents = json_array(), *advice = json_array();
	size_t i;

	(void)a;
	json_array_foreach(json_get_arr(debate, "agents"), i, name)
	{
		struct str agent = {json_string_value(name), json_string_length(name)};
		const json_t *mine = json_object_getn(failures, agent.p, agent.n),
			     *last = json_array_get(mine, json_array_size(mine) - 1);
		size_t said = view_count_of(json_get_arr(result, "messages"), "agent", agent);
		json_t *one =
		    json_pack("{s:s%, s:s, s:I, s:I, s:I, s:o}", "name", agent.p, agent.n, "status",
			      result != NULL && said == 0 ? "failed" : "success", "rounds_participated",
			      (json_int_t)said, "proposals", (json_int_t)said, "critiques",
			      (json_int_t)view_count_of(json_get_arr(result, "critiques"), "agent", agent), "error",
			      last != NULL ? json_str(json_get_str(last, "message", STR(""))) : json_null());

		json_object_set(one, "provider", json_object_get(json_object_getn(per, agent.p, agent.n), "provider"));
		json_array_append_new(agents, one);
		if (last != NULL)
			json_array_append_new(
			    advice, json_str(arena_printf(a, "Look at the provider of %.*s: %.*s", STR_ARG(agent),
							  STR_ARG(json_get_str(last, "error_type", STR(""))))));
	}
	view_same(o, debate, "status");
	view_same(o, debate, "duration_seconds");
	json_object_set_new(o, "agents", agents);
	json_object_set_new(o, "consensus", json_object());
	json_object_set(json_object_get(o, "consensus"), "reached", json_object_get(debate, "consensus_reached"));
	json_put_str(json_object_get(o, "consensus"), "method", json_get_str(result, "method", STR("")));
	json_object_set(json_object_get(o, "consensus"), "confidence", json_object_get(debate, "confidence"));
	json_object_set_new(o, "receipt_generated",
			    json_boolean(json_is_string(json_object_get(debate, "receipt_id"))));
	json_object_set_new(o, "suggestions", advice);
	return o;
}

/* {"1": {calls, tokens_in, tokens_out, cost_usd}} of rows of the ledger; their steps begin with "r<round>.". */
static json_t *view_round_costs(struct arena *a, const json_t *calls)
{
	static const char *const sums[] = {"tokens_in", "tokens_out", "cost_micro"};
	json_t *rounds = json_object(), *e, *o;
	const char *name;
	size_t i, k;

	json_array_foreach(calls, i, e)
	{
		struct str step = json_get_str(e, "step", STR(""));
		ptrdiff_t dot = str_chr(step, '.');
		uint64_t round;

		if (dot < 2 || step.p[0] != 'r' || !str_to_u64(str_sub(step, 1, (size_t)dot), INT32_MAX, &round))
			continue;
		o = json_object_getn(rounds, step.p + 1, (size_t)dot - 1);
		if (o == NULL) {
			o = json_object();
			json_object_setn_new(rounds, step.p + 1, (size_t)dot - 1, o);
		}
		json_put_int(o, "calls", json_get_int(o, "calls", 0) + 1);
		for (k = 0; k < countof(sums); k++)
			json_put_int(o, sums[k], json_get_int(o, sums[k], 0) + json_get_int(e, sums[k], 0));
	}
	json_object_foreach(rounds, name, o)
	{
		json_put_str(o, "cost_usd", arena_printf(a, "%.6f", (double)json_get_int(o, "cost_micro", 0) / 1e6));
		json_object_del(o, "cost_micro");
	}
	return rounds;
}

static json_t *view_costs(struct arena *a, const json_t *debate, const json_t *result)
{
	json_t *inner = view_open(debate), *agents = json_object(), *models = json_object(), *e,
	       *per_agent = json_get_obj(result, "per_agent");
	int64_t calls = 0;
	const char *agent;

	json_object_foreach(per_agent, agent, e)
	{
		int64_t cost = json_get_int(e, "cost_micro", 0), used;
		struct str model = json_get_str(e, "model", STR(""));
		json_t *had = json_object_getn(models, model.p, model.n);

		calls += json_get_int(e, "calls", 0);
		used = json_get_int(e, "calls", 0) + json_get_int(had, "calls", 0);
		json_object_set_new(agents, agent,
				    json_pack("{s:o, s:O, s:O, s:O}", "cost_usd",
					      json_str(arena_printf(a, "%.6f", (double)cost / 1e6)), "calls",
					      json_object_get(e, "calls"), "tokens_in", json_object_get(e, "tokens_in"),
					      "tokens_out", json_object_get(e, "tokens_out")));
		cost += json_get_int(had, "cost_micro", 0);
		if (model.n > 0)
			json_object_setn_new(models, model.p, model.n,
					     json_pack("{s:I, s:I, s:f}", "calls", (json_int_t)used, "cost_micro",
						       (json_int_t)cost, "cost_usd", (double)cost / 1e6));
	}
	json_put_str(inner, "total_cost_usd",
		     arena_printf(a, "%.6f", (double)json_get_int(result, "cost_micro", 0) / 1e6));
	json_put_int(inner, "total_tokens_in", json_get_int(result, "tokens_in", 0));
	json_put_int(inner, "total_tokens_out", json_get_int(result, "tokens_out", 0));
	json_put_int(inner, "total_calls", calls);
	json_object_set_new(inner, "per_agent", agents);
	json_object_set_new(inner, "per_round", view_round_costs(a, json_get_arr(debate, EXPLAIN_RECORDED)));
	json_object_set_new(inner, "model_usage", models);
	return json_pack("{s:o}", "data", inner);
}

static const struct explain_view views[] = {
    {"convergence", view_convergence},
    {"impasse", view_impasse},
    {"citations", view_citations},
    {"evidence", view_evidence},
    {"summary", view_summary_page},
    {"verification-report", view_verification},
    {"meta-critique", view_meta_critique},
    {"positions", view_positions},
    {"diagnostics", view_diagnostics},
    {"costs", view_costs},
    {"graph", view_graph},
    {"graph-stats", view_graph_stats},
    {"stats", view_graph_stats},
    {"rhetorical", view_rhetorical},
    {"timeline", view_timeline},
    {"trickster", view_trickster},
    {"reasoning", view_reasoning},
};

const struct explain_view *explain_view_find(const char *name)
{
	size_t i;

	for (i = 0; i < countof(views); i++)
		if (strcmp(name, views[i].name) == 0)
			return &views[i];
	return NULL;
}
