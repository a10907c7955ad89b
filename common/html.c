/* SPDX-License-Identifier: MIT */
/*
 * Escaping of text for HTML. Called by whatever renders pages. Makes no markup.
 */
#include "common/html.h"

void html_escape(struct buf *out, struct str s)
{
	static const char *const entities[] = {
	    ['&'] = "&amp;", ['<'] = "&lt;", ['>'] = "&gt;", ['"'] = "&quot;", ['\''] = "&#39;"};
	size_t i, from = 0;

	for (i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c >= countof(entities) || entities[c] == NULL)
			continue;
		buf_add(out, str_sub(s, from, i));
		buf_addz(out, entities[c]);
		from = i + 1;
	}
	buf_add(out, str_sub(s, from, s.n));
}
