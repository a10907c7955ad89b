/* SPDX-License-Identifier: MIT */
/*
 * The master's control socket: "status" is answered with one JSON document, "migrated …" counts what `aragorad encrypt`
 * did. Called by the supervisor; control_ask by subcommands. Changes nothing in the server: that is what signals are
 * for.
 */
#include "master/control.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <jansson.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/metrics.h"
#include "master/supervisor.h"

#define CONTROL_CLIENTS 16
#define CONTROL_BACKLOG 128
#define CONTROL_LINE 256
#define CONTROL_PATIENCE_S 5
#define CONTROL_PATH 4096

struct control_client {
	struct control *control;
	struct event ev;
	int fd; /* -1: free */
	size_t line_n;
	char line[CONTROL_LINE];
	struct buf answer;
};

struct control {
	struct master *master;
	struct event ev;
	int fd;
	char path[CONTROL_PATH];
	dev_t dev;
	ino_t ino;
	unsigned next; /* place of the next client */
	struct control_client clients[CONTROL_CLIENTS];
};

void control_path(const struct conf *c, struct buf *out)
{
	if (c->server.control[0] != '\0')
		buf_addz(out, c->server.control);
	else
		buf_printf(out, "%s/control.sock", c->storage.data_dir);
}

/*
 * An address for a path of any length: the folder is named by a descriptor, which the caller closes. False with errno.
 */
static bool control_address(const char *path, const char *suffix, struct sockaddr_un *sa, int *folder)
{
	const char *slash = strrchr(path, '/');
	char parent[CONTROL_PATH];
	int n;

	if (slash == NULL)
		snprintf(parent, sizeof(parent), ".");
	else
		snprintf(parent, sizeof(parent), "%.*s", slash == path ? 1 : (int)(slash - path), path);
	*folder = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*folder == -1)
		return false;
	*sa = (struct sockaddr_un){.sun_family = AF_UNIX};
	n = snprintf(sa->sun_path, sizeof(sa->sun_path), "/proc/self/fd/%d/%s%s", *folder,
		     slash != NULL ? slash + 1 : path, suffix);
	if (n < 0 || (size_t)n >= sizeof(sa->sun_path)) {
		close(*folder);
		errno = ENAMETOOLONG;
		return false;
	}
	return true;
}

/* ---- the document ---- */

static const char *const control_states[] = {
    [SLOT_FREE] = "free",         [SLOT_BOOTING] = "booting", [SLOT_SERVING] = "serving",
    [SLOT_DRAINING] = "draining", [SLOT_EXITING] = "exiting",
};

static const char *control_state(const struct slot *s, const struct shm_slot *shared)
{
	uint32_t state = atomic_load(&shared->state);

	if (s->stalled)
		return "stalled";
	return state < countof(control_states) ? control_states[state] : "unknown";
}

static json_t *control_worker(const struct master *m, unsigned slot, int64_t now)
{
	const struct slot *s = &m->slots[slot];
	const struct shm_slot *shared = &m->shm->slots[slot];
	char action[SHM_ACTION];

	snprintf(action, sizeof(action), "%.*s", SHM_ACTION - 1, shared->action);
	return json_pack(
	    "{s:i, s:i, s:i, s:i, s:s, s:b, s:I, s:I, s:i, s:i, s:i, s:I, s:I, s:s}", "slot", (int)slot, "pid",
	    (int)atomic_load(&shared->pid), "master", (int)atomic_load(&shared->master), "generation",
	    (int)atomic_load(&shared->generation), "state", control_state(s, shared), "relieved", s->relieved, "age_s",
	    (json_int_t)((now - atomic_load(&shared->started_us)) / SEC_US), "heartbeat_ms",
	    (json_int_t)((now - atomic_load(&shared->heartbeat_us)) / MS_US), "connections",
	    (int)atomic_load(&shared->connections), "sockets", (int)atomic_load(&shared->sockets), "debates",
	    (int)atomic_load(&shared->debates), "requests", (json_int_t)atomic_load(&shared->requests), "rss_bytes",
	    (json_int_t)atomic_load(&shared->rss_bytes), "action", action);
}

/* Also those of another master that shares the segment. */
static json_t *control_workers(const struct master *m, int64_t now)
{
	json_t *workers = json_array();

	for (unsigned i = 0; i < m->mailboxes.count; i++) {
		if (atomic_load(&m->shm->slots[i].state) != SLOT_FREE)
			json_array_append_new(workers, control_worker(m, i, now));
	}
	return workers;
}

static json_t *control_status(const struct master *m)
{
	json_t *listeners = json_array();
	int64_t now = clock_mono_us();
	char path[CONTROL_PATH];

	for (size_t i = 0; i < m->listeners.n; i++)
		json_array_append_new(listeners, json_string(m->listeners.v[i].address));
	if (realpath(m->current->conf->storage.data_dir, path) == NULL)
		snprintf(path, sizeof(path), "%s", m->current->conf->storage.data_dir);
	return json_pack("{s:i, s:s, s:s, s:I, s:i, s:b, s:b, s:i, s:i, s:s, s:s, s:I, s:o, s:o}", "pid", (int)getpid(),
			 "version", ARAGORA_VERSION, "node_id", m->node_id, "uptime_s",
			 (json_int_t)((now - m->started_us) / SEC_US), "generation", (int)m->current->number,
			 "reloading", m->loading != NULL, "stopping", m->stop != STOP_NO, "other_master",
			 (int)m->upgrade.peer, "workers_wanted", (int)m->wanted, "config", m->current->conf->path,
			 "data_dir", path, "reloads", (json_int_t)atomic_load(&m->shm->reloads), "listeners", listeners,
			 "workers", control_workers(m, now));
}

/* "migrated STORE written skipped lost damaged": counters of the server for work that another process did. */
static json_t *control_migrated(struct str rest)
{
	static const char *const outcomes[] = {"migrated", "skipped"};
	static const char *const failures[] = {"key_not_found", "damaged"};
	int64_t n[countof(outcomes) + countof(failures)];
	struct str store, number;
	char label[64];

	if (!str_split(&rest, ' ', &store) || store.n >= sizeof(label))
		return NULL;
	snprintf(label, sizeof(label), "%.*s", STR_ARG(store));
	for (size_t i = 0; i < countof(n); i++) {
		if (!str_split(&rest, ' ', &number) || !str_to_i64(number, 0, INT64_C(1) << 40, &n[i]))
			return NULL;
	}
	for (size_t i = 0; i < countof(outcomes); i++)
		metric_add(M_MIGRATION_RECORDS, n[i], label, outcomes[i], NULL);
	for (size_t i = 0; i < countof(failures); i++) {
		metric_add(M_MIGRATION_RECORDS, n[countof(outcomes) + i], label, "failed", NULL);
		metric_add(M_MIGRATION_ERRORS, n[countof(outcomes) + i], label, failures[i], NULL);
	}
	return json_pack("{s:b}", "counted", 1);
}

static void control_answer(const struct master *m, const char *line, struct buf *out)
{
	const struct str migrated = STR("migrated ");
	struct str said = str_of(line);
	json_t *doc = NULL;
	char *text;

	if (str_eqz(said, "status"))
		doc = control_status(m);
	else if (str_starts(said, migrated))
		doc = control_migrated(str_sub(said, migrated.n, said.n));
	if (doc == NULL)
		doc = json_pack("{s:s, s:s}", "error", "unknown request", "request", line);
	text = doc != NULL ? json_dumps(doc, JSON_COMPACT) : NULL;

	buf_addz(out, text != NULL ? text : "{\"error\":\"the answer cannot be built\"}");
	buf_addc(out, '\n');
	free(text);
	json_decref(doc);
}

/* ---- server ---- */

static void control_client_close(struct control_client *x)
{
	event_del(&x->ev);
	close(x->fd);
	buf_free(&x->answer);
	x->fd = -1;
}

static void control_on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct control_client *x = arg;
	ssize_t n = 0;

	if ((what & EV_TIMEOUT) == 0)
		n = send(fd, x->answer.p, x->answer.n, MSG_NOSIGNAL);
	if (n > 0)
		buf_consume(&x->answer, (size_t)n);
	if ((what & EV_TIMEOUT) != 0 || x->answer.n == 0 || (n == -1 && errno != EAGAIN && errno != EINTR))
		control_client_close(x);
}

static void control_on_readable(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval patience = {.tv_sec = CONTROL_PATIENCE_S};
	struct control_client *x = arg;
	char *end;
	ssize_t n;

	n = (what & EV_TIMEOUT) != 0 ? 0 : recv(fd, x->line + x->line_n, sizeof(x->line) - 1 - x->line_n, 0);
	if (n <= 0) {
		if (n == 0 || (errno != EAGAIN && errno != EINTR))
			control_client_close(x);
		return;
	}
	x->line_n += (size_t)n;
	x->line[x->line_n] = '\0';
	end = strpbrk(x->line, "\r\n");
	if (end == NULL) {
		if (x->line_n == sizeof(x->line) - 1)
			control_client_close(x);
		return;
	}
	*end = '\0';
	control_answer(x->control->master, x->line, &x->answer);
	event_del(&x->ev);
	event_assign(&x->ev, loop_base(x->control->master->loop), fd, EV_WRITE | EV_PERSIST, control_on_writable, x);
	event_add(&x->ev, &patience);
}

static void control_on_accept(evutil_socket_t listener, short what, void *arg)
{
	const struct timeval patience = {.tv_sec = CONTROL_PATIENCE_S};
	struct control *c = arg;
	struct control_client *x;
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)what;
	if (fd == -1)
		return;
	/* Round robin: when all places are taken, the client that came first has had its time. */
	x = &c->clients[c->next++ % CONTROL_CLIENTS];
	if (x->fd != -1)
		control_client_close(x);
	*x = (struct control_client){.control = c, .fd = fd};
	event_assign(&x->ev, loop_base(c->master->loop), fd, EV_READ | EV_PERSIST, control_on_readable, x);
	event_add(&x->ev, &patience);
}

/* A listening socket at `path`, visible there only when it can be connected to. */
static int control_bind(const char *path)
{
	char temporary[CONTROL_PATH + 32], suffix[32];
	struct sockaddr_un sa;
	int fd = -1, folder, saved;
	mode_t mask;

	snprintf(suffix, sizeof(suffix), ".%d", (int)getpid());
	snprintf(temporary, sizeof(temporary), "%s%s", path, suffix);
	if (!control_address(path, suffix, &sa, &folder))
		return -1;
	unlink(temporary);
	mask = umask(0177);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd != -1 && (bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) == -1 ||
			 listen(fd, CONTROL_BACKLOG) == -1 || rename(temporary, path) == -1)) {
		saved = errno;
		close(fd);
		unlink(temporary);
		errno = saved;
		fd = -1;
	}
	umask(mask);
	close(folder);
	return fd;
}

struct control *control_open(struct master *m, struct error *err)
{
	struct control *c = xcalloc(1, sizeof(*c));
	struct buf path = BUF_INIT;
	struct stat st;
	int saved;

	control_path(m->current->conf, &path);
	snprintf(c->path, sizeof(c->path), "%.*s", STR_ARG(buf_str(&path)));
	buf_free(&path);
	/* In the data folder it belongs to whom the folder belongs to. */
	if (m->current->conf->server.control[0] == '\0')
		privileges_enter(&m->privileges);
	c->fd = control_bind(c->path);
	saved = errno;
	if (m->current->conf->server.control[0] == '\0')
		privileges_leave(&m->privileges);
	if (c->fd == -1) {
		error_field(err, ERR_UNAVAILABLE, "server.control", "cannot open the control socket %.150s: %s",
			    c->path, strerror(saved));
		free(c);
		return NULL;
	}
	if (stat(c->path, &st) == 0) {
		c->dev = st.st_dev;
		c->ino = st.st_ino;
	}
	c->master = m;
	for (size_t i = 0; i < CONTROL_CLIENTS; i++)
		c->clients[i].fd = -1;
	event_assign(&c->ev, loop_base(m->loop), c->fd, EV_READ | EV_PERSIST, control_on_accept, c);
	event_add(&c->ev, NULL);
	return c;
}

void control_close(struct control *c)
{
	struct stat st;

	if (c == NULL)
		return;
	for (size_t i = 0; i < CONTROL_CLIENTS; i++) {
		if (c->clients[i].fd != -1)
			control_client_close(&c->clients[i]);
	}
	event_del(&c->ev);
	close(c->fd);
	if (stat(c->path, &st) == 0 && st.st_dev == c->dev && st.st_ino == c->ino)
		unlink(c->path);
	free(c);
}

/* ---- client ---- */

static int control_connect(const char *path)
{
	const struct timeval patience = {.tv_sec = CONTROL_PATIENCE_S};
	struct sockaddr_un sa;
	int fd, folder, saved;

	if (!control_address(path, "", &sa, &folder))
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd != -1 && (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == -1 ||
			 connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) == -1)) {
		saved = errno;
		close(fd);
		errno = saved;
		fd = -1;
	}
	saved = errno;
	close(folder);
	errno = saved;
	return fd;
}

bool control_ask(const struct conf *c, const char *line, struct buf *answer, struct error *err)
{
	struct buf path = BUF_INIT;
	ssize_t n;
	int fd;

	control_path(c, &path);
	fd = control_connect(path.p);
	if (fd == -1) {
		error_set(err, ERR_UNAVAILABLE, "no aragorad answers at %.180s: %s", path.p, strerror(errno));
		buf_free(&path);
		return false;
	}
	buf_free(&path);
	if (send(fd, line, strlen(line), MSG_NOSIGNAL) == -1 || send(fd, "\n", 1, MSG_NOSIGNAL) == -1)
		error_set(err, ERR_UNAVAILABLE, "cannot ask aragorad: %s", strerror(errno));
	do {
		char *p = buf_reserve(answer, 16384);

		n = recv(fd, p, 16384, 0);
		if (n > 0)
			buf_commit(answer, (size_t)n);
	} while (n > 0);
	if (n == -1)
		error_set(err, ERR_UNAVAILABLE, "aragorad does not answer: %s", strerror(errno));
	close(fd);
	return err->code == ERR_OK;
}
