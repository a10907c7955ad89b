/* SPDX-License-Identifier: MIT */
/*
 * Which operations are of high risk, what an approval is bound to, its rows and their expiry. Called by the gate and by
 * the endpoints; decides about nobody's permissions.
 */
#include "worker/access/approval.h"

#include "common/clock.h"
#include "common/conf.h"
#include "common/json.h"
#include "common/mask.h"
#include "worker/audit/audit.h"
#include "worker/stream/stream.h"
#include "worker/worker.h"

#define APPROVAL_PAGE 200

/*
 * security.md 2.4; critical ones need two. Where a route does what two of them name, the first that is on counts: the
 * stricter stands first.
 */
static const struct approval_operation approval_operations[] = {
    {.name = "user.role.change",
     .risk = "high",
     .needed = 1,
     .resource_type = "user",
     .description = "Change the role of a member",
     .checklist = {"The member and the new role are right"},
     .routes = {{HTTP_POST, "/api/rbac/assignments"},
		{HTTP_PUT, "/api/users/{id}/role"},
		{HTTP_PATCH, "/api/users/{id}/role"},
		{HTTP_POST, "/api/users/{id}/role"},
		{HTTP_POST, "/api/workspaces/{id}/members"},
		{HTTP_PUT, "/api/workspaces/{id}/members/{user_id}"}}},
    {.name = "role.change",
     .risk = "high",
     .needed = 1,
     .resource_type = "role",
     .description = "Change what a custom role may do",
     .checklist = {"Everybody who has the role may have its new permissions"},
     .routes = {{HTTP_POST, "/api/rbac/roles"},
		{HTTP_PUT, "/api/rbac/roles/{name}"},
		{HTTP_DELETE, "/api/rbac/roles/{name}"}}},
    {.name = "delete_user",
     .risk = "critical",
     .needed = 2,
     .resource_type = "user",
     .description = "Remove or disable an account",
     .checklist = {"The account is not needed any more", "Its data has been exported or may be lost"},
     .routes = {{HTTP_DELETE, "/api/users/{id}"}, {HTTP_POST, "/api/admin/users/{id}/deactivate"}}},
    {.name = "api_key.generate",
     .risk = "medium",
     .needed = 1,
     .resource_type = "api_key",
     .description = "Make an API key",
     .routes = {{HTTP_POST, "/api/keys"}, {HTTP_POST, "/api/auth/api-keys"}, {HTTP_POST, "/api/auth/api-key"}}},
    {.name = "api_key.revoke",
     .risk = "medium",
     .needed = 1,
     .resource_type = "api_key",
     .description = "Revoke an API key",
     .routes = {{HTTP_DELETE, "/api/keys/{id}"},
		{HTTP_DELETE, "/api/auth/api-keys/{id}"},
		{HTTP_DELETE, "/api/auth/api-keys"},
		{HTTP_DELETE, "/api/auth/api-key"}}},
    {.name = "org.settings.update",
     .risk = "medium",
     .needed = 1,
     .resource_type = "organization",
     .description = "Change the settings of the organization",
     .routes = {{HTTP_PUT, "/api/organizations/{id}"}, {HTTP_PATCH, "/api/organizations/{id}"}}},
    {.name = "org.member.remove",
     .risk = "high",
     .needed = 1,
     .resource_type = "user",
     .description = "Remove a member from the organization",
     .checklist = {"The member is the right one"},
     .routes = {{HTTP_DELETE, "/api/users/{id}"}}},
    {.name = "retention.cleanup",
     .risk = "critical",
     .needed = 2,
     .resource_type = "scheduler",
     .description = "Remove expired rows for good, now",
     .checklist = {"A backup of today can be restored"},
     .routes = {{HTTP_POST, "/api/admin/schedulers/receipt-retention/cleanup"},
		{HTTP_POST, "/api/admin/schedulers/retention/cleanup"}}},
};

const struct approval_operation *approval_operation_at(size_t i)
{
	return i < countof(approval_operations) ? &approval_operations[i] : NULL;
}

bool approval_wanted(const struct conf *c, const struct approval_operation *o)
{
	size_t i;

	for (i = 0; i < c->approvals.operations.n; i++)
		if (strcmp(c->approvals.operations.v[i], "all") == 0 ||
		    strcmp(c->approvals.operations.v[i], o->name) == 0)
			return true;
	return false;
}

const struct approval_operation *approval_operation_of(const struct route *r, const struct conf *c)
{
	const struct approval_operation *o;
	size_t i, k;

	for (i = 0; (o = approval_operation_at(i)) != NULL; i++)
		for (k = 0; k < countof(o->routes) && o->routes[k].path != NULL; k++)
			if (o->routes[k].method == r->method && strcmp(o->routes[k].path, r->path) == 0 &&
			    (c == NULL || approval_wanted(c, o)))
				return o;
	return NULL;
}

struct approval_search {
	enum http_method method;
	const char *path;
	bool found;
};

static void approval_on_route(void *arg, const struct route *r, const char *chain, bool waits)
{
	struct approval_search *s = arg;

	(void)chain;
	(void)waits;
	s->found |= r->method == s->method && strcmp(r->path, s->path) == 0;
}

bool approval_routes_exist(const struct router *router, struct error *err)
{
	const struct approval_operation *o;
	size_t i, k;

	for (i = 0; (o = approval_operation_at(i)) != NULL; i++)
		for (k = 0; k < countof(o->routes) && o->routes[k].path != NULL; k++) {
			struct approval_search s = {o->routes[k].method, o->routes[k].path, false};

			router_each(router, approval_on_route, &s);
			if (!s.found)
				return error_set(err, ERR_INTERNAL, "approval of %s: there is no route %s %s", o->name,
						 http_method_name(s.method), s.path);
		}
	return true;
}

/* ---- what it is bound to ---- */

static const char *const approval_members[] = {"_approval_id", "approval_id"};

struct str approval_given(struct http_request *req)
{
	struct str s = http_field(req, "x-approval-id");
	struct error ignored = ERROR_INIT;
	const json_t *body;
	size_t i;

	if (s.n > 0 || req->body.n == 0)
		return s;
	body = json_parse(req->arena, req->body, &ignored);
	for (i = 0; s.n == 0 && i < countof(approval_members); i++)
		s = json_get_str(body, approval_members[i], STR(""));
	return s;
}

/* The members of a body that are the call's, without the approval's id; NULL when it is no JSON object. */
static json_t *approval_members_of(struct http_request *req)
{
	struct error ignored = ERROR_INIT;
	json_t *body = req->body.n > 0 ? json_parse(req->arena, req->body, &ignored) : NULL;
	size_t i;

	if (!json_is_object(body))
		return NULL;
	body = json_own(req->arena, json_deep_copy(body));
	for (i = 0; i < countof(approval_members); i++)
		json_object_del(body, approval_members[i]);
	return body;
}

static struct str approval_sorted(struct arena *a, const json_t *doc)
{
	char *text = json_dumps(doc, JSON_SORT_KEYS | JSON_COMPACT);
	struct str out;

	BUG_ON(text == NULL);
	out = arena_str(a, str_of(text));
	free(text);
	return out;
}

/* A body that is no JSON is bound byte by byte. */
static struct str approval_body(struct http_request *req)
{
	const json_t *body = approval_members_of(req);

	if (body == NULL)
		return req->body;
	return json_object_size(body) == 0 ? STR("") : approval_sorted(req->arena, body);
}

struct str approval_request(struct http_request *req)
{
	json_t *body = approval_members_of(req), *shown = json_own(req->arena, json_object());

	json_put_str(shown, "query", req->query);
	mask_document(body);
	if (req->body.n > 0 && (body == NULL || json_text(req->arena, body).n > APPROVAL_REQUEST_MAX))
		json_put_int(shown, "body_bytes", (int64_t)req->body.n);
	else if (body != NULL)
		json_object_set(shown, "body", body);
	return approval_sorted(req->arena, shown);
}

void approval_hash(struct http_request *req, char out[SHA256_HEX])
{
	struct str body = approval_body(req);
	struct str all = arena_printf(req->arena, "%s\n%.*s\n%.*s\n", http_method_name(req->method), STR_ARG(req->path),
				      STR_ARG(req->query));
	struct buf b = BUF_INIT;

	buf_add(&b, all);
	buf_add(&b, body);
	crypto_sha256_hex(buf_str(&b), out);
	buf_free(&b);
}

/* ---- rows ---- */

void approval_read(const struct db_rows *r, size_t i, int64_t now_ms, struct approval_row *out)
{
	struct str *const texts[] = {
	    &out->id,           &out->org_id,          &out->workspace_id,  &out->operation,   &out->risk,
	    &out->requester_id, &out->requester_email, &out->resource_type, &out->resource_id, &out->method,
	    &out->path,         &out->body_hash,       &out->request,       &out->description, &out->checklist,
	    &out->votes};
	size_t k;

	for (k = 0; k < countof(texts); k++)
		*texts[k] = db_str(r, i, k);
	out->needed = db_int(r, i, k++);
	out->state = db_str(r, i, k++);
	out->epoch = db_int(r, i, k++);
	out->created_at = db_int(r, i, k++);
	out->expires_at = db_int(r, i, k++);
	out->decided_at = db_int(r, i, k++);
	out->used_at = db_int(r, i, k++);
	BUG_ON(k != r->columns);
	if (out->expires_at <= now_ms && (str_eqz(out->state, "pending") || str_eqz(out->state, "approved")))
		out->state = STR("expired");
}

json_t *approval_json(struct arena *a, const struct approval_row *r)
{
	json_t *o = json_object();
	const struct {
		const char *key;
		struct str value;
	} texts[] = {{"id", r->id},
		     {"request_id", r->id},
		     {"operation", r->operation},
		     {"risk_level", r->risk},
		     {"title", r->description},
		     {"description", r->description},
		     {"requester_id", r->requester_id},
		     {"requested_by", r->requester_id},
		     {"requester_email", r->requester_email},
		     {"org_id", r->org_id},
		     {"workspace_id", r->workspace_id},
		     {"resource_type", r->resource_type},
		     {"resource_id", r->resource_id},
		     {"method", r->method},
		     {"path", r->path},
		     {"state", r->state},
		     {"status", r->state}};
	struct error ignored = ERROR_INIT;
	size_t i;

	for (i = 0; i < countof(texts); i++)
		json_put_str(o, texts[i].key, texts[i].value);
	json_object_set(o, "request", json_parse(a, r->request, &ignored));
	json_object_set(o, "checklist", json_parse(a, r->checklist, &ignored));
	json_object_set(o, "votes", json_parse(a, r->votes, &ignored));
	json_put_int(o, "approvals_needed", r->needed);
	json_put_time(o, "created_at", r->created_at);
	json_put_time(o, "requested_at", r->created_at);
	json_put_time(o, "expires_at", r->expires_at);
	json_put_time(o, "decided_at", r->decided_at);
	json_put_time(o, "used_at", r->used_at);
	return o;
}

CO_FN bool approval_get(struct db *db, struct arena *a, struct str org_id, struct str id, struct approval_row *out,
			struct error *err)
{
	struct db_rows r;

	if (!db_query(db, a, "SELECT " APPROVAL_COLUMNS " FROM approvals WHERE org_id = $1 AND id = $2",
		      DB_ARGS(DB_S(org_id), DB_S(id)), &r, err))
		return false;
	if (r.count == 0)
		return error_field(err, ERR_NOT_FOUND, "id", "there is no such approval request");
	approval_read(&r, 0, clock_wall_ms(), out);
	return true;
}

void approval_tell(struct worker *w, struct arena *a, const char *type, const struct approval_row *r)
{
	json_t *data = json_own(a, json_pack("{s:s%, s:s%, s:s%, s:s%, s:s%}", "request_id", r->id.p, r->id.n, "title",
					     r->description.p, r->description.n, "operation", r->operation.p,
					     r->operation.n, "risk_level", r->risk.p, r->risk.n, "requester_id",
					     r->requester_id.p, r->requester_id.n));

	stream_notice(w->stream, r->workspace_id, str_of(type),
		      stream_envelope(a, STR(""), 0, str_of(type), STR(""), 0, 0, clock_wall_ms(), STR(""), data));
}

/* ---- expiry ---- */

static int64_t approval_interval(const struct conf *c)
{
	(void)c;
	return 300 * 1000; /* security.md 2.4: who waits for an approval learns within five minutes that it expired */
}

CO_FN static bool approval_expire(struct worker *w, json_t *result, int64_t *count, struct error *err)
{
	struct arena *a = arena_new(0);
	int64_t now = clock_wall_ms();
	struct db_rows r;
	size_t i = 0;
	bool ok;

	do {
		ok = db_query(
		    w->db, a,
		    "SELECT id, epoch, org_id, workspace_id, operation FROM approvals"
		    " WHERE state IN ('pending', 'approved') AND expires_at <= $1 ORDER BY expires_at LIMIT $2",
		    DB_ARGS(DB_I(now), DB_I(APPROVAL_PAGE)), &r, err);
		for (i = 0; ok && i < r.count; i++) {
			struct context ctx = {STR("system"), db_str(&r, i, 2), db_str(&r, i, 3), STR_NONE, NULL};
			struct db_batch *b = db_batch_new(w->db);

			db_batch_add(b,
				     "UPDATE approvals SET state = 'expired', epoch = epoch + 1, decided_at = $3"
				     " WHERE id = $1 AND epoch = $2",
				     DB_ARGS(DB_S(db_str(&r, i, 0)), DB_I(db_int(&r, i, 1)), DB_I(now)), 1);
			audit_add_as(b, w, &ctx,
				     &(struct audit_event){.category = "admin",
							   .action = "approval.expired",
							   .resource_type = STR("approval"),
							   .resource_id = db_str(&r, i, 0),
							   .reason = db_str(&r, i, 4)});
			ok = db_commit(w->db, b, err) || err->code == ERR_FENCED; /* decided meanwhile */
			*count += ok;
		}
	} while (ok && r.count == APPROVAL_PAGE && !jobs_stopping(w->jobs));
	json_object_set_new(result, "expired", json_integer(*count));
	arena_free(a);
	return ok;
}

const struct job approval_expiry_job = {
    .name = "approval_expiry", .first_ms = 60 * 1000, .interval_ms = approval_interval, .run = approval_expire};
