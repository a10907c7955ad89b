/* SPDX-License-Identifier: MIT */
/*
 * The newest notes of all processes of a node, in shared memory: short texts, the oldest overwritten first. Any thread
 * of any process may add; nobody waits for anybody. A note that is being written, or whose writer died in the middle of
 * it, is skipped by readers, and overwritten when its turn comes.
 */
#ifndef COMMON_RECENT_H
#define COMMON_RECENT_H

#include <stdatomic.h>

#include "common/compat.h"
#include "common/str.h"

#define RECENT_NOTES 256
#define RECENT_TEXT 1024 /* bytes of one, with its NUL */

struct recent_note {
	_Atomic uint64_t id; /* 0: nothing, or being written */
	_Atomic uint64_t words[RECENT_TEXT / 8];
};

struct recent {
	_Atomic uint64_t last; /* id of the newest; ids count from 1 */
	struct recent_note notes[RECENT_NOTES];
};

/* Adds a text; false: it is too long, and nothing was added. */
bool recent_add(struct recent *r, struct str text);
/* How many there have ever been. */
uint64_t recent_count(const struct recent *r);
/* The note of an id as text with a NUL; false: gone, or not whole. */
bool recent_get(const struct recent *r, uint64_t id, char out[RECENT_TEXT]);

#endif
