/* SPDX-License-Identifier: MIT */
/*
 * Matrix debates (debate.md 1.13): one question in several scenarios, each an item of a batch. What holds in all of
 * them and what only in some is computed from the decisions of their debates; nothing is asked of a model for it. Pure
 * but for the routes.
 */
#include "common/json.h"
#include "worker/batch/forms.h"
#include "worker/batch/room.h"
#include "worker/debate/request.h"
#include "worker/engine/consensus.h"
#include "worker/http/body.h"
#include "worker/worker.h"

#define MATRIX_SCENARIOS_MAX 50
#define MATRIX_ROUNDS 3 /* of each scenario's debate if nobody says (debate.md 1.13) */

/* ---- what a scenario is ---- */

/* Its parameters and constraints as the agents read them. */
static struct str matrix_context(struct arena *a, const json_t *scenario, struct str common)
{
	const json_t *parameters = json_get_obj(scenario, "parameters"),
		     *constraints = json_get_arr(scenario, "constraints");
	struct buf out = BUF_INIT;
	struct str text;
	const char *key;
	json_t *v;
	size_t i;

	if (common.n > 0)
		buf_printf(&out, "%.*s\n\n", STR_ARG(common));
	buf_printf(&out, "Answer for this scenario alone: %.*s", STR_ARG(json_get_str(scenario, "name", STR(""))));
	if (json_get_str(scenario, "description", STR("")).n > 0)
		buf_printf(&out, "\n%.*s", STR_ARG(json_get_str(scenario, "description", STR(""))));
	json_object_foreach((json_t *)(uintptr_t)parameters, key, v)
	{
		struct str value = json_is_string(v) ? str_of(json_string_value(v)) : json_text(a, v);

		buf_printf(&out, "\n- %s: %.*s", key, STR_ARG(value));
	}
	for (i = 0; i < json_array_size(constraints); i++)
		if (json_is_string(json_array_get(constraints, i)))
			buf_printf(&out, "\n- It must hold: %s", json_string_value(json_array_get(constraints, i)));
	text = arena_str(a, buf_str(&out));
	buf_free(&out);
	return text;
}

/* ---- what follows ---- */

/* A scenario whose debate has decided. */
struct matrix_cell {
	const struct batch_item *item;
	const json_t *scenario;
	struct str position;
	bool decided, completed;
	size_t group; /* the first cell with the same position */
};

static json_t *matrix_row(struct arena *a, const struct matrix_cell *c)
{
	static const char *const same[] = {"parameters", "constraints"};
	const json_t *result = batch_result(a, c->item);
	json_t *o = json_object();
	size_t i;

	json_put_str(o, "scenario_name", c->item->name);
	json_put_str(o, "name", c->item->name);
	json_object_set_new(o, "is_baseline", json_boolean(json_get_bool(c->scenario, "is_baseline", false)));
	for (i = 0; i < countof(same); i++)
		json_object_set(o, same[i],
				json_object_get(c->scenario, same[i]) != NULL ? json_object_get(c->scenario, same[i])
									      : json_null());
	json_put_str(o, "status", c->item->state);
	json_object_set_new(o, "debate_id", c->item->debate_id.n > 0 ? json_str(c->item->debate_id) : json_null());
	json_object_set_new(o, "error", c->item->error.n > 0 ? json_str(c->item->error) : json_null());
	json_object_set_new(o, "consensus_reached", json_boolean(c->item->consensus_reached != 0));
	json_object_set_new(o, "confidence", json_real((double)c->item->confidence_ppm / 1e6));
	json_put_str(o, "position", c->position);
	json_put_str(o, "final_answer", c->item->final_answer.n > 0 ? c->item->final_answer : STR(""));
	json_put_str(o, "winner", json_get_str(result, "winner", STR("")));
	json_put_int(o, "rounds_used", json_get_int(result, "rounds_used", 0));
	return o;
}

/* What the cells of a group conclude, and where. */
static json_t *matrix_conclusion(const struct matrix_cell *cells, size_t n, size_t group)
{
	json_t *o = json_object(), *names = json_array(), *conditions = json_object();
	int64_t least = CONSENSUS_ONE;
	size_t i;

	for (i = 0; i < n; i++) {
		if (!cells[i].decided || cells[i].group != group)
			continue;
		json_array_append_new(names, json_str(cells[i].item->name));
		json_object_setn(conditions, cells[i].item->name.p, cells[i].item->name.n,
				 json_object_get(cells[i].scenario, "parameters") != NULL
				     ? json_object_get(cells[i].scenario, "parameters")
				     : json_null());
		least = cells[i].item->confidence_ppm < least ? cells[i].item->confidence_ppm : least;
	}
	json_put_str(o, "conclusion", cells[group].position);
	json_object_set_new(o, "scenarios", names);
	json_object_set_new(o, "parameters", conditions);
	json_object_set_new(o, "confidence", json_real((double)least / 1e6));
	return o;
}

static size_t matrix_group_size(const struct matrix_cell *cells, size_t n, size_t group)
{
	size_t i, k = 0;

	for (i = 0; i < n; i++)
		k += cells[i].decided && cells[i].group == group;
	return k;
}

/* Universal is what all scenarios decide alike; one that is undecided leaves nothing universal. */
static void matrix_conclude(json_t *o, const struct matrix_cell *cells, size_t n)
{
	json_t *universal = json_array(), *conditional = json_array(), *undecided = json_array(),
	       *differ = json_array();
	size_t i, completed = 0, decided = 0, baseline = n;
	int64_t sum = 0;

	for (i = 0; i < n; i++) {
		if (json_get_bool(cells[i].scenario, "is_baseline", false) && cells[i].decided)
			baseline = i;
		completed += cells[i].completed;
		decided += cells[i].decided;
		sum += cells[i].completed ? cells[i].item->confidence_ppm : 0;
		if (!cells[i].decided)
			json_array_append_new(undecided, json_str(cells[i].item->name));
		else if (cells[i].group == i)
			json_array_append_new(matrix_group_size(cells, n, i) == n && n > 1 ? universal : conditional,
					      matrix_conclusion(cells, n, i));
	}
	for (i = 0; baseline < n && i < n; i++)
		if (cells[i].decided && cells[i].group != cells[baseline].group)
			json_array_append_new(differ, json_str(cells[i].item->name));
	json_object_set_new(o, "universal_conclusions", universal);
	json_object_set_new(o, "conditional_conclusions", conditional);
	json_object_set_new(o, "undecided_scenarios", undecided);
	json_object_set_new(o, "comparison_matrix",
			    json_pack("{s:f, s:f, s:I, s:I, s:I, s:o, s:o}", "consensus_rate",
				      completed > 0 ? (double)decided / (double)completed : 0.0, "avg_confidence",
				      completed > 0 ? (double)sum / (double)completed / 1e6 : 0.0, "scenarios",
				      (json_int_t)n, "completed", (json_int_t)completed, "decided", (json_int_t)decided,
				      "baseline", baseline < n ? json_str(cells[baseline].item->name) : json_null(),
				      "differs_from_baseline", differ));
}

json_t *matrix_document(struct arena *a, const struct batch_row *batch, const struct batch_item *items, size_t n)
{
	struct matrix_cell *cells = arena_zalloc(a, (n + 1) * sizeof(*cells));
	struct error err = ERROR_INIT;
	const json_t *scenarios = json_get_arr(json_parse(a, batch->settings, &err), "scenarios");
	json_t *o = json_own(a, json_object()), *rows = json_array();
	size_t i, k;

	for (i = 0; i < n; i++) {
		struct matrix_cell *c = &cells[i];

		*c = (struct matrix_cell){.item = &items[i],
					  .scenario = json_array_get(scenarios, (size_t)items[i].n),
					  .completed = str_eqz(items[i].state, "completed"),
					  .group = i};
		c->position = forms_position(a, &items[i]);
		c->decided = c->completed && items[i].consensus_reached != 0 && c->position.n > 0;
		for (k = 0; k < i && c->decided && c->group == i; k++)
			if (cells[k].decided && cells[k].group == k &&
			    consensus_same_position(cells[k].position, c->position))
				c->group = k;
		json_array_append_new(rows, matrix_row(a, c));
	}
	json_object_set_new(o, "results", rows);
	matrix_conclude(o, cells, n);
	return o;
}

const struct batch_kind batch_kind_matrix = {"matrix", "matrix_", NULL, matrix_document};

/* ---- submit ---- */

/* False: answered. */
static bool matrix_scenario(struct http_request *req, const json_t *scenario, size_t i, const json_t *before)
{
	struct str name = str_trim(json_get_str(scenario, "name", STR("")));
	struct str field = arena_printf(req->arena, "scenarios[%zu]", i);
	size_t k;

	if (!json_is_object(scenario) || name.n == 0 || name.n > 200)
		return body_reject(req, field.p, "must be an object with a name of at most 200 bytes");
	for (k = 0; k < i; k++)
		if (str_eq(str_trim(json_get_str(json_array_get(before, k), "name", STR(""))), name))
			return body_reject(req, field.p, "has the name of another scenario");
	if (json_object_get(scenario, "parameters") != NULL && !json_is_object(json_object_get(scenario, "parameters")))
		return body_reject(req, field.p, "parameters must be an object");
	if (json_object_get(scenario, "constraints") != NULL &&
	    !json_is_array(json_object_get(scenario, "constraints")))
		return body_reject(req, field.p, "constraints must be a list of sentences");
	return true;
}

CO_FN void matrix_submit(struct http_request *req)
{
	const json_t *given = body_object(req), *scenarios;
	json_t *settings, *items = json_own(req->arena, json_array()), *body;
	size_t i;

	if (given == NULL)
		return;
	scenarios = json_get_arr(given, "scenarios");
	if (json_array_size(scenarios) < 1 || json_array_size(scenarios) > MATRIX_SCENARIOS_MAX) {
		(void)body_reject(req, "scenarios", "is required: a list of 1 to 50 scenarios");
		return;
	}
	for (i = 0; i < json_array_size(scenarios); i++) {
		const json_t *s = json_array_get(scenarios, i);

		if (!matrix_scenario(req, s, i, scenarios))
			return;
		body = forms_body(req->arena, given, MATRIX_ROUNDS, request_worker(req)->conf->debates.max_rounds);
		json_put_str(body, "context", matrix_context(req->arena, s, json_get_str(given, "context", STR(""))));
		json_array_append_new(items, json_pack("{s:s%, s:O}", "name", json_get_str(s, "name", STR("")).p,
						       json_get_str(s, "name", STR("")).n, "body", body));
	}
	settings = json_own(req->arena, json_pack("{s:O}", "scenarios", scenarios));
	forms_submit(req, given, "matrix", settings, items);
}
