/* SPDX-License-Identifier: MIT */
/*
 * Conditions of a grant (security.md 2.1): a JSON object of names and parameters. All must hold; one that is unknown,
 * malformed, or cannot be judged is a no. Pure.
 */
#ifndef WORKER_ACCESS_CONDITIONS_H
#define WORKER_ACCESS_CONDITIONS_H

#include <jansson.h>

#include "common/err.h"

/* What conditions are judged by. Empty: unknown, and whatever asks for it does not hold. */
struct condition_facts {
	int64_t now_ms;
	struct str client;           /* address */
	struct str user_id;          /* who asks */
	struct str owner_id, status; /* of the resource */
	const json_t *tags;          /* of the resource: array of texts, or NULL */
};

/* NULL and {} hold always. */
bool conditions_hold(const json_t *conditions, const struct condition_facts *f);
/* Would they ever be judged? False: the field and the reason are in err. */
bool conditions_valid(const json_t *conditions, struct error *err) MUST_CHECK;
/*
 * Local minutes since Monday 00:00 at `ms` with a fixed offset: "UTC", "Z", "+02:00", "-0330". False: no such offset;
 * names of zones are refused rather than taken for UTC.
 */
bool conditions_local(int64_t ms, struct str zone, int *minutes) MUST_CHECK;

#endif
