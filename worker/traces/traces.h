/* SPDX-License-Identifier: MIT */
/*
 * The trace of a debate as a file, written when it ends: storage.traces names the folder, a mounted bucket for example.
 * That one is to be written commits with the end itself (trace_exports), so that no death loses it; written twice it is
 * the same file.
 *
 * A trace is <debate id>_<end>.jsonl.gz, JSON lines: {"type":"debate", …columns of the row}, then {"type":"step", …} of
 * the journal, {"type":"event", …} of the log and {"type":"usage", …} of the ledger, each in its order.
 */
#ifndef WORKER_TRACES_TRACES_H
#define WORKER_TRACES_TRACES_H

#include "common/db.h"

struct traces;
struct worker;

struct traces *traces_open(struct worker *w);
/* Nothing may be under way. */
void traces_close(struct traces *t);
/* Adds to the batch that ends the debate that its trace is to be written; nothing when there is no folder. */
void traces_ended(struct db_batch *b, const struct worker *w, struct str debate_id, int64_t at_ms);
/* It is committed: writes it soon. */
void traces_hint(struct traces *t, struct str debate_id);
/* By the clerk, once a second: writes what others have left lying. */
void traces_look(struct traces *t);
/* Is one being written? */
bool traces_active(const struct traces *t);

#endif
