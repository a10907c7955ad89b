/* SPDX-License-Identifier: MIT */
/*
 * The guard between tenants, see tenant.h. Called by db.c for every statement; the reading of a statement is kept by
 * its address. It parses only as much SQL as it needs: tables, aliases, and conditions that bind them. What it does not
 * understand counts as loose, never as bound.
 */
#include "common/tenant.h"

#include "common/co.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/sql_scan.h"

#define TENANT_TABLES 256
#define TENANT_KEPT 2048 /* readings, by address */

/* ---- tables ---- */

/*
 * Tables of the identity rooms: who asks, and what he may, is looked up before there is a tenant, and one person may be
 * in several organizations. Their rooms bind every statement to the person or the organization themselves.
 */
static const char *const tenant_elsewhere[] = {"users",
					       "organizations",
					       "workspaces",
					       "members",
					       "workspace_members",
					       "sessions",
					       "refresh_tokens",
					       "revoked_tokens",
					       "identity_changes",
					       "api_keys",
					       "mfa",
					       "one_time_tokens",
					       "oauth_states",
					       "oauth_links",
					       "roles",
					       "role_assignments",
					       "resource_grants",
					       "delegations",
					       "approvals",
					       "emergencies",
					       "impersonations",
					       "audit_events",
					       "audit_anchors",
					       "audit_inbox"};

static struct {
	struct sql_table v[TENANT_TABLES];
	size_t n;
} tenant_tables;

static const struct sql_table *tenant_table(struct str name)
{
	size_t i;

	for (i = 0; i < tenant_tables.n; i++)
		if (str_eqz(name, tenant_tables.v[i].name))
			return &tenant_tables.v[i];
	return NULL;
}

static struct sql_table *tenant_table_add(struct str name)
{
	struct sql_table *t = &tenant_tables.v[tenant_tables.n];

	if (tenant_table(name) != NULL)
		return &tenant_tables.v[tenant_table(name) - tenant_tables.v];
	BUG_ON(tenant_tables.n == TENANT_TABLES || name.n >= sizeof(t->name));
	*t = (struct sql_table){.has = 0};
	memcpy(t->name, name.p, name.n);
	tenant_tables.n++;
	if (str_eqz(name, "organizations"))
		t->own = SQL_ORG;
	else if (str_eqz(name, "users"))
		t->own = SQL_USER;
	else
		t->own = SQL_NO_COLUMN;
	if (t->own != SQL_NO_COLUMN)
		t->has |= 1U << t->own;
	return t;
}

/* A column's name as it stands in CREATE TABLE or ADD COLUMN. */
static void tenant_column_seen(struct sql_table *t, struct str column)
{
	static const char *const names[] = {"workspace_id", "org_id", "user_id"}, *const keys[] = {"debate_id",
												   "delivery_id"};
	size_t i;

	for (i = 0; i < countof(names); i++)
		if (str_eqz(column, names[i]))
			t->has |= 1U << i;
	for (i = 0; i < countof(keys); i++)
		if (str_eqz(column, keys[i]))
			t->key = keys[i];
}

static void tenant_learn_text(const char *text)
{
	struct sql_tokens s = {.n = 0};
	struct sql_table *t = NULL;
	unsigned depth = 0;
	size_t i;

	BUG_ON(!sql_scan(text, &s));
	for (i = 0; i + 2 < s.n; i++) {
		if (sql_is(&s.v[i], "TABLE") && i > 0) {
			t = NULL;
			if (sql_is(&s.v[i - 1], "CREATE") || sql_is(&s.v[i - 1], "ALTER"))
				t = tenant_table_add(s.v[i + 1].text);
			depth = 0;
		}
		depth += sql_is(&s.v[i], "(");
		depth -= sql_is(&s.v[i], ")") && depth > 0;
		if (sql_is(&s.v[i], ";"))
			t = NULL;
		if (t != NULL &&
		    ((depth == 1 && (sql_is(&s.v[i], "(") || sql_is(&s.v[i], ","))) || sql_is(&s.v[i], "COLUMN")))
			tenant_column_seen(t, s.v[i + 1].text);
	}
	sql_free(&s);
}

static void tenant_forget(const char *name)
{
	size_t i;

	for (i = 0; i < tenant_tables.n && strcmp(tenant_tables.v[i].name, name) != 0; i++)
		;
	if (i < tenant_tables.n)
		tenant_tables.v[i] = tenant_tables.v[--tenant_tables.n];
}

void tenant_learn(const struct migration *m, size_t n)
{
	size_t i;

	tenant_tables.n = 0;
	for (i = 0; i < n; i++)
		tenant_learn_text(m[i].up);
	for (i = 0; i < countof(tenant_elsewhere); i++)
		tenant_forget(tenant_elsewhere[i]);
	for (i = tenant_tables.n; i-- > 0;) {
		struct sql_table *t = &tenant_tables.v[i];

		/* A person's part of a debate is the debate's. */
		if (t->key != NULL && t->has == 1U << SQL_USER)
			t->has = 0;
		if (t->has == 0 && t->key == NULL)
			tenant_forget(t->name);
	}
}

/* ---- reading ---- */

/* Behind the mark; *verdict is changed if there is one. */
static const char *tenant_unmark(const char *sql, enum tenant_verdict *verdict)
{
	const char *end = sql[0] == '/' && sql[1] == '*' ? strstr(sql, "*/ ") : NULL;

	if (end == NULL)
		return sql;
	*verdict = strncmp(sql, "/*all:", 6) == 0 ? TENANT_MARKED_ALL : TENANT_MARKED_ORG;
	return end + 3;
}

/* Do its own parameters say whose the rows are, as its kind demands? */
static bool tenant_by_param(const struct sql_ref *ref, bool org_wide)
{
	unsigned has = ref->table->has;

	if ((has & 1U << SQL_WORKSPACE) != 0)
		return ref->param[org_wide ? SQL_ORG : SQL_WORKSPACE] > 0 &&
		       (!ref->insert || (has & 1U << SQL_ORG) == 0 || ref->param[SQL_ORG] > 0);
	if ((has & 1U << SQL_ORG) != 0)
		return ref->param[SQL_ORG] > 0 || (ref->param[SQL_USER] > 0 && !ref->insert);
	return ref->param[SQL_USER] > 0;
}

/* Is every mention in this SELECT bound, and at least one there? */
static bool tenant_scope_bound(const struct sql_statement *st, const bool *bound, unsigned scope)
{
	bool any = false;
	size_t i;

	for (i = 0; i < st->ref_count; i++) {
		if (st->refs[i].scope != scope || st->refs[i].insert)
			continue;
		if (!bound[i])
			return false;
		any = true;
	}
	return any;
}

/* A part of a row is as bound as the row; the same column of two mentions is as bound as the other. */
static bool tenant_by_link(const struct sql_statement *st, const bool *bound, const struct sql_link *l, bool org_wide)
{
	unsigned has = st->refs[l->ref].table->has;
	enum sql_column kind = (has & 1U << SQL_WORKSPACE) != 0 && !org_wide ? SQL_WORKSPACE
			       : (has & 1U << SQL_ORG) != 0                  ? SQL_ORG
									     : SQL_USER;

	if (has == 0 && l->column == SQL_KEY)
		return l->select ? tenant_scope_bound(st, bound, l->other)
				 : bound[l->other] && (l->other_column == SQL_ID || l->other_column == SQL_KEY);
	return !l->select && l->column == kind && l->other_column == kind && bound[l->other];
}

/* Which mentions are bound; those of the INSERT that copies last. */
static void tenant_find_bound(const struct sql_statement *st, bool org_wide, bool *bound)
{
	size_t i, rounds;

	for (i = 0; i < st->ref_count; i++)
		bound[i] = tenant_by_param(&st->refs[i], org_wide);
	for (rounds = 0; rounds < st->ref_count; rounds++)
		for (i = 0; i < st->link_count; i++)
			bound[st->links[i].ref] =
			    bound[st->links[i].ref] || tenant_by_link(st, bound, &st->links[i], org_wide);
	if (st->ref_count > 0 && st->refs[0].insert && st->refs[0].copied && st->refs[0].table->has != 0)
		bound[0] = bound[0] || tenant_scope_bound(st, bound, st->refs[0].scope);
	for (i = 0; i < st->ref_count; i++)
		bound[i] = bound[i] && !st->refs[i].moved;
}

/* The parameters that must be the tenant's. A person's id is not one where the workspace or organization is said. */
static bool tenant_note(struct tenant_reading *out, const struct sql_ref *ref, bool org_wide)
{
	bool person = ref->param[SQL_WORKSPACE] == 0 && ref->param[SQL_ORG] == 0;
	enum sql_column c;

	for (c = SQL_WORKSPACE; c < SQL_COLUMNS; c++) {
		if (ref->param[c] == 0 || (c == SQL_USER && (!person || ref->insert)) ||
		    (c == SQL_WORKSPACE && org_wide))
			continue;
		if (out->count == TENANT_BINDINGS)
			return false;
		out->bindings[out->count++] = (struct tenant_binding){ref->param[c], c};
	}
	return true;
}

void tenant_read(const char *sql, struct tenant_reading *out)
{
	struct sql_statement *st = xcalloc(1, sizeof(*st));
	enum tenant_verdict mark = TENANT_LOOSE;
	bool bound[SQL_REFS];
	const char *text = tenant_unmark(sql, &mark);
	size_t i;

	*out = (struct tenant_reading){.verdict = TENANT_LOOSE};
	if (!sql_read(text, tenant_table, st)) {
		(void)snprintf(out->table, sizeof(out->table), "(unreadable)");
	} else if (st->ref_count == 0) {
		out->verdict = TENANT_FREE;
	} else {
		tenant_find_bound(st, mark == TENANT_MARKED_ORG, bound);
		for (i = 0; i < st->ref_count && bound[i] && tenant_note(out, &st->refs[i], mark == TENANT_MARKED_ORG);
		     i++)
			;
		if (i == st->ref_count)
			out->verdict = mark == TENANT_MARKED_ORG ? mark : TENANT_BOUND;
		else
			(void)snprintf(out->table, sizeof(out->table), "%s", st->refs[i].table->name);
	}
	if (mark == TENANT_MARKED_ALL && out->verdict != TENANT_FREE)
		*out = (struct tenant_reading){.verdict = TENANT_MARKED_ALL};
	free(st);
}

/* ---- admitting ---- */

static struct tenant_kept {
	const char *sql, *behind;
	char *copy;
	struct tenant_reading reading;
} tenant_kept[TENANT_KEPT];

/* A statement is known by its address; what is put together anew may come to lie at an old one. */
static const struct tenant_kept *tenant_keep(const char *sql)
{
	struct tenant_kept *k = &tenant_kept[((uintptr_t)sql * UINT64_C(0x9e3779b97f4a7c15) >> 32) % TENANT_KEPT];
	enum tenant_verdict ignored = TENANT_LOOSE;

	if (k->sql == sql && strcmp(k->copy, sql) == 0)
		return k;
	free(k->copy);
	k->sql = sql;
	k->copy = xstrdup(sql);
	k->behind = tenant_unmark(sql, &ignored);
	tenant_read(sql, &k->reading);
	return k;
}

static struct str tenant_value(const struct context *ctx, enum sql_column c)
{
	switch (c) {
	case SQL_WORKSPACE:
		return ctx->workspace_id;
	case SQL_ORG:
		return ctx->org_id;
	case SQL_USER:
	case SQL_ID:
	case SQL_KEY:
	case SQL_NO_COLUMN:
		break;
	}
	return ctx->principal;
}

static bool tenant_refuse(const struct tenant_kept *k, const char *reason, struct error *err)
{
	metric_add(M_TENANT_REFUSED, 1, NULL);
	log_error("tenant", "a statement was refused", KV_S("reason", reason), KV_S("table", k->reading.table),
		  KV_S("sql", k->copy));
	return error_set(err, ERR_INTERNAL, "a statement that does not keep to its tenant was refused");
}

bool tenant_admits(const char **sql, const struct db_val *args, size_t n, struct error *err)
{
	const struct context *ctx = co_tenant();
	const struct tenant_kept *k;
	size_t i;

	if (tenant_tables.n == 0 && (*sql)[0] != '/')
		return true;
	k = tenant_keep(*sql);
	*sql = k->behind;
	if (ctx == NULL || k->reading.verdict == TENANT_FREE || k->reading.verdict == TENANT_MARKED_ALL)
		return true;
	if (k->reading.verdict == TENANT_LOOSE)
		return tenant_refuse(k, "it is bound to no tenant (common/tenant.h)", err);
	for (i = 0; i < k->reading.count; i++) {
		const struct tenant_binding *b = &k->reading.bindings[i];

		if (b->param > n || args[b->param - 1].type != DB_TEXT ||
		    !str_eq(args[b->param - 1].s, tenant_value(ctx, b->column)))
			return tenant_refuse(k, "it is bound to another tenant than the request's", err);
	}
	return true;
}
