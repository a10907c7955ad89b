/* SPDX-License-Identifier: MIT */
/*
 * Knowledge that a whole organization may see, over the API, and what there is of federation (rest-wide 5.2). Called
 * through its routes. Nothing leaves an organization: "public" and "system" mean all of its workspaces. There is no
 * exchange between servers here: who asks for it is told so.
 */
#include "common/clock.h"
#include "common/json.h"
#include "common/tenant.h"
#include "worker/knowledge/knowledge.h"
#include "worker/search/fulltext.h"
#include "worker/worker.h"

#define GLOBAL_LOOKED 200   /* newest nodes that a question is compared with */
#define GLOBAL_LEAST 200000 /* share of the question's words */

/* clang-format off */
static const char global_visible[] =
	SQL_WITHIN_ORG("nodes that the organization may see")
	"SELECT " KNOWLEDGE_COLUMNS " FROM knowledge_nodes n WHERE n.org_id = $1 AND n.visibility IN ('organization',"
	" 'public', 'system') AND n.archived_at = 0 AND (n.discoverable = 1 OR n.workspace_id = $2 OR n.created_by = $3)"
	" AND ($6 = '' OR n.node_type = $6) ORDER BY n.created_at DESC, n.id LIMIT $4 OFFSET $5";
/* clang-format on */

struct global_hit {
	const struct knowledge_node *node;
	int64_t score_ppm;
};

static int global_order(const void *x, const void *y)
{
	int64_t p = ((const struct global_hit *)x)->score_ppm, q = ((const struct global_hit *)y)->score_ppm;

	return (p < q) - (p > q);
}

/* Those that share words with the question, best first; the order of before where they share as many. */
static size_t global_rank(struct arena *a, struct str query, const struct knowledge_node *nodes, size_t n,
			  struct global_hit *hits)
{
	size_t i, found = 0;

	for (i = 0; i < n; i++) {
		int64_t score = query.n == 0 ? KNOWLEDGE_ONE : fulltext_score(a, query, nodes[i].content);

		if (score >= GLOBAL_LEAST)
			hits[found++] = (struct global_hit){&nodes[i], score};
	}
	if (found > 0 && query.n > 0)
		qsort(hits, found, sizeof(*hits), global_order);
	return found;
}

/* Nodes of one type, or of all with "", as `name`. */
CO_FN static void global_reply(struct http_request *req, const char *type, const char *name)
{
	int64_t limit = http_query_int(req, "limit", 1, 200, 50),
		offset = http_query_int(req, "offset", 0, INT32_MAX, 0);
	struct str query = str_utf8_cut(http_query(req, "query"), 500);
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct knowledge_node *nodes;
	struct global_hit *hits;
	struct db_rows r;
	json_t *list;
	size_t n, i;

	if (!db_query(w->db, req->arena, global_visible,
		      DB_ARGS(DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id), DB_S(req->ctx.principal),
			      DB_I(query.n > 0 ? GLOBAL_LOOKED : limit), DB_I(query.n > 0 ? 0 : offset), DB_Z(type)),
		      &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	knowledge_rows(req->arena, &r, &nodes, &n);
	hits = arena_alloc(req->arena, (n + 1) * sizeof(*hits));
	n = global_rank(req->arena, query, nodes, n, hits);
	list = json_array();
	for (i = query.n > 0 ? (size_t)offset : 0; i < n && json_array_size(list) < (size_t)limit; i++) {
		json_t *o = knowledge_json(req->arena, hits[i].node);

		if (query.n > 0)
			json_object_set_new(o, "score", json_real((double)hits[i].score_ppm / KNOWLEDGE_ONE));
		json_array_append_new(list, o);
	}
	http_reply_json(req, 200,
			json_pack("{s:o, s:I, s:I, s:I}", name, list, "count", (json_int_t)json_array_size(list),
				  "limit", (json_int_t)limit, "offset", (json_int_t)offset));
}

CO_FN static void global_list(struct http_request *req)
{
	global_reply(req, "", "items");
}

CO_FN static void global_facts(struct http_request *req)
{
	global_reply(req, "fact", "facts");
}

/* ---- federation ---- */

static void federation_regions(struct http_request *req)
{
	http_reply_json(req, 200, json_pack("{s:[], s:i}", "regions", "count", 0));
}

static void federation_status(struct http_request *req)
{
	http_reply_json(req, 200,
			json_pack("{s:s, s:b, s:{}, s:i, s:s}", "status", "disabled", "enabled", 0, "regions",
				  "total_regions", 0, "message", "this server exchanges knowledge with no other"));
}

static void federation_absent(struct http_request *req)
{
	struct error err = ERROR_INIT;

	error_set(&err, ERR_UNAVAILABLE,
		  "Federation is not configured: this server exchanges knowledge with no other; an export can be "
		  "imported elsewhere (GET /api/knowledge/export)");
	http_reply_error(req, &err);
}

static void federation_unknown(struct http_request *req)
{
	struct error err = ERROR_INIT;

	error_field(&err, ERR_NOT_FOUND, "id", "Region not found");
	http_reply_error(req, &err);
}

static const struct route global_rows[] = {
    KNOWLEDGE_ROW(GET, "mound/global", global_list, "read", READ, "Nodes that the organization may see"),
    KNOWLEDGE_ROW(GET, "mound/global/facts", global_facts, "read", READ, "Facts that the organization may see"),
    KNOWLEDGE_ROW(GET, "mound/federation/regions", federation_regions, "admin", READ,
		  "Other servers that knowledge is exchanged with: none"),
    KNOWLEDGE_ROW(GET, "mound/federation/status", federation_status, "read", READ, "Whether there is federation"),
    KNOWLEDGE_ROW(POST, "mound/federation/regions", federation_absent, "admin", WRITE, "503: there is no federation"),
    KNOWLEDGE_ROW(DELETE, "mound/federation/regions/{id}", federation_unknown, "admin", WRITE,
		  "404: there are no regions"),
    KNOWLEDGE_ROW(POST, "mound/federation/sync/push", federation_absent, "admin", WRITE, "503: there is no federation"),
    KNOWLEDGE_ROW(POST, "mound/federation/sync/pull", federation_absent, "admin", WRITE, "503: there is no federation"),
    KNOWLEDGE_ROW(POST, "mound/federation/sync/all", federation_absent, "admin", WRITE, "503: there is no federation"),
};
const struct route_table knowledge_global_routes = {global_rows, countof(global_rows)};
