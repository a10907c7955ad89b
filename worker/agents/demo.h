/* SPDX-License-Identifier: MIT */
/*
 * The built-in agents that play when no provider is configured: the same question always gets the same debate. Private
 * to this room.
 */
#ifndef WORKER_AGENTS_DEMO_H
#define WORKER_AGENTS_DEMO_H

#include "worker/agents/agent.h"

/* Appends the answer to req to out; a pure function of agent name and persona, phase, task and facts. */
void demo_answer(struct arena *a, const struct agent_request *req, struct buf *out);

#endif
