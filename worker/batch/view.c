/* SPDX-License-Identifier: MIT */
/*
 * Batches and items as API objects, under all names that clients know (rest-core 4.8, 4.10). Pure.
 */
#include "worker/batch/room.h"

#include "common/clock.h"
#include "common/json.h"
#include "worker/debate/request.h"

static void view_seconds(json_t *o, const char *key, int64_t from_ms, int64_t to_ms)
{
	json_object_set_new(o, key,
			    from_ms != 0 && to_ms != 0 ? json_real((double)(to_ms - from_ms) / 1000.0) : json_null());
}

json_t *batch_view(const struct batch_row *b, const struct batch_counts *c)
{
	int64_t done = c->completed + c->failed + c->cancelled;
	int64_t permille = b->total > 0 ? done * 1000 / b->total : 0;
	json_t *o = json_object();

	json_put_str(o, "batch_id", b->id);
	json_put_str(o, "id", b->id);
	json_put_str(o, "kind", b->kind);
	json_put_str(o, "status", b->status);
	json_put_int(o, "total_items", b->total);
	json_put_int(o, "total_jobs", b->total);
	json_put_int(o, "completed", c->completed);
	json_put_int(o, "completed_jobs", c->completed);
	json_put_int(o, "failed", c->failed);
	json_put_int(o, "failed_jobs", c->failed);
	json_put_int(o, "cancelled", c->cancelled);
	json_put_int(o, "running", c->running);
	json_put_int(o, "queued", c->queued);
	json_object_set_new(o, "progress_percent", json_real((double)permille / 10.0));
	json_put_int(o, "max_parallel", b->max_parallel);
	json_put_int(o, "max_concurrent", b->max_parallel);
	json_object_set_new(o, "webhook_url", b->webhook_url.n > 0 ? json_str(b->webhook_url) : json_null());
	json_put_time(o, "created_at", b->created_at);
	json_put_time(o, "submitted_at", b->created_at);
	json_put_time(o, "started_at", b->started_at);
	json_put_time(o, "completed_at", b->completed_at);
	view_seconds(o, "duration_seconds", b->started_at,
		     b->completed_at != 0 ? b->completed_at
		     : b->open != 0       ? clock_wall_ms()
					  : 0);
	return o;
}

const json_t *batch_result(struct arena *a, const struct batch_item *i)
{
	struct error err = ERROR_INIT;

	return i->result.n > 0 ? json_parse(a, i->result, &err) : NULL;
}

static json_t *view_result(struct arena *a, const struct batch_item *i)
{
	const json_t *result = batch_result(a, i);
	json_t *o;

	if (i->debate_ended == 0)
		return json_null();
	o = json_pack("{s:b, s:f}", "consensus_reached", (int)(i->consensus_reached != 0), "confidence",
		      (double)i->confidence_ppm / 1e6);
	json_put_str(o, "status", json_get_str(result, "status", i->debate_status));
	json_put_str(o, "final_answer", i->final_answer.n > 0 ? i->final_answer : STR(""));
	json_put_str(o, "winner", json_get_str(result, "winner", STR("")));
	json_put_int(o, "rounds_used", json_get_int(result, "rounds_used", 0));
	return o;
}

json_t *batch_item_view(struct arena *a, const struct batch_item *i, bool full)
{
	static const char *const same[] = {"agents", "rounds", "consensus", "metadata"};
	struct error err = ERROR_INIT;
	const json_t *body = json_parse(a, i->body, &err);
	struct str id = arena_printf(a, "item_%lld", (long long)i->n);
	json_t *o = json_object();
	size_t k;

	json_put_str(o, "item_id", id);
	json_put_str(o, "job_id", id);
	json_put_int(o, "index", i->n);
	if (i->name.n > 0)
		json_put_str(o, "name", i->name);
	json_put_str(o, "question", json_get_str(body, "task", STR("")));
	for (k = 0; k < countof(same); k++)
		json_object_set(o, same[k],
				json_object_get(body, same[k]) != NULL ? json_object_get(body, same[k]) : json_null());
	json_put_int(o, "priority", i->priority);
	json_put_str(o, "status", i->state);
	json_object_set_new(o, "progress", json_real(i->completed_at != 0 ? 1 : 0));
	json_object_set_new(o, "debate_id", i->debate_id.n > 0 ? json_str(i->debate_id) : json_null());
	json_object_set_new(o, "error", i->error.n > 0 ? json_str(i->error) : json_null());
	json_put_time(o, "created_at", i->created_at);
	json_put_time(o, "started_at", i->started_at);
	json_put_time(o, "completed_at", i->completed_at);
	view_seconds(o, "duration_seconds", i->started_at, i->completed_at);
	json_object_set_new(o, "result", full ? view_result(a, i) : json_null());
	return o;
}
