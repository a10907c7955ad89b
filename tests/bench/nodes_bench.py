# SPDX-License-Identifier: MIT
"""Nodes joined by Redis: how much later another node hears a broadcast, and how soon a dead worker's debate goes on."""
import json
import os
import signal
import socket
import sqlite3
import statistics
import time
import urllib.request

from bench import EXEMPT, Process, Server, folder_new, free_port, row
from ws_bench import OURS, added_by, handshake

KILLS = int(os.environ.get("BENCH_KILLS", "20"))


class Redis(Process):
    def __init__(self):
        self.port = free_port()
        self.launch(["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", folder_new(),
                     "--loglevel", "warning"], stdout=open(os.devnull, "w"))
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                return socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                time.sleep(0.01)
        raise SystemExit("redis-server did not start")


def broadcast():
    redis = Redis()
    joined = f"{OURS}\nredis: {{url: \"redis://127.0.0.1:{redis.port}\"}}"
    nodes = [Server(1, joined), Server(1, joined)]
    a, b = (handshake(n.port, "/ws/echo/way") for n in nodes)
    time.sleep(1)  # both are subscribed
    own, added = added_by(a, b)
    row("broadcast from another node over Redis, p50 added", f"{added:.0f} us", f"(own worker: {own:.0f} us)")
    for s in (*nodes, redis):
        s.stop()


def post(server, path, body):
    request = urllib.request.Request(server.url(path), json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def steps_begun(db, debate):
    """How often steps were begun so far, the repeated ones too."""
    return db.execute("SELECT COALESCE(SUM(starts), 0) FROM debate_steps WHERE debate_id = ?", (debate,)).fetchone()[0]


def wait_more(db, debate, begun, timeout=30):
    """Seconds until another step is begun."""
    start = time.monotonic()
    while time.monotonic() < start + timeout:
        if steps_begun(db, debate) > begun:
            return time.monotonic() - start
        time.sleep(0.002)
    raise SystemExit("nobody went on with the debate")


def serving(server, count):
    """The workers by slot, when all serve again: the master takes its time with those that die often."""
    while True:
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(f"{server.folder}/data/control.sock")
            control.sendall(b"status\n")
            text = b""
            while part := control.recv(65536):
                text += part
        found = {w["slot"]: w["pid"] for w in json.loads(text)["workers"] if w["state"] == "serving"}
        if len(found) == count:
            return found
        time.sleep(0.05)


def takeover():
    server = Server(4, EXEMPT + "\nproviders: {demo: {delay_ms: 500}}\ndebates: {max_rounds: 100}")
    db = sqlite3.connect(f"file:{server.folder}/data/aragora.db?mode=ro", uri=True)
    times = []
    for _ in range(KILLS):
        workers = serving(server, 4)
        debate = post(server, "/api/debates", {"task": "Which queue should we take?", "rounds": 6})["id"]
        wait_more(db, debate, 0)
        time.sleep(0.2)
        slot = db.execute("SELECT p.slot FROM debates d JOIN processes p ON p.incarnation = d.owner WHERE d.id = ?",
                          (debate,)).fetchone()[0]
        os.kill(workers[slot], signal.SIGKILL)
        times.append(1e3 * wait_more(db, debate, steps_begun(db, debate)))
        urllib.request.urlopen(urllib.request.Request(server.url(f"/api/debates/{debate}/cancel"), b"{}",
                                                      {"Content-Type": "application/json"}), timeout=30).close()
    times.sort()
    row("kill -9 of a worker to the next step of its debate, p50", f"{statistics.median(times):.0f} ms")
    row(f"  the longest of {KILLS}", f"{times[-1]:.0f} ms", goal="< 250 ms")
    db.close()
    server.stop()
