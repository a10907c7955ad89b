/* SPDX-License-Identifier: MIT */
/*
 * The store at the start, prepared by a child process that ends before it could share threads or locks with workers:
 * it checks and migrates the store, tries Redis, makes the node's id. A database server that is away (a failover) does
 * not hold up the start: workers answer probes meanwhile, and children try until it is there. Opens no database itself.
 */
#include "master/storage.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/db.h"
#include "common/db_history.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/redis.h"
#include "common/startup.h"
#include "master/signals.h"
#include "master/supervisor.h"
#include "worker/audit/audit.h"
#include "worker/identity/identity.h"
#include "worker/schema.h"
#include "worker/secrets.h"

#define STORAGE_PATH 2048
#define STORAGE_PATIENCE_MS 2000      /* how long workers wait for a database server before they start without it */
#define STORAGE_PAUSE (500 * MS_US)   /* between two tries */
#define STORAGE_TOLD_US (10 * SEC_US) /* between two lines of the log about the same */
#define STORAGE_REAPED (-1)           /* in the place of a child that has ended and was not listened to yet */

enum storage_word {
	STORAGE_FAILED, /* for good: err says why */
	STORAGE_HERE,   /* the folder and the node's id; another word follows */
	STORAGE_AWAY,   /* the server does not answer yet: err says why */
	STORAGE_READY
};

/* What the child says through its pipe, each in one piece. */
struct storage_answer {
	enum storage_word word;
	char node_id[40];
	int64_t backends_us, schema_us; /* how long the phases took */
	char redis[160];                /* why Redis cannot be used; "" when it can, or is not configured */
	char keys[100];                 /* ids of encryption keys that the store knows and this node lacks; "": none */
	struct error err;
};
_Static_assert(sizeof(struct storage_answer) <= PIPE_BUF, "written in one piece");

/* ---- the child ---- */

static void node_host(char host[256])
{
	if (gethostname(host, 256) == -1)
		host[0] = '\0';
	host[255] = '\0';
}

/* The id, and below it the host that it was made on. */
static bool node_id_read(const char *path, char id[40])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[UUID_LEN + 260], host[256];
	ssize_t n;

	if (fd == -1)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n < UUID_LEN || strspn(text, "0123456789abcdef-") < UUID_LEN)
		return false;
	text[n] = '\0';
	memcpy(id, text, UUID_LEN);
	id[UUID_LEN] = '\0';
	node_host(host);
	return str_eqz(str_trim(str_of(text + UUID_LEN)), host);
}

/*
 * Made at the first start in this folder, and again when the folder has come to another host: a copied one must not
 * make two nodes that take each other for one, and each other's live processes for dead.
 */
static bool node_id_get(const struct conf *c, char id[40], struct error *err)
{
	char path[STORAGE_PATH], host[256];
	struct buf temporary = BUF_INIT;
	bool ok = false;
	int fd;

	node_host(host);
	snprintf(path, sizeof(path), "%s/node_id", c->storage.data_dir);
	if (node_id_read(path, id))
		return true;
	ids_uuid7(id);
	buf_printf(&temporary, "%s.new", path);
	fd = open(temporary.p, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd != -1) {
		ok = dprintf(fd, "%s\n%s\n", id, host) > 0 && fsync(fd) == 0 && rename(temporary.p, path) == 0;
		if (!ok)
			error_set(err, ERR_STORAGE, "cannot write %s: %s", path, strerror(errno));
		close(fd);
	} else {
		error_set(err, ERR_STORAGE, "cannot write %s: %s", temporary.p, strerror(errno));
	}
	buf_free(&temporary);
	return ok;
}

/* The audit log begins each life of the service with its version and configuration file. */
static bool storage_tell_start(const struct conf *c, struct error *err)
{
	json_t *details = json_pack("{s:s, s:s}", "version", ARAGORA_VERSION, "env",
				    c->server.env == CONF_PRODUCTION ? "production" : "development");
	bool ok = audit_service(
	    c,
	    &(struct audit_event){
		.category = "system", .action = "system.startup", .resource_type = STR("service"), .details = details},
	    err);

	json_decref(details);
	return ok;
}

static bool storage_migrate(const struct conf *c, struct storage_answer *a, struct error *err)
{
	return (c->storage.auto_migrate || history_demand(c, schema_migrations, schema_migrations_count, err)) &&
	       db_migrate(c, schema_migrations, schema_migrations_count, err) &&
	       secrets_note_keys(c, a->keys, sizeof(a->keys), err) && identity_prepare(c, err) &&
	       storage_tell_start(c, err);
}

/* The node serves without Redis too; whether it may start so is the master's affair. */
static void storage_try_redis(const struct conf *c, struct storage_answer *a)
{
	struct redis_options o;
	struct error err = ERROR_INIT;

	if (redis_options_from(c, &o) && !redis_check(&o, &err))
		(void)snprintf(a->redis, sizeof(a->redis), "%.*s", (int)sizeof(a->redis) - 1, err.msg);
}

/* The phases of the start that concern what lies outside of the process, timed. */
static bool storage_phases(const struct conf *c, struct storage_answer *a)
{
	int64_t began = clock_mono_us();
	struct error again = ERROR_INIT;

	if (!db_check_storage(c, &a->err))
		return false;
	storage_try_redis(c, a);
	a->backends_us = clock_mono_us() - began;
	began = clock_mono_us();
	if (!storage_migrate(c, a, &a->err)) {
		/* Lost on the way is away too, not a migration that is wrong. */
		if (!db_check_storage(c, &again) && again.code == ERR_UNAVAILABLE)
			a->err = again;
		return false;
	}
	a->schema_us = clock_mono_us() - began;
	return true;
}

static void storage_say(int fd, struct storage_answer *a, enum storage_word word)
{
	ssize_t n;

	a->word = word;
	n = write(fd, a, sizeof(*a));
	(void)n; /* a master that is gone does not listen */
}

/* May the node serve probes while its database server is away? An heir may not: its predecessor serves still. */
static bool storage_may_wait(const struct master *m)
{
	const struct conf *c = m->current->conf;

	return c->storage.backend == STORE_POSTGRES && !c->server.strict_startup && !m->upgrade.heir;
}

static NORETURN void storage_child(const struct master *m, int fd)
{
	struct storage_answer a = {.err = ERROR_INIT};
	enum storage_word word = STORAGE_FAILED;
	struct conf *c = xcalloc(1, sizeof(*c));
	int keep[] = {fd, m->current->logs.error, m->current->logs.access};

	*c = *m->current->conf; /* too big for a stack; freed with the process */
	files_close_all_but(keep, countof(keep));
	signals_restore();
	if (storage_may_wait(m))
		c->storage.pool_timeout = 0; /* the master tries again, and tells why it must */
	if (privileges_drop(&m->privileges, &a.err) && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 &&
	    db_check_folders(c, &a.err) && node_id_get(c, a.node_id, &a.err)) {
		storage_say(fd, &a, STORAGE_HERE);
		word = storage_phases(c, &a)           ? STORAGE_READY
		       : a.err.code == ERR_UNAVAILABLE ? STORAGE_AWAY
						       : STORAGE_FAILED;
	}
	log_flush(); /* first: the master ends who has said the last word */
	storage_say(fd, &a, word);
	_exit(0);
}

/* ---- the master ---- */

static bool storage_fork(struct master *m, struct error *err)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) == -1)
		return error_set(err, ERR_UNAVAILABLE, "pipe: %s", strerror(errno));
	log_flush();
	fflush(NULL);
	m->storage.child = fork();
	if (m->storage.child == 0)
		storage_child(m, ends[1]);
	close(ends[1]);
	m->storage.fd = ends[0];
	if (m->storage.child > 0)
		return true;
	error_set(err, ERR_UNAVAILABLE, "fork: %s", strerror(errno));
	storage_close(m);
	return false;
}

void storage_close(struct master *m)
{
	struct storage *s = &m->storage;

	if (s->fd != -1)
		close(s->fd);
	s->fd = -1;
	if (s->child > 0) {
		kill(s->child, SIGKILL); /* a batch under way is rolled back */
		while (waitpid(s->child, NULL, 0) == -1 && errno == EINTR)
			continue;
	}
	s->child = 0;
}

/* Its number may be another process's from now on, so nobody is to be ended by it. What it said waits in the pipe. */
bool storage_reaped(struct master *m, pid_t pid)
{
	if (pid != m->storage.child)
		return false;
	m->storage.child = STORAGE_REAPED;
	return true;
}

/* The next word within so many milliseconds, -1: however long it takes. False: none yet. */
static bool storage_hear(struct master *m, int patience_ms, struct storage_answer *a)
{
	struct pollfd fd = {.fd = m->storage.fd, .events = POLLIN};
	ssize_t n;

	if (poll(&fd, 1, patience_ms) <= 0)
		return false;
	do
		n = read(m->storage.fd, a, sizeof(*a));
	while (n == -1 && errno == EINTR);
	if (n != (ssize_t)sizeof(*a)) {
		*a = (struct storage_answer){.word = STORAGE_FAILED, .err = ERROR_INIT};
		error_set(&a->err, ERR_STORAGE, "the process that prepares the store died");
	}
	if (a->word != STORAGE_HERE)
		storage_close(m);
	return true;
}

static void storage_note_waiting(struct master *m, const char *why)
{
	struct storage *s = &m->storage;
	int64_t now = clock_mono_us();
	char detail[sizeof(m->boot.phases[0].detail)];

	(void)snprintf(detail, sizeof(detail), "postgres; waiting: %.140s", why);
	startup_note(m->startup, STARTUP_BACKENDS, false, 0, STARTUP_PENDING, detail);
	if (s->told_at == 0 || now - s->told_at >= STORAGE_TOLD_US) {
		log_warn("master", "waiting for the database", KV_S("reason", why));
		s->told_at = now;
	}
	s->next_at = now + STORAGE_PAUSE;
}

static bool storage_note_ready(struct master *m, const struct storage_answer *a, struct error *err)
{
	const struct conf *c = m->current->conf;
	char detail[sizeof(m->boot.phases[0].detail)];

	if (a->redis[0] != '\0' && c->server.strict_startup)
		return error_field(err, ERR_UNAVAILABLE, "redis.url", "redis.url: %s (server.strict_startup)",
				   a->redis);
	(void)snprintf(detail, sizeof(detail), "%s; %.120s", c->storage.backend == STORE_SQLITE ? "sqlite" : "postgres",
		       a->redis[0] != '\0'       ? a->redis
		       : c->redis.url[0] != '\0' ? "redis connected"
						 : "redis not configured");
	startup_note(m->startup, STARTUP_BACKENDS, false, a->backends_us,
		     a->redis[0] != '\0' ? STARTUP_DEGRADED : STARTUP_OK, detail);
	(void)snprintf(detail, sizeof(detail), "version %d", schema_migrations[schema_migrations_count - 1].number);
	startup_note(m->startup, STARTUP_SCHEMA, false, a->schema_us, STARTUP_OK, detail);
	if (a->keys[0] != '\0') {
		(void)snprintf(detail, sizeof(detail), "encryption keys that other nodes use are missing: %s", a->keys);
		startup_note(m->startup, STARTUP_SECURITY, false, 0, STARTUP_DEGRADED, detail);
	}
	return true;
}

/* True: the store is ready, or (m->storage.pending) it may come later. */
static bool storage_take(struct master *m, const struct storage_answer *a, struct error *err)
{
	m->storage.pending = a->word == STORAGE_AWAY && storage_may_wait(m);
	if (m->storage.pending)
		storage_note_waiting(m, a->err.msg);
	else if (a->word == STORAGE_READY)
		return storage_note_ready(m, a, err);
	else
		*err = a->err;
	return m->storage.pending;
}

bool storage_start(struct master *m, struct error *err)
{
	struct storage_answer a;

	if (!storage_fork(m, err))
		return false;
	while (!storage_hear(m, -1, &a))
		continue;
	if (a.word == STORAGE_HERE) {
		memcpy(m->node_id, a.node_id, sizeof(m->node_id));
		if (!storage_hear(m, storage_may_wait(m) ? STORAGE_PATIENCE_MS : -1, &a)) {
			m->storage.pending = true;
			storage_note_waiting(m, "no answer yet, or another node is changing the tables");
			return true;
		}
	}
	return storage_take(m, &a, err);
}

void storage_tick(struct master *m)
{
	struct storage *s = &m->storage;
	struct error err = ERROR_INIT;
	struct storage_answer a;

	if (!s->pending || m->stop != STOP_NO)
		return;
	if (s->child == 0) {
		if (clock_mono_us() >= s->next_at && !storage_fork(m, &err))
			storage_note_waiting(m, err.msg);
		return;
	}
	if (!storage_hear(m, 0, &a) || a.word == STORAGE_HERE)
		return;
	if (!storage_take(m, &a, &err))
		supervisor_on_no_store(m, &err);
	else if (!s->pending)
		supervisor_on_store(m);
}
