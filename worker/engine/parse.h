/* SPDX-License-Identifier: MIT */
/*
 * Reading what a model wrote: labelled lines (CHOICE: P2) or JSON, any case, with the decoration models like to add.
 * Pure; one pass over the text per field, O(n), so hostile text of any size within AGENT_OUTPUT_MAX is cheap.
 */
#ifndef WORKER_ENGINE_PARSE_H
#define WORKER_ENGINE_PARSE_H

#include <jansson.h>

#include "common/arena.h"

#define PARSE_LIST_MAX 5    /* issues or suggestions kept of one critique */
#define PARSE_ITEM_MAX 1000 /* bytes of one of them */
#define PARSE_REASON_MAX 2000
#define PARSE_POSITION_MAX 400
#define PARSE_CONFIDENCE_DEFAULT 500000

/* "0.85", ".85", "85%", "85", "8/10": parts per million, clamped to 0 … 1,000,000. False if there is no number. */
bool parse_confidence(struct str s, int64_t *ppm);
/* "P2", "**Proposal 2**", "#2.", "2": index from 0. False if it names none of the n, or more than one. */
bool parse_label(struct str s, size_t n, size_t *index);

/* The position of a proposal: what stands behind "POSITION:", else its first line that has words. At most
 * PARSE_POSITION_MAX bytes. */
struct str parse_position(struct str text);
/* Confidence that a proposal states about itself, if it does. */
bool parse_stated_confidence(struct str text, int64_t *ppm);

/* "READY: yes"? False also if nothing is said. */
bool parse_ready(struct str text);
/* The text without closing lines that say READY or CONFIDENCE. */
struct str parse_body(struct str text);

struct parse_vote {
	size_t choice;
	int64_t confidence_ppm;
	bool continue_debate;
	struct str reasoning;
};
/* False: no valid choice among P1 … Pn. */
bool parse_vote(struct arena *a, struct str text, size_t n, struct parse_vote *out);

struct parse_critique {
	json_t *issues, *suggestions; /* arrays of strings; of the arena */
	int64_t severity_milli;       /* 0 … 10,000 */
	struct str reasoning;
};
/* Always finds something: a text without any structure is one issue of middle severity. */
void parse_critique(struct arena *a, struct str text, struct parse_critique *out);

struct parse_judge {
	size_t winner;
	int64_t confidence_ppm;
	struct str reasoning, unresolved, answer;
};
/* False: no valid winner. */
bool parse_judge(struct arena *a, struct str text, size_t n, struct parse_judge *out);

#endif
