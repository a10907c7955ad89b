/* SPDX-License-Identifier: MIT */
/*
 * From an act to its record: columns cleaned, cut and masked, canonical form, signature, hash. Called by whoever writes
 * events and whoever checks them. Stores nothing.
 */
#include "worker/audit/audit_log.h"

#include "common/clock.h"
#include "common/conf.h"
#include "common/ids.h"
#include "common/json.h"
#include "common/mask.h"
#include "worker/http/http.h"
#include "worker/identity/identity.h"

#define RECORD_NAME_MAX 256
#define RECORD_TEXT_MAX 512
#define RECORD_KEY_PREFIX "audit-"

const char *const audit_column_names[AUDIT_COLUMNS] = {
    [AUDIT_ID] = "id",
    [AUDIT_CATEGORY] = "category",
    [AUDIT_ACTION] = "action",
    [AUDIT_OUTCOME] = "outcome",
    [AUDIT_ACTOR_ID] = "actor_id",
    [AUDIT_ACTOR_KIND] = "actor_kind",
    [AUDIT_IMPERSONATOR] = "impersonator",
    [AUDIT_ORG] = "org_id",
    [AUDIT_WORKSPACE] = "workspace_id",
    [AUDIT_RESOURCE_TYPE] = "resource_type",
    [AUDIT_RESOURCE_ID] = "resource_id",
    [AUDIT_IP] = "ip_address",
    [AUDIT_AGENT] = "user_agent",
    [AUDIT_CORRELATION] = "correlation_id",
    [AUDIT_REASON] = "reason",
    [AUDIT_DETAILS] = "details",
    [AUDIT_KEY_ID] = "key_id",
    [AUDIT_SIGNATURE] = "signature",
    [AUDIT_PREVIOUS] = "previous_hash",
    [AUDIT_HASH] = "event_hash",
};

/* ---- the key ---- */

bool audit_key_load(const struct conf *c, struct audit_key *out, struct error *err)
{
	struct buf path = BUF_INIT;
	bool ok;

	memset(out, 0, sizeof(*out));
	if (c->audit.signing_key[0] != '\0') {
		if (!sign_key_parse(str_of(c->audit.signing_key), out->key, &out->n))
			return error_field(err, ERR_INVALID_VALUE, "audit.signing_key",
					   "is not a key of %d bytes or more in hex or base64", SIGN_KEY_MIN);
	} else {
		buf_printf(&path, "%s/keys/audit.key", c->storage.data_dir);
		ok = crypto_key_file(path.p, out->key, err);
		buf_free(&path);
		if (!ok)
			return false;
		out->n = SIGN_KEY_MIN;
	}
	sign_key_name(RECORD_KEY_PREFIX, out->key, out->n, out->id);
	return true;
}

void audit_key_sign(const struct audit_key *k, struct str text, char out[SHA256_HEX])
{
	uint8_t mac[SHA256_LEN];

	crypto_hmac_sha256((struct str){(const char *)k->key, k->n}, text, mac);
	crypto_hex(out, mac, sizeof(mac));
}

struct str audit_statement(struct arena *a, const char *kind, int64_t seq, struct str hash, int64_t made_at)
{
	return arena_printf(a, "%s|%lld|%.*s|%lld", kind, (long long)seq, STR_ARG(hash), (long long)made_at);
}

/* ---- who ---- */

static const struct str who_kinds[] = {
    [IDENTITY_ANONYMOUS] = STR("anonymous"), [IDENTITY_USER] = STR("user"),       [IDENTITY_API_KEY] = STR("api_key"),
    [IDENTITY_TOKEN] = STR("token"),         [IDENTITY_SERVICE] = STR("service"),
};

/* In a job that goes on for somebody only his name is known. */
static struct str who_kind(struct str principal)
{
	if (str_eqz(principal, "anonymous"))
		return who_kinds[IDENTITY_ANONYMOUS];
	return str_eqz(principal, "api-token") ? who_kinds[IDENTITY_TOKEN] : who_kinds[IDENTITY_USER];
}

struct audit_who audit_who_context(const struct context *ctx)
{
	if (ctx == NULL)
		return (struct audit_who){.actor_id = STR("system"), .actor_kind = STR("system")};
	return (struct audit_who){
	    .actor_id = ctx->principal,
	    .actor_kind = ctx->who != NULL ? who_kinds[ctx->who->kind] : who_kind(ctx->principal),
	    .impersonator = ctx->who != NULL ? ctx->who->impersonator : STR_NONE,
	    .org_id = ctx->org_id,
	    .workspace_id = ctx->workspace_id,
	    .correlation = ctx->request_id,
	};
}

struct audit_who audit_who_request(const struct http_request *req)
{
	/* Who was refused before he was known is nobody, of no organization. */
	const struct context nobody = {.principal = STR("anonymous"), .who = identity_anonymous(req->user)};
	struct audit_who who = audit_who_context(req->ctx.principal.n > 0 ? &req->ctx : &nobody);

	who.ip = req->client;
	who.agent = http_field(req, "user-agent");
	who.correlation = req->request_id;
	return who;
}

/* ---- filling ---- */

static struct str record_text(struct arena *a, struct str s, size_t max)
{
	return arena_str(a, str_utf8_cut(db_clean(a, s), max));
}

static struct str record_details(struct arena *a, const json_t *details)
{
	json_t *copy;
	struct str s;
	char *text;

	if (details == NULL)
		return STR("{}");
	copy = json_deep_copy(details);
	mask_document(copy);
	text = json_dumps(copy, JSON_COMPACT | JSON_SORT_KEYS);
	s = arena_str(a, str_of(text));
	if (s.n == 0 || s.n > AUDIT_DETAILS_MAX)
		s = arena_printf(a, "{\"left_off_bytes\":%zu}", s.n);
	free(text);
	json_decref(copy);
	return db_clean(a, s);
}

void audit_record_fill(struct arena *a, const struct audit_who *who, const struct audit_event *e,
		       struct audit_record *out)
{
	const struct str in[AUDIT_COLUMNS] = {
	    [AUDIT_CATEGORY] = str_of(e->category),
	    [AUDIT_ACTION] = str_of(e->action),
	    [AUDIT_OUTCOME] = str_of(e->outcome != NULL ? e->outcome : "success"),
	    [AUDIT_ACTOR_ID] = who->actor_id,
	    [AUDIT_ACTOR_KIND] = who->actor_kind,
	    [AUDIT_IMPERSONATOR] = who->impersonator,
	    [AUDIT_ORG] = who->org_id,
	    [AUDIT_WORKSPACE] = who->workspace_id,
	    [AUDIT_RESOURCE_TYPE] = e->resource_type,
	    [AUDIT_RESOURCE_ID] = e->resource_id,
	    [AUDIT_IP] = who->ip,
	    [AUDIT_AGENT] = who->agent,
	    [AUDIT_CORRELATION] = who->correlation,
	    [AUDIT_REASON] = e->reason,
	};

	*out = (struct audit_record){.created_at = clock_wall_ms()};
	for (int i = 0; i < AUDIT_COLUMNS; i++)
		out->v[i] =
		    record_text(a, in[i], i == AUDIT_REASON || i == AUDIT_AGENT ? RECORD_TEXT_MAX : RECORD_NAME_MAX);
	out->v[AUDIT_DETAILS] = record_details(a, e->details);
}

/* ---- canonical form ---- */

/* created_at and the columns up to `last`; with seq when it has one. */
static struct str record_canonical(struct arena *a, const struct audit_record *r, enum audit_column last, bool seq)
{
	json_t *o = json_object();
	struct str text;

	if (seq)
		json_put_int(o, "seq", r->seq);
	json_put_int(o, "created_at", r->created_at);
	for (int i = 0; i <= (int)last; i++)
		if (seq || i != AUDIT_SIGNATURE)
			json_put_str(o, audit_column_names[i], r->v[i]);
	text = json_canonical(a, o);
	json_decref(o);
	return text;
}

void audit_record_sign(struct arena *a, const struct audit_key *k, struct audit_record *r)
{
	char *id = arena_alloc(a, UUID_LEN + 1), *signature = arena_alloc(a, SHA256_HEX);

	ids_uuid7(id);
	r->v[AUDIT_ID] = str_of(id);
	r->v[AUDIT_KEY_ID] = arena_str(a, str_of(k->id));
	audit_key_sign(k, record_canonical(a, r, AUDIT_KEY_ID, false), signature);
	r->v[AUDIT_SIGNATURE] = str_of(signature);
}

bool audit_record_signed(struct arena *a, const struct audit_key *k, const struct audit_record *r)
{
	char hex[SHA256_HEX];

	audit_key_sign(k, record_canonical(a, r, AUDIT_KEY_ID, false), hex);
	return crypto_equal(str_of(hex), r->v[AUDIT_SIGNATURE]);
}

void audit_record_hash(struct arena *a, const struct audit_record *r, char out[SHA256_HEX])
{
	crypto_sha256_hex(record_canonical(a, r, AUDIT_PREVIOUS, true), out);
}

/* ---- rows ---- */

void audit_record_read(const struct db_rows *rows, size_t row, bool chained, struct audit_record *out)
{
	size_t at = 0;

	*out = (struct audit_record){.seq = 0};
	if (chained)
		out->seq = db_int(rows, row, at++);
	out->created_at = db_int(rows, row, at++);
	for (int i = 0; i < (chained ? (int)AUDIT_COLUMNS : (int)AUDIT_INBOX_COLUMNS); i++)
		out->v[i] = db_str(rows, row, at++);
}

void audit_record_values(const struct audit_record *r, struct db_val out[AUDIT_INBOX_COLUMNS + 1])
{
	out[0] = DB_I(r->created_at);
	for (int i = 0; i < AUDIT_INBOX_COLUMNS; i++)
		out[i + 1] = DB_S(r->v[i]);
}
