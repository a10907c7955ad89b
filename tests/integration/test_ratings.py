# SPDX-License-Identifier: MIT
"""Ratings of agents from debates between agents of a local model server: what a match changes, what is told of it, and
what is never rated."""

from conftest import wait_until
from provider import provider  # noqa: F401  (a fixture)

TEAM = ["gpt-4o", "claude-opus-4-6", "ollama|llama3.2"]
ENDED = ("completed", "failed", "cancelled", "timeout")


def node(make_server, provider, **config):  # noqa: F811
    return make_server({
        "server": {"workers": 1},
        "providers": {"openai": {"base_url": provider.openai_url, "api_key": "sk-test-openai"},
                      "anthropic": {"base_url": provider.anthropic_url, "api_key": "sk-ant-test"},
                      "ollama": {"base_url": provider.ollama_url, "model": "llama3.2"}},
        "debates": {"retry_base": "50ms", "agent_timeout": "20s"}, **config})


def debate(s, task, agents=TEAM, **body):
    answer = s.post("/api/debates", {"task": task, "agents": agents, "rounds": 1, **body})
    assert answer.status_code in (200, 201, 202), answer.text
    ident = answer.json()["id"]

    def ended():
        doc = s.get("/api/debates/" + ident).json()
        return doc if doc["status"] in ENDED else None
    return wait_until(ended, 90, "end of the debate")


def events(s, ident, *types):
    found = s.get("/api/debates/%s/events" % ident, params={"limit": 1000}).json()["events"]
    return [e for e in found if e["type"] in types]


def test_matches(make_server, provider):  # noqa: F811
    s = node(make_server, provider)
    first = debate(s, "Is it secure to keep session tokens in a cookie?")
    assert first["status"] == "completed", first
    told = {t: [e["data"] for e in events(s, first["id"], t)] for t in ("match_recorded", "agent_elo_updated", "leaderboard_update")}
    match, = told["match_recorded"]
    assert match["domain"] == "security" and match["winner"] == first["winner"]
    names = set(match["participants"])
    assert len(names) == 3 and set(match["elo_changes"]) == names == {d["agent"] for d in told["agent_elo_updated"]}
    for d in told["agent_elo_updated"]:
        assert d["old_elo"] == 1500 and d["new_elo"] == 1500 + d["elo_change"] == match["elo_ratings"][d["agent"]]
        assert d["change"] == match["elo_changes"][d["agent"]] and d["debate_id"] == first["id"] and d["provisional"] is True
        assert (d["change"] > 0) is (d["agent"] == match["winner"]) is d["is_winner"]
    assert abs(sum(match["elo_changes"].values())) < 0.01
    board, = told["leaderboard_update"]
    assert board["leaderboard"] == board["rankings"] and [r["rank"] for r in board["rankings"]] == [1, 2, 3]
    assert board["rankings"][0]["agent"] == match["winner"] and board["rankings"][0]["wins"] == 1

    # The end stays the last that is told, and the log and the lists agree.
    everything = s.get("/api/debates/%s/events" % first["id"], params={"limit": 1000}).json()["events"]
    assert everything[-1]["type"] == "debate_end"
    by = {a["name"]: a for a in s.get("/api/leaderboard").json()["rankings"]}
    assert {n: a["elo"] for n, a in by.items()} == match["elo_ratings"]
    assert sum(a["wins"] for a in by.values()) == 1 and sum(a["losses"] for a in by.values()) == 2

    # A second one begins where the first has ended, and changes nothing of it.
    second = debate(s, "Which colour suits most fishes?")
    again = {e["data"]["agent"]: e["data"] for e in events(s, second["id"], "agent_elo_updated")}
    assert {n: d["old_elo"] for n, d in again.items()} == match["elo_ratings"]
    assert {d["domain"] for d in again.values()} == {"general"}

    # One row of history for each agent and match.
    assert s.sql("SELECT COUNT(*) FROM matches")[0][0] == 2
    assert s.sql("SELECT COUNT(*) FROM rating_changes")[0][0] == 6


def test_demo_is_never_rated(server):
    doc = debate(server, "Is it secure to keep session tokens in a cookie?", agents=None)
    assert doc["status"] == "completed" and doc["demo"] is True
    assert not events(server, doc["id"], "match_recorded", "agent_elo_updated", "leaderboard_update")
    for table in ("ratings", "domain_ratings", "rating_changes", "matches"):
        assert server.sql("SELECT COUNT(*) FROM " + table)[0][0] == 0


# ---- outcomes ----

def test_outcomes(make_server, provider):  # noqa: F811
    s = node(make_server, provider)
    doc = debate(s, "Is it secure to keep session tokens in a cookie?")
    url, winner = "/api/debates/%s/outcome" % doc["id"], doc["winner"]
    assert s.get(url).status_code == 404
    for body, field in (({}, "correct"), ({"correct": "yes"}, "correct"), ({"right_agents": "all"}, "right_agents"),
                        ({"right_agents": ["nobody"]}, "right_agents"), ({"correct": True, "verified": 1}, "verified"),
                        ({"correct": False, "right_agents": [winner]}, "right_agents"),
                        ({"correct": True, "source": "x" * 201}, "source")):
        r = s.post(url, body)
        assert r.status_code == 400 and field in r.text, (body, r.text)
    assert s.sql("SELECT COUNT(*) FROM predictions")[0][0] == 0, "votes alone are conformity, no predictions"
    elo = dict(s.sql("SELECT agent, elo_milli FROM ratings"))
    votes = {v["agent"]: v for v in doc["votes"]}

    # The answer was right and somebody proved it: the winner gets 8.
    first = s.post(url, {"correct": True, "verified": True, "source": "the audit", "note": "of May"})
    assert first.status_code == 201 and first.json()["predictions"] == 3 and first.json()["elo_change"] == 8, first.text
    found = {a: (c, sure) for a, c, sure in s.sql("SELECT agent, correct, confidence_ppm FROM predictions WHERE domain = 'security'")}
    assert {a: c for a, (c, _) in found.items()} == {a: int(v["choice"] == winner) for a, v in votes.items()}
    assert all(abs(sure / 1e6 - votes[a]["confidence"]) < 1e-6 for a, (_, sure) in found.items())
    assert dict(s.sql("SELECT agent, elo_milli FROM ratings")) == {**elo, winner: elo[winner] + 8000}
    assert s.get(url).json()["source"] == "the audit" and s.get(url).json()["elo_change"] == 8
    for agent, (correct, sure) in found.items():
        brier, samples = s.sql("SELECT brier_ppm, samples FROM calibrations WHERE agent = ? AND domain = ''", agent)[0]
        assert samples == 1 and abs(brier / 1e6 - (sure / 1e6 - correct) ** 2) < 2e-6

    # Later it turned out wrong, and nobody is counted twice. Of those who voted for others nothing is known.
    second = s.post(url, {"correct": False, "verified": True})
    assert second.status_code == 200 and second.json()["elo_change"] == -8, second.text
    wrong = {a for a, v in votes.items() if v["choice"] == winner}
    assert dict(s.sql("SELECT agent, correct FROM predictions")) == dict.fromkeys(wrong, 0)
    assert dict(s.sql("SELECT agent, elo_milli FROM ratings")) == {**elo, winner: elo[winner] - 8000}
    # Who was right is known: all votes count, and without proof no rating moves.
    other = next(a for a in votes if a != winner)
    third = s.post(url, {"right_agents": [other]}).json()
    assert third["correct"] is False and third["predictions"] == 3 and third["elo_change"] == 0
    assert dict(s.sql("SELECT agent, elo_milli FROM ratings")) == elo
    assert dict(s.sql("SELECT agent, correct FROM predictions")) == {a: int(v["choice"] == other) for a, v in votes.items()}
    assert 'aragora_debate_outcomes_total{result="wrong"} 2' in s.get("/metrics").text
    assert "aragora_matches_total 1" in s.get("/metrics").text


def test_no_outcome_of_demo(server):
    doc = debate(server, "Which colour suits most fishes?", agents=None)
    r = server.post("/api/debates/%s/outcome" % doc["id"], {"correct": True})
    assert r.status_code == 409 and "demo" in r.text
    assert server.post("/api/debates/nope/outcome", {"correct": True}).status_code == 404
