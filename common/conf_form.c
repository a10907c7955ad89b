/* SPDX-License-Identifier: MIT */
/*
 * Forms of texts in the configuration: addresses to listen on, networks, URLs, origins. Called through the table.
 * Does not resolve names and does not ask whether an address exists on this machine.
 */
#include "common/conf_internal.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <sys/un.h>

#include "common/clock.h"
#include "common/ratelimit.h"

/* Letters, digits, dots, dashes, underscores: a name or an IPv4 address. */
static bool conf_form_host(struct str s)
{
	size_t i;

	if (s.n == 0 || s.n > 253)
		return false;
	for (i = 0; i < s.n; i++)
		if (!isalnum((unsigned char)s.p[i]) && memchr(".-_", s.p[i], 3) == NULL)
			return false;
	return true;
}

static bool conf_form_ip(struct str s, int family, void *address)
{
	char text[64];

	if (s.n == 0 || s.n >= sizeof(text))
		return false;
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	return inet_pton(family, text, address) == 1;
}

/* host, [v6] or, with `port` true, host:port and [v6]:port; a port is demanded if need_port. */
static bool conf_form_authority(struct str s, bool need_port)
{
	struct in6_addr six;
	struct str host = s;
	struct str port = STR_NONE;
	ptrdiff_t close;
	ptrdiff_t colon;
	uint64_t n;

	if (s.n > 0 && s.p[0] == '[') {
		close = str_chr(s, ']');
		if (close < 0 || !conf_form_ip(str_sub(s, 1, (size_t)close), AF_INET6, &six))
			return false;
		port = str_sub(s, (size_t)close + 1, s.n);
		if (port.n > 0 && port.p[0] != ':')
			return false;
		colon = port.n > 0 ? 0 : -1;
	} else {
		colon = str_chr(s, ':');
		if (colon >= 0) {
			host = str_sub(s, 0, (size_t)colon);
			port = str_sub(s, (size_t)colon, s.n);
		}
		if (!conf_form_host(host))
			return false;
	}
	if (colon < 0)
		return !need_port;
	return str_to_u64(str_sub(port, 1, port.n), 65535, &n);
}

const char *conf_listen_address(const char *element, unsigned *marks)
{
	static const struct {
		const char *text;
		unsigned mark;
	} words[] = {{"tls:", LISTEN_TLS}, {"proxy:", LISTEN_PROXY}};
	size_t i = 0;

	*marks = 0;
	while (i < countof(words)) {
		size_t n = strlen(words[i].text);

		/* "tls:8443" is a host of that name: behind a mark another colon must follow. */
		if (strncmp(element, words[i].text, n) != 0 || strchr(element + n, ':') == NULL) {
			i++;
			continue;
		}
		*marks |= words[i].mark;
		element += n;
		i = 0;
	}
	return element;
}

bool conf_form_address(struct str s)
{
	size_t path_max = sizeof(((struct sockaddr_un *)NULL)->sun_path);
	unsigned marks;
	char text[512];

	if (s.n >= sizeof(text) || memchr(s.p, '\0', s.n) != NULL)
		return false;
	snprintf(text, sizeof(text), "%.*s", STR_ARG(s));
	s = str_of(conf_listen_address(text, &marks));
	if (str_starts(s, STR("systemd:")))
		return s.n > 8;
	if (str_starts(s, STR("unix:")))
		return s.n > 5 && s.n - 5 < path_max;
	return conf_form_authority(s, true);
}

bool conf_form_pair(struct str s)
{
	struct str rest = s, first = STR_NONE;

	if (s.n == 0 || !str_eq(s, str_trim(s)))
		return false;
	(void)str_split(&rest, ' ', &first);
	return first.n > 0 && str_chr(rest, ' ') < 0;
}

bool conf_form_net(struct str s)
{
	unsigned char address[sizeof(struct in6_addr)];
	ptrdiff_t slash = str_chr(s, '/');
	struct str host = slash < 0 ? s : str_sub(s, 0, (size_t)slash);
	uint64_t bits;
	bool four = conf_form_ip(host, AF_INET, address);

	if (!four && !conf_form_ip(host, AF_INET6, address))
		return false;
	return slash < 0 || str_to_u64(str_sub(s, (size_t)slash + 1, s.n), four ? 32 : 128, &bits);
}

/* Has the URL one of the schemes, something after it, and no blank? */
static bool conf_form_scheme(struct str s, struct str first, struct str second, struct str *rest)
{
	if (str_istarts(s, first))
		*rest = str_sub(s, first.n, s.n);
	else if (str_istarts(s, second))
		*rest = str_sub(s, second.n, s.n);
	else
		return false;
	return rest->n > 0 && str_chr(*rest, ' ') < 0;
}

bool conf_form_url(struct str s)
{
	struct str rest;
	size_t end = 0;

	if (!conf_form_scheme(s, STR("http://"), STR("https://"), &rest))
		return false;
	while (end < rest.n && memchr("/?#", rest.p[end], 3) == NULL)
		end++;
	return conf_form_authority(str_sub(rest, 0, end), false);
}

bool conf_form_origin(struct str s)
{
	struct str rest;

	if (str_eqz(s, "*"))
		return true;
	return conf_form_scheme(s, STR("http://"), STR("https://"), &rest) && conf_form_authority(rest, false);
}

/* What may stand in a header of an answer (RFC 9110 5.5), without bytes outside ASCII. */
bool conf_form_header(struct str s)
{
	size_t i;

	for (i = 0; i < s.n; i++)
		if (s.p[i] < ' ' || s.p[i] > '~')
			return false;
	return true;
}

bool conf_form_host_pattern(struct str s)
{
	struct in6_addr six;

	if (s.n > 2 && s.p[0] == '[')
		return s.p[s.n - 1] == ']' && conf_form_ip(str_sub(s, 1, s.n - 1), AF_INET6, &six);
	return conf_form_host(s);
}

bool conf_form_path(struct str s)
{
	return s.n > 0 && s.p[0] == '/' && str_chr(s, ' ') < 0 && str_chr(s, '?') < 0;
}

bool conf_form_mail_url(struct str s)
{
	struct str rest;

	return conf_form_scheme(s, STR("smtp://"), STR("smtps://"), &rest);
}

/* The name of a file that is not hidden. */
bool conf_form_name(struct str s)
{
	return s.n > 0 && s.n < 256 && s.p[0] != '.' && str_chr(s, '/') < 0;
}

bool conf_form_folder(struct str s)
{
	return s.n > 0 && s.p[0] == '/' && s.p[s.n - 1] == '/' && str_find(s, STR("//")) < 0;
}

/* At most two decimals. */
bool conf_form_multiplier(struct str s)
{
	struct str rest = s, whole;
	uint64_t n, hundredths;

	if (!str_split(&rest, '.', &whole) || !str_to_u64(whole, 100, &n) || n == 0)
		return false;
	if (rest.p == NULL)
		return true;
	return rest.n <= 2 && str_to_u64(rest, 99, &hundredths) && (n < 100 || hundredths == 0);
}

bool conf_form_rate(struct str s)
{
	ptrdiff_t equals = str_chr(s, '=');
	struct str rest, rate, burst = STR("1");
	uint64_t n;

	if (equals <= 0)
		return false;
	rest = str_sub(s, (size_t)equals + 1, s.n);
	if (!str_split(&rest, '/', &rate))
		return false;
	if (rest.p != NULL)
		burst = rest;
	return str_to_u64(rate, RATELIMIT_RATE_MAX, &n) && str_to_u64(burst, RATELIMIT_BURST_MAX, &n) && n > 0;
}

/* Does it begin with the name of a provider and '='? */
static bool conf_form_provider(struct str s, struct str *rest)
{
	struct str name;
	unsigned id;

	*rest = s;
	if (!str_split(rest, '=', &name) || rest->p == NULL)
		return false;
	for (id = 0; id < PROVIDER_MAX; id++)
		if (str_eqz(name, conf_provider_name((enum conf_provider_id)id)))
			return true;
	return false;
}

bool conf_form_provider_rate(struct str s)
{
	struct str rest;

	return conf_form_provider(s, &rest) && conf_form_rate(s);
}

bool conf_form_provider_breaker(struct str s)
{
	struct str rest, failures, successes, cooldown;
	uint64_t n;
	int64_t us;

	return conf_form_provider(s, &rest) && str_split(&rest, '/', &failures) && str_split(&rest, '/', &successes) &&
	       str_split(&rest, '/', &cooldown) && rest.p != NULL && str_to_u64(failures, 1000000, &n) && n > 0 &&
	       str_to_u64(successes, 1000, &n) && n > 0 && duration_parse(cooldown, &us) && us > 0 &&
	       str_to_u64(rest, 1000, &n) && n > 0;
}
