/* SPDX-License-Identifier: MIT */
/*
 * JSON as Python's json.dumps writes it by default. Called for the bodies of webhooks: receivers that parse a body and
 * serialise it again to check its signature get the same bytes. Keeps the order of insertion and changes no value.
 */
#include "common/json.h"

#include <math.h>

/* Depth is bounded by whoever built or parsed the document (JSON_DEPTH_MAX). */
static void python_add(struct buf *b, const json_t *j);

static void python_unit(struct buf *b, unsigned unit)
{
	buf_printf(b, "\\u%04x", unit);
}

/* One character of valid UTF-8 at p, n bytes long. */
static unsigned python_code(const char *p, size_t n)
{
	unsigned code = n == 1 ? (unsigned char)p[0] : (unsigned char)p[0] & (0xffU >> (n + 1));
	size_t i;

	for (i = 1; i < n; i++)
		code = code << 6 | ((unsigned char)p[i] & 0x3f);
	return code;
}

static void python_char(struct buf *b, unsigned code)
{
	static const char escaped[] = "\"\\\n\r\t\f\b", letters[] = "\"\\nrtfb";
	const char *e = code > 0 && code < 0x80 ? strchr(escaped, (int)code) : NULL;

	if (e != NULL) {
		buf_addc(b, '\\');
		buf_addc(b, letters[e - escaped]);
	} else if (code >= 0x20 && code < 0x7f) {
		buf_addc(b, (char)code);
	} else if (code < 0x10000) {
		python_unit(b, code);
	} else { /* a surrogate pair, RFC 8259 7 */
		python_unit(b, 0xd800 + ((code - 0x10000) >> 10));
		python_unit(b, 0xdc00 + ((code - 0x10000) & 0x3ff));
	}
}

static void python_string(struct buf *b, struct str s)
{
	size_t n;

	buf_addc(b, '"');
	while (s.n > 0) {
		n = str_utf8_step(s);
		BUG_ON(n == 0); /* jansson holds valid UTF-8 only */
		python_char(b, python_code(s.p, n));
		s = str_sub(s, n, s.n);
	}
	buf_addc(b, '"');
}

/* repr(): the fewest digits that read back as the same number; an exponent below 1e-4 and from 1e16 on. */
static void python_real(struct buf *b, double v)
{
	char text[40], digits[24];
	int precision = 0, exponent;
	const char *mantissa;
	size_t n = 0;

	do
		(void)snprintf(text, sizeof(text), "%.*e", precision, v);
	while (strtod(text, NULL) != v && ++precision < 17);
	exponent = (int)strtol(strchr(text, 'e') + 1, NULL, 10);
	if (exponent < -4 || exponent >= 16) {
		*strchr(text, 'e') = '\0';
		buf_printf(b, "%se%c%02d", text, exponent < 0 ? '-' : '+', abs(exponent));
		return;
	}
	for (mantissa = text; *mantissa != 'e'; mantissa++)
		if (*mantissa >= '0' && *mantissa <= '9')
			digits[n++] = *mantissa;
	digits[n] = '\0';
	buf_addz(b, signbit(v) ? "-" : "");
	if (exponent < 0)
		buf_printf(b, "0.%.*s%s", -exponent - 1, "000", digits);
	else if ((size_t)exponent + 1 >= n)
		buf_printf(b, "%s%.*s.0", digits, exponent + 1 - (int)n, "000000000000000");
	else
		buf_printf(b, "%.*s.%s", exponent + 1, digits, digits + exponent + 1);
}

static void python_object(struct buf *b, const json_t *j)
{
	json_t *object = (json_t *)(uintptr_t)j; /* jansson's iteration does not change it */
	const char *between = "";
	const char *key;
	json_t *v;

	buf_addc(b, '{');
	json_object_foreach(object, key, v)
	{
		buf_addz(b, between);
		python_string(b, str_of(key));
		buf_addz(b, ": ");
		python_add(b, v);
		between = ", ";
	}
	buf_addc(b, '}');
}

static void python_array(struct buf *b, const json_t *j)
{
	size_t i;

	buf_addc(b, '[');
	for (i = 0; i < json_array_size(j); i++) {
		buf_addz(b, i > 0 ? ", " : "");
		python_add(b, json_array_get(j, i));
	}
	buf_addc(b, ']');
}

static void python_add(struct buf *b, const json_t *j)
{
	switch (json_typeof(j)) {
	case JSON_OBJECT:
		python_object(b, j);
		break;
	case JSON_ARRAY:
		python_array(b, j);
		break;
	case JSON_STRING:
		python_string(b, (struct str){json_string_value(j), json_string_length(j)});
		break;
	case JSON_INTEGER:
		buf_printf(b, "%lld", (long long)json_integer_value(j));
		break;
	case JSON_REAL:
		python_real(b, json_real_value(j));
		break;
	case JSON_TRUE:
		buf_addz(b, "true");
		break;
	case JSON_FALSE:
		buf_addz(b, "false");
		break;
	case JSON_NULL:
		buf_addz(b, "null");
		break;
	}
}

struct str json_python(struct arena *a, const json_t *j)
{
	struct buf b = BUF_INIT;
	struct str out;

	python_add(&b, j);
	out = arena_str(a, buf_str(&b));
	buf_free(&b);
	return out;
}
