/* SPDX-License-Identifier: MIT */
/*
 * The configuration: layers, mistakes with their place, what production demands, the printed forms, and that the
 * generated files in the tree are those of the table. CONF_REGENERATE=1 writes those files instead of comparing them.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/conf_internal.h"

static char dir[] = "/tmp/conf_test.XXXXXX";
static char file[64];
static struct buf report;

static const char *write_as(const char *path, const char *text, size_t n, mode_t mode)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, mode), 0);
	return path;
}

static const char *write_file(const char *text)
{
	return write_as(file, text, strlen(text), 0600);
}

static int setup_all(void **state)
{
	(void)state;
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(file, sizeof(file), "%s/a.yml", dir);
	return clearenv();
}

static int teardown_all(void **state)
{
	(void)state;
	unlink(file);
	return rmdir(dir);
}

static int teardown(void **state)
{
	(void)state;
	buf_free(&report);
	return clearenv();
}

static struct conf *load_with(const char *text, const struct conf_override *overrides, size_t n)
{
	buf_clear(&report);
	return conf_load(text != NULL ? write_file(text) : NULL, true, overrides, n, &report);
}

static struct conf *good(const char *text)
{
	struct conf *c = load_with(text, NULL, 0);

	if (c == NULL)
		fail_msg("refused:\n%s", buf_str(&report).p);
	return c;
}

/* The text must be refused with exactly these lines, in which FILE stands for the file's path. */
static void bad(const char *text, const char *expected)
{
	struct buf want = BUF_INIT;
	struct conf *c = load_with(text, NULL, 0);
	struct str rest = str_of(expected);
	ptrdiff_t at;

	while ((at = str_find(rest, STR("FILE:"))) >= 0 && text != NULL) {
		buf_add(&want, str_sub(rest, 0, (size_t)at));
		buf_addz(&want, file);
		rest = str_sub(rest, (size_t)at + 4, rest.n);
	}
	buf_add(&want, rest);
	if (c != NULL)
		fail_msg("accepted: %s", text != NULL ? text : "the environment");
	assert_string_equal(buf_str(&report).p, buf_str(&want).p);
	buf_free(&want);
}

static void set_env(const char *name, const char *value)
{
	assert_int_equal(setenv(name, value, 1), 0);
}

static void test_defaults(void **state)
{
	struct conf *c = good(NULL);

	(void)state;
	assert_int_equal(report.n, 0);
	assert_int_equal(c->server.env, CONF_DEVELOPMENT);
	assert_int_equal(c->server.bind.n, 1);
	assert_string_equal(c->server.bind.v[0], "127.0.0.1:8080");
	assert_string_equal(c->server.ws_bind.v[0], "127.0.0.1:8765");
	assert_int_equal(c->server.graceful_timeout, 10 * SEC_US);
	assert_int_equal(c->server.request_timeout, 60 * SEC_US);
	assert_int_equal(c->storage.min_free_bytes, 16 << 20);
	assert_int_equal(c->debates.token_merge, 40 * MS_US);
	assert_int_equal(c->debates.max_age, 86400 * SEC_US);
	assert_string_equal(c->debates.default_consensus, "majority");
	assert_string_equal(c->providers[PROVIDER_DEMO].api_key, "");
	assert_string_equal(c->path, "");
	assert_false(conf_auth_required(c));
	assert_true(conf_demo_active(c));
	conf_unref(c);
}

static void test_file(void **state)
{
	struct conf *c = good(
	    "server:\n"
	    "  bind: [\"[::1]:80\", 'unix:/tmp/x', localhost:0]\n"
	    "  ws_bind: []\n"
	    "  keepalive: 250ms\n"
	    "  trusted_proxies: 10.0.0.0/8, ::1\n"
	    "  workers: 4\n"
	    "log: {level: WARNING, format: text, access: \"\"}\n"
	    "limits:\n"
	    "  body_bytes: 64 KiB\n"
	    "storage:\n"
	    "smtp: ~\n"
	    "providers: {openai: {api_key: abc, model: }, ollama: {model: llama}, demo: {enabled: no, delay_ms: 5}}\n"
	    "rate_limit: {enabled: off}\n");

	(void)state;
	assert_string_equal(c->path, file);
	assert_int_equal(c->server.bind.n, 3);
	assert_string_equal(c->server.bind.v[1], "unix:/tmp/x");
	assert_int_equal(c->server.ws_bind.n, 0);
	assert_int_equal(c->server.keepalive, 250 * MS_US);
	assert_int_equal(c->server.trusted_proxies.n, 2);
	assert_string_equal(c->server.trusted_proxies.v[1], "::1");
	assert_int_equal(conf_workers(c), 4);
	assert_int_equal(c->log.level, 2);
	assert_int_equal(c->log.json, 0);
	assert_string_equal(c->log.access, "");
	assert_int_equal(c->limits.body_bytes, 65536);
	assert_int_equal(c->demo.enabled, AUTO_OFF);
	assert_int_equal(c->demo.delay, 5 * MS_US);
	assert_false(c->rate_limit.enabled);
	assert_true(conf_provider_usable(c, PROVIDER_OPENAI));
	assert_true(conf_provider_usable(c, PROVIDER_OLLAMA));
	assert_false(conf_provider_usable(c, PROVIDER_LM_STUDIO));
	assert_false(conf_provider_usable(c, PROVIDER_ANTHROPIC));
	assert_false(conf_demo_active(c));
	conf_unref(c);
}

static void check_listen(const char *element, const char *address, unsigned marks)
{
	unsigned found = 99;

	assert_string_equal(conf_listen_address(element, &found), address);
	assert_int_equal(found, marks);
	assert_true(conf_form_address(str_of(element)));
}

/* Marks before addresses, and what they demand. */
static void test_listeners(void **state)
{
	struct conf *c;

	(void)state;
	check_listen("127.0.0.1:80", "127.0.0.1:80", 0);
	check_listen("tls:[::]:443", "[::]:443", LISTEN_TLS);
	check_listen("proxy:unix:/run/x", "unix:/run/x", LISTEN_PROXY);
	check_listen("proxy:tls:a:1", "a:1", LISTEN_TLS | LISTEN_PROXY);
	check_listen("tls:proxy:a:1", "a:1", LISTEN_TLS | LISTEN_PROXY);
	check_listen("tls:systemd:https", "systemd:https", LISTEN_TLS);
	check_listen("tls:8443", "tls:8443", 0); /* a host of that name */
	check_listen("proxy:tls:8443", "tls:8443", LISTEN_PROXY);
	assert_false(conf_form_address(STR("tls:a")));
	assert_false(conf_form_address(STR("tls:tls:")));
	assert_false(conf_form_address(STR("systemd:")));
	assert_false(conf_form_address(STR("quic:a:1")));
	bad("server: {bind: ['tls:a:1']}\n",
	    "FILE: server.tls.certificates: is empty, but a listener is marked \"tls:\"\n");
	bad("server: {bind: ['tls:a:1'], tls: {certificates: ['a b'], client_auth: required}}\n",
	    "FILE: server.tls.client_ca: is empty, but server.tls.client_auth asks for certificates\n");
	bad("server:\n  bind: ['tls:a:1']\n  tls:\n    certificates: ['a b c']\n",
	    "FILE:4:19: server.tls.certificates: expected a list of: \"cert.pem key.pem\", found \"a b c\"\n");
	set_env("ARAGORA_PORT", "81");
	c = good("server: {bind: ['tls:a:1', 'proxy:tls:b:1', 'systemd:x'], tls: {certificates: ['a b']}}\n");
	assert_string_equal(c->server.bind.v[0], "tls:a:81");
	assert_string_equal(c->server.bind.v[1], "proxy:tls:b:81");
	assert_string_equal(c->server.bind.v[2], "systemd:x");
	conf_unref(c);
	unsetenv("ARAGORA_PORT");
}

/* Every mistake of a file is reported in one go, each with its place. */
static void test_mistakes(void **state)
{
	(void)state;
	bad("server:\n  worker: 4\n", "FILE:2:3: server.worker: unknown key, did you mean server.workers?\n");
	bad("sever: {workers: 4}\n", "FILE:1:1: sever: unknown key, did you mean server?\n");
	bad("workers: 4\n", "FILE:1:1: workers: unknown key, did you mean server.workers?\n");
	bad("server.workers: 4\n", "FILE:1:1: server.workers: unknown key; keys are nested, not written with dots\n");
	bad("providers: {zzzzzz: {}}\n", "FILE:1:13: providers.zzzzzz: unknown key\n");
	bad("server:\n  workers: many\n  workers: 3\n  timeout: 1ms\n  bind: [\"127.0.0.1\", \"a b:80\"]\n"
	    "  env: prod\nserver: {}\n",
	    "FILE:2:12: server.workers: expected an integer from 0 to 256, found \"many\"\n"
	    "FILE:3:3: server.workers: is given twice, first in line 2\n"
	    "FILE:4:12: server.timeout: expected a duration from 100ms to 24h, found \"1ms\"\n"
	    "FILE:5:9: server.bind: expected a list of: host:port, [::]:port, unix:/path or systemd:NAME, with tls: or "
	    "proxy: before it, found \"127.0.0.1\"\n"
	    "FILE:5:9: server.bind: expected a list of: host:port, [::]:port, unix:/path or systemd:NAME, with tls: or "
	    "proxy: before it, found \"a b:80\"\n"
	    "FILE:6:8: server.env: expected one of development, production, found \"prod\"\n"
	    "FILE:7:1: server: is given twice, first in line 1\n");
}

static void test_types(void **state)
{
	(void)state;
	bad("server: {workers: \"4\"}\n",
	    "FILE:1:19: server.workers: expected an integer from 0 to 256, found a quoted text\n");
	bad("server: {workers: 257}\n",
	    "FILE:1:19: server.workers: expected an integer from 0 to 256, found \"257\"\n");
	bad("server: {workers: -1}\n", "FILE:1:19: server.workers: expected an integer from 0 to 256, found \"-1\"\n");
	bad("server: {workers: [1]}\n", "FILE:1:19: server.workers: expected an integer from 0 to 256, found a list\n");
	bad("server: {workers: {a: 1}}\n", "FILE:1:19: server.workers: is a single setting and has no keys below it\n");
	bad("server: {workers: }\n", "FILE:1:19: server.workers: expected an integer from 0 to 256, found nothing\n");
	bad("server: [1]\n", "FILE:1:9: server: is a section: expected keys below it, found a list\n");
	bad("server: 1\n", "FILE:1:9: server: is a section: expected keys below it, found a single value\n");
	bad("rate_limit: {enabled: maybe}\n",
	    "FILE:1:23: rate_limit.enabled: expected true or false, found \"maybe\"\n");
	bad("debates: {default_agents: [a, [b]]}\n",
	    "FILE:1:27: debates.default_agents: expected a flat list, found something nested in it\n");
	bad("storage: {data_dir: ''}\n", "FILE:1:21: storage.data_dir: must not be empty\n");
	bad("limits: {exempt: [10.0.0.0/33]}\n",
	    "FILE:1:18: limits.exempt: expected a list of: an IP address or network "
	    "such as 10.0.0.0/8, found \"10.0.0.0/33\"\n");
	bad("limits: {body_bytes: 9999999999GiB}\n",
	    "FILE:1:22: limits.body_bytes: expected a size from 1024 to 1073741824 bytes, found \"9999999999GiB\"\n");
	bad("cors: {allowed_origins: [\"https://x/path\"]}\n",
	    "FILE:1:25: cors.allowed_origins: expected a list of: an origin such as https://example.org, or *, "
	    "found \"https://x/path\"\n");
}

static void test_yaml(void **state)
{
	(void)state;
	bad("server: &a {env: *a}\n", "FILE:1:9: anchors (&name) are not allowed here\n"
				      "FILE:1:18: aliases (*name) are not allowed here\n");
	bad("server: {env: !!str production}\n"
	    "auth: {api_token: xxxxxxxxxxxxxxxx}\n",
	    "FILE:1:15: tags (!name) are not allowed here\n");
	bad("- a\n", "FILE:1:1: expected sections with keys, such as \"server:\"\n");
	bad("server: {}\n---\nlog: {}\n", "FILE:2:1: a second document begins here; one is expected\n");
	bad("? [a]\n: b\n", "FILE:1:3: expected a plain key\n");
	bad("log: {level: [\n",
	    "FILE:2:1: not valid YAML: did not find expected node content, while parsing a flow node\n");
	bad("log:\n  error: \"a\\0b\"\n", "FILE:2:10: log.error: contains a control character\n");
	bad("log:\n  error: \xff\n", "FILE:2:10: not valid YAML: invalid leading UTF-8 octet\n");
	bad("a: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\n",
	    "FILE:1:1: a: unknown key\nFILE:1:36: is nested too deeply; what follows was not read\n");
	conf_unref(good(""));
	conf_unref(good("# nothing\n"));
	conf_unref(good("---\n...\n"));
}

/* A secret is not repeated in its mistake, and not printed. */
static void test_secrets(void **state)
{
	struct buf out = BUF_INIT;
	struct conf *c;

	(void)state;
	bad("smtp: {url: 'http://hunter2'}\n", "FILE:1:13: smtp.url: expected an smtp:// or smtps:// URL\n");
	c = good(
	    "smtp: {url: 'smtp://u:hunter2@h'}\nauth: {api_token: hunter2}\nproviders: {xai: {api_key: hunter2}}\n");
	conf_print(c, &out);
	assert_int_equal(str_find(buf_str(&out), STR("hunter2")), -1);
	assert_true(str_find(buf_str(&out), STR("  api_token: \"********\"\n")) > 0);
	assert_true(str_find(buf_str(&out), STR("  jwt_secret: \"\"\n")) > 0);
	buf_free(&out);
	conf_unref(c);
}

static void test_many_mistakes(void **state)
{
	struct buf text = BUF_INIT;
	struct str rest;
	struct str line;
	size_t lines = 0;
	int i;

	(void)state;
	for (i = 0; i < 1000; i++)
		buf_printf(&text, "wrong%d: 1\n", i);
	assert_null(load_with(buf_str(&text).p, NULL, 0));
	rest = buf_str(&report);
	while (str_split(&rest, '\n', &line))
		lines += line.n > 0;
	assert_int_equal(lines, CONF_ERROR_MAX + 1);
	assert_true(str_find(buf_str(&report), STR("and 900 more mistakes\n")) > 0);
	buf_free(&text);
}

static void test_unreadable(void **state)
{
	char expected[128];

	(void)state;
	assert_null(conf_load("/nonexistent/a.yml", false, NULL, 0, &report));
	assert_string_equal(report.p, "/nonexistent/a.yml: cannot be read: No such file or directory\n");
	buf_clear(&report);
	assert_null(conf_load(dir, false, NULL, 0, &report));
	snprintf(expected, sizeof(expected), "%s: cannot be read: Is a directory\n", dir);
	assert_string_equal(report.p, expected);
}

/* Default, file, environment, command line: the later one wins. */
static void test_precedence(void **state)
{
	static const struct conf_override overrides[] = {{"server.workers", "7"}, {"server.bind", "0.0.0.0:1, [::]:2"}};
	struct conf *c;

	(void)state;
	c = good("server: {workers: 3, keepalive: 9}\n");
	assert_int_equal(c->server.workers, 3);
	conf_unref(c);
	set_env("ARAGORA_WORKERS", "5");
	set_env("ARAGORA_PORT", "9999");
	c = good("server: {workers: 3, keepalive: 9}\n");
	assert_int_equal(c->server.workers, 5);
	assert_int_equal(c->server.keepalive, 9 * SEC_US);
	assert_string_equal(c->server.bind.v[0], "127.0.0.1:9999");
	conf_unref(c);
	c = load_with("server: {workers: 3, keepalive: 9}\n", overrides, 2);
	assert_non_null(c);
	assert_int_equal(c->server.workers, 7);
	assert_int_equal(c->server.bind.n, 2);
	assert_string_equal(c->server.bind.v[1], "[::]:2");
	conf_unref(c);
	buf_clear(&report);
	c = conf_load(file, false, NULL, 0, &report);
	assert_non_null(c);
	assert_int_equal(c->server.workers, 3);
	conf_unref(c);
}

static void test_command_line(void **state)
{
	static const struct conf_override overrides[] = {{"server.worker", "7"}, {"server.timeout", "x"}};

	(void)state;
	assert_null(load_with(NULL, overrides, 2));
	assert_string_equal(report.p,
			    "command line: server.worker: unknown key, did you mean server.workers?\n"
			    "command line: server.timeout: expected a duration from 100ms to 24h, found \"x\"\n");
}

/* A field of another type than its row's would be written over its end, or half. */
static void test_field_types(void **state)
{
	static const size_t sizes[] = {[CONF_INT] = sizeof(int64_t),
				       [CONF_BOOL] = sizeof(int),
				       [CONF_AUTO] = sizeof(int),
				       [CONF_CHOICE] = sizeof(int),
				       [CONF_WORD] = sizeof(char *),
				       [CONF_TEXT] = sizeof(char *),
				       [CONF_LIST] = sizeof(struct conf_list),
				       [CONF_DURATION] = sizeof(int64_t),
				       [CONF_MILLIS] = sizeof(int64_t),
				       [CONF_SIZE] = sizeof(int64_t)};
	size_t i;

	(void)state;
	for (i = 0; i < conf_table_size; i++)
		if (conf_table[i].size != sizes[conf_table[i].type])
			fail_msg("%s: %zu bytes in struct conf", conf_table[i].name, conf_table[i].size);
}

/* Every variable that the table names does something; a value that no key takes must be refused with its name. */
static void test_each_variable(void **state)
{
	struct str rest;
	struct str one;
	size_t i;

	(void)state;
	for (i = 0; i < conf_table_size; i++) {
		rest = str_of(conf_table[i].env);
		while (str_split(&rest, ' ', &one)) {
			char *name;
			struct conf *c;

			if (one.n == 0)
				continue;
			name = str_dupz(one);
			clearenv();
			set_env(name, "\x01");
			c = load_with(NULL, NULL, 0);
			if (c != NULL || str_find(buf_str(&report), one) != 0)
				fail_msg("%s is not read: %s", name, buf_str(&report).p);
			free(name);
		}
	}
}

/* Names of an embedding chat service and of its tools mean something else and are left alone. */
static void test_foreign_variables(void **state)
{
	struct conf *c;

	(void)state;
	set_env("PORT", "1");
	set_env("HOST", "1.2.3.4");
	set_env("WS_PORT", "2");
	set_env("API_PORT", "3");
	set_env("NODE_ENV", "production");
	set_env("ARAGORA_API_TOKEN", "");
	c = good(NULL);
	assert_string_equal(c->server.bind.v[0], "127.0.0.1:8080");
	assert_string_equal(c->server.ws_bind.v[0], "127.0.0.1:8765");
	assert_int_equal(c->server.env, CONF_DEVELOPMENT);
	assert_string_equal(c->auth.api_token, "");
	conf_unref(c);
	set_env("SUPABASE_URL", "https://x");
	c = good(NULL);
	assert_true(str_starts(buf_str(&report), STR("SUPABASE_URL: warning: is not read")));
	conf_unref(c);
	set_env("SUPABASE_URL", "");
	set_env("KNOWLEDGE_MOUND_DATABASE_URL", "postgres://x/y");
	c = good(NULL);
	assert_true(str_starts(buf_str(&report), STR("KNOWLEDGE_MOUND_DATABASE_URL: warning: is not read")));
	conf_unref(c);
}

static void test_addresses(void **state)
{
	struct conf *c;

	(void)state;
	set_env("ARAGORA_PORT", "81");
	set_env("ARAGORA_BIND_HOST", "::1");
	set_env("ARAGORA_WS_PORT", "82");
	c = good("server: {bind: ['127.0.0.1:80', '[::]:80', 'unix:/x', 'a:90']}\n");
	assert_int_equal(c->server.bind.n, 3);
	assert_string_equal(c->server.bind.v[0], "[::1]:81");
	assert_string_equal(c->server.bind.v[1], "unix:/x");
	assert_string_equal(c->server.bind.v[2], "[::1]:90");
	assert_string_equal(c->server.ws_bind.v[0], "[::1]:82");
	conf_unref(c);
	clearenv();
	set_env("ARAGORA_PORT", "65536");
	set_env("ARAGORA_BIND_HOST", "a:1");
	bad(NULL, "ARAGORA_BIND_HOST: server.bind: expected a host name or IP address without port, found \"a:1\"\n"
		  "ARAGORA_BIND_HOST: server.ws_bind: expected a host name or IP address without port, found \"a:1\"\n"
		  "ARAGORA_PORT: server.bind: expected a port from 0 to 65535, found \"65536\"\n");
	clearenv();
	bad("server: {bind: ['a:1'], ws_bind: ['a:1']}\n",
	    "FILE:1:34: server.ws_bind: has an address that is in server.bind too\n");
	bad("server: {bind: ['a:1'], ws_bind: ['proxy:a:1']}\n",
	    "FILE:1:34: server.ws_bind: has an address that is in server.bind too\n");
}

static void expect_url(const char *name, const char *value, enum conf_provider_id id, const char *url)
{
	struct conf *c;

	clearenv();
	set_env(name, value);
	c = good(NULL);
	assert_string_equal(c->providers[id].base_url, url);
	assert_true(conf_provider_usable(c, id));
	conf_unref(c);
}

static void test_providers(void **state)
{
	struct conf *c;

	(void)state;
	expect_url("OLLAMA_HOST", "0.0.0.0", PROVIDER_OLLAMA, "http://127.0.0.1:11434");
	expect_url("OLLAMA_HOST", "box:1/", PROVIDER_OLLAMA, "http://box:1");
	expect_url("OLLAMA_HOST", "[::1]", PROVIDER_OLLAMA, "http://[::1]:11434");
	expect_url("OLLAMA_HOST", "https://box/x/", PROVIDER_OLLAMA, "https://box/x");
	expect_url("OLLAMA_HOST", "http://localhost:11434", PROVIDER_OLLAMA, "http://localhost:11434");
	expect_url("LM_STUDIO_HOST", "http://box:1234", PROVIDER_LM_STUDIO, "http://box:1234/v1");
	expect_url("OPENAI_BASE_URL", "http://box/v1/", PROVIDER_COMPATIBLE, "http://box/v1");
	clearenv();
	set_env("OPENAI_API_KEY", "k");
	set_env("GOOGLE_API_KEY", "g");
	c = good(NULL);
	assert_string_equal(c->providers[PROVIDER_OPENAI].api_key, "k");
	assert_string_equal(c->providers[PROVIDER_COMPATIBLE].api_key, "");
	assert_string_equal(c->providers[PROVIDER_GEMINI].api_key, "g");
	conf_unref(c);
	/* The key of a local server is not sent to OpenAI. */
	set_env("OPENAI_BASE_URL", "http://box/v1");
	set_env("GEMINI_API_KEY", "first");
	c = good(NULL);
	assert_string_equal(c->providers[PROVIDER_OPENAI].api_key, "");
	assert_string_equal(c->providers[PROVIDER_COMPATIBLE].api_key, "k");
	assert_string_equal(c->providers[PROVIDER_GEMINI].api_key, "first");
	assert_false(conf_demo_active(c));
	conf_unref(c);
	clearenv();
	set_env("ARAGORA_DEMO_MODE", "true");
	set_env("OPENAI_API_KEY", "k");
	c = good(NULL);
	assert_true(conf_demo_active(c));
	conf_unref(c);
}

static void test_redis_url_of_the_environment(void **state)
{
	struct conf *c;

	(void)state;
	clearenv();
	set_env("REDIS_URL", "redis://:p@second:6379/0");
	c = good(NULL);
	assert_string_equal(c->redis.url, "redis://:p@second:6379/0");
	conf_unref(c);
	set_env("ARAGORA_REDIS_URL", "unix:///run/first.sock");
	c = good(NULL);
	assert_string_equal(c->redis.url, "unix:///run/first.sock");
	conf_unref(c);
	clearenv();
}

static void test_secret_files(void **state)
{
	char path[64];
	char expected[200];
	struct conf *c;

	(void)state;
	snprintf(path, sizeof(path), "%s/secret", dir);
	set_env("ARAGORA_API_TOKEN_FILE", write_as(path, " tok\n\n", 6, 0600));
	c = good(NULL);
	assert_string_equal(c->auth.api_token, "tok");
	conf_unref(c);
	assert_int_equal(chmod(path, 0644), 0);
	snprintf(expected, sizeof(expected),
		 "ARAGORA_API_TOKEN_FILE: auth.api_token: %s: readable by everybody; chmod 600 it\n", path);
	bad(NULL, expected);
	write_as(path, "\n", 1, 0600);
	snprintf(expected, sizeof(expected), "ARAGORA_API_TOKEN_FILE: auth.api_token: %s: is empty\n", path);
	bad(NULL, expected);
	write_as(path, "a\0b", 3, 0600);
	bad(NULL, "ARAGORA_API_TOKEN_FILE: auth.api_token: contains a control character\n");
	set_env("ARAGORA_API_TOKEN", "x");
	bad(NULL, "ARAGORA_API_TOKEN: auth.api_token: ARAGORA_API_TOKEN_FILE is set too; set one of them\n");
	clearenv();
	set_env("ARAGORA_JWT_SECRET_FILE", dir);
	snprintf(expected, sizeof(expected), "ARAGORA_JWT_SECRET_FILE: auth.jwt_secret: %s: not a regular file\n", dir);
	bad(NULL, expected);
	assert_int_equal(unlink(path), 0);
}

static void test_production(void **state)
{
	struct conf *c;

	(void)state;
	set_env("ARAGORA_ENVIRONMENT", "production");
	bad("cors: {allowed_origins: ['*']}\nauth: {required: false}\n",
	    "FILE:2:18: auth.required: production demands authentication; remove the setting\n"
	    "FILE: auth.api_token: production demands authentication: set auth.api_token (ARAGORA_API_TOKEN), or "
	    "auth.jwt_secret (ARAGORA_JWT_SECRET) of at least 32 characters\n"
	    "FILE:1:25: cors.allowed_origins: \"*\" is not allowed in production; name the origins\n");
	set_env("ARAGORA_JWT_SECRET", "0123456789012345678901234567890");
	bad(NULL, "ARAGORA_JWT_SECRET: auth.jwt_secret: must have at least 32 characters\n");
	set_env("ARAGORA_JWT_SECRET", "01234567890123456789012345678901");
	c = good(NULL);
	assert_string_equal(c->server.bind.v[0], "0.0.0.0:8080");
	assert_string_equal(c->server.ws_bind.v[0], "0.0.0.0:8765");
	assert_int_equal(c->server.graceful_timeout, 30 * SEC_US);
	assert_true(conf_auth_required(c));
	conf_unref(c);
	/* What is set stays, and the port alone does not move the host. */
	set_env("ARAGORA_PORT", "9000");
	c = good("server: {graceful_timeout: 10, ws_bind: ['127.0.0.1:1']}\n");
	assert_string_equal(c->server.bind.v[0], "0.0.0.0:9000");
	assert_string_equal(c->server.ws_bind.v[0], "127.0.0.1:1");
	assert_int_equal(c->server.graceful_timeout, 10 * SEC_US);
	conf_unref(c);
}

/* All of what is weak at once. */
static void test_weak_in_production(void **state)
{
	(void)state;
	set_env("ARAGORA_ENV", "production");
	set_env("ARAGORA_API_TOKEN", "short");
	bad("auth: {jwt_secret: your-jwt-secret-minimum-32-characters, password_memory: 64KiB}\n"
	    "rate_limit: {enabled: false}\n"
	    "headers: {csp_mode: dev}\n"
	    "redis: {url: redis://localhost}\n"
	    "server: {trusted_proxies: [0.0.0.0/0]}\n",
	    "FILE:1:20: auth.jwt_secret: is still the text of a sample; make a secret of your own\n"
	    "ARAGORA_API_TOKEN: auth.api_token: must have at least 16 characters in production\n"
	    "FILE:1:76: auth.password_memory: times auth.password_passes is too cheap for production: 19 MiB and 2 "
	    "passes, or more\n"
	    "FILE:2:23: rate_limit.enabled: must not be switched off in production\n"
	    "FILE:3:21: headers.csp_mode: \"dev\" lets inline scripts run: not in production\n"
	    "FILE:4:14: redis.url: joins several nodes, but each would keep a database file of its own: set "
	    "storage.dsn\n"
	    "FILE:5:27: server.trusted_proxies: trusts everybody to say where a request comes from; name the "
	    "proxies\n");
}

/* A secret that systemd hands over; the variable that names it outright has the last word. */
static void test_credentials(void **state)
{
	char folder[] = "/tmp/conf_test.XXXXXX";
	struct buf path = BUF_INIT;
	struct conf *c;
	int fd;

	(void)state;
	assert_non_null(mkdtemp(folder));
	buf_printf(&path, "%s/auth.jwt_secret", folder);
	fd = open(path.p, O_WRONLY | O_CREAT | O_CLOEXEC, 0400);
	assert_true(fd >= 0 && write(fd, "of-systemd-01234567890123456789012\n", 35) == 35 && close(fd) == 0);
	set_env("CREDENTIALS_DIRECTORY", folder);
	c = good(NULL);
	assert_string_equal(c->auth.jwt_secret, "of-systemd-01234567890123456789012");
	assert_string_equal(c->auth.api_token, "");
	conf_unref(c);
	set_env("ARAGORA_JWT_SECRET", "of-the-environment-01234567890123");
	c = good(NULL);
	assert_string_equal(c->auth.jwt_secret, "of-the-environment-01234567890123");
	conf_unref(c);
	assert_true(unlink(path.p) == 0 && rmdir(folder) == 0);
	buf_free(&path);
}

/* The switch that is meant for tests takes the limits of WebSockets with it, and production takes no such switch. */
static void test_rate_limits(void **state)
{
	struct conf *c;

	(void)state;
	set_env("ARAGORA_RATE_LIMIT", "90");
	set_env("ARAGORA_IP_RATE_LIMIT", "300");
	set_env("ARAGORA_BURST_MULTIPLIER", "1.5");
	c = good("rate_limit: {rules: ['endpoint.debates/*=100', 'tier.free=0', 'action.export=5/7']}\n");
	assert_int_equal(c->rate_limit.per_token, 90);
	assert_int_equal(c->rate_limit.per_address, 300);
	assert_string_equal(c->rate_limit.burst_multiplier, "1.5");
	assert_int_equal(c->rate_limit.rules.n, 3);
	conf_unref(c);
	bad("rate_limit: {rules: ['x=']}\n",
	    "FILE:1:21: rate_limit.rules: expected a list of: NAME=RATE or NAME=RATE/BURST, such as "
	    "endpoint.debates/*=100, found \"x=\"\n");
	set_env("ARAGORA_BURST_MULTIPLIER", "0.5");
	bad(NULL,
	    "ARAGORA_BURST_MULTIPLIER: rate_limit.burst_multiplier: expected a number from 1 to 100 such as 2 or 1.5, "
	    "found \"0.5\"\n");
	set_env("ARAGORA_BURST_MULTIPLIER", "");
	set_env("ARAGORA_DISABLE_ALL_RATE_LIMITS", "1");
	c = good(NULL);
	assert_false(c->rate_limit.enabled);
	assert_int_equal(c->websocket.message_rate, 0);
	assert_int_equal(c->websocket.connection_rate, 0);
	assert_int_equal(c->websocket.max_per_ip, 0);
	conf_unref(c);
	set_env("ARAGORA_ENV", "production");
	set_env("ARAGORA_JWT_SECRET", "01234567890123456789012345678901");
	set_env("ARAGORA_RATE_LIMIT_STRICT", "1");
	bad(NULL, "ARAGORA_RATE_LIMIT_STRICT: rate_limit.strict: demands Redis in production, but redis.url "
		  "(ARAGORA_REDIS_URL) is empty\n"
		  "ARAGORA_DISABLE_ALL_RATE_LIMITS: rate_limit.disable_all: is not allowed in production\n");
}

/* Naming a server chooses it; a choice that was made stays. */
static void test_store(void **state)
{
	static const char *const dsns[] = {"postgresql://u:p@h:5432/d?sslmode=require", "postgres://u@/d?host=/run/pg",
					   "postgresql+asyncpg://u:p@h/d", "host=a,b port=1,2 dbname=d user=u",
					   "postgresql://a:1,b:2/d?target_session_attrs=read-write"};
	char text[200];
	struct conf *c;
	size_t i;

	(void)state;
	for (i = 0; i < countof(dsns); i++) {
		snprintf(text, sizeof(text), "storage: {dsn: '%s'}\n", dsns[i]);
		c = good(text);
		assert_int_equal(c->storage.backend, STORE_POSTGRES);
		conf_unref(c);
	}
	set_env("DATABASE_URL", "postgresql://u:p@h/d");
	c = good("");
	assert_int_equal(c->storage.backend, STORE_POSTGRES);
	conf_unref(c);
	set_env("ARAGORA_POSTGRES_DSN", "postgresql://u:p@first/d");
	c = good("");
	assert_string_equal(c->storage.dsn, "postgresql://u:p@first/d");
	conf_unref(c);
	c = good("storage: {backend: sqlite}\n");
	assert_int_equal(c->storage.backend, STORE_SQLITE);
	conf_unref(c);
}

static void test_together(void **state)
{
	struct conf *c;

	(void)state;
	bad("redis: {url: 'rediss://:geheim@h'}\n",
	    "FILE:1:14: redis.url: TLS to Redis is not spoken; let stunnel or haproxy carry it and name their local "
	    "port "
	    "with redis://\n");
	bad("storage: {dsn: 'mysql://h'}\n",
	    "FILE:1:16: storage.dsn: mysql is not supported; use postgresql://… or sqlite (leave it empty)\n");
	bad("storage: {backend: postgres}\n", "FILE:1:20: storage.backend: is postgres, but storage.dsn "
					      "(ARAGORA_POSTGRES_DSN, DATABASE_URL) is empty\n");
	bad("storage: {dsn: 'sqlite:///x.db'}\n",
	    "FILE:1:16: storage.dsn: sqlite needs none: leave it empty and set storage.data_dir\n");
	bad("storage: {dsn: 'oracle://h'}\n", "FILE:1:16: storage.dsn: must begin with postgresql://\n");
	/* The password must not come back in the words about it. */
	bad("storage: {dsn: 'postgresql://u:se%cret@h/d'}\n",
	    "FILE:1:16: storage.dsn: is not an address of PostgreSQL: expected "
	    "postgresql://user:password@host:port/database "
	    "(special characters of the password as %XX), or host=… dbname=… user=…\n");
	bad("server: {workers: 5, max_slots: 12}\n",
	    "FILE:1:19: server.workers: must not be more than a third of server.max_slots: during reloads three "
	    "generations live\n");
	bad("server: {timeout: 5, stall_timeout: 6}\n",
	    "FILE:1:37: server.stall_timeout: must not be longer than server.timeout\n");
	bad("server: {bind: []}\n", "FILE:1:16: server.bind: must not be empty unless server.role is worker\n");
	bad("debates: {default_rounds: 13}\n",
	    "FILE:1:27: debates.default_rounds: must not be more than debates.max_rounds\n");
	bad("auth: {jwt_secret: short, jwt_secret_previous: short}\n",
	    "FILE:1:20: auth.jwt_secret: must have at least 32 characters\n"
	    "FILE:1:48: auth.jwt_secret_previous: must have at least 32 characters\n");
	c = good("auth: {required: true}\n"); /* the secret is made, and users log in */
	assert_true(conf_auth_required(c));
	conf_unref(c);
	c = good("server: {timeout: 5, role: worker, bind: []}\nauth: {api_token: x}\n");
	assert_int_equal(c->server.stall_timeout, 5 * SEC_US);
	assert_true(conf_auth_required(c));
	conf_unref(c);
	c = good("auth: {api_token: x, required: false}\n");
	assert_false(conf_auth_required(c));
	conf_unref(c);
}

static void test_reloadable(void **state)
{
	struct conf *a = good("server: {workers: 2, max_slots: 30}\n");
	struct conf *b = good("server: {workers: 3, max_slots: 30}\nlog: {level: debug}\n");
	struct conf *c = good("server: {max_slots: 60}\nstorage: {data_dir: /x}\n");

	(void)state;
	assert_true(conf_reloadable(a, b, &report));
	assert_int_equal(report.n, 0);
	assert_false(conf_reloadable(a, c, &report));
	assert_string_equal(
	    report.p, "server.max_slots: cannot be changed by a reload, is 30, would become 60; restart the server\n"
		      "storage.data_dir: cannot be changed by a reload, is \".nomic\", would become \"/x\"; "
		      "restart the server\n");
	conf_unref(a);
	conf_unref(b);
	conf_unref(c);
}

static void test_refs(void **state)
{
	struct conf *c = good(NULL);

	(void)state;
	assert_ptr_equal(conf_ref(c), c);
	conf_unref(c);
	assert_int_equal(c->refs, 1);
	conf_unref(c);
	conf_unref(NULL);
}

/* The printed configuration, read again, gives the same. */
static void test_print_again(void **state)
{
	struct conf *c = good("server: {bind: ['[::]:1', 'unix:/a\"b\\c'], keepalive: 1500ms}\n"
			      "providers: {demo: {enabled: on, delay_ms: 2s}, ollama: {base_url: 'http://x'}}\n");
	struct buf first = BUF_INIT;
	struct buf second = BUF_INIT;
	struct conf *again;

	(void)state;
	conf_print(c, &first);
	again = good(buf_str(&first).p);
	conf_print(again, &second);
	assert_string_equal(buf_str(&first).p, buf_str(&second).p);
	assert_string_equal(again->server.bind.v[1], "unix:/a\"b\\c");
	assert_int_equal(again->server.keepalive, 1500 * MS_US);
	assert_int_equal(again->demo.delay, 2 * SEC_US);
	buf_free(&first);
	buf_free(&second);
	conf_unref(c);
	conf_unref(again);
}

static void write_group(const char *name, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	write_as(path, text, strlen(text), 0600);
}

static void remove_group(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(remove(path), 0);
}

static void make_group(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(mkdir(path, 0700), 0);
}

static void test_cores(void **state)
{
	char self[64];
	struct conf *c;

	(void)state;
	snprintf(self, sizeof(self), "%s/self", dir);
	make_group("pod");
	make_group("pod/box");
	make_group("cpu");
	assert_int_equal(conf_cgroup_cores(self, dir), 0);
	write_group("self", "0::/pod/box\n");
	assert_int_equal(conf_cgroup_cores(self, dir), 0);
	write_group("pod/box/cpu.max", "max 100000\n");
	assert_int_equal(conf_cgroup_cores(self, dir), 0);
	write_group("pod/cpu.max", "250000 100000\n");
	assert_int_equal(conf_cgroup_cores(self, dir), 3);
	write_group("pod/box/cpu.max", "50000 100000\n");
	assert_int_equal(conf_cgroup_cores(self, dir), 1);
	write_group("self", "5:memory:/pod\n4:cpu,cpuacct:/\n");
	write_group("cpu/cpu.cfs_quota_us", "-1\n");
	write_group("cpu/cpu.cfs_period_us", "100000\n");
	assert_int_equal(conf_cgroup_cores(self, dir), 0);
	write_group("cpu/cpu.cfs_quota_us", "400000\n");
	assert_int_equal(conf_cgroup_cores(self, dir), 4);
	remove_group("self");
	remove_group("cpu/cpu.cfs_quota_us");
	remove_group("cpu/cpu.cfs_period_us");
	remove_group("pod/box/cpu.max");
	remove_group("pod/cpu.max");
	remove_group("pod/box");
	remove_group("pod");
	remove_group("cpu");
	c = good(NULL);
	assert_int_equal(conf_workers(c) % 2, 1);
	assert_in_range(conf_workers(c), 3, 2 * (unsigned long)sysconf(_SC_NPROCESSORS_ONLN) + 1);
	conf_unref(c);
	c = good("server: {max_slots: 8}\n");
	assert_in_range(conf_workers(c), 1, 2);
	conf_unref(c);
}

/* Compares a generated file with what the table gives, or writes it. */
static void same_file(const char *path, void (*generate)(struct buf *out))
{
	struct buf want = BUF_INIT;
	struct buf have = BUF_INIT;
	char *room;
	size_t n;
	FILE *f;

	generate(&want);
	if (getenv("CONF_REGENERATE") != NULL)
		write_as(path, want.p, want.n, 0644);
	f = fopen(path, "r");
	if (f == NULL)
		fail_msg("%s: run the test in the folder of the source", path);
	while ((room = buf_reserve(&have, 4096)) != NULL && (n = fread(room, 1, 4096, f)) > 0)
		buf_commit(&have, n);
	fclose(f);
	if (!str_eq(buf_str(&want), buf_str(&have)))
		fail_msg("%s is not what the table gives; run this test with CONF_REGENERATE=1", path);
	buf_free(&want);
	buf_free(&have);
}

/* Runs first, for the environment is emptied after it. */
static void test_generated(void **state)
{
	struct conf *c;
	struct conf *defaults;
	struct buf first = BUF_INIT;
	struct buf second = BUF_INIT;

	(void)state;
	same_file("conf/aragora.yml", conf_sample);
	same_file("man/aragora.yml.5", conf_manual);
	clearenv();
	c = conf_load("conf/aragora.yml", false, NULL, 0, &report);
	if (c == NULL || report.n > 0)
		fail_msg("conf/aragora.yml: %s", buf_str(&report).p);
	defaults = good(NULL);
	conf_print(c, &first);
	conf_print(defaults, &second);
	assert_string_equal(buf_str(&first).p, buf_str(&second).p);
	assert_true(conf_demo_active(c));
	buf_free(&first);
	buf_free(&second);
	conf_unref(c);
	conf_unref(defaults);
}

struct mention {
	struct str sample, manual;
	size_t n;
};

static void mentioned(void *arg, const char *key, const char *type, const char *dflt, const char *env, const char *help,
		      bool reloadable, bool secret)
{
	struct mention *m = arg;
	char line[128];
	struct str rest = str_of(env);
	struct str one;

	(void)reloadable;
	(void)secret;
	m->n++;
	assert_true(type[0] != '\0' && help[0] != '\0' && dflt != NULL);
	snprintf(line, sizeof(line), ".It Ic %s\n", key);
	if (str_find(m->manual, str_of(line)) < 0)
		fail_msg("the manual lacks %s", key);
	snprintf(line, sizeof(line), " %s: ", strrchr(key, '.') + 1);
	if (str_find(m->sample, str_of(line)) < 0)
		fail_msg("the sample lacks %s", key);
	while (str_split(&rest, ' ', &one))
		if (str_find(m->manual, one) < 0 || str_find(m->sample, one) < 0)
			fail_msg("%.*s is not documented", STR_ARG(one));
}

static void test_documented(void **state)
{
	struct buf sample = BUF_INIT;
	struct buf manual = BUF_INIT;
	struct mention m;

	(void)state;
	conf_sample(&sample);
	conf_manual(&manual);
	m = (struct mention){buf_str(&sample), buf_str(&manual), 0};
	conf_each(mentioned, &m);
	assert_int_equal(m.n, conf_table_size);
	buf_free(&sample);
	buf_free(&manual);
}

int main(void)
{
	const struct CMUnitTest generated[] = {cmocka_unit_test_teardown(test_generated, teardown)};
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(test_defaults, teardown),
	    cmocka_unit_test_teardown(test_file, teardown),
	    cmocka_unit_test_teardown(test_listeners, teardown),
	    cmocka_unit_test_teardown(test_mistakes, teardown),
	    cmocka_unit_test_teardown(test_types, teardown),
	    cmocka_unit_test_teardown(test_yaml, teardown),
	    cmocka_unit_test_teardown(test_secrets, teardown),
	    cmocka_unit_test_teardown(test_many_mistakes, teardown),
	    cmocka_unit_test_teardown(test_unreadable, teardown),
	    cmocka_unit_test_teardown(test_precedence, teardown),
	    cmocka_unit_test_teardown(test_command_line, teardown),
	    cmocka_unit_test_teardown(test_each_variable, teardown),
	    cmocka_unit_test_teardown(test_foreign_variables, teardown),
	    cmocka_unit_test_teardown(test_addresses, teardown),
	    cmocka_unit_test_teardown(test_providers, teardown),
	    cmocka_unit_test_teardown(test_redis_url_of_the_environment, teardown),
	    cmocka_unit_test_teardown(test_secret_files, teardown),
	    cmocka_unit_test_teardown(test_production, teardown),
	    cmocka_unit_test_teardown(test_weak_in_production, teardown),
	    cmocka_unit_test_teardown(test_credentials, teardown),
	    cmocka_unit_test_teardown(test_rate_limits, teardown),
	    cmocka_unit_test_teardown(test_store, teardown),
	    cmocka_unit_test_teardown(test_together, teardown),
	    cmocka_unit_test_teardown(test_reloadable, teardown),
	    cmocka_unit_test_teardown(test_refs, teardown),
	    cmocka_unit_test_teardown(test_print_again, teardown),
	    cmocka_unit_test_teardown(test_cores, teardown),
	    cmocka_unit_test(test_field_types),
	    cmocka_unit_test_teardown(test_documented, teardown),
	};
	int failed = cmocka_run_group_tests_name("generated files", generated, NULL, NULL);

	return failed + cmocka_run_group_tests_name("configuration", tests, setup_all, teardown_all);
}
