/* SPDX-License-Identifier: MIT */
/*
 * Carriers that follow everything of a workspace (PITFALLS 33): hints on the bus, the workspace's cell and a look at
 * the running debates make topics of all of them, and each new event goes to all carriers. Called by topics, by the
 * room's tick and by ws_api.c. It keeps no events: who falls behind is ended.
 */
#include "worker/stream/room.h"

#include "common/clock.h"
#include "common/tenant.h"
#include "worker/worker.h"

struct source *source_find(const struct stream *s, const char *workspace)
{
	struct source *h;

	for (h = s->sources; h != NULL && strcmp(h->workspace, workspace) != 0; h = h->next)
		;
	return h;
}

void topic_firehose(struct topic *t, const struct frame *frame)
{
	const struct source *source = t->firehose ? source_find(t->s, t->workspace) : NULL;
	struct firehose *h;

	for (h = source != NULL ? source->carriers : NULL; h != NULL; h = h->next)
		if (!h->ops->send(h->arg, frame))
			h->ops->lagged(h->arg);
}

/*
 * From `after` on the topic goes to the firehose, with a cursor of its own: a topic that somebody follows already
 * stands at the head, and what the firehose lacks may be in memory or only in the log.
 */
static void topic_to_firehose(struct topic *t, int64_t after, int64_t head)
{
	if (t->firehose)
		return;
	t->firehose = true;
	t->fired = after;
	if (t->tail < 0)
		t->tail = after;
	t->wanted = head > t->wanted ? head : t->wanted;
	topic_catch_up(t);
}

/* "!<type> <envelope>": a notice, for who listens now. */
static void source_on_notice(const struct source *source, struct str message)
{
	struct frame frame;
	struct str type, envelope = str_sub(message, 1, message.n);
	struct firehose *h;

	if (!str_split(&envelope, ' ', &type) || envelope.n == 0)
		return;
	frame_render(&frame, "", 0, type, envelope);
	for (h = source->carriers; h != NULL; h = h->next)
		(void)h->ops->send(h->arg, &frame); /* whoever is too slow is told by the next event */
	frame_clear(&frame);
}

/* "<seq> <debate id>": a debate of the workspace has an event; from here on it is followed without holes. */
static void source_on_message(void *arg, struct str name, struct str message)
{
	struct source *h = arg;
	struct str rest = message, number;
	uint64_t seq;

	(void)name;
	if (message.n > 0 && message.p[0] == '!') {
		source_on_notice(h, message);
		return;
	}
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
		/* By the indexes of what is open and of what has ended, not through all of the workspace. */
		since = h->joined_ms;
		back = h->sound_ms - FIREHOSE_SLACK_MS;
		(void)snprintf(workspace, sizeof(workspace), "%s", h->workspace);
		ok = db_query(
		    s->w->db, a,
		    SQL_ANYBODY(
			"of one workspace, by a condition that keeps SQLite from its index") "SELECT id, last_seq, "
											     "created_at FROM debates "
											     "WHERE id IN (SELECT id "
											     "FROM debates WHERE"
											     " status IN ('queued', "
											     "'running') UNION SELECT "
											     "id FROM debates WHERE "
											     "completed_at >= $2)"
											     " AND workspace_id || '' "
											     "= $1 ORDER BY created_at "
											     "DESC LIMIT 1000",
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
void source_compare(struct source *h, bool death)
{
	char name[STREAM_NAME_MAX];
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

static struct source *source_get(struct stream *s, const struct context *ctx)
{
	struct source *h;
	char text[sizeof(h->workspace)], name[STREAM_NAME_MAX];

	(void)snprintf(text, sizeof(text), "%.*s", STR_ARG(str_sub(ctx->workspace_id, 0, sizeof(text) - 1)));
	h = source_find(s, text);
	if (h != NULL)
		return h;
	h = xcalloc(1, sizeof(*h));
	h->s = s;
	h->joined_ms = h->sound_ms = clock_wall_ms();
	memcpy(h->workspace, text, sizeof(text));
	(void)snprintf(h->org, sizeof(h->org), "%.*s", STR_ARG(str_sub(ctx->org_id, 0, sizeof(h->org) - 1)));
	h->ctx = (struct context){.org_id = str_of(h->org), .workspace_id = str_of(h->workspace)};
	h->sub = bus_subscribe(s->w->bus, stream_workspace_name(name, ctx->workspace_id), source_on_message, h);
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
	h->source = source_get(s, ctx);
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
