/* SPDX-License-Identifier: MIT */
/*
 * The formats of receipts: what they are called, how they are asked for, and the ones that are tables or tools' input
 * (CSV, SARIF). Called by the API. Pages are html.c, markdown.c and pdf.c.
 */
#include "worker/receipts/formats.h"

#include "common/csv.h"
#include "common/json.h"
#include "common/lane.h"
#include "worker/receipts/pdf.h"
#include "worker/worker.h"

#define FORMAT_PDF_US (60 * INT64_C(1000000)) /* a page takes milliseconds; this is for a machine out of breath */

/* ---- CSV: one line per finding, rest-wide 4.4 ---- */

static bool format_csv(struct arena *a, const json_t *doc, struct buf *out, struct error *err)
{
	static const char *const columns[][2] = {{"Finding ID", "id"},           {"Category", "category"},
						 {"Severity", "severity"},       {"Title", "title"},
						 {"Description", "description"}, {"Mitigation", "mitigation"},
						 {"Verified", "verified"},       {"Source", "source"}};
	json_t *findings = receipt_findings_of(a, doc);
	const json_t *e;
	size_t i, k;

	(void)err;
	for (k = 0; k < countof(columns); k++)
		buf_printf(out, "%s%s", columns[k][0], k + 1 == countof(columns) ? "\r\n" : ",");
	json_array_foreach(findings, i, e) for (k = 0; k < countof(columns); k++)
	    csv_json(out, json_object_get(e, columns[k][1]), k + 1 == countof(columns));
	json_decref(findings);
	return true;
}

/* ---- SARIF 2.1.0 (OASIS): one result per finding ---- */

static const struct {
	const char *id, *text;
} format_rules[] = {
    {"critique", "A critic still held this against the winning answer in the last round."},
    {"dissent", "A participant holds another position than the one that was chosen."},
};

static json_t *format_sarif_rules(void)
{
	json_t *rules = json_array();
	size_t i;

	for (i = 0; i < countof(format_rules); i++)
		json_array_append_new(rules, json_pack("{s:s, s:{s:s}}", "id", format_rules[i].id, "shortDescription",
						       "text", format_rules[i].text));
	return rules;
}

static json_t *format_sarif_result(struct arena *a, const json_t *doc, const json_t *finding)
{
	struct str severity = json_get_str(finding, "severity", STR("")),
		   rule = json_get_str(finding, "category", STR("")), title = json_get_str(finding, "title", STR("")),
		   id = json_get_str(doc, "debate_id", STR("")), source = json_get_str(finding, "source", STR("")),
		   text = json_get_str(finding, "description", STR(""));
	const char *level = str_eqz(severity, "critical") || str_eqz(severity, "high") ? "error"
			    : str_eqz(severity, "medium")                              ? "warning"
										       : "note";
	json_t *o =
	    json_pack("{s:s%, s:s, s:[{s:[{s:s%, s:s, s:o}]}]}", "ruleId", rule.p, rule.n, "level", level, "locations",
		      "logicalLocations", "name", source.p, source.n, "kind", "member", "fullyQualifiedName",
		      json_str(arena_printf(a, "%.*s/%.*s", STR_ARG(id), STR_ARG(source))));
	char hex[SHA256_HEX];

	json_object_set_new(
	    o, "message",
	    json_pack("{s:o}", "text", json_str(arena_printf(a, "%.*s: %.*s", STR_ARG(title), STR_ARG(text)))));
	/* Equal findings of two receipts are one to the tools that compare runs. */
	crypto_sha256_hex(json_canonical(a, finding), hex);
	json_object_set_new(o, "partialFingerprints", json_pack("{s:s}", "finding/v1", hex));
	json_object_set_new(o, "properties",
			    json_pack("{s:O, s:O, s:O}", "severity", json_object_get(finding, "severity"), "mitigation",
				      json_object_get(finding, "mitigation"), "source",
				      json_object_get(finding, "source")));
	return o;
}

static bool format_sarif(struct arena *a, const json_t *doc, struct buf *out, struct error *err)
{
	static const char *const names[] = {"receipt_id", "debate_id", "verdict", "content_hash", "signature_key_id"};
	json_t *findings = receipt_findings_of(a, doc), *results = json_array(), *properties = json_object(), *run,
	       *log;
	const json_t *e;
	size_t i;

	(void)err;
	json_array_foreach(findings, i, e) json_array_append_new(results, format_sarif_result(a, doc, e));
	for (i = 0; i < countof(names); i++)
		json_put_str(properties, names[i], json_get_str(doc, names[i], STR("")));
	run = json_pack("{s:{s:{s:s, s:s, s:o}}, s:o, s:o, s:s}", "tool", "driver", "name", "aragorad", "version",
			ARAGORA_VERSION, "rules", format_sarif_rules(), "results", results, "properties", properties,
			"columnKind", "unicodeCodePoints");
	log = json_pack("{s:s, s:s, s:[o]}", "$schema", "https://json.schemastore.org/sarif-2.1.0.json", "version",
			"2.1.0", "runs", run);
	buf_add(out, json_text(a, log));
	json_decref(log);
	json_decref(findings);
	return true;
}

/* ---- the others ---- */

static bool format_json(struct arena *a, const json_t *doc, struct buf *out, struct error *err)
{
	(void)err;
	buf_add(out, json_canonical(a, doc));
	return true;
}

static bool format_html(struct arena *a, const json_t *doc, struct buf *out, struct error *err)
{
	(void)err;
	buf_add(out, receipt_html(a, doc));
	return true;
}

static bool format_markdown(struct arena *a, const json_t *doc, struct buf *out, struct error *err)
{
	(void)err;
	buf_add(out, receipt_markdown(a, doc));
	return true;
}

static const struct receipt_format formats[] = {
    {"json", "application/json", "application/json", "json", false, false, format_json},
    {"html", "text/html", "text/html; charset=utf-8", "html", false, false, format_html},
    {"md", "text/markdown", "text/markdown; charset=utf-8", "md", false, false, format_markdown},
    {"markdown", "text/x-markdown", "text/markdown; charset=utf-8", "md", false, false, format_markdown},
    {"csv", "text/csv", "text/csv; charset=utf-8", "csv", false, false, format_csv},
    {"sarif", "application/sarif+json", "application/sarif+json", "sarif", false, false, format_sarif},
    {"pdf", "application/pdf", "application/pdf", "pdf", true, true, receipt_pdf},
};

const struct receipt_format *receipt_format_find(struct str name, struct str accept, struct error *err)
{
	const struct receipt_format *best = &formats[0];
	ptrdiff_t at, first = PTRDIFF_MAX;
	size_t i;

	for (i = 0; i < countof(formats); i++) {
		if (name.n > 0 && str_ieqz(name, formats[i].name))
			return &formats[i];
		at = str_ifind(accept, str_of(formats[i].accept));
		if (at >= 0 && at < first) {
			first = at;
			best = &formats[i];
		}
	}
	if (name.n == 0)
		return best;
	error_field(err, ERR_INVALID_VALUE, "format", "unsupported format; known are json, md, html, csv, sarif, pdf");
	return NULL;
}

/* ---- rendering, in a lane where it takes long ---- */

struct format_job {
	const struct receipt_format *format;
	json_t *doc; /* a copy of its own */
	struct buf out;
	struct error err;
	bool ok;
};

static void format_work(void *arg)
{
	struct format_job *j = arg;
	struct arena *a = arena_new(0);

	j->ok = j->format->render(a, j->doc, &j->out, &j->err);
	arena_free(a);
}

static void format_drop(void *arg)
{
	struct format_job *j = arg;

	json_decref(j->doc);
	buf_free(&j->out);
	free(j);
}

static bool format_in_lane(struct worker *w, struct arena *a, const struct receipt_format *f, const json_t *doc,
			   struct str *body, struct error *err)
{
	struct format_job *j = xcalloc(1, sizeof(*j));
	bool ok;

	*j = (struct format_job){.format = f, .doc = json_deep_copy(doc), .out = BUF_INIT, .err = ERROR_INIT};
	if (lane_run(w->cpu, format_work, format_drop, j, loop_now(w->loop) + FORMAT_PDF_US) != CO_DONE)
		return error_set(err, ERR_UNAVAILABLE, "too much is being rendered; try again in a moment");
	ok = j->ok;
	*err = j->err;
	*body = arena_str(a, buf_str(&j->out));
	format_drop(j);
	return ok;
}

bool receipt_render(struct worker *w, struct arena *a, const struct receipt_format *f, const json_t *doc,
		    struct str *body, struct error *err)
{
	struct buf out = BUF_INIT;
	bool ok;

	if (f->slow)
		return format_in_lane(w, a, f, doc, body, err);
	ok = f->render(a, doc, &out, err);
	*body = arena_str(a, buf_str(&out));
	buf_free(&out);
	return ok;
}
