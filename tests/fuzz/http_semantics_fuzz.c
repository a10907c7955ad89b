/* SPDX-License-Identifier: MIT */
/*
 * Any text as Accept-Encoding, Accept, entity tags, dates and ranges: nothing is read outside of it, a range lies
 * within the body, and a coding that is chosen was offered.
 */
#include "worker/http/http_semantics.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct str piece(const char *text, size_t n, size_t at)
{
	struct str rest = {text, n}, line = STR("");

	while (str_split(&rest, '\n', &line) && at > 0)
		at--;
	return line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	/* A copy of exactly this size: the sanitizer sees what is read beyond it. */
	char *text = malloc(n > 0 ? n : 1);
	struct http_field fields[] = {{STR("Range"), STR("")},         {STR("If-Range"), STR("")},
				      {STR("If-Match"), STR("")},      {STR("If-None-Match"), STR("")},
				      {STR("If-None-Match"), STR("")}, {STR("If-Modified-Since"), STR("")}};
	struct http_request req = {.arena = arena_new(0), .fields = fields};
	struct http_validators v = {STR("\"x\""), 784111777};
	uint64_t from = 0, length = 0, size = n % 1000;
	enum http_coding coding;

	BUG_ON(text == NULL);
	memcpy(text, data, n);
	for (req.field_count = 0; req.field_count < countof(fields); req.field_count++)
		fields[req.field_count].value = piece(text, n, req.field_count);
	if (http_range(&req, &v, size, &from, &length) == RANGE_PART)
		BUG_ON(length == 0 || from >= size || length > size - from);
	(void)http_condition(&req, &v);
	(void)http_accepts((struct str){text, n}, STR("text/html"));
	coding = http_coding_choose((struct str){text, n}, 1u << CODING_IDENTITY | 1u << CODING_GZIP);
	BUG_ON(coding != CODING_IDENTITY && coding != CODING_GZIP);
	arena_free(req.arena);
	free(text);
	return 0;
}
