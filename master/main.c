/* SPDX-License-Identifier: MIT */
/*
 * The program: a subcommand from the table, or the server with the options given. Under both names, aragorad and
 * aragora.
 */
#include <stdio.h>
#include <string.h>

#include "common/title.h"
#include "master/commands/commands.h"

int main(int argc, char **argv)
{
	const struct command *c;

	argv = title_init(argc, argv);
	if (argc < 2 || argv[1][0] == '-')
		return commands_serve(argc, argv);
	c = command_find(argv[1]);
	if (c == NULL) {
		command_unknown(argv[1]);
		return EXIT_USAGE;
	}
	return c->run(argc - 1, argv + 1);
}
