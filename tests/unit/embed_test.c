/* SPDX-License-Identifier: MIT */
/*
 * Tests of worker/agents/embed.c over real sockets: a server on the same loop answers with vectors of its own making,
 * so that batches, order, memory, bills and every kind of refusal are seen.
 */
#include <math.h>

#include "common/clock.h"
#include "common/json.h"
#include "tests/unit/agent_harness.h"

enum says { SAY_VECTORS, SAY_REVERSED, SAY_500, SAY_429, SAY_GARBAGE, SAY_SHORT, SAY_ZERO };

/* What the provider says next, and what it has heard since. */
static struct {
	enum says what;
	int requests;
	size_t texts; /* of the last request */
	bool keyed;
} say;

/* The vector of a text: its length and its first byte. */
static json_t *vector_of(const char *text)
{
	if (say.what == SAY_ZERO)
		return json_pack("[i, i]", 0, 0);
	return json_pack("[f, i]", (double)strlen(text), (int)(unsigned char)text[0]);
}

static json_t *vectors(const json_t *input)
{
	size_t n = json_array_size(input), i;
	json_t *data = json_array();

	for (i = 0; i < n; i++) {
		size_t k = say.what == SAY_REVERSED ? n - 1 - i : i;

		json_array_append_new(data, json_pack("{s:i, s:o}", "index", (int)k, "embedding",
						      vector_of(json_string_value(json_array_get(input, k)))));
	}
	if (say.what == SAY_SHORT)
		json_array_remove(data, 0);
	return json_pack("{s:o, s:{s:i}}", "data", data, "usage", "prompt_tokens", (int)(1000 * n));
}

static void answer(struct str body)
{
	struct error err = ERROR_INIT;
	struct arena *a = arena_new(0);
	const json_t *doc = json_parse(a, body, &err);
	struct str text = STR("{}");

	assert_non_null(doc);
	assert_string_equal(json_string_value(json_object_get(doc, "model")), "text-embedding-3-small");
	say.requests++;
	say.texts = json_array_size(json_object_get(doc, "input"));
	say.keyed = strstr(server.request.p, "Authorization: Bearer sk-embed\r\n") != NULL &&
		    strncmp(server.request.p, "POST /v1/embeddings ", 20) == 0;
	if (say.what == SAY_GARBAGE)
		text = STR("{\"data\": 5}");
	else if (say.what != SAY_500 && say.what != SAY_429)
		text = json_text(a, json_own(a, vectors(json_object_get(doc, "input"))));
	text = arena_printf(a, "HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%.*s",
			    say.what == SAY_500   ? "500 Oops"
			    : say.what == SAY_429 ? "429 Slow down"
						  : "200 OK",
			    text.n, STR_ARG(text));
	assert_int_equal(write(server.fd, text.p, text.n), text.n);
	arena_free(a);
	server_close();
}

static int setup(void **state)
{
	char url[64];
	const struct conf_override o[] = {
	    {"embeddings.url", url},
	    {"embeddings.api_key", "sk-embed"},
	    {"embeddings.price", "20000"},
	    {"debates.breaker_failures", "3"},
	};

	(void)state;
	provider_begin(answer);
	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/v1/", server.port);
	agents_begin(o, countof(o));
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
	bool ok;
} the;

static void run(void *arg)
{
	(void)arg;
	the.ok = embed_texts_billed(&w, the.a, the.org, the.texts, the.n, &the.v, &the.dim, &the.bill, &the.err);
}

static bool embed_for(struct str org, enum says what, const struct str *texts, size_t n)
{
	arena_free(the.a);
	the = (struct one_call){.a = arena_new(0), .org = org, .texts = texts, .n = n, .err = ERROR_INIT};
	say.what = what;
	say.requests = 0;
	spawn(run, NULL);
	run_all();
	return the.ok;
}

static bool embed(enum says what, const struct str *texts, size_t n)
{
	return embed_for(STR("org-a"), what, texts, n);
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
	assert_true(say.keyed);
	assert_int_equal(say.requests, 1);
	assert_int_equal(say.texts, 2);
	is_vector_of(0, "tea");
	is_vector_of(2, "coffee");
	assert_true(fabs((double)the.v[2]) + fabs((double)the.v[3]) == 0);
	assert_int_equal(the.bill.tokens, 2000);
	assert_int_equal(the.bill.cost_micro, 40);
	assert_true(fabs(embed_cosine(the.v, the.v, 2) - 1) < 1e-6);
	assert_true(embed(SAY_VECTORS, second, 3));
	assert_int_equal(say.texts, 1);
	is_vector_of(0, "coffee");
	is_vector_of(1, "water");
	is_vector_of(2, "tea");
	assert_true(embed(SAY_500, second, 3)); /* nobody is asked */
	assert_int_equal(say.requests, 0);
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
	assert_int_equal(say.requests, 1);
	assert_true(embed_for(STR("org-b"), SAY_500, secret, 1));
	assert_true(embed_for(STR(""), SAY_VECTORS, secret, 1)); /* a job for many remembers nothing */
	assert_true(embed_for(STR(""), SAY_VECTORS, secret, 1));
	assert_int_equal(say.requests, 1);
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
	assert_int_equal(say.requests, 3);
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
		assert_int_equal(say.requests, 1);
		assert_int_equal(the.err.code, ERR_UNAVAILABLE);
	}
	assert_false(embed(SAY_VECTORS, &text, 1));
	assert_int_equal(say.requests, 0); /* three failures: the breaker is open */
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
	failed = cmocka_run_group_tests(tests, setup, agents_end);

	arena_free(the.a);
	return failed;
}
