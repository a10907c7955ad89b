/* SPDX-License-Identifier: MIT */
/*
 * The table of subcommands, look-up and --help. Called by main.c. Runs none of them.
 */
#include "master/commands/commands.h"

#include "master/options.h"

#define COMMANDS_SUGGEST 3 /* edits between a mistyped name and one that is suggested */

const struct command *const commands[] = {
    &command_serve,
    &command_ask,
    &command_status,
    &command_check,
    &command_routes,
    &command_init_db,
    &command_migrate,
    &command_db,
    &command_backup,
    &command_restore,
    &command_export,
    &command_cleanup,
    &command_encrypt,
    &command_audit,
    &command_receipt,
    &command_keygen,
    &command_user,
    &command_eval,
    NULL,
};

const struct command *command_find(const char *name)
{
	for (size_t i = 0; commands[i] != NULL; i++) {
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	}
	return NULL;
}

void command_unknown(const char *name)
{
	const char *best = NULL;
	unsigned distance = COMMANDS_SUGGEST + 1;

	for (size_t i = 0; commands[i] != NULL && strlen(name) <= 64; i++) {
		unsigned d = str_distance(str_of(name), str_of(commands[i]->name));

		if (d < distance) {
			distance = d;
			best = commands[i]->name;
		}
	}
	fprintf(stderr, "aragorad: there is no subcommand %s", name);
	if (best != NULL)
		fprintf(stderr, ", did you mean %s?\n", best);
	else
		fprintf(stderr, "; --help lists them\n");
}

void commands_help(void)
{
	struct buf out = BUF_INIT;

	buf_addz(&out, "Usage: aragorad [OPTIONS]              serve in the foreground\n"
		       "       aragorad SUBCOMMAND [OPTIONS]\n\nSubcommands:\n");
	for (size_t i = 0; commands[i] != NULL; i++)
		buf_printf(&out, "  %s %s\n          %s\n", commands[i]->name, commands[i]->synopsis,
			   commands[i]->summary);
	buf_addz(&out, "\nOptions of the server (they win over the environment, which wins over the file):\n");
	options_help(&out);
	fwrite(out.p, 1, out.n, stdout);
	buf_free(&out);
}
