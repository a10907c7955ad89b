/* SPDX-License-Identifier: MIT */
/*
 * Organizations, workspaces, members and invitations (rest-core 6.2, 6.3, 8.3; security.md 2.5), and in which of them a
 * request acts. Everything here is about the organization that the request has selected; an id of any other is answered
 * like an id that does not exist.
 */
#ifndef WORKER_TENANCY_TENANCY_H
#define WORKER_TENANCY_TENANCY_H

#include "common/db.h"
#include "worker/http/http.h"
#include "worker/http/route.h"
#include "worker/identity/identity.h"
#include "worker/worker.h"

#define TENANCY_NAME_MAX 100
#define TENANCY_SETTINGS_MAX 16384

extern const struct route_table organization_routes; /* orgs.c */
extern const struct route_table workspace_routes;    /* workspaces.c */
extern const struct route_table member_routes;       /* members.c */
extern const struct route_table invitation_routes;   /* invitations.c */
extern const struct route_table admin_user_routes;   /* admin_users.c */

/* A row as JSON: one column of the result each, in order. */
enum tenancy_kind { TENANCY_TEXT, TENANCY_NUMBER, TENANCY_BOOL, TENANCY_TIME /* ISO, null for 0 */, TENANCY_DOCUMENT };
struct tenancy_column {
	const char *name;
	enum tenancy_kind kind;
};
/* In the request's arena. */
json_t *tenancy_row(struct arena *a, const struct db_rows *rows, size_t row, const struct tenancy_column *columns,
		    size_t n);
json_t *tenancy_rows(struct arena *a, const struct db_rows *rows, const struct tenancy_column *columns, size_t n);

/* Answers with the error; where ERR_FENCED or ERR_DUPLICATE mean something, with that instead of it. */
void tenancy_fail(struct http_request *req, struct error *err, const char *fenced, const char *duplicate);
/* 404 for a thing of that kind, the same for foreign and for unknown ids. */
void tenancy_missing(struct http_request *req, const char *kind);
/* The one row that the statement finds; NULL after having answered, with 404 for none. Waits. */
CO_FN json_t *tenancy_one(struct http_request *req, const char *kind, const char *sql, const struct db_val *args,
			  size_t n, const struct tenancy_column *columns, size_t column_count) MUST_CHECK;
/* Is {id}, parameter 0, the organization of the request? If not, it has been answered with 404. */
bool tenancy_own_org(struct http_request *req) MUST_CHECK;
/* Is it a workspace that the request may use? If not, it has been answered. Waits. */
CO_FN bool tenancy_workspace(struct http_request *req, struct str id, struct db_rows *row) MUST_CHECK;

/*
 * Commits an act and its event of the audit log together, and tells the caches about the user (empty: about nobody),
 * those whom it touches, and the organization. False: answered with the error, nothing was done.
 */
struct tenancy_act {
	const char *category, *action, *type;
	struct str id, user_id;
	json_t *details; /* taken; may be NULL */
	const char *fenced, *duplicate;
	const struct str *touched; /* whom else it concerns, by user id */
	size_t touched_count;
	/* A workspace whose cached decisions rest on what changes, "" for all of the organization; NULL: none do. */
	const struct str *decided_in;
};
CO_FN bool tenancy_commit(struct http_request *req, struct db_batch *b, const struct tenancy_act *act) MUST_CHECK;

/* Adds the statements that put a user into an organization, or do nothing if it is there already. */
void tenancy_add_member(struct db_batch *b, struct str org_id, struct str user_id, struct str role);

#endif
