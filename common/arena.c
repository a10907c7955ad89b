/* SPDX-License-Identifier: MIT */
/*
 * Memory that dies together, in chunks behind a first one that is kept for reuse. Called by whoever serves a request,
 * a message or a step. Deliberately not thread-safe and without freeing single objects.
 */
#include "common/arena.h"

#include <stdarg.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#endif

/* Under ASan what is not handed out is poisoned and a gap follows each object, so that overruns are reported. */
#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
#define ARENA_GAP 16
#define ARENA_POISON(p, n) __asan_poison_memory_region(p, n)
#define ARENA_UNPOISON(p, n) __asan_unpoison_memory_region(p, n)
#else
#define ARENA_GAP 0
#define ARENA_POISON(p, n) ((void)0)
#define ARENA_UNPOISON(p, n) ((void)0)
#endif

#define ARENA_ALIGN _Alignof(max_align_t)
#define ARENA_FIRST 4096
#define ARENA_CHUNK_MAX ((size_t)64 * 1024)

struct arena_chunk {
	struct arena_chunk *next;
	size_t size; /* of data */
	size_t used;
	_Alignas(max_align_t) char data[];
};

struct arena_cleanup {
	struct arena_cleanup *next;
	void (*fn)(void *ptr);
	void *ptr;
};

struct arena {
	struct arena_chunk *first;   /* kept by arena_reset */
	struct arena_chunk *current; /* where small objects come from; the list starts at first */
	struct arena_cleanup *cleanups;
	size_t used;
	size_t grow; /* size of the next ordinary chunk */
};

static struct arena_chunk *arena_chunk_new(size_t size)
{
	struct arena_chunk *chunk;
	size_t total;

	if (__builtin_add_overflow(size, sizeof(*chunk), &total) || total > PTRDIFF_MAX)
		return NULL;
	chunk = malloc(total);
	if (chunk == NULL)
		return NULL;
	chunk->next = NULL;
	chunk->size = size;
	chunk->used = 0;
	ARENA_POISON(chunk->data, size);
	return chunk;
}

static void arena_chunk_free(struct arena_chunk *chunk)
{
	ARENA_UNPOISON(chunk->data, chunk->size);
	free(chunk);
}

struct arena *arena_new(size_t hint)
{
	struct arena *a = xcalloc(1, sizeof(*a));
	size_t size = hint != 0 ? hint : ARENA_FIRST;

	a->first = arena_chunk_new(size);
	BUG_ON(a->first == NULL);
	a->current = a->first;
	a->grow = size < ARENA_FIRST ? ARENA_FIRST : size;
	if (a->grow > ARENA_CHUNK_MAX)
		a->grow = ARENA_CHUNK_MAX;
	return a;
}

void arena_reset(struct arena *a)
{
	struct arena_cleanup *cleanup;
	struct arena_chunk *chunk;

	/* One at a time: a clean-up may still allocate here or register another. */
	while ((cleanup = a->cleanups) != NULL) {
		a->cleanups = cleanup->next;
		cleanup->fn(cleanup->ptr);
	}
	while ((chunk = a->first->next) != NULL) {
		a->first->next = chunk->next;
		arena_chunk_free(chunk);
	}
	a->first->used = 0;
	a->current = a->first;
	a->used = 0;
	ARENA_POISON(a->first->data, a->first->size);
}

void arena_free(struct arena *a)
{
	if (a == NULL)
		return;
	arena_reset(a);
	arena_chunk_free(a->first);
	free(a);
}

/* Chunk with room for `need` bytes. One for a large object alone leaves the current one in use. */
static struct arena_chunk *arena_chunk_for(struct arena *a, size_t need)
{
	struct arena_chunk *chunk = a->current;
	bool alone;

	if (need <= chunk->size - chunk->used)
		return chunk;
	alone = need > a->grow / 2;
	chunk = arena_chunk_new(alone ? need : a->grow);
	if (chunk == NULL)
		return NULL;
	chunk->next = a->current->next;
	a->current->next = chunk;
	if (!alone) {
		a->current = chunk;
		if (a->grow < ARENA_CHUNK_MAX)
			a->grow *= 2;
	}
	return chunk;
}

void *arena_try_alloc(struct arena *a, size_t n)
{
	struct arena_chunk *chunk;
	size_t need;
	char *p;

	if (__builtin_add_overflow(n != 0 ? n : 1, ARENA_ALIGN - 1 + ARENA_GAP, &need))
		return NULL;
	need &= ~(ARENA_ALIGN - 1);
	chunk = arena_chunk_for(a, need);
	if (chunk == NULL)
		return NULL;
	p = chunk->data + chunk->used;
	chunk->used += need;
	a->used += n;
	ARENA_UNPOISON(p, n);
	return p;
}

void *arena_alloc(struct arena *a, size_t n)
{
	void *p = arena_try_alloc(a, n);

	if (p == NULL)
		bug("out of memory", __FILE__, __LINE__, __func__);
	return p;
}

void *arena_zalloc(struct arena *a, size_t n)
{
	return memset(arena_alloc(a, n), 0, n);
}

struct str arena_str(struct arena *a, struct str s)
{
	char *p = arena_alloc(a, s.n + 1);

	if (s.n != 0)
		memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	return (struct str){p, s.n};
}

char *arena_strdup(struct arena *a, const char *z)
{
	size_t n = strlen(z);

	return memcpy(arena_alloc(a, n + 1), z, n + 1);
}

struct str arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap, again;
	char brief[256];
	char *p;
	int len;

	va_start(ap, fmt);
	va_copy(again, ap);
	len = vsnprintf(brief, sizeof(brief), fmt, ap);
	va_end(ap);
	BUG_ON(len < 0);
	p = arena_alloc(a, (size_t)len + 1);
	if ((size_t)len < sizeof(brief))
		memcpy(p, brief, (size_t)len + 1);
	else
		vsnprintf(p, (size_t)len + 1, fmt, again);
	va_end(again);
	return (struct str){p, (size_t)len};
}

void arena_defer(struct arena *a, void (*fn)(void *ptr), void *ptr)
{
	struct arena_cleanup *cleanup = arena_alloc(a, sizeof(*cleanup));

	cleanup->fn = fn;
	cleanup->ptr = ptr;
	cleanup->next = a->cleanups;
	a->cleanups = cleanup;
}

size_t arena_used(const struct arena *a)
{
	return a->used;
}
