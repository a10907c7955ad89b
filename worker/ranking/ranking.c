/* SPDX-License-Identifier: MIT */
/*
 * Elo from finished debates: the winner against everyone else, pair by pair, in whole milli-points. Called by the
 * runner when a debate ends and as a journalled step. Uses neither clock nor the mathematics library, so that every
 * machine computes the same changes; the stored ratings move by increments, so that two debates ending at once both
 * count.
 */
#include "worker/ranking/ranking_math.h"

#include "common/json.h"

#define RANKING_K_MILLI 32000
#define RANKING_LN10 2.302585092994046
#define RANKING_SPREAD 4000 /* points; beyond it the expectation does not change any more */
#define RANKING_HALVINGS 10
#define RANKING_TERMS 8

/* ---- arithmetic ---- */

/* 10^x for |x| <= 10 from additions and multiplications only: a Taylor series of a small argument, squared up again. */
static double ranking_pow10(double x)
{
	double y = x * RANKING_LN10 / (double)(1 << RANKING_HALVINGS), term = 1.0, sum = 1.0;
	int i;

	for (i = 1; i <= RANKING_TERMS; i++) {
		term = term * y / (double)i;
		sum += term;
	}
	for (i = 0; i < RANKING_HALVINGS; i++)
		sum *= sum;
	return sum;
}

double ranking_expected(int64_t mine_milli, int64_t other_milli)
{
	double points = (double)(other_milli - mine_milli) / 1000.0;

	if (points > RANKING_SPREAD)
		points = RANKING_SPREAD;
	else if (points < -RANKING_SPREAD)
		points = -RANKING_SPREAD;
	return 1.0 / (1.0 + ranking_pow10(points / 400.0));
}

static int64_t ranking_round(double v)
{
	return v < 0 ? -(int64_t)(0.5 - v) : (int64_t)(v + 0.5);
}

/*
 * For each pair what one gains the other loses. The sum over opponents is divided by their number: a win among ten is
 * worth as much as a win between two.
 */
void ranking_changes(struct ranking_player *p, size_t n, int64_t confidence_ppm)
{
	double weight = (double)(confidence_ppm < 100000    ? 100000
				 : confidence_ppm > 1000000 ? 1000000
							    : confidence_ppm) /
			1e6;
	size_t i, k;

	for (i = 0; i < n; i++)
		for (k = i + 1; k < n; k++) {
			int64_t both = p[i].score + p[k].score;
			double result = both == 0 ? 0.5 : (double)p[i].score / (double)both;
			int64_t change =
			    ranking_round(RANKING_K_MILLI * weight *
					  (result - ranking_expected(p[i].before, p[k].before)) / (double)(n - 1));

			p[i].change += change;
			p[k].change -= change;
		}
}

/* ---- the match of a debate ---- */

static int ranking_by_name(const void *a, const void *b)
{
	return strcmp(((const struct ranking_player *)a)->name, ((const struct ranking_player *)b)->name);
}

/* Who said something, in name order; the winner's score is 2, the others' 1 on a consensus, else 0. */
static size_t ranking_players(struct arena *a, const json_t *result, const json_t *before, struct ranking_player **out)
{
	const json_t *participants = json_get_arr(result, "participants"),
		     *proposals = json_get_obj(result, "proposals"), *e;
	bool reached = json_get_bool(json_get_obj(result, "consensus"), "reached", false);
	struct ranking_player *p = arena_zalloc(a, (json_array_size(participants) + 1) * sizeof(*p));
	struct str winner = json_get_str(result, "winner", STR(""));
	size_t i, n = 0;

	json_array_foreach(participants, i, e)
	{
		const char *name = json_string_value(e);

		if (name == NULL || json_object_get(proposals, name) == NULL)
			continue;
		p[n].name = name;
		p[n].winner = str_eqz(winner, name);
		p[n].score = p[n].winner ? 2 : reached;
		p[n].before = json_get_int(before, name, RANKING_START);
		n++;
	}
	qsort(p, n, sizeof(*p), ranking_by_name);
	*out = p;
	return n;
}

static void ranking_add_player(struct db_batch *b, const struct context *ctx, const struct ranking_player *p,
			       int64_t now_ms)
{
	db_batch_add(b,
		     "INSERT INTO ratings (workspace_id, agent, org_id, elo_milli, wins, losses, draws, updated_at)"
		     " VALUES ($1, $2, $3, $8 + $4, $5, $6, 0, $7) ON CONFLICT (workspace_id, agent) DO UPDATE SET"
		     " elo_milli = ratings.elo_milli + $4, wins = ratings.wins + excluded.wins,"
		     " losses = ratings.losses + excluded.losses, updated_at = excluded.updated_at",
		     DB_ARGS(DB_S(ctx->workspace_id), DB_Z(p->name), DB_S(ctx->org_id), DB_I(p->change),
			     DB_I(p->winner), DB_I(!p->winner), DB_I(now_ms), DB_I(RANKING_START)),
		     1);
}

static json_t *ranking_event(const json_t *result, const struct ranking_player *p, size_t n)
{
	json_t *data = json_object(), *names = json_array(), *changes = json_object(), *ratings = json_object();
	size_t i;

	for (i = 0; i < n; i++) {
		json_array_append_new(names, json_string(p[i].name));
		json_object_set_new(changes, p[i].name, json_real((double)p[i].change / 1e3));
		json_object_set_new(ratings, p[i].name, json_real((double)(p[i].before + p[i].change) / 1e3));
	}
	json_put_str(data, "debate_id", json_get_str(result, "debate_id", STR("")));
	json_put_str(data, "winner", json_get_str(result, "winner", STR("")));
	json_put_str(data, "domain", STR(RANKING_DOMAIN));
	json_object_set_new(data, "participants", names);
	json_object_set_new(data, "elo_changes", changes);
	json_object_set_new(data, "elo_ratings", ratings);
	return json_pack("{s:s, s:o}", "type", "match_recorded", "data", data);
}

static void ranking_add_match(struct db_batch *b, struct arena *a, const struct context *ctx, const json_t *result,
			      const struct ranking_player *p, size_t n)
{
	json_t *names = json_own(a, json_array()), *changes = json_own(a, json_object());
	size_t i;

	for (i = 0; i < n; i++) {
		json_array_append_new(names, json_string(p[i].name));
		json_put_int(changes, p[i].name, p[i].change);
	}
	db_batch_add(
	    b,
	    "INSERT INTO matches (debate_id, org_id, workspace_id, winner, participants, changes, domain, created_at)"
	    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
	    DB_ARGS(DB_S(json_get_str(result, "debate_id", STR(""))), DB_S(ctx->org_id), DB_S(ctx->workspace_id),
		    DB_S(json_get_str(result, "winner", STR(""))), DB_S(json_canonical(a, names)),
		    DB_S(json_canonical(a, changes)), DB_S(STR(RANKING_DOMAIN)),
		    DB_I(json_get_int(result, "ended_at_ms", 0))),
	    1);
}

bool ranking_add(struct db_batch *b, const struct context *ctx, const json_t *result, const json_t *before,
		 json_t *events, struct error *err)
{
	const json_t *consensus = json_get_obj(result, "consensus");
	struct ranking_player *p;
	struct arena *a;
	bool won = false;
	size_t i, n;

	if (json_get_str(result, "debate_id", STR("")).n == 0)
		return error_set(err, ERR_INTERNAL, "a result without debate_id is not rated");
	if (json_get_bool(result, "demo", false))
		return true;
	a = arena_new(0);
	n = ranking_players(a, result, before, &p);
	for (i = 0; i < n; i++)
		won = won || p[i].winner;
	if (won && n >= 2) {
		ranking_changes(p, n, json_get_int(consensus, "confidence_ppm", 0));
		for (i = 0; i < n; i++)
			ranking_add_player(b, ctx, &p[i], json_get_int(result, "ended_at_ms", 0));
		ranking_add_match(b, a, ctx, result, p, n);
		json_array_append_new(events, ranking_event(result, p, n));
	}
	arena_free(a);
	return true;
}
