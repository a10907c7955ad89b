/* SPDX-License-Identifier: MIT */
/*
 * Datasets and answer matching (eval_dataset.h). Called by `aragorad eval`. Matching is done by rules that a reader can
 * check, never by a model: a judge would be one more source of error.
 */
#include "master/commands/eval_dataset.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "common/json.h"
#include "worker/engine/parse.h"

#define DATASET_PROBLEMS_MAX 20
#define DATASET_LINE_MAX (4 * 1024 * 1024)
#define DATASET_NUMBER_PARTS 1e-6 /* two numbers that differ by less are one */

/* ---- numbers ---- */

static bool dataset_digit(struct str s, size_t i)
{
	return i < s.n && s.p[i] >= '0' && s.p[i] <= '9';
}

/* The number that begins at i: digits, commas between groups of three, one point, an exponent. Moves *i behind it. */
static bool dataset_number_at(struct str s, size_t *i, double *v)
{
	char z[64];
	size_t n = 0, k = *i;

	if (k < s.n && (s.p[k] == '-' || s.p[k] == '+'))
		z[n++] = s.p[k++];
	if (!dataset_digit(s, k) && !(k < s.n && s.p[k] == '.' && dataset_digit(s, k + 1)))
		return false;
	while (n < sizeof(z) - 8) {
		if (dataset_digit(s, k) || (k < s.n && s.p[k] == '.' && dataset_digit(s, k + 1)))
			z[n++] = s.p[k++];
		else if (k < s.n && s.p[k] == ',' && dataset_digit(s, k + 1) && dataset_digit(s, k + 2) &&
			 dataset_digit(s, k + 3) && !dataset_digit(s, k + 4))
			k++;
		else
			break;
	}
	z[n] = '\0';
	*v = strtod(z, NULL);
	*i = k;
	return isfinite(*v) != 0;
}

/* The whole text is a number, a currency sign before it and a percent sign after it apart. */
static bool dataset_number(struct str s, double *v)
{
	size_t i = 0;

	s = str_trim(s);
	if (str_starts(s, STR("$")))
		s = str_sub(s, 1, s.n);
	if (!dataset_number_at(s, &i, v))
		return false;
	s = str_trim(str_sub(s, i, s.n));
	return s.n == 0 || str_eqz(s, "%");
}

/* The last number of a text: "of 12 apples 5 are left" answers 5. */
static bool dataset_last_number(struct str s, double *v)
{
	bool any = false;
	size_t i = 0;

	while (i < s.n) {
		size_t k = i;
		bool inside = i > 0 && (dataset_digit(s, i - 1) || (s.p[i - 1] >= 'A' && s.p[i - 1] <= 'Z') ||
					(s.p[i - 1] >= 'a' && s.p[i - 1] <= 'z'));

		/* "5-3" is no -3, "A4" no 4. */
		if (!inside && dataset_number_at(s, &k, v)) {
			any = true;
			i = k;
		} else {
			i++;
		}
	}
	return any;
}

/* ---- words ---- */

static bool dataset_word_byte(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
}

/* Lower case, articles and punctuation out, one space between words. */
static struct str dataset_plain(struct arena *a, struct str s)
{
	static const char *const articles[] = {"a", "an", "the"};
	struct buf b = BUF_INIT;
	struct str out;
	size_t i = 0, from, k;

	while (i < s.n) {
		char word[256];
		bool article = false;

		while (i < s.n && !dataset_word_byte((unsigned char)s.p[i]))
			i++;
		for (from = i; i < s.n && i - from < sizeof(word) - 1 && dataset_word_byte((unsigned char)s.p[i]); i++)
			word[i - from] = (char)(s.p[i] >= 'A' && s.p[i] <= 'Z' ? s.p[i] + ('a' - 'A') : s.p[i]);
		word[i - from] = '\0';
		for (k = 0; k < countof(articles); k++)
			article |= strcmp(word, articles[k]) == 0;
		if (i == from || article)
			continue;
		if (b.n > 0)
			buf_addc(&b, ' ');
		buf_addz(&b, word);
	}
	out = arena_str(a, buf_str(&b));
	buf_free(&b);
	return out;
}

/* Where the words of `part` stand in `whole`, both plain; -1: nowhere. */
static ptrdiff_t dataset_words_at(struct str whole, struct str part)
{
	size_t i;

	for (i = 0; part.n > 0 && i + part.n <= whole.n; i++)
		if ((i == 0 || whole.p[i - 1] == ' ') && str_starts(str_sub(whole, i, whole.n), part) &&
		    (i + part.n == whole.n || whole.p[i + part.n] == ' '))
			return (ptrdiff_t)i;
	return -1;
}

/* Without "the answer is", "it is" and the like in front. */
static struct str dataset_bare(struct str plain)
{
	static const char *const fronts[] = {"answer is ", "answer ", "correct answer is ", "it is ",
					     "final answer is "};
	size_t i;

	for (i = 0; i < countof(fronts); i++)
		if (str_starts(plain, str_of(fronts[i])))
			return str_sub(plain, strlen(fronts[i]), plain.n);
	return plain;
}

/* ---- choices ---- */

/* Is the A in front of this an article: does a word follow that is not one of those between sentences? */
static bool dataset_article(struct str rest)
{
	static const char *const joints[] = {" or ", " and ", " is ", " because ", " since ", " as "};
	size_t i;

	for (i = 0; i < countof(joints); i++)
		if (str_starts(rest, str_of(joints[i])))
			return false;
	return rest.n > 1 && rest.p[0] == ' ' && rest.p[1] >= 'a' && rest.p[1] <= 'z';
}

/* A letter that stands alone and is in range: "B", "(B)", "B)", "option B", "answer is B". */
static size_t dataset_letter(const struct eval_question *q, struct str s)
{
	size_t i, found = q->choice_count;

	s = str_trim(s);
	for (i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		bool alone = (i == 0 || !dataset_word_byte((unsigned char)s.p[i - 1])) &&
			     (i + 1 == s.n || !dataset_word_byte((unsigned char)s.p[i + 1]));
		bool article = c == 'A' && dataset_article(str_sub(s, i + 1, s.n));

		if (!alone || c < 'A' || (size_t)(c - 'A') >= q->choice_count || article ||
		    (c == 'I' && i + 1 < s.n && (s.p[i + 1] == ' ' || s.p[i + 1] == '\'')))
			continue;
		if (found < q->choice_count && found != (size_t)(c - 'A'))
			return q->choice_count; /* names two */
		found = (size_t)(c - 'A');
	}
	return found;
}

/* The one choice whose words are in the text; of those inside each other the longest. */
static size_t dataset_choice_text(struct arena *a, const struct eval_question *q, struct str s)
{
	struct str whole = dataset_plain(a, s), best = STR("");
	size_t i, found = q->choice_count;

	for (i = 0; i < q->choice_count; i++) {
		struct str part = dataset_plain(a, q->choices[i]);

		if (dataset_words_at(whole, part) < 0 || (found < q->choice_count && dataset_words_at(best, part) >= 0))
			continue;
		if (found < q->choice_count && dataset_words_at(part, best) < 0)
			return q->choice_count; /* names two */
		found = i;
		best = part;
	}
	return found;
}

struct str eval_answer(struct arena *a, const struct eval_question *q, struct str text)
{
	struct str position = parse_position(text), plain, want;
	size_t choice;
	double v;

	switch (q->kind) {
	case EVAL_CHOICE:
		choice = dataset_letter(q, position);
		if (choice == q->choice_count)
			choice = dataset_choice_text(a, q, position);
		return choice < q->choice_count ? arena_printf(a, "%c", (char)('A' + (int)choice)) : STR("");
	case EVAL_NUMBER:
		return dataset_last_number(position, &v) ? arena_printf(a, "%.9g", v) : STR("");
	case EVAL_TEXT:
		break;
	}
	plain = dataset_bare(dataset_plain(a, position));
	want = dataset_plain(a, q->answer);
	/* A sentence around the words that were asked for is the same answer, unless it denies them. */
	if (dataset_words_at(plain, want) >= 0 && dataset_words_at(plain, STR("not")) < 0)
		return want;
	return plain;
}

bool eval_right(struct arena *a, const struct eval_question *q, struct str given)
{
	double v;

	switch (q->kind) {
	case EVAL_CHOICE:
		return given.n == 1 && (size_t)(given.p[0] - 'A') == q->choice;
	case EVAL_NUMBER:
		return dataset_number(given, &v) &&
		       fabs(v - q->number) <= DATASET_NUMBER_PARTS * fmax(1, fabs(q->number));
	case EVAL_TEXT:
		break;
	}
	return str_eq(given, dataset_plain(a, q->answer));
}

/* ---- reading ---- */

struct dataset {
	const char *path;
	struct arena *a;
	struct buf *problems;
	size_t line, bad;
	struct eval_question *q;
	size_t n, room;
	json_t *ids; /* of the arena */
};

static bool dataset_problem(struct dataset *d, const char *fmt, ...) PRINTF_FMT(2, 3);
static bool dataset_problem(struct dataset *d, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (d->bad++ < DATASET_PROBLEMS_MAX)
		buf_printf(d->problems, "%s:%zu: %s\n", d->path, d->line, text);
	return false;
}

static bool dataset_choices(struct dataset *d, const json_t *o, struct eval_question *q)
{
	const json_t *list = json_object_get(o, "choices");
	size_t i;

	if (list == NULL || json_is_null(list))
		return true;
	if (!json_is_array(list) || json_array_size(list) < 2 || json_array_size(list) > EVAL_CHOICES_MAX)
		return dataset_problem(d, "choices must be an array of 2 to %d texts", EVAL_CHOICES_MAX);
	q->choice_count = json_array_size(list);
	q->choices = arena_zalloc(d->a, q->choice_count * sizeof(*q->choices));
	for (i = 0; i < q->choice_count; i++) {
		q->choices[i] = arena_str(d->a, str_trim(str_of(json_is_string(json_array_get(list, i))
								    ? json_string_value(json_array_get(list, i))
								    : "")));
		if (q->choices[i].n == 0)
			return dataset_problem(d, "choices[%zu] must be a text that is not empty", i);
	}
	return true;
}

static bool dataset_answer(struct dataset *d, const json_t *o, struct eval_question *q)
{
	const json_t *v = json_object_get(o, "answer");
	struct str s = json_is_string(v) ? str_trim(str_of(json_string_value(v))) : STR("");
	size_t i;

	if (json_is_number(v) && q->choice_count == 0) {
		q->kind = EVAL_NUMBER;
		q->number = json_number_value(v);
		return true;
	}
	if (s.n == 0 || s.n > EVAL_ANSWER_MAX)
		return dataset_problem(d, "answer must be a %s of 1 to %d bytes",
				       q->choice_count > 0 ? "letter or text of a choice" : "number, or a text",
				       EVAL_ANSWER_MAX);
	if (q->choice_count == 0) {
		q->kind = dataset_number(s, &q->number) ? EVAL_NUMBER : EVAL_TEXT;
		q->answer = arena_str(d->a, s);
		return q->kind == EVAL_NUMBER || dataset_plain(d->a, s).n > 0 ||
		       dataset_problem(d, "answer must contain a letter or a digit");
	}
	q->kind = EVAL_CHOICE;
	for (i = 0; i < q->choice_count; i++)
		if (str_ieq(s, q->choices[i])) {
			q->choice = i;
			return true;
		}
	q->choice = s.n == 1 ? (size_t)((s.p[0] | 0x20) - 'a') : q->choice_count;
	return q->choice < q->choice_count ||
	       dataset_problem(d, "answer \"%.*s\" is neither one of the %zu choices nor the letter of one",
			       (int)(s.n < 60 ? s.n : 60), s.p, q->choice_count);
}

/* What agents are told. The form of the position is what lets rules read it. */
static void dataset_task(struct dataset *d, struct eval_question *q)
{
	static const char *const forms[] = {
	    [EVAL_CHOICE] = "State your position as \"The answer is X.\" with the letter of one choice.",
	    [EVAL_NUMBER] = "State your position as \"The answer is N.\" with a number and nothing after it.",
	    [EVAL_TEXT] = "State your position as \"The answer is ...\" in as few words as possible."};
	struct buf b = BUF_INIT;
	size_t i;

	buf_add(&b, q->question);
	buf_addz(&b, "\n\n");
	for (i = 0; i < q->choice_count; i++)
		buf_printf(&b, "%c) %.*s\n", (char)('A' + (int)i), STR_ARG(q->choices[i]));
	buf_printf(&b, "%s%s", q->choice_count > 0 ? "\n" : "", forms[q->kind]);
	q->task = arena_str(d->a, buf_str(&b));
	buf_free(&b);
}

static bool dataset_line(struct dataset *d, struct str line)
{
	struct eval_question q = {.kind = EVAL_TEXT};
	struct error err = ERROR_INIT;
	const json_t *o = json_parse(d->a, line, &err), *id = json_object_get(o, "id");

	if (o == NULL || !json_is_object(o))
		return dataset_problem(d, "not a JSON object%s%s", err.msg[0] != '\0' ? ": " : "", err.msg);
	if (json_is_integer(id))
		q.id = arena_printf(d->a, "%lld", (long long)json_integer_value(id));
	else
		q.id = arena_str(d->a, json_get_str(o, "id", STR("")));
	q.question = arena_str(d->a, str_trim(json_get_str(o, "question", STR(""))));
	if (q.id.n == 0 || q.id.n > 200)
		return dataset_problem(d, "id must be a number, or a text of 1 to 200 bytes");
	if (json_object_get(d->ids, q.id.p) != NULL)
		return dataset_problem(d, "the id \"%s\" stands on line %lld already", q.id.p,
				       (long long)json_get_int(d->ids, q.id.p, 0));
	json_put_int(d->ids, q.id.p, (int64_t)d->line);
	if (q.question.n == 0 || q.question.n > EVAL_TEXT_MAX)
		return dataset_problem(d, "question must be a text of 1 to %d bytes", EVAL_TEXT_MAX);
	if (!dataset_choices(d, o, &q) || !dataset_answer(d, o, &q))
		return false;
	dataset_task(d, &q);
	if (d->n == d->room) {
		d->room = d->room > 0 ? 2 * d->room : 64;
		d->q = xrealloc(d->q, d->room * sizeof(*d->q));
	}
	d->q[d->n++] = q;
	return true;
}

static bool dataset_lines(struct dataset *d, FILE *f)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t n;

	while ((n = getline(&line, &room, f)) >= 0) {
		struct str s = str_trim((struct str){line, (size_t)n});

		d->line++;
		if (n > DATASET_LINE_MAX)
			(void)dataset_problem(d, "longer than %d bytes", DATASET_LINE_MAX);
		else if (s.n > 0)
			(void)dataset_line(d, s);
	}
	free(line);
	if (ferror(f))
		return dataset_problem(d, "cannot be read: %s", strerror(errno));
	if (d->n == 0 && d->bad == 0)
		return dataset_problem(d, "there is no question in it");
	if (d->bad > DATASET_PROBLEMS_MAX)
		buf_printf(d->problems, "%s: %zu more\n", d->path, d->bad - DATASET_PROBLEMS_MAX);
	return d->bad == 0;
}

bool eval_dataset_read(const char *path, struct arena *a, struct eval_question **out, size_t *n, struct buf *problems)
{
	struct dataset d = {.path = path, .a = a, .problems = problems, .ids = json_own(a, json_object())};
	FILE *f = fopen(path, "re");
	bool ok;

	if (f == NULL) {
		buf_printf(problems, "%s: cannot be opened: %s\n", path, strerror(errno));
		return false;
	}
	ok = dataset_lines(&d, f);
	(void)fclose(f);
	*n = d.n;
	*out = arena_zalloc(a, (d.n + 1) * sizeof(**out));
	if (d.n > 0)
		memcpy(*out, d.q, d.n * sizeof(**out));
	free(d.q);
	return ok;
}
