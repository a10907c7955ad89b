/* SPDX-License-Identifier: MIT */
/*
 * Accepting, shared with the other workers: one queue per listener in a nested epoll set (EPOLLEXCLUSIVE, which
 * libevent does not offer), behind a gate that keeps the workers even. Called by http_server.c. It reads no byte.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/conf.h"
#include "worker/http/http_conn.h"
#include "worker/http/http_proxy.h"
#include "worker/http/tls.h"

#define ACCEPT_BATCH 16               /* per event */
#define ACCEPT_PAUSE (5 * MS_US)      /* away from the queue when this worker has enough */
#define ACCEPT_FD_PAUSE (250 * MS_US) /* when there are no descriptors */
#define ACCEPT_FRESH (300 * MS_US)    /* older heartbeats do not count */
#define ACCEPT_SURPLUS 64             /* connections above the limit that are told so */

struct http_accept {
	struct http_server *server;
	int epoll;
	int *fds;
	unsigned *marks; /* of each, enum conf_listen */
	size_t count;
	size_t next; /* where the next batch begins, so that no listener is favoured */
	struct event ev;
	struct loop_timer pause;
	unsigned others[SHM_SLOTS_MAX]; /* slots that serve besides this one, as the last tick saw it */
	unsigned other_count;
	bool armed, stopped;
};

static void accept_arm(struct http_accept *a, bool on)
{
	if (on == a->armed || a->stopped || a->count == 0)
		return;
	a->armed = on;
	if (on)
		event_add(&a->ev, NULL);
	else
		event_del(&a->ev);
}

static void accept_rest(struct http_accept *a, int64_t us)
{
	accept_arm(a, false);
	loop_timer_set(&a->pause, us);
}

/* Looks for the workers that the gate compares with: the slots are many and far apart, connections come often. */
static void accept_look(struct http_accept *a)
{
	const struct http_server *s = a->server;
	unsigned i;

	a->other_count = 0;
	for (i = 0; i < SHM_SLOTS_MAX; i++)
		if (i != s->slot && atomic_load_explicit(&s->slots[i].state, memory_order_relaxed) == SLOT_SERVING)
			a->others[a->other_count++] = i;
}

/* How many connections this worker may have before it leaves the queue to the others. */
static unsigned accept_gate(const struct http_accept *a)
{
	const struct http_server *s = a->server;
	int64_t now = clock_mono_us();
	unsigned i, smallest = UINT32_MAX;

	for (i = 0; i < a->other_count; i++) {
		struct shm_slot *slot = &s->slots[a->others[i]];
		uint32_t n;

		if (atomic_load_explicit(&slot->state, memory_order_relaxed) != SLOT_SERVING)
			continue;
		if (now - atomic_load_explicit(&slot->heartbeat_us, memory_order_relaxed) > ACCEPT_FRESH)
			continue;
		n = atomic_load_explicit(&slot->connections, memory_order_relaxed);
		if (n < smallest)
			smallest = n;
	}
	return smallest == UINT32_MAX ? UINT32_MAX : smallest + 8 + smallest / 16;
}

static bool accept_peer(const struct sockaddr_storage *from, struct http_addr *addr)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (from->ss_family == AF_INET) {
		memcpy(addr->b, mapped, sizeof(mapped));
		memcpy(addr->b + 12, &((const struct sockaddr_in *)(const void *)from)->sin_addr, 4);
		return true;
	}
	if (from->ss_family == AF_INET6) {
		memcpy(addr->b, &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr, 16);
		return true;
	}
	return false;
}

void accept_admit(struct http_conn *c)
{
	struct http_server *s = c->server;
	enum peers_answer answer;

	if (c->trusted || s->conf->limits.connections_per_ip == 0 || !server_limits(s, &c->addr))
		return;
	answer = http_peers_enter(&s->peers, PEERS_CONNECTIONS, &c->addr, s->conf->limits.connections_per_ip, 0,
				  loop_now(s->loop));
	c->counted = answer == PEERS_COUNTED;
	if (answer == PEERS_REFUSED) {
		c->input_left = true;
		request_refuse(c, ERR_RATE_LIMITED, "too many connections from this address", 1);
	}
}

void accept_layers(struct http_conn *c, unsigned marks)
{
	c->tls = (marks & LISTEN_TLS) != 0;
	if ((marks & LISTEN_PROXY) != 0) {
		proxy_attach(c);
		return;
	}
	if (c->tls && !tls_attach(c, c->server->tls)) {
		log_warn("http", "no memory for TLS");
		conn_doom(c);
		return;
	}
	accept_admit(c);
}

/* A new connection: counted, or told that there is no room. */
static void accept_take(struct http_accept *a, int fd, unsigned marks, const struct sockaddr_storage *from)
{
	struct http_server *s = a->server;
	struct http_addr addr;
	bool tcp = accept_peer(from, &addr);
	struct http_conn *c;

	c = conn_new(s, fd, tcp ? &addr : NULL);
	if ((int64_t)s->count > s->conf->server.worker_connections) {
		c->input_left = true;
		request_refuse(c, ERR_UNAVAILABLE, "this server has as many connections as it takes", 1);
		return;
	}
	accept_layers(c, marks);
}

enum accept_result { ACCEPT_OK, ACCEPT_EMPTY, ACCEPT_STOP };

static enum accept_result accept_one(struct http_accept *a, size_t at)
{
	struct sockaddr_storage from = {.ss_family = AF_UNSPEC};
	socklen_t n = sizeof(from);
	int fd = accept4(a->fds[at], (struct sockaddr *)(void *)&from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd >= 0) {
		accept_take(a, fd, a->marks[at], &from);
		return ACCEPT_OK;
	}
	switch (errno) {
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
		log_warn("http", "cannot accept, pausing", KV_S("error", strerror(errno)));
		accept_rest(a, ACCEPT_FD_PAUSE);
		return ACCEPT_STOP;
	case EINTR:
	case ECONNABORTED:
		return ACCEPT_OK;
	default:
		return ACCEPT_EMPTY;
	}
}

/* Accepts from one listener after another, at most `limit` and while this worker has no more than `gate` connections.
 */
static void accept_batch(struct http_accept *a, unsigned limit, unsigned gate)
{
	const struct http_server *s = a->server;
	uint64_t hard = (uint64_t)s->conf->server.worker_connections + ACCEPT_SURPLUS;
	size_t empty = 0;

	while (limit > 0 && empty < a->count) {
		enum accept_result r;

		if (s->count > gate || s->count >= hard) {
			accept_rest(a, ACCEPT_PAUSE);
			return;
		}
		r = accept_one(a, a->next);
		if (r == ACCEPT_STOP)
			return;
		if (r == ACCEPT_OK) {
			limit--;
			continue;
		}
		empty++;
		a->next = a->next + 1 < a->count ? a->next + 1 : 0;
	}
	/* A listener that filled the batch stands behind the others in the next one. */
	a->next = a->next + 1 < a->count ? a->next + 1 : 0;
}

static void accept_on_event(evutil_socket_t fd, short what, void *arg)
{
	struct http_accept *a = arg;

	(void)fd;
	(void)what;
	accept_batch(a, ACCEPT_BATCH, accept_gate(a));
}

static void accept_on_pause(void *arg)
{
	accept_arm(arg, true);
}

struct http_accept *accept_new(struct http_server *s)
{
	struct http_accept *a = xcalloc(1, sizeof(*a));

	a->server = s;
	a->epoll = -1;
	loop_timer_init(s->loop, &a->pause, accept_on_pause, a);
	return a;
}

void accept_listen(struct http_accept *a, const int *fds, const unsigned *marks, size_t n)
{
	size_t i;
	int on = 1;

	BUG_ON(a->epoll != -1);
	a->epoll = epoll_create1(EPOLL_CLOEXEC);
	BUG_ON(a->epoll == -1);
	a->fds = xcalloc(n + 1, sizeof(*a->fds));
	a->marks = xcalloc(n + 1, sizeof(*a->marks));
	for (i = 0; i < n; i++) {
		struct epoll_event e = {.events = EPOLLIN | EPOLLEXCLUSIVE};

		a->fds[i] = fds[i];
		a->marks[i] = marks[i];
		evutil_make_socket_nonblocking(fds[i]);
		/* Connections inherit it; only slower without, and nothing on a Unix socket. */
		(void)setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		BUG_ON(epoll_ctl(a->epoll, EPOLL_CTL_ADD, fds[i], &e) == -1);
	}
	a->count = n;
	accept_look(a);
	event_assign(&a->ev, loop_base(a->server->loop), a->epoll, EV_READ | EV_PERSIST, accept_on_event, a);
	accept_arm(a, true);
}

void accept_tick(struct http_accept *a)
{
	accept_look(a);
	if (!a->stopped && a->count > 0)
		accept_batch(a, ACCEPT_BATCH, accept_gate(a));
}

void accept_stop(struct http_accept *a)
{
	size_t i;

	if (a->stopped)
		return;
	/*
	 * Who stands in the queue was promised a connection by the kernel. Then this process lets the listeners go: a
	 * socket that nobody accepts from would keep callers waiting and the address taken.
	 */
	if (a->count > 0)
		accept_batch(a, UINT32_MAX, UINT32_MAX);
	accept_arm(a, false);
	loop_timer_stop(&a->pause);
	a->stopped = true;
	if (a->epoll != -1)
		close(a->epoll);
	a->epoll = -1;
	for (i = 0; i < a->count; i++)
		close(a->fds[i]);
	a->count = 0;
}

void accept_free(struct http_accept *a)
{
	if (!a->stopped) {
		accept_arm(a, false);
		loop_timer_stop(&a->pause);
		if (a->epoll != -1)
			close(a->epoll);
	}
	free(a->fds);
	free(a->marks);
	free(a);
}
