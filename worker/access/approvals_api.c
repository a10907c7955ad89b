/* SPDX-License-Identifier: MIT */
/*
 * /api/approvals: what waits for consent, and consent. Nobody agrees to an own request, nor twice, nor while acting for
 * somebody else; one no is the end; what is required is ticked off before a yes counts.
 */
#include "worker/access/approval.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/metrics.h"
#include "worker/access/api.h"
#include "worker/worker.h"

#define APPROVAL_COMMENT_MAX 1000

static struct worker *api_worker(const struct http_request *req)
{
	return req->user;
}

CO_FN static void api_list(struct http_request *req)
{
	struct str state = http_query(req, "status");
	int64_t limit = http_query_int(req, "limit", 1, 500, 100), now = clock_wall_ms();
	struct error err = ERROR_INIT;
	struct approval_row row;
	struct db_rows r;
	json_t *list;
	size_t i;

	if (state.n == 0)
		state = STR("pending");
	if (!str_eqz(state, "pending") && !str_eqz(state, "approved") && !str_eqz(state, "rejected") &&
	    !str_eqz(state, "expired") && !str_eqz(state, "used")) {
		access_refuse(req, ERR_INVALID_VALUE, "status", "must be pending, approved, rejected, expired or used");
		return;
	}
	if (!db_query(api_worker(req)->db, req->arena,
		      "SELECT " APPROVAL_COLUMNS " FROM approvals WHERE org_id = $1 AND state = $2"
		      " AND (expires_at > $3 OR state NOT IN ('pending', 'approved')) ORDER BY created_at, id LIMIT $4",
		      DB_ARGS(DB_S(req->ctx.org_id), DB_S(state), DB_I(now), DB_I(limit)), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < r.count; i++) {
		approval_read(&r, i, now, &row);
		json_array_append_new(list, approval_json(req->arena, &row));
	}
	http_reply_json(req, 200,
			json_pack("{s:o, s:I, s:o, s:[s]}", "approvals", list, "count", (json_int_t)r.count,
				  "requested_by", json_str(req->ctx.principal), "sources", "gateway"));
}

CO_FN static void api_show(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct approval_row row;

	if (!approval_get(api_worker(req)->db, req->arena, req->ctx.org_id, req->params[0], &row, &err))
		http_reply_error(req, &err);
	/* One's own may be seen by everybody: who asks waits for the answer. */
	else if (str_eq(row.requester_id, req->ctx.principal) || rbac_demand(req, "approval.read"))
		http_reply_json(req, 200, json_pack("{s:o}", "request", approval_json(req->arena, &row)));
}

CO_FN static void api_operations(struct http_request *req)
{
	const struct approval_operation *o;
	json_t *list = json_array();
	size_t i;

	for (i = 0; (o = approval_operation_at(i)) != NULL; i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:i, s:b}", "operation", o->name, "risk_level",
						      o->risk, "description", o->description, "approvals_needed",
						      o->needed, "enabled", approval_wanted(api_worker(req)->conf, o)));
	http_reply_json(req, 200, json_pack("{s:o}", "operations", list));
}

/* ---- deciding ---- */

/* May whoever asks decide about it? False: it has been answered. */
static bool api_may_decide(struct http_request *req, const struct approval_row *row, const json_t *votes)
{
	const json_t *vote;
	size_t i;

	if (!str_eqz(row->state, "pending")) {
		access_refuse(req, ERR_CONFLICT, "id", "the request is not pending: %.*s", STR_ARG(row->state));
		return false;
	}
	if (req->ctx.who->impersonator.n > 0) {
		access_refuse(req, ERR_FORBIDDEN, "", "not while acting for somebody else");
		return false;
	}
	if (str_eq(row->requester_id, req->ctx.principal)) {
		access_refuse(req, ERR_FORBIDDEN, "", "nobody decides about an own request");
		return false;
	}
	json_array_foreach(votes, i, vote)
	{
		if (str_eq(json_get_str(vote, "user_id", STR("")), req->ctx.principal)) {
			access_refuse(req, ERR_CONFLICT, "", "you have agreed already");
			return false;
		}
	}
	return true;
}

/* Ticks off what the body ticks off; the first required item that is still open, or NULL. */
static const char *api_tick(json_t *checklist, const json_t *body)
{
	const json_t *ticks = json_get_obj(body, "checklist");
	const char *open = NULL;
	json_t *item;
	size_t i;

	json_array_foreach(checklist, i, item)
	{
		const char *label = json_string_value(json_object_get(item, "label"));

		if (json_is_true(json_object_get(ticks, label)))
			json_object_set_new(item, "checked", json_true());
		if (open == NULL && json_is_true(json_object_get(item, "required")) &&
		    !json_is_true(json_object_get(item, "checked")))
			open = label;
	}
	return open;
}

CO_FN static bool api_store(struct http_request *req, struct approval_row *row, bool agreed, const json_t *checklist,
			    const json_t *votes, struct str comment)
{
	struct worker *w = api_worker(req);
	struct db_batch *b = db_batch_new(w->db);
	struct error err = ERROR_INIT;
	int64_t now = clock_wall_ms();

	if (!agreed)
		row->state = STR("rejected");
	else if ((int64_t)json_array_size(votes) >= row->needed)
		row->state = STR("approved");
	row->decided_at = str_eqz(row->state, "pending") ? 0 : now;
	row->votes = json_text(req->arena, votes);
	row->checklist = json_text(req->arena, checklist);
	db_batch_add(b,
		     "UPDATE approvals SET state = $3, votes = $4, checklist = $5, decided_at = $6, epoch = epoch + 1"
		     " WHERE id = $1 AND epoch = $2 AND state = 'pending' AND org_id = $7 AND expires_at > $8",
		     DB_ARGS(DB_S(row->id), DB_I(row->epoch), DB_S(row->state), DB_S(row->votes), DB_S(row->checklist),
			     DB_I(row->decided_at), DB_S(row->org_id), DB_I(now)),
		     1);
	audit_add(b, req,
		  &(struct audit_event){.category = "admin",
					.action = agreed ? "approval.approved" : "approval.rejected",
					.resource_type = STR("approval"),
					.resource_id = row->id,
					.reason = comment.n > 0 ? comment : row->operation});
	if (db_commit(w->db, b, &err))
		return true;
	if (err.code == ERR_FENCED)
		access_refuse(req, ERR_CONFLICT, "id", "somebody else has decided at the same time");
	else
		http_reply_error(req, &err);
	return false;
}

CO_FN static void api_decide(struct http_request *req, bool agreed)
{
	const json_t *body = body_object(req);
	struct approval_row row;
	struct error err = ERROR_INIT;
	struct body_problems p;
	json_t *votes, *checklist;
	const char *open;
	struct str comment;

	if (body == NULL)
		return;
	body_problems_begin(req, &p);
	comment = body_text(&p, body, json_object_get(body, "reason") != NULL ? "reason" : "comment", 0,
			    APPROVAL_COMMENT_MAX, false);
	if (body_refused(req, &p))
		return;
	if (!approval_get(api_worker(req)->db, req->arena, req->ctx.org_id, req->params[0], &row, &err)) {
		http_reply_error(req, &err);
		return;
	}
	votes = json_parse(req->arena, row.votes, &err);
	checklist = json_parse(req->arena, row.checklist, &err);
	if (!api_may_decide(req, &row, votes))
		return;
	open = api_tick(checklist, body);
	if (agreed && open != NULL) {
		access_refuse(req, ERR_INVALID_VALUE, "checklist", "not ticked off: %s", open);
		return;
	}
	json_array_append_new(votes, json_pack("{s:o, s:s, s:o, s:o}", "user_id", json_str(req->ctx.principal),
					       "decision", agreed ? "approved" : "rejected", "comment",
					       json_str(comment), "at", json_time(clock_wall_ms())));
	if (!api_store(req, &row, agreed, checklist, votes, comment))
		return;
	if (!str_eqz(row.state, "pending")) {
		metric_add(M_APPROVALS, 1, agreed ? "approved" : "rejected", NULL);
		approval_tell(api_worker(req), req->arena, agreed ? "approval_approved" : "approval_rejected", &row);
	}
	http_reply_json(req, 200, json_pack("{s:b, s:o}", "success", 1, "request", approval_json(req->arena, &row)));
}

CO_FN static void api_approve(struct http_request *req)
{
	api_decide(req, true);
}

CO_FN static void api_reject(struct http_request *req)
{
	api_decide(req, false);
}

static const struct route approval_rows[] = {
    ROUTE(GET, "/api/approvals", api_list, "approval:read", READ, "Requests for approval; ?status=pending"),
    ROUTE(GET, "/api/approvals/pending", api_list, "approval:read", READ, "Requests that wait for approval"),
    ROUTE(GET, "/api/approvals/operations", api_operations, "approval:read", READ, "Operations that can need approval"),
    ROUTE(GET, "/api/approvals/{id}", api_show, "authentication:read", READ, "One request for approval"),
    ROUTE(POST, "/api/approvals/{id}/approve", api_approve, "approval:grant", WRITE,
	  "Agree to somebody else's request"),
    ROUTE(POST, "/api/approvals/{id}/reject", api_reject, "approval:grant", WRITE, "Refuse somebody else's request"),
};
const struct route_table approval_routes = {approval_rows, countof(approval_rows)};
