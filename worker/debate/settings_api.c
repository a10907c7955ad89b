/* SPDX-License-Identifier: MIT */
/*
 * What people set for the decision of a debate that runs (rest-core 4.5): weights of agents, the threshold, and how the
 * debate stands with all of it. Settings are rows of the inbox like everything people say; the last ones count when the
 * debate decides.
 */
#include "common/json.h"
#include "worker/debate/control.h"
#include "worker/debate/inbox.h"
#include "worker/debate/request.h"
#include "worker/engine/consensus.h"
#include "worker/http/body.h"
#include "worker/worker.h"

#define SETTINGS_WEIGHT_MAX 2.0 /* of an agent, where 1 is usual (rest-core 4.5) */

/* What was set so far, and what still waits. */
struct settings {
	struct debate_row row;
	const json_t *plan;
	json_t *weights; /* {agent: ppm}; of the arena */
	int64_t threshold_ppm;
	int64_t injections, follow_ups;
};

/* False: answered. */
CO_FN static bool settings_read(struct http_request *req, struct settings *s)
{
	struct error err = ERROR_INIT;
	json_t *log;
	size_t i;

	if (!request_debate(req, &s->row))
		return false;
	s->plan = json_parse(req->arena, s->row.plan, &err);
	s->threshold_ppm = json_get_int(s->plan, "threshold_ppm", 0);
	s->weights = json_own(req->arena, json_object());
	s->injections = s->follow_ups = 0;
	log = json_own(req->arena,
		       inbox_log(request_worker(req), req->arena, &req->ctx, &s->row, INBOX_WAITING_MAX, &err));
	if (log == NULL) {
		http_reply_error(req, &err);
		return false;
	}
	for (i = 0; i < json_array_size(log); i++) {
		const json_t *e = json_array_get(log, i), *data = json_get_obj(e, "data");
		bool waits = str_eqz(json_get_str(e, "status", STR("")), "waiting");
		struct str kind = json_get_str(e, "kind", STR(""));

		if (str_eqz(kind, "setting")) {
			if (json_get_obj(data, "weights") != NULL)
				json_object_update(s->weights, json_get_obj(data, "weights"));
			s->threshold_ppm = json_get_int(data, "threshold_ppm", s->threshold_ppm);
		} else if (waits && str_eqz(json_get_str(e, "type", STR("")), "follow_up")) {
			s->follow_ups++;
		} else if (waits && (str_eqz(kind, "intervention") || str_eqz(kind, "suggestion"))) {
			s->injections++;
		}
	}
	return true;
}

static bool settings_is_agent(const struct settings *s, const char *name)
{
	const json_t *agents = json_get_arr(s->plan, "agents");
	size_t i;

	for (i = 0; i < json_array_size(agents); i++)
		if (str_eqz(json_get_str(json_array_get(agents, i), "name", STR("")), name))
			return true;
	return false;
}

/* One weight into the set; false: answered. */
static bool settings_weigh(struct http_request *req, struct settings *s, const char *agent, const json_t *v)
{
	if (!settings_is_agent(s, agent))
		return body_reject(req, "agent", "takes no part in this debate");
	if (!json_is_number(v) || json_number_value(v) < 0 || json_number_value(v) > SETTINGS_WEIGHT_MAX)
		return body_reject(req, "weight", "must be a number from 0 to 2");
	json_put_int(s->weights, agent, (int64_t)(json_number_value(v) * CONSENSUS_ONE + 0.5));
	return true;
}

/* Puts the setting in and tells of it; `o` (taken over) is the answer's own part. */
CO_FN static void settings_store(struct http_request *req, const struct settings *s, const json_t *payload, json_t *o)
{
	struct error err = ERROR_INIT;
	struct inbox_answer answer;

	if (!inbox_put(request_worker(req), req->arena, &req->ctx, &s->row, "setting", payload, &answer, &err)) {
		json_decref(o);
		request_refused(req, &err);
		return;
	}
	json_object_set_new(o, "success", json_true());
	json_put_str(o, "debate_id", s->row.id);
	json_put_str(o, "intervention_id", answer.id);
	json_object_set_new(o, "considered", json_boolean(answer.considered));
	json_put_str(o, "message", str_of(answer.message));
	http_reply_json(req, 200, o);
}

static double settings_weight(const json_t *weights, const char *agent)
{
	return (double)json_get_int(weights, agent, CONSENSUS_ONE) / CONSENSUS_ONE;
}

/* {agent, weight} or {weights: {agent: weight}} */
CO_FN static void settings_weights(struct http_request *req)
{
	const json_t *body = body_object(req), *many;
	struct settings s;
	json_t *before, *o, *v;
	const char *agent;

	if (body == NULL || !settings_read(req, &s))
		return;
	many = json_get_obj(body, "weights");
	before = json_own(req->arena, json_copy(s.weights));
	o = json_own(req->arena, json_object());
	json_object_foreach((json_t *)(uintptr_t)many, agent, v) if (!settings_weigh(req, &s, agent, v)) return;
	if (many == NULL) {
		agent = json_string_value(json_object_get(body, "agent"));
		if (!settings_weigh(req, &s, agent != NULL ? agent : "", json_object_get(body, "weight")))
			return;
		json_put_str(o, "agent", str_of(agent));
		json_object_set_new(o, "old_weight", json_real(settings_weight(before, agent)));
		json_object_set_new(o, "new_weight", json_real(settings_weight(s.weights, agent)));
	}
	v = json_object();
	json_object_foreach(s.weights, agent, before)
	    json_object_set_new(v, agent, json_real((double)json_integer_value(before) / CONSENSUS_ONE));
	json_object_set_new(o, "weights", v);
	settings_store(req, &s, json_own(req->arena, json_pack("{s:O}", "weights", s.weights)), json_incref(o));
}

CO_FN static void settings_threshold(struct http_request *req)
{
	const json_t *body = body_object(req), *v;
	struct settings s;
	int64_t ppm;

	if (body == NULL)
		return;
	v = json_object_get(body, "threshold");
	if (!json_is_number(v) || json_number_value(v) < 0.5 || json_number_value(v) > 1) {
		(void)body_reject(req, "threshold", "must be a number from 0.5 to 1");
		return;
	}
	if (!settings_read(req, &s))
		return;
	ppm = (int64_t)(json_number_value(v) * CONSENSUS_ONE + 0.5);
	settings_store(req, &s, json_own(req->arena, json_pack("{s:I}", "threshold_ppm", (json_int_t)ppm)),
		       json_pack("{s:f, s:f}", "old_threshold", (double)s.threshold_ppm / CONSENSUS_ONE,
				 "new_threshold", (double)ppm / CONSENSUS_ONE));
}

CO_FN static void settings_state(struct http_request *req)
{
	struct settings s;
	json_t *o, *weights, *v;
	const char *agent;

	if (!settings_read(req, &s))
		return;
	weights = json_object();
	json_object_foreach(s.weights, agent, v)
	    json_object_set_new(weights, agent, json_real((double)json_integer_value(v) / CONSENSUS_ONE));
	o = json_pack("{s:b, s:f, s:o, s:I, s:I}", "is_paused", (int)debate_is_paused(&s.row), "consensus_threshold",
		      (double)s.threshold_ppm / CONSENSUS_ONE, "agent_weights", weights, "pending_injections",
		      (json_int_t)s.injections, "pending_follow_ups", (json_int_t)s.follow_ups);
	json_put_str(o, "debate_id", s.row.id);
	json_put_time(o, "paused_at", debate_is_paused(&s.row) ? s.row.paused_at : 0);
	http_reply_json(req, 200, o);
}

/* ---- routes ---- */

static const struct route settings_rows[] = {
    ROUTE_IO(POST, "/api/debates/{id}/intervention/weights", settings_weights, "debates:stop", WRITE,
	     "Set what votes of agents weigh, 0 to 2", "Weights", "Setting"),
    ROUTE_IO(PUT, "/api/debates/{id}/intervention/weights", settings_weights, "debates:stop", WRITE,
	     "Set what votes of agents weigh, 0 to 2", "Weights", "Setting"),
    ROUTE_IO(POST, "/api/debates/{id}/intervention/threshold", settings_threshold, "debates:stop", WRITE,
	     "Set the share that decides", "Threshold", "Setting"),
    ROUTE_IO(PUT, "/api/debates/{id}/intervention/threshold", settings_threshold, "debates:stop", WRITE,
	     "Set the share that decides", "Threshold", "Setting"),
    ROUTE_IO(GET, "/api/debates/{id}/intervention/state", settings_state, "debates:read", READ,
	     "What people have set, and what waits", NULL, "InterventionState"),
};
const struct route_table settings_routes = {settings_rows, countof(settings_rows)};
