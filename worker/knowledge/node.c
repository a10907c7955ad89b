/* SPDX-License-Identifier: MIT */
/*
 * Nodes of the Knowledge Mound in the store: ids, writing with deduplication, reading, the object that clients see.
 * Called by the endpoints and by whoever writes knowledge. Finds nothing by words (find.c) and decides about no rights
 * beyond visibility.
 */
#include <math.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/ids.h"
#include "common/json.h"
#include "common/tenant.h"
#include "worker/identity/identity.h"
#include "worker/knowledge/knowledge.h"
#include "worker/search/fulltext.h"
#include "worker/search/vectors.h"
#include "worker/worker.h"

const char *const knowledge_types[] = {"fact",   "claim",   "memory",  "evidence", "consensus",
				       "entity", "culture", "insight", NULL};
const char *const knowledge_tiers[] = {"fast", "medium", "slow", "glacial", NULL};
const char *const knowledge_visibilities[] = {"private", "workspace", "organization", "public", "system", NULL};
const char *const knowledge_validations[] = {"unverified",       "contested",       "majority_agreed",
					     "byzantine_agreed", "formally_proven", NULL};
const char *const knowledge_sources[] = {"document", "debate", "user", "agent", "inference", "migration", NULL};

/* ---- writing ---- */

void knowledge_id(char out[KNOWLEDGE_ID_LEN + 1], struct str workspace_id, struct str visibility, struct str writer,
		  struct str content)
{
	struct buf key = BUF_INIT;
	char hex[SHA256_HEX];

	buf_add(&key, workspace_id);
	if (str_eqz(visibility, "private"))
		buf_printf(&key, " %.*s", STR_ARG(writer));
	buf_addc(&key, '\n');
	buf_add(&key, content);
	crypto_sha256_hex(buf_str(&key), hex);
	buf_free(&key);
	(void)snprintf(out, KNOWLEDGE_ID_LEN + 1, "kn_%.16s", hex);
}

static struct str node_provenance(struct arena *a, const struct knowledge_new *n, int64_t now_ms)
{
	json_t *o;
	char iso[CLOCK_ISO_MAX];

	if (n->provenance != NULL)
		return *n->provenance;
	o = json_own(a, json_object());
	json_put_str(o, "source_type", str_of(n->source_type != NULL ? n->source_type : "user"));
	json_put_str(o, "source_id", n->source_id);
	json_put_str(o, "agent_id", n->agent_id);
	json_put_str(o, "debate_id", n->debate_id);
	json_put_str(o, "document_id", n->document_id);
	json_put_str(o, "user_id", n->user_id);
	json_object_set_new(o, "transformations", json_array());
	json_put_str(o, "created_at", str_of(clock_iso(iso, now_ms)));
	return json_text(a, o);
}

static struct db_val node_text(struct str s, const char *dflt)
{
	return s.n > 0 ? DB_S(s) : DB_Z(dflt);
}

/* The first of a list of topics decides how fast a node grows old. */
static struct str node_topic(struct arena *a, struct str topics)
{
	struct error ignored = ERROR_INIT;
	const json_t *list = topics.n > 0 ? json_parse(a, topics, &ignored) : NULL;
	const char *first = json_string_value(json_array_get(list, 0));

	return str_of(first);
}

void knowledge_add(struct db_batch *b, const struct context *ctx, const struct knowledge_new *n, int64_t now_ms,
		   char id[KNOWLEDGE_ID_LEN + 1])
{
	struct arena *a = arena_new(0);
	struct str content = db_clean(a, str_utf8_cut(n->content, KNOWLEDGE_CONTENT_MAX));

	knowledge_id(id, ctx->workspace_id, n->visibility, n->created_by, content);
	db_batch_add(
	    b,
	    "INSERT INTO knowledge_nodes (id, org_id, workspace_id, node_type, content, confidence_ppm, tier, "
	    "provenance,"
	    " topics, topic, metadata, visibility, validation, proof_id, adapter, adapter_key, created_by, created_at,"
	    " updated_at, validated_at, decayed_at)"
	    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $18, $18, $18)"
	    " ON CONFLICT (id) DO UPDATE SET update_count = knowledge_nodes.update_count + 1,"
	    " updated_at = excluded.updated_at, archived_at = 0, archived_why = '',"
	    " confidence_ppm = CASE WHEN excluded.confidence_ppm > knowledge_nodes.confidence_ppm"
	    " THEN excluded.confidence_ppm ELSE knowledge_nodes.confidence_ppm END"
	    " WHERE knowledge_nodes.workspace_id = $3",
	    DB_ARGS(DB_Z(id), DB_S(ctx->org_id), DB_S(ctx->workspace_id), node_text(n->type, "fact"), DB_S(content),
		    DB_I(n->confidence_ppm), node_text(n->tier, "slow"), DB_S(node_provenance(a, n, now_ms)),
		    node_text(n->topics, "[]"), DB_S(node_topic(a, n->topics)), node_text(n->metadata, "{}"),
		    node_text(n->visibility, "workspace"), node_text(n->validation, "unverified"), DB_S(n->proof_id),
		    DB_S(n->adapter), DB_S(n->adapter_key), DB_S(n->created_by), DB_I(now_ms)),
	    DB_ANY);
	fulltext_put(b, ctx, KNOWLEDGE_KIND, str_of(id), content);
	arena_free(a);
}

void knowledge_archive(struct db_batch *b, const struct context *ctx, struct str id, const char *why, int64_t now_ms)
{
	db_batch_add(b,
		     "UPDATE knowledge_nodes SET archived_at = $3, archived_why = $4, updated_at = $3, embedded_at = 0"
		     " WHERE id = $1 AND workspace_id = $2",
		     DB_ARGS(DB_S(id), DB_S(ctx->workspace_id), DB_I(now_ms), DB_Z(why)), DB_ANY);
	fulltext_remove(b, ctx, KNOWLEDGE_KIND, id);
	vectors_remove(b, ctx, VECTORS_KNOWLEDGE, id);
	knowledge_note(b, ctx, id, why, 0, 0, now_ms);
}

void knowledge_remove(struct db_batch *b, const struct context *ctx, struct str id)
{
	fulltext_remove(b, ctx, KNOWLEDGE_KIND, id);
	db_batch_add(b, "DELETE FROM knowledge_links WHERE workspace_id = $2 AND from_id = $1",
		     DB_ARGS(DB_S(id), DB_S(ctx->workspace_id)), DB_ANY);
	db_batch_add(b, "DELETE FROM knowledge_links WHERE workspace_id = $2 AND to_id = $1",
		     DB_ARGS(DB_S(id), DB_S(ctx->workspace_id)), DB_ANY);
	db_batch_add(b, "DELETE FROM knowledge_grants WHERE item_id = $1 AND workspace_id = $2",
		     DB_ARGS(DB_S(id), DB_S(ctx->workspace_id)), DB_ANY);
	vectors_remove(b, ctx, VECTORS_KNOWLEDGE, id);
	db_batch_add(b, "DELETE FROM knowledge_nodes WHERE id = $1 AND workspace_id = $2",
		     DB_ARGS(DB_S(id), DB_S(ctx->workspace_id)), DB_ANY);
}

void knowledge_queue(struct db_batch *b, const struct context *ctx, struct str id, struct str how, int64_t now_ms)
{
	/* Only what was checked is listed: this counts as a first look. */
	db_batch_add(b,
		     "UPDATE knowledge_nodes SET revalidate_at = $3, revalidate_how = $4, checked_at ="
		     " CASE WHEN checked_at = 0 THEN 1 ELSE checked_at END WHERE id = $1 AND workspace_id = $2",
		     DB_ARGS(DB_S(id), DB_S(ctx->workspace_id), DB_I(now_ms), DB_S(how)), 1);
}

void knowledge_note(struct db_batch *b, const struct context *ctx, struct str id, const char *event, int64_t before_ppm,
		    int64_t after_ppm, int64_t now_ms)
{
	char key[UUID_LEN + 1];

	ids_uuid7(key);
	db_batch_add(b,
		     "INSERT INTO knowledge_events (id, org_id, workspace_id, node_id, event, before_ppm, after_ppm,"
		     " created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
		     DB_ARGS(DB_Z(key), DB_S(ctx->org_id), DB_S(ctx->workspace_id), DB_S(id), DB_Z(event),
			     DB_I(before_ppm), DB_I(after_ppm), DB_I(now_ms)),
		     1);
}

/* ---- reading ---- */

void knowledge_rows(struct arena *a, const struct db_rows *r, struct knowledge_node **out, size_t *count)
{
	size_t i, c;

	*out = arena_zalloc(a, (r->count + 1) * sizeof(**out));
	*count = r->count;
	for (i = 0; i < r->count; i++) {
		struct knowledge_node *n = &(*out)[i];
		struct str *const texts[] = {
		    &n->id,         &n->workspace_id,  &n->type,          &n->content,    &n->tier,
		    &n->provenance, &n->topics,        &n->metadata,      &n->visibility, &n->validation,
		    &n->proof_id,   &n->superseded_by, &n->stale_reasons, &n->adapter,    &n->created_by};
		int64_t *const numbers[] = {&n->confidence_ppm, &n->surprise_ppm, &n->update_count,  &n->staleness_ppm,
					    &n->discoverable,   &n->created_at,   &n->updated_at,    &n->validated_at,
					    &n->checked_at,     &n->decayed_at,   &n->revalidate_at, &n->archived_at};

		for (c = 0; c < countof(texts); c++)
			*texts[c] = db_str(r, i, c);
		for (c = 0; c < countof(numbers); c++)
			*numbers[c] = db_int(r, i, countof(texts) + c);
	}
}

void knowledge_id_args(struct db_val args[1 + KNOWLEDGE_IDS_MAX], const struct context *ctx, const struct str *ids,
		       size_t n)
{
	size_t i;

	args[0] = DB_S(ctx->workspace_id);
	for (i = 0; i < KNOWLEDGE_IDS_MAX; i++)
		args[1 + i] = DB_S(i < n ? ids[i] : STR(""));
}

CO_FN static bool node_read_some(struct worker *w, struct arena *a, const struct context *ctx, const struct str *ids,
				 size_t n, struct knowledge_node **out, size_t *count, struct error *err)
{
	struct db_val args[1 + KNOWLEDGE_IDS_MAX];
	struct db_rows r;

	knowledge_id_args(args, ctx, ids, n);
	if (!db_query(w->db, a,
		      "SELECT " KNOWLEDGE_COLUMNS
		      " FROM knowledge_nodes n WHERE n.workspace_id = $1 AND n.archived_at = 0"
		      " AND n.id IN (" KNOWLEDGE_IDS_SQL ")",
		      args, countof(args), &r, err))
		return false;
	knowledge_rows(a, &r, out, count);
	return true;
}

CO_FN bool knowledge_read(struct worker *w, struct arena *a, const struct context *ctx, const struct str *ids, size_t n,
			  struct knowledge_node **out, size_t *count, struct error *err)
{
	struct knowledge_node *some;
	size_t done, i, k, found;

	*out = arena_zalloc(a, (n + 1) * sizeof(**out));
	*count = 0;
	for (done = 0; done < n; done += KNOWLEDGE_IDS_MAX) {
		size_t part = n - done < KNOWLEDGE_IDS_MAX ? n - done : KNOWLEDGE_IDS_MAX;

		if (!node_read_some(w, a, ctx, ids + done, part, &some, &found, err))
			return false;
		for (i = 0; i < part; i++)
			for (k = 0; k < found; k++)
				if (str_eq(ids[done + i], some[k].id))
					(*out)[(*count)++] = some[k];
	}
	return true;
}

static bool node_missing(struct error *err)
{
	return error_field(err, ERR_NOT_FOUND, "id", "Node not found");
}

/* clang-format off */
static const char node_visible[] =
	SQL_WITHIN_ORG("what was shared, or is visible, comes from other workspaces of it")
	"SELECT " KNOWLEDGE_COLUMNS " FROM knowledge_nodes n WHERE n.id = $1 AND n.org_id = $2 AND n.archived_at = 0 AND"
	" ((n.workspace_id = $3 AND (n.visibility <> 'private' OR n.created_by = $4)) OR"
	" n.visibility IN ('organization', 'public', 'system') OR EXISTS (SELECT 1 FROM knowledge_grants g WHERE"
	" g.item_id = n.id AND g.org_id = $2 AND (g.expires_at = 0 OR g.expires_at > $5) AND"
	" ((g.grantee_type = 'workspace' AND g.grantee_id = $3) OR (g.grantee_type = 'user' AND g.grantee_id = $4) OR"
	" (g.grantee_type = 'organization' AND g.grantee_id = $2) OR (g.grantee_type = 'role' AND g.grantee_id = $6))))";
/* clang-format on */

CO_FN bool knowledge_get(struct worker *w, struct arena *a, const struct context *ctx, struct str id,
			 struct knowledge_node *out, struct error *err)
{
	struct str role = ctx->who != NULL ? ctx->who->role : STR("");
	struct knowledge_node *found;
	struct db_rows r;
	size_t n;

	if (!db_query(w->db, a, node_visible,
		      DB_ARGS(DB_S(id), DB_S(ctx->org_id), DB_S(ctx->workspace_id), DB_S(ctx->principal),
			      DB_I(clock_wall_ms()), DB_S(role)),
		      &r, err))
		return false;
	knowledge_rows(a, &r, &found, &n);
	if (n == 0)
		return node_missing(err);
	*out = found[0];
	return true;
}

CO_FN bool knowledge_own(struct worker *w, struct arena *a, const struct context *ctx, struct str id,
			 struct knowledge_node *out, struct error *err)
{
	struct knowledge_node *found;
	size_t n;

	if (!knowledge_read(w, a, ctx, &id, 1, &found, &n, err))
		return false;
	if (n == 0 || (str_eqz(found[0].visibility, "private") && !str_eq(found[0].created_by, ctx->principal)))
		return node_missing(err);
	*out = found[0];
	return true;
}

#define NODE_FILTER                                                                                           \
	"n.workspace_id = $1 AND n.archived_at = 0 AND ($2 = '' OR $2 LIKE '%,' || n.node_type || ',%')"      \
	" AND ($3 = '' OR n.tier = $3) AND ($4 = '' OR n.topics LIKE '%\"' || $4 || '\"%')"                   \
	" AND ($5 = '' OR n.validation = $5) AND n.confidence_ppm >= $6 AND ($7 = 1 OR n.superseded_by = '')" \
	" AND (n.visibility <> 'private' OR n.created_by = $8) AND ($9 = '' OR n.adapter = $9)"

CO_FN bool knowledge_list(struct worker *w, struct arena *a, const struct context *ctx,
			  const struct knowledge_filter *f, struct knowledge_node **out, size_t *count, int64_t *total,
			  struct error *err)
{
	const struct db_val args[] = {DB_S(ctx->workspace_id), DB_S(f->types),       DB_S(f->tier),
				      DB_S(f->topic),          DB_S(f->validation),  DB_I(f->min_confidence_ppm),
				      DB_I(f->superseded),     DB_S(ctx->principal), DB_S(f->adapter),
				      DB_I(f->limit),          DB_I(f->offset)};
	struct db_rows r, sum;

	if (!db_query(w->db, a,
		      "SELECT " KNOWLEDGE_COLUMNS " FROM knowledge_nodes n WHERE " NODE_FILTER
		      " ORDER BY n.created_at DESC, n.id LIMIT $10 OFFSET $11",
		      args, countof(args), &r, err) ||
	    !db_query(w->db, a, "SELECT COUNT(*) FROM knowledge_nodes n WHERE " NODE_FILTER, args, countof(args) - 2,
		      &sum, err))
		return false;
	knowledge_rows(a, &r, out, count);
	*total = db_int(&sum, 0, 0);
	return true;
}

/* ---- the object ---- */

static json_t *node_document(struct arena *a, struct str text, json_t *empty)
{
	struct error ignored = ERROR_INIT;
	json_t *doc = text.n > 0 ? json_parse(a, text, &ignored) : NULL;

	if (doc == NULL)
		return empty;
	json_decref(empty);
	return json_incref(doc);
}

json_t *knowledge_json(struct arena *a, const struct knowledge_node *n)
{
	json_t *o = json_object();
	/* rest-wide 6.2: min(1, ln(1 + updates) / ln 100) */
	double consolidation = log(1.0 + (double)n->update_count) / log(100.0);

	json_put_str(o, "id", n->id);
	json_put_str(o, "node_type", n->type);
	json_put_str(o, "content", n->content);
	json_object_set_new(o, "confidence", json_real((double)n->confidence_ppm / KNOWLEDGE_ONE));
	json_object_set_new(o, "provenance", node_document(a, n->provenance, json_object()));
	json_put_str(o, "tier", n->tier);
	json_put_str(o, "workspace_id", n->workspace_id);
	json_object_set_new(o, "surprise_score", json_real((double)n->surprise_ppm / KNOWLEDGE_ONE));
	json_put_int(o, "update_count", n->update_count);
	json_object_set_new(o, "consolidation_score", json_real(consolidation > 1.0 ? 1.0 : consolidation));
	json_put_str(o, "validation_status", n->validation);
	json_object_set_new(o, "consensus_proof_id", n->proof_id.n > 0 ? json_str(n->proof_id) : json_null());
	json_object_set_new(o, "superseded_by", n->superseded_by.n > 0 ? json_str(n->superseded_by) : json_null());
	json_object_set_new(o, "staleness_score", json_real((double)n->staleness_ppm / KNOWLEDGE_ONE));
	json_put_str(o, "visibility", n->visibility);
	json_object_set_new(o, "is_discoverable", json_boolean(n->discoverable != 0));
	json_object_set_new(o, "adapter", n->adapter.n > 0 ? json_str(n->adapter) : json_null());
	json_put_time(o, "created_at", n->created_at);
	json_put_time(o, "updated_at", n->updated_at);
	json_object_set_new(o, "metadata", node_document(a, n->metadata, json_object()));
	json_object_set_new(o, "topics", node_document(a, n->topics, json_array()));
	json_object_set_new(o, "supports", json_array());
	json_object_set_new(o, "contradicts", json_array());
	json_object_set_new(o, "derived_from", json_array());
	return o;
}
