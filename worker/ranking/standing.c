/* SPDX-License-Identifier: MIT */
/*
 * What is known of the participants of a debate that begins. Called by a journalled step, once per debate. Says nothing
 * about agents that are not known: who is new counts as neutral, not as bad.
 */
#include "worker/ranking/ranking.h"

#include "common/json.h"

CO_FN bool ranking_standing(struct db *db, const struct context *ctx, const json_t *agents, struct str task,
			    json_t **out, struct error *err)
{
	struct arena *a = arena_new(0);
	const json_t *name;
	struct db_rows r;
	bool ok = true;
	size_t i;

	(void)task; /* ratings are of all subjects together */
	*out = json_object();
	json_array_foreach(agents, i, name)
	{
		ok = json_is_string(name) &&
		     db_query(db, a, "SELECT elo_milli FROM ratings WHERE workspace_id = $1 AND agent = $2",
			      DB_ARGS(DB_S(ctx->workspace_id), DB_Z(json_string_value(name))), &r, err);
		if (!ok)
			break;
		if (r.count > 0)
			json_object_set_new(*out, json_string_value(name),
					    json_pack("{s:I}", "elo_milli", (json_int_t)db_int(&r, 0, 0)));
	}
	arena_free(a);
	if (ok)
		return true;
	json_decref(*out);
	*out = NULL;
	return false;
}
