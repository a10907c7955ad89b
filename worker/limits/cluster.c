/* SPDX-License-Identifier: MIT */
/*
 * Counts shared between nodes through Redis. Called by the limiter for what it let through, and by routes that must
 * wait for the cluster's answer. One script adds up by Redis's own clock; its answers only ever raise the debt of the
 * node's buckets. While Redis is away or its breaker is open nothing is kept for later: the node's own limit holds.
 */
#include "common/clock.h"
#include "common/conf.h"
#include "common/crypto.h"
#include "common/metrics.h"
#include "common/redis.h"
#include "worker/agents/breaker.h"
#include "worker/limits/limits_internal.h"
#include "worker/worker.h"

#define CLUSTER_ENTRIES 2048 /* buckets touched within one interval; more are told at once */
#define CLUSTER_INDEX 4096   /* a power of two */
#define CLUSTER_BATCH 64     /* keys of one call */
#define CLUSTER_WORDS 3      /* per key: count, burst, milliseconds to earn one */
#define CLUSTER_HEAD 5       /* EVALSHA sha keys … ttl mode */
#define CLUSTER_HURRY 8      /* an eighth of a burst is told at once */
#define CLUSTER_WAIT (250 * MS_US)

/*
 * Takes ARGV count from each bucket, which may go below empty (others were let through at the same time), but not
 * further than a burst; with ARGV[2] = 1 only if it is in. Answers with the milliseconds until full, or, refused, minus
 * those until it would be allowed.
 */
static const char cluster_script[] =
    "local t = redis.call('TIME')\n"
    "local now = t[1] * 1000 + t[2] / 1000\n"
    "local ttl, try, out = tonumber(ARGV[1]), ARGV[2] == '1', {}\n"
    "for i, key in ipairs(KEYS) do\n"
    "  local n, burst, step = tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2])\n"
    "  local s = redis.call('HMGET', key, 'tokens', 'last_refill')\n"
    "  local tokens, last = tonumber(s[1]) or burst, tonumber(s[2]) or now\n"
    "  if now > last then tokens = tokens + (now - last) / step end\n"
    "  if tokens > burst then tokens = burst end\n"
    "  local ok = not try or tokens >= n\n"
    "  if ok then tokens = math.max(tokens - n, -burst) end\n"
    "  local debt = math.ceil((burst - tokens) * step)\n"
    "  redis.call('HSET', key, 'tokens', string.format('%.6f', tokens), 'last_refill', string.format('%.3f', now))\n"
    "  redis.call('PEXPIRE', key, math.max(ttl, debt))\n"
    "  out[i] = ok and debt or -math.max(1, math.ceil((n - tokens) * step))\n"
    "end\n"
    "return out\n";

struct cluster_entry {
	uint64_t key;
	const struct limit *m;
	uint32_t count;
	char text[LIMITS_TEXT];
};

struct limits_cluster {
	struct limits *l;
	struct redis *redis;
	struct breakers breakers;
	struct breaker *breaker;
	struct loop_timer timer;
	char sha[41];
	char ttl[24];
	struct cluster_entry *v; /* what was taken since the last call */
	size_t n;
	uint16_t *index; /* by key: place in v + 1 */
	unsigned flying; /* calls without answer */
	bool running, hurry, good;
};

/* A call under way. */
struct cluster_batch {
	struct limits_cluster *c;
	struct breaker_pass pass;
	int64_t sent_us;
	bool whole; /* with the text of the script */
	size_t n;
	struct cluster_entry v[CLUSTER_BATCH];
};

/* ---- keys ---- */

/* Parts of a key are told apart by ':', so that it becomes '_' inside them. */
static void cluster_part(struct buf *b, struct str s)
{
	size_t i;

	for (i = 0; i < s.n; i++)
		buf_addc(b, s.p[i] == ':' ? '_' : s.p[i]);
}

/* security.md 4.1: ip:<ip>, token:<id>, tenant:<id>, user:<id>:<action>, ep:<path>:ip:<ip>. A long one is hashed. */
static void cluster_text(char out[LIMITS_TEXT], const struct limit *m, const struct limits_who *who, const char *prefix)
{
	const char *dot = strchr(m->row->name, '.');
	struct str name = str_of(dot != NULL ? dot + 1 : m->row->name);
	bool bare = m->row->kind == LIMIT_ADDRESS || m->row->kind == LIMIT_TOKEN || m->row->kind == LIMIT_TENANT;
	struct buf b = BUF_INIT;
	char hash[SHA256_HEX];

	buf_addz(&b, prefix);
	if (m->row->kind == LIMIT_ENDPOINT) {
		buf_addz(&b, "ep:");
		cluster_part(&b, name);
		buf_addc(&b, ':');
	}
	buf_addz(&b, who->what);
	buf_addc(&b, ':');
	cluster_part(&b, who->text);
	if (!bare && m->row->kind != LIMIT_ENDPOINT) {
		buf_addc(&b, ':');
		cluster_part(&b, name);
	}
	if (b.n >= LIMITS_TEXT) {
		crypto_sha256_hex(buf_str(&b), hash);
		(void)snprintf(out, LIMITS_TEXT, "%.*s%s", LIMITS_TEXT - SHA256_HEX, prefix, hash);
	} else {
		memcpy(out, buf_str(&b).p, b.n + 1);
	}
	buf_free(&b);
}

/* ---- what waits to be told ---- */

static uint16_t *cluster_place(const struct limits_cluster *c, uint64_t key)
{
	size_t at = (size_t)(key >> 20);

	while (c->index[at & (CLUSTER_INDEX - 1)] != 0 && c->v[c->index[at & (CLUSTER_INDEX - 1)] - 1].key != key)
		at++;
	return &c->index[at & (CLUSTER_INDEX - 1)];
}

static void cluster_forget(struct limits_cluster *c)
{
	memset(c->index, 0, CLUSTER_INDEX * sizeof(*c->index));
	c->n = 0;
	c->hurry = false;
}

static void cluster_hurry(struct limits_cluster *c)
{
	if (!c->hurry && c->flying == 0)
		loop_timer_set(&c->timer, 0);
	c->hurry = true;
}

void limits_cluster_note(struct limits_cluster *c, const struct limit *m, uint64_t key, const struct limits_who *who)
{
	uint16_t *place;
	struct cluster_entry *e;

	if (!c->running || (m->row->flags & LIMIT_STRICT) != 0)
		return;
	place = cluster_place(c, key);
	if (*place == 0 && c->n == CLUSTER_ENTRIES) {
		metric_add(M_RATE_FALLBACK, 1, NULL);
		cluster_hurry(c);
		return;
	}
	if (*place == 0) {
		if (c->n == 0 && c->flying == 0)
			loop_timer_set(&c->timer, c->l->w->conf->rate_limit.redis_interval);
		e = &c->v[c->n++];
		*place = (uint16_t)c->n;
		*e = (struct cluster_entry){.key = key, .m = m};
		cluster_text(e->text, m, who, c->l->w->conf->rate_limit.redis_prefix);
	}
	e = &c->v[*place - 1];
	e->count++;
	if ((int64_t)e->count * CLUSTER_HURRY >= m->burst || c->n == CLUSTER_ENTRIES)
		cluster_hurry(c);
}

/* ---- calls ---- */

static void cluster_show(struct limits_cluster *c, bool good)
{
	c->good = good;
	metric_set(M_RATE_BACKEND, good, NULL);
	metric_set(M_RATE_BREAKER, breaker_state(c->breaker, loop_now(c->l->w->loop)), NULL);
}

static void cluster_report(struct limits_cluster *c, const struct breaker_pass *pass, bool good)
{
	metric_add(M_RATE_REDIS, 1, good ? "ok" : "error", NULL);
	breaker_report(pass, good ? BREAKER_SUCCESS : BREAKER_FAILURE, loop_now(c->l->w->loop), clock_wall_ms());
	cluster_show(c, good);
}

static int64_t cluster_fallback(const struct cluster_entry *v, size_t n)
{
	int64_t count = 0;
	size_t i;

	for (i = 0; i < n; i++)
		count += v[i].count;
	return count;
}

/* The cluster's debt, and what has been taken here since it was asked. */
static void cluster_raise(struct limits_cluster *c, const struct cluster_entry *e, int64_t debt_ms)
{
	uint16_t at = *cluster_place(c, e->key);
	int64_t since = at != 0 ? (int64_t)c->v[at - 1].count * LIMITS_PERIOD / e->m->rate : 0;

	ratelimit_raise(c->l->table, e->key, &e->m->rule, loop_now(c->l->w->loop), debt_ms * MS_US + since);
}

static bool cluster_send(struct cluster_batch *b, bool whole);

static void cluster_over(struct cluster_batch *b, bool good)
{
	struct limits_cluster *c = b->c;

	cluster_report(c, &b->pass, good);
	if (!good)
		metric_add(M_RATE_FALLBACK, cluster_fallback(b->v, b->n), NULL);
	free(b);
	c->flying--;
	if (c->flying == 0 && c->n > 0 && c->running)
		loop_timer_set(&c->timer, c->hurry ? 0 : c->l->w->conf->rate_limit.redis_interval);
}

static void cluster_answer(void *arg, const int64_t *v, size_t n, struct str error)
{
	struct cluster_batch *b = arg;
	size_t i;

	if (!b->whole && str_starts(error, STR("NOSCRIPT")) && cluster_send(b, true))
		return;
	metric_observe(M_RATE_REDIS_LATENCY, (double)(loop_now(b->c->l->w->loop) - b->sent_us) / (double)SEC_US, NULL);
	if (n == b->n)
		for (i = 0; i < n; i++)
			cluster_raise(b->c, &b->v[i], v[i]);
	cluster_over(b, n == b->n);
}

/* The words before the keys, and those behind them. */
static size_t cluster_words(const struct limits_cluster *c, const struct cluster_entry *v, size_t n, bool whole,
			    bool try, struct arena *a, struct str *words)
{
	size_t i, k = 0;

	words[k++] = whole ? STR("EVAL") : STR("EVALSHA");
	words[k++] = whole ? str_of(cluster_script) : str_of(c->sha);
	words[k++] = arena_printf(a, "%zu", n);
	for (i = 0; i < n; i++)
		words[k++] = str_of(v[i].text);
	words[k++] = str_of(c->ttl);
	words[k++] = try ? STR("1") : STR("0");
	for (i = 0; i < n; i++) {
		words[k++] = arena_printf(a, "%u", v[i].count);
		words[k++] = arena_printf(a, "%lld", (long long)v[i].m->burst);
		words[k++] = arena_printf(a, "%.4f", (double)LIMITS_PERIOD / (double)(v[i].m->rate * MS_US));
	}
	return k;
}

static bool cluster_send(struct cluster_batch *b, bool whole)
{
	struct str *words = xcalloc(CLUSTER_HEAD + b->n * (CLUSTER_WORDS + 1), sizeof(*words));
	struct arena *a = arena_new(b->n * 32 + 64);
	size_t n = cluster_words(b->c, b->v, b->n, whole, false, a, words);
	bool sent;

	b->whole = whole;
	b->sent_us = loop_now(b->c->l->w->loop);
	sent = redis_ask(b->c->redis, words, n, cluster_answer, b);
	arena_free(a);
	free(words);
	return sent;
}

static void cluster_tell(struct limits_cluster *c, const struct cluster_entry *v, size_t n)
{
	struct cluster_batch *b;
	struct breaker_pass pass;

	if (!breaker_allow(c->breaker, loop_now(c->l->w->loop), &pass)) {
		metric_add(M_RATE_FALLBACK, cluster_fallback(v, n), NULL);
		cluster_show(c, false);
		return;
	}
	b = xcalloc(1, sizeof(*b));
	b->c = c;
	b->pass = pass;
	b->n = n;
	memcpy(b->v, v, n * sizeof(*v));
	c->flying++;
	if (!cluster_send(b, false))
		cluster_over(b, false);
}

static void cluster_flush(void *arg)
{
	struct limits_cluster *c = arg;
	size_t i, n, all = c->n;

	if (c->flying > 0 || all == 0)
		return;
	c->flying++; /* what ends at once does not begin anew */
	for (i = 0; i < all; i += n) {
		n = all - i < CLUSTER_BATCH ? all - i : CLUSTER_BATCH;
		cluster_tell(c, &c->v[i], n);
	}
	c->flying--;
	cluster_forget(c);
}

CO_FN enum limits_answer limits_cluster_take(struct limits_cluster *c, struct arena *a, const struct limit *m,
					     uint64_t key, const struct limits_who *who, int64_t *retry_us)
{
	struct cluster_entry e = {.key = key, .m = m, .count = 1};
	struct str words[CLUSTER_HEAD + CLUSTER_WORDS + 1];
	struct error err = ERROR_INIT;
	struct breaker_pass pass;
	struct redis_value v;
	size_t n;
	bool ok;

	if (!breaker_allow(c->breaker, loop_now(c->l->w->loop), &pass)) {
		metric_add(M_RATE_FALLBACK, 1, NULL);
		return LIMITS_UNKNOWN;
	}
	cluster_text(e.text, m, who, c->l->w->conf->rate_limit.redis_prefix);
	n = cluster_words(c, &e, 1, false, true, a, words);
	ok = redis_command(c->redis, a, words, n, CLUSTER_WAIT, &v, &err);
	if (!ok && err.code == ERR_INTERNAL && str_find(str_of(err.msg), STR("NOSCRIPT")) >= 0) {
		err = ERROR_INIT;
		n = cluster_words(c, &e, 1, true, true, a, words);
		ok = redis_command(c->redis, a, words, n, CLUSTER_WAIT, &v, &err);
	}
	ok = ok && v.type == REDIS_INT;
	cluster_report(c, &pass, ok);
	if (!ok) {
		metric_add(M_RATE_FALLBACK, 1, NULL);
		return LIMITS_UNKNOWN;
	}
	if (v.i >= 0)
		return LIMITS_ALLOWED;
	*retry_us = -v.i * MS_US;
	return LIMITS_REFUSED;
}

/* ---- life ---- */

const char *limits_cluster_backend(const struct limits_cluster *c)
{
	return c != NULL && c->good ? "redis" : "memory";
}

const char *limits_cluster_breaker(const struct limits_cluster *c)
{
	return breaker_state_name(breaker_state(c->breaker, loop_now(c->l->w->loop)));
}

struct limits_cluster *limits_cluster_open(struct limits *l)
{
	const struct conf *conf = l->w->conf;
	struct limits_cluster *c;
	uint8_t sha[20];

	if (l->w->redis == NULL || !conf->rate_limit.enabled || !conf->rate_limit.distributed)
		return NULL;
	c = xcalloc(1, sizeof(*c));
	c->l = l;
	c->redis = l->w->redis;
	breakers_init(&c->breakers, (unsigned)conf->rate_limit.redis_failures, conf->rate_limit.redis_cooldown);
	c->breaker = breaker_get(&c->breakers, STR("redis"), STR("rate_limit"));
	c->v = xcalloc(CLUSTER_ENTRIES, sizeof(*c->v));
	c->index = xcalloc(CLUSTER_INDEX, sizeof(*c->index));
	crypto_sha1(str_of(cluster_script), sha);
	crypto_hex(c->sha, sha, sizeof(sha));
	(void)snprintf(c->ttl, sizeof(c->ttl), "%lld", (long long)(conf->rate_limit.redis_ttl / MS_US));
	loop_timer_init(l->w->loop, &c->timer, cluster_flush, c);
	return c;
}

void limits_cluster_start(struct limits_cluster *c)
{
	c->running = true;
}

void limits_cluster_close(struct limits_cluster *c)
{
	if (c == NULL)
		return;
	BUG_ON(c->flying > 0);
	loop_timer_stop(&c->timer);
	breakers_free(&c->breakers);
	free(c->index);
	free(c->v);
	free(c);
}
