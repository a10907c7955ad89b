/* SPDX-License-Identifier: MIT */
/*
 * What fuzz targets share: the entry point, and input cut into pieces by a seed, so that a run can be repeated.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include "common/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Takes the next piece off *rest: everything when *seed is 0, else 1 to 16 bytes. */
static inline struct str fuzz_piece(struct str *rest, uint32_t *seed)
{
	size_t n = rest->n;
	struct str piece;

	if (*seed != 0) {
		*seed = *seed * 1103515245 + 12345;
		n = 1 + (*seed >> 16) % 16;
		*seed |= 1;
	}
	piece = str_sub(*rest, 0, n);
	*rest = str_sub(*rest, piece.n, rest->n);
	return piece;
}

#endif
