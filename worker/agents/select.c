/* SPDX-License-Identifier: MIT */
/*
 * The choice of a team (debate.md 2.4). Called when debates are created, by API and batch. Personas come first, by what
 * the question takes; then each is given to the agent that suits it, is rated well and whose provider is not there yet.
 */
#include "worker/agents/select.h"

#include "common/json.h"
#include "common/log.h"
#include "worker/agents/classify.h"
#include "worker/ranking/ranking.h"
#include "worker/worker.h"

#define SELECT_AGENTS_MAX 24
#define SELECT_ELO_NEUTRAL 1500000
#define SELECT_ELO_SPAN 400000            /* milli-points above or below that count in full */
#define SELECT_FIT (CLASSIFY_DOMAINS + 1) /* what select_fit() weighs */
#define SELECT_SUITS 0.25                 /* what it is worth that a persona is at home with an agent */

/* Asked in this order where nothing else decides; with OpenRouter alone, families of models are the variety there is.
 */
static const char *const select_pool[] = {"anthropic-api", "openai-api", "gemini",    "grok",       "mistral",
					  "deepseek",      "qwen",       "llama",     "kimi",       "compatible",
					  "ollama",        "lm-studio",  "command-r", "deepseek-r1"};

/* Roles turn in this order (debate.md 2.2). */
static const char *const select_roles[] = {"proposer", "critic", "synthesizer", "judge"};

struct select_agent {
	const struct known_agent *known;
	unsigned seats; /* it has by now */
};

struct select_seat {
	const struct persona *persona;
	struct select_agent *agent;
	int fit; /* percent, sum over the domains */
	double score;
	int64_t elo;
};

struct select_state {
	const struct conf *c;
	struct arena *a;
	const struct select_config *config;
	const json_t *ratings;
	struct classified what;
	struct select_agent pool[SELECT_AGENTS_MAX];
	size_t pool_n;
	struct select_seat seats[SELECT_SEATS_MAX];
	size_t n;
};

/* ---- what is asked for ---- */

static bool select_whole(const json_t *v, int64_t *out)
{
	if (!json_is_integer(v) || json_integer_value(v) < SELECT_SEATS_MIN || json_integer_value(v) > SELECT_SEATS_MAX)
		return false;
	*out = json_integer_value(v);
	return true;
}

static bool select_share(const json_t *v, double *out)
{
	if (!json_is_number(v) || !(json_number_value(v) >= 0 && json_number_value(v) <= 1))
		return false;
	*out = json_number_value(v);
	return true;
}

static bool select_domain(const json_t *v, struct str *out)
{
	*out = json_is_string(v) ? (struct str){json_string_value(v), json_string_length(v)} : STR_NONE;
	return category_find(*out) != NULL;
}

bool select_config_read(const json_t *body, struct select_config *out, bool *wanted,
			void (*problem)(void *arg, const char *field, const char *text), void *arg)
{
	const json_t *flag = json_object_get(body, "auto_select"),
		     *config = json_object_get(body, "auto_select_config");
	const json_t *agents = json_object_get(body, "agents");
	bool ok = true, good;
	const char *key;
	json_t *v;

	*out = (struct select_config){2, 5, STR(""), 0.7, 0.5};
	*wanted = json_is_true(flag) &&
		  (agents == NULL || json_is_null(agents) || (json_is_array(agents) && json_array_size(agents) == 0));
	if (flag != NULL && !json_is_null(flag) && !json_is_boolean(flag)) {
		problem(arg, "auto_select", "must be true or false");
		ok = false;
	}
	if (config != NULL && !json_is_null(config) && !json_is_object(config)) {
		problem(arg, "auto_select_config", "must be an object");
		return false;
	}
	json_object_foreach((json_t *)(uintptr_t)config, key, v)
	{
		good = true;
		if (strcmp(key, "min_agents") == 0)
			good = select_whole(v, &out->min_agents);
		else if (strcmp(key, "max_agents") == 0)
			good = select_whole(v, &out->max_agents);
		else if (strcmp(key, "domain") == 0)
			good = select_domain(v, &out->domain);
		else if (strcmp(key, "quality_priority") == 0 || strcmp(key, "expertise_weight") == 0)
			good = select_share(v, &out->quality_priority);
		else if (strcmp(key, "diversity_preference") == 0 || strcmp(key, "diversity_weight") == 0)
			good = select_share(v, &out->diversity_preference);
		if (good)
			continue;
		problem(arg, "auto_select_config",
			"min_agents and max_agents are whole numbers from 2 to 8, quality_priority and "
			"diversity_preference numbers from 0 to 1, domain one of technical, legal, security, "
			"scientific, political, ethical, financial, healthcare, general");
		return false;
	}
	if (json_object_get(config, "max_agents") == NULL && out->max_agents < out->min_agents)
		out->max_agents = out->min_agents;
	if (out->min_agents > out->max_agents) {
		problem(arg, "auto_select_config", "min_agents must not be above max_agents");
		ok = false;
	}
	return ok;
}

/* ---- who can be called ---- */

static void select_open(struct select_state *s, struct str question)
{
	const struct category *wanted = category_find(s->config->domain);
	struct agent_spec spec;
	struct error skip;
	size_t i;

	classify(question, &s->what);
	if (wanted != NULL)
		s->what.category = wanted;
	for (i = 0; i < countof(select_pool) && s->pool_n < SELECT_AGENTS_MAX; i++) {
		const struct known_agent *k = registry_find(str_of(select_pool[i]));

		if (k == NULL || !registry_cast(s->c, s->a, k, STR_NONE, &spec, &skip))
			continue;
		s->pool[s->pool_n++] = (struct select_agent){k, 0};
	}
}

/* ---- which ways of looking ---- */

/* Of the first domain twice: it is what the question is about, the others come with it. */
static int select_fit(const struct select_state *s, const struct persona *p)
{
	int sum = 0;
	size_t i;

	for (i = 0; i < CLASSIFY_DOMAINS; i++)
		sum += persona_expertise(p, s->what.category->domains[i]) * (i == 0 ? 2 : 1);
	return sum;
}

static bool select_has(const struct select_state *s, const struct persona *p)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		if (s->seats[i].persona == p)
			return true;
	return false;
}

/* The best that is not taken; those named after models are for who names them. NULL: none is left. */
static const struct persona *select_best(const struct select_state *s, bool contrarian)
{
	const struct persona *p, *best = NULL;
	int fit, best_fit = -1;
	size_t i;

	for (i = 0; (p = persona_at(i)) != NULL; i++) {
		if (select_has(s, p) || (contrarian && !p->contrarian) || registry_find(str_of(p->key)) != NULL)
			continue;
		fit = select_fit(s, p);
		if (fit > best_fit) {
			best = p;
			best_fit = fit;
		}
	}
	return best;
}

static void select_personas(struct select_state *s)
{
	static const int64_t usual[] = {3, 4, 5};
	int64_t n = usual[s->what.complexity], most = s->c->debates.max_agents;
	bool contrary = false;
	const struct persona *p;

	n = n < s->config->min_agents ? s->config->min_agents : n > s->config->max_agents ? s->config->max_agents : n;
	n = n < most ? n : most;
	while (s->n < (size_t)n) {
		/* Somebody has to look for what speaks against. */
		p = select_best(s, !contrary && s->n + 1 == (size_t)n);
		if (p == NULL)
			break;
		contrary = contrary || p->contrarian;
		s->seats[s->n++] = (struct select_seat){.persona = p, .fit = select_fit(s, p)};
	}
}

/* ---- who takes them ---- */

static struct str select_name(struct select_state *s, const struct known_agent *k, const struct persona *p)
{
	return str_sub(arena_printf(s->a, "%s_%s", k->name, p->key), 0, AGENT_NAME_MAX);
}

/* Of the seat itself if it has played before, else of the agent. */
static int64_t select_elo(struct select_state *s, const struct known_agent *k, const struct persona *p)
{
	struct str name = select_name(s, k, p);
	const json_t *v = json_object_getn(s->ratings, name.p, name.n);

	if (v == NULL || json_integer_value(v) == SELECT_ELO_NEUTRAL)
		v = json_object_get(s->ratings, k->name);
	return json_is_integer(v) ? json_integer_value(v) : SELECT_ELO_NEUTRAL;
}

static double select_score(struct select_state *s, const struct select_agent *g, const struct select_seat *seat,
			   int64_t elo)
{
	double rated = (double)(elo - SELECT_ELO_NEUTRAL) / SELECT_ELO_SPAN;

	rated = rated < -1 ? -1 : rated > 1 ? 1 : rated;
	return s->config->quality_priority * rated +
	       (seat->persona->agent != NULL && strcmp(seat->persona->agent, g->known->name) == 0 ? SELECT_SUITS : 0) -
	       s->config->diversity_preference * (double)g->seats;
}

static void select_cast(struct select_state *s)
{
	size_t i, k;

	for (i = 0; i < s->n; i++) {
		struct select_seat *seat = &s->seats[i];

		for (k = 0; k < s->pool_n; k++) {
			int64_t elo = select_elo(s, s->pool[k].known, seat->persona);
			double score = select_score(s, &s->pool[k], seat, elo);

			if (seat->agent != NULL && score <= seat->score)
				continue;
			seat->agent = &s->pool[k];
			seat->score = score;
			seat->elo = elo;
		}
		if (seat->agent != NULL)
			seat->agent->seats++;
	}
}

/* ---- the outcome ---- */

static json_t *select_strings(const struct str *v, size_t n)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < n && v[i].n > 0; i++)
		json_array_append_new(list, json_str(v[i]));
	return list;
}

static json_t *select_reason(struct select_state *s, const struct select_seat *seat, const char *role)
{
	json_t *o = json_object();
	struct str reason =
	    arena_printf(s->a, "%s knows %d %% of what the question takes%s; %s%s is rated %lld", seat->persona->key,
			 seat->fit / SELECT_FIT, seat->persona->contrarian ? " and looks for what speaks against" : "",
			 seat->agent->known->name,
			 seat->persona->agent != NULL && strcmp(seat->persona->agent, seat->agent->known->name) == 0
			     ? " suits it and"
			     : "",
			 (long long)(seat->elo / 1000));

	json_put_str(o, "name", select_name(s, seat->agent->known, seat->persona));
	json_put_str(o, "agent", str_of(seat->agent->known->name));
	json_put_str(o, "persona", str_of(seat->persona->key));
	json_put_str(o, "role", str_of(role));
	json_object_set_new(o, "expertise", json_real((double)seat->fit / 100.0 / SELECT_FIT));
	json_object_set_new(o, "score", json_real(seat->score));
	json_object_set_new(o, "elo", json_real((double)seat->elo / 1000.0));
	json_put_str(o, "reason", reason);
	return o;
}

static json_t *select_reasoning(struct select_state *s, json_t *seats)
{
	json_t *o = json_object(), *domains = json_array();
	size_t i;

	for (i = 0; i < CLASSIFY_DOMAINS; i++)
		json_array_append_new(domains, json_string(persona_domain_name(s->what.category->domains[i])));
	json_put_str(o, "method", STR("question_classifier"));
	json_put_str(o, "category", str_of(s->what.category->name));
	json_put_str(o, "complexity", str_of(complexity_name(s->what.complexity)));
	json_object_set_new(o, "confidence",
			    json_real(s->config->domain.n > 0 ? 1.0 : (double)s->what.confidence_ppm / 1e6));
	json_object_set_new(o, "keywords", select_strings(s->what.words, CLASSIFY_WORDS));
	json_object_set_new(o, "requires_expertise", domains);
	json_object_set_new(o, "agents", seats);
	return o;
}

bool select_team(const struct conf *c, struct arena *a, struct str question, const struct select_config *config,
		 const json_t *ratings, json_t **agents, json_t **reasoning, struct error *err)
{
	struct select_state s = {.c = c, .a = a, .config = config, .ratings = ratings};
	json_t *seats, *o;
	size_t i;

	select_open(&s, question);
	select_personas(&s);
	select_cast(&s);
	if (s.n < SELECT_SEATS_MIN || s.pool_n == 0)
		return error_field(err, ERR_UNAVAILABLE, "agents", "no provider can be called to choose a team from");
	*agents = json_array();
	seats = json_array();
	for (i = 0; i < s.n; i++) {
		const char *role = select_roles[i % countof(select_roles)];

		o = json_object();
		json_put_str(o, "name", select_name(&s, s.seats[i].agent->known, s.seats[i].persona));
		json_put_str(o, "provider", str_of(s.seats[i].agent->known->name));
		json_put_str(o, "persona", str_of(s.seats[i].persona->key));
		json_put_str(o, "role", str_of(role));
		json_array_append_new(*agents, o);
		json_array_append_new(seats, select_reason(&s, &s.seats[i], role));
	}
	*reasoning = select_reasoning(&s, seats);
	return true;
}

json_t *select_names(const struct conf *c, struct arena *a, struct str question, const struct select_config *config)
{
	struct select_state s = {.c = c, .a = a, .config = config};
	json_t *names = json_array();
	size_t i, k;

	select_open(&s, question);
	select_personas(&s);
	for (k = 0; k < s.pool_n; k++) {
		json_array_append_new(names, json_string(s.pool[k].known->name));
		for (i = 0; i < s.n; i++)
			json_array_append_new(names, json_str(select_name(&s, s.pool[k].known, s.seats[i].persona)));
	}
	return names;
}

/* ---- at creation ---- */

static void select_ignore(void *arg, const char *field, const char *text)
{
	(void)arg;
	(void)field;
	(void)text;
}

static struct str select_question(const json_t *body)
{
	static const char *const names[] = {"task", "topic", "question"};
	struct str s = STR_NONE;
	size_t i;

	for (i = 0; i < countof(names) && s.n == 0; i++)
		s = str_trim(json_get_str(body, names[i], STR_NONE));
	return s;
}

CO_FN void select_agents(struct worker *w, struct arena *a, const struct context *ctx, json_t **body)
{
	struct str question = select_question(*body);
	struct select_config config;
	struct error err = ERROR_INIT;
	json_t *ratings = NULL, *agents = NULL, *reasoning = NULL, *copy,
	       *metadata = json_object_get(*body, "metadata");
	bool wanted;

	if (!select_config_read(*body, &config, &wanted, select_ignore, NULL) || !wanted || question.n == 0 ||
	    (metadata != NULL && !json_is_null(metadata) && !json_is_object(metadata)))
		return;
	if (!conf_demo_active(w->conf) &&
	    !ranking_read(w->db, ctx, json_own(a, select_names(w->conf, a, question, &config)), &ratings, &err))
		log_warn("agents", "a team is chosen without ratings", KV_S("reason", err.msg));
	json_own(a, ratings);
	if (!select_team(w->conf, a, question, &config, ratings, &agents, &reasoning, &err))
		return; /* plan_resolve says which key is missing */
	copy = json_own(a, json_copy(*body));
	metadata = json_is_object(metadata) ? json_copy(metadata) : json_object();
	json_object_set_new(metadata, "selection_reasoning", reasoning);
	json_object_set_new(copy, "metadata", metadata);
	json_object_set_new(copy, "agents", agents);
	*body = copy;
}
