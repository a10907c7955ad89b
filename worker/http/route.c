/* SPDX-License-Identifier: MIT */
/*
 * The router: compiles route tables and the chain of middleware at start, finds the route of a path, runs its steps
 * inline or on a coroutine. Called through the server's hooks. It knows no connection and no configuration key.
 */
#include "worker/http/route.h"

#include "common/clock.h"
#include "common/co.h"
#include "common/conf.h"
#include "worker/permission/permission.h"

#define ROUTER_CHAIN_MAX 64

/* The steps of a chain that have something to do at one point of a request. */
struct router_steps {
	const struct middleware **v;
	size_t n;
};

struct router_entry {
	const struct route *route;
	int permission; /* number of the route's; -1: public */
	struct router_steps head, before, body, reply, after;
	bool waits;
	char *text; /* names of the steps that apply */
};

/* A distinct path with its methods. */
struct router_path {
	char *path;
	size_t n;                 /* its length */
	struct router_path *next; /* in the same bucket */
	const struct router_entry *method[HTTP_METHOD_MAX];
};

/* One segment of the paths that have parameters. */
struct router_node {
	struct router_node *parent; /* with the segment its name in the hash of literal segments */
	struct str segment;
	struct router_node *next;  /* in the same bucket */
	struct router_node *param; /* the child for {parameter}; literal segments win over it */
	struct router_path *path;  /* a route ends here */
};

struct router {
	const struct conf *conf;
	const struct middleware *chain[ROUTER_CHAIN_MAX];
	size_t chain_n;
	struct router_steps reply, after; /* of requests without a route */
	struct router_entry *entries;
	size_t count;
	struct router_path **exact; /* hash */
	size_t buckets;             /* a power of two */
	struct router_node root;
	struct router_path *rest;             /* of "/{name...}", or NULL */
	struct router_node **nodes;           /* hash of literal segments under their parents */
	size_t node_buckets;                  /* a power of two */
	const struct router_entry **by_route; /* open addressing by address of the route, `buckets` long */
};

static size_t router_hash(struct str s)
{
	uint64_t h = UINT64_C(14695981039346656037);
	size_t i;

	for (i = 0; i < s.n; i++)
		h = (h ^ (unsigned char)s.p[i]) * UINT64_C(1099511628211);
	return (size_t)(h ^ h >> 32);
}

static size_t router_hash_pointer(const void *p)
{
	return (size_t)(((uintptr_t)p >> 3) * UINT64_C(0x9e3779b97f4a7c15) >> 20);
}

/* ---- compiling ---- */

static bool router_check(const struct route *r, struct error *err)
{
	struct str path = str_of(r->path), rest = path, segment;
	unsigned params = 0;

	if (r->path == NULL || path.n == 0 || path.p[0] != '/' || r->handler == NULL || r->method >= HTTP_METHOD_MAX)
		return error_set(err, ERR_INTERNAL, "route %s: incomplete", r->path != NULL ? r->path : "(no path)");
	if (r->permission == NULL && !(r->flags & ROUTE_PUBLIC))
		return error_set(err, ERR_INTERNAL, "route %s: neither permission nor public", r->path);
	if (r->permission != NULL && (r->flags & ROUTE_PUBLIC) != 0)
		return error_set(err, ERR_INTERNAL, "route %s: public, yet with permission %s", r->path, r->permission);
	if (r->permission != NULL && permission_find(str_of(r->permission)) < 0)
		return error_set(err, ERR_INTERNAL, "route %s: there is no permission %s", r->path, r->permission);
	if (path.n > 1 && path.p[path.n - 1] == '/')
		return error_set(err, ERR_INTERNAL, "route %s: ends with a slash", r->path);
	if (str_starts(path, STR("/api/v1")) || str_starts(path, STR("/api/v2")))
		return error_set(err, ERR_INTERNAL, "route %s: is written without version", r->path);
	while (str_split(&rest, '/', &segment)) {
		bool open = segment.n > 0 && segment.p[0] == '{';
		bool close = segment.n > 0 && segment.p[segment.n - 1] == '}';

		if (open != close || (open && segment.n < 3))
			return error_set(err, ERR_INTERNAL, "route %s: malformed parameter", r->path);
		params += open;
	}
	if (params > HTTP_PARAMS_MAX)
		return error_set(err, ERR_INTERNAL, "route %s: more than %d parameters", r->path, HTTP_PARAMS_MAX);
	return true;
}

static void router_add_step(struct router_steps *s, const struct middleware *m, bool wanted)
{
	if (!wanted)
		return;
	s->v = xrealloc(s->v, (s->n + 1) * sizeof(const struct middleware *));
	s->v[s->n++] = m;
}

static void router_compile_chain(const struct router *r, struct router_entry *e)
{
	struct buf text = BUF_INIT;
	size_t i;

	e->waits = !(e->route->flags & ROUTE_INLINE);
	for (i = 0; i < r->chain_n; i++) {
		const struct middleware *m = r->chain[i];

		if (m->applies != NULL && !m->applies(e->route, r->conf))
			continue;
		router_add_step(&e->head, m, m->head != NULL);
		router_add_step(&e->before, m, m->before != NULL);
		router_add_step(&e->body, m, m->body != NULL);
		router_add_step(&e->reply, m, m->reply != NULL);
		router_add_step(&e->after, m, m->after != NULL);
		e->waits |= m->waits;
		if (text.n > 0)
			buf_addc(&text, ' ');
		buf_addz(&text, m->name);
	}
	e->text = str_dupz(buf_str(&text));
	buf_free(&text);
}

static struct router_path *router_path_new(struct str path)
{
	struct router_path *p = xcalloc(1, sizeof(*p));

	p->path = str_dupz(path);
	p->n = path.n;
	return p;
}

static struct router_path *router_exact(struct router *r, struct str path)
{
	struct router_path **at = &r->exact[router_hash(path) & (r->buckets - 1)];

	while (*at != NULL && !str_eqz(path, (*at)->path))
		at = &(*at)->next;
	if (*at == NULL)
		*at = router_path_new(path);
	return *at;
}

/* Where the literal child of a node hangs in the hash, or would hang: *result is NULL then. */
static struct router_node **router_literal(const struct router *r, const struct router_node *parent, struct str segment)
{
	size_t hash = router_hash(segment) ^ router_hash_pointer(parent);
	struct router_node **at = &r->nodes[hash & (r->node_buckets - 1)];

	while (*at != NULL && !((*at)->parent == parent && str_eq(segment, (*at)->segment)))
		at = &(*at)->next;
	return at;
}

static struct router_node *router_child(struct router *r, struct router_node *parent, struct str segment)
{
	bool param = segment.n > 0 && segment.p[0] == '{';
	struct router_node **at = param ? &parent->param : router_literal(r, parent, segment);

	if (*at != NULL)
		return *at;
	*at = xcalloc(1, sizeof(**at));
	(*at)->parent = parent;
	if (!param)
		(*at)->segment = (struct str){str_dupz(segment), segment.n};
	return *at;
}

static struct router_path *router_tree(struct router *r, struct str path)
{
	struct str rest = str_sub(path, 1, path.n), segment;
	struct router_node *n = &r->root;

	while (str_split(&rest, '/', &segment))
		n = router_child(r, n, segment);
	if (n->path == NULL)
		n->path = router_path_new(path);
	return n->path;
}

static struct router_path *router_rest(struct router *r, struct str path)
{
	if (r->rest == NULL)
		r->rest = router_path_new(path);
	return r->rest;
}

static bool router_add(struct router *r, const struct route *route, struct error *err)
{
	struct router_entry *e = &r->entries[r->count];
	struct str path = str_of(route->path);
	struct router_path *p;
	size_t i;

	if (!router_check(route, err))
		return false;
	if (str_starts(path, STR("/{")) && str_ends(path, STR("...}")))
		p = router_rest(r, path);
	else
		p = str_chr(path, '{') < 0 ? router_exact(r, path) : router_tree(r, path);
	if (p->method[route->method] != NULL)
		return error_set(err, ERR_INTERNAL, "route %s %s: declared twice", http_method_name(route->method),
				 route->path);
	r->count++;
	e->route = route;
	e->permission = route->permission != NULL ? permission_find(str_of(route->permission)) : -1;
	p->method[route->method] = e;
	router_compile_chain(r, e);
	for (i = router_hash_pointer(route); r->by_route[i & (r->buckets - 1)] != NULL; i++)
		if (r->by_route[i & (r->buckets - 1)]->route == route)
			return error_set(err, ERR_INTERNAL, "route %s: the row is in two tables", route->path);
	r->by_route[i & (r->buckets - 1)] = e;
	return true;
}

struct router *router_new(const struct route_table *tables, size_t n, const struct middleware *const *chain,
			  size_t chain_n, const struct conf *c, struct error *err)
{
	struct router *r = xcalloc(1, sizeof(*r));
	size_t i, k, total = 0;

	BUG_ON(chain_n > ROUTER_CHAIN_MAX);
	r->conf = c;
	r->chain_n = chain_n;
	for (i = 0; i < chain_n; i++) {
		r->chain[i] = chain[i];
		router_add_step(&r->reply, chain[i], chain[i]->reply != NULL && chain[i]->applies == NULL);
		router_add_step(&r->after, chain[i], chain[i]->after != NULL && chain[i]->applies == NULL);
	}
	for (i = 0; i < n; i++)
		total += tables[i].n;
	for (r->buckets = 16; r->buckets < total * 2; r->buckets *= 2)
		;
	r->node_buckets = r->buckets * 4;
	r->nodes = xcalloc(r->node_buckets, sizeof(struct router_node *));
	r->entries = xcalloc(total + 1, sizeof(*r->entries));
	r->exact = xcalloc(r->buckets, sizeof(struct router_path *));
	r->by_route = xcalloc(r->buckets, sizeof(const struct router_entry *));
	for (i = 0; i < n; i++)
		for (k = 0; k < tables[i].n; k++)
			if (!router_add(r, &tables[i].v[k], err)) {
				router_free(r);
				return NULL;
			}
	return r;
}

static void router_path_free(struct router_path *p)
{
	if (p == NULL)
		return;
	free(p->path);
	free(p);
}

/* Frees a node and its parameter nodes; literal ones hang in the hash. */
static void router_node_free(struct router_node *n)
{
	while (n != NULL) {
		struct router_node *param = n->param;

		router_path_free(n->path);
		free((char *)(uintptr_t)n->segment.p);
		free(n);
		n = param;
	}
}

void router_free(struct router *r)
{
	size_t i;

	if (r == NULL)
		return;
	for (i = 0; i < r->buckets; i++) {
		struct router_path *p = r->exact[i], *next;

		for (; p != NULL; p = next) {
			next = p->next;
			router_path_free(p);
		}
	}
	for (i = 0; i < r->node_buckets; i++) {
		struct router_node *n = r->nodes[i], *next;

		for (; n != NULL; n = next) {
			next = n->next;
			router_node_free(n);
		}
	}
	router_node_free(r->root.param);
	router_path_free(r->rest);
	free(r->nodes);
	for (i = 0; i < r->count; i++) {
		free(r->entries[i].text);
		free(r->entries[i].head.v);
		free(r->entries[i].before.v);
		free(r->entries[i].body.v);
		free(r->entries[i].reply.v);
		free(r->entries[i].after.v);
	}
	free(r->reply.v);
	free(r->after.v);
	free(r->entries);
	free(r->exact);
	free(r->by_route);
	free(r);
}

/* ---- matching ---- */

/* Walks the tree; a literal segment is tried before a parameter. Depth is bounded by the tree. */
static const struct router_path *router_walk(const struct router *r, const struct router_node *n, struct str rest,
					     struct str params[HTTP_PARAMS_MAX], unsigned used)
{
	const struct router_path *found = NULL;
	const struct router_node *literal;
	struct str segment;

	if (!str_split(&rest, '/', &segment))
		return n->path;
	if (segment.n == 0)
		return NULL;
	literal = *router_literal(r, n, segment);
	if (literal != NULL)
		found = router_walk(r, literal, rest, params, used);
	if (found != NULL || n->param == NULL)
		return found;
	params[used] = segment;
	return router_walk(r, n->param, rest, params, used + 1);
}

static struct str router_allow(const struct router_path *p, struct arena *a)
{
	struct buf b = BUF_INIT;
	struct str out;
	unsigned m;

	for (m = 0; m < HTTP_METHOD_MAX; m++) {
		if (m == HTTP_OPTIONS || (m == HTTP_HEAD ? p->method[HTTP_GET] : p->method[m]) == NULL)
			continue;
		buf_addz(&b, http_method_name((enum http_method)m));
		buf_add(&b, STR(", "));
	}
	buf_add(&b, STR("OPTIONS"));
	out = arena_str(a, buf_str(&b));
	buf_free(&b);
	return out;
}

const struct route *router_match(const struct router *r, enum http_method m, struct str path,
				 struct str params[HTTP_PARAMS_MAX], struct arena *a, struct str *allow,
				 struct error *err)
{
	const struct router_path *p = r->exact[router_hash(path) & (r->buckets - 1)];

	while (p != NULL && !str_eq(path, (struct str){p->path, p->n}))
		p = p->next;
	if (p == NULL && path.n > 1)
		p = router_walk(r, &r->root, str_sub(path, 1, path.n), params, 0);
	if (p == NULL && r->rest != NULL && !str_eqz(path, "/api") && !str_starts(path, STR("/api/"))) {
		p = r->rest;
		params[0] = path;
	}
	*allow = STR_NONE;
	if (p == NULL) {
		error_set(err, ERR_NOT_FOUND, "there is nothing at %.*s", (int)(path.n < 160 ? path.n : 160), path.p);
		return NULL;
	}
	if (m < HTTP_METHOD_MAX && p->method[m] != NULL)
		return p->method[m]->route;
	*allow = router_allow(p, a);
	error_set(err, ERR_METHOD_NOT_ALLOWED, "the method is not allowed here");
	return NULL;
}

static const struct router_entry *router_entry(const struct router *r, const struct route *route)
{
	size_t i;

	for (i = router_hash_pointer(route); r->by_route[i & (r->buckets - 1)] != NULL; i++)
		if (r->by_route[i & (r->buckets - 1)]->route == route)
			return r->by_route[i & (r->buckets - 1)];
	return NULL;
}

/* ---- running ---- */

bool router_head(const struct router *r, struct http_request *req, size_t *body_limit, struct error *err)
{
	const struct router_entry *e = router_entry(r, req->route);
	size_t i;

	BUG_ON(e == NULL);
	req->entry = e;
	for (i = 0; i < e->head.n; i++)
		if (!e->head.v[i]->head(req, body_limit, err))
			return false;
	return true;
}

int router_permission(const struct http_request *req)
{
	return req->entry != NULL ? req->entry->permission : -1;
}

struct router_run {
	const struct router_entry *entry;
	struct http_request *req;
	size_t from; /* the first step that has not run */
};

static void router_spawn(const struct router_run *what);

static void router_steps(const struct router_run *run, bool may_wait)
{
	const struct router_entry *e = run->entry;
	struct http_request *req = run->req;
	size_t i;

	if (e->waits)
		req->chain_us = clock_mono_us();
	for (i = run->from; i < e->before.n; i++) {
		const struct middleware *m = e->before.v[i];

		if (!may_wait && m->must_wait != NULL && m->must_wait(req)) {
			router_spawn(&(struct router_run){e, req, i});
			return;
		}
		if (!m->before(req))
			return;
	}
	if (e->waits)
		req->handler_us = clock_mono_us();
	/* The time limit may have answered while a step waited. */
	if (http_replied(req))
		return;
	/* Who may be anybody acts for nobody; everybody else keeps to his own. */
	if (!(e->route->flags & ROUTE_PUBLIC))
		co_set_tenant(&req->ctx);
	e->route->handler(req);
	co_set_tenant(NULL);
}

static void router_on_coroutine(void *arg)
{
	struct router_run run = *(struct router_run *)arg;

	http_request_enter(run.req);
	router_steps(&run, true);
	http_request_leave(run.req);
	http_request_release(run.req);
}

static void router_spawn(const struct router_run *what)
{
	struct router_run *run = arena_alloc(what->req->arena, sizeof(*run));
	struct error err = ERROR_INIT;

	*run = *what;
	http_request_hold(what->req);
	if (co_spawn(what->entry->route->path, router_on_coroutine, run) == NULL) {
		error_set(&err, ERR_UNAVAILABLE, "the server is at its capacity");
		http_reply_error(what->req, &err);
		http_request_release(what->req);
	}
}

static void router_no_route(struct http_request *req)
{
	struct error err = ERROR_INIT;

	if (req->method == HTTP_OPTIONS) {
		http_reply(req, 200, NULL, STR_NONE);
		return;
	}
	error_set(&err, ERR_NOT_FOUND, "there is nothing here");
	http_reply_error(req, &err);
}

void router_run(struct http_request *req)
{
	const struct router_run run = {req->entry, req, 0};

	if (run.entry == NULL)
		router_no_route(req);
	else if (run.entry->waits)
		router_spawn(&run);
	else
		router_steps(&run, false);
}

bool router_body(struct http_request *req, int *status, const char *content_type, struct str *body)
{
	const struct router_entry *e = req->entry;
	size_t i;

	for (i = 0; e != NULL && i < e->body.n; i++)
		if (e->body.v[i]->body(req, status, content_type, body))
			return true;
	return false;
}

void router_reply(const struct router *r, struct http_request *req)
{
	const struct router_steps *reply = req->entry != NULL ? &req->entry->reply : &r->reply;
	size_t i;

	for (i = 0; i < reply->n; i++)
		reply->v[i]->reply(req);
}

void router_finished(const struct router *r, struct http_request *req)
{
	const struct router_steps *after = req->entry != NULL ? &req->entry->after : &r->after;
	size_t i;

	for (i = 0; i < after->n; i++)
		after->v[i]->after(req);
}

void router_each(const struct router *r,
		 void (*fn)(void *arg, const struct route *route, const char *chain, bool waits), void *arg)
{
	size_t i;

	for (i = 0; i < r->count; i++)
		fn(arg, r->entries[i].route, r->entries[i].text, r->entries[i].waits);
}
