/* SPDX-License-Identifier: MIT */
/*
 * Tests of common/log.c: both forms of a line, valid JSON at the cut, context, buffering, fork, reopening, and readers
 * that do not read.
 */
#include "common/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/json.h"

#define LINE_MAX_BYTES 4096

static int file_fd; /* a memory file: regular, so lines go to it directly */
static struct buf content;

static void setup_logger(int error_fd, int access_fd, bool json)
{
	log_setup(&(struct log_options){
	    .level = LOG_INFO, .json = json, .error_fd = error_fd, .access_fd = access_fd, .who = "worker 2"});
}

static int open_file(void **state)
{
	(void)state;
	file_fd = memfd_create("log", MFD_CLOEXEC);
	setup_logger(file_fd, -1, true);
	return file_fd >= 0 ? 0 : -1;
}

static int close_file(void **state)
{
	(void)state;
	log_context(NULL);
	log_reopen(-1, -1);
	buf_free(&content);
	return close(file_fd);
}

static struct str slurp(int fd)
{
	ssize_t got;

	buf_clear(&content);
	assert_true(lseek(fd, 0, SEEK_SET) == 0);
	while ((got = read(fd, buf_reserve(&content, 65536), 65536)) > 0)
		buf_commit(&content, (size_t)got);
	return buf_str(&content);
}

/* The only line of the file, parsed. */
static json_t *only_line(struct arena *a)
{
	struct error e = ERROR_INIT;
	struct str text;
	json_t *j;

	log_flush();
	text = slurp(file_fd);
	assert_true(text.n > 0 && text.n <= LINE_MAX_BYTES);
	assert_int_equal(str_chr(text, '\n'), text.n - 1);
	j = json_parse(a, text, &e);
	if (j == NULL)
		fail_msg("%s: %.*s", e.msg, STR_ARG(text));
	assert_int_equal(ftruncate(file_fd, 0), 0);
	assert_true(lseek(file_fd, 0, SEEK_SET) == 0);
	return j;
}

static void test_json_line(void **state)
{
	const struct log_ctx ctx = {.request_id = STR("req-1"), .debate_id = STR("deb-2")};
	struct arena *a = arena_new(0);
	json_t *j;

	(void)state;
	assert_null(log_context(&ctx));
	log_warn("http", "slow \"client\"\n\xff", KV_S("path", "/a\x01\\b"), KV_I("ms", -5), KV_F("load", 0.25),
		 KV_F("nan", __builtin_nan("")), KV_B("tls", true), KV_STR("none", STR_NONE));
	assert_ptr_equal(log_context(NULL), &ctx);
	j = only_line(a);
	assert_int_equal(json_get_str(j, "time", STR_NONE).n, 24);
	assert_true(str_eqz(json_get_str(j, "level", STR_NONE), "warning"));
	assert_true(str_eqz(json_get_str(j, "component", STR_NONE), "http"));
	assert_true(str_eqz(json_get_str(j, "process", STR_NONE), "worker 2"));
	assert_int_equal(json_get_int(j, "pid", 0), getpid());
	assert_true(str_eqz(json_get_str(j, "request_id", STR_NONE), "req-1"));
	assert_true(str_eqz(json_get_str(j, "debate_id", STR_NONE), "deb-2"));
	assert_true(str_eqz(json_get_str(j, "message", STR_NONE), "slow \"client\"\n\xef\xbf\xbd"));
	assert_true(str_eqz(json_get_str(j, "path", STR_NONE), "/a\x01\\b"));
	assert_int_equal(json_get_int(j, "ms", 0), -5);
	assert_true(json_get_num(j, "load", 0) == 0.25);
	assert_true(json_is_null(json_object_get(j, "nan")));
	assert_true(json_get_bool(j, "tls", false));
	assert_true(str_eqz(json_get_str(j, "none", STR("x")), ""));
	assert_null(json_object_get(j, "cut"));
	log_info("http", "plain");
	j = only_line(a);
	assert_null(json_object_get(j, "request_id"));
	assert_int_equal(json_object_size(j), 6);
	arena_free(a);
}

/* Whatever the length and the escapes, a cut line is valid JSON that fits, and says that it was cut. */
static void test_json_cut(void **state)
{
	static const char *const units[] = {"x", "\"", "\x01", "\xe2\x82\xac", "\xff", "\xf0\x9f\x98\x80"};
	struct arena *a = arena_new(0);
	struct buf b = BUF_INIT;

	(void)state;
	for (size_t u = 0; u < countof(units); u++) {
		size_t n = LINE_MAX_BYTES / 6 - 100;

		buf_clear(&b);
		while (n-- > 0)
			buf_addz(&b, units[u]);
		for (int i = 0; i < 4000; i++) {
			json_t *j;

			buf_addz(&b, units[u]);
			/* Every length near the limit, then a sample. */
			if (i > 900 && i % 97 != 0)
				continue;
			log_info("t", "cut", KV_STR("value", buf_str(&b)), KV_I("after", 123456789), KV_S("z", "last"));
			j = only_line(a);
			assert_true(json_get_bool(j, "cut", false) || json_get_int(j, "after", 0) == 123456789);
			arena_reset(a);
		}
		log_info("t", "cut", KV_STR("value", buf_str(&b)), KV_I("after", 123456789));
		assert_true(json_get_bool(only_line(a), "cut", false));
		log_error("t", buf_str(&b).p, KV_I("kept", 7));
		assert_int_equal(json_get_int(only_line(a), "kept", 0), 7);
	}
	buf_free(&b);
	arena_free(a);
}

static void test_text_line(void **state)
{
	const struct log_ctx ctx = {.request_id = STR("r1")};
	struct str text;

	(void)state;
	setup_logger(file_fd, -1, false);
	log_context(&ctx);
	log_error("db", "lost\nit", KV_S("why", "no route"), KV_S("to", "10.0.0.1:5432"), KV_I("n", 3), KV_S("e", ""));
	log_context(NULL);
	log_flush();
	text = slurp(file_fd);
	assert_string_equal(text.p + 24, " ERROR [worker 2] db: lost\\nit why=\"no route\" to=10.0.0.1:5432 n=3 e=\"\""
					 " request_id=r1\n");
}

static void test_level(void **state)
{
	(void)state;
	assert_false(log_enabled(LOG_DEBUG));
	assert_true(log_enabled(LOG_INFO));
	log_debug("t", "not seen");
	log_flush();
	assert_int_equal(slurp(file_fd).n, 0);
}

static void test_buffered(void **state)
{
	(void)state;
	log_info("t", "one");
	assert_int_equal(slurp(file_fd).n, 0);
	log_flush();
	assert_true(slurp(file_fd).n != 0);
}

static void access_line(struct str line)
{
	char *p = log_access_room();

	if (p == NULL)
		return;
	memcpy(p, line.p, line.n);
	log_access_commit(line.n);
}

static void test_access(void **state)
{
	int fd = memfd_create("access", MFD_CLOEXEC);
	char longest[LOG_ACCESS_MAX];

	(void)state;
	access_line(STR("nowhere to go"));
	log_reopen(file_fd, fd);
	access_line(STR("GET / 200"));
	log_info("t", "other file");
	log_flush();
	assert_true(str_eqz(slurp(fd), "GET / 200\n"));
	memset(longest, 'x', sizeof(longest));
	access_line((struct str){longest, sizeof(longest)});
	log_flush();
	assert_int_equal(slurp(fd).n, 10 + sizeof(longest) + 1);
	/* Both on one descriptor: order is kept. */
	assert_int_equal(ftruncate(file_fd, 0), 0);
	assert_true(lseek(file_fd, 0, SEEK_SET) == 0);
	log_reopen(file_fd, file_fd);
	access_line(STR("first"));
	log_info("t", "second");
	access_line(STR("third"));
	log_flush();
	assert_int_equal(str_find(slurp(file_fd), STR("first\n{")), 0);
	assert_true(str_ends(slurp(file_fd), STR("}\nthird\n")));
	log_reopen(file_fd, -1);
	close(fd);
}

static void test_access_delay(void **state)
{
	int fd = memfd_create("access", MFD_CLOEXEC);
	char line[1000];
	int i;

	(void)state;
	log_setup(&(struct log_options){.level = LOG_INFO,
					.json = true,
					.error_fd = file_fd,
					.access_fd = fd,
					.who = "worker 2",
					.access_delay = 1000});
	access_line(STR("one"));
	log_info("t", "not delayed");
	log_turn(5000);
	access_line(STR("two"));
	log_turn(5999);
	assert_int_equal(slurp(fd).n, 0);
	assert_true(str_find(slurp(file_fd), STR("not delayed")) > 0);
	log_turn(6000);
	assert_true(str_eqz(slurp(fd), "one\ntwo\n"));
	/* 32 KiB are worth a write at once. */
	memset(line, 'x', sizeof(line));
	for (i = 0; i < 33; i++)
		access_line((struct str){line, sizeof(line)});
	log_turn(7000);
	assert_true(slurp(fd).n > 33000);
	log_reopen(file_fd, -1);
	close(fd);
}

static void test_reopen(void **state)
{
	int fd = memfd_create("new", MFD_CLOEXEC);

	(void)state;
	log_info("t", "before");
	log_reopen(fd, -1);
	log_info("t", "after");
	log_flush();
	assert_true(str_find(slurp(file_fd), STR("before")) > 0);
	assert_true(str_find(slurp(file_fd), STR("after")) < 0);
	assert_true(str_find(slurp(fd), STR("after")) > 0);
	log_reopen(file_fd, -1);
	close(fd);
}

static void test_fork(void **state)
{
	int status, lines = 0;
	struct str text, line;

	(void)state;
	log_info("t", "parent");
	if (fork() == 0) {
		setup_logger(file_fd, -1, true);
		log_info("t", "child");
		/* exit() alone brings it to the file. */
		exit(0);
	}
	assert_true(wait(&status) > 0);
	assert_int_equal(status, 0);
	log_flush();
	text = slurp(file_fd);
	assert_int_equal(str_find(str_sub(text, (size_t)str_find(text, STR("parent")) + 1, text.n), STR("parent")), -1);
	while (str_split(&text, '\n', &line))
		lines += line.n != 0;
	assert_int_equal(lines, 2);
}

/* Reads until the other end is closed or `enough` bytes have come; the count of whole lines, all of them complete. */
static size_t read_lines(int fd, size_t enough)
{
	struct str text, line;
	size_t lines = 0;
	ssize_t got;

	buf_clear(&content);
	while (content.n < enough && (got = read(fd, buf_reserve(&content, 65536), 65536)) > 0)
		buf_commit(&content, (size_t)got);
	text = buf_str(&content);
	while (str_split(&text, '\n', &line)) {
		if (line.n == 0 || text.p == NULL)
			continue;
		lines++;
		assert_int_equal(line.p[0], '{');
		assert_int_equal(line.p[line.n - 1], '}');
	}
	return lines;
}

/* Without the thread a stuck reader costs a bounded moment once, then nothing, and lines are counted. */
static void test_stuck_reader_direct(void **state)
{
	uint64_t before = log_dropped();
	int64_t start;
	int ends[2];

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	log_reopen(ends[1], -1);
	start = clock_mono_us();
	for (int i = 0; i < 10000; i++) {
		log_info("t", "nobody reads this line", KV_I("i", i));
		if (i % 10 == 0)
			log_flush();
	}
	assert_true(clock_mono_us() - start < 10 * SEC_US);
	log_flush();
	assert_true(log_dropped() > before);
	log_reopen(file_fd, -1);
	close(ends[1]);
	assert_true(read_lines(ends[0], SIZE_MAX) + (log_dropped() - before) == 10000);
	close(ends[0]);
}

struct reader {
	int fd;
	size_t lines;
};

static void *reader_main(void *arg)
{
	struct reader *r = arg;

	r->lines = read_lines(r->fd, SIZE_MAX);
	return NULL;
}

/* In a child, because the writer thread stays for the life of a process. */
static void with_writer(void (*fn)(int ends[2]))
{
	int status, ends[2];
	pid_t pid;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		setup_logger(ends[1], -1, true);
		log_start_writer();
		fn(ends);
		_exit(0);
	}
	close(ends[0]);
	close(ends[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void child_check(bool ok, int line)
{
	if (!ok) {
		dprintf(STDERR_FILENO, "log_test.c:%d failed in the child\n", line);
		_exit(1);
	}
}
#define CHECK(condition) child_check(condition, __LINE__)

static void child_stuck(int ends[2])
{
	enum { LINES = 40000 };
	struct reader r = {.fd = ends[0]};
	int64_t start = clock_mono_us();
	pthread_t thread;
	char pad[100];
	int other[2];

	memset(pad, 'p', sizeof(pad));
	for (int i = 0; i < LINES; i++) {
		log_info("t", "nobody reads", KV_I("i", i), KV_STR("pad", ((struct str){pad, sizeof(pad)})));
		if (i % 50 == 0)
			log_flush();
	}
	log_flush();
	/* Far below what a blocked write would take: for ever. */
	CHECK(clock_mono_us() - start < 20 * SEC_US);
	CHECK(log_dropped() > 0 && log_dropped() < LINES);
	start = clock_mono_us();
	log_drain(50 * MS_US);
	CHECK(clock_mono_us() - start < 10 * SEC_US);
	/* When somebody reads again, all that was not counted as dropped arrives, in whole lines. */
	CHECK(pthread_create(&thread, NULL, reader_main, &r) == 0);
	log_drain(20 * SEC_US);
	log_info("t", "the end");
	log_drain(20 * SEC_US);
	log_reopen(-1, -1);
	/* The thread's own duplicate keeps the pipe open; it is replaced by a reopening with a slow descriptor. */
	CHECK(pipe2(other, O_CLOEXEC) == 0);
	log_reopen(other[1], -1);
	close(ends[1]);
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(r.lines + log_dropped() == LINES + 1);
}

static void child_reopen_stuck(int ends[2])
{
	int other[2];
	size_t lines;

	(void)ends;
	for (int i = 0; i < 2000; i++)
		log_info("t", "nobody reads the first pipe", KV_I("i", i));
	log_flush();
	CHECK(pipe2(other, O_CLOEXEC) == 0);
	log_reopen(other[1], -1);
	log_info("t", "to the second");
	log_flush();
	/* Blocks until the thread has moved over. */
	lines = read_lines(other[0], 1);
	CHECK(lines > 0);
}

static void child_drains(int ends[2])
{
	log_info("t", "only drained");
	log_drain(20 * SEC_US);
	CHECK(read_lines(ends[0], 1) == 1);
	CHECK(log_dropped() == 0);
}

static void child_reader_gone(int ends[2])
{
	close(ends[0]);
	log_info("t", "nobody will ever read");
	log_drain(20 * SEC_US);
	CHECK(log_dropped() == 1);
}

static void test_writer(void **state)
{
	(void)state;
	/* As the server does: a reader that went away is an error code, not a death. */
	signal(SIGPIPE, SIG_IGN);
	with_writer(child_drains);
	with_writer(child_stuck);
	with_writer(child_reopen_stuck);
	with_writer(child_reader_gone);
}

static void *emit_many(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		log_info("t", "from a thread", KV_B("thread", arg != NULL));
		if (i % 100 == 0)
			log_flush();
	}
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[4];
	struct str text, line;
	size_t lines = 0;

	(void)state;
	for (size_t i = 0; i < countof(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, emit_many, &content), 0);
	for (size_t i = 0; i < countof(threads); i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	log_flush();
	text = slurp(file_fd);
	while (str_split(&text, '\n', &line)) {
		if (line.n == 0)
			continue;
		lines++;
		assert_true(json_scan(line, NULL));
	}
	assert_int_equal(lines, 4 * 2000);
}

static void test_bug_saves(void **state)
{
	int status;

	(void)state;
	if (fork() == 0) {
		setup_logger(file_fd, -1, true);
		log_info("t", "last words");
		close(STDERR_FILENO);
		BUG_ON(true);
	}
	assert_true(wait(&status) > 0);
	assert_true(WIFSIGNALED(status));
	assert_true(str_find(slurp(file_fd), STR("last words")) > 0);
}

#define LOG_TEST(fn) cmocka_unit_test_setup_teardown(fn, open_file, close_file)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    LOG_TEST(test_json_line),    LOG_TEST(test_json_cut),
	    LOG_TEST(test_text_line),    LOG_TEST(test_level),
	    LOG_TEST(test_buffered),     LOG_TEST(test_access),
	    LOG_TEST(test_access_delay), LOG_TEST(test_reopen),
	    LOG_TEST(test_fork),         LOG_TEST(test_stuck_reader_direct),
	    LOG_TEST(test_writer),       LOG_TEST(test_threads),
	    LOG_TEST(test_bug_saves),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
