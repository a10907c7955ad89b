# SPDX-License-Identifier: MIT
"""Debates out of debates: forks that go on from a round, clones, follow-ups of open questions, debate-this, templates."""
import json

import pytest

from conftest import Server
from talk import debate, wait_end


@pytest.fixture(scope="module")
def s(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("forks"), {"server": {"workers": 1}, "memory": {"enabled": False}})
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def parent(s):
    return debate(s, "Should the team keep sessions in Redis or in Postgres?", rounds=2, agents=["demo", "demo", "demo"],
                  context="The team is small.")


def good(s, path, body=None, code=200):
    r = s.post(path, body or {})
    assert r.status_code == code, r.text
    return r.json()


def plan(s, ident):
    return json.loads(s.sql("SELECT plan FROM debates WHERE id = ?", ident)[0][0])


def test_fork(s, parent):
    answer = good(s, "/api/debates/%s/fork" % parent["id"], {"branch_point": 0, "modified_context": "The team is large.",
                                                            "agents": ["demo", "demo"]})
    assert answer["parent_debate_id"] == parent["id"] and answer["branch_point"] == 0 and answer["status"] == "created"
    assert answer["branch_id"].startswith("fork-%s-r0-" % parent["id"]) and answer["messages_inherited"] == 3
    child = wait_end(s, answer["debate_id"])
    assert child["status"] == "completed" and len(child["agents"]) == 2 and child["task"] == parent["task"]
    assert child["total_rounds"] == parent["total_rounds"]
    drafts = [m["content"] for m in parent["messages"] if m["round"] == 0]
    later = [m["content"] for m in parent["messages"] if m["round"] == 1 and m["content"] not in drafts]
    context = plan(s, child["id"])["context"]
    assert context.startswith("The team is large.") and all(d in context for d in drafts)
    assert not any(text in context for text in later), "what was said after the fork is none of its history"
    assert not any(name in context for name in parent["agents"])
    # A fork of the fork, and the tree of both.
    second = good(s, "/api/debates/%s/fork" % child["id"], {"branch_point": child["rounds_used"]})
    wait_end(s, second["debate_id"])
    forks = s.get("/api/debates/%s/forks" % parent["id"]).json()
    assert forks["total"] == 1 and forks["forks"][0]["debate_id"] == child["id"]
    assert forks["tree"]["total_nodes"] == 3 and forks["tree"]["max_depth"] == 2
    assert forks["tree"]["children"][0]["children"][0]["id"] == second["debate_id"]


def test_fork_refuses(s, parent):
    path = "/api/debates/%s/fork" % parent["id"]
    for body in ({}, {"branch_point": -1}, {"branch_point": 101}, {"branch_point": "1"}, {"branch_point": 99}):
        assert good(s, path, body, 400)["field"] == "branch_point"
    assert good(s, path, {"branch_point": 0, "modified_context": "x" * 5001}, 400)["field"] == "modified_context"
    assert good(s, path, {"branch_point": 0, "agents": ["nobody-knows-this"]}, 400)["field"].startswith("agents")
    assert s.post("/api/debates/nobody/fork", {"branch_point": 0}).status_code == 404


def test_same_key_same_fork(s, parent):
    ids = {s.post("/api/debates/%s/clone" % parent["id"], {}, headers={"Idempotency-Key": "once"}).json()["debate_id"]
           for _ in range(2)}
    assert len(ids) == 1
    clone = wait_end(s, ids.pop())
    assert clone["task"] == parent["task"] and clone["context"] == parent["context"]
    assert {a["name"] for a in plan(s, clone["id"])["agents"]} == {a["name"] for a in plan(s, parent["id"])["agents"]}


def test_followup(s, parent):
    # What is open is read from the stored result: here one with a dissent.
    result = json.loads(s.sql("SELECT result FROM debates WHERE id = ?", parent["id"])[0][0])
    result["dissents"] = [{"agent": parent["agents"][0], "view": "Keep them in memory.", "reasons": ["It is faster."]}]
    s.sql("UPDATE debates SET result = ? WHERE id = ?", json.dumps(result), parent["id"])
    found = s.get("/api/debates/%s/followups" % parent["id"]).json()
    crux = next(x for x in found["suggestions"] if x["crux_id"] == "dissent_1")
    assert "Keep them in memory." in crux["question"] and crux["rationale"] == "It is faster."
    assert found["count"] == len(found["suggestions"]) and crux["priority"] in ("high", "medium")
    answer = good(s, "/api/debates/%s/followup" % parent["id"], {"cruxId": "dissent_1", "context": "Nothing else changed."})
    assert answer["status"] == "pending" and answer["crux_id"] == "dissent_1" and answer["task"] == crux["question"]
    child = wait_end(s, answer["followup_id"])
    context = plan(s, child["id"])["context"]
    assert context.startswith("Nothing else changed.") and parent["final_answer"][:100] in context and "It is faster." in context
    own = good(s, "/api/debates/%s/followup" % parent["id"], {"task": "And who pays?", "agents": ["demo", "demo"]})
    assert len(own["agents"]) == 2 and wait_end(s, own["debate_id"])["task"] == "And who pays?"
    again = s.get("/api/debates/%s/followups" % parent["id"]).json()
    assert [f["debate_id"] for f in again["followups"]] == [child["id"], own["debate_id"]]
    assert good(s, "/api/debates/%s/followup" % parent["id"], {"crux_id": "dissent_9"}, 400)["field"] == "crux_id"
    assert good(s, "/api/debates/%s/followup" % parent["id"], {}, 400)["field"] == "task"


def test_debate_this(s):
    short = good(s, "/api/debate-this", {"question": "Tea or coffee?"})
    assert short["rounds"] == 4 and short["spectate_url"] == "/api/debates/%s/events" % short["debate_id"]
    long = good(s, "/api/debate-this", {"question": "Tea or coffee? " * 20, "source": "mail"})
    assert long["rounds"] == 9
    assert s.get("/api/debates/" + long["id"]).json()["metadata"]["source"] == "mail"
    assert good(s, "/api/debate-this", {"context": "x"}, 400)["field"] == "question"
    for d in (short, long):
        wait_end(s, d["id"])


def test_templates(s):
    own = good(s, "/api/debates/templates", {"name": "Ours", "category": "ours", "template": {
        "task": "Is {thing} worth {price}?", "context": "It is about {thing}.", "rounds": 1, "agents": ["demo", "demo"]}}, 201)["id"]
    assert good(s, "/api/debates/templates", {"name": "Ours", "template": {"task": "x"}}, 409)["field"] == "name"
    listed = s.get("/api/debates/templates").json()["templates"]
    assert [t["id"] for t in listed if not t["builtin"]] == [own] and {t["id"] for t in listed} > {"red-team", "decision"}
    assert [t["id"] for t in s.get("/api/debates/templates", params={"category": "ours"}).json()["templates"]] == [own]
    assert good(s, "/api/debates/templates/%s/use" % own, {"inputs": {"thing": "the car"}}, 400)["field"] == "inputs.price"
    d = good(s, "/api/debates/templates/%s/use" % own, {"inputs": {"thing": "the car", "price": 900}, "rounds": 2})
    assert d["task"] == "Is the car worth 900?" and d["rounds"] == 2 and d["template_id"] == own
    assert wait_end(s, d["id"])["context"] == "It is about the car."
    built = good(s, "/api/debates/templates/red-team/use", {"inputs": {"plan": "Sell all."}, "agents": ["demo", "demo", "demo"]})
    assert built["task"].endswith("Sell all.") and wait_end(s, built["id"])["status"] == "completed"
    assert s.get("/api/debates/templates/" + own).json()["usage_count"] == 1
    changed = s.request("PUT", "/api/debates/templates/" + own, json={"name": "Theirs", "template": {"task": "Why?"}})
    assert changed.status_code == 200 and s.get("/api/debates/templates/" + own).json()["name"] == "Theirs"
    assert s.delete("/api/debates/templates/" + own).status_code == 200
    assert s.get("/api/debates/templates/" + own).status_code == s.delete("/api/debates/templates/red-team").status_code == 404
    assert good(s, "/api/debates/templates", {"name": "x", "template": {}}, 400)["field"] == "template"
    secret = {"name": "x", "template": {"task": "Why?", "callback_url": "https://example.org/", "callback_secret": "s" * 32}}
    assert good(s, "/api/debates/templates", secret, 400)["field"] == "template.callback_secret"


def test_templates_come_in_pages(s):
    made = [good(s, "/api/debates/templates", {"name": "Page %d" % i, "template": {"task": "Why?"}}, 201)["id"] for i in range(3)]
    own = lambda **q: [t["id"] for t in s.get("/api/debates/templates", params=q).json()["templates"] if not t["builtin"]]
    assert own(limit=2) == made[:2] and own(limit=2, offset=2) == made[2:]
    for i in made:
        assert s.delete("/api/debates/templates/" + i).status_code == 200


def peak(s):
    """KiB that the worker has had at most."""
    with open("/proc/%d/status" % s.workers()[0]["pid"]) as f:
        return int(next(line for line in f if line.startswith("VmHWM")).split()[1])


def test_a_word_that_stands_often_costs_no_more_than_a_text_may_have(s):
    """2,000 times 200 KB would be 400 MB, and a body may ask for a thousand times that."""
    before = peak(s)
    body = {"task": "Why?", "context": "{a}" * 2000, "inputs": {"a": "x" * 200000}}
    assert good(s, "/api/debates/templates/decision/use", body, 400)["field"] == "context"
    assert peak(s) - before < 100000
