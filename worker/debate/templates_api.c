/* SPDX-License-Identifier: MIT */
/*
 * Templates of debates: creation bodies under a name, those of the product and a workspace's own. List, read, make,
 * change, delete, use. {words} in braces in a template's texts are filled in from `inputs` when it is used.
 */
#include "common/clock.h"
#include "common/ids.h"
#include "common/json.h"
#include "worker/debate/control.h"
#include "worker/debate/request.h"
#include "worker/http/body.h"
#include "worker/worker.h"

#define TEMPLATE_NAME_MAX 200
#define TEMPLATE_TEXT_MAX 2000
#define TEMPLATE_BODY_MAX 65536
#define TEMPLATE_PAGE 100                        /* of the workspace's own in one answer, each of up to 64 KiB */
#define TEMPLATE_FILLED_MAX ((size_t)512 * 1024) /* a text with its inputs; no task and no context may be as long */

/* ---- the product's own ---- */

static const struct {
	const char *id, *name, *category, *description, *body;
} templates_own[] = {
    {"decision", "A decision", "general", "One question, the usual course",
     "{\"task\": \"{question}\", \"rounds\": 2, \"consensus\": \"majority\"}"},
    {"architecture-review", "Architecture review", "code", "Is a design fit for what is asked of it?",
     "{\"task\": \"Is this design fit for its purpose, and what has to change before it is built? {design}\", "
     "\"rounds\": 3,"
     " \"consensus\": \"weighted\"}"},
    {"risk-assessment", "Risk assessment", "compliance", "What may go wrong, and what is to be done about it",
     "{\"task\": \"Which risks does this bear, how likely and how grave is each, and what is to be done first? "
     "{subject}\","
     " \"rounds\": 3, \"consensus\": \"supermajority\"}"},
    {"vendor-selection", "Vendor selection", "vendor_selection", "Which of several offers to take",
     "{\"task\": \"Which of these offers is the best for us, and why not the others? {offers}\", \"rounds\": 2,"
     " \"consensus\": \"majority\"}"},
    {"policy-review", "Policy review", "policy_review", "Is a rule clear, fair and enforceable?",
     "{\"task\": \"Is this policy clear, fair and enforceable, and how should it read? {policy}\", \"rounds\": 2,"
     " \"consensus\": \"supermajority\"}"},
    {"red-team", "Red team", "security", "The strongest case against a plan",
     "{\"task\": \"What is the strongest case against this plan, and does the plan survive it? {plan}\", \"rounds\": 3,"
     " \"consensus\": \"judge\"}"},
};

struct template
{
	struct str id, name, category, description, body, created_by;
	int64_t uses, created_at, updated_at;
	bool builtin;
};

static bool template_own(struct str id, struct template *t)
{
	size_t i;

	for (i = 0; i < countof(templates_own) && !str_eqz(id, templates_own[i].id); i++)
		;
	if (i == countof(templates_own))
		return false;
	*t = (struct template){.id = str_of(templates_own[i].id),
			       .name = str_of(templates_own[i].name),
			       .category = str_of(templates_own[i].category),
			       .description = str_of(templates_own[i].description),
			       .body = str_of(templates_own[i].body),
			       .created_by = STR(""),
			       .builtin = true};
	return true;
}

/* ---- rows ---- */

#define TEMPLATE_COLUMNS "id, name, category, description, body, created_by, uses, created_at, updated_at"

static struct template template_row(const struct db_rows *r, size_t i)
{
	return (struct template){db_str(r, i, 0), db_str(r, i, 1), db_str(r, i, 2), db_str(r, i, 3), db_str(r, i, 4),
				 db_str(r, i, 5), db_int(r, i, 6), db_int(r, i, 7), db_int(r, i, 8), false};
}

/* The one that parameter 0 names. False: answered. */
CO_FN static bool template_get(struct http_request *req, struct template *t)
{
	struct error err = ERROR_INIT;
	struct db_rows r;

	if (template_own(req->params[0], t))
		return true;
	if (db_query(request_worker(req)->db, req->arena,
		     "SELECT " TEMPLATE_COLUMNS
		     " FROM debate_templates WHERE id = $1 AND org_id = $2 AND workspace_id = $3",
		     DB_ARGS(DB_S(req->params[0]), DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id)), &r, &err)) {
		if (r.count == 1) {
			*t = template_row(&r, 0);
			return true;
		}
		error_field(&err, ERR_NOT_FOUND, "id", "Template not found: %.*s",
			    STR_ARG(str_sub(req->params[0], 0, 64)));
	}
	http_reply_error(req, &err);
	return false;
}

static json_t *template_view(struct arena *a, const struct template *t)
{
	struct error err = ERROR_INIT;
	json_t *o = json_object(), *body = json_parse(a, t->body, &err);

	json_put_str(o, "id", t->id);
	json_put_str(o, "template_id", t->id);
	json_put_str(o, "name", t->name);
	json_put_str(o, "category", t->category);
	json_put_str(o, "description", t->description);
	json_object_set(o, "template", body != NULL ? body : json_null());
	json_object_set_new(o, "builtin", json_boolean(t->builtin));
	json_put_int(o, "usage_count", t->uses);
	json_put_str(o, "created_by", t->created_by);
	json_put_time(o, "created_at", t->created_at);
	json_put_time(o, "updated_at", t->updated_at);
	return o;
}

CO_FN static void template_list(struct http_request *req)
{
	struct str category = http_query(req, "category");
	struct error err = ERROR_INIT;
	struct template t;
	struct db_rows r;
	json_t *list;
	size_t i;

	if (!db_query(request_worker(req)->db, req->arena,
		      "SELECT " TEMPLATE_COLUMNS " FROM debate_templates WHERE org_id = $1 AND workspace_id = $2"
		      " AND ($3 = '' OR category = $3) ORDER BY name LIMIT $4 OFFSET $5",
		      DB_ARGS(DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id),
			      DB_S(category.n > 0 ? category : STR("")),
			      DB_I(http_query_int(req, "limit", 1, TEMPLATE_PAGE, TEMPLATE_PAGE)),
			      DB_I(http_query_int(req, "offset", 0, INT32_MAX, 0))),
		      &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < r.count; i++) {
		t = template_row(&r, i);
		json_array_append_new(list, template_view(req->arena, &t));
	}
	for (i = 0; i < countof(templates_own); i++)
		if (template_own(str_of(templates_own[i].id), &t) && (category.n == 0 || str_eq(category, t.category)))
			json_array_append_new(list, template_view(req->arena, &t));
	http_reply_json(
	    req, 200,
	    json_pack("{s:O, s:I, s:o}", "templates", list, "count", (json_int_t)json_array_size(list), "items", list));
}

CO_FN static void template_show(struct http_request *req)
{
	struct template t;

	if (template_get(req, &t))
		http_reply_json(req, 200, template_view(req->arena, &t));
}

/* ---- making ---- */

struct template_given {
	struct str name, category, description, text;
};

/* The body is only sure once it is used, for braces are filled in then; what cannot be right at all is refused. */
static bool template_read(struct http_request *req, const json_t *body, struct template_given *g)
{
	const json_t *template = json_get_obj(body, "template");

	template = template != NULL ? template : json_get_obj(body, "body");
	if (!body_text_or_reject(req, body, "name", TEMPLATE_NAME_MAX, &g->name) ||
	    !body_text_or_reject(req, body, "category", TEMPLATE_NAME_MAX, &g->category) ||
	    !body_text_or_reject(req, body, "description", TEMPLATE_TEXT_MAX, &g->description))
		return false;
	if (g->name.n == 0)
		return body_reject(req, "name", "is required");
	if (template == NULL || json_get_str(template, "task", STR("")).n == 0)
		return body_reject(req, "template", "is required: a body as of a debate, with task");
	/* Whoever may read debates may read templates. */
	if (json_object_get(template, "callback_secret") != NULL)
		return body_reject(req, "template.callback_secret",
				   "is not kept in a template: give it when the template is used");
	g->text = json_text(req->arena, template);
	return g->text.n <= TEMPLATE_BODY_MAX || body_reject(req, "template", "must be at most 65536 bytes");
}

CO_FN static void template_changed(struct http_request *req, struct db_batch *b, struct str id, int status,
				   const char *fenced)
{
	struct error err = ERROR_INIT;
	json_t *o;

	if (!db_commit(request_worker(req)->db, b, &err)) {
		if (err.code == ERR_DUPLICATE)
			error_field(&err, ERR_CONFLICT, "name", "the workspace has a template of this name");
		else if (err.code == ERR_FENCED)
			error_field(&err, ERR_NOT_FOUND, "id", "%s", fenced);
		http_reply_error(req, &err);
		return;
	}
	o = json_pack("{s:b}", "success", 1);
	json_put_str(o, "id", id);
	json_put_str(o, "template_id", id);
	http_reply_json(req, status, o);
}

CO_FN static void template_make(struct http_request *req)
{
	const json_t *body = body_object(req);
	struct db_batch *b;
	struct template_given g;
	char id[UUID_LEN + 1];

	if (body == NULL || !template_read(req, body, &g))
		return;
	ids_uuid7(id);
	b = db_batch_new(request_worker(req)->db);
	db_batch_add(
	    b,
	    "INSERT INTO debate_templates (id, org_id, workspace_id, name, description, category, body, created_by,"
	    " created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)",
	    DB_ARGS(DB_Z(id), DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id), DB_S(g.name), DB_S(g.description),
		    DB_S(g.category), DB_S(g.text), DB_S(req->ctx.principal), DB_I(clock_wall_ms())),
	    1);
	template_changed(req, b, arena_str(req->arena, str_of(id)), 201, "");
}

CO_FN static void template_change(struct http_request *req)
{
	const json_t *body = body_object(req);
	struct db_batch *b;
	struct template_given g;

	if (body == NULL || !template_read(req, body, &g))
		return;
	b = db_batch_new(request_worker(req)->db);
	db_batch_add(
	    b,
	    "UPDATE debate_templates SET name = $4, description = $5, category = $6, body = $7, updated_at = $8"
	    " WHERE id = $1 AND org_id = $2 AND workspace_id = $3",
	    DB_ARGS(DB_S(req->params[0]), DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id), DB_S(g.name),
		    DB_S(g.description), DB_S(g.category), DB_S(g.text), DB_I(clock_wall_ms())),
	    1);
	template_changed(req, b, req->params[0], 200, "the workspace has no such template");
}

CO_FN static void template_delete(struct http_request *req)
{
	struct db_batch *b = db_batch_new(request_worker(req)->db);

	db_batch_add(b, "DELETE FROM debate_templates WHERE id = $1 AND org_id = $2 AND workspace_id = $3",
		     DB_ARGS(DB_S(req->params[0]), DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id)), 1);
	template_changed(req, b, req->params[0], 200, "the workspace has no such template");
}

/* ---- using ---- */

/*
 * Text with {word} replaced by inputs[word]; *missing: a word for which nothing was given. A word may stand in it
 * often: it ends where it is longer than anything that is taken, and is refused there.
 */
static struct str template_fill(struct arena *a, struct str text, const json_t *inputs, struct str *missing)
{
	struct buf out = BUF_INIT;
	struct str filled;
	size_t i = 0, k;

	while (i < text.n && out.n <= TEMPLATE_FILLED_MAX) {
		for (k = i + 1; text.p[i] == '{' && k < text.n && text.p[k] != '}' && text.p[k] != '{'; k++)
			;
		if (text.p[i] == '{' && k < text.n && text.p[k] == '}' && k > i + 1) {
			struct str word = str_sub(text, i + 1, k);
			const json_t *v = json_object_getn(inputs, word.p, word.n);

			if (json_is_string(v))
				buf_add(&out, str_of(json_string_value(v)));
			else if (v != NULL)
				buf_add(&out, json_text(a, v));
			else
				*missing = word;
			i = k + 1;
		} else {
			buf_addc(&out, text.p[i++]);
		}
	}
	filled = arena_str(a, buf_str(&out));
	buf_free(&out);
	return filled;
}

struct template_use {
	const struct http_request *req;
	const struct template *t;
};

static void template_used(struct db_batch *b, struct str id, void *arg)
{
	const struct template_use *u = arg;

	(void)id;
	if (!u->t->builtin)
		db_batch_add(b, "UPDATE debate_templates SET uses = uses + 1 WHERE id = $1 AND workspace_id = $2",
			     DB_ARGS(DB_S(u->t->id), DB_S(u->req->ctx.workspace_id)), DB_ANY);
}

static void template_told(struct http_request *req, json_t *o, struct str id, void *arg)
{
	const struct template_use *u = arg;

	(void)req;
	(void)id;
	json_put_str(o, "template_id", u->t->id);
}

CO_FN static void template_use(struct http_request *req)
{
	static const char *const texts[] = {"task", "context"};
	const json_t *given = body_object(req), *v;
	struct str missing = STR_NONE;
	struct error err = ERROR_INIT;
	struct template t;
	struct template_use use = {req, &t};
	json_t *body;
	const char *key;
	size_t i;

	if (given == NULL || !template_get(req, &t))
		return;
	body = json_parse(req->arena, t.body, &err);
	if (body == NULL) {
		http_reply_error(req, &err);
		return;
	}
	body = json_own(req->arena, json_copy(body));
	json_object_foreach((json_t *)(uintptr_t)given, key, v) if (strcmp(key, "inputs") != 0)
	    json_object_set(body, key, (json_t *)(uintptr_t)v);
	for (i = 0; i < countof(texts); i++)
		if (json_is_string(json_object_get(body, texts[i])))
			json_put_str(body, texts[i],
				     template_fill(req->arena, json_get_str(body, texts[i], STR("")),
						   json_get_obj(given, "inputs"), &missing));
	if (missing.p != NULL) {
		error_field(&err, ERR_MISSING_FIELD, arena_printf(req->arena, "inputs.%.*s", STR_ARG(missing)).p,
			    "the template asks for %.*s", STR_ARG(missing));
		http_reply_error(req, &err);
		return;
	}
	request_create(req, body,
		       &(struct request_origin){.more = template_used, .answer = template_told, .arg = &use});
}

/* ---- routes ---- */

static const struct route template_rows[] = {
    ROUTE_IO(GET, "/api/debates/templates", template_list, "debates:read", READ,
	     "Templates of the workspace and of the product", NULL, "TemplateList"),
    ROUTE_IO(POST, "/api/debates/templates", template_make, "debates:create", WRITE, "Keep a body under a name",
	     "Template", "TemplateChanged"),
    ROUTE_IO(GET, "/api/debates/templates/{id}", template_show, "debates:read", READ, "One template", NULL, "Template"),
    ROUTE_IO(PUT, "/api/debates/templates/{id}", template_change, "debates:create", WRITE, "Replace a template",
	     "Template", "TemplateChanged"),
    ROUTE_IO(DELETE, "/api/debates/templates/{id}", template_delete, "debates:delete", WRITE, "Delete a template", NULL,
	     "TemplateChanged"),
    ROUTE_IO(POST, "/api/debates/templates/{id}/use", template_use, "debates:create", CREATE,
	     "Start a debate from a template", "TemplateUse", "DebateCreated"),
};
const struct route_table template_routes = {template_rows, countof(template_rows)};
