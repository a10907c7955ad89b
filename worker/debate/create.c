/* SPDX-License-Identifier: MIT */
/*
 * A debate out of a creation body (rest-core 4.2), whoever asks: the route of creation, forks, follow-ups, templates.
 * Checks the whole body, stores the debate once for each Idempotency-Key, answers. Runs nothing.
 */
#include "common/crypto.h"
#include "common/json.h"
#include "common/log.h"
#include "worker/agents/select.h"
#include "worker/debate/request.h"
#include "worker/debate/view.h"
#include "worker/delivery/delivery.h"
#include "worker/http/body.h"
#include "worker/tenancy/quota.h"
#include "worker/worker.h"

static struct str create_websocket_url(struct http_request *req, struct str id)
{
	struct str host = http_field(req, "Host");

	return arena_printf(req->arena, "%s://%.*s/ws?debate_id=%.*s", req->https ? "wss" : "ws", STR_ARG(host),
			    STR_ARG(id));
}

static json_t *create_created(struct http_request *req, const json_t *plan, struct str id, bool replayed)
{
	json_t *o =
	    json_pack("{s:b, s:s, s:o, s:b, s:b}", "success", 1, "status", "created", "agents", view_agent_names(plan),
		      "demo", (int)json_get_bool(plan, "demo", false), "replayed", (int)replayed);

	json_put_str(o, "id", id);
	json_put_str(o, "debate_id", id);
	json_put_str(o, "task", json_get_str(plan, "task", STR("")));
	json_put_int(o, "rounds", json_get_int(plan, "rounds", 0));
	json_put_str(o, "websocket_url", create_websocket_url(req, id));
	json_put_str(o, "events_url", arena_printf(req->arena, "/api/debates/%.*s/events", STR_ARG(id)));
	json_object_set_new(o, "estimated_duration", json_null());
	return o;
}

/* Same path and body: the hash under which an Idempotency-Key is remembered. */
static struct str create_body_hash(struct http_request *req)
{
	bool plain = str_eqz(req->path, "/api/debates") || str_eqz(req->path, "/api/debate");
	char hex[SHA256_HEX];

	crypto_sha256_hex(
	    plain ? req->body : arena_printf(req->arena, "%.*s\n%.*s", STR_ARG(req->path), STR_ARG(req->body)), hex);
	return arena_str(req->arena, str_of(hex));
}

/* Reads the body into plan and callback. False after having replied, with every bad field. */
CO_FN static bool create_resolve(struct http_request *req, const json_t *body, json_t **plan, struct callback *callback)
{
	struct worker *w = request_worker(req);
	struct error err = ERROR_INIT, callback_err = ERROR_INIT;
	json_t *problems, *problem;
	bool ok = plan_resolve(w->conf, req->arena, body, plan, &problems, &err);

	if (!callback_parse(w, req->arena, body, &req->ctx, callback, &callback_err)) {
		problem = json_pack("{s:s, s:s, s:s}", "field", callback_err.field, "code", err_wire(callback_err.code),
				    "message", callback_err.msg);
		json_array_append_new(problems, problem);
		if (ok)
			err = callback_err;
		ok = false;
	}
	if (!ok)
		body_reject_all(req, &err, problems);
	return ok;
}

CO_FN static void create_not_created(struct http_request *req, struct error *err)
{
	struct quota q;

	if (err->code == ERR_QUOTA_EXCEEDED &&
	    quota_read(request_worker(req), req->arena, &req->ctx, QUOTA_DEBATES, &q, err)) {
		quota_reply(req, &q);
		return;
	}
	if (err->code == ERR_UNAVAILABLE || err->code == ERR_MAINTENANCE)
		http_reply_field(req, "Retry-After", "30");
	http_reply_error(req, err);
}

/* What the parent's plan says and no body can: the child is run by the same protocol. */
static void create_inherit(json_t *plan, const json_t *body, const json_t *from)
{
	static const char *const keys[] = {"protocol", "early_agree_ppm"};
	size_t i;

	for (i = 0; from != NULL && i < countof(keys); i++)
		if (json_object_get(from, keys[i]) != NULL && json_object_get(body, keys[i]) == NULL)
			json_object_set(plan, keys[i], json_object_get(from, keys[i]));
}

CO_FN void request_create(struct http_request *req, json_t *body, const struct request_origin *from)
{
	static const struct request_origin nowhere = {NULL, NULL, NULL, NULL};
	struct worker *w = request_worker(req);
	struct debate_birth birth = {.idempotency_key = http_field(req, "Idempotency-Key")};
	struct error err = ERROR_INIT;
	struct callback callback;
	bool replayed = false;
	struct str id = STR_NONE;
	json_t *plan, *answer;

	from = from != NULL ? from : &nowhere;
	select_agents(w, req->arena, &req->ctx, &body);
	if (!create_resolve(req, body, &plan, &callback))
		return;
	create_inherit(plan, body, from->plan);
	birth.plan = plan;
	birth.metadata = json_get_obj(body, "metadata");
	birth.callback = &callback;
	birth.body_hash = create_body_hash(req);
	birth.more = from->more;
	birth.arg = from->arg;
	if (!debate_create(w, req->arena, &req->ctx, &birth, &id, &replayed, &err)) {
		create_not_created(req, &err);
		return;
	}
	/* The line that joins the request's id and the debate's. */
	log_info("debate", replayed ? "debate created before" : "debate created", KV_STR("debate_id", id));
	http_reply_field(req, "Location", "/api/debates/%.*s", STR_ARG(id));
	answer = create_created(req, plan, id, replayed);
	if (from->answer != NULL)
		from->answer(req, answer, id, from->arg);
	http_reply_json(req, 200, answer);
}
