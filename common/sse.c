/* SPDX-License-Identifier: MIT */
/*
 * Reads server-sent events from chunks cut anywhere. Called with the bytes of a model's answer and by the client; pure,
 * so that it can be fuzzed. Knows nothing of JSON, and ignores id and retry: a model call is never resumed.
 */
#include "common/sse.h"

#define SSE_BOM "\xEF\xBB\xBF"
#define SSE_BOM_DONE 4

void sse_init(struct sse *s, size_t max)
{
	*s = (struct sse){.line = BUF_LIMIT(max), .data = BUF_LIMIT(max), .event = BUF_LIMIT(max), .max = max};
}

void sse_free(struct sse *s)
{
	buf_free(&s->line);
	buf_free(&s->data);
	buf_free(&s->event);
}

static bool sse_dispatch(struct sse *s, sse_event_fn fn, void *arg)
{
	bool ok = true;

	if (s->has_data)
		ok = fn(arg, buf_str(&s->event), str_sub(buf_str(&s->data), 0, s->data.n - 1));
	buf_clear(&s->data);
	buf_clear(&s->event);
	s->has_data = false;
	return ok;
}

/* Takes one whole line without its end. */
static bool sse_line(struct sse *s, struct str line, sse_event_fn fn, void *arg)
{
	ptrdiff_t colon = str_chr(line, ':');
	struct str field = line, value = STR("");

	if (line.n == 0)
		return sse_dispatch(s, fn, arg);
	if (colon >= 0) {
		field = str_sub(line, 0, (size_t)colon);
		value = str_sub(line, (size_t)colon + 1, line.n);
		if (value.n > 0 && value.p[0] == ' ')
			value = str_sub(value, 1, value.n);
	}
	if (str_eqz(field, "data")) {
		buf_add(&s->data, value);
		buf_addc(&s->data, '\n');
		s->has_data = true;
	} else if (str_eqz(field, "event")) {
		buf_clear(&s->event);
		buf_add(&s->event, value);
	}
	return !s->data.overflow && !s->event.overflow;
}

static bool sse_end_line(struct sse *s, sse_event_fn fn, void *arg)
{
	bool ok = !s->line.overflow && sse_line(s, buf_str(&s->line), fn, arg);

	buf_clear(&s->line);
	return ok;
}

/* A byte order mark may precede the first line and may itself be cut. */
static struct str sse_skip_bom(struct sse *s, struct str chunk)
{
	while (s->skip < SSE_BOM_DONE && chunk.n > 0) {
		if (s->skip < 3 && chunk.p[0] == SSE_BOM[s->skip]) {
			s->skip++;
			chunk = str_sub(chunk, 1, chunk.n);
			continue;
		}
		if (s->skip < 3) /* it only began like one */
			buf_add(&s->line, (struct str){SSE_BOM, s->skip});
		s->skip = SSE_BOM_DONE;
	}
	return chunk;
}

bool sse_feed(struct sse *s, struct str chunk, sse_event_fn fn, void *arg)
{
	size_t i, from = 0;

	chunk = sse_skip_bom(s, chunk);
	for (i = 0; i < chunk.n; i++) {
		char c = chunk.p[i];

		if (c != '\n' && c != '\r') {
			s->after_cr = false;
			continue;
		}
		if (c == '\n' && s->after_cr) {
			s->after_cr = false;
			from = i + 1;
			continue;
		}
		buf_add(&s->line, str_sub(chunk, from, i));
		from = i + 1;
		s->after_cr = c == '\r';
		if (!sse_end_line(s, fn, arg))
			return false;
	}
	buf_add(&s->line, str_sub(chunk, from, chunk.n));
	return !s->line.overflow;
}

void ndjson_init(struct ndjson *n, size_t max)
{
	*n = (struct ndjson){.line = BUF_LIMIT(max)};
}

void ndjson_free(struct ndjson *n)
{
	buf_free(&n->line);
}

bool ndjson_finish(struct ndjson *n, ndjson_line_fn fn, void *arg)
{
	struct str line = str_trim(buf_str(&n->line));
	bool ok = !n->line.overflow && (line.n == 0 || fn(arg, line));

	buf_clear(&n->line);
	return ok;
}

bool ndjson_feed(struct ndjson *n, struct str chunk, ndjson_line_fn fn, void *arg)
{
	ptrdiff_t at;

	while ((at = str_chr(chunk, '\n')) >= 0) {
		buf_add(&n->line, str_sub(chunk, 0, (size_t)at));
		chunk = str_sub(chunk, (size_t)at + 1, chunk.n);
		if (!ndjson_finish(n, fn, arg))
			return false;
	}
	buf_add(&n->line, chunk);
	return !n->line.overflow;
}
