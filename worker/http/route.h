/* SPDX-License-Identifier: MIT */
/*
 * Routes are tables at the end of each area's api.c. At start they are compiled: exact paths into a hash, paths with
 * parameters into a tree, and for each route the chain of middleware that applies to it.
 */
#ifndef WORKER_HTTP_ROUTE_H
#define WORKER_HTTP_ROUTE_H

#include "worker/http/http.h"

enum route_flags {
	ROUTE_PUBLIC = 1 << 0,    /* needs no credentials ever (probes, API description) */
	ROUTE_INLINE = 1 << 1,    /* the handler never waits: runs on the loop's stack */
	ROUTE_WS = 1 << 2,        /* GET with an upgrade; the handler calls ws_accept */
	ROUTE_STREAM = 1 << 3,    /* may answer with a stream; no request timeout once it has begun */
	ROUTE_ANY_TYPE = 1 << 4,  /* body need not be JSON */
	ROUTE_LATE_AUTH = 1 << 5, /* with ROUTE_WS: without credentials the first message must bring them */
	ROUTE_FILES = 1 << 6,     /* answers with files: not part of the API, and encodes its answers itself */
	ROUTE_SECRET =
	    1 << 7,         /* answers hold secrets: never compressed (their length would tell, BREACH), never stored */
	ROUTE_ETAG = 1 << 8 /* a 200 to GET gets an entity tag of its body, and If-None-Match a 304 */
};

enum route_rate { RATE_NONE, RATE_READ, RATE_WRITE, RATE_CREATE, RATE_EXPORT };

/* A route that has a successor. */
struct route_deprecation {
	int64_t since;         /* seconds since 1970 */
	const char *successor; /* path */
	const char *sunset;    /* HTTP date of its end, or NULL */
};

struct route {
	enum http_method method;
	/*
	 * "/api/debates/{id}"; /api/v1 and /api/v2 spellings match too. "/{name...}" stands for every path outside /api
	 * that no other row has; the parameter is the path.
	 */
	const char *path;
	void (*handler)(struct http_request *req);
	const char
	    *permission; /* one of worker/permission/permission_table.c: "debates:read"; NULL only with ROUTE_PUBLIC */
	enum route_rate rate;
	unsigned flags;
	size_t body_limit;                          /* 0: limits.body_bytes for methods with a body */
	const char *summary;                        /* one line for the API description */
	const char *request;                        /* name of the body schema, or NULL */
	const char *response;                       /* name of the 200 schema, or NULL */
	const struct route_deprecation *deprecated; /* NULL: it is not */
	/*
	 * What a GET's answer is made from, by blanks ("ratings"): it is the same for all who have the same tenant and
	 * permissions, and is kept until one of these changes. NULL: it is made anew.
	 */
	const char *sources;
};

/*
 * A row of a table: ROUTE(GET, "/api/things/{id}", thing_show, "things.read", READ, "One thing"). Further members
 * follow by name: .flags = ROUTE_INLINE.
 */
#define ROUTE(m, p, h, perm, r, s, ...)                                                                  \
	{                                                                                                \
		.method = HTTP_##m, .path = (p), .handler = (h), .permission = (perm), .rate = RATE_##r, \
		.summary = (s)__VA_OPT__(, ) __VA_ARGS__                                                 \
	}
/* The same with the schemas of body and answer. */
#define ROUTE_IO(m, p, h, perm, r, s, in, out) ROUTE(m, p, h, perm, r, s, .request = (in), .response = (out))

struct route_table {
	const struct route *v;
	size_t n;
};

/* A step of a chain. True: go on; false: it has replied. May wait only if `waits`. */
struct middleware {
	const char *name;
	bool (*applies)(const struct route *r, const struct conf *c); /* NULL: always */
	/* Before the body is read: may change the limit, or refuse. Never waits. Or NULL. */
	bool (*head)(struct http_request *req, size_t *body_limit, struct error *err);
	bool (*before)(struct http_request *req); /* or NULL */
	/*
	 * Asked before `before` where the route is inline: would it wait for this request? Then it and what follows run
	 * on a coroutine. For a step that mostly finds what it needs in a cache; or NULL: never.
	 */
	bool (*must_wait)(struct http_request *req);
	/*
	 * Sees a complete answer with a body before its head is made; may change status and body, and add headers.
	 * True: it holds the request and calls http_reply_resume later; the last step that has such a function only. Or
	 * NULL.
	 */
	bool (*body)(struct http_request *req, int *status, const char *content_type, struct str *body);
	/* Adds headers to any reply of its routes; one that always applies also to those without a route. Or NULL. */
	void (*reply)(struct http_request *req);
	void (*after)(struct http_request *req); /* when the reply is on its way, or NULL */
	bool waits;
};

struct router;

/* Compiles tables and chain; a mistake in them (duplicate, no or an unknown permission) fails with its name. */
struct router *router_new(const struct route_table *tables, size_t n, const struct middleware *const *chain,
			  size_t chain_n, const struct conf *c, struct error *err) MUST_CHECK;
void router_free(struct router *r);

/*
 * Finds the route of a normalised path. NULL: no such path (err NOT_FOUND) or another method (err
 * METHOD_NOT_ALLOWED, *allow is then the list for the Allow header, in the arena).
 */
const struct route *router_match(const struct router *r, enum http_method m, struct str path,
				 struct str params[HTTP_PARAMS_MAX], struct arena *a, struct str *allow,
				 struct error *err);
/* Runs the head-steps of req->route, and remembers its chain for what follows. */
bool router_head(const struct router *r, struct http_request *req, size_t *body_limit, struct error *err) MUST_CHECK;
/* The number of the permission that the request's route names; -1: public, or no route. */
int router_permission(const struct http_request *req);
/* Runs before-steps and handler, inline or on a coroutine. */
void router_run(struct http_request *req);
/* Runs the body-steps of req->route, as the server's hook demands. */
bool router_body(struct http_request *req, int *status, const char *content_type, struct str *body);
/* Runs the reply-steps, before the head of the answer is made; without a route those that apply to all. */
void router_reply(const struct router *r, struct http_request *req);
/* Runs the after-steps; without a route those that apply to all. */
void router_finished(const struct router *r, struct http_request *req);
/* Calls fn for each route in table order, with its chain as text ("correlation auth body_limit"). */
void router_each(const struct router *r,
		 void (*fn)(void *arg, const struct route *route, const char *chain, bool waits), void *arg);
/* Decodes and normalises a target's path into the arena: one '/', %XX decoded, /api/vN -> /api, /api/debate/ID
 * -> /api/debates/ID, no trailing '/'.
 * Refuses %00, bad escapes, ".." segments. */
bool route_normalise(struct str raw, struct arena *a, struct str *out, struct error *err) MUST_CHECK;

#endif
