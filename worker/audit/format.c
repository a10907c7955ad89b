/* SPDX-License-Identifier: MIT */
/*
 * Events as text: JSON, lines of JSON, CSV, CEF (ArcSight Common Event Format, version 0) and syslog (RFC 5424). Called
 * by exports, by forwarding and by the API. Every value comes from outside and is escaped as its format demands.
 */
#include <arpa/inet.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/csv.h"
#include "common/json.h"
#include "worker/audit/audit_log.h"

#define FORMAT_FACILITY 13 /* log audit, RFC 5424 6.2.1 */
#define FORMAT_MSGID_MAX 32
/* The enterprise number of documentation (RFC 5612): we have none of our own. */
#define FORMAT_SD_ID "audit@32473"

static const struct {
	const char *name, *type, *extension;
} formats[] = {
    [AUDIT_JSON] = {"json", "application/json", "json"},
    [AUDIT_JSONL] = {"jsonl", "application/x-ndjson", "jsonl"},
    [AUDIT_CSV] = {"csv", "text/csv; charset=utf-8", "csv"},
    [AUDIT_CEF] = {"cef", "text/plain; charset=utf-8", "cef"},
    [AUDIT_SYSLOG] = {"syslog", "text/plain; charset=utf-8", "log"},
};
_Static_assert(countof(formats) == AUDIT_FORMATS, "one row per format");

/* How bad it is, in the scales of CEF (0 to 10) and syslog (RFC 5424 table 2). */
static const struct format_outcome {
	const char *name;
	int cef, syslog;
} format_outcomes[] = {{"success", 3, 6}, {"failure", 6, 4}, {"denied", 6, 4}, {"error", 8, 3}};

bool audit_format_find(struct str name, enum audit_format *out)
{
	for (int i = 0; i < AUDIT_FORMATS; i++)
		if (str_eqz(name, formats[i].name)) {
			*out = (enum audit_format)i;
			return true;
		}
	return false;
}

const char *audit_format_type(enum audit_format f)
{
	return formats[f].type;
}

const char *audit_format_extension(enum audit_format f)
{
	return formats[f].extension;
}

static const struct format_outcome *format_outcome(const struct audit_record *r)
{
	for (size_t i = 0; i < countof(format_outcomes); i++)
		if (str_eqz(r->v[AUDIT_OUTCOME], format_outcomes[i].name))
			return &format_outcomes[i];
	return &format_outcomes[countof(format_outcomes) - 1];
}

/* ---- JSON ---- */

json_t *audit_show(struct arena *a, const struct audit_record *r)
{
	json_t *o = json_object(), *details;
	struct error ignored = ERROR_INIT;
	char iso[CLOCK_ISO_MAX];

	json_put_int(o, "seq", r->seq);
	json_put_str(o, "timestamp", str_of(clock_iso(iso, r->created_at)));
	for (int i = 0; i < AUDIT_COLUMNS; i++)
		if (i != AUDIT_DETAILS)
			json_put_str(o, audit_column_names[i], r->v[i]);
	details = json_parse(a, r->v[AUDIT_DETAILS], &ignored);
	json_object_set(o, "details", details != NULL ? details : json_own(a, json_object()));
	return o;
}

static void format_json(struct arena *a, const struct audit_record *r, struct buf *out)
{
	json_t *o = json_own(a, audit_show(a, r));

	buf_add(out, json_text(a, o));
}

/* ---- CSV ---- */

/* The columns of reference/security.md 6, with seq before and the rest behind them. */
static const struct {
	const char *name;
	int column; /* enum audit_column; FORMAT_SEQ, FORMAT_TIME */
} format_csv_columns[] = {
#define FORMAT_SEQ (-1)
#define FORMAT_TIME (-2)
    {"seq", FORMAT_SEQ},
    {"id", AUDIT_ID},
    {"timestamp", FORMAT_TIME},
    {"category", AUDIT_CATEGORY},
    {"action", AUDIT_ACTION},
    {"actor_id", AUDIT_ACTOR_ID},
    {"resource_type", AUDIT_RESOURCE_TYPE},
    {"resource_id", AUDIT_RESOURCE_ID},
    {"outcome", AUDIT_OUTCOME},
    {"ip_address", AUDIT_IP},
    {"org_id", AUDIT_ORG},
    {"reason", AUDIT_REASON},
    {"event_hash", AUDIT_HASH},
    {"actor_kind", AUDIT_ACTOR_KIND},
    {"impersonator", AUDIT_IMPERSONATOR},
    {"workspace_id", AUDIT_WORKSPACE},
    {"user_agent", AUDIT_AGENT},
    {"correlation_id", AUDIT_CORRELATION},
    {"details", AUDIT_DETAILS},
    {"previous_hash", AUDIT_PREVIOUS},
};

static void format_csv_head(struct buf *out)
{
	for (size_t i = 0; i < countof(format_csv_columns); i++)
		buf_printf(out, "%s%s", format_csv_columns[i].name, i + 1 < countof(format_csv_columns) ? "," : "\r\n");
}

static void format_csv(const struct audit_record *r, struct buf *out)
{
	char iso[CLOCK_ISO_MAX];

	for (size_t i = 0; i < countof(format_csv_columns); i++) {
		int column = format_csv_columns[i].column;

		if (column == FORMAT_SEQ)
			buf_printf(out, "%lld,", (long long)r->seq);
		else
			csv_cell(out, column == FORMAT_TIME ? str_of(clock_iso(iso, r->created_at)) : r->v[column],
				 i + 1 == countof(format_csv_columns));
	}
}

/* ---- CEF ---- */

/* A backslash before each of `special`; line breaks as \n, other control characters as blanks. */
static void format_escape(struct buf *out, struct str s, const char *special)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == '\n' || c == '\r') {
			buf_addz(out, strchr(special, '=') != NULL ? "\\n" : " ");
			continue;
		}
		if (strchr(special, c) != NULL && c != '\0')
			buf_addc(out, '\\');
		buf_addc(out, (unsigned char)c < 0x20 || c == 0x7f ? ' ' : c);
	}
}

static void format_cef_pair(struct buf *out, const char *key, struct str value)
{
	if (value.n == 0)
		return;
	buf_printf(out, " %s=", key);
	format_escape(out, value, "\\=");
}

/* src and c6a2 take addresses and nothing else. */
static void format_cef_address(struct buf *out, struct str ip)
{
	struct in6_addr a;
	char text[64];

	snprintf(text, sizeof(text), "%.*s", STR_ARG(str_sub(ip, 0, sizeof(text) - 1)));
	if (inet_pton(AF_INET, text, &a) == 1) {
		format_cef_pair(out, "src", ip);
	} else if (inet_pton(AF_INET6, text, &a) == 1) {
		format_cef_pair(out, "c6a2", ip);
		buf_addz(out, " c6a2Label=Source IPv6 Address");
	}
}

static void format_cef(const struct audit_record *r, struct buf *out)
{
	static const struct {
		const char *key;
		enum audit_column column;
		const char *label; /* complete, or NULL */
	} pairs[] = {
	    {"cat", AUDIT_CATEGORY, NULL},
	    {"act", AUDIT_ACTION, NULL},
	    {"outcome", AUDIT_OUTCOME, NULL},
	    {"suid", AUDIT_ACTOR_ID, NULL},
	    {"requestClientApplication", AUDIT_AGENT, NULL},
	    {"externalId", AUDIT_ID, NULL},
	    {"reason", AUDIT_REASON, NULL},
	    {"cs1", AUDIT_ORG, " cs1Label=organization"},
	    {"cs2", AUDIT_RESOURCE_TYPE, " cs2Label=resource type"},
	    {"cs3", AUDIT_RESOURCE_ID, " cs3Label=resource"},
	    {"cs4", AUDIT_CORRELATION, " cs4Label=correlation"},
	    {"cs5", AUDIT_HASH, " cs5Label=event hash"},
	    {"cs6", AUDIT_IMPERSONATOR, " cs6Label=impersonator"},
	    {"msg", AUDIT_DETAILS, NULL},
	};

	buf_addz(out, "CEF:0|Aragora|aragorad|" ARAGORA_VERSION "|");
	format_escape(out, r->v[AUDIT_ACTION], "\\|");
	buf_addc(out, '|');
	format_escape(out, r->v[AUDIT_ACTION], "\\|");
	buf_printf(out, "|%d|rt=%lld cn1=%lld cn1Label=sequence", format_outcome(r)->cef, (long long)r->created_at,
		   (long long)r->seq);
	format_cef_address(out, r->v[AUDIT_IP]);
	for (size_t i = 0; i < countof(pairs); i++) {
		format_cef_pair(out, pairs[i].key, r->v[pairs[i].column]);
		if (pairs[i].label != NULL && r->v[pairs[i].column].n > 0)
			buf_addz(out, pairs[i].label);
	}
	buf_addc(out, '\n');
}

/* ---- syslog ---- */

/* Printable US-ASCII without blanks, RFC 5424 6. */
static void format_syslog_word(struct buf *out, struct str s, size_t max)
{
	size_t i;

	for (i = 0; i < s.n && i < max; i++)
		buf_addc(out, s.p[i] > 0x20 && s.p[i] < 0x7f ? s.p[i] : '_');
	if (i == 0)
		buf_addc(out, '-');
}

static void format_syslog(const struct audit_record *r, struct buf *out)
{
	char host[256] = "-", iso[CLOCK_ISO_MAX];

	(void)gethostname(host, sizeof(host) - 1);
	buf_printf(out, "<%d>1 %s ", FORMAT_FACILITY * 8 + format_outcome(r)->syslog, clock_iso(iso, r->created_at));
	format_syslog_word(out, str_of(host), 255);
	buf_addz(out, " aragorad - ");
	format_syslog_word(out, r->v[AUDIT_ACTION], FORMAT_MSGID_MAX);
	buf_printf(out, " [" FORMAT_SD_ID " seq=\"%lld\"", (long long)r->seq);
	for (int i = 0; i < AUDIT_COLUMNS; i++) {
		if (r->v[i].n == 0 || i == AUDIT_DETAILS || i == AUDIT_REASON || i == AUDIT_SIGNATURE)
			continue;
		buf_printf(out, " %s=\"", audit_column_names[i]);
		format_escape(out, r->v[i], "\"\\]");
		buf_addc(out, '"');
	}
	buf_addz(out, "] ");
	format_escape(out, r->v[AUDIT_REASON], "");
	buf_addc(out, r->v[AUDIT_REASON].n > 0 ? ' ' : '-');
	format_escape(out, r->v[AUDIT_DETAILS], "");
	buf_addc(out, '\n');
}

/* ---- whole exports ---- */

void audit_format_begin(enum audit_format f, struct buf *out)
{
	if (f == AUDIT_JSON)
		buf_addz(out, "{\"events\":[");
	else if (f == AUDIT_CSV)
		format_csv_head(out);
}

void audit_format_add(enum audit_format f, struct arena *a, const struct audit_record *r, bool first, struct buf *out)
{
	switch (f) {
	case AUDIT_JSON:
		buf_addz(out, first ? "\n" : ",\n");
		format_json(a, r, out);
		break;
	case AUDIT_JSONL:
		format_json(a, r, out);
		buf_addc(out, '\n');
		break;
	case AUDIT_CSV:
		format_csv(r, out);
		break;
	case AUDIT_CEF:
		format_cef(r, out);
		break;
	case AUDIT_SYSLOG:
		format_syslog(r, out);
		break;
	case AUDIT_FORMATS:
		break;
	}
}

void audit_format_end(enum audit_format f, int64_t count, struct buf *out)
{
	char iso[CLOCK_ISO_MAX];

	if (f == AUDIT_JSON)
		buf_printf(out, "\n],\"count\":%lld,\"exported_at\":\"%s\"}\n", (long long)count,
			   clock_iso(iso, clock_wall_ms()));
}
