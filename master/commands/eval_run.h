/* SPDX-License-Identifier: MIT */
/*
 * The running of an evaluation: its arms on its questions, several questions side by side, within a budget.
 */
#ifndef MASTER_COMMANDS_EVAL_RUN_H
#define MASTER_COMMANDS_EVAL_RUN_H

#include "common/conf.h"
#include "master/commands/eval_dataset.h"
#include "master/commands/eval_store.h"
#include "worker/agents/agent.h"

#define EVAL_ARMS_MAX 24
#define EVAL_NAME_MAX 64
#define EVAL_SAMPLES_MAX 64
#define EVAL_CONCURRENCY_MAX 64

enum eval_way {
	EVAL_WAY_SINGLE,  /* one draft of one agent */
	EVAL_WAY_SAMPLES, /* k drafts of the first agent, the answer that most give */
	EVAL_WAY_DEBATE
};

struct eval_arm {
	char name[EVAL_NAME_MAX];
	enum eval_way way;
	size_t agent;          /* SINGLE */
	size_t samples;        /* SAMPLES */
	int rounds;            /* DEBATE; 0: drafts and vote */
	const char *consensus; /* DEBATE; NULL: the configured one */
};

struct eval_plan {
	const struct conf *conf;
	const struct eval_question *questions;
	size_t question_count;
	const json_t *wanted;            /* agents as they were asked for: the member of a creation body */
	const struct agent_spec *agents; /* and what they come to */
	size_t agent_count;
	const struct eval_arm *arms;
	size_t arm_count;
	int64_t budget_micro; /* of the whole evaluation, what is in the store included; 0: no limit */
	size_t concurrency;
	struct eval_store *store;
	bool quiet; /* no progress on standard error */
};

enum eval_end {
	EVAL_DONE,
	EVAL_POOR,  /* the budget is used up */
	EVAL_SICK,  /* agents do not answer */
	EVAL_BROKEN /* the store cannot be written, or a plan is refused */
};

/*
 * "single,vote,debate-2,judge-1,self-consistency@9" into arms. "single" gives one for each agent. False with err, which
 * names the word that is wrong.
 */
bool eval_arms_parse(struct arena *a, struct str text, const struct agent_spec *agents, size_t n,
		     struct eval_arm out[EVAL_ARMS_MAX], size_t *count, struct error *err) MUST_CHECK;
/* Runs what the store does not have yet. *why says in a sentence why it ended early. */
enum eval_end eval_run(const struct eval_plan *p, struct buf *why);

#endif
