/* SPDX-License-Identifier: MIT */
/*
 * Immutable bytes shared by many readers of one process: a broadcast frame is built once and queued for all. Counts
 * are not atomic: loop thread only.
 */
#ifndef COMMON_RBUF_H
#define COMMON_RBUF_H

#include "common/str.h"

struct rbuf {
	unsigned refs;
	size_t n;
	char data[];
};

/* New buffer with one reference and uninitialised content of n bytes; NULL when memory is gone. */
struct rbuf *rbuf_new(size_t n);
/* Copy of s. */
struct rbuf *rbuf_of(struct str s);
struct rbuf *rbuf_ref(struct rbuf *r);
/* NULL is allowed. */
void rbuf_unref(struct rbuf *r);

#endif
