/* SPDX-License-Identifier: MIT */
/*
 * The segment that master and workers share: one slot per process with its heartbeat, gauges and counters; cells that
 * tell that a topic has moved; cells that bound running debates. A crashed writer cannot wedge a reader: every word
 * stands alone and is read and written atomically.
 */
#ifndef COMMON_SHM_H
#define COMMON_SHM_H

#include <stdatomic.h>

#include "common/compat.h"
#include "common/ratelimit.h"
#include "common/recent.h"

#define SHM_SLOTS_MAX 256
#define SHM_HEADS 4096       /* cells bumped at commit, by hash of the topic */
#define SHM_DEBATES_MAX 1024 /* upper bound of debates.max_concurrent */
#define SHM_METRICS_MAX 8192 /* metric cells per slot */
#define SHM_PEERS 8192       /* client addresses that one process can tell apart */
#define SHM_ACTION 96

/*
 * What one process holds for one client address, see worker/http/http_peers.c. Written by the slot's owner only, so no
 * count is ever fought for; who wants the node's count adds up those of all slots.
 */
struct shm_peer {
	_Atomic uint64_t held; /* tag of the address (32 bits), connections (16), WebSockets (16); 0: free */
	_Atomic uint64_t came; /* begin of the minute in ms (40 bits), new WebSockets in it (24) */
};

/* A circuit breaker of one process, as others see it. */
#define SHM_BREAKERS 32
#define SHM_BREAKER_KEY 96
struct shm_breaker {
	char key[SHM_BREAKER_KEY]; /* written before breakers_used tells of it, never changed */
	_Atomic uint32_t state;    /* as the metric: 0 closed, 1 half-open, 2 open */
	_Atomic uint32_t failures, successes;
	_Atomic int64_t opened_us;                        /* monotonic */
	_Atomic int64_t failed_ms, succeeded_ms, used_ms; /* wall clock */
};

enum slot_state { SLOT_FREE, SLOT_BOOTING, SLOT_SERVING, SLOT_DRAINING, SLOT_EXITING };

struct shm_slot {
	_Atomic uint32_t state; /* enum slot_state; written by master, SERVING/DRAINING/EXITING by the worker */
	_Atomic int32_t pid;
	_Atomic uint32_t generation;  /* of the configuration it runs */
	_Atomic int64_t started_us;   /* monotonic */
	_Atomic int64_t heartbeat_us; /* monotonic, written every 100 ms */
	_Atomic uint64_t beat;        /* counts heartbeats */
	_Atomic uint32_t connections; /* open client connections, all kinds */
	_Atomic uint32_t sockets;     /* of them WebSockets and SSE streams */
	_Atomic uint32_t debates;     /* running debates */
	_Atomic uint32_t used_up;     /* it has served server.max_requests: a successor is wanted */
	_Atomic int32_t master;       /* pid of the master that the slot's process belongs to */
	_Atomic uint64_t rss_bytes;
	_Atomic uint64_t requests;
	_Atomic uint64_t ws_in, ws_out; /* messages of WebSockets; these four go on under the slot's next owner */
	_Atomic uint64_t ws_dropped;    /* ephemeral messages that slow sockets were not sent */
	_Atomic uint64_t ws_lagged;     /* times that a socket fell behind */
	_Atomic uint32_t ws_open, ws_clients, ws_authenticated, ws_subscriptions,
	    ws_lagging;          /* clients: debate sockets */
	char action[SHM_ACTION]; /* what the loop is doing, for the stall report; racy text, NUL at the end */
	_Atomic uint16_t interest[SHM_HEADS];      /* subscriptions per topic hash; written by the owner only */
	_Atomic uint64_t metrics[SHM_METRICS_MAX]; /* see metrics.h; counters are never zeroed, the next owner adds */
	_Atomic uint32_t breakers_used;
	struct shm_breaker breakers[SHM_BREAKERS];
	_Atomic uint32_t peers_used; /* there is something in: */
	struct shm_peer peers[SHM_PEERS];
};

/* One phase of the start; see startup.h. */
#define SHM_PHASES 8
#define SHM_PHASE_DETAIL 160
struct shm_phase {
	_Atomic uint32_t state;
	_Atomic int64_t us;            /* in the master */
	_Atomic int64_t worker_us;     /* in the slowest worker */
	char detail[SHM_PHASE_DETAIL]; /* racy text, NUL at the end */
};
struct shm_startup {
	struct shm_phase phases[SHM_PHASES];
	_Atomic int64_t total_us; /* 0: not over yet */
};

struct shm {
	uint64_t layout;             /* hash of the layout, checked when inherited */
	uint64_t peers_seed;         /* of the tags, unknown outside: addresses cannot be picked to collide */
	uint64_t metrics_layout;     /* the same of the metric cells; set by who registers them */
	_Atomic uint32_t slots_used; /* highest slot ever used + 1 */
	_Atomic int64_t started_ms;  /* wall clock of the master's start */
	_Atomic uint64_t deaths;     /* bumped by the master at every reap: all compare heads then */
	_Atomic uint64_t reloads;
	_Atomic uint32_t draining;      /* the whole node is stopping (readiness fails) */
	_Atomic uint32_t store_pending; /* the start waits for the database: workers do nothing that needs it */
	_Atomic int stop_told;          /* the audit log knows that the service ends */
	_Atomic int64_t maintenance_ms; /* wall clock of its beginning, 0: off; as the node last saw it */
	char node_id[40];               /* UUID of this node's data_dir, made at first start */
	struct shm_startup startup;
	_Atomic uint64_t heads[SHM_HEADS];
	_Atomic uint64_t debate_cells[SHM_DEBATES_MAX]; /* 0 = free, else slot + 1 of the worker that runs one */
	struct ratelimit_table limits;                  /* of the whole node: outlives workers and reloads */
	struct recent errors;                           /* what was logged as an error, see worker/system/errors.h */
	struct shm_slot slots[SHM_SLOTS_MAX];
};

/* Maps a new zeroed segment (memfd, inherited by fork); dies when it cannot. */
struct shm *shm_create(void);
/* The same, keeping the descriptor for a program that is to attach to it. */
struct shm *shm_create_fd(int *fd);
/* Maps the segment of another program; NULL if it is not laid out as ours are. */
struct shm *shm_attach(int fd);
void shm_detach(struct shm *s);
/* The segment that begins before its slots. */
static inline struct shm *shm_of(struct shm_slot *slots)
{
	return (struct shm *)(void *)((char *)slots - offsetof(struct shm, slots));
}

#define SHM_FRESH_US 300000 /* a heartbeat older than this does not count, DESIGN 2 */

/* Is it the lowest slot that serves and has a fresh heartbeat? */
bool shm_slot_leads(const struct shm *s, unsigned slot);
/* Cell of a topic in heads[] and interest[]. */
unsigned shm_topic_cell(const char *topic, size_t n);
/* Takes a free debate cell among the first `limit` for `slot`; -1 when all are taken. */
int shm_debate_acquire(struct shm *s, unsigned limit, unsigned slot);
void shm_debate_release(struct shm *s, int cell);
/* Frees every cell held by the slot (by the master at reap). */
void shm_debate_release_all(struct shm *s, unsigned slot);
/* Forgets the connections that the slot's process had (by the master at reap). */
void shm_peers_release_all(struct shm *s, unsigned slot);

#endif
