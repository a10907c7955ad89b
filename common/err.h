/* SPDX-License-Identifier: MIT */
/*
 * Error values: one code, the field it is about, one sentence. Filled once, where the failure happened; whoever
 * receives it passes it on or answers with it, nobody logs and returns.
 */
#ifndef COMMON_ERR_H
#define COMMON_ERR_H

#include "common/str.h"

/* X(enumerator, HTTP status, wire code). The wire codes are those that existing clients know. */
#define ERR_TABLE(X)                                                                                     \
	X(ERR_OK, 200, "OK")                                                                             \
	X(ERR_BAD_REQUEST, 400, "BAD_REQUEST")                                                           \
	X(ERR_INVALID_JSON, 400, "INVALID_JSON")                                                         \
	X(ERR_MISSING_FIELD, 400, "MISSING_FIELD")                                                       \
	X(ERR_INVALID_VALUE, 400, "INVALID_VALUE")                                                       \
	X(ERR_INVALID_PATH, 400, "INVALID_PATH")                                                         \
	X(ERR_AUTH_REQUIRED, 401, "AUTH_REQUIRED")                                                       \
	X(ERR_INVALID_TOKEN, 401, "INVALID_TOKEN")                                                       \
	X(ERR_INVALID_CREDENTIALS, 401, "AUTH_INVALID_CREDENTIALS")                                      \
	X(ERR_QUOTA_EXCEEDED, 402, "QUOTA_EXCEEDED")                                                     \
	X(ERR_MFA_INVALID, 401, "AUTH_MFA_INVALID")                                                      \
	X(ERR_FORBIDDEN, 403, "FORBIDDEN")                                                               \
	X(ERR_APPROVAL, 403, "APPROVAL_INVALID")                                                         \
	X(ERR_MFA_STEP_UP, 403, "MFA_STEP_UP_REQUIRED")                                                  \
	X(ERR_PERMISSION_DENIED, 403, "PERMISSION_DENIED")                                               \
	X(ERR_ADMIN_MFA_REQUIRED, 403, "ADMIN_MFA_REQUIRED")                                             \
	X(ERR_MFA_REQUIRED, 403, "MFA_REQUIRED")                                                         \
	X(ERR_NOT_FOUND, 404, "NOT_FOUND")                                                               \
	X(ERR_METHOD_NOT_ALLOWED, 405, "METHOD_NOT_ALLOWED")                                             \
	X(ERR_REQUEST_TIMEOUT, 408, "REQUEST_TIMEOUT")                                                   \
	X(ERR_CONFLICT, 409, "CONFLICT")                                                                 \
	X(ERR_PRECONDITION, 412, "PRECONDITION_FAILED")                                                  \
	X(ERR_TOO_LARGE, 413, "PAYLOAD_TOO_LARGE")                                                       \
	X(ERR_URI_TOO_LONG, 414, "URI_TOO_LONG")                                                         \
	X(ERR_UNSUPPORTED_MEDIA, 415, "UNSUPPORTED_MEDIA_TYPE")                                          \
	X(ERR_RANGE, 416, "RANGE_NOT_SATISFIABLE")                                                       \
	X(ERR_UNPROCESSABLE, 422, "UNPROCESSABLE_ENTITY")                                                \
	X(ERR_UPGRADE_REQUIRED, 426, "UPGRADE_REQUIRED")                                                 \
	X(ERR_RATE_LIMITED, 429, "RATE_LIMITED")                                                         \
	X(ERR_HEAD_TOO_LARGE, 431, "HEADERS_TOO_LARGE")                                                  \
	X(ERR_INTERNAL, 500, "INTERNAL_ERROR")                                                           \
	X(ERR_NOT_IMPLEMENTED, 501, "NOT_IMPLEMENTED")                                                   \
	X(ERR_UNAVAILABLE, 503, "SERVICE_UNAVAILABLE")                                                   \
	X(ERR_MAINTENANCE, 503, "MAINTENANCE")                                                           \
	X(ERR_TIMEOUT, 504, "GATEWAY_TIMEOUT")                                                           \
	X(ERR_HTTP_VERSION, 505, "HTTP_VERSION_NOT_SUPPORTED")                                           \
	/* Not for the wire: conditions between modules. */                                              \
	X(ERR_CANCELLED, 503, "CANCELLED")                                                               \
	X(ERR_FENCED, 503, "FENCED")               /* a batch found other row counts than it expected */ \
	X(ERR_DUPLICATE, 409, "DUPLICATE")         /* a unique constraint was hit */                     \
	X(ERR_STORAGE, 503, "SERVICE_UNAVAILABLE") /* database unreachable, disk full, file gone: may be retried */

enum err {
#define ERR_ENUM(name, status, wire) name,
	ERR_TABLE(ERR_ENUM)
#undef ERR_ENUM
	    ERR_MAX
};

struct error {
	enum err code;
	char field[64]; /* the offending field, header or key; "" if none */
	char msg[256];
};

#define ERROR_INIT ((struct error){ERR_OK, "", ""})

/* Fills *e and returns false, so that `return error_set(…)` reads well. e may be NULL. */
bool error_set(struct error *e, enum err code, const char *fmt, ...) PRINTF_FMT(3, 4);
/* As error_set, naming the field. */
bool error_field(struct error *e, enum err code, const char *field, const char *fmt, ...) PRINTF_FMT(4, 5);
/* HTTP status and wire code of an error value. */
int err_status(enum err code);
const char *err_wire(enum err code);

#endif
