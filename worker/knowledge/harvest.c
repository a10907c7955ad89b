/* SPDX-License-Identifier: MIT */
/*
 * What a finished debate holds for the adapters (rest-wide 5.8): its decision and the dissent from it, points of
 * critique, well supported texts, changes of position. Pure functions of the result document. Called by outbox.c.
 */
#include "common/crypto.h"
#include "common/json.h"
#include "worker/engine/evidence.h"
#include "worker/knowledge/adapters.h"

#define HARVEST_TEXT_MAX 6000
#define HARVEST_ISSUES 5       /* points of critique of one debate */
#define HARVEST_SEVERE 500     /* thousandths: what is worth to be remembered */
#define HARVEST_QUALITY 700000 /* rest-wide 5.8, Evidence */

/* rest-wide 5.3: confidence levels. */
#define LEVEL_VERIFIED 950000
#define LEVEL_HIGH 850000
#define LEVEL_MEDIUM 700000
#define LEVEL_LOW 400000
#define LEVEL_UNVERIFIED 200000

static struct str harvest_id(const json_t *result)
{
	return json_get_str(result, "debate_id", STR(""));
}

static struct harvest_item *harvest_of_debate(struct harvest *h, const char *adapter, const json_t *result,
					      struct str key, struct str content, int64_t confidence_ppm)
{
	struct harvest_item *it = harvest_add(h, adapter_find(str_of(adapter)), key, content, confidence_ppm);

	if (it != NULL) {
		it->node.source_type = "debate";
		it->node.source_id = harvest_id(result);
		it->node.debate_id = harvest_id(result);
	}
	return it;
}

/* "How many shards?" and what comes behind it: both are to be found. */
static struct str harvest_text(struct arena *a, const json_t *result, const char *lead, struct str text)
{
	struct str task = str_utf8_cut(str_trim(json_get_str(result, "task", STR(""))), 1000);

	text = str_utf8_cut(str_trim(text), HARVEST_TEXT_MAX);
	return arena_printf(a, "%.*s\n\n%s%.*s", STR_ARG(task), lead, STR_ARG(text));
}

/* ---- consensus ---- */

static int64_t harvest_level(struct str strength)
{
	static const struct {
		const char *strength;
		int64_t ppm;
	} levels[] = {{"unanimous", LEVEL_VERIFIED},
		      {"strong", LEVEL_HIGH},
		      {"moderate", LEVEL_MEDIUM},
		      {"weak", LEVEL_LOW},
		      {"split", LEVEL_LOW}};
	size_t i;

	for (i = 0; i < countof(levels); i++)
		if (str_eqz(strength, levels[i].strength))
			return levels[i].ppm;
	return LEVEL_UNVERIFIED;
}

static void harvest_dissents(struct harvest *h, const json_t *result, size_t decision)
{
	const json_t *list = json_get_arr(result, "dissents"), *d;
	size_t i;

	json_array_foreach(list, i, d)
	{
		struct str view = json_get_str(d, "view", STR("")), agent = json_get_str(d, "agent", STR(""));
		struct harvest_item *it;

		if (str_trim(view).n == 0)
			continue;
		it = harvest_of_debate(h, "consensus", result,
				       arena_printf(h->arena, "dissent_%.*s_%zu", STR_ARG(harvest_id(result)), i),
				       harvest_text(h->arena, result, "Held against the decision: ", view), LEVEL_LOW);
		if (it == NULL)
			return;
		it->node.type = STR("claim");
		it->node.agent_id = agent;
		it->node.validation = STR("contested");
		it->parent = decision;
		it->relation = "contradicts";
	}
}

void harvest_consensus(struct harvest *h, const json_t *result)
{
	const json_t *c = json_get_obj(result, "consensus");
	struct str answer = json_get_str(result, "final_answer", STR(""));
	bool reached = json_get_bool(c, "reached", false);
	struct harvest_item *it;

	if (str_trim(answer).n == 0 || json_get_int(c, "confidence_ppm", 0) < adapter_find(STR("consensus"))->least_ppm)
		return;
	it = harvest_of_debate(h, "consensus", result, harvest_id(result), harvest_text(h->arena, result, "", answer),
			       reached ? harvest_level(json_get_str(c, "strength", STR(""))) : LEVEL_UNVERIFIED);
	if (it == NULL)
		return;
	it->node.type = STR("consensus");
	it->node.validation = !reached                                                   ? STR("contested")
			      : str_eqz(json_get_str(c, "method", STR("")), "byzantine") ? STR("byzantine_agreed")
											 : STR("majority_agreed");
	it->node.proof_id = harvest_id(result);
	harvest_dissents(h, result, h->n - 1);
}

/* ---- critique ---- */

/* The same point of critique is the same node in every debate: it is counted how those debates ended. */
void harvest_critique(struct harvest *h, const json_t *result)
{
	const json_t *critiques = json_get_arr(result, "critiques"), *c, *issue;
	bool reached = json_get_bool(json_get_obj(result, "consensus"), "reached", false);
	char hex[SHA256_HEX];
	size_t i, k, n = 0;

	json_array_foreach(critiques, i, c)
	{
		if (json_get_int(c, "severity_milli", 0) < HARVEST_SEVERE)
			continue;
		json_array_foreach(json_get_arr(c, "issues"), k, issue)
		{
			struct str text = str_utf8_cut(str_trim(str_of(json_string_value(issue))), 500);
			struct harvest_item *it;

			if (text.n == 0 || n == HARVEST_ISSUES)
				continue;
			crypto_sha256_hex(text, hex);
			it = harvest_of_debate(h, "critique", result, arena_printf(h->arena, "%.16s", hex),
					       arena_printf(h->arena, "Point of critique: %.*s", STR_ARG(text)),
					       LEVEL_LOW);
			if (it == NULL)
				return;
			it->node.type = STR("memory");
			it->outcome = reached ? 1 : -1;
			n++;
		}
	}
}

/* ---- evidence ---- */

void harvest_evidence(struct harvest *h, const json_t *result)
{
	json_t *proposals = json_get_obj(result, "proposals"), *text;
	const char *agent;

	json_object_foreach(proposals, agent, text)
	{
		struct str s = str_of(json_string_value(text));
		int64_t quality = evidence_of(s).quality;
		struct harvest_item *it;

		if (quality < HARVEST_QUALITY)
			continue;
		it = harvest_of_debate(h, "evidence", result,
				       arena_printf(h->arena, "%.*s_%s", STR_ARG(harvest_id(result)), agent),
				       harvest_text(h->arena, result, "Evidence: ", str_utf8_cut(s, 2000)),
				       quality >= 900000 ? LEVEL_VERIFIED : LEVEL_HIGH);
		if (it == NULL)
			return;
		it->node.type = STR("evidence");
		it->node.agent_id = str_of(agent);
		it->node.metadata = arena_printf(h->arena, "{\"quality\": %.3f}", (double)quality / EVIDENCE_ONE);
	}
}

/* ---- insights ---- */

/* All changes of position are kept (rest-wide 5.8, Insights). */
void harvest_insights(struct harvest *h, const json_t *result)
{
	const json_t *flips = json_get_arr(result, "flips"), *f;
	size_t i;

	json_array_foreach(flips, i, f)
	{
		struct str agent = json_get_str(f, "agent", STR(""));
		int64_t round = json_get_int(f, "round", 0);
		struct harvest_item *it = harvest_of_debate(
		    h, "insights", result, arena_printf(h->arena, "fl_%.*s_%zu", STR_ARG(harvest_id(result)), i),
		    harvest_text(h->arena, result, "",
				 arena_printf(h->arena, "%.*s changed its position in round %lld.", STR_ARG(agent),
					      (long long)round)),
		    LEVEL_MEDIUM);

		if (it == NULL)
			return;
		it->node.type = STR("insight");
		it->node.agent_id = agent;
	}
}
