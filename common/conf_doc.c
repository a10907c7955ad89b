/* SPDX-License-Identifier: MIT */
/*
 * What the table says, for people: the effective configuration, the sample file, the manual page, lists for checks.
 * Called by the subcommands and by the test that keeps the generated files equal to the table. Prints no secret.
 */
#include "common/conf_internal.h"

#define CONF_SAMPLE_COLUMNS 110

static unsigned conf_dots(const char *name)
{
	unsigned n = 0;

	for (; *name != '\0'; name++)
		n += *name == '.';
	return n;
}

static const char *conf_last(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot != NULL ? dot + 1 : name;
}

static void conf_indent(struct buf *out, unsigned depth)
{
	while (depth-- > 0)
		buf_addz(out, "  ");
}

/* Does the key stand directly in the section? */
static bool conf_belongs(const struct conf_key *k, const char *section)
{
	size_t n = strlen(section);

	return strncmp(k->name, section, n) == 0 && k->name[n] == '.' && strchr(k->name + n + 1, '.') == NULL;
}

void conf_print(const struct conf *c, struct buf *out)
{
	const struct conf_section *s;
	size_t i;

	for (s = conf_sections; s->name != NULL; s++) {
		conf_indent(out, conf_dots(s->name));
		buf_printf(out, "%s:\n", conf_last(s->name));
		for (i = 0; i < conf_table_size; i++) {
			if (!conf_belongs(&conf_table[i], s->name))
				continue;
			conf_indent(out, conf_dots(s->name) + 1);
			buf_printf(out, "%s: ", conf_last(conf_table[i].name));
			conf_value_print(c, &conf_table[i], true, out);
			buf_addc(out, '\n');
		}
	}
}

/* ---- conf/aragora.yml ---- */

/* A comment, wrapped at blanks. */
static void conf_comment(struct buf *out, unsigned depth, struct str text)
{
	size_t column = 0;
	struct str word;

	while (str_split(&text, ' ', &word)) {
		if (column == 0 || column + 1 + word.n > CONF_SAMPLE_COLUMNS) {
			if (column > 0)
				buf_addc(out, '\n');
			conf_indent(out, depth);
			buf_addz(out, "# ");
			column = 2 * depth + 2;
		} else {
			buf_addc(out, ' ');
			column++;
		}
		buf_add(out, word);
		column += word.n;
	}
	buf_addc(out, '\n');
}

/* "A, B" from the blank-separated names; secrets can come from files too. */
static void conf_env_text(const struct conf_key *k, struct buf *out)
{
	struct str rest = str_of(k->env);
	const char *before = "";
	struct str one;

	while (str_split(&rest, ' ', &one)) {
		if (one.n == 0)
			continue;
		buf_addz(out, before);
		buf_add(out, one);
		before = ", ";
		if ((k->flags & CONF_SECRET) != 0)
			buf_printf(out, ", %.*s_FILE", STR_ARG(one));
	}
}

static bool conf_is_number(const struct conf_key *k)
{
	return k->type == CONF_INT || k->type == CONF_DURATION || k->type == CONF_SIZE || k->type == CONF_MILLIS;
}

static void conf_sample_key(const struct conf *c, const struct conf_key *k, struct buf *out)
{
	unsigned depth = conf_dots(k->name);
	struct buf text = BUF_INIT;

	buf_printf(&text, "%s (", k->help);
	conf_type_text(k, &text);
	if (k->production != NULL)
		buf_printf(&text, "; in production by default %s", k->production);
	if (k->env[0] != '\0') {
		buf_addz(&text, "; ");
		conf_env_text(k, &text);
	}
	buf_addc(&text, ')');
	conf_comment(out, depth, buf_str(&text));
	buf_free(&text);
	conf_indent(out, depth);
	/* Spelled out, such a default would follow into production. */
	if (k->production != NULL)
		buf_addz(out, "# ");
	buf_printf(out, "%s: ", conf_last(k->name));
	if (conf_is_number(k))
		buf_addz(out, k->dflt);
	else
		conf_value_print(c, k, false, out);
	buf_addc(out, '\n');
}

void conf_sample(struct buf *out)
{
	struct buf report = BUF_INIT;
	struct conf *c = conf_load(NULL, false, NULL, 0, &report);
	const struct conf_section *s;
	size_t i;

	BUG_ON(c == NULL);
	buf_addz(out,
		 "# Configuration of aragorad: every key with its default; see aragora.yml(5).\n"
		 "# A file of your own needs only what differs. Durations are seconds, or 250ms, 5s, 15m, 2h, 1d;\n"
		 "# sizes are bytes, or 64KiB, 10MiB. Environment variables in brackets override the file.\n"
		 "#\n"
		 "# Generated from common/conf_table.c: CONF_REGENERATE=1 build/release/tests/unit/conf_test\n");
	for (s = conf_sections; s->name != NULL; s++) {
		if (conf_dots(s->name) == 0)
			buf_addc(out, '\n');
		conf_comment(out, conf_dots(s->name), str_of(s->help));
		conf_indent(out, conf_dots(s->name));
		buf_printf(out, "%s:\n", conf_last(s->name));
		for (i = 0; i < conf_table_size; i++)
			if (conf_belongs(&conf_table[i], s->name))
				conf_sample_key(c, &conf_table[i], out);
	}
	conf_unref(c);
	buf_free(&report);
}

void conf_each(void (*fn)(void *arg, const char *key, const char *type, const char *dflt, const char *env,
			  const char *help, bool reloadable, bool secret),
	       void *arg)
{
	struct buf type = BUF_INIT;
	struct buf dflt = BUF_INIT;
	size_t i;

	for (i = 0; i < conf_table_size; i++) {
		const struct conf_key *k = &conf_table[i];

		buf_clear(&type);
		buf_clear(&dflt);
		conf_type_text(k, &type);
		buf_addz(&dflt, k->dflt);
		if (k->production != NULL)
			buf_printf(&dflt, " (in production %s)", k->production);
		fn(arg, k->name, buf_str(&type).p, buf_str(&dflt).p, k->env, k->help, (k->flags & CONF_RELOAD) != 0,
		   (k->flags & CONF_SECRET) != 0);
	}
	buf_free(&type);
	buf_free(&dflt);
}
