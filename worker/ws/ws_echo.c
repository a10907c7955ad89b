/* SPDX-License-Identifier: MIT */
/*
 * For tests of the protocol, behind websocket.echo: /ws/echo says back what it hears, /ws/echo/{room} says it to all
 * who are in the room, on every worker, by the same path as a broadcast of events. It keeps nothing and means nothing.
 */
#include "common/bus.h"
#include "common/conf.h"
#include "worker/http/route.h"
#include "worker/worker.h"
#include "worker/ws/ws.h"

#define ECHO_ROOM_MAX 64

struct echo_room {
	struct echo_room *next;
	struct bus *bus;
	struct bus_sub *sub;
	struct echo *members;
	char topic[ECHO_ROOM_MAX + 8];
};

struct echo {
	struct echo *next; /* in the room */
	struct echo_room *room;
	struct ws *ws;
};

static struct echo_room *echo_rooms; /* of this worker */

/* ---- one for oneself ---- */

static void echo_on_message(void *arg, struct str text, bool binary)
{
	struct echo *e = arg;
	struct ws_message *m = binary ? ws_message_binary(text) : ws_message_text(text);

	if (m == NULL) {
		ws_close(e->ws, WS_INTERNAL, "out of memory");
		return;
	}
	(void)ws_send(e->ws, m);
	ws_message_unref(m);
	ws_pause_if_full(e->ws);
}

static void echo_on_close(void *arg)
{
	free(arg);
}

static const struct ws_ops echo_ops = {.on_message = echo_on_message, .on_close = echo_on_close};

/* ---- a room ---- */

static void room_on_message(void *arg, struct str topic, struct str message)
{
	const struct echo_room *r = arg;
	struct ws_message *m;
	const struct echo *e;

	(void)topic;
	if (message.n == 0 && bus_from_afar(r->bus))
		return; /* other nodes are heard from now on; a room keeps nothing that was missed */
	m = ws_message_text(message);
	for (e = r->members; m != NULL && e != NULL; e = e->next)
		if (ws_roomy(e->ws))
			(void)ws_send(e->ws, m);
	ws_message_unref(m);
}

static void echo_on_room_message(void *arg, struct str text, bool binary)
{
	const struct echo *e = arg;

	if (binary || text.n > BUS_DATAGRAM / 2)
		ws_close(e->ws, WS_UNSUPPORTED, "a room takes texts of up to 16 KiB");
	else
		bus_publish(e->room->bus, str_of(e->room->topic), text);
}

static void echo_on_room_close(void *arg)
{
	struct echo *e = arg, **p;
	struct echo_room *r = e->room, **q;

	for (p = &r->members; *p != e; p = &(*p)->next)
		;
	*p = e->next;
	free(e);
	if (r->members != NULL)
		return;
	for (q = &echo_rooms; *q != r; q = &(*q)->next)
		;
	*q = r->next;
	bus_unsubscribe(r->bus, r->sub);
	free(r);
}

static const struct ws_ops echo_room_ops = {.on_message = echo_on_room_message, .on_close = echo_on_room_close};

static struct echo_room *room_get(struct bus *bus, struct str name)
{
	char topic[sizeof(echo_rooms->topic)];
	struct echo_room *r;

	(void)snprintf(topic, sizeof(topic), "echo:%.*s", STR_ARG(str_sub(name, 0, ECHO_ROOM_MAX)));
	for (r = echo_rooms; r != NULL && strcmp(r->topic, topic) != 0; r = r->next)
		;
	if (r != NULL)
		return r;
	r = xcalloc(1, sizeof(*r));
	memcpy(r->topic, topic, sizeof(topic));
	r->bus = bus;
	r->sub = bus_subscribe(bus, str_of(topic), room_on_message, r);
	r->next = echo_rooms;
	echo_rooms = r;
	return r;
}

/* ---- routes ---- */

static bool echo_allowed(struct http_request *req)
{
	const struct worker *w = req->user;
	struct error err = ERROR_INIT;

	if (w->conf->websocket.echo)
		return true;
	error_set(&err, ERR_NOT_FOUND, "no such path");
	http_reply_error(req, &err);
	return false;
}

static void echo_open(struct http_request *req)
{
	struct echo *e;

	if (!echo_allowed(req))
		return;
	e = xcalloc(1, sizeof(*e));
	e->ws = ws_accept(req, NULL, &echo_ops, e);
	if (e->ws == NULL)
		free(e);
}

static void echo_open_room(struct http_request *req)
{
	struct worker *w = req->user;
	struct echo *e;

	if (!echo_allowed(req))
		return;
	e = xcalloc(1, sizeof(*e));
	e->ws = ws_accept(req, NULL, &echo_room_ops, e);
	if (e->ws == NULL) {
		free(e);
		return;
	}
	e->room = room_get(w->bus, req->params[0]);
	e->next = e->room->members;
	e->room->members = e;
}

#define ECHO_FLAGS (ROUTE_PUBLIC | ROUTE_WS | ROUTE_INLINE)

static const struct route ws_rows[] = {
    ROUTE(GET, "/ws/echo", echo_open, NULL, NONE, "Echo over WebSocket, for tests of the protocol; with websocket.echo",
	  .flags = ECHO_FLAGS),
    ROUTE(GET, "/ws/echo/{room}", echo_open_room, NULL, NONE,
	  "Texts for all in the room over WebSocket, for measurements; with websocket.echo", .flags = ECHO_FLAGS),
};
const struct route_table ws_routes = {ws_rows, countof(ws_rows)};
