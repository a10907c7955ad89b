/* SPDX-License-Identifier: MIT */
/*
 * The planted defects of defects.h. Linked into the evaluation only, with --wrap for each function here.
 */
#include "tests/eval/defects.h"

#include "worker/engine/consensus.h"
#include "worker/engine/similarity.h"
#include "worker/engine/topology.h"

enum defect defect_planted;

const char *defect_about(enum defect d)
{
	static const char *const texts[DEFECT_MAX] = {"none",
						      "votes for equal answers are not pooled",
						      "answers with most words in common are one",
						      "length counts in votes",
						      "confidence does not count",
						      "votes for oneself count in full",
						      "the threshold is ignored",
						      "all readers see one order"};

	return texts[d];
}

int64_t __real_similarity_alike(enum similarity_measure how, const struct similarity_vector *x,
				const struct similarity_vector *y);
int64_t __wrap_similarity_alike(enum similarity_measure how, const struct similarity_vector *x,
				const struct similarity_vector *y);
int64_t __wrap_similarity_alike(enum similarity_measure how, const struct similarity_vector *x,
				const struct similarity_vector *y)
{
	return defect_planted == DEFECT_UNGROUPED ? 0 : __real_similarity_alike(how, x, y);
}

bool __real_similarity_other_answer(struct str x, struct str y);
bool __wrap_similarity_other_answer(struct str x, struct str y);
bool __wrap_similarity_other_answer(struct str x, struct str y)
{
	return defect_planted != DEFECT_POOLED && __real_similarity_other_answer(x, y);
}

void __real_consensus_count(const struct consensus_proposal *p, size_t n, const struct consensus_vote *v, size_t voters,
			    const struct consensus_rule *rule, struct consensus_tally *out);
void __wrap_consensus_count(const struct consensus_proposal *p, size_t n, const struct consensus_vote *v, size_t voters,
			    const struct consensus_rule *rule, struct consensus_tally *out);
void __wrap_consensus_count(const struct consensus_proposal *p, size_t n, const struct consensus_vote *v, size_t voters,
			    const struct consensus_rule *rule, struct consensus_tally *out)
{
	struct consensus_vote votes[CONSENSUS_MAX];
	struct consensus_rule lax = *rule;
	size_t i;

	BUG_ON(voters > CONSENSUS_MAX);
	for (i = 0; i < voters; i++) {
		votes[i] = v[i];
		if (!v[i].valid)
			continue;
		if (defect_planted == DEFECT_LENGTH)
			votes[i].weight_ppm = v[i].weight_ppm * (int64_t)p[v[i].choice].text.n / 2000;
		if (defect_planted == DEFECT_HEADS)
			votes[i].confidence_ppm = CONSENSUS_ONE;
		if (defect_planted == DEFECT_SELF)
			votes[i].weight_ppm = CONSENSUS_ONE;
	}
	if (defect_planted == DEFECT_ALWAYS)
		lax = (struct consensus_rule){0};
	__real_consensus_count(p, n, votes, voters, &lax, out);
}

void __real_topology_shuffle(uint64_t seed, struct str reader, const char *purpose, int round, size_t *order, size_t n);
void __wrap_topology_shuffle(uint64_t seed, struct str reader, const char *purpose, int round, size_t *order, size_t n);
void __wrap_topology_shuffle(uint64_t seed, struct str reader, const char *purpose, int round, size_t *order, size_t n)
{
	size_t i;

	__real_topology_shuffle(seed, reader, purpose, round, order, n);
	for (i = 0; i < n && defect_planted == DEFECT_ORDER; i++)
		order[i] = i;
}
