/* SPDX-License-Identifier: MIT */
/*
 * The SQLite store of one process: one writer thread that commits all waiting batches together, two reader threads, and
 * a probe each second that notices a full disk or a file that went away and recovers when it is back. Called through
 * db.c. Does not create databases (db_migrate.c does) and never writes to one whose file is gone.
 */
#include "common/db_store.h"

#include <pthread.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/conf.h"
#include "common/db_conn.h"
#include "common/fault.h"
#include "common/lane.h"
#include "common/metrics.h"

#define SQLITE_READERS 2
#define SQLITE_READ_DEPTH 4096
#define SQLITE_WRITE_DEPTH 64
#define SQLITE_PROBE_US SEC_US
#define SQLITE_STUCK_US (5 * SEC_US)     /* a probe that takes longer means an unusable store */
#define SQLITE_SHIELD_US (3600 * SEC_US) /* renewed until the outcome of a commit is known */
#define SQLITE_WAL_MAX ((off_t)64 << 20)
#define SQLITE_CUT_MS 200   /* a checkpoint that cuts the log waits no longer for readers */
#define SQLITE_BUSY_MS 5000 /* as db_conn.c sets it */

struct sqlite_health {
	bool gone;           /* the path does not lead to our file */
	bool full;           /* less free space than storage.min_free_bytes */
	bool failed;         /* the last write or probe failed */
	char why[200];       /* of failed */
	int64_t latency_us;  /* of the last probe */
	int64_t probe_begun; /* monotonic, 0 = none under way */
	uint64_t generation; /* of the open file; readers reopen when it changes */
};

/* What threads and loop share; the mutex guards all of it. */
struct sqlite_shared {
	pthread_mutex_t mutex;
	struct sqlite_health health;
	struct db_batch *waiting, **waiting_end;
	bool drain_queued;
	bool reader_busy[SQLITE_READERS];
};

struct sqlite_probe {
	struct sqlite_store *store;
	bool usable;
	struct error why;
};

struct sqlite_store {
	struct db db;
	struct loop *loop;
	char *dir, *path, *wal, *shm;
	uint64_t min_free;
	int64_t read_timeout;
	struct lane *writes, *reads;
	struct sqlite_shared *shared;
	/* Used by the writer's thread only, once it runs. */
	struct db_conn writer;
	int lock_fd;
	ino_t wal_inode, shm_inode; /* of the log that belongs to the open file */
	/* Each used by the thread that made it busy. */
	struct db_conn readers[SQLITE_READERS];
	/* Used by the loop only. */
	struct loop_timer timer;
	struct sqlite_probe probe;
	bool was_usable, closing;
	unsigned jobs; /* submitted and not yet reported back */
};

static struct sqlite_store *sqlite_of(struct db *db)
{
	return container_of(db, struct sqlite_store, db);
}

/* ---- health ---- */

static struct sqlite_health sqlite_health(const struct sqlite_store *s)
{
	struct sqlite_health h;

	pthread_mutex_lock(&s->shared->mutex);
	h = s->shared->health;
	pthread_mutex_unlock(&s->shared->mutex);
	return h;
}

/* The outcome of a write or probe; NULL: it went well. */
static void sqlite_note(const struct sqlite_store *s, const struct error *failure)
{
	pthread_mutex_lock(&s->shared->mutex);
	s->shared->health.failed = failure != NULL;
	if (failure != NULL)
		snprintf(s->shared->health.why, sizeof(s->shared->health.why), "%.199s", failure->msg);
	pthread_mutex_unlock(&s->shared->mutex);
}

static bool sqlite_judge(const struct sqlite_health *h, bool writing, struct error *err)
{
	if (h->gone)
		return error_set(err, ERR_STORAGE, "database file is gone");
	if (h->full && writing)
		return error_set(err, ERR_STORAGE, "disk full: less free space than storage.min_free_bytes");
	return true;
}

static bool sqlite_healthy(const struct db *db, struct error *err)
{
	const struct sqlite_store *s = (const struct sqlite_store *)(const void *)db;
	struct sqlite_health h = sqlite_health(s);
	int64_t waited = h.probe_begun != 0 ? clock_mono_us() - h.probe_begun : 0;

	if (waited > SQLITE_STUCK_US)
		return error_set(err, ERR_STORAGE, "the store has not answered for %lld s",
				 (long long)(waited / SEC_US));
	if (!sqlite_judge(&h, true, err))
		return false;
	return !h.failed || error_set(err, ERR_STORAGE, "%s", h.why);
}

static int64_t sqlite_latency_us(const struct db *db)
{
	return sqlite_health((const struct sqlite_store *)(const void *)db).latency_us;
}

/* ---- the file: going away, coming back ---- */

static ino_t sqlite_inode(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? st.st_ino : 0;
}

/* Is our file still at the path? Remembers what it saw. */
static bool sqlite_present(struct sqlite_store *s)
{
	bool moved = db_conn_moved(&s->writer);

	pthread_mutex_lock(&s->shared->mutex);
	s->shared->health.gone = moved;
	pthread_mutex_unlock(&s->shared->mutex);
	return !moved;
}

static void sqlite_adopt(struct sqlite_store *s, const struct db_conn *fresh)
{
	db_conn_close(&s->writer);
	s->writer = *fresh;
	s->wal_inode = sqlite_inode(s->wal);
	s->shm_inode = sqlite_inode(s->shm);
	pthread_mutex_lock(&s->shared->mutex);
	s->shared->health.generation++;
	s->shared->health.gone = false;
	pthread_mutex_unlock(&s->shared->mutex);
}

/*
 * Another file stands at the path, a restored backup say. A log left behind by the former file must not be replayed
 * into it: whoever comes first removes it; a log made since has another inode, as we still hold the old one open.
 */
static void sqlite_drop_old_log(const struct sqlite_store *s)
{
	if (s->wal_inode != 0 && sqlite_inode(s->wal) == s->wal_inode)
		unlink(s->wal);
	if (s->shm_inode != 0 && sqlite_inode(s->shm) == s->shm_inode)
		unlink(s->shm);
}

static bool sqlite_open_ours(struct sqlite_store *s, struct error *err)
{
	struct db_conn fresh;
	int64_t ours;

	if (!db_conn_open(&fresh, s->path, DB_CONN_WRITE, err))
		return false;
	if (db_conn_int(&fresh, "SELECT COUNT(*) FROM sqlite_schema WHERE name = 'schema_migrations'", DB_NO_ARGS,
			&ours, err)) {
		if (ours == 1) {
			sqlite_adopt(s, &fresh);
			return true;
		}
		error_set(err, ERR_STORAGE, "%.150s has no tables of this program; migrate first", s->path);
	}
	db_conn_close(&fresh);
	return false;
}

/* Opens what is at the path now, under the write lock of the directory as it is now. */
static bool sqlite_reopen(struct sqlite_store *s, bool replaced, struct error *err)
{
	int lock_fd;
	bool ok;

	if (access(s->path, F_OK) != 0)
		return error_set(err, ERR_STORAGE, "database file is gone");
	lock_fd = db_lock_open(s->dir, err);
	if (lock_fd < 0)
		return false;
	close(s->lock_fd);
	s->lock_fd = lock_fd;
	if (!db_lock_take(s->lock_fd, err))
		return false;
	if (replaced)
		sqlite_drop_old_log(s);
	ok = sqlite_open_ours(s, err);
	db_lock_release(s->lock_fd);
	return ok;
}

/* ---- probing ---- */

static bool sqlite_disk_full(const struct sqlite_store *s)
{
	struct statvfs v;
	uint64_t available;

	if (statvfs(s->dir, &v) != 0 || __builtin_mul_overflow((uint64_t)v.f_bavail, (uint64_t)v.f_frsize, &available))
		return false;
	return available < s->min_free;
}

static bool sqlite_try_read(struct sqlite_store *s, struct error *err)
{
	int64_t objects;

	return db_conn_int(&s->writer, "SELECT COUNT(*) FROM sqlite_schema", DB_NO_ARGS, &objects, err);
}

/* After a failed write: writes one page, so that recovery is noticed without anybody's request. */
static bool sqlite_try_write(struct sqlite_store *s, struct error *err)
{
	int64_t version;
	char sql[64];
	bool ok;

	if (!db_lock_take(s->lock_fd, err))
		return false;
	ok = db_conn_int(&s->writer, "PRAGMA user_version", DB_NO_ARGS, &version, err);
	if (ok) {
		snprintf(sql, sizeof(sql), "PRAGMA user_version = %lld", (long long)((version + 1) % 1000));
		ok = db_conn_exec(&s->writer, sql, err);
	}
	db_lock_release(s->lock_fd);
	return ok;
}

static void sqlite_probe_work(void *job)
{
	struct sqlite_probe *p = job;
	struct sqlite_store *s = p->store;
	bool failed = sqlite_health(s).failed, full = sqlite_disk_full(s), present = sqlite_present(s);
	int64_t begun = clock_mono_us();
	struct sqlite_health h;
	bool ok = present && sqlite_try_read(s, &p->why);

	if (!ok)
		ok = sqlite_reopen(s, !present, &p->why) && sqlite_try_read(s, &p->why);
	if (ok && failed && !full)
		ok = sqlite_try_write(s, &p->why);
	sqlite_note(s, ok ? NULL : &p->why);
	pthread_mutex_lock(&s->shared->mutex);
	s->shared->health.full = full;
	s->shared->health.latency_us = clock_mono_us() - begun;
	s->shared->health.probe_begun = 0;
	h = s->shared->health;
	pthread_mutex_unlock(&s->shared->mutex);
	p->usable = sqlite_judge(&h, true, &p->why) && ok;
}

static void sqlite_probe_done(void *job)
{
	struct sqlite_probe *p = job;
	struct sqlite_store *s = p->store;

	s->jobs--;
	if (p->usable && !s->was_usable)
		log_info("db", "the store is usable again", KV_S("path", s->path));
	else if (!p->usable && s->was_usable)
		log_error("db", "the store is unusable", KV_S("path", s->path), KV_S("reason", p->why.msg));
	s->was_usable = p->usable;
	if (!s->closing)
		loop_timer_set(&s->timer, SQLITE_PROBE_US);
}

static void sqlite_probe_start(void *arg)
{
	struct sqlite_store *s = arg;

	pthread_mutex_lock(&s->shared->mutex);
	s->shared->health.probe_begun = clock_mono_us();
	pthread_mutex_unlock(&s->shared->mutex);
	if (lane_submit(s->writes, sqlite_probe_work, sqlite_probe_done, &s->probe))
		s->jobs++;
	else
		loop_timer_set(&s->timer, SQLITE_PROBE_US);
}

/* ---- writing ---- */

/* All that wait when the lock is ours: they share a transaction. */
struct sqlite_drain {
	struct sqlite_store *store;
	struct db_batch *first;
	int64_t us;
	unsigned storage_errors;
};

static void sqlite_fail_statement(struct db_batch *b, size_t index)
{
	snprintf(b->error.field, sizeof(b->error.field), "%zu", index);
}

static bool sqlite_run_statements(struct db_conn *c, struct db_batch *b)
{
	int64_t rows;
	size_t i;

	b->error = ERROR_INIT;
	for (i = 0; i < b->n; i++) {
		const struct db_stmt *st = &b->v[i];

		if (!db_conn_run(c, st->sql, st->args, st->n, &rows, &b->error))
			break;
		if (st->expect != DB_ANY && rows != st->expect) {
			error_set(&b->error, ERR_FENCED, "statement %zu touched %lld rows instead of %lld", i,
				  (long long)rows, (long long)st->expect);
			break;
		}
	}
	b->ok = i == b->n;
	if (!b->ok)
		sqlite_fail_statement(b, i);
	return b->ok;
}

/* True: the batch's outcome is in it. False: the store failed, with the reason in b->error. */
static bool sqlite_run_batch(struct db_conn *c, struct db_batch *b)
{
	b->ok = false;
	b->error = ERROR_INIT;
	if (!db_conn_run(c, "SAVEPOINT batch", DB_NO_ARGS, NULL, &b->error))
		return b->error.code != ERR_STORAGE;
	if (!sqlite_run_statements(c, b) &&
	    (b->error.code == ERR_STORAGE || !db_conn_run(c, "ROLLBACK TO batch", DB_NO_ARGS, NULL, &b->error)))
		return false;
	return db_conn_run(c, "RELEASE batch", DB_NO_ARGS, NULL, &b->error);
}

/* Runs the batches of [first, end): each in a savepoint of its own, or `bare`, so that the first failure ends all. */
static bool sqlite_run_batches(struct db_conn *c, struct db_batch *first, const struct db_batch *end, bool bare,
			       struct error *err)
{
	for (struct db_batch *b = first; b != end; b = b->next) {
		if (!(bare ? sqlite_run_statements(c, b) : sqlite_run_batch(c, b))) {
			*err = b->error;
			return false;
		}
	}
	return true;
}

/* One transaction over [first, end). False: nothing of it was written, the store's failure is in err. */
static bool sqlite_transaction(struct db_conn *c, struct db_batch *first, const struct db_batch *end, bool bare,
			       struct error *err)
{
	if (!db_conn_run(c, "BEGIN IMMEDIATE", DB_NO_ARGS, NULL, err))
		return false;
	if (!sqlite_run_batches(c, first, end, bare, err))
		goto rollback;
	FAULT("db.before_commit");
	if (FAULT_FAILS("db.full")) {
		error_set(err, ERR_STORAGE, "disk full");
		goto rollback;
	}
	if (!db_conn_run(c, "COMMIT", DB_NO_ARGS, NULL, err))
		goto rollback;
	FAULT("db.after_commit");
	return true;

rollback:
	/* SQLite has already rolled back after some failures. */
	if (sqlite3_get_autocommit(c->db) == 0)
		(void)sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
	return false;
}

static void sqlite_run_alone(struct sqlite_drain *d, struct db_batch *b)
{
	struct error err = ERROR_INIT;

	if (sqlite_transaction(&d->store->writer, b, b->next, false, &err)) {
		sqlite_note(d->store, NULL);
		return;
	}
	b->ok = false;
	b->error = err;
	if (err.code != ERR_STORAGE)
		b->error.code = ERR_INTERNAL;
	sqlite_note(d->store, &err);
	d->storage_errors++;
}

static struct db_batch *sqlite_take_waiting(struct sqlite_store *s)
{
	struct db_batch *first;

	pthread_mutex_lock(&s->shared->mutex);
	first = s->shared->waiting;
	s->shared->waiting = NULL;
	s->shared->waiting_end = &s->shared->waiting;
	s->shared->drain_queued = false;
	pthread_mutex_unlock(&s->shared->mutex);
	return first;
}

static void sqlite_refuse(struct sqlite_drain *d, const struct error *err)
{
	struct db_batch *b;

	for (b = d->first; b != NULL; b = b->next) {
		b->ok = false;
		b->error = *err;
		d->storage_errors++;
	}
}

/*
 * One transaction for all. Batches that fail are rare, and a savepoint costs a copy of each page that a batch touches:
 * they get one only when the first try has failed.
 */
static bool sqlite_share(struct sqlite_store *s, struct db_batch *first)
{
	struct error err = ERROR_INIT;

	return sqlite_transaction(&s->writer, first, NULL, true, &err) ||
	       (err.code != ERR_STORAGE && sqlite_transaction(&s->writer, first, NULL, false, &err));
}

static void sqlite_drain_work(void *job)
{
	struct sqlite_drain *d = job;
	struct sqlite_store *s = d->store;
	struct error err = ERROR_INIT;
	bool locked = db_lock_take(s->lock_fd, &err), present = locked && sqlite_present(s);
	struct sqlite_health h = sqlite_health(s);
	int64_t begun = clock_mono_us();
	struct db_batch *b;

	d->first = sqlite_take_waiting(s);
	if (!present || !sqlite_judge(&h, true, &err)) {
		if (locked && !present)
			(void)sqlite_judge(&h, true, &err);
		sqlite_refuse(d, &err);
	} else if (d->first->next != NULL && sqlite_share(s, d->first)) {
		sqlite_note(s, NULL);
	} else {
		/* One batch, or a shared transaction that failed: each on its own, so that none suffers for another. */
		for (b = d->first; b != NULL; b = b->next)
			sqlite_run_alone(d, b);
	}
	if (locked)
		db_lock_release(s->lock_fd);
	d->us = clock_mono_us() - begun;
}

static void sqlite_drain_done(void *job)
{
	struct sqlite_drain *d = job;
	struct db_batch *b, *next;

	d->store->jobs--;
	metric_observe(M_DB_COMMIT, (double)d->us / (double)SEC_US, NULL);
	if (d->storage_errors > 0)
		metric_add(M_DB_ERRORS, d->storage_errors, NULL);
	for (b = d->first; b != NULL; b = next) {
		next = b->next;
		b->done = true;
		co_wake(b->waiter);
	}
	free(d);
}

static bool sqlite_enqueue(struct sqlite_store *s, struct db_batch *b, struct error *err)
{
	struct sqlite_drain *d;
	bool queued;

	b->next = NULL;
	pthread_mutex_lock(&s->shared->mutex);
	queued = s->shared->drain_queued;
	s->shared->drain_queued = true;
	*s->shared->waiting_end = b;
	s->shared->waiting_end = &b->next;
	pthread_mutex_unlock(&s->shared->mutex);
	if (queued)
		return true;
	d = xcalloc(1, sizeof(*d));
	d->store = s;
	if (lane_submit(s->writes, sqlite_drain_work, sqlite_drain_done, d)) {
		s->jobs++;
		return true;
	}
	/* No drain was queued, so that nothing but b can be waiting. */
	BUG_ON(sqlite_take_waiting(s) != b);
	free(d);
	return error_set(err, ERR_STORAGE, "the store is too busy");
}

CO_FN static bool sqlite_commit(struct db *db, struct db_batch *b, struct error *err)
{
	struct sqlite_store *s = sqlite_of(db);
	struct co_shield shield;

	BUG_ON(co_self() == NULL);
	if (s->closing)
		return error_set(err, ERR_STORAGE, "the store is closing");
	b->done = false;
	b->waiter = co_self();
	if (!sqlite_enqueue(s, b, err))
		return false;
	while (!b->done) {
		co_shield(&shield, SQLITE_SHIELD_US);
		while (!b->done && co_wait(0) == CO_DONE)
			;
		co_unshield(&shield);
	}
	if (!b->ok && err != NULL)
		*err = b->error;
	return b->ok;
}

/* ---- reading ---- */

struct sqlite_read {
	struct sqlite_store *store;
	const char *sql;
	struct db_val *args;
	size_t n;
	struct db_val *cells; /* text cells hold their offset in `text` until the end */
	size_t count, columns, cap;
	struct buf text;
	bool ok;
	struct error error;
};

static void sqlite_read_free(void *job)
{
	struct sqlite_read *r = job;

	free(r->args);
	free(r->cells);
	buf_free(&r->text);
	free(r);
}

/* Arguments and their bytes in one block: the reader may be gone when the thread comes to it. */
static struct sqlite_read *sqlite_read_new(struct sqlite_store *s, const char *sql, const struct db_val *args, size_t n)
{
	struct sqlite_read *r = xcalloc(1, sizeof(*r));
	size_t bytes = (n + 1) * sizeof(*args), at = bytes, i;

	for (i = 0; i < n; i++)
		if (args[i].type == DB_TEXT)
			BUG_ON(__builtin_add_overflow(bytes, args[i].s.n, &bytes));
	r->store = s;
	r->sql = sql;
	r->n = n;
	r->args = xmalloc(bytes);
	for (i = 0; i < n; i++) {
		r->args[i] = args[i];
		if (args[i].type != DB_TEXT || args[i].s.n == 0)
			continue;
		r->args[i].s.p = (const char *)r->args + at;
		memcpy((char *)r->args + at, args[i].s.p, args[i].s.n);
		at += args[i].s.n;
	}
	return r;
}

static void sqlite_read_cell(struct sqlite_read *r, sqlite3_stmt *stmt, int column)
{
	struct db_val *v = &r->cells[r->count * r->columns + (size_t)column];
	struct str s;

	switch (sqlite3_column_type(stmt, column)) {
	case SQLITE_NULL:
		*v = DB_NONE;
		break;
	case SQLITE_INTEGER:
	case SQLITE_FLOAT:
		*v = DB_I(sqlite3_column_int64(stmt, column));
		break;
	default:
		s.p = sqlite3_column_blob(stmt, column);
		s.n = (size_t)sqlite3_column_bytes(stmt, column);
		*v = (struct db_val){.type = DB_TEXT, .i = (int64_t)r->text.n, .s = {NULL, s.n}};
		buf_add(&r->text, s);
		break;
	}
}

static bool sqlite_read_row(struct sqlite_read *r, sqlite3_stmt *stmt)
{
	int column;

	if (r->count == DB_ROWS_MAX)
		return error_set(&r->error, ERR_INTERNAL, "more than %d rows: %.160s", DB_ROWS_MAX, r->sql);
	if (r->count == r->cap) {
		r->cap = r->cap > 0 ? 2 * r->cap : 16;
		r->cells = xrealloc(r->cells, (r->cap * r->columns + 1) * sizeof(*r->cells));
	}
	for (column = 0; column < (int)r->columns; column++)
		sqlite_read_cell(r, stmt, column);
	if (r->text.overflow)
		return error_set(&r->error, ERR_INTERNAL, "more than %zu bytes: %.160s", DB_BYTES_MAX, r->sql);
	r->count++;
	return true;
}

static void sqlite_read_run(struct sqlite_read *r, struct db_conn *c)
{
	sqlite3_stmt *stmt;
	size_t i;
	int rc;

	if (!db_conn_prepare(c, r->sql, r->args, r->n, &stmt, &r->error))
		return;
	r->columns = (size_t)sqlite3_column_count(stmt);
	r->text.max = DB_BYTES_MAX;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW && sqlite_read_row(r, stmt))
		;
	r->ok = rc == SQLITE_DONE || (rc != SQLITE_ROW && db_conn_fail(c, rc, &r->error));
	db_conn_done(stmt);
	for (i = 0; i < r->count * r->columns; i++)
		if (r->cells[i].type == DB_TEXT)
			r->cells[i].s.p = r->cells[i].s.n > 0 ? r->text.p + r->cells[i].i : "";
}

/* There are as many connections as threads, so that one is free. */
static size_t sqlite_reader_take(struct sqlite_store *s)
{
	size_t i;

	pthread_mutex_lock(&s->shared->mutex);
	for (i = 0; i < SQLITE_READERS && s->shared->reader_busy[i]; i++)
		;
	BUG_ON(i == SQLITE_READERS);
	s->shared->reader_busy[i] = true;
	pthread_mutex_unlock(&s->shared->mutex);
	return i;
}

static void sqlite_reader_give(struct sqlite_store *s, size_t i)
{
	pthread_mutex_lock(&s->shared->mutex);
	s->shared->reader_busy[i] = false;
	pthread_mutex_unlock(&s->shared->mutex);
}

/* The connection follows the writer to another file. */
static bool sqlite_reader_ready(struct sqlite_store *s, struct db_conn *c, uint64_t generation, struct error *err)
{
	if (c->db != NULL && c->generation == generation)
		return true;
	db_conn_close(c);
	if (!db_conn_open(c, s->path, DB_CONN_READ, err))
		return false;
	c->generation = generation;
	return true;
}

static void sqlite_read_work(void *job)
{
	struct sqlite_read *r = job;
	struct sqlite_store *s = r->store;
	struct sqlite_health h = sqlite_health(s);
	size_t i;

	if (!sqlite_judge(&h, false, &r->error))
		return;
	i = sqlite_reader_take(s);
	if (sqlite_reader_ready(s, &s->readers[i], h.generation, &r->error))
		sqlite_read_run(r, &s->readers[i]);
	sqlite_reader_give(s, i);
}

CO_FN static bool sqlite_query(struct db *db, struct arena *a, const char *sql, const struct db_val *args, size_t n,
			       struct db_rows *rows, struct error *err)
{
	struct sqlite_store *s = sqlite_of(db);
	struct sqlite_read *r = sqlite_read_new(s, sql, args, n);
	const struct co_scope *scope;

	switch (lane_run(s->reads, sqlite_read_work, sqlite_read_free, r, clock_mono_us() + s->read_timeout)) {
	case CO_DONE:
		break;
	case CO_TIMEOUT:
		metric_add(M_DB_ERRORS, 1, NULL);
		return error_set(err, ERR_STORAGE, "the store is too busy");
	case CO_ENDED:
	default:
		scope = co_ended_by();
		return error_set(err, ERR_CANCELLED, "%s",
				 scope != NULL && scope->why != NULL ? scope->why : "cancelled");
	}
	if (r->ok) {
		/* The thread's memory becomes the arena's: no second copy. */
		arena_defer(a, sqlite_read_free, r);
		*rows = (struct db_rows){r->count, r->columns, r->cells};
		return true;
	}
	metric_add(M_DB_ERRORS, 1, NULL);
	if (err != NULL)
		*err = r->error;
	sqlite_read_free(r);
	return false;
}

/* ---- checkpoints ---- */

struct sqlite_checkpoint {
	struct sqlite_store *store;
	bool ok;
	struct error error;
};

static void sqlite_checkpoint_work(void *job)
{
	struct sqlite_checkpoint *p = job;
	struct sqlite_store *s = p->store;
	struct stat st;
	int rc;

	if (!sqlite_present(s)) {
		error_set(&p->error, ERR_STORAGE, "database file is gone");
		return;
	}
	rc = sqlite3_wal_checkpoint_v2(s->writer.db, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	if (rc == SQLITE_OK && stat(s->wal, &st) == 0 && st.st_size > SQLITE_WAL_MAX) {
		if (!db_lock_take(s->lock_fd, &p->error))
			return;
		sqlite3_busy_timeout(s->writer.db, SQLITE_CUT_MS);
		rc = sqlite3_wal_checkpoint_v2(s->writer.db, "main", SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
		sqlite3_busy_timeout(s->writer.db, SQLITE_BUSY_MS);
		db_lock_release(s->lock_fd);
	}
	/* Busy: readers still need the log, or another worker is at it; the next call gets on with it. */
	p->ok = rc == SQLITE_OK || (rc & 0xff) == SQLITE_BUSY || db_conn_fail(&s->writer, rc, &p->error);
}

CO_FN static bool sqlite_checkpoint(struct db *db, struct error *err)
{
	struct sqlite_checkpoint *p = xcalloc(1, sizeof(*p));
	bool ok;

	p->store = sqlite_of(db);
	if (lane_run(p->store->writes, sqlite_checkpoint_work, free, p, 0) != CO_DONE)
		return error_set(err, ERR_CANCELLED, "cancelled");
	ok = p->ok;
	if (!ok && err != NULL)
		*err = p->error;
	free(p);
	return ok;
}

/* ---- life ---- */

static void sqlite_free(struct sqlite_store *s)
{
	size_t i;

	lane_free(s->reads);
	lane_free(s->writes);
	for (i = 0; i < SQLITE_READERS; i++)
		db_conn_close(&s->readers[i]);
	db_conn_close(&s->writer);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	pthread_mutex_destroy(&s->shared->mutex);
	free(s->shared);
	free(s->dir);
	free(s->path);
	free(s->wal);
	free(s->shm);
	free(s);
}

static struct db *sqlite_open(struct loop *l, const struct conf *c, struct error *err)
{
	struct sqlite_store *s = xcalloc(1, sizeof(*s));

	*s = (struct sqlite_store){.db = {&db_sqlite_ops}, .loop = l, .was_usable = true};
	s->dir = xstrdup(c->storage.data_dir);
	s->path = db_path(s->dir, DB_FILE);
	s->wal = db_path(s->dir, DB_FILE "-wal");
	s->shm = db_path(s->dir, DB_FILE "-shm");
	s->min_free = (uint64_t)c->storage.min_free_bytes;
	s->read_timeout = c->storage.pool_timeout;
	s->shared = xcalloc(1, sizeof(*s->shared));
	s->shared->waiting_end = &s->shared->waiting;
	pthread_mutex_init(&s->shared->mutex, NULL);
	s->writes = lane_new(l, "store-write", 1, SQLITE_WRITE_DEPTH);
	s->reads = lane_new(l, "store-read", SQLITE_READERS, SQLITE_READ_DEPTH);
	s->probe.store = s;
	s->lock_fd = db_lock_open(s->dir, err);
	if (s->lock_fd < 0 || !sqlite_open_ours(s, err)) {
		sqlite_free(s);
		return NULL;
	}
	s->shared->health.full = sqlite_disk_full(s);
	loop_timer_init(l, &s->timer, sqlite_probe_start, s);
	sqlite_probe_start(s);
	return &s->db;
}

static void sqlite_close(struct db *db)
{
	struct sqlite_store *s = sqlite_of(db);

	s->closing = true;
	loop_timer_stop(&s->timer);
	while (s->jobs > 0)
		loop_turn(s->loop, true);
	sqlite_free(s);
}

const struct db_ops db_sqlite_ops = {
    .open = sqlite_open,
    .close = sqlite_close,
    .query = sqlite_query,
    .commit = sqlite_commit,
    .checkpoint = sqlite_checkpoint,
    .healthy = sqlite_healthy,
    .latency_us = sqlite_latency_us,
    .migrate = db_sqlite_migrate,
    .check = db_sqlite_check,
};
