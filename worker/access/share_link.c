/* SPDX-License-Identifier: MIT */
/*
 * See share_link.h. Called by the endpoints that share receipts and debates; knows no SQL.
 */
#include "worker/access/share_link.h"

#include "common/crypto.h"
#include "common/ids.h"
#include "common/json.h"

#define SHARE_LINK_BYTES 32

struct str share_link_token(struct arena *a)
{
	char token[2 * SHARE_LINK_BYTES + 1];

	ids_hex(token, SHARE_LINK_BYTES);
	return arena_str(a, str_of(token));
}

struct str share_link_hash(struct arena *a, struct str token)
{
	char hex[SHA256_HEX];

	crypto_sha256_hex(str_sub(token, 0, 4 * SHARE_LINK_BYTES), hex);
	return arena_str(a, str_of(hex));
}

bool share_link_number(const json_t *body, const char *field, int64_t dflt, int64_t max, int64_t *out,
		       struct error *err)
{
	const json_t *v = json_object_get(body, field);

	*out = dflt;
	if (v == NULL || json_is_null(v))
		return true;
	*out = json_is_integer(v) ? json_integer_value(v) : 0;
	return (*out >= 1 && *out <= max) ||
	       error_field(err, ERR_INVALID_VALUE, field, "must be a whole number from 1 to %lld", (long long)max);
}

struct str share_link_url(struct http_request *req, struct str path)
{
	return arena_printf(req->arena, "%s://%.*s%.*s", req->https ? "https" : "http",
			    STR_ARG(http_field(req, "Host")), STR_ARG(path));
}

void share_link_gone(struct http_request *req, const char *why)
{
	json_t *o = json_pack("{s:s, s:s}", "error", why, "code", "GONE");

	json_put_str(o, "trace_id", req->request_id);
	http_reply_json(req, 410, o);
}
