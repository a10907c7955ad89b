/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: a stream of any bytes gives the same events and lines, and the same verdict on its limits, however it is
 * cut. The first byte of the input seeds the cuts.
 */
#include "common/sse.h"
#include "tests/fuzz/fuzz.h"

#define FUZZ_LIMIT 256

static bool fuzz_event(void *arg, struct str event, struct str data)
{
	struct buf *out = arg;

	BUG_ON(str_chr(event, '\n') >= 0 || str_chr(event, '\r') >= 0 || str_chr(data, '\r') >= 0);
	BUG_ON(data.n > FUZZ_LIMIT || event.n > FUZZ_LIMIT);
	buf_printf(out, "%zu %zu:", event.n, data.n);
	buf_add(out, event);
	buf_add(out, data);
	return !str_eqz(event, "stop");
}

static bool fuzz_line(void *arg, struct str line)
{
	BUG_ON(line.n == 0 || line.n > FUZZ_LIMIT || str_chr(line, '\n') >= 0);
	buf_printf(arg, "%zu:", line.n);
	buf_add(arg, line);
	return !str_eqz(line, "stop");
}

static bool fuzz_run(struct str text, uint32_t seed, bool lines, struct buf *out)
{
	struct sse s;
	struct ndjson n;
	bool ok = true;

	sse_init(&s, FUZZ_LIMIT);
	ndjson_init(&n, FUZZ_LIMIT);
	while (ok && text.n > 0) {
		struct str piece = fuzz_piece(&text, &seed);

		ok = lines ? ndjson_feed(&n, piece, fuzz_line, out) : sse_feed(&s, piece, fuzz_event, out);
	}
	if (ok && lines)
		ok = ndjson_finish(&n, fuzz_line, out);
	sse_free(&s);
	ndjson_free(&n);
	return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text;
	int lines;

	if (size < 1)
		return 0;
	text = (struct str){(const char *)data + 1, size - 1};
	for (lines = 0; lines < 2; lines++) {
		struct buf whole = BUF_INIT, cut = BUF_INIT;
		bool a = fuzz_run(text, 0, lines == 1, &whole), b = fuzz_run(text, data[0] + 1U, lines == 1, &cut);

		BUG_ON(a != b || !str_eq(buf_str(&whole), buf_str(&cut)));
		buf_free(&whole);
		buf_free(&cut);
	}
	return 0;
}
