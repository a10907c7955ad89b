/* SPDX-License-Identifier: MIT */
/*
 * Writes traces of ended debates. Called by the end of a debate, and by the clerk for those whose writer died or whose
 * folder could not be written. One at a time in a worker; any worker that sees the folder may write any trace, as all
 * write the same. Does not remove old ones: `aragorad cleanup` does.
 */
#include "worker/traces/traces.h"

#include "common/cleanup_archive.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/json.h"
#include "common/metrics.h"
#include "common/trace_context.h"
#include "worker/worker.h"

#define TRACES_PAGE 200
#define TRACES_LEFT_MS INT64_C(10000) /* what lies for so long has no writer any more */
#define TRACES_WAITING 64             /* beyond them the clerk writes */

/* What stands in a trace, in this order. $1: the debate; $2: the key behind which a page begins. */
static const struct trace_part {
	const char *type, *query;
	const char *columns[14]; /* names of the members; the first is the key of pages */
	bool number;             /* of the key */
} trace_parts[] = {
    {"debate",
     "SELECT id, org_id, workspace_id, user_id, status, task, context, plan, result, receipt_id, epoch, created_at,"
     " completed_at FROM debates WHERE id = $1 AND id > $2 LIMIT 200",
     {"id", "org_id", "workspace_id", "user_id", "status", "task", "context", "plan", "result", "receipt_id", "epoch",
      "created_at", "completed_at", NULL},
     false},
    {"step",
     "SELECT key, state, starts, reserved_micro, input_hash, result, started_at, done_at FROM debate_steps"
     " WHERE debate_id = $1 AND key > $2 ORDER BY key LIMIT 200",
     {"key", "state", "starts", "reserved_micro", "input_hash", "result", "started_at", "done_at", NULL},
     false},
    {"event",
     "SELECT seq, key, event_type, envelope, created_at FROM (SELECT seq, key, type AS event_type, envelope, created_at"
     " FROM debate_events WHERE debate_id = $1 AND seq > $2 ORDER BY seq LIMIT 200) AS page ORDER BY seq",
     {"seq", "key", "event_type", "envelope", "created_at", NULL},
     true},
    {"usage",
     "SELECT step_key, agent, provider, model, tokens_in, tokens_out, cost_micro, created_at FROM usage_ledger"
     " WHERE debate_id = $1 AND step_key > $2 ORDER BY step_key LIMIT 200",
     {"step_key", "agent", "provider", "model", "tokens_in", "tokens_out", "cost_micro", "created_at", NULL},
     false},
};

struct traces {
	struct worker *w;
	bool working;
	bool failing; /* said once until it works again */
	bool left;    /* look for what others have left lying */
	int64_t next_look_us;
	char *waiting[TRACES_WAITING]; /* ids of debates that ended here */
	size_t count;
};

/* ---- the file, written in the lane of files ---- */

/* Owned by whoever runs: the coroutine between the lane's turns, the lane during them. */
struct trace_file {
	char *folder, *name;
	int64_t at_ms;
	struct archive_lines *lines;
	struct buf text; /* of the next turn: lines, each ended by LF */
	bool last, ok;
	struct error err;
};

static void trace_file_free(void *job)
{
	struct trace_file *f = job;
	struct error ignored = ERROR_INIT;

	if (f->lines != NULL && !archive_lines_close(f->lines, false, &ignored))
		log_debug("traces", "a part was left", KV_S("reason", ignored.msg));
	buf_free(&f->text);
	free(f->folder);
	free(f->name);
	free(f);
}

static void trace_file_work(void *job)
{
	struct trace_file *f = job;

	if (f->lines == NULL)
		f->lines = archive_lines_open(f->folder, f->name, f->at_ms, true, &f->err);
	f->ok = f->lines != NULL &&
		(f->text.n == 0 || archive_line(f->lines, str_sub(buf_str(&f->text), 0, f->text.n - 1), &f->err));
	buf_clear(&f->text);
	if (f->ok && f->last) {
		f->ok = archive_lines_close(f->lines, true, &f->err);
		f->lines = NULL;
	}
}

/* NULL when the scope ended: the lane has the file then. */
CO_FN static struct trace_file *trace_file_turn(struct traces *t, struct trace_file *f)
{
	return lane_run(t->w->slow, trace_file_work, trace_file_free, f, 0) == CO_DONE ? f : NULL;
}

/* ---- one trace ---- */

static void trace_line(struct arena *a, const struct trace_part *part, const struct db_rows *rows, size_t row,
		       struct buf *out)
{
	json_t *o = json_own(a, json_object());

	json_put_str(o, "type", str_of(part->type));
	if (part == &trace_parts[0]) {
		struct trace_context trace;

		trace_of(&trace, db_str(rows, row, 0));
		json_put_str(o, "trace_id", str_of(trace.trace_id));
		json_put_str(o, "span_id", str_of(trace.span_id));
	}
	for (size_t i = 0; i < rows->columns; i++) {
		const struct db_val *v = &rows->cells[row * rows->columns + i];

		json_object_set_new(o, part->columns[i],
				    v->type == DB_INT    ? json_integer(v->i)
				    : v->type == DB_TEXT ? json_str(v->s)
							 : json_null());
	}
	buf_add(out, json_text(a, o));
	buf_addc(out, '\n');
}

/* One page. *more: there may be a further one, behind *after. */
CO_FN static bool trace_page(struct traces *t, struct str id, const struct trace_part *part, struct db_val *after,
			     struct buf *kept, struct buf *out, bool *more, struct error *err)
{
	struct arena *a = arena_new(0);
	struct db_rows rows;
	bool ok = db_query(t->w->db, a, part->query, DB_ARGS(DB_S(id), *after), &rows, err);

	for (size_t i = 0; ok && i < rows.count; i++)
		trace_line(a, part, &rows, i, out);
	*more = ok && rows.count == TRACES_PAGE;
	if (*more && part->number) {
		*after = DB_I(db_int(&rows, rows.count - 1, 0));
	} else if (*more) {
		buf_clear(kept);
		buf_add(kept, db_str(&rows, rows.count - 1, 0));
		*after = DB_S(buf_str(kept));
	}
	arena_free(a);
	return ok;
}

/* Takes f; gives it back, or NULL when it is gone. False with err. */
CO_FN static bool trace_part_write(struct traces *t, struct str id, const struct trace_part *part,
				   struct trace_file **f, struct error *err)
{
	struct db_val after = part->number ? DB_I(0) : DB_S(STR(""));
	struct buf kept = BUF_INIT;
	bool more = true, ok = true;

	while (ok && more) {
		ok = trace_page(t, id, part, &after, &kept, &(*f)->text, &more, err);
		if (!ok || (*f)->text.n == 0)
			break;
		*f = trace_file_turn(t, *f);
		ok = *f != NULL && (*f)->ok;
		if (*f != NULL && !ok)
			*err = (*f)->err;
		else if (*f == NULL)
			error_set(err, ERR_CANCELLED, "cancelled");
	}
	buf_free(&kept);
	return ok;
}

CO_FN static bool trace_write(struct traces *t, struct str id, int64_t at_ms, struct error *err)
{
	struct trace_file *f = xcalloc(1, sizeof(*f));
	struct buf folder = BUF_INIT;
	bool ok = true;

	if (t->w->conf->storage.traces[0] != '/')
		buf_printf(&folder, "%s/", t->w->conf->storage.data_dir);
	buf_addz(&folder, t->w->conf->storage.traces);
	f->folder = xstrndup(folder.p, folder.n);
	f->name = str_dupz(id);
	f->at_ms = at_ms;
	buf_free(&folder);
	/* A debate that was deleted meanwhile has no line, and leaves no file. */
	for (size_t i = 0; ok && i < countof(trace_parts) && (i == 0 || f->lines != NULL); i++)
		ok = trace_part_write(t, id, &trace_parts[i], &f, err);
	if (ok && f->lines != NULL) {
		f->last = true;
		f = trace_file_turn(t, f);
		ok = f != NULL && f->ok;
		if (!ok)
			error_set(err, ERR_STORAGE, "%s", f != NULL ? f->err.msg : "cancelled");
	}
	if (f != NULL)
		trace_file_free(f);
	FAULT("trace.written");
	return ok;
}

CO_FN static bool trace_done(struct traces *t, struct str id, struct error *err)
{
	struct db_batch *b = db_batch_new(t->w->db);

	db_batch_add(b, "DELETE FROM trace_exports WHERE debate_id = $1", DB_ARGS(DB_S(id)), DB_ANY);
	return db_commit(t->w->db, b, err);
}

/* ---- the queue ---- */

static void trace_failed(struct traces *t, struct str id, const struct error *err)
{
	metric_add(M_TRACES, 1, "failed", NULL);
	if (!t->failing)
		log_error("traces", "a trace could not be written; it is tried again", KV_STR("debate_id", id),
			  KV_S("reason", err->msg));
	t->failing = true;
}

CO_FN static void traces_one(struct traces *t, struct str id, int64_t at_ms)
{
	struct error err = ERROR_INIT;

	if (trace_write(t, id, at_ms, &err) && trace_done(t, id, &err)) {
		metric_add(M_TRACES, 1, "written", NULL);
		t->failing = false;
	} else {
		trace_failed(t, id, &err);
	}
}

/* The rows that `where` names with $1. */
CO_FN static void traces_rows(struct traces *t, const char *sql, struct db_val which)
{
	struct arena *a = arena_new(0);
	struct error err = ERROR_INIT;
	struct db_rows rows = {0, 0, NULL};

	if (!db_query(t->w->db, a, sql, DB_ARGS(which), &rows, &err))
		log_debug("traces", "not looked for", KV_S("reason", err.msg));
	for (size_t i = 0; i < rows.count && !t->w->draining; i++)
		traces_one(t, db_str(&rows, i, 0), db_int(&rows, i, 1));
	arena_free(a);
}

CO_FN static void traces_work(void *arg)
{
	struct traces *t = arg;
	char *id;

	while ((t->count > 0 || t->left) && !t->w->draining) {
		if (t->count > 0) {
			id = t->waiting[--t->count];
			traces_rows(t, "SELECT debate_id, ended_at FROM trace_exports WHERE debate_id = $1", DB_Z(id));
			free(id);
		} else {
			t->left = false;
			traces_rows(t,
				    "SELECT debate_id, ended_at FROM trace_exports WHERE ended_at < $1"
				    " ORDER BY ended_at, debate_id LIMIT 20",
				    DB_I(clock_wall_ms() - TRACES_LEFT_MS));
		}
	}
	t->working = false;
}

static void traces_start(struct traces *t)
{
	if (!t->working && !t->w->draining)
		t->working = co_spawn("traces", traces_work, t) != NULL;
}

void traces_hint(struct traces *t, struct str debate_id)
{
	if (t->w->conf->storage.traces[0] == '\0' || t->count == TRACES_WAITING)
		return;
	t->waiting[t->count++] = str_dupz(debate_id);
	traces_start(t);
}

void traces_look(struct traces *t)
{
	int64_t now = clock_mono_us();

	if (t->w->conf->storage.traces[0] == '\0' || now < t->next_look_us)
		return;
	t->next_look_us = now + TRACES_LEFT_MS * MS_US;
	t->left = true;
	traces_start(t);
}

void traces_ended(struct db_batch *b, const struct worker *w, struct str debate_id, int64_t at_ms)
{
	if (w->conf->storage.traces[0] != '\0')
		db_batch_add(b,
			     "INSERT INTO trace_exports (debate_id, ended_at) VALUES ($1, $2)"
			     " ON CONFLICT (debate_id) DO NOTHING",
			     DB_ARGS(DB_S(debate_id), DB_I(at_ms)), DB_ANY);
}

bool traces_active(const struct traces *t)
{
	return t->working;
}

struct traces *traces_open(struct worker *w)
{
	struct traces *t = xcalloc(1, sizeof(*t));

	t->w = w;
	return t;
}

void traces_close(struct traces *t)
{
	if (t == NULL)
		return;
	while (t->count > 0)
		free(t->waiting[--t->count]);
	free(t);
}
