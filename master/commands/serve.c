/* SPDX-License-Identifier: MIT */
/*
 * `aragorad serve [OPTIONS]`, and the program without a subcommand: parses options, then runs the master or one of the
 * actions that end at once (-t, -T, --version, --help).
 */
#include <unistd.h>

#include "master/commands/commands.h"
#include "master/options.h"

static int serve_run(struct options *o)
{
	struct master_options m = {
	    .conf_path = o->conf_path,
	    .overrides = o->overrides,
	    .foreground_tty = isatty(STDIN_FILENO) != 0,
	};

	options_complete(o);
	m.override_count = o->override_count;
	return master_run(&m);
}

static int serve_act(struct options *o)
{
	switch (o->action) {
	case ACTION_TEST:
		return commands_check(options_load(o), o->conf_path, false);
	case ACTION_PRINT:
		return commands_check(options_load(o), o->conf_path, true);
	case ACTION_VERSION:
		printf("aragorad %s\n", ARAGORA_VERSION);
		return EXIT_OK;
	case ACTION_HELP:
		commands_help();
		return EXIT_OK;
	case ACTION_SERVE:
		break;
	}
	return serve_run(o);
}

int commands_serve(int argc, char **argv)
{
	struct options o;
	int code = EXIT_USAGE;

	if (options_parse(&o, argc, argv))
		code = serve_act(&o);
	options_free(&o);
	return code;
}

const struct command command_serve = {
    .name = "serve",
    .synopsis = "[OPTIONS]",
    .summary = "serve in the foreground (the same as no subcommand)",
    .run = commands_serve,
};
