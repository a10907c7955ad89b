/* SPDX-License-Identifier: MIT */
/*
 * permessage-deflate (RFC 7692): the offer and its answer, raw deflate of whole messages, inflate of arriving ones.
 * Called by handshake, messages and connections. It keeps no context between messages, in neither direction: only so
 * can one compressed form serve all sockets of a broadcast, and an idle socket keeps no window.
 *
 * BREACH: a compressed text tells by its length what repeats in it. Nothing secret is ever in a message here (tokens
 * go only from client to server), and as no context outlives a message, what one person says cannot be held against
 * what another was told.
 */
#include <zlib.h>

#include "worker/http/http_head.h"
#include "worker/ws/ws_conn.h"

#define DEFLATE_NAME "permessage-deflate"
#define DEFLATE_LEVEL 3 /* within a few percent of the default at half its time */
#define DEFLATE_MEMORY 8
#define INFLATE_STEP 16384

/* ---- the offer ---- */

static void offer_blanks(struct str *s)
{
	while (s->n > 0 && (s->p[0] == ' ' || s->p[0] == '\t'))
		*s = str_sub(*s, 1, s->n);
}

static bool offer_token(struct str *s, struct str *token)
{
	size_t n = 0;

	offer_blanks(s);
	while (n < s->n && http_is_token((unsigned char)s->p[n]))
		n++;
	*token = str_sub(*s, 0, n);
	*s = str_sub(*s, n, s->n);
	offer_blanks(s);
	return n > 0;
}

static bool offer_char(struct str *s, char c)
{
	if (s->n == 0 || s->p[0] != c)
		return false;
	*s = str_sub(*s, 1, s->n);
	return true;
}

/* A token, also in quotes (RFC 6455 9.1: what is quoted must be a token). */
static bool offer_value(struct str *s, struct str *value)
{
	bool quoted;

	offer_blanks(s);
	quoted = offer_char(s, '"');
	if (!offer_token(s, value) || (quoted && !offer_char(s, '"')))
		return false;
	offer_blanks(s);
	return true;
}

/* 8 to 15, without leading zeros. */
static bool offer_bits(struct str value, uint8_t *bits)
{
	uint64_t n;

	if (value.n == 0 || value.p[0] == '0' || !str_to_u64(value, 15, &n) || n < 8)
		return false;
	*bits = (uint8_t)n;
	return true;
}

enum offer_param { SERVER_NO_CONTEXT, CLIENT_NO_CONTEXT, SERVER_BITS, CLIENT_BITS, OFFER_PARAMS };

static const char *const offer_params[OFFER_PARAMS] = {"server_no_context_takeover", "client_no_context_takeover",
						       "server_max_window_bits", "client_max_window_bits"};

/* False: this offer must be declined (RFC 7692 7.1): unknown parameter, one given twice, a value that may not be. */
static bool offer_take(struct ws_deflate *d, unsigned *seen, struct str name, struct str value)
{
	unsigned i;

	for (i = 0; i < OFFER_PARAMS && !str_ieqz(name, offer_params[i]); i++)
		;
	if (i == OFFER_PARAMS || (*seen & 1U << i) != 0)
		return false;
	*seen |= 1U << i;
	if (i == SERVER_BITS)
		return offer_bits(value, &d->server_bits);
	if (i == CLIENT_BITS)
		return value.p == NULL || offer_bits(value, &d->client_bits);
	return value.p == NULL;
}

/* Reads one offer off *s. False: what is left cannot be read. *ok: it can be accepted. */
static bool offer_read(struct str *s, struct ws_deflate *d, bool *ok)
{
	struct str name, value;
	unsigned seen = 0;

	*d = (struct ws_deflate){.on = true};
	if (!offer_token(s, &name))
		return false;
	*ok = str_ieqz(name, DEFLATE_NAME);
	while (offer_char(s, ';')) {
		value = STR_NONE;
		if (!offer_token(s, &name) || (offer_char(s, '=') && !offer_value(s, &value)))
			return false;
		*ok = *ok && offer_take(d, &seen, name, value);
	}
	return s->n == 0 || offer_char(s, ',');
}

bool ws_deflate_offer(struct str list, struct ws_deflate *out)
{
	struct ws_deflate d;
	bool ok;

	while (list.n > 0 && offer_read(&list, &d, &ok))
		if (ok) {
			*out = d;
			return true;
		}
	return false;
}

int ws_deflate_answer(const struct ws_deflate *d, char *out, size_t room)
{
	char server[32] = "", client[32] = "";

	if (d->server_bits != 0)
		(void)snprintf(server, sizeof(server), "; server_max_window_bits=%u", d->server_bits);
	if (d->client_bits != 0)
		(void)snprintf(client, sizeof(client), "; client_max_window_bits=%u", d->client_bits);
	return snprintf(out, room, DEFLATE_NAME "; server_no_context_takeover; client_no_context_takeover%s%s", server,
			client);
}

/* ---- deflate ---- */

/*
 * One stream per window size, reset for each message; of this process. zlib has no window of 256 bytes: with 8 bits
 * only runs are looked for, whose distance is 1, so that the text fits any window.
 */
static z_stream *deflate_stream(unsigned bits)
{
	static z_stream *streams[WS_BITS_MAX + 1];
	z_stream *z = streams[bits];

	BUG_ON(bits < WS_BITS_MIN || bits > WS_BITS_MAX);
	if (z != NULL)
		return deflateReset(z) == Z_OK ? z : NULL;
	z = xcalloc(1, sizeof(*z));
	if (deflateInit2(z, DEFLATE_LEVEL, Z_DEFLATED, bits == 8 ? -9 : -(int)bits, DEFLATE_MEMORY,
			 bits == 8 ? Z_RLE : Z_DEFAULT_STRATEGY) != Z_OK) {
		free(z);
		return NULL;
	}
	streams[bits] = z;
	return z;
}

bool ws_deflate(struct str text, unsigned bits, struct buf *out)
{
	z_stream *z = deflate_stream(bits);
	Bytef *in;
	char *p;

	if (z == NULL || text.n < 5 || text.n > UINT32_MAX)
		return false;
	p = buf_reserve(out, text.n);
	if (p == NULL)
		return false;
	memcpy(&in, &text.p, sizeof(in)); /* zlib only reads it */
	z->next_in = in;
	z->avail_in = (uInt)text.n;
	z->next_out = (Bytef *)p;
	z->avail_out = (uInt)text.n;
	/* Out of room: the text would not get shorter. */
	if (deflate(z, Z_SYNC_FLUSH) != Z_OK || z->avail_in > 0 || z->avail_out == 0)
		return false;
	/* The empty block that a flush ends with goes without saying (RFC 7692 7.2.1). */
	buf_commit(out, text.n - z->avail_out - 4);
	return true;
}

/* ---- inflate ---- */

struct ws_inflate {
	z_stream z;
	bool begun;
	bool ended; /* the last byte so far was that of a final block */
};

/* The stream last given back: messages that come in one piece share it. */
static struct ws_inflate *inflate_spare;

struct ws_inflate *ws_inflate_new(void)
{
	struct ws_inflate *i = inflate_spare;

	inflate_spare = NULL;
	if (i == NULL) {
		i = xcalloc(1, sizeof(*i));
		if (inflateInit2(&i->z, -WS_BITS_MAX) != Z_OK) {
			free(i);
			return NULL;
		}
	}
	i->begun = i->ended = false;
	return i;
}

void ws_inflate_free(struct ws_inflate *i)
{
	if (i == NULL)
		return;
	if (inflate_spare == NULL && inflateReset(&i->z) == Z_OK) {
		inflate_spare = i;
		return;
	}
	(void)inflateEnd(&i->z);
	free(i);
}

/* Inflates all of `in`; 0 or the close code. */
static int inflate_some(struct ws_inflate *i, struct str in, struct buf *out, size_t max)
{
	z_stream *z = &i->z;
	size_t step;
	Bytef *next;
	char *p;
	int r;

	memcpy(&next, &in.p, sizeof(next)); /* zlib only reads it */
	z->next_in = next;
	z->avail_in = (uInt)in.n;
	do {
		/* One byte beyond the limit shows that it is passed; a bomb gets no further. */
		step = max - out->n + 1 < INFLATE_STEP ? max - out->n + 1 : INFLATE_STEP;
		p = buf_reserve(out, step);
		if (p == NULL)
			return WS_TOO_BIG;
		z->next_out = (Bytef *)p;
		z->avail_out = (uInt)step;
		i->ended = false;
		r = inflate(z, Z_SYNC_FLUSH);
		buf_commit(out, step - z->avail_out);
		if (out->n > max)
			return WS_TOO_BIG;
		if (r == Z_STREAM_END) { /* a final block may be followed by others (RFC 7692 7.2.3.4) */
			i->ended = true;
			r = inflateReset(z);
		}
		if (r != Z_OK && r != Z_BUF_ERROR)
			return WS_BAD_DATA;
	} while (z->avail_in > 0 || (z->avail_out == 0 && !i->ended));
	return 0;
}

int ws_inflate(struct ws_inflate *i, struct str in, struct buf *out, size_t max)
{
	int code;

	for (; in.n > 0; in = str_sub(in, UINT16_MAX, in.n)) {
		i->begun = true;
		code = inflate_some(i, str_sub(in, 0, UINT16_MAX), out, max);
		if (code != 0)
			return code;
	}
	return 0;
}

int ws_inflate_end(struct ws_inflate *i, struct buf *out, size_t max)
{
	int code;

	if (!i->begun || i->ended)
		return 0;
	code = inflate_some(i, (struct str){"\0\0\xff\xff", 4}, out, max);
	if (code != 0)
		return code;
	/* data_type: 128 between two blocks, plus the bits not used yet. Anything else: the text was cut off. */
	return i->ended || (i->z.data_type & (128 | 31)) == 128 ? 0 : WS_BAD_DATA;
}
