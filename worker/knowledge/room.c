/* SPDX-License-Identifier: MIT */
/*
 * How many nodes a workspace may have (knowledge.max_nodes). Asked before nodes are added, by endpoints and adapters.
 * Two that write at the same moment may both fit: the limit guards the server, it is no quota that is paid for.
 */
#include "common/log.h"
#include "common/metrics.h"
#include "worker/knowledge/knowledge.h"
#include "worker/worker.h"

CO_FN bool knowledge_room(struct worker *w, const struct context *ctx, int64_t *room, struct error *err)
{
	int64_t max = w->conf->knowledge.max_nodes;
	struct arena *a;
	struct db_rows r;
	bool ok;

	*room = INT64_MAX;
	if (max == 0)
		return true;
	a = arena_new(0);
	ok = db_query(w->db, a, "SELECT COUNT(*) FROM knowledge_nodes WHERE workspace_id = $1 AND archived_at = 0",
		      DB_ARGS(DB_S(ctx->workspace_id)), &r, err);
	if (ok)
		*room = db_int(&r, 0, 0) < max ? max - db_int(&r, 0, 0) : 0;
	arena_free(a);
	return ok;
}

/* Is the content that is to be written a node already? */
CO_FN static bool room_known(struct http_request *req, const struct knowledge_new *n, bool *known, struct error *err)
{
	struct str content = db_clean(req->arena, str_utf8_cut(n->content, KNOWLEDGE_CONTENT_MAX)), wanted;
	char id[KNOWLEDGE_ID_LEN + 1];
	struct knowledge_node *found;
	size_t count;

	knowledge_id(id, req->ctx.workspace_id, n->visibility, n->created_by, content);
	wanted = str_of(id);
	if (!knowledge_read(req->user, req->arena, &req->ctx, &wanted, 1, &found, &count, err))
		return false;
	*known = count > 0;
	return true;
}

CO_FN bool knowledge_fits(struct http_request *req, const struct knowledge_new *n, int64_t count)
{
	const struct worker *w = req->user;
	struct error err = ERROR_INIT;
	bool known = false;
	int64_t room;

	if (knowledge_room(req->user, &req->ctx, &room, &err) &&
	    (count <= room || n == NULL || room_known(req, n, &known, &err))) {
		if (count <= room || known)
			return true;
		error_field(&err, ERR_CONFLICT, "workspace_id",
			    "the workspace has room for %lld more nodes of its %lld (knowledge.max_nodes): merge, "
			    "prune or delete some first",
			    (long long)room, (long long)w->conf->knowledge.max_nodes);
		metric_add(M_KM_REFUSED, count, "api", NULL);
	}
	http_reply_error(req, &err);
	return false;
}

void knowledge_left_out(const struct worker *w, const struct context *ctx, int64_t count, struct str debate_id)
{
	if (count == 0)
		return;
	metric_add(M_KM_REFUSED, count, "adapter", NULL);
	log_warn("knowledge", "the workspace is full of knowledge: new nodes were left out",
		 KV_STR("workspace_id", ctx->workspace_id), KV_I("left_out", count),
		 KV_I("max_nodes", w->conf->knowledge.max_nodes), KV_STR("debate_id", debate_id));
}
