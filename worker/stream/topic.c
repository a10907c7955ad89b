/* SPDX-License-Identifier: MIT */
/*
 * Topics, followers and their cursors (DESIGN 6, PITFALLS 14, 32). A topic keeps its newest frames; an event goes to a
 * follower only if it is the next after its cursor, and whoever is behind reads on from memory or from the log. Called
 * by the room's other files and by the carriers (ws_api.c, sse.c). Knows no socket and publishes nothing.
 */
#include "worker/stream/room.h"

#include "common/clock.h"
#include "common/log.h"
#include "worker/worker.h"

#define STREAM_READERS 4 /* of the log, per worker */
#define STREAM_PAGE 200
#define STREAM_KEEP_BYTES (1024 * 1024) /* of frames per topic */
#define STREAM_READ_PAUSE (500 * MS_US) /* after a failed read */
#define STREAM_READ_TRIES 20

/* ---- frames ---- */

bool frame_is_open(struct str type)
{
	static const char *const types[] = {"debate_start",
					    "round_start",
					    "round_end",
					    "phase_progress",
					    "agent_message",
					    "critique",
					    "vote",
					    "flip_detected",
					    "role_rotation",
					    "hollow_consensus",
					    "synthesis",
					    "debate_end",
					    "consensus_reached",
					    "token_start",
					    "trickster_intervention",
					    "token_delta",
					    "token_end",
					    "debate_early_terminated"};
	size_t i;

	for (i = 0; i < countof(types); i++)
		if (str_eqz(type, types[i]))
			return true;
	return false;
}

void frame_render(struct frame *f, const char *debate, int64_t seq, struct str type, struct str envelope)
{
	struct buf b = BUF_INIT;

	f->debate = debate;
	f->seq = seq;
	f->last = str_eqz(type, "debate_end");
	f->open = frame_is_open(type);
	f->ws = ws_message_text(envelope);
	BUG_ON(f->ws == NULL);
	if (seq > 0)
		buf_printf(&b, "id: %lld\n", (long long)seq);
	buf_printf(&b, "event: %.*s\ndata: ", STR_ARG(type));
	buf_add(&b, envelope); /* compact JSON has no line feed */
	buf_addz(&b, "\n\n");
	f->sse = rbuf_of(buf_str(&b));
	buf_free(&b);
}

void frame_clear(struct frame *f)
{
	ws_message_unref(f->ws);
	rbuf_unref(f->sse);
	*f = (struct frame){0};
}

static size_t frame_bytes(const struct frame *f)
{
	return ws_message_size(f->ws) + f->sse->n;
}

/* ---- delivering ---- */

void follower_send(struct follower *f, const struct frame *frame)
{
	f->full = !f->ops->send(f->arg, frame);
	if (f->full)
		f->full_us = clock_mono_us();
}

static void follower_push(struct follower *f, const struct frame *frame)
{
	follower_send(f, frame);
	f->cursor = frame->seq;
	if (f->report_at >= 0 && f->cursor >= f->report_at) {
		f->report_at = -1;
		f->ops->caught_up(f->arg, f->cursor);
	}
}

/* A carrier of many followers takes no further frame of any of them once it is full: else each would add its own. */
static bool follower_ready(struct follower *f)
{
	if (f->full || f->ops->full == NULL || !f->ops->full(f->arg))
		return !f->full;
	f->full = true;
	f->full_us = clock_mono_us();
	return false;
}

static bool follower_behind(const struct follower *f)
{
	return !f->full && (f->cursor < f->topic->tail || f->cursor < f->topic->wanted);
}

/*
 * A live or replayed event: to those for whom it is the next, the workspace's firehose among them. send() never frees
 * the follower in its own turn.
 */
static void topic_deliver(struct topic *t, const struct frame *frame)
{
	struct follower *f;

	for (f = t->followers; f != NULL; f = f->next)
		if (f->cursor + 1 == frame->seq && follower_ready(f))
			follower_push(f, frame);
	if (t->firehose && t->fired + 1 == frame->seq) {
		t->fired = frame->seq;
		topic_firehose(t, frame);
	}
}

/* Keeps at most debates.event_buffer frames and 1 MiB. */
static void topic_trim(struct topic *t)
{
	size_t keep = (size_t)t->s->w->conf->debates.event_buffer, drop = 0;

	while (t->count - drop > 1 && (t->count - drop > keep || t->bytes > STREAM_KEEP_BYTES)) {
		t->bytes -= frame_bytes(&t->ring[drop]);
		frame_clear(&t->ring[drop]);
		drop++;
	}
	if (drop > 0)
		memmove(t->ring, t->ring + drop, (t->count - drop) * sizeof(*t->ring));
	t->count -= drop;
}

/* The next event of the topic; the frame is the topic's from now on. */
static void topic_append(struct topic *t, struct frame frame)
{
	if (t->count == t->room) {
		t->room = t->room != 0 ? 2 * t->room : 16;
		t->ring = xrealloc(t->ring, t->room * sizeof(*t->ring));
	}
	t->ring[t->count++] = frame;
	t->bytes += frame_bytes(&frame);
	t->tail = frame.seq;
	t->ended = frame.last;
	t->moved_us = clock_mono_us();
	topic_deliver(t, &frame);
	topic_trim(t);
}

static void topic_event(struct topic *t, int64_t seq, struct str type, struct str envelope)
{
	struct frame frame;

	if (t->tail >= 0 && seq <= t->tail)
		return;
	if (t->tail >= 0 && seq == t->tail + 1 && envelope.n > 0) {
		frame_render(&frame, t->id, seq, type, envelope);
		topic_append(t, frame);
		return;
	}
	t->wanted = seq > t->wanted ? seq : t->wanted;
	topic_catch_up(t);
}

/* ---- reading the log ---- */

/* The lowest cursor that waits for something; -1: nobody waits. */
static int64_t topic_lowest(const struct topic *t)
{
	int64_t low = t->wanted > t->tail ? t->tail : -1;
	const struct follower *f;

	for (f = t->followers; f != NULL; f = f->next)
		if (follower_behind(f) && (low == -1 || f->cursor < low))
			low = f->cursor;
	if (t->firehose && t->fired < t->tail && (low == -1 || t->fired < low))
		low = t->fired;
	return low;
}

/* Serves from memory what the newest frames hold. True if that moved somebody. */
static bool topic_serve_ring(struct topic *t, int64_t after)
{
	size_t i;

	if (t->count == 0 || after + 1 < t->ring[0].seq || after >= t->tail)
		return false;
	for (i = (size_t)(after + 1 - t->ring[0].seq); i < t->count; i++)
		topic_deliver(t, &t->ring[i]);
	return true;
}

/* `wanted` as it was before the log was read: what was announced meanwhile is not in the page and not forgotten. */
static bool topic_page(struct topic *t, const struct stream_event *events, size_t n, int64_t after, int64_t wanted,
		       struct error *err)
{
	struct frame frame;
	size_t i;

	for (i = 0; i < n; i++) {
		if (events[i].seq != after + 1 + (int64_t)i)
			return error_set(err, ERR_INTERNAL, "the log of %s has a hole at seq %lld", t->id,
					 (long long)after + 1 + (long long)i);
		frame_render(&frame, t->id, events[i].seq, events[i].type, events[i].envelope);
		if (frame.seq == t->tail + 1) {
			topic_append(t, frame);
		} else {
			topic_deliver(t, &frame);
			frame_clear(&frame);
		}
	}
	/* A seq that is not there although announced: forgotten, or the reader would never rest. */
	if (n < STREAM_PAGE && t->wanted == wanted && t->wanted > t->tail)
		t->wanted = t->tail;
	if (n == 0 && after < t->tail)
		return error_set(err, ERR_INTERNAL, "the log of %s ends before seq %lld", t->id, (long long)t->tail);
	return true;
}

CO_FN static bool topic_first_look(struct topic *t, struct arena *a, struct error *err)
{
	struct db_rows rows;

	if (t->tail >= 0)
		return true;
	if (!db_query(t->s->w->db, a, "SELECT last_seq FROM debates WHERE id = $1 AND workspace_id = $2",
		      DB_ARGS(DB_Z(t->id), DB_Z(t->workspace)), &rows, err))
		return false;
	/* The firehose starts before the event that woke it; others start at the head and reach back by their cursors.
	 */
	t->foreign = rows.count == 0;
	if (t->tail < 0)
		t->tail = rows.count > 0 ? db_int(&rows, 0, 0) : 0;
	return true;
}

CO_FN static bool topic_read_some(struct topic *t, struct error *err)
{
	struct context ctx = {.org_id = str_of(t->org), .workspace_id = str_of(t->workspace)};
	struct arena *a = arena_new(16384);
	struct stream_event *events;
	size_t n;
	int64_t after, wanted;
	bool ok = topic_first_look(t, a, err);

	while (ok && (after = topic_lowest(t)) >= 0 && topic_serve_ring(t, after))
		;
	if (ok && topic_lowest(t) >= 0) {
		after = topic_lowest(t);
		wanted = t->wanted;
		ok = stream_read_log(t->s->w->db, a, &ctx, str_of(t->id), after, STREAM_PAGE, &events, &n, err) &&
		     topic_page(t, events, n, after, wanted, err);
	}
	arena_free(a);
	return ok;
}

static void topic_fail_followers(struct topic *t)
{
	struct follower *f, *next;

	for (f = t->followers; f != NULL; f = next) {
		next = f->next;
		f->ops->failed(f->arg);
	}
}

static void stream_next_reader(struct stream *s)
{
	struct topic *t;

	for (t = s->topics; t != NULL && s->readers < STREAM_READERS; t = t->next)
		topic_catch_up(t);
}

CO_FN static void topic_reader(void *arg)
{
	struct topic *t = arg;
	struct stream *s = t->s;
	struct error err = ERROR_INIT;
	unsigned failures = 0;

	while (!s->closing && (t->tail < 0 || topic_lowest(t) >= 0)) {
		if (topic_read_some(t, &err)) {
			failures = 0;
			continue;
		}
		log_warn("stream", "the log cannot be read", KV_S("debate", t->id), KV_S("reason", err.msg));
		if (++failures == STREAM_READ_TRIES) {
			topic_fail_followers(t);
			break;
		}
		if (co_sleep(STREAM_READ_PAUSE) != CO_TIMEOUT)
			break;
	}
	t->reading = false;
	t->idle_since_us = clock_mono_us();
	s->readers--;
	stream_next_reader(s);
}

void topic_catch_up(struct topic *t)
{
	struct stream *s = t->s;

	if (t->reading || s->closing || s->readers >= STREAM_READERS || (t->tail >= 0 && topic_lowest(t) < 0))
		return;
	t->reading = true;
	s->readers++;
	if (co_spawn("log reader", topic_reader, t) == NULL) {
		t->reading = false;
		s->readers--;
	}
}

/* ---- topics ---- */

static void topic_on_message(void *arg, struct str name, struct str message)
{
	struct topic *t = arg;
	struct stream_message m;
	struct str rest;

	(void)name;
	if (message.n == 0)
		t->look = true; /* the link to other nodes hears the topic from now on: at the next tick */
	if (message.n < sizeof(m) || t->foreign)
		return;
	memcpy(&m, message.p, sizeof(m));
	rest = str_sub(message, sizeof(m), message.n);
	if (m.kind == 'T') {
		topic_token(t, &m, rest);
		return;
	}
	t->head += !bus_from_afar(t->s->w->bus);
	topic_event(t, m.seq, str_sub(rest, 0, m.type_len), str_sub(rest, m.type_len, rest.n));
}

struct topic *topic_find(const struct stream *s, struct str debate_id)
{
	struct topic *t;

	for (t = s->topics; t != NULL && !str_eqz(debate_id, t->id); t = t->next)
		;
	return t;
}

struct topic *topic_get(struct stream *s, const struct context *ctx, struct str debate_id)
{
	char name[STREAM_NAME_MAX];
	struct topic *t;

	for (t = s->topics; t != NULL; t = t->next)
		if (str_eqz(debate_id, t->id) && str_eqz(ctx->workspace_id, t->workspace))
			return t;
	t = xcalloc(1, sizeof(*t));
	t->s = s;
	t->tail = -1;
	(void)snprintf(t->id, sizeof(t->id), "%.*s", STR_ARG(str_sub(debate_id, 0, 128)));
	(void)snprintf(t->workspace, sizeof(t->workspace), "%.*s", STR_ARG(str_sub(ctx->workspace_id, 0, 127)));
	(void)snprintf(t->org, sizeof(t->org), "%.*s", STR_ARG(str_sub(ctx->org_id, 0, 127)));
	t->sub = bus_subscribe(s->w->bus, stream_topic_name(name, debate_id), topic_on_message, t);
	t->head = bus_head(s->w->bus, str_of(name));
	t->next = s->topics;
	s->topics = t;
	return t;
}

void topic_free(struct topic *t)
{
	size_t i;

	bus_unsubscribe(t->s->w->bus, t->sub);
	for (i = 0; i < t->count; i++)
		frame_clear(&t->ring[i]);
	free(t->ring);
	free(t);
}

void topic_compare(struct topic *t, bool death)
{
	char name[STREAM_NAME_MAX];
	uint64_t head = bus_head(t->s->w->bus, stream_topic_name(name, str_of(t->id)));

	if (!death && head == t->head) {
		t->suspicious = false;
		return;
	}
	if (!death && !t->suspicious) {
		t->suspicious = true;
		return;
	}
	t->suspicious = false;
	t->head = head;
	if (t->tail >= 0)
		t->wanted = t->tail + 1;
	topic_catch_up(t);
}

/* They resume from the log when they can read again. */
void topic_lagging(const struct topic *t, int64_t now)
{
	struct follower *f;

	for (f = t->followers; f != NULL; f = f->next)
		if (f->full && now - f->full_us > t->s->w->conf->websocket.lag_timeout)
			f->ops->lagged(f->arg);
}

/* ---- followers ---- */

struct follower *follower_new(struct stream *s, const struct context *ctx, struct str debate_id, int64_t after,
			      const struct follower_ops *ops, void *arg)
{
	struct follower *f = xcalloc(1, sizeof(*f));

	f->topic = topic_get(s, ctx, debate_id);
	f->topic->idle_since_us = clock_mono_us();
	f->ops = ops;
	f->arg = arg;
	f->cursor = after;
	f->report_at = -1;
	f->next = f->topic->followers;
	f->topic->followers = f;
	topic_catch_up(f->topic);
	return f;
}

void follower_report_at(struct follower *f, int64_t seq)
{
	if (f->cursor >= seq) {
		f->ops->caught_up(f->arg, f->cursor);
		return;
	}
	f->report_at = seq;
}

int64_t follower_cursor(const struct follower *f)
{
	return f->cursor;
}

struct str follower_debate(const struct follower *f)
{
	return str_of(f->topic->id);
}

void follower_drained(struct follower *f)
{
	f->full = false;
	topic_catch_up(f->topic);
}

void follower_free(struct follower *f)
{
	struct follower **p;

	for (p = &f->topic->followers; *p != f; p = &(*p)->next)
		;
	*p = f->next;
	free(f);
}

void stream_each_topic(const struct stream *s, const struct context *ctx,
		       void (*fn)(void *arg, const char *debate_id, unsigned followers), void *arg)
{
	const struct topic *t;
	const struct follower *f;
	unsigned n;

	for (t = s->topics; t != NULL; t = t->next) {
		for (n = 0, f = t->followers; f != NULL; f = f->next)
			n++;
		if (n > 0 && str_eqz(ctx->workspace_id, t->workspace))
			fn(arg, t->id, n);
	}
}

unsigned stream_subscribers(const struct stream *s, struct str debate_id)
{
	const struct topic *t = topic_find(s, debate_id);
	const struct follower *f;
	unsigned n = 0;

	for (f = t != NULL ? t->followers : NULL; f != NULL; f = f->next)
		n++;
	return n;
}
