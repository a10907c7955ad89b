/* SPDX-License-Identifier: MIT */
/*
 * HTTP/1.1 client: libcurl's multi-socket interface on the loop, one fresh connection per transfer.
 * Called from coroutines that talk to model providers, webhooks and the like; curl itself runs on the loop's stack
 * only. It does not retry, follow redirects, keep connections or cookies, or use a proxy (the environment's is ignored
 * too).
 */
#include "common/fetch.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>

#include <curl/curl.h>

#include "common/clock.h"
#include "common/guard.h"
#include "common/lane.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/trace_context.h"

#define FETCH_CONNECT_US (30 * SEC_US)
#define FETCH_MAX_BODY (1024U * 1024)
#define FETCH_ADDRS_MAX 8U /* addresses of a name that are tried */
#define FETCH_HOST_MAX 256U
#define FETCH_RETRY_MAX (INT64_C(30) * 24 * 3600 * SEC_US)

struct fetch {
	struct loop *loop;
	struct lane *names, *guarded; /* resolve what the operator names, and what clients do */
	CURLM *multi;
	CURLSH *share; /* TLS sessions, so that a fresh connection need not be a full handshake */
	struct loop_timer timer;
	unsigned active;
};

/* One socket of curl's; freed at the end of the turn in which curl lets go of it. */
struct fetch_socket {
	struct fetch *fetch;
	struct event event;
	bool set;
};

/* One transfer. Lives while its coroutine is in fetch_do(). */
struct fetch_call {
	struct fetch *fetch;
	const struct fetch_request *req;
	struct co *co;
	CURL *easy;
	struct curl_slist *headers;
	struct curl_slist *resolve;
	char *url;
	char host[FETCH_HOST_MAX]; /* "" when nothing is to be resolved */
	char port[8];
	struct guard_target target; /* with a guard */
	struct loop_timer idle;
	int64_t last_byte;
	curl_off_t moved; /* bytes in both directions at last_byte */
	size_t received;
	bool over;
	bool sent;
	enum fetch_fail fail;
	struct buf body;
	char content_type[256];
	char rate_remaining[40], rate_reset[40];
	int64_t retry_after_us;
	struct trace_context trace; /* its span */
	bool head_ended;            /* the blank line after the head has come */
	bool retry_in_ms;           /* retry-after-ms was seen: it is the finer one */
	int status;
	char detail[160];
	char curl_error[CURL_ERROR_SIZE];
};

/* Name resolution, owned by the lane while it runs. */
struct fetch_lookup {
	char host[FETCH_HOST_MAX];
	char port[8];
	const struct guard *guard; /* or NULL */
	struct guard_target target;
	int rc;            /* of getaddrinfo */
	struct buf entry;  /* for CURLOPT_RESOLVE: host:port:address,address */
	char refused[160]; /* what the guard says of one of the addresses; "" if all pass */
};

static const struct {
	CURLcode code;
	enum fetch_fail fail;
} fetch_codes[] = {
    {CURLE_OK, FETCH_OK},
    {CURLE_COULDNT_RESOLVE_HOST, FETCH_DNS},
    {CURLE_COULDNT_CONNECT, FETCH_CONNECT},
    /* Only the connect timeout is curl's; silence is timed here. */
    {CURLE_OPERATION_TIMEDOUT, FETCH_CONNECT},
    {CURLE_SSL_CONNECT_ERROR, FETCH_TLS},
    {CURLE_PEER_FAILED_VERIFICATION, FETCH_TLS},
    {CURLE_SSL_CERTPROBLEM, FETCH_TLS},
    {CURLE_SSL_CIPHER, FETCH_TLS},
    {CURLE_SSL_CACERT_BADFILE, FETCH_TLS},
    {CURLE_SSL_ISSUER_ERROR, FETCH_TLS},
    {CURLE_SSL_INVALIDCERTSTATUS, FETCH_TLS},
    {CURLE_PARTIAL_FILE, FETCH_CUT},
    {CURLE_GOT_NOTHING, FETCH_CUT},
    {CURLE_SEND_ERROR, FETCH_CUT},
    {CURLE_RECV_ERROR, FETCH_CUT},
};

static const struct {
	CURLoption option;
	long value;
} fetch_options[] = {
    {CURLOPT_NOSIGNAL, 1L},
    {CURLOPT_NOPROGRESS, 0L},
    {CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
    /* A reused connection that dies makes curl send a POST a second time by itself. */
    {CURLOPT_FRESH_CONNECT, 1L},
    {CURLOPT_FORBID_REUSE, 1L},
    {CURLOPT_FOLLOWLOCATION, 0L},
    {CURLOPT_HTTP09_ALLOWED, 0L},
    {CURLOPT_SSL_VERIFYPEER, 1L},
    {CURLOPT_SSL_VERIFYHOST, 2L},
    {CURLOPT_TCP_KEEPALIVE, 1L},
};

/* -- the end of a transfer ---------------------------------------------------------------------------------------- */

static void fetch_say(struct fetch_call *c, enum fetch_fail fail, const char *detail)
{
	c->fail = fail;
	snprintf(c->detail, sizeof(c->detail), "%.*s", (int)sizeof(c->detail) - 1, detail);
}

/* Takes the handle out of curl and lets the coroutine go on. On the loop's stack, outside of curl's callbacks. */
static void fetch_finish(struct fetch_call *c)
{
	long status = 0;

	if (c->easy != NULL) {
		/* An interim status is no response. */
		if (curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK && status >= 200)
			c->status = (int)status;
		curl_multi_remove_handle(c->fetch->multi, c->easy);
		curl_easy_cleanup(c->easy);
		c->easy = NULL;
	}
	loop_timer_stop(&c->idle);
	c->over = true;
	co_wake(c->co);
}

static enum fetch_fail fetch_classify(CURLcode code)
{
	for (size_t i = 0; i < countof(fetch_codes); i++)
		if (fetch_codes[i].code == code)
			return fetch_codes[i].fail;
	return FETCH_OTHER;
}

static void fetch_done(struct fetch_call *c, CURLcode code)
{
	/* curl takes a head that breaks off for a response without a body. */
	if (code == CURLE_OK && !c->head_ended)
		fetch_say(c, FETCH_CUT, "the connection ended inside the response head");
	/* A callback that stopped the transfer has said why. */
	if (c->fail == FETCH_OK && code != CURLE_OK)
		fetch_say(c, fetch_classify(code), c->curl_error[0] != '\0' ? c->curl_error : curl_easy_strerror(code));
	fetch_finish(c);
}

static void fetch_collect(struct fetch *f)
{
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(f->multi, &left)) != NULL) {
		char *call = NULL;
		CURLcode code = msg->data.result;

		if (msg->msg != CURLMSG_DONE)
			continue;
		BUG_ON(curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &call) != CURLE_OK || call == NULL);
		fetch_done((struct fetch_call *)(void *)call, code);
	}
}

/* -- curl's sockets and timer on the loop ------------------------------------------------------------------------- */

static void fetch_act(struct fetch *f, curl_socket_t fd, int what)
{
	int running;

	BUG_ON(curl_multi_socket_action(f->multi, fd, what, &running) != CURLM_OK);
	fetch_collect(f);
}

static void fetch_on_socket(evutil_socket_t fd, short what, void *arg)
{
	struct fetch_socket *s = arg;

	fetch_act(s->fetch, fd,
		  ((what & EV_READ) != 0 ? CURL_CSELECT_IN : 0) | ((what & EV_WRITE) != 0 ? CURL_CSELECT_OUT : 0));
}

static void fetch_on_timer(void *arg)
{
	fetch_act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static int fetch_watch(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	struct fetch *f = arg;
	struct fetch_socket *s = known;
	short events = EV_PERSIST;

	(void)easy;
	if (s != NULL && s->set)
		event_del(&s->event);
	if (what == CURL_POLL_REMOVE) {
		if (s != NULL)
			loop_defer(f->loop, free, s);
		curl_multi_assign(f->multi, fd, NULL);
		return 0;
	}
	if (s == NULL) {
		s = xcalloc(1, sizeof(*s));
		s->fetch = f;
		curl_multi_assign(f->multi, fd, s);
	}
	if ((what & CURL_POLL_IN) != 0)
		events |= EV_READ;
	if ((what & CURL_POLL_OUT) != 0)
		events |= EV_WRITE;
	BUG_ON(event_assign(&s->event, loop_base(f->loop), fd, events, fetch_on_socket, s) != 0);
	BUG_ON(event_add(&s->event, NULL) != 0);
	s->set = true;
	return 0;
}

static int fetch_set_timer(CURLM *multi, long ms, void *arg)
{
	struct fetch *f = arg;

	(void)multi;
	if (ms < 0)
		loop_timer_stop(&f->timer);
	else
		loop_timer_set(&f->timer, ms * MS_US);
	return 0;
}

struct fetch *fetch_open(struct loop *l, struct lane *names, struct lane *guarded)
{
	struct fetch *f = xcalloc(1, sizeof(*f));

	BUG_ON(curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK);
	f->loop = l;
	f->names = names;
	f->guarded = guarded;
	loop_timer_init(l, &f->timer, fetch_on_timer, f);
	f->multi = curl_multi_init();
	f->share = curl_share_init();
	BUG_ON(f->multi == NULL || f->share == NULL);
	curl_share_setopt(f->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
	curl_multi_setopt(f->multi, CURLMOPT_SOCKETFUNCTION, fetch_watch);
	curl_multi_setopt(f->multi, CURLMOPT_SOCKETDATA, f);
	curl_multi_setopt(f->multi, CURLMOPT_TIMERFUNCTION, fetch_set_timer);
	curl_multi_setopt(f->multi, CURLMOPT_TIMERDATA, f);
	curl_multi_setopt(f->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
	return f;
}

void fetch_close(struct fetch *f)
{
	if (f == NULL)
		return;
	BUG_ON(f->active != 0);
	curl_multi_cleanup(f->multi);
	curl_share_cleanup(f->share);
	loop_timer_stop(&f->timer);
	free(f);
	curl_global_cleanup();
}

unsigned fetch_active(const struct fetch *f)
{
	return f->active;
}

/* -- what comes back ---------------------------------------------------------------------------------------------- */

static void fetch_set_retry(struct fetch_call *c, struct str value, bool in_ms)
{
	int64_t us = -1;
	uint64_t n;
	char date[64];
	time_t at;

	/* Fractions are dropped: nobody means microseconds here. */
	struct str whole = str_sub(value, 0, str_chr(value, '.') < 0 ? value.n : (size_t)str_chr(value, '.'));

	if (c->retry_in_ms && !in_ms)
		return;
	if (str_to_u64(whole, UINT32_MAX, &n)) {
		us = (int64_t)n * (in_ms ? MS_US : SEC_US);
	} else if (!in_ms && value.n < sizeof(date)) {
		snprintf(date, sizeof(date), "%.*s", STR_ARG(value));
		at = curl_getdate(date, NULL);
		/* A date may lie a million years ahead: microseconds do not reach that far. */
		if (at != (time_t)-1 && at > clock_wall_ms() / 1000 + FETCH_RETRY_MAX / SEC_US)
			us = FETCH_RETRY_MAX;
		else if (at != (time_t)-1)
			us = ((int64_t)at * 1000 - clock_wall_ms()) * MS_US;
		if (at != (time_t)-1 && us < 0)
			us = 0;
	}
	if (us < 0)
		return;
	c->retry_after_us = us < FETCH_RETRY_MAX ? us : FETCH_RETRY_MAX;
	c->retry_in_ms = in_ms;
}

/* Names differ by service: X-RateLimit-* as many spell it, OpenAI's and Anthropic's for requests. */
static void fetch_set_rate(struct fetch_call *c, struct str name, struct str value)
{
	static const char *const remaining[] = {"x-ratelimit-remaining", "x-ratelimit-remaining-requests",
						"anthropic-ratelimit-requests-remaining"};
	static const char *const reset[] = {"x-ratelimit-reset", "x-ratelimit-reset-requests",
					    "anthropic-ratelimit-requests-reset"};
	size_t i;

	for (i = 0; i < countof(remaining); i++) {
		if (str_ieqz(name, remaining[i]))
			(void)snprintf(c->rate_remaining, sizeof(c->rate_remaining), "%.*s", STR_ARG(value));
		if (str_ieqz(name, reset[i]))
			(void)snprintf(c->rate_reset, sizeof(c->rate_reset), "%.*s", STR_ARG(value));
	}
}

static size_t fetch_on_header(char *p, size_t one, size_t n, void *arg)
{
	struct fetch_call *c = arg;
	struct str line = {p, one * n};
	ptrdiff_t colon = str_chr(line, ':');
	struct str name;
	struct str value;

	c->last_byte = loop_now(c->fetch->loop);
	if (str_starts(line, STR("HTTP/"))) {
		/* A status line; what an interim response (1xx) said is void. */
		c->retry_after_us = -1;
		c->retry_in_ms = false;
		c->content_type[0] = c->rate_remaining[0] = c->rate_reset[0] = '\0';
		c->head_ended = false;
		return line.n;
	}
	if (str_trim(line).n == 0)
		c->head_ended = true;
	if (colon <= 0)
		return line.n;
	name = str_sub(line, 0, (size_t)colon);
	value = str_trim(str_sub(line, (size_t)colon + 1, line.n));
	if (str_ieqz(name, "content-type") && value.n < sizeof(c->content_type))
		snprintf(c->content_type, sizeof(c->content_type), "%.*s", STR_ARG(value));
	else if (str_ieqz(name, "retry-after"))
		fetch_set_retry(c, value, false);
	else if (str_ieqz(name, "retry-after-ms"))
		fetch_set_retry(c, value, true);
	else if (value.n < sizeof(c->rate_remaining))
		fetch_set_rate(c, name, value);
	return line.n;
}

static size_t fetch_on_body(char *p, size_t one, size_t n, void *arg)
{
	struct fetch_call *c = arg;
	const struct fetch_request *req = c->req;
	size_t max = req->max_body == 0 ? FETCH_MAX_BODY : req->max_body;
	struct str chunk = {p, one * n};
	long status = 0;

	c->last_byte = loop_now(c->fetch->loop);
	if (chunk.n > max - c->received) {
		fetch_say(c, FETCH_TOO_BIG, "the response is larger than allowed");
		return 0;
	}
	c->received += chunk.n;
	if (req->on_data != NULL && curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK &&
	    status / 100 == 2) {
		if (!req->on_data(req->arg, chunk)) {
			fetch_say(c, FETCH_REFUSED, "the receiver refused the data");
			return 0;
		}
		return chunk.n;
	}
	buf_add(&c->body, chunk);
	return chunk.n;
}

/* Uploading a long request is no silence either. */
static int fetch_on_progress(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
	struct fetch_call *c = arg;

	(void)down_total;
	(void)up_total;
	if (down + up != c->moved) {
		c->moved = down + up;
		c->last_byte = loop_now(c->fetch->loop);
	}
	return 0;
}

/* The connection stands and the request goes out now: from here on the server may have seen it. */
static int fetch_on_connected(void *arg, char *peer, char *local, int peer_port, int local_port)
{
	struct fetch_call *c = arg;

	(void)peer;
	(void)local;
	(void)peer_port;
	(void)local_port;
	c->sent = true;
	c->last_byte = loop_refresh(c->fetch->loop);
	if (c->req->idle_us > 0)
		loop_timer_set(&c->idle, c->req->idle_us);
	return CURL_PREREQFUNC_OK;
}

static void fetch_on_idle(void *arg)
{
	struct fetch_call *c = arg;
	int64_t left = c->last_byte + c->req->idle_us - loop_now(c->fetch->loop);

	if (left > 0) {
		loop_timer_set(&c->idle, left);
		return;
	}
	fetch_say(c, FETCH_STALLED, "no byte came for too long");
	fetch_finish(c);
}

/* -- what goes out ------------------------------------------------------------------------------------------------ */

/* Every name has been given by CURLOPT_RESOLVE; curl's own resolver would block the loop when it is cancelled. */
static int fetch_never_resolve(void *state, void *reserved, void *arg)
{
	(void)state;
	(void)reserved;
	(void)arg;
	return 1;
}

static bool fetch_header_add(struct fetch_call *c, const char *line)
{
	struct curl_slist *list = curl_slist_append(c->headers, line);

	if (list == NULL)
		return false;
	c->headers = list;
	return true;
}

static bool fetch_headers(struct fetch_call *c)
{
	const struct fetch_request *req = c->req;
	char parent[TRACE_PARENT_LEN + 1];
	struct buf line = BUF_INIT;
	bool typed = false;
	bool ok = true;

	for (size_t i = 0; ok && i < req->header_count; i++) {
		const struct fetch_header *h = &req->headers[i];

		buf_clear(&line);
		/* curl takes "Name:" as "leave it out" and "Name;" as "send it empty". */
		buf_printf(&line, h->value.n > 0 ? "%s: %.*s" : "%s;%.*s", h->name, STR_ARG(h->value));
		ok = fetch_header_add(c, line.p);
		typed = typed || str_ieqz(str_of(h->name), "content-type");
	}
	trace_parent(&c->trace, parent);
	buf_clear(&line);
	buf_printf(&line, "traceparent: %s", parent);
	ok = ok && fetch_header_add(c, line.p);
	buf_free(&line);
	/* Neither a form's content type that nobody asked for nor a round trip for 100 Continue. */
	return ok && (typed || fetch_header_add(c, "Content-Type:")) && fetch_header_add(c, "Expect:");
}

static bool fetch_set_method(struct fetch_call *c)
{
	const struct fetch_request *req = c->req;
	CURLcode rc = CURLE_OK;

	if (strcmp(req->method, "HEAD") == 0)
		return curl_easy_setopt(c->easy, CURLOPT_NOBODY, 1L) == CURLE_OK;
	if (req->body.n > 0 || strcmp(req->method, "POST") == 0) {
		rc = curl_easy_setopt(c->easy, CURLOPT_POST, 1L);
		if (rc == CURLE_OK)
			rc = curl_easy_setopt(c->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)req->body.n);
		if (rc == CURLE_OK)
			rc = curl_easy_setopt(c->easy, CURLOPT_POSTFIELDS, req->body.n > 0 ? req->body.p : "");
	}
	if (rc == CURLE_OK)
		rc = curl_easy_setopt(c->easy, CURLOPT_CUSTOMREQUEST, req->method);
	return rc == CURLE_OK;
}

static bool fetch_set_callbacks(struct fetch_call *c)
{
	CURL *e = c->easy;

	return curl_easy_setopt(e, CURLOPT_PRIVATE, c) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_ERRORBUFFER, c->curl_error) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, fetch_on_header) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_HEADERDATA, c) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, fetch_on_body) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_WRITEDATA, c) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_XFERINFOFUNCTION, fetch_on_progress) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_XFERINFODATA, c) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, fetch_on_connected) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_PREREQDATA, c) == CURLE_OK;
}

static bool fetch_set_target(struct fetch_call *c)
{
	const struct fetch_request *req = c->req;
	int64_t connect_us = req->connect_us > 0 ? req->connect_us : FETCH_CONNECT_US;
	int64_t connect_ms = (connect_us + MS_US - 1) / MS_US;
	CURL *e = c->easy;

	if (c->resolve != NULL &&
	    (curl_easy_setopt(e, CURLOPT_RESOLVE, c->resolve) != CURLE_OK ||
	     curl_easy_setopt(e, CURLOPT_RESOLVER_START_FUNCTION, fetch_never_resolve) != CURLE_OK))
		return false;
	return curl_easy_setopt(e, CURLOPT_URL, c->url) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_UNIX_SOCKET_PATH, req->unix_socket) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_HTTPHEADER, c->headers) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_USERAGENT, "aragorad/" ARAGORA_VERSION) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_SHARE, c->fetch->share) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
	       /* "" also overrides http_proxy and the like in the environment. */
	       curl_easy_setopt(e, CURLOPT_PROXY, "") == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms) == CURLE_OK;
}

static bool fetch_configure(struct fetch_call *c)
{
	for (size_t i = 0; i < countof(fetch_options); i++)
		if (curl_easy_setopt(c->easy, fetch_options[i].option, fetch_options[i].value) != CURLE_OK)
			return false;
	return fetch_headers(c) && fetch_set_callbacks(c) && fetch_set_target(c) && fetch_set_method(c);
}

/* On the loop's stack. */
static void fetch_start(void *arg)
{
	struct fetch_call *c = arg;

	if (c->over)
		return;
	c->easy = curl_easy_init();
	if (c->easy == NULL || !fetch_configure(c)) {
		fetch_say(c, FETCH_OTHER, "the request could not be set up");
		fetch_finish(c);
		return;
	}
	BUG_ON(curl_multi_add_handle(c->fetch->multi, c->easy) != CURLM_OK);
}

/* On the loop's stack: the waiting scope has ended. */
static void fetch_stop(void *arg)
{
	struct fetch_call *c = arg;

	if (c->over)
		return;
	c->fail = FETCH_DEADLINE;
	fetch_finish(c);
}

/* -- names -------------------------------------------------------------------------------------------------------- */

/* On a thread of a lane. */
static void fetch_lookup_work(void *arg)
{
	struct fetch_lookup *k = arg;
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL;
	char text[NI_MAXHOST];
	const char *why = "";
	unsigned n = 0;

	k->rc = getaddrinfo(k->host, NULL, &hints, &list);
	if (k->rc != 0)
		return;
	/* "+": the entry ages like any other in curl's cache. */
	buf_printf(&k->entry, "+%s:%s:", k->host, k->port);
	for (const struct addrinfo *a = list; a != NULL && k->refused[0] == '\0'; a = a->ai_next) {
		bool six = a->ai_family == AF_INET6;

		if (getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST) != 0)
			continue;
		if (k->guard != NULL && !guard_address(k->guard, &k->target, a->ai_addr, &why)) {
			(void)snprintf(k->refused, sizeof(k->refused), "%.60s is %.46s, which %.40s", k->host, text,
				       why);
			continue;
		}
		if (n == FETCH_ADDRS_MAX)
			continue; /* not tried, but judged */
		buf_printf(&k->entry, six ? "%s[%s]" : "%s%s", n == 0 ? "" : ",", text);
		n++;
	}
	if (n == 0 && k->refused[0] == '\0')
		k->rc = EAI_NONAME;
	freeaddrinfo(list);
}

static void fetch_lookup_drop(void *arg)
{
	struct fetch_lookup *k = arg;

	buf_free(&k->entry);
	free(k);
}

/* Fills c->resolve. */
CO_FN static bool fetch_resolve(struct fetch_call *c)
{
	int64_t us = c->req->connect_us > 0 ? c->req->connect_us : FETCH_CONNECT_US;
	struct lane *lane = c->req->guard != NULL ? c->fetch->guarded : c->fetch->names;
	struct fetch_lookup *k = xcalloc(1, sizeof(*k));
	enum co_end end;
	bool ok;

	memcpy(k->host, c->host, sizeof(k->host));
	memcpy(k->port, c->port, sizeof(k->port));
	k->guard = c->req->guard;
	k->target = c->target;
	end = lane_run(lane, fetch_lookup_work, fetch_lookup_drop, k, loop_refresh(c->fetch->loop) + us);
	if (end != CO_DONE) {
		fetch_say(c, end == CO_ENDED ? FETCH_DEADLINE : FETCH_DNS, "name resolution took too long");
		return false;
	}
	ok = k->rc == 0 && k->refused[0] == '\0';
	if (ok)
		c->resolve = curl_slist_append(NULL, k->entry.p);
	else if (k->refused[0] != '\0')
		fetch_say(c, FETCH_BLOCKED, k->refused);
	else
		snprintf(c->detail, sizeof(c->detail), "cannot resolve %.80s: %s", c->host, gai_strerror(k->rc));
	fetch_lookup_drop(k);
	if (ok && c->resolve != NULL)
		return true;
	if (c->fail == FETCH_OK)
		c->fail = FETCH_DNS;
	return false;
}

/* -- the call ----------------------------------------------------------------------------------------------------- */

static bool fetch_is_address(const char *host)
{
	unsigned char bytes[sizeof(struct in6_addr)];

	/* An IPv6 literal stands in brackets, which no name has. */
	return host[0] == '[' || inet_pton(AF_INET, host, bytes) == 1;
}

/* Takes host and port of the URL if they are to be resolved. */
static bool fetch_parse_url(struct fetch_call *c)
{
	CURLU *u = curl_url();
	char *scheme = NULL;
	char *host = NULL;
	char *port = NULL;
	bool ok = false;

	if (u == NULL || curl_url_set(u, CURLUPART_URL, c->url, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK)
		goto out;
	if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)
		goto out;
	ok = strlen(host) < sizeof(c->host) && strlen(port) < sizeof(c->port);
	/* curl would turn a name that is not ASCII into another one than was resolved here. */
	for (const char *p = host; *p != '\0'; p++)
		ok = ok && (unsigned char)*p > 0x20 && (unsigned char)*p < 0x7f;
	if (ok && c->req->unix_socket == NULL && !fetch_is_address(host)) {
		snprintf(c->host, sizeof(c->host), "%s", host);
		snprintf(c->port, sizeof(c->port), "%s", port);
	}
out:
	curl_free(scheme);
	curl_free(host);
	curl_free(port);
	curl_url_cleanup(u);
	return ok;
}

static bool fetch_line_safe(struct str s)
{
	return str_chr(s, '\r') < 0 && str_chr(s, '\n') < 0 && str_chr(s, '\0') < 0;
}

/*
 * Judges the text of a URL that a client has named. The guard's reading of the host must be curl's: where two parsers
 * differ, one judges what the other does not call.
 */
static bool fetch_guard(struct fetch_call *c)
{
	struct error err = ERROR_INIT;
	char text[sizeof(c->detail)];

	if (!guard_url(c->req->guard, c->req->url, &c->target, &err)) {
		(void)snprintf(text, sizeof(text), "the URL %.150s", err.msg);
		fetch_say(c, FETCH_BLOCKED, text);
		return false;
	}
	if (!c->target.literal && strcasecmp(c->host, c->target.host) != 0) {
		fetch_say(c, FETCH_BLOCKED, "the URL can be read in two ways");
		return false;
	}
	return true;
}

static bool fetch_check(struct fetch_call *c)
{
	const struct fetch_request *req = c->req;

	if (!fetch_line_safe(req->url) || !fetch_parse_url(c)) {
		fetch_say(c, FETCH_OTHER, "the URL is not an http or https URL");
		return false;
	}
	for (size_t i = 0; i < req->header_count; i++) {
		if (!fetch_line_safe(req->headers[i].value) || !fetch_line_safe(str_of(req->headers[i].name))) {
			fetch_say(c, FETCH_OTHER, "a header contains a line break");
			return false;
		}
	}
	return req->guard == NULL || fetch_guard(c);
}

/* From here to the end curl may hold the request's body: nothing returns before the loop has let go of it. */
CO_FN static void fetch_transfer(struct fetch_call *c)
{
	struct co_shield shield;
	bool stopping = false;

	loop_defer(c->fetch->loop, fetch_start, c);
	while (!c->over && !stopping) {
		if (co_wait(0) == CO_ENDED && !c->over) {
			loop_defer(c->fetch->loop, fetch_stop, c);
			stopping = true;
		}
	}
	while (!c->over) {
		co_shield(&shield, SEC_US);
		(void)co_wait(0);
		co_unshield(&shield);
	}
}

static void fetch_fill(const struct fetch_call *c, struct arena *a, struct fetch_response *resp)
{
	const struct co_scope *by = c->fail == FETCH_DEADLINE ? co_ended_by() : NULL;

	resp->fail = c->fail;
	resp->sent = c->sent;
	resp->status = c->status;
	resp->retry_after_us = c->retry_after_us;
	resp->body = arena_str(a, buf_str(&c->body));
	resp->content_type = arena_str(a, str_of(c->content_type));
	resp->rate_remaining = arena_str(a, str_of(c->rate_remaining));
	resp->rate_reset = arena_str(a, str_of(c->rate_reset));
	snprintf(resp->detail, sizeof(resp->detail), "%s", c->detail);
	if (c->fail == FETCH_DEADLINE)
		snprintf(resp->detail, sizeof(resp->detail), "%s",
			 by != NULL && by->why != NULL ? by->why : "its time was over");
}

/*
 * A span below what the coroutine is part of, else a trace of its own. What vendors have added to the caller's trace
 * (tracestate) is for his own machines and goes to nobody else.
 */
static void fetch_trace(struct fetch_call *c)
{
	const struct log_ctx *ctx = log_context(NULL);

	log_context(ctx);
	if (ctx == NULL || !trace_join(&c->trace, ctx->trace, STR_NONE))
		trace_begin(&c->trace);
}

static void fetch_log_span(const struct fetch_call *c, int64_t us)
{
	if (log_enabled(LOG_DEBUG))
		log_debug("trace", "call", KV_S("trace_id", c->trace.trace_id), KV_S("span_id", c->trace.span_id),
			  KV_S("parent_id", c->trace.parent_id), KV_S("method", c->req->method), KV_S("host", c->host),
			  KV_I("status", c->status), KV_I("us", us));
}

bool fetch_do(struct fetch *f, struct arena *a, const struct fetch_request *req, struct fetch_response *resp)
{
	int64_t began = clock_mono_us();
	struct fetch_call *c;
	bool ok;

	BUG_ON(co_self() == NULL);
	/* On the heap: its buffers are no load for a coroutine's stack. */
	c = xcalloc(1, sizeof(*c));
	c->fetch = f;
	c->req = req;
	c->co = co_self();
	c->url = str_dupz(req->url);
	c->retry_after_us = -1;
	loop_timer_init(f->loop, &c->idle, fetch_on_idle, c);
	fetch_trace(c);
	f->active++;
	if (co_scope_ended(co_scope_current()))
		c->fail = FETCH_DEADLINE;
	else if (fetch_check(c) && (c->host[0] == '\0' || fetch_resolve(c)))
		fetch_transfer(c);
	f->active--;
	fetch_log_span(c, clock_mono_us() - began);
	fetch_fill(c, a, resp);
	ok = c->fail == FETCH_OK;
	curl_slist_free_all(c->headers);
	curl_slist_free_all(c->resolve);
	buf_free(&c->body);
	free(c->url);
	free(c);
	return ok;
}

bool fetch_may_call(struct fetch *f, const struct guard *guard, struct str url, int64_t us, struct error *err)
{
	struct fetch_request req = {.method = "POST", .url = url, .connect_us = us, .guard = guard};
	struct fetch_call *c = xcalloc(1, sizeof(*c));
	bool ok;

	c->fetch = f;
	c->req = &req;
	c->url = str_dupz(url);
	ok = guard_url(guard, url, &c->target, err);
	if (ok && (!fetch_check(c) || (c->host[0] != '\0' && !fetch_resolve(c))))
		ok = error_set(err, c->fail == FETCH_DEADLINE ? ERR_CANCELLED : ERR_INVALID_VALUE, "%s", c->detail);
	curl_slist_free_all(c->resolve);
	free(c->url);
	free(c);
	return ok;
}
