/* SPDX-License-Identifier: MIT */
/*
 * The life of the master: start in steps that undo themselves, keep the wanted number of workers running, stop. Called
 * by main.c. Parses no request, opens no database, holds no client data.
 */
#include "master/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/startup.h"
#include "common/title.h"
#include "master/control.h"
#include "master/notify.h"
#include "master/signals.h"
#include "worker/agents/agent.h"
#include "worker/http/tls.h"
#include "worker/schema.h"
#include "worker/system/errors.h"
#include "worker/worker.h"

#define MASTER_TICK (100 * MS_US)
#define MASTER_BIND_PATIENCE (5 * SEC_US)
#define MASTER_RECLAIM_TICKS 5
#define MASTER_CHECKS 10                /* of the watchdog within its limit */
#define MASTER_STOP_MARGIN (7 * SEC_US) /* beyond graceful_timeout: a worker's own limit comes first */
#define MASTER_QUIT_LIMIT (5 * SEC_US)

/* Says why on standard error, and in the log if that is elsewhere. One call per failed start. */
static PRINTF_FMT(2, 3) void supervisor_complain(const struct master *m, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	dprintf(STDERR_FILENO, "aragorad: %s\n", text);
	if (m->current != NULL && m->current->logs.error > STDERR_FILENO)
		log_error("master", text);
	log_flush();
}

void supervisor_use_logs(const struct master *m)
{
	const struct conf *c = m->current->conf;

	log_flush();
	log_setup(&(struct log_options){.level = (enum log_level)c->log.level,
					.json = c->log.json != 0,
					.error_fd = m->current->logs.error,
					.access_fd = m->current->logs.access,
					.who = "master"});
}

void supervisor_show_title(const struct master *m)
{
	const struct upgrade *u = &m->upgrade;
	const char *which = "";

	if (u->peer != 0 && u->serving)
		which = u->heir ? "new " : "old ";
	title_set("%s: %smaster [%s]", m->current->conf->server.proc_name, which, m->current->conf->path);
}

/* ---- generations ---- */

struct generation *generation_new(struct master *m, struct conf *c)
{
	struct generation *g = xcalloc(1, sizeof(*g));

	g->number = ++m->last_generation;
	g->conf = c;
	g->logs = LOG_FILES_NONE;
	g->next = m->generations;
	m->generations = g;
	return g;
}

void generation_use_listeners(struct master *m, struct generation *g)
{
	free(g->listeners);
	free(g->marks);
	listeners_of(&m->listeners, g->conf, &g->listeners, &g->marks, &g->listener_count);
}

bool generation_load_tls(struct master *m, struct generation *g, struct error *err)
{
	if (m->tls_keys == NULL && !upgrade_take_keys(m))
		m->tls_keys = tls_keys_create(&m->tls_keys_fd);
	g->tls = tls_open(g->conf, m->tls_keys, err);
	return g->tls != NULL;
}

void generation_collect(struct master *m)
{
	struct generation **link = &m->generations;

	while (*link != NULL) {
		struct generation *g = *link;

		if (g == m->current || g == m->loading || slots_count(m, g, false) > 0) {
			link = &g->next;
			continue;
		}
		*link = g->next;
		log_files_close(&g->logs);
		tls_close(g->tls);
		conf_unref(g->conf);
		free(g->listeners);
		free(g->marks);
		free(g);
	}
}

void supervisor_log_report(enum log_level level, const char *what, const struct buf *report)
{
	struct str rest = buf_str(report), line;

	while (str_split(&rest, '\n', &line)) {
		if (line.n > 0)
			LOG_AT(level, "master", what, KV_STR("why", line));
	}
}

/* ---- the start, step by step; what a step has made is undone by master_close ---- */

static bool start_configuration(struct master *m, struct error *err)
{
	const struct master_options *o = m->options;
	struct buf report = BUF_INIT;
	struct conf *c = conf_load(o->conf_path, true, o->overrides, o->override_count, &report);

	if (c == NULL) {
		fprintf(stderr, "%.*s", STR_ARG(buf_str(&report)));
		m->exit_code = EXIT_CONFIG;
		buf_free(&report);
		return error_set(err, ERR_INVALID_VALUE, "the configuration is not valid");
	}
	m->warnings = report;
	m->current = generation_new(m, c);
	m->wanted = conf_workers(c);
	if (m->wanted > (unsigned)c->server.max_slots) {
		m->exit_code = EXIT_CONFIG;
		return error_set(err, ERR_INVALID_VALUE, "server.workers: %u workers do not fit server.max_slots %lld",
				 m->wanted, (long long)c->server.max_slots);
	}
	return true;
}

static bool start_privileges(struct master *m, struct error *err)
{
	static const mode_t masks[] = {
	    [UMASK_002] = 002, [UMASK_007] = 007, [UMASK_022] = 022, [UMASK_027] = 027, [UMASK_077] = 077};
	const struct conf *c = m->current->conf;

	if (c->server.umask != UMASK_INHERIT)
		umask(masks[c->server.umask]);
	privileges_limit(c, false);
	return privileges_find(c, &m->privileges, err);
}

static bool start_logs(struct master *m, struct error *err)
{
	if (!log_files_open(&m->current->logs, m->current->conf, &m->privileges, err))
		return false;
	supervisor_use_logs(m);
	supervisor_show_title(m);
	supervisor_log_report(LOG_WARNING, "configuration", &m->warnings);
	buf_free(&m->warnings);
	return true;
}

/* Each mailbox, client and listener is a descriptor; the soft limit of most systems is meant for shells. */
static bool start_limits(struct master *m, struct error *err)
{
	struct rlimit limit;

	(void)err;
	if (geteuid() == 0 && !m->privileges.drop && m->current->conf->server.env == CONF_PRODUCTION)
		log_warn("master", "workers run as root; server.user names somebody who may do less");
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) == -1)
			log_warn("master", "cannot raise the limit of open files", KV_S("error", strerror(errno)));
	}
	return true;
}

static bool start_lock(struct master *m, struct error *err)
{
	struct buf path = BUF_INIT;

	data_dir_lock_path(m->current->conf, &path);
	m->lock_fd = upgrade_take_lock(m, path.p);
	buf_free(&path);
	if (m->lock_fd != -1)
		return true; /* signed when the former master has ended */
	m->lock_fd = data_dir_lock(m->current->conf, &m->privileges, err);
	if (m->lock_fd == -1)
		return false;
	data_dir_lock_sign(m->lock_fd);
	return true;
}

static bool start_tls(struct master *m, struct error *err)
{
	return generation_load_tls(m, m->current, err);
}

static bool start_listeners(struct master *m, struct error *err)
{
	if (!listeners_bind(&m->listeners, m->current->conf, m->current->number, MASTER_BIND_PATIENCE, err))
		return false;
	listeners_keep_only(&m->listeners, m->current->conf); /* of those handed over by a former master */
	generation_use_listeners(m, m->current);
	return true;
}

static bool start_pidfile(struct master *m, struct error *err)
{
	const char *path = m->current->conf->server.pidfile;
	struct buf beside = BUF_INIT;

	if (path[0] == '\0')
		return true;
	if (m->upgrade.heir && pidfile_read(path) == m->upgrade.peer)
		buf_printf(&beside, "%s.2", path);
	else
		buf_addz(&beside, path);
	if (pidfile_write(beside.p, err))
		m->pidfile = xstrdup(beside.p);
	buf_free(&beside);
	return m->pidfile != NULL;
}

static bool start_shared(struct master *m, struct error *err)
{
	const char *providers[PROVIDER_MAX + 1] = {NULL};
	struct route_labels routes;

	for (int i = 0; i < PROVIDER_MAX; i++)
		providers[i] = conf_provider_name((enum conf_provider_id)i);
	if (!worker_route_labels(m->current->conf, &routes, err))
		return false;
	metrics_register(&(struct metric_labels){.agents = agents_known(),
						 .providers = providers,
						 .permissions = routes.permissions,
						 .handlers = routes.handlers});
	route_labels_free(&routes);
	if (!upgrade_take_shared(m)) {
		m->shm = shm_create_fd(&m->shm_fd);
		m->shm->metrics_layout = metrics_layout();
		memcpy(m->shm->node_id, m->node_id, sizeof(m->node_id));
		atomic_store(&m->shm->started_ms, clock_wall_ms());
		memcpy(&m->shm->startup, &m->boot, sizeof(m->boot));
	}
	/* Of an inherited segment too: its former master may have waited for what is there now. */
	atomic_store(&m->shm->store_pending, m->storage.pending);
	m->startup = &m->shm->startup;
	startup_note(m->startup, STARTUP_OBSERVABILITY, false, 0, STARTUP_OK,
		     m->current->conf->metrics.enabled ? "Prometheus at /metrics; OpenTelemetry not configured"
						       : "metrics are switched off");
	metrics_attach(m->shm, 0);
	errors_keep(m->shm);
	if (m->mailboxes.count == 0 &&
	    !bus_mailboxes_create(&m->mailboxes, (unsigned)m->current->conf->server.max_slots))
		return error_set(err, ERR_UNAVAILABLE, "cannot make %lld mailboxes: %s (server.max_slots, ulimit -n)",
				 (long long)m->current->conf->server.max_slots, strerror(errno));
	if (pipe2(m->pipe, O_CLOEXEC | O_NONBLOCK) == -1)
		return error_set(err, ERR_UNAVAILABLE, "pipe: %s", strerror(errno));
	return true;
}

static void master_tick(void *arg);

static bool start_loop(struct master *m, struct error *err)
{
	m->loop = loop_new();
	signals_open(m);
	loop_timer_init(m->loop, &m->tick, master_tick, m);
	loop_timer_set(&m->tick, MASTER_TICK);
	upgrade_watch(m);
	m->control = control_open(m, err);
	return m->control != NULL;
}

static bool start_workers(struct master *m, struct error *err)
{
	m->starting = true;
	m->forking_us = clock_mono_us();
	for (unsigned i = 0; i < m->wanted; i++) {
		if (!slots_spawn(m, m->current))
			return error_set(err, ERR_UNAVAILABLE, "cannot start worker %u of %u: %s", i + 1, m->wanted,
					 strerror(errno));
	}
	return true;
}

/* Each with the phase of the start in which its time is counted; the store and the workers tell their own. */
static const struct {
	bool (*fn)(struct master *m, struct error *err);
	int phase; /* enum startup_phase, or -1 */
} start_steps[] = {
    {start_configuration, STARTUP_CONFIGURATION},
    {start_privileges, STARTUP_CONFIGURATION},
    {start_logs, STARTUP_CONFIGURATION},
    {start_limits, STARTUP_CONFIGURATION},
    {start_lock, STARTUP_CONFIGURATION},
    {start_tls, STARTUP_SECURITY},
    {start_listeners, STARTUP_CONFIGURATION},
    {storage_start, -1},
    {start_pidfile, STARTUP_CONFIGURATION},
    {start_shared, STARTUP_OBSERVABILITY},
    {start_loop, STARTUP_KNOWLEDGE}, /* the control socket */
    {start_workers, -1},
};

static bool start_step(struct master *m, size_t i, struct error *err)
{
	int64_t began = clock_mono_us();

	if (!start_steps[i].fn(m, err))
		return false;
	if (start_steps[i].phase >= 0)
		startup_note(m->startup, (enum startup_phase)start_steps[i].phase, false, clock_mono_us() - began,
			     STARTUP_OK, NULL);
	return true;
}

static bool master_start(struct master *m)
{
	struct error err = ERROR_INIT;

	signals_block();
	upgrade_inherit(m);
	notify_init(m);
	m->startup = &m->boot;
	for (size_t i = 0; i < countof(start_steps); i++) {
		if (start_step(m, i, &err))
			continue;
		if (m->exit_code == EXIT_OK)
			m->exit_code = EXIT_FAILED;
		supervisor_complain(m, "%s", err.msg);
		return false;
	}
	return true;
}

/* Everything that a start makes, in reverse; also of a start that failed half-way. */
static void master_close(struct master *m)
{
	for (unsigned i = 0; i < m->mailboxes.count; i++) {
		if (m->slots[i].pid != 0) {
			kill(m->slots[i].pid, SIGKILL);
			waitpid(m->slots[i].pid, NULL, 0);
			m->slots[i].pid = 0;
		}
	}
	storage_close(m);
	control_close(m->control);
	listeners_close(&m->listeners);
	/* A new master renames its own over this one. */
	if (m->pidfile != NULL && (m->upgrade.peer == 0 || m->upgrade.heir))
		pidfile_remove(m->pidfile);
	free(m->pidfile);
	upgrade_close(m);
	if (m->loop != NULL) {
		signals_close(m);
		loop_timer_stop(&m->tick);
		loop_free(m->loop);
	}
	log_flush();
	for (unsigned i = 0; i < m->mailboxes.count; i++) {
		close(m->mailboxes.fd[i][0]);
		close(m->mailboxes.fd[i][1]);
	}
	for (size_t i = 0; i < 2; i++) {
		if (m->pipe[i] != -1)
			close(m->pipe[i]);
	}
	m->mailboxes.count = 0;
	m->current = NULL;
	m->loading = NULL;
	generation_collect(m);
	tls_keys_free(m->tls_keys);
	if (m->lock_fd != -1)
		close(m->lock_fd);
	if (m->shm_fd != -1)
		close(m->shm_fd);
	if (m->tls_keys_fd != -1)
		close(m->tls_keys_fd);
}

int master_run(const struct master_options *o)
{
	struct master *m = xcalloc(1, sizeof(*m));
	int code;

	m->options = o;
	m->lock_fd = m->shm_fd = m->tls_keys_fd = m->signal_fd = m->pipe[0] = m->pipe[1] = m->storage.fd = -1;
	m->started_us = clock_mono_us();
	slots_init(m);
	if (master_start(m))
		loop_run(m->loop);
	code = m->exit_code;
	master_close(m);
	free(m);
	return code;
}

/* ---- keeping the number of workers ---- */

/* Starts what is due; false when a fork failed, so that the next tick tries again. */
static bool supervisor_restart_due(struct master *m, unsigned *planned)
{
	int64_t now = clock_mono_us();

	*planned = 0;
	for (unsigned i = 0; i < m->mailboxes.count; i++) {
		struct slot *s = &m->slots[i];

		if (s->pid != 0 || s->restart_at == 0)
			continue;
		if (!slots_free(s)) {
			s->restart_at = 0; /* taken by another master; missing here, it starts elsewhere */
			continue;
		}
		if (now < s->restart_at) {
			(*planned)++;
			continue;
		}
		if (!slots_respawn(m, s, m->current))
			return false;
	}
	return true;
}

/* Workers of the current generation that are not on their way out; a successor counts in place of its predecessor. */
static unsigned supervisor_staying(const struct master *m)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m->mailboxes.count; i++)
		n += m->slots[i].pid != 0 && m->slots[i].gen == m->current && !m->slots[i].retiring &&
		     !m->slots[i].relieved;
	return n;
}

/* The one that has lived longest is retired, as gunicorn does. */
static void supervisor_retire_one(struct master *m)
{
	struct slot *oldest = NULL;

	for (unsigned i = 0; i < m->mailboxes.count; i++) {
		struct slot *s = &m->slots[i];

		if (s->pid != 0 && s->gen == m->current && !s->retiring && !s->relieved &&
		    (oldest == NULL || s->started_us < oldest->started_us))
			oldest = s;
	}
	if (oldest != NULL)
		slots_end(oldest, WORKER_SIG_RETIRE);
}

static void supervisor_cannot_start(struct master *m)
{
	log_error("master", "cannot start a worker", KV_S("error", strerror(errno)));
	m->balance_at = clock_mono_us() + SEC_US;
}

static void supervisor_balance(struct master *m)
{
	unsigned planned, staying;

	if (m->stop != STOP_NO || clock_mono_us() < m->balance_at)
		return;
	if (!supervisor_restart_due(m, &planned)) {
		supervisor_cannot_start(m);
		return;
	}
	if (m->loading == NULL)
		slots_relieve(m);
	staying = supervisor_staying(m);
	for (unsigned n = staying + planned; n < m->wanted; n++) {
		if (!slots_spawn(m, m->current)) {
			supervisor_cannot_start(m);
			return;
		}
	}
	if (staying + planned > m->wanted && planned > 0)
		slots_forget_restarts(m); /* the next tick plans what is still missing */
	else if (staying > m->wanted)
		supervisor_retire_one(m);
}

void supervisor_add_workers(struct master *m, int n)
{
	unsigned most = m->mailboxes.count / 2; /* the other half is for a reload's new workers */

	if (m->stop != STOP_NO || m->starting)
		return;
	if ((n < 0 && m->wanted <= 1) || (n > 0 && m->wanted >= most)) {
		log_warn("master", "the number of workers stays", KV_I("workers", m->wanted));
		return;
	}
	m->wanted = n < 0 ? m->wanted - 1 : m->wanted + 1;
	log_info("master", "number of workers", KV_I("workers", m->wanted));
	supervisor_balance(m);
}

/* The first workers all serve, and the store is there: the start is over. */
static void supervisor_started(struct master *m)
{
	if (m->starting || m->storage.pending)
		return;
	startup_over(m->startup, clock_mono_us() - m->started_us);
	log_info("master", "serving", KV_I("workers", m->wanted), KV_S("version", ARAGORA_VERSION),
		 KV_S("data_dir", m->current->conf->storage.data_dir));
}

static void supervisor_note_workers(struct master *m)
{
	char detail[32];

	(void)snprintf(detail, sizeof(detail), "%u serve", m->wanted);
	startup_note(m->startup, STARTUP_WORKERS, false, clock_mono_us() - m->forking_us, STARTUP_OK, detail);
}

void supervisor_on_store(struct master *m)
{
	atomic_store(&m->shm->store_pending, 0);
	log_info("master", "the database is there");
	supervisor_started(m);
	if (!m->starting)
		notify_ready(m, "Serving");
}

void supervisor_on_ready(struct master *m, struct slot *s)
{
	log_info("master", "worker serves", KV_I("slot", s->index), KV_I("worker", s->pid),
		 KV_I("generation", s->gen->number));
	if (m->starting && slots_count(m, m->current, true) == m->wanted) {
		m->starting = false;
		supervisor_note_workers(m);
		supervisor_started(m);
		upgrade_on_serving(m);
		notify_ready(m, m->storage.pending ? "Waiting for the database" : "Serving");
		if (m->reload_pending)
			reload_request(m);
		return;
	}
	reload_on_ready(m);
}

static void supervisor_check_stopped(struct master *m)
{
	if (m->stop == STOP_NO || slots_count(m, NULL, false) > 0)
		return;
	log_info("master", "stopped");
	loop_stop(m->loop);
}

/* Ends the first start: nothing of it stays. */
static void supervisor_abort_start(struct master *m, int code)
{
	m->exit_code = code;
	supervisor_stop(m, STOP_QUICK);
}

void supervisor_on_no_store(struct master *m, const struct error *err)
{
	supervisor_complain(m, "%s", err->msg);
	supervisor_abort_start(m, EXIT_FAILED);
}

void supervisor_on_exit(struct master *m, const struct slot *s, const struct generation *g, bool was_ready,
			const char *reason)
{
	char why[512];

	snprintf(why, sizeof(why), "worker %u %s: %s", s->index,
		 was_ready ? "died while the others were starting" : "failed to boot", reason);
	/* One that has served is replaced like any other: it shows that workers can boot. */
	if (m->starting && m->stop == STOP_NO && !was_ready) {
		supervisor_complain(m, "%s", why);
		supervisor_abort_start(m, EXIT_WORKER_BOOT);
	} else if (m->loading != NULL && g == m->loading) {
		reload_fail(m, why);
	}
	generation_collect(m);
	supervisor_balance(m);
	supervisor_check_stopped(m);
}

/* ---- the tick ---- */

/* The shorter of timeout and stall_timeout in ten looks, but never less than ten heartbeats. */
static void supervisor_watch(struct master *m)
{
	const struct conf *c = m->current->conf;
	int64_t limit = c->server.timeout < c->server.stall_timeout ? c->server.timeout : c->server.stall_timeout;
	int64_t every = limit / MASTER_CHECKS / MASTER_TICK;

	if (every < 1)
		every = 1;
	if (m->ticks % (unsigned)every == 0)
		slots_watch(m, MASTER_CHECKS);
}

static void supervisor_check_deadline(struct master *m)
{
	if (m->stop == STOP_NO || clock_mono_us() < m->stop_deadline)
		return;
	log_warn("master", "workers did not end in time, killing them", KV_I("workers", slots_count(m, NULL, false)));
	m->stop_deadline = clock_mono_us() + MASTER_QUIT_LIMIT;
	for (unsigned i = 0; i < m->mailboxes.count; i++) {
		if (m->slots[i].pid != 0)
			kill(m->slots[i].pid, SIGKILL);
	}
}

static void master_tick(void *arg)
{
	struct master *m = arg;

	m->ticks++;
	loop_timer_set(&m->tick, MASTER_TICK);
	slots_tick(m);
	if (m->ticks % MASTER_RECLAIM_TICKS == 0)
		slots_reclaim(m);
	supervisor_watch(m);
	supervisor_balance(m);
	storage_tick(m);
	notify_tick(m);
	upgrade_tick(m);
	supervisor_check_deadline(m);
	/* Keys shared with the former master are rotated by that one until it is gone. */
	if (!m->upgrade.heir || !m->upgrade.shares_keys)
		tls_keys_rotate(m->tls_keys, clock_mono_us(), m->current->conf->server.tls.ticket_rotation);
}

/* ---- signals ---- */

void supervisor_stop(struct master *m, enum stop how)
{
	const struct conf *c = m->current->conf;

	if (how <= m->stop)
		return;
	m->stop = how;
	/* Readiness fails first, so that a balancer looks elsewhere while connections are finished. */
	if (m->upgrade.peer == 0)
		atomic_store(&m->shm->draining, 1);
	notify_stopping(m);
	m->loading = NULL;
	m->reload_pending = false;
	slots_forget_restarts(m);
	m->stop_deadline = clock_mono_us() +
			   (how == STOP_GRACEFUL ? c->server.graceful_timeout + MASTER_STOP_MARGIN : MASTER_QUIT_LIMIT);
	log_info("master", "stopping", KV_S("how", how == STOP_GRACEFUL ? "graceful" : "quick"),
		 KV_I("workers", slots_count(m, NULL, false)));
	for (unsigned i = 0; i < m->mailboxes.count; i++)
		slots_end(&m->slots[i], how == STOP_GRACEFUL ? WORKER_SIG_STOP : WORKER_SIG_QUIT);
	listeners_close(&m->listeners); /* callers are refused at once instead of waiting for nobody */
	supervisor_check_stopped(m);
}

/* The files of every generation that may still fork; the workers open their own again by path. */
void supervisor_reopen_logs(struct master *m)
{
	for (struct generation *g = m->generations; g != NULL; g = g->next) {
		struct log_files old = g->logs, fresh;
		struct error err = ERROR_INIT;

		if (g->retired)
			continue;
		if (!log_files_open(&fresh, g->conf, &m->privileges, &err)) {
			log_error("master", "cannot reopen a log file, the old one stays", KV_S("error", err.msg));
			continue;
		}
		g->logs = fresh;
		if (g == m->current)
			log_reopen(fresh.error, fresh.access);
		log_files_close(&old);
	}
	slots_signal_all(m, WORKER_SIG_REOPEN);
}
