/* SPDX-License-Identifier: MIT */
/*
 * RFC 3161 queries and answers over OpenSSL. Called in a lane by stamp_job.c. Sends nothing and stores nothing.
 */
#include "worker/receipts/stamp.h"

#include <time.h>

#include <openssl/err.h>
#include <openssl/ts.h>

#include "common/crypto.h"
#include "common/ids.h"

#define STAMP_NONCE 8 /* bytes; RFC 3161 2.4.1 wants 64 bits */
#define STAMP_REPLY_MAX (64 * 1024)

static bool stamp_fail(struct error *err, const char *what)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	ERR_clear_error();
	return error_set(err, ERR_INVALID_VALUE, "%s%s%s", what, reason != NULL ? ": " : "",
			 reason != NULL ? reason : "");
}

static bool stamp_imprint(TS_REQ *req, const uint8_t hash[SHA256_LEN])
{
	TS_MSG_IMPRINT *imprint = TS_MSG_IMPRINT_new();
	X509_ALGOR *algorithm = X509_ALGOR_new();
	bool ok = imprint != NULL && algorithm != NULL;
	/* The function wants mutable bytes and copies them. */
	uint8_t copy[SHA256_LEN];

	memcpy(copy, hash, sizeof(copy));
	ok = ok && X509_ALGOR_set0(algorithm, OBJ_nid2obj(NID_sha256), V_ASN1_NULL, NULL) == 1 &&
	     TS_MSG_IMPRINT_set_algo(imprint, algorithm) == 1 &&
	     TS_MSG_IMPRINT_set_msg(imprint, copy, sizeof(copy)) == 1 && TS_REQ_set_msg_imprint(req, imprint) == 1;
	X509_ALGOR_free(algorithm);
	TS_MSG_IMPRINT_free(imprint);
	return ok;
}

static bool stamp_nonce(TS_REQ *req)
{
	ASN1_INTEGER *nonce = ASN1_INTEGER_new();
	uint64_t number = 0;
	bool ok;

	ids_random(&number, STAMP_NONCE);
	ok = nonce != NULL && ASN1_INTEGER_set_uint64(nonce, number) == 1 && TS_REQ_set_nonce(req, nonce) == 1;
	ASN1_INTEGER_free(nonce);
	return ok;
}

bool stamp_query(struct str content_hash, struct buf *der, struct error *err)
{
	uint8_t hash[SHA256_LEN], *bytes = NULL;
	TS_REQ *req = TS_REQ_new();
	bool ok;
	int n;

	if (!crypto_unhex(content_hash, hash, sizeof(hash))) {
		TS_REQ_free(req);
		return error_set(err, ERR_INVALID_VALUE, "the receipt has no content hash");
	}
	/* The certificate shall be in the answer: who checks it later has only that. */
	ok = req != NULL && TS_REQ_set_version(req, 1) == 1 && stamp_imprint(req, hash) && stamp_nonce(req) &&
	     TS_REQ_set_cert_req(req, 1) == 1;
	n = ok ? i2d_TS_REQ(req, &bytes) : 0;
	if (n > 0)
		buf_add(der, (struct str){(const char *)bytes, (size_t)n});
	OPENSSL_free(bytes);
	TS_REQ_free(req);
	return n > 0 || stamp_fail(err, "the time stamp query could not be made");
}

/* ---- checking ---- */

/* Certificates by which the authority's is judged, as of the time of the stamp: it may have expired since. */
static X509_STORE *stamp_store(const char *ca_file, time_t at, struct error *err)
{
	X509_STORE *store = X509_STORE_new();
	bool ok = store != NULL && (ca_file[0] != '\0' ? X509_STORE_load_file(store, ca_file) == 1
						       : X509_STORE_set_default_paths(store) == 1);

	if (ok) {
		X509_VERIFY_PARAM_set_time(X509_STORE_get0_param(store), at);
		return store;
	}
	X509_STORE_free(store);
	stamp_fail(err, "receipts.tsa_ca_file cannot be read");
	return NULL;
}

static bool stamp_time(TS_RESP *reply, time_t *at)
{
	TS_TST_INFO *info = TS_RESP_get_tst_info(reply);
	struct tm tm;

	if (info == NULL || ASN1_TIME_to_tm(TS_TST_INFO_get_time(info), &tm) != 1)
		return false;
	*at = timegm(&tm);
	return true;
}

/* Of which hash: the algorithm too, for the imprint alone is only bytes. */
static bool stamp_is_sha256(TS_RESP *reply)
{
	TS_MSG_IMPRINT *imprint = TS_TST_INFO_get_msg_imprint(TS_RESP_get_tst_info(reply));
	const ASN1_OBJECT *object = NULL;

	X509_ALGOR_get0(&object, NULL, NULL, TS_MSG_IMPRINT_get_algo(imprint));
	return OBJ_obj2nid(object) == NID_sha256;
}

static TS_VERIFY_CTX *stamp_context(struct str query, const uint8_t hash[SHA256_LEN], X509_STORE *store)
{
	const uint8_t *at = (const uint8_t *)query.p;
	TS_REQ *req = query.n > 0 ? d2i_TS_REQ(NULL, &at, (long)query.n) : NULL;
	TS_VERIFY_CTX *ctx = req != NULL ? TS_REQ_to_TS_VERIFY_CTX(req, NULL) : TS_VERIFY_CTX_new();
	uint8_t *copy;

	TS_REQ_free(req);
	if (ctx == NULL)
		return NULL;
	if (query.n == 0) {
		copy = OPENSSL_memdup(hash, SHA256_LEN);
		TS_VERIFY_CTX_set_imprint(ctx, copy, SHA256_LEN);
		TS_VERIFY_CTX_set_flags(ctx, TS_VFY_VERSION | TS_VFY_IMPRINT);
	}
	TS_VERIFY_CTX_add_flags(ctx, TS_VFY_SIGNATURE);
	TS_VERIFY_CTX_set_store(ctx, store); /* which is its own from now on */
	return ctx;
}

static void stamp_authority(TS_RESP *reply, char name[128])
{
	STACK_OF(X509) *signers = PKCS7_get0_signers(TS_RESP_get_token(reply), NULL, 0);
	BIO *text = BIO_new(BIO_s_mem());
	char *p = NULL;
	long n;

	if (text != NULL && signers != NULL && sk_X509_num(signers) > 0 &&
	    X509_NAME_print_ex(text, X509_get_subject_name(sk_X509_value(signers, 0)), 0,
			       XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0) {
		n = BIO_get_mem_data(text, &p);
		snprintf(name, 128, "%.*s", STR_ARG(str_utf8_cut((struct str){p, (size_t)n}, 127)));
	}
	sk_X509_free(signers);
	BIO_free(text);
}

static bool stamp_check_reply(TS_RESP *reply, const uint8_t hash[SHA256_LEN], struct str query, const char *ca_file,
			      struct stamp *out, struct error *err)
{
	TS_VERIFY_CTX *ctx;
	X509_STORE *store;
	time_t at;
	bool ok;

	if (!stamp_time(reply, &at) || !stamp_is_sha256(reply))
		return error_set(err, ERR_INVALID_VALUE, "the authority did not grant the time stamp");
	store = stamp_store(ca_file, at, err);
	if (store == NULL)
		return false;
	ctx = stamp_context(query, hash, store);
	if (ctx == NULL) {
		X509_STORE_free(store);
		return stamp_fail(err, "the time stamp cannot be checked");
	}
	ok = TS_RESP_verify_response(ctx, reply) == 1;
	TS_VERIFY_CTX_free(ctx);
	if (!ok)
		return stamp_fail(err, "the time stamp is not valid");
	out->at_ms = (int64_t)at * 1000;
	stamp_authority(reply, out->authority);
	return true;
}

bool stamp_check(struct str content_hash, struct str reply, struct str query, const char *ca_file, struct stamp *out,
		 struct error *err)
{
	const uint8_t *at = (const uint8_t *)reply.p;
	uint8_t hash[SHA256_LEN];
	TS_RESP *parsed;
	bool ok;

	*out = (struct stamp){.at_ms = 0};
	if (!crypto_unhex(content_hash, hash, sizeof(hash)))
		return error_set(err, ERR_INVALID_VALUE, "the receipt has no content hash");
	parsed = reply.n > 0 && reply.n <= STAMP_REPLY_MAX ? d2i_TS_RESP(NULL, &at, (long)reply.n) : NULL;
	if (parsed == NULL)
		return stamp_fail(err, "the answer is no time stamp");
	ok = stamp_check_reply(parsed, hash, query, ca_file, out, err);
	TS_RESP_free(parsed);
	return ok;
}
