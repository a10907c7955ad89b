/* SPDX-License-Identifier: MIT */
/*
 * The title of a process. Called by main, the master and each worker. Leaves the short name (comm) alone, so that
 * pidof and killall still find the program.
 */
#include "common/title.h"

#include <stdarg.h>
#include <unistd.h>

#define TITLE_MAX 2048

static struct {
	char *area; /* arguments, and the environment right behind them */
	size_t area_n;
	size_t args_n; /* of them arguments */
	char **arguments;
	char **environment; /* as it was: whoever removes a variable does not free its text */
} title_self;

/* Copies a vector of strings; extends *end over those that lie in memory right behind it. */
static char **title_move(char *const *v, char **end)
{
	size_t n = 0;
	char **copy;

	while (v[n] != NULL)
		n++;
	copy = xcalloc(n + 1, sizeof(*copy));
	for (size_t i = 0; i < n; i++) {
		if (*end == NULL || v[i] == *end)
			*end = v[i] + strlen(v[i]) + 1;
		copy[i] = xstrdup(v[i]);
	}
	return copy;
}

static char **title_copy(char *const *v)
{
	size_t n = 0;
	char **copy;

	while (v[n] != NULL)
		n++;
	copy = xcalloc(n + 1, sizeof(*copy));
	memcpy(copy, v, n * sizeof(*copy));
	return copy;
}

char **title_init(int argc, char **argv)
{
	char *end = NULL;

	if (argc < 1)
		return argv;
	title_self.area = argv[0];
	title_self.arguments = title_move(argv, &end);
	title_self.args_n = (size_t)(end - argv[0]);
	title_self.environment = title_move(environ, &end);
	environ = title_copy(title_self.environment);
	title_self.area_n = (size_t)(end - argv[0]);
	return title_self.arguments;
}

char *const *title_arguments(void)
{
	return title_self.arguments;
}

void title_set(const char *fmt, ...)
{
	char text[TITLE_MAX];
	size_t n;
	va_list ap;

	if (title_self.area == NULL)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	n = strlen(text);
	if (n >= title_self.area_n)
		n = title_self.area_n - 1;
	/* Text first: whoever reads meanwhile finds a title, not nothing. */
	memcpy(title_self.area, text, n);
	memset(title_self.area + n, 0, title_self.area_n - n);
	/* A last byte that is not zero tells the kernel that this is a title: it shows the text up to its end. */
	if (n < title_self.args_n)
		title_self.area[title_self.args_n - 1] = n + 1 < title_self.args_n ? '.' : '\0';
}
