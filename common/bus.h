/* SPDX-License-Identifier: MIT */
/*
 * Hints between the workers of a node: topics, messages, no promise. Each slot has a SEQPACKET mailbox made by the
 * master before the first fork; a worker sends at most one datagram per interested peer and turn. What must not be
 * lost is in the database; whoever listens compares heads (bus_head) every 250 ms and after any death.
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
/* Interest is raised before this returns. The handler runs on the loop's stack. */
struct bus_sub *bus_subscribe(struct bus *b, struct str topic, bus_handler fn, void *arg);
void bus_unsubscribe(struct bus *b, struct bus_sub *sub);
/* After a commit: the topic has moved. */
void bus_bump(struct bus *b, struct str topic);
/* Value of the topic's cell; a change means that the log may hold more. */
uint64_t bus_head(const struct bus *b, struct str topic);
uint64_t bus_dropped(const struct bus *b);

#endif
