/* SPDX-License-Identifier: MIT */
/*
 * Guesses are counted: per account (whether it exists or not) and per client address. After 5, 10 and 15 failures in a
 * row an account or address is locked for a minute, a quarter of an hour and an hour (security.md 3.4), on every worker
 * and node, for the counts are in the store. Addresses in limits.exempt are not counted.
 *
 * An address from which an account has got in lately is counted apart for that account: somebody else's guesses do not
 * lock its owner out there (OWASP Authentication Cheat Sheet, "device cookies", by address).
 */
#ifndef WORKER_IDENTITY_LOCKOUT_H
#define WORKER_IDENTITY_LOCKOUT_H

#include "common/co.h"
#include "common/db.h"
#include "worker/http/http.h"

struct lockouts;

#define LOCKOUT_ID 80

/* One attempt, from lockout_enter to lockout_leave. */
struct lockout {
	struct worker *w;
	struct co_lock *turn;
	char account[LOCKOUT_ID], address[LOCKOUT_ID]; /* rows; address "": exempt */
	char place[LOCKOUT_ID];                        /* of both together; "": exempt */
	bool known;                                    /* the account has got in from there */
};

/*
 * Before anything is compared: may an attempt be made on this account now? `kind` is "email" or "mfa", `account` the
 * address in lower case or the user's id. False: ERR_RATE_LIMITED (Retry-After is already among the reply's headers),
 * or the store's error; there is nothing to leave then. True: attempts on the account follow each other within this
 * process until lockout_leave, which must come.
 */
CO_FN bool lockout_enter(struct http_request *req, const char *kind, struct str account, struct lockout *l,
			 struct error *err) MUST_CHECK;

enum lockout_outcome {
	LOCKOUT_FAILED, /* counts */
	/* Clears the account, at a known place that only; never the address: anybody may have an account of his own. */
	LOCKOUT_PASSED,
	LOCKOUT_NEITHER
};
CO_FN void lockout_leave(struct http_request *req, struct lockout *l, enum lockout_outcome outcome);

/* The row that counts for an account, for `aragorad user unlock`. */
void lockout_row(const char *kind, struct str account, char id[LOCKOUT_ID]);
/* Adds to a batch: nothing is counted for this account any more. */
void lockout_forget(struct db_batch *b, const char *kind, struct str account);

struct lockouts *lockouts_open(const struct conf *c);
void lockouts_close(struct lockouts *l);

#endif
