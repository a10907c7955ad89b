# SPDX-License-Identifier: MIT
"""Events committed per second by debates that run at the same time, durably (fsync on): SQLite beside PostgreSQL.

`python3 tests/bench/store_bench.py [DEBATES]`: 4 demo agents and 2 rounds each without think time, 4 workers.
"""
import os
import re
import sys
import time
import urllib.request
from pathlib import Path

from bench import Server, row

WORKERS = 4


def metric(server, name):
    with urllib.request.urlopen(server.url("/metrics"), timeout=30) as r:
        text = r.read().decode()
    return sum(float(v) for v in re.findall(r"^%s(?:\{[^}]*\})? (\S+)$" % name, text, re.M))


def run(count, dsn):
    os.environ.pop("DATABASE_URL", None)
    if dsn:
        os.environ["DATABASE_URL"] = dsn
    server = Server(WORKERS, "debates: {max_concurrent: %d, max_queued: 5000}\nrate_limit: {enabled: false}" % count)
    body = {"task": "Should we move the billing system to a new database?", "rounds": 2, "agents": ["demo|||"] * 4}
    start, cpu = time.monotonic(), server.cpu()
    for _ in range(count):
        server.post("/api/debates", body)
    while metric(server, "aragora_debates_completed") < count:
        time.sleep(0.1)
    wall, used = time.monotonic() - start, server.cpu() - cpu
    events = metric(server, "aragora_events_committed_total")
    groups = metric(server, "aragora_db_commit_seconds_count")
    server.stop()
    return events / wall, 1e3 * used / count, groups


def main(count=100):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
    from pgkit import Cluster
    cluster = Cluster(durable=True).start()
    try:
        lite, lite_cpu, lite_groups = run(count, None)
        post, post_cpu, post_groups = run(count, cluster.database())
    finally:
        cluster.close()
    row("events a second, %d debates, PostgreSQL" % count, "%.0f" % post, "SQLite %.0f" % lite, "%.2f" % (post / lite))
    row("  CPU of our processes, ms a debate", "%.1f" % post_cpu, "SQLite %.1f" % lite_cpu)
    row("  writes to the disk that commits waited for", "%d" % post_groups, "SQLite %d" % lite_groups)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
