/* SPDX-License-Identifier: MIT */
/*
 * Journals of every engine that was ever in use (tests/unit/journals, made by tests/integration/record_journals.py) are
 * replayed: the engine of today asks for no step that they do not hold, and gives the same result, byte by byte. Run
 * from the root of the tree.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>

#include "common/co.h"
#include "common/json.h"
#include "worker/debate/debate.h"
#include "worker/debate/engine.h"

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
	fail_msg("a replay says %s", type);
}

static bool replay_step(struct debate *d, const char *key, const json_t **result)
{
	*result = json_object_get(d->steps, key);
	if (*result == NULL)
		fail_msg("%s: the engine asks for step %s", d->file, key);
	return true;
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

bool step_inbox(struct debate *d, const char *key, const json_t **result)
{
	return replay_step(d, key, result);
}

bool debate_finish(struct debate *d, json_t *result)
{
	d->result = result;
	return true;
}

/* ---- groups without coroutines ---- */

void co_group_open(struct co_group *g, bool fail_fast)
{
	*g = (struct co_group){.fail_fast = fail_fast};
}

bool co_group_spawn(struct co_group *g, const char *name, void (*fn)(void *arg), void *arg)
{
	(void)g;
	(void)name;
	fn(arg);
	return true;
}

void co_group_wait(struct co_group *g)
{
	(void)g;
}

/* ---- the test ---- */

static void replay(const char *path)
{
	json_t *journal = json_load_file(path, 0, NULL);
	struct error err = ERROR_INIT;
	struct debate d = {.arena = arena_new(0), .steps = json_get_obj(journal, "steps"), .file = path};
	json_t *want = json_get_obj(journal, "result");

	assert_non_null(journal);
	d.plan.debate_id = json_get_str(journal, "debate_id", STR(""));
	if (!plan_decode(d.arena, json_get_obj(journal, "plan"), &d.plan, &err))
		fail_msg("%s: %s", path, err.msg);
	assert_true(engine_run(&d));
	/* The version of who finishes it: the one member that is not of the journal. */
	json_object_set(d.result, "engine_version", json_object_get(want, "engine_version"));
	assert_string_equal(json_canonical(d.arena, d.result).p, json_canonical(d.arena, want).p);
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
	while ((e = readdir(dir)) != NULL) {
		if (!str_ends(str_of(e->d_name), STR(".json")))
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", JOURNALS, e->d_name);
		replay(path);
		n++;
	}
	(void)closedir(dir);
	assert_true(n >= JOURNALS_MIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_journal)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
