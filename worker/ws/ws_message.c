/* SPDX-License-Identifier: MIT */
/*
 * A message for any number of sockets: its frame is built once, and once per window size its compressed frame. Called
 * by whoever broadcasts; sockets pick the form they have agreed on. Loop thread only.
 */
#include "worker/ws/ws_conn.h"

/* Below it a compressed form saves less than it costs; above it it would hold up the loop. */
#define MESSAGE_DEFLATE_MIN 1024
#define MESSAGE_DEFLATE_MAX (1024 * 1024)

struct ws_message {
	unsigned refs;
	enum ws_opcode opcode;
	size_t head; /* of the plain frame */
	struct rbuf *plain;
	struct rbuf *packed[WS_BITS_MAX - WS_BITS_MIN + 1]; /* `plain` again where compressing did not help */
};

static struct ws_message *message_new(enum ws_opcode opcode, struct str payload)
{
	struct ws_message *m;
	struct rbuf *plain = ws_frame_build(opcode, false, payload);

	if (plain == NULL)
		return NULL;
	m = xcalloc(1, sizeof(*m));
	m->refs = 1;
	m->opcode = opcode;
	m->plain = plain;
	m->head = plain->n - payload.n;
	return m;
}

struct ws_message *ws_message_text(struct str text)
{
	return message_new(WS_OP_TEXT, text);
}

struct ws_message *ws_message_binary(struct str data)
{
	return message_new(WS_OP_BINARY, data);
}

struct ws_message *ws_message_ref(struct ws_message *m)
{
	BUG_ON(m->refs == 0);
	m->refs++;
	return m;
}

void ws_message_unref(struct ws_message *m)
{
	size_t i;

	if (m == NULL)
		return;
	BUG_ON(m->refs == 0);
	if (--m->refs > 0)
		return;
	rbuf_unref(m->plain);
	for (i = 0; i < countof(m->packed); i++)
		rbuf_unref(m->packed[i]);
	free(m);
}

size_t ws_message_size(const struct ws_message *m)
{
	return m->plain->n;
}

/* The compressed frame, or the plain one if that is not longer. */
static struct rbuf *message_pack(const struct ws_message *m, unsigned bits)
{
	struct str payload = {m->plain->data + m->head, m->plain->n - m->head};
	struct rbuf *r = NULL;
	struct buf b = BUF_INIT;

	if (ws_deflate(payload, bits, &b))
		r = ws_frame_build(m->opcode, true, buf_str(&b));
	buf_free(&b);
	if (r != NULL && r->n < m->plain->n)
		return r;
	rbuf_unref(r);
	return rbuf_ref(m->plain);
}

struct rbuf *ws_message_frame(struct ws_message *m, unsigned bits)
{
	size_t n = m->plain->n - m->head;
	struct rbuf **packed;

	if (bits == 0 || n < MESSAGE_DEFLATE_MIN || n > MESSAGE_DEFLATE_MAX)
		return m->plain;
	BUG_ON(bits < WS_BITS_MIN || bits > WS_BITS_MAX);
	packed = &m->packed[bits - WS_BITS_MIN];
	if (*packed == NULL)
		*packed = message_pack(m, bits);
	return *packed;
}
