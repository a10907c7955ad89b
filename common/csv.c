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
