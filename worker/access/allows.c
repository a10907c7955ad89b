/* SPDX-License-Identifier: MIT */
/*
 * May who asks do this? A permission against those of the identity. Called by the rbac step and by handlers that need
 * more than their route's permission. Deny by default: no identity, no set, an unknown permission are all a no. Grants,
 * roles and delegations are already in the set.
 */
#include "worker/access/access.h"

#include "common/conf.h"
#include "common/json.h"
#include "common/metrics.h"
#include "worker/audit/audit.h"
#include "worker/identity/identity.h"
#include "worker/worker.h"

struct str access_handler(const struct route *r)
{
	struct str path = str_of(r->path), word;

	path = str_sub(path, str_starts(path, STR("/api/")) ? 5 : 1, path.n);
	return str_split(&path, '/', &word) ? word : STR("root");
}

bool access_allows(const struct worker *w, const struct identity *who, int permission)
{
	if (who == NULL)
		return false;
	if (who->kind == IDENTITY_ANONYMOUS)
		return !conf_auth_required(w->conf);
	return permissions_have(who->permissions, permission);
}

bool rbac_allows(const struct http_request *req, const char *key)
{
	return access_allows(req->user, req->ctx.who, permission_find(str_of(key)));
}

bool rbac_refuse(struct http_request *req, const char *key)
{
	struct str handler = access_handler(req->route);
	struct error err = ERROR_INIT;
	char word[64];

	(void)snprintf(word, sizeof(word), "%.*s", STR_ARG(str_sub(handler, 0, sizeof(word) - 1)));
	metric_add(M_RBAC_CHECKS, 1, key, "denied", NULL);
	metric_add(M_RBAC_DENIED, 1, key, word, NULL);
	if (req->ctx.who == NULL || req->ctx.who->kind == IDENTITY_ANONYMOUS) {
		metric_add(M_AUTH_FAILURES, 1, "missing", NULL);
		error_set(&err, ERR_AUTH_REQUIRED, "authentication is required");
		http_reply_error(req, &err);
		return false;
	}
	metric_add(M_AUTH_FAILURES, 1, "forbidden", NULL);
	/* Equal ones of a second are one event with a count: a client that hammers does not fill the log. */
	audit_note_request(req, &(struct audit_event){.category = "access",
						      .action = "access.denied",
						      .outcome = "denied",
						      .resource_type = STR("route"),
						      .resource_id = str_of(req->route->path),
						      .reason = str_of(key)});
	error_set(&err, ERR_PERMISSION_DENIED, "this needs the permission %s", key);
	http_reply_problem(req, &err, json_pack("{s:s}", "required_permission", key));
	return false;
}

bool rbac_demand(struct http_request *req, const char *key)
{
	return rbac_allows(req, key) || rbac_refuse(req, permission_key(permission_find(str_of(key))));
}
