/* SPDX-License-Identifier: MIT */
/*
 * Immutable shared bytes with a count. Called by whoever queues one frame to many sockets. Deliberately not atomic:
 * the loop thread alone counts.
 */
#include "common/rbuf.h"

#include <limits.h>

struct rbuf *rbuf_new(size_t n)
{
	struct rbuf *r;
	size_t total;

	if (__builtin_add_overflow(n, sizeof(*r), &total))
		return NULL;
	r = malloc(total);
	if (r == NULL)
		return NULL;
	r->refs = 1;
	r->n = n;
	return r;
}

struct rbuf *rbuf_of(struct str s)
{
	struct rbuf *r = rbuf_new(s.n);

	if (r != NULL && s.n != 0)
		memcpy(r->data, s.p, s.n);
	return r;
}

struct rbuf *rbuf_ref(struct rbuf *r)
{
	BUG_ON(r->refs == 0 || r->refs == UINT_MAX);
	r->refs++;
	return r;
}

void rbuf_unref(struct rbuf *r)
{
	if (r == NULL)
		return;
	BUG_ON(r->refs == 0);
	if (--r->refs == 0)
		free(r);
}
