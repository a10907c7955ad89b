/* SPDX-License-Identifier: MIT */
/*
 * The command line of the server: options as overrides of configuration keys, by table.
 */
#ifndef MASTER_OPTIONS_H
#define MASTER_OPTIONS_H

#include "common/conf.h"

enum options_action { ACTION_SERVE, ACTION_TEST, ACTION_PRINT, ACTION_VERSION, ACTION_HELP };

#define OPTIONS_OVERRIDES_MAX 64

struct options {
	enum options_action action;
	const char *conf_path;             /* NULL: defaults and environment only */
	const char *host, *port, *ws_port; /* change the configured addresses; see options_load */
	struct buf bind;                   /* addresses given by --bind, joined with ", " */
	struct buf addresses[2];           /* what host and ports make of server.bind and server.ws_bind */
	struct conf_override overrides[OPTIONS_OVERRIDES_MAX];
	size_t override_count;
};

/*
 * Reads argv[1]… into *o. False after one clear message on standard error (unknown option with a suggestion, missing or
 * surplus value): exit with EXIT_USAGE. The strings stay in argv.
 */
bool options_parse(struct options *o, int argc, char **argv) MUST_CHECK;
void options_free(struct options *o);
/*
 * --host and the ports replace these parts of the addresses that file and environment give, so the overrides are
 * complete only after a first look at the configuration. A configuration that is not valid is left for its reader to
 * report.
 */
void options_complete(struct options *o);
/* Loads the configuration; on failure the report is on standard error: exit with EXIT_CONFIG. */
struct conf *options_load(struct options *o) MUST_CHECK;
/* Table of options for --help. */
void options_help(struct buf *out);

#endif
