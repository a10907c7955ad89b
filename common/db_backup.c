/* SPDX-License-Identifier: MIT */
/*
 * The store-independent half of backups: names, one at a time, sealing, verification before a name is given, the list
 * and the rule that keeps it short. Called by `aragorad backup`, `restore` and `cleanup`. What a copy is, the stores
 * say (db_backup_sqlite.c, db_backup_pg.c).
 */
#include "common/db_backup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/conf.h"
#include "common/db_backup_store.h"
#include "common/fault.h"
#include "common/ids.h"
#include "common/sealed_file.h"

#define BACKUP_PREFIX "aragora_"
#define BACKUP_SEALED ".enc"
#define BACKUP_PARTIAL ".partial"
#define DAY_MS INT64_C(86400000)

/* By storage.backend. */
static const struct backup_ops *const backup_stores[] = {&backup_sqlite_ops, &backup_pg_ops};

static const struct backup_ops *backup_ops_of(const struct conf *c, struct error *err)
{
	if (c->storage.backend >= 0 && (size_t)c->storage.backend < countof(backup_stores))
		return backup_stores[c->storage.backend];
	error_field(err, ERR_INVALID_VALUE, "storage.backend", "this build cannot back up such a store");
	return NULL;
}

bool backup_fail(const char *path, struct error *err)
{
	return error_set(err, ERR_STORAGE, "%.200s: %s", path, strerror(errno));
}

bool backup_sync(const char *path, struct error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool ok = fd >= 0 && fsync(fd) == 0;

	if (!ok)
		backup_fail(path, err);
	if (fd >= 0)
		close(fd);
	return ok;
}

bool backup_sync_parent(const char *path, struct error *err)
{
	const char *slash = strrchr(path, '/');
	struct buf dir = BUF_INIT;
	bool ok;

	if (slash == NULL)
		buf_addz(&dir, ".");
	else
		buf_add(&dir, (struct str){path, slash == path ? 1 : (size_t)(slash - path)});
	ok = backup_sync(dir.p, err);
	buf_free(&dir);
	return ok;
}

void backup_name(const struct conf *c, const char *prefix, const char *extension, struct buf *out)
{
	time_t now = (time_t)(clock_wall_ms() / 1000);
	char when[32], suffix[9];
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(when, sizeof(when), "%Y%m%d_%H%M%S", &tm);
	ids_hex(suffix, 4);
	buf_printf(out, "%s/backups/%s%s_%s%s", c->storage.data_dir, prefix, when, suffix, extension);
}

/* ---- one at a time ---- */

static int backup_lock(const struct conf *c, struct error *err)
{
	struct buf path = BUF_INIT;
	int fd;

	buf_printf(&path, "%s/backups", c->storage.data_dir);
	if (mkdir(path.p, 0700) != 0 && errno != EEXIST) {
		backup_fail(path.p, err);
		buf_free(&path);
		return -1;
	}
	buf_addz(&path, "/.lock");
	fd = open(path.p, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		backup_fail(path.p, err);
	} else if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		error_set(err, ERR_CONFLICT, "another backup or restore is at work in %.150s/backups",
			  c->storage.data_dir);
		close(fd);
		fd = -1;
	}
	buf_free(&path);
	return fd;
}

/* With the lock held, what is unfinished was left by a process that died. */
static void backup_sweep(const struct conf *c)
{
	struct buf dir = BUF_INIT, path = BUF_INIT;
	struct dirent *e;
	DIR *d;

	buf_printf(&dir, "%s/backups", c->storage.data_dir);
	d = opendir(dir.p);
	while (d != NULL && (e = readdir(d)) != NULL) {
		if (str_find(str_of(e->d_name), STR(BACKUP_PARTIAL)) < 0)
			continue;
		buf_clear(&path);
		buf_printf(&path, "%s/%s", dir.p, e->d_name);
		unlink(path.p);
	}
	if (d != NULL)
		closedir(d);
	buf_free(&dir);
	buf_free(&path);
}

/* ---- making ---- */

static bool backup_has_room(const char *path, int64_t need, int64_t reserve, struct error *err)
{
	const char *slash = strrchr(path, '/');
	struct buf dir = BUF_INIT;
	struct statvfs v;
	int64_t left;
	bool ok;

	buf_add(&dir, slash == NULL ? STR(".") : (struct str){path, (size_t)(slash - path) + 1});
	ok = statvfs(dir.p, &v) == 0;
	if (!ok)
		backup_fail(dir.p, err);
	else if (__builtin_mul_overflow((int64_t)v.f_bavail, (int64_t)v.f_frsize, &left))
		left = INT64_MAX;
	if (ok && left - need < reserve)
		ok = error_set(err, ERR_STORAGE,
			       "%.150s has %lld bytes free; the backup needs %lld and "
			       "storage.min_free_bytes keeps %lld",
			       dir.p, (long long)left, (long long)need, (long long)reserve);
	buf_free(&dir);
	return ok;
}

static int64_t backup_file_size(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? (int64_t)st.st_size : 0;
}

/* The plain copy is made and verified beside the database, where plain text lies anyway; only the result goes out. */
static bool backup_produce(const struct conf *c, const struct backup_ops *ops, const struct keyring *k,
			   const char *plain, const char *partial, struct backup *out, struct error *err)
{
	if (!backup_has_room(plain, ops->size(c), c->storage.min_free_bytes, err) || !ops->copy(c, plain, err))
		return false;
	FAULT("backup.copied");
	if (!ops->verify(c, plain, NULL, 0, out, err))
		return false;
	if (k != NULL) {
		unlink(partial);
		out->sealed = true;
		memcpy(out->key_id, keyring_active(k)->id, sizeof(out->key_id));
		if (!backup_has_room(partial, ops->size(c), 0, err) || !sealed_file_seal(k, plain, partial, err) ||
		    !sealed_file_open(k, partial, NULL, err))
			return false;
	}
	FAULT("backup.before_rename");
	return true;
}

static bool backup_publish(const char *from, const char *to, struct error *err)
{
	/* Never over something that is there: link fails where rename would replace. */
	if (link(from, to) != 0)
		return backup_fail(to, err);
	unlink(from);
	return backup_sync_parent(to, err);
}

static bool backup_run(const struct conf *c, const struct backup_ops *ops, const struct keyring *k, const char *path,
		       struct backup *out, struct error *err)
{
	struct buf plain = BUF_INIT, partial = BUF_INIT;
	bool ok;

	backup_name(c, ".", BACKUP_PARTIAL, &plain);
	buf_printf(&partial, "%s" BACKUP_PARTIAL, path);
	/* Unsealed and elsewhere: made there at once, as a rename does not cross file systems. */
	if (k == NULL) {
		buf_clear(&plain);
		buf_addz(&plain, partial.p);
		unlink(plain.p);
	}
	ok = backup_produce(c, ops, k, plain.p, partial.p, out, err) && backup_publish(partial.p, path, err);
	unlink(plain.p);
	unlink(partial.p);
	buf_free(&plain);
	buf_free(&partial);
	return ok;
}

bool backup_make(const struct conf *c, const struct keyring *k, const char *path, struct backup *out, struct error *err)
{
	const struct backup_ops *ops = backup_ops_of(c, err);
	int lock = ops != NULL ? backup_lock(c, err) : -1;
	struct buf name = BUF_INIT;
	bool ok;

	*out = (struct backup){.made_at = clock_wall_ms()};
	if (lock < 0)
		return false;
	backup_sweep(c);
	if (path != NULL)
		buf_addz(&name, path);
	else
		backup_name(c, BACKUP_PREFIX, ops->extension, &name);
	if (path == NULL && k != NULL)
		buf_addz(&name, BACKUP_SEALED);
	if (access(name.p, F_OK) == 0)
		ok = error_set(err, ERR_CONFLICT, "%.200s exists already", name.p);
	else if (name.n >= sizeof(out->path))
		ok = error_set(err, ERR_INVALID_VALUE, "the name is too long");
	else
		ok = backup_run(c, ops, k, name.p, out, err);
	snprintf(out->path, sizeof(out->path), "%s", name.p);
	out->bytes = backup_file_size(name.p);
	buf_free(&name);
	close(lock);
	return ok;
}

/* ---- verifying and restoring ---- */

/* A plain file to look at: the backup itself, or its opened copy, whose name is in *temporary then. */
static bool backup_unseal(const struct conf *c, const struct keyring *k, const char *path, struct backup *out,
			  struct buf *temporary, struct error *err)
{
	*out = (struct backup){.bytes = backup_file_size(path)};
	snprintf(out->path, sizeof(out->path), "%s", path);
	if (access(path, R_OK) != 0)
		return backup_fail(path, err);
	out->sealed = sealed_file_is(path, out->key_id);
	if (!out->sealed)
		return true;
	if (k == NULL)
		return error_set(err, ERR_NOT_FOUND,
				 "Key not found: %.150s was encrypted with key %s, and there is no key", path,
				 out->key_id);
	backup_name(c, ".", BACKUP_PARTIAL, temporary);
	return sealed_file_open(k, path, temporary->p, err);
}

bool backup_verify(const struct conf *c, const struct keyring *k, const char *path, const struct migration *m, size_t n,
		   struct backup *out, struct error *err)
{
	const struct backup_ops *ops = backup_ops_of(c, err);
	struct buf temporary = BUF_INIT;
	char key_id[KEYRING_ID_LEN + 1];
	/* Only a sealed one needs a file beside it, which a backup at work would sweep away. */
	bool sealed = sealed_file_is(path, key_id), ok;
	int lock = ops != NULL && sealed ? backup_lock(c, err) : -1;

	if (ops == NULL || (sealed && lock < 0))
		return false;
	ok = backup_unseal(c, k, path, out, &temporary, err) &&
	     ops->verify(c, temporary.n > 0 ? temporary.p : path, m, n, out, err);
	if (temporary.n > 0)
		unlink(temporary.p);
	buf_free(&temporary);
	if (lock >= 0)
		close(lock);
	return ok;
}

bool backup_restore(const struct conf *c, const struct keyring *k, const char *path, const struct migration *m,
		    size_t n, struct backup *out, struct buf *aside, struct error *err)
{
	const struct backup_ops *ops = backup_ops_of(c, err);
	int lock = ops != NULL ? backup_lock(c, err) : -1;
	struct buf temporary = BUF_INIT;
	bool ok;

	if (lock < 0)
		return false;
	backup_sweep(c);
	ok = backup_unseal(c, k, path, out, &temporary, err) &&
	     ops->verify(c, temporary.n > 0 ? temporary.p : path, m, n, out, err) &&
	     ops->restore(c, temporary.n > 0 ? temporary.p : path, aside, err);
	if (temporary.n > 0)
		unlink(temporary.p);
	buf_free(&temporary);
	close(lock);
	return ok;
}

/* ---- the list ---- */

/* The time in a name of ours: aragora_YYYYmmdd_HHMMSS_… */
static int64_t backup_time_of(const char *name)
{
	struct tm tm = {0};
	const char *end = strptime(name + strlen(BACKUP_PREFIX), "%Y%m%d_%H%M%S", &tm);

	return end != NULL && *end == '_' ? (int64_t)timegm(&tm) * 1000 : 0;
}

static bool backup_listed(struct str name)
{
	return str_starts(name, STR(BACKUP_PREFIX)) && str_find(name, STR(BACKUP_PARTIAL)) < 0;
}

static int backup_by_time(const void *a, const void *b)
{
	const struct backup *x = a, *y = b;

	return x->made_at != y->made_at ? (x->made_at < y->made_at ? 1 : -1) : strcmp(y->path, x->path);
}

bool backup_list(const struct conf *c, struct arena *a, struct backup_list *out, struct error *err)
{
	struct buf dir = BUF_INIT;
	struct backup *v = NULL;
	struct dirent *e;
	struct stat st;
	DIR *d;

	*out = (struct backup_list){NULL, 0};
	buf_printf(&dir, "%s/backups", c->storage.data_dir);
	d = opendir(dir.p);
	if (d == NULL && errno != ENOENT) {
		backup_fail(dir.p, err);
		buf_free(&dir);
		return false;
	}
	while (d != NULL && (e = readdir(d)) != NULL) {
		struct backup b = {0};

		if (!backup_listed(str_of(e->d_name)) ||
		    snprintf(b.path, sizeof(b.path), "%s/%s", dir.p, e->d_name) >= (int)sizeof(b.path) ||
		    stat(b.path, &st) != 0 || !S_ISREG(st.st_mode))
			continue;
		b.made_at = backup_time_of(e->d_name);
		if (b.made_at == 0)
			b.made_at = (int64_t)st.st_mtime * 1000;
		b.bytes = (int64_t)st.st_size;
		b.sealed = sealed_file_is(b.path, b.key_id);
		v = xrealloc(v, (out->n + 1) * sizeof(*v));
		v[out->n++] = b;
	}
	if (d != NULL)
		closedir(d);
	buf_free(&dir);
	out->v = arena_alloc(a, (out->n + 1) * sizeof(*v));
	if (v != NULL) {
		qsort(v, out->n, sizeof(*v), backup_by_time);
		memcpy(out->v, v, out->n * sizeof(*v));
	}
	free(v);
	return true;
}

bool backup_expendable(const struct backup_list *l, size_t index, int64_t now_ms, int64_t days, int64_t latest)
{
	return (int64_t)index >= latest && now_ms - l->v[index].made_at > days * DAY_MS;
}
