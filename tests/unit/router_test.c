/* SPDX-License-Identifier: MIT */
/*
 * Tests of the router's tables: what matches, what is refused when it is compiled, which steps apply.
 */
#include "worker/http/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void handler(struct http_request *req)
{
	(void)req;
}

#define ROW(m, p)                                                                            \
	{                                                                                    \
		.method = (m), .path = (p), .handler = handler, .permission = "debates:read" \
	}

static const struct route rows[] = {
    ROW(HTTP_GET, "/"),
    ROW(HTTP_GET, "/api/debates"),
    ROW(HTTP_POST, "/api/debates"),
    ROW(HTTP_GET, "/api/debates/{id}"),
    ROW(HTTP_DELETE, "/api/debates/{id}"),
    ROW(HTTP_GET, "/api/debates/search"),
    ROW(HTTP_GET, "/api/debates/{id}/rounds/{n}"),
    ROW(HTTP_GET, "/api/debates/search/help"),
    ROW(HTTP_GET, "/api/{a}/{b}/{c}/{d}"),
    {.method = HTTP_GET, .path = "/healthz", .handler = handler, .flags = ROUTE_PUBLIC | ROUTE_INLINE},
};

static bool only_posts(const struct route *r, const struct conf *c)
{
	(void)c;
	return r->method == HTTP_POST;
}

static const struct middleware first = {.name = "first"};
static const struct middleware second = {.name = "second", .applies = only_posts};
static const struct middleware third = {.name = "third", .waits = true, .applies = only_posts};
static const struct middleware *const chain[] = {&first, &second, &third};

static struct router *compile(const struct route *v, size_t n, struct error *err)
{
	struct route_table t = {v, n};

	return router_new(&t, 1, chain, countof(chain), NULL, err);
}

static void test_match(void **state)
{
	static const struct {
		enum http_method m;
		const char *path;
		int row;
		const char *p0, *p1;
	} cases[] = {
	    {HTTP_GET, "/", 0, NULL, NULL},
	    {HTTP_GET, "/api/debates", 1, NULL, NULL},
	    {HTTP_POST, "/api/debates", 2, NULL, NULL},
	    {HTTP_GET, "/api/debates/d-1", 3, "d-1", NULL},
	    {HTTP_DELETE, "/api/debates/x y", 4, "x y", NULL},
	    {HTTP_GET, "/api/debates/search", 5, NULL, NULL},
	    {HTTP_GET, "/api/debates/d/rounds/2", 6, "d", "2"},
	    {HTTP_GET, "/api/debates/search/help", 7, NULL, NULL},
	    /* A literal that leads nowhere gives way to a parameter, its values are forgotten. */
	    {HTTP_GET, "/api/debates/d/other/2", 8, "debates", "d"},
	    {HTTP_GET, "/healthz", 9, NULL, NULL},
	    {HTTP_GET, "/api", -1, NULL, NULL},
	    {HTTP_GET, "/api/debates/d/rounds", -1, NULL, NULL},
	    {HTTP_GET, "/healthz/x", -1, NULL, NULL},
	};
	struct arena *a = arena_new(0);
	struct error err = ERROR_INIT;
	struct router *r = compile(rows, countof(rows), &err);

	(void)state;
	assert_non_null(r);
	for (size_t i = 0; i < countof(cases); i++) {
		struct str params[HTTP_PARAMS_MAX] = {STR_NONE}, allow;
		const struct route *found = router_match(r, cases[i].m, str_of(cases[i].path), params, a, &allow, &err);

		if (found != (cases[i].row < 0 ? NULL : &rows[cases[i].row]))
			fail_msg("%s: %s", cases[i].path, found != NULL ? found->path : "nothing");
		if (cases[i].p0 != NULL)
			assert_true(str_eqz(params[0], cases[i].p0));
		if (cases[i].p1 != NULL)
			assert_true(str_eqz(params[1], cases[i].p1));
		if (found == NULL)
			assert_int_equal(err.code, ERR_NOT_FOUND);
	}
	router_free(r);
	arena_free(a);
}

static void test_allow(void **state)
{
	struct str params[HTTP_PARAMS_MAX], allow;
	struct arena *a = arena_new(0);
	struct error err = ERROR_INIT;
	struct router *r = compile(rows, countof(rows), &err);

	(void)state;
	assert_null(router_match(r, HTTP_PUT, STR("/api/debates"), params, a, &allow, &err));
	assert_int_equal(err.code, ERR_METHOD_NOT_ALLOWED);
	assert_true(str_eqz(allow, "GET, HEAD, POST, OPTIONS"));
	assert_null(router_match(r, HTTP_OTHER, STR("/api/debates/x"), params, a, &allow, &err));
	assert_true(str_eqz(allow, "GET, HEAD, DELETE, OPTIONS"));
	assert_null(router_match(r, HTTP_PUT, STR("/nowhere"), params, a, &allow, &err));
	assert_int_equal(allow.n, 0);
	router_free(r);
	arena_free(a);
}

static void test_mistakes(void **state)
{
	static const struct {
		struct route v[2];
		size_t n;
		const char *says;
	} bad[] = {
	    {{ROW(HTTP_GET, "/a"), ROW(HTTP_GET, "/a")}, 2, "declared twice"},
	    {{ROW(HTTP_GET, "/a/{x}"), ROW(HTTP_GET, "/a/{y}")}, 2, "declared twice"},
	    {{{.method = HTTP_GET, .path = "/a", .handler = handler}}, 1, "neither permission nor public"},
	    {{{.method = HTTP_GET, .path = "/a", .handler = handler, .permission = "debates:fly"}},
	     1,
	     "route /a: there is no permission debates:fly"},
	    {{{.method = HTTP_GET,
	       .path = "/a",
	       .handler = handler,
	       .permission = "debates:read",
	       .flags = ROUTE_PUBLIC}},
	     1,
	     "route /a: public, yet with permission debates:read"},
	    {{{.method = HTTP_GET, .path = "/a", .permission = "x"}}, 1, "incomplete"},
	    {{ROW(HTTP_OTHER, "/a")}, 1, "incomplete"},
	    {{ROW(HTTP_GET, "a")}, 1, "incomplete"},
	    {{ROW(HTTP_GET, "/a/")}, 1, "slash"},
	    {{ROW(HTTP_GET, "/api/v1/a")}, 1, "version"},
	    {{ROW(HTTP_GET, "/{a}/{b}/{c}/{d}/{e}")}, 1, "parameters"},
	    {{ROW(HTTP_GET, "/a/{b")}, 1, "malformed"},
	    {{ROW(HTTP_GET, "/a/{}")}, 1, "malformed"},
	};

	(void)state;
	for (size_t i = 0; i < countof(bad); i++) {
		struct error err = ERROR_INIT;

		assert_null(compile(bad[i].v, bad[i].n, &err));
		if (strstr(err.msg, bad[i].says) == NULL || strstr(err.msg, bad[i].v[bad[i].n - 1].path) == NULL)
			fail_msg("case %zu: %s", i, err.msg);
	}
}

static void each(void *arg, const struct route *route, const char *text, bool waits)
{
	unsigned *seen = arg;

	assert_string_equal(text, route->method == HTTP_POST ? "first second third" : "first");
	assert_int_equal(waits, !(route->flags & ROUTE_INLINE));
	assert_ptr_equal(route, &rows[*seen]);
	(*seen)++;
}

static void test_each(void **state)
{
	struct error err = ERROR_INIT;
	struct router *r = compile(rows, countof(rows), &err);
	unsigned seen = 0;

	(void)state;
	router_each(r, each, &seen);
	assert_int_equal(seen, countof(rows));
	router_free(r);
}

/* An inline row with a step that waits is not inline any more. */
static void note_waits(void *arg, const struct route *route, const char *text, bool waits)
{
	(void)route;
	(void)text;
	*(bool *)arg = waits;
}

static void test_waiting_step(void **state)
{
	static const struct route v[] = {
	    {.method = HTTP_POST, .path = "/a", .handler = handler, .flags = ROUTE_PUBLIC | ROUTE_INLINE}};
	struct error err = ERROR_INIT;
	struct router *r = compile(v, 1, &err);
	bool waits = false;

	(void)state;
	router_each(r, note_waits, &waits);
	assert_true(waits);
	router_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_match), cmocka_unit_test(test_allow),        cmocka_unit_test(test_mistakes),
	    cmocka_unit_test(test_each),  cmocka_unit_test(test_waiting_step),
	};

	return cmocka_run_group_tests_name("router", tests, NULL, NULL);
}
