/* SPDX-License-Identifier: MIT */
/*
 * Grouping of proposals and counting of votes. Called by the engine's deciding step. Does not ask, weigh reputations or
 * add bonuses: a share is always a part of what was cast, so no confidence can exceed one.
 */
#include "worker/engine/consensus.h"

bool consensus_one_answer(struct similarity_memo *memo, enum similarity_measure how, struct str x, struct str y)
{
	int64_t least = how == SIMILARITY_TFIDF ? CONSENSUS_POSITION_TFIDF_PPM : CONSENSUS_POSITION_PPM;

	return similarity_alike(how, similarity_memo_vector(memo, x), similarity_memo_vector(memo, y)) >= least &&
	       !similarity_contradicts(x, y) && !similarity_other_answer(x, y);
}

bool consensus_same_position(struct str x, struct str y)
{
	struct arena *a = arena_new(0);
	bool same = consensus_one_answer(similarity_memo_new(a), SIMILARITY_TFIDF, x, y);

	arena_free(a);
	return same;
}

static bool consensus_one_position(const struct consensus_proposal *p, size_t n, size_t k, size_t i,
				   struct similarity_memo *memo, const struct consensus_sameness *same)
{
	struct str x = p[k].position, y = p[i].position;

	if (same->alike == NULL)
		return consensus_one_answer(memo, same->how, x, y);
	return same->alike[k * n + i] >= same->text_ppm && !similarity_contradicts(x, y) &&
	       !similarity_other_answer(x, y);
}

void consensus_group(struct arena *a, struct consensus_proposal *p, size_t n, const struct consensus_sameness *same)
{
	struct similarity_memo *memo = same->memo != NULL ? same->memo : similarity_memo_new(a);
	struct similarity_set *texts = similarity_set_new(a, same->how, n);
	size_t i, k;

	BUG_ON(n > CONSENSUS_MAX);
	for (i = 0; i < n && !same->by_meaning; i++)
		(void)similarity_set_add(texts, similarity_memo_vector(memo, p[i].text));
	for (i = 0; i < n; i++) {
		p[i].group = i;
		for (k = 0; k < i && p[i].group == i && same->text_ppm <= CONSENSUS_ONE; k++)
			if (p[k].group == k &&
			    (same->by_meaning || similarity_set_alike(texts, k, i) >= same->text_ppm) &&
			    consensus_one_position(p, n, k, i, memo, same))
				p[i].group = k;
	}
}

/* What a proposal or a group has going for it, most important first. */
struct consensus_merit {
	int64_t weight, confidence, severity;
	int64_t elo, heads; /* of its voters: sum and number */
	struct str name;
};

static int consensus_compare_names(struct str a, struct str b)
{
	int c = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);

	return c != 0 ? c : (a.n > b.n) - (a.n < b.n);
}

static bool consensus_better(const struct consensus_merit *x, const struct consensus_merit *y)
{
	if (x->weight != y->weight)
		return x->weight > y->weight;
	if (x->confidence != y->confidence)
		return x->confidence > y->confidence;
	if (x->elo * y->heads != y->elo * x->heads)
		return x->elo * y->heads > y->elo * x->heads;
	if (x->severity != y->severity)
		return x->severity < y->severity;
	return consensus_compare_names(x->name, y->name) < 0;
}

static void consensus_add(struct consensus_merit *m, const struct consensus_vote *v)
{
	m->weight += v->weight_ppm * v->confidence_ppm / CONSENSUS_ONE;
	if (v->person)
		return;
	m->confidence += v->confidence_ppm;
	m->elo += v->elo_milli;
	m->heads++;
}

/* Merits of single proposals; those of a group stand at its first member in groups[], with its mildest criticism. */
static void consensus_merits(const struct consensus_proposal *p, size_t n, const struct consensus_vote *v,
			     size_t voters, struct consensus_merit *singles, struct consensus_merit *groups,
			     struct consensus_tally *t)
{
	size_t i;

	for (i = 0; i < n; i++) {
		singles[i] = groups[i] = (struct consensus_merit){.severity = p[i].severity_milli, .name = p[i].name};
		if (p[i].severity_milli < groups[p[i].group].severity)
			groups[p[i].group].severity = p[i].severity_milli;
	}
	for (i = 0; i < voters; i++) {
		if (!v[i].valid)
			continue;
		BUG_ON(v[i].choice >= n);
		t->valid += !v[i].person;
		t->heads[p[v[i].choice].group] += !v[i].person;
		consensus_add(&singles[v[i].choice], &v[i]);
		consensus_add(&groups[p[v[i].choice].group], &v[i]);
	}
	for (i = 0; i < n; i++)
		t->weight_ppm[i] = groups[i].weight;
}

static void consensus_win(const struct consensus_proposal *p, size_t n, const struct consensus_merit *singles,
			  const struct consensus_merit *groups, struct consensus_tally *t)
{
	size_t i;

	t->group = 0;
	for (i = 1; i < n; i++)
		if (p[i].group == i && consensus_better(&groups[i], &groups[t->group]))
			t->group = i;
	t->winner = t->group;
	for (i = 0; i < n; i++)
		if (p[i].group == t->group && consensus_better(&singles[i], &singles[t->winner]))
			t->winner = i;
}

struct consensus_band {
	int64_t from;
	const char *name;
};

static const char *consensus_band(const struct consensus_band *bands, int64_t v)
{
	while (v < bands->from)
		bands++;
	return bands->name;
}

const char *consensus_strength(int64_t weighted_share_ppm, bool all_agree)
{
	static const struct consensus_band bands[] = {
	    {800000, "strong"}, {600000, "moderate"}, {500000, "weak"}, {INT64_MIN, "split"}};

	return all_agree ? "unanimous" : consensus_band(bands, weighted_share_ppm);
}

const char *consensus_strength_of_margin(int64_t margin_ppm, bool all_agree)
{
	static const struct consensus_band bands[] = {
	    {600000, "strong"}, {200000, "moderate"}, {1, "weak"}, {INT64_MIN, "split"}};

	return all_agree ? "unanimous" : consensus_band(bands, margin_ppm);
}

/* Of those who could vote, min(max(count, share of them), all). */
static int64_t consensus_quorum(const struct consensus_rule *rule, int64_t voters)
{
	int64_t need = (voters * rule->quorum_ppm + CONSENSUS_ONE - 1) / CONSENSUS_ONE;

	if (need < rule->quorum_count)
		need = rule->quorum_count;
	return need < voters ? need : voters;
}

void consensus_count(const struct consensus_proposal *p, size_t n, const struct consensus_vote *v, size_t voters,
		     const struct consensus_rule *rule, struct consensus_tally *out)
{
	struct consensus_merit singles[CONSENSUS_MAX], groups[CONSENSUS_MAX];
	int64_t total = 0, second = 0, persons = 0;
	bool all, elsewhere = false;
	size_t i;

	BUG_ON(n == 0 || n > CONSENSUS_MAX);
	*out = (struct consensus_tally){0};
	consensus_merits(p, n, v, voters, singles, groups, out);
	consensus_win(p, n, singles, groups, out);
	for (i = 0; i < n; i++) {
		total += groups[i].weight;
		if (p[i].group == i && i != out->group && groups[i].weight > second)
			second = groups[i].weight;
	}
	for (i = 0; i < voters; i++) {
		persons += v[i].person;
		elsewhere |= v[i].valid && v[i].person && p[v[i].choice].group != out->group;
	}
	all = out->valid > 0 && out->heads[out->group] == out->valid && !elsewhere;
	if (out->valid > 0)
		out->share_ppm = (int64_t)out->heads[out->group] * CONSENSUS_ONE / (int64_t)out->valid;
	if (total > 0) {
		out->weighted_share_ppm = groups[out->group].weight * CONSENSUS_ONE / total;
		out->margin_ppm = (groups[out->group].weight - second) * CONSENSUS_ONE / total;
	}
	out->quorum = out->valid > 0 && (int64_t)out->valid >= consensus_quorum(rule, (int64_t)voters - persons);
	out->reached = out->quorum && total > 0 && out->heads[out->group] >= rule->heads_min &&
		       (rule->unanimous ? all : out->weighted_share_ppm >= rule->threshold_ppm);
	out->strength = rule->by_margin ? consensus_strength_of_margin(out->margin_ppm, all)
					: consensus_strength(out->weighted_share_ppm, all);
}
