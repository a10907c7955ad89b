/* SPDX-License-Identifier: MIT */
/*
 * Environment variables: those of the table, secrets in files (NAME_FILE), and the few that change a part of a value.
 * Called by conf_load. Variables outside the table are not looked at, except some that are answered with a note.
 */
#include "common/conf_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONF_SECRET_MAX 65536 /* bytes of a secret's file */

#define CONF_NO_SUPABASE                                                                              \
	"is not read: Supabase's REST interface is not used; to keep debates in a Supabase project, " \
	"give the address of its PostgreSQL in DATABASE_URL"

#define CONF_NO_MOUND_STORE                                                                        \
	"is not read: knowledge lies in the same store as debates, so that both are kept or lost " \
	"together; "

/* Named by the manual of an earlier service, not read here: better said than silently ignored. */
static const struct conf_env_note {
	const char *name;
	const char *text;
} conf_env_notes[] = {
    {"SUPABASE_URL", CONF_NO_SUPABASE},
    {"SUPABASE_KEY", CONF_NO_SUPABASE},
    {"KNOWLEDGE_MOUND_DATABASE_URL", CONF_NO_MOUND_STORE "give its address in DATABASE_URL"},
    {"KNOWLEDGE_MOUND_REDIS_URL", CONF_NO_MOUND_STORE "no answer of it is kept in Redis"},
    {"ARAGORA_RATE_LIMIT_FAIL_OPEN",
     "is not read: without Redis each node goes on with its own limits, and nothing makes it do without any"},
};

/* The value of a variable whose name is a piece of the table; an empty one counts as not set, as compose files pass it.
 */
static struct str conf_env_get(struct str name, const char *suffix)
{
	char whole[80];

	snprintf(whole, sizeof(whole), "%.*s%s", STR_ARG(name), suffix);
	return str_of(getenv(whole));
}

bool conf_secret_mount(const char *path)
{
	char real[PATH_MAX];
	struct str s;

	if (realpath(path, real) == NULL)
		return false;
	s = str_of(real);
	return str_starts(s, STR("/run/secrets/")) || str_starts(s, STR("/var/run/secrets/"));
}

/* Opens a secret's file if it is one that may be trusted; -1 with the reason in *why. */
static int conf_secret_open(const char *path, const char **why)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd == -1 || fstat(fd, &st) == -1)
		*why = strerror(errno);
	else if (!S_ISREG(st.st_mode))
		*why = "not a regular file";
	else if (st.st_size > CONF_SECRET_MAX)
		*why = "too large for a secret";
	else if ((st.st_mode & S_IROTH) != 0 && !conf_secret_mount(path))
		*why = "readable by everybody; chmod 600 it";
	else
		return fd;
	if (fd != -1)
		close(fd);
	return -1;
}

/* Sets a secret from the file that NAME_FILE names. */
static void conf_secret_file(struct conf_loader *l, int row, const struct conf_origin *at, const char *path)
{
	const char *why = NULL;
	char *text;
	ssize_t n = -1;
	struct str secret;
	int fd = conf_secret_open(path, &why);

	if (fd == -1) {
		conf_complain(l, at, str_of(conf_table[row].name), "%s: %s", path, why);
		return;
	}
	text = xcalloc(1, CONF_SECRET_MAX);
	n = read(fd, text, CONF_SECRET_MAX);
	secret = str_trim((struct str){text, n > 0 ? (size_t)n : 0});
	if (n == -1)
		conf_complain(l, at, str_of(conf_table[row].name), "%s: %s", path, strerror(errno));
	else if (secret.n == 0)
		conf_complain(l, at, str_of(conf_table[row].name), "%s: is empty", path);
	else
		conf_set_text(l, row, secret, at);
	explicit_bzero(text, CONF_SECRET_MAX);
	free(text);
	close(fd);
}

/* Tries one variable of a key; true if it was set, good or not. */
static bool conf_env_try(struct conf_loader *l, int row, struct str name)
{
	struct conf_origin at = {.source = CONF_FROM_ENV, .name = name};
	struct str value = conf_env_get(name, "");
	struct str path = STR_NONE;

	if ((conf_table[row].flags & CONF_SECRET) != 0)
		path = conf_env_get(name, "_FILE");
	if (value.n == 0 && path.n == 0)
		return false;
	if (value.n > 0 && path.n > 0) {
		conf_complain(l, &at, str_of(conf_table[row].name), "%.*s_FILE is set too; set one of them",
			      STR_ARG(name));
	} else if (value.n > 0) {
		conf_set_text(l, row, value, &at);
	} else {
		at.in_file = true;
		conf_secret_file(l, row, &at, path.p);
	}
	return true;
}

/*
 * systemd credentials (systemd.exec(5), LoadCredential=): a secret whose file is named as its key, such as
 * auth.jwt_secret. The folder is this service's alone.
 */
static void conf_env_credential(struct conf_loader *l, int row)
{
	struct conf_origin at = {.source = CONF_FROM_ENV, .name = STR("CREDENTIALS_DIRECTORY")};
	struct str folder = conf_env_get(at.name, "");
	struct buf path = BUF_INIT;

	if (folder.n == 0)
		return;
	buf_printf(&path, "%.*s/%s", STR_ARG(folder), conf_table[row].name);
	if (access(path.p, F_OK) == 0)
		conf_secret_file(l, row, &at, path.p);
	buf_free(&path);
}

/* With OPENAI_BASE_URL the key in OPENAI_API_KEY is for that server, and must not make OpenAI look usable. */
static int conf_env_target(int row)
{
	if (conf_table[row].offset == offsetof(struct conf, providers[PROVIDER_OPENAI].api_key) &&
	    conf_env_get(STR("OPENAI_BASE_URL"), "").n > 0)
		return conf_find(STR("providers.compatible.api_key"));
	return row;
}

void conf_env_plain(struct conf_loader *l)
{
	struct str rest;
	struct str name;
	size_t i;

	for (i = 0; i < conf_table_size; i++) {
		if ((conf_table[i].flags & CONF_SECRET) != 0)
			conf_env_credential(l, (int)i);
		if ((conf_table[i].flags & CONF_RULED) != 0)
			continue;
		rest = str_of(conf_table[i].env);
		while (str_split(&rest, ' ', &name))
			if (name.n > 0 && conf_env_try(l, conf_env_target((int)i), name))
				break;
	}
	for (i = 0; i < countof(conf_env_notes); i++) {
		name = str_of(conf_env_notes[i].name);
		if (conf_env_get(name, "").n > 0)
			conf_warn(l, &(struct conf_origin){.source = CONF_FROM_ENV, .name = name}, STR_NONE, "%s",
				  conf_env_notes[i].text);
	}
}

/* ---- variables that change a part of a value ---- */

/* Splits "host:port" behind its marks at the last colon; false for unix:/path and systemd:NAME. */
static bool conf_address_split(const char *element, struct str *before, struct str *host, struct str *port)
{
	unsigned marks;
	struct str s = str_of(conf_listen_address(element, &marks));
	size_t i = s.n;

	*before = str_sub(str_of(element), 0, strlen(element) - s.n);
	if (str_starts(s, STR("unix:")) || str_starts(s, STR("systemd:")))
		return false;
	while (i > 0 && s.p[i - 1] != ':')
		i--;
	BUG_ON(i == 0);
	*host = str_sub(s, 0, i - 1);
	*port = str_sub(s, i, s.n);
	return true;
}

/* Adds an element unless it is there already: two addresses may become one when a part is replaced. */
static void conf_rule_add(struct buf *out, struct str element)
{
	struct str rest = buf_str(out);
	struct str one;

	while (str_split(&rest, ',', &one))
		if (str_eq(one, element))
			return;
	if (out->n > 0)
		buf_addc(out, ',');
	buf_add(out, element);
}

/* The list with the host or the port of its TCP addresses replaced; of ports only those equal to the first one. */
static void conf_rule_addresses(const struct conf_list *list, struct str new_host, struct str new_port, struct buf *out)
{
	struct str first = STR_NONE;
	struct buf one = BUF_INIT;
	struct str before;
	struct str host;
	struct str port;
	size_t i;

	for (i = 0; i < list->n; i++) {
		buf_clear(&one);
		if (!conf_address_split(list->v[i], &before, &host, &port)) {
			conf_rule_add(out, str_of(list->v[i]));
			continue;
		}
		if (first.p == NULL)
			first = port;
		if (new_port.n > 0 && str_eq(port, first))
			port = new_port;
		if (new_host.n > 0)
			host = new_host;
		buf_add(&one, before);
		buf_add(&one, host);
		buf_addc(&one, ':');
		buf_add(&one, port);
		conf_rule_add(out, buf_str(&one));
	}
	buf_free(&one);
}

static const char *conf_rule_port(struct conf *c, const struct conf_key *k, struct str value, struct buf *out)
{
	uint64_t n;

	if (!str_to_u64(value, 65535, &n))
		return "expected a port from 0 to 65535";
	conf_rule_addresses(conf_list_at(c, k), STR_NONE, value, out);
	return NULL;
}

static const char *conf_rule_host(struct conf *c, const struct conf_key *k, struct str value, struct buf *out)
{
	struct buf host = BUF_INIT;
	struct buf probe = BUF_INIT;
	const char *why = NULL;

	/* A bare IPv6 address needs its brackets before a port can follow. */
	if (str_chr(value, ':') >= 0 && value.p[0] != '[')
		buf_printf(&host, "[%.*s]", STR_ARG(value));
	else
		buf_add(&host, value);
	buf_printf(&probe, "%.*s:1", STR_ARG(buf_str(&host)));
	if (!conf_form_address(buf_str(&probe)) || str_starts(value, STR("unix:")))
		why = "expected a host name or IP address without port";
	else
		conf_rule_addresses(conf_list_at(c, k), buf_str(&host), STR_NONE, out);
	buf_free(&host);
	buf_free(&probe);
	return why;
}

/* OLLAMA_HOST and LM_STUDIO_HOST are written as those programs take them: "0.0.0.0", "host:port" or a URL. */
static void conf_rule_url(struct str value, const char *port, const char *path, struct buf *out)
{
	ptrdiff_t scheme = str_find(value, STR("://"));
	struct str rest = scheme < 0 ? value : str_sub(value, (size_t)scheme + 3, value.n);
	ptrdiff_t slash = str_chr(rest, '/');
	struct str host = slash < 0 ? rest : str_sub(rest, 0, (size_t)slash);
	bool has_path = slash >= 0 && (size_t)slash + 1 < rest.n;

	buf_add(out, scheme < 0 ? STR("http://") : str_sub(value, 0, (size_t)scheme + 3));
	/* The address a server listens on everywhere is not one to call. */
	if (str_starts(host, STR("0.0.0.0"))) {
		buf_addz(out, "127.0.0.1");
		host = str_sub(host, 7, host.n);
	}
	buf_add(out, host);
	if (scheme < 0 && (host.n == 0 || host.p[0] == '[' ? str_find(host, STR("]:")) < 0 : str_chr(host, ':') < 0))
		buf_addz(out, port);
	if (has_path)
		buf_add(out, str_sub(rest, (size_t)slash, rest.n));
	else
		buf_addz(out, path);
}

static const char *conf_rule_ollama(struct conf *c, const struct conf_key *k, struct str value, struct buf *out)
{
	(void)c;
	(void)k;
	conf_rule_url(value, ":11434", "", out);
	return NULL;
}

static const char *conf_rule_lm_studio(struct conf *c, const struct conf_key *k, struct str value, struct buf *out)
{
	(void)c;
	(void)k;
	conf_rule_url(value, ":1234", "/v1", out);
	return NULL;
}

/* The function writes the new value as text, or returns what is wrong. */
static const struct conf_env_rule {
	const char *name;
	const char *key;
	const char *(*apply)(struct conf *c, const struct conf_key *k, struct str value, struct buf *out);
} conf_env_table[] = {
    {"ARAGORA_BIND_HOST", "server.bind", conf_rule_host},
    {"ARAGORA_BIND_HOST", "server.ws_bind", conf_rule_host},
    {"ARAGORA_PORT", "server.bind", conf_rule_port},
    {"ARAGORA_WS_PORT", "server.ws_bind", conf_rule_port},
    {"OLLAMA_HOST", "providers.ollama.base_url", conf_rule_ollama},
    {"LM_STUDIO_HOST", "providers.lm_studio.base_url", conf_rule_lm_studio},
};

void conf_env_rules(struct conf_loader *l)
{
	struct buf text = BUF_INIT;
	struct conf_origin at;
	struct str value;
	const char *why;
	size_t i;
	int row;

	for (i = 0; i < countof(conf_env_table); i++) {
		at = (struct conf_origin){.source = CONF_FROM_ENV, .name = str_of(conf_env_table[i].name)};
		row = conf_find(str_of(conf_env_table[i].key));
		BUG_ON(row < 0);
		value = conf_env_get(at.name, "");
		if (value.n == 0 || l->failed[row] || l->origin[row].source == CONF_FROM_COMMAND)
			continue;
		buf_clear(&text);
		why = conf_env_table[i].apply(l->c, &conf_table[row], value, &text);
		if (why != NULL)
			conf_complain(l, &at, str_of(conf_table[row].name), "%s, found \"%.*s\"", why,
				      STR_ARG(str_utf8_cut(value, 48)));
		else
			conf_set_text(l, row, buf_str(&text), &at);
	}
	buf_free(&text);
}
