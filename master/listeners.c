/* SPDX-License-Identifier: MIT */
/*
 * Binds, keeps and closes the listening sockets: TCP over IPv4 and IPv6, Unix sockets, those that systemd has bound.
 * Called by the master at start and by reloads. Accepts nothing.
 */
#include "master/listeners.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <event2/util.h>

#include "common/clock.h"
#include "common/log.h"
#include "master/signals.h"

#define LISTENER_SYSTEMD_FIRST 3 /* SD_LISTEN_FDS_START */
#define LISTENER_SYSTEMD_MAX 1024
#define LISTENER_BACKLOG 2048
#define LISTENER_RETRY (100 * MS_US)
#define LISTENER_FLAGS (SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)

static bool listener_is_unix(const char *address, const char **path)
{
	if (strncmp(address, "unix:", 5) != 0)
		return false;
	*path = address + 5;
	return true;
}

/* "host:port", "[v6]:port", ":port" into two NUL-terminated texts; the address was checked with the configuration. */
static bool listener_split(struct str address, char host[256], char port[16])
{
	const char *colon = memrchr(address.p, ':', address.n);
	struct str h, p;

	if (colon == NULL)
		return false;
	h = str_sub(address, 0, (size_t)(colon - address.p));
	p = str_sub(address, h.n + 1, address.n);
	if (h.n >= 2 && h.p[0] == '[' && h.p[h.n - 1] == ']')
		h = str_sub(h, 1, h.n - 1);
	if (h.n > 255 || p.n == 0 || p.n > 15)
		return false;
	snprintf(host, 256, "%.*s", STR_ARG(h));
	snprintf(port, 16, "%.*s", STR_ARG(p));
	return true;
}

/* A bound and listening socket, or -1 with errno. */
static int listener_open_at(int family, const struct sockaddr *sa, socklen_t n)
{
	int one = 1, fd, saved;

	fd = socket(family, LISTENER_FLAGS, 0);
	if (fd == -1)
		return -1;
	if (family != AF_UNIX && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == -1)
		goto failed;
	/* So that "0.0.0.0:8080" and "[::]:8080" can stand side by side. */
	if (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) == -1)
		goto failed;
	if (bind(fd, sa, n) == -1 || listen(fd, LISTENER_BACKLOG) == -1)
		goto failed;
	return fd;
failed:
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static int listener_open_tcp(const char *address, struct error *err)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	struct addrinfo *found = NULL;
	char host[256], port[16];
	int fd, code;

	if (!listener_split(str_of(address), host, port)) {
		error_set(err, ERR_INVALID_VALUE, "cannot bind %s: not host:port", address);
		errno = EINVAL;
		return -1;
	}
	code = getaddrinfo(host[0] != '\0' ? host : NULL, port, &hints, &found);
	if (code != 0) {
		error_set(err, ERR_INVALID_VALUE, "cannot bind %s: %s", address, gai_strerror(code));
		errno = EINVAL;
		return -1;
	}
	fd = listener_open_at(found->ai_family, found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	return fd;
}

/* Removes a socket file that nobody listens on; one that answers stays, and the bind fails. */
static void listener_remove_stale(const struct sockaddr_un *sa)
{
	int fd = socket(AF_UNIX, LISTENER_FLAGS, 0);
	struct stat st;

	if (fd == -1)
		return;
	if (stat(sa->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
	    connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) == -1 && errno == ECONNREFUSED)
		unlink(sa->sun_path);
	close(fd);
}

static int listener_open_unix(const char *path, struct error *err)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	mode_t mask;
	int fd;

	if (strlen(path) >= sizeof(sa.sun_path)) {
		error_set(err, ERR_INVALID_VALUE, "cannot bind unix:%s: the path is longer than %zu bytes", path,
			  sizeof(sa.sun_path) - 1);
		errno = EINVAL;
		return -1;
	}
	memcpy(sa.sun_path, path, strlen(path) + 1);
	listener_remove_stale(&sa);
	/* As a TCP port it is open to local users; the folder around it decides who gets there. */
	mask = umask(0111);
	fd = listener_open_at(AF_UNIX, (const struct sockaddr *)&sa, sizeof(sa));
	umask(mask);
	return fd;
}

static int listener_open(const char *address, struct error *err)
{
	const char *path = NULL;

	if (strncmp(address, "systemd:", 8) == 0) {
		error_set(err, ERR_UNAVAILABLE, "cannot bind %s: systemd has passed no such socket", address);
		errno = ENOENT;
		return -1;
	}
	return listener_is_unix(address, &path) ? listener_open_unix(path, err) : listener_open_tcp(address, err);
}

static struct listener *listener_find(const struct listeners *l, const char *address)
{
	for (size_t i = 0; i < l->n; i++) {
		if (strcmp(l->v[i].address, address) == 0)
			return &l->v[i];
	}
	return NULL;
}

/* The i-th address of the configuration and its marks, or NULL; a worker-only node binds none. */
static const char *listener_wanted(const struct conf *c, size_t i, unsigned *marks)
{
	if (c->server.role == ROLE_WORKER)
		return NULL;
	if (i < c->server.bind.n)
		return conf_listen_address(c->server.bind.v[i], marks);
	i -= c->server.bind.n;
	return i < c->server.ws_bind.n ? conf_listen_address(c->server.ws_bind.v[i], marks) : NULL;
}

static void listener_add(struct listeners *l, const char *address, int fd, unsigned mark)
{
	struct listener *x;
	const char *path = NULL;
	struct stat st;

	l->v = xrealloc(l->v, (l->n + 1) * sizeof(*l->v));
	x = &l->v[l->n++];
	*x = (struct listener){.address = xstrdup(address), .fd = fd, .added = mark};
	if (listener_is_unix(address, &path) && stat(path, &st) == 0) {
		x->dev = st.st_dev;
		x->ino = st.st_ino;
	}
}

static void listener_remove(struct listeners *l, size_t i)
{
	struct listener *x = &l->v[i];
	const char *path = NULL;
	struct stat st;

	if (!x->shared && listener_is_unix(x->address, &path) && stat(path, &st) == 0 && st.st_dev == x->dev &&
	    st.st_ino == x->ino)
		unlink(path);
	close(x->fd);
	free(x->address);
	*x = l->v[--l->n];
}

/* ---- sockets from systemd ---- */

/* Is the socket bound to this address of the configuration? */
static bool listener_bound_to(const char *address, const struct sockaddr *sa, socklen_t n)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				       .ai_flags = AI_PASSIVE | AI_NUMERICSERV | AI_NUMERICHOST};
	struct addrinfo *found = NULL;
	const char *path = NULL;
	char host[256], port[16];
	bool same;

	if (listener_is_unix(address, &path))
		return sa->sa_family == AF_UNIX && n > offsetof(struct sockaddr_un, sun_path) &&
		       strncmp(((const struct sockaddr_un *)(const void *)sa)->sun_path, path,
			       n - offsetof(struct sockaddr_un, sun_path)) == 0;
	if (!listener_split(str_of(address), host, port) ||
	    getaddrinfo(host[0] != '\0' ? host : NULL, port, &hints, &found) != 0)
		return false;
	same = found->ai_addrlen == n && memcmp(found->ai_addr, sa, n) == 0;
	freeaddrinfo(found);
	return same;
}

/* The address of the configuration that means this socket, or NULL. */
static const char *listener_meant(const struct conf *c, int fd, struct str name)
{
	struct sockaddr_storage sa = {0};
	socklen_t n = sizeof(sa);
	const char *address;
	unsigned marks;

	for (size_t i = 0; (address = listener_wanted(c, i, &marks)) != NULL; i++) {
		if (strncmp(address, "systemd:", 8) == 0 && str_eqz(name, address + 8))
			return address;
	}
	if (getsockname(fd, (struct sockaddr *)(void *)&sa, &n) == -1)
		return NULL;
	for (size_t i = 0; (address = listener_wanted(c, i, &marks)) != NULL; i++) {
		if (listener_bound_to(address, (const struct sockaddr *)(const void *)&sa, n))
			return address;
	}
	return NULL;
}

static bool listener_listens(int fd)
{
	int type = 0, on = 0;
	socklen_t n = sizeof(type), m = sizeof(on);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_STREAM &&
	       getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &m) == 0 && on != 0;
}

static void listener_activate(struct listeners *l, const struct conf *c, int fd, struct str name)
{
	const char *address = listener_listens(fd) ? listener_meant(c, fd, name) : NULL;

	if (address == NULL || fcntl(fd, F_SETFD, FD_CLOEXEC) == -1) {
		log_warn("listeners", "systemd has passed a socket that no address means, closing it",
			 KV_STR("name", name), KV_I("fd", fd));
		close(fd);
		return;
	}
	evutil_make_socket_nonblocking(fd);
	listener_add(l, address, fd, 0);
	/* Its file was made by systemd and is for systemd to remove. */
	l->v[l->n - 1].dev = 0;
	l->v[l->n - 1].ino = 0;
	log_info("listeners", "took a socket from systemd", KV_STR("name", name), KV_S("address", address));
}

/* Once per process; the variables are not for our children. */
static void listeners_activate(struct listeners *l, const struct conf *c)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	struct str names = str_of(getenv("LISTEN_FDNAMES")), name;
	int64_t meant = 0, n = 0;

	l->activated = true;
	if (pid != NULL && count != NULL && str_to_i64(str_of(pid), 1, INT32_MAX, &meant) && meant == getpid() &&
	    str_to_i64(str_of(count), 0, LISTENER_SYSTEMD_MAX, &n)) {
		for (int64_t i = 0; i < n; i++) {
			if (!str_split(&names, ':', &name))
				name = STR("unknown");
			listener_activate(l, c, LISTENER_SYSTEMD_FIRST + (int)i, name);
		}
	}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
}

bool listeners_bind(struct listeners *l, const struct conf *c, unsigned mark, int64_t patience, struct error *err)
{
	int64_t deadline = clock_mono_us() + patience;
	const char *address;
	unsigned marks;

	if (!l->activated)
		listeners_activate(l, c);
	for (size_t i = 0; (address = listener_wanted(c, i, &marks)) != NULL; i++) {
		int fd = -1;

		if (listener_find(l, address) != NULL)
			continue;
		*err = ERROR_INIT;
		while ((fd = listener_open(address, err)) == -1) {
			int why = errno;

			if (why == EADDRINUSE && clock_mono_us() < deadline && signals_pause(LISTENER_RETRY))
				continue;
			if (err->code == ERR_OK)
				error_set(err, ERR_UNAVAILABLE, "cannot bind %s: %s", address,
					  why == EADDRINUSE ? "address in use" : strerror(why));
			listeners_drop_added(l, mark);
			return false;
		}
		listener_add(l, address, fd, mark);
	}
	return true;
}

void listeners_drop_added(struct listeners *l, unsigned mark)
{
	for (size_t i = l->n; i-- > 0;) {
		if (l->v[i].added == mark)
			listener_remove(l, i);
	}
}

void listeners_keep_only(struct listeners *l, const struct conf *c)
{
	for (size_t i = l->n; i-- > 0;) {
		const char *address;
		bool wanted = false;
		unsigned marks;

		for (size_t k = 0; (address = listener_wanted(c, k, &marks)) != NULL; k++)
			wanted = wanted || strcmp(address, l->v[i].address) == 0;
		if (!wanted)
			listener_remove(l, i);
	}
}

void listeners_of(const struct listeners *l, const struct conf *c, int **fds, unsigned **marks, size_t *n)
{
	const char *address;
	unsigned mark;

	*fds = xcalloc(l->n + 1, sizeof(**fds));
	*marks = xcalloc(l->n + 1, sizeof(**marks));
	*n = 0;
	for (size_t i = 0; (address = listener_wanted(c, i, &mark)) != NULL; i++) {
		BUG_ON(listener_find(l, address) == NULL);
		/* systemd may pass several sockets by one name. */
		for (size_t k = 0; k < l->n; k++) {
			bool seen = strcmp(l->v[k].address, address) != 0;

			/* The same address may stand in bind and in ws_bind. */
			for (size_t j = 0; j < *n; j++)
				seen = seen || (*fds)[j] == l->v[k].fd;
			if (seen)
				continue;
			(*marks)[*n] = mark;
			(*fds)[(*n)++] = l->v[k].fd;
		}
	}
}

void listeners_adopt(struct listeners *l, const char *address, int fd)
{
	listener_add(l, address, fd, 0);
	l->v[l->n - 1].shared = true;
}

void listeners_share(struct listeners *l, bool shared)
{
	for (size_t i = 0; i < l->n; i++)
		l->v[i].shared = shared;
}

void listeners_close(struct listeners *l)
{
	while (l->n > 0)
		listener_remove(l, l->n - 1);
	free(l->v);
	*l = (struct listeners){0};
}
