/* SPDX-License-Identifier: MIT */
/*
 * What a worker cannot do even when somebody runs code in it: start programs and processes, look into others, mount,
 * load, become somebody else. For good, and for every thread that comes.
 */
#ifndef MASTER_SANDBOX_H
#define MASTER_SANDBOX_H

#include "common/conf.h"

/*
 * Takes from this process and its future threads what the list in sandbox.c names; what is called all the same fails
 * with EPERM or ends the process, as `mode` says. No new privileges are to be had by whatever happens. False with the
 * reason when the kernel cannot (some containers forbid filters): the process then runs without.
 */
bool sandbox_enter(enum conf_seccomp mode, struct error *err) MUST_CHECK;
/* Number of system calls that the list takes away (status, tests). */
size_t sandbox_size(void);

#endif
