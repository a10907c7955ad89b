# SPDX-License-Identifier: MIT
"""50 debates at once, 4 demo agents and 2 rounds each: wall time, CPU, memory, and what each journalled step costs.

The peer is SQLite itself: the same number of transactions with synchronous=FULL by one process that does nothing else.
"""
import os
import sqlite3
import time

from bench import Server, row


def debates(count):
    server = Server(5, "debates: {max_concurrent: %d, max_queued: 2000}" % count)
    start, cpu = time.monotonic(), server.cpu()
    body = {"task": "Should we move the billing system to a new database?", "rounds": 2,
            "agents": ["demo|||", "demo|||", "demo|||", "demo|||"]}
    ids = [server.post("/api/debates", body)["id"] for _ in range(count)]
    created = time.monotonic()
    waiting = set(ids)
    while waiting:
        for i in list(waiting):
            if server.get(f"/api/debates/{i}/status")["status"] in ("completed", "failed"):
                waiting.discard(i)
        time.sleep(0.1)
    wall, used = time.monotonic() - start, server.cpu() - cpu
    peak, now = server.memory_kb(), server.memory_kb("VmRSS")
    bad = [i for i in ids if server.get(f"/api/debates/{i}/status")["status"] != "completed"]
    db = sqlite3.connect(os.path.join(server.folder, "data/aragora.db"))
    steps = db.execute("SELECT count(*) FROM debate_steps").fetchone()[0]
    calls = db.execute("SELECT count(*) FROM usage_ledger").fetchone()[0]
    events = db.execute("SELECT count(*) FROM debate_events").fetchone()[0]
    db.close()
    server.stop()
    print(f"{count} debates, 4 demo agents, 2 rounds, 5 workers: {wall:.2f} s wall ({created - start:.2f} s to create), "
          f"{used:.2f} s CPU, {len(bad)} not completed")
    print(f"  {steps} journalled steps, {calls} agent calls, {events} events: {1e3 * used / steps:.2f} ms CPU a step, "
          f"{steps / wall:.0f} steps/s")
    print(f"  memory of master and 5 workers: {now / 1024:.0f} MiB now, {peak / 1024:.0f} MiB sum of peaks")
    return steps + calls, wall, server.folder


def sqlite_alone(transactions, folder):
    db = sqlite3.connect(os.path.join(folder, "peer.db"), isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE t (k TEXT PRIMARY KEY, v TEXT)")
    start, cpu = time.monotonic(), time.process_time()
    for i in range(transactions):
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO t VALUES (?, ?)", (f"step {i}", "x" * 1500))
        db.execute("COMMIT")
    wall, used = time.monotonic() - start, time.process_time() - cpu
    print(f"peer: {transactions} transactions of one row by one process with SQLite alone: {wall:.2f} s wall, {used:.2f} s CPU")
    return wall


def main(count=50):
    commits, took, where = debates(count)
    alone = sqlite_alone(commits, where)
    row(f"{count} debates at once, 4 demo agents, 2 rounds", f"{took:.1f} s", f"SQLite alone {alone:.1f} s", f"{took / alone:.2f}")
