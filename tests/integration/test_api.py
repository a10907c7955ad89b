# SPDX-License-Identifier: MIT
"""The HTTP API as a client meets it: probes, metrics, headers, agents, its description, authentication, logs."""
import json
import re
import uuid

import pytest
import requests

from conftest import Server, on_postgres, wait_until
from talk import TASK, debate, envelope, samples, total

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
