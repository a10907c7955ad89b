/* SPDX-License-Identifier: MIT */
/*
 * Fills error values and maps their codes to HTTP. Called where something fails, and by whoever answers the client.
 * Deliberately logs nothing.
 */
#include "common/err.h"

#include <stdarg.h>

static const struct {
	int status;
	const char *wire;
} err_table[] = {
#define ERR_ROW(name, status, wire) [name] = {status, wire},
    ERR_TABLE(ERR_ROW)
#undef ERR_ROW
};

_Static_assert(countof(err_table) == ERR_MAX, "one row for each error code");

PRINTF_FMT(4, 0)
static void err_fill(struct error *e, enum err code, const char *field, const char *fmt, va_list ap)
{
	char msg[sizeof(e->msg)];
	int len;

	if (e == NULL)
		return;
	/* Formatted before anything is stored: arguments may point into *e itself. */
	len = vsnprintf(msg, sizeof(msg), fmt, ap);
	if (len >= (int)sizeof(msg)) {
		struct str whole = {msg, sizeof(msg) - 1};
		size_t keep = whole.n;

		/* What was cut may have been the rest of a character. */
		while (keep > 0 && ((unsigned char)msg[keep - 1] & 0xc0) == 0x80)
			keep--;
		if (keep > 0 && str_utf8_step(str_sub(whole, keep - 1, whole.n)) == 0)
			msg[keep - 1] = '\0';
	}
	e->code = code;
	snprintf(e->field, sizeof(e->field), "%s", field);
	memcpy(e->msg, msg, sizeof(msg));
}

bool error_set(struct error *e, enum err code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	err_fill(e, code, "", fmt, ap);
	va_end(ap);
	return false;
}

bool error_field(struct error *e, enum err code, const char *field, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	err_fill(e, code, field, fmt, ap);
	va_end(ap);
	return false;
}

int err_status(enum err code)
{
	BUG_ON(code >= ERR_MAX);
	return err_table[code].status;
}

const char *err_wire(enum err code)
{
	BUG_ON(code >= ERR_MAX);
	return err_table[code].wire;
}
