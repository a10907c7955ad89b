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
