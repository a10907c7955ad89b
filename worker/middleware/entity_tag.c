/* SPDX-License-Identifier: MIT */
/*
 * Entity tags of answers that seldom change: routes with ROUTE_ETAG get one from a hash of the body, and a client that
 * has that body already is told so with 304. It saves the wire, not the handler's work.
 */
#include "common/crypto.h"
#include "worker/http/http_semantics.h"
#include "worker/middleware/pipeline.h"

#define ENTITY_TAG_BODY_MAX (1024 * 1024) /* hashing that takes less than a millisecond */
#define ENTITY_TAG_BYTES 16

static bool entity_tag_applies(const struct route *r, const struct conf *c)
{
	(void)c;
	return (r->flags & ROUTE_ETAG) != 0 && r->method == HTTP_GET;
}

static bool entity_tag_body(struct http_request *req, int *status, const char *type, struct str *body)
{
	char tag[2 * ENTITY_TAG_BYTES + 3] = "\"";
	uint8_t sum[SHA256_LEN];
	struct http_validators v = {.modified = -1};

	(void)type;
	if (*status != 200 || body->n > ENTITY_TAG_BODY_MAX || http_reply_has(req, "ETag"))
		return false;
	crypto_sha256(*body, sum);
	crypto_hex(tag + 1, sum, ENTITY_TAG_BYTES);
	tag[sizeof(tag) - 2] = '"';
	v.etag = arena_str(req->arena, (struct str){tag, sizeof(tag) - 1});
	http_reply_value(req, "ETag", v.etag);
	switch (http_condition(req, &v)) {
	case CONDITION_NOT_MODIFIED:
		*status = 304; /* the body is not sent; later steps see what it would have been */
		break;
	case CONDITION_FAILED:
		*status = 412;
		*body = STR("");
		break;
	case CONDITION_NONE:
		break;
	}
	return false;
}

const struct middleware middleware_entity_tag = {
    .name = "entity_tag", .applies = entity_tag_applies, .body = entity_tag_body};
