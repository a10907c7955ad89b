/* SPDX-License-Identifier: MIT */
/*
 * The secret with which a debate's callback is signed. Private to the delivery room.
 */
#ifndef WORKER_DELIVERY_SECRET_H
#define WORKER_DELIVERY_SECRET_H

#include "common/arena.h"
#include "common/co.h"
#include "common/err.h"

struct worker;

/*
 * Adds the secret to *out, which the caller wipes: that of the callback, else deliveries.secret, else nothing. False
 * when it cannot be had now (store, key).
 */
CO_FN bool callback_secret(struct worker *w, struct arena *a, struct str debate_id, struct buf *out,
			   struct error *err) MUST_CHECK;

#endif
