/* SPDX-License-Identifier: MIT */
/*
 * Compiler attributes, assertions that stay on in production, and the list of functions nobody may call.
 * Included by every header of the project, so that the poisoned names are poisoned everywhere.
 */
#ifndef COMMON_COMPAT_H
#define COMMON_COMPAT_H

/* These headers declare the poisoned names, so they come before the poison. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_FMT(f, a) __attribute__((format(printf, f, a)))
#define NORETURN __attribute__((noreturn))

/* Marks a function that may suspend the calling coroutine; calling it off a coroutine aborts. */
#define CO_FN

#define countof(array) (sizeof(array) / sizeof((array)[0]))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Programmer errors end the process, in production too; user and network errors never do. */
#define BUG_ON(condition)                                              \
	do {                                                           \
		if (__builtin_expect(!!(condition), 0))                \
			bug(#condition, __FILE__, __LINE__, __func__); \
	} while (0)

/* Prints where the broken assumption stands to standard error and aborts. */
NORETURN void bug(const char *what, const char *file, int line, const char *func);
/* Registers what bug() calls between its message and the abort; the logger saves its buffer there. NULL: nothing. */
void bug_at_abort(void (*save)(void));

/* Small fixed-size allocations: never NULL, the process dies when memory is gone. */
void *xmalloc(size_t n) __attribute__((malloc, returns_nonnull));
void *xcalloc(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
void *xrealloc(void *p, size_t n) __attribute__((returns_nonnull));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull));
char *xstrndup(const char *s, size_t n) __attribute__((malloc, returns_nonnull));

/* Under clang the fortified C library defines some of them as macros, which cannot be poisoned. */
#ifndef __clang__
#pragma GCC poison strcpy strcat sprintf vsprintf strtok atoi atol gets
#endif

#endif
