/* SPDX-License-Identifier: MIT */
/*
 * The explanation of a decision: votes and changes put together with what the result says, in one document, one
 * paragraph, Markdown and a page. Called by the routes in a lane. Computes nothing of its own.
 */
#include "worker/explain/explain.h"

#include "common/html.h"
#include "common/json.h"

#define EXPLAIN_TEXT 300 /* bytes of a text in the evidence chain */

/* ---- the document ---- */

static void explain_chain_add(json_t *chain, const char *kind, struct str label, const json_t *from, const char *agent,
			      struct str text)
{
	json_t *o = json_object();

	json_put_str(o, "kind", str_of(kind));
	json_put_str(o, "label", label);
	json_put_str(o, "agent", json_get_str(from, agent, STR("")));
	json_put_int(o, "round", json_get_int(from, "round", 0));
	json_put_str(o, "text", str_utf8_cut(text, EXPLAIN_TEXT));
	if (json_object_get(from, "cited_by") != NULL)
		json_object_set(o, "cited_by", json_object_get(from, "cited_by"));
	json_array_append_new(chain, o);
}

/* What the answer stands on: what was known before, the winner's texts, what was held against them, who chose them. */
static json_t *explain_chain(struct arena *a, const json_t *result)
{
	struct str winner = json_get_str(result, "winner", STR(""));
	json_t *chain = json_array();
	const json_t *e;
	size_t i;

	json_array_foreach(json_get_arr(result, "background"), i, e) explain_chain_add(
	    chain, "background", json_get_str(e, "label", STR("")), e, "source", json_get_str(e, "title", STR("")));
	json_array_foreach(json_get_arr(result, "messages"), i,
			   e) if (str_eq(json_get_str(e, "agent", STR("")), winner))
	    explain_chain_add(chain, "proposal", arena_printf(a, "round %lld", (long long)json_get_int(e, "round", 0)),
			      e, "agent", json_get_str(e, "content", STR("")));
	json_array_foreach(json_get_arr(result, "critiques"), i,
			   e) if (str_eq(json_get_str(e, "target_agent", STR("")), winner))
	    explain_chain_add(
		chain, "critique",
		arena_printf(a, "severity %.1f of 10", (double)json_get_int(e, "severity_milli", 0) / 1000), e, "agent",
		json_get_str(e, "reasoning", STR("")));
	json_array_foreach(json_get_arr(result, "votes"), i, e)
	    explain_chain_add(chain, "vote", arena_printf(a, "for %.*s", STR_ARG(json_get_str(e, "choice", STR("")))),
			      e, "agent", json_get_str(e, "reasoning", STR("")));
	return chain;
}

json_t *explain_result(struct arena *a, const json_t *result)
{
	static const char *const same[] = {"debate_id",    "task",     "winner", "dissents",   "flips",
					   "rounds_used",  "minority", "taint",  "early_stop", "participants",
					   "final_answer", "domain",   "demo"};
	static const char *const decided[] = {
	    "method",         "reached",  "threshold_ppm", "share_ppm",         "weighted_share_ppm", "margin_ppm",
	    "confidence_ppm", "strength", "groups",        "supporting_agents", "dissenting_agents"};
	const json_t *consensus = json_get_obj(result, "consensus");
	json_t *o = json_object(), *votes = explain_votes(a, result), *changes = explain_changes(a, result);
	size_t i;

	for (i = 0; i < countof(same); i++)
		if (json_object_get(result, same[i]) != NULL)
			json_object_set_new(o, same[i], json_deep_copy(json_object_get(result, same[i])));
	for (i = 0; i < countof(decided); i++)
		if (json_object_get(consensus, decided[i]) != NULL)
			json_object_set_new(o, decided[i], json_deep_copy(json_object_get(consensus, decided[i])));
	json_object_update(o, votes);
	json_object_update(o, changes);
	json_decref(votes);
	json_decref(changes);
	json_object_set_new(o, "evidence_chain", explain_chain(a, result));
	json_put_str(o, "summary", explain_summary(a, o));
	return o;
}

/* ---- in words ---- */

static void explain_percent(struct buf *b, int64_t ppm)
{
	buf_printf(b, "%.1f %%", (double)ppm / 1e4);
}

static void explain_names(struct buf *b, const json_t *list)
{
	size_t i, n = json_array_size(list);

	for (i = 0; i < n; i++)
		buf_printf(b, "%s%s",
			   i == 0       ? ""
			   : i + 1 == n ? " and "
					: ", ",
			   json_string_value(json_array_get(list, i)));
}

static size_t explain_effects(const json_t *o, const char *effect)
{
	const json_t *e;
	size_t i, n = 0;

	json_array_foreach(json_get_arr(o, "critiques"), i, e) n += str_eqz(json_get_str(e, "effect", STR("")), effect);
	return n;
}

static size_t explain_changing(const json_t *o)
{
	const json_t *e;
	size_t i, n = 0;

	json_array_foreach(json_get_arr(o, "counterfactuals"), i, e) n += json_get_bool(e, "changes_outcome", false);
	return n;
}

static void explain_decision_words(struct buf *b, const json_t *o)
{
	struct str winner = json_get_str(o, "winner", STR(""));

	if (winner.n == 0) {
		buf_addz(b, "No position was chosen. ");
		return;
	}
	buf_printf(b, "The answer is the position of %.*s", STR_ARG(winner));
	if (json_array_size(json_get_arr(o, "votes")) > 0) {
		buf_addz(b, ", which holds ");
		explain_percent(b, json_get_int(o, "weighted_share_ppm", 0));
		buf_addz(b, " of the weight that was cast, ");
		explain_percent(b, json_get_int(o, "margin_ppm", 0));
		buf_addz(b, " ahead of the next");
	}
	buf_printf(b, " (%.*s%s", STR_ARG(json_get_str(o, "method", STR(""))),
		   json_get_bool(o, "reached", false) ? ", reached" : ", not reached");
	if (json_get_int(o, "threshold_ppm", 0) > 0) {
		buf_addz(b, "; needed ");
		explain_percent(b, json_get_int(o, "threshold_ppm", 0));
	}
	buf_addz(b, "). ");
}

struct str explain_summary(struct arena *a, const json_t *o)
{
	const json_t *pivotal = json_get_arr(o, "pivotal_agents");
	size_t n = json_array_size(json_get_arr(o, "critiques")), changing = explain_changing(o);
	struct buf b = BUF_INIT;
	struct str text;

	explain_decision_words(&b, o);
	if (n > 0)
		buf_printf(&b, "Of %zu critiques %zu were taken up and %zu came before a change of position. ", n,
			   explain_effects(o, "taken_up"), explain_effects(o, "position_changed"));
	if (json_array_size(json_get_arr(o, "counterfactuals")) > 0) {
		buf_printf(&b, "%zu of %zu changes that were computed would have changed the outcome", changing,
			   json_array_size(json_get_arr(o, "counterfactuals")));
		if (json_array_size(pivotal) > 0) {
			buf_addz(&b, "; it hangs on the votes of ");
			explain_names(&b, pivotal);
		}
		buf_addz(&b, ". ");
	}
	if (json_array_size(json_get_arr(o, "dissents")) > 0)
		buf_printf(&b, "%zu dissented.", json_array_size(json_get_arr(o, "dissents")));
	text = arena_str(a, str_trim(buf_str(&b)));
	buf_free(&b);
	return text;
}

/* ---- tables, for both renderings ---- */

enum explain_kind { EXPLAIN_STR, EXPLAIN_INT, EXPLAIN_PPM, EXPLAIN_MILLI, EXPLAIN_BOOL, EXPLAIN_LIST, EXPLAIN_FACTORS };

struct explain_column {
	const char *label, *key;
	enum explain_kind kind;
};
static const struct explain_column explain_vote_columns[] = {
    {"Agent", "agent", EXPLAIN_STR},
    {"Voted for", "choice", EXPLAIN_STR},
    {"Sure", "confidence_ppm", EXPLAIN_PPM},
    {"Stated", "stated_ppm", EXPLAIN_PPM},
    {"Weight", "weight_ppm", EXPLAIN_PPM},
    {"Factors", "factors", EXPLAIN_FACTORS},
    {"Of the whole", "share_ppm", EXPLAIN_PPM},
    {"Pivotal", "pivotal", EXPLAIN_BOOL},
    {"Reasons", "reasoning", EXPLAIN_STR},
};
static const struct explain_column explain_critique_columns[] = {
    {"Round", "round", EXPLAIN_INT},
    {"From", "critic", EXPLAIN_STR},
    {"About", "target", EXPLAIN_STR},
    {"Severity", "severity_milli", EXPLAIN_MILLI},
    {"Effect", "effect", EXPLAIN_STR},
    {"Text changed", "target_changed_ppm", EXPLAIN_PPM},
    {"Closer to it", "uptake_ppm", EXPLAIN_PPM},
    {"Issues", "issues", EXPLAIN_LIST},
};
static const struct explain_column explain_what_if_columns[] = {
    {"If", "description", EXPLAIN_STR},
    {"Winner", "winner", EXPLAIN_STR},
    {"Reached", "reached", EXPLAIN_BOOL},
    {"Weighted share", "weighted_share_ppm", EXPLAIN_PPM},
    {"Changes the outcome", "changes_outcome", EXPLAIN_BOOL},
};
static const struct explain_column explain_chain_columns[] = {{"What", "kind", EXPLAIN_STR},
							      {"", "label", EXPLAIN_STR},
							      {"Who", "agent", EXPLAIN_STR},
							      {"Text", "text", EXPLAIN_STR}};

static const struct explain_table {
	const char *title, *rows, *about, *empty;
	const struct explain_column *columns;
	size_t n;
} explain_tables[] = {
    {"What each vote weighed", "votes", "A vote counts its weight times how sure its voter is.", "There were no votes.",
     explain_vote_columns, countof(explain_vote_columns)},
    {"Which critiques changed what", "critiques",
     "Measures of wording: how much the criticised text changed in its next version, and how much closer it came to "
     "what "
     "the critique says.",
     "Nobody criticised.", explain_critique_columns, countof(explain_critique_columns)},
    {"What would have changed the outcome", "counterfactuals",
     "The stored votes, counted again with one thing changed at a time.",
     "Nothing can be computed here: the outcome is not a count of votes that are stored in full.",
     explain_what_if_columns, countof(explain_what_if_columns)},
    {"What the answer stands on", "evidence_chain", "", "Nothing is stored.", explain_chain_columns,
     countof(explain_chain_columns)},
};

static void explain_list(struct buf *b, const json_t *v, bool factors)
{
	const json_t *e;
	size_t i;

	json_array_foreach(v, i, e)
	{
		buf_addz(b, i > 0 ? "; " : "");
		if (factors)
			buf_printf(b, "%.*s × %.2f", STR_ARG(json_get_str(e, "name", STR(""))),
				   (double)json_get_int(e, "ppm", 0) / 1e6);
		else if (json_is_string(e))
			buf_add(b, (struct str){json_string_value(e), json_string_length(e)});
	}
}

static void explain_value(struct buf *b, const json_t *row, const struct explain_column *c)
{
	const json_t *v = json_object_get(row, c->key);

	if (v == NULL)
		return;
	switch (c->kind) {
	case EXPLAIN_INT:
		buf_printf(b, "%lld", (long long)json_integer_value(v));
		break;
	case EXPLAIN_PPM:
		explain_percent(b, json_integer_value(v));
		break;
	case EXPLAIN_MILLI:
		buf_printf(b, "%.1f of 10", (double)json_integer_value(v) / 1e3);
		break;
	case EXPLAIN_BOOL:
		buf_addz(b, json_is_true(v) ? "yes" : "no");
		break;
	case EXPLAIN_LIST:
	case EXPLAIN_FACTORS:
		explain_list(b, v, c->kind == EXPLAIN_FACTORS);
		break;
	case EXPLAIN_STR:
	default:
		if (json_is_string(v))
			buf_add(b, (struct str){json_string_value(v), json_string_length(v)});
		break;
	}
}

/* ---- Markdown ---- */

/* Text inside a cell must not break the table. */
static void explain_cell(struct buf *out, struct str s)
{
	size_t i;

	for (i = 0; i < s.n; i++) {
		if (s.p[i] == '|' || s.p[i] == '<')
			buf_addc(out, '\\');
		buf_addc(out, s.p[i] == '\n' || s.p[i] == '\r' ? ' ' : s.p[i]);
	}
}

static void explain_table_markdown(struct buf *out, const struct explain_table *t, const json_t *o)
{
	const json_t *rows = json_get_arr(o, t->rows), *row;
	struct buf text = BUF_INIT;
	size_t i, k;

	buf_printf(out, "\n## %s\n\n%s\n", t->title, json_array_size(rows) == 0 ? t->empty : t->about);
	for (k = 0; k < t->n && json_array_size(rows) > 0; k++)
		buf_printf(out, "%s| %s ", k == 0 ? "\n" : "", t->columns[k].label);
	for (k = 0; k < t->n && json_array_size(rows) > 0; k++)
		buf_printf(out, "%s|---", k == 0 ? "|\n" : "");
	json_array_foreach(rows, i, row)
	{
		for (k = 0; k < t->n; k++) {
			buf_clear(&text);
			explain_value(&text, row, &t->columns[k]);
			buf_addz(out, k == 0 ? "|\n| " : "| ");
			explain_cell(out, buf_str(&text));
			buf_addc(out, ' ');
		}
	}
	buf_addz(out, json_array_size(rows) > 0 ? "|\n" : "");
	buf_free(&text);
}

struct str explain_markdown(struct arena *a, const json_t *o)
{
	struct buf out = BUF_INIT;
	struct str text;
	size_t i;

	buf_addz(&out, "# Why this answer\n\n**Question:** ");
	explain_cell(&out, json_get_str(o, "task", STR("")));
	buf_addz(&out, "\n\n");
	buf_add(&out, json_get_str(o, "summary", STR("")));
	buf_addz(&out, "\n");
	for (i = 0; i < countof(explain_tables); i++)
		explain_table_markdown(&out, &explain_tables[i], o);
	text = arena_str(a, buf_str(&out));
	buf_free(&out);
	return text;
}

/* ---- the page ---- */

static const char explain_style[] =
    "<style>:root{color-scheme:light dark}body{font:16px/1.6 system-ui,sans-serif;max-width:64rem;margin:2rem auto;"
    "padding:0 1rem}h1{line-height:1.3;overflow-wrap:anywhere}h2{margin-top:2.2rem}.scroll{overflow-x:auto}"
    "table{border-collapse:collapse;width:100%;font-size:.9rem}th{text-align:left;opacity:.7;font-weight:500}"
    "th,td{padding:.4rem .7rem .4rem 0;border-bottom:1px solid "
    "#8885;vertical-align:top;overflow-wrap:break-word}th{white-space:nowrap}td:last-child{min-width:10rem}"
    "p.about{opacity:.75;font-size:.92rem}tr.yes td:first-child{font-weight:600}"
    "@media print{body{margin:0;max-width:none;font-size:10pt}tr{break-inside:avoid}}</style>";

static void explain_table_html(struct buf *out, const struct explain_table *t, const json_t *o)
{
	const json_t *rows = json_get_arr(o, t->rows), *row;
	struct buf text = BUF_INIT;
	size_t i, k;

	buf_printf(out, "<h2>%s</h2><p class=\"about\">%s</p>\n", t->title,
		   json_array_size(rows) == 0 ? t->empty : t->about);
	if (json_array_size(rows) > 0) {
		buf_addz(out, "<div class=\"scroll\"><table><thead><tr>");
		for (k = 0; k < t->n; k++)
			buf_printf(out, "<th>%s</th>", t->columns[k].label);
		buf_addz(out, "</tr></thead><tbody>\n");
		json_array_foreach(rows, i, row)
		{
			bool marked =
			    json_get_bool(row, "changes_outcome", false) || json_get_bool(row, "pivotal", false);

			buf_addz(out, marked ? "<tr class=\"yes\">" : "<tr>");
			for (k = 0; k < t->n; k++) {
				buf_clear(&text);
				explain_value(&text, row, &t->columns[k]);
				buf_addz(out, "<td>");
				html_escape(out, buf_str(&text));
				buf_addz(out, "</td>");
			}
			buf_addz(out, "</tr>\n");
		}
		buf_addz(out, "</tbody></table></div>\n");
	}
	buf_free(&text);
}

struct str explain_html(struct arena *a, const json_t *o)
{
	struct buf out = BUF_INIT;
	struct str text;
	size_t i;

	buf_addz(&out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
		       "content=\"width=device-width,initial-scale=1\"><title>Why this answer: ");
	html_escape(&out, str_utf8_cut(json_get_str(o, "task", STR("")), 120));
	buf_addz(&out, "</title>");
	buf_addz(&out, explain_style);
	buf_addz(&out, "</head><body><h1>");
	html_escape(&out, json_get_str(o, "task", STR("")));
	buf_addz(&out, "</h1><p>");
	html_escape(&out, json_get_str(o, "summary", STR("")));
	buf_addz(&out, "</p>\n");
	for (i = 0; i < countof(explain_tables); i++)
		explain_table_html(&out, &explain_tables[i], o);
	buf_addz(&out, "</body></html>\n");
	text = arena_str(a, buf_str(&out));
	buf_free(&out);
	return text;
}
