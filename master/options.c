/* SPDX-License-Identifier: MIT */
/*
 * Command line to configuration overrides, by one table from which --help is printed too. Called by main.c and the
 * subcommands. Values are checked by the configuration, not here.
 */
#include "master/options.h"

#define OPTIONS_SUGGEST 3 /* edits between a mistyped word and one that is suggested */

enum option_kind { OPTION_KEY, OPTION_BIND, OPTION_ACTION, OPTION_TEXT, OPTION_FLAG };

static const struct option_row {
	const char *name;
	char letter;
	enum option_kind kind;
	unsigned scope;
	const char *key;   /* OPTION_KEY: the configuration key */
	size_t offset;     /* OPTION_TEXT: const char *, OPTION_FLAG: bool, in struct options */
	int action;        /* OPTION_ACTION */
	const char *value; /* what its value is called; NULL: takes none */
	const char *help;  /* NULL: another spelling of the row above */
} option_table[] = {
#define ACT(n, l, a, h)                                                 \
	{                                                               \
		n, l, OPTION_ACTION, OPTIONS_SERVE, NULL, 0, a, NULL, h \
	}
#define KEY(n, l, k, v, h)                                     \
	{                                                      \
		n, l, OPTION_KEY, OPTIONS_SERVE, k, 0, 0, v, h \
	}
#define TEXT(n, l, scope, field, v, h)                                                   \
	{                                                                                \
		n, l, OPTION_TEXT, scope, NULL, offsetof(struct options, field), 0, v, h \
	}
    TEXT("config", 'c', OPTIONS_SERVE | OPTIONS_CONFIG, conf_path, "FILE", "read this configuration"),
    ACT("test", 't', ACTION_TEST, "check the configuration and exit"),
    ACT("dump", 'T', ACTION_PRINT, "print the effective configuration, secrets masked, and exit"),
    {"bind", 'b', OPTION_BIND, OPTIONS_SERVE, NULL, 0, 0, "ADDRESS", "listen on host:port or unix:/path (repeatable)"},
    TEXT("host", 0, OPTIONS_SERVE, host, "HOST", "listen on this host, at the configured ports"),
    TEXT("port", 0, OPTIONS_SERVE, port, "PORT", "port of the API"),
    TEXT("api-port", 0, OPTIONS_SERVE, port, "PORT", NULL),
    TEXT("ws-port", 0, OPTIONS_SERVE, ws_port, "PORT", "second port, for WebSocket clients"),
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
    {"json", 0, OPTION_FLAG, OPTIONS_JSON, NULL, offsetof(struct options, json), 0, NULL, "print JSON"},
    ACT("version", 'V', ACTION_VERSION, "print the version and exit"),
    {"help", 'h', OPTION_ACTION, OPTIONS_SERVE | OPTIONS_CONFIG, NULL, 0, ACTION_HELP, NULL, "print this and exit"},
#undef ACT
#undef KEY
#undef TEXT
};

_Static_assert(countof(option_table) < OPTIONS_OVERRIDES_MAX, "each option can be given, and the addresses");

static const struct option_row *option_find(unsigned scope, struct str name, bool letter)
{
	for (size_t i = 0; i < countof(option_table); i++) {
		const struct option_row *r = &option_table[i];

		if ((r->scope & scope) != 0 && (letter ? r->letter == name.p[0] : str_eqz(name, r->name)))
			return r;
	}
	return NULL;
}

static void option_complain(unsigned scope, struct str name, bool letter)
{
	const char *best = NULL;
	unsigned distance = OPTIONS_SUGGEST + 1;

	for (size_t i = 0; i < countof(option_table) && !letter && name.n <= 64; i++) {
		unsigned d = str_distance(name, str_of(option_table[i].name));

		if ((option_table[i].scope & scope) != 0 && d < distance) {
			distance = d;
			best = option_table[i].name;
		}
	}
	fprintf(stderr, "aragorad: unknown option %s%.*s", letter ? "-" : "--", STR_ARG(name));
	if (best != NULL)
		fprintf(stderr, ", did you mean --%s?\n", best);
	else
		fprintf(stderr, "; --help lists them\n");
}

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

static void option_apply(struct options *o, const struct option_row *r, const char *value)
{
	switch (r->kind) {
	case OPTION_KEY:
		options_override(o, r->key, value);
		break;
	case OPTION_BIND:
		buf_addz(&o->bind, o->bind.n > 0 ? ", " : "");
		buf_addz(&o->bind, value);
		break;
	case OPTION_ACTION:
		o->action = (enum options_action)r->action;
		break;
	case OPTION_TEXT:
		memcpy((char *)o + r->offset, &value, sizeof(value));
		break;
	case OPTION_FLAG:
		*((char *)o + r->offset) = true;
		break;
	}
}

/* One option at argv[*at], with its value there or in the next argument. */
static bool option_take(struct options *o, unsigned scope, int argc, char **argv, int *at)
{
	const char *arg = argv[*at];
	bool letter = arg[1] != '-';
	struct str name = str_of(arg + (letter ? 1 : 2));
	const char *value = NULL;
	const struct option_row *r;
	ptrdiff_t cut = letter ? 1 : str_chr(name, '=');

	if (cut >= 0 && (size_t)cut < name.n) {
		value = name.p + cut + (letter ? 0 : 1);
		name.n = (size_t)cut;
	}
	r = option_find(scope, name, letter);
	if (r == NULL) {
		option_complain(scope, name, letter);
		return false;
	}
	if (r->value == NULL && value != NULL) {
		fprintf(stderr, "aragorad: option %s%.*s takes no value\n", letter ? "-" : "--", STR_ARG(name));
		return false;
	}
	if (r->value != NULL && value == NULL) {
		if (*at + 1 >= argc) {
			fprintf(stderr, "aragorad: option %s needs a value (%s)\n", arg, r->value);
			return false;
		}
		value = argv[++*at];
	}
	option_apply(o, r, value);
	return true;
}

bool options_parse(struct options *o, unsigned scope, int argc, char **argv)
{
	*o = (struct options){0};
	for (int i = 1; i < argc; i++) {
		if (argv[i][0] != '-' || argv[i][1] == '\0') {
			fprintf(stderr, "aragorad: unexpected argument %s; --help lists what there is\n", argv[i]);
			return false;
		}
		if (!option_take(o, scope, argc, argv, &i))
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
	if (c == NULL)
		fprintf(stderr, "%.*s", STR_ARG(buf_str(&report)));
	buf_free(&report);
	return c;
}

void options_help(struct buf *out)
{
	for (size_t i = 0; i < countof(option_table); i++) {
		const struct option_row *r = &option_table[i];
		char name[80];
		size_t n;

		if ((r->scope & OPTIONS_SERVE) == 0 || r->help == NULL)
			continue;
		n = (size_t)snprintf(name, sizeof(name), "%c%c%s --%s", r->letter != 0 ? '-' : ' ',
				     r->letter != 0 ? r->letter : ' ', r->letter != 0 ? "," : " ", r->name);
		/* Other spellings stand in the rows behind. */
		for (size_t k = i + 1; k < countof(option_table) && option_table[k].help == NULL; k++)
			n += (size_t)snprintf(name + n, sizeof(name) - n, ", --%s", option_table[k].name);
		buf_printf(out, "  %s%s%s\n          %s\n", name, r->value != NULL ? " " : "",
			   r->value != NULL ? r->value : "", r->help);
	}
}
