# SPDX-License-Identifier: MIT
"""What existing clients do, byte for byte: their headers, their way to read answers and errors, pages, retries, events.

SdkHttp and SdkSocket are written from the documented behaviour of the Python and TypeScript SDKs; the command-line
client is the product's own.
"""
import json
import re
import subprocess

import pytest
import requests

from conftest import Server, binary, wait_until
from talk import TASK, Socket, call, create, debate, log, run, wait_end

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
# The event types that the Python SDK has handlers for.
SDK_EVENTS = {"connected", "disconnected", "error", "debate_start", "round_start", "agent_message", "propose", "critique", "revision",
              "synthesis", "vote", "consensus", "consensus_reached", "debate_end", "phase_change", "audience_suggestion", "user_vote",
              "warning", "message"}


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    s = Server(tmp_path_factory.mktemp("clients"), {
        "server": {"workers": 2}, "debates": {"max_concurrent": 8}, "providers": {"demo": {"delay_ms": 50}},
        "websocket": {"message_rate": 0}})
    s.start()
    yield s
    s.close()


class SdkError(Exception):
    def __init__(self, r, body):
        self.status = r.status_code
        self.text = body.get("error") or body.get("message") or r.text
        assert isinstance(self.text, str)
        self.code, self.trace_id, self.errors = body.get("code"), body.get("trace_id"), body.get("errors")
        self.retry_after = int(r.headers["Retry-After"]) if "Retry-After" in r.headers else None
        super().__init__(self.text)


class SdkHttp:
    """Content-Type also on GET, Accept exactly application/json, every 2xx body is parsed as JSON."""

    def __init__(self, server, key="test-key"):
        self.server, self.session = server, requests.Session()
        self.session.headers.update({"Authorization": "Bearer " + key, "Content-Type": "application/json",
                                     "Accept": "application/json", "User-Agent": "aragora-python-sdk/2.4.0"})

    def call(self, method, path, body=None, params=None):
        r = self.session.request(method, self.server.url + path, json=body, params=params, timeout=30)
        if r.status_code >= 400:
            raise SdkError(r, r.json())
        return r.json() if r.content else None

    def get(self, path, **params):
        return self.call("GET", path, params=params)

    def pages(self, path, size):
        """The SDK's paginator: items, else data; ends at a short page."""
        offset = 0
        while True:
            page = self.get(path, limit=size, offset=offset)
            items = page.get("items", page.get("data"))
            yield from items
            offset += len(items)
            if len(items) < size:
                return


@pytest.fixture(scope="module")
def sdk(api):
    made = SdkHttp(api)
    yield made
    made.session.close()


@pytest.fixture(scope="module")
def made(api, sdk):
    """A finished debate made as the SDK makes one."""
    d = sdk.call("POST", "/api/v1/debates", {"task": TASK, "agents": ["claude", "gpt"], "rounds": 1, "consensus": "majority",
                                             "protocol": {"rounds": 1, "consensus": "majority"}, "auto_select": False,
                                             "metadata": {"source": "sdk"}})
    wait_end(api, d["debate_id"])
    return d


# ---- HTTP ----

def test_create_answer(made):
    assert {"debate_id", "id", "status", "task", "agents", "websocket_url", "estimated_duration"} <= set(made)
    assert made["debate_id"] == made["id"] and made["status"] == "created" and len(made["agents"]) == 2


def test_get_with_content_type_and_no_body(sdk, made):
    for path in ("/api/v1/debates", "/api/v1/debates/" + made["id"], "/api/v1/debates/%s/messages" % made["id"],
                 "/api/v1/agents", "/api/v1/rankings", "/api/v1/receipts", "/api/health", "/api/metrics"):
        assert isinstance(sdk.get(path), dict), path


def test_post_and_delete_without_body(api, sdk):
    i = create(api)
    wait_end(api, i)
    with pytest.raises(SdkError) as e:
        sdk.call("POST", "/api/v1/debates/%s/cancel" % i)
    assert e.value.status == 400 and e.value.code
    assert sdk.call("DELETE", "/api/v1/debates/%s" % i)["deleted"] is True


def test_status_walks_known_words(api, sdk):
    i, seen = create(api), []
    while not seen or seen[-1] not in ("completed", "failed", "cancelled"):
        word = sdk.get("/api/v1/debates/%s/status" % i)["status"]
        assert word in {"created", "starting", "pending", "running", "in_progress", "completed", "failed", "cancelled", "paused",
                        "active", "concluded", "archived"}
        if not seen or seen[-1] != word:
            seen.append(word)
    assert seen[-1] == "completed"
    order = ["created", "running", "completed"]
    assert seen == [w for w in order if w in seen]


def test_typescript_debate(sdk, made):
    d = sdk.get("/api/debates/" + made["id"])
    assert isinstance(d["rounds"], list) and all({"round_number", "messages"} <= set(r) for r in d["rounds"])
    assert isinstance(d["consensus"], dict) and isinstance(d["messages"], list) and isinstance(d["slug"], str)
    assert isinstance(d["agents"], list) and all(isinstance(a, str) for a in d["agents"])
    assert d["metadata"] == {"source": "sdk"} and d["topic"] == TASK


# What rest-core 4.3 promises, field by field: the type a client may count on. A tuple with None: may be null.
TEXT, TIME, NUMBER, SHARE, WHOLE, FLAG, NAMES = "text", "time", "number", "share", "whole", "flag", "names"
DEBATE_ROW = {
    "id": TEXT, "debate_id": TEXT, "slug": TEXT, "task": TEXT, "topic": TEXT, "question": TEXT, "status": TEXT, "agents": NAMES,
    "consensus_reached": FLAG, "confidence": SHARE, "agreement": SHARE, "created_at": TIME, "started_at": (TIME, None),
    "completed_at": (TIME, None), "view_count": WHOLE, "is_public": FLAG, "total_rounds": WHOLE, "current_round": WHOLE,
    "rounds_used": WHOLE, "duration_seconds": NUMBER, "elapsed_seconds": NUMBER, "message_count": WHOLE, "tags": NAMES, "title": TEXT,
    "final_answer": (TEXT, None), "conclusion": (TEXT, None), "receipt_id": (TEXT, None), "error": (TEXT, None),
    "error_code": (TEXT, None), "total_cost_usd": NUMBER}
DEBATE = {**DEBATE_ROW, "context": TEXT, "messages": list, "rounds": list, "critiques": list, "votes": list, "consensus": dict,
          "consensus_proof": (dict, None), "grounded_verdict": (dict, None), "metadata": dict, "in_progress": FLAG, "org_id": (TEXT, None),
          "user_id": (TEXT, None), "mode": TEXT}
ENDED = {**DEBATE, "winner": (TEXT, None), "outcome": TEXT, "convergence_status": TEXT, "convergence_similarity": SHARE,
         "participants": NAMES, "agent_failures": dict, "per_agent_cost": dict, "completed_at": TIME, "final_answer": TEXT}
MESSAGE = {"index": WHOLE, "role": TEXT, "content": TEXT, "agent": TEXT, "agent_id": TEXT, "round": WHOLE, "timestamp": TIME, "kind": TEXT}
CRITIQUE = {"critic": TEXT, "target": TEXT, "severity": NUMBER, "summary": TEXT, "issues": NAMES, "timestamp": TIME, "round": WHOLE}
VOTE = {"voter": TEXT, "agent": TEXT, "choice": TEXT, "reason": TEXT, "reasoning": TEXT, "confidence": SHARE, "round": WHOLE}
CONSENSUS = {"reached": FLAG, "agreement": SHARE, "confidence": SHARE, "final_answer": (TEXT, None), "conclusion": (TEXT, None),
             "supporting_agents": NAMES, "dissenting_agents": NAMES}
STATUS = {"id": TEXT, "debate_id": TEXT, "task": TEXT, "status": TEXT, "current_round": WHOLE, "total_rounds": WHOLE, "agents": NAMES,
          "message_count": WHOLE, "subscriber_count": WHOLE, "elapsed_seconds": NUMBER, "start_time": (NUMBER, None),
          "consensus_reached": (FLAG, None), "confidence": (SHARE, None), "error": (TEXT, None)}
EVENT = {"type": TEXT, "data": dict, "timestamp": NUMBER, "debate_id": TEXT, "seq": WHOLE}


def is_a(value, kind):
    """What json.loads makes of it, as a typed client would take it: true is no number."""
    if isinstance(kind, tuple):
        return value is None or is_a(value, kind[0])
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return {TEXT: lambda: isinstance(value, str), FLAG: lambda: isinstance(value, bool), NUMBER: lambda: number,
            WHOLE: lambda: number and isinstance(value, int) and value >= 0, SHARE: lambda: number and 0 <= value <= 1,
            NAMES: lambda: isinstance(value, list) and all(isinstance(v, str) for v in value),
            TIME: lambda: isinstance(value, str) and bool(ISO.fullmatch(value))}.get(kind, lambda: isinstance(value, kind))()


def fits(value, shape):
    wrong = {k: value.get(k, "absent") for k, kind in shape.items() if k not in value or not is_a(value[k], kind)}
    assert not wrong, wrong


def test_debates_field_by_field(api, sdk):
    made = debate(api, rounds=2)  # four agents, one of whom holds out
    row = next(d for d in sdk.get("/api/v1/debates", limit=100)["debates"] if d["id"] == made["id"])
    whole = sdk.get("/api/v1/debates/" + made["id"])
    fits(row, DEBATE_ROW)
    fits(whole, ENDED)
    assert {k: whole[k] for k in row} == row, "a list says of a debate what the debate says of itself"
    for message in whole["messages"] + sdk.get("/api/v1/debates/%s/messages" % made["id"])["messages"]:
        fits(message, MESSAGE)
    for critique in whole["critiques"]:
        fits(critique, CRITIQUE)
    for vote in whole["votes"]:
        fits(vote, VOTE)
    fits(whole["consensus"], CONSENSUS)
    assert whole["agreement"] == whole["consensus"]["agreement"] and whole["confidence"] == whole["consensus"]["confidence"]
    assert whole["agreement"] != whole["confidence"], "one counts heads, the other weighs"
    assert {m["kind"] for m in whole["messages"]} == {"proposal", "revision"}
    fits(whole["consensus_proof"], {"reached": FLAG, "confidence": SHARE, "vote_breakdown": dict, "final_answer": (TEXT, None)})
    assert [r["round_number"] for r in whole["rounds"]] == list(range(whole["rounds_used"] + 1))
    assert sum((r["messages"] for r in whole["rounds"]), []) == whole["messages"]
    assert whole["rounds"][-1]["votes"] == whole["votes"]
    fits(sdk.get("/api/v1/debates/%s/status" % made["id"]), STATUS)
    for event in sdk.get("/api/v1/debates/%s/events" % made["id"], limit=500)["events"]:
        fits(event, EVENT)
    same = sdk.get("/api/v1/debates/%s/messages" % made["id"])["messages"]
    assert [(m["index"], m["agent"], m["round"], m["kind"], m["content"]) for m in same] == \
        [(m["index"], m["agent"], m["round"], m["kind"], m["content"]) for m in whole["messages"]]


def test_a_running_debate_field_by_field(make_server):
    """It has the same types, nulls for what is not known yet, and what was said so far."""
    s = make_server({"server": {"workers": 1, "graceful_timeout": "50ms"}, "providers": {"demo": {"delay_ms": 400}}})
    client = SdkHttp(s)
    i = client.call("POST", "/api/v1/debates", {"task": TASK, "agents": ["claude", "gpt"], "rounds": 10})["id"]
    said = wait_until(lambda: (d := client.get("/api/v1/debates/" + i))["messages"] and d, what="a first message")
    fits(said, DEBATE)
    assert said["status"] == "running" and said["in_progress"] is True and said["completed_at"] is None and said["consensus_proof"] is None
    fits(said["messages"][0], MESSAGE)
    fits(said["consensus"], {"reached": FLAG, "agreement": SHARE, "confidence": SHARE})
    assert said["rounds"][0]["messages"][0] == said["messages"][0]
    running = client.get("/api/v1/debates/%s/status" % i)
    fits(running, STATUS)
    assert running["consensus_reached"] is None and running["confidence"] is None and running["start_time"] > 1e9
    client.call("POST", "/api/v1/debates/%s/cancel" % i)


# Views of one debate, with what the Python and the TypeScript types name (rest-core 4.9 and 4.10).
VIEWS = {
    "convergence": {"convergence_status": TEXT, "convergence_similarity": SHARE, "consensus_reached": FLAG, "rounds_used": WHOLE,
                    "semantic_similarity": SHARE, "agreement_level": SHARE, "positions": dict, "convergence_trajectory": list,
                    "confidence": SHARE, "timestamp": TIME},
    "impasse": {"is_impasse": FLAG, "indicators": dict, "confidence": SHARE, "reason": (TEXT, None), "stuck_since_round": (WHOLE, None),
                "suggested_intervention": (TEXT, None)},
    "citations": {"has_citations": FLAG, "grounding_score": SHARE, "confidence": SHARE, "claims": list, "all_citations": list,
                  "citations": list, "total": WHOLE, "verification_summary": dict},
    "evidence": {"task": TEXT, "has_evidence": FLAG, "claims": list, "citations": list, "related_evidence": list,
                 "evidence_count": WHOLE, "evidence": list, "evidence_quality_score": SHARE},
    "summary": {"summary": dict, "task": TEXT, "consensus_reached": FLAG, "confidence": SHARE, "verdict": TEXT, "key_points": NAMES,
                "dissenting_views": NAMES, "evidence_quality": SHARE, "generated_at": TIME},
    "verification-report": {"verification_enabled": FLAG, "verification_results": dict, "verification_bonuses": dict, "summary": dict,
                            "winner": (TEXT, None), "verified": FLAG, "confidence": SHARE, "claims_verified": WHOLE,
                            "claims_total": WHOLE, "verification_details": list, "bonuses": list, "generated_at": TIME},
    "meta-critique": {"overall_quality": SHARE, "productive_rounds": list, "unproductive_rounds": list, "observations": list,
                      "recommendations": NAMES, "quality_score": SHARE, "critique": TEXT, "strengths": NAMES, "weaknesses": NAMES,
                      "agent_performance": list},
    "rhetorical": {"observations": list, "dynamics": dict, "pattern_counts": dict, "total_observations": WHOLE, "summary": dict},
    "trickster": {"trickster_enabled": FLAG, "hollow_consensus_alerts": list, "interventions": list, "total_alerts": WHOLE,
                  "total_interventions": WHOLE, "config": dict, "hollow_consensus_detected": FLAG, "confidence": SHARE,
                  "indicators": list, "recommendation": (TEXT, None)},
    "positions": {"topic": TEXT, "positions": dict, "pivots": list, "summary": dict},
    "diagnostics": {"status": TEXT, "duration_seconds": NUMBER, "agents": list, "consensus": dict, "receipt_generated": FLAG,
                    "suggestions": NAMES},
    "graph/stats": {"node_count": WHOLE, "edge_count": WHOLE, "depth": WHOLE, "max_width": WHOLE},
    "graph": {"nodes": list, "edges": list, "metadata": dict},
    "followups": {"suggestions": list, "count": WHOLE},
    "forks": {"forks": list, "tree": dict, "total": WHOLE},
    "tags": {"tags": NAMES}, "notes": {"notes": list}, "timeline": {"timeline": list},
    "intervention-log": {"state": TEXT, "entry_count": WHOLE, "entries": list},
    "intervention/state": {"is_paused": FLAG, "paused_at": (TIME, None), "consensus_threshold": SHARE, "agent_weights": dict,
                           "pending_injections": WHOLE, "pending_follow_ups": WHOLE},
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_as_sdks_read_them(sdk, made, name):
    got = sdk.get("/api/v1/debates/%s/%s" % (made["id"], name))
    fits(got, {"debate_id": TEXT, **VIEWS[name]})
    assert got["debate_id"] == made["id"]
    with pytest.raises(SdkError) as e:
        sdk.get("/api/v1/debates/none/" + name)
    assert e.value.status == 404 and e.value.code == "NOT_FOUND"


def test_errors_as_sdks_read_them(sdk):
    with pytest.raises(SdkError) as e:
        sdk.call("POST", "/api/v1/debates", {"rounds": 0})
    assert e.value.status == 400 and e.value.code == "MISSING_FIELD" and len(e.value.errors) == 2 and e.value.trace_id
    with pytest.raises(SdkError) as e:
        sdk.get("/api/v1/debates/none")
    assert e.value.status == 404 and e.value.code == "NOT_FOUND" and "none" in e.value.text
    with pytest.raises(SdkError) as e:
        sdk.get("/api/v1/no/such/thing")
    assert e.value.status == 404
    with pytest.raises(SdkError) as e:  # generated calls with the wrong verb
        sdk.get("/api/v1/receipts/verify/x/y")
    assert e.value.status in (404, 405)


def test_retry_after_is_an_integer(make_server):
    s = make_server({"server": {"workers": 1, "keepalive": "100ms"}, "debates": {"max_queued": 0}})
    with pytest.raises(SdkError) as e:
        SdkHttp(s).call("POST", "/api/v1/debates", {"task": TASK})
    assert e.value.status == 503 and e.value.code == "SERVICE_UNAVAILABLE" and e.value.retry_after > 0


def test_paginator(api, sdk, made):
    for i in [create(api, "Page number %d?" % n) for n in range(5)]:
        wait_end(api, i)  # one that comes between two pages moves the second
    for path in ("/api/v1/debates", "/api/debates", "/api/v1/receipts"):
        for size in (1, 2, 100):
            whole = list(sdk.pages(path, size))
            ids = [x.get("id") or x["receipt_id"] for x in whole]
            assert len(ids) == len(set(ids)) > 0
    assert len(list(sdk.pages("/api/v1/debates", 2))) == sdk.get("/api/v1/debates")["total"]


@pytest.mark.parametrize("name,ext", [("csv", "csv"), ("html", "html"), ("markdown", "md"), ("txt", "txt")])
def test_export_is_wrapped_for_sdks(api, sdk, made, name, ext):
    raw = api.get("/api/debates/%s/export/%s" % (made["id"], name)).content.decode()
    for got in (sdk.get("/api/v1/debates/%s/export/%s" % (made["id"], name)),
                sdk.get("/api/v1/debates/%s/export" % made["id"], format=name)):
        assert {"debate_id", "format", "content", "filename", "size_bytes", "generated_at"} <= set(got)
        assert got["content"] == raw and got["size_bytes"] == len(raw.encode()) and got["debate_id"] == made["id"]
        assert got["filename"].endswith("." + ext)
    # browsers and curl get the file
    for accept in ("*/*", "text/html,application/xhtml+xml,*/*;q=0.8"):
        r = api.get("/api/debates/%s/export/%s" % (made["id"], name), headers={"Accept": accept})
        assert r.content.decode() == raw


def test_bulk_export_is_wrapped_for_sdks(sdk, made):
    assert sdk.get("/api/v1/debates/export")["count"] >= 1
    got = sdk.get("/api/v1/debates/export", format="csv")
    assert got["filename"] == "debates.csv" and made["id"] in got["content"]


def test_health_as_sdks_read_it(sdk):
    h = sdk.get("/api/health")
    assert h["status"] in ("healthy", "degraded", "unhealthy") and h["version"] and isinstance(h["uptime_seconds"], float)
    assert all(isinstance(c["healthy"], bool) for c in h["checks"].values())


def test_leaderboard_as_sdks_read_it(sdk):
    r = sdk.call("GET", "/api/v1/rankings", params={"sort_by": "elo", "order": "desc", "limit": 20, "offset": 0, "min_debates": 0})
    assert isinstance(r["rankings"], list)


def test_curl_of_the_manuals(api):
    """The command lines of the seeds, run as they are."""
    def curl(*args):
        r = subprocess.run(["curl", "-sf", *args], capture_output=True, text=True, timeout=30)
        assert r.returncode == 0, r
        return r.stdout
    if subprocess.run(["sh", "-c", "command -v curl"], capture_output=True).returncode:
        pytest.skip("no curl")
    made = json.loads(curl("-X", "POST", api.url + "/api/debates", "-H", "Content-Type: application/json", "-d",
                           '{"topic": "Test debate", "rounds": 2}'))
    assert json.loads(curl(api.url + "/api/v1/debates/%s/status" % made["id"]))["id"] == made["id"]
    assert json.loads(curl(api.url + "/api/debates"))["debates"]
    assert json.loads(curl(api.url + "/api/health"))["status"] == "healthy"
    assert json.loads(curl(api.url + "/api/debates/export?format=json"))["debates"]
    assert "aragora_debates_total" in curl(api.url + "/api/metrics")
    assert json.loads(curl(api.url + "/api/leaderboard/rankings"))["agents"] == []
    assert curl("-I", api.url + "/api/health").startswith("HTTP/1.1 200 OK")
    # a form by mistake is refused with a sentence
    r = subprocess.run(["curl", "-s", "-X", "POST", api.url + "/api/debates", "-d", '{"topic":"x"}'], capture_output=True, text=True)
    assert json.loads(r.stdout)["code"] == "UNSUPPORTED_MEDIA_TYPE"


# ---- WebSocket ----

class SdkSocket(Socket):
    """As the SDKs: base URL with /ws, everything in the query, no header, a JSON ping every now and then."""

    def __init__(self, server, debate="", token="test-key", **kw):
        super().__init__("%s/ws?%s" % (server.url.replace("http", "ws"), "&".join(
            p for p in (debate and "debate_id=" + debate, token and "token=" + token) if p)), **kw)

    async def generator(self, debate):
        """stream_debate(): events of one debate; ends at debate_end or at an error."""
        while True:
            frame = await self.next(30)
            event = {"type": frame["type"], "data": frame["data"], "timestamp": frame.get("timestamp"), "debate_id": frame.get("debate_id")}
            assert isinstance(event["data"], dict), frame  # null or a list breaks the typed parse
            assert isinstance(event["timestamp"], (int, float)), frame
            of = frame.get("debate_id") or frame.get("loop_id") or event["data"].get("debate_id")
            if of != debate:
                continue
            yield event
            if event["type"] in ("debate_end", "error"):
                return


def test_sdk_generator_by_url(api):
    async def main():
        i = await call(create, api)
        async with SdkSocket(api, i) as k:
            return i, [e async for e in k.generator(i)]
    i, events = run(main())
    types = [e["type"] for e in events]
    assert types[-1] == "debate_end" and "error" not in types
    assert {"debate_start", "round_start", "agent_message", "critique", "vote", "consensus", "debate_end"} <= set(types)
    # made first, connected afterwards: nothing is lost
    stored = [e["type"] for e in log(api, i)]
    assert [t for t in types if t in SDK_EVENTS and t != "debate_start"] == [t for t in stored if t in SDK_EVENTS and t != "debate_start"]


def test_sdk_generator_by_message(api):
    """Connects first, creates, then subscribes; unsubscribes at the end."""
    async def main():
        async with SdkSocket(api) as k:
            i = await call(create, api)
            await k.send(type="subscribe", debate_id=i)
            await k.send(type="ping")
            events = [e async for e in k.generator(i)]
            await k.send(type="unsubscribe", debate_id=i)
            await k.until("unsubscribed")
            return i, events
    i, events = run(main())
    assert events[-1]["type"] == "debate_end"
    assert len([e for e in events if e["type"] == "debate_end"]) == 1


def test_old_client_without_any_subscription(api):
    """Reads everything, filters by loop_id, knows nothing of control frames, stops at debate_end."""
    async def main():
        async with Socket(api.ws_url + "/ws") as k:
            await k.ready()
            i = await call(create, api)
            while True:
                frame = await k.next()
                assert isinstance(frame, dict)
                if frame.get("loop_id") == i and frame["type"] == "debate_end":
                    return i, [f for f in k.frames if f.get("loop_id") == i and f.get("seq")]
    i, frames = run(main())
    assert frames == log(api, i)


def test_typed_fields(api):
    """Every field that a typed event of the Python or the TypeScript SDK reads is there with the right type."""
    wanted = {
        "debate_start": {"debate_id": str, "task": str, "agents": list, "total_rounds": int, "protocol": (str, dict)},
        "round_start": {"round": int, "round_number": int, "total_rounds": int},
        "round_end": {"round_number": int, "total_rounds": int, "duration_ms": (int, float)},
        "agent_message": {"agent": str, "content": str, "role": str, "round_number": int},
        "critique": {"critic": str, "target": str, "target_agent": str, "content": str, "critique": str, "score": (int, float)},
        "vote": {"agent": str, "choice": str, "confidence": (int, float), "reasoning": str, "round_number": int},
        "consensus": {"reached": bool, "confidence": (int, float), "result": str, "method": str, "round_number": int, "consensus": dict},
        "synthesis": {"content": str, "synthesis": str, "round_number": int},
        "debate_end": {"status": str, "result": str, "consensus_reached": bool, "total_rounds": int, "duration_seconds": (int, float),
                       "duration": (int, float), "debate": dict},
        "receipt_generated": {"receipt_id": str, "hash": str},
    }
    d = debate(api)
    by = {}
    for e in log(api, d["id"]):
        by.setdefault(e["type"], []).append(e)
    if d["consensus_reached"]:
        wanted["consensus_reached"] = {"debate_id": str, "result": str, "confidence": (int, float), "final_round": int}
    for kind, fields in wanted.items():
        assert by.get(kind), kind
        for e in by[kind]:
            for name, types in fields.items():
                assert isinstance(e["data"].get(name), types), "%s.%s: %r" % (kind, name, e["data"].get(name))
    assert len(by["agent_message"]) >= len(d["agents"])


def test_page_reducer(api):
    """The debate view of the web front end: token streams by agent and task, resume with replay_from_seq, start by sync."""
    async def view(i, cuts):
        state = {"last": 0, "messages": [], "open": {}, "texts": {}, "ended": False, "task": None}
        while not state["ended"]:
            async with Socket(api.url.replace("http", "ws") + "/ws", subprotocols=["aragora-v1"]) as k:
                await k.send(type="subscribe", debate_id=i, **({"replay_from_seq": state["last"]} if state["last"] else {}))
                for n in range(10 ** 6):
                    if cuts and n > 12:
                        cuts -= 1
                        k.ws.transport.abort()
                        break
                    f = await k.next()
                    if (f.get("loop_id") or f["data"].get("debate_id") or i) != i:
                        continue
                    reduce(state, f)
                    if state["ended"]:
                        break
        return state

    def reduce(state, f):
        kind, key = f["type"], "%s:%s" % (f.get("agent"), f.get("task_id"))
        if f.get("seq"):
            assert f["seq"] == state["last"] + 1 or state["last"] == 0, "events missed"
            state["last"] = f["seq"]
        if kind == "sync":
            state["task"] = f["data"]["task"]
            state["messages"] = [(m["agent"], m["content"]) for m in f["data"]["messages"]]
            state["last"] = f["data"]["last_seq"]
            state["ended"] = f["data"]["ended"]
        elif kind == "debate_start":
            state["task"] = f["data"]["task"]
        elif kind == "token_start":
            state["open"][key], state["texts"][key] = 1, ""
        elif kind == "token_delta" and key in state["open"]:
            assert f["agent_seq"] == state["open"][key], "a piece is missing"
            state["open"][key] += 1
            state["texts"][key] += f["data"]["token"]
        elif kind == "token_end":
            state["open"].pop(key, None)
        elif kind == "agent_message":
            state["messages"].append((f["agent"], f["data"]["content"]))
        elif kind == "error":
            pytest.fail("error: %r" % f)
        elif kind == "debate_end":
            state["ended"] = True

    async def main(cuts):
        i = await call(create, api, TASK, 2)
        return i, await view(i, cuts)
    for cuts in (0, 4):
        i, state = run(main(cuts))
        assert state["task"] == TASK
        said = api.get("/api/debates/%s/messages" % i, params={"limit": 200}).json()["messages"]
        assert state["messages"] == [(m["agent"], m["content"]) for m in said]


def test_polling_page(api):
    """A page whose sockets fail polls the events with since= until the end."""
    i, since, seen = create(api), 0, []
    while not seen or seen[-1]["type"] != "debate_end":
        p = api.get("/api/debates/%s/events" % i, params={"since": since, "limit": 7}).json()
        seen += p["events"]
        assert p["next_seq"] >= since
        since = p["next_seq"]
    assert seen == log(api, i)


def test_event_source(api):
    """A browser's EventSource: reconnects with Last-Event-ID after each cut, stays away after 204."""
    i, last, seen = create(api), None, []
    for _ in range(200):
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache"}
        if last is not None:
            headers["Last-Event-ID"] = last
        with requests.get(api.url + "/api/debates/%s/events" % i, headers=headers, stream=True, timeout=30) as r:
            if r.status_code == 204:
                break
            assert r.status_code == 200
            got = 0
            for line in r.iter_lines(chunk_size=1, decode_unicode=True):
                if line.startswith("id: "):
                    last = line[4:]
                elif line.startswith("data: ") and last is not None:
                    event = json.loads(line[6:])
                    if "seq" in event:
                        seen.append(event)
                        got += 1
                if got == 9:
                    break
    else:
        pytest.fail("never told to stay away")
    assert seen == log(api, i)


def test_page_without_subscription_gets_no_sync(api):
    """A page that subscribes to nothing takes `sync` for something else: it never comes unasked."""
    async def main():
        async with Socket(api.ws_url + "/ws") as k:
            await k.ready()
            await call(debate, api)
            await k.until("debate_end")
            return k.frames
    assert "sync" not in [f["type"] for f in run(main())]


# ---- the product's own client ----

def test_ask(api):
    r = api.command("ask", "Which cache is the right one?", "--url", api.url, "--rounds", "1", timeout=60)
    assert r.returncode == 0, r.stderr
    assert "\x1b[" not in r.stdout  # not a terminal
    found = api.get("/api/search", params={"q": "Which cache is the right one?"}).json()["results"]
    d = api.get("/api/debates/" + found[0]["id"]).json()
    shown = " ".join(r.stdout.split())  # lines are broken to a width
    assert " ".join(d["final_answer"].splitlines()[0].split()) in shown and d["receipt_id"] in shown
    assert "signature is valid" in shown


def test_ask_json(api):
    r = api.command("ask", "Tabs or spaces?", "--url", api.url, "--rounds", "1", "--json", "--agents", "claude,gpt,gemini", timeout=60)
    assert r.returncode == 0, r.stderr
    lines = [json.loads(line) for line in r.stdout.splitlines() if line.strip()]
    assert lines
    text = json.dumps(lines)
    found = api.get("/api/search", params={"q": "Tabs or spaces?"}).json()["results"][0]
    assert found["id"] in text and found["agents"] == api.get("/api/debates/" + found["id"]).json()["agents"] and len(found["agents"]) == 3


def test_ask_without_server():
    r = subprocess.run([binary(), "ask", "Anybody there?", "--url", "http://127.0.0.1:1"], capture_output=True, text=True, timeout=60)
    assert r.returncode != 0 and "127.0.0.1:1" in r.stderr
