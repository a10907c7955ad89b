/* SPDX-License-Identifier: MIT */
/*
 * What people do to a debate while it runs, over REST (rest-core 4.5): pause and resume. Handlers check, call pause.c
 * and render; every former spelling of a path is a row of the table.
 */
#include "common/clock.h"
#include "common/json.h"
#include "worker/debate/control.h"
#include "worker/debate/request.h"
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
	request_time(o, "paused_at", out->paused_at);
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
	request_time(o, "resumed_at", clock_wall_ms());
	return o;
}

CO_FN static void control_pause_or_resume(struct http_request *req, bool resume)
{
	struct worker *w = request_worker(req);
	const json_t *body = request_object(req);
	struct error err = ERROR_INIT;
	struct pause_outcome out;
	struct debate_row row;
	struct str why;
	bool ok;

	if (body == NULL || !request_text(req, body, "reason", CONTROL_REASON_MAX, &why) || !request_debate(req, &row))
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

/* ---- routes ---- */

#define ROW(m, p, h, perm, r, s, in, out)                                                                \
	{                                                                                                \
		.method = HTTP_##m, .path = (p), .handler = (h), .permission = (perm), .rate = RATE_##r, \
		.summary = (s), .request = (in), .response = (out)                                       \
	}

static const struct route control_rows[] = {
    ROW(POST, "/api/debates/{id}/pause", control_pause, "debates:stop", WRITE, "Pause a debate between two steps",
	"Cancel", "Paused"),
    ROW(POST, "/api/debates/{id}/intervention/pause", control_pause, "debates:stop", WRITE,
	"Pause a debate between two steps", "Cancel", "Paused"),
    ROW(POST, "/api/debates/{id}/resume", control_resume, "debates:stop", WRITE, "Let a paused debate go on", "Cancel",
	"Paused"),
    ROW(POST, "/api/debates/{id}/intervention/resume", control_resume, "debates:stop", WRITE,
	"Let a paused debate go on", "Cancel", "Paused"),
};
const struct route_table control_routes = {control_rows, countof(control_rows)};
