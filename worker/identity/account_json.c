/* SPDX-License-Identifier: MIT */
/*
 * Users and organizations as clients know them (rest-core 6.2). Called by the endpoints; never shows what proves who
 * somebody is.
 */
#include "common/json.h"
#include "worker/identity/session.h"

static void account_put_text(json_t *o, const char *key, struct str s)
{
	if (s.n > 0)
		json_put_str(o, key, s);
	else
		json_object_set_new(o, key, json_null());
}

json_t *account_json(struct arena *a, const struct account *u, const struct identity *who)
{
	const struct membership *m = account_member(u, who != NULL ? who->org_id : u->org_id);
	json_t *o = json_own(a, json_object());
	json_t *metadata = json_parse(a, u->metadata, NULL);

	json_put_str(o, "id", u->id);
	json_put_str(o, "email", u->email);
	json_put_str(o, "name", u->name);
	account_put_text(o, "org_id", m != NULL ? m->org_id : STR(""));
	account_put_text(o, "organization", m != NULL ? m->name : STR(""));
	json_put_str(o, "role", m != NULL ? m->role : STR(""));
	json_object_set_new(o, "roles", json_array());
	if (m != NULL)
		json_array_append_new(json_object_get(o, "roles"), json_str(m->role));
	json_object_set_new(o, "is_active", json_boolean(u->active));
	json_object_set_new(o, "email_verified", json_boolean(u->email_verified));
	json_object_set_new(o, "mfa_enabled", json_boolean(u->mfa_enabled));
	json_object_set_new(o, "is_service_account", json_boolean(u->service_account));
	json_put_time(o, "mfa_grace_period_started_at", u->mfa_grace_ms);
	json_put_int(o, "token_version", u->token_version);
	account_put_text(o, "avatar_url", u->avatar_url);
	json_object_set(o, "metadata", metadata);
	json_put_time(o, "created_at", u->created_ms);
	json_put_time(o, "updated_at", u->updated_ms);
	json_put_time(o, "last_login_at", u->last_login_ms);
	json_put_time(o, "last_login", u->last_login_ms);
	return o;
}

json_t *account_organization_json(struct arena *a, const struct account *u, struct str org_id)
{
	const struct membership *m = account_member(u, org_id);
	json_t *o;

	if (m == NULL)
		return json_own(a, json_null());
	o = json_own(a, json_object());
	json_put_str(o, "id", m->org_id);
	json_put_str(o, "name", m->name);
	json_put_str(o, "slug", m->slug);
	json_put_str(o, "tier", m->tier);
	json_put_str(o, "role", m->role);
	json_object_set_new(o, "is_active", json_boolean(m->active));
	return o;
}

json_t *account_organizations_json(struct arena *a, const struct account *u)
{
	json_t *list = json_own(a, json_array());
	size_t i;

	for (i = 0; i < u->org_count; i++) {
		json_t *o = json_object();

		json_put_str(o, "user_id", u->id);
		json_put_str(o, "org_id", u->orgs[i].org_id);
		json_object_set(o, "organization", account_organization_json(a, u, u->orgs[i].org_id));
		json_put_str(o, "role", u->orgs[i].role);
		json_object_set_new(o, "is_default", json_boolean(str_eq(u->orgs[i].org_id, u->org_id)));
		json_put_time(o, "joined_at", u->orgs[i].joined_ms);
		json_array_append_new(list, o);
	}
	return list;
}
