/* SPDX-License-Identifier: MIT */
/*
 * A user with the organizations and workspaces it belongs to, read from the store, and copies of identities. Called by
 * credential.c, which keeps what it gets, and by the endpoints. It changes nothing.
 */
#include "common/tenant.h"
#include "worker/identity/identity.h"
#include "worker/permission/permission.h"
#include "worker/worker.h"

#define ACCOUNT_ORGS_MAX 200
#define ACCOUNT_WORKSPACES_MAX 1000

CO_FN static bool account_user(struct worker *w, struct arena *a, struct str user_id, struct account *out,
			       struct error *err)
{
	struct db_rows r;

	if (!db_query(
		w->db, a,
		SQL_ANYBODY(
		    "whose the request is, is being found out") "SELECT email, name, org_id, avatar_url, metadata, "
								"is_active, email_verified, service_account,"
								" mfa_enabled, token_version, created_at, updated_at, "
								"last_login_at, mfa_grace_at, (SELECT b.expires_at "
								"FROM mfa_bypasses b WHERE b.user_id = users.id)"
								" FROM users WHERE id = $1",
		DB_ARGS(DB_S(user_id)), &r, err))
		return false;
	if (r.count == 0)
		return error_set(err, ERR_NOT_FOUND, "there is no such user");
	*out = (struct account){
	    .id = arena_str(a, user_id),
	    .email = db_str(&r, 0, 0),
	    .name = db_str(&r, 0, 1),
	    .org_id = db_str(&r, 0, 2),
	    .avatar_url = db_str(&r, 0, 3),
	    .metadata = db_str(&r, 0, 4),
	    .active = db_int(&r, 0, 5) != 0,
	    .email_verified = db_int(&r, 0, 6) != 0,
	    .service_account = db_int(&r, 0, 7) != 0,
	    .mfa_enabled = db_int(&r, 0, 8) != 0,
	    .token_version = db_int(&r, 0, 9),
	    .created_ms = db_int(&r, 0, 10),
	    .updated_ms = db_int(&r, 0, 11),
	    .last_login_ms = db_int(&r, 0, 12),
	    .mfa_grace_ms = db_int(&r, 0, 13),
	    .mfa_bypass_ms = db_int(&r, 0, 14),
	};
	return true;
}

CO_FN static bool account_orgs(struct worker *w, struct arena *a, struct account *u, struct error *err)
{
	struct membership *v;
	struct db_rows r;
	size_t i;

	if (!db_query(w->db, a,
		      SQL_ANYBODY(
			  "whose the request is, is being found out") "SELECT m.org_id, o.name, o.slug, o.tier, "
								      "m.role, m.created_at, o.is_active FROM members m"
								      " JOIN organizations o ON o.id = m.org_id WHERE "
								      "m.user_id = $1 ORDER BY m.created_at, m.org_id"
								      " LIMIT $2",
		      DB_ARGS(DB_S(u->id), DB_I(ACCOUNT_ORGS_MAX)), &r, err))
		return false;
	v = arena_zalloc(a, (r.count + 1) * sizeof(*v));
	for (i = 0; i < r.count; i++)
		v[i] = (struct membership){.org_id = db_str(&r, i, 0),
					   .name = db_str(&r, i, 1),
					   .slug = db_str(&r, i, 2),
					   .tier = db_str(&r, i, 3),
					   .role = db_str(&r, i, 4),
					   .joined_ms = db_int(&r, i, 5),
					   .active = db_int(&r, i, 6) != 0};
	u->orgs = v;
	u->org_count = r.count;
	return true;
}

/* Those of an organization are open to its owners and admins, the first (of the same id) to every member. */
CO_FN static bool account_workspaces(struct worker *w, struct arena *a, struct account *u, struct error *err)
{
	struct membership_workspace *v;
	struct db_rows r;
	size_t i;

	if (!db_query(
		w->db, a,
		SQL_ANYBODY(
		    "whose the request is, is being found out") "SELECT s.id, s.org_id, s.name, wm.role FROM members m "
								"JOIN workspaces s ON s.org_id = m.org_id"
								" LEFT JOIN workspace_members wm ON wm.workspace_id = "
								"s.id AND wm.user_id = m.user_id"
								" WHERE m.user_id = $1 AND (wm.role IS NOT NULL OR "
								"m.role IN ('owner', 'admin')"
								" OR s.id = s.org_id) ORDER BY s.created_at, s.id "
								"LIMIT $2",
		DB_ARGS(DB_S(u->id), DB_I(ACCOUNT_WORKSPACES_MAX)), &r, err))
		return false;
	v = arena_zalloc(a, (r.count + 1) * sizeof(*v));
	for (i = 0; i < r.count; i++)
		v[i] = (struct membership_workspace){.id = db_str(&r, i, 0),
						     .org_id = db_str(&r, i, 1),
						     .name = db_str(&r, i, 2),
						     .role = db_str(&r, i, 3)};
	u->workspaces = v;
	u->workspace_count = r.count;
	return true;
}

CO_FN bool account_load(struct worker *w, struct arena *a, struct str user_id, struct account *out, struct error *err)
{
	return account_user(w, a, user_id, out, err) && account_orgs(w, a, out, err) &&
	       account_workspaces(w, a, out, err);
}

const struct membership *account_member(const struct account *u, struct str org_id)
{
	size_t i;

	for (i = 0; u != NULL && i < u->org_count; i++)
		if (str_eq(u->orgs[i].org_id, org_id))
			return &u->orgs[i];
	return NULL;
}

const struct membership_workspace *account_workspace(const struct account *u, struct str workspace_id)
{
	size_t i;

	for (i = 0; u != NULL && i < u->workspace_count; i++)
		if (str_eq(u->workspaces[i].id, workspace_id))
			return &u->workspaces[i];
	return NULL;
}

struct identity *identity_copy(struct arena *a, const struct identity *who)
{
	struct identity *c = arena_alloc(a, sizeof(*c));
	struct permissions *p = arena_zalloc(a, sizeof(*p));
	struct str *const texts[] = {
	    &c->user_id, &c->email,  &c->name,       &c->org_id,   &c->workspace_id, &c->role,
	    &c->tier,    &c->key_id, &c->session_id, &c->token_id, &c->impersonator, &c->emergency_id,
	};
	size_t i;

	*c = *who;
	for (i = 0; i < countof(texts); i++)
		*texts[i] = arena_str(a, *texts[i]);
	if (who->permissions != NULL)
		*p = *who->permissions;
	c->permissions = p;
	c->account = NULL;
	c->credential = NULL;
	return c;
}
