/* SPDX-License-Identifier: MIT */
/*
 * The address of a Redis server as operators write it: redis://[user][:password]@host[:port][/db], or
 * unix://[user][:password]@/path[?db=n]. Pure text: resolves nothing.
 */
#ifndef COMMON_REDIS_URL_H
#define COMMON_REDIS_URL_H

#include "common/err.h"

#define REDIS_PATH_MAX 108 /* sun_path */

struct redis_address {
	bool is_unix;
	char host[256]; /* a name, an IPv4 address or an IPv6 address without brackets */
	char port[6];
	char path[REDIS_PATH_MAX];
	char user[128];     /* "" = the default user */
	char password[512]; /* secret; "" = none */
	unsigned db;
};

/* ERR_INVALID_VALUE with a message that does not contain the URL, for it may hold a secret. */
bool redis_url_parse(struct str url, struct redis_address *out, struct error *err) MUST_CHECK;

#endif
