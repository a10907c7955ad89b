/* SPDX-License-Identifier: MIT */
/*
 * What watchers are told of votes and suggestions, see inbox_events.h. Called by step_inbox while it takes them; the
 * engine tells itself what it does with interventions. Pure.
 */
#include "worker/debate/inbox_events.h"

#include "common/json.h"

#define INBOX_MIDDLE 5

/* What people are shown, to two digits; the decision has its own arithmetic. */
static double inbox_weight(int64_t intensity)
{
	return (double)(int64_t)(100 * (0.5 + (double)(intensity - 1) * 0.1667) + 0.5) / 100;
}

static json_t *inbox_event(struct str debate_id, const json_t *item)
{
	json_t *o = json_pack("{s:s%}", "debate_id", debate_id.p, debate_id.n);

	json_put_str(o, "user_id", json_get_str(item, "user_id", STR("")));
	json_put_str(o, "intervention_id", json_get_str(item, "id", STR("")));
	return o;
}

static void inbox_emit_vote(struct step *s, struct str debate_id, int round, const json_t *item)
{
	const json_t *payload = json_get_obj(item, "payload");
	int64_t intensity = json_get_int(payload, "intensity", INBOX_MIDDLE);
	struct str choice = json_get_str(payload, "choice", STR(""));
	json_t *o = inbox_event(debate_id, item);

	json_put_str(o, "choice", choice);
	json_put_str(o, "vote", choice);
	json_put_int(o, "intensity", intensity);
	json_object_set_new(o, "weight", json_real(inbox_weight(intensity)));
	step_emit(s, "user_vote", NULL, round, o);
}

static void inbox_emit_suggestion(struct step *s, struct str debate_id, int round, const json_t *item)
{
	static const char *const types[] = {"user_suggestion", "audience_suggestion"};
	struct str text = json_get_str(json_get_obj(item, "payload"), "suggestion", STR(""));
	size_t i;

	for (i = 0; i < countof(types); i++) {
		json_t *o = inbox_event(debate_id, item);

		json_put_str(o, "suggestion", text);
		json_put_str(o, "content", text);
		json_put_str(o, "text", text);
		step_emit(s, types[i], NULL, round, o);
	}
}

/* object[key] += n */
static void inbox_add(json_t *object, const char *key, double n, bool whole)
{
	double sum = json_number_value(json_object_get(object, key)) + n;

	json_object_set_new(object, key, whole ? json_integer((json_int_t)sum) : json_real(sum));
}

static json_t *inbox_scale(void)
{
	json_t *o = json_object();
	char level[12];
	int i;

	for (i = 1; i <= 10; i++) {
		(void)snprintf(level, sizeof(level), "%d", i);
		json_object_set_new(o, level, json_integer(0));
	}
	return o;
}

static json_t *inbox_metrics(struct str debate_id, const json_t *votes, size_t suggestions)
{
	json_t *counts = json_object(), *weighted = json_object(), *histograms = json_object(), *all = inbox_scale(),
	       *o;
	const char *user;
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)votes, user, v)
	{
		int64_t intensity = json_get_int(v, "intensity", INBOX_MIDDLE);
		const char *choice = json_string_value(json_object_get(v, "choice"));
		char level[12];

		if (choice == NULL || intensity < 1 || intensity > 10)
			continue;
		(void)snprintf(level, sizeof(level), "%d", (int)intensity);
		if (json_object_get(histograms, choice) == NULL)
			json_object_set_new(histograms, choice, inbox_scale());
		inbox_add(counts, choice, 1, true);
		inbox_add(weighted, choice, inbox_weight(intensity), false);
		inbox_add(json_object_get(histograms, choice), level, 1, true);
		inbox_add(all, level, 1, true);
	}
	o = json_pack("{s:s%, s:o, s:o, s:o, s:o}", "debate_id", debate_id.p, debate_id.n, "votes", counts,
		      "weighted_votes", weighted, "histograms", histograms, "conviction_distribution", all);
	json_put_int(o, "suggestions", (int64_t)suggestions);
	json_put_int(o, "total", (int64_t)json_object_size(votes));
	return o;
}

void inbox_emit(struct step *s, struct str debate_id, int round, const json_t *items, const json_t *votes)
{
	size_t i, suggestions = 0;
	bool voted = false;

	for (i = 0; i < json_array_size(items); i++) {
		const json_t *item = json_array_get(items, i);
		struct str kind = json_get_str(item, "kind", STR(""));

		if (str_eqz(kind, "vote")) {
			inbox_emit_vote(s, debate_id, round, item);
			voted = true;
		} else if (str_eqz(kind, "suggestion")) {
			inbox_emit_suggestion(s, debate_id, round, item);
			suggestions++;
		}
	}
	if (voted)
		step_emit(s, "audience_metrics", NULL, round, inbox_metrics(debate_id, votes, suggestions));
}
