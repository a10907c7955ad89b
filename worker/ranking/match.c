/* SPDX-License-Identifier: MIT */
/*
 * What a completed debate means for its agents: the match, ratings over all and of its subject, reputation, history and
 * the events that tell of it. Called while the finishing batch is built, more than once for the same debate: a function
 * of result and journalled standing alone. Stored ratings move by increments, so that two debates ending at once both
 * count.
 */
#include "worker/ranking/ranking_math.h"

#include "common/json.h"
#include "common/metrics.h"
#include "worker/engine/domain.h"

#define MATCH_NO_SIDE (-1)

/* Scores of debate.md 5.1, doubled: 1 for the position that prevailed, half for others of a consensus. */
enum { MATCH_SCORE_OTHER = 1, MATCH_SCORE_TOP = 2 };

struct match_player {
	struct ranking_player elo;
	struct str name;
	bool in;      /* has a proposal; who has none is not rated, only its failed calls count */
	int64_t side; /* index of the group of proposals that agree */
	bool top;     /* of the winner's group */
	int64_t domain_before, wins, matches, accepted, critiques, valuable, votes, conforming, calls, failures, flips;
};

struct match {
	struct arena *arena;
	const struct context *ctx;
	const json_t *result;
	struct str debate_id, domain, winner;
	bool reached, won; /* won: somebody did, it is a match */
	size_t tops;
	int64_t at_ms;
	struct match_player *players; /* in name order: the order in which rows are locked */
	size_t n;
};

/* ---- reading the result ---- */

static struct match_player *match_find(const struct match *m, struct str name)
{
	size_t i;

	for (i = 0; i < m->n; i++)
		if (str_eq(m->players[i].name, name))
			return &m->players[i];
	return NULL;
}

/* Proposals that agree share a side; where the decision formed no groups each stands for itself. */
static void match_sides(struct match *m)
{
	const json_t *groups = json_get_arr(json_get_obj(m->result, "consensus"), "groups"), *group, *agent;
	struct match_player *p, *winner = match_find(m, m->winner);
	size_t i, k;

	for (i = 0; i < m->n; i++)
		m->players[i].side = m->players[i].in ? (int64_t)(json_array_size(groups) + i) : MATCH_NO_SIDE;
	json_array_foreach(groups, i, group) json_array_foreach(json_get_arr(group, "agents"), k, agent)
	{
		p = match_find(m, str_of(json_string_value(agent)));
		if (p != NULL && p->in)
			p->side = (int64_t)i;
	}
	if (winner == NULL || !winner->in)
		return;
	for (i = 0; i < m->n; i++) {
		m->players[i].top = m->players[i].in && m->players[i].side == winner->side;
		m->players[i].accepted = m->players[i].top && m->reached;
		m->tops += m->players[i].top;
	}
}

bool ranking_same_side(const json_t *result, struct str x, struct str y)
{
	const json_t *groups = json_get_arr(json_get_obj(result, "consensus"), "groups"), *group, *agent;
	size_t i, k;

	json_array_foreach(groups, i, group)
	{
		bool has_x = false, has_y = false;

		json_array_foreach(json_get_arr(group, "agents"), k, agent)
		{
			has_x = has_x || str_eqz(x, json_string_value(agent));
			has_y = has_y || str_eqz(y, json_string_value(agent));
		}
		if (has_x || has_y)
			return has_x && has_y;
	}
	return str_eq(x, y);
}

/* The agent's text of that round, or of the last one before it. */
static const json_t *match_text(const struct match *m, struct str agent, int64_t round, bool before)
{
	const json_t *list = json_get_arr(m->result, "messages"), *e, *found = NULL;
	size_t i;

	json_array_foreach(list, i, e)
	{
		int64_t at = json_get_int(e, "round", 0);

		if (str_eq(json_get_str(e, "agent", STR("")), agent) && (before ? at < round : at == round))
			found = json_object_get(e, "content");
	}
	return found;
}

/* A critique was valuable if it named something and its target answered with another text in that round. */
static bool match_taken_up(const struct match *m, const json_t *critique)
{
	struct str target = json_get_str(critique, "target_agent", STR(""));
	int64_t round = json_get_int(critique, "round", 0);
	const json_t *now, *former;

	if (json_array_size(json_get_arr(critique, "issues")) == 0)
		return false;
	now = match_text(m, target, round, false);
	former = match_text(m, target, round, true);
	return now != NULL && former != NULL && !json_equal(now, former);
}

static void match_count_words(struct match *m)
{
	const json_t *critiques = json_get_arr(m->result, "critiques"), *votes = json_get_arr(m->result, "votes"), *e;
	const json_t *flips = json_get_arr(m->result, "flips");
	struct match_player *p, *choice;
	size_t i;

	json_array_foreach(critiques, i, e)
	{
		p = match_find(m, json_get_str(e, "agent", STR("")));
		if (p != NULL) {
			p->critiques++;
			p->valuable += match_taken_up(m, e);
		}
	}
	json_array_foreach(votes, i, e)
	{
		p = match_find(m, json_get_str(e, "agent", STR("")));
		choice = match_find(m, json_get_str(e, "choice", STR("")));
		if (p != NULL && choice != NULL && m->won) {
			p->votes++;
			p->conforming += choice->top;
		}
	}
	json_array_foreach(flips, i, e)
	{
		p = match_find(m, json_get_str(e, "agent", STR("")));
		if (p != NULL)
			p->flips = 1;
	}
}

static int match_by_name(const void *a, const void *b)
{
	return strcmp(((const struct match_player *)a)->elo.name, ((const struct match_player *)b)->elo.name);
}

/* `before` of former versions is {agent: milli-points}: there nobody is provisional. */
static void match_player_read(struct match *m, const char *name, const json_t *before)
{
	const json_t *standing = json_object_get(json_get_obj(before, "standing"), name);
	const json_t *sums = json_object_get(json_get_obj(m->result, "per_agent"), name);
	struct match_player *p = &m->players[m->n++];

	p->name = str_of(name);
	p->elo.name = name;
	p->in = json_object_get(json_get_obj(m->result, "proposals"), name) != NULL;
	p->elo.before = json_get_int(before, name, json_get_int(standing, "elo_milli", RANKING_START));
	p->domain_before = json_get_int(standing, "domain_elo_milli", p->elo.before);
	p->matches = json_get_int(standing, "matches", 0);
	p->wins = json_get_int(standing, "wins", 0);
	p->elo.provisional = json_get_obj(before, "standing") != NULL && p->matches < RANKING_PROVISIONAL;
	p->calls = json_get_int(sums, "calls", 0);
	p->failures = json_get_int(sums, "failures", 0);
}

/* Rates those who are in: at least two, of whom one won. */
static void match_rate(struct match *m)
{
	struct ranking_player *rated = arena_zalloc(m->arena, (m->n + 1) * sizeof(*rated));
	size_t i, k = 0;

	for (i = 0; i < m->n; i++)
		if (m->players[i].in) {
			rated[k] = m->players[i].elo;
			rated[k++].score = m->players[i].top ? MATCH_SCORE_TOP : m->reached ? MATCH_SCORE_OTHER : 0;
		}
	m->won = m->tops > 0 && k >= 2;
	if (!m->won)
		return;
	ranking_changes(rated, k, json_get_int(json_get_obj(m->result, "consensus"), "confidence_ppm", 0));
	for (i = k = 0; i < m->n; i++)
		if (m->players[i].in)
			m->players[i].elo = rated[k++];
}

static struct match match_read(struct arena *a, const struct context *ctx, const json_t *result, const json_t *before)
{
	const json_t *participants = json_get_arr(result, "participants"), *e;
	struct match m = {.arena = a, .ctx = ctx, .result = result};
	size_t i;

	m.debate_id = json_get_str(result, "debate_id", STR(""));
	m.domain = json_get_str(result, "domain", STR(DOMAIN_GENERAL));
	m.winner = json_get_str(result, "winner", STR(""));
	m.reached = json_get_bool(json_get_obj(result, "consensus"), "reached", false);
	m.at_ms = json_get_int(result, "ended_at_ms", 0);
	m.players = arena_zalloc(a, (json_array_size(participants) + 1) * sizeof(*m.players));
	json_array_foreach(participants, i, e) if (json_is_string(e))
	    match_player_read(&m, json_string_value(e), before);
	qsort(m.players, m.n, sizeof(*m.players), match_by_name);
	match_sides(&m);
	match_rate(&m);
	match_count_words(&m);
	return m;
}

/* ---- what is stored ---- */

/* The top score alone wins, shared it is a draw (debate.md 5.1). */
static const char *match_outcome(const struct match *m, const struct match_player *p)
{
	if (!m->won)
		return "none";
	return !p->top ? "loss" : m->tops == 1 ? "win" : "draw";
}

static bool match_is(const struct match *m, const struct match_player *p, const char *outcome)
{
	return p->in && strcmp(match_outcome(m, p), outcome) == 0;
}

static void match_add_rating(struct db_batch *b, const struct match *m, const struct match_player *p)
{
	db_batch_add(b,
		     "INSERT INTO ratings (workspace_id, agent, org_id, elo_milli, wins, losses, draws, updated_at,"
		     " debates, accepted, critiques, valuable, votes, conforming, calls, failures, flips)"
		     " VALUES ($1, $2, $3, $18 + $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
		     " ON CONFLICT (workspace_id, agent) DO UPDATE SET elo_milli = ratings.elo_milli + $4,"
		     " wins = ratings.wins + excluded.wins, losses = ratings.losses + excluded.losses,"
		     " draws = ratings.draws + excluded.draws, updated_at = excluded.updated_at,"
		     " debates = ratings.debates + excluded.debates, accepted = ratings.accepted + excluded.accepted,"
		     " critiques = ratings.critiques + excluded.critiques,"
		     " valuable = ratings.valuable + excluded.valuable, votes = ratings.votes + excluded.votes,"
		     " conforming = ratings.conforming + excluded.conforming, calls = ratings.calls + excluded.calls,"
		     " failures = ratings.failures + excluded.failures, flips = ratings.flips + excluded.flips",
		     DB_ARGS(DB_S(m->ctx->workspace_id), DB_S(p->name), DB_S(m->ctx->org_id), DB_I(p->elo.change),
			     DB_I(match_is(m, p, "win")), DB_I(match_is(m, p, "loss")), DB_I(match_is(m, p, "draw")),
			     DB_I(m->at_ms), DB_I(p->in), DB_I(p->accepted), DB_I(p->critiques), DB_I(p->valuable),
			     DB_I(p->votes), DB_I(p->conforming), DB_I(p->calls), DB_I(p->failures), DB_I(p->flips),
			     DB_I(RANKING_START)),
		     1);
}

/* Who is new to a subject begins there with the rating over all. */
static void match_add_domain(struct db_batch *b, const struct match *m, const struct match_player *p)
{
	db_batch_add(b,
		     "INSERT INTO domain_ratings (workspace_id, agent, domain, org_id, elo_milli, wins, losses, draws,"
		     " updated_at) VALUES ($1, $2, $3, $4, $10 + $5, $6, $7, $8, $9)"
		     " ON CONFLICT (workspace_id, agent, domain) DO UPDATE SET"
		     " elo_milli = domain_ratings.elo_milli + $5, wins = domain_ratings.wins + excluded.wins,"
		     " losses = domain_ratings.losses + excluded.losses, draws = domain_ratings.draws + excluded.draws,"
		     " updated_at = excluded.updated_at",
		     DB_ARGS(DB_S(m->ctx->workspace_id), DB_S(p->name), DB_S(m->domain), DB_S(m->ctx->org_id),
			     DB_I(p->elo.change), DB_I(match_is(m, p, "win")), DB_I(match_is(m, p, "loss")),
			     DB_I(match_is(m, p, "draw")), DB_I(m->at_ms), DB_I(p->domain_before)),
		     1);
}

static void match_add_change(struct db_batch *b, const struct match *m, const struct match_player *p)
{
	db_batch_add(b,
		     "INSERT INTO rating_changes (debate_id, agent, kind, org_id, workspace_id, domain, outcome, side,"
		     " score_milli, change_milli, created_at) VALUES ($1, $2, 'match', $3, $4, $5, $6, $7, $8, $9, $10)"
		     " ON CONFLICT (debate_id, agent, kind) DO NOTHING",
		     DB_ARGS(DB_S(m->debate_id), DB_S(p->name), DB_S(m->ctx->org_id), DB_S(m->ctx->workspace_id),
			     DB_S(m->domain), DB_Z(match_outcome(m, p)), DB_I(p->side),
			     DB_I(p->elo.score * 1000 / MATCH_SCORE_TOP), DB_I(p->elo.change), DB_I(m->at_ms)),
		     DB_ANY);
}

static void match_add_match(struct db_batch *b, const struct match *m)
{
	json_t *names = json_own(m->arena, json_array()), *changes = json_own(m->arena, json_object());
	json_t *scores = json_own(m->arena, json_object());
	size_t i;

	for (i = 0; i < m->n; i++) {
		const struct match_player *p = &m->players[i];

		if (!p->in)
			continue;
		json_array_append_new(names, json_string(p->elo.name));
		json_put_int(changes, p->elo.name, p->elo.change);
		json_put_int(scores, p->elo.name, p->elo.score * 1000 / MATCH_SCORE_TOP);
	}
	db_batch_add(b,
		     "INSERT INTO matches (debate_id, org_id, workspace_id, winner, participants, changes, domain,"
		     " created_at, scores) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
		     " ON CONFLICT (debate_id) DO NOTHING",
		     DB_ARGS(DB_S(m->debate_id), DB_S(m->ctx->org_id), DB_S(m->ctx->workspace_id), DB_S(m->winner),
			     DB_S(json_canonical(m->arena, names)), DB_S(json_canonical(m->arena, changes)),
			     DB_S(m->domain), DB_I(m->at_ms), DB_S(json_canonical(m->arena, scores))),
		     DB_ANY);
}

/* ---- events ---- */

static json_t *match_points(int64_t milli)
{
	return json_real((double)milli / 1e3);
}

static json_t *match_event(const struct match *m, const char *type)
{
	json_t *e = json_pack("{s:s, s:{}}", "type", type, "data"), *data = json_object_get(e, "data");

	json_put_str(data, "debate_id", m->debate_id);
	json_put_str(data, "domain", m->domain);
	return e;
}

static void match_tell_match(const struct match *m, json_t *events)
{
	json_t *e = match_event(m, "match_recorded"), *data = json_object_get(e, "data");
	json_t *names = json_array(), *changes = json_object(), *ratings = json_object(), *scores = json_object();
	size_t i;

	for (i = 0; i < m->n; i++) {
		const struct match_player *p = &m->players[i];

		if (!p->in)
			continue;
		json_array_append_new(names, json_string(p->elo.name));
		json_object_set_new(changes, p->elo.name, match_points(p->elo.change));
		json_object_set_new(ratings, p->elo.name, match_points(p->elo.before + p->elo.change));
		json_object_set_new(scores, p->elo.name, json_real((double)p->elo.score / MATCH_SCORE_TOP));
	}
	json_put_str(data, "winner", m->winner);
	json_object_set_new(data, "participants", names);
	json_object_set_new(data, "elo_changes", changes);
	json_object_set_new(data, "elo_ratings", ratings);
	json_object_set_new(data, "scores", scores);
	json_array_append_new(events, e);
}

static void match_tell_player(const struct match *m, const struct match_player *p, json_t *events)
{
	json_t *e = match_event(m, "agent_elo_updated"), *data = json_object_get(e, "data");

	json_put_str(data, "agent", p->name);
	json_object_set_new(data, "old_elo", match_points(p->elo.before));
	json_object_set_new(data, "new_elo", match_points(p->elo.before + p->elo.change));
	json_object_set_new(data, "elo_change", match_points(p->elo.change));
	json_object_set_new(data, "change", match_points(p->elo.change));
	json_object_set_new(data, "is_winner", json_boolean(str_eq(p->name, m->winner)));
	json_object_set_new(data, "provisional", json_boolean(p->matches + 1 < RANKING_PROVISIONAL));
	json_array_append_new(events, e);
}

/* A row of the board as it stands after this match. */
struct match_row {
	const char *agent;
	int64_t elo, wins, debates;
};

static int match_by_elo(const void *a, const void *b)
{
	const struct match_row *x = a, *y = b;

	return x->elo != y->elo ? (x->elo < y->elo) - (x->elo > y->elo) : strcmp(x->agent, y->agent);
}

/* The first ten before the match and those who played, in their new order: nobody else can be among the first. */
static size_t match_board(const struct match *m, const json_t *before, struct match_row **out)
{
	const json_t *board = json_get_arr(before, "board"), *e;
	struct match_row *rows = arena_zalloc(m->arena, (json_array_size(board) + m->n + 1) * sizeof(*rows));
	size_t i, n = 0;

	json_array_foreach(board, i, e)
	{
		struct match_player *p = match_find(m, json_get_str(e, "agent", STR("")));

		if (p == NULL || !p->in)
			rows[n++] = (struct match_row){json_string_value(json_object_get(e, "agent")),
						       json_get_int(e, "elo_milli", 0), json_get_int(e, "wins", 0),
						       json_get_int(e, "debates", 0)};
	}
	for (i = 0; i < m->n; i++) {
		const struct match_player *p = &m->players[i];

		if (p->in)
			rows[n++] = (struct match_row){p->elo.name, p->elo.before + p->elo.change,
						       p->wins + match_is(m, p, "win"), p->matches + 1};
	}
	qsort(rows, n, sizeof(*rows), match_by_elo);
	*out = rows;
	return n;
}

static void match_tell_board(const struct match *m, const json_t *before, json_t *events)
{
	json_t *e = match_event(m, "leaderboard_update"), *data = json_object_get(e, "data"), *list = json_array();
	struct match_row *rows;
	size_t i, n = match_board(m, before, &rows);

	for (i = 0; i < n && i < RANKING_BOARD; i++)
		json_array_append_new(list,
				      json_pack("{s:I, s:s, s:f, s:I, s:I}", "rank", (json_int_t)i + 1, "agent",
						rows[i].agent, "elo", (double)rows[i].elo / 1e3, "wins",
						(json_int_t)rows[i].wins, "debates", (json_int_t)rows[i].debates));
	json_object_set(data, "leaderboard", list);
	json_object_set_new(data, "rankings", list);
	json_array_append_new(events, e);
}

/* ---- */

bool ranking_add(struct db_batch *b, const struct context *ctx, const json_t *result, const json_t *before,
		 json_t *events, struct error *err)
{
	struct arena *a;
	struct match m;
	size_t i;

	if (json_get_str(result, "debate_id", STR("")).n == 0)
		return error_set(err, ERR_INTERNAL, "a result without debate_id is not rated");
	if (json_get_bool(result, "demo", false) || json_get_bool(before, "rated", false))
		return true;
	a = arena_new(0);
	m = match_read(a, ctx, result, before);
	for (i = 0; i < m.n; i++)
		match_add_rating(b, &m, &m.players[i]);
	for (i = 0; i < m.n && m.won; i++)
		if (m.players[i].in)
			match_add_domain(b, &m, &m.players[i]);
	for (i = 0; i < m.n; i++)
		if (m.players[i].in)
			match_add_change(b, &m, &m.players[i]);
	if (m.won) {
		match_add_match(b, &m);
		match_tell_match(&m, events);
		for (i = 0; i < m.n; i++)
			if (m.players[i].in)
				match_tell_player(&m, &m.players[i], events);
		match_tell_board(&m, before, events);
	}
	arena_free(a);
	return true;
}

void ranking_counted(const json_t *events)
{
	const json_t *e;
	size_t i;

	json_array_foreach(events, i, e) if (str_eqz(json_get_str(e, "type", STR("")), "match_recorded"))
	    metric_add(M_MATCHES, 1, NULL);
}
