/* SPDX-License-Identifier: MIT */
/*
 * Requests in somebody else's name: each is noted in the audit log with the admin behind it. A session that the header
 * names must be that of the token, whoever asks (security.md 2.3). What such a token may do is already in its
 * permissions.
 */
#include "worker/audit/audit.h"
#include "worker/identity/identity.h"
#include "worker/middleware/pipeline.h"

#define IMPERSONATION_HEADER "X-Impersonation-Session-ID"

static void impersonation_note(struct http_request *req, const char *action, const char *outcome)
{
	audit_note_request(req, &(struct audit_event){.category = "admin",
						      .action = action,
						      .outcome = outcome,
						      .resource_type = STR("route"),
						      .resource_id = str_of(req->route->path),
						      .reason = str_of(http_method_name(req->method))});
}

static bool impersonation_before(struct http_request *req)
{
	const struct identity *who = req->ctx.who;
	struct str named = http_field(req, IMPERSONATION_HEADER);
	struct error err = ERROR_INIT;

	if (named.n > 0 && (who->impersonator.n == 0 || !str_eq(named, who->session_id))) {
		impersonation_note(req, "admin.impersonation_session_invalid", "denied");
		error_set(&err, ERR_FORBIDDEN, "this is not the session of the token");
		http_reply_error(req, &err);
		return false;
	}
	if (who->impersonator.n == 0)
		return true;
	http_reply_value(req, IMPERSONATION_HEADER, who->session_id);
	impersonation_note(req, "admin.impersonation_action", "success");
	return true;
}

const struct middleware middleware_impersonation = {.name = "impersonation", .before = impersonation_before};
