/* SPDX-License-Identifier: MIT */
/*
 * The files under static.root as a worker knows them: opened and read on the slow lane, kept open (small ones: in
 * memory) and looked at again when a second has passed, so that most requests need neither the disk nor the lane. A
 * path never leads out of the root.
 */
#ifndef WORKER_WEB_FILES_H
#define WORKER_WEB_FILES_H

#include "common/rbuf.h"
#include "worker/http/http_semantics.h"

struct conf;
struct files;
struct lane;
struct loop;

#define FILES_ETAG_MAX 64
#define FILES_NONCE "{{CSP_NONCE}}" /* in HTML: replaced in each answer by what its policy names */

/* One form of a file: as it is, or compressed beforehand. */
struct files_form {
	struct rbuf *data; /* all of it, or NULL: read it from fd */
	int fd;
	uint64_t size;
	char etag[FILES_ETAG_MAX]; /* with quotes; weak while the file is so young that it may change unnoticed */
};

/* Shared by reference; loop thread only. */
struct files_file {
	unsigned refs;
	bool folder; /* the path is a folder's, and this its index */
	bool hashed; /* the name holds a hash of the content */
	bool html;
	bool nonce; /* FILES_NONCE stands in it */
	bool young;
	const char *type;
	int64_t modified; /* seconds since 1970 */
	char last_modified[HTTP_DATE_MAX];
	unsigned have; /* a bit per coding; identity always */
	struct files_form forms[CODING_MAX];
	uint64_t stamps[CODING_MAX][5]; /* what tells that a form has changed */
};

void files_unref(struct files_file *f);

/* Never waits and never fails: what is wrong with the root is found when files are asked for. */
struct files *files_open(struct loop *l, struct lane *lane, const struct conf *c);
/* After its lane has been freed. NULL is allowed. */
void files_close(struct files *f);

/*
 * Finds the file of a path that begins with '/' and has no dot segments, and calls fn once: file is lent for the call
 * (count a reference to keep it), or NULL with an errno: ENOENT is any reason not to serve it, EAGAIN too much to do,
 * others are the machine's. True: fn has been called; false: it comes later.
 */
bool files_get(struct files *f, struct str path, void (*fn)(void *arg, struct files_file *file, int error), void *arg);

/* Can the root be read? False with err naming static.root. Waits for the disk: at start only. */
bool files_check(const struct conf *c, struct error *err) MUST_CHECK;

/* Opens a regular file or a folder under the folder `root` for reading; -1 with errno. For files.c and tests. */
int files_open_beneath(int root, const char *path);
/* As files_open_beneath, for kernels without openat2: follows no symbolic links at all. For tests. */
int files_open_stepwise(int root, const char *path);

#endif
