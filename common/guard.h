/* SPDX-License-Identifier: MIT */
/*
 * Which URLs named by clients this server may call (SSRF, reference: OWASP "Server-Side Request Forgery Prevention").
 * The text of a URL is judged without the network, each address that its name resolves to is judged before the
 * connection, and the connection goes to a judged address and nowhere else. What the operator configures (providers) is
 * not subject to it.
 *
 * The public may be called by https on ports 443 and 8443 (80 with http, where that is allowed) by name. Everything
 * else is open only for addresses that the operator has listed: there scheme, port and form of the host do not matter.
 */
#ifndef COMMON_GUARD_H
#define COMMON_GUARD_H

#include <sys/socket.h>

#include "common/conf.h"
#include "common/err.h"

#define GUARD_URL_MAX 2048
#define GUARD_HOST_MAX 254 /* RFC 1035 2.3.4, with NUL */

struct guard;

/* A URL whose text may be called; where `only_listed` tells why, at listed addresses only. */
struct guard_target {
	bool https;
	bool literal; /* the host is an address; it has been judged */
	char host[GUARD_HOST_MAX];
	char port[6];
	char only_listed[48]; /* "" when public addresses are allowed */
};

/* `allow`: networks that may be called; `plain_http`: may the public be called without TLS? The list is copied. */
struct guard *guard_new(const struct conf_list *allow, bool plain_http);
void guard_free(struct guard *g);
/*
 * Judges the text: scheme, no credentials, no fragment, a host in one plain form. False with ERR_INVALID_VALUE; the
 * field is left to the caller. Never waits.
 */
bool guard_url(const struct guard *g, struct str url, struct guard_target *t, struct error *err) MUST_CHECK;
/* Judges an address of the target; *why says what is wrong ("is a loopback address"), as static text. */
bool guard_address(const struct guard *g, const struct guard_target *t, const struct sockaddr *sa,
		   const char **why) MUST_CHECK;

#endif
