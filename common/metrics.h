/* SPDX-License-Identifier: MIT */
/*
 * Metrics live in shared memory, one row of cells per slot, so that a scrape on any worker shows the node. All series
 * are registered by the master before the fork from the table below and configuration (providers, agents): label values
 * that are not known are counted as "other". Counters of a slot are never zeroed; gauges are zeroed at reap.
 */
#ifndef COMMON_METRICS_H
#define COMMON_METRICS_H

#include "common/shm.h"
#include "common/str.h"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };
/* How the slots' cells become one value; last: the one written last, ratio: computed when read. */
enum metric_fold { FOLD_SUM, FOLD_MAX, FOLD_LAST, FOLD_RATIO };

/* The table with type, fold, labels and help is in metrics.c. */
enum metric_id {
	M_DEBATES_TOTAL,      /* aragora_debates_total */
	M_DEBATES_COMPLETED,  /* aragora_debates_completed */
	M_DEBATES_FAILED,     /* aragora_debates_failed */
	M_BATCHES_ENDED,      /* aragora_batches_ended_total */
	M_ACTIVE_DEBATES,     /* aragora_active_debates */
	M_QUEUED_DEBATES,     /* aragora_queued_debates, set by the clerk, FOLD_LAST: a former clerk does not count */
	M_DEBATE_DURATION,    /* aragora_debate_duration_seconds{outcome} histogram 1 5 10 30 60 120 300 600 900 */
	M_CONSENSUS_REACHED,  /* aragora_consensus_reached_total */
	M_MATCHES,            /* aragora_matches_total: debates by which agents were rated */
	M_OUTCOMES,           /* aragora_debate_outcomes_total{result} right, wrong: as recorded from outside */
	M_EARLY_STOPS,        /* aragora_debate_early_termination_total{source}: debates that saved rounds */
	M_CONSENSUS_RATE,     /* aragora_consensus_rate: reached / completed, computed at scrape */
	M_AGENT_RESPONSE,     /* aragora_agent_response_seconds{agent} histogram .1 .5 1 2.5 5 10 30 60 120 240 */
	M_AGENT_ERRORS,       /* aragora_agent_errors_total{agent,error_type} */
	M_AGENT_FALLBACKS,    /* aragora_agent_fallbacks_total{reason} */
	M_AGENT_THROTTLED,    /* aragora_agent_throttled_total{provider}: calls that waited for a limit of ours */
	M_EMBEDDINGS,         /* aragora_embeddings_total{result} hit: cached, loaded, failed: texts */
	M_TOKENS_USED,        /* aragora_tokens_used_total{provider,direction} input output */
	M_COST_MICRO,         /* aragora_debate_cost_usd_total, printed in dollars */
	M_STEPS_ABANDONED,    /* aragora_steps_abandoned_total */
	M_TAKEOVERS,          /* aragora_debate_takeovers_total */
	M_EVENTS_COMMITTED,   /* aragora_events_committed_total */
	M_JOURNAL_BATCHES,    /* aragora_journal_batches_total */
	M_BREAKER_STATE,      /* aragora_circuit_breaker_state{agent} 0 closed 1 half-open 2 open, FOLD_MAX */
	M_HTTP_REQUESTS,      /* aragora_http_requests_total{method,status} status is numeric text */
	M_HTTP_DURATION,      /* aragora_http_request_duration_seconds{method} .001 .005 .01 .05 .1 .25 .5 1 2.5 5 10 */
	M_HTTP_CONNECTIONS,   /* aragora_http_connections_active */
	M_H2_CONNECTIONS,     /* aragora_http2_connections_active */
	M_H2_STREAMS,         /* aragora_http2_streams_active */
	M_H2_REFUSED,         /* aragora_http2_streams_refused_total */
	M_H2_RESETS,          /* aragora_http2_streams_reset_total{direction} in out */
	M_H2_ENDED,           /* aragora_http2_connections_ended_total{reason} */
	M_WS_CONNECTIONS,     /* aragora_ws_connections_active */
	M_SSE_CONNECTIONS,    /* aragora_sse_connections_active */
	M_PEERS_UNCOUNTED,    /* aragora_uncounted_connections_total */
	M_WS_MESSAGES,        /* aragora_websocket_messages_total{direction} in out */
	M_STREAM_TOPICS,      /* aragora_stream_topics */
	M_STREAM_DROPPED,     /* aragora_stream_ephemeral_dropped_total */
	M_BUS_DROPPED,        /* aragora_bus_dropped_total */
	M_DB_ERRORS,          /* aragora_db_errors_total */
	M_DB_COMMIT,          /* aragora_db_commit_seconds histogram .0005 .001 .0025 .005 .01 .025 .05 .1 .5 1 */
	M_DB_QUERY,           /* aragora_db_query_seconds histogram, as commits; with waiting for a connection */
	M_DB_POOL,            /* aragora_db_connection_pool_size{state} idle busy waiting */
	M_DB_RECONNECTS,      /* aragora_db_reconnects_total */
	M_DB_RETRIES,         /* aragora_db_retries_total */
	M_LOG_DROPPED,        /* aragora_log_lines_dropped_total */
	M_QUOTA_REFUSED,      /* aragora_quota_refusals_total */
	M_BUDGET_REFUSED,     /* aragora_budget_refusals_total */
	M_TENANT_REFUSED,     /* aragora_tenant_refused_total */
	M_AUTH_FAILURES,      /* aragora_auth_failures_total{reason} missing invalid expired forbidden ... */
	M_RBAC_CHECKS,        /* aragora_rbac_permission_checks_total{permission,result} allowed denied */
	M_RBAC_DENIED,        /* aragora_rbac_permission_denied_total{permission,handler} */
	M_RBAC_LATENCY,       /* aragora_rbac_check_latency_seconds histogram .0001 .0005 .001 .005 .01 .025 */
	M_APPROVALS,          /* aragora_approvals_total{result} requested approved rejected used refused */
	M_IMPERSONATE,        /* aragora_admin_impersonate_total */
	M_BREAK_GLASS,        /* aragora_break_glass_total */
	M_WORKER_RESTARTS,    /* aragora_worker_restarts_total, written by the master in slot 0's row */
	M_CO_COUNT,           /* aragora_coroutines */
	M_ENCRYPTIONS,        /* aragora_encryption_operations_total{operation,store} encrypt decrypt */
	M_ENCRYPTION_LATENCY, /* aragora_encryption_operation_latency_seconds{operation} */
	M_ENCRYPTION_ERRORS,  /* aragora_encryption_errors_total{operation,error_type} */
	M_MIGRATION_RECORDS,  /* aragora_migration_records_total{store,status} migrated skipped failed */
	M_MIGRATION_ERRORS,   /* aragora_migration_errors_total{store,error_type} */
	M_STATIC_LOOKUPS,     /* aragora_static_lookups_total{result} hit loaded missing failed */
	M_COMPRESSION_BYTES,  /* aragora_http_compression_bytes_total{direction} in: before, out: after */
	M_REDIS_CONNECTIONS,  /* aragora_redis_connections: two per worker when all is well */
	M_REDIS_FAILURES,     /* aragora_redis_failures_total: connections lost and attempts that failed */
	M_REDIS_COMMANDS,     /* aragora_redis_commands_total{outcome} ok error abandoned */
	M_REDIS_LATENCY,      /* aragora_redis_latency_seconds histogram */
	M_BUS_NODES,          /* aragora_bus_node_messages_total{direction} in out lost */
	M_WEBHOOK_DELIVERIES, /* aragora_webhook_deliveries_total{status,event_type} delivered retrying dead uncertain
			       */
	M_WEBHOOK_LATENCY,    /* aragora_webhook_delivery_latency_seconds{event_type} of delivered ones */
	M_WEBHOOK_RETRIES,    /* aragora_webhook_retries_total{event_type} */
	M_WEBHOOK_DEAD,       /* aragora_webhook_dead_lettered_total{event_type} */
	M_WEBHOOK_BREAKER,   /* aragora_webhook_circuit_breaker_state{endpoint} 0 all closed 1 one is open, FOLD_LAST */
	M_DELIVERIES_ACTIVE, /* aragora_deliveries_active */
	M_DELIVERIES_PENDING,       /* aragora_deliveries_pending, set by the clerk, FOLD_LAST */
	M_DELIVERIES_DEAD,          /* aragora_deliveries_dead_letters, the same */
	M_DELIVERIES_OLDEST,        /* aragora_deliveries_oldest_seconds, the same */
	M_RECEIPT_CLEANUPS,         /* aragora_receipt_cleanup_total */
	M_RECEIPT_CLEANUP_DURATION, /* aragora_receipt_cleanup_duration_seconds */
	M_RECEIPTS_DELETED,         /* aragora_receipts_deleted_total */
	M_RECEIPT_STAMPS,           /* aragora_receipt_timestamps_total */
	M_RECEIPT_STAMP_FAILURES,   /* aragora_receipt_timestamp_failures_total */
	M_RETENTION_DELETED,        /* aragora_retention_deleted_total{rule}, rules of worker/retention/rules.c */
	M_MAINTENANCE,              /* aragora_maintenance_mode, FOLD_LAST */
	M_AUDIT_EVENTS,             /* aragora_audit_events_total{category,outcome}: chained by this node */
	M_AUDIT_PENDING,            /* aragora_audit_pending: written, not yet chained, FOLD_LAST */
	M_AUDIT_DROPPED,            /* aragora_audit_dropped_total */
	M_AUDIT_FAILURES,           /* aragora_audit_failures_total */
	M_TRACES,                   /* aragora_debate_traces_total{result} written failed */
	M_RATE_DECISIONS,           /* aragora_rate_limit_decisions_total{decision} allowed refused: requests */
	M_RATE_REJECTIONS,          /* aragora_rate_limit_rejections_total{limit_type} */
	M_RATE_USAGE,               /* aragora_rate_limit_bucket_usage, set by the clerk, FOLD_LAST */
	M_RATE_EVICTIONS,           /* aragora_rate_limit_evictions_total, counted by the clerk */
	M_RATE_REDIS,               /* aragora_rate_limit_redis_operations_total{outcome} */
	M_RATE_REDIS_LATENCY,       /* aragora_rate_limit_redis_latency_seconds */
	M_RATE_BACKEND,             /* aragora_rate_limit_backend_status: workers whose counts go to Redis */
	M_RATE_BREAKER,             /* aragora_rate_limit_circuit_breaker_state 0 closed 1 half-open 2 open, FOLD_MAX */
	M_RATE_FALLBACK,            /* aragora_rate_limit_fallback_requests_total */
	M_RATE_DISTRIBUTED,         /* aragora_rate_limit_distributed_rejections_total */
	M_HTTP_STAGE,               /* aragora_http_stage_seconds{stage} receive chain handler */
	M_HTTP_REFUSED,             /* aragora_http_refused_total{step}, names of steps of the pipeline */
	M_SLO,                      /* aragora_slo_requests_total{class,outcome} good slow failed */
	M_RESPONSE_CACHE,           /* aragora_response_cache_total{result} hit miss stale dropped */
	M_KM_REUSE,                 /* aragora_km_cross_debate_reuse_total{source_type} consensus continuum knowledge */
	M_KM_OPERATIONS,            /* aragora_km_operations_total{operation,status} */
	M_KM_LATENCY,               /* aragora_km_operation_latency_seconds{operation} */
	M_KM_SYNCS,                 /* aragora_km_adapter_syncs_total{adapter,direction,status} */
	M_KM_FORWARD,               /* aragora_km_forward_sync_latency_seconds{adapter} */
	M_KM_REVERSE,               /* aragora_km_reverse_query_latency_seconds{adapter} */
	M_KM_SEMANTIC,              /* aragora_km_semantic_search_total{adapter,status} */
	M_KM_OUTCOMES,              /* aragora_km_cp_task_outcomes_total{task_type,success} */
	M_KM_SHARES,                /* aragora_km_cp_cross_workspace_shares_total */
	M_KM_CACHE_HITS,            /* aragora_km_cache_hits_total */
	M_KM_CACHE_MISSES,          /* aragora_km_cache_misses_total */
	M_KM_VECTORS,               /* aragora_km_vectors{adapter,state} current missing, FOLD_LAST */
	M_KM_PRUNED,                /* aragora_km_nodes_pruned_total{action} archived removed */
	M_KM_REFUSED,               /* aragora_km_nodes_refused_total{source} api adapter */
	M_KM_DEAD,                  /* aragora_km_dead_letters_total */
	M_MEMORY_MOVES,             /* aragora_memory_transitions_total{direction} promotion demotion */
	M_MEMORY_REMOVED,           /* aragora_memory_removed_total{reason} expired tier_limit forgotten deleted */
	M_DECISION_HITS,            /* aragora_decision_cache_hits_total */
	M_DECISION_MISSES,          /* aragora_decision_cache_misses_total */
	M_DECISION_INVALIDATIONS, /* aragora_decision_cache_invalidations_total{type} workspace policy agent tag outcome
				   */
	M_DECISION_EVICTIONS,     /* aragora_decision_cache_evictions_total */
	M_DECISION_SIZE,          /* aragora_decision_cache_size, FOLD_LAST */
	METRIC_MAX
};

/*
 * Fixes the layout of the cells: before the first fork, and never again for this segment. The label values known are
 * NULL-terminated lists; NULL: none.
 */
struct metric_labels {
	const char *const *agents, *const *providers;
	const char *const *permissions; /* of routes */
	const char *const *handlers;    /* what routes are about: the first word of their paths */
};
void metrics_register(const struct metric_labels *known);
/* Hash of what metrics_register has laid out: equal numbers mean that equal cells mean the same. */
uint64_t metrics_layout(void);
/*
 * A series looked up once, for who counts often: metric_series names it by its labels as the calls below do, and stays
 * valid until metrics_register.
 */
size_t metric_series(enum metric_id id, ...);
void metric_series_add(size_t series, int64_t n);
/* Of a counter, over all slots. */
int64_t metric_series_total(size_t series);
void metric_series_observe(enum metric_id id, size_t series, double seconds);
/* Makes this process write into the slot's row. Before it, counting does nothing. */
void metrics_attach(struct shm *shm, unsigned slot);

/* Labels are given in the order of the table; surplus ones are ignored, unknown values count as "other". */
void metric_add(enum metric_id id, int64_t n, ...) __attribute__((sentinel)); /* const char *labels…, NULL */
void metric_set(enum metric_id id, int64_t value, ...) __attribute__((sentinel));
/* seconds */
void metric_observe(enum metric_id id, double seconds, ...) __attribute__((sentinel));
/* Over all slots and all series; of a histogram the number of observations, of M_COST_MICRO micro-dollars. */
double metric_total(enum metric_id id);
/* Over the series of a counter or gauge whose label number `label` begins with `prefix`: (M_HTTP_REQUESTS, 1, "5"). */
double metric_total_of(enum metric_id id, unsigned label, const char *prefix);
/* Prometheus text format 0.0.4 of everything, including process_* of this node. */
void metrics_render(const struct shm *shm, struct buf *out);
/* Zeroes the gauges of a slot (by the master at reap). */
void metrics_reset_gauges(struct shm *shm, unsigned slot);

#endif
