/* SPDX-License-Identifier: MIT */
/*
 * Parses heads, and keeps those that come again. Called by http_request.c for each request and by http_conn.c, which
 * need not search for the end of a head it knows. It decides nothing about a request.
 */
#include "worker/http/http_memo.h"

#include "worker/http/http_head.h"
#include "worker/http/route.h"

bool http_meaning_parse(struct http_meaning *m, struct arena *a, struct str raw, struct error *err)
{
	struct error ignored;
	struct http_field *fields;
	struct http_head head;
	ptrdiff_t q;
	size_t i;

	*m = (struct http_meaning){.raw = arena_str(a, raw)};
	if (!http_head_parse(m->raw, &head, err))
		return false;
	fields = arena_alloc(a, head.field_count * sizeof(*fields) + 1);
	memcpy(fields, head.fields, head.field_count * sizeof(*fields));
	for (i = 0; i < head.field_count; i++)
		m->field_marks |= http_field_mark(fields[i].name);
	m->fields = fields;
	m->field_count = head.field_count;
	m->method = head.method;
	m->minor = head.minor;
	m->target = head.target;
	q = str_chr(head.target, '?');
	m->query = q < 0 ? STR_NONE : str_sub(head.target, (size_t)q + 1, head.target.n);
	if (!http_framing(&head, &m->framing, err))
		return false;
	/* Framing errors come first; who answers finds this one again. */
	if (!route_normalise(m->target, a, &m->path, &ignored))
		m->path = STR_NONE;
	return true;
}

/* Nothing that is secret, or that hardly comes twice. */
static bool memo_keeps(const struct http_meaning *m)
{
	static const char *const secret[] = {"authorization", "proxy-authorization", "cookie", "x-api-key"};
	size_t i;

	for (i = 0; i < countof(secret); i++)
		if (http_head_find(m->fields, m->field_count, secret[i]) != NULL)
			return false;
	return m->framing.kind == BODY_NONE && m->query.p == NULL && m->path.p != NULL;
}

void http_meaning_unref(struct http_meaning *m)
{
	if (m == NULL)
		return;
	BUG_ON(m->refs == 0);
	if (--m->refs == 0)
		arena_free(m->arena);
}

static bool memo_is(const struct http_meaning *m, struct str raw)
{
	return m != NULL && str_eq(m->raw, raw);
}

size_t http_memo_repeats(const struct http_memo *m, struct str in)
{
	return m->last != NULL && str_starts(in, m->last->raw) ? m->last->raw.n : 0;
}

/* Only to tell heads apart quickly: what it finds is compared. */
static uint64_t memo_hash(struct str s)
{
	uint64_t h = s.n, word;
	size_t i;

	for (i = 0; i + sizeof(word) <= s.n; i += sizeof(word)) {
		memcpy(&word, s.p + i, sizeof(word));
		h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		h ^= h >> 32;
	}
	for (; i < s.n; i++)
		h = (h ^ (unsigned char)s.p[i]) * UINT64_C(0x100000001b3);
	return h ^ h >> 32;
}

struct http_meaning *http_memo_find(struct http_memo *m, struct str raw)
{
	struct http_meaning *found = m->last;

	if (!memo_is(found, raw)) {
		if (raw.n > HTTP_MEMO_HEAD)
			return NULL;
		m->missed = memo_hash(raw);
		found = m->slots[m->missed % HTTP_MEMO_SLOTS].kept;
		if (!memo_is(found, raw))
			return NULL;
		m->last = found;
	}
	found->refs++;
	return found;
}

void http_memo_hear(struct http_memo *m, const struct http_meaning *head)
{
	struct http_memo_slot *slot = &m->slots[m->missed % HTTP_MEMO_SLOTS];
	struct http_meaning *learned;
	struct error ignored;
	struct arena *a;

	if (head->raw.n > HTTP_MEMO_HEAD || !memo_keeps(head))
		return;
	if (slot->heard != m->missed) {
		slot->heard = m->missed;
		return;
	}
	a = arena_new(0);
	learned = arena_alloc(a, sizeof(*learned));
	BUG_ON(!http_meaning_parse(learned, a, head->raw, &ignored));
	learned->arena = a;
	learned->refs = 1;
	if (m->last == slot->kept)
		m->last = NULL;
	http_meaning_unref(slot->kept);
	slot->kept = learned;
}

void http_memo_free(struct http_memo *m)
{
	size_t i;

	for (i = 0; i < HTTP_MEMO_SLOTS; i++)
		http_meaning_unref(m->slots[i].kept);
	*m = (struct http_memo){.last = NULL};
}
