# SPDX-License-Identifier: MIT
"""Matrix and graph debates: parents of ordinary debates, so that every promise of these holds through deaths; what is
concluded comes from the children's decisions."""
import json

import pytest

from conftest import wait_until
from crash import AGENTS, Node, asked, check_books, check_calls, check_events, node_config, pace

TASK = "Should the office move to the river next year?"
SCENARIOS = [{"name": "as it is", "is_baseline": True}, {"name": "rents fall", "parameters": {"rent": "-20 %", "staff": 40}},
             {"name": "rents rise", "parameters": {"rent": "+20 %"}, "constraints": ["No more than 10000 a month."]}]


@pytest.fixture(scope="module")
def node(tmp_path_factory, provider):
    pace(provider)
    n = Node(tmp_path_factory.mktemp("forms") / "node", node_config(provider, memory={"enabled": False}))
    n.start()
    yield n
    n.close()


def submit(node, kind, code=200, **body):
    r = node.ask("POST", "/api/debates/" + kind, {"task": TASK, "agents": AGENTS, **body})
    assert r.status_code == code, r.text
    return r.json()


def show(node, kind, ident, tail=""):
    r = node.ask("GET", "/api/debates/%s/%s%s" % (kind, ident, tail))
    assert r.status_code == 200, r.text
    return r.json()


def wait_form(node, kind, ident):
    return wait_until(lambda: (d := show(node, kind, ident))["completed_at"] and d, 90, "end of the " + kind, 0.05)


def children(node, ident):
    return node.sql("SELECT debate_id FROM batch_items WHERE batch_id = ? AND debate_id IS NOT NULL", ident)


def check_children(node, provider, ids):
    for d in ids:
        check_events(node, d)
        check_calls(node, provider, d)
        check_books(node, provider, d)


def test_matrix_through_deaths(node, provider):
    answer = submit(node, "matrix", scenarios=SCENARIOS, max_rounds=1)
    ident = answer["matrix_id"]
    assert answer["status"] == "pending" and answer["scenario_count"] == 3
    assert [r["scenario_name"] for r in answer["results"]] == ["as it is", "rents fall", "rents rise"]
    for n in (3, 12):
        wait_until(lambda: sum(len(asked(provider, d)) for (d,) in children(node, ident)) >= n, what="%d calls" % n,
                   interval=0.01)
        node.kill([w["pid"] for w in node.workers(None)])
    m = wait_form(node, "matrix", ident)
    assert m["status"] == "completed" and m["completed"] == 3
    ids = [r["debate_id"] for r in m["results"]]
    assert len(set(ids)) == 3 and node.sql("SELECT COUNT(*) FROM debates WHERE task = ?", TASK)[0][0] == 3
    check_children(node, provider, ids)
    context = json.loads(node.sql("SELECT plan FROM debates WHERE id = ?", ids[2])[0][0])["context"]
    assert "rents rise" in context and "- rent: +20 %" in context and "It must hold: No more than 10000 a month." in context
    # The conclusions are of the decisions: two scenarios decide alike, one otherwise, then all alike, then one not at all.
    for labels, reached, universal, conditional in (
            (["Move to the river.", "Move to the river.", "Stay in the old town."], [1, 1, 1], [],
             [["as it is", "rents fall"], ["rents rise"]]),
            (["Move to the river."] * 3, [1, 1, 1], [["as it is", "rents fall", "rents rise"]], []),
            (["Move to the river."] * 3, [1, 0, 1], [], [["as it is", "rents rise"]])):
        for d, label, yes in zip(ids, labels, reached):
            result = json.loads(node.sql("SELECT result FROM debates WHERE id = ?", d)[0][0])
            result["winner"], result["consensus"]["groups"] = "gpt", [{"label": label, "agents": ["gpt"], "votes": 3}]
            node.sql("UPDATE debates SET result = ?, consensus_reached = ? WHERE id = ?", json.dumps(result), yes, d)
        m = show(node, "matrix", ident, "/conclusions")
        assert [u["scenarios"] for u in m["universal_conclusions"]] == universal, m
        assert [c["scenarios"] for c in m["conditional_conclusions"]] == conditional, m
        assert m["comparison_matrix"]["consensus_rate"] == sum(reached) / 3
    assert m["undecided_scenarios"] == ["rents fall"] and m["comparison_matrix"]["baseline"] == "as it is"
    assert ident in [x["batch_id"] for x in node.get("/api/debates/matrix").json()["items"]]
    assert node.get("/api/debates/graph/" + ident).status_code == 404 == node.get("/api/debates/batch/" + ident).status_code


@pytest.mark.parametrize("strategy", ["synthesis", "vote", "best_evidence"])
def test_graph(node, provider, strategy):
    ident = submit(node, "graph", max_rounds=1, branch_policy={"min_disagreement": 0, "max_branches": 2,
                                                                "merge_strategy": strategy})["graph_id"]
    if strategy == "synthesis":
        wait_until(lambda: show(node, "graph", ident)["branch_count"] > 1, 60, "branches", 0.02)
        node.kill([w["pid"] for w in node.workers(None)])
    g = wait_form(node, "graph", ident)
    types = [b["type"] for b in g["branches"]]
    branches = types.count("branch")
    assert g["status"] == "completed" and types[0] == "root" and 1 <= branches <= 2
    assert types.count("merge") == (1 if strategy == "synthesis" and branches > 1 else 0)
    check_children(node, provider, [b["debate_id"] for b in g["branches"]])
    if strategy != "synthesis" or branches > 1:
        assert g["merge_results"][0]["strategy"] == strategy
        assert g["merge_results"][0]["source_branches"] == ["branch_%d" % (i + 1) for i in range(branches)]
    merged = g["branches"][-1] if "merge" in types else None
    if merged:
        assert g["final_answer"] == node.debate(merged["debate_id"])["final_answer"]
    nodes = {n["id"] for n in g["graph"]["nodes"]}
    assert len(nodes) == g["node_count"] and all(e["source"] in nodes and e["target"] in nodes for e in g["graph"]["edges"])
    assert sum(e["type"] == "branches_into" for e in g["graph"]["edges"]) == branches
    assert show(node, "graph", ident, "/nodes")["nodes"] == g["graph"]["nodes"]
    assert show(node, "graph", ident, "/branches")["branches"] == g["branches"]
    if strategy != "synthesis" and branches > 1:
        # Taken is the branch whose debate is surest of its answer, or the one with the best evidence.
        own = [b["debate_id"] for b in g["branches"] if b["type"] == "branch"]
        for best in own:
            for d in own:
                node.sql("UPDATE debates SET confidence_ppm = ?, final_answer = ? WHERE id = ?", 900000 if d == best else 100000,
                         "According to [1], costs fell by 30 % in 2026 because rents did, for example by $ 900 a month." if d == best
                         else "It may somehow be fine, perhaps.", d)
            assert show(node, "graph", ident)["merge_results"][0]["debate_id"] == best


def test_agreement_does_not_branch(node, provider):
    ident = submit(node, "graph", max_rounds=1, agents=["demo", "demo"], branch_policy={"min_disagreement": 1})["graph_id"]
    g = wait_form(node, "graph", ident)
    assert g["branch_count"] == 1 or g["disagreement"] == 1
    assert g["final_answer"]


def test_bad_bodies(node):
    for kind, body, field in (("matrix", {"scenarios": []}, "scenarios"), ("matrix", {"scenarios": [{}]}, "scenarios[0]"),
                              ("matrix", {"scenarios": [{"name": "x"}, {"name": "x"}]}, "scenarios[1]"),
                              ("matrix", {"scenarios": [{"name": "x"}], "max_rounds": "many"}, "rounds"),
                              ("graph", {"task": "Short?"}, "task"),
                              ("graph", {"branch_policy": {"min_disagreement": 2}}, "branch_policy.min_disagreement"),
                              ("graph", {"branch_policy": {"merge_strategy": "war"}}, "branch_policy.merge_strategy"),
                              ("graph", {"callback_url": "http://10.0.0.1/"}, "callback_url")):
        assert submit(node, kind, 400, **body)["field"] == field
    assert node.get("/api/debates/matrix/nothing").status_code == node.get("/api/debates/graph/nothing/nodes").status_code == 404


def test_cancel(node, provider):
    provider.hold(1)
    ident = submit(node, "matrix", scenarios=SCENARIOS)["matrix_id"]
    wait_until(lambda: show(node, "matrix", ident)["running"], what="a child", interval=0.02)
    assert node.post("/api/debates/matrix/%s/cancel" % ident).json()["status"] == "cancelled"
    provider.release()
    m = wait_form(node, "matrix", ident)
    assert m["status"] == "cancelled" and not m["universal_conclusions"]
