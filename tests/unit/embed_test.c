/* SPDX-License-Identifier: MIT */
/*
 * Tests of worker/agents/embed.c over real sockets: a server on the same loop answers with vectors of its own making,
 * so that batches, order, memory, bills and every kind of refusal are seen.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/metrics.h"
#include "worker/agents/agents.h"

static struct worker w;
static struct shm *shm;
static struct event listener;
static int listen_fd;

enum says { SAY_VECTORS, SAY_REVERSED, SAY_500, SAY_429, SAY_GARBAGE, SAY_SHORT, SAY_ZERO };

static struct {
	enum says say;
	int requests;
	size_t texts; /* of the last request */
	struct buf in;
	struct event ev;
	int fd;
	bool keyed;
} server;

static void server_close(void)
{
	if (server.fd < 0)
		return;
	event_del(&server.ev);
	close(server.fd);
	server.fd = -1;
}

/* The vector of a text: its length and its first byte. */
static json_t *vector_of(const char *text)
{
	if (server.say == SAY_ZERO)
		return json_pack("[i, i]", 0, 0);
	return json_pack("[f, i]", (double)strlen(text), (int)(unsigned char)text[0]);
}

static json_t *answer(const json_t *input)
{
	size_t n = json_array_size(input), i;
	json_t *data = json_array();

	for (i = 0; i < n; i++) {
		size_t k = server.say == SAY_REVERSED ? n - 1 - i : i;

		json_array_append_new(data, json_pack("{s:i, s:o}", "index", (int)k, "embedding",
						      vector_of(json_string_value(json_array_get(input, k)))));
	}
	if (server.say == SAY_SHORT)
		json_array_remove(data, 0);
	return json_pack("{s:o, s:{s:i}}", "data", data, "usage", "prompt_tokens", (int)(1000 * n));
}

static void server_reply(struct str body)
{
	struct error err = ERROR_INIT;
	struct arena *a = arena_new(0);
	const json_t *doc = json_parse(a, body, &err);
	struct str text = STR("{}");

	assert_non_null(doc);
	assert_string_equal(json_string_value(json_object_get(doc, "model")), "text-embedding-3-small");
	server.requests++;
	server.texts = json_array_size(json_object_get(doc, "input"));
	server.keyed = strstr(server.in.p, "Authorization: Bearer sk-embed\r\n") != NULL &&
		       strncmp(server.in.p, "POST /v1/embeddings ", 20) == 0;
	if (server.say == SAY_GARBAGE)
		text = STR("{\"data\": 5}");
	else if (server.say != SAY_500 && server.say != SAY_429)
		text = json_text(a, json_own(a, answer(json_object_get(doc, "input"))));
	text = arena_printf(a, "HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%.*s",
			    server.say == SAY_500   ? "500 Oops"
			    : server.say == SAY_429 ? "429 Slow down"
						    : "200 OK",
			    text.n, STR_ARG(text));
	assert_int_equal(write(server.fd, text.p, text.n), text.n);
	arena_free(a);
	server_close();
}

static void server_read(evutil_socket_t fd, short what, void *arg)
{
	char *head, *length, *room = buf_reserve(&server.in, 65536);
	ssize_t n = read(fd, room, 65536);

	(void)what;
	(void)arg;
	if (n <= 0) {
		server_close();
		return;
	}
	buf_commit(&server.in, (size_t)n);
	head = strstr(server.in.p, "\r\n\r\n");
	length = strcasestr(server.in.p, "content-length: ");
	if (head != NULL && length != NULL &&
	    server.in.n >= (size_t)(head + 4 - server.in.p) + strtoul(length + 16, NULL, 10))
		server_reply(str_of(head + 4));
}

static void server_accept(evutil_socket_t fd, short what, void *arg)
{
	(void)what;
	(void)arg;
	server_close();
	server.fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(server.fd >= 0);
	buf_clear(&server.in);
	event_assign(&server.ev, loop_base(w.loop), server.fd, EV_READ | EV_PERSIST, server_read, NULL);
	event_add(&server.ev, NULL);
}

static int setup(void **state)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(a);
	struct buf report = BUF_INIT;
	char url[64];
	const struct conf_override o[] = {
	    {"embeddings.url", url},
	    {"embeddings.api_key", "sk-embed"},
	    {"embeddings.price", "20000"},
	    {"debates.breaker_failures", "3"},
	};

	(void)state;
	w = (struct worker){.loop = loop_new()};
	listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listen_fd, (struct sockaddr *)&a, n), 0);
	assert_int_equal(listen(listen_fd, 16), 0);
	assert_int_equal(getsockname(listen_fd, (struct sockaddr *)&a, &n), 0);
	server.fd = -1;
	event_assign(&listener, loop_base(w.loop), listen_fd, EV_READ | EV_PERSIST, server_accept, NULL);
	event_add(&listener, NULL);
	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/v1/", ntohs(a.sin_port));
	w.conf = conf_load(NULL, false, o, countof(o), &report);
	assert_non_null(w.conf);
	buf_free(&report);
	shm = shm_create();
	atomic_store(&shm->slots_used, 1U);
	metrics_attach(shm, 0);
	co_init(w.loop, 0, 0);
	w.slow = lane_new(w.loop, "slow", 1, 64);
	w.fetch = fetch_open(w.loop, w.slow, w.slow);
	w.agents = agents_open(&w);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	server_close();
	buf_free(&server.in);
	event_del(&listener);
	close(listen_fd);
	agents_close(w.agents);
	fetch_close(w.fetch);
	lane_free(w.slow);
	co_shutdown();
	loop_free(w.loop);
	conf_unref((struct conf *)(uintptr_t)w.conf);
	return 0;
}

static struct one_call {
	struct arena *a;
	struct str org;
	const struct str *texts;
	size_t n, dim;
	float *v;
	struct embed_bill bill;
	struct error err;
	bool ok, done;
} the;

static void run(void *arg)
{
	(void)arg;
	the.ok = embed_texts_billed(&w, the.a, the.org, the.texts, the.n, &the.v, &the.dim, &the.bill, &the.err);
	the.done = true;
}

static bool embed_for(struct str org, enum says say, const struct str *texts, size_t n)
{
	arena_free(the.a);
	the = (struct one_call){.a = arena_new(0), .org = org, .texts = texts, .n = n, .err = ERROR_INIT};
	server.say = say;
	server.requests = 0;
	assert_non_null(co_spawn("embed", run, NULL));
	while (!the.done)
		loop_turn(w.loop, true);
	return the.ok;
}

static bool embed(enum says say, const struct str *texts, size_t n)
{
	return embed_for(STR("org-a"), say, texts, n);
}

static void is_vector_of(size_t i, const char *text)
{
	double x = (double)strlen(text), y = (unsigned char)text[0], norm = sqrt(x * x + y * y);

	assert_int_equal(the.dim, 2);
	assert_true(fabs(the.v[2 * i] - x / norm) < 1e-6);
	assert_true(fabs(the.v[2 * i + 1] - y / norm) < 1e-6);
}

static void test_vectors_and_memory(void **state)
{
	static const struct str first[] = {STR("tea"), STR("  "), STR("coffee")};
	static const struct str second[] = {STR("coffee"), STR("water"), STR(" tea ")};

	(void)state;
	assert_true(embed(SAY_VECTORS, first, 3));
	assert_true(server.keyed);
	assert_int_equal(server.requests, 1);
	assert_int_equal(server.texts, 2);
	is_vector_of(0, "tea");
	is_vector_of(2, "coffee");
	assert_true(fabs((double)the.v[2]) + fabs((double)the.v[3]) == 0);
	assert_int_equal(the.bill.tokens, 2000);
	assert_int_equal(the.bill.cost_micro, 40);
	assert_true(fabs(embed_cosine(the.v, the.v, 2) - 1) < 1e-6);
	assert_true(embed(SAY_VECTORS, second, 3));
	assert_int_equal(server.texts, 1);
	is_vector_of(0, "coffee");
	is_vector_of(1, "water");
	is_vector_of(2, "tea");
	assert_true(embed(SAY_500, second, 3)); /* nobody is asked */
	assert_int_equal(server.requests, 0);
	assert_int_equal(the.bill.tokens, 0);
}

/* How long an answer takes must not tell what another organization has asked. */
static void test_each_organization_remembers_for_itself(void **state)
{
	static const struct str secret[] = {STR("the merger")};

	(void)state;
	assert_true(embed(SAY_VECTORS, secret, 1));
	assert_true(embed(SAY_500, secret, 1));
	assert_true(embed_for(STR("org-b"), SAY_VECTORS, secret, 1));
	assert_int_equal(server.requests, 1);
	assert_true(embed_for(STR("org-b"), SAY_500, secret, 1));
	assert_true(embed_for(STR(""), SAY_VECTORS, secret, 1)); /* a job for many remembers nothing */
	assert_true(embed_for(STR(""), SAY_VECTORS, secret, 1));
	assert_int_equal(server.requests, 1);
}

static void test_batches_in_any_order(void **state)
{
	struct str texts[40];
	char words[40][16];
	size_t i;

	(void)state;
	for (i = 0; i < countof(texts); i++) {
		(void)snprintf(words[i], sizeof(words[i]), "%c%.*s", (int)('a' + i % 26), (int)(i % 9), "xxxxxxxxx");
		texts[i] = str_of(words[i]);
	}
	assert_true(embed(SAY_REVERSED, texts, countof(texts)));
	assert_int_equal(server.requests, 3);
	for (i = 0; i < countof(texts); i++)
		is_vector_of(i, words[i]);
}

static void test_refusals_and_breaker(void **state)
{
	static const enum says bad[] = {SAY_GARBAGE, SAY_SHORT, SAY_ZERO};
	struct str text = STR("never seen");
	size_t i;

	(void)state;
	assert_false(embed(SAY_429, &text, 1));
	assert_int_equal(the.err.code, ERR_UNAVAILABLE);
	assert_non_null(strstr(the.err.msg, "429"));
	assert_false(embed(SAY_VECTORS, &text, 0));
	for (i = 0; i < countof(bad); i++) {
		assert_false(embed(bad[i], &text, 1));
		assert_int_equal(server.requests, 1);
		assert_int_equal(the.err.code, ERR_UNAVAILABLE);
	}
	assert_false(embed(SAY_VECTORS, &text, 1));
	assert_int_equal(server.requests, 0); /* three failures: the breaker is open */
	assert_non_null(strstr(the.err.msg, "breaker"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_vectors_and_memory),
	    cmocka_unit_test(test_each_organization_remembers_for_itself),
	    cmocka_unit_test(test_batches_in_any_order),
	    cmocka_unit_test(test_refusals_and_breaker),
	};
	static const char *const providers[] = {"openai", NULL};
	int failed;

	metrics_register(&(struct metric_labels){.agents = agents_known(), .providers = providers});
	failed = cmocka_run_group_tests(tests, setup, teardown);

	arena_free(the.a);
	return failed;
}
