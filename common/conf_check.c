/* SPDX-License-Identifier: MIT */
/*
 * What single values cannot show: settings that contradict each other, what this build cannot do, what production
 * demands. Called by conf_load when all values are in place; reports everything that is wrong, not only the first.
 */
#include "common/conf_internal.h"

#include "common/db_pg.h"
#include "common/keyring.h"
#include "common/redis_url.h"

#define CONF_JWT_MIN 32 /* characters of auth.jwt_secret, RFC 7518 3.2 */

/* Complains at the place where the key got its value. */
static void conf_wrong(struct conf_loader *l, const char *key, const char *text)
{
	int row = conf_find(str_of(key));

	BUG_ON(row < 0);
	if (!l->failed[row])
		conf_complain(l, &l->origin[row], str_of(key), "%s", text);
}

static bool conf_set_by_user(const struct conf_loader *l, const char *key)
{
	int row = conf_find(str_of(key));

	BUG_ON(row < 0);
	return l->origin[row].source != CONF_FROM_DEFAULT;
}

static void conf_check_build(struct conf_loader *l)
{
	const struct conf *c = l->c;
	struct redis_address redis;
	struct error err = ERROR_INIT;

	if (c->redis.url[0] != '\0' && !redis_url_parse(str_of(c->redis.url), &redis, &err))
		conf_wrong(l, "redis.url", err.msg);
}

static void conf_check_keys(struct conf_loader *l)
{
	const char *text = l->c->storage.encryption_key;
	struct error err = ERROR_INIT;
	struct keyring *k = text[0] != '\0' ? keyring_parse(str_of(text), &err) : NULL;

	if (err.code != ERR_OK)
		conf_wrong(l, "storage.encryption_key", err.msg);
	keyring_close(k);
}

/* Everything before "://", in any case; empty for the form "host=… dbname=…". */
static struct str conf_scheme(const char *dsn)
{
	struct str s = str_of(dsn);
	ptrdiff_t end = str_find(s, STR("://"));

	return end > 0 && str_chr(str_sub(s, 0, (size_t)end), '=') < 0 ? str_sub(s, 0, (size_t)end) : STR("");
}

/* What libpq makes of it; its words may quote the password, so that they are not repeated. */
static bool conf_dsn_readable(const char *dsn)
{
	char *text = db_pg_dsn(dsn), *why = NULL;
	PQconninfoOption *o = PQconninfoParse(text, &why);
	bool ok = o != NULL;

	PQconninfoFree(o);
	PQfreemem(why);
	free(text);
	return ok;
}

static void conf_check_dsn(struct conf_loader *l)
{
	const char *dsn = l->c->storage.dsn;
	struct str scheme = conf_scheme(dsn);

	if (str_istarts(scheme, STR("mysql")) || str_istarts(scheme, STR("mariadb")))
		conf_wrong(l, "storage.dsn", "mysql is not supported; use postgresql://… or sqlite (leave it empty)");
	else if (str_istarts(scheme, STR("sqlite")))
		conf_wrong(l, "storage.dsn", "sqlite needs none: leave it empty and set storage.data_dir");
	else if (scheme.n > 0 && !str_starts(scheme, STR("postgres")))
		conf_wrong(l, "storage.dsn", "must begin with postgresql://");
	else if (!conf_dsn_readable(dsn))
		conf_wrong(
		    l, "storage.dsn",
		    "is not an address of PostgreSQL: expected postgresql://user:password@host:port/database (special "
		    "characters of the password as %XX), or host=… dbname=… user=…");
}

/* Naming a server chooses it, unless a choice was made. */
static void conf_check_store(struct conf_loader *l)
{
	struct conf *c = l->c;

	if (c->storage.dsn[0] != '\0') {
		conf_check_dsn(l);
		if (!conf_set_by_user(l, "storage.backend"))
			c->storage.backend = STORE_POSTGRES;
		else if (c->storage.backend == STORE_SQLITE)
			conf_warn(l, &l->origin[conf_find(STR("storage.dsn"))], STR("storage.dsn"),
				  "is not used, as storage.backend is sqlite");
	} else if (c->storage.backend == STORE_POSTGRES) {
		conf_wrong(l, "storage.backend",
			   "is postgres, but storage.dsn (ARAGORA_POSTGRES_DSN, DATABASE_URL) is empty");
	}
	if (c->storage.required && c->storage.backend == STORE_SQLITE)
		conf_wrong(l, "storage.required", "demands a database server, but storage.dsn (DATABASE_URL) is empty");
}

static bool conf_listed(const struct conf_list *list, const char *text)
{
	size_t i;

	for (i = 0; i < list->n; i++)
		if (strcmp(list->v[i], text) == 0)
			return true;
	return false;
}

/* The same address twice cannot be bound; port 0 is a new port each time. */
static bool conf_bound_too(const struct conf_list *list, const char *address)
{
	unsigned marks;
	size_t i;

	for (i = 0; i < list->n; i++)
		if (strcmp(conf_listen_address(list->v[i], &marks), address) == 0)
			return !str_ends(str_of(address), STR(":0"));
	return false;
}

static bool conf_marked(const struct conf_list *list, unsigned mark)
{
	unsigned marks;
	size_t i;

	for (i = 0; i < list->n; i++) {
		(void)conf_listen_address(list->v[i], &marks);
		if ((marks & mark) != 0)
			return true;
	}
	return false;
}

static void conf_check_tls(struct conf_loader *l)
{
	const struct conf *c = l->c;
	bool marked = conf_marked(&c->server.bind, LISTEN_TLS) || conf_marked(&c->server.ws_bind, LISTEN_TLS);

	if (marked && c->server.tls.certificates.n == 0)
		conf_wrong(l, "server.tls.certificates", "is empty, but a listener is marked \"tls:\"");
	if (!marked && c->server.tls.certificates.n > 0)
		conf_warn(l, &l->origin[conf_find(STR("server.tls.certificates"))], STR("server.tls.certificates"),
			  "is set, but no listener is marked \"tls:\"");
	if (c->server.tls.client_auth != TLS_CLIENT_OFF && c->server.tls.client_ca[0] == '\0')
		conf_wrong(l, "server.tls.client_ca", "is empty, but server.tls.client_auth asks for certificates");
}

static void conf_check_addresses(struct conf_loader *l)
{
	const struct conf *c = l->c;
	const char *address;
	unsigned marks;
	size_t i;

	if (c->server.bind.n == 0 && c->server.role != ROLE_WORKER)
		conf_wrong(l, "server.bind", "must not be empty unless server.role is worker");
	for (i = 0; i < c->server.ws_bind.n; i++) {
		address = conf_listen_address(c->server.ws_bind.v[i], &marks);
		if (conf_bound_too(&c->server.bind, address))
			conf_wrong(l, "server.ws_bind", "has an address that is in server.bind too");
	}
}

/* server.timeout is the upper bound: a default gives way to it, a setting must respect it. */
static void conf_check_stall(struct conf_loader *l)
{
	struct conf *c = l->c;

	if (c->server.stall_timeout <= c->server.timeout)
		return;
	if (conf_set_by_user(l, "server.stall_timeout"))
		conf_wrong(l, "server.stall_timeout", "must not be longer than server.timeout");
	else
		c->server.stall_timeout = c->server.timeout;
}

static void conf_check_numbers(struct conf_loader *l)
{
	const struct conf *c = l->c;

	if (c->server.workers > c->server.max_slots / 3)
		conf_wrong(l, "server.workers",
			   "must not be more than a third of server.max_slots: during reloads three generations live");
	if (c->debates.default_rounds > c->debates.max_rounds)
		conf_wrong(l, "debates.default_rounds", "must not be more than debates.max_rounds");
	if ((int64_t)c->debates.default_agents.n > c->debates.max_agents)
		conf_wrong(l, "debates.default_agents", "has more agents than debates.max_agents allows");
	if (c->debates.default_agents.n == 1)
		conf_wrong(l, "debates.default_agents", "needs at least two agents, or none");
	if (c->debates.retry_base > c->debates.retry_cap)
		conf_wrong(l, "debates.retry_base", "must not be longer than debates.retry_cap");
}

/* ARAGORA_DISABLE_ALL_RATE_LIMITS means those of WebSockets too (websocket.md 1.4). */
static void conf_check_rates(struct conf_loader *l)
{
	struct conf *c = l->c;

	if (c->server.env == CONF_PRODUCTION && c->rate_limit.strict && c->redis.url[0] == '\0')
		conf_wrong(l, "rate_limit.strict",
			   "demands Redis in production, but redis.url (ARAGORA_REDIS_URL) is empty");
	if (!c->rate_limit.disable_all)
		return;
	if (c->server.env == CONF_PRODUCTION) {
		conf_wrong(l, "rate_limit.disable_all", "is not allowed in production");
		return;
	}
	c->rate_limit.enabled = 0;
	c->websocket.message_rate = c->websocket.connection_rate = c->websocket.max_per_ip = 0;
}

/* Words of samples and guides that somebody was to replace. */
static bool conf_is_placeholder(const char *secret)
{
	static const char *const words[] = {"changeme",    "change-me",       "change_me",        "change this",
					    "change-this", "your-jwt-secret", "your-secure-pass", "placeholder"};
	size_t i;

	for (i = 0; i < countof(words); i++)
		if (str_ifind(str_of(secret), str_of(words[i])) >= 0)
			return true;
	return false;
}

static void conf_check_placeholders(struct conf_loader *l)
{
	size_t i;

	for (i = 0; i < conf_table_size; i++)
		if ((conf_table[i].flags & CONF_SECRET) != 0 &&
		    conf_is_placeholder(*conf_text_at(l->c, &conf_table[i])))
			conf_wrong(l, conf_table[i].name, "is still the text of a sample; make a secret of your own");
}

#define CONF_TOKEN_MIN 16                   /* characters of auth.api_token in production: 64 bits of hex */
#define CONF_PASSWORD_MEMORY (19 * 1048576) /* OWASP Password Storage: Argon2id with 19 MiB and 2 passes, or more */
#define CONF_PASSWORD_WORK (CONF_PASSWORD_MEMORY * INT64_C(2))

/* What works, but would be regretted: settings made for development or for tests. */
static void conf_check_weak(struct conf_loader *l)
{
	const struct conf *c = l->c;
	size_t token = strlen(c->auth.api_token), i;

	conf_check_placeholders(l);
	if (token > 0 && token < CONF_TOKEN_MIN)
		conf_wrong(l, "auth.api_token", "must have at least 16 characters in production");
	if (c->auth.password_memory * c->auth.password_passes < CONF_PASSWORD_WORK)
		conf_wrong(l, "auth.password_memory",
			   "times auth.password_passes is too cheap for production: 19 MiB and 2 passes, or more");
	if (!c->rate_limit.enabled && !c->rate_limit.disable_all)
		conf_wrong(l, "rate_limit.enabled", "must not be switched off in production");
	if (c->headers.csp_mode == CSP_DEV)
		conf_wrong(l, "headers.csp_mode", "\"dev\" lets inline scripts run: not in production");
	if (c->storage.backend == STORE_SQLITE && c->redis.url[0] != '\0')
		conf_wrong(l, "redis.url",
			   "joins several nodes, but each would keep a database file of its own: set storage.dsn");
	for (i = 0; i < c->server.trusted_proxies.n; i++)
		if (str_ends(str_of(c->server.trusted_proxies.v[i]), STR("/0")))
			conf_wrong(l, "server.trusted_proxies",
				   "trusts everybody to say where a request comes from; name the proxies");
}

static void conf_check_secrets(struct conf_loader *l)
{
	const struct conf *c = l->c;
	size_t jwt = strlen(c->auth.jwt_secret), previous = strlen(c->auth.jwt_secret_previous);

	if (jwt > 0 && jwt < CONF_JWT_MIN)
		conf_wrong(l, "auth.jwt_secret", "must have at least 32 characters");
	if (previous > 0 && previous < CONF_JWT_MIN)
		conf_wrong(l, "auth.jwt_secret_previous", "must have at least 32 characters");
}

static void conf_check_production(struct conf_loader *l)
{
	const struct conf *c = l->c;

	if (c->auth.required == AUTO_OFF)
		conf_wrong(l, "auth.required", "production demands authentication; remove the setting");
	if (c->auth.api_token[0] == '\0' && c->auth.jwt_secret[0] == '\0')
		conf_wrong(l, "auth.api_token",
			   "production demands authentication: set auth.api_token (ARAGORA_API_TOKEN), or "
			   "auth.jwt_secret (ARAGORA_JWT_SECRET) of at least 32 characters");
	if (conf_listed(&c->cors.allowed_origins, "*"))
		conf_wrong(l, "cors.allowed_origins", "\"*\" is not allowed in production; name the origins");
	conf_check_weak(l);
}

/* An address is a secret only if a password stands in it. */
static bool conf_is_secret(struct conf *c, const struct conf_key *k)
{
	struct str s = str_of(*conf_text_at(c, k));
	ptrdiff_t host = str_chr(s, '@'), scheme = str_find(s, STR("://"));

	if (s.n == 0 || scheme < 0)
		return s.n > 0 &&
		       (k != &conf_table[conf_find(STR("storage.dsn"))] || str_ifind(s, STR("password")) >= 0);
	return (host > scheme && str_chr(str_sub(s, (size_t)scheme + 3, (size_t)host), ':') >= 0) ||
	       str_ifind(s, STR("password=")) >= 0;
}

static void conf_check_exposed(struct conf_loader *l)
{
	const struct conf_origin at = {.source = CONF_FROM_DEFAULT};
	struct buf names = BUF_INIT;
	size_t i;

	if (!l->exposed || conf_secret_mount(l->path))
		return;
	for (i = 0; i < conf_table_size; i++) {
		if ((conf_table[i].flags & CONF_SECRET) == 0 || l->origin[i].source != CONF_FROM_FILE || l->failed[i] ||
		    !conf_is_secret(l->c, &conf_table[i]))
			continue;
		buf_printf(&names, "%s%s", names.n > 0 ? ", " : "", conf_table[i].name);
	}
	if (names.n > 0)
		(l->c->server.env == CONF_PRODUCTION ? conf_complain : conf_warn)(
		    l, &at, STR_NONE,
		    "can be read by everybody on this machine and holds %.*s: chmod 640 it, or set them by"
		    " the environment",
		    STR_ARG(buf_str(&names)));
	buf_free(&names);
}

void conf_check(struct conf_loader *l)
{
	const struct conf *c = l->c;

	conf_check_build(l);
	conf_check_keys(l);
	conf_check_store(l);
	conf_check_addresses(l);
	conf_check_tls(l);
	conf_check_stall(l);
	conf_check_numbers(l);
	conf_check_rates(l);
	conf_check_secrets(l);
	conf_check_exposed(l);
	if (c->server.env == CONF_PRODUCTION)
		conf_check_production(l);
}
