/* SPDX-License-Identifier: MIT */
/*
 * The encryption keys of this installation. Opened by workers at boot and by subcommands; a reload starts workers with
 * the keys of that moment. Does not encrypt (envelope.c does) and forgets no key by itself: the operator removes it.
 */
#include "common/keyring.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/crypto.h"
#include "common/log.h"

#define KEYRING_FILE "keys/encryption.key"
#define KEYRING_FILE_MAX 4096

struct keyring {
	size_t n;
	bool configured;
	struct keyring_key keys[KEYRING_KEYS_MAX];
};

static struct keyring *keyring_new(void)
{
	struct keyring *k = mmap(NULL, sizeof(*k), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	BUG_ON(k == MAP_FAILED);
	/* Both may fail on odd kernels; the keys are then merely less well kept. */
	(void)madvise(k, sizeof(*k), MADV_DONTDUMP);
	(void)mlock(k, sizeof(*k));
	return k;
}

void keyring_close(struct keyring *k)
{
	if (k == NULL)
		return;
	explicit_bzero(k, sizeof(*k));
	munmap(k, sizeof(*k));
}

/* ---- one key ---- */

/* 32 bytes are 43 digits of base64 and one of padding, which base64url may leave out. */
static bool keyring_unbase64(struct str text, uint8_t key[KEYRING_KEY_LEN])
{
	char plain[44];
	size_t n = KEYRING_KEY_LEN;
	bool ok;

	if (text.n != 43 && text.n != 44)
		return false;
	plain[43] = '=';
	for (size_t i = 0; i < text.n; i++)
		plain[i] = text.p[i] == '-' ? '+' : text.p[i] == '_' ? '/' : text.p[i];
	ok = crypto_unbase64((struct str){plain, sizeof(plain)}, key, &n) && n == KEYRING_KEY_LEN;
	explicit_bzero(plain, sizeof(plain));
	return ok;
}

/* The first 8 hex digits of SHA-256("aragora-key-id" || key): says nothing about the key, and is the same everywhere.
 */
static void keyring_name(struct keyring_key *k)
{
	uint8_t digest[SHA256_LEN];
	struct buf text = BUF_INIT;

	buf_addz(&text, "aragora-key-id");
	buf_add(&text, (struct str){(const char *)k->key, sizeof(k->key)});
	crypto_sha256(buf_str(&text), digest);
	crypto_hex(k->id, digest, KEYRING_ID_LEN / 2);
	explicit_bzero(text.p, text.n);
	buf_free(&text);
}

static bool keyring_add(struct keyring *k, struct str text, struct error *err)
{
	struct keyring_key *key = &k->keys[k->n];

	if (k->n == KEYRING_KEYS_MAX)
		return error_field(err, ERR_INVALID_VALUE, "storage.encryption_key", "has more than %d keys",
				   KEYRING_KEYS_MAX);
	if ((text.n != 2 * KEYRING_KEY_LEN || !crypto_unhex(text, key->key, KEYRING_KEY_LEN)) &&
	    !keyring_unbase64(text, key->key))
		return error_field(err, ERR_INVALID_VALUE, "storage.encryption_key",
				   "key %zu is neither 64 hexadecimal digits nor base64 of 32 bytes; `aragorad keygen` "
				   "makes one",
				   k->n + 1);
	keyring_name(key);
	if (keyring_find(k, str_of(key->id)) == NULL)
		k->n++;
	return true;
}

struct keyring *keyring_parse(struct str text, struct error *err)
{
	struct keyring *k;
	struct str token;

	if (str_trim(text).n == 0) {
		error_field(err, ERR_INVALID_VALUE, "storage.encryption_key", "is empty");
		return NULL;
	}
	k = keyring_new();
	while (str_split(&text, ',', &token)) {
		if (!keyring_add(k, str_trim(token), err)) {
			keyring_close(k);
			return NULL;
		}
	}
	return k;
}

/* ---- the file ---- */

/* Several lines after a rotation by hand: the same as a list. */
static struct keyring *keyring_read(const char *path, struct error *err)
{
	char text[KEYRING_FILE_MAX];
	struct keyring *k = NULL;
	struct stat st;
	ssize_t n = -1;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd == -1 || fstat(fd, &st) == -1) {
		error_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_STORAGE, "key file %.150s: %s", path,
			  strerror(errno));
	} else if (!S_ISREG(st.st_mode) || (st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
		error_set(err, ERR_FORBIDDEN, "key file %.150s must be a regular file that only its owner can read",
			  path);
	} else {
		n = read(fd, text, sizeof(text));
		if (n <= 0 || n == (ssize_t)sizeof(text))
			error_set(err, ERR_STORAGE, "key file %.150s cannot be read or has no sensible size", path);
	}
	if (fd != -1)
		close(fd);
	if (n > 0 && n < (ssize_t)sizeof(text)) {
		struct str body = str_trim((struct str){text, (size_t)n});

		for (ssize_t i = 0; i < n; i++)
			text[i] = text[i] == '\n' ? ',' : text[i];
		k = keyring_parse(body, err);
	}
	explicit_bzero(text, sizeof(text));
	return k;
}

static struct keyring *keyring_from_file(const struct conf *c, bool make, struct error *err)
{
	struct buf path = BUF_INIT;
	struct error why = ERROR_INIT;
	uint8_t fresh[KEYRING_KEY_LEN];
	struct keyring *k;

	buf_printf(&path, "%s/" KEYRING_FILE, c->storage.data_dir);
	k = keyring_read(path.p, &why);
	if (k == NULL && why.code == ERR_NOT_FOUND && make && crypto_key_file(path.p, fresh, &why)) {
		/* The words of the runbook, for whoever searches for them. */
		log_warn("crypto",
			 "no ARAGORA_ENCRYPTION_KEY is set, so a key was made. Data will not be recoverable "
			 "after restart without this file: keep a copy apart from the database",
			 KV_S("path", path.p));
		k = keyring_read(path.p, &why);
	}
	explicit_bzero(fresh, sizeof(fresh));
	if (k == NULL && err != NULL)
		*err = why;
	buf_free(&path);
	return k;
}

struct keyring *keyring_open(const struct conf *c, bool make, struct error *err)
{
	struct keyring *k;

	if (c->storage.encryption_key[0] == '\0')
		return keyring_from_file(c, make, err);
	k = keyring_parse(str_of(c->storage.encryption_key), err);
	if (k != NULL)
		k->configured = true;
	return k;
}

const struct keyring_key *keyring_active(const struct keyring *k)
{
	return &k->keys[0];
}

const struct keyring_key *keyring_find(const struct keyring *k, struct str id)
{
	for (size_t i = 0; i < k->n; i++) {
		if (str_eqz(id, k->keys[i].id))
			return &k->keys[i];
	}
	return NULL;
}

size_t keyring_count(const struct keyring *k)
{
	return k->n;
}

const struct keyring_key *keyring_at(const struct keyring *k, size_t i)
{
	BUG_ON(i >= k->n);
	return &k->keys[i];
}

bool keyring_configured(const struct keyring *k)
{
	return k->configured;
}
