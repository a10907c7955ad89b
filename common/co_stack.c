/* SPDX-License-Identifier: MIT */
/*
 * A pool of stacks with guard pages. Called by co.c when a coroutine begins and ends.
 * It does not count or limit the stacks in use: co.c does.
 */
#include "common/co_stack.h"

#include <sys/mman.h>
#include <unistd.h>

#include "common/co.h"

#ifdef CO_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#endif

#define CO_KEEP_BYTES (64U * 1024) /* of a pooled stack stay resident */
#define CO_POOL_MAX 256U           /* free stacks kept */

/* One pool per process, as there is one set of coroutines. */
static struct {
	size_t page;
	size_t size;
	size_t peak;
	char *pool[CO_POOL_MAX];
	unsigned pooled;
} co_stacks;

static char *co_stack_map(void)
{
	size_t size = co_stacks.size + co_stacks.page;
	char *map =
	    mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);

	if (map == MAP_FAILED)
		return NULL;
	/* Without its guard page a stack is not used: an overflow would write into a neighbour. */
	if (mprotect(map, co_stacks.page, PROT_NONE) == -1) {
		munmap(map, size);
		return NULL;
	}
	return map + co_stacks.page;
}

char *co_stack_get(void)
{
	char *stack = co_stacks.pooled > 0 ? co_stacks.pool[--co_stacks.pooled] : co_stack_map();

#ifdef CO_ASAN
	if (stack != NULL)
		__lsan_register_root_region(stack, co_stacks.size);
#endif
	return stack;
}

static void co_stack_unmap(char *stack)
{
	munmap(stack - co_stacks.page, co_stacks.size + co_stacks.page);
}

/*
 * Learns from the resident pages how deep a stack was used. Only the part below both the known peak and what a pooled
 * stack may keep is asked for, so that it is one cheap system call.
 */
static void co_stack_measure(char *stack)
{
	size_t keep = co_stacks.peak < CO_KEEP_BYTES ? co_stacks.peak : CO_KEEP_BYTES;
	unsigned char resident[1024];
	size_t pages;
	size_t untouched = 0;
	size_t used;

	if (keep >= co_stacks.size)
		return;
	pages = (co_stacks.size - keep) / co_stacks.page;
	if (pages > sizeof(resident) || mincore(stack, pages * co_stacks.page, resident) == -1)
		return;
	while (untouched < pages && (resident[untouched] & 1) == 0)
		untouched++;
	used = co_stacks.size - untouched * co_stacks.page;
	if (untouched < pages && used > co_stacks.peak)
		co_stacks.peak = used;
	/* Failure only means that the pages stay resident. */
	if (used > CO_KEEP_BYTES)
		(void)madvise(stack, co_stacks.size - CO_KEEP_BYTES, MADV_DONTNEED);
}

void co_stack_put(char *stack)
{
#ifdef CO_ASAN
	__lsan_unregister_root_region(stack, co_stacks.size);
	/* The last frames never returned; their red zones are still marked. */
	__asan_unpoison_memory_region(stack, co_stacks.size);
#endif
	co_stack_measure(stack);
	if (co_stacks.pooled < CO_POOL_MAX)
		co_stacks.pool[co_stacks.pooled++] = stack;
	else
		co_stack_unmap(stack);
}

size_t co_stack_init(size_t size)
{
	co_stacks.page = (size_t)sysconf(_SC_PAGESIZE);
	co_stacks.size = (size + co_stacks.page - 1) / co_stacks.page * co_stacks.page;
	return co_stacks.size;
}

void co_stack_shutdown(void)
{
	while (co_stacks.pooled > 0)
		co_stack_unmap(co_stacks.pool[--co_stacks.pooled]);
	memset(&co_stacks, 0, sizeof(co_stacks));
}

size_t co_stack_peak(void)
{
	return co_stacks.peak;
}
