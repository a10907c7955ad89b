/* SPDX-License-Identifier: MIT */
/*
 * Tables of stances, cognitive roles and round goals with the words that agents get (debate.md 1.4, 2.1, 4.3). Called
 * by the prompts and the events. The words tell what to look at, never what to conclude: a stance is an office for one
 * round, and nobody votes by it.
 */
#include "worker/engine/role.h"

#define ROLE_ROTATING 4 /* of the table below, from its beginning */

static const struct {
	const char *name, *text;
} role_stances[] = {
    {"affirmative",
     "For this round you speak for the affirmative: put the strongest honest case in favour of what the task asks "
     "about or "
     "of its most obvious answer. Claim nothing that you believe to be false, and say where the case is weak."},
    {"negative",
     "For this round you speak for the negative: put the strongest honest case against what the task asks about or "
     "against its most obvious answer. Claim nothing that you believe to be false, and say where the case is weak."},
    {"neutral", "For this round you take no side: weigh the case for and the case against, and say which evidence "
		"would settle it."},
};

static const struct {
	const char *name, *text;
} role_table[] = {
    {"analyst",
     "In this round you are the analyst: take the matter apart, put figures where there are any, and separate "
     "what is known from what is assumed."},
    {"skeptic",
     "In this round you are the sceptic: look for the assumption nobody has tested and for the case in which "
     "it fails."},
    {"lateral_thinker", "In this round you are the lateral thinker: look for an option nobody has named, for another "
			"field that has solved this, for a step that can be left out."},
    {"synthesizer", "In this round you are the synthesizer: combine what is compatible, settle conflicts by evidence, "
		    "and name plainly what stays open."},
    {"advocate", "In this round you are the advocate: defend the best supported position against every objection that "
		 "has been raised."},
    {"devil_advocate", "In this round you are the devil's advocate: put the strongest honest case against the position "
		       "that seems to be winning."},
    {"quality_challenger",
     "In this round you are the challenger of quality: the positions agree, but what they offer for "
     "it is thin. Ask of every claim which source, figure or case carries it."},
};

enum { ROLE_SYNTHESIZER = 3, ROLE_CHALLENGER = 6 };

static const struct role_goal {
	const char *name, *critic, *reviser;
} role_goals[] = {
    {"critique", "Goal of this round: are the facts right, does the reasoning carry the position, and what is missing?",
     "Goal of this round: your final position, for the person who has to decide. Repair what was shown to be wrong or "
     "missing, and say under which condition you would decide otherwise."},
    {"analysis",
     "Goal of this round, analysis: go through the proposal part by part. Are the facts right, does the reasoning "
     "carry "
     "the position, and what is missing?",
     "Goal of this round, analysis: repair what was shown to be wrong or missing, and make your reasons checkable."},
    {"cross_examination",
     "Goal of this round, cross-examination: put the questions whose answers would decide the matter, each as an "
     "issue: "
     "the assumption most likely to be false, the case in which it fails, the figure nobody has given.",
     "Goal of this round, cross-examination: answer each question that was put, directly. Where you have no answer, "
     "say "
     "so, and what that means for your position."},
    {"final_position",
     "Goal of this round, the last check: name only what would change the decision; leave out what is a matter of "
     "taste.",
     "Goal of this round, your final position, for the person who has to decide: state what is settled, what remains "
     "open, and under which condition you would decide otherwise. Open no new side issue."},
};

enum { GOAL_CRITIQUE, GOAL_ANALYSIS, GOAL_CROSS, GOAL_FINAL };

static const struct role_goal *role_goal_of(const struct debate_plan *plan, int round)
{
	if (!plan->protocol.structured_rounds || round < 1)
		return NULL;
	if (plan->rounds == 1)
		return &role_goals[GOAL_CRITIQUE];
	if (round == 1)
		return &role_goals[GOAL_ANALYSIS];
	return &role_goals[round < plan->rounds ? GOAL_CROSS : GOAL_FINAL];
}

const char *role_goal(const struct debate_plan *plan, int round)
{
	const struct role_goal *goal = role_goal_of(plan, round);

	return goal != NULL ? goal->name : NULL;
}

/* (seat + round) mod 4; in the last round the first seat draws things together (debate.md 2.1). */
static const char *role_cognitive(const struct debate_plan *plan, size_t seat, int round, bool challenged)
{
	if (!plan->protocol.role_rotation)
		return NULL;
	if (round == plan->rounds && seat == 0)
		return role_table[ROLE_SYNTHESIZER].name;
	if (challenged && seat == 1)
		return role_table[ROLE_CHALLENGER].name;
	return role_table[(seat + (size_t)round) % ROLE_ROTATING].name;
}

struct role role_of(const struct debate_plan *plan, size_t seat, int round, bool challenged)
{
	size_t turn = seat + (plan->protocol.rotate_stances ? (size_t)round : 0);

	return (struct role){
	    .stance = plan->protocol.asymmetric_stances ? role_stances[turn % countof(role_stances)].name : NULL,
	    .role = role_cognitive(plan, seat, round, challenged),
	    .goal = role_goal(plan, round),
	};
}

void role_write(struct buf *b, const struct role *r)
{
	size_t i;

	for (i = 0; r->stance != NULL && i < countof(role_stances); i++)
		if (strcmp(r->stance, role_stances[i].name) == 0)
			buf_printf(b, "%s\n", role_stances[i].text);
	for (i = 0; r->role != NULL && i < countof(role_table); i++)
		if (strcmp(r->role, role_table[i].name) == 0)
			buf_printf(b, "%s\n", role_table[i].text);
}

void role_write_goal(struct buf *b, const struct role *r, enum role_for phase)
{
	size_t i;

	for (i = 0; r->goal != NULL && phase != ROLE_PROPOSE && i < countof(role_goals); i++)
		if (strcmp(r->goal, role_goals[i].name) == 0)
			buf_printf(b, "%s\n", phase == ROLE_CRITIQUE ? role_goals[i].critic : role_goals[i].reviser);
}

const char *role_intensity(int64_t intensity)
{
	static const struct {
		int64_t upto;
		const char *text;
	} bands[] = {
	    {1,
	     "- Assume that the critics are wrong until they have shown their point; contest what can be contested.\n"},
	    {3, "- Be sceptical of the critiques: take over only what you have checked yourself.\n"},
	    {6, "- Judge each critique on its merit, and take over what is right, wherever it comes from.\n"},
	    {8, "- Take over what is right, wherever it comes from, and look for common ground where it costs no "
		"truth.\n"},
	    {10, "- Integrate the critiques as far as they can be reconciled with what is true; look for the answer "
		 "that all "
		 "could sign.\n"},
	};
	size_t i = 0;

	if (intensity < 0)
		return "";
	while (i + 1 < countof(bands) && intensity > bands[i].upto)
		i++;
	return bands[i].text;
}
