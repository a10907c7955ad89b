/* SPDX-License-Identifier: MIT */
/*
 * The shape of a debate: who answered what, as a graph, and how they spoke. Called as views of this room. Knows only
 * what was said to whom; it does not judge whether an argument holds.
 */
#include "common/json.h"
#include "worker/engine/parse.h"
#include "worker/explain/views.h"

#define SHAPE_TEXT 300     /* bytes shown of a node or an observation */
#define SHAPE_OBSERVED 200 /* observations listed; all are counted */
#define SHAPE_NODES_MAX 20000

/* ---- the graph ---- */

struct shape {
	json_t *nodes, *edges, *last; /* last: agent -> number of its latest text */
	json_t *answers;              /* agent -> numbers of critiques that its next text answers */
	size_t *depth;                /* longest way back from each node, itself included */
	size_t deepest, answered;
	struct arena *arena;
};

/* Edges lead back to what was there before: when one is made, both depths below it are known. */
static void shape_edge(struct shape *s, size_t from, size_t to, const char *type)
{
	json_array_append_new(
	    s->edges, json_pack("{s:s, s:s, s:s}", "source",
				json_string_value(json_object_get(json_array_get(s->nodes, from), "id")), "target",
				json_string_value(json_object_get(json_array_get(s->nodes, to), "id")), "type", type));
	if (s->depth[to] + 1 > s->depth[from])
		s->depth[from] = s->depth[to] + 1;
	if (s->depth[from] > s->deepest)
		s->deepest = s->depth[from];
}

/* Its number. */
static size_t shape_node(struct shape *s, char letter, const char *type, const json_t *from, int64_t round,
			 struct str content)
{
	size_t n = json_array_size(s->nodes);
	json_t *o = json_object();

	json_put_str(o, "id", arena_printf(s->arena, "%c%zu", letter, n));
	json_put_str(o, "type", str_of(type));
	json_object_set(o, "agent", json_object_get(from, "agent"));
	json_put_int(o, "round", round);
	json_put_str(o, "content", str_utf8_cut(content, SHAPE_TEXT));
	json_array_append_new(s->nodes, o);
	s->depth[n] = 1;
	if (s->deepest == 0)
		s->deepest = 1;
	return n;
}

/* The number that is kept under an agent's name; -1: none. */
static int64_t shape_last(const json_t *map, struct str agent)
{
	const json_t *v = json_object_getn(map, agent.p, agent.n);

	return json_is_integer(v) ? json_integer_value(v) : -1;
}

static void shape_critiques(struct shape *s, const json_t *result, int64_t round)
{
	const json_t *e;
	size_t i;

	json_array_foreach(json_get_arr(result, "critiques"), i, e)
	{
		struct str target = json_get_str(e, "target_agent", STR(""));
		int64_t at = shape_last(s->last, target);
		json_t *waiting = json_object_getn(s->answers, target.p, target.n);
		size_t n;

		if (json_get_int(e, "round", 0) != round)
			continue;
		n = shape_node(s, 'c', "counter", e, round, json_get_str(e, "reasoning", STR("")));
		if (at >= 0)
			shape_edge(s, n, (size_t)at, "attacks");
		if (waiting == NULL) {
			waiting = json_array();
			json_object_setn_new(s->answers, target.p, target.n, waiting);
		}
		json_array_append_new(waiting, json_integer((json_int_t)n));
	}
}

static void shape_texts(struct shape *s, const json_t *result, int64_t round)
{
	const json_t *e, *waiting, *v;
	size_t i, k;

	json_array_foreach(json_get_arr(result, "messages"), i, e)
	{
		struct str agent = json_get_str(e, "agent", STR(""));
		int64_t before = shape_last(s->last, agent);
		size_t n;

		if (json_get_int(e, "round", 0) != round)
			continue;
		n = shape_node(s, 'm', "claim", e, round, parse_position(json_get_str(e, "content", STR(""))));
		if (before >= 0)
			shape_edge(s, n, (size_t)before, "responds_to");
		waiting = json_object_getn(s->answers, agent.p, agent.n);
		s->answered += json_array_size(waiting);
		json_array_foreach(waiting, k, v) shape_edge(s, n, (size_t)json_integer_value(v), "responds_to");
		(void)json_object_deln(s->answers, agent.p, agent.n);
		json_object_setn_new(s->last, agent.p, agent.n, json_integer((json_int_t)n));
	}
}

static void shape_votes(struct shape *s, const json_t *result, int64_t round)
{
	const json_t *e;
	size_t i;

	json_array_foreach(json_get_arr(result, "votes"), i, e)
	{
		int64_t at = shape_last(s->last, json_get_str(e, "choice", STR("")));
		size_t n = shape_node(s, 'v', "argument", e, round, json_get_str(e, "reasoning", STR("")));

		if (at >= 0)
			shape_edge(s, n, (size_t)at, "supports");
	}
}

static size_t shape_size(const json_t *result)
{
	return json_array_size(json_get_arr(result, "messages")) + json_array_size(json_get_arr(result, "critiques")) +
	       json_array_size(json_get_arr(result, "votes"));
}

static int64_t shape_rounds(const json_t *result)
{
	int64_t last = json_get_int(result, "rounds_used", 0);
	const json_t *e;
	size_t i;

	json_array_foreach(json_get_arr(result, "messages"), i, e) if (json_get_int(e, "round", 0) > last) last =
	    json_get_int(e, "round", 0);
	return last < SHAPE_NODES_MAX ? last : 0;
}

static struct shape shape_make(struct arena *a, const json_t *result)
{
	int64_t last = shape_rounds(result), round;
	struct shape s = {.nodes = json_own(a, json_array()),
			  .edges = json_own(a, json_array()),
			  .last = json_own(a, json_object()),
			  .answers = json_own(a, json_object()),
			  .arena = a};

	if (shape_size(result) > SHAPE_NODES_MAX)
		return s;
	s.depth = arena_zalloc(a, (shape_size(result) + 1) * sizeof(*s.depth));
	for (round = 0; round <= last; round++) {
		shape_critiques(&s, result, round);
		shape_texts(&s, result, round);
	}
	shape_votes(&s, result, last);
	return s;
}

/* The most nodes of one round. */
static size_t shape_width(struct arena *a, const json_t *nodes, int64_t rounds)
{
	size_t *of = arena_zalloc(a, (size_t)(rounds + 1) * sizeof(*of)), most = 0, i;
	const json_t *e;

	json_array_foreach(nodes, i, e)
	{
		int64_t round = json_get_int(e, "round", 0);

		if (round >= 0 && round <= rounds && ++of[round] > most)
			most = of[round];
	}
	return most;
}

static json_t *shape_figures(struct arena *a, const struct shape *s, const json_t *result)
{
	size_t nodes = json_array_size(s->nodes), edges = json_array_size(s->edges);

	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:I}", "node_count", (json_int_t)nodes, "edge_count",
			 (json_int_t)edges, "total_nodes", (json_int_t)nodes, "total_edges", (json_int_t)edges, "depth",
			 (json_int_t)s->deepest, "max_width",
			 (json_int_t)shape_width(a, s->nodes, shape_rounds(result)), "branching_factor",
			 nodes > 0 ? (double)edges / (double)nodes : 0.0, "critiques_answered",
			 (json_int_t)s->answered);
}

json_t *view_graph_stats(struct arena *a, const json_t *debate, const json_t *result)
{
	struct shape s = shape_make(a, result);
	json_t *o = shape_figures(a, &s, result);

	json_object_set(o, "debate_id", json_object_get(debate, "id"));
	return o;
}

json_t *view_graph(struct arena *a, const json_t *debate, const json_t *result)
{
	struct shape s = shape_make(a, result);

	return json_pack("{s:O, s:O, s:O, s:o}", "debate_id", json_object_get(debate, "id"), "nodes", s.nodes, "edges",
			 s.edges, "metadata", shape_figures(a, &s, result));
}

/* ---- how they spoke ---- */

/* By phrases of English prose, whatever their case. weak: it claims more than it shows. */
static const struct shape_phrase {
	const char *text, *pattern;
	bool weak;
} shape_phrases[] = {
    {"you are right", "concession", false},
    {"good point", "concession", false},
    {"i concede", "concession", false},
    {"i agree that", "concession", false},
    {"i disagree", "rebuttal", false},
    {"on the contrary", "rebuttal", false},
    {"however,", "rebuttal", false},
    {"the critique is", "rebuttal", false},
    {"for example", "example", false},
    {"for instance", "example", false},
    {"according to", "citation", false},
    {"http://", "citation", false},
    {"https://", "citation", false},
    {"perhaps", "hedging", false},
    {"it depends", "hedging", false},
    {"might be", "hedging", false},
    {"obviously", "certainty", true},
    {"clearly", "certainty", true},
    {"undoubtedly", "certainty", true},
    {"without question", "certainty", true},
    {"experts agree", "appeal_to_authority", true},
    {"studies show", "appeal_to_authority", true},
    {"it is well known", "appeal_to_authority", true},
    {"everyone knows", "appeal_to_majority", true},
    {"everybody knows", "appeal_to_majority", true},
    {"most people", "appeal_to_majority", true},
};

struct speech {
	json_t *seen, *dynamics, *counts, *flagged;
	int64_t total;
};

static void speech_count(json_t *counts, const char *pattern)
{
	json_put_int(counts, pattern, json_get_int(counts, pattern, 0) + 1);
}

static void speech_add(struct speech *s, const json_t *from, const struct shape_phrase *p, struct str text, size_t at)
{
	struct str agent = json_get_str(from, "agent", STR(""));
	json_t *own = json_object_getn(s->dynamics, agent.p, agent.n), *o;

	if (own == NULL) {
		own = json_object();
		json_object_setn_new(s->dynamics, agent.p, agent.n, own);
	}
	speech_count(own, p->pattern);
	speech_count(s->counts, p->pattern);
	if (p->weak)
		json_object_setn_new(s->flagged, agent.p, agent.n, json_true());
	if (s->total++ >= SHAPE_OBSERVED)
		return;
	while (at > 0 && text.p[at - 1] != '\n' && text.p[at - 1] != '.')
		at--;
	o = json_object();
	json_put_str(o, "agent", agent);
	json_put_int(o, "round", json_get_int(from, "round", 0));
	json_put_str(o, "pattern", str_of(p->pattern));
	json_put_str(o, "phrase", str_of(p->text));
	json_put_str(o, "excerpt", str_utf8_cut(str_trim(str_sub(text, at, text.n)), SHAPE_TEXT));
	json_array_append_new(s->seen, o);
}

static void speech_scan(struct speech *s, const json_t *list, const char *key)
{
	const json_t *e;
	size_t i, k;

	json_array_foreach(list, i, e) for (k = 0; k < countof(shape_phrases); k++)
	{
		struct str text = json_get_str(e, key, STR(""));
		ptrdiff_t at = str_ifind(text, str_of(shape_phrases[k].text));

		if (at >= 0)
			speech_add(s, e, &shape_phrases[k], text, (size_t)at);
	}
}

static json_t *speech_names(const json_t *map)
{
	json_t *list = json_array(), *v;
	const char *name;

	json_object_foreach((json_t *)(uintptr_t)map, name, v) json_array_append_new(list, json_string(name));
	return list;
}

/* Each phrase counts once in each text. */
json_t *view_rhetorical(struct arena *a, const json_t *debate, const json_t *result)
{
	struct speech s = {.seen = json_array(),
			   .dynamics = json_object(),
			   .counts = json_object(),
			   .flagged = json_own(a, json_object())};

	speech_scan(&s, json_get_arr(result, "messages"), "content");
	speech_scan(&s, json_get_arr(result, "critiques"), "reasoning");
	return json_pack("{s:O, s:o, s:o, s:o, s:I, s:{s:I, s:o, s:o}}", "debate_id", json_object_get(debate, "id"),
			 "observations", s.seen, "dynamics", s.dynamics, "pattern_counts", json_incref(s.counts),
			 "total_observations", (json_int_t)s.total, "summary", "total_observations",
			 (json_int_t)s.total, "patterns_detected", speech_names(json_own(a, s.counts)),
			 "agents_flagged", speech_names(s.flagged));
}
