# SPDX-License-Identifier: MIT
"""The built web application: its files, their headers, conditions, ranges, compressed siblings, paths that must not work."""
import gzip
import os
import re
import socket
import ssl
import subprocess
import threading
import time

import psutil
import pytest

from conftest import free_port, wait_until
from h2_kit import H2, INTERNAL_ERROR
from tls_kit import HOST, Authority, connect

PAGE = b"<!doctype html><title>app</title>"
SCRIPT = b"export const answer = 42;\n" * 40
BIG = os.urandom(3 << 20) + b"the end"
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
YEAR, DAY = "public, max-age=31536000, immutable", "public, max-age=86400"


def fill(root, **files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture
def root(tmp_path):
    r = tmp_path / "dist"
    fill(r, **{"index.html": PAGE, "app.3f9a1c2b.js": SCRIPT, "assets/index-BDkq9x2Z.css": b"a{}", "plain.js": SCRIPT,
               "logo.svg": b"<svg/>", "docs/index.html": b"docs", "docs/a b.txt": b"text", "empty/x": b"", "big.bin": BIG,
               ".env": b"SECRET=1", ".git/config": b"secret", ".well-known/security.txt": b"Contact: x", "none.txt": b"",
               "nested/.htpasswd": b"secret"})
    (tmp_path / "outside.txt").write_text("outside")
    return r


@pytest.fixture
def site(make_server, root):
    def make(static=None, **config):
        return make_server({"static": {"root": str(root), **(static or {})}, **config})
    return make


def get(s, path, method="GET", **headers):
    return s.request(method, path, headers={"Accept-Encoding": "identity", **{k.replace("_", "-"): v for k, v in headers.items()}},
                     allow_redirects=False)


def raw(s, path, method="GET", headers="", half=False):
    """A request exactly as written; the whole answer up to the end of the connection."""
    with socket.create_connection(("127.0.0.1", s.port), 20) as c:
        c.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n".encode())
        if half:
            c.shutdown(socket.SHUT_WR)
        data = b""
        while part := c.recv(1 << 16):
            data += part
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), head, body


# ---- what is served, and how ----

def test_files_and_types(site, root):
    s = site()
    for path, body, kind, cache in [
            ("/", PAGE, "text/html; charset=utf-8", "no-cache"),
            ("/index.html", PAGE, "text/html; charset=utf-8", "no-cache"),
            ("/plain.js", SCRIPT, "text/javascript; charset=utf-8", DAY),
            ("/app.3f9a1c2b.js", SCRIPT, "text/javascript; charset=utf-8", YEAR),
            ("/assets/index-BDkq9x2Z.css", b"a{}", "text/css; charset=utf-8", YEAR),
            ("/logo.svg", b"<svg/>", "image/svg+xml", DAY),
            ("/docs/a%20b.txt", b"text", "text/plain; charset=utf-8", DAY),
            ("/big.bin", BIG, "application/octet-stream", DAY),
            ("/docs/", b"docs", "text/html; charset=utf-8", "no-cache"),
            ("/.well-known/security.txt", b"Contact: x", "text/plain; charset=utf-8", DAY)]:
        for _ in range(2):  # read anew, and known
            r = get(s, path)
            assert (r.status_code, r.content) == (200, body), path
            assert r.headers["Content-Type"] == kind and r.headers["Cache-Control"] == cache, path
            assert r.headers["X-Content-Type-Options"] == "nosniff" and r.headers["Accept-Ranges"] == "bytes"
            assert re.fullmatch(r'(W/)?"[0-9a-f-]+"', r.headers["ETag"])
            assert r.headers["Last-Modified"].endswith(" GMT")
        h = get(s, path, "HEAD")
        assert (h.status_code, h.content) == (200, b"") and int(h.headers["Content-Length"]) == len(body)
    r = get(s, "/none.txt")
    assert (r.status_code, r.content, r.headers["Content-Length"]) == (200, b"", "0")
    # The API is where it was, and the routes are told.
    assert s.get("/api/health").json()["status"]
    assert "/{path...}" in s.command("routes", "-c", s.conf_path).stdout
    assert not [p for p in s.get("/api/openapi.json").json()["paths"] if "..." in p]
    assert 'aragora_static_lookups_total{result="hit"}' in s.get("/metrics").text


def test_methods(site):
    s = site()
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        r = get(s, "/plain.js", method)
        assert (r.status_code, r.headers["Allow"]) == (405, "GET, HEAD, OPTIONS"), method
    assert get(s, "/plain.js", "OPTIONS").headers["Allow"] == "GET, HEAD, OPTIONS"
    assert s.post("/api/nothing", {}).status_code == 404


def test_off_by_default(server):
    assert server.get("/index.html").status_code == 404
    assert server.get("/").json()["name"]


def test_folders(site):
    s = site()
    r = get(s, "/docs?a=1")
    assert (r.status_code, r.headers["Location"]) == (301, "/docs/?a=1")
    assert get(s, "//docs").headers["Location"] == "/docs/"  # never another host
    assert get(s, "/empty", Accept="application/json").status_code == 404
    assert get(s, "/empty/", Accept="application/json").status_code == 404
    assert get(s, "/plain.js/").status_code == 404


def test_fallback(site):
    s = site()
    for path in ("/debates", "/debates/12/votes", "/empty", "/debates/"):
        r = get(s, path, **HTML)
        assert (r.status_code, r.content, r.headers["Cache-Control"]) == (200, PAGE, "no-cache"), path
        assert sorted(r.headers["Vary"].split(", ")) == ["Accept", "Origin"]
        assert get(s, path, "HEAD", **HTML).status_code == 200
    assert get(s, "/debates", Accept="application/json").status_code == 404
    for path in ("/missing.js", "/assets/gone-BDkq9x2Z.css", "/.env", "/.git/config", "/x/.hidden", "/api/nothing", "/api",
                 "/api/v1/nothing", "/api/debates/nothing/nothing/x"):
        r = get(s, path, **HTML)
        assert r.status_code == 404 and r.json()["error"] and PAGE not in r.content, path


def test_fallback_off(site):
    s = site({"fallback": False})
    assert get(s, "/debates", **HTML).status_code == 404 and get(s, "/", **HTML).content == PAGE


# ---- paths that must not work ----

def test_paths_stay_inside(site, root, tmp_path):
    (root / "out.txt").symlink_to(tmp_path / "outside.txt")
    (root / "up.txt").symlink_to("../outside.txt")
    (root / "folder").symlink_to(tmp_path)
    (root / "in.txt").symlink_to("docs/a b.txt")
    # A neighbour whose name begins like ours: a comparison of beginnings would let it through.
    evil = root.parent / (root.name + "-evil")
    evil.mkdir()
    (evil / "secret.txt").write_text("SECRET")
    (root / "evil.txt").symlink_to(evil / "secret.txt")
    os.mkfifo(root / "fifo.txt")
    (root / "closed.txt").write_text("x")
    (root / "sock.txt").symlink_to("/dev/zero")
    s = site()
    for path in ("/../outside.txt", "/docs/../../outside.txt", "/%2e%2e/outside.txt", "/..%2foutside.txt", "/%2e%2e%2foutside.txt",
                 "/docs/..%2f..%2foutside.txt", "/.%2e/outside.txt", "/..\\outside.txt", "/..%5coutside.txt",
                 "/plain.js%00.txt", "/%00", "/out.txt", "/up.txt", "/folder/outside.txt", "/fifo.txt", "/sock.txt", "/.env", "/.git/config",
                 "/nested/.htpasswd", "/%2eenv", "//.env", "/" + "a" * 300 + ".txt", "/" + "a/" * 2500 + "b.txt",
                 "/%252e%252e/outside.txt", "/evil.txt", *(up + evil.name + "/secret.txt" for up in ("/../", "/%2e%2e/", "/..%2f"))):
        status, head, body = raw(s, path, headers="Accept: text/html\r\n")
        assert status in (400, 404), (path, head)
        assert b"outside" not in body or b'"error"' in body, path
        assert b"SECRET" not in body and PAGE not in body, path
    assert get(s, "/in.txt").content == b"text"  # a link that stays inside
    s.wait_log("a file is not served")


# ---- conditions and ranges ----

def old(root, name, seconds=3600):
    t = time.time() - seconds
    os.utime(root / name, (t, t))


def test_conditions(site, root):
    for name in ("big.bin", "plain.js"):
        old(root, name)
    s = site()
    for path in ("/plain.js", "/big.bin"):
        r = get(s, path)
        tag, modified = r.headers["ETag"], r.headers["Last-Modified"]
        for fields, status in [({"If-None-Match": tag}, 304), ({"If-None-Match": "W/" + tag}, 304), ({"If-None-Match": "*"}, 304),
                               ({"If-None-Match": '"x"'}, 200), ({"If-None-Match": '"x", ' + tag}, 304),
                               ({"If-Modified-Since": modified}, 304), ({"If-None-Match": '"x"', "If-Modified-Since": modified}, 200),
                               ({"If-Modified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}, 200),
                               ({"If-Match": tag}, 200), ({"If-Match": '"x"'}, 412), ({"If-Match": "*"}, 200),
                               ({"If-Unmodified-Since": modified}, 200), ({"If-Unmodified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}, 412),
                               ({"If-Match": tag, "If-None-Match": tag}, 304), ({"If-Match": '"x"', "If-None-Match": tag}, 412)]:
            for method in ("GET", "HEAD"):
                r = get(s, path, method, **fields)
                assert r.status_code == status, (path, fields)
                if status == 304:
                    assert r.headers["ETag"] == tag and r.headers["Cache-Control"] == DAY and "Content-Length" not in r.headers
                if status == 412:
                    assert "Cache-Control" not in r.headers


def test_ranges(site, root):
    for name in ("big.bin", "plain.js"):
        old(root, name)
    s = site()
    for path, body in (("/plain.js", SCRIPT), ("/big.bin", BIG)):
        n = len(body)
        whole = get(s, path)
        for field, want in [("0-9", body[:10]), ("5-", body[5:]), ("-7", body[-7:]), (f"{n - 1}-{n + 99}", body[-1:]), (f"-{n + 5}", body)]:
            r = get(s, path, Range="bytes=" + field)
            assert r.status_code == 206 and r.content == want, field
            at = n - len(want) if field[0] == "-" or int(field.split("-")[0]) >= n - 1 else int(field.split("-")[0])
            assert r.headers["Content-Range"] == f"bytes {at}-{at + len(want) - 1}/{n}"
        r = get(s, path, Range=f"bytes={n}-")
        assert r.status_code == 416 and r.headers["Content-Range"] == f"bytes */{n}" and "Cache-Control" not in r.headers
        for field in ("bytes=0-1,4-5", "bytes=x-", "lines=0-1", "bytes=9-1"):
            r = get(s, path, Range=field)
            assert r.status_code == 200 and r.content == body, field
        for value, status in [(whole.headers["ETag"], 206), ('"x"', 200), ("W/" + whole.headers["ETag"], 200),
                              (whole.headers["Last-Modified"], 206), ("Sun, 06 Nov 1994 08:49:37 GMT", 200)]:
            assert get(s, path, Range="bytes=0-1", If_Range=value).status_code == status, value
        assert get(s, path, "HEAD", Range="bytes=0-1").status_code == 200


# ---- compressed siblings ----

def test_precompressed(site, root):
    packed = gzip.compress(SCRIPT)
    fill(root, **{"plain.js.gz": packed, "plain.js.br": b"brotli", "index.html.gz": gzip.compress(PAGE * 20), "old.js": SCRIPT,
                  "old.js.gz": packed, "large.js": b"x", "large.js.gz": packed})
    old(root, "old.js.gz")
    s = site()
    tags = set()
    for accept, coding, body in [("gzip", "gzip", packed), ("gzip, br", "br", b"brotli"), ("br;q=0.1, gzip", "gzip", packed),
                                 ("br;q=0, gzip;q=0", None, SCRIPT), ("*", "br", b"brotli"), ("", None, SCRIPT)]:
        status, head, content = raw(s, "/plain.js", headers=f"Accept-Encoding: {accept}\r\n")
        assert status == 200 and content == body, accept
        found = re.search(rb"(?i)content-encoding: (\w+)", head)
        assert (found and found.group(1).decode()) == coding
        assert b"text/javascript" in head and re.search(rb"\r\nVary: Accept-Encoding\r\n", head)
        tags.add((coding, re.search(rb"ETag: (\S+)", head).group(1)))
    assert len(tags) == 3 == len({t for _, t in tags})  # one tag for each form
    for name in ("/old.js", "/large.js"):  # a sibling that is older, and one that is no gain
        _, head, _ = raw(s, name, headers="Accept-Encoding: gzip\r\n")
        assert b"Content-Encoding" not in head, name
    status, head, body = raw(s, "/plain.js", headers="Accept-Encoding: gzip\r\nRange: bytes=2-4\r\n")
    assert status == 206 and body == packed[2:5]  # of the form that was chosen


# ---- changes on disk ----

def test_changes_are_seen(site, root):
    s = site(server={"workers": 1})
    first = get(s, "/plain.js")
    (root / "plain.js").write_bytes(b"new")
    wait_until(lambda: get(s, "/plain.js").content == b"new", 10, "the new content")
    assert get(s, "/plain.js").headers["ETag"] != first.headers["ETag"]
    (root / "plain.js").unlink()
    wait_until(lambda: get(s, "/plain.js").status_code == 404, 10, "the end of the file")
    # A release that is put in place by pointing the root's link elsewhere, as one rename.
    assert get(s, "/gone.txt").status_code == 404
    fill(root, **{"gone.txt": b"back"})
    assert get(s, "/gone.txt").content == b"back"  # what is not there is not remembered


def test_release_by_link(make_server, tmp_path):
    for name in ("one", "two"):
        fill(tmp_path / name, **{"v.txt": name.encode()})
    (tmp_path / "current").symlink_to("one")
    s = make_server({"static": {"root": str(tmp_path / "current")}, "server": {"workers": 1}})
    assert get(s, "/v.txt").content == b"one"
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(tmp_path / "current")
    wait_until(lambda: get(s, "/v.txt").content == b"two", 10, "the next release")


def test_root_must_exist(make_server, tmp_path):
    s = make_server({"static": {"root": str(tmp_path / "nothing")}}, start=False)
    out = s.command("-t", "-c", s.conf_path)
    assert out.returncode != 0 and "static.root" in out.stderr + out.stdout
    code, text = s.spawn().expect_exit()
    assert code != 0 and "static.root" in text


@pytest.mark.parametrize("static", [{"cache_files": 0}, {"cache_files": 2, "cache_bytes": 100}, {"cache_bytes": 0, "precompressed": False}])
def test_without_cache(site, static):
    s = site(static)
    for _ in range(3):
        for path, body in (("/plain.js", SCRIPT), ("/app.3f9a1c2b.js", SCRIPT), ("/", PAGE), ("/big.bin", BIG), ("/none.txt", b"")):
            r = get(s, path)
            assert r.status_code == 200 and r.content == body
    workers = [p for p in s.family() if p.pid != s.process.pid]
    if static.get("cache_files") == 0:  # no descriptor is left behind
        for w in workers:
            assert not [f for f in w.open_files() if "/dist/" in f.path]


# ---- large files ----

def read_all(c, part=1 << 16):
    data = b""
    while b"\r\n\r\n" not in data:
        data += c.recv(part)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(re.search(rb"(?i)content-length: (\d+)", head).group(1))
    body = bytearray(body)
    while len(body) < length:
        more = c.recv(part)
        if not more:
            break
        body += more
    return head, bytes(body)


def test_kept_connection_and_pipelining(site):
    s = site()
    with socket.create_connection(("127.0.0.1", s.port), 20) as c:
        for _ in range(3):
            c.sendall(b"GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
            assert read_all(c)[1] == BIG
        ask = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"
        c.sendall(ask % b"/big.bin" + ask % b"/plain.js" + ask % b"/big.bin" + ask % b"/healthz")
        data = bytearray()
        while not data.endswith(b'{"status":"ok"}'):
            data += c.recv(1 << 16)
        assert data.count(b"HTTP/1.1 200 OK") == 4
        assert bytes(data).index(BIG) < bytes(data).index(SCRIPT) < bytes(data).rindex(BIG)
    assert raw(s, "/big.bin", half=True)[2] == BIG  # a client that has shut its side
    line = wait_until(lambda: [l for l in s.access_path.read_text().splitlines() if "/big.bin" in l], 10, "an access line")[-1]
    assert " 200 %d " % len(BIG) in line


def test_tls_and_many_at_once(site, root, tmp_path):
    ca, port = Authority(tmp_path), free_port()
    s = site(server={"ws_bind": ["tls:%s:%d" % (HOST, port)], "tls": {"certificates": [ca.issue("localhost", "localhost")]}})
    failures = []

    def one(tls):
        try:
            c = connect(port, ca.context()) if tls else socket.create_connection(("127.0.0.1", s.port), 60)
            with c:
                for _ in range(3):
                    c.sendall(b"GET /big.bin HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    head, body = read_all(c)
                    assert body == BIG, len(body)
        except (AssertionError, OSError, ssl.SSLError) as e:
            failures.append(e)
    threads = [threading.Thread(target=one, args=(i % 2 == 0,)) for i in range(10)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
    assert not failures


def test_slow_reader(site, root):
    """One that takes nothing is closed by the write deadline, costs no memory meanwhile, and holds up nobody."""
    with open(root / "huge.bin", "wb") as f:
        f.truncate(256 << 20)
    s = site(server={"workers": 1, "write_timeout": "1500ms"})
    worker = next(p for p in s.family() if p.pid != s.process.pid)
    assert get(s, "/plain.js").status_code == 200
    before = worker.memory_info().rss
    slow = []
    for _ in range(8):
        c = socket.socket()
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.settimeout(20)
        c.connect(("127.0.0.1", s.port))
        c.sendall(b"GET /huge.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        slow.append(c)
    for _ in range(50):
        assert get(s, "/plain.js").status_code == 200
    assert worker.memory_info().rss - before < 24 << 20
    wait_until(lambda: len([c for c in psutil.Process(worker.pid).connections() if c.status == "ESTABLISHED"]) <= 1, 20,
               "the slow readers to be closed")
    for c in slow:
        c.close()


def test_file_gets_shorter(site, root):
    """What was promised cannot be kept: the connection ends, rather than the next answer being taken for the rest."""
    with open(root / "huge.bin", "wb") as f:
        f.truncate(64 << 20)
    s = site()
    with socket.socket() as c:
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.settimeout(20)
        c.connect(("127.0.0.1", s.port))
        c.sendall(b"GET /huge.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        assert c.recv(100)
        os.truncate(root / "huge.bin", 1000)
        n = 100
        while part := c.recv(1 << 16):
            n += len(part)
        assert n < 64 << 20
    s.wait_log("a file ended or failed while it was sent")


def test_file_gets_shorter_beside_other_streams(site, root):
    """Over HTTP/2 the stream alone is reset; the connection goes on."""
    s = site()
    with H2(s.port, read=False, window=65535) as c:
        big = c.begin(path="/big.bin")
        c.until(lambda: big in c.answers and len(c.answers[big].body) == 65535)
        os.truncate(root / "big.bin", 1000)
        c.grow(0, 1 << 22)
        c.grow(big, 1 << 22)
        assert c.answer(big).reset == INTERNAL_ERROR and not c.answers[big].ended
        assert c.ask(path="/healthz").status == 200


def test_draining_finishes_downloads(site):
    s = site(server={"workers": 1, "graceful_timeout": "20s"})
    with socket.socket() as c:
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.settimeout(30)
        c.connect(("127.0.0.1", s.port))
        c.sendall(b"GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        first = c.recv(1000)
        s.signal(15)
        s.wait_log("draining")
        data = first
        while part := c.recv(1 << 20):
            data += part
    assert data.partition(b"\r\n\r\n")[2] == BIG
    assert s.expect_exit()[0] == 0


def test_http2(site, root, tmp_path):
    """The same files as streams of one connection, by prior knowledge."""
    old(root, "big.bin")
    s = site()

    def curl(*args):
        out = tmp_path / "out"
        r = subprocess.run(["curl", "-sS", "--http2-prior-knowledge", "--max-time", "60", "-D", "-", "-o", str(out), *args],
                           capture_output=True, text=True, check=True, timeout=90)
        return int(r.stdout.split()[1]), r.stdout.lower(), out.read_bytes() if "-I" not in args else b""

    big = s.url + "/big.bin"
    status, head, body = curl(big)
    assert (status, body) == (200, BIG) and head.startswith("http/2") and "content-length: %d" % len(BIG) in head
    tag = re.search(r'etag: (\S+)', head).group(1)
    assert curl("-H", "If-None-Match: " + tag, big)[0] == 304
    status, head, body = curl("-H", "Range: bytes=1000000-2999999", big)
    assert (status, body) == (206, BIG[1000000:3000000]) and "content-range: bytes 1000000-2999999/" in head
    status, head, _ = curl("-I", big)
    assert status == 200 and "content-length: %d" % len(BIG) in head
    assert curl(s.url + "/plain.js")[2] == SCRIPT
