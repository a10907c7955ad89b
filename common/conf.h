/* SPDX-License-Identifier: MIT */
/*
 * The configuration: one table declares every key (name, type, range, default, environment variables, whether a
 * reload may change it, whether it is secret, one line of help); parsing, errors, the printed form, conf/aragora.yml
 * and the manual page come from it.
 *
 * Order of precedence: built-in default, file, environment (read at start, not by a reload), command line.
 */
#ifndef COMMON_CONF_H
#define COMMON_CONF_H

#include "common/err.h"
#include "common/str.h"

struct conf_list {
	char **v;
	size_t n;
};

enum conf_env { CONF_DEVELOPMENT, CONF_PRODUCTION };
enum conf_role { ROLE_ALL, ROLE_WEB, ROLE_WORKER };
enum conf_store { STORE_SQLITE, STORE_POSTGRES };
enum conf_umask { UMASK_INHERIT, UMASK_002, UMASK_007, UMASK_022, UMASK_027, UMASK_077 };
enum conf_auto { AUTO_OFF, AUTO_ON, AUTO_AUTO };
enum conf_registration { REGISTRATION_OPEN, REGISTRATION_OFF };
enum conf_client_auth { TLS_CLIENT_OFF, TLS_CLIENT_OPTIONAL, TLS_CLIENT_REQUIRED };
/* How strict the Content-Security-Policy of pages is: by the kind of answer, as for the API, or loose for development.
 */
enum conf_csp_mode { CSP_STANDARD, CSP_API, CSP_DEV };
/* What a worker's forbidden system call does: nothing is forbidden, fails with EPERM, ends the worker. */
enum conf_seccomp { SECCOMP_OFF, SECCOMP_ERRNO, SECCOMP_KILL };
enum conf_same_site { SAME_SITE_LAX, SAME_SITE_STRICT, SAME_SITE_NONE };
enum conf_tls_version { TLS_MIN_12, TLS_MIN_13 };

/* Marks before an address in server.bind and server.ws_bind: "tls:", "proxy:" (the PROXY protocol), or both. */
enum conf_listen { LISTEN_TLS = 1, LISTEN_PROXY = 2 };
/* The address behind the marks of an element of server.bind: a piece of it. */
const char *conf_listen_address(const char *element, unsigned *marks);

struct conf_provider {
	char *api_key; /* secret; "" = none */
	char *base_url;
	char *model; /* "" = the provider's default */
	bool named;  /* Ollama, LM Studio: somebody asked for it (model, other address, environment) */
};

enum conf_provider_id {
	PROVIDER_ANTHROPIC,
	PROVIDER_OPENAI,
	PROVIDER_OPENROUTER,
	PROVIDER_GEMINI,
	PROVIDER_MISTRAL,
	PROVIDER_XAI,
	PROVIDER_OLLAMA,
	PROVIDER_LM_STUDIO,
	PROVIDER_COMPATIBLE,
	PROVIDER_DEMO,
	PROVIDER_MAX
};

/* All durations are microseconds, all sizes bytes. Strings are never NULL. */
struct conf {
	unsigned refs;
	char *path; /* the file, or "" */
	struct {
		int env;  /* enum conf_env */
		int role; /* enum conf_role */
		struct conf_list bind;
		struct conf_list ws_bind;
		int64_t workers; /* 0 = 2 x cores + 1 */
		int64_t worker_connections;
		int64_t max_slots;
		int64_t timeout;
		int64_t stall_timeout;
		int64_t request_timeout;
		int64_t slow_timeout;           /* of routes that create or export; 120 s */
		struct conf_list allowed_hosts; /* none: any */
		int64_t graceful_timeout;       /* 30 s production, 10 s development when not set */
		int strict_startup;             /* a degraded phase ends the start */
		int64_t boot_timeout;           /* a worker not serving by then failed to boot; 30 s */
		int64_t keepalive;
		int64_t head_timeout;  /* 10 s */
		int64_t body_timeout;  /* longest silence inside a body, 30 s */
		int64_t body_rate;     /* bytes a second that a body must reach beyond that; 0 = any */
		int64_t write_timeout; /* 30 s */
		int64_t max_requests;
		int64_t max_requests_jitter;
		char *pidfile;
		char *user;  /* of workers and of all work in data_dir; "" = as started */
		char *group; /* "" = the user's */
		int umask;   /* enum conf_umask */
		int64_t core_size;
		int seccomp;          /* enum conf_seccomp */
		int64_t memory_limit; /* 0 = none */
		char *proc_name;      /* first word of process titles */
		char *control;        /* path of the control socket; "" = data_dir/control.sock */
		struct conf_list trusted_proxies;
		struct {
			struct conf_list certificates; /* "cert.pem key.pem" each */
			char *client_ca;
			int client_auth;         /* enum conf_client_auth */
			int min_version;         /* enum conf_tls_version */
			char *ciphers;           /* of TLS 1.2; "" = the built-in choice */
			int64_t ticket_rotation; /* 1 h */
		} tls;
		struct {
			int enabled;
			int64_t max_streams; /* of one connection */
			int64_t window;      /* of one request body */
			int64_t max_resets;  /* in ten seconds; 0 = any */
			int64_t max_control; /* in ten seconds; 0 = any */
			int64_t buffer;      /* bytes of bodies of one connection */
		} http2;
	} server;
	struct {
		int level;
		int json;
		char *error;
		char *access;
		char *access_format;
		int64_t access_delay;
	} log; /* level: enum log_level */
	struct {
		char *data_dir;
		int backend; /* enum conf_store */
		char *dsn;   /* secret */
		int pooler;  /* enum conf_auto: a pooler of transactions stands before the server */
		int64_t pool_size;
		int64_t pool_timeout;
		int64_t statement_timeout; /* 30 s */
		int64_t min_free_bytes;    /* below it the store is degraded; 16 MiB */
		int required;              /* ARAGORA_REQUIRE_DATABASE: a database server, no file */
		char *traces;              /* folder; "" = none are written; relative to data_dir */
		int auto_migrate;          /* at the start; else pending migrations refuse it */
		char *encryption_key;      /* secret; see keyring.h; "" = data_dir/keys */
	} storage;
	struct {
		char *url; /* secret; "" = none */
		int64_t timeout, retry_max;
	} redis;
	struct {
		int required;
		char *jwt_secret, *jwt_secret_previous;
		int64_t jwt_rotated_at, jwt_grace_hours, jwt_expiry_hours, refresh_expiry_days;
		int64_t session_limit, session_inactivity;
		int trust_identity_headers;
		int registration; /* enum conf_registration */
		char *api_token;
		int64_t password_memory, password_passes, password_threads; /* of Argon2id; bytes */
		int admin_mfa;                                              /* enum conf_auto: auto = in production */
		int64_t mfa_grace_days;                                     /* 7 */
		char *public_url;                                           /* of the web application */
	} auth; /* required: enum conf_auto: auto = in production or when a token is set */
	struct {
		struct {
			char *issuer, *client_id, *client_secret, *redirect_uri;
		} google, oidc;
		char *success_url, *error_url;
		struct conf_list allowed_redirect_hosts;
		int64_t state_ttl, max_states;
	} oauth;
	struct {
		int store; /* all choices mean the database */
		struct conf_list operations, auto_approve_roles;
		int64_t life;
	} approvals;
	struct {
		int64_t minutes, minutes_max;
	} break_glass;
	struct {
		struct conf_list allowed_origins;
	} cors;
	struct {
		int enabled, hsts;
		char *frame_options, *content_type_options, *xss_protection, *referrer_policy, *permissions_policy,
		    *transport_security; /* "" = not sent */
		char *policy;            /* Content-Security-Policy of every answer; "" = by kind */
		int csp;
		int csp_mode; /* enum conf_csp_mode */
		char *csp_report_uri;
		int csp_report_only;
		int cookie_secure; /* enum conf_auto: auto = to clients that came by TLS */
		int cookie_http_only;
		int cookie_same_site; /* enum conf_same_site */
	} headers;
	struct {
		int enabled;  /* enum conf_auto: auto = in production */
		char *secret; /* secret; "" = derived from auth.jwt_secret */
		struct conf_list exempt;
	} csrf;
	struct {
		int64_t availability; /* parts per million of requests that must not fail */
		int64_t latency;      /* parts per million of requests that must be as fast as their class says */
		int64_t probe, read, write, create, export;
	} slo;
	struct {
		int enabled;
		int64_t entries, bytes, ttl;
	} cache;
	struct {
		int64_t body_bytes, head_bytes, connections_per_ip;
		struct conf_list exempt;
	} limits;
	struct {
		char *root; /* "" = no files are served */
		char *index;
		int fallback, precompressed, immutable;
		int64_t max_age;
		struct conf_list immutable_paths; /* begin and end with '/' */
		int64_t cache_files, cache_bytes;
	} site; /* the section "static" */
	struct {
		int enabled; /* enum conf_auto: auto = in production */
		int64_t min_bytes, level;
	} compression;
	struct {
		int echo;
		int64_t max_message, ping_interval, heartbeat, max_per_ip, connection_rate, message_rate, message_burst;
		int64_t queue_bytes; /* per socket; 4 MiB */
		int64_t lag_timeout;
	} websocket;
	struct {
		int enabled;
		int disable_all;                            /* also those of WebSockets; never in production */
		int64_t per_address, per_token, per_tenant; /* a minute; 0 = no limit */
		char *burst_multiplier;                     /* "2.0" */
		int tiers;
		struct conf_list rules; /* "NAME=RATE/BURST" each */
		int distributed, strict;
		char *redis_prefix;
		int64_t redis_ttl, redis_failures, redis_cooldown, redis_interval;
	} rate_limit;
	struct {
		int64_t max_concurrent, timeout, agent_timeout, default_rounds, max_rounds, max_age, lease;
		int64_t max_queued; /* further creations get 503; 1000 */
		int openrouter_fallback, local_fallback, share_links;
		int64_t budget_cents; /* of one debate, US cents; 0: no limit */
		int64_t max_agents;   /* 10 */
		struct conf_list default_agents;
		char *default_consensus;  /* majority */
		char *language;           /* English */
		int64_t retry_attempts;   /* 3 */
		int64_t retry_base;       /* 1 s */
		int64_t retry_cap;        /* 30 s */
		int64_t breaker_failures; /* 5 */
		int64_t breaker_cooldown; /* 60 s */
		int64_t token_merge;      /* 40 ms */
		int64_t event_buffer;     /* newest frames kept per topic, 256; ARAGORA_EVENT_BUFFER_SIZE */
	} debates;
	struct {
		int enabled;
		int64_t context_items, context_bytes;
		int64_t interval, archive_days; /* 1 h; 90 */
	} memory;
	struct {
		int64_t cache_entries, cache_ttl, retention_days, timeout; /* 1000, 1 h, 1, 300 s */
	} decisions;
	struct {
		int64_t max_concurrent, timeout, dns_timeout;
		int64_t max_retries, retry_base, retry_cap; /* 5, 1 s, 300 s */
		int64_t max_age, block;
		int64_t breaker_failures, breaker_cooldown;
		char *secret;   /* secret; of callbacks that bring none; "" = unsigned */
		int allow_http; /* enum conf_auto: auto = in development */
		struct conf_list allow_private;
	} deliveries;
	struct {
		int64_t invitation_days;
		int quotas; /* of tiers */
	} tenancy;
	struct {
		int64_t receipt_days, receipt_interval_hours, interval;
		int64_t audit_days, event_days, journal_days, usage_days, idempotency_days, delivery_days,
		    dead_letter_days, batch_days, share_days; /* 0: ever */
	} retention;
	struct {
		int enabled;
		int64_t retry_interval, staleness_interval, decay_interval;
		int64_t vector_nodes; /* that one search by meaning compares */
		int64_t max_nodes;    /* of a workspace; 0: any number */
		int64_t prune_interval, prune_days, archived_days;
		int pgvector, cost_adapter;
	} knowledge;
	struct {
		char *signing_key; /* secret; a list, "" = data_dir/keys */
		char *pdf_module;  /* "" = where it is installed */
		int algorithm;     /* of the key made there: enum receipt_algorithm */
		char *tsa_url;     /* "" = no time stamps */
		char *tsa_ca_file; /* "" = the system's certificates */
		int64_t tsa_interval;
	} receipts;
	struct {
		char *signing_key; /* secret; "" = data_dir/keys/audit.key */
		int64_t buffer, anchor_interval;
	} audit;
	struct {
		char *url;
		char *from;
	} smtp; /* url: secret */
	struct {
		int enabled;
		char *token;
	} metrics; /* token: secret */
	struct conf_provider providers[PROVIDER_MAX];
	struct {
		char *prices_file;            /* "" = the built-in prices */
		struct conf_list rate_limits; /* "openai=500/30" */
		struct conf_list breakers;    /* "anthropic=3/2/30s/2" */
		int ratings_snapshot;         /* elo_ratings.json and elo_snapshot.json */
		int64_t ratings_snapshot_interval;
	} agents;
	struct {
		char *url; /* "" = not configured */
		char *model;
		char *api_key;      /* secret; "" = none is sent */
		int64_t dimensions; /* 0: the model's own */
		int64_t timeout;
		int64_t price; /* micro-dollars per million tokens */
	} embeddings;
	struct {
		int enabled;
		int64_t delay;
	} demo; /* enum conf_auto */
};

/* One override from the command line, e.g. {"server.workers", "4"}. */
struct conf_override {
	const char *key;
	const char *value;
};

/*
 * Reads `path` (NULL or "": only defaults), then the environment if `use_env`, then the overrides, then checks ranges
 * and what belongs together (production demands). On failure NULL, and `report` holds one line per mistake:
 * "aragora.yml:12:3: server.worker: unknown key, did you mean server.workers?". On success it may hold warnings, one
 * per line, to be logged. A reload passes use_env as the start did: a process's environment does not change, and
 * without it the values from there would be gone. The result is shared read-only; conf_unref frees it.
 */
struct conf *conf_load(const char *path, bool use_env, const struct conf_override *overrides, size_t count,
		       struct buf *report) MUST_CHECK;
struct conf *conf_ref(struct conf *c);
void conf_unref(struct conf *c);
/* Effective configuration as YAML, secrets as "********". */
void conf_print(const struct conf *c, struct buf *out);
/* The documented sample (conf/aragora.yml): every key with its help and default. */
void conf_sample(struct buf *out);
/* Lists keys that differ and cannot be changed by a reload, one per line; true if there are none. */
bool conf_reloadable(const struct conf *before, const struct conf *after, struct buf *report);
/* Workers to run: server.workers, or 2 x cores + 1 with cores bounded by affinity and cgroup cpu.max. */
unsigned conf_workers(const struct conf *c);
/* Is authentication demanded? */
bool conf_auth_required(const struct conf *c);
/* Must changes that a session cookie authenticates bring a token? */
bool conf_csrf(const struct conf *c);
/* Are answers compressed for clients that ask? */
bool conf_compression(const struct conf *c);
/* "anthropic", "openai", … */
const char *conf_provider_name(enum conf_provider_id id);
/* Can this provider be called (key present where one is needed, base URL set)? */
bool conf_provider_usable(const struct conf *c, enum conf_provider_id id);
/* Do demo agents play every name (demo.enabled on, or auto and no provider usable)? */
bool conf_demo_active(const struct conf *c);
/* Calls fn for every key (man page and documentation checks). */
void conf_each(void (*fn)(void *arg, const char *key, const char *type, const char *dflt, const char *env,
			  const char *help, bool reloadable, bool secret),
	       void *arg);

#endif
