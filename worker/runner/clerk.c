/* SPDX-License-Identifier: MIT */
/*
 * Leases and housekeeping. Every worker holds a lock file and a row with a counter; one worker per node, the clerk
 * (lowest slot with a fresh heartbeat), looks once a second whose owner has gone, gives those debates back to the
 * queue, hints at what waits, and checkpoints. Two clerks for a moment do no harm: every write is conditional.
 */
#include "worker/runner/run.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fault.h"
#include "common/metrics.h"
#include "worker/batch/batch.h"
#include "worker/decisions/cache.h"
#include "worker/delivery/delivery.h"
#include "worker/jobs/jobs.h"
#include "worker/traces/traces.h"
#include "worker/worker.h"

#define CLERK_UNNAMED_MS 60000 /* age of a lock without its name that nobody waits for */
#define CLERK_CHECKPOINT_US (5 * SEC_US)
#define CLERK_OWNERS_MAX 256
#define CLERK_GAP_US (2500 * MS_US) /* between two looks, or a third of the lease: more, and nothing was observed */
/* Rows that no clerk has removed (nodes that are gone with all their processes) go after a day. */
#define CLERK_FORGET_MS (86400 * 1000)

/* What was last seen of a process on another node. */
struct clerk_seen {
	char incarnation[40];
	int64_t beat;
	int64_t since_us;
};

struct clerk {
	struct worker *w;
	int lock_fd;
	char *lock_path;
	int64_t next_beat_us, next_checkpoint_us;
	int64_t beat;
	int64_t looked_us; /* when the owners were last read */
	bool registered;   /* the row of this process is there: who looks for its death will find it */
	bool beating, working, resigned;
	struct co *resigning; /* waits for the beat under way, or NULL */
	bool again;           /* somebody died while the work was under way */
	struct clerk_seen seen[CLERK_OWNERS_MAX];
	size_t seen_count;
};

/* ---- the lock that proves a death ---- */

/*
 * data_dir/run/<incarnation>, locked for the life of the process. It appears under its name only when locked, so that
 * a free lock always means a dead owner.
 */
static bool clerk_lock(struct clerk *c, struct error *err)
{
	const char *dir = c->w->conf->storage.data_dir;
	struct buf path = BUF_INIT, tmp = BUF_INIT;
	bool ok;

	buf_printf(&path, "%s/run/%s", dir, c->w->incarnation);
	buf_printf(&tmp, "%s/run/.%s", dir, c->w->incarnation);
	c->lock_fd = open(buf_str(&tmp).p, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ok = c->lock_fd != -1 && flock(c->lock_fd, LOCK_EX | LOCK_NB) == 0 &&
	     rename(buf_str(&tmp).p, buf_str(&path).p) == 0;
	if (!ok)
		error_set(err, ERR_STORAGE, "cannot lock %s: %s", buf_str(&path).p, strerror(errno));
	c->lock_path = str_dupz(buf_str(&path));
	buf_free(&path);
	buf_free(&tmp);
	return ok;
}

/* Runs in the slow lane: which incarnations of this node hold their lock? Files of dead ones are removed. */
struct clerk_scan {
	char *dir;
	struct buf alive;
	bool ok;
};

static void clerk_scan_file(struct clerk_scan *s, const char *name)
{
	struct buf path = BUF_INIT;
	int fd;

	buf_printf(&path, "%s/%s", s->dir, name);
	fd = open(buf_str(&path).p, O_RDWR | O_CLOEXEC);
	if (fd != -1 && flock(fd, LOCK_EX | LOCK_NB) == 0)
		(void)unlink(buf_str(&path).p); /* its owner is dead; if it stays, the next scan tries again */
	else if (fd != -1 || errno != ENOENT)
		buf_printf(&s->alive, "%s\n", name);
	if (fd != -1)
		(void)close(fd);
	buf_free(&path);
}

/*
 * ".<incarnation>" of a process that was killed before its lock had its name. A young one may be about to get it: it is
 * made, locked and renamed within one breath.
 */
static void clerk_scan_unnamed(const struct clerk_scan *s, const char *name)
{
	struct buf path = BUF_INIT;
	struct stat st;

	buf_printf(&path, "%s/%s", s->dir, name);
	if (stat(buf_str(&path).p, &st) == 0 && S_ISREG(st.st_mode) &&
	    clock_wall_ms() - (int64_t)st.st_mtime * 1000 > CLERK_UNNAMED_MS)
		(void)unlink(buf_str(&path).p); /* if it stays, the next scan tries again */
	buf_free(&path);
}

static void clerk_scan_work(void *arg)
{
	struct clerk_scan *s = arg;
	const struct dirent *e;
	DIR *dir = opendir(s->dir);

	s->ok = dir != NULL;
	while (dir != NULL && (e = readdir(dir)) != NULL)
		if (e->d_name[0] != '.')
			clerk_scan_file(s, e->d_name);
		else
			clerk_scan_unnamed(s, e->d_name);
	if (dir != NULL)
		(void)closedir(dir);
}

static void clerk_scan_free(void *arg)
{
	struct clerk_scan *s = arg;

	buf_free(&s->alive);
	free(s->dir);
	free(s);
}

/* NULL when it could not be found out. */
CO_FN static struct clerk_scan *clerk_scan(struct clerk *c)
{
	struct clerk_scan *s = xcalloc(1, sizeof(*s));
	struct buf dir = BUF_INIT;

	buf_printf(&dir, "%s/run", c->w->conf->storage.data_dir);
	s->dir = str_dupz(buf_str(&dir));
	buf_free(&dir);
	if (lane_run(c->w->slow, clerk_scan_work, clerk_scan_free, s, clock_mono_us() + 10 * SEC_US) != CO_DONE)
		return NULL; /* the lane owns it */
	if (!s->ok) {
		clerk_scan_free(s);
		return NULL;
	}
	return s;
}

/* ---- leases ---- */

/* A process of another node is dead when its beat has not moved for a whole lease while we were looking. */
static bool clerk_beat_stopped(struct clerk *c, struct str incarnation, int64_t beat)
{
	int64_t now = clock_mono_us();
	size_t i;

	for (i = 0; i < c->seen_count && !str_eqz(incarnation, c->seen[i].incarnation); i++)
		;
	if (i == c->seen_count) {
		if (i == CLERK_OWNERS_MAX)
			i = c->seen_count = 0; /* begin to look anew rather than judge by old sights */
		(void)snprintf(c->seen[i].incarnation, sizeof(c->seen[i].incarnation), "%.*s", STR_ARG(incarnation));
		c->seen[i].beat = beat - 1;
		c->seen_count++;
	}
	if (c->seen[i].beat != beat) {
		c->seen[i].beat = beat;
		c->seen[i].since_us = now;
	}
	return now - c->seen[i].since_us > c->w->conf->debates.lease;
}

/*
 * A beat counts as stopped only if it was watched: after a time without a look (the store was away, this process was
 * frozen) the others get a whole lease again to show themselves, else an outage would end in takeovers everywhere.
 */
static void clerk_looked(struct clerk *c)
{
	int64_t now = clock_mono_us(), gap = c->w->conf->debates.lease / 3;

	if (now - c->looked_us > (gap > CLERK_GAP_US ? gap : CLERK_GAP_US))
		c->seen_count = 0;
	c->looked_us = now;
}

/*
 * On this node a free lock is the proof. Of a process that has no row (yet, or no more) it is not known where it runs:
 * unless nobody else can share the store, it is watched like one of another node.
 */
static bool clerk_dead(struct clerk *c, const struct clerk_scan *s, struct str owner, bool here, int64_t beat)
{
	if (str_find(buf_str(&s->alive), owner) != -1)
		return false;
	return here || clerk_beat_stopped(c, owner, beat);
}

#define CLERK_BEAT_ANY (-1)

/* The dead owner's debates wait for a new one: at once, from the second unclean death on after 1, 2, 4… s. */
CO_FN static bool clerk_orphan(struct clerk *c, struct str owner, int64_t beat)
{
	struct db_batch *b = db_batch_new(c->w->db);
	struct error err = ERROR_INIT;
	int64_t now = clock_wall_ms();

	/* One that has shown itself since is not dead: its row has another beat, and nothing of this is done. */
	if (beat != CLERK_BEAT_ANY)
		db_batch_add(b, "UPDATE processes SET beat = beat WHERE incarnation = $1 AND beat <> $2",
			     DB_ARGS(DB_S(owner), DB_I(beat)), 0);
	db_batch_add(b,
		     "UPDATE debates SET owner = '', crashes = crashes + 1, updated_at = $2,"
		     " claim_after = CASE WHEN crashes >= 1 THEN $2 + 500 * (CAST(1 AS BIGINT) << CAST(crashes AS "
		     "INTEGER)) ELSE 0 END"
		     " WHERE owner = $1 AND " DEBATES_RUNNING " AND crashes < 32",
		     DB_ARGS(DB_S(owner), DB_I(now)), DB_ANY);
	db_batch_add(b, "DELETE FROM processes WHERE incarnation = $1", DB_ARGS(DB_S(owner)), DB_ANY);
	jobs_take_over(b, owner, now);
	FAULT("clerk.before_orphan");
	if (!db_commit(c->w->db, b, &err)) {
		if (err.code == ERR_FENCED)
			return false;
		log_warn("debate", "debates of a dead worker cannot be taken over now", KV_S("reason", err.msg));
		return false;
	}
	log_info("debate", "debates of a dead worker wait for another", KV_STR("owner", owner));
	return true;
}

/* Deliveries first: with its row in `processes` the process is forgotten. */
CO_FN static void clerk_bury(struct clerk *c, struct str owner, int64_t beat)
{
	if (deliveries_take_over(c->w->deliveries, owner))
		(void)clerk_orphan(c, owner, beat);
}

/*
 * Who has work, and who has not shown itself for two leases by this node's clock, which may be wrong: that only makes
 * it worth a look.
 */
CO_FN static void clerk_leases(struct clerk *c)
{
	struct arena *a = arena_new(0);
	struct error err = ERROR_INIT;
	struct clerk_scan *s = NULL;
	struct db_rows rows;
	size_t i;

	if (db_query(c->w->db, a,
		     "SELECT o.owner, p.node_id, p.beat FROM (SELECT owner FROM debates WHERE " DEBATES_RUNNING
		     " AND owner <> '' UNION SELECT owner FROM deliveries WHERE state = 'sending'"
		     " UNION SELECT owner FROM jobs WHERE owner <> ''"
		     " UNION SELECT incarnation FROM processes WHERE seen_at < $1) o"
		     " LEFT JOIN processes p ON p.incarnation = o.owner",
		     DB_ARGS(DB_I(clock_wall_ms() - 2 * c->w->conf->debates.lease / MS_US)), &rows, &err)) {
		clerk_looked(c);
		s = rows.count > 0 ? clerk_scan(c) : NULL;
	}
	for (i = 0; s != NULL && i < rows.count; i++) {
		struct str owner = db_str(&rows, i, 0);
		bool here = str_eqz(db_str(&rows, i, 1), c->w->shm->node_id) || c->w->conf->storage.backend == 0;

		if (clerk_dead(c, s, owner, here, db_int(&rows, i, 2)))
			clerk_bury(c, owner, here ? CLERK_BEAT_ANY : db_int(&rows, i, 2));
	}
	if (s != NULL)
		clerk_scan_free(s);
	arena_free(a);
}

/* ---- what waits ---- */

CO_FN static void clerk_queue(struct clerk *c)
{
	struct arena *a = arena_new(0);
	struct error err = ERROR_INIT;
	struct db_rows rows;

	if (db_query(c->w->db, a,
		     "SELECT SUM(CASE WHEN status = 'queued' AND paused_at IS NULL THEN 1 ELSE 0 END), SUM(CASE WHEN "
		     "claim_after <= $1 THEN "
		     "1 ELSE 0 END)"
		     " FROM debates WHERE status IN ('queued', 'running') AND owner = ''",
		     DB_ARGS(DB_I(clock_wall_ms())), &rows, &err)) {
		metric_set(M_QUEUED_DEBATES, db_int(&rows, 0, 0), NULL);
		if (db_int(&rows, 0, 1) > 0)
			bus_publish_here(c->w->bus, STR(RUNNER_QUEUE_TOPIC), STR("")); /* each node has a clerk */
	}
	decision_cache_gauge(c->w);
	arena_free(a);
}

CO_FN static void clerk_checkpoint(struct clerk *c)
{
	struct error err = ERROR_INIT;

	if (clock_mono_us() < c->next_checkpoint_us)
		return;
	c->next_checkpoint_us = clock_mono_us() + CLERK_CHECKPOINT_US;
	if (!db_checkpoint(c->w->db, &err))
		log_warn("db", "checkpoint failed", KV_S("reason", err.msg));
}

CO_FN static void clerk_work(void *arg)
{
	struct clerk *c = arg;

	do {
		c->again = false;
		clerk_leases(c);
		clerk_queue(c);
		if (c->again)
			continue; /* the dead first */
		deliveries_look(c->w->deliveries);
		jobs_look(c->w->jobs);
		batches_look(c->w->batches);
		traces_look(c->w->traces);
		clerk_checkpoint(c);
	} while (c->again && !c->w->draining);
	c->working = false;
}

/* ---- the own lease ---- */

CO_FN static void clerk_beat(void *arg)
{
	struct clerk *c = arg;
	struct db_batch *b = db_batch_new(c->w->db);
	struct error err = ERROR_INIT;
	int64_t now = clock_wall_ms();

	c->beat++;
	db_batch_add(b,
		     "INSERT INTO processes (incarnation, node_id, slot, beat, engine_version, started_at, seen_at)"
		     " VALUES ($1, $2, $3, $4, $5, $6, $6)"
		     " ON CONFLICT (incarnation) DO UPDATE SET beat = excluded.beat, seen_at = excluded.seen_at",
		     DB_ARGS(DB_Z(c->w->incarnation), DB_Z(c->w->shm->node_id), DB_I(c->w->slot), DB_I(c->beat),
			     DB_I(ENGINE_VERSION), DB_I(now)),
		     1);
	db_batch_add(b, "DELETE FROM processes WHERE seen_at < $1", DB_ARGS(DB_I(now - CLERK_FORGET_MS)), DB_ANY);
	if (!db_commit(c->w->db, b, &err)) {
		log_warn("debate", "the lease could not be renewed", KV_S("reason", err.msg));
	} else if (!c->registered) {
		c->registered = true;
		runner_registered(c->w->runner);
	}
	c->beating = false;
	if (c->resigning != NULL)
		co_wake(c->resigning);
}

void clerk_tick(struct clerk *c, bool death)
{
	int64_t now = clock_mono_us();

	if (c->resigned)
		return;
	if (now >= c->next_beat_us && !c->beating) {
		c->next_beat_us = now + c->w->conf->debates.lease / 3;
		c->beating = co_spawn("lease", clerk_beat, c) != NULL;
	}
	if (c->w->draining || !worker_is_clerk(c->w))
		return;
	if (c->working)
		c->again = c->again || death;
	else
		c->working = co_spawn("clerk", clerk_work, c) != NULL;
}

bool clerk_registered(const struct clerk *c)
{
	return c->registered;
}

CO_FN void clerk_resign(struct clerk *c)
{
	struct error err = ERROR_INIT;
	struct db_batch *b;

	c->resigned = true;
	if (c->beat == 0)
		return; /* no lease was ever asked for: the store may never have been there */
	b = db_batch_new(c->w->db);
	c->resigning = co_self();
	while (c->beating && co_wait(0) == CO_DONE)
		; /* it would bring the row back behind its deletion */
	c->resigning = NULL;
	db_batch_add(b, "DELETE FROM processes WHERE incarnation = $1", DB_ARGS(DB_Z(c->w->incarnation)), DB_ANY);
	if (!db_commit(c->w->db, b, &err))
		log_debug("debate", "the lease row stays until it expires", KV_S("reason", err.msg));
}

struct clerk *clerk_open(struct worker *w, struct error *err)
{
	struct clerk *c = xcalloc(1, sizeof(*c));

	c->w = w;
	if (!clerk_lock(c, err)) {
		clerk_close(c);
		return NULL;
	}
	return c;
}

void clerk_close(struct clerk *c)
{
	if (c->lock_path != NULL)
		(void)unlink(c->lock_path); /* gone or never made: both are what we want */
	if (c->lock_fd != -1)
		(void)close(c->lock_fd);
	free(c->lock_path);
	free(c);
}
