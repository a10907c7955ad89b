# SPDX-License-Identifier: MIT
"""Readers that stop reading: they lose what is ephemeral, then lag, then are closed (WebSockets with 4008) and resume
without a gap; others notice nothing. Every step is awaited in what the server shows of it, never timed."""
import json
import random
import socket
from http.client import HTTPResponse

from conftest import wait_until
from provider import provider  # noqa: F401  (a fixture)
from rawws import CLOSE, TEXT, Raw
from talk import TOKENS, create, log, wait_end

AGENTS, MODELS = ["gpt", "claude", "ollama"], ["m1", "m2", "m4"]


def long_text(seed, words=5000):
    source = random.Random(seed)
    return "POSITION: Number %d.\n\n" % seed + " ".join("%x" % source.getrandbits(40) for _ in range(words))


def serve(make_server, provider, lag_timeout):  # noqa: F811
    for n, model in enumerate(MODELS):
        provider.script(phase="propose", model=model, text=long_text(n))
    return make_server({
        "server": {"workers": 1, "stall_timeout": "120s", "write_timeout": "300s"},
        "websocket": {"message_rate": 0, "queue_bytes": 262144, "lag_timeout": lag_timeout, "ping_interval": "300s"},
        "providers": {"openai": {"base_url": provider.openai_url, "api_key": "k", "model": "m1"},
                      "anthropic": {"base_url": provider.anthropic_url, "api_key": "k", "model": "m2"},
                      "ollama": {"base_url": provider.ollama_url, "model": "m4"}},
        "debates": {"max_concurrent": 16}})


def stats(s):
    return s.get("/api/ws/stats").json()


def finished(s, n):
    """Debates whose logs together are far more than all buffers between two processes."""
    ids = [create(s, "Long %d?" % i, 1, agents=AGENTS) for i in range(n)]
    for i in ids:
        wait_end(s, i)
    return ids


def follow(k, i, after):
    k.send(TEXT, json.dumps({"type": "subscribe", "debate_id": i, "after_seq": after}).encode())


def slow_reader(s, ids):
    """A socket that asks for all of the logs and reads nothing: the server says that it lags."""
    k = Raw(s.port, "/ws", rcvbuf=4096, timeout=60)
    for n, i in enumerate(ids * 6):  # subscribing again begins anew
        follow(k, i, 0)
        if n % 20 == 19 and stats(s)["lagging"]:
            break
    wait_until(lambda: stats(s)["lagging"] == 1, what="a lagging socket")
    return k


def read(k, want):
    """Frames as they come until want(frame) or the close; (frames, code)."""
    frames = []
    while True:
        opcode, _, _, payload = k.recv()
        if opcode == CLOSE:
            return frames, int.from_bytes(payload[:2], "big")
        if opcode == TEXT:
            frames.append(json.loads(payload))
            if want(frames[-1]):
                return frames, None


def events_of(frames, i):
    return [f for f in frames if f.get("seq") and f.get("debate_id") == i and f["type"] not in TOKENS]


def test_slow_reader_loses_tokens_only_and_catches_up(make_server, provider):  # noqa: F811
    s = serve(make_server, provider, "300s")
    ids = finished(s, 6)
    k = slow_reader(s, ids)
    before = stats(s)
    live = create(s, "Live?", 1, agents=AGENTS)
    follow(k, live, 0)
    with Raw(s.port, "/ws?debate_id=" + live, timeout=60) as fast:
        # Who reads gets all of it while the other one lags.
        frames, code = read(fast, lambda f: f["type"] == "debate_end")
        assert code is None and events_of(frames, live) == log(s, live)
        now = stats(s)
        assert now["lagging"] == 1 and now["connections"] == 2
    assert now["dropped"] > before["dropped"], "no token was dropped for the slow one"
    # It reads again: every event of the debate that ran meanwhile, once and in order, and it is not closed.
    frames, code = read(k, lambda f: f["type"] == "debate_end" and f["debate_id"] == live)
    assert code is None
    assert [f["seq"] for f in events_of(frames, live)] == [e["seq"] for e in log(s, live)]
    wait_until(lambda: stats(s)["lagging"] == 0, what="nobody lags")
    k.send(TEXT, b'{"type":"ping"}')
    assert read(k, lambda f: f["type"] == "pong")[1] is None
    k.s.close()


def test_reader_that_never_comes_back_is_closed_and_resumes(make_server, provider):  # noqa: F811
    s = serve(make_server, provider, "1s")
    ids = finished(s, 6)
    k = slow_reader(s, ids)
    assert stats(s)["lagged"] >= 1
    # Nothing has been read: only its lag ends it, and the close frame stands behind what was queued.
    s.wait_log("lagged for too long")
    frames, code = read(k, lambda f: False)
    assert code == 4008
    assert s.run_log().count("lagged for too long") == 1
    k.s.close()
    last = ids[0]
    seen = max([f["seq"] for f in events_of(frames, last)], default=0)
    with Raw(s.port, "/ws", timeout=60) as again:
        follow(again, last, seen)
        rest, code = read(again, lambda f: f["type"] == "replay_end")
        assert [f["seq"] for f in events_of(rest, last)] == [e["seq"] for e in log(s, last) if e["seq"] > seen]


class Stream:
    """A stream of server-sent events of which nothing is read before frames() is called."""

    def __init__(self, s, debate, after=0, rcvbuf=4096):
        self.s = socket.socket()
        self.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.s.settimeout(60)
        self.s.connect(("127.0.0.1", s.port))
        self.s.sendall(("GET /api/debates/%s/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
                        "Last-Event-ID: %d\r\n\r\n" % (debate, after)).encode())

    def frames(self):
        """To the end of the answer, which must be a whole one (else http.client raises)."""
        with self.s, HTTPResponse(self.s) as r:
            r.begin()
            assert r.status == 200
            return [json.loads(line[6:]) for line in r.read().decode().splitlines() if line.startswith("data: ")]


def long_debate(s, provider):  # noqa: F811
    """One whose log is far more than all buffers between two processes."""
    provider.script(text=long_text(9, 20000), first_delay=0.1)
    return create(s, "Longer?", 3, agents=AGENTS)


def test_slow_event_stream_loses_tokens_only_and_catches_up(make_server, provider):  # noqa: F811
    s = serve(make_server, provider, "300s")
    live = long_debate(s, provider)
    slow = Stream(s, live)
    # Who reads gets all of it, to the end, while the other one reads nothing.
    fast = Stream(s, live, rcvbuf=1 << 20).frames()
    events = log(s, live)
    assert fast[-1]["type"] == "debate_end" and events_of(fast, live) == events
    assert stats(s)["dropped"] > 0, "no token was dropped for the slow one"
    frames = slow.frames()
    assert events_of(frames, live) == events
    tokens = [sum(f["type"] == "token_end" for f in side) for side in (frames, fast)]
    total = len(provider.requests())
    # On a machine that is busy enough the fast one loses some, too.
    assert tokens[0] < tokens[1] or tokens[1] < total, tokens
    assert "lagged for too long" not in s.run_log()


def test_event_stream_that_never_comes_back_is_ended_and_resumes(make_server, provider):  # noqa: F811
    s = serve(make_server, provider, "1s")
    live = long_debate(s, provider)
    slow = Stream(s, live)
    fast = Stream(s, live, rcvbuf=1 << 20).frames()
    events = log(s, live)
    assert events_of(fast, live) == events
    s.wait_log("event stream that lagged for too long")
    # It is ended in order behind what was queued, without the debate's end; the rest comes to who resumes.
    seen = events_of(slow.frames(), live)
    assert seen and seen == events[:len(seen)] and len(seen) < len(events)
    assert events_of(Stream(s, live, seen[-1]["seq"]).frames(), live) == events[len(seen):]
    assert s.run_log().count("lagged for too long") == 1
