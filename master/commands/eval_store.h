/* SPDX-License-Identifier: MIT */
/*
 * The results file of an evaluation: JSON Lines, first what is evaluated, then every paid call and every finished
 * question as it comes, each on disk before anything follows from it. Who starts the same evaluation again goes on
 * where the file ends, and pays for nothing twice.
 */
#ifndef MASTER_COMMANDS_EVAL_STORE_H
#define MASTER_COMMANDS_EVAL_STORE_H

#include <jansson.h>

#include "common/err.h"
#include "master/commands/eval_measure.h"

struct agent_reply;
struct eval_store;

/*
 * Opens or begins the file. `head` says what is evaluated (borrowed); a file with another head is refused by name of
 * the member that differs. A line that was torn by a crash is cut off. NULL with err.
 */
struct eval_store *eval_store_open(const char *path, const json_t *head, struct error *err) MUST_CHECK;
void eval_store_close(struct eval_store *s);
/* Random name of this evaluation, from its first line. */
struct str eval_store_run(const struct eval_store *s);
/* Micro-dollars of all calls so far, also of those whose reply was lost. */
int64_t eval_store_spent(const struct eval_store *s);
/* What is kept of a question's scope (an arm, or what arms share): key -> {state, starts, result}; borrowed or NULL. */
const json_t *eval_store_steps(const struct eval_store *s, struct str question, const char *scope);
/* Keeps a step. False: it could not be written, eval_store_error() says why. */
bool eval_store_step(struct eval_store *s, struct str question, const char *scope, const char *key, const char *state,
		     int64_t starts, const json_t *result, const struct agent_reply *usage) MUST_CHECK;
/* The sample of a question under an arm; false: there is none yet. */
bool eval_store_sample(const struct eval_store *s, struct str question, const char *arm, struct eval_sample *out);
bool eval_store_put_sample(struct eval_store *s, struct str question, const char *arm, struct str answer,
			   const struct eval_sample *sample) MUST_CHECK;
const char *eval_store_error(const struct eval_store *s);

#endif
