/* SPDX-License-Identifier: MIT */
/*
 * JSON from outside is scanned for depth, size and number of members before jansson sees it; JSON that is hashed is
 * written in one canonical form. Also small accessors with clear errors.
 */
#ifndef COMMON_JSON_H
#define COMMON_JSON_H

#include <jansson.h>

#include "common/arena.h"
#include "common/err.h"

#define JSON_DEPTH_MAX 64
#define JSON_MEMBERS_MAX 100000

/*
 * Parses text (UTF-8, RFC 8259, no duplicate keys, nothing after the value; size is bounded by the caller). The result
 * belongs to the arena when one is given, else to the caller. NULL on failure, with ERR_INVALID_JSON and line/column in
 * err.
 */
json_t *json_parse(struct arena *a, struct str text, struct error *err) MUST_CHECK;
/* The same with another bound on members, for documents that we have written ourselves: imports. */
json_t *json_parse_large(struct arena *a, struct str text, unsigned members_max, struct error *err) MUST_CHECK;
/* Scans only: false when deeper than JSON_DEPTH_MAX, more members than JSON_MEMBERS_MAX, or not JSON. */
bool json_scan(struct str text, struct error *err) MUST_CHECK;
/* First complete {...} object inside free text (LLM output, fenced or not); STR_NONE if there is none. */
struct str json_find_object(struct str text);

/* Gives the reference of j to the arena. Returns j. j may be NULL. */
json_t *json_own(struct arena *a, json_t *j);
/* Compact text. In the arena. */
struct str json_text(struct arena *a, const json_t *j);
/*
 * Canonical text: keys sorted by code point at all levels, separators "," and ":", UTF-8 unescaped except what
 * RFC 8259 demands, integers and strings only (a real number aborts: hashed content has none).
 */
struct str json_canonical(struct arena *a, const json_t *j);

/*
 * As Python's json.dumps writes it by default: separators ", " and ": ", order of insertion, ASCII only (\uXXXX), real
 * numbers as repr() does. In the arena.
 */
struct str json_python(struct arena *a, const json_t *j);

/* Members with defaults; wrong types give the default. Strings stay inside j. */
struct str json_get_str(const json_t *obj, const char *key, struct str dflt);
int64_t json_get_int(const json_t *obj, const char *key, int64_t dflt);
double json_get_num(const json_t *obj, const char *key, double dflt);
bool json_get_bool(const json_t *obj, const char *key, bool dflt);
json_t *json_get_obj(const json_t *obj, const char *key); /* borrowed or NULL */
json_t *json_get_arr(const json_t *obj, const char *key); /* borrowed or NULL */
/* New string value from a slice; invalid UTF-8 is replaced by U+FFFD, NUL dropped. */
json_t *json_str(struct str s);
/* Sets key to a new string / integer; a convenience over json_object_set_new. */
void json_put_str(json_t *obj, const char *key, struct str s);
void json_put_int(json_t *obj, const char *key, int64_t v);
/* A moment as ISO 8601 in UTC, null for 0 ("never"); milliseconds. */
json_t *json_time(int64_t ms);
void json_put_time(json_t *obj, const char *key, int64_t ms);

#endif
