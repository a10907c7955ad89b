/* SPDX-License-Identifier: MIT */
/*
 * Metrics: one table of them, their cells in the slot's row of shared memory, the text a scraper reads. Called from
 * everywhere in a worker; the layout is fixed by the master. Takes no lock, allocates nothing when counting, and keeps
 * no series that the table or the configuration does not name.
 */
#include "common/metrics.h"

#include <stdarg.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/metrics_internal.h"

#define METRIC_LABELS 3
#define METRIC_BUCKETS 12
#define METRIC_ALWAYS 64 /* a metric with more lines shows only series that are not zero, and its first */

/* Where the values of a label come from. */
enum metric_set {
	SET_NONE,
	SET_OUTCOMES,
	SET_STOPS,
	SET_METHODS,
	SET_STATUSES,
	SET_ERRORS,
	SET_TOKENS,
	SET_WAYS,
	SET_LOOKUPS,
	SET_REASONS,
	SET_CIPHER,
	SET_STORES,
	SET_DELIVERIES,
	SET_RULES,
	SET_EVENTS,
	SET_FORMATS,
	SET_CIPHER_ERRORS,
	SET_RECORDS,
	SET_TRACES,
	SET_REDIS,
	SET_NODES,
	SET_H2_ENDS,
	SET_POOL,
	SET_DECISIONS,
	SET_LIMITS,
	SET_AUDIT,
	SET_AUDIT_OUTCOMES,
	SET_RESULTS,
	SET_STAGES,
	SET_STEPS,
	SET_CLASSES,
	SET_SLO,
	SET_CACHE,
	SET_RIGHT,
	SET_APPROVALS,
	SET_SOURCES,
	SET_MOVES,
	SET_CAUSES,
	SET_REMOVALS,
	SET_KM_OPERATIONS,
	SET_KM_ADAPTERS,
	SET_KM_DIRECTIONS,
	SET_KM_STATUSES,
	SET_KM_PRUNED,
	SET_KM_VECTORS,
	SET_KM_REFUSED,
	SET_KM_TASKS,
	SET_TRUTH,
	SET_FIXED, /* those above are known here, those below are registered */
	SET_AGENTS = SET_FIXED,
	SET_PROVIDERS,
	SET_PERMISSIONS,
	SET_HANDLERS,
	SET_MAX
};

struct metric_desc {
	const char *name;
	enum metric_type type;
	enum metric_fold fold;
	struct {
		const char *name;
		enum metric_set set;
	} labels[METRIC_LABELS];
	double buckets[METRIC_BUCKETS]; /* seconds, ascending, ended by 0 */
	const char *help;
};

static const char *const metric_outcomes[] = {"consensus_reached",          "completed", "failed", "timeout",
					      "insufficient_participation", "cancelled", NULL};
/* As progress.c spells them, and the engine's own two. */
static const char *const metric_stops[] = {"round0_agreement", "convergence", "ready_quorum",
					   "stability",        "budget",      NULL};
static const char *const metric_methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", NULL};
static const char *const metric_statuses[] = {"200", "101", "201", "204", "206", "301", "304", "400", "401", "403",
					      "404", "405", "408", "409", "412", "413", "414", "415", "416", "422",
					      "426", "429", "431", "500", "501", "503", "504", "505", NULL};
/* As agent_fail_name() spells them. */
static const char *const metric_errors[] = {"connection", "timeout", "rate_limit", "auth",   "quota",
					    "api",        "parse",   "empty",      "filter", "circuit_open",
					    "cancelled",  "budget",  NULL};
static const char *const metric_tokens[] = {"input", "output", NULL};
static const char *const metric_ways[] = {"in", "out", NULL};
static const char *const metric_lookups[] = {"hit", "loaded", "missing", "failed", NULL};
static const char *const metric_reasons[] = {"missing",     "invalid",  "expired", "forbidden",   "revoked", "reuse",
					     "credentials", "disabled", "setup",   "unavailable", "locked",  NULL};
static const char *const metric_cipher[] = {"encrypt", "decrypt", NULL};
/* The stores of worker/secrets.c that keep secret fields, and what else is encrypted. */
static const char *const metric_stores[] = {"deliveries", "backup", "mfa", NULL};
static const char *const metric_deliveries[] = {"delivered", "retrying", "dead", "uncertain", NULL};
static const char *const metric_events[] = {"debate_end", NULL};
static const char *const metric_rules[] = {"receipts",      "events",       "journals",  "usage",   "idempotency_keys",
					   "deliveries",    "dead_letters", "endpoints", "batches", "receipt_shares",
					   "debate_shares", "audit",        NULL};
static const char *const metric_formats[] = {"webhook", NULL};
static const char *const metric_cipher_errors[] = {"key_not_found", "tampered", "damaged", "cipher",
						   "size",          "storage",  NULL};
static const char *const metric_traces[] = {"written", "failed", NULL};
static const char *const metric_records[] = {"migrated", "skipped", "failed", NULL};
static const char *const metric_redis[] = {"ok", "error", "abandoned", NULL};
static const char *const metric_nodes[] = {"in", "out", "lost", NULL};
static const char *const metric_h2_ends[] = {"protocol", "resets", "control", "head", "timeout", NULL};
static const char *const metric_audit[] = {"auth",   "access", "data",     "admin",  "billing",
					   "debate", "api",    "security", "system", NULL};
static const char *const metric_audit_outcomes[] = {"success", "failure", "denied", "error", NULL};
static const char *const metric_approvals[] = {"requested", "approved", "rejected", "used", "refused", NULL};
static const char *const metric_results[] = {"allowed", "denied", NULL};
static const char *const metric_stages[] = {"receive", "chain", "handler", NULL};
static const char *const metric_steps[] = {"security",    "host",        "method_override", "csrf", "validation",
					   "idempotency", "maintenance", "readiness",       NULL};
static const char *const metric_classes[] = {"probe", "read", "write", "create", "export", NULL};
static const char *const metric_slo[] = {"good", "slow", "failed", NULL};
static const char *const metric_causes[] = {"workspace", "policy", "agent", "tag", "outcome", NULL};
static const char *const metric_moves[] = {"promotion", "demotion", NULL};
static const char *const metric_removals[] = {"expired", "tier_limit", "forgotten", "deleted", NULL};
/* Of a debate's background. */
static const char *const metric_sources[] = {"consensus", "continuum", "knowledge", NULL};
static const char *const metric_km_operations[] = {"query",  "add",    "get",    "update",    "link",  "share",
						   "sync",   "import", "export", "staleness", "decay", "merge",
						   "search", "fact",   "prune",  NULL};
/* As the rows of worker/knowledge/adapters.c are called; mound: the store itself. */
static const char *const metric_km_adapters[] = {"continuum", "consensus",     "critique", "evidence", "belief",
						 "insights",  "elo",           "pulse",    "cost",     "ranking",
						 "culture",   "control_plane", "mound",    NULL};
static const char *const metric_km_directions[] = {"forward", "reverse", NULL};
static const char *const metric_km_statuses[] = {"success", "error", "not_configured", NULL};
static const char *const metric_km_vectors[] = {"current", "missing", NULL};
static const char *const metric_km_pruned[] = {"archived", "removed", NULL};
static const char *const metric_km_refused[] = {"api", "adapter", NULL};
static const char *const metric_km_tasks[] = {"debate", "analysis", "review", NULL};
static const char *const metric_truth[] = {"true", "false", NULL};
static const char *const metric_right[] = {"right", "wrong", NULL};
static const char *const metric_cache[] = {"hit", "miss", "stale", "dropped", NULL};
static const char *const metric_pool[] = {"idle", "busy", "waiting", NULL};
static const char *const metric_decisions[] = {"allowed", "refused", NULL};
/* As limits_kind_name() spells them. */
static const char *const metric_limits[] = {"address", "token", "tenant", "user", "action", "endpoint", "tier", NULL};

#define LE_DEBATE .buckets = {1, 5, 10, 30, 60, 120, 300, 600, 900}
#define LE_AGENT .buckets = {.1, .5, 1, 2.5, 5, 10, 30, 60, 120, 240}
#define LE_REQUEST .buckets = {.001, .005, .01, .05, .1, .25, .5, 1, 2.5, 5, 10}
#define LE_CIPHER .buckets = {.00001, .00005, .0001, .0005, .001, .01, .1}
#define LE_REDIS .buckets = {.0001, .00025, .0005, .001, .0025, .005, .01, .05, .1, .5, 1}
#define LE_CHECK .buckets = {.0001, .0005, .001, .005, .01, .025}
#define LE_KM .buckets = {.01, .025, .05, .1, .25, .5, 1, 2.5, 5}
#define LE_COMMIT .buckets = {.0005, .001, .0025, .005, .01, .025, .05, .1, .5, 1}

/* clang-format off */
static const struct metric_desc metric_table[] = {
	[M_DEBATES_TOTAL] = {"aragora_debates_total", METRIC_COUNTER, FOLD_SUM, .help = "Debates started."},
	[M_DEBATES_COMPLETED] = {"aragora_debates_completed", METRIC_COUNTER, FOLD_SUM, .help = "Debates that came to their end."},
	[M_BATCHES_ENDED] = {"aragora_batches_ended_total", METRIC_COUNTER, FOLD_SUM, .help = "Batches, matrix and graph debates that came to their end."},
	[M_DEBATES_FAILED] = {"aragora_debates_failed", METRIC_COUNTER, FOLD_SUM, .help = "Debates that failed or ran out of time."},
	[M_ACTIVE_DEBATES] = {"aragora_active_debates", METRIC_GAUGE, FOLD_SUM, .help = "Debates running now."},
	[M_QUEUED_DEBATES] = {"aragora_queued_debates", METRIC_GAUGE, FOLD_LAST, .help = "Debates waiting for their turn."},
	[M_DEBATE_DURATION] = {"aragora_debate_duration_seconds", METRIC_HISTOGRAM, FOLD_SUM, {{"outcome", SET_OUTCOMES}}, LE_DEBATE,
		.help = "Running time of finished debates."},
	[M_CONSENSUS_REACHED] = {"aragora_consensus_reached_total", METRIC_COUNTER, FOLD_SUM, .help = "Debates that reached consensus."},
	[M_MATCHES] = {"aragora_matches_total", METRIC_COUNTER, FOLD_SUM, .help = "Debates by which agents were rated."},
	[M_OUTCOMES] = {"aragora_debate_outcomes_total", METRIC_COUNTER, FOLD_SUM, {{"result", SET_RIGHT}},
		.help = "Answers of debates of which somebody said how they turned out."},
	[M_EARLY_STOPS] = {"aragora_debate_early_termination_total", METRIC_COUNTER, FOLD_SUM, {{"source", SET_STOPS}},
		.help = "Debates that ended before their last round, by what ended them."},
	[M_CONSENSUS_RATE] = {"aragora_consensus_rate", METRIC_GAUGE, FOLD_RATIO, .help = "Share of completed debates that reached consensus."},
	[M_AGENT_RESPONSE] = {"aragora_agent_response_seconds", METRIC_HISTOGRAM, FOLD_SUM, {{"agent", SET_AGENTS}}, LE_AGENT,
		.help = "Time of agents' successful answers."},
	[M_AGENT_ERRORS] = {"aragora_agent_errors_total", METRIC_COUNTER, FOLD_SUM, {{"agent", SET_AGENTS}, {"error_type", SET_ERRORS}},
		.help = "Failed calls of agents."},
	[M_AGENT_FALLBACKS] = {"aragora_agent_fallbacks_total", METRIC_COUNTER, FOLD_SUM, {{"reason", SET_ERRORS}},
		.help = "Calls that OpenRouter was asked to answer instead of a provider."},
	[M_AGENT_THROTTLED] = {"aragora_agent_throttled_total", METRIC_COUNTER, FOLD_SUM, {{"provider", SET_PROVIDERS}}, .help = "Calls that waited for this node's own limit of their provider."},
	[M_EMBEDDINGS] = {"aragora_embeddings_total", METRIC_COUNTER, FOLD_SUM, {{"result", SET_LOOKUPS}}, .help = "Texts whose vectors were wanted."},
	[M_TOKENS_USED] = {"aragora_tokens_used_total", METRIC_COUNTER, FOLD_SUM, {{"provider", SET_PROVIDERS}, {"direction", SET_TOKENS}},
		.help = "Tokens sent to and received from models."},
	[M_COST_MICRO] = {"aragora_debate_cost_usd_total", METRIC_COUNTER, FOLD_SUM, .help = "Cost of finished debates in US dollars."},
	[M_STEPS_ABANDONED] = {"aragora_steps_abandoned_total", METRIC_COUNTER, FOLD_SUM, .help = "Calls begun whose result was lost."},
	[M_TAKEOVERS] = {"aragora_debate_takeovers_total", METRIC_COUNTER, FOLD_SUM, .help = "Debates continued by another process."},
	[M_EVENTS_COMMITTED] = {"aragora_events_committed_total", METRIC_COUNTER, FOLD_SUM, .help = "Events written to the log."},
	[M_JOURNAL_BATCHES] = {"aragora_journal_batches_total", METRIC_COUNTER, FOLD_SUM,
		.help = "Batches that stored steps of debates; steps that come together share one."},
	[M_BREAKER_STATE] = {"aragora_circuit_breaker_state", METRIC_GAUGE, FOLD_MAX, {{"agent", SET_AGENTS}},
		.help = "Circuit breaker: 0 closed, 1 half open, 2 open."},
	[M_HTTP_REQUESTS] = {"aragora_http_requests_total", METRIC_COUNTER, FOLD_SUM, {{"method", SET_METHODS}, {"status", SET_STATUSES}},
		.help = "HTTP requests answered."},
	[M_HTTP_DURATION] = {"aragora_http_request_duration_seconds", METRIC_HISTOGRAM, FOLD_SUM, {{"method", SET_METHODS}}, LE_REQUEST,
		.help = "Time from request to answer."},
	[M_HTTP_CONNECTIONS] = {"aragora_http_connections_active", METRIC_GAUGE, FOLD_SUM, .help = "Open client connections."},
	[M_H2_CONNECTIONS] = {"aragora_http2_connections_active", METRIC_GAUGE, FOLD_SUM, .help = "Open connections that speak HTTP/2."},
	[M_H2_STREAMS] = {"aragora_http2_streams_active", METRIC_GAUGE, FOLD_SUM, .help = "Requests under way on HTTP/2 connections."},
	[M_H2_REFUSED] = {"aragora_http2_streams_refused_total", METRIC_COUNTER, FOLD_SUM,
		.help = "HTTP/2 requests refused for a limit of their connection."},
	[M_H2_RESETS] = {"aragora_http2_streams_reset_total", METRIC_COUNTER, FOLD_SUM, {{"direction", SET_WAYS}},
		.help = "HTTP/2 requests cancelled by clients, or ended by us for an error."},
	[M_H2_ENDED] = {"aragora_http2_connections_ended_total", METRIC_COUNTER, FOLD_SUM, {{"reason", SET_H2_ENDS}},
		.help = "HTTP/2 connections ended for what the client did."},
	[M_WS_CONNECTIONS] = {"aragora_ws_connections_active", METRIC_GAUGE, FOLD_SUM, .help = "Open WebSockets."},
	[M_SSE_CONNECTIONS] = {"aragora_sse_connections_active", METRIC_GAUGE, FOLD_SUM, .help = "Open streams of server-sent events."},
	[M_PEERS_UNCOUNTED] = {"aragora_uncounted_connections_total", METRIC_COUNTER, FOLD_SUM,
		.help = "Connections let in without a count because the table of addresses was full."},
	[M_WS_MESSAGES] = {"aragora_websocket_messages_total", METRIC_COUNTER, FOLD_SUM, {{"direction", SET_WAYS}}, .help = "WebSocket messages."},
	[M_STREAM_TOPICS] = {"aragora_stream_topics", METRIC_GAUGE, FOLD_SUM, .help = "Debates whose events workers keep for readers."},
	[M_STREAM_DROPPED] = {"aragora_stream_ephemeral_dropped_total", METRIC_COUNTER, FOLD_SUM,
		.help = "Ephemeral events not sent to slow readers."},
	[M_BUS_DROPPED] = {"aragora_bus_dropped_total", METRIC_COUNTER, FOLD_SUM, .help = "Messages between workers that found a full mailbox."},
	[M_DB_ERRORS] = {"aragora_db_errors_total", METRIC_COUNTER, FOLD_SUM, .help = "Failed database operations."},
	[M_DB_COMMIT] = {"aragora_db_commit_seconds", METRIC_HISTOGRAM, FOLD_SUM, .labels = {{NULL, SET_NONE}}, LE_COMMIT,
		.help = "Time of committed transactions."},
	[M_DB_QUERY] = {"aragora_db_query_seconds", METRIC_HISTOGRAM, FOLD_SUM, .labels = {{NULL, SET_NONE}}, LE_COMMIT,
		.help = "Time of reads, with the wait for a connection."},
	[M_DB_POOL] = {"aragora_db_connection_pool_size", METRIC_GAUGE, FOLD_SUM, {{"state", SET_POOL}},
		.help = "Connections to PostgreSQL, and how many wait for one."},
	[M_DB_RECONNECTS] = {"aragora_db_reconnects_total", METRIC_COUNTER, FOLD_SUM,
		.help = "Connections to PostgreSQL made after it could not be reached."},
	[M_DB_RETRIES] = {"aragora_db_retries_total", METRIC_COUNTER, FOLD_SUM,
		.help = "Reads and transactions repeated on PostgreSQL after a lost connection or a conflict."},
	[M_LOG_DROPPED] = {"aragora_log_lines_dropped_total", METRIC_COUNTER, FOLD_SUM, .help = "Log lines dropped because of a slow reader."},
	[M_QUOTA_REFUSED] = {"aragora_quota_refusals_total", METRIC_COUNTER, FOLD_SUM,
		.help = "Requests refused because the quota of the organization's tier is used up."},
	[M_BUDGET_REFUSED] = {"aragora_budget_refusals_total", METRIC_COUNTER, FOLD_SUM,
		.help = "Debates refused because the organization has spent its budget."},
	[M_TENANT_REFUSED] = {"aragora_tenant_refused_total", METRIC_COUNTER, FOLD_SUM,
		.help = "Statements refused because they did not keep to their tenant: mistakes of the program."},
	[M_AUTH_FAILURES] = {"aragora_auth_failures_total", METRIC_COUNTER, FOLD_SUM, {{"reason", SET_REASONS}}, .help = "Refused credentials."},
	[M_RBAC_CHECKS] = {"aragora_rbac_permission_checks_total", METRIC_COUNTER, FOLD_SUM, {{"permission", SET_PERMISSIONS}, {"result", SET_RESULTS}},
		.help = "Checks of a request's permission."},
	[M_RBAC_DENIED] = {"aragora_rbac_permission_denied_total", METRIC_COUNTER, FOLD_SUM, {{"permission", SET_PERMISSIONS}, {"handler", SET_HANDLERS}},
		.help = "Requests refused for want of a permission."},
	[M_RBAC_LATENCY] = {"aragora_rbac_check_latency_seconds", METRIC_HISTOGRAM, FOLD_SUM, LE_CHECK, .help = "Time of a check of permission."},
	[M_APPROVALS] = {"aragora_approvals_total", METRIC_COUNTER, FOLD_SUM, {{"result", SET_APPROVALS}}, .help = "Requests for approval and what became of them."},
	[M_IMPERSONATE] = {"aragora_admin_impersonate_total", METRIC_COUNTER, FOLD_SUM, .help = "Sessions in which an administrator acts for somebody else."},
	[M_BREAK_GLASS] = {"aragora_break_glass_total", METRIC_COUNTER, FOLD_SUM, .help = "Break-glass sessions begun."},
	[M_WORKER_RESTARTS] = {"aragora_worker_restarts_total", METRIC_COUNTER, FOLD_SUM, .help = "Workers replaced after an unexpected end."},
	[M_CO_COUNT] = {"aragora_coroutines", METRIC_GAUGE, FOLD_SUM, .help = "Live coroutines."},
	[M_ENCRYPTIONS] = {"aragora_encryption_operations_total", METRIC_COUNTER, FOLD_SUM, {{"operation", SET_CIPHER}, {"store", SET_STORES}},
		.help = "Fields encrypted and decrypted."},
	[M_ENCRYPTION_LATENCY] = {"aragora_encryption_operation_latency_seconds", METRIC_HISTOGRAM, FOLD_SUM, {{"operation", SET_CIPHER}}, LE_CIPHER,
		.help = "Time to encrypt or decrypt a field."},
	[M_ENCRYPTION_ERRORS] = {"aragora_encryption_errors_total", METRIC_COUNTER, FOLD_SUM, {{"operation", SET_CIPHER}, {"error_type", SET_CIPHER_ERRORS}},
		.help = "Fields that could not be encrypted or decrypted."},
	[M_MIGRATION_RECORDS] = {"aragora_migration_records_total", METRIC_COUNTER, FOLD_SUM, {{"store", SET_STORES}, {"status", SET_RECORDS}},
		.help = "Records that `aragorad encrypt --execute` has seen, by outcome."},
	[M_AUDIT_EVENTS] = {"aragora_audit_events_total", METRIC_COUNTER, FOLD_SUM, {{"category", SET_AUDIT}, {"outcome", SET_AUDIT_OUTCOMES}},
		.help = "Events that this node has put into the chain of the audit log."},
	[M_AUDIT_PENDING] = {"aragora_audit_pending", METRIC_GAUGE, FOLD_LAST, .help = "Audit events that are written and not yet chained (at most 100 are counted)."},
	[M_AUDIT_DROPPED] = {"aragora_audit_dropped_total", METRIC_COUNTER, FOLD_SUM, .help = "Audit events lost because audit.buffer was full."},
	[M_AUDIT_FAILURES] = {"aragora_audit_failures_total", METRIC_COUNTER, FOLD_SUM, .help = "Audit events that could not be written, or were changed before they were chained."},
	[M_TRACES] = {"aragora_debate_traces_total", METRIC_COUNTER, FOLD_SUM, {{"result", SET_TRACES}}, .help = "Traces of debates written to storage.traces."},
	[M_MIGRATION_ERRORS] = {"aragora_migration_errors_total", METRIC_COUNTER, FOLD_SUM, {{"store", SET_STORES}, {"error_type", SET_CIPHER_ERRORS}},
		.help = "Records that `aragorad encrypt --execute` could not change."},
	[M_STATIC_LOOKUPS] = {"aragora_static_lookups_total", METRIC_COUNTER, FOLD_SUM, {{"result", SET_LOOKUPS}},
		.help = "Static files asked for: known, read anew, not there, not readable."},
	[M_COMPRESSION_BYTES] = {"aragora_http_compression_bytes_total", METRIC_COUNTER, FOLD_SUM, {{"direction", SET_WAYS}},
		.help = "Bytes of answers before (in) and after (out) compression."},
	[M_REDIS_CONNECTIONS] = {"aragora_redis_connections", METRIC_GAUGE, FOLD_SUM,
		.help = "Connections to Redis that are up; two per worker when redis.url is set."},
	[M_REDIS_FAILURES] = {"aragora_redis_failures_total", METRIC_COUNTER, FOLD_SUM,
		.help = "Connections to Redis that were lost, and attempts to connect that failed."},
	[M_REDIS_COMMANDS] = {"aragora_redis_commands_total", METRIC_COUNTER, FOLD_SUM, {{"outcome", SET_REDIS}}, .help = "Commands sent to Redis."},
	[M_REDIS_LATENCY] = {"aragora_redis_latency_seconds", METRIC_HISTOGRAM, FOLD_SUM, .labels = {{NULL, SET_NONE}}, LE_REDIS,
		.help = "Time from sending a command to reading its answer."},
	[M_BUS_NODES] = {"aragora_bus_node_messages_total", METRIC_COUNTER, FOLD_SUM, {{"direction", SET_NODES}},
		.help = "Hints between nodes; lost: not sent because Redis was away (readers find the events in the log)."},
	[M_WEBHOOK_DELIVERIES] = {"aragora_webhook_deliveries_total", METRIC_COUNTER, FOLD_SUM,
		{{"status", SET_DELIVERIES}, {"event_type", SET_EVENTS}}, .help = "Attempts to deliver, by what came of them."},
	[M_WEBHOOK_LATENCY] = {"aragora_webhook_delivery_latency_seconds", METRIC_HISTOGRAM, FOLD_SUM, {{"event_type", SET_EVENTS}},
		LE_REQUEST, .help = "Time of attempts that delivered."},
	[M_WEBHOOK_RETRIES] = {"aragora_webhook_retries_total", METRIC_COUNTER, FOLD_SUM, {{"event_type", SET_EVENTS}},
		.help = "Attempts after which another one was planned."},
	[M_WEBHOOK_DEAD] = {"aragora_webhook_dead_lettered_total", METRIC_COUNTER, FOLD_SUM, {{"event_type", SET_EVENTS}},
		.help = "Deliveries that were given up."},
	[M_WEBHOOK_BREAKER] = {"aragora_webhook_circuit_breaker_state", METRIC_GAUGE, FOLD_LAST, {{"endpoint", SET_FORMATS}},
		.help = "Circuit breakers of endpoints: 0 all closed, 1 at least one open."},
	[M_DELIVERIES_ACTIVE] = {"aragora_deliveries_active", METRIC_GAUGE, FOLD_SUM, .help = "Deliveries being sent now."},
	[M_DELIVERIES_PENDING] = {"aragora_deliveries_pending", METRIC_GAUGE, FOLD_LAST, .help = "Deliveries waiting to be sent."},
	[M_DELIVERIES_DEAD] = {"aragora_deliveries_dead_letters", METRIC_GAUGE, FOLD_LAST, .help = "Deliveries given up and kept."},
	[M_DELIVERIES_OLDEST] = {"aragora_deliveries_oldest_seconds", METRIC_GAUGE, FOLD_LAST, .help = "Age of the oldest waiting delivery."},
	[M_RECEIPT_CLEANUPS] = {"aragora_receipt_cleanup_total", METRIC_COUNTER, FOLD_SUM, .help = "Runs of the receipt retention."},
	[M_RECEIPT_CLEANUP_DURATION] = {"aragora_receipt_cleanup_duration_seconds", METRIC_HISTOGRAM, FOLD_SUM, .labels = {{NULL, SET_NONE}},
		LE_REQUEST, .help = "Time of these runs."},
	[M_RECEIPT_STAMPS] = {"aragora_receipt_timestamps_total", METRIC_COUNTER, FOLD_SUM, .help = "Receipts that an RFC 3161 authority has stamped."},
	[M_RECEIPT_STAMP_FAILURES] = {"aragora_receipt_timestamp_failures_total", METRIC_COUNTER, FOLD_SUM, .help = "Time stamps that were not given or not valid; they are asked for again."},
	[M_RECEIPTS_DELETED] = {"aragora_receipts_deleted_total", METRIC_COUNTER, FOLD_SUM, .help = "Receipts removed after their retention."},
	[M_RETENTION_DELETED] = {"aragora_retention_deleted_total", METRIC_COUNTER, FOLD_SUM, {{"rule", SET_RULES}},
		.help = "What retention has removed: rows, of event logs and journals debates."},
	[M_HTTP_STAGE] = {"aragora_http_stage_seconds", METRIC_HISTOGRAM, FOLD_SUM, {{"stage", SET_STAGES}}, LE_REQUEST,
		.help = "Time of requests that may wait, by stage."},
	[M_HTTP_REFUSED] = {"aragora_http_refused_total", METRIC_COUNTER, FOLD_SUM, {{"step", SET_STEPS}},
		.help = "Requests that a step of the pipeline refused."},
	[M_SLO] = {"aragora_slo_requests_total", METRIC_COUNTER, FOLD_SUM, {{"class", SET_CLASSES}, {"outcome", SET_SLO}},
		.help = "Requests measured against the objective of their kind."},
	[M_DECISION_HITS] = {"aragora_decision_cache_hits_total", METRIC_COUNTER, FOLD_SUM, .help = "Decisions answered from the cache."},
	[M_DECISION_MISSES] = {"aragora_decision_cache_misses_total", METRIC_COUNTER, FOLD_SUM, .help = "Decisions that the cache had no answer for."},
	[M_DECISION_INVALIDATIONS] = {"aragora_decision_cache_invalidations_total", METRIC_COUNTER, FOLD_SUM, {{"type", SET_CAUSES}},
	 .help = "Cached decisions that were invalidated, by what had changed."},
	[M_DECISION_EVICTIONS] = {"aragora_decision_cache_evictions_total", METRIC_COUNTER, FOLD_SUM, .help = "Cached decisions that made room for newer ones."},
	[M_DECISION_SIZE] = {"aragora_decision_cache_size", METRIC_GAUGE, FOLD_LAST, .help = "Cached decisions of all workspaces that are not too old."},
	[M_MEMORY_MOVES] = {"aragora_memory_transitions_total", METRIC_COUNTER, FOLD_SUM, {{"direction", SET_MOVES}},
	 .help = "Entries of continuum memory that moved to a faster or slower tier."},
	[M_MEMORY_REMOVED] = {"aragora_memory_removed_total", METRIC_COUNTER, FOLD_SUM, {{"reason", SET_REMOVALS}},
	 .help = "Entries of continuum memory that were archived or deleted."},
	[M_KM_REUSE] = {"aragora_km_cross_debate_reuse_total", METRIC_COUNTER, FOLD_SUM, {{"source_type", SET_SOURCES}},
	 .help = "Pieces of earlier debates and stored knowledge that were given to a debate."},
	[M_RESPONSE_CACHE] = {"aragora_response_cache_total", METRIC_COUNTER, FOLD_SUM, {{"result", SET_CACHE}},
		.help = "Look-ups in the cache of answers."},
	[M_KM_OPERATIONS] = {"aragora_km_operations_total", METRIC_COUNTER, FOLD_SUM, {{"operation", SET_KM_OPERATIONS}, {"status", SET_KM_STATUSES}},
		.help = "Operations of the Knowledge Mound."},
	[M_KM_LATENCY] = {"aragora_km_operation_latency_seconds", METRIC_HISTOGRAM, FOLD_SUM, {{"operation", SET_KM_OPERATIONS}}, LE_KM,
		.help = "Time of operations of the Knowledge Mound."},
	[M_KM_SYNCS] = {"aragora_km_adapter_syncs_total", METRIC_COUNTER, FOLD_SUM,
		{{"adapter", SET_KM_ADAPTERS}, {"direction", SET_KM_DIRECTIONS}, {"status", SET_KM_STATUSES}},
		.help = "Syncs of knowledge adapters, by what came of them."},
	[M_KM_FORWARD] = {"aragora_km_forward_sync_latency_seconds", METRIC_HISTOGRAM, FOLD_SUM, {{"adapter", SET_KM_ADAPTERS}}, LE_KM,
		.help = "Time in which an adapter brought its source's news into the Knowledge Mound."},
	[M_KM_REVERSE] = {"aragora_km_reverse_query_latency_seconds", METRIC_HISTOGRAM, FOLD_SUM, {{"adapter", SET_KM_ADAPTERS}}, LE_KM,
		.help = "Time in which an adapter found knowledge for its source."},
	[M_KM_SEMANTIC] = {"aragora_km_semantic_search_total", METRIC_COUNTER, FOLD_SUM, {{"adapter", SET_KM_ADAPTERS}, {"status", SET_KM_STATUSES}},
		.help = "Searches by meaning; not_configured: there are no embeddings, words were searched alone."},
	[M_KM_OUTCOMES] = {"aragora_km_cp_task_outcomes_total", METRIC_COUNTER, FOLD_SUM, {{"task_type", SET_KM_TASKS}, {"success", SET_TRUTH}},
		.help = "Outcomes of tasks of the control plane stored as knowledge."},
	[M_KM_SHARES] = {"aragora_km_cp_cross_workspace_shares_total", METRIC_COUNTER, FOLD_SUM, .help = "Insights shared with other workspaces."},
	[M_KM_CACHE_HITS] = {"aragora_km_cache_hits_total", METRIC_COUNTER, FOLD_SUM, .help = "Searches by meaning whose question this worker had a vector of."},
	[M_KM_CACHE_MISSES] = {"aragora_km_cache_misses_total", METRIC_COUNTER, FOLD_SUM, .help = "Searches by meaning for which a vector was asked for."},
	[M_KM_VECTORS] = {"aragora_km_vectors", METRIC_GAUGE, FOLD_LAST, {{"adapter", SET_KM_ADAPTERS}, {"state", SET_KM_VECTORS}},
		.help = "Texts with a vector of the model of now, and texts that wait for one, as of the last run of the job on this node."},
	[M_KM_PRUNED] = {"aragora_km_nodes_pruned_total", METRIC_COUNTER, FOLD_SUM, {{"action", SET_KM_PRUNED}},
		.help = "Nodes that were archived by age and worth, and archived ones that were removed."},
	[M_KM_REFUSED] = {"aragora_km_nodes_refused_total", METRIC_COUNTER, FOLD_SUM, {{"source", SET_KM_REFUSED}},
		.help = "Nodes that a workspace had no room for, by who wanted to write them (knowledge.max_nodes)."},
	[M_KM_DEAD] = {"aragora_km_dead_letters_total", METRIC_COUNTER, FOLD_SUM, .help = "Debates whose knowledge could not be stored in three tries."},
	[M_MAINTENANCE] = {"aragora_maintenance_mode", METRIC_GAUGE, FOLD_LAST, .help = "1 while new debates are refused for maintenance."},
	[M_RATE_DECISIONS] = {"aragora_rate_limit_decisions_total", METRIC_COUNTER, FOLD_SUM, {{"decision", SET_DECISIONS}},
		.help = "Requests that rate limits have let through or refused."},
	[M_RATE_REJECTIONS] = {"aragora_rate_limit_rejections_total", METRIC_COUNTER, FOLD_SUM, {{"limit_type", SET_LIMITS}},
		.help = "Requests refused, by the limit that did."},
	[M_RATE_USAGE] = {"aragora_rate_limit_bucket_usage", METRIC_GAUGE, FOLD_LAST,
		.help = "Buckets of rate limits that are not full, of 131072 (looked at every ten seconds)."},
	[M_RATE_EVICTIONS] = {"aragora_rate_limit_evictions_total", METRIC_COUNTER, FOLD_SUM,
		.help = "Buckets in use that had to give way to others: the table is too small for an attack that runs."},
	[M_RATE_REDIS] = {"aragora_rate_limit_redis_operations_total", METRIC_COUNTER, FOLD_SUM, {{"outcome", SET_REDIS}},
		.help = "Scripts run in Redis for rate limits."},
	[M_RATE_REDIS_LATENCY] = {"aragora_rate_limit_redis_latency_seconds", METRIC_HISTOGRAM, FOLD_SUM, .labels = {{NULL, SET_NONE}},
		LE_REDIS, .help = "Time until their answer."},
	[M_RATE_BACKEND] = {"aragora_rate_limit_backend_status", METRIC_GAUGE, FOLD_SUM,
		.help = "Workers whose rate limits are shared through Redis; the others count for their node alone."},
	[M_RATE_BREAKER] = {"aragora_rate_limit_circuit_breaker_state", METRIC_GAUGE, FOLD_MAX,
		.help = "Circuit breaker of Redis for rate limits: 0 closed, 1 half open, 2 open."},
	[M_RATE_FALLBACK] = {"aragora_rate_limit_fallback_requests_total", METRIC_COUNTER, FOLD_SUM,
		.help = "Counts that were not shared because Redis was away: the node's own limit held."},
	[M_RATE_DISTRIBUTED] = {"aragora_rate_limit_distributed_rejections_total", METRIC_COUNTER, FOLD_SUM,
		.help = "Requests that the node would have let through and the count of the whole cluster refused."},
};
/* clang-format on */
_Static_assert(countof(metric_table) == METRIC_MAX, "one row per metric");

struct metric_values {
	const char *const *v;
	size_t n;
};

/* Where the cells of a metric lie: one run of `stride` cells per series; the last value of each label is "other". */
struct metric_layout {
	size_t base, stride, series;
	size_t sizes[METRIC_LABELS]; /* values of each label, "other" included; 1 if there is no such label */
	size_t buckets;
};

/* Of this process: fixed by metrics_register before the fork, bound to a row by metrics_attach. */
static struct {
	struct metric_values sets[SET_MAX];
	struct metric_layout layout[METRIC_MAX];
	size_t used;
	pid_t master;
	struct shm *shm;
	_Atomic uint64_t *row;
} metric_state = {
    .sets =
	{
	    [SET_OUTCOMES] = {metric_outcomes, countof(metric_outcomes) - 1},
	    [SET_STOPS] = {metric_stops, countof(metric_stops) - 1},
	    [SET_METHODS] = {metric_methods, countof(metric_methods) - 1},
	    [SET_STATUSES] = {metric_statuses, countof(metric_statuses) - 1},
	    [SET_ERRORS] = {metric_errors, countof(metric_errors) - 1},
	    [SET_TOKENS] = {metric_tokens, countof(metric_tokens) - 1},
	    [SET_WAYS] = {metric_ways, countof(metric_ways) - 1},
	    [SET_LOOKUPS] = {metric_lookups, countof(metric_lookups) - 1},
	    [SET_REASONS] = {metric_reasons, countof(metric_reasons) - 1},
	    [SET_CIPHER] = {metric_cipher, countof(metric_cipher) - 1},
	    [SET_STORES] = {metric_stores, countof(metric_stores) - 1},
	    [SET_DELIVERIES] = {metric_deliveries, countof(metric_deliveries) - 1},
	    [SET_RULES] = {metric_rules, countof(metric_rules) - 1},
	    [SET_EVENTS] = {metric_events, countof(metric_events) - 1},
	    [SET_FORMATS] = {metric_formats, countof(metric_formats) - 1},
	    [SET_CIPHER_ERRORS] = {metric_cipher_errors, countof(metric_cipher_errors) - 1},
	    [SET_RECORDS] = {metric_records, countof(metric_records) - 1},
	    [SET_TRACES] = {metric_traces, countof(metric_traces) - 1},
	    [SET_REDIS] = {metric_redis, countof(metric_redis) - 1},
	    [SET_NODES] = {metric_nodes, countof(metric_nodes) - 1},
	    [SET_H2_ENDS] = {metric_h2_ends, countof(metric_h2_ends) - 1},
	    [SET_AUDIT] = {metric_audit, countof(metric_audit) - 1},
	    [SET_AUDIT_OUTCOMES] = {metric_audit_outcomes, countof(metric_audit_outcomes) - 1},
	    [SET_APPROVALS] = {metric_approvals, countof(metric_approvals) - 1},
	    [SET_KM_OPERATIONS] = {metric_km_operations, countof(metric_km_operations) - 1},
	    [SET_KM_ADAPTERS] = {metric_km_adapters, countof(metric_km_adapters) - 1},
	    [SET_KM_DIRECTIONS] = {metric_km_directions, countof(metric_km_directions) - 1},
	    [SET_KM_VECTORS] = {metric_km_vectors, countof(metric_km_vectors) - 1},
	    [SET_KM_PRUNED] = {metric_km_pruned, countof(metric_km_pruned) - 1},
	    [SET_KM_REFUSED] = {metric_km_refused, countof(metric_km_refused) - 1},
	    [SET_KM_STATUSES] = {metric_km_statuses, countof(metric_km_statuses) - 1},
	    [SET_KM_TASKS] = {metric_km_tasks, countof(metric_km_tasks) - 1},
	    [SET_TRUTH] = {metric_truth, countof(metric_truth) - 1},
	    [SET_RESULTS] = {metric_results, countof(metric_results) - 1},
	    [SET_POOL] = {metric_pool, countof(metric_pool) - 1},
	    [SET_DECISIONS] = {metric_decisions, countof(metric_decisions) - 1},
	    [SET_LIMITS] = {metric_limits, countof(metric_limits) - 1},
	    [SET_STAGES] = {metric_stages, countof(metric_stages) - 1},
	    [SET_STEPS] = {metric_steps, countof(metric_steps) - 1},
	    [SET_CLASSES] = {metric_classes, countof(metric_classes) - 1},
	    [SET_SLO] = {metric_slo, countof(metric_slo) - 1},
	    [SET_CAUSES] = {metric_causes, countof(metric_causes) - 1},
	    [SET_MOVES] = {metric_moves, countof(metric_moves) - 1},
	    [SET_REMOVALS] = {metric_removals, countof(metric_removals) - 1},
	    [SET_SOURCES] = {metric_sources, countof(metric_sources) - 1},
	    [SET_CACHE] = {metric_cache, countof(metric_cache) - 1},
	    [SET_RIGHT] = {metric_right, countof(metric_right) - 1},
	},
};

/* ---- layout ---- */

/* A copy: what the caller hands over need not outlive the call. */
static struct metric_values metric_copy(const char *const *values)
{
	struct metric_values set = {NULL, 0};
	char **copy;
	size_t i;

	while (values != NULL && values[set.n] != NULL)
		set.n++;
	copy = xcalloc(set.n + 1, sizeof(*copy));
	for (i = 0; i < set.n; i++)
		copy[i] = xstrdup(values[i]);
	set.v = (const char *const *)copy;
	return set;
}

static void metric_forget(struct metric_values *set)
{
	char **v = (char **)(uintptr_t)set->v;
	size_t i;

	for (i = 0; i < set->n; i++)
		free(v[i]);
	free(v);
	*set = (struct metric_values){NULL, 0};
}

static void metric_lay(enum metric_id id)
{
	const struct metric_desc *d = &metric_table[id];
	struct metric_layout *l = &metric_state.layout[id];
	size_t i;

	*l = (struct metric_layout){.base = metric_state.used, .series = 1, .stride = 1};
	for (i = 0; i < METRIC_LABELS; i++) {
		l->sizes[i] = 1;
		if (d->labels[i].set != SET_NONE)
			l->sizes[i] = metric_state.sets[d->labels[i].set].n + 1;
		l->series *= l->sizes[i];
	}
	while (l->buckets < METRIC_BUCKETS && d->buckets[l->buckets] > 0)
		l->buckets++;
	/* Buckets, the one without bound, and the sum in microseconds; the count is the sum of the buckets. */
	if (d->type == METRIC_HISTOGRAM)
		l->stride = l->buckets + 2;
	metric_state.used += l->series * l->stride;
}

void metrics_register(const struct metric_labels *known)
{
	const char *const *const lists[] = {
	    [SET_AGENTS] = known->agents,
	    [SET_PROVIDERS] = known->providers,
	    [SET_PERMISSIONS] = known->permissions,
	    [SET_HANDLERS] = known->handlers,
	};
	int id;

	for (id = SET_FIXED; id < SET_MAX; id++) {
		metric_forget(&metric_state.sets[id]);
		metric_state.sets[id] = metric_copy(lists[id]);
	}
	metric_state.used = 0;
	metric_state.master = getpid();
	for (id = 0; id < METRIC_MAX; id++)
		metric_lay((enum metric_id)id);
	/* Raise SHM_METRICS_MAX when the tables have outgrown it. */
	BUG_ON(metric_state.used > SHM_METRICS_MAX);
}

/* FNV-1a over a text and its end. */
static uint64_t metric_hash(uint64_t h, const char *z)
{
	do
		h = (h ^ (unsigned char)*z) * UINT64_C(0x100000001b3);
	while (*z++ != '\0');
	return h;
}

uint64_t metrics_layout(void)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	size_t i, k;

	for (i = 0; i < METRIC_MAX; i++) {
		h = metric_hash(h, metric_table[i].name);
		h = (h ^ metric_state.layout[i].base) * UINT64_C(0x100000001b3);
	}
	for (i = 0; i < SET_MAX; i++)
		for (k = 0; k < metric_state.sets[i].n; k++)
			h = metric_hash(h, metric_state.sets[i].v[k]);
	return h;
}

void metrics_attach(struct shm *shm, unsigned slot)
{
	BUG_ON(slot >= SHM_SLOTS_MAX || metric_state.used == 0);
	metric_state.shm = shm;
	metric_state.row = shm->slots[slot].metrics;
}

/* ---- counting ---- */

/* Position of a value in its set; unknown ones and NULL are the last, "other". */
static size_t metric_value(enum metric_set set, const char *value)
{
	const struct metric_values *v = &metric_state.sets[set];
	size_t i;

	if (value == NULL)
		return v->n;
	for (i = 0; i < v->n; i++)
		if (v->v[i][0] == value[0] && strcmp(v->v[i], value) == 0)
			return i;
	return v->n;
}

/* First cell of the series that the labels name. */
static size_t metric_cell(enum metric_id id, va_list labels)
{
	const struct metric_desc *d = &metric_table[id];
	const struct metric_layout *l = &metric_state.layout[id];
	const char *value = "";
	size_t series = 0;
	size_t i;

	for (i = 0; i < METRIC_LABELS && d->labels[i].set != SET_NONE; i++) {
		if (value != NULL)
			value = va_arg(labels, const char *);
		series = series * l->sizes[i] + metric_value(d->labels[i].set, value);
	}
	return l->base + series * l->stride;
}

/* A gauge of which the newest value counts carries the time of its writing, in 100 ms, above 32 bits of value. */
static uint64_t metric_stamped(int64_t value)
{
	uint64_t stamp = (uint64_t)(clock_mono_us() / (100 * MS_US)) & UINT32_MAX;

	if (value < 0)
		value = 0;
	if (value > UINT32_MAX)
		value = UINT32_MAX;
	return stamp << 32 | (uint64_t)value;
}

void metric_add(enum metric_id id, int64_t n, ...)
{
	va_list labels;
	size_t cell;

	BUG_ON(id >= METRIC_MAX || metric_table[id].type == METRIC_HISTOGRAM || metric_table[id].fold == FOLD_LAST);
	BUG_ON(n < 0 && metric_table[id].type == METRIC_COUNTER);
	if (metric_state.row == NULL)
		return;
	va_start(labels, n);
	cell = metric_cell(id, labels);
	va_end(labels);
	atomic_fetch_add_explicit(&metric_state.row[cell], (uint64_t)n, memory_order_relaxed);
}

void metric_set(enum metric_id id, int64_t value, ...)
{
	va_list labels;
	uint64_t stored;
	size_t cell;

	BUG_ON(id >= METRIC_MAX || metric_table[id].type != METRIC_GAUGE);
	if (metric_state.row == NULL)
		return;
	va_start(labels, value);
	cell = metric_cell(id, labels);
	va_end(labels);
	stored = metric_table[id].fold == FOLD_LAST ? metric_stamped(value) : (uint64_t)value;
	atomic_store_explicit(&metric_state.row[cell], stored, memory_order_relaxed);
}

size_t metric_series(enum metric_id id, ...)
{
	va_list labels;
	size_t cell;

	BUG_ON(id >= METRIC_MAX);
	va_start(labels, id);
	cell = metric_cell(id, labels);
	va_end(labels);
	return cell;
}

void metric_series_add(size_t series, int64_t n)
{
	if (metric_state.row != NULL)
		atomic_fetch_add_explicit(&metric_state.row[series], (uint64_t)n, memory_order_relaxed);
}

void metric_observe(enum metric_id id, double seconds, ...)
{
	va_list labels;
	size_t cell;

	BUG_ON(id >= METRIC_MAX);
	va_start(labels, seconds);
	cell = metric_cell(id, labels);
	va_end(labels);
	metric_series_observe(id, cell, seconds);
}

void metric_series_observe(enum metric_id id, size_t cell, double seconds)
{
	const struct metric_desc *d = &metric_table[id];
	const struct metric_layout *l = &metric_state.layout[id];
	size_t bucket = 0;

	BUG_ON(id >= METRIC_MAX || d->type != METRIC_HISTOGRAM);
	if (metric_state.row == NULL)
		return;
	if (!(seconds > 0))
		seconds = 0;
	if (seconds > 1e9)
		seconds = 1e9;
	while (bucket < l->buckets && seconds > d->buckets[bucket])
		bucket++;
	atomic_fetch_add_explicit(&metric_state.row[cell + bucket], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&metric_state.row[cell + l->buckets + 1], (uint64_t)(seconds * 1e6 + 0.5),
				  memory_order_relaxed);
}

void metrics_reset_gauges(struct shm *shm, unsigned slot)
{
	const struct metric_layout *l;
	int id;
	size_t i;

	BUG_ON(slot >= SHM_SLOTS_MAX);
	for (id = 0; id < METRIC_MAX; id++) {
		l = &metric_state.layout[id];
		if (metric_table[id].type != METRIC_GAUGE || metric_table[id].fold == FOLD_LAST)
			continue;
		for (i = 0; i < l->series * l->stride; i++)
			atomic_store_explicit(&shm->slots[slot].metrics[l->base + i], 0, memory_order_relaxed);
	}
}

/* ---- adding up ---- */

/* One cell over all slots. */
static int64_t metric_fold(const struct shm *shm, enum metric_fold fold, size_t cell)
{
	uint32_t slots = atomic_load_explicit(&shm->slots_used, memory_order_acquire);
	uint64_t total = 0;
	uint64_t v;
	uint32_t i;

	for (i = 0; i < slots && i < SHM_SLOTS_MAX; i++) {
		v = atomic_load_explicit(&shm->slots[i].metrics[cell], memory_order_relaxed);
		if (fold == FOLD_SUM)
			total += v;
		else if (v > total)
			total = v;
	}
	if (fold == FOLD_LAST)
		total &= UINT32_MAX;
	return (int64_t)total;
}

/* All series of a metric; of a histogram the number of observations. */
static int64_t metric_sum(const struct shm *shm, enum metric_id id)
{
	const struct metric_layout *l = &metric_state.layout[id];
	enum metric_fold fold = metric_table[id].fold;
	size_t cells = metric_table[id].type == METRIC_HISTOGRAM ? l->stride - 1 : l->stride;
	int64_t total = 0;
	int64_t v;
	size_t i;
	size_t j;

	for (i = 0; i < l->series; i++) {
		for (j = 0; j < cells; j++) {
			v = metric_fold(shm, fold, l->base + i * l->stride + j);
			if (fold == FOLD_SUM)
				total += v;
			else if (v > total)
				total = v;
		}
	}
	return total;
}

static double metric_rate(const struct shm *shm)
{
	int64_t completed = metric_sum(shm, M_DEBATES_COMPLETED);

	if (completed == 0)
		return 0;
	return (double)metric_sum(shm, M_CONSENSUS_REACHED) / (double)completed;
}

int64_t metric_series_total(size_t series)
{
	return metric_state.shm != NULL ? metric_fold(metric_state.shm, FOLD_SUM, series) : 0;
}

double metric_total(enum metric_id id)
{
	BUG_ON(id >= METRIC_MAX);
	if (metric_state.shm == NULL)
		return 0;
	if (metric_table[id].fold == FOLD_RATIO)
		return metric_rate(metric_state.shm);
	return (double)metric_sum(metric_state.shm, id);
}

double metric_total_of(enum metric_id id, unsigned label, const char *prefix)
{
	const struct metric_layout *l;
	enum metric_set set;
	double total = 0;
	size_t series;
	size_t at;
	size_t i;

	BUG_ON(id >= METRIC_MAX || label >= METRIC_LABELS || metric_table[id].type == METRIC_HISTOGRAM);
	if (metric_state.shm == NULL)
		return 0;
	l = &metric_state.layout[id];
	set = metric_table[id].labels[label].set;
	for (series = 0; series < l->series; series++) {
		at = series;
		for (i = METRIC_LABELS - 1; i > label; i--)
			at /= l->sizes[i];
		at %= l->sizes[label];
		if (at < metric_state.sets[set].n && strncmp(metric_state.sets[set].v[at], prefix, strlen(prefix)) == 0)
			total +=
			    (double)metric_fold(metric_state.shm, metric_table[id].fold, l->base + series * l->stride);
	}
	return total;
}

/* ---- printing ---- */

static const char *metric_value_name(enum metric_set set, size_t i)
{
	return i < metric_state.sets[set].n ? metric_state.sets[set].v[i] : "other";
}

/* Label values come from configuration too, so they are escaped. */
static void metric_escape(struct buf *out, const char *s)
{
	for (; *s != '\0'; s++) {
		if (*s == '\\' || *s == '"')
			buf_addc(out, '\\');
		if (*s == '\n')
			buf_addz(out, "\\n");
		else
			buf_addc(out, *s);
	}
}

/* name{a="x",b="y"}, with the bucket's bound as a last label if there is one. */
static void metric_print_name(struct buf *out, enum metric_id id, size_t series, const char *suffix, const char *bound)
{
	const struct metric_desc *d = &metric_table[id];
	const struct metric_layout *l = &metric_state.layout[id];
	size_t at[METRIC_LABELS] = {0};
	const char *before = "{";
	size_t i;

	for (i = METRIC_LABELS; i-- > 0;) {
		at[i] = series % l->sizes[i];
		series /= l->sizes[i];
	}
	buf_printf(out, "%s%s", d->name, suffix);
	for (i = 0; i < METRIC_LABELS && d->labels[i].set != SET_NONE; i++) {
		buf_printf(out, "%s%s=\"", before, d->labels[i].name);
		metric_escape(out, metric_value_name(d->labels[i].set, at[i]));
		buf_addc(out, '"');
		before = ",";
	}
	if (bound != NULL)
		buf_printf(out, "%sle=\"%s\"", before, bound);
	if (bound != NULL || before[0] == ',')
		buf_addc(out, '}');
	buf_addc(out, ' ');
}

/* Millionths as a decimal number, exactly. */
static void metric_print_millionths(struct buf *out, int64_t n)
{
	buf_printf(out, "%lld.%06lld\n", (long long)(n / 1000000), (long long)(n % 1000000));
}

static void metric_print_histogram(struct buf *out, enum metric_id id, size_t series, const int64_t *cells)
{
	const struct metric_desc *d = &metric_table[id];
	const struct metric_layout *l = &metric_state.layout[id];
	int64_t count = 0;
	char bound[32];
	size_t i;

	for (i = 0; i <= l->buckets; i++) {
		count += cells[i];
		if (i < l->buckets)
			snprintf(bound, sizeof(bound), "%g", d->buckets[i]);
		metric_print_name(out, id, series, "_bucket", i < l->buckets ? bound : "+Inf");
		buf_printf(out, "%lld\n", (long long)count);
	}
	metric_print_name(out, id, series, "_sum", NULL);
	metric_print_millionths(out, cells[l->buckets + 1]);
	metric_print_name(out, id, series, "_count", NULL);
	buf_printf(out, "%lld\n", (long long)count);
}

static void metric_print_series(const struct shm *shm, struct buf *out, enum metric_id id, size_t series, bool always)
{
	const struct metric_desc *d = &metric_table[id];
	const struct metric_layout *l = &metric_state.layout[id];
	int64_t cells[METRIC_BUCKETS + 2] = {0};
	bool zero = true;
	size_t i;

	for (i = 0; i < l->stride; i++) {
		cells[i] = metric_fold(shm, d->fold, l->base + series * l->stride + i);
		zero = zero && cells[i] == 0;
	}
	if (zero && !always)
		return;
	if (d->type == METRIC_HISTOGRAM) {
		metric_print_histogram(out, id, series, cells);
		return;
	}
	metric_print_name(out, id, series, "", NULL);
	if (id == M_COST_MICRO)
		metric_print_millionths(out, cells[0]);
	else
		buf_printf(out, "%lld\n", (long long)cells[0]);
}

/* Is the series made of known values only? "other" is shown when something is in it. */
static bool metric_is_known(enum metric_id id, size_t series)
{
	const struct metric_desc *d = &metric_table[id];
	const struct metric_layout *l = &metric_state.layout[id];
	size_t i;

	for (i = METRIC_LABELS; i-- > 0;) {
		if (d->labels[i].set != SET_NONE && series % l->sizes[i] == l->sizes[i] - 1)
			return false;
		series /= l->sizes[i];
	}
	return true;
}

static void metric_head(struct buf *out, const char *name, const char *type, const char *help)
{
	buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void metric_print(const struct shm *shm, struct buf *out, enum metric_id id)
{
	static const char *const types[] = {"counter", "gauge", "histogram"};
	const struct metric_desc *d = &metric_table[id];
	const struct metric_layout *l = &metric_state.layout[id];
	bool small = l->series * l->stride <= METRIC_ALWAYS;
	size_t i;

	metric_head(out, d->name, types[d->type], d->help);
	if (d->fold == FOLD_RATIO) {
		buf_printf(out, "%s %.6g\n", d->name, metric_rate(shm));
		return;
	}
	for (i = 0; i < l->series; i++)
		metric_print_series(shm, out, id, i, i == 0 || (small && metric_is_known(id, i)));
}

/* ---- the node ---- */

static void metrics_render_workers(const struct shm *shm, struct buf *out)
{
	static const char *const names[] = {[SLOT_BOOTING] = "booting",
					    [SLOT_SERVING] = "serving",
					    [SLOT_DRAINING] = "draining",
					    [SLOT_EXITING] = "exiting"};
	unsigned count[countof(names)] = {0};
	uint32_t slots = atomic_load(&shm->slots_used);
	uint32_t state;
	uint32_t i;

	for (i = 0; i < slots && i < SHM_SLOTS_MAX; i++) {
		state = atomic_load(&shm->slots[i].state);
		if (state < countof(names))
			count[state]++;
	}
	metric_head(out, "aragora_workers", "gauge", "Worker processes by state.");
	for (i = SLOT_BOOTING; i < countof(names); i++)
		buf_printf(out, "aragora_workers{state=\"%s\"} %u\n", names[i], count[i]);
}

static void metrics_render_node(const struct shm *shm, struct buf *out)
{
	struct node_usage usage;
	int64_t started = atomic_load(&shm->started_ms);
	int64_t up = clock_wall_ms() - started;

	node_usage(shm, metric_state.master, &usage);
	metric_head(out, "process_resident_memory_bytes", "gauge", "Resident memory of all workers.");
	buf_printf(out, "process_resident_memory_bytes %llu\n", (unsigned long long)usage.rss_bytes);
	metric_head(out, "process_cpu_seconds_total", "counter",
		    "CPU time of the master and all workers, ended ones included.");
	buf_addz(out, "process_cpu_seconds_total ");
	metric_print_millionths(out, usage.cpu_us);
	metric_head(out, "process_open_fds", "gauge", "Open file descriptors of the master and all workers.");
	buf_printf(out, "process_open_fds %llu\n", (unsigned long long)usage.open_fds);
	metric_head(out, "process_start_time_seconds", "gauge", "Start of the master, seconds since the epoch.");
	buf_printf(out, "process_start_time_seconds %lld.%03lld\n", (long long)(started / 1000),
		   (long long)(started % 1000));
	metric_head(out, "aragora_uptime_seconds", "gauge", "Seconds since the start of the master.");
	buf_printf(out, "aragora_uptime_seconds %lld\n", (long long)(up > 0 ? up / 1000 : 0));
	metric_head(out, "aragora_info", "gauge", "Version of the server.");
	buf_printf(out, "aragora_info{version=\"%s\"} 1\n", ARAGORA_VERSION);
}

void metrics_render(const struct shm *shm, struct buf *out)
{
	int id;

	BUG_ON(metric_state.used == 0);
	for (id = 0; id < METRIC_MAX; id++)
		metric_print(shm, out, (enum metric_id)id);
	metrics_render_workers(shm, out);
	metrics_render_node(shm, out);
}
