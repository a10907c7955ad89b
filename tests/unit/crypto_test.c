/* SPDX-License-Identifier: MIT */
/*
 * Tests of common/crypto.c: published vectors, strict decoders, key files made by several processes at once.
 */
#include "common/crypto.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/log.h"

static char dir[] = "/tmp/aragora-crypto-XXXXXX";

static int make_dir(void **state)
{
	const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	(void)state;
	log_setup(&(struct log_options){.level = LOG_INFO, .error_fd = null, .access_fd = -1, .who = "test"});
	return mkdtemp(dir) != NULL ? 0 : -1;
}

static int remove_dir(void **state)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *d = opendir(dir);

	(void)state;
	while (d != NULL && (entry = readdir(d)) != NULL) {
		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		unlink(path);
	}
	closedir(d);
	return rmdir(dir);
}

static void test_digests(void **state)
{
	char hex[SHA256_HEX], hex1[41];
	uint8_t sha1[20];

	(void)state;
	crypto_sha256_hex(STR_NONE, hex);
	assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	crypto_sha256_hex(STR("abc"), hex);
	assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	crypto_sha1(STR("abc"), sha1);
	crypto_hex(hex1, sha1, sizeof(sha1));
	assert_string_equal(hex1, "a9993e364706816aba3e25717850c26c9cd0d89d");
}

static void test_hmac(void **state)
{
	uint8_t mac[SHA256_LEN];
	char hex[SHA256_HEX];

	(void)state;
	/* RFC 4231, test case 2. */
	crypto_hmac_sha256(STR("Jefe"), STR("what do ya want for nothing?"), mac);
	crypto_hex(hex, mac, sizeof(mac));
	assert_string_equal(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	crypto_hmac_sha256(STR_NONE, STR_NONE, mac);
	crypto_hex(hex, mac, sizeof(mac));
	assert_string_equal(hex, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void test_hex(void **state)
{
	uint8_t out[3] = {0};

	(void)state;
	assert_true(crypto_unhex(STR("00aBff"), out, 3));
	assert_memory_equal(out, "\x00\xab\xff", 3);
	assert_false(crypto_unhex(STR("00abf"), out, 3));
	assert_false(crypto_unhex(STR("00abfg"), out, 3));
	assert_false(crypto_unhex(STR("00ab"), out, 3));
	assert_false(crypto_unhex(STR("0x1234"), out, 3));
}

static void test_base64(void **state)
{
	static const struct {
		const char *plain;
		const char *text;
	} cases[] = {
	    {"", ""},
	    {"f", "Zg=="},
	    {"fo", "Zm8="},
	    {"foo", "Zm9v"},
	    {"foob", "Zm9vYg=="},
	    {"fooba", "Zm9vYmE="},
	    {"foobar", "Zm9vYmFy"},
	    {"\xff\xfe\xfb", "//77"},
	};
	static const char *const bad[] = {
	    "Zg", "Zg=", "Z===", "====", "Zh==", "Zm9=", "Zm 9v", "Zm9v\n", "Zg==Zg==", "Zm-_", "=Zg=", "Zg=a",
	};
	uint8_t out[16];
	char text[32];
	size_t n;

	(void)state;
	for (size_t i = 0; i < countof(cases); i++) {
		size_t len = strlen(cases[i].plain);

		n = crypto_base64(text, (const uint8_t *)cases[i].plain, len);
		assert_string_equal(text, cases[i].text);
		assert_int_equal(n, strlen(text));
		n = len;
		assert_true(crypto_unbase64(str_of(text), out, &n));
		assert_int_equal(n, len);
		assert_memory_equal(out, cases[i].plain, len);
		n = len - 1;
		assert_true(len == 0 || !crypto_unbase64(str_of(text), out, &n));
	}
	for (size_t i = 0; i < countof(bad); i++) {
		n = sizeof(out);
		if (crypto_unbase64(str_of(bad[i]), out, &n))
			fail_msg("accepted: %s", bad[i]);
	}
}

static void test_equal(void **state)
{
	(void)state;
	assert_true(crypto_equal(STR("secret"), STR("secret")));
	assert_false(crypto_equal(STR("secret"), STR("secreT")));
	assert_false(crypto_equal(STR("secret"), STR("secret1")));
	assert_true(crypto_equal(STR_NONE, STR("")));
}

static void path_of(char out[PATH_MAX], const char *name)
{
	snprintf(out, PATH_MAX, "%s/%s", dir, name);
}

static void put_file(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void test_key_file(void **state)
{
	uint8_t key[32], again[32];
	struct error e = ERROR_INIT;
	char path[PATH_MAX];
	struct stat st;

	(void)state;
	path_of(path, "one.key");
	assert_true(crypto_key_file(path, key, &e));
	assert_true(crypto_key_file(path, again, &e));
	assert_memory_equal(key, again, 32);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(st.st_nlink, 1);
	assert_int_equal(st.st_size, 65);
	path_of(path, "two.key");
	assert_true(crypto_key_file(path, again, &e));
	assert_memory_not_equal(key, again, 32);
}

static void test_key_file_refused(void **state)
{
	static const char digits[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
	uint8_t key[32];
	struct error e = ERROR_INIT;
	char path[PATH_MAX];

	(void)state;
	path_of(path, "open.key");
	put_file(path, digits, 0640);
	assert_false(crypto_key_file(path, key, &e));
	assert_non_null(strstr(e.msg, "chmod 600"));
	assert_non_null(strstr(e.msg, path));
	put_file(path, digits, 0604);
	assert_false(crypto_key_file(path, key, &e));
	put_file(path, digits, 0400);
	assert_true(crypto_key_file(path, key, &e));
	assert_memory_equal(key, "\x00\x11\x22\x33", 4);
	put_file(path, "00112233", 0600);
	assert_false(crypto_key_file(path, key, &e));
	put_file(path, "", 0600);
	assert_false(crypto_key_file(path, key, &e));
	put_file(path, "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff00", 0600);
	assert_false(crypto_key_file(path, key, &e));
	assert_false(crypto_key_file(dir, key, &e));
	path_of(path, "missing/x.key");
	assert_false(crypto_key_file(path, key, &e));
	assert_int_equal(e.code, ERR_STORAGE);
}

/* Makers released at the same instant all end with the same key, and leave nothing but the file. */
static void test_key_file_race(void **state)
{
	enum { MAKERS = 8, ROUNDS = 20 };
	char path[PATH_MAX];

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		uint8_t first[32], key[32];
		int gate[2], results[2];
		struct stat st;

		snprintf(path, sizeof(path), "%s/race%d.key", dir, round);
		assert_int_equal(pipe(gate), 0);
		assert_int_equal(pipe(results), 0);
		for (int i = 0; i < MAKERS; i++) {
			if (fork() == 0) {
				struct error e = ERROR_INIT;
				char byte;

				close(gate[1]);
				if (read(gate[0], &byte, 1) != 0 || !crypto_key_file(path, key, &e) ||
				    write(results[1], key, 32) != 32)
					_exit(1);
				_exit(0);
			}
		}
		close(gate[0]);
		close(gate[1]);
		for (int i = 0; i < MAKERS; i++) {
			int status;

			assert_true(wait(&status) > 0);
			assert_int_equal(status, 0);
		}
		assert_int_equal(read(results[0], first, 32), 32);
		for (int i = 1; i < MAKERS; i++) {
			assert_int_equal(read(results[0], key, 32), 32);
			assert_memory_equal(key, first, 32);
		}
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_nlink, 1);
		close(results[0]);
		close(results[1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_digests),
	    cmocka_unit_test(test_hmac),
	    cmocka_unit_test(test_hex),
	    cmocka_unit_test(test_base64),
	    cmocka_unit_test(test_equal),
	    cmocka_unit_test(test_key_file),
	    cmocka_unit_test(test_key_file_refused),
	    cmocka_unit_test(test_key_file_race),
	};

	return cmocka_run_group_tests_name("crypto", tests, make_dir, remove_dir);
}
