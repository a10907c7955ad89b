/* SPDX-License-Identifier: MIT */
/*
 * The members by which clients walk through the pages of a list. Called by handlers of lists; which rows a page has is
 * theirs to say.
 */
#include "worker/http/page.h"

#include "common/json.h"

void page_put(json_t *o, int64_t limit, int64_t offset, size_t n, int64_t total)
{
	json_put_int(o, "total", total);
	json_put_int(o, "count", (int64_t)n);
	json_put_int(o, "limit", limit);
	json_put_int(o, "offset", offset);
	json_object_set_new(o, "has_more", json_boolean(offset + (int64_t)n < total));
}
