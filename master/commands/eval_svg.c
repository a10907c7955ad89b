/* SPDX-License-Identifier: MIT */
/*
 * The plot of an evaluation (eval_report.h): a picture without scripts or foreign fonts, readable on light and dark
 * paper. Called by `aragorad eval`.
 */
#include <math.h>

#include "common/html.h"
#include "master/commands/eval_report.h"

#define SVG_WIDTH 960
#define SVG_LEFT 70.0
#define SVG_RIGHT 610.0
#define SVG_TOP 80.0
#define SVG_BOTTOM 440.0
#define SVG_LEGEND 650.0
#define SVG_LINE 38.0

/* Distinguishable for most colour-blind people (Okabe and Ito 2008); shapes tell the rest apart. */
static const char *const svg_colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
					  "#e69f00", "#56b4e9", "#7f7f7f", "#a6761d"};

struct svg_scale {
	double low, high;   /* accuracy */
	double least, most; /* log10 of tokens */
};

static struct svg_scale svg_scale(const struct eval_row *rows, size_t n)
{
	struct svg_scale s = {1, 0, 1e9, 0};
	size_t i;

	for (i = 0; i < n; i++) {
		double x = log10(fmax(1, rows[i].tokens));

		s.low = fmin(s.low, rows[i].range.low);
		s.high = fmax(s.high, rows[i].range.high);
		s.least = fmin(s.least, x);
		s.most = fmax(s.most, x);
	}
	s.low = fmax(0, floor(s.low * 20 - 0.2) / 20);
	s.high = fmin(1, ceil(s.high * 20 + 0.2) / 20);
	s.least -= 0.08;
	s.most += 0.08;
	return s;
}

static double svg_x(const struct svg_scale *s, double tokens)
{
	return SVG_LEFT + (log10(fmax(1, tokens)) - s->least) / (s->most - s->least) * (SVG_RIGHT - SVG_LEFT);
}

static double svg_y(const struct svg_scale *s, double accuracy)
{
	return SVG_BOTTOM - (accuracy - s->low) / (s->high - s->low) * (SVG_BOTTOM - SVG_TOP);
}

static void svg_tokens(struct buf *b, double tokens)
{
	if (tokens >= 1e6)
		buf_printf(b, "%g M", tokens / 1e6);
	else if (tokens >= 1e3)
		buf_printf(b, "%g k", tokens / 1e3);
	else
		buf_printf(b, "%g", tokens);
}

static void svg_grid(const struct svg_scale *s, struct buf *b)
{
	static const double steps[] = {1, 2, 5};
	double step = s->high - s->low > 0.5 ? 0.1 : 0.05, v;
	int e, i;
	size_t k;

	for (i = 0; i <= (int)((s->high - s->low) / step + 0.5); i++) {
		v = s->low + i * step;
		buf_printf(b,
			   "<line class=\"grid\" x1=\"%.0f\" x2=\"%.0f\" y1=\"%.1f\" y2=\"%.1f\"/><text class=\"tick\" "
			   "x=\"%.0f\" y=\"%.1f\" text-anchor=\"end\">%.0f %%</text>\n",
			   SVG_LEFT, SVG_RIGHT, svg_y(s, v), svg_y(s, v), SVG_LEFT - 8, svg_y(s, v) + 4, 100 * v);
	}
	for (e = 0; e < 9; e++)
		for (k = 0; k < countof(steps); k++) {
			double tokens = steps[k] * pow(10, e), x = svg_x(s, tokens);

			if (x < SVG_LEFT || x > SVG_RIGHT)
				continue;
			buf_printf(b,
				   "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.0f\" y2=\"%.0f\"/><text "
				   "class=\"tick\" x=\"%.1f\" y=\"%.0f\" text-anchor=\"middle\">",
				   x, x, SVG_TOP, SVG_BOTTOM, x, SVG_BOTTOM + 18);
			svg_tokens(b, tokens);
			buf_addz(b, "</text>\n");
		}
}

/* Circle, square, triangle: as many forms as colours repeat. */
static void svg_mark(struct buf *b, size_t i, double x, double y)
{
	const char *colour = svg_colours[i % countof(svg_colours)];

	switch (i / countof(svg_colours)) {
	case 0:
		buf_printf(b, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"6\" fill=\"%s\"/>", x, y, colour);
		break;
	case 1:
		buf_printf(b, "<rect x=\"%.1f\" y=\"%.1f\" width=\"11\" height=\"11\" fill=\"%s\"/>", x - 5.5, y - 5.5,
			   colour);
		break;
	default:
		buf_printf(b, "<path d=\"M%.1f %.1fl7 12h-14z\" fill=\"%s\"/>", x, y - 7, colour);
		break;
	}
}

static void svg_point(const struct svg_scale *s, const struct eval_row *r, size_t i, struct buf *b)
{
	double x = svg_x(s, r->tokens), low = svg_y(s, r->range.low), high = svg_y(s, r->range.high);

	buf_addz(b, "<g><title>");
	html_escape(b, str_of(r->name));
	buf_printf(b, ": %.1f %% (%.1f to %.1f), %.0f tokens</title>", 100 * r->accuracy, 100 * r->range.low,
		   100 * r->range.high, r->tokens);
	buf_printf(b,
		   "<path d=\"M%.1f %.1fV%.1fM%.1f %.1fh8M%.1f %.1fh8\" stroke=\"%s\" stroke-width=\"1.6\" "
		   "fill=\"none\"/>",
		   x, low, high, x - 4, low, x - 4, high, svg_colours[i % countof(svg_colours)]);
	svg_mark(b, i, x, svg_y(s, r->accuracy));
	buf_addz(b, "</g>\n");
}

static void svg_legend(const struct eval_row *r, size_t i, struct buf *b)
{
	double y = SVG_TOP + 10 + (double)i * SVG_LINE;

	svg_mark(b, i, SVG_LEGEND, y - 4);
	buf_printf(b, "<text x=\"%.0f\" y=\"%.1f\">", SVG_LEGEND + 16, y);
	html_escape(b, str_of(r->name));
	buf_printf(
	    b, "</text><text class=\"tick\" x=\"%.0f\" y=\"%.1f\">%.1f %% right, gain %+.1f (%+.1f to %+.1f)</text>\n",
	    SVG_LEGEND + 16, y + 15, 100 * r->accuracy, 100 * r->gain, 100 * r->gain_range.low,
	    100 * r->gain_range.high);
}

void eval_svg(const struct eval_row *rows, size_t n, struct str title, struct buf *out)
{
	struct svg_scale s = svg_scale(rows, n);
	double height = fmax(SVG_BOTTOM + 60, SVG_TOP + (double)n * SVG_LINE + 30);
	size_t i;

	buf_printf(
	    out,
	    "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\" role=\"img\" font-family=\"system-ui, "
	    "sans-serif\" font-size=\"14\">\n<style>svg{background:#fff}text{fill:#1b1f24}.tick{font-size:12px;"
	    "fill:#59636e}.grid{stroke:#d9dee3}@media(prefers-color-scheme:dark){svg{background:#15191e}"
	    "text{fill:#e6e9ec}.tick{fill:#9aa4ae}.grid{stroke:#2f363e}}</style>\n",
	    SVG_WIDTH, height);
	buf_printf(out,
		   "<title>Accuracy and tokens per question</title>\n<text x=\"%.0f\" y=\"32\" font-size=\"18\" "
		   "font-weight=\"600\">Accuracy and tokens per question</text>\n<text class=\"tick\" x=\"%.0f\" "
		   "y=\"54\">",
		   SVG_LEFT, SVG_LEFT);
	html_escape(out, title);
	buf_addz(out, "; bars are 95 % intervals, gains are against the first arm</text>\n");
	svg_grid(&s, out);
	for (i = 0; i < n; i++)
		svg_point(&s, &rows[i], i, out);
	for (i = 0; i < n; i++)
		svg_legend(&rows[i], i, out);
	buf_printf(out,
		   "<text class=\"tick\" x=\"%.0f\" y=\"%.0f\" text-anchor=\"middle\">tokens per question, in and out "
		   "(logarithmic)</text>\n</svg>\n",
		   (SVG_LEFT + SVG_RIGHT) / 2, SVG_BOTTOM + 44);
}
