/* SPDX-License-Identifier: MIT */
/*
 * Approvals: an operation that approvals.operations names is done only after somebody else has agreed to exactly this
 * call of this caller. The gate (middleware/approval_gate.c) asks for it and uses it up; others decide by
 * approvals_api.c. Rows are in the database on every deployment.
 */
#ifndef WORKER_ACCESS_APPROVAL_H
#define WORKER_ACCESS_APPROVAL_H

#include "common/crypto.h"
#include "worker/http/route.h"
#include "worker/jobs/jobs.h"

/* A high-risk operation: the routes that do it. */
struct approval_operation {
	const char *name; /* "user.role.change" */
	const char *risk; /* medium, high, critical */
	int needed;       /* how many must agree */
	const char *resource_type;
	const char *description;
	const char *checklist[4]; /* what who agrees confirms; NULL behind the last */
	struct {
		enum http_method method;
		const char *path; /* of the route; NULL behind the last */
	} routes[8];
};

/*
 * What a route does: the first operation of the table that c has switched on, without c the first at all. NULL: nothing
 * of the kind.
 */
const struct approval_operation *approval_operation_of(const struct route *r, const struct conf *c);
/* False: a row of the table names a route that there is not, and would gate nothing; err says which. */
bool approval_routes_exist(const struct router *router, struct error *err) MUST_CHECK;
/* Row i of the table; NULL behind the last. */
const struct approval_operation *approval_operation_at(size_t i);
/* Is the operation on in approvals.operations? */
bool approval_wanted(const struct conf *c, const struct approval_operation *o);

/*
 * What an approval is bound to besides the caller: hex SHA-256 over method, path, query and body, the latter with
 * sorted keys and without the id of the approval itself.
 */
void approval_hash(struct http_request *req, char out[SHA256_HEX]);
/*
 * What whoever decides is shown of the call: {query, body} with secrets masked, or {query, body_bytes} of a body that
 * is no JSON object or longer than APPROVAL_REQUEST_MAX. JSON text in the request's arena.
 */
#define APPROVAL_REQUEST_MAX 16384
struct str approval_request(struct http_request *req);
/* The id that a request brings: header X-Approval-ID, or _approval_id or approval_id in the body. Empty: none. */
struct str approval_given(struct http_request *req);

#define APPROVAL_COLUMNS                                                                                         \
	"id, org_id, workspace_id, operation, risk, requester_id, requester_email, resource_type, resource_id, " \
	"method, path, body_hash, request, description, checklist, votes, needed, state, epoch, created_at, "    \
	"expires_at, "                                                                                           \
	"decided_at, used_at"
struct approval_row {
	struct str id, org_id, workspace_id, operation, risk, requester_id, requester_email, resource_type, resource_id,
	    method, path, body_hash, request, description, checklist, votes;
	int64_t needed;
	struct str state;
	int64_t epoch, created_at, expires_at, decided_at, used_at;
};
/* Row i of a query for APPROVAL_COLUMNS. A pending one that is too old reads as expired. */
void approval_read(const struct db_rows *r, size_t i, int64_t now_ms, struct approval_row *out);
/* As clients see it. */
json_t *approval_json(struct arena *a, const struct approval_row *r);
/* One of the organization; ERR_NOT_FOUND. */
CO_FN bool approval_get(struct db *db, struct arena *a, struct str org_id, struct str id, struct approval_row *out,
			struct error *err) MUST_CHECK;
/* Tells the workspace's streams: approval_requested, approval_approved, approval_rejected. */
void approval_tell(struct worker *w, struct arena *a, const char *type, const struct approval_row *r);

extern const struct job approval_expiry_job;
extern const struct route_table approval_routes; /* approvals_api.c */

#endif
