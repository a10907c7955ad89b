/* SPDX-License-Identifier: MIT */
/*
 * `aragorad eval`: what debates between these agents are worth on these questions, against single calls, repeated calls
 * and votes. Reads the dataset, has the arms run (eval_run.h) and writes what came out; knows no statistics.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/crypto.h"
#include "common/json.h"
#include "master/args.h"
#include "master/commands/commands.h"
#include "master/commands/eval_report.h"
#include "master/commands/eval_run.h"

#define EVAL_ARMS_DEFAULT "single, self-consistency, vote, debate-1, debate-2, debate-3, judge-2"
#define EVAL_RESULTS_DEFAULT "eval-results.jsonl"
#define EVAL_BUDGET_DEFAULT 5.0 /* dollars */
#define EVAL_BUDGET_MAX 100000.0
#define EVAL_CONCURRENCY_DEFAULT 4

struct eval_command {
	struct args args;
	const char *dataset, *agents, *arms, *results, *out, *budget;
	int64_t concurrency, limit;
	bool quiet;
	/* While it runs: */
	struct arena *a;
	struct eval_plan plan;
	struct eval_arm list[EVAL_ARMS_MAX];
	json_t *wanted;
};

static bool eval_fail(const char *fmt, ...) PRINTF_FMT(1, 2);
static bool eval_fail(const char *fmt, ...)
{
	va_list ap;

	fputs("aragorad eval: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return false;
}

/* ---- what is asked for ---- */

static bool eval_budget(struct eval_command *o)
{
	double usd = EVAL_BUDGET_DEFAULT;
	char *end = NULL;

	if (o->budget != NULL) {
		usd = strtod(o->budget, &end);
		if (end == o->budget || *end != '\0' || !(usd >= 0 && usd <= EVAL_BUDGET_MAX))
			return eval_fail("--budget-usd: \"%s\" is no number from 0 (no limit) to %.0f", o->budget,
					 EVAL_BUDGET_MAX);
	}
	o->plan.budget_micro = (int64_t)(usd * 1e6 + 0.5);
	return true;
}

static bool eval_questions(struct eval_command *o)
{
	struct buf problems = BUF_INIT;
	struct eval_question *q;
	size_t n;
	bool ok = eval_dataset_read(o->dataset, o->a, &q, &n, &problems);

	if (problems.n > 0)
		fwrite(problems.p, 1, problems.n, stderr);
	buf_free(&problems);
	o->plan.questions = q;
	o->plan.question_count = o->limit > 0 && (size_t)o->limit < n ? (size_t)o->limit : n;
	return ok;
}

static bool eval_team(struct eval_command *o)
{
	struct error err = ERROR_INIT;
	struct agent_spec *specs;
	bool demo;

	o->wanted = o->agents != NULL ? json_own(o->a, json_string(o->agents)) : NULL;
	if (!agents_resolve(o->plan.conf, o->a, o->wanted, &specs, &o->plan.agent_count, &demo, &err))
		return eval_fail("--agents: %s", err.msg);
	if (demo)
		return eval_fail(
		    "demo agents know nothing that could be evaluated: name others with --agents, or configure a "
		    "provider");
	o->plan.agents = specs;
	o->plan.wanted = o->wanted;
	return true;
}

static bool eval_arms(struct eval_command *o)
{
	struct error err = ERROR_INIT;

	o->plan.arms = o->list;
	return eval_arms_parse(o->a, str_of(o->arms != NULL ? o->arms : EVAL_ARMS_DEFAULT), o->plan.agents,
			       o->plan.agent_count, o->list, &o->plan.arm_count, &err) ||
	       eval_fail("--arms: %s", err.msg);
}

/* Fingerprint of the questions, so that nobody adds to results of others. */
static void eval_fingerprint(const struct eval_command *o, char hex[SHA256_HEX])
{
	struct buf b = BUF_INIT;
	size_t i;

	for (i = 0; i < o->plan.question_count; i++)
		buf_printf(&b, "%s\n%.*s\n%.*s\n%g %zu\n", o->plan.questions[i].id.p,
			   STR_ARG(o->plan.questions[i].task), STR_ARG(o->plan.questions[i].answer),
			   o->plan.questions[i].number, o->plan.questions[i].choice);
	crypto_sha256_hex(buf_str(&b), hex);
	buf_free(&b);
}

static json_t *eval_head(const struct eval_command *o)
{
	json_t *head = json_object(), *agents = json_array();
	char hex[SHA256_HEX];
	size_t i;

	eval_fingerprint(o, hex);
	for (i = 0; i < o->plan.agent_count; i++) {
		const struct agent_spec *s = &o->plan.agents[i];

		json_array_append_new(agents,
				      json_str(arena_printf(o->a, "%.*s|%.*s|%.*s|%.*s", STR_ARG(s->provider),
							    STR_ARG(s->model), STR_ARG(s->persona), STR_ARG(s->role))));
	}
	json_put_int(head, "aragorad_eval", 1);
	json_put_str(head, "questions", str_of(hex));
	json_object_set_new(head, "agents", agents);
	json_put_str(head, "consensus", str_of(o->plan.conf->debates.default_consensus));
	return head;
}

static bool eval_store(struct eval_command *o)
{
	struct error err = ERROR_INIT;
	json_t *head = eval_head(o);

	o->plan.store = eval_store_open(o->results, head, &err);
	json_decref(head);
	return o->plan.store != NULL || eval_fail("%s", err.msg);
}

/* ---- what came out ---- */

/* Of the questions that every arm has answered, so that arms are compared on the same ones. */
static size_t eval_rows(const struct eval_command *o, struct eval_row *rows)
{
	struct eval_sample *s[EVAL_ARMS_MAX], one;
	size_t i, k, n = 0;
	bool all;

	for (k = 0; k < o->plan.arm_count; k++)
		s[k] = xcalloc(o->plan.question_count + 1, sizeof(*s[k]));
	for (i = 0; i < o->plan.question_count; i++) {
		all = true;
		for (k = 0; k < o->plan.arm_count; k++)
			all &= eval_store_sample(o->plan.store, o->plan.questions[i].id, o->list[k].name, &one);
		for (k = 0; all && k < o->plan.arm_count; k++)
			(void)eval_store_sample(o->plan.store, o->plan.questions[i].id, o->list[k].name, &s[k][n]);
		n += all;
	}
	for (k = 0; k < o->plan.arm_count; k++)
		rows[k] = eval_row(o->list[k].name, s[k], s[0], n);
	for (k = 0; k < o->plan.arm_count; k++)
		free(s[k]);
	return n;
}

static bool eval_write(const struct eval_command *o, const char *ending, struct str text)
{
	const char *path = arena_printf(o->a, "%s.%s", o->out, ending).p;
	FILE *f = fopen(path, "we");
	bool ok = f != NULL && fwrite(text.p, 1, text.n, f) == text.n;

	if (f != NULL && fclose(f) != 0)
		ok = false;
	return ok || eval_fail("%s cannot be written: %s", path, strerror(errno));
}

static json_t *eval_document(const struct eval_command *o, const struct eval_row *rows, size_t n, const char *why)
{
	json_t *doc = eval_head(o);

	json_put_str(doc, "dataset", str_of(o->dataset));
	json_put_int(doc, "compared", (int64_t)n);
	json_put_int(doc, "asked", (int64_t)o->plan.question_count);
	json_object_set_new(doc, "complete", json_boolean(n == o->plan.question_count));
	json_put_str(doc, "incomplete_because", str_of(why));
	json_object_set_new(doc, "spent_usd", json_real((double)eval_store_spent(o->plan.store) / 1e6));
	json_object_set_new(doc, "arms", eval_json(rows, o->plan.arm_count));
	return doc;
}

static bool eval_files(const struct eval_command *o, const struct eval_row *rows, size_t n, struct str json)
{
	struct buf csv = BUF_INIT, svg = BUF_INIT;
	bool ok;

	eval_csv(rows, o->plan.arm_count, &csv);
	eval_svg(rows, o->plan.arm_count, arena_printf(o->a, "%s, %zu questions", o->dataset, n), &svg);
	ok = eval_write(o, "json", json) && eval_write(o, "csv", buf_str(&csv)) &&
	     (n == 0 || eval_write(o, "svg", buf_str(&svg)));
	buf_free(&csv);
	buf_free(&svg);
	return ok;
}

static bool eval_say(const struct eval_command *o, const char *why)
{
	struct eval_row rows[EVAL_ARMS_MAX];
	size_t n = eval_rows(o, rows);
	json_t *doc = eval_document(o, rows, n, why);
	char *text = json_dumps(doc, JSON_INDENT(2));
	bool ok;

	if (o->args.json) {
		printf("%s\n", text);
	} else {
		printf(
		    "%zu of %zu questions are answered by all arms, %.4f USD spent. RIGHT and GAIN (against the first "
		    "arm) in\npoints of 100; TOKENS, CALLS and USD per question, as if each arm stood alone.\n\n",
		    n, o->plan.question_count, (double)eval_store_spent(o->plan.store) / 1e6);
		eval_print(rows, o->plan.arm_count, true, stdout);
	}
	ok = eval_files(o, rows, n, str_of(text));
	if (ok && !o->args.json)
		printf("\nWritten: %s.json, %s.csv%s%s%s\n", o->out, o->out, n > 0 ? ", " : "", n > 0 ? o->out : "",
		       n > 0 ? ".svg" : "");
	free(text);
	json_decref(doc);
	return ok;
}

/* ---- the command ---- */

static int eval_go(struct eval_command *o)
{
	struct buf why = BUF_INIT;
	enum eval_end end;
	bool ok;

	if (!eval_budget(o) || !eval_questions(o) || !eval_team(o) || !eval_arms(o) || !eval_store(o))
		return EXIT_FAILED;
	o->plan.concurrency = (size_t)(o->concurrency > 0 ? o->concurrency : EVAL_CONCURRENCY_DEFAULT);
	o->plan.quiet = o->quiet || isatty(STDERR_FILENO) == 0;
	end = eval_run(&o->plan, &why);
	ok = eval_say(o, why.n > 0 ? why.p : "");
	if (why.n > 0)
		(void)eval_fail("%s; the same command goes on where this one ended", why.p);
	buf_free(&why);
	eval_store_close(o->plan.store);
	return ok && end == EVAL_DONE ? EXIT_OK : EXIT_FAILED;
}

/* Without ".jsonl". */
static const char *eval_stem(struct arena *a, const char *results)
{
	struct str s = str_of(results);

	return str_ends(s, STR(".jsonl")) ? arena_str(a, str_sub(s, 0, s.n - 6)).p : results;
}

static int eval_command_run(int argc, char **argv)
{
	struct eval_command *o = xcalloc(1, sizeof(*o));
	struct conf *c = NULL;
	int code = EXIT_USAGE;

	if (!args_parse(&command_eval, &o->args, argc, argv, &code))
		goto out;
	if (o->dataset == NULL) {
		(void)eval_fail("--dataset FILE is missing");
		code = EXIT_USAGE;
		goto out;
	}
	c = args_conf_warned(&o->args);
	code = EXIT_CONFIG;
	if (c == NULL)
		goto out;
	o->a = arena_new(0);
	o->plan.conf = c;
	o->results = o->results != NULL ? o->results : EVAL_RESULTS_DEFAULT;
	o->out = o->out != NULL ? o->out : eval_stem(o->a, o->results);
	log_setup(&(struct log_options){.level = LOG_ERROR});
	code = eval_go(o);
	arena_free(o->a);
	conf_unref(c);
out:
	free(o);
	return code;
}

#define EVAL_TEXT_ARG(n, l, field, v, h)                                                                      \
	{                                                                                                     \
		.name = n, .letter = l, .offset = offsetof(struct eval_command, field), .value = v, .help = h \
	}
#define EVAL_NUMBER_ARG(n, field, v, most, h)                                                                        \
	{                                                                                                            \
		.name = n, .kind = ARG_NUMBER, .offset = offsetof(struct eval_command, field), .value = v, .min = 1, \
		.max = most, .help = h                                                                               \
	}
static const struct arg eval_args[] = {
    EVAL_TEXT_ARG("dataset", 'd', dataset, "FILE", "JSON Lines of {id, question, answer, choices?}"),
    EVAL_TEXT_ARG("agents", 'a', agents, "A,B,C", "who answers: as for ask (default: debates.default_agents)"),
    EVAL_TEXT_ARG("arms", 0, arms, "LIST",
		  "single, self-consistency[@K], vote, debate[-ROUNDS], MODE[-ROUNDS] (default: " EVAL_ARMS_DEFAULT
		  ")"),
    EVAL_TEXT_ARG("results", 'r', results, "FILE",
		  "where answers are kept and resumed from (" EVAL_RESULTS_DEFAULT ")"),
    EVAL_TEXT_ARG("output", 'o', out, "PREFIX", "write PREFIX.json, .csv and .svg (default: as the results)"),
    EVAL_TEXT_ARG("budget-usd", 'b', budget, "USD", "spend no more, what is in the results included (5; 0: no limit)"),
    EVAL_NUMBER_ARG("concurrency", concurrency, "N", EVAL_CONCURRENCY_MAX, "questions side by side (4)"),
    EVAL_NUMBER_ARG("limit", limit, "N", INT32_MAX, "only the first N questions"),
    {.name = "quiet",
     .letter = 'q',
     .kind = ARG_FLAG,
     .offset = offsetof(struct eval_command, quiet),
     .help = "no progress"},
    ARG_CONF,
    ARG_JSON,
    ARG_HELP,
    ARG_END,
};

const struct command command_eval = {
    .name = "eval",
    .synopsis = "--dataset FILE [OPTION...]",
    .summary = "measure debates against single calls, repeated calls and votes",
    .about = "Asks the configured agents all questions of a dataset in several ways (arms) and prints accuracy with "
	     "intervals, tokens, calls, changes of mind and calibration of each. Every paid answer is kept; the same "
	     "command goes on where it was stopped.",
    .args = eval_args,
    .run = eval_command_run,
};
