/* SPDX-License-Identifier: MIT */
/*
 * For connections that stay open (WebSockets, event streams): is whoever opened it still allowed to listen? A watch
 * keeps a copy of the identity, asks the store when a change concerns it, and tells when the credential is revoked or
 * has expired, or its user or membership is gone.
 */
#ifndef WORKER_IDENTITY_WATCH_H
#define WORKER_IDENTITY_WATCH_H

#include "worker/identity/identity.h"

struct identity_watch;
struct identity_watches;

/* lost(arg, why) comes at most once, on the loop's stack or a coroutine; why is static text. It may free the watch. */
/*
 * It is lost, too, with the permission (a number; -1: none) that is needed for what the connection gets. `since_us`:
 * time of the loop before the credential was judged; what has changed from then on is asked about at once.
 */
struct identity_watch *identity_watch_new(struct worker *w, const struct identity *who, int64_t since_us,
					  int permission, void (*lost)(void *arg, const char *why), void *arg);
/* Lives as long as the watch. */
const struct identity *identity_watch_who(const struct identity_watch *x);
/* NULL is allowed. */
void identity_watch_free(struct identity_watch *x);

struct identity_watches *identity_watches_open(struct worker *w);
void identity_watches_close(struct identity_watches *all);

#endif
