/* SPDX-License-Identifier: MIT */
/*
 * Operations that approvals.operations names wait for somebody else's consent: the first call gets 202 with the id of a
 * request, the repeated one brings it and uses it up. An approval is for this caller, this route, this resource and
 * this body, once. Who may consent is the matter of approvals_api.c.
 */
#include "common/clock.h"
#include "common/conf.h"
#include "common/ids.h"
#include "common/json.h"
#include "common/metrics.h"
#include "worker/access/approval.h"
#include "worker/audit/audit.h"
#include "worker/identity/identity.h"
#include "worker/middleware/pipeline.h"
#include "worker/worker.h"

#define GATE_PENDING_MAX 10000 /* of an organization; security.md 2.4 */

static struct worker *gate_worker(const struct http_request *req)
{
	return req->user;
}

static bool gate_bypassed(const struct http_request *req)
{
	const struct conf_list *roles = &gate_worker(req)->conf->approvals.auto_approve_roles;
	size_t i;

	for (i = 0; i < roles->n; i++)
		if (str_eqz(req->ctx.who->role, roles->v[i]))
			return true;
	return false;
}

static bool gate_reply(struct http_request *req, const struct approval_row *r)
{
	json_t *o = approval_json(req->arena, r);

	json_object_set_new(o, "approval_required", json_true());
	json_put_str(o, "approval_id", r->id);
	json_put_str(o, "message", STR("This needs approval. Repeat the call with X-Approval-ID once it is approved."));
	http_reply_json(req, 202, o);
	return false;
}

static bool gate_refuse(struct http_request *req, const char *text)
{
	struct error err = ERROR_INIT;

	metric_add(M_APPROVALS, 1, "refused", NULL);
	error_field(&err, ERR_APPROVAL, "approval_id", "%s", text);
	http_reply_error(req, &err);
	return false;
}

static bool gate_failed(struct http_request *req, const struct error *err)
{
	http_reply_error(req, err);
	return false;
}

static json_t *gate_checklist(const struct approval_operation *o)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < countof(o->checklist) && o->checklist[i] != NULL; i++)
		json_array_append_new(
		    list, json_pack("{s:s, s:b, s:b}", "label", o->checklist[i], "required", 1, "checked", 0));
	return list;
}

/* The innermost thing that the path names: of a workspace's member the member. */
static struct str gate_resource(const struct http_request *req)
{
	struct str id = STR("");
	size_t i;

	for (i = 0; i < countof(req->params) && req->params[i].p != NULL; i++)
		id = req->params[i];
	return id;
}

/* An equal request that is still open is the same one: repeating a call does not fill the list. */
CO_FN static bool gate_open(struct http_request *req, const char *hash, struct approval_row *out, bool *found,
			    struct error *err)
{
	struct db_rows r;

	if (!db_query(gate_worker(req)->db, req->arena,
		      "SELECT " APPROVAL_COLUMNS " FROM approvals WHERE requester_id = $1 AND body_hash = $2"
		      " AND state IN ('pending', 'approved') AND org_id = $3 AND expires_at > $4"
		      " ORDER BY created_at DESC LIMIT 1",
		      DB_ARGS(DB_S(req->ctx.principal), DB_Z(hash), DB_S(req->ctx.org_id), DB_I(clock_wall_ms())), &r,
		      err))
		return false;
	*found = r.count > 0;
	if (*found)
		approval_read(&r, 0, clock_wall_ms(), out);
	return true;
}

CO_FN static bool gate_request(struct http_request *req, const struct approval_operation *o, const char *hash)
{
	struct worker *w = gate_worker(req);
	int64_t now = clock_wall_ms();
	struct approval_row row;
	struct error err = ERROR_INIT;
	struct db_batch *b;
	char id[UUID_LEN + 1];
	bool found;

	if (!gate_open(req, hash, &row, &found, &err))
		return gate_failed(req, &err);
	if (found)
		return gate_reply(req, &row);
	ids_uuid7(id);
	row = (struct approval_row){
	    .id = arena_str(req->arena, str_of(id)),
	    .org_id = req->ctx.org_id,
	    .workspace_id = req->ctx.workspace_id,
	    .operation = str_of(o->name),
	    .risk = str_of(o->risk),
	    .requester_id = req->ctx.principal,
	    .requester_email = req->ctx.who->email,
	    .resource_type = str_of(o->resource_type),
	    .resource_id = gate_resource(req),
	    .method = str_of(http_method_name(req->method)),
	    .path = req->path,
	    .body_hash = str_of(hash),
	    .request = approval_request(req),
	    .description = str_of(o->description),
	    .checklist = json_text(req->arena, json_own(req->arena, gate_checklist(o))),
	    .votes = STR("[]"),
	    .needed = o->needed,
	    .state = STR("pending"),
	    .created_at = now,
	    .expires_at = now + w->conf->approvals.life / MS_US,
	};
	b = db_batch_new(w->db);
	db_batch_add(
	    b,
	    "INSERT INTO approvals (id, org_id, workspace_id, operation, risk, requester_id, requester_email,"
	    " resource_type, resource_id, method, path, body_hash, description, checklist, votes, needed, state,"
	    " epoch, created_at, expires_at, request) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,"
	    " $14, $15, $16, 'pending', 0, $17, $18, $20 FROM (SELECT 1 AS one) x WHERE (SELECT COUNT(*) FROM"
	    " approvals WHERE org_id = $2 AND state = 'pending') < $19",
	    DB_ARGS(DB_S(row.id), DB_S(row.org_id), DB_S(row.workspace_id), DB_S(row.operation), DB_S(row.risk),
		    DB_S(row.requester_id), DB_S(row.requester_email), DB_S(row.resource_type), DB_S(row.resource_id),
		    DB_S(row.method), DB_S(row.path), DB_S(row.body_hash), DB_S(row.description), DB_S(row.checklist),
		    DB_S(row.votes), DB_I(row.needed), DB_I(now), DB_I(row.expires_at), DB_I(GATE_PENDING_MAX),
		    DB_S(row.request)),
	    1);
	audit_add(b, req,
		  &(struct audit_event){.category = "admin",
					.action = "approval.requested",
					.resource_type = STR("approval"),
					.resource_id = row.id,
					.reason = row.operation});
	if (!db_commit(w->db, b, &err)) {
		if (err.code == ERR_FENCED)
			error_set(&err, ERR_UNAVAILABLE, "too many approvals are waiting");
		return gate_failed(req, &err);
	}
	metric_add(M_APPROVALS, 1, "requested", NULL);
	approval_tell(w, req->arena, "approval_requested", &row);
	return gate_reply(req, &row);
}

/* Uses the approval up; what is wrong with it is told, without telling of somebody else's. */
CO_FN static bool gate_use(struct http_request *req, const struct approval_operation *o, struct str id,
			   const char *hash)
{
	struct worker *w = gate_worker(req);
	struct db_batch *b = db_batch_new(w->db);
	int64_t now = clock_wall_ms();
	struct error err = ERROR_INIT;
	struct approval_row row;

	db_batch_add(
	    b,
	    "UPDATE approvals SET state = 'used', used_at = $6, epoch = epoch + 1 WHERE id = $1 AND org_id = $2"
	    " AND requester_id = $3 AND operation = $4 AND body_hash = $5 AND state = 'approved'"
	    " AND expires_at > $6",
	    DB_ARGS(DB_S(id), DB_S(req->ctx.org_id), DB_S(req->ctx.principal), DB_Z(o->name), DB_Z(hash), DB_I(now)),
	    1);
	audit_add(b, req,
		  &(struct audit_event){.category = "admin",
					.action = "approval.used",
					.resource_type = STR("approval"),
					.resource_id = id,
					.reason = str_of(o->name)});
	if (db_commit(w->db, b, &err)) {
		metric_add(M_APPROVALS, 1, "used", NULL);
		return true;
	}
	if (err.code != ERR_FENCED)
		return gate_failed(req, &err);
	err = ERROR_INIT;
	if (!approval_get(w->db, req->arena, req->ctx.org_id, id, &row, &err))
		return err.code == ERR_NOT_FOUND ? gate_refuse(req, "there is no such approval")
						 : gate_failed(req, &err);
	if (!str_eq(row.requester_id, req->ctx.principal))
		return gate_refuse(req, "there is no such approval");
	if (!str_eqz(row.operation, o->name) || !str_eqz(row.body_hash, hash))
		return gate_refuse(req, "the approval is for another call than this");
	if (str_eqz(row.state, "pending"))
		return gate_reply(req, &row);
	if (str_eqz(row.state, "used"))
		return gate_refuse(req, "the approval has been used already");
	return gate_refuse(req,
			   str_eqz(row.state, "rejected") ? "the request was rejected" : "the approval has expired");
}

CO_FN static bool gate_before(struct http_request *req)
{
	const struct approval_operation *o = approval_operation_of(req->route, gate_worker(req)->conf);
	struct str id;
	char hash[SHA256_HEX];

	if (o == NULL || gate_bypassed(req))
		return true;
	approval_hash(req, hash);
	id = approval_given(req);
	return id.n > 0 ? gate_use(req, o, id, hash) : gate_request(req, o, hash);
}

static bool gate_applies(const struct route *r, const struct conf *c)
{
	(void)c; /* approvals.operations may be changed by a reload */
	return approval_operation_of(r, NULL) != NULL;
}

const struct middleware middleware_approval_gate = {
    .name = "approval_gate", .applies = gate_applies, .before = gate_before, .waits = true};
