/* SPDX-License-Identifier: MIT */
/*
 * Exports of debates: json, Markdown, HTML, plain text and CSV tables, all from the object that the API shows. Pure.
 */
#include "worker/debate/export.h"

#include "common/csv.h"
#include "common/html.h"
#include "common/json.h"

static struct str export_str(const json_t *o, const char *key)
{
	return json_get_str(o, key, STR(""));
}

/* ---- Markdown and plain text: one writer, two sets of marks ---- */

struct export_marks {
	const char *title, *section, *speaker, *bullet;
};
static const struct export_marks export_md = {"# ", "## ", "### ", "- "};
static const struct export_marks export_txt = {"", "== ", "-- ", "* "};

static void export_line(struct buf *b, const char *mark, const char *name, struct str value)
{
	if (value.n > 0)
		buf_printf(b, "%s%s: %.*s\n", mark, name, STR_ARG(value));
}

static void export_names(struct buf *b, const json_t *list)
{
	size_t i;

	for (i = 0; i < json_array_size(list); i++)
		buf_printf(b, "%s%s", i > 0 ? ", " : "", json_string_value(json_array_get(list, i)));
}

static void export_summary(struct buf *b, const struct export_marks *m, const json_t *d)
{
	export_line(b, m->bullet, "Debate", export_str(d, "id"));
	export_line(b, m->bullet, "Status", export_str(d, "status"));
	buf_printf(b, "%sParticipants: ", m->bullet);
	export_names(b, json_get_arr(d, "agents"));
	buf_printf(b, "\n%sRounds: %lld of %lld\n", m->bullet, (long long)json_get_int(d, "rounds_used", 0),
		   (long long)json_get_int(d, "total_rounds", 0));
	buf_printf(b, "%sConsensus: %s, confidence %.0f %%\n", m->bullet,
		   json_get_bool(d, "consensus_reached", false) ? "reached" : "not reached",
		   json_get_num(d, "confidence", 0) * 100);
	export_line(b, m->bullet, "Started", export_str(d, "created_at"));
	export_line(b, m->bullet, "Ended", export_str(d, "completed_at"));
	export_line(b, m->bullet, "Receipt", export_str(d, "receipt_id"));
	if (json_get_bool(d, "demo", false))
		buf_printf(b, "%sPlayed by built-in demo agents\n", m->bullet);
}

static void export_critique_list(struct buf *b, const struct export_marks *m, const json_t *c, const char *key)
{
	const json_t *items = json_get_arr(c, key);
	size_t i;

	for (i = 0; i < json_array_size(items); i++)
		buf_printf(b, "%s%s\n", m->bullet, json_string_value(json_array_get(items, i)));
}

static void export_text_body(struct buf *b, const struct export_marks *m, const json_t *d)
{
	const json_t *messages = json_get_arr(d, "messages"), *critiques = json_get_arr(d, "critiques"),
		     *votes = json_get_arr(d, "votes");
	size_t i;

	buf_printf(b, "\n%sDecision\n\n%.*s\n", m->section, STR_ARG(export_str(d, "final_answer")));
	buf_printf(b, "\n%sWhat was said\n", m->section);
	for (i = 0; i < json_array_size(messages); i++) {
		const json_t *x = json_array_get(messages, i);

		buf_printf(b, "\n%sRound %lld, %.*s\n\n%.*s\n", m->speaker, (long long)json_get_int(x, "round", 0),
			   STR_ARG(export_str(x, "agent")), STR_ARG(export_str(x, "content")));
	}
	buf_printf(b, "\n%sCritiques\n", m->section);
	for (i = 0; i < json_array_size(critiques); i++) {
		const json_t *x = json_array_get(critiques, i);

		buf_printf(b, "\n%sRound %lld, %.*s on %.*s (severity %.1f of 10)\n\n", m->speaker,
			   (long long)json_get_int(x, "round", 0), STR_ARG(export_str(x, "agent")),
			   STR_ARG(export_str(x, "target_agent")), json_get_num(x, "severity", 0));
		export_critique_list(b, m, x, "issues");
		export_critique_list(b, m, x, "suggestions");
	}
	buf_printf(b, "\n%sVotes\n\n", m->section);
	for (i = 0; i < json_array_size(votes); i++) {
		const json_t *x = json_array_get(votes, i);

		buf_printf(b, "%s%.*s for %.*s (%.0f %%): %.*s\n", m->bullet, STR_ARG(export_str(x, "agent")),
			   STR_ARG(export_str(x, "choice")), json_get_num(x, "confidence", 0) * 100,
			   STR_ARG(export_str(x, "reasoning")));
	}
}

static bool export_text(struct buf *b, const struct export_marks *m, const json_t *d)
{
	buf_printf(b, "%s%.*s\n\n", m->title, STR_ARG(export_str(d, "task")));
	export_summary(b, m, d);
	export_text_body(b, m, d);
	return true;
}

/* ---- HTML ---- */

/* Self-contained: no script, no font, no request to anywhere. */
static const char export_html_head[] = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">"
				       "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>";
static const char export_html_style[] =
    "</title><style>:root{color-scheme:light dark}body{font:16px/1.6 system-ui,sans-serif;max-width:50rem;margin:2rem "
    "auto;"
    "padding:0 1rem}pre{white-space:pre-wrap;font:inherit}h1{line-height:1.25}@media "
    "print{body{margin:0;max-width:none}}"
    "</style></head><body>";

/* The Markdown's own structure is enough for a page: headings, then text that keeps its lines. */
static bool export_html(struct buf *b, const json_t *d)
{
	struct buf text = BUF_INIT;
	struct str rest, line;
	bool open = false;

	(void)export_text(&text, &export_md, d);
	buf_addz(b, export_html_head);
	html_escape(b, export_str(d, "task"));
	buf_addz(b, export_html_style);
	rest = buf_str(&text);
	while (str_split(&rest, '\n', &line)) {
		size_t level = 0;

		while (level < line.n && line.p[level] == '#')
			level++;
		if (level > 0 && level <= 3 && level < line.n && line.p[level] == ' ') {
			buf_printf(b, "%s<h%zu>", open ? "</pre>" : "", level);
			html_escape(b, str_sub(line, level + 1, line.n));
			buf_printf(b, "</h%zu>", level);
			open = false;
			continue;
		}
		if (!open)
			buf_addz(b, "<pre>");
		open = true;
		html_escape(b, line);
		buf_addc(b, '\n');
	}
	buf_addz(b, open ? "</pre></body></html>\n" : "</body></html>\n");
	buf_free(&text);
	return true;
}

/* ---- CSV ---- */

/* Columns of a table: name in the file, member of the object. */
struct export_column {
	const char *name, *key;
};
struct export_table {
	const char *name, *list;
	const struct export_column *columns;
	size_t n;
};

static const struct export_column export_messages[] = {
    {"round", "round"}, {"agent", "agent"}, {"role", "role"}, {"content", "content"}, {"timestamp", "timestamp"}};
static const struct export_column export_critiques[] = {{"round", "round"},     {"critic", "critic"},
							{"target", "target"},   {"severity", "severity"},
							{"summary", "summary"}, {"timestamp", "timestamp"}};
static const struct export_column export_votes[] = {{"round", "round"},         {"voter", "voter"},
						    {"choice", "choice"},       {"reason", "reason"},
						    {"timestamp", "timestamp"}, {"confidence", "confidence"}};
static const struct export_table export_tables[] = {
    {"messages", "messages", export_messages, countof(export_messages)},
    {"critiques", "critiques", export_critiques, countof(export_critiques)},
    {"votes", "votes", export_votes, countof(export_votes)},
};
static const struct export_column export_fields[] = {{"debate_id", "id"},
						     {"topic", "task"},
						     {"status", "status"},
						     {"started_at", "created_at"},
						     {"ended_at", "completed_at"},
						     {"rounds_used", "rounds_used"},
						     {"consensus_reached", "consensus_reached"},
						     {"confidence", "confidence"},
						     {"final_answer", "final_answer"},
						     {"message_count", "message_count"},
						     {"critique_count", "critiques"},
						     {"vote_count", "votes"},
						     {"total_cost_usd", "total_cost_usd"}};

static void export_table_csv(struct buf *b, const struct export_table *t, const json_t *d)
{
	const json_t *list = json_get_arr(d, t->list);
	size_t i, c;

	for (c = 0; c < t->n; c++)
		buf_printf(b, "%s%s", t->columns[c].name, c + 1 == t->n ? "\r\n" : ",");
	for (i = 0; i < json_array_size(list); i++)
		for (c = 0; c < t->n; c++)
			csv_json(b, json_object_get(json_array_get(list, i), t->columns[c].key), c + 1 == t->n);
}

static bool export_csv(struct buf *b, const json_t *d, struct str table, struct error *err)
{
	size_t i;

	if (table.n == 0 || str_eqz(table, "summary")) {
		buf_addz(b, "field,value\r\n");
		for (i = 0; i < countof(export_fields); i++) {
			buf_printf(b, "%s,", export_fields[i].name);
			csv_json(b, json_object_get(d, export_fields[i].key), true);
		}
		return true;
	}
	for (i = 0; i < countof(export_tables); i++)
		if (str_eqz(table, export_tables[i].name)) {
			export_table_csv(b, &export_tables[i], d);
			return true;
		}
	return error_field(err, ERR_INVALID_VALUE, "table", "must be one of summary, messages, critiques, votes");
}

void export_csv_row(struct buf *out, const json_t *debate, bool header)
{
	size_t i;

	for (i = 0; header && i < countof(export_fields); i++)
		buf_printf(out, "%s%s", export_fields[i].name, i + 1 == countof(export_fields) ? "\r\n" : ",");
	for (i = 0; i < countof(export_fields); i++)
		csv_json(out, json_object_get(debate, export_fields[i].key), i + 1 == countof(export_fields));
}

/* ---- formats ---- */

static const struct {
	const char *name, *extension, *type;
} export_formats[] = {
    {"json", "json", "application/json"},
    {"md", "md", "text/markdown; charset=utf-8"},
    {"markdown", "md", "text/markdown; charset=utf-8"},
    {"txt", "txt", "text/plain; charset=utf-8"},
    {"html", "html", "text/html; charset=utf-8"},
    {"csv", "csv", "text/csv; charset=utf-8"},
};

bool export_render(struct arena *a, const json_t *debate, struct str format, struct str table, struct export_file *out,
		   struct error *err)
{
	struct buf b = BUF_INIT;
	const char *ext;
	size_t i;
	bool ok = true;

	for (i = 0; i < countof(export_formats) && !str_eqz(format, export_formats[i].name); i++)
		;
	if (i == countof(export_formats))
		return error_field(err, ERR_INVALID_VALUE, "format", "must be one of json, md, html, txt, csv");
	ext = export_formats[i].extension;
	if (strcmp(ext, "json") == 0)
		buf_add(&b, json_text(a, debate));
	else if (strcmp(ext, "csv") == 0)
		ok = export_csv(&b, debate, table, err);
	else if (strcmp(ext, "html") == 0)
		ok = export_html(&b, debate);
	else
		ok = export_text(&b, strcmp(ext, "md") == 0 ? &export_md : &export_txt, debate);
	*out = (struct export_file){export_formats[i].type, ext, arena_str(a, buf_str(&b))};
	buf_free(&b);
	return ok;
}
