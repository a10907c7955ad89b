/* SPDX-License-Identifier: MIT */
/*
 * A receipt as Markdown, for tickets and mail. Called by the API. Shows the same tables as html.c.
 */
#include "worker/receipts/receipt_doc.h"

#include "common/json.h"

#define MARKDOWN_CELL 400 /* bytes of text in a table cell */

/* Text inside a table cell must not break the table. */
static void markdown_cell(struct buf *out, struct str s)
{
	struct str cut = str_utf8_cut(s, MARKDOWN_CELL);
	size_t i;

	for (i = 0; i < cut.n; i++) {
		char c = cut.p[i];

		if (c == '|' || c == '<' || c == '\\') /* "\\|" would be a backslash and the end of the cell */
			buf_addc(out, '\\');
		buf_addc(out, c == '\n' || c == '\r' ? ' ' : c);
	}
	buf_addz(out, cut.n < s.n ? "…" : "");
}

static void markdown_value(struct buf *out, const json_t *row, const struct receipt_column *c)
{
	struct buf text = BUF_INIT;

	receipt_show(&text, row, c);
	markdown_cell(out, buf_str(&text));
	buf_free(&text);
}

static void markdown_section(struct buf *out, const json_t *doc, const struct receipt_section *s)
{
	const json_t *rows = json_get_arr(doc, s->rows), *row;
	size_t i, k;

	if (json_array_size(rows) == 0 && s->empty == NULL)
		return;
	buf_printf(out, "\n## %s\n\n", s->title);
	if (json_array_size(rows) == 0) {
		buf_printf(out, "%s\n", s->empty);
		return;
	}
	for (k = 0; k < s->n; k++)
		buf_printf(out, "| %s ", s->columns[k].label);
	buf_addz(out, "|\n");
	for (k = 0; k < s->n; k++)
		buf_addz(out, "|---");
	buf_addz(out, "|\n");
	json_array_foreach(rows, i, row)
	{
		for (k = 0; k < s->n; k++) {
			buf_addz(out, "| ");
			markdown_value(out, row, &s->columns[k]);
			buf_addc(out, ' ');
		}
		buf_addz(out, "|\n");
	}
}

static void markdown_answer(struct buf *out, const json_t *doc)
{
	struct str synthesis = json_get_str(doc, "synthesis", STR("")),
		   answer = json_get_str(doc, "final_answer", STR(""));

	buf_addz(out, "\n## Answer\n\n");
	buf_add(out, answer.n > 0 ? answer : synthesis);
	buf_addz(out, answer.n + synthesis.n > 0 ? "\n" : "No answer was given.\n");
}

static void markdown_proof(struct buf *out, const json_t *doc)
{
	static const char *const names[][2] = {{"Receipt", "receipt_id"},
					       {"Debate", "debate_id"},
					       {"Content hash", "content_hash"},
					       {"Signature", "signature"},
					       {"Algorithm", "signature_algorithm"},
					       {"Key", "signature_key_id"},
					       {"Signed at", "signed_at"}};
	size_t i;

	buf_addz(out, "\n## Verification\n\n");
	for (i = 0; i < countof(names); i++)
		buf_printf(out, "- %s: `%.*s`\n", names[i][0], STR_ARG(json_get_str(doc, names[i][1], STR(""))));
	buf_printf(out, "\nCheck it with `GET /api/receipts/%.*s/verify`.\n",
		   STR_ARG(json_get_str(doc, "receipt_id", STR(""))));
}

struct str receipt_markdown(struct arena *a, const json_t *doc)
{
	struct buf out = BUF_INIT;
	struct str text;
	size_t i;

	buf_addz(&out, "# Decision receipt\n\n**Question:** ");
	markdown_cell(&out, json_get_str(doc, "question", STR("")));
	buf_addz(&out, "\n\n");
	if (json_get_bool(doc, "demo", false))
		buf_addz(&out, "> Demonstration: the agents were played by the server; no model was asked.\n\n");
	receipt_explain(&out, doc);
	buf_addz(&out, "\n");
	markdown_answer(&out, doc);
	buf_addz(&out, "\n## Decision\n\n| | |\n|---|---|\n");
	for (i = 0; i < receipt_facts_count; i++) {
		buf_printf(&out, "| %s | ", receipt_facts[i].label);
		markdown_value(&out, doc, &receipt_facts[i]);
		buf_addz(&out, " |\n");
	}
	for (i = 0; i < receipt_sections_count; i++)
		markdown_section(&out, doc, &receipt_sections[i]);
	markdown_proof(&out, doc);
	text = arena_str(a, buf_str(&out));
	buf_free(&out);
	return text;
}
