/* SPDX-License-Identifier: MIT */
/*
 * Command line to configuration overrides, by one table from which --help is printed too. Called by main.c and the
 * subcommands. Values are checked by the configuration, not here.
 */
#include "master/options.h"

#include "master/args.h"

static void options_on_key(void *target, const struct arg *row, const char *value);
static void options_on_bind(void *target, const struct arg *row, const char *value);
static void options_on_action(void *target, const struct arg *row, const char *value);

static const struct arg option_table[] = {
#define ACT(n, l, a, h)                                                                                     \
	{                                                                                                   \
		.name = n, .letter = l, .kind = ARG_CALL, .take = options_on_action, .action = a, .help = h \
	}
#define KEY(n, l, k, v, h)                                                                                        \
	{                                                                                                         \
		.name = n, .letter = l, .kind = ARG_CALL, .take = options_on_key, .key = k, .value = v, .help = h \
	}
#define TEXT(n, l, field, v, h)                                                                          \
	{                                                                                                \
		.name = n, .letter = l, .offset = offsetof(struct options, field), .value = v, .help = h \
	}
    TEXT("config", 'c', conf_path, "FILE", "read this configuration"),
    ACT("test", 't', ACTION_TEST, "check the configuration and exit"),
    ACT("dump", 'T', ACTION_PRINT, "print the effective configuration, secrets masked, and exit"),
    {.name = "bind",
     .letter = 'b',
     .kind = ARG_CALL,
     .take = options_on_bind,
     .value = "ADDRESS",
     .help = "listen on host:port or unix:/path (repeatable)"},
    TEXT("host", 0, host, "HOST", "listen on this host, at the configured ports"),
    TEXT("port", 0, port, "PORT", "port of the API"),
    TEXT("api-port", 0, port, "PORT", NULL),
    TEXT("ws-port", 0, ws_port, "PORT", "second port, for WebSocket clients"),
    KEY("workers", 'w', "server.workers", "N", "worker processes; 0: two per core and one"),
    KEY("timeout", 0, "server.timeout", "TIME", "a worker silent for so long is replaced"),
    KEY("graceful-timeout", 0, "server.graceful_timeout", "TIME", "time to finish after TERM"),
    KEY("keep-alive", 0, "server.keepalive", "TIME", "how long an idle connection is kept"),
    KEY("timeout-keep-alive", 0, "server.keepalive", "TIME", NULL),
    KEY("worker-connections", 0, "server.worker_connections", "N", "connections per worker"),
    KEY("limit-concurrency", 0, "server.worker_connections", "N", NULL),
    KEY("access-logfile", 0, "log.access", "FILE", "access log; - is standard output"),
    KEY("access-log", 0, "log.access", "FILE", NULL),
    KEY("log-level", 0, "log.level", "LEVEL", "debug, info, warning or error"),
    KEY("pidfile", 'p', "server.pidfile", "FILE", "write the process id there"),
    KEY("pid", 0, "server.pidfile", "FILE", NULL),
    KEY("data-dir", 0, "storage.data_dir", "FOLDER", "where everything is kept"),
    KEY("env", 0, "server.env", "NAME", "development or production"),
    ACT("version", 'V', ACTION_VERSION, "print the version and exit"),
    ACT("help", 'h', ACTION_HELP, "print this and exit"),
    ARG_END,
#undef ACT
#undef KEY
#undef TEXT
};

_Static_assert(countof(option_table) < OPTIONS_OVERRIDES_MAX, "each option can be given, and the addresses");

/* A later option replaces an earlier one of the same key, so their number is bounded by the table. */
static void options_override(struct options *o, const char *key, const char *value)
{
	for (size_t i = 0; i < o->override_count; i++) {
		if (strcmp(o->overrides[i].key, key) == 0) {
			o->overrides[i].value = value;
			return;
		}
	}
	BUG_ON(o->override_count == OPTIONS_OVERRIDES_MAX);
	o->overrides[o->override_count++] = (struct conf_override){key, value};
}

static void options_on_key(void *target, const struct arg *row, const char *value)
{
	options_override(target, row->key, value);
}

static void options_on_bind(void *target, const struct arg *row, const char *value)
{
	struct options *o = target;

	(void)row;
	buf_addz(&o->bind, o->bind.n > 0 ? ", " : "");
	buf_addz(&o->bind, value);
}

static void options_on_action(void *target, const struct arg *row, const char *value)
{
	struct options *o = target;

	(void)value;
	o->action = (enum options_action)row->action;
}

bool options_parse(struct options *o, int argc, char **argv)
{
	size_t operands;

	*o = (struct options){0};
	if (!args_walk("aragorad", option_table, o, argc, argv, &operands))
		return false;
	if (operands > 0) {
		fprintf(stderr, "aragorad: unexpected argument %s; --help lists what there is\n", argv[1]);
		return false;
	}
	if (o->bind.n > 0)
		options_override(o, "server.bind", o->bind.p);
	return true;
}

void options_free(struct options *o)
{
	buf_free(&o->bind);
	buf_free(&o->addresses[0]);
	buf_free(&o->addresses[1]);
}

/* Each TCP address of the list with another host or port; its marks, Unix sockets and those of systemd stay. */
static void options_readdress(const struct conf_list *list, const char *host, const char *port, struct buf *out)
{
	for (size_t i = 0; i < list->n; i++) {
		unsigned marks;
		const char *address = conf_listen_address(list->v[i], &marks), *colon = strrchr(address, ':');

		buf_addz(out, i > 0 ? ", " : "");
		buf_add(out, (struct str){list->v[i], (size_t)(address - list->v[i])});
		if (colon == NULL || strncmp(address, "unix:", 5) == 0 || strncmp(address, "systemd:", 8) == 0) {
			buf_addz(out, address);
			continue;
		}
		if (host == NULL)
			buf_add(out, (struct str){address, (size_t)(colon - address)});
		else
			buf_printf(out, strchr(host, ':') != NULL && host[0] != '[' ? "[%s]" : "%s", host);
		buf_printf(out, ":%s", port != NULL ? port : colon + 1);
	}
}

void options_complete(struct options *o)
{
	struct buf report = BUF_INIT;
	struct conf *c;

	if (o->host == NULL && o->port == NULL && o->ws_port == NULL)
		return;
	c = conf_load(o->conf_path, true, o->overrides, o->override_count, &report);
	buf_free(&report);
	if (c == NULL)
		return;
	options_readdress(&c->server.bind, o->host, o->port, &o->addresses[0]);
	options_readdress(&c->server.ws_bind, o->host, o->ws_port, &o->addresses[1]);
	if (o->addresses[0].n > 0)
		options_override(o, "server.bind", o->addresses[0].p);
	if (o->addresses[1].n > 0)
		options_override(o, "server.ws_bind", o->addresses[1].p);
	conf_unref(c);
}

struct conf *options_load(struct options *o)
{
	struct buf report = BUF_INIT;
	struct conf *c;

	options_complete(o);
	c = conf_load(o->conf_path, true, o->overrides, o->override_count, &report);
	fprintf(stderr, "%.*s", STR_ARG(buf_str(&report))); /* mistakes, or warnings */
	buf_free(&report);
	return c;
}

void options_help(struct buf *out)
{
	args_help(option_table, out);
}
