/* SPDX-License-Identifier: MIT */
/*
 * Private to worker/web: one load of a file, between the cache on the loop and the slow lane.
 */
#ifndef WORKER_WEB_FILES_LOAD_H
#define WORKER_WEB_FILES_LOAD_H

#include "worker/web/files.h"

struct files_load {
	/* The question; the texts outlive the load. */
	const char *root, *index, *path;
	bool precompressed;
	size_t keep;                    /* files up to this size are read into memory */
	const struct files_file *known; /* what an earlier load found, or NULL; outlives this one */
	/* The answer: a file with one reference; or NULL, and nothing has changed since `known`, or an errno. */
	struct files_file *file;
	bool same;
	int error;
};

/* May wait for the disk; touches nothing but *l. */
void files_load(struct files_load *l);
struct files_file *files_new(void);

#endif
