/* SPDX-License-Identifier: MIT */
/*
 * Debates out of debates over REST (rest-core 4.9): fork, clone, follow-up, and debate-this. Each child is an ordinary
 * debate; a row of debate_links, stored with it, says where it came from.
 */
#include "common/clock.h"
#include "common/json.h"
#include "common/tenant.h"
#include "worker/debate/control.h"
#include "worker/debate/fork.h"
#include "worker/debate/request.h"
#include "worker/debate/view.h"
#include "worker/http/body.h"
#include "worker/http/route.h"
#include "worker/worker.h"

#define FORK_CONTEXT_MAX 5000 /* bytes of modified_context, rest-core 4.9 */
#define FORK_MESSAGES_MAX 1000
#define FORK_TREE_MAX 200 /* nodes that are shown */
#define FORK_DEPTH_MAX 8
#define FORK_LONG_QUESTION 200 /* characters from which on debate-this holds more rounds, rest-core 4.2 */

/* ---- what was said ---- */

static json_t *fork_parsed(struct arena *a, struct str text)
{
	struct error err = ERROR_INIT;

	return text.p != NULL ? json_parse(a, text, &err) : NULL;
}

/* [{agent, round, content}] of a debate that runs, or has run; in the arena. NULL: answered. */
CO_FN static const json_t *fork_messages(struct http_request *req, const struct debate_row *row)
{
	const json_t *said = json_get_arr(fork_parsed(req->arena, row->result), "messages");
	struct error err = ERROR_INIT;

	if (said != NULL)
		return said;
	said = json_own(req->arena, debate_messages(request_worker(req)->db, req->arena, &req->ctx, row->id, 0,
						    FORK_MESSAGES_MAX, &err));
	if (said == NULL)
		http_reply_error(req, &err);
	return said;
}

/* ---- the link ---- */

struct fork_link {
	const struct http_request *req;
	struct str parent_id, note, context;
	const char *kind, *status, *message;
	int64_t branch_point, inherited;
};

static void fork_link_add(struct db_batch *b, struct str id, void *arg)
{
	const struct fork_link *l = arg;

	db_batch_add(b,
		     "INSERT INTO debate_links (child_id, parent_id, org_id, workspace_id, kind, branch_point, note,"
		     " created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
		     DB_ARGS(DB_S(id), DB_S(l->parent_id), DB_S(l->req->ctx.org_id), DB_S(l->req->ctx.workspace_id),
			     DB_Z(l->kind), DB_I(l->branch_point), DB_S(l->note), DB_I(clock_wall_ms())),
		     1);
}

/* "fork-<parent>-r<round>-<8 of the child's id>" */
static struct str fork_name(struct arena *a, const char *kind, struct str parent, int64_t round, struct str child)
{
	return arena_printf(a, "%s-%.*s-r%lld-%.*s", kind, STR_ARG(parent), (long long)round,
			    STR_ARG(str_sub(child, child.n > 8 ? child.n - 8 : 0, child.n)));
}

static void fork_link_tell(struct http_request *req, json_t *o, struct str id, void *arg)
{
	const struct fork_link *l = arg;
	struct str name = fork_name(req->arena, l->kind, l->parent_id, l->branch_point, id);

	json_put_str(o, "parent_debate_id", l->parent_id);
	json_put_str(o, "branch_id", name);
	json_put_str(o, "fork_id", id);
	json_put_str(o, "followup_id", id);
	json_put_int(o, "branch_point", l->branch_point);
	json_put_int(o, "messages_inherited", l->inherited);
	json_object_set_new(o, "modified_context", l->context.n > 0 ? json_str(l->context) : json_null());
	json_object_set_new(o, "crux_id", l->note.n > 0 ? json_str(l->note) : json_null());
	json_put_str(o, "status", str_of(l->status));
	json_put_str(o, "message", str_of(l->message));
}

/* The body's own settings over those of the parent. */
static void fork_override(json_t *body, const json_t *given)
{
	static const char *const keys[] = {"agents",   "rounds",       "consensus",      "consensus_threshold",
					   "topology", "metadata",     "debate_format",  "budget_limit_usd",
					   "protocol", "callback_url", "callback_secret"};
	size_t i;

	for (i = 0; i < countof(keys); i++)
		if (json_object_get(given, keys[i]) != NULL)
			json_object_set(body, keys[i], json_object_get(given, keys[i]));
}

CO_FN static void fork_create(struct http_request *req, json_t *body, const json_t *plan, struct fork_link *l)
{
	l->req = req;
	request_create(
	    req, body,
	    &(struct request_origin){.plan = plan, .more = fork_link_add, .answer = fork_link_tell, .arg = l});
}

/* ---- fork and clone ---- */

/* The round after which the fork begins. False: answered. */
static bool fork_point(struct http_request *req, const json_t *body, const struct debate_row *row, int64_t *round)
{
	const json_t *v = json_object_get(body, "branch_point");
	int64_t last = row->completed_at != 0 ? row->rounds_used : row->current_round;

	v = v != NULL ? v : json_object_get(body, "round");
	if (v == NULL)
		return body_reject(req, "branch_point", "is required: the round after which the fork begins");
	if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > 100)
		return body_reject(req, "branch_point", "must be a whole number from 0 to 100");
	*round = json_integer_value(v);
	return *round <= last || body_reject(req, "branch_point", "lies behind what was said so far");
}

CO_FN static void fork_fork(struct http_request *req)
{
	const json_t *given = body_object(req), *plan, *messages;
	struct fork_link l = {.kind = "fork", .status = "created", .message = "the fork goes on from that round"};
	struct debate_row row;
	struct str history;
	json_t *body;

	if (given == NULL || !body_text_or_reject(req, given, "modified_context", FORK_CONTEXT_MAX, &l.context) ||
	    !request_debate(req, &row) || !fork_point(req, given, &row, &l.branch_point))
		return;
	messages = fork_messages(req, &row);
	if (messages == NULL)
		return;
	plan = fork_parsed(req->arena, row.plan);
	body = fork_body(req->arena, plan);
	fork_override(body, given);
	history = fork_history(req->arena, messages, l.branch_point, &l.inherited);
	if (json_array_size(messages) == 0) {
		(void)body_reject(req, "branch_point", "nothing has been said yet");
		return;
	}
	json_put_str(
	    body, "context",
	    arena_printf(req->arena,
			 "%.*s%sThis debate goes on from the end of round %lld of an earlier one. What was said "
			 "there until then:\n\n%.*s",
			 STR_ARG(l.context.n > 0 ? l.context : row.context),
			 (l.context.n > 0 ? l.context : row.context).n > 0 ? "\n\n" : "", (long long)l.branch_point,
			 STR_ARG(history)));
	l.parent_id = row.id;
	fork_create(req, body, plan, &l);
}

CO_FN static void fork_clone(struct http_request *req)
{
	const json_t *given = body_object(req), *plan;
	struct fork_link l = {.kind = "clone", .status = "created", .message = "the same debate once more"};
	struct debate_row row;
	json_t *body;

	if (given == NULL || !request_debate(req, &row))
		return;
	plan = fork_parsed(req->arena, row.plan);
	body = fork_body(req->arena, plan);
	fork_override(body, given);
	l.parent_id = row.id;
	fork_create(req, body, plan, &l);
}

/* ---- follow-ups ---- */

/* The suggestion of that id, or NULL. */
static const json_t *fork_suggestion(const json_t *list, struct str id)
{
	size_t i;

	for (i = 0; i < json_array_size(list); i++)
		if (str_eq(json_get_str(json_array_get(list, i), "crux_id", STR("")), id))
			return json_array_get(list, i);
	return NULL;
}

CO_FN static void fork_follow(struct http_request *req)
{
	const json_t *given = body_object(req), *plan, *result, *crux = NULL;
	struct fork_link l = {.kind = "followup", .status = "pending", .message = "the follow-up waits for its turn"};
	struct str id, task, context, more;
	struct debate_row row;
	json_t *body;

	if (given == NULL || !body_text_or_reject(req, given, "context", FORK_CONTEXT_MAX, &more) ||
	    !request_debate(req, &row))
		return;
	id = json_get_str(given, "crux_id", json_get_str(given, "cruxId", STR("")));
	task = str_trim(json_get_str(given, "task", STR("")));
	result = fork_parsed(req->arena, row.result);
	if (id.n > 0)
		crux = fork_suggestion(fork_suggestions(req->arena, result), id);
	if ((id.n > 0 && crux == NULL) || (id.n == 0 && task.n == 0)) {
		(void)body_reject(req, id.n > 0 ? "crux_id" : "task",
				  id.n > 0 ? "is none of the debate's open questions"
					   : "is required, or crux_id of an open question");
		return;
	}
	plan = fork_parsed(req->arena, row.plan);
	body = fork_body(req->arena, plan);
	fork_override(body, given);
	json_put_str(body, "task", task.n > 0 ? task : json_get_str(crux, "question", STR("")));
	context = fork_outcome(req->arena, row.task, result, json_get_str(crux, "rationale", STR("")));
	json_put_str(body, "context",
		     more.n > 0 ? arena_printf(req->arena, "%.*s\n\n%.*s", STR_ARG(more), STR_ARG(context)) : context);
	l.parent_id = row.id;
	l.note = arena_str(req->arena, id);
	l.context = more;
	fork_create(req, body, plan, &l);
}

/* ---- reading ---- */

/* Children of one kind: [{…}] of debate_links with the state of the child. NULL: answered. */
CO_FN static json_t *fork_children(struct http_request *req, struct str parent, const char *kind)
{
	struct error err = ERROR_INIT;
	struct db_rows rows;
	json_t *list;
	size_t i;

	if (!db_query(request_worker(req)->db, req->arena,
		      "SELECT l.child_id, l.branch_point, l.note, l.created_at, COALESCE(d.status, 'deleted'), d.task"
		      " FROM debate_links l LEFT JOIN debates d ON d.id = l.child_id AND d.workspace_id = $2"
		      " WHERE l.parent_id = $1 AND l.workspace_id = $2 AND l.kind = $3"
		      " ORDER BY l.created_at, l.child_id LIMIT $4",
		      DB_ARGS(DB_S(parent), DB_S(req->ctx.workspace_id), DB_Z(kind), DB_I(FORK_TREE_MAX)), &rows,
		      &err)) {
		http_reply_error(req, &err);
		return NULL;
	}
	list = json_own(req->arena, json_array());
	for (i = 0; i < rows.count; i++) {
		struct str child = db_str(&rows, i, 0);
		json_t *o = json_object();

		json_put_str(o, "debate_id", child);
		json_put_str(o, "fork_id", child);
		json_put_str(o, "branch_id", fork_name(req->arena, kind, parent, db_int(&rows, i, 1), child));
		json_put_str(o, "parent_debate_id", parent);
		json_put_int(o, "branch_point", db_int(&rows, i, 1));
		json_put_str(o, "status",
			     str_of(view_status_word(&(struct debate_row){.status = db_str(&rows, i, 4)})));
		json_put_str(o, "task", db_str(&rows, i, 5).n > 0 ? db_str(&rows, i, 5) : STR(""));
		json_object_set_new(o, "crux_id",
				    db_str(&rows, i, 2).n > 0 ? json_str(db_str(&rows, i, 2)) : json_null());
		json_object_set_new(o, "divergence_reason", json_null());
		json_put_time(o, "created_at", db_int(&rows, i, 3));
		json_array_append_new(list, o);
	}
	return list;
}

struct fork_walk {
	int64_t nodes, depth;
};

/* {id, type, branch_point, children[]}; new reference, NULL: answered. Recursion ends at FORK_DEPTH_MAX. */
CO_FN static json_t *fork_tree(struct http_request *req, struct str id, int64_t point, int64_t depth,
			       struct fork_walk *walk)
{
	json_t *children, *list, *o;
	size_t i;

	walk->nodes++;
	walk->depth = depth > walk->depth ? depth : walk->depth;
	children = json_own(req->arena, json_array());
	list = depth < FORK_DEPTH_MAX ? fork_children(req, id, "fork") : children;
	for (i = 0; list != NULL && i < json_array_size(list) && walk->nodes < FORK_TREE_MAX; i++) {
		const json_t *child = json_array_get(list, i);
		json_t *node = fork_tree(req, json_get_str(child, "debate_id", STR("")),
					 json_get_int(child, "branch_point", 0), depth + 1, walk);

		if (node == NULL)
			return NULL;
		json_array_append_new(children, node);
	}
	if (list == NULL)
		return NULL;
	o = json_pack("{s:s, s:O}", "type", depth == 0 ? "root" : "fork", "children", children);
	json_put_str(o, "id", id);
	json_put_int(o, "branch_point", point);
	return o;
}

CO_FN static void fork_list(struct http_request *req)
{
	struct fork_walk walk = {0, 0};
	struct debate_row row;
	json_t *forks, *tree, *o;

	if (!request_debate(req, &row))
		return;
	forks = fork_children(req, row.id, "fork");
	tree = forks != NULL ? fork_tree(req, row.id, 0, 0, &walk) : NULL;
	if (tree == NULL)
		return;
	json_put_int(tree, "total_nodes", walk.nodes);
	json_put_int(tree, "max_depth", walk.depth);
	o = json_pack("{s:O, s:o, s:I}", "forks", forks, "tree", tree, "total", (json_int_t)json_array_size(forks));
	json_put_str(o, "debate_id", row.id);
	http_reply_json(req, 200, o);
}

CO_FN static void fork_followups(struct http_request *req)
{
	struct debate_row row;
	json_t *list, *made, *o;

	if (!request_debate(req, &row))
		return;
	made = fork_children(req, row.id, "followup");
	if (made == NULL)
		return;
	list = fork_suggestions(req->arena, fork_parsed(req->arena, row.result));
	o = json_pack("{s:O, s:I, s:O}", "suggestions", list, "count", (json_int_t)json_array_size(list), "followups",
		      made);
	json_put_str(o, "debate_id", row.id);
	if (row.completed_at == 0)
		json_put_str(o, "message", STR("the debate has not ended"));
	else if (json_array_size(list) == 0)
		json_put_str(o, "message", STR("the debate leaves no question open"));
	http_reply_json(req, 200, o);
}

/* ---- debate-this ---- */

static void fork_spectate(struct http_request *req, json_t *o, struct str id, void *arg)
{
	(void)arg;
	json_put_str(o, "spectate_url", arena_printf(req->arena, "/api/debates/%.*s/events", STR_ARG(id)));
}

/* A question and nothing else: team and rounds follow from it. */
CO_FN static void fork_debate_this(struct http_request *req)
{
	json_t *given = body_object(req), *body;
	struct str question, source;

	if (given == NULL || !body_text_or_reject(req, given, "source", FORK_CONTEXT_MAX, &source))
		return;
	question = str_trim(json_get_str(given, "question", json_get_str(given, "task", STR(""))));
	if (question.n == 0) {
		(void)body_reject(req, "question", "is required");
		return;
	}
	body = json_own(req->arena, json_object());
	fork_override(body, given);
	json_put_str(body, "task", question);
	json_put_str(body, "context", json_get_str(given, "context", STR("")));
	if (json_object_get(body, "rounds") == NULL) {
		int64_t rounds = question.n > FORK_LONG_QUESTION ? 9 : 4,
			most = request_worker(req)->conf->debates.max_rounds;

		json_put_int(body, "rounds", rounds < most ? rounds : most);
	}
	if (json_object_get(body, "agents") == NULL)
		json_object_set_new(body, "auto_select", json_true());
	if (source.n > 0 && json_object_get(body, "metadata") == NULL)
		json_object_set_new(body, "metadata", json_pack("{s:s%}", "source", source.p, source.n));
	request_create(req, body, &(struct request_origin){.answer = fork_spectate});
}

/* ---- routes ---- */

static const struct route fork_rows[] = {
    ROUTE_IO(POST, "/api/debates/{id}/fork", fork_fork, "debates:fork", CREATE,
	     "Go on from a round, with other agents or another context", "Fork", "Forked"),
    ROUTE_IO(GET, "/api/debates/{id}/forks", fork_list, "debates:read", READ, "Forks and the tree of their forks", NULL,
	     "ForkList"),
    ROUTE_IO(POST, "/api/debates/{id}/clone", fork_clone, "debates:fork", CREATE, "Hold the same debate once more",
	     NULL, "Forked"),
    ROUTE_IO(GET, "/api/debates/{id}/followups", fork_followups, "debates:read", READ,
	     "Questions that the debate leaves open, and follow-ups that were held", NULL, "FollowupList"),
    ROUTE_IO(POST, "/api/debates/{id}/followup", fork_follow, "debates:create", CREATE, "Debate an open question",
	     "Followup", "Forked"),
    ROUTE_IO(POST, "/api/debate-this", fork_debate_this, "debates:create", CREATE,
	     "Debate a question; team and rounds follow from it", "DebateThis", "DebateCreated"),
};
const struct route_table fork_routes = {fork_rows, countof(fork_rows)};
