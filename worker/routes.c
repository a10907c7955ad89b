/* SPDX-License-Identifier: MIT */
/*
 * All route tables of the product in one list. An area adds its table here and nowhere else.
 */
#include "worker/access/access.h"
#include "worker/access/approval.h"
#include "worker/access/impersonation.h"
#include "worker/access/resource.h"
#include "worker/agents/agent.h"
#include "worker/audit/audit.h"
#include "worker/batch/batch.h"
#include "worker/debate/control.h"
#include "worker/debate/debate.h"
#include "worker/decisions/decisions.h"
#include "worker/delivery/delivery.h"
#include "worker/explain/explain.h"
#include "worker/http/route.h"
#include "worker/identity/apikey.h"
#include "worker/identity/mfa.h"
#include "worker/identity/oauth.h"
#include "worker/identity/recovery.h"
#include "worker/identity/session.h"
#include "worker/knowledge/knowledge.h"
#include "worker/limits/limits.h"
#include "worker/memory/memory_api.h"
#include "worker/middleware/pipeline.h"
#include "worker/permission/permission.h"
#include "worker/ranking/calibration.h"
#include "worker/ranking/ranking.h"
#include "worker/ranking/snapshot.h"
#include "worker/receipts/api.h"
#include "worker/receipts/receipt.h"
#include "worker/retention/retention.h"
#include "worker/runner/queue.h"
#include "worker/stream/stream.h"
#include "worker/system/errors.h"
#include "worker/system/system.h"
#include "worker/tenancy/quota.h"
#include "worker/tenancy/tenancy.h"
#include "worker/web/site.h"
#include "worker/worker.h"
#include "worker/ws/ws.h"

/* In this order; the first of all is the web application or the root, as configured. */
static const struct route_table *const routes_tables[] = {
    &system_routes,
    &openapi_routes,
    &browser_routes,
    &debate_routes,
    &control_routes,
    &settings_routes,
    &template_routes,
    &shelf_routes,
    &figure_routes,
    &debate_share_routes,
    &fork_routes,
    &queue_routes,
    &batch_routes,
    &form_routes,
    &stream_routes,
    &ws_routes,
    &agents_routes,
    &agents_local_routes,
    &personas_routes,
    &ranking_routes,
    &ranking_agent_routes,
    &ranking_pairs_routes,
    &ranking_flips_routes,
    &ranking_moment_routes,
    &ranking_portrait_routes,
    &ranking_calibration_routes,
    &ranking_snapshot_routes,
    &outcome_routes,
    &receipt_routes,
    &receipt_list_routes,
    &receipt_share_routes,
    &explain_routes,
    &delivery_routes,
    &retention_routes,
    &decision_routes,
    &plan_routes,
    &continuum_routes,
    &memory_tier_routes,
    &memory_context_routes,
    &memory_search_routes,
    &consensus_memory_routes,
    &maintenance_routes,
    &limits_routes,
    &audit_routes,
    &errors_routes,
    &breakers_routes,
    &stats_routes,
    &access_role_routes,
    &access_delegation_routes,
    &approval_routes,
    &impersonation_routes,
    &access_grant_routes,
    &emergency_routes,
    &auth_routes,
    &apikey_routes,
    &mfa_routes,
    &mfa_admin_routes,
    &recovery_routes,
    &oauth_routes,
    &session_routes,
    &organization_routes,
    &workspace_routes,
    &member_routes,
    &invitation_routes,
    &admin_user_routes,
    &quota_routes,
    &budget_routes,
    &usage_routes,
    &forecast_routes,
    &billing_routes,
    &budget_history_routes,
    &budget_override_routes,
    &knowledge_node_routes,
    &knowledge_link_routes,
    &knowledge_adapter_routes,
    &knowledge_health_routes,
    &knowledge_transfer_routes,
    &knowledge_fact_routes,
    &knowledge_share_routes,
    &knowledge_global_routes,
    &knowledge_figures_routes,
    &knowledge_many_routes,
    &knowledge_stale_routes,
    &knowledge_dedup_routes,
    &knowledge_prune_routes,
    &knowledge_contra_routes,
};

struct router *worker_routes(const struct conf *c, struct error *err)
{
	struct route_table tables[countof(routes_tables) + 1] = {c->site.root[0] != '\0' ? site_routes : root_routes};
	struct router *r;
	size_t i;

	for (i = 0; i < countof(routes_tables); i++)
		tables[i + 1] = *routes_tables[i];
	r = router_new(tables, countof(tables), pipeline_chain, pipeline_chain_count, c, err);
	if (r == NULL || approval_routes_exist(r, err))
		return r;
	router_free(r);
	return NULL;
}

/* ---- labels of metrics ---- */

static void labels_add(const char ***list, struct str label)
{
	size_t n = 0;

	while (*list != NULL && (*list)[n] != NULL)
		if (str_eqz(label, (*list)[n++]))
			return;
	*list = xrealloc(*list, (n + 2) * sizeof(const char *));
	(*list)[n] = str_dupz(label);
	(*list)[n + 1] = NULL;
}

static void labels_on_route(void *arg, const struct route *r, const char *chain, bool waits)
{
	struct route_labels *l = arg;

	(void)chain;
	(void)waits;
	if (r->permission == NULL)
		return;
	labels_add(&l->permissions, str_of(permission_key(permission_find(str_of(r->permission)))));
	labels_add(&l->handlers, access_handler(r));
}

bool worker_route_labels(const struct conf *c, struct route_labels *out, struct error *err)
{
	struct router *r = worker_routes(c, err);

	*out = (struct route_labels){NULL, NULL};
	if (r == NULL)
		return false;
	router_each(r, labels_on_route, out);
	router_free(r);
	return true;
}

static void labels_free(const char **list)
{
	size_t i;

	for (i = 0; list != NULL && list[i] != NULL; i++)
		free((char *)(uintptr_t)list[i]);
	free(list);
}

void route_labels_free(struct route_labels *l)
{
	labels_free(l->permissions);
	labels_free(l->handlers);
}
