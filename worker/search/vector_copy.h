/* SPDX-License-Identifier: MIT */
/*
 * The statements of each kind of vectors, and pgvector: where the PostgreSQL of the installation has it, each table of
 * vectors has a copy as its type `vector`, in which the store itself compares all vectors of a workspace, instead of
 * sending the newest ones here. A copy is derived: backups and exports leave it out (its name begins with "_"), and it
 * is made again by itself. Without the extension, on SQLite, and with knowledge.pgvector off, there is none.
 */
#ifndef WORKER_SEARCH_VECTOR_COPY_H
#define WORKER_SEARCH_VECTOR_COPY_H

#include "worker/search/vectors.h"

struct vectors_kind_sql {
	const char *label;       /* in metrics, the log and the job's result */
	const char *near;        /* id and vector of the newest: workspace, model, length, how many */
	const char *missing;     /* id, organization, workspace, text of those without: how many */
	const char *done;        /* id, workspace, now: nothing more is to be made for it */
	const char *store;       /* id, workspace, model, length, vector, now: if the text is still there */
	const char *remove;      /* id, workspace */
	const char *renew;       /* workspace */
	const char *old_models;  /* id, workspace of vectors of other models: model of now, how many */
	const char *old_lengths; /* the same of other lengths: model of now, how many, length */
	const char *again;       /* id, workspace: it is to get a vector once more */
	const char *counted;     /* those that have one, and those without: model of now */
	struct {
		const char *there; /* 1 if the store has the type; columns of the copy */
		const char *drop, *table, *index;
		const char *missing; /* id, workspace, length, vector of what it lacks: how many */
		const char *put;     /* id, workspace, vector */
		const char *near;    /* id and likeness, best first: vector, workspace, model, length, how many */
	} copy;
};
extern const struct vectors_kind_sql vectors_kinds[VECTORS_KINDS];

/* Of a table of vectors with its column of ids, and how a row of the copy refers to it. */
#define VECTORS_COPY(t, key, refers)                                                                                 \
	{                                                                                                            \
		"SELECT CASE WHEN to_regtype('vector') IS NOT NULL AND to_regoperator('<=>(vector,vector)') IS NOT " \
		"NULL"                                                                                               \
		" THEN 1 ELSE 0 END, (SELECT COUNT(*) FROM pg_attribute WHERE attrelid = to_regclass('_" t "') AND"  \
		" attname = 'v' AND NOT attisdropped)",                                                              \
		    "DROP TABLE IF EXISTS _" t,                                                                      \
		    "CREATE TABLE _" t " (id TEXT NOT NULL, workspace_id TEXT NOT NULL, model TEXT NOT NULL,"        \
		    " dim BIGINT NOT NULL, v vector NOT NULL, PRIMARY KEY (workspace_id, id), FOREIGN KEY " refers   \
		    " ON DELETE CASCADE)",                                                                           \
		    "CREATE INDEX _" t "_by ON _" t " (workspace_id, model, dim)",                                   \
		    SQL_ANYBODY("a job for all workspaces") "SELECT k." key                                          \
							    ", k.workspace_id, k.dim, k.vector FROM " t              \
							    " k WHERE NOT EXISTS (SELECT 1 FROM _" t                 \
							    " x WHERE x.id = k." key " AND x.workspace_id ="         \
							    " k.workspace_id) ORDER BY k." key " LIMIT $1",          \
		    "INSERT INTO _" t " (id, workspace_id, model, dim, v) SELECT " key ", workspace_id, model, dim," \
		    " CAST($3 AS vector) FROM " t " WHERE " key " = $1 AND workspace_id = $2 ON CONFLICT"            \
		    " (workspace_id, id) DO UPDATE SET model = excluded.model, dim = excluded.dim, v = excluded.v",  \
		    "SELECT id, CAST(1000000 * (1 - (v <=> CAST($1 AS vector))) AS BIGINT) FROM _" t                 \
		    " WHERE workspace_id = $2 AND model = $3 AND dim = $4 ORDER BY v <=> CAST($1 AS vector), id "    \
		    "LIMIT $5",                                                                                      \
	}

/* Is there a copy to search and to write? Asks the store each time: extensions come and go while a server runs. */
CO_FN bool vector_copy_there(struct worker *w, enum vectors_kind kind, bool *there, struct error *err) MUST_CHECK;
/*
 * By the job: makes the copy if the store has the type and the copy is missing, and brings it what it lacks, page by
 * page. What the store refuses (a role that may not make tables) is logged, and is no error. *there: as above.
 */
CO_FN bool vector_copy_fill(struct worker *w, enum vectors_kind kind, bool *there, struct error *err) MUST_CHECK;
/* Adds the vector of a row that the table has by then; it goes when that row goes. */
void vector_copy_put(struct db_batch *b, struct arena *a, enum vectors_kind kind, struct str id,
		     struct str workspace_id, const float *x, size_t dim);
/* As vectors_find does, with the vector of the query. */
CO_FN bool vector_copy_find(struct worker *w, struct arena *a, const struct context *ctx, enum vectors_kind kind,
			    const float *x, size_t dim, size_t limit, struct vectors_hit **hits, size_t *n,
			    struct error *err) MUST_CHECK;
/* A likeness as a score: rounding makes no more than 1 of it. */
int64_t vectors_score(int64_t ppm);

#endif
