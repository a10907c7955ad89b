/* SPDX-License-Identifier: MIT */
/*
 * Command lines by table, for the server and its subcommands. Called by options.c and master/commands. Knows no option
 * of its own and does not judge values beyond the range of a number.
 */
#include "master/args.h"

#define ARGS_SUGGEST 3 /* edits between a mistyped word and one that is suggested */
#define ARGS_COLUMN 24 /* where help begins */
#define ARGS_WIDTH 78

static const struct arg *args_find(const struct arg *rows, struct str name, bool letter)
{
	for (const struct arg *r = rows; r->name != NULL; r++) {
		if (letter ? r->letter == name.p[0] : str_eqz(name, r->name))
			return r;
	}
	return NULL;
}

static void args_complain(const char *who, const struct arg *rows, struct str name, bool letter)
{
	const char *best = NULL;
	unsigned distance = ARGS_SUGGEST + 1;

	for (const struct arg *r = rows; r->name != NULL && !letter && name.n <= 64; r++) {
		unsigned d = str_distance(name, str_of(r->name));

		if (d < distance) {
			distance = d;
			best = r->name;
		}
	}
	fprintf(stderr, "%s: unknown option %s%.*s", who, letter ? "-" : "--", STR_ARG(name));
	if (best != NULL)
		fprintf(stderr, ", did you mean --%s?\n", best);
	else
		fprintf(stderr, "; --help lists them\n");
}

static bool args_apply(const char *who, const struct arg *r, void *target, const char *value)
{
	char *field = (char *)target + r->offset;
	int64_t number;

	switch (r->kind) {
	case ARG_TEXT:
		memcpy(field, &value, sizeof(value));
		break;
	case ARG_FLAG:
		*(bool *)(void *)field = true;
		break;
	case ARG_NUMBER:
		if (!str_to_i64(str_of(value), r->min, r->max, &number)) {
			fprintf(stderr, "%s: option --%s needs a number from %lld to %lld, not %s\n", who, r->name,
				(long long)r->min, (long long)r->max, value);
			return false;
		}
		memcpy(field, &number, sizeof(number));
		break;
	case ARG_CALL:
		r->take(target, r, value);
		break;
	}
	return true;
}

/* One option at argv[*at], with its value there or in the next argument. */
static bool args_take(const char *who, const struct arg *rows, void *target, int argc, char **argv, int *at)
{
	const char *arg = argv[*at];
	bool letter = arg[1] != '-';
	struct str name = str_of(arg + (letter ? 1 : 2));
	const char *value = NULL;
	const struct arg *r;
	ptrdiff_t cut = letter ? 1 : str_chr(name, '=');

	if (cut >= 0 && (size_t)cut < name.n) {
		value = name.p + cut + (letter ? 0 : 1);
		name.n = (size_t)cut;
	}
	r = args_find(rows, name, letter);
	if (r == NULL) {
		args_complain(who, rows, name, letter);
		return false;
	}
	if (r->value == NULL && value != NULL) {
		fprintf(stderr, "%s: option %s%.*s takes no value\n", who, letter ? "-" : "--", STR_ARG(name));
		return false;
	}
	if (r->value != NULL && value == NULL) {
		if (*at + 1 >= argc) {
			fprintf(stderr, "%s: option %s needs a value (%s)\n", who, arg, r->value);
			return false;
		}
		value = argv[++*at];
	}
	return args_apply(who, r, target, value);
}

bool args_walk(const char *who, const struct arg *rows, void *target, int argc, char **argv, size_t *operands)
{
	bool options = true;
	char *swap;

	*operands = 0;
	for (int i = 1; i < argc; i++) {
		if (options && strcmp(argv[i], "--") == 0) {
			options = false;
		} else if (!options || argv[i][0] != '-' || argv[i][1] == '\0') {
			/* Exchanged, as what stood there is somebody's memory. */
			swap = argv[++*operands];
			argv[*operands] = argv[i];
			argv[i] = swap;
		} else if (!args_take(who, rows, target, argc, argv, &i)) {
			return false;
		}
	}
	return true;
}

/* Adds `text` in lines of at most ARGS_WIDTH that begin at `indent`; the cursor stands there. */
static void args_wrap(struct buf *out, struct str text, size_t indent)
{
	struct str word;
	size_t at = indent;

	while (str_split(&text, ' ', &word)) {
		if (at > indent && at + 1 + word.n > ARGS_WIDTH) {
			buf_printf(out, "\n%*s", (int)indent, "");
			at = indent;
		} else if (at > indent) {
			buf_addc(out, ' ');
			at++;
		}
		buf_add(out, word);
		at += word.n;
	}
	buf_addc(out, '\n');
}

void args_help(const struct arg *rows, struct buf *out)
{
	for (const struct arg *r = rows; r->name != NULL; r++) {
		size_t line = out->n;

		if (r->help == NULL)
			continue;
		if (r->letter != 0)
			buf_printf(out, "  -%c, --%s", r->letter, r->name);
		else
			buf_printf(out, "      --%s", r->name);
		/* Other spellings stand in the rows behind. */
		for (const struct arg *other = r + 1; other->name != NULL && other->help == NULL; other++)
			buf_printf(out, ", --%s", other->name);
		if (r->value != NULL)
			buf_printf(out, " %s", r->value);
		if (out->n - line + 2 > ARGS_COLUMN)
			buf_printf(out, "\n%*s", ARGS_COLUMN, "");
		else
			buf_printf(out, "%*s", (int)(ARGS_COLUMN - (out->n - line)), "");
		args_wrap(out, str_of(r->help), ARGS_COLUMN);
	}
}

static void args_print_help(const struct command *c)
{
	struct buf out = BUF_INIT;

	buf_printf(&out, "Usage: aragorad %s %s\n\n", c->name, c->synopsis);
	args_wrap(&out, str_of(c->about != NULL ? c->about : c->summary), 0);
	buf_addc(&out, '\n');
	args_help(c->args, &out);
	fwrite(out.p, 1, out.n, stdout);
	buf_free(&out);
}

bool args_parse(const struct command *c, struct args *target, int argc, char **argv, int *code)
{
	char who[64];

	snprintf(who, sizeof(who), "aragorad %s", c->name);
	*code = EXIT_USAGE;
	if (!args_walk(who, c->args, target, argc, argv, &target->operand_count))
		return false;
	target->operands = argv + 1;
	if (target->help) {
		args_print_help(c);
		*code = EXIT_OK;
		return false;
	}
	if (target->operand_count > c->operands_max) {
		fprintf(stderr, "%s: unexpected argument %s; --help lists what there is\n", who,
			target->operands[c->operands_max]);
		return false;
	}
	if (target->operand_count < c->operands_min) {
		fprintf(stderr, "%s: something is missing: aragorad %s %s\n", who, c->name, c->synopsis);
		return false;
	}
	return true;
}

static struct conf *args_load(const struct args *a, bool warnings)
{
	struct buf report = BUF_INIT;
	struct conf *c = conf_load(a->conf_path, true, NULL, 0, &report);

	if (c == NULL || warnings)
		fprintf(stderr, "%.*s", STR_ARG(buf_str(&report)));
	buf_free(&report);
	return c;
}

struct conf *args_conf(const struct args *a)
{
	return args_load(a, false);
}

struct conf *args_conf_warned(const struct args *a)
{
	return args_load(a, true);
}
