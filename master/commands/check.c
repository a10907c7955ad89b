/* SPDX-License-Identifier: MIT */
/*
 * `aragorad check -c FILE` and the options -t and -T: is the configuration valid, and what does it come to? Starts
 * nothing and touches no file but those that the configuration is read from and the certificates that it names.
 */
#include "master/commands/commands.h"
#include "master/options.h"
#include "worker/http/tls.h"

static bool check_tls(const struct conf *c)
{
	struct tls_keys *keys = tls_keys_create();
	struct error err = ERROR_INIT;
	struct tls *t = tls_open(c, keys, &err);
	bool ok = t != NULL;

	if (!ok)
		fprintf(stderr, "aragorad: %s\n", err.msg);
	tls_close(t);
	tls_keys_free(keys);
	return ok;
}

int commands_check(struct options *o, bool print)
{
	struct conf *c = options_load(o);
	struct buf text = BUF_INIT;

	if (c == NULL)
		return EXIT_CONFIG;
	if (!print && !check_tls(c)) {
		conf_unref(c);
		return EXIT_CONFIG;
	}
	if (print) {
		conf_print(c, &text);
		fwrite(text.p, 1, text.n, stdout);
		buf_free(&text);
	} else {
		printf("configuration OK: %s\n", o->conf_path != NULL ? o->conf_path : "built-in defaults");
	}
	conf_unref(c);
	return EXIT_OK;
}

static int check_run(int argc, char **argv)
{
	struct options o;
	int code = EXIT_USAGE;

	if (options_parse(&o, OPTIONS_CONFIG, argc, argv)) {
		code = EXIT_OK;
		if (o.action == ACTION_HELP)
			commands_help();
		else
			code = commands_check(&o, false);
	}
	options_free(&o);
	return code;
}

const struct command command_check = {
    .name = "check",
    .synopsis = "[-c FILE]",
    .summary = "check a configuration (the same as -t)",
    .run = check_run,
};
