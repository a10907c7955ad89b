/* SPDX-License-Identifier: MIT */
/*
 * `aragorad routes [-c FILE]`: every route with its permission, rate class, body limit and the chain that was compiled
 * for it. Reads the same tables as the workers; starts nothing.
 */
#include "master/args.h"
#include "master/commands/commands.h"
#include "worker/http/route.h"
#include "worker/worker.h"

enum routes_column { COLUMN_METHOD, COLUMN_PATH, COLUMN_PERMISSION, COLUMN_RATE, COLUMN_BODY, COLUMN_CHAIN, COLUMNS };

struct routes_line {
	char *cell[COLUMNS];
};

struct routes_list {
	const struct conf *conf;
	struct routes_line *v;
	size_t n;
};

static const char *const routes_rates[] = {
    [RATE_NONE] = "-", [RATE_READ] = "read", [RATE_WRITE] = "write", [RATE_CREATE] = "create", [RATE_EXPORT] = "export",
};

/* "64KiB" when it comes out even, else bytes. */
static void routes_size(char out[32], size_t n)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB"};
	size_t unit = 0;

	while (n >= 1024 && n % 1024 == 0 && unit + 1 < countof(units)) {
		n /= 1024;
		unit++;
	}
	snprintf(out, 32, "%zu%s", n, units[unit]);
}

static bool routes_has_body(const struct route *r)
{
	return r->method == HTTP_POST || r->method == HTTP_PUT || r->method == HTTP_PATCH;
}

static void routes_add(struct routes_list *l, const char *const cell[COLUMNS])
{
	l->v = xrealloc(l->v, (l->n + 1) * sizeof(*l->v));
	for (size_t i = 0; i < COLUMNS; i++)
		l->v[l->n].cell[i] = xstrdup(cell[i]);
	l->n++;
}

static void routes_on_route(void *arg, const struct route *r, const char *chain, bool waits)
{
	struct routes_list *l = arg;
	struct buf text = BUF_INIT;
	char body[32] = "-";

	if (routes_has_body(r) || r->body_limit != 0)
		routes_size(body, r->body_limit != 0 ? r->body_limit : (size_t)l->conf->limits.body_bytes);
	buf_printf(&text, "%s%s", chain, waits ? " (waits)" : " (inline)");
	routes_add(l, (const char *const[COLUMNS]){
			  [COLUMN_METHOD] = (r->flags & ROUTE_WS) != 0 ? "WS" : http_method_name(r->method),
			  [COLUMN_PATH] = r->path,
			  [COLUMN_PERMISSION] = (r->flags & ROUTE_PUBLIC) != 0 ? "public" : r->permission,
			  [COLUMN_RATE] = routes_rates[r->rate],
			  [COLUMN_BODY] = body,
			  [COLUMN_CHAIN] = text.p,
		      });
	buf_free(&text);
}

static void routes_print(const struct routes_list *l)
{
	size_t width[COLUMNS] = {0};

	for (size_t i = 0; i < l->n; i++) {
		for (size_t k = 0; k < COLUMNS; k++) {
			if (strlen(l->v[i].cell[k]) > width[k])
				width[k] = strlen(l->v[i].cell[k]);
		}
	}
	for (size_t i = 0; i < l->n; i++) {
		for (size_t k = 0; k + 1 < COLUMNS; k++)
			printf("%-*s  ", (int)width[k], l->v[i].cell[k]);
		printf("%s\n", l->v[i].cell[COLUMN_CHAIN]);
	}
}

static void routes_free(struct routes_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		for (size_t k = 0; k < COLUMNS; k++)
			free(l->v[i].cell[k]);
	}
	free(l->v);
}

static int routes_show(const struct args *a)
{
	struct error err = ERROR_INIT;
	struct conf *c = args_conf(a);
	struct routes_list list = {.conf = c};
	struct router *r;

	if (c == NULL)
		return EXIT_CONFIG;
	r = worker_routes(c, &err);
	if (r == NULL) {
		fprintf(stderr, "aragorad: the route tables are not valid: %s\n", err.msg);
		conf_unref(c);
		return EXIT_FAILED;
	}
	routes_add(&list, (const char *const[COLUMNS]){"METHOD", "PATH", "PERMISSION", "RATE", "BODY", "CHAIN"});
	router_each(r, routes_on_route, &list);
	routes_print(&list);
	routes_free(&list);
	router_free(r);
	conf_unref(c);
	return EXIT_OK;
}

static int routes_run(int argc, char **argv)
{
	struct args a = {0};
	int code;

	return args_parse(&command_routes, &a, argc, argv, &code) ? routes_show(&a) : code;
}

static const struct arg routes_args[] = {ARG_CONF, ARG_HELP, ARG_END};

const struct command command_routes = {
    .name = "routes",
    .synopsis = "[-c FILE]",
    .summary = "print every route with its permission, limits and chain",
    .args = routes_args,
    .run = routes_run,
};
