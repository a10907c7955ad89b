# SPDX-License-Identifier: MIT
"""Ratings of agents from debates between agents of a local model server: what a match changes, what is told of it, and
what is never rated."""

import json

from conftest import wait_until
from provider import provider  # noqa: F401  (a fixture)
from test_tenancy import AUTH, account

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
    general = dict(s.sql("SELECT agent, elo_milli FROM domain_ratings WHERE domain = 'general'"))
    assert general == {n: round(d["new_elo"] * 1000) for n, d in again.items()}, "a new subject begins with the rating over all"

    # What is shown of it.
    name = match["winner"].replace("|", "%7C")
    history = s.get("/api/agent/%s/history" % name).json()["matches"]
    assert [m["debate_id"] for m in history] == [second["id"], first["id"]] and history[1]["result"] == "win"
    assert history[1]["elo_before"] == 1500 and history[0]["elo_before"] == history[1]["elo_after"]
    me = s.get("/api/agent/%s/introspect?debate_id=%s" % (name, first["id"])).json()
    assert me["debate_context"]["participates"] and me["debate_context"]["status"] == "completed"
    assert first["proposals"][match["winner"]].startswith(me["debate_context"]["proposal"][:400])
    assert me["debate_context"]["vote"] in names and me["performance"]["total_games"] == 2 and len(me["positions"]) == 2
    positions = s.get("/api/agent/%s/positions" % name).json()["positions"]
    assert [p["debate_id"] for p in positions] == [second["id"], first["id"]] and positions[0]["topic"] == second["task"]
    assert positions[1]["stance"] and positions[1]["text"]
    shown = s.get("/api/matches/recent").json()["matches"]
    assert [m["debate_id"] for m in shown] == [second["id"], first["id"]] and shown[1]["elo_changes"] == match["elo_changes"]
    assert shown[1]["scores"][match["winner"]] == 1

    listed = {a["name"]: a for a in s.get("/api/agents?include_stats=true").json()["agents"]}
    assert names & set(listed) and all(listed[n]["matches"] == 2 and listed[n]["elo"] == again[n]["new_elo"] for n in names & set(listed))
    assert all(a["matches"] == 0 and "reputation" not in a for n, a in listed.items() if n not in names)

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
                        ({"right_agents": [winner] * 20}, "right_agents"),
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
    again = s.post(url.replace("/outcome", "/verify"), {"correct": True, "verified": True, "source": "the audit", "note": "of May"})
    assert again.status_code == 200 and again.json()["status"] == "verified" and again.json()["correct"] is True, again.text
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
    # What is refuted takes nobody below 100.
    s.sql("UPDATE ratings SET elo_milli = 103000 WHERE agent = ?", winner)
    assert s.post(url, {"correct": False, "verified": True}).json()["elo_change"] == -3
    assert s.sql("SELECT elo_milli FROM ratings WHERE agent = ?", winner) == [(100000,)]
    assert 'aragora_debate_outcomes_total{result="wrong"} 3' in s.get("/metrics").text
    assert "aragora_matches_total 1" in s.get("/metrics").text


def test_no_outcome_of_demo(server):
    doc = debate(server, "Which colour suits most fishes?", agents=None)
    r = server.post("/api/debates/%s/outcome" % doc["id"], {"correct": True})
    assert r.status_code == 409 and "demo" in r.text
    assert server.post("/api/debates/nope/outcome", {"correct": True}).status_code == 404


# ---- what is shown ----

EMPTY = {"": 404, "/profile": 200, "/performance": 200, "/history": 200, "/elo": 200, "/reputation": 200, "/consistency": 200,
         "/domains": 200, "/flips": 200, "/positions": 200, "/network": 200, "/relationships": 200, "/rivals": 200, "/allies": 200,
         "/relationships/other": 200, "/head-to-head/other": 200, "/calibration": 200, "/calibration-summary": 200,
         "/calibration-curve": 200, "/moments": 200, "/opponent-briefing/other": 200}


def test_nothing_is_invented(server):
    """Of an agent without a match: the starting rating, zeros and empty lists, under both spellings."""
    for suffix, status in EMPTY.items():
        if suffix:
            one, many = (server.get("/api/%s/newcomer%s" % (p, suffix)) for p in ("agent", "agents"))
            assert one.status_code == many.status_code == status, one.text
            assert one.json() == many.json(), suffix
    agent = "/api/agent/newcomer"
    p = server.get(agent + "/profile").json()
    assert p["elo"] == p["rating"] == 1500 and p["rank"] is None and p["matches"] == 0 and p["win_rate"] == 0
    assert p["calibration"] is None and p["streak_type"] == "none" and p["reputation"] == 0.5 and p["provisional"] is True
    assert server.get(agent + "/history").json()["history"] == []
    c = server.get(agent + "/calibration").json()
    assert c["brier_score"] is None and c["trust_tier"] == "unrated" and c["prediction_count"] == 0
    n = server.get(agent + "/network").json()
    assert n["allies"] == n["rivals"] == n["neutrals"] == []
    assert server.get("/api/calibration/leaderboard").json()["agents"] == []
    assert server.get("/api/calibration/visualization").json()["agents"] == []
    assert server.get("/api/flips/recent").json()["summary"]["total_flips"] == 0
    assert server.get(agent + "/moments").json() == {"agent": "newcomer", "moments": [], "count": 0, "total": 0}
    brief = server.get(agent + "/opponent-briefing/other").json()
    assert brief["briefing"] is brief["opponent_profile"] is brief["recommended_strategy"] is None and brief["message"]
    assert brief["key_insights"] == [] and brief["confidence"] == 0 and "have not met" in brief["historical_summary"]
    me = server.get(agent + "/introspect").json()
    assert me["agent_id"] == "newcomer" and me["performance"]["elo"] == 1500 and me["performance"]["total_games"] == 0
    assert me["calibration"] == {"prediction_count": 0, "accuracy": None, "brier_score": None, "confidence_level": "unknown"}
    assert me["positions"] == [] and me["debate_context"] is me["fatigue_indicators"] is None
    assert me["identity"] == {"name": "newcomer"} and server.get("/api/agents/claude/introspect").json()["identity"]["provider"]
    assert server.get(agent + "/introspect?debate_id=nope").status_code == 404
    board = server.get("/api/leaderboard-view").json()
    assert board["errors"] == {"partial_failure": False, "failed_sections": [], "messages": {}}
    assert all(board["data"][k] == [] for k in ("rankings", "matches", "reputation", "teams"))
    assert board["data"]["introspection"] == {"agents": {}, "count": 0} and board["data"]["stats"]["total_debates"] == 0
    s = server.get("/api/ranking/stats").json()
    assert s["total_ranked_agents"] == 0 and s["most_improved"] is None and s["average_elo"] == 0
    assert server.get("/api/agent/compare?agents=a,b").json()["head_to_head"]["matches"] == 0
    for path, field in (("/api/agent/compare", "agents"), ("/api/agent/compare?agents=a&agents=a", "agents"),
                        ("/api/agent/compare?agents=a,b%2Fc", "agents"), ("/api/agent/a%2Fb/profile", None),
                        ("/api/agent/x%20y/profile", "name"), ("/api/agent/a/head-to-head/x%20y", "opponent"),
                        ("/api/calibration/leaderboard?metric=luck", "metric")):
        r = server.get(path)
        assert r.status_code in (400, 404) and (field is None or r.json()["field"] == field), (path, r.text)


def insert(s, table, columns, rows):
    """All rows by one statement."""
    one = "(%s)" % ", ".join("?" * len(columns.split()))
    s.sql("INSERT INTO %s (%s) VALUES %s" % (table, ", ".join(columns.split()), ", ".join([one] * len(rows))),
          *[v for row in rows for v in row])


def fill(s):
    """Matches as they would have been left: alpha and bravo hold one position five times, charlie another."""
    now, home = 1_900_000_000_000, ("default", "default")
    agents = (("alpha", 1560, 1, 1, 4), ("bravo", 1540, 0, 1, 4), ("charlie", 1400, 1, 5, 0))
    insert(s, "ratings", "workspace_id org_id agent elo_milli wins losses draws updated_at debates accepted critiques valuable votes"
           " conforming flips", [(*home, a, elo * 1000, w, lost, d, now, 6, 3, 10, 4, 6, 3, 3) for a, elo, w, lost, d in agents])
    insert(s, "domain_ratings", "workspace_id org_id agent domain elo_milli wins losses draws updated_at",
           [(*home, a, "api", 3_000_000 - elo * 1000, w, lost, 0, now) for a, elo, w, lost, _ in agents])
    rows = []
    for i in range(6):
        last = i == 5  # here charlie wins, and bravo is not there
        for agent in ("alpha", "charlie") if last else ("alpha", "bravo", "charlie"):
            prevailed = (agent == "charlie") == last
            outcome = "loss" if not prevailed else "win" if last else "draw"
            rows.append(("d%d" % i, *home, agent, "match", "api", outcome, int(agent == "charlie"), 1000 if prevailed else 500,
                         12000 if agent == "alpha" else -7000, now + i))
    insert(s, "rating_changes", "debate_id org_id workspace_id agent kind domain outcome side score_milli change_milli created_at", rows)
    insert(s, "predictions", "debate_id org_id workspace_id agent domain confidence_ppm correct created_at",
           [("p%d" % i, *home, "alpha", "api" if i % 2 else "general", 900000, int(i < 12), now) for i in range(24)])
    insert(s, "calibrations", "workspace_id org_id agent domain samples correct brier_ppm ece_ppm bias_ppm temperature_milli updated_at",
           [(*home, "alpha", "", 24, 12, 410000, 450000, 400000, 2000, now), (*home, "bravo", "", 60, 50, 420000, 20000, 0, 1000, now)])


def test_views(server):
    fill(server)
    board = server.get("/api/rankings?sort_by=elo&order=desc&limit=2").json()
    assert [a["name"] for a in board["rankings"]] == ["alpha", "bravo"] and board["total"] == 3 and board["has_more"] is True
    assert [a["name"] for a in server.get("/api/rankings?order=asc&offset=1").json()["agents"]] == ["bravo", "alpha"]
    assert [a["name"] for a in server.get("/api/rankings?sort_by=wins").json()["agents"]] == ["alpha", "charlie", "bravo"]
    api = server.get("/api/leaderboard?domain=api").json()
    assert [(a["name"], a["elo"]) for a in api["rankings"]] == [("charlie", 1600), ("bravo", 1460), ("alpha", 1440)]
    assert server.get("/api/leaderboard?domain=nothing").json()["rankings"] == []
    one = server.get("/api/agent/alpha/performance").json()
    assert one["rank"] == 1 and one["total_games"] == 6 and one["recent_results"][0] == "loss" and one["streak"] == 1
    assert one["consistency"] == 0.5 and one["consistency_class"] == "low" and one["critique_acceptance_rate"] == 0.4
    assert abs(one["reputation"] - (0.6 * 0.5 + 0.4 * 0.4)) < 1e-9 and one["calibration"]["prediction_count"] == 24
    drawn = server.get("/api/agent/bravo/performance").json()
    assert drawn["recent_results"] == ["draw"] * 5 and drawn["streak"] == 0 and drawn["streak_type"] == "none"
    h = server.get("/api/agent/alpha/history?limit=2").json()["matches"]
    assert [(m["elo_before"], m["elo_after"]) for m in h] == [(1548, 1560), (1536, 1548)]
    assert server.get("/api/agent/alpha/domains").json()["domains"][0]["relative"] == -120
    duel = server.get("/api/agents/charlie/head-to-head/alpha").json()
    assert (duel["matches"], duel["wins"], duel["losses"], duel["draws"]) == (6, 1, 5, 0) and duel["agent2_wins"] == 5
    assert duel["domain_breakdown"] == {"api": {"win": 1, "loss": 5, "draw": 0}} and len(duel["recent_matchups"]) == 6
    assert abs(duel["avg_margin"] - (-0.5 * 5 + 0.5) / 6) < 1e-9
    net = server.get("/api/agent/alpha/network").json()
    assert [a["agent"] for a in net["allies"]] == ["bravo"] and [a["agent"] for a in net["rivals"]] == ["charlie"]
    assert net["allies"][0]["agreement_rate"] == 1 and net["rivals"][0]["wins_against"] == 5
    assert set(server.get("/api/agent/alpha/rivals").json()) == {"agent", "rivals"}
    assert server.get("/api/agent/alpha/relationships/charlie").json()["relationship"] == "rival"
    both = server.get("/api/agent/compare?agent1=alpha&agent2=bravo").json()
    assert [a["name"] for a in both["agents"]] == ["alpha", "bravo"] and both["head_to_head"]["draws"] == 5
    cal = server.get("/api/agent/alpha/calibration").json()
    assert abs(cal["brier_score"] - 0.41) < 1e-6 and abs(cal["ece"] - 0.45) < 1e-6 and cal["is_overconfident"] is True
    assert cal["trust_tier"] == "poor" and cal["temperature"] == 2 and cal["accuracy"] == 0.5
    assert server.get("/api/agent/alpha/calibration?domain=api").json()["prediction_count"] == 12
    curve = server.get("/api/agent/alpha/calibration-curve?buckets=5").json()
    assert curve["count"] == 5 and curve["buckets"][4]["total_predictions"] == 24 and curve["buckets"][0]["accuracy"] is None
    order = {m: [a["agent"] for a in server.get("/api/calibration/leaderboard?metric=" + m).json()["agents"]]
             for m in ("brier", "ece", "accuracy", "composite")}
    assert order == {"brier": ["alpha", "bravo"], "ece": ["bravo", "alpha"], "accuracy": ["bravo", "alpha"],
                     "composite": ["bravo", "alpha"]}
    assert len(server.get("/api/calibration/visualization").json()["agents"][0]["buckets"]) == 10
    stats = server.get("/api/ranking/stats").json()
    assert stats["elo_range"] == {"min": 1400, "max": 1560} and stats["average_elo"] == 1500
    assert stats["most_improved"] == {"agent": "alpha", "elo_change": 72}
    rep = server.get("/api/agent/alpha/reputation").json()
    assert rep["conformity"] == {"votes": 6, "with_winner": 3, "rate": 0.5} and rep["proposals_accepted"] == 3


def test_moments(server):
    fill(server)
    home, now = ("default", "default"), 1_900_000_100_000
    insert(server, "rating_changes", "debate_id org_id workspace_id agent kind domain outcome side score_milli change_milli created_at",
           [("w%d" % i, *home, "alpha", "match", "api", "win", 0, 1000, 24000 if i == 1 else 5000, now + i) for i in range(3)] +
           [("w1", *home, "alpha", "verification", "api", "verified", -1, 0, 8000, now + 9)])
    insert(server, "predictions", "debate_id agent org_id workspace_id domain confidence_ppm correct created_at",
           [("d5", "alpha", *home, "api", 620000, 1, now)])
    doc = server.get("/api/agent/alpha/moments?limit=100").json()
    by = {}
    for m in doc["moments"]:
        by.setdefault(m["moment_type"], []).append(m)
        assert m["type"] == m["moment_type"] and m["id"] == m["moment_id"] and m["agent_name"] == "alpha" and m["timestamp"]
        assert 0 <= m["significance_score"] == m["impact_score"] <= 1
    # 12 of its 24 votes at 0.9 were wrong; in d5 it was right and lost.
    assert {k: len(v) for k, v in by.items()} == {"upset_victory": 1, "streak_achievement": 1, "answer_verified": 1,
                                                  "confident_error": 12, "calibration_vindication": 1}
    assert by["upset_victory"][0]["debate_id"] == "w1" and by["upset_victory"][0]["significance_score"] == 0.6
    assert by["streak_achievement"][0]["debate_id"] == "w2" and "3 rated debates" in by["streak_achievement"][0]["description"]
    assert by["calibration_vindication"][0]["debate_id"] == "d5" and by["calibration_vindication"][0]["context"] == {
        "round": None, "domain": "api"}
    scores = [m["significance_score"] for m in doc["moments"]]
    assert scores == sorted(scores, reverse=True) and doc["total"] == doc["count"] == 16
    assert [m["id"] for m in server.get("/api/agents/alpha/moments?limit=2").json()["moments"]] == [m["id"] for m in doc["moments"][:2]]


def test_briefing_and_the_board_at_a_glance(server):
    fill(server)
    insert(server, "domain_ratings", "workspace_id org_id agent domain elo_milli wins losses draws updated_at",
           [("default", "default", "alpha", "security", 1650000, 9, 0, 0, 0)])
    insert(server, "matches", "debate_id org_id workspace_id winner participants changes domain created_at",
           [("d%d" % i, "default", "default", "alpha", "[]", "{}", "api", i) for i in range(6)])
    b = server.get("/api/agent/charlie/opponent-briefing/alpha").json()
    assert b["opponent_profile"] == {"elo": 1560, "strengths": ["security"], "weaknesses": ["api"],
                                     "preferred_domains": ["security", "api"]}
    assert b["historical_summary"] == "In 6 rated debates of both charlie did better in 1, alpha in 5."
    assert b["briefing"].startswith(b["historical_summary"]) and all(i in b["briefing"] for i in b["key_insights"])
    assert "api" in b["recommended_strategy"] and b["confidence"] == 0.6 and b["head_to_head"]["losses"] == 5
    insert(server, "rating_changes", "debate_id org_id workspace_id agent kind domain outcome side score_milli change_milli created_at",
           [("d%d" % i, "default", "default", "delta", "match", "api", "loss", int(i > 0), 0, 0, i) for i in range(4)])
    # With charlie it never agreed, with delta once in four debates.
    assert [r["agent"] for r in server.get("/api/agent/alpha/rivals").json()["rivals"]] == ["charlie", "delta"]
    told = " ".join(b["key_insights"])
    assert "120 points below" in told and "off by 45 %" in told and "50 % of its debates" in told and "4 of its 10" in told
    assert "have not met" not in told and server.get("/api/agent/a/opponent-briefing/x%20y").json()["field"] == "opponent"
    data = server.get("/api/leaderboard-view?limit=2").json()["data"]
    assert data["rankings"] == server.get("/api/leaderboard?limit=2").json()["rankings"] and len(data["rankings"]) == 2
    assert data["stats"] == server.get("/api/ranking/stats").json()
    assert [r["agent"] for r in data["reputation"]] == ["alpha", "bravo"] == list(data["introspection"]["agents"])
    assert data["introspection"]["agents"]["alpha"]["confidence_level"] == "low"
    assert data["teams"] == [{"agents": ["alpha", "bravo"], "debates": 5, "prevailed": 5, "win_rate": 1.0},
                             {"agents": ["charlie", "delta"], "debates": 3, "prevailed": 0, "win_rate": 0.0}]
    assert [m["debate_id"] for m in data["matches"]] == ["d5", "d4"]


# ---- files ----

def test_snapshots(server):
    fill(server)
    run = "/api/admin/schedulers/ratings-snapshot/run"
    first = wait_until(lambda: r if (r := server.post(run)).status_code == 200 else None, 20, "the scheduler")
    assert first.json()["success"] is True and first.json()["enabled"] is True
    ratings = json.loads((server.data_dir / "elo_ratings.json").read_text())
    alpha = ratings["ratings"]["default"]["alpha"]
    assert alpha["elo"] == 1560 and alpha["matches"] == 6 and alpha["domains"] == {"api": 1440}
    assert set(ratings["ratings"]["default"]) == {"alpha", "bravo", "charlie"} and ratings["updated_at"]
    assert ratings["ratings"]["default"]["charlie"]["domains"] == {"api": 1600}, "the last of a page too"
    board = json.loads((server.data_dir / "elo_snapshot.json").read_text())
    assert [r["agent_name"] for r in board["leaderboard"]] == ["alpha", "bravo", "charlie"] and board["recent_matches"] == []
    assert board["leaderboard"][0]["games_played"] == 6 and abs(board["leaderboard"][0]["win_rate"] - 1 / 6) < 1e-9
    assert (server.data_dir / "elo_ratings.json").stat().st_mode & 0o777 == 0o600
    # More agents than a page, and in two workspaces; nothing half-written stays behind.
    insert(server, "ratings", "workspace_id org_id agent elo_milli wins losses draws updated_at",
           [("default" if i < 300 else "other", "default", "agent%03d" % i, 1500000, 1, 0, 0, 0) for i in range(520)])
    assert server.post(run).status_code == 200
    ratings = json.loads((server.data_dir / "elo_ratings.json").read_text())["ratings"]
    assert {w: len(a) for w, a in ratings.items()} == {"default": 303, "other": 220}
    assert not list(server.data_dir.glob(".elo*"))


def test_snapshots_off(make_server):
    s = make_server({"agents": {"ratings_snapshot": False, "ratings_snapshot_interval": "1s"}})
    r = s.post("/api/admin/schedulers/ratings-snapshot/run")
    assert r.status_code == 503 and "agents.ratings_snapshot" in r.text
    assert not (s.data_dir / "elo_ratings.json").exists()


def test_what_an_agent_said_is_for_who_may_read_debates(make_server):
    s = make_server({"auth": AUTH, "server": {"workers": 1}})
    a = account(s, "ann@example.org", "Ann's")
    i = a.good("POST", "/api/debates", {"task": "Who hears what agents say?", "rounds": 1})["id"]
    path = "/api/agent/claude/introspect"
    assert a.get(path + "?debate_id=" + i).json()["debate_context"]["debate_id"] == i
    key = {"Authorization": "ApiKey " + a.good("POST", "/api/keys", {"scopes": ["agents.read"]})["key"]}
    assert s.get(path, headers=key).status_code == 200
    r = s.get(path + "?debate_id=" + i, headers=key)
    assert r.status_code == 403 and "hears" not in r.text
