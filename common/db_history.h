/* SPDX-License-Identifier: MIT */
/*
 * Which migrations a store has seen, and the way back. Blocking, for subcommands and the start-up child.
 */
#ifndef COMMON_DB_HISTORY_H
#define COMMON_DB_HISTORY_H

#include "common/db_admin.h"

enum history_state {
	HISTORY_APPLIED,
	HISTORY_PENDING,
	HISTORY_CHANGED, /* applied with another content */
	HISTORY_UNKNOWN, /* of a newer program */
};

struct history_row {
	int64_t number;
	struct str name;
	enum history_state state;
	int64_t applied_at;         /* 0: not */
	const struct migration *of; /* NULL: HISTORY_UNKNOWN */
};

struct history {
	struct history_row *v; /* ascending */
	size_t n;
	size_t applied, pending, wrong; /* wrong: changed and unknown ones */
};

/* "applied", "pending", … */
const char *history_state_name(enum history_state s);
/* Compares the store with the program's migrations. A store without any tables has all of them pending. In the arena.
 */
bool history_read(struct dba *d, struct arena *a, const struct migration *m, size_t n, struct history *out,
		  struct error *err) MUST_CHECK;
/*
 * Undoes every applied migration above `to`, the newest first, each in a transaction of its own; *undone counts them.
 * Refuses (ERR_CONFLICT) when one of them is not what this program has under its number.
 */
bool history_undo(struct dba *d, const struct migration *m, size_t n, int64_t to, size_t *undone,
		  struct error *err) MUST_CHECK;
/*
 * For a start that does not migrate by itself: false (ERR_CONFLICT) when something is pending, with the command to run.
 */
bool history_demand(const struct conf *c, const struct migration *m, size_t n, struct error *err) MUST_CHECK;

#endif
