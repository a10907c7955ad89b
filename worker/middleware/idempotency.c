/* SPDX-License-Identifier: MIT */
/*
 * Idempotency-Key of creations: its form, checked before anything is done. What a repeated key answers is decided where
 * the creation commits (idempotency_keys), for only there two at the same time can be told apart.
 */
#include "common/metrics.h"
#include "worker/middleware/pipeline.h"

#define IDEMPOTENCY_KEY_MAX 255 /* bytes */

static bool idempotency_applies(const struct route *r, const struct conf *c)
{
	(void)c;
	return r->method == HTTP_POST && r->rate == RATE_CREATE;
}

static bool idempotency_ok(struct str key)
{
	size_t i;

	for (i = 0; i < key.n; i++)
		if (key.p[i] < '!' || key.p[i] > '~')
			return false;
	return key.n > 0 && key.n <= IDEMPOTENCY_KEY_MAX;
}

static bool idempotency_head(struct http_request *req, size_t *limit, struct error *err)
{
	struct str key = http_field(req, "idempotency-key");

	(void)limit;
	if (key.p == NULL || idempotency_ok(key))
		return true;
	metric_add(M_HTTP_REFUSED, 1, "idempotency", NULL);
	return error_field(err, ERR_INVALID_VALUE, "Idempotency-Key", "must be 1 to %d bytes of visible ASCII",
			   IDEMPOTENCY_KEY_MAX);
}

const struct middleware middleware_idempotency = {
    .name = "idempotency", .applies = idempotency_applies, .head = idempotency_head};
