/* SPDX-License-Identifier: MIT */
/*
 * What the wire formats share: clean text, first failure, messages, error sentences. Called by the format rows and by
 * call.c. Does no input or output.
 */
#include "worker/agents/wire.h"

#include "common/json.h"

/* Appends without control characters (C0 but \n and \t, DEL, C1); the input is valid UTF-8, as jansson hands it out. */
static void wire_clean(struct buf *out, struct str in)
{
	size_t i, from = 0, skip;

	for (i = 0; i<in.n; i += skip> 0 ? skip : 1) {
		unsigned char c = (unsigned char)in.p[i];
		unsigned char next = i + 1 < in.n ? (unsigned char)in.p[i + 1] : 0;

		skip = 0;
		if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7F)
			skip = 1;
		else if (c == 0xC2 && next >= 0x80 && next < 0xA0)
			skip = 2;
		if (skip == 0)
			continue;
		buf_add(out, str_sub(in, from, i));
		from = i + skip;
	}
	buf_add(out, str_sub(in, from, in.n));
}

void wire_text(struct wire_stream *st, struct str piece)
{
	size_t before = st->text.n;

	if (st->capped || piece.n == 0)
		return;
	if (piece.n > AGENT_OUTPUT_MAX - before) {
		piece = str_utf8_cut(piece, AGENT_OUTPUT_MAX - before);
		st->truncated = st->capped = true;
	}
	wire_clean(&st->text, piece);
	if (st->on_text != NULL && st->text.n > before)
		st->on_text(st->arg, str_sub(buf_str(&st->text), before, st->text.n));
}

void wire_fail(struct wire_stream *st, enum agent_fail fail, struct str detail)
{
	if (st->fail != AGENT_OK)
		return;
	st->fail = fail;
	if (detail.n == 0)
		detail = STR("the provider reports an error without saying which");
	detail = str_utf8_cut(detail, sizeof(st->detail) - 1);
	(void)snprintf(st->detail, sizeof(st->detail), "%.*s", STR_ARG(detail));
}

void wire_messages(json_t *body, const struct wire_call *call, bool system)
{
	json_t *list = json_array(), *m;

	if (system && call->system.n > 0) {
		m = json_object();
		json_put_str(m, "role", STR("system"));
		json_put_str(m, "content", call->system);
		json_array_append_new(list, m);
	}
	m = json_object();
	json_put_str(m, "role", STR("user"));
	json_put_str(m, "content", call->prompt);
	json_array_append_new(list, m);
	json_object_set_new(body, "messages", list);
}

struct str wire_error_text(const json_t *doc)
{
	const json_t *e = json_object_get(doc, "error");

	if (json_is_string(e))
		return (struct str){json_string_value(e), json_string_length(e)};
	if (json_is_object(e))
		return json_get_str(e, "message", STR_NONE);
	return json_get_str(doc, "message", json_get_str(doc, "detail", STR_NONE));
}
