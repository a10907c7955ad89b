# SPDX-License-Identifier: MIT
"""No secret in anything that is written: a server full of marked secrets is driven through success, failure and a crash,
then logs, answers, metrics, events, exports, traces, data folder, backups, dumps and process titles are searched."""
import base64
import json
import os
import secrets
import socket
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from signal import SIGABRT

import pytest
import requests

import pgkit
from conftest import merged, on_postgres, wait_until
from receiver import Receiver
from redis_kit import Redis


# What a client gives as an address is kept as it is, and shown to those who may read its debate; a secret belongs into
# callback_secret. No log, no event and no other answer has it.
DECLARED = {"callback url's query": ("GET /api/debates/", "a file: data/aragora.db", "a file: data/backups/"),
            "access token": ("POST /api/auth/refresh",), "refresh token": ("POST /api/auth/refresh",)}


class Marks(dict):
    """A secret by its name; made when first asked for. No two share a piece of 12 characters."""

    def __missing__(self, name):
        self[name] = "mark%s" % secrets.token_hex(14)
        return self[name]

    def hex(self, name):
        self[name] = secrets.token_hex(32)
        return self[name]

    def found(self, data):
        """Names of the secrets that stand in these bytes, plain or encoded."""
        hit = []
        for name, value in self.items():
            forms = {value.encode(), urllib.parse.quote(value).encode(), base64.b64encode(value.encode()).rstrip(b"=")[:-1],
                     value.encode("utf-16-le"), value[-24:].encode()}
            if any(f in data for f in forms):
                hit.append(name)
        return hit


@pytest.fixture
def marks():
    return Marks()


class Echo:
    """A model provider that puts the key it was given into its refusal, as some do."""

    def __init__(self):
        self.calls = 0
        echo = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                echo.calls += 1
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                said = {k: v for k, v in self.headers.items() if k.lower() in ("authorization", "x-api-key", "x-goog-api-key")}
                body = json.dumps({"error": {"message": "Incorrect API key provided: %s" % said, "type": "invalid_request_error"}}).encode()
                self.send_response(401)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = "http://127.0.0.1:%d" % self.server.server_address[1]


@pytest.fixture
def echo():
    e = Echo()
    yield e
    e.server.shutdown()


class Talk:
    """Requests whose answers are kept, with their heads."""

    def __init__(self, server):
        self.server, self.heard = server, []

    def __call__(self, method, path, **kw):
        kw.setdefault("timeout", 30)
        kw.setdefault("allow_redirects", False)
        r = requests.request(method, self.server.url + path, **kw)
        self.heard.append(("%s %s" % (method, path.split("?")[0]), ("%s %s" % (r.status_code, dict(r.headers))).encode() + r.content))
        return r

    def raw(self, data):
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=10) as s:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            text = b""
            while part := s.recv(65536):
                text += part
        self.heard.append(("raw", text))


def files_below(folder, without=()):
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and not any(str(path).startswith(str(w)) for w in without):
            yield path


def drive_failures(say, marks, good):
    """Every place where a client can put a credential, with one that is not ours."""
    m = lambda name: marks["sent in " + name]  # noqa: E731
    for scheme in ("Bearer ", "bearer ", "ApiKey ", "Basic ", ""):
        say("GET", "/api/debates", headers={"Authorization": scheme + m("authorization")})
    for header in ("X-API-Key", "X-Auth-Token", "Cookie", "Proxy-Authorization", "X-CSRF-Token", "X-Service-Token"):
        value = "session=%s; access_token=%s" % (m("cookie"), m("cookie")) if header == "Cookie" else m(header)
        say("GET", "/api/debates", headers={header: value})
    for name in ("token", "access_token", "refresh_token", "id_token", "api_key", "apikey", "key", "password", "secret", "client_secret",
                 "sig", "signature", "code", "state", "pending_token", "reset_token", "to%6ben"):
        say("GET", "/api/debates?limit=1&%s=%s" % (name, m("query " + name)), headers=good)
        say("GET", "/api/nowhere?%s=%s" % (name, m("query " + name)))
        say("GET", "/api/debates", headers={**good, "Referer": "https://app.test/cb?x=1&%s=%s#%s" % (name, m("referer"), m("fragment"))})
    for path in ("/api/auth/login", "/api/auth/register", "/api/auth/refresh", "/api/auth/password/reset", "/api/auth/mfa/verify",
                 "/api/auth/setup", "/api/keys"):
        body = {n: m("body " + n) for n in ("password", "new_password", "token", "refresh_token", "code", "secret", "api_key", "backup_code",
                                             "mfa_code", "setup_token", "pending_token")}
        say("POST", path, json={"email": "a@example.org", "username": "a", "name": "a", **body}, headers=good)
        say("POST", path, data='{"password": "%s", broken' % m("bad json"), headers={**good, "Content-Type": "application/json"})
    say("POST", "/api/debates", json={"task": "t", "callback_url": "http://u:%s@127.0.0.1:9/x" % m("callback userinfo")}, headers=good)
    say("POST", "/api/debates", json={"task": "t", "callback_url": "http://127.0.0.1:9/x?token=%s" % m("callback query"), "rounds": 1,
                                      "callback_secret": m("callback secret that is too long") + "x" * 9000}, headers=good)
    head = b"GET /api/debates?token=%s HTTP/1.1\r\nHost: x\r\n" % m("raw query").encode()
    say.raw(head + b"Authorization: Bearer %s\r\nBad Header: %s\r\n\r\n" % (m("raw head").encode(), m("raw bad header").encode()))
    upgrade = (b"GET /ws?token=%s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
               b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: access_token, %s, bearer.%s\r\n\r\n")
    say.raw(upgrade % tuple(m("ws " + n).encode() for n in ("query", "protocol", "bearer")))


def drive_accounts(say, marks):
    """Registering, logging in and out, refreshing: what is handed out is shown once, to whom it belongs."""
    body = {"email": "ada@example.org", "password": marks["password"] + "Aa-1"}
    assert say("POST", "/api/auth/register", json=body).status_code == 201
    given = say("POST", "/api/auth/login", json=body).json()
    given = say("POST", "/api/auth/refresh", json={"refresh_token": given["refresh_token"]}).json()
    marks["access token"], marks["refresh token"] = given["access_token"], given["refresh_token"]
    say("POST", "/api/auth/login", json={**body, "password": marks["wrong password"]})
    head = {"Authorization": "Bearer " + given["access_token"]}
    for method, path in (("GET", "/api/auth/me"), ("GET", "/api/auth/sessions"), ("GET", "/api/debates?token=" + given["access_token"]),
                         ("POST", "/api/auth/logout"), ("GET", "/api/auth/me")):
        say(method, path, headers=head)


def drive_debates(say, marks, good, receiver, server):
    """A debate that succeeds with a signed callback, and one whose provider refuses and repeats the key."""
    url = "http://127.0.0.1:%d/hook?token=%s" % (receiver.port, marks["callback url's query"])
    ids = []
    for agents in (["demo"] * 2, ["openai", "anthropic"]):
        r = say("POST", "/api/debates", headers=good, json={"task": "Which colour?", "rounds": 1, "agents": agents,
                                                            "callback_url": url, "callback_secret": marks["callback secret"]})
        assert r.status_code in (200, 201), r.text
        ids.append(r.json()["debate_id"])
    for d in ids:
        wait_until(lambda: say("GET", "/api/debates/%s/status" % d, headers=good).json()["status"] in ("completed", "failed"), timeout=60)
        for view in ("", "/messages", "/events", "/status", "/receipt", "/export/json", "/export/csv", "/deliveries"):
            say("GET", "/api/debates/%s%s" % (d, view), headers=good)
    receiver.wait(1)
    wait_until(lambda: len(list(files_below(server.data_dir / "traces"))) >= 1, what="traces")


def drive_views(say, marks, good):
    for path in ("/metrics", "/api/metrics", "/api/health", "/api/health/detailed", "/healthz", "/api/openapi.json", "/api/agents",
                 "/api/system/rate-limits", "/api/circuit-breakers", "/api/system/errors", "/api/audit/report", "/api/webhooks/dead-letter",
                 "/api/auth/me", "/api/auth/stats", "/api/ws/stats"):
        say("GET", path, headers=good)
        say("GET", path, headers={"Authorization": "Bearer " + marks["metrics.token"]})
    for fmt in ("json", "jsonl", "csv", "cef", "syslog", "soc2"):
        say("GET", "/api/audit/export?format=" + fmt, headers=good)


def config_of(marks, echo, redis_port):
    return {
        "auth": {"api_token": marks["auth.api_token"], "jwt_secret": marks["auth.jwt_secret"] * 2, "password_memory": 65536,
                 "password_passes": 1},
        "storage": {"encryption_key": marks.hex("storage.encryption_key"), "traces": "traces"},
        "redis": {"url": "redis://:%s@127.0.0.1:%d/0" % (marks["redis.url"], redis_port), "timeout": "500ms"},
        "deliveries": {"secret": marks["deliveries.secret"], "allow_private": ["127.0.0.0/8"], "allow_http": True},
        "audit": {"signing_key": marks.hex("audit.signing_key")},
        "csrf": {"secret": marks["csrf.secret"]},
        "smtp": {"url": "smtp://mail:%s@127.0.0.1:1" % marks["smtp.url"], "from": "a@example.org"},
        "metrics": {"token": marks["metrics.token"]},
        "debates": {"retry_attempts": 1, "retry_base": "10ms"},
        "providers": {"openai": {"base_url": echo.url + "/v1", "api_key": marks["openai key"], "model": "m"},
                      "anthropic": {"base_url": echo.url + "/v1", "api_key": marks["anthropic key"], "model": "m"},
                      "demo": {"delay_ms": 0}},
    }


@pytest.fixture
def guarded_redis(tmp_path, marks):
    r = Redis(tmp_path / "redis", "--requirepass", marks["redis.url"]).start()
    yield r
    r.stop()


def commands_of(s):
    """What subcommands print, with right and with wrong configurations."""
    conf = ("-c", s.conf_path)
    bad = s.folder / "bad.yml"
    bad.write_text(s.conf_path.read_text() + "\nnonsense: 1\n")
    for args in (["-T", *conf], ["-t", *conf], ["-T", "-c", bad], ["status", *conf, "--json"], ["status", *conf], ["check", *conf],
                 ["routes", *conf], ["audit", "verify", *conf, "--json"], ["audit", "export", *conf, "-f", "jsonl"],
                 ["migrate", "status", *conf], ["encrypt", *conf, "-v"], ["db", "check", *conf], ["backup", "list", *conf],
                 ["cleanup", "--dry-run", *conf, "-v"], ["backup", *conf]):
        r = s.command(*args)
        yield "aragorad " + " ".join(map(str, args)), (r.stdout + r.stderr).encode()


def test_nothing_is_told(make_server, marks, echo, guarded_redis):
    config = config_of(marks, echo, guarded_redis.port)
    if on_postgres():
        config = merged(config, {"storage": {"dsn": pgkit.shared().database()}})
    s = make_server(config, start=False)
    s.env["ARAGORA_SETUP_TOKEN"] = marks["setup token"]
    s.env["GEMINI_API_KEY"] = marks["gemini key"]
    s.start()
    good = {"Authorization": "Bearer " + marks["auth.api_token"]}
    if "dsn" in s.config["storage"]:
        marks["password of the store"], marks["password of the store, in a URI"] = pgkit.PASSWORD, pgkit.PASSWORD_URI
    say = Talk(s)
    with Receiver() as receiver:
        drive_failures(say, marks, good)
        drive_accounts(say, marks)
        drive_debates(say, marks, good, receiver, s)
        drive_views(say, marks, good)
    assert echo.calls > 0, "no provider was asked"
    titles = b"\n".join(" ".join(p.cmdline()).encode() for p in s.family())
    # A worker dies of its own fault with a request in its hands; the backtrace is written.
    s.reports_allowed = True
    stuck = socket.create_connection(("127.0.0.1", s.port))
    stuck.sendall(b"POST /api/debates?token=%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 99\r\n\r\n{" %
                  (marks["crash query"].encode(), marks["crash header"].encode()))
    for w in s.workers():
        os.kill(w["pid"], SIGABRT)
    stuck.close()
    wait_until(lambda: len(s.workers()) == 2, timeout=60, what="workers are back")
    told = [("process titles", titles), *say.heard, *commands_of(s)]
    s.stop()
    told += [("a file: %s" % p.relative_to(s.folder), p.read_bytes())
             for p in files_below(s.folder, (s.conf_path, s.folder / "bad.yml", s.data_dir / "keys"))]
    # What the search can see at all: the trace is there, so is the debate's task in a backup.
    assert any("traces" in name for name, _ in told) and any("backups" in name and (on_postgres() or b"Which colour?" in data)
                                                                       for name, data in told)
    leaks = sorted({"%s: %s" % (name, secret) for name, data in told for secret in marks.found(data)
                    if not name.startswith(DECLARED.get(secret, "nowhere"))})
    assert not leaks, "\n".join(leaks)


def test_a_start_that_fails_tells_nothing(make_server, marks):
    """Addresses that cannot be reached, and values that are wrong, are named without their secrets."""
    dsn = "postgresql://app:%s@127.0.0.1:1/x" % marks["dsn"]
    for config, env in (
        ({"storage": {"dsn": dsn, "pool_timeout": "300ms"}}, {}),
        ({}, {"DATABASE_URL": "postgresql://app:%s@[bad/x" % marks["bad dsn"], "ARAGORA_DB_POOL_TIMEOUT": "1"}),
        ({"redis": {"url": "redis://:%s@" % marks["bad redis url"]}}, {}),
        ({"smtp": {"url": "http://u:%s@h" % marks["bad smtp url"]}}, {}),
        ({"storage": {"encryption_key": marks["bad encryption key"]}}, {}),
        ({"audit": {"signing_key": marks["bad signing key"][:20]}}, {}),
        ({"server": {"env": "production"}, "auth": {"jwt_secret": marks["weak secret"][:12], "api_token": marks["weak token"][:12]}}, {}),
        ({"server": {"env": "production"}}, {"ARAGORA_JWT_SECRET": marks["weak env secret"][:12]}),
    ):
        s = make_server(config, env=env, start=False)
        shown = s.command("-T", "-c", s.conf_path)
        s.spawn()
        try:
            s.process.wait(15)
        except Exception:  # it may serve all the same; then only what it says matters
            pass
        s.kill_all()
        told = s.log().encode() + (shown.stdout + shown.stderr).encode()
        assert told
        leaks = marks.found(told) + [n for n, v in marks.items() if v[:12].encode() in told]
        assert not leaks, (leaks, told.decode()[-3000:])
