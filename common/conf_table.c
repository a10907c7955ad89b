/* SPDX-License-Identifier: MIT */
/*
 * The table of the configuration: every key once, with all there is to know about it. Read by the rest of conf.
 * Does not parse anything; a new key is one row here and one field in struct conf.
 */
#include "common/conf_internal.h"

#include "common/clock.h"
#include "common/shm.h"

#define MS MS_US
#define SEC SEC_US
#define DAY (86400 * SEC_US)
#define MIB (INT64_C(1) << 20)
#define GIB (INT64_C(1) << 30)

/* A million stands for "as many as you like" where a number only counts something. */
#define MANY 1000000

#define AT(field) .offset = offsetof(struct conf, field), .size = sizeof(((struct conf *)0)->field)
#define INT(lo, hi) .type = CONF_INT, .min = (lo), .max = (hi)
#define DURATION(lo, hi) .type = CONF_DURATION, .min = (lo), .max = (hi)
#define SIZE(lo, hi) .type = CONF_SIZE, .min = (lo), .max = (hi)
#define CHOICE(words) .type = CONF_CHOICE, .choices = (words)
#define FORM(what, text) .valid = conf_form_##what, .form = (text)
#define ADDRESSES          \
	.type = CONF_LIST, \
	FORM(address, "host:port, [::]:port, unix:/path or systemd:NAME, with tls: or proxy: before it")
#define NETS .type = CONF_LIST, FORM(net, "an IP address or network such as 10.0.0.0/8")
#define URL FORM(url, "an http:// or https:// URL")

/* The three rows of a provider. */
#define PROVIDER(id, word, label, url, key_env, key_flags, url_env, url_flags)                               \
	{"providers." word ".api_key",                                                                       \
	 .type = CONF_TEXT,                                                                                  \
	 .flags = CONF_RELOAD | CONF_SECRET | (key_flags),                                                   \
	 AT(providers[id].api_key),                                                                          \
	 .dflt = "",                                                                                         \
	 .env = key_env,                                                                                     \
	 .help = "Key of " label "; empty: none."},                                                          \
	    {"providers." word ".base_url",                                                                  \
	     .type = CONF_TEXT,                                                                              \
	     .flags = CONF_RELOAD | (url_flags),                                                             \
	     URL,                                                                                            \
	     AT(providers[id].base_url),                                                                     \
	     .dflt = url,                                                                                    \
	     .env = url_env,                                                                                 \
	     .help = "Address of " label "."},                                                               \
	{                                                                                                    \
		"providers." word ".model",                                                                  \
		    .type = CONF_TEXT, .flags = CONF_RELOAD, AT(providers[id].model), .dflt = "", .env = "", \
		    .help = "Model to ask when a debate names none; empty: the built-in choice."             \
	}

/* clang-format off */
const struct conf_section conf_sections[] = {
	{"server", "Processes, addresses and time limits."},
	{"server.tls", "TLS of the listeners that are marked \"tls:\"."},
	{"server.http2", "HTTP/2, on every listener."},
	{"log", "Log lines and access lines."},
	{"storage", "Where debates are kept."},
	{"redis", "Hints between several nodes."},
	{"auth", "Who may call the API."},
	{"oauth", "Single sign-on: logging in with an account elsewhere."},
	{"oauth.google", "Google; used when client_id is set."},
	{"oauth.oidc", "Any other OpenID Connect provider; used when issuer and client_id are set."},
	{"approvals", "Operations that wait for somebody else's consent."},
	{"break_glass", "Permissions for an emergency, bounded in time and reviewed afterwards."},
	{"cors", "Which web pages may call the API."},
	{"headers", "What answers tell browsers. An empty value: the header is not sent."},
	{"csrf", "Requests that other pages make browsers send; only those that come with a session cookie."},
	{"slo", "Objectives: how many requests may fail or be slow, by kind of route."},
	{"cache", "Answers of read-only routes kept in memory; what a change makes old is dropped on all workers."},
	{"limits", "Bounds on what one client can send and hold."},
	{"static", "Files of a built web application, served beside the API."},
	{"compression", "Answers compressed for clients that ask for it. Routes that return secrets are never compressed."},
	{"websocket", "WebSocket connections."},
	{"rate_limit", "Limits on requests per minute."},
	{"debates", "How debates run."},
	{"memory", "What earlier debates leave for later ones."},
	{"decisions", "Decisions of /api/decisions and their cache."},
	{"deliveries", "What is sent to URLs that clients name (callback_url)."},
	{"tenancy", "Organizations and what they may use."},
	{"knowledge", "The Knowledge Mound: what debates and people leave for later debates."},
	{"retention", "How long rows are kept, in days; 0: for ever."},
	{"receipts", "Decision receipts: who signs them."},
	{"audit", "The audit log: who did what, in a chain of hashes."},
	{"smtp", "Outgoing mail."},
	{"metrics", "Prometheus metrics."},
	{"providers", "Where models are asked. A provider without key (where it needs one) is not used."},
	{"providers.anthropic", "Anthropic."},
	{"providers.openai", "OpenAI."},
	{"providers.openrouter", "OpenRouter."},
	{"providers.gemini", "Google Gemini."},
	{"providers.mistral", "Mistral AI."},
	{"providers.xai", "xAI."},
	{"providers.ollama", "Ollama; needs no key. Used when a model is named or the address is not the default one."},
	{"providers.lm_studio", "LM Studio; needs no key. Used when a model is named or the address is not the default one."},
	{"providers.compatible", "Any other server that speaks the OpenAI protocol. Used when its address is set."},
	{"providers.demo", "Built-in demo agents, which need no model and no network."},
	{"agents", "How models are asked."},
	{"embeddings", "Texts as vectors, from any server with OpenAI's POST /embeddings; without it texts are compared by their words."},
	{NULL, NULL}
};

const struct conf_key conf_table[] = {
	{"server.env", CHOICE("development|production"), AT(server.env), .dflt = "development",
	 .env = "ARAGORA_ENV ARAGORA_ENVIRONMENT", .help = "Production switches strict checks on."},
	{"server.role", CHOICE("all|web|worker"), AT(server.role), .dflt = "all", .env = "",
	 .help = "What this process does: everything, only serve clients, or only run debates and jobs."},
	{"server.bind", ADDRESSES, .flags = CONF_RELOAD | CONF_RULED, AT(server.bind),
	 .dflt = "127.0.0.1:8080", .production = "0.0.0.0:8080", .env = "ARAGORA_PORT ARAGORA_BIND_HOST",
	 .help = "Addresses of the HTTP listeners; \"tls:\" before one speaks TLS, \"proxy:\" expects a PROXY header. "
		 "ARAGORA_PORT changes the port, ARAGORA_BIND_HOST the host."},
	{"server.ws_bind", ADDRESSES, .flags = CONF_RELOAD | CONF_RULED, AT(server.ws_bind),
	 .dflt = "127.0.0.1:8765", .production = "0.0.0.0:8765", .env = "ARAGORA_WS_PORT ARAGORA_BIND_HOST",
	 .help = "Further addresses, by habit for WebSockets; every listener serves everything. Empty: none."},
	{"server.workers", INT(0, SHM_SLOTS_MAX), .flags = CONF_RELOAD, AT(server.workers), .dflt = "0",
	 .env = "ARAGORA_WORKERS", .help = "Worker processes; 0: two per usable core and one more."},
	{"server.worker_connections", INT(1, MANY), .flags = CONF_RELOAD, AT(server.worker_connections), .dflt = "10000",
	 .env = "", .help = "Most client connections of one worker."},
	{"server.max_slots", INT(8, SHM_SLOTS_MAX), AT(server.max_slots), .dflt = "256", .env = "",
	 .help = "Most processes at one time, draining ones included."},
	{"server.timeout", DURATION(100 * MS, DAY), .flags = CONF_RELOAD, AT(server.timeout), .dflt = "300",
	 .env = "", .help = "Upper bound of stall_timeout."},
	{"server.stall_timeout", DURATION(100 * MS, DAY), .flags = CONF_RELOAD, AT(server.stall_timeout), .dflt = "10",
	 .env = "", .help = "A worker whose loop is silent for so long is replaced."},
	{"server.request_timeout", DURATION(50 * MS, DAY), .flags = CONF_RELOAD, AT(server.request_timeout), .dflt = "60",
	 .env = "ARAGORA_API_TIMEOUT ARAGORA_REQUEST_TIMEOUT", .help = "Longest handling of one request."},
	{"server.slow_timeout", DURATION(50 * MS, DAY), .flags = CONF_RELOAD, AT(server.slow_timeout), .dflt = "120",
	 .env = "ARAGORA_SLOW_REQUEST_TIMEOUT", .help = "The same for routes that create or export, where it is longer."},
	{"server.allowed_hosts", .type = CONF_LIST, .flags = CONF_RELOAD, FORM(host_pattern, "a host name, or .example.org for all below it"),
	 AT(server.allowed_hosts), .dflt = "", .env = "ARAGORA_ALLOWED_HOSTS",
	 .help = "Names that clients may call this server by (Host); probes may use any. Empty: any."},
	{"server.graceful_timeout", DURATION(0, DAY), .flags = CONF_RELOAD, AT(server.graceful_timeout),
	 .dflt = "10", .production = "30", .env = "",
	 .help = "How long running requests and debates may go on after TERM."},
	{"server.strict_startup", .type = CONF_BOOL, AT(server.strict_startup), .dflt = "false", .env = "ARAGORA_STRICT_STARTUP",
	 .help = "Refuse to start when a backend that is configured cannot be reached; else start without it and say so: "
		 "without the database, only probes are answered until it is there."},
	{"server.boot_timeout", DURATION(100 * MS, DAY), .flags = CONF_RELOAD, AT(server.boot_timeout), .dflt = "30",
	 .env = "", .help = "A worker that does not serve by then has failed to start."},
	{"server.keepalive", DURATION(0, DAY), .flags = CONF_RELOAD, AT(server.keepalive), .dflt = "5", .env = "",
	 .help = "How long an idle connection is kept for the next request."},
	{"server.head_timeout", DURATION(50 * MS, DAY), .flags = CONF_RELOAD, AT(server.head_timeout), .dflt = "10",
	 .env = "", .help = "A request head must be complete so long after its first byte."},
	{"server.body_timeout", DURATION(50 * MS, DAY), .flags = CONF_RELOAD, AT(server.body_timeout), .dflt = "30",
	 .env = "", .help = "Longest silence inside a request body."},
	{"server.body_rate", INT(0, MANY), .flags = CONF_RELOAD, AT(server.body_rate), .dflt = "500", .env = "",
	 .help = "Bytes a second that a request body must bring, after body_timeout to begin with; 0: any."},
	{"server.write_timeout", DURATION(50 * MS, DAY), .flags = CONF_RELOAD, AT(server.write_timeout), .dflt = "30",
	 .env = "", .help = "Longest time in which a client takes no byte of its answer."},
	{"server.max_requests", INT(0, INT64_C(1000000000000)), .flags = CONF_RELOAD, AT(server.max_requests), .dflt = "0",
	 .env = "", .help = "A worker is replaced after so many requests; 0: never."},
	{"server.max_requests_jitter", INT(0, INT64_C(1000000000000)), .flags = CONF_RELOAD, AT(server.max_requests_jitter),
	 .dflt = "0", .env = "", .help = "Random part added to max_requests, so that workers do not leave together."},
	{"server.pidfile", .type = CONF_TEXT, AT(server.pidfile), .dflt = "", .env = "",
	 .help = "File with the master's process id; empty: none."},
	{"server.proc_name", .type = CONF_TEXT, .flags = CONF_RELOAD, AT(server.proc_name), .dflt = "aragora", .env = "",
	 .help = "How ps names the processes of this server."},
	{"server.user", .type = CONF_TEXT, AT(server.user), .dflt = "", .env = "",
	 .help = "User of the workers and owner of the data folder, when started as root; empty: no change."},
	{"server.group", .type = CONF_TEXT, AT(server.group), .dflt = "", .env = "",
	 .help = "Group of the workers; empty: that of the user."},
	{"server.umask", CHOICE("inherit|002|007|022|027|077"), AT(server.umask), .dflt = "inherit", .env = "",
	 .help = "Permissions that new files do not get."},
	{"server.core_size", SIZE(0, 1024 * GIB), .flags = CONF_RELOAD, AT(server.core_size), .dflt = "0", .env = "",
	 .help = "Largest core dump; 0: none, for it would hold keys."},
	{"server.seccomp", CHOICE("off|errno|kill"), .flags = CONF_RELOAD, AT(server.seccomp), .dflt = "errno", .env = "",
	 .help = "System calls that workers never need (programs, processes, mounts, other users ...) fail, or end the worker."},
	{"server.memory_limit", SIZE(0, 64 * 1024 * GIB), .flags = CONF_RELOAD, AT(server.memory_limit), .dflt = "0", .env = "",
	 .help = "Memory that one worker may take (RLIMIT_DATA); 0: no limit."},
	{"server.control", .type = CONF_TEXT, AT(server.control), .dflt = "", .env = "",
	 .help = "Path of the control socket; empty: control.sock in storage.data_dir."},
	{"server.trusted_proxies", NETS, .flags = CONF_RELOAD, AT(server.trusted_proxies), .dflt = "127.0.0.1, ::1",
	 .env = "ARAGORA_TRUSTED_PROXIES", .help = "Proxies whose X-Forwarded-For and PROXY headers are believed."},
	{"server.tls.certificates", .type = CONF_LIST, .flags = CONF_RELOAD, FORM(pair, "\"cert.pem key.pem\""),
	 AT(server.tls.certificates), .dflt = "", .env = "",
	 .help = "Chain and key of each certificate, in PEM; the first is for clients that ask for a name not among them."},
	{"server.tls.client_ca", .type = CONF_TEXT, .flags = CONF_RELOAD, AT(server.tls.client_ca), .dflt = "", .env = "",
	 .help = "File with the authorities that sign the certificates of clients."},
	{"server.tls.client_auth", CHOICE("off|optional|required"), .flags = CONF_RELOAD, AT(server.tls.client_auth),
	 .dflt = "off", .env = "", .help = "Whether clients must show a certificate; one that is shown must be valid."},
	{"server.tls.min_version", CHOICE("1.2|1.3"), .flags = CONF_RELOAD, AT(server.tls.min_version), .dflt = "1.2",
	 .env = "", .help = "Oldest version of TLS that is spoken."},
	{"server.tls.ciphers", .type = CONF_TEXT, .flags = CONF_RELOAD, AT(server.tls.ciphers), .dflt = "", .env = "",
	 .help = "Ciphers of TLS 1.2, in OpenSSL's notation; empty: those with forward secrecy and AEAD."},
	{"server.tls.ticket_rotation", DURATION(SEC, 7 * DAY), .flags = CONF_RELOAD, AT(server.tls.ticket_rotation),
	 .dflt = "1h", .env = "", .help = "Age at which a new ticket key is made; sessions resume for twice as long."},
	{"server.http2.enabled", .type = CONF_BOOL, .flags = CONF_RELOAD, AT(server.http2.enabled), .dflt = "true",
	 .env = "", .help = "Speak HTTP/2 to clients that ask for it: by ALPN under TLS, by its preface elsewhere."},
	{"server.http2.max_streams", INT(1, 100000), .flags = CONF_RELOAD, AT(server.http2.max_streams), .dflt = "128",
	 .env = "", .help = "Most requests at a time of one connection, cancelled ones counted until their work has ended."},
	{"server.http2.window", SIZE(65535, 16 * MIB), .flags = CONF_RELOAD, AT(server.http2.window), .dflt = "262144",
	 .env = "", .help = "Bytes of one request body that may be under way; of all bodies of a connection four times that."},
	{"server.http2.max_resets", INT(0, MANY), .flags = CONF_RELOAD, AT(server.http2.max_resets), .dflt = "200",
	 .env = "", .help = "Requests that a connection may cancel or spoil within ten seconds before it is ended; 0: any."},
	{"server.http2.max_control", INT(0, MANY), .flags = CONF_RELOAD, AT(server.http2.max_control), .dflt = "1000",
	 .env = "", .help = "Frames that carry nothing (PING, SETTINGS, empty ones) within ten seconds, likewise; 0: any."},
	{"server.http2.buffer", SIZE(65536, 16 * GIB), .flags = CONF_RELOAD, AT(server.http2.buffer), .dflt = "16777216",
	 .env = "", .help = "Bytes of bodies kept for one connection; above it new requests are refused."},

	{"log.level", CHOICE("debug|info|warning|error"), .flags = CONF_RELOAD, AT(log.level), .dflt = "info",
	 .env = "ARAGORA_LOG_LEVEL", .help = "Least important lines that are written."},
	{"log.format", CHOICE("text|json"), .flags = CONF_RELOAD, AT(log.json), .dflt = "json",
	 .env = "ARAGORA_LOG_FORMAT", .help = "How log lines look."},
	{"log.error", .type = CONF_TEXT, .flags = CONF_RELOAD | CONF_FILLED, AT(log.error), .dflt = "-", .env = "",
	 .help = "File of the log; \"-\": standard error."},
	{"log.access", .type = CONF_TEXT, .flags = CONF_RELOAD, AT(log.access), .dflt = "-", .env = "",
	 .help = "File of the access lines; \"-\": standard output; empty: none."},
	{"log.access_format", .type = CONF_TEXT, .flags = CONF_RELOAD, AT(log.access_format),
	 .dflt = "%(h)s %(l)s %(u)s %(t)s \"%(r)s\" %(s)s %(b)s \"%(f)s\" \"%(a)s\" %(D)s", .env = "",
	 .help = "Form of an access line, with gunicorn's fields."},
	{"log.access_delay", DURATION(0, 10 * SEC), .flags = CONF_RELOAD, AT(log.access_delay), .dflt = "100ms", .env = "",
	 .help = "Access lines wait so long, at most 32 KiB of them, to be written together; 0: every turn of the loop."},

	{"storage.data_dir", .type = CONF_TEXT, .flags = CONF_FILLED, AT(storage.data_dir), .dflt = ".nomic",
	 .env = "ARAGORA_DATA_DIR", .help = "Folder of the database, the keys and the control socket."},
	{"storage.backend", CHOICE("sqlite|postgres"), AT(storage.backend), .dflt = "sqlite",
	 .env = "ARAGORA_DB_BACKEND", .help = "Database. Not needed for PostgreSQL: naming it in dsn chooses it."},
	{"storage.dsn", .type = CONF_TEXT, .flags = CONF_SECRET, AT(storage.dsn), .dflt = "",
	 .env = "ARAGORA_POSTGRES_DSN DATABASE_URL", .help = "Address of PostgreSQL: postgresql://user:password@host:port/database?sslmode=… or host=… dbname=…."},
	{"storage.pool_size", INT(1, 1000), AT(storage.pool_size), .dflt = "10", .env = "ARAGORA_DB_POOL_SIZE",
	 .help = "Connections of this node to PostgreSQL; its workers share them, each has at least two."},
	{"storage.pool_timeout", DURATION(10 * MS, DAY), AT(storage.pool_timeout), .dflt = "30",
	 .env = "ARAGORA_DB_POOL_TIMEOUT",
	 .help = "Longest wait for the database: for a free connection, and while it is away; then requests get 503."},
	{"storage.statement_timeout", DURATION(100 * MS, DAY), AT(storage.statement_timeout), .dflt = "30", .env = "",
	 .help = "Longest time of one statement on PostgreSQL."},
	{"storage.pooler", .type = CONF_AUTO, AT(storage.pooler), .dflt = "auto", .env = "",
	 .help = "Does a pooler of transactions (PgBouncer) stand before PostgreSQL? Then statements are not prepared."},
	{"storage.min_free_bytes", SIZE(0, 1024 * GIB), .flags = CONF_RELOAD, AT(storage.min_free_bytes), .dflt = "16MiB",
	 .env = "", .help = "With less free space the service calls itself degraded and takes no new debates."},
	{"storage.traces", .type = CONF_TEXT, .flags = CONF_RELOAD, AT(storage.traces), .dflt = "", .env = "ARAGORA_TRACES_DIR",
	 .help = "Folder into which the trace of each debate is written when it ends, such as a mounted bucket; relative to "
		 "data_dir. Empty: none are written."},
	{"storage.auto_migrate", .type = CONF_BOOL, AT(storage.auto_migrate), .dflt = "true",
	 .env = "ARAGORA_AUTO_MIGRATE_ON_STARTUP",
	 .help = "Bring the tables up to date at the start; false: a start with pending migrations is refused."},
	{"storage.required", .type = CONF_BOOL, AT(storage.required), .dflt = "false", .env = "ARAGORA_REQUIRE_DATABASE",
	 .help = "Demand a database server: a start without storage.dsn is refused instead of using a file of this machine."},
	{"storage.encryption_key", .type = CONF_TEXT, .flags = CONF_RELOAD | CONF_SECRET, AT(storage.encryption_key), .dflt = "",
	 .env = "ARAGORA_ENCRYPTION_KEY ENCRYPTION_KEY",
	 .help = "Keys of secret fields and backups: 64 hexadecimal digits or base64 of 32 bytes each, by commas. The first "
		 "encrypts, all decrypt. Empty: a key made in data_dir/keys."},

	{"redis.url", .type = CONF_TEXT, .flags = CONF_SECRET, AT(redis.url), .dflt = "",
	 .env = "ARAGORA_REDIS_URL REDIS_URL",
	 .help = "Joins nodes: redis://[user][:password]@host[:port][/db] or unix:///path[?db=n]; special characters as %XX. "
		 "Services that share a server need a database number each. TLS: through stunnel or haproxy."},
	{"redis.timeout", DURATION(50 * MS, 60 * SEC), AT(redis.timeout), .dflt = "2", .env = "ARAGORA_REDIS_SOCKET_TIMEOUT",
	 .help = "Longest wait for a connection to Redis and for any answer of it."},
	{"redis.retry_max", DURATION(100 * MS, 10 * 60 * SEC), AT(redis.retry_max), .dflt = "5", .env = "",
	 .help = "Longest pause between attempts to connect; it begins at 100 ms and doubles."},

	{"auth.required", .type = CONF_AUTO, .flags = CONF_RELOAD, AT(auth.required), .dflt = "auto", .env = "",
	 .help = "Must callers authenticate? auto: in production, or when api_token is set."},
	{"auth.jwt_secret", .type = CONF_TEXT, .flags = CONF_RELOAD | CONF_SECRET, AT(auth.jwt_secret), .dflt = "",
	 .env = "ARAGORA_JWT_SECRET",
	 .help = "Signs session tokens; at least 32 characters. Empty: data_dir/keys/jwt.key, made at the first start. "
		 "Nodes that share a database need one secret."},
	{"auth.jwt_secret_previous", .type = CONF_TEXT, .flags = CONF_RELOAD | CONF_SECRET, AT(auth.jwt_secret_previous),
	 .dflt = "", .env = "ARAGORA_JWT_SECRET_PREVIOUS",
	 .help = "The secret before a rotation: its tokens are valid until jwt_rotated_at + jwt_grace_hours."},
	{"auth.jwt_rotated_at", INT(0, INT64_C(1) << 40), .flags = CONF_RELOAD, AT(auth.jwt_rotated_at), .dflt = "0",
	 .env = "ARAGORA_JWT_SECRET_ROTATED_AT",
	 .help = "When the secret was rotated, in seconds since 1970; 0: the previous one is good while it is set."},
	{"auth.jwt_grace_hours", INT(0, 24 * 90), .flags = CONF_RELOAD, AT(auth.jwt_grace_hours), .dflt = "24",
	 .env = "ARAGORA_JWT_ROTATION_GRACE_HOURS", .help = "How long the previous secret is good after a rotation."},
	{"auth.jwt_expiry_hours", INT(1, 168), .flags = CONF_RELOAD, AT(auth.jwt_expiry_hours), .dflt = "24",
	 .env = "ARAGORA_JWT_EXPIRY_HOURS", .help = "Life of an access token."},
	{"auth.refresh_expiry_days", INT(1, 90), .flags = CONF_RELOAD, AT(auth.refresh_expiry_days), .dflt = "30",
	 .env = "ARAGORA_REFRESH_TOKEN_EXPIRY_DAYS", .help = "Life of a refresh token; each refresh gives a new one."},
	{"auth.session_limit", INT(0, 1000), .flags = CONF_RELOAD, AT(auth.session_limit), .dflt = "10",
	 .env = "ARAGORA_MAX_SESSIONS_PER_USER",
	 .help = "Sessions of one user; a login beyond them ends the oldest. 0: no limit."},
	{"auth.session_inactivity", DURATION(0, 90 * 24 * 3600 * SEC), .flags = CONF_RELOAD, AT(auth.session_inactivity),
	 .dflt = "24h", .env = "ARAGORA_SESSION_INACTIVITY_TIMEOUT",
	 .help = "A session without a request for so long ends; 0: never."},
	{"auth.trust_identity_headers", .type = CONF_BOOL, .flags = CONF_RELOAD, AT(auth.trust_identity_headers),
	 .dflt = "false", .env = "ARAGORA_TRUST_IDENTITY_HEADERS",
	 .help = "Believe X-User-ID, X-Org-ID and X-User-Roles of requests that come from server.trusted_proxies without "
		 "a credential. Behind auth.api_token they are always believed."},
	{"auth.registration", CHOICE("open|off"), .flags = CONF_RELOAD, AT(auth.registration), .dflt = "open", .env = "",
	 .help = "May anybody make an account, with an organization of their own? off: by invitation and "
		 "aragorad user create only."},
	{"auth.api_token", .type = CONF_TEXT, .flags = CONF_RELOAD | CONF_SECRET, AT(auth.api_token), .dflt = "",
	 .env = "ARAGORA_API_TOKEN", .help = "One token for all callers."},
	{"auth.password_memory", SIZE(64 * 1024, GIB), .flags = CONF_RELOAD, AT(auth.password_memory), .dflt = "19922944",
	 .env = "", .help = "Memory of one password hash (Argon2id); stored ones that took less are made anew at the next login."},
	{"auth.password_passes", INT(1, 64), .flags = CONF_RELOAD, AT(auth.password_passes), .dflt = "2", .env = "",
	 .help = "Passes over that memory."},
	{"auth.password_threads", INT(1, 8), .flags = CONF_RELOAD, AT(auth.password_threads), .dflt = "1", .env = "",
	 .help = "Password hashes that one worker computes at a time; bounds their memory on the node together with server.workers."},
	{"auth.admin_mfa", .type = CONF_AUTO, .flags = CONF_RELOAD, AT(auth.admin_mfa), .dflt = "auto",
	 .env = "ARAGORA_ENFORCE_ADMIN_MFA", .help = "Must administrators prove a second factor? auto: in production."},
	{"auth.mfa_grace_days", INT(0, 30), .flags = CONF_RELOAD, AT(auth.mfa_grace_days), .dflt = "7",
	 .env = "ARAGORA_MFA_GRACE_PERIOD_DAYS", .help = "Days in which a new administrator may do without."},
	{"auth.public_url", .type = CONF_TEXT, URL, .flags = CONF_RELOAD, AT(auth.public_url), .dflt = "http://localhost:3000",
	 .env = "ARAGORA_PUBLIC_URL", .help = "Where people find the web application: what links in mails begin with."},

	{"oauth.google.issuer", .type = CONF_TEXT, URL, .flags = CONF_RELOAD, AT(oauth.google.issuer), .dflt = "https://accounts.google.com", .env = "",
	 .help = "Issuer of Google, as its ID tokens name it."},
	{"oauth.google.client_id", .type = CONF_TEXT, .flags = CONF_RELOAD, AT(oauth.google.client_id), .dflt = "", .env = "GOOGLE_OAUTH_CLIENT_ID",
	 .help = "What this server is called there; empty: not used."},
	{"oauth.google.client_secret", .type = CONF_TEXT, .flags = CONF_RELOAD | CONF_SECRET, AT(oauth.google.client_secret), .dflt = "",
	 .env = "GOOGLE_OAUTH_CLIENT_SECRET", .help = "Its secret there."},
	{"oauth.google.redirect_uri", .type = CONF_TEXT, URL, .flags = CONF_RELOAD, AT(oauth.google.redirect_uri),
	 .dflt = "http://localhost:8080/api/auth/oauth/google/callback", .env = "GOOGLE_OAUTH_REDIRECT_URI",
	 .help = "Where it sends people back to: this server's address, as registered there."},
	{"oauth.oidc.issuer", .type = CONF_TEXT, URL, .flags = CONF_RELOAD, AT(oauth.oidc.issuer), .dflt = "", .env = "OIDC_ISSUER",
	 .help = "Issuer of the provider, as its ID tokens name it."},
	{"oauth.oidc.client_id", .type = CONF_TEXT, .flags = CONF_RELOAD, AT(oauth.oidc.client_id), .dflt = "", .env = "OIDC_CLIENT_ID",
	 .help = "What this server is called there; empty: not used."},
	{"oauth.oidc.client_secret", .type = CONF_TEXT, .flags = CONF_RELOAD | CONF_SECRET, AT(oauth.oidc.client_secret), .dflt = "",
	 .env = "OIDC_CLIENT_SECRET", .help = "Its secret there."},
	{"oauth.oidc.redirect_uri", .type = CONF_TEXT, URL, .flags = CONF_RELOAD, AT(oauth.oidc.redirect_uri),
	 .dflt = "http://localhost:8080/api/auth/oauth/oidc/callback", .env = "OIDC_REDIRECT_URI",
	 .help = "Where it sends people back to: this server's address, as registered there."},
	{"oauth.success_url", .type = CONF_TEXT, URL, .flags = CONF_RELOAD, AT(oauth.success_url),
	 .dflt = "http://localhost:3000/auth/callback", .env = "OAUTH_SUCCESS_URL",
	 .help = "Page to which people come back logged in; tokens stand behind '#'."},
	{"oauth.error_url", .type = CONF_TEXT, URL, .flags = CONF_RELOAD, AT(oauth.error_url),
	 .dflt = "http://localhost:3000/auth/error", .env = "OAUTH_ERROR_URL", .help = "The same when it failed, with ?error=."},
	{"oauth.allowed_redirect_hosts", .type = CONF_LIST, FORM(host_pattern, "a host name, or .example.org for all below it"),
	 .flags = CONF_RELOAD, AT(oauth.allowed_redirect_hosts), .dflt = "localhost, 127.0.0.1",
	 .env = "OAUTH_ALLOWED_REDIRECT_HOSTS", .help = "Hosts, with what is below them, that a login may lead back to."},
	{"oauth.state_ttl", DURATION(10 * SEC, 60 * 60 * SEC), .flags = CONF_RELOAD, AT(oauth.state_ttl), .dflt = "600",
	 .env = "OAUTH_STATE_TTL_SECONDS", .help = "How long a login elsewhere may take."},
	{"oauth.max_states", INT(1, MANY), .flags = CONF_RELOAD, AT(oauth.max_states), .dflt = "10000",
	 .env = "OAUTH_MAX_STATES", .help = "Logins elsewhere under way at once."},


	{"approvals.operations", .type = CONF_LIST, .flags = CONF_RELOAD, AT(approvals.operations), .dflt = "", .env = "",
	 .help = "Names as GET /api/approvals/operations lists them, or all. Empty: nothing waits, as suits an organization "
		 "with one administrator, for nobody approves an own request."},
	{"approvals.auto_approve_roles", .type = CONF_LIST, .flags = CONF_RELOAD, AT(approvals.auto_approve_roles),
	 .dflt = "", .env = "", .help = "Callers with these roles need no approval."},
	{"approvals.life", DURATION(60 * SEC, 30 * 24 * 3600 * SEC), .flags = CONF_RELOAD, AT(approvals.life),
	 .dflt = "24h", .env = "", .help = "A request that is not approved and used within this time has expired."},
	{"approvals.store", CHOICE("database|sqlite|postgres|redis"), AT(approvals.store), .dflt = "database",
	 .env = "ARAGORA_APPROVAL_STORE_BACKEND",
	 .help = "All values mean the same: requests are kept in the database (storage.url), on SQLite and on PostgreSQL. "
		 "redis is accepted for the sake of existing deployments; requests must outlive Redis."},

	{"break_glass.minutes", INT(15, 24 * 60), .flags = CONF_RELOAD, AT(break_glass.minutes), .dflt = "60",
	 .env = "ARAGORA_BREAK_GLASS_DEFAULT_MINUTES", .help = "Length of a break-glass session when none is asked for."},
	{"break_glass.minutes_max", INT(15, 24 * 60), .flags = CONF_RELOAD, AT(break_glass.minutes_max), .dflt = "1440",
	 .env = "ARAGORA_BREAK_GLASS_MAX_MINUTES", .help = "Longest break-glass session; it cannot be extended."},

	{"cors.allowed_origins", .type = CONF_LIST, FORM(origin, "an origin such as https://example.org, or *"),
	 .flags = CONF_RELOAD, AT(cors.allowed_origins), .dflt = "http://localhost:3000",
	 .env = "ARAGORA_ALLOWED_ORIGINS", .help = "Origins of pages that may call; \"*\" in development only."},

	{"headers.enabled", .type = CONF_BOOL, .flags = CONF_RELOAD, AT(headers.enabled), .dflt = "true",
	 .env = "ARAGORA_SECURITY_HEADERS_ENABLED", .help = "Send these headers at all; false where a proxy does."},
	{"headers.frame_options", .type = CONF_TEXT, .flags = CONF_RELOAD, FORM(header, "text without line breaks"),
	 AT(headers.frame_options), .dflt = "DENY", .env = "ARAGORA_X_FRAME_OPTIONS",
	 .help = "X-Frame-Options."},
	{"headers.content_type_options", .type = CONF_TEXT, .flags = CONF_RELOAD, FORM(header, "text without line breaks"),
	 AT(headers.content_type_options), .dflt = "nosniff", .env = "ARAGORA_X_CONTENT_TYPE_OPTIONS",
	 .help = "X-Content-Type-Options."},
	{"headers.xss_protection", .type = CONF_TEXT, .flags = CONF_RELOAD, FORM(header, "text without line breaks"),
	 AT(headers.xss_protection), .dflt = "1; mode=block", .env = "ARAGORA_X_XSS_PROTECTION",
	 .help = "X-XSS-Protection, for old browsers."},
	{"headers.referrer_policy", .type = CONF_TEXT, .flags = CONF_RELOAD, FORM(header, "text without line breaks"),
	 AT(headers.referrer_policy), .dflt = "strict-origin-when-cross-origin", .env = "ARAGORA_REFERRER_POLICY",
	 .help = "Referrer-Policy."},
	{"headers.permissions_policy", .type = CONF_TEXT, .flags = CONF_RELOAD, FORM(header, "text without line breaks"),
	 AT(headers.permissions_policy), .dflt = "geolocation=(), microphone=(), camera=()", .env = "ARAGORA_PERMISSIONS_POLICY",
	 .help = "Permissions-Policy."},
	{"headers.transport_security", .type = CONF_TEXT, .flags = CONF_RELOAD, FORM(header, "text without line breaks"),
	 AT(headers.transport_security), .dflt = "max-age=31536000; includeSubDomains", .env = "ARAGORA_STRICT_TRANSPORT_SECURITY",
	 .help = "Strict-Transport-Security, sent to clients that came by TLS."},
	{"headers.policy", .type = CONF_TEXT, .flags = CONF_RELOAD, FORM(header, "text without line breaks"),
	 AT(headers.policy), .dflt = "", .env = "ARAGORA_CONTENT_SECURITY_POLICY",
	 .help = "Content-Security-Policy of every answer; empty: by the kind of answer."},
	{"headers.hsts", .type = CONF_BOOL, .flags = CONF_RELOAD, AT(headers.hsts), .dflt = "true", .env = "ARAGORA_HSTS_ENABLED",
	 .help = "Send Strict-Transport-Security."},
	{"headers.csp", .type = CONF_BOOL, .flags = CONF_RELOAD, AT(headers.csp), .dflt = "true", .env = "ARAGORA_ENABLE_CSP",
	 .help = "Send Content-Security-Policy."},
	{"headers.csp_mode", CHOICE("standard|api|dev"), .flags = CONF_RELOAD, AT(headers.csp_mode), .dflt = "standard",
	 .env = "ARAGORA_CSP_MODE",
	 .help = "standard: nothing may run for answers of the API, own scripts for pages; api: nothing for pages either; dev: inline "
		 "scripts too, for development."},
	{"headers.csp_report_uri", .type = CONF_TEXT, .flags = CONF_RELOAD, FORM(header, "text without line breaks"),
	 AT(headers.csp_report_uri), .dflt = "", .env = "ARAGORA_CSP_REPORT_URI",
	 .help = "Where browsers report what the policy stopped; empty: nowhere."},
	{"headers.csp_report_only", .type = CONF_BOOL, .flags = CONF_RELOAD, AT(headers.csp_report_only), .dflt = "false",
	 .env = "ARAGORA_CSP_REPORT_ONLY", .help = "Only report what the policy of pages would stop."},
	{"headers.cookie_secure", .type = CONF_AUTO, .flags = CONF_RELOAD, AT(headers.cookie_secure), .dflt = "auto",
	 .env = "ARAGORA_COOKIE_SECURE", .help = "Cookies travel by TLS only? auto: those that were set over TLS."},
	{"headers.cookie_http_only", .type = CONF_BOOL, .flags = CONF_RELOAD, AT(headers.cookie_http_only), .dflt = "true",
	 .env = "ARAGORA_COOKIE_HTTPONLY", .help = "Scripts cannot read cookies."},
	{"headers.cookie_same_site", CHOICE("lax|strict|none"), .flags = CONF_RELOAD, AT(headers.cookie_same_site), .dflt = "lax",
	 .env = "ARAGORA_COOKIE_SAMESITE", .help = "Whether other sites' pages make browsers send cookies."},

	{"csrf.enabled", .type = CONF_AUTO, .flags = CONF_RELOAD, AT(csrf.enabled), .dflt = "auto", .env = "ARAGORA_CSRF_ENABLED",
	 .help = "Demand a token with changes that a session cookie authenticates? auto: in production."},
	{"csrf.secret", .type = CONF_TEXT, .flags = CONF_RELOAD | CONF_SECRET, AT(csrf.secret), .dflt = "",
	 .env = "ARAGORA_CSRF_SECRET", .help = "Signs these tokens; empty: a key derived from auth.jwt_secret."},
	{"csrf.exempt", .type = CONF_LIST, .flags = CONF_RELOAD, FORM(path, "a path such as /api/webhooks/"), AT(csrf.exempt),
	 .dflt = "", .env = "ARAGORA_CSRF_EXCLUDED_PREFIXES",
	 .help = "Beginnings of paths, without a version, that need no token: receivers that check signatures."},

	{"slo.availability", INT(0, MANY), .flags = CONF_RELOAD, AT(slo.availability), .dflt = "999000", .env = "",
	 .help = "Of a million requests so many must not fail (5xx)."},
	{"slo.latency", INT(0, MANY), .flags = CONF_RELOAD, AT(slo.latency), .dflt = "990000", .env = "",
	 .help = "Of a million requests so many must be answered within the time of their kind."},
	{"slo.probe", DURATION(MS, DAY), .flags = CONF_RELOAD, AT(slo.probe), .dflt = "50ms", .env = "",
	 .help = "That time for probes and whatever is public."},
	{"slo.read", DURATION(MS, DAY), .flags = CONF_RELOAD, AT(slo.read), .dflt = "250ms", .env = "", .help = "… for reads."},
	{"slo.write", DURATION(MS, DAY), .flags = CONF_RELOAD, AT(slo.write), .dflt = "500ms", .env = "", .help = "… for changes."},
	{"slo.create", DURATION(MS, DAY), .flags = CONF_RELOAD, AT(slo.create), .dflt = "1", .env = "", .help = "… for creations."},
	{"slo.export", DURATION(MS, DAY), .flags = CONF_RELOAD, AT(slo.export), .dflt = "5", .env = "", .help = "… for exports."},

	{"cache.enabled", .type = CONF_BOOL, .flags = CONF_RELOAD, AT(cache.enabled), .dflt = "true", .env = "",
	 .help = "Keep answers of routes that declare what they are made from."},
	{"cache.entries", INT(0, MANY), .flags = CONF_RELOAD, AT(cache.entries), .dflt = "1000", .env = "",
	 .help = "Most answers that a worker keeps."},
	{"cache.bytes", SIZE(0, GIB), .flags = CONF_RELOAD, AT(cache.bytes), .dflt = "16MiB", .env = "",
	 .help = "Memory of a worker for them."},
	{"cache.ttl", DURATION(0, DAY), .flags = CONF_RELOAD, AT(cache.ttl), .dflt = "60", .env = "",
	 .help = "How long one is kept at most."},

	{"limits.body_bytes", SIZE(1024, GIB), .flags = CONF_RELOAD, AT(limits.body_bytes), .dflt = "10485760",
	 .env = "ARAGORA_MAX_REQUEST_SIZE", .help = "Largest request body."},
	{"limits.head_bytes", SIZE(1024, MIB), .flags = CONF_RELOAD, AT(limits.head_bytes), .dflt = "32768", .env = "",
	 .help = "Largest request head."},
	{"limits.connections_per_ip", INT(0, MANY), .flags = CONF_RELOAD, AT(limits.connections_per_ip), .dflt = "200",
	 .env = "", .help = "Connections of one client address to this node; 0: no limit."},
	{"limits.exempt", NETS, .flags = CONF_RELOAD, AT(limits.exempt), .dflt = "127.0.0.0/8, ::1", .env = "",
	 .help = "Clients to which limits per address and rate limits do not apply."},

	{"static.root", .type = CONF_TEXT, .flags = CONF_RELOAD, AT(site.root), .dflt = "", .env = "",
	 .help = "Folder whose files answer every path outside /api/ that is not a route; empty: none."},
	{"static.index", .type = CONF_TEXT, .flags = CONF_RELOAD | CONF_FILLED, FORM(name, "the name of a file, without /"),
	 AT(site.index), .dflt = "index.html", .env = "", .help = "File that stands for its folder."},
	{"static.fallback", .type = CONF_BOOL, .flags = CONF_RELOAD, AT(site.fallback), .dflt = "true", .env = "",
	 .help = "Answer unknown paths without a dot with the index of the root, when the client takes HTML: the page finds its way."},
	{"static.precompressed", .type = CONF_BOOL, .flags = CONF_RELOAD, AT(site.precompressed), .dflt = "true", .env = "",
	 .help = "Send NAME.br or NAME.gz in place of NAME to clients that take it; one that is older than NAME is passed over."},
	{"static.max_age", DURATION(0, 365 * DAY), .flags = CONF_RELOAD, AT(site.max_age), .dflt = "24h", .env = "",
	 .help = "How long clients may keep a file without asking again; HTML is always asked for."},
	{"static.immutable", .type = CONF_BOOL, .flags = CONF_RELOAD, AT(site.immutable), .dflt = "true", .env = "",
	 .help = "Files with a content hash in their names, such as app.3f9a1c2b.js, are kept for a year."},
	{"static.immutable_paths", .type = CONF_LIST, .flags = CONF_RELOAD, FORM(folder, "a path such as /assets/"),
	 AT(site.immutable_paths), .dflt = "", .env = "",
	 .help = "Folders in which every name has a hash that the rule may not recognise; their files are kept for a year."},
	{"static.cache_files", INT(0, MANY), .flags = CONF_RELOAD, AT(site.cache_files), .dflt = "1024", .env = "",
	 .help = "Files that a worker keeps open, looking after a second whether they have changed; 0: none."},
	{"static.cache_bytes", SIZE(0, GIB), .flags = CONF_RELOAD, AT(site.cache_bytes), .dflt = "16MiB", .env = "",
	 .help = "Memory of a worker for the content of small files among these."},

	{"compression.enabled", .type = CONF_AUTO, .flags = CONF_RELOAD, AT(compression.enabled), .dflt = "auto", .env = "",
	 .help = "Compress answers for clients that ask for it? auto: in production."},
	{"compression.min_bytes", SIZE(0, GIB), .flags = CONF_RELOAD, AT(compression.min_bytes), .dflt = "1024", .env = "",
	 .help = "Smaller answers go as they are."},
	{"compression.level", INT(1, 9), .flags = CONF_RELOAD, AT(compression.level), .dflt = "5", .env = "",
	 .help = "Effort, from 1 (fast) to 9 (small)."},

	{"websocket.echo", .type = CONF_BOOL, .flags = CONF_RELOAD, AT(websocket.echo), .dflt = "false", .env = "",
	 .help = "Serve /ws/echo, for tests of the protocol."},
	{"websocket.max_message", SIZE(125, GIB), .flags = CONF_RELOAD, AT(websocket.max_message), .dflt = "65536",
	 .env = "ARAGORA_WS_MAX_MESSAGE_SIZE", .help = "Largest message of a client."},
	{"websocket.ping_interval", DURATION(50 * MS, DAY), .flags = CONF_RELOAD, AT(websocket.ping_interval), .dflt = "30",
	 .env = "ARAGORA_WS_HEARTBEAT", .help = "Time between protocol pings."},
	{"websocket.heartbeat", DURATION(50 * MS, DAY), .flags = CONF_RELOAD, AT(websocket.heartbeat), .dflt = "15",
	 .env = "ARAGORA_HEARTBEAT_INTERVAL", .help = "Time between heartbeat messages in JSON."},
	{"websocket.max_per_ip", INT(0, MANY), .flags = CONF_RELOAD, AT(websocket.max_per_ip), .dflt = "10",
	 .env = "ARAGORA_WS_MAX_PER_IP", .help = "Sockets of one client address on this node; 0: no limit."},
	{"websocket.connection_rate", INT(0, MANY), .flags = CONF_RELOAD, AT(websocket.connection_rate), .dflt = "30",
	 .env = "ARAGORA_WS_CONN_RATE", .help = "New sockets of one client address on this node in a minute; 0: no limit."},
	{"websocket.message_rate", INT(0, MANY), .flags = CONF_RELOAD, AT(websocket.message_rate), .dflt = "10",
	 .env = "ARAGORA_WS_MSG_RATE", .help = "Messages of one socket in a second; 0: no limit."},
	{"websocket.message_burst", INT(1, MANY), .flags = CONF_RELOAD, AT(websocket.message_burst), .dflt = "20",
	 .env = "ARAGORA_WS_MSG_BURST", .help = "Messages that may come at once."},
	{"websocket.queue_bytes", SIZE(65536, GIB), .flags = CONF_RELOAD, AT(websocket.queue_bytes), .dflt = "4MiB",
	 .env = "", .help = "A socket with more unread bytes lags: it gets events from the log as it reads."},
	{"websocket.lag_timeout", DURATION(100 * MS, DAY), .flags = CONF_RELOAD, AT(websocket.lag_timeout), .dflt = "30",
	 .env = "", .help = "A socket that lags for so long is closed with 4008 and may resume."},

	{"rate_limit.enabled", .type = CONF_BOOL, .flags = CONF_RELOAD, AT(rate_limit.enabled), .dflt = "true", .env = "",
	 .help = "Apply the limits that routes declare."},
	{"rate_limit.disable_all", .type = CONF_BOOL, .flags = CONF_RELOAD, AT(rate_limit.disable_all), .dflt = "false",
	 .env = "ARAGORA_DISABLE_ALL_RATE_LIMITS",
	 .help = "No limit at all, neither on requests nor on WebSockets and their messages. For tests; refused in production."},
	{"rate_limit.per_address", INT(0, RATELIMIT_RATE_MAX), .flags = CONF_RELOAD, AT(rate_limit.per_address), .dflt = "120",
	 .env = "ARAGORA_IP_RATE_LIMIT", .help = "Requests of one client address in a minute (IPv6: of one /64); 0: no limit."},
	{"rate_limit.per_token", INT(0, RATELIMIT_RATE_MAX), .flags = CONF_RELOAD, AT(rate_limit.per_token), .dflt = "60",
	 .env = "ARAGORA_RATE_LIMIT",
	 .help = "Requests with one API key or the API token in a minute, and as many at once; 0: no limit."},
	{"rate_limit.per_tenant", INT(0, RATELIMIT_RATE_MAX), .flags = CONF_RELOAD, AT(rate_limit.per_tenant), .dflt = "1000",
	 .env = "", .help = "Requests of one organization in a minute; 0: no limit."},
	{"rate_limit.burst_multiplier", .type = CONF_TEXT, .flags = CONF_RELOAD | CONF_FILLED,
	 FORM(multiplier, "a number from 1 to 100 such as 2 or 1.5"), AT(rate_limit.burst_multiplier), .dflt = "2.0",
	 .env = "ARAGORA_BURST_MULTIPLIER", .help = "How many minutes' worth may come at once where a limit does not say."},
	{"rate_limit.tiers", .type = CONF_BOOL, .flags = CONF_RELOAD, AT(rate_limit.tiers), .dflt = "false", .env = "",
	 .help = "Apply the limits of the organization's tier (free, starter, professional, enterprise) to each user."},
	{"rate_limit.rules", .type = CONF_LIST, .flags = CONF_RELOAD, FORM(rate, "NAME=RATE or NAME=RATE/BURST, such as endpoint.debates/*=100"),
	 AT(rate_limit.rules), .dflt = "", .env = "",
	 .help = "Other limits than the built-in ones, which GET /api/system/rate-limits lists; RATE 0: no limit."},
	{"rate_limit.distributed", .type = CONF_BOOL, .flags = CONF_RELOAD, AT(rate_limit.distributed), .dflt = "true",
	 .env = "ARAGORA_USE_DISTRIBUTED_RATE_LIMIT",
	 .help = "Share the counts with other nodes through Redis, when redis.url is set; without Redis each node counts alone."},
	{"rate_limit.strict", .type = CONF_BOOL, AT(rate_limit.strict), .dflt = "false", .env = "ARAGORA_RATE_LIMIT_STRICT",
	 .help = "Refuse to start in production without redis.url."},
	{"rate_limit.redis_prefix", .type = CONF_TEXT, .flags = CONF_RELOAD | CONF_FILLED, AT(rate_limit.redis_prefix),
	 .dflt = "aragora:ratelimit:", .env = "ARAGORA_REDIS_KEY_PREFIX", .help = "Begin of the keys in Redis."},
	{"rate_limit.redis_ttl", DURATION(SEC, DAY), .flags = CONF_RELOAD, AT(rate_limit.redis_ttl), .dflt = "120",
	 .env = "ARAGORA_REDIS_TTL", .help = "Keys that nobody uses go after this, or later when their bucket is not full yet."},
	{"rate_limit.redis_failures", INT(1, MANY), .flags = CONF_RELOAD, AT(rate_limit.redis_failures), .dflt = "3",
	 .env = "ARAGORA_REDIS_FAILURE_THRESHOLD", .help = "After so many failures in a row Redis is left alone for a while."},
	{"rate_limit.redis_cooldown", DURATION(50 * MS, DAY), .flags = CONF_RELOAD, AT(rate_limit.redis_cooldown), .dflt = "30",
	 .env = "", .help = "How long."},
	{"rate_limit.redis_interval", DURATION(5 * MS, 10 * SEC), .flags = CONF_RELOAD, AT(rate_limit.redis_interval), .dflt = "200ms",
	 .env = "", .help = "Counts of other nodes are seen so late; what uses up a bucket quickly is told at once."},

	{"debates.max_concurrent", INT(1, SHM_DEBATES_MAX), .flags = CONF_RELOAD, AT(debates.max_concurrent), .dflt = "5",
	 .env = "ARAGORA_MAX_CONCURRENT_DEBATES", .help = "Debates that run at one time on this node; others wait."},
	{"debates.timeout", DURATION(100 * MS, 30 * DAY), .flags = CONF_RELOAD, AT(debates.timeout), .dflt = "900",
	 .env = "ARAGORA_DEBATE_TIMEOUT", .help = "Running time of one debate; time in which no process runs it is free."},
	{"debates.agent_timeout", DURATION(50 * MS, DAY), .flags = CONF_RELOAD, AT(debates.agent_timeout), .dflt = "240",
	 .env = "ARAGORA_AGENT_TIMEOUT", .help = "Longest call of one agent."},
	{"debates.default_rounds", INT(1, 100), .flags = CONF_RELOAD, AT(debates.default_rounds), .dflt = "3",
	 .env = "ARAGORA_DEFAULT_ROUNDS", .help = "Rounds of a debate that names none."},
	{"debates.max_rounds", INT(1, 100), .flags = CONF_RELOAD, AT(debates.max_rounds), .dflt = "12",
	 .env = "ARAGORA_MAX_ROUNDS", .help = "Most rounds that a debate may ask for."},
	{"debates.max_age", DURATION(SEC, 365 * DAY), .flags = CONF_RELOAD, AT(debates.max_age), .dflt = "24h", .env = "",
	 .help = "A debate that has not finished so long after its creation is ended."},
	{"debates.lease", DURATION(100 * MS, DAY), AT(debates.lease), .dflt = "15", .env = "",
	 .help = "A debate whose owner shows no sign of life for so long is taken over."},
	{"debates.openrouter_fallback", .type = CONF_BOOL, .flags = CONF_RELOAD, AT(debates.openrouter_fallback),
	 .dflt = "true", .env = "ARAGORA_OPENROUTER_FALLBACK_ENABLED",
	 .help = "Ask OpenRouter for the same model when a provider is over its limits; needs providers.openrouter.api_key."},
	{"debates.local_fallback", .type = CONF_BOOL, .flags = CONF_RELOAD, AT(debates.local_fallback), .dflt = "false",
	 .env = "ARAGORA_LOCAL_FALLBACK_ENABLED",
	 .help = "Ask Ollama, LM Studio or the compatible server, whichever is configured, when nobody else answers."},
	{"debates.budget_cents", INT(0, 10000), .flags = CONF_RELOAD, AT(debates.budget_cents), .dflt = "0", .env = "",
	 .help = "Most that one debate may cost, in US cents; 0: no limit but its budget_limit_usd."},
	{"debates.max_queued", INT(0, MANY), .flags = CONF_RELOAD, AT(debates.max_queued), .dflt = "1000", .env = "",
	 .help = "Waiting debates beyond which new ones are refused with 503; batches fill the half of it at most."},
	{"debates.share_links", .type = CONF_BOOL, .flags = CONF_RELOAD, AT(debates.share_links), .dflt = "true", .env = "",
	 .help = "Links with which anybody may read a debate until they expire; false: none is made, none is answered."},
	{"debates.max_agents", INT(2, 32), .flags = CONF_RELOAD, AT(debates.max_agents), .dflt = "10",
	 .env = "ARAGORA_MAX_AGENTS_PER_DEBATE", .help = "Most agents of one debate."},
	{"debates.default_agents", .type = CONF_LIST, .flags = CONF_RELOAD, AT(debates.default_agents), .dflt = "",
	 .env = "ARAGORA_DEFAULT_AGENTS", .help = "Agents of a debate that names none; empty: those whose keys are set."},
	{"debates.default_consensus", .type = CONF_WORD, .choices = "majority|weighted|supermajority|unanimous|semantic|any|byzantine|judge|hybrid|none", .flags = CONF_RELOAD,
	 AT(debates.default_consensus), .dflt = "majority", .env = "ARAGORA_DEFAULT_CONSENSUS",
	 .help = "How a debate that says nothing comes to its decision."},
	{"debates.language", .type = CONF_TEXT, .flags = CONF_RELOAD | CONF_FILLED, AT(debates.language), .dflt = "English",
	 .env = "", .help = "Language in which agents answer."},
	{"debates.retry_attempts", INT(1, 20), .flags = CONF_RELOAD, AT(debates.retry_attempts), .dflt = "3", .env = "",
	 .help = "Attempts of one call, the first included."},
	{"debates.retry_base", DURATION(0, DAY), .flags = CONF_RELOAD, AT(debates.retry_base), .dflt = "1", .env = "",
	 .help = "Pause before the second attempt; each further one doubles it."},
	{"debates.retry_cap", DURATION(0, DAY), .flags = CONF_RELOAD, AT(debates.retry_cap), .dflt = "30", .env = "",
	 .help = "Longest pause between attempts."},
	{"debates.breaker_failures", INT(1, MANY), .flags = CONF_RELOAD, AT(debates.breaker_failures), .dflt = "5",
	 .env = "", .help = "Failures in a row after which a model is left alone."},
	{"debates.breaker_cooldown", DURATION(10 * MS, DAY), .flags = CONF_RELOAD, AT(debates.breaker_cooldown),
	 .dflt = "60", .env = "", .help = "How long it is left alone before one call tries again."},
	{"debates.token_merge", DURATION(0, 10 * SEC), .flags = CONF_RELOAD, AT(debates.token_merge), .dflt = "40ms",
	 .env = "", .help = "Pieces of streamed text are merged for so long before they are sent."},
	{"debates.event_buffer", INT(1, MANY), .flags = CONF_RELOAD, AT(debates.event_buffer), .dflt = "256",
	 .env = "ARAGORA_EVENT_BUFFER_SIZE", .help = "Newest events of a debate that a worker keeps in memory."},

	{"memory.enabled", .type = CONF_BOOL, .flags = CONF_RELOAD, AT(memory.enabled), .dflt = "true", .env = "",
	 .help = "Debates look up what earlier ones decided, and leave their own outcome. Off: neither, and /api/memory answers 503."},
	{"memory.context_items", INT(0, 100), .flags = CONF_RELOAD, AT(memory.context_items), .dflt = "6", .env = "",
	 .help = "At most this many pieces of earlier debates and knowledge are given to a debate."},
	{"memory.context_bytes", SIZE(0, 1 * MIB), .flags = CONF_RELOAD, AT(memory.context_bytes), .dflt = "6000", .env = "",
	 .help = "At most this much text of them: it is in most prompts of the debate and is paid for."},
	{"memory.interval", DURATION(MS, 365 * DAY), .flags = CONF_RELOAD, AT(memory.interval), .dflt = "1h", .env = "",
	 .help = "Time between two passes that move, expire and limit the entries of continuum memory."},
	{"memory.archive_days", INT(0, MANY), .flags = CONF_RELOAD, AT(memory.archive_days), .dflt = "90", .env = "",
	 .help = "Days that what has expired or was evicted stays in the archive; 0: for ever."},

	{"decisions.cache_entries", INT(1, MANY), .flags = CONF_RELOAD, AT(decisions.cache_entries), .dflt = "1000", .env = "",
	 .help = "Decisions of one workspace that are kept to answer the same question again; the oldest go first."},
	{"decisions.cache_ttl", DURATION(10 * MS, 365 * DAY), .flags = CONF_RELOAD, AT(decisions.cache_ttl), .dflt = "1h", .env = "",
	 .help = "How long a decision answers the same question again."},
	{"decisions.retention_days", INT(1, 3650), .flags = CONF_RELOAD, AT(decisions.retention_days), .dflt = "1",
	 .env = "ARAGORA_DECISION_RETENTION_DAYS", .help = "Days that a decision can be read by its id; its debate stays longer."},
	{"decisions.timeout", DURATION(100 * MS, 3600 * SEC), .flags = CONF_RELOAD, AT(decisions.timeout), .dflt = "300", .env = "",
	 .help = "How long a request waits for its decision unless it says otherwise."},

	{"deliveries.max_concurrent", INT(1, 1000), .flags = CONF_RELOAD, AT(deliveries.max_concurrent), .dflt = "10",
	 .env = "ARAGORA_WEBHOOK_WORKERS", .help = "Deliveries that one worker sends at a time."},
	{"deliveries.timeout", DURATION(50 * MS, DAY), .flags = CONF_RELOAD, AT(deliveries.timeout), .dflt = "30",
	 .env = "ARAGORA_WEBHOOK_TIMEOUT", .help = "Longest attempt."},
	{"deliveries.dns_timeout", DURATION(50 * MS, DAY), .flags = CONF_RELOAD, AT(deliveries.dns_timeout), .dflt = "2",
	 .env = "ARAGORA_SSRF_DNS_TIMEOUT", .help = "Longest look-up of a name when a URL is registered."},
	{"deliveries.max_retries", INT(0, 1000), .flags = CONF_RELOAD, AT(deliveries.max_retries), .dflt = "5",
	 .env = "ARAGORA_WEBHOOK_MAX_RETRIES", .help = "Attempts after the first; then a delivery is a dead letter."},
	{"deliveries.retry_base", DURATION(10 * MS, DAY), .flags = CONF_RELOAD, AT(deliveries.retry_base), .dflt = "1",
	 .env = "ARAGORA_WEBHOOK_RETRY_DELAY", .help = "Pause after the first attempt; each further one doubles it."},
	{"deliveries.retry_cap", DURATION(10 * MS, DAY), .flags = CONF_RELOAD, AT(deliveries.retry_cap), .dflt = "300",
	 .env = "ARAGORA_WEBHOOK_MAX_RETRY_DELAY", .help = "Longest pause, unless the receiver asks for more."},
	{"deliveries.max_age", DURATION(SEC, 365 * DAY), .flags = CONF_RELOAD, AT(deliveries.max_age), .dflt = "24h", .env = "",
	 .help = "A delivery older than this is not tried again."},
	{"deliveries.block", DURATION(0, 365 * DAY), .flags = CONF_RELOAD, AT(deliveries.block), .dflt = "300", .env = "",
	 .help = "How long a delivery that is tried again holds up later ones to the same URL."},
	{"deliveries.breaker_failures", INT(1, MANY), .flags = CONF_RELOAD, AT(deliveries.breaker_failures), .dflt = "5",
	 .env = "", .help = "Failures in a row after which a URL is left alone."},
	{"deliveries.breaker_cooldown", DURATION(10 * MS, DAY), .flags = CONF_RELOAD, AT(deliveries.breaker_cooldown),
	 .dflt = "60", .env = "", .help = "How long it is left alone before one attempt is made."},
	{"deliveries.secret", .type = CONF_TEXT, .flags = CONF_RELOAD | CONF_SECRET, AT(deliveries.secret), .dflt = "",
	 .env = "ARAGORA_WEBHOOK_SECRET", .help = "Signs callbacks that bring no secret of their own; empty: they are not signed. Whoever may create debates "
		 "names the URL, so any receiver can get a signature of it: a receiver that must know who asked needs a "
		 "callback_secret of its own."},
	{"deliveries.allow_http", .type = CONF_AUTO, .flags = CONF_RELOAD, AT(deliveries.allow_http), .dflt = "auto", .env = "",
	 .help = "May URLs without TLS be called? auto: in development."},
	{"deliveries.allow_private", NETS, .flags = CONF_RELOAD, AT(deliveries.allow_private), .dflt = "", .env = "",
	 .help = "Networks inside, such as 10.1.0.0/16, that may be called although they are not public, on any port."},

	{"tenancy.invitation_days", INT(1, 90), .flags = CONF_RELOAD, AT(tenancy.invitation_days), .dflt = "7", .env = "",
	 .help = "How many days an invitation is good."},
	{"tenancy.quotas", .type = CONF_BOOL, AT(tenancy.quotas), .dflt = "false", .env = "",
	 .help = "Hold organizations to the quotas of their tier: 10, 100, 1000 debates a month and 1, 5, 25 members for "
		 "free, starter, professional; enterprise has none. Who hosts for himself leaves it off."},

	{"knowledge.enabled", .type = CONF_BOOL, .flags = CONF_RELOAD, AT(knowledge.enabled), .dflt = "true", .env = "",
	 .help = "Debates write what they found, and are given what fits their question."},
	{"knowledge.retry_interval", DURATION(100 * MS, DAY), .flags = CONF_RELOAD, AT(knowledge.retry_interval), .dflt = "60", .env = "",
	 .help = "How often it is looked for knowledge of debates that could not be written; after three tries it is a dead letter."},
	{"knowledge.staleness_interval", DURATION(SEC, 365 * DAY), .flags = CONF_RELOAD, AT(knowledge.staleness_interval), .dflt = "1h",
	 .env = "", .help = "How often it is computed which nodes are out of date."},
	{"knowledge.decay_interval", DURATION(SEC, 365 * DAY), .flags = CONF_RELOAD, AT(knowledge.decay_interval), .dflt = "24h", .env = "",
	 .help = "How often confidence is lowered by age."},
	{"knowledge.vector_nodes", INT(0, 10000), .flags = CONF_RELOAD, AT(knowledge.vector_nodes), .dflt = "2000", .env = "",
	 .help = "Newest nodes, and newest entries of memory, of a workspace that a search by meaning compares; 0: words only."},
	{"knowledge.pgvector", .type = CONF_BOOL, .flags = CONF_RELOAD, AT(knowledge.pgvector), .dflt = "true", .env = "",
	 .help = "Where the extension vector is installed in the PostgreSQL database, it searches all vectors of a workspace, "
		 "and knowledge.vector_nodes does not count. Looked for while the server runs."},
	{"knowledge.max_nodes", INT(0, 10 * MANY), .flags = CONF_RELOAD, AT(knowledge.max_nodes), .dflt = "100000", .env = "",
	 .help = "Nodes that a workspace may have, archived ones not counted; 0: any number. A full one refuses new ones with 409; "
		 "what debates find is left out, counted and logged."},
	{"knowledge.prune_interval", DURATION(SEC, 365 * DAY), .flags = CONF_RELOAD, AT(knowledge.prune_interval), .dflt = "24h", .env = "",
	 .help = "How often knowledge is pruned, by the two keys below."},
	{"knowledge.prune_days", INT(0, 36500), .flags = CONF_RELOAD, AT(knowledge.prune_days), .dflt = "30", .env = "",
	 .help = "Nodes that nobody has touched for so many days are archived once they are stale (0.8) and unsure (0.3), or have "
		 "reached the lowest confidence (0.1); never documents of a culture and the glacial tier. 0: none."},
	{"knowledge.archived_days", INT(0, 36500), .flags = CONF_RELOAD, AT(knowledge.archived_days), .dflt = "90", .env = "",
	 .help = "Archived nodes can be brought back for so many days, then they are removed; 0: they are kept."},
	{"knowledge.cost_adapter", .type = CONF_BOOL, .flags = CONF_RELOAD, AT(knowledge.cost_adapter), .dflt = "false", .env = "",
	 .help = "Budgets near their end become knowledge too."},
	{"retention.receipt_days", INT(0, MANY), .flags = CONF_RELOAD, AT(retention.receipt_days), .dflt = "2555",
	 .env = "ARAGORA_RECEIPT_RETENTION_DAYS", .help = "Decision receipts (seven years)."},
	{"retention.receipt_interval_hours", INT(1, 8760), .flags = CONF_RELOAD, AT(retention.receipt_interval_hours), .dflt = "24",
	 .env = "ARAGORA_RECEIPT_CLEANUP_INTERVAL_HOURS", .help = "Hours between two looks for expired receipts."},
	{"retention.interval", DURATION(SEC, 365 * DAY), .flags = CONF_RELOAD, AT(retention.interval), .dflt = "1h", .env = "",
	 .help = "Time between two looks for the rest of this section."},
	{"retention.audit_days", INT(0, MANY), .flags = CONF_RELOAD, AT(retention.audit_days), .dflt = "2555",
	 .env = "ARAGORA_AUDIT_RETENTION_DAYS", .help = "The audit log (seven years); what goes, goes up to a signed anchor."},
	{"retention.event_days", INT(0, MANY), .flags = CONF_RELOAD, AT(retention.event_days), .dflt = "0", .env = "",
	 .help = "Event logs of ended debates; without them a stream of the debate cannot be replayed."},
	{"retention.journal_days", INT(0, MANY), .flags = CONF_RELOAD, AT(retention.journal_days), .dflt = "0", .env = "",
	 .help = "Journals of ended debates; without them a debate cannot be checked by replaying it."},
	{"retention.usage_days", INT(0, MANY), .flags = CONF_RELOAD, AT(retention.usage_days), .dflt = "0", .env = "",
	 .help = "The ledger of what was paid."},
	{"retention.idempotency_days", INT(0, MANY), .flags = CONF_RELOAD, AT(retention.idempotency_days), .dflt = "1", .env = "",
	 .help = "Keys with which clients repeat requests."},
	{"retention.delivery_days", INT(0, MANY), .flags = CONF_RELOAD, AT(retention.delivery_days), .dflt = "7", .env = "",
	 .help = "Deliveries that arrived."},
	{"retention.dead_letter_days", INT(0, MANY), .flags = CONF_RELOAD, AT(retention.dead_letter_days), .dflt = "30", .env = "",
	 .help = "Deliveries that were given up."},
	{"retention.batch_days", INT(0, MANY), .flags = CONF_RELOAD, AT(retention.batch_days), .dflt = "0", .env = "",
	 .help = "Batches, graphs and matrices that have ended, with what was asked in them; their debates stay."},
	{"retention.share_days", INT(0, MANY), .flags = CONF_RELOAD, AT(retention.share_days), .dflt = "30", .env = "",
	 .help = "Links to receipts and debates, counted from their end; they open nothing since then."},

	{"receipts.signing_key", .type = CONF_TEXT, .flags = CONF_RELOAD | CONF_SECRET, AT(receipts.signing_key), .dflt = "",
	 .env = "ARAGORA_RECEIPT_SIGNING_KEY",
	 .help = "Keys of receipts by commas: the first signs, all verify, so an old one stays behind the new one. Each is "
		 "KEY or hmac:KEY (32 bytes or more), ed25519:KEY (32 bytes), or ed25519-public:KEY, which only verifies; KEY "
		 "in hex or base64. Empty: made in data_dir/keys. Nodes of one service need the same."},
	{"receipts.pdf_module", .type = CONF_TEXT, AT(receipts.pdf_module), .dflt = "", .env = "",
	 .help = "The module that makes PDF. Empty: aragora_pdf.so beside the program or in ../lib/aragora."},
	{"receipts.algorithm", CHOICE("hmac-sha256|ed25519"), .flags = CONF_RELOAD, AT(receipts.algorithm),
	 .dflt = "hmac-sha256", .env = "ARAGORA_RECEIPT_ALGORITHM",
	 .help = "How receipts are signed when receipts.signing_key is empty. ed25519: anybody can verify with the public key "
		 "(GET /api/receipts/keys); hmac-sha256: only who has the secret can."},
	{"receipts.tsa_url", .type = CONF_TEXT, URL, .flags = CONF_RELOAD, AT(receipts.tsa_url), .dflt = "", .env = "",
	 .help = "Authority (RFC 3161) that confirms when a receipt existed; asked with its hash after the debate. Empty: none. "
		 "deliveries.allow_private must name its network if it is inside."},
	{"receipts.tsa_ca_file", .type = CONF_TEXT, .flags = CONF_RELOAD, AT(receipts.tsa_ca_file), .dflt = "", .env = "",
	 .help = "Certificates (PEM) that vouch for the authority; empty: those of the system."},
	{"receipts.tsa_interval", DURATION(SEC, DAY), .flags = CONF_RELOAD, AT(receipts.tsa_interval), .dflt = "1m", .env = "",
	 .help = "Time between two looks for receipts that have no time stamp; at most 20 are asked for each time."},

	{"audit.signing_key", .type = CONF_TEXT, .flags = CONF_SECRET, AT(audit.signing_key), .dflt = "",
	 .env = "ARAGORA_AUDIT_SIGNING_KEY",
	 .help = "Signs events and anchors, 32 bytes or more in hex or base64; empty: made in data_dir/keys/audit.key. "
		 "Nodes of one service need the same."},
	{"audit.buffer", INT(1, 100000), .flags = CONF_RELOAD, AT(audit.buffer), .dflt = "1000", .env = "",
	 .help = "Events that may wait in a worker to be written (refusals and the like); more are counted and told."},
	{"audit.anchor_interval", DURATION(SEC, 30 * DAY), .flags = CONF_RELOAD, AT(audit.anchor_interval), .dflt = "1h", .env = "",
	 .help = "Time after which the end of the chain is signed again when events have come; also every 1000 events."},

	{"smtp.url", .type = CONF_TEXT, FORM(mail_url, "an smtp:// or smtps:// URL"), .flags = CONF_RELOAD | CONF_SECRET,
	 AT(smtp.url), .dflt = "", .env = "", .help = "Mail server, smtp://user:password@host:587; empty: no mail."},
	{"smtp.from", .type = CONF_TEXT, .flags = CONF_RELOAD, AT(smtp.from), .dflt = "", .env = "",
	 .help = "Sender of mails."},

	{"metrics.enabled", .type = CONF_BOOL, .flags = CONF_RELOAD, AT(metrics.enabled), .dflt = "true",
	 .env = "ARAGORA_METRICS_ENABLED", .help = "Serve /metrics and /api/metrics."},
	{"metrics.token", .type = CONF_TEXT, .flags = CONF_RELOAD | CONF_SECRET, AT(metrics.token), .dflt = "",
	 .env = "ARAGORA_METRICS_TOKEN", .help = "Bearer token that a scraper must send; empty: open."},

	PROVIDER(PROVIDER_ANTHROPIC, "anthropic", "Anthropic", "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY", 0, "", CONF_FILLED),
	PROVIDER(PROVIDER_OPENAI, "openai", "OpenAI", "https://api.openai.com/v1", "OPENAI_API_KEY", 0, "", CONF_FILLED),
	PROVIDER(PROVIDER_OPENROUTER, "openrouter", "OpenRouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", 0, "", CONF_FILLED),
	PROVIDER(PROVIDER_GEMINI, "gemini", "Google Gemini", "https://generativelanguage.googleapis.com/v1beta", "GEMINI_API_KEY GOOGLE_API_KEY", 0, "", CONF_FILLED),
	PROVIDER(PROVIDER_MISTRAL, "mistral", "Mistral AI", "https://api.mistral.ai/v1", "MISTRAL_API_KEY", 0, "", CONF_FILLED),
	PROVIDER(PROVIDER_XAI, "xai", "xAI", "https://api.x.ai/v1", "XAI_API_KEY GROK_API_KEY", 0, "", CONF_FILLED),
	PROVIDER(PROVIDER_OLLAMA, "ollama", "Ollama", "http://localhost:11434", "", 0, "OLLAMA_HOST", CONF_RULED),
	PROVIDER(PROVIDER_LM_STUDIO, "lm_studio", "LM Studio", "http://localhost:1234/v1", "", 0, "LM_STUDIO_HOST", CONF_RULED),
	PROVIDER(PROVIDER_COMPATIBLE, "compatible", "the compatible server", "", "OPENAI_API_KEY", CONF_RULED, "OPENAI_BASE_URL", 0),
	{"providers.demo.enabled", .type = CONF_AUTO, .flags = CONF_RELOAD, AT(demo.enabled), .dflt = "auto",
	 .env = "ARAGORA_DEMO_MODE", .help = "Do demo agents play every name? auto: when no provider can be used."},
	{"providers.demo.delay_ms", .type = CONF_MILLIS, .min = 0, .max = 600 * SEC, .flags = CONF_RELOAD, AT(demo.delay),
	 .dflt = "0", .env = "", .help = "How long a demo agent takes for an answer, in milliseconds."},

	{"agents.prices_file", .type = CONF_TEXT, .flags = CONF_RELOAD, AT(agents.prices_file), .dflt = "", .env = "",
	 .help = "File of prices: lines \"MODEL IN OUT\" in US dollars per million tokens, MODEL the beginning of a model's "
		 "name; the longest that fits counts, the built-in ones included. Read again by HUP."},
	{"agents.rate_limits", .type = CONF_LIST, .flags = CONF_RELOAD, FORM(provider_rate, "PROVIDER=RATE/BURST, such as openai=500/30"),
	 AT(agents.rate_limits), .dflt = "", .env = "",
	 .help = "Calls of this node to a provider in a minute and at once; RATE 0: no limit. Others are held to what their own "
		 "services allow by default; another base_url has no limit unless one is named here."},
	{"agents.breakers", .type = CONF_LIST, .flags = CONF_RELOAD,
	 FORM(provider_breaker, "PROVIDER=FAILURES/SUCCESSES/COOLDOWN/TRIALS, such as anthropic=3/2/30s/2"),
	 AT(agents.breakers), .dflt = "", .env = "",
	 .help = "Circuit breakers that differ from debates.breaker_failures and breaker_cooldown (and 3 successes and 3 trials): "
		 "failures that open it, how long it stays so, calls that try, successes that close it."},

	{"agents.ratings_snapshot", .type = CONF_BOOL, .flags = CONF_RELOAD, AT(agents.ratings_snapshot), .dflt = "true",
	 .env = "ARAGORA_RATINGS_SNAPSHOT", .help = "Write ratings as files too: elo_ratings.json and elo_snapshot.json in the data directory."},
	{"agents.ratings_snapshot_interval", DURATION(SEC, 365 * DAY), .flags = CONF_RELOAD, AT(agents.ratings_snapshot_interval),
	 .dflt = "15m", .env = "", .help = "Time between two writings of them."},

	{"embeddings.url", .type = CONF_TEXT, .flags = CONF_RELOAD, URL, AT(embeddings.url), .dflt = "",
	 .env = "ARAGORA_EMBEDDINGS_URL", .help = "Address before /embeddings, such as https://api.openai.com/v1; empty: no vectors."},
	{"embeddings.model", .type = CONF_TEXT, .flags = CONF_RELOAD | CONF_FILLED, AT(embeddings.model),
	 .dflt = "text-embedding-3-small", .env = "ARAGORA_EMBEDDINGS_MODEL", .help = "Model that makes the vectors."},
	{"embeddings.api_key", .type = CONF_TEXT, .flags = CONF_RELOAD | CONF_SECRET, AT(embeddings.api_key), .dflt = "",
	 .env = "ARAGORA_EMBEDDINGS_API_KEY", .help = "Key of that server; empty: none is sent."},
	{"embeddings.dimensions", INT(0, 4096), .flags = CONF_RELOAD, AT(embeddings.dimensions), .dflt = "0", .env = "",
	 .help = "Length of a vector to ask for; 0: as the model makes it."},
	{"embeddings.timeout", DURATION(50 * MS, DAY), .flags = CONF_RELOAD, AT(embeddings.timeout), .dflt = "10", .env = "",
	 .help = "Longest request; then texts are compared by their words."},
	{"embeddings.price", INT(0, 100 * MANY), .flags = CONF_RELOAD, AT(embeddings.price), .dflt = "20000", .env = "",
	 .help = "Micro-dollars for a million tokens."},
};
/* clang-format on */

const size_t conf_table_size = countof(conf_table);
_Static_assert(countof(conf_sections) <= CONF_SECTIONS_MAX, "raise CONF_SECTIONS_MAX");
_Static_assert(countof(conf_table) <= CONF_KEYS_MAX, "raise CONF_KEYS_MAX");

int conf_find(struct str name)
{
	size_t i;

	for (i = 0; i < conf_table_size; i++)
		if (str_eqz(name, conf_table[i].name))
			return (int)i;
	return -1;
}

int conf_section_find(struct str name)
{
	int i;

	for (i = 0; conf_sections[i].name != NULL; i++)
		if (str_eqz(name, conf_sections[i].name))
			return i;
	return -1;
}

/* What stands after the last dot. */
static struct str conf_leaf(struct str name)
{
	size_t i = name.n;

	while (i > 0 && name.p[i - 1] != '.')
		i--;
	return str_sub(name, i, name.n);
}

/* How far `name` is from a known name: the right word in the wrong section counts as one mistake. */
static unsigned conf_distance(struct str name, struct str known)
{
	unsigned whole = str_distance(name, known);

	if (str_eq(conf_leaf(name), conf_leaf(known)) && whole > 1)
		return 1;
	return whole;
}

const char *conf_suggest(struct str name)
{
	const struct conf_section *s;
	const char *best = NULL;
	size_t letters = conf_leaf(name).n;
	unsigned limit = letters < 6 ? (unsigned)letters / 2 + 1 : 4; /* short words resemble too many others */
	unsigned d;
	size_t i;

	if (name.n == 0 || name.n > 64)
		return NULL;
	for (i = 0; i < conf_table_size; i++) {
		d = conf_distance(name, str_of(conf_table[i].name));
		if (d < limit) {
			limit = d;
			best = conf_table[i].name;
		}
	}
	for (s = conf_sections; s->name != NULL; s++) {
		d = conf_distance(name, str_of(s->name));
		if (d < limit) {
			limit = d;
			best = s->name;
		}
	}
	return best;
}
