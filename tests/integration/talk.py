# SPDX-License-Identifier: MIT
"""What several test files say to a server: start a debate and wait for its end, read events in all three ways.

Every reader ends with the test: sockets and streams have time limits and raise when nothing comes.
"""
import asyncio
import json
import re
import threading
import time

import requests
import websockets

from conftest import wait_until

TASK = "Should the team keep sessions in Redis or in Postgres?"
DONE = {"completed", "failed", "cancelled"}
TOKENS = {"token_start", "token_delta", "token_end"}
CONTROL = {"connection_info", "loop_list", "subscribed", "unsubscribed", "sync", "replay_start", "replay_end", "pong",
           "heartbeat", "error", "warning"}


def create(server, task=TASK, rounds=1, **body):
    r = server.post("/api/debates", {"task": task, "rounds": rounds, **body})
    assert r.status_code == 200, r.text
    return r.json()["id"]


def envelope(r, status, code, field=None):
    """Checks the one shape of all errors; returns it."""
    assert r.status_code == status, "%d %s" % (r.status_code, r.text)
    assert r.headers["Content-Type"] == "application/json"
    e = r.json()
    assert isinstance(e["error"], str) and e["error"]
    assert e["code"] == code
    assert e["trace_id"] == r.headers["X-Request-ID"]
    if field is not None:
        assert e["field"] == field, e
    return e


def samples(text):
    """Prometheus text to {name with labels: value}; also checks that every line has the right form."""
    found = {}
    for line in text.splitlines():
        if line.startswith("# "):
            assert re.match(r"# (HELP \w+ \S.*|TYPE \w+ (counter|gauge|histogram))$", line), line
            continue
        m = re.match(r'([a-zA-Z_:]\w*(?:\{(?:\w+="(?:[^"\\]|\\.)*",?)*\})?) (\S+)$', line)
        assert m, line
        assert m[1] not in found, "twice: " + m[1]
        found[m[1]] = float(m[2])
    return found


def total(found, name):
    """Sum over all label sets."""
    return sum(v for k, v in found.items() if k == name or k.startswith(name + "{"))


def metric(server, name, **labels):
    """One series, its labels in the order of /metrics; of a name alone the sum of all its series."""
    if labels:
        name += "{%s}" % ",".join('%s="%s"' % p for p in labels.items())
    return total(samples(server.get("/metrics").text), name)


def status(server, debate):
    r = server.get("/api/debates/%s/status" % debate)
    assert r.status_code == 200, r.text
    return r.json()


def wait_status(server, debate, wanted, timeout=60):
    wanted = {wanted} if isinstance(wanted, str) else set(wanted)
    return wait_until(lambda: (s := status(server, debate))["status"] in wanted and s, timeout,
                      "debate in state %s" % sorted(wanted), 0.03)


def wait_end(server, debate, timeout=60):
    """Waits for the end and returns the full object."""
    wait_status(server, debate, DONE, timeout)
    return server.get("/api/debates/%s" % debate).json()


def debate(server, task=TASK, rounds=1, **body):
    """A debate from creation to its end: the full object."""
    return wait_end(server, create(server, task, rounds, **body))


def page(server, debate, after=0, limit=500):
    r = server.get("/api/debates/%s/events" % debate, params={"after_seq": after, "limit": limit})
    assert r.status_code == 200, r.text
    return r.json()


def log(server, debate, after=0):
    """All events after a seq, page by page."""
    found = []
    while True:
        p = page(server, debate, after, 100)
        found += p["events"]
        if not p["has_more"]:
            return found
        after = p["next_seq"]


def dense(events, after=0):
    """Fails unless the events are numbered after+1, after+2 ... without hole or repetition."""
    seqs = [e["seq"] for e in events]
    assert seqs == list(range(after + 1, after + 1 + len(seqs))), seqs


def durable(frames, debate=None):
    return [f for f in frames if f.get("seq") and (debate is None or f["debate_id"] == debate)]


# ---- server-sent events ----

class Sse:
    """One stream of server-sent events, parsed as a browser would."""

    def __init__(self, server, debate, headers=None, timeout=30, **params):
        self.response = requests.get(server.url + "/api/debates/%s/events" % debate, params=params, stream=True,
                                     headers={"Accept": "text/event-stream", **(headers or {})}, timeout=timeout)

    def __iter__(self):
        event = {}
        for line in self.response.iter_lines(chunk_size=1, decode_unicode=True):
            if line == "":
                if "data" in event:
                    yield event
                event = {}
            elif not line.startswith(":"):
                key, _, value = line.partition(":")
                event[key] = value[1:] if value.startswith(" ") else value

    def events(self):
        """Reads to the end; checks id and event lines against the data; returns the envelopes."""
        found = []
        for e in self:
            data = json.loads(e["data"])
            assert e["event"] == data["type"]
            assert e.get("id") == (str(data["seq"]) if "seq" in data else None)
            found.append(data)
        return found

    def close(self):
        self.response.close()


# ---- WebSockets ----

class Socket:
    """One WebSocket on the event loop of the test; keeps every frame, and fails on one that is no JSON object."""

    def __init__(self, url, **kw):
        kw.setdefault("open_timeout", 20)
        kw.setdefault("max_queue", None)
        self.connecting = websockets.connect(url, **kw)
        self.frames = []

    async def __aenter__(self):
        self.ws = await self.connecting.__aenter__()
        return self

    async def __aexit__(self, *exc):
        await self.connecting.__aexit__(*exc)

    async def send(self, **message):
        await self.ws.send(json.dumps(message))

    async def next(self, timeout=20):
        frame = json.loads(await asyncio.wait_for(self.ws.recv(), timeout))
        assert isinstance(frame, dict) and isinstance(frame["type"], str), frame
        self.frames.append(frame)
        return frame

    async def until(self, wanted, timeout=40):
        """Reads until a frame of that type, or one for which wanted(frame) is true, and returns it."""
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            assert left > 0, "%r did not come; last frames: %r" % (wanted, [f["type"] for f in self.frames[-20:]])
            frame = await self.next(left)
            if frame["type"] == wanted if isinstance(wanted, str) else wanted(frame):
                return frame

    async def end_of(self, debate, timeout=40):
        return await self.until(lambda f: f["type"] == "debate_end" and f["debate_id"] == debate, timeout)

    async def quiet(self, seconds):
        """Reads for that long; returns the frames that came."""
        start = len(self.frames)
        try:
            deadline = time.monotonic() + seconds
            while (left := deadline - time.monotonic()) > 0:
                await self.next(left)
        except asyncio.TimeoutError:
            pass
        return self.frames[start:]

    async def closed(self, timeout=20):
        """Reads until the server closes; returns the close code."""
        try:
            while True:
                await self.next(timeout)
        except websockets.ConnectionClosed:
            return self.ws.close_code

    async def ready(self):
        """The greeting has come."""
        await self.until("loop_list")
        return self


def socket(server, query="", port=None, **kw):
    return Socket("ws://127.0.0.1:%d/ws%s" % (port or server.port, query), **kw)


async def call(function, *args, **kw):
    """A blocking call beside the sockets of the test."""
    return await asyncio.get_running_loop().run_in_executor(None, lambda: function(*args, **kw))


def run(coroutine, timeout=90):
    return asyncio.run(asyncio.wait_for(coroutine, timeout))


def together(functions):
    """Runs the functions at the same time, each in a thread; returns their results in order."""
    results, start = [None] * len(functions), threading.Barrier(len(functions))

    def one(i):
        start.wait()
        results[i] = functions[i]()

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(functions))]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    return results
