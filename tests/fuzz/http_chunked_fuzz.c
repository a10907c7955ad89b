/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes chunked bodies: decoding byte by byte must give what decoding at once gives.
 */
#include "worker/http/http_framing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int decode(struct str in, size_t step, struct buf *out, size_t *end)
{
	struct http_chunked d = {.state = CHUNK_SIZE};
	size_t used = 0;
	int r = 0;

	for (*end = 0; r == 0 && *end < in.n; *end += used) {
		struct str piece;

		r = http_chunked_feed(&d, str_sub(in, *end, *end + step), &used, &piece);
		if (r < 0)
			break;
		BUG_ON(used == 0 || piece.n > used);
		buf_add(out, piece);
	}
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = {(const char *)data, size};
	struct buf whole = BUF_INIT, pieces = BUF_INIT;
	size_t a, b;
	int r = decode(in, size, &whole, &a), p = decode(in, 1, &pieces, &b);

	BUG_ON(r != p || (r == 1 && a != b) || !str_eq(buf_str(&whole), buf_str(&pieces)));
	buf_free(&whole);
	buf_free(&pieces);
	return 0;
}
