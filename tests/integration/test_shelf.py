# SPDX-License-Identifier: MIT
"""What people keep of debates and learn from many: archive, tags, notes, statistics, estimates, links for others."""
import json
import threading

import pytest
import requests

from conftest import Server, wait_until
from talk import create, debate, run, wait_end
from test_tenancy import AUTH, account, invite


@pytest.fixture(scope="module")
def s(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("shelf"), {"server": {"workers": 1}, "memory": {"enabled": False}})
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def made(s):
    return debate(s, "Should the team keep sessions in Redis or in Postgres?", rounds=1, agents=["demo", "demo", "demo"])


def put(s, path, body):
    return s.request("PUT", path, json=body)


def test_archive_and_restore(s):
    i = debate(s)["id"]
    base = "/api/debates/" + i
    assert s.post(base + "/archive", {}).json() == {"success": True, "debate_id": i, "id": i, "archived": True, "status": "archived"}
    assert s.get(base).json()["status"] == "archived"
    assert [d["id"] for d in s.get("/api/v1/debates/archived").json()["debates"]] == [i]
    assert i not in [d["id"] for d in s.get("/api/debates").json()["debates"]]
    assert s.post(base + "/restore", {}).json()["status"] == "completed"
    assert s.get("/api/debates/archived").json()["total"] == 0 and i in [d["id"] for d in s.get("/api/debates").json()["debates"]]
    assert s.post("/api/debates/nope/archive", {}).status_code == 404


def test_tags(s):
    base = "/api/debates/%s/tags" % debate(s)["id"]
    assert s.get(base).json()["tags"] == []
    assert s.post(base, {"tag": "storage"}).json()["tags"] == ["storage"]
    assert s.post(base, {"tags": ["q4", "storage", "team a"]}).json() == {
        "success": True, "debate_id": base.split("/")[3], "tags": ["storage", "q4", "team a"], "count": 3}
    assert s.delete(base, json={"tag": "team a"}).json()["tags"] == ["storage", "q4"]
    assert s.delete(base + "/storage").json()["tags"] == s.delete(base + "/unknown").json()["tags"] == ["q4"]
    assert put(s, base, {"tags": ["x"]}).json()["tags"] == ["x"] == s.get(base.rsplit("/", 1)[0]).json()["tags"]
    for bad in ({}, {"tags": "x"}, {"tags": [1]}, {"tags": ["y" * 101]}, {"tags": ["n%d" % n for n in range(20)]}):
        r = s.post(base, bad)
        assert r.status_code == 400 and r.json()["field"] == "tags", bad
    assert s.get(base).json()["tags"] == ["x"]
    # Two who add at the same time both have their way, or are told.
    done = []
    both = [threading.Thread(target=lambda n=n: done.append((n, s.post(base, {"tag": "at-%d" % n}).status_code))) for n in range(6)]
    for t in both:
        t.start()
    for t in both:
        t.join()
    kept = {"at-%d" % n for n, code in done if code == 200}
    assert kept and set(s.get(base).json()["tags"]) == kept | {"x"} and {code for _, code in done} <= {200, 409}


def test_notes(s, made):
    base = "/api/debates/%s/notes" % made["id"]
    assert s.get(base).json() == {"debate_id": made["id"], "notes": [], "count": 0, "total": 0, "limit": 50, "offset": 0,
                                  "has_more": False}
    r = s.post(base, {"content": "  Ask the operators.  "})
    note = r.json()
    assert r.status_code == 201 and note["content"] == "Ask the operators." and note["debate_id"] == made["id"]
    assert {"note_id", "author", "created_at", "updated_at"} <= set(note) and note["created_at"] == note["updated_at"]
    second = s.post(base, {"text": "And again."}).json()
    page = s.get(base, params={"limit": 1}).json()
    assert [n["note_id"] for n in page["notes"]] == [note["note_id"]] and page["total"] == 2 and page["has_more"]
    changed = put(s, base + "/" + note["note_id"], {"content": "Ask the owners."}).json()
    assert changed["content"] == "Ask the owners." and changed["created_at"] == note["created_at"]
    assert s.get(base + "/" + note["note_id"]).json()["updated_at"] == changed["updated_at"]
    assert s.delete(base + "/" + second["note_id"]).status_code == 200
    for missing in (second["note_id"], "nope"):
        assert s.get(base + "/" + missing).status_code == s.delete(base + "/" + missing).status_code == 404
    for bad in ({}, {"content": ""}, {"content": 7}, {"content": "x" * 10001}):
        assert s.post(base, bad).json()["field"] == "content"
    assert s.post("/api/debates/nope/notes", {"content": "x"}).status_code == 404

    def recorded():
        actions = [e["action"] for e in s.get("/api/audit/events", params={"limit": 100}).json()["events"]]
        return [actions.count("debate.note_" + what) for what in ("added", "changed", "removed")]
    wait_until(lambda: recorded() == [2, 1, 1], what="notes in the audit log")


def test_a_debate_takes_its_notes_along(s):
    i = debate(s)["id"]
    assert s.post("/api/debates/%s/notes" % i, {"content": "Gone soon."}).status_code == 201
    assert s.delete("/api/debates/" + i).status_code == 200
    assert s.sql("SELECT COUNT(*) FROM debate_notes WHERE debate_id = ?", i) == [(0,)]


def test_nobody_changes_the_words_of_others(make_server):
    s = make_server({"auth": AUTH, "server": {"workers": 1}})
    a = account(s, "ann@example.org", "Ann's")
    member = invite(a, "max@example.org")
    i = member.good("POST", "/api/debates", {"task": "Whose words are these?", "rounds": 1})["id"]
    path = "/api/debates/%s/notes/%s" % (i, member.good("POST", "/api/debates/%s/notes" % i, {"content": "Mine."})["note_id"])
    r = a.ask("PUT", path, {"content": "Ann's."})
    assert r.status_code == 403 and member.good("GET", path)["content"] == "Mine." and member.good("GET", path)["author"] == member.user
    assert a.ask("DELETE", path).status_code == 200, "who may delete debates may remove a note"
    assert member.ask("GET", path).status_code == 404
    b = account(s, "bob@example.com", "Bob's")
    assert b.ask("GET", "/api/debates/%s/notes" % i).status_code == 404


@pytest.mark.server({"providers": {"demo": {"delay_ms": 3000}}, "server": {"graceful_timeout": "50ms"}})
def test_evidence(server):
    i = create(server, rounds=2)
    r = server.post("/api/v1/debates/%s/evidence" % i, {"evidence": "The bill doubled in May.", "source": "accounting"})
    assert r.status_code == 201 and r.json()["success"] and r.json()["evidence_id"]
    entry = server.get("/api/debates/%s/intervention-log" % i).json()["entries"][0]
    assert entry["id"] == r.json()["evidence_id"] and entry["type"] == "inject_evidence" and entry["source"] == "accounting"
    assert server.post("/api/debates/%s/evidence" % i, {}).json()["field"] == "evidence"


# ---- figures ----

@pytest.fixture(scope="module")
def provider():
    from provider import ProviderServer
    with ProviderServer() as p:
        yield p


def test_statistics(make_server):
    s = make_server({"server": {"workers": 1}})
    empty = s.get("/api/debates/stats").json()
    assert empty["total_debates"] == empty["consensus_rate"] == empty["avg_agents_per_debate"] == 0 and empty["by_protocol"] == {}
    assert empty["period_start"] is None and s.get("/api/debates/stats/agents").json() == {"agents": [], "count": 0}
    many = [debate(s, rounds=1), debate(s, rounds=2, consensus="judge", agents=["demo", "demo"])]
    got = s.get("/api/v1/debates/stats").json()
    assert got["total_debates"] == got["completed_debates"] == 2 and got["failed_debates"] == 0
    assert got["consensus_reached"] == sum(d["consensus_reached"] for d in many)
    assert got["avg_rounds"] == sum(d["rounds_used"] for d in many) / 2
    assert got["avg_agents_per_debate"] == sum(len(d["agents"]) for d in many) / 2
    assert got["total_messages"] == sum(len(d["messages"]) for d in many)
    assert got["total_votes"] == sum(len(d["votes"]) for d in many)
    assert abs(got["avg_duration_seconds"] - sum(d["duration_seconds"] for d in many) / 2) < 0.01
    assert {k: v["debates"] for k, v in got["by_protocol"].items()} == {"majority": 1, "judge": 1}
    assert got["period_start"] == many[0]["created_at"]
    assert s.get("/api/debates/statistics", params={"period": "day"}).json()["total_debates"] == 2
    assert s.get("/api/debates/stats", params={"period": "year"}).json()["field"] == "period"
    agents = s.get("/api/debates/stats/agents", params={"limit": 100}).json()["agents"]
    assert {a["agent"]: a["debates"] for a in agents} == {n: 1 for d in many for n in d["agents"]}
    assert sum(a["calls"] for a in agents) == sum(p["calls"] for d in many for p in d["per_agent"].values())
    s.sql("UPDATE debates SET created_at = created_at - 2 * 86400000 WHERE id = ?", many[0]["id"])
    assert s.get("/api/debates/stats", params={"period": "day"}).json()["total_debates"] == 1


def test_estimate(make_server, provider, tmp_path):
    """Calls are those of the engine's course; prices are those of the operator's file, and what nobody knows is not free."""
    (tmp_path / "prices").write_text("gpt-4o 10 20\n")
    s = make_server({"server": {"workers": 1}, "agents": {"prices_file": str(tmp_path / "prices")},
                     "providers": {"openai": {"base_url": provider.openai_url, "api_key": "sk-t"}}})

    def ask(**query):
        r = s.get("/api/debates/estimate-cost", params=query)
        assert r.status_code == 200, r.text
        return r.json()
    got = ask(num_agents=3, num_rounds=2, model_types="gpt-4o")
    row, = got["breakdown_by_model"]
    assert row["model"] == "gpt-4o" and row["agents"] == 3 and (row["price_in_usd_per_million"], row["price_out_usd_per_million"]) == (10, 20)
    assert abs(row["tokens_in"] * 10e-6 + row["tokens_out"] * 20e-6 - got["total_estimated_cost_usd"]) < 1e-5
    d = debate(s, "What does it cost?", rounds=2, agents=["gpt-4o", "gpt-4o", "gpt-4o"], early_stopping=False)
    if d["rounds_used"] == 2:
        assert abs(sum(a["calls"] for a in d["per_agent"].values()) - got["total_estimated_calls"]) <= 1
    mixed = ask(num_agents=4, num_rounds=1, model_types="gpt-4o,model-of-tomorrow")
    assert [(r["model"], r["agents"]) for r in mixed["breakdown_by_model"]] == [("gpt-4o", 2), ("model-of-tomorrow", 2)]
    assert all(r["estimated_cost_usd"] > 0 for r in mixed["breakdown_by_model"])
    assert ask(num_rounds=3)["total_estimated_cost_usd"] > ask(num_rounds=1)["total_estimated_cost_usd"] > 0
    assert (ask()["num_agents"], ask(num_agents=99)["num_agents"], ask(num_rounds=0)["num_rounds"]) == (3, 8, 1)


# ---- links for others ----

def stranger(s, path, **kw):
    """Without an account, and without what the test's own session carries."""
    return requests.get(s.url + path, timeout=30, **kw)


def test_links(make_server):
    s = make_server({"auth": AUTH, "server": {"workers": 1}, "providers": {"demo": {"delay_ms": 0}}})
    a = account(s, "ann@example.org", "Ann's")
    i = a.good("POST", "/api/debates", {"task": "What may <strangers> see?", "rounds": 1, "context": "inner matters",
                                        "metadata": {"ticket": "inner matters"}})["id"]
    done = wait_until(lambda: (d := a.good("GET", "/api/debates/" + i))["completed_at"] and d, what="the end")
    probe = "/api/debates/%s/spectate/public" % i
    for query in ("", "?token=", "?token=" + "0" * 64):
        r = stranger(s, probe + query)
        assert r.status_code == 403 and r.json()["code"] == "not_shared", query
        assert stranger(s, "/api/debates/nope/spectate/public" + query).json()["error"] == r.json()["error"]
    assert stranger(s, "/api/debates/" + i).status_code == 401
    made = a.good("POST", "/api/debates/%s/share" % i, {"expires_in_hours": 2, "max_viewers": 3})
    assert made["public_spectate"] is True and made["full_url"] == s.url + made["share_url"] and made["max_viewers"] == 3
    assert s.sql("SELECT COUNT(*) FROM debate_shares WHERE token_hash = '%s'" % made["token"]) == [(0,)], "only its hash is kept"
    seen = stranger(s, made["share_url"])
    assert seen.headers["Cache-Control"] == "no-store" and seen.json()["final_answer"] == done["final_answer"]
    assert len(seen.json()["messages"]) == len(done["messages"]) and seen.json()["shared"] is True
    spectate = stranger(s, made["spectate_url"]).json()
    assert spectate == {"spectate_available": True, "public": True, "debate_id": i, "active_viewers": 0, "max_viewers": 3,
                        "sse_url": made["sse_url"], "expires_at": made["expires_at"]}
    preview = stranger(s, made["share_url"] + "/og")
    assert preview.headers["Content-Type"].startswith("text/html") and "What may &lt;strangers&gt; see?" in preview.text
    assert '<meta property="og:description"' in preview.text and "<strangers>" not in preview.text
    events = stranger(s, made["sse_url"], params={"limit": 500}).json()["events"]
    types = {e["type"] for e in events}
    assert {"debate_start", "agent_message", "vote", "debate_end"} <= types and not types & {"receipt_generated", "memory_recall", "error"}
    for text in (seen.text, preview.text, str(events)):
        assert "inner matters" not in text and a.user not in text and a.org not in text
        assert "cost_usd" not in text and "receipt_id" not in text
    log = wait_until(lambda: "/public/***/events?" in (t := s.access_path.read_text()) and t, what="its access line")
    assert made["token"] not in log + s.log(), "who reads logs does not hold the link"
    # A link is for one debate, and for reading it.
    assert stranger(s, "/api/debates/nope/spectate/public?token=" + made["token"]).status_code == 403
    assert requests.delete(s.url + made["share_url"], timeout=30).status_code == 405
    assert stranger(s, made["share_url"] + "/more").status_code == 404
    log = wait_until(lambda: "/public/***/more " in (t := s.access_path.read_text()) and t, what="the lines of what has no route")
    assert '"DELETE /api/debates/public/*** ' in log and made["token"] not in log + s.log()
    shares = a.good("GET", "/api/debates/%s/share" % i)
    assert shares["public_spectate"] and shares["shares"][0]["access_count"] == 1 and "token" not in shares["shares"][0]
    # Others may not make one, and ended is ended.
    b = account(s, "bob@example.com", "Bob's")
    assert b.ask("POST", "/api/debates/%s/share" % i, {}).status_code == 404
    viewer = invite(a, "vic@example.org", "viewer")
    assert viewer.ask("POST", "/api/debates/%s/share" % i, {}).status_code == 403
    for bad in ({"expires_in_hours": 0}, {"expires_in_hours": 721}, {"max_viewers": "many"}):
        assert a.ask("POST", "/api/debates/%s/share" % i, bad).json()["field"] == list(bad)[0]
    second = a.good("POST", "/api/debates/%s/share" % i, {})
    s.sql("UPDATE debate_shares SET expires_at = 1000000000000 WHERE max_viewers = 3")
    assert stranger(s, made["share_url"]).status_code == stranger(s, made["sse_url"]).status_code == 410
    assert stranger(s, made["spectate_url"]).status_code == 403 and stranger(s, second["share_url"]).status_code == 200
    assert a.good("POST", "/api/debates/%s/share/revoke" % i)["public_spectate"] is False
    assert stranger(s, second["share_url"]).status_code == 404 and stranger(s, second["spectate_url"]).status_code == 403
    assert a.good("GET", "/api/debates/%s/share" % i) == {"debate_id": i, "public_spectate": False, "shares": [], "count": 0}


@pytest.mark.server({"server": {"workers": 1}, "providers": {"demo": {"delay_ms": 150}}})
def test_spectators_follow_a_debate(server):
    """The stream begins with what was, goes on with what comes, and has room for as many as the link says."""
    i = create(server, rounds=1)
    made = server.post("/api/debates/%s/share" % i, {"max_viewers": 1}).json()
    with requests.get(server.url + made["sse_url"], headers={"Accept": "text/event-stream"}, stream=True, timeout=30) as r:
        assert r.status_code == 200
        full = stranger(server, made["sse_url"], headers={"Accept": "text/event-stream"}, stream=True)
        assert full.status_code == 429 and full.json()["code"] == "spectator_limit" and int(full.headers["Retry-After"]) > 0
        lines = list(r.iter_lines(decode_unicode=True))
    types = [line.split(": ")[1] for line in lines if line.startswith("event: ")]
    end = json.loads([line for line in lines if line.startswith("data: ")][-1][6:])
    assert end["type"] == "debate_end" and end["data"]["consensus_reached"] and not {"cost_usd", "receipt_id"} & set(end["data"])
    assert types[0] == "debate_start" and types[-1] == "debate_end" and "receipt_generated" not in types
    logged = [e["type"] for e in server.get("/api/debates/%s/events" % i, params={"limit": 500}).json()["events"]]
    assert [t for t in types if not t.startswith("token_")] == [t for t in logged if t in set(types)]


@pytest.mark.server({"server": {"workers": 1}, "debates": {"share_links": False}})
def test_links_can_be_switched_off(server):
    i = create(server)
    r = server.post("/api/debates/%s/share" % i, {})
    assert r.status_code == 403 and "debates.share_links" in r.json()["error"]
    wait_end(server, i)
