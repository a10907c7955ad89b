/* SPDX-License-Identifier: MIT */
/*
 * What must hold between the tables of the product, as SQL that lists the rows for which it does not. Blocking, for
 * `aragorad db check` and for tests.
 */
#ifndef WORKER_INVARIANTS_H
#define WORKER_INVARIANTS_H

#include "common/db_admin.h"

struct invariant {
	const char *name;  /* "dense seq" */
	const char *rule;  /* one sentence */
	const char *query; /* first column: what it is about; no rows: it holds */
};

extern const struct invariant invariants[];
extern const size_t invariants_count;

/* How many rows break it, at most 10,000, and the first of them ("" if none). */
bool invariant_check(struct dba *d, const struct invariant *i, int64_t *broken, char first[80],
		     struct error *err) MUST_CHECK;
/*
 * Verifies every stored receipt: its hash, its signature if its key is ours, and that it is about the debate beside it.
 */
bool invariant_receipts(struct dba *d, const struct conf *c, int64_t *checked, int64_t *broken, char first[80],
			struct error *err) MUST_CHECK;

#endif
