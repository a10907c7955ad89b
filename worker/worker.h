/* SPDX-License-Identifier: MIT */
/*
 * One worker process: what its parts share, and its life (boot, serve, drain, exit).
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include <signal.h>

#include "common/bus.h"
#include "common/conf.h"
#include "common/db.h"
#include "common/fetch.h"
#include "common/lane.h"
#include "common/loop.h"
#include "common/shm.h"

struct agents;
struct audit;
struct batches;
struct credentials;
struct files;
struct identity_changes;
struct identity_watches;
struct bus_redis;
struct deliveries;
struct job;
struct jobs;
struct limits;
struct lockouts;
struct mail;
struct oauth;
struct maintenance;
struct passwords;
struct receipt_keys;
struct redis;
struct router;
struct runner;
struct spending;
struct stream;
struct tls;
struct traces;

struct worker {
	const struct conf *conf;
	struct shm *shm;
	unsigned slot;
	char incarnation[40]; /* random name of this process, UUID text */
	unsigned generation;
	struct loop *loop;
	struct lane *cpu;             /* long computations */
	struct lane *slow;            /* files */
	struct lane *names, *guarded; /* DNS: of the operator's names, of clients' */
	struct db *db;
	struct bus *bus;
	struct redis *redis; /* NULL: redis.url is empty, this node is alone or finds others through the database */
	struct bus_redis *bus_link;
	struct fetch *fetch;
	struct agents *agents;
	struct spending *spending;
	struct stream *stream;
	struct runner *runner;
	struct deliveries *deliveries;
	struct batches *batches;
	struct jobs *jobs;
	struct limits *limits;
	struct maintenance *maintenance;
	struct traces *traces;
	struct receipt_keys *receipt_keys;
	struct lockouts *lockouts;
	struct mail *mail;
	struct oauth *oauth;
	struct audit *audit;
	struct identity_changes *identity_changes;
	struct identity_watches *identity_watches;
	struct passwords *passwords;
	struct credentials *credentials;
	struct files *files; /* of the web application */
	struct router *router;
	struct http_server *http;
	bool waiting; /* for the store that the start has not found yet: see worker_waits */
	bool draining;
	int64_t started_us;
};

/* What the master hands to a new worker. */
struct worker_start {
	const struct conf *conf;
	struct shm *shm;
	const struct bus_mailboxes *mailboxes;
	unsigned slot;
	unsigned generation;
	const int *listeners;           /* listening sockets */
	const unsigned *listener_marks; /* of each, enum conf_listen */
	size_t listener_count;
	const struct tls *tls;
	int master_pipe;         /* readable at the death of the master */
	int ready_fd;            /* one byte when serving; before that, the reason of a failed boot as text */
	int error_fd, access_fd; /* log descriptors */
};

/*
 * What the master tells a worker. RETIRE: drain; calls in flight may take up to debates.agent_timeout (reload, fewer
 * workers). STOP: drain within server.graceful_timeout. QUIT: end now. REOPEN: open the log files again by path.
 */
#define WORKER_SIG_RETIRE SIGHUP
#define WORKER_SIG_STOP SIGTERM
#define WORKER_SIG_QUIT SIGQUIT
#define WORKER_SIG_REOPEN SIGUSR1

#define WORKER_EXIT_BOOT 3 /* exit code of a worker that could not start: the master does not try again */

/* Is this the worker that looks after the node's affairs? */
static inline bool worker_is_clerk(const struct worker *w)
{
	return shm_slot_leads(w->shm, w->slot);
}

/* Is the store still waited for? When it has come meanwhile, the worker begins its work before the answer. */
bool worker_waits(struct worker *w);

/* Runs a worker until it ends; the return value is the exit code of the process. */
int worker_main(const struct worker_start *start);

/* The periodic jobs of the product (periodic.c), up to a NULL. */
extern const struct job *const worker_jobs[];

/* All route tables of the product, for the router and `aragorad routes`. */
struct router *worker_routes(const struct conf *c, struct error *err) MUST_CHECK;

/* What metrics may be labelled with: NULL-terminated, each once, in order of the routes. */
struct route_labels {
	const char **permissions; /* canonical keys */
	const char **handlers;    /* first words of the paths after /api/: "debates" */
};
/* False: a mistake in the tables. The master finds it before it starts a worker. */
bool worker_route_labels(const struct conf *c, struct route_labels *out, struct error *err) MUST_CHECK;
void route_labels_free(struct route_labels *l);

#endif
