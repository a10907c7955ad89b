# SPDX-License-Identifier: MIT
"""Limits per client address: of the node, not of a worker, over deaths, reloads and upgrades."""
import os
import socket
import time
from signal import SIGHUP, SIGKILL

import pytest

from conftest import wait_until
from rawws import Closed, Raw

LIMITED = {"server": {"workers": 4, "keepalive": "60s", "graceful_timeout": "20s", "trusted_proxies": []},
           "limits": {"connections_per_ip": 12, "exempt": []},
           "websocket": {"echo": True, "max_per_ip": 6, "connection_rate": 0}}


def ask(sock):
    """The status of one request on a connection that is kept."""
    sock.sendall(b"GET /api/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(65536)
        if not part:
            return None
        data += part
    return int(data.split()[1])


class Crowd:
    """Connections that are kept; status() of the n-th is asked for as long as it lives."""

    def __init__(self, port):
        self.port, self.kept = port, []

    def more(self):
        """One more connection: its first status."""
        s = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        status = ask(s)
        if status == 200:
            self.kept.append(s)
        else:
            s.close()
        return status

    def fill(self):
        """Opens until refused: how many were let in."""
        before = len(self.kept)
        while (status := self.more()) == 200:
            assert len(self.kept) < 100
        assert status == 429
        return len(self.kept) - before

    def shrink(self, n):
        for _ in range(n):
            self.kept.pop().close()

    def ended(self):
        """Takes those out that the server has ended: how many."""
        def gone(s):
            s.setblocking(False)
            try:
                return s.recv(1, socket.MSG_PEEK) == b""
            except BlockingIOError:
                return False
            except ConnectionResetError:
                return True
            finally:
                s.settimeout(20)
        dead = [s for s in self.kept if gone(s)]
        self.kept = [s for s in self.kept if s not in dead]
        return len(dead)


@pytest.mark.server(LIMITED)
def test_connections_are_counted_over_all_workers(server):
    server.wait_workers(4)
    crowd = Crowd(server.port)
    assert crowd.fill() == 12
    # Several workers hold them: no single one has reached the limit.
    held = [w["connections"] for w in server.workers()]
    assert sum(held) >= 12 and max(held) < 12
    crowd.shrink(5)
    wait_until(lambda: crowd.more() == 200, what="a place given back")
    wait_until(lambda: (crowd.fill(), len(crowd.kept))[1] == 12, what="all places given back")


@pytest.mark.server(LIMITED)
def test_a_killed_worker_gives_its_places_back(server):
    server.wait_workers(4)
    crowd = Crowd(server.port)
    assert crowd.fill() == 12
    victim = max(server.workers(), key=lambda w: w["connections"])
    assert victim["connections"] > 0
    os.kill(victim["pid"], SIGKILL)
    wait_until(lambda: "worker died" in server.run_log(), what="its reaping")
    gone = wait_until(crowd.ended, what="the end of its connections")
    assert 0 < gone < 12 and len(crowd.kept) == 12 - gone
    # Exactly the dead worker's places are free, also once its successor sits in its slot: those of the living count.
    server.wait_workers(4)
    assert crowd.fill() == gone


@pytest.mark.server(LIMITED)
def test_two_generations_share_the_counts(server):
    first = {w["pid"] for w in server.wait_workers(4)}
    crowd = Crowd(server.port)
    assert crowd.fill() == 12
    server.signal(SIGHUP)
    wait_until(lambda: len([w for w in server.workers() if w["pid"] not in first]) == 4, what="the new generation")
    assert {w["pid"] for w in server.workers("draining")} <= first
    # The old generation keeps its idle connections; for the new one they count.
    assert crowd.more() == 429
    crowd.shrink(3)
    wait_until(lambda: crowd.more() == 200, what="a place given back by the old generation")
    wait_until(lambda: (crowd.fill(), len(crowd.kept))[1] == 12, what="all of them")


@pytest.mark.server(LIMITED)
def test_a_reload_changes_the_limit(server):
    server.wait_workers(4)
    crowd = Crowd(server.port)
    assert crowd.fill() == 12
    server.write_config(limits={"connections_per_ip": 15})
    server.signal(SIGHUP)
    # Until the old generation has left the listener, it refuses by its own limit.
    wait_until(lambda: (crowd.fill(), len(crowd.kept))[1] == 15, what="the new limit")
    assert crowd.more() == 429


@pytest.mark.server({**LIMITED, "limits": {"connections_per_ip": 0, "exempt": []}})
def test_sockets_are_counted_over_all_workers(server):
    server.wait_workers(4)
    open_ones = [Raw(server.port) for _ in range(6)]
    assert max(w["sockets"] for w in wait_until(
        lambda: sum(w["sockets"] for w in server.workers()) == 6 and server.workers(), what="six sockets")) < 6
    with Raw(server.port) as seventh:
        assert seventh.closed() == 4029
    open_ones.pop().s.close()

    def again():
        k = Raw(server.port)
        try:
            k.alive()
        except (Closed, AssertionError, OSError):
            k.s.close()
            return False
        open_ones.append(k)
        return True
    wait_until(again, what="a place given back")
    for k in open_ones:
        k.s.close()


@pytest.mark.server({**LIMITED, "limits": {"connections_per_ip": 0, "exempt": []},
                     "websocket": {"echo": True, "max_per_ip": 0, "connection_rate": 8}})
def test_new_sockets_are_counted_over_all_workers(server):
    """The rate too: who opens and closes eight sockets is refused the ninth, whichever worker accepts it."""
    server.wait_workers(4)
    began, codes = time.monotonic(), []
    for _ in range(12):
        with Raw(server.port) as k:
            try:
                k.alive()
                codes.append(101)
            except (Closed, AssertionError, OSError):
                codes.append(4029)
    if time.monotonic() - began < 50:
        assert codes == [101] * 8 + [4029] * 4
