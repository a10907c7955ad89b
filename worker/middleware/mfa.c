/* SPDX-License-Identifier: MIT */
/*
 * Administrators prove a second factor before they administrate (security.md 3.6): behind authentication, before
 * permissions. What a role may do at all is not its matter, nor who owns a device.
 */
#include "common/clock.h"
#include "common/conf.h"
#include "common/json.h"
#include "common/metrics.h"
#include "worker/identity/mfa.h"
#include "worker/middleware/pipeline.h"
#include "worker/permission/permission.h"
#include "worker/worker.h"

#define MFA_FRESH_MS INT64_C(900000)       /* for sensitive operations */
#define MFA_IMPERSONATE_MS INT64_C(300000) /* for acting as somebody else */

/* Permissions whose routes are administration; a name that ends in '.' stands for all that begin with it. */
static const char *const mfa_guarded[] = {
    "admin.",         "users.invite",        "users.remove",        "users.change_role",  "users.impersonate",
    "role.",          "organization.update", "organization.delete", "audit_log.",         "backup.",
    "control_plane.", "policies.",           "approval.grant",      "compliance_policy.",
};

static const struct {
	const char *permission;
	int64_t ms;
} mfa_fresh[] = {
    {"users.impersonate", MFA_IMPERSONATE_MS},
    {"users.change_role", MFA_FRESH_MS},
    {"users.remove", MFA_FRESH_MS},
    {"role.create", MFA_FRESH_MS},
    {"role.update", MFA_FRESH_MS},
    {"role.delete", MFA_FRESH_MS},
    {"organization.delete", MFA_FRESH_MS},
    {"backup.restore", MFA_FRESH_MS},
    {"backup.delete", MFA_FRESH_MS},
    {"admin.security", MFA_FRESH_MS},
};

static const char *mfa_permission(const struct route *r)
{
	int number = r->permission != NULL ? permission_find(str_of(r->permission)) : -1;

	return number >= 0 ? permission_key(number) : "";
}

static bool mfa_applies(const struct route *r, const struct conf *c)
{
	const char *key = mfa_permission(r);
	size_t i;

	if (!mfa_enforced(c) || key[0] == '\0')
		return false;
	if (str_starts(str_of(r->path), STR("/api/admin/")))
		return true;
	for (i = 0; i < countof(mfa_guarded); i++) {
		size_t n = strlen(mfa_guarded[i]);

		if (mfa_guarded[i][n - 1] == '.' ? strncmp(key, mfa_guarded[i], n) == 0
						 : strcmp(key, mfa_guarded[i]) == 0)
			return true;
	}
	return false;
}

static bool mfa_refuse(struct http_request *req, enum err code, const char *text, const char *action)
{
	struct error err = ERROR_INIT;

	metric_add(M_AUTH_FAILURES, 1, "forbidden", NULL);
	error_set(&err, code, "%s", text);
	http_reply_problem(req, &err, json_pack("{s:s}", "required_action", action));
	return false;
}

/* Services prove themselves otherwise; nobody where nobody has to authenticate is held to it. */
static bool mfa_concerns(const struct identity *who)
{
	return who != NULL && who->account != NULL && (who->kind == IDENTITY_USER || who->kind == IDENTITY_API_KEY);
}

bool mfa_demand_fresh(struct http_request *req, int64_t ms)
{
	const struct worker *w = req->user;
	const struct identity *who = req->ctx.who;

	if (!mfa_enforced(w->conf) || !mfa_concerns(who) || !who->mfa_enabled)
		return true;
	/* A key can prove nothing anew, however young it is. */
	if (who->kind == IDENTITY_USER && who->mfa_ms > clock_wall_ms() - ms)
		return true;
	return mfa_refuse(req, ERR_MFA_STEP_UP, "this needs a fresh proof of the second factor",
			  "/api/auth/mfa/verify");
}

static bool mfa_judge_missing(struct http_request *req, const struct conf *c, const struct account *u)
{
	int64_t now = clock_wall_ms();

	if (u->service_account && u->mfa_bypass_ms > now)
		return true;
	if (!u->service_account && mfa_grace_until(c, u) > now)
		return true;
	return mfa_refuse(req, ERR_ADMIN_MFA_REQUIRED, "administrators need a second factor: set it up first",
			  "/api/auth/mfa/setup");
}

/* Who is an administrator by a custom role, a further one or a delegation is one all the same. */
static bool mfa_demanded(const struct identity *who, int permission)
{
	const struct permissions *base = role_set(who->role);

	return mfa_role_demands(who->role) || (permissions_have(who->permissions, permission) &&
					       (base == NULL || !permissions_have(base, permission)));
}

static bool mfa_before(struct http_request *req)
{
	const struct identity *who = req->ctx.who;
	const char *key = mfa_permission(req->route);
	size_t i;

	if (!mfa_concerns(who) || !mfa_demanded(who, router_permission(req)))
		return true;
	if (!who->mfa_enabled)
		return mfa_judge_missing(req, middleware_conf(req), who->account);
	if (who->kind == IDENTITY_USER && who->mfa_ms == 0)
		return mfa_refuse(req, ERR_MFA_REQUIRED, "this session has not proved the second factor",
				  "/api/auth/mfa/verify");
	/* Else a stolen password, or one from before the second factor, would administrate for ever by a key. */
	if (who->mfa_ms == 0)
		return mfa_refuse(req, ERR_MFA_REQUIRED,
				  "this key was made without the second factor: make another and revoke it",
				  "/api/auth/api-keys");
	for (i = 0; i < countof(mfa_fresh); i++)
		if (strcmp(key, mfa_fresh[i].permission) == 0)
			return mfa_demand_fresh(req, mfa_fresh[i].ms);
	return true;
}

const struct middleware middleware_mfa = {.name = "mfa", .applies = mfa_applies, .before = mfa_before};
