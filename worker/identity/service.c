/* SPDX-License-Identifier: MIT */
/*
 * Judges for whom a service may ask (security.md 1.6). Called by credential.c when it does not remember. Whether the
 * service is one is the matter of the service_headers step.
 */
#include "worker/identity/service.h"

#include "common/tenant.h"
#include "worker/permission/permission.h"
#include "worker/worker.h"

#define SERVICE_ID_MAX 128
#define SERVICE_ROLE_NONE "viewer" /* of who comes without a role that is known */

static bool service_id_valid(struct str id)
{
	size_t i;

	for (i = 0; i < id.n; i++)
		if (strchr("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.:@", id.p[i]) == NULL)
			return false;
	return id.n <= SERVICE_ID_MAX;
}

CO_FN static bool service_org(struct worker *w, struct arena *a, struct identity *who, struct error *err)
{
	struct db_rows r;

	if (!db_query(
		w->db, a,
		SQL_ANYBODY("whose the request is, is being found out") "SELECT tier, is_active FROM organizations"
									" WHERE id = $1",
		DB_ARGS(DB_S(who->org_id)), &r, err))
		return false;
	if (r.count == 0 || db_int(&r, 0, 1) == 0)
		return error_field(err, ERR_FORBIDDEN, "X-Org-ID", "there is no such organization");
	who->tier = db_str(&r, 0, 0);
	return true;
}

/* A user of ours must be one who may log in, and belong to the organization; others are known to the service only. */
CO_FN static bool service_user(struct worker *w, struct arena *a, struct identity *who, struct account *u,
			       struct error *err)
{
	const struct membership *m;

	if (!account_load(w, a, who->user_id, u, err)) {
		if (err->code != ERR_NOT_FOUND)
			return false;
		*err = ERROR_INIT;
		return true;
	}
	m = account_member(u, who->org_id);
	if (!u->active || m == NULL || !m->active)
		return error_field(err, ERR_FORBIDDEN, "X-User-ID", "the user is not active in the organization");
	who->account = u;
	who->email = u->email;
	who->name = u->name;
	who->user_since_ms = u->created_ms;
	who->mfa_enabled = u->mfa_enabled;
	return true;
}

/* The mightiest names the identity, all of them count. */
static void service_roles(struct str roles, struct identity *who, struct permissions *p)
{
	struct permissions one;
	unsigned best = 0;
	struct str word;

	while (roles.n > 0 && str_split(&roles, ',', &word)) {
		const struct role *r = role_find(str_trim(word));

		if (r == NULL || strcmp(r->name, "owner") == 0)
			continue;
		if (role_permissions(str_of(r->name), &one))
			permissions_add(p, &one);
		if (r->priority > best)
			who->role = str_of(r->name);
		best = r->priority > best ? r->priority : best;
	}
	if (best > 0)
		return;
	who->role = STR(SERVICE_ROLE_NONE);
	BUG_ON(!role_permissions(who->role, p));
}

CO_FN bool service_identity(struct worker *w, struct arena *a, const struct service_claim *claim, struct identity *who,
			    struct account *u, struct permissions *p, struct error *err)
{
	if (claim->user_id.n == 0 || !service_id_valid(claim->user_id))
		return error_field(err, ERR_INVALID_VALUE, "X-User-ID", "must be a user id of at most %d characters",
				   SERVICE_ID_MAX);
	if (!service_id_valid(claim->org_id))
		return error_field(err, ERR_INVALID_VALUE, "X-Org-ID", "must be an organization's id");
	*who = (struct identity){.kind = IDENTITY_SERVICE,
				 .user_id = arena_str(a, claim->user_id),
				 .name = arena_str(a, claim->user_id),
				 .org_id = claim->org_id.n > 0 ? arena_str(a, claim->org_id) : STR(IDENTITY_DEFAULT),
				 .permissions = p,
				 .service_account = true};
	who->workspace_id = who->org_id;
	service_roles(claim->roles, who, p);
	return service_org(w, a, who, err) && service_user(w, a, who, u, err);
}
