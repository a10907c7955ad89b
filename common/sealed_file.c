/* SPDX-License-Identifier: MIT */
/*
 * Encrypted files in pieces of bounded memory. Called by backup and restore. Knows nothing of what is in them.
 */
#include "common/sealed_file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/crypto.h"
#include "common/envelope.h"
#include "common/ids.h"

#define SEALED_MAGIC "ARAGBK1"
#define SEALED_SALT 16
#define SEALED_PIECE ((size_t)1 << 20)
#define SEALED_CONTEXT "aragora-backup|"

struct sealed_head {
	char magic[8];
	char key_id[KEYRING_ID_LEN];
	uint8_t salt[SEALED_SALT];
};

_Static_assert(sizeof(struct sealed_head) == 32, "the head is its bytes");

struct sealed_run {
	const char *from, *to;
	int in, out; /* out -1: nothing is written */
	struct sealed_head head;
	uint8_t key[SHA256_LEN];
	uint8_t *have, *ahead, *made; /* a piece with its tag, the piece behind it, the result */
	uint64_t number;
};

static bool sealed_fail(const char *path, struct error *err)
{
	return error_set(err, ERR_STORAGE, "%.200s: %s", path, strerror(errno));
}

/* All n bytes unless the file ends; -1 on failure. */
static ssize_t sealed_read(int fd, uint8_t *p, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t got = read(fd, p + done, n - done);

		if (got == 0)
			break;
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

static bool sealed_write(int fd, const uint8_t *p, size_t n)
{
	while (fd >= 0 && n > 0) {
		ssize_t put = write(fd, p, n);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return false;
		p += put;
		n -= (size_t)put;
	}
	return true;
}

static void sealed_derive(struct sealed_run *r, const struct keyring_key *key)
{
	struct buf text = BUF_INIT;

	buf_addz(&text, SEALED_CONTEXT);
	buf_add(&text, (struct str){(const char *)r->head.salt, sizeof(r->head.salt)});
	crypto_hmac_sha256((struct str){(const char *)key->key, sizeof(key->key)}, buf_str(&text), r->key);
	buf_free(&text);
}

static void sealed_nonce(const struct sealed_run *r, bool last, uint8_t nonce[GCM_NONCE])
{
	memset(nonce, 0, GCM_NONCE);
	nonce[0] = last;
	for (int i = 0; i < 8; i++)
		nonce[4 + i] = (uint8_t)(r->number >> (8 * (7 - i)));
}

/* One piece of n bytes from r->have. */
static bool sealed_piece(struct sealed_run *r, bool seal, size_t n, bool last, struct error *err)
{
	struct str aad = {(const char *)&r->head, sizeof(r->head)};
	uint8_t nonce[GCM_NONCE];
	size_t made;
	bool ok;

	sealed_nonce(r, last, nonce);
	if (seal) {
		ok = gcm_seal(r->key, nonce, aad, (struct str){(char *)r->have, n}, r->made, r->made + n);
		made = n + GCM_TAG;
	} else {
		ok = n >= GCM_TAG && gcm_open(r->key, nonce, aad, (struct str){(char *)r->have, n - GCM_TAG}, r->made,
					      r->have + n - GCM_TAG);
		made = n >= GCM_TAG ? n - GCM_TAG : 0;
	}
	if (!ok)
		return error_set(err, ERR_STORAGE, "%.200s was changed or cut (piece %llu)", r->from,
				 (unsigned long long)r->number);
	r->number++;
	return sealed_write(r->out, r->made, made) || sealed_fail(r->to, err);
}

/* A piece is the last one when nothing comes behind it, so one piece is read ahead. */
static bool sealed_pieces(struct sealed_run *r, bool seal, struct error *err)
{
	size_t size = SEALED_PIECE + (seal ? 0 : GCM_TAG);
	ssize_t n = sealed_read(r->in, r->have, size), next;
	uint8_t *swap;

	for (;;) {
		next = n == (ssize_t)size ? sealed_read(r->in, r->ahead, size) : 0;
		if (n < 0 || next < 0)
			return sealed_fail(r->from, err);
		if (!sealed_piece(r, seal, (size_t)n, next == 0, err))
			return false;
		if (next == 0)
			return true;
		swap = r->have;
		r->have = r->ahead;
		r->ahead = swap;
		n = next;
	}
}

static bool sealed_run(struct sealed_run *r, bool seal, struct error *err)
{
	bool ok = true;

	if (r->to != NULL) {
		r->out = open(r->to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (r->out < 0)
			return sealed_fail(r->to, err);
	}
	r->have = xmalloc(SEALED_PIECE + GCM_TAG);
	r->ahead = xmalloc(SEALED_PIECE + GCM_TAG);
	r->made = xmalloc(SEALED_PIECE + GCM_TAG);
	if (seal)
		ok = sealed_write(r->out, (const uint8_t *)&r->head, sizeof(r->head)) || sealed_fail(r->to, err);
	ok = ok && sealed_pieces(r, seal, err);
	if (ok && r->out >= 0)
		ok = fsync(r->out) == 0 || sealed_fail(r->to, err);
	if (r->out >= 0)
		close(r->out);
	if (!ok && r->to != NULL)
		unlink(r->to);
	explicit_bzero(r->key, sizeof(r->key));
	free(r->have);
	free(r->ahead);
	free(r->made);
	return ok;
}

static bool sealed_head_read(int fd, struct sealed_head *head)
{
	return sealed_read(fd, (uint8_t *)head, sizeof(*head)) == (ssize_t)sizeof(*head) &&
	       memcmp(head->magic, SEALED_MAGIC, sizeof(head->magic)) == 0;
}

bool sealed_file_is(const char *path, char key_id[KEYRING_ID_LEN + 1])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct sealed_head head;
	bool is = fd >= 0 && sealed_head_read(fd, &head);

	if (fd >= 0)
		close(fd);
	if (is)
		snprintf(key_id, KEYRING_ID_LEN + 1, "%.*s", KEYRING_ID_LEN, head.key_id);
	return is;
}

bool sealed_file_seal(const struct keyring *k, const char *from, const char *to, struct error *err)
{
	struct sealed_run r = {.from = from, .to = to, .out = -1, .head = {.magic = SEALED_MAGIC}};
	bool ok;

	r.in = open(from, O_RDONLY | O_CLOEXEC);
	if (r.in < 0)
		return sealed_fail(from, err);
	memcpy(r.head.key_id, keyring_active(k)->id, KEYRING_ID_LEN);
	ids_random(r.head.salt, sizeof(r.head.salt));
	sealed_derive(&r, keyring_active(k));
	ok = sealed_run(&r, true, err);
	close(r.in);
	return ok;
}

bool sealed_file_open(const struct keyring *k, const char *from, const char *to, struct error *err)
{
	struct sealed_run r = {.from = from, .to = to, .out = -1};
	const struct keyring_key *key = NULL;
	bool ok = false;

	r.in = open(from, O_RDONLY | O_CLOEXEC);
	if (r.in < 0)
		return sealed_fail(from, err);
	if (!sealed_head_read(r.in, &r.head)) {
		error_set(err, ERR_STORAGE, "%.200s is no encrypted backup", from);
	} else {
		key = keyring_find(k, (struct str){r.head.key_id, KEYRING_ID_LEN});
		if (key == NULL)
			error_set(err, ERR_NOT_FOUND,
				  "Key not found: %.150s was encrypted with key %.*s, which is not in "
				  "ARAGORA_ENCRYPTION_KEY",
				  from, KEYRING_ID_LEN, r.head.key_id);
	}
	if (key != NULL) {
		sealed_derive(&r, key);
		ok = sealed_run(&r, false, err);
	}
	close(r.in);
	return ok;
}
