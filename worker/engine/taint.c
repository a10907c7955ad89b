/* SPDX-License-Identifier: MIT */
/*
 * Scan for prompt injection by words near each other, whole phrases and fragments of commands. Called when a plan is
 * made and by whoever gathers material for prompts. Does not change text and knows no debate.
 */
#include "worker/engine/taint.h"

#include "common/json.h"

#define TAINT_WORD_MAX 24 /* longer words are cut: no row is as long */
#define TAINT_STAGES 3

/* What a word can mean here, as bits. */
enum {
	W_IGNORE = 1 << 0,
	W_PRIOR = 1 << 1,
	W_ORDERS = 1 << 2,
	W_LEAK = 1 << 3,
	W_SHOW = 1 << 4,
	W_SECRET = 1 << 5,
	W_FETCH = 1 << 6,
	W_COMMANDS = 1 << 7,
	W_RUN = 1 << 8,
	W_SHELL = 1 << 9,
	W_DISABLE = 1 << 10,
	W_SAFETY = 1 << 11,
	W_YOUR = 1 << 12,
};

/* Beginnings of words. A word takes the bits of every row that it begins with. */
static const struct {
	const char *stem;
	unsigned bits;
} taint_words[] = {
    {"ignor", W_IGNORE},
    {"disregard", W_IGNORE},
    {"forget", W_IGNORE},
    {"overrid", W_IGNORE | W_DISABLE},
    {"discard", W_IGNORE},
    {"supersede", W_IGNORE},
    {"previous", W_PRIOR},
    {"prior", W_PRIOR},
    {"above", W_PRIOR},
    {"earlier", W_PRIOR},
    {"preceding", W_PRIOR},
    {"former", W_PRIOR},
    {"your", W_PRIOR | W_YOUR},
    {"system", W_PRIOR | W_YOUR},
    {"all", W_PRIOR},
    {"any", W_PRIOR},
    {"other", W_PRIOR},
    {"instruction", W_ORDERS | W_COMMANDS},
    {"prompt", W_ORDERS},
    {"rule", W_ORDERS},
    {"guideline", W_ORDERS},
    {"directive", W_ORDERS},
    {"command", W_ORDERS | W_COMMANDS | W_SHELL},
    {"order", W_COMMANDS},
    {"payload", W_COMMANDS},
    {"reveal", W_LEAK},
    {"leak", W_LEAK},
    {"exfiltrat", W_LEAK},
    {"disclose", W_LEAK},
    {"steal", W_LEAK},
    {"dump", W_LEAK},
    {"send", W_SHOW},
    {"print", W_SHOW},
    {"output", W_SHOW},
    {"repeat", W_SHOW},
    {"show", W_SHOW},
    {"upload", W_SHOW},
    {"email", W_SHOW},
    {"forward", W_SHOW},
    {"password", W_SECRET},
    {"credential", W_SECRET},
    {"secret", W_SECRET},
    {"apikey", W_SECRET},
    {"key", W_SECRET},
    {"token", W_SECRET},
    {"prompt", W_SECRET},
    {"fetch", W_FETCH},
    {"download", W_FETCH},
    {"poll", W_FETCH},
    {"retrieve", W_FETCH},
    {"run", W_RUN},
    {"execute", W_RUN},
    {"invoke", W_RUN},
    {"launch", W_RUN},
    {"shell", W_SHELL},
    {"bash", W_SHELL},
    {"powershell", W_SHELL},
    {"terminal", W_SHELL},
    {"script", W_SHELL},
    {"disabl", W_DISABLE},
    {"bypass", W_DISABLE},
    {"deactivat", W_DISABLE},
    {"circumvent", W_DISABLE},
    {"safety", W_SAFETY},
    {"safeguard", W_SAFETY},
    {"guardrail", W_SAFETY},
    {"guard", W_SAFETY},
    {"filter", W_SAFETY},
    {"moderation", W_SAFETY},
    {"restriction", W_SAFETY},
    {"censor", W_SAFETY},
    {"alignment", W_SAFETY},
};

/* Words of these meanings after one another, each at most `window` words behind the one before it. */
static const struct taint_rule {
	enum taint class;
	unsigned window;
	unsigned stages[TAINT_STAGES]; /* ended by 0 */
} taint_rules[] = {
    {TAINT_OVERRIDE, 6, {W_IGNORE, W_PRIOR, W_ORDERS}},
    {TAINT_EXFILTRATION, 6, {W_LEAK, W_SECRET}},
    {TAINT_EXFILTRATION, 4, {W_SHOW, W_YOUR, W_SECRET}},
    {TAINT_CONTROL, 6, {W_FETCH, W_COMMANDS}},
    {TAINT_SHELL, 4, {W_RUN, W_SHELL}},
    {TAINT_GUARD, 4, {W_DISABLE, W_SAFETY}},
};

/* Whole words, as taint_normalise() writes them: lower case, one space between. */
static const struct {
	enum taint class;
	const char *text;
} taint_phrases[] = {
    {TAINT_OVERRIDE, " you are now "},
    {TAINT_OVERRIDE, " from now on you "},
    {TAINT_OVERRIDE, " new instructions "},
    {TAINT_OVERRIDE, " system prompt "},
    {TAINT_OVERRIDE, " do not follow the "},
    {TAINT_EXFILTRATION, " api keys to "},
    {TAINT_CONTROL, " reverse shell "},
    {TAINT_CONTROL, " command and control "},
    {TAINT_CONTROL, " c2 server "},
    {TAINT_CONTROL, " connect back to "},
    {TAINT_CONTROL, " await further "},
    {TAINT_GUARD, " turn off the safety "},
    {TAINT_GUARD, " developer mode "},
    {TAINT_GUARD, " do anything now "},
    {TAINT_GUARD, " jailbreak "},
    {TAINT_GUARD, " without any restrictions "},
};

/* As they stand, but for capitals. */
static const char *const taint_commands[] = {
    "rm -rf",       "curl http", "wget http",  "| sh",        "|sh",       "| bash",   "|bash", "/bin/sh", "/bin/bash",
    "powershell -", "cmd.exe",   "os.system(", "subprocess.", "base64 -d", "chmod +x", "eval(", "nc -e",   "$(curl",
};

/* As results and events name the classes. */
static const char *const taint_names[TAINT_MAX] = {"override", "exfiltration", "command_and_control", "shell",
						   "guard_rails"};

/* Length of a character that nobody sees (zero width, soft hyphen, word joiner, BOM), with which words are hidden. */
static size_t taint_invisible(struct str s, size_t i)
{
	static const char *const marks[] = {"\xC2\xAD",     "\xE2\x80\x8B", "\xE2\x80\x8C",
					    "\xE2\x80\x8D", "\xE2\x81\xA0", "\xEF\xBB\xBF"};
	size_t k;

	for (k = 0; k < countof(marks); k++)
		if (str_starts(str_sub(s, i, s.n), str_of(marks[k])))
			return strlen(marks[k]);
	return 0;
}

/* Full-width forms U+FF01 to U+FF5E are ASCII in other clothes; 0: not one. */
static char taint_full_width(struct str s, size_t i)
{
	unsigned char b, c;

	if (i + 2 >= s.n || (unsigned char)s.p[i] != 0xEF)
		return 0;
	b = (unsigned char)s.p[i + 1];
	c = (unsigned char)s.p[i + 2];
	if (b == 0xBC && c >= 0x81 && c <= 0xBF)
		return (char)(c - 0x81 + 0x21);
	if (b == 0xBD && c >= 0x80 && c <= 0x9E)
		return (char)(c - 0x80 + 0x60);
	return 0;
}

/* Lower case without what nobody sees. */
static void taint_lower(struct str text, struct buf *out)
{
	size_t i, n;
	char c;

	for (i = 0; i < text.n; i += n) {
		n = 1;
		c = text.p[i];
		if ((unsigned char)c >= 0x80) {
			n = taint_invisible(text, i);
			if (n > 0)
				continue;
			c = taint_full_width(text, i);
			n = c != 0 ? 3 : 1;
			c = c != 0 ? c : text.p[i];
		}
		buf_addc(out, (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c));
	}
}

static bool taint_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (unsigned char)c >= 0x80;
}

/* " word word word " */
static void taint_normalise(struct str lower, struct buf *out)
{
	bool gap = true;
	size_t i;

	buf_addc(out, ' ');
	for (i = 0; i < lower.n; i++) {
		if (taint_letter(lower.p[i])) {
			buf_addc(out, lower.p[i]);
			gap = false;
		} else if (!gap && lower.p[i] != '\'') {
			buf_addc(out, ' ');
			gap = true;
		}
	}
	if (!gap)
		buf_addc(out, ' ');
}

static unsigned taint_meaning(struct str word)
{
	unsigned bits = 0;
	size_t i;

	for (i = 0; word.p != NULL && i < countof(taint_words); i++)
		if (taint_words[i].stem[0] == word.p[0] && str_starts(word, str_of(taint_words[i].stem)))
			bits |= taint_words[i].bits;
	return bits;
}

/* Moves each rule along; at[] holds where a rule's stage was last reached, counted from 1, or 0. */
static unsigned taint_step(size_t at[countof(taint_rules)][TAINT_STAGES], unsigned bits, size_t now)
{
	unsigned found = 0;
	size_t r, s;

	for (r = 0; r < countof(taint_rules); r++) {
		const struct taint_rule *rule = &taint_rules[r];

		for (s = TAINT_STAGES; s-- > 0;) {
			if ((rule->stages[s] & bits) == 0)
				continue;
			if (s > 0 && (at[r][s - 1] == 0 || now - at[r][s - 1] > rule->window))
				continue;
			at[r][s] = now;
			if (s + 1 == TAINT_STAGES || rule->stages[s + 1] == 0)
				found |= 1U << rule->class;
		}
	}
	return found;
}

static unsigned taint_near(struct str words)
{
	size_t at[countof(taint_rules)][TAINT_STAGES] = {{0}}, now = 0;
	struct str word;
	unsigned bits, found = 0;

	while (str_split(&words, ' ', &word)) {
		if (word.n == 0)
			continue;
		now++;
		bits = taint_meaning(str_sub(word, 0, TAINT_WORD_MAX));
		if (bits != 0)
			found |= taint_step(at, bits, now);
	}
	return found;
}

unsigned taint_scan(struct str text)
{
	struct buf lower = BUF_INIT, words = BUF_INIT;
	unsigned found;
	size_t i;

	taint_lower(text, &lower);
	taint_normalise(buf_str(&lower), &words);
	found = taint_near(buf_str(&words));
	for (i = 0; i < countof(taint_phrases); i++)
		if (str_find(buf_str(&words), str_of(taint_phrases[i].text)) >= 0)
			found |= 1U << taint_phrases[i].class;
	for (i = 0; i < countof(taint_commands) && (found >> TAINT_SHELL & 1U) == 0; i++)
		if (str_find(buf_str(&lower), str_of(taint_commands[i])) >= 0)
			found |= 1U << TAINT_SHELL;
	buf_free(&words);
	buf_free(&lower);
	return found;
}

unsigned taint_count(json_t *counts, struct str text)
{
	unsigned found = taint_scan(text), i;

	for (i = 0; i < TAINT_MAX; i++)
		if ((found >> i & 1U) != 0)
			json_put_int(counts, taint_names[i], json_get_int(counts, taint_names[i], 0) + 1);
	return found;
}

void taint_add(json_t *to, const json_t *from)
{
	size_t i;

	for (i = 0; i < TAINT_MAX; i++)
		if (json_get_int(from, taint_names[i], 0) > 0)
			json_put_int(to, taint_names[i],
				     json_get_int(to, taint_names[i], 0) + json_get_int(from, taint_names[i], 0));
}
