/* SPDX-License-Identifier: MIT */
/*
 * What earlier debates and stored knowledge give a new debate: one journalled step asks a table of sources and keeps
 * the best of what they find within a budget of bytes. An area joins by one row of the table in background.c.
 */
#ifndef WORKER_RUNNER_BACKGROUND_H
#define WORKER_RUNNER_BACKGROUND_H

#include <jansson.h>

#include "common/arena.h"
#include "common/context.h"
#include "common/err.h"
#include "worker/engine/step.h"

struct worker;

#define BACKGROUND_TEXT_MAX 2000 /* bytes of one item that reach a prompt */
#define BACKGROUND_TITLE_MAX 200
#define BACKGROUND_COUNT_MAX 100
#define BACKGROUND_SAME_PPM 800000 /* likeness of two pieces that say the same */

struct background_item {
	struct str source; /* "consensus", "continuum", "knowledge"; set by background.c */
	struct str id;     /* of the source: so that a result can say where something came from */
	struct str title, text;
	bool trusted;      /* checked by more than the debate or person it came from */
	bool dissent;      /* what was held against a decision */
	int64_t score_ppm; /* 0 to 1000000: how well it fits the task */
};

struct background_source {
	const char *name;
	/*
	 * Finds what fits the task, of this workspace or shared with it. *items in the arena, best first. False: left
	 * out, and logged. May wait; its scope ends after BACKGROUND_LIMIT_US.
	 */
	CO_FN bool (*gather)(struct worker *w, struct arena *a, const struct context *ctx, struct str task,
			     struct background_item **items, size_t *n, struct error *err);
};

#define BACKGROUND_LIMIT_US (2 * SEC_US)

/*
 * What a debate of this task would be given now: [{label, source, id, title, text, dissent, trusted, taint?,
 * score_ppm}]. The coroutine's tenant is the one of *ctx. Ends early once *stop is set (NULL: never). New; may wait.
 */
CO_FN json_t *background_find(struct worker *w, const struct context *ctx, struct str task,
			      const enum debate_stop *stop);

/*
 * Of n items at most `count` with at most `bytes` of title and text together: by score, then source, then id. What does
 * not fit is passed over, and what says the same as one that is in: two sources may know of one debate. Sorts `items`;
 * returns how many stand in front. Pure; the arena is for the comparison.
 */
size_t background_choose(struct arena *a, struct background_item *items, size_t n, size_t count, size_t bytes);

#endif
