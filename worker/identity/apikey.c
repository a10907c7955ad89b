/* SPDX-License-Identifier: MIT */
/*
 * Finds keys by their hash and judges where they come from. Called by the authentication step. Makes and shows none
 * (apikey_api.c).
 */
#include "worker/identity/apikey.h"

#include "common/clock.h"
#include "common/crypto.h"
#include "common/ids.h"
#include "common/json.h"
#include "common/log.h"
#include "common/tenant.h"
#include "worker/http/http_client.h"
#include "worker/worker.h"

#define APIKEY_COLUMNS "id, user_id, org_id, networks, scopes, expires_at, mfa_at FROM api_keys"

bool apikey_like(struct str token)
{
	return token.n == APIKEY_CHARS && str_starts(token, STR("ara_"));
}

struct str apikey_hash(struct arena *a, struct str token)
{
	char hex[SHA256_HEX];

	crypto_sha256_hex(token, hex);
	return arena_str(a, str_of(hex));
}

/* A scope that is not known any more grants nothing; a list of such grants nothing at all. */
static const struct permissions *apikey_scopes(struct arena *a, struct str text)
{
	json_t *list = json_parse(a, text, NULL), *one;
	struct permissions *set;
	size_t i;

	if (list != NULL && json_is_array(list) && json_array_size(list) == 0)
		return NULL;
	set = arena_zalloc(a, sizeof(*set));
	json_array_foreach(list, i, one)
	{
		if (!permissions_grant(set, str_of(json_string_value(one))))
			log_debug("identity", "a scope of an API key is unknown",
				  KV_S("scope", json_is_string(one) ? json_string_value(one) : ""));
	}
	return set;
}

static bool apikey_read(struct arena *a, const struct db_rows *r, struct apikey *out, struct error *err)
{
	if (r->count == 0)
		return error_set(err, ERR_INVALID_TOKEN, "the API key is not valid");
	*out = (struct apikey){.id = db_str(r, 0, 0),
			       .user_id = db_str(r, 0, 1),
			       .org_id = db_str(r, 0, 2),
			       .networks = str_eqz(db_str(r, 0, 3), "[]") ? STR_NONE : db_str(r, 0, 3),
			       .scopes = apikey_scopes(a, db_str(r, 0, 4)),
			       .expires_ms = db_int(r, 0, 5),
			       .mfa_ms = db_int(r, 0, 6)};
	return true;
}

CO_FN bool apikey_load(struct worker *w, struct arena *a, struct str token, struct apikey *out, struct error *err)
{
	struct db_rows r;

	return db_query(
		   w->db, a,
		   SQL_ANYBODY(
		       "who has the key is its owner") "SELECT " APIKEY_COLUMNS
						       " WHERE hash = $1 AND revoked_at IS NULL AND expires_at > $2",
		   DB_ARGS(DB_S(apikey_hash(a, token)), DB_I(clock_wall_ms())), &r, err) &&
	       apikey_read(a, &r, out, err);
}

CO_FN bool apikey_still(struct worker *w, struct arena *a, struct str id, struct apikey *out, struct error *err)
{
	struct db_rows r;

	return db_query(w->db, a,
			SQL_ANYBODY(
			    "a key that was shown before") "SELECT " APIKEY_COLUMNS
							   " WHERE id = $1 AND revoked_at IS NULL AND expires_at > $2",
			DB_ARGS(DB_S(id), DB_I(clock_wall_ms())), &r, err) &&
	       apikey_read(a, &r, out, err);
}

bool apikey_admits(struct str networks, struct str client)
{
	struct arena *a;
	struct conf_list list = {NULL, 0};
	struct http_cidrs cidrs = {NULL, 0};
	struct http_addr addr;
	json_t *array, *one;
	bool ok = false;
	size_t i;

	if (networks.n == 0)
		return true;
	if (!http_addr_parse(client, &addr))
		return false;
	a = arena_new(0);
	array = json_parse(a, networks, NULL);
	list.v = arena_zalloc(a, (json_array_size(array) + 1) * sizeof(*list.v));
	json_array_foreach(array, i, one)
	{
		if (json_is_string(one))
			list.v[list.n++] = arena_strdup(a, json_string_value(one));
	}
	http_cidrs_set(&cidrs, &list);
	ok = http_cidrs_match(&cidrs, &addr);
	http_cidrs_free(&cidrs);
	arena_free(a);
	return ok;
}

struct apikey_use {
	struct worker *w;
	char id[UUID_LEN + 1], client[HTTP_ADDR_TEXT];
};

CO_FN static void apikey_write_use(void *arg)
{
	struct apikey_use *u = arg;
	struct db_batch *b = db_batch_new(u->w->db);
	struct error err = ERROR_INIT;

	db_batch_add(
	    b,
	    SQL_ANYBODY("a key that was shown") "UPDATE api_keys SET last_used_at = $1, last_used_ip = $2 WHERE id = $3"
						" AND last_used_at < $1",
	    DB_ARGS(DB_I(clock_wall_ms()), DB_Z(u->client), DB_Z(u->id)), DB_ANY);
	if (!db_commit(u->w->db, b, &err))
		log_debug("identity", "the use of an API key was not written", KV_S("reason", err.msg));
	free(u);
}

void apikey_used(struct worker *w, struct str id, struct str client)
{
	struct apikey_use *u;

	if (w->draining || id.n >= sizeof(u->id))
		return;
	u = xcalloc(1, sizeof(*u));
	u->w = w;
	(void)snprintf(u->id, sizeof(u->id), "%.*s", STR_ARG(id));
	(void)snprintf(u->client, sizeof(u->client), "%.*s", STR_ARG(client));
	if (co_spawn("api_key_use", apikey_write_use, u) == NULL)
		free(u);
}
