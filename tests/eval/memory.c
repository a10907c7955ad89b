/* SPDX-License-Identifier: MIT */
/*
 * The step interface (step.h) over memory, and debates on it. The engine, its prompts, its parsing and its decision are
 * the shipping ones; so is the plan, made from a creation body. Steps are not stored twice nor replayed here: that is
 * tests/unit/engine_test.c's.
 */
#include "tests/eval/memory.h"

#include "common/json.h"
#include "worker/debate/debate.h"
#include "worker/debate/engine.h"
#include "worker/debate/mode.h"
#include "worker/debate/parse.h"
#include "worker/debate/prompt.h"

#define MEMORY_BYTES_A_TOKEN 4
#define MEMORY_CHILDREN_MAX 128

struct debate {
	struct debate_plan plan;
	struct arena *arena;
	void *engine;
	json_t *journal;
	const struct sim_world *world;
	json_t *result;
	int64_t calls, tokens, steps;
};

struct step {
	struct debate *d;
};

static struct conf *memory_conf;

/* ---- the step interface ---- */

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
	(void)d;
	return STOP_NONE;
}

void debate_set_engine(struct debate *d, void *ctx)
{
	d->engine = ctx;
}

void *debate_engine(const struct debate *d)
{
	return d->engine;
}

int64_t step_now_ms(const struct step *s)
{
	return 1700000000000 + s->d->steps;
}

int64_t debate_running_ms(const struct debate *d)
{
	return d->steps;
}

void step_emit(struct step *s, const char *type, const char *agent, int round, json_t *data)
{
	(void)s;
	(void)type;
	(void)agent;
	(void)round;
	json_decref(data);
}

static bool memory_keep(struct debate *d, const char *key, json_t *value, const json_t **result)
{
	BUG_ON(json_object_get(d->journal, key) != NULL);
	d->steps++;
	json_object_set_new(d->journal, key, value);
	*result = value;
	return true;
}

bool step_run(struct debate *d, const char *key, json_t *(*compute)(struct step *s, void *arg), void *arg,
	      const json_t **result)
{
	struct step s = {d};

	return memory_keep(d, key, compute(&s, arg), result);
}

static size_t memory_seat(const struct debate *d, struct str name)
{
	size_t i;

	for (i = 0; i < d->plan.agent_count && !str_eq(d->plan.agents[i].name, name); i++)
		;
	BUG_ON(i == d->plan.agent_count);
	return i;
}

static int64_t memory_tokens(struct str s)
{
	return (int64_t)(s.n + MEMORY_BYTES_A_TOKEN - 1) / MEMORY_BYTES_A_TOKEN;
}

bool step_call(struct debate *d, const char *key, const struct step_call *c, const json_t **result)
{
	struct step s = {d};
	struct str text = sim_reply(d->arena, d->world, memory_seat(d, c->agent->name), c->phase, c->prompt);
	int64_t in = memory_tokens(c->system) + memory_tokens(c->prompt), out = memory_tokens(text);
	json_t *value = c->decode(&s, c->arg, text), *reply = json_object();

	d->calls++;
	d->tokens += in + out;
	json_object_set_new(reply, "ok", json_boolean(value != NULL));
	if (value != NULL) {
		json_object_set_new(reply, "value", value);
		json_put_str(reply, "text", text);
		json_put_str(reply, "model", STR("simulated"));
	} else {
		json_put_str(reply, "error_type", STR("parse"));
		json_put_str(reply, "message", STR("unreadable"));
		json_put_str(reply, "provider", c->agent->provider);
		json_put_int(reply, "attempts", 1);
		json_put_int(reply, "at_ms", 1);
	}
	json_put_int(reply, "tokens_in", in);
	json_put_int(reply, "tokens_out", out);
	json_put_int(reply, "cost_micro", 0);
	return memory_keep(d, key, reply, result);
}

/* Nobody is rated here: what ratings do is not a question to agents whose skill is made up. */
bool step_ratings(struct debate *d, const char *key, const json_t **result)
{
	return memory_keep(d, key, json_object(), result);
}

bool step_inbox(struct debate *d, const char *key, const json_t **result)
{
	return memory_keep(d, key, json_array(), result);
}

bool debate_finish(struct debate *d, json_t *result)
{
	d->result = result;
	return true;
}

/* ---- groups: the children run one after the other when the parent waits ---- */

static struct {
	void (*fn)(void *);
	void *arg;
} memory_children[MEMORY_CHILDREN_MAX];
static size_t memory_child_count;

void co_group_open(struct co_group *g, bool fail_fast)
{
	*g = (struct co_group){.fail_fast = fail_fast};
	memory_child_count = 0;
}

bool co_group_spawn(struct co_group *g, const char *name, void (*fn)(void *arg), void *arg)
{
	(void)g;
	(void)name;
	BUG_ON(memory_child_count == MEMORY_CHILDREN_MAX);
	memory_children[memory_child_count].fn = fn;
	memory_children[memory_child_count++].arg = arg;
	return true;
}

void co_group_wait(struct co_group *g)
{
	size_t i, n = memory_child_count;

	(void)g;
	memory_child_count = 0;
	for (i = 0; i < n; i++)
		memory_children[i].fn(memory_children[i].arg);
}

/* ---- debates ---- */

bool memory_open(void)
{
	/* A provider has to be configured, or demo agents play; nobody ever connects to it. */
	static const struct conf_override overrides[] = {{"providers.ollama.base_url", "http://127.0.0.1:9"}};
	struct buf report = BUF_INIT;

	memory_conf = conf_load(NULL, false, overrides, countof(overrides), &report);
	if (memory_conf == NULL)
		fprintf(stderr, "%.*s", STR_ARG(buf_str(&report)));
	buf_free(&report);
	return memory_conf != NULL;
}

void memory_close(void)
{
	conf_unref(memory_conf);
	memory_conf = NULL;
}

/* The body that a client would send: agents of a provider that needs no key. */
static json_t *memory_body(const struct sim_world *w, const struct setup *s, struct str task)
{
	json_t *body = json_object(), *agents = json_array();
	size_t i;

	for (i = 0; i < w->n; i++) {
		char name[] = {'s', 'i', 'm', (char)('a' + (int)i), '\0'};

		json_array_append_new(agents, json_pack("{s:s, s:s}", "provider", "ollama", "name", name));
	}
	json_put_str(body, "task", task);
	json_object_set_new(body, "agents", agents);
	json_put_int(body, "rounds", s->rounds > 0 ? s->rounds : 1);
	json_object_set_new(body, "use_memory", json_false());
	if (s->consensus != NULL)
		json_put_str(body, "consensus", str_of(s->consensus));
	if (s->topology != NULL)
		json_put_str(body, "topology", str_of(s->topology));
	return body;
}

static void memory_plan(struct debate *d, const struct setup *s, int64_t question)
{
	json_t *body = memory_body(d->world, s, sim_task(d->arena, question)), *doc, *problems;
	struct error err = ERROR_INIT;

	if (!plan_resolve(memory_conf, d->arena, body, &doc, &problems, &err) ||
	    !plan_decode(d->arena, doc, &d->plan, &err)) {
		fprintf(stderr, "the plan of a simulated debate is refused: %.*s %s\n",
			STR_ARG(json_text(d->arena, problems)), err.msg);
		exit(2);
	}
	json_decref(body);
	BUG_ON(d->plan.demo); /* demo agents have rules of their own */
	d->plan.debate_id = STR("simulated");
	d->plan.seed = d->world->seed * 1000003 + (uint64_t)question;
	d->plan.rounds = s->rounds;
	if (s->no_gate)
		d->plan.early_agree_ppm = INT64_MAX;
	if (s->threshold_ppm > 0)
		d->plan.threshold_ppm = s->threshold_ppm;
}

/* The texts of one agent: its draft and its last. */
static void memory_flips(const struct debate *d, int64_t question, struct eval_sample *out)
{
	size_t truth = sim_truth(d->world, question), i, k;

	for (i = 0; i < d->world->n; i++) {
		const json_t *messages = json_get_arr(d->result, "messages");
		struct str name = d->plan.agents[i].name, first = STR_NONE, last = STR_NONE;
		bool before, after;

		for (k = 0; k < json_array_size(messages); k++) {
			const json_t *m = json_array_get(messages, k);

			if (!str_eq(json_get_str(m, "agent", STR("")), name))
				continue;
			last = json_get_str(m, "content", STR(""));
			first = first.p == NULL ? last : first;
		}
		before = sim_answer(d->world, first) == truth;
		after = sim_answer(d->world, last) == truth;
		out->right_to_wrong += before && !after;
		out->wrong_to_right += !before && after;
	}
}

void memory_debate(const struct sim_world *w, const struct setup *s, int64_t question, struct eval_sample *out,
		   json_t **result)
{
	struct debate d = {.arena = arena_new(256 * 1024), .journal = json_object(), .world = w};
	const json_t *consensus;
	struct str winner;
	char *name;

	memory_plan(&d, s, question);
	if (!engine_run(&d)) {
		fprintf(stderr, "a simulated debate did not end\n");
		exit(2);
	}
	consensus = json_get_obj(d.result, "consensus");
	winner = json_get_str(d.result, "winner", STR(""));
	name = str_dupz(winner);
	*out = (struct eval_sample){.calls = d.calls, .tokens = d.tokens};
	out->right = winner.n > 0 && sim_answer(w, json_get_str(json_get_obj(d.result, "proposals"), name, STR(""))) ==
					 sim_truth(w, question);
	out->consensus = json_get_bool(consensus, "reached", false);
	out->confidence = (double)json_get_int(consensus, "confidence_ppm", 0) / 1e6;
	memory_flips(&d, question, out);
	if (result != NULL)
		*result = json_incref(d.result);
	free(name);
	json_decref(d.result);
	json_decref(d.journal);
	arena_free(d.arena);
}

void memory_samples(const struct sim_world *w, size_t i, size_t k, int64_t question, struct eval_sample *out)
{
	struct debate d = {.arena = arena_new(64 * 1024), .world = w};
	size_t heads[SIM_OPTIONS_MAX] = {0}, s, answer, best = 0;
	struct prompt p;

	memory_plan(&d, &(struct setup){.rounds = 1}, question);
	prompt_propose(d.arena, &d.plan, &d.plan.agents[i], &p);
	*out = (struct eval_sample){.calls = (int64_t)k};
	for (s = 0; s < k; s++) {
		struct str text = sim_reply(d.arena, w, i, "propose", p.text);

		answer = sim_draft(w, question, i, s);
		heads[answer]++;
		out->tokens += memory_tokens(p.system) + memory_tokens(p.text) + memory_tokens(text);
	}
	/* Between answers that are named equally often the seed decides, not their order. */
	for (s = 0; s < w->options; s++) {
		size_t at = (s + (size_t)(sim_chance(w, question, i, "tie", 0) * (double)w->options)) % w->options;

		if (heads[at] > heads[best])
			best = at;
		else if (s == 0)
			best = at;
	}
	out->right = best == sim_truth(w, question);
	out->confidence = k == 1 ? sim_confidence(w, question, i) : (double)heads[best] / (double)k;
	out->consensus = 2 * heads[best] > k;
	arena_free(d.arena);
}
