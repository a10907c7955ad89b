/* SPDX-License-Identifier: MIT */
/*
 * The control socket: one line asks, one JSON document answers. And the client's side of it.
 */
#ifndef MASTER_CONTROL_H
#define MASTER_CONTROL_H

#include "common/conf.h"

struct control;
struct master;

/* Where the socket of a configuration lies. */
void control_path(const struct conf *c, struct buf *out);
/* Binds under a temporary name and renames, so that a client finds either the old master or this one. */
struct control *control_open(struct master *m, struct error *err) MUST_CHECK;
/* Removes the socket if it is still ours. */
void control_close(struct control *c);

/* Client: sends one line and returns all that comes back. Blocking, for subcommands. */
bool control_ask(const struct conf *c, const char *line, struct buf *answer, struct error *err) MUST_CHECK;

#endif
