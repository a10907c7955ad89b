# SPDX-License-Identifier: MIT
"""What people do to a debate while it runs: pause and resume, votes, suggestions and interventions, over deaths and
restarts, and never at the price of a call."""
import pytest

from conftest import wait_until
from crash import Node, asked, called, check_books, check_calls, check_events, node_config, pace
from talk import run, socket


@pytest.fixture(scope="module")
def shared(tmp_path_factory, provider):
    """One node for all who need nothing special."""
    node = Node(tmp_path_factory.mktemp("control") / "node", node_config(provider))
    node.start()
    yield node
    node.close()


@pytest.fixture
def make_node(tmp_path, provider, shared):
    made = []
    pace(provider)
    shared.kills.clear()

    def make(**sections):
        if not sections:
            return shared
        node = Node(tmp_path / ("node%d" % len(made)), node_config(provider, **sections))
        made.append(node)
        return node.start()

    yield make
    provider.release()
    for node in made:
        node.close()


def check_debate(node, provider, debate):
    """It ended well, and nothing of it was asked or booked twice."""
    ended = node.wait_ended(debate)
    assert ended["status"] == "completed", ended["error"]
    check_events(node, debate)
    check_calls(node, provider, debate)
    check_books(node, provider, debate)
    return ended


def status(node, debate):
    return node.ask("GET", "/api/debates/%s/status" % debate).json()


def control(node, debate, what, code=200, **body):
    r = node.ask("POST", "/api/debates/%s/%s" % (debate, what), body)
    assert r.status_code == code, r.text
    return r.json()


def wait_paused(node, debate):
    return wait_until(lambda: (s := status(node, debate))["status"] == "paused" and s, what="a debate that stands still")


def held(node, provider, calls=4):
    """A debate with some calls answered and others under way."""
    provider.hold(calls)
    debate = node.create()
    wait_until(lambda: called(provider, debate) > calls, what="calls under way", interval=0.005)
    return debate


def test_pause_lasts_over_a_restart(make_node, provider):
    node = make_node()
    debate = held(node, provider)
    answer = control(node, debate, "pause", reason="The budget is discussed.")
    assert answer["state"] == "paused" and answer["is_paused"] and not answer["in_effect"]
    assert answer["intervention"]["type"] == "pause" and answer["intervention"]["message"] == "The budget is discussed."
    assert status(node, debate)["pause_requested"]
    assert "already" in control(node, debate, "pause", 400)["error"]
    provider.release()
    stands = wait_paused(node, debate)
    asked_before = called(provider, debate)
    assert node.get("/api/debates", params={"status": "paused"}).json()["total"] == 1
    assert node.get("/api/debates", params={"status": "running"}).json()["total"] == 0
    node.kill_all()
    node.start()
    # Another one comes and goes meanwhile.
    node.wait_ended(node.create("Does somebody stand in the way?"))
    again = status(node, debate)
    assert again["status"] == "paused" and again["elapsed_seconds"] == stands["elapsed_seconds"]
    assert called(provider, debate) == asked_before
    answer = control(node, debate, "resume")
    assert answer["state"] == answer["status"] == "running" and answer["pause_duration_seconds"] > 0
    check_debate(node, provider, debate)
    types = [e["type"] for e in node.events(debate)]
    assert types.count("debate_paused") == types.count("debate_resumed") == 1
    assert "already ended" in control(node, debate, "resume", 400)["error"]
    assert "already ended" in control(node, debate, "pause", 400)["error"]


def test_pause_survives_its_owner(make_node, provider):
    node = make_node()
    debate = held(node, provider)
    node.arm("pause.before_commit")
    control(node, debate, "intervention/pause")
    provider.release()
    node.wait_fired("pause.before_commit")
    wait_paused(node, debate)
    assert node.rows("SELECT owner, crashes FROM debates WHERE id = ?", debate)[0][0] == ""
    assert control(node, debate, "intervention/resume")["is_paused"] is False
    check_debate(node, provider, debate)


def test_its_place_is_free(make_node, provider):
    node = make_node(debates={"max_concurrent": 1, "max_queued": 1})
    first = held(node, provider)
    second = node.create("Who is next?")
    assert control(node, second, "pause")["in_effect"]  # nobody runs it: at once
    third = node.create("Who waits behind somebody who does not want to go?")
    control(node, first, "pause")
    provider.release()
    wait_paused(node, first)
    check_debate(node, provider, third)
    assert status(node, second)["status"] == "paused" and called(provider, second) == 0
    # Taken up again they take their turns.
    assert control(node, second, "start")["status"] == "running"
    control(node, first, "resume")
    check_debate(node, provider, first)
    assert node.wait_ended(second)["status"] == "completed"
    check_calls(node, provider, second)
    check_books(node, provider, second)


def test_standing_still_does_not_age(make_node, provider):
    """Paused for longer than debates.max_age it goes on all the same."""
    node = make_node()
    debate = held(node, provider)
    control(node, debate, "pause")
    provider.release()
    wait_paused(node, debate)
    assert node.sql("UPDATE debates SET created_at = created_at - 90000000, paused_at = paused_at - 89990000 WHERE id = ?",
                    debate) == 1  # 25 hours
    assert control(node, debate, "resume")["pause_duration_seconds"] > 89990
    check_debate(node, provider, debate)


def test_resume_before_it_stands_still(make_node, provider):
    node = make_node()
    debate = held(node, provider)
    control(node, debate, "pause")
    assert control(node, debate, "resume")["pause_duration_seconds"] == 0
    assert "not paused" in control(node, debate, "resume", 400)["error"]
    provider.release()
    check_debate(node, provider, debate)
    assert "debate_paused" not in [e["type"] for e in node.events(debate)]


@pytest.mark.parametrize("effect", [True, False], ids=["still", "pending"])
def test_cancel_of_a_paused_debate(make_node, provider, effect):
    node = make_node()
    debate = held(node, provider)
    control(node, debate, "pause")
    if effect:
        provider.release()
        wait_paused(node, debate)
    control(node, debate, "cancel", reason="enough")
    ended = node.wait_ended(debate)
    assert ended["status"] == "cancelled" and not ended["is_paused"]
    provider.release()
    assert node.events(debate)[-1]["type"] == "debate_end"
    assert node.delete("/api/debates/" + debate).status_code == 200


def test_batches_leave_room_in_the_queue(make_node, provider):
    node = make_node(debates={"max_concurrent": 1, "max_queued": 4})
    held(node, provider)
    # What waits of the batch is the half of what may wait, whoever else comes.
    r = node.post("/api/debates/batch", {"items": [{"task": "Question %d?" % i, "agents": ["gpt", "claude"]} for i in range(8)],
                                         "max_parallel": 8})
    waiting = lambda: node.sql("SELECT COUNT(*) FROM debates WHERE status = 'queued'")[0][0]
    wait_until(lambda: waiting() == 2, what="the first of the batch")
    for i in range(2):
        node.create("Who comes for himself, %d?" % i)
    assert waiting() == 4
    assert node.post("/api/debates/batch/%s/cancel" % r.json()["batch_id"]).status_code == 200
    provider.release()


def test_unknown_debates(make_node):
    node = make_node()
    for what in ("pause", "resume"):
        assert node.post("/api/debates/nobody/" + what).status_code == 404


def test_pause_of_a_queued_debate_over_a_death(make_node, provider):
    """It has no owner whose death anybody could notice."""
    node = make_node(debates={"max_concurrent": 1})
    first = held(node, provider)
    second = node.create("Who is next?")
    control(node, second, "pause")
    node.kill([w["pid"] for w in node.workers(None)])
    provider.release()
    check_debate(node, provider, first)
    assert status(node, second)["status"] == "paused" and called(provider, second) == 0
    control(node, second, "resume")
    assert node.wait_ended(second)["status"] == "completed"


# ---- votes, suggestions, interventions ----

def types_of(node, debate):
    return [e["type"] for e in node.events(debate)]


def test_what_people_say_is_applied_and_logged(make_node, provider):
    node = make_node()
    debate = held(node, provider, 2)
    nudge = control(node, debate, "nudge", message="Think of the tenants.")
    assert nudge["considered"] and nudge["will_appear_in"] == "next_round" and nudge["apply_at_round"] == 1
    control(node, debate, "intervene", 201, type="constraint", content="No more than ten thousand.", apply_at_round=2)
    control(node, debate, "inject-evidence", evidence="Rents rose by 9 %.", source="city office")
    control(node, debate, "messages", 201, content="And the garden?")
    control(node, debate, "vote", choice="gpt", intensity=3)
    control(node, debate, "vote", choice="claude", intensity=10)  # changes his mind
    late = control(node, debate, "intervene", 201, type="redirect", content="What about the river?", apply_at_round=3)
    assert not late["considered"] and late["will_appear_in"] == "never"
    provider.release()
    check_debate(node, provider, debate)
    events = node.events(debate)
    applied = {e["data"]["intervention_type"]: e["data"] for e in events if e["type"] == "intervention_applied"}
    assert applied["nudge"]["applied_at_round"] == 1 and applied["constraint"]["applied_at_round"] == 2
    assert {"inject_evidence", "suggestion"} <= set(applied) and "redirect" not in applied
    votes = [e["data"] for e in events if e["type"] == "user_vote"]
    assert [(v["choice"], v["intensity"], v["weight"]) for v in votes] == [("claude", 10, 2.0)]
    assert [e["data"]["weighted_votes"] for e in events if e["type"] == "audience_metrics"] == [{"claude": 2.0}]
    assert types_of(node, debate).count("user_suggestion") == types_of(node, debate).count("audience_suggestion") == 1
    prompts = [r["prompt"] for calls in asked(provider, debate).values() for r in calls]
    assert any("Rents rose by 9 %. Source: city office" in p for p in prompts)
    entries = {e["type"]: e for e in node.get("/api/debates/%s/intervention-log" % debate).json()["entries"]}
    assert entries["nudge"]["status"] == "applied" and entries["nudge"]["applied_at"] == "r1.inbox"
    assert entries["constraint"]["applied_at"] == "r2.inbox" and entries["redirect"]["status"] == "too_late"
    assert "ended" in control(node, debate, "nudge", 400, message="Too late.")["error"]


def test_bad_words_are_named(make_node, provider):
    node = make_node()
    debate = held(node, provider)
    for what, body, field in (("vote", {}, "choice"), ("vote", {"choice": "gpt", "intensity": "much"}, "intensity"),
                              ("challenge", {"challenge": ""}, "challenge"), ("intervene", {"content": "x"}, "type"),
                              ("intervene", {"type": "shout", "content": "x"}, "type"),
                              ("messages", {"content": "x" * 2001}, None)):
        answer = control(node, debate, what, 400, **body)
        assert field is None or answer["field"] == field, answer
    assert node.post("/api/debates/nobody/vote", {"choice": "gpt"}).status_code == 404


def test_the_same_over_a_socket(make_node, provider):
    node = make_node()
    debate = held(node, provider, 2)

    async def talk():
        async with socket(node, "?debate_id=" + debate) as s:
            await s.send(type="user_vote", debate_id=debate, data={"choice": "gpt", "intensity": 5})
            ack = await s.until("ack")
            assert ack["data"]["msg_type"] == ack["data"]["message_type"] == "user_vote" and ack["data"]["considered"]
            await s.send(type="user_suggestion", loop_id=debate, payload={"suggestion": "Ask the neighbours."})
            assert (await s.until("ack"))["data"]["apply_at_round"] == 1
            await s.send(type="pause_debate", debate_id=debate, payload={"reason": "a" + "é" * 400})  # 500 bytes end within a letter
            assert (await s.until("ack"))["data"]["state"] == "paused"
            log = node.get("/api/debates/%s/intervention-log" % debate).json()["entries"]
            assert [e["message"] for e in log if e["kind"] == "pause"] == ["a" + "é" * 249]
            provider.release()
            await s.until("debate_paused")
            await s.send(type="user_vote", debate_id=debate, data={})
            assert (await s.until("error"))["data"]["field"] == "choice"
            await s.send(type="user_vote", debate_id="nobody", data={"choice": "gpt"})
            assert (await s.until("error"))["data"]["code"] == 404
            await s.send(type="resume_debate", debate_id=debate)
            assert (await s.until("ack"))["data"]["state"] == "running"
            await s.until("debate_resumed")
            await s.until("user_vote")
            await s.until("intervention_applied")
            await s.end_of(debate)

    run(talk())
    check_debate(node, provider, debate)


def test_votes_and_settings_reach_the_decision(make_node, provider):
    """With no weight for the agents' votes the audience alone decides, as loudly as it is allowed to."""
    node = make_node()
    debate = held(node, provider, 2)
    for agent in ("gpt", "claude"):
        control(node, debate, "intervention/weights", agent=agent, weight=0)
    answer = control(node, debate, "intervention/weights", agent="ollama", weight=0)
    assert (answer["old_weight"], answer["new_weight"]) == (1, 0) and set(answer["weights"]) == {"gpt", "claude", "ollama"}
    assert control(node, debate, "intervention/threshold", threshold=0.75)["new_threshold"] == 0.75
    state = node.get("/api/debates/%s/intervention/state" % debate).json()
    assert state["agent_weights"] == {"gpt": 0, "claude": 0, "ollama": 0} and state["consensus_threshold"] == 0.75
    for body, field in (({"agent": "nobody", "weight": 1}, "agent"), ({"agent": "gpt", "weight": 3}, "weight"), ({}, "agent")):
        assert control(node, debate, "intervention/weights", 400, **body)["field"] == field
    assert control(node, debate, "intervention/threshold", 400, threshold=0.4)["field"] == "threshold"
    assert control(node, debate, "vote", choice="claude", intensity=5)["will_appear_in"] == "decision"
    provider.release()
    ended = check_debate(node, provider, debate)
    assert ended["winner"] == "claude", ended["consensus"]
    assert ended["consensus"]["audience"]["counted"] == 1 and ended["consensus"]["audience"]["votes"] == {"claude": 1}
    assert ended["consensus"]["audience"]["weight_ppm"] == 500000 and ended["consensus"]["threshold"] == 0.75


def test_who_votes_where_votes_do_not_count_is_told(make_node, provider):
    node = make_node()
    provider.hold(1)
    judged, deaf = node.create(consensus="judge"), node.create(user_vote_weight=0)
    for debate in (judged, deaf):
        answer = control(node, debate, "vote", choice="gpt")
        assert not answer["considered"] and answer["will_appear_in"] == "never"
        control(node, debate, "cancel")
