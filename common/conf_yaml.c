/* SPDX-License-Identifier: MIT */
/*
 * Reads the configuration file: libyaml's events become values of the table's keys, mistakes carry line and column.
 * Called by conf_load. Takes a plain subset of YAML: one document of nested mappings, scalars and flat lists; no
 * anchors, aliases, tags. Does not build a tree, so nothing in the file can make it grow.
 */
#include "common/conf_internal.h"

#include <yaml.h>

#define CONF_PATH_MAX 256  /* bytes of a key path that are kept */
#define CONF_NESTED_MAX 32 /* levels of unknown content that are skipped; libyaml is quadratic in them */
#define CONF_DEPTH 3       /* "providers.openai.model" */

struct conf_reader {
	struct conf_loader *l;
	struct str text;
	yaml_parser_t parser;
	yaml_event_t event;
	bool have;                      /* event holds something to delete */
	bool broken;                    /* the text was given up, which was reported: no more events */
	size_t key_line[CONF_KEYS_MAX]; /* where a key was first seen, 0 = not yet */
	size_t section_line[CONF_SECTIONS_MAX];
	size_t n; /* elements of the list being read */
	char *copies[CONF_LIST_MAX + 1];
	struct str items[CONF_LIST_MAX + 1];
};

static struct conf_origin conf_mark(const yaml_mark_t *m)
{
	return (struct conf_origin){.source = CONF_FROM_FILE, .line = m->line + 1, .column = m->column + 1};
}

/* Place of a byte; the parser gives no mark for bytes that are no text. */
static struct conf_origin conf_reader_place(struct str text, size_t offset)
{
	struct conf_origin at = {.source = CONF_FROM_FILE, .line = 1, .column = 1};
	size_t i;

	for (i = 0; i < offset && i < text.n; i++) {
		at.column++;
		if (text.p[i] == '\n') {
			at.line++;
			at.column = 1;
		}
	}
	return at;
}

static void conf_reader_syntax(struct conf_reader *r)
{
	const yaml_parser_t *p = &r->parser;
	const char *problem = p->problem != NULL ? p->problem : "cannot be read as YAML";
	struct conf_origin at =
	    p->error == YAML_READER_ERROR ? conf_reader_place(r->text, p->problem_offset) : conf_mark(&p->problem_mark);

	r->broken = true;
	if (p->context != NULL)
		conf_complain(r->l, &at, STR_NONE, "not valid YAML: %s, %s", problem, p->context);
	else
		conf_complain(r->l, &at, STR_NONE, "not valid YAML: %s", problem);
}

static void conf_reader_drop(struct conf_reader *r)
{
	if (r->have)
		yaml_event_delete(&r->event);
	r->have = false;
}

/* What the event has besides its content: anchors and tags are refused wherever they stand. */
static void conf_reader_extras(struct conf_reader *r)
{
	const yaml_event_t *e = &r->event;
	const unsigned char *anchor = NULL;
	const unsigned char *tag = NULL;
	struct conf_origin at = conf_mark(&e->start_mark);

	if (e->type == YAML_SCALAR_EVENT) {
		anchor = e->data.scalar.anchor;
		tag = e->data.scalar.tag;
	} else if (e->type == YAML_SEQUENCE_START_EVENT) {
		anchor = e->data.sequence_start.anchor;
		tag = e->data.sequence_start.tag;
	} else if (e->type == YAML_MAPPING_START_EVENT) {
		anchor = e->data.mapping_start.anchor;
		tag = e->data.mapping_start.tag;
	} else if (e->type == YAML_ALIAS_EVENT) {
		conf_complain(r->l, &at, STR_NONE, "aliases (*name) are not allowed here");
	}
	if (anchor != NULL)
		conf_complain(r->l, &at, STR_NONE, "anchors (&name) are not allowed here");
	if (tag != NULL)
		conf_complain(r->l, &at, STR_NONE, "tags (!name) are not allowed here");
}

/* The next event; false at a syntax error. */
static bool conf_reader_next(struct conf_reader *r)
{
	conf_reader_drop(r);
	if (r->broken)
		return false;
	if (!yaml_parser_parse(&r->parser, &r->event)) {
		conf_reader_syntax(r);
		return false;
	}
	r->have = true;
	conf_reader_extras(r);
	return true;
}

/* Reads on to the end of the node that the current event begins. */
static bool conf_reader_skip(struct conf_reader *r)
{
	struct conf_origin at;
	size_t depth = 0;

	for (;;) {
		if (r->event.type == YAML_SEQUENCE_START_EVENT || r->event.type == YAML_MAPPING_START_EVENT)
			depth++;
		else if (r->event.type == YAML_SEQUENCE_END_EVENT || r->event.type == YAML_MAPPING_END_EVENT)
			depth--;
		if (depth == 0)
			return true;
		if (depth > CONF_NESTED_MAX) {
			at = conf_mark(&r->event.start_mark);
			conf_complain(r->l, &at, STR_NONE, "is nested too deeply; what follows was not read");
			r->broken = true;
		}
		if (!conf_reader_next(r))
			return false;
	}
}

static struct str conf_reader_scalar(const yaml_event_t *e)
{
	return (struct str){(const char *)e->data.scalar.value, e->data.scalar.length};
}

static bool conf_reader_plain(const yaml_event_t *e)
{
	return e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

static bool conf_reader_null(const yaml_event_t *e)
{
	struct str s = conf_reader_scalar(e);

	return conf_reader_plain(e) && (s.n == 0 || str_eqz(s, "~") || str_ieqz(s, "null"));
}

/* Keeps a copy of an element, for its event does not last; one too many is kept to be complained about. */
static void conf_reader_keep(struct conf_reader *r)
{
	struct str s = conf_reader_null(&r->event) ? STR_NONE : conf_reader_scalar(&r->event);
	char *copy;

	if (r->n > CONF_LIST_MAX)
		return;
	copy = xmalloc(s.n + 1);
	if (s.n > 0)
		memcpy(copy, s.p, s.n);
	copy[s.n] = '\0';
	r->copies[r->n] = copy;
	r->items[r->n++] = (struct str){copy, s.n};
}

/* A flat list; the current event is its start. */
static bool conf_reader_list(struct conf_reader *r, int row, const struct conf_origin *at)
{
	struct conf_raw raw = {.is_list = true, .items = r->items};
	bool flat = true;
	bool more;

	r->n = 0;
	while ((more = conf_reader_next(r)) && r->event.type != YAML_SEQUENCE_END_EVENT) {
		if (r->event.type == YAML_SCALAR_EVENT) {
			conf_reader_keep(r);
			continue;
		}
		flat = false;
		more = conf_reader_skip(r);
		if (!more)
			break;
	}
	raw.n = r->n;
	if (more && flat)
		conf_set(r->l, row, &raw, at);
	else if (more)
		conf_complain(r->l, at, str_of(conf_table[row].name),
			      "expected a flat list, found something nested in it");
	while (r->n > 0)
		free(r->copies[--r->n]);
	return more;
}

/* The value of a known key; the current event is its start. */
static bool conf_reader_value(struct conf_reader *r, int row)
{
	struct conf_origin at = conf_mark(&r->event.start_mark);
	struct conf_raw raw = {.is_list = false};

	if (r->event.type == YAML_SEQUENCE_START_EVENT)
		return conf_reader_list(r, row, &at);
	if (r->event.type == YAML_SCALAR_EVENT) {
		raw.scalar = conf_reader_scalar(&r->event);
		raw.quoted = !conf_reader_plain(&r->event);
		raw.null = conf_reader_null(&r->event);
		conf_set(r->l, row, &raw, &at);
		return true;
	}
	if (r->event.type == YAML_MAPPING_START_EVENT) {
		conf_complain(r->l, &at, str_of(conf_table[row].name), "is a single setting and has no keys below it");
		r->l->failed[row] = true;
	}
	return conf_reader_skip(r);
}

static void conf_reader_unknown(struct conf_reader *r, const struct conf_origin *at, struct str path)
{
	const char *near = r->l->errors < CONF_ERROR_MAX ? conf_suggest(path) : NULL;

	if (near != NULL && str_eqz(path, near))
		conf_complain(r->l, at, path, "unknown key; keys are nested, not written with dots");
	else if (near != NULL)
		conf_complain(r->l, at, path, "unknown key, did you mean %s?", near);
	else
		conf_complain(r->l, at, path, "unknown key");
}

/* Is the key or section there a second time? Reports it. */
static bool conf_reader_twice(struct conf_reader *r, size_t *line, const struct conf_origin *at, struct str path)
{
	if (*line != 0) {
		conf_complain(r->l, at, path, "is given twice, first in line %zu", *line);
		return true;
	}
	*line = at->line;
	return false;
}

static bool conf_reader_mapping(struct conf_reader *r, struct str above, unsigned depth);

/* What stands under a section; the current event is its start. */
static bool conf_reader_section(struct conf_reader *r, struct str path, unsigned depth)
{
	struct conf_origin at = conf_mark(&r->event.start_mark);

	if (r->event.type == YAML_MAPPING_START_EVENT)
		return conf_reader_mapping(r, path, depth + 1);
	if (r->event.type != YAML_SCALAR_EVENT || !conf_reader_null(&r->event))
		conf_complain(r->l, &at, path, "is a section: expected keys below it, found a %s",
			      r->event.type == YAML_SCALAR_EVENT ? "single value" : "list");
	return conf_reader_skip(r);
}

/* One key with its value; the current event is the key, a scalar. */
static bool conf_reader_pair(struct conf_reader *r, struct str above, unsigned depth)
{
	struct conf_origin at = conf_mark(&r->event.start_mark);
	struct str name = conf_reader_scalar(&r->event);
	struct buf whole = BUF_LIMIT(CONF_PATH_MAX);
	struct str path;
	int section;
	int row;
	bool more;

	buf_add(&whole, above);
	if (above.n > 0)
		buf_addc(&whole, '.');
	buf_add(&whole, name.n < CONF_PATH_MAX / 2 ? name : str_utf8_cut(name, CONF_PATH_MAX / 2));
	path = buf_str(&whole);
	/* A dot inside a key would name another section's key; there is no such key. */
	row = str_chr(name, '.') < 0 ? conf_find(path) : -1;
	section = str_chr(name, '.') < 0 ? conf_section_find(path) : -1;
	more = conf_reader_next(r);
	if (!more) {
		buf_free(&whole);
		return false;
	}
	if (row >= 0 && !conf_reader_twice(r, &r->key_line[row], &at, path)) {
		more = conf_reader_value(r, row);
	} else if (section >= 0 && depth < CONF_DEPTH && !conf_reader_twice(r, &r->section_line[section], &at, path)) {
		more = conf_reader_section(r, path, depth);
	} else {
		if (row < 0 && section < 0)
			conf_reader_unknown(r, &at, path);
		more = conf_reader_skip(r);
	}
	buf_free(&whole);
	return more;
}

/* All pairs of a mapping; the current event is its start. */
static bool conf_reader_mapping(struct conf_reader *r, struct str above, unsigned depth)
{
	struct conf_origin at;

	while (conf_reader_next(r)) {
		if (r->event.type == YAML_MAPPING_END_EVENT)
			return true;
		if (r->event.type == YAML_SCALAR_EVENT) {
			if (!conf_reader_pair(r, above, depth))
				return false;
			continue;
		}
		at = conf_mark(&r->event.start_mark);
		conf_complain(r->l, &at, above, "expected a plain key");
		if (!conf_reader_skip(r) || !conf_reader_next(r) || !conf_reader_skip(r))
			return false;
	}
	return false;
}

/* The document: nothing at all, or one mapping. */
static void conf_reader_document(struct conf_reader *r)
{
	struct conf_origin at = conf_mark(&r->event.start_mark);

	if (r->event.type == YAML_MAPPING_START_EVENT) {
		if (!conf_reader_mapping(r, STR_NONE, 1))
			return;
	} else {
		if (r->event.type != YAML_SCALAR_EVENT || !conf_reader_null(&r->event))
			conf_complain(r->l, &at, STR_NONE, "expected sections with keys, such as \"server:\"");
		if (!conf_reader_skip(r))
			return;
	}
	if (!conf_reader_next(r) || !conf_reader_next(r) || r->event.type == YAML_STREAM_END_EVENT)
		return;
	at = conf_mark(&r->event.start_mark);
	conf_complain(r->l, &at, STR_NONE, "a second document begins here; one is expected");
}

void conf_yaml(struct conf_loader *l, struct str text)
{
	struct conf_reader *r = xcalloc(1, sizeof(*r));

	r->l = l;
	r->text = text;
	BUG_ON(!yaml_parser_initialize(&r->parser));
	yaml_parser_set_input_string(&r->parser, (const unsigned char *)text.p, text.n);
	if (conf_reader_next(r) && conf_reader_next(r) && r->event.type == YAML_DOCUMENT_START_EVENT &&
	    conf_reader_next(r))
		conf_reader_document(r);
	conf_reader_drop(r);
	yaml_parser_delete(&r->parser);
	free(r);
}
