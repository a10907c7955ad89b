/* SPDX-License-Identifier: MIT */
/*
 * One client connection: events, input buffer, output queue, deadlines, its life from accept to close. Driven by the
 * loop; http_request.c makes requests of what it reads. It knows no header and no status.
 */
#include "worker/http/http_conn.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/conf.h"
#include "worker/http/h2.h"

static ssize_t plain_read(struct http_conn *c, void *p, size_t n)
{
	return recv(c->fd, p, n, 0);
}

static ssize_t plain_write(struct http_conn *c, const struct iovec *v, int n)
{
	struct msghdr m = {.msg_iovlen = (size_t)n};

	/* sendmsg only reads the vector. What the owner sends itself follows at once: one packet with the head. */
	memcpy(&m.msg_iov, &v, sizeof(v));
	return sendmsg(c->fd, &m, MSG_NOSIGNAL | (c->owner != NULL && c->owner->send != NULL ? MSG_MORE : 0));
}

const struct io_ops io_plain = {.read = plain_read, .write = plain_write};

static void conn_on_read(evutil_socket_t fd, short what, void *arg);
static void conn_on_write(evutil_socket_t fd, short what, void *arg);

/* ---- input ---- */

static size_t in_size(const struct http_conn *c)
{
	return c->in.end - c->in.off;
}

static void in_release(struct http_conn *c)
{
	if (c->in.p == NULL || in_size(c) > 0)
		return;
	if (c->in.cap == CONN_IN_SIZE)
		server_input_give(c->server, c->in.p);
	else
		free(c->in.p);
	c->in = (struct conn_in){NULL, 0, 0, 0};
}

/* Makes room behind the data; a head larger than the buffer makes it grow, which http_head_scan bounds. */
static void in_room(struct http_conn *c)
{
	if (c->in.p == NULL) {
		c->in = (struct conn_in){server_input_take(c->server), 0, 0, CONN_IN_SIZE};
		return;
	}
	if (c->in.off > 0 && c->in.end == c->in.cap) {
		memmove(c->in.p, c->in.p + c->in.off, in_size(c));
		c->in.end -= c->in.off;
		c->in.off = 0;
	}
	if (c->in.end == c->in.cap) {
		char *p = xmalloc(c->in.cap * 2);

		memcpy(p, c->in.p, c->in.end);
		if (c->in.cap == CONN_IN_SIZE)
			server_input_give(c->server, c->in.p);
		else
			free(c->in.p);
		c->in.p = p;
		c->in.cap *= 2;
	}
}

/* Reads once. False when nothing more is to be had now. */
static bool in_fill(struct http_conn *c)
{
	ssize_t n;

	in_room(c);
	n = c->io->read(c, c->in.p + c->in.end, c->in.cap - c->in.end);
	if (n > 0) {
		c->in.end += (size_t)n;
		return true;
	}
	if (n == 0)
		c->peer_eof = true;
	else if (errno != EAGAIN && errno != EINTR)
		conn_close(c);
	return false;
}

/* ---- output ---- */

static void out_push(struct conn_out *o, struct rbuf *r)
{
	unsigned i;

	if (o->count == o->cap) {
		struct rbuf **ring = xcalloc(o->cap * 2, sizeof(struct rbuf *));

		for (i = 0; i < o->count; i++)
			ring[i] = o->ring[(o->head + i) % o->cap];
		if (o->ring != o->first)
			free(o->ring);
		o->ring = ring;
		o->head = 0;
		o->cap *= 2;
	}
	BUG_ON(o->cap == 0);
	o->ring[(o->head + o->count++) % o->cap] = r;
	o->bytes += r->n;
}

/* The first slice goes. */
static void out_pop(struct http_conn *c)
{
	struct conn_out *o = &c->out;
	struct rbuf *r = o->ring[o->head];

	o->head = o->head + 1 < o->cap ? o->head + 1 : 0;
	o->count--;
	if (r != o->room) {
		rbuf_unref(r);
		return;
	}
	o->room = NULL;
	server_output_give(c->server, r);
}

/* n bytes are gone. */
static void out_advance(struct http_conn *c, size_t n)
{
	struct conn_out *o = &c->out;

	o->bytes -= n;
	o->sent += n;
	while (o->count > 0 && o->sent >= o->ring[o->head]->n) {
		o->sent -= o->ring[o->head]->n;
		out_pop(c);
	}
}

static void out_clear(struct http_conn *c)
{
	struct conn_out *o = &c->out;

	while (o->count > 0)
		out_pop(c);
	if (o->ring != o->first)
		free(o->ring);
	o->ring = o->first;
	o->cap = countof(o->first);
	o->head = 0;
	o->sent = o->bytes = 0;
}

void conn_send(struct http_conn *c, struct rbuf *r)
{
	if (c->state == CONN_DEAD || r->n == 0) {
		rbuf_unref(r);
		return;
	}
	out_push(&c->out, r);
	conn_mark(c);
}

char *conn_reserve(struct http_conn *c, size_t n)
{
	struct conn_out *o = &c->out;

	if (c->state == CONN_DEAD || n > CONN_OUT_SIZE)
		return NULL;
	if (o->room == NULL) {
		o->room = server_output_take(c->server);
		if (o->room != NULL)
			out_push(o, o->room);
	}
	/* One such slice at a time, and only while it is the last. */
	if (o->room == NULL || n > CONN_OUT_SIZE - o->room->n || o->ring[(o->head + o->count - 1) % o->cap] != o->room)
		return NULL;
	return o->room->data + o->room->n;
}

void conn_commit(struct http_conn *c, size_t n)
{
	c->out.room->n += n;
	c->out.bytes += n;
	conn_mark(c);
}

static int out_vector(const struct conn_out *o, struct iovec *v, unsigned max)
{
	unsigned i;

	for (i = 0; i < o->count && i < max; i++) {
		struct rbuf *r = o->ring[(o->head + i) % o->cap];
		size_t skip = i == 0 ? o->sent : 0;

		v[i] = (struct iovec){r->data + skip, r->n - skip};
	}
	return (int)i;
}

static void conn_write_event(struct http_conn *c, bool on)
{
	if (on == c->writing)
		return;
	c->writing = on;
	if (on)
		event_add(&c->write_ev, NULL);
	else
		event_del(&c->write_ev);
}

/* The queue first, then what the owner has; as write(2), 0: there is nothing now. */
static ssize_t conn_write(struct http_conn *c)
{
	struct iovec v[64];
	ssize_t n;

	if (c->out.count == 0)
		return c->state == CONN_OWNED && c->owner->send != NULL ? c->owner->send(c->owner_arg) : 0;
	n = c->io->write(c, v, out_vector(&c->out, v, countof(v)));
	if (n > 0)
		out_advance(c, (size_t)n);
	return n;
}

/* Sends what the socket takes. */
static void conn_flush(struct http_conn *c)
{
	bool progress = false, full;
	ssize_t n;

	while ((n = conn_write(c)) > 0 || (n < 0 && errno == EINTR))
		progress |= n > 0;
	full = n < 0;
	if (full && errno != EAGAIN) {
		conn_close(c);
		return;
	}
	conn_write_event(c, full || c->io_write);
	if (!full) {
		http_deadline_clear(&c->write_deadline);
		out_clear(c);
	} else if (progress || c->write_deadline.prev == NULL) {
		http_deadline_set(&c->server->deadlines, &c->write_deadline, DEADLINE_WRITE);
	}
	if (c->state == CONN_OWNED && (progress || c->out.count == 0))
		c->owner->drained(c->owner_arg);
}

/* ---- life ---- */

struct http_conn *conn_new(struct http_server *s, int fd, const struct http_addr *addr)
{
	struct http_conn *c = xcalloc(1, sizeof(*c));

	c->server = s;
	s->refs++;
	c->io = &io_plain;
	c->fd = fd;
	c->out.ring = c->out.first;
	c->out.cap = countof(c->out.first);
	c->h2 = s->conf->server.http2.enabled ? CONN_H2_MAYBE : CONN_H2_NO;
	c->trusted = addr == NULL || http_cidrs_match(&s->trusted, addr);
	if (addr != NULL)
		c->addr = *addr;
	else if (!http_addr_parse(STR("127.0.0.1"), &c->addr))
		bug("loopback address", __FILE__, __LINE__, __func__);
	c->next = &s->conns;
	c->prev = s->conns.prev;
	s->conns.prev->next = c;
	s->conns.prev = c;
	server_count(s, 1, 0, 0);
	event_assign(&c->read_ev, loop_base(s->loop), fd, EV_READ | EV_PERSIST, conn_on_read, c);
	event_assign(&c->write_ev, loop_base(s->loop), fd, EV_WRITE | EV_PERSIST, conn_on_write, c);
	/* Its request has often come along: the end of the turn reads before it has the event watched. */
	c->fresh = true;
	conn_mark(c);
	conn_deadline(c, DEADLINE_FIRST);
	return c;
}

void conn_mark(struct http_conn *c)
{
	if (c->dirty)
		return;
	c->dirty = true;
	c->next_dirty = c->server->dirty;
	c->server->dirty = c;
	server_want_turn_end(c->server);
}

void conn_state_set(struct http_conn *c, enum conn_state state)
{
	BUG_ON(c->state == CONN_DEAD);
	c->state = state;
}

void conn_deadline(struct http_conn *c, enum http_deadline_kind kind)
{
	if (kind == DEADLINE_NONE)
		http_deadline_clear(&c->deadline);
	else
		http_deadline_set(&c->server->deadlines, &c->deadline, kind);
}

void conn_own(struct http_conn *c, const struct conn_owner *owner, void *arg)
{
	conn_state_set(c, CONN_OWNED);
	c->owner = owner;
	c->owner_arg = arg;
	conn_deadline(c, DEADLINE_NONE);
	conn_mark(c);
}

void conn_close(struct http_conn *c)
{
	const struct conn_owner *owner = c->owner;

	if (c->state == CONN_DEAD)
		return;
	c->state = CONN_DEAD;
	/* What was cut short must not look complete. */
	if (c->out.count == 0 && c->io->finish != NULL)
		c->io->finish(c);
	http_deadline_clear(&c->deadline);
	http_deadline_clear(&c->write_deadline);
	event_del(&c->read_ev);
	event_del(&c->write_ev);
	close(c->fd);
	c->fd = -1;
	out_clear(c);
	c->next->prev = c->prev;
	c->prev->next = c->next;
	if (c->counted)
		http_peers_leave(&c->server->peers, PEERS_CONNECTIONS, &c->addr);
	server_count(c->server, -1, 0, 0);
	conn_mark(c);
	c->owner = NULL;
	if (owner != NULL)
		owner->closed(c->owner_arg);
	request_detach(c);
}

void conn_doom(struct http_conn *c)
{
	if (c->state == CONN_DEAD)
		return;
	c->doomed = true;
	conn_mark(c);
}

static void conn_free(struct http_conn *c)
{
	struct http_server *s = c->server;

	c->in.off = c->in.end;
	in_release(c);
	if (c->io->detach != NULL)
		c->io->detach(c);
	free(c);
	server_unref(s);
}

void conn_finish(struct http_conn *c)
{
	if (c->state == CONN_DEAD)
		return;
	conn_state_set(c, CONN_FLUSH);
	conn_deadline(c, DEADLINE_NONE);
	conn_mark(c);
}

/* Everything is sent: a client that still sends would lose the answer to a reset, so its bytes are read away first. */
static void conn_flushed(struct http_conn *c)
{
	if (c->peer_eof || !(c->input_left || in_size(c) > 0 || c->server->draining)) {
		conn_close(c);
		return;
	}
	if (c->io->finish != NULL)
		c->io->finish(c);
	shutdown(c->fd, SHUT_WR);
	conn_state_set(c, CONN_LINGER);
	conn_deadline(c, DEADLINE_LINGER);
}

/* ---- work on input ---- */

static bool conn_may_begin(const struct http_conn *c)
{
	return c->out.bytes <= CONN_OUT_HIGH && c->turn_requests < CONN_TURN_MAX;
}

/* A head, or something like one, has begun. */
static void conn_head_begun(struct http_conn *c)
{
	if (c->state != CONN_IDLE)
		return;
	conn_state_set(c, CONN_HEAD);
	conn_deadline(c, DEADLINE_HEAD);
}

/* The first bytes of a connection. True: they are, or may become, those of HTTP/2. */
static bool conn_is_h2(struct http_conn *c)
{
	size_t n = in_size(c) < H2_PREFACE.n ? in_size(c) : H2_PREFACE.n;

	if (c->h2 == CONN_H2_MAYBE && memcmp(c->in.p + c->in.off, H2_PREFACE.p, n) != 0) {
		c->h2 = CONN_H2_NO;
		return false;
	}
	if (c->h2 == CONN_H2_AGREED || n == H2_PREFACE.n)
		h2_begin(c);
	else
		conn_head_begun(c);
	return true;
}

/* Looks for a complete head. False: more bytes are needed. */
static bool conn_head(struct http_conn *c)
{
	struct error err; /* set by the scan when it fails */
	struct str in;
	size_t n;
	int r;

	if (c->h2 != CONN_H2_NO && conn_is_h2(c))
		return c->state == CONN_OWNED;

	/* RFC 9112 2.2: empty lines before a request line are skipped; the deadline of the head bounds them. */
	while (c->scan.pos == 0 && in_size(c) >= 2 && memcmp(c->in.p + c->in.off, "\r\n", 2) == 0)
		c->in.off += 2;
	in = (struct str){c->in.p + c->in.off, in_size(c)};
	if (in.n == 0 || (c->scan.pos == 0 && in.n == 1 && in.p[0] == '\r'))
		return false;
	n = c->scan.pos == 0 ? http_memo_repeats(&c->server->memo, in) : 0;
	if (n > 0)
		c->scan.pos = n;
	r = n > 0 ? 1 : http_head_scan(&c->scan, in, (size_t)c->server->conf->limits.head_bytes, &err);
	if (r == 0) {
		conn_head_begun(c);
		return false;
	}
	n = r > 0 ? c->scan.pos : in.n;
	c->scan = (struct http_head_scan){0, 0};
	c->turn_requests++;
	c->in.off += n;
	conn_state_set(c, CONN_WORK);
	conn_deadline(c, DEADLINE_NONE);
	request_begin(c, (struct str){in.p, n}, r > 0 ? NULL : &err);
	return true;
}

/* One step; false when it waits for something. */
static bool conn_step(struct http_conn *c)
{
	size_t used;

	switch (c->state) {
	case CONN_IDLE:
	case CONN_HEAD:
		return in_size(c) > 0 && conn_may_begin(c) && conn_head(c);
	case CONN_BODY:
		if (in_size(c) == 0)
			return false;
		used = request_body(c, (struct str){c->in.p + c->in.off, in_size(c)});
		c->in.off += used;
		return used > 0;
	case CONN_OWNED:
		if (in_size(c) == 0)
			return false;
		used = c->owner->input(c->owner_arg, c->in.p + c->in.off, in_size(c));
		c->in.off += used;
		return used > 0;
	case CONN_FLUSH:
		/* More than this is not read before the answer is out. */
		return false;
	case CONN_LINGER:
		c->in.off = c->in.end;
		return false;
	case CONN_WORK:
	case CONN_DEAD:
		return false;
	}
	return false;
}

static void conn_process(struct http_conn *c)
{
	if (c->processing)
		return;
	c->processing = true;
	while (conn_step(c))
		;
	c->processing = false;
}

/* The client has shut its side, or all of it. Half-closed clients still get the answers to what they have asked. */
static void conn_at_eof(struct http_conn *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLOUT};
	bool gone = poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR)) != 0;

	if (gone || (c->state == CONN_OWNED && !c->owner->finite) || c->state == CONN_LINGER) {
		conn_close(c);
		return;
	}
	if (c->state == CONN_WORK || c->state == CONN_OWNED || c->state == CONN_FLUSH ||
	    (c->state == CONN_IDLE && in_size(c) > 0))
		return;
	if (c->out.count > 0)
		conn_finish(c);
	else
		conn_close(c);
}

static bool conn_wants_input(const struct http_conn *c)
{
	if (c->peer_eof)
		return false;
	/* An owner that takes no input (a stream) leaves it for the request after it. */
	if (c->state == CONN_WORK || c->state == CONN_FLUSH || c->state == CONN_OWNED)
		return in_size(c) < CONN_IN_SIZE;
	if (c->state == CONN_IDLE || c->state == CONN_HEAD)
		return c->out.bytes <= CONN_OUT_HIGH || in_size(c) < CONN_IN_SIZE;
	return true;
}

/* Bytes that no event will tell of: the loop is to come back for them. */
static bool conn_pending(const struct http_conn *c)
{
	return c->io->pending != NULL && c->io->pending(c);
}

static void conn_read_event(struct http_conn *c)
{
	bool on = conn_wants_input(c);

	if (on && conn_pending(c))
		event_active(&c->read_ev, EV_READ, 0);
	if (on == c->reading)
		return;
	c->reading = on;
	if (on)
		event_add(&c->read_ev, NULL);
	else
		event_del(&c->read_ev);
}

/* The end of a turn for one connection. */
static void conn_settle(struct http_conn *c)
{
	if (c->doomed) {
		conn_close(c);
		return;
	}
	conn_process(c);
	if (c->state == CONN_IDLE && c->deadline.prev == NULL)
		conn_deadline(c, DEADLINE_IDLE);
	if (c->state != CONN_DEAD && !c->writing && (c->out.count > 0 || c->state == CONN_OWNED))
		conn_flush(c);
	if (c->state != CONN_DEAD && c->peer_eof)
		conn_at_eof(c);
	if (c->state == CONN_FLUSH && c->out.count == 0)
		conn_flushed(c);
	if (c->state == CONN_DEAD)
		return;
	in_release(c);
	conn_read_event(c);
}

/* Are requests left over although nothing is waited for, because the turn's share is used up? */
static bool conn_left_over(const struct http_conn *c)
{
	if (c->state == CONN_OWNED)
		return c->again;
	return c->state == CONN_IDLE && in_size(c) > 0 && c->turn_requests >= CONN_TURN_MAX &&
	       c->out.bytes <= CONN_OUT_HIGH;
}

void conn_turn_end(struct http_server *s)
{
	struct http_conn *c;

	while ((c = s->dirty) != NULL) {
		s->dirty = c->next_dirty;
		c->dirty = false;
		if (c->state == CONN_DEAD) {
			conn_free(c);
		} else if (c->fresh && !c->doomed) {
			c->fresh = false;
			conn_on_read(c->fd, EV_READ, c);
		} else {
			conn_settle(c);
			if (conn_left_over(c))
				event_active(&c->read_ev, EV_READ, 0);
		}
	}
}

/* ---- events ---- */

static void conn_on_read(evutil_socket_t fd, short what, void *arg)
{
	struct http_conn *c = arg;
	unsigned i;

	(void)fd;
	(void)what;
	c->turn_requests = 0;
	c->again = false;
	/* A few buffers at most, so that one client's upload does not hold up the others. */
	for (i = 0; i < 4 && c->state != CONN_DEAD && conn_wants_input(c); i++) {
		size_t room;
		bool more = in_fill(c);

		if (c->state == CONN_DEAD)
			return;
		room = c->in.cap - c->in.end;
		conn_process(c);
		if (!more || (room > 0 && !conn_pending(c)))
			break;
	}
	conn_process(c);
	if (c->state == CONN_DEAD)
		return;
	conn_write_event(c, c->out.count > 0 ? c->writing : c->io_write);
	conn_read_event(c);
	/* Answers go out while they are in the caches; what others queue here goes at the end of the turn. */
	conn_settle(c);
	/* To be woken from there: an event activated here would run before those of the others. */
	if (conn_left_over(c))
		conn_mark(c);
}

static void conn_on_write(evutil_socket_t fd, short what, void *arg)
{
	struct http_conn *c = arg;

	if (c->io_write) {
		c->io_write = false;
		conn_on_read(fd, what, arg);
		if (c->state == CONN_DEAD)
			return;
	}
	conn_flush(c);
	conn_mark(c);
}

void conn_expired(struct http_conn *c, enum http_deadline_kind kind)
{
	if (c->owner != NULL) {
		c->owner->expired(c->owner_arg, kind);
		return;
	}
	switch (kind) {
	case DEADLINE_HEAD:
		c->input_left = true;
		c->in.off = c->in.end;
		request_refuse(c, ERR_REQUEST_TIMEOUT, "the request head did not arrive in time", 0);
		break;
	case DEADLINE_BODY:
		c->input_left = true;
		request_body_expired(c->call);
		break;
	case DEADLINE_PING:
	case DEADLINE_PONG:
	case DEADLINE_CLOSE:
	case DEADLINE_STREAM_BODY:
	case DEADLINE_STREAM_WRITE:
	case DEADLINE_NONE:
	case DEADLINE_FIRST:
	case DEADLINE_IDLE:
	case DEADLINE_LINGER:
	case DEADLINE_WRITE:
	case DEADLINE_REQUEST:
	case DEADLINE_MAX:
		conn_close(c);
		break;
	}
}

void conn_write_expired(struct http_conn *c)
{
	conn_close(c);
}
