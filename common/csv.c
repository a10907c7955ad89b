/* SPDX-License-Identifier: MIT */
/*
 * CSV cells. Called by whatever exports tables. Knows nothing of columns or rows.
 */
#include "common/csv.h"

void csv_cell(struct buf *b, struct str s, bool last)
{
	size_t i;

	buf_addc(b, '"');
	if (s.n > 0 && memchr("=+-@\t\r", s.p[0], 6) != NULL)
		buf_addc(b, '\''); /* a spreadsheet would run it (rest-core 4.7) */
	for (i = 0; i < s.n; i++) {
		if (s.p[i] == '"')
			buf_addc(b, '"');
		buf_addc(b, s.p[i]);
	}
	buf_addz(b, last ? "\"\r\n" : "\",");
}

void csv_json(struct buf *b, const json_t *v, bool last)
{
	char number[64] = "";

	if (json_is_string(v))
		csv_cell(b, (struct str){json_string_value(v), json_string_length(v)}, last);
	else if (json_is_boolean(v))
		csv_cell(b, json_is_true(v) ? STR("true") : STR("false"), last);
	else {
		if (json_is_array(v))
			(void)snprintf(number, sizeof(number), "%zu", json_array_size(v));
		else if (json_is_integer(v))
			(void)snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(v));
		else if (json_is_real(v))
			(void)snprintf(number, sizeof(number), "%.6g", json_real_value(v));
		buf_printf(b, "%s%s", number, last ? "\r\n" : ",");
	}
}
