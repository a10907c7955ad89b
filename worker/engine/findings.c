/* SPDX-License-Identifier: MIT */
/*
 * Patterns of the winning position and suggestions of evidence (findings.h). Called by the engine's deciding step. It
 * tells what texts offer, by the marks of evidence.c, never whether that is true; it changes no decision.
 */
#include "worker/engine/findings.h"

#include "common/json.h"
#include "worker/engine/consensus.h"
#include "worker/engine/evidence.h"

#define FINDINGS_AHEAD_PPM 100000  /* by so much the worst winning text must be ahead of the best other one */
#define FINDINGS_MILDER_MILLI 1000 /* the same for the severity of criticism, of 10000 */
#define FINDINGS_POSITION_MAX 200  /* bytes of a position in a suggestion */

enum findings_mark { FINDINGS_SOURCES, FINDINGS_FIGURES, FINDINGS_REASONS, FINDINGS_MARKS };

static const char *const findings_patterns[FINDINGS_MARKS] = {
    [FINDINGS_SOURCES] = "names sources for more of its claims than any other position",
    [FINDINGS_FIGURES] = "gives figures and examples where the other positions hedge",
    [FINDINGS_REASONS] = "gives reasons more often than any other position",
};

static const struct {
	const char *lacks, *suggestion;
} findings_suggestions[] = {
    {"sources", "name a source for what is claimed"},
    {"figures", "replace hedges by a figure, a range or an example"},
    {"reasons", "say what follows from what"},
};

/* What one side offers: the least of the winning texts, the most of the others. */
struct findings_side {
	int64_t marks[FINDINGS_MARKS], severity;
	size_t n;
};

static void findings_take(struct findings_side *side, const struct seat *s, const struct evidence *v, bool least)
{
	const int64_t marks[FINDINGS_MARKS] = {v->citation, v->specificity, v->reasoning};
	int64_t severity = s->severity_count > 0 ? s->severity_sum / s->severity_count : 0;
	size_t i;

	for (i = 0; i < FINDINGS_MARKS; i++)
		if (side->n == 0 || (least ? marks[i] < side->marks[i] : marks[i] > side->marks[i]))
			side->marks[i] = marks[i];
	if (side->n == 0 || (least ? severity > side->severity : severity < side->severity))
		side->severity = severity;
	side->n++;
}

static json_t *findings_of(const struct findings_side *won, const struct findings_side *others)
{
	json_t *list = json_array();
	size_t i;

	if (won->n > 1)
		json_array_append_new(list, json_string("several agents came to it"));
	for (i = 0; others->n > 0 && i < FINDINGS_MARKS; i++)
		if (won->marks[i] >= others->marks[i] + FINDINGS_AHEAD_PPM)
			json_array_append_new(list, json_string(findings_patterns[i]));
	if (others->n > 0 && won->severity + FINDINGS_MILDER_MILLI <= others->severity)
		json_array_append_new(list, json_string("met milder criticism than any other position"));
	return list;
}

static void findings_suggest(const struct seat *s, const struct evidence *v, json_t *list)
{
	json_t *lacks = decision_lacks(v), *one, *lack;
	struct buf b = BUF_INIT;
	size_t i, k;

	json_array_foreach(lacks, i,
			   lack) for (k = 0; k < countof(findings_suggestions);
				      k++) if (strcmp(json_string_value(lack), findings_suggestions[k].lacks) == 0)
	    buf_printf(&b, "%s%s", i > 0 ? "; " : "", findings_suggestions[k].suggestion);
	if (json_array_size(lacks) > 0) {
		one = json_object();
		json_put_str(one, "agent", str_of(s->name));
		json_put_str(one, "position", str_utf8_cut(s->position, FINDINGS_POSITION_MAX));
		json_object_set(one, "lacks", lacks);
		json_put_str(one, "suggestion", buf_str(&b));
		json_array_append_new(list, one);
	}
	json_decref(lacks);
	buf_free(&b);
}

/* Is the agent one of those whose texts have won? */
static bool findings_won(const json_t *decision, struct str winner, const char *name)
{
	const json_t *groups = json_get_arr(json_get_obj(decision, "consensus"), "groups"), *group, *agent;
	bool with = false, has = false;
	size_t i, k;

	json_array_foreach(groups, i, group)
	{
		with = has = false;
		json_array_foreach(json_get_arr(group, "agents"), k, agent)
		{
			with |= str_eqz(winner, json_string_value(agent));
			has |= strcmp(name, json_string_value(agent)) == 0;
		}
		if (with)
			return has;
	}
	return false;
}

void findings_add(const struct debate_plan *plan, const struct seat *seats, size_t n, json_t *decision)
{
	bool known = str_ieqz(plan->language, "English") && !plan->demo;
	struct str winner = json_get_str(decision, "winner", STR(""));
	struct findings_side won = {{0}, 0, 0}, others = {{0}, 0, 0};
	json_t *suggestions = json_array();
	size_t i;

	for (i = 0; known && i < n; i++) {
		struct evidence v;
		bool with;

		if (!seats[i].in)
			continue;
		v = evidence_of(seats[i].text);
		with = findings_won(decision, winner, seats[i].name);
		findings_take(with ? &won : &others, &seats[i], &v, with);
		findings_suggest(&seats[i], &v, suggestions);
	}
	json_object_set_new(decision, "winning_patterns", won.n > 0 ? findings_of(&won, &others) : json_array());
	json_object_set_new(decision, "evidence_suggestions", suggestions);
}
