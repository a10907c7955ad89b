# SPDX-License-Identifier: MIT
"""A real redis-server on a free port in a folder of its own, to be stopped, frozen and started again by tests."""
import subprocess
import time
from signal import SIGCONT, SIGKILL, SIGSTOP

import pytest
import redis

from conftest import free_port, wait_until


class Redis:
    def __init__(self, folder, *options):
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port, self.options, self.process = free_port(), options, None

    def start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder),
             *self.options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self.answers, 20, "redis-server answers")
        return self

    def client(self, **kw):
        return redis.Redis(port=self.port, socket_timeout=5, **kw)

    def answers(self):
        try:
            return self.client().ping()
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False

    def stop(self):
        """At once, as a crash does."""
        if self.process is not None:
            self.process.send_signal(SIGCONT)
            self.process.send_signal(SIGKILL)
            self.process.wait()

    def freeze(self):
        self.process.send_signal(SIGSTOP)

    def thaw(self):
        self.process.send_signal(SIGCONT)

    def url(self, db=0, user=""):
        return "redis://%s127.0.0.1:%d/%d" % (user, self.port, db)

    def channels(self):
        """Number of subscriptions per channel."""
        c = self.client()
        names = c.pubsub_channels("aragora:*")
        return {k.decode(): v for k, v in c.pubsub_numsub(*names)} if names else {}


@pytest.fixture
def make_redis(tmp_path):
    made = []

    def make(*options):
        r = Redis(tmp_path / ("redis%d" % len(made)), *options)
        made.append(r)
        return r.start()

    yield make
    for r in made:
        r.stop()


@pytest.fixture
def redis_server(make_redis):
    return make_redis()


def health(server, word, timeout=30):
    """Waits until every worker says so: requests go to any of them, so it must be said several times in a row."""
    said = 0
    deadline = time.monotonic() + timeout
    while said < 8:
        said = said + 1 if server.get("/api/health/redis").json()["redis"] == word else 0
        if time.monotonic() > deadline:
            pytest.fail("redis is not %s in %s s: %s" % (word, timeout, server.get("/api/health/redis").text))
        time.sleep(0.02)
