# SPDX-License-Identifier: MIT
"""Receipts: keys of both kinds and their rotation, verification without a server and by the script of the manual, formats,
search, shares, legal hold, and the explanation of a decision."""
import http.server
import json
import re
import subprocess
import sys
import threading

import pytest

from conftest import ROOT, Server, binary, wait_until
from provider import provider  # noqa: F401  (a fixture)

HMAC = "00112233445566778899aabbccddeeff" * 2
SECRET = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"  # RFC 8032 7.1, test 1
PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
TASK = "Sollen wir Sitzungen in Redis halten? <b>Größe</b> 日本 😀"


def debate(server, task=TASK, **body):
    d = server.post("/api/debates", {"task": task, "rounds": 1, "agents": ["anthropic-api", "openai-api", "gemini"], **body}).json()["debate_id"]
    wait_until(lambda: server.get("/api/debates/%s/status" % d).json()["status"] in ("completed", "failed"))
    return d


def raw(server, ref):
    r = server.get("/api/receipts/%s" % ref, params={"raw": "1"})
    assert r.status_code == 200, r.text
    return r.json()


def keys(server):
    r = server.get("/api/receipts/keys").json()
    assert [k["signs"] for k in r["keys"]] == [True] + [False] * (len(r["keys"]) - 1) and r["current"] == r["keys"][0]["key_id"]
    assert HMAC not in json.dumps(r) and SECRET not in json.dumps(r)
    return [k["key_id"] for k in r["keys"]]


def command(*args, code=0, **kw):
    out = subprocess.run([binary(), "receipt", *args], capture_output=True, text=True, **kw)
    assert out.returncode == code, out.stdout + out.stderr
    return out.stdout


def script(tmp_path):
    """The one of the manual."""
    text = (ROOT / "man/aragorad.8").read_text().split(".Sh RECEIPTS")[1].split(".Bd -literal\n")[1].split(".Ed\n")[0]
    assert len(text.splitlines()) <= 12
    (tmp_path / "verify.py").write_text(text)
    return tmp_path / "verify.py"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One server for all who only look at debates of their own."""
    s = Server(tmp_path_factory.mktemp("receipts") / "node").start()
    yield s
    s.close()


# ---- keys ----

def test_keys_rotate_and_old_receipts_verify(make_server, tmp_path):
    s = make_server()
    assert len(keys(s)) == 1 and keys(s)[0].startswith("durable-")
    old = debate(s)
    s.stop()
    s.write_config(receipts={"algorithm": "ed25519"})
    s.start()
    assert [k.split("-")[0] for k in keys(s)] == ["ed25519", "durable"]
    mid = debate(s)
    s.stop()
    s.env = {**(s.env or {}), "ARAGORA_RECEIPT_SIGNING_KEY": "ed25519:%s,hmac:%s" % (SECRET, HMAC)}
    s.start()
    new = debate(s)
    assert len(keys(s)) == 4
    receipts = [raw(s, d) for d in (old, mid, new)]
    assert [r["signature_algorithm"] for r in receipts] == ["HMAC-SHA256", "Ed25519", "Ed25519"]
    for d, r in zip((old, mid, new), receipts):
        v = s.get("/api/receipts/%s/verify" % d).json()
        assert v["valid"] and v["known_key"] and v["error"] is None, v
        assert s.post("/api/receipts/verify", r).json()["valid"]
    file = tmp_path / "r.json"
    file.write_text(json.dumps(receipts[2]))
    public = "ed25519-public:" + PUBLIC
    assert "signature  valid" in command("verify", "--key", public, str(file))
    (tmp_path / "keys.json").write_text(s.get("/api/receipts/keys").text)
    assert json.loads(command("verify", "-k", "@%s" % (tmp_path / "keys.json"), "--json", str(file)))["valid"] is True
    assert "not known" in command("verify", "-k", "hmac:" + HMAC, str(file), code=3)
    wrapped = json.dumps({"receipt_id": "x", "format": "json", "content": json.dumps(receipts[2])})
    command("verify", "-k", public, "-", input=wrapped)
    # With what the client libraries are shown besides.
    command("verify", "-k", public, "-", input=s.get("/api/receipts/%s" % new).text)
    file.write_text(json.dumps({**receipts[2], "final_answer": "No."}))
    assert "CHANGED" in command("verify", "-k", public, str(file), code=1)
    assert "key 1 of the list" in subprocess.run([binary(), "receipt", "verify", "-k", "xyz", str(file)],
                                                 capture_output=True, text=True).stderr
    command("verify", "-k", public, str(tmp_path / "none"), code=1)


def test_script_of_the_manual(make_server, tmp_path):
    s = make_server(env={"ARAGORA_RECEIPT_SIGNING_KEY": HMAC})
    file = tmp_path / "receipt.json"

    def check(document, key):
        file.write_text(json.dumps(document))
        return subprocess.run([sys.executable, str(script(tmp_path)), str(file), key], capture_output=True, text=True).returncode

    document = raw(s, debate(s))
    assert document["schema_version"] == "2.1" and document["question"] == TASK
    assert check(document, HMAC) == 0
    assert check(document, "00" * 32) != 0
    assert check({**document, "signed_at_ms": document["signed_at_ms"] + 1}, HMAC) != 0
    s.stop()
    s.env = {"ARAGORA_RECEIPT_SIGNING_KEY": "ed25519:" + SECRET}
    s.start()
    document = raw(s, debate(s))
    assert check(document, PUBLIC) == 0
    assert check({**document, "verdict": "REJECTED"}, PUBLIC) != 0


@pytest.mark.parametrize("key, reason", [("ed25519-public:" + PUBLIC, "the first key signs"), ("short", "key 1 of the list")])
def test_bad_keys(make_server, key, reason):
    s = make_server(env={"ARAGORA_RECEIPT_SIGNING_KEY": key}, start=False)
    s.spawn()
    s.expect_exit()
    assert reason in s.run_log() and "receipts.signing_key" in s.run_log()


def test_keygen_and_keys_command(make_server):
    made = subprocess.run([binary(), "keygen", "receipt"], capture_output=True, text=True).stdout.strip()
    assert re.fullmatch(r"ed25519:[0-9a-f]{64}", made)
    s = make_server(env={"ARAGORA_RECEIPT_SIGNING_KEY": made}, start=False)
    out = s.command("receipt", "keys", "-c", s.conf_path)
    assert out.returncode == 0 and out.stdout.startswith("* ed25519-"), out.stdout + out.stderr


def test_document(shared):
    s = shared
    d = debate(s)
    r = raw(s, d)
    chain = r["provenance_chain"]
    assert chain[0]["event_type"] == "debate_start" and chain[-1]["event_type"] == "verdict"
    assert all(a["sequence"] + 1 == b["sequence"] for a, b in zip(chain, chain[1:]))
    result = s.get("/api/debates/" + d).json()
    assert len([e for e in chain if e["event_type"] == "message"]) == len(result["messages"])
    assert r["config_used"]["rounds"] == 1 and r["config_used"]["participants"] == result["participants"]
    assert r["risk_summary"]["total"] == len(r["findings"])
    view = s.get("/api/receipts/" + d).json()
    assert view["consensus_reached"] == result["consensus_reached"] and abs(view["confidence"] - result["confidence"]) < 1e-9
    for name in ("participating_agents", "dissenting_agents", "risk_score", "tokens_used", "high_count", "checksum"):
        assert name in view, name


# ---- formats ----

def pdf_text(content, tmp_path):
    (tmp_path / "r.pdf").write_bytes(content)
    return subprocess.run(["pdftotext", "-layout", str(tmp_path / "r.pdf"), "-"], capture_output=True, text=True, check=True).stdout


def test_formats(shared, tmp_path):
    s = shared
    d = debate(s)
    document, url = raw(s, d), "/api/receipts/%s/export" % d
    pdf = s.get(url, params={"format": "pdf"})
    assert pdf.headers["Content-Type"] == "application/pdf" and pdf.content[:5] == b"%PDF-"
    text = pdf_text(pdf.content, tmp_path)
    fonts = subprocess.run(["pdffonts", str(tmp_path / "r.pdf")], capture_output=True, text=True, check=True).stdout.splitlines()[2:]
    assert fonts and all(line.split()[-5] == "yes" for line in fonts), "fonts are embedded"
    pages = int(re.search(r"page 1 of (\d+)", text)[1])
    assert text.count("SHA-256 " + document["content_hash"]) == pages >= 1 and "page %d of %d" % (pages, pages) in text
    assert "Größe" in text and document["signature"][:40] in text.replace("\n", "")
    assert s.get(url, headers={"Accept": "application/pdf"}).content == pdf.content
    csv = s.get(url, params={"format": "csv", "download": "true"})
    assert csv.headers["Content-Type"] == "text/csv; charset=utf-8" and csv.headers["Content-Disposition"].endswith('.csv"')
    assert csv.text.splitlines()[0] == "Finding ID,Category,Severity,Title,Description,Mitigation,Verified,Source"
    assert len(csv.text.splitlines()) >= 1 + len(document["findings"])
    sarif = s.get(url, params={"format": "sarif"}, headers={"Accept": "*/*"}).json()
    run = sarif["runs"][0]
    assert sarif["version"] == "2.1.0" and run["tool"]["driver"]["name"] == "aragorad" and len(run["results"]) == len(document["findings"])
    ids = {r["id"] for r in run["tool"]["driver"]["rules"]}
    assert all(r["message"]["text"] and r["level"] in ("error", "warning", "note") and r["ruleId"] in ids for r in run["results"])
    # Client libraries take everything for JSON.
    for name in ("md", "html", "csv", "sarif", "pdf"):
        r = s.get(url, params={"format": name}, headers={"Accept": "application/json"})
        assert r.headers["Content-Type"] == "application/json" and r.json()["format"] == name and r.json()["content"]
        assert r.json()["receipt_id"] == document["receipt_id"] and (name != "pdf") == ("encoding" not in r.json())
    wrapped = s.get(url, params={"format": "pdf", "download": "true"}, headers={"Accept": "application/json"})
    assert wrapped.content == pdf.content
    assert s.get(url, params={"format": "docx"}).status_code == 400
    html = s.get(url, params={"format": "html"})
    assert html.headers["Content-Security-Policy"].startswith("default-src 'none'") and "<b>Größe" not in html.text


# ---- many receipts ----

def test_list_search_and_figures(make_server):
    s = make_server()
    empty = s.get("/api/receipts/stats").json()["stats"]
    assert empty["total"] == 0 and empty["by_verdict"] == {} and empty["retention_days"] == 2555
    assert s.get("/api/receipts/retention-status").json()["age_distribution"]["0-30_days"] == 0
    ids = [debate(s, "Which of the %s is best?" % what) for what in ("100% apples", "pears", "plums")]
    receipts = [raw(s, d) for d in ids]
    stats = s.get("/api/receipts/stats").json()["stats"]
    assert stats["total"] == stats["signed"] == 3 == sum(stats["by_verdict"].values()) == sum(stats["by_risk_level"].values())

    def listed(**params):
        r = s.get("/api/receipts", params=params).json()
        assert r["total"] == r["pagination"]["total"] and r["items"] == r["receipts"]
        return [x["debate_id"] for x in r["receipts"]]
    assert listed() == ids[::-1] and listed(order="asc") == ids
    sure = sorted(receipts, key=lambda r: r["confidence_ppm"])
    assert [s.get("/api/receipts", params={"sort_by": "confidence", "order": "asc"}).json()["receipts"][i]["confidence"] for i in range(3)] == \
        [r["confidence_ppm"] / 1e6 for r in sure]
    assert listed(date_to="2020-01-01") == [] and listed(date_from="2020-01-01T00:00:00Z") == ids[::-1]
    assert sorted(listed(min_confidence=1)) == sorted(r["debate_id"] for r in sure if r["confidence_ppm"] == 10 ** 6)
    assert sorted(listed(consensus_reached="true") + listed(consensus_reached="false")) == sorted(ids)
    assert len(listed(limit=2)) == 2 and listed(limit=2, offset=2) == ids[:1]

    def found(q, name="query"):
        return [x["debate_id"] for x in s.get("/api/receipts/search", params={name: q}).json()["receipts"]]
    assert found("PEARS") == found("pears", "q") == [ids[1]] and found("100% app") == [ids[0]] and found("10_%") == []
    assert found(receipts[2]["receipt_id"]) == [ids[2]]
    assert s.get("/api/receipts/search", params={"q": "ab"}).status_code == 400
    age = s.get("/api/receipts/retention-status").json()
    assert age["age_distribution"]["0-30_days"] == age["total_receipts"] == 3 and age["already_expired"] == 0
    batch = {"receipt_ids": [r["receipt_id"] for r in receipts] + ["nope"]}
    r = s.post("/api/receipts/verify-batch", batch).json()
    assert r["summary"] == {"total": 4, "valid": 3, "invalid": 1, "not_signed": 0} and r["results"][3]["error"] == "Receipt not found"
    s.sql("UPDATE receipts SET document = replace(document, 'plums', 'prunes')")
    assert s.post("/api/receipts/verify-batch", batch).json()["summary"]["valid"] == 2
    v = s.post("/api/receipts/%s/verify" % receipts[2]["receipt_id"]).json()
    assert v["integrity_valid"] is False and v["stored_checksum"] != v["computed_checksum"]
    assert s.post("/api/receipts/sign-batch", batch).json()["summary"] == {"total": 4, "signed": 0, "skipped": 3, "failed": 1}
    files = s.post("/api/receipts/batch-export", {**batch, "format": "md"}).json()
    assert files["count"] == 3 and files["missing"] == ["nope"] and files["files"][0]["content"].startswith("# Decision receipt")
    for bad in ({}, {"receipt_ids": []}, {"receipt_ids": ["x"] * 101}, {"receipt_ids": [1]}):
        assert s.post("/api/receipts/verify-batch", bad).status_code == 400
    assert s.post("/api/receipts/batch-export", {**batch, "format": "pdf"}).status_code == 400


def recorded(s, action):
    """What the audit log has of it; entries are chained a moment after the act."""
    found = lambda: [r[0] for r in s.sql("SELECT action FROM audit_events WHERE action LIKE ? ORDER BY seq", action)]
    wait_until(lambda: not s.sql("SELECT 1 FROM audit_inbox"), what="entries in the chain")
    return found()


def test_share(shared):
    s = shared
    d = debate(s)
    document = raw(s, d)
    made = s.post("/api/receipts/%s/share" % d, {"expires_in_hours": 2, "max_accesses": 2}).json()
    assert made["success"] and made["max_accesses"] == 2 and made["share_url"].endswith(made["token"]) and len(made["token"]) == 64
    assert s.sql("SELECT COUNT(*) FROM receipt_shares WHERE token_hash = '%s'" % made["token"]) == [(0,)], "only its hash is kept"
    first = s.get(made["share_url"])
    assert first.json()["shared"] is True and first.json()["access_count"] == 1 and first.headers["Cache-Control"] == "no-store"
    assert first.json()["receipt"]["content_hash"] == document["content_hash"]
    html = s.get(made["share_url"], headers={"Accept": "text/html"})
    assert html.headers["Content-Type"].startswith("text/html") and document["receipt_id"] in html.text
    r = s.get(made["share_url"])
    assert r.status_code == 410 and r.json()["error"] == "Share link access limit reached" and r.json()["code"] == "GONE"
    shares = s.get("/api/receipts/%s/shares" % d).json()["shares"]
    assert [(x["access_count"], x["active"]) for x in shares] == [(2, False)]
    free = s.post("/api/receipts/%s/share" % d).json()
    assert free["max_accesses"] is None
    s.sql("UPDATE receipt_shares SET expires_at = 1000000000000 WHERE max_accesses = 0")
    assert s.get(free["share_url"]).json()["error"] == "Share link has expired"
    third = s.post("/api/receipts/%s/share" % d).json()  # what expired long ago is swept away by the next one
    assert s.get(free["share_url"]).status_code == 404
    assert s.delete("/api/receipts/%s/share" % d).json()["success"] is True
    assert s.get(third["share_url"]).json()["error"] == "Share link not found"
    for bad in ({"expires_in_hours": 721}, {"expires_in_hours": 0}, {"max_accesses": "many"}):
        assert s.post("/api/receipts/%s/share" % d, bad).status_code == 400
    assert s.post("/api/receipts/nope/share").status_code == 404
    assert recorded(s, "receipt.%share") == ["receipt.share"] * 3 + ["receipt.unshare"]


def test_legal_hold(make_server):
    s = make_server()
    d, other = debate(s), debate(s)
    url = "/api/receipts/%s/legal-hold" % d
    assert s.get(url).json()["legal_hold"] is False
    assert s.post(url, {}).status_code == 400
    hold = s.post(url, {"reason": "Smith v. Jones", "matter_id": "M-7"}).json()
    assert hold["legal_hold"] is True and hold["matter_id"] == "M-7" and hold == s.get(url).json()
    assert s.delete("/api/debates/" + d).status_code == 409 and s.get("/api/debates/" + d).status_code == 200
    s.sql("UPDATE receipts SET created_at = 1")
    cleanup = "/api/admin/schedulers/receipt-retention/cleanup"
    wait_until(lambda: s.get("/api/admin/schedulers/receipt-retention/status").status_code == 200)
    assert s.get("/api/receipts/retention-status").json()["already_expired"] == 1
    assert s.post(cleanup).json()["receipts_deleted"] == 1
    assert s.get("/api/receipts/" + d).status_code == 200 and s.get("/api/receipts/" + other).status_code == 404
    assert s.delete(url).json()["legal_hold"] is False
    assert s.post(cleanup).json()["receipts_deleted"] == 1 and s.get("/api/receipts/" + d).status_code == 404
    assert recorded(s, "receipt.hold%") == ["receipt.hold", "receipt.hold_lift"]


# ---- why this answer ----

def test_explanation(shared):
    s = shared
    d = debate(s, rounds=2)
    result = s.get("/api/debates/" + d).json()
    e = s.get("/api/debates/%s/explain" % d).json()
    assert e["debate_id"] == d and e["winner"] == result["winner"] and e["summary"]
    assert {v["agent"] for v in e["votes"]} == {v["agent"] for v in result["votes"]}
    assert abs(sum(v["share"] for v in e["votes"]) - 1) < 1e-4
    assert abs(sum(v["share"] for v in e["votes"] if v["for_winner"]) - result["consensus"]["weighted_share"]) < 1e-4
    assert e["recount"]["agrees"] is True, "the engine's own count is met"
    assert {c["type"] for c in e["counterfactuals"]} >= {"without_vote", "equal_weights", "heads_only"}
    assert len([c for c in e["counterfactuals"] if c["type"] == "without_vote"]) == len(e["votes"])
    assert len(e["critiques"]) == len(result["critiques"]) and e["changes"] and e["evidence_chain"]
    for ref in ("/api/explain/" + d, "/api/debates/%s/explanation" % result["slug"], "/api/v1/debates/%s/explainability" % d):
        assert s.get(ref).json() == e, ref
    parts = {"explainability/factors": "votes", "explainability/counterfactual": "counterfactuals", "votes/pivots": "pivotal_agents",
             "explainability/provenance": "evidence_chain", "explainability/narrative": "summary", "counterfactuals": "recount"}
    for path, member in parts.items():
        assert s.get("/api/debates/%s/%s" % (d, path)).json()[member] == e[member], path
    html = s.get("/api/debates/%s/explain" % d, headers={"Accept": "text/html"})
    assert html.headers["Content-Security-Policy"].startswith("default-src 'none'") and "What each vote weighed" in html.text
    assert "<b>Größe" not in html.text
    md = s.get("/api/debates/%s/explain?format=md" % d)
    assert md.headers["Content-Type"].startswith("text/markdown") and "## Which critiques changed what" in md.text
    assert s.get("/api/debates/%s/explain?format=pdf" % d).status_code == 400
    assert s.get("/api/debates/nope/explain").status_code == 404
    package = s.get("/api/debates/%s/package" % d).json()
    assert package["receipt"]["debate_id"] == d and package["explanation"]["summary"] == e["summary"]
    assert "# Why this answer" in s.get("/api/debates/%s/package/markdown" % d).text


VIEWS = {"convergence": "convergence_status", "impasse": "is_impasse", "citations": "has_citations", "evidence": "has_evidence",
         "summary": "summary", "verification-report": "verification_enabled", "positions": "pivots", "diagnostics": "agents",
         "costs": "data", "meta-critique": "overall_quality", "graph": "nodes", "graph/stats": "max_width", "graph-stats": "depth",
         "rhetorical": "pattern_counts", "timeline": "next_seq", "trickster": "interventions", "reasoning": "data"}


def test_derived_views(shared):
    s = shared
    d = debate(s, rounds=2)
    result = s.get("/api/debates/" + d).json()
    shown = {name: s.get("/api/debates/%s/%s" % (d, name)).json() for name in VIEWS}
    assert all(member in shown[name] for name, member in VIEWS.items())
    assert shown["diagnostics"]["receipt_generated"] is True and len(shown["diagnostics"]["agents"]) == len(result["agents"])
    assert shown["costs"]["data"]["total_calls"] == sum(a["calls"] for a in result["per_agent"].values())
    assert isinstance(shown["costs"]["data"]["total_cost_usd"], str)
    rounds = shown["costs"]["data"]["per_round"]
    assert set(rounds) == {"0", "1", "2"} and sum(r["calls"] for r in rounds.values()) == shown["costs"]["data"]["total_calls"]
    assert sum(r["tokens_in"] for r in rounds.values()) == shown["costs"]["data"]["total_tokens_in"]
    assert shown["trickster"]["trickster_enabled"] is False and shown["trickster"]["log_kept"] is True  # demo agents are left alone
    reasons = shown["reasoning"]["data"]["agents"]
    assert {a: len(r["positions"]) for a, r in reasons.items()} == {a: 3 for a in result["agents"]}
    assert {a: r["vote"]["choice"] for a, r in reasons.items()} == {v["agent"]: v["choice"] for v in result["votes"]}
    assert sum(r["critiques_received"] for r in reasons.values()) == len(result["critiques"])
    assert shown["summary"]["summary"]["one_liner"] and shown["summary"]["confidence"] == result["confidence"]
    assert set(shown["positions"]["positions"]) == set(result["agents"])
    assert len(shown["convergence"]["convergence_trajectory"]) == 1 + result["rounds_used"]
    assert shown["verification-report"]["verification_enabled"] is False
    assert shown["summary"]["verdict"] == s.get("/api/debates/%s/receipt" % d).json()["verdict"]
    for name in VIEWS:
        assert s.get("/api/debates/nope/" + name).status_code == 404


def test_timeline(make_server):
    """Page by page it is the log, event for event, with a line for each."""
    s = make_server({"providers": {"demo": {"delay_ms": 0}}})
    d, seen, after, more = debate(s), [], 0, True
    while more:
        page = s.get("/api/debates/%s/timeline" % d, params={"since": after, "limit": 7}).json()
        seen, after, more = seen + page["timeline"], page["next_seq"], page["has_more"]
    events = s.get("/api/debates/%s/events" % d, params={"limit": 500}).json()["events"]
    assert [(e["seq"], e["type"], e["agent"], e["round"]) for e in seen] == \
        [(e["seq"], e["type"], e["agent"], e["round"]) for e in events]
    drafts = [e for e in seen if e["type"] == "agent_message" and e["round"] == 0]
    assert all(e["summary"] and not e["summary"].startswith("POSITION") and e["timestamp"].endswith("Z") for e in drafts)
    s.sql("DELETE FROM debate_events WHERE debate_id = ?", d)  # as retention does
    gone = s.get("/api/debates/%s/timeline" % d).json()
    assert gone["log_kept"] is False and gone["timeline"] == [] and gone["has_more"] is False


def test_hollow_agreement_is_shown(make_server, provider):  # noqa: F811
    """Agents that agree without a single source, figure or reason are challenged once, and the view says for what."""
    s = make_server({"server": {"workers": 1}, "providers": {"openai": {"base_url": provider.openai_url, "api_key": "sk-t"}}})
    provider.script(phase="revise", text="POSITION: Take Redis now.\n\nIt is the nicer one of them all.\n\nCONFIDENCE: 0.9")
    d = debate(s, agents=["gpt-4o", "gpt-4o-mini"], rounds=2)
    shown = s.get("/api/debates/%s/trickster" % d).json()
    assert shown["trickster_enabled"] and shown["hollow_consensus_detected"] and shown["total_alerts"] == 1
    assert shown["hollow_consensus_alerts"][0]["round"] == 1 and shown["confidence"] > shown["config"]["hollow_detection_threshold"]
    assert "gpt-4o lacks sources" in shown["indicators"][0]["description"]
    assert shown["interventions"][0]["intervention_type"] == "challenge_prompt" and shown["recommendation"]
    costs = s.get("/api/debates/%s/costs" % d).json()["data"]
    assert abs(sum(float(r["cost_usd"]) for r in costs["per_round"].values()) - float(costs["total_cost_usd"])) < 1e-5


def test_several_explanations(shared):
    s = shared
    ids = [debate(s), debate(s, task="Another question?")]
    got = s.post("/api/v1/explainability/batch", {"debate_ids": ids + ["nope"]}).json()
    assert [e["debate_id"] for e in got["results"]] == ids and got["count"] == 2 and got["results"][0]["votes"]
    assert [e["debate_id"] for e in got["errors"]] == ["nope"] and "not found" in got["errors"][0]["error"].lower()
    rows = s.post("/api/explainability/compare", {"debate_ids": ids}).json()
    assert [r["debate_id"] for r in rows["comparison"]] == ids and rows["comparison"][1]["votes"] == len(got["results"][1]["votes"])
    assert isinstance(rows["same_outcome"], bool)
    for bad in ({}, {"debate_ids": []}, {"debate_ids": [1]}, {"debate_ids": ["x"] * 21}):
        assert s.post("/api/explainability/batch", bad).status_code == 400


def test_shape_of_a_debate(make_server, provider):  # noqa: F811
    """Each text, critique and vote is a node; critiques attack what they are about, and the next text answers them."""
    s = make_server({"server": {"workers": 1}, "providers": {"openai": {"base_url": provider.openai_url, "api_key": "sk-t"}}})
    provider.script(phase="propose", text="POSITION: Take Redis.\n\nObviously it is fast. Studies show it.\n\nCONFIDENCE: 0.7")
    d = debate(s, agents=["gpt-4o", "gpt-4o-mini"], rounds=1)
    result = s.get("/api/debates/" + d).json()
    graph = s.get("/api/debates/%s/graph" % d).json()
    kinds = [n["id"][0] for n in graph["nodes"]]
    assert (kinds.count("m"), kinds.count("c"), kinds.count("v")) == tuple(
        len(result[k]) for k in ("messages", "critiques", "votes"))
    ids = {n["id"]: n for n in graph["nodes"]}
    types = [e["type"] for e in graph["edges"]]
    assert types.count("attacks") == len(result["critiques"]) and types.count("supports") == len(result["votes"])
    for e in graph["edges"]:
        if e["type"] == "supports":
            assert ids[e["target"]]["round"] == result["rounds_used"] and ids[e["target"]]["id"][0] == "m"
    stats = s.get("/api/debates/%s/graph/stats" % d).json()
    assert stats["node_count"] == len(ids) and stats["edge_count"] == len(types)
    # A vote, the text it is for, the critique that this text answers, the draft that was criticised.
    answering = {e["source"] for e in graph["edges"] if e["type"] == "responds_to" and e["target"][0] == "c"}
    chosen = any(e["type"] == "supports" and e["target"] in answering for e in graph["edges"])
    assert result["critiques"] and stats["depth"] == (4 if chosen else 3) and stats == s.get("/api/debates/%s/graph-stats" % d).json()
    spoken = s.get("/api/debates/%s/rhetorical" % d).json()
    assert spoken["pattern_counts"]["certainty"] == spoken["pattern_counts"]["appeal_to_authority"] >= 2
    assert spoken["observations"][0]["excerpt"].startswith("Obviously it is fast")
    assert spoken["summary"]["agents_flagged"] == list(result["agents"])


@pytest.mark.server({"providers": {"demo": {"delay_ms": 3000}}, "server": {"graceful_timeout": "50ms"}})
def test_views_of_a_running_debate(server):
    d = server.post("/api/debates", {"task": TASK, "rounds": 1}).json()["debate_id"]
    for name in VIEWS:
        assert server.get("/api/debates/%s/%s" % (d, name)).status_code == 200, name
    assert server.get("/api/debates/%s/explain" % d).status_code == 409
    server.post("/api/debates/%s/cancel" % d)  # or the end of the test would wait for the call under way


# ---- time stamps ----

class Authority:
    """A time stamping authority of RFC 3161, made of openssl ts."""
    CONF = """
[req]
distinguished_name = dn
prompt = no
[dn]
CN = Stamps of tests
[ext]
extendedKeyUsage = critical,timeStamping
keyUsage = critical,digitalSignature
[tsa]
default_tsa = t
[t]
serial = {0}/serial
signer_cert = {0}/tsa.pem
certs = {0}/tsa.pem
signer_key = {0}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_chain = no
"""

    def __init__(self, folder):
        self.folder, self.asked, self.broken = folder, 0, False
        (folder / "conf").write_text(self.CONF.format(folder))
        (folder / "serial").write_text("01\n")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-config", folder / "conf", "-extensions", "ext",
                        "-days", "2", "-keyout", folder / "tsa.key", "-out", folder / "tsa.pem"], check=True, capture_output=True)
        authority = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                query = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"] == "application/timestamp-query"
                reply = authority.answer(query)
                self.send_response(200)
                self.send_header("Content-Type", "application/timestamp-reply")
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *args):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = "http://127.0.0.1:%d/" % self.server.server_port

    def answer(self, query):
        self.asked += 1
        (self.folder / "q").write_bytes(query)
        subprocess.run(["openssl", "ts", "-reply", "-config", self.folder / "conf", "-section", "t", "-queryfile", self.folder / "q", "-out",
                        self.folder / "r"], check=True, capture_output=True)
        reply = (self.folder / "r").read_bytes()
        if self.broken:  # the answer to the first question, again: another hash, another nonce
            return self.first
        self.first = reply
        return reply


@pytest.fixture
def authority(tmp_path):
    folder = tmp_path / "tsa"
    folder.mkdir()
    a = Authority(folder)
    yield a
    a.server.shutdown()


def test_time_stamps(make_server, authority, tmp_path):
    s = make_server({"receipts": {"tsa_url": authority.url, "tsa_ca_file": str(authority.folder / "tsa.pem"), "tsa_interval": "1s"},
                     "deliveries": {"allow_private": ["127.0.0.0/8"]}})
    d = debate(s)
    document = raw(s, d)

    def stamped(ref):
        return s.get("/api/receipts/%s/verify" % ref).json()["timestamp"]
    stamp = wait_until(lambda: stamped(d), 30, "the stamp")
    assert stamp["valid"] is True and "Stamps of tests" in stamp["authority"] and "error" not in stamp
    assert s.get("/api/receipts/%s/timestamp" % d).json() == stamp
    reply = s.get("/api/receipts/%s/timestamp" % d, headers={"Accept": "application/timestamp-reply"})
    assert reply.headers["Content-Type"] == "application/timestamp-reply"
    # Anybody can check it with openssl alone.
    left = {k: v for k, v in document.items() if k not in ("content_hash", "artifact_hash", "signature")}
    (tmp_path / "text").write_text(json.dumps(left, sort_keys=True, separators=(",", ":"), ensure_ascii=False))
    (tmp_path / "tsr").write_bytes(reply.content)
    out = subprocess.run(["openssl", "ts", "-verify", "-data", tmp_path / "text", "-in", tmp_path / "tsr", "-CAfile", authority.folder / "tsa.pem"],
                         capture_output=True, text=True)
    assert "Verification: OK" in out.stdout, out.stdout + out.stderr
    # An answer that is not for us is no stamp; it is asked for again, and comes.
    authority.broken = True
    other = debate(s)
    s.wait_log("a receipt was not stamped")
    assert stamped(other) is None and s.get("/api/receipts/%s/timestamp" % other).status_code == 404
    assert "aragora_receipt_timestamps_total 1" in s.get("/metrics").text
    authority.broken = False
    assert wait_until(lambda: stamped(other), 30, "the stamp")["valid"] is True
    # A stamp of another receipt proves nothing.
    s.sql("UPDATE receipt_stamps SET token = (SELECT token FROM receipt_stamps WHERE debate_id = '%s')" % other)
    assert stamped(d)["valid"] is False and stamped(d)["error"] and stamped(other)["valid"] is True
    assert raw(s, d) == document, "the receipt does not depend on it"
