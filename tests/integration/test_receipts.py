# SPDX-License-Identifier: MIT
"""Receipts: keys of both kinds and their rotation, verification without a server and by the script of the manual, formats,
search, shares, legal hold, and the explanation of a decision."""
import json
import re
import subprocess
import sys

import pytest

from conftest import ROOT, binary, wait_until

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


def test_document(make_server):
    s = make_server()
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


def test_formats(make_server, tmp_path):
    s = make_server()
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
