/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes heads: the scan in two pieces must agree with the scan in one, what parses must be made of the input, and
 * whatever framing and normalising accept must keep their promises.
 */
#include "worker/http/http_framing.h"
#include "worker/http/route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_head(struct str head)
{
	struct error err = ERROR_INIT;
	struct http_framing f;
	struct http_head h;
	struct arena *a;
	struct str path;

	if (!http_head_parse(head, &h, &err))
		return;
	BUG_ON(h.field_count > HTTP_FIELDS_MAX);
	for (size_t i = 0; i < h.field_count; i++) {
		BUG_ON(h.fields[i].name.n == 0 || h.fields[i].name.p < head.p);
		BUG_ON(h.fields[i].value.p + h.fields[i].value.n > head.p + head.n);
		BUG_ON(memchr(h.fields[i].value.p, '\n', h.fields[i].value.n) != NULL);
	}
	if (http_framing(&h, &f, &err)) {
		BUG_ON(f.kind == BODY_CHUNKED && http_head_find(h.fields, h.field_count, "content-length") != NULL);
		BUG_ON(f.kind == BODY_LENGTH && http_head_find(h.fields, h.field_count, "transfer-encoding") != NULL);
	}
	a = arena_new(0);
	if (route_normalise(h.target, a, &path, &err)) {
		BUG_ON(path.n == 0 || path.p[0] != '/' || memchr(path.p, '\0', path.n) != NULL);
		BUG_ON(str_find(path, STR("//")) >= 0 || str_find(path, STR("/../")) >= 0 ||
		       str_ends(path, STR("/..")));
	}
	arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = {(const char *)data, size};
	struct http_head_scan whole = {0, 0}, pieces = {0, 0};
	struct error err = ERROR_INIT, again = ERROR_INIT;
	size_t limit = size > 0 && (data[size - 1] & 1) != 0 ? 512 : 32768;
	int r = http_head_scan(&whole, in, limit, &err), p = 0;

	for (size_t n = 1; n <= size && p == 0; n++)
		p = http_head_scan(&pieces, str_sub(in, 0, n), limit, &again);
	BUG_ON(p != r || (r == 1 && pieces.pos != whole.pos) || (r < 0 && err.code != again.code));
	if (r == 1)
		check_head(str_sub(in, 0, whole.pos));
	return 0;
}
