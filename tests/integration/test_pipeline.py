# SPDX-License-Identifier: MIT
"""The steps of the pipeline that are nobody else's, each through the real door: sanity, names, browsers, traces, versions,
time limits, objectives."""
import re
import socket

import pytest

from conftest import wait_until
from talk import metric

TASK = {"task": "May this request pass?", "rounds": 1}
ORIGIN = "http://localhost:3000"


@pytest.fixture(scope="module")
def api(module_server):
    return module_server()


@pytest.fixture(scope="module")
def module_server(tmp_path_factory):
    """As make_server, but its servers live as long as this file's tests."""
    from conftest import Server
    made = []

    def make(config=None, env=None):
        s = Server(tmp_path_factory.mktemp("pipeline"), config, env)
        made.append(s)
        s.start()
        return s
    yield make
    for s in made:
        s.close()


def refused(answer, status=400, field=None):
    body = answer.json()
    assert answer.status_code == status, answer.text
    assert body["trace_id"] == answer.headers["X-Request-ID"]
    if field:
        assert body["field"] == field
    return body


def raw(server, text):
    """Sends bytes as they are; returns the status of the answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as s:
        s.sendall(text.encode())
        return int(s.makefile("rb").readline().split()[1])


# ---- security ----

def test_long_parameters_are_named_all_at_once(api):
    for name, most in (("q", 1000), ("status", 50), ("domain", 100), ("email", 254), ("topic", 500)):
        assert api.get("/api/debates", params={name: "ä" * most}).status_code == 200, name
        assert refused(api.get("/api/debates", params={name: "ä" * (most + 1)}), field=name)["code"] == "INVALID_VALUE"
    body = refused(api.get("/api/debates", params={"q": "x" * 1001, "status": "x" * 51, "other": "y" * 5000}))
    assert {e["field"] for e in body["errors"]} == {"q", "status", "other"}


def test_parameters_that_could_mean_two_things(api):
    refused(api.get("/api/debates?status=running&status=failed"), field="status")
    refused(api.get("/api/debates?q=a%00b"), field="q")
    refused(api.get("/api/debates?" + "&".join("p%d=1" % i for i in range(65))), field="query")
    # Lists and unknown names may come again: the first counts.
    assert api.get("/api/debates?limit=1&limit=2&unknown=1&unknown=2").json()["limit"] == 1


def test_ids_in_paths(api):
    for bad in ("a%20b", "x%3Cscript%3E", "d" * 129, "%27--", "caf%C3%A9"):
        assert refused(api.get("/api/debates/" + bad), field="id")["code"] == "INVALID_PATH"
    assert api.get("/api/debates/" + "d" * 128).status_code == 404
    assert api.get("/api/agents/no-such.agent:1").status_code == 404


def test_a_header_that_counts_once(api):
    twice = "GET /api/debates HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer a\r\n%s\r\n"
    assert raw(api, twice % "authorization: Bearer b\r\n") == 400
    assert raw(api, twice.replace("Authorization: Bearer a\r\n", "") % "") == 200
    assert metric(api, 'aragora_http_refused_total{step="security"}') > 0


def test_the_method_cannot_be_overridden(api):
    for name in ("X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"):
        refused(api.get("/api/debates", headers={name: "DELETE"}))
    refused(api.get("/api/debates?_method=DELETE"))
    assert api.get("/api/debates", headers={"X-HTTP-Method-Override": "GET"}).status_code == 200


# ---- host ----

def test_names_of_this_server(make_server):
    s = make_server({"server": {"workers": 1, "allowed_hosts": ["debates.example", ".inner.example", "[::1]"]}})
    for host, status in (("debates.example", 200), ("DEBATES.example:8080", 200), ("a.inner.example", 200), ("[::1]:80", 200),
                         ("inner.example", 400), ("evil.example", 400), ("xinner.example", 400), ("127.0.0.1", 400)):
        assert s.get("/api/debates", headers={"Host": host}).status_code == status, host
    # Probes are asked by address.
    assert s.get("/healthz", headers={"Host": "10.0.0.1"}).status_code == 200


def test_any_name_in_development(api):
    assert api.get("/api/debates", headers={"Host": "what.ever"}).status_code == 200


# ---- headers for browsers ----

def test_policies_by_kind(api):
    policy = api.get("/api/debates").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert api.get("/api/debates").headers["Permissions-Policy"] == "geolocation=(), microphone=(), camera=()"


def test_headers_of_the_environment(make_server, tmp_path):
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "index.html").write_text("<title>page</title>")
    s = make_server({"server": {"workers": 1}, "static": {"root": str(tmp_path / "web")}}, env={
        "ARAGORA_X_FRAME_OPTIONS": "SAMEORIGIN", "ARAGORA_X_XSS_PROTECTION": "0", "ARAGORA_REFERRER_POLICY": "no-referrer",
        "ARAGORA_CSP_MODE": "dev", "ARAGORA_CSP_REPORT_URI": "/csp", "ARAGORA_CSP_REPORT_ONLY": "true",
        "ARAGORA_STRICT_TRANSPORT_SECURITY": "max-age=60"})
    h = s.get("/", headers={"X-Forwarded-Proto": "https"}).headers
    assert (h["X-Frame-Options"], h["X-XSS-Protection"], h["Referrer-Policy"]) == ("SAMEORIGIN", "0", "no-referrer")
    assert h["Strict-Transport-Security"] == "max-age=60" and "Content-Security-Policy" not in h
    assert "'unsafe-eval'" in h["Content-Security-Policy-Report-Only"]
    assert h["Content-Security-Policy-Report-Only"].endswith("; report-uri /csp")
    assert "default-src 'none'" in s.get("/api/debates").headers["Content-Security-Policy"]


def test_headers_can_be_left_to_a_proxy(make_server):
    s = make_server({"server": {"workers": 1}, "headers": {"hsts": False}}, env={"ARAGORA_ENABLE_CSP": "false"})
    h = s.get("/api/debates", headers={"X-Forwarded-Proto": "https"}).headers
    assert "Content-Security-Policy" not in h and "Strict-Transport-Security" not in h and h["X-Frame-Options"] == "DENY"
    bad = make_server({"headers": {"frame_options": "DENY\r\nX-Evil: 1"}}, start=False)
    checked = bad.command("-t", "-c", bad.conf_path)
    assert checked.returncode == 4 and "headers.frame_options" in checked.stderr


def test_inline_scripts_carry_a_nonce(make_server, tmp_path):
    web = tmp_path / "web"
    web.mkdir()
    (web / "index.html").write_text('<script nonce="{{CSP_NONCE}}">a()</script><style nonce="{{CSP_NONCE}}">b{}</style>')
    (web / "plain.html").write_text("<script>a()</script>")
    s = make_server({"server": {"workers": 1}, "static": {"root": str(web)}})
    seen = set()
    for _ in range(3):
        r = s.get("/")
        nonce = re.fullmatch(r'<script nonce="([A-Za-z0-9+/]{22}==)">a\(\)</script><style nonce="\1">b{}</style>', r.text).group(1)
        policy = r.headers["Content-Security-Policy"]
        assert "script-src 'self' 'nonce-%s';" % nonce in policy and "style-src 'self' 'nonce-%s';" % nonce in policy
        assert "unsafe" not in policy and r.headers["Cache-Control"] == "no-store" and "ETag" not in r.headers
        seen.add(nonce)
    assert len(seen) == 3
    policy = s.get("/plain.html").headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy and "nonce" not in policy


# ---- cors ----

def test_everybody_may_read_but_not_as_somebody(make_server):
    s = make_server({"server": {"workers": 1}, "cors": {"allowed_origins": ["*"]}})
    h = s.get("/api/debates", headers={"Origin": "https://any.example"}).headers
    assert h["Access-Control-Allow-Origin"] == "*" and "Access-Control-Allow-Credentials" not in h and "Origin" in h["Vary"]
    assert "Access-Control-Allow-Origin" not in s.get("/api/debates", headers={"Origin": "null"}).headers


def test_a_listed_origin_may_bring_credentials(api):
    h = api.get("/api/debates", headers={"Origin": ORIGIN}).headers
    assert h["Access-Control-Allow-Origin"] == ORIGIN and h["Access-Control-Allow-Credentials"] == "true"
    for other in ("null", ORIGIN + "/", ORIGIN + "0", "http://localhost", "https://localhost:3000"):
        assert "Access-Control-Allow-Origin" not in api.get("/api/debates", headers={"Origin": other}).headers, other


# ---- csrf ----

def test_changes_by_cookie_need_the_token(make_server):
    s = make_server({"server": {"workers": 2}, "csrf": {"enabled": True}})
    session = {"aragora_session": "s" * 40}

    def change(cookies, **headers):
        return s.request("POST", "/api/debates/none/cancel", json={}, cookies=cookies, headers=headers).status_code

    issued = s.request("GET", "/api/auth/csrf", cookies=session)
    token = issued.json()["csrf_token"]
    cookie = issued.headers["Set-Cookie"]
    assert issued.headers["Cache-Control"] == "no-store" and token in cookie and "SameSite=Strict" in cookie
    assert "HttpOnly" not in cookie
    both = dict(session, _csrf_token=token)
    # 404: past this step, there is no such debate.
    assert change(both, **{"X-CSRF-Token": token}) == 404
    assert change(both, **{"X-XSRF-Token": token}) == 404
    assert change(both, **{"X-CSRF-Token": token, "Origin": ORIGIN}) == 404
    assert change(both, **{"X-CSRF-Token": token, "Origin": "http://127.0.0.1:%d" % s.port}) == 404
    assert change(both) == 403
    assert change(session, **{"X-CSRF-Token": token}) == 403
    assert change(both, **{"X-CSRF-Token": token, "Origin": "https://evil.example"}) == 403
    assert change(both, **{"X-CSRF-Token": token, "Origin": "null"}) == 403
    assert change(both, **{"X-CSRF-Token": token, "Sec-Fetch-Site": "cross-site"}) == 403
    assert change(dict(both, aragora_session="t" * 40), **{"X-CSRF-Token": token}) == 403
    flipped = token[:-1] + ("A" if token[-1] != "A" else "B")
    assert change(dict(session, _csrf_token=flipped), **{"X-CSRF-Token": flipped}) == 403
    # Reading, and credentials that no browser adds by itself.
    assert s.request("GET", "/api/debates", cookies=session).status_code == 200
    assert change({}) == 404
    assert s.request("POST", "/api/debates/none/cancel", json={}, cookies=session,
                     headers={"X-API-Key": "k"}).status_code != 403
    assert metric(s, 'aragora_http_refused_total{step="csrf"}') == 7


# ---- tracing ----

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_trace_is_joined(api):
    for path in ("/api/debates", "/api/health", "/api/debates/none"):
        h = api.get(path, headers={"traceparent": "00-%s-%s-01" % (TRACE, SPAN)}).headers
        assert h["X-Trace-ID"] == TRACE and h["X-Parent-Span-ID"] == SPAN
        assert re.fullmatch(r"[0-9a-f]{16}", h["X-Span-ID"]) and h["X-Span-ID"] != SPAN
        assert h["traceparent"] == "00-%s-%s-01" % (TRACE, h["X-Span-ID"])
    api.wait_log('"trace_id":"%s"' % TRACE)


@pytest.mark.parametrize("bad", ["", "00-%s-%s" % (TRACE, SPAN), "00-%s-%s-01" % ("0" * 32, SPAN), "ff-%s-%s-01" % (TRACE, SPAN),
                                 "00-%s-%s-01" % (TRACE.upper(), SPAN), "00-%s-%s-01-x" % (TRACE, SPAN)])
def test_a_malformed_trace_is_replaced(api, bad):
    h = api.get("/api/debates", headers={"traceparent": bad}).headers
    assert re.fullmatch(r"[0-9a-f]{32}", h["X-Trace-ID"]) and h["X-Trace-ID"].lower() != TRACE
    assert "X-Parent-Span-ID" not in h


def test_stages_are_timed(api):
    before = metric(api, 'aragora_http_stage_seconds_count{stage="handler"}')
    api.get("/api/debates")
    wait_until(lambda: metric(api, 'aragora_http_stage_seconds_count{stage="handler"}') > before)
    assert metric(api, 'aragora_http_stage_seconds_count{stage="chain"}') > 0


def test_correlation(api):
    h = api.get("/api/debates", headers={"X-Correlation-ID": "order-17"}).headers
    assert h["X-Correlation-ID"] == h["X-Request-ID"] == "order-17"


# ---- versions ----

def test_versions(api):
    assert api.get("/api/debates", headers={"X-API-Version": "v2"}).headers["X-API-Version"] == "v2"
    assert api.get("/api/v1/debates", headers={"X-API-Version": "v2"}).headers["X-API-Version"] == "v1"
    assert api.get("/api/debates", headers={"Accept": "application/vnd.aragora.v2+json"}).headers["X-API-Version"] == "v2"
    for version in ("v1", "v3", "nonsense"):
        r = api.get("/api/v1/debates", headers={"X-API-Version": version})
        assert r.status_code == 200 and "Sunset" not in r.headers and "Deprecation" not in r.headers


def test_a_former_path_names_its_successor(api):
    r = api.post("/api/debate", TASK)
    assert r.status_code == 200 and r.headers["Deprecation"] == "@1767225600"
    assert r.headers["Link"] == '</api/debates>; rel="successor-version"'
    assert "Deprecation" not in api.post("/api/debates", TASK).headers
    assert api.get("/api/openapi.json").json()["paths"]["/api/debate"]["post"]["deprecated"] is True


# ---- processing ----

def test_keys_of_creations(api):
    for bad in ("", "k" * 256, "a b"):
        refused(api.post("/api/debates", TASK, headers={"Idempotency-Key": bad}), field="Idempotency-Key")
    assert api.post("/api/debates", TASK, headers={"Idempotency-Key": "k" * 255}).status_code == 200


def test_time_limits_that_clients_ask_for(make_server):
    for s, asked in ((make_server({"server": {"workers": 1}}), "0"), ):
        for bad in (asked, "601", "x", "-1", "1.5"):
            refused(s.get("/api/debates", headers={"X-Request-Timeout": bad}), field="X-Request-Timeout")
        assert s.get("/api/debates", headers={"X-Request-Timeout": "600"}).status_code == 200


def test_maintenance_has_its_code(make_server):
    s = make_server({"server": {"workers": 1}})
    s.post("/api/admin/maintenance/enable", {"reason": "new disks"})
    body = refused(s.post("/api/debates", TASK), 503)
    assert body["code"] == "MAINTENANCE" and "new disks" in body["error"]


def test_bodies_of_declared_schemas(api):
    d = api.post("/api/debates", TASK).json()["id"]
    body = refused(api.request("PATCH", "/api/debates/" + d, json={"title": 5, "tags": ["a", 1], "metadata": "x"}))
    assert {e["field"] for e in body["errors"]} == {"title", "tags", "metadata"}
    body = refused(api.request("PATCH", "/api/debates/" + d, json={"title": "ä" * 501, "tags": ["t"] * 21}))
    assert {e["field"] for e in body["errors"]} == {"title", "tags"}
    assert api.request("PATCH", "/api/debates/" + d, json={"title": "x" * 500, "tags": ["t"]}).status_code == 200
    for bad in ("[]", "{", "5"):
        r = api.request("PATCH", "/api/debates/" + d, data=bad, headers={"Content-Type": "application/json"})
        assert refused(r)["code"] == "INVALID_JSON"


# ---- answers that are kept ----

def test_answers_are_kept_until_their_source_changes(make_server):
    s = make_server({"server": {"workers": 2}, "cache": {"ttl": "1h"}})
    name = 'aragora_response_cache_total{result="%s"}'

    def ask(path="/api/leaderboard?limit=5&domain=x", **headers):
        return s.get(path, headers=headers)
    first = ask()
    wait_until(lambda: ask().headers.get("X-Cache") == "hit")
    assert ask().json() == first.json() and ask().headers["ETag" if "ETag" in first.headers else "X-Request-ID"]
    # The order of parameters does not matter; others, another path and a client that wants a fresh one do.
    wait_until(lambda: ask("/api/leaderboard?domain=x&limit=5").headers.get("X-Cache") == "hit")
    assert "X-Cache" not in ask(**{"Cache-Control": "no-cache"}).headers
    assert "X-Cache" not in ask("/api/leaderboard?limit=5&limit=6").headers
    assert "X-Cache" not in s.get("/api/debates").headers
    before = metric(s, name % "hit")
    d = s.post("/api/debates", TASK).json()["id"]
    wait_until(lambda: s.get("/api/debates/%s/status" % d).json()["status"] == "completed")
    # Every worker has let go of what it kept.
    for _ in range(6):
        assert "X-Cache" not in s.get("/api/leaderboard?limit=5&domain=x&fresh=%d" % _).headers
    wait_until(lambda: metric(s, name % "stale") > 0 or not ask() or False)
    assert metric(s, name % "hit") >= before > 0


# ---- objectives ----

def test_objectives(make_server):
    s = make_server({"server": {"workers": 1}, "slo": {"read": "1ms", "probe": "24h", "create": "24h"}})
    for _ in range(5):
        s.get("/healthz")
        s.get("/api/debates")
    s.post("/api/debates", TASK)
    report = s.get("/api/system/slo").json()
    by_class = {c["class"]: c for c in report["classes"]}
    assert set(by_class) == {"probe", "read", "write", "create", "export"}
    assert by_class["probe"]["total"] >= 5 and by_class["probe"]["latency"]["met"] is True
    assert by_class["create"]["total"] == 1 and by_class["create"]["availability"]["actual"] == 1
    assert by_class["read"]["latency"]["limit_ms"] == 1 and by_class["write"]["total"] == 0
    assert by_class["read"]["total"] == metric(s, 'aragora_slo_requests_total{class="read",outcome="good"}') + metric(
        s, 'aragora_slo_requests_total{class="read",outcome="slow"}') - 1


# ---- what applies where ----

def test_routes_show_their_chains(api):
    out = api.command("routes", "-c", api.conf_path, check=True).stdout
    chains = {tuple(line.split()[:2]): line for line in out.splitlines()}
    create, read, probe = chains["POST", "/api/debates"], chains["GET", "/api/debates"], chains["GET", "/healthz"]
    for step in ("correlation", "tracing", "security", "security_headers", "xss_protection", "cors", "authentication", "body_limit",
                 "content_type", "timeout", "versioning", "idempotency", "maintenance", "metrics", "slo_tracking", "request_log",
                 "error_handler"):
        assert " %s " % step in create + " ", step
    for step in ("idempotency", "maintenance", "content_type", "deprecation", "host", "csrf"):
        assert " %s " % step not in read, step
    # What asks the store on behalf of strangers is counted, but for the probe that is there to ask.
    free = {path for (_, path), line in chains.items() if line.split()[2:4] == ["public", "-"] and line.endswith("(waits)")}
    assert free == {"/readyz/dependencies"}
    assert " timeout " not in probe and "(inline)" in probe
    assert " deprecation " in chains["POST", "/api/debate"]
    # The order of the server's guide: security, authentication, limits, processing, observability, caching.
    order = [create.index(" %s " % s) for s in ("security", "authentication", "body_limit", "timeout", "maintenance", "metrics")]
    assert order == sorted(order)
