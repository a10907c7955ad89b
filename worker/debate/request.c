/* SPDX-License-Identifier: MIT */
/*
 * Small parts of the handlers of debates, see request.h. Called by api.c and its sisters; know no SQL.
 */
#include "worker/debate/request.h"

#include "common/json.h"
#include "worker/debate/view.h"
#include "worker/http/body.h"
#include "worker/worker.h"

#define REQUEST_MESSAGES_MAX 1000 /* that a running debate is shown with */
#define REQUEST_TAGS_MAX 20
#define REQUEST_TAG_BYTES 100

CO_FN bool request_debate(struct http_request *req, struct debate_row *row)
{
	struct error err = ERROR_INIT;

	if (debate_get(request_worker(req)->db, req->arena, &req->ctx, req->params[0], row, &err))
		return true;
	http_reply_error(req, &err);
	return false;
}

CO_FN json_t *request_view(struct http_request *req, const struct context *ctx, const struct debate_row *row)
{
	json_t *o = view_debate(req->arena, row), *said;
	struct error err = ERROR_INIT;

	if (row->result.p != NULL)
		return o;
	said = debate_messages(request_worker(req)->db, req->arena, ctx, row->id, 0, REQUEST_MESSAGES_MAX, &err);
	if (said == NULL) {
		json_decref(o);
		http_reply_error(req, &err);
		return NULL;
	}
	view_said(o, said, row->current_round);
	return o;
}

bool request_tags(struct http_request *req, const json_t *tags)
{
	bool ok = json_is_array(tags) && json_array_size(tags) <= REQUEST_TAGS_MAX;
	const json_t *v;
	size_t i;

	json_array_foreach(tags, i, v) ok = ok && json_is_string(v) && json_string_length(v) <= REQUEST_TAG_BYTES;
	return ok || body_reject(req, "tags", "must be at most 20 strings of at most 100 characters");
}

void request_refused(struct http_request *req, struct error *err)
{
	if (err->code == ERR_CONFLICT)
		err->code = ERR_BAD_REQUEST;
	http_reply_error(req, err);
}
