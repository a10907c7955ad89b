/* SPDX-License-Identifier: MIT */
/*
 * /api/admin/emergency: break-glass. Somebody who may begins it with a reason and a second factor, has more permissions
 * for a bounded time that nothing prolongs, and every request meanwhile is in the audit log; afterwards somebody else
 * has to look at it (security.md 1.8).
 */
#include "common/clock.h"
#include "common/conf.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/metrics.h"
#include "worker/access/api.h"
#include "worker/access/impersonation.h"
#include "worker/worker.h"

#define EMERGENCY_REASON_MIN 10
#define EMERGENCY_REASON_MAX 500
#define EMERGENCY_MINUTES_MIN 15
#define MINUTE_MS INT64_C(60000)

static const char emergency_grants[] =
    "admin.* debates.* agents.* memory.* knowledge.* workflows.* backup.* audit_log.read";

static struct worker *api_worker(const struct http_request *req)
{
	return req->user;
}

#define EMERGENCY_COLUMNS \
	"id, user_id, reason, grants, started_at, expires_at, ended_at, ended_by, reviewed_at, reviewed_by, review"

static json_t *api_emergency(const struct db_rows *r, size_t i)
{
	bool active = db_int(r, i, 6) == 0 && db_int(r, i, 5) > clock_wall_ms();
	const char *status = active ? "active" : db_int(r, i, 8) != 0 ? "reviewed" : "review_required";
	json_t *o = json_object();

	json_put_str(o, "id", db_str(r, i, 0));
	json_put_str(o, "user_id", db_str(r, i, 1));
	json_put_str(o, "reason", db_str(r, i, 2));
	json_object_set_new(o, "permissions", access_list(db_str(r, i, 3)));
	json_object_set_new(o, "started_at", json_time(db_int(r, i, 4)));
	json_object_set_new(o, "expires_at", json_time(db_int(r, i, 5)));
	json_object_set_new(o, "ended_at", json_time(db_int(r, i, 6)));
	json_put_str(o, "ended_by", db_str(r, i, 7));
	json_object_set_new(o, "reviewed_at", json_time(db_int(r, i, 8)));
	json_put_str(o, "reviewed_by", db_str(r, i, 9));
	json_put_str(o, "review", db_str(r, i, 10));
	json_object_set_new(o, "status", json_string(status));
	return o;
}

CO_FN static void api_list(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct db_rows r;
	json_t *list;
	size_t i;

	if (!db_query(api_worker(req)->db, req->arena,
		      "SELECT " EMERGENCY_COLUMNS
		      " FROM emergencies WHERE org_id = $1 ORDER BY started_at DESC LIMIT $2",
		      DB_ARGS(DB_S(req->ctx.org_id), DB_I(ACCESS_PAGE)), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < r.count; i++)
		json_array_append_new(list, api_emergency(&r, i));
	http_reply_json(req, 200, json_pack("{s:o, s:I}", "emergencies", list, "total", (json_int_t)r.count));
}

CO_FN static void api_begin(struct http_request *req)
{
	struct worker *w = api_worker(req);
	int64_t now = clock_wall_ms(), minutes;
	struct body_problems p;
	struct db_batch *b;
	const json_t *body;
	struct str reason;
	char id[32];

	if (!access_step_up(req) || (body = body_object(req)) == NULL)
		return;
	body_problems_begin(req, &p);
	reason = body_text(&p, body, "reason", EMERGENCY_REASON_MIN, EMERGENCY_REASON_MAX, false);
	minutes = access_number(&p, body, "minutes", EMERGENCY_MINUTES_MIN, w->conf->break_glass.minutes_max,
				w->conf->break_glass.minutes);
	if (body_refused(req, &p))
		return;
	(void)snprintf(id, sizeof(id), "emerg-");
	ids_hex(id + 6, 6);
	b = db_batch_new(w->db);
	/* One at a time, and none begins while another runs: it cannot be prolonged. */
	db_batch_add(b,
		     "INSERT INTO emergencies (id, org_id, user_id, reason, grants, started_at, expires_at)"
		     " SELECT $1, $2, $3, $4, $5, $6, $7 FROM (SELECT 1 AS one) x WHERE NOT EXISTS (SELECT 1"
		     " FROM emergencies WHERE org_id = $2 AND user_id = $3 AND ((ended_at = 0 AND expires_at > $6)"
		     " OR reviewed_at = 0))",
		     DB_ARGS(DB_Z(id), DB_S(req->ctx.org_id), DB_S(req->ctx.principal), DB_S(reason),
			     DB_Z(emergency_grants), DB_I(now), DB_I(now + minutes * MINUTE_MS)),
		     1);
	audit_add(b, req,
		  &(struct audit_event){.category = "security",
					.action = "break_glass.activated",
					.resource_type = STR("emergency"),
					.resource_id = str_of(id),
					.reason = reason});
	identity_change_add(b, IDENTITY_CHANGE_USER, req->ctx.principal);
	{
		struct error err = ERROR_INIT;

		if (!db_commit(w->db, b, &err)) {
			if (err.code == ERR_FENCED)
				access_refuse(req, ERR_CONFLICT, "",
					      "your last break-glass session is still open or has not been reviewed");
			else
				http_reply_error(req, &err);
			return;
		}
	}
	identity_changed(w, IDENTITY_CHANGE_USER, req->ctx.principal);
	metric_add(M_BREAK_GLASS, 1, NULL);
	log_warn("access", "break-glass is on", KV_STR("user_id", req->ctx.principal), KV_S("emergency", id),
		 KV_I("minutes", minutes), KV_STR("why", reason));
	http_reply_json(req, 201,
			json_pack("{s:s, s:o, s:o, s:s}", "id", id, "permissions",
				  access_list(str_of(emergency_grants)), "expires_at",
				  json_time(now + minutes * MINUTE_MS), "status", "active"));
}

/* The row and whose it is; false: it has been answered. */
CO_FN static bool api_find(struct http_request *req, struct str *user)
{
	struct error err = ERROR_INIT;
	struct db_rows r;

	if (!db_query(api_worker(req)->db, req->arena, "SELECT user_id FROM emergencies WHERE org_id = $1 AND id = $2",
		      DB_ARGS(DB_S(req->ctx.org_id), DB_S(req->params[0])), &r, &err)) {
		http_reply_error(req, &err);
		return false;
	}
	if (r.count == 0) {
		access_refuse(req, ERR_NOT_FOUND, "id", "there is no such break-glass session");
		return false;
	}
	*user = db_str(&r, 0, 0);
	return true;
}

CO_FN static void api_end(struct http_request *req)
{
	struct db_batch *b;
	struct str user;

	if (!api_find(req, &user) || (!str_eq(user, req->ctx.principal) && !rbac_demand(req, "emergency.review")))
		return;
	b = db_batch_new(api_worker(req)->db);
	db_batch_add(
	    b,
	    "UPDATE emergencies SET ended_at = $3, ended_by = $4 WHERE org_id = $1 AND id = $2 AND ended_at = 0"
	    " AND expires_at > $3",
	    DB_ARGS(DB_S(req->ctx.org_id), DB_S(req->params[0]), DB_I(clock_wall_ms()), DB_S(req->ctx.principal)), 1);
	if (access_commit(req, b,
			  &(struct audit_event){.category = "security",
						.action = "break_glass.deactivated",
						.resource_type = STR("emergency"),
						.resource_id = req->params[0]},
			  IDENTITY_CHANGE_USER, user, ""))
		http_reply_json(req, 200, json_pack("{s:b, s:o}", "ended", 1, "id", json_str(req->params[0])));
}

CO_FN static void api_review(struct http_request *req)
{
	const json_t *body = body_object(req);
	int64_t now = clock_wall_ms();
	struct body_problems p;
	struct str user, text;
	struct db_batch *b;

	if (body == NULL)
		return;
	body_problems_begin(req, &p);
	text = body_text(&p, body, "review", EMERGENCY_REASON_MIN, EMERGENCY_REASON_MAX, false);
	if (body_refused(req, &p) || !api_find(req, &user))
		return;
	if (str_eq(user, req->ctx.principal) || req->ctx.who->impersonator.n > 0) {
		access_refuse(req, ERR_FORBIDDEN, "", "nobody reviews an own break-glass session");
		return;
	}
	b = db_batch_new(api_worker(req)->db);
	db_batch_add(
	    b,
	    "UPDATE emergencies SET reviewed_at = $3, reviewed_by = $4, review = $5 WHERE org_id = $1 AND id = $2"
	    " AND reviewed_at = 0 AND (ended_at > 0 OR expires_at <= $3)",
	    DB_ARGS(DB_S(req->ctx.org_id), DB_S(req->params[0]), DB_I(now), DB_S(req->ctx.principal), DB_S(text)), 1);
	if (access_commit(req, b,
			  &(struct audit_event){.category = "security",
						.action = "break_glass.reviewed",
						.resource_type = STR("emergency"),
						.resource_id = req->params[0],
						.reason = text},
			  IDENTITY_CHANGE_USER, user, ""))
		http_reply_json(req, 200, json_pack("{s:b, s:o}", "reviewed", 1, "id", json_str(req->params[0])));
}

static const struct route emergency_rows[] = {
    ROUTE(GET, "/api/admin/emergency", api_list, "emergency:read", READ, "Break-glass sessions and their reviews"),
    ROUTE(POST, "/api/admin/emergency", api_begin, "emergency:activate", WRITE,
	  "Break the glass: more permissions for a bounded time, recorded and reviewed"),
    ROUTE(POST, "/api/admin/emergency/{id}/end", api_end, "authentication:read", WRITE, "End a break-glass session"),
    ROUTE(POST, "/api/admin/emergency/{id}/review", api_review, "emergency:review", WRITE,
	  "Say what came of somebody else's break-glass session"),
};
const struct route_table emergency_routes = {emergency_rows, countof(emergency_rows)};
