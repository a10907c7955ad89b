/* SPDX-License-Identifier: MIT */
/*
 * TLS on a connection, with OpenSSL as the client on the same thread: bytes in every cut, what stays inside the library
 * is not forgotten, blocked writes go on where they stopped, the closing alert is said when the answer is whole, and
 * keys of tickets rotate without losing the sessions of the last interval.
 */
#include "tests/unit/http_harness.h"
#include "worker/http/http_conn.h"
#include "worker/http/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/stat.h>

#define BODY_SIZE (3u << 20)
#define REQUEST "GET /large HTTP/1.1\r\nHost: x\r\n\r\n"
#define SMALL "GET /small HTTP/1.1\r\nHost: x\r\n\r\n"

static char folder[] = "/tmp/aragora-tls-test.XXXXXX";
static char *large;

static void answer_large(struct http_request *req)
{
	http_reply(req, 200, "text/plain", (struct str){large, BODY_SIZE});
}

static void answer_small(struct http_request *req)
{
	http_reply(req, 200, req->https ? "text/secure" : "text/plain", STR("small"));
}

static void answer_length(struct http_request *req)
{
	char text[32];

	snprintf(text, sizeof(text), "%zu %d", req->body.n, req->body.p[req->body.n - 1]);
	http_reply(req, 200, "text/plain", str_of(text));
}

static const struct route rows[] = {
    {.method = HTTP_GET, .path = "/large", .handler = answer_large, .flags = ROUTE_PUBLIC | ROUTE_INLINE},
    {.method = HTTP_GET, .path = "/small", .handler = answer_small, .flags = ROUTE_PUBLIC | ROUTE_INLINE},
    {.method = HTTP_POST,
     .path = "/length",
     .handler = answer_length,
     .flags = ROUTE_PUBLIC | ROUTE_INLINE | ROUTE_ANY_TYPE},
};
static const struct route_table routes = {rows, countof(rows)};

/* A self-signed P-256 certificate for the name with its key, in one file of the folder. */
static void issue(const char *name, char pair[256])
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	X509_NAME *subject = X509_get_subject_name(x);
	char path[128];
	FILE *f;

	assert_non_null(key);
	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), 86400);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(x, subject);
	X509_set_pubkey(x, key);
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	snprintf(path, sizeof(path), "%s/%s.pem", folder, name);
	f = fopen(path, "we");
	assert_non_null(f);
	assert_int_equal(PEM_write_X509(f, x), 1);
	/* Certificate and key in one file, which is one word of the configuration. */
	assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, 0600), 0);
	snprintf(pair, 256, "%s", path);
	X509_free(x);
	EVP_PKEY_free(key);
}

struct secured {
	struct harness *h;
	struct tls_keys *keys;
	struct tls *tls;
	SSL_CTX *ctx;
	SSL *ssl;
	struct buf in; /* decrypted */
	bool end;      /* the server's closing alert was read */
};

static struct secured *secured_new(void)
{
	struct secured *s = xcalloc(1, sizeof(*s));
	struct error err = ERROR_INIT;
	char first[256], second[256], list[600];

	issue("first.test", first);
	issue("second.test", second);
	snprintf(list, sizeof(list), "%s, %s", first, second);
	s->h = harness_new(
	    (const struct conf_override[]){{"server.tls.certificates", list}, {"server.bind", "tls:127.0.0.1:0"}}, 2,
	    &routes);
	s->keys = tls_keys_create(NULL);
	s->tls = tls_open(s->h->conf, s->keys, &err);
	if (s->tls == NULL)
		fail_msg("%s", err.msg);
	s->h->w.http->tls = s->tls;
	s->ctx = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_session_cache_mode(s->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	return s;
}

static void secured_hang_up(struct secured *s)
{
	/* Else the library takes the session for broken and would not resume it. */
	if (s->ssl != NULL)
		SSL_set_shutdown(s->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(s->ssl);
	s->ssl = NULL;
	if (s->h->client >= 0)
		harness_hang_up(s->h);
	buf_clear(&s->in);
	s->end = false;
	harness_turns(s->h, 10);
}

static void secured_free(struct secured *s)
{
	secured_hang_up(s);
	harness_free(s->h);
	SSL_CTX_free(s->ctx);
	tls_close(s->tls);
	tls_keys_free(s->keys);
	buf_free(&s->in);
	free(s);
}

/* A client whose bytes pass through memory, so that the test decides how they are cut. */
static void secured_connect(struct secured *s, int version, const char *name)
{
	struct http_addr addr;
	int fd[2];

	secured_hang_up(s);
	assert_true(http_addr_parse(STR("127.0.0.1"), &addr));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd), 0);
	s->h->client = fd[0];
	s->h->eof = false;
	buf_clear(&s->h->in);
	accept_layers(conn_new(s->h->w.http, fd[1], &addr), LISTEN_TLS);
	s->ssl = SSL_new(s->ctx);
	SSL_set_min_proto_version(s->ssl, version);
	SSL_set_max_proto_version(s->ssl, version);
	SSL_set_bio(s->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	if (name != NULL)
		SSL_set_tlsext_host_name(s->ssl, name);
	SSL_set_connect_state(s->ssl);
}

/* Passes on what the client wants to send, `step` bytes a turn (0: at once), and what the server has sent. */
static void secured_move(struct secured *s, size_t step)
{
	BIO *out = SSL_get_wbio(s->ssl), *in = SSL_get_rbio(s->ssl);
	char *p;
	long n = BIO_get_mem_data(out, &p);
	char part[4096];
	int got;

	if (n > 0) {
		harness_send(s->h, (struct str){p, (size_t)n}, step);
		(void)BIO_reset(out);
	}
	harness_turns(s->h, 2);
	if (s->h->in.n > 0) {
		assert_int_equal(BIO_write(in, s->h->in.p, (int)s->h->in.n), s->h->in.n);
		buf_clear(&s->h->in);
	}
	if (!SSL_is_init_finished(s->ssl)) {
		ERR_clear_error();
		(void)SSL_do_handshake(s->ssl);
		return;
	}
	while ((got = SSL_read(s->ssl, part, sizeof(part))) > 0)
		buf_add(&s->in, (struct str){part, (size_t)got});
	s->end = s->end || SSL_get_error(s->ssl, got) == SSL_ERROR_ZERO_RETURN;
	ERR_clear_error();
}

static void secured_handshake(struct secured *s, size_t step)
{
	(void)SSL_do_handshake(s->ssl);
	for (unsigned i = 0; i < 50 && !SSL_is_init_finished(s->ssl); i++)
		secured_move(s, step);
	assert_true(SSL_is_init_finished(s->ssl));
	secured_move(s, step);
}

static void secured_say(struct secured *s, struct str text, size_t step)
{
	assert_int_equal(SSL_write(s->ssl, text.p, (int)text.n), text.n);
	secured_move(s, step);
}

static unsigned secured_count(const struct secured *s, struct str needle)
{
	struct str rest = buf_str(&s->in);
	unsigned n = 0;
	ptrdiff_t at;

	while ((at = str_find(rest, needle)) >= 0) {
		rest = str_sub(rest, (size_t)at + needle.n, rest.n);
		n++;
	}
	return n;
}

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

static void test_every_cut(void **state)
{
	static const size_t steps[] = {0, 1, 2, 3, 7, 100, 1400};
	struct secured *s = secured_new();

	(void)state;
	for (size_t v = 0; v < countof(versions); v++) {
		for (size_t i = 0; i < countof(steps); i++) {
			secured_connect(s, versions[v], NULL);
			secured_handshake(s, steps[i]);
			secured_say(s, STR(SMALL), steps[i]);
			assert_int_equal(secured_count(s, STR("\r\n\r\nsmall")), 1);
			assert_int_equal(secured_count(s, STR("text/secure")), 1);
		}
	}
	secured_free(s);
}

/* Many requests in one record, and many records in one segment: all are answered although only one event comes. */
static void test_nothing_stays_inside(void **state)
{
	struct secured *s = secured_new();
	struct buf many = BUF_INIT;

	(void)state;
	for (unsigned i = 0; i < 400; i++)
		buf_addz(&many, SMALL);
	assert_true(many.n < 16384);
	secured_connect(s, TLS1_3_VERSION, NULL);
	secured_handshake(s, 0);
	secured_say(s, buf_str(&many), 0);
	for (unsigned i = 0; i < 100 && secured_count(s, STR("\r\n\r\nsmall")) < 400; i++)
		secured_move(s, 0);
	assert_int_equal(secured_count(s, STR("\r\n\r\nsmall")), 400);
	buf_clear(&s->in);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(SSL_write(s->ssl, SMALL, (int)sizeof(SMALL) - 1), sizeof(SMALL) - 1);
	for (unsigned i = 0; i < 100 && secured_count(s, STR("\r\n\r\nsmall")) < 100; i++)
		secured_move(s, 0);
	assert_int_equal(secured_count(s, STR("\r\n\r\nsmall")), 100);
	buf_free(&many);
	secured_free(s);
}

static void test_large_answer_to_a_slow_reader(void **state)
{
	struct secured *s = secured_new();
	struct str got;
	ptrdiff_t at;

	(void)state;
	for (size_t v = 0; v < countof(versions); v++) {
		secured_connect(s, versions[v], NULL);
		secured_handshake(s, 0);
		secured_say(s, STR(REQUEST SMALL), 0);
		for (unsigned i = 0; i < 20000 && secured_count(s, STR("\r\n\r\nsmall")) == 0; i++)
			secured_move(s, 0);
		got = buf_str(&s->in);
		at = str_find(got, STR("\r\n\r\n"));
		assert_true(at > 0 && got.n > (size_t)at + 4 + BODY_SIZE);
		assert_memory_equal(got.p + at + 4, large, BODY_SIZE);
		/* What follows is the next answer, and nothing else. */
		assert_true(str_starts(str_sub(got, (size_t)at + 4 + BODY_SIZE, got.n), STR("HTTP/1.1 200")));
	}
	secured_free(s);
}

static void test_large_body(void **state)
{
	struct secured *s = secured_new();
	char head[128];
	size_t sent = 0;

	(void)state;
	secured_connect(s, TLS1_3_VERSION, NULL);
	secured_handshake(s, 0);
	snprintf(head, sizeof(head), "POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: %u\r\n\r\n", BODY_SIZE);
	secured_say(s, str_of(head), 0);
	while (sent < BODY_SIZE) {
		size_t n = BODY_SIZE - sent < 50000 ? BODY_SIZE - sent : 50000;

		secured_say(s, (struct str){large + sent, n}, 0);
		sent += n;
	}
	for (unsigned i = 0; i < 100 && s->in.n == 0; i++)
		secured_move(s, 0);
	snprintf(head, sizeof(head), "\r\n\r\n%u %d", BODY_SIZE, large[BODY_SIZE - 1]);
	assert_int_equal(secured_count(s, str_of(head)), 1);
	secured_free(s);
}

static void test_closing_alert(void **state)
{
	struct secured *s = secured_new();

	(void)state;
	secured_connect(s, TLS1_3_VERSION, NULL);
	secured_handshake(s, 0);
	secured_say(s, STR("GET /small HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), 0);
	for (unsigned i = 0; i < 20 && !s->end; i++)
		secured_move(s, 0);
	assert_int_equal(secured_count(s, STR("\r\n\r\nsmall")), 1);
	assert_true(s->end);
	/* The client's own: answered like a closed connection, after what it has asked. */
	secured_connect(s, TLS1_3_VERSION, NULL);
	secured_handshake(s, 0);
	assert_int_equal(SSL_write(s->ssl, SMALL, (int)sizeof(SMALL) - 1), sizeof(SMALL) - 1);
	assert_int_equal(SSL_shutdown(s->ssl), 0);
	for (unsigned i = 0; i < 20 && !s->end; i++)
		secured_move(s, 0);
	assert_int_equal(secured_count(s, STR("\r\n\r\nsmall")), 1);
	assert_true(s->end);
	secured_free(s);
}

static void check_name(struct secured *s, const char *asked, const char *shown)
{
	char name[64] = "";
	X509 *x;

	secured_connect(s, TLS1_3_VERSION, asked);
	secured_handshake(s, 0);
	x = SSL_get1_peer_certificate(s->ssl);
	assert_non_null(x);
	assert_true(X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, name, sizeof(name)) > 0);
	assert_string_equal(name, shown);
	X509_free(x);
}

static void test_names(void **state)
{
	struct secured *s = secured_new();

	(void)state;
	check_name(s, "first.test", "first.test");
	check_name(s, "second.test", "second.test");
	check_name(s, "SECOND.Test", "second.test");
	check_name(s, "third.test", "first.test");
	check_name(s, "x.second.test", "first.test");
	check_name(s, ".second.test", "first.test");
	check_name(s, NULL, "first.test");
	secured_free(s);
}

/* A session of that age in rotations: is it resumed? */
static bool resumed_after(struct secured *s, unsigned rotations, int64_t *now)
{
	SSL_SESSION *session;
	bool resumed;

	secured_connect(s, TLS1_2_VERSION, NULL);
	secured_handshake(s, 0);
	session = SSL_get1_session(s->ssl);
	assert_true(SSL_SESSION_has_ticket(session));
	while (rotations-- > 0) {
		*now += SEC_US;
		tls_keys_rotate(s->keys, *now, SEC_US);
	}
	secured_connect(s, TLS1_2_VERSION, NULL);
	SSL_set_session(s->ssl, session);
	secured_handshake(s, 0);
	resumed = SSL_session_reused(s->ssl) == 1;
	SSL_SESSION_free(session);
	return resumed;
}

static void test_ticket_keys(void **state)
{
	struct secured *s = secured_new();
	int64_t now = 1;

	(void)state;
	tls_keys_rotate(s->keys, now, SEC_US);
	assert_true(resumed_after(s, 0, &now));
	assert_true(resumed_after(s, 1, &now));
	assert_true(resumed_after(s, TLS_TICKET_KEYS - 1, &now));
	assert_false(resumed_after(s, TLS_TICKET_KEYS, &now));
	/* Not before its time. */
	tls_keys_rotate(s->keys, now + SEC_US - 1, SEC_US);
	assert_true(resumed_after(s, 0, &now));
	secured_free(s);
}

/* A program that knows another layout must make its own keys, not read these as if they were so laid out. */
static void test_ticket_keys_attached(void **state)
{
	struct secured *s = secured_new();
	struct tls_keys *other;
	uint64_t whole, odd;
	int fd = -1;

	(void)state;
	tls_keys_free(tls_keys_create(&fd));
	other = tls_keys_attach(fd);
	assert_non_null(other);
	tls_keys_free(other);
	assert_int_equal(pread(fd, &whole, sizeof(whole), 0), sizeof(whole));
	odd = whole + 1;
	assert_int_equal(pwrite(fd, &odd, sizeof(odd), 0), sizeof(odd));
	assert_null(tls_keys_attach(fd));
	assert_int_equal(pwrite(fd, &whole, sizeof(whole), 0), sizeof(whole));
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_null(tls_keys_attach(fd));
	close(fd);
	assert_null(tls_keys_attach(fd));
	secured_free(s);
}

/* Nothing can be said before the handshake: a refused connection ends. */
static void test_refused_before_the_handshake(void **state)
{
	struct secured *s = secured_new();

	(void)state;
	secured_connect(s, TLS1_3_VERSION, NULL);
	harness_sendz(s->h, "GET / HTTP/1.1\r\n\r\n");
	harness_turns(s->h, 5);
	assert_true(s->h->eof);
	assert_true(str_find(buf_str(&s->h->in), STR("HTTP")) < 0);
	assert_int_equal(http_server_connections(s->h->w.http), 0);
	secured_free(s);
}

static int set_up(void **state)
{
	(void)state;
	/* As in the worker: a write to a client that has gone is an error, not a signal. */
	signal(SIGPIPE, SIG_IGN);
	large = xmalloc(BODY_SIZE);
	for (size_t i = 0; i < BODY_SIZE; i++)
		large[i] = (char)('a' + i * 7 % 23);
	return mkdtemp(folder) == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
	char path[128];

	(void)state;
	free(large);
	snprintf(path, sizeof(path), "%s/first.test.pem", folder);
	unlink(path);
	snprintf(path, sizeof(path), "%s/second.test.pem", folder);
	unlink(path);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_every_cut),
	    cmocka_unit_test(test_nothing_stays_inside),
	    cmocka_unit_test(test_large_answer_to_a_slow_reader),
	    cmocka_unit_test(test_large_body),
	    cmocka_unit_test(test_closing_alert),
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_ticket_keys),
	    cmocka_unit_test(test_ticket_keys_attached),
	    cmocka_unit_test(test_refused_before_the_handshake),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
