/* SPDX-License-Identifier: MIT */
/*
 * One connection to a Redis server: resolves, connects, greets (AUTH, SELECT, a name, a look whether it is a cluster),
 * serves, and after any failure begins again. Called by redis.c. Repeats no command: who sent one is told that the
 * answer will not come.
 */
#include "common/redis_conn.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/ids.h"

#define REDIS_ADDRS_MAX 8U              /* addresses of a name that are tried */
#define REDIS_RETRY_FIRST (100 * MS_US) /* doubles up to redis.retry_max */
#define REDIS_SETTLED (5 * SEC_US)      /* a connection that lived so long was no failure */
#define REDIS_TICK (500 * MS_US)        /* how often deadlines are looked at */
#define REDIS_QUIET SEC_US              /* after so much silence a PING asks whether the server is there */
#define REDIS_OUT_MAX ((size_t)4 << 20) /* bytes that may wait to be sent */
#define REDIS_READ_BYTES 4096
#define REDIS_READS 16 /* per wake-up, so that a busy channel does not hold the loop */

enum redis_state { REDIS_PAUSED, REDIS_RESOLVING, REDIS_CONNECTING, REDIS_GREETING, REDIS_UP };

struct redis_wait {
	redis_answer fn; /* NULL: nobody cares */
	void *arg;
	int64_t sent_us;
};

struct redis_place {
	struct sockaddr_storage addr;
	socklen_t len;
};

/* Name resolution; belongs to the lane while it runs. */
struct redis_lookup {
	struct redis_conn *conn; /* NULL: closed meanwhile */
	char host[sizeof(((struct redis_address *)NULL)->host)];
	char port[sizeof(((struct redis_address *)NULL)->port)];
	int rc; /* of getaddrinfo */
	struct redis_place places[REDIS_ADDRS_MAX];
	unsigned count;
};

struct redis_conn {
	struct loop *loop;
	struct lane *slow;
	struct redis_options o;
	const struct redis_conn_ops *ops;
	void *arg;
	enum redis_state state;
	unsigned life; /* counts the ends, so that who reads notices one */
	unsigned failures;
	int fd;
	struct event readable, writable;
	struct loop_timer timer;
	redisReader *reader;
	struct buf out;
	bool flushing; /* a write stands in the loop's deferred work */
	bool closed;
	struct redis_wait *waits; /* a ring */
	size_t first, count, room;
	int64_t heard_us, up_us;
	struct redis_lookup *lookup;
	struct redis_place places[REDIS_ADDRS_MAX];
	unsigned place, place_count;
	char why[160];
};

static void redis_conn_next_place(struct redis_conn *c);

/* ---- the end of a connection ---- */

static void redis_conn_answer(struct redis_conn *c, const redisReply *reply)
{
	struct redis_wait w = c->waits[c->first];

	c->first = (c->first + 1) % c->room;
	c->count--;
	if (reply != NULL)
		c->ops->answered(c->arg, (double)(loop_refresh(c->loop) - w.sent_us) / 1e6,
				 reply->type == REDIS_REPLY_ERROR);
	if (w.fn != NULL)
		w.fn(w.arg, reply);
}

/* Drops the socket and what belongs to it; who waits for answers is told. */
static void redis_conn_drop(struct redis_conn *c)
{
	c->life++;
	if (c->fd != -1) {
		event_del(&c->readable);
		event_del(&c->writable);
		close(c->fd);
		c->fd = -1;
	}
	if (c->reader != NULL)
		redisReaderFree(c->reader);
	c->reader = NULL;
	buf_free(&c->out);
	while (c->count > 0)
		redis_conn_answer(c, NULL);
}

static int64_t redis_conn_pause(const struct redis_conn *c)
{
	int64_t us = REDIS_RETRY_FIRST;
	unsigned i;

	for (i = 1; i < c->failures && us < c->o.retry_us; i++)
		us *= 2;
	if (us > c->o.retry_us)
		us = c->o.retry_us;
	/* From half of it on, so that many processes do not come back in one moment. */
	return us / 2 + (int64_t)ids_uniform((uint32_t)(us / 2) + 1);
}

static void redis_conn_fail(struct redis_conn *c, const char *why)
{
	int64_t now = loop_refresh(c->loop);

	if (c->state == REDIS_UP && now - c->up_us > REDIS_SETTLED)
		c->failures = 0;
	c->failures++;
	(void)snprintf(c->why, sizeof(c->why), "%s", why);
	c->state = REDIS_PAUSED;
	redis_conn_drop(c);
	loop_timer_set(&c->timer, redis_conn_pause(c));
	c->ops->down(c->arg, c->why);
}

static void redis_conn_fail_errno(struct redis_conn *c, const char *what, int code)
{
	char text[128];

	(void)snprintf(text, sizeof(text), "%s: %s", what, strerror(code));
	redis_conn_fail(c, text);
}

/* ---- writing ---- */

static void redis_conn_write(struct redis_conn *c)
{
	ssize_t n;

	while (c->out.n > 0) {
		n = send(c->fd, c->out.p, c->out.n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0) {
			buf_consume(&c->out, (size_t)n);
		} else if (errno == EAGAIN) {
			(void)event_add(&c->writable, NULL);
			return;
		} else if (errno != EINTR) {
			redis_conn_fail_errno(c, "cannot send", errno);
			return;
		}
	}
}

static void redis_conn_on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	redis_conn_write(arg);
}

static void redis_conn_free(struct redis_conn *c)
{
	free(c->waits);
	free(c);
}

static void redis_conn_flush(void *arg)
{
	struct redis_conn *c = arg;

	c->flushing = false;
	if (c->closed)
		redis_conn_free(c);
	else if (c->fd != -1 && c->state >= REDIS_GREETING)
		redis_conn_write(c);
}

static void redis_conn_wait(struct redis_conn *c, redis_answer fn, void *arg)
{
	size_t i, room;
	struct redis_wait *waits;

	if (c->count == c->room) {
		room = c->room != 0 ? 2 * c->room : 16;
		waits = xcalloc(room, sizeof(*waits));
		for (i = 0; i < c->count; i++)
			waits[i] = c->waits[(c->first + i) % c->room];
		free(c->waits);
		c->waits = waits;
		c->room = room;
		c->first = 0;
	}
	c->waits[(c->first + c->count++) % c->room] = (struct redis_wait){fn, arg, loop_refresh(c->loop)};
}

static void redis_conn_put(struct redis_conn *c, const struct str *words, size_t n, redis_answer fn, void *arg)
{
	size_t i;

	/* RESP: an array of bulk strings, which is all that clients send. */
	buf_printf(&c->out, "*%zu\r\n", n);
	for (i = 0; i < n; i++) {
		buf_printf(&c->out, "$%zu\r\n", words[i].n);
		buf_add(&c->out, words[i]);
		buf_addz(&c->out, "\r\n");
	}
	redis_conn_wait(c, fn, arg);
	if (c->flushing)
		return;
	c->flushing = true;
	loop_defer(c->loop, redis_conn_flush, c);
}

bool redis_conn_send(struct redis_conn *c, const struct str *words, size_t n, redis_answer fn, void *arg)
{
	if (c->state != REDIS_UP || c->out.n > REDIS_OUT_MAX)
		return false;
	redis_conn_put(c, words, n, fn, arg);
	return true;
}

/* ---- the greeting ---- */

static bool redis_conn_says(const redisReply *r, const char *word)
{
	return r->type == REDIS_REPLY_ERROR && strncmp(r->str, word, strlen(word)) == 0;
}

/* The server's own words are not repeated: "unknown command" quotes the password. */
static void redis_conn_authenticated(void *arg, const redisReply *r)
{
	struct redis_conn *c = arg;

	if (r != NULL && r->type == REDIS_REPLY_ERROR)
		redis_conn_fail(c, redis_conn_says(r, "WRONGPASS") ? "the server refuses user or password"
								   : "the server refuses AUTH");
}

static void redis_conn_selected(void *arg, const redisReply *r)
{
	struct redis_conn *c = arg;

	if (r != NULL && r->type == REDIS_REPLY_ERROR)
		redis_conn_fail(c, r->str);
}

/* The last answer of the greeting. Who may not ask for INFO (ACL) may still publish. */
static void redis_conn_greeted(void *arg, const redisReply *r)
{
	struct redis_conn *c = arg;

	if (r == NULL)
		return;
	if (r->type == REDIS_REPLY_ERROR && !redis_conn_says(r, "NOPERM")) {
		redis_conn_fail(c, r->str);
		return;
	}
	if (r->type == REDIS_REPLY_STRING && strstr(r->str, "cluster_enabled:1") != NULL) {
		redis_conn_fail(c, "the server belongs to a Redis Cluster, which is not supported");
		return;
	}
	c->state = REDIS_UP;
	c->up_us = c->heard_us = loop_refresh(c->loop);
	c->why[0] = '\0';
	loop_timer_set(&c->timer, REDIS_TICK);
	c->ops->up(c->arg);
}

static void redis_conn_greet(struct redis_conn *c)
{
	const struct redis_address *a = &c->o.address;
	struct str auth[3] = {STR("AUTH"), str_of(a->user), str_of(a->password)}, plain[2] = {auth[0], auth[2]};
	char db[16];

	c->state = REDIS_GREETING;
	c->reader = redisReaderCreate();
	BUG_ON(c->reader == NULL);
	(void)event_add(&c->readable, NULL);
	if (a->user[0] != '\0')
		redis_conn_put(c, auth, 3, redis_conn_authenticated, c);
	else if (a->password[0] != '\0')
		redis_conn_put(c, plain, 2, redis_conn_authenticated, c);
	(void)snprintf(db, sizeof(db), "%u", a->db);
	if (a->db != 0)
		redis_conn_put(c, (struct str[]){STR("SELECT"), str_of(db)}, 2, redis_conn_selected, c);
	redis_conn_put(c, (struct str[]){STR("CLIENT"), STR("SETNAME"), str_of(c->o.name)}, 3, NULL, NULL);
	redis_conn_put(c, (struct str[]){STR("INFO"), STR("cluster")}, 2, redis_conn_greeted, c);
}

/* ---- reading ---- */

/* False: the connection has ended. */
static bool redis_conn_take(struct redis_conn *c)
{
	unsigned life = c->life;
	void *p = NULL;
	redisReply *r;

	while (life == c->life) {
		if (redisReaderGetReply(c->reader, &p) != REDIS_OK) {
			redis_conn_fail(c, "the server does not speak the Redis protocol");
			return false;
		}
		if ((r = p) == NULL)
			return true;
		if (c->ops->push == NULL || !c->ops->push(c->arg, r)) {
			if (c->count > 0)
				redis_conn_answer(c, r);
			else
				redis_conn_fail(c, r->type == REDIS_REPLY_ERROR ? r->str : "an answer to nothing");
		}
		freeReplyObject(r);
	}
	return false;
}

static void redis_conn_on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct redis_conn *c = arg;
	char bytes[REDIS_READ_BYTES];
	ssize_t n;
	unsigned i;

	(void)what;
	for (i = 0; i < REDIS_READS; i++) {
		n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n == 0) {
			redis_conn_fail(c, "the server closed the connection");
			return;
		}
		if (n < 0) {
			if (errno != EAGAIN && errno != EINTR)
				redis_conn_fail_errno(c, "cannot read", errno);
			return;
		}
		c->heard_us = loop_refresh(c->loop);
		if (redisReaderFeed(c->reader, bytes, (size_t)n) != REDIS_OK) {
			redis_conn_fail(c, "the answer is too large");
			return;
		}
		if (!redis_conn_take(c) || (size_t)n < sizeof(bytes))
			return;
	}
}

/* ---- connecting ---- */

static void redis_conn_on_connected(evutil_socket_t fd, short what, void *arg)
{
	struct redis_conn *c = arg;
	socklen_t n = sizeof(int);
	int code = 0, one = 1;

	(void)what;
	if (c->state != REDIS_CONNECTING) {
		redis_conn_on_writable(fd, what, arg);
		return;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &n) == -1)
		code = errno;
	if (code == 0) {
		/* Hints are small and must not wait for each other; on a Unix socket it has no meaning. */
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		redis_conn_greet(c);
		return;
	}
	(void)snprintf(c->why, sizeof(c->why), "cannot connect: %s", strerror(code));
	redis_conn_drop(c);
	redis_conn_next_place(c);
}

/* Tries the next address of the name; when there is none left, the attempt has failed. */
static void redis_conn_next_place(struct redis_conn *c)
{
	const struct redis_place *p;
	char why[sizeof(c->why)];

	c->state = REDIS_CONNECTING;
	while (c->place < c->place_count) {
		p = &c->places[c->place++];
		c->fd = socket(p->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (c->fd != -1) {
			event_assign(&c->readable, loop_base(c->loop), c->fd, EV_READ | EV_PERSIST,
				     redis_conn_on_readable, c);
			event_assign(&c->writable, loop_base(c->loop), c->fd, EV_WRITE, redis_conn_on_connected, c);
			if (connect(c->fd, (const struct sockaddr *)&p->addr, p->len) == 0 || errno == EINPROGRESS) {
				(void)event_add(&c->writable, NULL);
				return;
			}
		}
		(void)snprintf(c->why, sizeof(c->why), "cannot connect: %s", strerror(errno));
		redis_conn_drop(c);
	}
	memcpy(why, c->why, sizeof(why));
	redis_conn_fail(c, why);
}

/* ---- names ---- */

static bool redis_lookup(struct redis_lookup *k, int flags)
{
	struct addrinfo hints = {
	    .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
	struct addrinfo *list = NULL;
	const struct addrinfo *a;

	k->rc = getaddrinfo(k->host, k->port, &hints, &list);
	if (k->rc != 0)
		return false;
	for (a = list; a != NULL && k->count < REDIS_ADDRS_MAX; a = a->ai_next) {
		if (a->ai_addrlen > sizeof(k->places[0].addr))
			continue;
		memcpy(&k->places[k->count].addr, a->ai_addr, a->ai_addrlen);
		k->places[k->count++].len = a->ai_addrlen;
	}
	freeaddrinfo(list);
	return true;
}

/* On a thread of the slow lane. */
static void redis_lookup_work(void *arg)
{
	(void)redis_lookup(arg, 0);
}

static void redis_lookup_done(void *arg)
{
	struct redis_lookup *k = arg;
	struct redis_conn *c = k->conn;
	char why[128];

	if (c != NULL) {
		c->lookup = NULL;
		if (c->state == REDIS_RESOLVING && k->count > 0) {
			memcpy(c->places, k->places, sizeof(c->places));
			c->place_count = k->count;
			redis_conn_next_place(c);
		} else if (c->state == REDIS_RESOLVING) {
			(void)snprintf(why, sizeof(why), "the host's name cannot be resolved: %s",
				       k->rc != 0 ? gai_strerror(k->rc) : "no address");
			redis_conn_fail(c, why);
		}
	}
	free(k);
}

static void redis_conn_resolve(struct redis_conn *c)
{
	struct redis_lookup *k;

	c->state = REDIS_RESOLVING;
	if (c->lookup != NULL)
		return; /* still at it from the last attempt; the timer bounds this one too */
	k = xcalloc(1, sizeof(*k));
	k->conn = c;
	memcpy(k->host, c->o.address.host, sizeof(k->host));
	memcpy(k->port, c->o.address.port, sizeof(k->port));
	c->lookup = k;
	/* An address needs no lookup, and a lookup that is none does not wait. */
	if (redis_lookup(k, AI_NUMERICHOST)) {
		redis_lookup_done(k);
	} else if (!lane_submit(c->slow, redis_lookup_work, redis_lookup_done, k)) {
		c->lookup = NULL;
		free(k);
		redis_conn_fail(c, "too many names are being resolved");
	}
}

/* ---- life ---- */

static void redis_conn_begin(struct redis_conn *c)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	c->place = c->place_count = 0;
	loop_timer_set(&c->timer, c->o.timeout_us);
	if (!c->o.address.is_unix) {
		redis_conn_resolve(c);
		return;
	}
	memcpy(un.sun_path, c->o.address.path, sizeof(un.sun_path));
	memcpy(&c->places[0].addr, &un, sizeof(un));
	c->places[0].len = sizeof(un);
	c->place_count = 1;
	redis_conn_next_place(c);
}

/* While it is up: is the oldest answer overdue, and is anybody there at all? */
static void redis_conn_look(struct redis_conn *c)
{
	int64_t now = loop_refresh(c->loop);

	/* A server that says anything is alive: then it is this process that was slow. */
	if (c->count > 0 && now - c->waits[c->first].sent_us > c->o.timeout_us && now - c->heard_us > c->o.timeout_us) {
		redis_conn_fail(c, "the server does not answer");
		return;
	}
	if (c->count == 0 && now - c->heard_us > REDIS_QUIET)
		redis_conn_put(c, (struct str[]){STR("PING")}, 1, NULL, NULL);
	loop_timer_set(&c->timer, REDIS_TICK);
}

static void redis_conn_on_timer(void *arg)
{
	struct redis_conn *c = arg;

	switch (c->state) {
	case REDIS_PAUSED:
		redis_conn_begin(c);
		break;
	case REDIS_RESOLVING:
		redis_conn_fail(c, "the host's name is not resolved in time");
		break;
	case REDIS_CONNECTING:
		redis_conn_fail(c, "cannot connect in time");
		break;
	case REDIS_GREETING:
		redis_conn_fail(c, "the server does not answer");
		break;
	case REDIS_UP:
		redis_conn_look(c);
		break;
	}
}

struct redis_conn *redis_conn_open(struct loop *l, struct lane *slow, const struct redis_options *o,
				   const struct redis_conn_ops *ops, void *arg)
{
	struct redis_conn *c = xcalloc(1, sizeof(*c));

	c->loop = l;
	c->slow = slow;
	c->o = *o;
	c->ops = ops;
	c->arg = arg;
	c->fd = -1;
	(void)snprintf(c->why, sizeof(c->why), "not connected yet");
	loop_timer_init(l, &c->timer, redis_conn_on_timer, c);
	loop_timer_set(&c->timer, 0);
	return c;
}

void redis_conn_close(struct redis_conn *c)
{
	if (c == NULL)
		return;
	c->state = REDIS_PAUSED;
	redis_conn_drop(c);
	loop_timer_stop(&c->timer);
	if (c->lookup != NULL)
		c->lookup->conn = NULL;
	c->closed = true;
	if (!c->flushing)
		redis_conn_free(c);
}

bool redis_conn_up(const struct redis_conn *c)
{
	return c->state == REDIS_UP;
}

const char *redis_conn_why(const struct redis_conn *c)
{
	return c->why;
}
