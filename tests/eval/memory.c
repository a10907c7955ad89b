/* SPDX-License-Identifier: MIT */
/*
 * Debates of simulated agents: the shipping engine and steps apart from any server (apart.h), with a plan made from a
 * creation body; only the call of a provider is led to the simulation (--wrap=agent_call).
 */
#include "tests/eval/memory.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "common/metrics.h"
#include "worker/engine/mode.h"
#include "worker/engine/parse.h"
#include "worker/engine/plan.h"
#include "worker/engine/prompt.h"
#include "worker/runner/apart.h"
#include "worker/worker.h"

#define MEMORY_BYTES_A_TOKEN 4

static struct worker memory_worker;
static const struct sim_world *memory_world; /* of the debate that is held */

static int64_t memory_tokens(struct str s)
{
	return (int64_t)(s.n + MEMORY_BYTES_A_TOKEN - 1) / MEMORY_BYTES_A_TOKEN;
}

/* Agents are called sima, simb, ... */
static size_t memory_seat(struct str name)
{
	BUG_ON(name.n != 4 || name.p[3] < 'a' || (size_t)(name.p[3] - 'a') >= memory_world->n);
	return (size_t)(name.p[3] - 'a');
}

bool __wrap_agent_call(struct agents *a, struct arena *arena, const struct agent_request *req,
		       struct agent_reply *reply);
bool __wrap_agent_call(struct agents *a, struct arena *arena, const struct agent_request *req,
		       struct agent_reply *reply)
{
	char *phase = str_dupz(req->phase);

	(void)a;
	*reply = (struct agent_reply){
	    .text = sim_reply(arena, memory_world, memory_seat(req->agent->name), phase, req->prompt),
	    .provider = req->agent->provider,
	    .model = req->agent->model,
	    .retry_after_us = -1};
	reply->tokens_in = memory_tokens(req->system) + memory_tokens(req->prompt);
	reply->tokens_out = memory_tokens(reply->text);
	free(phase);
	return true;
}

static enum step_kept memory_keep(void *arg, const char *key, const char *state, int64_t starts, const json_t *result,
				  const struct agent_reply *usage)
{
	struct eval_sample *out = arg;

	(void)key;
	(void)state;
	(void)starts;
	(void)result;
	if (usage != NULL) {
		out->calls++;
		out->tokens += usage->tokens_in + usage->tokens_out;
	}
	return STEP_KEPT;
}

/* ---- debates ---- */

bool memory_open(void)
{
	/* A provider has to be configured, or demo agents play; nobody ever connects to it. */
	static const struct conf_override overrides[] = {{"providers.ollama.base_url", "http://127.0.0.1:9"}};
	struct buf report = BUF_INIT;
	static const char *const none[] = {NULL};
	struct shm *shm = shm_create();

	log_setup(&(struct log_options){.level = LOG_ERROR});
	memory_worker.conf = conf_load(NULL, false, overrides, countof(overrides), &report);
	if (memory_worker.conf == NULL)
		fprintf(stderr, "%.*s", STR_ARG(buf_str(&report)));
	buf_free(&report);
	atomic_store(&shm->slots_used, 1U);
	metrics_register(&(struct metric_labels){none, none, none, none});
	metrics_attach(shm, 0);
	memory_worker.loop = loop_new();
	co_init(memory_worker.loop, 0, 0);
	return memory_worker.conf != NULL;
}

void memory_close(void)
{
	co_shutdown();
	loop_free(memory_worker.loop);
	conf_unref((struct conf *)(uintptr_t)memory_worker.conf);
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

static void memory_plan(struct arena *a, const struct sim_world *w, const struct setup *s, int64_t question,
			struct debate_plan *plan)
{
	json_t *body = memory_body(w, s, sim_task(a, question)), *doc, *problems;
	struct error err = ERROR_INIT;

	if (!plan_resolve(memory_worker.conf, a, body, &doc, &problems, &err) || !plan_decode(a, doc, plan, &err)) {
		fprintf(stderr, "the plan of a simulated debate is refused: %.*s %s\n", STR_ARG(json_text(a, problems)),
			err.msg);
		exit(2);
	}
	json_decref(body);
	BUG_ON(plan->demo); /* demo agents have rules of their own */
	plan->debate_id = STR("simulated");
	plan->seed = w->seed * 1000003 + (uint64_t)question;
	plan->rounds = s->rounds;
	if (s->no_gate)
		plan->early_agree_ppm = INT64_MAX;
	if (s->gate_ppm > 0)
		plan->early_agree_ppm = s->gate_ppm;
	if (s->version > 0)
		plan->version = s->version;
	plan->protocol.vote_early_stop = s->spare;
	if (s->threshold_ppm > 0)
		plan->threshold_ppm = s->threshold_ppm;
}

/* The texts of one agent: its draft and its last. */
static void memory_flips(const struct sim_world *w, const struct debate_plan *plan, const json_t *result,
			 int64_t question, struct eval_sample *out)
{
	const json_t *messages = json_get_arr(result, "messages");
	size_t truth = sim_truth(w, question), i, k;

	for (i = 0; i < w->n; i++) {
		struct str name = plan->agents[i].name, first = STR_NONE, last = STR_NONE;
		bool before, after;

		for (k = 0; k < json_array_size(messages); k++) {
			const json_t *m = json_array_get(messages, k);

			if (!str_eq(json_get_str(m, "agent", STR("")), name))
				continue;
			last = json_get_str(m, "content", STR(""));
			first = first.p == NULL ? last : first;
		}
		before = sim_answer(w, first) == truth;
		after = sim_answer(w, last) == truth;
		out->right_to_wrong += before && !after;
		out->wrong_to_right += !before && after;
	}
}

struct memory_debate {
	struct apart apart;
	json_t *result;
};

static void memory_run(void *arg)
{
	struct memory_debate *m = arg;

	m->result = apart_debate(&m->apart);
}

/* Nothing here ever waits for the outside: the run queue is all there is. */
static json_t *memory_hold(const struct apart *p)
{
	struct memory_debate m = {*p, NULL};

	if (co_spawn("debate", memory_run, &m) != NULL)
		while (co_runnable())
			(void)co_run_queue();
	if (m.result == NULL) {
		fprintf(stderr, "a simulated debate did not end\n");
		exit(2);
	}
	return m.result;
}

void memory_debate(const struct sim_world *w, const struct setup *s, int64_t question, struct eval_sample *out,
		   json_t **result)
{
	struct arena *a = arena_new(64 * 1024);
	const struct step_keeper keeper = {memory_keep, out};
	struct apart p = {.w = &memory_worker, .keeper = &keeper, .journal = json_object()};
	const json_t *consensus;
	struct str winner;
	json_t *doc;
	char *name;

	memory_world = w;
	*out = (struct eval_sample){0};
	memory_plan(a, w, s, question, &p.plan);
	doc = memory_hold(&p);
	consensus = json_get_obj(doc, "consensus");
	winner = json_get_str(doc, "winner", STR(""));
	name = str_dupz(winner);
	out->right = winner.n > 0 && sim_answer(w, json_get_str(json_get_obj(doc, "proposals"), name, STR(""))) ==
					 sim_truth(w, question);
	out->consensus = json_get_bool(consensus, "reached", false);
	out->confidence = (double)json_get_int(consensus, "confidence_ppm", 0) / 1e6;
	memory_flips(w, &p.plan, doc, question, out);
	if (result != NULL)
		*result = json_incref(doc);
	free(name);
	json_decref(doc);
	json_decref(p.journal);
	arena_free(a);
}

void memory_samples(const struct sim_world *w, size_t i, size_t k, int64_t question, struct eval_sample *out)
{
	struct arena *a = arena_new(64 * 1024);
	size_t heads[SIM_OPTIONS_MAX] = {0}, s, best, from;
	struct debate_plan plan = {.rounds = 1};
	struct prompt p;

	memory_plan(a, w, &(struct setup){.rounds = 1}, question, &plan);
	prompt_propose(a, &plan, &(struct prompt_turn){.agent = &plan.agents[i]}, &p);
	*out = (struct eval_sample){.calls = (int64_t)k};
	for (s = 0; s < k; s++) {
		struct str text = sim_reply(a, w, i, "propose", p.text);

		heads[sim_draft(w, question, i, s)]++;
		out->tokens += memory_tokens(p.system) + memory_tokens(p.text) + memory_tokens(text);
	}
	/* Between answers that are named equally often chance decides, not their order. */
	from = best = (size_t)(sim_chance(w, question, i, "tie", 0) * (double)w->options);
	for (s = 0; s < w->options; s++)
		if (heads[(from + s) % w->options] > heads[best])
			best = (from + s) % w->options;
	out->right = best == sim_truth(w, question);
	out->confidence = k == 1 ? sim_confidence(w, question, i) : (double)heads[best] / (double)k;
	out->consensus = 2 * heads[best] > k;
	arena_free(a);
}
