/* SPDX-License-Identifier: MIT */
/*
 * Knowledge for others: grants on nodes (rest-wide 5.6), promotion to the organization, and insights sent to other
 * workspaces (5.9, seed 002 Cross-Workspace Learning). Called through its routes. Nothing leaves an
 * organization.
 */
#include "common/clock.h"
#include "common/ids.h"
#include "common/json.h"
#include "common/metrics.h"
#include "common/tenant.h"
#include "worker/audit/audit.h"
#include "worker/knowledge/knowledge.h"
#include "worker/worker.h"

#define SHARE_INSIGHT_LEAST 600000 /* seed 002: minimum confidence */
#define SHARE_TARGETS_MAX 50
#define SHARE_MESSAGE_MAX 1000

static const char *const share_grantees[] = {"user", "role", "workspace", "organization", NULL};
static const char *const share_permissions[] = {"read", "write", NULL};

static struct worker *share_worker(const struct http_request *req)
{
	return req->user;
}

/* ---- grants ---- */

#define GRANT_COLUMNS                                                                                          \
	"g.id, g.item_id, g.grantee_type, g.grantee_id, g.permissions, g.granted_by, g.message, g.created_at," \
	" g.expires_at"

static json_t *grant_json(struct arena *a, const struct db_rows *r, size_t i)
{
	static const char *const names[] = {"id",          "item_id",    "grantee_type", "grantee_id",
					    "permissions", "granted_by", "message"};
	struct error ignored = ERROR_INIT;
	json_t *o = json_object(), *permissions = json_parse(a, db_str(r, i, 4), &ignored);
	size_t c;

	for (c = 0; c < countof(names); c++)
		json_put_str(o, names[c], db_str(r, i, c));
	json_object_set_new(o, "permissions", permissions != NULL ? json_incref(permissions) : json_array());
	json_put_time(o, "granted_at", db_int(r, i, 7));
	json_put_time(o, "expires_at", db_int(r, i, 8));
	return o;
}

/* permissions[], or the SDK's singular permission; ["read"] when absent. */
static struct str share_rights(struct body_problems *p, struct arena *a, const json_t *body)
{
	const json_t *list = json_object_get(body, "permissions"), *it;
	struct str one = knowledge_choice(p, body, "permission", share_permissions, "read");
	struct error err = ERROR_INIT;
	bool ok = true;
	size_t i;

	if (list == NULL)
		return arena_printf(a, "[\"%.*s\"]", STR_ARG(one));
	json_array_foreach(list, i, it) ok =
	    ok && json_is_string(it) && knowledge_word(share_permissions, str_of(json_string_value(it)));
	if (ok && json_is_array(list) && json_array_size(list) > 0)
		return json_text(a, list);
	error_field(&err, ERR_INVALID_VALUE, "permissions", "must be a list of read, write");
	body_problem(p, &err);
	return STR("[]");
}

/* 0: never. */
static int64_t share_expiry(struct body_problems *p, const json_t *body)
{
	struct str s = json_get_str(body, "expires_at", STR(""));
	struct error err = ERROR_INIT;
	int64_t ms = 0;

	if (s.n == 0 || (clock_parse(s, &ms) && ms > clock_wall_ms()))
		return ms;
	error_field(&err, ERR_INVALID_VALUE, "expires_at", "must be a time to come");
	body_problem(p, &err);
	return 0;
}

/* Is it a workspace or a person of this organization? If not, it has been answered with 404. */
CO_FN static bool share_grantee(struct http_request *req, struct str type, struct str id)
{
	static const char *const tables[][2] = {
	    {"workspace", "SELECT id FROM workspaces WHERE id = $1 AND org_id = $2"},
	    {"user", "SELECT user_id FROM members WHERE user_id = $1 AND org_id = $2"}};
	struct error err = ERROR_INIT;
	struct db_rows r;
	size_t i;

	if (str_eqz(type, "organization") && !str_eq(id, req->ctx.org_id))
		error_field(&err, ERR_NOT_FOUND, "grantee_id", "Grantee not found: the organization has no %.*s %.*s",
			    STR_ARG(type), STR_ARG(id));
	for (i = 0; err.code == ERR_OK && i < countof(tables); i++)
		if (str_eqz(type, tables[i][0]) &&
		    db_query(share_worker(req)->db, req->arena, tables[i][1], DB_ARGS(DB_S(id), DB_S(req->ctx.org_id)),
			     &r, &err) &&
		    r.count == 0)
			error_field(&err, ERR_NOT_FOUND, "grantee_id",
				    "Grantee not found: the organization has no %.*s %.*s", STR_ARG(type), STR_ARG(id));
	if (err.code == ERR_OK)
		return true;
	http_reply_error(req, &err);
	return false;
}

/* What the body grants, committed; the answer is {success, [name]: grant}. */
CO_FN static void share_grant(struct http_request *req, const json_t *body, struct str item, struct str type,
			      struct str grantee, struct body_problems *p, const char *name)
{
	struct str rights = share_rights(p, req->arena, body), message;
	int64_t expires = share_expiry(p, body), start = clock_mono_us();
	struct worker *w = share_worker(req);
	struct error err = ERROR_INIT;
	struct knowledge_node n;
	char hex[13], id[24];
	struct db_batch *b;
	struct db_rows r;
	bool ok;

	message = body_text(p, body, "message", 0, SHARE_MESSAGE_MAX, false);
	if (str_eqz(type, "workspace") && str_eq(grantee, req->ctx.workspace_id)) {
		error_field(&err, ERR_INVALID_VALUE, "target_id", "the node is of this workspace");
		body_problem(p, &err);
	}
	if (body_refused(req, p) || !knowledge_mine(req, item, &n) || !share_grantee(req, type, grantee))
		return;
	ids_hex(hex, 6);
	(void)snprintf(id, sizeof(id), "grant_%s", hex);
	b = db_batch_new(w->db);
	db_batch_add(
	    b,
	    "INSERT INTO knowledge_grants (id, org_id, workspace_id, item_id, grantee_type, grantee_id, permissions,"
	    " granted_by, message, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
	    " ON CONFLICT (item_id, grantee_type, grantee_id) DO UPDATE SET permissions = excluded.permissions,"
	    " message = excluded.message, expires_at = excluded.expires_at, granted_by = excluded.granted_by",
	    DB_ARGS(DB_Z(id), DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id), DB_S(n.id), DB_S(type), DB_S(grantee),
		    DB_S(rights), DB_S(req->ctx.principal), DB_S(message), DB_I(clock_wall_ms()), DB_I(expires)),
	    1);
	audit_add(b, req,
		  &(struct audit_event){.category = "data",
					.action = "knowledge.share",
					.resource_type = STR("knowledge_node"),
					.resource_id = n.id});
	ok =
	    db_commit(w->db, b, &err) &&
	    db_query(w->db, req->arena,
		     "SELECT " GRANT_COLUMNS " FROM knowledge_grants g WHERE g.workspace_id = $1 AND g.item_id = $2 AND"
		     " g.grantee_type = $3 AND g.grantee_id = $4",
		     DB_ARGS(DB_S(req->ctx.workspace_id), DB_S(n.id), DB_S(type), DB_S(grantee)), &r, &err);
	knowledge_counted("share", ok, start);
	if (ok && r.count == 1)
		http_reply_json(req, req->method == HTTP_PATCH ? 200 : 201,
				json_pack("{s:b, s:o}", "success", 1, name, grant_json(req->arena, &r, 0)));
	else
		http_reply_error(req, &err);
}

CO_FN static void share_access_add(struct http_request *req)
{
	const json_t *body = body_object(req);
	struct body_problems p;
	struct str type, grantee;

	if (body == NULL)
		return;
	body_problems_begin(req, &p);
	(void)body_text(&p, body, "grantee_type", 1, 64, false);
	type = knowledge_choice(&p, body, "grantee_type", share_grantees, "user");
	grantee = body_text(&p, body, "grantee_id", 1, 200, false);
	share_grant(req, body, req->params[0], type, grantee, &p, "grant");
}

CO_FN static void share_create(struct http_request *req)
{
	static const char *const targets[] = {"workspace", "user", NULL};
	const json_t *body = body_object(req);
	struct str item, type, target;
	struct body_problems p;

	if (body == NULL)
		return;
	body_problems_begin(req, &p);
	item = knowledge_either(&p, body, "item_id", "node_id", 64);
	(void)body_text(&p, body, "target_type", 1, 64, false);
	type = knowledge_choice(&p, body, "target_type", targets, "workspace");
	target = body_text(&p, body, "target_id", 1, 200, false);
	share_grant(req, body, item, type, target, &p, "share");
}

/* Item and grantee of a body; the type is the one of the grant that there is. */
CO_FN static bool share_existing(struct http_request *req, const json_t *body, struct str *item, struct str *grantee,
				 struct str *type)
{
	struct error err = ERROR_INIT;
	struct body_problems p;
	struct db_rows r;

	body_problems_begin(req, &p);
	*item = req->params[0].n > 0 ? req->params[0] : knowledge_either(&p, body, "item_id", "node_id", 64);
	*grantee = body_text(&p, body, "grantee_id", 1, 200, false);
	if (body_refused(req, &p))
		return false;
	if (db_query(share_worker(req)->db, req->arena,
		     "SELECT grantee_type FROM knowledge_grants WHERE workspace_id = $1 AND item_id = $2 AND "
		     "grantee_id = $3",
		     DB_ARGS(DB_S(req->ctx.workspace_id), DB_S(*item), DB_S(*grantee)), &r, &err) &&
	    r.count > 0) {
		*type = db_str(&r, 0, 0);
		return true;
	}
	if (err.code == ERR_OK)
		error_field(&err, ERR_NOT_FOUND, "item_id", "Share not found");
	http_reply_error(req, &err);
	return false;
}

CO_FN static void share_change(struct http_request *req)
{
	const json_t *body = body_object(req);
	struct str item, grantee, type;
	struct body_problems p;

	if (body == NULL || !share_existing(req, body, &item, &grantee, &type))
		return;
	body_problems_begin(req, &p);
	share_grant(req, body, item, type, grantee, &p, "grant");
}

CO_FN static void share_revoke(struct http_request *req)
{
	const json_t *body = body_object(req);
	struct str item, grantee, type;
	struct error err = ERROR_INIT;
	struct db_batch *b;
	json_t *o;

	if (body == NULL || !share_existing(req, body, &item, &grantee, &type))
		return;
	b = db_batch_new(share_worker(req)->db);
	db_batch_add(b, "DELETE FROM knowledge_grants WHERE workspace_id = $1 AND item_id = $2 AND grantee_id = $3",
		     DB_ARGS(DB_S(req->ctx.workspace_id), DB_S(item), DB_S(grantee)), DB_ANY);
	audit_add(b, req,
		  &(struct audit_event){.category = "data",
					.action = "knowledge.unshare",
					.resource_type = STR("knowledge_node"),
					.resource_id = item});
	if (!db_commit(share_worker(req)->db, b, &err)) {
		http_reply_error(req, &err);
		return;
	}
	o = json_pack("{s:b}", "success", 1);
	json_put_str(o, "item_id", item);
	json_put_str(o, "grantee_id", grantee);
	json_put_str(o, "revoked_by", req->ctx.principal);
	http_reply_json(req, 200, o);
}

CO_FN static void share_reply_grants(struct http_request *req, struct str item)
{
	int64_t limit = http_query_int(req, "limit", 1, 200, 50),
		offset = http_query_int(req, "offset", 0, INT32_MAX, 0);
	struct error err = ERROR_INIT;
	struct db_rows r;
	json_t *list;
	size_t i;

	if (!db_query(
		share_worker(req)->db, req->arena,
		"SELECT " GRANT_COLUMNS " FROM knowledge_grants g WHERE g.workspace_id = $1 AND"
		" ($2 = '' OR g.item_id = $2) AND (g.expires_at = 0 OR g.expires_at > $3)"
		" ORDER BY g.created_at DESC, g.id LIMIT $4 OFFSET $5",
		DB_ARGS(DB_S(req->ctx.workspace_id), DB_S(item), DB_I(clock_wall_ms()), DB_I(limit), DB_I(offset)), &r,
		&err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < r.count; i++)
		json_array_append_new(list, grant_json(req->arena, &r, i));
	http_reply_json(req, 200,
			json_pack("{s:o, s:I, s:I, s:I}", "grants", list, "count", (json_int_t)r.count, "limit",
				  (json_int_t)limit, "offset", (json_int_t)offset));
}

CO_FN static void share_access(struct http_request *req)
{
	struct knowledge_node n;

	if (knowledge_mine(req, req->params[0], &n))
		share_reply_grants(req, n.id);
}

CO_FN static void share_mine(struct http_request *req)
{
	share_reply_grants(req, STR(""));
}

/* clang-format off */
static const char share_granted[] =
	SQL_WITHIN_ORG("what other workspaces of it have shared")
	"SELECT " KNOWLEDGE_COLUMNS " FROM knowledge_grants g JOIN knowledge_nodes n ON n.id = g.item_id AND"
	" n.org_id = g.org_id WHERE g.org_id = $1 AND n.org_id = $1 AND n.archived_at = 0 AND"
	" ((g.grantee_type = 'workspace' AND g.grantee_id = $2) OR (g.grantee_type = 'user' AND g.grantee_id = $3) OR"
	" g.grantee_type = 'organization') AND (g.expires_at = 0 OR g.expires_at > $6) AND n.workspace_id <> $2"
	" ORDER BY g.created_at DESC, g.id LIMIT $4 OFFSET $5";
/* clang-format on */

/* Nodes of other workspaces by grant. */
CO_FN static void share_with_me(struct http_request *req)
{
	int64_t limit = http_query_int(req, "limit", 1, 200, 50),
		offset = http_query_int(req, "offset", 0, INT32_MAX, 0);
	const struct db_val args[] = {
	    DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id), DB_S(req->ctx.principal), DB_I(limit),
	    DB_I(offset),          DB_I(clock_wall_ms())};
	struct error err = ERROR_INIT;
	struct knowledge_node *nodes;
	struct db_rows r;
	json_t *list;
	size_t n, i;

	if (!db_query(share_worker(req)->db, req->arena, share_granted, args, countof(args), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	knowledge_rows(req->arena, &r, &nodes, &n);
	list = json_array();
	for (i = 0; i < n; i++)
		json_array_append_new(list, knowledge_json(req->arena, &nodes[i]));
	http_reply_json(req, 200,
			json_pack("{s:o, s:I, s:I, s:I}", "items", list, "count", (json_int_t)n, "limit",
				  (json_int_t)limit, "offset", (json_int_t)offset));
}

/* ---- insights ---- */

/* Do all of them exist in this organization, apart from the caller's? If not, it has been answered. */
CO_FN static bool insight_targets(struct http_request *req, const struct str *ids, size_t n)
{
	struct error err = ERROR_INIT;
	size_t i;

	for (i = 0; i < n; i++) {
		if (str_eq(ids[i], req->ctx.workspace_id)) {
			error_field(&err, ERR_INVALID_VALUE, "target_workspaces", "must not have the source itself");
			http_reply_error(req, &err);
			return false;
		}
		if (!share_grantee(req, STR("workspace"), ids[i]))
			return false;
	}
	return true;
}

/* clang-format off */
static const char insight_put[] =
	SQL_WITHIN_ORG("an insight is put into the workspaces that it is for")
	"INSERT INTO knowledge_insights (workspace_id, insight_id, org_id, source_workspace, targets, task_type, content,"
	" confidence_ppm, shared_by, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (workspace_id,"
	" insight_id) DO UPDATE SET content = excluded.content, confidence_ppm = excluded.confidence_ppm,"
	" targets = excluded.targets, task_type = excluded.task_type WHERE knowledge_insights.source_workspace = $4";
/* clang-format on */

CO_FN static void insight_share(struct http_request *req)
{
	const json_t *body = body_object(req), *targets;
	struct worker *w = share_worker(req);
	struct error err = ERROR_INIT;
	struct str id, task, content, *ids;
	int64_t confidence, start = clock_mono_us(), now = clock_wall_ms();
	struct body_problems p;
	struct db_batch *b;
	json_t *o;
	size_t n, i;
	bool ok;

	if (body == NULL)
		return;
	body_problems_begin(req, &p);
	id = knowledge_either(&p, body, "insight_id", "id", 64);
	task = body_text(&p, body, "task_type", 1, 100, false);
	content = body_text(&p, body, "content", 1, 8192, false);
	confidence = knowledge_share(&p, body, "confidence", -1);
	targets = json_object_get(body, "target_workspaces");
	n = knowledge_ids(&p, req->arena, body, "target_workspaces", SHARE_TARGETS_MAX, &ids);
	if (confidence < SHARE_INSIGHT_LEAST) {
		error_field(&err, ERR_INVALID_VALUE, "confidence", "an insight is shared from a confidence of 0.6 on");
		body_problem(&p, &err);
	}
	if (body_refused(req, &p) || !insight_targets(req, ids, n))
		return;
	b = db_batch_new(w->db);
	for (i = 0; i < n; i++)
		db_batch_add(b, insight_put,
			     DB_ARGS(DB_S(ids[i]), DB_S(id), DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id),
				     DB_S(json_text(req->arena, targets)), DB_S(task), DB_S(content), DB_I(confidence),
				     DB_S(req->ctx.principal), DB_I(now)),
			     DB_ANY);
	audit_add(b, req,
		  &(struct audit_event){.category = "data",
					.action = "knowledge.insight_share",
					.resource_type = STR("knowledge_insight"),
					.resource_id = id});
	ok = db_commit(w->db, b, &err);
	knowledge_counted("share", ok, start);
	if (!ok) {
		http_reply_error(req, &err);
		return;
	}
	metric_add(M_KM_SHARES, (int64_t)n, NULL);
	o = json_pack("{s:b, s:O}", "success", 1, "target_workspaces", targets);
	json_put_str(o, "insight_id", id);
	json_put_str(o, "source_workspace", req->ctx.workspace_id);
	http_reply_json(req, 201, o);
}

/* Those that name this workspace as a target; a source does not read its own here. */
CO_FN static void insight_list(struct http_request *req)
{
	int64_t limit = http_query_int(req, "limit", 1, 100, 20),
		offset = http_query_int(req, "offset", 0, INT32_MAX, 0);
	struct error err = ERROR_INIT;
	struct db_rows r;
	json_t *list;
	size_t i;

	if (!db_query(
		share_worker(req)->db, req->arena,
		"SELECT insight_id, source_workspace, task_type, content, targets, confidence_ppm, created_at FROM"
		" knowledge_insights WHERE workspace_id = $1 AND org_id = $5 AND ($2 = '' OR task_type = $2)"
		" ORDER BY created_at DESC, insight_id LIMIT $3 OFFSET $4",
		DB_ARGS(DB_S(req->ctx.workspace_id), DB_S(http_query(req, "task_type")), DB_I(limit), DB_I(offset),
			DB_S(req->ctx.org_id)),
		&r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < r.count; i++) {
		static const char *const names[] = {"insight_id", "source_workspace", "task_type", "content"};
		struct error ignored = ERROR_INIT;
		json_t *o = json_object(), *targets = json_parse(req->arena, db_str(&r, i, 4), &ignored);
		size_t c;

		for (c = 0; c < countof(names); c++)
			json_put_str(o, names[c], db_str(&r, i, c));
		json_object_set_new(o, "target_workspaces", targets != NULL ? json_incref(targets) : json_array());
		json_object_set_new(o, "confidence", json_real((double)db_int(&r, i, 5) / KNOWLEDGE_ONE));
		json_put_time(o, "created_at", db_int(&r, i, 6));
		json_array_append_new(list, o);
	}
	http_reply_json(req, 200, json_pack("{s:o, s:I}", "insights", list, "count", (json_int_t)r.count));
}

/* ---- culture ---- */

CO_FN static void culture_profile(struct http_request *req)
{
	struct knowledge_filter f = {.limit = KNOWLEDGE_PAGE_MAX, .types = STR(",culture,")};
	json_t *patterns = json_object(), *documents = json_array(), *o;
	int64_t total, observations = 0;
	struct error err = ERROR_INIT;
	struct knowledge_node *nodes;
	char iso[CLOCK_ISO_MAX];
	size_t n = 0, i;

	if (!knowledge_list(share_worker(req), req->arena, &req->ctx, &f, &nodes, &n, &total, &err)) {
		json_decref(patterns);
		json_decref(documents);
		http_reply_error(req, &err);
		return;
	}
	for (i = 0; i < n; i++) {
		json_t *node = knowledge_json(req->arena, &nodes[i]), *metadata = json_object_get(node, "metadata");
		const char *type = json_string_value(json_object_get(metadata, "pattern_type"));

		if (type == NULL) {
			json_array_append_new(documents, node);
			continue;
		}
		observations += json_get_int(metadata, "observations", 0);
		if (json_object_get(patterns, type) == NULL)
			json_object_set_new(patterns, type, json_array());
		json_array_append_new(json_object_get(patterns, type), node);
	}
	o = json_pack("{s:o, s:o, s:I, s:s}", "patterns", patterns, "documents", documents, "total_observations",
		      (json_int_t)observations, "generated_at", clock_iso(iso, clock_wall_ms()));
	json_put_str(o, "workspace_id", req->ctx.workspace_id);
	http_reply_json(req, 200, o);
}

CO_FN static void culture_document(struct http_request *req)
{
	const json_t *body = body_object(req);
	struct worker *w = share_worker(req);
	struct error err = ERROR_INIT;
	char id[KNOWLEDGE_ID_LEN + 1];
	struct str title, kind, content;
	struct knowledge_new n;
	struct body_problems p;
	struct db_batch *b;
	json_t *o;

	if (body == NULL || !knowledge_here(req, body))
		return;
	body_problems_begin(req, &p);
	title = body_text(&p, body, "title", 0, 200, false);
	kind = body_text(&p, body, "document_type", 0, 64, false);
	content = body_text(&p, body, "content", 1, KNOWLEDGE_CONTENT_MAX - 256, false);
	n = (struct knowledge_new){.type = STR("culture"),
				   .tier = STR("glacial"),
				   .confidence_ppm = KNOWLEDGE_ONE,
				   .metadata = knowledge_object(&p, req->arena, body, "metadata"),
				   .source_type = "document",
				   .user_id = req->ctx.principal,
				   .created_by = req->ctx.principal};
	n.content = title.n > 0 ? arena_printf(req->arena, "%.*s\n\n%.*s", STR_ARG(title), STR_ARG(content)) : content;
	if (body_refused(req, &p) || !knowledge_fits(req, &n, 1))
		return;
	b = db_batch_new(w->db);
	knowledge_add(b, &req->ctx, &n, clock_wall_ms(), id);
	if (!db_commit(w->db, b, &err)) {
		http_reply_error(req, &err);
		return;
	}
	o = json_pack("{s:s, s:s}", "node_id", id, "message", "the document is part of the workspace's culture");
	json_put_str(o, "document_type", kind.n > 0 ? kind : STR("policy"));
	json_put_str(o, "workspace_id", req->ctx.workspace_id);
	http_reply_json(req, 201, o);
}

/* To the organization's culture: it may be seen by all of its workspaces. */
CO_FN static void share_promote(struct http_request *req)
{
	const json_t *body = body_object(req);
	struct error err = ERROR_INIT;
	struct knowledge_node n;
	struct body_problems p;
	struct db_batch *b;
	struct str id;

	if (body == NULL)
		return;
	body_problems_begin(req, &p);
	id = knowledge_either(&p, body, "node_id", "item_id", 64);
	if (body_refused(req, &p) || !knowledge_mine(req, id, &n))
		return;
	b = db_batch_new(share_worker(req)->db);
	db_batch_add(b,
		     "UPDATE knowledge_nodes SET visibility = 'organization', tier = 'glacial', updated_at = $3 WHERE"
		     " id = $1 AND workspace_id = $2",
		     DB_ARGS(DB_S(n.id), DB_S(req->ctx.workspace_id), DB_I(clock_wall_ms())), 1);
	audit_add(b, req,
		  &(struct audit_event){.category = "data",
					.action = "knowledge.promote",
					.resource_type = STR("knowledge_node"),
					.resource_id = n.id});
	if (!db_commit(share_worker(req)->db, b, &err)) {
		http_reply_error(req, &err);
		return;
	}
	http_reply_json(req, 201,
			json_pack("{s:s%, s:b, s:s}", "node_id", n.id.p, n.id.n, "promoted", 1, "message",
				  "all workspaces of the organization may see it"));
}

static const struct route share_rows[] = {
    KNOWLEDGE_ROW(GET, "mound/nodes/{id}/access", share_access, "read", READ, "Who else may see a node"),
    KNOWLEDGE_ROW(POST, "mound/nodes/{id}/access", share_access_add, "share", WRITE, "Let somebody see a node"),
    KNOWLEDGE_ROW(DELETE, "mound/nodes/{id}/access", share_revoke, "share", WRITE, "Take that back"),
    KNOWLEDGE_ROW(POST, "mound/share", share_create, "share", WRITE, "Share a node with a workspace or a person"),
    KNOWLEDGE_ROW(PATCH, "mound/share", share_change, "share", WRITE, "Change what was shared"),
    KNOWLEDGE_ROW(DELETE, "mound/share", share_revoke, "share", WRITE, "Share no longer"),
    KNOWLEDGE_ROW(GET, "mound/shared-with-me", share_with_me, "read", READ, "Nodes that others have shared"),
    KNOWLEDGE_ROW(GET, "mound/my-shares", share_mine, "read", READ, "What this workspace has shared"),
    KNOWLEDGE_ROW(POST, "mound/global/promote", share_promote, "admin", WRITE, "Let the organization see a node"),
    KNOWLEDGE_ROW(GET, "mound/culture", culture_profile, "read", READ, "Patterns and documents of the workspace"),
    KNOWLEDGE_ROW(POST, "mound/culture/documents", culture_document, "write", WRITE,
		  "A document of the workspace's culture"),
    KNOWLEDGE_ROW(POST, "mound/culture/promote", share_promote, "admin", WRITE, "Let the organization see a node"),
    KNOWLEDGE_ROW(POST, "insights", insight_share, "share", WRITE, "Share an insight with other workspaces"),
    KNOWLEDGE_ROW(GET, "insights", insight_list, "read", READ,
		  "Insights that other workspaces have shared with this one"),
};
const struct route_table knowledge_share_routes = {share_rows, countof(share_rows)};
