/* SPDX-License-Identifier: MIT */
/*
 * Frame codec of RFC 6455 section 5, pure: headers, masks, UTF-8, server frames. Called by ws_conn.c and by the rooms
 * that build shared frames. It keeps no state of a connection.
 */
#include "worker/ws/ws_conn.h"

static int frame_fail(int *code, int why)
{
	*code = why;
	return -1;
}

/* Length field: 7, 16 or 64 bits; the shortest form is demanded. Returns its bytes beyond the second, -1 if invalid. */
static int frame_length(const unsigned char *p, uint64_t *length)
{
	unsigned i, extra, seven = p[1] & 0x7f;

	extra = seven == 126 ? 2 : seven == 127 ? 8 : 0;
	*length = extra == 0 ? seven : 0;
	for (i = 0; i < extra; i++)
		*length = *length << 8 | p[2 + i];
	if ((extra == 2 && *length < 126) || (extra == 8 && (*length <= UINT16_MAX || *length > INT64_MAX)))
		return -1;
	return (int)extra;
}

int ws_frame_parse(struct str in, size_t max_payload, bool deflate, struct ws_frame *f, int *code)
{
	const unsigned char *p = (const unsigned char *)in.p;
	size_t head;
	int extra;

	if (in.n < 2)
		return 0;
	f->fin = (p[0] & 0x80) != 0;
	f->rsv1 = (p[0] & 0x40) != 0;
	f->opcode = p[0] & 0x0f;
	if ((p[0] & 0x30) != 0 || (f->opcode > WS_OP_BINARY && f->opcode < WS_OP_CLOSE) || f->opcode > WS_OP_PONG)
		return frame_fail(code, WS_PROTOCOL);
	/* RFC 7692 6.1: the bit is set on the first frame of a message only, and never on a control frame. */
	if (f->rsv1 && (!deflate || f->opcode == WS_OP_CONTINUATION || f->opcode >= WS_OP_CLOSE))
		return frame_fail(code, WS_PROTOCOL);
	if ((p[1] & 0x80) == 0)
		return frame_fail(code, WS_PROTOCOL);
	if (f->opcode >= WS_OP_CLOSE && (!f->fin || (p[1] & 0x7f) > WS_CONTROL_MAX))
		return frame_fail(code, WS_PROTOCOL);
	head = 2 + ((p[1] & 0x7f) == 126 ? 2 : (p[1] & 0x7f) == 127 ? 8 : 0) + 4;
	if (in.n < head)
		return 0;
	extra = frame_length(p, &f->length);
	if (extra < 0)
		return frame_fail(code, WS_PROTOCOL);
	if (f->opcode < WS_OP_CLOSE && f->length > max_payload)
		return frame_fail(code, WS_TOO_BIG);
	memcpy(f->mask, p + 2 + extra, 4);
	f->head = head;
	return 1;
}

void ws_unmask(char *p, size_t n, const uint8_t mask[4], size_t phase)
{
	uint64_t word, wide;
	uint8_t turned[8];
	size_t i;

	for (i = 0; i < 8; i++)
		turned[i] = mask[(phase + i) & 3];
	memcpy(&wide, turned, 8);
	for (i = 0; i + 8 <= n; i += 8) {
		memcpy(&word, p + i, 8);
		word ^= wide;
		memcpy(p + i, &word, 8);
	}
	for (; i < n; i++)
		p[i] = (char)((unsigned char)p[i] ^ turned[i & 7]);
}

/* The first byte of a character: how many follow, and what the second may be. */
static bool utf8_lead(struct ws_utf8 *u, unsigned char c)
{
	u->low = 0x80;
	u->high = 0xbf;
	if (c < 0x80)
		return true;
	if (c >= 0xc2 && c <= 0xdf) {
		u->due = 1;
		return true;
	}
	if (c >= 0xe0 && c <= 0xef) {
		u->due = 2;
		u->low = c == 0xe0 ? 0xa0 : 0x80;
		u->high = c == 0xed ? 0x9f : 0xbf;
		return true;
	}
	if (c >= 0xf0 && c <= 0xf4) {
		u->due = 3;
		u->low = c == 0xf0 ? 0x90 : 0x80;
		u->high = c == 0xf4 ? 0x8f : 0xbf;
		return true;
	}
	return false;
}

bool ws_utf8_feed(struct ws_utf8 *u, struct str s)
{
	uint64_t word;
	size_t i = 0;

	while (i < s.n) {
		unsigned char c;

		/* Eight ASCII bytes at a time. */
		while (u->due == 0 && i + 8 <= s.n) {
			memcpy(&word, s.p + i, 8);
			if ((word & UINT64_C(0x8080808080808080)) != 0)
				break;
			i += 8;
		}
		if (i == s.n)
			break;
		c = (unsigned char)s.p[i++];
		if (u->due == 0) {
			if (!utf8_lead(u, c))
				return false;
		} else {
			if (c < u->low || c > u->high)
				return false;
			u->due--;
			u->low = 0x80;
			u->high = 0xbf;
		}
	}
	return true;
}

struct rbuf *ws_frame_build(enum ws_opcode opcode, bool rsv1, struct str payload)
{
	size_t head = payload.n < 126 ? 2 : payload.n <= UINT16_MAX ? 4 : 10, i;
	struct rbuf *r = rbuf_new(head + payload.n);
	unsigned char *p;

	if (r == NULL)
		return NULL;
	p = (unsigned char *)r->data;
	p[0] = (unsigned char)(0x80 | (rsv1 ? 0x40 : 0) | opcode);
	p[1] = (unsigned char)(head == 2 ? payload.n : head == 4 ? 126 : 127);
	for (i = 2; i < head; i++)
		p[i] = (unsigned char)(payload.n >> 8 * (head - 1 - i));
	if (payload.n > 0)
		memcpy(p + head, payload.p, payload.n);
	return r;
}

bool ws_close_code_ok(unsigned code)
{
	if (code >= 3000 && code <= 4999)
		return true;
	return code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006;
}
