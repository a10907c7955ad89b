/* SPDX-License-Identifier: MIT */
/*
 * Worker processes in slots: forks them, hears whether they are ready, reaps, backs off, watches their heartbeat.
 * Called by the supervisor and by reloads. Does not decide how many workers there should be.
 */
#include "master/slots.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/metrics.h"
#include "master/sandbox.h"
#include "master/signals.h"
#include "master/supervisor.h"
#include "worker/worker.h"

#define SLOT_BACKOFF_MIN (100 * MS_US)
#define SLOT_BACKOFF_MAX (5 * SEC_US)
#define SLOT_BACKOFF_LONE (1 * SEC_US) /* at most, while nobody serves */
#define SLOT_YOUNG (5 * SEC_US)        /* a process that dies before this age makes the back-off grow */
#define SLOT_STABLE (30 * SEC_US)      /* one that reached this age ends it */
#define SLOT_ABORT_GRACE (1 * SEC_US)  /* between ABRT, which says what hung, and KILL */
#define SLOT_RELIEF_PAUSE (5 * SEC_US) /* after a successor that could not be started */

static struct shm_slot *slot_shared(const struct slot *s)
{
	return &s->master->shm->slots[s->index];
}

void slots_init(struct master *m)
{
	for (unsigned i = 0; i < SHM_SLOTS_MAX; i++)
		m->slots[i] = (struct slot){.master = m, .index = i, .ready_fd = -1};
}

/* ---- readiness ---- */

static void slot_close_ready(struct slot *s)
{
	if (s->ready_fd == -1)
		return;
	event_del(&s->ready_event);
	close(s->ready_fd);
	s->ready_fd = -1;
}

/* Takes what the worker has written; true when that was the word that it serves. */
static bool slot_read_ready(struct slot *s)
{
	char text[SLOT_REASON];
	ssize_t n;

	while ((n = read(s->ready_fd, text, sizeof(text))) > 0) {
		size_t room = sizeof(s->reason) - 1 - s->reason_n;
		size_t take = (size_t)n < room ? (size_t)n : room;

		memcpy(s->reason + s->reason_n, text, take);
		s->reason_n += take;
		s->reason[s->reason_n] = '\0';
	}
	if (s->reason_n == 1 && s->reason[0] == '1') {
		s->reason_n = 0;
		s->reason[0] = '\0';
		return true;
	}
	return false;
}

/* The successor of a worker that has served its number of requests is there. */
static void slot_take_over(struct slot *s)
{
	struct slot *old = s->relieves;

	s->relieves = NULL;
	if (old != NULL && !old->retiring)
		slots_end(old, WORKER_SIG_RETIRE);
}

static void slot_on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct slot *s = arg;

	(void)fd;
	(void)what;
	if (slot_read_ready(s)) {
		slot_close_ready(s);
		s->ready = true;
		s->last_beat = atomic_load(&slot_shared(s)->beat);
		slot_take_over(s);
		supervisor_on_ready(s->master, s);
	}
}

/* ---- fork ---- */

/*
 * Closes everything that is not the worker's: the lock, whose last holder must be the master; sockets of other
 * generations, whose queues nobody would empty; pipes of other workers; the master's loop.
 */
static void slot_close_foreign(const struct master *m, const struct generation *g, int ready_fd)
{
	size_t n = 0;
	int *keep = xcalloc(4 + g->listener_count + (size_t)m->mailboxes.count * 2, sizeof(*keep));

	keep[n++] = ready_fd;
	keep[n++] = m->pipe[0];
	keep[n++] = g->logs.error;
	keep[n++] = g->logs.access;
	for (size_t i = 0; i < g->listener_count; i++)
		keep[n++] = g->listeners[i];
	for (unsigned i = 0; i < m->mailboxes.count; i++) {
		keep[n++] = m->mailboxes.fd[i][0];
		keep[n++] = m->mailboxes.fd[i][1];
	}
	files_close_all_but(keep, n);
	free(keep);
}

/* Before the first thread, so that none escapes it. Some containers forbid filters: better to serve and to say so. */
static void slot_sandbox(const struct conf *c)
{
	struct error err = ERROR_INIT;

	if (!sandbox_enter((enum conf_seccomp)c->server.seccomp, &err))
		log_warn("master", "the worker runs without its filter of system calls", KV_S("reason", err.msg));
}

static NORETURN void slot_child(const struct slot *s, const struct generation *g, int ready_fd)
{
	const struct master *m = s->master;
	struct error err = ERROR_INIT;
	struct worker_start start = {
	    .conf = g->conf,
	    .shm = m->shm,
	    .mailboxes = &m->mailboxes,
	    .slot = s->index,
	    .generation = g->number,
	    .listeners = g->listeners,
	    .listener_marks = g->marks,
	    .listener_count = g->listener_count,
	    .tls = g->tls,
	    .master_pipe = m->pipe[0],
	    .ready_fd = ready_fd,
	    .error_fd = g->logs.error,
	    .access_fd = g->logs.access,
	};

	slot_close_foreign(m, g, ready_fd);
	signals_restore();
	/* Ctrl-C reaches the whole process group; what it means is for the master to say. */
	signal(SIGINT, SIG_IGN);
	FAULT("worker.boot");
	if (!privileges_drop(&m->privileges, &err)) {
		dprintf(ready_fd, "%s", err.msg);
		_exit(WORKER_EXIT_BOOT);
	}
	privileges_limit(g->conf, true);
	slot_sandbox(g->conf);
	exit(worker_main(&start));
}

/*
 * Cells before the fork, so that no peer ever sees a process in a slot that reads FREE. False when the slot is another
 * master's: during an upgrade two of them take from the same segment.
 */
static bool slot_occupy(struct slot *s, const struct generation *g)
{
	struct shm_slot *shared = slot_shared(s);
	unsigned used = atomic_load(&s->master->shm->slots_used);
	uint32_t expected = SLOT_FREE;

	if (!atomic_compare_exchange_strong(&shared->state, &expected, SLOT_BOOTING))
		return false;
	atomic_store(&shared->master, getpid());
	atomic_store(&shared->generation, g->number);
	atomic_store(&shared->started_us, clock_mono_us());
	atomic_store(&shared->heartbeat_us, clock_mono_us());
	atomic_store(&shared->requests, 0);
	atomic_store(&shared->used_up, 0);
	shared->action[0] = '\0';
	while (used < s->index + 1 && !atomic_compare_exchange_weak(&s->master->shm->slots_used, &used, s->index + 1))
		continue;
	return true;
}

bool slots_respawn(struct master *m, struct slot *s, struct generation *g)
{
	int ready[2];
	pid_t pid;

	BUG_ON(s->pid != 0);
	if (pipe2(ready, O_CLOEXEC | O_NONBLOCK) == -1)
		return false;
	if (!slot_occupy(s, g)) {
		close(ready[0]);
		close(ready[1]);
		errno = EAGAIN;
		return false;
	}
	log_flush();
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		slot_child(s, g, ready[1]);
	close(ready[1]);
	if (pid == -1) {
		close(ready[0]);
		atomic_store(&slot_shared(s)->state, SLOT_FREE);
		return false;
	}
	*s = (struct slot){.master = m,
			   .index = s->index,
			   .gen = g,
			   .pid = pid,
			   .ready_fd = ready[0],
			   .started_us = clock_mono_us(),
			   .backoff_us = s->backoff_us};
	atomic_store(&slot_shared(s)->pid, pid);
	event_assign(&s->ready_event, loop_base(m->loop), ready[0], EV_READ | EV_PERSIST, slot_on_readable, s);
	event_add(&s->ready_event, NULL);
	log_debug("slots", "worker forked", KV_I("slot", s->index), KV_I("worker", pid), KV_I("generation", g->number));
	return true;
}

bool slots_free(const struct slot *s)
{
	return s->pid == 0 && atomic_load(&slot_shared(s)->state) == SLOT_FREE;
}

struct slot *slots_spawn(struct master *m, struct generation *g)
{
	for (unsigned i = 0; i < m->mailboxes.count; i++) {
		if (m->slots[i].pid == 0 && m->slots[i].restart_at == 0 && slots_free(&m->slots[i]))
			return slots_respawn(m, &m->slots[i], g) ? &m->slots[i] : NULL;
	}
	errno = EAGAIN;
	return NULL;
}

/* ---- successors ---- */

static void slot_relieve(struct master *m, struct slot *s)
{
	struct slot *next = slots_spawn(m, m->current);

	if (next == NULL) {
		s->relief_at = clock_mono_us() + SLOT_RELIEF_PAUSE;
		log_warn("slots", "a worker has served its number, but no successor can be started",
			 KV_I("slot", s->index), KV_I("worker", s->pid),
			 KV_S("why", errno == EAGAIN ? "no free slot (server.max_slots)" : strerror(errno)));
		return;
	}
	s->relieved = true;
	next->relieves = s;
	log_info("slots", "worker has served its number, a successor starts", KV_I("slot", s->index),
		 KV_I("worker", s->pid), KV_I("requests", atomic_load(&slot_shared(s)->requests)),
		 KV_I("successor", next->pid));
}

void slots_relieve(struct master *m)
{
	int64_t now = clock_mono_us();

	for (unsigned i = 0; i < m->mailboxes.count; i++) {
		struct slot *s = &m->slots[i];

		if (s->pid != 0 && s->ready && !s->retiring && !s->relieved && s->gen == m->current &&
		    now >= s->relief_at && atomic_load(&slot_shared(s)->used_up) != 0)
			slot_relieve(m, s);
	}
}

/* One of the two is dead: the other one stands alone. */
static void slot_part(struct slot *s, int64_t now)
{
	struct master *m = s->master;

	if (s->relieves != NULL) {
		s->relieves->relieved = false;
		s->relieves->relief_at = now + SLOT_RELIEF_PAUSE;
		s->relieves = NULL;
	}
	for (unsigned i = 0; s->relieved && i < m->mailboxes.count; i++) {
		if (m->slots[i].relieves == s)
			m->slots[i].relieves = NULL;
	}
}

/* ---- end ---- */

void slots_end(struct slot *s, int sig)
{
	if (s->pid == 0)
		return;
	s->retiring = true;
	kill(s->pid, s->ready ? sig : SIGKILL);
}

void slots_signal_all(struct master *m, int sig)
{
	for (unsigned i = 0; i < m->mailboxes.count; i++) {
		if (m->slots[i].pid != 0 && m->slots[i].ready)
			kill(m->slots[i].pid, sig);
	}
}

/* What the dead process held in shared memory is given back; counters stay, the next owner adds to them. */
static void slot_vacate(struct slot *s)
{
	struct shm *shm = s->master->shm;
	struct shm_slot *shared = slot_shared(s);

	for (unsigned i = 0; i < SHM_HEADS; i++)
		atomic_store_explicit(&shared->interest[i], 0, memory_order_relaxed);
	metrics_reset_gauges(shm, s->index);
	shm_debate_release_all(shm, s->index);
	shm_peers_release_all(shm, s->index);
	atomic_store(&shared->connections, 0);
	atomic_store(&shared->sockets, 0);
	atomic_store(&shared->debates, 0);
	atomic_store(&shared->rss_bytes, 0);
	atomic_store(&shared->pid, 0);
	atomic_store(&shared->master, 0);
	atomic_store(&shared->state, SLOT_FREE);
	/* Last: whoever sees the new number finds the slot free. */
	atomic_fetch_add(&shm->deaths, 1);
}

static void slot_describe_end(const struct slot *s, int status, char *out, size_t n)
{
	const char *core = "";

	if (s->reason_n > 0) {
		snprintf(out, n, "%s", s->reason);
	} else if (WIFSIGNALED(status)) {
		core = WCOREDUMP(status) ? ", core dumped" : "";
		snprintf(out, n, "killed by SIG%s%s", sigabbrev_np(WTERMSIG(status)), core);
	} else {
		snprintf(out, n, "exited with code %d", WEXITSTATUS(status));
	}
}

/* When the next process may start here: at once after a long life, ever later while they die young. */
static void slot_plan_restart(struct slot *s, int64_t now, int64_t age)
{
	if (age < SLOT_YOUNG)
		s->backoff_us = s->backoff_us == 0 ? SLOT_BACKOFF_MIN : s->backoff_us * 2;
	else if (age >= SLOT_STABLE)
		s->backoff_us = 0;
	if (s->backoff_us > SLOT_BACKOFF_MAX)
		s->backoff_us = SLOT_BACKOFF_MAX;
	s->restart_at = now + s->backoff_us;
}

static void slot_log_end(const struct slot *s, bool wanted, pid_t pid, const char *reason)
{

	LOG_AT(wanted ? LOG_INFO : LOG_ERROR, "slots", wanted ? "worker ended" : "worker died", KV_I("slot", s->index),
	       KV_I("worker", pid), KV_I("generation", s->gen->number), KV_S("reason", reason),
	       KV_I("age_s", (clock_mono_us() - s->started_us) / SEC_US));
}

static void slot_reaped(struct slot *s, int status)
{
	struct master *m = s->master;
	struct generation *g = s->gen;
	bool left, was_ready = s->ready;
	/* A successor is not missed, nor is who has one: the number of those who stay is right without it. */
	bool replace = !s->retiring && !s->relieved && s->relieves == NULL && g == m->current;
	int64_t now = clock_mono_us();
	char reason[SLOT_REASON + 32];

	if (s->ready_fd != -1) {
		was_ready = slot_read_ready(s) || was_ready;
		slot_close_ready(s);
	}
	slot_describe_end(s, status, reason, sizeof(reason));
	/* A decent end, asked for by us or by somebody else: no fault, but quick ones are not repeated without pause.
	 */
	left = WIFEXITED(status) && WEXITSTATUS(status) == 0 && (was_ready || s->retiring);
	slot_log_end(s, left, s->pid, reason);
	slot_vacate(s);
	slot_part(s, now);
	s->pid = 0;
	s->gen = NULL;
	if (replace && m->stop == STOP_NO && (was_ready || !m->starting)) {
		metric_add(M_WORKER_RESTARTS, 1, NULL);
		if (left)
			s->restart_at = now + SLOT_BACKOFF_MIN;
		else
			slot_plan_restart(s, now, now - s->started_us);
	}
	supervisor_on_exit(m, s, g, was_ready, reason);
}

void slots_reap(struct master *m)
{
	pid_t pid;
	int status;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (upgrade_reaped(m, pid, status) || storage_reaped(m, pid))
			continue;
		for (unsigned i = 0; i < m->mailboxes.count; i++) {
			if (m->slots[i].pid == pid) {
				slot_reaped(&m->slots[i], status);
				break;
			}
		}
	}
}

static bool slot_process_gone(int32_t pid)
{
	return pid > 0 && kill(pid, 0) == -1 && errno == ESRCH;
}

/* What the workers of a master that died held; nobody else reaps them. */
void slots_reclaim(struct master *m)
{
	for (unsigned i = 0; i < m->mailboxes.count; i++) {
		struct slot *s = &m->slots[i];
		const struct shm_slot *shared = slot_shared(s);
		int32_t pid = atomic_load(&shared->pid);

		if (s->pid != 0 || atomic_load(&shared->state) == SLOT_FREE ||
		    !slot_process_gone(atomic_load(&shared->master)) || (pid != 0 && !slot_process_gone(pid)))
			continue;
		log_info("slots", "worker of the former master has ended", KV_I("slot", i), KV_I("worker", pid));
		slot_vacate(s);
	}
}

void slots_forget_restarts(struct master *m)
{
	for (unsigned i = 0; i < m->mailboxes.count; i++)
		m->slots[i].restart_at = 0;
}

unsigned slots_count(const struct master *m, const struct generation *g, bool serving)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m->mailboxes.count; i++) {
		const struct slot *s = &m->slots[i];

		if (s->pid != 0 && (g == NULL || s->gen == g) && (!serving || (s->ready && !s->retiring)))
			n++;
	}
	return n;
}

/* ---- watching ---- */

static void slot_check_boot(struct slot *s, int64_t now)
{
	char limit[32];

	if (s->ready || s->retiring || now - s->started_us < s->gen->conf->server.boot_timeout)
		return;
	s->reason_n = (size_t)snprintf(s->reason, sizeof(s->reason), "not ready within %s (server.boot_timeout)",
				       duration_format(limit, s->gen->conf->server.boot_timeout));
	s->kill_at = now;
}

void slots_tick(struct master *m)
{
	int64_t now = clock_mono_us();

	for (unsigned i = 0; i < m->mailboxes.count; i++) {
		struct slot *s = &m->slots[i];

		if (s->pid == 0) {
			/* While nobody serves, nobody waits long. */
			if (s->restart_at > now + SLOT_BACKOFF_LONE && slots_count(m, m->current, true) == 0)
				s->restart_at = now + SLOT_BACKOFF_LONE;
			continue;
		}
		slot_check_boot(s, now);
		if (s->kill_at != 0 && now >= s->kill_at) {
			s->kill_at = 0;
			kill(s->pid, SIGKILL);
		}
		/* It has begun to drain by itself (a signal from elsewhere): its replacement need not wait. */
		if (s->ready && !s->retiring && atomic_load(&slot_shared(s)->state) >= SLOT_DRAINING) {
			s->retiring = true;
			log_info("slots", "worker drains by itself", KV_I("slot", i), KV_I("worker", s->pid));
		}
	}
}

static void slot_give_up(struct slot *s)
{
	struct shm_slot *shared = slot_shared(s);
	char action[SHM_ACTION];

	snprintf(action, sizeof(action), "%.*s", SHM_ACTION - 1, shared->action);
	log_error("slots", "worker is stalled, replacing it", KV_I("slot", s->index), KV_I("worker", s->pid),
		  KV_S("action", action),
		  KV_I("silent_ms", (clock_mono_us() - atomic_load(&shared->heartbeat_us)) / MS_US));
	s->stalled = true;
	s->kill_at = clock_mono_us() + SLOT_ABORT_GRACE;
	kill(s->pid, SIGABRT);
}

/*
 * Counts its own looks at an unchanged counter instead of comparing clocks: after a pause of the whole machine every
 * heartbeat is old, but nobody has been looked at twice.
 */
void slots_watch(struct master *m, unsigned limit)
{
	for (unsigned i = 0; i < m->mailboxes.count; i++) {
		struct slot *s = &m->slots[i];
		uint64_t beat;

		if (s->pid == 0 || !s->ready || s->stalled)
			continue;
		beat = atomic_load(&slot_shared(s)->beat);
		s->silent_checks = beat == s->last_beat ? s->silent_checks + 1 : 0;
		s->last_beat = beat;
	}
	for (unsigned i = 0; i < m->mailboxes.count; i++) {
		if (m->slots[i].pid != 0 && !m->slots[i].stalled && m->slots[i].silent_checks >= limit) {
			slot_give_up(&m->slots[i]);
			return;
		}
	}
}
