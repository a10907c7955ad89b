/* SPDX-License-Identifier: MIT */
/*
 * What every request and every store begin with: whom a request is for, and the organization that is always there.
 * Called by the authentication step and by the start-up child. Users, sessions and tokens are not its matter.
 */
#include "worker/identity/identity.h"

#include "common/clock.h"
#include "common/conf.h"
#include "common/db_admin.h"
#include "common/log.h"
#include "worker/identity/setup.h"

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
static const char *const identity_row_sql[] = {
    "INSERT INTO organizations (id, name, slug, tier, created_at, updated_at)"
    " VALUES ('default', 'Default', 'default', 'enterprise', $1, $1) ON CONFLICT (id) DO NOTHING",
    "INSERT INTO workspaces (id, org_id, name, slug, created_at, updated_at)"
    " VALUES ('default', 'default', 'Default', 'default', $1, $1) ON CONFLICT (id) DO NOTHING",
    "INSERT INTO identity_changes (kind, id, n, changed_at) VALUES ('clock', '', 0, $1)"
    " ON CONFLICT (kind, id) DO NOTHING",
};

bool identity_rows(struct dba *d, struct error *err)
{
	int64_t now = clock_wall_ms();
	bool ok = true;
	size_t i;

	for (i = 0; ok && i < countof(identity_row_sql); i++)
		ok = dba_run(d, identity_row_sql[i], DB_ARGS(DB_I(now)), NULL, err);
	return ok;
}

/* The one secret that is meant to be read in the log: it is good once, and only until somebody has used it. */
static void identity_tell(const struct conf *c, bool shared, const char *setup_token)
{
	if (setup_token[0] != '\0')
		log_warn("identity",
			 "nobody has an account yet; make the first owner with POST /api/auth/setup and this token,"
			 " or with aragorad user create --admin",
			 KV_S("setup_token", setup_token));
	if (shared && c->auth.jwt_secret[0] == '\0' && conf_auth_required(c))
		log_warn(
		    "identity",
		    "auth.jwt_secret is empty: this node signs tokens with a secret of its own, which other nodes of"
		    " the same database do not know; set ARAGORA_JWT_SECRET on all of them");
}

bool identity_prepare(const struct conf *c, struct error *err)
{
	struct dba *d = dba_open(c, DBA_WRITE, err);
	char token[SETUP_TOKEN_MAX] = "";
	bool ok = d != NULL && dba_begin(d, false, err) && identity_rows(d, err) &&
		  (!conf_auth_required(c) || setup_token_make(d, false, token, err)) && dba_commit(d, err);

	if (ok)
		identity_tell(c, dba_shared(d), token);
	explicit_bzero(token, sizeof(token));
	dba_close(d);
	return ok;
}
