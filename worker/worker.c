/* SPDX-License-Identifier: MIT */
/*
 * One worker process from fork to exit: opens its parts in order, tells the master, serves, drains, closes them in
 * reverse. Called by the master in the child. Decides nothing about requests or debates.
 */
#include "worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/bus_redis.h"
#include "common/clock.h"
#include "common/co.h"
#include "common/crash.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/startup.h"
#include "common/tenant.h"
#include "common/title.h"
#include "worker/agents/agent.h"
#include "worker/audit/audit.h"
#include "worker/batch/batch.h"
#include "worker/delivery/delivery.h"
#include "worker/http/http.h"
#include "worker/identity/credential.h"
#include "worker/identity/lockout.h"
#include "worker/identity/oauth.h"
#include "worker/identity/password.h"
#include "worker/identity/watch.h"
#include "worker/jobs/jobs.h"
#include "worker/limits/limits.h"
#include "worker/mail/mail.h"
#include "worker/middleware/csrf.h"
#include "worker/middleware/pipeline.h"
#include "worker/receipts/pdf.h"
#include "worker/receipts/receipt.h"
#include "worker/runner/runner.h"
#include "worker/schema.h"
#include "worker/stream/stream.h"
#include "worker/system/errors.h"
#include "worker/system/maintenance.h"
#include "worker/tenancy/spending.h"
#include "worker/traces/traces.h"
#include "worker/web/files.h"

#define WORKER_TICK_US (100 * MS_US) /* heartbeat, DESIGN 2 */
#define WORKER_RSS_TICKS 10
#define WORKER_CPU_THREADS 1
#define WORKER_SLOW_THREADS 4
#define WORKER_LANE_DEPTH 4096
#define WORKER_NAME_THREADS 4
#define WORKER_GUARDED_DEPTH 64           /* names of clients that may wait; one more is refused at once */
#define WORKER_RETIRE_SPREAD (2 * SEC_US) /* over which sockets are told to come back */
#define WORKER_STOP_SPREAD (500 * MS_US)

/* How a worker ends. */
enum worker_end { END_NONE, END_RETIRE, END_STOP, END_QUIT };

struct worker_process {
	struct worker w;
	const struct worker_start *start;
	struct shm_slot *slot;
	struct loop_timer tick, limit;
	struct event *signals[4];
	struct event *master;
	enum worker_end end;
	bool begun; /* worker_begin has done its work */
	bool debates_left;
	uint64_t requests_max; /* 0: no limit */
	unsigned ticks;
	uint64_t log_dropped;
	int error_fd, access_fd;
	char name[32];
};

/* ---- telling the master ---- */

static void worker_say(int fd, const char *text)
{
	ssize_t n = write(fd, text, strlen(text));

	(void)n; /* a master that is gone does not listen; the pipe's end ends us */
}

static int worker_refuse(const struct worker_start *start, const struct error *err)
{
	worker_say(start->ready_fd, err->msg);
	return WORKER_EXIT_BOOT;
}

/* ---- heartbeat ---- */

static uint64_t worker_rss(void)
{
	unsigned long pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (f != NULL) {
		if (fscanf(f, "%*u %lu", &pages) != 1)
			pages = 0;
		(void)fclose(f);
	}
	return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* What a glance every second is enough for. */
static void worker_measure(struct worker_process *p)
{
	uint64_t dropped = log_dropped();

	atomic_store(&p->slot->rss_bytes, worker_rss());
	metric_add(M_LOG_DROPPED, (int64_t)(dropped - p->log_dropped), NULL);
	p->log_dropped = dropped;
}

static void worker_exit_if_done(struct worker_process *p)
{
	if (p->end == END_NONE || !p->debates_left || http_server_connections(p->w.http) > 0 ||
	    !audit_settled(p->w.audit))
		return;
	loop_stop(p->w.loop);
}

/* server.max_requests: the master starts a successor, and retires this process when that one serves. */
static void worker_tell_if_used_up(struct worker_process *p)
{
	if (p->requests_max > 0 && atomic_load(&p->slot->requests) >= p->requests_max)
		atomic_store(&p->slot->used_up, 1);
}

/* What reads and writes the store by itself, from when the store is there. */
static void worker_begin(struct worker_process *p)
{
	struct worker *w = &p->w;

	w->waiting = atomic_load(&w->shm->store_pending) != 0;
	if (w->waiting || p->begun || p->end != END_NONE)
		return;
	p->begun = true;
	maintenance_start(w->maintenance);
	limits_start(w->limits);
	audit_start(w->audit);
	identity_changes_start(w->identity_changes);
	if (w->conf->server.role == ROLE_WEB)
		return;
	runner_start(w->runner);
	deliveries_start(w->deliveries);
	batches_start(w->batches);
}

bool worker_waits(struct worker *w)
{
	if (w->waiting)
		worker_begin((struct worker_process *)(void *)w); /* its first member */
	return w->waiting;
}

static void worker_tick(void *arg)
{
	struct worker_process *p = arg;

	atomic_store(&p->slot->heartbeat_us, clock_mono_us());
	atomic_fetch_add(&p->slot->beat, 1);
	if (p->ticks++ % WORKER_RSS_TICKS == 0)
		worker_measure(p);
	metric_set(M_CO_COUNT, co_count(), NULL);
	http_server_tick(p->w.http);
	if (!p->begun)
		worker_begin(p);
	worker_tell_if_used_up(p);
	worker_exit_if_done(p);
	loop_timer_set(&p->tick, WORKER_TICK_US);
}

/* ---- logs ---- */

/* A descriptor of the file, or the former one when it is not a file or cannot be opened. */
static int worker_reopen_one(const char *path, int former)
{
	int fd;

	if (path[0] == '\0' || strcmp(path, "-") == 0)
		return former;
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
	if (fd == -1)
		log_error("worker", "a log file cannot be reopened", KV_S("path", path),
			  KV_S("reason", strerror(errno)));
	return fd != -1 ? fd : former;
}

/* USR1: the files may have been moved away (logrotate). */
static void worker_reopen_logs(struct worker_process *p)
{
	int error_fd = worker_reopen_one(p->w.conf->log.error, p->error_fd);
	int access_fd = worker_reopen_one(p->w.conf->log.access, p->access_fd);

	log_flush();
	log_reopen(error_fd, access_fd);
	if (error_fd != p->error_fd)
		(void)close(p->error_fd);
	if (access_fd != p->access_fd)
		(void)close(p->access_fd);
	p->error_fd = error_fd;
	p->access_fd = access_fd;
	log_info("worker", "log files reopened");
}

static void worker_show_title(const struct worker_process *p, const char *state)
{
	title_set("%s: %s: %s", p->w.conf->server.proc_name, p->name, state);
}

/* ---- ending ---- */

static void worker_debates_left(void *arg)
{
	struct worker_process *p = arg;

	p->debates_left = true;
	worker_exit_if_done(p);
}

static void worker_out_of_time(void *arg)
{
	struct worker_process *p = arg;

	log_warn("worker", "time to drain is over, closing what is left",
		 KV_I("connections", http_server_connections(p->w.http)), KV_I("debates", runner_count(p->w.runner)));
	loop_stop(p->w.loop);
}

/* A harder end may follow a softer one, never the other way round. */
static void worker_begin_end(struct worker_process *p, enum worker_end end)
{
	const struct conf *c = p->w.conf;
	int64_t spread = end == END_RETIRE ? WORKER_RETIRE_SPREAD : WORKER_STOP_SPREAD;

	if (end <= p->end)
		return;
	log_info("worker", "draining",
		 KV_S("why", end == END_RETIRE ? "retired"
			     : end == END_STOP ? "stop"
					       : "quit"),
		 KV_I("connections", http_server_connections(p->w.http)), KV_I("debates", runner_count(p->w.runner)));
	p->end = end;
	p->w.draining = true;
	/* While the store is waited for it has not been told of the start either. */
	if (end == END_STOP && !p->w.waiting && atomic_exchange(&p->w.shm->stop_told, 1) == 0)
		audit_note(&p->w, NULL,
			   &(struct audit_event){
			       .category = "system", .action = "system.shutdown", .resource_type = STR("service")});
	atomic_store(&p->slot->state, SLOT_DRAINING);
	worker_show_title(p, "draining");
	if (end == END_QUIT) {
		loop_stop(p->w.loop);
		return;
	}
	stream_drain(p->w.stream, spread);
	http_server_drain(p->w.http, spread);
	deliveries_drain(p->w.deliveries, end == END_STOP ? c->server.graceful_timeout : 0);
	runner_drain(p->w.runner, end == END_STOP ? c->server.graceful_timeout : 0, worker_debates_left, p);
	loop_timer_set(&p->limit, end == END_STOP ? c->server.graceful_timeout + 5 * SEC_US
						  : c->debates.agent_timeout + c->server.graceful_timeout);
}

static const struct {
	int sig;
	enum worker_end end;
} worker_signals[] = {
    {WORKER_SIG_RETIRE, END_RETIRE},
    {WORKER_SIG_STOP, END_STOP},
    {WORKER_SIG_QUIT, END_QUIT},
    {WORKER_SIG_REOPEN, END_NONE},
};
_Static_assert(countof(worker_signals) == 4, "struct worker_process has room for four");

static void worker_on_signal(evutil_socket_t sig, short what, void *arg)
{
	struct worker_process *p = arg;
	size_t i;

	(void)what;
	for (i = 0; worker_signals[i].sig != sig; i++)
		;
	if (worker_signals[i].end == END_NONE)
		worker_reopen_logs(p);
	else
		worker_begin_end(p, worker_signals[i].end);
}

/* The pipe from the master has ended: it is dead. Nobody will replace us; finish what runs and go. */
static void worker_on_orphaned(evutil_socket_t fd, short what, void *arg)
{
	struct worker_process *p = arg;

	(void)fd;
	(void)what;
	event_del(p->master);
	log_error("worker", "the master is gone");
	worker_begin_end(p, END_STOP);
}

/* ---- parts ---- */

/* Redis joins nodes into one service; alone a node needs none. It connects while the worker serves already. */
static void worker_open_redis(struct worker *w)
{
	struct redis_options o;

	if (!redis_options_from(w->conf, &o))
		return;
	w->redis = redis_open(w->loop, w->names, &o);
	w->bus_link = bus_redis_open(w->bus, w->redis, w->shm->node_id, o.address.db);
}

/* What was done since *since belongs to that phase of the start. */
static void worker_lap(const struct worker *w, int64_t *since, enum startup_phase phase, const char *detail)
{
	int64_t now = clock_mono_us();
	bool pending = w->waiting && phase == STARTUP_BACKENDS;

	startup_note(&w->shm->startup, phase, true, now - *since, pending ? STARTUP_PENDING : STARTUP_OK, detail);
	*since = now;
}

static void worker_lap_agents(const struct worker *w, int64_t *since)
{
	char detail[80];

	(void)snprintf(detail, sizeof(detail), "%zu agents%s", (size_t)agents_available(w->conf),
		       conf_demo_active(w->conf) ? "; demo agents play" : "");
	worker_lap(w, since, STARTUP_KNOWLEDGE, detail);
}

static bool worker_open_parts(struct worker_process *p, struct error *err)
{
	struct worker *w = &p->w;
	int64_t since = clock_mono_us();

	w->loop = loop_new();
	co_init(w->loop, 0, 0);
	w->cpu = lane_new(w->loop, "cpu", WORKER_CPU_THREADS, WORKER_LANE_DEPTH);
	w->slow = lane_new(w->loop, "slow", WORKER_SLOW_THREADS, WORKER_LANE_DEPTH);
	w->names = lane_new(w->loop, "names", WORKER_NAME_THREADS, WORKER_LANE_DEPTH);
	w->guarded = lane_new(w->loop, "guarded", WORKER_NAME_THREADS, WORKER_GUARDED_DEPTH);
	tenant_learn(schema_migrations, schema_migrations_count);
	w->db = db_open(w->loop, w->conf, err);
	if (w->db == NULL)
		return false;
	worker_lap(w, &since, STARTUP_BACKENDS, NULL);
	receipt_pdf_at(w->conf->receipts.pdf_module);
	w->receipt_keys = receipt_keys_open(w->conf, err);
	if (w->receipt_keys == NULL)
		return false;
	w->audit = audit_open(w, err);
	if (w->audit == NULL || !csrf_open(w->conf, err))
		return false;
	worker_lap(w, &since, STARTUP_SECURITY, "keys are loaded");
	w->bus = bus_open(w->loop, w->shm, p->start->mailboxes, w->slot);
	worker_open_redis(w);
	w->lockouts = lockouts_open(w->conf);
	w->mail = mail_open(w->loop, w->conf);
	w->oauth = oauth_open(w);
	w->limits = limits_open(w, err);
	if (w->limits == NULL)
		return false;
	w->identity_changes = identity_changes_open(w);
	w->credentials = credentials_open(w, err);
	if (w->credentials == NULL)
		return false;
	w->identity_watches = identity_watches_open(w);
	w->passwords = passwords_open(w->loop, w->conf);
	w->fetch = fetch_open(w->loop, w->names, w->guarded);
	worker_lap(w, &since, STARTUP_BACKENDS, NULL);
	if (!agents_prices_load(w->conf->agents.prices_file, err))
		return false;
	w->agents = agents_open(w);
	w->spending = spending_open(w);
	agents_start(w->agents);
	worker_lap_agents(w, &since);
	w->stream = stream_open(w);
	w->jobs = jobs_open(w, worker_jobs);
	w->maintenance = maintenance_open(w);
	w->deliveries = deliveries_open(w, err);
	if (w->deliveries == NULL)
		return false;
	w->traces = traces_open(w);
	w->batches = batches_open(w);
	w->runner = runner_open(w, err);
	if (w->runner == NULL)
		return false;
	worker_lap(w, &since, STARTUP_SCHEDULERS,
		   w->conf->server.role == ROLE_WEB ? "none here (server.role: web)" : "queue, leases, checkpoints");
	if (!files_check(w->conf, err))
		return false;
	w->files = files_open(w->loop, w->slow, w->conf);
	w->router = worker_routes(w->conf, err);
	if (w->router == NULL)
		return false;
	w->http = http_server_new(w->loop, w->conf, w->shm->slots, w->slot, &pipeline_hooks, w);
	http_server_files(w->http, w->slow);
	return true;
}

static void worker_close_parts(struct worker *w)
{
	http_server_free(w->http);
	router_free(w->router);
	stream_close(w->stream);
	agents_close(w->agents);
	spending_close(w->spending);
	fetch_close(w->fetch);
	lane_free(w->guarded); /* its jobs use the guard of the deliveries */
	runner_close(w->runner);
	batches_close(w->batches);
	deliveries_close(w->deliveries);
	maintenance_close(w->maintenance);
	jobs_close(w->jobs);
	traces_close(w->traces);
	receipt_keys_close(w->receipt_keys);
	audit_close(w->audit);
	passwords_close(w->passwords);
	identity_watches_close(w->identity_watches);
	credentials_close(w->credentials);
	identity_changes_close(w->identity_changes);
	db_close(w->db);
	redis_close(w->redis);
	limits_close(w->limits); /* answers of Redis come until it is closed */
	bus_redis_close(w->bus_link);
	bus_close(w->bus);
	lockouts_close(w->lockouts);
	mail_close(w->mail);
	oauth_close(w->oauth);
	lane_free(w->names);
	lane_free(w->slow);
	lane_free(w->cpu);
	files_close(w->files);
}

static void worker_listen_for_master(struct worker_process *p)
{
	struct event_base *base = loop_base(p->w.loop);
	size_t i;

	for (i = 0; i < countof(worker_signals); i++) {
		/* libevent puts this back when the event goes: a late word does not kill a process that is leaving. */
		(void)signal(worker_signals[i].sig, SIG_IGN);
		p->signals[i] = evsignal_new(base, worker_signals[i].sig, worker_on_signal, p);
		BUG_ON(p->signals[i] == NULL || event_add(p->signals[i], NULL) != 0);
	}
	p->master = event_new(base, p->start->master_pipe, EV_READ | EV_PERSIST, worker_on_orphaned, p);
	BUG_ON(p->master == NULL || event_add(p->master, NULL) != 0);
	loop_timer_init(p->w.loop, &p->tick, worker_tick, p);
	loop_timer_init(p->w.loop, &p->limit, worker_out_of_time, p);
	loop_timer_set(&p->tick, 0);
}

static void worker_stop_listening(struct worker_process *p)
{
	size_t i;

	for (i = 0; i < countof(worker_signals); i++)
		event_free(p->signals[i]);
	event_free(p->master);
	loop_timer_stop(&p->tick);
	loop_timer_stop(&p->limit);
}

static void worker_name(struct worker_process *p)
{
	const struct worker_start *s = p->start;

	(void)snprintf(p->name, sizeof(p->name), "worker %u", s->slot);
	log_setup(&(struct log_options){.level = (enum log_level)s->conf->log.level,
					.json = s->conf->log.json,
					.error_fd = s->error_fd,
					.access_fd = s->access_fd,
					.who = p->name,
					.access_delay = s->conf->log.access_delay});
	log_start_writer();
	crash_install(p->name, p->slot->action);
	worker_show_title(p, "booting");
	ids_uuid7(p->w.incarnation);
}

/*
 * Clean exit only when everything has been closed: a worker that is told to quit, or that ran out of time, leaves
 * suspended coroutines behind, and freeing under them would be worse than not freeing.
 */
static int worker_leave(struct worker_process *p)
{
	bool clean = p->debates_left && http_server_connections(p->w.http) == 0 && co_count() == 0;

	atomic_store(&p->slot->state, SLOT_EXITING);
	log_info("worker", "exiting", KV_B("clean", clean));
	worker_stop_listening(p);
	if (clean) {
		worker_close_parts(&p->w);
		co_shutdown();
		loop_free(p->w.loop);
	}
	log_drain(SEC_US);
	if (!clean)
		_exit(0);
	return 0;
}

static uint64_t worker_requests_max(const struct conf *c)
{
	int64_t jitter = c->server.max_requests_jitter < UINT32_MAX ? c->server.max_requests_jitter : UINT32_MAX - 1;

	return c->server.max_requests > 0 ? (uint64_t)c->server.max_requests + ids_uniform((uint32_t)jitter + 1) : 0;
}

int worker_main(const struct worker_start *start)
{
	struct worker_process *p = xcalloc(1, sizeof(*p));
	struct error err = ERROR_INIT;
	int code;

	p->start = start;
	p->slot = &start->shm->slots[start->slot];
	p->error_fd = start->error_fd;
	p->access_fd = start->access_fd;
	p->w.conf = start->conf;
	p->w.shm = start->shm;
	p->w.slot = start->slot;
	p->w.generation = start->generation;
	p->w.waiting = atomic_load(&start->shm->store_pending) != 0;
	p->w.started_us = clock_mono_us();
	p->requests_max = worker_requests_max(start->conf);
	(void)signal(SIGPIPE, SIG_IGN);
	worker_name(p);
	metrics_attach(start->shm, start->slot);
	errors_keep(start->shm);
	if (!worker_open_parts(p, &err)) {
		log_drain(SEC_US);
		return worker_refuse(start, &err);
	}
	worker_listen_for_master(p);
	if (start->conf->server.role != ROLE_WORKER)
		http_server_listen(p->w.http, start->listeners, start->listener_marks, start->listener_count,
				   start->tls);
	atomic_store(&p->slot->heartbeat_us, clock_mono_us());
	atomic_store(&p->slot->state, SLOT_SERVING);
	worker_show_title(p, "serving");
	worker_say(start->ready_fd, "1");
	worker_begin(p);
	log_info("worker", "serving", KV_I("generation", start->generation), KV_S("incarnation", p->w.incarnation));
	loop_run(p->w.loop);
	code = worker_leave(p);
	free(p);
	return code;
}
