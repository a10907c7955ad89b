/* SPDX-License-Identifier: MIT */
/*
 * Identifiers and random numbers from the kernel. Called by whoever makes a row, a token or a jittered delay; any
 * thread may. Deliberately without a generator of its own: nothing has to be reseeded after fork.
 */
#include "common/ids.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/random.h>

#include "common/clock.h"

/* RFC 9562 6.2 method 1: 48 bits of milliseconds and the 12 bits behind them are one number that only ascends. */
#define IDS_COUNTER_BITS 12

static const char ids_digits[] = "0123456789abcdef";
static _Atomic uint64_t ids_last;

void ids_random(void *p, size_t n)
{
	unsigned char *at = p;

	while (n != 0) {
		ssize_t got = getrandom(at, n, 0);

		if (got < 0) {
			BUG_ON(errno != EINTR);
			continue;
		}
		at += got;
		n -= (size_t)got;
	}
}

/* The counter starts in its lower half, so that a millisecond has room for 2048 ids before time runs ahead. */
static uint64_t ids_next(uint16_t start)
{
	uint64_t now = (uint64_t)clock_wall_ms() << IDS_COUNTER_BITS | (start & 0x7ff);
	uint64_t last = atomic_load_explicit(&ids_last, memory_order_relaxed);
	uint64_t next;

	do {
		next = (now >> IDS_COUNTER_BITS) > (last >> IDS_COUNTER_BITS) ? now : last + 1;
	} while (
	    !atomic_compare_exchange_weak_explicit(&ids_last, &last, next, memory_order_relaxed, memory_order_relaxed));
	return next;
}

void ids_uuid7(char out[UUID_LEN + 1])
{
	struct {
		uint8_t tail[8];
		uint16_t start;
	} fresh;
	uint8_t bytes[16];
	uint64_t number;
	char *p = out;

	ids_random(&fresh, sizeof(fresh));
	number = ids_next(fresh.start);
	for (int i = 0; i < 6; i++)
		bytes[i] = (uint8_t)(number >> (IDS_COUNTER_BITS + 40 - 8 * i));
	bytes[6] = (uint8_t)(0x70 | ((number >> 8) & 0x0f));
	bytes[7] = (uint8_t)number;
	memcpy(bytes + 8, fresh.tail, 8);
	bytes[8] = (uint8_t)(0x80 | (bytes[8] & 0x3f));
	for (size_t i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		*p++ = ids_digits[bytes[i] >> 4];
		*p++ = ids_digits[bytes[i] & 15];
	}
	*p = '\0';
}

void ids_hex(char *out, size_t bytes)
{
	uint8_t *raw = (uint8_t *)out + bytes;

	/* The raw bytes stand in the upper half of out; writing from the front never overtakes the reading. */
	ids_random(raw, bytes);
	for (size_t i = 0; i < bytes; i++) {
		uint8_t byte = raw[i];

		out[2 * i] = ids_digits[byte >> 4];
		out[2 * i + 1] = ids_digits[byte & 15];
	}
	out[2 * bytes] = '\0';
}

uint32_t ids_uniform(uint32_t bound)
{
	uint32_t reject, value;

	BUG_ON(bound == 0);
	/* The first 2^32 mod bound values would make small results likelier. */
	reject = -bound % bound;
	do {
		ids_random(&value, sizeof(value));
	} while (value < reject);
	return value % bound;
}
