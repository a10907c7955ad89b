/* SPDX-License-Identifier: MIT */
/*
 * The cache of answers: a hash of entries with a list by age. A change of a source bumps its cell in shared memory; an
 * entry is good while the cells of its sources read what they read before its handler ran. Other nodes are not told:
 * where there may be some, entries live for a second. Runs on the loop only.
 */
#include "worker/middleware/response_cache.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/conf.h"
#include "common/metrics.h"
#include "worker/identity/identity.h"
#include "worker/middleware/pipeline.h"
#include "worker/permission/permission.h"
#include "worker/worker.h"

#define CACHE_BUCKETS 1024          /* a power of two */
#define CACHE_BODY_MAX (256 * 1024) /* larger answers are not kept */
#define CACHE_PARAMS_MAX 32         /* with more parameters nothing is kept */
#define CACHE_SHARED_TTL_US SEC_US  /* where other nodes may change what we do not see */

struct cache_entry {
	struct cache_entry *next; /* in the same bucket */
	struct cache_entry *younger, *older;
	uint64_t hash, versions;
	int64_t until_us;
	char *key, *type, *body;
	size_t key_n, body_n;
};

/* Of this process. */
static struct {
	struct cache_entry *buckets[CACHE_BUCKETS];
	struct cache_entry *youngest, *oldest;
	size_t count, bytes;
} cache;

/* ---- sources ---- */

static _Atomic uint64_t *cache_cell(struct shm *shm, struct str source)
{
	char topic[64];
	int n = snprintf(topic, sizeof(topic), "source/%.*s", (int)(source.n < 48 ? source.n : 48), source.p);

	return &shm->heads[shm_topic_cell(topic, (size_t)n)];
}

void response_cache_changed(struct shm *shm, const char *source)
{
	atomic_fetch_add(cache_cell(shm, str_of(source)), 1);
}

/* Cells only grow, so that their sum is another one after each change. */
static uint64_t cache_versions(struct shm *shm, const struct route *r)
{
	struct str rest = str_of(r->sources), source;
	uint64_t sum = 0;

	while (str_split(&rest, ' ', &source))
		sum += atomic_load(cache_cell(shm, source));
	return sum;
}

/* ---- keys ---- */

static int cache_compare(const void *a, const void *b)
{
	const struct str *x = a, *y = b;
	size_t n = x->n < y->n ? x->n : y->n;
	int order = n > 0 ? memcmp(x->p, y->p, n) : 0;

	return order != 0 ? order : (x->n > y->n) - (x->n < y->n);
}

/* Order of parameters does not matter; which of equal names comes first does, and sorting whole pairs keeps it apart.
 */
static bool cache_add_query(struct buf *b, struct str query)
{
	struct str pairs[CACHE_PARAMS_MAX], rest = query, pair;
	size_t i, n = 0;

	while (str_split(&rest, '&', &pair)) {
		if (n == countof(pairs))
			return false;
		pairs[n++] = pair;
	}
	qsort(pairs, n, sizeof(pairs[0]), cache_compare);
	for (i = 0; i < n; i++) {
		/* The same name twice: the first counts, and sorting has lost which that was. */
		ptrdiff_t eq = str_chr(pairs[i], '=');
		struct str name = eq < 0 ? pairs[i] : str_sub(pairs[i], 0, (size_t)eq + 1);

		if (i > 0 && str_starts(pairs[i - 1], name))
			return false;
		buf_addc(b, '&');
		buf_add(b, pairs[i]);
	}
	return true;
}

/* STR_NONE: nothing that can be kept. Fields are ended by a byte that none of them holds. */
static struct str cache_key(const struct http_request *req)
{
	const struct identity *who = req->ctx.who;
	struct buf b = BUF_INIT;
	struct str key = STR_NONE;

	buf_add(&b, req->path);
	buf_addc(&b, '\n');
	buf_add(&b, req->ctx.org_id);
	buf_addc(&b, '\n');
	buf_add(&b, req->ctx.workspace_id);
	buf_addc(&b, '\n');
	if (who != NULL && who->permissions != NULL)
		buf_add(&b, (struct str){(const char *)who->permissions->bit, sizeof(who->permissions->bit)});
	buf_addc(&b, '\n');
	if (cache_add_query(&b, req->query))
		key = arena_str(req->arena, buf_str(&b));
	buf_free(&b);
	return key;
}

static uint64_t cache_hash(struct str s)
{
	uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a: what it finds is compared */
	size_t i;

	for (i = 0; i < s.n; i++)
		h = (h ^ (unsigned char)s.p[i]) * UINT64_C(1099511628211);
	return h;
}

/* ---- entries ---- */

static struct cache_entry **cache_find(struct str key, uint64_t hash)
{
	struct cache_entry **at = &cache.buckets[hash & (CACHE_BUCKETS - 1)];

	while (*at != NULL && !((*at)->hash == hash && str_eq(key, (struct str){(*at)->key, (*at)->key_n})))
		at = &(*at)->next;
	return at;
}

static size_t cache_weight(const struct cache_entry *e)
{
	return sizeof(*e) + e->key_n + e->body_n;
}

static void cache_drop(struct cache_entry **at)
{
	struct cache_entry *e = *at;

	BUG_ON(e == NULL);
	*at = e->next;
	*(e->younger != NULL ? &e->younger->older : &cache.youngest) = e->older;
	*(e->older != NULL ? &e->older->younger : &cache.oldest) = e->younger;
	cache.count--;
	cache.bytes -= cache_weight(e);
	free(e->key);
	free(e->type);
	free(e->body);
	free(e);
}

static void cache_keep(struct cache_entry *e)
{
	e->next = cache.buckets[e->hash & (CACHE_BUCKETS - 1)];
	cache.buckets[e->hash & (CACHE_BUCKETS - 1)] = e;
	e->older = cache.youngest;
	*(cache.youngest != NULL ? &cache.youngest->younger : &cache.oldest) = e;
	cache.youngest = e;
	cache.count++;
	cache.bytes += cache_weight(e);
}

static void cache_make_room(const struct conf *c)
{
	while (cache.oldest != NULL &&
	       (cache.count > (size_t)c->cache.entries || cache.bytes > (size_t)c->cache.bytes)) {
		struct cache_entry *e = cache.oldest;

		cache_drop(cache_find((struct str){e->key, e->key_n}, e->hash));
		metric_add(M_RESPONSE_CACHE, 1, "dropped", NULL);
	}
}

/* ---- the step ---- */

static bool cache_applies(const struct route *r, const struct conf *c)
{
	return r->sources != NULL && r->method == HTTP_GET && !(r->flags & ROUTE_SECRET) && c->cache.enabled &&
	       c->cache.entries > 0 && c->cache.ttl > 0;
}

/* Nothing is kept of a client that asks for a fresh answer (RFC 9111 5.2.1.4). */
static bool cache_refused(const struct http_request *req)
{
	return str_ifind(http_field(req, "cache-control"), STR("no-cache")) >= 0;
}

static bool cache_before(struct http_request *req)
{
	struct worker *w = req->user;
	struct cache_entry **at, *e;

	req->cache_key = cache_refused(req) ? STR_NONE : cache_key(req);
	if (req->cache_key.p == NULL)
		return true;
	req->cache_versions = cache_versions(w->shm, req->route);
	at = cache_find(req->cache_key, cache_hash(req->cache_key));
	e = *at;
	if (e == NULL) {
		metric_add(M_RESPONSE_CACHE, 1, "miss", NULL);
		return true;
	}
	if (e->versions != req->cache_versions || loop_now(w->loop) > e->until_us) {
		cache_drop(at);
		metric_add(M_RESPONSE_CACHE, 1, "stale", NULL);
		return true;
	}
	metric_add(M_RESPONSE_CACHE, 1, "hit", NULL);
	req->cache_key = STR_NONE;
	http_reply_value(req, "X-Cache", STR("hit"));
	/* The body is copied before anything can drop the entry. */
	http_reply(req, 200, arena_strdup(req->arena, e->type), (struct str){e->body, e->body_n});
	return false;
}

static int64_t cache_ttl(const struct conf *c)
{
	bool shared = c->storage.backend == STORE_POSTGRES;

	return shared && c->cache.ttl > CACHE_SHARED_TTL_US ? CACHE_SHARED_TTL_US : c->cache.ttl;
}

static bool cache_body(struct http_request *req, int *status, const char *type, struct str *body)
{
	const struct conf *c = middleware_conf(req);
	const struct worker *w = req->user;
	struct cache_entry *e, **at;

	if (req->cache_key.p == NULL || *status != 200 || type == NULL || body->n > CACHE_BODY_MAX ||
	    http_reply_has(req, "Set-Cookie") || http_reply_has(req, "Cache-Control"))
		return false;
	e = xcalloc(1, sizeof(*e));
	e->hash = cache_hash(req->cache_key);
	e->versions = req->cache_versions;
	e->until_us = loop_now(w->loop) + cache_ttl(c);
	e->key = str_dupz(req->cache_key);
	e->key_n = req->cache_key.n;
	e->type = xstrdup(type);
	e->body = str_dupz(*body);
	e->body_n = body->n;
	at = cache_find(req->cache_key, e->hash);
	if (*at != NULL) /* another request was as quick */
		cache_drop(at);
	cache_keep(e);
	cache_make_room(c);
	return false;
}

const struct middleware middleware_response_cache = {
    .name = "cache", .applies = cache_applies, .before = cache_before, .body = cache_body};
