/* SPDX-License-Identifier: MIT */
/*
 * Builds `sync` data from a debate's row and the messages in its log. Called by the WebSocket side when somebody
 * subscribes without naming the last event seen.
 */
#include "worker/stream/snapshot.h"

#include "common/json.h"

#define SNAPSHOT_MESSAGES 1000      /* websocket.md 2.3: the newest; the log has the others */
#define SNAPSHOT_BYTES (900 * 1024) /* Python clients refuse frames over 1 MiB */

json_t *snapshot_agents(struct arena *a, const struct debate_row *row)
{
	struct error err = ERROR_INIT;
	const json_t *plan = json_parse(a, row->plan, &err);
	const json_t *agents = json_get_arr(plan, "agents");
	json_t *names = json_array();
	size_t i;

	for (i = 0; i < json_array_size(agents); i++)
		json_array_append_new(names, json_str(json_get_str(json_array_get(agents, i), "name", STR(""))));
	return names;
}

static json_t *snapshot_message(const json_t *envelope)
{
	const json_t *data = json_get_obj(envelope, "data");
	json_t *m = json_object();

	json_put_str(m, "agent", json_get_str(envelope, "agent", STR("")));
	json_put_str(m, "role", json_get_str(data, "role", STR("proposer")));
	json_put_int(m, "round", json_get_int(envelope, "round", 0));
	json_put_str(m, "content", json_get_str(data, "content", STR("")));
	json_object_set_new(m, "timestamp", json_real(json_get_num(envelope, "timestamp", 0)));
	return m;
}

/* Newest first out of the database, oldest first into the array, as many as fit. */
static bool snapshot_messages(struct arena *a, const struct db_rows *rows, json_t *list)
{
	struct error err = ERROR_INIT;
	size_t i, bytes = 0;

	for (i = 0; i < rows->count; i++) {
		const json_t *envelope;

		bytes += db_str(rows, i, 0).n;
		if (bytes > SNAPSHOT_BYTES)
			return false;
		envelope = json_parse(a, db_str(rows, i, 0), &err);
		if (envelope != NULL)
			json_array_insert_new(list, 0, snapshot_message(envelope));
	}
	return rows->count < SNAPSHOT_MESSAGES;
}

static void snapshot_outcome(json_t *o, const struct debate_row *row)
{
	bool ended = !str_eqz(row->status, "queued") && !str_eqz(row->status, "running");

	json_object_set_new(o, "ended", json_boolean(ended));
	json_object_set_new(o, "consensus_reached", json_boolean(row->consensus_reached != 0));
	json_object_set_new(o, "consensus_confidence", json_real((double)row->confidence_ppm / 1e6));
	json_put_str(o, "consensus_answer", row->final_answer.n > 0 ? row->final_answer : STR(""));
	json_object_set_new(o, "started_at",
			    json_real((double)(row->started_at != 0 ? row->started_at : row->created_at) / 1000.0));
	json_object_set_new(o, "duration", json_real((double)row->running_ms / 1000.0));
	json_put_int(o, "rounds", row->total_rounds);
	json_put_int(o, "current_round", row->current_round);
	json_put_int(o, "last_seq", row->last_seq);
}

CO_FN bool snapshot_build(struct db *db, struct arena *a, const struct context *ctx, const struct debate_row *row,
			  json_t **out, struct error *err)
{
	struct db_rows rows;
	json_t *o, *messages;

	if (!db_query(db, a,
		      "SELECT envelope FROM debate_events WHERE debate_id = $1 AND workspace_id = $2 AND seq <= $3"
		      " AND type = 'agent_message' ORDER BY seq DESC LIMIT 1000",
		      DB_ARGS(DB_S(row->id), DB_S(ctx->workspace_id), DB_I(row->last_seq)), &rows, err))
		return false;
	o = json_object();
	messages = json_array();
	json_put_str(o, "id", row->id);
	json_put_str(o, "debate_id", row->id);
	json_put_str(o, "task", row->task);
	json_put_str(o, "status", debate_is_paused(row) ? STR("paused") : row->status);
	json_put_str(o, "mode", STR("debate"));
	json_object_set_new(o, "settlement", json_object());
	json_object_set_new(o, "agents", snapshot_agents(a, row));
	json_object_set_new(o, "truncated", json_boolean(!snapshot_messages(a, &rows, messages)));
	json_object_set_new(o, "messages", messages);
	snapshot_outcome(o, row);
	*out = o;
	return true;
}
