# SPDX-License-Identifier: MIT
"""What durability costs: 1,000 debates at once whose agents think for two seconds, the log read by a late subscriber, and
the time from the death of a worker to the next step of its debates.

The peer of the first is arithmetic (the thinking alone), of the second SQLite itself that reads the same rows.
"""
import asyncio
import concurrent.futures
import http.client
import json
import os
import signal
import socket
import sqlite3
import statistics
import sys
import time

import websockets

from bench import Server, family

THINK_MS = 2000
PHASES = 7  # of two rounds one after another: drafts, twice critiques and revisions, votes, conclusion
EVENTS = 100_000
DEATHS = 40
BODY = {"task": "Should we move the billing system to a new database?", "rounds": 2, "agents": ["demo", "demo", "demo"]}


def database(server):
    return sqlite3.connect("file:%s/data/aragora.db?mode=ro" % server.folder, uri=True, timeout=20)


def create(server, count):
    c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    for _ in range(count):
        c.request("POST", "/api/debates", json.dumps(BODY), {"Content-Type": "application/json"})
        answer = c.getresponse()
        doc = answer.read()
        if answer.status not in (200, 201):
            raise SystemExit("a debate was refused: %d %s" % (answer.status, doc[:200]))


def wait_ended(server):
    db = database(server)
    while db.execute("SELECT count(*) FROM debates WHERE status IN ('queued', 'running')").fetchone()[0]:
        time.sleep(0.2)
    return db


def thousand(count):
    server = Server(4, "debates: {max_concurrent: 1024, max_queued: 5000}\nproviders: {demo: {delay_ms: %d}}" % THINK_MS)
    try:
        idle, cpu, start = server.memory_kb("VmRSS"), server.cpu(), time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda n: create(server, n), [count // 16 + (i < count % 16) for i in range(16)]))
        created = time.monotonic() - start
        db = wait_ended(server)
        wall, used = time.monotonic() - start, server.cpu() - cpu
        took = [(b - a) / 1e3 for a, b in db.execute("SELECT started_at, completed_at FROM debates WHERE status = 'completed'")]
        steps = db.execute("SELECT count(*) FROM debate_steps").fetchone()[0]
        peak = server.memory_kb("VmHWM")
    finally:
        server.stop()
    ideal = PHASES * THINK_MS / 1e3
    print("%d debates at once, 3 demo agents, 2 rounds, %g s of thought, 4 workers: %.1f s wall (%.1f s to create them)"
          % (count, THINK_MS / 1e3, wall, created))
    print("  %d completed, median %.1f s, longest %.1f s; the thinking alone is %.1f s: %.2f x (goal 1.15)"
          % (len(took), statistics.median(took), max(took), ideal, wall / ideal))
    print("  %.1f ms CPU a debate with its storage (goal 10), %.2f ms a step, %.0f ms latency a step; %.2f MB a debate (goal 1)"
          % (1e3 * used / count, 1e3 * used / steps, 1e3 * (statistics.median(took) - ideal) / PHASES,
             (peak - idle) / 1024 / count))


def late_subscriber():
    server = Server(1, "websocket: {message_rate: 0}")
    try:
        debate = server.post("/api/debates", BODY)["id"]
        wait_ended(server).close()
        db = sqlite3.connect(server.folder + "/data/aragora.db", isolation_level=None)
        seq, key, envelope = db.execute("SELECT seq, key, envelope FROM debate_events WHERE debate_id = ? ORDER BY length(envelope)"
                                        " LIMIT 1", (debate,)).fetchone()
        last = db.execute("SELECT max(seq) FROM debate_events WHERE debate_id = ?", (debate,)).fetchone()[0]
        db.execute("BEGIN IMMEDIATE")
        for n in range(last + 1, EVENTS + 1):
            text = dict(json.loads(envelope), seq=n)
            db.execute("INSERT INTO debate_events (debate_id, seq, key, workspace_id, type, envelope, created_at)"
                       " SELECT debate_id, ?, ?, workspace_id, type, ?, created_at FROM debate_events WHERE debate_id = ?"
                       " AND seq = ?", (n, "bench#%d" % n, json.dumps(text), debate, seq))
        db.execute("UPDATE debates SET last_seq = ? WHERE id = ?", (EVENTS, debate))
        db.execute("COMMIT")
        alone = time.monotonic()
        size = sum(len(r[0]) for r in db.execute("SELECT envelope FROM debate_events WHERE debate_id = ? ORDER BY seq", (debate,)))
        alone = time.monotonic() - alone
        cpu, took = server.cpu(), asyncio.run(replay(server, debate))
        cpu = server.cpu() - cpu
    finally:
        server.stop()
    print("%d events (%.0f MB) to a late subscriber: %.2f s, %.0f events/s, %.1f us CPU an event (SQLite alone reads them in %.2f s)"
          % (EVENTS, size / 1e6, took, EVENTS / took, 1e6 * cpu / EVENTS, alone))


async def replay(server, debate):
    start, seen = time.monotonic(), 0
    url = "ws://127.0.0.1:%d/ws/%s?after_seq=0" % (server.port, debate)
    async with websockets.connect(url, max_size=None, compression=None) as ws:
        while seen < EVENTS:
            event = json.loads(await ws.recv())
            if isinstance(event.get("seq"), int):
                if event["seq"] != seen + 1:
                    raise SystemExit("seq %d after %d" % (event["seq"], seen))
                seen += 1
    return time.monotonic() - start


def takeover():
    server = Server(3, "debates: {max_concurrent: 50}\nproviders: {demo: {delay_ms: 100}}")
    found = []
    try:
        db = database(server)
        while len(found) < DEATHS:
            create(server, 6)
            time.sleep(0.3)
            victim = max(family(server.process.pid)[1:], key=lambda pid: len(owned(db, pid, server)))
            mine = owned(db, victim, server)
            if not mine:
                continue
            died = time.time() * 1e3
            os.kill(victim, signal.SIGKILL)
            deadline = time.monotonic() + 10
            while mine and time.monotonic() < deadline:
                for debate in list(mine):
                    row = db.execute("SELECT min(s.started_at) FROM debate_steps s JOIN debates d ON d.id = s.debate_id"
                                     " WHERE d.id = ? AND d.epoch > ? AND s.started_at > ?", (debate, mine[debate], died)).fetchone()
                    if row[0] is not None:
                        found.append(row[0] - died)
                        del mine[debate]
                    elif db.execute("SELECT status FROM debates WHERE id = ?", (debate,)).fetchone()[0] == "completed":
                        del mine[debate]
                time.sleep(0.01)
            wait_ended(server).close()
    finally:
        server.stop()
    found.sort()
    print("kill -9 of a worker to the next step of its debate on the same node, %d debates: p50 %.0f ms, p99 %.0f ms (goal 250)"
          % (len(found), statistics.median(found), found[int(0.99 * (len(found) - 1))]))


def owned(db, pid, server):
    """Debates that the worker runs: id -> epoch."""
    slot = next((w["slot"] for w in status(server) if w["pid"] == pid), -1)
    return dict(db.execute("SELECT d.id, d.epoch FROM debates d JOIN processes p ON p.incarnation = d.owner"
                           " WHERE d.status = 'running' AND p.slot = ?", (slot,)))


def status(server):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(server.folder + "/data/control.sock")
        s.sendall(b"status\n")
        text = b""
        while part := s.recv(65536):
            text += part
    return json.loads(text)["workers"]


if __name__ == "__main__":
    thousand(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
    late_subscriber()
    takeover()
