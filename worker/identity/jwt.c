/* SPDX-License-Identifier: MIT */
/*
 * HS256 tokens: text from claims and claims from text. Called wherever tokens are issued or shown. Deliberately without
 * any choice of algorithm: what a header says can only lead to a refusal.
 */
#include "worker/identity/jwt.h"

#include "common/crypto.h"

#define JWT_SKEW 60                            /* seconds by which the clocks of two nodes may differ */
#define JWT_TIME_MAX INT64_C(9007199254740991) /* 2^53 - 1: what JSON carries exactly (RFC 8259 6) */
/* {"alg":"HS256","typ":"JWT"}: every token that we make begins with it. */
#define JWT_HEADER "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"

static const char *const jwt_type_names[] = {"access", "refresh", "mfa_pending"};
_Static_assert(countof(jwt_type_names) == JWT_TYPE_MAX, "a name for each type");

struct jwt_field {
	const char *name;
	size_t offset;
	bool number, required;
};

#define TEXT(n, r)                                                                    \
	{                                                                             \
		.name = #n, .offset = offsetof(struct jwt_claims, n), .required = (r) \
	}
#define NUMBER(n, r)                                                                                  \
	{                                                                                             \
		.name = #n, .offset = offsetof(struct jwt_claims, n), .number = true, .required = (r) \
	}
static const struct jwt_field jwt_fields[] = {
    TEXT(sub, true),    TEXT(email, false),  TEXT(org_id, false), TEXT(role, false),  TEXT(jti, false),
    TEXT(sid, false),   TEXT(family, false), TEXT(imp, false),    NUMBER(iat, true),  NUMBER(exp, true),
    NUMBER(nbf, false), NUMBER(tv, false),   NUMBER(seq, false),  NUMBER(mfa, false),
};
#undef TEXT
#undef NUMBER

/* The signature as text. */
#define JWT_SIGNATURE_CHARS 43
static void jwt_mac(struct str secret, struct str signing, char out[4 * 11 + 1])
{
	uint8_t mac[SHA256_LEN];

	crypto_hmac_sha256(secret, signing, mac);
	BUG_ON(crypto_base64url(out, mac, sizeof(mac)) != JWT_SIGNATURE_CHARS);
}

static json_t *jwt_claims_json(const struct jwt_claims *c)
{
	json_t *o = json_object();
	size_t i;

	for (i = 0; i < countof(jwt_fields); i++) {
		const struct jwt_field *f = &jwt_fields[i];
		const char *at = (const char *)c + f->offset;
		const struct str *s = (const struct str *)(const void *)at;
		int64_t n = f->number ? *(const int64_t *)(const void *)at : 0;

		if (f->number && (n != 0 || f->required))
			json_put_int(o, f->name, n);
		else if (!f->number && s->n > 0)
			json_put_str(o, f->name, *s);
	}
	json_put_str(o, "type", str_of(jwt_type_names[c->type]));
	return o;
}

struct str jwt_sign(struct arena *a, const struct jwt_keys *keys, const struct jwt_claims *claims)
{
	struct str text = json_text(a, json_own(a, jwt_claims_json(claims)));
	size_t room = sizeof(JWT_HEADER) + 4 * ((text.n + 2) / 3) + JWT_SIGNATURE_CHARS + 4, n;
	char *out = arena_alloc(a, room);

	BUG_ON(keys->current.n < JWT_SECRET_MIN);
	memcpy(out, JWT_HEADER ".", sizeof(JWT_HEADER));
	n = sizeof(JWT_HEADER);
	n += crypto_base64url(out + n, (const uint8_t *)text.p, text.n);
	jwt_mac(keys->current, (struct str){out, n}, out + n + 1);
	out[n] = '.';
	return (struct str){out, n + 1 + JWT_SIGNATURE_CHARS};
}

static bool jwt_decode(struct arena *a, struct str text, struct str *out)
{
	uint8_t *p = arena_alloc(a, text.n + 1);
	size_t n = text.n;

	if (!crypto_unbase64url(text, p, &n))
		return false;
	*out = (struct str){(const char *)p, n};
	return true;
}

static json_t *jwt_object(struct arena *a, struct str part)
{
	struct error err = ERROR_INIT;
	struct str text;
	json_t *j;

	if (!jwt_decode(a, part, &text))
		return NULL;
	j = json_parse(a, text, &err);
	return json_is_object(j) ? j : NULL;
}

/* Three parts, none empty; nothing is decoded. */
static bool jwt_cut(struct str token, struct str part[3])
{
	ptrdiff_t first = str_chr(token, '.'), second;

	if (token.n > JWT_MAX || first <= 0)
		return false;
	part[0] = str_sub(token, 0, (size_t)first);
	part[1] = str_sub(token, (size_t)first + 1, token.n);
	second = str_chr(part[1], '.');
	if (second <= 0)
		return false;
	part[2] = str_sub(part[1], (size_t)second + 1, part[1].n);
	part[1] = str_sub(part[1], 0, (size_t)second);
	return part[2].n > 0 && str_chr(part[2], '.') < 0;
}

bool jwt_split(struct arena *a, struct str token, struct jwt_parts *parts)
{
	struct str part[3];

	if (!jwt_cut(token, part))
		return false;
	parts->signing = str_sub(token, 0, part[0].n + 1 + part[1].n);
	parts->header = jwt_object(a, part[0]);
	parts->claims = parts->header != NULL ? jwt_object(a, part[1]) : NULL;
	return parts->claims != NULL && jwt_decode(a, part[2], &parts->signature);
}

/* Other spellings of our header are as good, but what we do not know (crit: RFC 7515 4.1.11) is refused. */
static enum jwt_fault jwt_judge_header(struct arena *a, struct str part)
{
	json_t *header;

	if (str_eq(part, STR(JWT_HEADER)))
		return JWT_OK;
	header = jwt_object(a, part);
	if (header == NULL)
		return JWT_MALFORMED;
	if (!str_eqz(json_get_str(header, "alg", STR_NONE), "HS256") || json_object_get(header, "crit") != NULL)
		return JWT_ALGORITHM;
	return str_ieqz(json_get_str(header, "typ", STR("JWT")), "JWT") ? JWT_OK : JWT_MALFORMED;
}

static bool jwt_signed(const struct jwt_keys *keys, struct str signing, struct str signature, int64_t now)
{
	char mac[4 * 11 + 1];
	bool ok = false;

	if (keys->current.n >= JWT_SECRET_MIN) {
		jwt_mac(keys->current, signing, mac);
		ok = crypto_equal(signature, (struct str){mac, JWT_SIGNATURE_CHARS});
	}
	if (!ok && keys->previous.n >= JWT_SECRET_MIN && now < keys->previous_until) {
		jwt_mac(keys->previous, signing, mac);
		ok = crypto_equal(signature, (struct str){mac, JWT_SIGNATURE_CHARS});
	}
	return ok;
}

static bool jwt_field_read(const json_t *o, const struct jwt_field *f, struct jwt_claims *c)
{
	const json_t *v = json_object_get(o, f->name);
	char *at = (char *)c + f->offset;

	if (v == NULL || json_is_null(v))
		return !f->required;
	if (!f->number) {
		*(struct str *)(void *)at = (struct str){json_string_value(v), json_string_length(v)};
		return json_is_string(v) && (!f->required || json_string_length(v) > 0);
	}
	*(int64_t *)(void *)at = json_integer_value(v);
	return json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) <= JWT_TIME_MAX;
}

static bool jwt_claims_read(const json_t *o, struct jwt_claims *c)
{
	struct str type = json_get_str(o, "type", STR_NONE);
	unsigned t = 0;
	size_t i;

	while (t < JWT_TYPE_MAX && !str_eqz(type, jwt_type_names[t]))
		t++;
	for (i = 0; i < countof(jwt_fields); i++)
		if (!jwt_field_read(o, &jwt_fields[i], c))
			return false;
	c->type = (enum jwt_type)t;
	return t < JWT_TYPE_MAX;
}

enum jwt_fault jwt_verify(struct arena *a, const struct jwt_keys *keys, struct str token, enum jwt_type type,
			  int64_t now, struct jwt_claims *claims)
{
	struct jwt_claims c = {0};
	struct str part[3];
	enum jwt_fault fault;
	json_t *o;

	if (!jwt_cut(token, part))
		return JWT_MALFORMED;
	fault = jwt_judge_header(a, part[0]);
	if (fault != JWT_OK)
		return fault;
	if (!jwt_signed(keys, str_sub(token, 0, part[0].n + 1 + part[1].n), part[2], now))
		return JWT_SIGNATURE;
	o = jwt_object(a, part[1]);
	if (o == NULL)
		return JWT_MALFORMED;
	if (!jwt_claims_read(o, &c))
		return JWT_CLAIMS;
	if (c.nbf > now + JWT_SKEW || c.iat > now + JWT_SKEW)
		return JWT_EARLY;
	if (c.exp <= now)
		return JWT_EXPIRED;
	if (c.type != type)
		return JWT_WRONG_TYPE;
	*claims = c;
	return JWT_OK;
}
