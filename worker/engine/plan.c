/* SPDX-License-Identifier: MIT */
/*
 * What a debate will be: checks a creation body, resolves agents, rounds, thresholds and time limits against the
 * configuration of this moment, and writes all of it into the plan that every later run uses. Called by the API at
 * creation and by the runner at each claim; reads no clock and no database.
 */
#include "worker/engine/plan.h"

#include <stdarg.h>

#include "common/clock.h"
#include "common/ids.h"
#include "common/json.h"
#include "worker/agents/select.h"
#include "worker/engine/documents.h"
#include "worker/engine/domain.h"
#include "worker/engine/mode.h"
#include "worker/engine/taint.h"
#include "worker/engine/topology.h"

/* debates.max_agents ends there (common/conf_table.c). */
_Static_assert(TOPOLOGY_SEATS_MAX == CONSENSUS_MAX && TOPOLOGY_SEATS_MAX == 32, "one bound of seats");

#define PLAN_TASK_MAX 10000 /* characters, rest-core 4.2 */
#define PLAN_CONTEXT_MAX 100000
#define PLAN_METADATA_MAX 65536 /* bytes of JSON text */

struct plan_problems {
	struct arena *arena;
	json_t *list;
	struct error *err; /* the first problem */
};

static void plan_problem(struct plan_problems *p, enum err code, const char *field, const char *fmt, ...)
    PRINTF_FMT(4, 5);

static void plan_problem(struct plan_problems *p, enum err code, const char *field, const char *fmt, ...)
{
	char text[200];
	json_t *problem;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap); /* cut is fine: a sentence for people */
	va_end(ap);
	if (json_array_size(p->list) == 0)
		error_field(p->err, code, field, "%s", text);
	problem = json_pack("{s:s, s:s}", "field", field, "code", err_wire(code));
	json_put_str(problem, "message", str_of(text)); /* repairs a character that was cut */
	json_array_append_new(p->list, problem);
}

/* The question under any of its three names; the first that is present counts. */
static struct str plan_task(struct plan_problems *p, const json_t *body)
{
	static const char *const names[] = {"task", "topic", "question"};
	const json_t *v = NULL;
	struct str s;
	size_t i;

	for (i = 0; i < countof(names) && v == NULL; i++)
		v = json_object_get(body, names[i]);
	if (v == NULL) {
		plan_problem(p, ERR_MISSING_FIELD, "task",
			     "task is required (topic and question are accepted names too)");
		return STR_NONE;
	}
	if (!json_is_string(v)) {
		plan_problem(p, ERR_INVALID_VALUE, names[i - 1], "must be a string");
		return STR_NONE;
	}
	s = str_trim((struct str){json_string_value(v), json_string_length(v)});
	if (s.n == 0)
		plan_problem(p, ERR_MISSING_FIELD, names[i - 1], "must not be empty");
	else if (str_utf8_length(s) > PLAN_TASK_MAX)
		plan_problem(p, ERR_INVALID_VALUE, names[i - 1], "must be at most %d characters", PLAN_TASK_MAX);
	return s;
}

/* A setting at the top of the body or inside `protocol`; the top wins. */
static const json_t *plan_member(const json_t *body, const char *key)
{
	const json_t *v = json_object_get(body, key);

	return v != NULL ? v : json_object_get(json_object_get(body, "protocol"), key);
}

static int64_t plan_rounds(struct plan_problems *p, const struct conf *c, const json_t *body, int64_t usual)
{
	const json_t *v = plan_member(body, "rounds");

	if (v == NULL || json_is_null(v))
		return usual > 0 ? usual : c->debates.default_rounds;
	if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > c->debates.max_rounds) {
		plan_problem(p, ERR_INVALID_VALUE, "rounds", "must be a whole number from 1 to %lld",
			     (long long)c->debates.max_rounds);
		return c->debates.default_rounds;
	}
	return json_integer_value(v);
}

static const struct mode *plan_mode(struct plan_problems *p, const struct conf *c, const json_t *body)
{
	const json_t *v = plan_member(body, "consensus");
	const char *name = c->debates.default_consensus;
	const struct mode *mode;

	if (v != NULL && !json_is_null(v))
		name = json_is_string(v) ? json_string_value(v) : "";
	mode = mode_find(str_of(name));
	if (mode == NULL) {
		plan_problem(p, ERR_INVALID_VALUE, "consensus", "must be one of %s", mode_names());
		mode = mode_find(STR("majority"));
	}
	return mode;
}

/* Below one half two answers could both be decided. */
static int64_t plan_threshold(struct plan_problems *p, const struct mode *mode, const json_t *body)
{
	const json_t *v = plan_member(body, "consensus_threshold");

	if (v == NULL || json_is_null(v))
		return mode_threshold(mode, 0);
	if (!json_is_number(v) || json_number_value(v) < 0.5 || json_number_value(v) > 1) {
		plan_problem(p, ERR_INVALID_VALUE, "consensus_threshold", "must be a number from 0.5 to 1");
		return mode_threshold(mode, 0);
	}
	return mode_threshold(mode, (int64_t)(json_number_value(v) * CONSENSUS_ONE + 0.5));
}

static enum topology plan_topology(struct plan_problems *p, const json_t *body)
{
	const json_t *v = plan_member(body, "topology");
	enum topology kind = TOPOLOGY_AUTO;

	if (v != NULL && !json_is_null(v) &&
	    !topology_find(json_is_string(v) ? str_of(json_string_value(v)) : STR(""), &kind))
		plan_problem(p, ERR_INVALID_VALUE, "topology", "must be one of %s", topology_names());
	return kind;
}

/* debate.md 1.5, with rounds as they are counted here; 0: as configured. */
struct plan_format {
	const char *name;
	int64_t rounds, timeout_ms; /* timeout: at most */
	int64_t early_agree_ppm;    /* likeness of demo agents' drafts that skips the debate */
	int64_t early_sure_ppm;     /* of others, who give one answer: how sure they must be (debate.md 10.3) */
};

static const struct plan_format plan_formats[] = {
    {"default", 0, 0, 850000, 800000}, {"light", 1, 300 * 1000, 700000, 700000}, {"full", 0, 0, 950000, 900000}};

static const struct plan_format *plan_format(struct plan_problems *p, const json_t *body)
{
	const json_t *v = plan_member(body, "debate_format");
	size_t i;

	if (v == NULL || json_is_null(v))
		return &plan_formats[0];
	for (i = 0; i < countof(plan_formats); i++)
		if (json_is_string(v) && str_ieqz(str_of(json_string_value(v)), plan_formats[i].name))
			return &plan_formats[i];
	plan_problem(p, ERR_INVALID_VALUE, "debate_format", "must be one of default, light, full");
	return &plan_formats[0];
}

static struct str plan_text(struct plan_problems *p, const json_t *body, const char *key, size_t max)
{
	const json_t *v = json_object_get(body, key);
	struct str s;

	if (v == NULL || json_is_null(v))
		return STR("");
	if (!json_is_string(v)) {
		plan_problem(p, ERR_INVALID_VALUE, key, "must be a string");
		return STR("");
	}
	s = (struct str){json_string_value(v), json_string_length(v)};
	if (str_utf8_length(s) > max)
		plan_problem(p, ERR_INVALID_VALUE, key, "must be at most %zu characters", max);
	return s;
}

/* Micro-dollars; 0: no limit but the configured one. */
static int64_t plan_budget(struct plan_problems *p, const struct conf *c, const json_t *body)
{
	const json_t *v = plan_member(body, "budget_limit_usd");
	int64_t most = c->debates.budget_cents * 10000, wanted;

	if (v == NULL || json_is_null(v))
		return most;
	if (!json_is_number(v) || json_number_value(v) <= 0 || json_number_value(v) > PLAN_USD_MAX) {
		plan_problem(p, ERR_INVALID_VALUE, "budget_limit_usd", "must be a number above 0 and at most %d",
			     PLAN_USD_MAX);
		return most;
	}
	wanted = (int64_t)(json_number_value(v) * 1e6 + 0.5);
	return most > 0 && most < wanted ? most : wanted > 0 ? wanted : 1;
}

/* 0: no limit. */
static int64_t plan_tokens(struct plan_problems *p, const json_t *body)
{
	const json_t *v = plan_member(body, "budget_limit_tokens");

	if (v == NULL || json_is_null(v))
		return 0;
	if (json_is_integer(v) && json_integer_value(v) >= 1 && json_integer_value(v) <= PLAN_TOKENS_MAX)
		return json_integer_value(v);
	plan_problem(p, ERR_INVALID_VALUE, "budget_limit_tokens", "must be a whole number from 1 to %d",
		     PLAN_TOKENS_MAX);
	return 0;
}

static void plan_select_problem(void *arg, const char *field, const char *text)
{
	plan_problem(arg, ERR_INVALID_VALUE, field, "%s", text);
}

static void plan_check_rest(struct plan_problems *p, const json_t *body)
{
	const json_t *protocol = json_object_get(body, "protocol");
	const json_t *metadata = json_object_get(body, "metadata"), *recall = plan_member(body, "use_memory");
	struct select_config config;
	bool wanted;

	(void)select_config_read(body, &config, &wanted, plan_select_problem, p); /* what is wrong is in the list */
	if (protocol != NULL && !json_is_null(protocol) && !json_is_object(protocol))
		plan_problem(p, ERR_INVALID_VALUE, "protocol", "must be an object");
	if (recall != NULL && !json_is_null(recall) && !json_is_boolean(recall))
		plan_problem(p, ERR_INVALID_VALUE, "use_memory", "must be true or false");
	if (metadata != NULL && !json_is_null(metadata)) {
		if (!json_is_object(metadata))
			plan_problem(p, ERR_INVALID_VALUE, "metadata", "must be an object");
		else if (json_text(p->arena, metadata).n > PLAN_METADATA_MAX)
			plan_problem(p, ERR_INVALID_VALUE, "metadata", "must be at most %d bytes of JSON",
				     PLAN_METADATA_MAX);
	}
}

static void plan_put_sampling(json_t *o, const struct agent_sampling *s)
{
	if (s->temperature_ppm <= 0)
		return;
	json_put_int(o, "temperature_ppm", s->temperature_ppm);
	json_put_int(o, "top_p_ppm", s->top_p_ppm);
	json_put_int(o, "frequency_penalty_ppm", s->frequency_penalty_ppm);
}

static json_t *plan_agents(const struct agent_spec *specs, size_t n)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < n; i++) {
		json_t *o = json_object();

		json_put_str(o, "name", specs[i].name);
		json_put_str(o, "provider", specs[i].provider);
		json_put_str(o, "model", specs[i].model);
		json_put_str(o, "persona", specs[i].persona);
		json_put_str(o, "role", specs[i].role);
		json_put_int(o, "price_in", specs[i].price_in);
		json_put_int(o, "price_out", specs[i].price_out);
		plan_put_sampling(o, &specs[i].sampling);
		json_array_append_new(list, o);
	}
	return list;
}

/* What the given background says to models rather than about the matter; an untainted plan has no such member. */
static void plan_put_taint(json_t *doc, struct str context, const json_t *documents)
{
	json_t *counts = json_object();

	(void)taint_count(counts, context);
	documents_taint(counts, documents);
	if (json_object_size(counts) > 0)
		json_object_set(doc, "taint", counts);
	json_decref(counts);
}

static int64_t plan_seed(void)
{
	uint64_t seed;

	ids_random(&seed, sizeof(seed));
	return (int64_t)(seed >> 1); /* a JSON integer */
}

static void plan_protocol_problem(void *arg, const char *field, const char *message)
{
	plan_problem(arg, ERR_INVALID_VALUE, field, "%s", message);
}

bool plan_resolve(const struct conf *c, struct arena *a, const json_t *body, json_t **plan, json_t **problems,
		  struct error *err)
{
	struct plan_problems p = {.arena = a, .list = json_own(a, json_array()), .err = err};
	struct agent_spec *specs = NULL;
	struct error agent_err = ERROR_INIT;
	const struct plan_format *format;
	const struct mode *mode;
	enum topology topology;
	int64_t rounds, threshold, budget, tokens, timeout_ms = c->debates.timeout / MS_US;
	struct protocol protocol;
	struct str task, context;
	size_t n = 0;
	bool demo = false;
	json_t *doc, *documents;

	*problems = p.list;
	task = plan_task(&p, body);
	format = plan_format(&p, body);
	rounds = plan_rounds(&p, c, body, format->rounds);
	topology = plan_topology(&p, body);
	mode = plan_mode(&p, c, body);
	threshold = plan_threshold(&p, mode, body);
	budget = plan_budget(&p, c, body);
	tokens = plan_tokens(&p, body);
	context = plan_text(&p, body, "context", PLAN_CONTEXT_MAX);
	documents = documents_read(a, body, plan_protocol_problem, &p);
	plan_check_rest(&p, body);
	if (!agents_resolve(c, a, json_object_get(body, "agents"), &specs, &n, &demo, &agent_err))
		plan_problem(&p, agent_err.code, agent_err.field[0] != '\0' ? agent_err.field : "agents", "%s",
			     agent_err.msg);
	else if (n < mode->agents_min)
		plan_problem(&p, ERR_INVALID_VALUE, "consensus", "%s needs at least %zu agents, there are %zu",
			     mode->name, mode->agents_min, n);
	protocol = protocol_usual(str_of(format->name), rounds, n, demo);
	protocol_read(body, rounds, &protocol, plan_protocol_problem, &p);
	if (json_array_size(p.list) > 0)
		return false;

	doc = json_own(a, json_object());
	json_put_int(doc, "engine_version", ENGINE_VERSION);
	json_put_str(doc, "task", task);
	json_put_str(doc, "domain", domain_of(task));
	json_put_str(doc, "context", context);
	json_put_str(doc, "language", str_of(c->debates.language));
	json_object_set_new(doc, "agents", plan_agents(specs, n));
	json_put_int(doc, "rounds", rounds);
	json_put_str(doc, "consensus", str_of(mode->name));
	json_put_int(doc, "threshold_ppm", threshold);
	json_put_str(doc, "topology", str_of(topology_name(topology)));
	json_put_str(doc, "format", str_of(format->name));
	/* Who wants no early stop gets none after the drafts either. */
	json_put_int(doc, "early_agree_ppm",
		     !protocol.early_stopping ? CONSENSUS_ONE + 1
		     : demo                   ? format->early_agree_ppm
					      : format->early_sure_ppm);
	json_object_set_new(doc, "protocol", protocol_json(&protocol, ENGINE_VERSION));
	if (format->timeout_ms > 0 && format->timeout_ms < timeout_ms)
		timeout_ms = format->timeout_ms;
	json_put_int(doc, "budget_micro", budget);
	if (tokens > 0)
		json_put_int(doc, "budget_tokens", tokens);
	json_put_int(doc, "timeout_ms", timeout_ms);
	json_put_int(doc, "agent_timeout_ms", c->debates.agent_timeout / MS_US);
	json_put_int(doc, "seed", plan_seed());
	json_object_set_new(doc, "demo", json_boolean(demo));
	json_object_set_new(doc, "by_position", json_boolean(!demo));
	if (json_array_size(documents) > 0)
		json_object_set(doc, "documents", documents);
	plan_put_taint(doc, context, documents);
	json_object_set_new(
	    doc, "background",
	    json_boolean(c->memory.enabled && !demo && !json_is_false(plan_member(body, "use_memory"))));
	*plan = doc;
	return true;
}
