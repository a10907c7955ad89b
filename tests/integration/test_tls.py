# SPDX-License-Identifier: MIT
"""TLS listeners with real clients: versions, names, tickets across workers, reload, client certificates, sockets."""
import asyncio
import json
import os
import re
import socket
import ssl
import subprocess
import time
from signal import SIGHUP, SIGWINCH

import pytest
import websockets

from conftest import free_port, wait_until
from load import Load
from test_process import end, owners, upgrade
from tls_kit import HOST, Authority, answer, ask, connect, names_of, openssl

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    a = Authority(tmp_path_factory.mktemp("ca"))
    a.localhost = a.issue("localhost", "localhost")
    a.other = a.issue("other", "other.test", "*.wild.test")
    return a


@pytest.fixture
def tls_server(make_server, ca):
    def make(tls=None, server=None, limits=None, **kw):
        port = free_port()
        s = make_server({"server": {"ws_bind": ["tls:%s:%d" % (HOST, port)],
                                    "tls": {"certificates": [ca.localhost], **(tls or {})}, **(server or {})},
                         "limits": limits or {}}, **kw)
        s.tls_port = port
        return s
    return make


@pytest.mark.parametrize("version", VERSIONS)
def test_versions(tls_server, ca, version):
    s = tls_server()
    with connect(s.tls_port, ca.context(VERSIONS[version])) as c:
        assert c.version() == "TLSv" + version
        for _ in range(5):
            status, fields, _ = ask(c)
            assert status == 200
        assert "max-age" in fields["strict-transport-security"]
        # Several requests in one record, and one request in many.
        c.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        data = b""
        while data.count(b'{"status":"ok"}') < 3:
            data += c.recv(65536)
        for byte in b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n":
            c.sendall(bytes([byte]))
        assert answer(c)[0] == 200


def test_old_versions_are_refused(tls_server, ca):
    s = tls_server({"min_version": "1.3"})
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(s.tls_port, ca.context(VERSIONS["1.2"]))
    with connect(s.tls_port, ca.context()) as c:
        assert c.version() == "TLSv1.3" and ask(c)[0] == 200


def test_curl_and_alpn(tls_server, ca):
    s = tls_server()
    out = subprocess.run(["curl", "-sS", "-v", "--http2", "--cacert", ca.pem, "https://localhost:%d/healthz" % s.tls_port],
                         capture_output=True, text=True, timeout=30, check=True)
    assert '"ok"' in out.stdout and "ALPN: server accepted h2" in out.stderr, out.stderr
    offers = ca.context()
    offers.set_alpn_protocols(["spdy/3"])
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(s.tls_port, offers)


def test_names(tls_server, ca):
    s = tls_server({"certificates": [ca.localhost, ca.other]})
    context = ca.context()
    for name, shown in (("localhost", ["localhost"]), ("other.test", ["*.wild.test", "other.test"]),
                        ("OTHER.test", ["*.wild.test", "other.test"]), ("a.wild.test", ["*.wild.test", "other.test"])):
        with connect(s.tls_port, context, name) as c:
            assert names_of(c) == shown, name
            assert ask(c)[0] == 200
    # Names that are not here, and clients without one, see the first certificate.
    context.check_hostname = False
    for name in ("b.a.wild.test", "wild.test", "unknown.test", None):
        with connect(s.tls_port, context, name) as c:
            assert names_of(c) == ["localhost"], name


def test_two_kinds_of_keys_for_one_name(tls_server, ca):
    s = tls_server({"certificates": [ca.localhost, ca.issue("rsa", "localhost", rsa=True)]})
    for ciphers, kind in (("ECDHE-RSA-AES128-GCM-SHA256", "rsa"), ("ECDHE-ECDSA-AES128-GCM-SHA256", "ec")):
        context = ca.context(VERSIONS["1.2"])
        context.set_ciphers(ciphers)
        with connect(s.tls_port, context) as c:
            pem = ssl.DER_cert_to_PEM_cert(c.getpeercert(True))
            text = openssl("x509", "-noout", "-text", input=pem).stdout
            assert ("rsaEncryption" in text) == (kind == "rsa")


@pytest.mark.parametrize("version", VERSIONS)
def test_sessions_resume_at_every_worker(tls_server, ca, version):
    s = tls_server(server={"workers": 3})
    context = ca.context(VERSIONS[version])
    with connect(s.tls_port, context) as c:
        assert ask(c)[0] == 200
        session, first = c.session, c.session_reused
    assert not first and session is not None and session.has_ticket
    # the first worker that serves answers for all: the others may still be on their way
    wait_until(lambda: len(s.workers()) == 3, what="three workers")
    before = {w["pid"]: w["connections"] for w in s.wait_workers(3)}
    open_now = []
    # Kept open, they spread over all workers.
    for _ in range(24):
        c = connect(s.tls_port, context, session=session)
        open_now.append(c)
        assert ask(c)[0] == 200
        assert c.session_reused
    try:
        wait_until(lambda: all(w["connections"] > before[w["pid"]] for w in s.workers()), what="connections at all workers")
    finally:
        for c in open_now:
            c.close()


def test_tickets_live_as_long_as_their_keys(tls_server, ca):
    s = tls_server({"ticket_rotation": "1s"})
    context = ca.context(VERSIONS["1.2"])
    with connect(s.tls_port, context) as c:
        ask(c)
        session = c.session

    def forgotten():
        with connect(s.tls_port, context, session=session) as c:
            return ask(c)[0] == 200 and not c.session_reused
    with connect(s.tls_port, context, session=session) as c:
        assert c.session_reused
    wait_until(forgotten, timeout=15, interval=0.3, what="an old ticket is not taken any more")


def test_client_certificates(tls_server, ca, tmp_path):
    foreign = Authority(tmp_path / "foreign", "Foreign CA")
    mine, theirs = ca.issue("client", "client").split(), foreign.issue("client", "client").split()

    def served(port, pair):
        context = ca.context()
        if pair:
            context.load_cert_chain(*pair)
        try:
            with connect(port, context) as c:
                return ask(c)[0] == 200
        except (ssl.SSLError, ConnectionError):
            return False
    wanted = tls_server({"client_ca": str(ca.pem), "client_auth": "required"})
    assert [served(wanted.tls_port, p) for p in (None, mine, theirs)] == [False, True, False]
    welcome = tls_server({"client_ca": str(ca.pem), "client_auth": "optional"})
    assert [served(welcome.tls_port, p) for p in (None, mine, theirs)] == [True, True, False]


def test_a_ticket_does_not_replace_a_client_certificate(tls_server, ca):
    s = tls_server()
    context = ca.context(VERSIONS["1.2"])
    with connect(s.tls_port, context) as c:
        ask(c)
        session = c.session
    s.write_config(server={"tls": {"client_ca": str(ca.pem), "client_auth": "required"}})
    s.signal(SIGHUP)
    s.wait_log("reloaded")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        with connect(s.tls_port, context, session=session) as c:
            ask(c)


def test_handshakes_have_a_deadline(tls_server, ca):
    s = tls_server(server={"head_timeout": "1s", "workers": 1})
    silent = socket.create_connection((HOST, s.tls_port), timeout=20)
    half = socket.create_connection((HOST, s.tls_port), timeout=20)
    half.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
    dribble = socket.create_connection((HOST, s.tls_port), timeout=20)
    done = connect(s.tls_port, ca.context())
    began, closed = time.monotonic(), None
    dribble.settimeout(0.05)
    for byte in b"\x16\x03\x01\x3f\xff\x01" + bytes(10000):
        try:
            dribble.sendall(bytes([byte]))
            if dribble.recv(1) == b"":
                closed = time.monotonic()
        except socket.timeout:
            pass
        except OSError:
            closed = time.monotonic()
        if closed is not None or time.monotonic() - began > 20:
            break
    assert closed is not None and 0.5 < closed - began < 10
    for c in (silent, half):
        assert c.recv(10) == b""
    # After the handshake it is the first request that is waited for.
    assert done.recv(10) == b""
    for c in (silent, half, dribble, done):
        c.close()
    wait_until(lambda: sum(w["connections"] for w in s.workers()) == 0, what="no connection is left")


def test_garbage_is_turned_away(tls_server, ca):
    s = tls_server()
    for garbage in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x00\x04abcd", bytes(range(256)) * 64, b"\x00" * 5):
        with socket.create_connection((HOST, s.tls_port), timeout=20) as c:
            c.sendall(garbage)
            c.shutdown(socket.SHUT_WR)
            try:
                while c.recv(4096):
                    pass
            except ConnectionError:
                pass
    with connect(s.tls_port, ca.context()) as c:
        assert ask(c)[0] == 200


@pytest.mark.parametrize("version", VERSIONS)
def test_large_bodies_both_ways(tls_server, ca, version):
    s = tls_server()
    path, headers = "/api/debates", "Content-Type: application/json\r\n"
    # Refused by its content, but read to the end: a question longer than is allowed, echoed nowhere.
    body = json.dumps({"question": "x" * (3 << 20)}).encode()
    with connect(s.tls_port, ca.context(VERSIONS[version])) as c:
        for _ in range(2):
            status, _, text = ask(c, path, headers, "POST", body)
            assert status == 400, text
        status, _, text = ask(c, "/api/openapi.json")
        plain = s.get("/api/openapi.json")
        assert (status, text) == (plain.status_code, plain.content)
        # Many answers at once, while nobody reads: none is lost or out of order.
        count = 400
        ids = ["id-%d" % i for i in range(count)]
        c.sendall("".join("GET /api/health HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\n\r\n" % i for i in ids).encode())
        data = b""
        while data.count(b"HTTP/1.1 200") < count:
            part = c.recv(65536)
            assert part
            data += part
        assert re.findall(rb"(?i)x-request-id: (\S+)", data) == [i.encode() for i in ids]


def test_closing_alert(tls_server, ca):
    s = tls_server()
    context = ca.context()
    # Python then tells an end without the alert from one with it.
    raw = socket.create_connection((HOST, s.tls_port), timeout=20)
    with context.wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=False) as c:
        c.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data = b""
        while part := c.recv(4096):
            data += part
        assert data.startswith(b"HTTP/1.1 200")
    raw = socket.create_connection((HOST, s.tls_port), timeout=20)
    with context.wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=False) as c:
        assert ask(c)[0] == 200
        assert c.recv(10) == b""  # the keep-alive time has passed



def test_websocket(tls_server, ca):
    s = tls_server()

    async def talk():
        async with websockets.connect("wss://localhost:%d/ws" % s.tls_port, ssl=ca.context(), open_timeout=20) as ws:
            first = json.loads(await asyncio.wait_for(ws.recv(), 20))
            await ws.send(json.dumps({"type": "ping"}))
            while json.loads(await asyncio.wait_for(ws.recv(), 20))["type"] != "pong":
                pass
            return first
    assert "type" in asyncio.run(talk())


def test_reload_brings_a_new_certificate_without_a_failed_request(tls_server, ca):
    s = tls_server({"certificates": [ca.issue("reloaded", "localhost")]})
    with Load(s.tls_port, 3, 2, context=ca.context()) as load:
        for i in range(4):
            ca.issue("reloaded", "localhost")  # the same files, another key
            s.signal(SIGHUP)
            wait_until(lambda i=i: s.status()["generation"] >= i + 2, timeout=60, what="reload")
            before = load.answers
            wait_until(lambda before=before: load.answers > before + 20, what="answers")
    assert load.failures == []
    assert len(load.seen) == 5


def test_binary_upgrade_brings_a_new_certificate_without_a_failed_request(tls_server, ca):
    s = tls_server({"certificates": [ca.issue("upgraded", "localhost")]})
    old = s.process.pid
    with Load(s.tls_port, 3, 2, context=ca.context()) as load:
        ca.issue("upgraded", "localhost")
        new = upgrade(s, old)
        os.kill(old, SIGWINCH)
        wait_until(lambda: owners(s) == {new}, what="the old workers are gone", timeout=60)
        end(old)
        s.process.poll()
        before = load.answers
        wait_until(lambda: load.answers > before + 20, what="answers")
    assert load.failures == []
    assert len(load.seen) == 2
    end(new)


@pytest.mark.parametrize("version", VERSIONS)
def test_sessions_resume_after_a_binary_upgrade(tls_server, ca, version):
    """At workers of the new master, while the former one is there, when it is gone, and after a way back."""
    s = tls_server()
    context = ca.context(VERSIONS[version])
    old = s.process.pid

    def begin():
        with connect(s.tls_port, context) as c:
            assert ask(c)[0] == 200 and not c.session_reused
            return c.session

    def resumes(session):
        with connect(s.tls_port, context, session=session) as c:
            assert ask(c)[0] == 200
            return c.session_reused
    first = begin()
    # The way back: the new master ends, the former one goes on with the keys.
    rejected = upgrade(s, old)
    end(rejected)
    assert resumes(first)
    wait_until(lambda: owners(s) == {old}, what="the former master's workers only")
    new = upgrade(s, old)
    os.kill(old, SIGWINCH)
    wait_until(lambda: owners(s) == {new}, what="workers of the new master only", timeout=60)
    assert resumes(first)
    beside = begin()
    end(old)
    s.process.poll()
    assert resumes(first) and resumes(beside)
    end(new)


@pytest.mark.parametrize("harm, why", [
    ("missing", "No such file"),
    ("not_pem", "no certificate"),
    ("wrong_key", "does not fit"),
    ("world_readable", "chmod 600"),
    ("passphrase", "no private key without passphrase"),
    ("broken_chain", "server.tls.certificates"),
])
def test_a_broken_certificate_undoes_the_reload(tls_server, ca, tmp_path, harm, why):
    pem, key = (tmp_path / n for n in ("mine.pem", "mine.key"))
    source = ca.localhost.split()
    pem.write_bytes(open(source[0], "rb").read())
    key.write_bytes(open(source[1], "rb").read())
    key.chmod(0o600)
    s = tls_server({"certificates": ["%s %s" % (pem, key)]})
    with connect(s.tls_port, ca.context()) as c:
        serial = c.getpeercert()["serialNumber"]
    workers = {w["pid"] for w in s.wait_workers(2)}
    if harm == "missing":
        pem.unlink()
    elif harm == "not_pem":
        pem.write_text("nothing")
    elif harm == "wrong_key":
        key.write_bytes(open(ca.other.split()[1], "rb").read())
    elif harm == "world_readable":
        key.chmod(0o644)
    elif harm == "passphrase":
        openssl("pkcs8", "-topk8", "-in", source[1], "-out", key, "-passout", "pass:secret")
        key.chmod(0o600)
    elif harm == "broken_chain":
        with open(pem, "a") as f:
            f.write("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    s.signal(SIGHUP)
    s.wait_log("reload failed")
    line = next(x for x in s.log_lines() if "reload failed" in x["message"])
    assert why in line["why"], line
    assert s.command("check", "-c", s.conf_path).returncode != 0
    # A worker that dies now is replaced with what the generation has read.
    os.kill(next(iter(workers)), 9)
    wait_until(lambda: len(s.workers()) == 2 and {w["pid"] for w in s.workers()} != workers, what="a new worker")
    assert s.status()["generation"] == 1
    for _ in range(8):
        with connect(s.tls_port, ca.context()) as c:
            assert c.getpeercert()["serialNumber"] == serial and ask(c)[0] == 200


def test_a_start_with_a_broken_certificate_fails(make_server, ca):
    s = make_server({"server": {"ws_bind": ["tls:%s:%d" % (HOST, free_port())],
                                "tls": {"certificates": ["/nowhere.pem /nowhere.key"]}}}, start=False)
    s.spawn()
    code, text = s.expect_exit()
    assert code != 0 and "/nowhere.pem: No such file" in text
    s.write_config(server={"tls": {"certificates": []}})
    s.spawn()
    code, text = s.expect_exit()
    assert code != 0 and "server.tls.certificates" in text


def test_a_plain_listener_becomes_a_tls_listener(make_server, ca):
    s = make_server()
    s.write_config(server={"ws_bind": ["tls:%s:%d" % (HOST, s.ws_port)], "tls": {"certificates": [ca.localhost]}})
    s.signal(SIGHUP)
    s.wait_log("reloaded")
    wait_until(lambda: len(s.workers(None)) == 2, what="the old workers are gone", timeout=60)
    with connect(s.ws_port, ca.context()) as c:
        assert ask(c)[0] == 200


def test_openssl_s_client(tls_server, ca):
    s = tls_server()
    out = subprocess.run(["openssl", "s_client", "-connect", "%s:%d" % (HOST, s.tls_port), "-servername", "localhost",
                          "-CAfile", str(ca.pem), "-verify_return_error", "-reconnect", "-tls1_2"],
                         input="", capture_output=True, text=True, timeout=60)
    assert out.stdout.count("Reused, TLSv1.2") == 5, out.stdout[-3000:]
    refused = subprocess.run(["openssl", "s_client", "-connect", "%s:%d" % (HOST, s.tls_port), "-tls1_1", "-cipher",
                              "ALL@SECLEVEL=0"], input="", capture_output=True, text=True, timeout=60)
    assert refused.returncode != 0 and "Cipher is (NONE)" in refused.stdout
