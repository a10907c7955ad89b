/* SPDX-License-Identifier: MIT */
/*
 * Permissions by name and as sets, roles by name and as sets of permissions. Called at start for each route, and where
 * an identity is loaded. It knows nobody's identity and stores nothing.
 */
#include "worker/permission/permission.h"

#include "common/compat.h"
#include "worker/permission/permission_table.h"

#define PERMISSION_KEY_MAX 64
#define ROLE_NAME_MAX 40
#define ROLES_MAX 16

/* ---- names ---- */

static int permission_exact(struct str key)
{
	size_t low = 0, high = permission_keys_count;

	while (low < high && key.n > 0) {
		size_t mid = low + (high - low) / 2, have = strlen(permission_keys[mid]);
		int diff = strncmp(key.p, permission_keys[mid], key.n);

		if (diff == 0 && key.n == have)
			return (int)mid;
		if (diff < 0 || (diff == 0 && key.n < have))
			high = mid;
		else
			low = mid + 1;
	}
	return -1;
}

/* The usual spelling in `out`, which lies in text; false: too long to be a name. */
static bool permission_spell(struct str key, char text[PERMISSION_KEY_MAX], struct str *out)
{
	char plain[PERMISSION_KEY_MAX];
	struct str head = STR_NONE;
	size_t i;

	if (key.n == 0 || key.n >= PERMISSION_KEY_MAX)
		return false;
	for (i = 0; i < key.n; i++)
		plain[i] = (char)(key.p[i] == ':' ? '.' : key.p[i]);
	key.p = plain;
	for (i = 0; i < permission_resources_count && head.n == 0; i++)
		if (str_starts(key, str_of(permission_resources[i].from))) {
			head = str_of(permission_resources[i].to);
			key = str_sub(key, strlen(permission_resources[i].from), key.n);
		}
	if (head.n + key.n > PERMISSION_KEY_MAX)
		return false;
	memcpy(text, head.p != NULL ? head.p : "", head.n);
	memcpy(text + head.n, key.p, key.n);
	*out = (struct str){text, head.n + key.n};
	return true;
}

int permission_find(struct str key)
{
	char text[PERMISSION_KEY_MAX];
	size_t i;

	if (!permission_spell(key, text, &key))
		return -1;
	for (i = 0; i < permission_aliases_count; i++)
		if (str_eqz(key, permission_aliases[i].from))
			return permission_exact(str_of(permission_aliases[i].to));
	return permission_exact(key);
}

const char *permission_key(int permission)
{
	BUG_ON(permission < 0 || permission >= permission_count());
	return permission_keys[permission];
}

int permission_count(void)
{
	return (int)permission_keys_count;
}

/* ---- sets ---- */

static void permissions_set(struct permissions *p, int permission)
{
	p->bit[permission / 64] |= UINT64_C(1) << (permission % 64);
}

bool permissions_have(const struct permissions *p, int permission)
{
	return p != NULL && permission >= 0 && permission < PERMISSIONS_MAX &&
	       (p->bit[permission / 64] >> (permission % 64) & 1) != 0;
}

bool permissions_grant(struct permissions *p, struct str pattern)
{
	char text[PERMISSION_KEY_MAX];
	bool all = str_eqz(pattern, "*"), any = false;
	int i, one;

	if (!all && !permission_spell(pattern, text, &pattern))
		return false;
	if (!all && !str_ends(pattern, STR(".*"))) {
		one = permission_find(pattern);
		if (one >= 0)
			permissions_set(p, one);
		return one >= 0;
	}
	pattern = str_sub(pattern, 0, pattern.n - 1);
	for (i = 0; i < permission_count(); i++)
		if (str_starts(str_of(permission_keys[i]), pattern)) {
			permissions_set(p, i);
			any = true;
		}
	return any;
}

bool permissions_grant_text(struct permissions *p, struct str text, struct error *err)
{
	struct str group, resource, action;
	char key[PERMISSION_KEY_MAX];

	if (str_eqz(text, "*"))
		return permissions_grant(p, text);
	while (str_split(&text, ';', &group)) {
		if (!str_split(&group, ':', &resource))
			continue;
		resource = str_trim(resource);
		group = str_trim(group);
		while (str_split(&group, ' ', &action)) {
			int n = snprintf(key, sizeof(key), "%.*s.%.*s", STR_ARG(resource), STR_ARG(action));

			if (action.n == 0)
				continue;
			if (n < 0 || (size_t)n >= sizeof(key) || !permissions_grant(p, (struct str){key, (size_t)n}))
				return error_set(err, ERR_INVALID_VALUE, "there is no permission %.*s.%.*s",
						 STR_ARG(str_sub(resource, 0, 64)), STR_ARG(str_sub(action, 0, 64)));
		}
	}
	return true;
}

void permissions_add(struct permissions *p, const struct permissions *more)
{
	size_t i;

	for (i = 0; i < countof(p->bit); i++)
		p->bit[i] |= more->bit[i];
}

void permissions_keep(struct permissions *p, const struct permissions *only)
{
	size_t i;

	for (i = 0; i < countof(p->bit); i++)
		p->bit[i] &= only->bit[i];
}

bool permissions_include(const struct permissions *p, const struct permissions *part)
{
	size_t i;

	for (i = 0; i < countof(p->bit); i++)
		if ((part->bit[i] & ~p->bit[i]) != 0)
			return false;
	return true;
}

unsigned permissions_count(const struct permissions *p)
{
	unsigned n = 0;
	size_t i;

	for (i = 0; i < countof(p->bit); i++)
		n += (unsigned)__builtin_popcountll(p->bit[i]);
	return n;
}

json_t *permissions_json(const struct permissions *p)
{
	json_t *list = json_array();
	int i;

	for (i = 0; i < permission_count(); i++)
		if (permissions_have(p, i))
			json_array_append_new(list, json_string(permission_keys[i]));
	return list;
}

/* ---- roles ---- */

const struct role *role_find(struct str name)
{
	size_t i;

	for (i = 0; i < permission_roles_count; i++)
		if (str_eqz(name, permission_roles[i].name))
			return &permission_roles[i];
	return NULL;
}

const struct role *role_at(size_t i)
{
	return i < permission_roles_count ? &permission_roles[i] : NULL;
}

/* The depth is that of the table: a role's parents stand behind it. */
static void role_collect(const struct role *role, struct permissions *out)
{
	struct error err = ERROR_INIT;
	bool ok = permissions_grant_text(out, str_of(role->grants), &err);
	size_t i;

	BUG_ON(!ok);
	for (i = 0; i < countof(role->parents) && role->parents[i] != NULL; i++)
		role_collect(role_find(str_of(role->parents[i])), out);
}

const struct permissions *role_set(struct str role)
{
	static struct permissions sets[ROLES_MAX];
	const struct role *r = role_find(role);
	struct permissions *set;

	if (r == NULL)
		return NULL;
	BUG_ON(permission_roles_count > ROLES_MAX);
	set = &sets[r - permission_roles];
	if (permissions_count(set) == 0)
		role_collect(r, set);
	return set;
}

bool role_permissions(struct str role, struct permissions *out)
{
	const struct permissions *set = role_set(role);

	*out = set != NULL ? *set : (struct permissions){{0}};
	return set != NULL;
}

bool role_custom_name_valid(struct str role)
{
	size_t i;

	if (!str_starts(role, STR("org:")) || role.n < 5 || role.n > 4 + ROLE_NAME_MAX)
		return false;
	for (i = 4; i < role.n; i++) {
		char c = role.p[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

		if (!letter && (i == 4 || !((c >= '0' && c <= '9') || c == '-' || c == '_')))
			return false;
	}
	return true;
}

bool role_may_assign(struct str actor, struct str from, struct str to)
{
	static const char *const by_admin[] = {"member", "analyst", "viewer"};
	bool from_ok = from.n == 0, to_ok = false;
	size_t i;

	if (str_eqz(actor, "owner"))
		return !str_eqz(from, "owner") && !str_eqz(to, "owner") &&
		       (role_find(to) != NULL || role_custom_name_valid(to));
	if (!str_eqz(actor, "admin"))
		return false;
	for (i = 0; i < countof(by_admin); i++) {
		from_ok |= str_eqz(from, by_admin[i]);
		to_ok |= str_eqz(to, by_admin[i]);
	}
	return from_ok && to_ok;
}
