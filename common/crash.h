/* SPDX-License-Identifier: MIT */
/*
 * Last words: a fatal signal prints what the process was doing and a backtrace to standard error, then takes its
 * default course (core dump). Not installed under AddressSanitizer, which does it better, except for SIGABRT.
 */
#ifndef COMMON_CRASH_H
#define COMMON_CRASH_H

#include "common/compat.h"

/* `action` is read at the crash (may be NULL); both strings are kept by reference. */
void crash_install(const char *who, const char *action);

#endif
