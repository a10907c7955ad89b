/* SPDX-License-Identifier: MIT */
/*
 * Dates, entity tags, preconditions and ranges of requests (RFC 9110 sections 8.8, 13 and 14). Called by whoever
 * answers with something that has validators. Pure but for joining the lines of a list.
 */
#include <time.h>

#include "worker/http/http_semantics.h"

/* ---- dates ---- */

bool http_date_parse(struct str s, int64_t *seconds)
{
	/* IMF-fixdate and the two obsolete forms that must be understood. */
	static const char *const forms[] = {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT",
					    "%a %b %d %H:%M:%S %Y"};
	char text[64];
	struct tm tm;
	size_t i;

	s = str_trim(s);
	if (s.n == 0 || s.n >= sizeof(text) || memchr(s.p, '\0', s.n) != NULL)
		return false;
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	for (i = 0; i < countof(forms); i++) {
		const char *end;

		memset(&tm, 0, sizeof(tm));
		end = strptime(text, forms[i], &tm);
		if (end != NULL && *end == '\0') {
			*seconds = timegm(&tm);
			return true;
		}
	}
	return false;
}

void http_date_format(char out[HTTP_DATE_MAX], int64_t seconds)
{
	time_t t = seconds;
	struct tm tm;

	/* The process runs in the C locale: names of days and months are English. */
	if (gmtime_r(&t, &tm) == NULL ||
	    strftime(out, HTTP_DATE_MAX, "%a, %d %b %Y %H:%M:%S GMT", &tm) != HTTP_DATE_MAX - 1)
		out[0] = '\0';
}

/* ---- entity tags ---- */

static bool etag_weak(struct str etag)
{
	return str_starts(etag, STR("W/"));
}

static struct str etag_opaque(struct str etag)
{
	return etag_weak(etag) ? str_sub(etag, 2, etag.n) : etag;
}

/* Takes the next tag off a list (commas may stand inside of tags); false at its end and where it is malformed. */
static bool etag_next(struct str *list, struct str *etag)
{
	size_t from = 0, i;

	while (from < list->n && (list->p[from] == ' ' || list->p[from] == '\t' || list->p[from] == ','))
		from++;
	i = from + (etag_weak(str_sub(*list, from, list->n)) ? 2 : 0);
	if (i >= list->n || list->p[i] != '"')
		return false;
	for (i++; i < list->n && list->p[i] != '"'; i++)
		;
	if (i == list->n)
		return false;
	*etag = str_sub(*list, from, i + 1);
	*list = str_sub(*list, i + 1, list->n);
	return true;
}

bool http_etag_listed(struct str list, struct str etag, bool strong)
{
	struct str one;

	if (str_eqz(str_trim(list), "*"))
		return true;
	if (etag.n == 0 || (strong && etag_weak(etag)))
		return false;
	while (etag_next(&list, &one))
		if (str_eq(etag_opaque(one), etag_opaque(etag)) && !(strong && etag_weak(one)))
			return true;
	return false;
}

/* ---- preconditions ---- */

/* Was it changed after the date in the field? A date that cannot be read says nothing: dflt (RFC 9110 13.1.3, 13.1.4).
 */
static bool condition_changed_since(const struct http_request *req, const char *name, int64_t modified, bool dflt)
{
	struct str value = http_field(req, name);
	int64_t date;

	if (value.p == NULL || modified < 0 || !http_date_parse(value, &date))
		return dflt;
	return modified > date;
}

enum http_condition http_condition(const struct http_request *req, const struct http_validators *v)
{
	struct str match = http_field_list(req, "if-match"), none = http_field_list(req, "if-none-match");

	if (match.p != NULL) {
		if (!http_etag_listed(match, v->etag, true))
			return CONDITION_FAILED;
	} else if (condition_changed_since(req, "if-unmodified-since", v->modified, false)) {
		return CONDITION_FAILED;
	}
	if (none.p != NULL)
		return http_etag_listed(none, v->etag, false) ? CONDITION_NOT_MODIFIED : CONDITION_NONE;
	return condition_changed_since(req, "if-modified-since", v->modified, true) ? CONDITION_NONE
										    : CONDITION_NOT_MODIFIED;
}

/* ---- ranges ---- */

/* If-Range is absent, or holds exactly this strong validator. A date is a strong one where the tag is. */
static bool range_still_valid(const struct http_request *req, const struct http_validators *v)
{
	struct str value = http_field(req, "if-range");
	int64_t date;

	if (value.p == NULL)
		return true;
	if (value.n > 0 && (value.p[0] == '"' || etag_weak(value)))
		return http_etag_listed(value, v->etag, true);
	return v->modified >= 0 && !etag_weak(v->etag) && http_date_parse(value, &date) && date == v->modified;
}

/* A position; one too large for 64 bits is behind every end. False: not a number. */
static bool range_number(struct str s, uint64_t *out)
{
	size_t i;

	for (i = 0; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
		;
	if (s.n == 0 || i < s.n)
		return false;
	if (!str_to_u64(s, UINT64_MAX, out))
		*out = UINT64_MAX;
	return true;
}

enum http_range http_range(const struct http_request *req, const struct http_validators *v, uint64_t size,
			   uint64_t *from, uint64_t *length)
{
	struct str value = http_field(req, "range"), first, last;
	uint64_t a = 0, b = UINT64_MAX;
	ptrdiff_t dash;

	if (req->head || !str_istarts(value, STR("bytes=")) || !range_still_valid(req, v))
		return RANGE_ALL;
	value = str_trim(str_sub(value, 6, value.n));
	dash = str_chr(value, '-');
	if (dash < 0)
		return RANGE_ALL;
	first = str_sub(value, 0, (size_t)dash);
	last = str_sub(value, (size_t)dash + 1, value.n);
	if (first.n == 0) {
		if (!range_number(last, &a))
			return RANGE_ALL;
		if (a == 0 || size == 0)
			return RANGE_OUTSIDE;
		*from = a < size ? size - a : 0;
		*length = size - *from;
		return RANGE_PART;
	}
	if (!range_number(first, &a) || (last.n > 0 && !range_number(last, &b)) || b < a)
		return RANGE_ALL;
	if (a >= size)
		return RANGE_OUTSIDE;
	*from = a;
	*length = (b < size ? b + 1 : size) - a;
	return RANGE_PART;
}
