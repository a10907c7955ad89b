# SPDX-License-Identifier: MIT
"""Event streams: WebSocket, server-sent events and the JSON page tell the same story, each number once."""
import asyncio
import json
import os
import time
from signal import SIGHUP, SIGKILL

import pytest
import websockets

from conftest import wait_until
from talk import (CONTROL, TASK, TOKENS, Socket, Sse, call, create, debate, dense, durable, log, page, run, socket, status,
                  wait_end)


@pytest.fixture(scope="module")
def done(live):
    """A finished debate and its log."""
    d = debate(live)
    d["log"] = log(live, d["id"])
    return d


# ---- the log as a page ----

def test_log_is_dense_and_complete(done):
    events = done["log"]
    dense(events)
    types = [e["type"] for e in events]
    assert types[0] == "debate_start" and types[-1] == "debate_end"
    assert types.count("debate_start") == types.count("debate_end") == types.count("consensus") == 1
    assert {"round_start", "agent_message", "critique", "vote", "synthesis", "receipt_generated"} <= set(types)
    assert not TOKENS & set(types)
    for e in events:
        assert e["debate_id"] == e["loop_id"] == done["id"]
        assert isinstance(e["data"], dict) and isinstance(e["round"], int) and isinstance(e["agent"], str)
        assert isinstance(e["agent_seq"], int) and abs(e["timestamp"] - time.time()) < 3600
        assert e["data"]["debate_id"] == done["id"]
    assert len({e["event_id"] for e in events}) == len(events)
    assert [e["timestamp"] for e in events] == sorted(e["timestamp"] for e in events)


def test_events_have_what_clients_read(done):
    by = {}
    for e in done["log"]:
        by.setdefault(e["type"], e)
    start, end = by["debate_start"]["data"], by["debate_end"]["data"]
    assert start["task"] == start["question"] == TASK and start["agents"] == start["participants"] == done["agents"]
    assert start["total_rounds"] == 1 and start["protocol"]
    assert by["round_start"]["data"]["round_number"] == by["round_start"]["round"] == 1
    message = by["agent_message"]
    assert message["agent"] == message["data"]["agent"] in done["agents"]
    assert message["data"]["content"] and message["data"]["role"] and message["data"]["round_number"] == 0
    critique = by["critique"]["data"]
    assert critique["target"] == critique["target_agent"] in done["agents"] and critique["issues"]
    assert 0 <= critique["severity"] <= 10 and critique["severity_label"] in ("minor", "moderate", "major")
    vote = by["vote"]["data"]
    assert vote["vote"] == vote["choice"] in done["agents"] and 0 <= vote["confidence"] <= 1 and vote["reasoning"]
    consensus = by["consensus"]["data"]
    assert consensus["reached"] is done["consensus_reached"] and consensus["answer"] and "confidence" in consensus
    assert by["synthesis"]["data"]["content"]
    assert end["result"] == done["final_answer"] and end["consensus_reached"] is done["consensus_reached"]
    assert end["rounds"] == done["rounds_used"] and end["total_rounds"] == 1 and end["task"] == TASK and end["duration"] >= 0


def test_page(live, done):
    last = len(done["log"])
    whole = page(live, done["id"], 0, 500)
    assert whole["next_seq"] == whole["last_seq"] == whole["count"] == last and whole["has_more"] is False
    part = page(live, done["id"], 3, 4)
    assert part["events"] == done["log"][3:7] and part["next_seq"] == 7 and part["has_more"] is True
    end = page(live, done["id"], last)
    assert end["events"] == [] and end["next_seq"] == last and end["has_more"] is False
    beyond = page(live, done["id"], last + 100)
    assert beyond["events"] == []
    url = "/api/debates/%s/events" % done["id"]
    for name in ("after_seq", "last_seq", "replay_from_seq", "since"):
        assert live.get(url, params={name: 5, "limit": 1}).json()["events"] == [done["log"][5]]
    assert live.get(url, params={"limit": 1}, headers={"Last-Event-ID": "7"}).json()["events"] == [done["log"][7]]
    assert len(live.get(url, params={"limit": 10 ** 9}).json()["events"]) == min(last, 500)
    assert live.get(url, params={"since": "x", "limit": 1}).json()["events"] == [done["log"][0]]
    assert live.get("/api/v1/debates/%s/events" % done["id"]).json()["events"] == done["log"][:100]


def test_log_can_be_searched_as_the_manuals_do(live, done):
    async def main():
        async with socket(live) as k:
            await k.ready()
    run(main())
    text = live.log()
    assert "WebSocket" in text and "debate_duration" in text and done["agents"][0] in text
    ended = [x for x in live.log_lines() if x.get("debate_id") == done["id"] and "debate_duration" in x]
    assert len(ended) == 1 and ended[0]["debate_duration"] >= 0 and ended[0]["component"] == "debate"
    calls = [x for x in live.log_lines() if x.get("debate_id") == done["id"] and "tokens_out" in x and "agent" in x]
    assert len(calls) >= 12 and all(x["duration_ms"] >= 0 and x["tokens_out"] > 0 for x in calls)


# ---- the three ways are one ----

def test_three_ways_give_the_same(live):
    async def main():
        i = create(live)
        stream = call(lambda: Sse(live, i).events())
        async with socket(live, "?debate_id=" + i) as a, socket(live, "?debate_id=" + i, port=live.ws_port) as b:
            sse, *_ = await asyncio.gather(stream, a.end_of(i), b.end_of(i))
        return i, sse, a.frames, b.frames

    i, sse, a, b = run(main())
    wait_end(live, i)
    events = log(live, i)
    dense(events)
    for frames in (sse, a, b):
        assert durable(frames) == events
    for frames in (a, b):
        types = [f["type"] for f in frames]
        assert types[:2] == ["connection_info", "loop_list"]
        assert "subscribed" in types and "sync" in types
        assert all(f["debate_id"] == i for f in frames if f["type"] not in CONTROL)


def test_resume_from_every_seq(live, done):
    events = done["log"]

    async def over_socket(after):
        async with socket(live) as k:
            await k.ready()
            await k.send(type="subscribe", debate_id=done["id"], replay_from_seq=after)
            await k.until("replay_end")
        return k.frames

    async def main():
        gate = asyncio.Semaphore(8)

        async def one(after):
            async with gate:
                return await over_socket(after)
        return await asyncio.gather(*(one(n) for n in range(len(events) + 1)))

    for after, frames in enumerate(run(main())):
        assert durable(frames) == events[after:], after
        start = next(f for f in frames if f["type"] == "replay_start")["data"]
        end = next(f for f in frames if f["type"] == "replay_end")["data"]
        assert start["from_seq"] == after and start["event_count"] == len(events) - after
        assert start["buffer_oldest_seq"] == 1 and start["buffer_latest_seq"] == len(events)
        assert end["replayed_count"] == len(events) - after and end["latest_seq"] == len(events)
        assert "gap" not in start and "sync" not in [f["type"] for f in frames]


def test_sse_resumes_from_every_seq(live, done):
    events = done["log"]
    for after in range(len(events)):
        assert Sse(live, done["id"], headers={"Last-Event-ID": str(after)}).events() == events[after:], after


def test_resume_while_it_runs(live):
    """Cuts the connection after every few events and goes on with the last seq: the union has no hole and no repetition."""
    async def main():
        i, seen, ports = create(live), [], [live.port, live.ws_port]
        for n in range(500):
            async with socket(live, "?debate_id=%s&after_seq=%d" % (i, len(seen)), port=ports[n % 2]) as k:
                fresh = 0
                while fresh < 3 and not (seen and seen[-1]["type"] == "debate_end"):
                    frame = await k.next()
                    if frame.get("seq"):
                        seen.append(frame)
                        fresh += 1
                k.ws.transport.abort()
            if seen[-1]["type"] == "debate_end":
                return i, seen
    i, seen = run(main())
    assert seen == log(live, i)


def test_resume_from_the_future(live, done):
    async def main():
        async with socket(live) as k:
            await k.ready()
            await k.send(type="subscribe", debate_id=done["id"], replay_from_seq=10 ** 6)
            await k.until("replay_end")
            return k.frames
    frames = run(main())
    types = [f["type"] for f in frames]
    assert types.index("sync") < types.index("replay_start") < types.index("replay_end")
    assert next(f for f in frames if f["type"] == "replay_start")["data"]["gap"] is True
    assert durable(frames) == []


# ---- across workers ----

def test_every_worker_shows_every_debate(live):
    """Thirty sockets spread over three workers; each gets each event of debates that run on any worker."""
    async def main():
        ids = [await call(create, live, "Question %d for everybody?" % n) for n in range(3)]
        sockets = [socket(live, "?debate_id=" + ids[n % 3]) for n in range(30)]
        await asyncio.gather(*(k.__aenter__() for k in sockets))
        spread = [w["sockets"] for w in live.workers()]
        await asyncio.gather(*(k.end_of(ids[n % 3]) for n, k in enumerate(sockets)))
        await asyncio.gather(*(k.__aexit__(None, None, None) for k in sockets))
        return ids, sockets, spread

    ids, sockets, spread = run(main())
    logs = {i: log(live, i) for i in ids}
    for n, k in enumerate(sockets):
        assert durable(k.frames) == logs[ids[n % 3]], n
    assert len(spread) == 3 and all(n > 0 for n in spread), spread


def test_socket_count_is_shown(live):
    def shown():
        text = live.get("/metrics").text
        return float(next(x for x in text.splitlines() if x.startswith("aragora_ws_connections_active ")).split()[1])

    async def main():
        async with socket(live) as a, socket(live) as b:
            await a.ready()
            await b.ready()
            await call(wait_until, lambda: sum(w["sockets"] for w in live.workers()) == 2)
            await call(wait_until, lambda: shown() == 2)
    wait_until(lambda: shown() == 0, what="no sockets before")
    run(main())
    wait_until(lambda: shown() == 0 and sum(w["sockets"] for w in live.workers()) == 0, what="sockets gone")


# ---- the firehose ----

def test_firehose_has_all_debates_without_gaps(live):
    async def main():
        async with socket(live) as a, socket(live, "/events") as b, socket(live, "") as c:
            for k in (a, b, c):
                await k.ready()
            await c.send(type="subscribe_all")
            await c.until("subscribed")
            ids = [await call(create, live, "Firehose %d?" % n) for n in range(4)]
            for k in (a, b, c):
                for i in ids:
                    if not any(f["type"] == "debate_end" and f["debate_id"] == i for f in k.frames):
                        await k.end_of(i)
            return ids, [k.frames for k in (a, b, c)]
    ids, all_frames = run(main())
    for i in ids:
        events = log(live, i)
        for frames in all_frames:
            assert durable(frames, i) == events


def test_firehose_is_gap_free_in_the_middle_of_a_debate(live):
    async def main():
        i = create(live)
        await call(wait_until, lambda: status(live, i)["last_seq"] > 3)
        async with socket(live) as k:
            await k.end_of(i)
        return i, k.frames
    i, frames = run(main())
    got = durable(frames, i)
    assert got == log(live, i)[got[0]["seq"] - 1:]


def test_firehose_that_joins_late_misses_nothing_later(live):
    """Six sockets join while debates run, some of them followed already: each later event comes, of each debate."""
    async def main():
        old = [await call(create, live, "Old %d?" % n) for n in range(5)]
        followed = [socket(live, "?debate_id=" + i) for i in old[:3]]
        await asyncio.gather(*(k.__aenter__() for k in followed))
        await call(wait_until, lambda: all(status(live, i)["last_seq"] > 2 for i in old))
        hoses = [socket(live, port=(live.port, live.ws_port)[n % 2]) for n in range(6)]
        await asyncio.gather(*(k.__aenter__() for k in hoses))
        await asyncio.gather(*(k.ready() for k in hoses))
        stood = {i: (await call(status, live, i))["last_seq"] for i in old}
        new = [await call(create, live, "New %d?" % n) for n in range(3)]
        for k in hoses:
            for i in old + new:
                if not any(f["type"] == "debate_end" and f["debate_id"] == i for f in k.frames):
                    await k.end_of(i)
        await asyncio.gather(*(k.__aexit__(None, None, None) for k in followed + hoses))
        return stood, new, [k.frames for k in hoses]
    stood, new, all_frames = run(main())
    for i in [*stood, *new]:
        events = log(live, i)
        for frames in all_frames:
            got = durable(frames, i)
            assert got == events[got[0]["seq"] - 1:]
            assert got[0]["seq"] <= stood.get(i, 0) + 1


def test_firehose_forgets_what_has_ended(make_server):
    """Many debates under one open firehose: none is kept after its end, none is shown again when a worker dies."""
    s = make_server({"server": {"workers": 2}, "debates": {"max_concurrent": 16},
                     "websocket": {"message_rate": 0}})

    def topics():
        text = s.get("/metrics").text
        return float(next(x for x in text.splitlines() if x.startswith("aragora_stream_topics ")).split()[1])

    def seen(k):
        return {f["debate_id"] for f in k.frames if f["type"] == "debate_end"}

    async def main():
        async with socket(s) as k:
            await k.ready()
            ids, most = [], 0
            for n in range(60):
                ids.append(await call(create, s, "Number %d?" % n))
                most = max(most, await call(topics))
            while not seen(k) >= set(ids):
                await k.next(40)
            assert most >= 10
            reader = asyncio.ensure_future(k.quiet(60))
            await call(wait_until, topics_gone, 30, "no topics")
            other = next(w["pid"] for w in s.workers() if w["sockets"] == 0)
            before = len(durable(k.frames))
            await call(os.kill, other, SIGKILL)
            await call(wait_until, lambda: other not in [w["pid"] for w in s.workers()] and len(s.workers()) == 2)
            last = await call(create, s, "The last one?")
            await call(wait_end, s, last)
            await call(wait_until, lambda: last in seen(k), 10, "the last end")
            reader.cancel()
            return ids, last, k.frames, before

    def topics_gone():
        return topics() == 0
    ids, last, frames, before = run(main())
    assert {f["debate_id"] for f in durable(frames)[before:]} == {last}
    for i in ids[::10] + [last]:
        assert durable(frames, i) == log(s, i)


def test_first_subscribe_narrows(live):
    async def main():
        async with socket(live) as k:
            await k.ready()
            mine = await call(create, live, "Mine?")
            await k.send(type="subscribe", debate_id=mine)
            await k.until("subscribed")
            before = len(k.frames)
            other = await call(create, live, "Not mine?")
            await k.end_of(mine)
            await call(wait_end, live, other)
            await k.quiet(0.5)
            return mine, other, k.frames[before:]
    mine, other, frames = run(main())
    assert durable(frames, other) == []
    assert durable(frames, mine)[-1]["type"] == "debate_end"


def test_resume_after_a_moment_repeats_nothing(live):
    """What the firehose would have shown between opening and subscribing comes once, in its place."""
    async def main():
        i = create(live)
        await call(wait_until, lambda: status(live, i)["last_seq"] > 3)
        async with socket(live) as k:
            await k.ready()
            await k.quiet(0.15)
            await k.send(type="subscribe", debate_id=i, replay_from_seq=2)
            await k.end_of(i)
            await k.send(type="subscribe", debate_id=i)  # once more changes nothing
            await k.quiet(0.2)
            return i, k.frames
    i, frames = run(main())
    assert durable(frames) == log(live, i)[2:]


def test_subscribing_again_with_a_number_replays(live, done):
    """A client that lost its place asks again on the same socket; without a number it is only told where it stands."""
    async def main():
        async with socket(live) as k:
            await k.ready()
            answers = []
            for after in (5, None, 3, 0):
                start = len(k.frames)
                await k.send(type="subscribe", debate_id=done["id"],
                             **({} if after is None else {"replay_from_seq": after}))
                await k.until("subscribed" if after is None else "replay_end")
                await k.quiet(0.1)
                answers.append((after, k.frames[start:]))
            return answers
    last = len(done["log"])
    for after, frames in run(main()):
        assert durable(frames) == (done["log"][after:] if after is not None else [])
        told = [f for f in frames if f["type"] == "subscribed"]
        assert len(told) == 1 and told[0]["data"]["last_seq"] == last


def test_young_debate_by_url_starts_once(live):
    """By URL the log comes from its beginning: the start is not told a second time in advance."""
    async def main(n):
        i = await call(create, live, "Young %d?" % n)
        if n % 2:
            await call(wait_until, lambda: status(live, i)["last_seq"] > 2)
        async with socket(live, "?debate_id=" + i) as k:
            await k.end_of(i)
        return i, k.frames

    async def late():
        i = await call(create, live, "Late?")
        await call(wait_until, lambda: status(live, i)["last_seq"] > 2)
        async with socket(live) as k:
            await k.ready()
            await k.send(type="subscribe", debate_id=i)
            await k.end_of(i)
        return k.frames

    async def all_of_them():
        return await asyncio.gather(late(), *(main(n) for n in range(4)))
    late_frames, *young = run(all_of_them())
    for i, frames in young:
        assert [f["type"] for f in frames].count("debate_start") == 1
        assert durable(frames) == log(live, i)
    # Who joins later by message sees no log: it is told that the debate has started, without a number.
    starts = [f for f in late_frames if f["type"] == "debate_start"]
    assert len(starts) == 1 and "seq" not in starts[0]


def test_two_subscriptions_and_unsubscribe(live):
    async def main():
        ids = [await call(create, live, "Both %d?" % n) for n in range(2)]
        async with socket(live, "?debate_id=" + ids[0]) as k:
            await k.send(type="subscribe", debate_ids=[ids[1]], replay_from_seq=0)
            await k.until(lambda f: f["type"] == "subscribed" and f["data"]["debate_id"] == ids[1])
            for i in ids:
                if not any(f["type"] == "debate_end" and f["debate_id"] == i for f in k.frames):
                    await k.end_of(i)
            both = list(k.frames)
            third, fourth = [await call(create, live, "More %d?" % n) for n in range(2)]
            await k.send(type="subscribe", loop_id=third)
            await k.until(lambda f: f["type"] == "subscribed" and f["data"]["debate_id"] == third)
            await k.send(type="unsubscribe", debate_id=third)
            await k.until(lambda f: f["type"] == "unsubscribed" and f["data"]["debate_id"] == third)
            for i in ids:
                await k.send(type="unsubscribe", debate_id=i)
                await k.until(lambda f: f["type"] == "unsubscribed" and f["data"]["debate_id"] == i)
            after = len(k.frames)
            for i in (third, fourth):
                await call(wait_end, live, i)
            await k.quiet(0.5)
            return ids, both, k.frames[after:]
    ids, both, rest = run(main())
    for i in ids:
        assert durable(both, i) == log(live, i)
    assert durable(rest) == [] and not TOKENS & {f["type"] for f in rest}


def test_all_and_one_give_an_event_once(live):
    async def main():
        async with socket(live) as k:
            await k.ready()
            await k.send(type="subscribe", channel="dashboard")
            await k.until("subscribed")
            i = await call(create, live)
            await k.send(type="subscribe", debate_id=i, replay_from_seq=0)
            await k.until(lambda f: f["type"] == "subscribed" and f["data"].get("debate_id") == i)
            before = len(k.frames)
            await k.end_of(i)
            other = await call(create, live)
            await k.end_of(other)
            return i, other, k.frames[before:], k.frames
    i, other, after, frames = run(main())
    assert durable(after, i) == log(live, i)
    assert durable(frames, other) == log(live, other)


# ---- latecomers and snapshots ----

def test_sync_for_latecomers(live):
    async def main():
        i = create(live)
        await call(wait_until, lambda: status(live, i)["message_count"] >= 4)
        async with socket(live) as k:
            await k.ready()
            await k.send(type="subscribe", debate_id=i)
            sync = await k.until("sync")
            again = await k.next()
            await k.end_of(i)
        return i, sync, again, k.frames
    i, sync, again, frames = run(main())
    state = sync["data"]
    assert sync["debate_id"] == i == state["id"] == state["debate_id"] and state["task"] == TASK and len(state["agents"]) >= 2
    assert state["ended"] is False and state["status"] == "running" and state["started_at"] > 0
    assert len(state["messages"]) >= 4 and {"agent", "role", "round", "content", "timestamp"} <= set(state["messages"][0])
    assert again["type"] == "debate_start" and again["data"]["status"] == "in_progress" and "seq" not in again
    # snapshot and stream join without hole and without repetition
    whole = log(live, i)
    after = frames[frames.index(sync):]
    assert durable(after) == whole[state["last_seq"]:]
    said = [e["data"]["content"] for e in whole[:state["last_seq"]] if e["type"] == "agent_message"]
    assert [m["content"] for m in state["messages"]] == said


def test_sync_of_a_finished_debate(live, done):
    async def main():
        async with socket(live) as k:
            await k.ready()
            await k.send(type="subscribe", debate_id=done["id"])
            sync = await k.until("sync")
            return sync, await k.quiet(0.4)
    sync, rest = run(main())
    s = sync["data"]
    assert s["ended"] is True and s["consensus_reached"] is done["consensus_reached"] and s["consensus_answer"] == done["final_answer"]
    assert s["last_seq"] == len(done["log"]) and len(s["messages"]) == done["message_count"]
    assert {f["type"] for f in rest} <= {"heartbeat"}


@pytest.mark.parametrize("path", ["/ws/%s", "/ws/debates/%s", "/ws?loop_id=%s"])
def test_url_forms(live, done, path):
    async def main():
        async with Socket(live.ws_url + path % done["id"]) as k:
            await k.end_of(done["id"])
            return k.frames
    assert durable(run(main())) == done["log"]


def test_unknown_debate(live):
    async def main():
        async with socket(live, "?debate_id=nope") as k:
            error = await k.until(lambda f: f["type"] in ("error", "warning"))
            await k.send(type="ping")
            await k.until("pong")
            return error
    error = run(main())
    assert error["data"]["code"] == 404 and "nope" in error["data"]["message"]


# ---- tokens ----

def test_tokens_are_live_numbered_and_not_stored(live):
    async def main():
        async with socket(live) as k:
            await k.ready()
            i = await call(create, live)
            await k.send(type="subscribe", debate_id=i, replay_from_seq=0)
            await k.end_of(i)
            return i, k.frames
    i, frames = run(main())
    streams, texts, whole = {}, {}, 0
    for f in frames:
        if f["type"] not in TOKENS:
            continue
        key = f["task_id"], f["data"]["attempt"]
        assert "seq" not in f and f["agent"] == f["data"]["agent"] and f["debate_id"] == i
        if f["type"] == "token_start":
            assert key not in streams, "started twice"
            streams[key], texts[key] = 0, ""
        elif f["type"] == "token_delta":
            streams[key] += 1
            assert f["agent_seq"] == f["data"]["seq"] == streams[key]
            assert f["data"]["token"] == f["data"]["delta"] != ""
            texts[key] += f["data"]["token"]
        else:
            assert f["data"]["full_response"] == f["data"]["full_content"] == texts[key]
            whole += 1
    # drafts may have begun before the subscription; revisions and the synthesis have not
    assert whole >= 5 and max(streams.values()) > 1
    messages = [e["data"]["content"] for e in log(live, i) if e["type"] == "agent_message" and e["round"] > 0]
    assert len(messages) == 4 and set(messages) <= {t.strip() for t in texts.values()}
    # the pieces come before the message that they become
    for n, f in enumerate(frames):
        if f["type"] == "agent_message" and f["data"]["content"] in messages:
            key = next(k for k, text in texts.items() if text.strip() == f["data"]["content"])
            pieces = [m for m, d in enumerate(frames) if d["type"] == "token_delta" and (d["task_id"], d["data"]["attempt"]) == key]
            assert len(pieces) == streams[key] > 1 and pieces[0] < n
    assert not TOKENS & {e["type"] for e in log(live, i)}


def test_tokens_over_sse_have_no_id(live):
    i = create(live)
    raw = list(Sse(live, i))
    assert {"token_start", "token_delta", "token_end"} <= {e["event"] for e in raw}
    assert all(("id" in e) == (e["event"] not in TOKENS) for e in raw)


# ---- server-sent events ----

def test_sse_head(live, done):
    s = Sse(live, done["id"])
    r = s.response
    assert r.status_code == 200 and r.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert r.headers["Cache-Control"] == "no-cache" and r.headers["X-Accel-Buffering"] == "no"
    assert r.headers["X-Request-ID"] and r.headers["X-Content-Type-Options"] == "nosniff"
    assert s.events() == done["log"]  # and ends by itself after debate_end
    assert live.get("/api/debates/%s/events?stream=1" % done["id"]).headers["Content-Type"].startswith("text/event-stream")


def test_sse_head_request_does_not_wait(live):
    i = create(live)
    start = time.monotonic()
    r = live.request("HEAD", "/api/debates/%s/events" % i, headers={"Accept": "text/event-stream"})
    assert r.status_code == 200 and r.headers["Content-Type"] == "text/event-stream; charset=utf-8" and r.content == b""
    assert status(live, i)["status"] in ("created", "running"), "%.1f s" % (time.monotonic() - start)
    wait_end(live, i)


def test_sse_after_the_end_is_told_to_stay_away(live, done):
    last = len(done["log"])
    r = live.get("/api/debates/%s/events" % done["id"], headers={"Accept": "text/event-stream", "Last-Event-ID": str(last)})
    assert r.status_code == 204 and r.content == b""
    r = live.get("/api/debates/nope/events", headers={"Accept": "text/event-stream"})
    assert r.status_code == 404 and r.json()["code"] == "NOT_FOUND"


def test_sse_ends_soon_after_the_debate(live):
    i = create(live)
    events = Sse(live, i).events()
    end = time.time()
    # By itself, and not at the next sign of life (15 s).
    assert events[-1]["type"] == "debate_end" and end - events[-1]["timestamp"] < 10
    dense(durable(events))


def test_sse_reader_that_leaves(live):
    i = create(live)
    for _ in range(5):
        s = Sse(live, i)
        next(iter(s))
        s.close()
    assert wait_end(live, i)["status"] == "completed"

    def streams():
        text = live.get("/metrics").text
        return float(next(x for x in text.splitlines() if x.startswith("aragora_sse_connections_active ")).split()[1])
    wait_until(lambda: streams() == 0, what="streams gone")


# ---- slow readers ----

def test_slow_reader_starves_nobody(make_server):
    """A reader that stops delays nobody and is cut; the server keeps no more for it than its queue."""
    s = make_server({"server": {"workers": 1, "write_timeout": "2s"}, "debates": {"max_concurrent": 8},
                     "websocket": {"queue_bytes": 65536, "message_rate": 0, "ping_interval": "500ms"}},
                    # What is freed is not to be counted as kept.
                    env={"ASAN_OPTIONS": "detect_leaks=1:exitcode=86:detect_stack_use_after_return=0:quarantine_size_mb=8"})

    async def stopped():
        """A socket that asks for much and reads nothing; all buffers on the way are full afterwards."""
        _, writer = await asyncio.open_connection("127.0.0.1", s.port, limit=1024)
        writer.transport.pause_reading()
        writer.write(b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        text = b'{"type":"ping","ts":"%s"}' % (b"x" * 60000)
        head = b"\x81\xfe" + len(text).to_bytes(2, "big") + bytes(4)
        for _ in range(200):  # 12 MB of answers
            writer.write(head + text)
        return writer

    async def main():
        async with socket(s) as k:
            await k.ready()
            rss = s.workers()[0]["rss_bytes"]
            slow = [await stopped() for _ in range(3)]
            await call(wait_until, lambda: s.workers()[0]["sockets"] == 4 or s.workers()[0]["requests"] > 4)
            ids = [await call(create, s, "Number %d?" % n, 1) for n in range(6)]
            for i in ids:
                if not any(f["type"] == "debate_end" and f["debate_id"] == i for f in k.frames):
                    await k.end_of(i)
            await k.send(type="ping", ts=1)
            start = time.monotonic()
            await k.until("pong")
            waited = time.monotonic() - start
            grown = s.workers()[0]["rss_bytes"] - rss
            await call(wait_until, lambda: s.workers()[0]["sockets"] == 1, 30, "the slow sockets are cut")
            await k.send(type="ping", ts=2)
            await k.until("pong")
        for writer in slow:
            writer.transport.abort()
        return ids, k.frames, waited, grown
    ids, frames, waited, grown = run(main())
    for i in ids:
        assert durable(frames, i) == log(s, i)
    assert waited < 1
    assert grown < 100 << 20


def test_many_events_to_many_sockets(live):
    """A hundred sockets on one debate each get everything; the slowest is not far behind the first."""
    async def main():
        i = create(live)
        sockets = [socket(live, "?debate_id=" + i) for _ in range(100)]
        await asyncio.gather(*(k.__aenter__() for k in sockets))
        ends = await asyncio.gather(*(k.end_of(i) for k in sockets))
        await asyncio.gather(*(k.__aexit__(None, None, None) for k in sockets))
        return i, sockets, ends
    i, sockets, ends = run(main())
    events = log(live, i)
    assert all(durable(k.frames) == events for k in sockets)


# ---- restart ----

def test_reload_sends_readers_back_and_they_miss_nothing(make_server):
    s = make_server({"server": {"workers": 2, "graceful_timeout": "20s"}, "providers": {"demo": {"delay_ms": 2000}},
                     "debates": {"agent_timeout": "20s"}})

    async def follow(i, port):
        seen, codes = [], []
        while not (seen and seen[-1]["type"] == "debate_end"):
            try:
                async with socket(s, "?debate_id=%s&after_seq=%d" % (i, len(seen)), port=port) as k:
                    while not (seen and seen[-1]["type"] == "debate_end"):
                        frame = await k.next(40)
                        if frame.get("seq"):
                            seen.append(frame)
            except websockets.ConnectionClosed as e:
                codes.append(e.code)
        return seen, codes

    def read():
        seen = []
        for _ in range(20):
            stream = Sse(s, i, headers={"Last-Event-ID": str(len(seen))})
            if stream.response.status_code == 204:
                break
            seen += [json.loads(e["data"]) for e in stream if "id" in e]
        return seen

    i = create(s)
    wait_until(lambda: status(s, i)["last_seq"] > 1)

    async def main():
        readers = [follow(i, port) for port in (s.port, s.ws_port) * 3]
        sse = call(read)
        hup = asyncio.get_running_loop().call_later(0.5, s.signal, SIGHUP)
        got = await asyncio.gather(*readers)
        hup.cancel()
        return got, await sse
    got, sse = run(main())
    events = log(s, i)
    for seen, codes in got:
        assert seen == events and codes and set(codes) == {1012}
    assert sse == events
