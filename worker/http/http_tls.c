/* SPDX-License-Identifier: MIT */
/*
 * TLS as the way in which the bytes of a connection move: handshake, records, the closing alert. Put in place by the
 * accepting side; http_conn.c drives it like a plain socket. The handshake stands under the connection's first
 * deadline.
 */
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "worker/http/http_conn.h"
#include "worker/http/tls.h"

#define TLS_RECORD 16384 /* payload of a full record */

struct tls_conn {
	SSL *ssl;
	bool ready;  /* the handshake is done */
	bool broken; /* after an error nothing more may be said */
	bool told;   /* our closing alert is out */
	bool more;   /* the last read gave bytes, so what is left inside may be a whole record */
};

/* Turns the library's answer into that of read(2) and write(2). */
static ssize_t tls_failed(struct http_conn *c, struct tls_conn *t, int r)
{
	int saved = errno;

	switch (SSL_get_error(t->ssl, r)) {
	case SSL_ERROR_WANT_READ:
		errno = EAGAIN;
		return -1;
	case SSL_ERROR_WANT_WRITE:
		c->io_write = true;
		errno = EAGAIN;
		return -1;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	case SSL_ERROR_SYSCALL:
		t->broken = true;
		errno = saved != 0 && saved != EAGAIN && saved != EINTR ? saved : ECONNRESET;
		return -1;
	default:
		t->broken = true;
		log_debug("http", t->ready ? "TLS failed" : "TLS handshake failed",
			  KV_S("why", ERR_reason_error_string(ERR_peek_error())));
		ERR_clear_error();
		errno = EPROTO;
		return -1;
	}
}

/* Under TLS it is ALPN that tells of HTTP/2, not the first bytes (RFC 9113 3.2). */
static void tls_agreed(struct http_conn *c, const SSL *ssl)
{
	const unsigned char *name;
	unsigned n;

	SSL_get0_alpn_selected(ssl, &name, &n);
	c->h2 = n == 2 && memcmp(name, "h2", 2) == 0 ? CONN_H2_AGREED : CONN_H2_NO;
}

static ssize_t tls_read(struct http_conn *c, void *p, size_t n)
{
	struct tls_conn *t = c->io_state;
	int r;

	c->io_write = false;
	t->more = false;
	ERR_clear_error();
	if (!t->ready) {
		r = SSL_accept(t->ssl);
		if (r != 1)
			return tls_failed(c, t, r);
		t->ready = true;
		tls_agreed(c, t->ssl);
	}
	r = SSL_read(t->ssl, p, n < INT_MAX ? (int)n : INT_MAX);
	if (r <= 0)
		return tls_failed(c, t, r);
	t->more = true;
	return r;
}

/*
 * Small slices go out as one record. What was offered once is offered again in the same form until it is taken, as the
 * library demands: the queue only grows at its end.
 */
static ssize_t tls_write(struct http_conn *c, const struct iovec *v, int n)
{
	struct tls_conn *t = c->io_state;
	const void *p = v[0].iov_base;
	size_t len = v[0].iov_len;
	int r;

	/* Before the handshake there is no way to say anything. */
	if (!t->ready || t->broken) {
		errno = EPIPE;
		return -1;
	}
	if (n > 1 && len < TLS_RECORD) {
		char *room = server_record(c->server, TLS_RECORD);

		len = 0;
		for (int i = 0; i < n && len < TLS_RECORD; i++) {
			size_t take = v[i].iov_len < TLS_RECORD - len ? v[i].iov_len : TLS_RECORD - len;

			memcpy(room + len, v[i].iov_base, take);
			len += take;
		}
		p = room;
	}
	ERR_clear_error();
	r = SSL_write(t->ssl, p, len < INT_MAX ? (int)len : INT_MAX);
	if (r > 0)
		return r;
	if (tls_failed(c, t, r) == 0)
		errno = EPIPE;
	c->io_write = false; /* output that is left asks for the event by itself */
	return -1;
}

/* A read that ended short of a record says so by EAGAIN, and the rest of that record comes with an event. */
static bool tls_pending(const struct http_conn *c)
{
	const struct tls_conn *t = c->io_state;

	return SSL_pending(t->ssl) > 0 || (t->more && SSL_has_pending(t->ssl) == 1);
}

static void tls_finish(struct http_conn *c)
{
	struct tls_conn *t = c->io_state;

	if (!t->ready || t->broken || t->told)
		return;
	t->told = true;
	ERR_clear_error();
	if (SSL_shutdown(t->ssl) < 0)
		ERR_clear_error();
}

static void tls_detach(struct http_conn *c)
{
	struct tls_conn *t = c->io_state;

	SSL_free(t->ssl);
	free(t);
	c->io_state = NULL;
}

static const struct io_ops io_tls = {
    .read = tls_read, .write = tls_write, .pending = tls_pending, .finish = tls_finish, .detach = tls_detach};

bool tls_attach(struct http_conn *c, const struct tls *t)
{
	struct tls_conn *state;
	SSL *ssl = tls_session(t, c->fd);

	if (ssl == NULL) {
		errno = ENOMEM;
		return false;
	}
	state = xcalloc(1, sizeof(*state));
	state->ssl = ssl;
	c->io = &io_tls;
	c->io_state = state;
	c->https = true;
	return true;
}
