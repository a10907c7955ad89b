/* SPDX-License-Identifier: MIT */
/*
 * A whole file under a key of the ring, for backups that leave the machine. Blocking.
 *
 * "ARAGBK1" and NUL, key id (8 hexadecimal digits), salt (16 bytes); then pieces of 1 MiB, the last one shorter or
 * equal, each AES-256-GCM under HMAC-SHA256(key, "aragora-backup|" || salt) with the nonce: 1 byte (1 in the last
 * piece, else 0), 3 zero bytes, number of the piece (8 bytes, big-endian), the 32 bytes of the head as AAD, and its tag
 * behind. So pieces cannot be changed, left out, swapped, or taken from another file.
 */
#ifndef COMMON_SEALED_FILE_H
#define COMMON_SEALED_FILE_H

#include "common/keyring.h"

/* Is it one, and under which key? False when it is not, or cannot be read. */
bool sealed_file_is(const char *path, char key_id[KEYRING_ID_LEN + 1]) MUST_CHECK;
/* `to` is made (0600, it must not exist) and synced; on failure it is removed. */
bool sealed_file_seal(const struct keyring *k, const char *from, const char *to, struct error *err) MUST_CHECK;
/*
 * As above, the other way. `to` NULL: only checks. ERR_NOT_FOUND "Key not found"; ERR_STORAGE when it was changed or
 * cut: nothing is left at `to` then.
 */
bool sealed_file_open(const struct keyring *k, const char *from, const char *to, struct error *err) MUST_CHECK;

#endif
