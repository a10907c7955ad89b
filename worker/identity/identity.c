/* SPDX-License-Identifier: MIT */
/*
 * The identities that need no lookup, and the organization that is always there. Called by the authentication step and
 * by the start-up child. Users, sessions and tokens are not its matter.
 */
#include "worker/identity/identity.h"

#include "common/clock.h"
#include "common/db_admin.h"
#include "worker/access/permission.h"

static const struct identity identity_of_nobody = {
    .kind = IDENTITY_ANONYMOUS,
    .user_id = STR("anonymous"),
    .name = STR("anonymous"),
    .org_id = STR(IDENTITY_DEFAULT),
    .workspace_id = STR(IDENTITY_DEFAULT),
    .role = STR(""),
    .tier = STR("enterprise"),
};

static struct identity identity_of_token = {
    .kind = IDENTITY_TOKEN,
    .user_id = STR("api-token"),
    .name = STR("api-token"),
    .org_id = STR(IDENTITY_DEFAULT),
    .workspace_id = STR(IDENTITY_DEFAULT),
    .role = STR("admin"),
    .tier = STR("enterprise"),
    .service_account = true,
};

const struct identity *identity_anonymous(void)
{
	return &identity_of_nobody;
}

const struct identity *identity_api_token(void)
{
	identity_of_token.permissions = role_set(identity_of_token.role);
	return &identity_of_token;
}

bool identity_operates(const struct identity *who)
{
	return who != NULL && str_eqz(who->org_id, IDENTITY_DEFAULT) &&
	       (who->kind == IDENTITY_ANONYMOUS || str_eqz(who->role, "owner") || str_eqz(who->role, "admin"));
}

void identity_apply(const struct identity *who, struct context *ctx)
{
	ctx->principal = who->user_id;
	ctx->org_id = who->org_id;
	ctx->workspace_id = who->workspace_id;
	ctx->who = who;
}

/* Whoever runs the server is not limited by a tier: those are for organizations that others bring. */
static const char *const identity_rows[] = {
    "INSERT INTO organizations (id, name, slug, tier, created_at, updated_at)"
    " VALUES ('default', 'Default', 'default', 'enterprise', $1, $1) ON CONFLICT (id) DO NOTHING",
    "INSERT INTO workspaces (id, org_id, name, slug, created_at, updated_at)"
    " VALUES ('default', 'default', 'Default', 'default', $1, $1) ON CONFLICT (id) DO NOTHING",
    "INSERT INTO identity_changes (kind, id, n, changed_at) VALUES ('clock', '', 0, $1)"
    " ON CONFLICT (kind, id) DO NOTHING",
};

bool identity_prepare(const struct conf *c, struct error *err)
{
	struct dba *d = dba_open(c, DBA_WRITE, err);
	int64_t now = clock_wall_ms();
	bool ok = d != NULL && dba_begin(d, false, err);
	size_t i;

	for (i = 0; ok && i < countof(identity_rows); i++)
		ok = dba_run(d, identity_rows[i], DB_ARGS(DB_I(now)), NULL, err);
	ok = ok && dba_commit(d, err);
	dba_close(d);
	return ok;
}
