/* SPDX-License-Identifier: MIT */
/*
 * The table of debate settings: their names and bounds in a creation body, their members in struct protocol, and what
 * they are if nobody says. Used by the plan. Knows no engine: what a setting does is where it is used.
 */
#include "worker/engine/protocol.h"

#include "common/json.h"

#define PROTOCOL_ONE 1000000
#define PROTOCOL_HINT_DISTANCE 4
#define PROTOCOL_SHUFFLE_UP_TO 5 /* agents; debate.md 3.5 */

enum protocol_type { PROTOCOL_BOOL, PROTOCOL_INT, PROTOCOL_SHARE, PROTOCOL_JUDGE };

static const struct protocol_field {
	const char *name;
	enum protocol_type type;
	size_t at;
	int64_t min, max; /* of shares in ppm */
	int since;        /* ENGINE_VERSION that brought it */
} protocol_fields[] = {
#define AT(member) offsetof(struct protocol, member)
    {"structured_rounds", PROTOCOL_BOOL, AT(structured_rounds), 0, 1, 3},
    {"role_rotation", PROTOCOL_BOOL, AT(role_rotation), 0, 1, 3},
    {"asymmetric_stances", PROTOCOL_BOOL, AT(asymmetric_stances), 0, 1, 3},
    {"rotate_stances", PROTOCOL_BOOL, AT(rotate_stances), 0, 1, 3},
    {"drop_duplicates", PROTOCOL_BOOL, AT(distinct), 0, 1, 3},
    {"agreement_intensity", PROTOCOL_INT, AT(intensity), 0, 10, 3},
    {"topology_sparsity", PROTOCOL_SHARE, AT(sparsity_ppm), 0, PROTOCOL_ONE, 3},
    {"early_stopping", PROTOCOL_BOOL, AT(early_stopping), 0, 1, 3},
    {"convergence_detection", PROTOCOL_BOOL, AT(convergence), 0, 1, 3},
    {"stability_detection", PROTOCOL_BOOL, AT(stability), 0, 1, 3},
    {"early_stop_threshold", PROTOCOL_SHARE, AT(ready_ppm), PROTOCOL_ONE / 2, PROTOCOL_ONE, 3},
    {"min_rounds_before_early_stop", PROTOCOL_INT, AT(rounds_min), 1, 100, 3},
    {"convergence_threshold", PROTOCOL_SHARE, AT(converge_ppm), PROTOCOL_ONE / 2, PROTOCOL_ONE, 3},
    {"enable_trickster", PROTOCOL_BOOL, AT(trickster), 0, 1, 3},
    {"novelty_threshold", PROTOCOL_SHARE, AT(novelty_ppm), 0, PROTOCOL_ONE, 3},
    {"vote_weights", PROTOCOL_BOOL, AT(vote_weights), 0, 1, 3},
    {"enable_calibration", PROTOCOL_BOOL, AT(calibration), 0, 1, 3},
    {"adaptive_consensus", PROTOCOL_BOOL, AT(adaptive_consensus), 0, 1, 3},
    {"verbosity_penalty", PROTOCOL_BOOL, AT(verbosity_penalty), 0, 1, 3},
    {"position_shuffling", PROTOCOL_BOOL, AT(position_shuffling), 0, 1, 3},
    {"vote_early_stop", PROTOCOL_BOOL, AT(vote_early_stop), 0, 1, 4},
    {"self_vote_weight", PROTOCOL_SHARE, AT(self_ppm), 0, PROTOCOL_ONE, 3},
    {"user_vote_weight", PROTOCOL_SHARE, AT(audience_ppm), 0, PROTOCOL_ONE, 3},
    {"vote_grouping_threshold", PROTOCOL_SHARE, AT(group_ppm), PROTOCOL_ONE / 2, PROTOCOL_ONE, 3},
    {"min_participation_ratio", PROTOCOL_SHARE, AT(quorum_ppm), 0, PROTOCOL_ONE, 3},
    {"min_participation_count", PROTOCOL_INT, AT(quorum_count), 1, 32, 3},
    {"judge_selection", PROTOCOL_JUDGE, AT(judge), 0, JUDGE_KINDS - 1, 3},
#undef AT
};

/* Members of `protocol` that others read, or that say what is so anyway. */
static const char *const protocol_others[] = {"rounds",        "consensus",     "consensus_threshold", "topology",
					      "debate_format", "vote_grouping", "budget_limit_usd",    "use_memory"};

/* Settings of other engines that would be ignored here: told, so that nobody relies on them. */
static const struct {
	const char *name, *why;
} protocol_absent[] = {
    {"formal_verification_enabled", "no prover is built in"},
    {"enable_epistemic_hygiene", "every prompt asks for assumptions, unknowns and confidence"},
    {"enable_process_evaluation", "votes are weighed by what is known of the voter only"},
    {"judge_termination", "agents say themselves when they are ready (early_stopping)"},
    {"enable_judge_deliberation", "one judge rules; ask for consensus hybrid to have a vote before"},
    {"checkpoint_each_round", "every step is journalled; it cannot be switched off"},
    {"thinking_budget", "models are asked with their own defaults"},
};

static const char *const protocol_judges[] = {
    [JUDGE_ELO_RANKED] = "elo_ranked", [JUDGE_CALIBRATED] = "calibrated", [JUDGE_LAST] = "last",
    [JUDGE_RANDOM] = "random",         [JUDGE_VOTED] = "voted",           [JUDGE_CRUX_AWARE] = "crux_aware"};

/* ---- what is usual ---- */

struct protocol protocol_before(void)
{
	return (struct protocol){.intensity = -1,
				 .sparsity_ppm = PROTOCOL_ONE / 2,
				 .convergence = true,
				 .converge_ppm = 850000,
				 .trickster = true,
				 .self_ppm = PROTOCOL_ONE / 2,
				 .group_ppm = 850000,
				 .quorum_ppm = PROTOCOL_ONE / 2,
				 .quorum_count = 2,
				 .rounds_min = 1};
}

/* debate.md 1.5 and the recommendations of 10.3; what costs calls or plays with agents' views has to be asked for. */
struct protocol protocol_usual(struct str format, int64_t rounds, size_t agents, bool demo)
{
	bool light = str_eqz(format, "light"), full = str_eqz(format, "full");
	struct protocol p = protocol_before();

	p.structured_rounds = !light;
	p.role_rotation = full;
	p.rotate_stances = true;
	p.distinct = !demo; /* demo agents share their texts, and are there to be seen */
	p.intensity = 5;
	p.early_stopping = true;
	p.stability = full;
	p.ready_ppm = light ? 700000 : full ? 950000 : 850000;
	p.rounds_min = rounds > 1 && !light ? rounds - 1 : 1;
	/* debate.md 1.5 has 0.8, 0.85 and 0.95 for shares of words; by TF-IDF slight revisions have 0.84 to 0.89. */
	p.converge_ppm = light ? 700000 : full ? 900000 : 750000;
	p.trickster = !light;
	p.novelty_ppm = light ? 0 : 200000; /* debate.md 1.7: 0.15 by counts */
	p.calibration = !light;
	p.position_shuffling = full && agents <= PROTOCOL_SHUFFLE_UP_TO;
	p.audience_ppm = PROTOCOL_ONE / 2;
	return p;
}

/* ---- reading a body ---- */

struct protocol_reader {
	protocol_problem_fn *problem;
	void *arg;
};

static void protocol_tell(const struct protocol_reader *r, const char *field, const char *fmt, ...) PRINTF_FMT(3, 4);

static void protocol_tell(const struct protocol_reader *r, const char *field, const char *fmt, ...)
{
	char text[200];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap); /* cut is fine: a sentence for people */
	va_end(ap);
	r->problem(r->arg, field, text);
}

static void protocol_put(struct protocol *p, const struct protocol_field *f, int64_t v)
{
	if (f->type == PROTOCOL_BOOL)
		*(bool *)((char *)p + f->at) = v != 0;
	else
		*(int64_t *)((char *)p + f->at) = v;
}

static int64_t protocol_get(const struct protocol *p, const struct protocol_field *f)
{
	if (f->type == PROTOCOL_BOOL)
		return *(const bool *)((const char *)p + f->at);
	return *(const int64_t *)((const char *)p + f->at);
}

static bool protocol_judge_find(const json_t *v, int64_t *kind)
{
	const char *name = json_string_value(v);
	size_t i;

	for (i = 0; name != NULL && i < countof(protocol_judges); i++)
		if (str_ieqz(str_of(name), protocol_judges[i])) {
			*kind = (int64_t)i;
			return true;
		}
	return false;
}

static void protocol_take(const struct protocol_reader *r, const struct protocol_field *f, const json_t *v,
			  struct protocol *p)
{
	double share = json_number_value(v) * PROTOCOL_ONE;
	int64_t kind;

	switch (f->type) {
	case PROTOCOL_BOOL:
		if (json_is_boolean(v))
			protocol_put(p, f, json_is_true(v));
		else
			protocol_tell(r, f->name, "must be true or false");
		break;
	case PROTOCOL_INT:
		if (json_is_integer(v) && json_integer_value(v) >= f->min && json_integer_value(v) <= f->max)
			protocol_put(p, f, json_integer_value(v));
		else
			protocol_tell(r, f->name, "must be a whole number from %lld to %lld", (long long)f->min,
				      (long long)f->max);
		break;
	case PROTOCOL_SHARE:
		if (json_is_number(v) && share >= (double)f->min && share <= (double)f->max)
			protocol_put(p, f, (int64_t)(share + 0.5));
		else
			protocol_tell(r, f->name, "must be a number from %g to %g", (double)f->min / PROTOCOL_ONE,
				      (double)f->max / PROTOCOL_ONE);
		break;
	case PROTOCOL_JUDGE:
		if (protocol_judge_find(v, &kind))
			protocol_put(p, f, kind);
		else
			protocol_tell(r, f->name,
				      "must be one of elo_ranked, calibrated, last, random, voted, crux_aware");
		break;
	}
}

static void protocol_near(struct str name, const char *known, unsigned *best, const char **near)
{
	unsigned d = str_distance(name, str_of(known));

	if (d < *best && d < name.n) {
		*best = d;
		*near = known;
	}
}

static void protocol_unknown(const struct protocol_reader *r, const char *name)
{
	unsigned best = PROTOCOL_HINT_DISTANCE + 1;
	const char *near = NULL;
	char field[80];
	size_t i;

	(void)snprintf(field, sizeof(field), "protocol.%s", name); /* cut is fine */
	for (i = 0; i < countof(protocol_absent); i++)
		if (strcmp(name, protocol_absent[i].name) == 0) {
			protocol_tell(r, field, "is not supported: %s", protocol_absent[i].why);
			return;
		}
	for (i = 0; i < countof(protocol_fields); i++)
		protocol_near(str_of(name), protocol_fields[i].name, &best, &near);
	for (i = 0; i < countof(protocol_others); i++)
		protocol_near(str_of(name), protocol_others[i], &best, &near);
	if (near != NULL)
		protocol_tell(r, field, "is no setting of a debate; did you mean %s?", near);
	else
		protocol_tell(r, field, "is no setting of a debate");
}

static bool protocol_known(const char *name)
{
	size_t i;

	for (i = 0; i < countof(protocol_fields); i++)
		if (strcmp(name, protocol_fields[i].name) == 0)
			return true;
	for (i = 0; i < countof(protocol_others); i++)
		if (strcmp(name, protocol_others[i]) == 0)
			return true;
	return false;
}

/* "vote_grouping": false is a threshold that nothing reaches. */
static void protocol_grouping(const struct protocol_reader *r, const json_t *v, struct protocol *p)
{
	if (v == NULL || json_is_null(v) || json_is_true(v))
		return;
	if (json_is_false(v))
		p->group_ppm = PROTOCOL_ONE + 1;
	else
		protocol_tell(r, "vote_grouping", "must be true or false");
}

static const json_t *protocol_member(const json_t *body, const char *key)
{
	const json_t *v = json_object_get(body, key);

	return v != NULL ? v : json_object_get(json_object_get(body, "protocol"), key);
}

void protocol_read(const json_t *body, int64_t rounds, struct protocol *p, protocol_problem_fn *problem, void *arg)
{
	const struct protocol_reader r = {problem, arg};
	const char *name;
	json_t *v;
	size_t i;

	for (i = 0; i < countof(protocol_fields); i++) {
		const json_t *member = protocol_member(body, protocol_fields[i].name);

		if (member != NULL && !json_is_null(member))
			protocol_take(&r, &protocol_fields[i], member, p);
	}
	protocol_grouping(&r, protocol_member(body, "vote_grouping"), p);
	if (p->rounds_min > rounds)
		p->rounds_min = rounds;
	json_object_foreach(json_object_get(body, "protocol"), name, v) if (!protocol_known(name))
	    protocol_unknown(&r, name);
}

/* ---- stored and read back ---- */

json_t *protocol_json(const struct protocol *p, int version)
{
	json_t *o = json_object();
	size_t i;

	for (i = 0; i < countof(protocol_fields); i++) {
		const struct protocol_field *f = &protocol_fields[i];

		if (f->since > version)
			continue;
		if (f->type == PROTOCOL_BOOL)
			json_object_set_new(o, f->name, json_boolean(protocol_get(p, f)));
		else
			json_put_int(o, f->name, protocol_get(p, f));
	}
	return o;
}

struct protocol protocol_decode(const json_t *o)
{
	struct protocol p = protocol_before();
	size_t i;

	for (i = 0; i < countof(protocol_fields); i++) {
		const json_t *v = json_object_get(o, protocol_fields[i].name);

		if (json_is_boolean(v) || json_is_integer(v))
			protocol_put(&p, &protocol_fields[i],
				     json_is_boolean(v) ? json_is_true(v) : json_integer_value(v));
	}
	return p;
}

json_t *protocol_view(const json_t *stored)
{
	json_t *o = json_object();
	size_t i;

	for (i = 0; i < countof(protocol_fields); i++) {
		const struct protocol_field *f = &protocol_fields[i];
		json_t *v = json_object_get(stored, f->name);

		if (f->type == PROTOCOL_SHARE && json_is_integer(v))
			json_object_set_new(o, f->name, json_real((double)json_integer_value(v) / PROTOCOL_ONE));
		else if (f->type == PROTOCOL_JUDGE && json_integer_value(v) >= 0 && json_integer_value(v) < JUDGE_KINDS)
			json_object_set_new(o, f->name, json_string(protocol_judges[json_integer_value(v)]));
		else if (v != NULL)
			json_object_set(o, f->name, v);
	}
	return o;
}
