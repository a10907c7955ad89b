/* SPDX-License-Identifier: MIT */
/*
 * Contexts of TLS: certificates and keys from files, the choice of one by the name the client asks for (SNI), ALPN,
 * client certificates. Called by the master for each generation, by workers for each connection. Moves no bytes.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/http/tls.h"

#define TLS_FILE_MAX (1u << 20)
#define TLS_CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20" /* of TLS 1.2: forward secrecy and authenticated encryption only */
#define TLS_GROUPS "X25519:P-256:P-384"
#define TLS_CERTIFICATES "server.tls.certificates"
#define TLS_CLIENT_CA "server.tls.client_ca"

struct tls_name {
	char *name; /* lower case; "*.example.org" for one label */
	SSL_CTX *ctx;
};

struct tls {
	SSL_CTX **ctx; /* the first answers clients that ask for no name, or for one that is not here */
	size_t count;
	struct tls_name *names; /* sorted */
	size_t name_count;
	bool h2; /* offered by ALPN */
};

/* ---- reading ---- */

/* Why the library failed, for people; its queue is empty afterwards. */
static const char *tls_why(void)
{
	const char *why = ERR_reason_error_string(ERR_peek_last_error());

	ERR_clear_error();
	return why != NULL ? why : "not in PEM form";
}

static bool tls_read_all(int fd, struct buf *out)
{
	ssize_t n;
	char *p;

	while ((p = buf_reserve(out, 4096)) != NULL && (n = read(fd, p, 4096)) != 0) {
		if (n > 0)
			buf_commit(out, (size_t)n);
		else if (errno != EINTR)
			return false;
	}
	errno = EFBIG;
	return p != NULL;
}

static bool tls_read_file(const char *path, bool secret, const char *field, struct buf *out, struct error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	const char *why = NULL;
	struct stat st;

	*out = BUF_LIMIT(TLS_FILE_MAX);
	if (fd == -1 || fstat(fd, &st) == -1)
		why = strerror(errno);
	else if (!S_ISREG(st.st_mode))
		why = "not a regular file";
	else if (secret && (st.st_mode & S_IROTH) != 0 && !str_starts(str_of(path), STR("/run/secrets/")))
		why = "a key that everybody can read; chmod 600 it";
	else if (!tls_read_all(fd, out))
		why = strerror(errno);
	if (fd != -1)
		close(fd);
	return why == NULL || error_field(err, ERR_INVALID_VALUE, field, "%s: %s: %s", field, path, why);
}

static void tls_wipe(struct buf *b)
{
	if (b->p != NULL)
		explicit_bzero(b->p, b->cap);
	buf_free(b);
}

static BIO *tls_bio(const struct buf *b)
{
	BIO *bio = BIO_new_mem_buf(b->n > 0 ? b->p : "", (int)b->n);

	BUG_ON(bio == NULL);
	return bio;
}

/* A key behind a passphrase would need somebody at the terminal at each reload. */
static int tls_no_passphrase(char *p, int n, int writing, void *arg)
{
	(void)p;
	(void)n;
	(void)writing;
	(void)arg;
	return -1;
}

/* ---- names ---- */

static int tls_name_compare(const void *a, const void *b)
{
	return strcmp(((const struct tls_name *)a)->name, ((const struct tls_name *)b)->name);
}

static SSL_CTX *tls_name_find(const struct tls *t, const char *name)
{
	for (size_t i = 0; i < t->name_count; i++)
		if (strcmp(t->names[i].name, name) == 0)
			return t->names[i].ctx;
	return NULL;
}

/* The first certificate with a name has it. */
static void tls_name_add(struct tls *t, SSL_CTX *ctx, const unsigned char *p, int n)
{
	char *name = str_dupz((struct str){(const char *)p, (size_t)(n > 0 ? n : 0)});

	for (char *c = name; *c != '\0'; c++)
		*c = (char)tolower((unsigned char)*c);
	if (tls_name_find(t, name) != NULL || *name == '\0') {
		free(name);
		return;
	}
	t->names = xrealloc(t->names, (t->name_count + 1) * sizeof(*t->names));
	t->names[t->name_count++] = (struct tls_name){name, ctx};
}

/* Calls add for the DNS names of the certificate, or for its common name if it has none. */
static void tls_names_of(struct tls *t, SSL_CTX *ctx, X509 *x)
{
	GENERAL_NAMES *all = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	X509_NAME_ENTRY *entry;
	bool found = false;
	int at;

	for (int i = 0; all != NULL && i < sk_GENERAL_NAME_num(all); i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(all, i);

		if (g->type != GEN_DNS)
			continue;
		found = true;
		tls_name_add(t, ctx, ASN1_STRING_get0_data(g->d.dNSName), ASN1_STRING_length(g->d.dNSName));
	}
	GENERAL_NAMES_free(all);
	at = found ? -1 : X509_NAME_get_index_by_NID(X509_get_subject_name(x), NID_commonName, -1);
	entry = at >= 0 ? X509_NAME_get_entry(X509_get_subject_name(x), at) : NULL;
	if (entry != NULL)
		tls_name_add(t, ctx, ASN1_STRING_get0_data(X509_NAME_ENTRY_get_data(entry)),
			     ASN1_STRING_length(X509_NAME_ENTRY_get_data(entry)));
}

static SSL_CTX *tls_name_lookup(const struct tls *t, const char *asked)
{
	char name[256] = "*";
	struct tls_name key = {.name = name + 1};
	const struct tls_name *found;
	char *dot;
	size_t n = strlen(asked);

	if (n == 0 || n > 253)
		return NULL;
	for (size_t i = 0; i <= n; i++)
		name[i + 1] = (char)tolower((unsigned char)asked[i]);
	found = bsearch(&key, t->names, t->name_count, sizeof(*t->names), tls_name_compare);
	dot = strchr(name + 1, '.');
	if (found == NULL && dot != NULL && dot > name + 1) {
		dot[-1] = '*';
		key.name = dot - 1;
		found = bsearch(&key, t->names, t->name_count, sizeof(*t->names), tls_name_compare);
	}
	return found != NULL ? found->ctx : NULL;
}

/* SNI. A name that is not here gets the first certificate: the client knows better what it accepts. */
static int tls_on_name(SSL *ssl, int *alert, void *arg)
{
	const char *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	SSL_CTX *ctx = asked != NULL ? tls_name_lookup(arg, asked) : NULL;

	(void)alert;
	if (ctx == NULL)
		return SSL_TLSEXT_ERR_NOACK;
	if (ctx != SSL_get_SSL_CTX(ssl))
		SSL_set_SSL_CTX(ssl, ctx);
	return SSL_TLSEXT_ERR_OK;
}

/* ALPN: a client that offers protocols, but none of ours, is told so (RFC 7301 3.2). */
static int tls_on_alpn(SSL *ssl, const unsigned char **out, unsigned char *n, const unsigned char *in, unsigned in_n,
		       void *arg)
{
	static const unsigned char ours[] = "\x02h2\x08http/1.1";
	const struct tls *t = arg;
	unsigned skip = t->h2 ? 0 : 3;
	unsigned char *found;

	(void)ssl;
	if (SSL_select_next_proto(&found, n, ours + skip, sizeof(ours) - 1 - skip, in, in_n) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = found;
	return SSL_TLSEXT_ERR_OK;
}

/* ---- certificates ---- */

static X509 *tls_read_certificate(BIO *bio)
{
	return PEM_read_bio_X509(bio, NULL, tls_no_passphrase, NULL);
}

/* Certificate and chain of a file into the context; NULL when it holds none or is broken. */
static X509 *tls_use_chain(SSL_CTX *ctx, X509 *first, BIO *bio)
{
	X509 *x;

	if (SSL_CTX_use_certificate(ctx, first) != 1 || SSL_CTX_clear_chain_certs(ctx) != 1)
		return NULL;
	while ((x = tls_read_certificate(bio)) != NULL) {
		if (SSL_CTX_add0_chain_cert(ctx, x) != 1) {
			X509_free(x);
			return NULL;
		}
	}
	/* The end of the file is how the loop is meant to end. */
	if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		return NULL;
	ERR_clear_error();
	return first;
}

static void tls_check_dates(const X509 *x, const char *path)
{
	if (X509_cmp_current_time(X509_get0_notAfter(x)) < 0)
		log_warn("tls", "a certificate has expired", KV_S("path", path));
	else if (X509_cmp_current_time(X509_get0_notBefore(x)) > 0)
		log_warn("tls", "a certificate is not valid yet", KV_S("path", path));
}

/* A second certificate of the same name and another kind of key belongs beside the first one. */
static SSL_CTX *tls_twin(const struct tls *t, X509 *x)
{
	struct tls probe = {0};
	SSL_CTX *ctx = NULL;

	tls_names_of(&probe, t->ctx[0], x);
	if (probe.name_count > 0)
		ctx = tls_name_find(t, probe.names[0].name);
	for (size_t i = 0; i < probe.name_count; i++)
		free(probe.names[i].name);
	free(probe.names);
	if (ctx == NULL || EVP_PKEY_get_base_id(X509_get0_pubkey(SSL_CTX_get0_certificate(ctx))) ==
			       EVP_PKEY_get_base_id(X509_get0_pubkey(x)))
		return NULL;
	return ctx;
}

/* Certificate, chain and key of one element of server.tls.certificates. */
static bool tls_use_pair(struct tls *t, SSL_CTX *fresh, const char *cert_path, const char *key_path,
			 const struct buf *cert, const struct buf *key, struct error *err)
{
	BIO *cert_bio = tls_bio(cert), *key_bio = tls_bio(key);
	X509 *x = tls_read_certificate(cert_bio);
	EVP_PKEY *pkey = NULL;
	SSL_CTX *ctx = fresh;
	bool ok = false;

	if (x == NULL) {
		error_field(err, ERR_INVALID_VALUE, TLS_CERTIFICATES, TLS_CERTIFICATES ": %s: no certificate: %s",
			    cert_path, tls_why());
		goto done;
	}
	if (t->count > 1 && tls_twin(t, x) != NULL)
		ctx = tls_twin(t, x);
	if (tls_use_chain(ctx, x, cert_bio) == NULL) {
		error_field(err, ERR_INVALID_VALUE, TLS_CERTIFICATES, TLS_CERTIFICATES ": %s: %s", cert_path,
			    tls_why());
		goto done;
	}
	pkey = PEM_read_bio_PrivateKey(key_bio, NULL, tls_no_passphrase, NULL);
	if (pkey == NULL) {
		error_field(err, ERR_INVALID_VALUE, TLS_CERTIFICATES,
			    TLS_CERTIFICATES ": %s: no private key without passphrase: %s", key_path, tls_why());
		goto done;
	}
	if (SSL_CTX_use_PrivateKey(ctx, pkey) != 1) {
		error_field(err, ERR_INVALID_VALUE, TLS_CERTIFICATES, TLS_CERTIFICATES ": %s does not fit %s: %s",
			    key_path, cert_path, tls_why());
		goto done;
	}
	tls_check_dates(x, cert_path);
	tls_names_of(t, ctx, x);
	ok = true;
done:
	BIO_free(cert_bio);
	BIO_free(key_bio);
	X509_free(x);
	EVP_PKEY_free(pkey);
	return ok;
}

static bool tls_load_pair(struct tls *t, SSL_CTX *ctx, const char *element, struct error *err)
{
	struct str rest = str_of(element), first = STR_NONE, second;
	struct buf cert = BUF_INIT, key = BUF_INIT;
	char *cert_path, *key_path;
	bool ok;

	(void)str_split(&rest, ' ', &first);
	second = str_trim((struct str){rest.p, rest.n});
	cert_path = str_dupz(first);
	key_path = str_dupz(second.n > 0 ? second : first);
	ok = tls_read_file(cert_path, second.n == 0, TLS_CERTIFICATES, &cert, err) &&
	     tls_read_file(key_path, true, TLS_CERTIFICATES, &key, err) &&
	     tls_use_pair(t, ctx, cert_path, key_path, &cert, &key, err);
	tls_wipe(&cert);
	tls_wipe(&key);
	free(cert_path);
	free(key_path);
	return ok;
}

/* ---- contexts ---- */

/* Certificates of the authority that vouches for clients, from its file's text. */
static bool tls_use_client_ca(SSL_CTX *ctx, const struct conf *c, const struct buf *ca, struct error *err)
{
	int mode =
	    SSL_VERIFY_PEER | (c->server.tls.client_auth == TLS_CLIENT_REQUIRED ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);
	BIO *bio = tls_bio(ca);
	size_t n = 0;
	X509 *x;

	while ((x = tls_read_certificate(bio)) != NULL) {
		if (X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), x) == 1 && SSL_CTX_add_client_CA(ctx, x) == 1)
			n++;
		X509_free(x);
	}
	BIO_free(bio);
	if (n == 0)
		return error_field(err, ERR_INVALID_VALUE, TLS_CLIENT_CA, TLS_CLIENT_CA ": %s: no certificate: %s",
				   c->server.tls.client_ca, tls_why());
	ERR_clear_error();
	SSL_CTX_set_verify(ctx, mode, NULL);
	return true;
}

/* Tickets are bound to who must vouch for clients: one from before a change of that does not open the door. */
static bool tls_bind_sessions(SSL_CTX *ctx, const struct conf *c, const struct buf *ca)
{
	unsigned char mode = (unsigned char)c->server.tls.client_auth, digest[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	unsigned n = 0;
	bool ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 && EVP_DigestUpdate(md, &mode, 1) == 1 &&
		  EVP_DigestUpdate(md, ca->n > 0 ? ca->p : "", ca->n) == 1 && EVP_DigestFinal_ex(md, digest, &n) == 1;

	EVP_MD_CTX_free(md);
	return ok && SSL_CTX_set_session_id_context(ctx, digest, n) == 1;
}

static SSL_CTX *tls_context(struct tls *t, const struct conf *c, const struct buf *ca, const struct tls_keys *keys,
			    struct error *err)
{
	const char *ciphers = c->server.tls.ciphers[0] != '\0' ? c->server.tls.ciphers : TLS_CIPHERS;
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	char groups[] = TLS_GROUPS; /* the library's macro takes no constant */

	BUG_ON(ctx == NULL);
	t->ctx = xrealloc(t->ctx, (t->count + 1) * sizeof(SSL_CTX *));
	t->ctx[t->count++] = ctx;
	SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
				     SSL_OP_PRIORITIZE_CHACHA | SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				  SSL_MODE_RELEASE_BUFFERS);
	/* One read(2) takes record head and body together; http_tls.c asks for what stays inside. */
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ctx, 1);
	SSL_CTX_set_timeout(ctx, (long)((TLS_TICKET_KEYS - 1) * c->server.tls.ticket_rotation / SEC_US));
	SSL_CTX_set_tlsext_servername_callback(ctx, tls_on_name);
	SSL_CTX_set_tlsext_servername_arg(ctx, t);
	SSL_CTX_set_alpn_select_cb(ctx, tls_on_alpn, t);
	tls_keys_use(keys, ctx);
	if (SSL_CTX_set_min_proto_version(ctx, c->server.tls.min_version == TLS_MIN_13 ? TLS1_3_VERSION
										       : TLS1_2_VERSION) != 1 ||
	    SSL_CTX_set1_groups_list(ctx, groups) != 1 || !tls_bind_sessions(ctx, c, ca)) {
		error_set(err, ERR_INVALID_VALUE, "server.tls: %s", tls_why());
		return NULL;
	}
	if (SSL_CTX_set_cipher_list(ctx, ciphers) != 1) {
		error_field(err, ERR_INVALID_VALUE, "server.tls.ciphers", "server.tls.ciphers: %s", tls_why());
		return NULL;
	}
	if (c->server.tls.client_auth != TLS_CLIENT_OFF && !tls_use_client_ca(ctx, c, ca, err))
		return NULL;
	return ctx;
}

struct tls *tls_open(const struct conf *c, const struct tls_keys *keys, struct error *err)
{
	struct tls *t = xcalloc(1, sizeof(*t));
	struct buf ca = BUF_INIT;
	bool ok = c->server.tls.certificates.n == 0 || c->server.tls.client_auth == TLS_CLIENT_OFF ||
		  tls_read_file(c->server.tls.client_ca, false, TLS_CLIENT_CA, &ca, err);

	t->h2 = c->server.http2.enabled;
	for (size_t i = 0; ok && i < c->server.tls.certificates.n; i++) {
		SSL_CTX *ctx = tls_context(t, c, &ca, keys, err);

		ok = ctx != NULL && tls_load_pair(t, ctx, c->server.tls.certificates.v[i], err);
	}
	buf_free(&ca);
	if (!ok) {
		tls_close(t);
		return NULL;
	}
	if (t->name_count > 0)
		qsort(t->names, t->name_count, sizeof(*t->names), tls_name_compare);
	return t;
}

void tls_close(struct tls *t)
{
	if (t == NULL)
		return;
	for (size_t i = 0; i < t->count; i++)
		SSL_CTX_free(t->ctx[i]);
	for (size_t i = 0; i < t->name_count; i++)
		free(t->names[i].name);
	free(t->ctx);
	free(t->names);
	free(t);
}

bool tls_enabled(const struct tls *t)
{
	return t != NULL && t->count > 0;
}

SSL *tls_session(const struct tls *t, int fd)
{
	SSL *ssl;

	BUG_ON(!tls_enabled(t));
	ssl = SSL_new(t->ctx[0]);
	if (ssl == NULL || SSL_set_fd(ssl, fd) != 1) {
		SSL_free(ssl);
		ERR_clear_error();
		return NULL;
	}
	SSL_set_accept_state(ssl);
	return ssl;
}
