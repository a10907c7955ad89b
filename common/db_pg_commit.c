/* SPDX-License-Identifier: MIT */
/*
 * Transactions on PostgreSQL. Batches wait in one queue; whoever gets a connection leads: it takes what waits and sends
 * it in one go, each batch a transaction of its own that ends at its Sync, so that one that fails harms no other.
 * Called through db.c. Decides nothing about what a failure means to the caller.
 *
 * Group commit: of several batches all but the last thing sent commit without waiting for the disk; that last thing, a
 * small write, waits, and with it the log up to there is on the disk. Nobody is told of success before.
 *
 * Unknown outcomes: the first statement of each batch notes it in the connection's row of commit_marks. When the
 * connection breaks, another one closes that row and reads from it which batches were committed. Closing waits for a
 * transaction that still runs, and one that has not begun finds the row closed and fails: after it, nothing moves.
 */
#include "common/db_pg_store.h"

#include <poll.h>
#include <sys/socket.h>

#include "common/clock.h"
#include "common/conf.h"
#include "common/fault.h"
#include "common/metrics.h"

#define COMMIT_GROUP_MAX 32              /* batches sent together; bits of a mark, of which an int8 has 63 */
#define COMMIT_STATEMENTS_MAX 1024       /* of a group */
#define COMMIT_SHIELD_US (3600 * SEC_US) /* renewed until the outcome is known */
#define COMMIT_GRACE_US (10 * SEC_US)    /* beyond storage.statement_timeout, until a connection counts as lost */
#define COMMIT_PAUSE_US (5 * MS_US)      /* before a batch that others rolled back is repeated, doubled up to … */
#define COMMIT_PAUSE_MAX (500 * MS_US)
#define COMMIT_SETTLE_PAUSE_US (50 * MS_US)

enum pg_outcome { OUTCOME_NONE, OUTCOME_COMMITTED, OUTCOME_FAILED };

/* A batch on its way; on the stack of the coroutine that submitted it. */
struct pg_submit {
	struct pg_submit *next;
	struct db_batch *b;
	struct co *co;
	int64_t deadline;
	bool taken; /* by a leader, who tells the outcome */
	bool done;
	unsigned tries;
	/* of the present try */
	enum pg_outcome outcome;
	enum pg_fault fault;
	size_t failed_at;
	char why[256];
};

/* ---- statements of our own ---- */

static const char commit_mark[] =
    "UPDATE commit_marks SET mask = CASE WHEN seq = $2 THEN mask | $3 ELSE $3 END, seq = $2, used_at = $4"
    " WHERE id = $1 AND seq <= $2 AND closed = 0";
static const char commit_async[] = "SELECT set_config('synchronous_commit', 'off', true)";
static const char commit_limits[] = "SELECT set_config('statement_timeout', CAST(CAST($1 AS BIGINT) AS TEXT), true),"
				    " set_config('lock_timeout', CAST(CAST($2 AS BIGINT) AS TEXT), true)";
static const char commit_close_mark[] = "UPDATE commit_marks SET closed = 1 WHERE id = $1 RETURNING seq, mask";

/* ---- the queue ---- */

static void pg_enqueue(struct pg_store *s, struct pg_submit *u)
{
	u->next = NULL;
	u->taken = false;
	*s->batches_end = u;
	s->batches_end = &u->next;
}

static void pg_dequeue(struct pg_store *s, const struct pg_submit *u)
{
	struct pg_submit **p;

	for (p = &s->batches; *p != u; p = &(*p)->next)
		;
	*p = u->next;
	if (*p == NULL)
		s->batches_end = p;
}

/* What waits, up to a bound; the first is always taken. */
static size_t pg_take(struct pg_store *s, struct pg_submit *group[COMMIT_GROUP_MAX])
{
	size_t n = 0, statements = 0;
	struct pg_submit *u;

	while (n < COMMIT_GROUP_MAX && (u = s->batches) != NULL) {
		statements += u->b->n;
		if (n > 0 && statements > COMMIT_STATEMENTS_MAX)
			break;
		pg_dequeue(s, u);
		u->taken = true;
		u->outcome = OUTCOME_NONE;
		u->fault = PG_NONE;
		u->tries++;
		group[n++] = u;
		co_wake(u->co); /* it need not stand in line for a connection any more */
	}
	return n;
}

/* ---- one group on one connection ---- */

enum pg_piece_kind { PIECE_PREPARE, PIECE_RUN, PIECE_SYNC };

/* What was sent, in order; results come in the same order. */
struct pg_piece {
	enum pg_piece_kind kind;
	struct pg_submit *of; /* NULL: the group's own last write */
	const struct pg_sql *q;
	ptrdiff_t statement; /* of the batch; -1: ours */
};

struct pg_group {
	struct pg_store *store;
	struct pg_conn *c;
	struct pg_submit *v[COMMIT_GROUP_MAX];
	size_t n;
	struct pg_piece *pieces;
	size_t count, cap;
	bool flushed;        /* the last write has come back: what is committed is on the disk */
	enum pg_fault fault; /* of the connection */
	char why[256];
};

static void pg_piece_add(struct pg_group *g, struct pg_piece p)
{
	if (g->count == g->cap) {
		g->cap = g->cap > 0 ? 2 * g->cap : 64;
		g->pieces = xrealloc(g->pieces, g->cap * sizeof(*g->pieces));
	}
	g->pieces[g->count++] = p;
}

/* False: the connection is broken, or the statement is a mistake that is noted in its batch. */
static bool pg_put(struct pg_group *g, struct pg_submit *u, ptrdiff_t statement, const char *sql, int64_t expect,
		   const struct db_val *args, size_t n)
{
	const struct pg_sql *q = pg_sql_get(&g->store->sqls, sql, expect, args, n);
	struct error err = ERROR_INIT;
	bool prepares;

	if (!pg_conn_send(g->c, q, args, n, &prepares, &err)) {
		g->fault = PG_LOST;
		snprintf(g->why, sizeof(g->why), "%s", err.msg);
		return false;
	}
	if (prepares)
		pg_piece_add(g, (struct pg_piece){PIECE_PREPARE, u, q, statement});
	pg_piece_add(g, (struct pg_piece){PIECE_RUN, u, q, statement});
	return true;
}

static bool pg_put_mark(struct pg_group *g, struct pg_submit *u, int64_t bit)
{
	return pg_put(g, u, -1, commit_mark, 1,
		      DB_ARGS(DB_Z(g->c->mark), DB_I(g->c->seq), DB_I(bit), DB_I(clock_wall_ms())));
}

static bool pg_put_limits(struct pg_group *g, struct pg_submit *u)
{
	const struct conf *c = g->store->conf;

	return !g->c->pooler ||
	       pg_put(g, u, -1, commit_limits, DB_ANY,
		      DB_ARGS(DB_I(c->storage.statement_timeout / MS_US), DB_I(c->debates.lease / 3 / MS_US)));
}

static bool pg_put_sync(struct pg_group *g, struct pg_submit *u)
{
	if (!pg_conn_sync(g->c)) {
		g->fault = PG_LOST;
		return false;
	}
	pg_piece_add(g, (struct pg_piece){PIECE_SYNC, u, NULL, -1});
	return true;
}

static bool pg_put_batch(struct pg_group *g, size_t index)
{
	struct pg_submit *u = g->v[index];
	size_t i;

	if (!pg_put_limits(g, u) || (g->n > 1 && !pg_put(g, u, -1, commit_async, DB_ANY, DB_NO_ARGS)) ||
	    !pg_put_mark(g, u, INT64_C(1) << index))
		return false;
	for (i = 0; i < u->b->n; i++) {
		const struct db_stmt *st = &u->b->v[i];

		if (!pg_put(g, u, (ptrdiff_t)i, st->sql, st->expect, st->args, st->n))
			return false;
	}
	return pg_put_sync(g, u);
}

static bool pg_put_group(struct pg_group *g)
{
	size_t i;

	g->c->seq++;
	for (i = 0; i < g->n; i++)
		if (!pg_put_batch(g, i))
			return false;
	return g->n == 1 || (pg_put_limits(g, NULL) && pg_put_mark(g, NULL, 0) && pg_put_sync(g, NULL));
}

/* ---- its results ---- */

static void pg_note_failure(struct pg_group *g, const struct pg_piece *p, const PGresult *r)
{
	enum pg_fault fault = pg_fault_of(r);

	/* A closed or lost mark: the connection has no right to write any more, the batch may go elsewhere. */
	if (p->statement < 0 && fault == PG_FENCED)
		fault = PG_STALE;
	if (fault == PG_LOST || fault == PG_STALE || fault == PG_UNPREPARED) {
		g->fault = fault;
		pg_message(PQresultErrorMessage(r), g->why, sizeof(g->why));
	}
	if (p->of == NULL || p->of->fault != PG_NONE)
		return;
	p->of->fault = fault;
	p->of->failed_at = p->statement < 0 ? 0 : (size_t)p->statement;
	pg_message(PQresultErrorMessage(r), p->of->why, sizeof(p->of->why));
}

/* All results of one piece. False: the connection broke. */
CO_FN static bool pg_get_piece(struct pg_group *g, const struct pg_piece *p, int64_t deadline)
{
	bool ended = false, failed = false;
	PGresult *r;

	while (!ended) {
		if (pg_conn_next(g->c, deadline, &r) != PG_IO_RESULT)
			return false;
		ended = p->kind == PIECE_SYNC ? PQresultStatus(r) == PGRES_PIPELINE_SYNC : r == NULL;
		if (PQresultStatus(r) == PGRES_FATAL_ERROR && r != NULL) {
			pg_note_failure(g, p, r);
			failed = true;
		} else if (PQresultStatus(r) == PGRES_PIPELINE_ABORTED) {
			failed = true;
		}
		PQclear(r);
	}
	if (p->kind == PIECE_PREPARE && !failed)
		g->c->prepared[p->q->number] = true;
	return true;
}

/* False: the connection broke before all was heard. */
CO_FN static bool pg_get_group(struct pg_group *g)
{
	int64_t deadline = clock_mono_us() + g->store->conf->storage.statement_timeout + COMMIT_GRACE_US;
	size_t i;

	for (i = 0; i < g->count; i++) {
		struct pg_piece *p = &g->pieces[i];

		if (!pg_get_piece(g, p, deadline))
			return false;
		if (p->kind != PIECE_SYNC)
			continue;
		if (p->of != NULL)
			p->of->outcome = p->of->fault == PG_NONE ? OUTCOME_COMMITTED : OUTCOME_FAILED;
		else
			g->flushed = g->fault == PG_NONE;
	}
	g->flushed |= g->n == 1;
	return true;
}

/* ---- what is not known ---- */

CO_FN static bool pg_settle_ask(struct pg_store *s, struct pg_conn *c, const char *mark, int64_t *seq, int64_t *mask)
{
	const struct db_val args[] = {DB_Z(mark)};
	const struct pg_sql *q = pg_sql_get(&s->sqls, commit_close_mark, DB_ANY, args, 1);
	int64_t deadline = clock_mono_us() + s->conf->storage.statement_timeout + COMMIT_GRACE_US;
	bool prepares, sync = false, found = false, failed = false;
	enum pg_fault fault = PG_LOST;
	struct error err = ERROR_INIT;
	PGresult *r;

	if (pg_conn_send(c, q, args, 1, &prepares, &err) && pg_conn_sync(c))
		while (!sync && pg_conn_next(c, deadline, &r) == PG_IO_RESULT) {
			sync = PQresultStatus(r) == PGRES_PIPELINE_SYNC;
			if (PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) == 1)
				found = str_to_i64(str_of(PQgetvalue(r, 0, 0)), INT64_MIN, INT64_MAX, seq) &&
					str_to_i64(str_of(PQgetvalue(r, 0, 1)), INT64_MIN, INT64_MAX, mask);
			if (r != NULL && PQresultStatus(r) == PGRES_FATAL_ERROR) {
				failed = true;
				fault = pg_fault_of(r);
				pg_message(PQresultErrorMessage(r), err.msg, sizeof(err.msg));
			}
			PQclear(r);
		}
	if (sync && !failed && prepares)
		c->prepared[q->number] = true;
	if (sync && (!failed || fault == PG_AGAIN || fault == PG_STORAGE))
		pg_release(c);
	else
		pg_discard(c, fault, err.msg);
	if (sync && !failed && !found)
		log_error("db", "the mark of a broken connection is gone; its last transactions count as not committed",
			  KV_S("mark", mark));
	return sync && !failed;
}

/* Which batches of the group were committed? Asks until there is an answer. */
CO_FN static void pg_settle(struct pg_group *g, const char *mark, int64_t seq_sent)
{
	int64_t seq = 0, mask = 0;
	struct co_shield shield;
	bool known = false;
	struct pg_conn *c;
	struct pg_wait w;
	enum co_end end;
	size_t i;

	while (!known) {
		co_shield(&shield, COMMIT_SHIELD_US);
		c = pg_acquire(g->store, 0, &w, NULL, &end);
		known = c != NULL && pg_settle_ask(g->store, c, mark, &seq, &mask);
		if (!known) {
			metric_add(M_DB_RETRIES, 1, NULL);
			(void)co_sleep(COMMIT_SETTLE_PAUSE_US);
		}
		co_unshield(&shield);
	}
	for (i = 0; i < g->n; i++) {
		struct pg_submit *u = g->v[i];

		/* What failed before the connection broke has failed. */
		if (u->outcome == OUTCOME_FAILED)
			continue;
		u->outcome = seq == seq_sent && (mask & (INT64_C(1) << i)) != 0 ? OUTCOME_COMMITTED : OUTCOME_FAILED;
		if (u->outcome == OUTCOME_FAILED && u->fault == PG_NONE)
			u->fault = PG_LOST;
	}
	log_info("db", "transactions of a broken connection settled", KV_I("batches", g->n));
}

/* ---- leading ---- */

static int64_t pg_pause(unsigned tries)
{
	int64_t pause = COMMIT_PAUSE_US << (tries < 8 ? tries : 8);

	return (pause < COMMIT_PAUSE_MAX ? pause : COMMIT_PAUSE_MAX) / 2 + ids_uniform(COMMIT_PAUSE_US);
}

/* Was it rolled back for a reason that a repetition may not meet? */
static bool pg_worth_repeating(const struct pg_submit *u)
{
	return u->outcome == OUTCOME_FAILED && clock_mono_us() < u->deadline &&
	       (u->fault == PG_AGAIN || u->fault == PG_LOST || u->fault == PG_UNPREPARED || u->fault == PG_STALE);
}

static void pg_finish(struct pg_submit *u)
{
	u->done = true;
	co_wake(u->co);
}

/* Tells those whose outcome is final; the others go back into the queue after a pause. */
CO_FN static void pg_tell(struct pg_group *g)
{
	size_t i, again = 0;
	int64_t pause = 0;

	for (i = 0; i < g->n; i++)
		if (!pg_worth_repeating(g->v[i])) {
			pg_finish(g->v[i]);
		} else {
			int64_t p = g->v[i]->fault == PG_AGAIN ? pg_pause(g->v[i]->tries) : 0;

			pause = p > pause ? p : pause;
			g->v[again++] = g->v[i];
		}
	g->n = again;
	if (again == 0)
		return;
	metric_add(M_DB_RETRIES, (int64_t)again, NULL);
	if (pause > 0)
		(void)co_sleep(pause);
	for (i = 0; i < again; i++) {
		pg_enqueue(g->store, g->v[i]);
		co_wake(g->v[i]->co);
	}
}

/* In tests: the answer is on its way, but does not reach us. */
static void pg_lose_answer(const struct pg_conn *c)
{
	struct pollfd answer = {PQsocket(c->pg), POLLIN, 0};
	char text[4096];

	while (PQflush(c->pg) == 1)
		;
	(void)poll(&answer, 1, 5000);
	(void)shutdown(PQsocket(c->pg), SHUT_RDWR);
	while (recv(PQsocket(c->pg), text, sizeof(text), MSG_DONTWAIT) > 0)
		;
}

CO_FN static void pg_lead(struct pg_store *s, struct pg_conn *c)
{
	struct pg_group g = {.store = s, .c = c};
	int64_t begun = clock_mono_us(), seq;
	char mark[sizeof(c->mark)];
	bool heard;

	g.n = pg_take(s, g.v);
	FAULT("db.before_commit");
	heard = pg_put_group(&g);
	if (heard && FAULT_FAILS("db.lost"))
		pg_lose_answer(c);
	heard = heard && pg_get_group(&g);
	seq = c->seq;
	memcpy(mark, c->mark, sizeof(mark));
	if (heard)
		pg_heard(s);
	if (!heard || g.fault != PG_NONE)
		pg_discard(c, g.fault != PG_NONE ? g.fault : PG_LOST, g.why);
	else
		pg_release(c);
	if (!heard || !g.flushed)
		pg_settle(&g, mark, seq);
	FAULT("db.after_commit");
	metric_observe(M_DB_COMMIT, (double)(clock_mono_us() - begun) / (double)SEC_US, NULL);
	free(g.pieces);
	pg_tell(&g);
}

/* One turn of waiting or leading. False: no connection was to be had in time. */
CO_FN static bool pg_submit_turn(struct pg_store *s, struct pg_submit *u)
{
	struct pg_conn *c;
	struct pg_wait w;
	enum co_end end;

	if (u->taken) {
		(void)co_wait(0);
		return true;
	}
	c = pg_acquire(s, u->deadline, &w, &u->taken, &end);
	if (c != NULL && s->batches != NULL) {
		pg_lead(s, c);
	} else if (c != NULL) {
		pg_release(c);
	} else if (!u->taken && end == CO_TIMEOUT) {
		pg_dequeue(s, u);
		u->fault = PG_STORAGE;
		return false;
	}
	return true;
}

static bool pg_result(const struct pg_store *s, const struct pg_submit *u, struct error *err)
{
	if (u->outcome == OUTCOME_COMMITTED)
		return true;
	if (u->fault == PG_STORAGE && u->outcome == OUTCOME_NONE)
		return pg_unavailable(s, err);
	if (u->fault == PG_FENCED) {
		const char *count = strstr(u->why, PG_FENCE_MARK);

		error_set(err, ERR_FENCED, "statement %zu touched %lld rows instead of %lld", u->failed_at,
			  count != NULL ? strtoll(count + strlen(PG_FENCE_MARK), NULL, 10) : 0LL,
			  (long long)u->b->v[u->failed_at].expect);
	} else {
		pg_fault_error(u->fault, u->why[0] != '\0' ? u->why : "the connection to the database broke", err);
	}
	if (err != NULL)
		snprintf(err->field, sizeof(err->field), "%zu", u->failed_at);
	return false;
}

CO_FN bool db_pg_commit(struct db *db, struct db_batch *b, struct error *err)
{
	struct pg_store *s = pg_store_of(db);
	struct pg_submit u = {.b = b, .co = co_self(), .deadline = pg_patience(s)};
	struct co_shield shield;
	bool ok = true;

	BUG_ON(co_self() == NULL);
	if (s->closing)
		return error_set(err, ERR_STORAGE, "the store is closing");
	pg_enqueue(s, &u);
	while (ok && !u.done) {
		co_shield(&shield, COMMIT_SHIELD_US);
		ok = pg_submit_turn(s, &u);
		co_unshield(&shield);
	}
	ok = pg_result(s, &u, err);
	if (!ok && u.fault != PG_FENCED && u.fault != PG_DUPLICATE)
		metric_add(M_DB_ERRORS, 1, NULL);
	return ok;
}
