/* SPDX-License-Identifier: MIT */
/*
 * What the operator's subcommands share: configuration and privileges, failures as one line, consent, a stopped server.
 */
#ifndef MASTER_COMMANDS_OPS_H
#define MASTER_COMMANDS_OPS_H

#include "common/db.h"
#include "master/args.h"

/* An action of a subcommand: `aragorad db vacuum`. */
struct ops_action {
	const char *name; /* NULL ends a table */
	int (*run)(struct args *a, const struct conf *c);
};

/*
 * Reads the command line, loads the configuration, becomes server.user for good (what touches the data folder belongs
 * to it) and runs the action that the first operand names, without one the first. Returns the exit code.
 */
int ops_main(const struct command *c, struct args *a, const struct ops_action *actions, int argc, char **argv);
/* "aragorad backup: reason" on standard error; EXIT_FAILED. */
int ops_fail(const struct error *err);
/*
 * Writes into the audit log that the command has done something: "admin.backup_created", "file", its name. What was
 * done and cannot be told is a failure too. Returns the exit code that `done` gives.
 */
int ops_told(const struct conf *c, bool done, const char *action, const char *resource_type, const char *resource);
/* Says yes by --yes or at the terminal; else false, having said how. */
bool ops_consent(bool yes, const char *question) MUST_CHECK;
/*
 * Keeps a master from starting in this data folder until the descriptor is closed; -1 with err when one runs. On a
 * shared store other nodes count as running too.
 */
int ops_alone(const struct conf *c, struct error *err) MUST_CHECK;
/* "sqlite, /var/lib/aragora/aragora.db"; no password. */
void ops_store_name(const struct conf *c, struct buf *out);

#endif
