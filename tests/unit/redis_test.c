/* SPDX-License-Identifier: MIT */
/*
 * The Redis client against a real redis-server on a socket in a temporary folder: answers, deadlines, what a lost,
 * frozen, refusing or clustered server means, subscriptions over a restart.
 */
#include "common/redis.h"

#include <setjmp.h>
#include <stdarg.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"

#define PATIENCE (20 * SEC_US)

struct place {
	char dir[64];
	pid_t server;
	struct loop *loop;
	struct lane *lane;
	struct redis *redis;
	struct redis_options o;
	unsigned ups, subscribed, messages;
	char last[64];
	bool over;
};

static void server_start(struct place *p, const char *option, const char *value)
{
	char socket[80];
	int null;

	(void)snprintf(socket, sizeof(socket), "%s/r.sock", p->dir);
	p->server = fork();
	assert_int_not_equal(p->server, -1);
	if (p->server != 0)
		return;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	(void)dup2(null, 1);
	(void)dup2(null, 2);
	execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--dir", p->dir,
	       option != NULL ? option : "--loglevel", value != NULL ? value : "warning", (char *)NULL);
	_exit(127);
}

static void server_stop(struct place *p)
{
	int status;

	if (p->server <= 0)
		return;
	kill(p->server, SIGKILL);
	assert_int_equal(waitpid(p->server, &status, 0), p->server);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		fail_msg("redis-server cannot be run: sh packaging/install-deps.sh test");
	p->server = 0;
}

static int setup(void **state)
{
	struct place *p = xcalloc(1, sizeof(*p));
	char url[96];
	struct error err;

	(void)snprintf(p->dir, sizeof(p->dir), "/tmp/redis_test.XXXXXX");
	if (mkdtemp(p->dir) == NULL)
		return -1;
	(void)snprintf(url, sizeof(url), "unix://%s/r.sock?db=3", p->dir);
	if (!redis_url_parse(str_of(url), &p->o.address, &err))
		return -1;
	p->o.timeout_us = 300 * MS_US;
	p->o.retry_us = 200 * MS_US;
	p->o.name = "test";
	p->loop = loop_new();
	co_init(p->loop, 0, 0);
	p->lane = lane_new(p->loop, "slow", 1, 16);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;
	char path[96];
	int i;

	redis_close(p->redis);
	for (i = 0; i < 4; i++)
		loop_turn(p->loop, false);
	lane_free(p->lane);
	co_shutdown();
	loop_free(p->loop);
	server_stop(p);
	(void)snprintf(path, sizeof(path), "rm -rf %s", p->dir);
	i = system(path);
	free(p);
	return i;
}

static void turn_until(struct place *p, bool (*what)(const struct place *p))
{
	int64_t end = clock_mono_us() + PATIENCE;

	while (!what(p)) {
		if (clock_mono_us() > end)
			fail_msg("it did not come");
		loop_turn(p->loop, false);
		usleep(500);
	}
}

static bool is_up(const struct place *p)
{
	return redis_healthy(p->redis, NULL);
}

static bool is_down(const struct place *p)
{
	return !redis_healthy(p->redis, NULL);
}

static bool is_over(const struct place *p)
{
	return p->over;
}

static void run(struct place *p, void (*fn)(void *arg))
{
	p->over = false;
	assert_non_null(co_spawn("test", fn, p));
	turn_until(p, is_over);
}

static void serve(struct place *p)
{
	server_start(p, NULL, NULL);
	p->redis = redis_open(p->loop, p->lane, &p->o);
	turn_until(p, is_up);
}

/* ---- commands ---- */

static struct redis_value ask(struct place *p, struct arena *a, struct str x, struct str y, struct str z)
{
	const struct str words[] = {x, y, z};
	struct redis_value v = {0};
	struct error err = ERROR_INIT;

	if (!redis_command(p->redis, a, words, z.p != NULL ? 3 : y.p != NULL ? 2 : 1, 0, &v, &err))
		fail_msg("%.*s: %s", STR_ARG(x), err.msg);
	return v;
}

static void talk(void *arg)
{
	struct place *p = arg;
	struct arena *a = arena_new(0);
	struct redis_value v;
	struct error err = ERROR_INIT;

	assert_int_equal(ask(p, a, STR("GET"), STR("k"), STR_NONE).type, REDIS_NIL);
	assert_true(str_eqz(ask(p, a, STR("SET"), STR("k"), STR("a\0b\r\n")).s, "OK"));
	v = ask(p, a, STR("GET"), STR("k"), STR_NONE);
	assert_int_equal(v.type, REDIS_TEXT);
	assert_true(str_eq(v.s, STR("a\0b\r\n")));
	v = ask(p, a, STR("INCR"), STR("n"), STR_NONE);
	assert_int_equal(v.type, REDIS_INT);
	assert_int_equal(v.i, 1);
	v = ask(p, a, STR("KEYS"), STR("k"), STR_NONE); /* of an array the first */
	assert_true(str_eqz(v.s, "k"));
	assert_false(redis_command(p->redis, a, REDIS_WORDS(STR("INCR"), STR("k")), 0, &v, &err));
	assert_int_equal(err.code, ERR_INTERNAL);
	assert_non_null(strstr(err.msg, "not an integer"));
	/* The number of the database was taken from the address. */
	assert_true(str_find(ask(p, a, STR("INFO"), STR("keyspace"), STR_NONE).s, STR("db3:keys=2")) >= 0);
	assert_true(str_find(ask(p, a, STR("CLIENT"), STR("LIST"), STR_NONE).s, STR("name=test")) >= 0);
	arena_free(a);
	p->over = true;
}

static void test_answers(void **state)
{
	serve(*state);
	run(*state, talk);
}

static void ask_in_vain(void *arg)
{
	struct place *p = arg;
	struct arena *a = arena_new(0);
	struct redis_value v;
	struct error err = ERROR_INIT;
	int64_t began = clock_mono_us();

	assert_false(redis_command(p->redis, a, REDIS_WORDS(STR("PING")), 50 * MS_US, &v, &err));
	assert_int_equal(err.code, ERR_UNAVAILABLE);
	assert_in_range(clock_mono_us() - began, 0, 10 * SEC_US);
	arena_free(a);
	p->over = true;
}

static void test_frozen_server(void **state)
{
	struct place *p = *state;
	struct error err = ERROR_INIT;

	serve(p);
	kill(p->server, SIGSTOP);
	run(p, ask_in_vain);
	assert_true(is_up(p)); /* one command's own deadline is not the connection's */
	turn_until(p, is_down);
	assert_false(redis_healthy(p->redis, &err));
	assert_non_null(strstr(err.msg, "does not answer"));
	run(p, ask_in_vain); /* at once now */
	kill(p->server, SIGCONT);
	turn_until(p, is_up);
	run(p, talk);
}

static void ask_a_dying_one(void *arg)
{
	struct place *p = arg;
	struct arena *a = arena_new(0);
	struct redis_value v;
	struct error err = ERROR_INIT;

	assert_false(redis_command(p->redis, a, REDIS_WORDS(STR("DEBUG"), STR("SLEEP"), STR("60")), 0, &v, &err) &&
		     v.type != REDIS_TEXT);
	assert_int_equal(err.code, ERR_UNAVAILABLE);
	arena_free(a);
	p->over = true;
}

static void test_lost_while_waiting(void **state)
{
	struct place *p = *state;

	serve(p);
	kill(p->server, SIGSTOP);
	p->over = false;
	assert_non_null(co_spawn("test", ask_a_dying_one, p));
	loop_turn(p->loop, false);
	loop_turn(p->loop, false);
	server_stop(p);
	turn_until(p, is_over);
	turn_until(p, is_down);
	server_start(p, NULL, NULL);
	turn_until(p, is_up);
	run(p, talk);
}

static void why_not(struct place *p, const char *option, const char *value, const char *why)
{
	struct error err = ERROR_INIT;
	int64_t end = clock_mono_us() + PATIENCE;

	server_start(p, option, value);
	/* The server's socket appears in its own time. */
	while (redis_check(&p->o, &err) || strstr(err.msg, why) == NULL) {
		if (clock_mono_us() > end)
			fail_msg("not \"%s\" but: %s", why, err.msg);
		usleep(1000);
	}
	assert_int_equal(err.code, ERR_UNAVAILABLE);
	server_stop(p);
}

static void test_refusals(void **state)
{
	struct place *p = *state;
	struct error err = ERROR_INIT;

	assert_false(redis_check(&p->o, &err));
	assert_string_equal(err.msg, "redis: cannot connect: No such file or directory");
	why_not(p, "--requirepass", "right", "NOAUTH");
	why_not(p, "--databases", "2", "DB index is out of range");
	p->o.address.db = 0;
	why_not(p, "--cluster-enabled", "yes", "Redis Cluster");
	(void)snprintf(p->o.address.password, sizeof(p->o.address.password), "wrong");
	why_not(p, "--requirepass", "right", "refuses user or password");
	(void)snprintf(p->o.address.user, sizeof(p->o.address.user), "nobody");
	why_not(p, "--requirepass", "right", "refuses user or password");
}

static void test_password(void **state)
{
	struct place *p = *state;

	(void)snprintf(p->o.address.user, sizeof(p->o.address.user), "default");
	(void)snprintf(p->o.address.password, sizeof(p->o.address.password), "right");
	server_start(p, "--requirepass", "right");
	p->redis = redis_open(p->loop, p->lane, &p->o);
	turn_until(p, is_up);
	run(p, talk);
}

/* ---- names and addresses ---- */

static void test_names_are_resolved_in_the_lane(void **state)
{
	struct place *p = *state;
	struct error err = ERROR_INIT;

	assert_true(redis_url_parse(STR("redis://localhost:1"), &p->o.address, &err));
	assert_false(redis_check(&p->o, &err));
	assert_string_equal(err.msg, "redis: cannot connect: Connection refused");
	assert_true(redis_url_parse(STR("redis://[::1]:1"), &p->o.address, &err));
	assert_false(redis_check(&p->o, &err));
	assert_non_null(strstr(err.msg, "cannot connect"));
	assert_true(redis_url_parse(STR("redis://no-such-host.invalid"), &p->o.address, &err));
	assert_false(redis_check(&p->o, &err));
	assert_non_null(strstr(err.msg, "name"));
	/* Closed while the name is being looked up. */
	p->redis = redis_open(p->loop, p->lane, &p->o);
	loop_turn(p->loop, false);
}

/* ---- subscriptions ---- */

static void on_sub_message(void *arg, struct str channel, struct str text)
{
	struct place *p = arg;

	p->messages++;
	(void)snprintf(p->last, sizeof(p->last), "%.*s=%.*s", STR_ARG(channel), STR_ARG(text));
}

static void on_sub_subscribed(void *arg, struct str channel)
{
	struct place *p = arg;

	assert_true(str_eqz(channel, "c"));
	p->subscribed++;
}

static void on_sub_up(void *arg)
{
	struct place *p = arg;

	p->ups++;
	assert_true(redis_subscribe(p->redis, STR("c")));
}

static const struct redis_sub_ops sub_ops = {on_sub_message, on_sub_subscribed, on_sub_up};

static bool subscribed_once(const struct place *p)
{
	return p->subscribed == 1 && is_up(p);
}

static bool subscribed_twice(const struct place *p)
{
	return p->subscribed == 2 && is_up(p);
}

static bool one_message(const struct place *p)
{
	return p->messages == 1;
}

static bool two_messages(const struct place *p)
{
	return p->messages == 2;
}

static void test_subscriptions_over_a_restart(void **state)
{
	struct place *p = *state;
	int64_t end;

	server_start(p, NULL, NULL);
	p->redis = redis_open(p->loop, p->lane, &p->o);
	redis_listen(p->redis, &sub_ops, p);
	assert_false(redis_publish(p->redis, STR("c"), STR("too early")));
	turn_until(p, subscribed_once);
	assert_true(redis_publish(p->redis, STR("other"), STR("not ours")));
	assert_true(redis_publish(p->redis, STR("c"), STR("one")));
	turn_until(p, one_message);
	assert_string_equal(p->last, "c=one");
	server_stop(p);
	turn_until(p, is_down);
	server_start(p, NULL, NULL);
	turn_until(p, subscribed_twice);
	assert_int_equal(p->ups, 2);
	assert_true(redis_publish(p->redis, STR("c"), STR("two")));
	turn_until(p, two_messages);
	/* A silent channel is kept alive by pings, which are no messages. */
	for (end = clock_mono_us() + 2500 * MS_US; clock_mono_us() < end; usleep(1000))
		loop_turn(p->loop, false);
	assert_true(is_up(p));
	assert_int_equal(p->ups, 2);
	assert_int_equal(p->messages, 2);
	redis_unsubscribe(p->redis, STR("c"));
	assert_true(redis_publish(p->redis, STR("c"), STR("three")));
	run(p, talk);
	assert_int_equal(p->messages, 2);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_answers),
	    TEST(test_frozen_server),
	    TEST(test_lost_while_waiting),
	    TEST(test_refusals),
	    TEST(test_password),
	    TEST(test_names_are_resolved_in_the_lane),
	    TEST(test_subscriptions_over_a_restart),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
