/* SPDX-License-Identifier: MIT */
/*
 * The agents of one worker: its breakers and how their state becomes visible. Private to this room.
 */
#ifndef WORKER_AGENTS_AGENTS_H
#define WORKER_AGENTS_AGENTS_H

#include "common/loop.h"
#include "worker/agents/agent.h"
#include "worker/agents/breaker.h"
#include "worker/agents/embed.h"
#include "worker/worker.h"

struct agents {
	struct worker *w;
	struct breakers breakers;
	struct embed *embed; /* remembered vectors */
	struct bus_sub *resets;
	struct loop_timer cooldown; /* an open breaker becomes half-open without anybody calling */
};

/* One attempt at one provider: no fallback. */
CO_FN void call_attempt(struct agents *ag, struct arena *arena, const struct agent_request *req,
			struct agent_reply *reply);
/* Publishes the gauge of every label that used b, and watches its cooldown. */
void agents_breaker_changed(struct agents *a, const struct breaker *b);

#endif
