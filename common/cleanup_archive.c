/* SPDX-License-Identifier: MIT */
/*
 * Archives of a cleanup: gzip by zlib, folders by tar(1). Called before something is removed for good.
 */
#include "common/cleanup_archive.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "common/ids.h"

#define ARCHIVE_PIECE 65536

extern char **environ;

static bool archive_fail(const char *path, struct error *err)
{
	return error_set(err, ERR_STORAGE, "archive %.200s: %s", path, strerror(errno));
}

/* <folder>/<name>_<time><extension>, and the same with ".partial" behind. */
static bool archive_names(const char *folder, const char *name, int64_t now_ms, const char *extension, bool replace,
			  struct buf *final, struct buf *partial, struct error *err)
{
	time_t now = (time_t)(now_ms / 1000);
	struct tm tm;
	char when[32], suffix[9];

	if (mkdir(folder, 0700) != 0 && errno != EEXIST)
		return archive_fail(folder, err);
	gmtime_r(&now, &tm);
	strftime(when, sizeof(when), "%Y%m%d_%H%M%S", &tm);
	buf_printf(final, "%s/%s_%s%s", folder, name, when, extension);
	for (unsigned i = 1; !replace && access(final->p, F_OK) == 0; i++) {
		buf_clear(final);
		buf_printf(final, "%s/%s_%s_%u%s", folder, name, when, i, extension);
	}
	/* Of its own, as another process may be writing the same. */
	ids_hex(suffix, 4);
	buf_printf(partial, "%s.%s.partial", final->p, suffix);
	return true;
}

static bool archive_publish(const char *partial, const char *final, const char *folder, struct error *err)
{
	int fd = open(partial, O_RDONLY | O_CLOEXEC), dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool ok = fd >= 0 && dir >= 0 && fsync(fd) == 0 && rename(partial, final) == 0 && fsync(dir) == 0;

	if (!ok)
		archive_fail(final, err);
	if (fd >= 0)
		close(fd);
	if (dir >= 0)
		close(dir);
	return ok;
}

static gzFile archive_open(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	gzFile gz = fd >= 0 ? gzdopen(fd, "wb") : NULL;

	if (gz == NULL && fd >= 0)
		close(fd);
	return gz;
}

static bool archive_compress(const char *path, const char *partial, struct error *err)
{
	int in = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	gzFile out = in >= 0 ? archive_open(partial) : NULL;
	char *piece = xmalloc(ARCHIVE_PIECE);
	bool ok = out != NULL;
	ssize_t n = 1;

	while (ok && (n = read(in, piece, ARCHIVE_PIECE)) > 0)
		ok = gzwrite(out, piece, (unsigned)n) == (int)n;
	ok = ok && n == 0;
	if (out != NULL)
		ok = gzclose(out) == Z_OK && ok;
	if (!ok)
		archive_fail(path, err);
	if (in >= 0)
		close(in);
	free(piece);
	return ok;
}

static bool archive_tar(const char *path, const char *partial, struct error *err)
{
	static char program[] = "tar", into[] = "-C", create[] = "-czf", end[] = "--";
	const char *slash = strrchr(path, '/');
	char *parent = slash != NULL ? xstrndup(path, (size_t)(slash - path)) : xstrdup(".");
	char *target = xstrdup(partial), *name = xstrdup(slash != NULL ? slash + 1 : path);
	/* The name of the archive is relative to where we stand: -C counts for what follows it. */
	char *words[] = {program, create, target, into, parent, end, name, NULL};
	int status = 0, rc;
	pid_t pid;

	rc = posix_spawnp(&pid, program, NULL, NULL, words, environ);
	if (rc == 0) {
		while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
			continue;
	}
	free(parent);
	free(target);
	free(name);
	if (rc != 0)
		return error_set(err, ERR_STORAGE, "tar cannot be run: %s", strerror(rc));
	return (WIFEXITED(status) && WEXITSTATUS(status) == 0) ||
	       error_set(err, ERR_STORAGE, "tar failed on %.200s (status %d)", path, status);
}

bool archive_path(const char *path, bool is_folder, const char *folder, int64_t now_ms, struct error *err)
{
	const char *slash = strrchr(path, '/');
	struct buf final = BUF_INIT, partial = BUF_INIT;
	bool ok;

	ok = archive_names(folder, slash != NULL ? slash + 1 : path, now_ms, is_folder ? ".tar.gz" : ".gz", false,
			   &final, &partial, err) &&
	     (is_folder ? archive_tar : archive_compress)(path, partial.p, err) &&
	     archive_publish(partial.p, final.p, folder, err);
	if (!ok && partial.n > 0)
		unlink(partial.p);
	buf_free(&final);
	buf_free(&partial);
	return ok;
}

/* ---- lines ---- */

struct archive_lines {
	char *folder;
	struct buf final, partial;
	gzFile out;
	bool any;
};

static void archive_lines_free(struct archive_lines *l)
{
	free(l->folder);
	buf_free(&l->final);
	buf_free(&l->partial);
	free(l);
}

struct archive_lines *archive_lines_open(const char *folder, const char *name, int64_t now_ms, bool replace,
					 struct error *err)
{
	struct archive_lines *l = xcalloc(1, sizeof(*l));

	l->folder = xstrdup(folder);
	if (archive_names(folder, name, now_ms, ".jsonl.gz", replace, &l->final, &l->partial, err)) {
		l->out = archive_open(l->partial.p);
		if (l->out != NULL)
			return l;
		archive_fail(l->partial.p, err);
	}
	archive_lines_free(l);
	return NULL;
}

bool archive_line(struct archive_lines *l, struct str line, struct error *err)
{
	l->any = true;
	return (gzwrite(l->out, line.p, (unsigned)line.n) == (int)line.n && gzputc(l->out, '\n') == '\n') ||
	       archive_fail(l->partial.p, err);
}

bool archive_lines_close(struct archive_lines *l, bool keep, struct error *err)
{
	bool ok = gzclose(l->out) == Z_OK || archive_fail(l->partial.p, err);

	if (ok && keep && l->any)
		ok = archive_publish(l->partial.p, l->final.p, l->folder, err);
	else
		unlink(l->partial.p);
	archive_lines_free(l);
	return ok;
}
