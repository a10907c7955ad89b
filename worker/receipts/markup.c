/* SPDX-License-Identifier: MIT */
/*
 * Text of agents as HTML: every character is escaped, and the light Markdown that models write becomes headings, lists,
 * code and bold. Called by html.c. No links, images or raw HTML, on purpose; time is linear in the text.
 */
#include "worker/receipts/receipt_doc.h"

#include "common/html.h"

/* Marks that come in pairs within a line, in the order of enum receipt_inline_kind. */
static const struct {
	const char *mark, *open, *close;
} markup_pairs[] = {{"`", "<code>", "</code>"}, {"**", "<strong>", "</strong>"}};

bool receipt_inline_next(struct receipt_inline *in, struct str *text, enum receipt_inline_kind *kind)
{
	size_t i = 0, k;

	*kind = INLINE_TEXT;
	while (i < in->rest.n) {
		struct str rest = str_sub(in->rest, i, in->rest.n), mark = STR_NONE;
		ptrdiff_t end = -1;

		for (k = 0; k < countof(markup_pairs) && end < 0; k++) {
			mark = str_of(markup_pairs[k].mark);
			if (in->missing[k] || !str_starts(rest, mark))
				continue;
			end = str_find(str_sub(rest, mark.n, rest.n), mark);
			in->missing[k] = end < 0;
		}
		if (end <= 0) {
			i++;
			continue;
		}
		if (i > 0) /* what is before the mark; the mark is found again next time */
			break;
		*kind = (enum receipt_inline_kind)k;
		*text = str_sub(rest, mark.n, mark.n + (size_t)end);
		in->rest = str_sub(rest, 2 * mark.n + (size_t)end, rest.n);
		return true;
	}
	*text = str_sub(in->rest, 0, i);
	in->rest = str_sub(in->rest, i, in->rest.n);
	return i > 0;
}

static void markup_inline(struct buf *out, struct str s)
{
	struct receipt_inline in = {.rest = s};
	enum receipt_inline_kind kind;
	struct str text;

	while (receipt_inline_next(&in, &text, &kind)) {
		buf_addz(out, kind == INLINE_TEXT ? "" : markup_pairs[kind - 1].open);
		html_escape(out, text);
		buf_addz(out, kind == INLINE_TEXT ? "" : markup_pairs[kind - 1].close);
	}
}

static const struct {
	const char *open, *close;
} markup_blocks[] = {
    [BLOCK_NONE] = {"", ""},
    [BLOCK_TEXT] = {"<p>", "</p>\n"},
    [BLOCK_BULLETS] = {"<ul>\n", "</ul>\n"},
    [BLOCK_NUMBERS] = {"<ol>\n", "</ol>\n"},
    [BLOCK_CODE] = {"<pre><code>", "</code></pre>\n"},
};

static enum receipt_block markup_switch(struct buf *out, enum receipt_block from, enum receipt_block to)
{
	if (from != to) {
		buf_addz(out, markup_blocks[from].close);
		buf_addz(out, markup_blocks[to].open);
	}
	return to;
}

enum receipt_block receipt_block_of(struct str line, struct str *text, unsigned *level)
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

static enum receipt_block markup_line(struct buf *out, enum receipt_block in, struct str line)
{
	enum receipt_block before = in;
	struct str text;
	unsigned level;

	in = markup_switch(out, in, receipt_block_of(str_trim(line), &text, &level));
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
	enum receipt_block in = BLOCK_NONE;
	struct str line;

	while (str_split(&text, '\n', &line)) {
		if (str_starts(str_trim(line), STR("```"))) {
			in = markup_switch(out, in, in == BLOCK_CODE ? BLOCK_NONE : BLOCK_CODE);
		} else if (in == BLOCK_CODE) {
			html_escape(out, line);
			buf_addc(out, '\n');
		} else {
			in = markup_line(out, in, line);
		}
	}
	markup_switch(out, in, BLOCK_NONE);
}
