/* SPDX-License-Identifier: MIT */
/*
 * Passwords: stored forms of our own and of others, forms that demand too much, the rules, and the lane.
 */
#include "worker/identity/password.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "common/conf.h"
#include "common/loop.h"

static const struct password_cost cheap = {64, 1}, dearer = {128, 1};

static void a_password_comes_back_and_no_other(void **state)
{
	char stored[PASSWORD_STORED_MAX], again[PASSWORD_STORED_MAX];
	struct error err = ERROR_INIT;

	(void)state;
	assert_true(password_make(&cheap, STR("correct Horse 1"), stored, &err));
	assert_true(password_make(&cheap, STR("correct Horse 1"), again, &err));
	assert_string_not_equal(stored, again);
	assert_true(str_starts(str_of(stored), STR("argon2id:$argon2id$v=19$m=64,t=1,p=1$")));
	assert_int_equal(password_try(&cheap, str_of(stored), STR("correct Horse 1")), PASSWORD_RIGHT);
	assert_int_equal(password_try(&dearer, str_of(stored), STR("correct Horse 1")), PASSWORD_RIGHT_RENEW);
	assert_int_equal(password_try(&cheap, str_of(stored), STR("correct Horse 2")), PASSWORD_WRONG);
	assert_int_equal(password_try(&cheap, str_of(stored), STR("")), PASSWORD_WRONG);
	assert_int_equal(password_try(&cheap, STR_NONE, STR("correct Horse 1")), PASSWORD_WRONG);
}

static void the_whole_password_counts(void **state)
{
	char stored[PASSWORD_STORED_MAX], text[129];
	struct error err = ERROR_INIT;

	(void)state;
	memset(text, 'x', sizeof(text));
	assert_true(password_make(&cheap, (struct str){text, 128}, stored, &err));
	text[100] = 'y';
	assert_int_equal(password_try(&cheap, str_of(stored), (struct str){text, 128}), PASSWORD_WRONG);
}

static void hashes_of_others(void **state)
{
	/* Of the tests of the reference implementation. */
	static const char reference[] = "argon2id:$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$"
					"CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
	/* A vector of crypt_blowfish. */
	static const char bcrypt[] = "bcrypt:$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
	char text[74];

	(void)state;
	assert_int_equal(password_try(&cheap, str_of(reference), STR("password")), PASSWORD_RIGHT);
	assert_int_equal(password_try(&cheap, str_of(bcrypt), STR("U*U")), PASSWORD_RIGHT_RENEW);
	assert_int_equal(password_try(&cheap, str_of(bcrypt), STR("U*V")), PASSWORD_WRONG);
	/* bcrypt would not see the end of it. */
	memset(text, 'a', sizeof(text));
	assert_int_equal(password_try(&cheap, str_of(bcrypt), (struct str){text, 73}), PASSWORD_WRONG);
}

static void stored_forms_that_are_none(void **state)
{
	static const char *const t[] = {
	    "password",
	    "sha256:abc",
	    "argon2id:",
	    "argon2id:$argon2id$v=19$m=4194304,t=2,p=1$c29tc2FsdA$AAAA",
	    "argon2id:$argon2id$v=19$m=64,t=65,p=1$c29tc2FsdA$AAAA",
	    "argon2id:$argon2i$v=19$m=64,t=1,p=1$c29tc2FsdA$AAAA",
	    "argon2id:$argon2id$v=19$m=64,t=1,p=8$c29tc2FsdA$AAAA",
	    "bcrypt:",
	    "bcrypt:*0",
	    "bcrypt:$1$abc$xyz",
	    "argon2id:$argon2id$v=19$m=64,t=1,p=1$$",
	};
	size_t i;

	(void)state;
	for (i = 0; i < countof(t); i++)
		assert_int_equal(password_try(&cheap, str_of(t[i]), STR("password")), PASSWORD_WRONG);
}

static void rules_are_named_all_at_once(void **state)
{
	struct error err = ERROR_INIT;

	(void)state;
	assert_false(password_policy(STR("abc"), STR_NONE, "new_password", &err));
	assert_string_equal(err.field, "new_password");
	assert_non_null(strstr(err.msg, "12 characters"));
	assert_non_null(strstr(err.msg, "upper-case"));
	assert_non_null(strstr(err.msg, "digit"));
	assert_non_null(strstr(err.msg, "special"));
	assert_null(strstr(err.msg, "abc"));
	assert_true(password_policy(STR("kitchen-Table-42"), STR("a@x.org"), "password", &err));
}

static void rules(void **state)
{
	static const struct {
		const char *password, *why; /* NULL: accepted */
	} t[] = {
	    {"Kitchen-Tab1", NULL},
	    {"Kitchen-Ta1", "12"},
	    {"P@ssw0rd!2024", "common"},
	    {"Password1234!", "common"},
	    {"!!Qwerty2024!", "common"},
	    {"Correct Horse Battery Staple 1!", "common"},
	    {"aA1!            ", NULL},
	    {"            ", "upper"},
	    {"\xc3\x84rger-im-B\xc3\xbcro-7", NULL},
	    {"Bad\xff-Bytes-123", "text"},
	    {"my Alice@X.org 1 pass", "e-mail"},
	    {"KITCHEN-TABLE-42", "lower"},
	};
	char lots[160];
	size_t i;

	(void)state;
	for (i = 0; i < countof(t); i++) {
		struct error err = ERROR_INIT;
		bool ok = password_policy(str_of(t[i].password), STR("alice@x.org"), "password", &err);

		if (ok != (t[i].why == NULL) || (!ok && strstr(err.msg, t[i].why) == NULL))
			fail_msg("%s: %s", t[i].password, err.msg);
	}
	snprintf(lots, sizeof(lots), "Aa1!%0125d", 0);
	assert_false(password_policy(str_of(lots), STR_NONE, "password", NULL));
	lots[128] = '\0';
	assert_true(password_policy(str_of(lots), STR_NONE, "password", NULL));
}

struct lane_case {
	struct passwords *p;
	bool done;
};

static void lane_body(void *arg)
{
	struct lane_case *t = arg;
	struct arena *a = arena_new(0);
	struct error err = ERROR_INIT;
	enum password_match match;
	struct co_scope scope = {.kind = SCOPE_CALL, .cancelled = true, .why = "test"};
	struct str stored;

	assert_true(password_hash(t->p, a, STR("kitchen-Table-42"), &stored, &err));
	assert_true(password_verify(t->p, stored, STR("kitchen-Table-42"), &match, &err));
	assert_int_equal(match, PASSWORD_RIGHT);
	assert_true(password_verify(t->p, stored, STR("kitchen-Table-43"), &match, &err));
	assert_int_equal(match, PASSWORD_WRONG);
	co_scope_enter(&scope);
	assert_false(password_verify(t->p, stored, STR("kitchen-Table-42"), &match, &err));
	assert_int_equal(match, PASSWORD_WRONG);
	assert_int_equal(err.code, ERR_CANCELLED);
	co_scope_leave(&scope);
	arena_free(a);
	t->done = true;
}

static void the_lane(void **state)
{
	struct conf_override cheap_keys[] = {{"auth.password_memory", "65536"}, {"auth.password_passes", "1"}};
	struct buf report = BUF_INIT;
	struct conf *c = conf_load(NULL, false, cheap_keys, countof(cheap_keys), &report);
	struct loop *l = loop_new();
	struct lane_case t = {0};

	(void)state;
	assert_non_null(c);
	co_init(l, 0, 0);
	t.p = passwords_open(l, c);
	assert_non_null(co_spawn("test", lane_body, &t));
	while (!t.done)
		loop_turn(l, true);
	passwords_close(t.p);
	loop_turn(l, false);
	co_shutdown();
	loop_free(l);
	conf_unref(c);
	buf_free(&report);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_password_comes_back_and_no_other),
	    cmocka_unit_test(the_whole_password_counts),
	    cmocka_unit_test(hashes_of_others),
	    cmocka_unit_test(stored_forms_that_are_none),
	    cmocka_unit_test(rules_are_named_all_at_once),
	    cmocka_unit_test(rules),
	    cmocka_unit_test(the_lane),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
