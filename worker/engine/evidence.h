/* SPDX-License-Identifier: MIT */
/*
 * How well is a text supported, and is an agreement hollow? Counts of marks of evidence in English prose, in parts per
 * million and without judgement of content: it can tell that nothing is offered, never that what is offered is true.
 */
#ifndef WORKER_ENGINE_EVIDENCE_H
#define WORKER_ENGINE_EVIDENCE_H

#include "common/str.h"

#define EVIDENCE_ONE 1000000

struct evidence {
	int64_t citation;    /* sources named for each claim */
	int64_t specificity; /* figures and examples against hedges; one half if there are neither */
	int64_t diversity;   /* of five kinds: source, figure, example, output or code, quotation */
	int64_t reasoning;   /* words that give reasons, one in a hundred is all that counts */
	int64_t quality;     /* mean of the four (debate.md 1.8) */
};

/* O(n) of at most 32 KiB of the text. */
struct evidence evidence_of(struct str text);

/*
 * How hollow is an agreement of n texts: 0 to 1. 0.4 (1 - mean / 0.4) + 0.3 variance / 0.3 + 0.2 of the texts that cite
 * next to nothing + 0.1 of those that are vague (debate.md 1.8); hollow above EVIDENCE_HOLLOW_PPM.
 */
int64_t evidence_hollowness(const struct evidence *v, size_t n);

#define EVIDENCE_HOLLOW_PPM 300000  /* agreement above this is challenged (debate.md 1.8) */
#define EVIDENCE_QUALITY_MIN 400000 /* mean quality below it adds to hollowness */
#define EVIDENCE_AGREE_PPM 700000   /* texts less alike than this are no agreement that could be hollow */
#define EVIDENCE_UNCITED_PPM 200000
#define EVIDENCE_VAGUE_PPM 300000
#define EVIDENCE_UNREASONED_PPM 500000 /* less than one word in two hundred gives a reason */

#endif
