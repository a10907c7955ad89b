/* SPDX-License-Identifier: MIT */
/*
 * A receipt as one self-contained HTML page for people who decide: verdict first, then the answer, how it came about,
 * who disagreed, and how to check that nothing was changed. Called by the API. No scripts and no outside assets.
 */
#include "worker/receipts/receipt_doc.h"

#include "common/html.h"
#include "common/json.h"

static const char html_style[] =
    ":root{color-scheme:light "
    "dark;--bg:#f6f7f9;--card:#fff;--ink:#1c2330;--soft:#5b6577;--line:#e2e6ec;--accent:#3457d5;"
    "--ok:#137a4b;--okbg:#e3f5ec;--warn:#8a5a00;--warnbg:#fdf1d8;--bad:#a4262c;--badbg:#fbe6e7}"
    "@media(prefers-color-scheme:dark){:root{--bg:#12151b;--card:#1b2029;--ink:#e8ebf1;--soft:#9aa5b8;--line:#2d3442;"
    "--accent:#8ba4ff;--ok:#6fdca8;--okbg:#12352a;--warn:#f2c265;--warnbg:#3a2e12;--bad:#ff9a9f;--badbg:#40191c}}"
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);"
    "font:16px/1.6 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}"
    "main{max-width:56rem;margin:0 auto;padding:2.5rem 1.25rem 4rem}"
    "header small{color:var(--soft);letter-spacing:.08em;text-transform:uppercase;font-size:.75rem}"
    "h1{font-size:1.7rem;line-height:1.3;margin:.4rem 0 1.2rem;overflow-wrap:anywhere}"
    "h2{font-size:1.1rem;margin:0 0 .8rem}section{background:var(--card);border:1px solid "
    "var(--line);border-radius:14px;"
    "padding:1.4rem 1.5rem;margin:1.1rem 0}"
    ".verdict{display:flex;flex-wrap:wrap;gap:1rem 2rem;align-items:center}"
    ".badge{font-weight:650;padding:.45rem 1rem;border-radius:999px}"
    ".APPROVED{color:var(--ok);background:var(--okbg)}.APPROVED_WITH_CONDITIONS,.NEEDS_REVIEW{color:var(--warn);"
    "background:var(--warnbg)}.REJECTED{color:var(--bad);background:var(--badbg)}"
    ".meter{flex:1 1 14rem}.meter label{display:flex;justify-content:space-between;color:var(--soft);font-size:.9rem}"
    ".meter progress{width:100%;height:.6rem;accent-color:var(--accent)}"
    ".note{color:var(--warn);background:var(--warnbg);border-color:transparent}.lead{color:var(--soft);margin:.9rem 0 "
    "0}"
    ".answer{overflow-wrap:anywhere}.answer>:first-child{margin-top:0}.answer>:last-child{margin-bottom:0}"
    "pre{overflow:auto;background:var(--bg);padding:.9rem;border-radius:8px}code{font-size:.88em}"
    "dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(13rem,1fr));gap:.9rem 1.5rem;margin:0}"
    "dt{color:var(--soft);font-size:.82rem}dd{margin:0;font-weight:550;overflow-wrap:anywhere}"
    ".scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.92rem}"
    "th{color:var(--soft);font-weight:550;text-align:left;font-size:.82rem}"
    "th,td{padding:.5rem .7rem .5rem 0;border-bottom:1px solid var(--line);vertical-align:top}"
    "tr:last-child td{border-bottom:0}td{overflow-wrap:break-word}summary{cursor:pointer;font-weight:600}"
    "details[open] "
    "summary{margin-bottom:.8rem}.hash{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:.82rem;"
    "font-weight:400}footer{color:var(--soft);font-size:.85rem;margin-top:1.5rem}"
    "@media "
    "print{body{background:#fff;color:#000;font-size:11pt}main{max-width:none;padding:0}section{border-color:#bbb;"
    "break-inside:avoid}.long{break-inside:auto}tr{break-inside:avoid}}";

static const char html_how[] =
    "<p>The content hash is the SHA-256 of this receipt as JSON with sorted keys and without spaces, without the "
    "members "
    "<code>content_hash</code>, <code>artifact_hash</code> and <code>signature</code>. The signature is "
    "made over the 64 hexadecimal digits of that hash with the key that is named. Anybody can check the "
    "hash:</p>\n<pre><code>"
    "import hashlib, json\n"
    "doc = json.load(open(&quot;receipt.json&quot;))  # saved from …?format=json&amp;raw=1\n"
    "left = {k: v for k, v in doc.items() if k not in (&quot;content_hash&quot;, &quot;artifact_hash&quot;, "
    "&quot;signature&quot;)}\n"
    "text = json.dumps(left, sort_keys=True, separators=(&quot;,&quot;, &quot;:&quot;), ensure_ascii=False)\n"
    "print(hashlib.sha256(text.encode()).hexdigest() == doc[&quot;content_hash&quot;])</code></pre>\n";

static void html_member(struct buf *out, const json_t *doc, const char *key)
{
	html_escape(out, json_get_str(doc, key, STR("")));
}

static void html_value(struct buf *out, const json_t *row, const struct receipt_column *c)
{
	struct buf text = BUF_INIT;

	receipt_show(&text, row, c);
	html_escape(out, buf_str(&text));
	buf_free(&text);
}

/* "APPROVED_WITH_CONDITIONS" reads as words. */
static void html_verdict_words(struct buf *out, struct str verdict)
{
	size_t i;

	for (i = 0; i < verdict.n; i++) {
		char c = verdict.p[i];

		if (c == '_')
			c = ' ';
		else if (i > 0 && c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		html_escape(out, (struct str){&c, 1});
	}
}

static void html_verdict(struct buf *out, const json_t *doc)
{
	struct buf sentence = BUF_INIT;
	double percent = (double)json_get_int(doc, "confidence_ppm", 0) / 1e4;

	buf_addz(out, "<section><div class=\"verdict\"><span class=\"badge ");
	html_member(out, doc, "verdict");
	buf_addz(out, "\">");
	html_verdict_words(out, json_get_str(doc, "verdict", STR("")));
	buf_printf(out,
		   "</span><div class=\"meter\"><label><span>Confidence</span><span>%.1f %%</span></label>"
		   "<progress max=\"100\" value=\"%.1f\">%.1f %%</progress></div></div>\n<p class=\"lead\">",
		   percent, percent, percent);
	receipt_explain(&sentence, doc);
	html_escape(out, buf_str(&sentence));
	buf_free(&sentence);
	buf_addz(out, "</p></section>\n");
}

static void html_answer(struct buf *out, const json_t *doc)
{
	struct str answer = json_get_str(doc, "final_answer", STR("")),
		   synthesis = json_get_str(doc, "synthesis", STR(""));

	if (answer.n == 0)
		answer = synthesis;
	buf_addz(out, "<section class=\"long\"><h2>Answer</h2><div class=\"answer\">\n");
	if (answer.n > 0)
		receipt_markup(out, answer);
	else
		buf_addz(out, "<p>No answer was given.</p>\n");
	buf_addz(out, "</div></section>\n");
}

static void html_facts(struct buf *out, const json_t *doc)
{
	size_t i;

	buf_addz(out, "<section><h2>How it was decided</h2><dl>\n");
	for (i = 0; i < receipt_facts_count; i++) {
		struct buf text = BUF_INIT;

		receipt_show(&text, doc, &receipt_facts[i]);
		if (text.n > 0) {
			buf_printf(out, "<div><dt>%s</dt><dd>", receipt_facts[i].label);
			html_escape(out, buf_str(&text));
			buf_addz(out, "</dd></div>\n");
		}
		buf_free(&text);
	}
	buf_addz(out, "</dl></section>\n");
}

static void html_table(struct buf *out, const json_t *rows, const struct receipt_section *s)
{
	const json_t *row;
	size_t i, k;

	buf_addz(out, "<div class=\"scroll\"><table><thead><tr>");
	for (k = 0; k < s->n; k++)
		buf_printf(out, "<th>%s</th>", s->columns[k].label);
	buf_addz(out, "</tr></thead><tbody>\n");
	json_array_foreach(rows, i, row)
	{
		buf_addz(out, "<tr>");
		for (k = 0; k < s->n; k++) {
			buf_addz(out, s->columns[k].kind == SHOW_HASH ? "<td class=\"hash\">" : "<td>");
			html_value(out, row, &s->columns[k]);
			buf_addz(out, "</td>");
		}
		buf_addz(out, "</tr>\n");
	}
	buf_addz(out, "</tbody></table></div>");
}

static void html_section(struct buf *out, const json_t *doc, const struct receipt_section *s)
{
	const json_t *rows = json_get_arr(doc, s->rows);
	size_t n = json_array_size(rows);

	if (n == 0 && s->empty == NULL)
		return;
	/* What is long is folded; print shows what the reader left open. */
	buf_printf(out, "<section class=\"long\">%s%s", n > 8 ? "<details><summary>" : "<h2>", s->title);
	if (n > 8)
		buf_printf(out, " (%zu)</summary>", n);
	else
		buf_addz(out, "</h2>");
	if (n > 0)
		html_table(out, rows, s);
	else
		buf_printf(out, "<p>%s</p>", s->empty);
	buf_addz(out, n > 8 ? "</details></section>\n" : "</section>\n");
}

static void html_proof(struct buf *out, const json_t *doc)
{
	static const char *const names[][2] = {{"Content hash (SHA-256)", "content_hash"},
					       {"Signature", "signature"},
					       {"Algorithm", "signature_algorithm"},
					       {"Key", "signature_key_id"},
					       {"Signed at", "signed_at"},
					       {"Hash of the question", "input_hash"},
					       {"Debate", "debate_id"}};
	size_t i;

	buf_addz(out, "<section><h2>Verification</h2><dl>\n");
	for (i = 0; i < countof(names); i++) {
		buf_printf(out, "<div><dt>%s</dt><dd class=\"hash\">", names[i][0]);
		html_member(out, doc, names[i][1]);
		buf_addz(out, "</dd></div>\n");
	}
	buf_addz(out, "</dl>\n");
	buf_addz(out, html_how);
	buf_addz(out, "<p>The server checks hash and signature at <code>/api/receipts/");
	html_member(out, doc, "receipt_id");
	buf_addz(out, "/verify</code>.</p></section>\n");
}

struct str receipt_html(struct arena *a, const json_t *doc)
{
	struct buf out = BUF_INIT;
	struct str text;
	size_t i;

	buf_addz(&out,
		 "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
		 "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>Decision receipt: ");
	html_escape(&out, str_utf8_cut(json_get_str(doc, "question", STR("")), 120));
	buf_addz(&out, "</title><style>");
	buf_addz(&out, html_style);
	buf_addz(&out, "</style></head><body><main><header><small>Decision receipt · ");
	html_member(&out, doc, "timestamp");
	buf_addz(&out, "</small><h1>");
	html_member(&out, doc, "question");
	buf_addz(&out, "</h1></header>\n");
	if (json_get_bool(doc, "demo", false))
		buf_addz(
		    &out,
		    "<section class=\"note\">Demonstration: the agents were played by the server; no model was asked."
		    "</section>\n");
	html_verdict(&out, doc);
	html_answer(&out, doc);
	html_facts(&out, doc);
	for (i = 0; i < receipt_sections_count; i++)
		html_section(&out, doc, &receipt_sections[i]);
	html_proof(&out, doc);
	buf_addz(&out, "<footer>");
	html_member(&out, doc, "receipt_id");
	buf_addz(&out, "</footer></main></body></html>\n");
	text = arena_str(a, buf_str(&out));
	buf_free(&out);
	return text;
}
