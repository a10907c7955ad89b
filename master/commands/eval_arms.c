/* SPDX-License-Identifier: MIT */
/*
 * Names of arms (eval_run.h). Called by `aragorad eval`.
 */
#include "master/commands/eval_run.h"
#include "worker/engine/mode.h"

#define ARMS_ROUNDS_DEFAULT 2
#define ARMS_ROUNDS_MAX 12 /* debate.md 1.1 */

struct arms {
	struct eval_arm *out;
	size_t *count;
	struct error *err;
};

static bool arms_add(struct arms *l, const struct eval_arm *arm, struct str name)
{
	struct eval_arm *to;
	size_t i;

	if (*l->count == EVAL_ARMS_MAX)
		return error_set(l->err, ERR_INVALID_VALUE, "there are more than %d arms", EVAL_ARMS_MAX);
	to = &l->out[*l->count];
	*to = *arm;
	(void)snprintf(to->name, sizeof(to->name), "%.*s", STR_ARG(name));
	for (i = 0; i < *l->count; i++)
		if (strcmp(l->out[i].name, to->name) == 0)
			return error_set(l->err, ERR_INVALID_VALUE, "the arm %s is there twice", to->name);
	++*l->count;
	return true;
}

static bool arms_unknown(struct arms *l, struct str word)
{
	return error_set(
	    l->err, ERR_INVALID_VALUE,
	    "\"%.*s\" is no arm: single, self-consistency[@K], vote, debate[-R], or a mode of consensus with "
	    "rounds, as judge-2 (%s)",
	    (int)(word.n < 60 ? word.n : 60), word.p, mode_names());
}

static bool arms_samples(struct arms *l, struct arena *a, struct str word, size_t agents)
{
	uint64_t k = 2 * agents; /* as many calls as drafts and votes */
	struct str rest = str_sub(word, strlen("self-consistency"), word.n);

	if (rest.n > 0 && (rest.p[0] != '@' || !str_to_u64(str_sub(rest, 1, rest.n), EVAL_SAMPLES_MAX, &k) || k < 2))
		return error_set(l->err, ERR_INVALID_VALUE, "\"%.*s\": self-consistency@K takes 2 to %d samples",
				 STR_ARG(word), EVAL_SAMPLES_MAX);
	return arms_add(l, &(struct eval_arm){.way = EVAL_WAY_SAMPLES, .samples = (size_t)k},
			arena_printf(a, "self-consistency@%llu", (unsigned long long)k));
}

/* "debate", "debate-3", "judge-1", "unanimous-2". */
static bool arms_debate(struct arms *l, struct arena *a, struct str word, size_t agents)
{
	struct eval_arm arm = {.way = EVAL_WAY_DEBATE};
	ptrdiff_t dash = str_chr(word, '-');
	struct str name = dash < 0 ? word : str_sub(word, 0, (size_t)dash);
	uint64_t rounds = ARMS_ROUNDS_DEFAULT;
	const struct mode *mode = mode_find(name);

	if (mode == NULL && !str_eqz(name, "debate"))
		return arms_unknown(l, word);
	if (dash >= 0 && (!str_to_u64(str_sub(word, (size_t)dash + 1, word.n), ARMS_ROUNDS_MAX, &rounds) || rounds < 1))
		return error_set(l->err, ERR_INVALID_VALUE, "\"%.*s\": rounds are a number from 1 to %d", STR_ARG(word),
				 ARMS_ROUNDS_MAX);
	if (mode != NULL && (mode->way == MODE_NONE || agents < mode->agents_min))
		return error_set(l->err, ERR_INVALID_VALUE, "\"%.*s\": %s", STR_ARG(word),
				 mode->way == MODE_NONE ? "without a decision there is nothing to measure"
							: "needs more agents");
	arm.rounds = (int)rounds;
	arm.consensus = mode != NULL ? mode->name : NULL;
	return arms_add(l, &arm, arena_printf(a, "%.*s-%llu", STR_ARG(name), (unsigned long long)rounds));
}

static bool arms_word(struct arms *l, struct arena *a, struct str word, const struct agent_spec *agents, size_t n)
{
	size_t i;

	if (str_eqz(word, "single")) {
		for (i = 0; i < n; i++)
			if (!arms_add(l, &(struct eval_arm){.way = EVAL_WAY_SINGLE, .agent = i},
				      arena_printf(a, "single %.*s", STR_ARG(agents[i].name))))
				return false;
		return true;
	}
	if (str_starts(word, STR("self-consistency")))
		return arms_samples(l, a, word, n);
	if (str_eqz(word, "vote"))
		return arms_add(l, &(struct eval_arm){.way = EVAL_WAY_DEBATE}, word);
	return arms_debate(l, a, word, n);
}

bool eval_arms_parse(struct arena *a, struct str text, const struct agent_spec *agents, size_t n,
		     struct eval_arm out[EVAL_ARMS_MAX], size_t *count, struct error *err)
{
	struct arms l = {out, count, err};
	struct str word;

	*count = 0;
	while (str_split(&text, ',', &word)) {
		word = str_trim(word);
		if (word.n > 0 && !arms_word(&l, a, word, agents, n))
			return false;
	}
	return *count > 0 || error_set(err, ERR_INVALID_VALUE, "there is no arm");
}
