/* SPDX-License-Identifier: MIT */
/*
 * The debate itself: independent drafts, anonymous critique, revision, vote, decision, synthesis, as one readable
 * piece of straight-line code over steps.
 */
#ifndef WORKER_ENGINE_ENGINE_H
#define WORKER_ENGINE_ENGINE_H

#include "worker/engine/step.h"

/*
 * Runs a debate from its beginning (finished steps answer from the journal) to debate_finish(). False: it has to
 * unwind, see debate_stop(); true: finished.
 */
CO_FN bool engine_run(struct debate *d) MUST_CHECK;
/* Result document of a debate that ends without (or before) a decision: cancelled, timeout, failed. Uses what the
 * journal holds. */
json_t *engine_result_unfinished(struct debate *d, const char *status, const char *reason);

#endif
