/* SPDX-License-Identifier: MIT */
/*
 * What every list that is given in pages says of the page.
 */
#ifndef WORKER_HTTP_PAGE_H
#define WORKER_HTTP_PAGE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* Puts {total, count, limit, offset, has_more} into o: a page with n rows of `total`, the first being row `offset`. */
void page_put(json_t *o, int64_t limit, int64_t offset, size_t n, int64_t total);

#endif
