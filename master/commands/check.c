/* SPDX-License-Identifier: MIT */
/*
 * `aragorad check -c FILE` and the options -t and -T: is the configuration valid, and what does it come to? Starts
 * nothing and touches no file but those that the configuration is read from and the certificates that it names.
 */
#include "master/args.h"
#include "master/commands/commands.h"
#include "worker/http/tls.h"
#include "worker/web/files.h"

static bool check_tls(const struct conf *c)
{
	struct tls_keys *keys = tls_keys_create(NULL);
	struct error err = ERROR_INIT;
	struct tls *t = tls_open(c, keys, &err);
	bool ok = t != NULL;

	if (!ok)
		fprintf(stderr, "aragorad: %s\n", err.msg);
	tls_close(t);
	tls_keys_free(keys);
	return ok;
}

static bool check_static(const struct conf *c)
{
	struct error err = ERROR_INIT;
	bool ok = files_check(c, &err);

	if (!ok)
		fprintf(stderr, "aragorad: %s\n", err.msg);
	return ok;
}

int commands_check(struct conf *c, const char *path, bool print)
{
	struct buf text = BUF_INIT;

	if (c == NULL)
		return EXIT_CONFIG;
	if (!print && !(check_tls(c) && check_static(c))) {
		conf_unref(c);
		return EXIT_CONFIG;
	}
	if (print) {
		conf_print(c, &text);
		fwrite(text.p, 1, text.n, stdout);
		buf_free(&text);
	} else {
		printf("configuration OK: %s\n", path != NULL ? path : "built-in defaults");
	}
	conf_unref(c);
	return EXIT_OK;
}

static int check_run(int argc, char **argv)
{
	struct args a = {0};
	int code;

	if (!args_parse(&command_check, &a, argc, argv, &code))
		return code;
	return commands_check(args_conf_warned(&a), a.conf_path, false);
}

static const struct arg check_args[] = {ARG_CONF, ARG_HELP, ARG_END};

const struct command command_check = {
    .name = "check",
    .synopsis = "[-c FILE]",
    .summary = "check a configuration (the same as -t)",
    .args = check_args,
    .run = check_run,
};
