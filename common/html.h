/* SPDX-License-Identifier: MIT */
/*
 * Text inside HTML.
 */
#ifndef COMMON_HTML_H
#define COMMON_HTML_H

#include "common/str.h"

/* Appends s with & < > " ' as entities: safe as text and inside a quoted attribute. */
void html_escape(struct buf *out, struct str s);

#endif
