/* SPDX-License-Identifier: MIT */
/*
 * Tests of permessage-deflate: offers, what is compressed for which window, inflating at every split, cut and damaged
 * texts, final blocks, bombs, and messages that are built once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <zlib.h>

#include "worker/ws/ws_conn.h"

#define ANSWER "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

static void test_offers(void **state)
{
	static const struct {
		const char *offer, *answer; /* NULL: declined */
	} cases[] = {
	    {"permessage-deflate", ANSWER},
	    {"Permessage-Deflate", ANSWER},
	    {"permessage-deflate; client_max_window_bits", ANSWER},
	    {"permessage-deflate;client_max_window_bits=10", ANSWER "; client_max_window_bits=10"},
	    {"permessage-deflate; server_max_window_bits=8", ANSWER "; server_max_window_bits=8"},
	    {"permessage-deflate; server_max_window_bits=\"12\"", ANSWER "; server_max_window_bits=12"},
	    {"permessage-deflate ; server_max_window_bits = 9 ; client_max_window_bits=15",
	     ANSWER "; server_max_window_bits=9; client_max_window_bits=15"},
	    {"permessage-deflate; server_no_context_takeover; client_no_context_takeover", ANSWER},
	    {"x-webkit-deflate-frame, permessage-deflate", ANSWER},
	    {"foo; bar=\"baz\"; server_max_window_bits=99, permessage-deflate; server_max_window_bits=11",
	     ANSWER "; server_max_window_bits=11"},
	    {"permessage-deflate; mystery, permessage-deflate; client_max_window_bits=9",
	     ANSWER "; client_max_window_bits=9"},
	    {"", NULL},
	    {"permessage-bzip2", NULL},
	    {"permessage-deflate; mystery", NULL},
	    {"permessage-deflate; server_max_window_bits", NULL},
	    {"permessage-deflate; server_max_window_bits=7", NULL},
	    {"permessage-deflate; server_max_window_bits=16", NULL},
	    {"permessage-deflate; server_max_window_bits=08", NULL},
	    {"permessage-deflate; server_max_window_bits=1x", NULL},
	    {"permessage-deflate; client_max_window_bits=\"\"", NULL},
	    {"permessage-deflate; client_max_window_bits=0", NULL},
	    {"permessage-deflate; client_no_context_takeover=1", NULL},
	    {"permessage-deflate; server_no_context_takeover; server_no_context_takeover", NULL},
	    {"permessage-deflate; server_max_window_bits=\"9", NULL},
	    {"permessage-deflate;", NULL},
	    {"permessage-deflate foo", NULL},
	    {";permessage-deflate", NULL},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct ws_deflate d = {.on = false};
		bool ok = ws_deflate_offer(str_of(cases[i].offer), &d);
		char answer[192] = "";

		if (ok != (cases[i].answer != NULL) || ok != d.on)
			fail_msg("case %zu: \"%s\"", i, cases[i].offer);
		if (!ok)
			continue;
		assert_true(ws_deflate_answer(&d, answer, sizeof(answer)) < (int)sizeof(answer));
		assert_string_equal(answer, cases[i].answer);
	}
}

/* Text in which much repeats, at distances up to its length. */
static struct buf text_of(size_t n)
{
	struct buf b = BUF_INIT;

	for (size_t i = 0; b.n < n; i++)
		buf_printf(&b, "%zu: the same words, said again and again; ", i * 2654435761 % 1000);
	b.n = n;
	return b;
}

/* What a client makes of it: 0 or the close code; the plain text is in `out`. */
static int unpack(struct str packed, size_t step, size_t max, struct buf *out)
{
	struct ws_inflate *i = ws_inflate_new();
	int code = 0;

	for (size_t at = 0; at < packed.n && code == 0; at += step)
		code = ws_inflate(i, str_sub(packed, at, at + step), out, max);
	if (code == 0)
		code = ws_inflate_end(i, out, max);
	ws_inflate_free(i);
	return code;
}

static void test_round_trip(void **state)
{
	static const size_t sizes[] = {64, 255, 256, 257, 1024, 40000, 300000};

	(void)state;
	for (size_t k = 0; k < countof(sizes); k++) {
		struct buf text = text_of(sizes[k]);

		for (unsigned bits = WS_BITS_MIN; bits <= WS_BITS_MAX; bits++) {
			struct buf packed = BUF_INIT, plain = BUF_INIT;
			size_t step = sizes[k] < 300 ? 1 : 977;

			if (!ws_deflate(buf_str(&text), bits, &packed)) {
				assert_int_equal(packed.n, 0);
				buf_free(&packed);
				continue;
			}
			assert_true(packed.n < text.n);
			assert_int_equal(unpack(buf_str(&packed), step, text.n, &plain), 0);
			assert_true(str_eq(buf_str(&text), buf_str(&plain)));
			buf_free(&packed);
			buf_free(&plain);
		}
		buf_free(&text);
	}
}

/* A client with a window as small as agreed on can read it: no distance reaches beyond. */
static void test_windows(void **state)
{
	struct buf text = text_of(100000);

	(void)state;
	for (unsigned bits = WS_BITS_MIN; bits <= WS_BITS_MAX; bits++) {
		struct buf packed = BUF_INIT;
		char *plain = xmalloc(text.n);
		z_stream z = {0};
		size_t at = 0;
		int r = Z_OK;

		assert_true(ws_deflate(buf_str(&text), bits, &packed));
		buf_add(&packed, (struct str){"\0\0\xff\xff", 4});
		assert_int_equal(inflateInit2(&z, -(int)bits), Z_OK);
		z.next_in = (Bytef *)packed.p;
		z.avail_in = (uInt)packed.n;
		/* In small steps, or zlib would find the distance in the output instead of in its window. */
		while (at < text.n && r == Z_OK) {
			uInt step = text.n - at < 16 ? (uInt)(text.n - at) : 16;

			z.next_out = (Bytef *)plain + at;
			z.avail_out = step;
			r = inflate(&z, Z_SYNC_FLUSH);
			at += step - z.avail_out;
		}
		if (r != Z_OK || at != text.n || memcmp(plain, text.p, text.n) != 0)
			fail_msg("window of %u bits: %d after %zu bytes", bits, r, at);
		inflateEnd(&z);
		free(plain);
		buf_free(&packed);
	}
	buf_free(&text);
}

/* The examples of RFC 7692 7.2.3, and what is not deflate. */
static void test_examples(void **state)
{
	static const struct {
		struct str in;
		const char *text;
		int code;
	} cases[] = {
	    {{"\xf2\x48\xcd\xc9\xc9\x07\x00", 7}, "Hello", 0},
	    {{"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 11}, "Hello", 0},
	    {{"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 8}, "Hello", 0},
	    {{"\xf3\x48\xcd\xc9\xc9\x07\x00", 7}, "Hello", 0},
	    {{"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 13}, "Hello", 0},
	    {{"\x00", 1}, "", 0},
	    {{"", 0}, "", 0},
	    {{"\xff\xff\xff\xff", 4}, "", WS_BAD_DATA},
	    {{"\x00\x05\x00\xfa\x00", 5}, "", WS_BAD_DATA},
	    {{"\x00\x05\x00\xfa\xff\x48\x65", 7}, NULL, WS_BAD_DATA},
	    {{"\xf2\x48\xcd\xc9", 4}, NULL, WS_BAD_DATA},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		for (size_t step = 1; step <= 16; step++) {
			struct buf out = BUF_INIT;
			int code = unpack(cases[i].in, step, 100, &out);

			if (code != cases[i].code || (code == 0 && !str_eqz(buf_str(&out), cases[i].text)))
				fail_msg("case %zu, step %zu: %d \"%.*s\"", i, step, code, STR_ARG(buf_str(&out)));
			buf_free(&out);
		}
	}
}

/* The reader stops one byte behind the limit, wherever it lies. */
static void test_bomb(void **state)
{
	char *zeros = xcalloc(1, 1 << 20);
	struct buf packed = BUF_INIT;

	(void)state;
	assert_true(ws_deflate((struct str){zeros, 1 << 20}, 15, &packed));
	assert_true(packed.n < 8192);
	for (size_t max = 1; max < 1 << 20; max = max * 3 + 1) {
		struct buf out = BUF_INIT;

		assert_int_equal(unpack(buf_str(&packed), packed.n, max, &out), WS_TOO_BIG);
		assert_int_equal(out.n, max + 1);
		assert_true(out.cap < 2 * max + 70000);
		buf_free(&out);
	}
	for (size_t step = 1; step < 8192; step += 2047) {
		struct buf out = BUF_INIT;

		assert_int_equal(unpack(buf_str(&packed), step, 1 << 20, &out), 0);
		assert_int_equal(out.n, 1 << 20);
		buf_free(&out);
	}
	buf_free(&packed);
	free(zeros);
}

static void test_message_is_built_once(void **state)
{
	struct buf text = text_of(5000);
	struct ws_message *m = ws_message_text(buf_str(&text));
	const struct rbuf *plain = ws_message_frame(m, 0), *packed = ws_message_frame(m, 15);

	(void)state;
	assert_int_equal((unsigned char)plain->data[0], 0x81);
	assert_int_equal((unsigned char)packed->data[0], 0xc1);
	assert_true(packed->n < plain->n);
	assert_ptr_equal(ws_message_frame(m, 15), packed);
	assert_ptr_equal(ws_message_frame(m, 0), plain);
	assert_ptr_not_equal(ws_message_frame(m, 9), packed);
	assert_int_equal(ws_message_size(m), plain->n);
	ws_message_unref(m);
	buf_free(&text);
}

/* Short ones, huge ones and noise go as they are, without the bit. */
static void test_not_worth_it(void **state)
{
	static const size_t sizes[] = {0, 10, 1023, (1 << 20) + 1};
	char *noise = xmalloc((1 << 20) + 1);
	uint64_t x = 88172645463325252u;
	struct ws_message *m;

	(void)state;
	for (size_t i = 0; i <= 1 << 20; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		noise[i] = (char)x;
	}
	for (size_t i = 0; i < countof(sizes); i++) {
		m = ws_message_binary((struct str){noise, sizes[i]});
		assert_ptr_equal(ws_message_frame(m, 15), ws_message_frame(m, 0));
		ws_message_unref(m);
	}
	m = ws_message_binary((struct str){noise, 4000});
	assert_ptr_equal(ws_message_frame(m, 15), ws_message_frame(m, 0));
	assert_int_equal((unsigned char)ws_message_frame(m, 15)->data[0], 0x82);
	ws_message_unref(m);
	free(noise);
}

static void test_reserved_bit(void **state)
{
	static const struct {
		struct str in;
		bool deflate;
		int r;
	} cases[] = {
	    {{"\xc1\x80\1\2\3\4", 6}, true, 1},  {{"\xc1\x80\1\2\3\4", 6}, false, -1},
	    {{"\x41\x80\1\2\3\4", 6}, true, 1},  {{"\xc2\x80\1\2\3\4", 6}, true, 1},
	    {{"\xc0\x80\1\2\3\4", 6}, true, -1}, {{"\xc8\x80\1\2\3\4", 6}, true, -1},
	    {{"\xc9\x80\1\2\3\4", 6}, true, -1}, {{"\xca\x80\1\2\3\4", 6}, true, -1},
	    {{"\xa1\x80\1\2\3\4", 6}, true, -1}, {{"\x91\x80\1\2\3\4", 6}, true, -1},
	    {{"\xe1\x80\1\2\3\4", 6}, true, -1}, {{"\xf1\x80\1\2\3\4", 6}, true, -1},
	    {{"\x81\x80\1\2\3\4", 6}, true, 1},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct ws_frame f = {.fin = false};
		int code = 0, r = ws_frame_parse(cases[i].in, 100, cases[i].deflate, &f, &code);

		if (r != cases[i].r || code != (r < 0 ? WS_PROTOCOL : 0))
			fail_msg("case %zu: %d, code %d", i, r, code);
		if (r > 0)
			assert_int_equal(f.rsv1, (cases[i].in.p[0] & 0x40) != 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_offers),       cmocka_unit_test(test_round_trip),
	    cmocka_unit_test(test_windows),      cmocka_unit_test(test_examples),
	    cmocka_unit_test(test_bomb),         cmocka_unit_test(test_message_is_built_once),
	    cmocka_unit_test(test_not_worth_it), cmocka_unit_test(test_reserved_bit),
	};

	return cmocka_run_group_tests_name("ws_deflate", tests, NULL, NULL);
}
