/* SPDX-License-Identifier: MIT */
/*
 * What counts as a right answer in an evaluation.
 */
#include "master/commands/eval_dataset.h"

#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct arena *arena;
static struct eval_question *questions;
static size_t count;

static int setup(void **state)
{
	static const char data[] =
	    "{\"id\": \"n\", \"question\": \"How many?\", \"answer\": \"1,250\"}\n"
	    "{\"id\": \"t\", \"question\": \"Who?\", \"answer\": \"The Beatles\"}\n"
	    "{\"id\": \"c\", \"question\": \"Which?\", \"answer\": \"New York\", \"choices\": [\"York\", \"New York\", "
	    "\"Paris\"]}\n";
	char path[] = "/tmp/eval_dataset_XXXXXX";
	struct buf problems = BUF_INIT;
	int fd = mkstemp(path);
	bool ok;

	(void)state;
	arena = arena_new(0);
	assert_int_equal(write(fd, data, sizeof(data) - 1), sizeof(data) - 1);
	ok = eval_dataset_read(path, arena, &questions, &count, &problems);
	close(fd);
	unlink(path);
	buf_free(&problems);
	return ok && count == 3 ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	arena_free(arena);
	return 0;
}

struct said {
	const char *text;
	bool right;
};

static void check(const struct eval_question *q, const struct said *said, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		bool right = eval_right(arena, q, eval_answer(arena, q, str_of(said[i].text)));

		if (right != said[i].right)
			print_error("%s\n", said[i].text);
		assert_int_equal(right, said[i].right);
	}
}

static void test_numbers(void **state)
{
	static const struct said said[] = {
	    {"POSITION: The answer is 1250.\nCONFIDENCE: 0.9", true},
	    {"POSITION: The answer is 1,250.00.", true},
	    {"POSITION: Of 3000, 1250 remain.\nOr 7.", true},
	    {"POSITION: $1250", true},
	    {"POSITION: The answer is -1250.", false},
	    {"POSITION: The answer is 1251.", false},
	    {"POSITION: 1250 of 3000.", false}, /* the last number counts */
	    {"POSITION: I do not know.", false},
	    {"", false},
	};

	(void)state;
	check(&questions[0], said, countof(said));
}

static void test_texts(void **state)
{
	static const struct said said[] = {
	    {"POSITION: The answer is the Beatles.", true},     {"POSITION: Beatles", true},
	    {"POSITION: It is the band \"Beatles\".", true},    {"POSITION: It was not the Beatles.", false},
	    {"POSITION: The answer is the Beatlesque.", false}, {"POSITION: The Rolling Stones.", false},
	};

	(void)state;
	check(&questions[1], said, countof(said));
}

static void test_choices(void **state)
{
	static const struct said said[] = {
	    {"POSITION: The answer is B.", true},
	    {"POSITION: (B)", true},
	    {"POSITION: **B) New York**", true},
	    {"POSITION: The answer is New York.", true}, /* York is inside of it */
	    {"POSITION: The answer is York.", false},
	    {"POSITION: The answer is A or B.", false},
	    {"POSITION: A city like New York is meant.", true}, /* an article, no letter */
	    {"POSITION: New York or Paris.", false},
	    {"POSITION: The answer is D.", false},
	};

	(void)state;
	check(&questions[2], said, countof(said));
	assert_true(str_find(questions[2].task, STR("B) New York")) > 0);
}

/* Equal answers are equal texts: that is what repeated samples are counted by. */
static void test_form(void **state)
{
	(void)state;
	assert_true(str_eq(eval_answer(arena, &questions[0], STR("POSITION: 12.50")),
			   eval_answer(arena, &questions[0], STR("POSITION: It is 12.5."))));
	assert_true(str_eqz(eval_answer(arena, &questions[1], STR("POSITION: The answer is a Kinks!")), "kinks"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_numbers),
	    cmocka_unit_test(test_texts),
	    cmocka_unit_test(test_choices),
	    cmocka_unit_test(test_form),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
