/* SPDX-License-Identifier: MIT */
/*
 * How people keep debates (rest-core 4.9 and 4.10): archive and restore, tags, notes. Who tagged or wrote what, and
 * when, is in the audit log, committed with the change. Nothing of this reaches the agents.
 */
#include "common/clock.h"
#include "common/ids.h"
#include "common/json.h"
#include "worker/access/access.h"
#include "worker/audit/audit.h"
#include "worker/debate/control.h"
#include "worker/debate/request.h"
#include "worker/debate/view.h"
#include "worker/http/body.h"
#include "worker/http/page.h"
#include "worker/worker.h"

#define SHELF_NOTE_MAX 10000 /* bytes */
#define SHELF_NOTES_MAX 500  /* of one debate */
#define SHELF_TAG_TRIES 3    /* when two people change tags at once */

static void shelf_audit(struct db_batch *b, struct http_request *req, const char *action, struct str debate_id,
			const json_t *details)
{
	audit_add(b, req,
		  &(struct audit_event){.category = "debate",
					.action = action,
					.resource_type = STR("debate"),
					.resource_id = debate_id,
					.details = details});
}

/* ---- archive ---- */

CO_FN static void shelf_archive(struct http_request *req)
{
	bool archived = str_ends(str_of(req->route->path), STR("/archive"));
	struct error err = ERROR_INIT;
	struct debate_row row;

	if (!request_debate(req, &row))
		return;
	if (!debate_update(request_worker(req)->db, &req->ctx, row.id, &(struct debate_patch){.archived = &archived},
			   &err)) {
		http_reply_error(req, &err);
		return;
	}
	row.archived = archived;
	http_reply_json(req, 200,
			json_pack("{s:b, s:s%, s:s%, s:b, s:s}", "success", 1, "debate_id", row.id.p, row.id.n, "id",
				  row.id.p, row.id.n, "archived", (int)archived, "status", view_status_word(&row)));
}

/* ---- tags ---- */

/* tags, or one tag, of the body or the path; NULL: answered. */
static const json_t *shelf_given_tags(struct http_request *req)
{
	const json_t *body = body_object(req), *one, *tags;

	if (body == NULL)
		return NULL;
	one = json_object_get(body, "tag");
	tags = json_object_get(body, "tags");
	if (str_ends(str_of(req->route->path), STR("{tag}")))
		tags = json_own(req->arena, json_pack("[s%]", req->params[1].p, req->params[1].n));
	else if (tags == NULL && one != NULL)
		tags = json_own(req->arena, json_pack("[O]", one));
	return request_tags(req, tags) ? tags : NULL;
}

static bool shelf_has_tag(const json_t *tags, const json_t *tag)
{
	const json_t *v;
	size_t i;

	json_array_foreach(tags, i, v) if (json_equal(v, tag)) return true;
	return false;
}

/* What the debate's tags become, as the method says; each once, none empty. */
static json_t *shelf_new_tags(struct http_request *req, const json_t *had, const json_t *given)
{
	const json_t *lists[] = {req->method == HTTP_PUT ? NULL : had, req->method == HTTP_DELETE ? NULL : given}, *v;
	json_t *out = json_own(req->arena, json_array());
	size_t l, i;

	for (l = 0; l < countof(lists); l++)
		json_array_foreach(lists[l], i, v) if (json_string_length(v) > 0 && !shelf_has_tag(out, v) &&
						       (req->method != HTTP_DELETE || !shelf_has_tag(given, v)))
		    json_array_append(out, json_array_get(lists[l], i));
	return out;
}

/* Only if nobody has changed them since they were read (ERR_FENCED). */
CO_FN static bool shelf_store_tags(struct http_request *req, const struct debate_row *row, const json_t *tags,
				   struct error *err)
{
	struct db_batch *b = db_batch_new(request_worker(req)->db);

	db_batch_add(b,
		     "UPDATE debates SET tags = $4, updated_at = $5 WHERE id = $1 AND org_id = $2 AND workspace_id = $3"
		     " AND tags = $6",
		     DB_ARGS(DB_S(row->id), DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id),
			     DB_S(json_text(req->arena, tags)), DB_I(clock_wall_ms()), DB_S(row->tags)),
		     1);
	shelf_audit(b, req, "debate.tagged", row->id,
		    json_own(req->arena, json_pack("{s:O}", "tags", (json_t *)(uintptr_t)tags)));
	return db_commit(request_worker(req)->db, b, err);
}

static void shelf_reply_tags(struct http_request *req, const struct debate_row *row, const json_t *tags)
{
	http_reply_json(req, 200,
			json_pack("{s:b, s:s%, s:O, s:I}", "success", 1, "debate_id", row->id.p, row->id.n, "tags",
				  (json_t *)(uintptr_t)tags, "count", (json_int_t)json_array_size(tags)));
}

CO_FN static void shelf_change_tags(struct http_request *req)
{
	const json_t *given = shelf_given_tags(req), *tags;
	struct error err = ERROR_INIT;
	struct debate_row row;
	int tries = 0;

	if (given == NULL)
		return;
	do {
		err = ERROR_INIT;
		if (!request_debate(req, &row))
			return;
		tags = shelf_new_tags(req, json_parse(req->arena, row.tags, &err), given);
		if (!request_tags(req, tags))
			return;
		if (shelf_store_tags(req, &row, tags, &err)) {
			shelf_reply_tags(req, &row, tags);
			return;
		}
	} while (err.code == ERR_FENCED && ++tries < SHELF_TAG_TRIES);
	if (err.code == ERR_FENCED)
		error_set(&err, ERR_CONFLICT, "somebody else changes these tags; try again");
	http_reply_error(req, &err);
}

CO_FN static void shelf_tags(struct http_request *req)
{
	struct error err = ERROR_INIT;
	struct debate_row row;

	if (request_debate(req, &row))
		shelf_reply_tags(req, &row, json_parse(req->arena, row.tags, &err));
}

/* ---- notes ---- */

struct shelf_note {
	struct str id, debate_id, author, content;
	int64_t created_at, updated_at;
};

static json_t *shelf_note_view(const struct shelf_note *n)
{
	json_t *o = json_object();

	json_put_str(o, "note_id", n->id);
	json_put_str(o, "id", n->id);
	json_put_str(o, "debate_id", n->debate_id);
	json_put_str(o, "content", n->content);
	json_put_str(o, "author", n->author);
	json_put_time(o, "created_at", n->created_at);
	json_put_time(o, "updated_at", n->updated_at);
	return o;
}

static struct shelf_note shelf_note_row(const struct db_rows *r, size_t i)
{
	return (struct shelf_note){db_str(r, i, 0), db_str(r, i, 1), db_str(r, i, 2),
				   db_str(r, i, 3), db_int(r, i, 4), db_int(r, i, 5)};
}

#define SHELF_NOTE "SELECT id, debate_id, author, content, created_at, updated_at FROM debate_notes"

/* The note of the path. False: answered. */
CO_FN static bool shelf_load(struct http_request *req, struct debate_row *row, struct shelf_note *n)
{
	struct error err = ERROR_INIT;
	struct db_rows r;

	if (!request_debate(req, row))
		return false;
	if (db_query(request_worker(req)->db, req->arena,
		     SHELF_NOTE " WHERE id = $1 AND debate_id = $2 AND org_id = $3 AND workspace_id = $4",
		     DB_ARGS(DB_S(req->params[1]), DB_S(row->id), DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id)),
		     &r, &err) &&
	    (r.count > 0 || error_field(&err, ERR_NOT_FOUND, "note_id", "Note not found: %.*s",
					STR_ARG(str_sub(req->params[1], 0, 128))))) {
		*n = shelf_note_row(&r, 0);
		return true;
	}
	http_reply_error(req, &err);
	return false;
}

/* content, note or text of the body; false: answered. */
static bool shelf_content(struct http_request *req, struct str *out)
{
	static const char *const names[] = {"content", "note", "text"};
	const json_t *body = body_object(req);
	size_t i = 0;

	if (body == NULL)
		return false;
	while (i + 1 < countof(names) && json_object_get(body, names[i]) == NULL)
		i++;
	if (json_object_get(body, names[i]) == NULL)
		i = 0;
	return body_text_or_reject(req, body, names[i], SHELF_NOTE_MAX, out) &&
	       (out->n > 0 || body_reject(req, names[i], "is required"));
}

CO_FN static void shelf_note_list(struct http_request *req)
{
	int64_t limit = http_query_int(req, "limit", 1, 100, 50),
		offset = http_query_int(req, "offset", 0, INT32_MAX, 0);
	json_t *list = json_own(req->arena, json_array()), *o;
	struct db *db = request_worker(req)->db;
	struct error err = ERROR_INIT;
	struct debate_row row;
	struct db_rows r, all;
	size_t i;

	if (!request_debate(req, &row))
		return;
	if (!db_query(db, req->arena, "SELECT COUNT(*) FROM debate_notes WHERE debate_id = $1 AND workspace_id = $2",
		      DB_ARGS(DB_S(row.id), DB_S(req->ctx.workspace_id)), &all, &err) ||
	    !db_query(db, req->arena,
		      SHELF_NOTE
		      " WHERE debate_id = $1 AND workspace_id = $2 ORDER BY created_at, id LIMIT $3 OFFSET $4",
		      DB_ARGS(DB_S(row.id), DB_S(req->ctx.workspace_id), DB_I(limit), DB_I(offset)), &r, &err)) {
		http_reply_error(req, &err);
		return;
	}
	for (i = 0; i < r.count; i++) {
		struct shelf_note n = shelf_note_row(&r, i);

		json_array_append_new(list, shelf_note_view(&n));
	}
	o = json_pack("{s:s%, s:O}", "debate_id", row.id.p, row.id.n, "notes", list);
	page_put(o, limit, offset, r.count, db_int(&all, 0, 0));
	http_reply_json(req, 200, o);
}

CO_FN static void shelf_note_show(struct http_request *req)
{
	struct debate_row row;
	struct shelf_note n;

	if (shelf_load(req, &row, &n))
		http_reply_json(req, 200, shelf_note_view(&n));
}

/* Commits the batch (taken over) with its record, and answers with the note. */
CO_FN static void shelf_commit(struct http_request *req, struct db_batch *b, const char *action, int status,
			       const struct shelf_note *n)
{
	struct error err = ERROR_INIT;
	json_t *o;

	shelf_audit(b, req, action, n->debate_id,
		    json_own(req->arena, json_pack("{s:s%}", "note_id", n->id.p, n->id.n)));
	if (!db_commit(request_worker(req)->db, b, &err)) {
		if (err.code == ERR_FENCED)
			error_set(&err, ERR_CONFLICT, "the note has gone, or the debate has %d notes", SHELF_NOTES_MAX);
		http_reply_error(req, &err);
		return;
	}
	o = shelf_note_view(n);
	json_object_set_new(o, "success", json_true());
	http_reply_json(req, status, o);
}

CO_FN static void shelf_note_add(struct http_request *req)
{
	struct shelf_note n = {.created_at = clock_wall_ms()};
	char uuid[UUID_LEN + 1];
	struct debate_row row;
	struct db_batch *b;

	if (!shelf_content(req, &n.content) || !request_debate(req, &row))
		return;
	ids_uuid7(uuid);
	n.id = arena_str(req->arena, str_of(uuid));
	n.debate_id = row.id;
	n.author = req->ctx.principal;
	n.updated_at = n.created_at;
	b = db_batch_new(request_worker(req)->db);
	db_batch_add(b,
		     "INSERT INTO debate_notes (id, debate_id, org_id, workspace_id, author, content, created_at, "
		     "updated_at) SELECT $1, $2, $3, $4, $5, $6, $7, $7 FROM (SELECT 1 AS one) x WHERE (SELECT "
		     "COUNT(*) FROM debate_notes n"
		     " WHERE n.debate_id = $2 AND n.workspace_id = $4) < $8",
		     DB_ARGS(DB_S(n.id), DB_S(n.debate_id), DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id),
			     DB_S(n.author), DB_S(n.content), DB_I(n.created_at), DB_I(SHELF_NOTES_MAX)),
		     1);
	shelf_commit(req, b, "debate.note_added", 201, &n);
}

/* Nobody's words are changed by others; a note of somebody else may be removed by who may delete debates. */
static bool shelf_may(struct http_request *req, const struct shelf_note *n)
{
	struct error err = ERROR_INIT;

	if (str_eq(n->author, req->ctx.principal) || (req->method == HTTP_DELETE && rbac_allows(req, "debates.delete")))
		return true;
	error_set(&err, ERR_FORBIDDEN, "the note is somebody else's");
	http_reply_error(req, &err);
	return false;
}

CO_FN static void shelf_note_change(struct http_request *req)
{
	struct debate_row row;
	struct shelf_note n;
	struct str content;
	struct db_batch *b;

	if (!shelf_content(req, &content) || !shelf_load(req, &row, &n) || !shelf_may(req, &n))
		return;
	n.content = content;
	n.updated_at = clock_wall_ms();
	b = db_batch_new(request_worker(req)->db);
	db_batch_add(
	    b,
	    "UPDATE debate_notes SET content = $3, updated_at = $4 WHERE id = $1 AND workspace_id = $2 AND org_id "
	    "= $5",
	    DB_ARGS(DB_S(n.id), DB_S(req->ctx.workspace_id), DB_S(n.content), DB_I(n.updated_at),
		    DB_S(req->ctx.org_id)),
	    1);
	shelf_commit(req, b, "debate.note_changed", 200, &n);
}

CO_FN static void shelf_note_remove(struct http_request *req)
{
	struct debate_row row;
	struct shelf_note n;
	struct db_batch *b;

	if (!shelf_load(req, &row, &n) || !shelf_may(req, &n))
		return;
	b = db_batch_new(request_worker(req)->db);
	db_batch_add(b, "DELETE FROM debate_notes WHERE id = $1 AND workspace_id = $2 AND org_id = $3",
		     DB_ARGS(DB_S(n.id), DB_S(req->ctx.workspace_id), DB_S(req->ctx.org_id)), 1);
	shelf_commit(req, b, "debate.note_removed", 200, &n);
}

/* ---- routes ---- */

static const struct route shelf_rows[] = {
    ROUTE_IO(POST, "/api/debates/{id}/archive", shelf_archive, "debates:update", WRITE, "Put a debate into the archive",
	     NULL, "Archived"),
    ROUTE_IO(POST, "/api/debates/{id}/restore", shelf_archive, "debates:update", WRITE,
	     "Take a debate out of the archive", NULL, "Archived"),
    ROUTE_IO(GET, "/api/debates/{id}/tags", shelf_tags, "debates:read", READ, "Tags", NULL, "TagList"),
    ROUTE_IO(POST, "/api/debates/{id}/tags", shelf_change_tags, "debates:update", WRITE, "Add tags", "Tags", "TagList"),
    ROUTE_IO(PUT, "/api/debates/{id}/tags", shelf_change_tags, "debates:update", WRITE, "Replace the tags", "Tags",
	     "TagList"),
    ROUTE_IO(DELETE, "/api/debates/{id}/tags", shelf_change_tags, "debates:update", WRITE, "Take tags away", "Tags",
	     "TagList"),
    ROUTE_IO(DELETE, "/api/debates/{id}/tags/{tag}", shelf_change_tags, "debates:update", WRITE, "Take a tag away",
	     NULL, "TagList"),
    ROUTE_IO(GET, "/api/debates/{id}/notes", shelf_note_list, "debates:read", READ, "Notes of people, oldest first",
	     NULL, "NoteList"),
    ROUTE_IO(POST, "/api/debates/{id}/notes", shelf_note_add, "debates:update", WRITE, "Write a note on a debate",
	     "NoteText", "Note"),
    ROUTE_IO(GET, "/api/debates/{id}/notes/{note_id}", shelf_note_show, "debates:read", READ, "One note", NULL, "Note"),
    ROUTE_IO(PUT, "/api/debates/{id}/notes/{note_id}", shelf_note_change, "debates:update", WRITE,
	     "Change a note of one's own", "NoteText", "Note"),
    ROUTE_IO(DELETE, "/api/debates/{id}/notes/{note_id}", shelf_note_remove, "debates:update", WRITE,
	     "Remove a note; somebody else's with debates:delete", NULL, "Note"),
};
const struct route_table shelf_routes = {shelf_rows, countof(shelf_rows)};
