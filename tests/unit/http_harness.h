/* SPDX-License-Identifier: MIT */
/*
 * A server on one end of a socket pair and the test as its client on the other, both on the test's thread: the test
 * turns the loop by hand, so nothing depends on time. Included by the tests of worker/http and worker/ws.
 */
#ifndef TESTS_UNIT_HTTP_HARNESS_H
#define TESTS_UNIT_HTTP_HARNESS_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/co.h"
#include "common/conf.h"
#include "common/loop.h"
#include "common/shm.h"
#include "worker/http/route.h"
#include "worker/identity/changes.h"
#include "worker/identity/credential.h"
#include "worker/middleware/pipeline.h"
#include "worker/worker.h"

struct harness {
	struct worker w;
	struct conf *conf;
	int client;    /* our end, -1 when closed */
	struct buf in; /* what the server has sent */
	bool eof;
};

#define HARNESS_TURNS 2000

static inline struct harness *harness_new(const struct conf_override *overrides, size_t n,
					  const struct route_table *routes)
{
	struct harness *h = xcalloc(1, sizeof(*h));
	struct conf_override all[16] = {{"log.access", ""},
					{"auth.jwt_secret", "a secret of 32 characters at least"},
					{"rate_limit.enabled", "false"}};
	struct error err = ERROR_INIT;
	struct buf report = BUF_INIT;

	assert_true(n + 2 < countof(all));
	for (size_t i = 0; i < n; i++)
		all[i + 3] = overrides[i];
	h->conf = conf_load(NULL, false, all, n + 3, &report);
	if (h->conf == NULL)
		fail_msg("configuration: %s", buf_str(&report).p);
	buf_free(&report);
	h->client = -1;
	h->w.conf = h->conf;
	h->w.loop = loop_new();
	co_init(h->w.loop, 0, 64);
	h->w.shm = shm_create();
	h->w.identity_changes = identity_changes_open(&h->w);
	h->w.credentials = credentials_open(&h->w, &err);
	if (h->w.credentials == NULL)
		fail_msg("credentials: %s", err.msg);
	h->w.router = router_new(routes, 1, pipeline_chain, pipeline_chain_count, h->conf, &err);
	if (h->w.router == NULL)
		fail_msg("routes: %s", err.msg);
	h->w.http = http_server_new(h->w.loop, h->conf, h->w.shm->slots, 0, &pipeline_hooks, &h->w);
	return h;
}

/* Reads what is there. */
static inline void harness_read(struct harness *h)
{
	char p[16384];
	ssize_t n;

	while (h->client >= 0 && !h->eof) {
		n = recv(h->client, p, sizeof(p), MSG_DONTWAIT);
		if (n > 0)
			buf_add(&h->in, (struct str){p, (size_t)n});
		else if (n == 0 || errno != EAGAIN)
			h->eof = true;
		else
			break;
	}
}

static inline void harness_turns(struct harness *h, unsigned n)
{
	while (n-- > 0) {
		loop_turn(h->w.loop, false);
		harness_read(h);
	}
}

static inline void harness_connect(struct harness *h)
{
	int fd[2];

	if (h->client >= 0)
		close(h->client);
	buf_clear(&h->in);
	h->eof = false;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd), 0);
	h->client = fd[0];
	http_server_adopt(h->w.http, fd[1]);
}

static inline void harness_hang_up(struct harness *h)
{
	close(h->client);
	h->client = -1;
}

/* Sends all of s, `step` bytes per turn (0: at once). */
static inline void harness_send(struct harness *h, struct str s, size_t step)
{
	unsigned stuck = 0;

	while (s.n > 0 && stuck < HARNESS_TURNS) {
		size_t want = step > 0 && step < s.n ? step : s.n;
		ssize_t n = send(h->client, s.p, want, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno != EAGAIN)
			return;
		stuck = n <= 0 ? stuck + 1 : 0;
		if (n > 0)
			s = str_sub(s, (size_t)n, s.n);
		harness_turns(h, 1);
	}
}

static inline void harness_sendz(struct harness *h, const char *z)
{
	harness_send(h, str_of(z), 0);
}

struct answer {
	int status;
	struct str head; /* with the blank line */
	struct str body;
};

/* Takes one complete reply off `from`; false if there is none. */
static bool answer_take(struct str *from, struct answer *a)
{
	ptrdiff_t end = str_find(*from, STR("\r\n\r\n")), at;
	uint64_t n = 0, status = 0;
	struct str rest;

	if (end < 0)
		return false;
	a->head = str_sub(*from, 0, (size_t)end + 4);
	assert_true(str_starts(a->head, STR("HTTP/1.1 ")));
	assert_true(str_to_u64(str_sub(a->head, 9, 12), 999, &status));
	a->status = (int)status;
	at = str_ifind(a->head, STR("\r\nContent-Length: "));
	if (at >= 0) {
		rest = str_sub(a->head, (size_t)at + 18, a->head.n);
		assert_true(str_to_u64(str_sub(rest, 0, (size_t)str_find(rest, STR("\r\n"))), 1 << 30, &n));
	}
	if (from->n - a->head.n < n)
		return false;
	a->body = str_sub(*from, a->head.n, a->head.n + n);
	*from = str_sub(*from, a->head.n + n, from->n);
	return true;
}

/* Turns the loop until a complete reply is there; fails the test if none comes. The slices live until the next read. */
static inline struct answer harness_answer(struct harness *h)
{
	static struct buf last;
	struct answer a;
	struct str in;

	for (unsigned i = 0; i < HARNESS_TURNS; i++) {
		in = buf_str(&h->in);
		if (answer_take(&in, &a)) {
			size_t used = h->in.n - in.n;

			buf_clear(&last);
			buf_add(&last, str_sub(buf_str(&h->in), 0, used));
			buf_consume(&h->in, used);
			in = buf_str(&last);
			assert_true(answer_take(&in, &a));
			return a;
		}
		if (h->eof)
			break;
		harness_turns(h, 1);
	}
	fail_msg("no answer; input is \"%.*s\"%s", STR_ARG(buf_str(&h->in)), h->eof ? " and the end" : "");
	return a;
}

/* Blocks in the loop until the condition holds: for what takes time by its nature (deadlines). */
#define HARNESS_UNTIL(h, condition)                                 \
	do {                                                        \
		int64_t give_up = clock_mono_us() + 10 * SEC_US;    \
		while (!(condition) && clock_mono_us() < give_up) { \
			loop_turn((h)->w.loop, false);              \
			harness_read(h);                            \
		}                                                   \
		assert_true(condition);                             \
	} while (0)

static inline bool answer_has(const struct answer *a, const char *line)
{
	return str_ifind(a->head, str_of(line)) >= 0;
}

static inline void harness_free(struct harness *h)
{
	if (h->client >= 0)
		close(h->client);
	http_server_free(h->w.http);
	harness_turns(h, 20);
	assert_int_equal(co_count(), 0);
	co_shutdown();
	router_free(h->w.router);
	credentials_close(h->w.credentials);
	identity_changes_close(h->w.identity_changes);
	munmap(h->w.shm, sizeof(*h->w.shm));
	loop_free(h->w.loop);
	conf_unref(h->conf);
	buf_free(&h->in);
	free(h);
}

#endif
