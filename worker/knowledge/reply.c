/* SPDX-License-Identifier: MIT */
/*
 * What endpoints about knowledge do alike: take a node that is theirs to change, and commit a change with its event in
 * the audit log. Called by the endpoints of this folder; what fails has been answered.
 */
#include "common/clock.h"
#include "worker/audit/audit.h"
#include "worker/knowledge/knowledge.h"
#include "worker/worker.h"

CO_FN bool knowledge_mine(struct http_request *req, struct str id, struct knowledge_node *n)
{
	struct error err = ERROR_INIT;

	if (knowledge_own(req->user, req->arena, &req->ctx, id, n, &err))
		return true;
	http_reply_error(req, &err);
	return false;
}

CO_FN bool knowledge_mine_of(struct http_request *req, const struct str *ids, size_t count,
			     struct knowledge_node **nodes, size_t *n)
{
	struct error err = ERROR_INIT;
	size_t i, all;

	*n = 0;
	if (!knowledge_read(req->user, req->arena, &req->ctx, ids, count, nodes, &all, &err)) {
		http_reply_error(req, &err);
		return false;
	}
	for (i = 0; i < all; i++)
		if (!str_eqz((*nodes)[i].visibility, "private") || str_eq((*nodes)[i].created_by, req->ctx.principal))
			(*nodes)[(*n)++] = (*nodes)[i];
	return true;
}

CO_FN bool knowledge_commit(struct http_request *req, struct db_batch *b, const char *operation, const char *type,
			    const char *action, struct str id)
{
	int64_t start = clock_mono_us();
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	bool ok;

	audit_add(b, req,
		  &(struct audit_event){
		      .category = "data", .action = action, .resource_type = str_of(type), .resource_id = id});
	ok = db_commit(w->db, b, &err);
	knowledge_counted(operation, ok, start);
	if (!ok)
		http_reply_error(req, &err);
	return ok;
}
