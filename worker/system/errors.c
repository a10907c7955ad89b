/* SPDX-License-Identifier: MIT */
/*
 * GET /api/system/errors (seed 002, admin console), and the ear at the log that fills it. Called by every thread that
 * logs an error. Keeps no file: what is older is in the log.
 */
#include "worker/system/errors.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "common/shm.h"
#include "worker/system/system.h"
#include "worker/worker.h"

#define ERRORS_DEFAULT 20
#define ERRORS_MAX 100
#define ERRORS_MESSAGE 300
#define ERRORS_ID 128

static struct shm *errors_shm;

static struct str errors_pair(const struct log_kv *kv, const char *key)
{
	for (; kv->kind != LOG_END; kv++)
		if (kv->kind == LOG_STR && strcmp(kv->key, key) == 0)
			return kv->s;
	return STR_NONE;
}

static void errors_put(json_t *doc, const char *key, struct str s, size_t max)
{
	if (s.n > 0)
		json_put_str(doc, key, str_utf8_cut(s, max));
}

static void errors_listen(enum log_level level, const char *component, const char *msg, const struct log_kv *kv,
			  const struct log_ctx *ctx)
{
	static const char *const reasons[] = {"reason", "error", "why"};
	struct str why = STR_NONE, id = ctx != NULL ? ctx->request_id : STR_NONE;
	char iso[CLOCK_ISO_MAX], text[RECENT_TEXT], message[ERRORS_MESSAGE];
	json_t *doc = json_object();
	size_t i, n;

	for (i = 0; i < countof(reasons) && why.n == 0; i++)
		why = errors_pair(kv, reasons[i]);
	if (id.n == 0)
		id = errors_pair(kv, "request_id");
	n = (size_t)snprintf(message, sizeof(message), "%s%s%.*s", msg, why.n > 0 ? ": " : "",
			     (int)(why.n < ERRORS_MESSAGE ? why.n : ERRORS_MESSAGE), why.n > 0 ? why.p : "");
	json_put_str(doc, "timestamp", str_of(clock_iso(iso, clock_wall_ms())));
	json_put_str(doc, "level", level == LOG_ERROR ? STR("error") : STR("warning"));
	json_put_str(doc, "component", str_of(component));
	errors_put(doc, "message", (struct str){message, n < sizeof(message) ? n : sizeof(message) - 1},
		   ERRORS_MESSAGE);
	errors_put(doc, "endpoint", errors_pair(kv, "route"), ERRORS_ID);
	errors_put(doc, "user_id", errors_pair(kv, "user"), ERRORS_ID);
	errors_put(doc, "request_id", id, ERRORS_ID);
	n = json_dumpb(doc, text, sizeof(text), JSON_COMPACT);
	json_decref(doc);
	/* What does not fit even so is in the log. */
	if (n > 0 && n < sizeof(text))
		(void)recent_add(&errors_shm->errors, (struct str){text, n});
}

void errors_keep(struct shm *shm)
{
	errors_shm = shm;
	log_listen(errors_listen);
}

/* Newest first. */
static void errors_show(struct http_request *req)
{
	const struct recent *r = &((const struct worker *)req->user)->shm->errors;
	int64_t limit = http_query_int(req, "limit", 1, ERRORS_MAX, ERRORS_DEFAULT);
	uint64_t last = recent_count(r), id;
	json_t *list = json_array(), *doc;
	struct error err = ERROR_INIT;
	char text[RECENT_TEXT];

	if (!system_for_operator(req)) {
		json_decref(list);
		return;
	}
	for (id = last; id > 0 && last - id < RECENT_NOTES && (int64_t)json_array_size(list) < limit; id--) {
		doc = recent_get(r, id, text) ? json_parse(NULL, str_of(text), &err) : NULL;
		if (doc == NULL)
			continue;
		json_put_str(doc, "id", arena_printf(req->arena, "%llu", (unsigned long long)id));
		json_array_append_new(list, doc);
	}
	http_reply_json(
	    req, 200,
	    json_pack("{s:o, s:I, s:I}", "errors", list, "total", (json_int_t)last, "limit", (json_int_t)limit));
}

static const struct route errors_rows[] = {
    ROUTE(GET, "/api/system/errors", errors_show, "admin.system", READ,
	  "Recent errors of this node, newest first: ?limit=20", .flags = ROUTE_INLINE),
};
const struct route_table errors_routes = {errors_rows, countof(errors_rows)};
