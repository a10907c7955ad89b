/* SPDX-License-Identifier: MIT */
/*
 * Messages about a debate that come over a socket (websocket.md 4): votes, suggestions, interventions, pause, resume,
 * cancel. Called by the debate socket; does what the handlers of control_api.c do and answers with a frame.
 */
#include "common/json.h"
#include "worker/access/access.h"
#include "worker/debate/inbox.h"
#include "worker/worker.h"

/* What a message brings, and what it is answered with. */
struct message_in {
	struct worker *w;
	struct arena *a;
	const struct context *ctx;
	struct str type;
	const json_t *m, *payload; /* payload: of the message, under either of its names */
	struct debate_row row;
	json_t *data; /* of the ack */
};

CO_FN static bool message_put(struct message_in *in, const char *kind, const json_t *payload, struct error *err)
{
	struct inbox_answer answer;

	if (!inbox_put(in->w, in->a, in->ctx, &in->row, kind, payload, &answer, err))
		return false;
	json_put_str(in->data, "id", answer.id);
	json_object_set_new(in->data, "considered", json_boolean(answer.considered));
	if (answer.round > 0)
		json_put_int(in->data, "apply_at_round", answer.round);
	json_put_str(in->data, "message", str_of(answer.message));
	return true;
}

CO_FN static bool message_vote(struct message_in *in, struct error *err)
{
	json_t *payload;

	return inbox_vote(in->a, in->payload, &payload, err) && message_put(in, "vote", payload, err);
}

CO_FN static bool message_suggestion(struct message_in *in, struct error *err)
{
	json_t *payload;

	return inbox_suggestion(in->a, in->payload, &payload, err) && message_put(in, "suggestion", payload, err);
}

CO_FN static bool message_intervention(struct message_in *in, struct error *err)
{
	struct str type =
	    json_get_str(in->payload, "type", json_get_str(in->payload, "intervention_type", STR("nudge")));
	json_t *payload;

	return inbox_intervention(in->a, in->payload, type, &payload, err) &&
	       message_put(in, "intervention", payload, err);
}

static struct str message_reason(const struct message_in *in, const char *usual)
{
	return str_utf8_cut(json_get_str(in->payload, "reason", str_of(usual)), 500);
}

CO_FN static bool message_pause(struct message_in *in, struct error *err)
{
	struct pause_outcome out;

	if (!debate_pause(in->w, in->ctx, in->row.id, message_reason(in, ""), &out, err))
		return false;
	json_put_str(in->data, "state", STR("paused"));
	json_object_set_new(in->data, "in_effect", json_boolean(out.in_effect));
	json_put_str(in->data, "message",
		     out.in_effect ? STR("the debate is paused")
				   : STR("the debate pauses when its calls under way have ended"));
	return true;
}

CO_FN static bool message_resume(struct message_in *in, struct error *err)
{
	struct pause_outcome out;

	if (!debate_resume(in->w, in->ctx, in->row.id, message_reason(in, ""), &out, err))
		return false;
	json_put_str(in->data, "state", STR("running"));
	json_put_str(in->data, "message", STR("the debate goes on"));
	return true;
}

CO_FN static bool message_cancel(struct message_in *in, struct error *err)
{
	if (!debate_cancel(in->w, in->ctx, in->row.id, message_reason(in, "user_requested"), err))
		return false;
	json_put_str(in->data, "state", STR("cancelled"));
	json_put_str(in->data, "message", STR("the debate is being cancelled"));
	return true;
}

static const struct {
	const char *type, *permission;
	CO_FN bool (*run)(struct message_in *in, struct error *err);
} message_types[] = {
    {"user_vote", "debates.read", message_vote},
    {"user_suggestion", "debates.read", message_suggestion},
    {"intervention", "debates.stop", message_intervention},
    {"pause", "debates.stop", message_pause},
    {"resume_debate", "debates.stop", message_resume},
    {"pause_debate", "debates.stop", message_pause},
    {"cancel", "debates.stop", message_cancel},
    {"cancel_debate", "debates.stop", message_cancel},
};

static json_t *message_error(const struct message_in *in, const struct error *err)
{
	json_t *data = json_pack("{s:s, s:i, s:s, s:s}", "message", err->msg, "code", err_status(err->code),
				 "error_category", "control", "error_type", err_wire(err->code));

	json_put_str(data, "msg_type", in->type);
	json_put_str(data, "message_type", in->type);
	if (err->field[0] != '\0')
		json_put_str(data, "field", str_of(err->field));
	return data;
}

/* Both names of the debate, and of the payload, are in use (websocket.md 4). */
static void message_read(struct message_in *in, struct str *id)
{
	const json_t *payload = json_get_obj(in->m, "payload");

	in->payload = payload != NULL ? payload : json_get_obj(in->m, "data");
	in->payload = in->payload != NULL ? in->payload : in->m;
	*id = json_get_str(in->m, "debate_id", json_get_str(in->m, "loop_id", STR("")));
	if (id->n == 0)
		*id = json_get_str(in->payload, "debate_id", json_get_str(in->payload, "loop_id", STR("")));
}

CO_FN bool inbox_message(struct worker *w, struct arena *a, const struct context *ctx, struct str type, const json_t *m,
			 bool *done, json_t **data)
{
	struct message_in in = {.w = w, .a = a, .ctx = ctx, .type = type, .m = m};
	struct error err = ERROR_INIT;
	struct str id;
	size_t i;

	for (i = 0; i < countof(message_types) && !str_eqz(type, message_types[i].type); i++)
		;
	if (i == countof(message_types))
		return false;
	message_read(&in, &id);
	in.data = json_object();
	json_put_str(in.data, "msg_type", type);
	json_put_str(in.data, "message_type", type);
	if (id.n == 0)
		*done = error_field(&err, ERR_MISSING_FIELD, "debate_id", "%s needs debate_id", message_types[i].type);
	else if (!access_allows(w, ctx->who, permission_find(str_of(message_types[i].permission))))
		*done =
		    error_set(&err, ERR_PERMISSION_DENIED, "this needs the permission %s", message_types[i].permission);
	else
		*done = debate_get(w->db, a, ctx, id, &in.row, &err) && message_types[i].run(&in, &err);
	if (*done) {
		json_put_str(in.data, "debate_id", in.row.id);
		*data = in.data;
		return true;
	}
	json_decref(in.data);
	*data = message_error(&in, &err);
	return true;
}
