/* SPDX-License-Identifier: MIT */
/*
 * Tests of the counts per address that the workers of a node share: limits, death of a worker, a full table, races.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/shm.h"
#include "worker/http/http_client.h"

static enum peers_answer open_one(const struct http_peers *p, const struct http_addr *a, int64_t max)
{
	return http_peers_enter(p, PEERS_CONNECTIONS, a, max, 0, 1000);
}

/* Two workers of one node, and a limit on what both hold. */
static void test_peers(void **state)
{
	struct shm *shm = shm_create();
	const struct http_peers p = {shm, 0}, q = {shm, 3};
	struct http_addr a, b, v6a, v6b;

	(void)state;
	atomic_store(&shm->slots_used, 4);
	atomic_store(&shm->slots[0].state, SLOT_SERVING);
	atomic_store(&shm->slots[3].state, SLOT_DRAINING); /* of an older generation: it counts as well */
	assert_true(http_addr_parse(STR("1.2.3.4"), &a) && http_addr_parse(STR("1.2.3.5"), &b));
	assert_true(http_addr_parse(STR("2001:db8::1"), &v6a) && http_addr_parse(STR("2001:db8::2"), &v6b));
	assert_int_equal(open_one(&p, &a, 2), PEERS_COUNTED);
	assert_int_equal(open_one(&q, &a, 2), PEERS_COUNTED);
	assert_int_equal(open_one(&p, &a, 2), PEERS_REFUSED);
	assert_int_equal(open_one(&q, &a, 2), PEERS_REFUSED);
	assert_int_equal(open_one(&q, &b, 2), PEERS_COUNTED);
	assert_int_equal(http_peers_enter(&p, PEERS_SOCKETS, &a, 1, 0, 1000), PEERS_COUNTED);
	http_peers_leave(&q, PEERS_CONNECTIONS, &a);
	assert_int_equal(open_one(&p, &a, 2), PEERS_COUNTED);
	/* One /64 is one client. */
	assert_int_equal(open_one(&p, &v6a, 1), PEERS_COUNTED);
	assert_int_equal(open_one(&q, &v6b, 1), PEERS_REFUSED);
	/* A worker dies: the master clears what it held, and nothing else. */
	atomic_store(&shm->slots[0].state, SLOT_FREE);
	shm_peers_release_all(shm, 0);
	assert_int_equal(open_one(&q, &v6b, 1), PEERS_COUNTED);
	assert_int_equal(open_one(&q, &b, 1), PEERS_REFUSED);
	shm_detach(shm);
}

/* What has gone counts until the minute is over, wherever it came. */
static void test_peers_rate(void **state)
{
	struct shm *shm = shm_create();
	const struct http_peers p = {shm, 0}, q = {shm, 1};
	struct http_addr a;
	int i;

	(void)state;
	atomic_store(&shm->slots_used, 2);
	atomic_store(&shm->slots[0].state, SLOT_SERVING);
	atomic_store(&shm->slots[1].state, SLOT_SERVING);
	assert_true(http_addr_parse(STR("9.9.9.9"), &a));
	for (i = 0; i < 4; i++) {
		const struct http_peers *who = i % 2 == 0 ? &p : &q;

		assert_int_equal(http_peers_enter(who, PEERS_SOCKETS, &a, 0, 4, SEC_US + i), PEERS_COUNTED);
		http_peers_leave(who, PEERS_SOCKETS, &a);
	}
	assert_int_equal(http_peers_enter(&p, PEERS_SOCKETS, &a, 0, 4, 2 * SEC_US), PEERS_REFUSED);
	assert_int_equal(http_peers_enter(&q, PEERS_SOCKETS, &a, 0, 4, 60 * SEC_US), PEERS_REFUSED);
	assert_int_equal(http_peers_enter(&q, PEERS_SOCKETS, &a, 0, 4, 62 * SEC_US), PEERS_COUNTED);
	shm_detach(shm);
}

/* A crowd of addresses fills the table: those beyond are let in uncounted, those in it are still held to the limit. */
static void test_peers_full(void **state)
{
	struct shm *shm = shm_create();
	const struct http_peers p = {shm, 0};
	struct http_addr a = {{[10] = 0xff, [11] = 0xff, [12] = 10}}, first = a;
	unsigned counted = 0, uncounted = 0, i;

	(void)state;
	for (i = 0; i < 2 * SHM_PEERS; i++) {
		a.b[13] = (uint8_t)(i >> 16);
		a.b[14] = (uint8_t)(i >> 8);
		a.b[15] = (uint8_t)i;
		switch (open_one(&p, &a, 1)) {
		case PEERS_COUNTED:
			counted++;
			break;
		case PEERS_UNCOUNTED:
			uncounted++;
			break;
		case PEERS_REFUSED:
			fail_msg("address %u is charged with what another holds", i);
		}
	}
	assert_int_equal(counted + uncounted, 2 * SHM_PEERS);
	assert_true(counted > SHM_PEERS * 9 / 10 && counted <= SHM_PEERS);
	assert_int_equal(open_one(&p, &first, 1), PEERS_REFUSED);
	/* Places that were given back are taken by others. */
	http_peers_leave(&p, PEERS_CONNECTIONS, &first);
	assert_int_equal(open_one(&p, &first, 1), PEERS_COUNTED);
	shm_detach(shm);
}

#define RACERS 4
#define RACE_MAX 1
#define RACE_TURNS 300000

/* Processes that fight for the last places never hold more than there are. */
static void test_peers_race(void **state)
{
	struct shm *shm = shm_create();
	_Atomic uint64_t *held = &shm->heads[0], *start = &shm->heads[1];
	struct http_addr a;
	int status, i, k;
	pid_t pid[RACERS];

	(void)state;
	assert_true(http_addr_parse(STR("1.2.3.4"), &a));
	atomic_store(&shm->slots_used, RACERS);
	for (i = 0; i < RACERS; i++)
		atomic_store(&shm->slots[i].state, SLOT_SERVING);
	for (i = 0; i < RACERS; i++) {
		pid[i] = fork();
		if (pid[i] != 0)
			continue;
		while (atomic_load(start) == 0)
			continue;
		for (k = 0; k < RACE_TURNS; k++) {
			const struct http_peers p = {shm, (unsigned)i};

			if (open_one(&p, &a, RACE_MAX) != PEERS_COUNTED)
				continue;
			if (atomic_fetch_add(held, 1) >= RACE_MAX)
				_exit(1);
			atomic_fetch_sub(held, 1);
			http_peers_leave(&p, PEERS_CONNECTIONS, &a);
		}
		_exit(0);
	}
	atomic_store(start, 1);
	for (i = 0; i < RACERS; i++) {
		assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	shm_detach(shm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_peers),
	    cmocka_unit_test(test_peers_rate),
	    cmocka_unit_test(test_peers_full),
	    cmocka_unit_test(test_peers_race),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
