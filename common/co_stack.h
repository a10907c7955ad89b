/* SPDX-License-Identifier: MIT */
/*
 * The stacks that coroutines run on: mapped with a guard page below, pooled, measured when they come back.
 * For co.c; co_stack_peak() is declared in co.h.
 */
#ifndef COMMON_CO_STACK_H
#define COMMON_CO_STACK_H

#include "common/compat.h"

#if defined(__SANITIZE_ADDRESS__)
#define CO_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CO_ASAN 1
#endif
#endif

/* Fixes the size of all stacks; returns it rounded up to pages. */
size_t co_stack_init(size_t size);
/* Unmaps the pool and forgets the peak. Every stack must have come back. */
void co_stack_shutdown(void);
/* The lowest usable byte of a stack, NULL when the system has no more mappings or memory. */
char *co_stack_get(void) MUST_CHECK;
void co_stack_put(char *stack);

#endif
