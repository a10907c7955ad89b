/* SPDX-License-Identifier: MIT */
/*
 * Topics, followers and their cursors (DESIGN 6, PITFALLS 5, 14, 32, 33). A topic keeps its newest frames; an event
 * goes to a follower only if it is the next after its cursor, and whoever is behind reads on from memory or from the
 * log. The bus is a hint: twice in a row a head that moved without a message means that the log is read. Called by the
 * journal (stream_committed, stream_token) and by the carriers (ws_api.c, sse.c). Knows no socket.
 */
#include "worker/stream/stream.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "common/metrics.h"
#include "worker/stream/topic.h"
#include "worker/worker.h"
#include "worker/ws/ws.h"

#define STREAM_LOG_TICKS 4 /* of them between looks at the log for silent topics */
#define STREAM_LOG_PAGE 16
#define STREAM_TICK_US (250 * MS_US) /* head comparison, DESIGN 6 */
#define STREAM_READERS 4             /* of the log, per worker */
#define STREAM_PAGE 200
#define STREAM_KEEP_BYTES (1024 * 1024)       /* of frames per topic */
#define STREAM_EVENT_MAX (BUS_DATAGRAM - 512) /* larger events travel as "topic, seq" */
#define STREAM_TOKEN_TEXT (8 * 1024)          /* of one token message; the text stands in it twice */
#define STREAM_TOKENS 16                      /* token streams a follower can have open at once */
#define STREAM_READ_PAUSE (500 * MS_US)       /* after a failed read */
#define STREAM_READ_TRIES 20

/* Wire form on the bus: header, then the envelope. */
struct stream_message {
	char kind; /* 'E' event, 'H' hint, 'T' token */
	uint8_t token_kind;
	uint16_t type_len;
	int32_t attempt;
	int64_t seq; /* of the event; with a token the seq that it follows */
	uint64_t token_id;
	int64_t agent_seq; /* of a delta; with an end: of the last delta */
};

/* A token stream that somebody has had without a hole so far. */
struct token_stream {
	uint64_t id; /* 0: free */
	int attempt;
	int64_t last; /* agent_seq of the newest delta */
};

struct token_streams {
	struct token_stream v[STREAM_TOKENS];
};

struct follower {
	struct follower *next; /* in the topic */
	struct topic *topic;
	const struct follower_ops *ops;
	void *arg;
	int64_t cursor;
	int64_t report_at; /* -1: nothing to report */
	bool full;         /* the carrier's queue is above its limit */
	int64_t full_us;   /* since when */
	struct token_streams tokens;
};

/* A carrier that follows everything of a workspace. */
struct firehose {
	struct firehose *next, **link; /* of the source's */
	struct source *source;
	struct token_streams *tokens; /* NULL before the first */
	const struct follower_ops *ops;
	void *arg;
};

/* What the carriers of a workspace's firehose share. */
struct source {
	struct source *next;
	struct firehose *carriers;
	struct stream *s;
	struct context ctx;
	char workspace[128];
	struct bus_sub *sub;
	int64_t joined_ms;
	int64_t sound_ms; /* the last time that every hint had come */
	uint64_t head;    /* of the workspace's cell, accounted for by hints and looks */
	bool primed;      /* the debates that ran when it joined are known */
	bool look, suspicious;
};

struct topic {
	struct topic *next;
	struct stream *s;
	char id[130];
	char workspace[128], org[128];
	struct bus_sub *sub;
	struct follower *followers;
	struct frame *ring; /* the newest frames, ascending without holes, ring[count-1].seq == tail */
	size_t count, room, bytes;
	int64_t tail;   /* newest seq known without a hole; -1 before the first look at the log */
	int64_t wanted; /* a seq that is known to exist */
	uint64_t head;  /* cell value accounted for by messages and reads */
	bool suspicious, reading, firehose;
	bool look;        /* it may have moved on another node: to be compared with the log */
	bool ended;       /* its last event is in the tail */
	int64_t moved_us; /* when an event came last */
	int64_t idle_since_us;
};

struct stream {
	struct worker *w;
	struct topic *topics;
	struct source *sources;
	struct stream_sockets *sockets;
	struct loop_timer tick;
	unsigned readers, ticks;
	int64_t ticked_us;
	uint64_t deaths;
	bool cluster; /* other nodes may commit events, which move no cell here */
	bool closing, comparing, looking;
};

static void topic_read(struct topic *t);
static void source_compare(struct source *h, bool death);

/* ---- frames ---- */

void frame_render(struct frame *f, int64_t seq, struct str type, struct str envelope)
{
	struct buf b = BUF_INIT;

	f->seq = seq;
	f->last = str_eqz(type, "debate_end");
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

static void follower_send(struct follower *f, const struct frame *frame)
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

static bool follower_behind(const struct follower *f)
{
	return !f->full && (f->cursor < f->topic->tail || f->cursor < f->topic->wanted);
}

/* A live or replayed event: to those for whom it is the next. send() never frees the follower in its own turn. */
static void topic_deliver(struct topic *t, const struct frame *frame)
{
	struct follower *f;

	for (f = t->followers; f != NULL; f = f->next)
		if (f->cursor + 1 == frame->seq && !f->full)
			follower_push(f, frame);
}

static struct source *source_find(const struct stream *s, const char *workspace)
{
	struct source *h;

	for (h = s->sources; h != NULL && strcmp(h->workspace, workspace) != 0; h = h->next)
		;
	return h;
}

static void topic_firehose(struct topic *t, const struct frame *frame)
{
	const struct source *source = t->firehose ? source_find(t->s, t->workspace) : NULL;
	struct firehose *h;

	for (h = source != NULL ? source->carriers : NULL; h != NULL; h = h->next)
		if (!h->ops->send(h->arg, frame))
			h->ops->lagged(h->arg);
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
	frame.debate = t->id;
	t->ring[t->count++] = frame;
	t->bytes += frame_bytes(&frame);
	t->tail = frame.seq;
	t->ended = frame.last;
	t->moved_us = clock_mono_us();
	topic_deliver(t, &frame);
	topic_firehose(t, &frame);
	topic_trim(t);
}

static void topic_event(struct topic *t, int64_t seq, struct str type, struct str envelope)
{
	struct frame frame;

	if (t->tail >= 0 && seq <= t->tail)
		return;
	if (t->tail >= 0 && seq == t->tail + 1 && envelope.n > 0) {
		frame_render(&frame, seq, type, envelope);
		topic_append(t, frame);
		return;
	}
	t->wanted = seq > t->wanted ? seq : t->wanted;
	topic_read(t);
}

/* ---- ephemeral tokens ---- */

static struct token_stream *tokens_find(struct token_streams *k, uint64_t id)
{
	size_t i;

	for (i = 0; i < STREAM_TOKENS && k->v[i].id != id; i++)
		;
	return i < STREAM_TOKENS ? &k->v[i] : NULL;
}

/* A place for a new stream; the oldest one gives way, its end was lost. */
static struct token_stream *tokens_open(struct token_streams *k)
{
	memmove(k->v, k->v + 1, (STREAM_TOKENS - 1) * sizeof(k->v[0]));
	return &k->v[STREAM_TOKENS - 1];
}

/*
 * Who watches gets a token stream from its start and without a hole, or no more of it: a client that counts would wait
 * for the missing piece until the end (PITFALLS 23). True: the frame is to be sent. `fits`: there is room, and what the
 * token follows has been seen.
 */
static bool tokens_pass(struct token_streams *k, const struct stream_message *m, bool fits)
{
	struct token_stream *open = tokens_find(k, m->token_id);

	if (m->token_kind == TOKEN_START) {
		if (fits)
			*(open != NULL ? open : tokens_open(k)) = (struct token_stream){m->token_id, m->attempt, 0};
		else if (open != NULL)
			open->id = 0;
		return fits;
	}
	if (open == NULL || open->attempt != m->attempt)
		return false;
	open->last += m->token_kind == TOKEN_DELTA;
	fits = fits && open->last == m->agent_seq;
	if (!fits || m->token_kind == TOKEN_FINISH)
		open->id = 0;
	return fits;
}

/* The first to go when a reader is slow: nothing ephemeral is put on top of a queue that is already long. */
static bool ops_roomy(const struct follower_ops *ops, void *arg)
{
	return ops->roomy == NULL || ops->roomy(arg);
}

static void stream_dropped(const struct stream *s)
{
	metric_add(M_STREAM_DROPPED, 1, NULL);
	atomic_fetch_add_explicit(&s->w->shm->slots[s->w->slot].ws_dropped, 1, memory_order_relaxed);
}

static uint64_t stream_hash(struct str s)
{
	uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a */
	size_t i;

	for (i = 0; i < s.n; i++)
		h = (h ^ (unsigned char)s.p[i]) * UINT64_C(1099511628211);
	return h | 1;
}

static const char *const token_types[] = {"token_start", "token_delta", "token_end"};

static void topic_token(struct topic *t, const struct stream_message *m, struct str envelope)
{
	const struct source *source = t->firehose ? source_find(t->s, t->workspace) : NULL;
	struct frame frame = {0};
	struct follower *f;
	struct firehose *h;
	bool roomy;

	if (m->token_kind > TOKEN_FINISH)
		return;
	frame_render(&frame, 0, str_of(token_types[m->token_kind]), envelope);
	frame.debate = t->id;
	for (f = t->followers; f != NULL; f = f->next) {
		roomy = !f->full && ops_roomy(f->ops, f->arg);
		if (tokens_pass(&f->tokens, m, roomy && f->cursor >= m->seq))
			follower_send(f, &frame);
		else if (!roomy)
			stream_dropped(t->s);
	}
	for (h = source != NULL ? source->carriers : NULL; h != NULL; h = h->next) {
		if (h->tokens == NULL)
			h->tokens = xcalloc(1, sizeof(*h->tokens));
		roomy = ops_roomy(h->ops, h->arg);
		if (tokens_pass(h->tokens, m, roomy && t->tail >= m->seq))
			(void)h->ops->send(h->arg, &frame); /* a full queue shows at the next event */
		else if (!roomy)
			stream_dropped(t->s);
	}
	frame_clear(&frame);
}

/* ---- the bus ---- */

static void topic_on_message(void *arg, struct str name, struct str message)
{
	struct topic *t = arg;
	struct stream_message m;
	struct str rest;

	(void)name;
	if (message.n == 0)
		t->look = true; /* the link to other nodes hears the topic from now on: at the next tick */
	if (message.n < sizeof(m))
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

static struct str stream_topic_name(char out[136], struct str debate_id)
{
	int n = snprintf(out, 136, "d:%.*s", STR_ARG(str_sub(debate_id, 0, 128)));

	return (struct str){out, (size_t)n};
}

static struct str stream_workspace_name(char out[136], struct str workspace)
{
	int n = snprintf(out, 136, "w:%.*s", STR_ARG(str_sub(workspace, 0, 120)));

	return (struct str){out, (size_t)n};
}

void stream_committed(struct stream *s, const struct stream_event *events, size_t n)
{
	struct buf b = BUF_INIT;
	char name[136], ws[136];
	size_t i;

	if (n > 0) {
		/* First the firehose's hint: from this seq on the debate is followed, before its events arrive. */
		buf_printf(&b, "%lld %.*s", (long long)events[0].seq, STR_ARG(events[0].debate_id));
		bus_bump(s->w->bus, stream_workspace_name(ws, events[0].workspace_id));
		bus_publish(s->w->bus, str_of(ws), buf_str(&b));
	}
	for (i = 0; i < n; i++) {
		const struct stream_event *e = &events[i];
		bool whole = e->envelope.n + e->type.n < STREAM_EVENT_MAX;
		struct stream_message m = {.kind = whole ? 'E' : 'H', .type_len = (uint16_t)e->type.n, .seq = e->seq};

		buf_clear(&b);
		buf_add(&b, (struct str){(const char *)&m, sizeof(m)});
		buf_add(&b, e->type);
		if (whole)
			buf_add(&b, e->envelope);
		bus_bump(s->w->bus, stream_topic_name(name, e->debate_id));
		bus_publish(s->w->bus, str_of(name), buf_str(&b));
	}
	buf_free(&b);
}

static json_t *stream_token_data(const struct stream_token *t)
{
	json_t *data = json_object();

	json_put_str(data, "debate_id", t->debate_id);
	json_put_str(data, "agent", t->agent);
	json_put_str(data, "task_id", t->task_id);
	json_put_int(data, "attempt", t->attempt);
	json_put_int(data, "after_seq", t->after_seq);
	json_put_int(data, "round_number", t->round);
	if (t->kind == TOKEN_DELTA) {
		json_put_str(data, "token", t->text);
		json_put_str(data, "delta", t->text);
		json_put_int(data, "seq", t->agent_seq);
	} else if (t->kind == TOKEN_FINISH) {
		/* A long text comes with the durable message that follows; the end itself must fit into a datagram. */
		struct str full = t->text.n <= STREAM_TOKEN_TEXT ? t->text : STR("");

		json_put_str(data, "full_response", full);
		json_put_str(data, "full_content", full);
		json_object_set_new(data, "truncated", json_boolean(full.n < t->text.n));
	}
	return data;
}

void stream_token(struct stream *s, const struct stream_token *t)
{
	char name[136];
	struct str topic = stream_topic_name(name, t->debate_id), envelope;
	struct buf b = BUF_INIT;
	struct arena *a;
	json_t *data;
	struct stream_message m = {.kind = 'T',
				   .token_kind = (uint8_t)t->kind,
				   .attempt = t->attempt,
				   .seq = t->after_seq,
				   .token_id = stream_hash(t->debate_id) ^ (stream_hash(t->task_id) << 1),
				   .agent_seq = t->agent_seq};

	if (!bus_wanted(s->w->bus, topic))
		return; /* whoever comes in the middle of an answer gets none of its tokens */
	a = arena_new(0);
	data = stream_token_data(t);
	envelope = stream_envelope(a, t->debate_id, 0, str_of(token_types[t->kind]), t->agent, t->round,
				   t->kind == TOKEN_DELTA ? t->agent_seq : 0, clock_wall_ms(), t->task_id, data);
	buf_add(&b, (struct str){(const char *)&m, sizeof(m)});
	buf_add(&b, envelope);
	if (b.n < STREAM_EVENT_MAX) /* else the hole ends this stream for all */
		bus_publish(s->w->bus, topic, buf_str(&b));
	buf_free(&b);
	json_decref(data);
	arena_free(a);
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
		frame_render(&frame, events[i].seq, events[i].type, events[i].envelope);
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
	if (t->tail < 0)
		t->tail = rows.count > 0 ? db_int(&rows, 0, 0) : 0;
	return true;
}

CO_FN static bool topic_read_some(struct topic *t, struct error *err)
{
	struct context ctx = {STR_NONE, str_of(t->org), str_of(t->workspace), STR_NONE};
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
		topic_read(t);
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

/* Starts a reader if somebody waits and none is at it. */
static void topic_read(struct topic *t)
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

static struct topic *topic_find(const struct stream *s, struct str debate_id)
{
	struct topic *t;

	for (t = s->topics; t != NULL && !str_eqz(debate_id, t->id); t = t->next)
		;
	return t;
}

static struct topic *topic_get(struct stream *s, const struct context *ctx, struct str debate_id)
{
	struct topic *t = topic_find(s, debate_id);
	char name[136];

	if (t != NULL)
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

static void topic_free(struct topic *t)
{
	size_t i;

	bus_unsubscribe(t->s->w->bus, t->sub);
	for (i = 0; i < t->count; i++)
		frame_clear(&t->ring[i]);
	free(t->ring);
	free(t);
}

/* Two looks in a row at a head that messages do not explain: the log is read. After a death at once. */
static void topic_compare(struct topic *t, bool death)
{
	char name[136];
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
	topic_read(t);
}

/*
 * Who runs the debate may share neither mailboxes nor cells with us: a worker of another node, or one whose master died
 * and that finishes while the next master's workers already serve. For topics that have been silent the log says where
 * they stand, many of them in one query (PITFALLS 5c).
 */
static bool topic_silent(const struct topic *t, int64_t now)
{
	return (t->followers != NULL || t->firehose) && t->tail >= 0 && !t->ended &&
	       (t->look || now - t->moved_us > SEC_US);
}

static void stream_heads(struct stream *s, const struct db_rows *rows)
{
	size_t i;

	for (i = 0; i < rows->count; i++) {
		struct topic *t = topic_find(s, db_str(rows, i, 0));
		int64_t head = db_int(rows, i, 1);

		if (t == NULL)
			continue;
		t->ended = !db_null(rows, i, 2) && t->tail >= head;
		if (head > t->tail) {
			t->wanted = head > t->wanted ? head : t->wanted;
			topic_read(t);
		}
	}
}

CO_FN static void stream_compare_log(void *arg)
{
	struct stream *s = arg;
	struct arena *a = arena_new(0);
	struct error err = ERROR_INIT;
	int64_t now = clock_mono_us();
	struct db_val *ids;
	struct db_rows rows;
	struct topic *t;
	size_t i, n = 0, room = 0;

	for (t = s->topics; t != NULL; t = t->next)
		room += topic_silent(t, now);
	ids = arena_zalloc(a, (room + STREAM_LOG_PAGE) * sizeof(*ids));
	for (t = s->topics; t != NULL; t = t->next) {
		if (!topic_silent(t, now))
			continue;
		ids[n++] = DB_S(arena_str(a, str_of(t->id)));
		t->look = false;
	}
	for (i = n; i < n + STREAM_LOG_PAGE && n > 0; i++)
		ids[i] = ids[0];
	for (i = 0; i < n && !s->closing; i += STREAM_LOG_PAGE) {
		if (!db_query(s->w->db, a,
			      "SELECT id, last_seq, completed_at FROM debates WHERE id IN"
			      " ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
			      &ids[i], STREAM_LOG_PAGE, &rows, &err))
			break; /* the next look is in a second */
		stream_heads(s, &rows);
	}
	arena_free(a);
	s->comparing = false;
}

static void stream_look_at_log(struct stream *s, int64_t now)
{
	const struct topic *t;

	for (t = s->topics; t != NULL && !topic_silent(t, now); t = t->next)
		;
	if (t == NULL || s->comparing || s->closing)
		return;
	s->comparing = true;
	if (co_spawn("heads", stream_compare_log, s) == NULL)
		s->comparing = false;
}

#define STREAM_TOPIC_IDLE (10 * SEC_US) /* a topic without followers is kept that long: they may come back */

/* Who has not come back from a full queue for long is sent away, to resume from the log when it can read again. */
static void topic_lagging(const struct topic *t, int64_t now)
{
	struct follower *f;

	for (f = t->followers; f != NULL; f = f->next)
		if (f->full && now - f->full_us > t->s->w->conf->websocket.lag_timeout)
			f->ops->lagged(f->arg);
}

static void stream_tick(void *arg)
{
	struct stream *s = arg;
	uint64_t deaths = atomic_load(&s->w->shm->deaths);
	int64_t now = clock_mono_us();
	/* A process that did not run for a while has not been idle: what came meanwhile is looked at first. */
	int64_t slept = now - s->ticked_us > SEC_US ? now - s->ticked_us : 0;
	struct topic **p = &s->topics, *t;
	struct source *h;
	int64_t topics = 0;
	bool look = ++s->ticks % STREAM_LOG_TICKS == 0;

	s->ticked_us = now;
	while ((t = *p) != NULL) {
		look = look || (t->look && topic_silent(t, now));
		t->idle_since_us += slept;
		topic_compare(t, deaths != s->deaths);
		topic_lagging(t, now);
		/* For the firehose a topic is kept until its debate has ended: running ones are few. */
		if (t->followers != NULL || t->reading || (t->firehose && s->sources != NULL && !t->ended))
			t->idle_since_us = now;
		if (now - t->idle_since_us > STREAM_TOPIC_IDLE) {
			*p = t->next;
			topic_free(t);
		} else {
			p = &t->next;
			topics++;
		}
	}
	metric_set(M_STREAM_TOPICS, topics, NULL);
	for (h = s->sources; h != NULL; h = h->next)
		source_compare(h, deaths != s->deaths || (s->cluster && s->ticks % STREAM_LOG_TICKS == 0));
	s->deaths = deaths;
	if (look)
		stream_look_at_log(s, now);
	loop_timer_set(&s->tick, STREAM_TICK_US);
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
	topic_read(f->topic);
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
	topic_read(f->topic);
}

void follower_free(struct follower *f)
{
	struct follower **p;

	for (p = &f->topic->followers; *p != f; p = &(*p)->next)
		;
	*p = f->next;
	free(f);
}

/* ---- the firehose ---- */

/* From `after` on the topic goes to the firehose; what is in memory already goes at once. */
static void topic_to_firehose(struct topic *t, int64_t after, int64_t head)
{
	size_t i;

	if (t->firehose)
		return;
	t->firehose = true;
	if (t->tail < 0)
		t->tail = after;
	for (i = 0; i < t->count; i++)
		if (t->ring[i].seq > after)
			topic_firehose(t, &t->ring[i]);
	t->wanted = head > t->wanted ? head : t->wanted;
	topic_read(t);
}

/* "<seq> <debate id>": a debate of the workspace has an event; from here on it is followed without holes. */
static void source_on_message(void *arg, struct str name, struct str message)
{
	struct source *h = arg;
	struct str rest = message, number;
	uint64_t seq;

	(void)name;
	h->head += !bus_from_afar(h->s->w->bus);
	if (!str_split(&rest, ' ', &number) || !str_to_u64(number, INT64_MAX, &seq) || rest.n == 0 || seq == 0)
		return;
	/* Once all debates that ran at the beginning are known, an unknown one is new and is told from its beginning.
	 */
	topic_to_firehose(topic_get(h->s, &h->ctx, rest), h->primed ? 0 : (int64_t)seq - 1, (int64_t)seq);
}

/* Between an end and its hint. A topic outlives its debate by more, or what was shown would be shown again. */
#define FIREHOSE_SLACK_MS 2000

/*
 * Which debates of the workspace run, or have ended of late: at the beginning those are followed from where they stand;
 * later, when the workspace's cell moved without a hint, those that are new from their beginning.
 */
CO_FN static void source_look(void *arg)
{
	struct stream *s = arg;
	struct arena *a = arena_new(0);
	struct error err = ERROR_INIT;
	struct source *h;
	struct db_rows rows;
	size_t i;
	bool ok = true;

	while (ok && !s->closing) {
		char workspace[sizeof(h->workspace)];
		int64_t since, back, began = clock_wall_ms();

		for (h = s->sources; h != NULL && !h->look; h = h->next)
			;
		if (h == NULL)
			break;
		h->look = false;
		since = h->joined_ms;
		back = h->sound_ms - FIREHOSE_SLACK_MS;
		(void)snprintf(workspace, sizeof(workspace), "%s", h->workspace);
		ok = db_query(
		    s->w->db, a,
		    "SELECT id, last_seq, created_at FROM debates WHERE workspace_id = $1 AND"
		    " (status IN ('queued', 'running') OR completed_at >= $2) ORDER BY created_at DESC LIMIT 1000",
		    DB_ARGS(DB_Z(workspace), DB_I(since > back ? since : back)), &rows, &err);
		h = source_find(s, workspace);
		if (!ok && h != NULL)
			h->look = true; /* at the next tick */
		for (i = 0; ok && h != NULL && i < rows.count; i++)
			topic_to_firehose(topic_get(s, &h->ctx, db_str(&rows, i, 0)),
					  db_int(&rows, i, 2) >= since ? 0 : db_int(&rows, i, 1), db_int(&rows, i, 1));
		if (ok && h != NULL) {
			h->primed = true;
			h->sound_ms = began;
		}
	}
	arena_free(a);
	s->looking = false;
}

static void stream_look_for_sources(struct stream *s)
{
	if (s->looking || s->closing)
		return;
	s->looking = true;
	if (co_spawn("firehose", source_look, s) == NULL)
		s->looking = false;
}

/*
 * As topic_compare, for the cells of workspaces; who is not primed yet looks again too. Other nodes move no cell: with
 * them only a look at the log, once a second, says that every hint has come.
 */
static void source_compare(struct source *h, bool death)
{
	char name[136];
	uint64_t head = bus_head(h->s->w->bus, stream_workspace_name(name, str_of(h->workspace)));

	if (!death && head == h->head && h->primed && !h->look) {
		h->suspicious = false;
		if (!h->s->cluster)
			h->sound_ms = clock_wall_ms();
		return;
	}
	if (!death && !h->suspicious) {
		h->suspicious = true;
		return;
	}
	h->suspicious = false;
	h->head = head;
	h->look = true;
	stream_look_for_sources(h->s);
}

static struct source *source_get(struct stream *s, struct str workspace)
{
	struct source *h;
	char text[sizeof(h->workspace)], name[136];

	(void)snprintf(text, sizeof(text), "%.*s", STR_ARG(str_sub(workspace, 0, sizeof(text) - 1)));
	h = source_find(s, text);
	if (h != NULL)
		return h;
	h = xcalloc(1, sizeof(*h));
	h->s = s;
	h->joined_ms = h->sound_ms = clock_wall_ms();
	memcpy(h->workspace, text, sizeof(text));
	h->ctx = (struct context){STR_NONE, STR("default"), str_of(h->workspace), STR_NONE};
	h->sub = bus_subscribe(s->w->bus, stream_workspace_name(name, workspace), source_on_message, h);
	h->head = bus_head(s->w->bus, str_of(name));
	h->next = s->sources;
	s->sources = h;
	h->look = true;
	stream_look_for_sources(s);
	return h;
}

static void source_free(struct source *h)
{
	struct source **p;

	for (p = &h->s->sources; *p != h; p = &(*p)->next)
		;
	*p = h->next;
	bus_unsubscribe(h->s->w->bus, h->sub);
	free(h);
}

struct firehose *firehose_new(struct stream *s, const struct context *ctx, const struct follower_ops *ops, void *arg)
{
	struct firehose *h = xcalloc(1, sizeof(*h));

	h->ops = ops;
	h->arg = arg;
	h->source = source_get(s, ctx->workspace_id);
	h->next = h->source->carriers;
	if (h->next != NULL)
		h->next->link = &h->next;
	h->link = &h->source->carriers;
	h->source->carriers = h;
	return h;
}

void firehose_free(struct firehose *h)
{
	*h->link = h->next;
	if (h->next != NULL)
		h->next->link = h->link;
	if (h->source->carriers == NULL)
		source_free(h->source);
	free(h->tokens);
	free(h);
}

/* ---- the room ---- */

struct worker *stream_worker(struct stream *s)
{
	return s->w;
}

struct stream_sockets **stream_sockets(struct stream *s)
{
	return &s->sockets;
}

struct stream *stream_open(struct worker *w)
{
	struct stream *s = xcalloc(1, sizeof(*s));
	struct shm_slot *slot = &w->shm->slots[w->slot];

	/* A former owner may have died with sockets open. */
	atomic_store(&slot->ws_open, 0);
	atomic_store(&slot->ws_authenticated, 0);
	atomic_store(&slot->ws_subscriptions, 0);
	atomic_store(&slot->ws_lagging, 0);

	s->w = w;
	s->cluster = w->redis != NULL || w->conf->storage.backend != 0;
	s->deaths = atomic_load(&w->shm->deaths);
	s->ticked_us = clock_mono_us();
	loop_timer_init(w->loop, &s->tick, stream_tick, s);
	loop_timer_set(&s->tick, STREAM_TICK_US);
	return s;
}

void stream_close(struct stream *s)
{
	struct topic *t;

	s->closing = true;
	loop_timer_stop(&s->tick);
	stream_sockets_close(s);
	while ((t = s->topics) != NULL) {
		s->topics = t->next;
		topic_free(t);
	}
	free(s);
}

void stream_each_topic(const struct stream *s, void (*fn)(void *arg, const char *debate_id, unsigned followers),
		       void *arg)
{
	const struct topic *t;
	const struct follower *f;
	unsigned n;

	for (t = s->topics; t != NULL; t = t->next) {
		for (n = 0, f = t->followers; f != NULL; f = f->next)
			n++;
		if (n > 0)
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

void stream_drain(struct stream *s, int64_t spread_us)
{
	stream_sockets_drain(s, spread_us);
}
