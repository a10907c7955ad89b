/* SPDX-License-Identifier: MIT */
/*
 * The formulas by which knowledge grows old, the jobs that apply them page by page, and the search for nodes that say
 * the same. Called by the scheduler and by the endpoints. Decides nothing for people: what is stale waits for them.
 */
#include "worker/knowledge/upkeep.h"

#include <math.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/tenant.h"
#include "worker/engine/similarity.h"
#include "worker/worker.h"

#define UPKEEP_HOUR_MS INT64_C(3600000)
#define UPKEEP_DAY_MS (24 * UPKEEP_HOUR_MS)
#define UPKEEP_PAGE 200
#define UPKEEP_TURN 8 /* texts of up to 32 KiB that are read before others have their turn */

/* ---- formulas ---- */

/* rest-wide 5.4: limits by tier. */
static const struct {
	const char *tier;
	int64_t limit_ms;
} upkeep_tiers[] = {
    {"fast", UPKEEP_HOUR_MS}, {"medium", UPKEEP_DAY_MS}, {"slow", 7 * UPKEEP_DAY_MS}, {"glacial", 30 * UPKEEP_DAY_MS}};

static double upkeep_one(double v)
{
	return v > 1.0 ? 1.0 : v < 0.0 ? 0.0 : v;
}

int64_t upkeep_staleness(const struct staleness *s, unsigned *reasons)
{
	int64_t limit = upkeep_tiers[2].limit_ms;
	double parts[4], sum;
	size_t i;

	for (i = 0; i < countof(upkeep_tiers); i++)
		if (str_eqz(s->tier, upkeep_tiers[i].tier))
			limit = upkeep_tiers[i].limit_ms;
	parts[0] = upkeep_one((double)s->age_ms / (2.0 * (double)limit));
	parts[1] = upkeep_one((double)s->contradictions / 3.0);
	parts[2] = upkeep_one((double)s->evidence / 5.0);
	parts[3] = s->superseded ? 0.8 : 0.0;
	sum = 0.4 * parts[0] + 0.3 * parts[1] + 0.2 * parts[2] + 0.1 * parts[3];
	*reasons = 0;
	for (i = 0; i < countof(parts); i++)
		*reasons |= parts[i] > 0.3 ? 1U << i : 0;
	return (int64_t)(sum * KNOWLEDGE_ONE + 0.5);
}

static int64_t upkeep_half_life_ms(struct str topic)
{
	static const struct {
		const char *topic;
		int64_t days;
	} lives[] = {{"technology", 30}, {"science", 180}, {"legal", 365}, {"news", 7}};
	size_t i;

	for (i = 0; i < countof(lives); i++)
		if (str_ieqz(topic, lives[i].topic))
			return lives[i].days * UPKEEP_DAY_MS;
	return 90 * UPKEEP_DAY_MS;
}

int64_t upkeep_decayed(int64_t confidence_ppm, struct str topic, int64_t interval_ms)
{
	double factor = exp2(-(double)interval_ms / (double)upkeep_half_life_ms(topic));
	int64_t after = (int64_t)((double)confidence_ppm * factor + 0.5);

	if (interval_ms <= 0 || confidence_ppm <= UPKEEP_FLOOR_PPM)
		return confidence_ppm;
	return after < UPKEEP_FLOOR_PPM ? UPKEEP_FLOOR_PPM : after;
}

bool upkeep_boost(struct str event, int64_t *confidence_ppm)
{
	static const struct {
		const char *event;
		int64_t ppm;
	} boosts[] = {{"accessed", 10000},
		      {"cited", 50000},
		      {"validated", 100000},
		      {"invalidated", -300000},
		      {"contradicted", -200000}};
	size_t i;

	for (i = 0; i < countof(boosts); i++) {
		if (!str_eqz(event, boosts[i].event))
			continue;
		*confidence_ppm += boosts[i].ppm;
		if (*confidence_ppm > KNOWLEDGE_ONE)
			*confidence_ppm = KNOWLEDGE_ONE;
		if (*confidence_ppm < UPKEEP_FLOOR_PPM)
			*confidence_ppm = UPKEEP_FLOOR_PPM;
		return true;
	}
	return false;
}

/* ---- staleness ---- */

static struct str upkeep_reasons(struct arena *a, unsigned reasons)
{
	static const char *const names[] = {"age", "contradiction", "new_evidence", "consensus_change"};
	json_t *list = json_own(a, json_array());
	size_t i;

	for (i = 0; i < countof(names); i++)
		if ((reasons >> i & 1) != 0)
			json_array_append_new(list, json_string(names[i]));
	return json_text(a, list);
}

/* clang-format off */
static const char upkeep_stale_page[] =
	SQL_ANYBODY("a job for all workspaces")
	"SELECT n.id, n.workspace_id, n.tier, CASE WHEN n.validated_at > n.updated_at THEN n.validated_at ELSE n.updated_at"
	" END, n.superseded_by, (SELECT COUNT(*) FROM knowledge_links l JOIN knowledge_nodes m ON m.id = l.from_id WHERE"
	" l.workspace_id = n.workspace_id AND l.to_id = n.id AND l.kind = 'contradicts' AND m.created_at > n.created_at),"
	" (SELECT COUNT(*) FROM knowledge_links e WHERE e.workspace_id = n.workspace_id AND e.to_id = n.id AND"
	" e.kind <> 'contradicts' AND e.created_at > $3) FROM knowledge_nodes n WHERE n.archived_at = 0 AND"
	" n.checked_at < $1 ORDER BY n.archived_at, n.checked_at, n.id LIMIT $2";
static const char upkeep_decay_page[] =
	SQL_ANYBODY("a job for all workspaces")
	"SELECT id, workspace_id, topic, confidence_ppm, decayed_at FROM knowledge_nodes WHERE archived_at = 0 AND"
	" decayed_at < $1 ORDER BY archived_at, decayed_at, id LIMIT $2";
/* clang-format on */

/* One page; *n: how many. */
CO_FN static bool upkeep_stale_step(struct worker *w, int64_t now_ms, size_t *n, struct error *err)
{
	int64_t before = now_ms - w->conf->knowledge.staleness_interval / MS_US;
	struct arena *a = arena_new(0);
	struct db_batch *b;
	struct db_rows r;
	size_t i;
	bool ok;

	ok = db_query(w->db, a, upkeep_stale_page,
		      DB_ARGS(DB_I(before), DB_I(UPKEEP_PAGE), DB_I(now_ms - 7 * UPKEEP_DAY_MS)), &r, err);
	*n = ok ? r.count : 0;
	b = db_batch_new(w->db);
	for (i = 0; i < *n; i++) {
		const struct staleness s = {.tier = db_str(&r, i, 2),
					    .age_ms = now_ms - db_int(&r, i, 3),
					    .superseded = db_str(&r, i, 4).n > 0,
					    .contradictions = db_int(&r, i, 5),
					    .evidence = db_int(&r, i, 6)};
		unsigned reasons;
		int64_t ppm = upkeep_staleness(&s, &reasons);

		db_batch_add(b,
			     "UPDATE knowledge_nodes SET staleness_ppm = $3, stale_reasons = $4, checked_at = $5,"
			     " revalidate_at = CASE WHEN $6 = 1 AND revalidate_at = 0 THEN $5 ELSE revalidate_at END"
			     " WHERE id = $1 AND workspace_id = $2",
			     DB_ARGS(DB_S(db_str(&r, i, 0)), DB_S(db_str(&r, i, 1)), DB_I(ppm),
				     DB_S(upkeep_reasons(a, reasons)), DB_I(now_ms), DB_I(ppm >= UPKEEP_QUEUED_PPM)),
			     DB_ANY);
	}
	ok = db_commit(w->db, b, err) && ok;
	arena_free(a);
	return ok;
}

/* Pages until one is not full; what is left when the server stops is the next run's. */
CO_FN static bool upkeep_pages(struct worker *w, const char *operation,
			       bool (*step)(struct worker *w, int64_t now_ms, size_t *n, struct error *err),
			       int64_t *count, struct error *err)
{
	int64_t start = clock_mono_us(), now = clock_wall_ms();
	size_t n = UPKEEP_PAGE;
	bool ok = true;

	while (ok && n == UPKEEP_PAGE && !jobs_stopping(w->jobs)) {
		ok = step(w, now, &n, err);
		*count += (int64_t)n;
	}
	knowledge_counted(operation, ok, start);
	return ok;
}

CO_FN static bool staleness_run(struct worker *w, json_t *result, int64_t *count, struct error *err)
{
	(void)result;
	return upkeep_pages(w, "staleness", upkeep_stale_step, count, err);
}

static int64_t staleness_interval(const struct conf *c)
{
	return c->knowledge.staleness_interval / MS_US;
}

const struct job knowledge_staleness_job = {
    .name = "knowledge-staleness", .first_ms = 2000, .interval_ms = staleness_interval, .run = staleness_run};

/* ---- decay ---- */

/* Fenced by decayed_at: of two passes at once one counts. */
static void upkeep_decay_row(struct db_batch *b, struct str id, struct str workspace_id, int64_t before_ppm,
			     int64_t after_ppm, int64_t decayed_at, int64_t now_ms)
{
	db_batch_add(
	    b,
	    "UPDATE knowledge_nodes SET confidence_ppm = confidence_ppm - $3, decayed_at = $4 WHERE id = $1 AND"
	    " workspace_id = $2 AND decayed_at = $5",
	    DB_ARGS(DB_S(id), DB_S(workspace_id), DB_I(before_ppm - after_ppm), DB_I(now_ms), DB_I(decayed_at)),
	    DB_ANY);
}

CO_FN static bool upkeep_decay_step(struct worker *w, int64_t now_ms, size_t *n, struct error *err)
{
	int64_t before = now_ms - w->conf->knowledge.decay_interval / MS_US;
	struct arena *a = arena_new(0);
	struct db_batch *b;
	struct db_rows r;
	size_t i;
	bool ok;

	ok = db_query(w->db, a, upkeep_decay_page, DB_ARGS(DB_I(before), DB_I(UPKEEP_PAGE)), &r, err);
	*n = ok ? r.count : 0;
	b = db_batch_new(w->db);
	for (i = 0; i < *n; i++)
		upkeep_decay_row(b, db_str(&r, i, 0), db_str(&r, i, 1), db_int(&r, i, 3),
				 upkeep_decayed(db_int(&r, i, 3), db_str(&r, i, 2), now_ms - db_int(&r, i, 4)),
				 db_int(&r, i, 4), now_ms);
	ok = db_commit(w->db, b, err) && ok;
	arena_free(a);
	return ok;
}

CO_FN static bool decay_run(struct worker *w, json_t *result, int64_t *count, struct error *err)
{
	(void)result;
	return upkeep_pages(w, "decay", upkeep_decay_step, count, err);
}

static int64_t decay_interval(const struct conf *c)
{
	return c->knowledge.decay_interval / MS_US;
}

const struct job knowledge_decay_job = {
    .name = "knowledge-decay", .first_ms = 3000, .interval_ms = decay_interval, .run = decay_run};

CO_FN bool upkeep_decay_here(struct worker *w, const struct context *ctx, int64_t *n, struct error *err)
{
	int64_t now = clock_wall_ms();
	struct arena *a = arena_new(0);
	struct db_batch *b;
	struct db_rows r;
	size_t i;
	bool ok;

	*n = 0;
	ok = db_query(w->db, a,
		      "SELECT id, topic, confidence_ppm, decayed_at FROM knowledge_nodes WHERE workspace_id = $1 AND"
		      " archived_at = 0 AND decayed_at < $2 ORDER BY created_at DESC, id LIMIT 5000",
		      DB_ARGS(DB_S(ctx->workspace_id), DB_I(now)), &r, err);
	b = db_batch_new(w->db);
	for (i = 0; ok && i < r.count; i++) {
		int64_t before = db_int(&r, i, 2),
			after = upkeep_decayed(before, db_str(&r, i, 1), now - db_int(&r, i, 3));

		*n += after != before;
		upkeep_decay_row(b, db_str(&r, i, 0), ctx->workspace_id, before, after, db_int(&r, i, 3), now);
	}
	ok = db_commit(w->db, b, err) && ok;
	arena_free(a);
	return ok;
}

/* ---- near-duplicates ---- */

CO_FN bool upkeep_clusters(struct worker *w, struct arena *a, const struct context *ctx, int64_t threshold_ppm,
			   struct upkeep_cluster **out, size_t *n, size_t *looked_at, struct error *err)
{
	struct knowledge_filter f = {.limit = UPKEEP_COMPARED};
	const struct similarity_vector **words;
	struct knowledge_node *nodes;
	size_t count, i, k;
	int64_t total, sum;
	bool *taken;

	*n = 0;
	if (!knowledge_list(w, a, ctx, &f, &nodes, &count, &total, err))
		return false;
	*looked_at = count;
	*out = arena_zalloc(a, (count + 1) * sizeof(**out));
	words = arena_zalloc(a, (count + 1) * sizeof(struct similarity_vector *));
	taken = arena_zalloc(a, count + 1);
	for (i = 0; i < count; i++) {
		words[i] = similarity_vector(a, nodes[i].content);
		if (i % UPKEEP_TURN == 0 && co_yield () == CO_ENDED)
			return error_set(err, ERR_CANCELLED, "cancelled");
	}
	for (i = count; i-- > 0;) { /* the list is newest first: the oldest is whom the others are compared with */
		struct upkeep_cluster *c = &(*out)[*n];

		if (taken[i])
			continue;
		c->v = arena_alloc(a, (i + 1) * sizeof(struct knowledge_node *));
		c->similarity_ppm = arena_alloc(a, (i + 1) * sizeof(*c->similarity_ppm));
		c->v[0] = &nodes[i];
		c->n = 1;
		for (k = i, sum = 0; k-- > 0;) {
			int64_t ppm = taken[k] ? 0 : similarity_cosine(words[i], words[k]);

			if (ppm < threshold_ppm || similarity_contradicts(nodes[i].content, nodes[k].content))
				continue;
			taken[k] = true;
			c->similarity_ppm[c->n] = ppm;
			c->v[c->n++] = &nodes[k];
			sum += ppm;
		}
		if (c->n > 1) {
			c->mean_ppm = sum / (int64_t)(c->n - 1);
			(*n)++;
		}
		if (co_yield () == CO_ENDED)
			return error_set(err, ERR_CANCELLED, "cancelled");
	}
	return true;
}

/* The links of a node that goes become those of the one that stays. */
CO_FN static bool upkeep_move_links(struct worker *w, struct arena *a, const struct context *ctx, struct str from,
				    struct str to, struct db_batch *b, int64_t *links, struct error *err)
{
	char id[KNOWLEDGE_ID_LEN + 1];
	struct db_rows r;
	size_t i;

	if (!db_query(w->db, a,
		      "SELECT from_id, to_id, kind, strength_ppm, metadata, created_at FROM knowledge_links WHERE"
		      " workspace_id = $1 AND from_id = $2 UNION SELECT from_id, to_id, kind, strength_ppm, metadata,"
		      " created_at FROM knowledge_links WHERE workspace_id = $1 AND to_id = $2 LIMIT 1000",
		      DB_ARGS(DB_S(ctx->workspace_id), DB_S(from)), &r, err))
		return false;
	for (i = 0; i < r.count; i++) {
		struct str x = str_eq(db_str(&r, i, 0), from) ? to : db_str(&r, i, 0);
		struct str y = str_eq(db_str(&r, i, 1), from) ? to : db_str(&r, i, 1);

		if (str_eq(x, y))
			continue;
		knowledge_link(b, ctx, x, y, db_str(&r, i, 2), db_int(&r, i, 3), db_str(&r, i, 4), db_int(&r, i, 5),
			       id);
		(*links)++;
	}
	return true;
}

CO_FN bool upkeep_merge(struct worker *w, struct arena *a, const struct context *ctx, const struct upkeep_cluster *c,
			struct str keep, struct db_batch *b, int64_t *links, struct error *err)
{
	int64_t now = clock_wall_ms();
	size_t i;

	for (i = 0; i < c->n; i++) {
		if (str_eq(c->v[i]->id, keep))
			continue;
		if (!upkeep_move_links(w, a, ctx, c->v[i]->id, keep, b, links, err))
			return false;
		knowledge_archive(b, ctx, c->v[i]->id, "merged", now);
	}
	return true;
}
