/* SPDX-License-Identifier: MIT */
/*
 * Compressed copies of what a cleanup removes. Each appears complete and synced under its name, or not at all.
 */
#ifndef COMMON_CLEANUP_ARCHIVE_H
#define COMMON_CLEANUP_ARCHIVE_H

#include "common/err.h"
#include "common/str.h"

/* A file to <folder>/<name>_<time>.gz, a folder to <name>_<time>.tar.gz. The target folder is made (0700). */
bool archive_path(const char *path, bool is_folder, const char *folder, int64_t now_ms, struct error *err) MUST_CHECK;

/*
 * Lines to <folder>/<name>_<time>.jsonl.gz. `replace`: in the place of a file of this name, else beside it, under one
 * with a number.
 */
struct archive_lines;
struct archive_lines *archive_lines_open(const char *folder, const char *name, int64_t now_ms, bool replace,
					 struct error *err) MUST_CHECK;
/* Adds a line, or several with LF between them. */
bool archive_line(struct archive_lines *l, struct str line, struct error *err) MUST_CHECK;
/* After it the lines are safe. Frees l in every case; without `keep`, or when nothing was added, there is no file. */
bool archive_lines_close(struct archive_lines *l, bool keep, struct error *err) MUST_CHECK;

#endif
