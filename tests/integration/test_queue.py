# SPDX-License-Identifier: MIT
"""The queue of debates: who puts in many does not keep others from their turn; where a debate stands, and until when."""
import pytest

from conftest import Server, wait_until
from crash import AGENTS, node_config, pace
from test_tenancy import AUTH, account, debate, ended

DEMO = ["demo", "demo"]


@pytest.fixture(scope="module")
def town(tmp_path_factory, provider):
    """One place for a debate, and three who want it."""
    pace(provider)
    s = Server(tmp_path_factory.mktemp("queue"), node_config(provider, server={"workers": 1}, auth=AUTH,
                                                             debates={"max_concurrent": 1, "max_queued": 40}))
    s.start()
    yield s, [account(s, "%s@%s.example.org" % (name, name), name.title()) for name in ("anna", "bert", "cora")]
    s.close()


def order(s):
    """Whose debates were started, first first."""
    return [org for (org,) in s.sql("SELECT org_id FROM debates WHERE started_at IS NOT NULL ORDER BY started_at, id")]


def test_turns(town, provider):
    s, (anna, bert, cora) = town
    provider.hold(1)
    many = [debate(anna, "The first takes long?", agents=AGENTS)]
    wait_until(lambda: order(s), what="the first debate")
    many += [debate(anna, "Question %d?" % i, agents=DEMO) for i in range(20)]
    two = [debate(bert, "Mine %d?" % i, agents=DEMO) for i in range(2)]
    one = debate(cora, "Just one?", agents=DEMO)
    # All see their own, with the places among all.
    queue = anna.good("GET", "/api/debates/queue/status")
    assert queue["pending_count"] == 20 and queue["running_count"] == 1 and queue["max_concurrent"] == 1
    assert [q["debate_id"] for q in queue["debates"]] == many[1:]
    queue = bert.good("GET", "/api/debates/queue/status")
    assert [q["debate_id"] for q in queue["debates"]] == two and queue["running_count"] == 0
    places = [q["position"] for q in queue["debates"]]
    assert places[0] <= 3 and places[1] <= 6, places
    assert bert.good("GET", "/api/debates/%s/status" % two[0])["queue_position"] == places[0]
    assert cora.good("GET", "/api/debates/%s/status" % one)["queue_position"] <= 3
    provider.release()
    for who, d in [(anna, many[-1]), (bert, two[1]), (cora, one)]:
        ended(who, d)
    started = order(s)
    assert len(started) == 24
    assert {bert.org, cora.org} <= set(started[1:4]) and started[1:7].count(bert.org) == 2, started
    assert "queue_position" not in bert.good("GET", "/api/debates/%s/status" % two[0])
    queue = bert.good("GET", "/api/debates/queue/status")
    assert queue["pending_count"] == queue["running_count"] == 0 and queue["completed_today"] == 2 and not queue["debates"]
    assert queue["estimated_completion_time"] is None


def test_who_comes_later_does_not_wait_for_all(town, provider):
    """Nor does who was served before: tags follow what is served, not what a workspace has had."""
    s, (anna, bert, cora) = town
    provider.hold(1)
    before = len(order(s))
    first = debate(bert, "Does it take long again?", agents=AGENTS)
    wait_until(lambda: len(order(s)) > before, what="the first debate")
    many = [debate(bert, "Question %d?" % i, agents=DEMO) for i in range(10)]
    late = debate(anna, "Am I last?", agents=DEMO)
    assert anna.good("GET", "/api/debates/%s/status" % late)["queue_position"] <= 2
    # What an estimate is made from are debates that have ended.
    assert anna.good("GET", "/api/debates/%s/status" % late)["estimated_wait_seconds"] > 0
    provider.release()
    ended(bert, first)
    ended(anna, late)
    ended(bert, many[-1])
    assert order(s)[before + 1:before + 3].count(anna.org) == 1


def test_who_has_none_running_goes_first(make_server, provider):
    """Two places, both taken; the one that becomes free goes to whom the other does not serve already, not to who came first."""
    s = make_server(node_config(provider, server={"workers": 1}, auth=AUTH, debates={"max_concurrent": 2}))
    anna, bert, cora = [account(s, "%s@%s.example.org" % (name, name), name.title()) for name in ("anna", "bert", "cora")]
    provider.hold(1)
    debate(anna, "Does hers take long?", agents=AGENTS)
    given_up = debate(cora, "And hers?", agents=AGENTS)
    wait_until(lambda: len(order(s)) == 2, what="both places taken")
    debate(anna, "Who came first?", agents=AGENTS)
    debate(bert, "Who has nothing yet?", agents=AGENTS)
    cora.good("POST", "/api/debates/%s/cancel" % given_up)
    wait_until(lambda: len(order(s)) == 3, what="the next one")
    assert order(s)[2] == bert.org
    provider.release()


def test_a_thousand_in_line_cost_no_more(town):
    """The claim looks at the first in line, however many wait: by the index, in order, and no further than 64."""
    s, (anna, _, _) = town
    if s.config["storage"].get("dsn"):
        pytest.skip("the plan is SQLite's")
    plan = "\n".join(str(r) for r in s.sql(
        "EXPLAIN QUERY PLAN SELECT id FROM debates WHERE completed_at IS NULL AND owner = '' AND paused_at IS NULL"
        " AND claim_after <= 1 AND engine_version <= 9 ORDER BY queue_tag, created_at, id LIMIT 64"))
    assert "debates_waiting" in plan and "TEMP B-TREE" not in plan, plan
