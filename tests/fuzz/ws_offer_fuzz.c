/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes the offers of permessage-deflate: what is accepted has windows of 8 to 15 bits or none, and the answer to it
 * is itself an offer that says the same.
 */
#include "tests/fuzz/fuzz.h"
#include "worker/ws/ws_conn.h"

static bool fuzz_bits_ok(unsigned bits)
{
	return bits == 0 || (bits >= WS_BITS_MIN && bits <= WS_BITS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ws_deflate d = {.on = false}, again = {.on = false};
	char answer[256];
	int n;

	if (!ws_deflate_offer((struct str){(const char *)data, size}, &d)) {
		BUG_ON(d.on);
		return 0;
	}
	BUG_ON(!d.on || !fuzz_bits_ok(d.server_bits) || !fuzz_bits_ok(d.client_bits));
	n = ws_deflate_answer(&d, answer, sizeof(answer));
	BUG_ON(n <= 0 || n >= (int)sizeof(answer));
	BUG_ON(!ws_deflate_offer((struct str){answer, (size_t)n}, &again));
	BUG_ON(again.server_bits != d.server_bits || again.client_bits != d.client_bits);
	return 0;
}
