/* SPDX-License-Identifier: MIT */
/*
 * Which limits a route falls under: exact paths before ends before the longest prefix, actions by method and path, and
 * every name of the table is there once.
 */
#include "worker/limits/limits.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const char *name_of(int row)
{
	return row >= 0 ? limit_rows[row].name : "";
}

static void rows(enum http_method method, const char *path, enum route_rate rate, const char *address,
		 const char *endpoint, const char *action)
{
	const struct route r = {.method = method, .path = path, .rate = rate};
	struct limit_route at = limits_of(&r);

	assert_string_equal(name_of(at.address), address);
	assert_string_equal(name_of(at.endpoint), endpoint);
	assert_string_equal(name_of(at.action), action);
}

static void test_exact_then_end_then_longest_prefix(void **state)
{
	(void)state;
	rows(HTTP_GET, "/api/debates", RATE_READ, "", "endpoint.debates", "");
	rows(HTTP_GET, "/api/debates/{id}", RATE_READ, "", "endpoint.debates/*", "");
	rows(HTTP_POST, "/api/debates/{id}/fork", RATE_CREATE, "", "endpoint.*/fork", "action.debate_create");
	rows(HTTP_POST, "/api/knowledge/search", RATE_READ, "", "endpoint.knowledge/search", "action.knowledge_query");
	rows(HTTP_GET, "/api/knowledge/nodes", RATE_READ, "", "endpoint.knowledge/*", "");
	rows(HTTP_GET, "/api/admin/security/keys", RATE_READ, "", "endpoint.admin/security/*", "action.admin");
	rows(HTTP_POST, "/api/admin/users", RATE_WRITE, "", "endpoint.admin/*", "action.admin");
	/* The name alone is no prefix, and what lies outside the API has no endpoint. */
	rows(HTTP_GET, "/api/debatesx", RATE_READ, "", "", "");
	rows(HTTP_GET, "/debates/{id}", RATE_READ, "", "", "");
}

static void test_guesses_count_addresses(void **state)
{
	static const char *const paths[] = {"/api/auth/login", "/api/auth/register", "/api/auth/password/forgot",
					    "/api/auth/mfa/verify"};
	size_t i;

	(void)state;
	for (i = 0; i < countof(paths); i++) {
		const struct route r = {.method = HTTP_POST, .path = paths[i]};
		int row = limits_of(&r).address;

		assert_true(row >= 0);
		assert_true((limit_rows[row].flags & LIMIT_STRICT) != 0 && (limit_rows[row].flags & LIMIT_EXACT) != 0);
		assert_true(limit_rows[row].rate <= 5);
		assert_true(limits_apply(&r)); /* also when its row declares no rate */
	}
	rows(HTTP_GET, "/api/auth/sessions", RATE_READ, "endpoint.auth/*", "", "");
	rows(HTTP_GET, "/api/leaderboard", RATE_READ, "endpoint.leaderboard", "", "");
	rows(HTTP_GET, "/api/auth/me", RATE_READ, "", "endpoint.auth/me", "");
}

static void test_actions(void **state)
{
	(void)state;
	rows(HTTP_POST, "/api/debates", RATE_CREATE, "", "endpoint.debates", "action.debate_create");
	rows(HTTP_POST, "/api/debates/batch", RATE_CREATE, "", "endpoint.debates/*", "action.batch_submit");
	rows(HTTP_GET, "/api/search", RATE_READ, "", "", "action.debate_search");
	rows(HTTP_GET, "/api/debates/export", RATE_EXPORT, "", "endpoint.debates/*", "action.export");
	rows(HTTP_POST, "/api/debates/{id}/votes", RATE_WRITE, "", "endpoint.debates/*", "action.vote");
	rows(HTTP_GET, "/api/debates/{id}/votes", RATE_READ, "", "endpoint.debates/*", "");
	rows(HTTP_POST, "/api/things", RATE_WRITE, "", "", "action.default");
}

static void test_what_is_counted(void **state)
{
	const struct route probe = {.path = "/healthz", .flags = ROUTE_PUBLIC};
	const struct route socket = {.path = "/ws", .flags = ROUTE_WS, .permission = "debates:read"};
	const struct route echo = {.path = "/ws/echo", .flags = ROUTE_WS | ROUTE_PUBLIC};

	(void)state;
	assert_false(limits_apply(&probe));
	assert_true(limits_apply(&socket));
	assert_false(limits_apply(&echo));
}

static void test_names(void **state)
{
	size_t i, k;

	(void)state;
	for (i = 0; i < limit_row_count; i++) {
		const struct limit_row *r = &limit_rows[i];

		assert_int_equal(limits_find(str_of(r->name)), i);
		assert_true(r->rate > 0 && r->rate <= RATELIMIT_RATE_MAX);
		for (k = 0; k < i; k++)
			assert_string_not_equal(r->name, limit_rows[k].name);
		if (r->kind == LIMIT_ENDPOINT || r->kind == LIMIT_ACTION || r->kind == LIMIT_TIER)
			assert_true(str_starts(str_of(r->name), str_of(limits_kind_name(r->kind))));
	}
	assert_int_equal(limits_find(STR("endpoint.nothing")), -1);
}

static void test_described_for_people(void **state)
{
	const struct route create = {.method = HTTP_POST, .path = "/api/debates", .rate = RATE_CREATE};
	const struct route probe = {.path = "/healthz", .flags = ROUTE_PUBLIC};
	struct buf b = BUF_INIT;

	(void)state;
	limits_describe(&probe, &b);
	assert_int_equal(b.n, 0);
	limits_describe(&create, &b);
	assert_string_equal(b.p, "debates 30, debate_create 10");
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_exact_then_end_then_longest_prefix),
	    cmocka_unit_test(test_guesses_count_addresses),
	    cmocka_unit_test(test_actions),
	    cmocka_unit_test(test_what_is_counted),
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_described_for_people),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
