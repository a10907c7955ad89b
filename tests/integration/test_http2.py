# SPDX-License-Identifier: MIT
"""HTTP/2 by its door: real clients, a client that works frame by frame, attacks, reload, a proxy in front."""
import http.client
import json
import os
import re
import subprocess
import threading
import time
from signal import SIGHUP, SIGTERM

import h2.connection
import h2.events
import pytest
import requests

import h2_kit
from conftest import free_port, wait_until
from h2_kit import (ACK, CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, H2, HEADERS, INITIAL_WINDOW,
                    MAX_HEADER_LIST, MAX_STREAMS, NO_ERROR, PING, PREFACE, PRIORITY, PROTOCOL_ERROR, REFUSED_STREAM,
                    SETTINGS, WINDOW_UPDATE, Closed, frame)
from talk import metric
from test_proxy import front  # noqa: F401 (a fixture)
from tls_kit import HOST, Authority, connect

ONE = pytest.mark.server({"server": {"workers": 1}})


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    a = Authority(tmp_path_factory.mktemp("ca"))
    a.localhost = a.issue("localhost", "localhost")
    return a


def curl(*args, check=True):
    return subprocess.run(["curl", "-sS", "-v", *args], capture_output=True, text=True, timeout=60, check=check)


def debate(s, **extra):
    answer = s.post("/api/debates", {"task": "Which colour should the shed have?", "rounds": 1, **extra})
    assert answer.status_code == 200, answer.text
    return answer.json()["debate_id"]


# ---- who speaks it ----

def test_real_clients(make_server, ca):
    port = free_port()
    s = make_server({"server": {"ws_bind": ["tls:%s:%d" % (HOST, port)], "tls": {"certificates": [ca.localhost]}},
                     "log": {"access_delay": "0"}})
    plain, secure = s.url + "/healthz", "https://localhost:%d/healthz" % port
    for args in (["--http2-prior-knowledge", plain], ["--http2", "--cacert", ca.pem, secure]):
        out = curl(*args)
        assert '"ok"' in out.stdout and "< HTTP/2 200" in out.stderr, out.stderr
    assert "ALPN: server accepted h2" in out.stderr and "strict-transport-security" in out.stderr
    # An upgrade to it in the clear is not offered: the request is answered as it stands.
    out = curl("--http2", plain)
    assert '"ok"' in out.stdout and "< HTTP/1.1 200" in out.stderr
    out = curl("--http1.1", "--cacert", ca.pem, secure)
    assert "ALPN: server accepted http/1.1" in out.stderr and "< HTTP/1.1 200" in out.stderr
    out = subprocess.run(["nghttp", "-nv", plain], capture_output=True, text=True, timeout=60, check=True)
    assert ":status: 200" in out.stdout and "NO_ERROR" in out.stdout
    wait_until(lambda: re.search(r'"GET /healthz HTTP/2\.0" 200 15 "-" "curl', s.access_path.read_text()), what="access line")


def test_python_client(server):
    """hyper-h2 checks every frame of ours against its own state machine."""
    import socket
    with socket.create_connection((HOST, server.port), timeout=20) as k:
        c = h2.connection.H2Connection()
        c.initiate_connection()
        for i in range(20):
            c.send_headers(2 * i + 1, [(":method", "GET"), (":path", "/api/health"), (":scheme", "http"), (":authority", "x")],
                           end_stream=True)
        k.sendall(c.data_to_send())
        ended, bodies = set(), {}
        while len(ended) < 20:
            for e in c.receive_data(k.recv(65536)):
                if isinstance(e, h2.events.DataReceived):
                    bodies[e.stream_id] = bodies.get(e.stream_id, b"") + e.data
                    c.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
                elif isinstance(e, h2.events.StreamEnded):
                    ended.add(e.stream_id)
                else:
                    assert not isinstance(e, (h2.events.StreamReset, h2.events.ConnectionTerminated)), e
            k.sendall(c.data_to_send())
    assert all(json.loads(b) for b in bodies.values())


def test_switched_off(make_server, ca):
    port = free_port()
    s = make_server({"server": {"ws_bind": ["tls:%s:%d" % (HOST, port)], "tls": {"certificates": [ca.localhost]},
                                "http2": {"enabled": False}}})
    assert "ALPN: server accepted http/1.1" in curl("--http2", "--cacert", ca.pem, "https://localhost:%d/healthz" % port).stderr
    with H2(s.port, preface=False) as c:
        c.send(PREFACE)
        assert c.sock.recv(4096).startswith(b"HTTP/1.1 505 ")


def test_beginnings(server, ca, make_server):
    """The preface in pieces; what begins like it and is not; under TLS only ALPN counts."""
    with H2(server.port, preface=False) as c:
        for byte in PREFACE + h2_kit.settings():
            c.send(bytes([byte]))
        assert c.ask().status == 200
    with H2(server.port, preface=False) as c:
        c.send(b"P")
        c.send(b"OST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert c.sock.recv(4096).startswith(b"HTTP/1.1 405 ")
    with H2(server.port, preface=False) as c:
        c.send(PREFACE + frame(PING, 0, 0, b"12345678"))  # SETTINGS must come first
        assert c.closed() == [PROTOCOL_ERROR]
    port = free_port()
    s = make_server({"server": {"ws_bind": ["tls:%s:%d" % (HOST, port)], "tls": {"certificates": [ca.localhost]}}})
    with H2(sock=connect(port, ca.context()), preface=False) as c:
        c.send(PREFACE)
        assert c.sock.recv(4096).startswith(b"HTTP/1.1 505 ")
    offers = ca.context()
    offers.set_alpn_protocols(["h2", "http/1.1"])
    with H2(sock=connect(port, offers)) as c:
        assert c.sock.selected_alpn_protocol() == "h2"
        assert [c.ask().status for _ in range(3)] == [200] * 3
        # An end in order: the alert of TLS comes behind the last frame.
        c.send(frame(h2_kit.GOAWAY, 0, 0, bytes(8)))
        assert c.closed() == []
    with H2(sock=connect(port, offers), preface=False) as c:
        c.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert c.closed() == [PROTOCOL_ERROR]
    assert metric(s, "aragora_http2_connections_ended_total", reason="protocol") == 1


# ---- the same requests ----

def comparable(status, fields, body):
    fields = {k.lower(): v for k, v in fields.items()}
    for name in ("date", "x-request-id", "x-trace-id", "x-span-id", "traceparent", "set-cookie", "connection", "content-length",
                 "x-cache"):
        fields.pop(name, None)
    try:
        body = sorted(json.loads(body))
    except (ValueError, TypeError):
        body = None
    return status, fields, body


def by_http1(server, method, path, body, headers):
    k = http.client.HTTPConnection(HOST, server.port, timeout=20)
    k.request(method, path, body, {"Host": "test", **headers})
    r = k.getresponse()
    answer = comparable(r.status, dict(r.getheaders()), r.read())
    k.close()
    return answer


def test_routes_answer_alike(server):
    """Every route with every kind of request that needs no preparation: the wire makes no difference."""
    done = debate(server)
    wait_until(lambda: server.get("/api/debates/" + done).json()["status"] not in ("created", "starting", "running", "queued"),
               what="end of the debate")
    cases = [("GET", "/nothing", None), ("OPTIONS", "/api/debates", None), ("HEAD", "/api/debates/" + done, None),
             ("POST", "/api/debates", b"{"), ("POST", "/api/debates", b'{"task": 5}'), ("DELETE", "/healthz", None),
             ("BREW", "/healthz", None), ("TRACE", "/healthz", None), ("GET", "/api/v1/../x", None), ("GET", "/%zz", None),
             ("OPTIONS", "*", None), ("GET", "/ws", None)]
    for line in server.command("routes", "-c", server.conf_path).stdout.splitlines()[1:]:
        method, path = line.split()[:2]
        if method in ("GET", "HEAD") and not path.startswith("/ws"):
            cases.append((method, path.replace("{id}", done), None))
    seen = 0
    with H2(server.port) as c:
        for method, path, body in cases:
            kw = {"fields": [("content-type", "application/json")]} if body else {}
            two = c.ask(method, path, body=body, **kw)
            if path == "*":
                assert two.status == 200
                continue
            one = by_http1(server, method, path, body, dict(kw.get("fields", ())))
            if path == "/ws":
                assert two.status == one[0] == 426 and b"HTTP/1.1" in two.body
                continue
            assert comparable(two.status, two.fields, two.body) == one, path
            seen += 1
    assert seen > 30


# ---- heads ----

GOOD = [(":method", "GET"), (":scheme", "http"), (":path", "/healthz"), (":authority", "x")]


def changed(**pseudo):
    return [(k, pseudo.get(k[1:], v)) for k, v in GOOD if pseudo.get(k[1:], v) is not None]


@pytest.mark.parametrize("name,fields,status", [
    ("no authority", changed(authority=None), None),
    ("host instead", changed(authority=None) + [("host", "x")], 200),
    ("same host", GOOD + [("host", "X")], 200),
    ("other host", GOOD + [("host", "y")], 400),
    ("two hosts", changed(authority=None) + [("host", "x"), ("host", "x")], None),
    ("invalid authority", changed(authority="x/y"), None),
    ("strange method", changed(method="BREW"), 405),
    ("invalid method", changed(method="GE T"), None),
    ("long method", changed(method="A" * 40), 400),
    ("no method", changed(method=None), None),
    ("no path", changed(path=None), None),
    ("empty path", changed(path=""), None),
    ("relative path", changed(path="healthz"), None),
    ("whole URL", changed(path="http://x/healthz"), None),
    ("dot segment", changed(path="/a/../healthz"), 400),
    ("bad escape", changed(path="/%zz"), 400),
    ("NUL", changed(path="/%00"), 400),
    ("blank in path", changed(path="/a b"), None),
    ("fragment", changed(path="/a#b"), 400),
    ("8 bit", changed(path=b"/\xc3\xa4".decode("latin-1")), 400),
    ("long path", changed(path="/" + "a" * 9000), 414),
    ("star", changed(path="*"), None),
    ("other scheme", changed(scheme="ftp"), 400),
    ("no scheme", changed(scheme=None), None),
    ("twice path", GOOD + [(":path", "/")], None),
    ("unknown pseudo", GOOD + [(":colour", "red")], None),
    ("extended connect", changed(method="CONNECT") + [(":protocol", "websocket")], None),
    ("connect", [(":method", "CONNECT"), (":authority", "x:443")], 501),
    ("pseudo behind field", GOOD[:3] + [("a", "b"), GOOD[3]], None),
    ("connection", GOOD + [("connection", "close")], None),
    ("upgrade", GOOD + [("upgrade", "websocket")], None),
    ("transfer-encoding", GOOD + [("transfer-encoding", "chunked")], None),
    ("te gzip", GOOD + [("te", "gzip")], None),
    ("te trailers", GOOD + [("te", "trailers")], 200),
    ("upper case", GOOD + [("A", "b")], None),
    ("control", GOOD + [("a", "b\x01")], 400),
    ("line end", GOOD + [("a", "b\r\nc: d")], 400),
    ("blank in name", GOOD + [("a b", "c")], 400),
    ("two types", GOOD + [("content-type", "a/b"), ("content-type", "a/b")], 400),
    ("two authorizations", GOOD + [("authorization", "a"), ("authorization", "b")], 400),
    ("expectation", GOOD + [("expect", "magic")], 417),
    ("length without body", GOOD + [("content-length", "5")], None),
    ("no number", GOOD + [("content-length", "x")], None),
    ("two lengths", GOOD + [("content-length", "0"), ("content-length", "0")], None),
    ("length 0", GOOD + [("content-length", "0")], 200),
    ("fields", GOOD + [("f%d" % i, "v") for i in range(99)], 200),
    ("too many fields", GOOD + [("f%d" % i, "v") for i in range(101)], 431),
    ("large head", GOOD + [("f", "v" * 3000)] * 12, 431),
])
def test_heads(shared, name, fields, status):
    """None: the stream is reset, as RFC 9113 8.1.1 wants it; the connection goes on."""
    with H2(shared.port) as c:
        a = c.answer(c.raw(fields))
        assert a.status == status and (a.reset == PROTOCOL_ERROR) == (status is None)
        if status is not None and status >= 400:
            assert json.loads(a.body)["trace_id"] == a.fields["x-request-id"]
        assert c.ask().status == 200


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One server for tests that leave nothing behind."""
    from conftest import Server
    s = Server(tmp_path_factory.mktemp("shared"), {"server": {"workers": 1}}).start()
    yield s
    s.close()


def test_limits_are_announced(make_server):
    s = make_server({"server": {"workers": 1, "http2": {"max_streams": 7, "window": 70000}}, "limits": {"head_bytes": 8192}})
    with H2(s.port) as c:
        c.until(lambda: c.acks == 1)
        assert (c.settings[MAX_STREAMS], c.settings[INITIAL_WINDOW], c.settings[MAX_HEADER_LIST]) == (7, 70000, 8192)
        a = c.answer(c.raw(GOOD + [("x", "y" * 9000)]))
        assert a.status == 431


# ---- bodies ----

def spaces(n):
    text = b'{"task": "x", "rounds": 1}'
    return b" " * (n - len(text)) + text


class Upload:
    """Sends a body as far as the windows allow."""

    def __init__(self, c, stream, body):
        self.c, self.stream, self.body = c, stream, body

    def run(self, end=True):
        c, at = self.c, 0
        grants = {0: 65535, self.stream: c.settings.get(INITIAL_WINDOW, 65535)}
        note = c.note

        def noting(kind, flags, stream, payload):
            if kind == WINDOW_UPDATE and stream in grants:
                grants[stream] += int.from_bytes(payload, "big")
            note(kind, flags, stream, payload)
        c.note = noting
        while at < len(self.body):
            n = min(16384, len(self.body) - at, *grants.values())
            if n <= 0:
                c.take()
                continue
            c.data(self.stream, self.body[at:at + n], end=end and at + n == len(self.body))
            at += n
            grants[0] -= n
            grants[self.stream] -= n
        c.note = note


POST = {"method": "POST", "path": "/api/debates", "end": False}
JSON = ("content-type", "application/json")


@pytest.mark.parametrize("length", [True, False])
def test_upload_larger_than_the_window(server, length):
    body = spaces(3000000)
    with H2(server.port) as c:
        c.until(lambda: c.acks)
        stream = c.begin(**POST, fields=[JSON] + ([("content-length", str(len(body)))] if length else []))
        Upload(c, stream, body).run()
        a = c.answer(stream)
        assert a.status == 200 and json.loads(a.body)["success"]


def test_bodies(server):
    ok = b'{"task": "x", "rounds": 1}'
    with H2(server.port) as c:
        # padded, in pieces, with an empty frame at its end
        stream = c.begin(**POST, fields=[JSON])
        c.send(frame(DATA, h2_kit.PADDED, stream, b"\x05" + ok[:9] + bytes(5)))
        for i in range(9, len(ok)):
            c.data(stream, ok[i:i + 1])
        c.data(stream, end=True)
        assert c.answer(stream).status == 200
        # trailers end it, and are not looked at
        stream = c.begin(**POST, fields=[JSON])
        c.data(stream, ok)
        c.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, c.encoder.encode([("content-type", "text/plain"), ("x", "y")])))
        assert c.answer(stream).status == 200
        # who waits for a 100 gets it
        stream = c.begin(**POST, fields=[JSON, ("expect", "100-continue")])
        c.until(lambda: stream in c.answers and c.answers[stream].informed == [100])
        c.data(stream, ok, end=True)
        assert c.answer(stream).status == 200
        # ... or the answer that needs no body
        stream = c.begin("POST", "/nothing", end=False, fields=[JSON, ("expect", "100-continue")])
        a = c.answer(stream)
        assert a.status == 404 and a.informed == []
        c.until(lambda: a.reset == NO_ERROR)
        # more or less than announced
        for n in (5, 500):
            stream = c.begin(**POST, fields=[JSON, ("content-length", str(n))])
            c.data(stream, ok, end=True)
            assert c.answer(stream).reset == PROTOCOL_ERROR
        # a small body that nobody wants is read away
        stream = c.begin("POST", "/nothing", end=False)
        c.data(stream, b"x" * 1000, end=True)
        a = c.answer(stream)
        assert a.status == 404 and a.reset is None
        a = c.ask("HEAD", "/healthz")
        assert a.status == 200 and a.body == b"" and a.fields["content-length"] == "15"
        assert c.ask().status == 200


def test_too_large(make_server):
    s = make_server({"limits": {"body_bytes": 100000}})
    with H2(s.port) as c:
        a = c.answer(c.begin(**POST, fields=[JSON, ("content-length", "100001")]))
        assert a.status == 413 and json.loads(a.body)["code"]
        c.until(lambda: a.reset == NO_ERROR)
        stream = c.begin(**POST, fields=[JSON])
        for _ in range(7):
            c.data(stream, b" " * 16000)
        assert c.answer(stream).status == 413
        assert c.ask().status == 200


@pytest.mark.server({"server": {"workers": 1, "body_timeout": "300ms", "body_rate": 1000, "head_timeout": "300ms"}})
def test_slow_requests(server):
    with H2(server.port) as c:
        silent, slow = c.begin(**POST, fields=[JSON]), c.begin(**POST, fields=[JSON])
        stopped = threading.Event()

        def drip():
            while not stopped.wait(0.05):
                c.send(frame(DATA, 0, slow, b" "))
        thread = threading.Thread(target=drip)
        thread.start()
        assert c.answer(silent).status == 408 and c.answer(slow).status == 408
        stopped.set()
        thread.join()
        assert c.ask().status == 200
        # A head that does not end holds up the whole connection, so that is what it costs.
        c.send(frame(HEADERS, END_STREAM, c.next, c.block()[:5]))
        assert c.closed() == [ENHANCE_YOUR_CALM]
    assert metric(server, "aragora_http2_connections_ended_total", reason="timeout") == 1


# ---- many at once ----

@ONE
def test_parallel_streams(server):
    with H2(server.port) as c:
        c.until(lambda: c.acks)
        for _ in range(3):
            heads = [c.head(path="/api/health") for _ in range(100)]
            c.send(b"".join(data for _, data in heads))
            assert [c.answer(stream).status for stream, _ in heads] == [200] * 100
    out = subprocess.run(["h2load", "-n", "5000", "-c", "4", "-m", "100", server.url + "/api/health"], capture_output=True,
                         text=True, timeout=120, check=True).stdout
    assert "5000 succeeded, 0 failed, 0 errored" in out, out
    wait_until(lambda: metric(server, "aragora_http2_streams_active") == 0, what="end of the streams")


@pytest.mark.server({"server": {"workers": 1, "http2": {"max_streams": 10}}})
def test_too_many_streams(server):
    with H2(server.port, window=0) as c:
        streams = []
        # Before it knows the limit a client may be over it: it is told to ask again.
        data = b""
        for _ in range(15):
            stream, head = c.head()
            streams.append(stream)
            data += head
        c.send(data)
        c.until(lambda: sum(a.reset == REFUSED_STREAM for a in c.answers.values()) == 5)
        for stream in streams[:10]:
            c.grow(stream, 1000)
        assert [c.answer(stream).status for stream in streams[:10]] == [200] * 10


def event_stream(c, s, debate_id, after=0):
    return c.begin(path="/api/debates/%s/events?after_seq=%d" % (debate_id, after), fields=[("accept", "text/event-stream")])


def numbers(body):
    return [int(n) for n in re.findall(rb"^id: (\d+)$", body, re.M)]


def test_events(server):
    """Two debates followed on one connection, with requests between their events."""
    with H2(server.port) as c:
        ids = [debate(server) for _ in range(2)]
        streams = [event_stream(c, server, i) for i in ids]
        for _ in range(20):
            assert c.ask(path="/api/health").status == 200
        for stream in streams:
            c.until(lambda: b"event: debate_end" in c.answers[stream].body)
            a = c.answers[stream]
            seen = numbers(a.body)
            assert a.fields["content-type"].startswith("text/event-stream") and seen == list(range(1, len(seen) + 1))
        assert c.ask("HEAD", "/api/debates/%s/events" % ids[0], fields=[("accept", "text/event-stream")]).ended


@ONE
def test_events_wait_for_a_slow_reader(server):
    """With its window shut nothing is lost, with it open everything comes, in order; others on the connection go on."""
    i = debate(server, rounds=3)
    wait_until(lambda: '"debate_end"' in server.get("/api/debates/%s/events" % i).text, what="the end")
    with H2(server.port, window=50, read=False) as c:
        stream = event_stream(c, server, i)
        c.until(lambda: stream in c.answers and len(c.answers[stream].body) == 50)
        other = c.begin()
        assert c.answer(other).status == 200
        while b"event: debate_end" not in c.answers[stream].body:
            before = len(c.answers[stream].body)
            c.grow(0, 1000)
            c.grow(stream, 1000)
            c.until(lambda: len(c.answers[stream].body) > before)
        seen = numbers(c.answers[stream].body)
        assert seen == list(range(1, len(seen) + 1))


@ONE
def test_files(make_server, tmp_path):
    """Files come as fast as the client takes them, several at a time, and whole."""
    content = {"a.bin": os.urandom(1 << 20), "b.bin": os.urandom(300000), "c.bin": b""}
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    s = make_server({"server": {"workers": 1}, "static": {"root": str(tmp_path)}})
    with H2(s.port) as c:
        streams = {name: c.begin(path="/" + name) for name in content}
        part = c.ask(path="/a.bin", fields=[("range", "bytes=5-104")])
        assert part.status == 206 and part.body == content["a.bin"][5:105]
        for name, stream in streams.items():
            a = c.answer(stream)
            assert a.status == 200 and a.body == content[name] and a.fields["content-length"] == str(len(content[name]))
        assert c.ask("HEAD", "/a.bin").fields["content-length"] == str(1 << 20)
        # one that is not wanted any more
        gone = c.begin(path="/a.bin")
        c.reset(gone)
        assert c.ask().status == 200


# ---- the end ----

@pytest.mark.server({"server": {"workers": 1, "keepalive": "300ms"}})
def test_idle(server):
    with H2(server.port) as c:
        assert c.ask().status == 200
        # Pings are answered, but do not keep a connection.
        for n in range(3):
            c.send(frame(PING, 0, 0, bytes([n]) * 8))
        c.until(lambda: len(c.pongs) == 3)
        assert c.closed() == [NO_ERROR]
        assert c.goaways[0][0] == 1


@pytest.mark.server({"server": {"workers": 1, "keepalive": "1s"}})
def test_requests_keep_a_connection(server):
    with H2(server.port) as c:
        began = time.monotonic()
        while time.monotonic() < began + 2.5:
            assert c.ask().status == 200 and not c.goaways
            time.sleep(0.1)  # silence, far shorter than keepalive


@pytest.mark.server({"server": {"workers": 1, "keepalive": "0"}})
def test_no_keepalive(server):
    with H2(server.port) as c:
        assert c.ask().status == 200
        assert c.closed() == [NO_ERROR]


def test_reload(server):
    """First a notice, then the last stream, then what is under way; new requests find a new worker."""
    with H2(server.port) as c:
        assert c.ask().status == 200
        upload = c.begin(**POST, fields=[JSON])
        c.ask()
        server.signal(SIGHUP)
        c.until(lambda: c.goaways)
        assert c.goaways[0] == (0x7FFFFFFF, NO_ERROR)
        late = c.next
        c.send(c.head()[1])  # crosses the notice
        c.until(lambda: len(c.goaways) == 2)
        last = c.goaways[1][0]
        assert c.goaways[1][1] == NO_ERROR and last in (late - 2, late)
        if last == late:
            assert c.answer(late).status == 200
        c.data(upload, b'{"task": "x", "rounds": 1}', end=True)
        assert c.answer(upload).status == 200
        c.closed()
    with H2(server.port) as c:
        assert c.ask().status == 200


class Asker(threading.Thread):
    """Ten requests at a time, for ever. What the server says it has not processed is asked again; anything else counts."""

    def __init__(self, s):
        super().__init__()
        self.s, self.stopped = s, threading.Event()
        self.answers, self.connections, self.failures = 0, 0, []

    def run(self):
        while not self.stopped.is_set():
            try:
                with H2(self.s.port) as c:
                    self.connections += 1
                    self.talk(c)
            except (OSError, AssertionError, Closed) as e:
                self.failures.append(repr(e))

    def talk(self, c):
        open_now = set()
        while open_now or not (c.goaways or self.stopped.is_set()):
            while len(open_now) < 10 and not c.goaways and not self.stopped.is_set():
                open_now.add(c.begin(path="/api/health"))
            if c.goaways:
                open_now = {k for k in open_now if k <= c.goaways[-1][0]}
            done = {k for k in open_now if k in c.answers and c.answers[k].ended}
            for k in done:
                assert c.answers.pop(k).status == 200
            self.answers += len(done)
            open_now -= done
            if open_now and not done:
                c.take()


def test_reload_under_load(server):
    askers = [Asker(server) for _ in range(6)]
    for a in askers:
        a.start()
    for generation in range(2, 5):
        time.sleep(1)  # of load between two reloads
        server.signal(SIGHUP)
        wait_until(lambda: server.status()["generation"] >= generation, what="reload")
    time.sleep(0.5)
    for a in askers:
        a.stopped.set()
    for a in askers:
        a.join()
    assert not [f for a in askers for f in a.failures]
    assert sum(a.answers for a in askers) > 500 and all(a.connections >= 4 for a in askers)


def test_term(server):
    with H2(server.port) as c:
        i = debate(server)
        stream = event_stream(c, server, i)
        c.until(lambda: stream in c.answers and c.answers[stream].status == 200)
        server.signal(SIGTERM)
        c.answer(stream)
        assert set(c.closed()) == {NO_ERROR}
    assert server.expect_exit()[0] == 0


# ---- attacks ----

class Other:
    """A client of the same worker, which must not notice."""

    def __init__(self, s):
        self.s, self.times, self.failures, self.stopped = s, [], [], threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        with requests.Session() as k:
            while not self.stopped.is_set():
                at = time.monotonic()
                try:
                    if k.get(self.s.url + "/healthz", timeout=20).status_code != 200:
                        self.failures.append("status")
                except requests.RequestException as e:
                    self.failures.append(repr(e))
                self.times.append(time.monotonic() - at)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.stopped.set()
        self.thread.join()
        if exc[0] is None:
            assert not self.failures and self.times
            assert max(self.times) < 5


def flood(s, c, data, reason, times=4000):
    """Sends until the server has enough; it says so, counts it, logs it, and closes this connection only."""
    before = metric(s, "aragora_http2_connections_ended_total", reason=reason)
    with Other(s):
        try:
            for i in range(times):
                c.send(data(i) if callable(data) else data)
        except OSError:
            pass
        assert ENHANCE_YOUR_CALM in c.closed() or not c.goaways
    assert metric(s, "aragora_http2_connections_ended_total", reason=reason) == before + 1
    s.wait_log('"why": ?"%s"' % reason)
    with H2(s.port) as again:
        assert again.ask().status == 200


@ONE
def test_rapid_reset(server):
    """CVE-2023-44487: the work ends with the connection, after server.http2.max_resets."""
    with H2(server.port) as c:
        def pair(_):
            stream, head = c.head(path="/api/debates")
            return head + frame(h2_kit.RST_STREAM, 0, stream, b"\0\0\0\x08")
        flood(server, c, pair, "resets")
    assert metric(server, "aragora_http_requests_total", method="GET", status="200") < 1000


@ONE
def test_resets_by_us(server):
    """The same by streams that we must reset: a window that overflows, a trailer that ends nothing, wrong heads."""
    with H2(server.port) as c:
        def spoilt(_):
            stream, head = c.head(**POST)
            return head + frame(WINDOW_UPDATE, 0, stream, b"\x7f\xff\xff\xff")
        flood(server, c, spoilt, "resets")
    with H2(server.port) as c:
        flood(server, c, lambda _: c.head(path="nothing")[1], "resets")


@ONE
@pytest.mark.parametrize("data", [
    frame(PING, 0, 0, bytes(8)), frame(PING, ACK, 0, bytes(8)), frame(SETTINGS, 0, 0),
    frame(SETTINGS, 0, 0, (b"\0\x04\0\0\0\0" + b"\0\x04\0\0\xff\xff") * 8), frame(PRIORITY, 0, 1, b"\0\0\0\0\x10"),
    frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\x01"), frame(0xee, 0, 0, b"x"), frame(0x10, 0, 0, b"\0\0\0\x01u=1"),
], ids=["ping", "pong", "settings", "window settings", "priority", "window", "unknown", "priority update"])
def test_control_floods(server, data):
    with H2(server.port) as c:
        flood(server, c, data * 10, "control")


@ONE
def test_data_dribble(server):
    """CVE-2019-9511: an answer taken byte by byte costs a frame each; a client that is merely eager is left alone."""
    with H2(server.port, window=0, read=False) as c:
        stream = c.begin(path="/metrics")

        def one_more(n):
            c.until(lambda: stream in c.answers and len(c.answers[stream].body) == n)
            return frame(WINDOW_UPDATE, 0, stream, b"\0\0\0\x01")
        flood(server, c, one_more, "control")
    with H2(server.port, read=False) as c:
        for _ in range(100):
            stream = c.begin(path="/metrics")
            c.until(lambda: c.answers.get(stream) and c.answers[stream].body)
            while not c.answers[stream].ended:
                before = len(c.answers[stream].body)
                c.take()
                for _ in range((len(c.answers[stream].body) - before) // 2000):
                    c.send(frame(WINDOW_UPDATE, 0, 0, b"\0\0\x07\xd0") + frame(WINDOW_UPDATE, 0, stream, b"\0\0\x07\xd0"))
            c.grow(0, 65535)
        assert not c.goaways


@ONE
def test_empty_frames(server):
    with H2(server.port) as c:
        stream = c.begin(**POST)
        flood(server, c, frame(DATA, 0, stream) * 10, "control")
    with H2(server.port) as c:
        stream = c.begin(**POST)
        flood(server, c, frame(DATA, h2_kit.PADDED, stream, b"\0") * 10, "control", times=20000)


@ONE
def test_continuation_flood(server):
    """CVE-2024-27316 and its kin: frames without end, empty ones, and a head that unpacks to a hundred times its size."""
    for piece in (b"", b"\x00\x01a\x01b"):
        with H2(server.port) as c:
            c.send(frame(HEADERS, END_STREAM, 1, c.block()))
            flood(server, c, frame(CONTINUATION, 0, 1, piece), "head")


@ONE
def test_hpack_bomb(server):
    with H2(server.port) as c:
        c.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, c.block(fields=[("bomb", "x" * 3000)])))
        c.answer(1)
        # The newest entry of the table, 16,000 times: 48 MB.
        c.next = 3
        flood(server, c, lambda _: frame(HEADERS, END_HEADERS | END_STREAM, 3, c.block() + b"\xbe" * 16000), "head", times=1)


@pytest.mark.server({"server": {"workers": 1, "write_timeout": "500ms"}})
def test_windows_that_stay_shut(server):
    """Neither a stream nor a connection whose client takes nothing is kept; what it held goes with it."""
    with Other(server):
        with H2(server.port, window=0) as c:
            shut = [c.begin(path="/api/health") for _ in range(20)]
            assert [c.answer(stream).reset for stream in shut] == [CANCEL] * 20
            wait_until(lambda: metric(server, "aragora_http2_streams_active") == 0, what="end of the streams")
        with H2(server.port, read=False) as c:
            # The window of the connection shuts behind the first 65,535 bytes.
            streams = [c.begin(path="/metrics") for _ in range(8)]
            c.until(lambda: all(c.answers.get(k) and (c.answers[k].ended or c.answers[k].reset == CANCEL) for k in streams))
            assert any(c.answers[k].reset == CANCEL for k in streams)
    # A client that reads nothing at all: the socket fills, and its deadline closes the connection.
    with H2(server.port, window=1 << 30, read=False) as c:
        c.grow(0, 1 << 30)
        try:
            for _ in range(3000):
                c.send(c.head(path="/metrics")[1])
        except OSError:
            pass
        wait_until(lambda: metric(server, "aragora_http2_connections_active") == 0, what="end of the connection")


@pytest.mark.server({"server": {"workers": 1, "http2": {"buffer": 65536, "max_streams": 200}}})
def test_buffered_bodies(server):
    """What one connection keeps in memory is bounded, however many streams it spreads it over."""
    with H2(server.port) as c:
        c.until(lambda: c.acks)
        one = c.begin(**POST, fields=[JSON])
        Upload(c, one, spaces(200000)).run()
        assert c.answer(one).status == 200  # one alone may have what its route allows
        streams = [c.begin(**POST, fields=[JSON]) for _ in range(20)]
        for stream in streams:
            c.data(stream, b" " * 10000)
        c.until(lambda: any(a.status == 503 for a in c.answers.values()))
        for stream in streams:
            c.data(stream, b'{"task": "x", "rounds": 1}', end=True)
        answers = [c.answer(stream).status for stream in streams]
        assert 503 in answers and 200 in answers
    wait_until(lambda: metric(server, "aragora_http2_streams_active") == 0, what="end of the streams")


@ONE
def test_one_connection_does_not_starve_others(server):
    """Requests as fast as the socket takes them get their share of each turn, no more."""
    stopped = threading.Event()

    def greedy():
        with H2(server.port) as c:
            while not stopped.is_set():
                heads = [c.head(path="/api/health") for _ in range(100)]
                c.send(b"".join(data for _, data in heads))
                for stream, _ in heads:
                    c.answer(stream)
    threads = [threading.Thread(target=greedy) for _ in range(2)]
    for t in threads:
        t.start()
    try:
        with Other(server) as other:
            wait_until(lambda: len(other.times) > 50, what="answers for the other client")
    finally:
        stopped.set()
        for t in threads:
            t.join()


def test_bytes_that_are_no_frames(server):
    import random
    r = random.Random(7)
    for _ in range(100):
        with H2(server.port) as c:
            try:
                for _ in range(20):
                    c.send(frame(r.randrange(12), r.randrange(256), r.choice((0, 1, 3, 5)), r.randbytes(r.randrange(40))))
            except OSError:
                pass
    assert server.get("/healthz").status_code == 200


# ---- behind a proxy ----

HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend web
    bind 127.0.0.1:%(port)d
    default_backend us
backend us
    option redispatch
    retry-on conn-failure empty-response response-timeout
    server a 127.0.0.1:%(plain)d proto h2 send-proxy-v2
"""


def test_haproxy(make_server, front, tmp_path):  # noqa: F811
    """haproxy speaks HTTP/2 to us, HTTP/1 to its clients: answers, a large body, events, a reload under load."""
    plain, port = free_port(), free_port()
    s = make_server({"server": {"ws_bind": ["proxy:%s:%d" % (HOST, plain)]},
                     "log": {"access_format": "%(h)s %(r)s %(s)s", "access_delay": "0"}})
    conf = tmp_path / "haproxy.cfg"
    conf.write_text(HAPROXY % {"port": port, "plain": plain})
    front(["haproxy", "-db", "-f", str(conf)], port, tmp_path)
    url = "http://127.0.0.1:%d" % port
    assert requests.get(url + "/healthz", timeout=20).status_code == 200
    wait_until(lambda: "127.0.0.1 GET /healthz HTTP/2.0 200" in s.access_path.read_text(), what="access line")
    answer = requests.post(url + "/api/debates", data=spaces(2000000), headers={"Content-Type": "application/json"}, timeout=20)
    assert answer.status_code == 200
    with requests.get(url + "/api/debates/%s/events" % answer.json()["debate_id"], headers={"Accept": "text/event-stream"},
                      stream=True, timeout=20) as events:
        assert any(line == b"event: debate_end" for line in events.iter_lines())
    from load import Load
    with Load(port, kept=4, fresh=2) as load:
        for generation in (2, 3):
            time.sleep(1)  # of load between two reloads
            s.signal(SIGHUP)
            wait_until(lambda: s.status()["generation"] >= generation, what="reload")
        time.sleep(1)
    assert not load.failures and load.answers > 100, (load.failures[:5], load.answers)
