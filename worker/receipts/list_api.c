/* SPDX-License-Identifier: MIT */
/*
 * Many receipts at once: list, search, statistics and how old they are. Routes only read; what is shown of a receipt
 * here comes from its row, not from its document.
 */
#include "worker/receipts/api.h"

#include "common/clock.h"
#include "common/conf.h"
#include "common/json.h"
#include "worker/http/page.h"
#include "worker/receipts/receipt.h"
#include "worker/worker.h"

#define LIST_LIMIT_MAX 100
#define LIST_LIMIT 20
#define LIST_QUERY_MIN 3
#define LIST_QUERY_MAX 500
#define LIST_DAY_MS INT64_C(86400000)

static struct worker *list_worker(const struct http_request *req)
{
	return req->user;
}

/* ---- filters ---- */

struct list_filter {
	struct str verdict, risk, debate, from, to, reached, query, pattern;
	int64_t from_ms, to_ms, confidence_ppm, limit, offset;
};

#define LIST_WHERE                                                                                                     \
	" FROM receipts r LEFT JOIN debates d ON d.id = r.debate_id AND d.workspace_id = r.workspace_id WHERE "        \
	"r.org_id = $1 AND r.workspace_id = $2"                                                                        \
	" AND ($3 = '' OR r.verdict = $3) AND ($4 = '' OR r.risk_level = $4) AND ($5 = '' OR r.debate_id = $5)"        \
	" AND r.created_at >= $6 AND r.created_at <= $7 AND r.confidence_ppm >= $8"                                    \
	" AND ($9 = '' OR (r.verdict <> 'NEEDS_REVIEW') = ($9 = 'true'))"                                              \
	" AND ($10 = '' OR lower(d.task) LIKE lower($10) ESCAPE '\\' OR lower(d.final_answer) LIKE lower($10) ESCAPE " \
	"'\\' OR r.id = $11)"
#define LIST_FROM(order)                                                                                     \
	"SELECT r.id, r.debate_id, r.verdict, r.risk_level, r.content_hash, r.key_id, "                      \
	"COALESCE(substr(d.task, 1, 200), ''), r.confidence_ppm, r.created_at" LIST_WHERE " ORDER BY " order \
	", r.id DESC LIMIT $12 OFFSET $13"

/* How sure a decision is and how risky are the same column, read from two ends. */
static const struct {
	const char *sort, *order, *sql;
} list_orders[] = {
    {"created_at", "desc", LIST_FROM("r.created_at DESC")},
    {"created_at", "asc", LIST_FROM("r.created_at")},
    {"confidence", "desc", LIST_FROM("r.confidence_ppm DESC")},
    {"confidence", "asc", LIST_FROM("r.confidence_ppm")},
    {"risk_score", "desc", LIST_FROM("r.confidence_ppm")},
    {"risk_score", "asc", LIST_FROM("r.confidence_ppm DESC")},
};

/* rest-wide 0.1: what cannot be read as a time does not filter. */
static int64_t list_time(struct str text, int64_t dflt)
{
	int64_t ms;

	return text.n > 0 && clock_parse(text, &ms) ? ms : dflt;
}

static void list_filter(const struct http_request *req, struct list_filter *f)
{
	struct str from = http_query(req, "date_from"), to = http_query(req, "date_to");
	struct str sure = http_query(req, "min_confidence");
	char number[32];
	double least;

	*f = (struct list_filter){.verdict = http_query(req, "verdict"),
				  .risk = http_query(req, "risk_level"),
				  .debate = http_query(req, "debate_id"),
				  .from = from.n > 0 ? from : http_query(req, "from_date"),
				  .to = to.n > 0 ? to : http_query(req, "to_date"),
				  .reached = http_query(req, "consensus_reached"),
				  .query = STR(""),
				  .pattern = STR("")};
	f->from_ms = list_time(f->from, 0);
	f->to_ms = list_time(f->to, INT64_MAX);
	snprintf(number, sizeof(number), "%.*s", STR_ARG(str_sub(sure, 0, sizeof(number) - 1)));
	least = strtod(number, NULL);
	f->confidence_ppm = least > 0 ? (int64_t)((least < 1 ? least : 1) * 1e6) : 0;
	if (!str_eqz(f->reached, "true") && !str_eqz(f->reached, "false"))
		f->reached = STR("");
	f->limit = http_query_int(req, "limit", 1, LIST_LIMIT_MAX, LIST_LIMIT);
	f->offset = http_query_int(req, "offset", 0, INT32_MAX, 0);
}

/* "contains", with the wildcards of the text itself escaped. */
static struct str list_pattern(struct arena *a, struct str text)
{
	struct buf out = BUF_INIT;
	struct str pattern;
	size_t i;

	buf_addc(&out, '%');
	for (i = 0; i < text.n; i++) {
		if (text.p[i] == '%' || text.p[i] == '_' || text.p[i] == '\\')
			buf_addc(&out, '\\');
		buf_addc(&out, text.p[i]);
	}
	buf_addc(&out, '%');
	pattern = arena_str(a, buf_str(&out));
	buf_free(&out);
	return pattern;
}

/* ---- answers ---- */

static json_t *list_summary(const struct db_rows *r, size_t i)
{
	static const char *const names[] = {"receipt_id",   "debate_id",        "verdict", "risk_level",
					    "content_hash", "signature_key_id", "question"};
	double confidence = (double)db_int(r, i, countof(names)) / 1e6;
	char iso[CLOCK_ISO_MAX];
	json_t *o = json_object();
	size_t k;

	for (k = 0; k < countof(names); k++)
		json_put_str(o, names[k], db_str(r, i, k));
	json_put_str(o, "gauntlet_id", db_str(r, i, 1));
	json_put_str(o, "checksum", db_str(r, i, 4));
	json_object_set_new(o, "confidence", json_real(confidence));
	json_object_set_new(o, "risk_score", json_real(1.0 - confidence));
	json_object_set_new(o, "signed", json_true());
	json_put_str(o, "created_at", str_of(clock_iso(iso, db_int(r, i, countof(names) + 1))));
	json_put_str(o, "timestamp", str_of(iso));
	return o;
}

static json_t *list_filters(const struct list_filter *f)
{
	const struct {
		const char *name;
		struct str value;
	} given[] = {{"verdict", f->verdict}, {"risk_level", f->risk}, {"debate_id", f->debate},
		     {"date_from", f->from},  {"date_to", f->to},      {"consensus_reached", f->reached}};
	json_t *o = json_object();
	size_t i;

	for (i = 0; i < countof(given); i++)
		if (given[i].value.n > 0)
			json_put_str(o, given[i].name, given[i].value);
	return o;
}

static void list_reply(struct http_request *req, const struct list_filter *f, const struct db_rows *r, int64_t total)
{
	json_t *list = json_array(), *page = json_object(), *pagination;
	size_t i;

	for (i = 0; i < r->count; i++)
		json_array_append_new(list, list_summary(r, i));
	page_put(page, f->limit, f->offset, r->count, total);
	pagination = json_copy(page);
	(void)json_object_del(pagination, "count");
	json_object_set_new(page, "pagination", pagination);
	json_object_set_new(page, "filters", list_filters(f));
	if (f->query.n > 0)
		json_put_str(page, "query", f->query);
	json_object_set(page, "receipts", list);
	json_object_set_new(page, "items", list);
	http_reply_json(req, 200, page);
}

CO_FN static void list_as(struct http_request *req, const struct list_filter *f)
{
	struct str sort = http_query(req, "sort_by"), order = http_query(req, "order");
	const struct db_val args[] = {DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id),
				      DB_S(f->verdict),      DB_S(f->risk),
				      DB_S(f->debate),       DB_I(f->from_ms),
				      DB_I(f->to_ms),        DB_I(f->confidence_ppm),
				      DB_S(f->reached),      DB_S(f->pattern),
				      DB_S(f->query),        DB_I(f->limit),
				      DB_I(f->offset)};
	const char *sql = list_orders[0].sql;
	struct error err = ERROR_INIT;
	struct db_rows count, rows;
	size_t i;

	for (i = 0; i < countof(list_orders); i++)
		if (str_eqz(sort.n > 0 ? sort : STR("created_at"), list_orders[i].sort) &&
		    str_ieqz(order.n > 0 ? order : STR("desc"), list_orders[i].order))
			sql = list_orders[i].sql;
	if (db_query(list_worker(req)->db, req->arena, "SELECT COUNT(*)" LIST_WHERE, args, countof(args) - 2, &count,
		     &err) &&
	    db_query(list_worker(req)->db, req->arena, sql, args, countof(args), &rows, &err))
		list_reply(req, f, &rows, db_int(&count, 0, 0));
	else
		http_reply_error(req, &err);
}

CO_FN static void list_all(struct http_request *req)
{
	struct list_filter f;

	list_filter(req, &f);
	list_as(req, &f);
}

/* In the question and in the answer, or a receipt's id. */
CO_FN static void list_search(struct http_request *req)
{
	struct str q = http_query(req, "q");
	struct error err = ERROR_INIT;
	struct list_filter f;

	list_filter(req, &f);
	f.query = str_trim(q.n > 0 ? q : http_query(req, "query"));
	if (f.query.n < LIST_QUERY_MIN || f.query.n > LIST_QUERY_MAX) {
		error_field(&err, ERR_INVALID_VALUE, "query", "must be %d to %d characters", LIST_QUERY_MIN,
			    LIST_QUERY_MAX);
		http_reply_error(req, &err);
		return;
	}
	f.pattern = list_pattern(req->arena, f.query);
	list_as(req, &f);
}

/* ---- figures ---- */

static void list_count(json_t *o, struct str key, int64_t n)
{
	json_t *had = json_object_getn(o, key.p, key.n);

	if (key.n > 0)
		json_object_setn_new(o, key.p, key.n, json_integer(n + json_integer_value(had)));
}

CO_FN static void list_stats(struct http_request *req)
{
	json_t *verdicts = json_object(), *risks = json_object(), *keys = json_object();
	struct error err = ERROR_INIT;
	char iso[CLOCK_ISO_MAX];
	struct db_rows rows;
	int64_t total = 0;
	size_t i;

	if (!db_query(
		list_worker(req)->db, req->arena,
		"SELECT verdict, risk_level, key_id, COUNT(*) FROM receipts WHERE org_id = $1 AND workspace_id = $2"
		" GROUP BY verdict, risk_level, key_id",
		DB_ARGS(DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id)), &rows, &err)) {
		http_reply_error(req, &err);
		json_decref(verdicts);
		json_decref(risks);
		json_decref(keys);
		return;
	}
	for (i = 0; i < rows.count; i++) {
		int64_t n = db_int(&rows, i, 3);

		total += n;
		list_count(verdicts, db_str(&rows, i, 0), n);
		list_count(risks, db_str(&rows, i, 1), n);
		list_count(keys, db_str(&rows, i, 2), n);
	}
	http_reply_json(req, 200,
			json_pack("{s:{s:I, s:I, s:i, s:o, s:o, s:o, s:I}, s:s}", "stats", "total", (json_int_t)total,
				  "signed", (json_int_t)total, "unsigned", 0, "by_verdict", verdicts, "by_risk_level",
				  risks, "by_key", keys, "retention_days",
				  (json_int_t)list_worker(req)->conf->retention.receipt_days, "generated_at",
				  clock_iso(iso, clock_wall_ms())));
}

/* Upper bounds in days, rest-wide 4.1. */
static const struct {
	const char *name;
	int64_t days;
} list_ages[] = {{"0-30_days", 30},   {"31-90_days", 90},  {"91-365_days", 365},
		 {"1-3_years", 1095}, {"3-7_years", 2555}, {"over_7_years", 0}};

static json_t *list_age_counts(const struct db_rows *r, int64_t total)
{
	json_t *o = json_object();
	int64_t before = 0;
	size_t i;

	for (i = 0; i < countof(list_ages); i++) {
		int64_t upto = list_ages[i].days > 0 ? db_int(r, 0, 3 + i) : total;

		json_put_int(o, list_ages[i].name, upto - before);
		before = upto;
	}
	return o;
}

/* How many go within the next days. */
CO_FN static bool list_expiring(struct http_request *req, json_t *o, struct error *err)
{
	static const int soon[] = {0, 30, 90, 365};
	int64_t days = list_worker(req)->conf->retention.receipt_days, now = clock_wall_ms(), before = 0;
	json_t *expiring = json_object();
	bool ok = true;
	size_t i;

	for (i = 0; ok && i < countof(soon); i++) {
		char name[24];
		struct db_rows rows;

		ok = db_query(
		    list_worker(req)->db, req->arena,
		    "SELECT COUNT(*) FROM receipts r WHERE r.org_id = $1 AND r.workspace_id = $2 AND "
		    "r.created_at < $3 AND NOT EXISTS (SELECT 1 FROM receipt_holds h WHERE h.receipt_id = r.id AND "
		    "h.workspace_id = $2)",
		    DB_ARGS(DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id),
			    DB_I(days > 0 ? now - (days - soon[i]) * LIST_DAY_MS : 0)),
		    &rows, err);
		if (!ok)
			break;
		if (i == 0)
			json_put_int(o, "already_expired", before = db_int(&rows, 0, 0));
		snprintf(name, sizeof(name), "next_%d_days", soon[i]);
		if (i > 0)
			json_put_int(expiring, name, db_int(&rows, 0, 0) - before);
	}
	json_object_set_new(o, "expiring_receipts", expiring);
	return ok;
}

CO_FN static void list_retention(struct http_request *req)
{
	int64_t now = clock_wall_ms(), days = list_worker(req)->conf->retention.receipt_days, total;
	struct db_val args[2 + countof(list_ages)] = {DB_S(req->ctx.org_id), DB_S(req->ctx.workspace_id)};
	json_t *o = json_own(req->arena, json_object()), *times = json_object();
	struct error err = ERROR_INIT;
	struct db_rows rows;
	size_t i;

	for (i = 0; i + 1 < countof(list_ages); i++)
		args[2 + i] = DB_I(now - list_ages[i].days * LIST_DAY_MS);
	json_object_set_new(o, "timestamps", times);
	if (!db_query(list_worker(req)->db, req->arena,
		      "SELECT COUNT(*), COALESCE(MIN(created_at), 0), COALESCE(MAX(created_at), 0), COUNT(CASE WHEN "
		      "created_at >= $3 THEN 1 END), COUNT(CASE WHEN created_at >= $4 THEN 1 END), COUNT(CASE WHEN "
		      "created_at >= $5 THEN 1 END), COUNT(CASE WHEN created_at >= $6 THEN 1 END), COUNT(CASE WHEN "
		      "created_at >= $7 THEN 1 END) FROM receipts WHERE org_id = $1 AND workspace_id = $2",
		      args, 2 + countof(list_ages) - 1, &rows, &err) ||
	    !list_expiring(req, o, &err)) {
		http_reply_error(req, &err);
		return;
	}
	total = db_int(&rows, 0, 0);
	json_object_set_new(
	    o, "retention_policy",
	    json_pack("{s:I, s:f}", "retention_days", (json_int_t)days, "retention_years", (double)days / 365.0));
	json_object_set_new(o, "age_distribution", list_age_counts(&rows, total));
	json_put_time(times, "oldest_receipt", db_int(&rows, 0, 1));
	json_put_time(times, "newest_receipt", db_int(&rows, 0, 2));
	json_put_int(o, "total_receipts", total);
	json_put_time(o, "generated_at", now);
	http_reply_json(req, 200, json_incref(o));
}

#define READ(p, fn, text, schema) ROUTE(GET, p, fn, "receipts:read", READ, text, .response = (schema))

static const struct route list_rows[] = {
    READ("/api/receipts", list_all, "List decision receipts, newest first", "ReceiptList"),
    READ("/api/gauntlet/receipts", list_all, "List decision receipts, newest first", "ReceiptList"),
    READ("/api/receipts/search", list_search, "Search receipts by words of question or answer", "ReceiptList"),
    READ("/api/receipts/stats", list_stats, "How many receipts there are, by verdict, risk and key", NULL),
    READ("/api/receipts/retention-status", list_retention, "How old the receipts are, and which go when", NULL),
};

const struct route_table receipt_list_routes = {list_rows, countof(list_rows)};
