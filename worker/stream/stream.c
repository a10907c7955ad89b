/* SPDX-License-Identifier: MIT */
/*
 * The room as a whole: publishing what was committed, the tick that compares heads with cells and with the log
 * (PITFALLS 5), opening and closing. The bus is a hint: twice in a row a head that moved without a message means that
 * the log is read. Called by the journal (stream_committed) and by the worker. Topics are in topic.c.
 */
#include "worker/stream/room.h"

#include "common/clock.h"
#include "common/metrics.h"
#include "common/tenant.h"
#include "worker/worker.h"

#define STREAM_LOG_TICKS 4 /* of them between looks at the log for silent topics */
#define STREAM_LOG_PAGE 16
#define STREAM_TICK_US (250 * MS_US)    /* head comparison, DESIGN 6 */
#define STREAM_TOPIC_IDLE (10 * SEC_US) /* a topic without followers is kept that long: they may come back */

/* ---- publishing ---- */

struct str stream_topic_name(char out[STREAM_NAME_MAX], struct str debate_id)
{
	int n = snprintf(out, STREAM_NAME_MAX, "d:%.*s", STR_ARG(str_sub(debate_id, 0, 128)));

	return (struct str){out, (size_t)n};
}

struct str stream_workspace_name(char out[STREAM_NAME_MAX], struct str workspace)
{
	int n = snprintf(out, STREAM_NAME_MAX, "w:%.*s", STR_ARG(str_sub(workspace, 0, 120)));

	return (struct str){out, (size_t)n};
}

void stream_notice(struct stream *s, struct str workspace_id, struct str type, struct str envelope)
{
	char name[STREAM_NAME_MAX];
	struct buf b = BUF_LIMIT(BUS_DATAGRAM);

	buf_printf(&b, "!%.*s ", STR_ARG(type));
	buf_add(&b, envelope);
	bus_publish(s->w->bus, stream_workspace_name(name, workspace_id), buf_str(&b));
	buf_free(&b);
}

void stream_committed(struct stream *s, const struct stream_event *events, size_t n)
{
	struct buf b = BUF_INIT;
	char name[STREAM_NAME_MAX], ws[STREAM_NAME_MAX];
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

/* ---- heads ---- */

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
			topic_catch_up(t);
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
		if (!db_query(
			s->w->db, a,
			SQL_ANYBODY(
			    "how far topics are that were opened for their workspaces") "SELECT id, last_seq, "
											"completed_at FROM debates "
											"WHERE id IN"
											" ($1, $2, $3, $4, $5, $6, $7, "
											"$8, $9, $10, $11, $12, $13, "
											"$14, $15, $16)",
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
	atomic_store(&slot->ws_clients, 0);
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

void stream_drain(struct stream *s, int64_t spread_us)
{
	stream_sockets_drain(s, spread_us);
}
