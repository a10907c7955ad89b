/* SPDX-License-Identifier: MIT */
/*
 * Names behind which secrets stand: parameters of URLs that the access log masks, members of documents that the audit
 * log and approvals mask.
 */
#ifndef COMMON_MASK_H
#define COMMON_MASK_H

#include <jansson.h>

#include "common/str.h"

/* What stands in the place of a masked value. */
#define MASK_TEXT "***"

/* Is the value of a query parameter of this name a secret? Names as decoded, in any case, '-' as '_'. */
bool mask_parameter(struct str name);
/*
 * Is the value of a member of this name? Narrower: "code", "state" and "key" are secrets in a URL (OAuth, old clients),
 * but ordinary words in a document.
 */
bool mask_member(struct str name);
/* Masks all such members of a document, however deep. */
void mask_document(json_t *doc);

#endif
