/* SPDX-License-Identifier: MIT */
/*
 * Answers of GET routes that declare what they are made from (struct route, `sources`): kept per worker, told apart by
 * path, parameters, tenant and permissions, and dropped on every worker of the node when a source changes.
 */
#ifndef WORKER_MIDDLEWARE_RESPONSE_CACHE_H
#define WORKER_MIDDLEWARE_RESPONSE_CACHE_H

#include "worker/http/http.h"

struct shm;

/* What a source is made of has changed and is committed: answers made from it are old. Never waits. */
void response_cache_changed(struct shm *shm, const char *source);

#endif
