/* SPDX-License-Identifier: MIT */
/*
 * Decides where a request's body ends and whether the connection goes on; called once per head. Anything that two
 * parsers could read differently is refused (request smuggling). It reads no bytes itself.
 */
#include "worker/http/http_framing.h"

enum framing_field {
	FIELD_HOST,
	FIELD_LENGTH,
	FIELD_ENCODING,
	FIELD_CONNECTION,
	FIELD_EXPECT,
	FIELD_TYPE,
	FIELD_AUTH,
	FIELD_MAX
};

static const struct {
	struct str name;
	bool single; /* a second one is an error */
} framing_fields[FIELD_MAX] = {
    [FIELD_HOST] = {{"host", 4}, true},
    [FIELD_LENGTH] = {{"content-length", 14}, true},
    [FIELD_ENCODING] = {{"transfer-encoding", 17}, true},
    [FIELD_CONNECTION] = {{"connection", 10}, false},
    [FIELD_EXPECT] = {{"expect", 6}, true},
    [FIELD_TYPE] = {{"content-type", 12}, true},
    [FIELD_AUTH] = {{"authorization", 13}, true},
};

struct framing_seen {
	unsigned count[FIELD_MAX];
	struct str value[FIELD_MAX];
	bool close, keep_alive;
};

bool http_list_has(struct str list, const char *token)
{
	struct str item;

	while (str_split(&list, ',', &item))
		if (str_ieqz(str_trim(item), token))
			return true;
	return false;
}

static bool framing_collect(const struct http_head *h, struct framing_seen *seen, struct error *err)
{
	size_t i;
	unsigned k;

	for (i = 0; i < h->field_count; i++) {
		for (k = 0; k < FIELD_MAX; k++)
			if (h->fields[i].name.n == framing_fields[k].name.n &&
			    str_ieq(h->fields[i].name, framing_fields[k].name))
				break;
		if (k == FIELD_MAX)
			continue;
		if (seen->count[k]++ > 0 && framing_fields[k].single)
			return error_set(err, ERR_BAD_REQUEST, "more than one %s header", framing_fields[k].name.p);
		seen->value[k] = h->fields[i].value;
		if (k == FIELD_CONNECTION) {
			seen->close |= http_list_has(h->fields[i].value, "close");
			seen->keep_alive |= http_list_has(h->fields[i].value, "keep-alive");
		}
	}
	return true;
}

/* May the character stand in a Host header? */
static bool framing_host_char(unsigned char c)
{
	/* One bit per character: not controls, blanks, 8-bit, or one of /\?#@,"<>^`{|} */
	static const uint32_t bits[8] = {0, 0x2fff6ff2, 0xaffffffe, 0x47fffffe, 0, 0, 0, 0};

	return (bits[c >> 5] >> (c & 31)) & 1;
}

static bool framing_host(const struct http_head *h, const struct framing_seen *seen, struct error *err)
{
	struct str host = seen->value[FIELD_HOST];
	size_t i;

	if (seen->count[FIELD_HOST] == 0)
		return h->minor == 0 || error_set(err, ERR_BAD_REQUEST, "the Host header is missing");
	if (host.n == 0 || host.n > 255 + 6)
		return error_set(err, ERR_BAD_REQUEST, "invalid Host header");
	for (i = 0; i < host.n; i++)
		if (!framing_host_char((unsigned char)host.p[i]))
			return error_set(err, ERR_BAD_REQUEST, "invalid Host header");
	return true;
}

bool http_framing(const struct http_head *h, struct http_framing *f, struct error *err)
{
	struct framing_seen seen = {.count = {0}};

	*f = (struct http_framing){.kind = BODY_NONE};
	if (!framing_collect(h, &seen, err) || !framing_host(h, &seen, err))
		return false;
	f->keep_alive = !seen.close && (h->minor == 1 || seen.keep_alive);
	if (seen.count[FIELD_ENCODING] > 0) {
		if (h->minor == 0)
			return error_set(err, ERR_BAD_REQUEST, "Transfer-Encoding in an HTTP/1.0 request");
		if (seen.count[FIELD_LENGTH] > 0)
			return error_set(err, ERR_BAD_REQUEST, "both Content-Length and Transfer-Encoding");
		if (!str_ieqz(seen.value[FIELD_ENCODING], "chunked"))
			return error_set(err, ERR_BAD_REQUEST, "Transfer-Encoding must be chunked");
		f->kind = BODY_CHUNKED;
	} else if (seen.count[FIELD_LENGTH] > 0) {
		if (seen.value[FIELD_LENGTH].n > 19 || !str_to_u64(seen.value[FIELD_LENGTH], INT64_MAX, &f->length))
			return error_set(err, ERR_BAD_REQUEST, "invalid Content-Length");
		f->kind = f->length > 0 ? BODY_LENGTH : BODY_NONE;
	}
	if (seen.count[FIELD_EXPECT] > 0 && h->minor == 1)
		f->expect = str_ieqz(seen.value[FIELD_EXPECT], "100-continue") ? EXPECT_CONTINUE : EXPECT_UNKNOWN;
	return true;
}
