/* SPDX-License-Identifier: MIT */
/*
 * Passwords that are changed or forgotten, and addresses that are confirmed.
 */
#ifndef WORKER_IDENTITY_RECOVERY_H
#define WORKER_IDENTITY_RECOVERY_H

#include "worker/http/route.h"

struct worker;

extern const struct route_table recovery_routes;

/*
 * Sends a link to confirm the address to the account that has it (in lower case), behind the caller's back. False: it
 * cannot be tried now.
 */
bool recovery_send_verification(struct worker *w, struct str email_key);

#endif
