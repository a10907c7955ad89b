/* SPDX-License-Identifier: MIT */
/*
 * Loading one file: opens it with its compressed siblings, reads what is small, makes its validators. Runs on the slow
 * lane, on its own memory alone. Who asks and what is kept is files.c.
 */
#include "worker/web/files_load.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "worker/web/mime.h"

/*
 * A change within the grain of the file system's clock leaves time and size as they were: tags made from these are weak
 * until the file is so old (RFC 9110 8.8.1).
 */
#define LOAD_YOUNG_MS 2000

static const char *const load_suffixes[] = {[CODING_IDENTITY] = "", [CODING_GZIP] = ".gz", [CODING_BR] = ".br"};
_Static_assert(countof(load_suffixes) == CODING_MAX, "one suffix per coding");

/* The path relative to the root, with index and suffix. */
static char *load_path(const struct files_load *l, bool folder, const char *suffix)
{
	struct str path = str_sub(str_of(l->path), 1, SIZE_MAX);
	struct buf b = BUF_INIT;

	buf_add(&b, path.n > 0 ? path : STR("."));
	if (folder)
		buf_addc(&b, '/');
	if (folder)
		buf_addz(&b, l->index);
	buf_addz(&b, suffix);
	return b.p;
}

static int64_t load_nanoseconds(const struct timespec *t)
{
	return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

static void load_stamp(uint64_t stamp[5], const struct stat *st)
{
	stamp[0] = st->st_dev;
	stamp[1] = st->st_ino;
	stamp[2] = (uint64_t)st->st_size;
	stamp[3] = (uint64_t)load_nanoseconds(&st->st_mtim);
	stamp[4] = (uint64_t)load_nanoseconds(&st->st_ctim);
}

/* All of a small file; false: it could not be read, then it is not kept in memory. */
static bool load_content(struct files_form *form, size_t size)
{
	struct rbuf *data = rbuf_new(size);
	size_t n = 0;
	ssize_t r;

	if (data == NULL)
		return false;
	while (n < size && ((r = pread(form->fd, data->data + n, size - n, (off_t)n)) > 0 || (r < 0 && errno == EINTR)))
		n += r > 0 ? (size_t)r : 0;
	if (n < size) { /* it gets shorter just now; whoever asks next sees what has become of it */
		rbuf_unref(data);
		return false;
	}
	form->data = data;
	close(form->fd);
	form->fd = -1;
	return true;
}

static void load_tag(struct files_form *form, enum http_coding c, const struct stat *st, bool young)
{
	uint8_t sum[SHA256_LEN];
	char hex[33];

	/* Of the content where it is at hand: the same on every node. */
	if (form->data != NULL) {
		crypto_sha256((struct str){form->data->data, form->data->n}, sum);
		crypto_hex(hex, sum, 16);
		snprintf(form->etag, sizeof(form->etag), "\"%s\"", hex);
		return;
	}
	snprintf(form->etag, sizeof(form->etag), "%s\"%jx-%jx%s\"", young ? "W/" : "",
		 (uintmax_t)load_nanoseconds(&st->st_mtim), (uintmax_t)st->st_size, load_suffixes[c]);
}

/* Opens one form; 0 or an errno. */
static int load_open(struct files_load *l, int root, bool folder, enum http_coding c, struct stat *st)
{
	char *path = load_path(l, folder, load_suffixes[c]);
	int fd = files_open_beneath(root, path), error = errno;

	free(path);
	if (fd == -1)
		return error;
	if (fstat(fd, st) != 0) {
		error = errno;
		close(fd);
		return error;
	}
	l->file->forms[c].fd = fd;
	return 0;
}

static void load_drop(struct files_form *form)
{
	close(form->fd);
	form->fd = -1;
}

static void load_form(struct files_load *l, enum http_coding c, const struct stat *st)
{
	struct files_form *form = &l->file->forms[c];
	bool young = clock_wall_ms() - load_nanoseconds(&st->st_mtim) / 1000000 < LOAD_YOUNG_MS;

	form->size = (uint64_t)st->st_size;
	load_stamp(l->file->stamps[c], st);
	l->file->have |= 1u << c;
	if (l->known != NULL) /* only to be compared */
		return;
	if (form->size > l->keep || !load_content(form, (size_t)form->size))
		l->file->young |= young;
	load_tag(form, c, st, young);
}

/* Compressed forms count when they are smaller, and not older than the file they were made from. */
static void load_siblings(struct files_load *l, int root, const struct stat *plain)
{
	struct files_file *f = l->file;
	struct stat st = {0};
	unsigned c;

	for (c = CODING_IDENTITY + 1; c < CODING_MAX; c++) {
		if (load_open(l, root, f->folder, (enum http_coding)c, &st) != 0)
			continue;
		if (!S_ISREG(st.st_mode) || st.st_mtim.tv_sec < plain->st_mtim.tv_sec || st.st_size >= plain->st_size)
			load_drop(&f->forms[c]);
		else
			load_form(l, (enum http_coding)c, &st);
	}
}

static void load_describe(struct files_file *f, const char *path, const char *index, const struct stat *st)
{
	struct str name = str_of(f->folder ? index : path);

	f->type = mime_type(name);
	f->html =
	    str_starts(str_of(f->type), STR("text/html")) || str_starts(str_of(f->type), STR("application/xhtml"));
	f->hashed = !f->html && mime_hashed(name);
	f->modified = st->st_mtim.tv_sec;
	http_date_format(f->last_modified, f->modified);
}

static int load_all(struct files_load *l, int root)
{
	struct files_file *f = l->file;
	struct files_form *plain = &f->forms[CODING_IDENTITY];
	struct stat st = {0};
	int error = load_open(l, root, false, CODING_IDENTITY, &st);

	if (error == 0 && S_ISDIR(st.st_mode)) {
		f->folder = true;
		load_drop(plain);
		error = load_open(l, root, true, CODING_IDENTITY, &st);
	}
	if (error != 0)
		return error;
	if (!S_ISREG(st.st_mode))
		return ENOENT;
	load_describe(f, l->path, l->index, &st);
	load_form(l, CODING_IDENTITY, &st);
	f->nonce = f->html && plain->data != NULL &&
		   str_find((struct str){plain->data->data, plain->data->n}, STR(FILES_NONCE)) >= 0;
	if (l->precompressed)
		load_siblings(l, root, &st);
	return 0;
}

struct files_file *files_new(void)
{
	struct files_file *f = xcalloc(1, sizeof(*f));
	unsigned c;

	f->refs = 1;
	for (c = 0; c < CODING_MAX; c++)
		f->forms[c].fd = -1;
	return f;
}

void files_unref(struct files_file *f)
{
	unsigned c;

	if (f == NULL)
		return;
	BUG_ON(f->refs == 0);
	if (--f->refs > 0)
		return;
	for (c = 0; c < CODING_MAX; c++) {
		rbuf_unref(f->forms[c].data);
		if (f->forms[c].fd != -1)
			close(f->forms[c].fd);
	}
	free(f);
}

static void load_once(struct files_load *l, int root)
{
	l->file = files_new();
	l->error = load_all(l, root);
	if (l->error == 0)
		return;
	files_unref(l->file);
	l->file = NULL;
}

static bool load_unchanged(const struct files_file *now, const struct files_file *known)
{
	return now->have == known->have && now->folder == known->folder &&
	       memcmp(now->stamps, known->stamps, sizeof(now->stamps)) == 0;
}

void files_load(struct files_load *l)
{
	/* Anew each time: a release is often put in place by pointing a link at another folder. */
	int root = open(l->root, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (root == -1) { /* the root itself is gone: not the client's mistake */
		l->error = errno == ENOENT || errno == ENOTDIR ? ESTALE : errno;
		return;
	}
	load_once(l, root);
	if (l->file != NULL && l->known != NULL) {
		l->same = load_unchanged(l->file, l->known);
		l->known = NULL;
		files_unref(l->file);
		l->file = NULL;
		if (!l->same)
			load_once(l, root);
	}
	close(root);
}
