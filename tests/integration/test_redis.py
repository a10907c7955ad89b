# SPDX-License-Identifier: MIT
"""Redis between nodes: what one says, the other hears once; Redis may go and come at any time, and health says so.

Rooms of /ws/echo/{room} take the way of every broadcast, so they show the bus without a database that both share.
"""
import asyncio

import pytest
import websockets

from conftest import free_port, wait_until
from redis_kit import health, make_redis, redis_server  # noqa: F401  (fixtures)
from talk import create, debate, metric, wait_end

SECRET = "s3cr%2Ft"


def node(make_server, url, workers=2, **more):
    return make_server({"server": {"workers": workers}, "websocket": {"echo": True, "message_rate": 0},
                        "redis": {"url": url, "timeout": "500ms", "retry_max": "200ms"}, **more})


def room(server, name):
    return websockets.connect("%s/ws/echo/%s" % (server.ws_url, name), open_timeout=20)


async def heard(ws, timeout=20):
    return await asyncio.wait_for(ws.recv(), timeout)


async def joined(speaker, *listeners):
    """Speaks until all have heard: then every node is subscribed. What is left of it is read away."""
    n = 0
    waiting = [asyncio.ensure_future(k.recv()) for k in listeners]
    while not all(w.done() for w in waiting):
        await speaker.send("hello %d" % n)
        n += 1
        await asyncio.sleep(0.05)
    await speaker.send("begin")
    for k in (speaker, *listeners):
        while await heard(k) != "begin":
            pass


async def silent(ws, seconds=0.3):
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(ws.recv(), seconds)


def test_a_word_reaches_every_node_once(make_server, redis_server):
    a, b = node(make_server, redis_server.url(2)), node(make_server, redis_server.url(2))
    health(a, "connected"), health(b, "connected")

    async def main():
        async with room(a, "x") as a1, room(a, "x") as a2, room(b, "x") as b1, room(b, "x") as b2, room(b, "y") as other:
            await joined(a1, a2, b1, b2)
            for speaker, word in ((a1, "from a"), (b2, "from b")):
                await speaker.send(word)
                for k in (a1, a2, b1, b2):
                    assert await heard(k) == word
            for k in (a1, a2, b1, b2, other):
                await silent(k)
            assert "aragora:2:bus1:echo:x" in redis_server.channels()
    asyncio.run(main())
    # Nobody is in the room any more: nobody is subscribed.
    wait_until(lambda: "aragora:2:bus1:echo:x" not in redis_server.channels(), what="the last subscription ends")
    assert metric(b, 'aragora_bus_node_messages_total{direction="in"}') > 0
    assert metric(a, 'aragora_bus_node_messages_total{direction="out"}') > 0
    assert metric(a, "aragora_redis_connections") == 4
    assert metric(a, 'aragora_redis_commands_total{outcome="ok"}') > 0


def test_another_database_is_another_service(make_server, redis_server):
    a, b = node(make_server, redis_server.url(0)), node(make_server, redis_server.url(1))

    async def main():
        async with room(a, "x") as k, room(b, "x") as other:
            wait_until(lambda: len(redis_server.channels()) >= 2 and
                       {"aragora:0:bus1:echo:x", "aragora:1:bus1:echo:x"} <= set(redis_server.channels()))
            await k.send("mine")
            assert await heard(k) == "mine"
            await silent(other)
    asyncio.run(main())


def test_redis_goes_and_comes(make_server, redis_server):
    """A node alone serves on; what both say is heard again after the return, without a restart of anything."""
    a, b = node(make_server, redis_server.url()), node(make_server, redis_server.url())
    health(a, "connected"), health(b, "connected")

    async def main():
        async with room(a, "x") as a1, room(a, "x") as a2, room(b, "x") as b1:
            await joined(a1, a2, b1)
            for _ in range(3):
                redis_server.stop()
                health(a, "disconnected"), health(b, "disconnected")
                h = a.get("/api/health")
                assert h.status_code == 200 and h.json()["status"] == "degraded" and h.json()["redis"] == "disconnected"
                assert h.json()["checks"]["redis"]["error"] and h.json()["database"] == "connected"
                r = a.get("/api/health/redis")
                assert r.status_code == 503 and r.json()["error"].startswith("redis: ")
                assert a.get("/api/health/ready").status_code == 200
                await a1.send("here")
                assert await heard(a1) == await heard(a2) == "here"
                await silent(b1)
                redis_server.start()
                health(a, "connected"), health(b, "connected")
                await joined(b1, a1, a2)
            await a2.send("end")
            assert [await heard(k) for k in (a1, a2, b1)] == ["end"] * 3
    asyncio.run(main())
    assert debate(a)["status"] == "completed"
    assert a.get("/api/health").json()["status"] == "healthy"
    assert a.get("/api/health").json()["checks"]["redis"]["configured"] is True
    assert metric(a, 'aragora_bus_node_messages_total{direction="lost"}') > 0
    assert metric(a, "aragora_redis_failures_total") > 0
    # One line per worker, connection state and reason, however often it was tried.
    lines = [l for l in a.log_lines() if l["component"] == "redis"]
    assert len(lines) <= 2 * (1 + 3 * 3), lines


def test_debates_do_not_wait_for_redis(make_server, redis_server):
    """Redis freezes in the middle, later dies: nobody notices but health."""
    a = node(make_server, redis_server.url(), providers={"demo": {"delay_ms": 200}})
    health(a, "connected")
    i = create(a)
    redis_server.freeze()
    assert wait_end(a, i)["status"] == "completed"
    health(a, "disconnected")
    assert debate(a)["status"] == "completed"
    r = a.get("/readyz/dependencies").json()
    assert r["status"] == "ready" and r["checks"]["redis"]["connected"] is False and r["checks"]["redis"]["message"]
    redis_server.thaw()
    health(a, "connected")
    assert a.get("/readyz/dependencies").json()["checks"]["redis"] == {"connected": True, "configured": True, "required": False}
    redis_server.stop()
    assert debate(a)["status"] == "completed"
    health(a, "disconnected")


def test_start_without_redis(make_server):
    a = node(make_server, "redis://127.0.0.1:%d" % free_port())
    assert a.get("/api/health/redis").json()["redis"] == "disconnected"
    assert debate(a)["status"] == "completed"
    assert a.get("/api/health").json()["status"] == "degraded"


@pytest.mark.parametrize("user", ["", "carrier"])
def test_passwords_are_used_and_never_shown(make_server, make_redis, user):
    options = ["--requirepass", "s3cr/t"] if not user else ["--requirepass", "other", "--user", "carrier", "on", ">s3cr/t",
                                                           "allchannels", "-@all", "+publish", "+subscribe", "+unsubscribe",
                                                           "+ping", "+client"]
    server = make_redis(*options)
    good = node(make_server, server.url(user="%s:%s@" % (user, SECRET)))
    health(good, "connected")
    bad = node(make_server, server.url(user="%s:%s@" % (user, "wr0ng")))
    bad.wait_log("refuses user or password")
    said = {"redis": "disconnected", "error": "redis: the server refuses user or password"}
    wait_until(lambda: bad.get("/api/health/redis").json() == said, what="the reason in health")
    good.stop(), bad.stop()
    for s, secret in ((good, "s3cr"), (bad, "wr0ng")):
        assert secret not in s.log() and secret not in s.command("-T", "-c", s.conf_path).stdout


def test_a_unix_socket(make_server, make_redis, tmp_path):
    server = make_redis("--unixsocket", str(tmp_path / "r.sock"))
    a = node(make_server, "unix://%s?db=5" % (tmp_path / "r.sock"))
    health(a, "connected")
    assert any(k.startswith("aragora:5:") for k in server.channels())


@pytest.mark.parametrize("url,why", [
    ("rediss://:geheim@h:6380", "TLS to Redis is not spoken"),
    ("redis://:geheim@a:1,b:2", "Redis Cluster is not supported"),
    ("redis+sentinel://:geheim@a", "Sentinel is not supported")])
def test_what_is_refused(make_server, url, why):
    a = make_server({"redis": {"url": url}}, start=False)
    a.spawn()
    code, said = a.expect_exit()
    assert code != 0 and why in said and "geheim" not in said


def test_a_cluster_is_refused(make_server, make_redis):
    # Without a port of its own for its bus it takes port + 10000, which may be no port at all.
    a = node(make_server, make_redis("--cluster-enabled", "yes", "--cluster-port", str(free_port())).url())
    a.wait_log("Redis Cluster, which is not supported")
    assert a.get("/api/health/redis").status_code == 503


def test_environment(make_server, redis_server):
    a = make_server(env={"REDIS_URL": redis_server.url()})
    health(a, "connected")
    b = make_server(env={"REDIS_URL": "redis://127.0.0.1:1", "ARAGORA_REDIS_URL": redis_server.url()})
    health(b, "connected")


def test_reload_with_redis(make_server, redis_server):
    """Old and new generations are subscribed each for itself; nothing is heard twice, and the old one leaves."""
    from signal import SIGHUP
    a, b = node(make_server, redis_server.url(), 1), node(make_server, redis_server.url(), 1)

    async def main():
        async with room(b, "x") as b1:
            for _ in range(3):
                old = {w["pid"] for w in a.workers()}
                a.signal(SIGHUP)
                wait_until(lambda: old.isdisjoint(w["pid"] for w in a.workers(None)) and a.workers(), 60, "new worker")
                async with room(a, "x") as a1:
                    await joined(a1, b1)
                    await b1.send("one")
                    assert await heard(a1) == "one" == await heard(b1)
                    await silent(a1)
    asyncio.run(main())
    wait_until(lambda: len(redis_server.client().client_list()) <= 5, what="connections of old workers end")
