# SPDX-License-Identifier: MIT
"""A reload every second while everything is in use: wrk over kept connections, one-connection-per-request clients,
WebSockets that come back, debates with followers. What fails is counted, never retried."""
import asyncio
import base64
import os
import re
import struct
import subprocess
import threading
import time
from signal import SIGHUP, SIGTERM, SIGUSR2

from conftest import wait_until
from crash import check_debate, follow, gone
from load import Load


class Sockets:
    """Idle WebSockets; each comes back after 1012. Any other end, and any failed handshake, counts."""

    def __init__(self, port, count):
        self.port, self.count = port, count
        self.failures, self.restarts, self.open = [], 0, 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.run()), daemon=True)

    def __enter__(self):
        self.thread.start()
        wait_until(lambda: self.open == self.count or self.failures, 60, "sockets")
        return self

    def __exit__(self, *exc):
        self.stopped.set()
        self.thread.join(60)

    async def run(self):
        tasks = [asyncio.create_task(self.client()) for _ in range(self.count)]
        while not self.stopped.is_set():
            await asyncio.sleep(0.05)
        for t in tasks:
            t.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def client(self):
        while True:
            writer, opened = None, False
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22)
                writer.write(b"GET /ws HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
                             + base64.b64encode(os.urandom(16)) + b"\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                if not head.startswith(b"HTTP/1.1 101 "):
                    raise ValueError(head.splitlines()[0])
                opened = True
                self.open += 1
                code = await self.read_to_close(reader, writer)
                if code != 1012:
                    raise ValueError("closed with %r" % code)
                self.restarts += 1
            except (OSError, EOFError, ValueError) as e:
                self.failures.append("socket: %r" % e)
            finally:
                self.open -= opened
                if writer is not None:
                    writer.close()

    async def read_to_close(self, reader, writer):
        while True:
            first, second = await reader.readexactly(2)
            n = second & 127
            if n == 126:
                n, = struct.unpack(">H", await reader.readexactly(2))
            elif n == 127:
                n, = struct.unpack(">Q", await reader.readexactly(8))
            payload = await reader.readexactly(n)
            if first & 15 == 9:
                writer.write(b"\x8a\x80\0\0\0\0")
            if first & 15 == 8:
                writer.write(b"\x88\x82\0\0\0\0" + payload[:2])
                return struct.unpack(">H", payload[:2])[0]


def wrk(port, seconds, connections):
    return subprocess.Popen(["wrk", "-t1", "-c%d" % connections, "-d%ds" % seconds, "--timeout", "10s",
                             "http://127.0.0.1:%d/api/health" % port], stdout=subprocess.PIPE, text=True)


def wrk_report(process):
    text = process.communicate(timeout=60)[0]
    errors = re.search(r"Socket errors: (.*)", text)
    other = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return {"requests": int(re.search(r"(\d+) requests in", text).group(1)),
            "errors": (errors.group(1) if errors else "") + (other.group(0) if other else "")}


def storm(node, provider, seconds, sockets, connections=16):
    """HUP every second for that long; returns what was done. Fails if anything failed."""
    workers = len(node.workers())
    first = node.status()["generation"]
    with Load(node.port, kept=2, fresh=4, pause=0.001) as load, Sockets(node.ws_port, sockets) as idle:
        hammer = wrk(node.port, seconds + 2, connections)
        followers = {}
        for n in range(seconds):
            if n < seconds - 5 and n % 2 == 0:
                debate = node.create("Question %d of the storm" % n)
                followers[debate] = follow(node, debate)
            old = {w["pid"] for w in node.workers(None)}
            node.signal(SIGHUP)
            time.sleep(1)
        report = wrk_report(hammer)
        repeated = sum(check_debate(node, provider, d, f) for d, f in followers.items())
        gone(old - {w["pid"] for w in node.wait_workers(workers)})
        wait_until(lambda: idle.open == sockets, what="all sockets are back")
    breaks = [b for f in followers.values() for b in f[0].breaks]
    report.update(reloads=node.status()["generation"] - first, load=load.answers, told_to_close=load.told_to_close,
                  restarts=idle.restarts, debates=len(followers), breaks=len(breaks))
    print("storm:", report)
    assert not report["errors"], report
    assert not load.failures, (report, load.failures[:5], len(load.failures))
    assert not idle.failures, (report, idle.failures[:5], len(idle.failures))
    assert set(breaks) <= {1012}, breaks
    assert repeated == 0
    assert not [line for line in node.log_lines() if line.get("level") == "error"]
    return report


def upgrades(node, provider, count, sockets, connections=16):
    """USR2 and TERM `count` times under the same load; returns what was done. Fails if anything failed."""
    master, followers = node.process.pid, {}
    workers = len(node.workers())
    with Load(node.port, kept=2, fresh=4, pause=0.001) as load, Sockets(node.ws_port, sockets) as idle:
        hammer = wrk(node.port, count * 3 + 2, connections)
        for n in range(count):
            debate = node.create("Question %d over an upgrade" % n)
            followers[debate] = follow(node, debate)
            os.kill(master, SIGUSR2)
            new = wait_until(lambda: (pid := node.status()["pid"]) != master and pid, what="the new master")
            wait_until(lambda: len([w for w in node.workers() if w["master"] == new]) == workers, what="its workers")
            time.sleep(1)
            os.kill(master, SIGTERM)
            gone([master])
            node.process.poll()
            time.sleep(1)
            master = new
        report = wrk_report(hammer)
        repeated = sum(check_debate(node, provider, d, f) for d, f in followers.items())
        wait_until(lambda: idle.open == sockets, what="all sockets are back")
    report.update(upgrades=count, load=load.answers, told_to_close=load.told_to_close, restarts=idle.restarts,
                  debates=len(followers))
    print("upgrades:", report)
    assert not report["errors"], report
    assert not load.failures, (report, load.failures[:5], len(load.failures))
    assert not idle.failures, (report, idle.failures[:5], len(idle.failures))
    assert repeated == 0
    assert not [line for line in node.log_lines() if line.get("level") == "error"]
    os.kill(master, SIGTERM)
    gone([master])
    return report
