/* SPDX-License-Identifier: MIT */
/*
 * Rows that may go after a time. Whatever a debate that runs or waits, or a delivery that is not out yet, needs stays.
 * Blocking, for `aragorad cleanup`.
 */
#ifndef WORKER_RETENTION_H
#define WORKER_RETENTION_H

#include "common/db_admin.h"

enum retention_kind { RETENTION_EVENTS, RETENTION_JOURNALS, RETENTION_INBOX, RETENTION_IDEMPOTENCY, RETENTION_KINDS };

#define RETENTION_FOREVER 0

const char *retention_name(enum retention_kind k);
/* Days, or RETENTION_FOREVER. */
int64_t retention_default(enum retention_kind k);

struct retention_sum {
	int64_t rows, bytes; /* that are there */
	int64_t go, go_bytes;
	int64_t oldest; /* ms; 0: none */
};

bool retention_look(struct dba *d, enum retention_kind k, int64_t days, int64_t now_ms, struct retention_sum *out,
		    struct error *err) MUST_CHECK;
/*
 * Removes them, debate by debate, each whole and in a transaction of its own. `archive` (NULL: not): a folder to which
 * they go first as JSON lines. *gone counts rows.
 */
bool retention_act(struct dba *d, enum retention_kind k, int64_t days, int64_t now_ms, const char *archive,
		   int64_t *gone, struct error *err) MUST_CHECK;
/* Ids of debates that run or wait, in the arena, ended by NULL. */
bool retention_open_debates(struct dba *d, struct arena *a, const char *const **out, struct error *err) MUST_CHECK;

#endif
