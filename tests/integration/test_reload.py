# SPDX-License-Identifier: MIT
"""Reload drops nothing (DESIGN 1, promise 1): HUP, TTIN, TTOU under load, and the ways to stop (DESIGN 2)."""
import os
import socket
import time
from signal import SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU

import pytest
import requests

from conftest import wait_until
from crash import CALLS, called, check_debate, follow, gone, node_config, pace
from load import Load


def load(node, kept=3, fresh=2):
    """Clients whose requests read the store."""
    return Load(node.port, kept, fresh, "/api/debates?limit=5")


def reload(node):
    wanted = node.status()["generation"] + 1
    node.signal(SIGHUP)
    wait_until(lambda: node.status()["generation"] >= wanted, what="reload")


def test_signals_under_load(make_node, provider):
    """Reloads, more and fewer workers, with clients, streams and debates under way: nothing fails, nothing is paid twice."""
    pace(provider, 0.15)
    node = make_node(node_config(provider))
    with load(node) as hammer:
        debates = [node.create("Question %d" % i) for i in range(4)]
        followers = {d: follow(node, d) for d in debates}
        first = {w["pid"] for w in node.workers()}
        for step, act in enumerate((reload, lambda n: n.signal(SIGTTIN), reload, lambda n: n.signal(SIGTTOU), reload)):
            wait_until(lambda: called(provider, debates[0]) >= 3 + 4 * step, what="progress")
            act(node)
            debates.append(node.create("Another question %d" % step))
            followers[debates[-1]] = follow(node, debates[-1])
        repeated = [check_debate(node, provider, d, followers[d]) for d in debates]
        node.wait_workers(3)
        gone(first)
    assert not hammer.failures, hammer.failures[:5]
    assert hammer.answers > 100
    assert sum(repeated) == 0
    breaks = [b for f in followers.values() for b in f[0].breaks]
    assert breaks and set(breaks) == {1012}, breaks
    # Every request that was begun has its line, none of them an error.
    assert not [line for line in node.log_lines() if line.get("level") == "error"]


def test_workers_that_have_served_their_share_are_replaced(make_node, provider):
    pace(provider, 0.1)
    node = make_node(node_config(provider, server={"workers": 2, "max_requests": 60, "max_requests_jitter": 20}))
    first = {w["pid"] for w in node.workers()}
    with load(node, 2, 2) as hammer:
        debates = [node.create("Question %d" % i) for i in range(3)]
        followers = {d: follow(node, d) for d in debates}
        gone(first)
        repeated = [check_debate(node, provider, d, followers[d]) for d in debates]
    assert not hammer.failures, hammer.failures[:5]
    assert sum(repeated) == 0
    assert "worker died" not in node.run_log()


def test_old_generation_waits_for_its_calls(make_node, provider):
    """The calls of a retired worker are finished and journalled; then another goes on."""
    pace(provider, 1.0)
    node = make_node(node_config(provider, server={"workers": 1}))
    debate = node.create()
    followers = follow(node, debate)
    wait_until(lambda: called(provider, debate) == 3, what="the drafts")
    old = node.wait_runner()
    reload(node)
    assert len(node.family()) == 3  # the old worker is there as long as its calls
    gone([old])
    assert node.rows("SELECT COUNT(*) FROM debate_steps WHERE debate_id = ? AND key LIKE '%propose%' AND state = 'done'",
                     debate) == [(3,)]
    pace(provider, 0.02)
    assert check_debate(node, provider, debate, followers) == 0
    assert "debate resumed" in node.run_log()


def test_invalid_configuration_changes_nothing(make_node, provider):
    pace(provider, 0.05)
    node = make_node(node_config(provider))
    good = node.conf_path.read_text()
    before = node.status()
    debate = node.create()
    followers = follow(node, debate)
    with load(node, 2, 1) as hammer:
        node.conf_path.write_text(good + "\ntypo:\n  workers: 3\n")
        node.signal(SIGHUP)
        line = good.count("\n") + 2
        node.wait_log(r"aragora\.yml:%d:\d+: typo" % line)
        node.conf_path.write_text(good.replace("retry_base: 50ms", "retry_base: soon"))
        node.signal(SIGHUP)
        node.wait_log(r"aragora\.yml:\d+:\d+: debates\.retry_base: ")
        assert check_debate(node, provider, debate, followers) == 0
    after = node.status()
    assert not hammer.failures
    assert after["generation"] == before["generation"] and after["reloads"] == 0
    assert {w["pid"] for w in after["workers"]} == {w["pid"] for w in before["workers"]}
    assert not followers[0].breaks


def test_reload_whose_last_worker_fails_late(make_node, provider):
    """
    The other new workers serve already, hold connections and run debates when the reload is given up: they finish what
    they do, the old generation goes on.
    """
    pace(provider, 0.15)
    node = make_node(node_config(provider))
    before = node.status()
    old = {w["pid"] for w in before["workers"]}
    with load(node) as hammer:
        node.arm("worker.boot", stop=True)
        node.signal(SIGHUP)
        wait_until(lambda: len(node.workers()) == 5, what="two of three new workers")
        debates = [node.create("Question %d" % i) for i in range(6)]
        followers = {d: follow(node, d) for d in debates}
        new = {w["pid"] for w in node.workers()} - old
        hung = {w["pid"] for w in node.workers(None)} - old - new
        assert len(new) == 2 and len(hung) == 1
        wait_until(lambda: all(w["debates"] > 0 and w["connections"] > 0 for w in node.workers() if w["pid"] in new),
                   what="work for the new workers", interval=0.005)
        os.kill(hung.pop(), SIGKILL)
        node.wait_log("reload failed")
        repeated = [check_debate(node, provider, d, followers[d]) for d in debates]
        gone(new)
        wait_until(lambda: hammer.answers > 50, what="answers")
    assert not hammer.failures, hammer.failures[:5]
    assert sum(repeated) == 0
    breaks = [b for f in followers.values() for b in f[0].breaks]
    assert set(breaks) <= {1012}, breaks
    after = node.status()
    assert {w["pid"] for w in after["workers"]} == old and all(w["state"] == "serving" for w in after["workers"])
    assert after["generation"] == before["generation"] and after["reloads"] == 0
    reload(node)  # and the next one succeeds
    gone(old)


# ---- stopping ----

def test_term_refuses_new_connections_at_once(make_node, provider):
    """Who comes while the last debate is finished learns at once that nobody is there; who is connected is answered."""
    pace(provider, 0.3)
    node = make_node(node_config(provider, server={"graceful_timeout": "30s"}))
    debate = node.create()
    wait_until(lambda: called(provider, debate) >= 3, what="the drafts")
    kept = [requests.Session() for _ in range(8)]
    for s in kept:
        assert s.get(node.url + "/healthz", timeout=10).status_code == 200

    def refused(port):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except ConnectionRefusedError:
            return True
        return False

    node.signal(SIGTERM)
    node.wait_log('"how":"graceful"')
    for port in (node.port, node.ws_port):
        wait_until(lambda: refused(port), 2, "refusal")
    for s in kept:
        r = s.get(node.url + "/api/debates/" + debate, timeout=5)
        assert r.status_code == 200 and r.json()["in_progress"] and r.headers["Connection"] == "close"
    began = time.monotonic()
    assert all(refused(port) for port in (node.port, node.ws_port) * 20)
    assert time.monotonic() - began < 1
    code, log = node.expect_exit()
    assert code == 0 and "debate ended" in log and "debate released" not in log


def test_term_lets_a_short_debate_finish(make_node, provider):
    pace(provider, 0.1)
    node = make_node(node_config(provider, server={"graceful_timeout": "30s"}))
    debate = node.create()
    wait_until(lambda: called(provider, debate) >= 3, what="the drafts")
    session = requests.Session()
    assert session.get(node.url + "/readyz", timeout=10).status_code == 200
    node.signal(SIGTERM)
    node.wait_log('"how":"graceful"')
    # On a connection that is kept: readiness fails first, and as soon as the worker drains its reply says good-bye.
    while (r := session.get(node.url + "/readyz", timeout=10)).headers.get("Connection") != "close":
        assert r.status_code == 503
    assert r.status_code == 503 and r.json()["reason"] == "shutting_down"
    code, log = node.expect_exit()
    assert code == 0
    assert "debate ended" in log and "debate released" not in log
    assert called(provider, debate) == CALLS
    node.start()
    assert check_debate(node, provider, debate) == 0


def test_term_gives_a_long_debate_back(make_node, provider):
    """What cannot finish in time is released after its calls in flight, and goes on at the next start by itself."""
    pace(provider, 0.4)
    node = make_node(node_config(provider, server={"graceful_timeout": "600ms"}))
    debates = [node.create("Question %d" % i) for i in range(3)]
    followers = {d: follow(node, d) for d in debates}
    wait_until(lambda: called(provider, debates[0]) >= 4, what="critiques")
    assert node.stop() == 0
    assert node.run_log().count("debate released") == 3
    assert node.rows("SELECT COUNT(*) FROM debates WHERE owner <> ''") == [(0,)]
    assert node.rows("SELECT SUM(crashes) FROM debates") == [(0,)]
    pace(provider, 0.02)
    node.start()
    for d in debates:
        assert check_debate(node, provider, d, followers[d]) == 0


def test_term_gives_up_a_call_that_never_ends(make_node, provider):
    """Only such a call is paid again."""
    pace(provider, 0.02)
    provider.reset()
    provider.script(mode="silent", model="m1", phase="propose", times=1)
    for model in ("m1", "m2", "m4"):
        provider.script(model=model, phase="propose")
    node = make_node(node_config(provider, server={"graceful_timeout": "300ms"}))
    debate = node.create()
    wait_until(lambda: called(provider, debate) == 3, what="the drafts")
    began = time.time()
    assert node.stop(timeout=20) == 0
    node.kills.append((began, time.time()))
    pace(provider, 0.02)
    node.start()
    assert check_debate(node, provider, debate) == 1
    assert node.rows("SELECT crashes FROM debates WHERE id = ?", debate) == [(0,)]


@pytest.mark.parametrize("signum", [SIGINT, SIGQUIT])
def test_quick_stop(make_node, provider, signum):
    """Nothing is waited for; the debate goes on at the next start, and only calls in flight are paid again."""
    pace(provider, 0.3)
    node = make_node(node_config(provider))
    debate = node.create()
    followers = follow(node, debate)
    wait_until(lambda: called(provider, debate) >= 4, what="critiques")
    began = time.time()
    assert node.stop(signum, timeout=10) == 0
    node.kills.append((began, time.time()))
    assert not node.family()
    pace(provider, 0.02)
    node.start()
    check_debate(node, provider, debate, followers)
