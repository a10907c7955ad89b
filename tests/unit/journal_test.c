/* SPDX-License-Identifier: MIT */
/*
 * Journals of every engine that was ever in use (tests/unit/journals, made by tests/integration/record_journals.py) are
 * replayed: the engine of today asks for no step that they do not hold, and gives the same result, byte by byte. Run
 * from the root of the tree.
 */
#include <dirent.h>

#include "common/json.h"
#include "tests/unit/co_harness.h"
#include "worker/engine/engine.h"
#include "worker/engine/plan.h"

#define JOURNALS "tests/unit/journals"
#define JOURNALS_MIN 8

struct debate {
	struct debate_plan plan;
	struct arena *arena;
	const json_t *steps;
	void *engine;
	json_t *result;
	const char *file;
};

struct step {
	int64_t now_ms;
};

static struct buf complaints;

/* ---- a step interface that knows the journal alone ---- */

const struct debate_plan *debate_plan(const struct debate *d)
{
	return &d->plan;
}

struct arena *debate_arena(struct debate *d)
{
	return d->arena;
}

enum debate_stop debate_stop(const struct debate *d)
{
	(void)d;
	return STOP_NONE;
}

void debate_set_engine(struct debate *d, void *ctx)
{
	d->engine = ctx;
}

void *debate_engine(const struct debate *d)
{
	return d->engine;
}

int64_t step_now_ms(const struct step *s)
{
	return s->now_ms;
}

int64_t debate_running_ms(const struct debate *d)
{
	(void)d;
	return 0;
}

void step_emit(struct step *s, const char *type, const char *agent, int round, json_t *data)
{
	(void)s;
	(void)agent;
	(void)round;
	json_decref(data);
	buf_printf(&complaints, "a replay says %s\n", type);
}

static bool replay_step(struct debate *d, const char *key, const json_t **result)
{
	*result = json_object_get(d->steps, key);
	if (*result == NULL)
		buf_printf(&complaints, "%s: the engine asks for step %s\n", d->file, key);
	return *result != NULL;
}

bool step_run(struct debate *d, const char *key, json_t *(*compute)(struct step *s, void *arg), void *arg,
	      const json_t **result)
{
	(void)compute;
	(void)arg;
	return replay_step(d, key, result);
}

bool step_call(struct debate *d, const char *key, const struct step_call *call, const json_t **result)
{
	(void)call;
	return replay_step(d, key, result);
}

bool step_ratings(struct debate *d, const char *key, const json_t **result)
{
	return replay_step(d, key, result);
}

bool step_standing(struct debate *d, const char *key, const json_t **result)
{
	return replay_step(d, key, result);
}

bool step_alike(struct debate *d, const char *key, const struct str *texts, size_t n, const json_t **result)
{
	(void)texts;
	(void)n;
	return replay_step(d, key, result);
}

bool step_budgets(struct debate *d, const char *key, const json_t **result)
{
	return replay_step(d, key, result);
}

bool step_inbox(struct debate *d, const char *key, const json_t **result)
{
	return replay_step(d, key, result);
}

bool step_background(struct debate *d, const char *key)
{
	const json_t *result;

	if (!d->plan.recall)
		return true;
	if (!replay_step(d, key, &result))
		return false;
	d->plan.background = json_get_arr(result, "items");
	return true;
}

bool debate_finish(struct debate *d, json_t *result)
{
	d->result = result;
	return true;
}

/* ---- the test ---- */

/* On a coroutine: the engine asks several agents at once. */
static void replay(void *arg)
{
	const char *path = arg;
	json_t *journal = json_load_file(path, 0, NULL), *want = json_get_obj(journal, "result");
	struct debate d = {.arena = arena_new(0), .steps = json_get_obj(journal, "steps"), .file = path};
	struct error err = ERROR_INIT;

	d.plan.debate_id = json_get_str(journal, "debate_id", STR(""));
	if (!plan_decode(d.arena, json_get_obj(journal, "plan"), &d.plan, &err)) {
		buf_printf(&complaints, "%s: %s\n", path, err.msg);
	} else if (engine_run(&d)) {
		if (!str_eq(json_canonical(d.arena, d.result), json_canonical(d.arena, want)))
			buf_printf(&complaints, "%s: the result is\n%s\nand was\n%s\n", path,
				   json_canonical(d.arena, d.result).p, json_canonical(d.arena, want).p);
	}
	json_decref(d.result);
	json_decref(journal);
	arena_free(d.arena);
}

static void test_every_journal(void **state)
{
	DIR *dir = opendir(JOURNALS);
	const struct dirent *e;
	char path[300];
	size_t n = 0;

	(void)state;
	assert_non_null(dir);
	loop_begin();
	while ((e = readdir(dir)) != NULL) {
		if (!str_ends(str_of(e->d_name), STR(".json")))
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", JOURNALS, e->d_name);
		spawn(replay, path);
		run_all();
		n++;
	}
	(void)closedir(dir);
	loop_end();
	if (complaints.n > 0)
		fail_msg("%s", complaints.p);
	assert_true(n >= JOURNALS_MIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_journal)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
