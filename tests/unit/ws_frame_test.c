/* SPDX-License-Identifier: MIT */
/*
 * Tests of the WebSocket codec: headers at every length, masks at every phase, UTF-8 at every split.
 */
#include "worker/ws/ws_conn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_headers(void **state)
{
	static const struct {
		struct str in;
		int r;
		size_t head;
		uint64_t length;
		int code;
	} cases[] = {
	    {{"\x81\x80\1\2\3\4", 6}, 1, 6, 0, 0},
	    {{"\x81\xfd\1\2\3\4", 6}, 1, 6, 125, 0},
	    {{"\x82\xfe\x00\x7e\1\2\3\4", 8}, 1, 8, 126, 0},
	    {{"\x82\xfe\xff\xff\1\2\3\4", 8}, 1, 8, 65535, 0},
	    {{"\x82\xff\0\0\0\0\0\1\0\0\1\2\3\4", 14}, 1, 14, 65536, 0},
	    {{"\x89\xfd\1\2\3\4", 6}, 1, 6, 125, 0},
	    {{"\x82\xff\0\0\0\0\0\1\0\1\1\2\3\4", 14}, -1, 0, 0, WS_TOO_BIG},
	    {{"\x82\xff\x80\0\0\0\0\1\0\1\1\2\3\4", 14}, -1, 0, 0, WS_PROTOCOL},
	    {{"\x82\xff\0\0\0\0\0\0\xff\xff\1\2\3\4", 14}, -1, 0, 0, WS_PROTOCOL},
	    {{"\x82\xfe\0\x7d\1\2\3\4", 8}, -1, 0, 0, WS_PROTOCOL},
	    {{"\x81\x00", 2}, -1, 0, 0, WS_PROTOCOL},
	    {{"\x91\x80\1\2\3\4", 6}, -1, 0, 0, WS_PROTOCOL},
	    {{"\x83\x80\1\2\3\4", 6}, -1, 0, 0, WS_PROTOCOL},
	    {{"\x8b\x80\1\2\3\4", 6}, -1, 0, 0, WS_PROTOCOL},
	    {{"\x08\x80\1\2\3\4", 6}, -1, 0, 0, WS_PROTOCOL},
	    {{"\x88\xfe\0\x7e\1\2\3\4", 8}, -1, 0, 0, WS_PROTOCOL},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct ws_frame f = {.fin = false};
		int code = 0, r = ws_frame_parse(cases[i].in, 65536, false, &f, &code);

		if (r != cases[i].r || code != cases[i].code)
			fail_msg("case %zu: %d, code %d", i, r, code);
		if (r < 0)
			continue;
		assert_int_equal(f.head, cases[i].head);
		assert_int_equal(f.length, cases[i].length);
		assert_memory_equal(f.mask, "\1\2\3\4", 4);
		for (size_t n = 0; n < cases[i].in.n; n++)
			assert_int_equal(ws_frame_parse(str_sub(cases[i].in, 0, n), 65536, false, &f, &code), 0);
	}
}

static void test_unmask(void **state)
{
	static const uint8_t mask[4] = {0xa5, 0x5a, 0x0f, 0xf0};
	char whole[100], pieces[100];

	(void)state;
	for (size_t cut = 0; cut < sizeof(whole); cut++) {
		for (size_t i = 0; i < sizeof(whole); i++)
			whole[i] = pieces[i] = (char)(i * 7);
		for (size_t i = 0; i < sizeof(whole); i++)
			whole[i] = (char)((unsigned char)whole[i] ^ mask[i & 3]);
		ws_unmask(pieces, cut, mask, 0);
		ws_unmask(pieces + cut, sizeof(pieces) - cut, mask, cut & 3);
		assert_memory_equal(whole, pieces, sizeof(whole));
	}
}

static bool utf8(struct str s, size_t cut)
{
	struct ws_utf8 u = {0, 0, 0};

	return ws_utf8_feed(&u, str_sub(s, 0, cut)) && ws_utf8_feed(&u, str_sub(s, cut, s.n)) && u.due == 0;
}

static void test_utf8(void **state)
{
	static const struct {
		const char *s;
		bool ok;
	} cases[] = {
	    {"", true},
	    {"plain text of more than eight bytes", true},
	    {"\xc2\x80", true},
	    {"\xdf\xbf", true},
	    {"\xe0\xa0\x80", true},
	    {"\xed\x9f\xbf", true},
	    {"\xee\x80\x80", true},
	    {"\xf0\x90\x80\x80", true},
	    {"\xf4\x8f\xbf\xbf", true},
	    {"12345678\xe2\x82\xac"
	     "12345678",
	     true},
	    {"\x80", false},
	    {"\xc0\x80", false},
	    {"\xc1\xbf", false},
	    {"\xe0\x9f\xbf", false},
	    {"\xed\xa0\x80", false},
	    {"\xf0\x8f\xbf\xbf", false},
	    {"\xf4\x90\x80\x80", false},
	    {"\xf5\x80\x80\x80", false},
	    {"\xff", false},
	    {"\xc3", false},
	    {"\xe2\x82", false},
	    {"\xc3(", false},
	    {"12345678\xe2\x82(", false},
	};

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		struct str s = str_of(cases[i].s);

		for (size_t cut = 0; cut <= s.n; cut++)
			if (utf8(s, cut) != cases[i].ok)
				fail_msg("case %zu cut at %zu", i, cut);
	}
}

static void test_build(void **state)
{
	static const struct {
		size_t n, head;
	} sizes[] = {{0, 2}, {125, 2}, {126, 4}, {65535, 4}, {65536, 10}};
	char *text = xcalloc(1, 65536);

	(void)state;
	for (size_t i = 0; i < countof(sizes); i++) {
		struct rbuf *r = ws_frame_build(WS_OP_TEXT, false, (struct str){text, sizes[i].n});
		uint64_t length = (unsigned char)r->data[1];

		assert_int_equal(r->n, sizes[i].n + sizes[i].head);
		assert_int_equal((unsigned char)r->data[0], 0x81);
		if (sizes[i].head > 2)
			for (size_t k = length = 0; k < sizes[i].head - 2; k++)
				length = length << 8 | (unsigned char)r->data[2 + k];
		assert_int_equal(length, sizes[i].n);
		rbuf_unref(r);
	}
	free(text);
}

static void test_close_codes(void **state)
{
	static const unsigned good[] = {1000, 1001, 1002, 1003, 1007, 1008, 1009,
					1010, 1011, 1012, 3000, 3999, 4000, 4999};
	static const unsigned bad[] = {0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535};

	(void)state;
	for (size_t i = 0; i < countof(good); i++)
		assert_true(ws_close_code_ok(good[i]));
	for (size_t i = 0; i < countof(bad); i++)
		assert_false(ws_close_code_ok(bad[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_headers), cmocka_unit_test(test_unmask),      cmocka_unit_test(test_utf8),
	    cmocka_unit_test(test_build),   cmocka_unit_test(test_close_codes),
	};

	return cmocka_run_group_tests_name("ws_frame", tests, NULL, NULL);
}
