/* SPDX-License-Identifier: MIT */
/*
 * From a model's reply to values: first as labelled lines, then as JSON. Called by the engine's decode functions.
 * Decides nothing: an unreadable choice is reported, never guessed (it would favour whoever stands first).
 */
#include "worker/engine/parse.h"

#include "common/json.h"

#define PARSE_FIELDS_MAX 5
#define PARSE_CHOICE_MAX 200 /* bytes of a choice that are looked at */
#define PARSE_MICRO 1000000

/* Names of one field, the first is the one asked for. */
struct parse_key {
	const char *names[6];
};

struct parse_doc {
	struct str fields[PARSE_FIELDS_MAX];   /* p == NULL: absent */
	const json_t *lists[PARSE_FIELDS_MAX]; /* the JSON array behind it, if any */
};

/* ---- numbers ---- */

static bool parse_is_digit(struct str s, size_t i)
{
	return i < s.n && s.p[i] >= '0' && s.p[i] <= '9';
}

static bool parse_is_alnum(struct str s, size_t i)
{
	return parse_is_digit(s, i) || (i < s.n && ((s.p[i] >= 'a' && s.p[i] <= 'z') ||
						    (s.p[i] >= 'A' && s.p[i] <= 'Z') || (s.p[i] & 0x80) != 0));
}

/* The first decimal number from *i on, in millionths. */
static bool parse_number(struct str s, size_t *i, int64_t *micro, bool *point)
{
	size_t k = *i;
	int64_t scale = PARSE_MICRO / 10;
	bool minus;

	while (k < s.n && !parse_is_digit(s, k) && !(s.p[k] == '.' && parse_is_digit(s, k + 1)))
		k++;
	if (k >= s.n)
		return false;
	minus = k > 0 && s.p[k - 1] == '-';
	*micro = 0;
	for (; parse_is_digit(s, k); k++)
		if (*micro < INT64_C(1000000000))
			*micro = *micro * 10 + (s.p[k] - '0');
	*micro *= PARSE_MICRO;
	*point = k < s.n && (s.p[k] == '.' || s.p[k] == ',') && parse_is_digit(s, k + 1);
	for (k += *point; *point && parse_is_digit(s, k); k++, scale /= 10)
		*micro += scale * (s.p[k] - '0');
	if (minus)
		*micro = 0;
	*i = k;
	return true;
}

static int64_t parse_clamp(int64_t v, int64_t max)
{
	return v < 0 ? 0 : v > max ? max : v;
}

/* What follows the number: "/ 10", "%" or nothing. The divisor in millionths, 0 if none. */
static int64_t parse_divisor(struct str s, size_t i)
{
	int64_t d;
	bool point;

	while (i < s.n && s.p[i] == ' ')
		i++;
	if (i < s.n && s.p[i] == '%')
		return 100 * (int64_t)PARSE_MICRO;
	if (i < s.n && s.p[i] == '/' && parse_number(s, &i, &d, &point) && d > 0)
		return d;
	return 0;
}

bool parse_confidence(struct str s, int64_t *ppm)
{
	int64_t v, d;
	size_t i = 0;
	bool point;

	s = str_sub(s, 0, PARSE_CHOICE_MAX);
	if (!parse_number(s, &i, &v, &point))
		return false;
	d = parse_divisor(s, i);
	if (d == 0)
		d = v <= PARSE_MICRO        ? PARSE_MICRO
		    : v <= 10 * PARSE_MICRO ? 10 * PARSE_MICRO
					    : 100 * (int64_t)PARSE_MICRO;
	*ppm = parse_clamp(v > INT64_MAX / PARSE_MICRO ? PARSE_MICRO : v * PARSE_MICRO / d, PARSE_MICRO);
	return true;
}

static int64_t parse_severity(struct str s)
{
	static const struct {
		const char *word;
		int64_t milli;
	} words[] = {{"critical", 9000}, {"severe", 8000}, {"major", 8000}, {"high", 8000}, {"moderate", 5000},
		     {"medium", 5000},   {"minor", 2000},  {"low", 2000},   {"none", 0}};
	int64_t v, d;
	size_t i = 0;
	bool point;

	s = str_sub(s, 0, PARSE_CHOICE_MAX);
	if (parse_number(s, &i, &v, &point)) {
		d = parse_divisor(s, i);
		if (d == 0) /* "0.7" is of one, "7" and "1" are of ten */
			d = point && v <= PARSE_MICRO ? PARSE_MICRO : 10 * PARSE_MICRO;
		return parse_clamp(v > INT64_MAX / 10000 ? 10000 : v * 10000 / d, 10000);
	}
	for (i = 0; i < countof(words); i++)
		if (str_ifind(s, str_of(words[i].word)) >= 0)
			return words[i].milli;
	return 5000;
}

/* ---- labels ---- */

static size_t parse_skip(struct str s, size_t i, const char *set)
{
	while (i < s.n && s.p[i] != '\0' && strchr(set, s.p[i]) != NULL)
		i++;
	return i;
}

/* A label at *i: "P2", "Proposal 2", "#2", and if `bare` also "2". Moves *i behind it. */
static bool parse_label_at(struct str s, size_t *i, bool bare, size_t *number)
{
	static const char *const words[] = {"proposal", "option", "candidate", "choice", "answer", "position"};
	size_t k = parse_skip(s, *i, " \t*_`'\"([{<"), w, v = 0, from;

	for (w = 0; w < countof(words); w++)
		if (str_istarts(str_sub(s, k, s.n), str_of(words[w]))) {
			k = parse_skip(s, k + strlen(words[w]), " \t*_`:#");
			bare = true;
			break;
		}
	if (k < s.n && s.p[k] == '#') {
		bare = true;
		k++;
	}
	if (k < s.n && (s.p[k] == 'p' || s.p[k] == 'P') && parse_is_digit(s, k + 1)) {
		bare = true;
		k++;
	}
	for (from = k; parse_is_digit(s, k) && k - from < 4; k++)
		v = v * 10 + (size_t)(s.p[k] - '0');
	if (!bare || k == from || parse_is_alnum(s, k))
		return false;
	*i = k;
	*number = v;
	return true;
}

/* Is the label that ends at i one of several: "P1 or P2", "P1/P2"? */
static bool parse_label_goes_on(struct str s, size_t i, size_t number)
{
	static const char *const joints[] = {"or", "and", "/", ",", "&", "+"};
	size_t j, other;

	i = parse_skip(s, i, " \t*_`'\")]}>.");
	for (j = 0; j < countof(joints); j++)
		if (str_istarts(str_sub(s, i, s.n), str_of(joints[j]))) {
			i += strlen(joints[j]);
			return parse_label_at(s, &i, false, &other) && other != number;
		}
	return false;
}

bool parse_label(struct str s, size_t n, size_t *index)
{
	size_t i = 0, number = 0, found = 0;

	s = str_sub(str_trim(s), 0, PARSE_CHOICE_MAX);
	if (parse_label_at(s, &i, true, &found)) {
		if (parse_label_goes_on(s, i, found))
			return false;
	} else {
		for (i = 0; i < s.n; i++) {
			size_t k = i;

			if ((i > 0 && parse_is_alnum(s, i - 1)) || !parse_label_at(s, &k, false, &number))
				continue;
			if (found != 0 && found != number)
				return false;
			found = number;
			i = k - 1;
		}
	}
	if (found < 1 || found > n)
		return false;
	*index = found - 1;
	return true;
}

/* ---- fields ---- */

static struct str parse_line(struct str text, size_t *at)
{
	struct str rest = str_sub(text, *at, text.n);
	ptrdiff_t end = str_chr(rest, '\n');
	struct str line = end < 0 ? rest : str_sub(rest, 0, (size_t)end);

	*at += line.n + (end >= 0);
	return line;
}

/* If the line opens with one of the key's names, where its value begins in the line; else -1. */
static ptrdiff_t parse_match(struct str line, const struct parse_key *key)
{
	size_t start = parse_skip(line, 0, " \t#*_>-`"), i, k, end;

	if (parse_is_digit(line, start))
		start = parse_skip(line, parse_skip(line, start, "0123456789"), ".) \t*_");
	for (i = 0; i < countof(key->names) && key->names[i] != NULL; i++) {
		if (!str_istarts(str_sub(line, start, line.n), str_of(key->names[i])))
			continue;
		k = start + strlen(key->names[i]);
		end = parse_skip(line, k, "*_` \t\r");
		if (end < line.n && (line.p[end] == ':' || line.p[end] == '='))
			return (ptrdiff_t)parse_skip(line, end + 1, "*_` \t");
		if (end == line.n && start > 0) /* a heading: "## Issues" */
			return (ptrdiff_t)end;
	}
	return -1;
}

/* A field goes from behind its key to the next line with a key. The first field of a name counts. */
static void parse_lines(struct str text, const struct parse_key *keys, size_t n, struct parse_doc *doc)
{
	size_t at = 0, open = n, from = 0, k;
	ptrdiff_t value = -1;

	while (at < text.n) {
		size_t begin = at;
		struct str line = parse_line(text, &at);

		for (k = 0; k < n && (value = parse_match(line, &keys[k])) < 0; k++)
			;
		if (k == n)
			continue;
		if (open < n && doc->fields[open].p == NULL)
			doc->fields[open] = str_trim(str_sub(text, from, begin));
		open = k;
		from = begin + (size_t)value;
	}
	if (open < n && doc->fields[open].p == NULL)
		doc->fields[open] = str_trim(str_sub(text, from, text.n));
}

static struct str parse_scalar(struct arena *a, const json_t *v)
{
	if (json_is_string(v))
		return str_trim((struct str){json_string_value(v), json_string_length(v)});
	if (json_is_integer(v))
		return arena_printf(a, "%lld", (long long)json_integer_value(v));
	if (json_is_real(v))
		return arena_printf(a, "%.6f", json_real_value(v));
	return json_is_boolean(v) ? (json_is_true(v) ? STR("yes") : STR("no")) : STR_NONE;
}

static void parse_object(struct arena *a, struct str text, const struct parse_key *keys, size_t n,
			 struct parse_doc *doc)
{
	struct str found = json_find_object(text);
	struct error err = ERROR_INIT;
	json_t *obj = found.p != NULL ? json_parse(a, found, &err) : NULL, *v;
	const char *name;
	size_t k, i;

	json_object_foreach(obj, name, v)
	{
		for (k = 0; k < n; k++)
			for (i = 0; i < countof(keys[k].names) && keys[k].names[i] != NULL; i++)
				if (doc->fields[k].p == NULL && str_ieqz(str_of(name), keys[k].names[i])) {
					doc->fields[k] = json_is_array(v) ? STR("") : parse_scalar(a, v);
					doc->lists[k] = json_is_array(v) ? v : NULL;
				}
	}
}

/* Lines first; JSON where the key that matters, the first, is not among them. */
static void parse_read(struct arena *a, struct str text, const struct parse_key *keys, size_t n, struct parse_doc *doc)
{
	*doc = (struct parse_doc){0};
	parse_lines(text, keys, n, doc);
	if (doc->fields[0].p == NULL)
		parse_object(a, text, keys, n, doc);
}

static struct str parse_text(struct str s, size_t max)
{
	return s.p != NULL ? str_utf8_cut(s, max) : STR("");
}

/* ---- replies ---- */

struct str parse_position(struct str text)
{
	static const struct parse_key key = {{"position"}};
	struct str line, first = STR("");
	size_t at = 0;

	while (at < text.n) {
		ptrdiff_t value;

		line = parse_line(text, &at);
		value = parse_match(line, &key);
		if (value >= 0 && (size_t)value < line.n)
			return parse_text(str_trim(str_sub(line, (size_t)value, line.n)), PARSE_POSITION_MAX);
		line = str_trim(str_sub(line, parse_skip(line, 0, " \t#*_>-`"), line.n));
		if (first.n == 0)
			first = line;
	}
	return parse_text(first, PARSE_POSITION_MAX);
}

bool parse_stated_confidence(struct str text, int64_t *ppm)
{
	static const struct parse_key key = {{"confidence", "overall confidence"}};
	struct parse_doc doc = {0};

	parse_lines(text, &key, 1, &doc);
	return doc.fields[0].n > 0 && parse_confidence(doc.fields[0], ppm);
}

bool parse_ready(struct str text)
{
	static const struct parse_key key = {{"ready"}};
	struct parse_doc doc = {0};

	parse_lines(text, &key, 1, &doc);
	return str_istarts(doc.fields[0], STR("y")) || str_istarts(doc.fields[0], STR("true"));
}

/* Where the last line that is not empty begins. */
static size_t parse_last_line(struct str text)
{
	size_t at = text.n;

	while (at > 0 && text.p[at - 1] != '\n')
		at--;
	return at;
}

struct str parse_body(struct str text)
{
	static const struct parse_key keys[] = {{{"ready"}}, {{"confidence", "overall confidence"}}};
	size_t at;

	text = str_trim(text);
	while (text.n > 0) {
		at = parse_last_line(text);
		if (parse_match(str_sub(text, at, text.n), &keys[0]) < 0 &&
		    parse_match(str_sub(text, at, text.n), &keys[1]) < 0)
			break;
		if (at == 0) /* nothing else is there */
			break;
		text = str_trim(str_sub(text, 0, at));
	}
	return text;
}

bool parse_vote(struct arena *a, struct str text, size_t n, struct parse_vote *out)
{
	static const struct parse_key keys[] = {
	    {{"choice", "vote", "winner", "selection", "my choice", "best proposal"}},
	    {{"confidence"}},
	    {{"continue", "continue_debate", "continue debate"}},
	    {{"reasoning", "reason", "rationale", "reasons", "justification", "explanation"}}};
	struct parse_doc doc;
	bool more = true;

	parse_read(a, text, keys, countof(keys), &doc);
	if (doc.fields[0].p == NULL && str_trim(text).n <= 40)
		doc.fields[0] = text; /* nothing but the label */
	if (doc.fields[0].p == NULL)
		return false;
	if (str_chr(doc.fields[0], '\n') >= 0)
		doc.fields[0] = str_sub(doc.fields[0], 0, (size_t)str_chr(doc.fields[0], '\n'));
	if (!parse_label(doc.fields[0], n, &out->choice))
		return false;
	if (doc.fields[1].p == NULL || !parse_confidence(doc.fields[1], &out->confidence_ppm))
		out->confidence_ppm = PARSE_CONFIDENCE_DEFAULT;
	if (doc.fields[2].p != NULL)
		more = !str_istarts(doc.fields[2], STR("n")) && !str_istarts(doc.fields[2], STR("false")) &&
		       !str_starts(doc.fields[2], STR("0"));
	out->continue_debate = more;
	out->reasoning = parse_text(doc.fields[3], PARSE_REASON_MAX);
	return true;
}

/* Without "- ", "* ", "• ", "1. ", "2) ". *bullet tells whether there was one. */
static struct str parse_item(struct str line, bool *bullet)
{
	size_t i;

	line = str_trim(line);
	*bullet = true;
	if (str_starts(line, STR("- ")) || str_starts(line, STR("* ")) || str_starts(line, STR("+ ")))
		return str_trim(str_sub(line, 2, line.n));
	if (str_starts(line, STR("•")))
		return str_trim(str_sub(line, sizeof("•") - 1, line.n));
	i = parse_skip(line, 0, "0123456789");
	if (i > 0 && i < line.n && (line.p[i] == '.' || line.p[i] == ')') && i + 1 < line.n && line.p[i + 1] == ' ')
		return str_trim(str_sub(line, i + 2, line.n));
	*bullet = false;
	return line;
}

static void parse_add_item(json_t *list, struct str item)
{
	item = str_trim(item);
	if (item.n > 0 && json_array_size(list) < PARSE_LIST_MAX && !str_ieqz(item, "none") && !str_ieqz(item, "none."))
		json_array_append_new(list, json_str(str_utf8_cut(item, PARSE_ITEM_MAX)));
}

/* Lines of a section; a line without bullet continues the item before it, if the section has bullets. */
static json_t *parse_section(struct arena *a, struct str text)
{
	json_t *list = json_own(a, json_array());
	struct str item = STR("");
	bool bullet, any = false;
	size_t at = 0;

	while (at < text.n) {
		struct str line = parse_item(parse_line(text, &at), &bullet);

		if (line.n == 0)
			continue;
		if (bullet || !any) {
			parse_add_item(list, item);
			item = line;
			any = any || bullet;
		} else {
			item.n = (size_t)(line.p + line.n - item.p);
		}
	}
	parse_add_item(list, item);
	return list;
}

static json_t *parse_array(struct arena *a, const json_t *array)
{
	static const char *const members[] = {"text", "issue", "description", "suggestion", "title"};
	json_t *list = json_own(a, json_array());
	size_t i, k;

	for (i = 0; i < json_array_size(array); i++) {
		const json_t *v = json_array_get(array, i);

		for (k = 0; json_is_object(v) && k < countof(members); k++)
			if (json_is_string(json_object_get(v, members[k])))
				v = json_object_get(v, members[k]);
		if (json_is_string(v))
			parse_add_item(list, parse_scalar(a, v));
	}
	return list;
}

static json_t *parse_list(struct arena *a, const struct parse_doc *doc, size_t field)
{
	return doc->lists[field] != NULL ? parse_array(a, doc->lists[field]) : parse_section(a, doc->fields[field]);
}

void parse_critique(struct arena *a, struct str text, struct parse_critique *out)
{
	static const struct parse_key keys[] = {{{"issues", "issue", "problems", "concerns", "weaknesses", "flaws"}},
						{{"suggestions", "suggestion", "recommendations", "improvements"}},
						{{"severity", "overall severity", "severity score"}},
						{{"reasoning", "reason", "rationale", "summary"}}};
	struct parse_doc doc;

	parse_read(a, text, keys, countof(keys), &doc);
	out->issues = parse_list(a, &doc, 0);
	out->suggestions = parse_list(a, &doc, 1);
	out->severity_milli = doc.fields[2].p != NULL ? parse_severity(doc.fields[2]) : 5000;
	out->reasoning = parse_text(doc.fields[3], PARSE_REASON_MAX);
	if (doc.fields[0].p == NULL && doc.fields[1].p == NULL && doc.fields[2].p == NULL)
		parse_add_item(out->issues, str_utf8_cut(str_trim(text), PARSE_ITEM_MAX));
}

bool parse_judge(struct arena *a, struct str text, size_t n, struct parse_judge *out)
{
	static const struct parse_key keys[] = {{{"winner", "choice", "verdict", "decision"}},
						{{"confidence"}},
						{{"reasoning", "reason", "rationale", "key reasons", "reasons"}},
						{{"unresolved", "open questions", "open points"}},
						{{"answer", "final answer", "final_answer", "conclusion"}}};
	struct parse_doc doc;

	parse_read(a, text, keys, countof(keys), &doc);
	if (doc.fields[0].p == NULL)
		return false;
	if (str_chr(doc.fields[0], '\n') >= 0)
		doc.fields[0] = str_sub(doc.fields[0], 0, (size_t)str_chr(doc.fields[0], '\n'));
	if (!parse_label(doc.fields[0], n, &out->winner))
		return false;
	if (doc.fields[1].p == NULL || !parse_confidence(doc.fields[1], &out->confidence_ppm))
		out->confidence_ppm = PARSE_CONFIDENCE_DEFAULT;
	out->reasoning = parse_text(doc.fields[2], PARSE_REASON_MAX);
	out->unresolved = parse_text(doc.fields[3], PARSE_REASON_MAX);
	out->answer = doc.fields[4].p != NULL ? doc.fields[4] : STR("");
	return true;
}
