/* SPDX-License-Identifier: MIT */
/*
 * Rendering of debates for the API and the exports. Pure: rows and result documents in, JSON out.
 */
#include "worker/debate/view.h"

#include "common/clock.h"
#include "common/json.h"
#include "worker/debate/report.h"
#include "worker/engine/documents.h"

static const struct {
	const char *stored, *shown;
} view_words[] = {{"queued", "created"},      {"timeout", "failed"}, {"running", "running"},
		  {"completed", "completed"}, {"failed", "failed"},  {"cancelled", "cancelled"}};

const char *view_status_word(const struct debate_row *row)
{
	size_t i;

	if (row->archived != 0)
		return "archived";
	if (debate_is_paused(row))
		return "paused";
	for (i = 0; i < countof(view_words); i++)
		if (str_eqz(row->status, view_words[i].stored))
			return view_words[i].shown;
	return "failed";
}

static void view_real(json_t *o, const char *key, double v)
{
	json_object_set_new(o, key, json_real(v));
}

static void view_text(json_t *o, const char *key, struct str s)
{
	json_object_set_new(o, key, s.p != NULL ? json_str(s) : json_null());
}

/* ---- integers of hashed documents to what people read ---- */

static const struct {
	const char *suffix;
	double scale;
	const char *as;
} view_units[] = {{"_ppm", 1e6, ""}, {"_milli", 1e3, ""}, {"_micro", 1e6, "_usd"}};

/* "share_ppm": 677000 gains "share": 0.677, at any depth (the documents are shallow and bounded). */
void view_floats(json_t *doc)
{
	const char *key;
	json_t *v;
	void *next;
	size_t i, n;

	if (json_is_array(doc)) {
		for (i = 0; i < json_array_size(doc); i++)
			view_floats(json_array_get(doc, i));
		return;
	}
	if (!json_is_object(doc))
		return;
	json_object_foreach_safe(doc, next, key, v)
	{
		char name[128];

		view_floats(v);
		for (i = 0; i < countof(view_units) && json_is_integer(v); i++) {
			n = strlen(key) -
			    (str_ends(str_of(key), str_of(view_units[i].suffix)) ? strlen(view_units[i].suffix) : 0);
			if (n == strlen(key) || n + 8 > sizeof(name))
				continue;
			(void)snprintf(name, sizeof(name), "%.*s%s", (int)n, key, view_units[i].as);
			view_real(doc, name, (double)json_integer_value(v) / view_units[i].scale);
			break;
		}
	}
}

/* ---- parts of a result ---- */

static void view_stamp(json_t *o, const json_t *from)
{
	char iso[CLOCK_ISO_MAX];
	int64_t ms = json_get_int(from, "at_ms", 0);

	if (ms != 0)
		json_object_set_new(o, "timestamp", json_string(clock_iso(iso, ms)));
}

json_t *view_messages(const json_t *result)
{
	const json_t *in = json_get_arr(result, "messages");
	json_t *out = json_array();
	size_t i;

	for (i = 0; i < json_array_size(in); i++) {
		json_t *m = json_copy(json_array_get(in, i));

		json_put_int(m, "index", (int64_t)i);
		json_object_set(m, "agent_id", json_object_get(m, "agent"));
		json_put_str(m, "kind", json_get_int(m, "round", 0) == 0 ? STR("proposal") : STR("revision"));
		view_stamp(m, m);
		json_array_append_new(out, m);
	}
	return out;
}

/* The messages of each round, for clients that show rounds. */
static json_t *view_rounds(const json_t *messages, int64_t used)
{
	json_t *rounds = json_array();
	int64_t r;
	size_t i;

	for (r = 0; r <= used; r++) {
		json_t *list = json_array();

		for (i = 0; i < json_array_size(messages); i++)
			if (json_get_int(json_array_get(messages, i), "round", 0) == r)
				json_array_append(list, json_array_get(messages, i));
		json_array_append_new(rounds, json_pack("{s:I, s:o}", "round_number", (json_int_t)r, "messages", list));
	}
	return rounds;
}

void view_said(json_t *debate, json_t *messages, int64_t rounds)
{
	json_object_set_new(debate, "rounds", view_rounds(messages, rounds));
	json_object_set_new(debate, "messages", messages);
}

/* Each vote to the round after which it was cast. */
static void view_round_votes(json_t *rounds, const json_t *votes)
{
	size_t i, k;
	json_t *v, *r;

	json_array_foreach(votes, i, v) json_array_foreach(rounds, k, r)
	{
		if (json_get_int(r, "round_number", -1) != json_get_int(v, "round", 0))
			continue;
		if (json_get_arr(r, "votes") == NULL)
			json_object_set_new(r, "votes", json_array());
		json_array_append(json_get_arr(r, "votes"), v);
	}
}

/* Old and new names side by side. */
static json_t *view_critiques(const json_t *result)
{
	json_t *list = json_deep_copy(json_get_arr(result, "critiques"));
	size_t i;

	if (list == NULL)
		return json_array();
	view_floats(list);
	for (i = 0; i < json_array_size(list); i++) {
		json_t *c = json_array_get(list, i);

		json_object_set(c, "critic", json_object_get(c, "agent"));
		json_object_set(c, "target", json_object_get(c, "target_agent"));
		json_object_set(c, "summary", json_object_get(c, "reasoning"));
		view_stamp(c, c);
	}
	return list;
}

/* All votes are cast after the last round. */
static json_t *view_votes(const json_t *result)
{
	json_t *list = json_deep_copy(json_get_arr(result, "votes"));
	size_t i;

	if (list == NULL)
		return json_array();
	view_floats(list);
	for (i = 0; i < json_array_size(list); i++) {
		json_t *v = json_array_get(list, i);

		json_object_set(v, "voter", json_object_get(v, "agent"));
		json_object_set(v, "reason", json_object_get(v, "reasoning"));
		json_object_set(v, "round", json_object_get(result, "rounds_used"));
		view_stamp(v, v);
	}
	return list;
}

static json_t *view_consensus(const json_t *result, const struct debate_row *row)
{
	json_t *c = json_deep_copy(json_get_obj(result, "consensus"));

	if (c == NULL)
		c = json_object();
	view_floats(c);
	json_object_set_new(c, "reached", json_boolean(row->consensus_reached != 0));
	view_real(c, "confidence", (double)row->confidence_ppm / 1e6);
	view_real(c, "agreement", json_get_num(c, "share", 0));
	view_text(c, "final_answer", row->final_answer);
	view_text(c, "conclusion", row->final_answer);
	return c;
}

/* The consensus once more, with who got how many votes. */
static json_t *view_proof(const json_t *result, const struct debate_row *row)
{
	const json_t *votes = json_get_arr(result, "votes");
	json_t *proof = view_consensus(result, row), *counts = json_object();
	size_t i;

	for (i = 0; i < json_array_size(votes); i++) {
		struct str choice = json_get_str(json_array_get(votes, i), "choice", STR(""));

		if (choice.n > 0)
			json_object_setn_new(
			    counts, choice.p, choice.n,
			    json_integer(json_integer_value(json_object_getn(counts, choice.p, choice.n)) + 1));
	}
	json_object_set_new(proof, "vote_breakdown", counts);
	return proof;
}

static json_t *view_dissents(const json_t *result)
{
	const json_t *in = json_get_arr(result, "dissents");
	json_t *out = json_array();
	size_t i;

	for (i = 0; i < json_array_size(in); i++)
		json_array_append_new(out, json_str(json_get_str(json_array_get(in, i), "view", STR(""))));
	return out;
}

static json_t *view_agent_costs(const json_t *result)
{
	json_t *out = json_object(), *v;
	const char *agent;

	json_object_foreach(json_get_obj(result, "per_agent"), agent, v)
	    view_real(out, agent, (double)json_get_int(v, "cost_micro", 0) / 1e6);
	return out;
}

/* Parts per million at the leaves as numbers from 0 to 1, the same shape otherwise. */
static json_t *view_shares(json_t *v)
{
	json_t *out, *e;
	const char *key;
	size_t i;

	if (json_is_integer(v))
		return json_real((double)json_integer_value(v) / 1e6);
	if (json_is_array(v)) {
		out = json_array();
		json_array_foreach(v, i, e) json_array_append_new(out, view_shares(e));
		return out;
	}
	out = json_object();
	json_object_foreach(v, key, e) json_object_set_new(out, key, view_shares(e));
	return out;
}

static json_t *view_copy(const json_t *list)
{
	json_t *out = list != NULL ? json_deep_copy(list) : json_array();

	view_floats(out);
	return out;
}

static void view_report(json_t *o, const char *key, json_t *report)
{
	json_object_set_new(o, key, report != NULL ? report : json_null());
}

/* Members of the result that are shown under their own names. */
static const char *const view_plain[] = {
    "winner", "synthesis", "proposals",  "participants",     "agent_failures",      "early_stop",
    "flips",  "dissents",  "method",     "tokens_in",        "tokens_out",          "abandoned_calls",
    "reason", "taint",     "background", "winning_patterns", "evidence_suggestions"};

static void view_result(struct arena *a, json_t *o, const struct debate_row *row)
{
	struct error err = ERROR_INIT;
	json_t *result = row->result.p != NULL ? json_parse(a, row->result, &err) : NULL;
	json_t *messages = view_messages(result), *convergence;
	size_t i;

	view_said(o, messages, json_get_int(result, "rounds_used", row->current_round));
	json_object_set_new(o, "critiques", view_critiques(result));
	json_object_set_new(o, "votes", view_votes(result));
	view_round_votes(json_get_arr(o, "rounds"), json_get_arr(o, "votes"));
	json_object_set_new(o, "consensus", view_consensus(result, row));
	json_object_set_new(o, "consensus_proof", result != NULL ? view_proof(result, row) : json_null());
	if (result == NULL)
		return;
	for (i = 0; i < countof(view_plain); i++)
		if (json_object_get(result, view_plain[i]) != NULL)
			json_object_set(o, view_plain[i], json_object_get(result, view_plain[i]));
	if (json_get_str(result, "winner", STR("")).n == 0)
		json_object_set_new(o, "winner", json_null());
	json_object_set_new(o, "dissenting_views", view_dissents(result));
	json_object_set_new(o, "per_agent_cost", view_agent_costs(result));
	json_object_set_new(o, "per_agent", json_deep_copy(json_get_obj(result, "per_agent")));
	view_floats(json_object_get(o, "per_agent"));
	json_put_int(o, "total_tokens", json_get_int(result, "tokens_in", 0) + json_get_int(result, "tokens_out", 0));
	json_object_set(o, "outcome", json_object_get(result, "status"));
	convergence = json_get_obj(result, "convergence");
	json_put_str(o, "convergence_status", json_get_str(convergence, "status", STR("")));
	view_real(o, "convergence_similarity", (double)json_get_int(convergence, "similarity_ppm", 0) / 1e6);
	view_real(o, "convergence_agreement", (double)json_get_int(convergence, "agreement_ppm", 0) / 1e6);
	json_object_set_new(o, "per_agent_similarity", view_shares(json_get_obj(convergence, "per_agent")));
	json_object_set_new(o, "per_agent_novelty",
			    view_shares(json_get_obj(json_get_obj(result, "novelty"), "per_agent")));
	view_real(o, "avg_novelty", (double)json_get_int(json_get_obj(result, "novelty"), "mean_ppm", 0) / 1e6);
	view_report(o, "disagreement_report", report_disagreement(result));
	view_report(o, "partial_consensus", report_partial_consensus(result));
	json_object_set_new(o, "debate_cruxes", report_cruxes(result));
	json_object_set_new(o, "minority", view_copy(json_get_arr(result, "minority")));
	view_real(o, "consensus_variance",
		  (double)json_get_int(json_get_obj(result, "consensus"), "variance_ppm", 0) / 1e6);
	json_object_set_new(
	    o, "consensus_strength",
	    json_string(json_string_value(json_object_get(json_get_obj(result, "consensus"), "strength"))));
}

/* ---- the objects ---- */

json_t *view_agent_names(const json_t *plan)
{
	const json_t *agents = json_get_arr(plan, "agents");
	json_t *names = json_array();
	size_t i;

	for (i = 0; i < json_array_size(agents); i++)
		json_array_append(names, json_object_get(json_array_get(agents, i), "name"));
	return names;
}

static json_t *view_plan_agents(struct arena *a, const struct debate_row *row)
{
	struct error err = ERROR_INIT;

	return view_agent_names(json_parse(a, row->plan, &err));
}

static void view_json_text(struct arena *a, json_t *o, const char *key, struct str text)
{
	struct error err = ERROR_INIT;
	json_t *v = json_parse(a, text, &err);

	json_object_set(o, key, v != NULL ? v : json_null());
}

static void view_times(json_t *o, const struct debate_row *row)
{
	double seconds = (double)row->running_ms / 1000.0;

	view_real(o, "duration_seconds", seconds);
	view_real(o, "elapsed_seconds", seconds);
	json_put_time(o, "created_at", row->created_at);
	json_put_time(o, "started_at", row->started_at);
	json_put_time(o, "completed_at", row->completed_at);
	json_put_time(o, "updated_at", row->updated_at);
}

static void view_pause(json_t *o, const struct debate_row *row)
{
	json_object_set_new(o, "is_paused", json_boolean(debate_is_paused(row)));
	json_put_time(o, "paused_at", debate_is_paused(row) ? row->paused_at : 0);
	json_object_set_new(o, "pause_requested", json_boolean(row->pause_by.n > 0 && row->completed_at == 0));
}

/* What was agreed on before it began. */
static void view_plan(struct arena *a, json_t *o, const struct debate_row *row)
{
	static const char *const formats[] = {"json", "csv", "html", "txt", "md"};
	struct error err = ERROR_INIT;
	const json_t *plan = json_parse(a, row->plan, &err);
	struct str domain = json_get_str(plan, "domain", STR(""));
	int64_t budget = json_get_int(plan, "budget_micro", 0);
	json_t *links = json_object(), *topics = json_array();
	size_t i;

	for (i = 0; i < countof(formats); i++)
		json_put_str(links, formats[i],
			     arena_printf(a, "/api/debates/%.*s/export/%s", STR_ARG(row->id), formats[i]));
	if (domain.n > 0)
		json_array_append_new(topics, json_str(domain));
	json_object_set_new(o, "documents", documents_view(json_get_arr(plan, "documents")));
	json_object_set_new(o, "budget_limit_usd", budget > 0 ? json_real((double)budget / 1e6) : json_null());
	if (json_get_obj(plan, "protocol") != NULL)
		json_object_set_new(o, "protocol", protocol_view(json_get_obj(plan, "protocol")));
	json_object_set_new(o, "topic_tags", topics);
	json_object_set_new(o, "export_links", links);
}

json_t *view_summary(struct arena *a, const struct debate_row *row)
{
	json_t *o = json_object();

	view_text(o, "id", row->id);
	view_text(o, "debate_id", row->id);
	view_text(o, "slug", row->slug);
	view_text(o, "task", row->task);
	view_text(o, "topic", row->task);
	view_text(o, "question", row->task);
	view_text(o, "title", row->title);
	view_json_text(a, o, "tags", row->tags);
	json_put_str(o, "status", str_of(view_status_word(row)));
	json_object_set_new(o, "agents", view_plan_agents(a, row));
	json_put_int(o, "total_rounds", row->total_rounds);
	json_put_int(o, "current_round", row->current_round);
	json_put_int(o, "rounds_used", row->rounds_used);
	json_put_int(o, "rounds_completed", row->rounds_used);
	json_put_int(o, "message_count", row->message_count);
	json_object_set_new(o, "consensus_reached", json_boolean(row->consensus_reached != 0));
	view_real(o, "confidence", (double)row->confidence_ppm / 1e6);
	/* The share by heads, as in "consensus"; debates of before it was a column have the weighted one alone. */
	view_real(o, "agreement", (double)(row->share_ppm > 0 ? row->share_ppm : row->confidence_ppm) / 1e6);
	view_text(o, "final_answer", row->final_answer);
	view_text(o, "conclusion", row->final_answer);
	view_real(o, "total_cost_usd", (double)row->cost_micro / 1e6);
	json_object_set_new(o, "demo", json_boolean(row->demo != 0));
	json_object_set_new(o, "archived", json_boolean(row->archived != 0));
	view_pause(o, row);
	json_object_set_new(o, "is_public", json_false());
	json_put_int(o, "view_count", 0);
	view_text(o, "receipt_id", row->receipt_id);
	view_text(o, "error", row->error);
	view_text(o, "error_code", row->error_code);
	view_times(o, row);
	return o;
}

json_t *view_debate(struct arena *a, const struct debate_row *row)
{
	json_t *o = view_summary(a, row);

	view_text(o, "context", row->context);
	view_plan(a, o, row);
	view_json_text(a, o, "metadata", row->metadata);
	view_text(o, "org_id", row->org_id);
	view_text(o, "user_id", row->user_id);
	json_put_str(o, "mode", STR("debate"));
	json_object_set_new(o, "grounded_verdict", json_null());
	json_put_int(o, "last_seq", row->last_seq);
	json_object_set_new(o, "in_progress", json_boolean(row->completed_at == 0));
	view_result(a, o, row);
	return o;
}

json_t *view_status(struct arena *a, const struct debate_row *row, unsigned subscribers)
{
	json_t *o = json_object();

	view_text(o, "id", row->id);
	view_text(o, "debate_id", row->id);
	view_text(o, "task", row->task);
	json_put_str(o, "status", str_of(view_status_word(row)));
	json_put_int(o, "current_round", row->current_round);
	json_put_int(o, "total_rounds", row->total_rounds);
	json_object_set_new(o, "agents", view_plan_agents(a, row));
	json_put_int(o, "message_count", row->message_count);
	json_put_int(o, "subscriber_count", subscribers);
	view_real(o, "elapsed_seconds", (double)row->running_ms / 1000.0);
	json_object_set_new(o, "start_time",
			    row->started_at != 0 ? json_real((double)row->started_at / 1000.0) : json_null());
	json_object_set_new(o, "consensus_reached",
			    row->completed_at != 0 ? json_boolean(row->consensus_reached != 0) : json_null());
	json_object_set_new(o, "confidence",
			    row->completed_at != 0 ? json_real((double)row->confidence_ppm / 1e6) : json_null());
	view_text(o, "error", row->error);
	view_text(o, "error_code", row->error_code);
	json_put_int(o, "last_seq", row->last_seq);
	json_object_set_new(o, "demo", json_boolean(row->demo != 0));
	view_pause(o, row);
	return o;
}
