/* SPDX-License-Identifier: MIT */
/*
 * One-time passwords: HOTP (RFC 4226) and TOTP (RFC 6238) with SHA-1 and six digits, as authenticator apps speak them,
 * and base32 (RFC 4648 6) for their secrets. Pure: who stores counters and steps decides what was used.
 */
#ifndef WORKER_IDENTITY_OTP_H
#define WORKER_IDENTITY_OTP_H

#include "common/arena.h"

#define OTP_SECRET 20 /* bytes of a new secret, RFC 4226 4 R6 */
#define OTP_DIGITS 6
#define OTP_STEP 30    /* seconds */
#define OTP_WINDOW 1   /* steps to either side */
#define HOTP_AHEAD 10  /* counters that a device may be ahead of us */
#define HOTP_RESYNC 50 /* the same when two codes in a row are given */

/* The code with `digits` (6 to 8) digits plus NUL. */
void otp_code(struct str secret, uint64_t counter, unsigned digits, char out[9]);
/*
 * Is `code` right at `now` (seconds), give or take OTP_WINDOW steps, and of a later step than `last_step` (-1: none
 * yet)? *step is then to be stored as the last one.
 */
bool totp_check(struct str secret, int64_t now, struct str code, int64_t last_step, int64_t *step) MUST_CHECK;
/* Is `code` that of one of the HOTP_AHEAD counters from `counter` on? *next is then to be stored. */
bool hotp_check(struct str secret, uint64_t counter, struct str code, uint64_t *next) MUST_CHECK;
/* Are both codes right one after the other, within HOTP_RESYNC counters? */
bool hotp_resync(struct str secret, uint64_t counter, struct str first, struct str second, uint64_t *next) MUST_CHECK;

/* Without padding, in the arena. */
struct str base32_encode(struct arena *a, struct str data);
/* otpauth://totp/Issuer:account?secret=…, or hotp with its counter (negative: totp). In the arena. */
struct str otp_uri(struct arena *a, struct str issuer, struct str account, struct str secret, int64_t counter);

#endif
