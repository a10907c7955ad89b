/* SPDX-License-Identifier: MIT */
/*
 * Backups of the store, made while servers run, and the way back. Blocking, for subcommands and jobs.
 *
 * A backup of SQLite is an SQLite file; inside it stand two tables of its own, _backup_info and _backup_tables (rows
 * and content hash of each table), which verification compares with the content. A backup of PostgreSQL is pg_dump's
 * custom format. Either may be sealed (sealed_file.h). The keys in data_dir/keys are never part of it: who finds a
 * backup must not find the keys with it.
 */
#ifndef COMMON_DB_BACKUP_H
#define COMMON_DB_BACKUP_H

#include "common/db.h"
#include "common/keyring.h"

#define BACKUP_KEEP_DAYS 7 /* of the runbook's table of storage cleanup */
#define BACKUP_KEEP_LATEST 5

struct backup {
	char path[1024];
	bool sealed;
	char key_id[KEYRING_ID_LEN + 1]; /* of a sealed one */
	int64_t made_at;                 /* ms; of the file's name, else of the file */
	int64_t bytes;
	/* Only after making or verifying: */
	int64_t tables, rows;
	int64_t migration; /* the newest one in it */
};

/*
 * Makes and verifies one: at `path`, or under a name with the time in data_dir/backups when it is NULL. It appears
 * there complete or not at all. A ring: sealed with its first key. Only one is made at a time in a data folder.
 */
bool backup_make(const struct conf *c, const struct keyring *k, const char *path, struct backup *out,
		 struct error *err) MUST_CHECK;
/*
 * Opens it, checks structure, rows and content hashes, and that this program knows its migrations. k may be NULL for
 * one that is not sealed. ERR_STORAGE: damaged, with what is.
 */
bool backup_verify(const struct conf *c, const struct keyring *k, const char *path, const struct migration *m, size_t n,
		   struct backup *out, struct error *err) MUST_CHECK;
/*
 * Verifies, then puts it in the place of the store's content. The former content is kept: *aside names where. The
 * caller has made sure that nobody uses the store.
 */
bool backup_restore(const struct conf *c, const struct keyring *k, const char *path, const struct migration *m,
		    size_t n, struct backup *out, struct buf *aside, struct error *err) MUST_CHECK;

struct backup_list {
	struct backup *v; /* newest first */
	size_t n;
};

/* Those in data_dir/backups. In the arena. */
bool backup_list(const struct conf *c, struct arena *a, struct backup_list *out, struct error *err) MUST_CHECK;
/* May it go by the rule "days old and not among the newest"? index: in the list. */
bool backup_expendable(const struct backup_list *l, size_t index, int64_t now_ms, int64_t days, int64_t latest);

#endif
