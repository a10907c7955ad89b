/* SPDX-License-Identifier: MIT */
/*
 * Finds and loads the module that makes PDF. Called in a lane. A module that could not be loaded is tried again at the
 * next request: installing it needs no reload. Once loaded it stays.
 */
#include "worker/receipts/pdf.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <unistd.h>

#include "common/log.h"

#define PDF_FILE "aragora_pdf.so"

static char *pdf_path; /* of the configuration, NULL: none */
static const struct receipt_pdf_module *pdf_module;
static pthread_mutex_t pdf_lock = PTHREAD_MUTEX_INITIALIZER;

#ifdef __SANITIZE_ADDRESS__
/*
 * fontconfig keeps its patterns for ever, behind pointers with marks in their low bits that the checker does not
 * follow.
 */
const char *__lsan_default_suppressions(void); /* called by the checker */

const char *__lsan_default_suppressions(void)
{
	return "leak:libfontconfig.so\n";
}
#endif

void receipt_pdf_at(const char *path)
{
	free(pdf_path);
	pdf_path = path[0] != '\0' ? xstrdup(path) : NULL;
}

/* Without the program's own name; a program that was replaced while it ran is still found where it was. */
static struct str pdf_folder(struct arena *a)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path));

	while (n > 0 && path[n - 1] != '/')
		n--;
	return arena_str(a, (struct str){path, n > 0 ? (size_t)n : 0});
}

static const struct receipt_pdf_module *pdf_open(const char *path)
{
	void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	const struct receipt_pdf_module *m = lib != NULL ? dlsym(lib, "aragora_pdf_module") : NULL;

	if (m != NULL && strcmp(m->version, ARAGORA_VERSION) == 0)
		return m;
	log_warn("receipt", "no PDF", KV_S("module", path),
		 KV_S("reason", lib == NULL ? dlerror()
				: m == NULL ? "no module of ours"
					    : "of another version"));
	if (lib != NULL)
		dlclose(lib);
	return NULL;
}

/* An upgrade may put a new module beside an old process; hence the version. */
static const struct receipt_pdf_module *pdf_load(struct arena *a)
{
	struct str folder = pdf_folder(a);
	const char *const usual[] = {arena_printf(a, "%.*s" PDF_FILE, STR_ARG(folder)).p,
				     arena_printf(a, "%.*s../lib/aragora/" PDF_FILE, STR_ARG(folder)).p};
	const struct receipt_pdf_module *m = NULL;
	size_t i;

	if (pdf_path != NULL)
		return pdf_open(pdf_path);
	for (i = 0; i < countof(usual) && m == NULL; i++)
		if (access(usual[i], R_OK) == 0)
			m = pdf_open(usual[i]);
	return m;
}

bool receipt_pdf(struct arena *a, const json_t *doc, struct buf *out, struct error *err)
{
	const struct receipt_pdf_module *m;

	pthread_mutex_lock(&pdf_lock);
	if (pdf_module == NULL)
		pdf_module = pdf_load(a);
	m = pdf_module;
	pthread_mutex_unlock(&pdf_lock);
	if (m == NULL)
		return error_set(err, ERR_UNAVAILABLE,
				 "PDF needs the module " PDF_FILE " of this version (receipts.pdf_module); the log "
				 "says more");
	return m->render(doc, out, err);
}
