/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: a configuration file of any bytes is either refused with one line per mistake, or gives a configuration
 * whose printed form loads again and prints the same. Secrets, which are masked, are taken out of that comparison.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "common/conf_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct conf *fuzz_load(int fd, struct str text, struct buf *report)
{
	char path[64];

	BUG_ON(ftruncate(fd, 0) == -1 || pwrite(fd, text.p != NULL ? text.p : "", text.n, 0) != (ssize_t)text.n);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return conf_load(path, false, NULL, 0, report);
}

static bool fuzz_has_secret(const struct conf *c)
{
	size_t i;

	for (i = 0; i < conf_table_size; i++)
		if ((conf_table[i].flags & CONF_SECRET) != 0 && !conf_value_empty(c, &conf_table[i]))
			return true;
	return false;
}

/* Every line says where, and nothing but the line ends is a control character. */
static void fuzz_check_report(const struct buf *report)
{
	struct str rest = buf_str(report);
	struct str line;
	size_t i;

	BUG_ON(rest.n == 0 || rest.p[rest.n - 1] != '\n');
	rest.n--;
	while (str_split(&rest, '\n', &line)) {
		BUG_ON(!str_starts(line, STR("/proc/self/fd/")));
		for (i = 0; i < line.n; i++)
			BUG_ON((unsigned char)line.p[i] < ' ' || line.p[i] == 0x7f);
	}
}

static void fuzz_check_again(int fd, const struct conf *c)
{
	struct buf first = BUF_INIT;
	struct buf second = BUF_INIT;
	struct buf report = BUF_INIT;
	struct conf *again;

	conf_print(c, &first);
	again = fuzz_load(fd, buf_str(&first), &report);
	BUG_ON(again == NULL);
	conf_print(again, &second);
	BUG_ON(!str_eq(buf_str(&first), buf_str(&second)));
	BUG_ON(!conf_reloadable(c, again, &report));
	conf_unref(again);
	buf_free(&first);
	buf_free(&second);
	buf_free(&report);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	struct buf report = BUF_INIT;
	struct conf *c;

	if (fd == -1)
		fd = memfd_create("conf_fuzz", MFD_CLOEXEC);
	BUG_ON(fd == -1);
	c = fuzz_load(fd, (struct str){(const char *)data, size}, &report);
	if (c == NULL)
		fuzz_check_report(&report);
	else if (!fuzz_has_secret(c))
		fuzz_check_again(fd, c);
	conf_unref(c);
	buf_free(&report);
	return 0;
}
