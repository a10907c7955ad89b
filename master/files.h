/* SPDX-License-Identifier: MIT */
/*
 * What the master keeps on disk: log files, the lock of the data folder, the pid file.
 */
#ifndef MASTER_FILES_H
#define MASTER_FILES_H

#include "common/conf.h"
#include "common/shm.h"
#include "master/privileges.h"

/* Open log files; -1 where nothing is to be written. Standard descriptors are not closed by us. */
struct log_files {
	int error, access;
};

#define LOG_FILES_NONE ((struct log_files){-1, -1})

/* Opens what the configuration names, for appending; new owners are the workers, which reopen the files by path. On
 * failure nothing stays open. */
bool log_files_open(struct log_files *f, const struct conf *c, const struct privileges *p,
		    struct error *err) MUST_CHECK;
void log_files_close(struct log_files *f);

/* Closes every descriptor but the standard ones and those of `keep`, which is sorted on the way; -1 stands for none. */
void files_close_all_but(int *keep, size_t n);

/* Where the lock of the data folder lies. */
void data_dir_lock_path(const struct conf *c, struct buf *out);
/* Makes the data folder if need be and locks it. The descriptor, or -1 (another master, named by its pid). */
int data_dir_lock(const struct conf *c, const struct privileges *p, struct error *err) MUST_CHECK;
/* Says whose lock it is; called when the start has succeeded so far that this is the node's master. */
void data_dir_lock_sign(int fd);

/* Refuses the file of another process that lives; replaces a stale one. */
bool pidfile_write(const char *path, struct error *err) MUST_CHECK;
/* The process that a pid file names, or 0. */
int64_t pidfile_read(const char *path);
/* Renames the file that was written beside that of a former master; *path becomes `final`. */
void pidfile_promote(char **path, const char *final);
/* Removes it if it is still ours. */
void pidfile_remove(const char *path);

#endif
