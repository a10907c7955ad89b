/* SPDX-License-Identifier: MIT */
/*
 * Views of a debate that are derived from its result (rest-core 4.9): pure functions of the object that the API shows
 * and of the result document. Without a result (the debate runs, or failed before there was one) they say what is known
 * and leave the rest empty.
 */
#ifndef WORKER_EXPLAIN_VIEWS_H
#define WORKER_EXPLAIN_VIEWS_H

#include <jansson.h>

#include "common/arena.h"

/*
 * Members that the debate has for a view of what was recorded (explain_record in api.c): the list itself, envelopes of
 * events or rows of the ledger; the number of the event before it; whether the log is still there.
 */
#define EXPLAIN_RECORDED "recorded"
#define EXPLAIN_AFTER "recorded_after"
#define EXPLAIN_KEPT "recorded_kept"

struct explain_view {
	const char *name; /* last piece of its path */
	/* debate: of view_debate(); result: the document or NULL. New reference. For the cpu lane: may compare texts.
	 */
	json_t *(*make)(struct arena *a, const json_t *debate, const json_t *result);
};

/* NULL: there is none of that name. */
const struct explain_view *explain_view_find(const char *name);

/* Of the view of evidence: only what is at least so relevant (0 to 1), and of that at most so much, the best first. */
void view_evidence_cut(json_t *evidence, double relevance_min, size_t limit);

/* Of shape.c: texts, critiques and votes as a graph; its figures; figures of speech. As explain_view.make. */
json_t *view_graph(struct arena *a, const json_t *debate, const json_t *result);
json_t *view_graph_stats(struct arena *a, const json_t *debate, const json_t *result);
json_t *view_rhetorical(struct arena *a, const json_t *debate, const json_t *result);
/* Of log.c: the events in short, challenges to hollow agreement, each agent's reasons. As explain_view.make. */
json_t *view_timeline(struct arena *a, const json_t *debate, const json_t *result);
json_t *view_trickster(struct arena *a, const json_t *debate, const json_t *result);
json_t *view_reasoning(struct arena *a, const json_t *debate, const json_t *result);

#endif
