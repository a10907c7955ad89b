/* SPDX-License-Identifier: MIT */
/*
 * What a person sees of a receipt, as tables: facts, sections, columns, and how values read. Used by both renderings
 * (markdown.c, html.c); knows neither's syntax.
 */
#include "worker/receipts/receipt_doc.h"

#include "common/clock.h"
#include "common/json.h"

const struct receipt_column receipt_facts[] = {
    {"Verdict", NULL, "verdict", SHOW_TEXT},
    {"Confidence", NULL, "confidence_ppm", SHOW_PPM},
    {"Robustness", NULL, "robustness_ppm", SHOW_PPM},
    {"Risk level", NULL, "risk_level", SHOW_TEXT},
    {"Method", "consensus_proof", "method", SHOW_TEXT},
    {"Winner", "consensus_proof", "winner", SHOW_TEXT},
    {"Share of votes", "consensus_proof", "share_ppm", SHOW_PPM},
    {"Weighted share", "consensus_proof", "weighted_share_ppm", SHOW_PPM},
    {"Needed share", "consensus_proof", "threshold_ppm", SHOW_PPM},
    {"Lead over the next", "consensus_proof", "margin_ppm", SHOW_PPM},
    {"In favour", "consensus_proof", "supporting_agents", SHOW_LIST},
    {"Against", "consensus_proof", "dissenting_agents", SHOW_LIST},
    {"Rounds used", NULL, "rounds_used", SHOW_INT},
    {"Running time", NULL, "duration_ms", SHOW_MS},
    {"Cost", "cost_summary", "cost_micro", SHOW_MICRO},
    {"Calls lost in a crash", NULL, "abandoned_calls", SHOW_INT},
};
const size_t receipt_facts_count = countof(receipt_facts);

static const struct receipt_column show_votes[] = {
    {"Agent", NULL, "agent", SHOW_TEXT},
    {"Voted for", NULL, "choice", SHOW_TEXT},
    {"Confidence", NULL, "confidence_ppm", SHOW_PPM},
    {"Weight", NULL, "weight_ppm", SHOW_PPM},
    {"Reasoning", NULL, "reasoning", SHOW_TEXT},
};
static const struct receipt_column show_dissents[] = {
    {"Agent", NULL, "agent", SHOW_TEXT},
    {"View", NULL, "view", SHOW_TEXT},
    {"Reasons", NULL, "reasons", SHOW_LIST},
};
static const struct receipt_column show_critiques[] = {
    {"Round", NULL, "round", SHOW_INT},         {"From", NULL, "agent", SHOW_TEXT},
    {"About", NULL, "target_agent", SHOW_TEXT}, {"Severity", NULL, "severity_milli", SHOW_TENTH},
    {"Issues", NULL, "issues", SHOW_LIST},
};
static const struct receipt_column show_findings[] = {
    {"Severity", NULL, "severity", SHOW_TEXT},
    {"Kind", NULL, "category", SHOW_TEXT},
    {"What speaks against the answer", NULL, "description", SHOW_TEXT},
    {"Suggested", NULL, "mitigation", SHOW_TEXT},
    {"Source", NULL, "source", SHOW_TEXT},
};
static const struct receipt_column show_agents[] = {
    {"Agent", NULL, "agent", SHOW_TEXT},          {"Provider", NULL, "provider", SHOW_TEXT},
    {"Model", NULL, "model", SHOW_TEXT},          {"Calls", NULL, "calls", SHOW_INT},
    {"Failures", NULL, "failures", SHOW_INT},     {"Tokens in", NULL, "tokens_in", SHOW_INT},
    {"Tokens out", NULL, "tokens_out", SHOW_INT}, {"Time", NULL, "ms", SHOW_MS},
    {"Cost", NULL, "cost_micro", SHOW_MICRO},
};
static const struct receipt_column show_chain[] = {
    {"#", NULL, "sequence", SHOW_INT},
    {"Time", NULL, "at_ms", SHOW_TIME},
    {"Round", NULL, "round", SHOW_INT},
    {"What", NULL, "event_type", SHOW_TEXT},
    {"Agent", NULL, "agent", SHOW_TEXT},
    {"Excerpt", NULL, "description", SHOW_TEXT},
    {"SHA-256", NULL, "content_sha256", SHOW_HASH},
};

const struct receipt_section receipt_sections[] = {
    {"Votes", "No votes were cast.", "votes", show_votes, countof(show_votes)},
    {"Dissent", "Nobody dissented.", "dissenting_views", show_dissents, countof(show_dissents)},
    {"Findings", NULL, "findings", show_findings, countof(show_findings)},
    {"Critiques", NULL, "critiques", show_critiques, countof(show_critiques)},
    {"Participants and cost", NULL, "agents", show_agents, countof(show_agents)},
    {"Timeline", NULL, "provenance_chain", show_chain, countof(show_chain)},
};
const size_t receipt_sections_count = countof(receipt_sections);

static void show_list(struct buf *out, const json_t *list)
{
	const json_t *e;
	size_t i;

	json_array_foreach(list, i, e)
	{
		buf_addz(out, i > 0 ? "; " : "");
		if (json_is_string(e))
			buf_add(out, (struct str){json_string_value(e), json_string_length(e)});
	}
}

static void show_text(struct buf *out, const json_t *v)
{
	if (json_is_string(v))
		buf_add(out, (struct str){json_string_value(v), json_string_length(v)});
}

void receipt_show(struct buf *out, const json_t *row, const struct receipt_column *c)
{
	const json_t *v = json_object_get(c->object != NULL ? json_object_get(row, c->object) : row, c->key);
	long long n = json_is_integer(v) ? (long long)json_integer_value(v) : 0;
	char iso[CLOCK_ISO_MAX];

	switch (c->kind) {
	case SHOW_LIST:
		show_list(out, v);
		break;
	case SHOW_INT:
		buf_printf(out, "%lld", n);
		break;
	case SHOW_PPM:
		buf_printf(out, "%.1f %%", (double)n / 1e4);
		break;
	case SHOW_MICRO:
		buf_printf(out, "$%.4f", (double)n / 1e6);
		break;
	case SHOW_MS:
		buf_printf(out, "%.1f s", (double)n / 1e3);
		break;
	case SHOW_TENTH:
		buf_printf(out, "%.1f of 10", (double)n / 1e3);
		break;
	case SHOW_TIME:
		buf_addz(out, n > 0 ? clock_iso(iso, n) : "");
		break;
	case SHOW_HASH:
		buf_add(out, str_sub(json_get_str(row, c->key, STR("")), 0, 16));
		break;
	case SHOW_TEXT:
	default:
		show_text(out, v);
		break;
	}
}

void receipt_explain(struct buf *out, const json_t *doc)
{
	const json_t *proof = json_get_obj(doc, "consensus_proof");
	struct str winner = json_get_str(proof, "winner", STR(""));
	long long rounds = (long long)json_get_int(doc, "rounds_used", 0);

	buf_printf(out, "%zu agents debated for %lld round%s. ", json_array_size(json_get_arr(doc, "agents")), rounds,
		   rounds == 1 ? "" : "s");
	if (json_get_bool(proof, "reached", false))
		buf_printf(out, "They reached consensus (%.*s): %zu for the answer%s%.*s, %zu against. ",
			   STR_ARG(json_get_str(proof, "method", STR(""))),
			   json_array_size(json_get_arr(proof, "supporting_agents")), winner.n > 0 ? " of " : "",
			   STR_ARG(winner), json_array_size(json_get_arr(proof, "dissenting_agents")));
	else
		buf_addz(out, "They did not reach consensus. ");
	buf_add(out, json_get_str(doc, "verdict_reasoning", STR("")));
}
