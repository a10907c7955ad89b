/* SPDX-License-Identifier: MIT */
/*
 * The Knowledge Mound (rest-wide 5): what a workspace knows, as nodes with provenance and confidence, and how they
 * relate. Debates and people write it; later debates are given what fits. A node belongs to one workspace; another one
 * of the same organization reads it when it was shared or its visibility says so, and no other organization ever does.
 *
 * A node's id follows from workspace and content, so that the same content is the same node, whoever writes it: a
 * second writing counts as an update. Content is never changed; what replaces it is a node of its own that supersedes
 * it.
 */
#ifndef WORKER_KNOWLEDGE_KNOWLEDGE_H
#define WORKER_KNOWLEDGE_KNOWLEDGE_H

#include <jansson.h>

#include "common/context.h"
#include "common/db.h"
#include "worker/http/body.h"
#include "worker/http/http.h"
#include "worker/http/route.h"

struct worker;

#define KNOWLEDGE_KIND "knowledge" /* of its texts in worker/search/fulltext.h */
#define KNOWLEDGE_CONTENT_MAX 32768
#define KNOWLEDGE_ID_LEN 19 /* "kn_" or "kr_" and 16 digits */
#define KNOWLEDGE_ONE 1000000
#define KNOWLEDGE_PAGE_MAX 200 /* nodes of one answer */
#define KNOWLEDGE_IDS_MAX 40   /* nodes that one statement reads by id */
#define KNOWLEDGE_LIST_MAX 100 /* ids in one body */

/* ---- nodes (node.c) ---- */

/* What is stored of a node; texts in JSON are objects or arrays as text. */
struct knowledge_node {
	struct str id, workspace_id, type, content, tier, provenance, topics, metadata, visibility, validation,
	    proof_id, superseded_by, stale_reasons, adapter, created_by;
	int64_t confidence_ppm, surprise_ppm, update_count, staleness_ppm, discoverable, created_at, updated_at,
	    validated_at, checked_at, decayed_at, revalidate_at, archived_at;
};

/* What a writer says; empty texts have defaults: type fact, tier slow, visibility workspace, adapter "": by hand. */
struct knowledge_new {
	struct str type, content, tier, topics, metadata, visibility, validation, proof_id, adapter, adapter_key,
	    created_by;
	const char *source_type; /* document debate user agent inference migration */
	struct str source_id, agent_id, debate_id, document_id, user_id;
	const struct str *provenance; /* as text, in place of the above; NULL: made of them */
	int64_t confidence_ppm;
};

/*
 * The id that content has in a workspace. A private node has one of its writer's own: others who write the same do not
 * meet it, and do not learn that it is there.
 */
void knowledge_id(char out[KNOWLEDGE_ID_LEN + 1], struct str workspace_id, struct str visibility, struct str writer,
		  struct str content);
/* Adds what makes the node exist, findable by its words, or counts an update of it and keeps the greater confidence. */
void knowledge_add(struct db_batch *b, const struct context *ctx, const struct knowledge_new *n, int64_t now_ms,
		   char id[KNOWLEDGE_ID_LEN + 1]);
/* Takes a node out of sight; `why` is shown in the history. Its links stay. */
void knowledge_archive(struct db_batch *b, const struct context *ctx, struct str id, const char *why, int64_t now_ms);
/* Takes the row itself away, as of figures that were replaced; and its links. */
void knowledge_remove(struct db_batch *b, const struct context *ctx, struct str id);
/* Somebody is to look at the node: it is listed as stale until then. `how`: who asked for it, in a word. */
void knowledge_queue(struct db_batch *b, const struct context *ctx, struct str id, struct str how, int64_t now_ms);
/* One line of the history of nodes. */
void knowledge_note(struct db_batch *b, const struct context *ctx, struct str id, const char *event, int64_t before_ppm,
		    int64_t after_ppm, int64_t now_ms);

/* One statement serves any number of ids: $1 is the workspace, ids that are not given are empty, and no id is. */
#define KNOWLEDGE_TEN(x) "$" x "0, $" x "1, $" x "2, $" x "3, $" x "4, $" x "5, $" x "6, $" x "7, $" x "8, $" x "9"
#define KNOWLEDGE_IDS_SQL                                                                                 \
	"$2, $3, $4, $5, $6, $7, $8, $9, " KNOWLEDGE_TEN("1") ", " KNOWLEDGE_TEN("2") ", " KNOWLEDGE_TEN( \
	    "3") ", $40, $41"
void knowledge_id_args(struct db_val args[1 + KNOWLEDGE_IDS_MAX], const struct context *ctx, const struct str *ids,
		       size_t n);

/*
 * Nodes of the workspace by id, archived ones left out, in the order of the ids; in the arena. Ids that are not there
 * are passed over. As db_query fails.
 */
CO_FN bool knowledge_read(struct worker *w, struct arena *a, const struct context *ctx, const struct str *ids, size_t n,
			  struct knowledge_node **out, size_t *count, struct error *err) MUST_CHECK;
/* A node that the caller may see: its own workspace's, shared with it, or visible by its setting. ERR_NOT_FOUND. */
CO_FN bool knowledge_get(struct worker *w, struct arena *a, const struct context *ctx, struct str id,
			 struct knowledge_node *out, struct error *err) MUST_CHECK;
/* One of the workspace itself, for who changes it. ERR_NOT_FOUND. */
CO_FN bool knowledge_own(struct worker *w, struct arena *a, const struct context *ctx, struct str id,
			 struct knowledge_node *out, struct error *err) MUST_CHECK;

struct knowledge_filter {
	struct str types;                            /* ",fact,claim,"; empty: all */
	struct str tier, topic, validation, adapter; /* empty: all */
	int64_t min_confidence_ppm;
	bool superseded; /* also those that another one has replaced */
	int64_t limit, offset;
};
/* Newest first; *total counts all that fit. */
CO_FN bool knowledge_list(struct worker *w, struct arena *a, const struct context *ctx,
			  const struct knowledge_filter *f, struct knowledge_node **out, size_t *count, int64_t *total,
			  struct error *err) MUST_CHECK;
/* Reads rows whose columns are KNOWLEDGE_COLUMNS. */
void knowledge_rows(struct arena *a, const struct db_rows *r, struct knowledge_node **out, size_t *count);

#define KNOWLEDGE_COLUMNS                                                                                         \
	"n.id, n.workspace_id, n.node_type, n.content, n.tier, n.provenance, n.topics, n.metadata, n.visibility," \
	" n.validation, n.proof_id, n.superseded_by, n.stale_reasons, n.adapter, n.created_by, n.confidence_ppm," \
	" n.surprise_ppm, n.update_count, n.staleness_ppm, n.discoverable, n.created_at, n.updated_at, "          \
	"n.validated_at,"                                                                                         \
	" n.checked_at, n.decayed_at, n.revalidate_at, n.archived_at"

/* The node of rest-wide 5.3; new reference. */
json_t *knowledge_json(struct arena *a, const struct knowledge_node *n);

/* ---- how many there may be (room.c) ---- */

/* Nodes that the workspace has still room for; INT64_MAX without a limit. As db_query fails. */
CO_FN bool knowledge_room(struct worker *w, const struct context *ctx, int64_t *room, struct error *err) MUST_CHECK;
/*
 * May a request add so many nodes? A node whose content is there already always fits (n may be NULL). False: answered
 * with 409, and counted.
 */
CO_FN bool knowledge_fits(struct http_request *req, const struct knowledge_new *n, int64_t count) MUST_CHECK;
/* Counts and logs nodes that were left out for want of room; debate_id may be "". None: nothing. */
void knowledge_left_out(const struct worker *w, const struct context *ctx, int64_t count, struct str debate_id);

/* ---- finding (find.c) ---- */

struct knowledge_hit {
	struct knowledge_node node;
	int64_t score_ppm;
	bool semantic; /* by meaning, not by words */
};
/* Best first, at most `limit` <= KNOWLEDGE_PAGE_MAX; by words, and by vectors where embeddings are configured. */
CO_FN bool knowledge_find(struct worker *w, struct arena *a, const struct context *ctx, struct str query,
			  const struct knowledge_filter *f, struct knowledge_hit **hits, size_t *n,
			  struct error *err) MUST_CHECK;

/* ---- links (links.c) ---- */

/* Adds the relation, or strengthens one that is there. `kind` is one of knowledge_relations. */
void knowledge_link(struct db_batch *b, const struct context *ctx, struct str from, struct str to, struct str kind,
		    int64_t strength_ppm, struct str metadata, int64_t now_ms, char id[KNOWLEDGE_ID_LEN + 1]);
/* Sets supports[], contradicts[] and derived_from[] of nodes (objects of knowledge_json, in the same order). */
CO_FN bool knowledge_linked(struct worker *w, struct arena *a, const struct context *ctx,
			    const struct knowledge_node *nodes, size_t n, json_t *const *objects,
			    struct error *err) MUST_CHECK;

/* ---- words that are allowed; NULL-terminated ---- */

extern const char *const knowledge_types[], *const knowledge_tiers[], *const knowledge_visibilities[],
									  *const knowledge_validations[],
									      *const knowledge_sources[],
										  *const knowledge_relations[];

/* ---- counting (figures.c) ---- */

/* One operation of aragora_km_operations_total and its latency since start_us (monotonic). */
void knowledge_counted(const char *operation, bool ok, int64_t start_us);

/* ---- what requests say (input.c) ---- */

/* Is `word` one of the list? */
bool knowledge_word(const char *const *list, struct str word);
/* A number from 0 to 1 as ppm; dflt when absent. What is wrong is added to p. */
int64_t knowledge_share(struct body_problems *p, const json_t *body, const char *field, int64_t dflt);
/* One of the list; dflt (may be NULL: "") when absent. */
struct str knowledge_choice(struct body_problems *p, const json_t *body, const char *field, const char *const *list,
			    const char *dflt);
/* A list of texts as JSON text, "[]" when absent; at most 50 of at most 200 bytes. */
struct str knowledge_texts(struct body_problems *p, struct arena *a, const json_t *body, const char *field);
/* An object as JSON text, "{}" when absent; at most 16 KiB. */
struct str knowledge_object(struct body_problems *p, struct arena *a, const json_t *body, const char *field);
/* The first of two spellings that the body has. */
struct str knowledge_either(struct body_problems *p, const json_t *body, const char *field, const char *other,
			    size_t max);
/*
 * A list of 1 to `max` ids, in the arena; the number of them, or 0. An item that is no text is named by
 * its place: "node_ids[2]".
 */
size_t knowledge_ids(struct body_problems *p, struct arena *a, const json_t *body, const char *field, size_t max,
		     struct str **ids);
/* A share of the query string, 0 to 1, as ppm; dflt when absent, or none. */
int64_t knowledge_query_share(struct http_request *req, const char *name, int64_t dflt);
/*
 * workspace_id of the body or query: the selected workspace's id or "default" (which stands for it). Any other has been
 * answered with 404: another workspace is selected by X-Workspace-ID.
 */
bool knowledge_here(struct http_request *req, const json_t *body) MUST_CHECK;
/* Filter of the query string: node_types/node_type, tier, topic, min_confidence, limit, offset. */
void knowledge_query_filter(struct http_request *req, struct knowledge_filter *f);
/* ",a,b," of "a,b" or of an array of texts. */
struct str knowledge_type_list(struct arena *a, struct str csv, const json_t *array);

/* ---- what endpoints do alike (reply.c) ---- */

/* As knowledge_own; false: answered with the error. */
CO_FN bool knowledge_mine(struct http_request *req, struct str id, struct knowledge_node *n) MUST_CHECK;
/* Those of `ids` that knowledge_mine would give, in their order, in the request's arena; false: answered. */
CO_FN bool knowledge_mine_of(struct http_request *req, const struct str *ids, size_t count,
			     struct knowledge_node **nodes, size_t *n) MUST_CHECK;
/*
 * Commits the batch with an event of the audit log about `id` of `type` ("knowledge_node"), and counts it as an
 * operation; false: answered.
 */
CO_FN bool knowledge_commit(struct http_request *req, struct db_batch *b, const char *operation, const char *type,
			    const char *action, struct str id) MUST_CHECK;

/* ---- facts (facts_api.c) ---- */

/* A node of type "fact" as the object of rest-wide 5.10; new reference. */
json_t *knowledge_fact_json(struct arena *a, const struct knowledge_node *n);
/* What a body (NULL: none) says of a new fact; what is wrong is added to p. */
void knowledge_fact_read(struct http_request *req, struct body_problems *p, const json_t *body,
			 struct knowledge_new *n);

/* ---- endpoints ---- */

extern const struct route_table knowledge_node_routes;     /* nodes_api.c */
extern const struct route_table knowledge_link_routes;     /* links_api.c */
extern const struct route_table knowledge_adapter_routes;  /* adapters_api.c */
extern const struct route_table knowledge_health_routes;   /* health.c */
extern const struct route_table knowledge_transfer_routes; /* transfer.c */
extern const struct route_table knowledge_fact_routes;     /* facts_api.c */
extern const struct route_table knowledge_share_routes;    /* share_api.c */
extern const struct route_table knowledge_global_routes;   /* global_api.c */
extern const struct route_table knowledge_figures_routes;  /* figures_api.c */
extern const struct route_table knowledge_many_routes;     /* facts_many_api.c */
extern const struct route_table knowledge_stale_routes;    /* stale_api.c */
extern const struct route_table knowledge_dedup_routes;    /* dedup_api.c */
extern const struct route_table knowledge_prune_routes;    /* prune_api.c */
extern const struct route_table knowledge_contra_routes;   /* contra_api.c */

/* A route of these tables; permission behind "knowledge.". */
#define KNOWLEDGE_ROW(m, p, h, perm, r, s) ROUTE(m, "/api/knowledge/" p, h, "knowledge." perm, r, s)
/* A route of facts, under both of their paths. */
#define KNOWLEDGE_FACT_ROW(m, p, h, perm, r, s)                         \
	ROUTE(m, "/api/knowledge/facts" p, h, "knowledge." perm, r, s), \
	    ROUTE(m, "/api/facts" p, h, "knowledge." perm, r, s)

#endif
