/* SPDX-License-Identifier: MIT */
/*
 * What people do to a debate while it runs, over REST (rest-core 4.5): pause and resume, votes, suggestions,
 * interventions. Handlers check, call pause.c or inbox.c and render; every spelling of a path is a row of the table.
 */
#include "common/clock.h"
#include "common/json.h"
#include "worker/debate/control.h"
#include "worker/debate/inbox.h"
#include "worker/debate/request.h"
#include "worker/debate/view.h"
#include "worker/http/body.h"
#include "worker/http/route.h"
#include "worker/worker.h"

#define CONTROL_REASON_MAX 500 /* bytes; it is part of an event */

/* ---- pause and resume ---- */

/* An entry of the log of interventions, as clients know it. */
static json_t *control_entry(const struct http_request *req, const char *type, struct str message)
{
	json_t *o = json_pack("{s:s, s:f, s:n, s:s, s:{}}", "type", type, "timestamp", (double)clock_wall_ms() / 1000.0,
			      "target_agent", "source", "user", "metadata");

	json_put_str(o, "user_id", req->ctx.principal);
	json_put_str(o, "message", message);
	return o;
}

static json_t *control_paused(const struct http_request *req, struct str id, struct str why,
			      const struct pause_outcome *out)
{
	json_t *o = json_pack("{s:b, s:s, s:s, s:b, s:b, s:o, s:s}", "success", 1, "state", "paused", "status",
			      out->in_effect ? "paused" : "running", "is_paused", 1, "in_effect", (int)out->in_effect,
			      "intervention", control_entry(req, "pause", why), "message",
			      out->in_effect ? "the debate is paused"
					     : "the debate pauses when its calls under way have ended");

	json_put_str(o, "debate_id", id);
	json_put_time(o, "paused_at", out->paused_at);
	return o;
}

static json_t *control_resumed(const struct http_request *req, struct str id, struct str why,
			       const struct pause_outcome *out)
{
	json_t *o =
	    json_pack("{s:b, s:s, s:s, s:b, s:o, s:f, s:s}", "success", 1, "state", "running", "status", "running",
		      "is_paused", 0, "intervention", control_entry(req, "resume", why), "pause_duration_seconds",
		      (double)out->paused_ms / 1000.0, "message", "the debate goes on");

	json_put_str(o, "debate_id", id);
	json_put_time(o, "resumed_at", clock_wall_ms());
	return o;
}

CO_FN static void control_pause_or_resume(struct http_request *req, bool resume)
{
	struct worker *w = request_worker(req);
	const json_t *body = body_object(req);
	struct error err = ERROR_INIT;
	struct pause_outcome out;
	struct debate_row row;
	struct str why;
	bool ok;

	if (body == NULL || !body_text_or_reject(req, body, "reason", CONTROL_REASON_MAX, &why) ||
	    !request_debate(req, &row))
		return;
	ok = resume ? debate_resume(w, &req->ctx, row.id, why, &out, &err)
		    : debate_pause(w, &req->ctx, row.id, why, &out, &err);
	if (!ok)
		request_refused(req, &err);
	else
		http_reply_json(req, 200,
				resume ? control_resumed(req, row.id, why, &out)
				       : control_paused(req, row.id, why, &out));
}

CO_FN static void control_pause(struct http_request *req)
{
	control_pause_or_resume(req, false);
}

CO_FN static void control_resume(struct http_request *req)
{
	control_pause_or_resume(req, true);
}

/* A debate starts by itself when its turn comes: this resumes one that was paused, else it says how it stands. */
CO_FN static void control_start(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct pause_outcome out;
	struct debate_row row;
	json_t *o;

	if (!request_debate(req, &row))
		return;
	if (row.completed_at != 0)
		error_set(&err, ERR_CONFLICT, "the debate has already ended");
	if (err.code != ERR_OK ||
	    (debate_is_paused(&row) && !debate_resume(request_worker(req), &req->ctx, row.id, STR(""), &out, &err))) {
		request_refused(req, &err);
		return;
	}
	o = json_pack("{s:b, s:s}", "success", 1, "status",
		      debate_is_paused(&row) ? "running" : view_status_word(&row));
	json_put_str(o, "debate_id", row.id);
	http_reply_json(req, 200, o);
}

/* ---- votes, suggestions, interventions ---- */

/* What the path says, where the body does not: the type of an intervention is the end of it. */
static struct str control_path_type(const struct http_request *req)
{
	const char *end = strrchr(req->route->path, '/') + 1;

	return strcmp(end, "inject-evidence") == 0 ? STR("inject_evidence") : str_of(end);
}

/* Puts it in and answers. */
CO_FN static void control_put(struct http_request *req, const char *kind, const json_t *payload, int status)
{
	struct error err = ERROR_INIT;
	struct inbox_answer answer;
	struct debate_row row;
	json_t *o, *entry;

	if (!request_debate(req, &row))
		return;
	if (!inbox_put(request_worker(req), req->arena, &req->ctx, &row, kind, payload, &answer, &err)) {
		request_refused(req, &err);
		return;
	}
	entry =
	    control_entry(req, kind, json_get_str(payload, "message", json_get_str(payload, "suggestion", STR(""))));
	json_object_update(entry, (json_t *)(uintptr_t)payload);
	o = json_pack("{s:b, s:s, s:b, s:o, s:s, s:s}", "success", 1, "status",
		      answer.considered ? "pending" : "too_late", "considered", (int)answer.considered, "intervention",
		      entry, "message", answer.message, "will_appear_in",
		      !answer.considered  ? "never"
		      : answer.round == 0 ? "decision"
					  : "next_round");
	json_put_str(o, "debate_id", row.id);
	json_put_str(o, "intervention_id", answer.id);
	json_put_str(o, "injection_id", answer.id);
	json_put_str(o, "evidence_id", answer.id);
	json_put_str(o, "type", json_get_str(payload, "type", str_of(kind)));
	json_object_set_new(o, "apply_at_round", answer.round > 0 ? json_integer(answer.round) : json_null());
	http_reply_json(req, status, o);
}

CO_FN static void control_vote(struct http_request *req)
{
	const json_t *body = body_object(req);
	struct error err = ERROR_INIT;
	json_t *payload;

	if (body == NULL)
		return;
	if (!inbox_vote(req->arena, body, &payload, &err))
		http_reply_error(req, &err);
	else
		control_put(req, "vote", payload, 200);
}

CO_FN static void control_suggest(struct http_request *req)
{
	const json_t *body = body_object(req);
	struct error err = ERROR_INIT;
	json_t *payload;

	if (body == NULL)
		return;
	if (!inbox_suggestion(req->arena, body, &payload, &err))
		http_reply_error(req, &err);
	else
		control_put(req, "suggestion", payload, 201);
}

CO_FN static void control_intervene_as(struct http_request *req, const json_t *body, struct str type, int status)
{
	struct error err = ERROR_INIT;
	json_t *payload;

	if (!inbox_intervention(req->arena, body, type, &payload, &err))
		http_reply_error(req, &err);
	else
		control_put(req, "intervention", payload, status);
}

/* nudge, challenge, inject-evidence */
CO_FN static void control_named(struct http_request *req)
{
	const json_t *body = body_object(req);

	if (body != NULL)
		control_intervene_as(req, body, control_path_type(req), 200);
}

CO_FN static void control_evidence(struct http_request *req)
{
	const json_t *body = body_object(req);

	if (body != NULL)
		control_intervene_as(req, body, STR("inject_evidence"), 201);
}

CO_FN static void control_inject(struct http_request *req)
{
	const json_t *body = body_object(req);

	if (body != NULL)
		control_intervene_as(req, body, json_get_str(body, "type", STR("argument")), 200);
}

CO_FN static void control_intervene(struct http_request *req)
{
	const json_t *body = body_object(req);

	if (body == NULL)
		return;
	if (json_get_str(body, "type", STR("")).n == 0)
		(void)body_reject(req, "type", "must be one of redirect, constraint, challenge, evidence_request");
	else
		control_intervene_as(req, body, json_get_str(body, "type", STR("")), 201);
}

/* Both logs of rest-core 4.5 in one answer. */
CO_FN static void control_log(struct http_request *req)
{
	int64_t limit = http_query_int(req, "limit", 1, 500, 50);
	struct error err = ERROR_INIT;
	struct debate_row row;
	json_t *list, *o;

	if (!request_debate(req, &row))
		return;
	list = inbox_log(request_worker(req), req->arena, &req->ctx, &row, limit, &err);
	if (list == NULL) {
		http_reply_error(req, &err);
		return;
	}
	o = json_pack("{s:s, s:I, s:I, s:O, s:o}", "state", view_status_word(&row), "entry_count",
		      (json_int_t)json_array_size(list), "total_interventions", (json_int_t)json_array_size(list),
		      "entries", list, "interventions", list);
	json_put_str(o, "debate_id", row.id);
	http_reply_json(req, 200, o);
}

/* ---- routes ---- */

static const struct route control_rows[] = {
    ROUTE_IO(POST, "/api/debates/{id}/pause", control_pause, "debates:stop", WRITE, "Pause a debate between two steps",
	     "Cancel", "Paused"),
    ROUTE_IO(POST, "/api/debates/{id}/intervention/pause", control_pause, "debates:stop", WRITE,
	     "Pause a debate between two steps", "Cancel", "Paused"),
    ROUTE_IO(POST, "/api/debates/{id}/resume", control_resume, "debates:stop", WRITE, "Let a paused debate go on",
	     "Cancel", "Paused"),
    ROUTE_IO(POST, "/api/debates/{id}/intervention/resume", control_resume, "debates:stop", WRITE,
	     "Let a paused debate go on", "Cancel", "Paused"),
    ROUTE_IO(POST, "/api/debates/{id}/start", control_start, "debates:run", WRITE,
	     "Let a debate go on; a created one starts by itself", NULL, "Cancelled"),
    ROUTE_IO(POST, "/api/debates/{id}/run", control_start, "debates:run", WRITE,
	     "Let a debate go on; a created one starts by itself", NULL, "Cancelled"),
    ROUTE_IO(POST, "/api/debates/{id}/vote", control_vote, "debates:read", WRITE,
	     "Vote for an agent's proposal; the last vote of a person counts", "UserVote", "Intervention"),
    ROUTE_IO(POST, "/api/debates/{id}/suggestions", control_suggest, "debates:read", WRITE,
	     "Suggest something to the agents", "UserSuggestion", "Intervention"),
    ROUTE_IO(POST, "/api/debates/{id}/messages", control_suggest, "debates:read", WRITE, "Say something to the agents",
	     "UserMessage", "Intervention"),
    ROUTE_IO(POST, "/api/debates/{id}/user-input", control_suggest, "debates:read", WRITE,
	     "Say something to the agents", "UserMessage", "Intervention"),
    ROUTE_IO(POST, "/api/debates/{id}/nudge", control_named, "debates:stop", WRITE, "Give the agents a hint", "Nudge",
	     "Intervention"),
    ROUTE_IO(POST, "/api/debates/{id}/challenge", control_named, "debates:stop", WRITE,
	     "Let the agents answer a challenge", "Challenge", "Intervention"),
    ROUTE_IO(POST, "/api/debates/{id}/inject-evidence", control_named, "debates:stop", WRITE,
	     "Give the agents evidence", "InjectEvidence", "Intervention"),
    ROUTE_IO(POST, "/api/debates/{id}/evidence", control_evidence, "debates:stop", WRITE,
	     "Give the agents of a debate that runs evidence", "InjectEvidence", "Intervention"),
    ROUTE_IO(POST, "/api/debates/{id}/intervention/inject", control_inject, "debates:stop", WRITE,
	     "Give the agents an argument or a question", "Inject", "Intervention"),
    ROUTE_IO(POST, "/api/debates/{id}/intervene", control_intervene, "debates:stop", WRITE,
	     "Intervene: redirect, constraint, challenge, evidence_request", "Intervene", "Intervention"),
    ROUTE_IO(GET, "/api/debates/{id}/intervention-log", control_log, "debates:read", READ,
	     "What people did to the debate, and whether it was applied", NULL, "InterventionLog"),
    ROUTE_IO(GET, "/api/debates/{id}/intervention/log", control_log, "debates:read", READ,
	     "What people did to the debate, and whether it was applied", NULL, "InterventionLog"),
};
const struct route_table control_routes = {control_rows, countof(control_rows)};
