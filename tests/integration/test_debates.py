# SPDX-License-Identifier: MIT
"""Debates over HTTP: creation, idempotency, reading, changing, cancelling, export, receipts."""
import csv
import io
import json
import re
import time
import uuid

import pytest

from conftest import Server
from talk import DONE, TASK, create, debate, envelope, log, samples, status, together, wait_end, wait_status


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    """Fast demo agents; most tests share it."""
    s = Server(tmp_path_factory.mktemp("api"), {"debates": {"max_concurrent": 8}})
    s.start()
    yield s
    s.close()


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """One debate at a time, and each takes minutes unless it is cancelled; two may wait."""
    s = Server(tmp_path_factory.mktemp("slow"), {"providers": {"demo": {"delay_ms": 2000}},
                                                 "debates": {"max_concurrent": 1, "max_queued": 2}})
    s.start()
    yield s
    s.close()


@pytest.fixture(scope="module")
def done(api):
    """A finished debate, not to be changed."""
    return debate(api, "Which database should hold the <b>sessions</b> & why?", rounds=2,
                  context="Ten thousand users.", metadata={"ticket": "A-17"})


# ---- creating ----

@pytest.mark.parametrize("name", ["task", "topic", "question"])
def test_create_takes_three_names_of_the_text(api, name):
    r = api.post("/api/debates", {name: "  " + TASK + "  ", "rounds": 1})
    assert r.status_code == 200
    d = r.json()
    assert d["id"] == d["debate_id"] and d["success"] is True and d["status"] == "created"
    assert d["task"] == TASK and d["rounds"] == 1
    assert len(d["agents"]) >= 2 and all(isinstance(a, str) for a in d["agents"])
    assert d["websocket_url"] == "ws://127.0.0.1:%d/ws?debate_id=%s" % (api.port, d["id"])
    assert "estimated_duration" in d and d["demo"] is True
    assert r.headers["Location"] == "/api/debates/" + d["id"]
    assert uuid.UUID(d["id"]).version == 7
    assert status(api, d["id"])["task"] == TASK


def test_create_by_the_former_path(api):
    r = api.post("/api/debate", {"question": TASK, "rounds": 1})
    assert r.status_code == 200 and wait_end(api, r.json()["debate_id"])["status"] == "completed"


def test_create_takes_settings_from_protocol(api):
    r = api.post("/api/debates", {"task": TASK, "protocol": {"rounds": 2, "consensus": "unanimous"}, "rounds": 1})
    assert r.json()["rounds"] == 1  # the top wins
    assert api.post("/api/debates", {"task": TASK, "protocol": {"rounds": 2}}).json()["rounds"] == 2
    assert api.post("/api/debates", {"task": TASK}).json()["rounds"] == 3  # default of the configuration


def test_every_way_to_decide(api):
    modes = ["majority", "weighted", "supermajority", "unanimous", "semantic", "any", "byzantine", "judge", "hybrid", "none"]
    ids = [api.post("/api/debates", {"task": TASK, "rounds": 1, "consensus": m, "agents": ["demo"] * 4}).json()["id"] for m in modes]
    for mode, i in zip(modes, ids):
        d = wait_end(api, i)
        assert d["status"] == "completed", (mode, d)
        c = api.get("/api/debates/" + i).json()["consensus"]
        assert c["method"] == mode and (not c["reached"] or mode != "none")
        assert 0 <= c["share"] <= 1 and 0 <= c["weighted_share"] <= 1 and 0 <= c["margin"] <= c["weighted_share"]
    r = api.post("/api/debates", {"task": TASK, "consensus": "byzantine", "agents": ["demo"] * 3, "consensus_threshold": 2})
    assert r.status_code == 400 and {e["field"] for e in r.json()["errors"]} == {"consensus", "consensus_threshold"}


def test_who_criticises_whom(api):
    counts = {"all-to-all": 20, "ring": 10, "round-robin": 5, "sparse": 10, "star": 8, "adaptive": 20, "auto": 10}
    ids = [api.post("/api/debates", {"task": TASK, "rounds": 1, "topology": t, "agents": ["demo"] * 5}).json()["id"] for t in counts]
    for kind, i in zip(counts, ids):
        assert wait_end(api, i)["status"] == "completed"
        critiques = [e for e in log(api, i) if e["type"] == "critique"]
        assert len(critiques) == counts[kind], kind
        assert all(e["data"]["critic"] != e["data"]["target"] for e in critiques)


def test_formats(api):
    assert api.post("/api/debates", {"task": TASK, "debate_format": "light"}).json()["rounds"] == 1
    assert api.post("/api/debates", {"task": TASK, "debate_format": "light", "rounds": 2}).json()["rounds"] == 2
    r = api.post("/api/debates", {"task": TASK, "debate_format": "huge", "topology": "heap"})
    assert r.status_code == 400 and {e["field"] for e in r.json()["errors"]} == {"debate_format", "topology"}


def test_create_takes_agents_in_every_form(api):
    for agents in (["claude", "gpt"], "claude,gpt", [{"name": "claude"}, {"provider": "openai", "name": "second", "role": "critic"}],
                   ["claude|claude-x|skeptic|critic", "openai:synthesizer"]):
        r = api.post("/api/debates", {"task": TASK, "rounds": 1, "agents": agents})
        assert r.status_code == 200, r.text
        assert len(r.json()["agents"]) == 2
    assert len(api.post("/api/debates", {"task": TASK, "rounds": 1, "agents": []}).json()["agents"]) >= 2


BAD = [
    ({}, "task", "MISSING_FIELD"),
    ({"task": ""}, "task", "MISSING_FIELD"),
    ({"topic": " \n\t "}, "topic", "MISSING_FIELD"),
    ({"task": 5}, "task", "INVALID_VALUE"),
    ({"question": ["x"]}, "question", "INVALID_VALUE"),
    ({"task": None}, "task", "INVALID_VALUE"),
    ({"task": "x" * 10001}, "task", "INVALID_VALUE"),
    ({"task": TASK, "rounds": "two"}, "rounds", "INVALID_VALUE"),
    ({"task": TASK, "rounds": 0}, "rounds", "INVALID_VALUE"),
    ({"task": TASK, "rounds": -1}, "rounds", "INVALID_VALUE"),
    ({"task": TASK, "rounds": 2.5}, "rounds", "INVALID_VALUE"),
    ({"task": TASK, "rounds": 10 ** 18}, "rounds", "INVALID_VALUE"),
    ({"task": TASK, "rounds": True}, "rounds", "INVALID_VALUE"),
    ({"task": TASK, "consensus": "dice"}, "consensus", "INVALID_VALUE"),
    ({"task": TASK, "consensus": 1}, "consensus", "INVALID_VALUE"),
    ({"task": TASK, "agents": ["claude"]}, "agents", "INVALID_VALUE"),
    ({"task": TASK, "agents": ["claude", "nobody-knows-me"]}, "agents", "INVALID_VALUE"),
    ({"task": TASK, "agents": 7}, "agents", "INVALID_VALUE"),
    ({"task": TASK, "agents": ["claude", 7]}, "agents", "INVALID_VALUE"),
    ({"task": TASK, "agents": ["claude"] * 11}, "agents", "INVALID_VALUE"),
    ({"task": TASK, "context": 5}, "context", "INVALID_VALUE"),
    ({"task": TASK, "context": "x" * 100001}, "context", "INVALID_VALUE"),
    ({"task": TASK, "metadata": []}, "metadata", "INVALID_VALUE"),
    ({"task": TASK, "metadata": {"k": "x" * 70000}}, "metadata", "INVALID_VALUE"),
    ({"task": TASK, "protocol": "fast"}, "protocol", "INVALID_VALUE"),
]


@pytest.mark.parametrize("body,field,code", BAD, ids=["%s-%d" % (b[1], i) for i, b in enumerate(BAD)])
def test_create_names_what_is_wrong(api, body, field, code):
    e = envelope(api.post("/api/debates", body), 400, code, field)
    assert [x["field"] for x in e["errors"]] == [field]
    message = e["errors"][0]["message"]  # the sentence names the field, alone or because it would have no subject
    assert e["error"] == (field + ": " + message if message.startswith(("must ", "is ")) else message)
    assert e["errors"][0]["code"] == code


def test_create_lists_every_bad_field(api):
    before = api.get("/api/debates").json()["total"]
    e = envelope(api.post("/api/debates", {"rounds": 0, "consensus": "dice", "agents": 7, "context": 1, "metadata": 2}), 400,
                 "MISSING_FIELD", "task")
    assert [x["field"] for x in e["errors"]] == ["task", "rounds", "consensus", "context", "metadata", "agents"]
    assert api.get("/api/debates").json()["total"] == before


def test_create_limits_count_characters_not_bytes(api):
    r = api.post("/api/debates", {"task": "\u00fc" * 10000, "rounds": 1})
    assert r.status_code == 200
    assert wait_end(api, r.json()["id"])["task"] == "\u00fc" * 10000


@pytest.mark.parametrize("text", ["[1]", "{bad", "null", "5", '"x"', '{"task":"a"} x', '{"task":"a","task":"b"}',
                                  "[" * 100 + "]" * 100, '{"task":"\\ud800"}', '{"task":"a\x01"}'])
def test_bodies_that_are_no_json_object(api, text):
    r = api.request("POST", "/api/debates", data=text, headers={"Content-Type": "application/json"})
    envelope(r, 400, "INVALID_JSON")


def test_body_that_is_no_utf8(api):
    r = api.request("POST", "/api/debates", data=b'{"task":"\xff\xfe"}', headers={"Content-Type": "application/json"})
    envelope(r, 400, "INVALID_JSON")


def test_empty_body_is_an_empty_object(api):
    for headers in ({}, {"Content-Type": "application/json"}):
        envelope(api.request("POST", "/api/debates", headers=headers), 400, "MISSING_FIELD", "task")


def test_content_type(api):
    text = json.dumps({"task": TASK, "rounds": 1}).encode()
    for wrong in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp"):
        envelope(api.request("POST", "/api/debates", data=text, headers={"Content-Type": wrong}), 415, "UNSUPPORTED_MEDIA_TYPE")
    for right in ("application/json", "application/json; charset=utf-8", "Application/JSON"):
        assert api.request("POST", "/api/debates", data=text, headers={"Content-Type": right}).status_code == 200
    assert api.request("POST", "/api/debates", data=text, headers={"Content-Type": None}).status_code == 200


def test_body_limit(make_server):
    s = make_server({"server": {"workers": 1}, "limits": {"body_bytes": 4096}})
    r = s.post("/api/debates", {"task": "x" * 5000})
    envelope(r, 413, "PAYLOAD_TOO_LARGE")
    assert "4096" in r.json()["error"]
    assert r.headers["Connection"] == "close"
    assert s.post("/api/debates", {"task": "x" * 3000, "rounds": 1}).status_code == 200


# ---- idempotency ----

def test_idempotency_key(api):
    key, body = {"Idempotency-Key": uuid.uuid4().hex}, {"task": TASK, "rounds": 1}
    first, second = (api.post("/api/debates", body, headers=key) for _ in range(2))
    assert first.status_code == second.status_code == 200
    assert first.json()["id"] == second.json()["id"]
    assert first.json()["replayed"] is False and second.json()["replayed"] is True
    assert second.json()["agents"] == first.json()["agents"]
    envelope(api.post("/api/debates", {"task": TASK, "rounds": 2}, headers=key), 422, "UNPROCESSABLE_ENTITY", "Idempotency-Key")
    assert api.post("/api/debates", body, headers={"Idempotency-Key": uuid.uuid4().hex}).json()["id"] != first.json()["id"]
    envelope(api.post("/api/debates", body, headers={"Idempotency-Key": "k" * 256}), 400, "INVALID_VALUE", "Idempotency-Key")


def test_idempotency_key_under_concurrency(api):
    key, body = {"Idempotency-Key": uuid.uuid4().hex}, {"task": "One key, many requests?", "rounds": 1}
    before = api.get("/api/debates").json()["total"]
    answers = together([lambda: api.post("/api/debates", body, headers=key)] * 8)
    assert {a.status_code for a in answers} == {200}, [a.text for a in answers]
    assert len({a.json()["id"] for a in answers}) == 1
    assert [a.json()["replayed"] for a in answers].count(False) == 1
    assert api.get("/api/debates").json()["total"] == before + 1


# ---- reading ----

def test_debate_object(api, done):
    d = done
    assert d["id"] == d["debate_id"] and d["status"] == "completed"
    assert d["task"] == d["topic"] == d["question"]
    assert d["context"] == "Ten thousand users." and d["metadata"] == {"ticket": "A-17"}
    assert d["total_rounds"] == 2 and 0 <= d["rounds_used"] <= 2
    assert d["final_answer"] == d["conclusion"] and d["final_answer"]
    assert d["consensus_reached"] in (True, False)
    assert 0 <= d["confidence"] <= 1 and 0 <= d["agreement"] <= 1
    assert {"reached", "agreement", "confidence", "final_answer", "conclusion", "supporting_agents", "dissenting_agents"} <= set(
        d["consensus"])
    assert {"reached", "confidence", "vote_breakdown", "final_answer"} <= set(d["consensus_proof"])
    assert d["created_at"] <= d["started_at"] <= d["completed_at"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", d["created_at"])
    assert d["duration_seconds"] == d["elapsed_seconds"] >= 0
    assert d["demo"] is True and d["in_progress"] is False and d["receipt_id"]
    assert d["error"] is None and d["error_code"] is None
    assert [m["index"] for m in d["messages"]] == list(range(len(d["messages"]))) and len(d["messages"]) == d["message_count"]
    for m in d["messages"]:
        assert m["content"] and m["agent"] in d["agents"] and m["role"] and isinstance(m["round"], int) and m["timestamp"]
    assert [r["round_number"] for r in d["rounds"]] == list(range(d["rounds_used"] + 1))
    assert sum(len(r["messages"]) for r in d["rounds"]) == len(d["messages"])
    for v in d["votes"]:
        assert v["voter"] in d["agents"] and v["choice"] in d["agents"] and v["reason"] == v["reasoning"] and 0 <= v["confidence"] <= 1
    for c in d["critiques"]:
        assert c["critic"] in d["agents"] and c["target"] in d["agents"] and 0 <= c["severity"] <= 10 and c["issues"]
    assert "_ppm" not in json.dumps(d["votes"]) or all("confidence" in v for v in d["votes"])


def test_debate_by_slug(api, done):
    assert re.fullmatch(r"[a-z0-9-]+-\d{4}-\d\d-\d\d(-\d+)?", done["slug"])
    assert api.get("/api/debates/slug/" + done["slug"]).json()["id"] == done["id"]
    assert api.get("/api/debates/" + done["slug"]).json()["id"] == done["id"]


def test_slugs_differ(api):
    slugs = [api.get("/api/debates/" + create(api, "Same words every time?")).json()["slug"] for _ in range(3)]
    assert len(set(slugs)) == 3


@pytest.mark.parametrize("path", ["", "/status", "/messages", "/events", "/export", "/export/md", "/receipt", "/votes"])
def test_unknown_debate(api, path):
    envelope(api.get("/api/debates/nope" + path), 404, "NOT_FOUND")


def test_id_of_any_bytes(api):
    for ref in ("%27%20OR%201=1--", "x" * 300, "a%2Fb", "%F0%9F%90%9F", "..."):
        r = api.get("/api/debates/" + ref)
        assert r.status_code in (400, 404), ref
        envelope(r, r.status_code, r.json()["code"])


def test_status(api, done):
    s = status(api, done["id"])
    assert s["id"] == s["debate_id"] == done["id"] and s["status"] == "completed"
    assert s["agents"] == done["agents"] and s["total_rounds"] == 2
    assert s["message_count"] == len(done["messages"]) and s["consensus_reached"] == done["consensus_reached"]
    assert s["confidence"] == done["confidence"] and s["error"] is None
    assert s["elapsed_seconds"] > 0 and abs(s["start_time"] - time.time()) < 3600
    assert s["last_seq"] == len(log(api, done["id"]))


def test_messages_paging(api, done):
    url = "/api/debates/%s/messages" % done["id"]
    whole = api.get(url, params={"limit": 200}).json()
    assert whole["debate_id"] == done["id"] and whole["total"] == len(whole["messages"]) == len(done["messages"])
    assert [(m["agent"], m["round"], m["content"]) for m in whole["messages"]] == [
        (m["agent"], m["round"], m["content"]) for m in done["messages"]]
    parts = [api.get(url, params={"limit": 3, "offset": o}).json() for o in range(0, whole["total"], 3)]
    assert sum((p["messages"] for p in parts), []) == whole["messages"]
    assert [p["has_more"] for p in parts] == [True] * (len(parts) - 1) + [False]
    assert api.get(url, params={"offset": 10 ** 6}).json()["messages"] == []


@pytest.mark.parametrize("part", ["rounds", "votes", "critiques", "consensus", "agents", "metadata"])
def test_parts_of_a_debate(api, done, part):
    p = api.get("/api/debates/%s/%s" % (done["id"], part)).json()
    assert p["debate_id"] == done["id"] and p[part] == done[part]
    if isinstance(p[part], list):
        assert p["count"] == len(p[part]) > 0


def test_list_pages(make_server):
    s = make_server({"server": {"workers": 1}})
    ids = [create(s, "Question number %d?" % i) for i in range(5)]
    for i in ids:
        wait_end(s, i)
    whole = s.get("/api/debates").json()
    assert [d["id"] for d in whole["debates"]] == ids[::-1]
    assert whole["items"] == whole["debates"] and whole["total"] == whole["count"] == 5 and whole["has_more"] is False
    assert "cursor" not in whole
    seen, offset = [], 0
    while True:
        p = s.get("/api/debates", params={"limit": 2, "offset": offset}).json()
        assert p["limit"] == 2 and p["offset"] == offset
        seen += [d["id"] for d in p["items"]]
        offset += len(p["items"])
        if not p["has_more"]:
            break
    assert seen == ids[::-1]
    for params, count in (({"limit": 0}, 1), ({"limit": 10 ** 9}, 5), ({"limit": "x"}, 5), ({"limit": -4}, 1),
                          ({"offset": -1}, 5), ({"offset": 99}, 0), ({"unknown": "1"}, 5)):
        r = s.get("/api/debates", params=params)
        assert r.status_code == 200 and len(r.json()["debates"]) == count, params
    entry = whole["debates"][0]
    assert {"slug", "debate_id", "id", "task", "topic", "agents", "consensus_reached", "confidence", "agreement", "created_at",
            "view_count", "is_public", "status", "rounds_used", "total_rounds", "duration_seconds"} <= set(entry)
    for wanted, count in (("completed", 5), ("concluded", 5), ("running", 0), ("failed", 0), ("nonsense", 0)):
        assert s.get("/api/debates", params={"status": wanted}).json()["total"] == count, wanted
    envelope(s.get("/api/debates", params={"status": "x" * 51}), 400, "INVALID_VALUE", "status")
    for path in ("/api/history/debates", "/api/dashboard/debates"):
        assert [d["id"] for d in s.get(path).json()["debates"]] == ids[::-1]
    # archived ones leave the list and stay in the history
    assert s.request("PATCH", "/api/debates/" + ids[0], json={"status": "archived"}).status_code == 200
    assert s.get("/api/debates").json()["total"] == 4
    assert [d["id"] for d in s.get("/api/debates", params={"status": "archived"}).json()["debates"]] == [ids[0]]
    assert s.get("/api/history/debates").json()["total"] == 5


def test_search(api):
    word = "zq" + uuid.uuid4().hex[:10]
    first = create(api, "Is %s 100%% safe_for us?" % word)
    second = create(api, "Another %s question?" % word.upper())
    for path in ("/api/debates/search", "/api/search"):
        for name in ("q", "query"):
            r = api.get(path, params={name: word}).json()
            assert [d["id"] for d in r["results"]] == [second, first] and r["total"] == 2 and r["query"] == word
            assert r["items"] == r["results"]
            assert [d["id"] for d in api.post(path, {name: word}).json()["results"]] == [second, first]
    limited = api.post("/api/debates/search", {"query": word, "limit": 1, "offset": 1}).json()
    assert [d["id"] for d in limited["results"]] == [first] and limited["has_more"] is False
    # wildcards of the database are text like any other
    assert api.get("/api/search", params={"q": word + " 100%"}).json()["total"] == 1
    assert api.get("/api/search", params={"q": word + " 10_%"}).json()["total"] == 0
    assert api.get("/api/search", params={"q": "safeXfor"}).json()["total"] == 0
    assert api.get("/api/search", params={"q": "nothing-has-this-" + word}).json()["results"] == []
    envelope(api.get("/api/search", params={"q": "x" * 1001}), 400, "INVALID_VALUE", "q")
    envelope(api.request("POST", "/api/search", data="[]"), 400, "INVALID_JSON")
    envelope(api.get("/api/search", params={"q": word, "since": "yesterday"}), 400, "INVALID_VALUE", "since")
    assert wait_end(api, first)["status"] == "completed"
    assert api.get("/api/search", params={"q": word, "status": "completed"}).json()["total"] >= 1
    assert api.get("/api/search", params={"q": word, "since": "2100-01-01T00:00:00Z"}).json()["total"] == 0
    assert api.get("/api/search", params={"q": word, "since": "2020-01-01T00:00:00Z", "until": "2100-01-01"}).json()["total"] == 2


# ---- changing ----

@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_update(api, method):
    i = debate(api)["id"]
    r = api.request(method, "/api/debates/" + i, json={"title": "T\u00fcr", "tags": ["a", "b"], "metadata": {"k": [1]}})
    assert r.status_code == 200
    u = r.json()
    assert u["success"] is True and u["debate_id"] == i and set(u["updated_fields"]) == {"title", "tags", "metadata"}
    assert u["debate"]["title"] == "T\u00fcr" and u["debate"]["tags"] == ["a", "b"] and u["debate"]["status"] == "completed"
    d = api.get("/api/debates/" + i).json()
    assert d["title"] == "T\u00fcr" and d["metadata"] == {"k": [1]}
    assert api.request(method, "/api/debates/" + i, json={"status": "archived"}).json()["debate"]["status"] == "archived"
    assert api.request(method, "/api/debates/" + i, json={"status": "active"}).json()["debate"]["status"] == "completed"
    d = api.get("/api/debates/" + i).json()
    assert d["title"] == "T\u00fcr"


@pytest.mark.parametrize("body,field", [({}, "body"), ({"title": 5}, "title"), ({"title": "x" * 501}, "title"),
                                        ({"tags": "a"}, "tags"), ({"tags": ["a"] * 21}, "tags"), ({"tags": [1]}, "tags"),
                                        ({"status": "running"}, "status"), ({"status": 1}, "status"),
                                        ({"metadata": []}, "metadata"),
                                        ({"metadata": {"k": "x" * 66000}}, "metadata")])
def test_update_refuses(api, done, body, field):
    envelope(api.request("PATCH", "/api/debates/" + done["id"], json=body), 400, "INVALID_VALUE", field)
    assert api.get("/api/debates/" + done["id"]).json()["updated_at"] == done["updated_at"]


def test_update_of_nothing(api):
    envelope(api.request("PATCH", "/api/debates/nope", json={"title": "x"}), 404, "NOT_FOUND")


def test_delete(api):
    d = debate(api)
    receipt = d["receipt_id"]
    r = api.delete("/api/debates/" + d["id"])
    assert r.status_code == 200 and r.json()["deleted"] is True and r.json()["id"] == d["id"] and r.json()["success"] is True
    for path in ("/api/debates/" + d["id"], "/api/debates/%s/events" % d["id"], "/api/receipts/" + receipt):
        envelope(api.get(path), 404, "NOT_FOUND")
    envelope(api.delete("/api/debates/" + d["id"]), 404, "NOT_FOUND")
    assert d["id"] not in [x["id"] for x in api.get("/api/history/debates", params={"limit": 200}).json()["debates"]]


def test_delete_frees_the_idempotency_key(api):
    """Who sends the same again after the deletion gets a new debate, not the number of one that is gone."""
    key, body = {"Idempotency-Key": uuid.uuid4().hex}, {"task": TASK, "rounds": 1}
    first = api.post("/api/debates", body, headers=key).json()["id"]
    wait_end(api, first)
    assert api.delete("/api/debates/" + first).status_code == 200
    again = api.post("/api/debates", {**body, "task": "Another text?"}, headers=key)
    assert again.status_code == 200 and again.json()["replayed"] is False, again.text
    assert again.json()["id"] != first and wait_end(api, again.json()["id"])["status"] == "completed"


# ---- cancelling and the queue ----

def test_cancel_running_then_queued(slow):
    running = create(slow)
    wait_status(slow, running, "running")
    queued = create(slow, "Waits until the other one ends?")
    assert status(slow, queued)["status"] == "created"
    envelope(slow.delete("/api/debates/" + running), 409, "CONFLICT")
    envelope(slow.delete("/api/debates/" + queued), 409, "CONFLICT")

    r = slow.post("/api/debates/%s/cancel" % queued, {"reason": "changed my mind"})
    assert r.status_code == 200
    assert r.json()["success"] is True and r.json()["debate_id"] == queued and r.json()["status"] == "cancelled"
    wait_status(slow, queued, "cancelled", 20)
    assert status(slow, running)["status"] == "running"
    end = log(slow, queued)[-1]
    assert end["type"] == "debate_end" and end["data"]["cancelled"] is True and end["data"]["reason"] == "changed my mind"

    r = slow.request("POST", "/api/debates/%s/cancel" % running)  # no body at all
    assert r.status_code == 200
    wait_status(slow, running, "cancelled", 20)
    events = log(slow, running)
    assert [e["type"] for e in events].count("debate_end") == 1
    assert events[-1]["type"] == "debate_end" and events[-1]["data"]["cancelled"] is True
    assert events[-1]["data"]["reason"]
    for i in (running, queued):
        envelope(slow.post("/api/debates/%s/cancel" % i), 400, "BAD_REQUEST")
        d = slow.get("/api/debates/" + i).json()
        assert d["status"] == "cancelled" and d["completed_at"] and d["in_progress"] is False
        assert slow.delete("/api/debates/" + i).status_code == 200
    envelope(slow.post("/api/debates/nope/cancel"), 404, "NOT_FOUND")


def test_cancel_refuses_what_is_no_reason(slow):
    i = create(slow)
    for reason in (5, ["x"], "y" * 501):
        envelope(slow.post("/api/debates/%s/cancel" % i, {"reason": reason}), 400, "INVALID_VALUE", "reason")
    envelope(slow.request("POST", "/api/debates/%s/cancel" % i, data="[1]"), 400, "INVALID_JSON")
    assert status(slow, i)["status"] in ("created", "running")
    assert slow.post("/api/debates/%s/stop" % i, {"reason": "y" * 500}).status_code == 200
    wait_status(slow, i, "cancelled", 20)
    assert log(slow, i)[-1]["data"]["reason"] == "y" * 500


def test_cancel_of_a_finished_debate(api, done):
    envelope(api.post("/api/debates/%s/cancel" % done["id"]), 400, "BAD_REQUEST")
    assert api.get("/api/debates/" + done["id"]).json()["status"] == "completed"


def test_full_queue_and_its_order(slow):
    running = create(slow)
    wait_status(slow, running, "running")
    waiting = [create(slow), create(slow)]
    r = slow.post("/api/debates", {"task": TASK})
    envelope(r, 503, "SERVICE_UNAVAILABLE")
    assert int(r.headers["Retry-After"]) > 0
    assert slow.get("/api/debates", params={"status": "running"}).json()["total"] == 1
    assert slow.get("/api/debates", params={"status": "pending"}).json()["total"] == 2
    slow.post("/api/debates/%s/cancel" % running)
    wait_status(slow, waiting[0], "running", 20)  # the older one, and only one
    assert status(slow, waiting[1])["status"] == "created"
    for i in waiting:
        slow.post("/api/debates/%s/cancel" % i)
        wait_status(slow, i, "cancelled", 20)


def test_max_concurrent_is_kept_and_the_queue_drains(make_server):
    s = make_server({"server": {"workers": 3}, "debates": {"max_concurrent": 2}, "providers": {"demo": {"delay_ms": 120}}})
    ids = together([lambda n=n: create(s, "Load number %d?" % n) for n in range(8)])
    most = 0
    while True:
        states = [status(s, i)["status"] for i in ids]
        # counted in one statement, unlike the states above
        most = max(most, s.get("/api/debates", params={"status": "running"}).json()["total"])
        if set(states) <= DONE:
            break
        assert samples(s.get("/metrics").text)["aragora_active_debates"] <= 2
    assert states == ["completed"] * 8
    assert most == 2


def test_debate_time_limit(make_server):
    s = make_server({"server": {"workers": 1}, "debates": {"timeout": "400ms"}, "providers": {"demo": {"delay_ms": 2000}}})
    d = debate(s)
    assert d["status"] == "failed" and d["error_code"] == "timeout"
    assert "time limit" in d["error"]
    types = [e["type"] for e in log(s, d["id"])]
    assert types[-1] == "debate_end" and "error" in types and types.count("debate_end") == 1
    end = log(s, d["id"])[-1]["data"]
    assert end["status"] == "timeout" and "time limit" in end["reason"]
    for wanted in ("failed", "timeout"):
        assert [x["id"] for x in s.get("/api/debates", params={"status": wanted}).json()["debates"]] == [d["id"]]
    found = samples(s.get("/metrics").text)
    assert found["aragora_debates_failed"] == 1 and found["aragora_active_debates"] == 0


def test_agent_time_limit_ends_a_debate_honestly(make_server):
    s = make_server({"server": {"workers": 1}, "debates": {"agent_timeout": "200ms", "retry_attempts": 1},
                     "providers": {"demo": {"delay_ms": 1500}}})
    d = debate(s)
    assert d["status"] == "failed"
    assert d["error_code"] and "agent" in d["error"]
    assert set(d["agent_failures"]) == set(d["agents"])
    assert not d["final_answer"]
    events = log(s, d["id"])
    assert {e["agent"] for e in events if e["type"] == "agent_error"} == set(d["agents"])
    assert events[-1]["type"] == "debate_end"


# ---- export ----

def test_export_json_is_the_debate(api, done):
    for path in ("/export", "/export?format=json", "/export/json"):
        r = api.get("/api/debates/%s%s" % (done["id"], path))
        assert r.headers["Content-Type"] == "application/json" and r.json() == done
        assert r.headers["Content-Disposition"] == 'attachment; filename="debate-%s.json"' % done["slug"]


@pytest.mark.parametrize("name,kind,ext", [("md", "text/markdown", "md"), ("markdown", "text/markdown", "md"), ("txt", "text/plain", "txt")])
def test_export_text(api, done, name, kind, ext):
    r = api.get("/api/debates/%s/export/%s" % (done["id"], name))
    assert r.headers["Content-Type"] == kind + "; charset=utf-8"
    assert r.headers["Content-Disposition"].endswith('.%s"' % ext)
    text = r.content.decode()
    assert done["task"] in text and done["final_answer"] in text
    for m in done["messages"]:
        assert m["content"] in text
    assert r.content == api.get("/api/debates/%s/export" % done["id"], params={"format": name}).content


def test_export_html(api, done):
    r = api.get("/api/debates/%s/export/html" % done["id"])
    assert r.headers["Content-Type"] == "text/html; charset=utf-8"
    text = r.content.decode()
    assert text.startswith("<!doctype html>") and "</html>" in text
    assert "&lt;b&gt;sessions&lt;/b&gt; &amp; why" in text and "<b>sessions" not in text
    assert "<script" not in text and "http://" not in text and "https://" not in text


@pytest.mark.parametrize("table,header", [("", ["field", "value"]), ("summary", ["field", "value"]),
                                          ("messages", ["round", "agent", "role", "content", "timestamp"]),
                                          ("critiques", ["round", "critic", "target", "severity", "summary", "timestamp"]),
                                          ("votes", ["round", "voter", "choice", "reason", "timestamp"])])
def test_export_csv(api, done, table, header):
    r = api.get("/api/debates/%s/export/csv" % done["id"], params={"table": table} if table else {})
    assert r.headers["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.reader(io.StringIO(r.content.decode(), newline="")))
    assert rows[0][:len(header)] == header
    assert all(len(row) == len(rows[0]) for row in rows)
    if header[0] == "field":
        fields = dict(rows[1:])
        assert fields["debate_id"] == done["id"] and fields["topic"] == done["task"]
        assert fields["message_count"] == str(len(done["messages"]))
        assert fields["critique_count"] == str(len(done["critiques"])) and fields["vote_count"] == str(len(done["votes"]))
        assert {"started_at", "ended_at", "rounds_used", "consensus_reached", "final_answer"} <= set(fields)
    else:
        assert len(rows) - 1 == len(done[table]) > 0
        assert [row[0] for row in rows[1:]] == [str(x["round"]) for x in done[table]]
        for row in rows[1:]:
            assert row[header.index("timestamp")], row


def test_export_csv_is_no_formula(api):
    for start in ("=", "+", "-", "@", "\t=", "\r="):
        d = debate(api, "x", metadata={})
        api.request("PATCH", "/api/debates/" + d["id"], json={"title": start})
        i = create(api, start + 'SUM(1;2) "quoted", and\nmore')
        wait_end(api, i)
        rows = dict(csv.reader(io.StringIO(api.get("/api/debates/%s/export/csv" % i).content.decode(), newline="")))
        assert rows["topic"].startswith("'") or rows["topic"][0].isalnum(), rows["topic"]
        assert 'SUM(1;2) "quoted", and\nmore' in rows["topic"]


def test_export_refuses(api, done):
    url = "/api/debates/%s/export" % done["id"]
    envelope(api.get(url, params={"format": "dot"}), 400, "INVALID_VALUE", "format")
    envelope(api.get(url + "/pdf"), 400, "INVALID_VALUE", "format")
    envelope(api.get(url + "/csv", params={"table": "users"}), 400, "INVALID_VALUE", "table")
    # names from the query never reach a header as they are
    for table in ('x"\r\nX-Injected: 1', "\u00e9\x01", "a/b"):
        r = api.get(url, params={"format": "json", "table": table})
        assert "X-Injected" not in r.headers
        assert r.status_code in (200, 400)
    assert api.get("/healthz").status_code == 200


def test_export_of_a_running_debate(slow):
    i = create(slow)
    wait_status(slow, i, "running")
    for form in ("json", "md", "html", "txt", "csv"):
        r = slow.get("/api/debates/%s/export/%s" % (i, form))
        assert r.status_code == 200 and r.content
    slow.post("/api/debates/%s/cancel" % i)
    wait_status(slow, i, "cancelled", 20)


def test_export_of_all(make_server):
    s = make_server({"server": {"workers": 1}, "debates": {"max_concurrent": 8}})
    assert s.get("/api/debates/export").json()["debates"] == []
    ids = [create(s, "Export number %d?" % i) for i in range(4)]
    for i in ids:
        wait_end(s, i)
    r = s.get("/api/debates/export", params={"format": "json"})
    whole = r.json()
    assert r.headers["Content-Disposition"] == 'attachment; filename="debates.json"'
    assert whole["count"] == 4 and [d["id"] for d in whole["debates"]] == ids[::-1] and whole["exported_at"]
    assert whole["debates"][0] == s.get("/api/debates/" + ids[3]).json()
    assert s.get("/api/debates/export", params={"limit": 3}).json()["count"] == 3
    assert [d["id"] for d in s.get("/api/debates/export", params={"limit": 3, "offset": 2}).json()["debates"]] == ids[1::-1]
    r = s.get("/api/debates/export", params={"format": "csv"})
    rows = list(csv.DictReader(io.StringIO(r.content.decode(), newline="")))
    assert [row["debate_id"] for row in rows] == ids[::-1]
    assert r.headers["Content-Type"] == "text/csv; charset=utf-8"
    envelope(s.get("/api/debates/export", params={"format": "xml"}), 400, "INVALID_VALUE", "format")


def test_export_of_many(make_server):
    """More than one page of them."""
    s = make_server({"server": {"workers": 2, "graceful_timeout": "50ms"}, "providers": {"demo": {"delay_ms": 3000}}})
    ids = {create(s, "Q%d?" % n) for n in range(103)}
    whole = s.get("/api/debates/export").json()
    assert {d["id"] for d in whole["debates"]} == ids and whole["count"] == 103 == len(whole["debates"])


# ---- receipts ----

def test_receipt_and_its_verification(api, done):
    by = [api.get("/api/receipts/" + ref).json() for ref in (done["receipt_id"], done["id"], done["slug"])]
    assert by[0] == by[1] == by[2] == api.get("/api/debates/%s/receipt" % done["id"]).json()
    assert by[0]["receipt_id"] == done["receipt_id"] and by[0]["debate_id"] == done["id"]
    assert re.fullmatch(r"[0-9a-f]{64}", by[0]["content_hash"])
    for method in ("GET", "POST"):
        v = api.request(method, "/api/receipts/%s/verify" % done["receipt_id"]).json()
        assert v["valid"] is True and v["signature_valid"] is True and v["integrity_valid"] is True and v["error"] is None
        assert v["receipt_id"] == done["receipt_id"]
    end = {e["type"]: e for e in log(api, done["id"])}
    assert end["receipt_generated"]["data"]["hash"] == by[0]["content_hash"]


def test_posted_receipt_is_checked(api, done):
    raw = api.get("/api/receipts/%s" % done["receipt_id"], params={"raw": "1"})
    document = raw.json()
    for body in (document, {"receipt": document}):
        v = api.post("/api/receipts/verify", body).json()
        assert v["valid"] is True and v["receipt_id"] == done["receipt_id"]
    touched = 0
    for key, value in document.items():
        if key in ("content_hash", "signature", "signature_key_id", "signature_algorithm", "signed_at"):
            continue
        broken = dict(document)
        broken[key] = value + "x" if isinstance(value, str) else value + 1 if type(value) is int else [value]
        v = api.post("/api/receipts/verify", broken).json()
        assert v["valid"] is False, key
        assert v["error"], key
        touched += 1
    assert touched >= 5
    for key in ("content_hash", "signature"):
        broken = dict(document)
        broken[key] = ("0" if document[key][0] != "0" else "1") + document[key][1:]
        assert api.post("/api/receipts/verify", broken).json()["valid"] is False
    envelope(api.post("/api/receipts/verify", {}), 400, "MISSING_FIELD", "content_hash")
    envelope(api.post("/api/receipts/verify", [1]), 400, "INVALID_JSON")


def test_receipt_formats(api, done):
    url = "/api/receipts/" + done["receipt_id"]
    md = api.get(url, params={"format": "md"})
    assert md.headers["Content-Type"] == "text/markdown; charset=utf-8" and done["receipt_id"] in md.text
    html = api.get(url, params={"format": "html"})
    assert html.headers["Content-Type"] == "text/html; charset=utf-8" and done["receipt_id"] in html.text
    assert "<b>sessions" not in html.text and "<script" not in html.text and "src=" not in html.text
    assert api.get(url, headers={"Accept": "text/html,application/xhtml+xml"}).headers["Content-Type"].startswith("text/html")
    assert api.get(url, headers={"Accept": "application/json"}).headers["Content-Type"] == "application/json"
    assert api.get(url, params={"format": "html", "download": "1"}).headers["Content-Disposition"].endswith('.html"')
    envelope(api.get(url, params={"format": "docx"}), 400, "INVALID_VALUE", "format")
    envelope(api.get("/api/receipts/nope"), 404, "NOT_FOUND")
    envelope(api.get("/api/receipts/nope/verify"), 404, "NOT_FOUND")


def test_receipt_list(api, done):
    whole = api.get("/api/receipts", params={"debate_id": done["id"]}).json()
    assert whole["total"] == whole["count"] == 1 and whole["items"] == whole["receipts"]
    assert whole["receipts"][0]["receipt_id"] == done["receipt_id"]
    assert whole["pagination"] == {"total": 1, "limit": 20, "offset": 0, "has_more": False}
    assert api.get("/api/receipts", params={"verdict": "no such"}).json()["receipts"] == []
    assert len(api.get("/api/receipts", params={"limit": 1}).json()["receipts"]) == 1
