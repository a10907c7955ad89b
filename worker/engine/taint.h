/* SPDX-License-Identifier: MIT */
/*
 * Does foreign text speak to the model instead of about the matter? Words and phrases of five kinds of prompt
 * injection, so that such text is marked where models read it and where people check. It tells what is said, not
 * whether it is meant: a text about security may be marked too, which is why nothing is ever refused for it.
 */
#ifndef WORKER_ENGINE_TAINT_H
#define WORKER_ENGINE_TAINT_H

#include <jansson.h>

#include "common/str.h"

/* The classes of debate.md section 4, "Common"; bits of taint_scan() in this order. */
enum taint {
	TAINT_OVERRIDE,     /* sets instructions aside */
	TAINT_EXFILTRATION, /* asks for secrets */
	TAINT_CONTROL,      /* takes commands from elsewhere */
	TAINT_SHELL,        /* has something executed */
	TAINT_GUARD,        /* switches guard rails off */
	TAINT_MAX
};

/* Bits (1u << class) of what is found. Pure; O(n) time, and memory for one normalised copy. */
unsigned taint_scan(struct str text);
/*
 * Adds one to counts[name] for each class found in the text; returns the bits. Names: "override", "exfiltration",
 * "command_and_control", "shell", "guard_rails".
 */
unsigned taint_count(json_t *counts, struct str text);
/* Adds the counts of `from` (may be NULL) to those of `to`. */
void taint_add(json_t *to, const json_t *from);

#endif
