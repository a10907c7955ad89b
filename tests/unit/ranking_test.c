/* SPDX-License-Identifier: MIT */
/*
 * Ratings: the arithmetic against worked examples, and what a finished debate writes to the store.
 */
#include "worker/ranking/ranking_math.h"

#include "common/json.h"
#include "tests/unit/store_harness.h"
#include "worker/schema.h"

static void test_expected(void **state)
{
	static const struct {
		int64_t mine, other;
		double wanted;
	} cases[] = {{1500000, 1500000, 0.5},
		     {1600000, 1500000, 0.640065},
		     {1600000, 1400000, 0.759747},
		     {1400000, 1600000, 0.240253},
		     {1500000, 1900000, 0.090909},
		     {0, 4000000, 1e-10},
		     {9000000, 0, 1.0}};
	size_t i;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		double e = ranking_expected(cases[i].mine, cases[i].other) - cases[i].wanted;

		assert_true(e < 1e-6 && e > -1e-6);
	}
}

/* The examples of the published method, whose sum over opponents is here divided by their number. */
static void test_changes(void **state)
{
	static const struct {
		size_t n;
		int64_t before[3], score[3], confidence, wanted[3];
	} cases[] = {
	    {3, {1500000, 1500000, 1500000}, {2, 1, 1}, 1000000, {5334, -2667, -2667}},
	    {3, {1500000, 1500000, 1500000}, {2, 0, 0}, 1000000, {16000, -8000, -8000}},
	    {3, {1600000, 1500000, 1400000}, {1, 2, 1}, 800000, {-7251, 4267, 2984}},
	    {2, {1600000, 1500000, 0}, {0, 2, 0}, 1000000, {-20482, 20482, 0}},
	    {2, {1500000, 1500000, 0}, {2, 0, 0}, 0, {1600, -1600, 0}}, /* never less than a tenth */
	    {2, {1500000, 1500000, 0}, {2, 2, 0}, 1000000, {0, 0, 0}},
	    {2, {1500000, 1500000, 0}, {0, 0, 0}, 1000000, {0, 0, 0}},
	};
	struct ranking_player p[3];
	int64_t sum;
	size_t i, k;

	(void)state;
	for (i = 0; i < countof(cases); i++) {
		for (k = 0; k < cases[i].n; k++)
			p[k] = (struct ranking_player){.before = cases[i].before[k], .score = cases[i].score[k]};
		ranking_changes(p, cases[i].n, cases[i].confidence);
		for (sum = 0, k = 0; k < cases[i].n; k++) {
			/* Pairs are rounded one by one. */
			assert_true(p[k].change - cases[i].wanted[k] <= 1 && p[k].change - cases[i].wanted[k] >= -1);
			sum += p[k].change;
		}
		assert_int_equal(sum, 0);
	}
}

/* Who has played little moves faster, and takes nothing more from the other for it. */
static void test_provisional(void **state)
{
	struct ranking_player p[2] = {{.before = 1500000, .score = 2, .provisional = true},
				      {.before = 1500000, .score = 0}};

	(void)state;
	ranking_changes(p, 2, 1000000);
	assert_int_equal(p[0].change, 20000);
	assert_int_equal(p[1].change, -16000);
}

/* ---- with a store ---- */

static const struct context test_ctx = {STR("anonymous"), STR("default"), STR("default"), STR_NONE, NULL};

static int setup(void **state)
{
	return store_set_up(state, NULL, schema_migrations, schema_migrations_count);
}

static json_t *test_result(struct fixture *f, const char *id, const char *winner, bool demo)
{
	json_t *j =
	    json_pack("{s:s, s:s, s:b, s:[sss], s:{s:s, s:s}, s:{s:b, s:i}, s:i}", "debate_id", id, "winner", winner,
		      "demo", demo, "participants", "gpt", "claude", "silent", "proposals", "claude", "a", "gpt", "b",
		      "consensus", "reached", 1, "confidence_ppm", 1000000, "ended_at_ms", 1000);

	assert_non_null(j);
	return json_own(f->arena, j);
}

CO_FN static size_t finish(struct fixture *f, const json_t *result, json_t *before, size_t events_wanted)
{
	struct db_batch *b = db_batch_new(f->db);
	json_t *events = json_own(f->arena, json_array());
	struct error err = ERROR_INIT;
	size_t n;

	assert_true(ranking_add(b, &test_ctx, result, before, events, &err));
	assert_int_equal(json_array_size(events), events_wanted);
	n = db_batch_size(b);
	if (!db_commit(f->db, b, &err))
		fail_msg("%s", err.msg);
	return n;
}

static void ended_body(struct fixture *f)
{
	json_t *names = json_own(f->arena, json_pack("[sss]", "claude", "gpt", "silent")), *before, *again;
	struct error err = ERROR_INIT;
	struct db_rows r;

	assert_true(ranking_read(f->db, &test_ctx, names, &before, &err));
	json_own(f->arena, before);
	assert_int_equal(json_get_int(before, "claude", 0), 1500000);
	/* 32 x (2/3 - 1/2); who said nothing is not rated. */
	assert_int_equal(finish(f, test_result(f, "d1", "claude", false), before, 4), 8);
	assert_true(ranking_read(f->db, &test_ctx, names, &again, &err));
	json_own(f->arena, again);
	assert_int_equal(json_get_int(again, "claude", 0), 1505333);
	assert_int_equal(json_get_int(again, "gpt", 0), 1494667);
	assert_int_equal(json_get_int(again, "silent", 0), 1500000);
	/* Read before the first match ended: its change is added, not lost. */
	finish(f, test_result(f, "d2", "claude", false), before, 4);
	assert_true(ranking_read(f->db, &test_ctx, names, &again, &err));
	json_own(f->arena, again);
	assert_int_equal(json_get_int(again, "claude", 0), 1510666);
	assert_int_equal(finish(f, test_result(f, "d3", "claude", true), before, 0), 0);
	/* Nobody won: no match, yet it was a debate. */
	assert_int_equal(finish(f, test_result(f, "d4", "", false), before, 0), 5);
	assert_int_equal(finish(f, test_result(f, "d5", "silent", false), before, 0), 5);
	assert_true(
	    db_query(f->db, f->arena, "SELECT wins, losses, draws FROM ratings ORDER BY agent", DB_NO_ARGS, &r, &err));
	assert_int_equal(r.count, 3); /* who said nothing has a row for its calls, and no match */
	assert_int_equal(db_int(&r, 0, 0), 2);
	assert_int_equal(db_int(&r, 1, 1), 2);
	assert_int_equal(db_int(&r, 2, 0) + db_int(&r, 2, 1) + db_int(&r, 2, 2), 0);
	assert_true(db_query(f->db, f->arena, "SELECT participants, changes FROM matches WHERE debate_id = 'd1'",
			     DB_NO_ARGS, &r, &err));
	assert_true(str_eqz(db_str(&r, 0, 0), "[\"claude\",\"gpt\"]"));
	assert_true(str_eqz(db_str(&r, 0, 1), "{\"claude\":5333,\"gpt\":-5333}"));
}

static void test_store(void **state)
{
	on_co(*state, ended_body);
}

/* ---- a debate in full ---- */

/* alpha and bravo hold one position and prevail; charlie holds out; delta failed in all it was asked. */
static const char full_result[] =
    "{\"debate_id\":\"%s\",\"domain\":\"security\",\"winner\":\"%s\",\"ended_at_ms\":1000,\"demo\":false,"
    "\"participants\":[\"delta\",\"charlie\",\"bravo\",\"alpha\"],"
    "\"proposals\":{\"alpha\":\"a2\",\"bravo\":\"b1\",\"charlie\":\"c1\"},"
    "\"consensus\":{\"reached\":true,\"confidence_ppm\":1000000,\"groups\":[{\"agents\":[\"charlie\"]},"
    "{\"agents\":[%s]}]},"
    "\"messages\":[{\"agent\":\"alpha\",\"content\":\"a1\",\"round\":0},"
    "{\"agent\":\"bravo\",\"content\":\"b1\",\"round\":0},{\"agent\":\"charlie\",\"content\":\"c1\",\"round\":0},"
    "{\"agent\":\"alpha\",\"content\":\"a2\",\"round\":1},{\"agent\":\"bravo\",\"content\":\"b1\",\"round\":1}],"
    "\"critiques\":[{\"round\":1,\"agent\":\"charlie\",\"target_agent\":\"alpha\",\"issues\":[\"x\"]},"
    "{\"round\":1,\"agent\":\"bravo\",\"target_agent\":\"alpha\",\"issues\":[]},"
    "{\"round\":1,\"agent\":\"charlie\",\"target_agent\":\"bravo\",\"issues\":[\"y\"]},"
    "{\"round\":1,\"agent\":\"alpha\",\"target_agent\":\"charlie\",\"issues\":[\"z\"]}],"
    "\"votes\":[{\"agent\":\"alpha\",\"choice\":\"bravo\"},{\"agent\":\"bravo\",\"choice\":\"alpha\"},"
    "{\"agent\":\"charlie\",\"choice\":\"charlie\"}],\"flips\":[{\"agent\":\"alpha\",\"round\":1},"
    "{\"agent\":\"alpha\",\"round\":2}],"
    "\"per_agent\":{\"alpha\":{\"calls\":5,\"failures\":1},\"delta\":{\"calls\":3,\"failures\":3}}}";

static json_t *full(struct fixture *f, const char *id, const char *winner, const char *group)
{
	struct error err = ERROR_INIT;
	char text[2048];
	json_t *j;

	snprintf(text, sizeof(text), full_result, id, winner, group);
	j = json_parse(f->arena, str_of(text), &err);
	if (j == NULL)
		fail_msg("%s", err.msg);
	return j;
}

CO_FN static json_t *before_of(struct fixture *f, const json_t *result)
{
	struct error err = ERROR_INIT;
	json_t *before;

	if (!ranking_before(f->db, &test_ctx, json_get_str(result, "debate_id", STR("")),
			    json_get_arr(result, "participants"), STR("Is it secure?"), &before, &err))
		fail_msg("%s", err.msg);
	return json_own(f->arena, before);
}

/* The rows of a query as text: cells by '|', rows by ' '. */
CO_FN static void rows_are(struct fixture *f, const char *sql, const char *wanted)
{
	struct error err = ERROR_INIT;
	struct buf b = BUF_INIT;
	struct db_rows r;
	size_t i, k;

	if (!db_query(f->db, f->arena, sql, DB_NO_ARGS, &r, &err))
		fail_msg("%s", err.msg);
	for (i = 0; i < r.count; i++)
		for (k = 0; k < r.columns; k++) {
			const struct db_val *v = &r.cells[i * r.columns + k];

			buf_addz(&b, k > 0 ? "|" : i > 0 ? " " : "");
			if (v->type == DB_TEXT)
				buf_add(&b, v->s);
			else
				buf_printf(&b, "%lld", (long long)v->i);
		}
	if (!str_eqz(buf_str(&b), wanted))
		fail_msg("%.*s, wanted %s", STR_ARG(buf_str(&b)), wanted);
	buf_free(&b);
}

#define FULL_RATINGS \
	"SELECT agent, elo_milli, wins, losses, draws FROM ratings WHERE workspace_id = 'default' ORDER BY agent"

static void full_body(struct fixture *f)
{
	json_t *shared = full(f, "d1", "alpha", "\"bravo\",\"alpha\""), *alone = full(f, "d2", "alpha", "\"alpha\"");
	json_t *before = before_of(f, shared), *events = json_own(f->arena, json_array()), *board;
	struct db_batch *b;
	struct error err = ERROR_INIT;
	int i;

	assert_false(json_get_bool(before, "rated", true));
	finish(f, shared, before, 5);
	/* 40 x (2/3 - 1/2) / 2 from charlie for each of the two; between them it is a draw. */
	rows_are(f, FULL_RATINGS, "alpha|1503333|0|0|1 bravo|1503333|0|0|1 charlie|1493334|0|1|0 delta|1500000|0|0|0");
	rows_are(f,
		 "SELECT agent, debates, accepted, critiques, valuable, votes, conforming, calls, failures, flips FROM"
		 " ratings ORDER BY agent",
		 "alpha|1|1|1|0|1|1|5|1|1 bravo|1|1|1|0|1|1|0|0|0 charlie|1|0|2|1|1|0|0|0|0 delta|0|0|0|0|0|0|3|3|0");
	rows_are(
	    f,
	    "SELECT agent, kind, domain, outcome, side, score_milli, change_milli FROM rating_changes ORDER BY agent",
	    "alpha|match|security|draw|1|1000|3333 bravo|match|security|draw|1|1000|3333"
	    " charlie|match|security|loss|0|500|-6666");
	/* Rated once, whoever asks again. */
	before = before_of(f, shared);
	assert_true(json_get_bool(before, "rated", false));
	assert_int_equal(finish(f, shared, before, 0), 0);
	/* In the subject they go on from where they stand there. */
	finish(f, alone, before_of(f, alone), 5);
	rows_are(f, FULL_RATINGS, "alpha|1509712|1|0|1 bravo|1499712|0|1|1 charlie|1490576|0|2|0 delta|1500000|0|0|0");
	rows_are(f, "SELECT agent, domain, elo_milli, wins, losses, draws FROM domain_ratings ORDER BY agent",
		 "alpha|security|1509712|1|0|1 bravo|security|1499712|0|1|1 charlie|security|1490576|0|2|0");
	rows_are(f, "SELECT winner, domain, scores FROM matches WHERE debate_id = 'd2'",
		 "alpha|security|{\"alpha\":1000,\"bravo\":500,\"charlie\":500}");
	/* Ten matches: no longer provisional. Another subject begins at the rating over all. */
	for (i = 0; i < 8; i++) {
		json_t *more = full(f, "more", "alpha", "\"alpha\"");

		json_object_set_new(more, "debate_id", json_pack("s#", "more0123456" + i, 5));
		finish(f, more, before_of(f, more), 5);
	}
	before = before_of(f, full(f, "d3", "alpha", "\"alpha\""));
	assert_int_equal(json_get_int(json_object_get(json_get_obj(before, "standing"), "alpha"), "matches", 0), 10);
	board = json_get_arr(before, "board");
	assert_int_equal(json_array_size(board), 3); /* delta has no match */
	assert_true(str_eqz(json_get_str(json_array_get(board, 0), "agent", STR("")), "alpha"));
	b = db_batch_new(f->db);
	assert_true(ranking_add(b, &test_ctx, full(f, "d3", "charlie", "\"alpha\""), before, events, &err));
	db_batch_free(b);
	board = json_get_arr(json_object_get(json_array_get(events, 4), "data"), "leaderboard");
	assert_int_equal(json_array_size(board), 3);
	assert_int_equal(json_get_int(json_array_get(board, 2), "debates", 0), 11);
	assert_false(json_get_bool(json_object_get(json_array_get(events, 1), "data"), "provisional", true));
}

static void test_full(void **state)
{
	on_co(*state, full_body);
}

/* ---- standing ---- */

CO_FN static void execute(struct fixture *f, const char *sql)
{
	struct db_batch *b = db_batch_new(f->db);
	struct error err = ERROR_INIT;

	db_batch_add(b, sql, DB_NO_ARGS, 1);
	if (!db_commit(f->db, b, &err))
		fail_msg("%s", err.msg);
}

static void standing_body(struct fixture *f)
{
	json_t *names = json_own(f->arena, json_array()), *all, *o;
	struct error err = ERROR_INIT;
	char name[24];
	int i;

	for (i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "agent%02d", i);
		json_array_append_new(names, json_string(name));
	}
	execute(
	    f,
	    "INSERT INTO ratings (workspace_id, agent, org_id, elo_milli, wins, losses, draws, updated_at, debates,"
	    " accepted, critiques, valuable, calls, failures, flips) VALUES ('default', 'agent39', 'default', 1600000,"
	    " 3, 2, 1, 0, 8, 4, 10, 4, 20, 1, 2)");
	execute(f,
		"INSERT INTO ratings (workspace_id, agent, org_id, elo_milli, wins, losses, draws, updated_at, calls,"
		" failures) VALUES ('default', 'agent00', 'default', 1400000, 0, 2, 0, 0, 9, 9)");
	execute(f, "INSERT INTO ratings (workspace_id, agent, org_id, elo_milli, wins, losses, draws, updated_at)"
		   " VALUES ('other', 'agent01', 'default', 1900000, 9, 0, 0, 0)");
	execute(f, "INSERT INTO domain_ratings (workspace_id, agent, domain, org_id, elo_milli, wins, losses, draws,"
		   " updated_at) VALUES ('default', 'agent39', 'security', 'default', 1700000, 1, 0, 0, 0)");
	execute(f,
		"INSERT INTO calibrations (workspace_id, agent, domain, org_id, samples, correct, brier_ppm, ece_ppm,"
		" bias_ppm, temperature_milli, updated_at) VALUES ('default', 'agent39', '', 'default', 30, 20, 160000,"
		" 90000, -70000, 1200, 0)");
	assert_true(ranking_standing(f->db, &test_ctx, names, STR("Is it secure?"), &all, &err));
	json_own(f->arena, all);
	/* Of whom nothing is known here nothing is said. */
	assert_int_equal(json_object_size(all), 2);
	/* 0.6 x 4/8 + 0.4 x 4/10 */
	o = json_object_get(all, "agent39");
	assert_true(str_eqz(
	    json_canonical(f->arena, o),
	    "{\"bias_ppm\":-70000,\"brier_ppm\":160000,\"calibration_ppm\":630000,"
	    "\"consistency_ppm\":750000,\"domain_elo_milli\":1700000,\"ece_ppm\":90000,"
	    "\"elo_milli\":1600000,\"losses\":2,\"matches\":6,\"reliability_ppm\":950000,\"reputation_ppm\":460000,"
	    "\"samples\":30,\"temperature_milli\":1200,\"wins\":3}"));
	o = json_object_get(all, "agent00");
	assert_true(
	    str_eqz(json_canonical(f->arena, o), "{\"elo_milli\":1400000,\"losses\":2,\"matches\":2,\"wins\":0}"));
	assert_true(ranking_standing(f->db, &test_ctx, names, STR("Is it tested?"), &all, &err));
	json_own(f->arena, all);
	assert_null(json_object_get(json_object_get(all, "agent39"), "domain_elo_milli"));
}

static void test_standing(void **state)
{
	on_co(*state, standing_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_expected),
	    cmocka_unit_test(test_changes),
	    cmocka_unit_test(test_provisional),
	    cmocka_unit_test_setup_teardown(test_store, setup, store_tear_down),
	    cmocka_unit_test_setup_teardown(test_full, setup, store_tear_down),
	    cmocka_unit_test_setup_teardown(test_standing, setup, store_tear_down),
	};

	return cmocka_run_group_tests_name("ranking", tests, NULL, NULL);
}
