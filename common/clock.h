/* SPDX-License-Identifier: MIT */
/*
 * Time: monotonic microseconds for durations, wall-clock milliseconds UTC for what is stored and shown.
 */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include "common/str.h"

#define MS_US INT64_C(1000)
#define SEC_US INT64_C(1000000)

/* CLOCK_MONOTONIC in microseconds; comparable between processes of one boot. */
int64_t clock_mono_us(void);
/* Milliseconds since the epoch, UTC. */
int64_t clock_wall_ms(void);
/* CPU time of this process in microseconds. */
int64_t clock_cpu_us(void);
/* "2026-01-04T12:00:00.123Z" plus NUL into out; returns out. */
#define CLOCK_ISO_MAX 32
const char *clock_iso(char out[CLOCK_ISO_MAX], int64_t wall_ms);
/*
 * "2026-01-04", "2026-01-04T12:00:00Z", with fraction (of which milliseconds count) or offset, or seconds since the
 * epoch. False: none of these.
 */
bool clock_parse(struct str s, int64_t *wall_ms) MUST_CHECK;
/* "250ms", "5s", "15m", "2h", "1d"; a bare number (also "2.5") is seconds. Negative values are refused. */
bool duration_parse(struct str s, int64_t *us) MUST_CHECK;
/* Shortest exact spelling, e.g. "250ms", "5s", "24h". */
const char *duration_format(char out[32], int64_t us);

#endif
