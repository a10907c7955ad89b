/* SPDX-License-Identifier: MIT */
/*
 * What speaks against an answer, as findings: dissent, and what critics still held against the winner in the last
 * round. Called when a receipt is made and by the exports of receipts that were made before findings were part of them.
 */
#include "worker/receipts/receipt_doc.h"

#include "common/json.h"

#define FINDING_SEVERE 8000 /* severity of a critique, of 10,000, that is a high risk */
#define FINDING_NOTABLE 5000
#define FINDING_TITLE 120

static void finding_add(json_t *list, const char *severity, const char *category, struct str title,
			struct str description, struct str mitigation, struct str source)
{
	json_t *o = json_object();
	char id[24];

	snprintf(id, sizeof(id), "F%zu", json_array_size(list) + 1);
	json_put_str(o, "id", str_of(id));
	json_put_str(o, "severity", str_of(severity));
	json_put_str(o, "category", str_of(category));
	json_put_str(o, "title", str_utf8_cut(title, FINDING_TITLE));
	json_put_str(o, "description", description);
	json_put_str(o, "mitigation", mitigation);
	json_put_str(o, "source", source);
	/* Nobody but the agents has looked at it. */
	json_object_set_new(o, "verified", json_false());
	json_array_append_new(list, o);
}

static struct str finding_join(struct arena *a, struct str first, const json_t *texts)
{
	struct buf out = BUF_INIT;
	struct str joined;
	const json_t *e;
	size_t i;

	buf_add(&out, first);
	json_array_foreach(texts, i, e)
	{
		if (!json_is_string(e))
			continue;
		buf_addz(&out, out.n > 0 ? "; " : "");
		buf_add(&out, (struct str){json_string_value(e), json_string_length(e)});
	}
	joined = arena_str(a, buf_str(&out));
	buf_free(&out);
	return joined;
}

static void finding_critique(struct arena *a, json_t *list, const json_t *c)
{
	int64_t severity = json_get_int(c, "severity_milli", 0);
	const json_t *issues = json_get_arr(c, "issues"), *first = json_array_get(issues, 0);
	struct str who = json_get_str(c, "agent", STR("")), why = json_get_str(c, "reasoning", STR("")), title;

	if (severity < FINDING_NOTABLE)
		return;
	title = json_is_string(first) ? (struct str){json_string_value(first), json_string_length(first)}
				      : arena_printf(a, "Critique by %.*s", STR_ARG(who));
	finding_add(list, severity >= FINDING_SEVERE ? "high" : "low", "critique", title,
		    json_array_size(issues) > 0 ? finding_join(a, STR(""), issues) : why,
		    finding_join(a, STR(""), json_get_arr(c, "suggestions")), who);
}

json_t *receipt_findings(struct arena *a, struct str winner, const json_t *critiques, const json_t *dissents)
{
	json_t *list = json_array();
	int64_t last = 0;
	const json_t *e;
	size_t i;

	json_array_foreach(critiques, i, e) if (json_get_int(e, "round", 0) > last) last = json_get_int(e, "round", 0);
	json_array_foreach(critiques, i, e) if (winner.n > 0 && json_get_int(e, "round", 0) == last &&
						str_eq(json_get_str(e, "target_agent", STR("")), winner))
	    finding_critique(a, list, e);
	json_array_foreach(dissents, i, e)
	{
		struct str who = json_get_str(e, "agent", STR(""));

		finding_add(list, "medium", "dissent", arena_printf(a, "%.*s holds another position", STR_ARG(who)),
			    finding_join(a, json_get_str(e, "view", STR("")), json_get_arr(e, "reasons")), STR(""),
			    who);
	}
	return list;
}

json_t *receipt_findings_of(struct arena *a, const json_t *doc)
{
	json_t *signed_ones = json_get_arr(doc, "findings");

	if (signed_ones != NULL)
		return json_incref(signed_ones);
	return receipt_findings(a, json_get_str(doc, "winner", STR("")), json_get_arr(doc, "critiques"),
				json_get_arr(doc, "dissenting_views"));
}

json_t *receipt_risks(const json_t *findings)
{
	static const char *const levels[] = {"critical", "high", "medium", "low"};
	json_t *o = json_object();
	const json_t *e;
	size_t i;

	for (i = 0; i < countof(levels); i++)
		json_put_int(o, levels[i], 0);
	json_array_foreach(findings, i, e)
	{
		const char *level = json_string_value(json_object_get(e, "severity"));

		json_put_int(o, level, json_get_int(o, level, 0) + 1);
	}
	json_put_int(o, "total", (int64_t)json_array_size(findings));
	return o;
}
