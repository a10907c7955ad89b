/* SPDX-License-Identifier: MIT */
/*
 * Whom a budget does not stop for a while (rest-core 7), and who has taken note of the marks that it passed. Called by
 * the router and where budgets are read. An override moves no money: what is spent under one counts as all else does.
 */
#include "common/clock.h"
#include "common/json.h"
#include "worker/http/body.h"
#include "worker/tenancy/budget.h"
#include "worker/tenancy/spending.h"
#include "worker/tenancy/tenancy.h"

#define OVERRIDE_HOURS_MAX 8760
#define OVERRIDE_HOUR_MS 3600000.0
#define OVERRIDE_FOR_EVER INT64_C(253402300799000) /* the end of the year 9999: until somebody removes it */

CO_FN bool budget_overrides(struct worker *w, struct arena *a, const struct context *ctx, struct budget *v, size_t n,
			    struct error *err)
{
	struct db_rows r;
	size_t i, k;

	if (n == 0)
		return true;
	if (!db_query(w->db, a,
		      "SELECT budget_id, user_id FROM budget_overrides WHERE org_id = $1 AND expires_at > $2"
		      " ORDER BY budget_id, user_id LIMIT 10000",
		      DB_ARGS(DB_S(ctx->org_id), DB_I(clock_wall_ms())), &r, err))
		return false;
	for (i = 0; i < n; i++) {
		struct buf b = BUF_INIT;

		for (k = 0; k < r.count; k++)
			if (str_eq(db_str(&r, k, 0), v[i].id))
				buf_printf(&b, "%s%.*s\n", b.n == 0 ? "\n" : "", STR_ARG(db_str(&r, k, 1)));
		v[i].overridden = arena_str(a, buf_str(&b));
		buf_free(&b);
	}
	return true;
}

bool budget_stops(const struct budget *b, const struct context *ctx)
{
	struct buf user = BUF_INIT;
	bool found;

	if (!b->auto_suspend || b->overridden.n == 0)
		return b->auto_suspend;
	buf_printf(&user, "\n%.*s\n", STR_ARG(ctx->principal));
	found = str_find(b->overridden, buf_str(&user)) >= 0;
	buf_free(&user);
	return !found;
}

json_t *budget_overridden(const struct budget *b)
{
	struct str list = b->overridden, user;
	json_t *out = json_array();

	while (str_split(&list, '\n', &user))
		if (user.n > 0)
			json_array_append_new(out, json_str(user));
	return out;
}

/* ---- endpoints ---- */

/* Hours as JSON number; 0: not given. */
static double override_hours(struct body_problems *p, const json_t *body)
{
	const json_t *v = json_object_get(body, "duration_hours");
	struct error err = ERROR_INIT;
	double hours = json_number_value(v);

	if (v == NULL || json_is_null(v))
		return 0;
	if (json_is_number(v) && hours > 0 && hours <= OVERRIDE_HOURS_MAX)
		return hours;
	error_field(&err, ERR_INVALID_VALUE, "duration_hours", "must be a number above 0 and at most %d",
		    OVERRIDE_HOURS_MAX);
	body_problem(p, &err);
	return 0;
}

static void override_put(struct db_batch *b, const struct http_request *req, struct str user, int64_t expires_ms)
{
	db_batch_add(b, "DELETE FROM budget_overrides WHERE org_id = $1 AND expires_at <= $2",
		     DB_ARGS(DB_S(req->ctx.org_id), DB_I(clock_wall_ms())), DB_ANY);
	db_batch_add(b,
		     "INSERT INTO budget_overrides (budget_id, user_id, org_id, granted_by, created_at, expires_at)"
		     " SELECT id, $3, org_id, $4, $5, $6 FROM budgets WHERE id = $1 AND org_id = $2"
		     " ON CONFLICT (budget_id, user_id) DO UPDATE SET granted_by = excluded.granted_by,"
		     " created_at = excluded.created_at, expires_at = excluded.expires_at",
		     DB_ARGS(DB_S(req->params[0]), DB_S(req->ctx.org_id), DB_S(user), DB_S(req->ctx.principal),
			     DB_I(clock_wall_ms()), DB_I(expires_ms)),
		     1);
}

CO_FN static void override_add(struct http_request *req)
{
	const json_t *body = body_object(req);
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct body_problems p;
	struct db_batch *b;
	struct str user;
	double hours;
	json_t *o;

	if (body == NULL)
		return;
	body_problems_begin(req, &p);
	user = body_text(&p, body, "user_id", 1, 64, false);
	hours = override_hours(&p, body);
	if (body_refused(req, &p))
		return;
	if (!budget_member(w, req->arena, &req->ctx, user, &err)) {
		http_reply_error(req, &err);
		return;
	}
	b = db_batch_new(w->db);
	override_put(b, req, user,
		     hours > 0 ? clock_wall_ms() + (int64_t)(hours * OVERRIDE_HOUR_MS) : OVERRIDE_FOR_EVER);
	if (!tenancy_commit(
		req, b,
		&(struct tenancy_act){.category = "billing",
				      .action = "budget.override",
				      .type = "budget",
				      .id = req->params[0],
				      .details = json_pack("{s:s%, s:f}", "user_id", user.p, user.n, "hours", hours),
				      .fenced = "Budget"}))
		return;
	spending_changed(w, req->ctx.org_id);
	o = json_pack("{s:b, s:s%, s:s%}", "override_added", 1, "budget_id", req->params[0].p, req->params[0].n,
		      "user_id", user.p, user.n);
	json_object_set_new(o, "duration_hours", hours > 0 ? json_real(hours) : json_null());
	http_reply_json(req, 200, o);
}

CO_FN static void override_remove(struct http_request *req)
{
	struct worker *w = req->user;
	struct db_batch *b = db_batch_new(w->db);
	struct str user = req->params[1];

	db_batch_add(b, "DELETE FROM budget_overrides WHERE budget_id = $1 AND org_id = $2 AND user_id = $3",
		     DB_ARGS(DB_S(req->params[0]), DB_S(req->ctx.org_id), DB_S(user)), 1);
	if (!tenancy_commit(req, b,
			    &(struct tenancy_act){.category = "billing",
						  .action = "budget.override_end",
						  .type = "budget",
						  .id = req->params[0],
						  .details = json_pack("{s:s%}", "user_id", user.p, user.n),
						  .fenced = "Override"}))
		return;
	spending_changed(w, req->ctx.org_id);
	http_reply_json(req, 200,
			json_pack("{s:b, s:s%, s:s%}", "override_removed", 1, "budget_id", req->params[0].p,
				  req->params[0].n, "user_id", user.p, user.n));
}

static const struct route override_rows[] = {
    ROUTE(POST, "/api/budgets/{id}/override", override_add, "budget.override", WRITE,
	  "A budget does not stop this member, for some hours or until it is taken back"),
    ROUTE(POST, "/api/budgets/{id}/overrides", override_add, "budget.override", WRITE,
	  "A budget does not stop this member, for some hours or until it is taken back"),
    ROUTE(DELETE, "/api/budgets/{id}/override/{user}", override_remove, "budget.override", WRITE,
	  "A budget holds for this member again"),
    ROUTE(DELETE, "/api/budgets/{id}/overrides/{user}", override_remove, "budget.override", WRITE,
	  "A budget holds for this member again"),
};
const struct route_table budget_override_routes = {override_rows, countof(override_rows)};
