/* SPDX-License-Identifier: MIT */
/*
 * Permissions and roles: every spelling, wildcards, what each role effectively may, who may assign what, and that the
 * manual in the tree is that of the tables. ACCESS_REGENERATE=1 writes the manual instead of comparing it.
 */
#include "worker/permission/permission.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "worker/permission/permission_table.h"

#define MANUAL "man/aragora-access.7"

static void test_names(void **state)
{
	static const struct {
		const char *from, *to; /* NULL: unknown */
	} cases[] = {
	    {"debates.read", "debates.read"},
	    {"debates:read", "debates.read"},
	    {"gateway:agent:read", "gateway.agent.read"},
	    {"gateway.agent:read", "gateway.agent.read"},
	    {"organizations:read", "organization.read"},
	    {"workspaces.read", "workspace.read"},
	    {"retention.policies.read", "data_retention.read"},
	    {"retention:policies:update", "data_retention.update"},
	    {"controlplane.tasks.read", "control_plane.tasks.read"},
	    {"workflows.run", "workflows.execute"},
	    {"debates:write", "debates.create"},
	    {"debates:export", "debates.export"},
	    {"export:read", "debates.export"},
	    {"analysis:read", "debates.read"},
	    {"agents:calibration:read", "agents.read"},
	    {"org:billing", "organization.manage_billing"},
	    {"admin:impersonate", "users.impersonate"},
	    {"admin.metrics", "admin.view_metrics"},
	    {"monitoring:metrics", "admin.view_metrics"},
	    {"system.health.read", "system.read"},
	    {"slack:oauth:install", "slack.oauth.install"},
	    {"admin.*", "admin.*"},
	    {"webhooks:*", "webhooks.*"},
	    {"debates.*", NULL},
	    {"*", NULL},
	    {"", NULL},
	    {"debates", NULL},
	    {"debates.", NULL},
	    {"debates.reads", NULL},
	    {"debates.rea", NULL},
	    {"organizations:", NULL},
	    {"organizations", NULL},
	    {"Debates.read", NULL},
	    {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.read", NULL},
	};
	size_t i;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		int found = permission_find(str_of(cases[i].from));

		if (cases[i].to == NULL)
			assert_int_equal(found, -1);
		else if (found < 0)
			fail_msg("%s is unknown", cases[i].from);
		else
			assert_string_equal(permission_key(found), cases[i].to);
	}
}

/* The tables hold together: sorted, unique, within the mask; every alias leads somewhere; a role inherits from below.
 */
static void test_tables(void **state)
{
	size_t i, k;

	(void)state;
	assert_true(permission_count() <= PERMISSIONS_MAX);
	for (i = 0; i < permission_keys_count; i++) {
		assert_int_equal(permission_find(str_of(permission_keys[i])), i);
		if (i > 0)
			assert_true(strcmp(permission_keys[i - 1], permission_keys[i]) < 0);
	}
	for (i = 0; i < permission_aliases_count; i++) {
		assert_true(permission_find(str_of(permission_aliases[i].from)) >= 0);
		assert_true(permission_find(str_of(permission_aliases[i].from)) ==
			    permission_find(str_of(permission_aliases[i].to)));
	}
	for (i = 0; i < permission_roles_count; i++)
		for (k = 0; k < countof(permission_roles[i].parents) && permission_roles[i].parents[k] != NULL; k++)
			assert_true(role_find(str_of(permission_roles[i].parents[k])) > &permission_roles[i]);
}

static void test_sets(void **state)
{
	struct permissions p = {0}, q = {0};
	int read = permission_find(STR("debates.read")), fork = permission_find(STR("debates.fork"));
	json_t *list;

	(void)state;
	assert_false(permissions_have(NULL, read));
	assert_false(permissions_have(&p, read));
	assert_false(permissions_have(&p, -1));
	assert_true(permissions_grant(&p, STR("debates:read")));
	assert_true(permissions_have(&p, read));
	assert_false(permissions_have(&p, fork));
	assert_int_equal(permissions_count(&p), 1);
	assert_true(permissions_grant(&p, STR("gateway.agent.*")));
	assert_int_equal(permissions_count(&p), 4);
	assert_true(permissions_grant(&q, STR("gateway.*")));
	assert_true(permissions_have(&q, permission_find(STR("gateway.agent.read"))));
	assert_false(permissions_include(&p, &q));
	permissions_keep(&q, &p);
	assert_int_equal(permissions_count(&q), 3);
	assert_true(permissions_include(&p, &q));
	assert_false(permissions_grant(&p, STR("debate.*")));
	assert_false(permissions_grant(&p, STR(".*")));
	assert_false(permissions_grant(&p, STR("")));
	assert_false(permissions_grant(&p, STR("debates.reads")));
	assert_int_equal(permissions_count(&p), 4);
	list = permissions_json(&p);
	assert_int_equal(json_array_size(list), 4);
	assert_string_equal(json_string_value(json_array_get(list, 0)), "debates.read");
	assert_string_equal(json_string_value(json_array_get(list, 1)), "gateway.agent.create");
	json_decref(list);
	assert_true(permissions_grant(&p, STR("*")));
	assert_int_equal(permissions_count(&p), permission_count());
}

static void test_grant_text(void **state)
{
	struct permissions p = {0};
	struct error err = ERROR_INIT;

	(void)state;
	assert_true(permissions_grant_text(&p, STR("debates: read  fork; webhooks: *;"), &err));
	assert_int_equal(permissions_count(&p), 2 + 5);
	assert_false(permissions_grant_text(&p, STR("debates: read; debates: fly"), &err));
	assert_string_equal(err.msg, "there is no permission debates.fly");
}

/*
 * The reference counts 5, 17, 43, 81, 88, 69, 199 and 398 effective permissions; on top of these come the keys that it
 * leaves out (exports, receipts, workflows, budgets, chat, grants, break-glass) and everybody's own account.
 */
static void test_roles(void **state)
{
	static const struct {
		const char *role;
		unsigned count;
		const char *has, *has_not;
	} cases[] = {
	    {"viewer", 13, "debates.read authentication.revoke receipts.read",
	     "debates.create users.read api_key.create"},
	    {"analyst", 26, "analytics.export_data users.read debates.read", "debates.create debates.export"},
	    {"member", 95, "debates.create debates.stop debates.export workflows.run api_key.create budget.read",
	     "debates.update debates.delete workflows.update approval.read users.invite budget.write "
	     "analytics.export_data"},
	    {"team_lead", 109, "debates.update workflows.update workflows.approve approval.request team.share",
	     "debates.delete approval.grant codebase.read"},
	    {"debate_creator", 116, "debates.run gauntlet.compare workflows.execute", "debates.delete agents.create"},
	    {"compliance_officer", 54, "approval.grant audit_log.export_data workflows.approve emergency.review",
	     "debates.create audit_log.delete users.invite"},
	    {"admin", 278,
	     "debates.delete users.change_role users.impersonate backup.restore control_plane.tasks.claim"
	     " scheduler.execute receipts.sign admin.audit admin.system admin.security admin.view_metrics webhooks.*"
	     " budget.override metrics.read analytics.export_data audit_log.read",
	     "admin.* admin.system_config billing.read payments.refund policies.update role.create role.delete"
	     " organization.manage_billing api_key.export_secret"},
	    {"owner", 440, "admin.* billing.cancel policies.delete role.create organization.manage_billing", ""},
	};
	struct permissions p;
	size_t i;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		struct str rest = str_of(cases[i].has), key;

		assert_true(role_permissions(str_of(cases[i].role), &p));
		while (str_split(&rest, ' ', &key))
			if (!permissions_have(&p, permission_find(key)))
				fail_msg("%s lacks %.*s", cases[i].role, STR_ARG(key));
		rest = str_of(cases[i].has_not);
		while (str_split(&rest, ' ', &key))
			if (key.n > 0 && (permission_find(key) < 0 || permissions_have(&p, permission_find(key))))
				fail_msg("%s has %.*s", cases[i].role, STR_ARG(key));
		if (permissions_count(&p) != cases[i].count)
			fail_msg("%s: %u permissions, not %u", cases[i].role, permissions_count(&p), cases[i].count);
	}
	assert_false(role_permissions(STR("superadmin"), &p));
	assert_int_equal(permissions_count(&p), 0);
	assert_false(role_permissions(STR("org:x"), &p));
	assert_false(role_permissions(STR(""), &p));
}

/* Whoever is above has all that is below. */
static void test_hierarchy(void **state)
{
	static const char *const above[][2] = {
	    {"owner", "admin"},
	    {"admin", "compliance_officer"},
	    {"admin", "debate_creator"},
	    {"admin", "analyst"},
	    {"compliance_officer", "analyst"},
	    {"analyst", "viewer"},
	    {"debate_creator", "team_lead"},
	    {"team_lead", "member"},
	    {"member", "viewer"},
	};
	struct permissions more, less;
	size_t i;

	(void)state;
	for (i = 0; i < countof(above); i++) {
		assert_true(role_permissions(str_of(above[i][0]), &more));
		assert_true(role_permissions(str_of(above[i][1]), &less));
		assert_true(permissions_include(&more, &less));
		assert_false(permissions_include(&less, &more));
	}
}

static void test_assign(void **state)
{
	static const struct {
		const char *actor, *from, *to;
		bool allowed;
	} cases[] = {
	    {"owner", "", "admin", true},        {"owner", "member", "org:oncall", true},
	    {"owner", "admin", "viewer", true},  {"owner", "", "owner", false},
	    {"owner", "owner", "member", false}, {"owner", "member", "king", false},
	    {"owner", "member", "org:", false},  {"admin", "member", "viewer", true},
	    {"admin", "", "analyst", true},      {"admin", "viewer", "member", true},
	    {"admin", "member", "admin", false}, {"admin", "member", "team_lead", false},
	    {"admin", "admin", "viewer", false}, {"admin", "owner", "viewer", false},
	    {"admin", "", "org:oncall", false},  {"admin", "org:oncall", "member", false},
	    {"member", "", "viewer", false},     {"compliance_officer", "", "viewer", false},
	    {"org:boss", "", "viewer", false},   {"", "", "viewer", false},
	};
	size_t i;

	(void)state;
	for (i = 0; i < countof(cases); i++)
		if (role_may_assign(str_of(cases[i].actor), str_of(cases[i].from), str_of(cases[i].to)) !=
		    cases[i].allowed)
			fail_msg("%s turns %s into %s: not %d", cases[i].actor, cases[i].from, cases[i].to,
				 cases[i].allowed);
}

static void test_custom_names(void **state)
{
	static const char *const good[] = {"org:a", "org:On-call_2", "org:abcdefghijklmnopqrstuvwxyzabcdefghijklmn"};
	static const char *const bad[] = {
	    "org:",    "org",     "a",      "org:2a",       "org:-a",
	    "org:a b", "org:a:b", "team:a", "org:\xc3\xa4", "org:abcdefghijklmnopqrstuvwxyzabcdefghijklmno"};
	size_t i;

	(void)state;
	for (i = 0; i < countof(good); i++)
		assert_true(role_custom_name_valid(str_of(good[i])));
	for (i = 0; i < countof(bad); i++)
		assert_false(role_custom_name_valid(str_of(bad[i])));
}

/* ---- the manual ---- */

static const char manual_head[] =
    ".\\\" SPDX-License-Identifier: MIT\n"
    ".\\\" Generated from worker/permission/permission_table.c by tests/unit/permission_test.c.\n"
    ".Dd November 21, 2026\n"
    ".Dt ARAGORA-ACCESS 7\n"
    ".Os\n"
    ".Sh NAME\n"
    ".Nm aragora-access\n"
    ".Nd roles and permissions of aragorad\n"
    ".Sh DESCRIPTION\n"
    "Every route of\n"
    ".Xr aragorad 8\n"
    "but the public ones names one permission;\n"
    ".Ic aragorad routes\n"
    "prints it.\n"
    "Who lacks it is refused.\n"
    "A permission is a resource and an action;\n"
    ".Ql debates:read\n"
    "is the same as\n"
    ".Ql debates.read .\n"
    "In custom roles and scopes\n"
    ".Ql debates.*\n"
    "stands for all of a resource, and\n"
    ".Ql *\n"
    "for all.\n"
    ".Sh ROLES\n"
    "A role has what is listed with it, and everything of the roles that it includes.\n"
    "Owners assign every role but owner, admins the roles member, analyst and viewer.\n";

static void manual_grants(struct buf *out, const char *grants)
{
	struct str rest = str_of(grants), group;

	if (strcmp(grants, "*") == 0) {
		buf_addz(out, "All permissions.\n");
		return;
	}
	while (str_split(&rest, ';', &group))
		if (str_trim(group).n > 0)
			buf_printf(out, ".br\n%.*s\n", STR_ARG(str_trim(group)));
}

static void manual_role(struct buf *out, const struct role *role)
{
	struct permissions p;
	size_t i;

	assert_true(role_permissions(str_of(role->name), &p));
	buf_printf(out, ".It Sy %s\n%s\n", role->name, role->summary);
	buf_printf(out, "Priority %u, %u permissions", role->priority, permissions_count(&p));
	for (i = 0; i < countof(role->parents) && role->parents[i] != NULL; i++)
		buf_printf(out, "%s%s", i == 0 ? "; includes " : " and ", role->parents[i]);
	buf_addz(out, ".\n");
	manual_grants(out, role->grants);
}

static void manual_resources(struct buf *out)
{
	struct str last = STR_NONE;
	size_t i;

	for (i = 0; i < permission_keys_count; i++) {
		struct str key = str_of(permission_keys[i]);
		size_t dot = (size_t)str_chr(key, '.');

		if (!str_eq(str_sub(key, 0, dot), last)) {
			last = str_sub(key, 0, dot);
			buf_printf(out, "%s.It %.*s\n", i == 0 ? "" : "\n", STR_ARG(last));
		} else {
			buf_addc(out, ' ');
		}
		buf_add(out, str_sub(key, dot + 1, key.n));
	}
	buf_addc(out, '\n');
}

static void manual(struct buf *out)
{
	size_t i;

	buf_addz(out, manual_head);
	buf_addz(out, ".Bl -tag -width Ds\n");
	for (i = 0; i < permission_roles_count; i++)
		manual_role(out, &permission_roles[i]);
	buf_addz(out, ".El\n.Sh PERMISSIONS\n.Bl -tag -width Ds -compact\n");
	manual_resources(out);
	buf_addz(out, ".El\n.Ss Other names\n.Bl -column agents.calibration.read organization.manage_billing\n");
	for (i = 0; i < permission_aliases_count; i++)
		buf_printf(out, ".It %s Ta %s\n", permission_aliases[i].from, permission_aliases[i].to);
	for (i = 0; i < permission_resources_count; i++)
		buf_printf(out, ".It %s* Ta %s*\n", permission_resources[i].from, permission_resources[i].to);
	buf_addz(out, ".El\n.Sh SEE ALSO\n.Xr aragora.yml 5 ,\n.Xr aragorad 8\n");
}

static void test_manual(void **state)
{
	struct buf want = BUF_INIT, have = BUF_INIT;
	const char *mode = getenv("ACCESS_REGENERATE") != NULL ? "w+" : "r";
	FILE *f = fopen(MANUAL, mode);
	char *room;
	size_t n;

	(void)state;
	if (f == NULL)
		fail_msg("%s: run the test in the folder of the source", MANUAL);
	manual(&want);
	if (mode[0] == 'w')
		assert_int_equal(fwrite(want.p, 1, want.n, f), want.n);
	rewind(f);
	while ((room = buf_reserve(&have, 4096)) != NULL && (n = fread(room, 1, 4096, f)) > 0)
		buf_commit(&have, n);
	fclose(f);
	if (!str_eq(buf_str(&want), buf_str(&have)))
		fail_msg("%s is not what the tables give; run this test with ACCESS_REGENERATE=1", MANUAL);
	buf_free(&want);
	buf_free(&have);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_names),      cmocka_unit_test(test_tables),       cmocka_unit_test(test_sets),
	    cmocka_unit_test(test_grant_text), cmocka_unit_test(test_roles),        cmocka_unit_test(test_hierarchy),
	    cmocka_unit_test(test_assign),     cmocka_unit_test(test_custom_names), cmocka_unit_test(test_manual),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
