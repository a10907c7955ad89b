/* SPDX-License-Identifier: MIT */
/*
 * What the endpoints of organizations, workspaces and members share: rows as JSON, answers, and the commit that carries
 * audit event and cache invalidation with it. Called by the other files of this folder. Decides nothing about rights
 * beyond which organization a request is in.
 */
#include "worker/tenancy/tenancy.h"

#include "common/clock.h"
#include "common/json.h"
#include "worker/audit/audit.h"
#include "worker/decisions/cache.h"
#include "worker/identity/changes.h"

/* ---- rows ---- */

static json_t *tenancy_cell(struct arena *a, const struct db_rows *rows, size_t row, size_t i, enum tenancy_kind kind)
{
	struct error ignored = ERROR_INIT;
	json_t *doc;

	if (kind == TENANCY_TIME)
		return json_time(db_int(rows, row, i));
	if (db_null(rows, row, i))
		return json_null();
	if (kind == TENANCY_NUMBER)
		return json_integer(db_int(rows, row, i));
	if (kind == TENANCY_BOOL)
		return json_boolean(db_int(rows, row, i) != 0);
	if (kind == TENANCY_TEXT)
		return json_str(db_str(rows, row, i));
	doc = json_parse(a, db_str(rows, row, i), &ignored);
	return doc != NULL ? json_incref(doc) : json_object();
}

json_t *tenancy_row(struct arena *a, const struct db_rows *rows, size_t row, const struct tenancy_column *columns,
		    size_t n)
{
	json_t *o = json_own(a, json_object());
	size_t i;

	BUG_ON(rows->columns < n);
	for (i = 0; i < n; i++)
		json_object_set_new(o, columns[i].name, tenancy_cell(a, rows, row, i, columns[i].kind));
	return o;
}

json_t *tenancy_rows(struct arena *a, const struct db_rows *rows, const struct tenancy_column *columns, size_t n)
{
	json_t *list = json_own(a, json_array());
	size_t i;

	for (i = 0; i < rows->count; i++)
		json_array_append(list, tenancy_row(a, rows, i, columns, n));
	return list;
}

/* ---- answers ---- */

void tenancy_fail(struct http_request *req, struct error *err, const char *fenced, const char *duplicate)
{
	if (err->code == ERR_FENCED && fenced != NULL)
		error_field(err, ERR_NOT_FOUND, "id", "%s not found", fenced);
	else if (err->code == ERR_DUPLICATE && duplicate != NULL)
		error_set(err, ERR_CONFLICT, "%s", duplicate);
	http_reply_error(req, err);
}

void tenancy_missing(struct http_request *req, const char *kind)
{
	struct error err = ERROR_INIT;

	error_field(&err, ERR_NOT_FOUND, "id", "%s not found", kind);
	http_reply_error(req, &err);
}

CO_FN json_t *tenancy_one(struct http_request *req, const char *kind, const char *sql, const struct db_val *args,
			  size_t n, const struct tenancy_column *columns, size_t column_count)
{
	const struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct db_rows r;

	if (!db_query(w->db, req->arena, sql, args, n, &r, &err)) {
		http_reply_error(req, &err);
		return NULL;
	}
	if (r.count == 1)
		return tenancy_row(req->arena, &r, 0, columns, column_count);
	tenancy_missing(req, kind);
	return NULL;
}

bool tenancy_own_org(struct http_request *req)
{
	if (str_eq(req->params[0], req->ctx.org_id))
		return true;
	tenancy_missing(req, "Organization");
	return false;
}

/* Owners and admins use every workspace of theirs, others the first, and those that they were put into. */
CO_FN bool tenancy_workspace(struct http_request *req, struct str id, struct db_rows *row)
{
	const struct worker *w = req->user;
	bool all = str_eqz(req->ctx.who->role, "owner") || str_eqz(req->ctx.who->role, "admin");
	struct error err = ERROR_INIT;

	if (!db_query(w->db, req->arena,
		      "SELECT s.id, s.org_id, s.name, s.slug, s.settings, s.created_by, s.created_at, s.updated_at"
		      " FROM workspaces s WHERE s.id = $1 AND s.org_id = $2 AND ($3 = 1 OR s.id = s.org_id OR"
		      " EXISTS (SELECT 1 FROM workspace_members m WHERE m.workspace_id = s.id AND m.org_id = $2 AND"
		      " m.user_id = $4))",
		      DB_ARGS(DB_S(id), DB_S(req->ctx.org_id), DB_I(all), DB_S(req->ctx.principal)), row, &err)) {
		http_reply_error(req, &err);
		return false;
	}
	if (row->count == 1)
		return true;
	tenancy_missing(req, "Workspace");
	return false;
}

/* ---- acts ---- */

CO_FN static bool tenancy_forget(struct worker *w, struct db_batch *b, const struct tenancy_act *act, struct str org_id,
				 int64_t *n, struct error *err)
{
	if (act->decided_in == NULL)
		return true;
	return decision_cache_forget(w, b, org_id, act->decided_in->n > 0 ? DECISION_WORKSPACE : DECISION_ALL,
				     *act->decided_in, STR(""), n, err);
}

CO_FN bool tenancy_commit(struct http_request *req, struct db_batch *b, const struct tenancy_act *act)
{
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	int64_t forgotten = 0;
	size_t i;
	bool ok;

	json_own(req->arena, act->details);
	if (!tenancy_forget(w, b, act, req->ctx.org_id, &forgotten, &err)) {
		db_batch_free(b);
		http_reply_error(req, &err);
		return false;
	}
	audit_add(b, req,
		  &(struct audit_event){.category = act->category,
					.action = act->action,
					.resource_type = str_of(act->type),
					.resource_id = act->id,
					.details = act->details});
	if (act->user_id.n > 0)
		identity_change_add(b, IDENTITY_CHANGE_USER, act->user_id);
	for (i = 0; i < act->touched_count; i++)
		identity_change_add(b, IDENTITY_CHANGE_USER, act->touched[i]);
	identity_change_add(b, IDENTITY_CHANGE_ORG, req->ctx.org_id);
	ok = db_commit(w->db, b, &err);
	if (!ok) {
		tenancy_fail(req, &err, act->fenced, act->duplicate);
		return false;
	}
	if (act->decided_in != NULL)
		decision_cache_forgotten(DECISION_WORKSPACE, forgotten);
	if (act->user_id.n > 0)
		identity_changed(w, IDENTITY_CHANGE_USER, act->user_id);
	for (i = 0; i < act->touched_count; i++)
		identity_changed(w, IDENTITY_CHANGE_USER, act->touched[i]);
	identity_changed(w, IDENTITY_CHANGE_ORG, req->ctx.org_id);
	return true;
}

void tenancy_add_member(struct db_batch *b, struct str org_id, struct str user_id, struct str role)
{
	db_batch_add(b,
		     "INSERT INTO members (org_id, user_id, role, created_at, updated_at) VALUES ($1, $2, $3, $4, $4)"
		     " ON CONFLICT (org_id, user_id) DO NOTHING",
		     DB_ARGS(DB_S(org_id), DB_S(user_id), DB_S(role), DB_I(clock_wall_ms())), DB_ANY);
}
