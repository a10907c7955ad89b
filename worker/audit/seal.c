/* SPDX-License-Identifier: MIT */
/*
 * Moves events from audit_inbox into the hash chain, signs its head, and sets anchors. Runs on the clerk of every node;
 * the head row admits one of them at a time, the others find it moved and leave their batch undone. Acts never wait
 * for it.
 */
#include "common/clock.h"
#include "common/conf.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/metrics.h"
#include "worker/audit/audit_log.h"
#include "worker/worker.h"

#define SEAL_TICK_US (250 * MS_US)
#define SEAL_BATCH 100
#define SEAL_ANCHOR_EVENTS 1000 /* at most so many, and a batch, between two anchors */
#define SEAL_LOOK_TICKS 4       /* between looks for an anchor that is due by time */
#define SEAL_IDLE_TICKS 8       /* of rest, and between complaints, when it cannot work */
#define SEAL_BEATEN_TICKS 3     /* another node is at it: leave it alone */

struct audit_seal {
	struct worker *w;
	const struct audit_key *key;
	struct loop_timer timer;
	unsigned ticks, rest;
	bool busy;
};

struct seal_head {
	int64_t seq, anchor_seq, anchor_at;
	struct str hash;
	bool stored; /* there is a row of it */
};

/* Without a head there may be no events. */
CO_FN static bool seal_begins(struct audit_seal *s, struct arena *a, struct error *err)
{
	struct db_rows rows;

	if (!db_query(s->w->db, a, "SELECT seq FROM audit_events LIMIT 1", DB_NO_ARGS, &rows, err))
		return false;
	return rows.count == 0 ||
	       error_set(err, ERR_INTERNAL, "the chain has lost its head: somebody has changed the audit log");
}

CO_FN static bool seal_read_head(struct audit_seal *s, struct arena *a, struct seal_head *h, struct error *err)
{
	struct db_rows rows;

	if (!db_query(s->w->db, a, "SELECT seq, hash, anchor_seq, anchor_at FROM audit_head WHERE id = 1", DB_NO_ARGS,
		      &rows, err))
		return false;
	*h = (struct seal_head){.hash = STR("")};
	if (rows.count == 0)
		return seal_begins(s, a, err);
	*h = (struct seal_head){.stored = true,
				.seq = db_int(&rows, 0, 0),
				.hash = db_str(&rows, 0, 1),
				.anchor_seq = db_int(&rows, 0, 2),
				.anchor_at = db_int(&rows, 0, 3)};
	return true;
}

static struct str seal_sign(struct audit_seal *s, struct arena *a, const char *kind, const struct seal_head *h,
			    int64_t now)
{
	char *hex = arena_alloc(a, SHA256_HEX);

	audit_key_sign(s->key, audit_statement(a, kind, h->seq, h->hash, now), hex);
	return str_of(hex);
}

/* Fences the batch: it does nothing when the head is not `from` any more, or there is one meanwhile. */
static void seal_move_head(struct audit_seal *s, struct arena *a, struct db_batch *b, const struct seal_head *from,
			   const struct seal_head *to, int64_t now)
{
	if (!from->stored) {
		db_batch_add(b,
			     "INSERT INTO audit_head (id, seq, hash, anchor_seq, anchor_at, made_at, key_id, signature)"
			     " VALUES (1, $1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING",
			     DB_ARGS(DB_I(to->seq), DB_S(to->hash), DB_I(to->anchor_seq), DB_I(to->anchor_at),
				     DB_I(now), DB_Z(s->key->id), DB_S(seal_sign(s, a, "head", to, now))),
			     1);
		return;
	}
	db_batch_add(b,
		     "UPDATE audit_head SET seq = $3, hash = $4, anchor_seq = $5, anchor_at = $6, made_at = $7,"
		     " key_id = $8, signature = $9 WHERE id = 1 AND seq = $1 AND hash = $2",
		     DB_ARGS(DB_I(from->seq), DB_S(from->hash), DB_I(to->seq), DB_S(to->hash), DB_I(to->anchor_seq),
			     DB_I(to->anchor_at), DB_I(now), DB_Z(s->key->id), DB_S(seal_sign(s, a, "head", to, now))),
		     1);
}

/* Gives it its place behind the head. */
static void seal_place(struct audit_seal *s, struct arena *a, struct audit_record *r, struct seal_head *h)
{
	char *hash = arena_alloc(a, SHA256_HEX);

	/* It stands in the chain all the same, so that it is seen; verification names it. */
	if (str_eqz(r->v[AUDIT_KEY_ID], s->key->id) && !audit_record_signed(a, s->key, r)) {
		log_error("audit", "an event was changed before it was chained", KV_STR("id", r->v[AUDIT_ID]));
		metric_add(M_AUDIT_FAILURES, 1, NULL);
	}
	r->seq = ++h->seq;
	r->v[AUDIT_PREVIOUS] = h->hash;
	audit_record_hash(a, r, hash);
	r->v[AUDIT_HASH] = h->hash = str_of(hash);
}

static void seal_add_event(struct db_batch *b, const struct audit_record *r)
{
	db_batch_add(b,
		     "INSERT INTO audit_events (seq, previous_hash, event_hash, " AUDIT_INBOX_LIST ")"
		     " SELECT $1, $2, $3, " AUDIT_INBOX_LIST " FROM audit_inbox WHERE id = $4",
		     DB_ARGS(DB_I(r->seq), DB_S(r->v[AUDIT_PREVIOUS]), DB_S(r->v[AUDIT_HASH]), DB_S(r->v[AUDIT_ID])),
		     1);
	db_batch_add(b, "DELETE FROM audit_inbox WHERE id = $1", DB_ARGS(DB_S(r->v[AUDIT_ID])), 1);
}

static bool seal_anchor_due(const struct audit_seal *s, const struct seal_head *h, int64_t now)
{
	if (h->seq == h->anchor_seq)
		return false;
	return h->seq - h->anchor_seq >= SEAL_ANCHOR_EVENTS ||
	       now - h->anchor_at >= s->w->conf->audit.anchor_interval / MS_US;
}

static void seal_add_anchor(struct audit_seal *s, struct arena *a, struct db_batch *b, const struct seal_head *h,
			    int64_t now)
{
	db_batch_add(
	    b, "INSERT INTO audit_anchors (seq, hash, made_at, key_id, signature) VALUES ($1, $2, $3, $4, $5)",
	    DB_ARGS(DB_I(h->seq), DB_S(h->hash), DB_I(now), DB_Z(s->key->id), DB_S(seal_sign(s, a, "anchor", h, now))),
	    1);
}

static void seal_count(const struct db_rows *rows)
{
	for (size_t i = 0; i < rows->count; i++) {
		struct audit_record r;
		char category[16], outcome[16];

		audit_record_read(rows, i, false, &r);
		snprintf(category, sizeof(category), "%.*s", STR_ARG(r.v[AUDIT_CATEGORY]));
		snprintf(outcome, sizeof(outcome), "%.*s", STR_ARG(r.v[AUDIT_OUTCOME]));
		metric_add(M_AUDIT_EVENTS, 1, category, outcome, NULL);
	}
}

/* The head moves first: of several nodes that seal at once all but one are fenced there. */
CO_FN static bool seal_commit(struct audit_seal *s, struct arena *a, const struct audit_record *v, size_t n,
			      const struct seal_head *from, struct seal_head *to, struct error *err)
{
	struct db_batch *b = db_batch_new(s->w->db);
	int64_t now = clock_wall_ms();
	bool anchored = seal_anchor_due(s, to, now);

	if (n == 0 && !anchored) {
		db_batch_free(b);
		return true;
	}
	if (anchored) {
		to->anchor_seq = to->seq;
		to->anchor_at = now;
	}
	seal_move_head(s, a, b, from, to, now);
	for (size_t i = 0; i < n; i++)
		seal_add_event(b, &v[i]);
	if (anchored)
		seal_add_anchor(s, a, b, to, now);
	FAULT("audit.before_seal");
	if (!db_commit(s->w->db, b, err))
		return false;
	FAULT("audit.sealed");
	/* What was in the log of the server cannot be rewritten in the database. */
	if (anchored)
		log_info("audit", "anchor", KV_I("seq", to->seq), KV_STR("hash", to->hash));
	return true;
}

/* One batch: the events of `rows`, and an anchor when one is due. */
CO_FN static bool seal_batch(struct audit_seal *s, struct arena *a, const struct db_rows *rows, struct error *err)
{
	struct audit_record *v = arena_zalloc(a, (rows->count + 1) * sizeof(*v));
	struct seal_head from = {.seq = 0}, to = {.seq = 0};

	if (!seal_read_head(s, a, &from, err))
		return false;
	to = from;
	for (size_t i = 0; i < rows->count; i++) {
		audit_record_read(rows, i, false, &v[i]);
		seal_place(s, a, &v[i], &to);
	}
	if (!seal_commit(s, a, v, rows->count, &from, &to, err))
		return false;
	seal_count(rows);
	return true;
}

/* What keeps the events in the inbox. */
static void seal_failed(struct audit_seal *s, const struct error *err)
{
	if (err->code == ERR_FENCED) {
		s->rest = SEAL_BEATEN_TICKS;
		return;
	}
	if (err->code == ERR_DUPLICATE)
		log_error("audit", "the chain holds an event where its next one belongs: somebody has changed it");
	else if (s->ticks % SEAL_IDLE_TICKS == 0 || err->code != ERR_STORAGE)
		log_warn("audit", "events cannot be chained", KV_S("reason", err->msg));
	else
		return;
	metric_add(M_AUDIT_FAILURES, 1, NULL);
	s->rest = SEAL_IDLE_TICKS;
}

/* Until nothing is left; a coroutine of the timer. */
CO_FN static void seal_work(void *arg)
{
	struct audit_seal *s = arg;
	struct error err = ERROR_INIT;
	struct db_rows rows = {.count = SEAL_BATCH};
	bool ok = true, look = s->ticks % SEAL_LOOK_TICKS == 0;

	while (ok && rows.count == SEAL_BATCH) {
		struct arena *a = arena_new(0);

		ok = db_query(s->w->db, a, "SELECT " AUDIT_INBOX_LIST " FROM audit_inbox ORDER BY id LIMIT $1",
			      DB_ARGS(DB_I(SEAL_BATCH)), &rows, &err);
		if (ok)
			metric_set(M_AUDIT_PENDING, (int64_t)rows.count, NULL);
		if (ok && (rows.count > 0 || look))
			ok = seal_batch(s, a, &rows, &err);
		arena_free(a);
	}
	if (ok)
		metric_set(M_AUDIT_PENDING, 0, NULL);
	else
		seal_failed(s, &err);
	s->busy = false;
}

static void seal_tick(void *arg)
{
	struct audit_seal *s = arg;

	loop_timer_set(&s->timer, SEAL_TICK_US);
	s->ticks++;
	if (s->rest > 0)
		s->rest--;
	else if (!s->busy && !s->w->draining && worker_is_clerk(s->w))
		s->busy = co_spawn("audit chain", seal_work, s) != NULL;
}

struct audit_seal *audit_seal_open(struct worker *w, const struct audit_key *k)
{
	struct audit_seal *s = xcalloc(1, sizeof(*s));

	s->w = w;
	s->key = k;
	loop_timer_init(w->loop, &s->timer, seal_tick, s);
	return s;
}

void audit_seal_start(struct audit_seal *s)
{
	loop_timer_set(&s->timer, 0);
}

void audit_seal_close(struct audit_seal *s)
{
	if (s == NULL)
		return;
	loop_timer_stop(&s->timer);
	free(s);
}
