/* SPDX-License-Identifier: MIT */
/*
 * The web application that is served beside the API.
 */
#ifndef WORKER_WEB_SITE_H
#define WORKER_WEB_SITE_H

#include "worker/http/route.h"

/* In use when static.root is set; they take the place of root_routes (system.h). */
extern const struct route_table site_routes;

#endif
