/* SPDX-License-Identifier: MIT */
/*
 * The registry of secret fields. Read by `aragorad encrypt`; the areas themselves seal and open their fields. The row
 * of an envelope is named by the table's primary key, its columns joined with '|'.
 */
#include "worker/secrets.h"

const struct secret_store secret_stores[] = {
    {"deliveries", "debate_callbacks", {"secret", NULL}},
};
const size_t secret_stores_count = countof(secret_stores);
