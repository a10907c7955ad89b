/* SPDX-License-Identifier: MIT */
/*
 * What an evaluation says: its rows as a table, JSON, CSV, and a plot of accuracy against tokens.
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
/* A drawing that stands for itself: accuracy with its interval against mean tokens per question, a point for each arm.
 */
void eval_svg(const struct eval_row *rows, size_t n, struct str title, struct buf *out);

#endif
