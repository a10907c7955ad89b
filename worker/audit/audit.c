/* SPDX-License-Identifier: MIT */
/*
 * Writing events: into the batch of an act, in a transaction of their own, or through the buffer; and the part of a
 * worker that holds key, buffer and sealer. Called from handlers, middleware and jobs.
 */
#include "common/metrics.h"
#include "worker/audit/audit_log.h"
#include "worker/http/http.h"
#include "worker/worker.h"

static const struct worker *audit_worker(const struct http_request *req)
{
	return req->user;
}

static void audit_put(struct db_batch *b, const struct audit_key *k, const struct audit_who *who,
		      const struct audit_event *e)
{
	struct arena *a = arena_new(0);
	struct db_val values[AUDIT_INBOX_COLUMNS + 1];
	struct audit_record r;

	audit_record_fill(a, who, e, &r);
	audit_record_sign(a, k, &r);
	audit_record_values(&r, values);
	db_batch_add(b, AUDIT_INSERT, values, countof(values), 1);
	arena_free(a);
}

void audit_add(struct db_batch *b, struct http_request *req, const struct audit_event *e)
{
	struct audit_who who = audit_who_request(req);

	req->audited = true;
	audit_put(b, &audit_worker(req)->audit->key, &who, e);
}

void audit_add_as(struct db_batch *b, const struct worker *w, const struct context *ctx, const struct audit_event *e)
{
	struct audit_who who = audit_who_context(ctx);

	audit_put(b, &w->audit->key, &who, e);
}

CO_FN bool audit_request(struct http_request *req, const struct audit_event *e, struct error *err)
{
	struct worker *w = req->user;
	struct db_batch *b = db_batch_new(w->db);

	audit_add(b, req, e);
	if (db_commit(w->db, b, err))
		return true;
	metric_add(M_AUDIT_FAILURES, 1, NULL);
	return false;
}

void audit_note(struct worker *w, const struct context *ctx, const struct audit_event *e)
{
	struct audit_who who = audit_who_context(ctx);

	audit_notes_add(w->audit->notes, &who, e);
}

void audit_note_request(struct http_request *req, const struct audit_event *e)
{
	struct audit_who who = audit_who_request(req);

	req->audited = true;
	if (audit_worker(req)->audit == NULL) /* a server without a store has no log */
		return;
	audit_notes_add(audit_worker(req)->audit->notes, &who, e);
}

/* ---- the part of a worker ---- */

struct audit *audit_open(struct worker *w, struct error *err)
{
	struct audit *a = xcalloc(1, sizeof(*a));

	a->w = w;
	if (!audit_key_load(w->conf, &a->key, err)) {
		audit_close(a);
		return NULL;
	}
	a->notes = audit_notes_open(w, &a->key);
	a->seal = audit_seal_open(w, &a->key);
	return a;
}

void audit_start(struct audit *a)
{
	audit_seal_start(a->seal);
}

bool audit_settled(const struct audit *a)
{
	return audit_notes_settled(a->notes);
}

void audit_close(struct audit *a)
{
	if (a == NULL)
		return;
	audit_seal_close(a->seal);
	audit_notes_close(a->notes);
	explicit_bzero(&a->key, sizeof(a->key));
	free(a);
}
