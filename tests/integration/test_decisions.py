# SPDX-License-Identifier: MIT
"""The decision router: a question is answered by a debate once, then from the cache, by any worker of any node, until it
is too old or what it rests on has changed; what was invalidated is never served again."""
import concurrent.futures
from signal import SIGHUP

import pytest
import requests

from conftest import wait_until
from provider import provider  # noqa: F401  (a fixture)
from test_nodes import cluster  # noqa: F401  (a fixture)
from redis_kit import make_redis, redis_server  # noqa: F401  (fixtures)
from test_tenancy import AUTH, account, invite

QUESTION = "Should the office have one large table?"
FAST = {"providers": {"demo": {"delay_ms": 2}}, "debates": {"max_concurrent": 8}}


def ask(s, content=QUESTION, **body):
    """Over a connection of its own, so that any worker may answer."""
    config = {"rounds": 1, **body.pop("config", {})}
    r = requests.post(s.url + "/api/decisions", json={"content": content, "config": config, **body}, timeout=90)
    assert r.status_code in (200, 202), r.text
    return r.json()


def invalidate(s, **body):
    r = s.post("/api/decisions/cache/invalidate", body)
    assert r.status_code == 200, r.text
    return r.json()


def value(s, name):
    return sum(float(line.rsplit(" ", 1)[1]) for line in s.get("/metrics").text.splitlines() if line.startswith(name))


@pytest.mark.server({**FAST, "server": {"workers": 4}})
def test_cache_and_its_invalidations(server):
    s = server
    empty = s.get("/api/decisions/cache/stats").json()
    assert (empty["total_entries"], empty["hit_rate"], empty["current_policy_version"]) == (0, 0, "1")
    first = ask(s, tags=["office", "urgent"])
    assert first["status"] == "completed" and first["answer"] and not first["cached"], first
    assert first["request_id"] == first["id"] == first["decision_id"] and first["confidence"] > 0
    assert s.get("/api/debates/" + first["debate_id"]).json()["status"] in ("completed", "concluded", "consensus_reached")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        again = list(pool.map(lambda _: ask(s), range(12)))
    assert all(d["cached"] and d["debate_id"] == first["debate_id"] and d["answer"] == first["answer"] for d in again)
    assert len({d["id"] for d in again}) == 12, "each is a decision that can be read again"
    assert s.get("/api/decisions/" + again[0]["id"]).json()["answer"] == first["answer"]
    for shown in (first, again[0]):  # one from the cache is explained by the debate that it came from
        why = s.get("/api/v1/decisions/%s/explain" % shown["id"])
        assert why.status_code == 200 and why.json()["debate_id"] == first["debate_id"] and why.json()["votes"], why.text
        assert s.get("/api/v2/receipts/" + shown["id"]).json()["debate_id"] == first["debate_id"]
    assert s.get("/api/decisions/dec_000000000000/explain").status_code == 404
    assert not ask(s, config={"rounds": 2})["cached"], "decided in another way is another question"
    wait_until(lambda: value(s, "aragora_decision_cache_size") == 2, 20, "the gauge")
    stats = s.get("/api/decisions/cache/stats").json()
    assert stats["total_entries"] == 2 and stats["hits"] == 12 and stats["misses"] == 2 and abs(stats["hit_rate"] - 12 / 14) < 1e-6
    assert stats["max_size"] == 1000 and stats["ttl_seconds"] == 3600

    # Tag, agent and version, workspace: the count, and a new debate at the next question.
    assert invalidate(s, type="tag", tag="offic")["invalidated"] == 0
    assert invalidate(s, type="tag", tag="office")["invalidated"] == 1
    second = ask(s)
    assert not second["cached"] and second["debate_id"] != first["debate_id"] and ask(s)["cached"]
    per_agent = s.get("/api/debates/" + second["debate_id"]).json()["per_agent"]
    name, model = next((n, o["model"]) for n, o in per_agent.items())
    assert invalidate(s, type="agent", agent=name, version="0.0-none")["invalidated"] == 0
    assert invalidate(s, type="agent", agent=name, version=model)["invalidated"] == 2
    assert not ask(s)["cached"]
    assert invalidate(s, type="workspace", workspace_id="elsewhere")["invalidated"] == 0
    assert invalidate(s, type="workspace", workspace_id="default")["invalidated"] == 1
    assert not ask(s)["cached"] and ask(s)["cached"]

    # Policy: lazily, at the next lookup, which is a miss.
    misses = value(s, "aragora_decision_cache_misses_total")
    assert invalidate(s, type="policy", version="v2.0.0")["policy_version"] == "v2.0.0"
    assert s.get("/api/decisions/cache/stats").json()["total_entries"] == 1
    assert not ask(s)["cached"] and ask(s)["cached"]
    assert value(s, "aragora_decision_cache_misses_total") == misses + 1
    assert value(s, 'aragora_decision_cache_invalidations_total{type="policy"}') == 1
    assert value(s, 'aragora_decision_cache_invalidations_total{type="agent"}') == 2
    assert s.get("/api/decisions/cache/stats").json()["current_policy_version"] == "v2.0.0"

    # Time.
    s.sql("UPDATE decision_cache SET created_at = created_at - 3700000")
    assert not ask(s)["cached"]
    assert s.delete("/api/decisions/cache").json()["invalidated"] == 1
    wait_until(lambda: value(s, "aragora_decision_cache_size") == 0, 20, "the gauge")


@pytest.mark.server({"server": {"workers": 2}, "providers": {"demo": {"delay_ms": 150}}, "debates": {"max_concurrent": 8}})
def test_what_runs_while_something_changes(server):
    s = server
    running = ask(s, **{"async": True})
    assert running["status"] == "running" and running["debate_id"]
    twin = ask(s, **{"async": True})
    assert twin["deduplicated"] and twin["id"] == running["id"], "the same question of the same person is one question"
    invalidate(s, type="tag", tag="anything")
    done = wait_until(lambda: (d := s.get("/api/decisions/" + running["id"]).json())["status"] == "completed" and d, 60, "the end")
    assert done["answer"]
    later = ask(s, **{"async": True})
    assert not later["cached"] and later["debate_id"] != running["debate_id"], "it was begun before the invalidation"

    # Too late for who waits; the decision goes on. Cancelling, asking again.
    r = s.post("/api/decisions", {"content": "Another question?", "config": {"rounds": 1, "timeout_seconds": 0.05}})
    assert r.status_code == 408 and r.json()["request_id"].startswith("dec_"), r.text
    late = r.json()["request_id"]
    assert s.get("/api/decisions/%s/status" % late).json()["status"] == "running"
    assert s.post("/api/decisions/%s/retry" % late).status_code == 409
    assert s.post("/api/decisions/%s/cancel" % late, {"reason": "not needed"}).json()["status"] == "cancelled"
    wait_until(lambda: s.get("/api/decisions/" + late).json()["status"] == "cancelled", 30, "the cancellation")
    assert s.post("/api/decisions/%s/cancel" % late).status_code == 409
    again = s.post("/api/decisions/%s/retry" % late)
    assert again.status_code == 408, "it has the time limit of the first"
    assert s.get("/api/decisions/dec_unknown").status_code == 404
    assert s.get("/api/decisions/dec_unknown/status").json()["status"] == "not_found"
    assert s.get("/api/decisions?status=cancelled").json()["total"] == 1

    # All that is wrong at once; what is not offered is said.
    bad = s.post("/api/decisions", {"decision_type": "dice", "priority": 3, "tags": "x", "documents": 5, "async": "no"})
    assert bad.status_code == 400 and {e["field"] for e in bad.json()["errors"]} == {
        "content", "decision_type", "priority", "tags", "documents", "async"}, bad.text
    assert s.post("/api/decisions", {"content": "x", "config": {"rounds": 99}}).json()["errors"][0]["field"] == "rounds"
    assert s.post("/api/decisions", {"content": "x", "decision_type": "workflow"}).status_code == 501
    assert s.post("/api/decisions/cache/invalidate", {"type": "moon"}).status_code == 400
    legacy = s.post("/api/decisions", {"question": "Old spelling?", "rounds": 1, "async": True})
    assert legacy.status_code == 202 and legacy.json()["id"]


def test_two_nodes_are_one_cache(cluster):  # noqa: F811
    a, b = cluster.node(delay=2), cluster.node(delay=2, redis=False)
    first = ask(a, tags=["shared"])
    for i in range(4):
        here, there = (a, b) if i % 2 else (b, a)
        assert ask(here)["cached"] and ask(there)["cached"]
        count = invalidate(here, type="tag", tag="shared")["invalidated"]
        assert count == 1
        fresh = ask(there, tags=["shared"])
        assert not fresh["cached"] and fresh["debate_id"] != first["debate_id"], "nothing stale after the invalidation returned"
        first = fresh
    invalidate(a, type="policy", version="next")
    assert not ask(b)["cached"] and ask(a)["cached"]


def test_an_upgraded_agent_answers_anew(make_server, provider):  # noqa: F811
    def config(model):
        return {"openai": {"base_url": provider.openai_url, "api_key": "sk-test-openai", "model": model}}

    s = make_server({"server": {"workers": 1}, "providers": config("gpt-4o")})
    team = {"agents": ["openai", "openai"]}
    first = ask(s, config=team)
    assert ask(s, config=team)["cached"]
    s.write_config(providers=config("gpt-4o-mini"))
    s.signal(SIGHUP)
    s.wait_log("generation.*2")
    after = wait_until(lambda: not (d := ask(s, config=team))["cached"] and d, 30, "the new configuration")
    assert after["debate_id"] != first["debate_id"]


def test_an_outcome_of_a_decision(make_server, provider):  # noqa: F811
    """It is that of its debate, counts once, and a wrong answer is given to nobody else."""
    s = make_server({"server": {"workers": 2}, "providers": {"openai": {"base_url": provider.openai_url, "api_key": "sk-test-openai"}}})
    team = {"agents": ["openai", "openai", "openai"]}
    first = ask(s, config=team)
    again = ask(s, config=team)
    assert again["cached"]
    url = "/api/decisions/%s/outcome" % again["id"]
    assert s.get(url).status_code == 404 and s.get(url + "s").json() == {"outcomes": [], "count": 0}
    memory = "SELECT successes, failures, surprise_ppm FROM continuum_memory WHERE id = 'debate_outcome_%s'" % first["debate_id"]
    for n, right in enumerate((True, True, False, False)):
        r = s.post(url, {"correct": right, "source": "the shop"})
        assert r.status_code == (200 if n else 201) and r.json()["debate_id"] == first["debate_id"], r.text
        assert s.sql(memory)[0][:2] == ((1, 0) if right else (0, 1)), "told twice it counts once; a correction changes sides"
        assert s.sql("SELECT COUNT(*) FROM predictions")[0][0] == r.json()["predictions"] > 0
    assert s.get(url + "s").json()["outcomes"][0] == s.get("/api/debates/%s/outcome" % first["debate_id"]).json()
    assert value(s, 'aragora_decision_cache_invalidations_total{type="outcome"}') == 1
    assert not ask(s, config=team)["cached"]
    assert s.post("/api/decisions/dec_unknown/outcome", {"correct": True}).status_code == 404


def test_the_policy_moves_by_itself(cluster):  # noqa: F811
    """An answer is good for the rules by which it was given: those of the configuration, on every worker and node."""
    def ask_plainly(s):
        r = requests.post(s.url + "/api/decisions", json={"content": QUESTION}, timeout=90)
        assert r.status_code == 200, r.text
        return r.json()

    a, b = cluster.node(delay=2, debates={"default_rounds": 1}), cluster.node(delay=2, debates={"default_rounds": 1})
    first = ask_plainly(a)
    assert ask_plainly(b)["cached"] and ask_plainly(a)["cached"], "nodes that are configured alike agree"
    for s in (a, b):
        s.write_config(debates={"default_consensus": "unanimous"})
        s.signal(SIGHUP)
        s.wait_log("generation.*2")
    stats = a.get("/api/decisions/cache/stats").json()
    assert (stats["total_entries"], stats["current_policy_version"]) == (1, "1"), "lazily: nobody has looked yet"
    fresh = wait_until(lambda: (d := ask_plainly(a))["debate_id"] != first["debate_id"] and d, 30, "the new rules")
    assert not fresh["cached"] and ask_plainly(b)["debate_id"] == fresh["debate_id"]
    policy = 'aragora_decision_cache_invalidations_total{type="policy"}'
    assert value(a, policy) + value(b, policy) == 1

    # What the nodes counted is what the cluster says, and what their metrics say.
    names = ("hits", "misses", "invalidations", "evictions")
    counted = {s: [value(s, "aragora_decision_cache_%s_total" % n) for n in names] for s in (a, b)}
    together = [x + y for x, y in zip(counted[a], counted[b])]
    for s in (a, b):
        stats = wait_until(lambda s=s: (d := s.get("/api/decisions/cache/stats").json()) and [d[n] for n in names] == together and d, 20,
                           "the figures of the cluster")
        assert [stats["node"][n] for n in names] == counted[s] and stats["cluster"]["nodes"] == 2
        assert [stats["cluster"][n] for n in names] == together and stats["cluster"]["total_entries"] == 1
        wait_until(lambda s=s: value(s, "aragora_decision_cache_size") == 1, 20, "the gauge")


@pytest.mark.server({**FAST, "decisions": {"cache_entries": 2}})
def test_the_oldest_make_room(server):
    for i in range(4):
        ask(server, "Question number %d?" % i)
    assert value(server, "aragora_decision_cache_evictions_total") == 2
    stats = server.get("/api/decisions/cache/stats").json()
    assert stats["evictions"] == stats["node"]["evictions"] == 2 and stats["total_entries"] == 2


def test_plans(server):
    """Approved by rule or by a person, handed over, closed with what came of it; nothing out of turn."""
    s = server
    debate = ask(s)["debate_id"]
    plans = "/api/decisions/plans"
    assert s.get(plans).json() == {"plans": [], "count": 0, "total": 0, "limit": 20, "offset": 0, "has_more": False}
    assert s.get(plans + "/plan_none").status_code == 404
    assert s.post(plans, {"debate_id": "none"}).status_code == 404
    bad = s.post(plans, {"approval_mode": "dice", "max_auto_risk": 3, "budget_limit_usd": -1})
    assert bad.status_code == 400 and {e["field"] for e in bad.json()["errors"]} == {
        "debate_id", "approval_mode", "max_auto_risk", "budget_limit_usd"}, bad.text
    risk = s.get("/api/debates/%s/receipt" % debate).json()["risk_level"].lower()

    by_rule = s.post(plans, {"debate_id": debate, "max_auto_risk": "critical", "budget_limit_usd": 2}).json()
    assert (by_rule["status"], by_rule["decided_by"], by_rule["risk_level"], by_rule["title"]) == ("approved", "policy", risk, QUESTION)
    s.sql("UPDATE receipts SET risk_level = 'HIGH'")
    waits = s.post(plans, {"debate_id": debate, "max_auto_risk": "medium"}).json()
    assert (waits["status"], waits["risk_level"], waits["decided_by"]) == ("awaiting_approval", "high", "")
    strict = s.post(plans, {"debate_id": debate, "max_auto_risk": "critical", "approval_mode": "always"}).json()
    assert strict["status"] == "awaiting_approval"
    assert s.post(plans, {"debate_id": debate, "approval_mode": "never"}).json()["status"] == "approved"

    at = plans + "/" + waits["id"]
    for act, body in (("execute", {}), ("outcome", {"success": True})):
        assert s.post(at + "/" + act, body).status_code == 409, "not before it is approved"
    assert s.get(at + "/outcome").status_code == 404
    assert s.post(at + "/approve", {"reason": "go"}).json()["status"] == "approved"
    assert s.post(at + "/reject").status_code == 409
    assert s.post(at + "/execute").json()["status"] == "executing" and s.post(at + "/execute").status_code == 409
    assert s.post(at + "/outcome", {"success": "yes"}).json()["field"] == "success"
    done = s.post(at + "/outcome", {"success": False, "note": "no wood", "cost_usd": 3})
    assert done.json()["status"] == "failed" and s.get(at + "/outcome").json()["note"] == "no wood"
    assert s.post(plans + "/" + strict["id"] + "/reject", {"reason": "too dear"}).json()["status"] == "rejected"

    at = plans + "/" + by_rule["id"]
    s.post(at + "/execute")
    assert s.post(at + "/outcome", {"success": True, "cost_usd": 2.5}).json()["status"] == "completed"
    assert s.get(at).json()["outcome"]["over_budget"] is True
    assert s.get(plans + "?status=rejected").json()["total"] == 1 and s.get(plans + "?debate_id=other").json()["total"] == 0
    assert s.delete("/api/debates/" + debate).status_code in (200, 204)
    assert s.get(plans).json()["total"] == 0, "they go with their debate"


def test_what_members_may_not_do_by_another_way(make_server):
    """That nobody need approve a plan is decided by who may approve one; outcomes are told by who may change debates."""
    s = make_server({**FAST, "auth": AUTH, "server": {"workers": 1}})
    owner = account(s, "ann@example.org", "Ann's")
    member = invite(owner, "max@example.org")
    plans = "/api/decisions/plans"
    made = owner.good("POST", "/api/decisions", {"content": QUESTION, "config": {"rounds": 1}})
    plan = {"debate_id": made["debate_id"]}
    for rule in ({"approval_mode": "never"}, {"max_auto_risk": "medium"}, {"max_auto_risk": "critical"}):
        r = member.ask("POST", plans, {**plan, **rule})
        assert r.status_code == 403 and r.json()["required_permission"] == "plans.approve", rule
    assert member.ask("POST", plans, plan).status_code == 201
    asks = member.good("POST", plans, {**plan, "approval_mode": "always", "max_auto_risk": "critical"})
    assert asks["status"] == "awaiting_approval"
    assert owner.good("POST", plans, {**plan, "max_auto_risk": "critical"})["status"] == "approved"
    # What moves ratings asks for the same permission by either path.
    for path in ("/api/debates/%s/outcome" % made["debate_id"], "/api/decisions/%s/outcome" % made["request_id"]):
        assert member.ask("POST", path, {"correct": True}).status_code == 403, path
        assert owner.ask("POST", path, {"correct": True}).status_code == 409, "demo agents are not judged"
