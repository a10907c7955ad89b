/* SPDX-License-Identifier: MIT */
/*
 * The limiter of a worker: which buckets a request takes from, the headers that say how much is left, the refusal.
 * Called by the middleware and by handlers that count something of their own. Decides by the node's table alone and
 * never waits, but for limits_cluster; what other nodes have seen comes in through cluster.c.
 */
#include "worker/limits/limits.h"

#include "common/clock.h"
#include "common/conf.h"
#include "common/json.h"
#include "common/log.h"
#include "common/metrics.h"
#include "worker/identity/identity.h"
#include "worker/limits/limits_internal.h"
#include "worker/worker.h"

#define LIMITS_CACHE 4096 /* routes; a power of two */
#define LIMITS_TICK (10 * SEC_US)
#define LIMITS_LOG_PER_SECOND 5
#define LIMITS_UPGRADE_URL "/pricing" /* rest-core 1.13 */

struct limits_cached {
	const struct route *route;
	struct limit_route rows;
};

/* One request on its way through the buckets. */
struct limits_pass {
	struct http_request *req;
	struct limits *l;
	int64_t now;
	const struct limit *tight; /* the one with the least left */
	int64_t left;
};

static struct limits *limits_here(const struct http_request *req)
{
	return ((const struct worker *)req->user)->limits;
}

/* ---- what applies ---- */

static struct limit_route limits_rows(struct limits *l, const struct route *r)
{
	size_t at = (size_t)(((uintptr_t)r >> 3) * UINT64_C(0x9e3779b97f4a7c15) >> 32);
	struct limits_cached *c;

	for (;; at++) {
		c = &l->cache[at & (LIMITS_CACHE - 1)];
		if (c->route == r)
			return c->rows;
		if (c->route == NULL)
			break;
	}
	if (l->cached >= LIMITS_CACHE / 2)
		return limits_of(r);
	l->cached++;
	*c = (struct limits_cached){r, limits_of(r)};
	return c->rows;
}

bool limits_strict(const struct route *r)
{
	struct limit_route at = limits_of(r);

	return at.address >= 0 && (limit_rows[at.address].flags & LIMIT_STRICT) != 0;
}

struct http_addr limits_net(struct http_addr a)
{
	static const uint8_t none[8];

	if (memcmp(a.b, none, sizeof(none)) != 0)
		memset(a.b + 8, 0, 8);
	return a;
}

/* The client's address; false when nothing is counted for it. */
static bool limits_client(const struct limits *l, const struct http_request *req, struct http_addr *out)
{
	if (!http_addr_parse(req->client, out))
		memset(out->b, 0, sizeof(out->b));
	else if (http_cidrs_match(&l->exempt, out))
		return false;
	*out = limits_net(*out);
	return true;
}

/* `addr` must live as long as the result. */
static struct limits_who limits_who_address(const struct limits *l, struct arena *a, const struct http_addr *addr)
{
	struct limits_who who = {.key = {(const char *)addr->b, sizeof(addr->b)}, .what = "ip"};
	char *text;

	if (l->cluster != NULL) {
		text = arena_alloc(a, HTTP_ADDR_TEXT);
		http_addr_text(addr, text);
		who.text = str_of(text);
	}
	return who;
}

static struct limits_who limits_who_id(const char *what, struct str id)
{
	return (struct limits_who){id, what, id};
}

/* ---- answers ---- */

static struct str limits_number(struct arena *a, int64_t n)
{
	char *end = (char *)arena_alloc(a, 20) + 20, *p = end;
	uint64_t rest = (uint64_t)n;

	do {
		*--p = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest > 0);
	return (struct str){p, (size_t)(end - p)};
}

static void limits_header(struct http_request *req, const char *name, int64_t value)
{
	struct str *there = http_reply_find(req, name), text = limits_number(req->arena, value);

	if (there != NULL)
		*there = text;
	else
		http_reply_value(req, name, text);
}

/* Says how much is left of the limit that will be reached first, of both steps. */
static void limits_tell(struct limits_pass *p)
{
	struct str *left;
	uint64_t before;

	if (p->tight == NULL)
		return;
	left = http_reply_find(p->req, "X-RateLimit-Remaining");
	if (left != NULL && str_to_u64(*left, INT64_MAX, &before) && (int64_t)before <= p->left)
		return;
	limits_header(p->req, "X-RateLimit-Limit", p->tight->burst);
	limits_header(p->req, "X-RateLimit-Remaining", p->left);
}

static void limits_log(struct limits *l, const struct http_request *req, const struct limit *m, int64_t now)
{
	if (now - l->told_us >= SEC_US) {
		if (l->told > LIMITS_LOG_PER_SECOND)
			log_warn("rate_limit", "further requests were refused in that second",
				 KV_I("count", l->told - LIMITS_LOG_PER_SECOND));
		l->told_us = now;
		l->told = 0;
	}
	if (l->told++ < LIMITS_LOG_PER_SECOND)
		log_warn("rate_limit", "Rate limit exceeded", KV_I("status", 429), KV_S("limit", m->row->name),
			 KV_STR("client", req->client), KV_STR("user", req->ctx.principal),
			 KV_S("route", req->route->path));
}

static json_t *limits_body(const struct http_request *req, const struct limit *m, int64_t seconds)
{
	bool tier = m->row->kind == LIMIT_TIER;
	char text[160];
	json_t *doc;

	(void)snprintf(text, sizeof(text),
		       "Rate limit exceeded: %lld requests in %lld seconds (%s); try again in %lld %s",
		       (long long)m->rate, (long long)(LIMITS_PERIOD / SEC_US), m->row->name, (long long)seconds,
		       seconds == 1 ? "second" : "seconds");
	doc = json_pack("{s:s, s:s, s:I, s:I, s:s}", "error", text, "code",
			tier ? "tier_rate_limit" : "rate_limit_exceeded", "retry_after", (json_int_t)seconds, "limit",
			(json_int_t)m->rate, "limit_type", limits_kind_name(m->row->kind));
	if (tier) {
		json_put_str(doc, "tier", str_of(m->row->name + sizeof("tier.") - 1));
		json_put_str(doc, "upgrade_url", STR(LIMITS_UPGRADE_URL));
	}
	json_put_str(doc, "trace_id", req->request_id);
	return doc;
}

static void limits_refuse(struct limits_pass *p, const struct limit *m, int64_t retry_us)
{
	int64_t seconds = retry_us > 0 ? (retry_us + SEC_US - 1) / SEC_US : 1;
	struct http_request *req = p->req;

	metric_series_add(p->l->refused, 1);
	metric_add(M_RATE_REJECTIONS, 1, limits_kind_name(m->row->kind), NULL);
	limits_log(p->l, req, m, p->now);
	limits_header(req, "X-RateLimit-Limit", m->burst);
	limits_header(req, "X-RateLimit-Remaining", 0);
	limits_header(req, "X-RateLimit-Reset", clock_wall_ms() / 1000 + seconds);
	limits_header(req, "Retry-After", seconds);
	http_reply_json(req, 429, limits_body(req, m, seconds));
}

/* ---- taking ---- */

uint64_t limits_key(const struct limits *l, const struct limit *m, const struct limits_who *who)
{
	return ratelimit_key(l->table, (unsigned)(m - l->v) + 1, who->key, STR_NONE);
}

/* One out of the bucket; false: refused and answered. */
static bool limits_one(struct limits_pass *p, int row, const struct limits_who *who)
{
	const struct limit *m = row >= 0 ? &p->l->v[row] : NULL;
	struct ratelimit_state s;
	uint64_t key;

	if (m == NULL || m->rule.step == 0)
		return true;
	key = limits_key(p->l, m, who);
	ratelimit_take(p->l->table, key, &m->rule, p->now, &s);
	if (!s.allowed) {
		limits_refuse(p, m, s.retry_us);
		return false;
	}
	if (p->l->cluster != NULL)
		limits_cluster_note(p->l->cluster, m, key, who);
	if (p->tight == NULL || s.remaining < p->left) {
		p->tight = m;
		p->left = s.remaining;
	}
	return true;
}

static struct limits_pass limits_begin(struct http_request *req)
{
	struct limits *l = limits_here(req);

	return (struct limits_pass){.req = req, .l = l, .now = loop_now(l->w->loop)};
}

bool limits_address(struct http_request *req)
{
	struct limits_pass p = limits_begin(req);
	struct http_addr addr;
	struct limits_who who;

	if (!limits_client(p.l, req, &addr))
		return true;
	who = limits_who_address(p.l, req->arena, &addr);
	if (!limits_one(&p, p.l->address, &who) || !limits_one(&p, limits_rows(p.l, req->route).address, &who))
		return false;
	limits_tell(&p);
	return true;
}

CO_FN bool limits_cluster(struct http_request *req)
{
	struct limits_pass p = limits_begin(req);
	int row = limits_rows(p.l, req->route).address;
	struct http_addr addr;
	struct limits_who who;
	int64_t retry_us = 0;

	if (p.l->cluster == NULL || row < 0 || p.l->v[row].rule.step == 0 || !limits_client(p.l, req, &addr))
		return true;
	who = limits_who_address(p.l, req->arena, &addr);
	if (limits_cluster_take(p.l->cluster, req->arena, &p.l->v[row], limits_key(p.l, &p.l->v[row], &who), &who,
				&retry_us) != LIMITS_REFUSED)
		return true;
	if (http_replied(req))
		return false;
	metric_add(M_RATE_DISTRIBUTED, 1, NULL);
	limits_refuse(&p, &p.l->v[row], retry_us);
	return false;
}

/* Without a demand for authentication who is anonymous is the owner, not the public. */
static int limits_class(const struct limits *l, const struct identity *who)
{
	if (who->kind == IDENTITY_ANONYMOUS)
		return conf_auth_required(l->w->conf) ? l->everybody : l->signed_in;
	return str_eqz(who->role, "admin") || str_eqz(who->role, "owner") ? l->admin : l->signed_in;
}

static int limits_tier(const struct limits *l, const struct identity *who)
{
	char name[64];

	if (!l->w->conf->rate_limit.tiers || who->kind == IDENTITY_ANONYMOUS || who->tier.n == 0)
		return -1;
	(void)snprintf(name, sizeof(name), "tier.%.*s", (int)(who->tier.n < 32 ? who->tier.n : 32), who->tier.p);
	return limits_find(str_of(name));
}

struct str limits_credential(const struct identity *who)
{
	return who->kind == IDENTITY_API_KEY                                  ? who->key_id
	       : who->kind == IDENTITY_TOKEN || who->kind == IDENTITY_SERVICE ? who->user_id
									      : STR_NONE;
}

static bool limits_all(struct limits_pass *p, const struct identity *id, const struct limits_who *who)
{
	struct limit_route rows = limits_rows(p->l, p->req->route);
	struct limits_who token = limits_who_id("token", limits_credential(id)),
			  tenant = limits_who_id("tenant", id->org_id);

	return (token.key.n == 0 || limits_one(p, p->l->token, &token)) &&
	       (tenant.key.n == 0 || limits_one(p, p->l->tenant, &tenant)) &&
	       limits_one(p, limits_class(p->l, id), who) && limits_one(p, rows.action, who) &&
	       limits_one(p, rows.endpoint, who) && limits_one(p, limits_tier(p->l, id), who);
}

bool limits_caller(struct http_request *req)
{
	struct limits_pass p = limits_begin(req);
	const struct identity *id = req->ctx.who;
	struct http_addr addr;
	struct limits_who who;

	if (!limits_client(p.l, req, &addr))
		return true;
	who = id->kind == IDENTITY_ANONYMOUS ? limits_who_address(p.l, req->arena, &addr)
					     : limits_who_id("user", id->user_id);
	if (!limits_all(&p, id, &who))
		return false;
	metric_series_add(p.l->allowed, 1);
	limits_tell(&p);
	return true;
}

/* ---- life ---- */

/* The clerk shows what belongs to the node; every worker could. */
static void limits_tick(void *arg)
{
	struct limits *l = arg;
	uint64_t evicted = atomic_load(&l->table->evicted);

	if (worker_is_clerk(l->w)) {
		metric_set(M_RATE_USAGE, (int64_t)ratelimit_used(l->table, loop_now(l->w->loop)), NULL);
		metric_add(M_RATE_EVICTIONS, (int64_t)(evicted - l->evicted), NULL);
	}
	l->evicted = evicted;
	loop_timer_set(&l->tick, LIMITS_TICK);
}

/* "2.0", "1.5", "3": checked by conf. In hundredths. */
static int64_t limits_multiplier(const struct conf *c)
{
	struct str rest = str_of(c->rate_limit.burst_multiplier), whole = STR("2");
	uint64_t n = 2, part = 0;

	if (str_split(&rest, '.', &whole) && !str_to_u64(whole, 100, &n))
		n = 2;
	if (rest.n > 0 && !str_to_u64(rest, 99, &part))
		part = 0;
	return (int64_t)(n * 100 + part * (rest.n == 1 ? 10 : 1));
}

static void limits_set(struct limits *l, int row, int64_t rate, int64_t burst)
{
	const struct limit_row *r = &limit_rows[row];

	if (burst == 0)
		burst = (r->flags & LIMIT_EXACT) != 0 ? rate : rate * limits_multiplier(l->w->conf) / 100;
	l->v[row] = (struct limit){r, rate, burst, ratelimit_rule(rate, LIMITS_PERIOD, burst)};
}

/* "NAME=RATE/BURST", whose form conf has checked. */
static bool limits_override(struct limits *l, const char *text, struct error *err)
{
	struct str rest = str_of(text), rate, figures;
	ptrdiff_t equals = str_chr(rest, '=');
	uint64_t n = 0, burst = 0;
	int row = limits_find(str_sub(rest, 0, (size_t)equals));

	figures = str_sub(rest, (size_t)equals + 1, rest.n);
	if (row < 0)
		return error_field(err, ERR_INVALID_VALUE, "rate_limit.rules", "there is no limit called \"%.*s\"",
				   STR_ARG(str_sub(rest, 0, (size_t)equals)));
	if (!str_split(&figures, '/', &rate) || !str_to_u64(rate, RATELIMIT_RATE_MAX, &n) ||
	    (figures.p != NULL && !str_to_u64(figures, RATELIMIT_BURST_MAX, &burst)))
		return error_field(err, ERR_INVALID_VALUE, "rate_limit.rules", "\"%s\" is not NAME=RATE/BURST", text);
	limits_set(l, row, (int64_t)n, (int64_t)burst);
	return true;
}

static bool limits_compile(struct limits *l, struct error *err)
{
	const struct conf *c = l->w->conf;
	size_t i;

	l->v = xcalloc(limit_row_count, sizeof(*l->v));
	for (i = 0; i < limit_row_count; i++)
		limits_set(l, (int)i, limit_rows[i].rate, limit_rows[i].burst);
	limits_set(l, l->address, c->rate_limit.per_address, 0);
	limits_set(l, l->token, c->rate_limit.per_token, 0);
	limits_set(l, l->tenant, c->rate_limit.per_tenant, 0);
	for (i = 0; i < c->rate_limit.rules.n; i++)
		if (!limits_override(l, c->rate_limit.rules.v[i], err))
			return false;
	return true;
}

struct limits *limits_open(struct worker *w, struct error *err)
{
	struct limits *l = xcalloc(1, sizeof(*l));

	l->w = w;
	l->table = &w->shm->limits;
	l->cache = xcalloc(LIMITS_CACHE, sizeof(*l->cache));
	l->address = limits_find(STR("address"));
	l->token = limits_find(STR("token"));
	l->tenant = limits_find(STR("tenant"));
	l->everybody = limits_find(STR("public"));
	l->signed_in = limits_find(STR("authenticated"));
	l->admin = limits_find(STR("admin"));
	http_cidrs_set(&l->exempt, &w->conf->limits.exempt);
	loop_timer_init(w->loop, &l->tick, limits_tick, l);
	l->allowed = metric_series(M_RATE_DECISIONS, "allowed", NULL);
	l->refused = metric_series(M_RATE_DECISIONS, "refused", NULL);
	if (!limits_compile(l, err)) {
		limits_close(l);
		return NULL;
	}
	l->cluster = limits_cluster_open(l);
	return l;
}

void limits_start(struct limits *l)
{
	l->evicted = atomic_load(&l->table->evicted);
	loop_timer_set(&l->tick, LIMITS_TICK);
	if (l->cluster != NULL)
		limits_cluster_start(l->cluster);
}

void limits_close(struct limits *l)
{
	if (l == NULL)
		return;
	limits_cluster_close(l->cluster);
	loop_timer_stop(&l->tick);
	http_cidrs_free(&l->exempt);
	free(l->cache);
	free(l->v);
	free(l);
}
