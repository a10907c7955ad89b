# SPDX-License-Identifier: MIT
"""Tools of the crash tests: a node whose agents are a mock provider, clients that come back with the last seq they saw,
and the judge of a debate that lived through deaths (what clients saw, what the provider was asked, what was booked)."""
import asyncio
import json
import os
import re
import threading
import time
from collections import defaultdict
from signal import SIGKILL

import psutil
import requests
import websockets

from conftest import ROOT, Server, merged, wait_until

AGENTS = ["gpt", "claude", "ollama"]  # one of each wire format
MODELS = {"gpt": "m1", "claude": "m2", "ollama": "m4"}
CALLS = 25     # of a debate of three agents and two rounds: 3 drafts, 2 x (6 critiques + 3 revisions), 3 votes, 1 synthesis
PARALLEL = 6   # calls of the widest phase
# A call that the provider has ended may still wait for its commit when the worker dies.
COMMIT_SLACK = 1.0
# A request that left before the death may reach the (one and busy) provider after it.
ARRIVAL_SLACK = 0.3
# Revisions unlike the drafts, so that no debate ends before its second round.
REVISED = {
    "m1": "POSITION: Sell the old machines and rent capacity by the hour.\n\nRent follows demand, ownership does not.",
    "m2": "POSITION: Let two teams compete for a month under one referee.\n\nRivalry shows what planning hides.",
    "m4": "POSITION: Write the rollback plan before anything else is decided.\n\nWhoever can go back may go forward.",
}


def fault_points():
    """Every FAULT point of the tree: a new one is tested without anybody thinking of it."""
    found = set()
    for area in ("common", "master", "worker"):
        for path in sorted((ROOT / area).rglob("*.c")):
            found |= set(re.findall(r'\bFAULT\("([^"]+)"\)', path.read_text()))
    return sorted(found)


def pace(provider, delay=0.0):
    """The provider's usual behaviour: `delay` before each answer."""
    provider.reset()
    for model, text in REVISED.items():
        provider.script(phase="revise", model=model, text=text, first_delay=delay)
    if delay:
        provider.script(first_delay=delay)


def node_config(provider, **sections):
    return merged({
        "server": {"workers": 3},
        "providers": {"openai": {"base_url": provider.openai_url, "api_key": "k", "model": "m1"},
                      "anthropic": {"base_url": provider.anthropic_url, "api_key": "k", "model": "m2"},
                      "ollama": {"base_url": provider.ollama_url, "model": "m4"}},
        "debates": {"retry_base": "50ms", "max_concurrent": 50, "token_merge": "10ms"},
    }, sections)


class Node(Server):
    """A server whose FAULT points can be armed while it runs."""

    def __init__(self, folder, config=None, env=None, args=()):
        super().__init__(folder, config, env, args)
        self.arms = self.folder / "arms"
        self.arms.mkdir(exist_ok=True)
        self.env["ARAGORA_FAULT_ARM"] = str(self.arms)
        self.kills = []  # (not before, not after), wall clock

    def arm(self, point, stop=False, times=1):
        """Whoever passes the point next dies there, or stops as one that hangs; with `times` (to 10) as many do."""
        new = self.arms / ("." + point)
        if times > 1:
            new.mkdir()
            for i in range(times):
                (new / str(i)).touch()
        else:
            new.write_text("stop" if stop else "")
        new.rename(self.arms / point)

    def armed(self, point):
        """How many are still to die there."""
        path = self.arms / point
        return len(list(path.iterdir())) if path.is_dir() else int(path.exists())

    def wait_fired(self, point, over=lambda: False, timeout=20):
        """Waits for the death at an armed point; False when it is over without."""
        before = time.time() - 1  # nobody looked before; it was armed a moment ago
        deadline = time.monotonic() + timeout
        while True:
            seen = time.time()
            if not self.armed(point):
                self.kills.append((before, seen))
                return True
            before = seen
            assert time.monotonic() < deadline, "nobody died at " + point
            if over():
                break
            time.sleep(0.003)
        try:
            (self.arms / point).unlink()
            return False
        except FileNotFoundError:
            self.kills.append((before, time.time()))
            return True

    def kill(self, pids):
        """kill -9 of these processes."""
        begin = time.time()
        for pid in pids:
            try:
                os.kill(pid, SIGKILL)
            except ProcessLookupError:
                pass
        self.kills.append((begin, time.time() + 0.05))

    def runners(self):
        """Workers that run debates now."""
        return [w["pid"] for w in self.workers(None) if w["debates"] > 0]

    def wait_runner(self, timeout=20):
        return wait_until(self.runners, timeout, "a worker that runs a debate", interval=0.005)[0]

    def create(self, task="Should the office move to the river?", **more):
        """Creates a debate; a client whose connection died asks again with the same Idempotency-Key."""
        key = os.urandom(8).hex()
        deadline = time.monotonic() + 30
        while True:
            try:
                r = self.post("/api/debates", {"task": task, "rounds": 2, "agents": AGENTS,
                                               "drop_duplicates": False, **more},  # CALLS counts on all critiques
                              headers={"Idempotency-Key": key})
                break
            except requests.ConnectionError:
                assert time.monotonic() < deadline, "no worker answers"
                time.sleep(0.02)
        assert r.status_code in (200, 201), r.text
        return r.json()["debate_id"]

    def ask(self, method, path, body=None, **kw):
        """A request of a client who asks again when his connection dies; a POST under one Idempotency-Key."""
        if method == "POST":
            kw["headers"] = {"Idempotency-Key": os.urandom(8).hex(), **kw.get("headers", {})}
        deadline = time.monotonic() + 60
        while True:
            try:
                return self.request(method, path, json=body, **kw)
            except requests.ConnectionError:
                assert time.monotonic() < deadline, "no worker answers:\n" + self.run_log()[-2000:]
                time.sleep(0.02)

    def debate(self, debate_id):
        deadline = time.monotonic() + 60
        while True:
            try:
                r = self.get("/api/debates/" + debate_id)
                break
            except requests.ConnectionError:
                assert time.monotonic() < deadline, "no worker answers:\n" + self.run_log()[-2000:]
                time.sleep(0.02)
        assert r.status_code == 200, r.text
        return r.json()

    def wait_ended(self, debate_id, timeout=60):
        deadline = time.monotonic() + timeout
        while (d := self.debate(debate_id))["in_progress"]:
            assert time.monotonic() < deadline, "debate %s does not end:\n%s" % (debate_id, self.run_log()[-4000:])
            time.sleep(0.02)
        return d

    def rows(self, sql, *args):
        return self.sql(sql, *args)

    def events(self, debate_id):
        """The whole log of a debate, page by page."""
        found, after = [], 0
        while True:
            r = self.get("/api/debates/%s/events?limit=100&after_seq=%d" % (debate_id, after))
            assert r.status_code == 200, r.text
            page = r.json()["events"]
            if not page:
                return found
            found += page
            after = page[-1]["seq"]


# ---- clients that come back ----

class Follower(threading.Thread):
    """Follows a debate to its end; after every break it comes back and names the last seq it saw."""

    def __init__(self, server, debate_id):
        super().__init__(daemon=True)
        self.server, self.id = server, debate_id
        self.events, self.breaks, self.problem = [], [], None
        self.halted = threading.Event()
        self.start()

    @property
    def last(self):
        return self.events[-1]["seq"] if self.events else 0

    @property
    def ended(self):
        return bool(self.events) and self.events[-1]["type"] == "debate_end"

    def take(self, event):
        if isinstance(event.get("seq"), int):
            self.events.append(event)
        elif event.get("type") == "debate_end":
            self.problem = "a debate_end without seq"

    def done(self):
        return self.ended or self.halted.is_set()

    def finish(self, timeout=60):
        self.join(timeout)
        assert not self.is_alive(), "%s saw %d events, the last is %s" % (type(self).__name__, len(self.events),
                                                                         self.events and self.events[-1]["type"])
        assert self.problem is None, self.problem
        return self.events


class WsFollower(Follower):
    def run(self):
        asyncio.run(self.follow())

    async def follow(self):
        while not self.done():
            url = "%s/ws/%s?after_seq=%d" % (self.server.ws_url, self.id, self.last)
            try:
                async with websockets.connect(url, open_timeout=5, close_timeout=1, max_size=None) as ws:
                    try:
                        while not self.done():
                            try:
                                self.take(json.loads(await asyncio.wait_for(ws.recv(), 0.5)))
                            except asyncio.TimeoutError:
                                pass
                    except websockets.ConnectionClosed:
                        self.breaks.append(ws.close_code)
            except (OSError, asyncio.TimeoutError, websockets.WebSocketException) as e:
                self.breaks.append(repr(e))
                await asyncio.sleep(0.03)


class SseFollower(Follower):
    def run(self):
        while not self.done():
            try:
                headers = {"Accept": "text/event-stream", "Last-Event-ID": str(self.last)}
                with requests.get("%s/api/debates/%s/events" % (self.server.url, self.id), headers=headers, stream=True,
                                  timeout=(5, 30)) as r:
                    if r.status_code != 200:
                        self.breaks.append(r.status_code)
                        time.sleep(0.03)
                        continue
                    self.read(r)
                    self.breaks.append("end")
            except (requests.RequestException, OSError) as e:
                self.breaks.append(repr(e))
                time.sleep(0.03)

    def read(self, r):
        buffer = b""
        for part in r.iter_content(None):
            buffer += part
            *blocks, buffer = buffer.split(b"\n\n")
            for block in blocks:
                fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if b": " in line and line[:1] != b":")
                if b"data" in fields:
                    event = json.loads(fields[b"data"])
                    if b"id" in fields and int(fields[b"id"]) != event["seq"]:
                        self.problem = "id %s of an event with seq %s" % (fields[b"id"], event["seq"])
                    self.take(event)
            if self.done():
                return


def follow(server, debate_id):
    return [WsFollower(server, debate_id), SseFollower(server, debate_id)]


# ---- the judge ----

def step_of(idempotency_key):
    """debate/step#attempt -> (debate, step, attempt)"""
    debate, step = idempotency_key.split("/", 1)
    step, attempt = step.rsplit("#", 1)
    return debate, step, int(attempt)


def asked(provider, debate_id):
    """step -> its requests in the order in which the provider got them."""
    found = defaultdict(list)
    for r in provider.requests():
        debate, step, _ = step_of(r["idempotency_key"])
        if debate == debate_id:
            found[step].append(r)
    return found


def called(provider, debate_id):
    """How many calls of a debate the provider has got."""
    return sum(len(calls) for calls in asked(provider, debate_id).values())


def check_events(node, debate_id, followers=()):
    log = node.events(debate_id)
    types = [e["type"] for e in log]
    assert [e["seq"] for e in log] == list(range(1, len(log) + 1))
    assert types.count("debate_start") == 1 and types[0] == "debate_start"
    assert types.count("debate_end") == 1 and types[-1] == "debate_end"
    for f in followers:
        seen = f.finish()
        assert [e["seq"] for e in seen] == [e["seq"] for e in log], "%s: %s" % (type(f).__name__, f.breaks)
        assert seen == log
    return log


def check_calls(node, provider, debate_id):
    """No step is asked twice, except calls that were in flight at a kill. Returns how many were."""
    repeated = 0
    for step, calls in asked(provider, debate_id).items():
        attempts = [step_of(c["idempotency_key"])[2] for c in calls]
        assert attempts == sorted(set(attempts)), "%s: attempts %s" % (step, attempts)
        for first, again in zip(calls, calls[1:]):
            ended = first.get("end_time") or float("inf")
            assert any(first["time"] <= late + ARRIVAL_SLACK and early <= again["time"] and ended + COMMIT_SLACK >= early
                       for early, late in node.kills), \
                "%s was asked at %.3f (until %.3f) and again at %.3f; kills: %s" % (step, first["time"], ended, again["time"],
                                                                                  node.kills)
            repeated += 1
    assert repeated <= PARALLEL * len(node.kills), "%d repeated calls, %d kills" % (repeated, len(node.kills))
    return repeated


def check_books(node, provider, debate_id):
    """Journal, ledger and receipt agree with what the provider was asked."""
    steps = dict(node.rows("SELECT key, state FROM debate_steps WHERE debate_id = ?", debate_id))
    assert set(steps.values()) == {"done"}, steps
    rows = [k.rsplit("#", 1) for (k,) in node.rows("SELECT step_key FROM usage_ledger WHERE debate_id = ?", debate_id)]
    ledger = {step: int(attempt) for step, attempt in rows}
    calls = asked(provider, debate_id)
    assert len(ledger) == len(rows) and set(ledger) == set(calls)
    for step, attempt in ledger.items():
        # What was journalled is the last that was asked: no answer was stored and then bought again.
        assert attempt == step_of(calls[step][-1]["idempotency_key"])[2], step
    assert set(calls) <= set(steps)
    receipts = node.rows("SELECT id FROM receipts WHERE debate_id = ?", debate_id)
    assert len(receipts) == 1
    verdict = node.get("/api/receipts/%s/verify" % receipts[0][0]).json()
    assert verdict["valid"] and verdict["signature_valid"] and verdict["integrity_valid"], verdict


def check_ratings(node, debate_id):
    """The debate is rated once, and every rating is the sum of its changes."""
    doc = node.debate(debate_id)
    history = node.rows("SELECT agent FROM rating_changes WHERE debate_id = ? AND kind = 'match'", debate_id)
    assert sorted(a for a, in history) == sorted(doc["proposals"])
    assert node.rows("SELECT COUNT(*) FROM matches WHERE debate_id = ?", debate_id) == [(int(bool(doc["winner"])),)]
    # One statement: other debates may be ending, and rate their agents between two of them.
    both = node.rows("SELECT r.agent, r.elo_milli, r.wins + r.losses + r.draws, r.debates, 1500000 + SUM(c.change_milli),"
                     " SUM(CASE WHEN c.outcome = 'none' THEN 0 ELSE 1 END), COUNT(*) FROM ratings r"
                     " JOIN rating_changes c ON c.workspace_id = r.workspace_id AND c.agent = r.agent"
                     " GROUP BY r.workspace_id, r.agent, r.elo_milli, r.wins, r.losses, r.draws, r.debates")
    assert both and all(row[1:4] == row[4:7] for row in both), both
    assert {row[0] for row in both} >= set(doc["proposals"])


def check_debate(node, provider, debate_id, followers=()):
    """Everything that must hold of a debate that ended well whatever died meanwhile. Returns the number of repeated calls."""
    debate = node.wait_ended(debate_id)
    assert debate["status"] == "completed", debate["error"]
    check_events(node, debate_id, followers)
    repeated = check_calls(node, provider, debate_id)
    check_books(node, provider, debate_id)
    check_ratings(node, debate_id)
    assert len(asked(provider, debate_id)) == CALLS
    return repeated


def living(pids):
    """Those of the processes that run; a dead one that nobody has collected does not."""
    found = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except psutil.NoSuchProcess:
            pass
    return found


def gone(pids, timeout=30):
    """Waits until none of the processes lives."""
    wait_until(lambda: not living(pids), timeout, "end of processes %s" % sorted(pids))
