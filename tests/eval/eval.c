/* SPDX-License-Identifier: MIT */
/*
 * `make eval`: simulated agents through the real engine. First what a sound engine must do, each with a measurement
 * that decides; then the same with defects planted, which must be noticed; then the tables that the defaults go by. The
 * same seed gives the same output. Exit code 1: a check failed, or a defect was not noticed.
 */
#include <math.h>
#include <stdlib.h>

#include "common/json.h"
#include "tests/eval/defects.h"
#include "tests/eval/memory.h"
#include "tests/eval/tables.h"

#define EVAL_SEED 20260101
#define EVAL_QUESTIONS 600 /* of each check; EVAL_QUICK in `make test` and with planted defects */
#define EVAL_QUICK 250
#define EVAL_TABLES 500
#define EVAL_TOLERANCE 0.02 /* what a debate may lose against its own vote before it counts as harm */

struct check {
	const char *name, *must;
	/* Writes what was measured; true: as it must be. */
	bool (*run)(size_t n, struct buf *said);
	enum defect caught[3]; /* defects that this check must notice; DEFECT_NONE ends */
};

static void eval_run(const struct sim_world *w, const struct setup *s, size_t n, struct eval_sample *out)
{
	size_t q;

	for (q = 0; q < n; q++)
		memory_debate(w, s, (int64_t)q, &out[q], NULL);
}

static struct eval_sample *eval_samples(size_t n)
{
	return xcalloc(n, sizeof(struct eval_sample));
}

static struct sim_world eval_world(size_t agents, size_t options, double accuracy)
{
	struct sim_world w = {.seed = EVAL_SEED, .options = options, .own_words = true, .n = agents};
	size_t i;

	for (i = 0; i < agents; i++)
		w.agents[i] = (struct sim_traits){
		    .temper = SIM_FLAT, .accuracy = accuracy, .receptive = 0.8, .gullible = 0.1, .words = 80};
	return w;
}

static double eval_share(const struct eval_sample *s, size_t n)
{
	size_t i, right = 0;

	for (i = 0; i < n; i++)
		right += s[i].right;
	return (double)right / (double)n;
}

/* Does the measured share agree with what arithmetic says? */
static bool eval_agrees(const char *what, const struct eval_sample *s, size_t n, double p, struct buf *said)
{
	struct eval_interval in = eval_wilson((size_t)(eval_share(s, n) * (double)n + 0.5), n, EVAL_Z999);

	buf_printf(said, "%s%s %.3f for %.3f", said->n > 0 ? "; " : "", what, eval_share(s, n), p);
	return in.low <= p && p <= in.high;
}

/* How many answers were given in the drafts, and how often the right one. */
static size_t eval_heads(const struct sim_world *w, int64_t q, size_t from, size_t to)
{
	size_t i, right = 0;

	for (i = from; i < to; i++)
		right += sim_draft(w, q, i, 0) == sim_truth(w, q);
	return right;
}

/* ---- independent and correlated voters ---- */

static bool check_closed_form(size_t n, struct buf *said)
{
	static const struct {
		const char *name;
		size_t voters;
		double p;
	} forms[] = {{"3 voters at 0.7", 3, 0.7}, {"5 at 0.7", 5, 0.7}, {"7 at 0.6", 7, 0.6}};
	struct eval_sample *s = eval_samples(n);
	bool ok = true;
	size_t i;

	for (i = 0; i < countof(forms); i++) {
		struct sim_world w = eval_world(forms[i].voters, 2, forms[i].p);

		eval_run(&w, &(struct setup){0}, n, s);
		ok &= eval_agrees(forms[i].name, s, n, eval_majority((unsigned)forms[i].voters, forms[i].p), said);
	}
	free(s);
	return ok;
}

/* Majority of n of which each takes the shared source with probability c: the number of those is binomial. */
static double eval_correlated(unsigned n, double p, double c)
{
	double sum = 0, weight = pow(1 - c, n);
	unsigned m, k;

	for (m = 0; m <= n; m++) {
		double with = 0, without = 0, term = pow(1 - p, n - m);

		for (k = 0; k <= n - m; k++) {
			with += 2 * (k + m) > n ? term : 0;
			without += 2 * k > n ? term : 0;
			term = term * (n - m - k) / (k + 1) * p / (1 - p);
		}
		sum += weight * (p * with + (1 - p) * without);
		weight = weight * (n - m) / (m + 1) * c / (1 - c);
	}
	return sum;
}

static bool check_correlated(size_t n, struct buf *said)
{
	static const double shared[] = {0.4, 0.8};
	struct eval_sample *s = eval_samples(n);
	bool ok = true;
	size_t i, k;

	for (i = 0; i < countof(shared); i++) {
		struct sim_world w = eval_world(5, 2, 0.7);

		for (k = 0; k < w.n; k++)
			w.agents[k].shared = shared[i];
		eval_run(&w, &(struct setup){0}, n, s);
		ok &= eval_agrees(i == 0 ? "5 voters at 0.7, 40 % shared errors" : "80 %", s, n,
				  eval_correlated(5, 0.7, shared[i]), said);
	}
	free(s);
	return ok;
}

/* ---- grouping ---- */

/* Is the partition of the result that of the answers? */
static bool eval_groups_fit(const struct sim_world *w, int64_t q, const json_t *result, bool *mixed)
{
	const json_t *groups = json_get_arr(json_get_obj(result, "consensus"), "groups");
	size_t i, k, answers = 0, seen[SIM_OPTIONS_MAX] = {0};

	for (i = 0; i < w->n; i++)
		answers += seen[sim_draft(w, q, i, 0)]++ == 0;
	for (i = 0; i < json_array_size(groups); i++) {
		const json_t *agents = json_get_arr(json_array_get(groups, i), "agents");
		size_t first = SIM_NONE;

		for (k = 0; k < json_array_size(agents); k++) {
			size_t seat = (size_t)(json_string_value(json_array_get(agents, k))[3] - 'a');
			size_t answer = sim_draft(w, q, seat, 0);

			*mixed |= first != SIM_NONE && answer != first;
			first = answer;
		}
	}
	return json_array_size(groups) == answers;
}

static bool check_grouping(size_t n, struct buf *said)
{
	size_t i, q, split[3] = {0}, mixed[3] = {0};

	n = n / 4 + 1;
	for (i = 0; i < 3; i++) {
		struct sim_world w = eval_world(5, 5, 0.5);

		w.numbers = i == 1;
		w.own_phrases = i == 2;
		for (q = 0; q < n; q++) {
			struct eval_sample s;
			bool both = false;
			json_t *result;

			memory_debate(&w, &(struct setup){0}, (int64_t)q, &s, &result);
			split[i] += !eval_groups_fit(&w, (int64_t)q, result, &both);
			mixed[i] += both;
			json_decref(result);
		}
	}
	buf_printf(said,
		   "different answers pooled: %zu words, %zu numbers, %zu other phrases; equal ones split: %zu, %zu "
		   "(%zu) of %zu",
		   mixed[0], mixed[1], mixed[2], split[0], split[1], split[2], n);
	return mixed[0] + mixed[1] + mixed[2] + split[0] + split[1] == 0;
}

static bool check_unanimity(size_t n, struct buf *said)
{
	struct sim_world w = eval_world(5, 5, 0.9);
	struct eval_sample s;
	size_t q, all = 0, reached = 0;

	for (q = 0; q < n; q++) {
		if (eval_heads(&w, (int64_t)q, 0, w.n) != w.n)
			continue;
		memory_debate(&w, &(struct setup){.no_gate = true}, (int64_t)q, &s, NULL);
		all++;
		reached += s.consensus && s.confidence > 0.99;
	}
	buf_printf(said, "%zu of %zu questions on which all five drafts agree are a full consensus", reached, all);
	return reached == all;
}

/* ---- weight ---- */

static bool check_minority(size_t n, struct buf *said)
{
	struct sim_world w = eval_world(5, 2, 0.55);
	struct eval_sample *s = eval_samples(n), *heads = eval_samples(n);
	struct eval_interval gain;
	size_t i, q;

	for (i = 0; i < w.n; i++)
		w.agents[i].temper = SIM_CALIBRATED;
	w.agents[0].accuracy = w.agents[1].accuracy = 0.95;
	eval_run(&w, &(struct setup){0}, n, s);
	for (q = 0; q < n; q++)
		heads[q].right = 2 * eval_heads(&w, (int64_t)q, 0, w.n) > w.n;
	gain = eval_paired(s, heads, n, EVAL_Z999, EVAL_SEED);
	buf_printf(said, "two experts among five: %.3f, by heads %.3f, gain %+.3f to %+.3f", eval_share(s, n),
		   eval_share(heads, n), gain.low, gain.high);
	free(s);
	free(heads);
	return gain.low > 0;
}

/* ---- those who do not play fair ---- */

static bool check_adversary(size_t n, struct buf *said)
{
	struct sim_world w = eval_world(5, 2, 0.8);
	struct eval_sample *s = eval_samples(n), *debated = eval_samples(n);
	struct eval_interval range, loss;
	/* Who is right votes so unless the invented reason convinces him, and three of the four are needed. */
	double p = 0.8 * (1 - w.agents[0].gullible), heads = pow(p, 4) + 4 * pow(p, 3) * (1 - p);
	size_t i;

	for (i = 0; i < 4; i++)
		w.agents[i].insight = 0.3;
	w.agents[4].kind = SIM_ADVERSARY;
	eval_run(&w, &(struct setup){0}, n, s);
	eval_run(&w, &(struct setup){.rounds = 2}, n, debated);
	range = eval_wilson((size_t)(eval_share(s, n) * (double)n + 0.5), n, EVAL_Z999);
	loss = eval_paired(debated, s, n, EVAL_Z999, EVAL_SEED);
	buf_printf(said, "four at 0.8 and a liar who convinces one in ten: vote %.3f (by heads %.3f), two rounds %.3f",
		   eval_share(s, n), heads, eval_share(debated, n));
	free(s);
	free(debated);
	return range.high >= heads && loss.high > -EVAL_TOLERANCE;
}

static bool check_sycophants(size_t n, struct buf *said)
{
	struct sim_world w = eval_world(5, 3, 0.65);
	struct eval_sample *s = eval_samples(n), *debated = eval_samples(n);
	struct eval_interval loss;
	int64_t flips = 0;
	size_t i;

	for (i = 0; i < w.n; i++)
		w.agents[i].conformity = 0.9;
	eval_run(&w, &(struct setup){0}, n, s);
	eval_run(&w, &(struct setup){.rounds = 3}, n, debated);
	for (i = 0; i < n; i++)
		flips += debated[i].right_to_wrong;
	loss = eval_paired(debated, s, n, EVAL_Z999, EVAL_SEED);
	buf_printf(said, "vote %.3f, after three rounds %.3f (%+.3f to %+.3f), %lld right drafts given up",
		   eval_share(s, n), eval_share(debated, n), loss.low, loss.high, (long long)flips);
	free(s);
	free(debated);
	return loss.high > -EVAL_TOLERANCE && loss.low + loss.high > -2 * EVAL_TOLERANCE;
}

static bool check_verbosity(size_t n, struct buf *said)
{
	struct sim_world w = eval_world(5, 3, 0.7);
	struct eval_sample *s = eval_samples(n), *terse = eval_samples(n);
	struct eval_interval loss;

	w.agents[4].accuracy = 0.3;
	eval_run(&w, &(struct setup){.rounds = 1}, n, terse);
	w.agents[4].words = 700;
	eval_run(&w, &(struct setup){.rounds = 1}, n, s);
	loss = eval_paired(s, terse, n, EVAL_Z999, EVAL_SEED);
	buf_printf(said, "a weak agent that writes nine times as much: %.3f, the same terse: %.3f (%+.3f to %+.3f)",
		   eval_share(s, n), eval_share(terse, n), loss.low, loss.high);
	free(s);
	free(terse);
	return loss.high > -EVAL_TOLERANCE && loss.low + loss.high > -2 * EVAL_TOLERANCE;
}

/* Two of seven, as many as Byzantine agreement bears, say the same in the same words and vote for each other. */
static bool check_gaming(size_t n, struct buf *said)
{
	struct sim_world w = eval_world(7, 5, 0.8);
	struct eval_sample s;
	size_t q, cases = 0, lost = 0, wrongly = 0, byzantine = 0;

	for (q = 0; q < 5; q++)
		w.agents[q].gullible = 0; /* what counts here is how votes are counted, not whom a text convinces */
	w.agents[5].kind = w.agents[6].kind = SIM_COLLUDER;
	for (q = 0; q < n; q++) {
		if (eval_heads(&w, (int64_t)q, 0, 5) < 4)
			continue;
		cases++;
		memory_debate(&w, &(struct setup){.no_gate = true}, (int64_t)q, &s, NULL);
		lost += !s.right;
		wrongly += s.consensus && !s.right;
		memory_debate(&w, &(struct setup){.consensus = "byzantine", .no_gate = true}, (int64_t)q, &s, NULL);
		byzantine += s.consensus && !s.right;
	}
	buf_printf(
	    said, "four and more of five honest ones are right %zu times: lost %zu, wrong consensus %zu, byzantine %zu",
	    cases, lost, wrongly, byzantine);
	return lost == 0 && wrongly == 0 && byzantine == 0;
}

/* ---- what a decision claims ---- */

static bool check_threshold(size_t n, struct buf *said)
{
	struct sim_world w = eval_world(5, 5, 0.4);
	struct eval_sample *s = eval_samples(n);
	size_t i, below = 0, beyond = 0, reached = 0;

	eval_run(&w, &(struct setup){.no_gate = true}, n, s);
	for (i = 0; i < n; i++) {
		reached += s[i].consensus;
		below += s[i].consensus && s[i].confidence < 0.6;
		beyond += s[i].confidence < 0 || s[i].confidence > 1;
	}
	buf_printf(said, "%zu of %zu reached, below the threshold %zu, confidence outside 0 to 1 %zu", reached, n,
		   below, beyond);
	free(s);
	return below == 0 && beyond == 0 && reached > 0 && reached < n;
}

/* The seat of the winner, over voters half of whom take what stands first. */
static bool check_order(size_t n, struct buf *said)
{
	struct sim_world w = eval_world(5, 5, 0.4);
	size_t i, q, won[SIM_AGENTS_MAX] = {0};
	double chi = 0, mean;

	for (i = 0; i < w.n; i++)
		w.agents[i].first = 0.5;
	for (q = 0; q < n; q++) {
		struct eval_sample s;
		json_t *result;
		struct str winner;

		memory_debate(&w, &(struct setup){.no_gate = true}, (int64_t)q, &s, &result);
		winner = json_get_str(result, "winner", STR("sima"));
		won[winner.n > 3 ? winner.p[3] - 'a' : 0]++;
		json_decref(result);
	}
	mean = (double)n / (double)w.n;
	for (i = 0; i < w.n; i++)
		chi += ((double)won[i] - mean) * ((double)won[i] - mean) / mean;
	buf_printf(said, "wins of five equal seats %zu %zu %zu %zu %zu, chi-square %.1f", won[0], won[1], won[2],
		   won[3], won[4], chi);
	return chi < 18.47; /* four degrees of freedom, 0.1 % */
}

/* A vote for oneself is no evidence: however sure a loner says he is, he gets no more than his head's share. */
static bool check_self(size_t n, struct buf *said)
{
	struct sim_world w = eval_world(3, 5, 0.8);
	struct eval_sample s;
	size_t q, cases = 0, lost = 0;
	double share = 0;

	w.agents[2].kind = SIM_ADVERSARY;
	w.agents[0].gullible = w.agents[1].gullible = 0;
	for (q = 0; q < n; q++) {
		if (eval_heads(&w, (int64_t)q, 0, 2) != 2)
			continue;
		cases++;
		memory_debate(&w, &(struct setup){.no_gate = true}, (int64_t)q, &s, NULL);
		lost += !s.right;
		share += s.confidence;
	}
	share /= cases > 0 ? (double)cases : 1;
	buf_printf(said, "two of three are right and 0.8 sure, a third is wrong and sure: lost %zu of %zu, share %.3f",
		   lost, cases, share);
	return lost == 0 && share >= 2.0 / 3;
}

static const struct check checks[] = {
    {"closed form", "independent voters give what the binomial gives", check_closed_form, {DEFECT_NONE}},
    {"correlated voters", "shared errors are not averaged away, and nobody claims so", check_correlated, {DEFECT_NONE}},
    {"grouping",
     "equal answers in different words pool their votes, different ones never",
     check_grouping,
     {DEFECT_UNGROUPED, DEFECT_POOLED}},
    {"unanimity", "where all say the same, that is a full consensus", check_unanimity, {DEFECT_UNGROUPED}},
    {"confident minority", "calibrated experts count for more than heads", check_minority, {DEFECT_HEADS}},
    {"adversary", "one liar in five costs little, and debate does not help him", check_adversary, {DEFECT_NONE}},
    {"sycophants",
     "those who follow the others do not make the outcome worse than the vote",
     check_sycophants,
     {DEFECT_NONE}},
    {"verbose vacuity", "length is no argument", check_verbosity, {DEFECT_LENGTH}},
    {"consensus gaming",
     "two colluders of seven get no consensus against four who are right",
     check_gaming,
     {DEFECT_UNGROUPED}},
    {"own votes", "a vote for oneself is no evidence, however sure", check_self, {DEFECT_SELF}},
    {"threshold",
     "a consensus is at or above its threshold, and no confidence above one",
     check_threshold,
     {DEFECT_ALWAYS}},
    {"order", "where a proposal stands on the ballot decides nothing", check_order, {DEFECT_ORDER}},
};

static bool eval_checks(size_t n)
{
	size_t i;
	bool ok = true;

	printf("What a sound engine must do (%zu questions each, 99.9 %% intervals)\n\n", n);
	for (i = 0; i < countof(checks); i++) {
		struct buf said = BUF_INIT;
		bool good = checks[i].run(n, &said);

		printf("  %-4s %-19s %s\n%24s %.*s\n", good ? "ok" : "FAIL", checks[i].name, checks[i].must, "",
		       STR_ARG(buf_str(&said)));
		buf_free(&said);
		ok &= good;
	}
	return ok;
}

/* Each defect must turn its checks red. */
static bool eval_defects(size_t n)
{
	bool ok = true;
	size_t i, k;

	printf("\nThe same with a defect planted in the engine: the check must fail\n\n");
	for (i = 0; i < countof(checks); i++)
		for (k = 0; k < countof(checks[i].caught) && checks[i].caught[k] != DEFECT_NONE; k++) {
			struct buf said = BUF_INIT;
			bool caught;

			defect_planted = checks[i].caught[k];
			caught = !checks[i].run(n, &said);
			printf("  %-4s %-19s %s\n%24s %.*s\n", caught ? "ok" : "FAIL", checks[i].name,
			       defect_about(defect_planted), "", STR_ARG(buf_str(&said)));
			buf_free(&said);
			ok &= caught;
		}
	defect_planted = DEFECT_NONE;
	return ok;
}

int main(int argc, char **argv)
{
	bool quick = argc > 1 && strcmp(argv[1], "quick") == 0, tables = argc > 1 && strcmp(argv[1], "tables") == 0;
	bool ok = true;

	if (!memory_open())
		return 2;
	if (!tables)
		ok = eval_checks(quick ? EVAL_QUICK : EVAL_QUESTIONS) & eval_defects(EVAL_QUICK);
	if (!quick)
		tables_print(EVAL_TABLES);
	memory_close();
	if (!tables)
		printf("\n%s\n", ok ? "All checks hold, all planted defects were noticed." : "A check FAILED.");
	return ok ? 0 : 1;
}
