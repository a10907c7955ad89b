/* SPDX-License-Identifier: MIT */
/*
 * The built-in limits (security.md 4.2, rest-core 1.13 and 6.3) as one table, and which of them a route falls under.
 * Pure: called at start, when a route is first used, and by `aragorad routes`. Other figures come from
 * rate_limit.rules, see limits.c.
 */
#include "worker/limits/limits.h"

#define GUESS (LIMIT_BY_ADDRESS | LIMIT_EXACT | LIMIT_STRICT)

const struct limit_row limit_rows[] = {
    {LIMIT_ADDRESS, "address", 120, 0, LIMIT_BY_ADDRESS},
    /* The 61st request in a minute is refused (rest-core 14), so that a token has no more than that at once. */
    {LIMIT_TOKEN, "token", 60, 0, LIMIT_EXACT},
    {LIMIT_TENANT, "tenant", 1000, 0, 0},
    {LIMIT_USER, "public", 30, 60, 0},
    {LIMIT_USER, "authenticated", 120, 240, 0},
    {LIMIT_USER, "admin", 300, 600, 0},
    {LIMIT_TIER, "tier.free", 10, 60, 0},
    {LIMIT_TIER, "tier.starter", 50, 100, 0},
    {LIMIT_TIER, "tier.professional", 200, 400, 0},
    {LIMIT_TIER, "tier.enterprise", 1000, 2000, 0},

    {LIMIT_ACTION, "action.default", 60, 0, 0},
    {LIMIT_ACTION, "action.debate_create", 10, 0, 0},
    {LIMIT_ACTION, "action.debate_search", 30, 0, 0},
    {LIMIT_ACTION, "action.vote", 30, 0, 0},
    {LIMIT_ACTION, "action.agent_call", 120, 0, 0},
    {LIMIT_ACTION, "action.export", 5, 0, 0},
    {LIMIT_ACTION, "action.admin", 300, 0, 0},
    {LIMIT_ACTION, "action.batch_submit", 2, 0, 0},
    {LIMIT_ACTION, "action.evidence_collect", 10, 0, 0},
    {LIMIT_ACTION, "action.knowledge_query", 20, 0, 0},
    {LIMIT_ACTION, "action.memory_cleanup", 5, 0, 0},
    {LIMIT_ACTION, "action.plugin_install", 3, 0, 0},
    {LIMIT_ACTION, "action.slack_command", 10, 0, 0},
    {LIMIT_ACTION, "action.slack_debate", 5, 0, 0},
    {LIMIT_ACTION, "action.slack_gauntlet", 3, 0, 0},

    {LIMIT_ENDPOINT, "endpoint.debates", 30, 0, 0},
    {LIMIT_ENDPOINT, "endpoint.debates/*", 60, 0, 0},
    {LIMIT_ENDPOINT, "endpoint.*/fork", 5, 0, 0},
    {LIMIT_ENDPOINT, "endpoint.agent/*", 120, 0, 0},
    {LIMIT_ENDPOINT, "endpoint.leaderboard", 60, 0, LIMIT_BY_ADDRESS},
    {LIMIT_ENDPOINT, "endpoint.leaderboard/*", 60, 0, LIMIT_BY_ADDRESS},
    {LIMIT_ENDPOINT, "endpoint.pulse", 30, 0, 0},
    {LIMIT_ENDPOINT, "endpoint.pulse/*", 30, 0, 0},
    {LIMIT_ENDPOINT, "endpoint.memory/*", 60, 0, 0},
    {LIMIT_ENDPOINT, "endpoint.memory/continuum/cleanup", 2, 0, 0},
    {LIMIT_ENDPOINT, "endpoint.*/broadcast", 3, 0, 0},
    {LIMIT_ENDPOINT, "endpoint.probes/*", 10, 0, 0},
    {LIMIT_ENDPOINT, "endpoint.verification/*", 10, 0, 0},
    {LIMIT_ENDPOINT, "endpoint.video/*", 2, 0, 0},
    {LIMIT_ENDPOINT, "endpoint.gauntlet/*", 5, 0, 0},
    {LIMIT_ENDPOINT, "endpoint.gauntlet/run", 3, 0, 0},
    {LIMIT_ENDPOINT, "endpoint.billing/*", 20, 0, 0},
    {LIMIT_ENDPOINT, "endpoint.billing/checkout", 5, 0, 0},
    {LIMIT_ENDPOINT, "endpoint.webhooks/stripe", 100, 0, LIMIT_BY_ADDRESS},
    {LIMIT_ENDPOINT, "endpoint.admin/*", 30, 0, 0},
    {LIMIT_ENDPOINT, "endpoint.admin/security/*", 10, 0, 0},
    {LIMIT_ENDPOINT, "endpoint.stream/*", 10, 0, 0},
    {LIMIT_ENDPOINT, "endpoint.knowledge/*", 30, 0, 0},
    {LIMIT_ENDPOINT, "endpoint.knowledge/search", 20, 0, 0},
    {LIMIT_ENDPOINT, "endpoint.knowledge/mound/*", 100, 0, 0},
    {LIMIT_ENDPOINT, "endpoint.knowledge/facts", 60, 0, 0},
    {LIMIT_ENDPOINT, "endpoint.knowledge/facts/*", 60, 0, 0},
    {LIMIT_ENDPOINT, "endpoint.facts/*", 60, 0, 0},
    {LIMIT_ENDPOINT, "endpoint.oauth/*", 20, 0, LIMIT_BY_ADDRESS},
    {LIMIT_ENDPOINT, "endpoint.auth/oauth/*", 20, 0, LIMIT_BY_ADDRESS},
    {LIMIT_ENDPOINT, "endpoint.auth/*", 30, 0, LIMIT_BY_ADDRESS},
    /* The page asks who it is for on every load, from behind one address for many: it counts the caller. */
    {LIMIT_ENDPOINT, "endpoint.auth/me", 30, 0, 0},
    {LIMIT_ENDPOINT, "endpoint.auth/login", 5, 0, GUESS},
    {LIMIT_ENDPOINT, "endpoint.auth/register", 5, 0, GUESS},
    {LIMIT_ENDPOINT, "endpoint.auth/signup", 5, 0, GUESS},
    {LIMIT_ENDPOINT, "endpoint.auth/refresh", 10, 0, LIMIT_BY_ADDRESS},
    {LIMIT_ENDPOINT, "endpoint.auth/mfa/verify", 5, 0, GUESS},
    {LIMIT_ENDPOINT, "endpoint.auth/password", 3, 0, GUESS},
    {LIMIT_ENDPOINT, "endpoint.auth/password/*", 3, 0, GUESS},
    {LIMIT_ENDPOINT, "endpoint.auth/change-password", 3, 0, GUESS},
    {LIMIT_ENDPOINT, "endpoint.auth/forgot-password", 3, 0, GUESS},
    {LIMIT_ENDPOINT, "endpoint.auth/reset-password", 3, 0, GUESS},
};
const size_t limit_row_count = countof(limit_rows);

/* What a caller does on a route; method HTTP_OTHER: any. The first row that fits counts. */
static const struct {
	enum http_method method;
	const char *pattern;
	const char *action;
} rules_actions[] = {
    {HTTP_OTHER, "debates/search", "debate_search"},
    {HTTP_OTHER, "search", "debate_search"},
    {HTTP_POST, "debates/batch", "batch_submit"},
    {HTTP_POST, "*/vote", "vote"},
    {HTTP_POST, "*/votes", "vote"},
    {HTTP_POST, "agent/*", "agent_call"},
    {HTTP_POST, "evidence/collect", "evidence_collect"},
    {HTTP_OTHER, "knowledge/query", "knowledge_query"},
    {HTTP_OTHER, "knowledge/search", "knowledge_query"},
    {HTTP_POST, "memory/continuum/cleanup", "memory_cleanup"},
    {HTTP_POST, "*/install", "plugin_install"},
    {HTTP_OTHER, "admin/*", "admin"},
};

static const char *const rules_rate_actions[] = {
    [RATE_CREATE] = "debate_create",
    [RATE_EXPORT] = "export",
    [RATE_WRITE] = "default",
};

const char *limits_kind_name(enum limit_kind kind)
{
	static const char *const names[LIMIT_KINDS] = {"address", "token",    "tenant", "user",
						       "action",  "endpoint", "tier"};

	return names[kind];
}

int limits_find(struct str name)
{
	size_t i;

	for (i = 0; i < countof(limit_rows); i++)
		if (str_eqz(name, limit_rows[i].name))
			return (int)i;
	return -1;
}

/* The path behind "/api/"; empty for others, which have no endpoint. */
static struct str rules_path(const struct route *r)
{
	struct str path = str_of(r->path);

	return str_starts(path, STR("/api/")) ? str_sub(path, 5, path.n) : STR("");
}

/*
 * How well a pattern fits: 0 not, else more is better. "a/b" is that path, "*" and what follows its end, "a/" and "*"
 * everything below it.
 */
static size_t rules_fit(struct str pattern, struct str path)
{
	if (path.n == 0)
		return 0;
	if (str_eq(pattern, path))
		return SIZE_MAX;
	if (pattern.p[0] == '*')
		return str_ends(path, str_sub(pattern, 1, pattern.n)) ? SIZE_MAX / 2 + pattern.n : 0;
	if (pattern.p[pattern.n - 1] == '*' && str_starts(path, str_sub(pattern, 0, pattern.n - 1)))
		return pattern.n;
	return 0;
}

static int rules_endpoint(struct str path)
{
	size_t best = 0, fit, i;
	int found = -1;

	for (i = 0; i < countof(limit_rows); i++) {
		if (limit_rows[i].kind != LIMIT_ENDPOINT)
			continue;
		fit = rules_fit(str_of(limit_rows[i].name + sizeof("endpoint.") - 1), path);
		if (fit > best) {
			best = fit;
			found = (int)i;
		}
	}
	return found;
}

static const char *rules_action(const struct route *r, struct str path)
{
	size_t i;

	for (i = 0; i < countof(rules_actions); i++)
		if ((rules_actions[i].method == HTTP_OTHER || rules_actions[i].method == r->method) &&
		    rules_fit(str_of(rules_actions[i].pattern), path) > 0)
			return rules_actions[i].action;
	return (size_t)r->rate < countof(rules_rate_actions) ? rules_rate_actions[r->rate] : NULL;
}

struct limit_route limits_of(const struct route *r)
{
	struct limit_route out = {-1, -1, -1};
	struct str path = rules_path(r);
	const char *action = rules_action(r, path);
	int endpoint = rules_endpoint(path);
	char name[64];

	if (endpoint >= 0 && (limit_rows[endpoint].flags & LIMIT_BY_ADDRESS) != 0)
		out.address = endpoint;
	else
		out.endpoint = endpoint;
	if (action != NULL) {
		(void)snprintf(name, sizeof(name), "action.%s", action);
		out.action = limits_find(str_of(name));
		BUG_ON(out.action < 0);
	}
	return out;
}

bool limits_apply(const struct route *r)
{
	bool socket = (r->flags & (ROUTE_WS | ROUTE_PUBLIC)) == ROUTE_WS; /* where credentials are tried too */

	return r->rate != RATE_NONE || socket || rules_endpoint(rules_path(r)) >= 0;
}

void limits_describe(const struct route *r, struct buf *out)
{
	struct limit_route at = limits_of(r);
	const int rows[] = {at.address, at.endpoint, at.action};
	const char *before = "";
	size_t i;

	for (i = 0; limits_apply(r) && i < countof(rows); i++) {
		if (rows[i] < 0)
			continue;
		buf_printf(out, "%s%s %lld", before, strchr(limit_rows[rows[i]].name, '.') + 1,
			   (long long)limit_rows[rows[i]].rate);
		before = ", ";
	}
}
