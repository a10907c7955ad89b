/* SPDX-License-Identifier: MIT */
/*
 * The server of one worker: what its connections share, draining, the end. Created by the worker at start. Accepting
 * is http_accept.c, a single connection http_conn.c.
 */
#include <errno.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/conf.h"
#include "common/ids.h"
#include "common/metrics.h"
#include "worker/http/h2.h"
#include "worker/http/http_conn.h"

#define SERVER_LINGER (2 * SEC_US)
#define SERVER_PONG (10 * SEC_US)
#define SERVER_CLOSE (5 * SEC_US)
#define SERVER_DRAIN_STEP (20 * MS_US)

/* ---- shared things ---- */

struct arena *server_arena_take(struct http_server *s)
{
	return s->arena_count > 0 ? s->arenas[--s->arena_count] : arena_new(0);
}

void server_arena_give(struct http_server *s, struct arena *a)
{
	if (s->arena_count == countof(s->arenas)) {
		arena_free(a);
		return;
	}
	arena_reset(a);
	s->arenas[s->arena_count++] = a;
}

char *server_input_take(struct http_server *s)
{
	return s->input_count > 0 ? s->inputs[--s->input_count] : xmalloc(CONN_IN_SIZE);
}

void server_input_give(struct http_server *s, char *p)
{
	if (s->input_count == countof(s->inputs))
		free(p);
	else
		s->inputs[s->input_count++] = p;
}

struct rbuf *server_output_take(struct http_server *s)
{
	struct rbuf *r = s->output_count > 0 ? s->outputs[--s->output_count] : rbuf_new(CONN_OUT_SIZE);

	if (r != NULL)
		r->n = 0;
	return r;
}

void server_output_give(struct http_server *s, struct rbuf *r)
{
	if (s->output_count == countof(s->outputs))
		rbuf_unref(r);
	else
		s->outputs[s->output_count++] = r;
}

char *server_record(struct http_server *s, size_t n)
{
	if (s->record == NULL)
		s->record = xmalloc(n);
	return s->record;
}

struct str server_date(struct http_server *s)
{
	time_t now = time(NULL);
	struct tm tm;

	/* The process runs in the C locale: names of days and months are English. */
	if (now != s->date_s && gmtime_r(&now, &tm) != NULL) {
		s->date_n = strftime(s->date, sizeof(s->date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
		s->date_s = now;
		s->status_line_for = 0;
	}
	return (struct str){s->date, s->date_n};
}

struct str server_status_line(struct http_server *s, int status)
{
	struct str date = server_date(s);

	if (s->status_line_for != status) {
		s->status_line_for = status;
		s->status_line_n =
		    (size_t)snprintf(s->status_line, sizeof(s->status_line), "HTTP/1.1 %d %s\r\nDate: %.*s\r\n", status,
				     reply_reason(status), STR_ARG(date));
	}
	return (struct str){s->status_line, s->status_line_n};
}

void server_count(struct http_server *s, int connections, int sockets, int streams)
{
	struct shm_slot *slot = &s->slots[s->slot];

	s->count += (unsigned)connections;
	s->sockets += (unsigned)sockets;
	s->streams += (unsigned)streams;
	atomic_store_explicit(&slot->connections, s->count, memory_order_relaxed);
	atomic_store_explicit(&slot->sockets, s->sockets + s->streams, memory_order_relaxed);
	atomic_store_explicit(&slot->ws_open, s->sockets, memory_order_relaxed);
}

bool server_limits(const struct http_server *s, const struct http_addr *a)
{
	return !http_cidrs_match(&s->exempt, a);
}

/* ---- end of turn ---- */

/* Messages are counted in the slot, one by one; the metrics follow. */
static void server_count_messages(struct http_server *s)
{
	const struct shm_slot *slot = &s->slots[s->slot];
	uint64_t in = atomic_load_explicit(&slot->ws_in, memory_order_relaxed);
	uint64_t out = atomic_load_explicit(&slot->ws_out, memory_order_relaxed);

	if (in != s->ws_in)
		metric_add(M_WS_MESSAGES, (int64_t)(in - s->ws_in), "in", NULL);
	if (out != s->ws_out)
		metric_add(M_WS_MESSAGES, (int64_t)(out - s->ws_out), "out", NULL);
	s->ws_in = in;
	s->ws_out = out;
}

static void server_on_turn_end(void *arg)
{
	struct http_server *s = arg;

	conn_turn_end(s);
	server_count_messages(s);
	s->turn_queued = false;
	server_unref(s);
}

void server_want_turn_end(struct http_server *s)
{
	if (s->turn_queued)
		return;
	s->turn_queued = true;
	s->refs++;
	loop_defer(s->loop, server_on_turn_end, s);
}

static void server_on_deadline(struct http_deadline *d)
{
	if (d->kind == DEADLINE_REQUEST)
		request_expired(container_of(d, struct http_reply, deadline));
	else if (d->kind == DEADLINE_STREAM_BODY || d->kind == DEADLINE_STREAM_WRITE)
		h2_stream_expired(d);
	else if (d->kind == DEADLINE_WRITE)
		conn_write_expired(container_of(d, struct http_conn, write_deadline));
	else
		conn_expired(container_of(d, struct http_conn, deadline), d->kind);
}

/* ---- draining ---- */

/* Sends away as many sockets and streams as the time that has passed demands. */
static void server_on_drain(void *arg)
{
	struct http_server *s = arg;
	int64_t passed = loop_now(s->loop) - s->drain_from;
	unsigned keep = 0, seen = 0;
	struct http_conn *c, *next;

	if (passed < s->drain_spread)
		keep = (unsigned)((int64_t)s->drain_total * (s->drain_spread - passed) / s->drain_spread);
	for (c = s->conns.next; c != &s->conns; c = next) {
		next = c->next;
		if (c->state == CONN_OWNED && ++seen > keep)
			c->owner->go_away(c->owner_arg);
	}
	/* Handlers may still begin streams; they are sent away as they come. */
	loop_timer_set(&s->drain_timer, SERVER_DRAIN_STEP);
}

void http_server_drain(struct http_server *s, int64_t spread_us)
{
	const struct http_conn *c;

	if (s->draining)
		return;
	s->draining = true;
	accept_stop(s->accept);
	s->drain_from = loop_now(s->loop);
	s->drain_spread = spread_us;
	for (c = s->conns.next; c != &s->conns; c = c->next) {
		if (c->state != CONN_OWNED)
			continue;
		s->drain_total++;
		if (c->owner->draining != NULL)
			c->owner->draining(c->owner_arg);
	}
	server_on_drain(s);
}

/* ---- life ---- */

static void server_durations(struct http_server *s)
{
	int64_t *d = s->deadlines.duration;
	const struct conf *c = s->conf;

	d[DEADLINE_FIRST] = c->server.head_timeout;
	d[DEADLINE_IDLE] = c->server.keepalive;
	d[DEADLINE_HEAD] = c->server.head_timeout;
	d[DEADLINE_BODY] = c->server.body_timeout;
	d[DEADLINE_LINGER] = SERVER_LINGER;
	d[DEADLINE_WRITE] = c->server.write_timeout;
	d[DEADLINE_PING] = c->websocket.ping_interval;
	d[DEADLINE_PONG] = SERVER_PONG;
	d[DEADLINE_CLOSE] = SERVER_CLOSE;
	d[DEADLINE_STREAM_BODY] = c->server.body_timeout;
	d[DEADLINE_STREAM_WRITE] = c->server.write_timeout;
}

struct http_server *http_server_new(struct loop *l, const struct conf *c, struct shm_slot *slots, unsigned slot,
				    const struct http_hooks *hooks, void *user)
{
	struct http_server *s = xcalloc(1, sizeof(*s));

	s->loop = l;
	s->conf = c;
	s->slots = slots;
	s->slot = slot;
	s->hooks = hooks;
	s->user = user;
	s->refs = 1;
	s->conns.next = s->conns.prev = &s->conns;
	s->calls.next = s->calls.prev = &s->calls;
	s->date_s = -1;
	ids_random(&s->id_state, sizeof(s->id_state));
	http_cidrs_set(&s->trusted, &c->server.trusted_proxies);
	http_cidrs_set(&s->exempt, &c->limits.exempt);
	s->peers = (struct http_peers){shm_of(slots), slot};
	http_deadlines_init(&s->deadlines, l, server_on_deadline);
	server_durations(s);
	loop_timer_init(l, &s->drain_timer, server_on_drain, s);
	s->ws_in = atomic_load(&slots[slot].ws_in);
	s->ws_out = atomic_load(&slots[slot].ws_out);
	s->accept = accept_new(s);
	return s;
}

void http_server_listen(struct http_server *s, const int *fds, const unsigned *marks, size_t n, const struct tls *tls)
{
	s->tls = tls;
	accept_listen(s->accept, fds, marks, n);
}

void http_server_adopt(struct http_server *s, int fd)
{
	conn_new(s, fd, NULL);
}

void http_server_tick(struct http_server *s)
{
	accept_tick(s->accept);
	metric_set(M_HTTP_CONNECTIONS, s->count, NULL);
	metric_set(M_H2_CONNECTIONS, s->h2_conns, NULL);
	metric_set(M_H2_STREAMS, s->h2_streams, NULL);
	metric_set(M_WS_CONNECTIONS, s->sockets, NULL);
	metric_set(M_SSE_CONNECTIONS, s->streams, NULL);
}

unsigned http_server_connections(const struct http_server *s)
{
	return s->count;
}

void server_unref(struct http_server *s)
{
	BUG_ON(s->refs == 0);
	if (--s->refs > 0)
		return;
	while (s->arena_count > 0)
		arena_free(s->arenas[--s->arena_count]);
	while (s->input_count > 0)
		free(s->inputs[--s->input_count]);
	while (s->output_count > 0)
		rbuf_unref(s->outputs[--s->output_count]);
	free(s->record);
	http_memo_free(&s->memo);
	http_cidrs_free(&s->trusted);
	http_cidrs_free(&s->exempt);
	free(s);
}

/*
 * Connections are freed here; requests whose handlers still wait, and the server with them, when those have ended.
 */
void http_server_free(struct http_server *s)
{
	s->draining = true;
	s->closed = true;
	loop_timer_stop(&s->drain_timer);
	accept_free(s->accept);
	s->accept = NULL;
	while (s->conns.next != &s->conns)
		conn_close(s->conns.next);
	request_cancel_all(s, "server stops");
	conn_turn_end(s);
	http_deadlines_stop(&s->deadlines);
	server_unref(s);
}
