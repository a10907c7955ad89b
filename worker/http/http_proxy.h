/* SPDX-License-Identifier: MIT */
/*
 * The PROXY protocol, versions 1 and 2: the line or block in which a balancer tells who the client is. Only on
 * listeners marked for it, and only from addresses in server.trusted_proxies.
 */
#ifndef WORKER_HTTP_HTTP_PROXY_H
#define WORKER_HTTP_HTTP_PROXY_H

#include "worker/http/http_client.h"

#define PROXY_HEADER_MAX 2048 /* longer headers are refused; those of known balancers stay below 600 bytes */

struct proxy_header {
	bool has_client;         /* false: the balancer speaks for itself (health check), or of no IP address */
	struct http_addr client; /* its address */
	bool https;              /* the client spoke TLS to the balancer */
};

/* Length of the header that `in` begins with, 0 while it is not complete, -1 when it is none. */
int proxy_parse(struct str in, struct proxy_header *out) MUST_CHECK;

/* Has the connection begin with a PROXY header; refuses peers that are not trusted. */
void proxy_attach(struct http_conn *c);

#endif
