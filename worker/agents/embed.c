/* SPDX-License-Identifier: MIT */
/*
 * The embeddings client: remembered vectors, batches, the circuit breaker "embeddings|model". Called by steps of a
 * debate and by the stores of memory and knowledge, on their coroutine. Does not retry: its callers have another way.
 */
#include "worker/agents/embed.h"

#include <math.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/fetch.h"
#include "common/json.h"
#include "common/log.h"
#include "common/metrics.h"
#include "worker/agents/agents.h"

#define EMBED_BATCH 16                     /* texts of one request: its answer stays below JSON_MEMBERS_MAX */
#define EMBED_ANSWER_MAX (4 * 1024 * 1024) /* 16 x 4,096 numbers of twenty digits, and room */
#define EMBED_CACHE_BYTES (8 * 1024 * 1024)
#define EMBED_BUCKETS 1024 /* a power of two */

/* One remembered vector: in a chain of its bucket and in the list by time of use. */
struct embed_entry {
	struct embed_entry *chain, *newer, *older;
	uint8_t key[SHA256_LEN];
	size_t dim;
	float v[];
};

struct embed {
	struct embed_entry *buckets[EMBED_BUCKETS];
	struct embed_entry *newest, *oldest;
	size_t bytes;
};

/* One call on its way. */
struct embed_call {
	struct worker *w;
	struct arena *a;
	struct str org_id;
	const struct str *texts;
	size_t n;
	uint8_t (*keys)[SHA256_LEN];
	const float **rows; /* NULL: not known yet */
	size_t dim;         /* 0: not known yet */
	struct embed_bill *bill;
	struct error *err;
};

/* ---- what is remembered ---- */

struct embed *embed_open(void)
{
	return xcalloc(1, sizeof(struct embed));
}

static struct embed_entry **embed_bucket(struct embed *e, const uint8_t key[SHA256_LEN])
{
	return &e->buckets[((unsigned)key[0] << 8 | key[1]) % EMBED_BUCKETS];
}

static void embed_unlink(struct embed *e, struct embed_entry *x)
{
	*(x->newer != NULL ? &x->newer->older : &e->newest) = x->older;
	*(x->older != NULL ? &x->older->newer : &e->oldest) = x->newer;
}

static void embed_push(struct embed *e, struct embed_entry *x)
{
	x->newer = NULL;
	x->older = e->newest;
	*(e->newest != NULL ? &e->newest->newer : &e->oldest) = x;
	e->newest = x;
}

static size_t embed_size(size_t dim)
{
	return sizeof(struct embed_entry) + dim * sizeof(float);
}

static void embed_forget_oldest(struct embed *e)
{
	struct embed_entry *x = e->oldest, **p;

	BUG_ON(x == NULL);
	for (p = embed_bucket(e, x->key); *p != x; p = &(*p)->chain)
		;
	*p = x->chain;
	embed_unlink(e, x);
	e->bytes -= embed_size(x->dim);
	free(x);
}

void embed_close(struct embed *e)
{
	while (e->oldest != NULL)
		embed_forget_oldest(e);
	free(e);
}

static const struct embed_entry *embed_find(struct embed *e, const uint8_t key[SHA256_LEN])
{
	struct embed_entry *x;

	for (x = *embed_bucket(e, key); x != NULL; x = x->chain)
		if (memcmp(x->key, key, SHA256_LEN) == 0)
			break;
	if (x != NULL) {
		embed_unlink(e, x);
		embed_push(e, x);
	}
	return x;
}

static void embed_remember(struct embed *e, const uint8_t key[SHA256_LEN], const float *v, size_t dim)
{
	struct embed_entry *x, **bucket = embed_bucket(e, key);

	if (embed_find(e, key) != NULL)
		return;
	x = xcalloc(1, embed_size(dim));
	memcpy(x->key, key, SHA256_LEN);
	memcpy(x->v, v, dim * sizeof(float));
	x->dim = dim;
	x->chain = *bucket;
	*bucket = x;
	embed_push(e, x);
	e->bytes += embed_size(dim);
	while (e->bytes > EMBED_CACHE_BYTES && e->oldest != x)
		embed_forget_oldest(e);
}

/* SHA-256 of who asks, the model, the length wanted and the text. */
static void embed_key(const struct conf *c, struct str org_id, struct str text, uint8_t key[SHA256_LEN])
{
	struct buf b = BUF_INIT;

	buf_printf(&b, "%.*s\n%s\n%lld\n", STR_ARG(org_id), c->embeddings.model, (long long)c->embeddings.dimensions);
	buf_add(&b, text);
	crypto_sha256(buf_str(&b), key);
	buf_free(&b);
}

/* ---- one request ---- */

static struct str embed_body(struct embed_call *k, const size_t *which, size_t n)
{
	const struct conf *c = k->w->conf;
	json_t *body = json_own(k->a, json_object()), *input = json_array();
	size_t i;

	for (i = 0; i < n; i++)
		json_array_append_new(input, json_str(k->texts[which[i]]));
	json_put_str(body, "model", str_of(c->embeddings.model));
	json_object_set_new(body, "input", input);
	json_put_str(body, "encoding_format", STR("float"));
	if (c->embeddings.dimensions > 0)
		json_put_int(body, "dimensions", c->embeddings.dimensions);
	return json_text(k->a, body);
}

/* Of length 1, in the arena; NULL: not a list of numbers of the length that the others have. */
static const float *embed_vector(struct embed_call *k, const json_t *list)
{
	size_t i, dim = json_array_size(list);
	double sum = 0, x;
	float *v;

	if (dim == 0 || dim > EMBED_DIM_MAX || (k->dim != 0 && dim != k->dim))
		return NULL;
	v = arena_alloc(k->a, dim * sizeof(float));
	for (i = 0; i < dim; i++) {
		if (!json_is_number(json_array_get(list, i)))
			return NULL;
		x = json_number_value(json_array_get(list, i));
		sum += x * x;
		v[i] = (float)x;
	}
	if (!(sum > 0) || !isfinite(sum))
		return NULL;
	for (i = 0; i < dim; i++)
		v[i] = (float)(v[i] / sqrt(sum));
	k->dim = dim;
	return v;
}

/* Takes {"data": [{"index", "embedding"}], "usage": {"prompt_tokens"}}. */
static bool embed_take(struct embed_call *k, const json_t *doc, const size_t *which, size_t n)
{
	const json_t *data = json_get_arr(doc, "data"), *o;
	const float *v;
	int64_t at;
	size_t i;

	if (json_array_size(data) != n)
		return false;
	for (i = 0; i < n; i++) {
		o = json_array_get(data, i);
		at = json_get_int(o, "index", (int64_t)i);
		v = embed_vector(k, json_get_arr(o, "embedding"));
		if (v == NULL || at < 0 || at >= (int64_t)n || k->rows[which[at]] != NULL)
			return false;
		k->rows[which[at]] = v;
		if (k->org_id.n > 0)
			embed_remember(k->w->agents->embed, k->keys[which[at]], v, k->dim);
	}
	return true;
}

static void embed_pay(struct embed_call *k, const json_t *doc, struct str body)
{
	const json_t *usage = json_get_obj(doc, "usage");
	int64_t tokens = json_get_int(usage, "prompt_tokens", json_get_int(usage, "total_tokens", -1));

	if (tokens < 0)
		tokens = (int64_t)(body.n + 3) / 4;
	k->bill->tokens += tokens;
	k->bill->cost_micro += (int64_t)(((__int128)tokens * k->w->conf->embeddings.price + 500000) / 1000000);
}

/* False with a sentence in err; *outcome says what it means for the breaker. */
CO_FN static bool embed_post(struct embed_call *k, const size_t *which, size_t n, enum breaker_outcome *outcome)
{
	const struct conf *c = k->w->conf;
	struct str base = str_of(c->embeddings.url);
	struct fetch_header headers[2] = {{"Content-Type", STR("application/json")}};
	struct fetch_request fr = {
	    .method = "POST", .headers = headers, .header_count = 1, .max_body = EMBED_ANSWER_MAX};
	struct fetch_response resp;
	struct error ignored = ERROR_INIT;
	const json_t *doc;
	bool refused;

	while (base.n > 0 && base.p[base.n - 1] == '/')
		base.n--;
	fr.url = arena_printf(k->a, "%.*s/embeddings", STR_ARG(base));
	fr.body = embed_body(k, which, n);
	if (c->embeddings.api_key[0] != '\0')
		headers[fr.header_count++] =
		    (struct fetch_header){"Authorization", arena_printf(k->a, "Bearer %s", c->embeddings.api_key)};
	if (!fetch_do(k->w->fetch, k->a, &fr, &resp)) {
		bool mine = resp.fail != FETCH_DEADLINE || co_ended_by() == NULL || co_ended_by()->kind == SCOPE_CALL;

		*outcome = mine ? BREAKER_FAILURE : BREAKER_NEUTRAL;
		return error_set(k->err, mine ? ERR_UNAVAILABLE : ERR_CANCELLED, "embeddings: %s",
				 resp.fail == FETCH_DEADLINE ? "no answer in time" : resp.detail);
	}
	/* A text that the server does not take says nothing of the server: somebody's bad text must not close it to
	 * all. */
	refused = resp.status == 400 || resp.status == 413 || resp.status == 422;
	*outcome = resp.status == 429 || refused ? BREAKER_NEUTRAL : BREAKER_FAILURE;
	if (resp.status != 200)
		return error_set(k->err, refused ? ERR_INVALID_VALUE : ERR_UNAVAILABLE, "embeddings: HTTP %d",
				 resp.status);
	doc = json_parse(k->a, resp.body, &ignored);
	embed_pay(k, doc, fr.body);
	if (!embed_take(k, doc, which, n))
		return error_set(k->err, ERR_UNAVAILABLE, "embeddings: the answer is not in the documented format");
	*outcome = BREAKER_SUCCESS;
	return true;
}

/* The same behind the breaker. */
CO_FN static bool embed_request(struct embed_call *k, const size_t *which, size_t n)
{
	struct agents *ag = k->w->agents;
	struct breaker *b = breaker_get(&ag->breakers, STR("embeddings"), str_of(k->w->conf->embeddings.model));
	struct breaker_pass pass = {NULL, 0, false};
	enum breaker_outcome outcome = BREAKER_NEUTRAL;
	bool ok;

	if (b != NULL && !breaker_allow(b, clock_mono_us(), &pass))
		return error_set(k->err, ERR_UNAVAILABLE, "embeddings: the circuit breaker is open");
	ok = embed_post(k, which, n, &outcome);
	if (b != NULL) {
		breaker_report(&pass, outcome, clock_mono_us(), clock_wall_ms());
		agents_breaker_changed(ag, b);
	}
	return ok;
}

/* ---- the call ---- */

/* Asks for what is not remembered, some texts at a time. */
CO_FN static bool embed_missing(struct embed_call *k)
{
	struct co_scope scope = {.kind = SCOPE_CALL, .deadline = clock_mono_us() + k->w->conf->embeddings.timeout};
	size_t which[EMBED_BATCH], i, n = 0, asked = 0;
	bool ok = true;

	co_scope_enter(&scope);
	for (i = 0; ok && i < k->n; i++) {
		if (k->rows[i] == NULL && k->texts[i].n > 0)
			which[n++] = i;
		if (n == EMBED_BATCH || (n > 0 && i + 1 == k->n)) {
			ok = embed_request(k, which, n);
			asked += n;
			metric_add(M_EMBEDDINGS, (int64_t)n, ok ? "loaded" : "failed", NULL);
			n = 0;
		}
	}
	co_scope_leave(&scope);
	if (!ok)
		log_warn("agents", "embeddings cannot be had", KV_S("reason", k->err->msg));
	else if (asked > 0)
		log_debug("agents", "embeddings loaded", KV_I("texts", (int64_t)asked),
			  KV_I("tokens", k->bill->tokens));
	return ok;
}

/* Copies: what is remembered may be forgotten while this call waits. */
static void embed_look_up(struct embed_call *k)
{
	const struct embed_entry *x;
	size_t i, hits = 0;
	float *v;

	for (i = 0; i < k->n; i++) {
		embed_key(k->w->conf, k->org_id, k->texts[i], k->keys[i]);
		x = k->texts[i].n > 0 && k->org_id.n > 0 ? embed_find(k->w->agents->embed, k->keys[i]) : NULL;
		if (x == NULL || (k->dim != 0 && x->dim != k->dim))
			continue;
		v = arena_alloc(k->a, x->dim * sizeof(float));
		memcpy(v, x->v, x->dim * sizeof(float));
		k->rows[i] = v;
		k->dim = x->dim;
		hits++;
	}
	if (hits > 0)
		metric_add(M_EMBEDDINGS, (int64_t)hits, "hit", NULL);
}

bool embed_configured(const struct conf *c)
{
	return c->embeddings.url[0] != '\0';
}

CO_FN bool embed_texts_billed(struct worker *w, struct arena *a, struct str org_id, const struct str *texts, size_t n,
			      float **vectors, size_t *dim, struct embed_bill *bill, struct error *err)
{
	struct embed_call k = {.w = w, .a = a, .org_id = org_id, .n = n, .bill = bill, .err = err};
	struct str *cut;
	size_t i;

	if (!embed_configured(w->conf))
		return error_set(err, ERR_UNAVAILABLE, "embeddings are not configured (embeddings.url)");
	if (n == 0 || n > EMBED_TEXTS_MAX)
		return error_set(err, ERR_INVALID_VALUE, "1 to %d texts can be embedded at once", EMBED_TEXTS_MAX);
	cut = arena_alloc(a, n * sizeof(*cut));
	for (i = 0; i < n; i++)
		cut[i] = str_utf8_cut(str_trim(texts[i]), EMBED_TEXT_MAX);
	k.texts = cut;
	k.keys = arena_alloc(a, n * sizeof(*k.keys));
	k.rows = arena_zalloc(a, n * sizeof(*k.rows));
	embed_look_up(&k);
	if (!embed_missing(&k))
		return false;
	*dim = k.dim != 0 ? k.dim : 1; /* nothing but blanks */
	*vectors = arena_zalloc(a, n * *dim * sizeof(float));
	for (i = 0; i < n; i++)
		if (k.rows[i] != NULL)
			memcpy(*vectors + i * *dim, k.rows[i], *dim * sizeof(float));
	return true;
}

CO_FN bool embed_texts(struct worker *w, struct arena *a, struct str org_id, const struct str *texts, size_t n,
		       float **vectors, size_t *dim, struct error *err)
{
	struct embed_bill bill = {0, 0};

	return embed_texts_billed(w, a, org_id, texts, n, vectors, dim, &bill, err);
}

double embed_cosine(const float *x, const float *y, size_t dim)
{
	double sum = 0;
	size_t i;

	for (i = 0; i < dim; i++)
		sum += (double)x[i] * (double)y[i];
	return sum;
}
