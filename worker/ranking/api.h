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

/* A GET of agents:read made from ratings. */
#define RANKING_READ(p, fn, text, schema) \
	ROUTE(GET, p, fn, "agents:read", READ, text, .response = (schema), .sources = "ratings")
/* The same under both spellings of an agent's path. */
#define RANKING_AGENT(suffix, fn, text, schema)                     \
	RANKING_READ("/api/agent/{name}" suffix, fn, text, schema), \
	    RANKING_READ("/api/agents/{name}" suffix, fn, text, schema)

#endif
