/* SPDX-License-Identifier: MIT */
/*
 * Binary upgrade: hands sockets, lock, segment, mailboxes and ticket keys over to a new program, and follows what
 * becomes of it. Descriptors are inherited over exec and named by one variable of the environment, a JSON object.
 * Called by signals and by the start. Ends no worker by itself: who goes, the old or the new, is for the operator to
 * say (QUIT, TERM, WINCH).
 */
#include "master/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "common/log.h"
#include "common/metrics.h"
#include "common/title.h"
#include "master/control.h"
#include "master/notify.h"
#include "master/signals.h"
#include "master/supervisor.h"
#include "worker/http/tls.h"
#include "worker/worker.h"

#define UPGRADE_ENV "ARAGORAD_INHERIT"
#define UPGRADE_EXEC_FAILED 127

/* ---- the heir ---- */

static int upgrade_int(const json_t *doc, const char *key)
{
	const json_t *v = json_object_get(doc, key);

	return json_is_integer(v) ? (int)json_integer_value(v) : -1;
}

/* A descriptor that is really open, from now on closed at exec; else -1. */
static int upgrade_fd(int fd)
{
	return fd > STDERR_FILENO && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 ? fd : -1;
}

static void upgrade_take_listeners(struct master *m, const json_t *list)
{
	json_t *x;
	size_t i;

	json_array_foreach(list, i, x)
	{
		const char *address = json_string_value(json_object_get(x, "address"));
		int fd = upgrade_fd(upgrade_int(x, "fd"));

		if (address != NULL && fd != -1)
			listeners_adopt(&m->listeners, address, fd);
	}
}

static void upgrade_take_mailboxes(struct upgrade *u, const json_t *list)
{
	json_t *x;
	size_t i;

	u->mailboxes = xcalloc(json_array_size(list) + 1, sizeof(*u->mailboxes));
	json_array_foreach(list, i, x) u->mailboxes[i] = upgrade_fd((int)json_integer_value(x));
	u->mailbox_count = json_array_size(list);
}

static void upgrade_read(struct master *m, const json_t *doc)
{
	struct upgrade *u = &m->upgrade;
	int generation = upgrade_int(doc, "generation");

	u->peer = upgrade_int(doc, "master");
	u->heir = true;
	u->channel = upgrade_fd(upgrade_int(doc, "channel"));
	u->lock_fd = upgrade_fd(upgrade_int(doc, "lock"));
	u->shm_fd = upgrade_fd(upgrade_int(doc, "shm"));
	u->keys_fd = upgrade_fd(upgrade_int(doc, "ticket_keys"));
	m->last_generation = generation > 0 ? (unsigned)generation : 0;
	upgrade_take_listeners(m, json_object_get(doc, "listeners"));
	upgrade_take_mailboxes(u, json_object_get(doc, "mailboxes"));
}

/* Sockets that systemd has passed, from descriptor 3 on; the listeners take them. */
static size_t upgrade_activated(void)
{
	const char *count = getenv("LISTEN_FDS"), *meant = getenv("LISTEN_PID");
	int64_t n = 0, pid = 0;

	if (count == NULL || meant == NULL || !str_to_i64(str_of(count), 0, 1024, &n) ||
	    !str_to_i64(str_of(meant), 1, INT32_MAX, &pid) || pid != getpid())
		return 0;
	return (size_t)n;
}

static void upgrade_close_strays(const struct master *m)
{
	const struct upgrade *u = &m->upgrade;
	size_t activated = upgrade_activated(), n = 0;
	int *keep = xcalloc(4 + u->mailbox_count + m->listeners.n + activated, sizeof(*keep));

	keep[n++] = u->channel;
	keep[n++] = u->lock_fd;
	keep[n++] = u->shm_fd;
	keep[n++] = u->keys_fd;
	for (size_t i = 0; i < u->mailbox_count; i++)
		keep[n++] = u->mailboxes[i];
	for (size_t i = 0; i < m->listeners.n; i++)
		keep[n++] = m->listeners.v[i].fd;
	for (size_t i = 0; i < activated; i++)
		keep[n++] = STDERR_FILENO + 1 + (int)i;
	files_close_all_but(keep, n);
	free(keep);
}

void upgrade_inherit(struct master *m)
{
	const char *text = getenv(UPGRADE_ENV);
	json_t *doc = text != NULL ? json_loads(text, 0, NULL) : NULL;

	m->upgrade.channel = m->upgrade.lock_fd = m->upgrade.shm_fd = m->upgrade.keys_fd = -1;
	/* Anybody can set a variable; only our parent can have handed something over. */
	if (doc != NULL && upgrade_int(doc, "master") == (int)getppid())
		upgrade_read(m, doc);
	json_decref(doc);
	unsetenv(UPGRADE_ENV);
	upgrade_close_strays(m);
}

int upgrade_take_lock(struct master *m, const char *path)
{
	int fd = m->upgrade.lock_fd;
	struct stat ours, there;

	m->upgrade.lock_fd = -1;
	if (fd == -1)
		return -1;
	if (fstat(fd, &ours) == 0 && stat(path, &there) == 0 && ours.st_dev == there.st_dev &&
	    ours.st_ino == there.st_ino)
		return fd;
	close(fd);
	return -1;
}

static void upgrade_drop_shared(struct upgrade *u)
{
	if (u->shm_fd != -1)
		close(u->shm_fd);
	for (size_t i = 0; i < u->mailbox_count; i++) {
		if (u->mailboxes[i] != -1)
			close(u->mailboxes[i]);
	}
	free(u->mailboxes);
	u->mailboxes = NULL;
	u->mailbox_count = 0;
	u->shm_fd = -1;
}

static bool upgrade_mailboxes_whole(const struct upgrade *u, unsigned wanted)
{
	for (size_t i = 0; i < u->mailbox_count; i++) {
		if (u->mailboxes[i] == -1)
			return false;
	}
	return u->mailbox_count == (size_t)wanted * 2;
}

bool upgrade_take_shared(struct master *m)
{
	struct upgrade *u = &m->upgrade;
	unsigned wanted = (unsigned)m->current->conf->server.max_slots;
	struct shm *shm = NULL;

	if (u->shm_fd != -1 && upgrade_mailboxes_whole(u, wanted))
		shm = shm_attach(u->shm_fd);
	if (shm == NULL || shm->metrics_layout != metrics_layout()) {
		if (u->heir)
			log_info("upgrade", "shared memory of another layout, this master uses its own");
		shm_detach(shm);
		upgrade_drop_shared(u);
		return false;
	}
	m->shm = shm;
	m->shm_fd = u->shm_fd;
	u->shm_fd = -1;
	for (unsigned i = 0; i < wanted; i++) {
		m->mailboxes.fd[i][0] = u->mailboxes[(size_t)i * 2];
		m->mailboxes.fd[i][1] = u->mailboxes[(size_t)i * 2 + 1];
	}
	m->mailboxes.count = wanted;
	u->mailbox_count = 0;
	free(u->mailboxes);
	u->mailboxes = NULL;
	return true;
}

bool upgrade_take_keys(struct master *m)
{
	struct upgrade *u = &m->upgrade;

	if (u->keys_fd != -1)
		m->tls_keys = tls_keys_attach(u->keys_fd);
	u->shares_keys = m->tls_keys != NULL;
	if (u->shares_keys) {
		m->tls_keys_fd = u->keys_fd;
	} else {
		if (u->heir)
			log_info("upgrade", "no ticket keys that fit, TLS sessions begin anew");
		if (u->keys_fd != -1)
			close(u->keys_fd);
	}
	u->keys_fd = -1;
	return u->shares_keys;
}

/* ---- what becomes of the peer ---- */

static void upgrade_forget_peer(struct master *m)
{
	struct upgrade *u = &m->upgrade;

	if (u->listening)
		event_del(&u->channel_event);
	if (u->channel != -1)
		close(u->channel);
	u->channel = -1;
	u->listening = u->heir = u->serving = false;
	u->peer = 0;
	listeners_share(&m->listeners, false);
	supervisor_show_title(m);
	notify_main_pid(m);
}

/* The former master is gone, by whatever way: this one is the master now. */
static void upgrade_succeed(struct master *m)
{
	log_info("upgrade", "the former master has ended", KV_I("pid", m->upgrade.peer));
	data_dir_lock_sign(m->lock_fd);
	if (m->pidfile != NULL)
		pidfile_promote(&m->pidfile, m->current->conf->server.pidfile);
	upgrade_forget_peer(m);
}

void upgrade_look(struct master *m)
{
	if (m->upgrade.peer != 0 && m->upgrade.heir && kill(m->upgrade.peer, 0) == -1 && errno == ESRCH)
		upgrade_succeed(m);
}

static void upgrade_on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct master *m = arg;
	char text[512];
	ssize_t n = read(fd, text, sizeof(text));

	(void)what;
	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		if (m->upgrade.heir) {
			upgrade_succeed(m);
		} else {
			/* The new master's end is told by its exit, with the reason. */
			event_del(&m->upgrade.channel_event);
			m->upgrade.listening = false;
		}
		return;
	}
	if (n == 1 && text[0] == '1') {
		m->upgrade.serving = true;
		log_info("upgrade", "the new master serves; end this one by QUIT or TERM, or the new one to go back",
			 KV_I("pid", getpid()), KV_I("new", m->upgrade.peer));
		supervisor_show_title(m);
		notify_main_pid(m);
	} else {
		log_error("upgrade", "the new program does not start", KV_STR("why", ((struct str){text, (size_t)n})));
	}
}

void upgrade_watch(struct master *m)
{
	struct upgrade *u = &m->upgrade;

	if (u->channel == -1)
		return;
	event_assign(&u->channel_event, loop_base(m->loop), u->channel, EV_READ | EV_PERSIST, upgrade_on_readable, m);
	event_add(&u->channel_event, NULL);
	u->listening = true;
}

void upgrade_on_serving(struct master *m)
{
	if (!m->upgrade.heir || m->upgrade.serving)
		return;
	m->upgrade.serving = true;
	log_info("upgrade", "serving beside the former master", KV_I("former", m->upgrade.peer));
	if (send(m->upgrade.channel, "1", 1, MSG_NOSIGNAL) == -1)
		log_warn("upgrade", "the former master does not listen", KV_S("error", strerror(errno)));
	supervisor_show_title(m);
}

bool upgrade_reaped(struct master *m, pid_t pid, int status)
{
	struct error err = ERROR_INIT;

	if (pid != m->upgrade.peer || m->upgrade.heir)
		return false;
	log_error("upgrade", "the new master has ended, this one goes on", KV_I("new", pid),
		  KV_I("code", WIFEXITED(status) ? WEXITSTATUS(status) : -1),
		  KV_I("signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0));
	upgrade_forget_peer(m);
	/* Its control socket lay in the place of ours. */
	control_close(m->control);
	m->control = control_open(m, &err);
	if (m->control == NULL)
		log_error("upgrade", "no control socket", KV_S("error", err.msg));
	return true;
}

/* ---- the former master ---- */

/* Everything that the new program gets, as text; the descriptors stay open over its exec. */
static char *upgrade_hand_over(const struct master *m, int channel)
{
	json_t *listeners = json_array(), *mailboxes = json_array();
	json_t *doc;
	char *text;

	for (size_t i = 0; i < m->listeners.n; i++) {
		json_array_append_new(listeners, json_pack("{s:s, s:i}", "address", m->listeners.v[i].address, "fd",
							   m->listeners.v[i].fd));
		(void)fcntl(m->listeners.v[i].fd, F_SETFD, 0);
	}
	for (unsigned i = 0; i < m->mailboxes.count; i++) {
		for (size_t k = 0; k < 2; k++) {
			json_array_append_new(mailboxes, json_integer(m->mailboxes.fd[i][k]));
			(void)fcntl(m->mailboxes.fd[i][k], F_SETFD, 0);
		}
	}
	(void)fcntl(channel, F_SETFD, 0);
	(void)fcntl(m->lock_fd, F_SETFD, 0);
	(void)fcntl(m->shm_fd, F_SETFD, 0);
	(void)fcntl(m->tls_keys_fd, F_SETFD, 0);
	doc = json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:o, s:o}", "master", (int)getppid(), "channel", channel,
			"lock", m->lock_fd, "shm", m->shm_fd, "ticket_keys", m->tls_keys_fd, "generation",
			(int)m->last_generation, "listeners", listeners, "mailboxes", mailboxes);
	text = doc != NULL ? json_dumps(doc, JSON_COMPACT) : NULL;
	json_decref(doc);
	return text;
}

static NORETURN void upgrade_child(const struct master *m, int channel)
{
	char *const *argv = title_arguments();
	char *text = upgrade_hand_over(m, channel);
	char why[300];
	ssize_t n;

	signals_restore();
	/* They name the process that they are meant for, which is not the new one. */
	unsetenv("WATCHDOG_PID");
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	if (text != NULL && setenv(UPGRADE_ENV, text, 1) == 0)
		execvp(argv[0], argv);
	snprintf(why, sizeof(why), "%.200s: %s", argv[0], strerror(errno));
	n = write(channel, why, strlen(why));
	(void)n;
	_exit(UPGRADE_EXEC_FAILED);
}

/* Why an upgrade cannot begin now, or NULL. */
static const char *upgrade_obstacle(const struct master *m)
{
	if (getpid() == 1)
		return "this master is process 1 of its container, whose end would end the container: start a new "
		       "container instead";
	if (title_arguments() == NULL)
		return "the arguments of the program are not known";
	if (m->upgrade.peer != 0)
		return m->upgrade.heir ? "the former master has not ended yet" : "a new master is already there";
	return m->stop != STOP_NO ? "the server is stopping" : NULL;
}

void upgrade_request(struct master *m)
{
	const char *obstacle = upgrade_obstacle(m);
	int ends[2];
	pid_t pid;

	if (obstacle == NULL && (m->starting || m->loading != NULL)) {
		log_info("upgrade", "another start is under way, the upgrade comes after it");
		m->upgrade.wanted = true;
		return;
	}
	m->upgrade.wanted = false;
	if (obstacle != NULL) {
		log_error("upgrade", "no upgrade, nothing is changed", KV_S("why", obstacle));
		return;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == -1) {
		log_error("upgrade", "no upgrade, nothing is changed", KV_S("why", strerror(errno)));
		return;
	}
	log_flush();
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		upgrade_child(m, ends[1]);
	close(ends[1]);
	if (pid == -1) {
		log_error("upgrade", "no upgrade, nothing is changed", KV_S("why", strerror(errno)));
		close(ends[0]);
		return;
	}
	m->upgrade = (struct upgrade){.peer = pid, .channel = ends[0], .lock_fd = -1, .shm_fd = -1, .keys_fd = -1};
	listeners_share(&m->listeners, true);
	upgrade_watch(m);
	log_info("upgrade", "a new master starts", KV_I("new", pid), KV_S("program", title_arguments()[0]));
}

void upgrade_tick(struct master *m)
{
	if (m->upgrade.wanted && !m->starting && m->loading == NULL)
		upgrade_request(m);
}

void upgrade_retire_workers(struct master *m)
{
	/* A window that changes its size sends this signal to the programs in it. */
	if (m->options->foreground_tty)
		return;
	if (m->starting || m->loading != NULL || m->stop != STOP_NO) {
		log_warn("upgrade", "the workers stay: a start or stop is under way");
		return;
	}
	m->wanted = 0;
	slots_forget_restarts(m);
	log_info("upgrade", "all workers retire, HUP starts new ones",
		 KV_I("workers", slots_count(m, m->current, false)));
	for (unsigned i = 0; i < m->mailboxes.count; i++) {
		if (m->slots[i].gen == m->current && !m->slots[i].retiring)
			slots_end(&m->slots[i], WORKER_SIG_RETIRE);
	}
}

void upgrade_close(struct master *m)
{
	struct upgrade *u = &m->upgrade;

	if (u->listening)
		event_del(&u->channel_event);
	if (u->channel != -1)
		close(u->channel);
	if (u->lock_fd != -1)
		close(u->lock_fd);
	if (u->keys_fd != -1)
		close(u->keys_fd);
	upgrade_drop_shared(u);
	u->channel = u->lock_fd = u->keys_fd = -1;
	u->listening = false;
}
