/* SPDX-License-Identifier: MIT */
/*
 * Listening sockets by the address that configuration gives them. The master keeps them; workers inherit them.
 */
#ifndef MASTER_LISTENERS_H
#define MASTER_LISTENERS_H

#include <sys/types.h>

#include "common/conf.h"

struct listener {
	char *address; /* as configured, without marks: "0.0.0.0:8080", "[::]:8080", "unix:/path", "systemd:NAME" */
	int fd;
	dev_t dev; /* of a Unix socket's file, so that only ours is removed */
	ino_t ino;
	bool shared;    /* another master serves it too: its file is not ours to remove */
	unsigned added; /* number of the bind that made it; see listeners_drop_added */
};

struct listeners {
	struct listener *v;
	size_t n;
	bool activated; /* what systemd has passed was looked at */
};

/*
 * Takes the sockets that systemd has passed to this process (sd_listen_fds(3)), those of LISTEN_FDNAMES by an address
 * "systemd:NAME", others by the address that they are bound to; then binds every address of the configuration that is
 * not bound yet and marks it with `mark`. An address in use is tried again for `patience` microseconds. On failure
 * false, and what this call bound is closed again.
 */
bool listeners_bind(struct listeners *l, const struct conf *c, unsigned mark, int64_t patience,
		    struct error *err) MUST_CHECK;
/* Closes what the call with this mark bound. */
void listeners_drop_added(struct listeners *l, unsigned mark);
/* Closes what this configuration does not name. */
void listeners_keep_only(struct listeners *l, const struct conf *c);
/* Sockets that the configuration names, in its order, and their marks; the caller frees *fds and *marks. */
void listeners_of(const struct listeners *l, const struct conf *c, int **fds, unsigned **marks, size_t *n);
/* A socket that another master has bound and handed over. */
void listeners_adopt(struct listeners *l, const char *address, int fd);
/* Another master does, or no longer does, serve the same sockets. */
void listeners_share(struct listeners *l, bool shared);
void listeners_close(struct listeners *l);

#endif
