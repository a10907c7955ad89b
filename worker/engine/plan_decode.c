/* SPDX-License-Identifier: MIT */
/*
 * Reads a stored plan. Called by the runner at each claim. Takes whatever version wrote it: a member that older plans
 * do not have means what those engines did.
 */
#include "worker/engine/plan.h"

#include <limits.h>

#include "common/json.h"
#include "worker/engine/mode.h"
#include "worker/engine/topology.h"

#define PLAN_EARLY_AGREE_PPM 850000 /* of plans that do not say */

static void plan_decode_agent(struct arena *a, const json_t *o, struct agent_spec *s)
{
	s->name = arena_str(a, json_get_str(o, "name", STR("")));
	s->provider = arena_str(a, json_get_str(o, "provider", STR("")));
	s->model = arena_str(a, json_get_str(o, "model", STR("")));
	s->persona = arena_str(a, json_get_str(o, "persona", STR("")));
	s->role = arena_str(a, json_get_str(o, "role", STR("")));
	s->price_in = json_get_int(o, "price_in", 0);
	s->price_out = json_get_int(o, "price_out", 0);
	s->sampling.temperature_ppm = (int)json_get_int(o, "temperature_ppm", 0);
	s->sampling.top_p_ppm = (int)json_get_int(o, "top_p_ppm", 0);
	s->sampling.frequency_penalty_ppm = (int)json_get_int(o, "frequency_penalty_ppm", 0);
}

bool plan_decode(struct arena *a, const json_t *plan, struct debate_plan *out, struct error *err)
{
	const json_t *agents = json_get_arr(plan, "agents");
	struct agent_spec *specs;
	size_t i;

	if (json_get_int(plan, "engine_version", INT_MAX) > ENGINE_VERSION)
		return error_set(err, ERR_INTERNAL, "the plan was written by a newer engine (%lld)",
				 (long long)json_get_int(plan, "engine_version", 0));
	if (json_array_size(agents) < 2 || json_array_size(agents) > TOPOLOGY_SEATS_MAX)
		return error_set(err, ERR_INTERNAL, "the plan has %zu agents, not 2 to %d", json_array_size(agents),
				 TOPOLOGY_SEATS_MAX);
	specs = arena_zalloc(a, json_array_size(agents) * sizeof(*specs));
	for (i = 0; i < json_array_size(agents); i++)
		plan_decode_agent(a, json_array_get(agents, i), &specs[i]);
	out->version = (int)json_get_int(plan, "engine_version", ENGINE_VERSION);
	out->protocol = protocol_decode(json_get_obj(plan, "protocol"));
	out->task = arena_str(a, json_get_str(plan, "task", STR("")));
	out->domain = arena_str(a, json_get_str(plan, "domain", STR("")));
	out->context = arena_str(a, json_get_str(plan, "context", STR("")));
	out->documents = json_own(a, json_deep_copy(json_get_arr(plan, "documents")));
	out->language = arena_str(a, json_get_str(plan, "language", STR("English")));
	out->agents = specs;
	out->agent_count = json_array_size(agents);
	out->rounds = (int)json_get_int(plan, "rounds", 1);
	out->mode = mode_find(json_get_str(plan, "consensus", STR("majority")));
	if (out->mode == NULL)
		return error_set(err, ERR_INTERNAL, "the plan decides by %.40s, which is unknown here",
				 json_string_value(json_object_get(plan, "consensus")));
	if (!topology_find(json_get_str(plan, "topology", STR("auto")), &out->topology))
		return error_set(err, ERR_INTERNAL, "the plan has a topology that is unknown here");
	out->threshold_ppm = json_get_int(plan, "threshold_ppm", mode_threshold(out->mode, 0));
	out->early_agree_ppm = json_get_int(plan, "early_agree_ppm", PLAN_EARLY_AGREE_PPM);
	out->budget_micro = json_get_int(plan, "budget_micro", 0);
	out->budget_tokens = json_get_int(plan, "budget_tokens", 0);
	out->shared_budgets = json_get_bool(plan, "shared_budgets", false);
	out->timeout_ms = json_get_int(plan, "timeout_ms", 900000);
	out->agent_timeout_ms = json_get_int(plan, "agent_timeout_ms", 240000);
	out->seed = (uint64_t)json_get_int(plan, "seed", 0);
	out->demo = json_get_bool(plan, "demo", false);
	out->by_position = json_get_bool(plan, "by_position", false);
	out->taint = json_own(a, json_deep_copy(json_get_obj(plan, "taint")));
	out->recall = json_get_bool(plan, "background", false);
	return true;
}
