/* SPDX-License-Identifier: MIT */
/*
 * The shared segment: it is zeroed, seen by children, and its debate cells are taken once each, also when several
 * processes race, and come back after the death of their owner.
 */
#include "common/shm.h"

#include <setjmp.h>
#include <stdarg.h>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void test_new_segment_is_zeroed(void **state)
{
	struct shm *s = shm_create();

	(void)state;
	assert_int_not_equal(s->layout, 0);
	assert_int_equal(atomic_load(&s->slots_used), 0);
	for (unsigned i = 0; i < SHM_SLOTS_MAX; i++) {
		assert_int_equal(atomic_load(&s->slots[i].state), SLOT_FREE);
		assert_int_equal(atomic_load(&s->slots[i].interest[SHM_HEADS - 1]), 0);
	}
}

static void test_child_writes_are_seen(void **state)
{
	struct shm *s = shm_create();
	pid_t pid;

	(void)state;
	pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		atomic_store(&s->slots[3].beat, 42);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(atomic_load(&s->slots[3].beat), 42);
}

static void test_another_program_attaches(void **state)
{
	int fd = -1, other = memfd_create("other", MFD_CLOEXEC);
	struct shm *s = shm_create_fd(&fd), *same;

	(void)state;
	atomic_store(&s->slots[5].beat, 7);
	same = shm_attach(fd);
	assert_non_null(same);
	assert_ptr_not_equal(same, s);
	assert_int_equal(atomic_load(&same->slots[5].beat), 7);
	/* Another layout, another size: not ours. */
	s->layout++;
	assert_null(shm_attach(fd));
	s->layout--;
	assert_null(shm_attach(other));
	shm_detach(same);
	shm_detach(s);
	shm_detach(NULL);
	close(fd);
	close(other);
}

static void test_topics_spread_over_cells(void **state)
{
	unsigned used = 0;
	char seen[SHM_HEADS] = {0};
	char topic[32];

	(void)state;
	for (unsigned i = 0; i < SHM_HEADS; i++) {
		int n = snprintf(topic, sizeof(topic), "debate:%u", i);
		unsigned cell = shm_topic_cell(topic, (size_t)n);

		assert_in_range(cell, 0, SHM_HEADS - 1);
		assert_int_equal(cell, shm_topic_cell(topic, (size_t)n));
		used += seen[cell] == 0;
		seen[cell] = 1;
	}
	/* A random function leaves 1/e of the cells empty, so 2,589 are used, a poor one far fewer. */
	assert_in_range(used, 2450, 2750);
}

static void test_debate_cells_are_bounded(void **state)
{
	struct shm *s = shm_create();

	(void)state;
	assert_int_equal(shm_debate_acquire(s, 2, 0), 0);
	assert_int_equal(shm_debate_acquire(s, 2, 1), 1);
	assert_int_equal(shm_debate_acquire(s, 2, 0), -1);
	shm_debate_release(s, 0);
	assert_int_equal(shm_debate_acquire(s, 2, 1), 0);
	assert_int_equal(shm_debate_acquire(s, 0, 1), -1);
}

static void test_death_frees_cells_of_one_slot(void **state)
{
	struct shm *s = shm_create();

	(void)state;
	assert_int_equal(shm_debate_acquire(s, 3, 7), 0);
	assert_int_equal(shm_debate_acquire(s, 3, 8), 1);
	assert_int_equal(shm_debate_acquire(s, 3, 7), 2);
	shm_debate_release_all(s, 7);
	assert_int_equal(atomic_load(&s->debate_cells[0]), 0);
	assert_int_equal(atomic_load(&s->debate_cells[1]), 9);
	assert_int_equal(atomic_load(&s->debate_cells[2]), 0);
}

/* Four processes take all they can get; a cell given out twice would make the sum too large. */
static void test_racing_processes_share_the_limit(void **state)
{
	enum { RACERS = 4, LIMIT = 500 };
	struct shm *s = shm_create();
	unsigned held[RACERS] = {0};
	uint64_t sum = 0;

	(void)state;
	for (unsigned r = 0; r < RACERS; r++) {
		pid_t pid = fork();

		assert_int_not_equal(pid, -1);
		if (pid == 0) {
			while (atomic_load(&s->started_ms) == 0)
				continue;
			while (shm_debate_acquire(s, LIMIT, r) >= 0)
				atomic_fetch_add(&s->slots[r].requests, 1);
			_exit(0);
		}
	}
	atomic_store(&s->started_ms, 1);
	while (wait(NULL) > 0)
		continue;
	for (unsigned i = 0; i < LIMIT; i++) {
		uint64_t owner = atomic_load(&s->debate_cells[i]);

		assert_in_range(owner, 1, RACERS);
		held[owner - 1]++;
	}
	for (unsigned r = 0; r < RACERS; r++) {
		assert_int_equal(held[r], atomic_load(&s->slots[r].requests));
		sum += held[r];
	}
	assert_int_equal(sum, LIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_new_segment_is_zeroed),
	    cmocka_unit_test(test_child_writes_are_seen),
	    cmocka_unit_test(test_another_program_attaches),
	    cmocka_unit_test(test_topics_spread_over_cells),
	    cmocka_unit_test(test_debate_cells_are_bounded),
	    cmocka_unit_test(test_death_frees_cells_of_one_slot),
	    cmocka_unit_test(test_racing_processes_share_the_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
