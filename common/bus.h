/* SPDX-License-Identifier: MIT */
/*
 * Hints between the workers of a node, and through a link between nodes: topics, messages, no promise. Each slot has a
 * SEQPACKET mailbox made by the master before the first fork; a worker sends at most one datagram per interested peer
 * and turn. What must not be lost is in the database; whoever listens compares heads (bus_head) every 250 ms and after
 * any death, and what another node may have moved once a second with the log itself.
 */
#ifndef COMMON_BUS_H
#define COMMON_BUS_H

#include "common/loop.h"
#include "common/shm.h"
#include "common/str.h"

#define BUS_DATAGRAM 32768 /* larger messages are not sent: publish a hint instead */

struct bus;
struct bus_sub;

/* Mailboxes of all slots; made by the master, inherited by fork. */
struct bus_mailboxes {
	int fd[SHM_SLOTS_MAX][2];
	unsigned count;
}; /* [0] read by the slot's owner, [1] written by peers */
bool bus_mailboxes_create(struct bus_mailboxes *m, unsigned count) MUST_CHECK;

typedef void (*bus_handler)(void *arg, struct str topic, struct str message);

/* In a worker after the fork: empties the slot's mailbox, then listens. */
struct bus *bus_open(struct loop *l, struct shm *shm, const struct bus_mailboxes *m, unsigned slot);
void bus_close(struct bus *b);
/*
 * Delivers to this process's subscribers in this turn's deferred work, and to every serving slot with interest in the
 * topic's cell. Topics are at most 128 bytes. A full mailbox drops and counts (bus_dropped).
 */
void bus_publish(struct bus *b, struct str topic, struct str message);
/* Does anybody listen to the topic? What is a hint only, and costs more than nothing to make, need not be made else. */
bool bus_wanted(const struct bus *b, struct str topic);
/* The same to this node alone. */
void bus_publish_here(struct bus *b, struct str topic, struct str message);
/* Interest is raised before this returns. The handler runs on the loop's stack. */
struct bus_sub *bus_subscribe(struct bus *b, struct str topic, bus_handler fn, void *arg);
void bus_unsubscribe(struct bus *b, struct bus_sub *sub);
/* After a commit: the topic has moved. */
void bus_bump(struct bus *b, struct str topic);
/* Value of the topic's cell; a change means that the log may hold more. */
uint64_t bus_head(const struct bus *b, struct str topic);
uint64_t bus_dropped(const struct bus *b);

/*
 * The link to other nodes (bus_redis.c); without one they hear nothing. `publish` gets every message of this process;
 * `want` and `unwant` the first and the last subscription of a topic in this process.
 */
struct bus_link {
	void (*publish)(void *arg, struct str topic, struct str message);
	void (*want)(void *arg, struct str topic);
	void (*unwant)(void *arg, struct str topic);
	void *arg;
};
/* NULL takes the link away. *link is kept by reference. */
void bus_set_link(struct bus *b, const struct bus_link *link);
/* Calls fn once for each topic that somebody in this process subscribes to. */
void bus_each_topic(struct bus *b, void (*fn)(void *arg, struct str topic), void *arg);
/*
 * From the link: a message of another node, or an empty one: the link hears the topic from now on, and what was said
 * before is to be looked up. Delivered at once.
 */
void bus_receive(struct bus *b, struct str topic, struct str message);
/* For a handler: does the message come from another node, whose commits bump no cell here? */
bool bus_from_afar(const struct bus *b);

#endif
