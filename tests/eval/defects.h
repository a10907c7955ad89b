/* SPDX-License-Identifier: MIT */
/*
 * Planted defects: the linker leads calls of some of the engine's functions through here (--wrap), so that it can be
 * shown that a check fails when the engine is broken.
 */
#ifndef TESTS_EVAL_DEFECTS_H
#define TESTS_EVAL_DEFECTS_H

#include <stdbool.h>

enum defect {
	DEFECT_NONE,
	DEFECT_UNGROUPED, /* no two proposals are ever the same answer */
	DEFECT_POOLED,    /* positions with most words in common are one answer */
	DEFECT_LENGTH,    /* longer proposals get more out of a vote */
	DEFECT_HEADS,     /* confidence does not count */
	DEFECT_SELF,      /* a vote for oneself counts in full */
	DEFECT_ALWAYS,    /* a decision is called a consensus whatever the threshold says */
	DEFECT_ORDER,     /* all readers see the proposals in the same order */
	DEFECT_MAX
};

extern enum defect defect_planted;
const char *defect_about(enum defect d);

#endif
