/* SPDX-License-Identifier: MIT */
/*
 * Brings stored secret fields under the key that encrypts now: plain ones and those under an older key. Beside running
 * servers, a page at a time, each field only if it still is what was read. Blocking, for `aragorad encrypt`.
 */
#ifndef COMMON_RECRYPT_H
#define COMMON_RECRYPT_H

#include "common/db_admin.h"
#include "common/keyring.h"

#define RECRYPT_COLUMNS 4

/* Where an area keeps secrets. Rows stand in worker/secrets.c. */
struct secret_store {
	const char *name; /* label of the metrics */
	const char *table;
	const char *columns[RECRYPT_COLUMNS + 1]; /* NULL ends the list */
};

struct recrypt {
	int64_t fields;  /* that are not empty */
	int64_t plain;   /* read as plain text */
	int64_t old;     /* under another key of the ring */
	int64_t active;  /* under the first key */
	int64_t failed;  /* could not be opened */
	int64_t written; /* brought under the first key */
	int64_t changed; /* somebody else wrote the field meanwhile; with the first key, as servers do */
};

/* Told of each field that fails: its column and row, why, and whether its key is not in the ring. */
typedef void (*recrypt_failed)(void *arg, const char *column, struct str row, const struct error *why);

/*
 * Goes through one store; `execute` writes. Every field that is not plain is opened, so that a run without execute
 * proves that all can be read. A table that is not there yet is an empty store. Can be stopped and run again at any
 * time.
 */
bool recrypt_store(struct dba *d, const struct keyring *k, const struct secret_store *s, bool execute,
		   recrypt_failed failed, void *arg, struct recrypt *out, struct error *err) MUST_CHECK;

#endif
