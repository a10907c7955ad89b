/* SPDX-License-Identifier: MIT */
/*
 * Identifiers and randomness from the kernel.
 */
#ifndef COMMON_IDS_H
#define COMMON_IDS_H

#include "common/compat.h"

#define UUID_LEN 36

/* UUIDv7 (RFC 9562 5.7) in lower case plus NUL; ids made in one process in one millisecond still ascend. */
void ids_uuid7(char out[UUID_LEN + 1]);
/* `bytes` random bytes as lower-case hex plus NUL: out has 2 * bytes + 1 bytes. */
void ids_hex(char *out, size_t bytes);
/* Fills p with n random bytes (getrandom); aborts if the kernel refuses. */
void ids_random(void *p, size_t n);
/* Uniform in [0, bound), bound > 0. */
uint32_t ids_uniform(uint32_t bound);

#endif
