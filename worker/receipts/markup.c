/* SPDX-License-Identifier: MIT */
/*
 * Text of agents as HTML: every character is escaped, and the light Markdown that models write becomes headings, lists,
 * code and bold. Called by html.c. No links, images or raw HTML, on purpose; time is linear in the text.
 */
#include "worker/receipts/receipt_doc.h"

void receipt_escape(struct buf *out, struct str s)
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

/* Marks that come in pairs within a line. */
static const struct {
	const char *mark, *open, *close;
} markup_pairs[] = {{"`", "<code>", "</code>"}, {"**", "<strong>", "</strong>"}};

/* A mark whose partner is missing is text; once missing it is not looked for again, so that the scan stays linear. */
static void markup_inline(struct buf *out, struct str s)
{
	bool missing[countof(markup_pairs)] = {false};
	size_t from = 0, i = 0, k;

	while (i < s.n) {
		struct str rest = str_sub(s, i, s.n), mark = STR_NONE;
		ptrdiff_t end = -1;

		for (k = 0; k < countof(markup_pairs) && end < 0; k++) {
			mark = str_of(markup_pairs[k].mark);
			if (missing[k] || !str_starts(rest, mark))
				continue;
			end = str_find(str_sub(rest, mark.n, rest.n), mark);
			missing[k] = end < 0;
		}
		if (end <= 0) {
			i++;
			continue;
		}
		receipt_escape(out, str_sub(s, from, i));
		buf_addz(out, markup_pairs[k - 1].open);
		receipt_escape(out, str_sub(rest, mark.n, mark.n + (size_t)end));
		buf_addz(out, markup_pairs[k - 1].close);
		i += 2 * mark.n + (size_t)end;
		from = i;
	}
	receipt_escape(out, str_sub(s, from, s.n));
}

enum markup_block { BLOCK_NONE, BLOCK_TEXT, BLOCK_BULLETS, BLOCK_NUMBERS, BLOCK_CODE };

static const struct {
	const char *open, *close;
} markup_blocks[] = {
    [BLOCK_NONE] = {"", ""},
    [BLOCK_TEXT] = {"<p>", "</p>\n"},
    [BLOCK_BULLETS] = {"<ul>\n", "</ul>\n"},
    [BLOCK_NUMBERS] = {"<ol>\n", "</ol>\n"},
    [BLOCK_CODE] = {"<pre><code>", "</code></pre>\n"},
};

static enum markup_block markup_switch(struct buf *out, enum markup_block from, enum markup_block to)
{
	if (from != to) {
		buf_addz(out, markup_blocks[from].close);
		buf_addz(out, markup_blocks[to].open);
	}
	return to;
}

/* What a line outside code is; *text is what remains of it. A heading is 1 to 6 in *level. */
static enum markup_block markup_classify(struct str line, struct str *text, unsigned *level)
{
	size_t digits = 0, hashes = 0;

	*level = 0;
	*text = line;
	if (str_starts(line, STR("- ")) || str_starts(line, STR("* ")) || str_starts(line, STR("+ "))) {
		*text = str_trim(str_sub(line, 2, line.n));
		return BLOCK_BULLETS;
	}
	while (digits < line.n && digits < 4 && line.p[digits] >= '0' && line.p[digits] <= '9')
		digits++;
	if (digits > 0 && (str_starts(str_sub(line, digits, line.n), STR(". ")) ||
			   str_starts(str_sub(line, digits, line.n), STR(") ")))) {
		*text = str_trim(str_sub(line, digits + 2, line.n));
		return BLOCK_NUMBERS;
	}
	while (hashes < line.n && hashes < 7 && line.p[hashes] == '#')
		hashes++;
	if (hashes > 0 && hashes < 7 && hashes < line.n && line.p[hashes] == ' ') {
		*level = (unsigned)hashes;
		*text = str_trim(str_sub(line, hashes, line.n));
		return BLOCK_NONE;
	}
	return line.n > 0 ? BLOCK_TEXT : BLOCK_NONE;
}

static enum markup_block markup_line(struct buf *out, enum markup_block in, struct str line)
{
	enum markup_block before = in;
	struct str text;
	unsigned level;

	in = markup_switch(out, in, markup_classify(str_trim(line), &text, &level));
	switch (in) {
	case BLOCK_BULLETS:
	case BLOCK_NUMBERS:
		buf_addz(out, "<li>");
		markup_inline(out, text);
		buf_addz(out, "</li>\n");
		break;
	case BLOCK_TEXT:
		if (before == BLOCK_TEXT)
			buf_addz(out, "<br>\n");
		markup_inline(out, text);
		break;
	case BLOCK_NONE:
	case BLOCK_CODE:
	default:
		/* The page has h1 and h2 of its own. */
		if (level > 0) {
			level = level > 4 ? 6 : level + 2;
			buf_printf(out, "<h%u>", level);
			markup_inline(out, text);
			buf_printf(out, "</h%u>\n", level);
		}
		break;
	}
	return in;
}

void receipt_markup(struct buf *out, struct str text)
{
	enum markup_block in = BLOCK_NONE;
	struct str line;

	while (str_split(&text, '\n', &line)) {
		if (str_starts(str_trim(line), STR("```"))) {
			in = markup_switch(out, in, in == BLOCK_CODE ? BLOCK_NONE : BLOCK_CODE);
		} else if (in == BLOCK_CODE) {
			receipt_escape(out, line);
			buf_addc(out, '\n');
		} else {
			in = markup_line(out, in, line);
		}
	}
	markup_switch(out, in, BLOCK_NONE);
}
