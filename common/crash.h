/* SPDX-License-Identifier: MIT */
/*
 * Last words: a fatal signal prints what the process was doing and a backtrace to standard error, then takes its
 * default course (core dump). Not installed under AddressSanitizer, which does it better, except for SIGABRT.
 */
#ifndef COMMON_CRASH_H
#define COMMON_CRASH_H

#include "common/compat.h"

/* `who` is copied; `action` (may be NULL) is read at the crash and must last as long as the process. */
void crash_install(const char *who, const char *action);

#endif
