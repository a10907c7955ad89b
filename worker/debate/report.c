/* SPDX-License-Identifier: MIT */
/*
 * Reports on agreement, partial agreement and disagreement (debate.md 3.7), with severities on their one scale of 0 to
 * 10. Called when a debate is shown. Stores nothing and asks nobody: what is not in the result is not claimed.
 */
#include "worker/debate/report.h"

#include "common/json.h"
#include "worker/engine/consensus.h"
#include "worker/engine/similarity.h"

#define REPORT_ISSUE_MAX 100 /* bytes of an issue that are told (debate.md 3.7) */
#define REPORT_CRUXES_MAX 5

static json_t *report_real(int64_t v, double unit)
{
	return json_real((double)v / unit);
}

static bool report_has(const json_t *list, struct str name)
{
	const json_t *e;
	size_t i;

	json_array_foreach(list, i, e) if (str_eqz(name, json_string_value(e))) return true;
	return false;
}

/* ---- issues that all critics of a text found ---- */

struct report_issue {
	const json_t *critique;
	struct str text;
	const struct similarity_vector *words;
};

/* Of the last round: what was said before has been answered since. */
static size_t report_issues(struct arena *a, const json_t *result, struct report_issue *out)
{
	const json_t *critiques = json_get_arr(result, "critiques"), *issues;
	int64_t last = json_get_int(result, "rounds_used", 0);
	size_t i, k, n = 0;

	for (i = 0; i < json_array_size(critiques); i++) {
		const json_t *c = json_array_get(critiques, i);

		if (json_get_int(c, "round", 0) != last)
			continue;
		issues = json_get_arr(c, "issues");
		for (k = 0; k < json_array_size(issues) && n < REPORT_ISSUES_MAX; k++) {
			struct str text = str_of(json_string_value(json_array_get(issues, k)));

			out[n++] = (struct report_issue){c, text, similarity_vector(a, text)};
		}
	}
	return n;
}

static bool report_same_target(const struct report_issue *x, const struct report_issue *y)
{
	return str_eq(json_get_str(x->critique, "target_agent", STR("")),
		      json_get_str(y->critique, "target_agent", STR("")));
}

/* Critics with an issue like this one; *critics: how many the text had. */
static json_t *report_agreeing(const struct report_issue *issues, size_t n, size_t at, size_t *critics)
{
	json_t *who = json_array();
	const json_t *last = NULL;
	size_t i;

	*critics = 0;
	for (i = 0; i < n; i++) {
		struct str critic = json_get_str(issues[i].critique, "agent", STR(""));

		if (!report_same_target(&issues[i], &issues[at]))
			continue;
		*critics += issues[i].critique != last;
		last = issues[i].critique;
		if (similarity_cosine(issues[i].words, issues[at].words) >= CONSENSUS_POSITION_PPM &&
		    !report_has(who, critic))
			json_array_append_new(who, json_str(critic));
	}
	return who;
}

static json_t *report_unanimous(const json_t *result)
{
	struct report_issue issues[REPORT_ISSUES_MAX];
	struct arena *a = arena_new(0);
	size_t n = report_issues(a, result, issues), i, critics;
	json_t *list = json_array(), *who, *o;

	for (i = 0; i < n; i++) {
		/* Told once, at the first critic who says it. */
		who = report_agreeing(issues, n, i, &critics);
		if (critics >= 2 && json_array_size(who) == critics &&
		    str_eqz(json_get_str(issues[i].critique, "agent", STR("")),
			    json_string_value(json_array_get(who, 0)))) {
			o = json_object();
			json_put_str(o, "target", json_get_str(issues[i].critique, "target_agent", STR("")));
			json_put_str(o, "issue", str_utf8_cut(issues[i].text, REPORT_ISSUE_MAX));
			json_object_set(o, "critics", who);
			json_array_append_new(list, o);
		}
		json_decref(who);
	}
	arena_free(a);
	return list;
}

/* ---- votes ---- */

static const json_t *report_group_of(const json_t *result, struct str agent)
{
	const json_t *groups = json_get_arr(json_get_obj(result, "consensus"), "groups");
	size_t i;

	for (i = 0; i < json_array_size(groups); i++)
		if (report_has(json_get_arr(json_array_get(groups, i), "agents"), agent))
			return json_array_get(groups, i);
	return NULL;
}

/* Who voted for a proposal of this group. */
static json_t *report_voters(const json_t *result, const json_t *group)
{
	const json_t *votes = json_get_arr(result, "votes"), *v;
	json_t *list = json_array();
	size_t i;

	json_array_foreach(votes, i,
			   v) if (group != NULL && report_group_of(result, json_get_str(v, "choice", STR(""))) == group)
	    json_array_append_new(list, json_str(json_get_str(v, "agent", STR(""))));
	return list;
}

static json_t *report_split(const json_t *result)
{
	const json_t *groups = json_get_arr(json_get_obj(result, "consensus"), "groups"), *g;
	json_t *list = json_array(), *o, *voters;
	size_t i;

	json_array_foreach(groups, i, g)
	{
		voters = report_voters(result, g);
		if (json_array_size(voters) > 0) {
			o = json_object();
			json_put_str(o, "position", json_get_str(g, "label", STR("")));
			json_object_set(o, "held_by", voters);
			json_put_int(o, "votes", (int64_t)json_array_size(voters));
			json_array_append_new(list, o);
		}
		json_decref(voters);
	}
	if (json_array_size(list) < 2) /* nobody is split from anybody */
		json_array_clear(list);
	return list;
}

static json_t *report_alignment(const json_t *result)
{
	const json_t *votes = json_get_arr(result, "votes"), *v;
	json_t *o = json_object();
	size_t i;

	json_array_foreach(votes, i, v)
	    json_object_set_new(o, json_string_value(json_object_get(v, "agent")),
				report_voters(result, report_group_of(result, json_get_str(v, "choice", STR("")))));
	return o;
}

/* ---- risks ---- */

static void report_risk(json_t *list, const char *kind, struct str agent, struct str detail, const char *unit,
			json_t *v)
{
	json_t *o = json_pack("{s:s}", "kind", kind);

	json_put_str(o, "agent", agent);
	json_put_str(o, "detail", detail);
	json_object_set_new(o, unit, v);
	json_array_append_new(list, o);
}

static void report_unsure(const json_t *result, json_t *list)
{
	const json_t *votes = json_get_arr(result, "votes"), *v;
	size_t i;

	json_array_foreach(votes, i, v)
	{
		int64_t sure = json_get_int(v, "confidence_ppm", 0);

		if (sure < REPORT_UNSURE_PPM && json_array_size(list) < REPORT_RISKS_MAX)
			report_risk(list, "unsure_vote", json_get_str(v, "agent", STR("")),
				    json_get_str(v, "reasoning", STR("")), "confidence", report_real(sure, 1e6));
	}
}

static bool report_severe(const json_t *result, const json_t *critique)
{
	return json_get_int(critique, "severity_milli", 0) >= REPORT_SEVERE_MILLI &&
	       json_get_int(critique, "round", 0) == json_get_int(result, "rounds_used", 0) &&
	       str_eq(json_get_str(critique, "target_agent", STR("")), json_get_str(result, "winner", STR("-")));
}

static struct str report_first_issue(const json_t *critique)
{
	const json_t *issues = json_get_arr(critique, "issues");

	return json_array_size(issues) > 0 ? str_of(json_string_value(json_array_get(issues, 0)))
					   : json_get_str(critique, "reasoning", STR(""));
}

static json_t *report_risks(const json_t *result)
{
	const json_t *critiques = json_get_arr(result, "critiques"), *c;
	json_t *list = json_array();
	size_t i, severe = 0;

	report_unsure(result, list);
	json_array_foreach(critiques, i, c) if (severe < REPORT_SEVERE_MAX && report_severe(result, c))
	{
		report_risk(list, "severe_critique", json_get_str(c, "agent", STR("")), report_first_issue(c),
			    "severity", report_real(json_get_int(c, "severity_milli", 0), 1e3));
		severe++;
	}
	return list;
}

/* ---- the reports ---- */

json_t *report_disagreement(const json_t *result)
{
	json_t *o;

	if (json_array_size(json_get_arr(result, "votes")) == 0 &&
	    json_array_size(json_get_arr(result, "critiques")) == 0)
		return NULL;
	o = json_object();
	json_object_set_new(o, "unanimous_critiques", report_unanimous(result));
	json_object_set_new(o, "split_opinions", report_split(result));
	json_object_set_new(o, "risk_areas", report_risks(result));
	json_object_set_new(o, "agreement_score",
			    report_real(json_get_int(json_get_obj(result, "consensus"), "share_ppm", 0), 1e6));
	json_object_set_new(o, "agent_alignment", report_alignment(result));
	return o;
}

/* Voters for anything else, and the positions they hold instead. */
static void report_against(const json_t *result, const json_t *group, json_t *item)
{
	const json_t *votes = json_get_arr(result, "votes"), *v, *other;
	json_t *agents = json_array(), *views = json_array();
	size_t i;

	json_array_foreach(votes, i, v)
	{
		other = report_group_of(result, json_get_str(v, "choice", STR("")));
		if (other == NULL || other == group)
			continue;
		json_array_append_new(agents, json_str(json_get_str(v, "agent", STR(""))));
		if (!report_has(views, json_get_str(other, "label", STR(""))))
			json_array_append_new(views, json_str(json_get_str(other, "label", STR(""))));
	}
	json_object_set_new(item, "dissenting_agents", agents);
	json_object_set_new(item, "dissenting_views", views);
}

static json_t *report_item(const json_t *result, const json_t *group, size_t number, int64_t total)
{
	const json_t *consensus = json_get_obj(result, "consensus");
	bool wins = report_has(json_get_arr(group, "agents"), json_get_str(result, "winner", STR("")));
	bool agreed = wins && json_get_bool(consensus, "reached", false);
	int64_t weight = json_get_int(group, "weight_ppm", 0);
	json_t *o = json_object();
	char id[32];

	(void)snprintf(id, sizeof(id), "position-%zu", number);
	json_put_str(o, "item_id", str_of(id));
	json_put_str(o, "topic", str_utf8_cut(json_get_str(result, "task", STR("")), REPORT_ISSUE_MAX));
	json_put_str(o, "statement", json_get_str(group, "label", STR("")));
	json_object_set_new(o, "confidence", json_real(total > 0 ? (double)weight / (double)total : 0.0));
	json_object_set_new(o, "agreed", json_boolean(agreed));
	json_object_set_new(o, "supporting_agents", report_voters(result, group));
	report_against(result, group, o);
	json_put_str(o, "source", STR("votes"));
	json_object_set_new(o, "actionable", json_boolean(agreed));
	return o;
}

json_t *report_partial_consensus(const json_t *result)
{
	const json_t *groups = json_get_arr(json_get_obj(result, "consensus"), "groups"), *g;
	json_t *items, *o;
	int64_t total = 0;
	size_t i;

	if (json_array_size(groups) == 0 || json_array_size(json_get_arr(result, "votes")) == 0)
		return NULL;
	json_array_foreach(groups, i, g) total += json_get_int(g, "weight_ppm", 0);
	items = json_array();
	json_array_foreach(groups, i, g) json_array_append_new(items, report_item(result, g, i + 1, total));
	o = json_pack("{s:o}", "items", items);
	json_object_set_new(o, "overall_consensus",
			    json_boolean(json_get_bool(json_get_obj(result, "consensus"), "reached", false)));
	return o;
}

/* Has the author answered, that is, said something after the critique of that round? */
static bool report_answered(const json_t *result, const json_t *critique)
{
	const json_t *messages = json_get_arr(result, "messages"), *m;
	size_t i;

	json_array_foreach(messages, i, m) if (json_get_int(m, "round", 0) == json_get_int(critique, "round", -1) &&
					       str_eq(json_get_str(m, "agent", STR("")),
						      json_get_str(critique, "target_agent", STR("-")))) return true;
	return false;
}

json_t *report_cruxes(const json_t *result)
{
	const json_t *critiques = json_get_arr(result, "critiques"), *c;
	json_t *list = json_array(), *o;
	size_t i;

	json_array_foreach(critiques, i, c)
	{
		if (!report_severe(result, c) || json_array_size(list) == REPORT_CRUXES_MAX)
			continue;
		o = json_object();
		json_put_str(o, "claim", report_first_issue(c));
		json_put_str(o, "target", json_get_str(c, "target_agent", STR("")));
		json_put_str(o, "raised_by", json_get_str(c, "agent", STR("")));
		json_object_set_new(o, "severity", report_real(json_get_int(c, "severity_milli", 0), 1e3));
		json_object_set_new(o, "answered", json_boolean(report_answered(result, c)));
		json_array_append_new(list, o);
	}
	return list;
}
