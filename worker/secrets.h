/* SPDX-License-Identifier: MIT */
/*
 * Every place where an area keeps a secret field (envelope.h), for `aragorad encrypt`. An area that begins to keep one
 * adds a row, and its name to metric_stores.
 */
#ifndef WORKER_SECRETS_H
#define WORKER_SECRETS_H

#include "common/recrypt.h"

extern const struct secret_store secret_stores[];
extern const size_t secret_stores_count;

#endif
