/* SPDX-License-Identifier: MIT */
/*
 * The engine over a scripted step interface, for engine_test.c and engine_course_test.c: a journal in memory, events
 * kept, agents that answer by script, and a run that may die at any commit.
 */
#ifndef TESTS_UNIT_ENGINE_PLAY_H
#define TESTS_UNIT_ENGINE_PLAY_H

#include "worker/engine/engine.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "common/json.h"
#include "worker/engine/mode.h"

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
static inline bool fake_commit(struct step *s, const char *key, json_t *value)
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

static inline bool fake_known(struct debate *d, const char *key, const json_t **result)
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

static inline json_t *fake_failed(const struct step_call *c, const char *why)
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

static inline json_t *fake_keep(struct step *s, void *arg)
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

static inline json_t *fake_end(struct step *s, void *arg)
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

void co_group_open(struct co_group *g)
{
	*g = (struct co_group){.running = 0};
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

static inline struct debate *fake_new(size_t n, const char *consensus, script_fn *script)
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
static inline bool fake_run(struct debate *d)
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

static inline void fake_free(struct debate *d)
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

static inline struct str fake_word(const struct debate *d, const char *key)
{
	return json_get_str(fake_result(d), key, STR("(none)"));
}

static inline int64_t fake_consensus(const struct debate *d, const char *key)
{
	const json_t *v = json_object_get(json_get_obj(fake_result(d), "consensus"), key);

	return json_is_boolean(v) ? json_is_true(v) : json_integer_value(v);
}

static inline size_t fake_count(const struct debate *d, const char *type)
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

static inline void assert_word(const struct debate *d, const char *key, const char *want)
{
	struct str got = fake_word(d, key);
	char *z = str_dupz(got);

	assert_string_equal(z, want);
	free(z);
}

static inline struct str fact(const json_t *facts, const char *key)
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

static inline struct str fake_prompt(const struct debate *d, const char *key)
{
	return json_get_str(json_get_obj(d->prompts, key), "prompt", STR(""));
}

static inline const char *script_split(const struct step_call *c, int attempt)
{
	if (strcmp(c->phase, "vote") == 0)
		return say("CHOICE: %s\nCONFIDENCE: %s\nREASONING: so be it.",
			   label_of(c->facts, str_eqz(c->agent->name, "bravo") ? "Memcached" : "Redis"),
			   str_eqz(c->agent->name, "bravo") ? "0.8" : "0.6");
	return script_plain(c, attempt);
}

static inline const char *script_broken(const struct step_call *c, int attempt)
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

#endif
