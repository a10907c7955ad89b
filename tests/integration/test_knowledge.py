# SPDX-License-Identifier: MIT
"""The Knowledge Mound through the API: nodes, search, relations, upkeep, sharing, export and import, facts, adapters."""
import signal
from xml.etree import ElementTree

import pytest

from conftest import Server, wait_until
from provider import ProviderServer
from test_memory import AGAIN, DISSENT, TASK, debate, divided, prompts, settings
from test_tenancy import AUTH, Caller, account, invite

M = "/api/knowledge/mound"


@pytest.fixture(scope="module")
def mound(tmp_path_factory):
    """A server for all tests that do not count everything there is."""
    s = Server(tmp_path_factory.mktemp("knowledge")).start()
    yield s
    s.close()


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    """Two organizations; the first has a second workspace and a third one."""
    s = Server(tmp_path_factory.mktemp("rooms"), {"auth": AUTH}).start()
    a, b = account(s, "ann@a.example.org", "A"), account(s, "bob@b.example.org", "B")
    second, third = (a.good("POST", "/api/workspaces", {"name": name})["id"] for name in ("second", "third"))
    yield s, a, b, {"X-Workspace-ID": second}, {"X-Workspace-ID": third}
    s.close()


class Room:
    """A workspace of its own on the server of `rooms`, for a test that counts everything there is."""

    def __init__(self, s, caller):
        self.s, self.caller, self.org, self.sql = s, caller, caller.org, s.sql
        self.workspace = caller.good("POST", "/api/workspaces", {"name": "room"})["id"]

    def request(self, method, path, json=None, **kw):
        return self.caller.ask(method, path, json, headers={"X-Workspace-ID": self.workspace}, **kw)

    def get(self, path):
        return self.request("GET", path)

    def post(self, path, body=None):
        return self.request("POST", path, json=body)

    def delete(self, path):
        return self.request("DELETE", path)


@pytest.fixture
def room(rooms):
    return Room(rooms[0], rooms[1])


def good(r, status=(200, 201, 202)):
    assert r.status_code in status, (r.status_code, r.text)
    return r.json()


def node(s, content, **kw):
    return good(s.post(M + "/nodes", {"content": content, **kw}))


def put(s, path, body):
    return s.request("PUT", path, json=body)


def metric(s, line):
    """The sum of the series of that name and labels in /metrics."""
    found = 0.0
    for text in s.get("/metrics").text.splitlines():
        if text.startswith(line + " "):
            found += float(text.rsplit(" ", 1)[1])
    return found


# ---- nodes ----

def test_node_round_trip(mound):
    n = node(mound, "Redis keeps all of its data in memory.", node_type="fact", confidence=0.8, tier="medium",
             topics=["technology", "caches"], metadata={"page": 7}, source={"type": "document", "document_id": "doc-1"})
    assert n["id"].startswith("kn_") and len(n["id"]) == 19 and not n["deduplicated"]
    again = good(mound.get(M + "/nodes/" + n["id"]))
    assert again["content"] == "Redis keeps all of its data in memory." and again["confidence"] == 0.8
    assert again["tier"] == "medium" and again["topics"] == ["technology", "caches"] and again["metadata"] == {"page": 7}
    assert again["provenance"]["source_type"] == "document" and again["provenance"]["document_id"] == "doc-1"
    assert again["validation_status"] == "unverified" and again["update_count"] == 0
    assert again["supports"] == [] and again["created_at"].endswith("Z")
    assert good(mound.get("/api/v1/knowledge/mound/nodes/" + n["id"]))["id"] == n["id"]


def test_same_content_is_the_same_node(mound):
    first = node(mound, "Postgres writes ahead.", confidence=0.4)
    second = node(mound, "Postgres writes ahead.", confidence=0.9)
    third = node(mound, "Postgres writes ahead.", confidence=0.1)
    assert first["id"] == second["id"] == third["id"] and second["deduplicated"]
    assert third["update_count"] == 2 and third["confidence"] == 0.9, "the greater confidence stays"


@pytest.mark.parametrize("body, field", [
    ({}, "content"), ({"content": ""}, "content"), ({"content": 5}, "content"), ({"content": "x" * 40000}, "content"),
    ({"content": "a", "node_type": "rumour"}, "node_type"), ({"content": "a", "confidence": 1.5}, "confidence"),
    ({"content": "a", "tier": "icy"}, "tier"), ({"content": "a", "topics": "caches"}, "topics"),
    ({"content": "a", "metadata": []}, "metadata"), ({"content": "a", "source": {"type": "dream"}}, "type")])
def test_bad_nodes_name_their_fields(mound, body, field):
    r = mound.post(M + "/nodes", body)
    assert r.status_code == 400 and r.json()["field"] == field and r.json()["code"] in ("INVALID_VALUE", "MISSING_FIELD")


def test_all_bad_fields_at_once(mound):
    r = mound.post(M + "/nodes", {"confidence": 2, "tier": "icy"}).json()
    assert {e["field"] for e in r["errors"]} == {"content", "confidence", "tier"}


def test_query_finds_by_words(mound):
    a = node(mound, "Bees orient themselves by polarized sunlight.", confidence=0.9)
    b = node(mound, "Bees dance to tell of flowers.", confidence=0.3, node_type="claim")
    node(mound, "Whales sing across oceans.")
    found = good(mound.post(M + "/query", {"query": "How do bees find flowers?", "limit": 5}))
    ids = [n["id"] for n in found["nodes"]]
    assert ids[0] == b["id"] and a["id"] in ids and found["total_count"] == len(ids)
    assert 0 < found["nodes"][1]["score"] < found["nodes"][0]["score"] <= 1
    assert "ocean" not in str(found)
    only = good(mound.post(M + "/query", {"query": "bees", "min_confidence": 0.5}))
    assert [n["id"] for n in only["nodes"]] == [a["id"]]
    only = good(mound.post(M + "/query", {"query": "bees", "node_types": ["claim"]}))
    assert [n["id"] for n in only["nodes"]] == [b["id"]]
    assert good(mound.post(M + "/query", {"query": "the of \" OR ) * NEAR"}))["nodes"] == []
    assert mound.post(M + "/query", {}).status_code == 400


def test_forms_of_words_are_found(mound):
    n = node(mound, "Migrating databases needs rehearsals.")
    for query in ("database migration", "rehearsal", "MIGRATING"):
        assert n["id"] in [x["id"] for x in good(mound.post(M + "/query", {"query": query}))["nodes"]], query


def test_list_filters_and_pages(mound):
    made = [node(mound, "Comet number %d" % i, node_type="entity", tier="glacial", topics=["comets"])["id"] for i in range(5)]
    first = good(mound.get(M + "/nodes?node_type=entity&limit=2"))
    assert first["count"] == 2 and first["total"] >= 5 and first["limit"] == 2
    found = good(mound.get(M + "/nodes?topic=comets&tier=glacial&limit=3&offset=3"))
    assert found["count"] == 2 and found["total"] == 5
    every = good(mound.get(M + "/nodes?node_types=entity,culture&topic=comets"))
    assert {n["id"] for n in every["nodes"]} == set(made)
    assert good(mound.get(M + "/nodes?node_types=culture&topic=comets"))["nodes"] == []


def test_unknown_ids_and_other_workspaces(mound):
    for method, path in (("GET", "/nodes/kn_0000000000000000"), ("DELETE", "/nodes/kn_0000000000000000"),
                         ("GET", "/graph/kn_0000000000000000"), ("GET", "/nodes/kn_0000000000000000/relationships")):
        r = mound.request(method, M + path)
        assert r.status_code == 404 and r.json()["code"] == "NOT_FOUND", path
    assert mound.post(M + "/nodes", {"content": "x", "workspace_id": "elsewhere"}).status_code == 404
    assert mound.get(M + "/nodes?workspace_id=elsewhere").status_code == 404
    good(mound.get(M + "/nodes?workspace_id=default"))


def test_deleted_is_gone_and_can_be_written_again(mound):
    n = node(mound, "Ephemeral wisdom about mayflies.")
    good(mound.delete(M + "/nodes/" + n["id"]))
    assert mound.get(M + "/nodes/" + n["id"]).status_code == 404
    assert good(mound.post(M + "/query", {"query": "mayflies"}))["nodes"] == []
    assert node(mound, "Ephemeral wisdom about mayflies.")["id"] == n["id"]
    assert len(good(mound.post(M + "/query", {"query": "mayflies"}))["nodes"]) == 1


def test_visibility(mound):
    n = node(mound, "Where the keys lie.")
    path = M + "/nodes/%s/visibility" % n["id"]
    assert good(mound.get(path)) == {"item_id": n["id"], "visibility": "workspace", "is_discoverable": True}
    assert good(put(mound, path, {"visibility": "organization", "is_discoverable": False}))["is_discoverable"] is False
    assert good(mound.get(path))["visibility"] == "organization"
    for body in ({"visibility": "everybody"}, {}):
        assert put(mound, path, body).status_code == 400


# ---- relations ----

def test_relations_and_graph(mound):
    a, b, c = (node(mound, "Stone of the arch %s" % x)["id"] for x in "abc")
    r = good(mound.post(M + "/relationships", {"from_node_id": a, "to_node_id": b, "relationship_type": "supports", "strength": 0.5}))
    assert r["id"].startswith("kr_") and r["strength"] == 0.5
    # The spelling of the SDK.
    good(mound.post(M + "/relationships", {"source_id": b, "target_id": c, "relation_type": "derived_from"}))
    assert good(mound.get(M + "/nodes/" + a))["supports"] == [b]
    both = good(mound.get(M + "/nodes/%s/relationships" % b))
    assert both["count"] == 2 and {x["relationship_type"] for x in both["relationships"]} == {"supports", "derived_from"}
    assert good(mound.get(M + "/nodes/%s/relationships?direction=outgoing" % b))["count"] == 1
    assert good(mound.get(M + "/nodes/%s/relationships?relationship_type=refines" % b))["count"] == 0
    assert good(mound.get(M + "/graph/%s?depth=1" % a))["count"] == 2
    graph = good(mound.get(M + "/graph/%s?depth=2" % a))
    assert graph["count"] == 3 and len(graph["edges"]) == 2
    lineage = good(mound.get(M + "/graph/%s/lineage" % b))["lineage"]
    assert {n["id"] for n in lineage["nodes"]} == {b, c} and lineage["total_edges"] == 1
    assert {n["id"] for n in good(mound.get(M + "/graph/%s/related" % b))["related"]} == {a, c}
    d3 = good(mound.get(M + "/export/d3?start_node_id=" + a))
    assert len(d3["nodes"]) == 3 and {(x["source"], x["target"]) for x in d3["links"]} == {(a, b), (b, c)}


def test_bad_relations(mound):
    a, b = (node(mound, "Loose stone %s" % x)["id"] for x in "ab")
    ends = {"from_node_id": a, "to_node_id": b}
    assert mound.post(M + "/relationships", {**ends, "relationship_type": "likes"}).status_code == 400
    assert mound.post(M + "/relationships", ends).json()["field"] == "relationship_type"
    assert mound.post(M + "/relationships", {**ends, "to_node_id": "kn_0", "relationship_type": "supports"}).status_code == 404
    assert mound.post(M + "/relationships", {**ends, "to_node_id": a, "relationship_type": "supports"}).status_code == 400


def test_stats_and_metrics(mound):
    before = good(mound.get(M + "/stats"))
    node(mound, "One more for the figures.", node_type="evidence", tier="fast")
    after = good(mound.get(M + "/stats"))
    assert after["total_nodes"] == before["total_nodes"] + 1
    assert after["nodes_by_type"]["evidence"] == before["nodes_by_type"].get("evidence", 0) + 1
    assert after["nodes_by_tier"]["fast"] >= 1 and 0 < after["average_confidence"] <= 1
    assert metric(mound, 'aragora_km_operations_total{operation="add",status="success"}') >= 1
    assert metric(mound, 'aragora_km_operation_latency_seconds_count{operation="add"}') >= 1


# ---- debates ----

# A row of continuum memory that matters.
MEMORY_ROW = ("INSERT INTO continuum_memory (id, org_id, workspace_id, tier, kind, content, importance_ppm, surprise_ppm, updates,"
              " successes, failures, red_line, red_line_reason, agent, debate_id, metadata, created_at, updated_at, moved_at)"
              " VALUES (?, ?, ?, 2, 'note', 'Ask the harbour master first.', 800000, 0, 0, 0, 0, 0, '', 'ada', '',"
              " '{}', 1000, 1000, 1000)")


@pytest.fixture(scope="module")
def debating(tmp_path_factory):
    """A server whose debates are held by models; what they say is not the built-in demo's."""
    with ProviderServer() as p:
        s = Server(tmp_path_factory.mktemp("debating"), settings(p, knowledge={"retry_interval": "300ms"})).start()
        yield s, p
        s.close()


def nodes_of(s, adapter):
    return good(s.get(M + "/nodes?adapter=%s&limit=200" % adapter))["nodes"]


def test_a_debate_leaves_knowledge_and_is_given_some(debating):
    s, p = debating
    fact = node(s, "The archive of zeppelins holds nine thousand drawings.", confidence=0.9)
    d = debate(s, "Should the archive of zeppelins be digitized?")
    found = wait_until(lambda: [n for n in nodes_of(s, "consensus") if n["provenance"]["debate_id"] == d["id"]], 20, "knowledge")
    decision = [n for n in found if n["node_type"] == "consensus"]
    assert len(decision) == 1 and decision[0]["content"].startswith("Should the archive of zeppelins be digitized?")
    assert decision[0]["provenance"]["source_type"] == "debate" and decision[0]["validation_status"] == "majority_agreed"
    assert decision[0]["confidence"] in (0.95, 0.85, 0.7, 0.4)
    for dissent in (n for n in found if n["node_type"] == "claim"):
        assert dissent["contradicts"] == [decision[0]["id"]]
    patterns = nodes_of(s, "critique")
    assert patterns and all(n["metadata"]["outcomes"] >= 1 for n in patterns)
    # The fact was in the prompts, under a label.
    assert any("nine thousand drawings" in str(r) for r in p.requests())
    assert [(b["source"], b["id"]) for b in d["background"]] == [("knowledge", fact["id"])]
    assert metric(s, 'aragora_km_cross_debate_reuse_total{source_type="knowledge"}') >= 1
    assert metric(s, 'aragora_km_adapter_syncs_total{adapter="consensus",direction="forward",status="success"}') >= 1
    assert metric(s, 'aragora_km_forward_sync_latency_seconds_count{adapter="consensus"}') >= 1
    assert metric(s, 'aragora_km_reverse_query_latency_seconds_count{adapter="mound"}') >= 1
    back = good(s.get("/api/knowledge/adapters/consensus/query?q=digitized+archive"))
    assert decision[0]["id"] in [n["id"] for n in back["items"]]


def test_what_a_debate_learned_helps_the_next_one(make_server):
    """Decision, dissent, a node and an insight of others enter the next debate and are cited; nobody else learns of them."""
    with ProviderServer() as p:
        s = make_server(settings(p, auth=AUTH))
        ann, bob = account(s, "ann@a.example.org", "A"), account(s, "bob@b.example.org", "B")
        other = Caller(s, ann.email, ann.token, ann.org, ann.user)
        other.http.headers["X-Workspace-ID"] = ann.good("POST", "/api/workspaces", {"name": "other"})["id"]
        divided(p)
        first = debate(ann, TASK)
        assert first["consensus"]["reached"] and first["dissents"] and first["background"] == []
        fact = ann.good("POST", M + "/nodes", {"content": "The session storage of our web shop lost forty sessions in May.",
                                               "confidence": 0.8})
        other.good("POST", "/api/knowledge/insights", {
            "insight_id": "in-1", "target_workspaces": [ann.org], "task_type": "debate", "confidence": 0.9,
            "content": "Redis or memcached as session storage: measure the shop first."})
        learned = wait_until(lambda: ann.get(M + "/nodes?adapter=consensus").json()["nodes"], 30, "knowledge of the first debate")
        decision = next(n for n in learned if n["node_type"] == "consensus")
        against = [n for n in learned if n["node_type"] == "claim"]
        assert [(n["validation_status"], n["contradicts"]) for n in against] == [("contested", [decision["id"]])]
        assert DISSENT in against[0]["content"] and TASK in against[0]["content"]

        p.reset()
        labels = " ".join("[K%d]" % k for k in range(1, 9))
        p.script(model="gpt-4o", phase="propose", text="POSITION: Stay with Redis.\n\nSee %s.\nCONFIDENCE: 0.9" % labels)
        second = debate(ann, AGAIN)
        given = {b["id"]: b for b in second["background"]}
        assert given[first["id"]]["source"] == "consensus" and given[fact["id"]]["source"] == "knowledge"
        assert given["in-1"]["source"] == "knowledge" and [b for b in second["background"] if b["dissent"]]
        for b in second["background"]:
            assert b["cited_by"] == ["gpt-4o"], b
        told = prompts(p, AGAIN)
        for phase in ("propose", "revise"):
            for prompt in told[phase]:
                for text in (first["final_answer"][:60], DISSENT, "lost forty sessions in May", "measure the shop first"):
                    assert text in prompt, (phase, text)
        # What was cited has proved of use.
        wait_until(lambda: ann.get(M + "/nodes/" + fact["id"]).json()["confidence"] == pytest.approx(0.85), 30, "its confidence")

        for i, stranger in enumerate((bob, other)):
            task = AGAIN + " Asks stranger %d." % i
            assert debate(stranger, task)["background"] == []
            seen = str(prompts(p, task))
            assert "forty sessions" not in seen and DISSENT not in seen and "measure the shop" not in seen and "K1," not in seen
            assert stranger.get(M + "/nodes/" + fact["id"]).status_code == 404
            found = stranger.ask("POST", M + "/query", {"query": "session storage of our web shop in May"}).json()["nodes"]
            assert not [n for n in found if "forty" in n["content"] or n["provenance"]["debate_id"] in (first["id"], second["id"])]


def test_a_deleted_debate_takes_its_knowledge_along(debating):
    s, p = debating
    d = debate(s, "Should the windmill of Sloten grind again?")
    found = wait_until(lambda: [n for n in nodes_of(s, "consensus") if n["provenance"]["debate_id"] == d["id"]], 20, "knowledge")
    assert s.delete("/api/debates/" + d["id"]).status_code in (200, 204)
    for n in found:
        assert s.get(M + "/nodes/" + n["id"]).status_code == 404
    assert good(s.post(M + "/query", {"query": "windmill Sloten"}))["nodes"] == []


def test_points_of_critique_are_counted(debating):
    s, p = debating
    debate(s, "Which harbour first?")
    before = {n["id"]: n["metadata"]["outcomes"] for n in wait_until(lambda: nodes_of(s, "critique"), 20, "patterns")}
    debate(s, "Which harbour last?")
    wait_until(lambda: any(n["metadata"]["outcomes"] > before.get(n["id"], 0) for n in nodes_of(s, "critique") if n["id"] in before),
               20, "a pattern seen again")


def test_dead_letter_after_three_tries(debating):
    s, p = debating
    s.sql("INSERT INTO knowledge_outbox (debate_id, org_id, workspace_id, next_at, created_at) VALUES"
          " ('gone', 'default', 'default', 0, 1)")
    dead = wait_until(lambda: good(s.get(M + "/dead-letters"))["dead_letters"], 30, "a dead letter")
    assert dead[0]["debate_id"] == "gone" and dead[0]["tries"] == 3 and "gone" in dead[0]["error"]
    assert metric(s, "aragora_km_dead_letters_total") == 1
    good(s.post(M + "/dead-letters/gone/retry"))
    assert s.sql("SELECT state FROM knowledge_outbox WHERE debate_id = 'gone'")[0][0] == "pending"
    s.sql("UPDATE knowledge_outbox SET tries = 2 WHERE debate_id = 'gone' AND tries = 0")
    assert s.post(M + "/dead-letters/never/retry").status_code == 404
    wait_until(lambda: metric(s, "aragora_km_dead_letters_total") == 2, 30, "dead again")


def test_knowledge_is_written_later_if_nobody_was_there(debating):
    s, p = debating
    d = debate(s, "Who paints the lighthouse?")
    wait_until(lambda: [n for n in nodes_of(s, "consensus") if n["provenance"]["debate_id"] == d["id"]], 20, "knowledge")
    # As if the process had died between the end of the debate and the writing.
    s.sql("DELETE FROM knowledge_nodes WHERE adapter = 'consensus'")
    s.sql("INSERT INTO knowledge_outbox (debate_id, org_id, workspace_id, next_at, created_at) VALUES (?, 'default', 'default', 0, 1)",
          d["id"])
    wait_until(lambda: [n for n in nodes_of(s, "consensus") if n["provenance"]["debate_id"] == d["id"]], 30, "knowledge by the job")
    assert s.sql("SELECT COUNT(*) FROM knowledge_outbox WHERE debate_id = ?", d["id"])[0][0] == 0


# ---- adapters ----

ADAPTERS = {"continuum", "consensus", "critique", "evidence", "belief", "insights", "elo", "pulse", "cost", "ranking", "culture",
            "control_plane"}


def test_the_twelve_adapters(mound):
    found = good(mound.get("/api/knowledge/adapters"))
    assert {a["name"] for a in found["adapters"]} == ADAPTERS and found["total"] == 12
    by_name = {a["name"]: a for a in found["adapters"]}
    assert [a["priority"] for a in found["adapters"]] == sorted((a["priority"] for a in found["adapters"]), reverse=True)
    for name in ("belief", "pulse", "control_plane", "cost"):
        assert by_name[name]["status"] == "not configured" and not by_name[name]["configured"]
        r = mound.post(M + "/sync/" + name)
        assert r.status_code == 503 and name in r.text
        assert mound.get("/api/knowledge/adapters/%s/query?q=x" % name).status_code == 503
    assert metric(mound, 'aragora_km_adapter_syncs_total{adapter="belief",direction="forward",status="not_configured"}') >= 1
    assert mound.post(M + "/sync/rumours").status_code == 400
    assert mound.get("/api/knowledge/adapters/rumours/query?q=x").status_code == 404
    assert mound.get("/api/knowledge/adapters/elo/query").status_code == 400


def test_syncs_of_figures_replace_them(room):
    s = room
    assert good(s.post(M + "/sync/elo"))["nodes_synced"] == 0, "an empty server has nothing to know"
    s.sql("INSERT INTO ratings (workspace_id, agent, org_id, elo_milli, wins, losses, draws, updated_at)"
          " VALUES (?, 'ada', ?, 1612500, 8, 2, 0, 1000)", s.workspace, s.org)
    s.sql("INSERT INTO domain_ratings (workspace_id, agent, domain, org_id, elo_milli, wins, losses, draws, updated_at)"
          " VALUES (?, 'ada', 'security', ?, 1580000, 4, 0, 0, 1000)", s.workspace, s.org)
    all_of_them = good(s.post(M + "/sync", {"workspace_id": s.workspace}))
    assert all_of_them["nodes_synced"] == 2 and all_of_them["errors"] == []
    first = nodes_of(s, "elo")
    assert len(first) == 1 and "1612.5" in first[0]["content"] and "10 debates" in first[0]["content"]
    assert good(s.post(M + "/sync/elo"))["nodes_synced"] == 0, "nothing is new"
    s.sql("UPDATE ratings SET elo_milli = 1630000, updated_at = 2000 WHERE agent = 'ada' AND workspace_id = ?", s.workspace)
    assert good(s.post(M + "/sync/elo"))["nodes_synced"] == 1
    second = nodes_of(s, "elo")
    assert len(second) == 1 and "1630.0" in second[0]["content"]
    assert good(s.get("/api/knowledge/adapters/ranking/query?q=security+ada"))["count"] == 1
    by_name = {a["name"]: a for a in good(s.get("/api/knowledge/adapters"))["adapters"]}
    assert by_name["elo"]["status"] == "active" and by_name["elo"]["nodes_synced"] == 1


# ---- health, export and import ----

def test_health_is_the_runbooks(mound):
    r = mound.get("/api/health/knowledge-mound")
    assert r.status_code == 200
    h = r.json()
    assert h["status"] == "healthy" and h["summary"] == {"total_components": 11, "healthy": 11, "active": 8}
    assert len(h["components"]) == 11 and all(c["healthy"] for c in h["components"].values())
    assert h["components"]["control_plane_adapter"]["status"] == "not_configured"


def test_health_without_the_mound(make_server):
    s = make_server({"knowledge": {"enabled": False}})
    h = good(s.get("/api/health/knowledge-mound"))
    assert h["status"] == "not_configured" and h["summary"] == {"total_components": 11, "healthy": 11, "active": 0}


def test_export_and_import(make_server):
    s = make_server()
    empty = good(s.post("/api/knowledge/export"))
    assert empty["counts"] == {"nodes": 0, "relationships": 0, "facts": 0} and empty["version"] == "1.0"
    ids = [node(s, "Thing %d to be kept, with ünïcode and \"quotes\"" % i, node_type=t, tier="glacial", confidence=0.25,
                topics=["law"], metadata={"n": i}, source={"type": "document", "document_id": "d%d" % i})["id"]
           for i, t in enumerate(["fact", "claim", "evidence", "fact"])]
    node(s, "Thing 0 to be kept, with ünïcode and \"quotes\"")
    for a, b, kind in ((0, 1, "supports"), (2, 3, "contradicts")):
        good(s.post(M + "/relationships", {"from_node_id": ids[a], "to_node_id": ids[b], "relationship_type": kind,
                                           "metadata": {"by": "test"}}))
    r = s.post("/api/knowledge/export", {"workspace_id": "default"})
    assert r.headers["Content-Disposition"].startswith("attachment")
    saved = good(r)
    assert saved["counts"] == {"nodes": 2, "relationships": 2, "facts": 2}
    assert good(s.get("/api/knowledge/export"))["counts"] == saved["counts"]
    again = good(s.post("/api/knowledge/import", saved))
    assert again["success"] and again["skipped"] == 4 and again["imported"]["nodes"] == again["imported"]["facts"] == 0
    # Into a server that has nothing.
    t = make_server()
    done = good(t.post("/api/knowledge/import", saved))
    assert done["imported"] == {"nodes": 2, "relationships": 2, "facts": 2} and done["skipped"] == 0
    back = good(t.get("/api/knowledge/export"))

    def plain(doc):
        return {k: sorted(({x: y for x, y in n.items() if x not in ("updated_at", "created_by")} for n in doc[k]),
                          key=lambda n: n["id"]) for k in ("nodes", "facts", "relationships")}
    assert plain(back) == plain(saved) and back["counts"] == saved["counts"]
    assert [n["id"] for n in good(t.post(M + "/query", {"query": "ünïcode thing", "node_types": ["claim"]}))["nodes"]] == [ids[1]]
    # Wiped and brought back.
    for i in ids:
        good(t.delete(M + "/nodes/" + i))
    assert good(t.get("/api/knowledge/export"))["counts"]["nodes"] == 0
    good(t.post("/api/knowledge/import", saved))
    assert good(t.get("/api/knowledge/export"))["counts"] == saved["counts"]
    assert good(t.post("/api/knowledge/import", saved))["skipped"] == 4


@pytest.mark.parametrize("change, field", [
    ({"version": "9"}, "version"), ({"nodes": {}}, "nodes"), ({"nodes": [{"content": ""}]}, "nodes[0].content"),
    ({"nodes": [{"content": "a", "node_type": "rumour"}]}, "nodes[0].node_type"),
    ({"facts": [{"statement": "a", "confidence": 7}]}, "facts[0].confidence"),
    ({"facts": [{"statement": "a", "surprise_score": 1e300}]}, "facts[0].surprise_score"),
    ({"facts": [{"statement": "a", "update_count": 2 ** 63 - 1}]}, "facts[0].update_count"),
    ({"facts": [{"statement": "a", "metadata": "mine"}]}, "facts[0].metadata"),
    ({"relationships": [{"from_node_id": "kn_1", "to_node_id": "kn_2", "relationship_type": "supports"}]},
     "relationships[0].from_node_id")])
def test_import_is_all_or_nothing(mound, change, field):
    before = good(mound.get("/api/knowledge/export"))["counts"]
    doc = {"version": "1.0", "nodes": [], "facts": [{"statement": "Only if all is right: %s" % field}], "relationships": [], **change}
    r = mound.post("/api/knowledge/import", doc)
    assert r.status_code == 400 and field in {e["field"] for e in r.json()["errors"]}
    assert good(mound.get("/api/knowledge/export"))["counts"] == before
    assert mound.post("/api/knowledge/import", [1]).status_code == 400


def test_a_large_import(room):
    """More members than an ordinary body may have."""
    s = room
    n = 4500
    doc = {"version": "1.0", "relationships": [],
           "nodes": [{"id": "kn_%016d" % i, "node_type": "claim", "content": "Large import number %d" % i, "confidence": 0.5, "tier": "slow",
                      "topics": ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"], "metadata": {"i": i}} for i in range(n)]}
    assert good(s.request("POST", "/api/knowledge/import", json=doc, timeout=120))["imported"]["nodes"] == n
    assert good(s.request("GET", "/api/knowledge/export", timeout=120))["counts"]["nodes"] == n


# ---- facts ----

@pytest.mark.parametrize("base", ["/api/knowledge/facts", "/api/v1/facts"])
def test_facts(mound, base):
    f = good(mound.post(base, {"statement": "Basalt floats on nothing, says %s." % base, "confidence": 0.6, "topics": ["geology"],
                               "evidence_ids": ["ev_1"], "source_documents": ["doc_1"], "metadata": {"a": 1}}))
    assert f["statement"].startswith("Basalt") and f["evidence_ids"] == ["ev_1"] and f["source_documents"] == ["doc_1"]
    assert f["metadata"] == {"a": 1} and f["validation_status"] == "unverified" and f["superseded_by"] is None
    changed = good(put(mound, base + "/" + f["id"], {"confidence": 0.7, "validation_status": "contested", "evidence_ids": ["ev_2"]}))
    assert changed["confidence"] == 0.7 and changed["validation_status"] == "contested" and changed["evidence_ids"] == ["ev_2"]
    assert changed["metadata"] == {"a": 1} and changed["topics"] == ["geology"]
    assert f["id"] in [x["id"] for x in good(mound.get(base + "?topic=geology&status=contested"))["facts"]]
    other = good(mound.post(base, {"statement": "Granite does not float either, says %s." % base}))
    relation = good(mound.post(base + "/%s/relations" % f["id"], {"target_fact_id": other["id"], "relation_type": "supports"}))
    assert relation["relation_type"] == "supports" and relation["confidence"] == 0.5
    good(mound.post(base + "/relations", {"source_id": other["id"], "target_id": f["id"], "relation_type": "implies"}))
    assert good(mound.get(base + "/%s/relations" % f["id"]))["count"] == 2
    assert mound.post(base + "/%s/relations" % f["id"], {"target_fact_id": other["id"], "relation_type": "inspires"}).status_code == 400
    v = good(mound.post(base + "/%s/verify" % f["id"]))
    assert v["verified"] is None and v["status"] == "queued"
    assert good(put(mound, base + "/" + f["id"], {"superseded_by": other["id"]}))["superseded_by"] == other["id"]
    assert f["id"] not in [x["id"] for x in good(mound.get(base + "?topic=geology"))["facts"]]
    assert f["id"] in [x["id"] for x in good(mound.get(base + "?topic=geology&include_superseded=true"))["facts"]]
    assert good(mound.get(base + "/stats"))["total_facts"] >= 2
    assert good(mound.delete(base + "/" + f["id"])) == {"deleted": True, "fact_id": f["id"]}
    assert mound.get(base + "/" + f["id"]).status_code == 404
    assert mound.post(base, {"confidence": 0.5}).json()["field"] == "statement"
    assert put(mound, base + "/" + other["id"], {"validation_status": "sure"}).status_code == 400


def test_facts_are_no_other_nodes(mound):
    claim = node(mound, "This is only a claim.", node_type="claim")
    assert mound.get("/api/knowledge/facts/" + claim["id"]).status_code == 404


def test_questions_are_answered_by_what_is_known(mound):
    f = good(mound.post("/api/facts", {"statement": "The lighthouse of Hook burns paraffin.", "confidence": 0.8, "evidence_ids": ["ev_9"]}))
    for body in ({"question": "What burns the lighthouse?"}, {"prompt": "lighthouse paraffin", "options": {"max_chunks": 1}}):
        a = good(mound.post("/api/knowledge/query", body))
        assert a["answer"] == f["statement"] and a["evidence_ids"] == ["ev_9"] and 0 < a["confidence"] <= 0.8
    nothing = good(mound.post("/api/knowledge/query", {"question": "Xylophagous zygotes?"}))
    assert nothing["answer"] == "" and nothing["facts"] == [] and nothing["confidence"] == 0
    found = good(mound.get("/api/knowledge/search?q=lighthouse&limit=3"))
    assert f["id"] in [n["id"] for n in found["results"]] and found["count"] == len(found["results"])
    assert mound.get("/api/knowledge/search").status_code == 400


def test_contradictions_of_a_fact(mound):
    a = good(mound.post("/api/facts", {"statement": "The garden gate is open at night."}))
    b = good(mound.post("/api/facts", {"statement": "The garden gate is not open at night."}))
    c = good(mound.post("/api/facts", {"statement": "The garden gate is green."}))
    found = [x["id"] for x in good(mound.get("/api/facts/%s/contradictions" % a["id"]))["contradictions"]]
    assert b["id"] in found and c["id"] not in found


# ---- others ----

def test_workspaces_and_organizations_are_apart(rooms):
    s, a, b, second, third = rooms
    n = a.good("POST", M + "/nodes", {"content": "Where the herons nest."})
    for who, headers in ((a, second), (b, {})):
        assert who.get(M + "/nodes/" + n["id"], headers=headers).status_code == 404
        assert who.ask("DELETE", M + "/nodes/" + n["id"], headers=headers).status_code == 404
        assert who.ask("POST", M + "/query", {"query": "herons"}, headers=headers).json()["nodes"] == []
        assert who.get(M + "/nodes", headers=headers).json()["total"] == 0
        assert who.get("/api/knowledge/export", headers=headers).json()["counts"]["facts"] == 0
        assert who.ask("POST", M + "/share", {"item_id": n["id"], "target_type": "workspace", "target_id": b.org},
                       headers=headers).status_code in (400, 404)


def test_sharing_a_node(rooms):
    s, a, b, second, third = rooms
    n = a.good("POST", M + "/nodes", {"content": "How to read the tide tables."})
    path, room = M + "/nodes/" + n["id"], second["X-Workspace-ID"]
    share = {"item_id": n["id"], "target_type": "workspace", "target_id": room}
    for wrong, status in ((dict(share, target_id=a.org), 400), (dict(share, target_id=b.org), 404), (dict(share, target_type="moon"), 400),
                          (dict(share, expires_at="2001-01-01"), 400), (dict(share, item_id="kn_0"), 404)):
        assert a.ask("POST", M + "/share", wrong).status_code == status, wrong
    grant = a.good("POST", M + "/share", dict(share, permission="read", message="have a look"))["share"]
    assert grant["id"].startswith("grant_") and grant["permissions"] == ["read"] and grant["grantee_id"] == room
    assert a.get(path, headers=second).json()["content"] == "How to read the tide tables."
    assert a.get(path, headers=third).status_code == 404 and b.get(path).status_code == 404
    assert [x["id"] for x in a.get(M + "/shared-with-me", headers=second).json()["items"]] == [n["id"]]
    assert a.get(M + "/shared-with-me", headers=third).json()["items"] == [] == b.get(M + "/shared-with-me").json()["items"]
    assert n["id"] in [g["item_id"] for g in a.get(M + "/my-shares").json()["grants"]]
    assert [g["grantee_id"] for g in a.get(path + "/access").json()["grants"]] == [room]
    assert a.ask("DELETE", path, headers=second).status_code == 404, "to see is not to change"
    # An end that has passed.
    a.good("PATCH", M + "/share", {"item_id": n["id"], "grantee_id": room, "permissions": ["read"], "expires_at": "2999-01-01"})
    s.sql("UPDATE knowledge_grants SET expires_at = 1 WHERE item_id = ?", n["id"])
    assert a.get(path, headers=second).status_code == 404
    assert a.get(M + "/shared-with-me", headers=second).json()["items"] == []
    a.good("POST", path + "/access", {"grantee_type": "workspace", "grantee_id": room})
    assert a.get(path, headers=second).status_code == 200
    a.good("DELETE", M + "/share", {"item_id": n["id"], "grantee_id": room})
    assert a.get(path, headers=second).status_code == 404
    assert a.ask("DELETE", M + "/share", {"item_id": n["id"], "grantee_id": room}).status_code == 404


def test_visibility_reaches_the_organization_and_no_further(rooms):
    s, a, b, second, third = rooms
    n = a.good("POST", M + "/nodes", {"content": "The holidays of the whole house."})
    assert a.get(M + "/nodes/" + n["id"], headers=third).status_code == 404
    a.good("POST", M + "/global/promote", {"node_id": n["id"]})
    assert a.get(M + "/nodes/" + n["id"], headers=third).status_code == 200
    assert n["id"] in [x["id"] for x in a.get(M + "/global", headers=third).json()["items"]]
    a.ask("PUT", M + "/nodes/%s/visibility" % n["id"], {"visibility": "public"})
    assert b.get(M + "/nodes/" + n["id"]).status_code == 404 and b.get(M + "/global").json()["items"] == []


def test_private_nodes_are_their_writers(rooms):
    s, a, b, second, third = rooms
    fellow = invite(a, "eve@a.example.org")
    n = a.good("POST", M + "/nodes", {"content": "Where the spare key of the boathouse lies.", "visibility": "private"})
    assert a.get(M + "/nodes/" + n["id"]).status_code == 200
    assert fellow.get(M + "/nodes/" + n["id"]).status_code == 404
    assert n["id"] not in fellow.get(M + "/nodes?limit=200").text and "boathouse" not in fellow.get("/api/knowledge/export").text
    assert fellow.ask("POST", M + "/query", {"query": "spare key boathouse"}).json()["nodes"] == []
    # Who guesses it does not learn that somebody has written it, and changes nothing of it.
    guess = fellow.good("POST", M + "/nodes", {"content": "Where the spare key of the boathouse lies.", "confidence": 0.9})
    assert guess["id"] != n["id"] and not guess["deduplicated"]
    assert a.get(M + "/nodes/" + n["id"]).json()["confidence"] == 0.5
    again = a.good("POST", M + "/nodes", {"content": "Where the spare key of the boathouse lies.", "visibility": "private"})
    assert again["id"] == n["id"] and again["deduplicated"]
    other = fellow.good("POST", M + "/nodes", {"content": "Boathouses have keys."})
    link = {"from_node_id": other["id"], "to_node_id": n["id"], "relationship_type": "supports"}
    assert fellow.ask("POST", M + "/relationships", link).status_code == 404
    assert a.ask("POST", M + "/relationships", link).status_code == 201


def test_what_was_private_comes_back_private(rooms):
    s, a, b, second, third = rooms
    admin = invite(a, "ida@a.example.org", "admin")
    text = "The code of the safe behind the mangle."
    n = a.good("POST", M + "/nodes", {"content": text, "visibility": "private"})
    a.good("POST", M + "/pruning/execute", {"item_ids": [n["id"]]})
    assert admin.ask("POST", M + "/pruning/restore", {"item_id": n["id"]}).status_code == 404
    assert s.sql("SELECT COUNT(*) FROM knowledge_nodes WHERE content = ?", text) == [(1,)]
    assert a.good("POST", M + "/pruning/restore", {"item_id": n["id"]})["item_id"] == n["id"]
    assert a.good("GET", M + "/nodes/" + n["id"])["visibility"] == "private"
    assert admin.get(M + "/nodes/" + n["id"]).status_code == 404
    assert admin.ask("POST", M + "/query", {"query": "code safe mangle"}).json()["nodes"] == []


def test_insights_reach_their_targets_only(rooms):
    s, a, b, second, third = rooms
    before = metric(s, "aragora_km_cp_cross_workspace_shares_total")
    insight = {"insight_id": "insight_001", "target_workspaces": [second["X-Workspace-ID"]], "task_type": "debate",
               "content": "Structured 3-round debates work best for consensus", "confidence": 0.85}
    for wrong in (dict(insight, confidence=0.59), dict(insight, target_workspaces=[]), dict(insight, target_workspaces=[a.org]),
                  {k: v for k, v in insight.items() if k != "content"}):
        assert a.ask("POST", "/api/knowledge/insights", wrong).status_code == 400, wrong
    for strange in (b.org, "default", "nowhere"):  # not even the workspace that is always there
        assert a.ask("POST", "/api/knowledge/insights", dict(insight, target_workspaces=[strange])).status_code == 404
    done = a.good("POST", "/api/knowledge/insights", dict(insight, confidence=0.6))
    assert done["source_workspace"] == a.org
    found = a.get("/api/knowledge/insights?task_type=debate", headers=second).json()["insights"]
    assert [(i["insight_id"], i["source_workspace"], i["confidence"]) for i in found] == [("insight_001", a.org, 0.6)]
    for who, headers in ((a, {}), (a, third), (b, {})):
        assert who.get("/api/knowledge/insights", headers=headers).json()["insights"] == []
    assert a.get("/api/knowledge/insights?task_type=review", headers=second).json()["insights"] == []
    assert metric(s, "aragora_km_cp_cross_workspace_shares_total") == before + 1


def test_culture(rooms):
    s, a, b, second, third = rooms
    d = a.good("POST", M + "/culture/documents", {"title": "How we decide", "content": "By majority, after lunch."}, headers=third)
    assert a.good("GET", M + "/culture/" + d["node_id"], headers=third)["content"].endswith("By majority, after lunch.")
    assert a.ask("GET", M + "/culture/" + d["node_id"], headers=second).status_code == 404
    profile = a.get(M + "/culture", headers=third).json()
    assert [x["id"] for x in profile["documents"]] == [d["node_id"]] and profile["patterns"] == {}
    assert profile["documents"][0]["tier"] == "glacial" and profile["documents"][0]["confidence"] == 1
    assert a.get(M + "/culture", headers=second).json()["documents"] == []


# ---- upkeep ----

DAY = 86400000


def age(s, node_id, days, *columns):
    """As if the node had been written so many days ago."""
    for column in columns:
        s.sql("UPDATE knowledge_nodes SET %s = %s - ? WHERE id = ?" % (column, column), int(days * DAY), node_id)


def test_jobs_find_the_stale_let_confidence_decay_and_prune(make_server):
    s = make_server({"knowledge": {"staleness_interval": "1s", "decay_interval": "1s", "prune_interval": "1s", "prune_days": 20,
                                   "archived_days": 40}})
    old = node(s, "Old news from the harbour.", tier="fast", confidence=0.8, topics=["news"])["id"]
    new = node(s, "Fresh news from the harbour.", tier="glacial", confidence=0.8)["id"]
    # Of those at the floor of confidence only what nobody has touched goes, and neither the slowest tier nor culture.
    faded, fresh, rock = (node(s, "Worth nothing, says the %s." % x, confidence=0.1, tier=t)["id"]
                          for x, t in (("fading", "slow"), ("freshman", "slow"), ("rock", "glacial")))
    custom = good(s.post(M + "/culture/documents", {"content": "An old custom."}))["node_id"]
    s.sql("UPDATE knowledge_nodes SET tier = 'slow', confidence_ppm = 100000 WHERE id = ?", custom)
    for x in (faded, rock, custom):
        age(s, x, 21, "updated_at", "validated_at")
    for name, end in (("ended", 1), ("lasting", 2 ** 50), ("endless", 0)):
        s.sql("INSERT INTO knowledge_grants (id, org_id, workspace_id, item_id, grantee_type, grantee_id, permissions, granted_by,"
              " created_at, expires_at) VALUES (?, 'default', 'default', ?, 'user', ?, '[]', 'ann', 1, ?)", name, new, name, end)
    gone = node(s, "Archived long ago.")["id"]
    good(s.delete(M + "/nodes/" + gone))
    age(s, gone, 41, "archived_at")
    age(s, old, 7, "decayed_at", "created_at", "updated_at", "validated_at")
    decayed = wait_until(lambda: (c := good(s.get(M + "/nodes/" + old))["confidence"]) < 0.8 and c, 30, "decay")
    assert abs(decayed - 0.4) < 0.001, "half-life of news is seven days"
    stale = wait_until(lambda: [x for x in good(s.get(M + "/stale?threshold=0.3"))["stale_items"] if x["node_id"] == old], 30, "staleness")
    assert stale[0]["reasons"] == ["age"] and stale[0]["staleness_score"] == 0.4
    wait_until(lambda: s.get(M + "/nodes/" + faded).status_code == 404, 30, "pruning")
    wait_until(lambda: s.sql("SELECT COUNT(*) FROM knowledge_nodes WHERE id = ?", gone)[0][0] == 0, 30, "the end of what was archived")
    assert wait_until(lambda: len(left := s.sql("SELECT id FROM knowledge_grants ORDER BY id")) == 2 and left, 30, "an end of grants") == [
        ("endless",), ("lasting",)]
    for x in (fresh, rock, custom, new):
        assert s.get(M + "/nodes/" + x).status_code == 200
    assert {(h["item_id"], h["event"]) for h in good(s.get(M + "/pruning/history"))["history"]} == {
        (faded, "pruned"), (gone, "deleted"), (gone, "removed")}
    assert metric(s, 'aragora_km_nodes_pruned_total{action="archived"}') == 1 == metric(s, 'aragora_km_nodes_pruned_total{action="removed"}')
    assert s.wait_log("knowledge was pruned")
    kept = wait_until(lambda: s.sql("SELECT action, details FROM audit_events WHERE action IN ('knowledge.prune', 'knowledge.remove')"
                                    " ORDER BY action"), 30, "the audit log")
    assert [(a, '"nodes":1' in d.replace(" ", "")) for a, d in kept] == [("knowledge.prune", True), ("knowledge.remove", True)]
    good(s.post(M + "/pruning/restore", {"item_id": faded}))
    assert s.get(M + "/nodes/" + faded).status_code == 200
    # The next passes do not compound what has been taken already.
    runs = s.sql("SELECT runs FROM jobs WHERE name = 'knowledge-decay'")[0][0]
    wait_until(lambda: s.sql("SELECT runs FROM jobs WHERE name = 'knowledge-decay'")[0][0] > runs, 30, "another pass")
    assert abs(good(s.get(M + "/nodes/" + old))["confidence"] - decayed) < 0.001
    assert abs(good(s.get(M + "/nodes/" + new))["confidence"] - 0.8) < 0.001
    done = good(s.post(M + "/revalidate/" + old, {"validator": "ann"}))
    assert abs(done["new_confidence"] - decayed - 0.1) < 0.001
    assert old not in str(good(s.get(M + "/stale?threshold=0.3"))["stale_items"])
    assert good(s.post(M + "/schedule-revalidation", {"node_ids": [new, "kn_0"], "priority": "high"}))["scheduled"] == [new]
    assert [x["node_id"] for x in good(s.get(M + "/stale?threshold=1"))["stale_items"]] == [new]
    assert s.post(M + "/revalidate/kn_0").status_code == 404


def test_pruning_by_hand_does_what_the_job_does(mound):
    n = node(mound, "Forgotten by everybody.", confidence=0.1)["id"]
    age(mound, n, 8, "updated_at", "validated_at")
    assert n in [x["id"] for x in good(mound.get(M + "/pruning/items"))["items"]]
    assert good(mound.post(M + "/pruning/auto", {"min_age_days": 9, "dry_run": False}))["items_pruned"] == 0
    dry = good(mound.post(M + "/pruning/auto", {"min_age_days": 7}))
    assert (dry["dry_run"], dry["items_found"], dry["items_pruned"]) == (True, 1, 0) and mound.get(M + "/nodes/" + n).status_code == 200
    assert good(mound.post(M + "/pruning/auto", {"min_age_days": 7, "dry_run": False}))["items_pruned"] == 1
    assert mound.get(M + "/nodes/" + n).status_code == 404
    for days in (0, "7", 40000):
        assert mound.post(M + "/pruning/auto", {"min_age_days": days}).json()["field"] == "min_age_days"
    assert good(mound.post(M + "/pruning/decay"))["model"] == "exponential"


def test_a_full_workspace(make_server):
    """It refuses what people write, and leaves out what debates find, which end all the same."""
    with ProviderServer() as p:
        s = make_server(settings(p, knowledge={"max_nodes": 2}))
        ids = [node(s, "Number %d of two." % i)["id"] for i in range(2)]
        for path, body in ((M + "/nodes", {"content": "One too many."}), ("/api/facts", {"statement": "One too many."}),
                           (M + "/culture/documents", {"content": "One too many."}),
                           ("/api/knowledge/import", {"version": "1.0", "nodes": [{"content": "One too many."}]})):
            r = s.post(path, body)
            assert r.status_code == 409 and "of its 2 (knowledge.max_nodes)" in r.json()["error"], (path, r.text)
        assert node(s, "Number 0 of two.")["deduplicated"], "what is there already always fits"
        d = debate(s, "Who finds room for a debate?")
        assert d["status"] == "completed"
        s.wait_log("the workspace is full of knowledge")
        assert metric(s, 'aragora_km_nodes_refused_total{source="api"}') == 4
        assert metric(s, 'aragora_km_nodes_refused_total{source="adapter"}') >= 1
        assert s.sql("SELECT COUNT(*) FROM knowledge_nodes")[0][0] == 2 and s.sql("SELECT COUNT(*) FROM knowledge_outbox")[0][0] == 0
        s.sql(MEMORY_ROW, "cm-1", "default", "default")
        left = good(s.post(M + "/sync/continuum"))["nodes_skipped"]
        assert left >= 1
        good(s.delete(M + "/nodes/" + ids[1]))
        assert s.get(M + "/stats").json()["total_nodes"] == 1
        # What found no room is read again.
        done = good(s.post(M + "/sync/continuum"))
        assert (done["nodes_synced"], done["nodes_skipped"]) == (1, left - 1)
        r = s.post(M + "/pruning/restore", {"item_id": ids[1]})
        assert r.status_code == 409


def test_events_of_confidence(mound):
    n = node(mound, "The ferry leaves at nine.", confidence=0.5)["id"]
    for event, after in (("cited", 0.55), ("validated", 0.65), ("contradicted", 0.45), ("invalidated", 0.15), ("invalidated", 0.1)):
        assert good(mound.post(M + "/confidence/event", {"item_id": n, "event": event}))["new_confidence"] == pytest.approx(after)
    assert good(mound.get(M + "/nodes/" + n))["surprise_score"] > 0
    history = good(mound.get(M + "/confidence/history?item_id=" + n))["history"]
    assert [h["event"] for h in history] == ["invalidated", "invalidated", "contradicted", "validated", "cited"]
    assert mound.post(M + "/confidence/event", {"item_id": n, "event": "applauded"}).status_code == 400
    assert mound.post(M + "/confidence/event", {"item_id": "kn_0", "event": "cited"}).status_code == 404
    age(mound, n, 90, "decayed_at")
    assert good(mound.post(M + "/confidence/decay"))["model"] == "exponential"


def test_near_duplicates(room):
    s = room
    keep = node(s, "The northern bridge was closed for repairs in winter.")["id"]
    twin = node(s, "In winter the northern bridge was closed for repairs.")["id"]
    node(s, "The northern bridge was not closed for repairs in winter.")
    other = node(s, "Swans return to the southern lake.")["id"]
    s.sql("UPDATE knowledge_nodes SET created_at = created_at - 1000 WHERE id = ?", keep)
    good(s.post(M + "/relationships", {"from_node_id": other, "to_node_id": twin, "relationship_type": "related_to"}))
    found = good(s.get(M + "/dedup/clusters?similarity_threshold=0.9"))
    assert found["clusters_found"] == 1, "what says the contrary is no duplicate"
    c = found["clusters"][0]
    assert c["primary_node_id"] == keep and [d["node_id"] for d in c["duplicates"]] == [twin] and c["recommended_action"] == "merge"
    assert good(s.get(M + "/dedup/report"))["duplicate_clusters_found"] == 1
    dry = good(s.post(M + "/dedup/auto-merge"))
    assert dry["dry_run"] and dry["duplicates_found"] == 1 and dry["merges_performed"] == 0
    assert s.get(M + "/nodes/" + twin).status_code == 200
    assert s.post(M + "/dedup/merge", {"cluster_id": "cl_0"}).status_code == 404
    done = good(s.post(M + "/dedup/merge", {"cluster_id": c["cluster_id"]}))
    assert done["kept_node_id"] == keep and done["merged_node_ids"] == [twin] and done["updated_relationships"] == 1
    assert s.get(M + "/nodes/" + twin).status_code == 404
    assert [n["id"] for n in good(s.get(M + "/graph/%s/related" % other))["related"]] == [keep]
    assert good(s.post(M + "/dedup/auto-merge", {"dry_run": False}))["duplicates_found"] == 0
    assert [h["event"] for h in good(s.get(M + "/pruning/history"))["history"]] == ["merged"]


def test_contradictions(room):
    s = room
    a = node(s, "The garden gate is open at night.", confidence=0.9)["id"]
    b = node(s, "The garden gate is not open at night.", confidence=0.5)["id"]
    node(s, "The garden gate is green.")
    assert good(s.post(M + "/contradictions/detect"))["contradictions_found"] == 1
    assert good(s.post(M + "/contradictions/detect"))["contradictions_found"] == 1
    found = good(s.get(M + "/contradictions?state=open"))["contradictions"]
    assert len(found) == 1 and {found[0]["node_a_id"], found[0]["node_b_id"]} == {a, b}
    path = M + "/contradictions/%s/resolve" % found[0]["id"]
    assert good(s.post(path, {"strategy": "human_review"}))["state"] == "open"
    assert s.post(path, {"strategy": "coin"}).status_code == 400
    done = good(s.post(path, {"resolution": "prefer_higher_confidence"}))
    assert done["state"] == "resolved" and done["kept_node_id"] == a
    lost = good(s.get(M + "/nodes/" + b))
    assert lost["superseded_by"] == a and lost["confidence"] == pytest.approx(0.3)
    assert b not in [n["id"] for n in good(s.post(M + "/query", {"query": "garden gate at night"}))["nodes"]]
    assert good(s.get(M + "/contradictions/stats")) == {"total": 1, "by_state": {"resolved": 1}}
    assert s.post(M + "/contradictions/kc_0/resolve", {}).status_code == 404


def test_pruning(mound):
    keep, gone, slow = (node(mound, "Prune me, says the %s branch." % x, tier="fast")["id"] for x in ("first", "second", "third"))
    good(mound.post(M + "/pruning/execute", {"item_ids": [keep], "action": "archive"}))
    good(mound.post(M + "/pruning/execute", {"item_ids": [gone], "action": "delete"}))
    good(mound.post(M + "/pruning/execute", {"item_ids": [slow], "action": "demote"}))
    assert mound.get(M + "/nodes/" + keep).status_code == 404 == mound.get(M + "/nodes/" + gone).status_code
    assert good(mound.get(M + "/nodes/" + slow))["tier"] == "medium"
    good(mound.post(M + "/pruning/restore", {"item_id": keep}))
    assert good(mound.get(M + "/nodes/" + keep))["content"].startswith("Prune me")
    assert len([n for n in good(mound.post(M + "/query", {"query": "prune branch"}))["nodes"] if n["id"] == keep]) == 1
    assert mound.post(M + "/pruning/restore", {"item_id": gone}).status_code == 404
    assert mound.post(M + "/pruning/execute", {"item_ids": [keep], "action": "burn"}).status_code == 400
    assert "items" in good(mound.get(M + "/pruning/items"))


def test_an_id_that_is_no_text_is_named(mound):
    keep = node(mound, "Stays although a number stands beside it.")["id"]
    for path, field, rest in (("/schedule-revalidation", "node_ids", {}), ("/pruning/execute", "item_ids", {"action": "delete"})):
        r = mound.post(M + path, {field: [keep, 7, None, ""], **rest})
        assert r.status_code == 400 and [e["field"] for e in r.json()["errors"]] == ["%s[%d]" % (field, i) for i in (1, 2, 3)]
        for wrong in ("all", [], ["x"] * 101):
            assert mound.post(M + path, {field: wrong, **rest}).json()["field"] == field
    r = mound.post("/api/knowledge/insights", {"insight_id": "i", "task_type": "t", "content": "c", "confidence": 1, "target_workspaces": [{}]})
    assert r.status_code == 400 and r.json()["field"] == "target_workspaces[0]"
    assert mound.get(M + "/nodes/" + keep).status_code == 200


# ---- figures, what the organization sees, many at once ----

def test_figures(room):
    empty = good(room.get(M + "/confidence/stats"))
    assert (empty["total_nodes"], empty["average_confidence"]) == (0, 0)
    assert good(room.get(M + "/analytics/coverage"))["topics"] == [] and good(room.get(M + "/analytics/quality"))["total_nodes"] == 0
    assert good(room.get(M + "/analytics/usage"))["nodes_written"] == 0
    sure = node(room, "Sure of it.", confidence=0.9, topics=["law"])["id"]
    node(room, "Not sure of it.", confidence=0.1, topics=["law", "news"], node_type="claim", visibility="organization")
    node(room, "Of no topic.", confidence=0.5)
    good(room.post(M + "/confidence/event", {"item_id": sure, "event": "cited"}))
    c = good(room.get(M + "/confidence/stats"))
    assert c["total_nodes"] == 3 and c["average_confidence"] == pytest.approx(1.55 / 3) and c["at_floor"] == 1
    assert c["by_level"] == {"verified": 1, "high": 0, "medium": 0, "low": 1, "unverified": 1} and c["events"] == {"cited": 1}
    a = good(room.get(M + "/analytics/coverage"))
    assert [(t["topic"], t["count"]) for t in a["topics"]] == [("law", 2)] and a["without_topic"] == 1
    assert a["by_type"] == {"fact": 2, "claim": 1}
    q = good(room.get(M + "/analytics/quality"))
    assert q["unverified_nodes"] == 3 and q["stale_nodes"] == 0 and q["open_contradictions"] == 0
    u = good(room.get(M + "/analytics/usage?days=7"))
    assert u["by_writer"] == {"people": 3} and u["events"] == {"cited": 1} and u["days"] == 7
    g = good(room.get(M + "/governance/stats"))
    assert g["by_visibility"] == {"workspace": 2, "organization": 1} and g["grants"] == 0
    assert "knowledge.admin" in good(room.get(M + "/governance/permissions"))["permissions"]
    room.sql("UPDATE knowledge_nodes SET staleness_ppm = 600000, checked_at = 1 WHERE id = ?", sure)
    assert good(room.post(M + "/revalidate", {}))["queued"] == 1 and good(room.post(M + "/revalidate"))["queued"] == 0
    assert [x["node_id"] for x in good(room.get(M + "/stale"))["stale_items"]] == [sure]


def test_permissions_of_a_member(rooms):
    fellow = invite(rooms[1], "kim@a.example.org")
    mine = fellow.get(M + "/governance/permissions").json()["permissions"]
    assert "knowledge.read" in mine and "knowledge.admin" not in mine


def test_the_graph_as_graphml(room):
    a = node(room, "Left & right <of> \"it\"\x01, ünï\uffffcode")["id"]
    b = node(room, "The other end.", node_type="claim")["id"]
    good(room.post(M + "/relationships", {"from_node_id": a, "to_node_id": b, "relationship_type": "supports", "strength": 0.5}))
    wrapped = good(room.get(M + "/export/graphml"))
    assert (wrapped["format"], wrapped["nodes"], wrapped["edges"]) == ("graphml", 2, 1)
    r = room.get(M + "/export/graphml?raw=true")
    assert r.headers["Content-Type"].startswith("application/graphml+xml") and r.text == wrapped["content"]
    assert r.headers["Vary"] == "Accept" or "Accept" in r.headers["Vary"]
    ns = "{http://graphml.graphdrawing.org/xmlns}"
    root = ElementTree.fromstring(r.content)
    names = {k.get("id") for k in root.iter(ns + "key")}
    nodes = {n.get("id"): {d.get("key"): d.text for d in n} for n in root.iter(ns + "node")}
    assert nodes[a]["content"] == "Left & right <of> \"it\" , ünï code" and nodes[b]["node_type"] == "claim"
    edges = [(e.get("source"), e.get("target"), {d.get("key"): d.text for d in e}) for e in root.iter(ns + "edge")]
    assert edges == [(a, b, {"relationship_type": "supports", "strength": "0.5"})]
    assert {k for n in nodes.values() for k in n} | {"relationship_type", "strength"} == names
    assert good(room.get(M + "/export/graphml?start_node_id=%s&depth=1" % b))["nodes"] == 2


def test_what_the_organization_sees(rooms):
    s, a, b, second, third = rooms
    n = a.good("POST", M + "/nodes", {"content": "The boats of the whole house lie at pier nine."})
    assert a.good("POST", M + "/global", {"content": "The boats of the whole house lie at pier nine."})["id"] == n["id"]
    claim = a.good("POST", M + "/global", {"content": "Pier nine is windy.", "node_type": "claim"})
    found = a.get(M + "/global?query=boats+pier+nine", headers=third).json()
    assert [x["id"] for x in found["items"]] == [n["id"], claim["id"]] and found["items"][0]["score"] == 1
    assert n["id"] in [x["id"] for x in a.get(M + "/global/facts", headers=third).json()["facts"]]
    assert claim["id"] not in str(a.get(M + "/global/facts?limit=200", headers=third).json())
    assert b.get(M + "/global?query=boats").json()["items"] == [] == b.get(M + "/global/facts").json()["facts"]
    fellow = invite(a, "pat@a.example.org")
    assert fellow.ask("POST", M + "/global", {"content": "Mine for all."}).status_code == 403


def test_there_is_no_federation(mound):
    assert good(mound.get(M + "/federation/regions")) == {"regions": [], "count": 0}
    assert good(mound.get(M + "/federation/status"))["status"] == "disabled"
    for path in ("regions", "sync/push", "sync/pull", "sync/all"):
        r = mound.post(M + "/federation/" + path, {"region_id": "x", "endpoint_url": "http://192.0.2.1"})
        assert r.status_code == 503 and "not configured" in r.json()["error"]
    assert mound.delete(M + "/federation/regions/eu").status_code == 404


@pytest.mark.parametrize("base", ["/api/knowledge/facts", "/api/facts"])
def test_many_facts(room, base):
    done = good(room.post(base + "/batch", {"facts": [{"statement": "Fact %d" % i, "confidence": 0.4} for i in range(4)]}))
    ids = [f["id"] for f in done["facts"]]
    assert done["count"] == 4 and done["facts"][2]["statement"] == "Fact 2" and len(set(ids)) == 4
    r = room.post(base + "/batch", {"facts": [{"statement": "Fine"}, {"confidence": 9}, 7]})
    assert r.status_code == 400 and {e["field"] for e in r.json()["errors"]} == {"facts[1].statement", "facts[1].confidence",
                                                                                 "facts[2].statement"}
    assert good(room.get(base))["total"] == 4, "all or nothing"
    for wrong in ([], {}, ["x"] * 101):
        assert room.post(base + "/batch", {"facts": wrong}).json()["field"] == "facts"
    merged = good(room.post(base + "/merge", {"fact_ids": ids[:2], "target_id": ids[1]}))
    assert merged["kept_fact_id"] == ids[1] and merged["merged_fact_ids"] == [ids[0]]
    assert good(room.get(base + "/" + ids[0]))["superseded_by"] == ids[1] and good(room.get(base))["total"] == 3
    assert [x["relation_type"] for x in good(room.get(base + "/%s/relations" % ids[1]))["relations"]] == ["supersedes"]
    assert room.post(base + "/merge", {"fact_ids": ids[:1]}).status_code == 404
    assert room.post(base + "/merge", {"fact_ids": ids[:2], "target_id": ids[3]}).json()["field"] == "target_id"
    queued = good(room.post(base + "/validate", {"fact_ids": [ids[2], "kn_0"]}))
    assert queued["queued"] == [ids[2]] and ids[2] in str(good(room.get(M + "/stale")))
    gone = good(room.post(base + "/batch/delete", {"fact_ids": [ids[2], ids[3], "kn_0"]}))
    assert gone["deleted"] == [ids[2], ids[3]] and gone["not_found"] == 1
    assert room.get(base + "/" + ids[3]).status_code == 404


def test_sources_of_an_entry(mound):
    origin = node(mound, "Read in the log book.", source={"type": "document", "document_id": "log-7"})["id"]
    n = node(mound, "Concluded from the log book.")["id"]
    good(mound.post(M + "/relationships", {"from_node_id": n, "to_node_id": origin, "relationship_type": "derived_from"}))
    assert good(mound.get("/api/knowledge/entries/%s/sources" % n))["derived_from"] == [origin]
    assert good(mound.get("/api/knowledge/entries/%s/sources" % origin))["sources"][0]["document_id"] == "log-7"
    assert mound.get("/api/knowledge/entries/kn_0/sources").status_code == 404
    for r in (mound.post("/api/knowledge/embeddings", {"text": "x"}), mound.get("/api/knowledge/entries/%s/embeddings" % n)):
        assert r.status_code == 503 and "not configured" in r.json()["error"]


# ---- meaning ----

def test_nodes_are_found_by_meaning(make_server):
    with ProviderServer() as p:
        s = make_server({"server": {"workers": 1}, "embeddings": {"url": p.openai_url, "model": "embed-1", "api_key": "k"},
                         "knowledge": {"retry_interval": "500ms"}})
        # The provider's vectors are bags of words.
        n = node(s, "photosynthesis")["id"]
        node(s, "carburettor")
        wait_until(lambda: s.sql("SELECT COUNT(*) FROM knowledge_vectors")[0][0] == 2, 30, "vectors")
        found = good(s.post(M + "/query", {"query": "photosynthesis"}))["nodes"]
        assert [x["id"] for x in found] == [n] and found[0]["score"] == 1
        assert metric(s, 'aragora_km_semantic_search_total{adapter="mound",status="success"}') >= 1
        # Without the words: the index of words is emptied behind the server's back.
        s.sql("UPDATE search_documents SET scope = 'elsewhere', kind = 'elsewhere'")
        found = good(s.post(M + "/query", {"query": "photosynthesis"}))["nodes"]
        assert [(x["id"], x["match"]) for x in found] == [(n, "semantic")] and found[0]["score"] > 0.99
        assert metric(s, "aragora_km_cache_hits_total") >= 1, "the vector of the same question was remembered"
        e = good(s.get("/api/knowledge/entries/%s/embeddings" % n))
        made = good(s.post("/api/knowledge/embeddings", {"texts": ["photosynthesis", "otter"]}))
        assert e["embedded"] and e["model"] == made["model"] == "embed-1" and e["dimensions"] == made["dimensions"] and made["count"] == 2
        assert e["embedding"] == pytest.approx(made["embeddings"][0], abs=1e-4) and made["embeddings"][1] != made["embeddings"][0]
        for wrong in ({}, {"texts": [1]}, {"text": ""}, {"texts": ["x"] * 17}):
            assert s.post("/api/knowledge/embeddings", wrong).json()["field"] == "texts"
        misses = metric(s, "aragora_km_cache_misses_total")
        good(s.post(M + "/query", {"query": "photosynthesis of algae"}))
        assert metric(s, "aragora_km_cache_misses_total") == misses + 1
        p.script(mode="500", wire="embeddings")
        assert s.post(M + "/query", {"query": "an unheard question"}).status_code == 200, "words alone will do"
        assert metric(s, 'aragora_km_semantic_search_total{adapter="mound",status="error"}') >= 1


def embedding_server(provider, **more):
    return {"embeddings": {"url": provider.openai_url, "model": "embed-1", "api_key": "k"}, "knowledge": {"retry_interval": "300ms"}, **more}


def vectors(s):
    """(model, dim) of all vectors."""
    return s.sql("SELECT model, dim FROM knowledge_vectors ORDER BY node_id")


def mound_vectors(s):
    return good(s.get("/api/health/knowledge-mound"))["vectors"]


def test_another_model_makes_all_vectors_anew(make_server):
    with ProviderServer() as p:
        s = make_server(embedding_server(p))
        n = node(s, "photosynthesis")["id"]
        node(s, "carburettor")
        wait_until(lambda: mound_vectors(s) == {"status": "ready", "progress": 1, "search": "exact"} and len(vectors(s)) == 2, 30, "vectors")
        first = vectors(s)
        s.sql("UPDATE search_documents SET scope = 'elsewhere', kind = 'elsewhere'")  # words find nothing
        asked = {"query": "photosynthesis"}
        assert [x["id"] for x in good(s.post(M + "/query", asked))["nodes"]] == [n]
        # The new model does not read the nodes yet: nothing is compared with what the old one made of them.
        p.script(mode="500", wire="embeddings", contains="carburettor")
        s.write_config(embeddings={"model": "embed-2"})
        s.signal(signal.SIGHUP)
        wait_until(lambda: mound_vectors(s)["status"] == "building", 30, "the change")
        assert mound_vectors(s)["progress"] == 0 and vectors(s) == []
        assert metric(s, 'aragora_km_vectors{adapter="mound",state="missing"}') == 2
        assert good(s.post(M + "/query", asked))["nodes"] == []
        s.wait_log("vectors of another model are made anew")
        p.reset()
        wait_until(lambda: vectors(s) == [("embed-2", first[0][1])] * 2, 60, "vectors of the new model")
        wait_until(lambda: mound_vectors(s)["status"] == "ready", 30, "the end of it")
        assert metric(s, 'aragora_km_vectors{adapter="mound",state="current"}') == 2
        assert [x["id"] for x in good(s.post(M + "/query", asked))["nodes"]] == [n]
        # Another length of the same model.
        s.write_config(embeddings={"dimensions": 32})
        s.signal(signal.SIGHUP)
        wait_until(lambda: vectors(s) == [("embed-2", 32)] * 2, 30, "vectors of the new length")
        assert [x["id"] for x in good(s.post(M + "/query", asked))["nodes"]] == [n]


# What the tests can have of pgvector: a type of that name, whose distance of cosines is computed in SQL.
STAND_IN = """
CREATE DOMAIN vector AS text;
CREATE FUNCTION stand_in_distance(vector, vector) RETURNS float8 LANGUAGE sql IMMUTABLE AS $$
SELECT 1 - sum(a * b) / sqrt(sum(a * a) * sum(b * b)) FROM unnest(translate($1::text, '[]', '{}')::float8[],
translate($2::text, '[]', '{}')::float8[]) AS t(a, b) $$;
CREATE OPERATOR <=> (LEFTARG = vector, RIGHTARG = vector, FUNCTION = stand_in_distance);
"""


def test_the_store_searches_vectors_where_it_can(make_server, postgres):
    """Found while the server runs, given up again when it goes; the extension itself is not among the packages of Debian 12."""
    database = postgres.create()
    with ProviderServer() as p:
        s = make_server(embedding_server(p, storage={"dsn": postgres.dsn(database)}))
        n = node(s, "photosynthesis")["id"]
        wait_until(lambda: mound_vectors(s) == {"status": "ready", "progress": 1, "search": "exact"}, 30, "a vector")
        postgres.query(database, STAND_IN)
        wait_until(lambda: mound_vectors(s)["search"] == "pgvector", 30, "pgvector")
        gone = node(s, "carburettor")["id"]
        copied = "SELECT id FROM _knowledge_vectors ORDER BY v <=> (SELECT v FROM _knowledge_vectors WHERE id = %s)"
        wait_until(lambda: [r[0] for r in postgres.query(database, copied, n)] == [n, gone], 30, "both vectors in the copy")
        s.sql("DELETE FROM search_documents")
        s.sql("UPDATE knowledge_vectors SET vector = 'none'")  # only the copy can tell
        found = good(s.post(M + "/query", {"query": "photosynthesis"}))["nodes"]
        assert [(x["id"], x["match"]) for x in found] == [(n, "semantic")] and found[0]["score"] > 0.99
        good(s.delete(M + "/nodes/" + gone))
        assert postgres.query(database, "SELECT id FROM _knowledge_vectors") == [(n,)], "what is archived leaves the copy"
        def ids():
            return [x["id"] for x in good(s.post(M + "/query", {"query": "photosynthesis"}))["nodes"]]

        for wanted in (False, True):  # at the next search, without the job
            s.write_config(knowledge={"pgvector": wanted})
            s.signal(signal.SIGHUP)
            wait_until(lambda: ids() == ([n] if wanted else []), 30, "pgvector %s" % wanted)
        postgres.query(database, "DROP TYPE vector CASCADE")
        assert ids() == [], "life without it"
        postgres.query(database, STAND_IN)
        column = "SELECT 1 FROM information_schema.columns WHERE table_name = '_knowledge_vectors' AND column_name = 'v'"
        wait_until(lambda: postgres.query(database, column), 30, "the copy once more")
        assert good(s.post(M + "/query", {"query": "heron"}))["nodes"] == []


def test_a_text_that_is_refused_is_in_nobodys_way(make_server):
    """Neither does it keep other nodes from their vectors, nor does it close the server of embeddings to others."""
    with ProviderServer() as p:
        s = make_server(embedding_server(p))
        p.script(mode="bad", wire="embeddings", contains="unspeakable")
        bad = node(s, "unspeakable")["id"]
        for i in range(6):  # more than the failures that open the breaker
            assert s.post(M + "/query", {"query": "unspeakable %d" % i}).status_code == 200
        others = {node(s, word)["id"] for word in ("heron", "otter", "ibis")}
        wait_until(lambda: {r[0] for r in s.sql("SELECT node_id FROM knowledge_vectors")} == others, 30, "vectors of the others")
        wait_until(lambda: s.sql("SELECT embedded_at FROM knowledge_nodes WHERE id = ?", bad)[0][0] > 0, 30, "an end with the one")
        assert good(s.post(M + "/query", {"query": "heron"}))["nodes"]
        assert metric(s, 'aragora_km_semantic_search_total{adapter="mound",status="success"}') >= 1


def test_without_embeddings_words_are_searched_alone(mound):
    before = metric(mound, 'aragora_km_semantic_search_total{adapter="mound",status="not_configured"}')
    good(mound.post(M + "/query", {"query": "anything"}))
    assert metric(mound, 'aragora_km_semantic_search_total{adapter="mound",status="not_configured"}') > before


def test_continuum_entries_that_matter_become_nodes(room):
    s = room
    s.sql(MEMORY_ROW, "cm-1", s.org, s.workspace)
    s.sql(MEMORY_ROW.replace("800000", "300000").replace("Ask the harbour master first.", "Of no weight."), "cm-2", s.org, s.workspace)
    assert good(s.post(M + "/sync/continuum"))["nodes_synced"] == 1
    found = nodes_of(s, "continuum")
    assert [(n["content"], n["tier"], n["confidence"]) for n in found] == [("Ask the harbour master first.", "slow", 0.85)]
    assert good(s.post(M + "/sync/continuum"))["nodes_synced"] == 0
