# SPDX-License-Identifier: MIT
"""Accounts, sessions and tokens through the socket: registering, logging in, refreshing, logging out, being revoked on
every worker and node, for requests, WebSockets and event streams alike.
"""
import base64
import hashlib
import hmac
import json
import re
import threading
import time

import pytest
import requests

from conftest import wait_until
from rawws import CLOSE, TEXT, Raw
from redis_kit import health, make_redis, redis_server  # noqa: F401  (fixtures)

PASSWORD = "Correct-horse-7-battery"
SECRET = "a-secret-of-the-tests-with-more-than-32-characters"
CHEAP = {"password_memory": 65536, "password_passes": 1}
AUTH = {**CHEAP, "jwt_secret": SECRET, "required": True}
SOON = 5  # the promise is a second; a loaded machine may take longer, and still must not take long


def bearer(token):
    return {"Authorization": "Bearer " + token}


def register(s, email="ada@example.org", status=201, **more):
    r = s.post("/api/auth/register", {"email": email, "password": PASSWORD, **more})
    assert r.status_code == status, r.text
    return r.json()


def login(s, email="ada@example.org", password=PASSWORD, status=200, **kw):
    r = s.post("/api/auth/login", {"email": email, "password": password}, **kw)
    assert r.status_code == status, r.text
    return r.json()


def me(s, token):
    return s.get("/api/auth/me", headers=bearer(token))


def refresh(s, token, **kw):
    return s.post("/api/auth/refresh", {"refresh_token": token}, **kw)


def claims(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def forge(change, header=None, secret=SECRET):
    """A token with claims changed, signed with `secret`."""
    def b64(o):
        return base64.urlsafe_b64encode(json.dumps(o).encode()).rstrip(b"=")
    now = int(time.time())
    text = b64(header or {"alg": "HS256", "typ": "JWT"}) + b"." + b64({"iat": now, "exp": now + 600, "type": "access", **change})
    return (text + b"." + base64.urlsafe_b64encode(hmac.new(secret.encode(), text, hashlib.sha256).digest()).rstrip(b"=")).decode()


def refused_everywhere(s, token, workers=2):
    """Refused by so many requests in a row, each on a connection of its own, that no worker can have been missed."""
    def all_refuse():
        return all(me(s, token).status_code == 401 for _ in range(8 * workers))
    start = time.monotonic()
    wait_until(all_refuse, SOON, "a revoked token is refused by all workers", interval=0.05)
    return time.monotonic() - start


@pytest.fixture
def auth(make_server):
    return make_server({"auth": AUTH})


# ---- making an account ----

def test_register_login_and_me(auth):
    s = auth
    made = register(s, name="Ada", organization="Analytical Engines")
    assert made["user"]["email"] == "ada@example.org" and made["user"]["role"] == "owner"
    assert made["organization"]["name"] == "Analytical Engines" and made["organizations"][0]["is_default"]
    assert made["tokens"]["access_token"] == made["access_token"] and made["token_type"] == "Bearer"
    assert made["expires_in"] == 86400 and made["tokens"]["refresh_token"] != made["access_token"]
    c = claims(made["access_token"])
    assert c["sub"] == made["user"]["id"] and c["type"] == "access" and c["role"] == "owner" and len(c["jti"]) == 36
    assert c["exp"] - c["iat"] == 86400 and c["org_id"] == made["organization"]["id"]
    assert claims(made["refresh_token"])["type"] == "refresh"

    again = login(s, "ADA@Example.ORG")
    r = me(s, again["access_token"])
    assert r.status_code == 200 and r.headers["cache-control"].startswith("no-store")
    who = r.json()
    assert who["user"]["id"] == who["id"] == made["user"]["id"] and who["name"] == "Ada"
    assert "debates.read" in who["permissions"] and who["permissions"] == sorted(who["permissions"])
    assert who["roles"] == ["owner"] and who["organization"]["id"] == c["org_id"]
    assert s.get("/api/auth/profile", headers=bearer(again["access_token"])).json()["id"] == who["id"]
    assert me(s, again["refresh_token"]).status_code == 401, "a refresh token opens nothing"

    # The debates of an organization of one's own are not those of the default one.
    assert s.get("/api/debates", headers=bearer(again["access_token"])).status_code == 200
    assert PASSWORD not in s.log() and again["access_token"] not in s.log() + s.access_path.read_text()
    stored = s.sql("SELECT password_hash FROM users")[0][0]
    assert stored.startswith("argon2id:") and PASSWORD not in stored
    assert not [t for (t,) in s.sql("SELECT id FROM refresh_tokens") if "." in t], "tokens are not stored"


def test_bad_registrations(auth):
    s = auth
    r = s.post("/api/auth/register", {"email": "nobody", "password": "short", "name": 7})
    body = r.json()
    assert r.status_code == 400 and {e["field"] for e in body["errors"]} == {"email", "password", "name"}
    assert "short" not in r.text
    for email in ("a@b", "@example.org", "a b@example.org", "a@example..org", "a@@example.org", "x" * 250 + "@example.org"):
        assert s.post("/api/auth/register", {"email": email, "password": PASSWORD}).status_code == 400, email
    assert s.post("/api/auth/register", {}).json()["code"] == "MISSING_FIELD"
    assert s.post("/api/auth/register", ["email"]).json()["code"] == "INVALID_JSON"
    register(s)
    assert register(s, "Ada@example.org", status=409)["field"] == "email"
    assert s.get("/api/auth/register").status_code == 405
    s.write_config(auth={"registration": "off"})
    s.stop()
    s.start()
    assert register(s, "eve@example.org", status=403)["code"] == "FORBIDDEN"


def test_wrong_logins_look_alike(auth):
    s = auth
    register(s)
    known = s.post("/api/auth/login", {"email": "ada@example.org", "password": "wrong"})
    unknown = s.post("/api/auth/login", {"email": "eve@example.org", "password": "wrong"})
    s.sql("UPDATE users SET is_active = 0")
    disabled = s.post("/api/auth/login", {"email": "ada@example.org", "password": PASSWORD})
    answers = [{k: v for k, v in r.json().items() if k != "trace_id"} for r in (known, unknown, disabled)]
    assert answers[0] == answers[1] == answers[2] and answers[0]["code"] == "AUTH_INVALID_CREDENTIALS"
    assert {known.status_code, unknown.status_code, disabled.status_code} == {401}
    metrics = s.get("/metrics").text
    assert re.search(r'aragora_auth_failures_total\{reason="credentials"\} 2', metrics)
    assert re.search(r'aragora_auth_failures_total\{reason="disabled"\} 1', metrics)


def test_nobody_has_to_log_in_for_development(make_server):
    s = make_server({"auth": {**CHEAP, "jwt_secret": SECRET}})
    assert s.get("/api/debates").status_code == 200
    assert s.get("/api/auth/me").status_code == 401, "there is no account behind it"
    first, second = register(s), register(s, "bob@example.org")
    assert [first["user"]["role"], second["user"]["role"]] == ["owner", "member"]
    assert first["organization"]["id"] == second["organization"]["id"] == "default"
    assert me(s, second["access_token"]).json()["role"] == "member"
    assert s.get("/api/debates", headers=bearer("test-key")).status_code == 200, "what libraries demand is no credential"
    for bad in ("no.such.token", "ara_" + "x" * 43, first["access_token"][:-2]):
        assert s.get("/api/debates", headers=bearer(bad)).status_code == 401, "what is shown is checked"
        assert s.get("/healthz", headers=bearer(bad)).status_code == 200
        assert s.post("/api/auth/login", {"email": "ada@example.org", "password": PASSWORD},
                      headers=bearer(bad)).status_code == 200


# ---- tokens ----

def test_forged_tokens(auth):
    s = auth
    c = claims(register(s)["access_token"])
    assert me(s, forge(c)).status_code == 200, "the forger does it right"
    bad = {
        "signature": forge(c, secret="x" * 40),
        "none": forge(c, {"alg": "none", "typ": "JWT"}),
        "algorithm": forge(c, {"alg": "HS512", "typ": "JWT"}),
        "expired": forge({**c, "exp": int(time.time()) - 10}),
        "type": forge({**c, "type": "mfa_pending"}),
        "user": forge({**c, "sub": "somebody-else"}),
        "session": forge({**c, "sid": "another-session"}),
        "organization": forge({**c, "org_id": "default"}),
        "version": forge({**c, "tv": -1}),
        "parts": forge(c) + ".x",
        "empty": "..",
    }
    for name, token in bad.items():
        r = me(s, token)
        assert r.status_code == 401 and r.json()["code"] == "INVALID_TOKEN", (name, r.text)
        assert "Bearer" in r.headers["www-authenticate"]
    r = s.get("/api/auth/me")
    assert r.status_code == 401 and r.json()["code"] == "AUTH_REQUIRED"
    # The role is the store's, not the token's.
    s.sql("UPDATE members SET role = 'viewer'")
    s.sql("UPDATE identity_changes SET n = n + 1 WHERE kind = 'clock'")
    s.sql("INSERT INTO identity_changes (kind, id, n, changed_at) SELECT 'user', ?, n, 0 FROM identity_changes "
          "WHERE kind = 'clock'", c["sub"])
    wait_until(lambda: me(s, forge({**c, "role": "owner"})).json()["role"] == "viewer", SOON, "the new role")


def test_secret_rotation(make_server):
    s = make_server({"auth": AUTH})
    old = register(s)["access_token"]
    s.stop()
    new = "another-secret-with-more-than-32-characters-in-it"
    s.write_config(auth={"jwt_secret": new, "jwt_secret_previous": SECRET, "jwt_rotated_at": int(time.time()) - 60})
    s.start()
    assert me(s, old).status_code == 200
    fresh = login(s)["access_token"]
    c = claims(fresh)
    assert me(s, forge(c, secret=new)).status_code == 200
    s.stop()
    s.write_config(auth={"jwt_rotated_at": int(time.time()) - 25 * 3600})
    s.start()
    assert me(s, old).status_code == 401, "the grace is over"
    assert me(s, fresh).status_code == 200
    s.stop()
    s.write_config(auth={"jwt_secret": "short"})
    s.spawn()
    code, text = s.expect_exit()
    assert code != 0 and "auth.jwt_secret" in text and "32 characters" in text and '"short"' not in text


def test_secret_is_made_when_there_is_none(make_server):
    s = make_server({"auth": {**CHEAP, "required": True}})
    token = register(s)["access_token"]
    s.stop()
    s.start()
    assert me(s, token).status_code == 200, "it outlives a restart"
    assert (s.data_dir / "keys" / "jwt.key").stat().st_mode & 0o777 == 0o600


# ---- refreshing ----

def test_refresh_rotates(auth):
    s = auth
    first = register(s)
    r = refresh(s, first["refresh_token"])
    assert r.status_code == 200
    second = r.json()
    assert second["tokens"]["access_token"] == second["access_token"] != first["access_token"]
    assert second["refresh_token"] != first["refresh_token"]
    assert me(s, second["access_token"]).status_code == 200
    # The same client again within ten seconds: two tabs refreshed at once.
    r = refresh(s, first["refresh_token"])
    assert r.status_code == 200 and r.json()["refresh_token"] not in (first["refresh_token"], second["refresh_token"])
    assert refresh(s, first["access_token"]).status_code == 401
    assert refresh(s, "nonsense").status_code == 401
    assert refresh(s, "").json()["code"] == "MISSING_FIELD"


def test_refresh_reuse_ends_everything(auth):
    s = auth
    first = register(s)
    other = login(s)
    second = refresh(s, first["refresh_token"]).json()
    stolen = refresh(s, first["refresh_token"], headers={"User-Agent": "a thief"})
    assert stolen.status_code == 401
    for token in (second["access_token"], other["access_token"], first["access_token"]):
        refused_everywhere(s, token)
    for token in (second["refresh_token"], other["refresh_token"]):
        assert refresh(s, token).status_code == 401
    wait_until(lambda: s.sql("SELECT COUNT(*) FROM audit_events WHERE action = 'auth.token_reuse'")[0][0] == 1, 20, "audited")
    assert me(s, login(s)["access_token"]).status_code == 200, "whoever knows the password comes back"
    assert 'aragora_auth_failures_total{reason="reuse"} 1' in s.get("/metrics").text


def test_refreshing_late_is_reuse(auth):
    s = auth
    first = register(s)
    assert refresh(s, first["refresh_token"]).status_code == 200
    s.sql("UPDATE refresh_tokens SET used_at = used_at - 11000 WHERE used_at IS NOT NULL")
    assert refresh(s, first["refresh_token"]).status_code == 401
    assert s.sql("SELECT token_version FROM users")[0][0] == 1


def test_parallel_refreshes(auth):
    """Of many refreshes at once by one client each gets a pair of its own, and none is taken for a theft."""
    s = auth
    token = register(s)["refresh_token"]
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(refresh(s, token))) for _ in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert [r.status_code for r in answers] == [200] * 8
    assert len({r.json()["refresh_token"] for r in answers}) == 8
    assert s.sql("SELECT token_version FROM users")[0][0] == 0


# ---- ending ----

def test_logout_ends_one_session(auth):
    s = auth
    register(s)
    a, b = login(s), login(s)
    assert me(s, a["access_token"]).status_code == 200
    r = s.post("/api/auth/logout", headers=bearer(a["access_token"]))
    assert r.status_code == 200 and r.json()["message"]
    refused_everywhere(s, a["access_token"])
    assert refresh(s, a["refresh_token"]).status_code == 401
    assert me(s, b["access_token"]).status_code == 200
    assert s.sql("SELECT token_version FROM users")[0][0] == 0, "a refresh after logout is no theft"
    r = s.post("/api/auth/logout-all", headers=bearer(b["access_token"]))
    assert r.json()["sessions_invalidated"] is True and r.json()["token_version"] == 1
    refused_everywhere(s, b["access_token"])
    c = login(s)
    assert claims(c["access_token"])["tv"] == 1 and me(s, c["access_token"]).status_code == 200
    r = s.post("/api/auth/revoke", headers=bearer(c["access_token"]))
    assert r.status_code == 200 and r.json()["persistent"] is True and r.json()["blacklist_size"] >= 1
    refused_everywhere(s, c["access_token"])
    assert refresh(s, c["refresh_token"]).status_code == 200, "the session goes on, only the token is revoked"
    stranger = register(s, "eve@example.org")
    r = s.post("/api/auth/revoke", {"token": login(s)["access_token"]}, headers=bearer(stranger["access_token"]))
    assert r.status_code == 400 and r.json()["field"] == "token"


def test_sessions(make_server):
    s = make_server({"auth": {**AUTH, "session_limit": 3}})
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
    register(s)
    first = login(s, headers={"User-Agent": agent})
    second = login(s)
    r = s.get("/api/auth/sessions", headers=bearer(second["access_token"])).json()
    assert r["total"] == 3 and [x["is_current"] for x in r["sessions"]].count(True) == 1
    mine = [x for x in r["sessions"] if x["device_name"] == "Firefox on Linux"]
    assert len(mine) == 1 and mine[0]["ip_address"] == "127.0.0.1" and mine[0]["expires_at"] > mine[0]["created_at"]
    path = "/api/auth/sessions/"
    current = next(x["session_id"] for x in r["sessions"] if x["is_current"])
    assert s.delete(path + current, headers=bearer(second["access_token"])).status_code == 400
    eve = register(s, "eve@example.org")
    assert s.delete(path + current, headers=bearer(eve["access_token"])).status_code == 404, "not of this account"
    assert me(s, first["access_token"]).status_code == 200
    r = s.delete(path + mine[0]["session_id"], headers=bearer(second["access_token"]))
    assert r.status_code == 200 and r.json()["session_id"] == mine[0]["session_id"]
    refused_everywhere(s, first["access_token"])
    assert s.delete(path + mine[0]["session_id"], headers=bearer(second["access_token"])).status_code == 404
    # One more than the limit ends the oldest.
    tokens = [login(s)["access_token"] for _ in range(3)]
    refused_everywhere(s, second["access_token"])
    assert [me(s, t).status_code for t in tokens] == [200] * 3
    # A session in which nothing happened for a day ends, whatever its tokens say.
    s.sql("UPDATE sessions SET last_activity = last_activity - 86400001")
    last = login(s)
    assert refresh(s, last["refresh_token"]).status_code == 200
    s.sql("UPDATE sessions SET last_activity = last_activity - 86400001")
    assert refresh(s, refresh(s, last["refresh_token"]).json().get("refresh_token", last["refresh_token"])).status_code == 401
    # The sweep.
    s.sql("UPDATE sessions SET expires_at = 1")
    s.sql("UPDATE refresh_tokens SET expires_at = 1")
    admin = login(s)["access_token"]
    r = s.post("/api/auth/sessions/sweep", headers=bearer(admin))
    assert r.status_code == 200 and r.json()["sessions"] > 0 and r.json()["refresh_tokens"] > 0
    assert s.sql("SELECT COUNT(*) FROM sessions")[0][0] == 1


def test_profile(auth):
    s = auth
    token = register(s, name="Ada")["access_token"]
    head = bearer(token)
    r = s.request("PATCH", "/api/auth/me", json={"name": "Ada L.", "metadata": {"theme": "dark"}}, headers=head)
    assert r.status_code == 200 and r.json()["updated"] is True and r.json()["user"]["name"] == "Ada L."
    r = s.request("PUT", "/api/auth/profile", json={"avatar_url": "https://example.org/a.png"}, headers=head)
    assert r.json()["user"]["name"] == "Ada L." and r.json()["metadata"] == {"theme": "dark"}
    wait_until(lambda: all(me(s, token).json()["avatar_url"] for _ in range(8)), SOON, "seen by all workers")
    r = s.request("PATCH", "/api/auth/me", headers=head,
                  json={"name": "x" * 101, "metadata": [1], "avatar_url": "javascript:alert(1)"})
    assert r.status_code == 400 and {e["field"] for e in r.json()["errors"]} == {"name", "metadata", "avatar_url"}


def test_disabled_user_is_out(auth):
    s = auth
    made = register(s)
    assert me(s, made["access_token"]).status_code == 200
    disable(s, made["user"]["id"])
    refused_everywhere(s, made["access_token"])
    assert refresh(s, made["refresh_token"]).status_code == 401


def disable(s, user):
    """As another node would: in the database, behind the back of this one."""
    s.sql("UPDATE users SET is_active = 0 WHERE id = ?", user)
    s.sql("UPDATE identity_changes SET n = n + 1 WHERE kind = 'clock'")
    s.sql("INSERT INTO identity_changes (kind, id, n, changed_at) SELECT 'user', ?, n, 0 FROM identity_changes "
          "WHERE kind = 'clock'", user)


# ---- connections that stay open ----

def until(k, kind):
    """Reads frames up to one of this type."""
    for _ in range(300):
        opcode, _, _, payload = k.recv()
        if opcode == TEXT and json.loads(payload)["type"] == kind:
            return json.loads(payload)
    raise AssertionError(kind)


def close_code(k):
    """The code of the close frame; leaves without waiting for the end of the handshake."""
    for _ in range(300):
        opcode, _, _, payload = k.recv()
        if opcode == CLOSE:
            k.s.close()
            return int.from_bytes(payload[:2], "big")
    raise AssertionError("no close frame")


def test_open_sockets_are_closed(auth):
    s = auth
    register(s)
    by_header, by_message = login(s), login(s)
    one = Raw(s.port, "/ws", {"Authorization": "Bearer " + by_header["access_token"]})
    assert until(one, "connection_info")["data"]["authenticated"] is True
    two = Raw(s.port, "/ws")
    until(two, "connection_info")
    two.send(TEXT, json.dumps({"type": "auth", "token": by_message["access_token"]}).encode())
    assert until(two, "auth")["data"]["authenticated"] is True
    debate = s.post("/api/debates", {"task": "Is it so?", "rounds": 1}, headers=bearer(by_header["access_token"])).json()["id"]
    until(one, "loop_list")
    s.post("/api/auth/logout", headers=bearer(by_header["access_token"]))
    assert until(one, "auth_revoked")["data"]["code"] == 401
    assert close_code(one) == 4401
    two.send(TEXT, json.dumps({"type": "ping"}).encode())
    until(two, "pong")
    s.post("/api/auth/logout-all", headers=bearer(by_message["access_token"]))
    until(two, "auth_revoked")
    assert close_code(two) == 4401
    assert debate
    with Raw(s.port, "/ws", {"Authorization": "Bearer " + by_header["access_token"]}, expect=401):
        pass


def test_sockets_ask_for_the_permission(auth):
    """Also of whoever shows the token in a message, and for as long as the socket is open."""
    s = auth
    made, other = register(s), bearer(register(s, "bob@example.org")["access_token"])
    key = s.post("/api/auth/api-keys", {"name": "k", "scopes": ["agents.read"]}, headers=bearer(made["access_token"])).json()["key"]
    with Raw(s.port, "/ws", bearer(key), expect=403):
        pass
    with Raw(s.port, "/ws") as k:
        until(k, "connection_info")
        k.send(TEXT, json.dumps({"type": "auth", "token": key}).encode())
        assert until(k, "error")["data"]["error_type"] == "invalid_token"
        assert close_code(k) == 4401
    with Raw(s.port, "/ws", bearer(made["access_token"])) as k:
        until(k, "connection_info")
        s.sql("UPDATE members SET role = 'org:nothing' WHERE user_id = ?", made["user"]["id"])
        # Told by somebody else: a worker that has not cached the first account yet refuses what it asks for now.
        assert s.post("/api/organizations", {"name": "Elsewhere"}, headers=other).status_code == 201
        until(k, "auth_revoked")
        assert close_code(k) == 4401


def test_open_socket_ends_with_its_token(auth):
    s = auth
    c = claims(register(s)["access_token"])
    token = forge({**c, "exp": int(time.time()) + 2})
    k = Raw(s.port, "/ws?token=" + token)
    assert until(k, "connection_info")["data"]["authenticated"] is True
    assert "expired" in until(k, "auth_revoked")["data"]["reason"]
    assert close_code(k) == 4401
    assert token not in s.log() + s.access_path.read_text()


@pytest.mark.server({"auth": AUTH, "providers": {"demo": {"delay_ms": 3000}}})
def test_event_streams_are_ended(server):
    s = server
    token = register(s)["access_token"]
    debate = s.post("/api/debates", {"task": "Is it so?"}, headers=bearer(token)).json()["id"]
    with requests.get(s.url + "/api/debates/%s/events" % debate, stream=True, timeout=20,
                      headers={**bearer(token), "Accept": "text/event-stream"}) as r:
        assert r.status_code == 200
        s.post("/api/auth/logout", headers=bearer(token))
        for _ in r.iter_content(1000):
            pass  # it ends, long before the debate does
    assert s.get("/api/debates/%s/events" % debate, headers=bearer(token)).status_code == 401


# ---- several nodes ----

@pytest.mark.parametrize("with_redis", [True, False], ids=["redis", "no-redis"])
def test_revocation_reaches_other_nodes(postgres, redis_server, make_server, with_redis):
    dsn = postgres.dsn(postgres.create())
    config = {"auth": AUTH, "storage": {"dsn": dsn}}
    if with_redis:
        config["redis"] = {"url": redis_server.url(), "timeout": "500ms", "retry_max": "200ms"}
    a, b = make_server(config), make_server(config)
    if with_redis:
        health(a, "connected")
        health(b, "connected")
    register(a)
    tokens = login(a)
    assert me(b, tokens["access_token"]).status_code == 200
    socket = Raw(b.port, "/ws", {"Authorization": "Bearer " + tokens["access_token"]})
    until(socket, "connection_info")
    a.post("/api/auth/logout", headers=bearer(tokens["access_token"]))
    refused_everywhere(b, tokens["access_token"])
    until(socket, "auth_revoked")
    assert close_code(socket) == 4401
    # Refreshed here, used there.
    first = login(a)
    second = refresh(b, first["refresh_token"]).json()
    assert me(a, second["access_token"]).status_code == 200


def test_store_away_lets_nobody_in(postgres_alone, make_server):
    s = make_server({"auth": AUTH, "storage": {"dsn": postgres_alone.dsn(postgres_alone.create()), "pool_timeout": "1s"}})
    known, unknown = register(s)["access_token"], None
    unknown = login(s)["access_token"]
    assert me(s, known).status_code == 200
    postgres_alone.stop()
    assert me(s, unknown).status_code in (200, 503)
    wait_until(lambda: me(s, known).status_code == 503, 40, "what was cached is not believed for ever")
    postgres_alone.start()
    wait_until(lambda: me(s, known).status_code == 200, 40, "the store is back")


@pytest.fixture
def postgres_alone():
    from pgkit import Cluster
    c = Cluster().start()
    yield c
    c.close()


# ---- the first owner ----

def test_setup_token(make_server):
    s = make_server({"auth": AUTH})
    line = next(x for x in s.log_lines() if x.get("setup_token"))
    token = line["setup_token"]
    body = {"email": "root@example.org", "password": PASSWORD, "organization": "Ours"}
    assert s.post("/api/auth/setup", {**body, "token": "0" * 40}).status_code == 401
    assert s.post("/api/auth/setup", {**body, "token": token, "password": "short"}).status_code == 400
    r = s.post("/api/auth/setup", {**body, "token": token})
    assert r.status_code == 201 and r.json()["user"]["role"] == "owner"
    assert r.json()["organization"] == {**r.json()["organization"], "id": "default", "name": "Ours"}
    assert me(s, r.json()["access_token"]).status_code == 200
    assert s.post("/api/auth/setup", {**body, "token": token, "email": "two@example.org"}).status_code == 401
    s.stop()
    s.start()
    assert '"setup_token"' not in s.run_log(), "there is an owner"
    assert token not in json.dumps(s.sql("SELECT * FROM settings"), default=str)


# ---- for whom a service asks ----

TOKEN = "an-api-token-of-the-operator-s-own-services"


def test_service_headers(make_server):
    s = make_server({"auth": {**AUTH, "api_token": TOKEN}})
    made = register(s, organization="Theirs")
    org, user = made["organization"]["id"], made["user"]["id"]
    service = bearer(TOKEN)

    def ask(**headers):
        r = s.get("/api/auth/me", headers={k.replace("_", "-"): v for k, v in headers.items()})
        return r.status_code, r.json()

    code, who = ask(**service, X_User_ID="slack:U1", X_User_Roles="viewer, owner, emperor")
    assert code == 200 and who["id"] == "slack:U1" and who["role"] == "viewer" and who["org_id"] == "default"
    assert "debates.delete" not in who["permissions"], "neither the token's rights nor an owner's"
    assert ask(**service, X_User_ID="x", X_User_Roles="owner")[1]["role"] == "viewer"
    assert ask(**service, X_User_ID="x", X_User_Roles="analyst,admin")[1]["role"] == "admin"
    code, who = ask(**service, X_User_ID=user, X_Org_ID=org, X_User_Roles="member")
    assert code == 200 and who["email"] == "ada@example.org" and "member" != who["id"]
    assert ask(**service, X_User_ID=user)[0] == 403, "not of the default organization"
    assert ask(**service, X_User_ID="x", X_Org_ID="nowhere")[0] == 403
    assert ask(**service, X_Org_ID=org)[1]["field"] == "X-User-ID"
    assert ask(**service, X_User_ID="a b")[0] == 400
    # Without a service's credential they are as if they were not there.
    assert ask(X_User_ID=user, X_User_Roles="admin")[0] == 401
    own = bearer(made["access_token"])
    assert ask(**own, X_User_ID="x", X_User_Roles="admin")[1]["id"] == user
    disable(s, user)
    wait_until(lambda: ask(**service, X_User_ID=user, X_Org_ID=org)[0] == 403, SOON, "disabled for the service too")
    s.stop()
    s.write_config(auth={"trust_identity_headers": True})
    s.start()
    assert ask(X_User_ID="x", X_User_Roles="member")[1]["role"] == "member", "loopback is a trusted proxy"
    s.stop()
    s.write_config(server={"trusted_proxies": ["192.0.2.1"]})
    s.start()
    assert ask(X_User_ID="x", X_User_Roles="member")[0] == 401


def test_what_a_service_said_is_no_token(make_server):
    """The identities of services are remembered beside tokens: no text that somebody sends may find them."""
    s = make_server({"server": {"workers": 1}, "auth": {**AUTH, "api_token": TOKEN}})
    headers = {**bearer(TOKEN), "X-User-ID": "slack:U1", "X-Org-ID": "default", "X-User-Roles": "admin"}
    assert s.get("/api/auth/me", headers=headers).json()["role"] == "admin"
    with Raw(s.port, "/ws?token=%0Aslack:U1%0Adefault%0Aadmin", expect=401):
        pass
    with Raw(s.port, "/ws") as k:
        until(k, "connection_info")
        k.send(TEXT, json.dumps({"type": "auth", "token": "\nslack:U1\ndefault\nadmin"}).encode())
        assert until(k, "error")["data"]["error_type"] == "invalid_token"
        assert close_code(k) == 4401


# ---- from the shell ----

def test_user_command(make_server):
    s = make_server({"auth": AUTH})

    def user(*args, fed=None, code=0):
        import subprocess
        from conftest import binary
        run = subprocess.run([binary(), "user", *args, "-c", str(s.conf_path)], input=fed, text=True, capture_output=True,
                             timeout=60, cwd=s.folder, env=s.environment())
        assert run.returncode == code, (run.stdout, run.stderr)
        return run.stdout if code == 0 else run.stderr

    assert "setup_token" in s.log()
    assert "at least 12" in user("create", "--admin", "root@example.org", fed="short\n", code=1)
    assert "standard input" in user("create", "--admin", "root@example.org", fed="", code=1)
    assert "owner" in user("create", "--admin", "root@example.org", "--name", "Root", fed=PASSWORD + "\n")
    assert "exists" in user("create", "ROOT@example.org", fed=PASSWORD + "\n", code=1)
    out = json.loads(user("create", "--email", "two@example.org", "--generate", "--json"))
    token = login(s, "two@example.org", out["password"])["access_token"]
    assert me(s, token).json()["role"] == "member"
    listed = {u["email"]: u for u in json.loads(user("list", "--json"))}
    assert listed["root@example.org"]["role"] == "owner" and listed["two@example.org"]["is_active"] is True
    assert "root@example.org" in user("list")
    user("disable", "two@example.org")
    refused_everywhere(s, token)
    login(s, "two@example.org", out["password"], status=401)
    user("enable", "two@example.org")
    user("set-password", "two@example.org", fed="Another-horse-8-battery\n")
    login(s, "two@example.org", "Another-horse-8-battery")
    user("unlock", "two@example.org")
    assert "nobody has" in user("disable", "three@example.org", code=1)
    assert "already" in user("setup-token", code=1)
    assert PASSWORD not in s.log()
