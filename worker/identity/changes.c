/* SPDX-License-Identifier: MIT */
/*
 * Tells every cache of the cluster what to forget. The rows are numbered in the order of their commits, because each
 * batch takes its number from a row that it locks; a reader that remembers the last number misses nothing. Rows are
 * kept: one for each thing that ever changed, until the sweep of sessions takes those whose subject is gone.
 */
#include "worker/identity/changes.h"

#include "common/clock.h"
#include "common/db_admin.h"
#include "common/log.h"
#include "worker/http/http.h"
#include "worker/worker.h"

#define CHANGES_LOOK_US (400 * MS_US)
#define CHANGES_BELIEVED_US (10 * SEC_US) /* nothing cached is believed when the last look is older */
#define CHANGES_PAGE 200
#define CHANGES_TOPIC "identity"
#define CHANGES_LISTENERS 16
#define CHANGES_MESSAGE_MAX 256

struct identity_changes {
	struct worker *w;
	struct bus_sub *sub;
	struct loop_timer timer;
	struct {
		identity_listener fn;
		void *arg;
	} listeners[CHANGES_LISTENERS];
	unsigned count;
	int64_t cursor; /* -1: not known yet */
	int64_t looked_us;
	uint64_t heard;
	bool looking, again;
};

static const char *const change_names[] = {"user", "org", "workspace", "role", "key", "session", "token", "all"};
_Static_assert(countof(change_names) == IDENTITY_CHANGE_ALL + 1, "a name for each kind");

/* ---- writing ---- */

#define CHANGE_TAKE "UPDATE identity_changes SET n = n + 1 WHERE kind = 'clock'"
#define CHANGE_WRITE                                                       \
	"INSERT INTO identity_changes (kind, id, n, changed_at)"           \
	" SELECT $1, $2, n, $3 FROM identity_changes WHERE kind = 'clock'" \
	" ON CONFLICT (kind, id) DO UPDATE SET n = excluded.n, changed_at = excluded.changed_at"

void identity_change_add(struct db_batch *b, enum identity_change kind, struct str id)
{
	db_batch_add(b, CHANGE_TAKE, DB_NO_ARGS, 1);
	db_batch_add(b, CHANGE_WRITE, DB_ARGS(DB_Z(change_names[kind]), DB_S(id), DB_I(clock_wall_ms())), 1);
}

bool identity_change_run(struct dba *d, enum identity_change kind, struct str id, struct error *err)
{
	return dba_run(d, CHANGE_TAKE, DB_NO_ARGS, NULL, err) &&
	       dba_run(d, CHANGE_WRITE, DB_ARGS(DB_Z(change_names[kind]), DB_S(id), DB_I(clock_wall_ms())), NULL, err);
}

/* ---- telling ---- */

static void changes_tell(struct identity_changes *c, enum identity_change kind, struct str id)
{
	unsigned i;

	c->heard++;
	for (i = 0; i < c->count; i++)
		c->listeners[i].fn(c->listeners[i].arg, kind, id);
}

static bool changes_kind(struct str name, enum identity_change *kind)
{
	size_t i;

	for (i = 0; i < countof(change_names); i++)
		if (str_eqz(name, change_names[i])) {
			*kind = (enum identity_change)i;
			return true;
		}
	return false;
}

void identity_changed(struct worker *w, enum identity_change kind, struct str id)
{
	struct identity_changes *c = w->identity_changes;
	char text[CHANGES_MESSAGE_MAX];
	int n = snprintf(text, sizeof(text), "%s %.*s", change_names[kind], STR_ARG(id));

	changes_tell(c, kind, id);
	if (n > 0 && (size_t)n < sizeof(text))
		bus_publish(w->bus, STR(CHANGES_TOPIC), (struct str){text, (size_t)n});
}

void identity_on_change(struct worker *w, identity_listener fn, void *arg)
{
	struct identity_changes *c = w->identity_changes;

	BUG_ON(c->count == CHANGES_LISTENERS);
	c->listeners[c->count].fn = fn;
	c->listeners[c->count++].arg = arg;
}

bool identity_changes_fresh(const struct worker *w)
{
	const struct identity_changes *c = w->identity_changes;

	return c->looked_us != 0 && loop_now(w->loop) - c->looked_us < CHANGES_BELIEVED_US;
}

uint64_t identity_changes_heard(const struct worker *w)
{
	return w->identity_changes->heard;
}

/* ---- looking ---- */

CO_FN static bool changes_begin(struct identity_changes *c, struct arena *a, struct error *err)
{
	struct db_rows rows;

	if (!db_query(c->w->db, a, "SELECT n FROM identity_changes WHERE kind = 'clock'", DB_NO_ARGS, &rows, err))
		return false;
	c->cursor = rows.count > 0 ? db_int(&rows, 0, 0) : 0;
	changes_tell(c, IDENTITY_CHANGE_ALL, STR(""));
	return true;
}

CO_FN static bool changes_page(struct identity_changes *c, struct arena *a, bool *more, struct error *err)
{
	enum identity_change kind;
	struct db_rows rows;
	size_t i;

	if (!db_query(c->w->db, a,
		      "SELECT n, kind, id FROM identity_changes WHERE n > $1 AND kind <> 'clock' ORDER BY n LIMIT $2",
		      DB_ARGS(DB_I(c->cursor), DB_I(CHANGES_PAGE)), &rows, err))
		return false;
	for (i = 0; i < rows.count; i++) {
		if (changes_kind(db_str(&rows, i, 1), &kind))
			changes_tell(c, kind, db_str(&rows, i, 2));
		c->cursor = db_int(&rows, i, 0);
	}
	*more = rows.count == CHANGES_PAGE;
	return true;
}

CO_FN static void changes_look(void *arg)
{
	struct identity_changes *c = arg;
	struct error err = ERROR_INIT;
	struct arena *a = arena_new(0);
	int64_t began = clock_mono_us();
	bool more = true, ok = true;

	c->again = false;
	if (c->cursor < 0)
		ok = changes_begin(c, a, &err);
	while (ok && more)
		ok = changes_page(c, a, &more, &err);
	if (ok)
		c->looked_us = began;
	else if (err.code != ERR_CANCELLED)
		log_debug("identity", "changes cannot be read", KV_S("reason", err.msg));
	arena_free(a);
	c->looking = false;
	loop_timer_set(&c->timer, c->again ? 0 : CHANGES_LOOK_US);
}

/* A worker that drains and has nobody left has nothing to forget. */
static bool changes_idle(const struct worker *w)
{
	return w->draining && http_server_connections(w->http) == 0;
}

static void changes_tick(void *arg)
{
	struct identity_changes *c = arg;

	if (c->looking)
		return;
	c->looking = !changes_idle(c->w) && co_spawn("identity_changes", changes_look, c) != NULL;
	if (!c->looking)
		loop_timer_set(&c->timer, CHANGES_LOOK_US);
}

static void changes_message(void *arg, struct str topic, struct str message)
{
	struct identity_changes *c = arg;
	struct str rest = message, name = STR("");
	enum identity_change kind;

	(void)topic;
	if (str_split(&rest, ' ', &name) && changes_kind(name, &kind)) {
		changes_tell(c, kind, rest);
		return;
	}
	/* The link to other nodes stands (again): what was said meanwhile is in the rows. */
	c->again = true;
	if (!c->looking)
		loop_timer_set(&c->timer, 0);
}

struct identity_changes *identity_changes_open(struct worker *w)
{
	struct identity_changes *c = xcalloc(1, sizeof(*c));

	c->w = w;
	c->cursor = -1;
	loop_timer_init(w->loop, &c->timer, changes_tick, c);
	return c;
}

void identity_changes_start(struct identity_changes *c)
{
	c->sub = bus_subscribe(c->w->bus, STR(CHANGES_TOPIC), changes_message, c);
	loop_timer_set(&c->timer, 0);
}

void identity_changes_close(struct identity_changes *c)
{
	loop_timer_stop(&c->timer);
	if (c->sub != NULL)
		bus_unsubscribe(c->w->bus, c->sub);
	free(c);
}
