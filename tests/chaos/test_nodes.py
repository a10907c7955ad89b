# SPDX-License-Identifier: MIT
"""Two nodes, up to DEBATES debates at once with callbacks and subscribers, and something bad every second or two for
CHAOS_MINUTES; CHAOS_SEED repeats a run's choices. What must hold is in service.py.

    make chaos MINUTES=30 SEED=7
"""
import os
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from audience import Audience  # noqa: E402
from conftest import wait_until  # noqa: E402
from crash import pace  # noqa: E402
from pgkit import Cluster  # noqa: E402
from provider import ProviderServer  # noqa: E402
from receiver import Receiver  # noqa: E402
from redis_kit import Redis  # noqa: E402
from service import Service  # noqa: E402

MINUTES = float(os.environ.get("CHAOS_MINUTES", "2"))
SEED = int(os.environ.get("CHAOS_SEED", time.time_ns() % 1000000))
DEBATES = int(os.environ.get("CHAOS_DEBATES", "12"))
REST = 1.5  # seconds between two acts at most


@pytest.fixture
def postgres():
    cluster = Cluster(durable=True).start()
    yield cluster
    cluster.close()


@pytest.fixture
def redis(tmp_path):
    server = Redis(tmp_path / "redis").start()
    yield server
    server.stop()


def test_chaos_of_two_nodes(tmp_path, postgres, redis):
    print("CHAOS_SEED=%d" % SEED)
    with ProviderServer() as provider, Receiver() as receiver:
        pace(provider, 0.1)
        service = Service(tmp_path, provider, postgres, redis, receiver, SEED)
        try:
            service.start()
            with Audience(service.nodes, SEED) as audience:
                followers = live(service, audience, time.monotonic() + 60 * MINUTES)
                wait_until(lambda: service.running() == 0, 180, "end of all debates", 0.5)
                for f in (f for watching in followers.values() for f in watching):
                    audience.finish(f)
            wait_until(lambda: not service.rows("SELECT 1 FROM deliveries WHERE state NOT IN ('delivered', 'dead')"), 90,
                       "end of all deliveries", 0.5)
            print("chaos of two nodes, seed %d: %s; %s" % (SEED, service.judge(followers), dict(service.acts)))
        finally:
            service.close()


def live(service, audience, until):
    """Debates come, something happens, and it goes on; returns who watched what."""
    followers = {}
    while time.monotonic() < until:
        while service.running() < DEBATES:
            debate = service.create("Question %d of the chaos" % len(followers))
            followers[debate] = audience.follow(debate)
        service.act()
        service.pause(REST)
    return followers
