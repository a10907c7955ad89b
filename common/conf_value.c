/* SPDX-License-Identifier: MIT */
/*
 * Values of the configuration by type: text to struct conf, struct conf to text, freeing. Called by the readers (file,
 * environment, command line) and the printers. Does not know where a value came from, except to say so in a mistake.
 */
#include "common/conf_internal.h"

#include <ctype.h>

#include "common/clock.h"

#define CONF_SHOWN_MAX 48 /* bytes of a wrong value that a mistake repeats */

static void *conf_at(struct conf *c, const struct conf_key *k)
{
	return (char *)c + k->offset;
}

char **conf_text_at(struct conf *c, const struct conf_key *k)
{
	BUG_ON(k->type != CONF_TEXT && k->type != CONF_WORD);
	return conf_at(c, k);
}

struct conf_list *conf_list_at(struct conf *c, const struct conf_key *k)
{
	BUG_ON(k->type != CONF_LIST);
	return conf_at(c, k);
}

int64_t *conf_number_at(struct conf *c, const struct conf_key *k)
{
	return conf_at(c, k);
}

int *conf_int_at(struct conf *c, const struct conf_key *k)
{
	return conf_at(c, k);
}

/* The readers below take a const configuration and change nothing. */
static const void *conf_peek(const struct conf *c, const struct conf_key *k)
{
	return (const char *)c + k->offset;
}

/* ---- words ---- */

/* Position of a word in "a|b|c", ignoring case, or -1. */
static int conf_choice(const char *choices, struct str word)
{
	struct str rest = str_of(choices);
	struct str one;
	int i;

	for (i = 0; str_split(&rest, '|', &one); i++)
		if (str_ieq(one, word))
			return i;
	return -1;
}

static struct str conf_choice_name(const char *choices, int index)
{
	struct str rest = str_of(choices);
	struct str one = STR_NONE;

	while (index-- >= 0 && str_split(&rest, '|', &one))
		;
	return one;
}

static void conf_choices_text(const char *choices, struct buf *out)
{
	struct str rest = str_of(choices);
	const char *before = "";
	struct str one;

	while (str_split(&rest, '|', &one)) {
		buf_addz(out, before);
		buf_add(out, one);
		before = ", ";
	}
}

static const struct conf_unit {
	const char *suffix;
	int64_t factor;
} conf_units[] = {{"GiB", INT64_C(1) << 30}, {"MiB", INT64_C(1) << 20}, {"KiB", INT64_C(1) << 10}, {"B", 1}, {"", 1}};

/* "65536", "64KiB", "10 MiB" */
static bool conf_size_parse(struct str s, int64_t *out)
{
	struct str digits;
	int64_t n;
	size_t i;

	for (i = 0; i < countof(conf_units); i++) {
		struct str suffix = str_of(conf_units[i].suffix);

		if (s.n < suffix.n || !str_ieq(str_sub(s, s.n - suffix.n, s.n), suffix))
			continue;
		digits = str_trim(str_sub(s, 0, s.n - suffix.n));
		return str_to_i64(digits, INT64_MIN, INT64_MAX, &n) &&
		       !__builtin_mul_overflow(n, conf_units[i].factor, out);
	}
	return false;
}

static void conf_size_text(int64_t n, struct buf *out)
{
	buf_printf(out, "%lld", (long long)n);
}

/* Whole seconds as a bare number, which any reader of YAML understands; the rest with its unit. */
static void conf_duration_text(int64_t us, struct buf *out)
{
	char text[32];

	if (us % SEC_US == 0)
		buf_printf(out, "%lld", (long long)(us / SEC_US));
	else
		buf_addz(out, duration_format(text, us));
}

static void conf_millis_text(int64_t us, struct buf *out)
{
	char text[32];

	if (us % MS_US == 0)
		buf_printf(out, "%lld", (long long)(us / MS_US));
	else
		buf_addz(out, duration_format(text, us));
}

static bool conf_millis_parse(struct str s, int64_t *us)
{
	int64_t ms;

	if (!str_to_i64(s, 0, INT64_MAX / MS_US, &ms))
		return duration_parse(s, us);
	*us = ms * MS_US;
	return true;
}

/* ---- what was expected ---- */

void conf_type_text(const struct conf_key *k, struct buf *out)
{
	char low[32];
	char high[32];

	switch (k->type) {
	case CONF_INT:
		buf_printf(out, "an integer from %lld to %lld", (long long)k->min, (long long)k->max);
		break;
	case CONF_BOOL:
		buf_addz(out, "true or false");
		break;
	case CONF_AUTO:
		buf_addz(out, "true, false or auto");
		break;
	case CONF_CHOICE:
	case CONF_WORD:
		buf_addz(out, "one of ");
		conf_choices_text(k->choices, out);
		break;
	case CONF_TEXT:
		buf_addz(out, k->form != NULL ? k->form : "a text");
		break;
	case CONF_LIST:
		buf_addz(out, "a list");
		if (k->form != NULL)
			buf_printf(out, " of: %s", k->form);
		break;
	case CONF_DURATION:
		buf_printf(out, "a duration from %s to %s", duration_format(low, k->min),
			   duration_format(high, k->max));
		break;
	case CONF_MILLIS:
		buf_printf(out, "milliseconds, or a duration, from %s to %s", duration_format(low, k->min),
			   duration_format(high, k->max));
		break;
	case CONF_SIZE:
		buf_printf(out, "a size from %lld to %lld bytes", (long long)k->min, (long long)k->max);
		break;
	}
}

/* What stood there, short and printable; secrets are not repeated. */
static void conf_found(const struct conf_key *k, struct str s, struct buf *out)
{
	struct str shown = str_utf8_cut(s, CONF_SHOWN_MAX);
	size_t i;

	if ((k->flags & CONF_SECRET) != 0)
		return;
	buf_addz(out, ", found \"");
	for (i = 0; i < shown.n; i++)
		buf_addc(out, iscntrl((unsigned char)shown.p[i]) ? '?' : shown.p[i]);
	buf_addz(out, shown.n < s.n ? "…\"" : "\"");
}

/* Reports "expected …, found …" and returns false. */
static bool conf_refuse(struct conf_loader *l, int row, const struct conf_origin *at, struct str found)
{
	const struct conf_key *k = &conf_table[row];
	struct buf text = BUF_INIT;

	buf_addz(&text, "expected ");
	conf_type_text(k, &text);
	conf_found(k, found, &text);
	conf_complain(l, at, str_of(k->name), "%.*s", STR_ARG(buf_str(&text)));
	buf_free(&text);
	return false;
}

/* ---- storing ---- */

static void conf_text_free(char **p, bool secret)
{
	if (*p != NULL && secret)
		explicit_bzero(*p, strlen(*p));
	free(*p);
	*p = NULL;
}

static void conf_list_free(struct conf_list *list)
{
	size_t i;

	for (i = 0; i < list->n; i++)
		free(list->v[i]);
	free(list->v);
	*list = (struct conf_list){NULL, 0};
}

void conf_value_free(struct conf *c, const struct conf_key *k)
{
	if (k->type == CONF_TEXT || k->type == CONF_WORD)
		conf_text_free(conf_text_at(c, k), (k->flags & CONF_SECRET) != 0);
	else if (k->type == CONF_LIST)
		conf_list_free(conf_list_at(c, k));
}

/* Text that may stand in a line of a log or a file: valid UTF-8 without control characters. */
static const char *conf_unfit(struct str s)
{
	size_t i;

	if (s.n > CONF_TEXT_MAX)
		return "is too long";
	for (i = 0; i < s.n; i++)
		if (iscntrl((unsigned char)s.p[i]))
			return "contains a control character";
	return str_utf8_valid(s) ? NULL : "is not valid UTF-8";
}

static bool conf_fit(struct conf_loader *l, int row, const struct conf_origin *at, struct str s)
{
	const struct conf_key *k = &conf_table[row];
	const char *why = conf_unfit(s);

	if (why != NULL) {
		conf_complain(l, at, str_of(k->name), "%s", why);
		return false;
	}
	if (s.n > 0 && k->valid != NULL && !k->valid(s))
		return conf_refuse(l, row, at, s);
	return true;
}

static bool conf_set_string(struct conf_loader *l, int row, struct str s, const struct conf_origin *at)
{
	const struct conf_key *k = &conf_table[row];
	char **p = conf_text_at(l->c, k);
	int index;

	if (k->type == CONF_WORD) {
		index = conf_choice(k->choices, s);
		if (index < 0)
			return conf_refuse(l, row, at, s);
		s = conf_choice_name(k->choices, index);
	}
	if (!conf_fit(l, row, at, s))
		return false;
	if (s.n == 0 && (k->flags & CONF_FILLED) != 0) {
		conf_complain(l, at, str_of(k->name), "must not be empty");
		return false;
	}
	conf_text_free(p, (k->flags & CONF_SECRET) != 0);
	*p = str_dupz(s);
	return true;
}

static bool conf_set_list(struct conf_loader *l, int row, const struct str *items, size_t n,
			  const struct conf_origin *at)
{
	const struct conf_key *k = &conf_table[row];
	struct conf_list *list = conf_list_at(l->c, k);
	bool good = true;
	size_t i;

	if (n > CONF_LIST_MAX) {
		conf_complain(l, at, str_of(k->name), "has more than %d elements", CONF_LIST_MAX);
		return false;
	}
	for (i = 0; i < n; i++) {
		if (items[i].n == 0) {
			conf_complain(l, at, str_of(k->name), "has an empty element");
			good = false;
		} else if (!conf_fit(l, row, at, items[i])) {
			good = false;
		}
	}
	if (!good)
		return false;
	conf_list_free(list);
	if (n == 0)
		return true;
	list->v = xcalloc(n, sizeof(*list->v));
	for (i = 0; i < n; i++)
		list->v[list->n++] = str_dupz(items[i]);
	return true;
}

static bool conf_parse_number(const struct conf_key *k, struct str s, int64_t *n)
{
	switch ((int)k->type) {
	case CONF_INT:
		return str_to_i64(s, INT64_MIN, INT64_MAX, n);
	case CONF_SIZE:
		return conf_size_parse(s, n);
	case CONF_MILLIS:
		return conf_millis_parse(s, n);
	default:
		return duration_parse(s, n);
	}
}

static bool conf_set_number(struct conf_loader *l, int row, struct str s, const struct conf_origin *at)
{
	const struct conf_key *k = &conf_table[row];
	int64_t n;

	if (!conf_parse_number(k, s, &n) || n < k->min || n > k->max)
		return conf_refuse(l, row, at, s);
	*conf_number_at(l->c, k) = n;
	return true;
}

static bool conf_set_int(struct conf_loader *l, int row, struct str s, const struct conf_origin *at)
{
	const struct conf_key *k = &conf_table[row];
	int index = -1;
	bool truth;

	if (k->type == CONF_CHOICE)
		index = conf_choice(k->choices, s);
	else if (k->type == CONF_AUTO && str_ieqz(s, "auto"))
		index = AUTO_AUTO;
	else if (str_to_bool(s, &truth))
		index = truth ? AUTO_ON : AUTO_OFF;
	if (index < 0)
		return conf_refuse(l, row, at, s);
	*conf_int_at(l->c, k) = index;
	return true;
}

static bool conf_set_scalar(struct conf_loader *l, int row, struct str s, const struct conf_origin *at)
{
	switch (conf_table[row].type) {
	case CONF_INT:
	case CONF_DURATION:
	case CONF_MILLIS:
	case CONF_SIZE:
		return conf_set_number(l, row, str_trim(s), at);
	case CONF_BOOL:
	case CONF_AUTO:
	case CONF_CHOICE:
		return conf_set_int(l, row, str_trim(s), at);
	case CONF_WORD:
	case CONF_TEXT:
		return conf_set_string(l, row, s, at);
	case CONF_LIST:
		break;
	}
	BUG_ON(true);
}

/* "a, b": empty parts are left out. */
static bool conf_set_commas(struct conf_loader *l, int row, struct str text, const struct conf_origin *at)
{
	struct str *items = xcalloc(CONF_LIST_MAX + 1, sizeof(*items));
	struct str rest = text;
	struct str one;
	size_t n = 0;
	bool good;

	while (n <= CONF_LIST_MAX && str_split(&rest, ',', &one)) {
		one = str_trim(one);
		if (one.n > 0)
			items[n++] = one;
	}
	good = conf_set_list(l, row, items, n, at);
	free(items);
	return good;
}

bool conf_set(struct conf_loader *l, int row, const struct conf_raw *raw, const struct conf_origin *at)
{
	const struct conf_key *k = &conf_table[row];
	struct buf text = BUF_INIT;
	bool good;

	if (raw->is_list && k->type == CONF_LIST) {
		good = conf_set_list(l, row, raw->items, raw->n, at);
	} else if (raw->is_list || (raw->null && k->type != CONF_LIST && k->type != CONF_TEXT) ||
		   (raw->quoted && (k->type == CONF_INT || k->type == CONF_BOOL))) {
		buf_addz(&text, "expected ");
		conf_type_text(k, &text);
		buf_addz(&text, raw->is_list ? ", found a list"
				: raw->null  ? ", found nothing"
					     : ", found a quoted text");
		conf_complain(l, at, str_of(k->name), "%.*s", STR_ARG(buf_str(&text)));
		good = false;
	} else {
		good = conf_set_text(l, row, raw->null ? STR_NONE : raw->scalar, at);
	}
	buf_free(&text);
	if (good)
		l->origin[row] = *at;
	l->failed[row] = !good;
	return good;
}

bool conf_set_text(struct conf_loader *l, int row, struct str text, const struct conf_origin *at)
{
	bool good;

	if (conf_table[row].type == CONF_LIST)
		good = conf_set_commas(l, row, text, at);
	else
		good = conf_set_scalar(l, row, text, at);
	if (good)
		l->origin[row] = *at;
	l->failed[row] = !good;
	return good;
}

/* ---- printing ---- */

static const char *conf_string_of(const struct conf *c, const struct conf_key *k)
{
	return *(char *const *)conf_peek(c, k);
}

bool conf_value_empty(const struct conf *c, const struct conf_key *k)
{
	if (k->type == CONF_TEXT || k->type == CONF_WORD)
		return conf_string_of(c, k)[0] == '\0';
	if (k->type == CONF_LIST)
		return ((const struct conf_list *)conf_peek(c, k))->n == 0;
	return false;
}

static void conf_print_number(const struct conf *c, const struct conf_key *k, struct buf *out)
{
	int64_t n = *(const int64_t *)conf_peek(c, k);

	if (k->type == CONF_DURATION)
		conf_duration_text(n, out);
	else if (k->type == CONF_MILLIS)
		conf_millis_text(n, out);
	else
		conf_size_text(n, out);
}

static void conf_print_int(const struct conf *c, const struct conf_key *k, struct buf *out)
{
	int n = *(const int *)conf_peek(c, k);

	if (k->type == CONF_CHOICE)
		buf_add(out, conf_choice_name(k->choices, n));
	else
		buf_add(out, conf_choice_name("false|true|auto", n));
}

void conf_quote(struct str s, struct buf *out)
{
	size_t i;

	buf_addc(out, '"');
	for (i = 0; i < s.n; i++) {
		if (s.p[i] == '"' || s.p[i] == '\\')
			buf_addc(out, '\\');
		buf_addc(out, s.p[i]);
	}
	buf_addc(out, '"');
}

static void conf_print_list(const struct conf *c, const struct conf_key *k, bool yaml, struct buf *out)
{
	const struct conf_list *list = conf_peek(c, k);
	size_t i;

	if (yaml)
		buf_addc(out, '[');
	for (i = 0; i < list->n; i++) {
		if (i > 0)
			buf_addz(out, ", ");
		if (yaml)
			conf_quote(str_of(list->v[i]), out);
		else
			buf_addz(out, list->v[i]);
	}
	if (yaml)
		buf_addc(out, ']');
}

void conf_value_print(const struct conf *c, const struct conf_key *k, bool mask, struct buf *out)
{
	switch (k->type) {
	case CONF_INT:
	case CONF_SIZE:
	case CONF_DURATION:
	case CONF_MILLIS:
		conf_print_number(c, k, out);
		break;
	case CONF_BOOL:
	case CONF_AUTO:
	case CONF_CHOICE:
		conf_print_int(c, k, out);
		break;
	case CONF_WORD:
		buf_addz(out, conf_string_of(c, k));
		break;
	case CONF_TEXT:
		if (mask && (k->flags & CONF_SECRET) != 0 && !conf_value_empty(c, k))
			buf_addz(out, "\"********\"");
		else
			conf_quote(str_of(conf_string_of(c, k)), out);
		break;
	case CONF_LIST:
		conf_print_list(c, k, true, out);
		break;
	}
}
