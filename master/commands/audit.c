/* SPDX-License-Identifier: MIT */
/*
 * `aragorad audit verify` and `audit export`: the audit log for operators, beside a running server or without one. The
 * logic is worker/audit's.
 */
#include <errno.h>

#include "common/clock.h"
#include "common/db_admin.h"
#include "common/json.h"
#include "master/commands/commands.h"
#include "master/commands/ops.h"
#include "worker/audit/audit_log.h"

#define AUDIT_EXIT_BROKEN 1      /* as EXIT_FAILED: something is not as it was written */
#define AUDIT_EXIT_UNKNOWN_KEY 3 /* whole, but signed with keys that are not here */

struct audit_command {
	struct args args;
	const char *from, *to, *anchor, *format, *output, *org, *category;
};

static struct audit_command *audit_of(struct args *a)
{
	return container_of(a, struct audit_command, args);
}

/* ---- verify ---- */

/* A number of an event, or a time: then that of the first event from it on, or of the last before it. */
static bool audit_bound(struct dba *d, const char *text, const char *option, bool last, int64_t *seq, struct error *err)
{
	struct str s = str_of(text);
	int64_t ms;

	*seq = 0;
	if (text == NULL || str_to_i64(s, 1, INT64_MAX, seq))
		return true;
	if (!clock_parse(s, &ms))
		return error_set(err, ERR_INVALID_VALUE,
				 "--%s takes the number of an event or a time, 2026-01-31T12:00:00Z", option);
	return dba_int(d,
		       last ? "SELECT COALESCE(MAX(seq), 0) FROM audit_events WHERE created_at < $1"
			    : "SELECT COALESCE(MIN(seq), 0) FROM audit_events WHERE created_at >= $1",
		       DB_ARGS(DB_I(ms)), seq, err);
}

/* "1234:ab12…", as the log line "anchor" shows both. */
static bool audit_noted_anchor(const char *text, struct audit_check *c, struct error *err)
{
	struct str rest = str_of(text), seq;

	if (text == NULL)
		return true;
	if (!str_split(&rest, ':', &seq) || !str_to_i64(seq, 1, INT64_MAX, &c->noted_seq) || rest.n != SHA256_HEX - 1)
		return error_set(err, ERR_INVALID_VALUE, "--anchor takes NUMBER:HASH, the hash in 64 hex digits");
	c->noted_hash = rest;
	return true;
}

static void audit_print_check(const struct args *a, const struct audit_check *c)
{
	json_t *doc;
	char *text;

	if (a->json) {
		doc = audit_check_json(c);
		text = json_dumps(doc, JSON_INDENT(2));
		printf("%s\n", text);
		free(text);
		json_decref(doc);
		return;
	}
	if (c->events > 0)
		printf("%lld events, %lld to %lld, and %lld anchors checked\n", (long long)c->events,
		       (long long)c->first, (long long)c->last, (long long)c->anchors);
	else
		printf("there are no events to check\n");
	if (c->retained_from > 1)
		printf("events before %lld have been removed by retention\n", (long long)c->retained_from);
	if (c->pending > 0)
		printf("%lld events are written and not yet chained; a running server does that within a second\n",
		       (long long)c->pending);
	if (c->foreign > 0)
		printf("%lld signatures are by another key (%s): they cannot be checked here\n", (long long)c->foreign,
		       c->foreign_key);
	for (int64_t i = 0; i < c->problems && i < AUDIT_ERRORS_MAX; i++)
		printf("%s: %s\n", i == 0 ? "BROKEN" : "      ", c->v[i].what);
	if (c->problems > AUDIT_ERRORS_MAX)
		printf("        and %lld more\n", (long long)c->problems - AUDIT_ERRORS_MAX);
	if (c->problems == 0)
		printf("the chain is whole\n");
}

static int audit_verify(struct args *a, const struct conf *c)
{
	const struct audit_command *o = audit_of(a);
	struct error err = ERROR_INIT;
	struct audit_check *check = xcalloc(1, sizeof(*check));
	struct dba *d = dba_open(c, DBA_READ, &err);
	struct audit_source src;
	struct audit_key key;
	bool ok = d != NULL && audit_key_load(c, &key, &err) &&
		  audit_bound(d, o->from, "from", false, &check->from, &err) &&
		  audit_bound(d, o->to, "to", true, &check->to, &err) && audit_noted_anchor(o->anchor, check, &err);
	int code;

	if (ok) {
		src = audit_source_dba(d);
		ok = audit_check_run(&src, &key, check, &err);
	}
	if (ok)
		audit_print_check(a, check);
	code = !ok                   ? ops_fail(&err)
	       : check->problems > 0 ? AUDIT_EXIT_BROKEN
	       : check->foreign > 0  ? AUDIT_EXIT_UNKNOWN_KEY
				     : EXIT_OK;
	explicit_bzero(&key, sizeof(key));
	dba_close(d);
	free(check);
	return code;
}

/* ---- export ---- */

struct audit_export {
	enum audit_format format;
	FILE *out;
	int64_t count;
};

static bool audit_flush(struct audit_export *x, struct buf *b)
{
	bool ok = b->n == 0 || fwrite(b->p, 1, b->n, x->out) == b->n;

	buf_free(b);
	return ok;
}

static bool audit_export_one(void *arg, struct arena *a, const struct audit_record *r)
{
	struct audit_export *x = arg;
	struct buf b = BUF_INIT;

	audit_format_add(x->format, a, r, x->count++ == 0, &b);
	return audit_flush(x, &b);
}

static bool audit_export_all(struct audit_export *x, const struct audit_source *src, const struct audit_filter *f,
			     struct error *err)
{
	struct buf b = BUF_INIT;

	audit_format_begin(x->format, &b);
	if (!audit_flush(x, &b) || !audit_each(src, f, audit_export_one, x, err))
		return false;
	audit_format_end(x->format, x->count, &b);
	(void)audit_flush(x, &b);
	return fflush(x->out) == 0 && ferror(x->out) == 0;
}

static bool audit_export_soc2(const struct conf *c, const struct audit_source *src, const struct audit_filter *f,
			      FILE *out, int64_t *count, struct error *err)
{
	struct arena *a = arena_new(0);
	struct audit_key key;
	json_t *doc = audit_key_load(c, &key, err) ? json_own(a, audit_report(src, &key, a, f, err)) : NULL;
	char *text = doc != NULL ? json_dumps(doc, JSON_INDENT(2)) : NULL;
	bool ok = text != NULL && fprintf(out, "%s\n", text) > 0 && fflush(out) == 0;

	*count = json_get_int(json_get_obj(doc, "summary"), "total_events", 0);
	explicit_bzero(&key, sizeof(key));
	free(text);
	arena_free(a);
	return ok;
}

static bool audit_filter_from(const struct audit_command *o, struct audit_filter *f, struct error *err)
{
	*f = (struct audit_filter){.org = str_of(o->org), .category = str_of(o->category)};
	if ((o->from != NULL && !clock_parse(str_of(o->from), &f->from_ms)) ||
	    (o->to != NULL && !clock_parse(str_of(o->to), &f->until_ms)))
		return error_set(err, ERR_INVALID_VALUE,
				 "--from and --to take a time, 2026-01-31 or 2026-01-31T12:00:00Z");
	return audit_filter_ok(f, err);
}

/* That somebody took a copy is an event as well. */
static bool audit_export_told(const struct conf *c, const char *format, int64_t count, struct error *err)
{
	json_t *details = json_pack("{s:s, s:I}", "format", format, "events", (json_int_t)count);
	bool ok = audit_command(c,
				&(struct audit_event){.category = "data",
						      .action = "data.exported",
						      .resource_type = STR("audit_events"),
						      .details = details},
				err);

	json_decref(details);
	return ok;
}

static int audit_export(struct args *a, const struct conf *c)
{
	const struct audit_command *o = audit_of(a);
	const char *format = o->format != NULL ? o->format : "json";
	bool soc2 = strcmp(format, "soc2") == 0, ok = true;
	struct audit_export x = {.out = stdout};
	struct error err = ERROR_INIT;
	struct audit_filter f;
	struct audit_source src;
	struct dba *d = NULL;

	if (!soc2 && !audit_format_find(str_of(format), &x.format))
		ok = error_set(&err, ERR_INVALID_VALUE, "--format takes json, jsonl, csv, cef, syslog or soc2");
	ok = ok && audit_filter_from(o, &f, &err);
	if (ok && o->output != NULL) {
		x.out = fopen(o->output, "we");
		ok = x.out != NULL || error_set(&err, ERR_STORAGE, "%.200s: %s", o->output, strerror(errno));
	}
	if (ok) {
		d = dba_open(c, DBA_READ, &err);
		ok = d != NULL;
	}
	if (ok) {
		src = audit_source_dba(d);
		ok =
		    soc2 ? audit_export_soc2(c, &src, &f, x.out, &x.count, &err) : audit_export_all(&x, &src, &f, &err);
	}
	if (!ok && err.code == ERR_OK)
		error_set(&err, ERR_STORAGE, "the export cannot be written: %s", strerror(errno));
	dba_close(d);
	if (x.out != NULL && x.out != stdout && fclose(x.out) != 0 && ok)
		ok = error_set(&err, ERR_STORAGE, "%.200s: %s", o->output, strerror(errno));
	ok = ok && audit_export_told(c, format, x.count, &err);
	return ok ? EXIT_OK : ops_fail(&err);
}

/* ---- the command ---- */

static const struct ops_action audit_actions[] = {{"verify", audit_verify}, {"export", audit_export}, {NULL, NULL}};

static int audit_run(int argc, char **argv)
{
	struct audit_command o = {.from = NULL};

	return ops_main(&command_audit, &o.args, audit_actions, argc, argv);
}

#define TEXT(n, l, field, v, h)                                                                                \
	{                                                                                                      \
		.name = n, .letter = l, .offset = offsetof(struct audit_command, field), .value = v, .help = h \
	}

static const struct arg audit_args[] = {
    ARG_CONF,
    TEXT("from", 0, from, "TIME", "begin here; verify also takes the number of an event"),
    TEXT("to", 0, to, "TIME", "end before this; verify also takes the number of the last event"),
    TEXT("anchor", 0, anchor, "N:HASH",
	 "verify: event N must be there with this hash, as the log of the server noted it"),
    TEXT("format", 'f', format, "NAME", "export: json (default), jsonl, csv, cef, syslog or soc2"),
    TEXT("output", 'o', output, "FILE", "export: write there (default: standard output)"),
    TEXT("org", 0, org, "ID", "export: only events of this organization"),
    TEXT("category", 0, category, "NAME", "export: only events of this category"),
    ARG_JSON,
    ARG_HELP,
    ARG_END,
};

const struct command command_audit = {
    .name = "audit",
    .synopsis = "[verify|export] [OPTION...]",
    .summary = "verify and export the audit log",
    .about = "verify (the default) walks the chain of hashes and names the first event that is not as it was written: "
	     "exit code 0 when the chain is whole, 1 when it is broken, 3 when it is whole but was signed with another "
	     "key. export writes the events, oldest first.",
    .args = audit_args,
    .operands_max = 1,
    .run = audit_run,
};
