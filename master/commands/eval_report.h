/* SPDX-License-Identifier: MIT */
/*
 * What an evaluation says: its rows as a table, JSON and CSV.
 */
#ifndef MASTER_COMMANDS_EVAL_REPORT_H
#define MASTER_COMMANDS_EVAL_REPORT_H

#include <jansson.h>

#include "master/commands/eval_measure.h"

/* For people, with a line on how to read it. `cost`: with a column of dollars. */
void eval_print(const struct eval_row *rows, size_t n, bool cost, FILE *out);
/* [{arm, n, accuracy, low, high, ...}]; new reference. */
json_t *eval_json(const struct eval_row *rows, size_t n);
/* RFC 4180, with a head line. */
void eval_csv(const struct eval_row *rows, size_t n, struct buf *out);

#endif
