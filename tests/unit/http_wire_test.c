/* SPDX-License-Identifier: MIT */
/*
 * Runs every file of tests/http: raw requests and what must come back. Each is delivered whole, byte by byte, and
 * behind another request on the same connection.
 *
 * A file: "# why", then "> STATUS [close|open] [body]" per expected reply, then the bytes. In the bytes a line break of
 * the file is nothing; \r \n \t \\ \xHH are themselves, \{N:c} is N times c. "> 0 open": no reply, and the connection
 * waits.
 */
#include "http_harness.h"

#include <dirent.h>

static void on_hello(struct http_request *req)
{
	http_reply(req, 200, "text/plain", STR("hello"));
}

static void on_echo(struct http_request *req)
{
	http_reply(req, 200, "text/plain", req->body);
}

static void on_path(struct http_request *req)
{
	http_reply(req, 200, "text/plain", req->params[0]);
}

static const struct route rows[] = {
    {.method = HTTP_GET, .path = "/hello", .handler = on_hello, .flags = ROUTE_PUBLIC | ROUTE_INLINE},
    {.method = HTTP_POST,
     .path = "/echo",
     .handler = on_echo,
     .flags = ROUTE_PUBLIC | ROUTE_ANY_TYPE,
     .body_limit = 1000},
    {.method = HTTP_GET, .path = "/api/things/{id}", .handler = on_path, .flags = ROUTE_PUBLIC | ROUTE_INLINE},
};
static const struct route_table table = {rows, countof(rows)};

struct expected {
	int status;
	bool close;
	struct str body;
};

struct fixture {
	struct expected replies[16];
	size_t count;
	bool waits; /* "> 0 open" */
	struct buf bytes;
};

static void fixture_line(struct fixture *f, struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		uint64_t n;
		ptrdiff_t colon;

		if (s.p[i] != '\\') {
			buf_addc(&f->bytes, s.p[i]);
			continue;
		}
		switch (s.p[++i]) {
		case 'r':
			buf_addc(&f->bytes, '\r');
			break;
		case 'n':
			buf_addc(&f->bytes, '\n');
			break;
		case 't':
			buf_addc(&f->bytes, '\t');
			break;
		case 'x':
			buf_addc(&f->bytes, (char)(str_hex_digit(s.p[i + 1]) << 4 | str_hex_digit(s.p[i + 2])));
			i += 2;
			break;
		case '{':
			colon = str_chr(str_sub(s, i, s.n), ':');
			assert_true(colon > 0);
			assert_true(str_to_u64(str_sub(s, i + 1, i + (size_t)colon), 100000, &n));
			while (n-- > 0)
				buf_addc(&f->bytes, s.p[i + (size_t)colon + 1]);
			i += (size_t)colon + 2;
			break;
		default:
			buf_addc(&f->bytes, s.p[i]);
			break;
		}
	}
}

static void fixture_expect(struct fixture *f, struct str line)
{
	struct expected *e = &f->replies[f->count];
	struct str rest = line, word;
	uint64_t status;

	assert_true(str_split(&rest, ' ', &word) && str_to_u64(word, 599, &status));
	e->status = (int)status;
	e->close = str_split(&rest, ' ', &word) && str_eqz(word, "close");
	e->body = rest;
	f->waits |= status == 0;
	f->count += status != 0;
	assert_true(f->count < countof(f->replies));
}

static void fixture_parse(struct fixture *f, struct str text)
{
	struct str line;

	while (str_split(&text, '\n', &line)) {
		if (str_starts(line, STR("# ")))
			continue;
		if (str_starts(line, STR("> ")))
			fixture_expect(f, str_sub(line, 2, line.n));
		else
			fixture_line(f, line);
	}
}

static void fixture_check(struct harness *h, const struct fixture *f, const char *name, const char *how)
{
	bool closes = false;

	for (size_t i = 0; i < f->count; i++) {
		const struct expected *e = &f->replies[i];
		struct answer a;

		if (getenv("HTTP_WIRE_VERBOSE") != NULL)
			print_message("%s (%s)\n", name, how);
		a = harness_answer(h);
		/* Byte by byte the body has not come along with the head. */
		if (a.status == 100 && e->status != 100)
			a = harness_answer(h);
		if (a.status != e->status)
			fail_msg("%s (%s): reply %zu has status %d, not %d", name, how, i + 1, a.status, e->status);
		if (e->body.n > 0 && !str_eq(a.body, e->body))
			fail_msg("%s (%s): reply %zu says \"%.*s\"", name, how, i + 1, STR_ARG(a.body));
		if (e->status >= 200 && e->close != answer_has(&a, "\r\nConnection: close\r\n"))
			fail_msg("%s (%s): reply %zu: Connection is wrong", name, how, i + 1);
		closes |= e->close;
	}
	harness_turns(h, 5);
	if (h->in.n > 0)
		fail_msg("%s (%s): unexpected \"%.*s\"", name, how, STR_ARG(buf_str(&h->in)));
	if (closes != h->eof)
		fail_msg("%s (%s): the connection is %s", name, how, h->eof ? "closed" : "open");
	if (closes || f->waits)
		return;
	harness_sendz(h, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
	if (!str_eqz(harness_answer(h).body, "hello"))
		fail_msg("%s (%s): the next request is not answered", name, how);
}

static void fixture_run(struct harness *h, const char *name, struct str text)
{
	struct fixture f = {.count = 0};
	struct str bytes;

	fixture_parse(&f, text);
	assert_true(f.count > 0 || f.waits);
	bytes = buf_str(&f.bytes);
	harness_connect(h);
	harness_send(h, bytes, 0);
	fixture_check(h, &f, name, "whole");

	harness_connect(h);
	harness_send(h, bytes, 1);
	fixture_check(h, &f, name, "byte by byte");

	harness_connect(h);
	{
		struct buf glued = BUF_INIT;

		buf_addz(&glued, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nfirst");
		buf_add(&glued, bytes);
		harness_send(h, buf_str(&glued), 0);
		buf_free(&glued);
	}
	if (!str_eqz(harness_answer(h).body, "first"))
		fail_msg("%s (glued): the first request is not answered", name);
	fixture_check(h, &f, name, "glued");
	buf_free(&f.bytes);
}

static char *fixture_load(const char *path, struct str *text)
{
	FILE *file = fopen(path, "re");
	char *p = xmalloc(65536);

	if (file == NULL)
		fail_msg("cannot open %s", path);
	text->p = p;
	text->n = fread(p, 1, 65536, file);
	fclose(file);
	return p;
}

static void run_folder(const char *folder, size_t at_least)
{
	struct harness *h = harness_new(NULL, 0, &table);
	struct dirent *e;
	size_t count = 0;
	DIR *d = opendir(folder);

	if (d == NULL)
		fail_msg("cannot open %s: run from the root of the tree", folder);
	while ((e = readdir(d)) != NULL) {
		char path[512];
		struct str text;
		char *p;

		if (!str_ends(str_of(e->d_name), STR(".req")))
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
		p = fixture_load(path, &text);
		fixture_run(h, path, text);
		free(p);
		count++;
	}
	closedir(d);
	assert_true(count >= at_least);
	harness_free(h);
}

static void test_valid(void **state)
{
	(void)state;
	run_folder("tests/http/valid", 70);
}

static void test_invalid(void **state)
{
	(void)state;
	run_folder("tests/http/invalid", 110);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_valid), cmocka_unit_test(test_invalid)};

	return cmocka_run_group_tests_name("http_wire", tests, NULL, NULL);
}
