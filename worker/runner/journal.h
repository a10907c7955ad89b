/* SPDX-License-Identifier: MIT */
/*
 * Private to the step files: a step while it runs, what a commit of it changes, and the commit itself.
 */
#ifndef WORKER_RUNNER_JOURNAL_H
#define WORKER_RUNNER_JOURNAL_H

#include "common/db.h"
#include "worker/runner/run.h"

struct step_event {
	const char *type, *agent;
	int round;
	json_t *data;
};

struct step {
	struct debate *d;
	const char *key; /* lives as long as the debate's run */
	int64_t now_ms;
	struct step_event *events;
	size_t count, room;
	int64_t messages; /* agent_message events among them */
};

/* What one commit changes besides its events. */
struct step_write {
	const char *state; /* of the journal row: "started" or "done"; NULL: no row */
	int64_t starts;
	const json_t *result; /* stored with the row */
	const struct agent_reply *usage;
	const struct agent_spec *agent; /* of a call, whatever comes of it */
	void (*extra)(struct db_batch *b, struct debate *d, void *arg, int64_t now_ms);
	void *extra_arg;
};

/* Begins a step at this moment; step_close frees its events. */
void step_open(struct step *s, struct debate *d, const char *key);
void step_close(struct step *s);
/* What the journal holds of the key: {"state", "starts", "result"}, or NULL. */
json_t *step_entry(const struct debate *d, const char *key);
/* The stored result of a finished step, or NULL. */
const json_t *step_done(const struct debate *d, const char *key);
/* May a new step begin? False: the debate has to unwind, debate_stop() says why. */
bool step_may_start(struct debate *d, const char *key);
/*
 * Commits events, journal row, usage and whatever `extra` adds in one fenced batch and publishes the events. Waits for
 * its turn under a shield: a step that is to be stored is stored although the debate's time has ended. False: see
 * debate_stop().
 */
CO_FN bool step_commit(struct step *s, const struct step_write *w) MUST_CHECK;
/*
 * The same for a step with a result and without `extra`, but the debate goes on at once: the step is done, and is
 * stored before any later one of this debate. A call that follows is begun only when its own start is stored, so
 * nothing is paid for on the strength of what may be lost. Takes the events of the step. False as above; should the
 * batch fail later, the debate unwinds then.
 */
CO_FN bool step_commit_later(struct step *s, const struct step_write *w) MUST_CHECK;
/* Before the first step of a run in a server. */
void journal_open(struct debate *d);
/* After the last: stores what still waits. What the journal does for this run is over then. */
CO_FN void journal_settle(struct debate *d);

#endif
