/* SPDX-License-Identifier: MIT */
/*
 * The bus: who receives what, packing, drops, new owners, and handlers that change subscriptions while they run. Two or
 * three slots are played by one process.
 */
#include "common/bus.h"

#include <setjmp.h>
#include <stdarg.h>

#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define SLOTS 3

struct node {
	struct loop *loop;
	struct shm *shm;
	struct bus_mailboxes boxes;
	struct bus *bus[SLOTS];
};

struct inbox {
	struct bus *bus;
	struct bus_sub *self;
	struct bus_sub *other;
	unsigned count;
	size_t bytes;
	char last[64];
};

static void on_message(void *arg, struct str topic, struct str message)
{
	struct inbox *in = arg;

	(void)topic;
	in->count++;
	in->bytes += message.n;
	snprintf(in->last, sizeof(in->last), "%.*s", message.n > 60 ? 60 : (int)message.n, message.p);
}

static int setup(void **state)
{
	struct node *n = xcalloc(1, sizeof(*n));

	n->loop = loop_new();
	n->shm = shm_create();
	if (!bus_mailboxes_create(&n->boxes, SLOTS))
		return -1;
	atomic_store(&n->shm->slots_used, SLOTS);
	for (unsigned i = 0; i < SLOTS; i++) {
		atomic_store(&n->shm->slots[i].state, SLOT_SERVING);
		n->bus[i] = bus_open(n->loop, n->shm, &n->boxes, i);
	}
	*state = n;
	return 0;
}

static int teardown(void **state)
{
	struct node *n = *state;

	for (unsigned i = 0; i < SLOTS; i++)
		bus_close(n->bus[i]);
	loop_turn(n->loop, false);
	loop_free(n->loop);
	for (unsigned i = 0; i < SLOTS; i++) {
		close(n->boxes.fd[i][0]);
		close(n->boxes.fd[i][1]);
	}
	free(n);
	return 0;
}

static void turns(struct node *n)
{
	for (int i = 0; i < 4; i++)
		loop_turn(n->loop, false);
}

/* Datagrams that wait in a mailbox, taken out. */
static unsigned mailbox_count(const struct node *n, unsigned slot)
{
	unsigned count = 0;
	char *p = xmalloc(BUS_DATAGRAM);

	while (recv(n->boxes.fd[slot][0], p, BUS_DATAGRAM, MSG_DONTWAIT) >= 0)
		count++;
	free(p);
	return count;
}

static void test_reaches_subscribers_here_and_there(void **state)
{
	struct node *n = *state;
	struct inbox here = {0}, there = {0}, elsewhere = {0};

	bus_subscribe(n->bus[0], STR("debate:1"), on_message, &here);
	bus_subscribe(n->bus[1], STR("debate:1"), on_message, &there);
	bus_subscribe(n->bus[2], STR("debate:2"), on_message, &elsewhere);
	bus_publish(n->bus[0], STR("debate:1"), STR("seq 7"));
	assert_int_equal(here.count, 0); /* not before the end of the turn */
	turns(n);
	assert_int_equal(here.count, 1);
	assert_int_equal(there.count, 1);
	assert_string_equal(there.last, "seq 7");
	assert_int_equal(elsewhere.count, 0);
}

static void test_a_turn_is_one_datagram_per_interested_peer(void **state)
{
	struct node *n = *state;
	struct inbox in = {0};

	bus_subscribe(n->bus[1], STR("t"), on_message, &in);
	bus_close(n->bus[1]);
	n->bus[1] = NULL;
	/* Interest without a reader: the datagrams stay where they can be counted. */
	atomic_store(&n->shm->slots[1].interest[shm_topic_cell("t", 1)], 1);
	for (int i = 0; i < 50; i++)
		bus_publish(n->bus[0], STR("t"), STR("hint"));
	turns(n);
	assert_int_equal(mailbox_count(n, 1), 1);
	assert_int_equal(mailbox_count(n, 2), 0);
	atomic_store(&n->shm->slots[1].state, SLOT_FREE);
	bus_publish(n->bus[0], STR("t"), STR("hint"));
	turns(n);
	assert_int_equal(mailbox_count(n, 1), 0);
}

static void test_much_in_one_turn_arrives_whole(void **state)
{
	struct node *n = *state;
	struct inbox in = {0};
	char *big = xcalloc(1, 1000);

	bus_subscribe(n->bus[2], STR("t"), on_message, &in);
	for (int i = 0; i < 100; i++)
		bus_publish(n->bus[0], STR("t"), (struct str){big, 1000});
	turns(n);
	assert_int_equal(in.count, 100);
	assert_int_equal(in.bytes, 100000);
	assert_int_equal(bus_dropped(n->bus[0]), 0);
	free(big);
}

static void test_oversized_message_stays_home(void **state)
{
	struct node *n = *state;
	struct inbox here = {0}, there = {0};
	char *big = xcalloc(1, BUS_DATAGRAM);

	bus_subscribe(n->bus[0], STR("t"), on_message, &here);
	bus_subscribe(n->bus[1], STR("t"), on_message, &there);
	bus_publish(n->bus[0], STR("t"), (struct str){big, BUS_DATAGRAM});
	turns(n);
	assert_int_equal(here.bytes, BUS_DATAGRAM);
	assert_int_equal(there.count, 0);
	assert_int_equal(bus_dropped(n->bus[0]), 1);
	free(big);
}

static void test_full_mailbox_drops_and_counts(void **state)
{
	struct node *n = *state;
	char *big = xcalloc(1, 30000);
	uint64_t sent = 0;

	bus_close(n->bus[1]);
	n->bus[1] = NULL;
	atomic_store(&n->shm->slots[1].interest[shm_topic_cell("t", 1)], 1);
	while (bus_dropped(n->bus[0]) == 0) {
		bus_publish(n->bus[0], STR("t"), (struct str){big, 30000});
		turns(n);
		sent++;
		assert_in_range(sent, 1, 10000);
	}
	/* Room for a fair burst: with the default buffers this is 7. */
	assert_in_range(sent, 8, 10000);
	assert_int_equal(bus_dropped(n->bus[0]), 1);
	assert_int_equal(mailbox_count(n, 1), sent - 1);
	free(big);
}

static void test_new_owner_discards_the_old_mail(void **state)
{
	struct node *n = *state;
	struct inbox in = {0};

	bus_close(n->bus[1]);
	atomic_store(&n->shm->slots[1].interest[shm_topic_cell("t", 1)], 1);
	bus_publish(n->bus[0], STR("t"), STR("for the dead"));
	turns(n);
	n->bus[1] = bus_open(n->loop, n->shm, &n->boxes, 1);
	assert_int_equal(atomic_load(&n->shm->slots[1].interest[shm_topic_cell("t", 1)]), 0);
	bus_subscribe(n->bus[1], STR("t"), on_message, &in);
	turns(n);
	assert_int_equal(in.count, 0);
	bus_publish(n->bus[0], STR("t"), STR("for the living"));
	turns(n);
	assert_string_equal(in.last, "for the living");
}

static void test_interest_counts_subscriptions(void **state)
{
	struct node *n = *state;
	struct inbox in = {0};
	_Atomic uint16_t *cell = &n->shm->slots[1].interest[shm_topic_cell("t", 1)];
	struct bus_sub *a, *b;

	a = bus_subscribe(n->bus[1], STR("t"), on_message, &in);
	b = bus_subscribe(n->bus[1], STR("t"), on_message, &in);
	assert_int_equal(atomic_load(cell), 2);
	bus_unsubscribe(n->bus[1], a);
	assert_int_equal(atomic_load(cell), 1);
	bus_publish(n->bus[0], STR("t"), STR("one"));
	turns(n);
	assert_int_equal(in.count, 1);
	bus_unsubscribe(n->bus[1], b);
	assert_int_equal(atomic_load(cell), 0);
	bus_publish(n->bus[0], STR("t"), STR("none"));
	turns(n);
	assert_int_equal(in.count, 1);
}

static void on_message_leave(void *arg, struct str topic, struct str message)
{
	struct inbox *in = arg;

	on_message(arg, topic, message);
	bus_unsubscribe(in->bus, in->self);
	bus_unsubscribe(in->bus, in->other);
}

static void test_handler_may_unsubscribe_itself_and_its_neighbour(void **state)
{
	struct node *n = *state;
	struct inbox in = {.bus = n->bus[0]}, neighbour = {0};

	in.other = bus_subscribe(n->bus[0], STR("t"), on_message, &neighbour);
	in.self = bus_subscribe(n->bus[0], STR("t"), on_message_leave, &in);
	bus_publish(n->bus[0], STR("t"), STR("1"));
	bus_publish(n->bus[0], STR("t"), STR("2"));
	turns(n);
	assert_int_equal(in.count, 1);
	assert_int_equal(neighbour.count, 0);
}

static void on_message_answer(void *arg, struct str topic, struct str message)
{
	struct inbox *in = arg;

	on_message(arg, topic, message);
	if (in->count < 3)
		bus_publish(in->bus, topic, message);
}

static void test_handler_may_publish(void **state)
{
	struct node *n = *state;
	struct inbox in = {.bus = n->bus[0]};

	bus_subscribe(n->bus[0], STR("t"), on_message_answer, &in);
	bus_publish(n->bus[0], STR("t"), STR("again"));
	turns(n);
	assert_int_equal(in.count, 3);
}

static void test_heads_are_shared(void **state)
{
	struct node *n = *state;
	uint64_t before = bus_head(n->bus[2], STR("debate:9"));

	bus_bump(n->bus[0], STR("debate:9"));
	assert_int_equal(bus_head(n->bus[2], STR("debate:9")), before + 1);
}

static void test_closing_sends_what_waits(void **state)
{
	struct node *n = *state;
	struct inbox in = {0};

	bus_subscribe(n->bus[1], STR("t"), on_message, &in);
	bus_publish(n->bus[0], STR("t"), STR("farewell"));
	bus_close(n->bus[0]);
	n->bus[0] = NULL;
	turns(n);
	assert_string_equal(in.last, "farewell");
}

/* ---- the link to other nodes ---- */

struct far {
	struct bus *bus;
	char log[256];
};

static void far_note(void *arg, const char *what, struct str topic)
{
	struct far *f = arg;
	size_t n = strlen(f->log);

	snprintf(f->log + n, sizeof(f->log) - n, "%s %.*s;", what, STR_ARG(topic));
}

static void far_publish(void *arg, struct str topic, struct str message)
{
	(void)message;
	far_note(arg, "publish", topic);
}

static void far_want(void *arg, struct str topic)
{
	far_note(arg, "want", topic);
}

static void far_unwant(void *arg, struct str topic)
{
	far_note(arg, "unwant", topic);
}

static void on_message_from(void *arg, struct str topic, struct str message)
{
	struct inbox *in = arg;

	on_message(arg, topic, message);
	in->bytes = bus_from_afar(in->bus);
}

static void test_link_hears_of_topics_and_messages(void **state)
{
	struct node *n = *state;
	struct inbox in = {.bus = n->bus[0]};
	struct far f = {.bus = n->bus[0]};
	struct bus_link link = {far_publish, far_want, far_unwant, &f};
	struct bus_sub *early = bus_subscribe(n->bus[0], STR("early"), on_message, &in), *a, *b, *other;

	bus_subscribe(n->bus[0], STR("early"), on_message, &in);
	bus_set_link(n->bus[0], &link);
	bus_each_topic(n->bus[0], far_want, &f);
	assert_string_equal(f.log, "want early;");
	f.log[0] = '\0';
	a = bus_subscribe(n->bus[0], STR("t"), on_message, &in);
	b = bus_subscribe(n->bus[0], STR("t"), on_message, &in);
	other = bus_subscribe(n->bus[0], STR("u"), on_message, &in);
	bus_unsubscribe(n->bus[0], a);
	bus_unsubscribe(n->bus[0], early); /* the other one stays */
	bus_publish(n->bus[0], STR("t"), STR("m"));
	bus_publish_here(n->bus[0], STR("t"), STR("m"));
	bus_unsubscribe(n->bus[0], b);
	bus_unsubscribe(n->bus[0], other);
	assert_string_equal(f.log, "want t;want u;publish t;unwant t;unwant u;");
	bus_set_link(n->bus[0], NULL);
}

static void test_what_comes_from_afar_is_known_as_such(void **state)
{
	struct node *n = *state;
	struct inbox in = {.bus = n->bus[0]}, neighbour = {.bus = n->bus[1]};

	bus_subscribe(n->bus[0], STR("t"), on_message_from, &in);
	bus_subscribe(n->bus[1], STR("t"), on_message_from, &neighbour);
	bus_receive(n->bus[0], STR("t"), STR("far"));
	assert_int_equal(in.count, 1); /* at once, and to this process alone: each hears for itself */
	assert_int_equal(in.bytes, true);
	turns(n);
	assert_int_equal(neighbour.count, 0);
	bus_publish(n->bus[0], STR("t"), STR("near"));
	turns(n);
	assert_int_equal(in.count, 2);
	assert_int_equal(in.bytes, false);
	assert_int_equal(neighbour.count, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_reaches_subscribers_here_and_there),
	    TEST(test_a_turn_is_one_datagram_per_interested_peer),
	    TEST(test_much_in_one_turn_arrives_whole),
	    TEST(test_oversized_message_stays_home),
	    TEST(test_full_mailbox_drops_and_counts),
	    TEST(test_new_owner_discards_the_old_mail),
	    TEST(test_interest_counts_subscriptions),
	    TEST(test_handler_may_unsubscribe_itself_and_its_neighbour),
	    TEST(test_handler_may_publish),
	    TEST(test_heads_are_shared),
	    TEST(test_closing_sends_what_waits),
	    TEST(test_link_hears_of_topics_and_messages),
	    TEST(test_what_comes_from_afar_is_known_as_such),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
