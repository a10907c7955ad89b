/* SPDX-License-Identifier: MIT */
/*
 * Who the client is: address ranges, addresses behind trusted proxies, allowed origins, counts per address.
 */
#ifndef WORKER_HTTP_HTTP_CLIENT_H
#define WORKER_HTTP_HTTP_CLIENT_H

#include "common/conf.h"
#include "worker/http/http.h"

struct shm;

#define HTTP_ADDR_TEXT 48

/* IPv4 as mapped IPv6. */
struct http_addr {
	uint8_t b[16];
};

struct http_cidr {
	struct http_addr addr;
	unsigned bits;
};
struct http_cidrs {
	struct http_cidr *v;
	size_t n;
};

/* "10.0.0.0/8", "::1", "localhost"; what is no address is left out. */
void http_cidrs_set(struct http_cidrs *c, const struct conf_list *list);
void http_cidrs_free(struct http_cidrs *c);
bool http_cidrs_match(const struct http_cidrs *c, const struct http_addr *a);
/* Accepts "1.2.3.4", "1.2.3.4:80", "::1", "[::1]:80". */
bool http_addr_parse(struct str s, struct http_addr *a) MUST_CHECK;
/* Short text form plus NUL. */
void http_addr_text(const struct http_addr *a, char out[HTTP_ADDR_TEXT]);

/*
 * The rightmost address of X-Forwarded-For that is no trusted proxy; the leftmost if all are; `peer` if there is none.
 * Only for requests whose peer is trusted.
 */
struct http_addr http_forwarded_for(const struct http_cidrs *trusted, const struct http_field *fields, size_t n,
				    struct http_addr peer);

/* Is the origin itself in cors.allowed_origins? Only then may a browser send what it holds of the user. */
bool http_origin_listed(const struct conf *c, struct str origin);
/* May pages of that origin use this server? ('*' in cors.allowed_origins allows all but "null".) */
bool http_origin_allowed(const struct conf *c, struct str origin);
/* Is it a page of this very server? It needs no entry. */
bool http_origin_same(const struct http_request *req, struct str origin);

/*
 * Counts per client address (IPv6 by /64) over all workers of the node: how many connections and WebSockets are open,
 * and how many WebSockets came within the last minute. Each process writes its own slot's table and adds up all.
 */
struct http_peers {
	struct shm *shm;
	unsigned slot;
};

enum peers_kind { PEERS_CONNECTIONS, PEERS_SOCKETS };
enum peers_answer {
	PEERS_REFUSED,  /* above a limit; nothing is taken */
	PEERS_COUNTED,  /* http_peers_leave must follow */
	PEERS_UNCOUNTED /* let in, but without a count: the table is full */
};

/*
 * Takes a place: refused above `open_max` open ones of the kind or `rate_max` new ones a minute; 0 = no limit. `now` is
 * monotonic, in microseconds. Processes that ask for the last place at the same moment may all be refused; a limit is
 * never passed.
 */
enum peers_answer http_peers_enter(const struct http_peers *p, enum peers_kind kind, const struct http_addr *a,
				   int64_t open_max, int64_t rate_max, int64_t now) MUST_CHECK;
void http_peers_leave(const struct http_peers *p, enum peers_kind kind, const struct http_addr *a);

#endif
