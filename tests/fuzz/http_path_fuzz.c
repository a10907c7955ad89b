/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes what a target and the headers about the client hold: normalised paths are stable and stay below the root,
 * they find the same route as before, query parameters end inside the query, addresses read back as they are written.
 * Lines of the input: target, query name, X-Forwarded-For, address range.
 */
#include "tests/fuzz/fuzz.h"
#include "worker/http/http_client.h"
#include "worker/http/route.h"

static void fuzz_handler(struct http_request *req)
{
	(void)req;
}

static const struct route fuzz_routes[] = {
    {HTTP_GET, "/", fuzz_handler, .flags = ROUTE_PUBLIC},
    {HTTP_GET, "/api/a", fuzz_handler, .flags = ROUTE_PUBLIC},
    {HTTP_POST, "/api/a", fuzz_handler, .flags = ROUTE_PUBLIC},
    {HTTP_GET, "/api/a/{id}", fuzz_handler, .flags = ROUTE_PUBLIC},
    {HTTP_GET, "/api/a/b", fuzz_handler, .flags = ROUTE_PUBLIC},
    {HTTP_GET, "/api/a/{id}/c/{x}", fuzz_handler, .flags = ROUTE_PUBLIC},
};
static const struct route_table fuzz_table = {fuzz_routes, countof(fuzz_routes)};

static void fuzz_match(const struct router *r, struct arena *a, struct str path)
{
	struct error err = ERROR_INIT;
	struct str params[HTTP_PARAMS_MAX] = {STR_NONE}, allow = STR_NONE;
	const struct route *route = router_match(r, HTTP_GET, path, params, a, &allow, &err);

	BUG_ON((route == NULL) != (err.code != ERR_OK));
	for (size_t i = 0; route != NULL && i < countof(params); i++)
		BUG_ON(params[i].n > 0 && memchr(params[i].p, '/', params[i].n) != NULL);
}

/* A normalised path has no escapes, so each '%' of it is escaped to be read again. */
static void fuzz_stable(struct arena *a, struct str path)
{
	struct buf again = BUF_INIT;
	struct error err = ERROR_INIT;
	struct str out;

	for (size_t i = 0; i < path.n; i++)
		if (path.p[i] == '%' || path.p[i] == '?')
			buf_printf(&again, "%%%02x", (unsigned)path.p[i]);
		else
			buf_addc(&again, path.p[i]);
	BUG_ON(!route_normalise(buf_str(&again), a, &out, &err));
	/* "/api/v1/v1" is "/api/v1" and would lose one more. */
	BUG_ON(!str_eq(out, path) && !str_starts(path, STR("/api/v")));
	buf_free(&again);
}

static void fuzz_target(const struct router *r, struct arena *a, struct str target, struct str name)
{
	struct http_request req = {.arena = a};
	ptrdiff_t mark = str_chr(target, '?');
	char *z = str_dupz(name);
	struct error err = ERROR_INIT;
	struct str value;
	int64_t n;

	req.query = mark < 0 ? STR_NONE : str_sub(target, (size_t)mark + 1, target.n);
	value = http_query(&req, z);
	BUG_ON(value.p != NULL && value.n > req.query.n);
	n = http_query_int(&req, z, -5, 500, 7);
	BUG_ON(n < -5 || n > 500);
	free(z);
	if (!route_normalise(target, a, &req.path, &err)) {
		BUG_ON(err.code == ERR_OK);
		return;
	}
	BUG_ON(req.path.n == 0 || req.path.p[0] != '/' || memchr(req.path.p, '\0', req.path.n) != NULL);
	BUG_ON(str_find(req.path, STR("//")) >= 0 || str_find(req.path, STR("/../")) >= 0 ||
	       str_ends(req.path, STR("/..")) || str_find(req.path, STR("/./")) >= 0);
	BUG_ON(req.path.n > 1 && req.path.p[req.path.n - 1] == '/');
	fuzz_stable(a, req.path);
	fuzz_match(r, a, req.path);
}

static void fuzz_addresses(struct str forwarded, struct str range)
{
	struct http_field field = {STR("X-Forwarded-For"), forwarded};
	struct http_addr peer = {{0}}, found, again;
	char text[HTTP_ADDR_TEXT], *z = str_dupz(range);
	struct conf_list list = {.v = &z, .n = 1};
	struct http_cidrs trusted = {NULL, 0};

	http_cidrs_set(&trusted, &list);
	found = http_forwarded_for(&trusted, &field, 1, peer);
	http_addr_text(&found, text);
	BUG_ON(!http_addr_parse(str_of(text), &again) || memcmp(&again, &found, sizeof(found)) != 0);
	http_cidrs_free(&trusted);
	free(z);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct router *router;
	struct str rest = {(const char *)data, size}, line[4] = {STR_NONE};
	struct error err = ERROR_INIT;
	struct arena *a = arena_new(0);

	if (router == NULL)
		router = router_new(&fuzz_table, 1, NULL, 0, NULL, &err);
	BUG_ON(router == NULL);
	for (size_t i = 0; i < countof(line) && rest.p != NULL; i++)
		if (!str_split(&rest, '\n', &line[i]))
			break;
	fuzz_target(router, a, line[0], line[1]);
	fuzz_addresses(line[2], line[3]);
	arena_free(a);
	return 0;
}
