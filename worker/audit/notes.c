/* SPDX-License-Identifier: MIT */
/*
 * Events that must not wait: kept in memory for at most a second, equal ones counted together, then written in one
 * transaction. Called by audit_note and by its own timer. What cannot be kept is counted and told, never silent.
 */
#include "common/clock.h"
#include "common/conf.h"
#include "common/json.h"
#include "common/log.h"
#include "common/metrics.h"
#include "worker/audit/audit_log.h"
#include "worker/worker.h"

#define NOTES_FLUSH_US (500 * MS_US)
#define NOTES_BATCH 100 /* of one transaction */

struct note {
	struct arena *arena;
	struct audit_record record;
	uint64_t hash; /* of what makes notes equal */
	json_t *details;
	int64_t count;
};

struct audit_notes {
	struct worker *w;
	const struct audit_key *key;
	struct loop_timer timer;
	struct note *v; /* the first `writing` are being written and no longer counted up */
	size_t n, cap, writing;
	int64_t dropped; /* since the last event that told so */
	bool busy;
};

static int64_t notes_wait(const struct audit_notes *n)
{
	return n->w->draining ? 0 : NOTES_FLUSH_US;
}

static void note_free(struct note *n)
{
	json_decref(n->details);
	arena_free(n->arena);
}

/* Agent and correlation may differ: a scanner makes new ones for each try. */
static uint64_t note_hash(const struct audit_record *r)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

	for (int i = AUDIT_CATEGORY; i <= AUDIT_DETAILS; i++) {
		if (i == AUDIT_AGENT || i == AUDIT_CORRELATION)
			continue;
		for (size_t k = 0; k < r->v[i].n; k++)
			h = (h ^ (unsigned char)r->v[i].p[k]) * UINT64_C(0x100000001b3);
		h = (h ^ 0xff) * UINT64_C(0x100000001b3); /* never in UTF-8 */
	}
	return h;
}

static bool notes_count_up(struct audit_notes *n, uint64_t hash)
{
	for (size_t i = n->writing; i < n->n; i++)
		if (n->v[i].hash == hash) {
			n->v[i].count++;
			return true;
		}
	return false;
}

/* ---- writing ---- */

static void notes_batch_add(struct audit_notes *n, struct db_batch *b, struct note *note)
{
	struct db_val values[AUDIT_INBOX_COLUMNS + 1];

	if (note->count > 1) {
		char *text;

		json_put_int(note->details, "count", note->count);
		text = json_dumps(note->details, JSON_COMPACT | JSON_SORT_KEYS);
		note->record.v[AUDIT_DETAILS] = arena_str(note->arena, str_of(text));
		free(text);
	}
	audit_record_sign(note->arena, n->key, &note->record);
	audit_record_values(&note->record, values);
	db_batch_add(b, AUDIT_INSERT, values, countof(values), 1);
}

static void notes_tell_dropped(struct audit_notes *n, struct db_batch *b, int64_t dropped)
{
	json_t *details = json_pack("{s:I}", "dropped", (json_int_t)dropped);

	audit_add_as(b, n->w, NULL,
		     &(struct audit_event){.category = "system",
					   .action = "system.audit_overflow",
					   .outcome = "error",
					   .reason = STR("events came faster than audit.buffer holds"),
					   .details = details});
	json_decref(details);
}

CO_FN static bool notes_write(struct audit_notes *n, struct error *err)
{
	struct db_batch *b = db_batch_new(n->w->db);
	int64_t dropped = n->dropped;
	size_t i;
	bool ok;

	n->writing = n->n < NOTES_BATCH ? n->n : NOTES_BATCH;
	for (i = 0; i < n->writing; i++)
		notes_batch_add(n, b, &n->v[i]);
	if (dropped > 0)
		notes_tell_dropped(n, b, dropped);
	ok = db_commit(n->w->db, b, err);
	if (ok) {
		for (i = 0; i < n->writing; i++)
			note_free(&n->v[i]);
		n->n -= n->writing;
		memmove(n->v, n->v + n->writing, n->n * sizeof(*n->v));
		n->dropped -= dropped;
	}
	n->writing = 0;
	return ok;
}

CO_FN static void notes_flush(void *arg)
{
	struct audit_notes *n = arg;
	struct error err = ERROR_INIT;
	size_t due = n->n;
	bool ok = true;

	/* What comes meanwhile gathers for the next time, so that equal events become one. */
	do {
		due -= due < NOTES_BATCH ? due : NOTES_BATCH;
		ok = notes_write(n, &err);
	} while (ok && due > 0);
	if (!ok) {
		metric_add(M_AUDIT_FAILURES, 1, NULL);
		log_warn("audit", "events wait to be written", KV_I("events", n->n), KV_S("reason", err.msg));
	}
	n->busy = false;
	if (!audit_notes_settled(n))
		loop_timer_set(&n->timer, ok ? notes_wait(n) : SEC_US);
}

static void notes_due(void *arg)
{
	struct audit_notes *n = arg;

	if (n->busy)
		return;
	n->busy = co_spawn("audit", notes_flush, n) != NULL;
	if (!n->busy)
		loop_timer_set(&n->timer, NOTES_FLUSH_US);
}

/* ---- taking ---- */

static void notes_keep(struct audit_notes *n, struct note note)
{
	if (n->n == n->cap) {
		n->cap = n->cap > 0 ? 2 * n->cap : 16;
		n->v = xrealloc(n->v, n->cap * sizeof(*n->v));
	}
	n->v[n->n++] = note;
	if (!n->busy && (n->n == 1 || n->w->draining)) /* a worker that wants to go waits for nothing more to gather */
		loop_timer_set(&n->timer, notes_wait(n));
}

void audit_notes_add(struct audit_notes *n, const struct audit_who *who, const struct audit_event *e)
{
	struct note note = {.arena = arena_new(1024), .count = 1};
	struct error ignored = ERROR_INIT;

	audit_record_fill(note.arena, who, e, &note.record);
	note.hash = note_hash(&note.record);
	if (notes_count_up(n, note.hash)) {
		arena_free(note.arena);
		return;
	}
	if (n->n >= (size_t)n->w->conf->audit.buffer) {
		arena_free(note.arena);
		n->dropped++;
		metric_add(M_AUDIT_DROPPED, 1, NULL);
		return;
	}
	note.details = json_parse(NULL, note.record.v[AUDIT_DETAILS], &ignored);
	notes_keep(n, note);
}

bool audit_notes_settled(const struct audit_notes *n)
{
	return n->n == 0 && n->dropped == 0 && !n->busy;
}

/* ---- life ---- */

struct audit_notes *audit_notes_open(struct worker *w, const struct audit_key *k)
{
	struct audit_notes *n = xcalloc(1, sizeof(*n));

	n->w = w;
	n->key = k;
	loop_timer_init(w->loop, &n->timer, notes_due, n);
	return n;
}

void audit_notes_close(struct audit_notes *n)
{
	if (n == NULL)
		return;
	loop_timer_stop(&n->timer);
	for (size_t i = 0; i < n->n; i++)
		note_free(&n->v[i]);
	free(n->v);
	free(n);
}
