/* SPDX-License-Identifier: MIT */
/*
 * What gathers in the data folder beside the database and may go after a time: the categories of the runbook. First a
 * plan, which can be shown; then the plan is carried out. Blocking, for `aragorad cleanup`.
 */
#ifndef COMMON_CLEANUP_H
#define COMMON_CLEANUP_H

#include "common/conf.h"

enum cleanup_category {
	CLEANUP_BACKUPS,
	CLEANUP_REPLACED, /* databases that a restore has set aside */
	CLEANUP_SESSIONS,
	CLEANUP_CHECKPOINTS,
	CLEANUP_ARTIFACTS,
	CLEANUP_TRACES,
	CLEANUP_LOGS_LEFT, /* SQLite logs whose database is gone */
	CLEANUP_CATEGORIES
};

struct cleanup_rules {
	int64_t days[CLEANUP_CATEGORIES];
	int64_t backups_kept; /* the newest, however old */
};

/* Of the runbook: 7 days (5 newest), 3 days, 7 days, 7 days, traces 90 days, at once. */
struct cleanup_rules cleanup_defaults(void);
const char *cleanup_name(enum cleanup_category c);
/* "7 days", "at once" … for people. */
void cleanup_keep(const struct cleanup_rules *r, enum cleanup_category c, struct buf *out);

struct cleanup_item {
	char *path;
	enum cleanup_category category;
	bool folder, goes;
	int64_t bytes, made_at; /* ms */
};

struct cleanup_plan {
	struct cleanup_item *v;
	size_t n;
};

/*
 * Looks at data_dir. `in_use`: names (ids of debates that run or wait) whose files stay whatever their age; NULL ends
 * the list. Never names a database file, a key, or what does not lie in the folder of its category. Links are left
 * alone.
 */
bool cleanup_look(const struct conf *c, const struct cleanup_rules *r, const char *const *in_use, int64_t now_ms,
		  struct cleanup_plan *out, struct error *err) MUST_CHECK;
void cleanup_free(struct cleanup_plan *p);
/*
 * Archives the item to the folder `archive` (NULL: not), as <name>_<time>.gz or .tar.gz, synced; then removes it. An
 * item that is gone already is fine.
 */
bool cleanup_act(const struct cleanup_item *i, const char *archive, int64_t now_ms, struct error *err) MUST_CHECK;

#endif
