/* SPDX-License-Identifier: MIT */
/*
 * All route tables of the product in one list. An area adds its table here and nowhere else.
 */
#include "worker/agents/agent.h"
#include "worker/debate/debate.h"
#include "worker/delivery/delivery.h"
#include "worker/http/route.h"
#include "worker/middleware/pipeline.h"
#include "worker/ranking/ranking.h"
#include "worker/receipts/receipt.h"
#include "worker/retention/retention.h"
#include "worker/stream/stream.h"
#include "worker/system/system.h"
#include "worker/web/site.h"
#include "worker/worker.h"
#include "worker/ws/ws.h"

struct router *worker_routes(const struct conf *c, struct error *err)
{
	const struct route_table tables[] = {
	    c->site.root[0] != '\0' ? site_routes : root_routes,
	    system_routes,
	    openapi_routes,
	    debate_routes,
	    stream_routes,
	    ws_routes,
	    agents_routes,
	    ranking_routes,
	    receipt_routes,
	    delivery_routes,
	    retention_routes,
	    maintenance_routes,
	};

	return router_new(tables, countof(tables), pipeline_chain, pipeline_chain_count, c, err);
}
