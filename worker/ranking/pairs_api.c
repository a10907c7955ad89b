/* SPDX-License-Identifier: MIT */
/*
 * How agents stand to each other: comparison, head-to-head, allies and rivals. Called by the router. Who held the same
 * position at the end of a debate agreed; nothing else is known of two agents, and nothing else is said.
 */
#include "worker/ranking/api.h"

#include "common/json.h"
#include "worker/worker.h"

#define PAIRS_MATCHES 1000 /* newest debates that are looked at */
#define PAIRS_OTHERS 200
#define PAIRS_AGENTS 10    /* in one comparison */
#define PAIRS_SHARED_MIN 3 /* debates below which two are neither allies nor rivals */
#define PAIRS_RECENT 10

/* ---- head to head ---- */

struct pairs_duel {
	struct str agent, opponent;
	int64_t matches, wins, losses, draws, margin_milli;
	json_t *recent, *domains; /* in the request's arena */
};

static void pairs_count(struct pairs_duel *d, const struct db_rows *r, size_t i)
{
	int64_t margin = db_int(r, i, 1) - db_int(r, i, 2);
	const char *outcome = margin > 0 ? "win" : margin < 0 ? "loss" : "draw";
	struct str domain = db_str(r, i, 3);
	json_t *o, *sums = json_object_getn(d->domains, domain.p, domain.n);

	d->matches++;
	d->wins += margin > 0;
	d->losses += margin < 0;
	d->draws += margin == 0;
	d->margin_milli += margin;
	if (sums == NULL) {
		sums = json_pack("{s:i, s:i, s:i}", "win", 0, "loss", 0, "draw", 0);
		json_object_setn_new(d->domains, domain.p, domain.n, sums);
	}
	json_put_int(sums, outcome, json_get_int(sums, outcome, 0) + 1);
	if (json_array_size(d->recent) == PAIRS_RECENT)
		return;
	o = json_pack("{s:s%, s:s, s:f}", "debate_id", db_str(r, i, 0).p, db_str(r, i, 0).n, "outcome", outcome,
		      "margin", (double)margin / 1e3);
	json_put_str(o, "domain", domain);
	json_put_time(o, "date", db_int(r, i, 4));
	json_array_append_new(d->recent, o);
}

CO_FN static bool pairs_duel(struct http_request *req, struct str agent, struct str opponent, struct pairs_duel *out,
			     struct error *err)
{
	struct db_rows r;
	size_t i;

	*out = (struct pairs_duel){.agent = agent,
				   .opponent = opponent,
				   .recent = json_own(req->arena, json_array()),
				   .domains = json_own(req->arena, json_object())};
	if (!db_query(ranking_db(req), req->arena,
		      "SELECT a.debate_id, a.score_milli, b.score_milli, a.domain, a.created_at FROM rating_changes a"
		      " JOIN rating_changes b ON b.workspace_id = a.workspace_id AND b.debate_id = a.debate_id AND"
		      " b.agent = $3 AND b.kind = 'match' WHERE a.workspace_id = $1 AND a.agent = $2 AND a.kind ="
		      " 'match' AND a.outcome <> 'none' ORDER BY a.created_at DESC, a.debate_id LIMIT $4",
		      DB_ARGS(DB_S(req->ctx.workspace_id), DB_S(agent), DB_S(opponent), DB_I(PAIRS_MATCHES)), &r, err))
		return false;
	for (i = 0; i < r.count; i++)
		pairs_count(out, &r, i);
	return true;
}

static json_t *pairs_duel_view(const struct pairs_duel *d)
{
	json_t *o = json_pack("{s:s%, s:s%, s:I, s:I, s:I}", "agent1", d->agent.p, d->agent.n, "agent2", d->opponent.p,
			      d->opponent.n, "agent1_wins", (json_int_t)d->wins, "agent2_wins", (json_int_t)d->losses,
			      "draws", (json_int_t)d->draws);

	json_put_str(o, "agent", d->agent);
	json_put_str(o, "opponent", d->opponent);
	json_put_int(o, "matches", d->matches);
	json_put_int(o, "total_matchups", d->matches);
	json_put_int(o, "wins", d->wins);
	json_put_int(o, "losses", d->losses);
	ranking_put_real(o, "win_rate", ranking_share(d->wins, d->matches));
	ranking_put_real(o, "avg_margin", ranking_share(d->margin_milli, d->matches * 1000));
	json_object_set(o, "recent_matchups", d->recent);
	json_object_set(o, "domain_breakdown", d->domains);
	return o;
}

CO_FN bool ranking_duel(struct http_request *req, json_t **out, struct error *err)
{
	struct pairs_duel d;

	if (!ranking_name(req->params[0], "name", err) || !ranking_name(req->params[1], "opponent", err) ||
	    !pairs_duel(req, req->params[0], req->params[1], &d, err))
		return false;
	*out = json_own(req->arena, pairs_duel_view(&d));
	return true;
}

CO_FN static void pairs_head_to_head(struct http_request *req)
{
	struct error err = ERROR_INIT;
	json_t *duel;

	if (ranking_duel(req, &duel, &err))
		http_reply_json(req, 200, json_incref(duel));
	else
		http_reply_error(req, &err);
}

/* ---- comparison ---- */

static bool pairs_add_name(struct str *names, size_t *n, struct str name, struct error *err)
{
	size_t i;

	name = str_trim(name);
	for (i = 0; i < *n; i++)
		if (str_eq(names[i], name))
			return true;
	if (*n == PAIRS_AGENTS)
		return error_field(err, ERR_INVALID_VALUE, "agents", "at most %d agents are compared", PAIRS_AGENTS);
	if (!ranking_name(name, "agents", err)) {
		err->code = ERR_INVALID_VALUE;
		return false;
	}
	names[(*n)++] = name;
	return true;
}

/* agents=a&agents=b, agents=a,b, agent1=a&agent2=b */
static bool pairs_names(struct http_request *req, struct str *names, size_t *n, struct error *err)
{
	static const char *const keys[] = {"agents", "agent1", "agent2"};
	struct str rest = req->query, pair, list, name;
	ptrdiff_t eq;
	size_t i;

	*n = 0;
	while (str_split(&rest, '&', &pair)) {
		eq = str_chr(pair, '=');
		for (i = 0; i < countof(keys) && eq > 0; i++) {
			if (!str_eqz(str_sub(pair, 0, (size_t)eq), keys[i]))
				continue;
			list = http_decoded(req->arena, str_sub(pair, (size_t)eq + 1, pair.n));
			while (str_split(&list, ',', &name))
				if (!pairs_add_name(names, n, name, err))
					return false;
		}
	}
	return *n >= 2 || error_field(err, ERR_MISSING_FIELD, "agents", "at least two different agents are needed");
}

CO_FN static void pairs_compare(struct http_request *req)
{
	struct str names[PAIRS_AGENTS];
	struct error err = ERROR_INIT;
	struct api_rating rating;
	struct pairs_duel d;
	json_t *list = json_own(req->arena, json_array());
	bool ok;
	int64_t rank;
	size_t i, n;

	ok = pairs_names(req, names, &n, &err);
	for (i = 0; ok && i < n; i++) {
		ok = ranking_load(req, names[i], http_query(req, "domain"), &rating, &rank, &err);
		if (ok)
			json_array_append_new(list, rating_entry(&rating, rank));
	}
	if (!ok || !pairs_duel(req, names[0], names[1], &d, &err)) {
		http_reply_error(req, &err);
		return;
	}
	http_reply_json(req, 200, json_pack("{s:O, s:o}", "agents", list, "head_to_head", pairs_duel_view(&d)));
}

/* ---- allies and rivals ---- */

struct pairs_other {
	struct str name;
	int64_t shared, agreed, wins, losses;
};

/* Who was in an agent's newest debates, most shared first. */
CO_FN static bool pairs_others(struct http_request *req, struct str agent, struct pairs_other **out, size_t *n,
			       struct error *err)
{
	struct db_rows r;
	size_t i;

	if (!db_query(ranking_db(req), req->arena,
		      "SELECT b.agent, COUNT(*), SUM(CASE WHEN a.side = b.side THEN 1 ELSE 0 END),"
		      " SUM(CASE WHEN a.score_milli > b.score_milli THEN 1 ELSE 0 END),"
		      " SUM(CASE WHEN a.score_milli < b.score_milli THEN 1 ELSE 0 END)"
		      " FROM (SELECT workspace_id, debate_id, agent, side, score_milli FROM rating_changes WHERE"
		      " workspace_id = $1 AND agent = $2 AND kind = 'match' ORDER BY created_at DESC LIMIT $3) a"
		      " JOIN rating_changes b ON b.workspace_id = $1 AND b.debate_id = a.debate_id"
		      " AND b.agent <> a.agent AND b.kind = 'match' GROUP BY b.agent ORDER BY 2 DESC, 1 LIMIT $4",
		      DB_ARGS(DB_S(req->ctx.workspace_id), DB_S(agent), DB_I(PAIRS_MATCHES), DB_I(PAIRS_OTHERS)), &r,
		      err))
		return false;
	*n = r.count;
	*out = arena_zalloc(req->arena, (r.count + 1) * sizeof(**out));
	for (i = 0; i < r.count; i++)
		(*out)[i] = (struct pairs_other){db_str(&r, i, 0), db_int(&r, i, 1), db_int(&r, i, 2), db_int(&r, i, 3),
						 db_int(&r, i, 4)};
	return true;
}

static const char *pairs_relation(const struct pairs_other *o)
{
	if (o->shared < PAIRS_SHARED_MIN || o->agreed * 2 == o->shared)
		return "neutral";
	return o->agreed * 2 > o->shared ? "ally" : "rival";
}

static json_t *pairs_other_view(const struct pairs_other *o)
{
	double agreement = ranking_share(o->agreed, o->shared);
	json_t *v = json_object();

	json_put_str(v, "agent", o->name);
	json_put_str(v, "relationship", str_of(pairs_relation(o)));
	json_put_int(v, "shared_debates", o->shared);
	json_put_int(v, "debate_count", o->shared);
	ranking_put_real(v, "agreement_rate", agreement);
	ranking_put_real(v, "alliance_score", agreement);
	ranking_put_real(v, "disagreement_rate", 1.0 - agreement);
	ranking_put_real(v, "rivalry_score", 1.0 - agreement);
	json_put_int(v, "wins_against", o->wins);
	json_put_int(v, "losses_against", o->losses);
	return v;
}

/* By the share of agreement, the strongest relation first; then more debates, then the name. */
static int pairs_order(const void *a, const void *b)
{
	const struct pairs_other *x = a, *y = b;
	int64_t sx = x->agreed * y->shared, sy = y->agreed * x->shared;
	size_t n = x->name.n < y->name.n ? x->name.n : y->name.n;
	int order;

	if (sx != sy)
		return sx > sy ? -1 : 1;
	if (x->shared != y->shared)
		return x->shared > y->shared ? -1 : 1;
	order = memcmp(x->name.p, y->name.p, n);
	return order != 0 ? order : (x->name.n > y->name.n) - (x->name.n < y->name.n);
}

static json_t *pairs_of(const struct pairs_other *others, size_t n, const char *relation, int64_t limit)
{
	bool backwards = strcmp(relation, "rival") == 0;
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < n && (int64_t)json_array_size(list) < limit; i++) {
		const struct pairs_other *o = &others[backwards ? n - 1 - i : i];

		if (strcmp(pairs_relation(o), relation) == 0)
			json_array_append_new(list, pairs_other_view(o));
	}
	return list;
}

/* The agent's others in order, and the limit that was asked for. False: answered. */
CO_FN static bool pairs_asked(struct http_request *req, struct pairs_other **others, size_t *n, int64_t *limit)
{
	struct error err = ERROR_INIT;

	*limit = http_query_int(req, "limit", 1, 100, 5);
	if (!ranking_name(req->params[0], "name", &err) || !pairs_others(req, req->params[0], others, n, &err)) {
		http_reply_error(req, &err);
		return false;
	}
	qsort(*others, *n, sizeof(**others), pairs_order);
	return true;
}

/* /network, /relationships, /rivals, /allies: which lists there are is the path's. */
CO_FN static void pairs_network(struct http_request *req)
{
	static const struct {
		const char *key, *relation, *suffix;
	} lists[] = {{"allies", "ally", "/allies"}, {"rivals", "rival", "/rivals"}, {"neutrals", "neutral", ""}};
	struct str path = str_of(req->route->path);
	struct pairs_other *others;
	json_t *o = json_object();
	int64_t limit;
	size_t i, n;
	bool whole;

	if (!pairs_asked(req, &others, &n, &limit)) {
		json_decref(o);
		return;
	}
	whole = str_ends(path, STR("/network")) || str_ends(path, STR("/relationships"));
	json_put_str(o, "agent", req->params[0]);
	for (i = 0; i < countof(lists); i++)
		if (whole || (lists[i].suffix[0] != '\0' && str_ends(path, str_of(lists[i].suffix))))
			json_object_set_new(o, lists[i].key, pairs_of(others, n, lists[i].relation, limit));
	http_reply_json(req, 200, o);
}

CO_FN static void pairs_relationship(struct http_request *req)
{
	struct pairs_other *others, none = {.name = req->params[1]};
	struct error err = ERROR_INIT;
	struct pairs_duel d;
	int64_t limit;
	json_t *o;
	size_t i, n;

	if (!pairs_asked(req, &others, &n, &limit))
		return;
	if (!ranking_name(req->params[1], "other", &err) ||
	    !pairs_duel(req, req->params[0], req->params[1], &d, &err)) {
		http_reply_error(req, &err);
		return;
	}
	for (i = 0; i < n && !str_eq(others[i].name, req->params[1]); i++)
		;
	o = pairs_other_view(i < n ? &others[i] : &none);
	json_put_str(o, "agent_a", req->params[0]);
	json_put_str(o, "agent_b", req->params[1]);
	json_object_set_new(o, "head_to_head", pairs_duel_view(&d));
	http_reply_json(req, 200, o);
}

static const struct route pairs_rows[] = {
    RANKING_READ("/api/agent/compare", pairs_compare, "Agents side by side", "AgentComparison"),
    RANKING_READ("/api/agents/compare", pairs_compare, "Agents side by side", "AgentComparison"),
    RANKING_AGENT("/head-to-head/{opponent}", pairs_head_to_head, "Matches of two agents", "HeadToHead"),
    RANKING_AGENT("/network", pairs_network, "Allies, rivals and others", "AgentNetwork"),
    RANKING_AGENT("/relationships", pairs_network, "Allies, rivals and others", "AgentNetwork"),
    RANKING_AGENT("/relationships/{other}", pairs_relationship, "How two agents stand to each other",
		  "AgentRelationship"),
    RANKING_AGENT("/rivals", pairs_network, "With whom an agent disagrees most", "AgentNetwork"),
    RANKING_AGENT("/allies", pairs_network, "With whom an agent agrees most", "AgentNetwork"),
};

const struct route_table ranking_pairs_routes = {pairs_rows, countof(pairs_rows)};
