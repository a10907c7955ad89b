/* SPDX-License-Identifier: MIT */
/*
 * What is known of agents when a debate asks: rating, calibration, reputation, in one read. Called by journalled steps
 * and by the list of agents. Changes nothing.
 */
#include "worker/ranking/ranking_math.h"

#include "common/json.h"
#include "worker/engine/domain.h"

#define STANDING_NAMES 32 /* in one statement, see its text */
#define STANDING_ONE 1000000
#define STANDING_CALLS_MIN 10 /* calls below which nothing is said of reliability */

/* Names that are not needed are NULL, which equals nothing. */
static const char standing_sql[] =
    "SELECT r.agent, r.elo_milli, r.wins + r.losses + r.draws, d.elo_milli, c.samples, c.brier_ppm, c.ece_ppm,"
    " c.bias_ppm, c.temperature_milli, r.debates, r.accepted, r.critiques, r.valuable, r.calls, r.failures, r.flips,"
    " r.wins, r.losses FROM ratings r"
    " LEFT JOIN domain_ratings d ON d.workspace_id = r.workspace_id AND d.agent = r.agent AND d.domain = $2"
    " LEFT JOIN calibrations c ON c.workspace_id = r.workspace_id AND c.agent = r.agent AND c.domain = ''"
    " WHERE r.workspace_id = $1 AND r.agent IN ($3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,"
    " $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34)";

enum standing_column {
	S_AGENT,
	S_ELO,
	S_MATCHES,
	S_DOMAIN_ELO,
	S_SAMPLES,
	S_BRIER,
	S_ECE,
	S_BIAS,
	S_TEMPERATURE,
	S_DEBATES,
	S_ACCEPTED,
	S_CRITIQUES,
	S_VALUABLE,
	S_CALLS,
	S_FAILURES,
	S_FLIPS,
	S_WINS,
	S_LOSSES,
	S_COLUMNS
};

static int64_t standing_share(int64_t part, int64_t whole, int64_t unknown_ppm)
{
	return whole > 0 ? part * STANDING_ONE / whole : unknown_ppm;
}

int64_t ranking_reputation(const struct ranking_record *r)
{
	return (6 * standing_share(r->accepted, r->debates, STANDING_ONE / 2) +
		4 * standing_share(r->valuable, r->critiques, STANDING_ONE / 2)) /
	       10;
}

static json_t *standing_of(const int64_t v[S_COLUMNS], bool has_domain, bool has_calibration)
{
	const struct ranking_record record = {v[S_DEBATES], v[S_ACCEPTED], v[S_CRITIQUES], v[S_VALUABLE]};
	json_t *o = json_object();

	json_put_int(o, "elo_milli", v[S_ELO]);
	json_put_int(o, "matches", v[S_MATCHES]);
	json_put_int(o, "wins", v[S_WINS]);
	json_put_int(o, "losses", v[S_LOSSES]);
	if (has_domain)
		json_put_int(o, "domain_elo_milli", v[S_DOMAIN_ELO]);
	if (has_calibration) {
		json_put_int(o, "samples", v[S_SAMPLES]);
		json_put_int(o, "brier_ppm", v[S_BRIER]);
		json_put_int(o, "ece_ppm", v[S_ECE]);
		json_put_int(o, "bias_ppm", v[S_BIAS]);
		if (v[S_SAMPLES] >= CALIBRATION_FIT_MIN)
			json_put_int(o, "temperature_milli", v[S_TEMPERATURE]);
		if (v[S_SAMPLES] >= CALIBRATION_SAMPLES_MIN)
			json_put_int(o, "calibration_ppm", calibration_score(v[S_SAMPLES], v[S_BRIER]));
	}
	if (v[S_DEBATES] > 0) {
		json_put_int(o, "reputation_ppm", ranking_reputation(&record));
		json_put_int(o, "consistency_ppm", STANDING_ONE - standing_share(v[S_FLIPS], v[S_DEBATES], 0));
	}
	if (v[S_CALLS] >= STANDING_CALLS_MIN)
		json_put_int(o, "reliability_ppm", standing_share(v[S_CALLS] - v[S_FAILURES], v[S_CALLS], 0));
	return o;
}

/* Reads up to STANDING_NAMES of the names from `first` on. */
CO_FN static bool standing_read(struct db *db, struct arena *a, const struct context *ctx, const json_t *agents,
				size_t first, struct str domain, json_t *out, struct error *err)
{
	struct db_val args[2 + STANDING_NAMES] = {DB_S(ctx->workspace_id), DB_S(domain)};
	int64_t v[S_COLUMNS];
	struct db_rows r;
	size_t i, k;

	for (i = 0; i < STANDING_NAMES; i++) {
		const char *name = json_string_value(json_array_get(agents, first + i));

		args[2 + i] = name != NULL ? DB_Z(name) : DB_NONE;
	}
	if (!db_query(db, a, standing_sql, args, countof(args), &r, err))
		return false;
	for (i = 0; i < r.count; i++) {
		for (k = S_ELO; k < S_COLUMNS; k++)
			v[k] = db_int(&r, i, k);
		json_object_set_new(out, arena_str(a, db_str(&r, i, S_AGENT)).p,
				    standing_of(v, !db_null(&r, i, S_DOMAIN_ELO), !db_null(&r, i, S_SAMPLES)));
	}
	return true;
}

CO_FN bool ranking_standing(struct db *db, const struct context *ctx, const json_t *agents, struct str task,
			    json_t **out, struct error *err)
{
	struct arena *a = arena_new(0);
	struct str domain = domain_of(task);
	bool ok = true;
	size_t i;

	*out = json_object();
	for (i = 0; ok && i < json_array_size(agents); i += STANDING_NAMES)
		ok = standing_read(db, a, ctx, agents, i, domain, *out, err);
	arena_free(a);
	if (ok)
		return true;
	json_decref(*out);
	*out = NULL;
	return false;
}

CO_FN bool ranking_read(struct db *db, const struct context *ctx, const json_t *agents, json_t **out, struct error *err)
{
	json_t *standing;
	const json_t *v;
	size_t i;

	*out = NULL;
	if (!ranking_standing(db, ctx, agents, STR(""), &standing, err))
		return false;
	*out = json_object();
	json_array_foreach(agents, i, v)
	{
		const char *name = json_string_value(v);

		json_put_int(*out, name, json_get_int(json_object_get(standing, name), "elo_milli", RANKING_START));
	}
	json_decref(standing);
	return true;
}

/* ---- before a debate is rated ---- */

CO_FN static bool standing_board(struct db *db, struct arena *a, const struct context *ctx, json_t *board,
				 struct error *err)
{
	struct db_rows r;
	size_t i;

	if (!db_query(db, a,
		      "SELECT agent, elo_milli, wins, wins + losses + draws FROM ratings WHERE workspace_id = $1"
		      " AND wins + losses + draws > 0 ORDER BY elo_milli DESC, agent LIMIT 10",
		      DB_ARGS(DB_S(ctx->workspace_id)), &r, err))
		return false;
	for (i = 0; i < r.count; i++) {
		json_t *o = json_object();

		json_put_str(o, "agent", db_str(&r, i, 0));
		json_put_int(o, "elo_milli", db_int(&r, i, 1));
		json_put_int(o, "wins", db_int(&r, i, 2));
		json_put_int(o, "debates", db_int(&r, i, 3));
		json_array_append_new(board, o);
	}
	return true;
}

CO_FN bool ranking_before(struct db *db, const struct context *ctx, struct str debate_id, const json_t *agents,
			  struct str task, json_t **out, struct error *err)
{
	struct arena *a = arena_new(0);
	json_t *board = json_array(), *standing = NULL;
	struct db_rows rated;
	bool ok = ranking_standing(db, ctx, agents, task, &standing, err) && standing_board(db, a, ctx, board, err) &&
		  db_query(db, a, "SELECT 1 FROM rating_changes WHERE debate_id = $1 AND workspace_id = $2 LIMIT 1",
			   DB_ARGS(DB_S(debate_id), DB_S(ctx->workspace_id)), &rated, err);

	*out = ok ? json_pack("{s:O, s:O, s:b}", "standing", standing, "board", board, "rated", rated.count > 0) : NULL;
	json_decref(standing);
	json_decref(board);
	arena_free(a);
	return ok;
}
