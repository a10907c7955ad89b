/* SPDX-License-Identifier: MIT */
/*
 * The routes of receipts: list, read in all formats, verify a stored or a posted one. A receipt is found by its own
 * id, its debate's id or its debate's slug. Receipts are made by the runner, not here.
 */
#include "worker/receipts/formats.h"

#include "common/clock.h"
#include "common/json.h"
#include "worker/http/route.h"
#include "worker/worker.h"

#define API_LIMIT_MAX 100
#define API_LIMIT 20

static const struct worker *api_worker(const struct http_request *req)
{
	return req->user;
}

/* ---- store ---- */

/* The stored document, parsed; owned by the request's arena. NULL with err. */
CO_FN static json_t *api_load(struct http_request *req, struct str ref, struct error *err)
{
	struct db_rows r;

	if (!db_query(
		api_worker(req)->db, req->arena,
		"SELECT document FROM receipts WHERE org_id = $2 AND workspace_id = $3 AND (id = $1 OR debate_id = $1"
		" OR debate_id IN (SELECT id FROM debates WHERE workspace_id = $3 AND slug = $1)) LIMIT 1",
		DB_ARGS(DB_S(ref), DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id)), &r, err))
		return NULL;
	if (r.count == 0) {
		error_field(err, ERR_NOT_FOUND, "id", "Receipt not found");
		return NULL;
	}
	return json_parse(req->arena, db_str(&r, 0, 0), err);
}

#define API_WHERE                                                                                               \
	" FROM receipts r LEFT JOIN debates d ON d.id = r.debate_id AND d.workspace_id = r.workspace_id WHERE " \
	"r.org_id = $1 AND r.workspace_id = $2"                                                                 \
	" AND ($3 = '' OR r.verdict = $3) AND ($4 = '' OR r.risk_level = $4) AND ($5 = '' OR r.debate_id = $5)"

static json_t *api_summary(const struct db_rows *r, size_t i)
{
	static const char *const names[] = {"receipt_id",   "debate_id",        "verdict", "risk_level",
					    "content_hash", "signature_key_id", "question"};
	double confidence = (double)db_int(r, i, countof(names)) / 1e6;
	char iso[CLOCK_ISO_MAX];
	json_t *o = json_object();
	size_t k;

	for (k = 0; k < countof(names); k++)
		json_put_str(o, names[k], db_str(r, i, k));
	json_put_str(o, "gauntlet_id", db_str(r, i, 1));
	json_put_str(o, "checksum", db_str(r, i, 4));
	json_object_set_new(o, "confidence", json_real(confidence));
	json_object_set_new(o, "risk_score", json_real(1.0 - confidence));
	json_object_set_new(o, "signed", json_true());
	json_put_str(o, "created_at", str_of(clock_iso(iso, db_int(r, i, countof(names) + 1))));
	json_put_str(o, "timestamp", str_of(iso));
	return o;
}

static void api_reply_list(struct http_request *req, const struct db_rows *r, int64_t total, int64_t limit,
			   int64_t offset)
{
	json_t *list = json_array(), *page;
	size_t i;

	for (i = 0; i < r->count; i++)
		json_array_append_new(list, api_summary(r, i));
	page = json_pack("{s:I, s:I, s:I, s:b}", "total", (json_int_t)total, "limit", (json_int_t)limit, "offset",
			 (json_int_t)offset, "has_more", (int)(offset + (int64_t)r->count < total));
	json_object_set_new(page, "pagination", json_deep_copy(page));
	json_put_int(page, "count", (int64_t)r->count);
	json_object_set(page, "receipts", list);
	json_object_set_new(page, "items", list);
	http_reply_json(req, 200, page);
}

CO_FN static void api_list(struct http_request *req)
{
	struct str verdict = http_query(req, "verdict"), risk = http_query(req, "risk_level"),
		   debate = http_query(req, "debate_id");
	int64_t limit = http_query_int(req, "limit", 1, API_LIMIT_MAX, API_LIMIT);
	int64_t offset = http_query_int(req, "offset", 0, INT32_MAX, 0);
	const struct db_val args[] = {
	    DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id), DB_S(verdict), DB_S(risk), DB_S(debate), DB_I(limit),
	    DB_I(offset)};
	struct error err = ERROR_INIT;
	struct db_rows count, rows;

	if (db_query(api_worker(req)->db, req->arena, "SELECT COUNT(*)" API_WHERE, args, 5, &count, &err) &&
	    db_query(api_worker(req)->db, req->arena,
		     "SELECT r.id, r.debate_id, r.verdict, r.risk_level, r.content_hash, r.key_id, "
		     "COALESCE(substr(d.task, 1, 200), ''),"
		     " r.confidence_ppm, r.created_at" API_WHERE
		     " ORDER BY r.created_at DESC, r.id DESC LIMIT $6 OFFSET $7",
		     args, countof(args), &rows, &err))
		api_reply_list(req, &rows, db_int(&count, 0, 0), limit, offset);
	else
		http_reply_error(req, &err);
}

/* ---- one receipt in a format ---- */

/* Client libraries take every answer for JSON: who accepts nothing else gets the file inside it. */
static void api_reply_wrapped(struct http_request *req, const json_t *doc, const struct receipt_format *f,
			      struct str name, struct str body)
{
	json_t *o = json_object();
	char *text;

	json_put_str(o, "receipt_id", json_get_str(doc, "receipt_id", STR("")));
	json_put_str(o, "format", str_of(f->name));
	json_put_str(o, "filename", name);
	json_put_str(o, "content_type", str_of(f->type));
	json_put_int(o, "size_bytes", (int64_t)body.n);
	if (f->binary) {
		text = arena_alloc(req->arena, 4 * ((body.n + 2) / 3) + 1);
		body = (struct str){text, crypto_base64(text, (const uint8_t *)body.p, body.n)};
		json_put_str(o, "encoding", STR("base64"));
	}
	json_put_str(o, "content", body);
	http_reply_json(req, 200, o);
}

CO_FN static void api_send(struct http_request *req, const json_t *doc, const struct receipt_format *f)
{
	struct str name =
	    arena_printf(req->arena, "%.*s.%s",
			 STR_ARG(str_utf8_cut(json_get_str(doc, "receipt_id", STR("receipt")), 64)), f->suffix);
	bool json = strcmp(f->name, "json") == 0, raw = http_query(req, "raw").n > 0,
	     download = http_query(req, "download").n > 0;
	struct error err = ERROR_INIT;
	struct str body;

	if (json && !raw) {
		if (download)
			http_reply_field(req, "Content-Disposition", "attachment; filename=\"%s\"", name.p);
		http_reply_json(req, 200, receipt_view(doc));
		return;
	}
	if (!receipt_render(req->user, req->arena, f, doc, &body, &err)) {
		http_reply_error(req, &err);
		return;
	}
	if (!json && !raw && !download && str_eqz(str_trim(http_field(req, "Accept")), "application/json")) {
		api_reply_wrapped(req, doc, f, name, body);
		return;
	}
	if (strcmp(f->name, "html") == 0)
		http_reply_field(req, "Content-Security-Policy",
				 "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'");
	if (download)
		http_reply_field(req, "Content-Disposition", "attachment; filename=\"%s\"", name.p);
	http_reply(req, 200, f->type, body);
}

CO_FN static void api_get(struct http_request *req)
{
	struct error err = ERROR_INIT;
	const struct receipt_format *format =
	    receipt_format_find(http_query(req, "format"), http_field(req, "Accept"), &err);
	const json_t *doc = format != NULL ? api_load(req, req->params[0], &err) : NULL;

	if (doc == NULL) {
		http_reply_error(req, &err);
		return;
	}
	http_reply_field(req, "Vary", "Accept");
	api_send(req, doc, format);
}

/* ---- verifying ---- */

static void api_reply_check(struct http_request *req, const json_t *doc)
{
	struct receipt_check check;
	char iso[CLOCK_ISO_MAX];
	json_t *o;

	receipt_verify(api_worker(req)->receipt_keys, doc, &check);
	o = json_pack("{s:b, s:b, s:b, s:b}", "valid", check.hash_ok && check.signature_ok, "signature_valid",
		      check.signature_ok, "integrity_valid", check.hash_ok, "known_key", check.known_key);
	json_put_str(o, "receipt_id", json_get_str(doc, "receipt_id", STR("")));
	json_put_str(o, "algorithm", json_get_str(doc, "signature_algorithm", STR("")));
	json_put_str(o, "key_id", json_get_str(doc, "signature_key_id", STR("")));
	json_put_str(o, "signed_at", json_get_str(doc, "signed_at", STR("")));
	json_put_str(o, "content_hash", json_get_str(doc, "content_hash", STR("")));
	json_put_str(o, "verification_timestamp", str_of(clock_iso(iso, clock_wall_ms())));
	json_object_set_new(o, "error", check.error[0] != '\0' ? json_string(check.error) : json_null());
	http_reply_json(req, 200, o);
}

CO_FN static void api_verify(struct http_request *req)
{
	struct error err = ERROR_INIT;
	const json_t *doc = api_load(req, req->params[0], &err);

	if (doc != NULL)
		api_reply_check(req, doc);
	else
		http_reply_error(req, &err);
}

/* The body is the document, or an object that holds it as "receipt". */
static void api_verify_posted(struct http_request *req)
{
	struct error err = ERROR_INIT;
	const json_t *body = json_parse(req->arena, req->body.n > 0 ? req->body : STR("{}"), &err), *doc;

	if (body != NULL && !json_is_object(body))
		error_set(&err, ERR_INVALID_JSON, "the body must be a JSON object");
	if (!json_is_object(body)) {
		http_reply_error(req, &err);
		return;
	}
	doc = json_get_obj(body, "receipt") != NULL ? json_get_obj(body, "receipt") : body;
	if (json_get_str(doc, "content_hash", STR("")).n == 0) {
		error_field(&err, ERR_MISSING_FIELD, "content_hash", "the body must be a signed receipt document");
		http_reply_error(req, &err);
		return;
	}
	api_reply_check(req, doc);
}

/* Who holds a receipt needs no account to verify it: public keys are public. */
static void api_keys(struct http_request *req)
{
	json_t *list = receipt_keys_public(api_worker(req)->receipt_keys);

	http_reply_json(
	    req, 200,
	    json_pack("{s:o, s:O?}", "keys", list, "current", json_object_get(json_array_get(list, 0), "key_id")));
}

#define READ(p, fn, text, schema)                                                                                   \
	{                                                                                                           \
		.method = HTTP_GET, .path = (p), .handler = (fn), .permission = "receipts:read", .rate = RATE_READ, \
		.flags = ROUTE_ETAG, .summary = (text), .response = (schema)                                        \
	}
#define CHECK(m, p, fn, text)                                                                                    \
	{                                                                                                        \
		.method = (m), .path = (p), .handler = (fn), .permission = "receipts:verify", .rate = RATE_READ, \
		.summary = (text), .response = "ReceiptCheck"                                                    \
	}

static const struct route receipt_rows[] = {
    READ("/api/receipts", api_list, "List decision receipts, newest first", "ReceiptList"),
    {.method = HTTP_GET,
     .path = "/api/receipts/keys",
     .handler = api_keys,
     .rate = RATE_READ,
     .flags = ROUTE_PUBLIC | ROUTE_INLINE,
     .summary = "Public keys of receipts and the names of all; the current one signs"},
    READ("/api/receipts/{id}", api_get, "A decision receipt: ?format=json, md, html, csv, sarif, pdf", "Receipt"),
    READ("/api/receipts/{id}/export", api_get, "A decision receipt: ?format=json, md, html, csv, sarif, pdf",
	 "Receipt"),
    READ("/api/debates/{id}/receipt", api_get, "The decision receipt of a debate", "Receipt"),
    CHECK(HTTP_GET, "/api/receipts/{id}/verify", api_verify, "Check hash and signature of a stored receipt"),
    CHECK(HTTP_POST, "/api/receipts/{id}/verify", api_verify, "Check hash and signature of a stored receipt"),
    CHECK(HTTP_POST, "/api/receipts/{id}/verify-signature", api_verify, "Check hash and signature of a stored receipt"),
    CHECK(HTTP_POST, "/api/receipts/verify", api_verify_posted, "Check a receipt document that somebody holds"),
};

const struct route_table receipt_routes = {receipt_rows, countof(receipt_rows)};
