/* SPDX-License-Identifier: MIT */
/*
 * The tables of the product as numbered migrations, applied by the master's start-up child and by `aragorad migrate`.
 */
#ifndef WORKER_SCHEMA_H
#define WORKER_SCHEMA_H

#include "common/db.h"

extern const struct migration schema_migrations[];
extern const size_t schema_migrations_count;

#endif
