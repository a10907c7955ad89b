/* SPDX-License-Identifier: MIT */
/*
 * The master process: reads the configuration, binds, forks workers into slots, watches and replaces them, acts on
 * signals. Holds no client data, opens no database, parses no request.
 */
#ifndef MASTER_MASTER_H
#define MASTER_MASTER_H

#include "common/conf.h"

/* Exit codes of the program. */
enum exit_code { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_WORKER_BOOT = 3, EXIT_CONFIG = 4 };

struct master_options {
	const char *conf_path;
	const struct conf_override *overrides; /* from the command line; applied again at each reload */
	size_t override_count;
	bool foreground_tty; /* INT behaves as TERM */
};

/* Runs the server until it stops; the return value is the exit code. */
int master_run(const struct master_options *o);

struct arg;

/* One subcommand: master/commands/<name>.c exports one descriptor, commands.c lists them. */
struct command {
	const char *name;
	const char *synopsis;              /* "[--json] QUESTION" */
	const char *summary;               /* one line for --help */
	const char *about;                 /* a paragraph for its own --help; NULL: the summary */
	const struct arg *args;            /* its options, see args.h */
	size_t operands_min, operands_max; /* how many arguments that are no options it takes */
	int (*run)(int argc, char **argv); /* argv[0] is the name; returns an exit code */
};
extern const struct command *const commands[]; /* NULL-terminated */

#endif
