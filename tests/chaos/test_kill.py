# SPDX-License-Identifier: MIT
"""Hundreds of deaths at random times while debates run and clients watch (make chaos).

CHAOS_KILLS (default 200) deaths of workers, CHAOS_SEED repeats a run. What must hold is what the short tests ask for:
every seq once at every client, one start, one end, no step paid twice but those in flight, a receipt that verifies, no
report of a sanitizer, and the same bytes when the journal is replayed."""
import os
import random
import sys
import time
from pathlib import Path
from signal import SIGHUP, SIGSTOP, SIGTERM, SIGTTIN, SIGTTOU

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from conftest import wait_until  # noqa: E402
from crash import Node, check_debate, fault_points, follow, node_config, pace  # noqa: E402
from provider import ProviderServer  # noqa: E402

KILLS = int(os.environ.get("CHAOS_KILLS", "200"))
SEED = int(os.environ.get("CHAOS_SEED", time.time_ns() % 1000000))
AT_ONCE = 6  # debates under way


class Chaos:
    def __init__(self, node, provider, rng):
        self.node, self.provider, self.rng = node, provider, rng
        self.open, self.deaths, self.done, self.repeated, self.acts = {}, 0, 0, 0, {}

    def feed(self):
        while len(self.open) < AT_ONCE and self.deaths < KILLS:
            debate = self.node.create("Question %d of the chaos" % (self.done + len(self.open)))
            self.open[debate] = follow(self.node, debate)

    def harvest(self):
        """Judges what has ended."""
        for debate in [d for d in self.open if not self.node.debate(d)["in_progress"]]:
            self.repeated += check_debate(self.node, self.provider, debate, self.open.pop(debate))
            self.done += 1

    def kill(self, pids):
        self.node.kill(pids)
        self.deaths += len(pids)

    # ---- what can happen ----

    def kill_runner(self):
        if runners := self.node.runners():
            self.kill([self.rng.choice(runners)])

    def kill_anyone(self):
        if workers := self.node.workers(None):
            self.kill([self.rng.choice(workers)["pid"]])

    def kill_all_workers(self):
        self.kill([w["pid"] for w in self.node.workers(None)])

    def kill_at_point(self):
        point = self.rng.choice([p for p in fault_points() if p != "worker.boot" and not p.startswith(("delivery.", "jobs."))])
        limit = time.monotonic() + 2
        self.node.arm(point)
        self.deaths += self.node.wait_fired(point, over=lambda: time.monotonic() > limit)

    def stop_one(self):
        """A worker that hangs; the watchdog ends it some time later."""
        if workers := self.node.workers():
            pid, begin = self.rng.choice(workers)["pid"], time.time()
            os.kill(pid, SIGSTOP)
            wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, 30,
                       "end of a stopped worker")
            self.node.kills.append((begin, time.time()))
            self.deaths += 1

    def kill_everything(self):
        begin = time.time()
        self.deaths += len(self.node.family()) - 1
        self.node.kill_all()
        self.node.kills.append((begin, time.time()))
        self.node.start()

    def kill_master(self):
        self.node.process.kill()
        self.node.process.wait()
        self.node.start()

    def reload(self):
        self.node.signal(SIGHUP)

    def more_or_fewer(self):
        self.node.signal(self.rng.choice((SIGTTIN, SIGTTOU)))

    def restart(self):
        assert self.node.stop(SIGTERM) == 0  # no excuse for a call that is paid twice
        self.node.start()

    def act(self):
        weights = {self.kill_runner: 10, self.kill_anyone: 4, self.kill_at_point: 8, self.kill_all_workers: 2, self.stop_one: 1,
                   self.kill_everything: 1, self.kill_master: 1, self.reload: 3, self.more_or_fewer: 2, self.restart: 1}
        what = self.rng.choices(list(weights), list(weights.values()))[0]
        self.acts[what.__name__] = self.acts.get(what.__name__, 0) + 1
        what()


@pytest.fixture
def provider():
    with ProviderServer() as p:
        yield p


def test_chaos(tmp_path, provider):
    print("CHAOS_SEED=%d" % SEED)
    rng = random.Random(SEED)
    pace(provider, 0.05)
    node = Node(tmp_path / "node", node_config(provider, server={"workers": 3, "stall_timeout": "1s", "graceful_timeout": "1s"},
                                               debates={"max_concurrent": 10}))
    node.start()
    chaos = Chaos(node, provider, rng)
    try:
        while chaos.deaths < KILLS or chaos.open:
            chaos.feed()
            if chaos.deaths < KILLS:
                chaos.act()
            time.sleep(rng.random() * 0.8)  # random times are the point
            chaos.harvest()
        assert node.rows("SELECT COUNT(*) FROM debates") == [(chaos.done,)]  # no creation was doubled by a repeated request
        print("%d deaths, %d debates, %d calls in flight lost and asked again, %s" %
              (chaos.deaths, chaos.done, chaos.repeated, chaos.acts))
    finally:
        node.close()
