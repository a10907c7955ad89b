/* SPDX-License-Identifier: MIT */
/*
 * Relations of nodes over the API: writing, listing, walking the graph, exports of it (rest-wide 5.2). Called through
 * its routes. A walk goes level by level, at most LINKS_DEPTH_MAX levels and LINKS_NODES_MAX nodes, and stays within
 * the workspace.
 */
#include "common/clock.h"
#include "common/html.h"
#include "common/json.h"
#include "worker/knowledge/knowledge.h"
#include "worker/worker.h"

#define LINKS_DEPTH_MAX 10
#define LINKS_NODES_MAX 500

static struct worker *links_worker(const struct http_request *req)
{
	return req->user;
}

/* ---- one relation as an object ---- */

#define LINK_COLUMNS "l.id, l.from_id, l.to_id, l.kind, l.strength_ppm, l.metadata, l.created_by, l.created_at"

static json_t *link_json(struct arena *a, const struct db_rows *r, size_t i)
{
	struct error ignored = ERROR_INIT;
	json_t *o = json_object(), *metadata = json_parse(a, db_str(r, i, 5), &ignored);
	char iso[CLOCK_ISO_MAX];

	json_put_str(o, "id", db_str(r, i, 0));
	json_put_str(o, "from_node_id", db_str(r, i, 1));
	json_put_str(o, "to_node_id", db_str(r, i, 2));
	json_put_str(o, "source_id", db_str(r, i, 1));
	json_put_str(o, "target_id", db_str(r, i, 2));
	json_put_str(o, "relationship_type", db_str(r, i, 3));
	json_object_set_new(o, "strength", json_real((double)db_int(r, i, 4) / KNOWLEDGE_ONE));
	json_object_set_new(o, "metadata", metadata != NULL ? json_incref(metadata) : json_object());
	json_put_str(o, "created_by", db_str(r, i, 6));
	json_put_str(o, "created_at", str_of(clock_iso(iso, db_int(r, i, 7))));
	return o;
}

/* ---- writing ---- */

CO_FN static void links_create(struct http_request *req)
{
	int64_t start = clock_mono_us(), strength;
	struct worker *w = links_worker(req);
	const json_t *body = body_object(req);
	struct str ids[2], kind, metadata;
	struct error err = ERROR_INIT;
	struct knowledge_node *nodes;
	char id[KNOWLEDGE_ID_LEN + 1];
	struct body_problems p;
	struct db_batch *b;
	struct db_rows r;
	size_t n;
	bool ok;

	if (body == NULL || !knowledge_here(req, body))
		return;
	body_problems_begin(req, &p);
	ids[0] = knowledge_either(&p, body, "from_node_id", "source_id", 64);
	ids[1] = knowledge_either(&p, body, "to_node_id", "target_id", 64);
	(void)knowledge_either(&p, body, "relationship_type", "relation_type", 64);
	kind = knowledge_choice(
	    &p, body, json_object_get(body, "relationship_type") != NULL ? "relationship_type" : "relation_type",
	    knowledge_relations, "related_to");
	strength = knowledge_share(&p, body, "strength", KNOWLEDGE_ONE);
	metadata = knowledge_object(&p, req->arena, body, "metadata");
	if (body_refused(req, &p) || !knowledge_mine_of(req, ids, 2, &nodes, &n))
		return;
	ok = !str_eq(ids[0], ids[1]) ||
	     error_field(&err, ERR_INVALID_VALUE, "to_node_id", "a node has no relation to itself");
	if (ok && n < 2)
		ok = error_field(&err, ERR_NOT_FOUND, "from_node_id", "Node not found");
	if (ok) {
		b = db_batch_new(w->db);
		knowledge_link(b, &req->ctx, ids[0], ids[1], kind, strength, metadata, clock_wall_ms(), id);
		ok = db_commit(w->db, b, &err) &&
		     db_query(w->db, req->arena,
			      "SELECT " LINK_COLUMNS " FROM knowledge_links l WHERE l.id = $1 AND l.workspace_id = $2",
			      DB_ARGS(DB_Z(id), DB_S(req->ctx.workspace_id)), &r, &err);
	}
	knowledge_counted("link", ok, start);
	if (ok && r.count == 1)
		http_reply_json(req, 201, link_json(req->arena, &r, 0));
	else
		http_reply_error(req, &err);
}

/* ---- listing ---- */

CO_FN static void links_list(struct http_request *req)
{
	struct str kind = http_query(req, "relationship_type"), direction = http_query(req, "direction");
	struct error err = ERROR_INIT;
	struct knowledge_node node;
	json_t *list;
	struct db_rows r;
	size_t i;

	if (!knowledge_mine(req, req->params[0], &node))
		return;
	if (!db_query(links_worker(req)->db, req->arena,
		      "SELECT " LINK_COLUMNS " FROM knowledge_links l WHERE l.workspace_id = $1 AND l.from_id = $2 AND"
		      " $4 <> 'incoming' AND ($3 = '' OR l.kind = $3) UNION ALL"
		      " SELECT " LINK_COLUMNS " FROM knowledge_links l WHERE l.workspace_id = $1 AND l.to_id = $2 AND"
		      " $4 <> 'outgoing' AND ($3 = '' OR l.kind = $3) ORDER BY 8, 1 LIMIT 500",
		      DB_ARGS(DB_S(req->ctx.workspace_id), DB_S(node.id), DB_S(kind), DB_S(direction)), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	list = json_array();
	for (i = 0; i < r.count; i++)
		json_array_append_new(list, link_json(req->arena, &r, i));
	http_reply_json(req, 200,
			json_pack("{s:s%, s:o, s:I}", "node_id", node.id.p, node.id.n, "relationships", list, "count",
				  (json_int_t)r.count));
}

/* ---- walking ---- */

struct links_walk {
	struct str ids[LINKS_NODES_MAX];
	int64_t level[LINKS_NODES_MAX];
	size_t n, max;
	json_t *edges; /* of link_json, in the arena */
	struct str kind;
	bool ancestors; /* only along derived_from and supersedes, towards where it comes from */
};

static bool walk_add(struct links_walk *k, struct str id, int64_t level)
{
	size_t i;

	for (i = 0; i < k->n; i++)
		if (str_eq(k->ids[i], id))
			return false;
	if (k->n == k->max)
		return false;
	k->ids[k->n] = id;
	k->level[k->n++] = level;
	return true;
}

/* Follows the links of at most KNOWLEDGE_IDS_MAX nodes of one level. */
CO_FN static bool walk_step(struct http_request *req, struct links_walk *k, size_t from, size_t n, struct error *err)
{
	struct db_val args[1 + KNOWLEDGE_IDS_MAX];
	struct db_rows r;
	size_t i;

	knowledge_id_args(args, &req->ctx, k->ids + from, n);
	if (!db_query(links_worker(req)->db, req->arena,
		      "SELECT " LINK_COLUMNS " FROM knowledge_links l WHERE l.workspace_id = $1 AND l.from_id IN"
		      " (" KNOWLEDGE_IDS_SQL ") UNION SELECT " LINK_COLUMNS " FROM knowledge_links l WHERE"
		      " l.workspace_id = $1 AND l.to_id IN (" KNOWLEDGE_IDS_SQL ") ORDER BY 8, 1 LIMIT 2000",
		      args, countof(args), &r, err))
		return false;
	for (i = 0; i < r.count; i++) {
		struct str kind = db_str(&r, i, 3);
		bool line = str_eqz(kind, "derived_from") || str_eqz(kind, "supersedes");

		if ((k->kind.n > 0 && !str_eq(kind, k->kind)) || (k->ancestors && !line))
			continue;
		(void)walk_add(k, db_str(&r, i, 2), k->level[from] + 1);
		if (!k->ancestors)
			(void)walk_add(k, db_str(&r, i, 1), k->level[from] + 1);
		json_array_append_new(k->edges, link_json(req->arena, &r, i));
	}
	return true;
}

/* From k->ids[0] on. Edges may be met from both ends; they are made unique by whoever shows them. */
CO_FN static bool walk_run(struct http_request *req, struct links_walk *k, int64_t depth, struct error *err)
{
	size_t done = 0, end, part;

	k->edges = json_own(req->arena, json_array());
	while (done < k->n && k->level[done] < depth) {
		for (end = done; end < k->n && k->level[end] == k->level[done]; end++)
			;
		for (; done < end; done += part) {
			part = end - done < KNOWLEDGE_IDS_MAX ? end - done : KNOWLEDGE_IDS_MAX;
			if (!walk_step(req, k, done, part, err))
				return false;
		}
	}
	return true;
}

static bool walk_has(const struct links_walk *k, const json_t *edge, const char *end)
{
	struct str id = json_get_str(edge, end, STR(""));
	size_t i;

	for (i = 0; i < k->n; i++)
		if (str_eq(k->ids[i], id))
			return true;
	return false;
}

/* Each edge once, of those whose both ends were reached. New reference. */
static json_t *walk_edges(const struct links_walk *k)
{
	json_t *list = json_array(), *seen = json_object(), *edge;
	size_t i;

	json_array_foreach(k->edges, i, edge)
	{
		const char *id = json_string_value(json_object_get(edge, "id"));

		if (json_object_get(seen, id) == NULL && walk_has(k, edge, "from_node_id") &&
		    walk_has(k, edge, "to_node_id"))
			json_array_append(list, edge);
		json_object_set_new(seen, id, json_true());
	}
	json_decref(seen);
	return list;
}

/* The nodes reached, the first one apart if `others`; NULL: answered. New reference. */
CO_FN static json_t *walk_nodes(struct http_request *req, const struct links_walk *k, bool others)
{
	size_t skip = others ? 1 : 0, n, i;
	struct error err = ERROR_INIT;
	struct knowledge_node *nodes;
	json_t *list = json_array();

	if (!knowledge_read(links_worker(req), req->arena, &req->ctx, k->ids + skip, k->n - skip, &nodes, &n, &err)) {
		json_decref(list);
		http_reply_error(req, &err);
		return NULL;
	}
	for (i = 0; i < n; i++)
		if (!str_eqz(nodes[i].visibility, "private") || str_eq(nodes[i].created_by, req->ctx.principal))
			json_array_append_new(list, knowledge_json(req->arena, &nodes[i]));
	return list;
}

/* Walks from {id} as the query says; NULL: answered. */
CO_FN static struct links_walk *links_walked(struct http_request *req, int64_t depth, int64_t dflt_nodes,
					     bool ancestors)
{
	struct links_walk *k = arena_zalloc(req->arena, sizeof(*k));
	struct error err = ERROR_INIT;
	struct knowledge_node node;

	if (!knowledge_mine(req, req->params[0], &node))
		return NULL;
	k->max = (size_t)http_query_int(req, "max_nodes", 1, LINKS_NODES_MAX, dflt_nodes);
	k->kind = http_query(req, "relationship_type");
	k->ancestors = ancestors;
	(void)walk_add(k, node.id, 0);
	if (walk_run(req, k, depth, &err))
		return k;
	http_reply_error(req, &err);
	return NULL;
}

CO_FN static void links_graph(struct http_request *req)
{
	int64_t depth = http_query_int(req, "depth", 1, 5, 2);
	struct links_walk *k = links_walked(req, depth, 100, false);
	json_t *nodes, *o;

	if (k == NULL || (nodes = walk_nodes(req, k, false)) == NULL)
		return;
	o = json_pack("{s:s%, s:I, s:I, s:o, s:o, s:I}", "start_node_id", k->ids[0].p, k->ids[0].n, "depth",
		      (json_int_t)depth, "max_nodes", (json_int_t)k->max, "nodes", nodes, "edges", walk_edges(k),
		      "count", (json_int_t)json_array_size(nodes));
	json_object_set_new(o, "relationship_type", k->kind.n > 0 ? json_str(k->kind) : json_null());
	http_reply_json(req, 200, o);
}

CO_FN static void links_lineage(struct http_request *req)
{
	int64_t depth = http_query_int(req, "depth", 1, LINKS_DEPTH_MAX, 5);
	struct links_walk *k = links_walked(req, depth, 200, true);
	json_t *nodes, *edges;

	if (k == NULL || (nodes = walk_nodes(req, k, false)) == NULL)
		return;
	edges = walk_edges(k);
	http_reply_json(req, 200,
			json_pack("{s:s%, s:{s:o, s:o, s:I, s:I}, s:I}", "node_id", k->ids[0].p, k->ids[0].n, "lineage",
				  "nodes", nodes, "edges", edges, "total_nodes", (json_int_t)json_array_size(nodes),
				  "total_edges", (json_int_t)json_array_size(edges), "depth", (json_int_t)depth));
}

CO_FN static void links_related(struct http_request *req)
{
	int64_t limit = http_query_int(req, "limit", 1, 100, 20);
	struct links_walk *k = links_walked(req, 1, limit + 1, false);
	json_t *nodes, *o;

	if (k == NULL || (nodes = walk_nodes(req, k, true)) == NULL)
		return;
	o = json_pack("{s:s%, s:o, s:I}", "node_id", k->ids[0].p, k->ids[0].n, "related", nodes, "total",
		      (json_int_t)json_array_size(nodes));
	json_object_set_new(o, "relationship_type", k->kind.n > 0 ? json_str(k->kind) : json_null());
	http_reply_json(req, 200, o);
}

/* ---- exports for drawing ---- */

/* From start_node_id, or the newest nodes and what is between them; NULL: answered. */
CO_FN static struct links_walk *links_export(struct http_request *req)
{
	struct links_walk *k = arena_zalloc(req->arena, sizeof(*k));
	struct str start = http_query(req, "start_node_id");
	struct knowledge_filter f = {.limit = http_query_int(req, "limit", 1, LINKS_NODES_MAX, 100)};
	int64_t depth = http_query_int(req, "depth", 1, LINKS_DEPTH_MAX, 3), total;
	struct error err = ERROR_INIT;
	struct knowledge_node *nodes;
	size_t n = 0, i;
	bool ok = true;

	if (!knowledge_here(req, NULL))
		return NULL;
	k->max = (size_t)f.limit;
	if (start.n > 0)
		(void)walk_add(k, start, 0);
	else
		ok = knowledge_list(links_worker(req), req->arena, &req->ctx, &f, &nodes, &n, &total, &err);
	for (i = 0; i < n; i++)
		(void)walk_add(k, nodes[i].id, 0);
	if (ok && walk_run(req, k, start.n > 0 ? depth : 1, &err))
		return k;
	http_reply_error(req, &err);
	return NULL;
}

CO_FN static void links_d3(struct http_request *req)
{
	struct links_walk *k = links_export(req);
	json_t *nodes, *edges, *links, *edge;
	size_t i;

	if (k == NULL || (nodes = walk_nodes(req, k, false)) == NULL)
		return;
	edges = walk_edges(k);
	links = json_array();
	json_array_foreach(edges, i, edge) json_array_append_new(
	    links, json_pack("{s:O, s:O, s:O, s:O}", "source", json_object_get(edge, "from_node_id"), "target",
			     json_object_get(edge, "to_node_id"), "type", json_object_get(edge, "relationship_type"),
			     "strength", json_object_get(edge, "strength")));
	json_decref(edges);
	http_reply_json(req, 200, json_pack("{s:o, s:o}", "nodes", nodes, "links", links));
}

/* s as text of XML 1.0: what it cannot hold becomes a blank. */
static void graphml_text(struct buf *out, struct str s)
{
	size_t i, from = 0;

	for (i = 0; i <= s.n; i++) {
		bool control = i < s.n && (unsigned char)s.p[i] < 0x20 && strchr("\t\n\r", s.p[i]) == NULL;
		/* U+FFFE and U+FFFF are valid UTF-8, and no characters of XML (XML 1.0, production 2). */
		bool none =
		    i + 2 < s.n && (memcmp(s.p + i, "\xef\xbf\xbe", 3) == 0 || memcmp(s.p + i, "\xef\xbf\xbf", 3) == 0);

		if (i < s.n && !control && !none && s.p[i] != '\0')
			continue;
		html_escape(out, str_sub(s, from, i));
		if (i < s.n)
			buf_addc(out, ' ');
		i += none ? 2 : 0;
		from = i + 1;
	}
}

static void graphml_data(struct buf *out, const char *key, const json_t *value)
{
	buf_printf(out, "<data key=\"%s\">", key);
	if (json_is_string(value))
		graphml_text(out, (struct str){json_string_value(value), json_string_length(value)});
	else
		buf_printf(out, "%.6g", json_number_value(value));
	buf_addz(out, "</data>");
}

/* GraphML 1.0 (graphml.graphdrawing.org); the names of data are those of the objects. */
static void graphml_write(struct buf *out, const json_t *nodes, const json_t *edges)
{
	static const struct {
		const char *name, *of, *type;
	} keys[] = {{"node_type", "node", "string"},         {"content", "node", "string"},
		    {"confidence", "node", "double"},        {"tier", "node", "string"},
		    {"relationship_type", "edge", "string"}, {"strength", "edge", "double"}};
	const json_t *o;
	size_t i, k;

	buf_addz(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		      "<graphml xmlns=\"http://graphml.graphdrawing.org/xmlns\">\n");
	for (k = 0; k < countof(keys); k++)
		buf_printf(out, "<key id=\"%s\" for=\"%s\" attr.name=\"%s\" attr.type=\"%s\"/>\n", keys[k].name,
			   keys[k].of, keys[k].name, keys[k].type);
	buf_addz(out, "<graph id=\"knowledge\" edgedefault=\"directed\">\n");
	json_array_foreach(nodes, i, o)
	{
		buf_printf(out, "<node id=\"%s\">", json_string_value(json_object_get(o, "id")));
		for (k = 0; k < countof(keys); k++)
			if (strcmp(keys[k].of, "node") == 0)
				graphml_data(out, keys[k].name, json_object_get(o, keys[k].name));
		buf_addz(out, "</node>\n");
	}
	json_array_foreach(edges, i, o)
	{
		buf_printf(out, "<edge id=\"%s\" source=\"%s\" target=\"%s\">",
			   json_string_value(json_object_get(o, "id")),
			   json_string_value(json_object_get(o, "from_node_id")),
			   json_string_value(json_object_get(o, "to_node_id")));
		for (k = 0; k < countof(keys); k++)
			if (strcmp(keys[k].of, "edge") == 0)
				graphml_data(out, keys[k].name, json_object_get(o, keys[k].name));
		buf_addz(out, "</edge>\n");
	}
	buf_addz(out, "</graph>\n</graphml>\n");
}

/* As XML for who asks for it (Accept, ?raw, ?download), else as text in JSON, which is all that clients read. */
CO_FN static void links_graphml(struct http_request *req)
{
	struct links_walk *k = links_export(req);
	struct buf xml = BUF_INIT;
	json_t *nodes, *edges;
	struct str body;

	if (k == NULL || (nodes = walk_nodes(req, k, false)) == NULL)
		return;
	edges = walk_edges(k);
	graphml_write(&xml, nodes, edges);
	body = arena_str(req->arena, buf_str(&xml));
	buf_free(&xml);
	http_reply_field(req, "Vary", "Accept");
	if (http_query(req, "download").n > 0)
		http_reply_field(req, "Content-Disposition", "attachment; filename=\"knowledge.graphml\"");
	if (http_query(req, "download").n > 0 || http_query(req, "raw").n > 0 ||
	    str_ifind(http_field(req, "Accept"), STR("xml")) >= 0)
		http_reply(req, 200, "application/graphml+xml; charset=utf-8", body);
	else
		http_reply_json(req, 200,
				json_pack("{s:s, s:s%, s:I, s:I}", "format", "graphml", "content", body.p, body.n,
					  "nodes", (json_int_t)json_array_size(nodes), "edges",
					  (json_int_t)json_array_size(edges)));
	json_decref(nodes);
	json_decref(edges);
}

static const struct route link_rows[] = {
    KNOWLEDGE_ROW(POST, "mound/relationships", links_create, "write", WRITE, "Relate two nodes"),
    KNOWLEDGE_ROW(GET, "mound/nodes/{id}/relationships", links_list, "read", READ, "Relations of a node"),
    KNOWLEDGE_ROW(GET, "mound/graph/{id}", links_graph, "read", READ, "What a node is connected with"),
    KNOWLEDGE_ROW(GET, "mound/graph/{id}/lineage", links_lineage, "read", READ, "What a node was derived from"),
    KNOWLEDGE_ROW(GET, "mound/graph/{id}/related", links_related, "read", READ, "The neighbours of a node"),
    KNOWLEDGE_ROW(GET, "mound/export/graphml", links_graphml, "read", EXPORT, "The graph as GraphML"),
    KNOWLEDGE_ROW(GET, "mound/export/d3", links_d3, "read", EXPORT, "The graph as {nodes, links} for drawing"),
};
const struct route_table knowledge_link_routes = {link_rows, countof(link_rows)};
