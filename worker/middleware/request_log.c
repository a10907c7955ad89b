/* SPDX-License-Identifier: MIT */
/*
 * One access line per request, when its answer is on its way; a stream or socket is logged when it begins. How a line
 * looks is access_format.c.
 */
#include "common/conf.h"
#include "common/log.h"
#include "worker/middleware/pipeline.h"

/* The compiled format of this process and the text it came from: log lines are per process. */
static struct access_format *request_log_format;
static char *request_log_text;

static void request_log_compile(const char *text)
{
	if (request_log_text != NULL && strcmp(request_log_text, text) == 0)
		return;
	access_format_free(request_log_format);
	free(request_log_text);
	request_log_format = access_format_compile(text);
	request_log_text = xstrdup(text);
}

static void request_log_after(struct http_request *req)
{
	const struct conf *c = middleware_conf(req);
	char *line;

	/* An empty target switches access lines off. */
	if (c->log.access[0] == '\0')
		return;
	request_log_compile(c->log.access_format);
	line = log_access_room();
	if (line != NULL)
		log_access_commit(access_format_line(request_log_format, req, line));
}

const struct middleware middleware_request_log = {.name = "request_log", .after = request_log_after};
