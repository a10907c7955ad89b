/* SPDX-License-Identifier: MIT */
/*
 * Views of what was recorded while a debate ran: its events in short, the challenges to hollow agreement, and how each
 * agent reasoned. Called as views of this room. What the log no longer has (retention) is said to be missing.
 */
#include "common/clock.h"
#include "common/json.h"
#include "worker/engine/evidence.h"
#include "worker/engine/parse.h"
#include "worker/explain/views.h"

#define LOG_LINE 200  /* bytes that are shown of an event */
#define LOG_TEXT 2000 /* bytes that are shown of an agent's reasoning */

static json_t *log_open(const json_t *debate)
{
	json_t *o = json_object();

	json_object_set(o, "debate_id", json_object_get(debate, "id"));
	return o;
}

/* Envelopes tell the time in seconds since 1970. */
static void log_time(json_t *o, const json_t *envelope)
{
	json_put_time(o, "timestamp", (int64_t)(json_get_num(envelope, "timestamp", 0) * 1000.0));
}

/* ---- the course, event by event ---- */

/* The member of an event's data that says in a line what happened; other types are told by their name. */
static const char *const log_lines[][2] = {
    {"debate_start", "task"},
    {"round_start", "phase"},
    {"phase_progress", "phase"},
    {"agent_message", "content"},
    {"critique", "content"},
    {"vote", "choice"},
    {"user_vote", "choice"},
    {"flip_detected", "new_claim"},
    {"intervention_applied", "content_summary"},
    {"hollow_consensus", "recommendation"},
    {"trickster_intervention", "challenge"},
    {"role_rotation", "goal"},
    {"debate_early_terminated", "reason"},
    {"consensus", "answer"},
    {"consensus_reached", "result"},
    {"synthesis", "content"},
    {"receipt_generated", "verdict"},
    {"error", "message"},
    {"debate_end", "status"},
};

static struct str log_line(const json_t *envelope)
{
	struct str type = json_get_str(envelope, "type", STR("")), line = STR("");
	size_t i;

	for (i = 0; i < countof(log_lines); i++)
		if (str_eqz(type, log_lines[i][0]))
			line = json_get_str(json_get_obj(envelope, "data"), log_lines[i][1], STR(""));
	if (str_starts(line, STR("POSITION:")))
		line = parse_position(line);
	return str_utf8_cut(line, LOG_LINE);
}

json_t *view_timeline(struct arena *a, const json_t *debate, const json_t *result)
{
	const json_t *recorded = json_get_arr(debate, EXPLAIN_RECORDED), *e;
	json_t *o = log_open(debate), *list = json_array();
	int64_t last = json_get_int(debate, "last_seq", 0), seq = json_get_int(debate, EXPLAIN_AFTER, 0);
	size_t i;

	(void)a;
	(void)result;
	json_array_foreach(recorded, i, e)
	{
		json_t *one = json_object();

		seq = json_get_int(e, "seq", 0);
		json_put_int(one, "seq", seq);
		json_put_str(one, "type", json_get_str(e, "type", STR("")));
		log_time(one, e);
		json_put_int(one, "round", json_get_int(e, "round", 0));
		json_put_str(one, "agent", json_get_str(e, "agent", STR("")));
		json_put_str(one, "summary", log_line(e));
		json_array_append_new(list, one);
	}
	json_put_int(o, "count", (int64_t)json_array_size(list));
	json_put_int(o, "total", last);
	json_put_int(o, "next_seq", seq);
	json_object_set_new(o, "has_more", json_boolean(json_array_size(list) > 0 && seq < last));
	json_object_set(o, "log_kept", json_object_get(debate, EXPLAIN_KEPT));
	json_object_set_new(o, "timeline", list);
	return o;
}

/* ---- challenges to hollow agreement ---- */

/* What an indicator of hollow_consensus says, in words. */
static void log_describe(struct arena *a, json_t *indicators)
{
	json_t *e;
	size_t i;

	json_array_foreach(indicators, i, e)
	{
		struct buf b = BUF_INIT;
		const json_t *v;
		size_t k;

		json_array_foreach(json_get_arr(e, "lacks"), k, v) if (json_is_string(v))
		    buf_printf(&b, "%s%s", k > 0 ? ", " : "", json_string_value(v));
		json_put_str(e, "description",
			     arena_printf(a, "The text of %.*s lacks %.*s.", STR_ARG(json_get_str(e, "agent", STR(""))),
					  STR_ARG(buf_str(&b))));
		buf_free(&b);
	}
}

/* The event's own data with when it was. New reference. */
static json_t *log_event(const json_t *envelope)
{
	json_t *o = json_deep_copy(json_get_obj(envelope, "data"));

	if (o == NULL)
		o = json_object();
	log_time(o, envelope);
	json_put_int(o, "round", json_get_int(envelope, "round", 0));
	return o;
}

static double log_ppm(int64_t ppm)
{
	return (double)ppm / EVIDENCE_ONE;
}

json_t *view_trickster(struct arena *a, const json_t *debate, const json_t *result)
{
	const json_t *recorded = json_get_arr(debate, EXPLAIN_RECORDED), *e, *last;
	json_t *o = log_open(debate), *alerts = json_array(), *interventions = json_array(), *one;
	size_t i;

	(void)result;
	json_array_foreach(recorded, i, e)
	{
		bool alert = str_eqz(json_get_str(e, "type", STR("")), "hollow_consensus");

		one = log_event(e);
		if (alert)
			log_describe(a, json_get_arr(one, "indicators"));
		json_array_append_new(alert ? alerts : interventions, one);
	}
	last = json_array_get(alerts, json_array_size(alerts) > 0 ? json_array_size(alerts) - 1 : 0);
	json_object_set_new(o, "trickster_enabled",
			    json_boolean(json_get_bool(json_get_obj(debate, "protocol"), "enable_trickster", false) &&
					 !json_get_bool(debate, "demo", false)));
	json_object_set_new(o, "hollow_consensus_detected", json_boolean(last != NULL));
	json_object_set_new(o, "confidence", json_real(json_get_num(last, "confidence", 0)));
	one = json_get_arr(last, "indicators");
	json_object_set_new(o, "indicators", one != NULL ? json_incref(one) : json_array());
	one = json_object_get(last, "recommendation");
	json_object_set_new(o, "recommendation", one != NULL ? json_incref(one) : json_null());
	json_put_int(o, "total_alerts", (int64_t)json_array_size(alerts));
	json_put_int(o, "total_interventions", (int64_t)json_array_size(interventions));
	json_object_set_new(o, "hollow_consensus_alerts", alerts);
	json_object_set_new(o, "interventions", interventions);
	json_object_set_new(o, "config",
			    json_pack("{s:f, s:f, s:f}", "min_quality_threshold", log_ppm(EVIDENCE_QUALITY_MIN),
				      "hollow_detection_threshold", log_ppm(EVIDENCE_HOLLOW_PPM), "agreement_threshold",
				      log_ppm(EVIDENCE_AGREE_PPM)));
	json_object_set(o, "log_kept", json_object_get(debate, EXPLAIN_KEPT));
	return o;
}

/* ---- how each agent reasoned ---- */

/* The agent's list of that name, made with it; {positions, critiques, vote} at first. */
static json_t *log_agent(json_t *agents, struct str name)
{
	json_t *o = json_object_getn(agents, name.p, name.n);

	if (o == NULL && name.n > 0) {
		o = json_pack("{s:[], s:[], s:i, s:n}", "positions", "critiques", "critiques_received", 0, "vote");
		json_object_setn_new(agents, name.p, name.n, o);
	}
	return o;
}

static void log_positions(json_t *agents, const json_t *result)
{
	const json_t *m;
	size_t i;

	json_array_foreach(json_get_arr(result, "messages"), i, m)
	{
		struct str text = json_get_str(m, "content", STR(""));
		json_t *one = json_object();

		json_put_int(one, "round", json_get_int(m, "round", 0));
		json_put_str(one, "position", parse_position(text));
		json_put_str(one, "reasoning", str_utf8_cut(text, LOG_TEXT));
		json_put_time(one, "timestamp", json_get_int(m, "at_ms", 0));
		json_array_append_new(json_get_arr(log_agent(agents, json_get_str(m, "agent", STR(""))), "positions"),
				      one);
	}
}

static void log_critiques(json_t *agents, const json_t *result)
{
	const json_t *c;
	size_t i;

	json_array_foreach(json_get_arr(result, "critiques"), i, c)
	{
		struct str target = json_get_str(c, "target_agent", STR(""));
		json_t *one = json_object(), *about = log_agent(agents, target);

		json_put_int(one, "round", json_get_int(c, "round", 0));
		json_put_str(one, "target", target);
		json_object_set_new(one, "severity", json_real((double)json_get_int(c, "severity_milli", 0) / 1000.0));
		json_put_str(one, "reasoning", str_utf8_cut(json_get_str(c, "reasoning", STR("")), LOG_TEXT));
		json_array_append_new(json_get_arr(log_agent(agents, json_get_str(c, "agent", STR(""))), "critiques"),
				      one);
		if (about != NULL)
			json_put_int(about, "critiques_received", json_get_int(about, "critiques_received", 0) + 1);
	}
}

static void log_votes(json_t *agents, const json_t *result)
{
	const json_t *v;
	size_t i;

	json_array_foreach(json_get_arr(result, "votes"), i, v)
	{
		json_t *agent = log_agent(agents, json_get_str(v, "agent", STR("")));
		json_t *one = json_pack("{s:f, s:f}", "confidence", log_ppm(json_get_int(v, "confidence_ppm", 0)),
					"weight", log_ppm(json_get_int(v, "weight_ppm", 0)));

		json_put_str(one, "choice", json_get_str(v, "choice", STR("")));
		json_put_str(one, "reasoning", str_utf8_cut(json_get_str(v, "reasoning", STR("")), LOG_TEXT));
		json_object_set_new(agent, "vote", one);
	}
}

json_t *view_reasoning(struct arena *a, const json_t *debate, const json_t *result)
{
	json_t *inner = log_open(debate), *agents = json_object();

	(void)a;
	log_positions(agents, result);
	log_critiques(agents, result);
	log_votes(agents, result);
	json_object_set(inner, "task", json_object_get(debate, "task"));
	json_object_set(inner, "conclusion", json_object_get(debate, "conclusion"));
	json_object_set_new(inner, "agents", agents);
	return json_pack("{s:O, s:o}", "debate_id", json_object_get(debate, "id"), "data", inner);
}
