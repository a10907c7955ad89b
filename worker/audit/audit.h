/* SPDX-License-Identifier: MIT */
/*
 * The audit log: who did what to what, when, from where, and what came of it. An event is written in the transaction of
 * the act (audit_add) into audit_inbox, signed; within a second one process of the cluster moves it into the hash chain
 * audit_events, where it has a number. What is written and not yet chained is counted (aragora_audit_pending, `verify`)
 * and shown: removing a row there is what the chain cannot tell, changing one it can, by the signature.
 *
 * Never in an event: tokens, passwords, secrets, bodies. Members of `details` whose names say that they are such are
 * masked all the same.
 */
#ifndef WORKER_AUDIT_AUDIT_H
#define WORKER_AUDIT_AUDIT_H

#include <jansson.h>

#include "common/context.h"
#include "common/db.h"

struct audit;
struct conf;
struct http_request;
struct route_table;
struct worker;

struct audit_event {
	const char *category; /* auth access data admin billing debate api security system */
	const char *action;   /* "auth.login"; reference/security.md 6 */
	const char *outcome;  /* success failure denied error; NULL: success */
	struct str resource_type, resource_id;
	struct str reason;     /* a sentence for people, or empty */
	const json_t *details; /* borrowed; may be NULL; at most AUDIT_DETAILS_MAX bytes are kept */
};

#define AUDIT_DETAILS_MAX 8192

/* ---- writing; actor, organization, address, agent and correlation come from the request or the context ---- */

/* Adds the event to the batch of the act: it is stored if and only if the act is. */
void audit_add(struct db_batch *b, struct http_request *req, const struct audit_event *e);
/* The same outside requests. ctx NULL: the service itself, of no organization. */
void audit_add_as(struct db_batch *b, const struct worker *w, const struct context *ctx, const struct audit_event *e);
/* A transaction of its own. False: not written, and the act must fail. */
CO_FN bool audit_request(struct http_request *req, const struct audit_event *e, struct error *err) MUST_CHECK;
/*
 * For what is worth knowing, but must not wait: kept in memory, written within a second. Equal events of a second
 * become one with details.count. When audit.buffer is full the event is dropped, counted
 * (aragora_audit_dropped_total) and told by an event system.audit_overflow. A process that is killed loses what it had
 * not written.
 */
void audit_note(struct worker *w, const struct context *ctx, const struct audit_event *e);
void audit_note_request(struct http_request *req, const struct audit_event *e);

/* ---- retention ---- */

/* How many events are older than a time and lie before an anchor that is older too. */
CO_FN bool audit_retention_due(struct worker *w, int64_t before_ms, int64_t *n, struct error *err) MUST_CHECK;
/*
 * Removes the next stretch of them, up to an anchor, and leaves an event that says so, without which the chain would
 * not verify. *n: how many; 0: none are left.
 */
CO_FN bool audit_retention_step(struct worker *w, int64_t before_ms, int64_t *n, struct error *err) MUST_CHECK;

/* ---- for subcommands: blocking, through a session of their own ---- */

/*
 * Writes that an operator's command was carried out: actor_kind "command", actor the user of the system. A store that
 * has no audit log yet (before its migration) is left alone.
 */
bool audit_command(const struct conf *c, const struct audit_event *e, struct error *err) MUST_CHECK;

/* The same for what the service does by itself: its start. */
bool audit_service(const struct conf *c, const struct audit_event *e, struct error *err) MUST_CHECK;

/* ---- the part of a worker ---- */

/* Loads or makes the signing key. NULL with err. */
extern const struct route_table audit_routes; /* /api/audit/… */

struct audit *audit_open(struct worker *w, struct error *err);
void audit_start(struct audit *a);
/* Is nothing left to be written by this process? */
bool audit_settled(const struct audit *a);
void audit_close(struct audit *a);

#endif
