# SPDX-License-Identifier: MIT
"""Deliveries: callback_url of a debate, signature, order, retry, dead letters, breaker, what may be called, and that a
delivery has one recorded outcome whatever dies around it."""
import hashlib
import hmac
import os
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from signal import SIGHUP, SIGTERM

import pytest

from conftest import binary, merged, wait_until
from crash import Node, fault_points
from receiver import Receiver, verify_signature
from talk import metric

SECRET = "a secret of the receiver"
FAST = {"deliveries": {"allow_private": ["127.0.0.0/8"], "retry_base": "50ms", "retry_cap": "400ms", "timeout": "2s"}}
TASK = "Should we cache sessions in Redis? Größe 😀 \"quoted\""


@pytest.fixture
def receiver():
    with Receiver() as r:
        yield r


def debate(server, url, secret=SECRET, **body):
    body = {"task": TASK, "rounds": 1, "callback_url": url, **body}
    if secret is not None:
        body["callback_secret"] = secret
    r = server.post("/api/debates", body)
    assert r.status_code == 200, r.text
    return r.json()["debate_id"]


def deliveries(server, debate_id):
    return server.get("/api/debates/%s/deliveries" % debate_id).json()["deliveries"]


def settled(server, debate_id, status="DELIVERED", timeout=30):
    def look():
        found = deliveries(server, debate_id)
        return found[0] if found and found[0]["status"] == status else None
    return wait_until(look, timeout, "delivery %s: %s" % (status, deliveries(server, debate_id)))


# ---- what is sent ----

@pytest.mark.server(FAST)
def test_a_delivery_belongs_to_the_trace_of_its_debate(server, receiver):
    """W3C Trace Context: one trace per debate, whatever process sends, and a span per attempt, linked in the log."""
    receiver.answers = [500]
    d = debate(server, receiver.url())
    settled(server, d)
    sent = [r.headers["traceparent"].split("-") for r in receiver.wait(2)]
    digest = hashlib.sha256(d.encode()).hexdigest()
    assert [s[:2] + s[3:] for s in sent] == [["00", digest[:32], "01"]] * 2 and sent[0][2] != sent[1][2]
    spans = {l["span_id"]: l for l in server.log_lines() if l["message"] == "call" and l["component"] == "trace"}
    for s in sent:
        assert spans[s[2]]["parent_id"] == digest[32:48] and spans[s[2]]["trace_id"] == s[1]


@pytest.mark.server(FAST)
def test_signed_callback(server, receiver):
    d = debate(server, receiver.url("/hook?token=1"))
    r = receiver.wait(1)[0]
    row = settled(server, d)
    assert r.path == "/hook?token=1"
    h, p = r.headers, r.json
    # The receiver's own code, and an HMAC over the bytes as they came.
    assert verify_signature(p, h["X-Webhook-Signature"], SECRET)
    assert h["X-Webhook-Signature"] == "sha256=" + hmac.new(SECRET.encode(), r.body, hashlib.sha256).hexdigest()
    assert h["X-Aragora-Signature"] == h["X-Webhook-Signature"]
    stamped = h["X-Webhook-Timestamp"].encode() + b"." + r.body
    assert h["X-Webhook-Signature-V2"] == "t=%s,v1=%s" % (
        h["X-Webhook-Timestamp"], hmac.new(SECRET.encode(), stamped, hashlib.sha256).hexdigest())
    assert abs(int(h["X-Webhook-Timestamp"]) - time.time()) < 60
    assert h["Content-Type"] == "application/json" and h["User-Agent"] == "Aragora-Webhooks/1.0"
    assert h["X-Webhook-Event-Type"] == h["X-Aragora-Event"] == p["event"] == "debate_end"
    assert r.id == h["X-Aragora-Delivery"] == h["Idempotency-Key"] == p["delivery_id"] == row["delivery_id"]
    assert h["X-Aragora-Correlation-ID"] == d
    full = server.get("/api/debates/" + d).json()
    assert p["data"]["debate_id"] == d and p["data"]["status"] == "completed" and p["data"]["task"] == TASK
    assert p["data"]["result"] == full["final_answer"] and p["data"]["receipt_id"] == full["receipt_id"]
    assert p["data"]["confidence"] == full["confidence"] and isinstance(p["data"]["confidence"], float)
    assert full["callback"] == merged(full["callback"], {
        "url": receiver.url("/hook?token=1"), "status": "DELIVERED", "attempts": 1, "last_status_code": 200,
        "delivery_id": r.id, "signed": True})
    assert [t["outcome"] for t in row["tries"]] == ["delivered"] and row["payload"] == p
    assert len(receiver.requests) == 1
    assert metric(server, 'aragora_webhook_deliveries_total{status="delivered",event_type="debate_end"}') == 1
    assert metric(server, "aragora_webhook_delivery_latency_seconds_count") == 1
    # The log tells where to, but nothing of the path, which may be secret.
    assert "token=1" not in server.log() and SECRET not in server.log()


@pytest.mark.server(merged(FAST, {"deliveries": {"secret": "the secret of the server"}}))
def test_secret_of_the_server(server, receiver):
    debate(server, receiver.url(), secret=None)
    debate(server, receiver.url("/own"))
    for r in receiver.wait(2):
        secret = SECRET if r.path == "/own" else "the secret of the server"
        assert verify_signature(r.json, r.headers["X-Webhook-Signature"], secret)


@pytest.mark.server(FAST)
def test_without_secret_nothing_is_signed(server, receiver):
    d = debate(server, receiver.url(), secret=None)
    r = receiver.wait(1)[0]
    assert not [name for name in r.headers if "signature" in name.lower()]
    assert settled(server, d) and server.get("/api/debates/" + d).json()["callback"]["signed"] is False


def test_a_missing_key_is_not_the_receivers_fault(make_server, receiver):
    """Fields were brought under a new key before the servers knew it: that costs neither attempts nor the endpoint."""
    old, new = (os.urandom(32).hex() for _ in range(2))
    server = make_server(merged(FAST, {"deliveries": {"max_retries": 0, "breaker_failures": 1}, "providers": {"demo": {"delay_ms": 1500}}}),
                         env={"ARAGORA_ENCRYPTION_KEY": old})
    d = debate(server, receiver.url())
    server.env["ARAGORA_ENCRYPTION_KEY"] = new + "," + old
    server.command("encrypt", "-c", server.conf_path, "--all", "--execute", check=True)
    row = settled(server, d, "RETRYING")
    assert "Key not found" in row["last_error"] and receiver.requests == []
    server.stop()
    server.start()
    assert settled(server, d) and len(receiver.requests) == 1


@pytest.mark.server(FAST)
def test_log_tells_no_token(server, receiver):
    """Path and query of a URL may be a secret, also where the query follows the host at once."""
    for url in (receiver.url("/s3cret"), receiver.url("").rstrip("/") + "?token=s3cret/1"):
        assert settled(server, debate(server, url))
        server.wait_log(r'"message":"delivered".*"host":"127\.0\.0\.1:%d"' % receiver.port)
    assert "s3cret" not in server.log()


@pytest.mark.server(FAST)
def test_secret_is_sealed_in_the_store(server, receiver):
    debate(server, receiver.url())
    receiver.wait(1)
    sealed = server.sql("SELECT secret FROM debate_callbacks")[0][0]
    assert '"_encrypted"' in sealed and SECRET not in sealed
    for path in server.data_dir.glob("*.db*"):
        assert SECRET.encode() not in path.read_bytes(), path


@pytest.mark.server(merged(FAST, {"providers": {"demo": {"delay_ms": 3000}}}))
def test_cancelled_debate(server, receiver):
    d = debate(server, receiver.url())
    wait_until(lambda: server.get("/api/debates/%s/status" % d).json()["status"] == "running")
    assert server.get("/api/debates/" + d).json()["callback"]["status"] is None
    assert server.post("/api/debates/%s/cancel" % d, {"reason": "no longer needed"}).status_code == 200
    data = receiver.wait(1)[0].json["data"]
    assert data["status"] == "cancelled" and data["error"] == "no longer needed" and "receipt_id" not in data


@pytest.mark.server(merged(FAST, {"debates": {"timeout": "1s"}, "providers": {"demo": {"delay_ms": 5000}}}))
def test_failed_debate(server, receiver):
    debate(server, receiver.url())
    data = receiver.wait(1)[0].json["data"]
    assert data["status"] == "failed" and "time limit" in data["error"]


@pytest.mark.server(FAST)
def test_debate_without_callback(server):
    d = server.post("/api/debates", {"task": "Alone?", "rounds": 1}).json()["debate_id"]
    wait_until(lambda: server.get("/api/debates/" + d).json()["status"] == "completed")
    assert "callback" not in server.get("/api/debates/" + d).json() and deliveries(server, d) == []


# ---- retry ----

@pytest.mark.server(FAST)
def test_retries_say_the_same(server, receiver):
    receiver.answers = [500, 404, 302, "cut", 200]
    d = debate(server, receiver.url())
    row = settled(server, d)
    assert [t["outcome"] for t in row["tries"]] == ["failed", "failed", "failed", "uncertain", "delivered"]
    assert [t["status_code"] for t in row["tries"]] == [500, 404, 302, None, 200]
    assert len(receiver.requests) == 5  # a redirect is not followed
    assert len({r.body for r in receiver.requests}) == 1 and len({r.id for r in receiver.requests}) == 1
    for r in receiver.requests:
        assert verify_signature(r.json, r.headers["X-Webhook-Signature"], SECRET)
    at = [r.at for r in receiver.requests]
    pauses = [b - a for a, b in zip(at, at[1:])]
    assert all(p >= floor for p, floor in zip(pauses, (0.05, 0.1, 0.2, 0.4))), pauses
    assert metric(server, "aragora_webhook_retries_total") == 4


@pytest.mark.server(FAST)
def test_retry_after_is_honoured(server, receiver):
    receiver.answers = [(429, {"Retry-After": "2"}), 200]
    d = debate(server, receiver.url())
    receiver.wait(2)
    assert receiver.requests[1].at - receiver.requests[0].at >= 1.9
    assert settled(server, d)["attempts"] == 2


@pytest.mark.server(merged(FAST, {"deliveries": {"timeout": "300ms"}}))
def test_silence_ends_an_attempt(server, receiver):
    receiver.answers = ["hold", 200]
    d = debate(server, receiver.url())
    row = settled(server, d)
    assert [(t["outcome"], t["error"]) for t in row["tries"]] == [("uncertain", "Timeout"), ("delivered", "")]


@pytest.mark.server(merged(FAST, {"deliveries": {"max_retries": 2, "breaker_failures": 100}}))
def test_dead_letters(server, receiver):
    receiver.otherwise = 503
    d = debate(server, receiver.url())
    row = settled(server, d, "DEAD_LETTERED")
    assert len(receiver.requests) == row["attempts"] == row["max_attempts"] == 3
    dead = server.get("/api/webhooks/dead-letter").json()
    assert dead["count"] == 1 and dead["limit"] == 100
    assert dead["dead_letters"][0] == merged(dead["dead_letters"][0], {
        "delivery_id": row["delivery_id"], "event_type": "debate_end", "last_error": "HTTP 503", "attempts": 3})
    one = server.get("/api/webhooks/dead-letter/" + row["delivery_id"]).json()["delivery"]
    assert len(one["tries"]) == 3 and one["dead_lettered_at"]
    assert server.get("/api/webhooks/queue/stats").json()["stats"] == merged(
        server.get("/api/webhooks/queue/stats").json()["stats"], {"total_deliveries": 1, "dead_lettered": 1, "success_rate": 0.0})
    wait_until(lambda: metric(server, "aragora_deliveries_dead_letters") == 1)
    assert metric(server, "aragora_webhook_dead_lettered_total") == 1
    # The button.
    receiver.otherwise = 200
    r = server.post("/api/webhooks/dead-letter/%s/retry" % row["delivery_id"])
    assert r.status_code == 200 and r.json()["success"] is True
    again = settled(server, d)
    assert again["attempts"] == 1 and [t["n"] for t in again["tries"]] == [1, 2, 3, 4]
    assert receiver.requests[3].body == receiver.requests[0].body
    r = server.post("/api/webhooks/dead-letter/%s/retry" % row["delivery_id"])
    assert r.status_code == 404 and "dead-letter" in r.json()["error"]
    assert server.get("/api/webhooks/dead-letter/" + row["delivery_id"]).status_code == 400
    assert server.get("/api/webhooks/dead-letter/nothing").status_code == 404


@pytest.mark.server(FAST)
def test_gone_is_final(server, receiver):
    receiver.answers = [410]
    d = debate(server, receiver.url())
    row = settled(server, d, "DEAD_LETTERED")
    assert row["attempts"] == 1 and row["last_error"] == "HTTP 410"
    assert server.delete("/api/webhooks/dead-letter/" + row["delivery_id"]).json()["deleted"] is True
    assert server.get("/api/webhooks/dead-letter").json()["count"] == 0 and deliveries(server, d) == []


@pytest.mark.server(merged(FAST, {"deliveries": {"max_retries": 8, "breaker_failures": 2, "breaker_cooldown": "1s"}}))
def test_breaker(server, receiver):
    receiver.answers = [500, 500, 500, 200]
    d = debate(server, receiver.url())
    receiver.wait(2)
    # Open: what waits is queued for retry, and says why.
    row = settled(server, d, "RETRYING")
    assert row["last_error"] == "Circuit breaker open" and row["attempts"] == 2
    wait_until(lambda: metric(server, "aragora_webhook_circuit_breaker_state") == 1)
    settled(server, d)
    at = [r.at for r in receiver.requests]
    assert at[1] - at[0] < 0.9 <= at[2] - at[1] and at[3] - at[2] >= 0.9  # one trial, it fails, the pause begins anew
    wait_until(lambda: metric(server, "aragora_webhook_circuit_breaker_state") == 0)


# ---- order ----

@pytest.mark.server(merged(FAST, {"server": {"workers": 3}, "debates": {"max_concurrent": 10}}))
def test_one_after_the_other_for_each_url(server, receiver):
    """A head that is tried again holds up its URL and no other; no URL ever has two in flight."""
    receiver.by_path["/slow"] = [500, 500, "cut"]
    ids = [debate(server, receiver.url(path)) for _ in range(4) for path in ("/slow", "/other")]
    for d in ids:
        settled(server, d)
    slow = [r for r in receiver.requests if r.path == "/slow"]
    first = slow[0].json["delivery_id"]
    assert [r.json["delivery_id"] for r in slow[:4]] == [first] * 4
    assert len(slow) == 7 and len([r for r in receiver.requests if r.path == "/other"]) == 4
    assert receiver.most_together == {"/slow": 1, "/other": 1}
    # Oldest first: in the order in which they entered the outbox.
    entered = [row[0] for row in server.sql("SELECT id FROM deliveries WHERE target LIKE '%/slow' ORDER BY position")]
    assert list(dict.fromkeys(r.json["delivery_id"] for r in slow)) == entered


@pytest.mark.server(merged(FAST, {"deliveries": {"block": "0", "retry_base": "20s", "retry_cap": "20s"}}))
def test_a_head_blocks_only_so_long(server, receiver):
    receiver.answers = [500, 200]
    head = debate(server, receiver.url())
    receiver.wait(1)
    settled(server, head, "RETRYING")
    settled(server, debate(server, receiver.url()))
    assert deliveries(server, head)[0]["status"] == "RETRYING"


# ---- what may be called ----

REFUSED = [
    ("http://127.0.0.1/", "loopback"), ("http://2130706433/", "neither"), ("http://0x7f.1/", "neither"), ("http://[::1]/", "loopback"),
    ("http://[::ffff:10.0.0.1]/", "private"), ("http://169.254.169.254/latest", "metadata"), ("http://localhost:9/", "localhost"),
    ("ftp://example.org/", "https://"), ("https://user:pw@example.org/", "password"), ("https://nobody.invalid/", "cannot resolve"),
    ("https://example.org/" + "x" * 2048, "2048"), ("", "https://"), (7, "string"), ("https://exa mple.org/", "characters"),
]


@pytest.mark.server({"deliveries": {"dns_timeout": "20s"}})
def test_urls_that_lead_inside_are_refused(server):
    for url, says in REFUSED:
        r = server.post("/api/debates", {"task": TASK, "callback_url": url})
        assert r.status_code == 400, (url, r.text)
        body = r.json()
        assert body["field"] == "callback_url" and says in body["error"], (url, body)
    assert server.get("/api/debates").json()["total"] == 0
    r = server.post("/api/debates", {"callback_url": "http://127.0.0.1/", "rounds": 99})
    assert {e["field"] for e in r.json()["errors"]} == {"task", "rounds", "callback_url"}
    r = server.post("/api/debates", {"task": TASK, "callback_secret": SECRET})
    assert r.status_code == 400 and r.json()["field"] == "callback_secret"
    r = server.post("/api/debates", {"task": TASK, "callback_url": "https://example.org/", "callback_secret": "short"})
    assert r.status_code == 400 and r.json()["field"] == "callback_secret"


def hosts_may_be_replaced():
    return os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], stderr=subprocess.DEVNULL).returncode == 0


@pytest.mark.skipif(not hosts_may_be_replaced(), reason="needs a mount namespace")
def test_names_are_judged_by_their_addresses(make_server, receiver, tmp_path, monkeypatch):
    """A public name that means an inside address; and one that does so only after it was registered."""
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 inside.example\n10.9.8.7 private.example\n93.184.216.34 moving.example\n127.0.0.1 localhost\n")
    folder = tmp_path / "node"
    wrapper = tmp_path / "aragorad"
    wrapper.write_text("#!/bin/sh\nexec unshare -m sh -c 'mount --bind %s /etc/hosts && exec %s \"$@\"' sh \"$@\"\n" % (hosts, binary()))
    wrapper.chmod(0o755)
    monkeypatch.setenv("ARAGORAD", str(wrapper))
    server = make_server(merged(FAST, {"deliveries": {"allow_private": ["127.0.0.5"], "allow_http": True},
                                       "providers": {"demo": {"delay_ms": 300}}}), folder=folder)
    for name, says in (("inside.example", "127.0.0.1, which is a loopback"), ("private.example", "10.9.8.7, which is a private")):
        r = server.post("/api/debates", {"task": TASK, "callback_url": "http://%s/" % name})
        assert r.status_code == 400 and says in r.json()["error"], r.text
    d = debate(server, "http://moving.example/")
    hosts.write_text("127.0.0.1 moving.example localhost\n")
    row = settled(server, d, "DEAD_LETTERED")
    assert row["attempts"] == 1 and "loopback" in row["last_error"] and receiver.requests == []


class NameServer:
    """Answers queries for IPv4 addresses with a public one, but none before release()."""

    def __init__(self, address):
        self.socket, self.asked, self.open = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), [], threading.Event()
        self.socket.bind((address, 53))
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                self.asked.append(self.socket.recvfrom(512))
            except OSError:
                return
            if self.open.is_set():
                self.release()

    def release(self):
        self.open.set()
        while self.asked:
            query, client = self.asked.pop()
            end = query.index(b"\0", 12) + 5
            found = query[end - 4:end - 2] == b"\0\x01"
            record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x5d\xb8\xd8\x22" if found else b""
            self.socket.sendto(query[:2] + b"\x81\x80\0\x01" + (b"\0\x01" if found else b"\0\0") + bytes(4) +
                               query[12:end] + record, client)


@pytest.mark.skipif(not hosts_may_be_replaced(), reason="needs a mount namespace")
def test_names_that_hang_hold_up_nothing_else(make_server, tmp_path, monkeypatch):
    """Who owns a name server can let us wait for it: not the files, and not the memory of what has ended meanwhile."""
    names = NameServer("127.0.77.53")
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.77.53\n")
    wrapper = tmp_path / "aragorad"
    wrapper.write_text("#!/bin/sh\nexec unshare -m sh -c 'mount --bind %s/resolv.conf /etc/resolv.conf && exec %s \"$@\"' sh \"$@\"\n"
                       % (tmp_path, binary()))
    wrapper.chmod(0o755)
    monkeypatch.setenv("ARAGORAD", str(wrapper))
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/app.js").write_text("1")
    server = make_server(merged(FAST, {"server": {"workers": 1}, "static": {"root": str(tmp_path / "dist")},
                                       "deliveries": {"dns_timeout": "1s"}}))

    def register(i):
        r = server.post("/api/debates", {"task": TASK, "callback_url": "https://h%d.example.com/" % i})
        assert r.status_code == 400 and "name resolution took too long" in r.json()["error"], r.text

    with ThreadPoolExecutor(12) as pool:
        all_of_them = pool.map(register, range(12))
        wait_until(lambda: len(names.asked) >= 4, what="names are asked for")
        assert server.get("/app.js", timeout=4).text == "1"
        list(all_of_them)
    server.signal(SIGTERM)
    server.wait_log("draining")
    time.sleep(0.5)  # the worker ends as far as it can
    names.release()
    assert server.expect_exit()[0] == 0
    names.socket.close()


# ---- what dies around it ----

POINTS = [p for p in fault_points() if p.startswith("delivery.")]


@pytest.fixture
def node(tmp_path):
    n = Node(tmp_path / "node", merged(FAST, {"server": {"workers": 3}, "debates": {"max_concurrent": 10}}))
    n.start()
    yield n
    n.close()


def one_outcome(server, receiver, debate_id):
    """Exactly one recorded outcome; what the receiver saw twice carries the same id; no attempt without an end."""
    row = settled(server, debate_id)
    seen = [r for r in receiver.requests if r.json["data"]["debate_id"] == debate_id]
    assert seen and {r.id for r in seen} == {row["delivery_id"]} and len({r.body for r in seen}) == 1
    outcomes = [t["outcome"] for t in row["tries"]]
    assert outcomes.count("delivered") == 1 and outcomes[-1] == "delivered" and "sending" not in outcomes, outcomes
    assert all(t["ended_at"] for t in row["tries"])
    # A repeated request is one whose attempt was uncertain.
    assert len(seen) <= 1 + outcomes.count("uncertain"), (outcomes, len(seen))
    return row


def test_points_are_found():
    assert {"delivery.before_claim", "delivery.claimed", "delivery.before_send", "delivery.after_send",
            "delivery.before_outcome", "delivery.after_outcome", "delivery.before_take_over"} == set(POINTS)


@pytest.mark.parametrize("point", POINTS)
def test_kill_at_each_point(node, receiver, point):
    node.arm(point)
    if point == "delivery.before_take_over":
        node.arm("delivery.after_send")
    d = debate(node, receiver.url())
    wait_until(lambda: not (node.arms / point).exists(), 40, "nobody died at " + point)
    row = one_outcome(node, receiver, d)
    uncertain = [t["outcome"] for t in row["tries"]].count("uncertain")
    assert uncertain == (0 if point in ("delivery.before_claim", "delivery.after_outcome") else 1)


def test_kill_all_while_the_receiver_thinks(node, receiver):
    receiver.answers = ["hold", 200]
    d = debate(node, receiver.url())
    receiver.wait(1)
    node.kill_all()
    node.start()
    row = one_outcome(node, receiver, d)
    assert [t["outcome"] for t in row["tries"]] == ["uncertain", "delivered"]


def test_poison_becomes_a_dead_letter(node, receiver):
    """A delivery that ends its process again and again is given up."""
    node.arm("delivery.before_send", times=6)
    d = debate(node, receiver.url())
    row = settled(node, d, "DEAD_LETTERED", 60)
    assert row["attempts"] == 5 and [t["outcome"] for t in row["tries"]] == ["uncertain"] * 5
    assert node.armed("delivery.before_send") == 1


@pytest.mark.server(merged(FAST, {"deliveries": {"timeout": "20s"}}))
def test_reload_while_sending(server, receiver):
    """A reload waits for what is under way: one request, delivered."""
    receiver.answers = ["hold"]
    d = debate(server, receiver.url())
    receiver.wait(1)
    before = {w["pid"] for w in server.workers()}
    server.signal(SIGHUP)
    wait_until(lambda: {w["pid"] for w in server.workers()} and not before & {w["pid"] for w in server.workers()}, 60)
    d2 = debate(server, receiver.url("/new"))
    settled(server, d2)
    receiver.release()
    row = settled(server, d)
    assert [t["outcome"] for t in row["tries"]] == ["delivered"]
    assert len([r for r in receiver.requests if r.path == "/hook"]) == 1


@pytest.mark.server(merged(FAST, {"server": {"graceful_timeout": "500ms"}, "deliveries": {"timeout": "60s"}}))
def test_stop_while_sending(server, receiver):
    """TERM cuts it off after graceful_timeout: uncertain, and sent again by the next start under the same id."""
    receiver.answers = ["hold", 200]
    d = debate(server, receiver.url())
    receiver.wait(1)
    assert server.stop() == 0
    server.start()
    row = one_outcome(server, receiver, d)
    assert [t["outcome"] for t in row["tries"]] == ["uncertain", "delivered"]
    assert "stopped" in row["tries"][0]["error"]


@pytest.mark.server(FAST)
def test_deleting_a_debate_stops_its_delivery(server, receiver):
    receiver.otherwise = 500
    d = debate(server, receiver.url())
    receiver.wait(1)
    assert server.delete("/api/debates/" + d).status_code == 200
    assert deliveries(server, d) == []
    assert server.stop(SIGTERM) == 0


# ---- several nodes ----

@pytest.fixture
def nodes(make_server, postgres):
    """Makes nodes of one service: one database, one encryption key."""
    shared = {"storage": {"dsn": postgres.database(), "encryption_key": "ab" * 32}, "debates": {"lease": "1s"}}
    return lambda config=None, **kw: make_server(merged(merged(FAST, shared), config), **kw)


def test_a_web_node_is_served_by_a_worker_node(nodes, receiver):
    web, worker = nodes({"server": {"role": "web"}}), nodes({"server": {"role": "worker"}}, start=False)
    worker.spawn().wait_log('"serving"')  # it answers nobody
    d = debate(web, receiver.url())
    row = settled(web, d)
    assert verify_signature(receiver.requests[0].json, receiver.requests[0].headers["X-Webhook-Signature"], SECRET)
    worker.wait_log('"delivered"')
    assert '"delivered"' not in web.log()
    # The button works on any node.
    receiver.answers = [410]
    d = debate(web, receiver.url("/gone"))
    row = settled(web, d, "DEAD_LETTERED")
    assert web.post("/api/webhooks/dead-letter/%s/retry" % row["delivery_id"]).status_code == 200
    settled(web, d)


def test_another_node_takes_over(nodes, receiver):
    receiver.answers = ["hold", 200]
    one, other = nodes(), nodes({"server": {"role": "web"}})
    d = debate(one, receiver.url())
    receiver.wait(1)
    one.kill_all()
    other.write_config(server={"role": "all"})
    other.stop()
    other.start()
    row = one_outcome(other, receiver, d)
    assert [t["outcome"] for t in row["tries"]] == ["uncertain", "delivered"]


def test_two_nodes_send_once(nodes, receiver):
    one, other = nodes({"debates": {"max_concurrent": 20}}), nodes({"debates": {"max_concurrent": 20}})
    ids = [debate(n, receiver.url("/%d" % (i % 3))) for i in range(8) for n in (one, other)]
    for d in ids:
        one_outcome(one, receiver, d)
    assert len(receiver.requests) == 16 and set(receiver.most_together.values()) == {1}


def test_maintenance_holds_on_every_node(nodes):
    one, other = nodes(), nodes()
    assert one.post("/api/admin/maintenance/enable").json()["maintenance"] is True
    assert other.post("/api/debates", {"task": TASK}).status_code == 503
    wait_until(lambda: other.get("/api/health").json()["maintenance"] is True, 5)
    assert other.post("/api/admin/maintenance/disable").json()["maintenance"] is False
    assert one.post("/api/debates", {"task": TASK}).status_code == 200
    wait_until(lambda: one.get("/api/health").json()["maintenance"] is False, 5)


def test_a_draining_worker_keeps_its_lease(nodes, receiver):
    """A reload while a receiver thinks: no node takes for dead who still sends."""
    receiver.answers = ["hold"]
    one, other = nodes({"deliveries": {"timeout": "30s"}}), nodes()
    d = debate(one, receiver.url())
    receiver.wait(1)
    before = {w["pid"] for w in one.workers()}
    one.signal(SIGHUP)
    wait_until(lambda: len([w for w in one.workers() if w["pid"] not in before]) == 2, 60)
    # Three leases long: whoever wanted to take over would have done so.
    end = time.monotonic() + 3
    wait_until(lambda: time.monotonic() > end, 10)
    settled(other, debate(other, receiver.url("/other")))
    receiver.release()
    row = settled(one, d)
    assert [t["outcome"] for t in row["tries"]] == ["delivered"]
    assert len([r for r in receiver.requests if r.path == "/hook"]) == 1
