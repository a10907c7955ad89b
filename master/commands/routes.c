/* SPDX-License-Identifier: MIT */
/*
 * `aragorad routes [-c FILE]`: every route with its permission, rate class, body limit and the chain that was compiled
 * for it. Reads the same tables as the workers; starts nothing.
 */
#include "master/args.h"
#include "master/commands/commands.h"
#include "master/commands/table.h"
#include "worker/http/route.h"
#include "worker/limits/limits.h"
#include "worker/permission/permission.h"
#include "worker/worker.h"

struct routes_list {
	const struct conf *conf;
	struct table *table;
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

static void routes_on_route(void *arg, const struct route *r, const char *chain, bool waits)
{
	struct routes_list *l = arg;
	struct buf text = BUF_INIT, rates = BUF_INIT;
	char body[32] = "-";

	limits_describe(r, &rates);
	if (routes_has_body(r) || r->body_limit != 0)
		routes_size(body, r->body_limit != 0 ? r->body_limit : (size_t)l->conf->limits.body_bytes);
	buf_printf(&text, "%s%s", chain, waits ? " (waits)" : " (inline)");
	table_cell(l->table, "%s", (r->flags & ROUTE_WS) != 0 ? "WS" : http_method_name(r->method));
	table_cell(l->table, "%s", r->path);
	table_cell(l->table, "%s",
		   (r->flags & ROUTE_PUBLIC) != 0 ? "public" : permission_key(permission_find(str_of(r->permission))));
	table_cell(l->table, "%s", rates.n > 0 ? rates.p : limits_apply(r) ? "caller" : "-");
	table_cell(l->table, "%s", body);
	table_cell(l->table, "%s", text.p);
	buf_free(&text);
	buf_free(&rates);
}

static int routes_show(const struct args *a)
{
	struct error err = ERROR_INIT;
	struct conf *c = args_conf(a);
	static const struct table_column columns[] = {{"METHOD", false}, {"PATH", false}, {"PERMISSION", false},
						      {"RATE", false},   {"BODY", false}, {"CHAIN", false}};
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
	list.table = table_new(columns, countof(columns));
	router_each(r, routes_on_route, &list);
	table_print(list.table, stdout);
	table_free(list.table);
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
