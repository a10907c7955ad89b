# SPDX-License-Identifier: MIT
"""What stands before the server: PROXY headers on marked listeners, sockets from systemd, a real nginx, a real haproxy."""
import asyncio
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path
from signal import SIGHUP

import pytest
import requests
import websockets

from conftest import ROOT, binary, free_port, wait_until
from tls_kit import HOST, Authority, ask, connect

MARK = b"\r\n\r\n\0\r\nQUIT\n"
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    a = Authority(tmp_path_factory.mktemp("ca"))
    a.localhost = a.issue("localhost", "localhost")
    return a


@pytest.fixture
def proxied(make_server, ca):
    """A server with a listener for PROXY headers and one for PROXY headers before TLS."""
    def make(server=None, **kw):
        plain, secure = free_port(), free_port()
        s = make_server({"server": {"ws_bind": ["proxy:%s:%d" % (HOST, plain), "proxy:tls:%s:%d" % (HOST, secure)],
                                    "tls": {"certificates": [ca.localhost]}, **(server or {})},
                         "log": {"access_format": "%(h)s %(r)s %(s)s", "access_delay": "0"}}, **kw)
        s.proxy_port, s.proxy_tls_port = plain, secure
        return s
    return make


def v2(body, command=0x21, family=0x11):
    return MARK + bytes([command, family]) + struct.pack("!H", len(body)) + body


def v4(source, port=1000):
    return socket.inet_aton(source) + socket.inet_aton("198.51.100.2") + struct.pack("!HH", port, 443)


def exchange(port, data):
    """Sends all, reads to the end."""
    with socket.create_connection((HOST, port), timeout=20) as c:
        c.sendall(data)
        text = b""
        try:
            while part := c.recv(65536):
                text += part
        except ConnectionError:
            pass
        return text


def clients(s):
    return [line.split()[0] for line in s.access_path.read_text().splitlines() if "/healthz" in line]


def test_headers(proxied):
    s = proxied()
    six = socket.inet_pton(socket.AF_INET6, "2001:db8::7") + bytes(16) + struct.pack("!HH", 1, 2)
    cases = [(b"PROXY TCP4 192.0.2.1 198.51.100.2 1000 443\r\n", "192.0.2.1"),
             (b"PROXY TCP6 2001:db8::5 ::1 1000 443\r\n", "2001:db8::5"), (b"PROXY UNKNOWN\r\n", HOST),
             (v2(v4("192.0.2.3")), "192.0.2.3"), (v2(six, family=0x21), "2001:db8::7"), (v2(b"", 0x20, 0), HOST)]
    for i, (header, client) in enumerate(cases):
        request = REQUEST.replace(b"/healthz", b"/healthz?case=%d" % i)
        assert exchange(s.proxy_port, header + request).startswith(b"HTTP/1.1 200"), header
        wait_until(lambda i=i: "case=%d" % i in s.access_path.read_text(), what="access line")
        line = next(x for x in s.access_path.read_text().splitlines() if "case=%d" % i in x)
        assert line.split()[0] == client, header


def test_what_is_no_header_ends_the_connection(proxied):
    s = proxied()
    for data in (REQUEST, b"PROXY TCP4 192.0.2.1 198.51.100.2 1000 443\n" + REQUEST, v2(v4("192.0.2.1"), 0x31) + REQUEST,
                 b"PROXY " + b"x" * 200, b"\x16\x03\x01\x02\x00" * 10, MARK + b"\x21\x11\xff\xff"):
        assert exchange(s.proxy_port, data) == b"", data
    assert exchange(s.proxy_port, b"PROXY UNKNOWN\r\n" + REQUEST).startswith(b"HTTP/1.1 200")
    # On a listener without the mark the header is no request.
    assert exchange(s.port, b"PROXY UNKNOWN\r\n" + REQUEST).startswith(b"HTTP/1.1 400")


def test_only_trusted_proxies_may_call(proxied):
    s = proxied(server={"trusted_proxies": ["10.0.0.0/8"]})
    assert exchange(s.proxy_port, b"PROXY UNKNOWN\r\n" + REQUEST) == b""
    s.wait_log("not in server.trusted_proxies")


def test_headers_have_a_deadline(proxied):
    s = proxied(server={"head_timeout": "500ms"})
    with socket.create_connection((HOST, s.proxy_port), timeout=20) as c:
        c.sendall(b"PROXY TCP4 192.0.2.1 ")
        began = time.monotonic()
        assert c.recv(10) == b""
        assert 0.3 < time.monotonic() - began < 10


def test_tls_behind_the_header(proxied, ca):
    s = proxied()
    out = subprocess.run(["curl", "-sS", "-i", "--haproxy-protocol", "--cacert", ca.pem,
                          "https://localhost:%d/healthz" % s.proxy_tls_port], capture_output=True, text=True, timeout=30)
    assert out.returncode == 0 and "HTTP/2 200" in out.stdout and "strict-transport-security" in out.stdout, out
    # The header and the first bytes of the handshake in one segment.
    raw = socket.create_connection((HOST, s.proxy_tls_port), timeout=20)
    raw.sendall(v2(v4("192.0.2.44")))
    with ca.context().wrap_socket(raw, server_hostname="localhost") as c:
        assert ask(c)[0] == 200
    wait_until(lambda: "192.0.2.44" in clients(s), what="the client's address")
    assert exchange(s.proxy_tls_port, b"PROXY UNKNOWN\r\n" + REQUEST)[:4] != b"HTTP"


# ---- systemd ----

class Activated:
    """Sockets bound here and passed to a server as systemd does it: from descriptor 3 on."""

    def __init__(self, s, sockets, names, meant=True):
        self.s, self.sockets, self.names, self.meant = s, sockets, names, meant

    def spawn(self):
        s, fds = self.s, [k.fileno() for k in self.sockets]
        # The shell's process becomes the server's, so that its number can be told beforehand.
        text = "export LISTEN_PID=%s LISTEN_FDS=%d LISTEN_FDNAMES=%s; exec %s -c %s" % (
            "$$" if self.meant else "1", len(fds), ":".join(self.names), binary(), s.conf_path)

        def arrange():
            high = [os.dup2(fd, 100 + i) for i, fd in enumerate(fds)]
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i, inheritable=True)
        with open(s.log_path, "ab") as log:
            s.log_start = log.tell()
            s.process = subprocess.Popen(["/bin/sh", "-c", text], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                         cwd=s.folder, env=s.environment(), start_new_session=True, close_fds=False,
                                         preexec_fn=arrange)
        return s


def listening(port=0):
    k = socket.socket()
    k.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    k.bind((HOST, port))
    k.listen(64)
    return k


def test_sockets_from_systemd(make_server, ca, tmp_path):
    web, web2, tls, other, stray = (listening() for _ in range(5))
    unix = socket.socket(socket.AF_UNIX)
    path = tmp_path / "own.sock"
    unix.bind(str(path))
    unix.listen(64)
    s = make_server(start=False)
    # By name (two sockets of one name), by name with a mark, by address, by path; one is meant by nobody.
    s.write_config(server={"bind": ["127.0.0.1:%d" % s.port, "systemd:web", "tls:systemd:tls"],
                           "ws_bind": ["%s:%d" % (HOST, other.getsockname()[1]), "unix:%s" % path],
                           "tls": {"certificates": [ca.localhost]}})
    everything = [web, tls, web2, other, unix, stray]
    Activated(s, everything, ["web", "tls", "web", "x", "y", "stray"]).spawn()
    ports = [k.getsockname()[1] for k in (web, web2, other)]
    tls_port = tls.getsockname()[1]
    for k in everything:
        k.close()
    s.wait_ready()

    def works():
        for port in ports:
            assert requests.get("http://%s:%d/healthz" % (HOST, port), timeout=20).status_code == 200
        with socket.socket(socket.AF_UNIX) as c:
            c.settimeout(20)
            c.connect(str(path))
            c.sendall(REQUEST)
            assert c.recv(100).startswith(b"HTTP/1.1 200")
    works()
    with connect(tls_port, ca.context()) as c:
        assert ask(c)[0] == 200
    assert re.search(r"no address means.*\"stray\"", s.run_log())
    # A reload keeps them.
    s.signal(SIGHUP)
    s.wait_log("reloaded")
    works()
    assert s.stop() == 0
    assert path.exists(), "the socket's file is systemd's"


def test_sockets_meant_for_another_process_are_not_taken(make_server):
    web = listening()
    s = make_server(start=False)
    s.write_config(server={"bind": ["127.0.0.1:%d" % s.port, "systemd:web"]})
    Activated(s, [web], ["web"], meant=False).spawn()
    code, text = s.expect_exit()
    assert code != 0 and "systemd has passed no such socket" in text
    web.close()


# ---- a real nginx, a real haproxy ----

class Front:
    """A program in front of the server, in the foreground."""

    def __init__(self, args, port, folder):
        self.log = open(Path(folder) / "front.log", "ab")
        self.process = subprocess.Popen(args, stdout=self.log, stderr=self.log)
        wait_until(lambda: self.answers(port), what="%s answers" % args[0])

    def answers(self, port):
        assert self.process.poll() is None, open(self.log.name).read()
        with socket.socket() as s:
            return s.connect_ex((HOST, port)) == 0

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


@pytest.fixture
def front():
    running = []

    def start(*args):
        running.append(Front(*args))
        return running[-1]
    yield start
    for f in running:
        f.stop()


def nginx_conf(folder, s, port, pair):
    """The configuration that is shipped, with the addresses and files of this test."""
    text = (ROOT / "packaging/nginx/aragora.conf").read_text()
    for was, now in (("127.0.0.1:8080", "127.0.0.1:%d" % s.port), ("127.0.0.1:8765", "127.0.0.1:%d" % s.ws_port),
                     ("listen 443 ssl", "listen 127.0.0.1:%d ssl" % port), ("listen [::]:443 ssl", "# no IPv6"),
                     ("listen 80;", "# no port 80"), ("listen [::]:80;", ""),
                     ("/etc/ssl/certs/aragora.crt", pair[0]), ("/etc/ssl/private/aragora.key", pair[1]),
                     ("server_name aragora.example;", "server_name localhost;")):
        text = text.replace(was, now)
    (folder / "aragora.conf").write_text("\n".join(
        line if "# no" not in line else line.split("# no")[0] for line in text.splitlines()))
    main = folder / "nginx.conf"
    main.write_text("""
daemon off; user root; worker_processes 1; pid %(f)s/nginx.pid; error_log stderr warn;
events { worker_connections 512; }
http {
    access_log off;
    client_body_temp_path %(f)s/body; proxy_temp_path %(f)s/proxy; fastcgi_temp_path %(f)s/fastcgi;
    uwsgi_temp_path %(f)s/uwsgi; scgi_temp_path %(f)s/scgi;
    include %(f)s/aragora.conf;
}
""" % {"f": folder})
    return main


async def watch(url, context, debate_id):
    """Everything a socket says about a debate until its end."""
    events = []
    async with websockets.connect("%s/ws?debate_id=%s" % (url, debate_id), ssl=context, open_timeout=20) as ws:
        while True:
            e = json.loads(await asyncio.wait_for(ws.recv(), 60))
            events.append(e)
            if e["type"] == "debate_end":
                return events


def trusting(ca):
    session = requests.Session()
    session.trust_env = False  # a bundle named in the environment would win
    session.verify = str(ca.pem)
    return session


def check_front(s, base, ws_base, ca):
    """Requests with and without bodies, a debate with its socket, and HUPs behind the back of kept connections."""
    session = trusting(ca)
    r = session.get(base + "/api/health", timeout=20)
    assert r.status_code == 200 and r.json()["status"] == "healthy"
    assert "max-age" in r.headers["strict-transport-security"]
    assert session.post(base + "/api/debates", data="x" * 2000000, timeout=20,
                        headers={"Content-Type": "application/json"}).status_code == 400
    made = session.post(base + "/api/debates", json={"question": "Tea or coffee?", "rounds": 1}, timeout=20)
    assert made.status_code in (200, 201, 202), made.text
    doc = made.json()
    debate_id = doc.get("debate_id") or doc["id"]
    events = asyncio.run(watch(ws_base, ca.context() if ws_base.startswith("wss") else None, debate_id))
    assert events[-1]["type"] == "debate_end"
    # Clients of the front see nothing of reloads behind it.
    failures, answers, stopped = [], [0], threading.Event()

    def hammer():
        mine = trusting(ca)
        while not stopped.is_set():
            try:
                r = mine.get(base + "/api/health", timeout=20)
                if r.status_code != 200:
                    failures.append((r.status_code, r.text[:200]))
                answers[0] += 1
            except requests.RequestException as e:
                failures.append(repr(e))
    threads = [threading.Thread(target=hammer) for _ in range(4)]
    for t in threads:
        t.start()
    try:
        for _ in range(3):
            wanted = s.status()["generation"] + 1
            s.signal(SIGHUP)
            wait_until(lambda: s.status()["generation"] >= wanted, timeout=60, what="reload")
            before = answers[0]
            wait_until(lambda: answers[0] > before + 30, what="answers")
    finally:
        stopped.set()
        for t in threads:
            t.join()
    assert failures == [] and answers[0] > 100


def test_nginx_in_front(make_server, ca, front, tmp_path):
    assert shutil.which("nginx"), "nginx is missing; make test installs it"
    s = make_server({"log": {"access_format": "%(h)s %(r)s %(s)s", "access_delay": "0"}})
    port = free_port()
    conf = nginx_conf(tmp_path, s, port, ca.localhost.split())
    front(["nginx", "-p", str(tmp_path), "-c", str(conf)], port, tmp_path)
    check_front(s, "https://localhost:%d" % port, "wss://localhost:%d" % port, ca)
    # The connections to us are kept: far fewer of them than requests.
    session = trusting(ca)
    for _ in range(50):
        assert session.get("https://localhost:%d/healthz" % port, timeout=20).status_code == 200
    assert upstream_connections(s.port) <= 12
    # A client cannot claim an address: what nginx adds counts.
    with socket.socket() as c:
        c.bind(("127.0.0.77", 0))
        c.settimeout(20)
        c.connect((HOST, port))
        with ca.context().wrap_socket(c, server_hostname="localhost") as t:
            assert ask(t, headers="X-Forwarded-For: 203.0.113.5\r\n")[0] == 200
    wait_until(lambda: "127.0.0.77" in clients(s) or "203.0.113.5" in clients(s), what="the access line")
    assert "203.0.113.5" not in clients(s)


def upstream_connections(port):
    import psutil
    return sum(1 for c in psutil.net_connections("tcp4")
               if c.laddr and c.laddr.port == port and c.status == psutil.CONN_ESTABLISHED)


HAPROXY = """
global
    maxconn 512
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend passed
    bind 127.0.0.1:%(passed)d
    default_backend secure
frontend ended
    bind 127.0.0.1:%(ended)d ssl crt %(pem)s alpn http/1.1
    mode http
    default_backend plain
backend secure
    server a 127.0.0.1:%(proxy_tls)d send-proxy-v2 check check-send-proxy inter 500ms
backend plain
    mode http
    server a 127.0.0.1:%(proxy)d send-proxy-v2-ssl proxy-v2-options crc32c check inter 500ms
backend old
    server a 127.0.0.1:%(proxy)d send-proxy
frontend first_version
    bind 127.0.0.1:%(old)d
    default_backend old
"""


def test_haproxy_in_front(proxied, ca, front, tmp_path):
    assert shutil.which("haproxy"), "haproxy is missing; make test installs it"
    s = proxied()
    pem = tmp_path / "both.pem"
    pem.write_text("".join(open(f).read() for f in ca.localhost.split()))
    ports = {"passed": free_port(), "ended": free_port(), "old": free_port()}
    conf = tmp_path / "haproxy.cfg"
    conf.write_text(HAPROXY % {**ports, "pem": pem, "proxy": s.proxy_port, "proxy_tls": s.proxy_tls_port})
    front(["haproxy", "-db", "-f", str(conf)], ports["passed"], tmp_path)
    # TLS through haproxy to us, and TLS that ends there: both are https, both tell the client's address.
    for port in (ports["passed"], ports["ended"]):
        check_front(s, "https://localhost:%d" % port, "wss://localhost:%d" % port, ca)
    # The address that is told is that of the connection to haproxy.
    with socket.socket() as c:
        c.bind(("127.0.0.77", 0))
        c.settimeout(20)
        c.connect((HOST, ports["old"]))
        c.sendall(REQUEST)
        assert c.recv(100).startswith(b"HTTP/1.1 200")
    wait_until(lambda: "127.0.0.77" in clients(s), what="the client's address")
    with socket.socket() as c:
        c.bind(("127.0.0.78", 0))
        c.settimeout(20)
        c.connect((HOST, ports["passed"]))
        with ca.context().wrap_socket(c, server_hostname="localhost") as t:
            assert ask(t)[0] == 200
    wait_until(lambda: "127.0.0.78" in clients(s), what="the client's address")
