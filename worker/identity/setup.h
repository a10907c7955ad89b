/* SPDX-License-Identifier: MIT */
/*
 * The setup token: whoever reads the log of the first start may make the first owner, once (POST /api/auth/setup). Only
 * its hash is stored.
 */
#ifndef WORKER_IDENTITY_SETUP_H
#define WORKER_IDENTITY_SETUP_H

#include "common/co.h"
#include "common/db.h"

struct dba;
struct worker;

#define SETUP_TOKEN_MAX 64

/*
 * Makes one, in the place of a former one, unless users exist: then `token` is empty. `anew` false: only if there is
 * none yet. Blocking, inside a transaction of d.
 */
bool setup_token_make(struct dba *d, bool anew, char token[SETUP_TOKEN_MAX], struct error *err) MUST_CHECK;
/* Is it the token, and not used yet? ERR_INVALID_TOKEN if not. */
CO_FN bool setup_token_good(struct worker *w, struct arena *a, struct str token, struct error *err) MUST_CHECK;
/* Adds to a batch, which fails (ERR_FENCED) when somebody has spent it meanwhile. */
void setup_token_spend(struct db_batch *b, struct arena *a, struct str token);

#endif
