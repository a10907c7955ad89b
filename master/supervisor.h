/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the master share: the node's state, and the generations of configuration that run on it.
 */
#ifndef MASTER_SUPERVISOR_H
#define MASTER_SUPERVISOR_H

#include <sys/types.h>

#include "common/bus.h"
#include "common/conf.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/shm.h"
#include "master/files.h"
#include "master/listeners.h"
#include "master/master.h"
#include "master/privileges.h"
#include "master/slots.h"
#include "master/storage.h"
#include "master/upgrade.h"

struct control;
struct tls;
struct tls_keys;

/* One reading of the configuration and all that its workers were or will be made from; a respawn re-reads nothing. */
struct generation {
	struct generation *next;
	unsigned number;
	struct conf *conf;
	struct log_files logs;
	int *listeners;  /* sockets that its workers serve, owned by the listener list */
	unsigned *marks; /* of each, enum conf_listen */
	size_t listener_count;
	struct tls *tls; /* certificates as they were read for it */
	bool retired;    /* a later one has taken over */
	bool hurried;    /* told to stop within graceful_timeout */
};

/* How the node is stopping; a harder stop may follow a softer one. */
enum stop { STOP_NO, STOP_GRACEFUL, STOP_QUICK };

struct master {
	const struct master_options *options;
	struct loop *loop;
	struct loop_timer tick;
	struct shm *shm;
	struct bus_mailboxes mailboxes;
	struct slot slots[SHM_SLOTS_MAX];
	struct generation *generations; /* newest first */
	struct generation *current;     /* the one that serves; NULL before the configuration is read */
	struct generation *loading;     /* the one that a reload is bringing up, or NULL */
	struct listeners listeners;
	struct tls_keys *tls_keys; /* of session tickets, shared by all workers */
	int tls_keys_fd;           /* of their memory, for a master that is to succeed this one */
	struct control *control;
	struct event signal_event;
	struct storage storage;
	char node_id[40];
	int signal_fd;
	int lock_fd;
	int pipe[2];                  /* workers watch [0]; its end tells them that the master is dead */
	int shm_fd;                   /* of the segment, for a master that is to succeed this one */
	struct buf warnings;          /* about the configuration, until there is a log */
	struct privileges privileges; /* of workers and in the data folder */
	char *pidfile;                /* as written; NULL: none */
	struct upgrade upgrade;
	int64_t watchdog_every, watchdog_at; /* of the service manager; 0: none */
	unsigned wanted;                     /* workers to keep running: server.workers and TTIN/TTOU */
	int64_t balance_at;                  /* a fork has failed: not again before */
	unsigned last_generation;
	unsigned ticks;
	bool starting;       /* the first workers are not all ready yet */
	bool reload_pending; /* HUP came while a reload ran */
	enum stop stop;
	int64_t stop_deadline;
	int64_t started_us;
	int64_t forking_us;          /* when the first workers were started */
	struct shm_startup *startup; /* the record of the start: `boot` until the segment is there */
	struct shm_startup boot;
	int exit_code;
};

/* TERM, INT, QUIT. */
void supervisor_stop(struct master *m, enum stop how);
/* TTIN, TTOU: one worker more or fewer, at least one. */
void supervisor_add_workers(struct master *m, int n);
/* The log of the master goes where the current generation says. */
void supervisor_use_logs(const struct master *m);
/* Each line of a report about the configuration as a line of the log. */
void supervisor_log_report(enum log_level level, const char *what, const struct buf *report);
/* What ps shows of the master. */
void supervisor_show_title(const struct master *m);
/* USR1: log files are opened again, by the master and by each worker. */
void supervisor_reopen_logs(struct master *m);
/* Called by slots.c: a worker has become ready, or is gone. `reason` says why, for people. */
void supervisor_on_ready(struct master *m, struct slot *s);
void supervisor_on_exit(struct master *m, const struct slot *s, const struct generation *g, bool was_ready,
			const char *reason);

/* Called by storage.c: the database that the start waited for is there, or can never be used. */
void supervisor_on_store(struct master *m);
void supervisor_on_no_store(struct master *m, const struct error *err);

/* New generation from a checked configuration, which it takes over. Listeners are filled in by the caller. */
struct generation *generation_new(struct master *m, struct conf *c);
/* Points the generation at the sockets that its configuration names. */
void generation_use_listeners(struct master *m, struct generation *g);
/* Reads the certificates that its configuration names. */
bool generation_load_tls(struct master *m, struct generation *g, struct error *err) MUST_CHECK;
/* Frees what no process and no reload needs any more. */
void generation_collect(struct master *m);

/* HUP: brings up a new generation, then retires the old one; any failure changes nothing and says why. reload.c */
void reload_request(struct master *m);
/* The new generation's workers: all ready yet? */
void reload_on_ready(struct master *m);
void reload_fail(struct master *m, const char *why);

#endif
