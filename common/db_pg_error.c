/* SPDX-License-Identifier: MIT */
/*
 * What PostgreSQL's error codes mean for the one who asked: try again, another connection, a program's mistake. Called
 * by all parts of the PostgreSQL store. Decides nothing about when to try again.
 */
#include "common/db_pg_store.h"

/*
 * By SQLSTATE or its class, the first that fits (PostgreSQL manual, appendix A). What is not listed is a mistake of the
 * program: ERR_INTERNAL.
 */
static const struct {
	const char *prefix;
	enum pg_fault fault;
} pg_faults[] = {
    {"23505", PG_DUPLICATE},  {"40001", PG_AGAIN}, /* serialization_failure */
    {"40P01", PG_AGAIN},                           /* deadlock_detected */
    {"55P03", PG_AGAIN},                           /* lock_not_available: lock_timeout */
    {"26000", PG_UNPREPARED},                      /* no such prepared statement: a pooler gave us another server */
    {"42P05", PG_UNPREPARED},                      /* it exists already, made by another client of the pooler */
    {"0A000", PG_STALE},                           /* cached plan must not change result type: a migration came by */
    {"57014", PG_STORAGE},                         /* query_canceled: statement_timeout */
    {"57", PG_LOST},                               /* operator intervention: shutdown, crash, starting */
    {"08", PG_LOST},                               /* connection exceptions, also of poolers */
    {"25006", PG_LOST},                            /* read-only: the primary became a standby */
    {"53300", PG_LOST},                            /* too_many_connections */
    {"53", PG_STORAGE},                            /* disk full, out of memory */
    {"58", PG_STORAGE},                            /* input/output error */
    {"XX", PG_STORAGE},                            /* internal error, damaged data */
};

/* The one of pg_marker: the text of a count that was not the expected one. */
static bool pg_is_fence(const char *state, const char *message)
{
	return strcmp(state, "22P02") == 0 && strstr(message, PG_FENCE_MARK) != NULL;
}

/* protocol_violation: the server's word for a wrong number of parameters; with FATAL a pooler's for anything at all. */
static bool pg_is_misuse(const PGresult *r, const char *state)
{
	const char *severity = PQresultErrorField(r, PG_DIAG_SEVERITY_NONLOCALIZED);

	return strcmp(state, "08P01") == 0 && severity != NULL && strcmp(severity, "ERROR") == 0;
}

enum pg_fault pg_fault_of(const PGresult *r)
{
	const char *state = r != NULL ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
	size_t i;

	if (state == NULL) /* no answer of the server: the connection itself */
		return PG_LOST;
	if (pg_is_fence(state, PQresultErrorMessage(r)))
		return PG_FENCED;
	if (pg_is_misuse(r, state))
		return PG_MISTAKE;
	for (i = 0; i < countof(pg_faults); i++)
		if (strncmp(state, pg_faults[i].prefix, strlen(pg_faults[i].prefix)) == 0)
			return pg_faults[i].fault;
	return PG_MISTAKE;
}

void pg_message(const char *text, char *out, size_t n)
{
	size_t i = 0;

	for (; *text != '\0' && i + 1 < n; text++) {
		char c = *text == '\n' || *text == '\t' ? ' ' : *text;

		if (c != ' ' || (i > 0 && out[i - 1] != ' '))
			out[i++] = c;
	}
	while (i > 0 && out[i - 1] == ' ')
		i--;
	out[i] = '\0';
	out[str_utf8_cut(str_of(out), n).n] = '\0';
}

static const enum err pg_errors[] = {[PG_NONE] = ERR_OK,
				     [PG_MISTAKE] = ERR_INTERNAL,
				     [PG_FENCED] = ERR_FENCED,
				     [PG_DUPLICATE] = ERR_DUPLICATE,
				     [PG_AGAIN] = ERR_STORAGE,
				     [PG_LOST] = ERR_STORAGE,
				     [PG_UNPREPARED] = ERR_STORAGE,
				     [PG_STALE] = ERR_STORAGE,
				     [PG_STORAGE] = ERR_STORAGE};

bool pg_fault_error(enum pg_fault fault, const char *text, struct error *err)
{
	char line[sizeof(err->msg)];

	if (fault == PG_STORAGE && strstr(text, "due to statement timeout") != NULL)
		text = PG_TOO_LONG; /* whose clock runs out first, the server's or ours, is chance */
	pg_message(text, line, sizeof(line));
	return error_set(err, pg_errors[fault], "%s", line);
}

bool db_pg_fail(PGconn *pg, const PGresult *r, struct error *err)
{
	return pg_fault_error(pg_fault_of(r), r != NULL ? PQresultErrorMessage(r) : PQerrorMessage(pg), err);
}
