/* SPDX-License-Identifier: MIT */
/*
 * Loading a configuration: defaults, file, environment, command line, checks; all mistakes at once or a finished,
 * read-only struct conf. Called by the master and the subcommands. Does not watch files and touches no global state.
 */
#include "common/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/conf_internal.h"

/* ---- mistakes ---- */

static void conf_place(const struct conf_loader *l, const struct conf_origin *at, struct buf *out)
{
	switch (at->source) {
	case CONF_FROM_FILE:
		buf_printf(out, "%s:%zu:%zu: ", l->path, at->line, at->column);
		break;
	case CONF_FROM_ENV:
		buf_printf(out, "%.*s%s: ", STR_ARG(at->name), at->in_file ? "_FILE" : "");
		break;
	case CONF_FROM_COMMAND:
		buf_addz(out, "command line: ");
		break;
	case CONF_FROM_DEFAULT:
		buf_printf(out, "%s: ", l->path[0] != '\0' ? l->path : "configuration");
		break;
	}
}

/* Control characters of a path or a key must not break the one line that a mistake has. */
static void conf_one_line(struct buf *out, size_t from)
{
	size_t i;

	for (i = from; i < out->n; i++)
		if ((unsigned char)out->p[i] < ' ' || out->p[i] == 0x7f)
			out->p[i] = '?';
	buf_addc(out, '\n');
}

__attribute__((format(printf, 5, 0))) static void conf_say(struct conf_loader *l, const struct conf_origin *at,
							   struct str key, const char *before, const char *fmt,
							   va_list args)
{
	size_t from = l->report->n;
	char text[1024];

	vsnprintf(text, sizeof(text), fmt, args);
	conf_place(l, at, l->report);
	if (key.n > 0)
		buf_printf(l->report, "%.*s: ", STR_ARG(key));
	buf_addz(l->report, before);
	buf_addz(l->report, text);
	conf_one_line(l->report, from);
}

void conf_complain(struct conf_loader *l, const struct conf_origin *at, struct str key, const char *fmt, ...)
{
	va_list args;

	l->errors++;
	if (l->errors > CONF_ERROR_MAX)
		return;
	va_start(args, fmt);
	conf_say(l, at, key, "", fmt, args);
	va_end(args);
}

void conf_warn(struct conf_loader *l, const struct conf_origin *at, struct str key, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	conf_say(l, at, key, "warning: ", fmt, args);
	va_end(args);
}

/* ---- the layers ---- */

static void conf_defaults(struct conf_loader *l)
{
	const struct conf_origin at = {.source = CONF_FROM_DEFAULT};
	struct conf_provider *demo = &l->c->providers[PROVIDER_DEMO];
	size_t i;

	/* Demo agents have no keys of their own, but no string may be NULL. */
	demo->api_key = xstrdup("");
	demo->base_url = xstrdup("");
	demo->model = xstrdup("");
	for (i = 0; i < conf_table_size; i++)
		BUG_ON(!conf_set_text(l, (int)i, str_of(conf_table[i].dflt), &at));
}

/* Defaults that production has otherwise, for keys that nobody has set. */
static void conf_defaults_production(struct conf_loader *l)
{
	const struct conf_origin at = {.source = CONF_FROM_DEFAULT};
	size_t i;

	if (l->c->server.env != CONF_PRODUCTION)
		return;
	for (i = 0; i < conf_table_size; i++)
		if (conf_table[i].production != NULL && l->origin[i].source == CONF_FROM_DEFAULT && !l->failed[i])
			BUG_ON(!conf_set_text(l, (int)i, str_of(conf_table[i].production), &at));
}

/* Reads all of a file of bounded size; false with errno set. */
/* *exposed: everybody on this machine can read it. */
static bool conf_slurp(const char *path, struct buf *text, bool *exposed)
{
	struct stat st;
	ssize_t n = -1;
	char *room;
	int saved;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd == -1)
		return false;
	if (fstat(fd, &st) == 0) {
		*exposed = S_ISREG(st.st_mode) && (st.st_mode & S_IROTH) != 0;
		while ((room = buf_reserve(text, 4096)) != NULL && (n = read(fd, room, 4096)) > 0)
			buf_commit(text, (size_t)n);
		if (room == NULL) {
			errno = EFBIG;
			n = -1;
		}
	}
	saved = errno;
	close(fd);
	errno = saved;
	return n == 0;
}

static void conf_file(struct conf_loader *l)
{
	const struct conf_origin at = {.source = CONF_FROM_DEFAULT};
	struct buf text = BUF_LIMIT(CONF_FILE_MAX);

	if (l->path[0] == '\0')
		return;
	if (conf_slurp(l->path, &text, &l->exposed))
		conf_yaml(l, buf_str(&text));
	else
		conf_complain(l, &at, STR_NONE, "cannot be read: %s", strerror(errno));
	/* The text may hold secrets. */
	if (text.p != NULL)
		explicit_bzero(text.p, text.n);
	buf_free(&text);
}

static void conf_command(struct conf_loader *l, const struct conf_override *overrides, size_t count)
{
	const struct conf_origin at = {.source = CONF_FROM_COMMAND};
	const char *near;
	struct str key;
	size_t i;
	int row;

	for (i = 0; i < count; i++) {
		key = str_of(overrides[i].key);
		row = conf_find(key);
		if (row >= 0) {
			conf_set_text(l, row, str_of(overrides[i].value), &at);
			continue;
		}
		near = conf_suggest(key);
		if (near != NULL)
			conf_complain(l, &at, key, "unknown key, did you mean %s?", near);
		else
			conf_complain(l, &at, key, "unknown key");
	}
}

/* Callers append "/path" to base URLs, so they end without a slash. */
static void conf_trim_urls(struct conf *c)
{
	size_t i;
	size_t n;

	for (i = 0; i < PROVIDER_MAX; i++) {
		n = strlen(c->providers[i].base_url);
		while (n > 0 && c->providers[i].base_url[n - 1] == '/')
			c->providers[i].base_url[--n] = '\0';
	}
}

/* Has somebody asked for a provider that needs no key? Its default address alone says nothing. */
static bool conf_named(const struct conf_loader *l, const struct conf_provider *p, const char *key)
{
	int row = conf_find(str_of(key));
	enum conf_source source;

	BUG_ON(row < 0);
	source = l->origin[row].source;
	return p->model[0] != '\0' || source == CONF_FROM_ENV || source == CONF_FROM_COMMAND ||
	       strcmp(p->base_url, conf_table[row].dflt) != 0;
}

static void conf_finish(struct conf_loader *l)
{
	struct conf_provider *p = l->c->providers;

	conf_trim_urls(l->c);
	p[PROVIDER_OLLAMA].named = conf_named(l, &p[PROVIDER_OLLAMA], "providers.ollama.base_url");
	p[PROVIDER_LM_STUDIO].named = conf_named(l, &p[PROVIDER_LM_STUDIO], "providers.lm_studio.base_url");
	conf_check(l);
}

struct conf *conf_load(const char *path, bool use_env, const struct conf_override *overrides, size_t count,
		       struct buf *report)
{
	struct conf_loader *l = xcalloc(1, sizeof(*l));
	struct conf *c = xcalloc(1, sizeof(*c));

	c->refs = 1;
	c->path = xstrdup(path != NULL ? path : "");
	l->c = c;
	l->path = c->path;
	l->report = report;
	conf_defaults(l);
	conf_file(l);
	if (use_env)
		conf_env_plain(l);
	conf_command(l, overrides, count);
	conf_defaults_production(l);
	if (use_env)
		conf_env_rules(l);
	conf_finish(l);
	if (l->errors > CONF_ERROR_MAX)
		buf_printf(report, "%s: and %u more mistakes\n", c->path, l->errors - CONF_ERROR_MAX);
	if (l->errors > 0) {
		conf_unref(c);
		c = NULL;
	}
	free(l);
	return c;
}

/* ---- life ---- */

struct conf *conf_ref(struct conf *c)
{
	BUG_ON(c->refs == 0);
	c->refs++;
	return c;
}

void conf_unref(struct conf *c)
{
	struct conf_provider *demo;
	size_t i;

	if (c == NULL)
		return;
	BUG_ON(c->refs == 0);
	if (--c->refs > 0)
		return;
	for (i = 0; i < conf_table_size; i++)
		conf_value_free(c, &conf_table[i]);
	demo = &c->providers[PROVIDER_DEMO];
	free(demo->api_key);
	free(demo->base_url);
	free(demo->model);
	free(c->path);
	free(c);
}

/* ---- questions ---- */

bool conf_reloadable(const struct conf *before, const struct conf *after, struct buf *report)
{
	struct buf old = BUF_INIT;
	struct buf new = BUF_INIT;
	bool same = true;
	size_t i;

	for (i = 0; i < conf_table_size; i++) {
		const struct conf_key *k = &conf_table[i];

		if ((k->flags & CONF_RELOAD) != 0)
			continue;
		buf_clear(&old);
		buf_clear(&new);
		conf_value_print(before, k, false, &old);
		conf_value_print(after, k, false, &new);
		if (str_eq(buf_str(&old), buf_str(&new)))
			continue;
		same = false;
		buf_printf(report, "%s: cannot be changed by a reload", k->name);
		if ((k->flags & CONF_SECRET) == 0)
			buf_printf(report, ", is %.*s, would become %.*s", STR_ARG(buf_str(&old)),
				   STR_ARG(buf_str(&new)));
		buf_addz(report, "; restart the server\n");
	}
	buf_free(&old);
	buf_free(&new);
	return same;
}

bool conf_csrf(const struct conf *c)
{
	return c->csrf.enabled == AUTO_ON || (c->csrf.enabled == AUTO_AUTO && c->server.env == CONF_PRODUCTION);
}

bool conf_auth_required(const struct conf *c)
{
	if (c->auth.required != AUTO_AUTO)
		return c->auth.required == AUTO_ON;
	return c->server.env == CONF_PRODUCTION || c->auth.api_token[0] != '\0';
}

bool conf_compression(const struct conf *c)
{
	if (c->compression.enabled != AUTO_AUTO)
		return c->compression.enabled == AUTO_ON;
	return c->server.env == CONF_PRODUCTION;
}

static const struct conf_provider_kind {
	const char *name;
	bool needs_key;
	bool must_be_named; /* its default address does not mean that it is there */
} conf_provider_kinds[PROVIDER_MAX] = {
    [PROVIDER_ANTHROPIC] = {"anthropic", true, false},    [PROVIDER_OPENAI] = {"openai", true, false},
    [PROVIDER_OPENROUTER] = {"openrouter", true, false},  [PROVIDER_GEMINI] = {"gemini", true, false},
    [PROVIDER_MISTRAL] = {"mistral", true, false},        [PROVIDER_XAI] = {"xai", true, false},
    [PROVIDER_OLLAMA] = {"ollama", false, true},          [PROVIDER_LM_STUDIO] = {"lm_studio", false, true},
    [PROVIDER_COMPATIBLE] = {"compatible", false, false}, [PROVIDER_DEMO] = {"demo", false, false},
};

const char *conf_provider_name(enum conf_provider_id id)
{
	BUG_ON(id >= PROVIDER_MAX);
	return conf_provider_kinds[id].name;
}

bool conf_provider_usable(const struct conf *c, enum conf_provider_id id)
{
	const struct conf_provider *p;

	BUG_ON(id >= PROVIDER_MAX);
	if (id == PROVIDER_DEMO)
		return conf_demo_active(c);
	p = &c->providers[id];
	if (p->base_url[0] == '\0' || (conf_provider_kinds[id].needs_key && p->api_key[0] == '\0'))
		return false;
	return p->named || !conf_provider_kinds[id].must_be_named;
}

bool conf_demo_active(const struct conf *c)
{
	int id;

	if (c->demo.enabled != AUTO_AUTO)
		return c->demo.enabled == AUTO_ON;
	for (id = 0; id < PROVIDER_DEMO; id++)
		if (conf_provider_usable(c, (enum conf_provider_id)id))
			return false;
	return true;
}
