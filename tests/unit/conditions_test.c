/* SPDX-License-Identifier: MIT */
/*
 * Conditions of grants: each kind holds and does not, all must hold, and whatever cannot be judged is a no.
 */
#include "worker/access/conditions.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/compat.h"
#include "worker/access/resource.h"

/* Friday, 2026-11-20, 16:30:00 UTC. */
#define FRIDAY INT64_C(1795192200000)
#define HOUR INT64_C(3600000)

static json_t *parse(const char *text)
{
	json_t *j = json_loads(text, 0, NULL);

	if (j == NULL)
		fail_msg("not JSON: %s", text);
	return j;
}

static const struct {
	const char *conditions;
	int64_t now_ms;
	const char *client;
	bool holds;
} cases[] = {
    {"{}", FRIDAY, "", true},
    {"{\"business_hours\": true}", FRIDAY, "", true},
    {"{\"business_hours\": true}", FRIDAY + HOUR / 2, "", false},
    {"{\"business_hours\": true}", FRIDAY + 24 * HOUR, "", false},
    {"{\"business_hours\": {\"zone\": \"+01:00\"}}", FRIDAY, "", false},
    {"{\"business_hours\": {\"zone\": \"-0300\"}}", FRIDAY + 3 * HOUR, "", true},
    {"{\"business_hours\": {\"zone\": \"Europe/Berlin\"}}", FRIDAY, "", false},
    {"{\"business_hours\": false}", FRIDAY, "", false},
    {"{\"time\": {\"weekdays\": [\"fri\", \"Saturday\"]}}", FRIDAY, "", true},
    {"{\"time\": {\"weekdays\": [4]}}", FRIDAY, "", true},
    {"{\"time\": {\"weekdays\": [5]}}", FRIDAY, "", false},
    {"{\"time\": {\"weekdays\": [\"f\"]}}", FRIDAY, "", false},
    {"{\"time\": {\"from\": \"16:30\", \"to\": \"16:31\"}}", FRIDAY, "", true},
    {"{\"time\": {\"from\": \"22:00\", \"to\": \"06:00\"}}", FRIDAY, "", false},
    {"{\"time\": {\"from\": \"22:00\", \"to\": \"06:00\"}}", FRIDAY + 12 * HOUR, "", true},
    {"{\"time\": {\"from\": \"4pm\"}}", FRIDAY, "", false},
    {"{\"time\": {\"start\": 1795192200, \"end\": 1795192201}}", FRIDAY, "", true},
    {"{\"time\": {\"end\": 1795192200}}", FRIDAY, "", false},
    {"{\"time\": {\"end\": \"soon\"}}", FRIDAY, "", false},
    {"{\"ip\": [\"10.0.0.0/8\"]}", FRIDAY, "10.1.2.3", true},
    {"{\"ip\": [\"10.0.0.0/8\"]}", FRIDAY, "11.1.2.3", false},
    {"{\"ip\": [\"10.0.0.0/8\"]}", FRIDAY, "", false},
    {"{\"ip\": [\"10.0.0.0/8\"]}", FRIDAY, "::ffff:10.0.0.1", true},
    {"{\"ip_allowlist\": [\"2001:db8::/32\", \"192.0.2.7\"]}", FRIDAY, "2001:db8::5", true},
    {"{\"ip_allowlist\": [\"2001:db8::/32\", \"192.0.2.7\"]}", FRIDAY, "192.0.2.8", false},
    {"{\"ip\": {\"blocklist\": [\"10.0.0.1\"]}}", FRIDAY, "10.0.0.1", false},
    {"{\"ip\": {\"blocklist\": [\"10.0.0.1\"]}}", FRIDAY, "10.0.0.2", true},
    {"{\"ip\": {\"require_private\": true}}", FRIDAY, "8.8.8.8", false},
    {"{\"ip\": {\"require_private\": true}}", FRIDAY, "172.31.0.1", true},
    {"{\"ip\": [\"10.0.0.0/33\"]}", FRIDAY, "10.0.0.1", false},
    {"{\"ip\": []}", FRIDAY, "10.0.0.1", false},
    {"{\"owner\": true}", FRIDAY, "", true},
    {"{\"owner\": \"ada\"}", FRIDAY, "", false},
    {"{\"status\": [\"running\", \"queued\"]}", FRIDAY, "", true},
    {"{\"status\": [\"completed\"]}", FRIDAY, "", false},
    {"{\"status\": \"running\"}", FRIDAY, "", false},
    {"{\"tags\": \"a\"}", FRIDAY, "", true},
    {"{\"tags\": \"z\"}", FRIDAY, "", false},
    {"{\"tags\": [\"a\", \"b\"]}", FRIDAY, "", true},
    {"{\"tags\": [\"a\", \"z\"]}", FRIDAY, "", false},
    {"{\"tags\": {\"any\": [\"z\", \"b\"], \"none\": [\"x\"]}}", FRIDAY, "", true},
    {"{\"tags\": {\"none\": [\"b\"]}}", FRIDAY, "", false},
    {"{\"tags\": {\"some\": [\"b\"]}}", FRIDAY, "", false},
    {"{\"owner\": true, \"status\": [\"completed\"]}", FRIDAY, "", false},
    {"{\"moon\": \"full\"}", FRIDAY, "", false},
    {"[]", FRIDAY, "", false},
};

static void test_hold(void **state)
{
	json_t *tags = parse("[\"a\", \"b\"]");
	size_t i;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		json_t *c = parse(cases[i].conditions);
		const struct condition_facts f = {.now_ms = cases[i].now_ms,
						  .client = str_of(cases[i].client),
						  .user_id = STR("ada"),
						  .owner_id = STR("ada"),
						  .status = STR("running"),
						  .tags = tags};

		if (conditions_hold(c, &f) != cases[i].holds)
			fail_msg("%s at %lld from '%s': not %d", cases[i].conditions, (long long)cases[i].now_ms,
				 cases[i].client, cases[i].holds);
		json_decref(c);
	}
	assert_true(conditions_hold(NULL, &(struct condition_facts){0}));
	json_decref(tags);
}

/* Facts that are not known are a no for whatever asks for them. */
static void test_unknown(void **state)
{
	static const char *const ask[] = {"{\"owner\": true}", "{\"status\": [\"\"]}", "{\"tags\": \"a\"}",
					  "{\"ip\": {\"require_private\": true}}"};
	size_t i;

	(void)state;
	for (i = 0; i < countof(ask); i++) {
		json_t *c = parse(ask[i]);

		assert_false(conditions_hold(c, &(struct condition_facts){.now_ms = FRIDAY}));
		json_decref(c);
	}
}

static void test_valid(void **state)
{
	static const struct {
		const char *conditions, *says;
	} bad[] = {
	    {"{\"moon\": 1}", "there is no condition moon"},
	    {"{\"ip\": [\"10.0.0.300\"]}", "ip: must be a list of addresses and networks"},
	    {"{\"business_hours\": {\"zone\": \"Mars\"}}",
	     "business_hours: the time zone must be UTC or an offset such as +02:00"},
	    {"{\"time\": {\"weekdays\": [7]}}", "time: weekdays are mon to sun, or 0 (Monday) to 6"},
	    {"{\"owner\": false}", "owner: must be true"},
	    {"{\"tags\": {\"all\": \"a\"}}", "tags: must be lists of texts"},
	};
	struct error err = ERROR_INIT;
	json_t *c;
	size_t i;

	(void)state;
	for (i = 0; i < countof(bad); i++) {
		c = parse(bad[i].conditions);
		assert_false(conditions_valid(c, &err));
		assert_string_equal(err.msg, bad[i].says);
		assert_string_equal(err.field, "conditions");
		json_decref(c);
	}
	c = parse("{\"owner\": true, \"ip\": {\"blocklist\": [\"::1\"]}, \"time\": {\"from\": \"09:00\"},"
		  " \"tags\": {\"any\": [\"a\"]}, \"status\": [\"x\"], \"business_hours\": {\"zone\": \"-03:30\"}}");
	assert_true(conditions_valid(c, &err));
	json_decref(c);
}

/* security.md 2.2, row 8: what a tier may not see. An unknown marking is a no for all. */
static void test_sensitivity(void **state)
{
	static const struct {
		const char *sensitivity, *tier;
		bool allowed;
	} rows[] = {{"", "free", true},
		    {"internal", "free", true},
		    {"confidential", "starter", false},
		    {"confidential", "professional", true},
		    {"restricted", "professional", false},
		    {"restricted", "enterprise", true},
		    {"cosmic", "enterprise", false}};
	size_t i;

	(void)state;
	for (i = 0; i < countof(rows); i++)
		assert_int_equal(resource_sensitivity_allowed(str_of(rows[i].sensitivity), str_of(rows[i].tier)),
				 rows[i].allowed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_hold),
	    cmocka_unit_test(test_unknown),
	    cmocka_unit_test(test_valid),
	    cmocka_unit_test(test_sensitivity),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
