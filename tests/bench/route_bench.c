/* SPDX-License-Identifier: MIT */
/*
 * How long the router takes to find a route among few and among many. Run by http_bench.py; it prints nanoseconds and
 * asserts nothing.
 */
#include <stdlib.h>

#include "common/clock.h"
#include "worker/http/route.h"

#define LOOKUPS 2000000
#define RUNS 7

static void route_handler(struct http_request *req)
{
	(void)req;
}

/* Half of the rows exact, half with a parameter; the two that are looked up are the first ones. */
static struct router *route_table_of(size_t n)
{
	struct route *rows = xcalloc(n, sizeof(*rows));
	struct error err = ERROR_INIT;
	struct route_table table = {rows, n};
	struct router *r;
	char path[64];
	size_t i;

	for (i = 0; i < n; i++) {
		snprintf(path, sizeof(path), i % 2 == 0 ? "/api/area%zu/list" : "/api/area%zu/{id}/item", i / 2);
		rows[i] = (struct route){
		    .method = HTTP_GET, .path = xstrdup(path), .handler = route_handler, .flags = ROUTE_PUBLIC};
	}
	r = router_new(&table, 1, NULL, 0, NULL, &err);
	if (r == NULL)
		bug(err.msg, __FILE__, __LINE__, __func__);
	return r;
}

static int route_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Nanoseconds per lookup, the median of RUNS. */
static double route_time(const struct router *r, struct arena *a, struct str path)
{
	struct str params[HTTP_PARAMS_MAX], allow;
	struct error err = ERROR_INIT;
	double took[RUNS];
	int run, i;

	for (run = 0; run < RUNS; run++) {
		int64_t start = clock_cpu_us();

		for (i = 0; i < LOOKUPS; i++)
			BUG_ON(router_match(r, HTTP_GET, path, params, a, &allow, &err) == NULL);
		took[run] = (double)(clock_cpu_us() - start) * 1000.0 / LOOKUPS;
	}
	qsort(took, RUNS, sizeof(took[0]), route_compare);
	return took[RUNS / 2];
}

int main(void)
{
	struct router *few = route_table_of(10), *many = route_table_of(5000);
	struct arena *a = arena_new(0);
	const struct {
		const char *name;
		struct str path;
	} asked[] = {{"exact", STR("/api/area1/list")}, {"with a parameter", STR("/api/area1/0af3/item")}};
	size_t i;

	for (i = 0; i < countof(asked); i++) {
		double low = route_time(few, a, asked[i].path), high = route_time(many, a, asked[i].path);

		printf(
		    "route lookup, %s: %.0f ns among 10 routes, %.0f ns among 5,000: ratio %.2f (goal within 20 %%)\n",
		    asked[i].name, low, high, high / low);
	}
	arena_free(a);
	router_free(few);
	router_free(many);
	return 0;
}
