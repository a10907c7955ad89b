/* SPDX-License-Identifier: MIT */
/*
 * Refuses requests for names that are not ours (server.allowed_hosts): a page of another name that resolves to this
 * address gets nothing (DNS rebinding). Probes are asked by address, so they answer to any name.
 */
#include "common/conf.h"
#include "common/metrics.h"
#include "worker/middleware/pipeline.h"

static bool host_applies(const struct route *r, const struct conf *c)
{
	bool probe = (r->flags & ROUTE_PUBLIC) && (r->flags & ROUTE_INLINE) && !(r->flags & ROUTE_FILES);

	return c->server.allowed_hosts.n > 0 && !probe;
}

/* Without the port: "a.example:8080", "[::1]:80". */
static struct str host_name(struct str host)
{
	ptrdiff_t end = host.n > 0 && host.p[0] == '[' ? str_chr(host, ']') + 1 : str_chr(host, ':');

	return end > 0 ? str_sub(host, 0, (size_t)end) : host;
}

static bool host_matches(struct str name, struct str pattern)
{
	if (!str_starts(pattern, STR(".")))
		return str_ieq(name, pattern);
	return name.n > pattern.n && str_ieq(str_sub(name, name.n - pattern.n, name.n), pattern);
}

bool host_allowed(const struct conf *c, struct str host)
{
	struct str name = host_name(host);
	size_t i;

	for (i = 0; i < c->server.allowed_hosts.n; i++)
		if (host_matches(name, str_of(c->server.allowed_hosts.v[i])))
			return true;
	return false;
}

static bool host_head(struct http_request *req, size_t *limit, struct error *err)
{
	(void)limit;
	if (host_allowed(middleware_conf(req), http_field(req, "host")))
		return true;
	metric_add(M_HTTP_REFUSED, 1, "host", NULL);
	return error_field(err, ERR_BAD_REQUEST, "Host", "this server does not answer to that name");
}

const struct middleware middleware_host = {.name = "host", .applies = host_applies, .head = host_head};
