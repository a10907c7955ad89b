/* SPDX-License-Identifier: MIT */
/*
 * From what a client wrote to the seats of a debate: spec strings, aliases, default teams, unique names. Called once
 * per debate, at creation. Does not choose by rating or question: teams are what was asked for or what keys allow.
 */
#include "worker/agents/registry.h"

#include "common/json.h"

#define TEAM_ONE_PROVIDER 3 /* seats when a single provider has to play all of them */
#define TEAM_MAX 5          /* seats of a team that nobody asked for */
#define HINT_DISTANCE 3

static const char *const registry_roles[] = {"proposer", "critic",      "synthesizer", "judge",
					     "analyst",  "implementer", "planner",     NULL};
static const char *const registry_demo_team[] = {"demo||analyst", "demo||skeptic", "demo||pragmatist",
						 "demo||lateral_thinker"};
static const char *const registry_solo_team[TEAM_ONE_PROVIDER] = {"analyst", "skeptic", "synthesizer"};
/* Nobody asked for these; with OpenRouter alone, different families are worth more than different words. */
static const char *const registry_router_team[TEAM_ONE_PROVIDER] = {"deepseek||analyst", "qwen||skeptic",
								    "llama||synthesizer"};
/* Which providers join a team of keys, and under which name. */
static const struct {
	enum conf_provider_id id;
	const char *name;
} registry_team[] = {
    {PROVIDER_ANTHROPIC, "anthropic-api"}, {PROVIDER_OPENAI, "openai-api"},
    {PROVIDER_GEMINI, "gemini"},           {PROVIDER_XAI, "grok"},
    {PROVIDER_MISTRAL, "mistral"},         {PROVIDER_OPENROUTER, "deepseek"},
    {PROVIDER_COMPATIBLE, "compatible"},   {PROVIDER_OLLAMA, "ollama"},
    {PROVIDER_LM_STUDIO, "lm-studio"},
};

struct registry_spec {
	struct str agent, model, persona, role, name;
};

struct registry_list {
	const struct conf *c;
	struct arena *a;
	struct agent_spec *v;
	size_t n, max;
};

/* " (did you mean \"x\"?)" for the nearest of `names`, or "". */
static void registry_hint(struct str s, const char *const *names, char out[96])
{
	unsigned d, best = HINT_DISTANCE + 1;
	size_t i;

	out[0] = '\0';
	for (i = 0; s.n <= AGENT_NAME_MAX && names[i] != NULL; i++) {
		d = str_distance(s, str_of(names[i]));
		if (d >= best || d >= s.n)
			continue;
		best = d;
		(void)snprintf(out, 96, " (did you mean \"%s\"?)", names[i]);
	}
}

static bool registry_unknown(struct error *err, const char *what, struct str value, const char *const *names)
{
	char hint[96];

	registry_hint(value, names, hint);
	value = str_utf8_cut(value, 48);
	return error_field(err, ERR_INVALID_VALUE, "agents", "unknown %s \"%.*s\"%s", what, STR_ARG(value), hint);
}

static struct str registry_lower(struct arena *a, struct str s)
{
	char *p = arena_alloc(a, s.n + 1);
	size_t i;

	for (i = 0; i < s.n; i++)
		p[i] = (char)(s.p[i] >= 'A' && s.p[i] <= 'Z' ? s.p[i] + ('a' - 'A') : s.p[i]);
	p[s.n] = '\0';
	return (struct str){p, s.n};
}

static bool registry_is_role(struct str s)
{
	size_t i;

	for (i = 0; registry_roles[i] != NULL; i++)
		if (str_eqz(s, registry_roles[i]))
			return true;
	return false;
}

/* An id such as "claude-opus-4-6" or "gpt-4" names its model; "claude-3" is only a family. */
static struct str registry_model_in_name(const struct known_agent *k, struct str name)
{
	size_t i, dashes = 0, digits = 0;

	for (i = 0; i < name.n; i++) {
		dashes += name.p[i] == '-';
		digits += name.p[i] >= '0' && name.p[i] <= '9';
	}
	if (str_eqz(name, k->name) || digits == 0 || str_chr(name, '_') >= 0)
		return STR_NONE;
	switch (k->provider) {
	case PROVIDER_ANTHROPIC:
		return dashes >= 2 && str_starts(name, STR("claude")) ? name : STR_NONE;
	case PROVIDER_OPENAI:
	case PROVIDER_GEMINI:
	case PROVIDER_MISTRAL:
	case PROVIDER_XAI:
		return name;
	case PROVIDER_OPENROUTER:
	case PROVIDER_OLLAMA:
	case PROVIDER_LM_STUDIO:
	case PROVIDER_COMPATIBLE:
	case PROVIDER_DEMO:
	case PROVIDER_MAX:
		break;
	}
	return STR_NONE;
}

/* Letters that may not stand in a name become '-'; empty parts are left out. */
static struct str registry_name(struct arena *a, const struct registry_spec *s)
{
	const struct str parts[] = {s->name.n > 0 ? s->name : s->agent, s->name.n > 0 ? STR_NONE : s->persona,
				    s->name.n > 0 ? STR_NONE : s->role};
	char *p = arena_alloc(a, AGENT_NAME_MAX + 1);
	size_t i, j, n = 0;

	for (i = 0; i < countof(parts); i++) {
		if (n > 0 && n < AGENT_NAME_MAX && parts[i].n > 0)
			p[n++] = '_';
		for (j = 0; j < parts[i].n && n < AGENT_NAME_MAX; j++) {
			char c = parts[i].p[j];
			bool ok =
			    (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';

			p[n++] = (char)(ok ? c : '-');
		}
	}
	p[n] = '\0';
	return (struct str){p, n};
}

static bool registry_taken(const struct registry_list *l, struct str name)
{
	size_t i;

	for (i = 0; i < l->n; i++)
		if (str_ieq(l->v[i].name, name))
			return true;
	return false;
}

static struct str registry_unique(const struct registry_list *l, struct str name)
{
	struct str base = name;
	char suffix[16];
	unsigned i;

	for (i = 2; registry_taken(l, name); i++) {
		(void)snprintf(suffix, sizeof(suffix), "_%u", i);
		name = arena_printf(l->a, "%.*s%s", STR_ARG(str_sub(base, 0, AGENT_NAME_MAX - strlen(suffix))), suffix);
	}
	return name;
}

static bool registry_check_persona(struct str persona, struct error *err)
{
	const char *keys[PERSONAS_MAX + 1] = {NULL};
	size_t i;

	if (persona.n == 0 || agents_persona(persona).p != NULL)
		return true;
	for (i = 0; i + 1 < countof(keys) && persona_at(i) != NULL; i++)
		keys[i] = persona_at(i)->key;
	return registry_unknown(err, "persona", persona, keys);
}

static struct agent_sampling registry_sampling(struct str persona)
{
	const struct persona *p = persona_find(persona);

	return p != NULL ? p->sampling : (struct agent_sampling){0, 0, 0};
}

static bool registry_add(struct registry_list *l, const struct registry_spec *raw, struct error *err)
{
	struct registry_spec s = *raw;
	const struct known_agent *k;
	struct agent_spec *spec;

	if (l->n >= l->max)
		return error_field(err, ERR_INVALID_VALUE, "agents", "must have at most %zu agents", l->max);
	s.agent = registry_lower(l->a, str_trim(s.agent));
	s.persona = registry_lower(l->a, str_trim(s.persona));
	s.role = registry_lower(l->a, str_trim(s.role));
	s.model = str_trim(s.model);
	k = registry_find(s.agent);
	if (k == NULL)
		return registry_unknown(err, "agent", s.agent, agents_known());
	if (s.role.n > 0 && !registry_is_role(s.role))
		return registry_unknown(err, "role", s.role, registry_roles);
	if (!registry_check_persona(s.persona, err))
		return false;
	if (s.model.n > 120)
		return error_field(err, ERR_INVALID_VALUE, "agents", "model must be at most 120 bytes");
	spec = &l->v[l->n];
	*spec = (struct agent_spec){.persona = s.persona, .role = s.role, .sampling = registry_sampling(s.persona)};
	if (!registry_cast(l->c, l->a, k, s.model.n > 0 ? s.model : registry_model_in_name(k, s.agent), spec, err))
		return false;
	spec->name = registry_unique(l, registry_name(l->a, &s));
	l->n++;
	return true;
}

/* "provider|model|persona|role", "provider", "provider:role", "provider:persona" */
static bool registry_add_text(struct registry_list *l, struct str text, struct error *err)
{
	struct registry_spec s = {.name = STR_NONE};
	struct str rest = str_trim(text), field;
	struct str *const fields[] = {&s.agent, &s.model, &s.persona, &s.role};
	ptrdiff_t colon = str_chr(rest, ':');
	size_t i = 0;

	if (str_chr(rest, '|') < 0 && colon > 0) {
		field = registry_lower(l->a, str_trim(str_sub(rest, (size_t)colon + 1, rest.n)));
		s.agent = str_sub(rest, 0, (size_t)colon);
		if (registry_is_role(field))
			s.role = field;
		else
			s.persona = field;
		return registry_add(l, &s, err);
	}
	for (; str_split(&rest, '|', &field); i++) {
		if (i >= countof(fields))
			return error_field(err, ERR_INVALID_VALUE, "agents",
					   "\"%.*s\" has more than four fields (provider|model|persona|role)",
					   STR_ARG(str_utf8_cut(text, 48)));
		*fields[i] = field;
	}
	return registry_add(l, &s, err);
}

static bool registry_good_name(struct str name)
{
	size_t i;

	for (i = 0; i < name.n; i++) {
		char c = name.p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
		      c == '-'))
			return false;
	}
	return name.n > 0 && name.n <= AGENT_NAME_MAX;
}

static bool registry_add_object(struct registry_list *l, const json_t *o, struct error *err)
{
	static const char *const kinds[] = {"provider", "agent_type", "type", "agent"};
	struct registry_spec s = {.name = json_get_str(o, "name", STR_NONE)};
	size_t i;

	for (i = 0; i < countof(kinds) && s.agent.n == 0; i++)
		s.agent = json_get_str(o, kinds[i], STR_NONE);
	if (s.agent.n == 0) { /* {"name": "claude"}: the name says what it is */
		s.agent = s.name;
		s.name = STR_NONE;
	} else if (s.name.n > 0 && !registry_good_name(s.name)) {
		return error_field(err, ERR_INVALID_VALUE, "agents",
				   "a name must be 1 to %d letters, digits, '_' or '-'", AGENT_NAME_MAX);
	}
	s.model = json_get_str(o, "model", STR_NONE);
	s.persona = json_get_str(o, "persona", STR_NONE);
	s.role = json_get_str(o, "role", STR_NONE);
	return registry_add(l, &s, err);
}

static bool registry_add_list(struct registry_list *l, const json_t *wanted, struct error *err)
{
	const json_t *item;
	struct str s, token;
	size_t i;
	bool ok = true;

	if (json_is_string(wanted)) {
		s = (struct str){json_string_value(wanted), json_string_length(wanted)};
		while (ok && str_split(&s, ',', &token))
			ok = str_trim(token).n == 0 || registry_add_text(l, token, err);
		return ok;
	}
	if (!json_is_array(wanted))
		return error_field(err, ERR_INVALID_VALUE, "agents", "must be a list of agents");
	json_array_foreach(wanted, i, item)
	{
		if (json_is_string(item))
			ok = registry_add_text(l, (struct str){json_string_value(item), json_string_length(item)}, err);
		else if (json_is_object(item))
			ok = registry_add_object(l, item, err);
		else
			ok = error_field(err, ERR_INVALID_VALUE, "agents", "item %zu must be a string or an object",
					 i + 1);
		if (!ok)
			return false;
	}
	return true;
}

/* The configured team without those that cannot be called; an unknown name in it is still an error. */
static bool registry_configured_team(struct registry_list *l, struct error *err)
{
	const struct conf_list *team = &l->c->debates.default_agents;
	struct error skip;
	size_t i;

	for (i = 0; i < team->n && l->n < l->max; i++) {
		struct str text = str_trim(str_of(team->v[i]));
		struct str name = registry_lower(l->a, str_sub(text, 0, strcspn(team->v[i], "|:")));

		if (text.n == 0)
			continue;
		if (registry_add_text(l, text, &skip))
			continue;
		if (registry_find(str_trim(name)) == NULL) {
			*err = skip;
			return false;
		}
	}
	return true;
}

static bool registry_solo(struct registry_list *l, size_t provider, struct error *err)
{
	bool router =
	    registry_team[provider].id == PROVIDER_OPENROUTER && l->c->providers[PROVIDER_OPENROUTER].model[0] == '\0';
	struct registry_spec s = {.name = STR_NONE};
	size_t i;
	bool ok = true;

	for (i = 0; ok && i < TEAM_ONE_PROVIDER; i++) {
		s.agent = str_of(conf_provider_name(registry_team[provider].id));
		s.persona = str_of(registry_solo_team[i]);
		ok = router ? registry_add_text(l, str_of(registry_router_team[i]), err) : registry_add(l, &s, err);
	}
	return ok;
}

static bool registry_default_team(struct registry_list *l, struct error *err)
{
	size_t i, only = 0, usable = 0;
	bool ok = true;

	if (l->max > TEAM_MAX)
		l->max = TEAM_MAX;
	if (conf_demo_active(l->c)) {
		for (i = 0; ok && i < countof(registry_demo_team) && l->n < l->max; i++)
			ok = registry_add_text(l, str_of(registry_demo_team[i]), err);
		return ok;
	}
	for (i = 0; i < countof(registry_team); i++) {
		if (!registry_usable(l->c, registry_team[i].id))
			continue;
		only = i;
		usable++;
	}
	if (usable == 0)
		return error_field(
		    err, ERR_UNAVAILABLE, "agents",
		    "no provider can be called: set a provider's API key (ANTHROPIC_API_KEY, OPENAI_API_KEY, "
		    "...), OPENAI_BASE_URL, or demo.enabled: on");
	if (usable == 1)
		return registry_solo(l, only, err);
	for (i = 0; ok && i < countof(registry_team) && l->n < l->max; i++)
		if (registry_usable(l->c, registry_team[i].id))
			ok = registry_add_text(l, str_of(registry_team[i].name), err);
	return ok;
}

bool agents_resolve(const struct conf *c, struct arena *a, const json_t *wanted, struct agent_spec **specs, size_t *n,
		    bool *demo, struct error *err)
{
	struct registry_list l = {.c = c, .a = a, .max = (size_t)c->debates.max_agents};
	bool asked = wanted != NULL && !json_is_null(wanted) &&
		     !(json_is_array(wanted) && json_array_size(wanted) == 0) &&
		     !(json_is_string(wanted) && str_trim(str_of(json_string_value(wanted))).n == 0);
	bool ok;
	size_t i;

	l.v = arena_zalloc(a, sizeof(*l.v) * (l.max + 1));
	if (asked) {
		ok = registry_add_list(&l, wanted, err);
	} else {
		ok = registry_configured_team(&l, err);
		if (ok && l.n < 2) {
			l.n = 0; /* too few of the configured ones can be called */
			ok = registry_default_team(&l, err);
		}
	}
	if (!ok)
		return false;
	if (l.n < 2)
		return error_field(err, ERR_INVALID_VALUE, "agents", "a debate needs at least 2 agents");
	*specs = l.v;
	*n = l.n;
	*demo = false;
	for (i = 0; i < l.n; i++)
		*demo = *demo || str_eqz(l.v[i].provider, "demo");
	return true;
}
