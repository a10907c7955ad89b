# SPDX-License-Identifier: MIT
"""Retention: receipts by their schedule, other rows by the settings, by hand and by the clerk, once per cluster, also when
the process that is at it dies. Rows are made old by shifting their times in the store."""
import time

import pytest

import talk
from conftest import merged, wait_until
from crash import Node, fault_points
from receiver import Receiver
from talk import metric

DAY = 86400000
STATUS = "/api/admin/schedulers/%s/status"
CLEANUP = "/api/admin/schedulers/%s/cleanup"


def rows(server, table, where="1 = 1"):
    return server.sql("SELECT COUNT(*) FROM %s WHERE %s" % (table, where))[0][0]


def run(server, *statements):
    for s in statements:
        server.sql(s)


def debate(server, **body):
    d = server.post("/api/debates", {"task": "Keep or drop?", "rounds": 1, **body}).json()["debate_id"]
    wait_until(lambda: server.get("/api/debates/%s/status" % d).json()["status"] in ("completed", "failed"))
    return d


def status(server, job="receipt-retention"):
    """Its row is made by the clerk within a second of the first start."""
    wait_until(lambda: server.get(STATUS % job).status_code == 200)
    return server.get(STATUS % job).json()


def test_receipts(server):
    s = status(server)
    assert s["running"] is True and s["interval_hours"] == 24 and s["retention_days"] == 2555
    assert s["stats"] == {"total_runs": 0, "total_receipts_deleted": 0, "failures": 0, "success_rate": 1.0}
    assert s["last_result"] is None and s["next_run"] and s["due_now"] == {"receipts": 0}
    ids = [debate(server) for _ in range(3)]
    now = int(time.time() * 1000)
    run(server, "UPDATE receipts SET created_at = %d WHERE debate_id = '%s'" % (now - 2556 * DAY, ids[0]),
        "UPDATE receipts SET created_at = %d WHERE debate_id = '%s'" % (now - 2554 * DAY, ids[1]))
    receipt = server.get("/api/debates/%s/receipt" % ids[0]).json()
    for debate_id in ids[:2]:
        number = server.get("/api/debates/%s/receipt" % debate_id).json()["receipt_id"]
        assert server.post("/api/receipts/%s/share" % number).status_code in (200, 201)
        run(server, "INSERT INTO receipt_stamps VALUES ('%s', '%s', 'default', 'default', 'x', 'tsa', 1)" % (number, debate_id))
    assert status(server)["due_now"] == {"receipts": 1}
    assert server.post((CLEANUP % "receipt-retention") + "?dry_run=true").json() == {"dry_run": True, "due_now": {"receipts": 1}}
    assert rows(server, "receipts") == 3
    r = server.post(CLEANUP % "receipt-retention")
    assert r.status_code == 200, r.text
    assert r.json() == merged(r.json(), {"receipts_deleted": 1, "retention_days": 2555, "success": True, "error": None})
    assert r.json()["started_at"] <= r.json()["completed_at"] and r.json()["duration_seconds"] >= 0
    assert server.get("/api/debates/%s/receipt" % ids[0]).status_code == 404
    assert [server.get("/api/debates/%s/receipt" % d).status_code for d in ids[1:]] == [200, 200]
    for table in ("receipt_stamps", "receipt_shares"):
        assert server.sql("SELECT debate_id FROM " + table) == [(ids[1],)], "they go with their receipt"
    assert server.get("/api/debates/" + ids[0]).status_code == 200
    assert server.sql("SELECT receipt_id, debate_id, content_hash, reason FROM receipt_deletions") == [
        (receipt["receipt_id"], ids[0], receipt["content_hash"], "retention_expired")]
    s = status(server)
    assert s["stats"] == {"total_runs": 1, "total_receipts_deleted": 1, "failures": 0, "success_rate": 1.0}
    assert s["last_result"] == r.json() and s["in_progress"] is False
    assert metric(server, "aragora_receipt_cleanup_total") == metric(server, "aragora_receipts_deleted_total") == 1
    assert metric(server, "aragora_receipt_cleanup_duration_seconds_count") == 1


@pytest.mark.server({"retention": {"receipt_days": 0}})
def test_for_ever(server):
    d = debate(server)
    run(server, "UPDATE receipts SET created_at = 1")
    status(server)
    assert server.post(CLEANUP % "receipt-retention").json()["receipts_deleted"] == 0
    assert server.get("/api/debates/%s/receipt" % d).status_code == 200


BATCH = ("INSERT INTO batches (id, org_id, workspace_id, user_id, kind, status, total, max_parallel, open, created_at, completed_at,"
         " updated_at) VALUES (%s, 'default', 'default', 'a', 'batch', '%s', 1, 1, %d, 1, %s, 1)")
ALL = {"retention": {"event_days": 30, "journal_days": 30, "usage_days": 30, "batch_days": 30}, "debates": {"max_concurrent": 10},
       "deliveries": {"allow_private": ["127.0.0.0/8"], "retry_base": "1h", "retry_cap": "1h"}}


@pytest.mark.server(ALL)
def test_the_rest(server):
    """What is old goes; what a debate that waits, or a delivery that is not out, needs stays, however old."""
    status(server, "retention")
    with Receiver() as receiver:
        receiver.by_path["/never"] = [500] * 10
        old, undelivered = debate(server), debate(server, callback_url=receiver.url("/never"))
        delivered = debate(server, callback_url=receiver.url("/hook"))
        fresh = debate(server)
        receiver.wait(2)
        wait_until(lambda: rows(server, "deliveries", "state = 'delivered'") == 1 and rows(server, "deliveries", "state = 'retrying'") == 1)
    for n, d in enumerate((old, undelivered, delivered)):
        run(server, "UPDATE debates SET completed_at = %d WHERE id = '%s'" % (1000 + n, d))
    run(server, "UPDATE deliveries SET delivered_at = 1000 WHERE state = 'delivered'",
        "INSERT INTO idempotency_keys VALUES ('default', 'anonymous', 'debates', 'old', 'h', '%s', 1000)" % old,
        "INSERT INTO idempotency_keys VALUES ('default', 'anonymous', 'debates', 'open', 'h', 'waiting', 1000)",
        "INSERT INTO idempotency_keys VALUES ('default', 'anonymous', 'debates', 'new', 'h', '%s', %d)" % (fresh, time.time() * 1000),
        # A debate of a newer engine: it waits here for ever.
        "INSERT INTO debates (id, org_id, workspace_id, user_id, slug, task, status, engine_version, plan, total_rounds, created_at,"
        " updated_at) VALUES ('waiting', 'default', 'default', 'a', 's', 't', 'queued', 999, '{}', 1, %d, 1000)" % (time.time() * 1000),
        "INSERT INTO debate_steps (debate_id, key, state, started_at) VALUES ('waiting', 'r0', 'done', 1000)",
        "INSERT INTO usage_ledger VALUES ('waiting', 's', 'default', 'default', 'a', 'x', 'p', 'm', 1, 1, 1, 1000)",
        "INSERT INTO usage_ledger VALUES ('%s', 's', 'default', 'default', 'a', 'x', 'p', 'm', 1, 1, 1, 1000)" % old,
        "INSERT INTO delivery_endpoints VALUES ('webhook:gone', 1, 0, 1000)",
        *(BATCH % ("'%s'" % name, state, opened, ended) for name, state, opened, ended in (
            ("ended", "completed", 0, "1000"), ("recent", "completed", 0, "%d" % (time.time() * 1000)), ("under-way", "processing", 1, "1000"))),
        *("INSERT INTO batch_items (batch_id, n, org_id, workspace_id, body, state, created_at) VALUES ('%s', 0, 'default', 'default',"
          " '{}', 'done', 1)" % name for name in ("ended", "recent")),
        *("INSERT INTO %s_shares (token_hash, %s created_at, expires_at, %s, created_by) VALUES ('%s', %s 1, %d, 0, 'a')" % (
            kind, "receipt_id, debate_id, org_id, workspace_id," if kind == "receipt" else "debate_id, org_id, workspace_id,",
            "max_accesses" if kind == "receipt" else "max_viewers", name,
            "'r', 'd', 'default', 'default'," if kind == "receipt" else "'d', 'default', 'default',", expires)
          for kind in ("receipt", "debate") for name, expires in (("out", 1000), ("lately", time.time() * 1000 - 1000))))
    before = {d: rows(server, "debate_events", "debate_id = '%s'" % d) for d in (undelivered, fresh)}
    due = status(server, "retention")["due_now"]
    assert due == {"events": 2, "journals": 2, "usage": 1, "idempotency_keys": 1, "deliveries": 1, "dead_letters": 0, "endpoints": 1,
                   "batches": 1, "receipt_shares": 1, "debate_shares": 1, "audit": 0}
    r = server.post(CLEANUP % "retention").json()
    assert r["success"] is True and {k: r[k] for k in due} == due
    for d in (old, delivered):
        assert rows(server, "debate_events", "debate_id = '%s'" % d) == rows(server, "debate_steps", "debate_id = '%s'" % d) == 0
        assert server.get("/api/debates/" + d).json()["final_answer"]
    for d, n in before.items():
        assert rows(server, "debate_events", "debate_id = '%s'" % d) == n and rows(server, "debate_steps", "debate_id = '%s'" % d) > 0
    assert rows(server, "deliveries") == 1 and rows(server, "delivery_attempts") == 1
    assert rows(server, "debate_steps", "debate_id = 'waiting'") == 1 and rows(server, "usage_ledger", "debate_id = 'waiting'") == 1
    assert {k for k, in server.sql("SELECT key FROM idempotency_keys")} == {"open", "new"}
    assert {k for k, in server.sql("SELECT id FROM batches")} == {"recent", "under-way"}
    assert {k for k, in server.sql("SELECT batch_id FROM batch_items")} == {"recent"}
    for kind in ("receipt", "debate"):
        assert server.sql("SELECT token_hash FROM %s_shares" % kind) == [("lately",)]
    assert set(status(server, "retention")["due_now"].values()) == {0}
    assert server.get("/metrics").text.count('aragora_retention_deleted_total{rule="events"} 2') == 1


@pytest.mark.server({"retention": {"interval": "1s"}})
def test_the_clerk_runs_it(server):
    status(server, "retention")
    run(server, "INSERT INTO delivery_endpoints VALUES ('webhook:gone', 1, 0, 1000)", "UPDATE jobs SET next_at = 0")
    wait_until(lambda: rows(server, "delivery_endpoints") == 0)
    wait_until(lambda: status(server, "retention")["stats"]["total_runs"] >= 2)
    assert status(server, "retention")["stats"]["failures"] == 0


def test_one_run_at_a_time(server):
    status(server)
    run(server, "UPDATE jobs SET owner = 'somebody', epoch = epoch + 1")
    # Nobody lives under that name on this node: the clerk gives it back and runs it.
    wait_until(lambda: status(server)["stats"] == merged(status(server)["stats"], {"total_runs": 2, "failures": 1, "success_rate": 0.5}))


def test_pages(server):
    """More rows than a page holds."""
    status(server, "retention")
    run(server, *("INSERT INTO delivery_endpoints VALUES ('webhook:%d', 1, 0, 1000)" % i for i in range(450)))
    assert server.post(CLEANUP % "retention").json()["endpoints"] == 450
    assert rows(server, "delivery_endpoints") == 0


@pytest.mark.parametrize("point", [p for p in fault_points() if p.startswith("jobs.")])
def test_kill_at_each_point(tmp_path, point):
    node = Node(tmp_path / "node", {"server": {"workers": 3}})
    node.start()
    try:
        status(node, "retention")
        run(node, "INSERT INTO delivery_endpoints VALUES ('webhook:gone', 1, 0, 1000)")
        node.arm(point)
        run(node, "UPDATE jobs SET next_at = 0 WHERE name = 'retention'")
        wait_until(lambda: not (node.arms / point).exists(), 30, "nobody died")
        wait_until(lambda: rows(node, "delivery_endpoints") == 0 and rows(node, "jobs", "owner <> ''") == 0 and
                   rows(node, "jobs", "name = 'retention' AND runs > failures") == 1, 30, "the job was not done")
        assert rows(node, "jobs", "name = 'retention' AND failures <= 1") == 1
    finally:
        node.close()


@pytest.mark.server({"retention": {"event_days": 1}})
def test_streams_of_a_debate_whose_log_is_gone(server):
    """Nobody waits for what will not come: an EventSource is told to stay away, a socket gets the state."""
    status(server, "retention")
    d = debate(server)
    run(server, "UPDATE debates SET completed_at = 1000")
    assert server.post(CLEANUP % "retention").json()["events"] == 1
    page = server.get("/api/debates/%s/events" % d).json()
    assert page["events"] == [] and page["has_more"] is False and page["last_seq"] > 0
    assert server.get("/api/debates/%s/events?stream=1" % d).status_code == 204

    async def state(query):
        async with talk.socket(server, "?debate_id=%s%s" % (d, query)) as k:
            return await k.until("sync")

    for query in ("", "&after_seq=0", "&after_seq=3"):
        assert talk.run(state(query))
    assert "the log cannot be read" not in server.log()
