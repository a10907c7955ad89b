/* SPDX-License-Identifier: MIT */
/*
 * Judges the conditions of a grant, by a table of their names. Called by the abac step, and by the endpoint that stores
 * them. It knows no request: facts are handed over.
 */
#include "worker/access/conditions.h"

#include <arpa/inet.h>

#include "common/compat.h"
#include "common/json.h"

#define DAY_MIN 1440
#define CONDITION_TEXT_MAX 64

typedef bool (*condition_fn)(const json_t *v, const struct condition_facts *f, struct error *err);

/* With facts: does it hold? Without: could it be judged? */
static bool condition_bad(struct error *err, const char *text)
{
	return error_set(err, ERR_INVALID_VALUE, "%s", text);
}

static struct str condition_str(const json_t *v)
{
	return (struct str){json_string_value(v), json_string_length(v)};
}

/* "HH:MM" as minutes, or -1. */
static int condition_clock(struct str s)
{
	uint64_t h, m;

	if (s.n != 5 || s.p[2] != ':' || !str_to_u64(str_sub(s, 0, 2), 24, &h) || !str_to_u64(str_sub(s, 3, 5), 59, &m))
		return -1;
	return h * 60 + m <= DAY_MIN ? (int)(h * 60 + m) : -1;
}

/* "+02:00", "-0330"; false: neither that nor UTC. */
static bool condition_offset(struct str zone, int *minutes)
{
	uint64_t h, m;
	struct str d;

	*minutes = 0;
	if (zone.n == 0 || str_eqz(zone, "UTC") || str_eqz(zone, "Z"))
		return true;
	if (zone.p[0] != '+' && zone.p[0] != '-')
		return false;
	d = str_sub(zone, 1, zone.n);
	if ((d.n != 4 && !(d.n == 5 && d.p[2] == ':')) || !str_to_u64(str_sub(d, 0, 2), 14, &h) ||
	    !str_to_u64(str_sub(d, d.n - 2, d.n), 59, &m))
		return false;
	*minutes = (int)(h * 60 + m) * (zone.p[0] == '-' ? -1 : 1);
	return true;
}

bool conditions_local(int64_t ms, struct str zone, int *minutes)
{
	int64_t t;
	int offset;

	if (!condition_offset(zone, &offset))
		return false;
	/* 1 January 1970 was a Thursday. */
	t = (ms / 60000 + offset + 3 * DAY_MIN) % (7 * DAY_MIN);
	*minutes = (int)(t < 0 ? t + 7 * DAY_MIN : t);
	return true;
}

/* ---- time ---- */

struct condition_hours {
	int from, to;  /* minutes of the day; from > to: over midnight */
	unsigned days; /* bit 0: Monday */
};

static bool condition_days(const json_t *list, unsigned *days, struct error *err)
{
	static const char *const names[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
	const json_t *v;
	size_t i, k;

	*days = 0;
	json_array_foreach(list, i, v)
	{
		for (k = 0; k < countof(names) && !str_istarts(condition_str(v), str_of(names[k])); k++)
			;
		if (json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) <= 6)
			k = (size_t)json_integer_value(v); /* 0: Monday */
		if (k >= countof(names) || (!json_is_integer(v) && json_string_length(v) < 3))
			return condition_bad(err, "weekdays are mon to sun, or 0 (Monday) to 6");
		*days |= 1U << k;
	}
	return json_is_array(list) || condition_bad(err, "weekdays must be a list");
}

static bool condition_within(const struct condition_hours *h, struct str zone, const struct condition_facts *f,
			     struct error *err)
{
	int minutes, of_day;

	if (!conditions_local(f != NULL ? f->now_ms : 0, zone, &minutes))
		return condition_bad(err, "the time zone must be UTC or an offset such as +02:00");
	if (f == NULL)
		return true;
	of_day = minutes % DAY_MIN;
	if ((h->days >> (minutes / DAY_MIN) & 1) == 0)
		return false;
	return h->from <= h->to ? of_day >= h->from && of_day < h->to : of_day >= h->from || of_day < h->to;
}

/* {start?, end?: seconds since 1970; weekdays?: [...]; from?, to?: "HH:MM"; zone?} */
static bool condition_time(const json_t *v, const struct condition_facts *f, struct error *err)
{
	struct condition_hours h = {0, DAY_MIN, 0x7f};
	const json_t *days = json_object_get(v, "weekdays");
	static const char *const numbers[] = {"start", "end"};
	size_t i;

	if (!json_is_object(v))
		return condition_bad(err, "must be an object");
	for (i = 0; i < countof(numbers); i++) {
		const json_t *n = json_object_get(v, numbers[i]);

		if (n != NULL && !json_is_integer(n))
			return condition_bad(err, "start and end are seconds since 1970");
		if (n != NULL && f != NULL &&
		    (i == 0 ? f->now_ms / 1000 < json_integer_value(n) : f->now_ms / 1000 >= json_integer_value(n)))
			return false;
	}
	if (days != NULL && !condition_days(days, &h.days, err))
		return false;
	if (json_object_get(v, "from") != NULL)
		h.from = condition_clock(json_get_str(v, "from", STR("")));
	if (json_object_get(v, "to") != NULL)
		h.to = condition_clock(json_get_str(v, "to", STR("")));
	if (h.from < 0 || h.to < 0)
		return condition_bad(err, "from and to are times such as 09:30");
	return condition_within(&h, json_get_str(v, "zone", STR("UTC")), f, err);
}

/* true, or {zone}: Monday to Friday, 09:00 to 17:00. */
static bool condition_business(const json_t *v, const struct condition_facts *f, struct error *err)
{
	static const struct condition_hours office = {9 * 60, 17 * 60, 0x1f};

	if (!json_is_true(v) && !json_is_object(v))
		return condition_bad(err, "must be true or an object with zone");
	return condition_within(&office, json_get_str(v, "zone", STR("UTC")), f, err);
}

/* ---- addresses ---- */

struct condition_net {
	uint8_t bits[16]; /* IPv4 as ::ffff:a.b.c.d */
	unsigned length;
};

static bool condition_net(struct str s, struct condition_net *out)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	char text[CONDITION_TEXT_MAX];
	ptrdiff_t slash = str_chr(s, '/');
	uint64_t length = 0;
	bool v4;

	if (slash >= 0 && !str_to_u64(str_sub(s, (size_t)slash + 1, s.n), 128, &length))
		return false;
	if (slash >= 0)
		s = str_sub(s, 0, (size_t)slash);
	if (s.n == 0 || s.n >= sizeof(text))
		return false;
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	memcpy(out->bits, mapped, sizeof(mapped));
	v4 = inet_pton(AF_INET, text, out->bits + 12) == 1;
	if (!v4 && inet_pton(AF_INET6, text, out->bits) != 1)
		return false;
	if (v4 && length > 32)
		return false;
	out->length = slash < 0 ? 128 : (unsigned)length + (v4 ? 96 : 0);
	return true;
}

static bool condition_in_net(const struct condition_net *net, const struct condition_net *address)
{
	unsigned i;

	for (i = 0; i < net->length; i++)
		if (((net->bits[i / 8] ^ address->bits[i / 8]) >> (7 - i % 8) & 1) != 0)
			return false;
	return true;
}

/* Is the address in one of the networks? -1: the list is not one of networks. */
static int condition_in_list(const json_t *list, const struct condition_net *address, struct error *err)
{
	struct condition_net net;
	const json_t *v;
	int hit = 0;
	size_t i;

	if (!json_is_array(list) || json_array_size(list) == 0) {
		condition_bad(err, "must be a list of addresses and networks");
		return -1;
	}
	json_array_foreach(list, i, v)
	{
		if (!json_is_string(v) || !condition_net(condition_str(v), &net)) {
			condition_bad(err, "must be a list of addresses and networks");
			return -1;
		}
		hit |= address != NULL && condition_in_net(&net, address);
	}
	return hit;
}

static bool condition_private(const struct condition_net *address)
{
	static const char *const nets[] = {"10.0.0.0/8",  "172.16.0.0/12", "192.168.0.0/16",
					   "127.0.0.0/8", "::1",           "fc00::/7"};
	struct condition_net net;
	size_t i;

	for (i = 0; i < countof(nets); i++)
		if (condition_net(str_of(nets[i]), &net) && condition_in_net(&net, address))
			return true;
	return false;
}

/* A list, or {allowlist?, blocklist?, require_private?}. An unknown address is a no. */
static bool condition_ip(const json_t *v, const struct condition_facts *f, struct error *err)
{
	const json_t *allow = json_is_array(v) ? v : json_object_get(v, "allowlist");
	const json_t *block = json_object_get(v, "blocklist");
	struct condition_net address;
	bool known = f != NULL && condition_net(f->client, &address);
	int in;

	if (!json_is_array(v) && !json_is_object(v))
		return condition_bad(err, "must be a list or an object with allowlist, blocklist, require_private");
	if (f != NULL && !known)
		return false;
	if (allow != NULL) {
		in = condition_in_list(allow, known ? &address : NULL, err);
		if (in < 0 || (known && in == 0))
			return false;
	}
	if (block != NULL) {
		in = condition_in_list(block, known ? &address : NULL, err);
		if (in != 0)
			return false;
	}
	return !known || !json_is_true(json_object_get(v, "require_private")) || condition_private(&address);
}

/* ---- the resource ---- */

static bool condition_owner(const json_t *v, const struct condition_facts *f, struct error *err)
{
	if (!json_is_true(v))
		return condition_bad(err, "must be true");
	return f == NULL || (f->owner_id.n > 0 && str_eq(f->owner_id, f->user_id));
}

static bool condition_status(const json_t *v, const struct condition_facts *f, struct error *err)
{
	const json_t *one;
	bool hit = false;
	size_t i;

	if (!json_is_array(v) || json_array_size(v) == 0)
		return condition_bad(err, "must be a list of texts");
	json_array_foreach(v, i, one)
	{
		if (!json_is_string(one))
			return condition_bad(err, "must be a list of texts");
		hit |= f != NULL && f->status.n > 0 && str_eq(condition_str(one), f->status);
	}
	return f == NULL || hit;
}

/* How many of the wanted tags the resource has; -1: not a text and not a list of texts. */
static int condition_tags_in(const json_t *wanted, const json_t *tags, struct error *err)
{
	const json_t *w, *t;
	size_t i, k;
	int n = 0;

	if (!json_is_array(wanted)) {
		condition_bad(err, "must be lists of texts");
		return -1;
	}
	json_array_foreach(wanted, i, w)
	{
		if (!json_is_string(w)) {
			condition_bad(err, "must be lists of texts");
			return -1;
		}
		json_array_foreach(tags, k, t)
		{
			if (json_equal(w, t)) {
				n++;
				break;
			}
		}
	}
	return n;
}

/* A text, a list (all of them), or {all?, any?, none?}. */
static bool condition_tags(const json_t *v, const struct condition_facts *f, struct error *err)
{
	const json_t *tags = f != NULL ? f->tags : NULL;
	const char *key;
	json_t *list;
	int n;

	if (json_is_string(v)) {
		json_t *one = json_pack("[O]", v);

		n = condition_tags_in(one, tags, err);
		json_decref(one);
		return f == NULL || n == 1;
	}
	if (json_is_array(v)) {
		n = condition_tags_in(v, tags, err);
		return n >= 0 && (f == NULL || (size_t)n == json_array_size(v));
	}
	if (!json_is_object(v) || json_object_size(v) == 0)
		return condition_bad(err, "must be a text, a list, or an object with all, any, none");
	json_object_foreach((json_t *)(uintptr_t)v, key, list)
	{
		bool all = strcmp(key, "all") == 0, any = strcmp(key, "any") == 0, none = strcmp(key, "none") == 0;

		n = condition_tags_in(list, tags, err);
		if (n < 0)
			return false;
		if (!all && !any && !none)
			return condition_bad(err, "tags knows all, any and none");
		if (f != NULL && ((all && (size_t)n != json_array_size(list)) || (any && n == 0) || (none && n > 0)))
			return false;
	}
	return true;
}

static const struct {
	const char *name;
	condition_fn fn;
} condition_table[] = {
    {"time", condition_time},
    {"business_hours", condition_business},
    {"ip", condition_ip},
    {"ip_address", condition_ip},
    {"ip_allowlist", condition_ip},
    {"owner", condition_owner},
    {"resource_owner", condition_owner},
    {"status", condition_status},
    {"resource_status", condition_status},
    {"tags", condition_tags},
};

static bool conditions_each(const json_t *conditions, const struct condition_facts *f, struct error *err)
{
	const char *key;
	json_t *v;
	size_t i;

	if (conditions == NULL || json_is_null(conditions))
		return true;
	if (!json_is_object(conditions))
		return error_field(err, ERR_INVALID_VALUE, "conditions", "must be an object");
	json_object_foreach((json_t *)(uintptr_t)conditions, key, v)
	{
		struct error why = ERROR_INIT;

		for (i = 0; i < countof(condition_table) && strcmp(condition_table[i].name, key) != 0; i++)
			;
		if (i == countof(condition_table))
			return error_field(err, ERR_INVALID_VALUE, "conditions", "there is no condition %.40s", key);
		if (!condition_table[i].fn(v, f, &why))
			return error_field(err, ERR_INVALID_VALUE, "conditions", "%.40s: %.180s", key,
					   why.msg[0] != '\0' ? why.msg : "does not hold");
	}
	return true;
}

bool conditions_hold(const json_t *conditions, const struct condition_facts *f)
{
	struct error ignored = ERROR_INIT;

	return conditions_each(conditions, f, &ignored);
}

bool conditions_valid(const json_t *conditions, struct error *err)
{
	return conditions_each(conditions, NULL, err);
}
