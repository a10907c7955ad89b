/* SPDX-License-Identifier: MIT */
/*
 * The format "webhook": a POST of JSON with a signature over the bytes as sent (reference/security 9.1). Called by the
 * sender for each attempt; body and id are those of the row, so that every attempt says the same.
 */
#include "common/clock.h"
#include "common/crypto.h"
#include "common/envelope.h"
#include "worker/delivery/outbox.h"
#include "worker/delivery/secret.h"
#include "worker/worker.h"

#define WEBHOOK_REPLY_MAX 65536 /* bytes of an answer that are read, reference/security 8.1 */

/* "sha256=" and the HMAC in hex. */
static struct str webhook_signature(struct arena *a, struct str secret, struct str message, const char *prefix)
{
	uint8_t mac[SHA256_LEN];
	char hex[SHA256_HEX];

	crypto_hmac_sha256(secret, message, mac);
	crypto_hex(hex, mac, sizeof(mac));
	return arena_printf(a, "%s%s", prefix, hex);
}

size_t webhook_fields(struct arena *a, const struct delivery_row *d, struct str secret, int64_t now_ms,
		      struct fetch_header out[WEBHOOK_FIELDS])
{
	struct str time = arena_printf(a, "%lld", (long long)(now_ms / 1000)), signature, stamped;
	const struct fetch_header fixed[] = {
	    {"Content-Type", STR("application/json")},
	    {"User-Agent", STR("Aragora-Webhooks/1.0")},
	    {"X-Webhook-Delivery-Id", d->id},
	    {"X-Webhook-Event-Type", d->event},
	    {"X-Webhook-Timestamp", time},
	    {"X-Aragora-Delivery", d->id},
	    {"X-Aragora-Event", d->event},
	    {"X-Aragora-Timestamp", time},
	    {"X-Aragora-Correlation-ID", d->debate_id},
	    {"Idempotency-Key", d->id},
	};
	size_t n = countof(fixed);

	_Static_assert(countof(fixed) + 3 <= WEBHOOK_FIELDS, "room for the signatures");
	memcpy(out, fixed, sizeof(fixed));
	if (secret.n == 0)
		return n;
	signature = webhook_signature(a, secret, d->payload, "sha256=");
	stamped = arena_printf(a, "%.*s.%.*s", STR_ARG(time), STR_ARG(d->payload));
	out[n++] = (struct fetch_header){"X-Webhook-Signature", signature};
	out[n++] = (struct fetch_header){"X-Aragora-Signature", signature};
	/* Covers the time of the attempt too: a receiver may refuse what is replayed later. */
	out[n++] = (struct fetch_header){
	    "X-Webhook-Signature-V2",
	    webhook_signature(a, secret, stamped, arena_printf(a, "t=%.*s,v1=", STR_ARG(time)).p)};
	return n;
}

CO_FN static bool webhook_prepare(struct worker *w, struct arena *a, const struct delivery_row *d,
				  struct fetch_request *req, struct error *err)
{
	struct fetch_header *fields = arena_zalloc(a, WEBHOOK_FIELDS * sizeof(*fields));
	struct buf secret = BUF_INIT;
	bool ok = callback_secret(w, a, d->debate_id, &secret, err);

	if (ok) {
		req->method = "POST";
		req->url = d->target;
		req->body = d->payload;
		req->headers = fields;
		req->header_count = webhook_fields(a, d, buf_str(&secret), clock_wall_ms(), fields);
		req->max_body = WEBHOOK_REPLY_MAX;
		req->guard = deliveries_guard(w->deliveries);
	}
	if (secret.p != NULL)
		explicit_bzero(secret.p, secret.cap);
	buf_free(&secret);
	return ok;
}

const struct delivery_format delivery_format_webhook = {
    .name = "webhook", .repeatable = true, .prepare = webhook_prepare};
