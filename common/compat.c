/* SPDX-License-Identifier: MIT */
/*
 * Ends the process when an assumption of ours is broken or memory is gone, and the allocators that rely on that.
 * Called from everywhere, by macro. Deliberately knows no other module: whoever has buffered lines to save before
 * the end registers for it.
 */
#include "common/compat.h"

#include <unistd.h>

static void (*bug_hook)(void);

void bug_at_abort(void (*save)(void))
{
	bug_hook = save;
}

void bug(const char *what, const char *file, int line, const char *func)
{
	void (*save)(void) = bug_hook;

	/* A second failure inside the hook must not come back here. */
	bug_hook = NULL;
	dprintf(STDERR_FILENO, "BUG: %s:%d: %s: %s (pid %d)\n", file, line, func, what, (int)getpid());
	if (save != NULL)
		save();
	abort();
}

void *xmalloc(size_t n)
{
	void *p = malloc(n != 0 ? n : 1);

	if (p == NULL)
		bug("out of memory", __FILE__, __LINE__, __func__);
	return p;
}

void *xcalloc(size_t count, size_t size)
{
	void *p = calloc(count != 0 ? count : 1, size != 0 ? size : 1);

	if (p == NULL)
		bug("out of memory", __FILE__, __LINE__, __func__);
	return p;
}

void *xrealloc(void *p, size_t n)
{
	void *q = realloc(p, n != 0 ? n : 1);

	if (q == NULL)
		bug("out of memory", __FILE__, __LINE__, __func__);
	return q;
}

char *xstrdup(const char *s)
{
	return xstrndup(s, strlen(s));
}

char *xstrndup(const char *s, size_t n)
{
	size_t len = strnlen(s, n);
	char *p = xmalloc(len + 1);

	memcpy(p, s, len);
	p[len] = '\0';
	return p;
}
