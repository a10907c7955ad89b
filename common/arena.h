/* SPDX-License-Identifier: MIT */
/*
 * Memory that dies together: one arena per request, message, step. Nothing in it is freed one by one; foreign
 * objects (json_t, handles) register a clean-up. Clean-ups run in reverse order before the memory goes.
 */
#ifndef COMMON_ARENA_H
#define COMMON_ARENA_H

#include "common/str.h"

struct arena;

/* New arena whose first chunk has `hint` bytes (0: 4 KiB). Never NULL. */
struct arena *arena_new(size_t hint);
/* Runs the clean-ups and frees all memory. NULL is allowed. */
void arena_free(struct arena *a);
/* Runs the clean-ups, keeps the first chunk for reuse. */
void arena_reset(struct arena *a);

/* Aligned for any type, zeroed by arena_zalloc only. Never NULL (the process dies when memory is gone). */
void *arena_alloc(struct arena *a, size_t n) __attribute__((malloc, returns_nonnull));
void *arena_zalloc(struct arena *a, size_t n) __attribute__((malloc, returns_nonnull));
/* For sizes that a client controls: NULL when memory is gone. */
void *arena_try_alloc(struct arena *a, size_t n);
/* NUL-terminated copies. */
char *arena_strdup(struct arena *a, const char *z);
struct str arena_str(struct arena *a, struct str s);
struct str arena_printf(struct arena *a, const char *fmt, ...) PRINTF_FMT(2, 3);
/* Calls fn(ptr) when the arena is reset or freed. */
void arena_defer(struct arena *a, void (*fn)(void *ptr), void *ptr);
/* Bytes handed out since creation or the last reset. */
size_t arena_used(const struct arena *a);

#endif
