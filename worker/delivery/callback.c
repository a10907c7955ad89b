/* SPDX-License-Identifier: MIT */
/*
 * callback_url of a debate: checked and stored when the debate is created, turned into a delivery in the batch that
 * ends it, shown with the debate. Called by the API of debates and by the effects of an end. Sends nothing.
 */
#include "common/clock.h"
#include "common/crypto.h"
#include "common/envelope.h"
#include "common/guard.h"
#include "common/ids.h"
#include "common/json.h"
#include "common/tenant.h"
#include "worker/delivery/outbox.h"
#include "worker/delivery/secret.h"
#include "worker/worker.h"

#define CALLBACK_SECRET_MIN 16 /* characters, rest-wide 3.1 */
#define CALLBACK_SECRET_MAX 256
#define CALLBACK_EVENT "debate_end"

/* ---- creation ---- */

static bool callback_text(const json_t *body, const char *key, struct str *out, struct error *err)
{
	const json_t *v = json_object_get(body, key);

	*out = STR_NONE;
	if (v == NULL || json_is_null(v))
		return true;
	if (!json_is_string(v))
		return error_field(err, ERR_INVALID_VALUE, key, "must be a string");
	*out = (struct str){json_string_value(v), json_string_length(v)};
	return true;
}

/* Deliveries of a workspace to one URL follow each other. The URL may hold a token: the key shows nothing of it. */
static struct str callback_endpoint(struct arena *a, const struct context *ctx, struct str url)
{
	char hex[SHA256_HEX];

	crypto_sha256_hex(
	    arena_printf(a, "%.*s\n%.*s\n%.*s", STR_ARG(ctx->org_id), STR_ARG(ctx->workspace_id), STR_ARG(url)), hex);
	return arena_printf(a, "webhook:%.32s", hex);
}

CO_FN bool callback_parse(struct worker *w, struct arena *a, const json_t *body, const struct context *ctx,
			  struct callback *cb, struct error *err)
{
	struct error why = ERROR_INIT;

	*cb = (struct callback){STR_NONE, STR_NONE, STR_NONE};
	if (!callback_text(body, "callback_url", &cb->url, err) ||
	    !callback_text(body, "callback_secret", &cb->secret, err))
		return false;
	if (cb->url.p == NULL && cb->secret.p != NULL)
		return error_field(err, ERR_INVALID_VALUE, "callback_secret", "needs a callback_url");
	if (cb->url.p == NULL)
		return true;
	if (cb->secret.p != NULL && (cb->secret.n < CALLBACK_SECRET_MIN || cb->secret.n > CALLBACK_SECRET_MAX))
		return error_field(err, ERR_INVALID_VALUE, "callback_secret", "must have %d to %d characters",
				   CALLBACK_SECRET_MIN, CALLBACK_SECRET_MAX);
	if (!fetch_may_call(w->fetch, deliveries_guard(w->deliveries), cb->url, w->conf->deliveries.dns_timeout, &why))
		return error_field(err, why.code, "callback_url", "%s", why.msg);
	cb->endpoint = callback_endpoint(a, ctx, cb->url);
	return true;
}

static struct envelope_place callback_place(struct str debate_id)
{
	return (struct envelope_place){"deliveries", "debate_callbacks", "secret", debate_id};
}

bool callback_create(struct worker *w, struct db_batch *b, const struct context *ctx, struct str debate_id,
		     const struct callback *cb, struct error *err)
{
	struct envelope_place place = callback_place(debate_id);
	struct buf sealed = BUF_INIT;
	bool ok = true;

	if (cb->url.p == NULL)
		return true;
	if (cb->secret.p != NULL)
		ok = envelope_seal(deliveries_keys(w->deliveries), &place, cb->secret, &sealed, err);
	if (ok)
		db_batch_add(
		    b,
		    "INSERT INTO debate_callbacks (debate_id, org_id, workspace_id, url, endpoint, secret, created_at)"
		    " VALUES ($1, $2, $3, $4, $5, $6, $7)",
		    DB_ARGS(DB_S(debate_id), DB_S(ctx->org_id), DB_S(ctx->workspace_id), DB_S(cb->url),
			    DB_S(cb->endpoint), DB_S(sealed.n > 0 ? buf_str(&sealed) : STR("")), DB_I(clock_wall_ms())),
		    1);
	buf_free(&sealed);
	return ok;
}

CO_FN bool callback_secret(struct worker *w, struct arena *a, struct str debate_id, struct buf *out, struct error *err)
{
	struct envelope_place place = callback_place(debate_id);
	struct db_rows rows;

	if (!db_query(
		w->db, a,
		SQL_ANYBODY(
		    "the sender signs what it has claimed") "SELECT secret FROM debate_callbacks WHERE debate_id = $1",
		DB_ARGS(DB_S(debate_id)), &rows, err))
		return false;
	if (rows.count == 1 && db_str(&rows, 0, 0).n > 0)
		return envelope_open(deliveries_keys(w->deliveries), &place, db_str(&rows, 0, 0), out, err);
	buf_add(out, str_of(w->conf->deliveries.secret));
	return true;
}

/* ---- the end ---- */

/*
 * {event, delivery_id, timestamp, data}, as Python would write it: receivers that serialise what they parsed to check
 * the signature get the same bytes (reference/security 9.1).
 */
static struct str callback_payload(struct arena *a, const char *id, const char *event, const json_t *data,
				   int64_t now_ms)
{
	char iso[CLOCK_ISO_MAX];
	json_t *o = json_own(a, json_object());

	json_put_str(o, "event", str_of(event));
	json_put_str(o, "delivery_id", str_of(id));
	json_put_str(o, "timestamp", str_of(clock_iso(iso, now_ms)));
	json_object_set(o, "data", (json_t *)(uintptr_t)data);
	return json_python(a, o);
}

void callback_ended_as(struct db_batch *b, struct str id, const char *event, const json_t *data, int64_t now_ms)
{
	struct arena *a = arena_new(0);
	char uuid[UUID_LEN + 1];

	ids_uuid7(uuid);
	/* The place in the endpoint's order is the next after all that are there. */
	db_batch_add(
	    b,
	    SQL_ANYBODY("the engine ends a debate that it owns") //
	    "INSERT INTO deliveries (id, org_id, workspace_id, debate_id, format, event, endpoint, target,"
	    " payload, state, position, since, next_at, created_at, updated_at)"
	    " SELECT $2, c.org_id, c.workspace_id, c.debate_id, 'webhook', $5, c.endpoint, c.url, $3, 'pending',"
	    " COALESCE((SELECT MAX(o.position) FROM deliveries o WHERE o.endpoint = c.endpoint), 0) + 1, $4, $4,"
	    " $4, $4 FROM debate_callbacks c WHERE c.debate_id = $1",
	    DB_ARGS(DB_S(id), DB_Z(uuid), DB_S(callback_payload(a, uuid, event, data, now_ms)), DB_I(now_ms),
		    DB_Z(event)),
	    DB_ANY);
	arena_free(a);
}

void callback_ended(struct db_batch *b, struct str debate_id, const json_t *data, int64_t now_ms)
{
	callback_ended_as(b, debate_id, CALLBACK_EVENT, data, now_ms);
}

/* ---- reading ---- */

CO_FN json_t *callback_view(struct worker *w, struct arena *a, const struct context *ctx, struct str debate_id,
			    struct error *err)
{
	int64_t max = w->conf->deliveries.max_retries + 1;
	struct delivery_row *d;
	struct db_rows rows;
	json_t *o;
	size_t n;

	if (!db_query(
		w->db, a,
		"SELECT url, secret FROM debate_callbacks WHERE debate_id = $1 AND org_id = $2 AND workspace_id = $3",
		DB_ARGS(DB_S(debate_id), DB_S(ctx->org_id), DB_S(ctx->workspace_id)), &rows, err) ||
	    !outbox_list(w->db, a, ctx, debate_id, 1, &d, &n, err))
		return NULL;
	if (rows.count == 0)
		return json_null();
	o = n > 0 ? delivery_view(&d[0], clock_wall_ms(), max) : json_pack("{s:n, s:n}", "delivery_id", "status");
	json_put_str(o, "url", db_str(&rows, 0, 0));
	json_object_set_new(o, "signed",
			    json_boolean(db_str(&rows, 0, 1).n > 0 || w->conf->deliveries.secret[0] != '\0'));
	return o;
}

void callback_forget(struct db_batch *b, const struct context *ctx, struct str debate_id)
{
	static const char *const statements[] = {
	    ("DELETE FROM delivery_attempts WHERE delivery_id IN (SELECT id FROM deliveries WHERE debate_id = $1"
	     " AND workspace_id = $2)"),
	    "DELETE FROM deliveries WHERE debate_id = $1 AND workspace_id = $2",
	    "DELETE FROM debate_callbacks WHERE debate_id = $1 AND workspace_id = $2"};
	size_t i;

	for (i = 0; i < countof(statements); i++)
		db_batch_add(b, statements[i], DB_ARGS(DB_S(debate_id), DB_S(ctx->workspace_id)), DB_ANY);
}
