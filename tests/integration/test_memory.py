# SPDX-License-Identifier: MIT
"""What debates leave for later ones: decisions and dissent enter the next debate on the subject, cited, and nobody
else's."""
import re


from conftest import wait_until
from provider import ProviderServer, materials_of, provider  # noqa: F401  (a fixture)
from test_tenancy import AUTH, account

TEAM = ["gpt-4o", "claude-opus-4-6", "ollama|llama3.2"]
TASK = "Should we use Redis or Memcached for the session storage of our shop?"
AGAIN = "Redis or Memcached: which is better for session storage in a web shop?"
OTHER = "Which colour suits a bicycle shed?"
DISSENT = "Leave things as they are: memcached was never measured."


def settings(provider, **more):  # noqa: F811
    return {"server": {"workers": 2},
            "providers": {"openai": {"base_url": provider.openai_url, "api_key": "sk-test-openai"},
                          "anthropic": {"base_url": provider.anthropic_url, "api_key": "sk-ant-test"},
                          "ollama": {"base_url": provider.ollama_url, "model": "llama3.2"}},
            "debates": {"retry_base": "50ms", "agent_timeout": "20s"}, **more}


def ballots(provider, choices):  # noqa: F811
    """Scripts what models say: {model: (its position, the position that it votes for)}."""
    for model, (position, choice) in choices.items():
        for label in ("P1", "P2", "P3"):
            provider.script(model=model, phase="vote", contains="%s>>>\nPOSITION: %s" % (label, choice),
                            text="CHOICE: %s\nCONFIDENCE: 0.9\nCONTINUE: no\nREASONING: %s carries." % (label, choice))
        for phase in ("propose", "revise"):
            provider.script(model=model, phase=phase, text="POSITION: %s\n\nBecause of the figures.\nCONFIDENCE: 0.8" % position)


def divided(provider):  # noqa: F811
    """Two for Redis, one against."""
    redis = "Take Redis, sessions must survive a restart."
    ballots(provider, {"gpt-4o": (redis, redis), "claude-opus-4-6": ("Take Redis with a replica on a second machine.", redis),
                       "llama3.2": (DISSENT, DISSENT)})


def debate(who, task, **body):
    answer = who.post("/api/debates", {"task": task, "agents": TEAM, "rounds": 1, **body}) if hasattr(who, "post") else \
        who.ask("POST", "/api/debates", {"task": task, "agents": TEAM, "rounds": 1, **body})
    assert answer.status_code in (200, 201, 202), answer.text
    ident = answer.json()["id"]
    wait_until(lambda: who.get("/api/debates/" + ident).json().get("completed_at"), 90, "end of the debate")
    return who.get("/api/debates/" + ident).json()


def prompts(provider, task):  # noqa: F811
    """{phase: [prompt]} of the calls for this task."""
    out = {}
    for r in provider.requests():
        if dict(materials_of(r["prompt"])).get("task") == task:
            out.setdefault(r["phase"], []).append(r["prompt"])
    return out


def test_a_second_debate_knows_the_first(make_server, provider):  # noqa: F811
    s = make_server(settings(provider, auth=AUTH))
    ann, bob = account(s, "ann@a.example.org", "A"), account(s, "bob@b.example.org", "B")
    divided(provider)
    first = debate(ann, TASK)
    assert first["consensus"]["reached"] and first["background"] == [], (first["status"], first["votes"], first["agent_failures"], first["reason"])
    assert [d["agent"] for d in first["dissents"]] == ["ollama"], first["dissents"]
    assert "K1," not in str(prompts(provider, TASK))
    hits = ann.get("/api/memory/unified/search?q=redis+memcached+session&sources=consensus").json()
    assert [(r["source"], r["debate_id"]) for r in hits["results"]] == [("consensus", first["id"])], hits

    provider.reset()
    provider.script(model="gpt-4o", phase="propose", text="POSITION: Stay with Redis.\n\nAs [K1] found.\nCONFIDENCE: 0.9")
    second = debate(ann, AGAIN)
    told = prompts(provider, AGAIN)
    for phase in ("propose", "critique", "revise", "synthesis"):
        for prompt in told[phase]:
            pieces = {name.split(",")[0]: (name, text) for name, text in materials_of(prompt)}
            assert "from an earlier debate" in pieces["K1"][0] and first["final_answer"][:80] in pieces["K1"][1], prompt
            assert "a dissent" in pieces["K2"][0] and DISSENT in pieces["K2"][1], prompt
    assert "claude" not in told["propose"][0].split("K1,")[1].lower(), "participants have no names in prompts"
    by = {b["label"]: b for b in second["background"]}
    assert by["K1"]["id"] == first["id"] and by["K1"]["source"] == "consensus" and by["K1"]["title"] == TASK
    assert by["K1"]["cited_by"] == ["gpt-4o"], by
    assert by["K2"]["dissent"] and by["K2"]["cited_by"] == []
    recall = [e for e in ann.get("/api/debates/%s/events" % second["id"]).json()["events"] if e["type"] == "memory_recall"]
    assert recall and recall[0]["data"]["hits"][0]["topic"] == TASK

    # The same without a debate; the question may come under any of its names.
    asked = ann.good("POST", "/api/v1/memory/context", {"task": AGAIN})
    assert asked["memories"][0]["id"] == second["id"] and asked["count"] == len(asked["memories"]) >= 2
    assert asked["context"].startswith("[K1] " + AGAIN) and 0 < asked["memories"][0]["score"] <= 1
    assert ann.good("GET", "/api/memory/context?query=" + AGAIN.replace(" ", "%20"))["count"] == asked["count"]
    assert bob.good("POST", "/api/memory/context", {"query": AGAIN}) == {"query": AGAIN, "context": "", "count": 0, "memories": []}
    assert ann.ask("GET", "/api/memory/context").status_code == 400

    # Another subject, another tenant, and who does not want it: nothing of it.
    assert debate(ann, OTHER)["background"] == []
    assert "K1," not in str(prompts(provider, OTHER))
    theirs = debate(bob, TASK + " ")
    assert theirs["background"] == [] and "background" not in debate(ann, AGAIN + " Once more.", use_memory=False)
    metrics = s.get("/metrics").text
    assert re.search(r'aragora_km_cross_debate_reuse_total\{source_type="consensus"\} 2\b', metrics)

    # What is deleted is forgotten.
    assert ann.ask("DELETE", "/api/debates/" + first["id"]).status_code in (200, 204)
    assert first["id"] not in str(debate(ann, AGAIN + " Finally?")["background"])


def surprise(old, successes, failures, success, error):
    """rest-wide 6.2, in whole parts per million as the server counts them."""
    expected = successes * 1000000 // (successes + failures) if successes + failures else 500000
    new = (3 * abs(success * 1000000 - expected) + 3 * error) // 10
    return (7 * old + 3 * new) // 10


def test_outcomes_of_what_was_cited(make_server, provider):  # noqa: F811
    """A note that debates cite: three outcomes, and the surprise that the formulas give."""
    s = make_server(settings(provider))
    note = s.post("/api/memory/continuum", {"content": "Memcached loses every session when it restarts.", "tier": "slow",
                                             "importance": 0.9, "metadata": {"by": "ops"}})
    assert note.status_code == 201, note.text
    note = note.json()
    want, ok, bad = 0, 0, 0
    task = "Does memcached lose a session when it restarts, variant %d?"
    for i, reached in enumerate((True, True, False)):
        provider.reset()
        said = "As the note says."
        for phase in ("propose", "revise"):
            provider.script(model="gpt-4o", phase=phase, text="POSITION: %s\n\nSee %s.\nCONFIDENCE: 0.8" % (
                said, " ".join("[K%d]" % k for k in range(1, 9))))
        if not reached:  # everybody for himself
            own = {"gpt-4o": said, "claude-opus-4-6": "Sessions survive nowhere.", "llama3.2": "Ask the people of operations."}
            ballots(provider, {model: (text, text) for model, text in own.items()})
        doc = debate(s, task % i)
        mine = [b for b in doc["background"] if b["id"] == note["id"]]
        assert mine and mine[0]["cited_by"] and mine[0]["source"] == "continuum", doc["background"]
        assert doc["consensus"]["reached"] == reached, doc["votes"]
        error = 1000000 - round(doc["consensus"]["confidence"] * 1000000)
        want = surprise(want, ok, bad, reached, error)
        ok, bad = ok + reached, bad + (not reached)
        now = s.get("/api/memory/continuum/" + note["id"]).json()
        assert (now["update_count"], now["success_count"], now["failure_count"]) == (i + 1, ok, bad)
        assert abs(now["surprise_score"] * 1000000 - want) <= 1, (i, now, want)
    outcome = s.get("/api/memory/continuum/debate_outcome_" + doc["id"]).json()
    assert outcome["kind"] == "outcome" and outcome["debate_id"] == doc["id"]
    # Later debates cited the outcome of the first one too, through consensus memory.
    assert any(e["update_count"] > 0 for e in s.get("/api/memory/entries?limit=100").json()["entries"] if e["kind"] == "outcome")


def test_tiers(make_server):
    s = make_server({"server": {"workers": 2}, "memory": {"interval": "1d"}})
    assert s.get("/api/memory/tier-stats").json()["total_memories"] == 0
    assert s.get("/api/memory/continuum/retrieve?query=anything").json() == {
        "memories": [], "count": 0, "query": "anything", "tiers": ["fast", "medium", "slow", "glacial"]}
    entry = {"content": "an entry about whales", "importance": 0.5}
    r = s.post("/api/memory/import", {"entries": [
        {**entry, "id": "up", "tier": "medium", "surprise_score": 0.8},
        {**entry, "id": "up-glacial", "tier": "glacial", "surprise_score": 0.9},
        {**entry, "id": "down", "tier": "fast", "surprise_score": 0.1, "update_count": 12, "success_count": 12},
        {**entry, "id": "stays", "tier": "fast", "surprise_score": 0.1, "update_count": 3},
        {**entry, "id": "red", "tier": "fast", "importance": 0.0, "red_line": True, "red_line_reason": "never forget"}]})
    assert r.json() == {"success": True, "imported": 5}, r.text
    moved = s.post("/api/memory/continuum/consolidate").json()
    assert (moved["entries_processed"], moved["entries_promoted"], moved["entries_demoted"]) == (5, 2, 1), moved
    tier = {e["id"]: e["tier"] for e in s.get("/api/memory/entries?limit=100").json()["entries"]}
    assert tier == {"up": "fast", "up-glacial": "slow", "down": "medium", "stays": "fast", "red": "fast"}
    again = s.post("/api/memory/continuum/consolidate").json()
    assert (again["entries_promoted"], again["entries_demoted"]) == (0, 0), "what has moved rests for a day"
    s.sql("UPDATE continuum_memory SET moved_at = 0 WHERE id = 'up-glacial'")
    assert s.post("/api/memory/continuum/consolidate").json()["entries_promoted"] == 1
    assert s.get("/api/memory/tiers").json()["transitions_24h"] == 4

    # Beyond the limit the least important go; a red line stays whatever it weighs.
    for part in range(2):
        s.post("/api/memory/import", {"entries": [
            {"id": "n%d-%d" % (part, i), "content": "note %d" % i, "tier": "fast", "importance": 0.2 + 0.0005 * i}
            for i in range(500)]})
    pressure = s.get("/api/memory/pressure").json()
    assert pressure["status"] == "critical" and pressure["pressure"] == 1 and pressure["tier_utilization"]["fast"]["limit"] == 1000
    gone = s.post("/api/memory/continuum/cleanup").json()
    assert gone["tier_limits"]["by_tier"]["fast"]["archived"] == 3 and gone["expired"]["archived"] == 0, gone
    left = {r[0] for r in s.sql("SELECT id FROM continuum_memory WHERE tier = 0 AND archived_at = 0")}
    assert "red" in left and "stays" in left and not {"n0-0", "n1-0"} & left and len(left) == 1000
    assert s.get("/api/memory/archive-stats").json()["by_reason"] == {"tier_limit": 3}

    # What was not updated for two half-lives goes, except behind a red line.
    s.sql("UPDATE continuum_memory SET updated_at = updated_at - 7300000 WHERE id IN ('red', 'stays')")
    gone = s.post("/api/memory/continuum/cleanup?archive=false&tier=fast").json()
    assert gone["expired"]["by_tier"] == {"fast": {"archived": 0, "deleted": 1, "cutoff_hours": 2.0}}, gone
    assert s.get("/api/memory/continuum/stays").status_code == 404
    assert s.get("/api/memory/search?q=whales").json()["count"] == 4, "what is gone is not found"
    assert s.delete("/api/memory/continuum/red").status_code == 409
    assert s.delete("/api/memory/continuum/red?force=true").status_code == 200
    assert s.delete("/api/memory/continuum/red").status_code == 404
    assert s.post("/api/memory/continuum/cleanup?tier=warm").status_code == 400
    assert s.post("/api/memory/down/promote").json()["to_tier"] == "fast"
    assert s.post("/api/memory/down/promote").status_code == 409
    bad = s.post("/api/memory/continuum", {"content": "", "tier": "warm", "importance": 7, "metadata": 3, "red_line": "x"})
    assert bad.status_code == 400 and {e["field"] for e in bad.json()["errors"]} == {
        "content", "tier", "importance", "metadata", "red_line"}, bad.text
    line = s.get("/api/memory/search-timeline?q=whales").json()
    assert line["anchor_id"] in ("up", "up-glacial", "down") and line["anchor"]["content"] == entry["content"]
    critique = s.post("/api/memory/critiques", {"critique": "No figures", "agent": "claude", "target_agent": "gpt", "score": 0.7})
    assert critique.status_code == 201 and s.get("/api/memory/critiques?agent=claude").json()["total"] == 1
    assert s.get("/api/memory/critiques?agent=gpt").json()["critiques"] == []
    assert s.post("/api/memory/compact").status_code == 501
    assert s.post("/api/memory/prune", {"dry_run": True}).json()["success"]
    metrics = s.get("/metrics").text
    assert 'aragora_memory_transitions_total{direction="promotion"} 4' in metrics
    assert 'aragora_memory_removed_total{reason="tier_limit"} 3' in metrics


def test_switched_off(make_server, provider):  # noqa: F811
    s = make_server(settings(provider, memory={"enabled": False}))
    assert "background" not in debate(s, TASK)
    r = s.get("/api/memory/tier-stats")
    assert r.status_code == 503 and "memory" in r.text.lower()
    assert s.sql("SELECT COUNT(*) FROM consensus_memory")[0][0] == 0


def test_searches_by_likeness(make_server):
    """Meaning where there are embeddings, words where there are none or they do not answer; and the answer says which."""
    with ProviderServer() as p:
        s = make_server({"server": {"workers": 1}, "auth": AUTH, "knowledge": {"retry_interval": "300ms"},
                         "embeddings": {"url": p.openai_url, "model": "embed-1", "api_key": "k"}})
        ann, bob = account(s, "ann@a.example.org", "A"), account(s, "bob@b.example.org", "B")
        ids = {text: ann.ask("POST", "/api/memory/continuum", {"content": text}).json()["id"]
               for text in ("whales sing at night", "the harbour sleeps")}
        ann.ask("POST", "/api/knowledge/mound/nodes", {"content": "whales are mammals", "node_type": "fact"})
        wait_until(lambda: s.sql("SELECT COUNT(*) FROM continuum_vectors")[0][0] == 2, 30, "vectors")
        found = ann.ask("POST", "/api/memory/semantic-search", {"query": "whales sing at night"}).json()
        assert found["method"] == "embeddings" and found["embeddings_configured"]
        assert [(r["id"], r["similarity"]) for r in found["results"]] == [(ids["whales sing at night"], 1)]
        # Without the words: the index of words is emptied behind the server's back.
        s.sql("DELETE FROM search_documents WHERE kind = 'continuum'")
        found = ann.get("/api/memory/semantic-search?q=whales+sing&min_similarity=0.6").json()["results"]
        assert [r["match"] for r in found] == ["meaning"] and 0.6 < found[0]["similarity"] < 0.8, found
        assert ann.get("/api/memory/search-index?q=whales").json()["count"] == 0
        assert ann.get("/api/memory/search-index?q=whales+sing&use_hybrid=true").json()["count"] == 1
        assert ann.ask("POST", "/api/memory/rebuild-index", {}).json()["entries_indexed"] == 2
        assert ann.get("/api/memory/search-index?q=whales").json()["count"] == 1, "its words are found again"
        p.script(mode="500", wire="embeddings")
        found = ann.get("/api/memory/semantic-search?q=harbour+at+dawn").json()
        assert found["method"] == "words" and [r["match"] for r in found["results"]] == ["words"], found
        assert [r["id"] for r in found["results"]] == [ids["the harbour sleeps"]]

        every = ann.get("/api/memory/unified/search?q=whales").json()
        assert every["by_source"] == {"memory": 1, "consensus": 0, "knowledge": 1} and every["total"] == 2, every
        assert {r["source"] for r in every["results"]} == {"memory", "knowledge"}
        some = ann.ask("POST", "/api/memory/unified/search", {"query": "whales", "sources": ["knowledge"], "limit": 1}).json()
        assert some["by_source"] == {"knowledge": 1} and some["results"][0]["content"] == "whales are mammals"
        bad = ann.get("/api/memory/unified/search?q=whales&sources=knowledge,gossip")
        assert bad.status_code == 400 and bad.json()["field"] == "sources", bad.text
        assert ann.get("/api/memory/semantic-search").status_code == 400
        for path in ("semantic-search", "unified/search"):
            assert bob.get("/api/memory/%s?q=whales" % path).json()["results"] == [], "another organization's"
        # What is taken out takes its vector along; what the archive holds can be removed for good.
        ann.ask("DELETE", "/api/memory/continuum/" + ids["the harbour sleeps"])
        assert s.sql("SELECT COUNT(*) FROM continuum_vectors")[0][0] == 1
        s.sql("UPDATE continuum_memory SET updated_at = 1")
        assert ann.ask("POST", "/api/memory/continuum/cleanup", {}).json()["expired"]["archived"] == 1
        assert s.sql("SELECT COUNT(*) FROM continuum_vectors")[0][0] == 0
        assert ann.ask("POST", "/api/memory/vacuum?older_than_days=1", {}).json()["removed"] == 0
        assert ann.ask("POST", "/api/memory/vacuum", {}).json()["removed"] == 1
        assert s.sql("SELECT COUNT(*) FROM continuum_memory")[0][0] == 0


def test_words_serve_alone(make_server):
    s = make_server()
    s.post("/api/memory/continuum", {"content": "whales sing at night"})
    found = s.get("/api/memory/semantic-search?q=whales+at+dawn").json()
    assert found["method"] == "words" and not found["embeddings_configured"] and found["results"][0]["match"] == "words"
    assert s.get("/api/memory/unified/search?q=whales").json()["by_source"] == {"memory": 1, "consensus": 0, "knowledge": 0}
