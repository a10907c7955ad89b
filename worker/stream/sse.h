/* SPDX-License-Identifier: MIT */
/*
 * GET /api/debates/{id}/events, and the same for who holds a link to a debate.
 */
#ifndef WORKER_STREAM_SSE_H
#define WORKER_STREAM_SSE_H

#include "worker/http/http.h"

/* Route handler (waits): a JSON page {events, next_seq}, or server-sent events from after_seq on. */
CO_FN void stream_events(struct http_request *req);

struct debate_row;
/*
 * For a link's holder: the open events of the debate alone, as a page or a stream. The stream ends within a minute, so
 * that a link that was ended is not followed for longer; an EventSource comes back by itself. ctx: of the debate.
 */
CO_FN void stream_spectate(struct http_request *req, const struct context *ctx, const struct debate_row *row);

#endif
