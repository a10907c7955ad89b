/* SPDX-License-Identifier: MIT */
/*
 * What the audit log must know of a request whose handler has told it nothing: refusals, exports, and changes to
 * anything but debates. Only notes; an act whose event must not be lost writes it in its own transaction.
 */
#include "worker/audit/audit.h"

#include "common/json.h"
#include "worker/middleware/pipeline.h"
#include "worker/permission/permission.h"

/* Statuses that are refusals. */
static const struct audit_refusal {
	int status;
	const char *category, *action;
	struct str reason;
} audit_refusals[] = {
    {401, "access", "access.denied", STR("not authenticated")},
    {403, "access", "access.denied", STR("not allowed")},
    {429, "api", "api.rate_limited", STR("too many requests")},
};

/* Changes to these are ordinary use: debates have events of their own. */
static const struct str audit_ordinary[] = {STR("debates."), STR("receipts."), STR("agents.")};

/* What a stranger asks for is his choice: its events must not be more than there are routes. */
static struct str audit_resource(const struct http_request *req)
{
	return req->params[0].n > 0 && req->status != 401 && req->status != 429 ? req->params[0]
										: str_of(req->route->path);
}

static void audit_tell(struct http_request *req, const char *category, const char *action, const char *outcome,
		       struct str reason)
{
	json_t *details = json_pack("{s:s, s:s, s:i}", "method", http_method_name(req->method), "route",
				    req->route->path, "status", req->status);

	audit_note_request(req, &(struct audit_event){.category = category,
						      .action = action,
						      .outcome = outcome,
						      .resource_type = STR("route"),
						      .resource_id = audit_resource(req),
						      .reason = reason,
						      .details = details});
	json_decref(details);
}

static bool audit_is_ordinary(const struct route *r)
{
	int permission = r->permission != NULL ? permission_find(str_of(r->permission)) : -1;

	if (permission < 0)
		return true;
	for (size_t i = 0; i < countof(audit_ordinary); i++)
		if (str_starts(str_of(permission_key(permission)), audit_ordinary[i]))
			return true;
	return false;
}

static void audit_after(struct http_request *req)
{
	const struct route *r = req->route;

	if (r == NULL || req->audited)
		return;
	for (size_t i = 0; i < countof(audit_refusals); i++)
		if (req->status == audit_refusals[i].status) {
			audit_tell(req, audit_refusals[i].category, audit_refusals[i].action, "denied",
				   audit_refusals[i].reason);
			return;
		}
	if (req->status >= 400)
		return;
	if (r->permission != NULL && strstr(r->permission, "export") != NULL)
		audit_tell(req, "data", "data.exported", "success", STR_NONE);
	else if (r->method != HTTP_GET && !audit_is_ordinary(r))
		audit_tell(req, "admin", "admin.changed", "success", STR_NONE);
}

const struct middleware middleware_audit = {.name = "audit", .after = audit_after};
