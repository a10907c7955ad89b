/* SPDX-License-Identifier: MIT */
/*
 * HTTP client on the loop (libcurl multi). Names are resolved in the slow lane and handed to curl; paid calls use
 * HTTP/1.1 on a fresh connection, because libcurl silently re-sends a POST when a reused connection dies. Redirects are
 * returned, not followed; TLS certificates are verified; proxies, also those of the environment, are not used. Each
 * call is a span of the request, debate or delivery that makes it, and names it in its traceparent.
 */
#ifndef COMMON_FETCH_H
#define COMMON_FETCH_H

#include "common/arena.h"
#include "common/co.h"
#include "common/err.h"

struct fetch;
struct guard;
struct lane;
struct loop;

enum fetch_fail {
	FETCH_OK, /* a complete response, whatever its status */
	FETCH_DNS,
	FETCH_CONNECT, /* refused, unreachable, connect timeout */
	FETCH_TLS,
	FETCH_STALLED, /* no byte for idle_us */
	FETCH_CUT,     /* the connection ended before the response was complete */
	FETCH_TOO_BIG,
	FETCH_REFUSED,  /* on_data returned false */
	FETCH_BLOCKED,  /* the guard forbids the URL or an address of its name; nothing was sent */
	FETCH_DEADLINE, /* a scope ended: co_ended_by() tells which */
	FETCH_OTHER
};

struct fetch_header {
	const char *name;
	struct str value;
};

struct fetch_request {
	const char *method; /* "GET", "POST" */
	struct str url;     /* http or https */
	const struct fetch_header *headers;
	size_t header_count;
	struct str body;    /* must live until fetch_do returns */
	int64_t connect_us; /* for the name, and again for TCP and TLS; 0: 30 s */
	int64_t idle_us;    /* longest silence once connected; 0: no limit */
	size_t max_body;    /* bytes, also of streamed data; 0: 1 MiB */
	/*
	 * With on_data, bodies of 2xx responses are handed over as they come, on the loop's stack (it must not wait),
	 * and resp->body stays empty; other statuses are collected as usual. False ends the transfer with
	 * FETCH_REFUSED.
	 */
	bool (*on_data)(void *arg, struct str chunk);
	void *arg;
	const char *unix_socket; /* path, or NULL */
	/*
	 * For URLs that clients name: the URL and every address of its name must pass, and the connection goes to one
	 * of these addresses. It lives as long as the lane that resolves. NULL: the URL is the operator's.
	 */
	const struct guard *guard;
};

struct fetch_response {
	enum fetch_fail fail;
	bool sent;               /* at least the head of the request may have reached the server */
	int status;              /* 0 when no status line came */
	struct str body;         /* in the arena */
	struct str content_type; /* in the arena */
	int64_t retry_after_us;  /* from Retry-After (seconds or HTTP date) or retry-after-ms; -1 if none */
	/* Of x-ratelimit-* and the like, about requests: as sent, in the arena; empty if not. */
	struct str rate_remaining, rate_reset;
	char detail[160]; /* what went wrong, without secrets */
};

/*
 * `names` resolves the names that the operator configures, `guarded` those that clients name: their name servers may
 * let us wait, which must hold up nothing else. Who frees a guard frees that lane first.
 */
struct fetch *fetch_open(struct loop *l, struct lane *names, struct lane *guarded);
/* No transfer may be under way. */
void fetch_close(struct fetch *f);
/*
 * True when resp->fail is FETCH_OK. Arena memory for the response; all of *resp is set, also after a failure (what came
 * of the body is kept). Inside an ended scope nothing is sent. The user agent is aragorad's unless a header says other.
 */
CO_FN bool fetch_do(struct fetch *f, struct arena *a, const struct fetch_request *req, struct fetch_response *resp);
/*
 * May this URL be called, as of now? Resolves its name within `us` and judges every address. False with
 * ERR_INVALID_VALUE (also when the name is not known) or ERR_CANCELLED; the field is left to the caller.
 */
CO_FN bool fetch_may_call(struct fetch *f, const struct guard *guard, struct str url, int64_t us,
			  struct error *err) MUST_CHECK;
/* Transfers under way. */
unsigned fetch_active(const struct fetch *f);

#endif
