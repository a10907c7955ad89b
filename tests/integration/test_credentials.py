# SPDX-License-Identifier: MIT
"""What proves who somebody is: API keys, lockouts, second factors, passwords that are changed or forgotten, mails.
Time passes by shifting rows in the store, never by waiting."""
import base64
import email
import hashlib
import hmac
import json
import re
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from aiosmtpd.controller import Controller

from conftest import free_port, wait_until
from test_auth import AUTH, PASSWORD, bearer, login, me, refused_everywhere, register

DAY = 86400000
OPERATOR = "the-token-of-the-operator-of-this-server"
OTHER = "Another-kitchen-9-table"


def hotp(secret, counter):
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    mac = hmac.new(key, struct.pack(">Q", counter), hashlib.sha1).digest()
    at = mac[19] & 15
    return "%06d" % ((struct.unpack(">I", mac[at:at + 4])[0] & 0x7FFFFFFF) % 1000000)


def totp(secret, steps=0):
    return hotp(secret, int(time.time()) // 30 + steps)


def forget_step(s):
    """As if the codes of this half minute had not been used."""
    s.sql("UPDATE mfa SET counter = counter - 1000 WHERE kind = 'totp'")


def call(s, token, path, body=None, status=200, method="POST"):
    r = s.request(method, path, json=body, headers=bearer(token))
    assert r.status_code == status, (path, r.status_code, r.text)
    return r.json()


@pytest.fixture
def auth(make_server):
    return make_server({"auth": AUTH})


# ---- API keys ----

def test_api_key_stands_for_its_user(auth):
    s = auth
    token = register(s)["access_token"]
    made = call(s, token, "/api/auth/api-keys", {"name": "ci", "expires_in_days": 30})
    key = made["api_key"]
    assert re.fullmatch(r"ara_[A-Za-z0-9_-]{43}", key) and made["key"] == key and key.startswith(made["prefix"])
    assert len(made["prefix"]) == 12 and made["expires_at"] > made["created_at"]
    who = s.get("/api/auth/me", headers=bearer(key)).json()
    assert who["email"] == "ada@example.org"
    for headers in ({"X-API-Key": key}, {"Authorization": "ApiKey " + key}):
        assert s.get("/api/auth/me", headers=headers).json()["id"] == who["id"]
    listed = call(s, token, "/api/auth/api-keys", method="GET")
    assert listed["count"] == 1 and listed["keys"][0]["id"] == made["id"] and key not in json.dumps(listed)
    wait_until(lambda: call(s, token, "/api/keys", method="GET")["keys"][0]["last_used_at"], what="its use is written")
    assert call(s, token, "/api/keys", method="GET")["keys"][0]["last_used_ip"] == "127.0.0.1"

    # A key makes no keys and changes no password.
    call(s, key, "/api/auth/api-keys", {}, status=403)
    call(s, key, "/api/auth/password", {"current_password": PASSWORD, "new_password": OTHER}, status=403)

    assert call(s, token, "/api/auth/api-keys/" + made["prefix"], method="DELETE")["revoked"] == 1
    refused_everywhere(s, key)
    call(s, token, "/api/auth/api-keys/" + made["prefix"], status=404, method="DELETE")
    stored = json.dumps(s.sql("SELECT * FROM api_keys"))
    assert key not in stored and hashlib.sha256(key.encode()).hexdigest() in stored
    assert key not in s.log() + s.access_path.read_text() and key[12:] not in s.log()
    assert s.get("/api/auth/me", headers=bearer("ara_" + "A" * 43)).status_code == 401


def test_api_key_that_reads_founds_nothing(auth):
    s = auth
    key = call(s, register(s)["access_token"], "/api/keys", {"scopes": ["organization.read"]})["key"]
    assert len(call(s, key, "/api/organizations", method="GET")["organizations"]) == 1
    call(s, key, "/api/organizations", {"name": "Mine"}, status=403)


def test_api_key_has_no_more_than_its_scopes(auth):
    s = auth
    token = register(s)["access_token"]
    key = call(s, token, "/api/auth/api-keys", {"scopes": ["debates:read"]})["api_key"]
    assert s.get("/api/debates", headers=bearer(key)).status_code == 200
    r = s.post("/api/debates", {"task": "May I?"}, headers=bearer(key))
    assert r.status_code == 403 and r.json()["required_permission"] == "debates.create"
    assert s.get("/api/auth/me", headers=bearer(key)).status_code == 403
    r = s.post("/api/auth/api-keys", {"scopes": ["no.such"], "expires_in": -1, "name": 7}, headers=bearer(token))
    assert r.status_code == 400 and {e["field"] for e in r.json()["errors"]} == {"scopes", "expires_in", "name"}
    # A member cannot give a key what only administrators may.
    other = call(s, token, "/api/auth/me", method="GET")["org_id"]
    s.sql("UPDATE members SET role = 'member' WHERE org_id = '%s'" % other)
    s.sql("UPDATE identity_changes SET n = n + 1 WHERE kind = 'clock'")
    member = login(s)["access_token"]
    s.post("/api/auth/logout-all", headers=bearer(member))
    member = login(s)["access_token"]
    assert s.post("/api/auth/api-keys", {"scopes": ["users.*"]}, headers=bearer(member)).status_code == 400


def test_api_key_from_its_networks_and_until_it_expires(auth):
    s = auth
    token = register(s)["access_token"]
    r = s.post("/api/auth/api-keys", {"allowed_ips": ["10.0.0.0/8", "nonsense"]}, headers=bearer(token))
    assert r.status_code == 400 and r.json()["field"] == "allowed_ips"
    far = call(s, token, "/api/auth/api-keys", {"allowed_ips": ["10.0.0.0/8"]})["api_key"]
    near = call(s, token, "/api/auth/api-keys", {"allowed_ips": ["10.0.0.0/8", "127.0.0.1"]})["api_key"]
    assert s.get("/api/debates", headers=bearer(near)).status_code == 200
    for _ in range(6):  # from memory too
        assert s.get("/api/debates", headers=bearer(far)).status_code == 401
    late = call(s, token, "/api/auth/api-keys", {"expires_in": 3600})
    s.sql("UPDATE api_keys SET expires_at = %d WHERE id = '%s'" % (time.time() * 1000 - 1000, late["id"]))
    assert s.get("/api/debates", headers=bearer(late["api_key"])).status_code == 401


# ---- lockout ----

def wrong(s, n, who="ada@example.org", **kw):
    return [s.post("/api/auth/login", {"email": who, "password": "Wrong-password-%d" % i}, **kw).status_code for i in range(n)]


def test_lockout_of_an_account_holds_on_every_worker(make_server):
    s = make_server({"auth": {**AUTH, "api_token": OPERATOR}})
    owner = register(s, organization="Engines")
    assert wrong(s, 4) == [401] * 4
    login(s)  # clears
    assert wrong(s, 5) == [401] * 5
    for _ in range(8):
        r = s.post("/api/auth/login", {"email": "Ada@example.org", "password": PASSWORD})
        assert r.status_code == 429 and 1 <= int(r.headers["retry-after"]) <= 60 and r.json()["code"] == "RATE_LIMITED"
    # An account that is not there is locked in the same way: nobody learns which exist.
    assert wrong(s, 6, "nobody@example.org") == [401] * 5 + [429]
    # Longer, the more there are.
    s.sql("UPDATE lockouts SET locked_until = 0")
    assert wrong(s, 5) == [401] + [429] * 4, "the sixth failure locks again"
    s.sql("UPDATE lockouts SET locked_until = 0, failures = 14")
    assert wrong(s, 1) == [401]
    r = s.post("/api/auth/login", {"email": "ada@example.org", "password": PASSWORD})
    assert 3000 < int(r.headers["retry-after"]) <= 3600
    assert "ada@example.org" not in json.dumps(s.sql("SELECT * FROM lockouts"))
    # The administrator unlocks (of owners only owners do).
    s.sql("UPDATE members SET role = 'member'")
    path = "/api/admin/users/%s/unlock" % owner["user"]["id"]
    assert call(s, OPERATOR, path)["lockout_cleared"] is True
    login(s)
    call(s, OPERATOR, "/api/admin/users/someone/unlock", status=404)


def test_guesses_at_once_are_counted_one_by_one(auth):
    s = auth
    register(s)
    with ThreadPoolExecutor(12) as pool:
        got = list(pool.map(lambda i: wrong(s, 1)[0], range(24)))
    # One more for each worker may have been compared while the fifth was counted.
    assert 5 <= got.count(401) <= 7 and got.count(429) == 24 - got.count(401), got


def test_lockout_of_an_address(make_server):
    s = make_server({"auth": AUTH, "limits": {"exempt": []}})
    register(s)
    assert [wrong(s, 1, "user%d@example.org" % i)[0] for i in range(5)] == [401] * 5
    r = s.post("/api/auth/login", {"email": "ada@example.org", "password": PASSWORD})
    assert r.status_code == 429, "the address is locked for every account"
    s.sql("UPDATE lockouts SET locked_until = 0")
    login(s)
    assert s.sql("SELECT failures FROM lockouts WHERE id = 'ip:127.0.0.1'")[0][0] == 5, "one login does not clear an address"


def test_guesses_of_others_do_not_lock_the_owner_out(make_server):
    """Where an account has got in lately its attempts are counted apart; elsewhere it is locked as ever."""
    s = make_server({"auth": {**AUTH, "api_token": OPERATOR}, "limits": {"exempt": []}})
    home, thief, cafe = ({"X-Forwarded-For": "203.0.113.%d" % i} for i in (1, 2, 3))
    good = {"email": "ada@example.org", "password": PASSWORD}

    def enter(where):
        return s.post("/api/auth/login", good, headers=where).status_code

    owner = register(s)
    assert enter(home) == 200
    assert wrong(s, 6, headers=thief) == [401] * 5 + [429]
    assert enter(thief) == enter(cafe) == 429 and enter(home) == 200
    assert enter(cafe) == 429, "the owner's success does not clear what others have done"
    # The place is no way round the count: it has one of its own.
    assert wrong(s, 6, headers=home) == [401] * 5 + [429] and enter(home) == 429
    # It is forgotten after a month, and by who unlocks.
    s.sql("UPDATE lockouts SET locked_until = 0, failures = 0 WHERE id LIKE 'ip:%' OR id LIKE 'known:%'")
    assert enter(home) == 200
    s.sql("UPDATE lockouts SET updated_at = updated_at - 2678400000 WHERE id LIKE 'known:%'")
    assert enter(home) == 429
    s.sql("UPDATE members SET role = 'member'")
    call(s, OPERATOR, "/api/admin/users/%s/unlock" % owner["user"]["id"])
    assert s.sql("SELECT COUNT(*) FROM lockouts WHERE id NOT LIKE 'ip:%'")[0][0] == 0
    assert enter(cafe) == 200
    assert "203.0.113.1" not in json.dumps(s.sql("SELECT id FROM lockouts WHERE id LIKE 'known:%'"))


# ---- second factor ----

def enable(s, token, kind="totp"):
    setup = call(s, token, "/api/auth/mfa/setup", {"type": kind})
    assert setup["provisioning_uri"].startswith("otpauth://%s/Aragora:ada@example.org?secret=%s" % (kind, setup["secret"]))
    code = totp(setup["secret"]) if kind == "totp" else hotp(setup["secret"], 0)
    on = call(s, token, "/api/auth/mfa/enable", {"code": code})
    assert len(on["backup_codes"]) == 10 and len(set(on["backup_codes"])) == 10 and on["sessions_invalidated"]
    return setup["secret"], on["backup_codes"]


def verify(s, pending, code, status=200, **more):
    r = s.post("/api/auth/mfa/verify", {"pending_token": pending, "code": code, **more})
    assert r.status_code == status, r.text
    return r.json()


def test_second_factor(auth):
    s = auth
    token = register(s)["access_token"]
    assert call(s, token, "/api/auth/mfa/status", method="GET")["enabled"] is False
    call(s, token, "/api/auth/mfa/enable", {"code": "123456"}, status=400)
    secret, backup = enable(s, token)
    refused_everywhere(s, token)
    stored = json.dumps(s.sql("SELECT * FROM mfa")) + json.dumps(s.sql("SELECT * FROM mfa_backup_codes"))
    assert "_encrypted" in stored and secret not in stored and not any(c in stored for c in backup)

    asked = login(s)
    assert asked["mfa_required"] and "access_token" not in asked
    assert me(s, asked["pending_token"]).status_code == 401, "it opens nothing"
    # The code that switched it on is used.
    assert verify(s, asked["pending_token"], totp(secret), 401)["code"] == "AUTH_MFA_INVALID"
    forget_step(s)
    done = verify(s, asked["pending_token"], totp(secret))
    assert done["user"]["mfa_enabled"] and done["tokens"]["access_token"] and done["backup_codes_remaining"] == 10
    assert me(s, done["access_token"]).status_code == 200
    forget_step(s)
    verify(s, asked["pending_token"], totp(secret), 401)  # once
    # The same code again, with a new login: refused on every worker.
    asked = login(s)
    forget_step(s)
    code = totp(secret)
    verify(s, asked["pending_token"], code)
    for _ in range(4):
        verify(s, login(s)["pending_token"], code, 401)
    s.sql("DELETE FROM lockouts")

    # A backup code works once, however it is spelled.
    verify(s, login(s)["pending_token"], backup[0].lower().replace("-", " "))
    verify(s, login(s)["pending_token"], backup[0], 401)
    assert call(s, done["access_token"], "/api/auth/mfa/status", method="GET")["backup_codes_remaining"] == 9
    for c in backup[1:8]:
        last = verify(s, login(s)["pending_token"], c)
    assert last["backup_codes_remaining"] == 2 and "warning" in last

    again = call(s, done["access_token"], "/api/auth/mfa/backup-codes", {"code": backup[8]})["backup_codes"]
    verify(s, login(s)["pending_token"], backup[9], 401)
    token = verify(s, login(s)["pending_token"], again[0])["access_token"]

    call(s, token, "/api/auth/mfa/disable", {"password": "Wrong-password-1"}, status=401)
    call(s, token, "/api/auth/mfa/disable", {"password": PASSWORD})
    assert "access_token" in login(s)
    log = s.log() + s.access_path.read_text()
    assert secret not in log and not any(c in log for c in backup + again)


def test_a_pending_token_bears_five_attempts(auth):
    s = auth
    secret, _ = enable(s, register(s)["access_token"])
    forget_step(s)
    pending = login(s)["pending_token"]
    for _ in range(4):
        verify(s, pending, "000000", 401)
    s.sql("DELETE FROM lockouts")
    assert verify(s, pending, "000000", 401)["code"] == "AUTH_MFA_INVALID"
    s.sql("DELETE FROM lockouts")
    assert verify(s, pending, totp(secret), 401)["code"] == "INVALID_TOKEN"
    # And guesses are counted over all tokens of the account.
    codes = [verify_status(s, login(s)["pending_token"]) for _ in range(6)]
    assert codes == [401] * 5 + [429]


def verify_status(s, pending):
    return s.post("/api/auth/mfa/verify", {"pending_token": pending, "code": "000000"}).status_code


def test_one_code_at_many_doors_opens_one(auth):
    s = auth
    secret, _ = enable(s, register(s)["access_token"])
    forget_step(s)
    tokens = [login(s)["pending_token"] for _ in range(6)]
    code = totp(secret)
    with ThreadPoolExecutor(6) as pool:
        got = list(pool.map(lambda t: s.post("/api/auth/mfa/verify", {"pending_token": t, "code": code}).status_code, tokens))
    assert got.count(200) == 1, got


def test_second_factor_by_counter(auth):
    s = auth
    secret, _ = enable(s, register(s)["access_token"], "hotp")
    verify(s, login(s)["pending_token"], hotp(secret, 0), 401)
    verify(s, login(s)["pending_token"], hotp(secret, 8))  # the device went ahead
    verify(s, login(s)["pending_token"], hotp(secret, 8), 401)
    verify(s, login(s)["pending_token"], hotp(secret, 30), 401)
    verify(s, login(s)["pending_token"], hotp(secret, 30), next_code=hotp(secret, 31))
    assert s.sql("SELECT counter FROM mfa")[0][0] == 32


def test_administrators_prove_a_second_factor(make_server):
    s = make_server({"auth": {**AUTH, "admin_mfa": True, "mfa_grace_days": 1}})
    made = register(s)
    path = "/api/admin/mfa/compliance"
    report = call(s, made["access_token"], path, method="GET")
    assert report["total_admins"] == 1 and report["admins"][0]["in_grace_period"] and report["enforced"]
    s.sql("UPDATE users SET created_at = created_at - %d" % (2 * DAY))
    call(s, made["access_token"], "/api/auth/me", {"name": "A. L."}, method="PATCH")  # what was cached is dropped
    r = s.get(path, headers=bearer(made["access_token"]))
    assert r.status_code == 403 and r.json()["code"] == "ADMIN_MFA_REQUIRED"
    assert r.json()["required_action"] == "/api/auth/mfa/setup"
    assert s.get("/api/debates", headers=bearer(made["access_token"])).status_code == 200, "only administration is closed"

    secret, backup = enable(s, made["access_token"])
    token = verify(s, login(s)["pending_token"], backup[0])["access_token"]
    assert call(s, token, path, method="GET")["admins_with_mfa"] == 1
    # Half an hour later: reading is fine, other things need a fresh proof; on every worker.
    pending = login(s)["pending_token"]
    token = verify(s, pending, backup[1])["access_token"]
    s.sql("UPDATE sessions SET mfa_at = mfa_at - 1800000")
    for _ in range(4):
        r = s.get(path, headers=bearer(token))
        assert r.status_code == 403 and r.json()["code"] == "MFA_STEP_UP_REQUIRED", r.text
    forget_step(s)
    r = s.post("/api/auth/mfa/verify", {"code": totp(secret)}, headers=bearer(token))
    assert r.status_code == 200 and r.json()["verified"], r.text
    call(s, token, path, method="GET")
    # A session that never proved it.
    fresh = verify(s, login(s)["pending_token"], backup[2])["access_token"]
    s.sql("UPDATE sessions SET mfa_at = 0")
    r = s.get(path, headers=bearer(fresh))
    assert r.status_code == 403 and r.json()["code"] == "MFA_REQUIRED"


def test_keys_of_administrators_come_from_sessions_that_proved_it(make_server):
    """A key that was made before the second factor, or in a session without it, does not administrate."""
    s = make_server({"auth": {**AUTH, "admin_mfa": True, "mfa_grace_days": 1}})
    token = register(s)["access_token"]
    path, sensitive = "/api/admin/users", "/api/admin/mfa/compliance"
    early = call(s, token, "/api/auth/api-keys", {"name": "early"})["api_key"]
    call(s, early, path, method="GET")  # the days of grace
    secret, backup = enable(s, token)
    proved = verify(s, login(s)["pending_token"], backup[0])["access_token"]
    late = call(s, proved, "/api/auth/api-keys", {"name": "late"})["api_key"]
    wait_until(lambda: s.get(path, headers=bearer(early)).status_code == 403, what="what was cached is dropped")
    r = s.get(path, headers=bearer(early))
    assert r.json()["code"] == "MFA_REQUIRED" and "made without the second factor" in r.json()["error"]
    assert s.get("/api/debates", headers=bearer(early)).status_code == 200, "only administration is closed"
    call(s, late, path, method="GET")
    r = s.get(sensitive, headers=bearer(late))
    assert r.json()["code"] == "MFA_STEP_UP_REQUIRED", "a key proves nothing anew, however young"


def test_administrators_by_another_way_prove_it_too(make_server):
    """A custom role, a further role or a delegation makes an administrator as the membership's role does."""
    s = make_server({"auth": {**AUTH, "admin_mfa": True, "mfa_grace_days": 1}})
    owner = register(s)
    org, token = owner["organization"]["id"], owner["access_token"]
    call(s, token, "/api/rbac/roles", {"name": "helper", "permissions": ["users.remove", "users.read", "authentication.read"]}, 201)
    people = {}
    for name, role in (("custom", "org:helper"), ("further", "member"), ("plain", "member")):
        invited = call(s, token, "/api/org/invitations", {"email": name + "@example.org", "role": role}, 201)
        r = s.post("/api/auth/accept-invite", {"token": invited["invite_token"], "password": PASSWORD})
        people[name] = r.json()
    call(s, token, "/api/rbac/assignments", {"user_id": people["further"]["user"]["id"], "role": "admin"}, 201)
    s.sql("UPDATE users SET created_at = created_at - %d" % (2 * DAY))
    call(s, token, "/api/auth/me", {"name": "A. L."}, method="PATCH")
    path = "/api/users/nobody"
    wait_until(lambda: all(s.request("DELETE", path, headers=bearer(people[n]["access_token"])).json().get("code") ==
                           "ADMIN_MFA_REQUIRED" for n in ("custom", "further")), what="both need a second factor")
    r = s.request("DELETE", path, headers=bearer(people["plain"]["access_token"]))
    assert r.json()["code"] == "PERMISSION_DENIED", "who is none is told so"
    assert s.get("/api/users", headers=bearer(people["custom"]["access_token"])).status_code == 200


# ---- passwords and mails ----

class Mailbox:
    """A small mail server; links of the mails it got."""

    def __init__(self):
        self.got = []
        self.controller = Controller(self, hostname="127.0.0.1", port=free_port())
        self.controller.start()

    async def handle_DATA(self, server, session, envelope):
        self.got.append((envelope.rcpt_tos, email.message_from_bytes(envelope.content)))
        return "250 OK"

    @property
    def url(self):
        return "smtp://127.0.0.1:%d" % self.controller.port

    def token(self, subject, n=1):
        def mails():
            return [m for _, m in self.got if m["Subject"] == subject]
        wait_until(lambda: len(mails()) >= n, what="a mail about: " + subject)
        text = mails()[-1].get_payload(decode=True).decode()
        return re.search(r"#token=([A-Za-z0-9_-]{43})\b", text).group(1)


@pytest.fixture
def mailbox():
    m = Mailbox()
    yield m
    m.controller.stop()


RESET, VERIFY = "Choose a new password", "Confirm your e-mail address"


def test_password_is_changed(auth):
    s = auth
    made = register(s)
    other = login(s)["access_token"]
    r = s.post("/api/auth/password", {"current_password": PASSWORD, "new_password": "short"}, headers=bearer(other))
    assert r.status_code == 400 and "12 characters" in r.text and "digit" in r.text and r.json()["field"] == "new_password"
    assert call(s, other, "/api/auth/password", {"current_password": "Wrong-password-1", "new_password": OTHER},
                status=401)["code"] == "AUTH_INVALID_CREDENTIALS"
    assert call(s, other, "/api/auth/password/change", {"current_password": PASSWORD, "new_password": OTHER})["sessions_invalidated"]
    refused_everywhere(s, other)
    refused_everywhere(s, made["access_token"])
    login(s, status=401)
    login(s, password=OTHER)
    assert PASSWORD not in s.log() and OTHER not in s.log()


def test_password_is_forgotten(make_server, mailbox):
    s = make_server({"auth": {**AUTH, "public_url": "https://app.example.org"}, "smtp": {"url": mailbox.url, "from": "us@example.org"}})
    old = register(s)["access_token"]
    first = mailbox.token(VERIFY)
    for who in ("Ada@example.org", "nobody@example.org"):
        r = s.post("/api/auth/forgot-password", {"email": who})
        assert r.status_code == 200 and r.json() == {"message": r.json()["message"], "email": who}
    token = mailbox.token(RESET)
    to, mail = mailbox.got[-1]
    assert to == ["ada@example.org"] and mail["From"] == "us@example.org" and len(mailbox.got) == 2
    assert "https://app.example.org/reset-password#token=" in mail.get_payload(decode=True).decode()

    def reset(token, password=OTHER):
        return s.post("/api/auth/reset-password", {"token": token, "password": password})
    assert reset(first).status_code == 400, "a token for something else"
    assert reset(token, "weak").status_code == 400
    wrong(s, 5)
    with ThreadPoolExecutor(4) as pool:
        got = sorted(r.status_code for r in pool.map(lambda _: reset(token), range(4)))
    assert got == [200, 400, 400, 400], "once"
    refused_everywhere(s, old)
    login(s, password=OTHER)  # not locked any more
    # Three mails an hour to one account, whoever asks.
    for _ in range(4):
        s.post("/api/auth/password/forgot", {"email": "ada@example.org"})
    late = mailbox.token(RESET, 3)
    s.sql("UPDATE one_time_tokens SET expires_at = %d" % (time.time() * 1000 - 1))
    assert reset(late).status_code == 400
    assert len([m for _, m in mailbox.got if m["Subject"] == RESET]) == 3
    log = s.log() + s.access_path.read_text()
    assert token not in log and late not in log and token not in json.dumps(s.sql("SELECT * FROM one_time_tokens"))


def test_address_is_confirmed(make_server, mailbox):
    s = make_server({"auth": AUTH, "smtp": {"url": mailbox.url}})
    token = register(s)["access_token"]
    link = mailbox.token(VERIFY)
    assert call(s, token, "/api/auth/me", method="GET")["email_verified"] is False
    done = s.post("/api/auth/verify-email", {"token": link}).json()
    assert done["verified"] and done["email"] == "ada@example.org" and "access_token" not in done
    assert call(s, token, "/api/auth/me", method="GET")["email_verified"] is True
    assert s.post("/api/auth/verify-email", {"token": link}).status_code == 400
    assert s.post("/api/auth/resend-verification", {"email": "ada@example.org"}).status_code == 200


def test_without_a_mail_server_the_link_is_logged(auth):
    s = auth
    register(s)
    s.post("/api/auth/forgot-password", {"email": "ada@example.org"})
    s.wait_log("/reset-password#token=")
    token = re.search(r"/reset-password#token=([A-Za-z0-9_-]{43})", s.log()).group(1)
    assert s.post("/api/auth/reset-password", {"token": token, "new_password": OTHER}).status_code == 200
    login(s, password=OTHER)
