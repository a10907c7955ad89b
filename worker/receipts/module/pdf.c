/* SPDX-License-Identifier: MIT */
/*
 * A receipt as PDF: Pango sets the text in whatever script it is, Cairo embeds the fonts. Called in a lane. Draws no
 * image and follows no link; what it costs is linear in the text. The only file of the module aragora_pdf.so: thirty
 * libraries stay out of every process that makes no PDF.
 */
#include "worker/receipts/pdf.h"

#include <cairo-pdf.h>
#include <pango/pangocairo.h>

#include "common/json.h"

/* Points; A4 is 210 by 297 mm. */
#define PDF_WIDTH 595.28
#define PDF_HEIGHT 841.89
#define PDF_MARGIN 56.0
#define PDF_BOTTOM (PDF_HEIGHT - 64.0)
#define PDF_INNER (PDF_WIDTH - 2 * PDF_MARGIN)
#define PDF_GAP 6.0
#define PDF_COLUMNS 12
#define PDF_NARROW 9 /* characters of a column, at least and at most, when they share a page */
#define PDF_WIDE 48
#define PDF_CELL 400       /* bytes of text in a table cell, as in Markdown */
#define PDF_PAGES_MAX 2000 /* an answer at its limit of 256 KiB takes some hundred */

enum pdf_font { FONT_TEXT, FONT_SOFT, FONT_BOLD, FONT_TITLE, FONT_HEAD, FONT_CODE, FONT_SMALL, FONT_MAX };
static const char *const pdf_fonts[FONT_MAX] = {
    [FONT_TEXT] = "Noto Sans,DejaVu Sans,Sans 9.5",       [FONT_SOFT] = "Noto Sans,DejaVu Sans,Sans 8.5",
    [FONT_BOLD] = "Noto Sans,DejaVu Sans,Sans Bold 9.5",  [FONT_TITLE] = "Noto Sans,DejaVu Sans,Sans Bold 16",
    [FONT_HEAD] = "Noto Sans,DejaVu Sans,Sans Bold 11.5", [FONT_CODE] = "Noto Sans Mono,DejaVu Sans Mono,Monospace 8",
    [FONT_SMALL] = "Noto Sans,DejaVu Sans,Sans 7.5",
};

struct pdf_colour {
	double r, g, b;
};
static const struct pdf_colour pdf_ink = {.11, .14, .19}, pdf_soft = {.36, .40, .47}, pdf_line = {.85, .87, .90};
static const struct {
	const char *verdict;
	struct pdf_colour ink, ground;
} pdf_verdicts[] = {
    {"APPROVED", {.07, .48, .29}, {.89, .96, .93}},
    {"REJECTED", {.64, .15, .17}, {.98, .90, .91}},
    {NULL, {.54, .35, 0}, {.99, .95, .85}}, /* with conditions, or for a person to decide */
};

struct pdf {
	cairo_t *cr;
	cairo_surface_t *surface;
	PangoContext *context;
	PangoFontDescription *fonts[FONT_MAX];
	PangoAttrList *plain; /* nothing is hyphenated: a hyphen in a hash would be one of its characters */
	const json_t *doc;
	double y;
	int page, pages; /* pages: of the whole, 0 while they are counted */
};

static void pdf_colour(struct pdf *p, const struct pdf_colour *c)
{
	cairo_set_source_rgb(p->cr, c->r, c->g, c->b);
}

static PangoLayout *pdf_layout(struct pdf *p, struct str text, enum pdf_font font, double width)
{
	PangoLayout *l = pango_layout_new(p->context);

	pango_layout_set_font_description(l, p->fonts[font]);
	pango_layout_set_width(l, (int)(width * PANGO_SCALE));
	pango_layout_set_wrap(l, PANGO_WRAP_WORD_CHAR);
	pango_layout_set_text(l, text.p, (int)text.n);
	pango_layout_set_attributes(l, p->plain);
	return l;
}

static double pdf_height(PangoLayout *l)
{
	int height;

	pango_layout_get_size(l, NULL, &height);
	return (double)height / PANGO_SCALE;
}

/* Draws the layout and frees it. */
static void pdf_draw(struct pdf *p, PangoLayout *l, double x, double y)
{
	cairo_move_to(p->cr, x, y);
	pango_cairo_show_layout(p->cr, l);
	g_object_unref(l);
}

/* ---- pages ---- */

static void pdf_foot(struct pdf *p)
{
	struct buf text = BUF_INIT;
	PangoLayout *l;

	buf_printf(&text, "Receipt %.*s  ·  page %d", STR_ARG(json_get_str(p->doc, "receipt_id", STR(""))), p->page);
	if (p->pages > 0)
		buf_printf(&text, " of %d", p->pages);
	buf_printf(&text, "\nSHA-256 %.*s", STR_ARG(json_get_str(p->doc, "content_hash", STR(""))));
	pdf_colour(p, &pdf_soft);
	l = pdf_layout(p, buf_str(&text), FONT_SMALL, PDF_INNER);
	pdf_draw(p, l, PDF_MARGIN, PDF_BOTTOM + 14);
	buf_free(&text);
}

static void pdf_page(struct pdf *p)
{
	if (p->page > 0) {
		pdf_foot(p);
		cairo_show_page(p->cr);
	}
	p->page++;
	p->y = PDF_MARGIN;
	pdf_colour(p, &pdf_ink);
}

/* Room for `height`, on the next page if there is none here. */
static void pdf_room(struct pdf *p, double height)
{
	if (p->y + height > PDF_BOTTOM && p->y > PDF_MARGIN && p->page < PDF_PAGES_MAX)
		pdf_page(p);
}

/* Text that may run over pages: line by line. Frees the layout. */
static void pdf_flow(struct pdf *p, PangoLayout *l, double x)
{
	PangoLayoutIter *it = pango_layout_get_iter(l);
	PangoRectangle extents;
	double height;

	do {
		pango_layout_iter_get_line_extents(it, NULL, &extents);
		height = (double)extents.height / PANGO_SCALE;
		pdf_room(p, height);
		cairo_move_to(p->cr, x + (double)extents.x / PANGO_SCALE,
			      p->y + (double)(pango_layout_iter_get_baseline(it) - extents.y) / PANGO_SCALE);
		pango_cairo_show_layout_line(p->cr, pango_layout_iter_get_line_readonly(it));
		p->y += height;
	} while (pango_layout_iter_next_line(it));
	pango_layout_iter_free(it);
	g_object_unref(l);
}

static void pdf_text(struct pdf *p, struct str text, enum pdf_font font, double indent)
{
	if (text.n > 0)
		pdf_flow(p, pdf_layout(p, text, font, PDF_INNER - indent), PDF_MARGIN + indent);
}

static void pdf_head(struct pdf *p, const char *title)
{
	p->y += 2 * PDF_GAP;
	pdf_room(p, 60); /* a heading stands with what it heads */
	pdf_text(p, str_of(title), FONT_HEAD, 0);
	p->y += PDF_GAP / 2;
}

/* ---- the parts ---- */

static void pdf_badge(struct pdf *p)
{
	struct str verdict = json_get_str(p->doc, "verdict", STR(""));
	struct buf words = BUF_INIT;
	PangoLayout *l;
	int width, height;
	double w, h;
	size_t i;

	for (i = 0; i < verdict.n; i++)
		buf_addc(&words, verdict.p[i] == '_' ? ' ' : verdict.p[i]);
	for (i = 0; pdf_verdicts[i].verdict != NULL && !str_eqz(verdict, pdf_verdicts[i].verdict); i++)
		;
	buf_printf(&words, "   %.1f %%", (double)json_get_int(p->doc, "confidence_ppm", 0) / 1e4);
	l = pdf_layout(p, buf_str(&words), FONT_BOLD, PDF_INNER);
	pango_layout_get_size(l, &width, &height);
	w = (double)width / PANGO_SCALE;
	h = (double)height / PANGO_SCALE;
	pdf_colour(p, &pdf_verdicts[i].ground);
	cairo_rectangle(p->cr, PDF_MARGIN, p->y, w + 20, h + 10);
	cairo_fill(p->cr);
	pdf_colour(p, &pdf_verdicts[i].ink);
	pdf_draw(p, l, PDF_MARGIN + 10, p->y + 5);
	pdf_colour(p, &pdf_ink);
	p->y += h + 10 + PDF_GAP;
	buf_free(&words);
}

static void pdf_mark(PangoAttrList *marks, PangoAttribute *attr, size_t from, size_t to)
{
	attr->start_index = (guint)from;
	attr->end_index = (guint)to;
	pango_attr_list_insert(marks, attr);
}

/* A line of light Markdown with its bold and code pieces. */
static void pdf_inline(struct pdf *p, struct str prefix, struct str line, enum pdf_font font, double indent)
{
	struct receipt_inline in = {.rest = line};
	PangoAttrList *marks = pango_attr_list_copy(p->plain);
	struct buf text = BUF_INIT;
	enum receipt_inline_kind kind;
	PangoLayout *l;
	struct str piece;

	buf_add(&text, prefix);
	while (receipt_inline_next(&in, &piece, &kind)) {
		size_t from = text.n;

		buf_add(&text, piece);
		if (kind == INLINE_BOLD)
			pdf_mark(marks, pango_attr_weight_new(PANGO_WEIGHT_BOLD), from, text.n);
		else if (kind == INLINE_CODE)
			pdf_mark(marks, pango_attr_family_new("DejaVu Sans Mono,Monospace"), from, text.n);
	}
	l = pdf_layout(p, buf_str(&text), font, PDF_INNER - indent);
	pango_layout_set_attributes(l, marks);
	pango_attr_list_unref(marks);
	pdf_flow(p, l, PDF_MARGIN + indent);
	buf_free(&text);
}

static void pdf_line_of_answer(struct pdf *p, struct str line, unsigned *number)
{
	struct buf prefix = BUF_INIT;
	struct str text;
	unsigned level;
	enum receipt_block block = receipt_block_of(str_trim(line), &text, &level);

	*number = block == BLOCK_NUMBERS ? *number + 1 : 0;
	switch (block) {
	case BLOCK_BULLETS:
		pdf_inline(p, STR("•  "), text, FONT_TEXT, 12);
		break;
	case BLOCK_NUMBERS:
		buf_printf(&prefix, "%u.  ", *number);
		pdf_inline(p, buf_str(&prefix), text, FONT_TEXT, 12);
		break;
	case BLOCK_NONE:
		p->y += PDF_GAP;
		if (level > 0)
			pdf_inline(p, STR(""), text, level > 2 ? FONT_BOLD : FONT_HEAD, 0);
		break;
	case BLOCK_TEXT:
	case BLOCK_CODE:
	default:
		pdf_inline(p, STR(""), text, FONT_TEXT, 0);
		break;
	}
	buf_free(&prefix);
}

static void pdf_answer(struct pdf *p)
{
	struct str rest = json_get_str(p->doc, "final_answer", STR("")), line;
	bool code = false;
	unsigned number = 0;

	if (rest.n == 0)
		rest = json_get_str(p->doc, "synthesis", STR(""));
	if (rest.n == 0)
		rest = STR("No answer was given.");
	pdf_head(p, "Answer");
	while (str_split(&rest, '\n', &line) && p->page < PDF_PAGES_MAX) {
		if (str_starts(str_trim(line), STR("```")))
			code = !code;
		else if (code)
			pdf_text(p, line.n > 0 ? line : STR(" "), FONT_CODE, 8);
		else
			pdf_line_of_answer(p, line, &number);
	}
}

static void pdf_fact(struct pdf *p, const char *label, struct str value, enum pdf_font font)
{
	PangoLayout *l;
	double height;

	if (value.n == 0)
		return;
	l = pdf_layout(p, str_utf8_cut(value, PDF_CELL), font, PDF_INNER - 130);
	height = pdf_height(l);
	pdf_room(p, height);
	pdf_colour(p, &pdf_soft);
	pdf_draw(p, pdf_layout(p, str_of(label), FONT_SOFT, 125), PDF_MARGIN, p->y);
	pdf_colour(p, &pdf_ink);
	pdf_draw(p, l, PDF_MARGIN + 130, p->y);
	p->y += height + 2;
}

static void pdf_facts(struct pdf *p)
{
	struct buf text = BUF_INIT;
	size_t i;

	pdf_head(p, "How it was decided");
	for (i = 0; i < receipt_facts_count; i++) {
		buf_clear(&text);
		receipt_show(&text, p->doc, &receipt_facts[i]);
		pdf_fact(p, receipt_facts[i].label, buf_str(&text), FONT_TEXT);
	}
	buf_free(&text);
}

/* The text of a cell, its lines joined; the label where there is no row. */
static void pdf_cell(struct buf *text, const struct receipt_column *c, const json_t *row)
{
	size_t i;

	buf_clear(text);
	if (row != NULL)
		receipt_show(text, row, c);
	else
		buf_addz(text, c->label);
	for (i = 0; i < text->n; i++)
		if (text->p[i] == '\n' || text->p[i] == '\r')
			text->p[i] = ' ';
}

/* Columns share the page by their longest text: at least what a number takes, at most what prose takes. */
static void pdf_widths(const struct receipt_section *s, const json_t *rows, double width[PDF_COLUMNS])
{
	struct buf text = BUF_INIT;
	double sum = 0;
	const json_t *row;
	size_t i, k, n;

	for (k = 0; k < s->n; k++) {
		width[k] = PDF_NARROW;
		for (i = 0; i <= json_array_size(rows); i++) {
			row = i > 0 ? json_array_get(rows, i - 1) : NULL;
			pdf_cell(&text, &s->columns[k], row);
			n = text.n < PDF_WIDE ? text.n + 1 : PDF_WIDE;
			width[k] = (double)n > width[k] ? (double)n : width[k];
		}
		sum += width[k];
	}
	for (k = 0; k < s->n; k++)
		width[k] *= PDF_INNER / sum;
	buf_free(&text);
}

static void pdf_rule(struct pdf *p)
{
	pdf_colour(p, &pdf_line);
	cairo_rectangle(p->cr, PDF_MARGIN, p->y, PDF_INNER, .6);
	cairo_fill(p->cr);
	pdf_colour(p, &pdf_ink);
	p->y += 3;
}

/* A row, or without one the labels. */
static void pdf_row(struct pdf *p, const struct receipt_section *s, const double width[PDF_COLUMNS], const json_t *row)
{
	PangoLayout *cells[PDF_COLUMNS] = {NULL};
	struct buf text = BUF_INIT;
	double tallest = 0, x = PDF_MARGIN;
	size_t k;

	for (k = 0; k < s->n; k++) {
		pdf_cell(&text, &s->columns[k], row);
		cells[k] = pdf_layout(p, str_utf8_cut(buf_str(&text), PDF_CELL), FONT_SMALL, width[k] - 5);
		tallest = pdf_height(cells[k]) > tallest ? pdf_height(cells[k]) : tallest;
	}
	buf_free(&text);
	pdf_room(p, tallest + 4);
	if (row == NULL)
		pdf_colour(p, &pdf_soft);
	for (k = 0; k < s->n; k++) {
		pdf_draw(p, cells[k], x, p->y);
		x += width[k];
	}
	p->y += tallest + 2;
	pdf_rule(p);
}

static void pdf_section(struct pdf *p, const struct receipt_section *s)
{
	const json_t *rows = json_get_arr(p->doc, s->rows), *row;
	double width[PDF_COLUMNS] = {0};
	size_t i;

	BUG_ON(s->n > PDF_COLUMNS);

	if (json_array_size(rows) == 0 && s->empty == NULL)
		return;
	pdf_head(p, s->title);
	if (json_array_size(rows) == 0) {
		pdf_text(p, str_of(s->empty), FONT_TEXT, 0);
		return;
	}
	pdf_widths(s, rows, width);
	pdf_row(p, s, width, NULL);
	json_array_foreach(rows, i, row) if (p->page < PDF_PAGES_MAX) pdf_row(p, s, width, row);
}

static void pdf_proof(struct pdf *p)
{
	static const char *const names[][2] = {{"Receipt", "receipt_id"},
					       {"Debate", "debate_id"},
					       {"Content hash (SHA-256)", "content_hash"},
					       {"Signature", "signature"},
					       {"Algorithm", "signature_algorithm"},
					       {"Key", "signature_key_id"},
					       {"Signed at", "signed_at"},
					       {"Hash of the question", "input_hash"}};
	size_t i;

	pdf_head(p, "Verification");
	for (i = 0; i < countof(names); i++)
		pdf_fact(p, names[i][0], json_get_str(p->doc, names[i][1], STR("")), FONT_CODE);
	p->y += PDF_GAP;
	pdf_text(
	    p,
	    STR("This page shows the receipt; what is signed is its JSON form. aragorad receipt verify checks that "
		"without a server."),
	    FONT_SOFT, 0);
}

static void pdf_body(struct pdf *p)
{
	struct buf text = BUF_INIT;
	size_t i;

	p->page = 0;
	pdf_page(p);
	pdf_colour(p, &pdf_soft);
	buf_printf(&text, "DECISION RECEIPT  ·  %.*s", STR_ARG(json_get_str(p->doc, "timestamp", STR(""))));
	pdf_text(p, buf_str(&text), FONT_SMALL, 0);
	pdf_colour(p, &pdf_ink);
	p->y += PDF_GAP;
	pdf_text(p, json_get_str(p->doc, "question", STR("")), FONT_TITLE, 0);
	p->y += PDF_GAP;
	if (json_get_bool(p->doc, "demo", false))
		pdf_text(p, STR("Demonstration: the agents were played by the server; no model was asked."), FONT_SOFT,
			 0);
	p->y += PDF_GAP;
	pdf_badge(p);
	buf_clear(&text);
	receipt_explain(&text, p->doc);
	pdf_text(p, buf_str(&text), FONT_TEXT, 0);
	buf_free(&text);
	pdf_answer(p);
	pdf_facts(p);
	for (i = 0; i < receipt_sections_count; i++)
		pdf_section(p, &receipt_sections[i]);
	pdf_proof(p);
	pdf_foot(p);
}

/* ---- the file ---- */

static cairo_status_t pdf_write(void *arg, const unsigned char *data, unsigned n)
{
	if (arg != NULL)
		buf_add(arg, (struct str){(const char *)data, n});
	return CAIRO_STATUS_SUCCESS;
}

static void pdf_describe(struct pdf *p)
{
	char title[256];

	snprintf(title, sizeof(title), "Decision receipt: %.*s",
		 STR_ARG(str_utf8_cut(json_get_str(p->doc, "question", STR("")), 120)));
	cairo_pdf_surface_set_metadata(p->surface, CAIRO_PDF_METADATA_TITLE, title);
	cairo_pdf_surface_set_metadata(p->surface, CAIRO_PDF_METADATA_CREATOR, "aragorad");
	/* The time of the signature: equal receipts give equal files. */
	cairo_pdf_surface_set_metadata(p->surface, CAIRO_PDF_METADATA_CREATE_DATE,
				       json_get_str(p->doc, "signed_at", STR("1970-01-01T00:00:00Z")).p);
}

/* One pass; the first, without `out`, counts the pages. */
static bool pdf_pass(struct pdf *p, PangoFontMap *map, struct buf *out)
{
	bool ok;

	p->surface = cairo_pdf_surface_create_for_stream(pdf_write, out, PDF_WIDTH, PDF_HEIGHT);
	p->cr = cairo_create(p->surface);
	p->context = pango_font_map_create_context(map);
	pdf_describe(p);
	pdf_body(p);
	cairo_show_page(p->cr);
	cairo_surface_finish(p->surface);
	ok = cairo_status(p->cr) == CAIRO_STATUS_SUCCESS && cairo_surface_status(p->surface) == CAIRO_STATUS_SUCCESS;
	p->pages = p->page;
	g_object_unref(p->context);
	cairo_destroy(p->cr);
	cairo_surface_destroy(p->surface);
	return ok;
}

static bool pdf_has_fonts(PangoFontMap *map)
{
	PangoFontFamily **families = NULL;
	int n = 0;

	pango_font_map_list_families(map, &families, &n);
	g_free(families);
	return n > 0;
}

static bool pdf_render(const json_t *doc, struct buf *out, struct error *err)
{
	struct pdf p = {.doc = doc};
	PangoFontMap *map = pango_cairo_font_map_new(); /* of this thread and this file: what it caches ends with it */
	bool ok = pdf_has_fonts(map);
	size_t i;

	if (ok) {
		p.plain = pango_attr_list_new();
		pango_attr_list_insert(p.plain, pango_attr_insert_hyphens_new(FALSE));
		for (i = 0; i < FONT_MAX; i++)
			p.fonts[i] = pango_font_description_from_string(pdf_fonts[i]);
		ok = pdf_pass(&p, map, NULL) && pdf_pass(&p, map, out);
		for (i = 0; i < FONT_MAX; i++)
			pango_font_description_free(p.fonts[i]);
		pango_attr_list_unref(p.plain);
		if (!ok)
			error_set(err, ERR_INTERNAL, "the PDF could not be made");
	} else {
		error_set(
		    err, ERR_UNAVAILABLE,
		    "PDF needs fonts on the server: fonts-dejavu-core, and fonts-noto-core and -cjk for all scripts");
	}
	g_object_unref(map);
	return ok;
}

const struct receipt_pdf_module aragora_pdf_module = {ARAGORA_VERSION, pdf_render};
