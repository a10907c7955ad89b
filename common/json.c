/* SPDX-License-Identifier: MIT */
/*
 * Scanner, parser, writer and accessors for JSON. Called by whoever reads or answers JSON, mostly on a coroutine's
 * stack: the scanner and the writer do not recurse, and jansson sees no text before the scanner has bounded its depth.
 * Deliberately without schemas: they are the caller's tables.
 */
#include "common/json.h"

#include <inttypes.h>
#include <math.h>

#include "common/clock.h"

/* Documents of ours wrap what came from outside in a few more levels than a client may send. */
#define JSON_WRITE_DEPTH (2 * JSON_DEPTH_MAX)
#define JSON_SMALL 32 /* members of an object that is sorted in place */

/* The scanner. */

enum json_expect {
	JSON_EXPECT_VALUE,
	JSON_EXPECT_ITEM_OR_END, /* directly behind '[' */
	JSON_EXPECT_KEY_OR_END,  /* directly behind '{' */
	JSON_EXPECT_KEY,         /* behind ',' in an object */
	JSON_EXPECT_COLON,
	JSON_EXPECT_NEXT, /* ',' or the end of the container */
	JSON_EXPECT_DONE,
};

enum json_fault { JSON_FAULT_NONE, JSON_FAULT_SYNTAX, JSON_FAULT_TRUNCATED, JSON_FAULT_LIMIT };

struct json_scanner {
	struct str text;
	size_t at;
	unsigned depth;
	bool is_object[JSON_DEPTH_MAX];
	unsigned members, members_max;
	bool saw_key; /* a key and its colon: this is meant to be an object */
	enum json_expect expect;
	enum json_fault fault;
	const char *what;
};

_Static_assert(JSON_DEPTH_MAX >= 1, "a container needs a level");

/* At the end of the text any complaint means that more was expected. */
static bool json_fail(struct json_scanner *s, const char *what)
{
	s->fault = s->at < s->text.n ? JSON_FAULT_SYNTAX : JSON_FAULT_TRUNCATED;
	s->what = s->at < s->text.n ? what : "unexpected end of text";
	return false;
}

static bool json_fail_limit(struct json_scanner *s, const char *what)
{
	s->fault = JSON_FAULT_LIMIT;
	s->what = what;
	return false;
}

/* The byte at the position, or a NUL, which is nowhere allowed in JSON, behind the end. */
static char json_peek(const struct json_scanner *s)
{
	return s->at < s->text.n ? s->text.p[s->at] : '\0';
}

static bool json_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static void json_skip_space(struct json_scanner *s)
{
	while (s->at < s->text.n) {
		char c = s->text.p[s->at];

		if (c != ' ' && c != '\t' && c != '\n' && c != '\r')
			return;
		s->at++;
	}
}

static bool json_scan_hex4(struct json_scanner *s, unsigned *unit)
{
	*unit = 0;
	for (int i = 0; i < 4; i++) {
		char c = json_peek(s);

		if (json_is_digit(c))
			*unit = *unit * 16 + (unsigned)(c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			*unit = *unit * 16 + (unsigned)((c | 0x20) - 'a') + 10;
		else
			return json_fail(s, "\\u needs four hexadecimal digits");
		s->at++;
	}
	return true;
}

static bool json_scan_escape(struct json_scanner *s)
{
	unsigned unit;
	char c;

	s->at++;
	c = json_peek(s);
	if (c == '\0' || strchr("\"\\/bfnrtu", c) == NULL)
		return json_fail(s, "unknown escape in string");
	s->at++;
	if (c != 'u')
		return true;
	if (!json_scan_hex4(s, &unit))
		return false;
	if (unit >= 0xdc00 && unit <= 0xdfff)
		return json_fail(s, "low surrogate without a high one");
	if (unit < 0xd800 || unit > 0xdbff)
		return true;
	for (const char *want = "\\u"; *want != '\0'; want++) {
		if (json_peek(s) != *want)
			return json_fail(s, "high surrogate without a low one");
		s->at++;
	}
	if (!json_scan_hex4(s, &unit))
		return false;
	return (unit >= 0xdc00 && unit <= 0xdfff) || json_fail(s, "high surrogate without a low one");
}

static bool json_scan_string(struct json_scanner *s)
{
	s->at++;
	while (s->at < s->text.n) {
		unsigned char c = (unsigned char)s->text.p[s->at];
		size_t step = 1;

		if (c == '"') {
			s->at++;
			return true;
		}
		if (c == '\\') {
			if (!json_scan_escape(s))
				return false;
			continue;
		}
		if (c < 0x20)
			return json_fail(s, "control character in string");
		if (c >= 0x80)
			step = str_utf8_step(str_sub(s->text, s->at, s->text.n));
		if (step == 0)
			return json_fail(s, "string is not valid UTF-8");
		s->at += step;
	}
	return json_fail(s, "string has no end");
}

static bool json_scan_digits(struct json_scanner *s)
{
	if (!json_is_digit(json_peek(s)))
		return json_fail(s, "number needs a digit here");
	while (json_is_digit(json_peek(s)))
		s->at++;
	return true;
}

static bool json_scan_number(struct json_scanner *s)
{
	if (json_peek(s) == '-')
		s->at++;
	if (json_peek(s) == '0') {
		s->at++;
		if (json_is_digit(json_peek(s)))
			return json_fail(s, "number begins with 0");
	} else if (!json_scan_digits(s)) {
		return false;
	}
	if (json_peek(s) == '.') {
		s->at++;
		if (!json_scan_digits(s))
			return false;
	}
	if ((json_peek(s) | 0x20) == 'e') {
		s->at++;
		if (json_peek(s) == '+' || json_peek(s) == '-')
			s->at++;
		return json_scan_digits(s);
	}
	return true;
}

static bool json_scan_word(struct json_scanner *s, const char *word)
{
	for (; *word != '\0'; word++) {
		if (json_peek(s) != *word)
			return json_fail(s, "unknown word");
		s->at++;
	}
	return true;
}

static bool json_scan_open(struct json_scanner *s, bool is_object)
{
	if (s->depth == JSON_DEPTH_MAX)
		return json_fail_limit(s, "nested too deeply");
	s->is_object[s->depth++] = is_object;
	s->at++;
	s->expect = is_object ? JSON_EXPECT_KEY_OR_END : JSON_EXPECT_ITEM_OR_END;
	return true;
}

static void json_scan_closed(struct json_scanner *s)
{
	s->expect = s->depth == 0 ? JSON_EXPECT_DONE : JSON_EXPECT_NEXT;
}

static bool json_count_member(struct json_scanner *s)
{
	return ++s->members <= s->members_max || json_fail_limit(s, "too many members");
}

static bool json_scan_value(struct json_scanner *s)
{
	char c = json_peek(s);
	bool ok;

	/* Members of objects are counted at their key. */
	if (s->depth != 0 && !s->is_object[s->depth - 1] && !json_count_member(s))
		return false;
	if (c == '{' || c == '[')
		return json_scan_open(s, c == '{');
	if (c == '"')
		ok = json_scan_string(s);
	else if (c == '-' || json_is_digit(c))
		ok = json_scan_number(s);
	else if (c == 't')
		ok = json_scan_word(s, "true");
	else if (c == 'f')
		ok = json_scan_word(s, "false");
	else if (c == 'n')
		ok = json_scan_word(s, "null");
	else
		ok = json_fail(s, "value expected");
	json_scan_closed(s);
	return ok;
}

static bool json_scan_key(struct json_scanner *s)
{
	if (json_peek(s) != '"')
		return json_fail(s, "string expected as key");
	s->expect = JSON_EXPECT_COLON;
	return json_count_member(s) && json_scan_string(s);
}

static bool json_scan_colon(struct json_scanner *s)
{
	if (json_peek(s) != ':')
		return json_fail(s, "':' expected");
	s->at++;
	s->saw_key = true;
	s->expect = JSON_EXPECT_VALUE;
	return true;
}

static bool json_scan_end(struct json_scanner *s)
{
	s->at++;
	s->depth--;
	json_scan_closed(s);
	return true;
}

static bool json_scan_next(struct json_scanner *s)
{
	bool is_object = s->is_object[s->depth - 1];
	char c = json_peek(s);

	if (c == (is_object ? '}' : ']'))
		return json_scan_end(s);
	if (c != ',')
		return json_fail(s, is_object ? "',' or '}' expected" : "',' or ']' expected");
	s->at++;
	s->expect = is_object ? JSON_EXPECT_KEY : JSON_EXPECT_VALUE;
	return true;
}

static bool json_scan_token(struct json_scanner *s)
{
	switch (s->expect) {
	case JSON_EXPECT_ITEM_OR_END:
		return json_peek(s) == ']' ? json_scan_end(s) : json_scan_value(s);
	case JSON_EXPECT_KEY_OR_END:
		return json_peek(s) == '}' ? json_scan_end(s) : json_scan_key(s);
	case JSON_EXPECT_KEY:
		return json_scan_key(s);
	case JSON_EXPECT_COLON:
		return json_scan_colon(s);
	case JSON_EXPECT_NEXT:
		return json_scan_next(s);
	case JSON_EXPECT_VALUE:
	case JSON_EXPECT_DONE:
		break;
	}
	return json_scan_value(s);
}

/* One value beginning at s->at; afterwards s->at stands behind it, or where it broke. */
static bool json_scan_one(struct json_scanner *s)
{
	s->expect = JSON_EXPECT_VALUE;
	while (s->expect != JSON_EXPECT_DONE) {
		json_skip_space(s);
		if (!json_scan_token(s))
			return false;
	}
	return true;
}

/* Columns are counted in characters, as editors do. */
static bool json_report(const struct json_scanner *s, struct error *err)
{
	unsigned line = 1, column = 1;

	for (size_t i = 0; i < s->at && i < s->text.n; i++) {
		if (s->text.p[i] == '\n') {
			line++;
			column = 1;
		} else if (((unsigned char)s->text.p[i] & 0xc0) != 0x80) {
			column++;
		}
	}
	return error_set(err, ERR_INVALID_JSON, "%s at line %u column %u", s->what, line, column);
}

static bool json_scan_all(struct str text, unsigned members_max, struct error *err)
{
	struct json_scanner s = {.text = text, .members_max = members_max};

	if (json_scan_one(&s)) {
		json_skip_space(&s);
		if (s.at == text.n)
			return true;
		json_fail(&s, "nothing may follow the value");
	}
	return json_report(&s, err);
}

bool json_scan(struct str text, struct error *err)
{
	return json_scan_all(text, JSON_MEMBERS_MAX, err);
}

json_t *json_parse(struct arena *a, struct str text, struct error *err)
{
	return json_parse_large(a, text, JSON_MEMBERS_MAX, err);
}

json_t *json_parse_large(struct arena *a, struct str text, unsigned members_max, struct error *err)
{
	json_error_t why;
	json_t *j;

	if (!json_scan_all(text, members_max, err))
		return NULL;
	j = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
	if (j == NULL) {
		/* What the grammar allows and we do not: duplicate keys, NUL in strings, numbers out of range. */
		error_set(err, ERR_INVALID_JSON, "%s at line %d column %d", why.text, why.line, why.column);
		return NULL;
	}
	return a != NULL ? json_own(a, j) : j;
}

/* Position behind the '}' that closes the '{' at `at`, strings respected; 0 when there is none. */
static size_t json_balanced_end(struct str text, size_t at)
{
	bool in_string = false;
	size_t depth = 0;

	for (; at < text.n; at++) {
		char c = text.p[at];

		if (in_string) {
			if (c == '\\')
				at++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '{') {
			depth++;
		} else if (c == '}' && --depth == 0) {
			return at + 1;
		}
	}
	return 0;
}

/*
 * An inner object is never taken for the answer: what began as an object and is broken is skipped whole, what was cut
 * off ends the search. A brace in prose (no key and colon behind it) is passed by. Every byte is looked at twice at
 * most.
 */
struct str json_find_object(struct str text)
{
	size_t at = 0;

	while (at < text.n) {
		struct json_scanner s = {.text = text, .members_max = JSON_MEMBERS_MAX};
		ptrdiff_t brace = str_chr(str_sub(text, at, text.n), '{');
		size_t start;

		if (brace < 0)
			break;
		start = at + (size_t)brace;
		s.at = start;
		if (json_scan_one(&s))
			return str_sub(text, start, s.at);
		if (s.fault != JSON_FAULT_SYNTAX && s.saw_key)
			break;
		at = s.saw_key ? json_balanced_end(text, start) : s.at;
		if (at <= start)
			break;
	}
	return STR_NONE;
}

/* The writer. */

struct json_member {
	const char *key;
	size_t n;
	json_t *value;
};

struct json_level {
	json_t *container;
	size_t index;
	void *iter;                 /* of an object written as it stands */
	struct json_member *sorted; /* of an object written sorted */
};

struct json_writer {
	struct buf out;
	bool canonical;
	unsigned depth;
	struct json_level levels[JSON_WRITE_DEPTH];
};

/* High bits of the bytes of x that are zero; a byte above the first of them may be wrong. */
static uint64_t json_zero_bytes(uint64_t x)
{
	return (x - UINT64_C(0x0101010101010101)) & ~x & UINT64_C(0x8080808080808080);
}

/* Steps over whole words of text that need no escape. */
static size_t json_skip_plain(const char *p, size_t n)
{
	size_t i = 0;
	uint64_t x;

	for (; i + sizeof(x) <= n; i += sizeof(x)) {
		memcpy(&x, p + i, sizeof(x));
		if ((((x - UINT64_C(0x2020202020202020)) & ~x & UINT64_C(0x8080808080808080)) |
		     json_zero_bytes(x ^ UINT64_C(0x2222222222222222)) |
		     json_zero_bytes(x ^ UINT64_C(0x5c5c5c5c5c5c5c5c))) != 0)
			break;
	}
	return i;
}

static void json_write_string(struct buf *out, const char *p, size_t n)
{
	static const char shorts[] = "\bb\tt\nn\ff\rr\"\"\\\\";
	size_t plain = 0;

	buf_addc(out, '"');
	for (size_t i = json_skip_plain(p, n); i < n; i++) {
		unsigned char c = (unsigned char)p[i];
		const char *hit;

		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		buf_add(out, (struct str){p + plain, i - plain});
		plain = i + 1;
		/* A control character is in the table once, quote and backslash stand before themselves. */
		hit = c != 0 ? strchr(shorts, c) : NULL;
		if (hit != NULL)
			buf_add(out, (struct str){(const char[]){'\\', hit[1]}, 2});
		else
			buf_printf(out, "\\u%04x", (unsigned)c);
		i += json_skip_plain(p + plain, n - plain);
	}
	buf_add(out, (struct str){p + plain, n - plain});
	buf_addc(out, '"');
}

static void json_write_integer(struct buf *out, json_int_t v)
{
	if (v < 0)
		buf_addc(out, '-');
	buf_addu(out, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

/* The shortest decimals that read back as the same number, always recognisable as a real. */
static void json_write_real(struct buf *out, double d)
{
	char text[40];

	/* jansson lets no other into a value. */
	BUG_ON(!isfinite(d));
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, d);
		if (strtod(text, NULL) == d)
			break;
	}
	buf_addz(out, text);
	if (strpbrk(text, ".e") == NULL)
		buf_addz(out, ".0");
}

/* Bytes of UTF-8 sort as code points do. */
static int json_member_cmp(const void *va, const void *vb)
{
	const struct json_member *a = va, *b = vb;
	size_t n = a->n < b->n ? a->n : b->n;
	int order = memcmp(a->key, b->key, n);

	return order != 0 ? order : (a->n > b->n) - (a->n < b->n);
}

/* Most objects are small, and those that were read are sorted already: then this is a walk. */
static void json_insertion_sort(struct json_member *members, size_t n)
{
	size_t i, k;

	for (i = 1; i < n; i++) {
		struct json_member m = members[i];

		for (k = i; k > 0 && json_member_cmp(&m, &members[k - 1]) < 0; k--)
			members[k] = members[k - 1];
		members[k] = m;
	}
}

static struct json_member *json_sort_members(json_t *object)
{
	size_t n = json_object_size(object), i = 0;
	struct json_member *members = xcalloc(n, sizeof(*members));

	for (void *it = json_object_iter(object); it != NULL; it = json_object_iter_next(object, it)) {
		members[i].key = json_object_iter_key(it);
		members[i].n = json_object_iter_key_len(it);
		members[i++].value = json_object_iter_value(it);
	}
	if (n <= JSON_SMALL)
		json_insertion_sort(members, n);
	else
		qsort(members, n, sizeof(*members), json_member_cmp);
	return members;
}

static void json_write_open(struct json_writer *w, json_t *j)
{
	struct json_level *level;

	BUG_ON(w->depth == JSON_WRITE_DEPTH);
	level = &w->levels[w->depth++];
	*level = (struct json_level){.container = j};
	if (json_is_object(j)) {
		if (w->canonical)
			level->sorted = json_sort_members(j);
		else
			level->iter = json_object_iter(j);
	}
	buf_addc(&w->out, json_is_object(j) ? '{' : '[');
}

static void json_write_value(struct json_writer *w, json_t *j)
{
	switch (json_typeof(j)) {
	case JSON_OBJECT:
	case JSON_ARRAY:
		json_write_open(w, j);
		break;
	case JSON_STRING:
		json_write_string(&w->out, json_string_value(j), json_string_length(j));
		break;
	case JSON_INTEGER:
		json_write_integer(&w->out, json_integer_value(j));
		break;
	case JSON_REAL:
		/* Hashed content must read the same everywhere; decimals of reals do not. */
		BUG_ON(w->canonical);
		json_write_real(&w->out, json_real_value(j));
		break;
	case JSON_TRUE:
		buf_addz(&w->out, "true");
		break;
	case JSON_FALSE:
		buf_addz(&w->out, "false");
		break;
	case JSON_NULL:
		buf_addz(&w->out, "null");
		break;
	}
}

/* The next element of the innermost container with its key, or false at the end. */
static bool json_next_member(struct json_level *level, bool canonical, struct json_member *member)
{
	size_t i = level->index++;

	*member = (struct json_member){0};
	if (json_is_array(level->container)) {
		member->value = json_array_get(level->container, i);
	} else if (canonical) {
		if (i < json_object_size(level->container))
			*member = level->sorted[i];
	} else if (level->iter != NULL) {
		member->key = json_object_iter_key(level->iter);
		member->n = json_object_iter_key_len(level->iter);
		member->value = json_object_iter_value(level->iter);
		level->iter = json_object_iter_next(level->container, level->iter);
	}
	return member->value != NULL;
}

static struct str json_write(struct arena *a, const json_t *j, bool canonical)
{
	struct json_writer w = {.canonical = canonical};
	struct str text;

	/* jansson's iterators take no const; nothing is changed. */
	json_write_value(&w, (json_t *)(uintptr_t)j);
	while (w.depth != 0) {
		struct json_level *level = &w.levels[w.depth - 1];
		struct json_member member;

		if (!json_next_member(level, canonical, &member)) {
			buf_addc(&w.out, json_is_object(level->container) ? '}' : ']');
			free(level->sorted);
			w.depth--;
			continue;
		}
		if (level->index > 1)
			buf_addc(&w.out, ',');
		if (member.key != NULL) {
			json_write_string(&w.out, member.key, member.n);
			buf_addc(&w.out, ':');
		}
		json_write_value(&w, member.value);
	}
	text = arena_str(a, buf_str(&w.out));
	buf_free(&w.out);
	return text;
}

struct str json_text(struct arena *a, const json_t *j)
{
	BUG_ON(j == NULL);
	return json_write(a, j, false);
}

struct str json_canonical(struct arena *a, const json_t *j)
{
	BUG_ON(j == NULL);
	return json_write(a, j, true);
}

/* Owning, reading and making values. */

static void json_release(void *ptr)
{
	json_decref(ptr);
}

json_t *json_own(struct arena *a, json_t *j)
{
	if (j != NULL)
		arena_defer(a, json_release, j);
	return j;
}

struct str json_get_str(const json_t *obj, const char *key, struct str dflt)
{
	const json_t *j = json_object_get(obj, key);

	return json_is_string(j) ? (struct str){json_string_value(j), json_string_length(j)} : dflt;
}

int64_t json_get_int(const json_t *obj, const char *key, int64_t dflt)
{
	const json_t *j = json_object_get(obj, key);

	return json_is_integer(j) ? json_integer_value(j) : dflt;
}

double json_get_num(const json_t *obj, const char *key, double dflt)
{
	const json_t *j = json_object_get(obj, key);

	return json_is_number(j) ? json_number_value(j) : dflt;
}

bool json_get_bool(const json_t *obj, const char *key, bool dflt)
{
	const json_t *j = json_object_get(obj, key);

	return json_is_boolean(j) ? json_is_true(j) : dflt;
}

json_t *json_get_obj(const json_t *obj, const char *key)
{
	json_t *j = json_object_get(obj, key);

	return json_is_object(j) ? j : NULL;
}

json_t *json_get_arr(const json_t *obj, const char *key)
{
	json_t *j = json_object_get(obj, key);

	return json_is_array(j) ? j : NULL;
}

static json_t *json_new_string(struct str s)
{
	json_t *j = json_stringn_nocheck(s.n != 0 ? s.p : "", s.n);

	BUG_ON(j == NULL);
	return j;
}

json_t *json_str(struct str s)
{
	struct buf out = BUF_INIT;
	json_t *j;

	if (str_utf8_valid(s) && str_chr(s, '\0') < 0)
		return json_new_string(s);
	for (size_t at = 0; at < s.n;) {
		size_t step = str_utf8_step(str_sub(s, at, s.n));

		if (step == 0)
			buf_addz(&out, "\xef\xbf\xbd");
		else if (s.p[at] != '\0')
			buf_add(&out, str_sub(s, at, at + step));
		at += step != 0 ? step : 1;
	}
	j = json_new_string(buf_str(&out));
	buf_free(&out);
	return j;
}

void json_put_str(json_t *obj, const char *key, struct str s)
{
	BUG_ON(json_object_set_new(obj, key, json_str(s)) != 0);
}

void json_put_int(json_t *obj, const char *key, int64_t v)
{
	BUG_ON(json_object_set_new(obj, key, json_integer(v)) != 0);
}

json_t *json_time(int64_t ms)
{
	char iso[CLOCK_ISO_MAX];

	return ms > 0 ? json_string(clock_iso(iso, ms)) : json_null();
}

void json_put_time(json_t *obj, const char *key, int64_t ms)
{
	BUG_ON(json_object_set_new(obj, key, json_time(ms)) != 0);
}
