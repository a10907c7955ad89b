/* SPDX-License-Identifier: MIT */
/*
 * A provider on a socket of the test's own loop, and a worker whose agents may be called. The test says what the
 * provider answers. Included by tests of calls to providers.
 */
#ifndef TESTS_UNIT_AGENT_HARNESS_H
#define TESTS_UNIT_AGENT_HARNESS_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/metrics.h"
#include "tests/unit/co_harness.h"
#include "worker/agents/agents.h"

static struct worker w;

/* The provider: it serves one connection at a time. */
static struct {
	void (*answer)(struct str body); /* a request is complete: writes to fd, and closes it or not */
	struct buf request;              /* terminated by NUL */
	uint16_t port;
	int listen_fd, fd; /* fd: -1 without a connection */
	struct event listener, ev;
} server;

static void server_close(void)
{
	if (server.fd < 0)
		return;
	event_del(&server.ev);
	close(server.fd);
	server.fd = -1;
}

static void server_read(evutil_socket_t fd, short what, void *arg)
{
	char *head, *length, *room = buf_reserve(&server.request, 65536);
	ssize_t n = read(fd, room, 65536);

	(void)what;
	(void)arg;
	if (n <= 0) {
		server_close();
		return;
	}
	buf_commit(&server.request, (size_t)n);
	head = strstr(server.request.p, "\r\n\r\n");
	length = strcasestr(server.request.p, "content-length: ");
	if (head != NULL && length != NULL &&
	    server.request.n >= (size_t)(head + 4 - server.request.p) + strtoul(length + 16, NULL, 10))
		server.answer(str_of(head + 4));
}

static void server_accept(evutil_socket_t fd, short what, void *arg)
{
	(void)what;
	(void)arg;
	server_close();
	server.fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(server.fd >= 0);
	buf_clear(&server.request);
	event_assign(&server.ev, loop_base(loop), server.fd, EV_READ | EV_PERSIST, server_read, NULL);
	event_add(&server.ev, NULL);
}

/* Makes the loop and the provider on it, behind server.port of 127.0.0.1. */
static inline void provider_begin(void (*answer)(struct str body))
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(a);

	loop_begin();
	server.answer = answer;
	server.fd = -1;
	server.listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(server.listen_fd, (struct sockaddr *)&a, n), 0);
	assert_int_equal(listen(server.listen_fd, 16), 0);
	assert_int_equal(getsockname(server.listen_fd, (struct sockaddr *)&a, &n), 0);
	server.port = ntohs(a.sin_port);
	event_assign(&server.listener, loop_base(loop), server.listen_fd, EV_READ | EV_PERSIST, server_accept, NULL);
	event_add(&server.listener, NULL);
}

/* The worker on that loop; metrics must have been registered. */
static inline void agents_begin(const struct conf_override *o, size_t n)
{
	struct buf report = BUF_INIT;
	struct shm *shm = shm_create();

	w = (struct worker){.loop = loop, .conf = conf_load(NULL, false, o, n, &report)};
	if (w.conf == NULL)
		fail_msg("%s", report.p);
	buf_free(&report);
	atomic_store(&shm->slots_used, 1U);
	metrics_attach(shm, 0);
	w.slow = lane_new(loop, "slow", 1, 64);
	w.fetch = fetch_open(loop, w.slow, w.slow);
	w.agents = agents_open(&w);
}

/* For cmocka: ends both. */
static inline int agents_end(void **state)
{
	(void)state;
	server_close();
	buf_free(&server.request);
	event_del(&server.listener);
	close(server.listen_fd);
	agents_close(w.agents);
	fetch_close(w.fetch);
	lane_free(w.slow);
	loop_end();
	conf_unref((struct conf *)(uintptr_t)w.conf);
	return 0;
}

#endif
