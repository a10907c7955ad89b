/* SPDX-License-Identifier: MIT */
/*
 * The questions of an evaluation and what counts as a right answer.
 *
 * A dataset is JSON Lines: one object {id, question, answer, choices?} each. With choices (2 to 26 texts) the answer is
 * a letter, counted from A, or the text of one; else a number or a text.
 */
#ifndef MASTER_COMMANDS_EVAL_DATASET_H
#define MASTER_COMMANDS_EVAL_DATASET_H

#include "common/arena.h"
#include "common/err.h"

#define EVAL_CHOICES_MAX 26
#define EVAL_TEXT_MAX 100000 /* bytes of a question */
#define EVAL_ANSWER_MAX 1000

enum eval_kind { EVAL_CHOICE, EVAL_NUMBER, EVAL_TEXT };

struct eval_question {
	struct str id, question, task; /* task: what agents are told, with choices and the form of the answer */
	enum eval_kind kind;
	struct str answer; /* EVAL_TEXT */
	double number;     /* EVAL_NUMBER */
	size_t choice;     /* EVAL_CHOICE: index of the right one */
	struct str *choices;
	size_t choice_count;
};

/*
 * Reads a dataset; everything is of the arena. False: *problems has a line "FILE:LINE: what is wrong" for each bad line
 * (at most 20).
 */
bool eval_dataset_read(const char *path, struct arena *a, struct eval_question **out, size_t *n,
		       struct buf *problems) MUST_CHECK;
/*
 * The answer that a text gives, brought into a form in which equal answers are equal texts: the letter of a choice, a
 * number, or words in lower case without articles and punctuation. From its position (parse.h). Empty: none. Of the
 * arena.
 */
struct str eval_answer(struct arena *a, const struct eval_question *q, struct str text);
/* Is that the right one? Numbers may differ by one part in a million. */
bool eval_right(struct arena *a, const struct eval_question *q, struct str given);

#endif
