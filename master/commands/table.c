/* SPDX-License-Identifier: MIT */
/*
 * Tables in the terminal. Called by the subcommands that list something. Does not cut long cells: a pipe or a wide
 * terminal shall see all of it.
 */
#include "master/commands/table.h"

#include <stdarg.h>
#include <unistd.h>

#include "common/clock.h"

struct table {
	const struct table_column *columns;
	size_t width; /* columns */
	char **cells;
	size_t n;
};

struct table *table_new(const struct table_column *columns, size_t n)
{
	struct table *t = xcalloc(1, sizeof(*t));

	BUG_ON(n == 0);
	t->columns = columns;
	t->width = n;
	return t;
}

void table_cell(struct table *t, const char *fmt, ...)
{
	struct buf text = BUF_INIT;
	char line[1024];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	buf_addz(&text, line);
	t->cells = xrealloc(t->cells, (t->n + 1) * sizeof(*t->cells));
	t->cells[t->n++] = text.p != NULL ? text.p : xstrdup("");
}

/* Characters, not bytes: names of people's debates are not all ASCII. */
static size_t table_width(const char *text)
{
	size_t n = 0;

	for (; *text != '\0'; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static void table_line(const struct table *t, const size_t *widths, const char *const *cells, FILE *out)
{
	for (size_t i = 0; i < t->width; i++) {
		size_t gap = widths[i] - table_width(cells[i]);

		fprintf(out, "%s%*s%s", i > 0 ? "  " : "", t->columns[i].right ? (int)gap : 0, "", cells[i]);
		if (!t->columns[i].right && i + 1 < t->width)
			fprintf(out, "%*s", (int)gap, "");
	}
}

void table_print(const struct table *t, FILE *out)
{
	const char *no_color = getenv("NO_COLOR");
	bool bold = isatty(fileno(out)) && (no_color == NULL || *no_color == '\0');
	const char **heads = xcalloc(t->width, sizeof(*heads));
	size_t *widths = xcalloc(t->width, sizeof(*widths));

	for (size_t i = 0; i < t->width; i++) {
		heads[i] = t->columns[i].name;
		widths[i] = table_width(heads[i]);
	}
	for (size_t row = 0; row + t->width <= t->n; row += t->width) {
		for (size_t i = 0; i < t->width; i++) {
			size_t w = table_width(t->cells[row + i]);

			if (w > widths[i])
				widths[i] = w;
		}
	}
	fputs(bold ? "\033[1m" : "", out);
	table_line(t, widths, heads, out);
	fputs(bold ? "\033[0m\n" : "\n", out);
	for (size_t i = 0; i + t->width <= t->n; i += t->width) {
		table_line(t, widths, (const char *const *)&t->cells[i], out);
		fputc('\n', out);
	}
	free(heads);
	free(widths);
}

void table_free(struct table *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->cells[i]);
	free(t->cells);
	free(t);
}

const char *table_bytes(char out[TABLE_TEXT], int64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	double v = (double)bytes;
	size_t unit = 0;

	while (v >= 1024 && unit + 1 < countof(units)) {
		v /= 1024;
		unit++;
	}
	snprintf(out, TABLE_TEXT, unit > 0 ? "%.1f %s" : "%.0f %s", v, units[unit]);
	return out;
}

const char *table_time(char out[TABLE_TEXT], int64_t wall_ms)
{
	char iso[CLOCK_ISO_MAX];

	if (wall_ms == 0)
		snprintf(out, TABLE_TEXT, "-");
	else
		snprintf(out, TABLE_TEXT, "%.10s %.8s", clock_iso(iso, wall_ms), iso + 11);
	return out;
}
