/* SPDX-License-Identifier: MIT */
/*
 * Private to the engine: the parts of a debate's course, in their order. Like the step interface each returns false
 * when the debate must unwind.
 */
#ifndef WORKER_ENGINE_COURSE_H
#define WORKER_ENGINE_COURSE_H

#include "worker/engine/ask.h"

/* ---- round.c ---- */

/* Everybody answers alone. Who fails is out; nothing is ever put in his mouth. */
CO_FN bool round_drafts(struct engine *e) MUST_CHECK;
/* *settled: the drafts agree already and need no debate. */
CO_FN bool round_agreement_gate(struct engine *e, bool *settled) MUST_CHECK;
/* Round 1 and later; *settled: no further one is needed. */
CO_FN bool round_run(struct engine *e, int round, bool *settled) MUST_CHECK;

/* ---- voting.c ---- */

/* Asks all seats that are in for their votes; by `mode` some may be spared where the plan allows it (NULL: never). */
CO_FN bool voting_run(struct engine *e, const struct mode *mode) MUST_CHECK;
/* The document of a vote or ruling for that proposal of the ballot. New reference. */
json_t *voting_choice(const struct ask_call *c, size_t choice, int64_t sure, struct str reasoning);

/* electing.c: the seats choose their judge, each another one; seat->elected says how fit each is then. */
CO_FN bool electing_run(struct engine *e) MUST_CHECK;

/* ---- deciding.c ---- */

/* What the votes that are in are counted from now, people's votes and settings up to here among them. */
CO_FN bool deciding_so_far(struct engine *e, const struct mode *mode, struct decision_matter *m) MUST_CHECK;

/* Votes, or a judge rules, as the plan's mode has it; the decision and the answer are in the engine then. */
CO_FN bool deciding_run(struct engine *e) MUST_CHECK;
/* The debate ends without a choice. */
CO_FN bool deciding_open(struct engine *e, const char *status, const char *reason) MUST_CHECK;
/* NULL: nobody is called so. */
struct seat *deciding_seat(const struct engine *e, struct str name);
/*
 * Seats that are in, best candidate for an office first: not the one to avoid, of that role, higher rated, by name.
 * `out` has room for all seats.
 */
size_t deciding_candidates(struct engine *e, struct str avoid, const char *role, struct seat **out);

/* ---- conclude.c ---- */

/* Writes or adopts the conclusion. Where too few took part the best text stands as it is. */
CO_FN bool conclude_run(struct engine *e) MUST_CHECK;

/* afford.c: *settled when the budget ends the rounds. False: unwinding. */
CO_FN bool afford_round(struct engine *e, int round, bool *settled) MUST_CHECK;

#endif
