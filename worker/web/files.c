/* SPDX-License-Identifier: MIT */
/*
 * The cache of open files of one worker: who asks for a path gets what was found less than a second ago, or waits with
 * others for one look on the slow lane. Called by the static handler on the loop. It neither opens nor reads itself.
 */
#include "worker/web/files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/conf.h"
#include "common/lane.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/metrics.h"
#include "worker/web/files_load.h"

#define FILES_FRESH (1 * SEC_US)
#define FILES_KEEP 65536 /* largest file that is kept in memory */
#define FILES_BUCKETS_MAX (1u << 16)

struct files_waiter {
	struct files_waiter *next;
	void (*fn)(void *arg, struct files_file *file, int error);
	void *arg;
};

struct files_entry {
	char *path;
	struct files_entry *chain;         /* in the same bucket */
	struct files_entry *newer, *older; /* ring by last use */
	struct files_file *file;           /* NULL before the first load */
	int64_t seen;                      /* when it was loaded or found unchanged */
	bool loading;
	struct files_waiter *waiters;
};

struct files {
	struct loop *loop;
	struct lane *lane;
	const struct conf *conf;
	struct files_entry **buckets;
	size_t bucket_count; /* a power of two */
	struct files_entry ring;
	size_t count;
	uint64_t bytes; /* of content in memory */
};

struct files_job {
	struct files *files;
	struct files_entry *entry;
	struct files_load load;
	bool worked;
};

/* ---- entries ---- */

static struct files_entry **files_slot(struct files *f, struct str path)
{
	uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a */
	struct files_entry **at;
	size_t i;

	for (i = 0; i < path.n; i++)
		h = (h ^ (unsigned char)path.p[i]) * UINT64_C(1099511628211);
	at = &f->buckets[(h ^ h >> 32) & (f->bucket_count - 1)];
	while (*at != NULL && !str_eqz(path, (*at)->path))
		at = &(*at)->chain;
	return at;
}

static void files_ring_out(struct files_entry *e)
{
	e->newer->older = e->older;
	e->older->newer = e->newer;
}

static void files_ring_in(struct files *f, struct files_entry *e)
{
	e->newer = &f->ring;
	e->older = f->ring.older;
	f->ring.older->newer = e;
	f->ring.older = e;
}

static uint64_t files_weight(const struct files_file *file)
{
	uint64_t n = 0;
	unsigned c;

	for (c = 0; file != NULL && c < CODING_MAX; c++)
		n += file->forms[c].data != NULL ? file->forms[c].size : 0;
	return n;
}

static void files_set(struct files *f, struct files_entry *e, struct files_file *file)
{
	f->bytes -= files_weight(e->file);
	files_unref(e->file);
	e->file = file;
	f->bytes += files_weight(file);
}

static void files_forget(struct files *f, struct files_entry *e)
{
	*files_slot(f, str_of(e->path)) = e->chain;
	files_ring_out(e);
	files_set(f, e, NULL);
	f->count--;
	free(e->path);
	free(e);
}

/* Keeps within the limits; entries that somebody waits for stay. */
static void files_shrink(struct files *f)
{
	struct files_entry *e, *newer;

	for (e = f->ring.newer; e != &f->ring; e = newer) {
		newer = e->newer;
		if (f->count <= (size_t)f->conf->site.cache_files && f->bytes <= (uint64_t)f->conf->site.cache_bytes)
			return;
		if (!e->loading)
			files_forget(f, e);
	}
}

static struct files_entry *files_entry(struct files *f, struct str path)
{
	struct files_entry **at = files_slot(f, path), *e = *at;

	if (e != NULL) {
		files_ring_out(e);
		files_ring_in(f, e);
		return e;
	}
	e = xcalloc(1, sizeof(*e));
	e->path = str_dupz(path);
	*at = e;
	files_ring_in(f, e);
	f->count++;
	return e;
}

/* ---- loading ---- */

/* What is not there and what must not be seen look the same from outside; the operator is told the difference. */
static int files_explain(const struct files_entry *e, int error)
{
	switch (error) {
	case 0:
	case ENOENT:
	case ENOTDIR:
	case ENAMETOOLONG:
	case EAGAIN:
		return error == 0 || error == EAGAIN ? error : ENOENT;
	case ELOOP:
	case EXDEV: /* a link that leads out */
	case EACCES:
	case ENXIO:
		log_warn("static", "a file is not served", KV_S("path", e->path), KV_S("reason", strerror(error)));
		return ENOENT;
	default:
		log_error("static", "a file cannot be read", KV_S("path", e->path), KV_S("reason", strerror(error)));
		return error;
	}
}

static void files_job_work(void *arg)
{
	struct files_job *j = arg;

	j->worked = true;
	files_load(&j->load);
}

/* Tells all who wait; they may ask for other files, or for this one again. */
static void files_tell(struct files_waiter *w, struct files_file *file, int error)
{
	struct files_waiter *next;

	for (; w != NULL; w = next) {
		next = w->next;
		w->fn(w->arg, file, error);
		free(w);
	}
}

static void files_job_done(void *arg)
{
	struct files_job *j = arg;
	struct files *f = j->files;
	struct files_entry *e = j->entry;
	struct files_waiter *waiters = e->waiters;
	struct files_file *file;
	int error = files_explain(e, j->worked ? j->load.error : EAGAIN);

	e->loading = false;
	e->waiters = NULL;
	e->seen = loop_now(f->loop);
	if (error != 0 || !j->load.same)
		files_set(f, e, error == 0 ? j->load.file : NULL);
	metric_add(M_STATIC_LOOKUPS, 1, error == 0 ? "loaded" : error == ENOENT ? "missing" : "failed", NULL);
	file = e->file;
	if (file != NULL)
		file->refs++;
	else
		files_forget(f, e);
	files_shrink(f);
	files_tell(waiters, file, error);
	files_unref(file);
	free(j);
}

static bool files_begin(struct files *f, struct files_entry *e)
{
	struct files_job *j = xcalloc(1, sizeof(*j));
	size_t keep = (size_t)f->conf->site.cache_bytes;

	/* The lane reads the known file while e->loading keeps it. */
	*j = (struct files_job){.files = f,
				.entry = e,
				.load = {.root = f->conf->site.root,
					 .index = f->conf->site.index,
					 .path = e->path,
					 .precompressed = f->conf->site.precompressed != 0,
					 .keep = keep < FILES_KEEP ? keep : FILES_KEEP,
					 .known = e->file != NULL && !e->file->young ? e->file : NULL}};
	e->loading = lane_submit(f->lane, files_job_work, files_job_done, j);
	if (!e->loading)
		free(j);
	return e->loading;
}

bool files_get(struct files *f, struct str path, void (*fn)(void *arg, struct files_file *file, int error), void *arg)
{
	struct files_entry *e = files_entry(f, path);
	struct files_waiter *w;

	if (e->file != NULL && !e->loading && loop_now(f->loop) - e->seen < FILES_FRESH) {
		metric_add(M_STATIC_LOOKUPS, 1, "hit", NULL);
		fn(arg, e->file, 0);
		return true;
	}
	if (!e->loading && !files_begin(f, e)) {
		files_forget(f, e);
		fn(arg, NULL, EAGAIN);
		return true;
	}
	w = xcalloc(1, sizeof(*w));
	*w = (struct files_waiter){e->waiters, fn, arg};
	e->waiters = w;
	return false;
}

/* ---- life ---- */

struct files *files_open(struct loop *l, struct lane *lane, const struct conf *c)
{
	struct files *f = xcalloc(1, sizeof(*f));

	f->loop = l;
	f->lane = lane;
	f->conf = c;
	f->ring.newer = f->ring.older = &f->ring;
	for (f->bucket_count = 64;
	     f->bucket_count < (size_t)c->site.cache_files * 2 && f->bucket_count < FILES_BUCKETS_MAX;
	     f->bucket_count *= 2)
		;
	f->buckets = xcalloc(f->bucket_count, sizeof(struct files_entry *));
	return f;
}

void files_close(struct files *f)
{
	struct files_entry *e, *newer;

	if (f == NULL)
		return;
	for (e = f->ring.newer; e != &f->ring; e = newer) {
		newer = e->newer;
		files_forget(f, e);
	}
	free(f->buckets);
	free(f);
}

bool files_check(const struct conf *c, struct error *err)
{
	const char *root = c->site.root, *why = NULL;
	struct stat st;

	if (root[0] == '\0')
		return true;
	if (stat(root, &st) != 0)
		why = strerror(errno);
	else if (!S_ISDIR(st.st_mode))
		why = "not a folder";
	return why == NULL || error_field(err, ERR_INVALID_VALUE, "static.root", "static.root: %s: %s", root, why);
}
