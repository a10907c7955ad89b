/* SPDX-License-Identifier: MIT */
/*
 * What the endpoints of worker/access have in common. Called by them only; decides nothing about permissions.
 */
#include "worker/access/api.h"

#include <stdarg.h>

#include "worker/worker.h"

#define ACCESS_WORD_MAX 64

const struct permissions *access_own(const struct http_request *req)
{
	static const struct permissions none;

	return req->ctx.who->permissions != NULL ? req->ctx.who->permissions : &none;
}

bool access_lasting(struct http_request *req)
{
	if (req->ctx.who->emergency_id.n == 0)
		return true;
	access_refuse(req, ERR_FORBIDDEN, "", "nothing is given away while break-glass is on");
	return false;
}

struct str access_words(struct http_request *req, struct body_problems *p, const json_t *body, const char *field)
{
	const json_t *list = json_object_get(body, field), *v;
	struct error err = ERROR_INIT;
	struct buf b = BUF_INIT;
	struct str out;
	size_t i;

	if (list != NULL && !json_is_array(list))
		error_field(&err, ERR_INVALID_VALUE, field, "must be a list of texts");
	else if (json_array_size(list) > ACCESS_LIST_MAX)
		error_field(&err, ERR_INVALID_VALUE, field, "must have at most %d entries", ACCESS_LIST_MAX);
	json_array_foreach(list, i, v)
	{
		struct str s = {json_string_value(v), json_string_length(v)};

		if (s.n == 0 || s.n > ACCESS_WORD_MAX || str_chr(s, ' ') >= 0)
			error_field(&err, ERR_INVALID_VALUE, field, "entry %zu must be a text of 1 to %d bytes", i,
				    ACCESS_WORD_MAX);
		if (err.code != ERR_OK)
			break;
		if (b.n > 0)
			buf_addc(&b, ' ');
		buf_add(&b, s);
	}
	if (err.code != ERR_OK)
		body_problem(p, &err);
	out = arena_str(req->arena, buf_str(&b));
	buf_free(&b);
	return out;
}

json_t *access_list(struct str words)
{
	json_t *list = json_array();
	struct str word;

	while (str_split(&words, ' ', &word))
		if (word.n > 0)
			json_array_append_new(list, json_str(word));
	return list;
}

int64_t access_number(struct body_problems *p, const json_t *body, const char *field, int64_t min, int64_t max,
		      int64_t dflt)
{
	const json_t *v = json_object_get(body, field);
	struct error err = ERROR_INIT;

	if (v == NULL || json_is_null(v))
		return dflt;
	if (json_is_integer(v) && json_integer_value(v) >= min && json_integer_value(v) <= max)
		return json_integer_value(v);
	error_field(&err, ERR_INVALID_VALUE, field, "must be a number from %lld to %lld", (long long)min,
		    (long long)max);
	body_problem(p, &err);
	return dflt;
}

void access_refuse(struct http_request *req, enum err code, const char *field, const char *fmt, ...)
{
	struct error err = ERROR_INIT;
	char text[200];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	error_field(&err, code, field, "%s", text);
	http_reply_error(req, &err);
}

CO_FN bool access_commit(struct http_request *req, struct db_batch *b, const struct audit_event *e,
			 enum identity_change kind, struct str id, const char *taken)
{
	struct worker *w = req->user;
	struct error err = ERROR_INIT;

	audit_add(b, req, e);
	identity_change_add(b, kind, id);
	if (db_commit(w->db, b, &err)) {
		identity_changed(w, kind, id);
		return true;
	}
	if (err.code == ERR_DUPLICATE)
		access_refuse(req, ERR_CONFLICT, "", "%s", taken);
	else if (err.code == ERR_FENCED)
		access_refuse(req, ERR_CONFLICT, "", "it was changed by somebody else at the same time");
	else
		http_reply_error(req, &err);
	return false;
}

CO_FN bool access_member(struct http_request *req, struct str user_id, const char *field, struct str *role)
{
	struct worker *w = req->user;
	struct error err = ERROR_INIT;
	struct db_rows r;

	if (!db_query(w->db, req->arena,
		      "SELECT m.role FROM members m JOIN users u ON u.id = m.user_id"
		      " WHERE m.org_id = $1 AND m.user_id = $2 AND u.is_active = 1",
		      DB_ARGS(DB_S(req->ctx.org_id), DB_S(user_id)), &r, &err)) {
		http_reply_error(req, &err);
		return false;
	}
	if (r.count == 0) {
		access_refuse(req, ERR_NOT_FOUND, field, "there is no such member in this organization");
		return false;
	}
	*role = db_str(&r, 0, 0);
	return true;
}
