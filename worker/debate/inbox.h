/* SPDX-License-Identifier: MIT */
/*
 * What people say to a debate while it runs: votes, suggestions, interventions, settings. A row of debate_inbox from
 * any worker; the debate's owner takes it at a named step (step_inbox) and makes its events.
 *
 *   vote          {choice, intensity 1..10}    counted at the decision; the last one of a person replaces the former
 *   suggestion    {suggestion}                 shown to the agents from the next round on
 *   intervention  {type, content, target_agent, source, apply_at_round}   the same, in the words of its type
 *   setting       {weights {agent: 0..2 in ppm}, threshold_ppm}           of the decision
 */
#ifndef WORKER_DEBATE_INBOX_H
#define WORKER_DEBATE_INBOX_H

#include "worker/debate/debate.h"

#define INBOX_TEXT_MAX 2000   /* bytes of what is said */
#define INBOX_WAITING_MAX 500 /* rows of a debate that nobody has taken yet */

struct inbox_answer {
	struct str id;
	int64_t round;       /* at which it is to be applied; 0: at the decision */
	bool considered;     /* as far as is known now: a debate may settle before its last round */
	const char *message; /* a sentence for people */
};

/*
 * Puts it in. ERR_CONFLICT: the debate has ended; ERR_RATE_LIMITED: too much waits already. `payload` is borrowed.
 * The answer says whether it comes in time.
 */
CO_FN bool inbox_put(struct worker *w, struct arena *a, const struct context *ctx, const struct debate_row *row,
		     const char *kind, const json_t *payload, struct inbox_answer *out, struct error *err) MUST_CHECK;

/*
 * Everything that was ever put in, oldest first: [{id, kind, type, user_id, timestamp, created_at, message, choice,
 * intensity, target_agent, source, metadata, status, applied_at}], status waiting, applied or too_late. At most
 * `limit`, the newest. New reference; NULL with err.
 */
CO_FN json_t *inbox_log(struct worker *w, struct arena *a, const struct context *ctx, const struct debate_row *row,
			int64_t limit, struct error *err);

/*
 * One of the messages that a client may send about a debate (over a socket): user_vote, user_suggestion, intervention,
 * pause_debate, resume_debate, cancel_debate. False: it is none of them. Else *data is what the client is told in an
 * "ack" (*done) or an "error", new reference. Asks for the permission that the REST route asks for.
 */
CO_FN bool inbox_message(struct worker *w, struct arena *a, const struct context *ctx, struct str type, const json_t *m,
			 bool *done, json_t **data);

/*
 * Reads what a client gave into a payload for inbox_put. False with the field named. `o` may carry the members under
 * any of their names (suggestion, text, content, message …).
 */
bool inbox_vote(struct arena *a, const json_t *o, json_t **payload, struct error *err) MUST_CHECK;
bool inbox_suggestion(struct arena *a, const json_t *o, json_t **payload, struct error *err) MUST_CHECK;
/* `type`: nudge, challenge, inject_evidence, argument, follow_up, redirect, constraint, evidence_request. */
bool inbox_intervention(struct arena *a, const json_t *o, struct str type, json_t **payload,
			struct error *err) MUST_CHECK;

#endif
