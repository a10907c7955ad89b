# SPDX-License-Identifier: MIT
"""Batches: each item becomes one debate whatever dies in between, no more run side by side than was asked for, and the
end is told once."""
import pytest

from conftest import wait_until
from crash import Node, fault_points
from receiver import Receiver, verify_signature

CONFIG = {"server": {"workers": 2}, "debates": {"max_concurrent": 20},
          "deliveries": {"allow_private": ["127.0.0.0/8"], "retry_base": "50ms", "timeout": "2s"}}
DEMO = ["demo", "demo"]
SECRET = "a secret of the receiver"
POINTS = [p for p in fault_points() if p.startswith("batch.")]


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """Dying again and again is part of the test."""
    n = Node(tmp_path_factory.mktemp("batch") / "node", CONFIG)
    n.start()
    yield n
    n.close()


def items(n, **more):
    return [{"question": "Question %d?" % i, "agents": DEMO, "rounds": 1, **more} for i in range(n)]


def submit(node, code=200, **body):
    r = node.ask("POST", "/api/debates/batch", body)
    assert r.status_code == code, r.text
    return r.json()


def batch(node, ident, tail="status"):
    r = node.ask("GET", "/api/debates/batch/%s/%s" % (ident, tail))
    assert r.status_code == 200, r.text
    return r.json()


def wait_batch(node, ident):
    return wait_until(lambda: (b := batch(node, ident))["completed_at"] and b, 60, "end of the batch", 0.05)


def own(node, ident):
    """Debates of a batch: (id, status, started_at, completed_at)."""
    return node.sql("SELECT id, status, started_at, completed_at FROM debates WHERE metadata LIKE ?", "%" + ident + "%")


def check_batch(node, ident, n):
    b = wait_batch(node, ident)
    assert b["status"] == "completed" and b["completed"] == b["total_items"] == n, b
    assert b["progress_percent"] == 100 and not b["queued"] and not b["running"]
    debates = own(node, ident)
    assert len(debates) == n and {d[1] for d in debates} == {"completed"}
    assert {i["debate_id"] for i in b["items"]} == {d[0] for d in debates}
    return b


def test_from_begin_to_end(node):
    with Receiver() as receiver:
        answer = submit(node, items=items(5) + [{"task": "First?", "agents": DEMO, "rounds": 1, "priority": "high"}],
                        max_parallel=1, webhook_url=receiver.url("/done"), webhook_secret=SECRET)
        ident = answer["batch_id"]
        assert answer["items_queued"] == 6 and [j["status"] for j in answer["jobs"]] == ["queued"] * 6
        b = check_batch(node, ident, 6)
        told = receiver.wait(1)[0]
    assert told.json["event"] == "batch_completed" and verify_signature(told.json, told.headers["X-Webhook-Signature"], SECRET)
    assert told.json["data"]["batch_id"] == ident and told.json["data"]["status"] == "completed"
    assert len(told.json["data"]["items"]) == 6
    # The one of high priority first, and one after the other.
    order = sorted(own(node, ident), key=lambda d: d[2])
    assert order[0][0] == b["items"][5]["debate_id"]
    assert all(first[3] <= then[2] for first, then in zip(order, order[1:]))
    results = batch(node, ident, "results")["results"]
    assert all(i["result"]["final_answer"] and i["result"]["status"] for i in results)
    assert node.get("/api/debates/" + b["items"][0]["debate_id"]).json()["metadata"]["batch_id"] == ident
    listed = node.get("/api/debates/batch", params={"status": "completed"}).json()
    assert ident in [x["batch_id"] for x in listed["batches"]]
    queue = node.get("/api/debates/queue/status").json()
    assert queue["total_batches"] == sum(queue["status_counts"].values()) >= 1
    assert node.post("/api/debates/batch/%s/cancel" % ident).status_code == 400
    assert node.delete("/api/debates/batch/" + ident).status_code == 200
    assert node.get("/api/debates/batch/" + ident).status_code == 404


@pytest.mark.parametrize("point", POINTS)
def test_death(node, point):
    """Each item becomes one debate, and the end is told once."""
    with Receiver() as receiver:
        node.arm(point)
        ident = submit(node, items=items(4), max_parallel=2, webhook_url=receiver.url())["batch_id"]
        assert node.wait_fired(point)
        check_batch(node, ident, 4)
        receiver.wait(1)
        wait_until(lambda: node.sql("SELECT state FROM deliveries WHERE debate_id = ?", ident) == [("delivered",)],
                   what="one delivery")


def test_it_is_rows(node):
    """Killed with all processes and started again it goes on."""
    ident = submit(node, requests=items(8), max_concurrent=3)["batch_id"]
    wait_until(lambda: batch(node, ident)["completed"] >= 1, what="the first debate", interval=0.01)
    node.kill_all()
    node.start()
    check_batch(node, ident, 8)
    running = sorted([(d[2], 1) for d in own(node, ident)] + [(d[3], -1) for d in own(node, ident)])
    most = now = 0
    for _, change in running:
        now += change
        most = max(most, now)
    assert most <= 3


def test_cancel_and_retry(node):
    ident = submit(node, items=items(30), max_parallel=2)["batch_id"]
    wait_until(lambda: batch(node, ident)["completed"], what="the first debate", interval=0.01)
    assert node.post("/api/debates/batch/%s/cancel" % ident).json()["status"] == "cancelled"
    b = wait_batch(node, ident)
    assert b["status"] == "cancelled" and b["cancelled"] + b["completed"] == 30 and b["cancelled"] > 0
    done = {i["item_id"]: i["debate_id"] for i in b["items"] if i["status"] == "completed"}
    again = len(done) + 3
    node.sql("DELETE FROM batch_items WHERE batch_id = ? AND n >= ? AND state <> 'completed'", ident, again)
    left = len(batch(node, ident)["items"])
    node.sql("UPDATE batches SET total = ? WHERE id = ?", left, ident)
    assert node.post("/api/debates/batch/%s/retry" % ident).status_code == 200
    b = wait_batch(node, ident)
    assert b["status"] == "completed" and b["completed"] == left > len(done)
    assert done.items() <= {i["item_id"]: i["debate_id"] for i in b["items"]}.items(), "what was completed is not asked again"


def held(node):
    """A batch whose only debate stands still, as (batch, debate)."""
    def try_it():
        ident = submit(node, items=items(1, rounds=3))["batch_id"]
        debate = wait_until(lambda: batch(node, ident)["items"][0]["debate_id"], what="its debate", interval=0.005)
        if node.post("/api/debates/%s/pause" % debate).status_code != 200:
            return None
        # Calls under way end first, and with them it may all be over.
        status = wait_until(lambda: (d := node.get("/api/debates/" + debate).json()["status"]) not in ("running", "pending", "created")
                            and d, what="a debate that stands still or has ended")
        return status == "paused" and (ident, debate)

    return wait_until(try_it, 60, "a debate that stands still")


def test_what_runs_is_stopped_by_whoever_is_left(node):
    """Cancelled by somebody who died before he told what ran: of that the store has the first half only."""
    ident, debate = held(node)
    node.sql("UPDATE batches SET status = 'cancelled', epoch = epoch + 1 WHERE id = ?", ident)
    b = wait_batch(node, ident)
    assert b["status"] == "cancelled" and b["cancelled"] + b["completed"] == 1


def test_only_so_many_are_open_at_once(node):
    ident, debate = held(node)
    for i in range(99):
        for table, columns in (("batch_items", "batch_id, n, body, state, debate_id, created_at"),  # without items it would end
                               ("batches", "id, kind, status, total, max_parallel, open, created_at, updated_at, user_id")):
            key = columns.split(",")[0]
            node.sql("INSERT INTO %s (org_id, workspace_id, %s) SELECT org_id, workspace_id, %s FROM %s WHERE %s = ?"
                     % (table, columns, columns.replace(key, "'held%d'" % i, 1), table, key), ident)
    assert submit(node, 429, items=items(1))["code"] == "RATE_LIMITED"
    node.sql("DELETE FROM batches WHERE id LIKE 'held%'")
    node.sql("DELETE FROM batch_items WHERE batch_id LIKE 'held%'")
    node.post("/api/debates/%s/resume" % debate)
    check_batch(node, submit(node, items=items(1))["batch_id"], 1)


def test_a_bad_one_fails_alone(node):
    """What was good when it came in and is not any more: its item tells why."""
    ident = submit(node, items=items(12), max_parallel=1)["batch_id"]
    assert node.sql("UPDATE batch_items SET body = '{\"task\": \"\"}' WHERE batch_id = ? AND n = 11 AND state = 'queued'", ident)
    b = wait_batch(node, ident)
    assert b["status"] == "partial" and b["failed"] == 1 and b["completed"] == 11 and "empty" in b["items"][11]["error"], b


def test_bad_bodies(node):
    answer = submit(node, 400, items=items(2) + [{"question": "", "agents": DEMO}, 7, {"question": "x?", "rounds": 99,
                                                                                       "priority": "soon"}], max_parallel=51)
    fields = {e["field"] for e in answer["errors"]}
    assert {"items[3]", "items[4].rounds", "items[4].priority", "max_parallel"} <= fields, fields
    assert any(f.startswith("items[2].") for f in fields)
    assert submit(node, 400, items=[])["field"] == "items"
    assert submit(node, 400, items=items(1, callback_url="https://example.org/x", callback_secret="s" * 32))["field"] == "items[0].callback_url"
    assert submit(node, 400, items=items(1001))["field"] == "items"
    for url in ("http://169.254.169.254/latest", "http://10.0.0.1/", "ftp://example.org/x"):
        assert submit(node, 400, items=items(1), webhook_url=url)["field"] == "webhook_url"
    for path, method in (("status", "GET"), ("cancel", "POST"), ("retry", "POST")):
        assert node.request(method, "/api/debates/batch/nothing/" + path).status_code == 404


def test_the_same_request_twice(node):
    body, headers = {"items": items(2)}, {"Idempotency-Key": "one-and-the-same"}
    first, again = (node.post("/api/debates/batch", body, headers=headers).json() for _ in range(2))
    assert first.get("batch_id") == again.get("batch_id") is not None, (first, again)
    assert node.post("/api/debates/batch", {"items": items(3)}, headers=headers).status_code == 422
    check_batch(node, first["batch_id"], 2)
