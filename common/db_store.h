/* SPDX-License-Identifier: MIT */
/*
 * Private to common/db*.c: what a store implements to stand behind db.h. A store embeds struct db as its first member.
 */
#ifndef COMMON_DB_STORE_H
#define COMMON_DB_STORE_H

#include "common/db.h"

struct db_stmt {
	const char *sql; /* static text, $n parameters */
	struct db_val *args;
	size_t n;
	int64_t expect;
};

struct db_batch {
	struct arena *arena; /* holds statements and values */
	bool shared;         /* see db_batch_shared */
	struct db_stmt *v;
	size_t n, cap;
	/* While submitted: the store's. */
	struct db_batch *next;
	struct co *waiter;
	bool done, ok;
	struct error error;
};

struct db_ops {
	struct db *(*open)(struct loop *l, const struct conf *c, struct error *err);
	void (*close)(struct db *db);
	CO_FN bool (*query)(struct db *db, struct arena *a, const char *sql, const struct db_val *args, size_t n,
			    struct db_rows *rows, struct error *err);
	/* Returns when the outcome is known; does not free the batch. */
	CO_FN bool (*commit)(struct db *db, struct db_batch *b, struct error *err);
	CO_FN bool (*checkpoint)(struct db *db, struct error *err);
	bool (*healthy)(const struct db *db, struct error *err);
	int64_t (*latency_us)(const struct db *db);
	bool (*migrate)(const struct conf *c, const struct migration *m, size_t n, struct error *err);
	bool (*check)(const struct conf *c, struct error *err);
};

struct db {
	const struct db_ops *ops;
};

#define DB_ROWS_MAX 10000
#define DB_BYTES_MAX ((size_t)64 << 20) /* of one read */

extern const struct db_ops db_sqlite_ops, db_pg_ops;

/* db_migrate.c, db_check.c, db_pg_migrate.c */
bool db_sqlite_migrate(const struct conf *c, const struct migration *m, size_t n, struct error *err) MUST_CHECK;
bool db_sqlite_check(const struct conf *c, struct error *err) MUST_CHECK;
bool db_pg_migrate(const struct conf *c, const struct migration *m, size_t n, struct error *err) MUST_CHECK;
bool db_pg_check(const struct conf *c, struct error *err) MUST_CHECK;

#endif
