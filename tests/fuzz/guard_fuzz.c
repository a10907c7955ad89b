/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: whatever URL the guard lets through, libcurl reads the same host and port in it, and no reader of
 * numbers takes the name for an address.
 */
#include "common/guard.h"

#include <arpa/inet.h>

#include <curl/curl.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_curl(const char *url, const struct guard_target *t)
{
	char *host = NULL, *port = NULL, *user = NULL;
	CURLU *u = curl_url();
	struct str read;

	BUG_ON(u == NULL);
	if (curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK) {
		BUG_ON(curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK);
		BUG_ON(curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK);
		BUG_ON(curl_url_get(u, CURLUPART_USER, &user, 0) != CURLUE_NO_USER);
		read = str_of(host);
		if (t->literal && host[0] == '[')
			BUG_ON(strchr(t->host, ':') == NULL);
		else
			BUG_ON(!str_ieqz(read, t->host));
		BUG_ON(strcmp(port, t->port) != 0);
	}
	curl_free(host);
	curl_free(port);
	curl_free(user);
	curl_url_cleanup(u);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct guard *g;
	struct str url = {(const char *)data, size};
	struct error err = ERROR_INIT;
	struct guard_target t;
	struct in_addr four;
	char *z;

	if (g == NULL)
		g = guard_new(&(struct conf_list){NULL, 0}, true);
	if (!guard_url(g, url, &t, &err)) {
		BUG_ON(err.msg[0] == '\0');
		return 0;
	}
	BUG_ON(t.literal); /* nothing is listed */
	BUG_ON(inet_aton(t.host, &four) != 0);
	BUG_ON(strspn(t.host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != strlen(t.host));
	z = str_dupz(url);
	check_curl(z, &t);
	free(z);
	return 0;
}
