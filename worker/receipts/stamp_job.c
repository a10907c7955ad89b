/* SPDX-License-Identifier: MIT */
/*
 * The job that has receipts stamped by the authority of receipts.tsa_url, and what is shown of stamps. Runs once per
 * cluster. An authority that does not answer is asked again at the next run: no debate waits for it.
 */
#include "worker/receipts/stamp.h"

#include "common/clock.h"
#include "common/conf.h"
#include "common/crypto.h"
#include "common/fetch.h"
#include "common/json.h"
#include "common/lane.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/tenant.h"
#include "worker/delivery/delivery.h"
#include "worker/jobs/jobs.h"
#include "worker/worker.h"

#define STAMP_PAGE 20
#define STAMP_FIRST_MS 5000
#define STAMP_OFF_MS INT64_C(3600000)              /* between two looks whether it is switched on */
#define STAMP_YOUNG_MS (7 * 24 * INT64_C(3600000)) /* older receipts are not asked for */
#define STAMP_WAIT_US (30 * INT64_C(1000000))
#define STAMP_BODY_MAX (64 * 1024)

/* ---- checking in a lane ---- */

struct stamp_work {
	struct buf hash, reply, query, ca_file;
	struct stamp stamp;
	struct error err;
	bool ok;
};

static void stamp_work_do(void *arg)
{
	struct stamp_work *j = arg;

	j->ok = stamp_check(buf_str(&j->hash), buf_str(&j->reply), buf_str(&j->query),
			    j->ca_file.n > 0 ? j->ca_file.p : "", &j->stamp, &j->err);
}

static void stamp_work_free(void *arg)
{
	struct stamp_work *j = arg;

	buf_free(&j->hash);
	buf_free(&j->reply);
	buf_free(&j->query);
	buf_free(&j->ca_file);
	free(j);
}

CO_FN static bool stamp_check_in_lane(struct worker *w, struct str hash, struct str reply, struct str query,
				      struct stamp *out, struct error *err)
{
	struct stamp_work *j = xcalloc(1, sizeof(*j));
	bool ok;

	*j = (struct stamp_work){.hash = BUF_INIT, .reply = BUF_INIT, .query = BUF_INIT, .ca_file = BUF_INIT};
	buf_add(&j->hash, hash);
	buf_add(&j->reply, reply);
	buf_add(&j->query, query);
	buf_printf(&j->ca_file, "%s", w->conf->receipts.tsa_ca_file);
	if (lane_run(w->slow, stamp_work_do, stamp_work_free, j, clock_mono_us() + STAMP_WAIT_US) != CO_DONE)
		return error_set(err, ERR_UNAVAILABLE, "too much is being checked; try again in a moment");
	ok = j->ok;
	*out = j->stamp;
	if (!ok)
		*err = j->err;
	stamp_work_free(j);
	return ok;
}

/* ---- the job ---- */

CO_FN static bool stamp_ask(struct worker *w, struct arena *a, struct str hash, struct str *reply, struct stamp *stamp,
			    struct error *err)
{
	static const struct fetch_header headers[] = {
	    {"Content-Type", {"application/timestamp-query", sizeof("application/timestamp-query") - 1}}};
	struct fetch_response resp;
	struct buf query = BUF_INIT;
	bool ok = stamp_query(hash, &query, err);

	if (ok) {
		const struct fetch_request req = {.method = "POST",
						  .url = str_of(w->conf->receipts.tsa_url),
						  .headers = headers,
						  .header_count = countof(headers),
						  .body = buf_str(&query),
						  .idle_us = STAMP_WAIT_US,
						  .max_body = STAMP_BODY_MAX,
						  .guard = deliveries_guard(w->deliveries)};

		ok = fetch_do(w->fetch, a, &req, &resp);
		if (!ok)
			error_set(err, ERR_UNAVAILABLE, "the authority cannot be asked: %.150s", resp.detail);
		else if (resp.status != 200)
			ok = error_set(err, ERR_UNAVAILABLE, "the authority answers %d", resp.status);
	}
	if (ok) {
		*reply = resp.body;
		ok = stamp_check_in_lane(w, hash, resp.body, buf_str(&query), stamp, err);
	}
	buf_free(&query);
	return ok;
}

/* id, debate, organization, workspace, content hash of row i. */
CO_FN static bool stamp_one(struct worker *w, const struct db_rows *r, size_t i, struct error *err)
{
	struct arena *a = arena_new(0);
	struct db_batch *b;
	struct stamp stamp;
	struct str reply;
	char *text;
	bool ok = stamp_ask(w, a, db_str(r, i, 4), &reply, &stamp, err);

	if (ok) {
		text = arena_alloc(a, 4 * ((reply.n + 2) / 3) + 1);
		crypto_base64(text, (const uint8_t *)reply.p, reply.n);
		b = db_batch_new(w->db);
		db_batch_add(
		    b,
		    "INSERT INTO receipt_stamps (receipt_id, debate_id, org_id, workspace_id, token, authority, "
		    "stamped_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
		    DB_ARGS(DB_S(db_str(r, i, 0)), DB_S(db_str(r, i, 1)), DB_S(db_str(r, i, 2)), DB_S(db_str(r, i, 3)),
			    DB_Z(text), DB_Z(stamp.authority), DB_I(stamp.at_ms)),
		    1);
		ok = db_commit(w->db, b, err);
	}
	metric_add(ok ? M_RECEIPT_STAMPS : M_RECEIPT_STAMP_FAILURES, 1, NULL);
	if (!ok)
		log_warn("receipts", "a receipt was not stamped, it is tried again",
			 KV_STR("receipt_id", db_str(r, i, 0)), KV_S("reason", err->msg));
	arena_free(a);
	return ok;
}

CO_FN static bool stamps_run(struct worker *w, json_t *result, int64_t *count, struct error *err)
{
	struct arena *a = arena_new(0);
	struct db_rows r = {0};
	bool ok = true;
	size_t i;

	if (w->conf->receipts.tsa_url[0] != '\0')
		ok = db_query(
		    w->db, a,
		    SQL_ANYBODY(
			"receipts of all are stamped, by their hash alone") "SELECT r.id, r.debate_id, "
									    "r.org_id, r.workspace_id, r.content_hash "
									    "FROM receipts r WHERE r.created_at > $1 "
									    "AND NOT "
									    "EXISTS (SELECT 1 FROM receipt_stamps s "
									    "WHERE s.receipt_id = r.id) ORDER BY "
									    "r.created_at, "
									    "r.id LIMIT $2",
		    DB_ARGS(DB_I(clock_wall_ms() - STAMP_YOUNG_MS), DB_I(STAMP_PAGE)), &r, err);
	/* Who cannot be reached for one cannot be reached for the next. */
	for (i = 0; ok && i < r.count && !jobs_stopping(w->jobs); i++) {
		ok = stamp_one(w, &r, i, err);
		*count += ok;
	}
	json_put_int(result, "stamped", *count);
	arena_free(a);
	return ok;
}

static int64_t stamps_interval(const struct conf *c)
{
	return c->receipts.tsa_url[0] != '\0' ? c->receipts.tsa_interval / 1000 : STAMP_OFF_MS;
}

const struct job receipt_stamps_job = {
    .name = "receipt-stamps", .first_ms = STAMP_FIRST_MS, .interval_ms = stamps_interval, .run = stamps_run};

/* ---- what is shown ---- */

json_t *stamp_show(struct worker *w, struct arena *a, struct str org_id, struct str workspace_id, struct str receipt_id,
		   struct str content_hash, struct error *err)
{
	struct error why = ERROR_INIT;
	char iso[CLOCK_ISO_MAX];
	struct stamp stamp = {.at_ms = 0};
	struct db_rows r;
	uint8_t *reply;
	json_t *o;
	size_t n;
	bool ok;

	if (!db_query(
		w->db, a,
		"SELECT token, authority, stamped_at FROM receipt_stamps WHERE receipt_id = $1 AND org_id = $2 AND "
		"workspace_id = $3",
		DB_ARGS(DB_S(receipt_id), DB_S(org_id), DB_S(workspace_id)), &r, err) ||
	    r.count == 0)
		return NULL;
	n = db_str(&r, 0, 0).n;
	reply = arena_alloc(a, n + 1);
	ok = crypto_unbase64(db_str(&r, 0, 0), reply, &n) &&
	     stamp_check_in_lane(w, content_hash, (struct str){(const char *)reply, n}, STR(""), &stamp, &why);
	o = json_object();
	json_put_str(o, "timestamp", str_of(clock_iso(iso, db_int(&r, 0, 2))));
	json_put_str(o, "authority", db_str(&r, 0, 1));
	json_object_set_new(o, "valid", json_boolean(ok && stamp.at_ms == db_int(&r, 0, 2)));
	if (!ok)
		json_put_str(o, "error", str_of(why.msg));
	json_put_str(o, "token", db_str(&r, 0, 0));
	return o;
}
