/* SPDX-License-Identifier: MIT */
/*
 * Tests of worker/agents/registry.c and known.c: spec strings, aliases, default teams, unique names, clear refusals.
 */
#include "worker/agents/registry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/json.h"

struct team {
	struct conf *c;
	struct arena *a;
	struct agent_spec *v;
	size_t n;
	bool demo;
	struct error err;
};

/* Configuration from "key=value" pairs, and a team from JSON text (NULL: none wanted). */
static bool resolve(struct team *t, const char *settings, const char *wanted)
{
	struct conf_override o[8];
	struct buf report = BUF_INIT;
	char *text = xstrdup(settings), *p = text, *pair;
	json_t *j = NULL;
	size_t n = 0;

	*t = (struct team){.a = arena_new(0)};
	while ((pair = strsep(&p, " ")) != NULL && *pair != '\0' && n < countof(o)) {
		o[n].key = strsep(&pair, "=");
		o[n++].value = pair;
	}
	t->c = conf_load(NULL, false, o, n, &report);
	if (t->c == NULL)
		print_error("%s\n", report.p);
	assert_non_null(t->c);
	buf_free(&report);
	free(text);
	if (wanted != NULL) {
		j = json_loads(wanted, JSON_DECODE_ANY, NULL);
		assert_non_null(j);
		json_own(t->a, j);
	}
	return agents_resolve(t->c, t->a, j, &t->v, &t->n, &t->demo, &t->err);
}

static void end(struct team *t)
{
	arena_free(t->a);
	conf_unref(t->c);
}

/* "name provider model persona role" of a seat */
static void seat(const struct team *t, size_t i, const char *want)
{
	char got[256];
	const struct agent_spec *s = &t->v[i];

	assert_true(i < t->n);
	(void)snprintf(got, sizeof(got), "%.*s %.*s %.*s %.*s %.*s", STR_ARG(s->name), STR_ARG(s->provider),
		       STR_ARG(s->model), STR_ARG(s->persona), STR_ARG(s->role));
	assert_string_equal(got, want);
}

#define KEYS "providers.openai.api_key=sk-x providers.anthropic.api_key=sk-y"

static void test_spec_strings(void **state)
{
	struct team t;

	(void)state;
	assert_true(resolve(&t, KEYS,
			    "[\"anthropic-api|claude-opus-4-6|philosopher|critic\", \"openai|||judge\", \" OpenAI \","
			    " \"claude:skeptic\", \"gpt:critic\"]"));
	assert_int_equal(t.n, 5);
	assert_false(t.demo);
	seat(&t, 0, "anthropic-api_philosopher_critic anthropic claude-opus-4-6 philosopher critic");
	seat(&t, 1, "openai_judge openai gpt-4o  judge");
	seat(&t, 2, "openai openai gpt-4o  ");
	seat(&t, 3, "claude_skeptic anthropic claude-sonnet-4-5-20250929 skeptic ");
	seat(&t, 4, "gpt_critic openai gpt-4o  critic");
	assert_int_equal(t.v[0].price_in, 5000000);
	end(&t);
}

static void test_families_name_their_model(void **state)
{
	struct team t;

	(void)state;
	assert_true(resolve(&t, KEYS, "\"claude-3, claude-opus-4-6, gpt-4, gpt, o3-mini, haiku, sonnet-4-5\""));
	seat(&t, 0, "claude-3 anthropic claude-sonnet-4-5-20250929  ");
	seat(&t, 1, "claude-opus-4-6 anthropic claude-opus-4-6  ");
	seat(&t, 2, "gpt-4 openai gpt-4  ");
	seat(&t, 3, "gpt openai gpt-4o  ");
	seat(&t, 4, "o3-mini openai o3-mini  ");
	seat(&t, 5, "haiku anthropic claude-haiku-4-5  ");
	seat(&t, 6, "sonnet-4-5 anthropic claude-sonnet-4-6  ");
	end(&t);
	assert_true(resolve(&t, KEYS " providers.openai.model=gpt-4.1", "[\"gpt\", \"openai|gpt-4o\"]"));
	seat(&t, 0, "gpt openai gpt-4.1  ");
	seat(&t, 1, "openai openai gpt-4o  ");
	end(&t);
}

static void test_objects_and_unique_names(void **state)
{
	struct team t;

	(void)state;
	assert_true(
	    resolve(&t, KEYS,
		    "[{\"name\":\"Alice\",\"provider\":\"openai\",\"model\":\"gpt-4o-mini\"},{\"name\":\"claude\"},"
		    "{\"agent_type\":\"claude\",\"role\":\"judge\"},\"claude\",\"claude\","
		    "{\"name\":\"Alice\",\"type\":\"gpt\",\"persona\":\"skeptic\"}]"));
	seat(&t, 0, "Alice openai gpt-4o-mini  ");
	seat(&t, 1, "claude anthropic claude-sonnet-4-5-20250929  ");
	seat(&t, 2, "claude_judge anthropic claude-sonnet-4-5-20250929  judge");
	seat(&t, 3, "claude_2 anthropic claude-sonnet-4-5-20250929  ");
	seat(&t, 4, "claude_3 anthropic claude-sonnet-4-5-20250929  ");
	seat(&t, 5, "Alice_2 openai gpt-4o skeptic ");
	end(&t);
}

static void refused(const char *settings, const char *wanted, const char *part)
{
	struct team t;

	assert_false(resolve(&t, settings, wanted));
	assert_string_equal(t.err.field, "agents");
	if (strstr(t.err.msg, part) == NULL)
		print_error("%s\n", t.err.msg);
	assert_non_null(strstr(t.err.msg, part));
	end(&t);
}

static void test_refusals(void **state)
{
	(void)state;
	refused(KEYS, "[\"cluade\",\"gpt\"]", "did you mean \"claude\"");
	refused(KEYS, "[\"claude||skepitc\",\"gpt\"]", "did you mean \"skeptic\"");
	refused(KEYS, "[\"claude|||critc\",\"gpt\"]", "did you mean \"critic\"");
	refused(KEYS, "[\"claude|a|b|critic|x\",\"gpt\"]", "more than four");
	refused(KEYS, "[\"claude\"]", "at least 2");
	refused(KEYS, "[\"claude\", 5]", "item 2");
	refused(KEYS, "{\"a\":1}", "list of agents");
	refused(KEYS, "[{\"name\":\"a b\",\"provider\":\"gpt\"},\"gpt\"]", "letters, digits");
	refused(KEYS, "\"gpt,gpt,gpt,gpt,gpt,gpt,gpt,gpt,gpt,gpt,gpt\"", "at most 10");
	refused(KEYS, "[\"grok\",\"gpt\"]", "XAI_API_KEY");
}

static void test_default_teams(void **state)
{
	struct team t;

	(void)state;
	assert_true(resolve(&t, KEYS, NULL));
	assert_int_equal(t.n, 2);
	seat(&t, 0, "anthropic-api anthropic claude-sonnet-4-5-20250929  ");
	seat(&t, 1, "openai-api openai gpt-4o  ");
	end(&t);
	/* One key is enough: three seats that differ. */
	assert_true(resolve(&t, "providers.mistral.api_key=m", "[]"));
	assert_int_equal(t.n, 3);
	seat(&t, 0, "mistral_analyst mistral mistral-large-latest analyst ");
	seat(&t, 1, "mistral_skeptic mistral mistral-large-latest skeptic ");
	seat(&t, 2, "mistral_synthesizer mistral mistral-large-latest synthesizer ");
	end(&t);
	assert_true(resolve(&t, "providers.openrouter.api_key=r", "\"\""));
	assert_int_equal(t.n, 3);
	seat(&t, 0, "deepseek_analyst openrouter deepseek/deepseek-chat analyst ");
	end(&t);
	/* The configured team, without those that have no key; if fewer than two remain, what keys allow. */
	assert_true(resolve(&t, KEYS " debates.default_agents=grok,gpt,claude:skeptic", NULL));
	assert_int_equal(t.n, 2);
	seat(&t, 1, "claude_skeptic anthropic claude-sonnet-4-5-20250929 skeptic ");
	end(&t);
	assert_true(resolve(&t, KEYS " debates.default_agents=grok,gpt", NULL));
	assert_int_equal(t.n, 2);
	end(&t);
	refused(KEYS " debates.default_agents=gpt,claude,nobody", NULL, "nobody");
}

/* One key is enough, whosever it is: three who look at the question in different ways. */
static void test_each_provider_alone(void **state)
{
	char settings[120];
	struct team t;
	int id;
	size_t i, k;

	(void)state;
	for (id = 0; id < PROVIDER_MAX; id++) {
		const char *name = conf_provider_name((enum conf_provider_id)id);
		bool keyed = id != PROVIDER_OLLAMA && id != PROVIDER_LM_STUDIO && id != PROVIDER_COMPATIBLE;

		if (id == PROVIDER_DEMO)
			continue;
		(void)snprintf(settings, sizeof(settings),
			       keyed ? "providers.%s.api_key=sk-x" : "providers.%s.base_url=http://x.example", name);
		if (!resolve(&t, settings, NULL) || t.n != 3)
			fail_msg("%s: %zu, %s", name, t.n, t.err.msg);
		for (i = 0; i < t.n; i++) {
			assert_string_equal(arena_str(t.a, t.v[i].provider).p, name);
			for (k = 0; k < i; k++)
				assert_false(str_eq(t.v[i].persona, t.v[k].persona));
		}
		end(&t);
		/* With a second one both are in. */
		(void)snprintf(settings + strlen(settings), sizeof(settings) - strlen(settings),
			       " providers.%s.api_key=sk-y", id == PROVIDER_ANTHROPIC ? "openai" : "anthropic");
		assert_true(resolve(&t, settings, NULL));
		for (i = 0; i < t.n && !str_eqz(t.v[i].provider, name); i++)
			;
		if (i == t.n)
			fail_msg("%s is left out of the team", name);
		end(&t);
	}
}

static void test_demo(void **state)
{
	struct team t;

	(void)state;
	assert_true(resolve(&t, "", NULL));
	assert_true(t.demo);
	assert_int_equal(t.n, 4);
	seat(&t, 0, "demo_analyst demo demo analyst ");
	end(&t);
	assert_true(resolve(&t, "", "[\"claude\",\"gpt-4\",\"gemini\"]"));
	assert_true(t.demo);
	seat(&t, 1, "gpt-4 demo demo  ");
	assert_int_equal(t.v[1].price_in, 0);
	end(&t);
	/* Also beside real ones, when asked for by name. */
	assert_true(resolve(&t, KEYS, "[\"claude\",\"demo\"]"));
	assert_true(t.demo);
	seat(&t, 0, "claude anthropic claude-sonnet-4-5-20250929  ");
	end(&t);
}

static void test_openrouter_stands_in(void **state)
{
	struct team t;

	(void)state;
	assert_true(resolve(&t, "providers.openrouter.api_key=r",
			    "[\"claude-opus-4-6\",\"gpt-4o\",\"gemini-2.5-pro\",\"codestral\",\"qwen\"]"));
	seat(&t, 0, "claude-opus-4-6 openrouter anthropic/claude-opus-4.6  ");
	seat(&t, 1, "gpt-4o openrouter openai/gpt-4o  ");
	seat(&t, 2, "gemini-2-5-pro openrouter google/gemini-2.5-pro  ");
	seat(&t, 3, "codestral openrouter mistralai/codestral-2501  ");
	seat(&t, 4, "qwen openrouter qwen/qwen3-max  ");
	end(&t);
}

static void test_tables(void **state)
{
	const char *const *names = agents_known();
	struct agent_spec spec = {.name = STR("deepseek-r1_skeptic"), .provider = STR("openrouter")};
	struct team t;
	size_t i, n = 0;

	(void)state;
	for (i = 0; names[i] != NULL; i++) {
		n++;
		assert_ptr_equal(registry_find(str_of(names[i])), known_at(i));
	}
	assert_true(n >= 15);
	assert_string_equal(names[registry_label(&spec)], "deepseek-r1");
	spec.name = STR("Alice");
	assert_string_equal(names[registry_label(&spec)], "openrouter");
	assert_null(registry_find(STR("claudette")));
	assert_null(registry_find(STR("")));
	for (i = 0; persona_at(i) != NULL; i++)
		assert_true(agents_persona(str_of(persona_at(i)->key)).n > 100);
	assert_true(i >= 12);
	assert_null(agents_persona(STR("nobody")).p);
	assert_true(resolve(&t, KEYS, NULL));
	assert_int_equal(agents_available(t.c), 2);
	end(&t);
	assert_true(resolve(&t, "", NULL));
	assert_true(agents_available(t.c) >= 15);
	end(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_spec_strings),
	    cmocka_unit_test(test_families_name_their_model),
	    cmocka_unit_test(test_objects_and_unique_names),
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_default_teams),
	    cmocka_unit_test(test_each_provider_alone),
	    cmocka_unit_test(test_demo),
	    cmocka_unit_test(test_openrouter_stands_in),
	    cmocka_unit_test(test_tables),
	};

	return cmocka_run_group_tests_name("agents_registry", tests, NULL, NULL);
}
