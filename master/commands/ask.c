/* SPDX-License-Identifier: MIT */
/*
 * `aragorad ask`: asks a running server a question, shows the debate as it happens, and verifies the receipt. A client
 * like any other: plain HTTP and server-sent events; a broken stream is resumed at the last event seen.
 */
#include "master/commands/commands.h"

#include <curl/curl.h>
#include <unistd.h>

#include "common/arena.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/sse.h"
#include "master/args.h"
#include "master/commands/ask_view.h"

#define ASK_EVENT_MAX (4 * 1024 * 1024)
#define ASK_PATIENCE (60 * SEC_US) /* without any event while the server cannot be reached */
#define ASK_RETRY_US 300000
#define ASK_SILENCE_S 60L /* the server sends a sign of life every 15 s */

struct ask {
	struct args args;
	const char *url, *token, *receipt_path;
	const char *agents, *rounds, *consensus;
	struct arena *arena;
	struct ask_view *view;
	char debate_id[130];
	int64_t last_seq, last_news_us;
	bool ended;
};

/* ---- HTTP ---- */

static size_t ask_collect(char *p, size_t size, size_t n, void *arg)
{
	buf_add(arg, (struct str){p, size * n});
	return size * n;
}

static CURL *ask_curl(const struct ask *k, struct str path, struct curl_slist **headers)
{
	CURL *c = curl_easy_init();
	struct str token = str_of(k->token);

	BUG_ON(c == NULL);
	curl_easy_setopt(c, CURLOPT_URL, arena_printf(k->arena, "%s%.*s", k->url, STR_ARG(path)).p);
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, 10L);
	curl_easy_setopt(c, CURLOPT_USERAGENT, "aragorad-ask/" ARAGORA_VERSION);
	if (token.n > 0)
		*headers =
		    curl_slist_append(*headers, arena_printf(k->arena, "Authorization: Bearer %.*s", STR_ARG(token)).p);
	return c;
}

/* One exchange. NULL after saying on stderr what went wrong. */
static json_t *ask_json(const struct ask *k, struct str path, const char *body)
{
	struct curl_slist *headers = NULL;
	struct buf answer = BUF_LIMIT(64 * 1024 * 1024);
	struct error err = ERROR_INIT;
	CURL *c = ask_curl(k, path, &headers);
	json_t *doc = NULL;
	CURLcode rc;
	long status = 0;

	headers = curl_slist_append(headers, "Accept: application/json");
	if (body != NULL) {
		headers = curl_slist_append(headers, "Content-Type: application/json");
		curl_easy_setopt(c, CURLOPT_POSTFIELDS, body);
	}
	curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(c, CURLOPT_TIMEOUT, 60L);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, ask_collect);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, &answer);
	rc = curl_easy_perform(c);
	curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
	if (rc != CURLE_OK) {
		fprintf(stderr, "aragorad ask: %s: %s\n", k->url, curl_easy_strerror(rc));
	} else {
		doc = json_parse(k->arena, buf_str(&answer), &err);
		if (status >= 300) {
			fprintf(stderr, "aragorad ask: the server refused (%ld): %.*s\n", status,
				STR_ARG(json_get_str(doc, "error", buf_str(&answer))));
			doc = NULL;
		} else if (doc == NULL) {
			fprintf(stderr, "aragorad ask: the answer of %s cannot be read: %s\n", k->url, err.msg);
		}
	}
	curl_slist_free_all(headers);
	curl_easy_cleanup(c);
	buf_free(&answer);
	return doc;
}

/* ---- the stream ---- */

struct ask_stream {
	struct ask *k;
	struct sse sse;
};

static bool ask_on_event(void *arg, struct str event, struct str data)
{
	struct ask *k = arg;
	struct error err = ERROR_INIT;
	json_t *e = json_parse(NULL, data, &err);
	int64_t seq = json_get_int(e, "seq", 0);

	(void)event;
	k->last_news_us = clock_mono_us();
	if (seq > k->last_seq)
		k->last_seq = seq;
	if (e != NULL && k->view != NULL)
		ask_view_event(k->view, e);
	k->ended = str_eqz(json_get_str(e, "type", STR("")), "debate_end");
	json_decref(e);
	return !k->ended;
}

static size_t ask_on_bytes(char *p, size_t size, size_t n, void *arg)
{
	struct ask_stream *s = arg;

	return sse_feed(&s->sse, (struct str){p, size * n}, ask_on_event, s->k) ? size * n : 0;
}

static void ask_stream_once(struct ask *k)
{
	struct ask_stream s = {.k = k};
	struct curl_slist *headers = NULL;
	CURL *c = ask_curl(k,
			   arena_printf(k->arena, "/api/debates/%s/events?stream=1&after_seq=%lld", k->debate_id,
					(long long)k->last_seq),
			   &headers);

	headers = curl_slist_append(headers, "Accept: text/event-stream");
	sse_init(&s.sse, ASK_EVENT_MAX);
	curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, ASK_SILENCE_S);
	curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, ask_on_bytes);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, &s);
	(void)curl_easy_perform(c); /* however it ended: the loop looks at what was seen */
	sse_free(&s.sse);
	curl_slist_free_all(headers);
	curl_easy_cleanup(c);
}

/* A restart of the server or a broken connection is no reason to stop: the stream goes on after the last event. */
static bool ask_watch(struct ask *k)
{
	k->last_news_us = clock_mono_us();
	while (!k->ended && clock_mono_us() - k->last_news_us < ASK_PATIENCE) {
		ask_stream_once(k);
		if (!k->ended)
			(void)usleep(ASK_RETRY_US);
	}
	return k->ended;
}

/* ---- the question ---- */

static json_t *ask_body(const struct ask *k, const char *question)
{
	json_t *body = json_object();
	int64_t rounds;

	json_put_str(body, "task", str_of(question));
	if (k->agents != NULL)
		json_put_str(body, "agents", str_of(k->agents));
	if (k->consensus != NULL)
		json_put_str(body, "consensus", str_of(k->consensus));
	if (k->rounds != NULL && str_to_i64(str_of(k->rounds), 1, 1000, &rounds))
		json_put_int(body, "rounds", rounds);
	else if (k->rounds != NULL)
		json_put_str(body, "rounds", str_of(k->rounds)); /* the server says what is wrong with it */
	return json_own(k->arena, body);
}

static void ask_save_receipt(struct ask *k, struct str receipt_id)
{
	struct curl_slist *headers = NULL;
	CURL *c = ask_curl(k, arena_printf(k->arena, "/api/receipts/%.*s?format=html", STR_ARG(receipt_id)), &headers);
	FILE *f = fopen(k->receipt_path, "we");

	curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L);
	if (f == NULL) {
		perror(k->receipt_path);
	} else {
		curl_easy_setopt(c, CURLOPT_WRITEDATA, f);
		if (curl_easy_perform(c) != CURLE_OK)
			fprintf(stderr, "aragorad ask: the receipt could not be saved to %s\n", k->receipt_path);
		if (fclose(f) != 0)
			perror(k->receipt_path);
	}
	curl_slist_free_all(headers);
	curl_easy_cleanup(c);
}

static int ask_report(struct ask *k)
{
	json_t *debate = ask_json(k, arena_printf(k->arena, "/api/debates/%s", k->debate_id), NULL), *receipt = NULL,
	       *check = NULL;
	struct str id = json_get_str(debate, "receipt_id", STR(""));

	if (debate == NULL)
		return EXIT_FAILED;
	if (id.n > 0) {
		receipt = ask_json(k, arena_printf(k->arena, "/api/receipts/%.*s", STR_ARG(id)), NULL);
		check = ask_json(k, arena_printf(k->arena, "/api/receipts/%.*s/verify", STR_ARG(id)), "{}");
		if (k->receipt_path != NULL)
			ask_save_receipt(k, id);
	}
	if (k->args.json) {
		json_object_set(debate, "receipt", receipt != NULL ? receipt : json_null());
		json_object_set(debate, "receipt_check", check != NULL ? check : json_null());
		printf("%.*s\n", STR_ARG(json_text(k->arena, debate)));
	} else {
		ask_view_result(k->view, debate, receipt, check);
	}
	return str_eqz(json_get_str(debate, "status", STR("")), "completed") ? EXIT_OK : EXIT_FAILED;
}

static int ask_question(struct ask *k, const char *question)
{
	struct str body = json_text(k->arena, ask_body(k, question));
	json_t *created = ask_json(k, STR("/api/debates"), body.p);

	if (created == NULL)
		return EXIT_FAILED;
	(void)snprintf(k->debate_id, sizeof(k->debate_id), "%.*s", STR_ARG(json_get_str(created, "id", STR(""))));
	if (!k->args.json) {
		printf("Debate   %s\n", k->debate_id);
		if (json_get_bool(created, "demo", false))
			printf("         played by built-in demo agents, because no model provider is configured\n");
		printf("\n");
		k->view = ask_view_new(stdout);
	}
	if (!ask_watch(k)) {
		fprintf(stderr, "aragorad ask: the server cannot be reached any more; the debate goes on there as %s\n",
			k->debate_id);
		return EXIT_FAILED;
	}
	if (k->view != NULL)
		ask_view_flush(k->view);
	return ask_report(k);
}

/* ---- the command ---- */

#define ASK_TEXT(n, l, field, v, h)                                                                  \
	{                                                                                            \
		.name = n, .letter = l, .offset = offsetof(struct ask, field), .value = v, .help = h \
	}
static const struct arg ask_args[] = {
    ASK_TEXT("url", 'u', url, "URL", "server (default: ARAGORA_API_URL or http://127.0.0.1:8080)"),
    ASK_TEXT("token", 't', token, "TOKEN", "API token (default: ARAGORA_API_TOKEN)"),
    ASK_TEXT("agents", 'a', agents, "A,B,C", "who takes part: names or provider|model|persona|role"),
    ASK_TEXT("rounds", 'r', rounds, "N", "debate rounds after the independent drafts"),
    ASK_TEXT("consensus", 'c', consensus, "MODE",
	     "majority, weighted, supermajority, unanimous, semantic, any, byzantine, judge, hybrid or none"),
    ASK_TEXT("receipt", 'o', receipt_path, "FILE", "save the receipt as an HTML page"),
    {.name = "json",
     .letter = 'j',
     .kind = ARG_FLAG,
     .offset = offsetof(struct args, json),
     .help = "print the result as JSON and nothing else"},
    ARG_HELP,
    ARG_END,
#undef ASK_TEXT
};

static int ask_run(int argc, char **argv)
{
	struct ask k = {.url = getenv("ARAGORA_API_URL"), .token = getenv("ARAGORA_API_TOKEN")};
	int code;

	if (!args_parse(&command_ask, &k.args, argc, argv, &code))
		return code;
	if (k.url == NULL || k.url[0] == '\0')
		k.url = "http://127.0.0.1:8080";
	curl_global_init(CURL_GLOBAL_DEFAULT);
	k.arena = arena_new(0);
	code = ask_question(&k, k.args.operands[0]);
	if (k.view != NULL)
		ask_view_free(k.view);
	arena_free(k.arena);
	curl_global_cleanup();
	return code;
}

const struct command command_ask = {
    .name = "ask",
    .synopsis = "[OPTION...] QUESTION",
    .summary = "ask a running server a question and watch the debate",
    .about = "Asks a running server a question and shows the debate as it happens.",
    .args = ask_args,
    .operands_min = 1,
    .operands_max = 1,
    .run = ask_run,
};
