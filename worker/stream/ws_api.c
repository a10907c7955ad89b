/* SPDX-License-Identifier: MIT */
/*
 * The debate socket: /ws, /ws/{debate_id}, ?debate_id= (websocket.md 1 to 4). Speaks the messages of existing clients;
 * events come from topics (stream.c) through followers, one JSON object per frame. A socket without subscription
 * follows everything its workspace may read; the first subscription narrows it.
 *
 * Messages of one socket are worked off one after the other by one coroutine, so that subscribe and unsubscribe keep
 * their order although they wait for the database.
 */
#include "worker/stream/stream.h"

#include "common/clock.h"
#include "common/ids.h"
#include "common/json.h"
#include "common/log.h"
#include "common/metrics.h"
#include "worker/access/access.h"
#include "worker/debate/inbox.h"
#include "worker/identity/credential.h"
#include "worker/identity/watch.h"
#include "worker/permission/permission.h"
#include "worker/stream/snapshot.h"
#include "worker/stream/sse.h"
#include "worker/stream/topic.h"
#include "worker/worker.h"
#include "worker/ws/ws.h"

#define SOCKET_PENDING_MAX 64 /* messages waiting to be worked off */
#define SOCKET_SUBS_MAX 64    /* debates one socket may follow */
#define SOCKET_BAD_MAX 5      /* unreadable messages in a row, then 1003 (websocket.md 4) */
#define SOCKET_HELD_MAX 256
#define SOCKET_AUTH_US (10 * SEC_US) /* for the first message, if it has to bring the token */
#define SOCKET_HOLD_US (500 * MS_US)

struct socket_sub {
	struct socket_sub *next;
	struct socket *socket;
	struct follower *follower;
	int64_t replay_from; /* -1: no replay is being reported */
	char id[130];
};

struct socket_message {
	struct socket_message *next;
	size_t n;
	char text[];
};

/*
 * The beginning of a socket's life. A client that will subscribe says so right after the greeting. Until then the
 * firehose's frames wait: sent before the subscription's they would be repeated by it, or be out of order. A client
 * that must authenticate has not even been greeted.
 */
struct socket_opening {
	struct loop_timer timer;
	char *subscribe;          /* message of a subscription in the URL, or NULL */
	struct ws_message **held; /* NULL before the first */
	unsigned held_count;
	size_t held_bytes;
};

struct socket {
	struct socket *next, **link;
	struct stream *s;
	struct ws *ws;      /* NULL once closed */
	struct context ctx; /* of: */
	struct identity_watch *watch;
	char client_id[16];
	bool authenticated, v1; /* v1: subprotocol aragora-v1 */
	bool limited;           /* has sent too much */
	bool lagged;            /* was too slow: its end is announced */
	bool all;               /* has asked for everything: a subscription does not narrow it */
	struct socket_sub *subs;
	unsigned sub_count, bad;
	struct firehose *firehose;
	struct socket_opening *opening; /* NULL soon */
	struct socket_message *pending, **pending_tail;
	unsigned pending_count;
	bool working;
};

struct stream_sockets {
	struct socket *list;
	unsigned count, authenticated, subscriptions;
	struct loop_timer heartbeat;
	bool draining;
};

/* ---- counting ---- */

static void socket_count(struct stream *s, int sockets, int authenticated)
{
	struct stream_sockets *all = *stream_sockets(s);
	const struct worker *w = stream_worker(s);

	all->count += (unsigned)sockets;
	all->authenticated += (unsigned)authenticated;
	atomic_store_explicit(&w->shm->slots[w->slot].ws_clients, all->count, memory_order_relaxed);
	atomic_store_explicit(&w->shm->slots[w->slot].ws_authenticated, all->authenticated, memory_order_relaxed);
}

static void socket_count_sub(struct stream *s, int n)
{
	struct stream_sockets *all = *stream_sockets(s);
	const struct worker *w = stream_worker(s);

	all->subscriptions += (unsigned)n;
	atomic_store_explicit(&w->shm->slots[w->slot].ws_subscriptions, all->subscriptions, memory_order_relaxed);
}

/* ---- sending ---- */

/* Takes the reference of doc. */
static struct ws_message *socket_message(json_t *doc)
{
	struct arena *a = arena_new(0);
	struct ws_message *m = ws_message_text(json_text(a, doc));

	BUG_ON(m == NULL);
	json_decref(doc);
	arena_free(a);
	return m;
}

static void socket_send(const struct socket *k, json_t *doc)
{
	struct ws_message *m = socket_message(doc);

	if (k->ws != NULL)
		(void)ws_send(k->ws, m); /* control frames are few; a full queue is cut by ws */
	ws_message_unref(m);
}

static json_t *socket_frame(const char *type, json_t *data)
{
	json_t *o = json_pack("{s:s, s:o}", "type", type, "data", data);

	json_object_set_new(o, "timestamp", json_real((double)clock_wall_ms() / 1000.0));
	return o;
}

static void socket_error(const struct socket *k, int code, const char *category, const char *type, const char *text)
{
	json_t *data = json_pack("{s:s, s:i, s:s, s:s}", "message", text, "code", code, "error_category", category,
				 "error_type", type);

	/* SDK generators end at `error`: what is not fatal to a stream goes to them as a warning (websocket.md 0.11).
	 */
	socket_send(k, socket_frame(k->v1 || code < 500 ? "error" : "warning", data));
}

/* ---- followers ---- */

static bool socket_take(struct socket *k, const struct frame *f)
{
	if (k->ws == NULL)
		return false;
	return ws_send(k->ws, f->ws);
}

static void socket_failed(void *arg)
{
	const struct socket *k = arg;

	if (k->ws != NULL)
		ws_close(k->ws, WS_TRY_LATER, "the log cannot be read now; resume later");
}

/* The last step against a slow reader: after losing what is ephemeral and reading late. */
static void socket_lagged(void *arg)
{
	struct socket *k = arg;

	if (k->ws == NULL || k->lagged)
		return;
	k->lagged = true;
	log_warn("websocket", "a WebSocket that lagged for too long is closed", KV_S("client_id", k->client_id),
		 KV_I("code", WS_LAGGED), KV_I("queued", ws_queued(k->ws)));
	ws_close(k->ws, WS_LAGGED, "too slow; subscribe again with the last seq you saw");
}

static bool socket_roomy(void *arg)
{
	const struct socket *k = arg;

	return k->ws != NULL && ws_roomy(k->ws);
}

static bool sub_send(void *arg, const struct frame *f)
{
	struct socket_sub *u = arg;

	return socket_take(u->socket, f);
}

static void sub_caught_up(void *arg, int64_t cursor)
{
	struct socket_sub *u = arg;
	json_t *data;

	if (u->replay_from < 0)
		return;
	data = json_pack("{s:s, s:I, s:I}", "debate_id", u->id, "replayed_count", (json_int_t)(cursor - u->replay_from),
			 "latest_seq", (json_int_t)cursor);
	u->replay_from = -1;
	socket_send(u->socket, socket_frame("replay_end", data));
}

static void sub_failed(void *arg)
{
	const struct socket_sub *u = arg;

	socket_failed(u->socket);
}

static void sub_lagged(void *arg)
{
	const struct socket_sub *u = arg;

	socket_lagged(u->socket);
}

static bool sub_roomy(void *arg)
{
	const struct socket_sub *u = arg;

	return socket_roomy(u->socket);
}

static bool sub_full(void *arg)
{
	const struct socket_sub *u = arg;

	return u->socket->ws != NULL && ws_is_full(u->socket->ws);
}

static const struct follower_ops sub_ops = {sub_send, sub_caught_up, sub_failed, sub_lagged, sub_roomy, sub_full};

static struct socket_sub **sub_find(struct socket *k, struct str id)
{
	struct socket_sub **p;

	for (p = &k->subs; *p != NULL && !str_eqz(id, (*p)->id); p = &(*p)->next)
		;
	return p;
}

/* The frames that waited are sent, or dropped because a subscription takes their place. */
static void socket_opened(struct socket *k, bool send)
{
	struct socket_opening *o = k->opening;
	unsigned i;
	bool room = true;

	if (o == NULL)
		return;
	k->opening = NULL;
	loop_timer_stop(&o->timer);
	for (i = 0; i < o->held_count; i++) {
		if (send && k->ws != NULL)
			room = ws_send(k->ws, o->held[i]);
		ws_message_unref(o->held[i]);
	}
	free(o->held);
	free(o->subscribe);
	free(o);
	if (!room && k->ws != NULL)
		socket_lagged(k);
}

static void socket_opening_over(void *arg)
{
	struct socket *k = arg;

	if (!k->authenticated)
		ws_close(k->ws, WS_UNAUTHORIZED, "no token came");
	else if (k->working) /* perhaps at a subscription */
		loop_timer_set(&k->opening->timer, SOCKET_HOLD_US / 10);
	else
		socket_opened(k, true);
}

/* What the socket also follows by name comes from there, once. */
static bool hose_send(void *arg, const struct frame *f)
{
	struct socket *k = arg;
	struct socket_opening *o;
	size_t n = ws_message_size(f->ws);

	if (*sub_find(k, str_of(f->debate)) != NULL)
		return true;
	o = k->opening;
	if (o != NULL && (o->held_count == SOCKET_HELD_MAX ||
			  (int64_t)(o->held_bytes + n) > stream_worker(k->s)->conf->websocket.queue_bytes / 2))
		socket_opened(k, true);
	o = k->opening;
	if (o == NULL)
		return socket_take(k, f);
	if (o->held == NULL)
		o->held = xcalloc(SOCKET_HELD_MAX, sizeof(struct ws_message *));
	o->held[o->held_count++] = ws_message_ref(f->ws);
	o->held_bytes += n;
	return true;
}

static void hose_caught_up(void *arg, int64_t cursor)
{
	(void)arg;
	(void)cursor;
}

static const struct follower_ops hose_ops = {hose_send,     hose_caught_up, socket_failed,
					     socket_lagged, socket_roomy,   NULL};

static void socket_hose(struct socket *k, bool on)
{
	if (on && k->firehose == NULL) {
		k->firehose = firehose_new(k->s, &k->ctx, &hose_ops, k);
	} else if (!on && k->firehose != NULL) {
		socket_opened(k, false);
		firehose_free(k->firehose);
		k->firehose = NULL;
	}
}

static void sub_free(struct socket *k, struct socket_sub **p)
{
	struct socket_sub *u = *p;

	*p = u->next;
	follower_free(u->follower);
	free(u);
	k->sub_count--;
	socket_count_sub(k->s, -1);
}

/* ---- subscribing ---- */

/* The last event the client saw, under any of its names; -1: it named none. */
static int64_t socket_after(const json_t *m)
{
	static const char *const names[] = {"replay_from_seq", "after_seq", "last_seq", "since"};
	size_t i;

	for (i = 0; i < countof(names); i++) {
		const json_t *v = json_object_get(m, names[i]);

		if (json_is_number(v) && json_number_value(v) >= 0)
			return (int64_t)json_number_value(v);
	}
	return -1;
}

static void socket_sync(struct socket *k, const struct debate_row *row, json_t *state)
{
	json_t *sync = socket_frame("sync", state);

	json_put_str(sync, "debate_id", row->id);
	json_put_str(sync, "loop_id", row->id);
	socket_send(k, sync);
}

/* For a late-comer who will not see the event itself. */
static void socket_started(struct socket *k, struct arena *a, const struct debate_row *row)
{
	json_t *start;

	if (!str_eqz(row->status, "running") && !str_eqz(row->status, "queued"))
		return;
	start = socket_frame("debate_start", json_pack("{s:s%, s:s, s:s%, s:o}", "debate_id", row->id.p, row->id.n,
						       "status", "in_progress", "task", row->task.p, row->task.n,
						       "agents", snapshot_agents(a, row)));
	json_put_str(start, "loop_id", row->id);
	json_put_str(start, "debate_id", row->id);
	socket_send(k, start);
}

static void socket_replay_start(struct socket *k, const struct debate_row *row, int64_t after, bool gap)
{
	json_t *data =
	    json_pack("{s:s%, s:I, s:I, s:I, s:I}", "debate_id", row->id.p, row->id.n, "from_seq", (json_int_t)after,
		      "event_count", (json_int_t)(row->last_seq - after), "buffer_oldest_seq",
		      (json_int_t)(row->last_seq > 0), "buffer_latest_seq", (json_int_t)row->last_seq);

	if (gap)
		json_object_set_new(data, "gap", json_true());
	socket_send(k, socket_frame("replay_start", data));
}

/*
 * One subscription per debate: asked for again with the last event seen, it begins anew from there; without, it is only
 * acknowledged. False: nothing to do, the client has been told.
 */
static bool socket_may_follow(struct socket *k, struct str id, bool replay)
{
	struct socket_sub **p = sub_find(k, id);

	if (*p != NULL && !replay) {
		socket_send(k, socket_frame("subscribed", json_pack("{s:s%, s:I}", "debate_id", id.p, id.n, "last_seq",
								    (json_int_t)follower_cursor((*p)->follower))));
		return false;
	}
	if (*p != NULL)
		sub_free(k, p);
	if (k->sub_count < SOCKET_SUBS_MAX)
		return true;
	socket_error(k, 400, "subscription", "too_many", "this socket follows as many debates as it may");
	return false;
}

static void socket_add(struct socket *k, const struct debate_row *row, int64_t after, bool replay)
{
	struct socket_sub *u = xcalloc(1, sizeof(*u));

	u->socket = k;
	u->replay_from = -1;
	(void)snprintf(u->id, sizeof(u->id), "%.*s", STR_ARG(row->id));
	u->next = k->subs;
	k->subs = u;
	k->sub_count++;
	socket_count_sub(k->s, 1);
	u->follower = follower_new(k->s, &k->ctx, row->id, after, &sub_ops, u);
	if (!replay)
		return;
	u->replay_from = after;
	follower_report_at(u->follower, row->last_seq);
}

/* Interest first, then the head, then the log (PITFALLS 14): the follower exists before the row is read. */
CO_FN static void socket_follow(struct socket *k, struct arena *a, struct str id, int64_t after, bool from_url)
{
	struct worker *w = stream_worker(k->s);
	struct error err = ERROR_INIT;
	struct debate_row row;
	json_t *state = NULL;
	bool gap, replay, gone;

	if (!debate_get(w->db, a, &k->ctx, id, &row, &err)) {
		socket_error(k, err_status(err.code), "subscription",
			     err.code == ERR_NOT_FOUND ? "not_found" : "unavailable", err.msg);
		return;
	}
	replay = after >= 0;
	gone = stream_log_gone(w->db, a, &row, replay ? after : 0);
	gap = after > row.last_seq || (replay && gone);
	if ((!replay || gap) && !snapshot_build(w->db, a, &k->ctx, &row, &state, &err)) {
		socket_error(k, 503, "subscription", "unavailable", err.msg);
		return;
	}
	if (k->ws == NULL || !socket_may_follow(k, row.id, replay)) {
		json_decref(state);
		return;
	}
	if (!k->all)
		socket_hose(k, false);
	socket_send(k, socket_frame("subscribed", json_pack("{s:s%, s:I}", "debate_id", row.id.p, row.id.n, "last_seq",
							    (json_int_t)row.last_seq)));
	if (state != NULL)
		socket_sync(k, &row, state);
	/* By URL a young debate is replayed from its beginning: who creates and then connects misses nothing. */
	if (!replay && from_url && !gone && row.last_seq <= w->conf->debates.event_buffer)
		after = 0;
	else if (!replay || gap)
		after = row.last_seq;
	if (state != NULL && after > 0)
		socket_started(k, a, &row);
	if (replay)
		socket_replay_start(k, &row, after, gap);
	socket_add(k, &row, after, replay);
}

static struct str socket_id_of(const json_t *m)
{
	struct str id = json_get_str(m, "debate_id", STR_NONE);

	return id.n > 0 ? id : json_get_str(m, "loop_id", STR_NONE);
}

CO_FN static void on_subscribe(struct socket *k, struct arena *a, const json_t *m)
{
	const json_t *ids = json_get_arr(m, "debate_ids");
	struct str id = socket_id_of(m);
	size_t i;

	if (id.n == 0 && ids == NULL) {
		/* Channels name views of everything (websocket.md 6.4). */
		if (json_object_get(m, "channel") != NULL || json_object_get(m, "channels") != NULL) {
			k->all = true;
			socket_opened(k, true);
			socket_hose(k, true);
			socket_send(k, socket_frame("subscribed", json_pack("{s:b}", "all", 1)));
			return;
		}
		socket_error(k, 400, "validation", "missing_field", "subscribe needs debate_id");
		return;
	}
	if (id.n > 0)
		socket_follow(k, a, id, socket_after(m), json_get_bool(m, "from_url", false));
	for (i = 0; i < json_array_size(ids); i++)
		if (json_is_string(json_array_get(ids, i)))
			socket_follow(k, a, str_of(json_string_value(json_array_get(ids, i))), socket_after(m), false);
}

CO_FN static void on_unsubscribe(struct socket *k, struct arena *a, const json_t *m)
{
	struct str id = socket_id_of(m);
	struct socket_sub **p = sub_find(k, id);

	(void)a;
	if (*p != NULL)
		sub_free(k, p);
	socket_send(k, socket_frame("unsubscribed", json_pack("{s:s%}", "debate_id", id.p != NULL ? id.p : "", id.n)));
}

CO_FN static void on_subscribe_all(struct socket *k, struct arena *a, const json_t *m)
{
	(void)a;
	(void)m;
	k->all = true;
	socket_opened(k, true);
	socket_hose(k, true);
	socket_send(k, socket_frame("subscribed", json_pack("{s:b}", "all", 1)));
}

CO_FN static void on_ping(struct socket *k, struct arena *a, const json_t *m)
{
	json_t *data = json_pack("{s:I}", "server_ts", (json_int_t)clock_wall_ms());

	(void)a;
	if (json_object_get(m, "ts") != NULL)
		json_object_set(data, "client_ts", json_object_get(m, "ts"));
	socket_send(k, socket_frame("pong", data));
}

CO_FN static void on_get_loops(struct socket *k, struct arena *a, const json_t *m)
{
	struct debate_filter f = {.status = STR("running"), .limit = 100};
	struct worker *w = stream_worker(k->s);
	json_t *loops = json_array(), *o;
	struct error err = ERROR_INIT;
	struct debate_row *rows;
	int64_t total = 0;
	size_t i, n = 0;

	(void)m;
	if (!debate_list(w->db, a, &k->ctx, &f, &rows, &n, &total, &err))
		n = 0; /* a list for information; the client asks again */
	for (i = 0; i < n; i++)
		json_array_append_new(
		    loops, json_pack("{s:s%, s:s%, s:f, s:I, s:s, s:s}", "loop_id", rows[i].id.p, rows[i].id.n, "name",
				     rows[i].task.p, rows[i].task.n, "started_at", (double)rows[i].started_at / 1000.0,
				     "cycle", (json_int_t)rows[i].current_round, "phase", "debate", "path", ""));
	o = socket_frame("loop_list", json_pack("{s:O, s:I}", "loops", loops, "count", (json_int_t)n));
	json_object_set_new(o, "loops", loops); /* some clients look here */
	json_put_int(o, "count", (int64_t)n);
	socket_send(k, o);
}

static void socket_begin(struct socket *k);

/* Whoever opened the socket may not listen any more; clients know what to do with 4401 (websocket.md 7). */
static void socket_lost(void *arg, const char *why)
{
	struct socket *k = arg;

	if (k->ws == NULL)
		return;
	log_info("websocket", "a WebSocket is closed", KV_S("client_id", k->client_id), KV_S("why", why),
		 KV_STR("user_id", k->ctx.principal), KV_I("code", WS_UNAUTHORIZED));
	socket_send(
	    k, socket_frame("auth_revoked", json_pack("{s:s, s:s, s:i}", "message", why, "reason", why, "code", 401)));
	ws_close(k->ws, WS_UNAUTHORIZED, why);
}

/* What every message of a socket needs: that of its routes. */
static int socket_permission(void)
{
	return permission_find(STR("debates.read"));
}

/* From now on the socket speaks for `who`, whose credential was judged after since_us. */
static void socket_become(struct socket *k, const struct identity *who, int64_t since_us)
{
	struct identity_watch *former = k->watch;

	k->watch = identity_watch_new(stream_worker(k->s), who, since_us, socket_permission(), socket_lost, k);
	identity_apply(identity_watch_who(k->watch), &k->ctx);
	identity_watch_free(former);
}

static void socket_refuse_auth(struct socket *k, const char *reason, const char *text)
{
	metric_add(M_AUTH_FAILURES, 1, reason, NULL);
	socket_error(k, 401, "authentication", "invalid_token", text);
	if (!k->authenticated)
		ws_close(k->ws, WS_UNAUTHORIZED, text);
}

/* {"type":"auth","token":...}: the last of the four places of a token (websocket.md 1.3). It is never logged. */
CO_FN static void on_auth(struct socket *k, struct arena *a, const json_t *m)
{
	struct worker *w = stream_worker(k->s);
	struct str token = json_get_str(m, "token", STR_NONE);
	const struct identity *who = identity_anonymous(w);
	struct error err = ERROR_INIT;
	const char *reason = "invalid";
	int64_t since_us = loop_now(w->loop);
	bool first = !k->authenticated, shown = credential_plausible(w, token);

	if (!shown)
		error_set(&err, ERR_AUTH_REQUIRED, "the token is missing");
	if (!shown ? conf_auth_required(w->conf)
		   : credential_load(w, a, token, &who, &reason, &err) != CREDENTIAL_KNOWN) {
		if (k->ws != NULL)
			socket_refuse_auth(k, reason, err.msg);
		return;
	}
	/* Where the socket comes from was asked when it was opened. */
	if (who->key_networks.n > 0) {
		if (k->ws != NULL)
			socket_refuse_auth(k, "forbidden", "a key that is bound to addresses opens the socket itself");
		return;
	}
	if (k->ws == NULL)
		return;
	/* The routes have let through who comes without a credential: what they demand is asked here. */
	if (!access_allows(w, who, socket_permission())) {
		socket_refuse_auth(k, "forbidden", "this needs the permission debates.read");
		return;
	}
	if (!first && !str_eq(who->org_id, k->ctx.org_id)) {
		socket_error(k, 403, "authentication", "other_organization",
			     "this socket listens for another organization");
		return;
	}
	socket_become(k, who, since_us);
	k->authenticated = true;
	socket_send(k, socket_frame("auth", json_pack("{s:b, s:s}", "authenticated", 1, "client_id", k->client_id)));
	if (first) {
		socket_count(k->s, 0, 1);
		socket_begin(k);
	}
}

static const struct {
	const char *type;
	CO_FN void (*handler)(struct socket *k, struct arena *a, const json_t *m);
} socket_messages[] = {
    {"subscribe", on_subscribe},
    {"resume", on_subscribe},
    {"unsubscribe", on_unsubscribe},
    {"subscribe_all", on_subscribe_all},
    {"ping", on_ping},
    {"get_loops", on_get_loops},
    {"auth", on_auth},
};

/* ---- receiving ---- */

CO_FN static void socket_handle(struct socket *k, struct str text)
{
	struct arena *a = arena_new(0);
	struct error err = ERROR_INIT;
	const json_t *m = json_parse(a, text, &err);
	struct str type;
	json_t *data;
	bool done;
	size_t i;

	if (m == NULL || !json_is_object(m)) {
		socket_error(k, 400, "validation", "invalid_json",
			     m == NULL ? err.msg : "a message must be a JSON object");
		if (++k->bad >= SOCKET_BAD_MAX && k->ws != NULL)
			ws_close(k->ws, WS_UNSUPPORTED, "too many unreadable messages");
		arena_free(a);
		return;
	}
	k->bad = 0;
	type = json_get_str(m, "type", json_get_str(m, "action", STR("")));
	for (i = 0; i < countof(socket_messages); i++)
		if (str_eqz(type, socket_messages[i].type))
			break;
	if (!k->authenticated && !str_eqz(type, "auth"))
		socket_error(k, 401, "authentication", "auth_required", "the first message must be auth with a token");
	else if (i < countof(socket_messages))
		socket_messages[i].handler(k, a, m);
	else if (type.n == 0)
		socket_error(k, 400, "validation", "missing_field", "a message needs a type");
	else if (inbox_message(stream_worker(k->s), a, &k->ctx, type, m, &done, &data))
		socket_send(k, socket_frame(done ? "ack" : "error", data));
	else
		log_debug("websocket", "message of unknown type ignored", KV_STR("type", type));
	arena_free(a);
}

static void socket_free(struct socket *k)
{
	struct socket_message *m;

	while ((m = k->pending) != NULL) {
		k->pending = m->next;
		free(m);
	}
	identity_watch_free(k->watch);
	free(k);
}

CO_FN static void socket_work(void *arg)
{
	struct socket *k = arg;
	struct socket_message *m;

	while (k->ws != NULL && (m = k->pending) != NULL) {
		k->pending = m->next;
		if (k->pending == NULL)
			k->pending_tail = &k->pending;
		k->pending_count--;
		co_set_tenant(&k->ctx);
		socket_handle(k, (struct str){m->text, m->n});
		co_set_tenant(NULL);
		free(m);
	}
	k->working = false;
	if (k->ws == NULL)
		socket_free(k);
}

static void socket_queue(struct socket *k, struct str text)
{
	struct socket_message *m;

	if (k->pending_count >= SOCKET_PENDING_MAX) {
		socket_error(k, 429, "rate", "rate_limit", "too many messages are waiting; this one was dropped");
		return;
	}
	m = xmalloc(sizeof(*m) + text.n);
	m->next = NULL;
	m->n = text.n;
	memcpy(m->text, text.p, text.n);
	*k->pending_tail = m;
	k->pending_tail = &m->next;
	k->pending_count++;
	if (!k->working)
		k->working = co_spawn("websocket", socket_work, k) != NULL;
}

static void socket_on_message(void *arg, struct str text, bool binary)
{
	struct socket *k = arg;

	if (binary)
		socket_error(k, 400, "validation", "binary_not_supported", "send text messages");
	else
		socket_queue(k, text);
}

static void socket_on_drain(void *arg)
{
	struct socket *k = arg;
	struct socket_sub *u;

	for (u = k->subs; u != NULL; u = u->next)
		follower_drained(u->follower);
}

static void socket_on_limited(void *arg)
{
	struct socket *k = arg;

	if (!k->limited) /* once per socket, or a flood would fill the log too */
		log_warn("websocket", "rate_limit: messages of a WebSocket are dropped",
			 KV_S("client_id", k->client_id), KV_I("status", 429));
	k->limited = true;
	socket_error(k, 429, "rate", "rate_limit", "too many messages; this one was dropped");
}

static void socket_on_close(void *arg)
{
	struct socket *k = arg;

	k->ws = NULL;
	while (k->subs != NULL)
		sub_free(k, &k->subs);
	socket_hose(k, false);
	socket_opened(k, false);
	*k->link = k->next;
	if (k->next != NULL)
		k->next->link = k->link;
	socket_count(k->s, -1, k->authenticated ? -1 : 0);
	log_debug("websocket", "socket closed", KV_S("client_id", k->client_id));
	if (!k->working)
		socket_free(k);
}

static const struct ws_ops socket_ops = {socket_on_message, socket_on_drain, socket_on_close, socket_on_limited};

/* ---- opening ---- */

static void sockets_heartbeat(void *arg)
{
	struct stream *s = arg;
	struct stream_sockets *all = *stream_sockets(s);
	struct worker *w = stream_worker(s);
	uint32_t debates = 0, sockets = 0, i;
	struct ws_message *m;
	const struct socket *k;
	json_t *o;

	for (i = 0; i < SHM_SLOTS_MAX && i < atomic_load(&w->shm->slots_used); i++) {
		debates += atomic_load(&w->shm->slots[i].debates);
		sockets += atomic_load(&w->shm->slots[i].sockets);
	}
	o = socket_frame("heartbeat", json_pack("{s:f, s:i, s:i}", "server_time", (double)clock_wall_ms() / 1000.0,
						"active_debates", (int)debates, "connected_clients", (int)sockets));
	m = socket_message(o);
	for (k = all->list; k != NULL; k = k->next)
		if (k->authenticated)
			(void)ws_send(k->ws, m); /* a full queue is cut by ws */
	ws_message_unref(m);
	loop_timer_set(&all->heartbeat, w->conf->websocket.heartbeat);
}

static struct stream_sockets *sockets_of(struct stream *s)
{
	struct stream_sockets **p = stream_sockets(s);

	if (*p == NULL) {
		*p = xcalloc(1, sizeof(**p));
		loop_timer_init(stream_worker(s)->loop, &(*p)->heartbeat, sockets_heartbeat, s);
		loop_timer_set(&(*p)->heartbeat, stream_worker(s)->conf->websocket.heartbeat);
	}
	return *p;
}

static void socket_greet(struct socket *k)
{
	json_t *info = json_pack("{s:s, s:b, s:b, s:b, s:f}", "client_id", k->client_id, "authenticated",
				 k->authenticated, "write_access", k->authenticated, "auth_required", !k->authenticated,
				 "heartbeat_interval", (double)stream_worker(k->s)->conf->websocket.heartbeat / SEC_US);

	socket_send(k, socket_frame("connection_info", info));
}

/* The client is known: what it gets without asking. */
static void socket_begin(struct socket *k)
{
	struct socket_opening *o = k->opening;

	BUG_ON(o == NULL);
	socket_queue(k, STR("{\"type\":\"get_loops\"}"));
	if (o->subscribe != NULL) {
		socket_queue(k, str_of(o->subscribe));
		socket_opened(k, false);
	} else {
		loop_timer_set(&o->timer, SOCKET_HOLD_US);
		socket_hose(k, true);
	}
}

/* A subscription in the URL is a subscribe message like any other. */
static char *socket_subscribe_url(const struct http_request *req, struct str id)
{
	static const char *const names[] = {"after_seq", "last_seq", "replay_from_seq", "since"};
	json_t *m;
	struct arena *a;
	char *text;
	size_t i;

	if (id.n == 0)
		id = http_query(req, "debate_id").n > 0 ? http_query(req, "debate_id") : http_query(req, "loop_id");
	if (id.n == 0)
		return NULL;
	a = arena_new(0);
	m = json_pack("{s:s, s:b}", "type", "subscribe", "from_url", 1);
	json_put_str(m, "debate_id", id);
	for (i = 0; i < countof(names); i++)
		if (http_query(req, names[i]).n > 0)
			json_put_int(m, names[i], http_query_int(req, names[i], 0, INT64_MAX, 0));
	text = str_dupz(json_text(a, m));
	json_decref(m);
	arena_free(a);
	return text;
}

static struct socket *socket_new(const struct http_request *req)
{
	struct worker *w = req->user;
	struct socket *k = xcalloc(1, sizeof(*k));

	k->s = w->stream;
	k->pending_tail = &k->pending;
	socket_become(k, req->ctx.who, req->start_us);
	k->authenticated = req->ctx.who->kind != IDENTITY_ANONYMOUS || !conf_auth_required(w->conf);
	k->v1 = ws_offered(req, "aragora-v1");
	ids_hex(k->client_id, 4);
	return k;
}

static void socket_open(struct http_request *req, struct str id)
{
	struct worker *w = req->user;
	struct stream_sockets *all = sockets_of(w->stream);
	char *subscribe = socket_subscribe_url(req, id);
	struct socket *k = socket_new(req);

	k->ws = ws_accept(req, k->v1 ? "aragora-v1" : NULL, &socket_ops, k);
	if (k->ws == NULL) {
		free(subscribe);
		socket_free(k);
		return;
	}
	k->next = all->list;
	if (k->next != NULL)
		k->next->link = &k->next;
	k->link = &all->list;
	all->list = k;
	socket_count(k->s, 1, k->authenticated);
	log_info("websocket", "WebSocket opened", KV_S("client_id", k->client_id), KV_STR("debate", id));
	k->opening = xcalloc(1, sizeof(*k->opening));
	k->opening->subscribe = subscribe;
	loop_timer_init(w->loop, &k->opening->timer, socket_opening_over, k);
	socket_greet(k);
	if (k->authenticated)
		socket_begin(k);
	else
		loop_timer_set(&k->opening->timer, SOCKET_AUTH_US);
}

static void stream_ws(struct http_request *req)
{
	socket_open(req, STR_NONE);
}

static void stream_ws_debate(struct http_request *req)
{
	socket_open(req, req->params[0]);
}

/* ---- restart ---- */

void stream_sockets_drain(struct stream *s, int64_t spread_us)
{
	(void)spread_us; /* http_server_drain closes the sockets with 1012, spread */
	sockets_of(s)->draining = true;
}

void stream_sockets_close(struct stream *s)
{
	struct stream_sockets **p = stream_sockets(s);

	if (*p == NULL)
		return;
	loop_timer_stop(&(*p)->heartbeat);
	free(*p);
	*p = NULL;
}

/* ---- routes ---- */

#define WS_FLAGS (ROUTE_WS | ROUTE_INLINE | ROUTE_LATE_AUTH)

static const struct route stream_rows[] = {
    ROUTE(GET, "/ws", stream_ws, "debates:read", NONE,
	  "Debate events over WebSocket; ?debate_id= subscribes, ?after_seq= resumes", .flags = WS_FLAGS),
    ROUTE(GET, "/ws/events", stream_ws, "debates:read", NONE, "All debate events over WebSocket", .flags = WS_FLAGS),
    ROUTE(GET, "/ws/{debate_id}", stream_ws_debate, "debates:read", NONE, "Events of one debate over WebSocket",
	  .flags = WS_FLAGS),
    ROUTE(GET, "/ws/debates/{debate_id}", stream_ws_debate, "debates:read", NONE, "Events of one debate over WebSocket",
	  .flags = WS_FLAGS),
    ROUTE(GET, "/api/ws/stats", stream_stats, "debates:read", READ,
	  "Sockets and messages of this node, per worker and in total", .flags = ROUTE_INLINE),
    ROUTE(GET, "/api/debates/{id}/events", stream_events, "debates:read", READ,
	  "Event log: JSON page, or server-sent events with Accept: text/event-stream", .flags = ROUTE_STREAM,
	  .response = "EventPage"),
};
const struct route_table stream_routes = {stream_rows, countof(stream_rows)};
