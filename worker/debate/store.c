/* SPDX-License-Identifier: MIT */
/*
 * The SQL of debates as the API sees them: create, read, list, change, delete, cancel. Called by handlers and by the
 * runner. Writes of a running debate (steps, events, result) are not here but in step.c: only its owner makes them.
 */
#include "worker/debate/debate.h"

#include <ctype.h>

#include "common/clock.h"
#include "common/ids.h"
#include "common/json.h"
#include "common/tenant.h"
#include "worker/audit/audit.h"
#include "worker/delivery/delivery.h"
#include "worker/knowledge/outbox.h"
#include "worker/memory/consensus_memory.h"
#include "worker/memory/continuum.h"
#include "worker/runner/queue.h"
#include "worker/runner/run.h"
#include "worker/search/fulltext.h"
#include "worker/stream/stream.h"
#include "worker/system/maintenance.h"
#include "worker/tenancy/quota.h"
#include "worker/tenancy/spending.h"
#include "worker/worker.h"

#define STORE_COLUMNS                                                                                                  \
	"id, org_id, workspace_id, user_id, slug, task, context, title, tags, metadata, status, plan, owner, "         \
	"cancel_reason, pause_by, final_answer, result, error, error_code, receipt_id, archived, demo, "               \
	"engine_version, epoch, "                                                                                      \
	"last_seq, crashes, claim_after, running_ms, current_round, total_rounds, rounds_used, message_count, "        \
	"consensus_reached, confidence_ppm, share_ppm, cost_micro, created_at, started_at, completed_at, updated_at, " \
	"paused_at, "                                                                                                  \
	"paused_ms"
/* Lists leave the two big documents out. */
#define STORE_LIST_COLUMNS                                                                                             \
	"id, org_id, workspace_id, user_id, slug, task, '', title, tags, metadata, status, plan, owner, "              \
	"cancel_reason, pause_by, final_answer, NULL, error, error_code, receipt_id, archived, demo, engine_version, " \
	"epoch, "                                                                                                      \
	"last_seq, crashes, claim_after, running_ms, current_round, total_rounds, rounds_used, message_count, "        \
	"consensus_reached, confidence_ppm, share_ppm, cost_micro, created_at, started_at, completed_at, updated_at, " \
	"paused_at, "                                                                                                  \
	"paused_ms"

/* The columns above, in order: text members first, then numbers. */
static const size_t store_text[] = {
    offsetof(struct debate_row, id),           offsetof(struct debate_row, org_id),
    offsetof(struct debate_row, workspace_id), offsetof(struct debate_row, user_id),
    offsetof(struct debate_row, slug),         offsetof(struct debate_row, task),
    offsetof(struct debate_row, context),      offsetof(struct debate_row, title),
    offsetof(struct debate_row, tags),         offsetof(struct debate_row, metadata),
    offsetof(struct debate_row, status),       offsetof(struct debate_row, plan),
    offsetof(struct debate_row, owner),        offsetof(struct debate_row, cancel_reason),
    offsetof(struct debate_row, pause_by),     offsetof(struct debate_row, final_answer),
    offsetof(struct debate_row, result),       offsetof(struct debate_row, error),
    offsetof(struct debate_row, error_code),   offsetof(struct debate_row, receipt_id)};
static const size_t store_numbers[] = {
    offsetof(struct debate_row, archived),          offsetof(struct debate_row, demo),
    offsetof(struct debate_row, engine_version),    offsetof(struct debate_row, epoch),
    offsetof(struct debate_row, last_seq),          offsetof(struct debate_row, crashes),
    offsetof(struct debate_row, claim_after),       offsetof(struct debate_row, running_ms),
    offsetof(struct debate_row, current_round),     offsetof(struct debate_row, total_rounds),
    offsetof(struct debate_row, rounds_used),       offsetof(struct debate_row, message_count),
    offsetof(struct debate_row, consensus_reached), offsetof(struct debate_row, confidence_ppm),
    offsetof(struct debate_row, share_ppm),         offsetof(struct debate_row, cost_micro),
    offsetof(struct debate_row, created_at),        offsetof(struct debate_row, started_at),
    offsetof(struct debate_row, completed_at),      offsetof(struct debate_row, updated_at),
    offsetof(struct debate_row, paused_at),         offsetof(struct debate_row, paused_ms)};

static void store_decode(const struct db_rows *rows, size_t row, struct debate_row *out)
{
	size_t i;

	BUG_ON(rows->columns != countof(store_text) + countof(store_numbers));
	for (i = 0; i < countof(store_text); i++)
		*(struct str *)(void *)((char *)out + store_text[i]) = db_str(rows, row, i);
	for (i = 0; i < countof(store_numbers); i++)
		*(int64_t *)(void *)((char *)out + store_numbers[i]) = db_int(rows, row, countof(store_text) + i);
}

/* ---- creating ---- */

/* Up to four words of the question that carry meaning, then the day: "redis-session-cache-2026-01-04". */
static void store_slug(struct buf *out, struct str task, int64_t now_ms)
{
	static const char *const noise[] = {"the",  "and",  "for",   "our",    "are",   "was",   "with", "that",
					    "this", "what", "which", "should", "would", "could", "how",  "why",
					    "when", "from", "into",  "have",   "has",   "does",  "can"};
	struct str rest = task, word;
	char day[CLOCK_ISO_MAX];
	unsigned words = 0;

	while (words < 4 && str_split(&rest, ' ', &word)) {
		char clean[25];
		size_t i, n = 0;

		for (i = 0; i < word.n && n < sizeof(clean) - 1; i++)
			if (isalnum((unsigned char)word.p[i]))
				clean[n++] = (char)tolower((unsigned char)word.p[i]);
		clean[n] = '\0';
		for (i = 0; i < countof(noise) && strcmp(noise[i], clean) != 0; i++)
			;
		if (n < 3 || i < countof(noise))
			continue;
		buf_printf(out, "%s-", clean);
		words++;
	}
	if (words == 0)
		buf_addz(out, "debate-");
	buf_add(out, (struct str){clock_iso(day, now_ms), 10});
}

CO_FN static bool store_unique_slug(struct worker *w, struct arena *a, const struct context *ctx, struct str task,
				    int64_t now_ms, struct str *slug, struct error *err)
{
	struct buf b = BUF_INIT;
	struct db_rows rows;
	int64_t taken;

	store_slug(&b, task, now_ms);
	*slug = arena_str(a, buf_str(&b));
	buf_free(&b);
	/* The slug and what begins with it and '-', by the index: a LIKE would go through the whole workspace. */
	if (!db_query(w->db, a, "SELECT COUNT(*) FROM debates WHERE workspace_id = $1 AND slug >= $2 AND slug < $3",
		      DB_ARGS(DB_S(ctx->workspace_id), DB_S(*slug), DB_S(arena_printf(a, "%.*s.", STR_ARG(*slug)))),
		      &rows, err))
		return false;
	taken = db_int(&rows, 0, 0);
	if (taken > 0)
		*slug = arena_printf(a, "%.*s-%lld", STR_ARG(*slug), (long long)taken + 1);
	return true;
}

/* A key means something in one workspace: in another the same one begins anew. */
static struct str store_key_route(struct arena *a, const struct context *ctx)
{
	return arena_printf(a, "debates %.*s", STR_ARG(ctx->workspace_id));
}

/* A creation under this key exists: the same body gives its debate, another body is an error. */
CO_FN static bool store_replayed(struct worker *w, struct arena *a, const struct context *ctx, struct str key,
				 struct str body_hash, struct str *id, bool *replayed, struct error *err)
{
	struct db_rows rows;

	if (!db_query(w->db, a,
		      "SELECT body_hash, object_id FROM idempotency_keys"
		      " WHERE org_id = $1 AND principal = $2 AND route = $3 AND key = $4",
		      DB_ARGS(DB_S(ctx->org_id), DB_S(ctx->principal), DB_S(store_key_route(a, ctx)), DB_S(key)), &rows,
		      err))
		return false;
	*replayed = rows.count > 0;
	if (!*replayed)
		return true;
	if (!str_eq(db_str(&rows, 0, 0), body_hash))
		return error_field(err, ERR_UNPROCESSABLE, "Idempotency-Key",
				   "this Idempotency-Key was used with another body");
	*id = db_str(&rows, 0, 1);
	return true;
}

static struct db_batch *store_create_batch(struct worker *w, struct arena *a, const struct context *ctx,
					   const json_t *plan, const json_t *metadata, struct str id, struct str slug,
					   int64_t tag, int64_t now)
{
	struct db_batch *b = db_batch_new(w->db);

	db_batch_add(
	    b,
	    "INSERT INTO debates (id, org_id, workspace_id, user_id, slug, task, context, metadata, status, demo,"
	    " engine_version, plan, total_rounds, created_at, updated_at, queue_tag, method, agent_count)"
	    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'queued', $9, $10, $11, $12, $13, $13, $14, $15, $16)",
	    DB_ARGS(DB_S(id), DB_S(ctx->org_id), DB_S(ctx->workspace_id), DB_S(ctx->principal), DB_S(slug),
		    DB_S(json_get_str(plan, "task", STR(""))), DB_S(json_get_str(plan, "context", STR(""))),
		    DB_S(metadata != NULL ? json_text(a, metadata) : STR("{}")),
		    DB_I(json_get_bool(plan, "demo", false)),
		    DB_I(json_get_int(plan, "engine_version", ENGINE_VERSION)), DB_S(json_text(a, plan)),
		    DB_I(json_get_int(plan, "rounds", 1)), DB_I(now), DB_I(tag),
		    DB_S(json_get_str(plan, "consensus", STR(""))),
		    DB_I((int64_t)json_array_size(json_get_arr(plan, "agents")))),
	    1);
	audit_add_as(
	    b, w, ctx,
	    &(struct audit_event){
		.category = "debate", .action = "debate.started", .resource_type = STR("debate"), .resource_id = id});
	return b;
}

static void store_remember_key(struct db_batch *b, struct arena *a, const struct context *ctx,
			       const struct debate_birth *birth, struct str id, int64_t now)
{
	if (birth->idempotency_key.n > 0)
		db_batch_add(
		    b,
		    "INSERT INTO idempotency_keys (org_id, principal, route, key, body_hash, object_id, created_at)"
		    " VALUES ($1, $2, $3, $4, $5, $6, $7)",
		    DB_ARGS(DB_S(ctx->org_id), DB_S(ctx->principal), DB_S(store_key_route(a, ctx)),
			    DB_S(birth->idempotency_key), DB_S(birth->body_hash), DB_S(id), DB_I(now)),
		    1);
}

/* The plan, with a mark if budgets of its tenant can stop the debate: only then they are looked at round by round. */
CO_FN static const json_t *store_plan(struct worker *w, struct arena *a, const struct context *ctx, const json_t *plan)
{
	json_t *marked;

	if (json_get_bool(plan, "demo", false) || !spending_applies(w, ctx))
		return plan;
	marked = json_own(a, json_object());
	(void)json_object_update(marked, (json_t *)(uintptr_t)plan);
	json_object_set_new(marked, "shared_budgets", json_true());
	return marked;
}

CO_FN bool debate_create(struct worker *w, struct arena *a, const struct context *ctx, const struct debate_birth *birth,
			 struct str *id, bool *replayed, struct error *err)
{
	int64_t now = clock_wall_ms(), counted = -1, tag;
	struct db_batch *b;
	struct str slug;
	char uuid[UUID_LEN + 1];

	*replayed = false;
	if (birth->idempotency_key.n > 0) {
		if (!store_replayed(w, a, ctx, birth->idempotency_key, birth->body_hash, id, replayed, err))
			return false;
		if (*replayed)
			return true;
	}
	if (!maintenance_allows(w, a, err) || !queue_enter(w, a, ctx->workspace_id, &tag, err) ||
	    !store_unique_slug(w, a, ctx, json_get_str(birth->plan, "task", STR("")), now, &slug, err))
		return false;
	ids_uuid7(uuid);
	*id = arena_str(a, str_of(uuid));
	b = store_create_batch(w, a, ctx, store_plan(w, a, ctx, birth->plan), birth->metadata, *id, slug, tag, now);
	if ((birth->callback != NULL && !callback_create(w, b, ctx, *id, birth->callback, err)) ||
	    !quota_count_debate(w, a, ctx, b, &counted, err)) {
		db_batch_free(b);
		return false;
	}
	store_remember_key(b, a, ctx, birth, *id, now);
	if (birth->more != NULL)
		birth->more(b, *id, birth->arg);
	if (!db_commit(w->db, b, err)) {
		if (err->code == ERR_FENCED && counted >= 0 && strtoll(err->field, NULL, 10) == counted)
			return error_set(err, ERR_QUOTA_EXCEEDED, "the quota of debates is used up");
		/* Two requests with one key at the same time: the second gets the first's debate. */
		if (err->code == ERR_DUPLICATE && birth->idempotency_key.n > 0)
			return store_replayed(w, a, ctx, birth->idempotency_key, birth->body_hash, id, replayed, err);
		return false;
	}
	bus_publish(w->bus, STR(RUNNER_QUEUE_TOPIC), STR(""));
	return true;
}

/* ---- reading ---- */

CO_FN bool debate_get(struct db *db, struct arena *a, const struct context *ctx, struct str ref, struct debate_row *row,
		      struct error *err)
{
	struct db_rows rows;

	if (!db_query(db, a,
		      "SELECT " STORE_COLUMNS
		      " FROM debates WHERE workspace_id = $1 AND org_id = $3 AND (id = $2 OR slug = $2)"
		      " ORDER BY created_at DESC LIMIT 1",
		      DB_ARGS(DB_S(ctx->workspace_id), DB_S(ref), DB_S(ctx->org_id)), &rows, err))
		return false;
	if (rows.count == 0)
		return error_field(err, ERR_NOT_FOUND, "id", "Debate not found: %.*s", STR_ARG(str_sub(ref, 0, 128)));
	store_decode(&rows, 0, row);
	return true;
}

static json_t *store_message(struct arena *a, const struct db_rows *rows, size_t i, int64_t index)
{
	struct error err = ERROR_INIT;
	const json_t *e = json_parse(a, db_str(rows, i, 0), &err), *data = json_get_obj(e, "data");
	json_t *m = json_object();

	json_put_int(m, "index", index);
	json_put_str(m, "role", json_get_str(data, "role", STR("proposer")));
	json_put_str(m, "kind", json_get_str(data, "kind", STR("proposal")));
	json_put_str(m, "agent", json_get_str(e, "agent", STR("")));
	json_put_str(m, "agent_id", json_get_str(e, "agent", STR("")));
	json_put_int(m, "round", json_get_int(e, "round", 0));
	json_put_int(m, "seq", json_get_int(e, "seq", 0));
	json_put_str(m, "content", json_get_str(data, "content", STR("")));
	json_put_time(m, "timestamp", db_int(rows, i, 1));
	return m;
}

CO_FN json_t *debate_messages(struct db *db, struct arena *a, const struct context *ctx, struct str id, int64_t offset,
			      int64_t limit, struct error *err)
{
	struct db_rows rows;
	json_t *list;
	size_t i;

	if (!db_query(db, a,
		      "SELECT envelope, created_at FROM debate_events WHERE debate_id = $1 AND workspace_id = $2"
		      " AND type = 'agent_message' ORDER BY seq LIMIT $3 OFFSET $4",
		      DB_ARGS(DB_S(id), DB_S(ctx->workspace_id), DB_I(limit), DB_I(offset)), &rows, err))
		return NULL;
	list = json_array();
	for (i = 0; i < rows.count; i++)
		json_array_append_new(list, store_message(a, &rows, i, offset + (int64_t)i));
	return list;
}

/* LIKE pattern for "contains", with the wildcards of the text itself escaped by '\'. lower() on both sides: SQLite's
 * LIKE does not look at case, PostgreSQL's does. */
static struct str store_contains(struct arena *a, struct str text)
{
	struct buf b = BUF_INIT;
	struct str out;
	size_t i;

	buf_addc(&b, '%');
	for (i = 0; i < text.n; i++) {
		if (text.p[i] == '%' || text.p[i] == '_' || text.p[i] == '\\')
			buf_addc(&b, '\\');
		buf_addc(&b, text.p[i]);
	}
	buf_addc(&b, '%');
	out = arena_str(a, buf_str(&b));
	buf_free(&b);
	return out;
}

/* Empty text and 0 mean "any"; a timeout is shown as a failure; $7: 0 without archived ones, 1 all, 2 only those. */
#define STORE_WHERE                                                                                              \
	" FROM debates WHERE org_id = $1 AND workspace_id = $2"                                                  \
	" AND ($3 = '' OR (status = $3 AND (paused_at IS NULL OR completed_at IS NOT NULL))"                     \
	" OR ($3 = 'failed' AND status = 'timeout')"                                                             \
	" OR ($3 = 'paused' AND paused_at IS NOT NULL AND completed_at IS NULL))"                                \
	" AND ($4 = '' OR lower(task) LIKE lower($4) ESCAPE '\\' OR lower(title) LIKE lower($4) ESCAPE '\\' OR " \
	"lower(final_answer) LIKE lower($4) ESCAPE '\\')"                                                        \
	" AND ($5 = 0 OR created_at >= $5) AND ($6 = 0 OR created_at <= $6) AND ($7 = 1 OR archived = $7 / 2)"

CO_FN bool debate_list(struct db *db, struct arena *a, const struct context *ctx, const struct debate_filter *f,
		       struct debate_row **rows, size_t *n, int64_t *total, struct error *err)
{
	struct str pattern = f->query.n > 0 ? store_contains(a, f->query) : STR("");
	struct str status = f->status.n > 0 ? f->status : STR("");
	int archived = f->only_archived ? 2 : f->include_archived;
	struct db_rows r;
	size_t i;

	if (!db_query(db, a, "SELECT COUNT(*)" STORE_WHERE,
		      DB_ARGS(DB_S(ctx->org_id), DB_S(ctx->workspace_id), DB_S(status), DB_S(pattern),
			      DB_I(f->since_ms), DB_I(f->until_ms), DB_I(archived)),
		      &r, err))
		return false;
	*total = db_int(&r, 0, 0);
	if (!db_query(db, a,
		      "SELECT " STORE_LIST_COLUMNS STORE_WHERE " ORDER BY created_at DESC, id DESC LIMIT $8 OFFSET $9",
		      DB_ARGS(DB_S(ctx->org_id), DB_S(ctx->workspace_id), DB_S(status), DB_S(pattern),
			      DB_I(f->since_ms), DB_I(f->until_ms), DB_I(archived), DB_I(f->limit), DB_I(f->offset)),
		      &r, err))
		return false;
	*n = r.count;
	*rows = arena_zalloc(a, (r.count + 1) * sizeof(**rows));
	for (i = 0; i < r.count; i++)
		store_decode(&r, i, &(*rows)[i]);
	return true;
}

/* ---- changing ---- */

CO_FN bool debate_update(struct db *db, const struct context *ctx, struct str id, const struct debate_patch *p,
			 struct error *err)
{
	struct arena *a = arena_new(0);
	struct db_batch *b = db_batch_new(db);
	bool ok;

	/* NULL parameters leave a column as it is. */
	db_batch_add(
	    b,
	    "UPDATE debates SET title = COALESCE($4, title), tags = COALESCE($5, tags), metadata = COALESCE($6, "
	    "metadata),"
	    " archived = COALESCE($7, archived), updated_at = $8 WHERE id = $1 AND org_id = $2 AND workspace_id = $3",
	    DB_ARGS(DB_S(id), DB_S(ctx->org_id), DB_S(ctx->workspace_id), p->title != NULL ? DB_S(*p->title) : DB_NONE,
		    p->tags != NULL ? DB_S(json_text(a, p->tags)) : DB_NONE,
		    p->metadata != NULL ? DB_S(json_text(a, p->metadata)) : DB_NONE,
		    p->archived != NULL ? DB_I(*p->archived) : DB_NONE, DB_I(clock_wall_ms())),
	    1);
	ok = db_commit(db, b, err);
	if (!ok && err->code == ERR_FENCED)
		error_field(err, ERR_NOT_FOUND, "id", "Debate not found: %.*s", STR_ARG(str_sub(id, 0, 128)));
	arena_free(a);
	return ok;
}

CO_FN bool debate_delete(struct db *db, const struct context *ctx, struct str id, struct error *err)
{
#define STORE_ITS(table) \
	"DELETE FROM " table " WHERE debate_id IN (SELECT id FROM debates WHERE id = $1 AND workspace_id = $2)"
#define STORE_OURS(table, key) "DELETE FROM " table " WHERE " key " = $1 AND workspace_id = $2"
	static const char *const parts[] = {STORE_OURS("debate_events", "debate_id"),
					    STORE_ITS("debate_steps"),
					    STORE_ITS("debate_inbox"),
					    STORE_OURS("receipts", "debate_id"),
					    STORE_OURS("consensus_memory", "debate_id"),
					    STORE_OURS("debate_outcomes", "debate_id"),
					    STORE_OURS("receipt_shares", "debate_id"),
					    STORE_OURS("debate_shares", "debate_id"),
					    STORE_OURS("debate_notes", "debate_id"),
					    STORE_OURS("debate_links", "child_id"),
					    STORE_OURS("decision_plans", "debate_id"),
					    STORE_OURS("receipt_stamps", "debate_id")};
	const struct db_val args[] = {DB_S(id), DB_S(ctx->workspace_id)};
	struct db_batch *b = db_batch_new(db);
	size_t i;

	/* Parts first: whose they are, the debate's row says. Its own statement decides about the whole batch. */
	for (i = 0; i < countof(parts); i++)
		db_batch_add(b, parts[i], args, countof(args), DB_ANY);
	callback_forget(b, ctx, id);
	fulltext_remove(b, ctx, CONSENSUS_MEMORY_KIND, id);
	continuum_forget(b, ctx, id);
	if (!knowledge_forget(db, b, ctx, id, err)) {
		db_batch_free(b);
		return false;
	}
	db_batch_add(b, "DELETE FROM idempotency_keys WHERE object_id = $1 AND org_id = $2",
		     DB_ARGS(DB_S(id), DB_S(ctx->org_id)), DB_ANY);
	db_batch_add(b,
		     "DELETE FROM debates WHERE id = $1 AND org_id = $2 AND workspace_id = $3 AND status NOT IN "
		     "('queued', 'running') AND NOT EXISTS (SELECT 1 FROM receipt_holds h WHERE h.debate_id = $1 AND "
		     "h.workspace_id = $3)",
		     DB_ARGS(DB_S(id), DB_S(ctx->org_id), DB_S(ctx->workspace_id)), 1);
	if (db_commit(db, b, err))
		return true;
	if (err->code == ERR_FENCED)
		error_set(err, ERR_CONFLICT,
			  "a debate that is queued or running cannot be deleted, cancel it first; nor one whose "
			  "receipt is under legal hold");
	return false;
}

/* ---- cancelling ---- */

/* One statement tells the owner, or whoever claims it next; a queued one is taken and ended by this worker at once. */
CO_FN bool debate_cancel(struct worker *w, const struct context *ctx, struct str id, struct str reason,
			 struct error *err)
{
	struct db_batch *b = db_batch_new(w->db);
	int64_t now = clock_wall_ms();

	db_batch_add(b,
		     "UPDATE debates SET cancel_reason = $4, claim_after = 0, updated_at = $5"
		     " WHERE id = $1 AND org_id = $2 AND workspace_id = $3 AND status IN ('queued', 'running')",
		     DB_ARGS(DB_S(id), DB_S(ctx->org_id), DB_S(ctx->workspace_id),
			     DB_S(reason.n > 0 ? reason : STR("user_requested")), DB_I(now)),
		     1);
	audit_add_as(b, w, ctx,
		     &(struct audit_event){.category = "debate",
					   .action = "debate.cancel_requested",
					   .resource_type = STR("debate"),
					   .resource_id = id,
					   .reason = reason});
	if (!db_commit(w->db, b, err)) {
		if (err->code == ERR_FENCED)
			error_set(err, ERR_CONFLICT, "the debate has already ended");
		return false;
	}
	runner_cancelled(w->runner, id);
	bus_publish(w->bus, STR(RUNNER_CANCEL_TOPIC), id);
	return true;
}
