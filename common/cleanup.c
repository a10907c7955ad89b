/* SPDX-License-Identifier: MIT */
/*
 * The plan of a cleanup: which files of the data folder are older than their category keeps them. Called by
 * `aragorad cleanup`. Rows of the database are worker/retention.c's, archives cleanup_archive.c's.
 */
#include "common/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/arena.h"
#include "common/cleanup_archive.h"
#include "common/db_backup.h"

#define DAY_MS INT64_C(86400000)
#define CLEANUP_DEPTH 32 /* of a folder whose size is counted or that is removed */
#define CLEANUP_TEST_DAYS 1

static const struct cleanup_row {
	const char *name;
	const char *folder; /* in data_dir; NULL: storage.traces */
	const char *prefix; /* NULL: everything in the folder */
	int64_t days;
} cleanup_table[] = {
    [CLEANUP_BACKUPS] = {"backups", "backups", "aragora_", BACKUP_KEEP_DAYS},
    [CLEANUP_REPLACED] = {"set aside by restore", "backups", "replaced_", BACKUP_KEEP_DAYS},
    [CLEANUP_SESSIONS] = {"sessions", "sessions", NULL, 3},
    [CLEANUP_CHECKPOINTS] = {"checkpoints", "checkpoints", NULL, 7},
    [CLEANUP_ARTIFACTS] = {"artifacts", "root-artifacts", NULL, 7},
    [CLEANUP_TRACES] = {"traces of debates", NULL, NULL, 90},
    [CLEANUP_LOGS_LEFT] = {"logs without database", "", NULL, 0},
};
_Static_assert(countof(cleanup_table) == CLEANUP_CATEGORIES, "one row per category");

struct cleanup_rules cleanup_defaults(void)
{
	struct cleanup_rules r = {.backups_kept = BACKUP_KEEP_LATEST};

	for (size_t i = 0; i < CLEANUP_CATEGORIES; i++)
		r.days[i] = cleanup_table[i].days;
	return r;
}

const char *cleanup_name(enum cleanup_category c)
{
	return cleanup_table[c].name;
}

void cleanup_keep(const struct cleanup_rules *r, enum cleanup_category c, struct buf *out)
{
	if (c == CLEANUP_LOGS_LEFT)
		buf_addz(out, "none");
	else
		buf_printf(out, "%lld days", (long long)r->days[c]);
	if (c == CLEANUP_BACKUPS)
		buf_printf(out, ", %lld newest", (long long)r->backups_kept);
	if (c == CLEANUP_SESSIONS)
		buf_printf(out, ", test_* %d", CLEANUP_TEST_DAYS);
}

/* ---- looking ---- */

static void cleanup_add(struct cleanup_plan *p, struct cleanup_item item)
{
	p->v = xrealloc(p->v, (p->n + 1) * sizeof(*p->v));
	p->v[p->n++] = item;
}

void cleanup_free(struct cleanup_plan *p)
{
	for (size_t i = 0; i < p->n; i++)
		free(p->v[i].path);
	free(p->v);
	*p = (struct cleanup_plan){NULL, 0};
}

/* Bytes below a path, links not followed. */
static int64_t cleanup_bytes(const char *path, unsigned depth)
{
	struct buf below = BUF_INIT;
	int64_t bytes = 0;
	struct dirent *e;
	struct stat st;
	DIR *d;

	if (lstat(path, &st) != 0)
		return 0;
	if (!S_ISDIR(st.st_mode))
		return (int64_t)st.st_size;
	d = depth < CLEANUP_DEPTH ? opendir(path) : NULL;
	while (d != NULL && (e = readdir(d)) != NULL) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		buf_clear(&below);
		buf_printf(&below, "%s/%s", path, e->d_name);
		bytes += cleanup_bytes(below.p, depth + 1);
	}
	if (d != NULL)
		closedir(d);
	buf_free(&below);
	return bytes;
}

static bool cleanup_used(const char *name, const char *const *in_use)
{
	for (; in_use != NULL && *in_use != NULL; in_use++) {
		if (strstr(name, *in_use) != NULL)
			return true;
	}
	return false;
}

/* SQLite's log of a database that is not there any more. */
static bool cleanup_log_left(const char *dir, struct str name)
{
	static const struct str suffixes[] = {{"-wal", 4}, {"-shm", 4}};
	struct buf path = BUF_INIT;
	bool left = false;

	for (size_t i = 0; i < countof(suffixes) && !left; i++) {
		struct str base = str_sub(name, 0, name.n > suffixes[i].n ? name.n - suffixes[i].n : 0);

		if (!str_ends(name, suffixes[i]) || !str_ends(base, STR(".db")))
			continue;
		buf_clear(&path);
		buf_printf(&path, "%s/%.*s", dir, STR_ARG(base));
		left = access(path.p, F_OK) != 0 && errno == ENOENT;
	}
	buf_free(&path);
	return left;
}

/* Does it belong to the category at all? */
static bool cleanup_belongs(enum cleanup_category c, const char *dir, const char *name, const struct stat *st)
{
	const struct cleanup_row *row = &cleanup_table[c];
	struct str s = str_of(name);

	if (name[0] == '.' || (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode)))
		return false;
	if (c == CLEANUP_LOGS_LEFT)
		return S_ISREG(st->st_mode) && cleanup_log_left(dir, s);
	/* Backups are databases; a database anywhere else is somebody's. */
	if (c != CLEANUP_BACKUPS && c != CLEANUP_REPLACED && str_ends(s, STR(".db")))
		return false;
	return row->prefix == NULL || (str_starts(s, str_of(row->prefix)) && str_find(s, STR(".partial")) < 0);
}

static int64_t cleanup_days(const struct cleanup_rules *r, enum cleanup_category c, struct str name)
{
	if (c == CLEANUP_SESSIONS && str_starts(name, STR("test_")) && r->days[c] > CLEANUP_TEST_DAYS)
		return CLEANUP_TEST_DAYS;
	return r->days[c];
}

static bool cleanup_goes(const struct cleanup_rules *r, enum cleanup_category c, const char *name, int64_t age_ms,
			 const char *const *in_use)
{
	if (c == CLEANUP_LOGS_LEFT)
		return true;
	if (c == CLEANUP_SESSIONS && str_starts(str_of(name), STR("default_telemetry")))
		return false;
	return age_ms > cleanup_days(r, c, str_of(name)) * DAY_MS && !cleanup_used(name, in_use);
}

static void cleanup_folder_name(const struct conf *c, enum cleanup_category category, struct buf *out)
{
	const char *folder = cleanup_table[category].folder;

	if (folder == NULL)
		folder = c->storage.traces[0] != '\0' ? c->storage.traces : "traces";
	if (folder[0] != '/')
		buf_printf(out, "%s%s", c->storage.data_dir, folder[0] != '\0' ? "/" : "");
	buf_addz(out, folder);
}

/* Everything of one category but the backups, which have a list and a rule of their own. */
static bool cleanup_folder(const struct conf *c, const struct cleanup_rules *r, enum cleanup_category category,
			   const char *const *in_use, int64_t now_ms, struct cleanup_plan *out, struct error *err)
{
	struct buf dir = BUF_INIT, path = BUF_INIT;
	struct dirent *e;
	struct stat st;
	bool ok;
	DIR *d;

	cleanup_folder_name(c, category, &dir);
	d = opendir(dir.p);
	ok = d != NULL || errno == ENOENT || error_set(err, ERR_STORAGE, "%.150s: %s", dir.p, strerror(errno));
	while (d != NULL && (e = readdir(d)) != NULL) {
		buf_clear(&path);
		buf_printf(&path, "%s/%s", dir.p, e->d_name);
		if (lstat(path.p, &st) != 0 || !cleanup_belongs(category, dir.p, e->d_name, &st))
			continue;
		cleanup_add(
		    out, (struct cleanup_item){
			     .path = xstrdup(path.p),
			     .category = category,
			     .folder = S_ISDIR(st.st_mode),
			     .goes = cleanup_goes(r, category, e->d_name, now_ms - (int64_t)st.st_mtime * 1000, in_use),
			     .bytes = cleanup_bytes(path.p, 0),
			     .made_at = (int64_t)st.st_mtime * 1000,
			 });
	}
	if (d != NULL)
		closedir(d);
	buf_free(&dir);
	buf_free(&path);
	return ok;
}

static bool cleanup_backups(const struct conf *c, const struct cleanup_rules *r, int64_t now_ms,
			    struct cleanup_plan *out, struct error *err)
{
	struct arena *a = arena_new(0);
	struct backup_list list;
	bool ok = backup_list(c, a, &list, err);

	for (size_t i = 0; ok && i < list.n; i++)
		cleanup_add(out,
			    (struct cleanup_item){
				.path = xstrdup(list.v[i].path),
				.category = CLEANUP_BACKUPS,
				.goes = backup_expendable(&list, i, now_ms, r->days[CLEANUP_BACKUPS], r->backups_kept),
				.bytes = list.v[i].bytes,
				.made_at = list.v[i].made_at,
			    });
	arena_free(a);
	return ok;
}

bool cleanup_look(const struct conf *c, const struct cleanup_rules *r, const char *const *in_use, int64_t now_ms,
		  struct cleanup_plan *out, struct error *err)
{
	bool ok = true;

	*out = (struct cleanup_plan){NULL, 0};
	for (int i = 0; ok && i < CLEANUP_CATEGORIES; i++)
		ok = i == CLEANUP_BACKUPS ? cleanup_backups(c, r, now_ms, out, err)
					  : cleanup_folder(c, r, (enum cleanup_category)i, in_use, now_ms, out, err);
	if (!ok)
		cleanup_free(out);
	return ok;
}

/* ---- acting ---- */

static bool cleanup_remove(int parent, const char *name, unsigned depth, struct error *err)
{
	struct dirent *e;
	bool ok = true;
	int fd;
	DIR *d;

	if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
		return true;
	if ((errno != EISDIR && errno != EPERM) || depth == CLEANUP_DEPTH)
		return error_set(err, ERR_STORAGE, "%.150s: %s", name, strerror(errno));
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	d = fd >= 0 ? fdopendir(fd) : NULL;
	if (d == NULL)
		return error_set(err, ERR_STORAGE, "%.150s: %s", name, strerror(errno));
	while (ok && (e = readdir(d)) != NULL) {
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			ok = cleanup_remove(dirfd(d), e->d_name, depth + 1, err);
	}
	closedir(d);
	if (ok && unlinkat(parent, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
		ok = error_set(err, ERR_STORAGE, "%.150s: %s", name, strerror(errno));
	return ok;
}

bool cleanup_act(const struct cleanup_item *i, const char *archive, int64_t now_ms, struct error *err)
{
	if (archive != NULL && access(i->path, F_OK) == 0 && !archive_path(i->path, i->folder, archive, now_ms, err))
		return false;
	return cleanup_remove(AT_FDCWD, i->path, 0, err);
}
