/* SPDX-License-Identifier: MIT */
/*
 * The simulated agents of sim.h. Called by the harness's step interface. They never see the engine's structures nor the
 * facts that demo agents get: only prompts.
 */
#include "tests/eval/sim.h"

#include <math.h>

#include "worker/engine/parse.h"
#include "worker/engine/topology.h"

#define SIM_MATERIALS_MAX 24
#define SIM_WORDS_POOL 400

/* ---- chance ---- */

static uint64_t sim_mix(uint64_t h, uint64_t v)
{
	h ^= v + UINT64_C(0x9e3779b97f4a7c15) + (h << 6) + (h >> 2);
	return topology_next(&h);
}

static uint64_t sim_hash(const struct sim_world *w, int64_t question, size_t i, const char *purpose, size_t more)
{
	uint64_t h = sim_mix(w->seed, (uint64_t)question);
	const char *p;

	h = sim_mix(h, i);
	for (p = purpose; *p != '\0'; p++)
		h = (h ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
	return sim_mix(h, more);
}

double sim_chance(const struct sim_world *w, int64_t question, size_t i, const char *purpose, size_t more)
{
	return (double)(sim_hash(w, question, i, purpose, more) >> 11) / 9007199254740992.0;
}

/* ---- knowledge ---- */

static const char *const sim_words[SIM_OPTIONS_MAX] = {"alder", "birch",  "cedar", "damson",
						       "elder", "gingko", "hazel", "juniper"};
static const char *const sim_numbers[SIM_OPTIONS_MAX] = {"4", "7", "12", "19", "28", "35", "41", "56"};

static const char *sim_name(const struct sim_world *w, size_t answer)
{
	return w->numbers ? sim_numbers[answer] : sim_words[answer];
}

size_t sim_truth(const struct sim_world *w, int64_t question)
{
	return (size_t)(sim_hash(w, question, 0, "truth", 0) % w->options);
}

static size_t sim_wrong(const struct sim_world *w, int64_t question, size_t i, const char *purpose, size_t more)
{
	size_t k = (size_t)(sim_hash(w, question, i, purpose, more) % (w->options - 1));

	return k >= sim_truth(w, question) ? k + 1 : k;
}

/* Probability that this agent is right on this question. */
static double sim_skill(const struct sim_world *w, int64_t question, size_t i)
{
	const struct sim_traits *t = &w->agents[i];
	double p = t->accuracy + t->spread * (2 * sim_chance(w, question, 0, "difficulty", 0) - 1);

	return p < 0.02 ? 0.02 : p > 0.98 ? 0.98 : p;
}

size_t sim_draft(const struct sim_world *w, int64_t question, size_t i, size_t s)
{
	const struct sim_traits *t = &w->agents[i];
	double p = sim_skill(w, question, i);

	if (t->kind != SIM_HONEST)
		return sim_wrong(w, question, 0, "lie", 0);
	if (s > 0 && sim_chance(w, question, i, "again", s) < t->own)
		s = 0;
	if (sim_chance(w, question, i, "which source", s) < t->shared)
		return sim_chance(w, question, 0, "shared", 0) < p ? sim_truth(w, question)
								   : sim_wrong(w, question, 0, "shared error", 0);
	return sim_chance(w, question, i, "own", s) < p ? sim_truth(w, question)
							: sim_wrong(w, question, i, "own error", s);
}

static double sim_says(const struct sim_traits *t, double p)
{
	switch (t->temper) {
	case SIM_OVER:
		return 1 - (1 - p) / 5;
	case SIM_UNDER:
		return 0.5 + (p - 0.5) * 0.2;
	case SIM_FLAT:
		return 0.8;
	case SIM_CALIBRATED:
		break;
	}
	return p;
}

double sim_confidence(const struct sim_world *w, int64_t question, size_t i)
{
	const struct sim_traits *t = &w->agents[i];

	/* No two are equally sure: between votes of one weight the engine would go by the name. */
	double jitter = 0.02 * (sim_chance(w, question, i, "jitter", 0) - 0.5);

	return t->kind != SIM_HONEST ? 1 : sim_says(t, sim_skill(w, question, i)) * (1 + jitter);
}

/* Does agent i take up a reason that was given for an answer? The same argument convinces it or not, wherever it
 * meets it. */
static bool sim_convinced(const struct sim_world *w, int64_t question, size_t i, size_t answer)
{
	const struct sim_traits *t = &w->agents[i];
	double p = answer == sim_truth(w, question) ? t->receptive : t->gullible;

	return t->kind == SIM_HONEST && sim_chance(w, question, i, "argument", answer) < p;
}

/* Does agent i know a reason, true or invented, for its answer? */
static bool sim_has_reason(const struct sim_world *w, int64_t question, size_t i, size_t answer)
{
	const struct sim_traits *t = &w->agents[i];
	bool right = answer == sim_truth(w, question);

	return t->kind != SIM_HONEST || sim_chance(w, question, i, "reason", 0) < (right ? t->insight : t->invention);
}

/* ---- reading prompts ---- */

struct sim_material {
	struct str name, text;
};

/* The delimited parts of a prompt, in order. */
static size_t sim_materials(struct str prompt, struct sim_material *out)
{
	size_t n = 0;
	ptrdiff_t at, colon, close, end;

	while (n < SIM_MATERIALS_MAX && (at = str_find(prompt, STR("<<<material "))) >= 0) {
		struct str mark;

		prompt = str_sub(prompt, (size_t)at + 12, prompt.n);
		colon = str_chr(prompt, ':');
		close = str_find(prompt, STR(">>>\n"));
		end = str_find(prompt, STR("\n<<<end "));
		if (colon < 0 || close < colon || end < close)
			break;
		mark = str_sub(prompt, 0, (size_t)colon);
		out[n].name = str_trim(str_sub(prompt, (size_t)colon + 1, (size_t)close));
		out[n++].text = str_sub(prompt, (size_t)close + 4, (size_t)end);
		prompt = str_sub(prompt, (size_t)end + 8 + mark.n, prompt.n);
	}
	return n;
}

static int64_t sim_question(const struct sim_material *m, size_t n)
{
	struct str digits = n > 0 ? m[0].text : STR("");
	ptrdiff_t at = str_find(digits, STR("Question "));
	int64_t q = -1;
	size_t end;

	if (at < 0)
		return -1;
	digits = str_sub(digits, (size_t)at + 9, digits.n);
	for (end = 0; end < digits.n && digits.p[end] >= '0' && digits.p[end] <= '9'; end++)
		;
	return str_to_i64(str_sub(digits, 0, end), 0, INT64_MAX, &q) ? q : -1;
}

struct str sim_task(struct arena *a, int64_t question)
{
	return arena_printf(a, "Question %lld: which of the trees is the one?", (long long)question);
}

static bool sim_word_at(struct str s, size_t i, struct str word)
{
	return str_istarts(str_sub(s, i, s.n), word) && (i == 0 || s.p[i - 1] == ' ') &&
	       (i + word.n >= s.n || strchr(" .,;:\n", s.p[i + word.n]) != NULL);
}

/* The first answer that is named in s. */
static size_t sim_named(const struct sim_world *w, struct str s)
{
	size_t i, k;

	for (i = 0; i < s.n; i++)
		for (k = 0; k < w->options; k++)
			if (sim_word_at(s, i, str_of(sim_name(w, k))))
				return k;
	return SIM_NONE;
}

size_t sim_answer(const struct sim_world *w, struct str text)
{
	return sim_named(w, parse_position(text));
}

/* The answer that a text gives a reason for that can be checked, or seems so. */
static size_t sim_reason(const struct sim_world *w, struct str text)
{
	ptrdiff_t at = str_find(text, STR("CHECK "));
	ptrdiff_t end;

	if (at < 0)
		return SIM_NONE;
	text = str_sub(text, (size_t)at + 5, text.n);
	end = str_chr(text, '\n');
	return sim_named(w, end < 0 ? text : str_sub(text, 0, (size_t)end));
}

/* ---- writing ---- */

/* A made-up word: two to four syllables from a number. */
static void sim_word(struct buf *b, uint64_t h)
{
	static const char consonants[] = "bdfgklmnprstvz", vowels[] = "aeiou";
	int i, syllables = 2 + (int)(h % 3);

	for (i = 0; i < syllables; i++) {
		h = topology_next(&h);
		buf_addc(b, consonants[h % (sizeof(consonants) - 1)]);
		buf_addc(b, vowels[(h >> 8) % (sizeof(vowels) - 1)]);
	}
}

/* Words of the question, of the answer and of the writer's own, in a mixture that is like that of real texts: two
 * writers of one answer come to a cosine of about 0.7. */
static void sim_prose(struct buf *b, const struct sim_world *w, int64_t question, size_t i, size_t answer)
{
	const struct sim_traits *t = &w->agents[i];
	size_t writer = w->own_words && t->kind != SIM_COLLUDER ? i : 0;
	int k;

	for (k = 0; k < t->words; k++) {
		uint64_t h = sim_hash(w, question, writer, "prose", (size_t)k * SIM_OPTIONS_MAX + answer);
		unsigned kind = (unsigned)(h % 100);
		uint64_t pool = kind < 40   ? sim_mix(1, (uint64_t)question)
				: kind < 65 ? sim_mix(2 + answer, (uint64_t)question)
					    : sim_mix(100 + writer, 0);

		sim_word(b, sim_mix(pool, (h >> 20) % (kind < 65 ? 12 : SIM_WORDS_POOL)));
		buf_addz(b, k % 12 == 11 ? ". " : " ");
	}
	buf_addz(b, "\n");
}

static struct str sim_text(struct arena *a, const struct sim_world *w, int64_t question, size_t i, size_t answer,
			   double sure, bool reason)
{
	const char *name = sim_name(w, answer);
	struct buf b = BUF_INIT;
	struct str out;
	size_t phrase = w->own_phrases ? i % 3 : 0;

	if (phrase == 0)
		buf_printf(&b, "POSITION: The answer is %s.\n", name);
	else if (phrase == 1)
		buf_printf(&b, "POSITION: The right answer to this is %s.\n", name);
	else
		buf_printf(&b, "POSITION: It is %s that is the answer.\n", name);
	sim_prose(&b, w, question, i, answer);
	if (reason)
		buf_printf(&b, "CHECK %s fits every condition of the task, and the others fail one.\n", name);
	buf_printf(&b, "CONFIDENCE: %.3f\n", sure);
	out = arena_str(a, buf_str(&b));
	buf_free(&b);
	return out;
}

static struct str sim_propose(struct arena *a, const struct sim_world *w, size_t i, int64_t q)
{
	size_t answer = sim_draft(w, q, i, 0);

	/* Liars give their invented reason at once; who is honest finds his when he meets another answer. */
	return sim_text(a, w, q, i, answer, sim_confidence(w, q, i), w->agents[i].kind != SIM_HONEST);
}

static struct str sim_critique(struct arena *a, const struct sim_world *w, size_t i, int64_t q, struct str proposal)
{
	size_t mine = sim_draft(w, q, i, 0), theirs = sim_answer(w, proposal), argued = sim_reason(w, proposal);

	if (argued != SIM_NONE && sim_convinced(w, q, i, argued))
		mine = argued;
	if (mine == theirs)
		return arena_printf(
		    a, "ISSUES:\n- none\nSUGGESTIONS:\n- none\nSEVERITY: 1\nREASONING: I find %s as well.\n",
		    sim_name(w, mine));
	return arena_printf(a,
			    "ISSUES:\n- The answer is not this but %s.\n%s%s%sSUGGESTIONS:\n- Take %s.\nSEVERITY: "
			    "6\nREASONING: I come to %s.\n",
			    sim_name(w, mine), sim_has_reason(w, q, i, mine) ? "- CHECK " : "",
			    sim_has_reason(w, q, i, mine) ? sim_name(w, mine) : "",
			    sim_has_reason(w, q, i, mine) ? " fits every condition of the task, this one fails one.\n"
							  : "",
			    sim_name(w, mine), sim_name(w, mine));
}

static size_t sim_critic_says(const struct sim_world *w, struct str critique)
{
	ptrdiff_t at = str_find(critique, STR("Reasoning: "));

	return at < 0 ? SIM_NONE : sim_named(w, str_sub(critique, (size_t)at + 10, critique.n));
}

static struct str sim_revise(struct arena *a, const struct sim_world *w, size_t i, int64_t q,
			     const struct sim_material *m, size_t n)
{
	const struct sim_traits *t = &w->agents[i];
	size_t own = SIM_NONE, said[SIM_OPTIONS_MAX] = {0}, critics = 0, k, answer;
	double sure = sim_confidence(w, q, i);
	bool reason = false;

	for (k = 0; k < n; k++) {
		size_t says;

		if (str_eqz(m[k].name, "your proposal")) {
			own = sim_answer(w, m[k].text);
			reason = sim_reason(w, m[k].text) == own;
		} else if (str_eqz(m[k].name, "critique")) {
			says = sim_critic_says(w, m[k].text);
			critics++;
			if (says != SIM_NONE)
				said[says]++;
		}
	}
	answer = own;
	for (k = 0; k < n && answer == own; k++) {
		size_t argued = str_eqz(m[k].name, "critique") ? sim_reason(w, m[k].text) : SIM_NONE;

		if (argued != SIM_NONE && argued != own && !(reason && own == sim_truth(w, q)) &&
		    sim_convinced(w, q, i, argued)) {
			answer = argued;
			reason = true;
			sure = sim_says(t, 0.9);
		}
	}
	for (k = 0; k < w->options && answer == own && t->kind == SIM_HONEST; k++)
		if (k != own && 2 * said[k] > critics && !reason && sim_chance(w, q, i, "conform", 0) < t->conformity)
			answer = k;
	return sim_text(a, w, q, i, answer == SIM_NONE ? 0 : answer, sure, reason);
}

/* Which proposal of the ballot this agent takes, and how sure it is. */
static size_t sim_choose(const struct sim_world *w, size_t i, int64_t q, const struct sim_material *m, size_t n,
			 double *sure)
{
	const struct sim_traits *t = &w->agents[i];
	size_t answer = sim_draft(w, q, i, 0), heads[SIM_OPTIONS_MAX] = {0}, fits = 0, k;

	*sure = sim_confidence(w, q, i);
	if (sim_chance(w, q, i, "takes the first", 0) < t->first)
		return 0;
	for (k = 0; k < n; k++) {
		size_t stands = sim_answer(w, m[k].text), argued = sim_reason(w, m[k].text);

		if (stands != SIM_NONE)
			heads[stands]++;
		if (argued != SIM_NONE && argued == stands && sim_convinced(w, q, i, argued)) {
			answer = argued;
			*sure = sim_says(t, 0.9);
		}
	}
	for (k = 0; k < w->options && t->kind == SIM_HONEST; k++)
		if (k != answer && 2 * heads[k] > n && sim_chance(w, q, i, "conform", 1) < t->conformity)
			answer = k;
	fits = heads[answer];
	if (fits == 0) {
		*sure = 0.5 * *sure;
		return (size_t)(sim_hash(w, q, i, "any of them", 0) % n);
	}
	fits = (size_t)(sim_hash(w, q, i, "one of them", 0) % fits);
	for (k = 0; k < n; k++)
		if (sim_answer(w, m[k].text) == answer && fits-- == 0)
			return k;
	return 0;
}

static struct str sim_vote(struct arena *a, const struct sim_world *w, size_t i, int64_t q,
			   const struct sim_material *m, size_t n, bool judge)
{
	struct sim_material ballot[SIM_AGENTS_MAX];
	size_t items = 0, k, choice;
	double sure;

	for (k = 0; k < n && items < SIM_AGENTS_MAX; k++)
		if (m[k].name.n >= 2 && m[k].name.p[0] == 'P' && m[k].name.p[1] >= '1' && m[k].name.p[1] <= '9')
			ballot[items++] = m[k];
	if (items == 0)
		return STR("CHOICE: none");
	choice = sim_choose(w, i, q, ballot, items, &sure);
	if (judge)
		return arena_printf(
		    a, "WINNER: P%zu\nCONFIDENCE: %.3f\nREASONING: it fits.\nUNRESOLVED: none\nANSWER: %.*s\n",
		    choice + 1, sure, STR_ARG(parse_position(ballot[choice].text)));
	return arena_printf(a, "CHOICE: P%zu\nCONFIDENCE: %.3f\nCONTINUE: no\nREASONING: it fits the task.\n",
			    choice + 1, sure);
}

struct str sim_reply(struct arena *a, const struct sim_world *w, size_t i, const char *phase, struct str prompt)
{
	struct sim_material m[SIM_MATERIALS_MAX];
	size_t n = sim_materials(prompt, m);
	int64_t q = sim_question(m, n);

	if (q < 0)
		return STR("");
	if (strcmp(phase, "propose") == 0)
		return sim_propose(a, w, i, q);
	if (strcmp(phase, "critique") == 0)
		return sim_critique(a, w, i, q, n > 1 ? m[1].text : STR(""));
	if (strcmp(phase, "revise") == 0)
		return sim_revise(a, w, i, q, m, n);
	if (strcmp(phase, "vote") == 0)
		return sim_vote(a, w, i, q, m, n, false);
	if (strcmp(phase, "judge") == 0)
		return sim_vote(a, w, i, q, m, n, true);
	return STR("The answer is as was decided.");
}
