/* SPDX-License-Identifier: MIT */
/*
 * Runs arms on questions (eval_run.h) with the server's engine, steps and agents, apart from any server (apart.h).
 * Called by `aragorad eval`. A question's arms follow each other, so that they can share its drafts: each is paid for
 * once, and counted in full for every arm that uses it.
 */
#include "master/commands/eval_run.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/co.h"
#include "common/crypto.h"
#include "common/json.h"
#include "common/lane.h"
#include "common/metrics.h"
#include "worker/engine/parse.h"
#include "worker/engine/plan.h"
#include "worker/engine/prompt.h"
#include "worker/runner/apart.h"
#include "worker/runner/budget.h"
#include "worker/worker.h"

#define RUN_SHARED "drafts"     /* scope of what all arms use */
#define RUN_DRAFT "r0.propose." /* keys of the engine's drafts */
#define RUN_SICK_MAX 3          /* questions in a row on which no agent says anything */
#define RUN_LANE_DEPTH 256
#define RUN_MESSAGE_MAX 512
#define RUN_POLL_US (100 * MS_US)

struct run {
	const struct eval_plan *p;
	struct worker w;
	struct shm *shm;
	size_t next;           /* question */
	size_t holders;        /* arms that are running */
	int64_t granted_micro; /* what they may still spend */
	size_t running;        /* coroutines */
	size_t left_out, sick_in_a_row, done, total;
	enum eval_end end;
	char why[RUN_MESSAGE_MAX + 100];
};

/* One arm on one question. */
struct item {
	struct run *r;
	const struct eval_question *q;
	const struct eval_arm *arm;
	struct arena *a;
	struct apart apart;
	struct step_keeper keeper;
	struct eval_sample sample;
	struct str answer;
	json_t *failures; /* key -> result, not kept yet */
	bool alone;       /* may have all that is left */
	bool poor, failed, broken;
	char message[RUN_MESSAGE_MAX];
};

static bool bench_stopped(const struct run *r)
{
	return r->end != EVAL_DONE;
}

static void bench_stop(struct run *r, enum eval_end end, const char *why)
{
	if (bench_stopped(r))
		return;
	r->end = end;
	(void)snprintf(r->why, sizeof(r->why), "%s", why);
}

/* ---- what is kept ---- */

static const char *item_scope(const struct item *it, const char *key)
{
	return strncmp(key, RUN_DRAFT, strlen(RUN_DRAFT)) == 0                       ? RUN_SHARED
	       : it->arm->way == EVAL_WAY_SAMPLES || it->arm->way == EVAL_WAY_SINGLE ? "samples"
										     : it->arm->name;
}

static int64_t item_paid(const json_t *journal)
{
	const char *key;
	json_t *e;
	int64_t sum = 0;

	json_object_foreach((json_t *)(uintptr_t)journal, key, e) sum +=
	    json_get_int(json_object_get(e, "result"), "cost_micro", 0);
	return sum;
}

static bool item_write(struct item *it, const char *scope, const char *key, const char *state, int64_t starts,
		       const json_t *result, const struct agent_reply *usage)
{
	if (eval_store_step(it->r->p->store, it->q->id, scope, key, state, starts, result, usage))
		return true;
	it->broken = true;
	return false;
}

/* Was this reply cut because the money did not reach for a longer one? */
static bool item_cut(const struct item *it, const struct agent_reply *usage)
{
	const struct debate_plan *plan = &it->apart.plan;
	int64_t price = 0;
	size_t i;

	if (usage == NULL || !usage->truncated || plan->budget_micro <= 0)
		return false;
	for (i = 0; i < plan->agent_count; i++)
		price = plan->agents[i].price_out > price ? plan->agents[i].price_out : price;
	return (plan->budget_micro - item_paid(it->apart.journal)) / BUDGET_SHARE_OF_ONE_CALL <
	       price * AGENT_MAX_TOKENS / 1000000 + usage->cost_micro;
}

/* The engine would go on without what it cannot pay for, and the arm would be another one. */
static bool item_is_poor(const struct item *it, const char *key, const json_t *result, const struct agent_reply *usage)
{
	return strcmp(key, "budget") == 0 || item_cut(it, usage) ||
	       str_eqz(json_get_str(result, "error_type", STR("")), agent_fail_name(AGENT_FAIL_BUDGET));
}

/* Failures that later calls were made in view of, so that a second run meets them too. */
static bool item_write_failures(struct item *it)
{
	const char *key;
	json_t *result;
	bool ok = true;

	json_object_foreach(it->failures, key, result) ok =
	    ok && item_write(it, it->arm->name, key, "done", json_get_int(result, "attempts", 1), result, NULL);
	json_object_clear(it->failures);
	return ok;
}

/*
 * Calls only: what is computed from them comes out the same the next time. A draft that failed is asked for again when
 * the evaluation is started again, unless others have gone on without it; what its attempts have cost is kept at once.
 */
static enum step_kept item_keep(void *arg, const char *key, const char *state, int64_t starts, const json_t *result,
				const struct agent_reply *usage)
{
	struct item *it = arg;
	bool done = strcmp(state, "done") == 0, ok = json_get_bool(result, "ok", false);

	if (item_is_poor(it, key, result, usage)) {
		it->poor = true;
		if (usage != NULL && !item_write(it, item_scope(it, key), key, "started", starts, it->failures, usage))
			return STEP_NOT_KEPT;
		return STEP_KEPT_LAST;
	}
	if (json_object_get(result, "ok") == NULL && usage == NULL)
		return STEP_KEPT; /* no call, or the start of one */
	if (done && !ok)
		json_object_set_new(it->failures, key, json_deep_copy(result));
	if (done && !ok && usage == NULL)
		return STEP_KEPT;
	if (done && ok && strncmp(key, RUN_DRAFT, strlen(RUN_DRAFT)) != 0 && !item_write_failures(it))
		return STEP_NOT_KEPT;
	return item_write(it, item_scope(it, key), key, done && ok ? "done" : "started", starts, result, usage)
		   ? STEP_KEPT
		   : STEP_NOT_KEPT;
}

static void item_copy(json_t *journal, const json_t *steps)
{
	const char *key;
	json_t *e;

	json_object_foreach((json_t *)(uintptr_t)steps, key, e) json_object_set_new(journal, key, json_deep_copy(e));
}

static json_t *item_journal(const struct item *it)
{
	json_t *journal = json_object();

	item_copy(journal, eval_store_steps(it->r->p->store, it->q->id, RUN_SHARED));
	item_copy(journal, eval_store_steps(it->r->p->store, it->q->id, item_scope(it, "")));
	return journal;
}

/* ---- plans ---- */

/* The shipping plan for this question. The same question always gets the same seed, so that arms differ in their rules
 * alone. */
static bool item_plan(struct item *it)
{
	const struct eval_plan *p = it->r->p;
	json_t *body = json_object(), *doc, *problems;
	struct debate_plan *plan = &it->apart.plan;
	struct error err = ERROR_INIT;
	uint8_t hash[SHA256_LEN];
	bool ok;

	json_put_str(body, "task", it->q->task);
	json_object_set(body, "agents", (json_t *)(uintptr_t)p->wanted);
	json_put_int(body, "rounds", it->arm->rounds > 0 ? it->arm->rounds : 1);
	json_object_set_new(body, "use_memory", json_false());
	if (it->arm->consensus != NULL)
		json_put_str(body, "consensus", str_of(it->arm->consensus));
	ok = plan_resolve(p->conf, it->a, body, &doc, &problems, &err) && plan_decode(it->a, doc, plan, &err);
	json_decref(body);
	if (!ok) {
		struct str text = str_sub(json_text(it->a, problems), 0, 160);

		(void)snprintf(it->message, sizeof(it->message), "question %.60s is refused: %.*s %.200s", it->q->id.p,
			       STR_ARG(text), err.msg);
		it->broken = true;
		return false;
	}
	crypto_sha256(it->q->id, hash);
	memcpy(&plan->seed, hash, sizeof(plan->seed));
	plan->seed >>= 1;
	plan->rounds = it->arm->rounds;
	/* Part of the idempotency keys of calls. */
	plan->debate_id = arena_printf(it->a, "%.*s-%zu-%.*s", STR_ARG(eval_store_run(p->store)),
				       (size_t)(it->q - p->questions), (int)strcspn(it->arm->name, " "), it->arm->name);
	return true;
}

/* ---- a debate ---- */

static struct str item_stands(struct item *it, struct str text)
{
	return eval_answer(it->a, it->q, text);
}

static void item_flips(struct item *it, const json_t *result)
{
	const json_t *messages = json_get_arr(result, "messages");
	size_t i, k;

	for (i = 0; i < it->apart.plan.agent_count; i++) {
		struct str name = it->apart.plan.agents[i].name, first = STR_NONE, last = STR_NONE;
		bool before, after;

		for (k = 0; k < json_array_size(messages); k++) {
			const json_t *m = json_array_get(messages, k);

			if (!str_eq(json_get_str(m, "agent", STR("")), name))
				continue;
			last = json_get_str(m, "content", STR(""));
			first = first.p == NULL ? last : first;
		}
		if (first.p == NULL)
			continue;
		before = eval_right(it->a, it->q, item_stands(it, first));
		after = eval_right(it->a, it->q, item_stands(it, last));
		it->sample.right_to_wrong += before && !after;
		it->sample.wrong_to_right += !before && after;
	}
}

/* What is said of the first failure. */
static void item_failures(struct item *it, const json_t *result)
{
	const json_t *failures = json_get_obj(result, "agent_failures");
	const char *agent;
	json_t *list, *f;
	size_t i;

	json_object_foreach((json_t *)(uintptr_t)failures, agent, list)
	{
		json_array_foreach(list, i, f)
		{
			if (it->message[0] == '\0')
				(void)snprintf(it->message, sizeof(it->message), "%s: %s: %s", agent,
					       json_get_str(f, "error_type", STR("?")).p,
					       json_get_str(f, "message", STR("")).p);
		}
	}
}

static void item_sums(struct item *it, const json_t *result)
{
	const json_t *per_agent = json_get_obj(result, "per_agent");
	const char *name;
	json_t *o;

	json_object_foreach((json_t *)(uintptr_t)per_agent, name, o) it->sample.calls += json_get_int(o, "calls", 0);
	it->sample.tokens = json_get_int(result, "tokens_in", 0) + json_get_int(result, "tokens_out", 0);
	it->sample.cost_micro = json_get_int(result, "cost_micro", 0);
}

CO_FN static void item_debate(struct item *it)
{
	json_t *result = apart_debate(&it->apart);
	const json_t *consensus = json_get_obj(result, "consensus"), *proposals = json_get_obj(result, "proposals");
	struct str winner = json_get_str(result, "winner", STR(""));

	if (result == NULL && (it->poor || it->broken))
		return;
	if (result == NULL) {
		if (it->message[0] == '\0')
			(void)snprintf(it->message, sizeof(it->message), "the time of the debate was over");
		it->failed = true;
		return;
	}
	item_failures(it, result);
	it->failed = json_object_size(proposals) == 0;
	if (winner.n > 0)
		it->answer = item_stands(it, json_get_str(proposals, arena_str(it->a, winner).p, STR("")));
	it->sample.right = eval_right(it->a, it->q, it->answer);
	it->sample.consensus = json_get_bool(consensus, "reached", false);
	it->sample.confidence = (double)json_get_int(consensus, "confidence_ppm", 0) / 1e6;
	item_flips(it, result);
	item_sums(it, result);
	json_decref(result);
}

/* ---- drafts without a debate ---- */

static json_t *item_read(struct step *s, void *arg, struct str text)
{
	(void)s;
	(void)arg;
	return str_trim(text).n > 0 ? json_object() : NULL;
}

/* A draft of that agent: the one that a debate of this question has, or one of its own. False: there is none. */
CO_FN static bool item_draft(struct item *it, size_t agent, size_t sample, struct str *text)
{
	const struct agent_spec *spec = &it->apart.plan.agents[agent];
	const char *shared = arena_printf(it->a, RUN_DRAFT "%.*s", STR_ARG(spec->name)).p;
	const char *key = arena_printf(it->a, "sample.%.*s.%zu", STR_ARG(spec->name), sample).p;
	struct step_call call = {.agent = spec, .temperature_ppm = 700000, .phase = "propose", .decode = item_read};
	const json_t *e = sample == 0 ? json_object_get(it->apart.journal, shared) : NULL, *r;
	struct prompt prompt;

	if (str_eqz(json_get_str(e, "state", STR("")), "done")) {
		*text = arena_str(it->a, json_get_str(json_object_get(e, "result"), "text", STR("")));
	} else {
		prompt_propose(it->a, &it->apart.plan, &(struct prompt_turn){.agent = spec}, &prompt);
		call.system = prompt.system;
		call.prompt = prompt.text;
		if (!apart_call(&it->apart, it->a, key, &call, text)) {
			r = json_object_get(json_object_get(it->apart.journal, key), "result");
			(void)snprintf(it->message, sizeof(it->message), "%.*s: %s: %s", STR_ARG(spec->name),
				       json_get_str(r, "error_type", STR("?")).p,
				       json_get_str(r, "message", STR("")).p);
			return false;
		}
		e = json_object_get(it->apart.journal, key);
	}
	r = json_object_get(e, "result");
	it->sample.calls++;
	it->sample.tokens += json_get_int(r, "tokens_in", 0) + json_get_int(r, "tokens_out", 0);
	it->sample.cost_micro += json_get_int(r, "cost_micro", 0);
	return true;
}

CO_FN static void item_single(struct item *it)
{
	struct str text;
	int64_t sure;

	if (!item_draft(it, it->arm->agent, 0, &text)) {
		it->failed = true;
		return;
	}
	it->answer = item_stands(it, text);
	it->sample.right = eval_right(it->a, it->q, it->answer);
	it->sample.confidence = parse_stated_confidence(text, &sure) ? (double)sure / 1e6 : -1;
	it->sample.consensus = it->answer.n > 0;
}

/* The answer that most samples give; of two that are as frequent the one that came first. */
CO_FN static void item_samples(struct item *it)
{
	struct str answers[EVAL_SAMPLES_MAX] = {{0}}, text;
	size_t heads[EVAL_SAMPLES_MAX] = {0}, best = 0, n = 0, i, k;

	for (i = 0; i < it->arm->samples; i++) {
		if (!item_draft(it, 0, i, &text)) {
			it->failed = true;
			return;
		}
		answers[n] = item_stands(it, text);
		for (k = 0; k < n && !str_eq(answers[k], answers[n]); k++)
			;
		heads[k] += answers[n].n > 0;
		n += k == n;
	}
	for (i = 1; i < n; i++)
		best = heads[i] > heads[best] ? i : best;
	it->answer = answers[best];
	it->sample.right = eval_right(it->a, it->q, it->answer);
	it->sample.confidence = (double)heads[best] / (double)it->arm->samples;
	it->sample.consensus = 2 * heads[best] > it->arm->samples;
}

/* ---- money ---- */

/* What is neither spent nor promised. */
static int64_t bench_free(const struct run *r)
{
	return r->p->budget_micro - eval_store_spent(r->p->store) - r->granted_micro;
}

/* Runs the arm with its share of what is left. */
CO_FN static void item_try(struct item *it)
{
	struct run *r = it->r;
	size_t slots = it->alone || r->p->concurrency <= r->holders ? 1 : r->p->concurrency - r->holders;
	int64_t grant = 0, paid;

	it->apart.journal = item_journal(it);
	it->failures = json_object();
	paid = item_paid(it->apart.journal);
	it->sample = (struct eval_sample){.confidence = -1};
	it->answer = STR("");
	it->poor = it->failed = false;
	it->message[0] = '\0';
	if (r->p->budget_micro > 0) {
		grant = bench_free(r) / (int64_t)slots;
		it->poor = grant <= 0;
		it->apart.plan.budget_micro = paid + grant;
	}
	if (!it->poor) {
		r->holders++;
		r->granted_micro += grant;
		if (it->arm->way == EVAL_WAY_DEBATE)
			item_debate(it);
		else if (it->arm->way == EVAL_WAY_SINGLE)
			item_single(it);
		else
			item_samples(it);
		r->granted_micro -= grant;
		r->holders--;
	}
	json_decref(it->apart.journal);
	json_decref(it->failures);
}

/* A share that did not suffice is tried again with all that is left, once nobody else spends. */
CO_FN static void item_within_budget(struct item *it)
{
	struct run *r = it->r;

	item_try(it);
	while (it->poor && !it->alone && !bench_stopped(r)) {
		while (r->holders > 0 && !bench_stopped(r))
			if (co_sleep(RUN_POLL_US) == CO_ENDED)
				return;
		it->alone = true;
		if (!bench_stopped(r))
			item_try(it);
	}
}

/* ---- questions ---- */

static void bench_progress(const struct run *r)
{
	if (!r->p->quiet)
		fprintf(stderr, "\r%zu of %zu answers, %.4f USD", r->done, r->total,
			(double)eval_store_spent(r->p->store) / 1e6);
}

static void bench_judge(struct run *r, struct item *it)
{
	char why[RUN_MESSAGE_MAX + 100];

	if (it->broken) {
		bench_stop(r, EVAL_BROKEN, it->message[0] != '\0' ? it->message : eval_store_error(r->p->store));
	} else if (it->poor) {
		(void)snprintf(why, sizeof(why), "the budget of %.4f USD does not cover the next question",
			       (double)r->p->budget_micro / 1e6);
		bench_stop(r, EVAL_POOR, why);
	} else if (it->failed) {
		r->left_out++;
		if (++r->sick_in_a_row >= RUN_SICK_MAX) {
			(void)snprintf(why, sizeof(why), "%d times in a row nobody answered; the last reason: %s",
				       RUN_SICK_MAX, it->message);
			bench_stop(r, EVAL_SICK, why);
		}
	} else {
		r->sick_in_a_row = 0;
		if (!eval_store_put_sample(r->p->store, it->q->id, it->arm->name, it->answer, &it->sample))
			bench_stop(r, EVAL_BROKEN, eval_store_error(r->p->store));
		r->done++;
		bench_progress(r);
	}
}

CO_FN static void bench_arm(struct run *r, const struct eval_question *q, const struct eval_arm *arm)
{
	struct eval_sample known;
	struct item *it;

	if (eval_store_sample(r->p->store, q->id, arm->name, &known) || bench_stopped(r))
		return;
	it = xcalloc(1, sizeof(*it));
	it->r = r;
	it->q = q;
	it->arm = arm;
	it->a = arena_new(64 * 1024);
	it->keeper = (struct step_keeper){item_keep, it};
	it->apart.w = &r->w;
	it->apart.keeper = &it->keeper;
	if (item_plan(it))
		item_within_budget(it);
	bench_judge(r, it);
	arena_free(it->a);
	free(it);
}

/* Debates first: single drafts and samples then use theirs. */
CO_FN static void bench_question(struct run *r, const struct eval_question *q)
{
	size_t i;

	for (i = 0; i < r->p->arm_count; i++)
		if (r->p->arms[i].way == EVAL_WAY_DEBATE)
			bench_arm(r, q, &r->p->arms[i]);
	for (i = 0; i < r->p->arm_count; i++)
		if (r->p->arms[i].way != EVAL_WAY_DEBATE)
			bench_arm(r, q, &r->p->arms[i]);
}

static void bench_questions(void *arg)
{
	struct run *r = arg;

	while (!bench_stopped(r) && r->next < r->p->question_count)
		bench_question(r, &r->p->questions[r->next++]);
	if (--r->running == 0)
		loop_stop(r->w.loop);
}

/* ---- the room in which agents work ---- */

static void bench_open(struct run *r)
{
	const char *providers[PROVIDER_MAX + 1] = {NULL};
	static const char *const none[] = {NULL};
	int i;

	for (i = 0; i < PROVIDER_MAX; i++)
		providers[i] = conf_provider_name((enum conf_provider_id)i);
	r->shm = shm_create();
	atomic_store(&r->shm->slots_used, 1U);
	metrics_register(&(struct metric_labels){agents_known(), providers, none, none});
	metrics_attach(r->shm, 0);
	r->w.conf = r->p->conf;
	r->w.shm = r->shm;
	r->w.loop = loop_new();
	co_init(r->w.loop, 0, 0);
	r->w.slow = lane_new(r->w.loop, "slow", 1, RUN_LANE_DEPTH);
	r->w.names = lane_new(r->w.loop, "names", 2, RUN_LANE_DEPTH);
	r->w.fetch = fetch_open(r->w.loop, r->w.names, r->w.names);
	r->w.agents = agents_open(&r->w);
}

static void bench_close(struct run *r)
{
	agents_close(r->w.agents);
	fetch_close(r->w.fetch);
	lane_free(r->w.names);
	lane_free(r->w.slow);
	co_shutdown();
	loop_free(r->w.loop);
}

/* Counts the answers that are there already. */
static void bench_count(struct run *r)
{
	struct eval_sample s;
	size_t i, k;

	r->total = r->p->question_count * r->p->arm_count;
	for (i = 0; i < r->p->question_count; i++)
		for (k = 0; k < r->p->arm_count; k++)
			r->done += eval_store_sample(r->p->store, r->p->questions[i].id, r->p->arms[k].name, &s);
}

enum eval_end eval_run(const struct eval_plan *p, struct buf *why)
{
	struct run *r = xcalloc(1, sizeof(*r));
	enum eval_end end;
	size_t i;

	r->p = p;
	bench_count(r);
	bench_open(r);
	for (i = 0; i < p->concurrency && r->done < r->total; i++)
		if (co_spawn("eval", bench_questions, r) != NULL)
			r->running++;
	if (r->running > 0)
		loop_run(r->w.loop);
	if (!p->quiet && r->total > 0)
		fprintf(stderr, "\r%zu of %zu answers, %.4f USD\n", r->done, r->total,
			(double)eval_store_spent(p->store) / 1e6);
	if (r->left_out > 0)
		buf_printf(why, "%zu answers are missing because agents failed. ", r->left_out);
	buf_addz(why, r->why);
	end = r->end == EVAL_DONE && r->left_out > 0 ? EVAL_SICK : r->end;
	bench_close(r);
	free(r);
	return end;
}
