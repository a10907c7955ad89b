/* SPDX-License-Identifier: MIT */
/*
 * /api/auth/api-keys: making, listing and revoking one's own keys (rest-core 6.3). A key is in the answer that makes it
 * and nowhere else.
 */
#include "common/clock.h"
#include "common/crypto.h"
#include "common/ids.h"
#include "common/log.h"
#include "worker/audit/audit.h"
#include "worker/http/http_client.h"
#include "worker/http/route.h"
#include "worker/identity/apikey.h"
#include "worker/identity/own.h"
#include "worker/worker.h"

#define KEYS_MAX 50     /* that are valid, of one user in one organization */
#define KEYS_SCOPES 100 /* of one key */
#define KEYS_NETWORKS 50
#define KEYS_NAME 100
#define DAY_S INT64_C(86400)
#define KEYS_LIFE_S (365 * DAY_S) /* security.md 3.3 */

struct keys_wish {
	struct str name;
	json_t *scopes, *networks; /* arrays of text */
	int64_t life_s;
};

/* ---- reading ---- */

static void keys_problem(struct body_problems *p, const char *field, const char *text)
{
	struct error err = ERROR_INIT;

	error_field(&err, ERR_INVALID_VALUE, field, "%s", text);
	body_problem(p, &err);
}

/* An array of at most max texts, each of which passes; an empty one when the member is not there. */
static json_t *keys_list(struct http_request *req, struct body_problems *p, const json_t *body, const char *field,
			 size_t max, bool (*passes)(struct http_request *req, struct str s), const char *what)
{
	json_t *v = json_object_get(body, field), *one;
	size_t i;

	if (v == NULL || json_is_null(v))
		return json_own(req->arena, json_array());
	if (!json_is_array(v) || json_array_size(v) > max) {
		keys_problem(p, field, what);
		return v;
	}
	json_array_foreach(v, i, one)
	{
		if (!json_is_string(one) || !passes(req, str_of(json_string_value(one)))) {
			keys_problem(p, field, what);
			break;
		}
	}
	return v;
}

/* Nobody gives a key more than he has. */
static bool keys_scope_ok(struct http_request *req, struct str scope)
{
	struct permissions set = {{0}};

	return permissions_grant(&set, scope) && req->ctx.who->permissions != NULL &&
	       permissions_include(req->ctx.who->permissions, &set);
}

static bool keys_network_ok(struct http_request *req, struct str network)
{
	char *v[1] = {arena_strdup(req->arena, network.p)};
	struct conf_list list = {v, 1};
	struct http_cidrs cidrs = {NULL, 0};
	bool ok;

	http_cidrs_set(&cidrs, &list);
	ok = cidrs.n == 1;
	http_cidrs_free(&cidrs);
	return ok;
}

static int64_t keys_life(struct body_problems *p, const json_t *body)
{
	static const struct {
		const char *field;
		int64_t unit;
	} t[] = {{"expires_in", 1}, {"expires_in_days", DAY_S}};
	size_t i;

	for (i = 0; i < countof(t); i++) {
		const json_t *v = json_object_get(body, t[i].field);
		int64_t n = json_integer_value(v);

		if (v == NULL || json_is_null(v))
			continue;
		if (json_is_integer(v) && n > 0 && n <= KEYS_LIFE_S / t[i].unit)
			return n * t[i].unit;
		keys_problem(p, t[i].field,
			     i == 0 ? "must be a number of seconds, at most 365 days"
				    : "must be a number of days, at most 365");
	}
	return KEYS_LIFE_S;
}

static bool keys_read(struct http_request *req, const json_t *body, struct keys_wish *k)
{
	struct body_problems p;

	body_problems_begin(req, &p);
	k->name = body_text(&p, body, "name", 0, KEYS_NAME, false);
	k->scopes = keys_list(req, &p, body, "scopes", KEYS_SCOPES, keys_scope_ok,
			      "must be a list of at most 100 permissions that you have yourself");
	k->networks = keys_list(req, &p, body, json_object_get(body, "networks") != NULL ? "networks" : "allowed_ips",
				KEYS_NETWORKS, keys_network_ok, "must be a list of at most 50 addresses or networks");
	k->life_s = keys_life(&p, body);
	return !body_refused(req, &p);
}

/* ---- making ---- */

static void keys_make(struct arena *a, struct str *key)
{
	uint8_t bytes[32];
	char text[45];
	size_t n;

	ids_random(bytes, sizeof(bytes));
	n = crypto_base64url(text, bytes, sizeof(bytes));
	*key = arena_printf(a, "ara_%.*s", (int)n, text);
	explicit_bzero(bytes, sizeof(bytes));
	explicit_bzero(text, sizeof(text));
}

static json_t *keys_json(struct http_request *req, struct str id, struct str name, struct str prefix, struct str scopes,
			 struct str networks, int64_t created, int64_t expires)
{
	json_t *o = json_object(), *list;

	json_put_str(o, "id", id);
	json_put_str(o, "name", name);
	json_put_str(o, "prefix", prefix);
	list = json_parse(req->arena, scopes, NULL);
	json_object_set(o, "scopes", list);
	list = json_parse(req->arena, networks, NULL);
	json_object_set(o, "allowed_ips", list);
	json_put_time(o, "created_at", created);
	json_put_time(o, "expires_at", expires);
	return o;
}

CO_FN static bool keys_room(struct http_request *req, const struct account *u, int64_t now, struct error *err)
{
	struct worker *w = req->user;
	struct db_rows r;

	if (!db_query(w->db, req->arena,
		      "SELECT COUNT(*) FROM api_keys WHERE user_id = $1 AND org_id = $2 AND revoked_at IS NULL"
		      " AND expires_at > $3",
		      DB_ARGS(DB_S(u->id), DB_S(req->ctx.org_id), DB_I(now)), &r, err))
		return false;
	return db_int(&r, 0, 0) < KEYS_MAX ||
	       error_set(err, ERR_CONFLICT, "there are %d API keys already: revoke one first", KEYS_MAX);
}

CO_FN static bool keys_store(struct http_request *req, const struct account *u, const struct keys_wish *k,
			     struct str key, struct str id, int64_t now, struct error *err)
{
	struct worker *w = req->user;
	struct db_batch *b = db_batch_new(w->db);

	db_batch_add(b,
		     "INSERT INTO api_keys (id, org_id, user_id, hash, prefix, name, scopes, networks, created_at,"
		     " expires_at, mfa_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
		     DB_ARGS(DB_S(id), DB_S(req->ctx.org_id), DB_S(u->id), DB_S(apikey_hash(req->arena, key)),
			     DB_S(str_sub(key, 0, APIKEY_PREFIX)), DB_S(k->name),
			     DB_S(json_text(req->arena, k->scopes)), DB_S(json_text(req->arena, k->networks)),
			     DB_I(now), DB_I(now + k->life_s * 1000), DB_I(req->ctx.who->mfa_ms)),
		     1);
	audit_add(
	    b, req,
	    &(struct audit_event){
		.category = "api", .action = "api.key_created", .resource_type = STR("api_key"), .resource_id = id});
	return db_commit(w->db, b, err);
}

CO_FN static void keys_create(struct http_request *req)
{
	const struct account *u = own_account_proved(req);
	const json_t *body = u != NULL ? body_object(req) : NULL;
	int64_t now = clock_wall_ms();
	struct error err = ERROR_INIT;
	struct keys_wish k;
	char id[UUID_LEN + 1];
	struct str key;
	json_t *o;

	if (body == NULL || !keys_read(req, body, &k))
		return;
	ids_uuid7(id);
	keys_make(req->arena, &key);
	if (!keys_room(req, u, now, &err) || !keys_store(req, u, &k, key, str_of(id), now, &err)) {
		http_reply_error(req, &err);
		return;
	}
	log_info("identity", "API key made", KV_STR("user_id", u->id), KV_S("key_id", id));
	o = keys_json(req, str_of(id), k.name, str_sub(key, 0, APIKEY_PREFIX), json_text(req->arena, k.scopes),
		      json_text(req->arena, k.networks), now, now + k.life_s * 1000);
	json_put_str(o, "api_key", key);
	json_put_str(o, "key", key);
	own_message(req, o, "Keep the key: it is not shown again.");
}

/* ---- listing and revoking ---- */

CO_FN static void keys_show(struct http_request *req)
{
	const struct account *u = own_account(req);
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct db_rows r;
	json_t *list, *o;
	size_t i;

	if (u == NULL)
		return;
	if (!db_query(
		w->db, req->arena,
		"SELECT id, name, prefix, scopes, networks, created_at, expires_at, last_used_at, last_used_ip"
		" FROM api_keys WHERE user_id = $1 AND org_id = $2 AND revoked_at IS NULL ORDER BY created_at, id",
		DB_ARGS(DB_S(u->id), DB_S(req->ctx.org_id)), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < r.count; i++) {
		o = keys_json(req, db_str(&r, i, 0), db_str(&r, i, 1), db_str(&r, i, 2), db_str(&r, i, 3),
			      db_str(&r, i, 4), db_int(&r, i, 5), db_int(&r, i, 6));
		json_put_time(o, "last_used_at", db_int(&r, i, 7));
		json_put_str(o, "last_used_ip", db_str(&r, i, 8));
		json_array_append_new(list, o);
	}
	o = json_pack("{s:o, s:I}", "keys", list, "count", (json_int_t)r.count);
	http_reply_json(req, 200, o);
}

/* All of them, or the one with this id or prefix. */
CO_FN static bool keys_find(struct http_request *req, const struct account *u, struct str name, struct db_rows *r,
			    struct error *err)
{
	struct worker *w = req->user;

	return db_query(w->db, req->arena,
			"SELECT id FROM api_keys WHERE user_id = $1 AND org_id = $2 AND revoked_at IS NULL"
			" AND ($3 = '' OR id = $3 OR prefix = $3) ORDER BY id LIMIT 1000",
			DB_ARGS(DB_S(u->id), DB_S(req->ctx.org_id), DB_S(name)), r, err) &&
	       (r->count > 0 || error_set(err, ERR_NOT_FOUND, "there is no such API key"));
}

CO_FN static void keys_revoke_named(struct http_request *req, struct str name)
{
	const struct account *u = own_account_proved(req);
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct db_batch *b;
	struct db_rows r;
	size_t i;

	if (u == NULL)
		return;
	if (!keys_find(req, u, name, &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	b = db_batch_new(w->db);
	for (i = 0; i < r.count; i++) {
		db_batch_add(b, "UPDATE api_keys SET revoked_at = $1 WHERE id = $2 AND user_id = $3 AND org_id = $4",
			     DB_ARGS(DB_I(clock_wall_ms()), DB_S(db_str(&r, i, 0)), DB_S(u->id), DB_S(req->ctx.org_id)),
			     1);
		audit_add(b, req,
			  &(struct audit_event){.category = "api",
						.action = "api.key_revoked",
						.resource_type = STR("api_key"),
						.resource_id = db_str(&r, i, 0)});
	}
	for (i = 0; i < r.count; i++)
		identity_change_add(b, IDENTITY_CHANGE_KEY, db_str(&r, i, 0));
	if (!db_commit(w->db, b, &err)) {
		http_reply_error(req, &err);
		return;
	}
	for (i = 0; i < r.count; i++)
		identity_changed(w, IDENTITY_CHANGE_KEY, db_str(&r, i, 0));
	own_message(req, json_pack("{s:I}", "revoked", (json_int_t)r.count), "revoked");
}

CO_FN static void keys_revoke(struct http_request *req)
{
	keys_revoke_named(req, req->params[0]);
}

CO_FN static void keys_revoke_all(struct http_request *req)
{
	keys_revoke_named(req, STR(""));
}

#define ROW(m, p, h, perm, r, s) ROUTE(m, p, h, perm, r, s, .flags = ROUTE_SECRET, .body_limit = 65536)

static const struct route apikey_rows[] = {
    ROW(POST, "/api/auth/api-keys", keys_create, "api_key:create", WRITE, "Make an API key; it is shown once"),
    ROW(POST, "/api/auth/api-key", keys_create, "api_key:create", WRITE, "The same"),
    ROW(POST, "/api/keys", keys_create, "api_key:create", WRITE, "The same"),
    ROW(GET, "/api/auth/api-keys", keys_show, "api_key:create", READ, "The account's API keys, without the keys"),
    ROW(GET, "/api/keys", keys_show, "api_key:create", READ, "The same"),
    ROW(DELETE, "/api/auth/api-keys/{id}", keys_revoke, "api_key:revoke", WRITE, "Revoke a key by id or prefix"),
    ROW(DELETE, "/api/keys/{id}", keys_revoke, "api_key:revoke", WRITE, "The same"),
    ROW(DELETE, "/api/auth/api-keys", keys_revoke_all, "api_key:revoke", WRITE, "Revoke all keys of the account"),
    ROW(DELETE, "/api/auth/api-key", keys_revoke_all, "api_key:revoke", WRITE, "The same"),
};
const struct route_table apikey_routes = {apikey_rows, countof(apikey_rows)};
