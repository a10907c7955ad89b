# SPDX-License-Identifier: MIT
"""HUP every second under full load: wrk on kept connections, clients with one connection per request, WebSockets.

Clients as in tests/integration: each end of a connection that was not announced, and each answer that is not 200, counts.
What followers of debates see in such a storm is checked by tests/integration/test_reload.py.
"""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "integration"))

from bench import EXEMPT, Server, row
from load import Load
from storm import Sockets, wrk, wrk_report

SECONDS = int(os.environ.get("BENCH_STORM", "60"))
SOCKETS = int(os.environ.get("BENCH_STORM_SOCKETS", "2000"))


def storm():
    server = Server(4, EXEMPT, server=", worker_connections: 20000")
    with Load(server.port, kept=2, fresh=4, pause=0.001) as load, Sockets(server.port, SOCKETS) as idle:
        hammer = wrk(server.port, SECONDS + 1, 16)
        for _ in range(SECONDS):
            server.process.send_signal(signal.SIGHUP)
            time.sleep(1)
        report = wrk_report(hammer)
        deadline = time.monotonic() + 60
        while idle.open < SOCKETS and not idle.failures and time.monotonic() < deadline:
            time.sleep(0.1)
        back = idle.open
    server.stop()
    failed = len(load.failures) + len(idle.failures) + (SOCKETS - back)
    row(f"HUP every second for {SECONDS} s, {SOCKETS} WebSockets, wrk",
        f"{failed} failed, wrk: {report['errors'] or 'no errors'}",
        f"({report['requests'] + load.answers} requests, {idle.restarts} sockets moved)", goal="0 failed")
    for f in (load.failures + idle.failures)[:5]:
        print("  " + f, file=sys.stderr)
