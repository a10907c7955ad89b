/* SPDX-License-Identifier: MIT */
/*
 * The report an auditor starts from, and what the criteria of SOC 2 (Trust Services Criteria 2017, CC6.1 to CC7.2) are
 * shown by. Called by the API and by `aragorad audit export --format soc2`. It counts; it judges nothing.
 */
#include "common/clock.h"
#include "common/json.h"
#include "worker/audit/audit_log.h"

/* Actions whose names begin so are evidence for the criterion. */
static const struct {
	const char *criterion, *about;
	const char *prefixes[6];
} report_criteria[] = {
    {"CC6.1", "Logical access is restricted", {"auth.", "access.", "api.key", NULL}},
    {"CC6.2",
     "Users are registered and authorized before they get access",
     {"auth.register", "admin.user", "data.member", NULL}},
    {"CC6.3", "Access is changed and removed by role", {"access.role", "admin.role", "access.delegation", NULL}},
    {"CC7.2",
     "The system is watched for anomalies",
     {"security.", "system.", "auth.lockout", "api.rate_limited", NULL}},
};

/* What is asked first after an incident. */
static const struct {
	const char *name, *prefix;
	const char *outcome; /* NULL: any */
} report_security[] = {
    {"failed_logins", "auth.login_failed", NULL}, {"lockouts", "auth.lockout", NULL},
    {"token_reuse", "auth.token_reuse", NULL},    {"denied", "", "denied"},
    {"impersonations", "admin.impersonat", NULL}, {"break_glass", "access.break_glass", NULL},
    {"rate_limited", "api.rate_limited", NULL},   {"key_rotations", "security.key_rotation", NULL},
};

static int64_t report_sum(const struct db_rows *rows, const char *prefix, const char *outcome)
{
	int64_t sum = 0;

	for (size_t i = 0; i < rows->count; i++)
		if (str_starts(db_str(rows, i, 0), str_of(prefix)) &&
		    (outcome == NULL || str_eqz(db_str(rows, i, 1), outcome)))
			sum += db_int(rows, i, 2);
	return sum;
}

static json_t *report_evidence(const struct db_rows *rows)
{
	json_t *list = json_array();

	for (size_t i = 0; i < countof(report_criteria); i++) {
		int64_t n = 0;

		for (size_t k = 0; report_criteria[i].prefixes[k] != NULL; k++)
			n += report_sum(rows, report_criteria[i].prefixes[k], NULL);
		json_array_append_new(list,
				      json_pack("{s:s, s:s, s:I}", "criterion", report_criteria[i].criterion,
						"description", report_criteria[i].about, "events", (json_int_t)n));
	}
	return list;
}

static json_t *report_metrics(const struct db_rows *rows)
{
	json_t *o = json_object();

	for (size_t i = 0; i < countof(report_security); i++)
		json_put_int(o, report_security[i].name,
			     report_sum(rows, report_security[i].prefix, report_security[i].outcome));
	return o;
}

static json_t *report_period(const struct audit_filter *f)
{
	json_t *o = json_object();
	char iso[CLOCK_ISO_MAX];

	json_put_time(o, "start", f->from_ms);
	json_object_set_new(o, "end", json_string(clock_iso(iso, f->until_ms > 0 ? f->until_ms : clock_wall_ms())));
	return o;
}

json_t *audit_report(const struct audit_source *src, const struct audit_key *k, struct arena *a,
		     const struct audit_filter *f, struct error *err)
{
	struct db_val args[AUDIT_FILTER_ARGS];
	struct audit_check check = {0};
	struct buf sql = BUF_INIT;
	struct db_rows rows;
	json_t *o, *summary, *by_category = NULL, *by_outcome = NULL;
	char iso[CLOCK_ISO_MAX];
	size_t n;
	bool ok;

	buf_addz(&sql, "SELECT action, outcome, COUNT(*) FROM audit_events");
	audit_filter_where(f, a, &sql, args, &n);
	buf_addz(&sql, " GROUP BY action, outcome ORDER BY action, outcome");
	ok = src->query(src->arg, a, sql.p, args, n, &rows, err) && audit_check_run(src, k, &check, err);
	buf_free(&sql);
	if (ok)
		by_category = audit_count_by(src, a, f, "category", err);
	if (by_category != NULL)
		by_outcome = audit_count_by(src, a, f, "outcome", err);
	if (by_outcome == NULL) {
		json_decref(by_category);
		return NULL;
	}
	o = json_object();
	summary = json_object();
	json_put_str(o, "generated_at", str_of(clock_iso(iso, clock_wall_ms())));
	json_object_set_new(o, "period", report_period(f));
	json_object_set_new(o, "integrity",
			    json_pack("{s:b, s:I, s:s}", "valid", (int)(check.problems == 0), "error_count",
				      (json_int_t)check.problems, "method",
				      "SHA-256 hash chain, HMAC-SHA256 signatures"));
	json_put_int(summary, "total_events", report_sum(&rows, "", NULL));
	json_object_set_new(summary, "by_category", by_category);
	json_object_set_new(summary, "by_outcome", by_outcome);
	json_object_set_new(o, "summary", summary);
	json_object_set_new(o, "security_metrics", report_metrics(&rows));
	json_object_set_new(o, "evidence", report_evidence(&rows));
	return o;
}
