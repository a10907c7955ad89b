# SPDX-License-Identifier: MIT
"""Who may do what: every route against the table of permissions for every role, custom roles, delegations, approvals,
impersonation and break-glass, through the socket and on both stores.
"""
import concurrent.futures
import re
import time
import uuid

import pytest
import requests

from conftest import wait_until

PASSWORD = "Correct-horse-7-battery"
AUTH = {"password_memory": 65536, "password_passes": 1, "required": True, "session_limit": 0,
        "jwt_secret": "a-secret-of-the-tests-with-more-than-32-characters"}
LIMITS_OFF = {"enabled": False}
SOON = 20  # the promise is a second; test_auth.py measures it


def bearer(token):
    return {"Authorization": "Bearer " + token}


class Team:
    """A server with an owner and members of several roles in its first organization."""

    def __init__(self, s):
        self.s = s
        self.tokens, self.ids = {}, {}
        self.org = "default"  # whose admins are the operators: of others tenant_isolation asks more than the permission
        self.join("owner", "owner")

    def register(self, name):
        r = self.s.post("/api/auth/register", {"email": f"{name}@example.org", "password": PASSWORD, "name": name})
        assert r.status_code == 201, r.text
        made = r.json()
        self.tokens[name], self.ids[name] = made["access_token"], made["user"]["id"]
        return made

    def join(self, name, role):
        """A new account that is a member of the owner's organization, as an invitation would make it."""
        self.register(name)
        self.s.sql("UPDATE members SET org_id = ?, role = ? WHERE user_id = ?", self.org, role, self.ids[name])
        self.s.sql("UPDATE users SET org_id = ? WHERE id = ?", self.org, self.ids[name])
        self.login(name)

    def login(self, name):
        r = self.s.post("/api/auth/login", {"email": f"{name}@example.org", "password": PASSWORD})
        assert r.status_code == 200, r.text
        self.tokens[name] = r.json()["access_token"]

    def call(self, name, method, path, body=None, **headers):
        return self.s.request(method, path, json=body, headers={**bearer(self.tokens[name]), **headers})

    def ok(self, name, method, path, body=None, status=200, **headers):
        r = self.call(name, method, path, body, **headers)
        assert r.status_code == status, (method, path, r.status_code, r.text)
        return r.json()

    def may(self, name):
        return set(self.ok(name, "GET", "/api/auth/me")["permissions"])

    def soon(self, name, key, held=True):
        wait_until(lambda: (key in self.may(name)) == held, SOON, f"{name} {'has' if held else 'lost'} {key}")


@pytest.fixture
def team(make_server):
    t = Team(make_server({"auth": AUTH, "rate_limit": LIMITS_OFF}))
    for name, role in (("admin", "admin"), ("officer", "compliance_officer"), ("member", "member"), ("viewer", "viewer")):
        t.join(name, role)
    return t


# ---- the walk: every route, every role ----

ROLES = ("viewer", "member", "admin", "owner")


def routes_of(s):
    """(method, path, permission) of every route, as the server prints them."""
    lines = s.command("routes", "-c", s.conf_path).stdout.splitlines()[1:]
    return [tuple(line.split()[:3]) for line in lines if line.strip()]


def filled(path, team):
    """A path whose parameters name nothing that exists: whoever gets in breaks nothing."""
    return re.sub(r"\{[^}]*\}", lambda m: str(uuid.uuid4()), path)


# With these a caller would end what the others still walk with.
SELF_ENDING = {"/api/auth/logout", "/api/auth/logout-all", "/api/auth/revoke", "/api/auth/sessions", "/api/auth/password"}


def test_every_route_for_every_role(team):
    for name in ROLES:
        team.ids.setdefault(name, None)
    roles = {r["name"]: set(r["permissions"]) for r in team.ok("owner", "GET", "/api/rbac/roles")["roles"]}
    walk = routes_of(team.s)
    assert len(walk) > 100
    jobs, wrong = [], []
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for role in (None, *ROLES):
            session = requests.Session()
            for method, path, permission in walk:
                if role is not None and (permission == "public" or path in SELF_ENDING):
                    continue
                allowed = permission == "public" or (role is not None and permission in roles[role])
                # Whoever may is let as far as the route's own checks only: the method says enough there.
                if allowed and role is not None and (method != "GET" or "{" in path or path.endswith("stream")):
                    continue
                jobs.append((role, method, path, permission, allowed, session))
        def ask(job):
            role, method, path, permission, allowed, session = job
            headers = bearer(team.tokens[role]) if role else {}
            if method == "WS":
                method = "GET"
            with session.request(method, team.s.url + filled(path, team), headers=headers, timeout=30, stream=True,
                                 json={} if method in ("POST", "PUT", "PATCH") else None) as r:
                return job, r.status_code, r.headers, r.content if r.status_code in (401, 403) else b""
        for (role, method, path, permission, allowed, _), status, headers, body in pool.map(ask, jobs):
            if allowed:
                # A handler may refuse for reasons of its own: what is the operator's, say.
                ok = permission == "public" or (status != 401 and b"PERMISSION_DENIED" not in body)
            elif role is None:
                # A socket may bring its token with the first message; a plain GET there is no upgrade.
                ok = (status == 401 and headers.get("WWW-Authenticate") == "Bearer") or (method == "WS" and status in (400, 426))
            else:
                # What is the operator's is refused before the permission is looked at (tenant_isolation).
                operators = path.startswith(("/api/admin/", "/api/system/")) and b"the operator" in body
                ok = status == 403 and (operators or (b"PERMISSION_DENIED" in body and permission.encode() in body))
            if not ok:
                wrong.append((role, method, path, permission, status, body[:200]))
    assert not wrong, wrong


# The reference leaves more open (rest-core 1.5); what may stay so are probes, login, public pages, the description.
OPEN = re.compile(r"/$|/\{path\.\.\.\}$|/(healthz|livez|health|ready|readyz|metrics)(/|$)|/api/(health|readiness|metrics|openapi\.json|docs)"
                  r"|/api/auth/(register|login|refresh|setup|health|verify-email|resend-verification|forgot-password|reset-password"
                  r"|password/(forgot|reset)|check-invite|accept-invite|mfa/verify|oauth|sso|signup|callback|providers|csrf)|/api/csp|/api/csrf|/ws/echo"
                  r"|/api/(invites|invitations)/|/\.well-known/|/api/status$|/api/version$|/api/receipts/keys$|/api/receipts/share/"
                  r"|/api/debates/(public/|\{id\}/spectate/public$)")


def test_public_routes_are_few(team):
    public = [path for _, path, permission in routes_of(team.s) if permission == "public"]
    assert not [p for p in public if not OPEN.match(p)], "public routes that are no probe, login or page"


def test_denials_are_counted_and_told(team):
    r = team.call("viewer", "POST", "/api/debates", {"task": "x"})
    assert r.status_code == 403 and r.json()["required_permission"] == "debates.create", r.text
    r = team.s.get("/api/debates")
    assert r.status_code == 401 and r.json()["code"] == "AUTH_REQUIRED" and r.headers["WWW-Authenticate"] == "Bearer"
    text = team.s.get("/metrics").text
    assert re.search(r'aragora_rbac_permission_denied_total\{permission="debates.create",handler="debates"\} [1-9]', text)
    assert re.search(r'aragora_rbac_permission_checks_total\{permission="debates.create",result="denied"\} [1-9]', text)
    assert re.search(r'aragora_rbac_check_latency_seconds_count [1-9]', text)
    wait_until(lambda: team.s.sql("SELECT 1 FROM audit_events WHERE outcome = 'denied' AND actor_id = ?", team.ids["viewer"])
               or team.s.sql("SELECT 1 FROM audit_inbox WHERE outcome = 'denied' AND actor_id = ?", team.ids["viewer"]),
               what="the denial is in the audit log")


# ---- roles ----

def test_custom_roles_and_assignments(team):
    made = team.ok("owner", "POST", "/api/rbac/roles", {"name": "oncall", "template": "support", "permissions": ["debates.*"]}, 201)
    assert made["name"] == "org:oncall" and made["base_roles"] == ["viewer"] and made["permissions"] == ["debates.*"]
    r = team.call("owner", "POST", "/api/rbac/roles", {"name": "2x", "permissions": ["debates.fly", "*"], "base_roles": ["owner"]})
    assert r.status_code == 400 and {e["field"] for e in r.json()["errors"]} == {"name", "permissions", "base_roles"}
    assert team.call("owner", "POST", "/api/rbac/roles", {"name": "oncall"}).status_code == 409
    assert team.call("admin", "POST", "/api/rbac/roles", {"name": "mine"}).status_code == 403
    assert "debates.delete" not in team.may("viewer")
    gift = {"user_id": team.ids["viewer"], "role": "org:oncall"}
    assert team.call("admin", "POST", "/api/rbac/assignments", gift).status_code == 403
    given = team.ok("owner", "POST", "/api/rbac/assignments", gift, 201)
    team.soon("viewer", "debates.delete")
    assert team.call("owner", "DELETE", "/api/rbac/roles/org:oncall").status_code == 409
    team.ok("owner", "PUT", "/api/rbac/roles/org:oncall", {"permissions": ["debates.create"], "base_roles": []})
    team.soon("viewer", "debates.delete", False)
    assert "debates.create" in team.may("viewer")
    assert team.ok("owner", "GET", "/api/rbac/check?permission=debates:create&user_id=" + team.ids["viewer"])["allowed"]
    team.ok("owner", "DELETE", "/api/rbac/assignments/" + given["id"])
    team.soon("viewer", "debates.create", False)
    team.ok("owner", "DELETE", "/api/rbac/roles/org:oncall")


def test_who_may_assign(team):
    def assign(who, role, whom="viewer"):
        return team.call(who, "POST", "/api/rbac/assignments", {"user_id": team.ids[whom], "role": role}).status_code
    assert assign("admin", "member") == 201
    assert [assign("admin", r) for r in ("admin", "team_lead", "owner")] == [403, 403, 403]
    assert assign("owner", "admin") == 201 and assign("owner", "owner") == 403
    assert assign("member", "viewer") == 403 and assign("owner", "king") == 400
    team.register("stranger")
    assert assign("owner", "member", "stranger") == 404, "members of others are not there"


# ---- delegations ----

def lend(team, who, whom, permission, status=201, **more):
    return team.ok(who, "POST", "/api/rbac/delegations", {"delegate_id": team.ids[whom], "permission": permission, **more}, status)


def test_delegation_and_its_end(team):
    assert lend(team, "member", "viewer", "debates.delete", 403)["field"] == "permission"
    assert "delegated" in lend(team, "admin", "viewer", "users.change_role", 403)["error"]
    first = lend(team, "admin", "member", "debates.delete", days=90, can_redelegate=True)
    span = team.s.sql("SELECT expires_at - created_at FROM delegations WHERE id = ?", first["id"])[0][0]
    assert span == 30 * 86400 * 1000, "at most thirty days"
    team.soon("member", "debates.delete")
    second = lend(team, "member", "viewer", "debates.delete", can_redelegate=True)
    assert second["depth"] == 1
    team.soon("viewer", "debates.delete")
    # Whoever was not told to may not pass it on.
    lend(team, "admin", "officer", "queue.read")
    team.soon("officer", "queue.read")
    assert "access.delegate" not in team.may("officer")
    # What is revoked takes what came of it with it.
    assert team.ok("admin", "DELETE", "/api/rbac/delegations/" + first["id"])["count"] == 2
    team.soon("member", "debates.delete", False)
    team.soon("viewer", "debates.delete", False)


def test_delegation_ends_with_what_its_giver_has(team):
    lend(team, "admin", "viewer", "debates.delete")
    team.soon("viewer", "debates.delete")
    team.s.sql("UPDATE members SET role = 'member' WHERE user_id = ?", team.ids["admin"])
    team.login("viewer")
    assert "debates.delete" not in team.may("viewer")


def revoked(team, ident):
    return team.s.sql("SELECT revoked_at FROM delegations WHERE id = ?", ident)[0][0] > 0


def told_of(team, name):
    """The number of the last change of somebody that every cache of the cluster was told of."""
    return max((r[0] for r in team.s.sql("SELECT n FROM identity_changes WHERE kind = 'user' AND id = ?", team.ids[name])),
               default=0)


def test_delegations_end_with_a_change_of_their_givers_role(team):
    first = lend(team, "admin", "member", "debates.delete", can_redelegate=True)
    team.soon("member", "debates.delete")
    second = lend(team, "member", "viewer", "debates.delete")
    team.soon("viewer", "debates.delete")
    before = {name: told_of(team, name) for name in ("member", "viewer")}
    role = f"/api/users/{team.ids['admin']}/role"
    team.ok("owner", "PUT", role, {"role": "member"})
    assert revoked(team, first["id"]) and revoked(team, second["id"]), "with the change, and what came of it too"
    assert all(told_of(team, name) > n for name, n in before.items())
    team.soon("viewer", "debates.delete", False)
    team.soon("member", "debates.delete", False)
    # Who gets his role back gives nothing back by that.
    team.ok("owner", "PUT", role, {"role": "admin"})
    team.login("viewer")
    assert "debates.delete" not in team.may("viewer")


def test_nothing_of_a_removed_member_stays(team):
    given = lend(team, "admin", "viewer", "debates.delete")
    got = lend(team, "admin", "member", "queue.read")
    team.ok("owner", "POST", "/api/rbac/assignments", {"user_id": team.ids["member"], "role": "analyst"}, 201)
    team.soon("viewer", "debates.delete")
    for name in ("admin", "member"):
        team.ok("owner", "DELETE", "/api/users/" + team.ids[name])
    assert revoked(team, given["id"]) and revoked(team, got["id"])
    team.soon("viewer", "debates.delete", False)
    assert not team.s.sql("SELECT id FROM role_assignments WHERE user_id = ?", team.ids["member"])


# ---- another organization or workspace of the same caller ----

def test_selecting_brings_what_one_has_there(team):
    t = team
    t.ids["other org"] = t.register("other")["organization"]["id"]
    t.s.sql("INSERT INTO members (org_id, user_id, role, created_at, updated_at) VALUES (?, ?, 'viewer', 1, 1)",
            t.ids["other org"], t.ids["viewer"])
    t.login("viewer")
    def there(key, **headers):
        return key in t.ok("viewer", "GET", "/api/auth/me", **headers)["permissions"]
    abroad = {"X-Tenant-ID": t.ids["other org"]}
    assert not there("debates.delete", **abroad)
    t.ok("other", "POST", "/api/rbac/roles", {"name": "cleaner", "permissions": ["debates.delete"]}, 201)
    given = t.ok("other", "POST", "/api/rbac/assignments", {"user_id": t.ids["viewer"], "role": "org:cleaner"}, 201)
    wait_until(lambda: there("debates.delete", **abroad), SOON, "the custom role of the other organization")
    assert not there("debates.delete"), "at home it is nothing"
    t.ok("other", "DELETE", "/api/rbac/assignments/" + given["id"])
    wait_until(lambda: not there("debates.delete", **abroad), SOON, "taken away there")
    # A workspace of the same organization: its role counts in it, and only in it.
    room = t.ok("owner", "POST", "/api/workspaces", {"name": "Room"}, 201)["workspace"]["id"]
    inside = {"X-Workspace-ID": room}
    t.ok("owner", "PUT", f"/api/workspaces/{room}/members/{t.ids['viewer']}", {"role": "member"})
    wait_until(lambda: t.call("viewer", "GET", "/api/auth/me", **inside).status_code == 200, SOON, "let in")
    wait_until(lambda: there("debates.create", **inside), SOON, "the role in the workspace")
    assert not there("debates.create")
    t.ok("owner", "PUT", f"/api/workspaces/default/members/{t.ids['viewer']}", {"role": "member"})
    t.ok("owner", "PUT", f"/api/workspaces/{room}/members/{t.ids['viewer']}", {"role": "viewer"})
    wait_until(lambda: there("debates.create") and not there("debates.create", **inside), SOON, "the first workspace's role stays there")
    # A key brings no more there than its scopes.
    made = t.ok("viewer", "POST", "/api/keys", {"name": "k", "scopes": ["debates:read", "authentication:read"]})
    r = t.s.request("GET", "/api/auth/me", headers={"X-API-Key": made["key"], **inside})
    assert r.status_code == 200 and set(r.json()["permissions"]) == {"debates.read", "authentication.read"}, r.text


# ---- approvals ----

@pytest.fixture
def gated(make_server):
    t = Team(make_server({"auth": AUTH, "rate_limit": LIMITS_OFF, "approvals": {"operations": ["user.role.change", "retention.cleanup"]}}))
    for name, role in (("admin", "admin"), ("second", "admin"), ("officer", "compliance_officer"), ("viewer", "viewer")):
        t.join(name, role)
    return t


TICKED = {"checklist": {"The member and the new role are right": True}}


def test_approval_is_for_one_call_of_one_caller(gated):
    t = gated
    wish = {"user_id": t.ids["viewer"], "role": "member"}
    asked = t.ok("admin", "POST", "/api/rbac/assignments", wish, 202)
    ident = asked["approval_id"]
    assert asked["approval_required"] and asked["state"] == "pending" and asked["risk_level"] == "high"
    assert t.ok("admin", "POST", "/api/rbac/assignments", wish, 202)["approval_id"] == ident, "asking twice is one request"
    shown = {a["id"]: a for a in t.ok("officer", "GET", "/api/approvals/pending")["approvals"]}[ident]
    assert shown["request"] == {"query": "", "body": wish}, "who decides sees what for"
    other = t.ok("admin", "POST", "/api/rbac/assignments", {**wish, "note": {"secret": "hush"}}, 202)["approval_id"]
    assert t.ok("officer", "GET", f"/api/approvals/{other}")["request"]["request"]["body"]["note"] == {"secret": "***"}
    url = f"/api/approvals/{ident}"
    assert t.call("admin", "POST", url + "/approve", TICKED).status_code == 403, "not one's own"
    assert t.call("viewer", "POST", url + "/approve", TICKED).status_code == 403
    r = t.call("officer", "POST", url + "/approve", {})
    assert r.status_code == 400 and r.json()["field"] == "checklist"
    t.ok("admin", "POST", "/api/rbac/assignments", {**wish, "_approval_id": ident}, 202)
    assert t.ok("officer", "POST", url + "/approve", TICKED)["request"]["state"] == "approved"
    assert t.call("second", "POST", url + "/approve", TICKED).status_code == 409
    # Another body, another caller, another route: no.
    for who, body in (("admin", {**wish, "role": "analyst"}), ("second", wish)):
        r = t.call(who, "POST", "/api/rbac/assignments", {**body, "_approval_id": ident})
        assert r.status_code == 403 and r.json()["code"] == "APPROVAL_INVALID", r.text
    t.ok("admin", "POST", "/api/rbac/assignments", wish, 201, **{"X-Approval-ID": ident})
    t.soon("viewer", "debates.create")
    assert t.call("admin", "POST", "/api/rbac/assignments", wish, **{"X-Approval-ID": ident}).status_code == 403, "once"


def test_an_idempotency_key_keeps_no_answer_of_the_gate(gated):
    t = gated
    wish = {"user_id": t.ids["viewer"], "role": "member"}
    key = {"Idempotency-Key": "one-of-the-gate"}
    ident = t.ok("admin", "POST", "/api/rbac/assignments", wish, 202, **key)["approval_id"]
    assert t.ok("admin", "POST", "/api/rbac/assignments", wish, 202, **key)["approval_id"] == ident
    t.ok("officer", "POST", f"/api/approvals/{ident}/approve", TICKED)
    t.ok("admin", "POST", "/api/rbac/assignments", wish, 201, **key, **{"X-Approval-ID": ident})
    t.soon("viewer", "debates.create")
    assert t.call("admin", "POST", "/api/rbac/assignments", wish, **key, **{"X-Approval-ID": ident}).status_code == 403


GATED = {
    "user.role.change": ("POST /api/rbac/assignments", "PUT /api/users/{id}/role", "PATCH /api/users/{id}/role",
                         "POST /api/users/{id}/role", "POST /api/workspaces/{id}/members",
                         "PUT /api/workspaces/{id}/members/{user_id}"),
    "role.change": ("POST /api/rbac/roles", "PUT /api/rbac/roles/{name}", "DELETE /api/rbac/roles/{name}"),
    "api_key.generate": ("POST /api/keys", "POST /api/auth/api-keys", "POST /api/auth/api-key"),
    "api_key.revoke": ("DELETE /api/keys/{id}", "DELETE /api/auth/api-keys/{id}", "DELETE /api/auth/api-keys", "DELETE /api/auth/api-key"),
    "org.settings.update": ("PUT /api/organizations/{id}", "PATCH /api/organizations/{id}"),
    "org.member.remove": ("DELETE /api/users/{id}",),
    "retention.cleanup": ("POST /api/admin/schedulers/retention/cleanup", "POST /api/admin/schedulers/receipt-retention/cleanup"),
}


def test_every_route_of_an_operation_waits(make_server):
    t = Team(make_server({"auth": AUTH, "rate_limit": LIMITS_OFF, "approvals": {"operations": list(GATED)}}))
    wrong = []
    for operation, routes in GATED.items():
        for method, path in (r.split() for r in routes):
            r = t.call("owner", method, filled(path, t), {} if method != "DELETE" else None)
            if r.status_code != 202 or r.json()["operation"] != operation or r.json()["path"].count("/") != path.count("/"):
                wrong.append((operation, method, path, r.status_code, r.text[:200]))
            elif "members/" in path:
                assert r.json()["resource_id"] == r.json()["path"].rsplit("/")[-1], "the member is what it is about"
    assert not wrong, wrong


def test_approval_by_several_rejection_and_expiry(gated):
    t = gated
    url = "/api/admin/schedulers/retention/cleanup"
    tick = {"checklist": {"A backup of today can be restored": True}}
    ident = t.ok("admin", "POST", url, None, 202)["approval_id"]
    assert t.ok("officer", "POST", f"/api/approvals/{ident}/approve", tick)["request"]["state"] == "pending"
    assert t.call("officer", "POST", f"/api/approvals/{ident}/approve", tick).status_code == 409
    assert t.ok("second", "POST", f"/api/approvals/{ident}/approve", tick)["request"]["state"] == "approved"
    t.s.sql("UPDATE approvals SET expires_at = created_at WHERE id = ?", ident)
    r = t.call("admin", "POST", url, None, **{"X-Approval-ID": ident})
    assert r.status_code == 403 and "expired" in r.json()["error"]
    other = t.ok("admin", "POST", url, None, 202)["approval_id"]
    assert other != ident
    t.ok("officer", "POST", f"/api/approvals/{other}/reject", {"reason": "not today"})
    assert t.call("second", "POST", f"/api/approvals/{other}/approve", tick).status_code == 409
    r = t.call("admin", "POST", url, None, **{"X-Approval-ID": other})
    assert r.status_code == 403 and "rejected" in r.json()["error"]


# ---- acting for somebody else ----

def step_up(team, name):
    """A login whose second factor has just been proved."""
    team.login(name)
    team.s.sql("UPDATE sessions SET mfa_at = ? WHERE user_id = ?", int(time.time() * 1000), team.ids[name])


REASON = {"reason": "a ticket of the customer"}


def test_impersonation(team):
    url = "/api/admin/impersonate/" + team.ids["member"]
    r = team.call("admin", "POST", url, REASON)
    assert r.status_code == 403 and r.json()["code"] == "MFA_STEP_UP_REQUIRED"
    step_up(team, "admin")
    assert team.call("viewer", "POST", url, REASON).status_code == 403
    assert team.call("admin", "POST", url, {"reason": "short"}).status_code == 400
    assert team.call("admin", "POST", "/api/admin/impersonate/" + team.ids["admin"], REASON).status_code == 400
    team.register("stranger")
    assert team.call("admin", "POST", "/api/admin/impersonate/" + team.ids["stranger"], REASON).status_code == 404
    made = team.ok("admin", "POST", url, REASON)
    session = made["session_id"]
    assert made["expires_in"] == 1800 and made["target_user"]["id"] == team.ids["member"] and len(session) == 64
    team.tokens["acting"] = made["token"]
    r = team.call("acting", "GET", "/api/auth/me")
    assert r.json()["user"]["id"] == team.ids["member"] and r.headers["X-Impersonation-Session-ID"] == session
    may = set(r.json()["permissions"])
    assert "debates.create" in may and not may & {"authentication.update", "api_key.create", "access.delegate", "users.impersonate"}
    for method, path, body in (("POST", "/api/rbac/delegations", {}), ("POST", url, REASON)):
        assert team.call("acting", method, path, body).status_code == 403, path
    # The header names a session: it must be that of the token, also for who shows none.
    other = {"X-Impersonation-Session-ID": "0" * 64}
    assert team.call("acting", "GET", "/api/auth/me", **other).status_code == 403
    assert team.call("member", "GET", "/api/auth/me", **{"X-Impersonation-Session-ID": session}).status_code == 403
    assert team.s.get("/api/auth/me", headers={"X-Impersonation-Session-ID": session}).status_code == 401
    assert team.s.get("/healthz", headers={"X-Impersonation-Session-ID": session}).status_code == 403
    # A renewed token takes the place of the former one.
    fresh = team.ok("admin", "POST", f"/api/admin/impersonation/{session}/refresh")
    wait_until(lambda: team.call("acting", "GET", "/api/auth/me").status_code == 401, SOON, "the former token is refused")
    team.tokens["acting"] = fresh["token"]
    assert team.call("acting", "GET", "/api/debates").status_code == 200
    assert team.ok("admin", "GET", "/api/admin/impersonation")["sessions"][0]["active"]
    assert team.call("owner", "DELETE", "/api/admin/impersonation/" + session).status_code == 404, "only who began it ends it"
    team.ok("admin", "DELETE", "/api/admin/impersonation/" + session)
    wait_until(lambda: team.call("acting", "GET", "/api/debates").status_code == 401, SOON, "the ended session is refused")
    assert re.search(r"aragora_admin_impersonate_total 1\b", team.s.get("/metrics").text)

    def actions():
        rows = team.s.sql("SELECT action, actor_id, impersonator FROM audit_events UNION ALL SELECT action, actor_id, impersonator FROM audit_inbox")
        return {a for a, _, _ in rows} >= {"admin.impersonation_start", "admin.impersonation_action", "admin.impersonation_end",
                                           "admin.impersonation_session_invalid"} and \
            ("admin.impersonation_action", team.ids["member"], team.ids["admin"]) in rows
    wait_until(actions, what="the impersonation is in the audit log, with who was behind it")


def test_impersonation_leaves_nothing_behind(team):
    step_up(team, "admin")
    made = team.ok("admin", "POST", "/api/admin/impersonate/" + team.ids["officer"], REASON)
    team.tokens["acting"] = made["token"]
    assert "organization.invite" in team.may("officer") | team.may("admin") and "organization.invite" not in team.may("acting")
    # The sessions of whom one acts for are theirs.
    assert team.call("acting", "POST", "/api/auth/logout-all").status_code == 403
    assert team.call("officer", "GET", "/api/auth/me").status_code == 200
    # Logging out ends the impersonation, the token and nothing else.
    team.ok("acting", "POST", "/api/auth/logout")
    wait_until(lambda: all(team.call("acting", "GET", "/api/auth/me").status_code == 401 for _ in range(8)), SOON, "logged out")
    assert not team.ok("admin", "GET", "/api/admin/impersonation")["sessions"][0]["active"]
    assert team.call("officer", "GET", "/api/auth/me").status_code == 200
    # A revoked token stays so though its session is there.
    made = team.ok("admin", "POST", "/api/admin/impersonate/" + team.ids["officer"], REASON)
    team.tokens["acting"] = made["token"]
    team.ok("acting", "POST", "/api/auth/revoke", {})
    wait_until(lambda: all(team.call("acting", "GET", "/api/auth/me").status_code == 401 for _ in range(8)), SOON, "revoked")


def test_impersonation_brings_no_more_than_the_admin_has(team):
    step_up(team, "admin")
    team.tokens["acting"] = team.ok("admin", "POST", "/api/admin/impersonate/" + team.ids["owner"], REASON)["token"]
    assert "organization.manage_billing" in team.may("owner") and "policies.read" not in team.may("acting")
    for whom in ("member", "viewer"):
        team.ok("admin", "POST", "/api/admin/impersonate/" + team.ids[whom], REASON)
    assert team.call("admin", "POST", "/api/admin/impersonate/" + team.ids["officer"], REASON).status_code == 409, "three at once"
    # The admin loses the right: the sessions end.
    team.s.sql("UPDATE members SET role = 'member' WHERE user_id = ?", team.ids["admin"])
    team.ok("owner", "POST", "/api/rbac/assignments", {"user_id": team.ids["admin"], "role": "viewer"}, 201)
    wait_until(lambda: team.call("acting", "GET", "/api/debates").status_code == 401, SOON, "the session is refused")


# ---- break-glass ----

def test_break_glass(team):
    wish = {"reason": "the database is on fire", "minutes": 20}
    assert team.call("admin", "POST", "/api/admin/emergency", wish).json()["code"] == "MFA_STEP_UP_REQUIRED"
    step_up(team, "admin")
    assert team.call("admin", "POST", "/api/admin/emergency", {**wish, "minutes": 14}).status_code == 400
    assert team.call("admin", "POST", "/api/admin/emergency", {**wish, "minutes": 1441}).status_code == 400
    assert "admin.system_config" not in team.may("admin")
    made = team.ok("admin", "POST", "/api/admin/emergency", wish, 201)
    team.soon("admin", "admin.system_config")
    assert team.call("admin", "POST", "/api/admin/emergency", wish).status_code == 409, "it cannot be prolonged"
    assert lend(team, "admin", "viewer", "admin.system_config", 403)["field"] == "permission", "nor lent"
    for path, body in (("assignments", {"user_id": team.ids["viewer"], "role": "member"}),
                       ("grants", {"user_id": team.ids["viewer"], "permission": "debates.update", "resource_type": "debate",
                                   "resource_id": "any"})):
        r = team.call("admin", "POST", "/api/rbac/" + path, body)
        assert r.status_code == 403 and "break-glass" in r.text, "nor given away: " + path
    url = "/api/admin/emergency/" + made["id"]
    review = {"review": "nothing else was touched"}
    assert team.call("officer", "POST", url + "/review", review).status_code == 409, "not before its end"
    team.s.sql("UPDATE emergencies SET expires_at = ? WHERE id = ?", int(time.time() * 1000), made["id"])
    team.login("admin")
    assert "admin.system_config" not in team.may("admin")
    assert team.ok("officer", "GET", "/api/admin/emergency")["emergencies"][0]["status"] == "review_required"
    step_up(team, "admin")
    assert team.call("admin", "POST", "/api/admin/emergency", wish).status_code == 409, "first the review"
    assert team.call("admin", "POST", url + "/review", review).status_code == 403, "by somebody else"
    team.ok("officer", "POST", url + "/review", review)
    again = team.ok("admin", "POST", "/api/admin/emergency", wish, 201)
    team.soon("admin", "admin.system_config")
    team.ok("admin", "POST", f"/api/admin/emergency/{again['id']}/end")
    team.soon("admin", "admin.system_config", False)
    wait_until(lambda: team.s.sql("SELECT 1 FROM audit_events WHERE action = 'break_glass.action' AND resource_id = ?", made["id"]),
               what="what was done is in the audit log")


# ---- things: owners, grants, conditions ----

def debate_of(team, name):
    return team.ok(name, "POST", "/api/debates", {"task": "Is a grant enough?", "rounds": 1})["debate_id"]


def test_grants_and_ownership(team):
    theirs = debate_of(team, "admin")
    mine = debate_of(team, "member")
    url = "/api/debates/" + theirs
    rename = {"title": "another title"}
    assert team.call("member", "PATCH", url, rename).status_code == 403
    assert team.call("member", "PATCH", "/api/debates/" + str(uuid.uuid4()), rename).status_code == 403, "nor does it tell what there is"
    assert team.call("member", "PATCH", "/api/debates/" + mine, rename).status_code == 200, "the owner may"
    wish = {"user_id": team.ids["viewer"], "permission": "debates.update", "resource_type": "debate", "resource_id": theirs}
    assert team.call("member", "POST", "/api/rbac/grants", wish).status_code == 403
    r = team.call("admin", "POST", "/api/rbac/grants", {**wish, "conditions": {"moon": "full"}, "permission": "x"})
    assert r.status_code == 400 and {e["field"] for e in r.json()["errors"]} == {"conditions", "permission"}
    assert team.call("admin", "POST", "/api/rbac/grants", {**wish, "permission": "policies.update"}).status_code == 403
    assert team.call("admin", "POST", "/api/rbac/grants", {**wish, "resource_id": "none"}).status_code == 404
    made = team.ok("admin", "POST", "/api/rbac/grants", {**wish, "conditions": {"ip": ["127.0.0.0/8", "::1"]}}, 201)
    assert team.call("viewer", "PATCH", url, rename).status_code == 200
    assert team.call("viewer", "DELETE", url).status_code == 403, "only what was granted"
    assert team.call("viewer", "PATCH", "/api/debates/" + mine, rename).status_code == 403, "only for that one"
    # What the tier forbids no grant allows; a condition that does not hold or cannot be read is a no.
    team.s.sql("UPDATE debates SET metadata = ? WHERE id = ?", '{"sensitivity": "cosmic"}', theirs)
    assert team.call("viewer", "PATCH", url, rename).status_code == 403
    team.s.sql("UPDATE debates SET metadata = '{}' WHERE id = ?", theirs)
    for conditions in ('{"ip": ["192.0.2.1"]}', '{"moon": 1}', "[", '{"status": ["paused"]}'):
        team.s.sql("UPDATE resource_grants SET conditions = ? WHERE id = ?", conditions, made["id"])
        assert team.call("viewer", "PATCH", url, rename).status_code == 403, conditions
    team.s.sql("UPDATE resource_grants SET conditions = '{}', expires_at = 1 WHERE id = ?", made["id"])
    assert team.call("viewer", "PATCH", url, rename).status_code == 403
    assert team.ok("admin", "GET", "/api/rbac/grants?user_id=" + team.ids["viewer"])["total"] == 1
    team.ok("admin", "DELETE", "/api/rbac/grants/" + made["id"])
    assert team.call("admin", "DELETE", "/api/rbac/grants/" + made["id"]).status_code == 404
