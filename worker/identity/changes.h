/* SPDX-License-Identifier: MIT */
/*
 * Who has cached something about a user, an organization or a credential forgets it within a second after it changed,
 * on every worker and node. The change is a row of identity_changes, written in the transaction that changes; each
 * worker reads what is new there twice a second, and a hint on the bus makes it look at once. Without the hint, and
 * without Redis, it only takes longer; while the rows cannot be read, what is cached is not believed.
 */
#ifndef WORKER_IDENTITY_CHANGES_H
#define WORKER_IDENTITY_CHANGES_H

#include "common/db.h"

struct dba;
struct identity_changes;
struct worker;

enum identity_change {
	IDENTITY_CHANGE_USER,      /* users, its memberships, its assigned roles and grants */
	IDENTITY_CHANGE_ORG,       /* an organization: tier, activity, its workspaces */
	IDENTITY_CHANGE_WORKSPACE, /* a workspace, who belongs to it */
	IDENTITY_CHANGE_ROLE,      /* a custom role */
	IDENTITY_CHANGE_KEY,       /* an API key */
	IDENTITY_CHANGE_SESSION,   /* a session was ended */
	IDENTITY_CHANGE_TOKEN,     /* a jti was revoked */
	IDENTITY_CHANGE_ALL        /* id is empty: anything may have changed (more than could be told one by one) */
};

/*
 * In the batch that makes the change, as its last statements: they lock a row, and batches that lock in the same order
 * cannot wait for each other.
 */
void identity_change_add(struct db_batch *b, enum identity_change kind, struct str id);
/* The same for subcommands, inside their transaction. */
bool identity_change_run(struct dba *d, enum identity_change kind, struct str id, struct error *err) MUST_CHECK;
/*
 * After the commit of that batch: listeners of this process have heard of it when this returns, the others hear within
 * milliseconds. A change whose batch had no identity_change_add() reaches other nodes by Redis only.
 */
void identity_changed(struct worker *w, enum identity_change kind, struct str id);

typedef void (*identity_listener)(void *arg, enum identity_change kind, struct str id);
/* Calls fn(arg) on the loop's stack for every change, its own included, perhaps more than once. For good. */
void identity_on_change(struct worker *w, identity_listener fn, void *arg);

/* May what was cached be believed: have the changes been read lately? */
bool identity_changes_fresh(const struct worker *w);
/* Counts changes heard: who reads something to cache it keeps it only if this is the same before and after. */
uint64_t identity_changes_heard(const struct worker *w);

struct identity_changes *identity_changes_open(struct worker *w);
/* Begins to read; until the first rows came nothing is fresh. */
void identity_changes_start(struct identity_changes *c);
void identity_changes_close(struct identity_changes *c);

#endif
