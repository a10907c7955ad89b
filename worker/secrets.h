/* SPDX-License-Identifier: MIT */
/*
 * Every place where an area keeps a secret field (envelope.h), for `aragorad encrypt`. An area that begins to keep one
 * adds a row, and its name to metric_stores. And which keys the store has seen, so that a wrong one is noticed at the
 * start and an old one is called old.
 */
#ifndef WORKER_SECRETS_H
#define WORKER_SECRETS_H

#include "common/recrypt.h"

extern const struct secret_store secret_stores[];
extern const size_t secret_stores_count;

#define SECRETS_ROTATE_DAYS 90 /* of the runbook */

/*
 * By the start-up child: makes a key if there is none, notes in the store that it is in use, and logs "Key not found"
 * for keys that others have noted and this ring lacks, and that the active key is due for rotation. `missing`: the ids
 * of those that are lacking, with commas, cut to n; "" when none. False when there is no usable key.
 */
bool secrets_note_keys(const struct conf *c, char *missing, size_t n, struct error *err) MUST_CHECK;
/* Every field is under the active key: the others are not needed any more. */
bool secrets_forget_keys(struct dba *d, const struct keyring *k, struct error *err) MUST_CHECK;

#endif
