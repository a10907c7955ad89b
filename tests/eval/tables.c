/* SPDX-License-Identifier: MIT */
/*
 * The tables (tables.h). Called by eval.c. Nothing here passes or fails: the tables are what the defaults go by, and
 * what the README quotes.
 */
#include "tests/eval/tables.h"

#include <stdlib.h>

#include "master/commands/eval_report.h"
#include "tests/eval/memory.h"

#define TABLES_SEED 7
#define TABLES_ARMS_MAX 16

struct population {
	const char *name, *about;
	size_t n;
	double accuracy[SIM_AGENTS_MAX];
	struct sim_traits common;
};

/* What all simulated models share, and the kind of which there are three and five. */
#define TABLES_MODEL .spread = 0.25, .own = 0.6, .words = 120
#define TABLES_ARGUING                                                                                     \
	{                                                                                                  \
		TABLES_MODEL, .temper = SIM_CALIBRATED, .shared = 0.2, .conformity = 0.1, .insight = 0.35, \
			      .invention = 0.1, .receptive = 0.8, .gullible = 0.15                         \
	}

static const struct population populations[] = {
    {"arguing",
     "three different models that find checkable reasons (insight 0.35) and mostly keep to them",
     3,
     {0.70, 0.66, 0.62},
     TABLES_ARGUING},
    {"conforming",
     "the same, but they rarely have a reason (0.05) and follow the majority (0.5)",
     3,
     {0.70, 0.66, 0.62},
     {TABLES_MODEL, .temper = SIM_CALIBRATED, .shared = 0.2, .conformity = 0.5, .insight = 0.05, .invention = 0.05,
      .receptive = 0.8, .gullible = 0.3}},
    {"clones",
     "one model three times: 70 % of the drafts come from one source; over-confident",
     3,
     {0.70, 0.70, 0.70},
     {TABLES_MODEL, .temper = SIM_OVER, .shared = 0.7, .conformity = 0.4, .insight = 0.1, .invention = 0.1,
      .receptive = 0.7, .gullible = 0.3}},
    {"five", "five different models of the first kind", 5, {0.70, 0.68, 0.66, 0.64, 0.62}, TABLES_ARGUING},
};

struct arm {
	const char *name;
	struct setup setup;
};

static struct sim_world tables_world(const struct population *p)
{
	struct sim_world w = {.seed = TABLES_SEED, .options = 5, .own_words = true, .own_phrases = false, .n = p->n};
	size_t i;

	for (i = 0; i < p->n; i++) {
		w.agents[i] = p->common;
		w.agents[i].accuracy = p->accuracy[i];
	}
	return w;
}

struct rows {
	struct eval_sample *samples[TABLES_ARMS_MAX];
	char names[TABLES_ARMS_MAX][48];
	size_t count, n;
};

static struct eval_sample *rows_add(struct rows *r, const char *name)
{
	(void)snprintf(r->names[r->count], sizeof(r->names[0]), "%s", name);
	r->samples[r->count] = xcalloc(r->n, sizeof(struct eval_sample));
	return r->samples[r->count++];
}

static double rows_tokens(const struct rows *r, size_t arm)
{
	double sum = 0;
	size_t q;

	for (q = 0; q < r->n; q++)
		sum += (double)r->samples[arm][q].tokens;
	return sum / (double)r->n;
}

static void rows_print(struct rows *r)
{
	struct eval_row rows[TABLES_ARMS_MAX];
	size_t i;

	for (i = 0; i < r->count; i++)
		rows[i] = eval_row(r->names[i], r->samples[i], r->samples[0], r->n);
	eval_print(rows, r->count, false, stdout);
	for (i = 0; i < r->count; i++)
		free(r->samples[i]);
	r->count = 0;
}

static void rows_debate(struct rows *r, const struct sim_world *w, const struct arm *arm)
{
	struct eval_sample *out = rows_add(r, arm->name);
	size_t q;

	for (q = 0; q < r->n; q++)
		memory_debate(w, &arm->setup, (int64_t)q, &out[q], NULL);
}

static void rows_samples(struct rows *r, const struct sim_world *w, size_t k)
{
	struct eval_sample *out;
	char name[48];
	size_t q;

	(void)snprintf(name, sizeof(name), k == 1 ? "single call (best)" : "self-consistency@%zu", k);
	out = rows_add(r, name);
	for (q = 0; q < r->n; q++)
		memory_samples(w, 0, k, (int64_t)q, &out[q]);
}

/* All arms for one population. Self-consistency gets as many samples as the vote and two rounds cost in tokens. */
static void tables_arms(const struct population *p, size_t n)
{
	static const struct arm arms[] = {{"vote only", {.rounds = 0}},
					  {"debate, 1 round", {.rounds = 1}},
					  {"debate, 2 rounds", {.rounds = 2}},
					  {"debate, 3 rounds", {.rounds = 3}},
					  {"2 rounds, no gate", {.rounds = 2, .no_gate = true}},
					  {"2 rounds, engine 3", {.rounds = 2, .version = 3}},
					  {"judge, 2 rounds", {.rounds = 2, .consensus = "judge"}}};
	struct sim_world w = tables_world(p);
	struct rows r = {.n = n};
	double single;
	size_t i;

	printf("\n%s: %s\n\n", p->name, p->about);
	rows_samples(&r, &w, 1);
	single = rows_tokens(&r, 0);
	for (i = 0; i < countof(arms); i++)
		rows_debate(&r, &w, &arms[i]);
	rows_samples(&r, &w, (size_t)(rows_tokens(&r, 1) / single + 0.5));
	rows_samples(&r, &w, (size_t)(rows_tokens(&r, 3) / single + 0.5));
	rows_print(&r);
}

/* The defaults against their alternatives, in the population with five agents. */
static void tables_defaults(size_t n)
{
	static const struct arm arms[] = {
	    {"defaults, 2 rounds", {.rounds = 2}},
	    {"no agreement gate", {.rounds = 2, .no_gate = true}},
	    {"gate from 0.6", {.rounds = 2, .gate_ppm = 600000}},
	    {"gate from 0.9", {.rounds = 2, .gate_ppm = 900000}},
	    {"votes in two waves", {.rounds = 2, .spare = true}},
	    {"semantic", {.rounds = 2, .consensus = "semantic"}},
	    {"supermajority", {.rounds = 2, .consensus = "supermajority"}},
	    {"unanimous", {.rounds = 2, .consensus = "unanimous"}},
	    {"hybrid", {.rounds = 2, .consensus = "hybrid"}},
	    {"judge", {.rounds = 2, .consensus = "judge"}},
	    {"topology all-to-all", {.rounds = 2, .topology = "all-to-all"}},
	    {"topology ring", {.rounds = 2, .topology = "ring"}},
	    {"topology round-robin", {.rounds = 2, .topology = "round-robin"}},
	    {"topology star", {.rounds = 2, .topology = "star"}},
	};
	struct sim_world w = tables_world(&populations[countof(populations) - 1]);
	struct rows r = {.n = n};
	size_t i;

	printf("\nThe defaults and their alternatives (population five; GAIN is against the defaults)\n\n");
	for (i = 0; i < countof(arms); i++)
		rows_debate(&r, &w, &arms[i]);
	rows_print(&r);
}

void tables_print(size_t n)
{
	size_t i;

	printf(
	    "\nThe ways to spend tokens on a question, %zu questions of five answers each. RIGHT and GAIN (against a\n"
	    "single call) in points of 100; R>W and W>R: drafts given up and corrected; TOKENS per question.\n",
	    n);
	for (i = 0; i < countof(populations); i++)
		tables_arms(&populations[i], n);
	tables_defaults(n);
}
