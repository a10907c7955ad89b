/* SPDX-License-Identifier: MIT */
/*
 * Incremental decoder of chunked bodies (RFC 9112 7.1), fed by the connection in pieces of any size. Extensions and
 * trailers are bounded and thrown away. It keeps no data: slices of the input are handed out.
 */
#include "worker/http/http_framing.h"

#define CHUNK_EXT_MAX 256
#define CHUNK_TRAILER_MAX 8192

static bool chunk_text(unsigned char c)
{
	return c == '\t' || (c >= 0x20 && c != 0x7f);
}

/* One byte of a chunk's size line. */
static bool chunk_size_byte(struct http_chunked *d, unsigned char c)
{
	int v;

	switch ((int)d->state) {
	case CHUNK_SIZE:
		v = str_hex_digit((char)c);
		if (v >= 0) {
			d->left = d->left << 4 | (unsigned)v;
			return ++d->digits <= 16;
		}
		if (d->digits == 0)
			return false;
		/* fall through: what may follow the digits may also follow blanks, but a line end may not */
		if (c == '\r')
			return d->state = CHUNK_SIZE_LF, true;
		__attribute__((fallthrough));
	case CHUNK_SIZE_BLANK:
		d->state = c == ';' ? CHUNK_EXT : CHUNK_SIZE_BLANK;
		return (c == ';' || c == ' ' || c == '\t') && ++d->extra <= CHUNK_EXT_MAX;
	case CHUNK_EXT:
		if (c == '\r')
			return d->state = CHUNK_SIZE_LF, true;
		return chunk_text(c) && ++d->extra <= CHUNK_EXT_MAX;
	default: /* CHUNK_SIZE_LF */
		d->state = d->left > 0 ? CHUNK_DATA : CHUNK_TRAILER;
		d->digits = d->extra = 0;
		return c == '\n';
	}
}

/* One byte of the trailers, up to the blank line that ends the body. */
static bool chunk_trailer_byte(struct http_chunked *d, unsigned char c)
{
	if (++d->extra > CHUNK_TRAILER_MAX)
		return false;
	switch ((int)d->state) {
	case CHUNK_TRAILER:
		d->state = c == '\r' ? CHUNK_END_LF : CHUNK_TRAILER_NAME;
		return c == '\r' || http_is_token(c);
	case CHUNK_TRAILER_NAME:
		if (c == ':')
			d->state = CHUNK_TRAILER_VALUE;
		return c == ':' || http_is_token(c);
	case CHUNK_TRAILER_VALUE:
		if (c == '\r')
			d->state = CHUNK_TRAILER_LF;
		return c == '\r' || chunk_text(c);
	case CHUNK_TRAILER_LF:
		d->state = CHUNK_TRAILER;
		return c == '\n';
	default: /* CHUNK_END_LF */
		d->state = CHUNK_DONE;
		return c == '\n';
	}
}

static bool chunk_byte(struct http_chunked *d, unsigned char c)
{
	if (d->state < CHUNK_DATA)
		return chunk_size_byte(d, c);
	if (d->state == CHUNK_DATA_CR)
		return d->state = CHUNK_DATA_LF, c == '\r';
	if (d->state == CHUNK_DATA_LF)
		return d->state = CHUNK_SIZE, c == '\n';
	return chunk_trailer_byte(d, c);
}

int http_chunked_feed(struct http_chunked *d, struct str in, size_t *used, struct str *data)
{
	size_t i = 0;

	*data = STR_NONE;
	while (d->state != CHUNK_DONE && i < in.n) {
		if (d->state == CHUNK_DATA) {
			size_t n = in.n - i < d->left ? in.n - i : (size_t)d->left;

			*data = str_sub(in, i, i + n);
			*used = i + n;
			d->left -= n;
			if (d->left == 0)
				d->state = CHUNK_DATA_CR;
			return 0;
		}
		if (!chunk_byte(d, (unsigned char)in.p[i++]))
			return -1;
	}
	*used = i;
	return d->state == CHUNK_DONE;
}
