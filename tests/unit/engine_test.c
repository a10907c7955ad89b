/* SPDX-License-Identifier: MIT */
/*
 * The engine over a scripted step interface: what it decides, what it shows to whom, and that a run that dies at any
 * commit and starts again ends with the same bytes and the same events.
 */
#include "worker/debate/engine.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "common/json.h"
#include "worker/debate/mode.h"

#define SEATS_MAX 10
#define CHILDREN_MAX 64

/* ---- the scripted step interface ---- */

typedef const char *script_fn(const struct step_call *c, int attempt);

struct debate {
	struct debate_plan plan;
	struct agent_spec agents[SEATS_MAX];
	struct arena *arena; /* of one run */
	void *engine;
	enum debate_stop stop;
	int64_t budget_left; /* of shared budgets */
	json_t *journal;     /* key -> result; survives a run */
	json_t *events;
	json_t *prompts; /* key -> {system, prompt, facts} of every call */
	json_t *inbox;   /* key of an inbox step -> items */
	json_t *ratings, *standing, *alike;
	json_t *background; /* what was found, or NULL */
	char *result;       /* canonical text once finished */
	script_fn *script;
	size_t commits; /* of this run */
	size_t die_at;  /* the commit that is not stored; SIZE_MAX: none */
	enum debate_stop die_of;
	bool reverse; /* children of a group run in the other order */
};

struct step {
	struct debate *d;
	json_t *events;
};

const struct debate_plan *debate_plan(const struct debate *d)
{
	return &d->plan;
}

struct arena *debate_arena(struct debate *d)
{
	return d->arena;
}

enum debate_stop debate_stop(const struct debate *d)
{
	return d->stop;
}

void debate_set_engine(struct debate *d, void *ctx)
{
	d->engine = ctx;
}

void *debate_engine(const struct debate *d)
{
	return d->engine;
}

/* A clock that stands still between commits, so that it shows the same in a second run. */
int64_t step_now_ms(const struct step *s)
{
	return 1700000000000 + 1000 * (int64_t)json_object_size(s->d->journal);
}

int64_t debate_running_ms(const struct debate *d)
{
	return 1000 * (int64_t)json_object_size(d->journal);
}

void step_emit(struct step *s, const char *type, const char *agent, int round, json_t *data)
{
	json_array_append_new(s->events, json_pack("{s:s, s:s, s:i, s:o}", "type", type, "agent",
						   agent != NULL ? agent : "", "round", round, "data", data));
}

/* False: the process has died before this commit. */
static bool fake_commit(struct step *s, const char *key, json_t *value)
{
	struct debate *d = s->d;
	bool ok = d->commits++ != d->die_at;
	struct error err = ERROR_INIT;
	struct arena *a = arena_new(0);

	assert_null(json_object_get(d->journal, key)); /* nothing is ever done twice */
	if (ok) {
		json_object_set_new(d->journal, key, json_parse(NULL, json_text(a, value), &err));
		json_array_extend(d->events, s->events);
	} else {
		d->stop = d->die_of;
	}
	arena_free(a);
	json_decref(value);
	json_decref(s->events);
	return ok;
}

static bool fake_known(struct debate *d, const char *key, const json_t **result)
{
	*result = json_object_get(d->journal, key);
	return *result != NULL;
}

bool step_run(struct debate *d, const char *key, json_t *(*compute)(struct step *s, void *arg), void *arg,
	      const json_t **result)
{
	struct step s = {d, NULL};

	if (fake_known(d, key, result))
		return true;
	if (d->stop != STOP_NONE)
		return false;
	s.events = json_array();
	return fake_commit(&s, key, compute(&s, arg)) && fake_known(d, key, result);
}

static json_t *fake_failed(const struct step_call *c, const char *why)
{
	return json_pack("{s:b, s:s, s:s, s:s%, s:i, s:i, s:i}", "ok", 0, "error_type", why, "message", "it failed",
			 "provider", c->agent->provider.p, c->agent->provider.n, "attempts", 2, "at_ms", 1, "abandoned",
			 0);
}

bool step_call(struct debate *d, const char *key, const struct step_call *c, const json_t **result)
{
	struct step s = {d, NULL};
	json_t *value = NULL, *reply;
	const char *text = NULL;
	int attempt;

	if (fake_known(d, key, result))
		return true;
	if (d->stop != STOP_NONE)
		return false;
	json_object_set_new(d->prompts, key,
			    json_pack("{s:s%, s:s%, s:s%, s:O*}", "agent", c->agent->name.p, c->agent->name.n, "system",
				      c->system.p, c->system.n, "prompt", c->prompt.p, c->prompt.n, "facts", c->facts));
	s.events = json_array();
	for (attempt = 0; attempt < 2 && value == NULL; attempt++) {
		text = d->script(c, attempt);
		value = text != NULL ? c->decode(&s, c->arg, str_of(text)) : NULL;
	}
	if (value != NULL)
		reply = json_pack("{s:b, s:o, s:s, s:s, s:i, s:i, s:i, s:i, s:b, s:i}", "ok", 1, "value", value, "text",
				  text, "model", "m-1", "tokens_in", 10, "tokens_out", 20, "cost_micro", 5, "ms", 7,
				  "truncated", 0, "abandoned", 0);
	else
		reply = fake_failed(c, text != NULL ? "parse" : "timeout");
	return fake_commit(&s, key, reply) && fake_known(d, key, result);
}

static json_t *fake_keep(struct step *s, void *arg)
{
	(void)s;
	return json_incref(arg);
}

bool step_ratings(struct debate *d, const char *key, const json_t **result)
{
	return step_run(d, key, fake_keep, d->ratings, result);
}

bool step_standing(struct debate *d, const char *key, const json_t **result)
{
	return step_run(d, key, fake_keep, d->standing, result);
}

bool step_alike(struct debate *d, const char *key, const struct str *texts, size_t n, const json_t **result)
{
	(void)texts;
	(void)n;
	return step_run(d, key, fake_keep, d->alike, result);
}

bool step_budgets(struct debate *d, const char *key, const json_t **result)
{
	static json_t *left;

	(void)key;
	if (left == NULL)
		left = json_object();
	json_put_int(left, "cost_micro", d->budget_left);
	json_put_int(left, "tokens", -1);
	*result = left;
	return true;
}

bool step_inbox(struct debate *d, const char *key, const json_t **result)
{
	json_t *items = json_object_get(d->inbox, key), *none = json_array();
	bool ok = step_run(d, key, fake_keep, items != NULL ? items : none, result);

	json_decref(none);
	return ok;
}

bool step_background(struct debate *d, const char *key)
{
	const json_t *result;

	if (!d->plan.recall)
		return true;
	if (!step_run(d, key, fake_keep, d->background, &result))
		return false;
	d->plan.background = result;
	return true;
}

static json_t *fake_end(struct step *s, void *arg)
{
	step_emit(s, "debate_end", NULL, 0, json_object());
	return json_incref(arg);
}

bool debate_finish(struct debate *d, json_t *result)
{
	const json_t *stored;
	bool ok = step_run(d, "finish", fake_end, result, &stored);

	if (ok) {
		free(d->result);
		d->result = str_dupz(json_canonical(d->arena, result)); /* aborts at a real number */
	}
	json_decref(result);
	return ok;
}

/* ---- groups: the children run when the parent waits, in either order ---- */

static struct {
	void (*fn)(void *);
	void *arg;
} children[CHILDREN_MAX];
static size_t child_count;
static bool children_reverse, children_refused;

void co_group_open(struct co_group *g, bool fail_fast)
{
	*g = (struct co_group){.fail_fast = fail_fast};
	child_count = 0;
}

bool co_group_spawn(struct co_group *g, const char *name, void (*fn)(void *arg), void *arg)
{
	(void)g;
	(void)name;
	assert_true(child_count < CHILDREN_MAX);
	if (children_refused && child_count >= 1)
		return false;
	children[child_count].fn = fn;
	children[child_count++].arg = arg;
	return true;
}

void co_group_wait(struct co_group *g)
{
	size_t i;

	(void)g;
	for (i = 0; i < child_count; i++) {
		size_t k = children_reverse ? child_count - 1 - i : i;

		children[k].fn(children[k].arg);
	}
	child_count = 0;
}

/* ---- a debate to play with ---- */

static struct debate *fake_new(size_t n, const char *consensus, script_fn *script)
{
	static const char *const names[SEATS_MAX] = {"alpha",   "bravo", "charlie", "delta", "echo",
						     "foxtrot", "golf",  "hotel",   "india", "juliett"};
	struct debate *d = xcalloc(1, sizeof(*d));
	size_t i;

	for (i = 0; i < n; i++)
		d->agents[i] = (struct agent_spec){.name = str_of(names[i]),
						   .provider = STR("fake"),
						   .model = STR("m"),
						   .persona = STR(""),
						   .role = STR("")};
	d->plan = (struct debate_plan){.debate_id = STR("d-1"),
				       .task = STR("Which cache should we use?"),
				       .context = STR(""),
				       .language = STR("English"),
				       .agents = d->agents,
				       .agent_count = n,
				       .rounds = 2,
				       .mode = mode_find(str_of(consensus)),
				       .threshold_ppm = 600000,
				       .early_agree_ppm = 850000,
				       .version = 2,
				       .protocol = protocol_before(),
				       .seed = 42};
	d->journal = json_object();
	d->events = json_array();
	d->prompts = json_object();
	d->inbox = json_object();
	d->ratings = json_object();
	d->standing = json_object();
	d->alike = json_pack("{s:s}", "source", "words");
	d->script = script;
	d->die_at = SIZE_MAX;
	d->die_of = STOP_DRAIN;
	return d;
}

/* One process' life: from the journal to the end or to its death. */
static bool fake_run(struct debate *d)
{
	bool ok;

	arena_free(d->arena);
	d->arena = arena_new(0);
	d->engine = NULL;
	d->stop = STOP_NONE;
	d->commits = 0;
	children_reverse = d->reverse;
	ok = engine_run(d);
	return ok;
}

static void fake_free(struct debate *d)
{
	arena_free(d->arena);
	json_decref(d->journal);
	json_decref(d->events);
	json_decref(d->prompts);
	json_decref(d->inbox);
	json_decref(d->ratings);
	json_decref(d->background);
	json_decref(d->standing);
	json_decref(d->alike);
	free(d->result);
	free(d);
}

static const json_t *fake_result(const struct debate *d)
{
	return json_object_get(d->journal, "finish");
}

static struct str fake_word(const struct debate *d, const char *key)
{
	return json_get_str(fake_result(d), key, STR("(none)"));
}

static int64_t fake_consensus(const struct debate *d, const char *key)
{
	const json_t *v = json_object_get(json_get_obj(fake_result(d), "consensus"), key);

	return json_is_boolean(v) ? json_is_true(v) : json_integer_value(v);
}

static size_t fake_count(const struct debate *d, const char *type)
{
	size_t i, n = 0;

	for (i = 0; i < json_array_size(d->events); i++)
		n += str_eqz(json_get_str(json_array_get(d->events, i), "type", STR("")), type);
	return n;
}

static const json_t *fake_event(const struct debate *d, const char *type)
{
	size_t i;

	for (i = 0; i < json_array_size(d->events); i++)
		if (str_eqz(json_get_str(json_array_get(d->events, i), "type", STR("")), type))
			return json_get_obj(json_array_get(d->events, i), "data");
	return NULL;
}

static void assert_word(const struct debate *d, const char *key, const char *want)
{
	struct str got = fake_word(d, key);
	char *z = str_dupz(got);

	assert_string_equal(z, want);
	free(z);
}

static struct str fact(const json_t *facts, const char *key)
{
	return json_get_str(facts, key, STR(""));
}

/* The label whose text speaks of the word, or "P99". */
static const char *label_of(const json_t *facts, const char *word)
{
	const json_t *texts = json_get_obj(facts, "texts");
	const char *label;
	json_t *text;
	size_t i;

	for (i = 0; i < json_array_size(json_get_arr(facts, "labels")); i++) {
		label = json_string_value(json_array_get(json_get_arr(facts, "labels"), i));
		text = json_object_get(texts, label);
		if (strstr(json_string_value(text), word) != NULL)
			return label;
	}
	return "P99";
}

static char said[4096]; /* the script's answer */

static const char *say(const char *fmt, ...) PRINTF_FMT(1, 2);
static const char *say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(said, sizeof(said), fmt, ap);
	va_end(ap);
	return said;
}

/* Three different answers. */
static const char *draft_of(struct str name)
{
	if (str_eqz(name, "alpha"))
		return "Redis, because one shared dictionary server keeps invalidation central and observable.";
	if (str_eqz(name, "bravo"))
		return "Memcached, since slab allocation gives flat latency without persistence baggage.";
	return "local process memory: nothing crosses machines, so nothing breaks between them.";
}

/* Everybody plays by the rules; the vote goes to Redis at 0.9. */
static const char *script_plain(const struct step_call *c, int attempt)
{
	(void)attempt;
	if (strcmp(c->phase, "propose") == 0)
		return say("POSITION: Use %s Thus %.*s.\nReasons follow.\nCONFIDENCE: 0.7", draft_of(c->agent->name),
			   STR_ARG(c->agent->name));
	if (strcmp(c->phase, "critique") == 0)
		return say("ISSUES:\n- issue of round %d found by %.*s\nSUGGESTIONS:\n- measure it\nSEVERITY: "
			   "4\nREASONING: no numbers.",
			   c->round, STR_ARG(c->agent->name));
	if (strcmp(c->phase, "revise") == 0)
		return say("POSITION: Use %s\nRevised in round %d with different words %d times over, %s.",
			   draft_of(c->agent->name), c->round, c->round * 7,
			   c->round == 1 ? "citing latency benchmarks" : "weighing operational burden instead");
	if (strcmp(c->phase, "vote") == 0)
		return say("CHOICE: %s\nCONFIDENCE: 0.9\nCONTINUE: no\nREASONING: %s is the most complete.",
			   label_of(c->facts, "Redis"), label_of(c->facts, "Redis"));
	if (strcmp(c->phase, "judge") == 0)
		return say("WINNER: %s\nCONFIDENCE: 80%%\nREASONING: solid.\nUNRESOLVED: cost\nANSWER: Take Memcached.",
			   label_of(c->facts, "Memcached"));
	return say("Use the cache that won: %.*s", STR_ARG(str_sub(fact(c->facts, "winner_text"), 0, 40)));
}

/* ---- tests ---- */

static void test_majority(void **state)
{
	struct debate *d = fake_new(3, "majority", script_plain);
	const json_t *vote, *consensus;

	(void)state;
	assert_true(fake_run(d));
	assert_word(d, "status", "consensus_reached");
	assert_word(d, "winner", "alpha");
	assert_word(d, "method", "majority");
	assert_int_equal(json_get_int(fake_result(d), "rounds_used", 0), 2);
	assert_int_equal(json_get_int(fake_result(d), "tokens_in", 0), 10 * (3 + 2 * (6 + 3) + 3 + 1));
	assert_true(fake_consensus(d, "reached"));
	assert_int_equal(fake_consensus(d, "share_ppm"), 1000000);
	assert_int_equal(fake_consensus(d, "confidence_ppm"), 1000000);
	assert_int_equal(fake_count(d, "debate_start"), 1);
	assert_int_equal(fake_count(d, "round_start"), 2);
	assert_int_equal(fake_count(d, "round_end"), 2);
	assert_int_equal(fake_count(d, "agent_message"), 3 + 2 * 3);
	assert_int_equal(fake_count(d, "critique"), 12);
	assert_int_equal(fake_count(d, "vote"), 3);
	assert_int_equal(fake_count(d, "consensus"), 1);
	assert_int_equal(fake_count(d, "consensus_reached"), 1);
	assert_int_equal(fake_count(d, "synthesis"), 1);
	assert_true(str_starts(fake_word(d, "synthesis"), STR("Use the cache that won")));
	assert_true(str_eq(fake_word(d, "synthesis"), fake_word(d, "final_answer")));
	/* labels are the reader's; those who watch see names, and the own vote weighs half */
	vote = json_array_get(json_get_arr(fake_result(d), "votes"), 0);
	assert_true(str_eqz(json_get_str(vote, "reasoning", STR("")), "alpha is the most complete."));
	assert_int_equal(json_get_int(vote, "weight_ppm", 0), 500000);
	assert_int_equal(json_get_int(json_array_get(json_get_arr(fake_result(d), "votes"), 1), "weight_ppm", 0),
			 1000000);
	consensus = fake_event(d, "consensus");
	assert_true(str_eqz(json_get_str(consensus, "status", STR("")), "consensus_reached"));
	assert_non_null(json_object_get(consensus, "agent_failures"));
	fake_free(d);
}

/* Dies before each commit in turn, and starts again. */
static void die_everywhere(size_t n, const char *mode, script_fn *script)
{
	struct debate *whole = fake_new(n, mode, script), *d;
	size_t k, commits;

	assert_true(fake_run(whole));
	commits = whole->commits;
	assert_true(commits > 10);
	for (k = 0; k < commits; k++) {
		d = fake_new(n, mode, script);
		d->die_at = k;
		assert_false(fake_run(d));
		d->die_at = SIZE_MAX;
		assert_true(fake_run(d));
		assert_string_equal(d->result, whole->result);
		assert_true(json_equal(d->events, whole->events));
		fake_free(d);
	}
	d = fake_new(n, mode, script); /* every process lives for one commit only */
	d->die_at = 1;
	for (k = 0; k < commits - 1; k++)
		assert_false(fake_run(d));
	assert_true(fake_run(d));
	assert_string_equal(d->result, whole->result);
	assert_true(json_equal(d->events, whole->events));
	fake_free(d);
	fake_free(whole);
}

static const char *script_broken(const struct step_call *c, int attempt)
{
	if (str_eqz(c->agent->name, "charlie") && strcmp(c->phase, "propose") == 0)
		return NULL;
	if (strcmp(c->phase, "vote") == 0 && str_eqz(c->agent->name, "bravo"))
		return "I like them all equally.";
	if (strcmp(c->phase, "revise") == 0 && str_eqz(c->agent->name, "alpha"))
		return NULL;
	if (strcmp(c->phase, "judge") == 0 && !str_eqz(c->agent->name, "delta"))
		return NULL;
	if (strcmp(c->phase, "synthesis") == 0)
		return NULL;
	return script_plain(c, attempt);
}

static void test_dies_everywhere(void **state)
{
	static const char *const modes[] = {"majority", "weighted",  "unanimous", "judge",
					    "hybrid",   "byzantine", "none"};
	size_t i;

	(void)state;
	for (i = 0; i < countof(modes); i++) {
		die_everywhere(3, modes[i], script_plain);
		die_everywhere(4, modes[i], script_broken);
	}
	die_everywhere(6, "majority", script_plain);
}

/* Equal but for their times. */
static bool same_but_times(const json_t *x, const json_t *y, const char *key)
{
	json_t *a = json_deep_copy(json_object_get(x, key)), *b = json_deep_copy(json_object_get(y, key));
	bool same;
	size_t i;

	for (i = 0; i < json_array_size(a); i++)
		json_object_del(json_array_get(a, i), "at_ms");
	for (i = 0; i < json_array_size(b); i++)
		json_object_del(json_array_get(b, i), "at_ms");
	same = json_equal(a, b) != 0;
	json_decref(a);
	json_decref(b);
	return same;
}

static void test_order_of_arrival(void **state)
{
	struct debate *a = fake_new(4, "majority", script_broken), *b = fake_new(4, "majority", script_broken);
	const json_t *x, *y;

	(void)state;
	b->reverse = true;
	assert_true(fake_run(a));
	assert_true(fake_run(b));
	/* the clock of the fake counts commits, so times differ; everything decided or said does not */
	x = fake_result(a);
	y = fake_result(b);
	assert_true(json_equal(json_object_get(x, "consensus"), json_object_get(y, "consensus")));
	assert_true(same_but_times(x, y, "critiques"));
	assert_true(same_but_times(x, y, "votes"));
	assert_true(json_equal(json_object_get(x, "proposals"), json_object_get(y, "proposals")));
	assert_true(json_equal(json_object_get(x, "final_answer"), json_object_get(y, "final_answer")));
	fake_free(a);
	fake_free(b);
}

/* When no coroutine can be made, agents are asked one after the other. */
static void test_no_coroutines(void **state)
{
	struct debate *d = fake_new(3, "majority", script_plain);

	(void)state;
	children_refused = true;
	assert_true(fake_run(d));
	children_refused = false;
	assert_word(d, "status", "consensus_reached");
	assert_int_equal(fake_count(d, "critique"), 12);
	fake_free(d);
}

static void test_failures(void **state)
{
	struct debate *d = fake_new(4, "majority", script_broken);
	const json_t *r, *failed;

	(void)state;
	assert_true(fake_run(d));
	r = fake_result(d);
	assert_word(d, "status", "consensus_reached");
	assert_null(json_object_get(json_get_obj(r, "proposals"), "charlie")); /* no text was put in its mouth */
	assert_int_equal(json_object_size(json_get_obj(r, "proposals")), 3);
	failed = json_array_get(json_get_arr(json_get_obj(r, "agent_failures"), "charlie"), 0);
	assert_true(str_eqz(json_get_str(failed, "phase", STR("")), "propose"));
	assert_true(str_eqz(json_get_str(failed, "error_type", STR("")), "timeout"));
	assert_int_equal(json_array_size(json_get_arr(r, "votes")), 2); /* bravo abstained, charlie was not asked */
	assert_null(json_object_get(d->prompts, "r2.vote.charlie"));
	/* the failed revision keeps the draft */
	assert_true(str_find(json_get_str(json_get_obj(r, "proposals"), "alpha", STR("")), STR("Reasons follow")) >= 0);
	/* nobody wrote the synthesis: the frame stands in */
	assert_true(str_find(fake_word(d, "final_answer"), STR("Reasons follow")) >= 0);
	assert_int_equal(fake_count(d, "synthesis"), 1);
	fake_free(d);
}

static const char *script_lonely(const struct step_call *c, int attempt)
{
	return str_eqz(c->agent->name, "bravo") ? script_plain(c, attempt) : NULL;
}

static const char *script_silent(const struct step_call *c, int attempt)
{
	(void)c;
	(void)attempt;
	return NULL;
}

static void test_too_few(void **state)
{
	struct debate *d = fake_new(3, "majority", script_lonely);

	(void)state;
	assert_true(fake_run(d));
	assert_word(d, "status", "insufficient_participation");
	assert_word(d, "winner", "");
	assert_true(str_find(fake_word(d, "final_answer"), STR("Memcached")) >= 0);
	assert_false(fake_consensus(d, "reached"));
	assert_int_equal(fake_consensus(d, "confidence_ppm"), 0);
	assert_int_equal(fake_count(d, "vote"), 0);
	fake_free(d);
	d = fake_new(3, "majority", script_silent);
	assert_true(fake_run(d));
	assert_word(d, "status", "insufficient_participation");
	assert_word(d, "final_answer", "");
	fake_free(d);
}

static const char *script_agreeing(const struct step_call *c, int attempt)
{
	if (strcmp(c->phase, "propose") == 0)
		return "POSITION: Use Redis for caching.\nIt is shared, observable and known to the team.";
	return script_plain(c, attempt);
}

static void test_agreement_gate(void **state)
{
	struct debate *d = fake_new(3, "majority", script_agreeing);
	const json_t *stop;

	(void)state;
	assert_true(fake_run(d));
	assert_int_equal(fake_count(d, "round_start"), 0);
	assert_int_equal(fake_count(d, "vote"), 3);
	stop = json_get_obj(fake_result(d), "early_stop");
	assert_true(str_eqz(json_get_str(stop, "source", STR("")), "round0_agreement"));
	assert_int_equal(json_array_size(json_get_arr(json_get_obj(fake_result(d), "consensus"), "groups")), 1);
	fake_free(d);
}

static const char *script_opposed(const struct step_call *c, int attempt)
{
	bool against = str_eqz(c->agent->name, "bravo");

	if (strcmp(c->phase, "propose") == 0 || strcmp(c->phase, "revise") == 0)
		return say("POSITION: We should %suse Redis for caching.\nIt is shared, observable and known to the "
			   "whole team here.",
			   against ? "not " : "");
	return script_plain(c, attempt);
}

/* Nearly the same words, opposite meaning, and nobody moves: neither agreement nor convergence. */
static void test_standing_disagreement(void **state)
{
	struct debate *d = fake_new(2, "majority", script_opposed);

	(void)state;
	d->plan.rounds = 3;
	assert_true(fake_run(d));
	assert_int_equal(fake_count(d, "round_start"), 3);
	assert_null(json_object_get(fake_result(d), "early_stop"));
	assert_int_equal(json_array_size(json_get_arr(json_get_obj(fake_result(d), "consensus"), "groups")), 2);
	fake_free(d);
}

static const char *script_hollow(const struct step_call *c, int attempt)
{
	if (strcmp(c->phase, "revise") == 0)
		return script_agreeing(&(struct step_call){.phase = "propose"}, attempt);
	return script_plain(c, attempt);
}

static const char *script_converging(const struct step_call *c, int attempt)
{
	if (strcmp(c->phase, "revise") == 0)
		return "POSITION: We should use Redis for caching.\nAccording to the report [1] the p99 fell from 9 ms "
		       "to 2 "
		       "ms, because all processes share one cache; therefore it pays within 3 months.";
	return script_plain(c, attempt);
}

static struct str fake_prompt(const struct debate *d, const char *key)
{
	return json_get_str(json_get_obj(d->prompts, key), "prompt", STR(""));
}

/* Agreement without evidence: in the next round each is asked for what it lacks; what stands then may end. */
static void test_hollow_agreement(void **state)
{
	struct debate *d = fake_new(3, "majority", script_hollow);
	struct str asked;

	(void)state;
	d->plan.rounds = 5;
	assert_true(fake_run(d));
	assert_int_equal(fake_count(d, "hollow_consensus"), 1);
	assert_int_equal(fake_count(d, "trickster_intervention"), 1);
	assert_int_equal(fake_count(d, "round_start"), 2);
	asked = fake_prompt(d, "r2.revise.alpha");
	assert_true(str_find(asked, STR("Agreement is no evidence")) >= 0 && str_find(asked, STR("sources")) >= 0);
	assert_true(str_find(fake_prompt(d, "r1.revise.alpha"), STR("Agreement is no evidence")) < 0);
	fake_free(d);
	d = fake_new(3, "majority", script_hollow); /* what gives no evidence anyway is not asked for it */
	d->plan.rounds = 5;
	d->plan.demo = true;
	assert_true(fake_run(d));
	assert_int_equal(fake_count(d, "hollow_consensus"), 0);
	assert_int_equal(fake_count(d, "round_start"), 2);
	fake_free(d);
}

static void test_convergence(void **state)
{
	struct debate *d = fake_new(3, "majority", script_converging);

	(void)state;
	d->plan.rounds = 5;
	assert_true(fake_run(d));
	/* round 1 brings them together, round 2 shows that it holds */
	assert_int_equal(fake_count(d, "round_start"), 2);
	assert_true(
	    str_eqz(json_get_str(json_get_obj(fake_result(d), "early_stop"), "source", STR("")), "convergence"));
	assert_true(str_eqz(json_get_str(json_get_obj(fake_result(d), "convergence"), "status", STR("")), "converged"));
	assert_true(json_array_size(json_get_arr(fake_result(d), "flips")) >= 1);
	assert_int_equal(fake_count(d, "flip_detected"), json_array_size(json_get_arr(fake_result(d), "flips")));
	fake_free(d);
	d = fake_new(3, "majority", script_converging); /* in the last round there is nothing left to save */
	assert_true(fake_run(d));
	assert_int_equal(fake_count(d, "round_start"), 2);
	assert_null(json_object_get(fake_result(d), "early_stop"));
	assert_int_equal(fake_count(d, "debate_early_terminated"), 0);
	fake_free(d);
}

static const char *script_mumbling(const struct step_call *c, int attempt)
{
	if (strcmp(c->phase, "vote") == 0 && !str_eqz(c->agent->name, "alpha"))
		return "CHOICE: P9\nCONFIDENCE: 1";
	return script_plain(c, attempt);
}

/* An unreadable vote is an abstention, not a vote for whoever stands first. */
static void test_no_quorum(void **state)
{
	struct debate *d = fake_new(3, "majority", script_mumbling);

	(void)state;
	assert_true(fake_run(d));
	assert_word(d, "status", "insufficient_participation");
	assert_int_equal(json_array_size(json_get_arr(fake_result(d), "votes")), 1);
	assert_int_equal(fake_consensus(d, "confidence_ppm"), 0);
	assert_true(fake_word(d, "final_answer").n > 0);
	fake_free(d);
}

static const char *script_split(const struct step_call *c, int attempt)
{
	if (strcmp(c->phase, "vote") == 0)
		return say("CHOICE: %s\nCONFIDENCE: %s\nREASONING: so be it.",
			   label_of(c->facts, str_eqz(c->agent->name, "bravo") ? "Memcached" : "Redis"),
			   str_eqz(c->agent->name, "bravo") ? "0.8" : "0.6");
	return script_plain(c, attempt);
}

static const char *script_split_no_judge(const struct step_call *c, int attempt)
{
	return strcmp(c->phase, "judge") == 0 ? NULL : script_split(c, attempt);
}

static void test_unanimous(void **state)
{
	struct debate *d = fake_new(3, "unanimous", script_split);
	const json_t *dissent;

	(void)state;
	assert_true(fake_run(d));
	assert_word(d, "status", "completed");
	assert_false(fake_consensus(d, "reached"));
	/* alpha .5 x .6, charlie 1 x .6 against bravo .5 x .8 */
	assert_int_equal(fake_consensus(d, "weighted_share_ppm"), 900000 * 1000000ll / 1300000);
	assert_int_equal(fake_consensus(d, "share_ppm"), 666666);
	assert_int_equal(fake_consensus(d, "margin_ppm"), 500000 * 1000000ll / 1300000);
	dissent = json_array_get(json_get_arr(fake_result(d), "dissents"), 0);
	assert_true(str_eqz(json_get_str(dissent, "agent", STR("")), "bravo"));
	assert_true(str_find(json_get_str(dissent, "view", STR("")), STR("Memcached")) >= 0);
	fake_free(d);
	d = fake_new(3, "unanimous", script_plain);
	assert_true(fake_run(d));
	assert_word(d, "status", "consensus_reached");
	fake_free(d);
}

static void test_judge(void **state)
{
	struct debate *d = fake_new(3, "judge", script_plain);

	(void)state;
	json_put_int(d->ratings, "charlie", 1600000);
	json_put_int(d->ratings, "alpha", 1500000);
	json_put_int(d->ratings, "bravo", 1500000);
	assert_true(fake_run(d));
	assert_word(d, "winner", "bravo"); /* the author, not the judge */
	assert_word(d, "method", "judge");
	assert_word(d, "final_answer", "Take Memcached.");
	assert_int_equal(fake_consensus(d, "confidence_ppm"), 800000);
	assert_non_null(json_object_get(d->prompts, "r2.judge.charlie")); /* the highest rated that does not lead */
	assert_null(json_object_get(d->prompts, "r2.judge.bravo"));
	assert_int_equal(fake_count(d, "synthesis"), 1);
	fake_free(d);
}

/* A vote that decides needs no judge; one that does not gets one, and the judge does not see the votes. */
static void test_hybrid(void **state)
{
	struct debate *d = fake_new(3, "hybrid", script_split);

	(void)state;
	assert_true(fake_run(d));
	assert_word(d, "status", "consensus_reached");
	assert_word(d, "method", "hybrid");
	assert_int_equal(fake_count(d, "vote"), 3);
	fake_free(d);
	d = fake_new(3, "hybrid", script_split);
	d->plan.threshold_ppm = 750000;
	assert_true(fake_run(d));
	assert_word(d, "method", "hybrid");
	assert_int_equal(fake_count(d, "vote"), 4);
	assert_int_equal(fake_consensus(d, "confidence_ppm"), 800000); /* the judge's */
	assert_word(d, "final_answer", "Take Memcached.");
	fake_free(d);
	d = fake_new(3, "hybrid", script_split_no_judge);
	d->plan.threshold_ppm = 750000;
	assert_true(fake_run(d)); /* nobody rules: the votes stand as they are */
	assert_word(d, "status", "completed");
	assert_false(fake_consensus(d, "reached"));
	assert_int_equal(json_array_size(json_get_arr(fake_result(d), "votes")), 3);
	fake_free(d);
}

static void test_weighted(void **state)
{
	struct debate *d = fake_new(3, "weighted", script_split);

	(void)state;
	json_put_int(d->ratings, "bravo", 2500000);
	json_put_int(d->ratings, "charlie", 500000);
	assert_true(fake_run(d));
	/* alpha .5 x .6, charlie .5 x .6 against bravo 1.6 x .5 x .8 */
	assert_int_equal(fake_consensus(d, "weighted_share_ppm"), 640000 * 1000000ll / 1240000);
	assert_false(fake_consensus(d, "reached"));
	fake_free(d);
}

static void test_judges_fail(void **state)
{
	struct debate *d = fake_new(4, "judge", script_broken); /* only delta rules */

	(void)state;
	assert_true(fake_run(d));
	assert_word(d, "winner", "bravo");
	assert_true(
	    str_eqz(json_get_str(json_array_get(json_get_arr(fake_result(d), "votes"), 0), "agent", STR("")), "delta"));
	fake_free(d);
	d = fake_new(3, "judge", script_broken); /* none does: a majority, and it says so */
	assert_true(fake_run(d));
	assert_word(d, "method", "majority");
	fake_free(d);
}

static void test_none(void **state)
{
	struct debate *d = fake_new(3, "none", script_plain);

	(void)state;
	assert_true(fake_run(d));
	assert_word(d, "status", "completed");
	assert_word(d, "winner", "");
	assert_int_equal(fake_count(d, "vote"), 0);
	assert_false(fake_consensus(d, "reached"));
	assert_int_equal(fake_consensus(d, "confidence_ppm"), 0);
	assert_true(fake_word(d, "synthesis").n > 0);
	fake_free(d);
}

/* Nobody reads a name, nor a critique of an earlier round; every foreign text stands between marks. */
static void test_prompts(void **state)
{
	static const char *const names[] = {"alpha", "bravo", "charlie"};
	struct debate *d = fake_new(3, "majority", script_plain);
	const char *key;
	json_t *p;
	size_t i;

	(void)state;
	json_object_set_new(d->inbox, "r2.inbox",
			    json_pack("[{s:s, s:s, s:s, s:{s:s}}, {s:s, s:s, s:s, s:{}}]", "id", "i1", "kind",
				      "suggestion", "user_id", "u", "payload", "suggestion", "Mind the budget.", "id",
				      "i2", "kind", "pause", "user_id", "u", "payload"));
	assert_true(fake_run(d));
	json_object_foreach(d->prompts, key, p)
	{
		struct str prompt = json_get_str(p, "prompt", STR(""));

		for (i = 0; i < countof(names); i++)
			assert_true(str_find(prompt, str_of(names[i])) < 0 &&
				    str_find(json_get_str(p, "system", STR("")), str_of(names[i])) < 0);
		assert_true(str_find(prompt, STR("<<<material")) == 0);
		if (strstr(key, "r2.revise") != NULL) {
			assert_true(str_find(prompt, STR("issue of round 2")) >= 0);
			assert_true(str_find(prompt, STR("issue of round 1")) < 0);
		}
		if (strncmp(key, "r2.", 3) == 0 && strstr(key, "synthesis") == NULL)
			assert_true(str_find(prompt, STR("Mind the budget.")) >= 0);
		else
			assert_true(str_find(prompt, STR("Mind the budget.")) < 0);
	}
	assert_int_equal(fake_count(d, "intervention_applied"), 1);
	fake_free(d);
}

static const char *script_endless(const struct step_call *c, int attempt)
{
	static char big[256 * 1024];
	size_t i;

	(void)attempt;
	for (i = 0; i + 1 < sizeof(big); i++)
		big[i] = (char)(i % 7 == 6 ? ' ' : 'a' + (int)((i * 31 + c->agent->name.n + (size_t)c->round) % 26));
	return big;
}

/* Agents that only babble, as long as they may: no vote can be read, and the debate still ends. */
static void test_babble(void **state)
{
	struct debate *d = fake_new(10, "majority", script_endless);

	(void)state;
	assert_true(fake_run(d));
	assert_true(fake_word(d, "status").n > 0);
	fake_free(d);
}

/* ---- since engine 3 ---- */

static struct debate *fake_new3(size_t n, const char *consensus, script_fn *script)
{
	struct debate *d = fake_new(n, consensus, script);

	d->plan.version = 3;
	d->plan.protocol = protocol_usual(STR("default"), d->plan.rounds, n, false);
	return d;
}

static const char *script_ready(const struct step_call *c, int attempt)
{
	static char text[4096];

	if (strcmp(c->phase, "revise") != 0)
		return script_plain(c, attempt);
	(void)snprintf(text, sizeof(text), "%s\nREADY: yes\nCONFIDENCE: 0.9", script_plain(c, attempt));
	return text;
}

/* All sure and all done: the rest of the rounds is saved, but not the least number of them. */
static void test_ready(void **state)
{
	struct debate *d = fake_new3(3, "majority", script_ready);

	(void)state;
	d->plan.rounds = 5;
	d->plan.protocol.rounds_min = 2;
	assert_true(fake_run(d));
	assert_int_equal(json_get_int(fake_result(d), "rounds_used", 0), 2);
	assert_true(
	    str_eqz(json_get_str(json_get_obj(fake_result(d), "early_stop"), "source", STR("")), "ready_quorum"));
	assert_int_equal(fake_count(d, "debate_early_terminated"), 1);
	assert_true(str_find(fake_prompt(d, "r1.revise.alpha"), STR("READY:")) >= 0);
	/* peers do not see how sure an author says he is */
	assert_true(str_find(fake_prompt(d, "r2.vote.bravo"), STR("READY: yes")) < 0);
	assert_true(str_find(fake_prompt(d, "r2.vote.bravo"), STR("0.9\n<<<end")) < 0);
	fake_free(d);
	d = fake_new3(3, "majority", script_ready);
	d->plan.rounds = 5;
	d->plan.protocol.early_stopping = false;
	assert_true(fake_run(d));
	assert_int_equal(json_get_int(fake_result(d), "rounds_used", 0), 5);
	assert_true(str_find(fake_prompt(d, "r1.revise.alpha"), STR("READY:")) < 0);
	fake_free(d);
}

static void test_rounds_have_goals(void **state)
{
	struct debate *d = fake_new3(3, "majority", script_plain);

	(void)state;
	d->plan.rounds = 3;
	d->plan.protocol.role_rotation = d->plan.protocol.asymmetric_stances = true;
	d->plan.protocol.intensity = 9;
	assert_true(fake_run(d));
	assert_true(str_find(fake_prompt(d, "r1.critique.alpha.bravo"), STR("Goal of this round, analysis")) >= 0);
	assert_true(str_find(fake_prompt(d, "r2.revise.alpha"), STR("cross-examination")) >= 0);
	assert_true(str_find(fake_prompt(d, "r3.revise.alpha"), STR("your final position")) >= 0);
	assert_true(str_find(fake_prompt(d, "r3.revise.alpha"), STR("Integrate the critiques")) >= 0);
	assert_true(str_find(fake_prompt(d, "r3.revise.alpha"), STR("Keep your position unless")) >= 0);
	assert_true(str_find(json_get_str(json_get_obj(d->prompts, "r0.propose.bravo"), "system", STR("")),
			     STR("speak for the negative")) >= 0);
	assert_true(str_find(json_get_str(json_get_obj(d->prompts, "r1.critique.bravo.alpha"), "system", STR("")),
			     STR("lateral thinker")) >= 0);
	/* nobody votes by an office */
	assert_true(str_find(json_get_str(json_get_obj(d->prompts, "r3.vote.bravo"), "system", STR("")),
			     STR("In this round")) < 0);
	assert_int_equal(fake_count(d, "role_rotation"), 3);
	assert_true(str_eqz(json_get_str(fake_event(d, "round_start"), "goal", STR("")), "analysis"));
	fake_free(d);
}

static const char *script_twins(const struct step_call *c, int attempt)
{
	if (strcmp(c->phase, "propose") == 0 && !str_eqz(c->agent->name, "alpha"))
		return "POSITION: Use Memcached for all caching.\nSlab allocation gives flat latency.";
	return script_plain(c, attempt);
}

/* What two say is criticised once; both hear of it. */
static void test_twins(void **state)
{
	struct debate *d = fake_new3(3, "majority", script_twins);

	(void)state;
	d->plan.rounds = 1;
	assert_true(fake_run(d));
	assert_int_equal(fake_count(d, "critique"), 4); /* of six */
	assert_null(json_object_get(d->prompts, "r1.critique.alpha.charlie"));
	assert_true(str_find(fake_prompt(d, "r1.revise.charlie"), STR("found by a participant")) >= 0);
	assert_int_equal(json_array_size(json_get_arr(fake_result(d), "critiques")), 4);
	fake_free(d);
	d = fake_new3(3, "majority", script_twins);
	d->plan.rounds = 1;
	d->plan.protocol.distinct = false;
	assert_true(fake_run(d));
	assert_int_equal(fake_count(d, "critique"), 6);
	fake_free(d);
}

static const char *script_stuck(const struct step_call *c, int attempt)
{
	if (strcmp(c->phase, "revise") == 0)
		return say("POSITION: Use %s\nReasons follow.", draft_of(c->agent->name));
	return script_plain(c, attempt);
}

static void test_novelty_in_result(void **state)
{
	struct debate *d = fake_new3(3, "majority", script_stuck);
	const json_t *novelty;

	(void)state;
	assert_true(fake_run(d));
	novelty = json_get_obj(fake_result(d), "novelty");
	assert_int_equal(json_array_size(json_get_arr(json_get_obj(novelty, "per_agent"), "alpha")), 3);
	assert_int_equal(
	    json_integer_value(json_array_get(json_get_arr(json_get_obj(novelty, "per_agent"), "alpha"), 0)), 1000000);
	assert_in_range(json_get_int(novelty, "mean_ppm", -1), 1, 999999);
	assert_true(str_find(fake_prompt(d, "r2.revise.alpha"), STR("Little in your last text")) >= 0);
	assert_true(str_find(fake_prompt(d, "r1.revise.alpha"), STR("Little in your last text")) < 0);
	assert_true(str_eqz(json_get_str(fake_event(d, "trickster_intervention"), "intervention_type", STR("")),
			    "novelty_challenge"));
	assert_non_null(json_object_get(json_get_obj(fake_result(d), "convergence"), "per_agent"));
	fake_free(d);
}

/* Standing: a calibrated confidence, factors where they are asked for, the order of judges. */
static void test_standing(void **state)
{
	struct debate *d = fake_new3(3, "weighted", script_split);
	const json_t *vote;

	(void)state;
	json_object_set_new(d->standing, "bravo",
			    json_pack("{s:i, s:i, s:i, s:i}", "elo_milli", 2500000, "samples", 10, "bias_ppm", 100000,
				      "ece_ppm", 200000));
	assert_true(fake_run(d));
	vote = json_array_get(json_get_arr(fake_result(d), "votes"), 1);
	assert_int_equal(json_get_int(vote, "stated_ppm", 0), 800000);
	assert_int_equal(json_get_int(vote, "confidence_ppm", 0), 560000); /* 30 % less */
	assert_int_equal(json_get_int(vote, "weight_ppm", 0), 800000);     /* 1.6 of elo, 0.5 for himself */
	assert_int_equal(json_get_int(json_get_obj(vote, "factors"), "elo_ppm", 0), 1600000);
	/* alpha .5 x .6, charlie 1 x .6 against bravo .8 x .56 */
	assert_int_equal(fake_consensus(d, "weighted_share_ppm"), 900000 * 1000000ll / 1348000);
	fake_free(d);
	d = fake_new3(3, "majority", script_split); /* in a majority nobody's rating weighs */
	json_object_set_new(d->standing, "bravo", json_pack("{s:i}", "elo_milli", 2500000));
	assert_true(fake_run(d));
	assert_int_equal(fake_consensus(d, "weighted_share_ppm"), 900000 * 1000000ll / 1300000);
	fake_free(d);
}

static void test_minority(void **state)
{
	struct debate *d = fake_new3(3, "majority", script_split);
	const json_t *minority, *one;

	(void)state;
	assert_true(fake_run(d));
	minority = json_get_arr(fake_result(d), "minority");
	assert_int_equal(json_array_size(minority), 2);
	one = json_array_get(minority, 0); /* the heavier one */
	assert_true(str_find(json_get_str(one, "position", STR("")), STR("Memcached")) >= 0);
	assert_int_equal(json_get_int(one, "votes", -1), 1);
	assert_int_equal(json_get_int(one, "weight_ppm", -1), 400000);
	assert_string_equal(json_string_value(json_array_get(json_get_arr(one, "held_by"), 0)), "bravo");
	assert_int_equal(json_array_size(json_get_arr(one, "reasons")), 1);
	assert_int_equal(json_get_int(json_array_get(minority, 1), "votes", -1), 0);
	fake_free(d);
}

/* Each voter sees three orders; who follows the place and not the text is unsure in the end. */
static const char *script_place(const struct step_call *c, int attempt)
{
	if (strcmp(c->phase, "vote") == 0 && str_eqz(c->agent->name, "bravo"))
		return "CHOICE: P1\nCONFIDENCE: 0.9\nREASONING: the first.";
	return script_plain(c, attempt);
}

static void test_shuffled_positions(void **state)
{
	struct debate *d = fake_new3(3, "majority", script_place);
	const json_t *vote;
	int64_t agreeing;

	(void)state;
	d->plan.protocol.position_shuffling = true;
	assert_true(fake_run(d));
	assert_int_equal(fake_count(d, "vote"), 3);
	assert_non_null(json_object_get(d->prompts, "r2.vote.bravo.3"));
	vote = json_array_get(json_get_arr(fake_result(d), "votes"), 0);
	assert_int_equal(json_get_int(vote, "ballots", 0), 3);
	assert_int_equal(json_get_int(vote, "confidence_ppm", 0), 900000);
	vote = json_array_get(json_get_arr(fake_result(d), "votes"), 1);
	agreeing = json_get_int(vote, "ballots_agreeing", 0);
	assert_in_range(agreeing, 1, 3);
	assert_int_equal(json_get_int(vote, "confidence_ppm", 0), 900000 * agreeing / 3);
	fake_free(d);
}

/* People's votes of all rounds, the last of each; and what a person set for the decision. */
static void test_people(void **state)
{
	struct debate *d = fake_new3(3, "majority", script_split);
	const json_t *c;

	(void)state;
	json_object_set_new(d->inbox, "r1.inbox",
			    json_pack("[{s:s, s:s, s:s, s:{s:s, s:i}}]", "id", "i1", "kind", "vote", "user_id", "u1",
				      "payload", "choice", "alpha", "intensity", 10));
	json_object_set_new(d->inbox, "decide.inbox",
			    json_pack("[{s:s, s:s, s:s, s:{s:s}}, {s:s, s:s, s:s, s:{s:{s:i}, s:i}}]", "id", "i2",
				      "kind", "vote", "user_id", "u1", "payload", "choice", "bravo", "id", "i3", "kind",
				      "setting", "user_id", "u2", "payload", "weights", "charlie", 2000000,
				      "threshold_ppm", 700000));
	assert_true(fake_run(d));
	c = json_get_obj(fake_result(d), "consensus");
	assert_int_equal(json_get_int(json_get_obj(c, "audience"), "counted", 0), 1);
	assert_int_equal(json_get_int(json_get_obj(json_get_obj(c, "audience"), "votes"), "bravo", 0), 1);
	/* alpha .5 x .6, charlie 2 x .6 against bravo .5 x .8 and half a vote of a person */
	assert_int_equal(fake_consensus(d, "weighted_share_ppm"), 1500000 * 1000000ll / 2400000);
	assert_int_equal(fake_consensus(d, "threshold_ppm"), 700000);
	assert_false(fake_consensus(d, "reached"));
	assert_int_equal(fake_consensus(d, "share_ppm"), 666666); /* people are no heads */
	fake_free(d);
}

static const char *script_worded(const struct step_call *c, int attempt)
{
	if (strcmp(c->phase, "vote") == 0)
		return say("CHOICE: %s\nCONFIDENCE: 1",
			   label_of(c->facts, str_eqz(c->agent->name, "alpha") ? "local" : "Redis"));
	return script_plain(c, attempt);
}

/* Positions in different words that mean the same pool their votes where somebody can tell. */
static void test_meanings(void **state)
{
	struct debate *d = fake_new3(3, "semantic", script_worded);
	json_t *ppm = json_pack("[i, i, i, i, i, i, i, i, i]", 1000000, 100000, 900000, 100000, 1000000, 100000, 900000,
				100000, 1000000);

	(void)state;
	assert_true(fake_run(d));
	assert_int_equal(json_array_size(json_get_arr(json_get_obj(fake_result(d), "consensus"), "groups")), 3);
	assert_int_equal(fake_consensus(d, "share_ppm"), 666666);
	fake_free(d);
	d = fake_new3(3, "semantic", script_worded);
	json_put_str(d->alike, "source", STR("embeddings"));
	json_object_set_new(d->alike, "ppm", ppm);
	json_put_int(d->alike, "tokens_in", 7);
	json_put_int(d->alike, "cost_micro", 3);
	assert_true(fake_run(d));
	assert_int_equal(json_array_size(json_get_arr(json_get_obj(fake_result(d), "consensus"), "groups")), 2);
	assert_int_equal(fake_consensus(d, "share_ppm"), 1000000);
	assert_int_equal(json_get_int(fake_result(d), "cost_micro", 0) % 5, 3); /* calls of agents cost 5 each */
	fake_free(d);
}

static void test_judge_selection(void **state)
{
	static const struct {
		enum protocol_judge kind;
		const char *judge;
	} cases[] = {{JUDGE_ELO_RANKED, "r2.judge.bravo"}, {JUDGE_LAST, "r2.judge.charlie"}};
	struct debate *d;
	size_t i;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		d = fake_new3(3, "judge", script_plain);
		json_object_set_new(d->standing, "bravo", json_pack("{s:i}", "elo_milli", 1700000));
		d->plan.protocol.judge = cases[i].kind;
		assert_true(fake_run(d));
		assert_non_null(json_object_get(d->prompts, cases[i].judge));
		fake_free(d);
	}
	d = fake_new3(3, "judge", script_plain); /* who is not rated yet ranks where everybody starts */
	json_object_set_new(d->standing, "bravo", json_pack("{s:i}", "elo_milli", 1400000));
	assert_true(fake_run(d));
	assert_non_null(json_object_get(d->prompts, "r2.judge.charlie"));
	fake_free(d);
}

static script_fn *everything_script;

static struct debate *fake_everything(size_t n, const char *mode)
{
	struct debate *d = fake_new3(n, mode, everything_script);

	d->plan.protocol.role_rotation = d->plan.protocol.asymmetric_stances = d->plan.protocol.stability = true;
	d->plan.protocol.vote_weights = d->plan.protocol.adaptive_consensus = true;
	d->plan.protocol.verbosity_penalty = d->plan.protocol.position_shuffling = true;
	json_object_set_new(d->standing, "bravo",
			    json_pack("{s:i, s:i, s:i, s:i}", "elo_milli", 1700000, "samples", 30, "temperature_milli",
				      1500, "brier_ppm", 300000));
	json_object_set_new(d->inbox, "decide.inbox",
			    json_pack("[{s:s, s:s, s:s, s:{s:s}}]", "id", "i2", "kind", "vote", "user_id", "u1",
				      "payload", "choice", "bravo"));
	d->plan.recall = true;
	d->background = json_pack("[{s:s, s:s, s:s, s:s, s:s, s:b}]", "label", "K1", "source", "consensus", "id", "d-0",
				  "title", "An older question", "text", "An older answer", "dissent", 0);
	return d;
}

/* As test_dies_everywhere, with all that a protocol can switch on. */
static void test_everything_dies_everywhere(void **state)
{
	static const struct {
		const char *mode;
		script_fn *script;
	} cases[] = {{"weighted", script_ready}, {"semantic", script_stuck}, {"hybrid", script_broken}};
	struct debate *whole, *d;
	size_t i, k;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		everything_script = cases[i].script;
		whole = fake_everything(4, cases[i].mode);
		assert_true(fake_run(whole));
		assert_int_equal(json_array_size(json_get_arr(fake_result(whole), "background")), 1);
		for (k = 0; k < whole->commits; k++) {
			d = fake_everything(4, cases[i].mode);
			d->die_at = k;
			assert_false(fake_run(d));
			d->die_at = SIZE_MAX;
			assert_true(fake_run(d));
			assert_string_equal(d->result, whole->result);
			assert_true(json_equal(d->events, whole->events));
			fake_free(d);
		}
		fake_free(whole);
	}
}

static void test_cancelled(void **state)
{
	struct debate *whole = fake_new(3, "majority", script_plain), *d;
	size_t k;

	(void)state;
	assert_true(fake_run(whole));
	for (k = 0; k < whole->commits; k++) {
		json_t *doc, *again;

		d = fake_new(3, "majority", script_plain);
		d->die_at = k;
		d->die_of = STOP_CANCELLED;
		assert_false(fake_run(d));
		doc = engine_result_unfinished(d, "cancelled", "user_requested");
		assert_true(str_eqz(json_get_str(doc, "status", STR("")), "cancelled"));
		assert_true(json_canonical(d->arena, doc).n > 0);
		/* every paid reply is counted, also of a phase that was cut off */
		assert_int_equal(json_get_int(doc, "tokens_in", -1),
				 10 * (fake_count(d, "agent_message") + fake_count(d, "critique") +
				       fake_count(d, "vote") + fake_count(d, "synthesis")));
		assert_int_equal(json_array_size(json_get_arr(doc, "messages")), fake_count(d, "agent_message"));
		/* another process, which has only the journal, says the same */
		arena_free(d->arena);
		d->arena = arena_new(0);
		d->engine = NULL;
		again = engine_result_unfinished(d, "cancelled", "user_requested");
		assert_true(json_equal(doc, again));
		json_decref(doc);
		json_decref(again);
		fake_free(d);
	}
	d = fake_new(3, "majority", script_plain); /* never run, not stopped: nothing may be started */
	d->arena = arena_new(0);
	json_decref(engine_result_unfinished(d, "failed", "gave up"));
	assert_int_equal(json_object_size(d->journal), 0);
	fake_free(d);
	fake_free(whole);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_majority),
	    cmocka_unit_test(test_dies_everywhere),
	    cmocka_unit_test(test_order_of_arrival),
	    cmocka_unit_test(test_no_coroutines),
	    cmocka_unit_test(test_failures),
	    cmocka_unit_test(test_too_few),
	    cmocka_unit_test(test_agreement_gate),
	    cmocka_unit_test(test_standing_disagreement),
	    cmocka_unit_test(test_convergence),
	    cmocka_unit_test(test_no_quorum),
	    cmocka_unit_test(test_unanimous),
	    cmocka_unit_test(test_judge),
	    cmocka_unit_test(test_hybrid),
	    cmocka_unit_test(test_hollow_agreement),
	    cmocka_unit_test(test_weighted),
	    cmocka_unit_test(test_judges_fail),
	    cmocka_unit_test(test_none),
	    cmocka_unit_test(test_ready),
	    cmocka_unit_test(test_rounds_have_goals),
	    cmocka_unit_test(test_twins),
	    cmocka_unit_test(test_novelty_in_result),
	    cmocka_unit_test(test_standing),
	    cmocka_unit_test(test_minority),
	    cmocka_unit_test(test_shuffled_positions),
	    cmocka_unit_test(test_people),
	    cmocka_unit_test(test_judge_selection),
	    cmocka_unit_test(test_meanings),
	    cmocka_unit_test(test_everything_dies_everywhere),
	    cmocka_unit_test(test_prompts),
	    cmocka_unit_test(test_babble),
	    cmocka_unit_test(test_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
