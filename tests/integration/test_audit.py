# SPDX-License-Identifier: MIT
"""The audit log: acts leave events that join a hash chain, whatever dies meanwhile; tampering is told; questions and
exports answer each organization with its own."""
import csv
import io
import json
import re
import threading

import pytest
import requests

from conftest import wait_until
from crash import Node, fault_points
from redis_kit import make_redis, redis_server  # noqa: F401  (fixtures)

DAY = 86400000
TOKEN = "an-operator-s-token-of-some-length"
COLUMNS = ("seq, created_at, id, category, action, outcome, actor_id, actor_kind, impersonator, org_id, workspace_id, resource_type,"
           " resource_id, ip_address, user_agent, correlation_id, reason, details, key_id, signature, previous_hash, event_hash")


def chain(s):
    return s.sql("SELECT seq, action, outcome, actor_id, org_id, correlation_id, previous_hash, event_hash FROM audit_events ORDER BY seq")


STARTED = 2  # the first use of the encryption key, the start


def wait_chain(s, count):
    """Waits until nothing is pending and `count` events stand in the chain (with those of the first start)."""
    wait_until(lambda: not s.sql("SELECT COUNT(*) FROM audit_inbox")[0][0] and len(chain(s)) >= count, what="%d chained events" % count)
    return chain(s)


def toggle(s, times, **kw):
    """So many acts that are audited in their own transaction."""
    for i in range(times):
        assert s.post("/api/admin/maintenance/%s" % ("disable" if i % 2 else "enable"), **kw).status_code == 200


def verify(s, *args, code=0):
    r = s.command("audit", "verify", "-c", s.conf_path, "--json", *args)
    assert r.returncode == code, r.stdout + r.stderr
    return json.loads(r.stdout)


def broken(s, seq, text, *args):
    """The command and the API name this event first."""
    found = verify(s, *args, code=1)
    assert found["valid"] is False and found["first_broken_seq"] == seq, found
    assert any(re.search(text, e["error"]) for e in found["errors"] if e["seq"] == seq), found
    if not args:
        assert s.get("/api/audit/verify").json()["errors"] == found["errors"]


def test_an_act_is_chained(server):
    on = server.post("/api/admin/maintenance/enable", {"reason": "a disk"}, headers={"User-Agent": "a client"})
    assert on.status_code == 200
    server.post("/api/admin/maintenance/disable")
    key, start, first, second = wait_chain(server, STARTED + 2)
    assert key[1] == "security.key_rotation" and start[1] == "system.startup" and start[3:5] == ("system", "") and key[6] == ""
    assert first[:5] == (3, "admin.maintenance_enabled", "success", "anonymous", "default")
    assert first[5] == on.headers["X-Request-ID"] and first[6] == start[7] and len(first[7]) == 64
    assert second[:2] == (4, "admin.maintenance_disabled") and second[6] == first[7] != second[7]
    page = server.get("/api/audit/entries", params={"action": "admin.maintenance_enabled"}).json()
    assert page["total"] == 1 and page["limit"] == 100 and page["offset"] == 0
    e = page["entries"][0]
    assert (e["reason"], e["user_agent"], e["ip_address"], e["actor_kind"]) == ("a disk", "a client", "127.0.0.1", "anonymous")
    assert e["event_hash"] == first[7] and e["details"] == {}
    found = verify(server)
    assert found["valid"] and found["events"] == STARTED + 2 and found["pending"] == 0 and found["unknown_key_signatures"] == 0
    assert server.get("/api/audit/verify").json()["valid"] is True
    assert 'aragora_audit_events_total{category="admin",outcome="success"} 2' in server.get("/metrics").text


@pytest.fixture
def ten(server):
    """A server with ten chained events."""
    toggle(server, 10 - STARTED)
    assert [e[0] for e in wait_chain(server, 10)] == list(range(1, 11))
    return server


@pytest.mark.parametrize("column", ["reason", "details", "ip_address", "created_at", "actor_id", "outcome", "correlation_id"])
def test_a_changed_event(ten, column):
    """Each column is covered (the earlier narrow hash left out address, reason and details)."""
    ten.sql("UPDATE audit_events SET %s = ? WHERE seq = 4" % column, 1 if column == "created_at" else "other")
    broken(ten, 4, "not as it was when it was chained")


def test_tampering(ten):
    rows = ten.sql("SELECT %s FROM audit_events ORDER BY seq" % COLUMNS)

    def restore():
        ten.sql("DELETE FROM audit_events")
        for row in rows:
            ten.sql("INSERT INTO audit_events (%s) VALUES (%s)" % (COLUMNS, ", ".join("?" * len(row))), *row)

    # A row is taken out, also with what follows renumbered.
    ten.sql("DELETE FROM audit_events WHERE seq = 5")
    broken(ten, 5, "events 5 to 5 are missing")
    for seq in range(6, 11):
        ten.sql("UPDATE audit_events SET seq = ? WHERE seq = ?", seq - 1, seq)
    broken(ten, 5, "not as it was|does not follow")
    restore()
    assert verify(ten)["valid"]
    # Two rows change places.
    for a, b in ((3, 100), (7, 3), (100, 7)):
        ten.sql("UPDATE audit_events SET seq = ? WHERE seq = ?", b, a)
    broken(ten, 3, "not as it was|does not follow")
    restore()
    # A row is put in behind the end, with a right hash but unsigned.
    ten.sql("INSERT INTO audit_events (%s) VALUES (%s)" % (COLUMNS, ", ".join("?" * len(rows[0]))), 11, *rows[0][1:2], "forged", *rows[0][3:])
    broken(ten, 11, "behind the end")
    restore()
    # The end is cut off; then the head is moved back as well.
    ten.sql("DELETE FROM audit_events WHERE seq > 8")
    broken(ten, 9, "missing at the end")
    ten.sql("UPDATE audit_head SET seq = 8, hash = ?", rows[7][-1])
    broken(ten, 8, "head of the chain is not signed")
    # With the right signature of an earlier time only a note from outside tells.
    restore()
    ten.sql("UPDATE audit_head SET seq = 10, hash = ?", rows[9][-1])
    noted = re.search(r'"anchor".*?"seq": ?(\d+), ?"hash": ?"([0-9a-f]{64})"', ten.log())
    assert noted, "the log has no anchor:" + ten.log()[-3000:]
    assert verify(ten, "--anchor", "%s:%s" % noted.groups())["valid"]
    broken(ten, int(noted[1]), "whose hash was noted", "--anchor", "%s:%s" % (noted[1], "0" * 64))
    broken(ten, 11, "was noted, the chain ends at 10", "--anchor", "12:" + "0" * 64)
    # A range from the middle is no break.
    assert verify(ten, "--from", "5", "--to", "8")["verified_range"] == {"start_seq": 5, "end_seq": 8}
    assert verify(ten, "--from", "2020-01-01T00:00:00Z")["events"] == 10
    assert ten.command("audit", "verify", "-c", ten.conf_path, "--from", "x").returncode == 1
    # The beginning is taken away without retention.
    ten.sql("DELETE FROM audit_events WHERE seq < 4")
    broken(ten, 1, "retention has not removed")
    # So is what stands where the next event belongs; the log and a metric tell it.
    restore()
    ten.sql("UPDATE audit_events SET seq = 11 WHERE seq = 10")
    toggle(ten, 1)
    ten.wait_log("somebody has changed it")
    ten.sql("UPDATE audit_events SET seq = 10 WHERE seq = 11")
    wait_chain(ten, 11)
    assert verify(ten)["valid"]


def test_a_pending_event_is_signed(server):
    """What is written and not yet chained cannot be changed unseen: the chain holds it, and verification tells."""
    server.stop()
    r = server.command("audit", "export", "-c", server.conf_path)
    assert r.returncode == 0, r.stderr
    assert server.sql("UPDATE audit_inbox SET actor_id = 'somebody else' WHERE action = 'data.exported'") == 1
    server.start()
    wait_until(lambda: server.sql("SELECT COUNT(*) FROM audit_events WHERE actor_id = 'somebody else'")[0][0] == 1)
    seq = server.sql("SELECT seq FROM audit_events WHERE actor_id = 'somebody else'")[0][0]
    broken(server, seq, "changed before it was chained")
    assert "an event was changed before it was chained" in server.log()


def test_another_key(ten):
    """Without the key the chain is whole, but signatures say nothing: exit code 3."""
    ten.env["ARAGORA_AUDIT_SIGNING_KEY"] = "5a" * 32
    found = verify(ten, code=3)
    assert found["valid"] and found["unknown_key_signatures"] >= 11
    ten.env["ARAGORA_AUDIT_SIGNING_KEY"] = "short"
    assert "audit.signing_key" in ten.command("audit", "verify", "-c", ten.conf_path).stderr


@pytest.mark.server({"audit": {"anchor_interval": "1s"}, "retention": {"audit_days": 30}})
def test_retention(server):
    """The beginning goes up to an anchor, retention leaves word, and what is left verifies; without its word it does not."""
    toggle(server, 4)
    wait_chain(server, STARTED + 4)
    wait_until(lambda: server.sql("SELECT MAX(seq) FROM audit_anchors")[0][0] >= STARTED + 4, what="an anchor by time")
    through = server.sql("SELECT MAX(seq) FROM audit_anchors")[0][0]
    anchors = server.sql("SELECT COUNT(*) FROM audit_anchors")[0][0]
    status = "/api/admin/schedulers/retention/status"
    wait_until(lambda: server.get(status).status_code == 200)
    assert server.get(status).json()["due_now"]["audit"] == 0
    # Anchors are signed with their time: made old, they are no longer ours.
    server.sql("UPDATE audit_anchors SET made_at = made_at - ?", 31 * DAY)
    broken(server, server.sql("SELECT MIN(seq) FROM audit_anchors")[0][0], "is not signed by us")
    due = server.get(status).json()["due_now"]["audit"]
    assert due == through
    assert server.post("/api/admin/schedulers/retention/cleanup").json()["audit"] == due
    server.sql("UPDATE audit_anchors SET made_at = made_at + ?", 31 * DAY)
    wait_until(lambda: server.sql("SELECT COUNT(*) FROM audit_events WHERE action = 'data.audit_retained'")[0][0] >= 1)
    toggle(server, 2)
    wait_until(lambda: not server.sql("SELECT COUNT(*) FROM audit_inbox")[0][0])
    found = verify(server)
    assert found["valid"] and found["retained_from_seq"] == through + 1 and anchors
    # One more from the beginning, by another hand.
    server.sql("DELETE FROM audit_events WHERE seq = ?", through + 1)
    assert not server.get("/api/audit/verify").json()["valid"]


@pytest.fixture
def node(tmp_path):
    """A server whose workers are killed."""
    s = Node(tmp_path / "node", {"server": {"workers": 2}}).start()
    yield s
    s.close()


def act(s):
    """The id of an audited act that was answered, or None."""
    try:
        r = s.post("/api/admin/maintenance/enable", {"reason": "r"}, timeout=5)
        return r.headers["X-Request-ID"] if r.status_code == 200 else None
    except requests.RequestException:
        return None


def test_kill_while_appending(node):
    """kill -9 of workers at any time: each act that was answered has its event, once, and the chain is whole."""
    done, stop = [], threading.Event()

    def work():
        while not stop.is_set():
            done.append(act(node))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for t in threads:
        t.start()
    for _ in range(4):
        seen = len(done)
        wait_until(lambda: len(list(filter(None, done[seen:]))) >= 10, timeout=60, what="acts")
        node.kill([node.workers()[0]["pid"]])
        wait_until(lambda: len(node.workers()) == 2, timeout=60, what="workers are back")
    stop.set()
    for t in threads:
        t.join()
    wait_until(lambda: not node.sql("SELECT COUNT(*) FROM audit_inbox")[0][0], what="all are chained")
    written = [row[0] for row in node.sql("SELECT correlation_id FROM audit_events WHERE action = 'admin.maintenance_enabled'")]
    assert set(filter(None, done)) <= set(written) and len(written) == len(set(written))
    assert verify(node)["valid"]


@pytest.mark.parametrize("point", [p for p in fault_points() if p.startswith("audit.")])
def test_kill_of_the_sealer(node, point):
    node.arm(point)
    first = wait_until(lambda: act(node), what="an act")
    assert node.wait_fired(point)
    second = wait_until(lambda: act(node), timeout=60, what="an act")
    wait_until(lambda: not node.sql("SELECT COUNT(*) FROM audit_inbox")[0][0], what="all are chained")
    written = [row[0] for row in node.sql("SELECT correlation_id FROM audit_events WHERE category = 'admin'")]
    assert first in written and second in written and len(set(written)) == len(written)
    assert verify(node)["valid"]


def test_two_nodes(postgres, redis_server, make_server):  # noqa: F811
    """Both append at once into one chain."""
    config = {"storage": {"dsn": postgres.database()}, "redis": {"url": redis_server.url()}}
    nodes = [make_server(config, env={"ARAGORA_AUDIT_SIGNING_KEY": "42" * 32}) for _ in range(2)]
    threads = [threading.Thread(target=toggle, args=(n, 40)) for n in nodes]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    events = wait_chain(nodes[0], 80)
    assert [e[0] for e in events] == list(range(1, len(events) + 1))
    assert sum(e[1].startswith("admin.maintenance") for e in events) == 80
    assert all(a[7] == b[6] for a, b in zip(events, events[1:]))
    assert [verify(n)["valid"] for n in nodes] == [True, True]
    assert verify(nodes[1])["unknown_key_signatures"] == 0


@pytest.mark.server(env={"ARAGORA_API_TOKEN": TOKEN})
def test_refusals(server):
    """Equal refusals become one event with a count; a refusal names route, address and nobody's token."""
    for i in range(20):
        assert server.get("/api/debates/leaked-%d?token=leaked-1" % i, headers={"Authorization": "Bearer leaked-2"}).status_code == 401
    head = {"Authorization": "Bearer " + TOKEN}

    def denied():
        return server.get("/api/audit/denied", headers=head).json()["denied_attempts"]
    wait_until(lambda: sum(e["details"].get("count", 1) for e in denied()) == 20, what="20 refusals")
    found = denied()
    assert len(found) < 20 and {(e["action"], e["outcome"], e["ip_address"]) for e in found} == {("access.denied", "denied", "127.0.0.1")}
    assert found[0]["resource_id"] == "/api/debates/{id}" and found[0]["details"]["status"] == 401
    assert "leaked" not in json.dumps(found)
    assert server.get("/api/audit/entries").status_code == 401


@pytest.mark.server({"audit": {"buffer": 3}}, env={"ARAGORA_API_TOKEN": TOKEN})
def test_overflow_is_told(server):
    """More different refusals at once than the buffer holds: counted and told, never silent."""
    head = {"Authorization": "Bearer " + TOKEN}
    routes = ["/api/debates", "/api/agents", "/api/receipts", "/api/ranking", "/api/leaderboard", "/api/search", "/api/audit/entries",
              "/api/audit/events", "/api/audit/stats", "/api/audit/denied", "/api/audit/report", "/api/history/debates"]

    def told():
        with requests.Session() as c:
            for path in routes:
                c.get(server.url + path, headers={"Authorization": "Bearer no"}, timeout=10)
        return server.get("/api/audit/entries", params={"action": "system.audit_overflow"}, headers=head).json()["total"]
    wait_until(told, what="word of the overflow")
    e = server.get("/api/audit/entries", params={"action": "system.audit_overflow"}, headers=head).json()["entries"][0]
    assert e["details"]["dropped"] >= 1 and e["outcome"] == "error"
    assert re.search(r"aragora_audit_dropped_total [1-9]", server.get("/metrics").text)


@pytest.mark.server({"auth": {"required": True, "password_memory": 65536, "password_passes": 1,
                              "jwt_secret": "a-secret-of-the-tests-with-more-than-32-characters"}}, env={"ARAGORA_API_TOKEN": TOKEN})
def test_an_organization_sees_its_own(server):
    """Two organizations: neither sees an event of the other or of the service; the operator sees all."""
    heads, orgs = [], []
    for name in ("ada", "bob"):
        r = server.post("/api/auth/register", {"email": name + "@example.org", "password": "Correct-horse-7-battery", "organization": name})
        assert r.status_code == 201, r.text
        heads.append({"Authorization": "Bearer " + r.json()["access_token"]})
        orgs.append(r.json()["organization"]["id"])
        assert server.post("/api/debates", {"task": "Of " + name, "rounds": 1}, headers=heads[-1]).status_code in (200, 201)
    operator = {"Authorization": "Bearer " + TOKEN}

    def ask(path, head, **params):
        return server.get("/api/audit/" + path, params=params, headers=head)
    wait_until(lambda: ask("entries", operator, action="debate.started").json()["total"] == 2, what="both are chained")
    assert ask("entries", operator, category="system").json()["total"] >= 1
    for head, own, other in ((heads[0], *orgs), (heads[1], *orgs[::-1])):
        found = ask("entries", head).json()
        assert found["total"] >= 2 and {e["org_id"] for e in found["entries"]} == {own}
        assert any(e["action"] == "debate.started" for e in found["entries"])
        for path in ("events", "denied", "stats", "report", "actor/system", "resource/" + other):
            r = ask(path, head)
            assert r.status_code == 200 and other not in r.text.replace("resource/" + other, "").replace('"resource_id":"%s"' % other, ""), path
        for fmt in ("json", "csv", "cef", "syslog", "jsonl"):
            assert own in ask("export", head, format=fmt).text and other not in ask("export", head, format=fmt).text
        refused = ask("entries", head, org_id=other)
        assert refused.status_code == 403 and refused.json()["code"] in ("FORBIDDEN", "PERMISSION_DENIED")
        assert "events" not in ask("verify", head).json() and ask("verify", head).json()["valid"] is True


def test_questions(ten):
    def ask(**params):
        return ten.get("/api/audit/entries", params=params).json()
    assert [e["seq"] for e in ask(limit=3)["entries"]] == [10, 9, 8] and ask(limit=3)["total"] == 10
    assert [e["seq"] for e in ask(limit=3, offset=8)["entries"]] == [2, 1]
    assert ask(action="admin.maintenance_disabled")["total"] == 4
    assert ask(category="admin")["total"] == 8 and ask(category="auth")["total"] == 0
    assert ask(actor="anonymous", outcome="success", resource_type="service", org="default")["total"] == 8
    assert ask(text="MAINTENANCE_en")["total"] == 4 and ask(text="%")["total"] == 0 and ask(text="'")["total"] == 0
    third = ask(limit=1, offset=7)["entries"][0]
    assert third["seq"] == 3 and ask(start_time=third["timestamp"], end_time="2100-01-01")["total"] == 8
    assert ask(end_time="2020-01-01T00:00:00Z")["total"] == 0
    for params, field in (({"category": "x"}, "category"), ({"outcome": "x"}, "outcome"), ({"start_date": "x"}, "start_date")):
        r = ten.get("/api/audit/events", params=params)
        assert r.status_code == 400 and r.json()["field"] == field
    events = ten.get("/api/audit/events", params={"limit": 2}).json()
    assert events["count"] == 2 and set(events["query"]) == {"start_date", "end_date", "limit", "offset"}
    stats = ten.get("/api/audit/stats").json()
    assert stats["total_events"] == 10 and stats["by_category"] == {"admin": 8, "security": 1, "system": 1} and stats["retention_days"] == 2555
    assert stats["oldest_event"] <= stats["newest_event"]
    actor = ten.get("/api/audit/actor/anonymous").json()
    assert actor["actor_id"] == "anonymous" and actor["total"] == 8 and actor["days"] == 30
    resource = ten.get("/api/audit/resource/none").json()
    assert resource == {"resource_id": "none", "entries": [], "total": 0, "days": 30}
    report = ten.get("/api/audit/report").json()["report"]
    assert report["integrity"]["valid"] is True and report["summary"]["total_events"] == 10
    assert {e["criterion"] for e in report["evidence"]} == {"CC6.1", "CC6.2", "CC6.3", "CC7.2"}
    assert ten.post("/api/audit/verify", {"start_seq": 4, "end_seq": 6}).json()["verified_range"] == {"start_seq": 4, "end_seq": 6}


def test_exports(server):
    """Every format holds every event; what would run in a spreadsheet or break a line does not."""
    evil = '=HYPERLINK("http://x")|a=b\\]\n"q"'
    server.post("/api/admin/maintenance/enable", {"reason": evil})
    wait_chain(server, STARTED + 1)

    def export(fmt):
        r = server.get("/api/audit/export", params={"format": fmt, "category": "admin"})
        assert r.status_code == 200 and r.headers["X-Audit-Event-Count"] == "1" and "attachment" in r.headers["Content-Disposition"]
        return r.text
    assert json.loads(export("json"))["events"][0]["reason"] == evil
    assert json.loads(export("jsonl"))["reason"] == evil
    row = list(csv.DictReader(io.StringIO(export("csv"), newline="")))[0]
    assert row["reason"] == "'" + evil and row["action"] == "admin.maintenance_enabled" and len(row["event_hash"]) == 64
    cef = export("cef")
    assert cef.count("\n") == 1 and re.match(r"CEF:0\|Aragora\|aragorad\|[0-9.]+\|admin\.maintenance_enabled\|admin\.maintenance_enabled\|3\|rt=\d+ ", cef)
    assert r'reason=\=HYPERLINK("http://x")|a\=b\\]\n"q"' in cef and " src=127.0.0.1 " in cef
    line = export("syslog")
    assert line.count("\n") == 1
    assert re.match(r'<110>1 \d{4}-\d\d-\d\dT\S+Z \S+ aragorad - admin\.maintenance_enabled \[audit@32473 seq="3" ', line)
    assert json.loads(export("soc2"))["summary"]["total_events"] == 1
    assert server.get("/api/audit/export", params={"format": "pdf"}).status_code == 400
    assert server.post("/api/audit/export", {"format": "csv"}).json()["field"] == "start_date"
    r = server.post("/api/audit/export", {"start_date": "2020-01-01", "end_date": "2100-01-01", "format": "json"})
    assert r.status_code == 200
    wait_until(lambda: server.get("/api/audit/entries", params={"action": "data.exported"}).json()["total"] == 7)
    out = server.folder / "audit.csv"
    done = server.command("audit", "export", "-c", server.conf_path, "--format", "csv", "--category", "admin", "-o", out)
    assert done.returncode == 0 and len(list(csv.DictReader(open(out, newline="")))) == 1
    wait_until(lambda: server.get("/api/audit/entries", params={"action": "data.exported", "text": "csv"}).json()["total"] == 2)
    told = server.get("/api/audit/entries", params={"action": "data.exported"}).json()["entries"][0]
    assert told["actor_kind"] == "command" and told["org_id"] == ""


def test_debates_and_commands_leave_events(server):
    """From start to shutdown: what happens to a debate, exports, commands, the end."""
    d = server.post("/api/debates", {"task": "Keep it?", "rounds": 1}).json()["debate_id"]
    wait_until(lambda: server.get("/api/debates/%s/status" % d).json()["status"] == "completed")
    server.post("/api/debates/%s/cancel" % d)
    assert server.get("/api/debates/export").status_code == 200
    assert server.command("backup", "-c", server.conf_path).returncode == 0

    def actions(**params):
        return [e["action"] for e in server.get("/api/audit/entries", params=params).json()["entries"]]
    wait_until(lambda: "admin.backup_created" in actions() and "data.exported" in actions(), what="events")
    assert actions(resource=d) == ["debate.completed", "debate.started"], "a cancellation in vain is none"
    assert "Keep it?" not in server.get("/api/audit/export").text
    assert server.stop() == 0
    # Written while the workers ended, chained by the next start.
    assert ("system.shutdown",) in server.sql("SELECT action FROM audit_inbox UNION SELECT action FROM audit_events")
    server.start()
    wait_until(lambda: actions(category="system") == ["system.startup", "system.shutdown", "system.startup"], what="a second start")
    assert verify(server)["valid"]
