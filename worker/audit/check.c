/* SPDX-License-Identifier: MIT */
/*
 * Walks the chain and says what is not as it was written: changed, missing, put in, moved, cut off at either end.
 * Called by `aragorad audit verify` and the API. Mends nothing.
 */
#include <stdarg.h>

#include "common/clock.h"
#include "common/json.h"
#include "worker/audit/audit_log.h"

#define CHECK_PAGE 200

struct check_walk {
	const struct audit_source *src;
	const struct audit_key *key;
	struct audit_check *c;
	struct arena *arena; /* of the whole walk */
	int64_t head_seq;    /* the end of the chain when the walk began */
	struct str head_hash;
	int64_t last_seq;           /* the event before the one that is looked at; from - 1 at first */
	char last_hash[SHA256_HEX]; /* "" with last_known: it has none */
	bool last_known;
	int64_t explained; /* retention has said that everything up to here went */
};

static void check_problem(struct check_walk *w, int64_t seq, const char *fmt, ...) PRINTF_FMT(3, 4);
static void check_problem(struct check_walk *w, int64_t seq, const char *fmt, ...)
{
	struct audit_check *c = w->c;
	va_list args;

	if (c->problems < AUDIT_ERRORS_MAX) {
		c->v[c->problems].seq = seq;
		va_start(args, fmt);
		(void)vsnprintf(c->v[c->problems].what, sizeof(c->v[0].what), fmt, args);
		va_end(args);
	}
	c->problems++;
}

/* Is the key here? Counts those that are not. */
static bool check_key_known(struct check_walk *w, struct str key_id)
{
	if (str_eqz(key_id, w->key->id))
		return true;
	w->c->foreign++;
	snprintf(w->c->foreign_key, sizeof(w->c->foreign_key), "%.*s", STR_ARG(str_sub(key_id, 0, SIGN_KEY_ID - 1)));
	return false;
}

static bool check_statement(struct check_walk *w, const char *kind, const struct db_rows *r, size_t row)
{
	char hex[SHA256_HEX];

	if (!check_key_known(w, db_str(r, row, 3)))
		return true;
	audit_key_sign(w->key, audit_statement(w->arena, kind, db_int(r, row, 0), db_str(r, row, 1), db_int(r, row, 2)),
		       hex);
	return crypto_equal(str_of(hex), db_str(r, row, 4));
}

/* ---- one event ---- */

static void check_noted(struct check_walk *w, const struct audit_record *r)
{
	if (w->c->noted_seq == r->seq && !str_eq(w->c->noted_hash, r->v[AUDIT_HASH]))
		check_problem(w, r->seq, "event %lld is not the one whose hash was noted", (long long)r->seq);
}

/* Retention says what it has removed from the beginning of the chain. */
static void check_explained(struct check_walk *w, struct arena *a, const struct audit_record *r)
{
	struct error ignored = ERROR_INIT;
	int64_t through;

	if (!str_eqz(r->v[AUDIT_ACTION], AUDIT_RETAINED) || !str_eqz(r->v[AUDIT_ACTOR_KIND], "system"))
		return;
	through = json_get_int(json_parse(a, r->v[AUDIT_DETAILS], &ignored), "through_seq", 0);
	if (through > w->explained)
		w->explained = through;
}

static void check_event(struct check_walk *w, struct arena *a, const struct audit_record *r)
{
	long long seq = (long long)r->seq;
	char hash[SHA256_HEX];

	audit_record_hash(a, r, hash);
	if (r->seq != w->last_seq + 1)
		check_problem(w, w->last_seq + 1, "events %lld to %lld are missing", (long long)w->last_seq + 1,
			      seq - 1);
	else if (w->last_known && !str_eqz(r->v[AUDIT_PREVIOUS], w->last_hash))
		check_problem(w, r->seq, "event %lld does not follow on event %lld", seq, seq - 1);
	if (!str_eqz(r->v[AUDIT_HASH], hash))
		check_problem(w, r->seq, "event %lld is not as it was when it was chained", seq);
	else if (check_key_known(w, r->v[AUDIT_KEY_ID]) && !audit_record_signed(a, w->key, r))
		check_problem(w, r->seq, "event %lld was changed before it was chained", seq);
	check_noted(w, r);
	check_explained(w, a, r);
	w->last_seq = r->seq;
	w->last_known = true;
	snprintf(w->last_hash, sizeof(w->last_hash), "%.*s", STR_ARG(str_sub(r->v[AUDIT_HASH], 0, SHA256_HEX - 1)));
	if (w->c->first == 0)
		w->c->first = r->seq;
	w->c->last = r->seq;
	w->c->events++;
}

/* The anchors of a page of events; those of events that are not there are looked at in the end. */
static bool check_anchors(struct check_walk *w, struct arena *a, const struct db_rows *events, struct error *err)
{
	struct audit_record lo, hi, r;
	struct db_rows rows;

	audit_record_read(events, 0, true, &lo);
	audit_record_read(events, events->count - 1, true, &hi);
	if (!w->src->query(w->src->arg, a,
			   "SELECT seq, hash, made_at, key_id, signature FROM audit_anchors"
			   " WHERE seq >= $1 AND seq <= $2 ORDER BY seq",
			   DB_ARGS(DB_I(lo.seq), DB_I(hi.seq)), &rows, err))
		return false;
	for (size_t i = 0, e = 0; i < rows.count; i++) {
		int64_t seq = db_int(&rows, i, 0);

		w->c->anchors++;
		if (!check_statement(w, "anchor", &rows, i))
			check_problem(w, seq, "the anchor of event %lld is not signed by us", (long long)seq);
		for (; e < events->count; e++) {
			audit_record_read(events, e, true, &r);
			if (r.seq >= seq)
				break;
		}
		if (e < events->count && r.seq == seq && !str_eq(r.v[AUDIT_HASH], db_str(&rows, i, 1)))
			check_problem(w, seq, "event %lld is not the one that was anchored", (long long)seq);
	}
	return true;
}

static bool check_page(struct check_walk *w, int64_t to, bool *more, struct error *err)
{
	struct arena *a = arena_new(0);
	struct db_rows rows;
	bool ok = w->src->query(w->src->arg, a,
				"SELECT " AUDIT_CHAIN_LIST " FROM audit_events WHERE seq >= $1 AND seq <= $2"
				" ORDER BY seq LIMIT $3",
				DB_ARGS(DB_I(w->last_seq + 1), DB_I(to), DB_I(CHECK_PAGE)), &rows, err);

	*more = ok && rows.count == CHECK_PAGE;
	for (size_t i = 0; ok && i < rows.count; i++) {
		struct arena *scratch = arena_new(0);
		struct audit_record r;

		audit_record_read(&rows, i, true, &r);
		check_event(w, scratch, &r);
		arena_free(scratch);
	}
	if (ok && rows.count > 0)
		ok = check_anchors(w, a, &rows, err);
	arena_free(a);
	return ok;
}

/* ---- both ends ---- */

static bool check_read_head(struct check_walk *w, struct error *err)
{
	struct db_rows rows;

	if (!w->src->query(w->src->arg, w->arena,
			   "SELECT seq, hash, made_at, key_id, signature FROM audit_head WHERE id = 1", DB_NO_ARGS,
			   &rows, err))
		return false;
	if (rows.count == 0)
		return true; /* before the first event; else those that are there stand behind the end */
	w->head_seq = db_int(&rows, 0, 0);
	w->head_hash = db_str(&rows, 0, 1);
	if (w->head_seq > 0 && !check_statement(w, "head", &rows, 0))
		check_problem(w, w->head_seq, "the head of the chain is not signed by us");
	return true;
}

/*
 * The event before the first one to be looked at: in the table, or gone by retention up to a signed anchor.
 */
static bool check_begin(struct check_walk *w, int64_t from, struct error *err)
{
	struct db_rows rows;

	w->last_seq = from - 1;
	w->last_known = from == 1;
	if (from == 1)
		return true;
	if (!w->src->query(w->src->arg, w->arena, "SELECT event_hash FROM audit_events WHERE seq = $1",
			   DB_ARGS(DB_I(from - 1)), &rows, err))
		return false;
	if (rows.count == 0) {
		if (!w->src->query(w->src->arg, w->arena,
				   "SELECT seq, hash, made_at, key_id, signature FROM audit_anchors WHERE seq = $1",
				   DB_ARGS(DB_I(from - 1)), &rows, err))
			return false;
		if (rows.count == 0) {
			check_problem(w, from - 1, "events before %lld are missing, and no anchor says what they were",
				      (long long)from);
			return true;
		}
		if (!check_statement(w, "anchor", &rows, 0))
			check_problem(w, from - 1, "the anchor of event %lld is not signed by us", (long long)from - 1);
	}
	w->last_known = true;
	snprintf(w->last_hash, sizeof(w->last_hash), "%.*s",
		 STR_ARG(str_sub(db_str(&rows, 0, rows.columns > 1 ? 1 : 0), 0, SHA256_HEX - 1)));
	return true;
}

/* A signed statement about an event after the last one: the end was cut off. */
static bool check_later_anchor(struct check_walk *w, struct error *err)
{
	struct db_rows rows;

	if (!w->src->query(w->src->arg, w->arena, "SELECT COALESCE(MAX(seq), 0) FROM audit_anchors", DB_NO_ARGS, &rows,
			   err))
		return false;
	if (db_int(&rows, 0, 0) > w->head_seq)
		check_problem(w, w->head_seq + 1, "events up to %lld were anchored, the chain ends at %lld",
			      (long long)db_int(&rows, 0, 0), (long long)w->head_seq);
	if (w->c->noted_seq > w->head_seq)
		check_problem(w, w->head_seq + 1, "event %lld was noted, the chain ends at %lld",
			      (long long)w->c->noted_seq, (long long)w->head_seq);
	return true;
}

static bool check_end(struct check_walk *w, struct error *err)
{
	if (w->last_seq < w->head_seq)
		check_problem(w, w->last_seq + 1, "events %lld to %lld are missing at the end",
			      (long long)w->last_seq + 1, (long long)w->head_seq);
	else if (w->last_known && w->head_seq > 0 && !str_eqz(w->head_hash, w->last_hash))
		check_problem(w, w->head_seq, "event %lld is not the one at which the chain was left",
			      (long long)w->head_seq);
	return check_later_anchor(w, err);
}

static bool check_bounds(struct check_walk *w, int64_t *from, int64_t *to, struct error *err)
{
	struct audit_check *c = w->c;
	struct db_rows rows;

	if (!w->src->query(w->src->arg, w->arena,
			   "SELECT COALESCE(MIN(seq), 0), COALESCE(MAX(seq), 0) FROM audit_events", DB_NO_ARGS, &rows,
			   err))
		return false;
	c->retained_from = db_int(&rows, 0, 0);
	if (c->retained_from == 0)
		c->retained_from = w->head_seq + 1;
	*from = c->from > c->retained_from ? c->from : c->retained_from;
	*to = c->to > 0 && c->to < w->head_seq ? c->to : w->head_seq;
	/* Events that nobody has chained: put in behind the end. Those that came since the head was read are fine. */
	if (db_int(&rows, 0, 1) > w->head_seq) {
		int64_t head = w->head_seq, max = db_int(&rows, 0, 1);

		if (!check_read_head(w, err))
			return false;
		if (max > w->head_seq)
			check_problem(w, w->head_seq + 1, "event %lld stands behind the end of the chain",
				      (long long)w->head_seq + 1);
		w->head_seq = head;
	}
	return true;
}

static bool check_pending(struct check_walk *w, struct error *err)
{
	struct db_rows rows;

	if (!w->src->query(w->src->arg, w->arena, "SELECT COUNT(*), COALESCE(MIN(created_at), 0) FROM audit_inbox",
			   DB_NO_ARGS, &rows, err))
		return false;
	w->c->pending = db_int(&rows, 0, 0);
	w->c->pending_since = db_int(&rows, 0, 1);
	return true;
}

/* The latest words of retention may not be chained yet, or have been since the walk began. In this order none slips. */
static bool check_latest_words(struct check_walk *w, struct error *err)
{
	static const struct {
		const char *sql;
		bool chained;
	} places[] = {
	    {"SELECT " AUDIT_INBOX_LIST " FROM audit_inbox WHERE action = $1", false},
	    {"SELECT " AUDIT_CHAIN_LIST " FROM audit_events WHERE action = $1 ORDER BY seq DESC LIMIT 1", true}};

	for (size_t i = 0; i < countof(places); i++) {
		struct db_rows rows;

		if (!w->src->query(w->src->arg, w->arena, places[i].sql, DB_ARGS(DB_Z(AUDIT_RETAINED)), &rows, err))
			return false;
		for (size_t k = 0; k < rows.count; k++) {
			struct audit_record r;

			audit_record_read(&rows, k, places[i].chained, &r);
			if (str_eqz(r.v[AUDIT_KEY_ID], w->key->id) && audit_record_signed(w->arena, w->key, &r))
				check_explained(w, w->arena, &r);
		}
	}
	return true;
}

/* What was removed from the beginning must have been told by retention, in an event that is still there. */
static bool check_retention(struct check_walk *w, int64_t from, struct error *err)
{
	if (from > 1 && w->explained < from - 1 && !check_latest_words(w, err))
		return false;
	if (from > 1 && w->explained < from - 1)
		check_problem(w, 1, "events 1 to %lld are missing, and retention has not removed all of them",
			      (long long)from - 1);
	return true;
}

static int check_by_seq(const void *a, const void *b)
{
	const struct audit_problem *x = a, *y = b;

	return (x->seq > y->seq) - (x->seq < y->seq);
}

static bool check_once(const struct audit_source *src, const struct audit_key *k, struct audit_check *c,
		       struct error *err)
{
	struct check_walk w = {.src = src, .key = k, .c = c, .arena = arena_new(0), .head_hash = STR("")};
	int64_t from = 0, to = 0;
	bool more = true, whole, ok;

	ok = check_read_head(&w, err) && check_bounds(&w, &from, &to, err) && check_begin(&w, from, err);
	while (ok && more && w.last_seq < to)
		ok = check_page(&w, to, &more, err);
	whole = to == w.head_seq;
	if (ok && whole)
		ok = check_end(&w, err);
	if (ok && whole && from == c->retained_from)
		ok = check_retention(&w, from, err);
	ok = ok && check_pending(&w, err);
	arena_free(w.arena);
	qsort(c->v, (size_t)(c->problems < AUDIT_ERRORS_MAX ? c->problems : AUDIT_ERRORS_MAX), sizeof(c->v[0]),
	      check_by_seq);
	return ok;
}

static bool check_first(const struct audit_source *src, int64_t *first, struct error *err)
{
	struct arena *a = arena_new(0);
	struct db_rows rows;
	bool ok = src->query(src->arg, a, "SELECT COALESCE(MIN(seq), 0) FROM audit_events", DB_NO_ARGS, &rows, err);

	if (ok)
		*first = db_int(&rows, 0, 0);
	arena_free(a);
	return ok;
}

/* Retention may take the beginning away while we walk: then the walk is made again. */
bool audit_check_run(const struct audit_source *src, const struct audit_key *k, struct audit_check *c,
		     struct error *err)
{
	const struct audit_check asked = *c;
	int64_t before = 0, after = 0;

	if (!check_first(src, &before, err) || !check_once(src, k, c, err))
		return false;
	if (c->problems == 0)
		return true;
	if (!check_first(src, &after, err))
		return false;
	if (before == after)
		return true;
	*c = asked;
	return check_once(src, k, c, err);
}

json_t *audit_check_json(const struct audit_check *c)
{
	json_t *o = json_object(), *errors = json_array();
	char iso[CLOCK_ISO_MAX];

	for (int64_t i = 0; i < c->problems && i < AUDIT_ERRORS_MAX; i++)
		json_array_append_new(errors,
				      json_pack("{s:I, s:s}", "seq", (json_int_t)c->v[i].seq, "error", c->v[i].what));
	json_object_set_new(o, "valid", json_boolean(c->problems == 0));
	json_object_set_new(o, "verified", json_boolean(c->problems == 0));
	json_object_set_new(o, "first_broken_seq", c->problems > 0 ? json_integer(c->v[0].seq) : json_null());
	json_object_set_new(o, "errors", errors);
	json_put_int(o, "error_count", c->problems);
	json_put_int(o, "total_errors", c->problems);
	json_object_set_new(o, "verified_range",
			    json_pack("{s:I, s:I}", "start_seq", (json_int_t)c->first, "end_seq", (json_int_t)c->last));
	json_put_int(o, "events", c->events);
	json_put_int(o, "anchors", c->anchors);
	json_put_int(o, "retained_from_seq", c->retained_from);
	json_put_int(o, "pending", c->pending);
	json_object_set_new(o, "pending_since",
			    c->pending > 0 ? json_string(clock_iso(iso, c->pending_since)) : json_null());
	json_put_int(o, "unknown_key_signatures", c->foreign);
	json_object_set_new(o, "unknown_key", c->foreign > 0 ? json_string(c->foreign_key) : json_null());
	json_put_str(o, "verified_at", str_of(clock_iso(iso, clock_wall_ms())));
	return o;
}
