/* SPDX-License-Identifier: MIT */
/*
 * Keys of session tickets: made and rotated by the master in memory that it shares with all workers, so that a session
 * begun at one worker is resumed at any other, also at those of a master that succeeds this one. Two copies and an
 * index: a reader never waits and never sees half a set.
 */
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/http/tls.h"

struct ticket_key {
	unsigned char name[16];
	unsigned char cipher[32];
	unsigned char mac[32];
};

struct ticket_set {
	struct ticket_key key[TLS_TICKET_KEYS]; /* newest first */
};

struct tls_keys {
	uint64_t layout; /* see tickets_layout */
	_Atomic unsigned current;
	struct ticket_set set[2];
	int64_t rotated; /* the master's own */
};

static NORETURN void tickets_die(const char *what)
{
	fprintf(stderr, "aragorad: ticket keys: %s\n", what);
	exit(EXIT_FAILURE);
}

static void ticket_key_make(struct ticket_key *k)
{
	if (RAND_bytes((unsigned char *)k, (int)sizeof(*k)) != 1)
		tickets_die("no random bytes");
}

/* Two programs agree about the memory only if this number is the same in both: sizes and offsets, a byte or two each.
 */
static uint64_t tickets_layout(void)
{
	return (uint64_t)TLS_TICKET_KEYS << 56 | (uint64_t)sizeof(struct ticket_key) << 40 |
	       (uint64_t)offsetof(struct ticket_key, mac) << 32 | (uint64_t)offsetof(struct tls_keys, set) << 16 |
	       (uint64_t)offsetof(struct tls_keys, rotated);
}

static struct tls_keys *tickets_map(int fd)
{
	struct tls_keys *k = mmap(NULL, sizeof(*k), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (k == MAP_FAILED)
		return NULL;
	/* Whoever reads a core dump must not be able to read recorded traffic with it. */
	(void)madvise(k, sizeof(*k), MADV_DONTDUMP);
	return k;
}

struct tls_keys *tls_keys_create(int *fd)
{
	int memory = memfd_create("aragora-tickets", MFD_CLOEXEC);
	struct tls_keys *k = NULL;

	if (memory != -1 && ftruncate(memory, (off_t)sizeof(*k)) == 0)
		k = tickets_map(memory);
	if (k == NULL)
		tickets_die(strerror(errno));
	k->layout = tickets_layout();
	for (size_t i = 0; i < TLS_TICKET_KEYS; i++)
		ticket_key_make(&k->set[0].key[i]);
	if (fd != NULL)
		*fd = memory;
	else
		close(memory);
	return k;
}

struct tls_keys *tls_keys_attach(int fd)
{
	struct stat st;
	struct tls_keys *k;

	if (fstat(fd, &st) == -1 || st.st_size != (off_t)sizeof(*k))
		return NULL;
	k = tickets_map(fd);
	if (k == NULL || k->layout == tickets_layout())
		return k;
	tls_keys_free(k);
	return NULL;
}

void tls_keys_free(struct tls_keys *k)
{
	/* Not wiped: another master may go on with them. The kernel clears the memory when nobody has it any more. */
	if (k != NULL)
		munmap(k, sizeof(*k));
}

void tls_keys_rotate(struct tls_keys *k, int64_t now, int64_t interval)
{
	unsigned from = atomic_load_explicit(&k->current, memory_order_relaxed), to = 1 - from;

	if (k->rotated == 0)
		k->rotated = now;
	if (now - k->rotated < interval)
		return;
	/* The copy that is written was given up an interval ago: nobody reads it any more. */
	ticket_key_make(&k->set[to].key[0]);
	memcpy(&k->set[to].key[1], &k->set[from].key[0], (TLS_TICKET_KEYS - 1) * sizeof(k->set[to].key[0]));
	k->rotated = now;
	atomic_store_explicit(&k->current, to, memory_order_release);
}

static bool tickets_mac(EVP_MAC_CTX *mac, const struct ticket_key *k)
{
	char digest[] = "SHA256";
	unsigned char key[sizeof(k->mac)];
	OSSL_PARAM params[3];
	bool ok;

	memcpy(key, k->mac, sizeof(key));
	params[0] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key, sizeof(key));
	params[1] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0);
	params[2] = OSSL_PARAM_construct_end();
	ok = EVP_MAC_CTX_set_params(mac, params) == 1;
	explicit_bzero(key, sizeof(key));
	return ok;
}

/* OpenSSL's callback: 1 = done, 2 = done and the ticket is to be renewed, 0 = no such key, -1 = failed. */
static int tickets_on_ticket(SSL *ssl, unsigned char name[16], unsigned char *iv, EVP_CIPHER_CTX *cipher,
			     EVP_MAC_CTX *mac, int encrypt)
{
	const struct tls_keys *k = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	const struct ticket_set *set = &k->set[atomic_load_explicit(&k->current, memory_order_acquire)];
	const struct ticket_key *key = set->key;

	if (encrypt != 0) {
		memcpy(name, key->name, sizeof(key->name));
		return RAND_bytes(iv, EVP_MAX_IV_LENGTH) == 1 &&
			       EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv) == 1 &&
			       tickets_mac(mac, key)
			   ? 1
			   : -1;
	}
	while (key < set->key + TLS_TICKET_KEYS && memcmp(name, key->name, sizeof(key->name)) != 0)
		key++;
	if (key == set->key + TLS_TICKET_KEYS)
		return 0;
	if (!tickets_mac(mac, key) || EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv) != 1)
		return -1;
	return key == set->key ? 1 : 2;
}

void tls_keys_use(const struct tls_keys *k, SSL_CTX *ctx)
{
	void *p;

	/* The library's slot is not const, the callback's view of it is. */
	memcpy(&p, &k, sizeof(p));
	SSL_CTX_set_app_data(ctx, p);
	SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, tickets_on_ticket);
}
