# SPDX-License-Identifier: MIT
"""Clients that mean no good, or are too many: each costs a slot and a while, and never starves the others."""
import re
import resource
import socket
import threading
import time

import psutil
import pytest

from conftest import wait_until

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def connect(server, timeout=20, **kw):
    s = socket.create_connection(("127.0.0.1", server.port), timeout)
    for option, value in kw.items():
        s.setsockopt(socket.SOL_SOCKET, getattr(socket, option), value)
    return s


def reply(s):
    """(status, head) of one reply; ("", b"") when the connection ends instead."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = s.recv(65536)
        if not part:
            return 0, data
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(re.search(rb"(?i)\r\ncontent-length: (\d+)", head).group(1))
    while len(body) < length:
        body += s.recv(65536)
    return int(head.split()[1]), head


def ended(s):
    """The server has closed: what it said before is dropped."""
    try:
        while s.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


class Neighbour:
    """A decent client on a kept connection that asks all the time, and notes how long each answer took."""

    def __init__(self, server):
        self.took, self.wrong, self.stopping = [], [], False
        self.socket = connect(server)
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.stopping:
            start = time.monotonic()
            try:
                self.socket.sendall(GET)
                status, _ = reply(self.socket)
            except OSError as e:
                status = str(e)
            self.took.append(time.monotonic() - start)
            if status != 200:
                self.wrong.append(status)
                return
            time.sleep(0.01)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.thread.join(30)
        self.socket.close()

    def check(self):
        assert not self.wrong and len(self.took) > 10
        assert sorted(self.took)[len(self.took) * 95 // 100] < 0.5, sorted(self.took)[-5:]


def trickle(sockets, piece, until, interval=0.1):
    """Sends a piece on every socket again and again, until each has been ended by the server or time is up."""
    deadline, left = time.monotonic() + until, list(sockets)
    while left and time.monotonic() < deadline:
        for s in list(left):
            try:
                s.sendall(piece)
                s.setblocking(False)
                try:
                    if s.recv(1, socket.MSG_PEEK) is not None:
                        left.remove(s)
                except BlockingIOError:
                    pass
                s.settimeout(20)
            except OSError:
                left.remove(s)
        time.sleep(interval)
    return left


def connections(server):
    return sum(w["connections"] for w in server.workers())


@pytest.mark.server({"server": {"workers": 1, "head_timeout": "1s"}})
def test_slow_heads(server):
    with Neighbour(server) as other:
        attackers = [connect(server) for _ in range(100)]
        for s in attackers:
            s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        start = time.monotonic()
        assert not trickle(attackers, b"X-A: b\r\n", 10), "heads without end were waited for"
        assert time.monotonic() - start > 0.7
        for s in attackers:
            assert reply(s)[0] == 408 and ended(s)
    other.check()
    wait_until(lambda: connections(server) <= 1, what="no slot kept")


@pytest.mark.server({"server": {"workers": 1, "body_timeout": "1s", "body_rate": 500}})
def test_slow_bodies(server):
    with Neighbour(server) as other:
        attackers = [connect(server) for _ in range(50)]
        for s in attackers:
            s.sendall(b"POST /api/debates HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9000\r\n\r\n{")
        # Never silent for a second, but far below the rate.
        assert not trickle(attackers, b" ", 10), "a body of a byte now and then was waited for"
        for s in attackers:
            assert reply(s)[0] == 408 and ended(s)
        # A slow but honest one passes: above the rate, for longer than body_timeout.
        s = connect(server)
        s.sendall(b"POST /api/debates HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 3000\r\n\r\n{")
        for _ in range(15):
            s.sendall(b" " * 199)
            time.sleep(0.1)
        s.sendall(b" " * 13 + b"}")
        assert reply(s)[0] == 400, "complete, and not a debate"
    other.check()


# The sanitizer shall not keep what is freed: the memory is measured.
@pytest.mark.server({"server": {"workers": 1, "write_timeout": "1s"}},
                    {"ASAN_OPTIONS": "abort_on_error=0:exitcode=86:detect_stack_use_after_return=0:quarantine_size_mb=1"})
def test_slow_readers(server):
    size = len(server.get("/api/health").content)
    with Neighbour(server) as other:
        before = psutil.Process(server.workers()[0]["pid"]).memory_info().rss
        attackers = [connect(server, SO_RCVBUF=4096) for _ in range(30)]
        wait_until(lambda: connections(server) >= 30, what="30 connections")
        asked = 8 * 1024 * 1024 // size
        for s in attackers:
            s.settimeout(0.05)
            try:
                s.sendall(b"GET /api/health HTTP/1.1\r\nHost: x\r\n\r\n" * asked)
            except OSError:
                pass  # the server does not read on while its answers are not taken
            s.settimeout(20)
        wait_until(lambda: connections(server) <= 1, what="readers who do not read were sent away")
        grown = psutil.Process(server.workers()[0]["pid"]).memory_info().rss - before
        assert grown < 100 * 1024 * 1024, "%d MiB for answers that nobody reads" % (grown >> 20)
        for s in attackers:
            s.close()
    other.check()


@pytest.mark.server({"server": {"workers": 1, "worker_connections": 20, "keepalive": "60s"}})
def test_full(server):
    kept = [connect(server) for _ in range(20)]
    for s in kept:
        s.sendall(GET)
        assert reply(s)[0] == 200
    extra = connect(server)
    status, head = reply(extra)
    assert status == 503 and b"\r\nRetry-After: " in head and ended(extra)
    kept[7].sendall(GET)
    assert reply(kept[7])[0] == 200, "who is in stays in"
    kept.pop().close()
    wait_until(lambda: connections(server) < 20, what="the free slot")
    again = connect(server)
    again.sendall(GET)
    assert reply(again)[0] == 200


@pytest.mark.server({"server": {"workers": 1, "keepalive": "60s"}})
def test_no_descriptors_left(server):
    worker = psutil.Process(server.workers()[0]["pid"])
    first = connect(server)
    first.sendall(GET)
    assert reply(first)[0] == 200
    limits = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (worker.num_fds() + 4, limits[1]))
    crowd = [connect(server) for _ in range(30)]
    server.wait_log("cannot accept, pausing")
    before = worker.cpu_times()
    time.sleep(1)
    after = worker.cpu_times()
    assert after.user + after.system - before.user - before.system < 0.5, "it spins on a queue it cannot take from"
    first.sendall(GET)
    assert reply(first)[0] == 200, "who is in stays in"
    for s in crowd[:20]:
        s.close()
    for s in crowd[20:]:
        s.sendall(GET)
    resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, limits)
    for s in crowd[20:]:
        assert reply(s)[0] == 200, "who waited is served when there are descriptors again"
    assert worker.is_running() and [w["pid"] for w in server.workers()] == [worker.pid]


@pytest.mark.server({"server": {"workers": 4, "keepalive": "120s"}})
def test_connections_are_spread(server):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    server.wait_workers(4)

    def shares():
        """Opens 1,000 sockets; how many each worker holds."""
        kept = [connect(server) for _ in range(1000)]
        for s in kept:
            s.sendall(GET)
        assert all(reply(s)[0] == 200 for s in kept)
        found = wait_until(lambda: (c := sorted(w["connections"] for w in server.workers())) and sum(c) >= 1000 and c,
                           what="1,000 connections")
        for s in kept:
            s.close()
        wait_until(lambda: connections(server) == 0, what="all gone")
        return found

    # A worker that the machine does not let run for 300 ms leaves the comparison: a busy machine gets three tries.
    tries = []
    for _ in range(3):
        tries.append(shares())
        if tries[-1][-1] <= 1.3 * tries[-1][0]:
            return
    pytest.fail("shares of 1,000 connections: %r" % tries)
