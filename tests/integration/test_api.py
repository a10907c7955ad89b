# SPDX-License-Identifier: MIT
"""The HTTP API as a client meets it: probes, metrics, debates from creation to export, receipts, agents, errors."""
import csv
import io
import json
import re
import time
import uuid

import pytest
import requests

from conftest import Server, on_postgres, wait_until
from talk import DONE, TASK, create, debate, log, status, together, wait_end, wait_status

ORIGIN = "http://localhost:3000"
METRICS = {  # REQUIREMENTS 21.3 to 21.16
    "aragora_debates_total": "counter", "aragora_debates_completed": "counter", "aragora_debates_failed": "counter",
    "aragora_agent_response_seconds": "histogram", "aragora_tokens_used_total": "counter",
    "aragora_ws_connections_active": "gauge", "aragora_circuit_breaker_state": "gauge",
    "aragora_debate_duration_seconds": "histogram", "aragora_agent_errors_total": "counter",
    "aragora_consensus_rate": "gauge", "aragora_active_debates": "gauge", "aragora_http_requests_total": "counter",
    "aragora_http_request_duration_seconds": "histogram", "process_resident_memory_bytes": "gauge",
}


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
def locked(tmp_path_factory):
    """With an API token."""
    s = Server(tmp_path_factory.mktemp("locked"), {"auth": {"api_token": TOKEN}})
    s.start()
    yield s
    s.close()


TOKEN = "a-token-of-at-least-thirty-two-characters"


@pytest.fixture(scope="module")
def done(api):
    """A finished debate, not to be changed."""
    return debate(api, "Which database should hold the <b>sessions</b> & why?", rounds=2,
                  context="Ten thousand users.", metadata={"ticket": "A-17"})


def envelope(r, status, code, field=None):
    """Checks the one shape of all errors; returns it."""
    assert r.status_code == status, "%d %s" % (r.status_code, r.text)
    assert r.headers["Content-Type"] == "application/json"
    e = r.json()
    assert isinstance(e["error"], str) and e["error"]
    assert e["code"] == code
    assert e["trace_id"] == r.headers["X-Request-ID"]
    if field is not None:
        assert e["field"] == field, e
    return e


def samples(text):
    """Prometheus text to {name with labels: value}; also checks that every line has the right form."""
    found = {}
    for line in text.splitlines():
        if line.startswith("# "):
            assert re.match(r"# (HELP \w+ \S.*|TYPE \w+ (counter|gauge|histogram))$", line), line
            continue
        m = re.match(r'([a-zA-Z_:]\w*(?:\{(?:\w+="(?:[^"\\]|\\.)*",?)*\})?) (\S+)$', line)
        assert m, line
        assert m[1] not in found, "twice: " + m[1]
        found[m[1]] = float(m[2])
    return found


def total(found, name):
    """Sum over all label sets."""
    return sum(v for k, v in found.items() if k == name or k.startswith(name + "{"))


# ---- probes and health ----

@pytest.mark.parametrize("path", ["/healthz", "/livez", "/health", "/api/health/live"])
def test_liveness(api, path):
    r = api.get(path)
    assert r.status_code == 200 and r.json() == {"status": "ok"}


@pytest.mark.parametrize("path", ["/ready", "/readyz", "/readyz/dependencies", "/api/health/ready"])
def test_readiness(api, path):
    r = api.get(path)
    assert r.status_code == 200
    assert r.json()["status"] == "ready"
    assert r.json()["checks"]["storage_initialized"] is True


def test_health_has_the_fields_of_all_clients(api):
    h = api.get("/api/health").json()
    assert h["status"] == "healthy" and h["database"] == "connected"
    assert h["db_mode"] == ("postgres" if on_postgres() else "sqlite")
    assert re.fullmatch(r"\d+\.\d+\.\d+", h["version"])
    assert isinstance(h["uptime"], int) and h["uptime_seconds"] >= h["uptime"] >= 0
    assert isinstance(h["agents_available"], int) and h["agents_available"] >= 2
    assert h["demo_mode"] is True
    assert h["checks"]["database"]["healthy"] is True and h["checks"]["database"]["latency_ms"] >= 0
    assert h["components"] == h["checks"]
    assert h["checks"]["ai_providers"]["any_available"] is False
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", h["timestamp"])
    assert h["response_time_ms"] >= 0


def test_health_parts(api):
    assert api.get("/api/health/db").json()["database"] == "connected"
    assert api.get("/api/health/redis").json() == {"redis": "not_configured"}
    assert api.get("/api/health/build").json()["version"] == api.get("/api/health").json()["version"]
    detailed = api.get("/api/health/detailed").json()
    assert detailed["memory"]["rss_mb"] > 1
    assert any("demo agents" in w for w in detailed["warnings"])
    readiness = api.get("/api/readiness").json()
    assert readiness["ready_to_debate"] is True and readiness["providers"]["openai"] is False


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/api/health", "/metrics", "/api/debates", "/api/openapi.json"])
def test_head_is_get_without_body(api, path):
    get, head = api.get(path), api.request("HEAD", path)
    assert head.status_code == 200 and head.content == b""
    assert head.headers["Content-Type"] == get.headers["Content-Type"]
    assert int(head.headers["Content-Length"]) > 0


def test_health_on_both_listeners(api):
    r = requests.get("http://127.0.0.1:%d/api/health" % api.ws_port, timeout=10)
    assert r.status_code == 200 and r.json()["status"] == "healthy"


# ---- metrics ----

def test_metrics_are_there_from_the_start_at_zero(make_server):
    s = make_server({"server": {"workers": 1}}, start=False)
    s.start()
    r = s.get("/metrics")
    assert r.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = samples(r.text)
    for name, kind in METRICS.items():
        assert "# TYPE %s %s\n" % (name, kind) in r.text
        assert "# HELP %s " % name in r.text
        series = name + "_count" if kind == "histogram" else name
        assert [k for k in found if k.split("{")[0] == series], name
        if name not in ("process_resident_memory_bytes", "aragora_http_requests_total", "aragora_http_request_duration_seconds"):
            assert total(found, series) == 0, name
    assert found["process_resident_memory_bytes"] > 1e6
    # label-free sums that alert rules divide, the breaker per agent, the status as a number
    assert found["aragora_debates_total"] == 0 and found["aragora_debates_failed"] == 0
    assert any(k.startswith('aragora_circuit_breaker_state{agent="') for k in found)
    assert any(re.match(r'aragora_http_requests_total\{.*status="200"', k) for k in found)


def test_metrics_count(api):
    before = samples(api.get("/metrics").text)
    debate(api)
    api.get("/api/nope")

    def counted():
        now = samples(api.get("/metrics").text)
        return {n: total(now, n) - total(before, n) for n in (
            "aragora_debates_total", "aragora_debates_completed", "aragora_debates_failed", "aragora_agent_response_seconds_count",
            "aragora_debate_duration_seconds_count")} | {"404": total(
                {k: v for k, v in now.items() if 'status="404"' in k}, "aragora_http_requests_total") - total(
                {k: v for k, v in before.items() if 'status="404"' in k}, "aragora_http_requests_total"),
                "active": now["aragora_active_debates"], "rate": now["aragora_consensus_rate"]}

    got = wait_until(lambda: (c := counted())["aragora_debates_completed"] == 1 and c["active"] == 0 and c, what="metrics")
    assert got["aragora_debates_total"] == 1 and got["aragora_debates_failed"] == 0
    assert got["aragora_debate_duration_seconds_count"] == 1
    assert got["aragora_agent_response_seconds_count"] >= 12  # 4 drafts, 4 revisions, 4 votes at least
    assert got["404"] == 1
    assert 0 < got["rate"] <= 1


def test_histograms_are_cumulative(api):
    found = samples(api.get("/metrics").text)
    buckets = [(k, v) for k, v in found.items() if k.startswith("aragora_http_request_duration_seconds_bucket") and
               'method="GET"' in k]
    assert len(buckets) > 5 and 'le="+Inf"' in buckets[-1][0]
    values = [v for _, v in buckets]
    assert values == sorted(values)
    assert values[-1] == found['aragora_http_request_duration_seconds_count{method="GET"}']


def test_api_metrics_text_or_json(api):
    assert api.get("/api/metrics").headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert api.get("/api/metrics", headers={"Accept": "text/plain"}).headers["Content-Type"].startswith("text/plain")
    r = api.get("/api/metrics", headers={"Accept": "application/json", "Content-Type": "application/json"})
    assert r.headers["Content-Type"] == "application/json"
    m = r.json()
    assert m["uptime_seconds"] >= 0 and m["uptime_human"] and m["requests"]["total"] > 0
    assert set(m["requests"]) >= {"total", "errors", "error_rate", "top_endpoints"}
    assert isinstance(m["databases"], dict) and isinstance(m["cache"], dict) and m["timestamp"]


def test_metrics_token_and_switch(make_server):
    s = make_server({"server": {"workers": 1}, "metrics": {"token": "scrape-me"}})
    envelope(s.get("/metrics"), 401, "AUTH_REQUIRED")
    envelope(s.get("/metrics?token=scrape-me"), 401, "AUTH_REQUIRED")
    envelope(s.get("/metrics", headers={"Authorization": "Bearer other"}), 401, "INVALID_TOKEN")
    assert s.get("/metrics", headers={"Authorization": "Bearer scrape-me"}).status_code == 200
    off = make_server({"server": {"workers": 1}, "metrics": {"enabled": False}})
    envelope(off.get("/metrics"), 404, "NOT_FOUND")


# ---- headers, paths, methods ----

def test_every_answer_has_security_headers(api):
    for r in (api.get("/healthz"), api.get("/api/nope"), api.request("PATCH", "/api/health"), api.post("/api/debates", {})):
        assert r.headers["X-Frame-Options"] == "DENY"
        assert r.headers["X-Content-Type-Options"] == "nosniff"
        assert r.headers["X-XSS-Protection"] == "1; mode=block"
        assert r.headers["Referrer-Policy"] == "strict-origin-when-cross-origin"
        assert "frame-ancestors 'none'" in r.headers["Content-Security-Policy"]
        assert "Strict-Transport-Security" not in r.headers
        assert int(r.headers["Content-Length"]) == len(r.content)
        assert re.fullmatch(r"req-[0-9a-f]{12}", r.headers["X-Request-ID"])


def test_hsts_behind_a_tls_proxy(api):
    r = api.get("/healthz", headers={"X-Forwarded-Proto": "https"})
    assert r.headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"


def test_request_id_is_echoed_and_reaches_the_log(api):
    given = "trace-%s" % uuid.uuid4().hex
    r = api.post("/api/debates", {}, headers={"X-Request-ID": given})
    assert r.headers["X-Request-ID"] == given
    assert r.json()["trace_id"] == given
    assert api.post("/api/debates", {"task": TASK, "rounds": 1}, headers={"X-Request-ID": given}).headers["X-Request-ID"] == given
    api.wait_log('"request_id":"%s"' % given)
    assert api.get("/healthz").headers["X-Request-ID"] != api.get("/healthz").headers["X-Request-ID"]


def test_request_id_that_cannot_be_echoed_is_replaced(api):
    for bad in ("x" * 5000, 'a"b<script>', "caf\u00e9".encode("utf-8").decode("latin-1")):
        r = api.get("/api/nope", headers={"X-Request-ID": bad})
        assert r.headers["X-Request-ID"] != bad and len(r.headers["X-Request-ID"]) < 200
        envelope(r, 404, "NOT_FOUND")


def test_versions_are_one_api(api, done):
    bodies = [api.get("%s/debates/%s" % (base, done["id"])).json() for base in ("/api", "/api/v1", "/api/v2")]
    assert bodies[0] == bodies[1] == bodies[2]
    assert api.get("/api/v2/debates").headers["X-API-Version"] == "v2"
    assert api.get("/api/debates").headers["X-API-Version"] == "v1"
    assert api.get("/api/debates/").json() == api.get("/api/v1/debates").json()
    envelope(api.get("/api/v3/debates"), 404, "NOT_FOUND")
    assert api.post("/api/v1/debates", {"task": TASK, "rounds": 1}).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_unknown_path(api, method):
    for path in ("/api/nope", "/nope", "/api/v1/debates/x/nope/nope"):
        envelope(api.request(method, path), 404, "NOT_FOUND")


def test_wrong_method_names_the_right_ones(api):
    for method, path, allowed in (("PATCH", "/api/health", {"GET", "HEAD"}), ("DELETE", "/api/debates", {"GET", "HEAD", "POST"}),
                                  ("POST", "/api/debates/x", {"GET", "HEAD", "PATCH", "PUT", "DELETE"}),
                                  ("GET", "/api/debates/x/cancel", {"POST"})):
        r = api.request(method, path)
        envelope(r, 405, "METHOD_NOT_ALLOWED")
        assert allowed <= {m.strip() for m in r.headers["Allow"].split(",")}


def test_preflight(api):
    r = api.request("OPTIONS", "/api/debates", headers={"Origin": ORIGIN, "Access-Control-Request-Method": "POST"})
    assert r.status_code == 200 and r.content == b""
    assert r.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert r.headers["Access-Control-Allow-Credentials"] == "true"
    assert {"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"} <= {
        m.strip() for m in r.headers["Access-Control-Allow-Methods"].split(",")}
    assert {"content-type", "authorization", "x-request-id", "x-api-key", "idempotency-key"} <= {
        h.strip().lower() for h in r.headers["Access-Control-Allow-Headers"].split(",")}
    assert r.headers["Access-Control-Max-Age"] == "3600"
    assert "Origin" in r.headers["Vary"]
    assert api.request("OPTIONS", "/api/nope").status_code == 200


def test_foreign_origin_gets_no_cors_headers(api):
    for r in (api.request("OPTIONS", "/api/debates", headers={"Origin": "https://evil.example"}),
              api.get("/api/debates", headers={"Origin": "https://evil.example"}),
              api.get("/api/debates", headers={"Origin": ORIGIN + ".evil.example"})):
        assert "Access-Control-Allow-Origin" not in r.headers
        assert "Access-Control-Allow-Credentials" not in r.headers
    assert api.get("/api/nope", headers={"Origin": ORIGIN}).headers["Access-Control-Allow-Origin"] == ORIGIN


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


# ---- agents and ranking ----

def test_agents(api):
    a = api.get("/api/agents").json()
    assert a["total"] == len(a["agents"]) >= 10 and a["items"] == a["agents"]
    names = {x["name"] for x in a["agents"]}
    assert len(names) == a["total"] and {"claude", "demo"} & names
    for x in a["agents"]:
        assert x["available"] is True and x["provider"] == "demo" and x["model"]
    assert all(x["elo"] == 1500 for x in api.get("/api/agents?include_stats=true").json()["agents"])
    one = api.get("/api/agents/" + a["agents"][0]["name"]).json()
    assert one["name"] == a["agents"][0]["name"] and one["elo"] == 1500
    envelope(api.get("/api/agents/nobody-knows-me"), 404, "NOT_FOUND")


def test_agents_health(api):
    h = api.get("/api/agents/health").json()
    assert h["overall_status"] == "healthy" and h["timestamp"]
    assert h["summary"]["total_agents"] == len(h["agents"]) and h["summary"]["availability_rate"] == 1.0
    for a in h["agents"].values():
        assert {"type", "requires_api_key", "api_key_configured", "available"} <= set(a)
    for b in h["circuit_breakers"].values():
        assert b["state"] in ("closed", "open", "half_open") and b["available"] in (True, False) and b["failure_count"] >= 0
    assert h["fallback"]["openrouter_available"] is False and h["fallback"]["local_providers"] == []
    availability = api.get("/api/agents/availability").json()
    assert availability["missing"] == [] and set(availability["available"]) == set(h["agents"])


def test_agents_without_demo(make_server):
    """With a provider configured only its agents can be used, and a refusal says what to set."""
    s = make_server({"server": {"workers": 1}, "providers": {"openai": {"api_key": "sk-test", "base_url": "http://127.0.0.1:9/v1"}}})
    by = {a["name"]: a for a in s.get("/api/agents").json()["agents"]}
    assert by["openai-api"]["available"] is True and by["openai-api"]["provider"] == "openai"
    assert [a for a in by.values() if not a["available"]]
    e = envelope(s.post("/api/debates", {"task": TASK, "agents": ["claude", "gpt"]}), 400, "INVALID_VALUE", "agents")
    assert "ANTHROPIC_API_KEY" in e["error"]
    assert s.get("/api/health").json()["demo_mode"] is False
    assert "sk-test" not in s.get("/api/agents/health").text


@pytest.mark.parametrize("path", ["/api/leaderboard/rankings", "/api/leaderboard", "/api/rankings"])
def test_leaderboard(api, path):
    r = api.get(path)
    assert r.status_code == 200, r.text
    assert r.json()["agents"] == r.json()["rankings"]
    assert r.json()["agents"] == []  # demo debates are never rated


# ---- description of the API ----

def test_openapi_describes_every_route(api):
    doc = api.get("/api/openapi.json").json()
    assert doc["openapi"].startswith("3.") and doc["info"]["title"] and doc["info"]["version"]
    listed = api.command("routes", "-c", api.conf_path).stdout.splitlines()[1:]
    routes = {(line.split()[0], line.split()[1]) for line in listed if line.strip()}
    assert len(routes) > 40
    described = {(m.upper(), p) for p, item in doc["paths"].items() for m in item}
    assert {("GET" if m == "WS" else m, p) for m, p in routes} == described
    ids = set()
    for path, item in doc["paths"].items():
        for method, op in item.items():
            assert op["responses"]["200"]["description"] and op["summary"], path
            named = {p["name"] for p in op["parameters"] if p["in"] == "path"}
            assert named == set(re.findall(r"\{(\w+)\}", path)), path
            assert all(p["required"] is True and p["schema"]["type"] for p in op["parameters"] if p["in"] == "path")
            ids.add(op.get("operationId", (method, path)))
    assert len(ids) == len(described)
    for ref in re.findall(r'"\$ref": ?"([^"]+)"', json.dumps(doc)):
        at = doc
        for part in ref.removeprefix("#/").split("/"):
            at = at[part]
    for name, schema in doc["components"]["schemas"].items():
        assert set(schema["required"]) <= set(schema["properties"]), name


# ---- authentication ----

OPEN = ["/healthz", "/livez", "/health", "/ready", "/readyz", "/api/health", "/api/health/db", "/metrics", "/api/openapi.json"]


@pytest.mark.parametrize("path", OPEN)
def test_probes_are_open(locked, path):
    assert locked.get(path).status_code == 200


@pytest.mark.parametrize("method,path", [("GET", "/api/debates"), ("POST", "/api/debates"), ("GET", "/api/debates/x"),
                                         ("DELETE", "/api/debates/x"), ("GET", "/api/debates/export"), ("GET", "/api/receipts"),
                                         ("GET", "/api/debates/x/events"), ("GET", "/api/search"), ("GET", "/ws")])
def test_without_or_with_a_wrong_token(locked, method, path):
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} if path == "/ws" else {}
    if path != "/ws":  # a socket may give its token in the first message; until then it is told nothing
        r = locked.request(method, path, headers=upgrade)
        envelope(r, 401, "AUTH_REQUIRED")
        assert r.headers["WWW-Authenticate"].startswith("Bearer")
    for header in ({"Authorization": "Bearer wrong"}, {"X-API-Key": "wrong"}, {"Authorization": "Bearer " + TOKEN[:-1]},
                   {"Authorization": "Bearer " + TOKEN + "x"}):
        envelope(locked.request(method, path, headers={**upgrade, **header}), 401, "INVALID_TOKEN")
    if path != "/ws":  # in a URL it would end up in logs
        envelope(locked.request(method, path + "?token=" + TOKEN), 401, "AUTH_REQUIRED")


def test_with_the_token(locked):
    for headers in ({"Authorization": "Bearer " + TOKEN}, {"authorization": "bearer " + TOKEN}, {"X-API-Key": TOKEN}):
        assert locked.get("/api/debates", headers=headers).status_code == 200
    r = locked.post("/api/debates", {"task": TASK, "rounds": 1}, headers={"Authorization": "Bearer " + TOKEN})
    assert r.status_code == 200
    assert locked.get("/api/debates/%s/status" % r.json()["id"], headers={"X-API-Key": TOKEN}).status_code == 200


def test_preflight_needs_no_token(locked):
    r = locked.request("OPTIONS", "/api/debates", headers={"Origin": ORIGIN})
    assert r.status_code == 200 and r.headers["Access-Control-Allow-Origin"] == ORIGIN


def test_refusal_can_be_read_by_a_page(locked):
    assert locked.get("/api/debates", headers={"Origin": ORIGIN}).headers["Access-Control-Allow-Origin"] == ORIGIN


def test_token_is_in_no_log(locked):
    locked.get("/api/debates", headers={"Authorization": "Bearer " + TOKEN})
    locked.get("/api/debates?token=" + TOKEN)
    wait_until(lambda: locked.access_path.exists() and "/api/debates" in locked.access_path.read_text(), what="access line")
    assert TOKEN not in locked.log() and TOKEN not in locked.access_path.read_text()


# ---- logs ----

def test_log_lines_are_json_and_name_the_debate(api, done):
    lines = [json.loads(line) for line in api.log().splitlines() if line.startswith("{")]
    assert len(lines) > 20
    of = [line for line in lines if done["id"] in json.dumps(line)]
    assert of
    assert all(line.get("debate_id") == done["id"] or line.get("debate") == done["id"] for line in of if "debate" in line or "debate_id" in line)


def test_access_line(api):
    mark = uuid.uuid4().hex
    api.get("/api/debates?mark=" + mark, headers={"User-Agent": "probe/1", "Referer": "http://r.example/"})
    line = wait_until(lambda: next((x for x in api.access_path.read_text().splitlines() if mark in x), None), what="access line")
    assert line.startswith("127.0.0.1 ")
    for part in ('"GET /api/debates?mark=%s HTTP/1.1"' % mark, " 200 ", '"http://r.example/"', '"probe/1"'):
        assert part in line, line
