/* SPDX-License-Identifier: MIT */
/*
 * Relations between nodes in the store. Called by the endpoints and by whoever writes knowledge. Both ends are nodes of
 * one workspace; that they exist is asked by the callers.
 */
#include "common/crypto.h"
#include "common/json.h"
#include "worker/knowledge/knowledge.h"
#include "worker/worker.h"

/* rest-wide 5.3; the last three are those of facts (5.10). */
const char *const knowledge_relations[] = {"supports", "contradicts", "derived_from", "related_to",  "supersedes",
					   "inspires", "refines",     "challenges",   "exemplifies", "implies",
					   NULL};

/* The same relation of the same nodes is one row. */
static void link_id(char out[KNOWLEDGE_ID_LEN + 1], struct str from, struct str to, struct str kind)
{
	struct buf key = BUF_INIT;
	char hex[SHA256_HEX];

	buf_printf(&key, "%.*s>%.*s:%.*s", STR_ARG(from), STR_ARG(to), STR_ARG(kind));
	crypto_sha256_hex(buf_str(&key), hex);
	buf_free(&key);
	(void)snprintf(out, KNOWLEDGE_ID_LEN + 1, "kr_%.16s", hex);
}

void knowledge_link(struct db_batch *b, const struct context *ctx, struct str from, struct str to, struct str kind,
		    int64_t strength_ppm, struct str metadata, int64_t now_ms, char id[KNOWLEDGE_ID_LEN + 1])
{
	link_id(id, from, to, kind);
	db_batch_add(
	    b,
	    "INSERT INTO knowledge_links (id, org_id, workspace_id, from_id, to_id, kind, strength_ppm, metadata,"
	    " created_by, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id)"
	    " DO UPDATE SET strength_ppm = CASE WHEN excluded.strength_ppm > knowledge_links.strength_ppm"
	    " THEN excluded.strength_ppm ELSE knowledge_links.strength_ppm END"
	    " WHERE knowledge_links.workspace_id = $3",
	    DB_ARGS(DB_Z(id), DB_S(ctx->org_id), DB_S(ctx->workspace_id), DB_S(from), DB_S(to), DB_S(kind),
		    DB_I(strength_ppm), metadata.n > 0 ? DB_S(metadata) : DB_Z("{}"), DB_S(ctx->principal),
		    DB_I(now_ms)),
	    DB_ANY);
}

/* The links of at most KNOWLEDGE_IDS_MAX nodes. */
CO_FN static bool links_of_some(struct worker *w, struct arena *a, const struct context *ctx,
				const struct knowledge_node *nodes, size_t n, json_t *const *objects, struct error *err)
{
	struct db_val args[1 + KNOWLEDGE_IDS_MAX];
	struct str ids[KNOWLEDGE_IDS_MAX];
	struct db_rows r;
	size_t i, k;

	for (i = 0; i < n; i++)
		ids[i] = nodes[i].id;
	knowledge_id_args(args, ctx, ids, n);
	if (!db_query(w->db, a,
		      "SELECT from_id, to_id, kind FROM knowledge_links WHERE workspace_id = $1 AND"
		      " kind IN ('supports', 'contradicts', 'derived_from') AND from_id IN (" KNOWLEDGE_IDS_SQL ")"
		      " ORDER BY from_id, to_id LIMIT 2000",
		      args, countof(args), &r, err))
		return false;
	for (i = 0; i < r.count; i++)
		for (k = 0; k < n; k++)
			if (str_eq(db_str(&r, i, 0), nodes[k].id))
				json_array_append_new(json_object_get(objects[k], arena_str(a, db_str(&r, i, 2)).p),
						      json_str(db_str(&r, i, 1)));
	return true;
}

CO_FN bool knowledge_linked(struct worker *w, struct arena *a, const struct context *ctx,
			    const struct knowledge_node *nodes, size_t n, json_t *const *objects, struct error *err)
{
	size_t done;

	for (done = 0; done < n; done += KNOWLEDGE_IDS_MAX)
		if (!links_of_some(w, a, ctx, nodes + done, n - done < KNOWLEDGE_IDS_MAX ? n - done : KNOWLEDGE_IDS_MAX,
				   objects + done, err))
			return false;
	return true;
}
