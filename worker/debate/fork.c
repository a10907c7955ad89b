/* SPDX-License-Identifier: MIT */
/*
 * Bodies, histories and open questions out of plans and results, see fork.h. Called by fork_api.c and by graph debates.
 * Reads no store.
 */
#include "worker/debate/fork.h"

#include "common/json.h"

#define FORK_HISTORY_MAX (48 * 1024) /* bytes of what is inherited */
#define FORK_MESSAGE_MAX 8192
#define FORK_SUGGESTIONS_MAX 10
#define FORK_SEVERE_MILLI 5000 /* an objection from half of the scale on is worth a question, debate.md 3.3 */
#define FORK_GRAVE_MILLI 7000
#define FORK_TOPIC_MAX 160
#define FORK_ANSWER_MAX 6000

json_t *fork_body(struct arena *a, const json_t *plan)
{
	static const char *const agent_keys[] = {"name", "provider", "model", "persona", "role"};
	static const struct {
		const char *plan, *body;
	} same[] = {{"task", "task"},           {"context", "context"},   {"rounds", "rounds"},
		    {"consensus", "consensus"}, {"topology", "topology"}, {"format", "debate_format"},
		    {"documents", "documents"}};
	const json_t *agents = json_get_arr(plan, "agents");
	json_t *body = json_own(a, json_object()), *list = json_array();
	size_t i, k;

	for (i = 0; i < countof(same); i++)
		if (json_object_get(plan, same[i].plan) != NULL)
			json_object_set(body, same[i].body, json_object_get(plan, same[i].plan));
	for (i = 0; i < json_array_size(agents); i++) {
		const json_t *agent = json_array_get(agents, i);
		json_t *o = json_object();

		for (k = 0; k < countof(agent_keys); k++)
			if (json_get_str(agent, agent_keys[k], STR("")).n > 0)
				json_object_set(o, agent_keys[k], json_object_get(agent, agent_keys[k]));
		json_array_append_new(list, o);
	}
	json_object_set_new(body, "agents", list);
	if (json_get_int(plan, "threshold_ppm", 0) >= 500000)
		json_object_set_new(body, "consensus_threshold",
				    json_real((double)json_get_int(plan, "threshold_ppm", 0) / 1e6));
	if (json_get_int(plan, "budget_micro", 0) > 0)
		json_object_set_new(body, "budget_limit_usd",
				    json_real((double)json_get_int(plan, "budget_micro", 0) / 1e6));
	return body;
}

/* ---- history ---- */

/* The number under which an agent is known in the history. */
static size_t fork_number(json_t *names, struct str agent)
{
	size_t i;

	for (i = 0; i < json_array_size(names); i++)
		if (str_eqz(agent, json_string_value(json_array_get(names, i))))
			return i + 1;
	json_array_append_new(names, json_str(agent));
	return json_array_size(names);
}

struct str fork_history(struct arena *a, const json_t *messages, int64_t round, int64_t *inherited)
{
	json_t *names = json_own(a, json_array());
	size_t i, n = json_array_size(messages), from;
	struct buf out = BUF_INIT;
	size_t size = 0;
	struct str text;

	*inherited = 0;
	/* Numbers first, so that they do not depend on what is left out. */
	for (i = 0; i < n; i++)
		(void)fork_number(names, json_get_str(json_array_get(messages, i), "agent", STR("")));
	for (from = n; from > 0; from--) {
		const json_t *m = json_array_get(messages, from - 1);
		size_t length = json_get_str(m, "content", STR("")).n;

		if (json_get_int(m, "round", 0) > round)
			continue;
		size += length < FORK_MESSAGE_MAX ? length : FORK_MESSAGE_MAX;
		if (size > FORK_HISTORY_MAX)
			break;
	}
	for (i = from; i < n; i++) {
		const json_t *m = json_array_get(messages, i);

		if (json_get_int(m, "round", 0) > round)
			continue;
		text = str_utf8_cut(json_get_str(m, "content", STR("")), FORK_MESSAGE_MAX);
		buf_printf(&out, "[Participant %zu, round %lld]\n%.*s\n\n",
			   fork_number(names, json_get_str(m, "agent", STR(""))),
			   (long long)json_get_int(m, "round", 0), STR_ARG(text));
		(*inherited)++;
	}
	text = arena_str(a, str_trim(buf_str(&out)));
	buf_free(&out);
	return text;
}

struct str fork_outcome(struct arena *a, struct str task, const json_t *result, struct str why)
{
	struct str answer = str_utf8_cut(json_get_str(result, "final_answer", STR("")), FORK_ANSWER_MAX);
	bool reached = json_get_bool(json_get_obj(result, "consensus"), "reached", false);

	return arena_printf(a, "This follows an earlier debate of the question: %.*s\n\n%s%.*s%s%.*s", STR_ARG(task),
			    answer.n == 0 ? "It has come to no conclusion."
			    : reached     ? "It agreed on this conclusion:\n\n"
					  : "It ended without agreement. What led was:\n\n",
			    STR_ARG(answer), why.n > 0 ? "\n\nWhat remained open: " : "", STR_ARG(why));
}

/* ---- open questions ---- */

struct fork_question {
	const char *kind;
	size_t index;
	struct str topic, question, rationale;
	const char *priority;
	int64_t value_ppm;
};

static void fork_suggest(struct arena *a, json_t *list, const struct fork_question *q)
{
	json_t *o;
	struct str id = arena_printf(a, "%s_%zu", q->kind, q->index + 1);

	if (json_array_size(list) >= FORK_SUGGESTIONS_MAX || q->topic.n == 0)
		return;
	o = json_object();
	json_put_str(o, "id", id);
	json_put_str(o, "crux_id", id);
	json_put_str(o, "topic", str_utf8_cut(q->topic, FORK_TOPIC_MAX));
	json_put_str(o, "question", q->question);
	json_put_str(o, "suggested_task", q->question);
	json_put_str(o, "rationale", q->rationale);
	json_put_str(o, "priority", str_of(q->priority));
	json_object_set_new(o, "estimated_value", json_real((double)q->value_ppm / 1e6));
	json_array_append_new(list, o);
}

/* Without a decision: the two positions that most was said for. */
static void fork_undecided(struct arena *a, json_t *list, const json_t *consensus)
{
	const json_t *groups = json_get_arr(consensus, "groups");
	const json_t *first = json_array_get(groups, 0), *second = json_array_get(groups, 1);
	struct str x = json_get_str(first, "label", STR("")), y = json_get_str(second, "label", STR(""));

	if (json_get_bool(consensus, "reached", false) || x.n == 0 || y.n == 0)
		return;
	fork_suggest(a, list,
		     &(struct fork_question){
			 "undecided", 0, x,
			 arena_printf(a, "Which of the two is right, and on what does it depend: “%.*s” or “%.*s”?",
				      STR_ARG(x), STR_ARG(y)),
			 STR("the debate ended without agreement between these positions"), "high",
			 1000000 - json_get_int(consensus, "margin_ppm", 0)});
}

static void fork_dissents(struct arena *a, json_t *list, const json_t *result)
{
	const json_t *consensus = json_get_obj(result, "consensus"), *dissents = json_get_arr(result, "dissents");
	int64_t sure = json_get_int(consensus, "confidence_ppm", 0);
	bool doubtful = !json_get_bool(consensus, "reached", false) || sure < 700000;
	size_t i;

	for (i = 0; i < json_array_size(dissents); i++) {
		const json_t *d = json_array_get(dissents, i);
		const json_t *reason = json_array_get(json_get_arr(d, "reasons"), 0);
		struct str view = str_utf8_cut(str_trim(json_get_str(d, "view", STR(""))), 400);

		fork_suggest(
		    a, list,
		    &(struct fork_question){
			"dissent", i, view,
			arena_printf(a, "What would have to be true for this to be the better answer: “%.*s”?",
				     STR_ARG(view)),
			reason != NULL ? str_of(json_string_value(reason)) : STR("a participant did not agree"),
			doubtful ? "high" : "medium", 1000000 - sure});
	}
}

/* Objections of the last round to what has won. */
static void fork_objections(struct arena *a, json_t *list, const json_t *result)
{
	const json_t *critiques = json_get_arr(result, "critiques");
	struct str winner = json_get_str(result, "winner", STR(""));
	int64_t last = json_get_int(result, "rounds_used", 0);
	size_t i;

	for (i = 0; i < json_array_size(critiques); i++) {
		const json_t *c = json_array_get(critiques, i), *issue = json_array_get(json_get_arr(c, "issues"), 0);
		int64_t severity = json_get_int(c, "severity_milli", 0);
		struct str text;

		if (issue == NULL || severity < FORK_SEVERE_MILLI || json_get_int(c, "round", 0) != last ||
		    (winner.n > 0 && !str_eq(json_get_str(c, "target_agent", STR("")), winner)))
			continue;
		text = str_utf8_cut(str_trim(str_of(json_string_value(issue))), 400);
		fork_suggest(
		    a, list,
		    &(struct fork_question){
			"objection", i, text,
			arena_printf(a, "How is this objection to the conclusion to be answered: “%.*s”?",
				     STR_ARG(text)),
			STR("it was raised in the last round, and no round followed in which it could be answered"),
			severity >= FORK_GRAVE_MILLI ? "high" : "medium", severity * 100});
	}
}

json_t *fork_suggestions(struct arena *a, const json_t *result)
{
	json_t *list = json_own(a, json_array());

	fork_undecided(a, list, json_get_obj(result, "consensus"));
	fork_dissents(a, list, result);
	fork_objections(a, list, result);
	return list;
}
