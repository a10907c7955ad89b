/* SPDX-License-Identifier: MIT */
/*
 * A debate in the terminal, as it happens. Several agents write at once; a reader follows one at a time: what arrives
 * is kept in blocks, the first block is printed as it grows, the next when it is complete.
 */
#ifndef MASTER_COMMANDS_ASK_VIEW_H
#define MASTER_COMMANDS_ASK_VIEW_H

#include <jansson.h>
#include <stdio.h>

#include "common/str.h"

struct ask_view;

/* Colours and live text only on a terminal; NO_COLOR (no-color.org) is respected. */
struct ask_view *ask_view_new(FILE *out);
void ask_view_free(struct ask_view *v);
/* One event envelope of the stream. */
void ask_view_event(struct ask_view *v, const json_t *event);
/* Prints what is left. */
void ask_view_flush(struct ask_view *v);
/* The decision: full debate object, receipt verification (may be NULL). */
void ask_view_result(struct ask_view *v, const json_t *debate, const json_t *receipt, const json_t *check);

#endif
