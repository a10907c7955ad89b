# SPDX-License-Identifier: MIT
"""Budgets of organizations, workspaces and users before each paid call, in money and in tokens; what a debate may use; and
the figures of /api/billing/usage. The local provider answers; nothing here waits for a clock."""
import csv
import io
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from conftest import wait_until
from provider import provider  # noqa: F401  (a fixture)
from test_agents import debate, spent

TEAM = ["gpt-4o", "gpt-4o-mini"]


@pytest.fixture
def node(make_server, provider):  # noqa: F811
    def make(workers=1, **settings):
        return make_server({
            "server": {"workers": workers},
            "providers": {"openai": {"base_url": provider.openai_url, "api_key": "sk-test-openai"}},
            "debates": {"retry_base": "50ms", "agent_timeout": "60s", "max_concurrent": 20}, **settings})
    return make


def budget(server, amount, **more):
    answer = server.post("/api/budgets", {"name": "ours", "amount_usd": amount, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


def events(server, ident, kind):
    return [e["data"] for e in server.get("/api/debates/%s/events" % ident).json()["events"] if e["type"] == kind]


def test_calls_side_by_side_never_exceed_a_budget(node, provider):  # noqa: F811
    """Twelve debates on two workers ask at the same time for more than there is."""
    s = node(workers=2)
    amount = 0.05
    budget(s, amount)
    provider.script(mode="delay", first_delay=0.05)
    with ThreadPoolExecutor(12) as pool:
        docs = list(pool.map(lambda n: debate(s, agents=TEAM, task="Question %d: tea or coffee?" % n, use_memory=False),
                             range(12)))
    total = float(s.sql("SELECT SUM(cost_micro) FROM usage_ledger")[0][0])
    assert 0 < total <= amount * 1e6, total
    stopped = [d for d in docs if d["status"] == "failed" or (d.get("early_stop") or {}).get("source") == "budget"]
    assert stopped, "there was more to do than money"
    for d in stopped:
        for e in events(s, d["id"], "agent_error"):
            assert e["error_type"] == "budget" and '"ours"' in e["message"]
    assert s.sql("SELECT COUNT(*) FROM budget_reservations")[0][0] == 0
    shown = s.get("/api/budgets").json()["budgets"][0]
    assert shown["spent_usd"] == pytest.approx(total / 1e6) and shown["scope"] == "organization"
    marks = [e["threshold"] for d in docs for e in events(s, d["id"], "budget_alert") if e.get("budget_id") == shown["id"]]
    assert len(marks) == len(set(marks)) and set(marks) <= {50, 80, 100} and marks, "each mark is told once"


def test_rounds_end_before_a_shared_budget_does(node, provider):  # noqa: F811
    s = node()
    free = debate(s, agents=TEAM, rounds=3, use_memory=False)
    cost = float(spent(s, free["id"])) / 1e6
    assert free["rounds_used"] == 3
    # The first debate is in the ledger too. Enough for a decision, not for all rounds.
    budget(s, max(0.01, cost * 1.75))
    short = debate(s, agents=TEAM, rounds=12, use_memory=False)
    assert short["status"] in ("completed", "consensus_reached") and short["early_stop"]["source"] == "budget", short
    assert short["rounds_used"] < 12
    assert float(spent(s, free["id"]) + spent(s, short["id"])) / 1e6 <= max(0.01, cost * 1.75)


@pytest.mark.parametrize("scope,stops", [({"user_id": "*"}, True), ({"workspace_id": "default"}, True), ({}, True),
                                         ({"auto_suspend": False}, False)])
def test_whom_a_budget_is_about(node, provider, scope, stops):  # noqa: F811
    s = node()
    doc = budget(s, 1000, amount_tokens=300, period="daily", **scope)
    assert doc["amount_tokens"] == 300 and doc["scope"] == ("user" if "user_id" in scope else
                                                            "workspace" if "workspace_id" in scope else "organization")
    ended = debate(s, agents=TEAM)
    if not stops:
        assert ended["status"] in ("completed", "consensus_reached")
        shown = s.get("/api/budgets/" + doc["id"]).json()
        assert shown["spent_tokens"] > 300 and shown["is_exceeded"] and shown["current_action"] == "hard_limit"
        return
    assert ended["status"] == "failed" and not provider.requests()
    errors = events(s, ended["id"], "agent_error")
    assert len(errors) == 2 and all(e["error_type"] == "budget" for e in errors)


SPENT = {"debate_id": "d", "step_key": "k", "org_id": "default", "workspace_id": "default", "user_id": None, "agent": "a",
         "provider": "openai", "model": "m", "tokens_in": 10 ** 6, "tokens_out": 10 ** 6, "cost_micro": 10 ** 9}


@pytest.mark.parametrize("scope,row,stops", [
    ({"user_id": "*"}, {"user_id": "somebody else"}, False), ({"user_id": "*"}, {}, True),
    ({"workspace_id": "default"}, {"workspace_id": "elsewhere"}, False), ({"workspace_id": "default"}, {}, True),
    ({}, {"org_id": "another"}, False), ({}, {"created_at": -40 * 86400000}, False)])
def test_what_counts_is_of_the_same_scope_and_period(node, provider, scope, row, stops):  # noqa: F811
    """Recently or some time ago: sums of what is settled are remembered, the rest is added at each call."""
    s = node()
    debate(s, agents=TEAM, use_memory=False)
    me, now = s.sql("SELECT user_id, MAX(created_at) FROM usage_ledger GROUP BY user_id")[0]
    for age in (0, 600000):
        spent_by = {**SPENT, "user_id": me, "step_key": "k%d" % age, **row, "created_at": now - age + row.get("created_at", 0)}
        s.sql("INSERT INTO usage_ledger (%s) VALUES (%s)" % (", ".join(spent_by), ", ".join("?" * len(spent_by))),
              *spent_by.values())
    made = budget(s, 900, period="monthly", **scope)
    if stops:
        refused = s.post("/api/debates", {"task": "Tea or coffee?", "agents": TEAM})
        assert refused.status_code == 402 and refused.json()["budget_id"] == made["id"] and refused.json()["spent_usd"] > 2000
    else:
        assert debate(s, agents=TEAM, use_memory=False)["status"] == "completed"
        assert s.get("/api/budgets/" + made["id"]).json()["spent_usd"] < 1


def test_calls_in_flight_are_reserved(node, provider):  # noqa: F811
    """Eight at once: what they may cost together is never more than the debate has."""
    s = node()
    limit = 0.2
    provider.hold(1)
    ident = s.post("/api/debates", {"task": "Tea or coffee?", "agents": ["gpt-4o"] * 8, "rounds": 1, "use_memory": False,
                                    "budget_limit_usd": limit}).json()["id"]
    failed = lambda: len(events(s, ident, "agent_error"))
    wait_until(lambda: len(provider.requests()) + failed() == 8 and failed() < 6, 30, "all calls")
    most = [(len(r["system"]) + len(r["prompt"])) / 3 * 2.5e-6 + r["parameters"]["max_tokens"] * 1e-5 for r in provider.requests()]
    assert len(most) > 4 and sum(most) <= limit + 1e-4, most
    assert sum(most) > limit / 2 and most == sorted(most, reverse=True), "a share of what is left for each"
    s.post("/api/debates/%s/cancel" % ident)
    provider.release()


def test_a_budget_names_what_there_is(node):
    s = node()
    bad = s.post("/api/budgets", {"name": "x", "amount_usd": 1, "amount_tokens": -1})
    assert bad.status_code == 400 and "amount_tokens" in bad.text
    for field in ("workspace_id", "user_id"):
        answer = s.post("/api/budgets", {"name": "x", "amount_usd": 1, field: "nobody"})
        assert answer.status_code == 400 and answer.json()["field"] == field


def test_overrides_and_marks(node, provider):  # noqa: F811
    s = node()
    doc = budget(s, 1000, amount_tokens=300)
    at, me = "/api/budgets/" + doc["id"], {"user_id": "anonymous"}
    assert debate(s, agents=TEAM)["status"] == "failed" and not provider.requests()
    assert s.get(at + "/alerts").json()["count"] == 0
    assert s.post(at + "/alerts/%s-50/acknowledge" % doc["id"]).status_code == 404, "it was not passed"
    # Whom it does not stop is not stopped, before calls and at the door; what is spent counts.
    for bad, field in (({}, "user_id"), ({"user_id": "nobody"}, "user_id"), ({**me, "duration_hours": -1}, "duration_hours")):
        assert (r := s.post(at + "/override", bad)).status_code == 400 and r.json()["field"] == field, r.text
    assert s.post("/api/budgets/none/override", me).status_code == 404
    answer = s.post(at + "/override", {**me, "duration_hours": 2})
    assert answer.status_code == 200 and answer.json() == {
        "override_added": True, "budget_id": doc["id"], "user_id": "anonymous", "duration_hours": 2}
    assert debate(s, agents=TEAM)["status"] in ("completed", "consensus_reached") and provider.requests()
    shown = s.get(at).json()
    assert shown["overrides"] == ["anonymous"] and shown["spent_tokens"] > 300 and shown["is_exceeded"]
    assert debate(s, agents=TEAM)["status"] in ("completed", "consensus_reached"), "exceeded as it is"
    s.sql("UPDATE budget_overrides SET expires_at = 1")
    s.post(at + "/override", {"user_id": "anonymous", "duration_hours": 0.5})  # what has run out makes way
    assert s.sql("SELECT COUNT(*) FROM budget_overrides")[0][0] == 1
    assert s.delete(at + "/override/anonymous").json()["override_removed"] and s.delete(at + "/override/anonymous").status_code == 404
    assert s.post("/api/debates", {"task": "One more?", "agents": TEAM}).status_code == 402
    # Marks.
    marks = s.get(at + "/alerts").json()["alerts"]
    assert [m["threshold"] for m in marks] == [0.5, 0.75, 0.9, 1.0] and not any(m["acknowledged"] for m in marks)
    for _ in range(2):
        assert s.post(at + "/alerts/%s/acknowledge" % marks[1]["alert_id"]).json() == {
            "acknowledged": True, "alert_id": marks[1]["alert_id"]}
    noted = s.get(at + "/alerts").json()["alerts"]
    assert [m["acknowledged"] for m in noted] == [False, True, False, False] and noted[1]["acknowledged_by"] == "anonymous"
    s.delete(at)
    assert s.sql("SELECT COUNT(*) FROM budget_acknowledgements")[0][0] == 0


def test_forecast_and_calls(node, provider):  # noqa: F811
    s = node()
    empty = s.get("/api/billing/usage/forecast").json()
    assert empty["projected_monthly_cost"] == 0 and empty["forecast"]["current_usage"] == {"cost_usd": 0, "debates": 0, "tokens": 0}
    doc = debate(s, agents=TEAM)
    f = s.get("/api/billing/usage/forecast").json()
    used, days = s.get("/api/billing/usage").json(), f["forecast"]["days_remaining"]
    assert f["forecast"]["method"] == "linear" and f["forecast"]["current_usage"]["tokens"] == used["tokens_used"] > 0
    length = (datetime.fromisoformat(f["period_end"]) - datetime.fromisoformat(f["period_start"])).days
    assert f["projected_tokens"] == pytest.approx(used["tokens_used"] / (length - days) * length, rel=1e-6)
    assert f["projected_debates"] >= 1 and f["recommended_tier"] is None and f["days_until_limit"] is None
    rows = list(csv.DictReader(io.StringIO(s.get("/api/billing/usage/export?detail=calls").text)))
    assert {r["debate_id"] for r in rows} == {doc["id"]} and {r["model"] for r in rows} == set(TEAM)
    assert sum(int(r["tokens_in"]) + int(r["tokens_out"]) for r in rows) == used["tokens_used"]
    assert sum(float(r["cost_usd"]) for r in rows) == pytest.approx(used["cost_usd"], abs=1e-5)
    assert len(s.get("/api/billing/usage/export?detail=calls&limit=2&offset=1").text.splitlines()) == 3


def test_tiers_without_payments(node):
    s = node()
    plans = {p["id"]: p["limits"] for p in s.get("/api/billing/plans").json()["plans"]}
    assert plans["starter"] == {"debates_per_month": 100, "users_per_org": 5} and plans["enterprise"]["debates_per_month"] is None
    mine = s.get("/api/billing/subscription").json()["subscription"]
    assert mine["is_active"] and mine["tier"] is None and mine["limits"]["debates_per_month"] is None, "nobody counts here"
    for method, path in (("GET", "invoices"), ("POST", "checkout"), ("POST", "trial/start")):
        r = s.request(method, "/api/billing/" + path, json={} if method == "POST" else None)
        assert r.status_code == 503 and "payments" in r.text, r.text


def test_tokens_of_one_debate(node, provider):  # noqa: F811
    s = node()
    free = debate(s, agents=TEAM, rounds=3, use_memory=False)
    tokens = free["tokens_in"] + free["tokens_out"]
    limit = int(tokens * 0.7)
    short = debate(s, agents=TEAM, rounds=3, use_memory=False, budget_limit_tokens=limit)
    assert short["status"] in ("completed", "consensus_reached") and short["early_stop"]["source"] == "budget", short
    assert short["tokens_in"] + short["tokens_out"] <= limit
    refused = s.post("/api/debates", {"task": "x", "budget_limit_tokens": 0})
    assert refused.status_code == 400 and refused.json()["field"] == "budget_limit_tokens"


def test_marks_of_a_debates_own_budget(node, provider):  # noqa: F811
    s = node()
    cost = float(spent(s, debate(s, agents=TEAM, use_memory=False)["id"])) / 1e6
    doc = debate(s, agents=TEAM, use_memory=False, budget_limit_usd=cost * 1.6)
    alerts = [e for e in events(s, doc["id"], "budget_alert") if "threshold" in e]
    assert alerts[0]["threshold"] == 50 and alerts[0]["level"] == "info" and alerts[0]["budget_id"] == doc["id"]
    assert 50 <= alerts[0]["percentage"] <= 101 and alerts[0]["limit"] == pytest.approx(cost * 1.6, abs=1e-6)
    marks = [a["threshold"] for a in alerts]
    assert marks == sorted(set(marks)), "each is told once"


def test_usage(node, provider):  # noqa: F811
    s = node()
    empty = s.get("/api/billing/usage").json()
    assert empty["tokens_used"] == 0 and empty["cost_usd"] == 0 and empty["by_day"] == empty["by_debate"] == []
    docs = [debate(s, agents=TEAM, use_memory=False), debate(s, agents=["gpt-4o", "gpt-4o|||critic"], use_memory=False)]
    rows = s.sql("SELECT model, agent, tokens_in, tokens_out, cost_micro FROM usage_ledger")
    total = sum(r[4] for r in rows) / 1e6
    doc = s.get("/api/v1/billing/usage").json()
    inner = doc["usage"]
    assert doc["cost_usd"] == inner["estimated_cost_usd"] == pytest.approx(total)
    assert doc["debates_used"] == 2 and inner["debates_limit"] is None
    assert doc["tokens_used"] == sum(r[2] + r[3] for r in rows) and doc["calls"] == len(rows)
    split = inner["cost_breakdown"]
    assert split["input_cost"] + split["output_cost"] == pytest.approx(split["total"]) == pytest.approx(total)
    assert split["input_cost"] > 0 and split["output_cost"] > 0
    assert inner["cost_by_provider"] == {"openai": pytest.approx(total)}
    assert doc["by_provider"]["openai"]["tokens"] == doc["tokens_used"]
    for kind, column, key in (("by_model", 0, "model"), ("by_agent", 1, "agent")):
        want = {}
        for r in rows:
            want[r[column]] = want.get(r[column], 0) + r[4]
        assert {x[key]: round(x["cost"] * 1e6) for x in doc[kind]} == want
    assert {x["debate_id"] for x in doc["by_debate"]} == {d["id"] for d in docs}
    assert sum(x["calls"] for x in doc["by_day"]) == len(rows)
    assert s.get("/api/billing/usage?start=2001-01-01&end=2001-02-01").json()["tokens_used"] == 0
    assert s.get("/api/billing/usage?period=all").json()["tokens_used"] == doc["tokens_used"]
    assert s.get("/api/billing/usage/breakdown").json()["total_cost_usd"] == pytest.approx(total)
    lines = s.get("/api/billing/usage/export").text.splitlines()
    assert lines[0].replace('"', "") == "date,debates,calls,tokens_in,tokens_out,cost_usd" and len(lines) == 1 + len(doc["by_day"])
    for query, field in (("period=ever", "period"), ("start=soon", "start"), ("start=2026-02-01&end=2026-01-01", "end")):
        refused = s.get("/api/billing/usage?" + query)
        assert refused.status_code == 400 and refused.json()["field"] == field


def test_a_reservation_outlives_its_worker_and_is_taken_over(make_server, provider):  # noqa: F811
    """Who dies while calls are in flight leaves reservations; the next run's calls take their places."""
    s = make_server({
        "server": {"workers": 1},
        "providers": {"openai": {"base_url": provider.openai_url, "api_key": "sk-test-openai"}},
        "debates": {"retry_base": "50ms", "lease": "1s"}})
    budget(s, 1)
    provider.hold(1)
    ident = s.post("/api/debates", {"task": "Tea or coffee?", "agents": TEAM, "rounds": 1}).json()["id"]
    wait_until(lambda: len(provider.requests()) == 2, 30, "two calls in flight")
    held = s.sql("SELECT step_key, cost_micro, tokens FROM budget_reservations WHERE debate_id = ?", ident)
    assert len(held) == 2 and all(r[1] > 0 and r[2] > 0 for r in held)
    os.kill(s.workers()[0]["pid"], signal.SIGKILL)
    wait_until(lambda: len(provider.requests()) == 4, 60, "the calls of the next run")
    assert len(s.sql("SELECT step_key FROM budget_reservations WHERE debate_id = ?", ident)) == 2
    provider.release()
    wait_until(lambda: s.get("/api/debates/" + ident).json()["status"] in ("completed", "consensus_reached"), 60, "the end")
    assert s.sql("SELECT COUNT(*) FROM budget_reservations")[0][0] == 0
