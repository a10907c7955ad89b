/* SPDX-License-Identifier: MIT */
/*
 * Private to common/db_backup*.c: what a store implements to be backed up, and the files on the way.
 */
#ifndef COMMON_DB_BACKUP_STORE_H
#define COMMON_DB_BACKUP_STORE_H

#include "common/db_backup.h"

struct backup_ops {
	const char *extension;
	/* Writes an unsealed backup to `path`, which does not exist, synced. */
	bool (*copy)(const struct conf *c, const char *path, struct error *err);
	/* Fills tables, rows and migration. */
	bool (*verify)(const struct conf *c, const char *path, const struct migration *m, size_t n, struct backup *out,
		       struct error *err);
	/* `path` is ours and verified; aside gets the name of what was there. */
	bool (*restore)(const struct conf *c, const char *path, struct buf *aside, struct error *err);
	/* Bytes that a copy will need, about. */
	int64_t (*size)(const struct conf *c);
};

extern const struct backup_ops backup_sqlite_ops, backup_pg_ops;

/* data_dir/backups/<prefix><time>_<8 random digits><extension> */
void backup_name(const struct conf *c, const char *prefix, const char *extension, struct buf *out);
/* Syncs a file or a folder, so that its content or its names last. */
bool backup_sync(const char *path, struct error *err) MUST_CHECK;
/* Syncs the folder that a path lies in. */
bool backup_sync_parent(const char *path, struct error *err) MUST_CHECK;
bool backup_fail(const char *path, struct error *err); /* "path: strerror"; false */

#endif
