# SPDX-License-Identifier: MIT
"""Clients of a service of several nodes: each follows one debate by WebSocket or SSE, leaves at random, comes back to a
random node and names the last seq it saw. One event loop in one thread carries them all."""
import asyncio
import json
import random
import threading

import aiohttp

STAY = 5.0  # seconds that a client stays at most before it changes the node


class Follower:
    def __init__(self, debate, wire):
        self.debate, self.wire = debate, wire
        self.events, self.visits, self.problem = [], 0, None
        self.finished = threading.Event()

    @property
    def last(self):
        return self.events[-1]["seq"] if self.events else 0

    def take(self, event):
        """True at the end of the debate."""
        if not isinstance(event.get("seq"), int):
            return False
        if event["seq"] != self.last + 1:
            self.problem = self.problem or "seq %d after %d" % (event["seq"], self.last)
        self.events.append(event)
        if event["type"] == "debate_end":
            self.finished.set()
        return self.finished.is_set()


class Audience:
    def __init__(self, nodes, seed):
        self.nodes, self.random = nodes, random.Random(seed)
        self.loop, self.session = asyncio.new_event_loop(), None
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        asyncio.run_coroutine_threadsafe(self.open(), self.loop).result(10)
        return self

    def __exit__(self, *exc):
        asyncio.run_coroutine_threadsafe(self.close(), self.loop).result(30)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    async def open(self):
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True))

    async def close(self):
        mine = asyncio.current_task()
        for task in asyncio.all_tasks():
            if task is not mine:
                task.cancel()
        await self.session.close()

    def follow(self, debate):
        """Followers of both wires; join them with finish()."""
        found = [Follower(debate, "ws"), Follower(debate, "sse")]
        for f in found:
            asyncio.run_coroutine_threadsafe(self.run(f), self.loop)
        return found

    @staticmethod
    def finish(follower, timeout=120):
        assert follower.finished.wait(timeout), "%s follower of %s has %d events after %d visits, the last is %s" % (
            follower.wire, follower.debate, len(follower.events), follower.visits,
            follower.events and follower.events[-1]["type"])
        assert follower.problem is None, (follower.wire, follower.debate, follower.problem)
        return follower.events

    async def run(self, follower):
        visit = {"ws": self.visit_ws, "sse": self.visit_sse}[follower.wire]
        while not follower.finished.is_set():
            follower.visits += 1
            try:
                await asyncio.wait_for(visit(follower, self.random.choice(self.nodes)), self.random.random() * STAY)
            except (aiohttp.ClientError, asyncio.TimeoutError, OSError):
                await asyncio.sleep(0.05 + self.random.random() * 0.2)

    async def visit_ws(self, follower, node):
        url = "%s/ws/%s?after_seq=%d" % (node.ws_url, follower.debate, follower.last)
        async with self.session.ws_connect(url, max_msg_size=0, timeout=1.0) as ws:
            async for message in ws:
                if message.type == aiohttp.WSMsgType.TEXT and follower.take(json.loads(message.data)):
                    return

    async def visit_sse(self, follower, node):
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(follower.last)}
        async with self.session.get("%s/api/debates/%s/events" % (node.url, follower.debate), headers=headers) as r:
            if r.status != 200:
                return
            buffer = b""
            async for part in r.content.iter_any():
                *blocks, buffer = (buffer + part).split(b"\n\n")
                for block in blocks:
                    data = [line[6:] for line in block.split(b"\n") if line.startswith(b"data: ")]
                    if data and follower.take(json.loads(data[0])):
                        return
