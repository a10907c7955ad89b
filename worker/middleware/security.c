/* SPDX-License-Identifier: MIT */
/*
 * Sanity of a request before anybody looks at what it asks for: headers that may come once only, numbers and lengths of
 * query parameters, ids in the path. All that is wrong is told at once. It knows no permissions.
 */
#include "common/metrics.h"
#include "worker/http/problems.h"
#include "worker/middleware/pipeline.h"

#define SECURITY_PARAMS_MAX 64  /* the API knows less than half as many */
#define SECURITY_NAME_MAX 128   /* bytes */
#define SECURITY_VALUE_MAX 4096 /* bytes, as written: a token of a WebSocket is the longest */

/* Two parties that read different ones of these could be told different things (RFC 9110 5.3: they are no lists). */
#define ONCE(name)                        \
	{                                 \
		"" name, sizeof(name) - 1 \
	}

static const struct str security_once[] = {
    ONCE("authorization"),  ONCE("x-api-key"),         ONCE("x-user-id"),    ONCE("x-org-id"),
    ONCE("x-workspace-id"), ONCE("x-tenant-id"),       ONCE("x-user-roles"), ONCE("idempotency-key"),
    ONCE("x-csrf-token"),   ONCE("x-request-timeout"), ONCE("origin"),
};

/* Most characters of a parameter: rest-core 1.10. `once`: a second one of that name is refused. */
static const struct {
	const char *name;
	size_t max;
	bool once;
} security_caps[] = {
    {"q", 1000, true},     {"query", 1000, true}, {"topic", 500, true}, {"agents", 500, false}, {"email", 254, true},
    {"domain", 100, true}, {"format", 50, true},  {"status", 50, true}, {"token", 4096, true},
};

/* Ids in paths: rest-core 1.11. `also`: what may stand there besides letters, digits, '_' and '-'. */
static const struct {
	const char *name; /* of the parameter; NULL: any other */
	size_t max;
	const char *also;
} security_ids[] = {{"id", 128, ""}, {"debate_id", 128, ""}, {NULL, 128, ".:@~+|"}};

static bool security_head(struct http_request *req, size_t *limit, struct error *err)
{
	const struct http_field *f = req->fields;
	size_t i, k, seen;

	(void)limit;
	for (i = 0; i < countof(security_once); i++) {
		struct str name = security_once[i];

		if (req->field_marks != 0 && (req->field_marks & http_field_mark(name)) == 0)
			continue;
		for (k = seen = 0; k < req->field_count; k++)
			seen += f[k].name.n == name.n && str_ieq(f[k].name, name);
		if (seen > 1) {
			metric_add(M_HTTP_REFUSED, 1, "security", NULL);
			return error_field(err, ERR_BAD_REQUEST, name.p, "%s must not be sent twice", name.p);
		}
	}
	return true;
}

/* ---- query ---- */

/* Code points; bytes of what is no UTF-8 count one each. */
static size_t security_length(struct str s)
{
	size_t i, n = 0;

	for (i = 0; i < s.n; i++)
		n += ((unsigned char)s.p[i] & 0xC0) != 0x80;
	return n;
}

static void security_value(struct http_request *req, struct problems *p, const char *name, struct str value,
			   uint32_t *seen)
{
	size_t i;

	for (i = 0; i < countof(security_caps) && strcmp(name, security_caps[i].name) != 0; i++)
		;
	if (i == countof(security_caps)) {
		if (value.n > SECURITY_VALUE_MAX)
			problem_add(p, ERR_INVALID_VALUE, name, "must be at most %d bytes", SECURITY_VALUE_MAX);
		return;
	}
	if (security_caps[i].once && (*seen & UINT32_C(1) << i) != 0)
		problem_add(p, ERR_INVALID_VALUE, name, "must not be given twice");
	*seen |= UINT32_C(1) << i;
	if (value.n > security_caps[i].max && security_length(http_decoded(req->arena, value)) > security_caps[i].max)
		problem_add(p, ERR_INVALID_VALUE, name, "must be at most %zu characters", security_caps[i].max);
}

static void security_pair(struct http_request *req, struct problems *p, struct str pair, uint32_t *seen)
{
	ptrdiff_t eq = str_chr(pair, '=');
	struct str name = eq < 0 ? pair : str_sub(pair, 0, (size_t)eq);
	struct str value = eq < 0 ? STR("") : str_sub(pair, (size_t)eq + 1, pair.n);

	if (str_chr(name, '%') >= 0)
		name = http_decoded(req->arena, name);
	if (name.n > SECURITY_NAME_MAX) {
		problem_add(p, ERR_INVALID_VALUE, "query", "the name of a parameter is longer than %d bytes",
			    SECURITY_NAME_MAX);
		return;
	}
	name = arena_str(req->arena, name);
	if (memchr(name.p, '\0', name.n) != NULL || str_find(value, STR("%00")) >= 0)
		problem_add(p, ERR_INVALID_VALUE, name.p, "must not contain NUL");
	else
		security_value(req, p, name.p, value, seen);
}

static void security_query(struct http_request *req, struct problems *p)
{
	struct str rest = req->query, pair;
	unsigned count = 0;
	uint32_t seen = 0;

	while (str_split(&rest, '&', &pair)) {
		if (++count > SECURITY_PARAMS_MAX) {
			problem_add(p, ERR_INVALID_VALUE, "query", "has more than %d parameters", SECURITY_PARAMS_MAX);
			return;
		}
		if (pair.n > 0)
			security_pair(req, p, pair, &seen);
	}
}

/* ---- path ---- */

static bool security_id_ok(struct str id, const char *also)
{
	size_t i;

	for (i = 0; i < id.n; i++) {
		char c = id.p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
		      c == '-' || (c != '\0' && strchr(also, c) != NULL)))
			return false;
	}
	return true;
}

static void security_id(struct problems *p, struct str name, struct str id)
{
	char field[SECURITY_NAME_MAX];
	size_t i = 0;

	while (security_ids[i].name != NULL && !str_eqz(name, security_ids[i].name))
		i++;
	snprintf(field, sizeof(field), "%.*s", (int)(name.n < 64 ? name.n : 64), name.p);
	if (id.n == 0 || id.n > security_ids[i].max)
		problem_add(p, ERR_INVALID_PATH, field, "must be 1 to %zu characters", security_ids[i].max);
	else if (!security_id_ok(id, security_ids[i].also))
		problem_add(p, ERR_INVALID_PATH, field, "must be letters, digits, '_' and '-'%s%s",
			    security_ids[i].also[0] != '\0' ? ", or one of " : "", security_ids[i].also);
}

static void security_path(const struct http_request *req, struct problems *p)
{
	struct str rest = str_of(req->route->path), part;
	size_t i = 0;

	while (str_split(&rest, '/', &part))
		if (part.n > 2 && part.p[0] == '{' && i < HTTP_PARAMS_MAX)
			security_id(p, str_sub(part, 1, part.n - 1), req->params[i++]);
}

static bool security_before(struct http_request *req)
{
	struct problems p = PROBLEMS_INIT;

	if (req->query.n > 0)
		security_query(req, &p);
	if (!(req->route->flags & ROUTE_FILES) && req->params[0].p != NULL)
		security_path(req, &p);
	if (p.list != NULL)
		metric_add(M_HTTP_REFUSED, 1, "security", NULL);
	return problems_none(req, &p);
}

const struct middleware middleware_security = {.name = "security", .head = security_head, .before = security_before};
