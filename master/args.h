/* SPDX-License-Identifier: MIT */
/*
 * Command lines by table: the options of the server and of every subcommand are rows; parsing, messages about mistakes
 * and the text of --help come from them.
 */
#ifndef MASTER_ARGS_H
#define MASTER_ARGS_H

#include "common/conf.h"
#include "master/master.h"

enum arg_kind { ARG_TEXT, ARG_FLAG, ARG_NUMBER, ARG_CALL };

struct arg {
	const char *name; /* NULL ends a table */
	char letter;      /* 0: none */
	enum arg_kind kind;
	size_t offset;     /* in the target: const char * (TEXT), bool (FLAG), int64_t (NUMBER) */
	const char *value; /* what its value is called; NULL: takes none */
	const char *help;  /* NULL: another spelling of the row above */
	int64_t min, max;  /* NUMBER */
	/* CALL: told the row, whose key and action are its own, and the value. */
	void (*take)(void *target, const struct arg *row, const char *value);
	const char *key;
	int action;
};

/* What most subcommands take; first member of the target of their tables. */
struct args {
	const char *conf_path; /* NULL: defaults and environment only */
	bool json, help;
	char **operands; /* in argv; what is no option, in its order */
	size_t operand_count;
};

#define ARG_CONF                                                                                              \
	{                                                                                                     \
		.name = "config", .letter = 'c', .offset = offsetof(struct args, conf_path), .value = "FILE", \
		.help = "read this configuration"                                                             \
	}
#define ARG_JSON                                                                                              \
	{                                                                                                     \
		.name = "json", .kind = ARG_FLAG, .offset = offsetof(struct args, json), .help = "print JSON" \
	}
#define ARG_HELP                                                                                        \
	{                                                                                               \
		.name = "help", .letter = 'h', .kind = ARG_FLAG, .offset = offsetof(struct args, help), \
		.help = "print this and exit"                                                           \
	}
#define ARG_END              \
	{                    \
		.name = NULL \
	}

/*
 * Reads argv[1]… into the target; operands move to the front of argv and are counted in *operands. False after one
 * clear message on standard error. `who` is what the message begins with. Strings stay in argv; "--" ends the options.
 */
bool args_walk(const char *who, const struct arg *rows, void *target, int argc, char **argv,
	       size_t *operands) MUST_CHECK;
/*
 * The same for a subcommand with rows, whose target begins with struct args. False: the command is over with *code, be
 * it for a mistake or because --help was answered.
 */
bool args_parse(const struct command *c, struct args *target, int argc, char **argv, int *code) MUST_CHECK;
/* The rows as lines of --help. */
void args_help(const struct arg *rows, struct buf *out);
/* The configuration of args.conf_path; NULL after the report on standard error: exit with EXIT_CONFIG. */
struct conf *args_conf(const struct args *a) MUST_CHECK;
/* The same, with warnings on standard error. */
struct conf *args_conf_warned(const struct args *a) MUST_CHECK;

#endif
