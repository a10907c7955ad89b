/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes PROXY headers: what is complete is so whatever follows, was incomplete at every byte before, and claims no
 * byte that is not there.
 */
#include "worker/http/http_proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = {(const char *)data, size};
	struct proxy_header whole, part;
	int r = proxy_parse(in, &whole);

	BUG_ON(r < -1 || r > PROXY_HEADER_MAX || (r > 0 && (size_t)r > size));
	BUG_ON(r <= 0 && (whole.has_client || whole.https));
	if (r < 0 || size > PROXY_HEADER_MAX + 64)
		return 0;
	for (size_t n = 0; n < (r > 0 ? (size_t)r : size); n++)
		BUG_ON(proxy_parse(str_sub(in, 0, n), &part) != 0);
	if (r > 0) {
		BUG_ON(proxy_parse(str_sub(in, 0, (size_t)r), &part) != r);
		BUG_ON(memcmp(&part, &whole, sizeof(part)) != 0);
	}
	return 0;
}
