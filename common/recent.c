/* SPDX-License-Identifier: MIT */
/*
 * Notes in shared memory, a ring of fixed places. Called by who reports errors and by who shows them. Takes no lock;
 * what the texts mean is their business.
 */
#include "common/recent.h"

bool recent_add(struct recent *r, struct str text)
{
	uint64_t words[RECENT_TEXT / 8] = {0}, id;
	struct recent_note *n;
	size_t i;

	if (text.n >= RECENT_TEXT)
		return false;
	memcpy(words, text.p, text.n);
	id = atomic_fetch_add(&r->last, 1) + 1;
	n = &r->notes[id % RECENT_NOTES];
	atomic_store(&n->id, 0);
	for (i = 0; i <= text.n / 8; i++)
		atomic_store(&n->words[i], words[i]);
	atomic_store(&n->id, id);
	return true;
}

uint64_t recent_count(const struct recent *r)
{
	return atomic_load(&r->last);
}

bool recent_get(const struct recent *r, uint64_t id, char out[RECENT_TEXT])
{
	const struct recent_note *n = &r->notes[id % RECENT_NOTES];
	uint64_t words[RECENT_TEXT / 8];
	size_t i;

	if (id == 0 || atomic_load(&n->id) != id)
		return false;
	for (i = 0; i < countof(words); i++)
		words[i] = atomic_load(&n->words[i]);
	if (atomic_load(&n->id) != id)
		return false;
	memcpy(out, words, RECENT_TEXT);
	out[RECENT_TEXT - 1] = '\0';
	return true;
}
