/* SPDX-License-Identifier: MIT */
/*
 * Deliveries without network and store: what becomes of one after each kind of attempt, pauses, header fields of a
 * webhook. Built and run by `make unit`.
 */
#include "worker/delivery/outbox.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct delivery_policy policy = {
    .max_retries = 5, .base_ms = 1000, .cap_ms = 300000, .max_age_ms = 86400000};

static void test_pauses(void **state)
{
	static const int64_t pauses[] = {1000,  2000,   4000,   8000,   16000,  32000,
					 64000, 128000, 256000, 300000, 300000, 300000};

	(void)state;
	for (size_t i = 0; i < countof(pauses); i++) {
		assert_int_equal(delivery_pause(&policy, (int64_t)i + 1, 0), pauses[i]);
		assert_in_range(delivery_pause(&policy, (int64_t)i + 1, 999999), pauses[i] + pauses[i] / 4 - 1,
				pauses[i] + pauses[i] / 4);
	}
	assert_int_equal(delivery_pause(&policy, 1000, 0), 300000);
}

static const struct {
	struct delivery_attempt a;
	enum delivery_state state;
	int64_t at_ms;
	const char *why; /* part of it */
} cases[] = {
    {{.end = DELIVERY_DONE, .attempts = 6, .retry_after_ms = -1}, DELIVERY_DELIVERED, 0, ""},
    {{.end = DELIVERY_FAILED, .attempts = 1, .retry_after_ms = -1}, DELIVERY_RETRYING, 1000, ""},
    {{.end = DELIVERY_FAILED, .attempts = 5, .retry_after_ms = -1}, DELIVERY_RETRYING, 16000, ""},
    {{.end = DELIVERY_FAILED, .attempts = 6, .retry_after_ms = -1}, DELIVERY_DEAD, 0, "no attempt"},
    {{.end = DELIVERY_FAILED, .final = true, .attempts = 1, .retry_after_ms = -1}, DELIVERY_DEAD, 0, "for good"},
    {{.end = DELIVERY_FAILED, .attempts = 1, .retry_after_ms = 90000}, DELIVERY_RETRYING, 90000, ""},
    {{.end = DELIVERY_FAILED, .attempts = 3, .retry_after_ms = 1}, DELIVERY_RETRYING, 4000, ""},
    {{.end = DELIVERY_FAILED, .attempts = 1, .retry_after_ms = 86400001}, DELIVERY_DEAD, 0, "too old"},
    {{.end = DELIVERY_FAILED, .attempts = 1, .now_ms = 86400000, .retry_after_ms = -1}, DELIVERY_DEAD, 0, "too old"},
    /* What people would see twice is not sent twice. */
    {{.end = DELIVERY_UNCERTAIN, .attempts = 1, .retry_after_ms = -1}, DELIVERY_DEAD, 0, "nobody knows"},
    {{.end = DELIVERY_UNCERTAIN, .repeatable = true, .attempts = 1, .retry_after_ms = -1}, DELIVERY_RETRYING, 1000, ""},
    {{.end = DELIVERY_UNCERTAIN, .repeatable = true, .attempts = 6, .retry_after_ms = -1},
     DELIVERY_DEAD,
     0,
     "no attempt"},
    /* Deaths of the sender: at once, then slower, then not at all. */
    {{.end = DELIVERY_UNCERTAIN, .repeatable = true, .attempts = 1, .crashes = 1, .retry_after_ms = -1},
     DELIVERY_RETRYING,
     0,
     ""},
    {{.end = DELIVERY_UNCERTAIN, .repeatable = true, .attempts = 2, .crashes = 2, .retry_after_ms = -1},
     DELIVERY_RETRYING,
     1000,
     ""},
    {{.end = DELIVERY_UNCERTAIN, .repeatable = true, .attempts = 4, .crashes = 4, .retry_after_ms = -1},
     DELIVERY_RETRYING,
     4000,
     ""},
    {{.end = DELIVERY_UNCERTAIN, .repeatable = true, .attempts = 5, .crashes = 5, .retry_after_ms = -1},
     DELIVERY_DEAD,
     0,
     "five times"},
    {{.end = DELIVERY_UNCERTAIN, .attempts = 1, .crashes = 1, .retry_after_ms = -1}, DELIVERY_DEAD, 0, "nobody knows"},
};

static void test_decisions(void **state)
{
	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct delivery_next next = delivery_decide(&policy, &cases[i].a);

		if (next.state != cases[i].state || strstr(next.why, cases[i].why) == NULL ||
		    (next.state == DELIVERY_RETRYING && next.at_ms != cases[i].at_ms))
			fail_msg("case %zu: %s at %lld, \"%s\"", i, delivery_state_name(next.state),
				 (long long)next.at_ms, next.why);
	}
}

static struct str field(const struct fetch_header *h, size_t n, const char *name)
{
	size_t i;

	for (i = 0; i < n && strcmp(h[i].name, name) != 0; i++)
		;
	return i < n ? h[i].value : STR_NONE;
}

/* Signatures computed with Python's hmac module. */
static void test_webhook_fields(void **state)
{
	const struct delivery_row d = {.id = STR("dlv-1"),
				       .debate_id = STR("d-1"),
				       .event = STR("debate_end"),
				       .payload = STR("{\"delivery_id\": \"dlv-1\", \"x\": \"\\u00e4\"}")};
	struct fetch_header h[WEBHOOK_FIELDS];
	struct arena *a = arena_new(0);
	size_t n = webhook_fields(a, &d, STR("your-hmac-secret"), 1700000000999, h);

	(void)state;
	assert_true(str_eqz(field(h, n, "X-Webhook-Signature"),
			    "sha256=deff3cfaf9af905a5691f95e40cfab9ba6b07ffa03511119960d4fa2710d4e6e"));
	assert_true(str_eq(field(h, n, "X-Webhook-Signature"), field(h, n, "X-Aragora-Signature")));
	assert_true(str_eqz(field(h, n, "X-Webhook-Signature-V2"),
			    "t=1700000000,v1=3abf231006253ee99e83903fcdd089b226341b7f6f4e6165462b5d96ebb3bcea"));
	assert_true(str_eqz(field(h, n, "X-Webhook-Timestamp"), "1700000000"));
	assert_true(str_eqz(field(h, n, "X-Webhook-Delivery-Id"), "dlv-1"));
	n = webhook_fields(a, &d, STR(""), 0, h);
	assert_null(field(h, n, "X-Webhook-Signature").p);
	assert_null(field(h, n, "X-Webhook-Signature-V2").p);
	assert_true(str_eqz(field(h, n, "Idempotency-Key"), "dlv-1"));
	arena_free(a);
}

static void test_formats(void **state)
{
	(void)state;
	assert_true(delivery_format_find(STR("webhook"))->repeatable);
	assert_null(delivery_format_find(STR("pigeon")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_pauses), cmocka_unit_test(test_decisions),
					   cmocka_unit_test(test_webhook_fields), cmocka_unit_test(test_formats)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
