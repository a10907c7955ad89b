/* SPDX-License-Identifier: MIT */
/*
 * All knowledge of a workspace as one document, and back (seed 004 7.1; rest-wide 5.1). Called through its routes. An
 * import checks everything before it writes anything, writes all or nothing, and may be repeated: what is there already
 * is passed over. Ids follow from workspace and content, so that in another workspace they are others, relations
 * included.
 */
#include "common/clock.h"
#include "common/json.h"
#include "worker/audit/audit.h"
#include "worker/knowledge/knowledge.h"
#include "worker/search/fulltext.h"
#include "worker/worker.h"

#define TRANSFER_VERSION "1.0"
#define TRANSFER_NODES_MAX 20000
#define TRANSFER_PAGE 1000
#define TRANSFER_BODY_MAX ((size_t)64 << 20)
#define TRANSFER_MEMBERS_MAX 1000000
#define TRANSFER_ERRORS_MAX 50

static struct worker *transfer_worker(const struct http_request *req)
{
	return req->user;
}

/* ---- export ---- */

static json_t *export_node(struct arena *a, const struct knowledge_node *n, struct str adapter_key)
{
	json_t *o = knowledge_json(a, n);

	/* What follows from the rest. */
	json_object_del(o, "supports");
	json_object_del(o, "contradicts");
	json_object_del(o, "derived_from");
	json_object_del(o, "consolidation_score");
	json_object_del(o, "workspace_id");
	json_put_str(o, "created_by", n->created_by);
	if (adapter_key.n > 0)
		json_put_str(o, "adapter_key", adapter_key);
	if (str_eqz(n->type, "fact"))
		json_put_str(o, "statement", n->content);
	return o;
}

/* Adds a page of nodes behind *after; false: answered. */
CO_FN static bool export_nodes(struct http_request *req, json_t *nodes, json_t *facts)
{
	struct error err = ERROR_INIT;
	struct str after = STR("");
	size_t n = TRANSFER_PAGE, i, all = 0;

	while (n == TRANSFER_PAGE) {
		struct knowledge_node *page;
		struct db_rows r;

		if (!db_query(
			transfer_worker(req)->db, req->arena,
			"SELECT " KNOWLEDGE_COLUMNS ", n.adapter_key FROM knowledge_nodes n WHERE"
			" n.workspace_id = $1 AND n.archived_at = 0 AND n.id > $2 AND (n.visibility <> 'private' OR"
			" n.created_by = $3) ORDER BY n.id LIMIT $4",
			DB_ARGS(DB_S(req->ctx.workspace_id), DB_S(after), DB_S(req->ctx.principal),
				DB_I(TRANSFER_PAGE)),
			&r, &err)) {
			http_reply_error(req, &err);
			return false;
		}
		knowledge_rows(req->arena, &r, &page, &n);
		for (i = 0; i < n; i++)
			json_array_append_new(str_eqz(page[i].type, "fact") ? facts : nodes,
					      export_node(req->arena, &page[i], db_str(&r, i, r.columns - 1)));
		if (n > 0)
			after = page[n - 1].id;
		all += n;
		if (all > TRANSFER_NODES_MAX) {
			error_set(&err, ERR_TOO_LARGE,
				  "the workspace has more than %d nodes: make a backup of the server instead",
				  TRANSFER_NODES_MAX);
			http_reply_error(req, &err);
			return false;
		}
	}
	return true;
}

CO_FN static bool export_links(struct http_request *req, json_t *links)
{
	struct error err = ERROR_INIT;
	struct str after = STR("");
	char iso[CLOCK_ISO_MAX];
	struct db_rows r;
	size_t i;

	do {
		if (!db_query(
			transfer_worker(req)->db, req->arena,
			"SELECT id, from_id, to_id, kind, strength_ppm, metadata, created_at FROM knowledge_links WHERE"
			" workspace_id = $1 AND id > $2 AND from_id IN (SELECT n.id FROM knowledge_nodes n WHERE"
			" n.workspace_id = $1 AND n.archived_at = 0 AND (n.visibility <> 'private' OR n.created_by = "
			"$4))"
			" AND to_id IN (SELECT n.id FROM knowledge_nodes n WHERE n.workspace_id = $1 AND"
			" n.archived_at = 0 AND (n.visibility <> 'private' OR n.created_by = $4)) ORDER BY id LIMIT $3",
			DB_ARGS(DB_S(req->ctx.workspace_id), DB_S(after), DB_I(TRANSFER_PAGE),
				DB_S(req->ctx.principal)),
			&r, &err)) {
			http_reply_error(req, &err);
			return false;
		}
		for (i = 0; i < r.count; i++) {
			struct error ignored = ERROR_INIT;
			json_t *o = json_object(), *metadata = json_parse(req->arena, db_str(&r, i, 5), &ignored);

			json_put_str(o, "id", db_str(&r, i, 0));
			json_put_str(o, "from_node_id", db_str(&r, i, 1));
			json_put_str(o, "to_node_id", db_str(&r, i, 2));
			json_put_str(o, "relationship_type", db_str(&r, i, 3));
			json_object_set_new(o, "strength", json_real((double)db_int(&r, i, 4) / KNOWLEDGE_ONE));
			json_object_set_new(o, "metadata", metadata != NULL ? json_incref(metadata) : json_object());
			json_put_str(o, "created_at", str_of(clock_iso(iso, db_int(&r, i, 6))));
			json_array_append_new(links, o);
			after = db_str(&r, i, 0);
		}
	} while (r.count == TRANSFER_PAGE);
	return true;
}

CO_FN static void transfer_export(struct http_request *req)
{
	json_t *nodes = json_own(req->arena, json_array()), *facts = json_own(req->arena, json_array());
	json_t *links = json_own(req->arena, json_array()), *o;
	int64_t start = clock_mono_us();
	const json_t *body = NULL;
	char iso[CLOCK_ISO_MAX];
	bool ok;

	if (req->method == HTTP_POST && (body = body_object(req)) == NULL)
		return;
	if (!knowledge_here(req, body))
		return;
	ok = export_nodes(req, nodes, facts) && export_links(req, links);
	knowledge_counted("export", ok, start);
	if (!ok)
		return;
	o = json_pack("{s:s, s:s, s:O, s:O, s:O, s:{s:I, s:I, s:I}}", "version", TRANSFER_VERSION, "exported_at",
		      clock_iso(iso, clock_wall_ms()), "nodes", nodes, "relationships", links, "facts", facts, "counts",
		      "nodes", (json_int_t)json_array_size(nodes), "relationships", (json_int_t)json_array_size(links),
		      "facts", (json_int_t)json_array_size(facts));
	json_put_str(o, "workspace_id", req->ctx.workspace_id);
	http_reply_field(req, "Content-Disposition", "attachment; filename=\"knowledge_backup_%.10s.json\"", iso);
	http_reply_json(req, 200, o);
}

/* ---- import: checking ---- */

struct import {
	struct http_request *req;
	json_t *errors; /* of the arena */
	json_t *ids;    /* {id in the document: id here}, of the arena */
	struct str *wanted;
	size_t wanted_count;
	int64_t nodes, facts, links, skipped;
};

static void import_wrong(struct import *im, const char *list, size_t i, const char *field, const char *must)
{
	if (json_array_size(im->errors) < TRANSFER_ERRORS_MAX)
		json_array_append_new(im->errors,
				      json_pack("{s:o, s:s, s:s}", "field", json_sprintf("%s[%zu].%s", list, i, field),
						"code", "INVALID_VALUE", "message", must));
}

static struct str import_content(const json_t *node)
{
	return json_get_str(node, "content", json_get_str(node, "statement", STR("")));
}

static bool import_number(const json_t *v)
{
	return v == NULL || (json_is_number(v) && json_number_value(v) >= 0.0 && json_number_value(v) <= 1.0);
}

static const struct {
	const char *field;
	const char *const *words;
} import_words[] = {{"node_type", knowledge_types},
		    {"tier", knowledge_tiers},
		    {"visibility", knowledge_visibilities},
		    {"validation_status", knowledge_validations}};

static const char *const import_shares[] = {"confidence", "surprise_score", "staleness_score"};
/* What is stored as a document of its own. */
static const struct {
	const char *field;
	json_type type;
	const char *must;
} import_parts[] = {{"provenance", JSON_OBJECT, "must be an object"},
		    {"metadata", JSON_OBJECT, "must be an object"},
		    {"topics", JSON_ARRAY, "must be a list"}};

static void import_check_fields(struct import *im, const char *list, size_t i, const json_t *node)
{
	int64_t updates = json_get_int(node, "update_count", 0);
	size_t k;

	for (k = 0; k < countof(import_shares); k++)
		if (!import_number(json_object_get(node, import_shares[k])))
			import_wrong(im, list, i, import_shares[k], "must be a number from 0 to 1");
	for (k = 0; k < countof(import_parts); k++) {
		const json_t *v = json_object_get(node, import_parts[k].field);

		if (v != NULL && !json_is_null(v) && json_typeof(v) != import_parts[k].type)
			import_wrong(im, list, i, import_parts[k].field, import_parts[k].must);
	}
	/* It is counted on from there, in a column of 64 bits. */
	if (updates < 0 || updates > INT32_MAX)
		import_wrong(im, list, i, "update_count", "must be a whole number from 0 to 2147483647");
}

static void import_check_node(struct import *im, const char *list, size_t i, const json_t *node)
{
	struct str content = import_content(node);
	char id[KNOWLEDGE_ID_LEN + 1];
	const char *known;
	size_t k;

	if (!json_is_object(node)) {
		import_wrong(im, list, i, "", "must be an object");
		return;
	}
	if (str_trim(content).n == 0 || content.n > KNOWLEDGE_CONTENT_MAX)
		import_wrong(im, list, i, "content", "must have 1 to 32768 bytes");
	for (k = 0; k < countof(import_words); k++) {
		const json_t *v = json_object_get(node, import_words[k].field);

		if (v != NULL &&
		    !(json_is_string(v) && knowledge_word(import_words[k].words, str_of(json_string_value(v)))))
			import_wrong(im, list, i, import_words[k].field, "is not one of the words that are allowed");
	}
	import_check_fields(im, list, i, node);
	known = json_string_value(json_object_get(node, "id"));
	knowledge_id(id, im->req->ctx.workspace_id, json_get_str(node, "visibility", STR("")), im->req->ctx.principal,
		     db_clean(im->req->arena, content));
	if (known != NULL)
		json_object_set_new(im->ids, known, json_string(id));
	im->wanted[im->wanted_count++] = arena_str(im->req->arena, str_of(id));
}

static struct str import_end(const json_t *link, const char *field, const char *other)
{
	return json_get_str(link, field, json_get_str(link, other, STR("")));
}

static const char *import_id(const struct import *im, struct str id)
{
	return json_string_value(json_object_get(im->ids, arena_str(im->req->arena, id).p));
}

static void import_check_link(struct import *im, size_t i, const json_t *link)
{
	struct str kind = json_get_str(link, "relationship_type", json_get_str(link, "relation_type", STR("")));

	if (!json_is_object(link)) {
		import_wrong(im, "relationships", i, "", "must be an object");
		return;
	}
	if (!knowledge_word(knowledge_relations, kind))
		import_wrong(im, "relationships", i, "relationship_type", "is not one of the words that are allowed");
	if (import_id(im, import_end(link, "from_node_id", "source_id")) == NULL)
		import_wrong(im, "relationships", i, "from_node_id", "is no node of the document");
	if (import_id(im, import_end(link, "to_node_id", "target_id")) == NULL)
		import_wrong(im, "relationships", i, "to_node_id", "is no node of the document");
	if (!import_number(json_object_get(link, "strength")))
		import_wrong(im, "relationships", i, "strength", "must be a number from 0 to 1");
}

/* The lists; a missing one is empty. False: answered with all that is wrong. */
static bool import_check(struct import *im, const json_t *doc)
{
	const json_t *nodes = json_object_get(doc, "nodes"), *facts = json_object_get(doc, "facts");
	const json_t *links = json_object_get(doc, "relationships"), *it;
	struct str version = json_get_str(doc, "version", STR(""));
	size_t i, all = json_array_size(nodes) + json_array_size(facts);
	json_t *o;

	if (!str_eqz(version, TRANSFER_VERSION))
		json_array_append_new(im->errors,
				      json_pack("{s:s, s:s, s:s}", "field", "version", "code", "INVALID_VALUE",
						"message", "must be \"" TRANSFER_VERSION "\""));
	if (!json_is_array(nodes) || (facts != NULL && !json_is_array(facts)) ||
	    (links != NULL && !json_is_array(links)) || all > TRANSFER_NODES_MAX)
		json_array_append_new(
		    im->errors, json_pack("{s:s, s:s, s:s}", "field", "nodes", "code", "INVALID_VALUE", "message",
					  "nodes, facts and relationships must be lists, of at most 20000 nodes"));
	im->wanted = arena_alloc(im->req->arena, (all + 1) * sizeof(*im->wanted));
	for (i = 0; json_array_size(im->errors) == 0 && i < json_array_size(nodes); i++)
		import_check_node(im, "nodes", i, json_array_get(nodes, i));
	for (i = 0; json_array_size(im->errors) == 0 && i < json_array_size(facts); i++)
		import_check_node(im, "facts", i, json_array_get(facts, i));
	json_array_foreach(links, i, it) if (json_array_size(im->errors) < TRANSFER_ERRORS_MAX)
	    import_check_link(im, i, it);
	if (json_array_size(im->errors) == 0)
		return true;
	o = json_pack("{s:s, s:s, s:b, s:O}", "error", "this is no export of knowledge: nothing was imported", "code",
		      "INVALID_VALUE", "success", 0, "errors", im->errors);
	json_put_str(o, "trace_id", im->req->request_id);
	http_reply_json(im->req, 400, o);
	return false;
}

/* ---- import: writing ---- */

static struct db_val import_text(const json_t *node, const char *field, const char *dflt)
{
	struct str s = json_get_str(node, field, STR(""));

	return s.n > 0 ? DB_S(s) : DB_Z(dflt);
}

static struct db_val import_document(struct arena *a, const json_t *node, const char *field, const char *dflt)
{
	const json_t *v = json_object_get(node, field);

	return v != NULL && !json_is_null(v) ? DB_S(json_text(a, v)) : DB_Z(dflt);
}

static int64_t import_share(const json_t *node, const char *field, double dflt)
{
	return (int64_t)(json_get_num(node, field, dflt) * KNOWLEDGE_ONE + 0.5);
}

static int64_t import_time(const json_t *node, const char *field, int64_t dflt)
{
	int64_t ms;

	return clock_parse(json_get_str(node, field, STR("")), &ms) ? ms : dflt;
}

static void import_node(struct import *im, struct db_batch *b, const json_t *node, struct str id, int64_t now_ms)
{
	const struct context *ctx = &im->req->ctx;
	struct arena *a = im->req->arena;
	struct str content = db_clean(a, import_content(node));
	const json_t *topics = json_get_arr(node, "topics");
	int64_t created = import_time(node, "created_at", now_ms);
	const char *replaced = import_id(im, json_get_str(node, "superseded_by", STR("")));

	db_batch_add(
	    b,
	    "INSERT INTO knowledge_nodes (id, org_id, workspace_id, node_type, content, confidence_ppm, tier, "
	    "provenance,"
	    " topics, topic, metadata, visibility, discoverable, surprise_ppm, update_count, validation, proof_id,"
	    " superseded_by, adapter, adapter_key, staleness_ppm, created_by, created_at, updated_at, validated_at,"
	    " decayed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,"
	    " $20, $21, $22, $23, $24, $24, $25) ON CONFLICT (id) DO UPDATE SET archived_at = 0, archived_why = ''"
	    " WHERE knowledge_nodes.workspace_id = $3",
	    DB_ARGS(DB_S(id), DB_S(ctx->org_id), DB_S(ctx->workspace_id), import_text(node, "node_type", "fact"),
		    DB_S(content), DB_I(import_share(node, "confidence", 0.5)), import_text(node, "tier", "slow"),
		    import_document(a, node, "provenance", "{\"source_type\":\"migration\"}"),
		    import_document(a, node, "topics", "[]"), DB_Z(json_string_value(json_array_get(topics, 0))),
		    import_document(a, node, "metadata", "{}"), import_text(node, "visibility", "workspace"),
		    DB_I(json_get_bool(node, "is_discoverable", true)), DB_I(import_share(node, "surprise_score", 0.0)),
		    DB_I(json_get_int(node, "update_count", 0)), import_text(node, "validation_status", "unverified"),
		    import_text(node, "consensus_proof_id", ""), DB_Z(replaced != NULL ? replaced : ""),
		    import_text(node, "adapter", ""), import_text(node, "adapter_key", ""),
		    DB_I(import_share(node, "staleness_score", 0.0)), DB_S(ctx->principal), DB_I(created),
		    DB_I(import_time(node, "updated_at", created)), DB_I(now_ms)),
	    DB_ANY);
	fulltext_put(b, ctx, KNOWLEDGE_KIND, id, content);
}

static bool import_has(const struct knowledge_node *known, size_t n, struct str id)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (str_eq(known[i].id, id))
			return true;
	return false;
}

/* Each node once, those that are there left out. */
CO_FN static bool import_add_nodes(struct import *im, struct db_batch *b, const json_t *doc, struct error *err)
{
	const json_t *nodes = json_object_get(doc, "nodes"), *facts = json_object_get(doc, "facts");
	json_t *seen = json_own(im->req->arena, json_object());
	int64_t now = clock_wall_ms();
	size_t i, done, n;

	for (done = 0; done < im->wanted_count; done += KNOWLEDGE_IDS_MAX) {
		size_t part = im->wanted_count - done < KNOWLEDGE_IDS_MAX ? im->wanted_count - done : KNOWLEDGE_IDS_MAX;
		struct knowledge_node *known;

		if (!knowledge_read(transfer_worker(im->req), im->req->arena, &im->req->ctx, im->wanted + done, part,
				    &known, &n, err))
			return false;
		for (i = done; i < done + part; i++) {
			size_t count = json_array_size(nodes);
			const json_t *node = i < count ? json_array_get(nodes, i) : json_array_get(facts, i - count);

			if (json_object_get(seen, im->wanted[i].p) != NULL || import_has(known, n, im->wanted[i])) {
				im->skipped++;
				continue;
			}
			json_object_set_new(seen, im->wanted[i].p, json_true());
			import_node(im, b, node, im->wanted[i], now);
			*(i < count ? &im->nodes : &im->facts) += 1;
		}
	}
	return true;
}

static void import_add_links(struct import *im, struct db_batch *b, const json_t *doc)
{
	const json_t *links = json_object_get(doc, "relationships"), *link;
	char id[KNOWLEDGE_ID_LEN + 1];
	size_t i;

	json_array_foreach(links, i, link)
	{
		const char *from = import_id(im, import_end(link, "from_node_id", "source_id"));
		const char *to = import_id(im, import_end(link, "to_node_id", "target_id"));
		struct str kind = json_get_str(link, "relationship_type", json_get_str(link, "relation_type", STR("")));
		const json_t *metadata = json_get_obj(link, "metadata");

		knowledge_link(b, &im->req->ctx, str_of(from), str_of(to), kind, import_share(link, "strength", 1.0),
			       metadata != NULL ? json_text(im->req->arena, metadata) : STR(""),
			       import_time(link, "created_at", clock_wall_ms()), id);
		im->links++;
	}
}

/* False: answered. */
CO_FN static bool import_write(struct import *im, const json_t *doc, struct error *err)
{
	struct worker *w = transfer_worker(im->req);
	struct db_batch *b = db_batch_new(w->db);
	json_t *details;

	if (!import_add_nodes(im, b, doc, err)) {
		db_batch_free(b);
		http_reply_error(im->req, err);
		return false;
	}
	if (!knowledge_fits(im->req, NULL, im->nodes + im->facts)) {
		db_batch_free(b);
		return false;
	}
	import_add_links(im, b, doc);
	details = json_own(im->req->arena, json_pack("{s:I, s:I, s:I}", "nodes", (json_int_t)im->nodes, "relationships",
						     (json_int_t)im->links, "facts", (json_int_t)im->facts));
	audit_add(b, im->req,
		  &(struct audit_event){.category = "data",
					.action = "knowledge.import",
					.resource_type = STR("workspace"),
					.resource_id = im->req->ctx.workspace_id,
					.details = details});
	if (db_commit(w->db, b, err))
		return true;
	http_reply_error(im->req, err);
	return false;
}

CO_FN static void transfer_import(struct http_request *req)
{
	struct import im = {
	    .req = req, .errors = json_own(req->arena, json_array()), .ids = json_own(req->arena, json_object())};
	int64_t start = clock_mono_us();
	struct error err = ERROR_INIT;
	const json_t *doc = json_parse_large(req->arena, req->body, TRANSFER_MEMBERS_MAX, &err);
	bool ok;

	if (doc != NULL && !json_is_object(doc))
		error_set(&err, ERR_INVALID_JSON, "the body must be a JSON object");
	if (err.code != ERR_OK) {
		http_reply_error(req, &err);
		return;
	}
	if (!import_check(&im, doc))
		return;
	ok = import_write(&im, doc, &err);
	knowledge_counted("import", ok, start);
	if (!ok)
		return;
	http_reply_json(req, 200,
			json_pack("{s:b, s:{s:I, s:I, s:I}, s:I, s:[]}", "success", 1, "imported", "nodes",
				  (json_int_t)im.nodes, "relationships", (json_int_t)im.links, "facts",
				  (json_int_t)im.facts, "skipped", (json_int_t)im.skipped, "errors"));
}

static const struct route transfer_rows[] = {
    KNOWLEDGE_ROW(POST, "export", transfer_export, "admin", EXPORT, "All knowledge of the workspace as one document"),
    KNOWLEDGE_ROW(GET, "export", transfer_export, "read", EXPORT, "All knowledge of the workspace as one document"),
    ROUTE(POST, "/api/knowledge/import", transfer_import, "knowledge.admin", EXPORT,
	  "Bring back what was exported; all or nothing, and repeatable", .body_limit = TRANSFER_BODY_MAX),
};
const struct route_table knowledge_transfer_routes = {transfer_rows, countof(transfer_rows)};
