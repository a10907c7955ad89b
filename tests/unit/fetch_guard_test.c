/* SPDX-License-Identifier: MIT */
/*
 * Guarded transfers: names that resolve to inside addresses are not called, whatever they resolved to before. The
 * resolver is replaced here, so that a name means what the test wants. Built and run by `make unit`.
 */
#include "common/fetch.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/guard.h"
#include "common/lane.h"
#include "tests/unit/co_harness.h"

/* ---- the resolver ---- */

static const struct {
	const char *name;
	const char *first, *second; /* addresses; with `turns` the answer of the first call and of all later ones */
	bool turns;
} names[] = {
    {"public.example", "93.184.216.34", NULL, false},
    {"inside.example", "127.0.0.1", NULL, false},
    {"inside6.example", "::1", NULL, false},
    {"mapped.example", "::ffff:10.0.0.1", NULL, false},
    {"metadata.example", "169.254.169.254", NULL, false},
    {"mixed.example", "93.184.216.34", "192.168.7.7", false},
    {"rebinding.example", "93.184.216.34", "127.0.0.1", true},
};
static atomic_uint asked;

static struct addrinfo *address(const char *text, struct addrinfo *next)
{
	struct addrinfo *a = xcalloc(1, sizeof(*a) + sizeof(struct sockaddr_in6));
	void *room = a + 1;

	a->ai_next = next;
	a->ai_addr = room;
	if (strchr(text, ':') != NULL) {
		struct sockaddr_in6 sa = {.sin6_family = AF_INET6};

		assert_int_equal(inet_pton(AF_INET6, text, &sa.sin6_addr), 1);
		a->ai_addrlen = sizeof(sa);
		memcpy(room, &sa, sizeof(sa));
	} else {
		struct sockaddr_in sa = {.sin_family = AF_INET};

		assert_int_equal(inet_pton(AF_INET, text, &sa.sin_addr), 1);
		a->ai_addrlen = sizeof(sa);
		memcpy(room, &sa, sizeof(sa));
	}
	a->ai_family = a->ai_addr->sa_family;
	return a;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res)
{
	(void)service;
	(void)hints;
	for (size_t i = 0; i < countof(names); i++) {
		unsigned n;

		if (strcasecmp(names[i].name, node) != 0)
			continue;
		n = atomic_fetch_add(&asked, 1);
		if (names[i].turns)
			*res = address(n == 0 ? names[i].first : names[i].second, NULL);
		else
			*res = address(names[i].first, names[i].second != NULL ? address(names[i].second, NULL) : NULL);
		return 0;
	}
	return EAI_NONAME;
}

void freeaddrinfo(struct addrinfo *a)
{
	while (a != NULL) {
		struct addrinfo *next = a->ai_next;

		free(a);
		a = next;
	}
}

/* ---- the victim: whoever reaches it has passed the guard ---- */

static int victim, victim_port;
static atomic_uint reached;
static pthread_t victim_thread;

static void *victim_work(void *arg)
{
	static const char reply[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
	char text[4096];
	int fd;

	(void)arg;
	while ((fd = accept(victim, NULL, NULL)) != -1) {
		atomic_fetch_add(&reached, 1);
		if (recv(fd, text, sizeof(text), 0) > 0)
			(void)!send(fd, reply, sizeof(reply) - 1, MSG_NOSIGNAL);
		close(fd);
	}
	return NULL;
}

static int start_victim(void **state)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(addr);

	(void)state;
	victim = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	BUG_ON(bind(victim, (struct sockaddr *)&addr, sizeof(addr)) != 0 || listen(victim, 8) != 0);
	BUG_ON(getsockname(victim, (struct sockaddr *)&addr, &size) != 0);
	victim_port = ntohs(addr.sin_port);
	return pthread_create(&victim_thread, NULL, victim_work, NULL);
}

static int stop_victim(void **state)
{
	(void)state;
	shutdown(victim, SHUT_RDWR);
	pthread_join(victim_thread, NULL);
	close(victim);
	return 0;
}

/* ---- calls ---- */

struct call {
	const struct guard *guard;
	char url[128];
	bool ok, asked_first; /* asked_first: fetch_may_call comes before */
	bool may;
	struct error err;
	struct fetch_response resp;
};

static struct lane *slow;
static struct fetch *client;
static struct arena *arena;

static void do_call(void *arg)
{
	struct call *c = arg;
	struct co_scope scope = {.kind = SCOPE_CALL, .deadline = clock_mono_us() + 5 * SEC_US};

	co_scope_enter(&scope);
	if (c->asked_first)
		c->may = fetch_may_call(client, c->guard, str_of(c->url), SEC_US, &c->err);
	c->ok = fetch_do(client, arena,
			 &(struct fetch_request){.method = "POST", .url = str_of(c->url), .guard = c->guard}, &c->resp);
	co_scope_leave(&scope);
}

static void run(struct call *c)
{
	atomic_store(&asked, 0);
	atomic_store(&reached, 0);
	spawn(do_call, c);
	run_all();
}

static struct guard *guard_with(const char *net)
{
	char *v[1] = {(char *)(uintptr_t)net};

	return guard_new(&(struct conf_list){v, net != NULL}, true);
}

static void test_inside_names(void **state)
{
	static const char *const urls[][2] = {{"http://inside.example/", "127.0.0.1, which is a loopback"},
					      {"http://inside6.example/", "::1, which is a loopback"},
					      {"http://mapped.example/", "10.0.0.1, which is a private"},
					      {"http://metadata.example/", "metadata service"},
					      {"http://mixed.example/", "192.168.7.7, which is a private"},
					      {"https://mixed.example/", "192.168.7.7, which is a private"},
					      {"http://127.0.0.1/", "127.0.0.1, which is a loopback"},
					      {"http://public.example:25/", "on that port"},
					      {"http://user@public.example/", "password"}};
	struct guard *g = guard_with(NULL);

	(void)state;
	for (size_t i = 0; i < countof(urls); i++) {
		struct call c = {.guard = g, .asked_first = true};

		(void)snprintf(c.url, sizeof(c.url), "%s", urls[i][0]);
		run(&c);
		if (c.may || c.ok || c.resp.fail != FETCH_BLOCKED || c.resp.sent ||
		    strstr(c.resp.detail, urls[i][1]) == NULL || strstr(c.err.msg, urls[i][1]) == NULL)
			fail_msg("%s: %d \"%s\" \"%s\"", urls[i][0], (int)c.resp.fail, c.resp.detail, c.err.msg);
		assert_int_equal(atomic_load(&reached), 0);
	}
	guard_free(g);
}

/* The name was public when it was registered and is ours when it is called. */
static void test_rebinding(void **state)
{
	struct guard *g = guard_with(NULL);
	struct call c = {.guard = g, .asked_first = true, .url = "http://rebinding.example/"};

	(void)state;
	run(&c);
	assert_true(c.may);
	assert_int_equal(atomic_load(&asked), 2); /* the transfer asks once, and calls what it judged */
	assert_int_equal(c.resp.fail, FETCH_BLOCKED);
	assert_int_equal(atomic_load(&reached), 0);
	guard_free(g);
}

static void test_unknown(void **state)
{
	struct guard *g = guard_with(NULL);
	struct call c = {.guard = g, .asked_first = true, .url = "https://nobody.example/"};

	(void)state;
	run(&c);
	assert_false(c.may);
	assert_non_null(strstr(c.err.msg, "cannot resolve"));
	assert_int_equal(c.resp.fail, FETCH_DNS);
	guard_free(g);
}

static void test_listed(void **state)
{
	struct guard *g = guard_with("127.0.0.0/8");
	static const char *const hosts[] = {"inside.example", "127.0.0.1"};

	(void)state;
	for (size_t i = 0; i < countof(hosts); i++) {
		struct call c = {.guard = g, .asked_first = true};

		(void)snprintf(c.url, sizeof(c.url), "http://%s:%d/", hosts[i], victim_port);
		run(&c);
		assert_true(c.may);
		assert_true(c.ok);
		assert_int_equal(c.resp.status, 200);
		assert_int_equal(atomic_load(&reached), 1);
	}
	guard_free(g);
}

/* What the operator configures is not judged. */
static void test_unguarded(void **state)
{
	struct call c = {.guard = NULL};

	(void)state;
	(void)snprintf(c.url, sizeof(c.url), "http://inside.example:%d/", victim_port);
	run(&c);
	assert_true(c.ok);
	assert_int_equal(atomic_load(&reached), 1);
}

static int set_up(void **state)
{
	(void)state;
	loop_begin();
	slow = lane_new(loop, "slow", 1, 16);
	client = fetch_open(loop, slow, slow);
	arena = arena_new(0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	arena_free(arena);
	fetch_close(client);
	lane_free(slow);
	loop_end();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_inside_names, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_rebinding, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_unknown, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_listed, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_unguarded, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, start_victim, stop_victim);
}
