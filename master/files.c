/* SPDX-License-Identifier: MIT */
/*
 * The master's files: logs, the lock of the data folder, the pid file. Called at start, by reloads and by USR1.
 */
#include "master/files.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"

#define FILES_PATH 2048

/* ---- logs ---- */

/* "-" is the standard descriptor, "" nothing. */
static bool log_file_open(int *fd, const char *path, const struct privileges *p, int standard, const char *key,
			  struct error *err)
{
	if (path[0] == '\0') {
		*fd = -1;
		return true;
	}
	if (strcmp(path, "-") == 0) {
		*fd = standard;
		return true;
	}
	*fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
	if (*fd == -1)
		return error_field(err, ERR_UNAVAILABLE, key, "%s: cannot open %s: %s", key, path, strerror(errno));
	if (p->drop && fchown(*fd, p->uid, p->gid) == -1)
		log_warn("master", "a log file cannot be given to the workers", KV_S("path", path),
			 KV_S("error", strerror(errno)));
	return true;
}

static void log_file_close(int *fd)
{
	if (*fd > STDERR_FILENO)
		close(*fd);
	*fd = -1;
}

bool log_files_open(struct log_files *f, const struct conf *c, const struct privileges *p, struct error *err)
{
	*f = LOG_FILES_NONE;
	if (!log_file_open(&f->error, c->log.error, p, STDERR_FILENO, "log.error", err))
		return false;
	if (!log_file_open(&f->access, c->log.access, p, STDOUT_FILENO, "log.access", err)) {
		log_file_close(&f->error);
		return false;
	}
	return true;
}

void log_files_close(struct log_files *f)
{
	log_file_close(&f->error);
	log_file_close(&f->access);
}

/* ---- descriptors ---- */

static int files_compare_fd(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

/* Descriptors [from, to] go; the loop is for kernels before 5.9. */
static void files_close_range(unsigned from, unsigned to)
{
	unsigned last = to < 65536 ? to : 65536;

	if (from > to || close_range(from, to, 0) == 0)
		return;
	for (unsigned fd = from; fd <= last; fd++)
		close((int)fd);
}

void files_close_all_but(int *keep, size_t n)
{
	unsigned next = STDERR_FILENO + 1;

	qsort(keep, n, sizeof(keep[0]), files_compare_fd);
	for (size_t i = 0; i < n; i++) {
		if (keep[i] < (int)next)
			continue;
		files_close_range(next, (unsigned)keep[i] - 1);
		next = (unsigned)keep[i] + 1;
	}
	files_close_range(next, ~0U);
}

/* ---- data folder ---- */

/* As mkdir -p: folders above it as the umask says, the last one for its owner only, who is the workers' user. */
static bool data_dir_make(const char *path, const struct privileges *p)
{
	char part[FILES_PATH];
	int n = snprintf(part, sizeof(part), "%s", path);

	if (n < 0 || (size_t)n + 64 >= sizeof(part)) { /* room for the names inside it */
		errno = ENAMETOOLONG;
		return false;
	}
	for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(part, 0755) == -1 && errno != EEXIST)
			return false;
		*slash = '/';
	}
	if (mkdir(part, 0700) == -1)
		return errno == EEXIST;
	return !p->drop || lchown(part, p->uid, p->gid) == 0;
}

/* The pid that another master has left in its lock file; 0 if it has not signed yet. */
static int64_t lock_owner(int fd)
{
	char text[24];
	ssize_t n = pread(fd, text, sizeof(text), 0);
	int64_t pid = 0;

	if (n <= 0 || !str_to_i64(str_trim((struct str){text, (size_t)n}), 1, INT32_MAX, &pid))
		return 0;
	return pid;
}

void data_dir_lock_path(const struct conf *c, struct buf *out)
{
	buf_printf(out, "%s/lock", c->storage.data_dir);
}

int data_dir_lock(const struct conf *c, const struct privileges *p, struct error *err)
{
	const char *dir = c->storage.data_dir;
	char path[FILES_PATH];
	int fd, saved;

	if (!data_dir_make(dir, p)) {
		error_field(err, ERR_STORAGE, "storage.data_dir", "data folder %s: %s", dir, strerror(errno));
		return -1;
	}
	snprintf(path, sizeof(path), "%s/lock", dir);
	privileges_enter(p);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	saved = errno;
	privileges_leave(p);
	if (fd == -1) {
		error_field(err, ERR_STORAGE, "storage.data_dir", "data folder %s: cannot open lock: %s", dir,
			    strerror(saved));
		return -1;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) == -1) {
		error_field(err, ERR_CONFLICT, "storage.data_dir", "another aragorad (pid %lld) uses %s",
			    (long long)lock_owner(fd), dir);
		close(fd);
		return -1;
	}
	return fd;
}

void data_dir_lock_sign(int fd)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "%d\n", (int)getpid());

	/* At the start, wherever a former master that shares the descriptor has left its position. */
	if (ftruncate(fd, 0) == -1 || pwrite(fd, text, (size_t)n, 0) != n)
		log_warn("master", "cannot sign the lock of the data folder", KV_S("error", strerror(errno)));
}

/* ---- pid file ---- */

int64_t pidfile_read(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int64_t pid = 0;

	if (fd != -1) {
		pid = lock_owner(fd);
		close(fd);
	}
	return pid;
}

bool pidfile_write(const char *path, struct error *err)
{
	int64_t owner = pidfile_read(path);
	char temporary[FILES_PATH];
	int fd, saved;

	if (owner != 0 && owner != getpid() && (kill((pid_t)owner, 0) == 0 || errno == EPERM))
		return error_field(err, ERR_CONFLICT, "server.pidfile", "pid file %s names process %lld, which runs",
				   path, (long long)owner);
	/* Written elsewhere and renamed: a reader never sees half a number. */
	snprintf(temporary, sizeof(temporary), "%s.%d", path, (int)getpid());
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd == -1)
		goto failed;
	if (dprintf(fd, "%d\n", (int)getpid()) < 0 || rename(temporary, path) == -1) {
		saved = errno;
		close(fd);
		unlink(temporary);
		errno = saved;
		goto failed;
	}
	close(fd);
	return true;
failed:
	return error_field(err, ERR_UNAVAILABLE, "server.pidfile", "cannot write pid file %s: %s", path,
			   strerror(errno));
}

void pidfile_promote(char **path, const char *final)
{
	if (strcmp(*path, final) == 0)
		return;
	if (rename(*path, final) == -1) {
		log_error("master", "cannot rename the pid file", KV_S("from", *path), KV_S("to", final),
			  KV_S("error", strerror(errno)));
		return;
	}
	free(*path);
	*path = xstrdup(final);
}

void pidfile_remove(const char *path)
{
	if (pidfile_read(path) == getpid())
		unlink(path);
}
