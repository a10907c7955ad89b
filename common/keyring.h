/* SPDX-License-Identifier: MIT */
/*
 * The keys with which fields, backups and exports are encrypted: from storage.encryption_key
 * (ARAGORA_ENCRYPTION_KEY, the first encrypts, all decrypt), or one made at the first start in data_dir/keys.
 */
#ifndef COMMON_KEYRING_H
#define COMMON_KEYRING_H

#include "common/err.h"
#include "common/str.h"

#define KEYRING_KEY_LEN 32
#define KEYRING_ID_LEN 8 /* hexadecimal digits */
#define KEYRING_KEYS_MAX 16

struct conf;

struct keyring_key {
	char id[KEYRING_ID_LEN + 1]; /* of the key itself, so that every node names it alike */
	uint8_t key[KEYRING_KEY_LEN];
};

struct keyring; /* in memory that core dumps leave out; wiped when closed */

/*
 * Parses a list of keys: 64 hexadecimal digits, or base64 or base64url of 32 bytes, separated by commas. Never pads
 * or hashes what is not a key. ERR_INVALID_VALUE names the position of the bad one, never its text.
 */
struct keyring *keyring_parse(struct str text, struct error *err) MUST_CHECK;
/*
 * The configured keys; else those of data_dir/keys/encryption.key, one per line, which is made (0600, with a warning)
 * when `make` is set and it does not exist. ERR_NOT_FOUND: there is none and none was to be made.
 */
struct keyring *keyring_open(const struct conf *c, bool make, struct error *err) MUST_CHECK;
void keyring_close(struct keyring *k);

/* The key that encrypts. */
const struct keyring_key *keyring_active(const struct keyring *k);
/* NULL: not in this ring. */
const struct keyring_key *keyring_find(const struct keyring *k, struct str id);
size_t keyring_count(const struct keyring *k);
const struct keyring_key *keyring_at(const struct keyring *k, size_t i);
/* Was it configured, rather than read from or made in data_dir/keys? */
bool keyring_configured(const struct keyring *k);

#endif
