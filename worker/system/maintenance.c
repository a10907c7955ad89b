/* SPDX-License-Identifier: MIT */
/*
 * The switch of maintenance mode (seed 004, 7.4), what asks for it, and its routes. One worker of each node looks at
 * the row once a second and writes into shared memory what health and metrics show. Ends nothing that runs.
 */
#include "worker/system/maintenance.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "common/metrics.h"
#include "worker/audit/audit.h"
#include "worker/http/route.h"
#include "worker/system/system.h"
#include "worker/worker.h"

#define MAINTENANCE_LOOK_US (500 * MS_US)
#define MAINTENANCE_REASON_MAX 500

struct maintenance {
	struct worker *w;
	struct loop_timer timer;
	bool looking;
};

struct maintenance_row {
	int64_t since_ms; /* 0: off */
	struct str by, reason;
};

CO_FN static bool maintenance_read(struct worker *w, struct arena *a, struct maintenance_row *row, struct error *err)
{
	struct db_rows rows;
	const json_t *o;

	*row = (struct maintenance_row){0, STR(""), STR("")};
	if (!db_query(w->db, a, "SELECT value FROM settings WHERE key = 'maintenance'", DB_NO_ARGS, &rows, err))
		return false;
	if (rows.count == 0 || db_str(&rows, 0, 0).n == 0)
		return true;
	o = json_parse(a, db_str(&rows, 0, 0), err);
	row->since_ms = json_get_int(o, "since_ms", 0);
	row->by = json_get_str(o, "by", STR(""));
	row->reason = json_get_str(o, "reason", STR(""));
	return o != NULL;
}

static void maintenance_show(const struct worker *w, int64_t since_ms)
{
	atomic_store(&w->shm->maintenance_ms, since_ms);
	metric_set(M_MAINTENANCE, since_ms != 0, NULL);
}

CO_FN bool maintenance_allows(struct worker *w, struct arena *a, struct error *err)
{
	struct maintenance_row row;

	if (!maintenance_read(w, a, &row, err))
		return false;
	maintenance_show(w, row.since_ms);
	if (row.since_ms == 0)
		return true;
	return error_set(err, ERR_MAINTENANCE, "the service is in maintenance and takes no new debates%s%.*s",
			 row.reason.n > 0 ? ": " : "", STR_ARG(str_utf8_cut(row.reason, 150)));
}

int64_t maintenance_since_ms(const struct worker *w)
{
	return atomic_load(&w->shm->maintenance_ms);
}

/* ---- looking ---- */

CO_FN static void maintenance_look(void *arg)
{
	struct maintenance *m = arg;
	struct arena *a = arena_new(0);
	struct error err = ERROR_INIT;
	struct maintenance_row row;

	if (maintenance_read(m->w, a, &row, &err))
		maintenance_show(m->w, row.since_ms);
	arena_free(a);
	m->looking = false;
}

static void maintenance_tick(void *arg)
{
	struct maintenance *m = arg;

	if (!m->looking && !m->w->draining && worker_is_clerk(m->w))
		m->looking = co_spawn("maintenance", maintenance_look, m) != NULL;
	loop_timer_set(&m->timer, MAINTENANCE_LOOK_US);
}

struct maintenance *maintenance_open(struct worker *w)
{
	struct maintenance *m = xcalloc(1, sizeof(*m));

	m->w = w;
	loop_timer_init(w->loop, &m->timer, maintenance_tick, m);
	return m;
}

void maintenance_start(struct maintenance *m)
{
	loop_timer_set(&m->timer, 0);
}

void maintenance_close(struct maintenance *m)
{
	loop_timer_stop(&m->timer);
	free(m);
}

/* ---- routes ---- */

static void maintenance_reply(struct http_request *req, const struct maintenance_row *row)
{
	json_t *o = json_pack("{s:b, s:b, s:n, s:n, s:n}", "success", 1, "maintenance", (int)(row->since_ms != 0),
			      "enabled_at", "enabled_by", "reason");
	char iso[CLOCK_ISO_MAX];

	if (row->since_ms != 0) {
		json_put_str(o, "enabled_at", str_of(clock_iso(iso, row->since_ms)));
		json_put_str(o, "enabled_by", row->by);
		json_put_str(o, "reason", row->reason);
	}
	http_reply_json(req, 200, o);
}

CO_FN static void maintenance_status(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct maintenance_row row;

	if (maintenance_read(req->user, req->arena, &row, &err))
		maintenance_reply(req, &row);
	else
		http_reply_error(req, &err);
}

CO_FN static bool maintenance_write(struct http_request *req, struct maintenance_row *row, struct error *err)
{
	struct worker *w = req->user;
	struct db_batch *b = db_batch_new(w->db);
	json_t *o = json_own(req->arena, json_object());

	if (row->since_ms != 0) {
		json_put_int(o, "since_ms", row->since_ms);
		json_put_str(o, "by", row->by);
		json_put_str(o, "reason", row->reason);
	}
	db_batch_add(b,
		     "INSERT INTO settings (key, value, updated_at) VALUES ('maintenance', $1, $2)"
		     " ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
		     DB_ARGS(DB_S(json_text(req->arena, o)), DB_I(clock_wall_ms())), 1);
	audit_add(b, req,
		  &(struct audit_event){.category = "admin",
					.action = row->since_ms != 0 ? "admin.maintenance_enabled"
								     : "admin.maintenance_disabled",
					.resource_type = STR("service"),
					.reason = row->reason});
	if (!db_commit(w->db, b, err))
		return false;
	maintenance_show(w, row->since_ms);
	return true;
}

/* Switching on what is on keeps its beginning. */
CO_FN static void maintenance_enable(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct maintenance_row row;
	const json_t *body = NULL;
	struct str reason;

	if (str_trim(req->body).n > 0)
		body = json_parse(req->arena, req->body, &err);
	reason = json_get_str(body, "reason", STR(""));
	if (err.code == ERR_OK && reason.n > MAINTENANCE_REASON_MAX)
		error_field(&err, ERR_INVALID_VALUE, "reason", "must be at most %d bytes", MAINTENANCE_REASON_MAX);
	if (err.code != ERR_OK || !maintenance_read(req->user, req->arena, &row, &err)) {
		http_reply_error(req, &err);
		return;
	}
	if (row.since_ms == 0)
		row = (struct maintenance_row){clock_wall_ms(), req->ctx.principal, reason};
	else if (reason.n > 0)
		row.reason = reason;
	if (!maintenance_write(req, &row, &err)) {
		http_reply_error(req, &err);
		return;
	}
	log_info("system", "maintenance mode is on", KV_STR("by", row.by), KV_STR("why", row.reason));
	maintenance_reply(req, &row);
}

CO_FN static void maintenance_disable(struct http_request *req)
{
	struct maintenance_row row = {0, STR(""), STR("")};
	struct error err = ERROR_INIT;

	if (!maintenance_write(req, &row, &err)) {
		http_reply_error(req, &err);
		return;
	}
	log_info("system", "maintenance mode is off", KV_STR("by", req->ctx.principal));
	maintenance_reply(req, &row);
}

#define ROW(m, p, h, r, s) ROUTE(m, "/api/admin/maintenance" p, h, "admin:system", r, s)

static const struct route maintenance_rows[] = {
    ROW(GET, "", maintenance_status, READ, "Is maintenance mode on?"),
    ROW(POST, "/enable", maintenance_enable, WRITE, "Take no new debates; running ones finish"),
    ROW(POST, "/disable", maintenance_disable, WRITE, "Take new debates again"),
};
const struct route_table maintenance_routes = {maintenance_rows, countof(maintenance_rows)};
