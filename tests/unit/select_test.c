/* SPDX-License-Identifier: MIT */
/*
 * What questions are about, and the teams chosen for them: fit, contradiction, variety, ratings, bounds.
 */
#include "worker/agents/select.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/json.h"
#include "worker/agents/classify.h"

static void test_classify(void **state)
{
	static const struct {
		const char *question, *category;
		enum complexity complexity;
	} cases[] = {
	    {"Should we use Redis or Memcached as a session cache?", "technical", COMPLEXITY_SIMPLE},
	    {"May a landlord change the contract, and which court decides?", "legal", COMPLEXITY_SIMPLE},
	    {"How do we encrypt passwords against an attack?", "security", COMPLEXITY_SIMPLE},
	    {"Which treatment should the hospital offer the patient?", "healthcare", COMPLEXITY_SIMPLE},
	    {"Should the company invest its cash in bonds, or keep a budget reserve against inflation while revenue is "
	     "uncertain and interest rates may move again?",
	     "financial", COMPLEXITY_MODERATE},
	    {"Wie backt man ein gutes Brot?", "general", COMPLEXITY_SIMPLE},
	    {"", "general", COMPLEXITY_SIMPLE},
	};
	struct classified c;
	size_t i;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		classify(str_of(cases[i].question), &c);
		if (strcmp(c.category->name, cases[i].category) != 0)
			fail_msg("%s: %s", cases[i].question, c.category->name);
		assert_int_equal(c.complexity, cases[i].complexity);
	}
	classify(STR("contract contract contract contract law"), &c);
	assert_int_equal(c.hits, 5);
	assert_int_equal(c.confidence_ppm, 900000);
	assert_true(str_eqz(c.words[4], "law"));
	assert_non_null(category_find(STR("Ethical")));
	assert_null(category_find(STR("")));
}

struct choice {
	struct conf *c;
	struct arena *a;
	json_t *agents, *why;
	struct error err;
};

static bool choose(struct choice *x, const char *key, const char *question, const struct select_config *config,
		   json_t *ratings)
{
	const struct conf_override o[] = {{"providers.openai.api_key", "sk-x"},
					  {"providers.anthropic.api_key", "sk-y"},
					  {"providers.mistral.api_key", "m"},
					  {"providers.openrouter.api_key", "r"}};
	struct buf report = BUF_INIT;
	bool ok;

	*x = (struct choice){.a = arena_new(0), .err = ERROR_INIT};
	x->c = conf_load(NULL, false, key != NULL ? &(struct conf_override){key, "k"} : o, key != NULL ? 1 : countof(o),
			 &report);
	assert_non_null(x->c);
	buf_free(&report);
	ok = select_team(x->c, x->a, str_of(question), config, json_own(x->a, ratings), &x->agents, &x->why, &x->err);
	if (ok) {
		json_own(x->a, x->agents);
		json_own(x->a, x->why);
	}
	return ok;
}

static void end(struct choice *x)
{
	arena_free(x->a);
	conf_unref(x->c);
}

static const char *member(const struct choice *x, size_t i, const char *key)
{
	return json_string_value(json_object_get(json_array_get(x->agents, i), key));
}

static const struct select_config usual = {2, 5, {"", 0}, 0.7, 0.5};

static void test_a_team_fits_its_question(void **state)
{
	struct choice x;
	struct agent_spec *v;
	size_t n, i;
	bool demo;

	(void)state;
	assert_true(choose(&x, NULL, "Which treatment should the hospital offer the patient?", &usual, NULL));
	assert_int_equal(json_array_size(x.agents), 3);
	assert_string_equal(member(&x, 0, "persona"), "clinical_reviewer");
	assert_true(persona_find(str_of(member(&x, 2, "persona")))->contrarian);
	assert_string_equal(member(&x, 0, "role"), "proposer");
	assert_string_equal(member(&x, 1, "role"), "critic");
	for (i = 1; i < 3; i++)
		assert_string_not_equal(member(&x, 0, "provider"), member(&x, i, "provider"));
	assert_string_equal(json_string_value(json_object_get(x.why, "category")), "healthcare");
	assert_int_equal(json_array_size(json_object_get(x.why, "agents")), 3);
	assert_true(agents_resolve(x.c, x.a, x.agents, &v, &n, &demo, &x.err)); /* what is chosen can be used */
	assert_int_equal(n, 3);
	end(&x);
	assert_true(choose(&x, "providers.mistral.api_key", "Which court decides on the contract?", &usual, NULL));
	for (i = 0; i < 3; i++)
		assert_string_equal(member(&x, i, "provider"), "mistral");
	assert_string_not_equal(member(&x, 0, "persona"), member(&x, 1, "persona"));
	end(&x);
}

static void test_ratings_and_variety(void **state)
{
	struct select_config same = {3, 3, {"", 0}, 1.0, 0.0};
	struct choice x;
	size_t i;

	(void)state;
	assert_true(choose(&x, NULL, "Redis or Memcached?", &same, json_pack("{s:i}", "mistral", 1900000)));
	for (i = 0; i < 3; i++)
		assert_string_equal(member(&x, i, "provider"), "mistral");
	end(&x);
	same.diversity_preference = 1.0;
	assert_true(choose(&x, NULL, "Redis or Memcached?", &same, json_pack("{s:i}", "mistral", 1900000)));
	for (i = 0; i < 3; i++)
		assert_string_not_equal(member(&x, i, "provider"), member(&x, (i + 1) % 3, "provider"));
	end(&x);
}

static void test_bounds_and_domain(void **state)
{
	struct select_config eight = {8, 8, {"legal", 5}, 0.7, 0.5};
	struct choice x;

	(void)state;
	assert_true(choose(&x, NULL, "Tea or coffee?", &eight, NULL));
	assert_int_equal(json_array_size(x.agents), 8);
	assert_string_equal(json_string_value(json_object_get(x.why, "category")), "legal");
	end(&x);
}

static void problem(void *arg, const char *field, const char *text)
{
	struct buf *b = arg;

	assert_true(strlen(text) > 10);
	buf_printf(b, "%s ", field);
}

static void test_configuration(void **state)
{
	static const struct {
		const char *body, *problems;
		bool wanted;
	} cases[] = {
	    {"{}", "", false},
	    {"{\"auto_select\": true}", "", true},
	    {"{\"auto_select\": true, \"agents\": []}", "", true},
	    {"{\"auto_select\": true, \"agents\": [\"claude\", \"gpt\"]}", "", false},
	    {"{\"auto_select\": 1}", "auto_select ", false},
	    {"{\"auto_select\": true, \"auto_select_config\": []}", "auto_select_config ", true},
	    {"{\"auto_select_config\": {\"min_agents\": 9}}", "auto_select_config ", false},
	    {"{\"auto_select_config\": {\"min_agents\": 6, \"max_agents\": 3}}", "auto_select_config ", false},
	    {"{\"auto_select_config\": {\"min_agents\": 6}}", "", false},
	    {"{\"auto_select_config\": {\"domain\": \"cooking\"}}", "auto_select_config ", false},
	    {"{\"auto_select_config\": {\"quality_priority\": 1.5}}", "auto_select_config ", false},
	    {"{\"auto_select_config\": {\"domain\": \"legal\", \"diversity_weight\": 0.3, \"other\": 1}}", "", false},
	};
	struct select_config config;
	struct buf b = BUF_INIT;
	bool wanted;
	size_t i;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		json_t *body = json_loads(cases[i].body, 0, NULL);

		buf_clear(&b);
		buf_addz(&b, "");
		assert_int_equal(select_config_read(body, &config, &wanted, problem, &b), cases[i].problems[0] == '\0');
		assert_true(str_eqz(buf_str(&b), cases[i].problems));
		assert_int_equal(wanted, cases[i].wanted);
		json_decref(body);
	}
	buf_free(&b);
}

static void test_personas(void **state)
{
	const struct persona *p;
	size_t i, k;

	(void)state;
	for (i = 0; (p = persona_at(i)) != NULL; i++) {
		assert_ptr_equal(persona_find(str_of(p->key)), p);
		assert_true(strlen(p->text) > 100 && strlen(p->traits) > 10);
		assert_true(p->sampling.temperature_ppm >= 400000 && p->sampling.temperature_ppm <= 900000);
		assert_true(p->expertise[0].percent >= 50);
		for (k = 0; k < countof(p->expertise); k++)
			assert_in_range(p->expertise[k].percent, 0, 100);
		assert_true(p->agent == NULL || registry_find(str_of(p->agent)) != NULL);
	}
	assert_true(i >= 60);
	assert_int_equal(persona_find(STR("gdpr"))->sampling.temperature_ppm, 400000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_classify),
	    cmocka_unit_test(test_a_team_fits_its_question),
	    cmocka_unit_test(test_ratings_and_variety),
	    cmocka_unit_test(test_bounds_and_domain),
	    cmocka_unit_test(test_configuration),
	    cmocka_unit_test(test_personas),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
