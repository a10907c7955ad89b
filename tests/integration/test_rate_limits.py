# SPDX-License-Identifier: MIT
"""Rate limits through the real door: per address, token, user, action, endpoint and tier; one count for all workers that
outlives their death and reloads; one count for all nodes through Redis, and the node's own while Redis is away.

Buckets here earn one request in a minute or more, so that no test depends on how fast the machine is.
"""
import itertools
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from signal import SIGHUP, SIGKILL

import pytest
import redis as redis_client
import requests

from conftest import wait_until
from redis_kit import health, make_redis, redis_server  # noqa: F401  (fixtures)

READ = "/api/agents/availability"
TOKEN = {"Authorization": "Bearer test-token-of-the-api-0123456789"}
# Nobody is exempt, and only the limits that a test names apply.
OFF = ["public=0", "authenticated=0", "admin=0", "tenant=0"]


def limits(*rules, address=0, token=0, tenant=0, **more):
    return {"limits": {"exempt": []},
            "rate_limit": {"enabled": True, "per_address": address, "per_token": token, "per_tenant": tenant,
                           "burst_multiplier": "10", "rules": OFF + list(rules), **more}}


def at(address, **headers):
    """As a trusted proxy says it: the client's address."""
    return {"X-Forwarded-For": address, **headers}


_given = itertools.count(1)


def fresh():
    """An address that nobody has used."""
    n = next(_given)
    return "198.18.%d.%d" % (n // 250, n % 250)


def spend(server, n, path=READ, headers=None):
    """n requests, each on a connection of its own so that both workers get some; all are let through."""
    for i in range(n):
        r = server.get(path, headers=headers)
        assert r.status_code == 200, (i, r.text)
    return r


def refused(r, kind, code="rate_limit_exceeded"):
    body = r.json()
    assert r.status_code == 429 and body["code"] == code and body["limit_type"] == kind, r.text
    assert body["error"].startswith("Rate limit exceeded") and body["trace_id"] == r.headers["X-Request-ID"]
    assert body["retry_after"] == int(r.headers["Retry-After"]) >= 1
    assert r.headers["X-RateLimit-Remaining"] == "0" and int(r.headers["X-RateLimit-Limit"]) >= 1
    assert abs(int(r.headers["X-RateLimit-Reset"]) - time.time() - body["retry_after"]) < 60
    return body


@pytest.mark.server(limits(address=1))
def test_address(server):
    first = spend(server, 1, headers=at("192.0.2.1"))
    assert (first.headers["X-RateLimit-Limit"], first.headers["X-RateLimit-Remaining"]) == ("10", "9")
    assert "X-RateLimit-Reset" not in first.headers and "Retry-After" not in first.headers
    last = spend(server, 9, headers=at("192.0.2.1"))
    assert last.headers["X-RateLimit-Remaining"] == "0"
    assert 1 <= refused(server.get(READ, headers=at("192.0.2.1")), "address")["retry_after"] <= 60
    # Others are not touched; of IPv6 one customer is a /64.
    spend(server, 1, headers=at("192.0.2.2"))
    spend(server, 5, headers=at("2001:db8:1:2::1"))
    spend(server, 5, headers=at("2001:db8:1:2:ffff::2"))
    refused(server.get(READ, headers=at("2001:db8:1:2:abcd::3")), "address")
    spend(server, 1, headers=at("2001:db8:1:3::1"))
    # Probes are never refused, and carry no headers of a limit.
    probe = server.get("/healthz", headers=at("192.0.2.1"))
    assert probe.status_code == 200 and "X-RateLimit-Limit" not in probe.headers
    server.wait_log('"Rate limit exceeded".*"limit":"address","client":"192.0.2.1"')
    text = server.get("/metrics").text
    assert 'aragora_rate_limit_rejections_total{limit_type="address"} 2\n' in text
    assert 'aragora_rate_limit_decisions_total{decision="refused"} 2\n' in text


@pytest.mark.server(limits(address=1))
def test_workers_share_what_deaths_and_reloads_leave(server):
    """All workers at once let through exactly one burst; kill -9 and two generations later it is still used up."""
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: server.get(READ, headers=at("192.0.2.9")).status_code, range(40)))
    assert got.count(200) == 10 and got.count(429) == 30
    server.reports_allowed = True
    for w in server.wait_workers(2):
        os.kill(w["pid"], SIGKILL)
    wait_until(lambda: len(server.workers()) == 2, 60, "new workers")
    refused(server.get(READ, headers=at("192.0.2.9")), "address")
    for _ in range(2):
        before = {w["pid"] for w in server.wait_workers(2)}
        server.signal(SIGHUP)
        wait_until(lambda: len(server.workers()) == 2 and not before & {w["pid"] for w in server.workers(None)}, 60,
                   "a new generation")
        refused(server.get(READ, headers=at("192.0.2.9")), "address")
    spend(server, 1, headers=at("192.0.2.10"))


@pytest.mark.server({**limits(token=60), "auth": {"api_token": TOKEN["Authorization"][7:]}})
def test_token(server):
    """The 61st request in a minute is refused."""
    with requests.Session() as s:
        began = time.monotonic()
        got = [s.get(server.url + READ, headers=TOKEN).status_code for _ in range(61 + 60)]
        took = time.monotonic() - began
    assert got[:60] == [200] * 60 and 429 in got and got.count(200) <= 61 + took


@pytest.mark.server({**limits(address=1), "auth": {"required": True, "api_token": TOKEN["Authorization"][7:]}})
def test_guesses_are_counted_before_they_are_looked_at(server):
    bad = {"Authorization": "Bearer wrong"}
    for _ in range(10):
        r = server.get(READ, headers=at("192.0.2.3", **bad))
        assert r.status_code == 401 and "X-RateLimit-Remaining" in r.headers
    refused(server.get(READ, headers=at("192.0.2.3", **bad)), "address")
    # Nor does the right one help any more; from elsewhere it does.
    refused(server.get(READ, headers=at("192.0.2.3", **TOKEN)), "address")
    spend(server, 1, headers=at("192.0.2.4", **TOKEN))


@pytest.mark.server(limits("action.default=1/2"))
def test_writing_knowledge_counts_as_writing(server):
    codes = [server.post("/api/knowledge/mound/nodes", {"content": "Fact %d." % i}).status_code for i in range(3)]
    assert codes == [201, 201, 429]
    assert server.get("/api/knowledge/mound/nodes").status_code == 200, "reading goes on"


@pytest.mark.server({**limits("action.export=1/2", "endpoint.debates=1/3", "endpoint.debates/*=0"),
                     "auth": {"required": True, "api_token": TOKEN["Authorization"][7:]}})
def test_actions_and_endpoints_count_callers(server):
    """Wherever a caller comes from."""
    for i in range(2):
        assert server.get("/api/debates/export", headers=at("192.0.2.%d" % i, **TOKEN)).status_code == 200
    assert "export" in refused(server.get("/api/debates/export", headers=at("192.0.2.77", **TOKEN)), "action")["error"]
    spend(server, 3, "/api/debates", headers=TOKEN)
    refused(server.get("/api/v1/debates", headers=TOKEN), "endpoint")
    spend(server, 1, READ, headers=TOKEN)


@pytest.mark.server({**limits("admin=1/3"), "auth": {"api_token": TOKEN["Authorization"][7:]}})
def test_the_tightest_limit_is_told(server):
    server.write_config(rate_limit={"rules": OFF + ["admin=1/3", "endpoint.debates=1/2"]})
    before = {w["pid"] for w in server.wait_workers(2)}
    server.signal(SIGHUP)
    wait_until(lambda: len(server.workers()) == 2 and not before & {w["pid"] for w in server.workers(None)}, 60, "a new generation")
    r = server.get("/api/debates", headers=TOKEN)
    assert (r.headers["X-RateLimit-Limit"], r.headers["X-RateLimit-Remaining"]) == ("2", "1")
    r = server.get(READ, headers=TOKEN)
    assert (r.headers["X-RateLimit-Limit"], r.headers["X-RateLimit-Remaining"]) == ("3", "1")


@pytest.mark.server({**limits("tier.enterprise=1/2", tiers=True), "auth": {"api_token": TOKEN["Authorization"][7:]}})
def test_tier(server):
    spend(server, 2, headers=TOKEN)
    body = refused(server.get(READ, headers=TOKEN), "tier", "tier_rate_limit")
    assert (body["limit"], body["tier"], body["upgrade_url"]) == (1, "enterprise", "/pricing")


@pytest.mark.server({"rate_limit": {"enabled": True, "per_address": 1, "burst_multiplier": "1"}})
def test_exempt(server):
    """The built-in figures, but for those whom limits.exempt names: this machine."""
    assert "X-RateLimit-Limit" not in spend(server, 5).headers
    spend(server, 1, headers=at("192.0.2.5"))
    refused(server.get(READ, headers=at("192.0.2.5")), "address")


@pytest.mark.server(limits(address=1), env={"ARAGORA_DISABLE_ALL_RATE_LIMITS": "1"})
def test_switched_off(server):
    assert "X-RateLimit-Limit" not in spend(server, 12).headers
    assert "rate_limit" not in server.command("routes", "-c", server.conf_path).stdout


def test_a_rule_of_no_limit_refuses_the_start(make_server):
    s = make_server(limits("endpoint.nothing=1"), start=False).spawn()
    code, log = s.expect_exit()
    assert code != 0 and 'there is no limit called \\"endpoint.nothing\\"' in log


# ---- several nodes ----

def node(make_server, redis, *rules, **more):
    config = limits(*rules, redis_interval="20ms", **more)
    config["redis"] = {"url": redis.url(), "timeout": "500ms", "retry_max": "100ms"}
    s = make_server(config)
    health(s, "connected")
    return s


def left(server, address):
    """What the node thinks is left for an address, without taking any of it."""
    r = server.get("/api/system/rate-limits", params={"client": address}, headers=at(fresh()))
    assert r.status_code == 200, r.text
    return next(x["remaining"] for x in r.json()["limits"] if x["name"] == "address")


def test_nodes_share_a_count(make_server, redis_server):
    a, b = (node(make_server, redis_server, address=1) for _ in range(2))
    spend(a, 8, headers=at("192.0.2.20"))
    c = redis_server.client()
    key = "aragora:ratelimit:ip:192.0.2.20"
    wait_until(lambda: c.hget(key, "tokens") is not None and float(c.hget(key, "tokens")) < 3, 20, "the count is in Redis")
    assert c.ttl(key) >= 100 and c.hexists(key, "last_refill")
    # The other node hears of it by its own first request.
    assert left(b, "192.0.2.20") == 10
    spend(b, 1, headers=at("192.0.2.20"))
    wait_until(lambda: left(b, "192.0.2.20") == 1, 20, "the other node knows")
    spend(b, 1, headers=at("192.0.2.20"))
    refused(b.get(READ, headers=at("192.0.2.20")), "address")
    # And the first by its next one.
    assert left(a, "192.0.2.20") == 2
    spend(a, 1, headers=at("192.0.2.20"))
    wait_until(lambda: left(a, "192.0.2.20") == 0, 20, "the first node knows")
    refused(a.get(READ, headers=at("192.0.2.20")), "address")
    # IPv6 in the form of the keys, and others untouched.
    spend(a, 1, headers=at("2001:db8::1"))
    wait_until(lambda: c.exists("aragora:ratelimit:ip:2001_db8__"), 20, "a key without colons: %s" % c.keys())
    assert left(b, "192.0.2.21") == 10
    text = a.get("/metrics").text
    assert "aragora_rate_limit_circuit_breaker_state 0\n" in text and "aragora_rate_limit_fallback_requests_total 0\n" in text


def fallbacks(server):
    return float(re.search(r"^aragora_rate_limit_fallback_requests_total (.*)$", server.get("/metrics").text, re.M)[1])


def test_without_redis_each_node_goes_on(make_server, redis_server):
    """Away: the node's limit holds, and nothing waits. Back, and empty: counts are shared again."""
    a, b = (node(make_server, redis_server, address=1, redis_failures=2, redis_cooldown="100ms") for _ in range(2))
    spend(a, 1, headers=at("192.0.2.30"))
    redis_server.stop()
    health(a, "disconnected")
    for s in (a, b):
        spend(s, 10, headers=at("192.0.2.31"))
        refused(s.get(READ, headers=at("192.0.2.31")), "address")
    wait_until(lambda: spend(a, 1, headers=at(fresh())) and fallbacks(a) > 0, 20, "fallbacks are counted")
    wait_until(lambda: spend(a, 1, headers=at(fresh())) and "aragora_rate_limit_circuit_breaker_state 0\n" not in a.get("/metrics").text,
               20, "the breaker opens")
    redis_server.start()
    health(a, "connected")
    health(b, "connected")
    wait_until(lambda: spend(a, 1, headers=at(fresh())) and "aragora_rate_limit_backend_status 2\n" in a.get("/metrics").text, 20,
               "the breakers of both workers close")
    refused(a.get(READ, headers=at("192.0.2.31")), "address")


def test_a_slow_redis_delays_nobody(make_server, redis_server):
    a = node(make_server, redis_server, address=1)
    spend(a, 2, headers=at("192.0.2.40"))
    redis_server.freeze()
    began = time.monotonic()
    spend(a, 5, headers=at("192.0.2.41"))
    spend(a, 5, headers=at("192.0.2.41"))
    refused(a.get(READ, headers=at("192.0.2.41")), "address")
    assert time.monotonic() - began < 20
    redis_server.thaw()
    # A script that a restart of Redis has forgotten is sent again.
    health(a, "connected")
    redis_server.client().script_flush()
    redis_server.client().flushall()
    wait_until(lambda: spend(a, 1, headers=at(fresh())) and redis_server.client().keys("aragora:ratelimit:ip:198.18.*"), 20,
               "the script is there again", 0.1)


def test_a_key_of_another_kind_does_no_harm(make_server, redis_server):
    """Redis holds what is no bucket under our name: an error like any other."""
    try:
        redis_server.client().set("aragora:ratelimit:ip:192.0.2.50", "x")
    except redis_client.RedisError:
        pytest.fail("redis does not take the key")
    a = node(make_server, redis_server, address=1)
    spend(a, 10, headers=at("192.0.2.50"))
    refused(a.get(READ, headers=at("192.0.2.50")), "address")
    wait_until(lambda: "aragora_rate_limit_redis_operations_total{outcome=\"error\"} 0\n" not in a.get("/metrics").text, 20,
               "the error is counted")


LOGIN = "/api/auth/login"


def guess(server, address):
    """Each at another account: one would be locked."""
    return server.post(LOGIN, {"email": fresh() + "@example.org", "password": "wrong"}, headers=at(address))


def test_guesses_wait_for_the_cluster(make_server, redis_server):
    """Five of an address in a minute, wherever they go: no interval in which another node has not heard yet."""
    a, b = (node(make_server, redis_server) for _ in range(2))
    if guess(a, fresh()).status_code in (404, 405):
        pytest.skip("there is no login yet")
    for i in range(5):
        assert guess((a, b)[i % 2], "192.0.2.60").status_code != 429, i
    for s in (b, a):
        refused(guess(s, "192.0.2.60"), "endpoint")
    assert guess(b, "192.0.2.61").status_code != 429
    assert "aragora_rate_limit_distributed_rejections_total 0\n" not in b.get("/metrics").text + a.get("/metrics").text
    # A Redis that does not answer delays a guess a little, and the node's own limit holds.
    redis_server.freeze()
    for i in range(5):
        assert guess(a, "192.0.2.62").status_code != 429, i
    refused(guess(a, "192.0.2.62"), "endpoint")
    redis_server.thaw()
