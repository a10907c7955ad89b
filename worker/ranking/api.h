/* SPDX-License-Identifier: MIT */
/*
 * Private to worker/ranking/: what the handlers of ratings share.
 */
#ifndef WORKER_RANKING_API_H
#define WORKER_RANKING_API_H

#include "common/db.h"
#include "worker/http/route.h"
#include "worker/ranking/ranking_math.h"

struct api_rating {
	struct str agent;
	int64_t elo_milli, wins, losses, draws, updated_at;
	/* Over all domains. */
	int64_t debates, accepted, critiques, valuable, votes, conforming, flips;
};

/* Of ratings r, and of x: "r" itself, or the row of a domain. */
#define RATING_COLUMNS(x)                                                                                 \
	x ".agent, " x ".elo_milli, " x ".wins, " x ".losses, " x ".draws, " x ".updated_at, r.debates, " \
	  "r.accepted, r.critiques, r.valuable, r.votes, r.conforming, r.flips"

struct api_rating rating_row(const struct db_rows *r, size_t i);
int64_t rating_matches(const struct api_rating *r);
/* 1 less the share of debates in which a position changed; 1 without debates. */
double rating_consistency(const struct api_rating *r);
/* One rating under all the names that clients read it by; rank 0: null. */
json_t *rating_entry(const struct api_rating *r, int64_t rank);

struct db *ranking_db(const struct http_request *req);
void ranking_put_real(json_t *o, const char *key, double v);
double ranking_share(int64_t part, int64_t whole);
/* Is the text an agent's name? Else ERR_INVALID_PATH for the field. */
bool ranking_name(struct str name, const char *field, struct error *err) MUST_CHECK;
/*
 * The rating of an agent, in a domain if one is named; who is not known has the starting rating and *rank 0.
 */
CO_FN bool ranking_load(struct http_request *req, struct str agent, struct str domain, struct api_rating *out,
			int64_t *rank, struct error *err) MUST_CHECK;
/* {agent} of the path and its rating. False: answered. */
CO_FN bool ranking_asked(struct http_request *req, struct api_rating *out, int64_t *rank) MUST_CHECK;

/*
 * Parts of answers, in the request's arena; names that come from a path have been checked. False: the store failed.
 */
/* The leaderboard that the query asks for (domain, sort_by, order, min_debates, offset). */
CO_FN bool ranking_board(struct http_request *req, int64_t limit, json_t **out, struct error *err) MUST_CHECK;
/* The newest matches, by limit, offset and domain of the query. */
CO_FN bool ranking_matches(struct http_request *req, json_t **out, struct error *err) MUST_CHECK;
/* Figures of the workspace. */
CO_FN bool ranking_figures(struct http_request *req, json_t **out, struct error *err) MUST_CHECK;
/* {prediction_count, accuracy, brier_score, ece, calibration_score} over all domains, or null without predictions. */
CO_FN bool ranking_calibration(struct http_request *req, struct str agent, json_t **out, struct error *err) MUST_CHECK;
/* [{domain, elo, relative, matches, wins, win_rate}], the best first. */
CO_FN bool ranking_domains(struct http_request *req, const struct api_rating *rating, json_t **out,
			   struct error *err) MUST_CHECK;
/* The matches of the two agents that the path names; ERR_INVALID_PATH for a name that is none. */
CO_FN bool ranking_duel(struct http_request *req, json_t **out, struct error *err) MUST_CHECK;
/* Changes of position of an agent in its newest debates, newest first. */
CO_FN bool ranking_flips(struct http_request *req, struct str agent, json_t **out, struct error *err) MUST_CHECK;
/* Positions that an agent ended its newest debates with. */
CO_FN bool ranking_positions(struct http_request *req, struct str name, int64_t limit, json_t **out,
			     struct error *err) MUST_CHECK;

/* A GET of agents:read made from ratings. */
#define RANKING_READ(p, fn, text, schema) \
	ROUTE(GET, p, fn, "agents:read", READ, text, .response = (schema), .sources = "ratings")
/* The same under both spellings of an agent's path. */
#define RANKING_AGENT(suffix, fn, text, schema)                     \
	RANKING_READ("/api/agent/{name}" suffix, fn, text, schema), \
	    RANKING_READ("/api/agents/{name}" suffix, fn, text, schema)

#endif
