/* SPDX-License-Identifier: MIT */
/*
 * Puts together what a member may. Called where an identity is made, and by whoever gives permissions away. It keeps
 * nothing: who caches it forgets it by identity_changes and by until_ms.
 */
#include "worker/access/effective.h"

#include "common/clock.h"
#include "common/log.h"
#include "worker/worker.h"

#define EFFECTIVE_ROWS 500
#define EFFECTIVE_DEPTH 3 /* delegations of delegations: security.md 1.8 */

/*
 * What a role that was given in a workspace never brings: the affairs of the organization. Without this the owner of a
 * workspace would own the organization.
 */
static const char effective_org_only[] =
    "organization: *; billing: *; payments: *; users: *; role: *; admin: *; audit_log: *; policies: *; compliance: *;"
    " compliance_policy: *; data_retention: *; access: grant; emergency: *; scheduler: *; backup: *; control_plane: *;"
    " system: *; security: *; metrics: *; authentication: reset_password require_mfa; budget: *; quota: *;"
    " cost_center: *; finance: *; expenses: *; api_key: list_all export_secret; disaster_recovery: *; dr: *; vendor: *;"
    " pii: *; receipts: export_data";

static void effective_limit(struct permissions *p)
{
	struct permissions out = {{0}}, all = {{0}};
	struct error err = ERROR_INIT;
	bool ok = permissions_grant_text(&out, str_of(effective_org_only), &err) && permissions_grant(&all, STR("*"));
	size_t i;

	BUG_ON(!ok);
	for (i = 0; i < countof(out.bit); i++)
		all.bit[i] &= ~out.bit[i];
	permissions_keep(p, &all);
}

/* ---- roles ---- */

CO_FN bool access_of_role(struct worker *w, struct arena *a, struct str org_id, struct str role,
			  struct permissions *out, struct error *err)
{
	const struct permissions *set = role_set(role);
	struct str list, item;
	struct db_rows r;

	memset(out, 0, sizeof(*out));
	if (set != NULL) {
		*out = *set;
		return true;
	}
	if (!db_query(w->db, a, "SELECT bases, grants FROM roles WHERE org_id = $1 AND name = $2",
		      DB_ARGS(DB_S(org_id), DB_S(role)), &r, err))
		return false;
	if (r.count == 0)
		return error_set(err, ERR_NOT_FOUND, "there is no role %.*s", STR_ARG(str_sub(role, 0, 64)));
	list = db_str(&r, 0, 0);
	while (str_split(&list, ' ', &item))
		if (role_set(item) != NULL)
			permissions_add(out, role_set(item));
	list = db_str(&r, 0, 1);
	while (str_split(&list, ' ', &item))
		if (item.n > 0 && !permissions_grant(out, item))
			log_warn("access", "a custom role has a permission that there is not any more",
				 KV_STR("role", role), KV_STR("permission", item));
	return true;
}

/* An unknown role grants nothing; false: the store failed. */
CO_FN static bool effective_role(struct worker *w, struct arena *a, const struct access_subject *s, struct str role,
				 bool in_workspace, struct permissions *sum, struct error *err)
{
	struct permissions p;

	if (role.n == 0)
		return true;
	if (!access_of_role(w, a, s->org_id, role, &p, err)) {
		if (err->code != ERR_NOT_FOUND)
			return false;
		log_warn("access", "a role is unknown and grants nothing", KV_STR("role", role));
		*err = ERROR_INIT;
		return true;
	}
	if (in_workspace)
		effective_limit(&p);
	permissions_add(sum, &p);
	return true;
}

/* ---- the sum ---- */

#define EFFECTIVE_SQL                                                                                                 \
	"SELECT 1 AS kind, role AS what, '' AS id, workspace_id AS place, '' AS giver, expires_at FROM "              \
	"role_assignments"                                                                                            \
	" WHERE user_id = $1 AND org_id = $2 AND workspace_id IN ('', $3) AND (expires_at = 0 OR expires_at > $4)"    \
	" UNION ALL SELECT 1, role, '', workspace_id, '', 0 FROM workspace_members"                                   \
	" WHERE user_id = $1 AND org_id = $2 AND workspace_id = $3"                                                   \
	" UNION ALL SELECT 2, permission, id, workspace_id, delegator_id, expires_at FROM delegations"                \
	" WHERE delegate_id = $1 AND org_id = $2 AND workspace_id IN ('', $3) AND revoked_at = 0 AND expires_at > $4" \
	" UNION ALL SELECT 3, grants, id, '', '', expires_at FROM emergencies"                                        \
	" WHERE user_id = $1 AND org_id = $2 AND ended_at = 0 AND expires_at > $4 LIMIT $5"

CO_FN static bool effective_sum(struct worker *w, struct arena *a, const struct access_subject *s, unsigned depth,
				struct access_effective *out, struct error *err);

CO_FN static bool effective_member(struct worker *w, struct arena *a, struct str org_id, struct str workspace_id,
				   struct str user_id, unsigned depth, struct access_effective *out, struct error *err)
{
	struct access_subject s = {user_id, org_id, workspace_id, STR_NONE};
	struct db_rows r;

	if (!db_query(w->db, a,
		      "SELECT m.role FROM members m JOIN users u ON u.id = m.user_id"
		      " WHERE m.user_id = $1 AND m.org_id = $2 AND u.is_active = 1",
		      DB_ARGS(DB_S(user_id), DB_S(org_id)), &r, err))
		return false;
	if (r.count == 0)
		return error_set(err, ERR_NOT_FOUND, "there is no such member");
	s.role = db_str(&r, 0, 0);
	return effective_sum(w, a, &s, depth, out, err);
}

/* A delegation brings what its giver still has, and nothing that the giver has by break-glass. */
CO_FN static bool effective_delegated(struct worker *w, struct arena *a, const struct access_subject *s,
				      struct str permission, struct str giver, unsigned depth,
				      struct access_effective *out, struct error *err)
{
	struct permissions given = {{0}};
	struct access_effective has = {.until_ms = INT64_MAX};

	if (depth >= EFFECTIVE_DEPTH || !permissions_grant(&given, permission))
		return true;
	if (!effective_member(w, a, s->org_id, s->workspace_id, giver, depth + 1, &has, err)) {
		if (err->code != ERR_NOT_FOUND)
			return false;
		*err = ERROR_INIT;
		return true;
	}
	permissions_keep(&given, &has.permissions);
	permissions_add(&out->permissions, &given);
	if (has.until_ms < out->until_ms)
		out->until_ms = has.until_ms;
	return true;
}

static void effective_emergency(struct access_effective *out, struct str grants, struct str id)
{
	struct str item;

	while (str_split(&grants, ' ', &item))
		if (item.n > 0 && !permissions_grant(&out->permissions, item))
			log_warn("access", "break-glass names an unknown permission", KV_STR("permission", item));
	out->emergency_id = id;
}

CO_FN static bool effective_sum(struct worker *w, struct arena *a, const struct access_subject *s, unsigned depth,
				struct access_effective *out, struct error *err)
{
	struct db_rows r;
	bool ok;
	size_t i;

	*out = (struct access_effective){.until_ms = INT64_MAX};
	ok = effective_role(w, a, s, s->role, false, &out->permissions, err) &&
	     db_query(w->db, a, EFFECTIVE_SQL,
		      DB_ARGS(DB_S(s->user_id), DB_S(s->org_id), DB_S(s->workspace_id), DB_I(clock_wall_ms()),
			      DB_I(EFFECTIVE_ROWS)),
		      &r, err);
	for (i = 0; ok && i < r.count; i++) {
		int64_t until = db_int(&r, i, 5);

		if (db_int(&r, i, 0) == 1)
			ok = effective_role(w, a, s, db_str(&r, i, 1), db_str(&r, i, 3).n > 0, &out->permissions, err);
		else if (db_int(&r, i, 0) == 2)
			ok = effective_delegated(w, a, s, db_str(&r, i, 1), db_str(&r, i, 4), depth, out, err);
		else if (depth == 0)
			effective_emergency(out, db_str(&r, i, 1), db_str(&r, i, 2));
		if (until > 0 && until < out->until_ms)
			out->until_ms = until;
	}
	return ok;
}

CO_FN bool access_effective(struct worker *w, struct arena *a, const struct access_subject *s,
			    struct access_effective *out, struct error *err)
{
	bool ok = effective_sum(w, a, s, 0, out, err);

	if (!ok)
		*out = (struct access_effective){.until_ms = 0};
	return ok;
}

CO_FN bool access_of_member(struct worker *w, struct arena *a, struct str org_id, struct str workspace_id,
			    struct str user_id, struct access_effective *out, struct error *err)
{
	return effective_member(w, a, org_id, workspace_id, user_id, 0, out, err);
}

/* ---- changes ---- */

/* Delegations that began with somebody's, and those that came of them: at most EFFECTIVE_DEPTH long. */
#define CHAIN                                                                                            \
	"(d.delegator_id = $2 OR d.parent_id IN (SELECT p.id FROM delegations p WHERE p.org_id = $1 AND" \
	" (p.delegator_id = $2 OR p.parent_id IN (SELECT g.id FROM delegations g WHERE g.org_id = $1"    \
	" AND g.delegator_id = $2))))"

CO_FN bool access_member_leaves(struct worker *w, struct arena *a, struct db_batch *b, struct str org_id,
				struct str user_id, bool ends, struct str **touched, size_t *n, struct error *err)
{
	int64_t now = clock_wall_ms();
	struct db_rows r;
	size_t i;

	*n = 0;
	if (!db_query(w->db, a,
		      "SELECT DISTINCT d.delegate_id FROM delegations d WHERE d.org_id = $1 AND d.revoked_at = 0"
		      " AND d.expires_at > $3 AND " CHAIN " ORDER BY d.delegate_id",
		      DB_ARGS(DB_S(org_id), DB_S(user_id), DB_I(now)), &r, err))
		return false;
	*touched = arena_zalloc(a, (r.count + 1) * sizeof(**touched));
	for (i = 0; i < r.count; i++)
		(*touched)[(*n)++] = db_str(&r, i, 0);
	db_batch_add(b,
		     "UPDATE delegations AS d SET revoked_at = $3, revoked_by = 'system'"
		     " WHERE d.org_id = $1 AND d.revoked_at = 0 AND " CHAIN,
		     DB_ARGS(DB_S(org_id), DB_S(user_id), DB_I(now)), DB_ANY);
	if (!ends)
		return true;
	db_batch_add(b, "DELETE FROM role_assignments WHERE org_id = $1 AND user_id = $2",
		     DB_ARGS(DB_S(org_id), DB_S(user_id)), DB_ANY);
	db_batch_add(b, "DELETE FROM resource_grants WHERE org_id = $1 AND user_id = $2",
		     DB_ARGS(DB_S(org_id), DB_S(user_id)), DB_ANY);
	db_batch_add(b,
		     "UPDATE delegations SET revoked_at = $3, revoked_by = 'system'"
		     " WHERE org_id = $1 AND delegate_id = $2 AND revoked_at = 0",
		     DB_ARGS(DB_S(org_id), DB_S(user_id), DB_I(now)), DB_ANY);
	db_batch_add(b,
		     "UPDATE emergencies SET ended_at = $3, ended_by = 'system'"
		     " WHERE org_id = $1 AND user_id = $2 AND ended_at = 0",
		     DB_ARGS(DB_S(org_id), DB_S(user_id), DB_I(now)), DB_ANY);
	return true;
}
