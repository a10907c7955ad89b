/* SPDX-License-Identifier: MIT */
/*
 * The subcommands of the program; each stands in a file of its own and exports one descriptor.
 */
#ifndef MASTER_COMMANDS_COMMANDS_H
#define MASTER_COMMANDS_COMMANDS_H

#include "common/conf.h"
#include "master/master.h"

extern const struct command command_ask;
extern const struct command command_serve;
extern const struct command command_status;
extern const struct command command_check;
extern const struct command command_routes;
extern const struct command command_keygen;
extern const struct command command_receipt;
extern const struct command command_migrate;
extern const struct command command_init_db;
extern const struct command command_eval;
extern const struct command command_export;
extern const struct command command_cleanup;
extern const struct command command_encrypt;
extern const struct command command_db;
extern const struct command command_audit;
extern const struct command command_backup;
extern const struct command command_restore;
extern const struct command command_user;

/* NULL: there is none of this name. */
const struct command *command_find(const char *name);
/* Says so on standard error, with what may have been meant. */
void command_unknown(const char *name);
/* The text of --help. */
void commands_help(void);

/* The server with its options; also what runs without a subcommand. */
int commands_serve(int argc, char **argv);
/* -t: says whether the configuration, read from `path`, is valid. -T: prints it. Takes c; NULL: it is not. */
int commands_check(struct conf *c, const char *path, bool print);

#endif
