/* SPDX-License-Identifier: MIT */
/*
 * Named points at which the test build can be told to die or fail. In other builds they compile to nothing.
 *
 * The test build reads ARAGORA_FAULT="name=kill[@n],name2=fail[@n],…" at worker start: at the n-th passage (default 1)
 * of `name` in a process the process kills itself with SIGKILL, or FAULT_FAILS("name") is true once. With
 * ARAGORA_FAULT_ONCE=path a fault fires only if it can create that file, so that it happens once per node and not
 * again after the restart. With ARAGORA_FAULT_ARM=dir a process that passes `name` and can remove the file dir/name
 * dies: a test arms a running server at the moment of its choice. If the file is not empty, it stops itself (SIGSTOP)
 * instead, as a process does that hangs. If it is a folder, whoever passes dies as long as there is one of the files
 * "0" to "9" in it to be removed: deaths that follow each other faster than a test could arm them.
 */
#ifndef COMMON_FAULT_H
#define COMMON_FAULT_H

#include "common/compat.h"

#ifdef FAULT_POINTS
void fault_point(const char *name);
bool fault_fails(const char *name);
#define FAULT(name) fault_point(name)
#define FAULT_FAILS(name) fault_fails(name)
#else
#define FAULT(name) ((void)0)
#define FAULT_FAILS(name) false
#endif

#endif
