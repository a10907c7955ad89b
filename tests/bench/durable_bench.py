# SPDX-License-Identifier: MIT
"""What durability costs: 1,000 debates at once whose agents think for two seconds, and the log read by a late subscriber.

The peer of the first is arithmetic (the thinking alone), of the second SQLite itself that reads the same rows.
"""
import asyncio
import concurrent.futures
import http.client
import json
import sqlite3
import statistics
import time

import websockets

from bench import Server, row

THINK_MS = 2000
PHASES = 7  # of two rounds one after another: drafts, twice critiques and revisions, votes, conclusion
EVENTS = 100_000
BODY = {"task": "Should we move the billing system to a new database?", "rounds": 2, "agents": ["demo", "demo", "demo"]}


def create(server, count):
    c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    for _ in range(count):
        c.request("POST", "/api/debates", json.dumps(BODY), {"Content-Type": "application/json"})
        answer = c.getresponse()
        doc = answer.read()
        if answer.status not in (200, 201):
            raise SystemExit("a debate was refused: %d %s" % (answer.status, doc[:200]))


def wait_ended(server):
    db = sqlite3.connect("file:%s/data/aragora.db?mode=ro" % server.folder, uri=True, timeout=20)
    while db.execute("SELECT count(*) FROM debates WHERE status IN ('queued', 'running')").fetchone()[0]:
        time.sleep(0.2)
    return db


def thousand(count=1000):
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
    row("%d debates at once, 3 demo agents, 2 rounds, %g s of thought, 4 workers: wall" % (count, THINK_MS / 1e3),
        "%.1f s" % wall, "thinking alone %.1f s" % ideal, "%.2f" % (wall / ideal), "1.15")
    row("  %d completed; median, longest of them" % len(took), "%.1f; %.1f s" % (statistics.median(took), max(took)))
    row("  CPU a debate with its storage", "%.1f ms" % (1e3 * used / count), goal="10 ms")
    row("  latency added to a step, CPU a step", "%.0f; %.2f ms" % (1e3 * (statistics.median(took) - ideal) / PHASES,
                                                                1e3 * used / steps))
    row("  memory a debate (peak)", "%.2f MB" % ((peak - idle) / 1024 / count), goal="1 MB")


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
    row("%d events (%.0f MB) to a late subscriber" % (EVENTS, size / 1e6), "%.2f s" % took, "SQLite reads them in %.2f s" % alone)
    row("  CPU an event", "%.1f us" % (1e6 * cpu / EVENTS))


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
