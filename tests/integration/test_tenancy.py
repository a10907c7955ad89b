# SPDX-License-Identifier: MIT
"""Nothing of one tenant for another: organizations, workspaces, members, invitations, quotas, budgets; and a stranger who
walks every route that there is, with the ids of somebody else, and must not see a byte of it.
"""
import concurrent.futures
import json
import re
import time
import uuid

import pytest
import requests

from conftest import wait_until
from rawws import TEXT, Raw

PASSWORD = "Correct-horse-7-battery"
AUTH = {"required": True, "password_memory": 65536, "password_passes": 1,
        "jwt_secret": "a-secret-of-the-tests-with-more-than-32-characters"}
MARK = "zebrafish"  # in everything that tenant A writes
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Caller:
    """Somebody with an account, talking over one connection."""

    def __init__(self, s, email, token, org, user):
        self.s, self.email, self.token, self.org, self.user = s, email, token, org, user
        self.http = requests.Session()
        self.http.headers["Authorization"] = "Bearer " + token

    def ask(self, method, path, body=None, **kw):
        kw.setdefault("timeout", 60)
        return self.http.request(method, self.s.url + path, json=body, **kw)

    def get(self, path, **kw):
        return self.ask("GET", path, **kw)

    def good(self, method, path, body=None, **kw):
        r = self.ask(method, path, body, **kw)
        assert r.status_code in (200, 201), (method, path, r.status_code, r.text[:500])
        return r.json()


def account(s, email, organization):
    r = s.post("/api/auth/register", {"email": email, "password": PASSWORD, "name": email.split("@")[0],
                                      "organization": organization})
    assert r.status_code == 201, r.text
    o = r.json()
    return Caller(s, email, o["access_token"], o["organization"]["id"], o["user"]["id"])


def invite(owner, email, role="member"):
    """Invites, and accepts with a new account."""
    token = owner.good("POST", "/api/org/invitations", {"email": email, "role": role})["invite_token"]
    r = owner.s.post("/api/auth/accept-invite", {"token": token, "password": PASSWORD, "name": email.split("@")[0]})
    assert r.status_code == 201, r.text
    o = r.json()
    return Caller(owner.s, email, o["access_token"], o["organization"]["id"], o["user"]["id"])


def debate(who, task, **kw):
    key = kw.pop("key", None)
    headers = dict(kw.pop("headers", {}), **({"Idempotency-Key": key} if key else {}))
    return who.good("POST", "/api/debates", {"task": task, "rounds": 1, **kw}, headers=headers)["id"]


def ended(who, debate_id, **kw):
    return wait_until(lambda: who.get("/api/debates/" + debate_id, **kw).json().get("completed_at"), 60, "the end")


@pytest.fixture(scope="module")
def two(module_server):
    """One server, two organizations; the first has something of every kind."""
    s = module_server({"auth": AUTH})
    a = account(s, MARK + "@a.example.org", MARK + " incorporated")
    b = account(s, "bob@b.example.org", "Bob's")
    a.good("PATCH", "/api/organizations/" + a.org, {"settings": {"note": MARK}})
    fellow = invite(a, MARK + "-fellow@a.example.org")
    ids = {"org": a.org, "user": a.user, "fellow": fellow.user}
    ids["debate"] = debate(a, "Which colour suits most fishes, asks the %s?" % MARK, context=MARK, metadata={"note": MARK}, key=MARK + "-key")
    ids["workspace"] = a.good("POST", "/api/workspaces", {"name": MARK + " room"})["id"]
    ids["invitation"] = a.good("POST", "/api/org/invitations", {"email": MARK + "-new@a.example.org"})["id"]
    ids["budget"] = a.good("POST", "/api/budgets", {"name": MARK + " money", "amount_usd": 1000})["id"]
    ended(a, ids["debate"])
    a.good("PATCH", "/api/debates/" + ids["debate"], {"title": MARK, "tags": [MARK]})
    ids["slug"] = a.get("/api/debates/" + ids["debate"]).json()["slug"]
    ids["receipt"] = a.get("/api/debates/%s/receipt" % ids["debate"]).json()["receipt_id"]
    ids["node"] = a.good("POST", "/api/knowledge/mound/nodes", {"content": "The %s swims where fishes do." % MARK})["id"]
    ids["delivery"], ids["agent"] = str(uuid.uuid4()), "ichthyologist"
    now = int(time.time() * 1000)
    s.sql("INSERT INTO deliveries (id, org_id, workspace_id, debate_id, format, event, endpoint, target, payload, state,"
          " position, since, next_at, created_at, updated_at, dead_at) VALUES (?, ?, ?, ?, 'webhook', 'debate_end', ?,"
          " 'https://a.example.org/" + MARK + "', '{\"note\": \"" + MARK + "\"}', 'dead', 1, ?, ?, ?, ?, ?)",
          ids["delivery"], a.org, a.org, ids["debate"], "webhook:" + MARK, now, now, now, now, now)
    s.sql("INSERT INTO delivery_attempts (delivery_id, n, owner, state, error, started_at, ended_at)"
          " VALUES (?, 1, '', 'failed', '" + MARK + "', ?, ?)", ids["delivery"], now, now)
    s.sql("INSERT INTO ratings (workspace_id, agent, org_id, elo_milli, wins, losses, draws, updated_at)"
          " VALUES (?, ?, ?, 1600000, 3, 1, 0, ?)", a.org, ids["agent"], a.org, now)
    s.sql("INSERT INTO matches (debate_id, org_id, workspace_id, winner, participants, changes, domain, created_at)"
          " VALUES (?, ?, ?, ?, '[\"" + MARK + "\"]', '{\"" + ids["agent"] + "\": 5000}', 'general', ?)", ids["debate"], a.org, a.org,
          ids["agent"], now)
    return s, a, b, fellow, ids


@pytest.fixture(scope="module")
def module_server(tmp_path_factory):
    from conftest import Server
    made = []

    def make(config):
        s = Server(tmp_path_factory.mktemp("tenants"), config)
        made.append(s)
        return s.start()
    yield make
    for s in made:
        s.close()


# ---- the walk ----

def routes(s):
    """(method, path) of everything that `aragorad routes` prints."""
    found = []
    for line in s.command("routes", "-c", s.conf_path, check=True).stdout.splitlines():
        words = line.split()
        if len(words) > 2 and words[0] in METHODS + ("WS",):
            found.append((words[0], words[1], words[2]))
    assert len(found) > 100
    return found


# Ends the walker's own session or changes its password; what they say of others is nothing.
OWN = re.compile(r"/api/auth/(logout|logout-all|revoke|password|change-password|mfa|setup|refresh)|/healthz|/readyz")


def kinds(path, ids):
    """Ids that fit into a path, the most telling first."""
    for word, names in (("receipts", ["receipt", "debate", "slug"]), ("dead-letter", ["delivery"]), ("workspaces", ["workspace", "org"]),
                        ("organizations", ["org"]), ("invitations", ["invitation"]), ("budgets", ["budget"]),
                        ("users", ["user", "fellow"]), ("agent", ["agent"]), ("slug", ["slug"]), ("knowledge", ["node"]), ("facts", ["node"]), ("debate", ["debate", "slug"]),
                        ("ws", ["debate"])):
        if word in path:
            return [ids[n] for n in names]
    return [ids["debate"], ids["user"], ids["org"]]


def fill(path, values):
    values = iter(values)
    return re.sub(r"\{[^}]*\}", lambda m: next(values), path)


def requests_of(method, path, ids):
    """Every request of the walk for one route: (path with the foreign ids, the same with unknown ones)."""
    n = len(re.findall(r"\{[^}]*\}", path))
    if "{path" in path or "..." in path:
        return []
    if n == 0:
        return [(path, None)]
    out = []
    for first in kinds(path, ids):
        rest = [ids["fellow"] if "user" in path else "md"] * (n - 1)
        unknown = str(uuid.uuid4())
        out.append((fill(path, [first] + rest), (fill(path, [unknown] + rest), first, unknown)))
    return out


def body_of(ids):
    return {"id": ids["debate"], "debate_id": ids["debate"], "workspace_id": ids["workspace"], "org_id": ids["org"],
            "organization_id": ids["org"], "user_id": ids["user"], "tenant_id": ids["org"], "receipt_id": ids["receipt"],
            "query": "fishes", "name": "walker", "role": "viewer", "email": "walked@b.example.org", "amount_usd": 1}


def plain(r, value):
    """An answer without what differs from request to request."""
    text = re.sub(r'"(trace_id|request_id|timestamp|verification_timestamp)": ?"[^"]*"', "", r.text)
    return r.status_code, text.replace(value, "<id>")


QUERY = ("?workspace_id={workspace}&org_id={org}&tenant_id={org}&user_id={user}&debate_id={debate}&q=swim&search=fishes"
         "&limit=100&after_seq=0&owner_id={user}&actor_id={user}")


def walk(who, all_routes, ids):
    """What leaks, and what tells a foreign id from an unknown one."""
    wrong, seen = [], 0
    body, query = body_of(ids), QUERY.format(**ids)

    def one(route):
        method, path, _ = route
        bad = []
        for real, other in requests_of(method, path, ids):
            given = body if method in ("POST", "PUT", "PATCH") else None
            r = who.ask(method, real + query, given)
            if MARK in r.text or MARK in str(r.headers):
                bad.append("%s %s shows: %s" % (method, real, r.text[:300]))
            if r.status_code >= 500 and r.status_code not in (501, 503):
                bad.append("%s %s: %d %s" % (method, real, r.status_code, r.text[:200]))
            # An agent's name is no id of a tenant's: every workspace may have one of that name.
            if other is None or "agent" in path or "/echo" in path:
                continue
            unknown, foreign_id, unknown_id = other
            u = who.ask(method, unknown + query, given)
            if plain(r, foreign_id) != plain(u, unknown_id):
                bad.append("%s %s differs from an unknown id: %s / %s" % (method, real, plain(r, foreign_id), plain(u, unknown_id)))
            if r.status_code < 400 and method != "GET" and not path.startswith("/api/auth/"):
                bad.append("%s %s: a foreign id is answered with %d" % (method, real, r.status_code))
        return bad

    for route in all_routes:
        if route[0] != "WS" and not OWN.search(route[1]):
            seen += 1
            wrong += one(route)
    assert seen > 80
    return wrong


def as_it_was(s, a, ids):
    """What there is of tenant A, to be compared before and after."""
    return {path: a.good("GET", path.format(**ids)) for path in (
        "/api/debates/{debate}", "/api/receipts/{receipt}", "/api/workspaces/{workspace}", "/api/budgets/{budget}",
        "/api/org", "/api/org/invitations", "/api/users", "/api/webhooks/dead-letter", "/api/matches/recent",
        "/api/facts/{node}", "/api/facts")}


def test_walk_sees_nothing(two):
    s, a, b, fellow, ids = two
    all_routes = routes(s)
    before = as_it_was(s, a, ids)
    assert all(MARK in json.dumps(v) for v in before.values()), "every kind of data must be there to be seen"
    viewer = invite(b, "carl@b.example.org")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda who: walk(who, all_routes, ids), [b, viewer]))
    assert not found[0] + found[1], "\n".join(found[0] + found[1])
    after = as_it_was(s, a, ids)
    assert after == before
    assert "a statement was refused" not in s.log()


def test_walk_anonymous(two):
    s, a, b, fellow, ids = two
    nobody = Caller(s, "", "", "", "")
    del nobody.http.headers["Authorization"]
    assert not (wrong := [w for w in walk(nobody, routes(s), ids)]), "\n".join(wrong)


@pytest.mark.parametrize("header", ["X-Workspace-ID", "X-Tenant-ID"])
def test_headers_select_memberships_only(two, header):
    s, a, b, fellow, ids = two
    for value in (ids["org"], ids["workspace"], str(uuid.uuid4()), "default"):
        for path in ("/api/debates", "/api/debates/" + ids["debate"], "/api/org", "/api/auth/me", "/api/receipts"):
            r = b.get(path, headers={header: value})
            assert r.status_code == 403, (path, value, r.text)
            assert MARK not in r.text and r.json()["code"] == "FORBIDDEN"
    assert b.get("/api/org", headers={header: b.org}).status_code == 200
    # Both at once must not mean two organizations.
    assert b.get("/api/org", headers={"X-Tenant-ID": b.org, "X-Workspace-ID": ids["workspace"]}).status_code == 403


def frames_until(k, done):
    """Frames of a socket up to the one for which done() is true."""
    found = []
    while True:
        opcode, _, _, payload = k.recv()
        if opcode != TEXT:
            continue
        f = json.loads(payload)
        found.append(f)
        if done(f):
            return found


def test_sockets_and_streams(two):
    """Subscriptions, replays, the firehose and lists of running debates, while the other tenant debates."""
    s, a, b, fellow, ids = two
    for after in ("", "?after_seq=0", "?last_seq=0", "?replay_from_seq=0"):
        r = b.get("/api/debates/%s/events%s" % (ids["debate"], after), headers={"Accept": "text/event-stream"})
        assert r.status_code == 404 and MARK not in r.text
    k = Raw(s.port, "/ws?token=%s&debate_id=%s&after_seq=0" % (b.token, ids["debate"]))
    hose = Raw(s.ws_port, "/ws?token=" + b.token)
    for m in ({"type": "subscribe", "debate_id": ids["debate"], "after_seq": 0}, {"type": "subscribe", "debate_id": ids["slug"]},
              {"type": "resume", "debate_ids": [ids["debate"]], "replay_from_seq": 0},
              {"type": "subscribe", "channel": "org:" + a.org}, {"type": "subscribe_all", "workspace_id": a.org, "org_id": a.org},
              {"type": "get_loops", "workspace_id": a.org}):
        k.send(TEXT, json.dumps(m).encode())
    for n in range(2):
        theirs = debate(a, "What does the %s say, %d?" % (MARK, n))
        ended(a, theirs)
    own = debate(b, "And what do we say?")

    def is_end(f):
        return f["type"] == "debate_end" and f.get("debate_id") == own
    for socket in (k, hose):
        found = frames_until(socket, is_end)
        assert MARK not in json.dumps(found), [f for f in found if MARK in json.dumps(f)]
        assert {f["debate_id"] for f in found if f.get("seq")} == {own}
        socket.s.close()
    stats = b.get("/api/ws/stats").json()
    assert not set(stats["subscriptions"]) & {ids["debate"], theirs}


def test_workspaces_of_one_organization(two):
    """Two people of one organization: who was not put into a workspace has nothing of it."""
    s, a, b, fellow, ids = two
    room = {"X-Workspace-ID": ids["workspace"]}
    # A page's WebSocket names the workspace in its address.
    assert Raw(s.port, "/ws?token=%s&workspace_id=%s" % (fellow.token, ids["workspace"]), expect=None).status == 403
    k = Raw(s.port, "/ws?token=%s&workspace_id=%s" % (a.token, ids["workspace"]))
    inside = debate(a, "Inside of the room?", headers=room, key="one-key")
    frames_until(k, lambda f: f["type"] == "debate_end" and f.get("debate_id") == inside)
    ended(a, inside, headers=room)
    # The same key in another workspace is another key.
    assert debate(a, "Inside of the room?", headers=room, key="one-key") == inside
    assert debate(a, "Inside of the room?", key="one-key") != inside
    assert fellow.get("/api/debates", headers=room).status_code == 403
    assert fellow.get("/api/workspaces/" + ids["workspace"]).status_code == 404
    assert ids["workspace"] not in fellow.get("/api/workspaces").text
    for path in ("/api/debates/" + inside, "/api/debates/%s/events" % inside, "/api/debates/%s/receipt" % inside):
        assert fellow.get(path).status_code == 404
        assert a.get(path).status_code == 404, "it is in another workspace than the one selected"
        assert a.get(path, headers=room).status_code == 200
    assert inside not in fellow.get("/api/debates").text and inside in a.get("/api/debates", headers=room).text
    a.good("POST", "/api/workspaces/%s/members" % ids["workspace"], {"user_id": fellow.user, "role": "member"})
    wait_until(lambda: fellow.get("/api/debates", headers=room).status_code == 200, 10, "let in")
    assert inside in fellow.get("/api/debates", headers=room).text
    a.good("DELETE", "/api/workspaces/%s/members/%s" % (ids["workspace"], fellow.user))
    wait_until(lambda: all(fellow.get("/api/debates", headers=room).status_code == 403 for _ in range(8)), 10, "put out")
    assert a.ask("DELETE", "/api/workspaces/" + ids["workspace"]).status_code == 409, "it is not empty"


def test_permissions_of_one_workspace_end_there(two):
    s, a, b, fellow, ids = two
    room = {"X-Workspace-ID": ids["workspace"]}
    s.sql("UPDATE members SET role = 'viewer' WHERE user_id = ?", fellow.user)
    a.good("POST", "/api/workspaces/%s/members" % ids["workspace"], {"user_id": fellow.user, "role": "viewer"})
    a.good("POST", "/api/rbac/assignments", {"user_id": fellow.user, "role": "debate_creator", "workspace_id": a.org})

    def may(**kw):
        return set(fellow.get("/api/auth/me", **kw).json()["permissions"])
    wait_until(lambda: all("debates.create" in may() for _ in range(8)), 10, "given in the first workspace")
    assert "debates.create" not in may(headers=room) and "debates.read" in may(headers=room)
    r = fellow.ask("POST", "/api/debates", {"task": "In there, too?", "rounds": 1}, headers=room)
    assert r.status_code == 403 and r.json()["code"] == "PERMISSION_DENIED"
    # Who is put out of a workspace hears no more of it.
    k = Raw(s.port, "/ws?token=%s&workspace_id=%s" % (fellow.token, ids["workspace"]))
    frames_until(k, lambda f: f["type"] == "connection_info")
    a.good("DELETE", "/api/workspaces/%s/members/%s" % (ids["workspace"], fellow.user))
    frames_until(k, lambda f: f["type"] == "auth_revoked")
    # A socket goes by what its user may in its workspace, also when that is asked again.
    s.sql("DELETE FROM role_assignments WHERE user_id = ?", fellow.user)
    s.sql("UPDATE members SET role = 'org:nothing' WHERE user_id = ?", fellow.user)
    a.good("POST", "/api/workspaces/%s/members" % ids["workspace"], {"user_id": fellow.user, "role": "member"})
    wait_until(lambda: fellow.get("/api/debates", headers=room).status_code == 200, 10, "let in by the workspace alone")
    k = Raw(s.port, "/ws?token=%s&workspace_id=%s" % (fellow.token, ids["workspace"]))
    frames_until(k, lambda f: f["type"] == "connection_info")
    a.good("PATCH", "/api/workspaces/" + ids["workspace"], {"name": "Room of many"})
    told = debate(a, "Who still listens?", headers=room)
    assert "auth_revoked" not in {f["type"] for f in frames_until(k, lambda f: f["type"] in ("debate_end", "auth_revoked"))}
    ended(a, told, headers=room)
    k.s.close()
    s.sql("UPDATE members SET role = 'member' WHERE user_id = ?", fellow.user)
    a.good("DELETE", "/api/workspaces/%s/members/%s" % (ids["workspace"], fellow.user))
    wait_until(lambda: all("debates.read" in may() for _ in range(8)), 10, "as before")


# ---- members, invitations ----

def test_invitations(two):
    s, a, b, fellow, ids = two
    made = b.good("POST", "/api/users/invite", {"email": "dora@b.example.org", "role": "viewer"})
    assert made["expires_in"] == 7 * 86400 and made["invite_token"] in made["invite_url"]
    shown = s.get("/api/auth/check-invite?token=" + made["invite_token"])
    assert shown.json()["email"] == "dora@b.example.org" and shown.json()["organization_id"] == b.org
    assert s.get("/api/auth/check-invite?token=" + "0" * 64).status_code == 404
    # Somebody else's account does not get in with it.
    assert a.ask("POST", "/api/auth/accept-invite", {"token": made["invite_token"]}).status_code == 403
    r = s.post("/api/auth/accept-invite", {"token": made["invite_token"], "password": PASSWORD})
    assert r.status_code == 201 and r.json()["organization"]["role"] == "viewer"
    # Who invited has seen the token: that the address is the new account's is not proved.
    assert r.json()["user"]["email_verified"] is False
    again = s.post("/api/auth/accept-invite", {"token": made["invite_token"], "password": PASSWORD})
    assert again.status_code == 410 and s.get("/api/auth/check-invite?token=" + made["invite_token"]).status_code == 410
    # Who has an account joins with it, and may then select the organization.
    token = b.good("POST", "/api/auth/invite", {"email": fellow.email})["invite_token"]
    key = {"Authorization": "ApiKey " + fellow.good("POST", "/api/keys", {"scopes": ["debates.read"]})["key"]}
    assert s.post("/api/auth/accept-invite", {"token": token}, headers=key).status_code == 403, "a key joins nothing"
    assert fellow.good("POST", "/api/auth/accept-invite", {"token": token})["organization_id"] == b.org
    other = {"X-Tenant-ID": b.org}
    wait_until(lambda: fellow.get("/api/org", headers=other).status_code == 200, 10, "the new membership")
    assert fellow.get("/api/org", headers=other).json()["id"] == b.org
    assert MARK not in fellow.get("/api/debates", headers=other).text
    b.good("DELETE", "/api/users/" + fellow.user)
    wait_until(lambda: all(fellow.get("/api/org", headers=other).status_code == 403 for _ in range(8)), 10, "out again")
    # The token stands nowhere in the store.
    assert not s.sql("SELECT id FROM invitations WHERE token_hash = ?", made["invite_token"])
    for body, field in (({"email": "nobody"}, "email"), ({"email": "x@example.org", "role": "king"}, "role")):
        r = b.ask("POST", "/api/users/invite", body)
        assert r.status_code == 400 and r.json()["field"] == field
    assert b.ask("POST", "/api/users/invite", {"email": "x@example.org", "role": "owner"}).status_code == 403


def test_roles_of_members(two):
    s, a, b, fellow, ids = two
    member = invite(b, "erik@b.example.org")
    admin = invite(b, "frida@b.example.org", role="admin")
    path = "/api/users/%s/role"
    assert member.ask("PUT", path % admin.user, {"role": "viewer"}).status_code == 403
    assert admin.ask("PUT", path % member.user, {"role": "admin"}).status_code == 403, "admins make no admins"
    assert admin.ask("PUT", path % b.user, {"role": "viewer"}).status_code == 403
    assert b.ask("PUT", path % b.user, {"role": "viewer"}).status_code == 403, "the last owner stays"
    assert b.ask("PUT", path % member.user, {"role": "owner"}).status_code == 403
    assert admin.good("PUT", path % member.user, {"role": "viewer"})["role"] == "viewer"
    wait_until(lambda: member.ask("POST", "/api/debates", {"task": "May a viewer?"}).status_code == 403, 10, "a viewer")
    assert b.good("GET", "/api/users/" + member.user)["user"]["role"] == "viewer"
    assert admin.ask("DELETE", "/api/users/" + b.user).status_code == 403
    for who in (a, fellow):
        assert who.ask("PUT", path % member.user, {"role": "viewer"}).status_code in (403, 404)


def test_administration_of_accounts(two):
    """An organization's owner sees its members; the server's affairs are the operator's."""
    s, a, b, fellow, ids = two
    member = invite(b, "gina@b.example.org")
    users = b.good("GET", "/api/admin/users?limit=100")
    assert member.user in [u["id"] for u in users["users"]] and users["total"] == len(users["users"])
    assert MARK not in json.dumps(users) and "password" not in json.dumps(users)
    assert [o["id"] for o in b.good("GET", "/api/admin/organizations")["organizations"]] == [b.org]
    for method, path in (("POST", "/api/admin/maintenance/enable"), ("GET", "/api/admin/maintenance"),
                         ("POST", "/api/admin/schedulers/retention/cleanup")):
        assert b.ask(method, path, {}).status_code == 403
    b.good("POST", "/api/admin/users/%s/deactivate" % member.user)
    wait_until(lambda: all(member.get("/api/auth/me").status_code == 401 for _ in range(8)), 10, "switched off")
    assert b.ask("POST", "/api/admin/users/%s/deactivate" % b.user).status_code == 400
    b.good("POST", "/api/admin/users/%s/activate" % member.user)
    assert s.post("/api/auth/login", {"email": member.email, "password": PASSWORD}).status_code == 200
    b.good("POST", "/api/admin/users/%s/unlock" % member.user)
    long_ago = int((time.time() - 100 * 86400) * 1000)
    assert member.user not in [u["id"] for u in b.good("GET", "/api/admin/users/inactive")["users"]]
    s.sql("UPDATE users SET created_at = ?, last_login_at = ? WHERE id = ?", long_ago, long_ago, member.user)
    s.sql("UPDATE sessions SET last_activity = ? WHERE user_id = ?", long_ago, member.user)
    assert [u["id"] for u in b.good("GET", "/api/admin/users/inactive")["users"]] == [member.user]
    assert member.user in {t["user_id"] for t in b.good("GET", "/api/admin/tokens/unused")["tokens"]}


def test_closing_an_organization(two):
    s, a, b, fellow, ids = two
    c = account(s, "hugo@c.example.org", "Short-lived")
    second = c.good("POST", "/api/organizations", {"name": "Second"})["id"]
    assert {o["id"] for o in c.good("GET", "/api/organizations")["organizations"]} == {c.org, second}
    wait_until(lambda: c.get("/api/org", headers={"X-Tenant-ID": second}).status_code == 200, 10, "the second one")
    assert c.good("DELETE", "/api/organizations/" + second, headers={"X-Tenant-ID": second})["deleted"]
    wait_until(lambda: all(c.get("/api/org", headers={"X-Tenant-ID": second}).status_code == 403 for _ in range(8)), 10, "closed")
    assert c.get("/api/org").status_code == 200


# ---- quotas, budgets ----

def test_quota_of_a_tier(make_server):
    """Two requests at once do not both get the last debate; what is refused is not counted."""
    s = make_server({"auth": AUTH, "tenancy": {"quotas": True}})
    a = account(s, "ada@example.org", "Ada's")
    s.sql("INSERT INTO quota_limits (org_id, resource, max_value) VALUES (?, 'debates', 3)", a.org)
    assert a.ask("POST", "/api/debates", {"task": ""}).status_code == 400
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: s.post("/api/debates", {"task": "Number %d of eight?" % n, "rounds": 1},
                                                 headers={"Authorization": "Bearer " + a.token}), range(8)))
    assert sorted(r.status_code for r in answers) == [200] * 3 + [402] * 5, [r.text for r in answers]
    body = next(r.json() for r in answers if r.status_code == 402)
    assert body["error"] == "quota_exceeded" and body["code"] == "QUOTA_EXCEEDED" and body["resource"] == "debates"
    assert (body["limit"], body["used"], body["remaining"], body["tier"]) == (3, 3, 0, "free") and body["upgrade_url"]
    q = a.good("GET", "/api/quotas")["quotas"]["debates"]
    assert q["current"] == 3 and q["is_exceeded"] and s.sql("SELECT used FROM quotas") == [(3,)]
    r = a.ask("POST", "/api/users/invite", {"email": "second@example.org"})
    assert r.status_code == 402 and r.json()["resource"] == "users", "a free organization has one member"
    assert "aragora_quota_refusals_total 6" in s.get("/metrics").text
    # What cannot be counted is refused, not let through.
    s.sql("UPDATE quota_limits SET max_value = 100")
    for table in ("quotas", "budgets"):
        s.sql("ALTER TABLE %s RENAME TO away" % table)
        r = a.ask("POST", "/api/debates", {"task": "Who would count this one?", "rounds": 1})
        assert r.status_code >= 500, (table, r.text)
        s.sql("ALTER TABLE away RENAME TO %s" % table)
    assert s.sql("SELECT COUNT(*) FROM debates") == [(3,)]
    assert a.ask("POST", "/api/debates", {"task": "And now?", "rounds": 1}).status_code == 200


def test_budget(two):
    s, a, b, fellow, ids = two
    made = b.good("POST", "/api/budgets", {"name": "This month", "amount_usd": 0.5})
    assert made["status"] == "active" and made["remaining_usd"] == 0.5 and made["auto_suspend"]
    own = debate(b, "Is there money left?")
    ended(b, own)
    s.sql("INSERT INTO usage_ledger (debate_id, step_key, org_id, workspace_id, user_id, agent, provider, model, tokens_in,"
          " tokens_out, cost_micro, created_at) VALUES (?, 'x', ?, ?, ?, 'a', 'p', 'm', 1, 1, 480000, ?)", own, b.org, b.org, b.user,
          int(time.time() * 1000))
    state = b.good("GET", "/api/budgets/" + made["id"])
    assert state["status"] == "critical" and abs(state["usage_percentage"] - 0.96) < 0.001
    r = b.ask("POST", "/api/debates", {"task": "The last one?", "rounds": 1})
    assert r.status_code == 200 and r.headers["X-Budget-Used"] == "96%"
    assert b.good("POST", "/api/budgets/check", {"estimated_cost_usd": 0.1})["allowed"] is False
    s.sql("UPDATE usage_ledger SET cost_micro = 600000 WHERE debate_id = ? AND step_key = 'x'", own)
    r = b.ask("POST", "/api/debates", {"task": "One too many?", "rounds": 1})
    assert r.status_code == 402 and r.json()["code"] == "budget_exceeded" and r.json()["budget_id"] == made["id"]
    assert a.ask("POST", "/api/debates", {"task": "Does it concern us?", "rounds": 1}).status_code == 200
    at = "/api/budgets/" + made["id"]
    spent = b.good("GET", at + "/transactions?limit=1")
    assert spent["count"] == 1 < spent["total"] and spent["pagination"] == {"limit": 1, "offset": 0, "has_more": True}
    assert 600000 in [round(t["amount_usd"] * 1e6) for t in b.good("GET", at + "/transactions")["transactions"]]
    for path in (at + "/trends", "/api/budgets/trends", at + "/trends?period=weekly"):
        trends = b.good("GET", path)
        assert trends["count"] == 1 and trends["trends"][0]["spent_usd"] == 0.6 and trends["trends"][0]["calls"] >= 1
        assert trends["trends"][0]["period_start"] <= time.strftime("%Y-%m-%dT", time.gmtime()) + "99"
    assert b.ask("GET", at + "/trends?period=hourly").status_code == 400
    assert [m["action"] for m in b.good("GET", at + "/alerts")["alerts"]] == ["notify", "warn", "soft_limit", "hard_limit"]
    for path in ("/transactions", "/trends", "/alerts"):
        assert a.ask("GET", at + path).status_code == 404
    limits = b.good("GET", "/api/billing/limits")["limits"]
    assert limits["limits"]["debates_per_month"] is limits["used"]["debates_per_month"] is None and not limits["enforced"]
    assert limits["exceeded"] == {"debates_per_month": False, "users_per_org": False}
    assert b.good("PATCH", "/api/budgets/" + made["id"], {"auto_suspend": False})["is_exceeded"]
    assert b.ask("POST", "/api/debates", {"task": "Only told about?", "rounds": 1}).status_code == 200
    assert b.good("POST", "/api/budgets/%s/reset" % made["id"])["spent_usd"] == 0
    assert b.good("DELETE", "/api/budgets/" + made["id"])["deleted"]
    for body in ({"name": "x"}, {"name": "x", "amount_usd": -1}, {"name": "x", "amount_usd": 5, "period": "hourly"}):
        assert b.ask("POST", "/api/budgets", body).status_code == 400
