/* SPDX-License-Identifier: MIT */
/*
 * Metrics: layout, labels, adding up over slots, the text a scraper reads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/metrics.h"

static const char *const agents[] = {"claude", "gpt", NULL};
static const char *const providers[] = {"anthropic", "openai", "demo", NULL};

static struct shm *shm;

static int setup(void **state)
{
	(void)state;
	shm = shm_create();
	atomic_store(&shm->started_ms, clock_wall_ms() - 5000);
	atomic_store(&shm->slots_used, 3);
	metrics_register(&(struct metric_labels){.agents = agents, .providers = providers});
	metrics_attach(shm, 0);
	return 0;
}

/* The line that begins with `name` and a blank, without them; fails if there is none. */
static char *line_of(const char *name)
{
	struct buf out = BUF_INIT;
	struct str rest;
	struct str line;
	char *found = NULL;

	metrics_render(shm, &out);
	rest = buf_str(&out);
	while (found == NULL && str_split(&rest, '\n', &line))
		if (str_starts(line, str_of(name)) && line.n > strlen(name) && line.p[strlen(name)] == ' ')
			found = str_dupz(str_sub(line, strlen(name) + 1, line.n));
	buf_free(&out);
	return found;
}

static void expect(const char *name, const char *value)
{
	char *found = line_of(name);

	if (found == NULL)
		fail_msg("no line %s", name);
	assert_string_equal(found, value);
	free(found);
}

static void expect_none(const char *name)
{
	char *found = line_of(name);

	if (found != NULL)
		fail_msg("unexpected line %s", name);
}

/* Every name that dashboards ask for is there before anything has happened. */
static void test_all_present(void **state)
{
	static const char *const names[] = {"aragora_debates_total",
					    "aragora_debates_completed",
					    "aragora_debates_failed",
					    "aragora_active_debates",
					    "aragora_queued_debates",
					    "aragora_debate_duration_seconds",
					    "aragora_consensus_reached_total",
					    "aragora_consensus_rate",
					    "aragora_agent_response_seconds",
					    "aragora_agent_errors_total",
					    "aragora_tokens_used_total",
					    "aragora_debate_cost_usd_total",
					    "aragora_steps_abandoned_total",
					    "aragora_debate_takeovers_total",
					    "aragora_events_committed_total",
					    "aragora_circuit_breaker_state",
					    "aragora_http_requests_total",
					    "aragora_http_request_duration_seconds",
					    "aragora_http_connections_active",
					    "aragora_ws_connections_active",
					    "aragora_sse_connections_active",
					    "aragora_websocket_messages_total",
					    "aragora_stream_topics",
					    "aragora_stream_ephemeral_dropped_total",
					    "aragora_bus_dropped_total",
					    "aragora_db_errors_total",
					    "aragora_db_commit_seconds",
					    "aragora_db_query_seconds",
					    "aragora_db_connection_pool_size",
					    "aragora_db_reconnects_total",
					    "aragora_db_retries_total",
					    "aragora_log_lines_dropped_total",
					    "aragora_auth_failures_total",
					    "aragora_worker_restarts_total",
					    "aragora_coroutines",
					    "process_resident_memory_bytes",
					    "process_cpu_seconds_total",
					    "process_open_fds",
					    "process_start_time_seconds",
					    "aragora_workers",
					    "aragora_info",
					    "aragora_uptime_seconds"};
	struct buf out = BUF_INIT;
	char text[128];
	size_t i;

	(void)state;
	metrics_render(shm, &out);
	for (i = 0; i < countof(names); i++) {
		snprintf(text, sizeof(text), "\n# TYPE %s ", names[i]);
		assert_true(str_find(buf_str(&out), str_of(text)) > 0);
		snprintf(text, sizeof(text), "\n%s", names[i]);
		assert_true(str_find(buf_str(&out), str_of(text)) > 0);
	}
	assert_int_equal(out.p[out.n - 1], '\n');
	buf_free(&out);
	expect("aragora_http_requests_total{method=\"GET\",status=\"200\"}", "0");
	expect_none("aragora_http_requests_total{method=\"GET\",status=\"404\"}");
	expect("aragora_circuit_breaker_state{agent=\"gpt\"}", "0");
	expect("aragora_debates_total", "0");
}

static void test_labels(void **state)
{
	(void)state;
	metric_add(M_HTTP_REQUESTS, 2, "POST", "404", NULL);
	metric_add(M_HTTP_REQUESTS, 1, "BREW", "418", NULL);
	metric_add(M_HTTP_REQUESTS, 1, "GET", NULL);
	metric_add(M_AGENT_ERRORS, 3, "gpt", "rate_limit", NULL);
	metric_add(M_AGENT_ERRORS, 1, "gpt", "rate_limit", "surplus", NULL);
	metric_add(M_TOKENS_USED, 7, "demo", "output", NULL);
	expect("aragora_http_requests_total{method=\"POST\",status=\"404\"}", "2");
	expect("aragora_http_requests_total{method=\"other\",status=\"other\"}", "1");
	expect("aragora_http_requests_total{method=\"GET\",status=\"other\"}", "1");
	expect("aragora_agent_errors_total{agent=\"gpt\",error_type=\"rate_limit\"}", "4");
	expect("aragora_tokens_used_total{provider=\"demo\",direction=\"output\"}", "7");
	expect("aragora_tokens_used_total{provider=\"demo\",direction=\"input\"}", "0");
	assert_true(metric_total(M_HTTP_REQUESTS) == 4.0);
}

static void test_histogram(void **state)
{
	(void)state;
	metric_observe(M_DB_COMMIT, 0.0005, NULL);
	metric_observe(M_DB_COMMIT, 0.02, NULL);
	metric_observe(M_DB_COMMIT, 7, NULL);
	metric_observe(M_DB_COMMIT, -1, NULL);
	metric_observe(M_AGENT_RESPONSE, 1.5, "claude", NULL);
	expect("aragora_db_commit_seconds_bucket{le=\"0.0005\"}", "2");
	expect("aragora_db_commit_seconds_bucket{le=\"0.025\"}", "3");
	expect("aragora_db_commit_seconds_bucket{le=\"1\"}", "3");
	expect("aragora_db_commit_seconds_bucket{le=\"+Inf\"}", "4");
	expect("aragora_db_commit_seconds_count", "4");
	expect("aragora_db_commit_seconds_sum", "7.020500");
	expect("aragora_agent_response_seconds_bucket{agent=\"claude\",le=\"1\"}", "0");
	expect("aragora_agent_response_seconds_bucket{agent=\"claude\",le=\"2.5\"}", "1");
	expect("aragora_agent_response_seconds_sum{agent=\"claude\"}", "1.500000");
	assert_true(metric_total(M_DB_COMMIT) == 4.0);
}

/* Counters of ended workers stay, gauges go; breakers show the worst, the queue its newest value. */
static void test_slots(void **state)
{
	(void)state;
	metrics_attach(shm, 0);
	metric_add(M_DEBATES_TOTAL, 2, NULL);
	metric_set(M_ACTIVE_DEBATES, 2, NULL);
	metric_set(M_BREAKER_STATE, 1, "claude", NULL);
	metric_set(M_QUEUED_DEBATES, 50, NULL);
	metrics_attach(shm, 2);
	metric_add(M_DEBATES_TOTAL, 3, NULL);
	metric_set(M_ACTIVE_DEBATES, 1, NULL);
	metric_set(M_BREAKER_STATE, 2, "claude", NULL);
	expect("aragora_debates_total", "5");
	expect("aragora_active_debates", "3");
	expect("aragora_circuit_breaker_state{agent=\"claude\"}", "2");
	expect("aragora_queued_debates", "50");
	metrics_reset_gauges(shm, 2);
	expect("aragora_debates_total", "5");
	expect("aragora_active_debates", "2");
	expect("aragora_circuit_breaker_state{agent=\"claude\"}", "1");
	metric_add(M_ACTIVE_DEBATES, 4, NULL);
	metric_add(M_ACTIVE_DEBATES, -1, NULL);
	expect("aragora_active_debates", "5");
	metrics_attach(shm, 0);
}

/* The value written last counts, although another slot still holds a larger one. */
static void test_last(void **state)
{
	int64_t until;

	(void)state;
	metrics_attach(shm, 1);
	metric_set(M_QUEUED_DEBATES, 9, NULL);
	/* The stamp counts tenths of a second: the next one must differ. */
	until = (clock_mono_us() / (100 * MS_US) + 1) * 100 * MS_US;
	while (clock_mono_us() < until)
		usleep((useconds_t)(until - clock_mono_us() > 0 ? until - clock_mono_us() : 1));
	metrics_attach(shm, 2);
	metric_set(M_QUEUED_DEBATES, 4, NULL);
	expect("aragora_queued_debates", "4");
	metric_set(M_QUEUED_DEBATES, 0, NULL);
	expect("aragora_queued_debates", "0");
	metrics_attach(shm, 0);
}

static void test_rate_and_money(void **state)
{
	(void)state;
	metric_add(M_DEBATES_COMPLETED, 4, NULL);
	metric_add(M_CONSENSUS_REACHED, 3, NULL);
	metric_add(M_COST_MICRO, 1250000, NULL);
	metric_add(M_COST_MICRO, 7, NULL);
	expect("aragora_consensus_rate", "0.75");
	assert_true(metric_total(M_CONSENSUS_RATE) == 0.75);
	expect("aragora_debate_cost_usd_total", "1.250007");
}

/* Counting in a forked process shows here, and its time stays counted after it was reaped. */
static void test_other_process(void **state)
{
	int64_t end;
	char *text;
	double before;
	int status;
	pid_t pid;

	(void)state;
	text = line_of("process_cpu_seconds_total");
	before = strtod(text, NULL);
	free(text);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		metrics_attach(shm, 1);
		metric_add(M_TAKEOVERS, 1, NULL);
		end = clock_cpu_us() + 60 * MS_US;
		while (clock_cpu_us() < end)
			;
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	expect("aragora_debate_takeovers_total", "1");
	text = line_of("process_cpu_seconds_total");
	assert_true(strtod(text, NULL) >= before + 0.04);
	free(text);
}

static void test_node(void **state)
{
	char *text;

	(void)state;
	atomic_store(&shm->slots[0].state, SLOT_SERVING);
	atomic_store(&shm->slots[0].pid, getpid());
	atomic_store(&shm->slots[0].rss_bytes, 1000);
	atomic_store(&shm->slots[2].state, SLOT_DRAINING);
	atomic_store(&shm->slots[2].rss_bytes, 50); /* its process is unknown, pid 0 */
	expect("aragora_workers{state=\"serving\"}", "1");
	expect("aragora_workers{state=\"draining\"}", "1");
	expect("aragora_workers{state=\"booting\"}", "0");
	expect("process_resident_memory_bytes", "1000");
	expect("aragora_uptime_seconds", "5");
	expect("aragora_info{version=\"" ARAGORA_VERSION "\"}", "1");
	text = line_of("process_open_fds");
	assert_true(strtol(text, NULL, 10) >= 3);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(test_all_present, setup),   cmocka_unit_test_setup(test_labels, setup),
	    cmocka_unit_test_setup(test_histogram, setup),     cmocka_unit_test_setup(test_slots, setup),
	    cmocka_unit_test_setup(test_last, setup),          cmocka_unit_test_setup(test_rate_and_money, setup),
	    cmocka_unit_test_setup(test_other_process, setup), cmocka_unit_test_setup(test_node, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
