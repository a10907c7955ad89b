/* SPDX-License-Identifier: MIT */
/*
 * Matrix and graph debates over REST (rest-core 4.9), as parents of ordinary debates: submit, list, read, cancel.
 * matrix.c and graph.c say what their children are and what follows from them.
 */
#include "common/json.h"
#include "worker/batch/forms.h"
#include "worker/debate/request.h"
#include "worker/delivery/delivery.h"
#include "worker/http/body.h"
#include "worker/http/page.h"
#include "worker/worker.h"

#define FORMS_PARALLEL 3 /* debate.md 1.1: MAX_CONCURRENT_BRANCHES */

json_t *forms_body(struct arena *a, const json_t *given, int64_t rounds, int64_t most)
{
	static const char *const same[] = {"task",       "agents",           "consensus",   "consensus_threshold",
					   "topology",   "debate_format",    "auto_select", "auto_select_config",
					   "use_memory", "budget_limit_usd", "protocol",    "metadata"};
	const json_t *v = json_object_get(given, "max_rounds");
	json_t *body = json_own(a, json_object());
	size_t i;

	for (i = 0; i < countof(same); i++)
		if (json_object_get(given, same[i]) != NULL)
			json_object_set(body, same[i], json_object_get(given, same[i]));
	v = v != NULL ? v : json_object_get(given, "rounds");
	if (v == NULL)
		json_put_int(body, "rounds", rounds < most ? rounds : most);
	else if (json_is_integer(v) && json_integer_value(v) > most && json_integer_value(v) <= 20)
		json_put_int(body, "rounds", most); /* rest-core 4.9 takes 20, a debate has fewer */
	else
		json_object_set(body, "rounds", (json_t *)(uintptr_t)v);
	return body;
}

struct str forms_position(struct arena *a, const struct batch_item *item)
{
	const json_t *result = batch_result(a, item);
	const json_t *groups = json_get_arr(json_get_obj(result, "consensus"), "groups"), *agents;
	struct str winner = json_get_str(result, "winner", STR(""));
	size_t i, k;

	for (i = 0; winner.n > 0 && i < json_array_size(groups); i++) {
		agents = json_get_arr(json_array_get(groups, i), "agents");
		for (k = 0; k < json_array_size(agents); k++)
			if (str_eqz(winner, json_string_value(json_array_get(agents, k))))
				return json_get_str(json_array_get(groups, i), "label", STR(""));
	}
	return STR("");
}

/* ---- answers ---- */

static json_t *forms_document(struct arena *a, const struct batch_row *row, const struct batch_item *items, size_t n)
{
	return batch_kind_of(row->kind)->conclude(a, row, items, n);
}

/* The whole answer about one; new reference, NULL: answered. */
CO_FN static json_t *forms_view(struct http_request *req, const struct batch_row *row)
{
	struct worker *w = request_worker(req);
	struct error err = ERROR_INIT;
	struct batch_counts counts;
	struct batch_item *items;
	json_t *o;
	size_t n;

	if (!batch_count(w, req->arena, row, &counts, &err) ||
	    !batch_items(w, req->arena, row, true, BATCH_ITEMS_MAX, 0, &items, &n, &err)) {
		http_reply_error(req, &err);
		return NULL;
	}
	o = batch_view(row, &counts);
	json_object_update(o, forms_document(req->arena, row, items, n));
	json_put_str(o, "task", row->task);
	json_put_str(o, "matrix_id", row->id);
	json_put_str(o, "graph_id", row->id);
	json_put_str(o, "debate_id", row->id);
	json_put_int(o, "scenario_count", row->total);
	return o;
}

CO_FN void forms_submit(struct http_request *req, const json_t *given, const char *kind, const json_t *settings,
			const json_t *items)
{
	struct worker *w = request_worker(req);
	struct batch_new n = {.kind = kind, .settings = settings, .items = items, .max_parallel = FORMS_PARALLEL};
	struct error err = ERROR_INIT;
	struct callback webhook;
	struct batch_row row;
	json_t *plan, *problems, *o;
	struct str id;

	/* The children differ in their contexts alone: what is wrong with one is wrong with all. */
	if (!plan_resolve(w->conf, req->arena, json_get_obj(json_array_get(items, 0), "body"), &plan, &problems,
			  &err)) {
		body_reject_all(req, &err, problems);
		return;
	}
	n.task = json_get_str(plan, "task", STR(""));
	n.webhook = &webhook;
	batch_key(req, &n);
	if (!callback_parse(w, req->arena, given, &req->ctx, &webhook, &err) ||
	    !batch_create(w, req->arena, &req->ctx, &n, &id, &err) ||
	    !batch_get(w, req->arena, &req->ctx, id, kind, &row, &err)) {
		http_reply_error(req, &err);
		return;
	}
	o = forms_view(req, &row);
	if (o == NULL)
		return;
	json_object_set_new(o, "success", json_true());
	json_put_str(o, "status_url", arena_printf(req->arena, "/api/debates/%s/%.*s", kind, STR_ARG(id)));
	http_reply_json(req, 200, o);
}

/* "matrix" or "graph": the third part of the route's path. */
static const char *forms_kind(const struct http_request *req)
{
	return strncmp(req->route->path, "/api/debates/graph", 18) == 0 ? "graph" : "matrix";
}

CO_FN static bool forms_get(struct http_request *req, struct batch_row *row)
{
	struct error err = ERROR_INIT;

	if (batch_get(request_worker(req), req->arena, &req->ctx, req->params[0], forms_kind(req), row, &err))
		return true;
	http_reply_error(req, &err);
	return false;
}

CO_FN static void forms_show(struct http_request *req)
{
	struct batch_row row;
	json_t *o;

	if (!forms_get(req, &row))
		return;
	o = forms_view(req, &row);
	if (o != NULL)
		http_reply_json(req, 200, o);
}

/* One member of it: branches, nodes, scenarios, conclusions. */
CO_FN static void forms_part(struct http_request *req)
{
	static const struct {
		const char *path, *from, *names[4];
	} parts[] = {
	    {"branches", NULL, {"branches", "merge_results"}},
	    {"nodes", "graph", {"nodes", "edges"}},
	    {"scenarios", NULL, {"results"}},
	    {"conclusions",
	     NULL,
	     {"universal_conclusions", "conditional_conclusions", "undecided_scenarios", "comparison_matrix"}}};
	const char *end = strrchr(req->route->path, '/') + 1;
	struct batch_row row;
	const json_t *from;
	json_t *o, *out;
	size_t i, k;

	if (!forms_get(req, &row))
		return;
	o = json_own(req->arena, forms_view(req, &row));
	if (o == NULL)
		return;
	for (i = 0; strcmp(parts[i].path, end) != 0; i++)
		;
	from = parts[i].from != NULL ? json_object_get(o, parts[i].from) : o;
	out = json_object();
	json_put_str(out, "debate_id", row.id);
	json_put_str(out, "status", row.status);
	for (k = 0; k < countof(parts[i].names) && parts[i].names[k] != NULL; k++)
		json_object_set(out, parts[i].names[k], json_object_get(from, parts[i].names[k]));
	http_reply_json(req, 200, out);
}

CO_FN static void forms_list(struct http_request *req)
{
	int64_t limit = http_query_int(req, "limit", 1, 100, 50),
		offset = http_query_int(req, "offset", 0, INT32_MAX, 0);
	struct worker *w = request_worker(req);
	struct error err = ERROR_INIT;
	struct batch_counts counts;
	struct batch_row *rows;
	int64_t total;
	json_t *list, *o;
	size_t i, n;

	if (!batch_list(w, req->arena, &req->ctx, forms_kind(req), http_query(req, "status"), limit, offset, &rows, &n,
			&total, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_own(req->arena, json_array());
	for (i = 0; i < n; i++) {
		if (!batch_count(w, req->arena, &rows[i], &counts, &err)) {
			http_reply_error(req, &err);
			return;
		}
		o = batch_view(&rows[i], &counts);
		json_put_str(o, "task", rows[i].task);
		json_array_append_new(list, o);
	}
	o = json_pack("{s:O}", "items", list);
	page_put(o, limit, offset, n, total);
	http_reply_json(req, 200, o);
}

CO_FN static void forms_cancel(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct batch_row row;
	json_t *o;

	if (!forms_get(req, &row))
		return;
	if (!batch_cancel(request_worker(req), req->arena, &req->ctx, &row, &err)) {
		request_refused(req, &err);
		return;
	}
	o = json_pack("{s:b, s:s, s:s}", "success", 1, "status", "cancelled", "message",
		      "what waits is given up, what runs is being cancelled");
	json_put_str(o, "debate_id", row.id);
	http_reply_json(req, 200, o);
}

/* ---- routes ---- */

static const struct route forms_rows[] = {
    ROUTE_IO(POST, "/api/debates/matrix", matrix_submit, "debates:create", CREATE,
	     "Debate a question in several scenarios", "MatrixSubmit", "Matrix"),
    ROUTE_IO(GET, "/api/debates/matrix", forms_list, "debates:read", READ, "List matrix debates, newest first", NULL,
	     "FormList"),
    ROUTE_IO(GET, "/api/debates/matrix/{id}", forms_show, "debates:read", READ,
	     "Results of the scenarios, and what holds in all or in some", NULL, "Matrix"),
    ROUTE_IO(GET, "/api/debates/matrix/{id}/scenarios", forms_part, "debates:read", READ, "Results of the scenarios",
	     NULL, "Matrix"),
    ROUTE_IO(GET, "/api/debates/matrix/{id}/conclusions", forms_part, "debates:read", READ,
	     "What holds in all or in some", NULL, "Matrix"),
    ROUTE_IO(POST, "/api/debates/matrix/{id}/cancel", forms_cancel, "debates:stop", WRITE, "Cancel a matrix debate",
	     NULL, "BatchChanged"),
    ROUTE_IO(POST, "/api/debates/graph", graph_submit, "debates:create", CREATE,
	     "Debate a question, with branches where it ends in disagreement", "GraphSubmit", "Graph"),
    ROUTE_IO(GET, "/api/debates/graph", forms_list, "debates:read", READ, "List graph debates, newest first", NULL,
	     "FormList"),
    ROUTE_IO(GET, "/api/debates/graph/{id}", forms_show, "debates:read", READ, "Nodes, edges, branches and their merge",
	     NULL, "Graph"),
    ROUTE_IO(GET, "/api/debates/graph/{id}/branches", forms_part, "debates:read", READ, "The debates it consists of",
	     NULL, "Graph"),
    ROUTE_IO(GET, "/api/debates/graph/{id}/nodes", forms_part, "debates:read", READ,
	     "What was said, and how it hangs together", NULL, "Graph"),
    ROUTE_IO(POST, "/api/debates/graph/{id}/cancel", forms_cancel, "debates:stop", WRITE, "Cancel a graph debate", NULL,
	     "BatchChanged"),
};
const struct route_table form_routes = {forms_rows, countof(forms_rows)};
