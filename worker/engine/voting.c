/* SPDX-License-Identifier: MIT */
/*
 * The votes of a debate: how they are asked for, what each weighs, several ballots of one voter, and whose votes are
 * not needed any more. Called when the decision begins. Counts nothing but what it needs for that; decides nothing.
 */
#include "common/json.h"
#include "worker/engine/course.h"
#include "worker/engine/mode.h"
#include "worker/engine/parse.h"
#include "worker/engine/topology.h"
#include "worker/engine/weight.h"

#define VOTING_ORDERS 3        /* ballots of each voter where positions are shuffled */
#define VOTING_SURE_PPM 800000 /* debate.md 1.6: who is less sure is not ready */

/* Before engine 3 a vote for oneself counted half, and where ratings weigh, the rating. */
static int64_t voting_weight_before(const struct ask_call *c, const struct seat *chosen)
{
	int64_t weight = chosen == c->seat ? CONSENSUS_SELF_PPM : CONSENSUS_ONE;
	const json_t *elo = json_object_get(c->e->ratings, c->seat->name);

	if (!c->e->plan->mode->by_rating || elo == NULL)
		return weight;
	return weight * mode_rating_weight(json_integer_value(elo)) / CONSENSUS_ONE;
}

/*
 * How many hold the answer that is voted for, if the voter is one of them, else 0. Which of equal texts their authors
 * take is chance; before engine 4 a vote for the own one counted half all the same, and one for a twin in full.
 */
static size_t voting_holders(const struct ask_call *c, const struct seat *chosen)
{
	const struct engine *e = c->e;
	size_t i, n = 0;

	if (chosen != c->seat &&
	    !consensus_one_answer(e->memo, decision_measure(e->plan), chosen->position, c->seat->position))
		return 0;
	for (i = 0; i < e->n; i++)
		n += e->seats[i].in &&
		     (&e->seats[i] == chosen ||
		      consensus_one_answer(e->memo, decision_measure(e->plan), chosen->position, e->seats[i].position));
	return n;
}

static int64_t voting_weight(const struct ask_call *c, const struct seat *chosen, json_t *value)
{
	const struct debate_plan *plan = c->e->plan;
	json_t *factors;
	int64_t weight;

	if (plan->version < 3)
		return voting_weight_before(c, chosen);
	factors = json_object();
	weight = weight_of(&plan->protocol,
			   &(struct weight_vote){.holders = plan->version >= 4  ? voting_holders(c, chosen)
							    : chosen == c->seat ? 1
										: 0,
						 .length = str_utf8_length(chosen->text),
						 .known = plan->protocol.vote_weights || plan->mode->by_rating,
						 .standing = ask_standing(c->e, c->seat)},
			   factors);
	json_object_set_new(value, "factors", factors);
	return weight;
}

/* What the voter said, and what his record makes of it. */
static int64_t voting_sure(const struct ask_call *c, int64_t stated, json_t *value)
{
	int64_t sure = stated;

	if (c->e->plan->protocol.calibration)
		sure = weight_confidence(ask_standing(c->e, c->seat), stated);
	if (sure != stated)
		json_put_int(value, "stated_ppm", stated);
	return sure;
}

json_t *voting_choice(const struct ask_call *c, size_t choice, int64_t sure, struct str reasoning)
{
	const struct seat *chosen = c->ballot[choice];
	json_t *value = json_object();

	json_put_str(value, "choice", str_of(chosen->name));
	json_put_int(value, "confidence_ppm", voting_sure(c, sure, value));
	json_put_int(value, "weight_ppm", voting_weight(c, chosen, value));
	json_put_str(value, "reasoning", ask_revealed(c, reasoning));
	return value;
}

/* No readable choice: the step asks once more, then the vote is an abstention. It never goes to somebody by default. */
static json_t *voting_read_vote(struct step *s, void *arg, struct str text)
{
	const struct ask_call *c = arg;
	struct event_at at = ask_at(c->e, s, c->seat->name);
	struct parse_vote vote;
	json_t *value;

	if (!parse_vote(c->e->a, text, c->ballot_n, &vote))
		return NULL;
	value = voting_choice(c, vote.choice, vote.confidence_ppm, vote.reasoning);
	json_object_set_new(value, "continue_debate", json_boolean(vote.continue_debate));
	json_put_int(value, "at_ms", step_now_ms(s));
	if (!c->e->plan->protocol.position_shuffling) /* else the vote is what the ballots come to */
		event_vote(&at, value);
	return value;
}

static void voting_cast(struct engine *e, const struct ask_call *c)
{
	c->seat->vote = ask_value(c);
	result_vote(&e->result, str_of(c->seat->name), c->seat->vote);
}

static void voting_collect(struct engine *e, const struct ask_call *c)
{
	(void)e;
	json_array_append(c->seat->ballots, json_get_obj(c->result, "value"));
}

static void voting_ask_vote(struct engine *e, struct ask_phase *ph, struct seat *seat, int order)
{
	static const char *const purposes[VOTING_ORDERS] = {"vote", "vote 2", "vote 3"};
	struct prompt_turn turn = {.agent = seat->agent, .notes = e->notes};
	struct ask_ballot b;
	struct ask_call *c;
	struct prompt p;

	ask_ballot(e, seat, purposes[order], &b);
	prompt_vote(e->a, e->plan, &turn, b.items, b.n, &p);
	c = ask_add(ph, seat, NULL, &p, b.facts);
	c->ballot = b.seats;
	c->ballot_n = b.n;
	if (order > 0) {
		c->key = arena_printf(e->a, "%.*s.%d", STR_ARG(c->key), order + 1);
		c->step.target = arena_printf(e->a, "order%d", order + 1).p;
	}
}

/* ---- several ballots of one voter (debate.md 3.5, position shuffling) ---- */

/*
 * The choice of most ballots, then of the surest, then of the first; it is as sure as all ballots together make it: who
 * wavers with the order of the texts is not sure.
 */
static json_t *voting_merge(const json_t *ballots)
{
	int64_t most = 0, sum, best_sum = 0;
	size_t i, k, best = 0;
	json_t *vote;

	for (i = 0; i < json_array_size(ballots); i++) {
		struct str choice = json_get_str(json_array_get(ballots, i), "choice", STR(""));
		int64_t heads = 0;

		for (sum = 0, k = 0; k < json_array_size(ballots); k++)
			if (str_eq(choice, json_get_str(json_array_get(ballots, k), "choice", STR("")))) {
				heads++;
				sum += json_get_int(json_array_get(ballots, k), "confidence_ppm", 0);
			}
		if (heads > most || (heads == most && sum > best_sum)) {
			most = heads;
			best_sum = sum;
			best = i;
		}
	}
	vote = json_copy(json_array_get(ballots, best));
	json_put_int(vote, "confidence_ppm", best_sum / (int64_t)json_array_size(ballots));
	json_put_int(vote, "ballots", (int64_t)json_array_size(ballots));
	json_put_int(vote, "ballots_agreeing", most);
	return vote;
}

static json_t *voting_merge_step(struct step *s, void *arg)
{
	struct engine *e = arg;
	json_t *votes = json_object();
	size_t i;

	for (i = 0; i < e->n; i++) {
		struct event_at at = ask_at(e, s, e->seats[i].name);
		json_t *vote;

		if (json_array_size(e->seats[i].ballots) == 0)
			continue;
		vote = voting_merge(e->seats[i].ballots);
		event_vote(&at, vote);
		json_object_set_new(votes, e->seats[i].name, vote);
	}
	return votes;
}

CO_FN static bool voting_merge_all(struct engine *e)
{
	const json_t *votes;
	size_t i;

	if (!step_run(e->d, "vote.merge", voting_merge_step, e, &votes))
		return false;
	for (i = 0; i < e->n; i++) {
		e->seats[i].vote = json_get_obj(votes, e->seats[i].name);
		if (e->seats[i].vote != NULL)
			result_vote(&e->result, str_of(e->seats[i].name), e->seats[i].vote);
	}
	return true;
}

/* ---- collecting ---- */

/* One vote of each seat that is asked, or as many as there are orders; closed by the step `close`. */
CO_FN static bool voting_ask(struct engine *e, const bool *asked, int orders, const char *close)
{
	static const struct ask_kind kind = {"vote", 1024, 200000, false, voting_read_vote};
	struct ask_phase ph = ask_open(e, &kind, e->n * (size_t)orders);
	size_t i;
	int order;

	for (i = 0; i < e->n; i++) {
		if (!e->seats[i].in || !asked[i])
			continue;
		e->seats[i].ballots = json_own(e->a, json_array());
		for (order = 0; order < orders; order++)
			voting_ask_vote(e, &ph, &e->seats[i], order);
	}
	return ask_run(&ph, close, orders == 1 ? voting_cast : voting_collect);
}

/*
 * How many are asked first where the rest may be spared: as many as decide if all of them are of one mind and sure
 * (VOTING_SURE_PPM), and no fewer than the mode asks heads for. `voters`: all at once.
 */
static size_t voting_first(const struct engine *e, const struct mode *mode, size_t voters)
{
	struct consensus_rule rule;
	int64_t need, with;
	size_t first;

	/* Meanings are compared after the votes; all ballots of one voter make his vote. */
	if (mode == NULL || !e->plan->protocol.vote_early_stop || mode->unanimous || mode->by_meaning ||
	    e->plan->protocol.position_shuffling)
		return voters;
	rule = mode_rule(mode, e->plan, e->plan->threshold_ppm);
	need = rule.threshold_ppm > CONSENSUS_ONE / 2 ? rule.threshold_ppm : CONSENSUS_ONE / 2;
	for (first = 1; first < voters; first++) {
		with = (int64_t)first * VOTING_SURE_PPM;
		if (first >= rule.heads_min &&
		    with > need * (with + (int64_t)(voters - first) * CONSENSUS_ONE) / CONSENSUS_ONE)
			break;
	}
	return first;
}

struct voting_rest {
	struct engine *e;
	const struct mode *mode;
	struct decision_matter matter;
	const bool *asked;
};

/* What the votes of those who were not asked could weigh at most, each of them quite sure. */
static int64_t voting_open(const struct voting_rest *r)
{
	const struct engine *e = r->e;
	const struct protocol *p = &e->plan->protocol;
	json_t *factors = json_object();
	int64_t sum = 0;
	size_t i;

	for (i = 0; i < e->n; i++)
		if (e->seats[i].in && !r->asked[i])
			sum += decision_given_weight(
			    &r->matter, e->seats[i].name,
			    weight_of(p,
				      &(struct weight_vote){.known = p->vote_weights || r->mode->by_rating,
							    .standing = ask_standing(e, &e->seats[i])},
				      factors));
	json_decref(factors);
	return sum;
}

/* {decided, spared [agent]}: journalled, for it says whose votes the decision is made of. */
static json_t *voting_rest_step(struct step *s, void *arg)
{
	const struct voting_rest *r = arg;
	bool decided = decision_is_settled(&r->matter, r->mode, voting_open(r));
	json_t *spared = json_array();
	size_t i;

	(void)s;
	for (i = 0; decided && i < r->e->n; i++)
		if (r->e->seats[i].in && !r->asked[i])
			json_array_append_new(spared, json_string(r->e->seats[i].name));
	return json_pack("{s:b, s:o}", "decided", (int)decided, "spared", spared);
}

/*
 * In two waves. The calls of a wave go out side by side, and what was sent is paid for; so nothing is cancelled, but
 * the second wave is not sent where the first has decided. That saves its tokens and costs its wait where it has not,
 * which is why it has to be asked for.
 */
CO_FN static bool voting_in_waves(struct engine *e, const struct mode *mode, bool *asked)
{
	struct voting_rest rest = {.e = e, .mode = mode, .asked = asked};
	const json_t *value;
	size_t i;

	if (!voting_ask(e, asked, 1, "vote.first") || !deciding_so_far(e, mode, &rest.matter) ||
	    !step_run(e->d, "vote.rest", voting_rest_step, &rest, &value))
		return false;
	if (json_get_bool(value, "decided", false)) {
		e->spared = json_get_arr(value, "spared");
		return true;
	}
	for (i = 0; i < e->n; i++)
		asked[i] = !asked[i];
	return voting_ask(e, asked, 1, "vote.close");
}

CO_FN bool voting_run(struct engine *e, const struct mode *mode)
{
	size_t order[TOPOLOGY_SEATS_MAX], voters = 0, first, i, k;
	int orders = e->plan->protocol.position_shuffling ? VOTING_ORDERS : 1;
	bool asked[TOPOLOGY_SEATS_MAX] = {false};

	for (i = 0; i < e->n; i++)
		voters += e->seats[i].in;
	first = voting_first(e, mode, voters);
	topology_shuffle(e->plan->seed, STR(""), "vote", e->round, order, e->n);
	for (i = 0, k = 0; i < e->n; i++) {
		asked[order[i]] = e->seats[order[i]].in && k < first;
		k += asked[order[i]];
	}
	if (first < voters)
		return voting_in_waves(e, mode, asked);
	return voting_ask(e, asked, orders, "vote.close") && (orders == 1 || voting_merge_all(e));
}
