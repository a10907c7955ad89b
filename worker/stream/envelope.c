/* SPDX-License-Identifier: MIT */
/*
 * The shape of an event on the wire, and pages of the log. Used by the journal when it stores an event and by whoever
 * reads the log; knows nothing of sockets.
 */
#include "worker/stream/stream.h"

#include "common/db.h"
#include "common/json.h"
#include "worker/debate/debate.h"

struct str stream_envelope(struct arena *a, struct str debate_id, int64_t seq, struct str type, struct str agent,
			   int round, int64_t agent_seq, int64_t timestamp_ms, struct str task_id, const json_t *data)
{
	json_t *o = json_object();
	struct str text;

	json_put_str(o, "type", type);
	/* Existing clients read an object here, never null (websocket.md 6.1). */
	json_object_set_new(o, "data", data != NULL ? json_incref((json_t *)(uintptr_t)data) : json_object());
	json_object_set_new(o, "timestamp", json_real((double)timestamp_ms / 1000.0));
	json_put_int(o, "round", round);
	json_put_str(o, "agent", agent);
	if (seq > 0) {
		json_put_int(o, "seq", seq);
		json_put_str(o, "event_id", arena_printf(a, "%.*s:%lld", STR_ARG(debate_id), (long long)seq));
	}
	json_put_int(o, "agent_seq", agent_seq);
	json_put_str(o, "loop_id", debate_id);
	json_put_str(o, "debate_id", debate_id);
	if (task_id.n > 0)
		json_put_str(o, "task_id", task_id);
	text = json_text(a, o);
	json_decref(o);
	return text;
}

CO_FN bool stream_log_gone(struct db *db, struct arena *a, const struct debate_row *row, int64_t after)
{
	struct error err = ERROR_INIT;
	struct db_rows rows;

	return row->completed_at != 0 && after < row->last_seq &&
	       db_query(db, a, "SELECT 1 FROM debate_events WHERE debate_id = $1 AND seq = $2 AND workspace_id = $3",
			DB_ARGS(DB_S(row->id), DB_I(after + 1), DB_S(row->workspace_id)), &rows, &err) &&
	       rows.count == 0;
}

CO_FN bool stream_read_log(struct db *db, struct arena *a, const struct context *ctx, struct str debate_id,
			   int64_t after, int limit, struct stream_event **events, size_t *n, struct error *err)
{
	struct db_rows rows;
	size_t i;

	if (!db_query(
		db, a,
		"SELECT seq, type, envelope FROM debate_events WHERE debate_id = $1 AND workspace_id = $2 AND seq > $3"
		" ORDER BY seq LIMIT $4",
		DB_ARGS(DB_S(debate_id), DB_S(ctx->workspace_id), DB_I(after), DB_I(limit)), &rows, err))
		return false;
	*n = rows.count;
	*events = arena_zalloc(a, (rows.count + 1) * sizeof(**events));
	for (i = 0; i < rows.count; i++)
		(*events)[i] = (struct stream_event){debate_id, ctx->workspace_id, db_int(&rows, i, 0),
						     db_str(&rows, i, 1), db_str(&rows, i, 2)};
	return true;
}
