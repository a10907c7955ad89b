/* SPDX-License-Identifier: MIT */
/*
 * Ephemeral pieces of what agents are writing (PITFALLS 23): published by the debate's owner, handed to those who have
 * had all of their stream, lost without repair. Called by the journal (stream_token) and by topics. Nothing here is
 * stored.
 */
#include "worker/stream/room.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/metrics.h"
#include "worker/worker.h"

#define STREAM_TOKEN_TEXT (8 * 1024) /* of one token message; the text stands in it twice */

/* ---- who gets them ---- */

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

static const char *const token_types[] = {"token_start", "token_delta", "token_end"};

void topic_token(struct topic *t, const struct stream_message *m, struct str envelope)
{
	const struct source *source = t->firehose ? source_find(t->s, t->workspace) : NULL;
	struct frame frame = {0};
	struct follower *f;
	struct firehose *h;
	bool roomy;

	if (m->token_kind > TOKEN_FINISH)
		return;
	frame_render(&frame, t->id, 0, str_of(token_types[m->token_kind]), envelope);
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

/* ---- publishing ---- */

static uint64_t stream_hash(struct str s)
{
	uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a */
	size_t i;

	for (i = 0; i < s.n; i++)
		h = (h ^ (unsigned char)s.p[i]) * UINT64_C(1099511628211);
	return h | 1;
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
	char name[STREAM_NAME_MAX];
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
