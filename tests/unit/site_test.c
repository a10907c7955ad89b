/* SPDX-License-Identifier: MIT */
/* Tests of names and paths of static files: media types, hashes in names, opening without openat2. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "worker/web/files.h"
#include "worker/web/mime.h"

static void test_types(void **state)
{
	(void)state;
	assert_string_equal(mime_type(STR("/a/b.JS")), "text/javascript; charset=utf-8");
	assert_string_equal(mime_type(STR("index.html")), "text/html; charset=utf-8");
	assert_string_equal(mime_type(STR("/x.tar.gz")), "application/gzip");
	assert_string_equal(mime_type(STR("/a.js/b")), "application/octet-stream");
	assert_string_equal(mime_type(STR("/.js")), "application/octet-stream");
	assert_string_equal(mime_type(STR("/x.")), "application/octet-stream");
	assert_string_equal(mime_type(STR("")), "application/octet-stream");
}

static void test_hashes(void **state)
{
	static const char *const yes[] = {
	    "app.3f9a1c2b.js",
	    "index-BDkq9.css",
	    "/assets/index-BDkq9x2Z.css",
	    "main.0A1B2C3D.chunk.css",
	    "chunk-4QPB3FTU.js",
	    "app.3f9a1c2b.js.map",
	    "2.0a1b2c3d.chunk.js",
	    "vendors-8f0b7ec74416eac2.min.js",
	    "logo-x_9Kd2aB.svg",
	    "fonts/inter.d41d8cd98f00b204e9800998ecf8427e.woff2",
	};
	static const char *const no[] = {
	    "app.js",
	    "jquery-3.7.1.min.js",
	    "trip-Paris2024.jpg",
	    "report-20240101.pdf",
	    "index-DiwrgTda.css",
	    "photo-img2.jpg",
	    "vendor-polyfill.js",
	    "app-deadbeef.js",
	    "logo.svg",
	    "a-b-c.js",
	    "3f9a1c2b.js",
	    "app-settings2.js",
	    "3f9a1c2b",
	    "app-BDkq9/x.js",
	    "app.3f9a1c2b",
	    "inter-latin400.woff2",
	    "x-3F9a1c.2b.js",
	    "",
	    "-",
	    ".",
	    "app-.js",
	};

	(void)state;
	for (size_t i = 0; i < countof(yes); i++)
		if (!mime_hashed(str_of(yes[i])))
			fail_msg("%s has a hash", yes[i]);
	for (size_t i = 0; i < countof(no); i++)
		if (mime_hashed(str_of(no[i])))
			fail_msg("%s has no hash", no[i]);
}

static int try(int (*open_path)(int root, const char *path), int root, const char *path)
{
	int fd = open_path(root, path);

	if (fd == -1)
		return errno;
	close(fd);
	return 0;
}

/* Both ways of opening stay inside; the one for old kernels follows no link at all. */
static void test_open(void **state)
{
	int (*const ways[])(int root, const char *path) = {files_open_beneath, files_open_stepwise};
	char top[] = "/tmp/aragora-site.XXXXXX";
	int dir, root;

	(void)state;
	assert_non_null(mkdtemp(top));
	dir = open(top, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(dir, "root", 0700), 0);
	assert_int_equal(mkdirat(dir, "root/sub", 0700), 0);
	close(openat(dir, "secret", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	close(openat(dir, "root/sub/file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	assert_int_equal(symlinkat("../../secret", dir, "root/sub/up"), 0);
	assert_int_equal(symlinkat("/etc/passwd", dir, "root/absolute"), 0);
	assert_int_equal(symlinkat("sub", dir, "root/link"), 0);
	root = openat(dir, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < countof(ways); i++) {
		assert_int_equal(try(ways[i], root, "sub/file"), 0);
		assert_int_equal(try(ways[i], root, "sub"), 0);
		assert_int_equal(try(ways[i], root, "."), 0);
		assert_int_equal(try(ways[i], root, "./sub/file"), 0);
		assert_int_equal(try(ways[i], root, "sub/none"), ENOENT);
		assert_int_equal(try(ways[i], root, "sub/file/x"), ENOTDIR);
		assert_int_not_equal(try(ways[i], root, "../secret"), 0);
		assert_int_not_equal(try(ways[i], root, "sub/../../secret"), 0);
		assert_int_not_equal(try(ways[i], root, "sub/up"), 0);
		assert_int_not_equal(try(ways[i], root, "absolute"), 0);
		assert_int_not_equal(try(ways[i], root, "/etc/passwd"), 0);
	}
	assert_int_equal(try(files_open_beneath, root, "link/file"), 0);
	assert_int_not_equal(try(files_open_stepwise, root, "link/file"), 0);
	static const char *const made[] = {"root/sub/up", "root/sub/file", "root/absolute", "root/link", "secret"};
	for (size_t i = 0; i < countof(made); i++)
		assert_int_equal(unlinkat(dir, made[i], 0), 0);
	assert_int_equal(unlinkat(dir, "root/sub", AT_REMOVEDIR), 0);
	assert_int_equal(unlinkat(dir, "root", AT_REMOVEDIR), 0);
	close(root);
	close(dir);
	assert_int_equal(rmdir(top), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_types),
	    cmocka_unit_test(test_hashes),
	    cmocka_unit_test(test_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
