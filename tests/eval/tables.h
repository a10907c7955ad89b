/* SPDX-License-Identifier: MIT */
/*
 * The tables of `make eval`: the ways to spend tokens on a question side by side, over populations of simulated agents,
 * and the engine's defaults against their alternatives.
 */
#ifndef TESTS_EVAL_TABLES_H
#define TESTS_EVAL_TABLES_H

#include <stddef.h>

/* Prints all of them, n questions each. */
void tables_print(size_t n);

#endif
