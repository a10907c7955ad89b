/* SPDX-License-Identifier: MIT */
/*
 * What the client accepts: content codings by Accept-Encoding, media types by Accept, both with their weights. Called
 * by static files and the compression middleware. It compresses nothing.
 */
#include "worker/http/http_semantics.h"

#define WEIGHT_MAX 1000 /* of RFC 9110 12.4.2, in thousandths */
#define WEIGHT_UNSAID (-1)

static const char *const coding_names[] = {[CODING_IDENTITY] = "identity", [CODING_GZIP] = "gzip", [CODING_BR] = "br"};
_Static_assert(countof(coding_names) == CODING_MAX, "one name per coding");

const char *http_coding_name(enum http_coding c)
{
	return c == CODING_IDENTITY ? NULL : coding_names[c];
}

struct str http_field_list(const struct http_request *req, const char *name)
{
	struct str first = STR_NONE;
	struct buf all = BUF_INIT;
	size_t i;

	for (i = 0; i < req->field_count; i++) {
		if (!str_ieqz(req->fields[i].name, name))
			continue;
		if (first.p == NULL) {
			first = req->fields[i].value;
			continue;
		}
		if (all.n == 0)
			buf_add(&all, first);
		buf_add(&all, STR(", "));
		buf_add(&all, req->fields[i].value);
	}
	if (all.n > 0)
		first = arena_str(req->arena, buf_str(&all));
	buf_free(&all);
	return first;
}

/* "0.25" as 250; 0 for what is no weight. */
static int encoding_weight(struct str s)
{
	int weight = 0, place = WEIGHT_MAX / 10;
	size_t i;

	if (s.n == 0 || s.n > 5 || (s.p[0] != '0' && s.p[0] != '1') || (s.n > 1 && s.p[1] != '.'))
		return 0;
	weight = s.p[0] == '1' ? WEIGHT_MAX : 0;
	for (i = 2; i < s.n; i++, place /= 10) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return 0;
		weight += (s.p[i] - '0') * place;
	}
	return weight <= WEIGHT_MAX ? weight : 0;
}

/* Takes the next element of a list with weights off *rest: its name, and its weight. */
static bool encoding_next(struct str *rest, struct str *name, int *weight)
{
	struct str element, parameter;

	if (!str_split(rest, ',', &element))
		return false;
	*weight = WEIGHT_MAX;
	if (!str_split(&element, ';', name))
		*name = STR("");
	*name = str_trim(*name);
	while (str_split(&element, ';', &parameter)) {
		parameter = str_trim(parameter);
		if (str_istarts(parameter, STR("q=")))
			*weight = encoding_weight(str_sub(parameter, 2, parameter.n));
	}
	return true;
}

static enum http_coding encoding_coding(struct str name)
{
	unsigned c;

	if (str_ieqz(name, "x-gzip")) /* RFC 9110 8.4.1.3 */
		return CODING_GZIP;
	for (c = 0; c < CODING_MAX && !str_ieqz(name, coding_names[c]); c++)
		;
	return (enum http_coding)c;
}

enum http_coding http_coding_choose(struct str accept_encoding, unsigned have)
{
	int weights[CODING_MAX] = {WEIGHT_UNSAID, WEIGHT_UNSAID, WEIGHT_UNSAID}, others = WEIGHT_UNSAID, weight,
	    best = 0;
	enum http_coding chosen = CODING_IDENTITY;
	struct str name;
	unsigned c;

	while (encoding_next(&accept_encoding, &name, &weight)) {
		c = encoding_coding(name);
		if (c < CODING_MAX)
			weights[c] = weight;
		else if (str_eqz(name, "*"))
			others = weight;
	}
	/* Not mentioned: identity will do for want of something better, another coding not at all. */
	if (weights[CODING_IDENTITY] == WEIGHT_UNSAID && others == WEIGHT_UNSAID)
		weights[CODING_IDENTITY] = 1;
	for (c = 0; c < CODING_MAX; c++) {
		weight = weights[c] != WEIGHT_UNSAID ? weights[c] : others;
		if ((have >> c & 1) != 0 && weight > 0 && weight >= best) {
			best = weight;
			chosen = (enum http_coding)c;
		}
	}
	return chosen;
}

bool http_accepts(struct str accept, struct str type)
{
	struct str family = str_sub(type, 0, (size_t)(str_chr(type, '/') + 1)), name;
	int weight, exact = WEIGHT_UNSAID, of_family = WEIGHT_UNSAID, any = WEIGHT_UNSAID;

	if (str_trim(accept).n == 0)
		return true;
	while (encoding_next(&accept, &name, &weight)) {
		if (str_ieq(name, type))
			exact = weight;
		else if (name.n == family.n + 1 && name.p[name.n - 1] == '*' && str_istarts(name, family))
			of_family = weight;
		else if (str_eqz(name, "*/*"))
			any = weight;
	}
	if (exact != WEIGHT_UNSAID)
		return exact > 0;
	return of_family != WEIGHT_UNSAID ? of_family > 0 : any > 0;
}
