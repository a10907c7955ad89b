/* SPDX-License-Identifier: MIT */
/*
 * `aragorad status [-c FILE] [--json]`: asks the running master over its control socket and prints a table for people,
 * or the document as it came. Finds the socket by the same configuration as the server.
 */
#include "common/json.h"
#include "master/args.h"
#include "master/commands/commands.h"
#include "master/control.h"

#define STATUS_MIB (1024.0 * 1024.0)

/* "3d 4h", "5h 12m", "7m 3s", "42s" */
static void status_duration(char out[32], int64_t s)
{
	static const struct {
		int64_t s;
		int64_t below;
		const char *unit, *small;
	} scale[] = {
	    {86400, 3600, "d", "h"},
	    {3600, 60, "h", "m"},
	    {60, 1, "m", "s"},
	};

	for (size_t i = 0; i < countof(scale); i++) {
		if (s >= scale[i].s) {
			snprintf(out, 32, "%lld%s %lld%s", (long long)(s / scale[i].s), scale[i].unit,
				 (long long)(s % scale[i].s / scale[i].below), scale[i].small);
			return;
		}
	}
	snprintf(out, 32, "%llds", (long long)s);
}

/* "generation 3: 2 serving, 1 booting", the newest first. */
static void status_print_generation(const json_t *workers, int64_t generation)
{
	static const char *const states[] = {"serving", "booting", "draining", "exiting", "stalled"};
	json_t *w;
	bool first = true;
	size_t i;

	printf("generation    %lld:", (long long)generation);
	for (size_t k = 0; k < countof(states); k++) {
		unsigned n = 0;

		json_array_foreach(workers, i, w) n += json_get_int(w, "generation", 0) == generation &&
						       str_eqz(json_get_str(w, "state", STR("")), states[k]);
		if (n > 0)
			printf("%s %u %s", first ? "" : ",", n, states[k]);
		first = first && n == 0;
	}
	printf("\n");
}

static void status_print_generations(const json_t *workers)
{
	int64_t below = INT64_MAX;

	for (;;) {
		int64_t next = 0;
		json_t *w;
		size_t i;

		json_array_foreach(workers, i, w)
		{
			int64_t g = json_get_int(w, "generation", 0);

			if (g < below && g > next)
				next = g;
		}
		if (next == 0)
			return;
		status_print_generation(workers, next);
		below = next;
	}
}

static void status_print_head(const json_t *doc)
{
	json_t *listeners = json_get_arr(doc, "listeners"), *l;
	char uptime[32];
	size_t i;

	status_duration(uptime, json_get_int(doc, "uptime_s", 0));
	printf("aragorad %.*s, pid %lld, up %s, generation %lld, %lld reloads%s%s\n",
	       STR_ARG(json_get_str(doc, "version", STR("?"))), (long long)json_get_int(doc, "pid", 0), uptime,
	       (long long)json_get_int(doc, "generation", 0), (long long)json_get_int(doc, "reloads", 0),
	       json_get_bool(doc, "reloading", false) ? ", reloading" : "",
	       json_get_bool(doc, "stopping", false) ? ", stopping" : "");
	printf("configuration %.*s\n", STR_ARG(json_get_str(doc, "config", STR(""))));
	printf("data folder   %.*s\n", STR_ARG(json_get_str(doc, "data_dir", STR(""))));
	printf("listens on   ");
	json_array_foreach(listeners, i, l) printf(" %s", json_string_value(l));
	printf("\n");
	if (json_get_int(doc, "other_master", 0) != 0)
		printf("upgrade       beside master %lld\n", (long long)json_get_int(doc, "other_master", 0));
	status_print_generations(json_get_arr(doc, "workers"));
	printf("\n");
}

static void status_print_worker(const json_t *w)
{
	char age[32];

	status_duration(age, json_get_int(w, "age_s", 0));
	printf("%4lld %8lld %8lld %4lld  %-8.*s %8s %5lldms %7lld %7lld %7lld %9lld %7.1f  %.*s\n",
	       (long long)json_get_int(w, "slot", 0), (long long)json_get_int(w, "pid", 0),
	       (long long)json_get_int(w, "master", 0), (long long)json_get_int(w, "generation", 0),
	       STR_ARG(json_get_str(w, "state", STR("?"))), age, (long long)json_get_int(w, "heartbeat_ms", 0),
	       (long long)json_get_int(w, "connections", 0), (long long)json_get_int(w, "sockets", 0),
	       (long long)json_get_int(w, "debates", 0), (long long)json_get_int(w, "requests", 0),
	       json_get_num(w, "rss_bytes", 0) / STATUS_MIB, STR_ARG(json_get_str(w, "action", STR(""))));
}

static void status_print(const json_t *doc)
{
	json_t *w;
	size_t i;

	status_print_head(doc);
	printf("%4s %8s %8s %4s  %-8s %8s %7s %7s %7s %7s %9s %7s  %s\n", "SLOT", "PID", "MASTER", "GEN", "STATE",
	       "AGE", "BEAT", "CONNS", "SOCKETS", "DEBATES", "REQUESTS", "MiB", "DOING");
	json_array_foreach(json_get_arr(doc, "workers"), i, w) status_print_worker(w);
}

static int status_show(const struct args *a)
{
	struct error err = ERROR_INIT;
	struct buf answer = BUF_INIT;
	struct conf *c = args_conf(a);
	json_t *doc = NULL;
	int code = EXIT_FAILED;

	if (c == NULL)
		return EXIT_CONFIG;
	if (control_ask(c, "status", &answer, &err))
		doc = json_parse(NULL, buf_str(&answer), &err);
	if (doc == NULL) {
		fprintf(stderr, "aragorad: %s\n", err.msg);
	} else {
		if (a->json)
			printf("%.*s", STR_ARG(buf_str(&answer)));
		else
			status_print(doc);
		code = EXIT_OK;
	}
	json_decref(doc);
	buf_free(&answer);
	conf_unref(c);
	return code;
}

static int status_run(int argc, char **argv)
{
	struct args a = {0};
	int code;

	return args_parse(&command_status, &a, argc, argv, &code) ? status_show(&a) : code;
}

static const struct arg status_args[] = {ARG_CONF, ARG_JSON, ARG_HELP, ARG_END};

const struct command command_status = {
    .name = "status",
    .synopsis = "[-c FILE] [--json]",
    .summary = "show the running server: workers, connections, debates, memory",
    .args = status_args,
    .run = status_run,
};
