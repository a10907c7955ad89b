/* SPDX-License-Identifier: MIT */
/*
 * Addresses of Redis servers: what is read from them, what is refused, and that a refusal never quotes the secret.
 */
#include "common/redis_url.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct redis_address good(const char *url)
{
	struct redis_address a;
	struct error err = ERROR_INIT;

	if (!redis_url_parse(str_of(url), &a, &err))
		fail_msg("%s: %s", url, err.msg);
	return a;
}

static void bad(const char *url, const char *why)
{
	struct redis_address a;
	struct error err = ERROR_INIT;

	if (redis_url_parse(str_of(url), &a, &err))
		fail_msg("%s is taken", url);
	assert_int_equal(err.code, ERR_INVALID_VALUE);
	if (strstr(err.msg, why) == NULL)
		fail_msg("%s: %s", url, err.msg);
	assert_null(strstr(err.msg, "geheim"));
}

static void tcp(const char *url, const char *host, const char *port, unsigned db)
{
	struct redis_address a = good(url);

	assert_false(a.is_unix);
	assert_string_equal(a.host, host);
	assert_string_equal(a.port, port);
	assert_int_equal(a.db, db);
}

static void test_servers(void **state)
{
	(void)state;
	tcp("redis://localhost:6379/0", "localhost", "6379", 0);
	tcp("redis://redis:6379", "redis", "6379", 0);
	tcp("redis://h", "h", "6379", 0);
	tcp("REDIS://h/", "h", "6379", 0);
	tcp("redis://10.0.0.1:1/15", "10.0.0.1", "1", 15);
	tcp("redis://[::1]:7000/2", "::1", "7000", 2);
	tcp("redis://[fe80::1]", "fe80::1", "6379", 0);
	tcp("redis://h:7000?db=3", "h", "7000", 3);
	tcp("redis://:p@h/4", "h", "6379", 4);
}

static void who(const char *url, const char *user, const char *password)
{
	struct redis_address a = good(url);

	assert_string_equal(a.user, user);
	assert_string_equal(a.password, password);
}

static void test_users(void **state)
{
	(void)state;
	who("redis://h", "", "");
	who("redis://@h", "", "");
	who("redis://:secret@h", "", "secret");
	who("redis://me:secret@h:1/2", "me", "secret");
	who("redis://me:a%40b%2Fc%3a%25@h", "me", "a@b/c:%");
	who("redis://me:a@b@h", "me", "a@b");
	who("redis://me:a/b?c@h/1", "me", "a/b?c");
	who("unix://me:secret@/run/r.sock", "me", "secret");
}

static void test_sockets(void **state)
{
	struct redis_address a = good("unix:///run/redis/redis.sock");

	(void)state;
	assert_true(a.is_unix);
	assert_string_equal(a.path, "/run/redis/redis.sock");
	assert_int_equal(a.db, 0);
	a = good("unix:///run/r%20s@1.sock?db=7");
	assert_string_equal(a.path, "/run/r s@1.sock");
	assert_int_equal(a.db, 7);
}

static void test_refused(void **state)
{
	char url[1100] = "redis://:";

	(void)state;
	bad("", "redis:// or unix://");
	bad("h:6379", "redis:// or unix://");
	bad("http://h", "redis:// or unix://");
	bad("rediss://:geheim@h", "stunnel");
	bad("redis+cluster://h", "Cluster");
	bad("redis://a:1,b:2", "Cluster");
	bad("redis+sentinel://h", "Sentinel");
	bad("redis://", "no host");
	bad("redis://:geheim@", "no host");
	bad("redis://geheim@h", "without a password");
	bad("redis://h:0", "port");
	bad("redis://h:65536", "port");
	bad("redis://h:geheim", "port");
	bad("redis://[::1", "no host");
	bad("redis://[::1]6379", "port");
	bad("redis://h/geheim", "number");
	bad("redis://h/16384", "number");
	bad("redis://h/1?x=1", "parameter");
	bad("redis://h/1?db=-1", "number");
	bad("redis://me:geheim%@h", "escaped");
	bad("redis://me:geheim%2@h", "escaped");
	bad("redis://me:geheim%00@h", "escaped");
	bad("redis://h x", "blank");
	bad("redis://h$", "name or an address");
	bad("unix://run/r.sock", "full path");
	bad("unix:///", "full path");
	bad("unix://", "full path");
	memset(url + 9, 'g', 1000);
	memcpy(url + 1009, "@h", 3);
	bad(url, "too long");
	memcpy(url, "unix:///", 8);
	bad(url, "too long");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_servers),
	    cmocka_unit_test(test_users),
	    cmocka_unit_test(test_sockets),
	    cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
