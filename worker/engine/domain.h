/* SPDX-License-Identifier: MIT */
/*
 * What a question is about, as ratings and memory file it: by words, the first subject of the table that has one.
 */
#ifndef WORKER_ENGINE_DOMAIN_H
#define WORKER_ENGINE_DOMAIN_H

#include "common/str.h"

#define DOMAIN_GENERAL "general"

/* The subject of a question; DOMAIN_GENERAL if no word tells. Static. Pure, O(length), never fails. */
struct str domain_of(struct str task);

#endif
