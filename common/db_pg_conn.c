/* SPDX-License-Identifier: MIT */
/*
 * One connection of the PostgreSQL store: sending into the pipeline, waiting for results on a coroutine, and emptying
 * itself when its reader has left. Called by queries, commits and the pool. Knows nothing of batches.
 */
#include "common/db_pg_store.h"

#include "common/clock.h"
#include "common/metrics.h"

static void pg_conn_watch(struct pg_conn *c, bool write)
{
	if (write)
		BUG_ON(event_add(&c->write, NULL) != 0);
	else
		event_del(&c->write);
}

/* Reads until the Sync comes back; true when it has. */
static bool pg_conn_emptied(struct pg_conn *c)
{
	PGresult *r;
	bool sync = false;
	int ends = 0;

	while (!sync && ends < 2 && PQstatus(c->pg) == CONNECTION_OK && PQisBusy(c->pg) == 0) {
		r = PQgetResult(c->pg);
		ends = r == NULL ? ends + 1 : 0; /* one ends a statement; a second one: nothing more is there yet */
		sync = PQresultStatus(r) == PGRES_PIPELINE_SYNC;
		PQclear(r);
	}
	return sync;
}

static void pg_conn_alone(struct pg_conn *c)
{
	struct pg_store *s = c->store;

	if (PQconsumeInput(c->pg) == 0 || PQflush(c->pg) < 0 || PQstatus(c->pg) != CONNECTION_OK) {
		pg_discard(c, PG_LOST, PQerrorMessage(c->pg));
		return;
	}
	if (c->use == PG_IDLE) {
		(void)PQisBusy(c->pg); /* reads notices and what the server says before it closes */
		return;
	}
	if (!pg_conn_emptied(c))
		return;
	if (c->use == PG_PROBE)
		s->latency_us = clock_mono_us() - c->since_us;
	pg_heard(s);
	pg_release(c);
}

static void pg_conn_event(evutil_socket_t fd, short what, void *arg)
{
	struct pg_conn *c = arg;

	(void)fd;
	(void)what;
	if (c->use != PG_BUSY)
		pg_conn_alone(c);
	else if (c->waiter != NULL)
		co_wake(c->waiter);
	else
		event_del(&c->read); /* its coroutine is busy elsewhere and will look itself */
}

struct pg_conn *pg_conn_new(struct pg_store *s, struct pg_ready *r)
{
	struct pg_conn *c = xcalloc(1, sizeof(*c));

	*c = (struct pg_conn){.store = s, .pg = r->pg, .use = PG_BUSY, .pooler = r->pooler};
	memcpy(c->mark, r->mark, sizeof(c->mark));
	if (PQsetnonblocking(c->pg, 1) != 0 || PQenterPipelineMode(c->pg) != 1) {
		PQfinish(c->pg);
		free(c);
		return NULL;
	}
	BUG_ON(event_assign(&c->read, loop_base(s->loop), PQsocket(c->pg), EV_READ | EV_PERSIST, pg_conn_event, c) !=
	       0);
	BUG_ON(event_assign(&c->write, loop_base(s->loop), PQsocket(c->pg), EV_WRITE, pg_conn_event, c) != 0);
	BUG_ON(event_add(&c->read, NULL) != 0);
	return c;
}

void pg_conn_close(struct pg_conn *c)
{
	event_del(&c->read);
	event_del(&c->write);
	PQfinish(c->pg);
	free(c);
}

bool pg_conn_send(struct pg_conn *c, const struct pg_sql *q, const struct db_val *args, size_t n, bool *prepares,
		  struct error *err)
{
	bool named = !c->pooler && q->number < PG_PREPARED_MAX;
	struct pg_params p;
	int ok = 1;

	*prepares = false;
	pg_params_fill(&p, args, n);
	if (named && !c->prepared[q->number]) {
		ok = PQsendPrepare(c->pg, q->name, q->text, (int)n, p.types);
		*prepares = true;
	}
	if (ok == 1 && named)
		ok = PQsendQueryPrepared(c->pg, q->name, (int)n, p.values, p.lengths, p.formats, 0);
	else if (ok == 1)
		ok = PQsendQueryParams(c->pg, q->text, (int)n, p.types, p.values, p.lengths, p.formats, 0);
	return ok == 1 || db_pg_fail(c->pg, NULL, err);
}

bool pg_conn_sync(struct pg_conn *c)
{
	return PQpipelineSync(c->pg) == 1;
}

CO_FN enum pg_io pg_conn_next(struct pg_conn *c, int64_t deadline, PGresult **r)
{
	enum co_end end;
	int left;

	*r = NULL;
	for (;;) {
		left = PQflush(c->pg);
		if (left < 0)
			return PG_IO_LOST;
		if (PQisBusy(c->pg) == 0) {
			*r = PQgetResult(c->pg);
			if (PQstatus(c->pg) == CONNECTION_OK)
				return PG_IO_RESULT;
			PQclear(*r);
			*r = NULL;
			return PG_IO_LOST;
		}
		pg_conn_watch(c, left > 0);
		BUG_ON(event_add(&c->read, NULL) != 0);
		c->waiter = co_self();
		end = co_wait(deadline);
		c->waiter = NULL;
		if (end != CO_DONE)
			return end == CO_TIMEOUT ? PG_IO_TIMEOUT : PG_IO_ENDED;
		if (PQconsumeInput(c->pg) == 0)
			return PG_IO_LOST;
	}
}
