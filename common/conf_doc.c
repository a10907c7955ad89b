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

/* "(integer from 0 to 9; VARIABLE)", or nothing when there is nothing to say. */
static void conf_remarks(const struct conf_key *k, struct buf *out)
{
	struct buf inner = BUF_INIT;

	if (k->type != CONF_TEXT || k->form != NULL)
		conf_type_text(k, &inner);
	if (k->production != NULL)
		buf_printf(&inner, "; in production by default %s", k->production);
	if (k->env[0] != '\0') {
		buf_addz(&inner, inner.n > 0 ? "; " : "");
		conf_env_text(k, &inner);
	}
	if (inner.n > 0)
		buf_printf(out, " (%.*s)", STR_ARG(buf_str(&inner)));
	buf_free(&inner);
}

static void conf_sample_key(const struct conf *c, const struct conf_key *k, struct buf *out)
{
	unsigned depth = conf_dots(k->name);
	struct buf text = BUF_INIT;

	buf_addz(&text, k->help);
	conf_remarks(k, &text);
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
		 "# sizes are bytes, or 64KiB, 10MiB. The environment variables in brackets override the file.\n"
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

/* ---- man/aragora.yml.5 ---- */

static const char conf_manual_head[] =
    ".\\\" Generated from common/conf_table.c: CONF_REGENERATE=1 build/release/tests/unit/conf_test\n"
    ".Dd November 21, 2026\n"
    ".Dt ARAGORA.YML 5\n"
    ".Os\n"
    ".Sh NAME\n"
    ".Nm aragora.yml\n"
    ".Nd configuration of aragorad\n"
    ".Sh DESCRIPTION\n"
    "The file given to\n"
    ".Xr aragorad 8\n"
    "with\n"
    ".Fl c\n"
    "is a YAML document of sections with settings.\n"
    "Whatever is not in it has its default.\n"
    "Anchors, aliases and tags are not accepted, and an unknown key is an error.\n"
    ".Pp\n"
    "A setting is taken, in this order, from the command line, from the environment, from the file, from the default.\n"
    "Durations are seconds, or a number with a unit:\n"
    ".Ql 250ms ,\n"
    ".Ql 5s ,\n"
    ".Ql 15m ,\n"
    ".Ql 2h ,\n"
    ".Ql 1d .\n"
    "Sizes are bytes, or a number with\n"
    ".Ql KiB ,\n"
    ".Ql MiB\n"
    "or\n"
    ".Ql GiB .\n"
    "Lists are YAML lists, or one text with commas.\n"
    ".Pp\n"
    "All mistakes are reported at once, one in a line, with the place:\n"
    "file, line and column, the name of the variable, or the command line.\n"
    "A reload with a mistake changes nothing.\n"
    ".Sh SETTINGS\n";

static const char conf_manual_tail[] =
    ".Sh ENVIRONMENT\n"
    "The variables named above override the file.\n"
    "They are those of the start; a reload does not see later ones.\n"
    "An empty variable counts as not set.\n"
    "Where two are named, the first that is set wins.\n"
    ".Pp\n"
    "A secret may also come from a file, whose path is in the variable of the same name with\n"
    ".Ql _FILE\n"
    "at its end.\n"
    "Blanks and line ends around it are removed.\n"
    "A file that everybody may read is refused, except under\n"
    ".Pa /run/secrets\n"
    "and\n"
    ".Pa /var/run/secrets .\n"
    ".Pp\n"
    "With systemd credentials\n"
    ".Pq Ev CREDENTIALS_DIRECTORY , see Xr systemd.exec 5\n"
    "each secret is read from a credential named as its key, such as\n"
    ".Ql LoadCredential=auth.jwt_secret:/etc/aragora/secrets/jwt_secret ;\n"
    "a variable comes before it.\n"
    ".Pp\n"
    "When\n"
    ".Ev OPENAI_BASE_URL\n"
    "is set,\n"
    ".Ev OPENAI_API_KEY\n"
    "is the key of that server and not of OpenAI.\n"
    ".Pp\n"
    ".Ev PORT ,\n"
    ".Ev HOST ,\n"
    ".Ev WS_PORT ,\n"
    ".Ev API_PORT\n"
    "and\n"
    ".Ev NODE_ENV\n"
    "are not read.\n"
    ".Sh FILES\n"
    ".Bl -tag -width Ds\n"
    ".It Pa /etc/aragora/aragora.yml\n"
    "Where packages put the file.\n"
    ".It Pa conf/aragora.yml\n"
    "In the source: every key with its default.\n"
    ".El\n"
    ".Sh EXAMPLES\n"
    "A team's server behind a proxy:\n"
    ".Bd -literal -offset indent\n"
    "server:\n"
    "  env: production\n"
    "  bind: [\"127.0.0.1:8080\"]\n"
    "storage:\n"
    "  data_dir: /var/lib/aragora\n"
    "cors:\n"
    "  allowed_origins: [\"https://debates.example.org\"]\n"
    ".Ed\n"
    ".Pp\n"
    "with\n"
    ".Ev ARAGORA_API_TOKEN\n"
    "and\n"
    ".Ev ANTHROPIC_API_KEY\n"
    "in the environment.\n"
    ".Sh SEE ALSO\n"
    ".Xr aragorad 8\n";

/* One or more sentences: each on a line of its own, as mdoc wants it, and nothing taken for a macro. */
static void conf_manual_text(struct buf *out, const char *text)
{
	const char *p;

	if (*text == '.' || *text == '\'')
		buf_addz(out, "\\&");
	for (p = text; *p != '\0'; p++) {
		if (*p == '\\')
			buf_addz(out, "\\e");
		else if (*p == ' ' && p > text && p[-1] == '.')
			buf_addc(out, '\n');
		else
			buf_addc(out, *p);
	}
	buf_addc(out, '\n');
}

static void conf_manual_env(struct buf *out, const struct conf_key *k)
{
	struct str rest = str_of(k->env);
	struct str one;

	if (rest.n == 0)
		return;
	buf_addz(out, "Environment:\n");
	while (str_split(&rest, ' ', &one))
		buf_printf(out, ".Ev %.*s %s\n", STR_ARG(one), rest.n > 0 ? "," : ".");
}

static void conf_manual_key(struct buf *out, const struct conf_key *k)
{
	struct buf type = BUF_INIT;

	buf_printf(out, ".It Ic %s\n", k->name);
	conf_manual_text(out, k->help);
	conf_type_text(k, &type);
	buf_printf(out, "Value: %.*s.\n", STR_ARG(buf_str(&type)));
	buf_free(&type);
	if (k->dflt[0] == '\0')
		buf_addz(out, "Default: empty");
	else
		buf_printf(out, "Default: \\(lq%s\\(rq", k->dflt);
	if (k->production != NULL)
		buf_printf(out, ", in production \\(lq%s\\(rq", k->production);
	buf_addz(out, ".\n");
	conf_manual_env(out, k);
	if ((k->flags & CONF_RELOAD) == 0)
		buf_addz(out, "A reload cannot change it.\n");
}

void conf_manual(struct buf *out)
{
	const struct conf_section *s;
	bool open;
	size_t i;

	buf_addz(out, conf_manual_head);
	for (s = conf_sections; s->name != NULL; s++) {
		buf_printf(out, ".Ss %s\n", s->name);
		conf_manual_text(out, s->help);
		open = false;
		for (i = 0; i < conf_table_size; i++) {
			if (!conf_belongs(&conf_table[i], s->name))
				continue;
			if (!open)
				buf_addz(out, ".Bl -tag -width Ds\n");
			open = true;
			conf_manual_key(out, &conf_table[i]);
		}
		if (open)
			buf_addz(out, ".El\n");
	}
	buf_addz(out, conf_manual_tail);
}

/* ---- checks ---- */

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
