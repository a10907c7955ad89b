/* SPDX-License-Identifier: MIT */
/*
 * Private to worker/audit: the record of an event, its canonical form, signatures and hashes.
 *
 * signature = hex HMAC-SHA256(key, canonical JSON of created_at and the columns id … key_id);
 * event_hash = hex SHA-256(canonical JSON of seq, created_at and the columns id … previous_hash). Canonical: keys
 * sorted, compact, UTF-8 (common/json.h). previous_hash of the first event is empty. An anchor is the signed statement
 * that event `seq` had the hash `hash`: "anchor|seq|hash|made_at"; the head of the chain is signed as
 * "head|seq|hash|made_at".
 */
#ifndef WORKER_AUDIT_AUDIT_LOG_H
#define WORKER_AUDIT_AUDIT_LOG_H

#include "common/sign_key.h"
#include "worker/audit/audit.h"

/* Text columns, in the order of both tables. audit_inbox ends with signature. */
enum audit_column {
	AUDIT_ID,
	AUDIT_CATEGORY,
	AUDIT_ACTION,
	AUDIT_OUTCOME,
	AUDIT_ACTOR_ID,
	AUDIT_ACTOR_KIND,
	AUDIT_IMPERSONATOR,
	AUDIT_ORG,
	AUDIT_WORKSPACE,
	AUDIT_RESOURCE_TYPE,
	AUDIT_RESOURCE_ID,
	AUDIT_IP,
	AUDIT_AGENT,
	AUDIT_CORRELATION,
	AUDIT_REASON,
	AUDIT_DETAILS,
	AUDIT_KEY_ID,
	AUDIT_SIGNATURE,
	AUDIT_PREVIOUS,
	AUDIT_HASH,
	AUDIT_COLUMNS
};
#define AUDIT_INBOX_COLUMNS (AUDIT_SIGNATURE + 1)
extern const char *const audit_column_names[AUDIT_COLUMNS];

/* "created_at, id, …, signature" for SELECT and INSERT; audit_chain_list begins with seq and ends with event_hash. */
#define AUDIT_INBOX_LIST                                                                                        \
	"created_at, id, category, action, outcome, actor_id, actor_kind, impersonator, org_id, workspace_id, " \
	"resource_type, resource_id, ip_address, user_agent, correlation_id, reason, details, key_id, signature"
#define AUDIT_CHAIN_LIST "seq, " AUDIT_INBOX_LIST ", previous_hash, event_hash"

struct audit_key {
	uint8_t key[SIGN_KEY_MAX];
	size_t n;
	char id[SIGN_KEY_ID]; /* "audit-" and 8 hex digits */
};

/* From audit.signing_key, or data_dir/keys/audit.key, which is made when it is not there. */
bool audit_key_load(const struct conf *c, struct audit_key *out, struct error *err) MUST_CHECK;
/* Hex of the HMAC. */
void audit_key_sign(const struct audit_key *k, struct str text, char out[SHA256_HEX]);

struct audit_record {
	int64_t seq, created_at;
	struct str v[AUDIT_COLUMNS];
};

/* Who acts, and how the server knows of it. */
struct audit_who {
	struct str actor_id, actor_kind, impersonator, org_id, workspace_id, ip, agent, correlation;
};
struct audit_who audit_who_request(const struct http_request *req);
/* ctx NULL: the service itself. */
struct audit_who audit_who_context(const struct context *ctx);

/* Everything but id, signature and hashes; strings in the arena, cleaned and cut. */
void audit_record_fill(struct arena *a, const struct audit_who *who, const struct audit_event *e,
		       struct audit_record *out);
/* Names and signs it. */
void audit_record_sign(struct arena *a, const struct audit_key *k, struct audit_record *r);
/* Is the signature that of this key? */
bool audit_record_signed(struct arena *a, const struct audit_key *k, const struct audit_record *r);
/* event_hash of a record whose other columns are set. */
void audit_record_hash(struct arena *a, const struct audit_record *r, char out[SHA256_HEX]);
/* Row `row` of a query for AUDIT_INBOX_LIST (chained: AUDIT_CHAIN_LIST). */
void audit_record_read(const struct db_rows *rows, size_t row, bool chained, struct audit_record *out);
/* The statement that stores a record in audit_inbox, and its values. */
#define AUDIT_INSERT                                                                                                 \
	"INSERT INTO audit_inbox (" AUDIT_INBOX_LIST ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, " \
	"$13, $14, $15, $16, $17, $18, $19)"
void audit_record_values(const struct audit_record *r, struct db_val out[AUDIT_INBOX_COLUMNS + 1]);

/* Retention has removed the beginning of the chain, up to details.through_seq. */
#define AUDIT_RETAINED "data.audit_retained"

/* What a signature of the head or of an anchor is over: "head|12|ab…|1700000000000". In the arena. */
struct str audit_statement(struct arena *a, const char *kind, int64_t seq, struct str hash, int64_t made_at);

/* ---- reading: by coroutines (db_query) and by subcommands (dba_query) alike ---- */

struct audit_source {
	bool (*query)(void *arg, struct arena *a, const char *sql, const struct db_val *args, size_t n,
		      struct db_rows *rows, struct error *err);
	void *arg;
};
/* Of a worker; waits. */
struct audit_source audit_source_db(struct db *db);

/* ---- asking (query.c) ---- */

/* An empty text or 0 does not narrow. */
struct audit_filter {
	int64_t from_ms, until_ms; /* from <= created_at < until */
	int64_t after_seq, before_seq;
	struct str category, action, outcome, actor, org, workspace, resource_type, resource, text;
	bool only_org; /* an empty org means events of no organization, not of all */
};
/* " WHERE …" with the parameters from $1 on, whose values it adds: room for AUDIT_FILTER_ARGS, n how many there are. */
#define AUDIT_FILTER_ARGS 16
void audit_filter_where(const struct audit_filter *f, struct arena *a, struct buf *sql,
			struct db_val args[AUDIT_FILTER_ARGS], size_t *n);
/* Is the filter's category or outcome one that does not exist? False with err. */
bool audit_filter_ok(const struct audit_filter *f, struct error *err) MUST_CHECK;
/* Newest first, and how many there are in all. */
bool audit_list(const struct audit_source *src, struct arena *a, const struct audit_filter *f, int64_t limit,
		int64_t offset, struct db_rows *rows, int64_t *total, struct error *err) MUST_CHECK;
/* Calls fn for each event, oldest first, until it returns false. */
bool audit_each(const struct audit_source *src, const struct audit_filter *f,
		bool (*fn)(void *arg, struct arena *a, const struct audit_record *r), void *arg,
		struct error *err) MUST_CHECK;
/* {name: count} by a column: category, outcome, action. New reference; NULL with err. */
json_t *audit_count_by(const struct audit_source *src, struct arena *a, const struct audit_filter *f,
		       const char *column, struct error *err);
/* Times of the oldest and the newest event, 0: none. */
bool audit_bounds(const struct audit_source *src, struct arena *a, const struct audit_filter *f, int64_t *oldest_ms,
		  int64_t *newest_ms, struct error *err) MUST_CHECK;

/* ---- showing (format.c) ---- */

/* The event as clients see it: times as ISO texts, details as an object. New reference. */
json_t *audit_show(struct arena *a, const struct audit_record *r);

enum audit_format { AUDIT_JSON, AUDIT_JSONL, AUDIT_CSV, AUDIT_CEF, AUDIT_SYSLOG, AUDIT_FORMATS };
/* False: there is none of this name. */
bool audit_format_find(struct str name, enum audit_format *out) MUST_CHECK;
const char *audit_format_type(enum audit_format f);      /* media type */
const char *audit_format_extension(enum audit_format f); /* of a file */
/* An export: begin, events, end with their number. */
void audit_format_begin(enum audit_format f, struct buf *out);
void audit_format_add(enum audit_format f, struct arena *a, const struct audit_record *r, bool first, struct buf *out);
void audit_format_end(enum audit_format f, int64_t count, struct buf *out);

/* The document that an auditor for SOC 2 starts from: period, integrity, summary, evidence by criterion. */
json_t *audit_report(const struct audit_source *src, const struct audit_key *k, struct arena *a,
		     const struct audit_filter *f, struct error *err);

/* ---- checking (check.c) ---- */

#define AUDIT_ERRORS_MAX 20

struct audit_problem {
	int64_t seq; /* of the first event that is not as it should be */
	char what[160];
};

struct audit_check {
	/* Asked: 0 is the first, the last event that is there. */
	int64_t from, to;
	/* A statement that somebody has noted elsewhere (the log, paper); seq 0: none. */
	int64_t noted_seq;
	struct str noted_hash;
	/* Found. */
	int64_t first, last; /* numbers of the events that were checked; 0: there were none */
	int64_t events, anchors, retained_from, pending, pending_since;
	int64_t foreign; /* signatures by keys that are not here: neither right nor wrong */
	char foreign_key[SIGN_KEY_ID];
	int64_t problems;
	struct audit_problem v[AUDIT_ERRORS_MAX]; /* the first of them, in the order of seq */
};

/* Walks the chain. False: it could not be read; what was found wrong stands in *c. */
bool audit_check_run(const struct audit_source *src, const struct audit_key *k, struct audit_check *c,
		     struct error *err) MUST_CHECK;
/* {valid, errors, …} for people and programs. New reference. */
json_t *audit_check_json(const struct audit_check *c);

/* ---- blocking, for subcommands (command.c) ---- */

struct dba;
struct audit_source audit_source_dba(struct dba *d);

/* ---- the moving part (notes.c, seal.c) ---- */

struct audit_notes;
struct audit_notes *audit_notes_open(struct worker *w, const struct audit_key *k);
/* Harmless when full: counted. */
void audit_notes_add(struct audit_notes *n, const struct audit_who *who, const struct audit_event *e);
bool audit_notes_settled(const struct audit_notes *n);
void audit_notes_close(struct audit_notes *n);

struct audit_seal;
struct audit_seal *audit_seal_open(struct worker *w, const struct audit_key *k);
void audit_seal_start(struct audit_seal *s);
void audit_seal_close(struct audit_seal *s);

struct audit {
	struct worker *w;
	struct audit_key key;
	struct audit_notes *notes;
	struct audit_seal *seal;
};

#endif
