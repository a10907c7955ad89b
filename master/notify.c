/* SPDX-License-Identifier: MIT */
/*
 * The sd_notify protocol by hand: one datagram of lines to the socket that the environment names. Called by the
 * supervisor, reloads and upgrades. Waits a second for a manager that is behind, with the watchdog not at all.
 */
#include "master/notify.h"

#include <errno.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "master/supervisor.h"

#define NOTIFY_TEXT 512
/* The queue of a datagram socket holds ten (net.unix.max_dgram_qlen): a busy manager may find it full. */
static const struct timeval notify_patience = {.tv_sec = 1};

static PRINTF_FMT(2, 3) void notify_send(int flags, const char *fmt, ...)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	size_t n = path != NULL ? strlen(path) : 0;
	char text[NOTIFY_TEXT];
	va_list ap;
	int fd;

	if (n < 2 || n >= sizeof(sa.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(sa.sun_path, path, n);
	if (path[0] == '@')
		sa.sun_path[0] = '\0'; /* an abstract name */
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd == -1 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &notify_patience, sizeof(notify_patience)) == -1 ||
	    sendto(fd, text, strlen(text), MSG_NOSIGNAL | flags, (const struct sockaddr *)&sa,
		   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) == -1)
		log_debug("notify", "the service manager cannot be told", KV_S("error", strerror(errno)));
	if (fd != -1)
		close(fd);
}

void notify_init(struct master *m)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	int64_t every = 0, meant = getpid();

	if (usec == NULL || !str_to_i64(str_of(usec), 1, INT64_MAX, &every))
		return;
	if (pid != NULL && (!str_to_i64(str_of(pid), 1, INT32_MAX, &meant) || meant != getpid()))
		return;
	m->watchdog_every = every / 3;
}

void notify_ready(const struct master *m, const char *status)
{
	notify_send(0, "READY=1\nSTATUS=%s, %u workers, generation %u\n", status, m->wanted, m->current->number);
}

void notify_reloading(const struct master *m)
{
	(void)m;
	notify_send(0, "RELOADING=1\nMONOTONIC_USEC=%lld\nSTATUS=Reloading\n", (long long)clock_mono_us());
}

void notify_stopping(const struct master *m)
{
	/* The service goes on in the other master. */
	if (m->upgrade.peer != 0)
		notify_send(0, "MAINPID=%d\n", (int)m->upgrade.peer);
	else
		notify_send(0, "STOPPING=1\nSTATUS=Stopping\n");
}

void notify_main_pid(const struct master *m)
{
	bool handed_over = m->upgrade.peer != 0 && m->upgrade.serving && !m->upgrade.heir;

	notify_send(0, "MAINPID=%d\n", (int)(handed_over ? m->upgrade.peer : getpid()));
}

void notify_tick(struct master *m)
{
	int64_t now = clock_mono_us();

	if (m->watchdog_every == 0 || now < m->watchdog_at)
		return;
	m->watchdog_at = now + m->watchdog_every;
	notify_send(MSG_DONTWAIT, "WATCHDOG=1\n");
}
