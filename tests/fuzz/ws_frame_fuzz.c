/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes the WebSocket codec: headers, masks, and incremental UTF-8 against the check of whole texts.
 */
#include "worker/ws/ws_conn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_utf8(struct str s, size_t cut)
{
	struct ws_utf8 u = {0, 0, 0};
	bool ok = ws_utf8_feed(&u, str_sub(s, 0, cut)) && ws_utf8_feed(&u, str_sub(s, cut, s.n)) && u.due == 0;

	BUG_ON(ok != str_utf8_valid(s));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = xmalloc(size + 1);
	size_t at = 0;

	memcpy(copy, data, size);
	while (at < size) {
		struct ws_frame f = {.fin = false};
		int code = 0,
		    r = ws_frame_parse((struct str){copy + at, size - at}, 65536, (data[0] & 1) != 0, &f, &code);
		size_t n;

		BUG_ON((r < 0) != (code != 0));
		if (r <= 0)
			break;
		BUG_ON(f.head < 6 || f.head > 14 || (f.opcode >= 8 && (f.length > WS_CONTROL_MAX || !f.fin || f.rsv1)));
		at += f.head;
		n = size - at < f.length ? size - at : (size_t)f.length;
		ws_unmask(copy + at, n, f.mask, 0);
		check_utf8((struct str){copy + at, n}, n / 2);
		at += n;
	}
	free(copy);
	check_utf8((struct str){(const char *)data, size}, size > 0 ? data[0] % (size + 1) : 0);
	return 0;
}
