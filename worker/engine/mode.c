/* SPDX-License-Identifier: MIT */
/*
 * The table of modes and the little arithmetic that goes with it. Used by the plan, the decision and the engine. Pure.
 */
#include "worker/engine/mode.h"

#define MODE_DEFAULT_PPM 600000 /* debate.md 1.1: consensus threshold 0.6 */
#define MODE_TWO_THIRDS_PPM 666667
#define MODE_RATING_MEAN 1500000 /* milli-points, debate.md 1.1: ELO_INITIAL */

static const struct mode modes[] = {
    {"majority", "the largest weighted share, 60 % by default", MODE_VOTE, .agents_min = 2},
    {"weighted", "majority, votes also weigh by rating", MODE_VOTE, .by_rating = true, .agents_min = 2},
    {"supermajority", "two thirds of the weight", MODE_VOTE, MODE_TWO_THIRDS_PPM, .agents_min = 2},
    {"unanimous", "every vote", MODE_VOTE, .unanimous = true, .agents_min = 2},
    {"semantic", "majority, answers of one meaning pool their votes", MODE_VOTE, .by_meaning = true, .agents_min = 2},
    {"any", "whoever leads", MODE_VOTE, .any = true, .agents_min = 2},
    {"byzantine", "2f + 1 of all, of which f may fail or lie", MODE_VOTE, .any = true, .faults = true, .agents_min = 4},
    {"judge", "one participant rules", MODE_JUDGE, .agents_min = 2},
    {"hybrid", "a vote, and a judge where it decides nothing", MODE_HYBRID, .agents_min = 2},
    {"none", "no decision", MODE_NONE, .agents_min = 2},
};

const struct mode *mode_find(struct str name)
{
	size_t i;

	for (i = 0; i < countof(modes); i++)
		if (str_ieqz(name, modes[i].name))
			return &modes[i];
	return NULL;
}

const char *mode_names(void)
{
	return "majority, weighted, supermajority, unanimous, semantic, any, byzantine, judge, hybrid, none";
}

int64_t mode_threshold(const struct mode *m, int64_t wanted_ppm)
{
	int64_t threshold = wanted_ppm > 0 ? wanted_ppm : MODE_DEFAULT_PPM;

	if (m->any)
		return 0;
	return threshold > m->threshold_ppm ? threshold : m->threshold_ppm;
}

struct consensus_rule mode_rule(const struct mode *m, const struct debate_plan *plan, int64_t threshold_ppm)
{
	return (struct consensus_rule){.threshold_ppm = threshold_ppm,
				       .unanimous = m->unanimous,
				       .heads_min = m->faults ? 2 * ((plan->agent_count - 1) / 3) + 1 : 0,
				       .quorum_ppm = plan->protocol.quorum_ppm,
				       .quorum_count = plan->protocol.quorum_count,
				       .by_margin = plan->version >= 3};
}

int64_t mode_rating_weight(int64_t elo_milli)
{
	int64_t weight = CONSENSUS_ONE + (elo_milli - MODE_RATING_MEAN) * 300000 / 500000;

	if (weight < CONSENSUS_ONE / 2)
		return CONSENSUS_ONE / 2;
	return weight > 2 * CONSENSUS_ONE ? 2 * CONSENSUS_ONE : weight;
}
