# SPDX-License-Identifier: MIT
"""Texts and streams too big for a datagram: nothing is cut, and who sleeps meanwhile misses nothing."""
import asyncio
import json
import os
import random
import time
from signal import SIGCONT, SIGSTOP

import pytest
import requests

from conftest import wait_until
from provider import provider  # noqa: F401  (a fixture)
from talk import TOKENS, call, create, debate, durable, log, run, socket

MODELS = ["m1", "m2", "m4"]
AGENTS = ["gpt", "claude", "ollama"]


def long_text(seed):
    """60 KB unlike those of other seeds, so that nobody takes the agents to agree."""
    words = random.Random(seed)
    return "POSITION: Number %d.\n\n" % seed + " ".join("%x" % words.getrandbits(40) for _ in range(5500))


def wordy(make_server, provider, workers, **debates):  # noqa: F811
    """Models that say 60 KB in one breath: events too big for a datagram, and deltas that would be."""
    return make_server({
        "server": {"workers": workers, "stall_timeout": "120s"}, "websocket": {"message_rate": 0},
        "providers": {"openai": {"base_url": provider.openai_url, "api_key": "k", "model": "m1"},
                      "anthropic": {"base_url": provider.anthropic_url, "api_key": "k", "model": "m2"},
                      "ollama": {"base_url": provider.ollama_url, "model": "m4"}},
        "debates": {"max_concurrent": 16, **debates}})


def test_long_texts_arrive_at_once_and_whole(make_server, provider):  # noqa: F811
    """
    Two big events that follow each other while the log is being read both arrive promptly, though silence comes after
    them. Token streams have no hole; those whose text is short come whole after many long ones.
    """
    for n, model in enumerate(MODELS):
        provider.script(phase="revise", model=model, text=long_text(n))
    provider.script(phase="critique", first_delay=2.0)  # until all sockets are there
    provider.script(phase="vote", first_delay=2.0)
    s, came, busy = wordy(make_server, provider, 3, token_merge="300ms"), {}, [0.0]

    async def canary():
        """How long the machine itself makes everybody wait."""
        while True:
            begun = time.monotonic()
            await call(s.get, "/healthz")
            busy.append(time.monotonic() - begun)
            await asyncio.sleep(0.05)

    async def watch(k, i):
        while (f := await k.next(40))["type"] != "debate_end" or f["debate_id"] != i:
            if f.get("seq"):
                came[id(k), f["debate_id"], f["seq"]] = time.time() - f["timestamp"]

    async def main():
        ids = [await call(create, s, "Long %d?" % n, 1, agents=AGENTS) for n in range(3)]
        sockets = [socket(s, "?debate_id=" + ids[n % 3], max_size=None) for n in range(6)]
        await asyncio.gather(*(k.__aenter__() for k in sockets))
        bird = asyncio.create_task(canary())
        await asyncio.gather(*(watch(k, ids[n % 3]) for n, k in enumerate(sockets)))
        bird.cancel()
        await asyncio.gather(*(k.__aexit__(None, None, None) for k in sockets))
        return ids, sockets
    ids, sockets = run(main())
    whole = []
    for n, k in enumerate(sockets):
        events = log(s, ids[n % 3])
        assert durable(k.frames) == events
        assert sum(len(json.dumps(e)) > 40000 for e in events) >= 3
        streams = {}
        for f in k.frames:
            if f["type"] not in TOKENS:
                continue
            key = f["task_id"], f["data"]["attempt"]
            if f["type"] == "token_start":
                streams[key] = [0, ""]
            elif f["type"] == "token_delta":
                streams[key][0] += 1
                assert f["agent_seq"] == streams[key][0], "a hole in " + f["task_id"]
                streams[key][1] += f["data"]["token"]
            else:
                text = streams[key][1]
                assert f["data"]["full_response"] == ("" if f["data"]["truncated"] else text)
                whole.append((key[0], len(text)))
    assert sum(size > 50000 for _, size in whole) >= 6
    assert max(came.values()) < 0.8 + 3 * max(busy), (sorted(came.values())[-10:], max(busy))


def test_token_streams_after_many_long_ones(make_server, provider):  # noqa: F811
    """The ends of long streams do not take the places of later ones."""
    for n, model in enumerate(MODELS):
        provider.script(phase="propose", model=model, text=long_text(n))
        provider.script(phase="revise", model=model, text=long_text(n + 3), times=6)  # the third round is short
    s = wordy(make_server, provider, 1, token_merge="5ms")

    async def main():
        i = await call(create, s, "Many?", 3, agents=AGENTS * 3)
        async with socket(s, "?debate_id=" + i, max_size=None) as k:
            await k.end_of(i, 60)
        return k.frames
    frames = run(main())
    assert sum(f["type"] == "agent_message" for f in durable(frames)) > 16
    # A long one may end early for a reader who is behind; the last one, which is short, follows when all have caught up.
    last = [f for f in frames if f["type"] in TOKENS and "synthesis" in f["task_id"]]
    assert [last[0]["type"], last[-1]["type"]] == ["token_start", "token_end"]
    text = "".join(f["data"]["token"] for f in last[1:-1])
    assert text == last[-1]["data"]["full_response"] == next(f for f in frames if f["type"] == "synthesis")["data"]["content"]


def test_firehose_of_a_worker_that_slept(make_server, provider):  # noqa: F811
    """Its mailbox was full and nothing told it of debates that began and ended meanwhile: it shows all of them."""
    for n, model in enumerate(MODELS):
        provider.script(phase="propose", model=model, text=long_text(n), first_delay=1.5)
        provider.script(phase="revise", model=model, text=long_text(n + 3))
    s = wordy(make_server, provider, 2, token_merge="5ms")

    def lost(session):
        text = session.get(s.url + "/metrics", timeout=5).text
        return float(next(x for x in text.splitlines() if x.startswith("aragora_bus_dropped_total ")).split()[1])

    def first_that_answers(sessions):
        for x in sessions:
            try:
                x.get(s.url + "/healthz", timeout=1)
                return x
            except requests.RequestException:
                pass
        pytest.fail("nobody is awake")

    def begin(session, n):
        return session.post(s.url + "/api/debates", json={"task": "Unseen %d?" % n, "rounds": 1, "agents": AGENTS},
                            timeout=2).json()["id"]

    def ended(session, debate):
        return session.get(s.url + "/api/debates/%s/status" % debate, timeout=5).json()["status"] == "completed"

    def full(session, more):
        """Has the sleeper's mailbox lost anything? If not, somebody goes on talking."""
        if lost(session) > 0:
            return True
        if all(ended(session, i) for i in more):
            more.append(begin(session, 100 + len(more)))
        return False

    def put_to_sleep(pid, sessions):
        """Stops the worker, but not while it holds the lock of the store; returns a session with the other one."""
        for _ in range(20):
            os.kill(pid, SIGSTOP)
            try:
                awake = first_that_answers(sessions)
                begin(awake, 99)
                return awake
            except requests.RequestException:
                os.kill(pid, SIGCONT)
                time.sleep(0.05)
        pytest.fail("the store is always locked")

    async def main():
        async with socket(s, max_size=None) as k:
            await k.ready()
            await k.quiet(0.6)
            # Sessions that were there before: at least one is with the worker that stays awake.
            sessions = [requests.Session() for _ in range(8)]
            for x in sessions:
                assert x.get(s.url + "/healthz", timeout=5).status_code == 200
            sleeper = next(w["pid"] for w in await call(s.workers) if w["sockets"] == 1)
            ids, more = [await call(begin, sessions[0], n) for n in range(8)], []
            await call(wait_until, lambda: all(w["debates"] > 2 for w in s.workers()), 10, "debates everywhere")
            try:
                awake = await call(put_to_sleep, sleeper, sessions)
                await call(wait_until, lambda: full(awake, more), 120, "a full mailbox", 0.1)
                unseen = [await call(begin, awake, n) for n in range(2)]
                await call(wait_until, lambda: all(ended(awake, i) for i in unseen), 30, "ends", 0.1)
            finally:
                os.kill(sleeper, SIGCONT)
            ids += unseen + more
            while not {f["debate_id"] for f in k.frames if f["type"] == "debate_end"} >= set(ids):
                await k.next(60)
            await k.quiet(0.8)
            return ids, k.frames
    ids, frames = run(main())
    for i in ids:
        assert durable(frames, i) == log(s, i)
