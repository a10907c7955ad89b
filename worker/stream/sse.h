/* SPDX-License-Identifier: MIT */
/*
 * GET /api/debates/{id}/events.
 */
#ifndef WORKER_STREAM_SSE_H
#define WORKER_STREAM_SSE_H

#include "worker/http/http.h"

/* Route handler (waits): a JSON page {events, next_seq}, or server-sent events from after_seq on. */
CO_FN void stream_events(struct http_request *req);

#endif
