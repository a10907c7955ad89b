/* SPDX-License-Identifier: MIT */
/*
 * The PostgreSQL store of one process: the pool of connections, its growth and recovery with back-off, the probe that
 * notices a server that went away. Called through db.c. Statements and transactions are in db_pg_query.c and
 * db_pg_commit.c; connecting itself happens on a thread (db_pg_connect.c).
 */
#include "common/db_pg_store.h"

#include "common/clock.h"
#include "common/conf.h"
#include "common/metrics.h"

#define POOL_THREADS 2
#define POOL_LANE_DEPTH 256
#define POOL_MIN 2 /* connections of a worker, however many share storage.pool_size: a long read holds up no commit */
#define POOL_TICK_US (250 * MS_US)
#define POOL_PROBE_US SEC_US
#define POOL_STUCK_US (5 * SEC_US) /* a server that has not answered for so long is not there */
#define POOL_DRAIN_US SEC_US
#define POOL_SPARE_US (60 * SEC_US) /* an unused connection is closed, but for the last one */
#define POOL_BACKOFF_US (100 * MS_US)
#define POOL_BACKOFF_MAX (2 * SEC_US)

struct pg_store *pg_store_of(struct db *db)
{
	return container_of(db, struct pg_store, db);
}

int64_t pg_patience(const struct pg_store *s)
{
	return clock_mono_us() + s->conf->storage.pool_timeout;
}

/* ---- what is known of the server ---- */

static void pg_note_up(struct pg_store *s)
{
	if (!s->up)
		log_info("db", "the database is usable");
	s->up = true;
}

static void pg_note_down(struct pg_store *s, const char *why)
{
	pg_message(why, s->why, sizeof(s->why));
	if (s->up)
		log_error("db", "the database is not usable", KV_S("reason", s->why));
	s->up = false;
}

void pg_heard(struct pg_store *s)
{
	s->heard_us = clock_mono_us();
	pg_note_up(s);
}

bool pg_unavailable(const struct pg_store *s, struct error *err)
{
	if (!s->up)
		return error_set(err, ERR_STORAGE, "the database is not usable: %s", s->why);
	return error_set(err, ERR_STORAGE, "all %u database connections were busy for %lld ms", s->open,
			 (long long)(s->conf->storage.pool_timeout / MS_US));
}

static bool pg_healthy(const struct db *db, struct error *err)
{
	const struct pg_store *s = (const struct pg_store *)(const void *)db;

	return s->up || error_set(err, ERR_STORAGE, "%s", s->why);
}

static int64_t pg_latency_us(const struct db *db)
{
	return ((const struct pg_store *)(const void *)db)->latency_us;
}

/* ---- who waits ---- */

static void pg_wait_leave(struct pg_store *s, struct pg_wait *w)
{
	if (!w->queued)
		return;
	*(w->prev != NULL ? &w->prev->next : &s->first) = w->next;
	*(w->next != NULL ? &w->next->prev : &s->last) = w->prev;
	w->queued = false;
	s->waiting--;
}

static void pg_wait_enter(struct pg_store *s, struct pg_wait *w)
{
	*w = (struct pg_wait){.co = co_self(), .prev = s->last, .queued = true};
	*(s->last != NULL ? &s->last->next : &s->first) = w;
	s->last = w;
	s->waiting++;
}

static void pg_gauges(const struct pg_store *s)
{
	const struct pg_conn *c;
	unsigned idle = 0;

	for (c = s->conns; c != NULL; c = c->next)
		idle += c->use == PG_IDLE;
	metric_set(M_DB_POOL, idle, "idle", NULL);
	metric_set(M_DB_POOL, s->open - idle, "busy", NULL);
	metric_set(M_DB_POOL, s->waiting, "waiting", NULL);
}

/* ---- growing ---- */

struct pg_connecting {
	struct pg_store *store;
	struct pg_ready ready;
};

static void pg_connect_work(void *job)
{
	struct pg_connecting *j = job;

	pg_ready_make(&j->ready);
}

static void pg_adopt(struct pg_store *s, struct pg_ready *r)
{
	struct pg_conn *c = pg_conn_new(s, r);

	if (c == NULL)
		return;
	if (c->pooler && !s->pooler)
		log_info("db", "the database is behind a pooler: statements are not prepared");
	s->pooler |= c->pooler;
	c->next = s->conns;
	s->conns = c;
	s->open++;
	pg_heard(s);
	pg_release(c);
}

/* The pause doubles; its random part keeps the workers of many nodes from coming back all at once. */
static void pg_connect_failed(struct pg_store *s, const struct error *why)
{
	int64_t pause = POOL_BACKOFF_US << (s->failures < 5 ? s->failures : 5);

	if (pause > POOL_BACKOFF_MAX)
		pause = POOL_BACKOFF_MAX;
	s->failures++;
	s->connect_at = clock_mono_us() + pause / 2 + ids_uniform((uint32_t)pause);
	metric_add(M_DB_ERRORS, 1, NULL);
	if (s->open == 0)
		pg_note_down(s, why->msg);
	else
		log_warn("db", "no further database connection", KV_S("reason", why->msg));
}

static void pg_connect_done(void *job)
{
	struct pg_connecting *j = job;
	struct pg_store *s = j->store;

	s->connecting--;
	s->jobs--;
	if (j->ready.pg != NULL && s->closing) {
		PQfinish(j->ready.pg);
	} else if (j->ready.pg != NULL) {
		if (s->failures > 0 || s->open == 0)
			metric_add(M_DB_RECONNECTS, 1, NULL);
		s->failures = 0;
		pg_adopt(s, &j->ready);
	} else if (!s->closing) {
		pg_connect_failed(s, &j->ready.error);
	}
	free(j);
}

/* One more connection for each who waits and has none coming, within the share of this worker. */
static void pg_grow(struct pg_store *s)
{
	while (!s->closing && clock_mono_us() >= s->connect_at && s->open + s->connecting < s->size &&
	       s->connecting < POOL_THREADS && (s->connecting < s->waiting || s->open + s->connecting == 0)) {
		struct pg_connecting *j = xcalloc(1, sizeof(*j));

		*j = (struct pg_connecting){.store = s, .ready = {.conf = s->conf, .pooler = s->pooler}};
		if (!lane_submit(s->lane, pg_connect_work, pg_connect_done, j)) {
			free(j);
			return;
		}
		s->connecting++;
		s->jobs++;
	}
}

/* ---- giving and taking ---- */

static void pg_use(struct pg_conn *c, enum pg_use use)
{
	c->use = use;
	c->since_us = clock_mono_us();
}

CO_FN struct pg_conn *pg_acquire(struct pg_store *s, int64_t deadline, struct pg_wait *w, const bool *stop,
				 enum co_end *end)
{
	struct pg_conn *c;

	*end = CO_DONE;
	for (c = s->conns; c != NULL && c->use != PG_IDLE; c = c->next)
		;
	if (c != NULL && s->first == NULL) {
		pg_use(c, PG_BUSY);
		return c;
	}
	pg_wait_enter(s, w);
	pg_grow(s);
	while (w->conn == NULL && *end == CO_DONE && (stop == NULL || !*stop))
		*end = co_wait(deadline);
	pg_wait_leave(s, w);
	return w->conn; /* also when it came together with the end: the caller looks at it first */
}

void pg_release(struct pg_conn *c)
{
	struct pg_store *s = c->store;
	struct pg_wait *w = s->first;

	if (PQstatus(c->pg) != CONNECTION_OK) {
		pg_discard(c, PG_LOST, PQerrorMessage(c->pg));
		return;
	}
	pg_use(c, PG_IDLE);
	event_del(&c->write);
	BUG_ON(event_add(&c->read, NULL) != 0);
	if (w == NULL)
		return;
	pg_use(c, PG_BUSY);
	pg_wait_leave(s, w);
	w->conn = c;
	co_wake(w->co);
}

void pg_abandon(struct pg_conn *c)
{
	pg_use(c, PG_DRAIN);
	BUG_ON(event_add(&c->read, NULL) != 0);
	event_active(&c->read, EV_READ, 0); /* all may be here already */
}

void pg_discard(struct pg_conn *c, enum pg_fault fault, const char *why)
{
	struct pg_store *s = c->store;
	struct pg_conn **p;

	for (p = &s->conns; *p != c; p = &(*p)->next)
		;
	*p = c->next;
	s->open--;
	if (fault == PG_UNPREPARED && !s->pooler) {
		log_info("db", "prepared statements do not work here: behind a pooler, no more are made");
		s->pooler = true;
	}
	if (fault == PG_LOST && s->open == 0)
		pg_note_down(s, why[0] != '\0' ? why : "the connection broke");
	pg_conn_close(c);
	pg_grow(s);
}

/* ---- looking after them ---- */

struct pg_cancelling {
	struct pg_store *store;
	PGcancel *cancel;
};

static void pg_cancel_work(void *job)
{
	const struct pg_cancelling *j = job;
	char text[256];

	(void)PQcancel(j->cancel, text, sizeof(text)); /* the connection is closed in any case */
}

static void pg_cancel_done(void *job)
{
	struct pg_cancelling *j = job;

	j->store->jobs--;
	PQfreeCancel(j->cancel);
	free(j);
}

/* Ends what the server does for this connection, which is then closed. */
static void pg_cancel(struct pg_conn *c)
{
	struct pg_cancelling *j = xcalloc(1, sizeof(*j));

	*j = (struct pg_cancelling){c->store, PQgetCancel(c->pg)};
	if (j->cancel != NULL && lane_submit(c->store->lane, pg_cancel_work, pg_cancel_done, j)) {
		c->store->jobs++;
		return;
	}
	PQfreeCancel(j->cancel);
	free(j);
}

static void pg_probe(struct pg_conn *c)
{
	struct error err = ERROR_INIT;
	bool prepares;

	pg_use(c, PG_PROBE);
	if (!pg_conn_send(c, pg_sql_get(&c->store->sqls, "SELECT 1", DB_ANY, NULL, 0), NULL, 0, &prepares, &err) ||
	    !pg_conn_sync(c) || PQflush(c->pg) < 0)
		pg_discard(c, PG_LOST, err.msg);
}

/* False: c is gone. */
static void pg_look_after(struct pg_store *s, struct pg_conn *c, int64_t now)
{
	int64_t age = now - c->since_us;

	if (c->use == PG_DRAIN && age > POOL_DRAIN_US) {
		pg_cancel(c);
		pg_discard(c, PG_STALE, "");
	} else if (c->use == PG_PROBE && age > POOL_STUCK_US) {
		pg_note_down(s, "the database has not answered for 5 s");
		pg_discard(c, PG_STALE, "");
	} else if (c->use == PG_IDLE && age > POOL_SPARE_US && s->open > 1) {
		pg_discard(c, PG_STALE, "");
	} else if (c->use == PG_IDLE && now - s->heard_us >= POOL_PROBE_US) {
		s->heard_us = now; /* one probe is enough */
		pg_probe(c);
	}
}

static void pg_tick(void *arg)
{
	struct pg_store *s = arg;
	struct pg_conn *c, *next;
	int64_t now = clock_mono_us();

	for (c = s->conns; c != NULL; c = next) {
		next = c->next;
		pg_look_after(s, c, now);
	}
	pg_grow(s);
	pg_gauges(s);
	if (!s->closing)
		loop_timer_set(&s->tick, POOL_TICK_US);
}

/* ---- life ---- */

static struct db *pg_open(struct loop *l, const struct conf *c, struct error *err)
{
	struct pg_store *s = xcalloc(1, sizeof(*s));
	struct pg_ready ready = {.conf = c};
	int64_t share = c->storage.pool_size / (int64_t)conf_workers(c);

	(void)err;
	*s = (struct pg_store){.db = {&db_pg_ops}, .loop = l, .up = true};
	s->conf = conf_ref((struct conf *)(uintptr_t)c);
	s->size = (unsigned)(share > POOL_MIN ? share : POOL_MIN);
	s->batches_end = &s->batches;
	s->lane = lane_new(l, "db-connect", POOL_THREADS, POOL_LANE_DEPTH);
	s->pooler = c->storage.pooler == AUTO_ON;
	loop_timer_init(l, &s->tick, pg_tick, s);
	/* The first one is waited for, so that who asks first is answered; without it we start and go on trying. */
	ready.pooler = s->pooler;
	pg_ready_make(&ready);
	if (ready.pg != NULL)
		pg_adopt(s, &ready);
	else
		pg_connect_failed(s, &ready.error);
	pg_tick(s);
	return &s->db;
}

static void pg_close(struct db *db)
{
	struct pg_store *s = pg_store_of(db);
	struct pg_conn *c, *next;

	s->closing = true;
	loop_timer_stop(&s->tick);
	while (s->jobs > 0)
		loop_turn(s->loop, true);
	for (c = s->conns; c != NULL; c = next) {
		next = c->next;
		pg_conn_close(c);
	}
	lane_free(s->lane);
	pg_sqls_free(&s->sqls);
	conf_unref(s->conf);
	free(s);
}

/* PostgreSQL looks after its log itself. */
CO_FN static bool pg_checkpoint(struct db *db, struct error *err)
{
	(void)db;
	(void)err;
	return true;
}

const struct db_ops db_pg_ops = {
    .open = pg_open,
    .close = pg_close,
    .query = db_pg_query,
    .commit = db_pg_commit,
    .checkpoint = pg_checkpoint,
    .healthy = pg_healthy,
    .latency_us = pg_latency_us,
    .migrate = db_pg_migrate,
    .check = db_pg_check,
};
