/* SPDX-License-Identifier: MIT */
/*
 * A server on a loop that a fuzz target turns by hand, and a client that feeds it bytes in pieces.
 */
#ifndef TESTS_FUZZ_FUZZ_HTTP_H
#define TESTS_FUZZ_FUZZ_HTTP_H

#include <errno.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/co.h"
#include "common/conf.h"
#include "common/loop.h"
#include "common/shm.h"
#include "tests/fuzz/fuzz.h"
#include "worker/http/http.h"

#define FUZZ_TURNS 8

/* Lives until the process ends; loop is NULL before fuzz_http_open. */
static struct fuzz_http {
	struct conf *conf;
	struct loop *loop;
	struct http_server *server;
} fuzz_http;

static inline void fuzz_http_open(const struct conf_override *overrides, size_t n, const struct http_hooks *hooks)
{
	struct buf report = BUF_INIT;
	struct shm *shm = mmap(NULL, sizeof(struct shm), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	fuzz_http.conf = conf_load(NULL, false, overrides, n, &report);
	BUG_ON(fuzz_http.conf == NULL || shm == MAP_FAILED);
	fuzz_http.loop = loop_new();
	co_init(fuzz_http.loop, 0, 16);
	fuzz_http.server = http_server_new(fuzz_http.loop, fuzz_http.conf, shm->slots, 0, hooks, NULL);
}

/* Turns the loop and reads what comes; true when the server has ended the connection. */
static inline bool fuzz_http_turn(int fd, unsigned turns)
{
	char p[16384];
	ssize_t n = -1;

	while (turns-- > 0) {
		loop_turn(fuzz_http.loop, false);
		while ((n = recv(fd, p, sizeof(p), MSG_DONTWAIT)) > 0)
			;
		if (n == 0 || errno != EAGAIN)
			return true;
	}
	return false;
}

/* Sends the bytes over a new connection, cut by the seed. Returns our end; *ended as above. */
static inline int fuzz_http_send(struct str bytes, uint32_t seed, bool *ended)
{
	struct str piece;
	int fd[2];

	*ended = false;
	BUG_ON(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd) == -1);
	http_server_adopt(fuzz_http.server, fd[1]);
	while (!*ended && bytes.n > 0) {
		piece = fuzz_piece(&bytes, &seed);
		*ended = send(fd[0], piece.p, piece.n, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)piece.n;
		*ended = fuzz_http_turn(fd[0], 1) || *ended;
	}
	*ended = fuzz_http_turn(fd[0], FUZZ_TURNS) || *ended;
	return fd[0];
}

/* Hangs up, and waits until the server knows. */
static inline void fuzz_http_close(int fd)
{
	close(fd);
	while (http_server_connections(fuzz_http.server) > 0)
		loop_turn(fuzz_http.loop, false);
}

#endif
