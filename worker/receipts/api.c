/* SPDX-License-Identifier: MIT */
/*
 * The routes of one receipt: read in all formats, verify a stored or a posted one, the same for many ids. A receipt is
 * found by its own id, its debate's id or its debate's slug. Receipts are made by the runner, not here.
 */
#include "worker/receipts/api.h"

#include "common/clock.h"
#include "common/json.h"
#include "worker/receipts/stamp.h"
#include "worker/worker.h"

static const struct worker *api_worker(const struct http_request *req)
{
	return req->user;
}

/* ---- store ---- */

bool receipt_row_load(struct http_request *req, struct str ref, struct receipt_row *row, struct error *err)
{
	struct db_rows r;

	if (!db_query(
		api_worker(req)->db, req->arena,
		"SELECT id, debate_id, document, created_at FROM receipts WHERE org_id = $2 AND workspace_id = $3 AND "
		"(id = $1 OR debate_id = $1 OR debate_id IN (SELECT id FROM debates WHERE workspace_id = $3 AND slug = "
		"$1) OR debate_id IN (SELECT debate_id FROM decisions WHERE id = $1 AND org_id = $2 AND workspace_id = "
		"$3))"
		" LIMIT 1",
		DB_ARGS(DB_S(ref), DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id)), &r, err))
		return false;
	if (r.count == 0)
		return error_field(err, ERR_NOT_FOUND, "id", "Receipt not found");
	*row = (struct receipt_row){db_str(&r, 0, 0), db_str(&r, 0, 1), db_str(&r, 0, 2), db_int(&r, 0, 3)};
	return true;
}

const json_t *receipt_load(struct http_request *req, struct str ref, struct error *err)
{
	struct receipt_row row = {.created_at = 0};

	return receipt_row_load(req, ref, &row, err) ? json_parse(req->arena, row.document, err) : NULL;
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

void receipt_send(struct http_request *req, const json_t *doc, const struct receipt_format *f)
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
	const json_t *doc = format != NULL ? receipt_load(req, req->params[0], &err) : NULL;

	if (doc == NULL) {
		http_reply_error(req, &err);
		return;
	}
	http_reply_field(req, "Vary", "Accept");
	receipt_send(req, doc, format);
}

/* ---- verifying ---- */

/* One answer for all routes that verify; clients of either receipt model find their names in it. */
static json_t *api_check(const struct http_request *req, const json_t *doc)
{
	struct str stored = json_get_str(doc, "content_hash", STR(""));
	struct receipt_check check;
	char iso[CLOCK_ISO_MAX];
	json_t *o, *error;

	receipt_verify(api_worker(req)->receipt_keys, doc, &check);
	error = check.error[0] != '\0' ? json_string(check.error) : json_null();
	o = json_pack("{s:b, s:b, s:b, s:b}", "valid", check.hash_ok && check.signature_ok, "signature_valid",
		      check.signature_ok, "integrity_valid", check.hash_ok, "known_key", check.known_key);
	json_put_str(o, "receipt_id", json_get_str(doc, "receipt_id", STR("")));
	json_put_str(o, "algorithm", json_get_str(doc, "signature_algorithm", STR("")));
	json_put_str(o, "key_id", json_get_str(doc, "signature_key_id", STR("")));
	json_put_str(o, "signed_at", json_get_str(doc, "signed_at", STR("")));
	json_put_str(o, "content_hash", stored);
	json_put_str(o, "stored_checksum", stored);
	json_put_str(o, "computed_checksum", str_of(check.content_hash));
	json_put_str(o, "verification_timestamp", str_of(clock_iso(iso, clock_wall_ms())));
	json_object_set_new(o, "signature", json_pack("{s:b, s:O}", "valid", check.signature_ok, "error", error));
	json_object_set_new(o, "integrity", json_pack("{s:b}", "valid", check.hash_ok));
	json_object_set_new(o, "error", error);
	return o;
}

CO_FN static void api_verify(struct http_request *req)
{
	struct receipt_row row = {.created_at = 0};
	struct error err = ERROR_INIT;
	const json_t *doc =
	    receipt_row_load(req, req->params[0], &row, &err) ? json_parse(req->arena, row.document, &err) : NULL;
	json_t *o, *stamp;

	if (doc == NULL) {
		http_reply_error(req, &err);
		return;
	}
	o = api_check(req, doc);
	stamp = stamp_show(req->user, req->arena, req->ctx.org_id, req->ctx.workspace_id, row.id,
			   json_get_str(doc, "content_hash", STR("")), &err);
	json_object_set_new(o, "timestamp", stamp != NULL ? stamp : json_null());
	http_reply_json(req, 200, o);
}

/* The answer of the authority as it gave it, for programs that know RFC 3161; JSON is the form of our other routes. */
CO_FN static void api_stamp(struct http_request *req)
{
	struct receipt_row row = {.created_at = 0};
	struct error err = ERROR_INIT;
	const json_t *doc =
	    receipt_row_load(req, req->params[0], &row, &err) ? json_parse(req->arena, row.document, &err) : NULL;
	json_t *stamp = NULL;
	struct str token;
	uint8_t *reply;
	size_t n;

	if (doc != NULL)
		stamp = json_own(req->arena, stamp_show(req->user, req->arena, req->ctx.org_id, req->ctx.workspace_id,
							row.id, json_get_str(doc, "content_hash", STR("")), &err));
	if (stamp == NULL && err.code == ERR_OK)
		error_field(&err, ERR_NOT_FOUND, "id", "the receipt has no time stamp");
	if (stamp == NULL) {
		http_reply_error(req, &err);
		return;
	}
	token = json_get_str(stamp, "token", STR(""));
	n = token.n;
	reply = arena_alloc(req->arena, n + 1);
	http_reply_field(req, "Vary", "Accept");
	if (str_ifind(http_field(req, "Accept"), STR("application/timestamp-reply")) >= 0 &&
	    crypto_unbase64(token, reply, &n))
		http_reply(req, 200, "application/timestamp-reply", (struct str){(const char *)reply, n});
	else
		http_reply_json(req, 200, json_incref(stamp));
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
	http_reply_json(req, 200, api_check(req, doc));
}

/* ---- many ids ---- */

/* The ids of the body, 1 to RECEIPT_BATCH_MAX texts; NULL after having replied. */
static const json_t *api_ids(struct http_request *req, struct str *format)
{
	struct error err = ERROR_INIT;
	const json_t *body = json_parse(req->arena, req->body.n > 0 ? req->body : STR("{}"), &err),
		     *ids = json_get_arr(body, "receipt_ids"), *e;
	size_t i, n = json_array_size(ids);
	bool ok = n > 0 && n <= RECEIPT_BATCH_MAX;

	json_array_foreach(ids, i, e) ok = ok && json_is_string(e);
	*format = json_get_str(body, "format", STR("json"));
	if (ok)
		return ids;
	if (err.code == ERR_OK)
		error_field(&err, ERR_INVALID_VALUE, "receipt_ids", "must be a list of 1 to %d ids", RECEIPT_BATCH_MAX);
	http_reply_error(req, &err);
	return NULL;
}

static struct str api_id(const json_t *ids, size_t i)
{
	const json_t *e = json_array_get(ids, i);

	return (struct str){json_string_value(e), json_string_length(e)};
}

/* An id that is not there is told beside the others. */
static json_t *api_missing(struct str id, const struct error *err)
{
	return json_pack("{s:s%, s:b, s:s}", "receipt_id", id.p, id.n, "valid", 0, "error", err->msg);
}

CO_FN static void api_verify_batch(struct http_request *req)
{
	struct str format = STR("");
	const json_t *ids = api_ids(req, &format);
	json_t *results = json_own(req->arena, json_array()), *one;
	size_t i, n = json_array_size(ids), valid = 0;

	if (ids == NULL)
		return;
	for (i = 0; i < n; i++) {
		struct error err = ERROR_INIT;
		const json_t *doc = receipt_load(req, api_id(ids, i), &err);

		one = doc != NULL ? api_check(req, doc) : api_missing(api_id(ids, i), &err);
		valid += json_get_bool(one, "valid", false);
		json_array_append_new(results, one);
	}
	http_reply_json(req, 200,
			json_pack("{s:O, s:{s:I, s:I, s:I, s:i}}", "results", results, "summary", "total",
				  (json_int_t)n, "valid", (json_int_t)valid, "invalid", (json_int_t)(n - valid),
				  "not_signed", 0));
}

/* Every receipt is signed when it is made, so there is nothing left to sign. */
CO_FN static void api_sign_batch(struct http_request *req)
{
	struct str format = STR("");
	const json_t *ids = api_ids(req, &format);
	json_t *results = json_own(req->arena, json_array());
	size_t i, n = json_array_size(ids), failed = 0;

	if (ids == NULL)
		return;
	for (i = 0; i < n; i++) {
		struct error err = ERROR_INIT;
		struct receipt_row row = {.created_at = 0};

		if (receipt_row_load(req, api_id(ids, i), &row, &err)) {
			json_array_append_new(
			    results, json_pack("{s:s%, s:s}", "receipt_id", row.id.p, row.id.n, "status", "skipped"));
			continue;
		}
		failed++;
		json_array_append_new(results, api_missing(api_id(ids, i), &err));
	}
	http_reply_json(req, 200,
			json_pack("{s:O, s:{s:I, s:i, s:I, s:I}}", "results", results, "summary", "total",
				  (json_int_t)n, "signed", 0, "skipped", (json_int_t)(n - failed), "failed",
				  (json_int_t)failed));
}

CO_FN static void api_export_batch(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct str name = STR("");
	const json_t *ids = api_ids(req, &name);
	const struct receipt_format *f = ids != NULL ? receipt_format_find(name, STR(""), &err) : NULL;
	json_t *files = json_own(req->arena, json_array()), *missing = json_own(req->arena, json_array());
	size_t i;

	if (ids == NULL)
		return;
	if (f == NULL) {
		http_reply_error(req, &err);
		return;
	}
	if (f->slow)
		error_field(&err, ERR_INVALID_VALUE, "format", "%s is made one receipt at a time", f->name);
	for (i = 0; err.code == ERR_OK && i < json_array_size(ids); i++) {
		struct error none = ERROR_INIT;
		const json_t *doc = receipt_load(req, api_id(ids, i), &none);
		struct str body;
		json_t *o;

		if (doc == NULL) {
			json_array_append(missing, json_array_get(ids, i));
			continue;
		}
		if (!receipt_render(req->user, req->arena, f, doc, &body, &err))
			break;
		o = json_object();
		json_put_str(
		    o, "name",
		    arena_printf(req->arena, "%.*s.%s", STR_ARG(json_get_str(doc, "receipt_id", STR(""))), f->suffix));
		json_put_str(o, "content", body);
		json_array_append_new(files, o);
	}
	if (err.code != ERR_OK)
		http_reply_error(req, &err);
	else
		http_reply_json(req, 200,
				json_pack("{s:s, s:I, s:O, s:O}", "format", f->name, "count",
					  (json_int_t)json_array_size(files), "files", files, "missing", missing));
}

/* Who holds a receipt needs no account to verify it: public keys are public. */
static void api_keys(struct http_request *req)
{
	json_t *list = receipt_keys_public(api_worker(req)->receipt_keys);

	http_reply_json(
	    req, 200,
	    json_pack("{s:o, s:O?}", "keys", list, "current", json_object_get(json_array_get(list, 0), "key_id")));
}

#define READ(p, fn, text, schema) \
	ROUTE(GET, p, fn, "receipts:read", READ, text, .flags = ROUTE_ETAG, .response = (schema))
#define CHECK(m, p, fn, text)                                                                                    \
	{                                                                                                        \
		.method = (m), .path = (p), .handler = (fn), .permission = "receipts:verify", .rate = RATE_READ, \
		.summary = (text), .response = "ReceiptCheck"                                                    \
	}

static const struct route receipt_rows[] = {
    ROUTE(GET, "/api/receipts/keys", api_keys, NULL, READ,
	  "Public keys of receipts and the names of all; the current one signs", .flags = ROUTE_PUBLIC | ROUTE_INLINE),
    READ("/api/receipts/{id}", api_get, "A decision receipt: ?format=json, md, html, csv, sarif, pdf", "Receipt"),
    READ("/api/receipts/{id}/export", api_get, "A decision receipt: ?format=json, md, html, csv, sarif, pdf",
	 "Receipt"),
    READ("/api/debates/{id}/receipt", api_get, "The decision receipt of a debate", "Receipt"),
    READ("/api/receipts/{id}/timestamp", api_stamp,
	 "The RFC 3161 time stamp, as JSON or as the authority gave it (Accept: application/timestamp-reply)", NULL),
    CHECK(HTTP_GET, "/api/receipts/{id}/verify", api_verify, "Check hash and signature of a stored receipt"),
    CHECK(HTTP_POST, "/api/receipts/{id}/verify", api_verify, "Check hash and signature of a stored receipt"),
    CHECK(HTTP_POST, "/api/receipts/{id}/verify-signature", api_verify, "Check hash and signature of a stored receipt"),
    CHECK(HTTP_POST, "/api/receipts/verify-batch", api_verify_batch, "Check up to 100 stored receipts"),
    ROUTE(POST, "/api/receipts/sign-batch", api_sign_batch, "receipts:sign", READ,
	  "Tells which of up to 100 receipts are signed: all are, when they are made"),
    ROUTE(POST, "/api/receipts/batch-export", api_export_batch, "receipts:read", EXPORT,
	  "Up to 100 receipts in a format, as files inside JSON"),
    CHECK(HTTP_POST, "/api/receipts/verify", api_verify_posted, "Check a receipt document that somebody holds"),
};

const struct route_table receipt_routes = {receipt_rows, countof(receipt_rows)};
