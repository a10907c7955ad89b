# SPDX-License-Identifier: MIT
"""A debate survives its process (DESIGN 1, promise 3): kill -9 at every FAULT point, at random, of all workers, of the
master. The sanitizer build also replays each finished debate from its journal and aborts on a difference."""
import os
import random
import time
from signal import SIGHUP, SIGSTOP

import pytest

from conftest import REPORT, wait_until
from crash import AGENTS, CALLS, Node, called, check_debate, check_events, fault_points, follow, gone, living, node_config, pace

# Points that an undisturbed debate does not pass; what brings a worker there.
PROVOKED = {
    "worker.boot": lambda node: node.kill(node.runners()),
    "clerk.before_orphan": lambda node: node.kill(node.runners()),
    "run.before_release": lambda node: node.signal(SIGHUP),
}
# When the point is armed: after this many calls of the debate have reached the provider.
MOMENTS = {"start": 0, "drafts": 2, "critique": 6, "revision": 12, "vote": 22, "end": CALLS}
# Those around deliveries, jobs and subcommands are in test_deliveries.py, test_retention.py and test_operations.py.
POINTS = [p for p in fault_points() if not p.startswith(("audit.", "batch.", "delivery.", "jobs.", "pause.", "trace.", "backup.", "cleanup.",
                                                                "encrypt.", "export.", "restore."))
          and p not in ("db.before_migrate_commit", "db.before_undo_commit")]
# Passed at the start and by who takes over.
CLAIMED = [p for p in POINTS if p.startswith("claim.") or p == "run.journal_loaded"]
CASES = [(p, m) for p in POINTS for m in
         (("drafts", "critique") if p in PROVOKED else ("start", "drafts", "vote") if p in CLAIMED else MOMENTS)]
fired = set()


@pytest.fixture(scope="module")
def shared(tmp_path_factory, provider):
    """One node for all points: dying again and again is part of the test."""
    node = Node(tmp_path_factory.mktemp("durability") / "node", node_config(provider))
    node.start()
    yield node
    node.close()


@pytest.fixture
def node(shared, provider):
    shared.kills.clear()
    pace(provider, 0.04)
    yield shared
    assert not (m := REPORT.search(shared.run_log())), shared.run_log()[m.start():m.start() + 4000]


def test_points_are_found():
    assert {"step.before_commit", "step.after_call", "db.after_commit", "claim.after_commit", "worker.boot"} <= set(fault_points())


@pytest.mark.parametrize("point,moment", CASES, ids=lambda v: v)
def test_kill_at_point(node, provider, point, moment):
    if MOMENTS[moment] == 0:
        node.arm(point)
    else:
        provider.hold(MOMENTS[moment])  # the debate goes no further before the point is armed
    debate = node.create()
    followers = follow(node, debate)
    wait_until(lambda: called(provider, debate) >= MOMENTS[moment], what="call %d" % MOMENTS[moment], interval=0.003)
    if point in PROVOKED or point in CLAIMED and moment != "start":
        node.wait_runner()
        node.arm(point)
        PROVOKED.get(point, lambda node: node.kill(node.runners()))(node)
    elif moment != "start":
        node.arm(point)
    provider.release()
    # Near the end of a debate nothing may pass the point any more.
    if node.wait_fired(point, lambda: moment == "end" and not node.debate(debate)["in_progress"]):
        fired.add(point)
    check_debate(node, provider, debate, followers)
    if point.startswith("step.") and moment != "end":
        assert node.rows("SELECT epoch FROM debates WHERE id = ?", debate)[0][0] > 1  # it ended elsewhere


def test_every_point_was_passed():
    assert fired == set(POINTS)


def test_kill_at_random_times(node, provider):
    debate = node.create()
    followers = follow(node, debate)
    rng = random.Random(1)
    for _ in range(5):
        # Five deaths without a new step would be poison.
        seq = followers[0].last + 1
        wait_until(lambda: followers[0].last > seq, what="progress", interval=0.003)
        time.sleep(rng.random() * 0.05)
        if runners := node.runners():
            node.kill(runners)
    check_debate(node, provider, debate, followers)


def test_kill_of_all_workers(node, provider):
    debates = [node.create() for _ in range(3)]
    followers = {d: follow(node, d) for d in debates}
    for calls in (4, 14):
        wait_until(lambda: called(provider, debates[0]) >= calls, what="progress", interval=0.003)
        node.kill([w["pid"] for w in node.workers(None)])
    for d in debates:
        check_debate(node, provider, d, followers[d])


@pytest.mark.parametrize("grace,finishes", [("10s", True), ("200ms", False)], ids=["default", "short"])
def test_kill_of_the_master(make_node, provider, grace, finishes):
    """
    The workers notice and go, when the debate is done or given back; the next master's workers share no memory with
    them and yet show every event. No worker was killed: no call is lost, let alone paid twice.
    """
    pace(provider, 0.3)
    node = make_node(node_config(provider, server={"graceful_timeout": grace}))
    debates = [node.create() for _ in range(2)]
    followers = [follow(node, d) for d in debates]
    wait_until(lambda: called(provider, debates[0]) >= 4, what="progress")
    family = {p.pid for p in node.family()}
    node.process.kill()
    node.process.wait()
    node.start()
    if finishes:
        assert living(family)  # the new ones serve while the old ones finish: the listeners were free
    gone(family)
    for d, f in zip(debates, followers):
        assert check_debate(node, provider, d, f) == 0
        assert 1012 in f[0].breaks
    assert ("debate resumed" in node.run_log()) == (not finishes)


def test_kill_of_master_and_workers(make_node, provider):
    pace(provider, 0.04)
    node = make_node(node_config(provider))
    debate = node.create()
    followers = follow(node, debate)
    for calls in (4, 12, 20):
        wait_until(lambda: called(provider, debate) >= calls, what="progress", interval=0.003)
        begin = time.time()
        node.kill_all()
        node.kills.append((begin, time.time()))
        node.start()
    check_debate(node, provider, debate, followers)


def test_stopped_worker_is_taken_over(make_node, provider):
    pace(provider, 0.04)
    provider.hold(4)
    node = make_node(node_config(provider, server={"stall_timeout": "1s"}))
    debate = node.create()
    followers = follow(node, debate)
    wait_until(lambda: called(provider, debate) >= 4, what="progress", interval=0.003)
    victim = node.wait_runner()
    begin = time.time()
    os.kill(victim, SIGSTOP)
    gone([victim])
    node.kills.append((begin, time.time()))
    provider.release()
    check_debate(node, provider, debate, followers)


def test_a_poison_debate_ends_and_hurts_nobody(make_node, provider):
    """It kills whoever runs it: takeovers back off, at the fifth death it fails with its reason; others go on."""
    pace(provider)
    node = make_node(node_config(provider, server={"workers": 2}))
    node.arm("step.before_call", times=6)
    poison = node.create("This question is poison.")
    deaths, before = [], time.time()  # of each: not before, not after
    while len(deaths) < 4:
        now = time.time()
        while len(deaths) < 6 - node.armed("step.before_call"):
            deaths.append((before, now))
        before = now
        time.sleep(0.01)
    gaps = [b[1] - a[0] for a, b in zip(deaths, deaths[1:])]
    assert gaps[1] >= 1 and gaps[2] >= 2, gaps
    pauses, _ = end_impatiently(node, poison)
    assert pauses[4] == 4000 and pauses[5] == 8000, pauses
    ended = node.debate(poison)
    assert ended["status"] == "failed" and "five times" in ended["error"], ended
    assert node.armed("step.before_call") == 1
    (node.arms / "step.before_call" / "5").unlink()
    log = node.events(poison)
    assert [e["seq"] for e in log] == list(range(1, len(log) + 1))
    assert log[-1]["type"] == "debate_end" and log[-2]["type"] == "error"
    good = node.create("This question is harmless.")
    check_debate(node, provider, good, follow(node, good))


# ---- what no worker can run ----

def write(node, sql, *args):
    """Changes the store behind the server's back."""
    return node.sql(sql, *args)


def row(node, debate):
    names = ("status", "owner", "epoch", "crashes", "claim_after", "updated_at", "error", "last_seq")
    return dict(zip(names, node.rows("SELECT %s FROM debates WHERE id = ?" % ", ".join(names), debate)[0]))


def end_impatiently(node, debate, timeout=40):
    """
    Waits for the end of a debate that nobody can run; its pauses are noted and ended at once. Returns the pauses (ms)
    and the last row.
    """
    pauses, deadline = {}, time.monotonic() + timeout
    while (r := row(node, debate))["status"] in ("queued", "running"):
        assert time.monotonic() < deadline, r
        if r["owner"] == "" and r["claim_after"] > 0:
            pauses[r["crashes"]] = r["claim_after"] - r["updated_at"]
            write(node, "UPDATE debates SET claim_after = 0 WHERE id = ? AND owner = ''", debate)
        time.sleep(0.02)
    return pauses, r


def check_given_up(node, debate, reason):
    """It has failed and says why, to those who ask and to those who watch."""
    shown = node.debate(debate)
    assert shown["status"] == "failed" and reason in shown["error"], shown
    log = node.events(debate)
    assert [e["seq"] for e in log] == list(range(1, len(log) + 1))
    assert [e["type"] for e in log].count("debate_end") == 1 and log[-1]["type"] == "debate_end"
    assert reason in log[-1]["data"]["reason"]
    return log


def occupied(make_node, provider):
    """A node whose only place is taken, so that the next debate waits: (node, who has the place, who waits)."""
    pace(provider, 0.3)
    node = make_node(node_config(provider, server={"workers": 2}, debates={"max_concurrent": 1}))
    first = node.create("Who has the place?")
    node.wait_runner()
    waits = node.create("Who waits?")
    assert row(node, waits)["status"] == "queued"
    return node, first, waits


def test_plan_that_cannot_be_read(make_node, provider):
    """It is looked at once per pause, fails at the limit of deaths with its reason, and others go on."""
    node, first, broken = occupied(make_node, provider)
    assert write(node, "UPDATE debates SET plan = substr(plan, 1, 40) WHERE id = ? AND owner = ''", broken) == 1
    watchers = follow(node, broken)
    pace(provider, 0)
    pauses, r = end_impatiently(node, broken)
    assert pauses == {1: 500, 2: 1000, 3: 2000, 4: 4000, 5: 8000}
    assert r["epoch"] == 6 and r["crashes"] == 5 and r["owner"] == "", r
    shown = node.debate(broken)
    assert shown["status"] == "failed" and "plan cannot be read" in shown["error"], shown
    log = node.events(broken)
    assert [e["type"] for e in log] == ["debate_end"] and log[0]["seq"] == 1 and "plan" in log[0]["data"]["reason"]
    for w in watchers:
        assert w.finish() == log
    check_debate(node, provider, first)
    good = node.create("This question is harmless.")
    check_debate(node, provider, good, follow(node, good))


def test_journal_that_cannot_be_read(make_node, provider):
    """A step that no parser takes: the debate is given up on its plan alone, after pauses, without a hot loop."""
    pace(provider, 0.1)
    node = make_node(node_config(provider, server={"workers": 2}))
    debate = node.create()
    watchers = follow(node, debate)
    wait_until(lambda: called(provider, debate) >= 8, what="critiques")
    assert node.stop(9) == -9
    node.kill_all()
    assert write(node, "UPDATE debate_steps SET result = '{\"ok\": tru' WHERE debate_id = ? AND key LIKE '%propose%'"
                 " AND state = 'done'", debate) == 3
    epoch, asked_before = row(node, debate)["epoch"], called(provider, debate)
    node.start()
    pauses, r = end_impatiently(node, debate)
    # The first death is that of the process.
    assert pauses == {2: 1000, 3: 2000, 4: 4000, 5: 8000}, pauses
    assert r["epoch"] == epoch + 5 and r["owner"] == ""
    log = check_given_up(node, debate, "five times")
    for w in watchers:
        assert w.finish() == log
    assert called(provider, debate) == asked_before
    assert len(node.workers()) == 2
    good = node.create("This question is harmless.")
    check_debate(node, provider, good)


@pytest.mark.parametrize("cancel", [False, True], ids=["as it is", "cancelled"])
def test_poison_outside_of_steps(make_node, provider, cancel):
    """It kills whoever has read its journal, again and again: who gives it up does not read it."""
    pace(provider)
    node = make_node(node_config(provider, server={"workers": 2}), env={"ARAGORA_FAULT": "run.journal_loaded=kill"})
    first = {w["pid"] for w in node.workers()}
    debate = node.create("This question is poison.")
    if cancel:
        wait_until(lambda: row(node, debate)["crashes"] >= 1, what="a death", interval=0.005)
        while True:
            try:
                r = node.post("/api/debates/%s/cancel" % debate)
                break
            except OSError:
                time.sleep(0.02)
        assert r.status_code in (200, 202), r.text
    _, r = end_impatiently(node, debate, 60)
    assert r["epoch"] == 6, r  # five that died, one that gave it up
    check_given_up(node, debate, "five times")
    assert called(provider, debate) == 0
    assert not first & {w["pid"] for w in node.workers(None)}


def test_thirty_two_agents(make_node, provider):
    """As many as the configuration allows; one more is refused, by the API and by the configuration."""
    pace(provider)
    node = make_node(node_config(provider, server={"workers": 1}, debates={"max_agents": 32}))
    seats = [AGENTS[i % 3] for i in range(32)]
    r = node.post("/api/debates", {"task": "Who of us?", "agents": seats + ["gpt"], "rounds": 1})
    assert r.status_code == 400 and r.json()["field"] == "agents", r.text
    debate = node.create("Who of us?", rounds=1, agents=seats)
    ended = node.wait_ended(debate)
    assert ended["status"] == "completed" and len(set(ended["agents"])) == 32
    assert len(ended["votes"]) == 32
    check_events(node, debate)
    node.write_config(debates={"max_agents": 33})
    refused = node.command("-t", "-c", node.conf_path)
    assert refused.returncode != 0 and "debates.max_agents" in refused.stdout + refused.stderr


def test_max_concurrent_over_all_workers(make_node, provider):
    """Never more than the limit run, and a dead worker's share is free again."""
    pace(provider, 0.05)
    node = make_node(node_config(provider, debates={"max_concurrent": 3}))
    debates = [node.create("Question %d" % i) for i in range(10)]
    killed = 0
    most = 0
    while any(node.debate(d)["in_progress"] for d in debates):
        running = sum(w["debates"] for w in node.workers(None))
        most = max(most, running)
        assert running <= 3
        if killed < 2 and running == 3:
            node.kill([node.wait_runner()])
            killed += 1
    assert killed == 2 and most == 3
    for d in debates:
        check_debate(node, provider, d)
