/* SPDX-License-Identifier: MIT */
/*
 * Schemas of bodies as a table: what /api/openapi.json shows, and what the pipeline checks.
 */
#ifndef WORKER_SYSTEM_SCHEMA_H
#define WORKER_SYSTEM_SCHEMA_H

#include "worker/http/problems.h"

/* One property; `type` is a JSON type, "[]x" an array of x, "{}" a free object, "#Name" another schema. */
struct schema_field {
	const char *schema, *name, *type, *help;
	bool required;
};

extern const struct schema_field schema_fields[];
extern const size_t schema_fields_count;

/* Has the schema a field whose type and size the pipeline checks? Others are checked by their handlers. */
bool schema_checked(const char *schema);
/* Adds what is wrong with the fields that the pipeline checks. null counts as absent. */
void schema_check(const char *schema, const json_t *body, struct problems *p);

#endif
