/* SPDX-License-Identifier: MIT */
/*
 * Nothing of one tenant for another: every statement passes here on its way to the store (db.c), and what touches rows
 * that belong to somebody without saying whose does not run.
 *
 * Which tables belong to somebody is read from the migrations, so that a new table is guarded from its first day:
 *   with workspace_id         rows of a workspace; a statement binds workspace_id = $n
 *   with org_id               rows of an organization; org_id = $n
 *   with user_id              rows of a person; user_id = $n
 *   with debate_id/delivery_id only: parts of such rows; key IN (SELECT ... of a bound table), or joined to one
 * (organizations.id counts as org_id, users.id as user_id.) The condition stands in WHERE or ON at the level of the
 * table, not beside an OR; an INSERT gives the columns as parameters. The values of the parameters are compared with
 * the tenant for which the coroutine acts (co_set_tenant). Coroutines of the server itself act for nobody and are not
 * checked: there tests/unit/tenant_test.c looks at every statement of the program.
 *
 * Exceptions are marked at the statement, with the reason, and are thereby easy to find:
 *   SQL_WITHIN_ORG("...") ranges over the workspaces of the organization: org_id is bound in place of workspace_id
 *   SQL_ANYBODY("...")    ranges over everything
 */
#ifndef COMMON_TENANT_H
#define COMMON_TENANT_H

#include "common/context.h"
#include "common/db.h"
#include "common/sql_scan.h"

#define SQL_WITHIN_ORG(why) "/*org: " why "*/ "
#define SQL_ANYBODY(why) "/*all: " why "*/ "

/* What a statement says about tenants. */
enum tenant_verdict {
	TENANT_FREE,  /* touches nothing that belongs to somebody */
	TENANT_BOUND, /* every row is bound to a parameter */
	TENANT_MARKED_ORG,
	TENANT_MARKED_ALL,
	TENANT_LOOSE /* rows of anybody: does not run for a tenant */
};

#define TENANT_BINDINGS 16

struct tenant_reading {
	enum tenant_verdict verdict;
	char table[64]; /* the one that is loose */
	struct tenant_binding {
		unsigned param; /* 1 for $1 */
		enum sql_column column;
	} bindings[TENANT_BINDINGS];
	size_t count;
};

/* Learns the tables of this process from the migrations; called once, before the first statement. */
void tenant_learn(const struct migration *m, size_t n);
/* Reads one statement; what it cannot read is loose. Pure but for the tables learned. */
void tenant_read(const char *sql, struct tenant_reading *out);
/*
 * May this statement run for whom the running coroutine acts? Takes the mark off *sql. False with ERR_INTERNAL after
 * having logged the statement: a mistake of the program, never of the client.
 */
bool tenant_admits(const char **sql, const struct db_val *args, size_t n, struct error *err) MUST_CHECK;

#endif
