/* SPDX-License-Identifier: MIT */
/*
 * /api/admin/mfa: which administrators have a second factor, and which service accounts may do without for a time
 * (security.md 3.6). All within the organization of who asks.
 */
#include "common/clock.h"
#include "common/conf.h"
#include "common/log.h"
#include "common/tenant.h"
#include "worker/audit/audit.h"
#include "worker/http/route.h"
#include "worker/identity/mfa.h"
#include "worker/identity/own.h"
#include "worker/worker.h"

#define BYPASS_DAYS_MAX 90
#define BYPASS_REASON_MIN 10
#define DAY_MS INT64_C(86400000)

static json_t *admin_row(const struct conf *c, const struct db_rows *r, size_t i, int64_t now)
{
	const struct account u = {.mfa_grace_ms = db_int(r, i, 4), .created_ms = db_int(r, i, 5)};
	bool enabled = db_int(r, i, 3) != 0, service = db_int(r, i, 6) != 0;
	int64_t grace = enabled || service ? 0 : mfa_grace_until(c, &u);
	json_t *o =
	    json_pack("{s:b, s:b, s:b, s:b}", "mfa_enabled", enabled, "is_service_account", service, "in_grace_period",
		      grace > now, "compliant", enabled || grace > now || (service && db_int(r, i, 7) > now));

	json_put_str(o, "user_id", db_str(r, i, 0));
	json_put_str(o, "email", db_str(r, i, 1));
	json_put_str(o, "role", db_str(r, i, 2));
	json_put_time(o, "grace_period_ends_at", grace);
	json_put_time(o, "bypass_expires_at", db_int(r, i, 7));
	return o;
}

CO_FN static void admin_compliance(struct http_request *req)
{
	struct worker *w = req->user;
	int64_t now = clock_wall_ms(), with = 0, compliant = 0, total = 0;
	struct error err = ERROR_INIT;
	struct db_rows r;
	json_t *list, *o;
	size_t i;

	if (!db_query(
		w->db, req->arena,
		SQL_ANYBODY("members of the organization of the request, by its id") "SELECT u.id, u.email, m.role, "
										     "u.mfa_enabled, u.mfa_grace_at, "
										     "u.created_at, u.service_account,"
										     " b.expires_at FROM members m "
										     "JOIN users u ON u.id = m.user_id "
										     "LEFT JOIN mfa_bypasses b"
										     " ON b.user_id = u.id WHERE "
										     "m.org_id = $1 AND u.is_active = "
										     "1 ORDER BY u.email LIMIT 10000",
		DB_ARGS(DB_S(req->ctx.org_id)), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < r.count; i++) {
		json_t *row;

		if (!mfa_role_demands(db_str(&r, i, 2)))
			continue;
		row = admin_row(w->conf, &r, i, now);
		total++;
		with += json_is_true(json_object_get(row, "mfa_enabled"));
		compliant += json_is_true(json_object_get(row, "compliant"));
		json_array_append_new(list, row);
	}
	o = json_pack("{s:b, s:o, s:f}", "enforced", mfa_enforced(w->conf), "admins", list, "compliance_rate",
		      total > 0 ? (double)compliant / (double)total : 1.0);
	json_put_int(o, "total_admins", total);
	json_put_int(o, "admins_with_mfa", with);
	json_put_int(o, "admins_without_mfa", total - with);
	json_put_int(o, "compliant", compliant);
	json_put_int(o, "grace_period_days", w->conf->auth.mfa_grace_days);
	http_reply_json(req, 200, o);
}

/* A user of the request's organization. ERR_NOT_FOUND. */
CO_FN static bool admin_member(struct http_request *req, struct str user_id, bool *service, struct error *err)
{
	struct worker *w = req->user;
	struct db_rows r;

	if (!db_query(
		w->db, req->arena,
		SQL_ANYBODY(
		    "a member of the organization of the request, by its id") "SELECT u.service_account "
									      "FROM members m JOIN users u ON u.id = "
									      "m.user_id"
									      " WHERE m.org_id = $1 AND u.id = $2",
		DB_ARGS(DB_S(req->ctx.org_id), DB_S(user_id)), &r, err))
		return false;
	if (r.count == 0)
		return error_set(err, ERR_NOT_FOUND, "there is no such user");
	*service = db_int(&r, 0, 0) != 0;
	return true;
}

CO_FN static void admin_bypass(struct http_request *req)
{
	const json_t *body = body_object(req);
	int64_t days = json_get_int(body, "days", 0), now = clock_wall_ms();
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct body_problems p;
	struct str user_id, reason;
	bool service = false;
	struct db_batch *b;

	if (body == NULL)
		return;
	body_problems_begin(req, &p);
	user_id = body_text(&p, body, "user_id", 1, 128, false);
	reason = body_text(&p, body, "reason", BYPASS_REASON_MIN, 500, false);
	if (days < 1 || days > BYPASS_DAYS_MAX) {
		error_field(&err, ERR_INVALID_VALUE, "days", "must be 1 to %d", BYPASS_DAYS_MAX);
		body_problem(&p, &err);
	}
	if (body_refused(req, &p))
		return;
	if (!admin_member(req, user_id, &service, &err) ||
	    (!service &&
	     !error_field(&err, ERR_INVALID_VALUE, "user_id", "is a person: only service accounts may do without"))) {
		http_reply_error(req, &err);
		return;
	}
	b = db_batch_new(w->db);
	db_batch_add(
	    b,
	    SQL_ANYBODY("a member of the organization, checked before") "INSERT INTO mfa_bypasses (user_id, org_id, "
									"approved_by, reason, created_at, expires_at)"
									" VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT "
									"(user_id) DO UPDATE SET org_id = $2,"
									" approved_by = $3, reason = $4, created_at = "
									"$5, expires_at = $6",
	    DB_ARGS(DB_S(user_id), DB_S(req->ctx.org_id), DB_S(req->ctx.principal), DB_S(reason), DB_I(now),
		    DB_I(now + days * DAY_MS)),
	    1);
	audit_add(b, req,
		  &(struct audit_event){.category = "admin",
					.action = "admin.mfa_bypass",
					.resource_type = STR("user"),
					.resource_id = user_id,
					.reason = reason});
	if (!own_commit(req, b, user_id, &err)) {
		http_reply_error(req, &err);
		return;
	}
	own_message(req, json_pack("{s:I}", "days", (json_int_t)days),
		    "The service account may do without a second factor.");
}

#define ROW(m, p, h, perm, r, s) ROUTE(m, "/api/admin/" p, h, perm, r, s)

static const struct route mfa_admin_rows[] = {
    ROW(GET, "mfa/compliance", admin_compliance, "admin:security", READ, "Which administrators have a second factor"),
    ROW(POST, "mfa/bypass", admin_bypass, "admin:security", WRITE,
	"Let a service account do without for at most 90 days"),
};
const struct route_table mfa_admin_routes = {mfa_admin_rows, countof(mfa_admin_rows)};
