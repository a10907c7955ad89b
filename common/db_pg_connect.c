/* SPDX-License-Identifier: MIT */
/*
 * Connecting to PostgreSQL, and statements for those who may wait. Called at start-up, by subcommands, and by the
 * store's connecting thread: name resolution, certificate and pass files and the thousands of hash rounds of SCRAM all
 * happen here and never on a loop. Keeps nothing.
 */
#include "common/db_pg_store.h"

#include <poll.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/conf.h"

#define CONNECT_PAUSE_MS 250 /* between two attempts of a patient start */
#define CONNECT_TOLD_US (5 * SEC_US)
#define READY_US (5 * SEC_US) /* to set a session up */

/* What a DSN may override; PQconnectdbParams takes the last value of a name. */
static const char *const connect_defaults[][2] = {
    {"fallback_application_name", "aragorad"},
    {"connect_timeout", "5"}, /* per address */
    {"keepalives_idle", "30"},
    {"keepalives_interval", "10"},
    {"keepalives_count", "3"},
    {"tcp_user_timeout", "30000"},
};

char *db_pg_dsn(const char *dsn)
{
	struct str s = str_of(dsn);
	ptrdiff_t plus = str_chr(s, '+'), colon = str_find(s, STR("://"));
	struct buf b = BUF_INIT;
	char *out;

	if (plus < 0 || colon < plus || !str_starts(s, STR("postgres")))
		return xstrdup(dsn);
	buf_add(&b, str_sub(s, 0, (size_t)plus));
	buf_add(&b, str_sub(s, (size_t)colon, s.n));
	out = str_dupz(buf_str(&b));
	buf_free(&b);
	return out;
}

static PGconn *connect_once(const struct conf *c)
{
	const char *names[countof(connect_defaults) + 3], *values[countof(connect_defaults) + 3];
	char *dsn = db_pg_dsn(c->storage.dsn);
	PGconn *pg;
	size_t i;

	for (i = 0; i < countof(connect_defaults); i++) {
		names[i] = connect_defaults[i][0];
		values[i] = connect_defaults[i][1];
	}
	names[i] = "dbname"; /* expanded, as it holds a whole DSN */
	values[i++] = dsn;
	names[i] = "client_encoding";
	values[i++] = "UTF8";
	names[i] = NULL;
	values[i] = NULL;
	pg = PQconnectdbParams(names, values, 1);
	free(dsn);
	return pg;
}

/* "IF NOT EXISTS … skipping" and other notices are not for stderr. */
static void connect_notice(void *arg, const PGresult *r)
{
	(void)arg;
	(void)r;
}

PGconn *db_pg_connect(const struct conf *c, struct error *err)
{
	PGconn *pg = connect_once(c);
	const char *encoding;

	if (pg == NULL || PQstatus(pg) != CONNECTION_OK) {
		pg_fault_error(PG_LOST, pg != NULL ? PQerrorMessage(pg) : "out of memory", err);
		PQfinish(pg);
		return NULL;
	}
	encoding = PQparameterStatus(pg, "server_encoding");
	if (encoding != NULL && strcmp(encoding, "UTF8") != 0) {
		error_field(err, ERR_STORAGE, "storage.dsn",
			    "the database %.60s has the encoding %.20s; make one with ENCODING 'UTF8'", PQdb(pg),
			    encoding);
		PQfinish(pg);
		return NULL;
	}
	PQsetNoticeReceiver(pg, connect_notice, NULL);
	return pg;
}

/* The server has answered and said no, and not because it is busy with itself; or we ourselves cannot speak to it. */
static bool connect_hopeless(const char *message)
{
	static const char *const passing[] = {"starting up",   "shutting down", "not yet accepting",
					      "recovery mode", "too many",      "remaining connection slots",
					      "server closed"};
	static const char *const lasting[] = {"FATAL", "certificate", "SSL", "invalid", "password", "encoding"};
	size_t i;

	for (i = 0; i < countof(passing); i++)
		if (strstr(message, passing[i]) != NULL)
			return false;
	for (i = 0; i < countof(lasting); i++)
		if (strstr(message, lasting[i]) != NULL)
			return true;
	return false;
}

PGconn *db_pg_connect_patiently(const struct conf *c, struct error *err)
{
	int64_t begun = clock_mono_us(), told = 0, now;
	struct error why = ERROR_INIT;
	PGconn *pg;

	while ((pg = db_pg_connect(c, &why)) == NULL) {
		bool hopeless = connect_hopeless(why.msg);

		now = clock_mono_us();
		if (hopeless || now - begun >= c->storage.pool_timeout) {
			error_field(err, hopeless ? ERR_STORAGE : ERR_UNAVAILABLE, "storage.dsn",
				    "the database of storage.dsn cannot be used: %.200s", why.msg);
			return NULL;
		}
		if (told == 0 || now - told > CONNECT_TOLD_US) {
			log_warn("db", "waiting for the database", KV_S("reason", why.msg));
			log_flush();
			told = now;
		}
		usleep(CONNECT_PAUSE_MS * 1000);
	}
	return pg;
}

bool db_pg_exec(PGconn *pg, const char *sql, int64_t *count, struct error *err)
{
	PGresult *r = PQexec(pg, sql);
	ExecStatusType status = PQresultStatus(r);
	bool ok = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY ||
		  db_pg_fail(pg, r, err);

	if (ok && count != NULL)
		*count = PQntuples(r) > 0 ? PQntuples(r) : (int64_t)strtoll(PQcmdTuples(r), NULL, 10);
	PQclear(r);
	return ok;
}

PGresult *db_pg_run(PGconn *pg, const char *sql, const struct db_val *args, size_t n, struct error *err)
{
	struct pg_params p;
	PGresult *r;

	pg_params_fill(&p, args, n);
	r = PQexecParams(pg, sql, (int)n, p.types, p.values, p.lengths, p.formats, 0);
	if (PQresultStatus(r) == PGRES_COMMAND_OK || PQresultStatus(r) == PGRES_TUPLES_OK)
		return r;
	db_pg_fail(pg, r, err);
	PQclear(r);
	return NULL;
}

/* ---- connections of the store ---- */

/* As PQexec, but waits no longer than the deadline. NULL: too late or broken. The connection is then of no use. */
static PGresult *ready_ask(PGconn *pg, const char *sql, int64_t deadline)
{
	PGresult *r, *last = NULL;
	struct pollfd fd = {PQsocket(pg), POLLIN, 0};
	int64_t left;

	if (PQsendQuery(pg, sql) == 0)
		return NULL;
	for (;;) {
		while (PQisBusy(pg) == 0) {
			r = PQgetResult(pg);
			if (r == NULL)
				return last;
			PQclear(last);
			last = r;
		}
		left = deadline - clock_mono_us();
		if (left <= 0 || poll(&fd, 1, (int)(left / MS_US) + 1) == -1 || PQconsumeInput(pg) == 0)
			break;
	}
	PQclear(last);
	return NULL;
}

static bool ready_run(PGconn *pg, const char *sql, PGresult **out, int64_t deadline, struct error *err)
{
	PGresult *r = ready_ask(pg, sql, deadline);
	ExecStatusType status = PQresultStatus(r);
	bool ok = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;

	if (r == NULL && PQstatus(pg) == CONNECTION_OK)
		error_set(err, ERR_STORAGE, "the database accepts connections but does not answer");
	else if (!ok)
		db_pg_fail(pg, r, err);
	if (ok && out != NULL)
		*out = r;
	else
		PQclear(r);
	return ok;
}

/*
 * The process that answers is not the one that the connection was promised: somebody stands between. What cannot be
 * seen so is noticed when a prepared statement is not found.
 */
static bool ready_find_pooler(struct pg_ready *r, int64_t deadline)
{
	PGresult *row = NULL;
	int64_t pid = 0;

	r->pooler |= r->conf->storage.pooler == AUTO_ON; /* or found out before */
	if (r->pooler || r->conf->storage.pooler == AUTO_OFF)
		return true;
	if (!ready_run(r->pg, "SELECT pg_backend_pid()", &row, deadline, &r->error))
		return false;
	if (!str_to_i64(str_of(PQgetvalue(row, 0, 0)), 0, INT32_MAX, &pid) || pid != PQbackendPID(r->pg))
		r->pooler = true;
	PQclear(row);
	return true;
}

/*
 * A session of our own gets its limits once: a frozen process may not hold locks longer than a lease. The mark counts
 * this connection's transactions; those of connections that died long ago go.
 */
static bool ready_set_up(struct pg_ready *r, int64_t deadline)
{
	long long lease = r->conf->debates.lease / MS_US, now = clock_wall_ms();
	struct buf sql = BUF_INIT;
	bool ok;

	if (!r->pooler)
		buf_printf(&sql,
			   "SET statement_timeout = %lld; SET lock_timeout = %lld;"
			   " SET idle_in_transaction_session_timeout = %lld;"
			   " SET default_transaction_isolation = 'read committed';",
			   (long long)(r->conf->storage.statement_timeout / MS_US), lease / 3, lease / 2);
	buf_printf(&sql,
		   "DELETE FROM commit_marks WHERE used_at < %lld;"
		   " INSERT INTO commit_marks (id, seq, mask, used_at) VALUES ('%s', 0, 0, %lld)",
		   now - PG_MARK_DAYS * 86400000LL, r->mark, now);
	ok = ready_run(r->pg, sql.p, NULL, deadline, &r->error);
	buf_free(&sql);
	return ok;
}

void pg_ready_make(struct pg_ready *r)
{
	int64_t deadline;

	ids_hex(r->mark, (sizeof(r->mark) - 1) / 2);
	r->pg = db_pg_connect(r->conf, &r->error);
	if (r->pg == NULL)
		return;
	deadline = clock_mono_us() + READY_US;
	if (ready_find_pooler(r, deadline) && ready_set_up(r, deadline))
		return;
	PQfinish(r->pg);
	r->pg = NULL;
}
