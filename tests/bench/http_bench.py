# SPDX-License-Identifier: MIT
"""Plain HTTP beside nginx: GET /api/health with the whole chain and an access log, kept, pipelined and on new connections;
static files of 10 KB and 1 MB, which nginx sends with sendfile and an open_file_cache of a second, as we do.

Both servers have one worker, bound to the same core; the load comes from the other one. nginx answers `return 200` with as
many bytes on the wire as our reply has and writes its combined log through a 32 KiB buffer. The two are measured in turn
and the medians compared. Throughput is told per second of the server's own CPU: the load generator is slower than both.
"""
import os
import re
import socket
import statistics
import subprocess
import tempfile
import time

from bench import Server, cpu_seconds, family, free_port, memory_kb

SECONDS = int(os.environ.get("BENCH_SECONDS", "2"))
RUNS = int(os.environ.get("BENCH_RUNS", "5"))
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]
OURS = 'limits: {exempt: ["127.0.0.0/8"]}'
PIPELINE = """
local depth = 16
init = function(args)
  local one = wrk.format("GET")
  request_text = string.rep(one, depth)
end
request = function() return request_text end
"""


def pin(pid, core):
    for p in family(pid):
        os.sched_setaffinity(p, {core})


def connect(port):
    s = socket.create_connection(("127.0.0.1", port))
    s.settimeout(10)
    return s


def ask(s, path="/api/health"):
    """One reply as it stands on the wire."""
    s.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    data = b""
    while b"\r\n\r\n" not in data:
        data += s.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(re.search(rb"(?i)content-length: (\d+)", head).group(1))
    while len(body) < length:
        body += s.recv(65536)
    return head + b"\r\n\r\n" + body


class Nginx:
    """One worker that answers `size` bytes, head and body together; or the files of a folder."""

    def __init__(self, size, root=None):
        self.folder, self.port = tempfile.mkdtemp(prefix="aragora-bench."), free_port()
        if root:
            self.start(f"root {root}; sendfile on; open_file_cache max=1000; open_file_cache_valid 1s;")
            return
        self.answer(1)
        with connect(self.port) as s:
            head = len(ask(s)) - 1
        self.stop()
        self.port = free_port()
        self.answer(max(size - head - 3, 1))

    def answer(self, body):
        self.start(f"default_type application/json; return 200 '{'x' * body}';")

    def start(self, location):
        conf = os.path.join(self.folder, "nginx.conf")
        with open(conf, "w") as f:
            f.write(f"""daemon off; worker_processes 1; pid {self.folder}/pid; error_log {self.folder}/error.log;
events {{ worker_connections 20000; }} worker_rlimit_nofile 40000;
http {{ access_log {self.folder}/access combined buffer=32k flush=1s; keepalive_requests 100000000; keepalive_timeout 60s;
client_body_temp_path {self.folder}/a; proxy_temp_path {self.folder}/b; fastcgi_temp_path {self.folder}/c;
uwsgi_temp_path {self.folder}/d; scgi_temp_path {self.folder}/e;
server {{ listen 127.0.0.1:{self.port} backlog=4096; location / {{ {location} }} }} }}
""")
        self.process = subprocess.Popen(["nginx", "-c", conf, "-p", self.folder])
        for _ in range(1000):
            try:
                connect(self.port).close()
                break
            except OSError:
                time.sleep(0.01)
        time.sleep(0.1)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


def wrk(port, *extra, path="/api/health"):
    out = subprocess.run(["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", "-c64", f"-d{SECONDS}s", *extra,
                          f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out:
        raise SystemExit("the server answered with errors:\n" + out)
    return int(re.search(r"(\d+) requests in", out).group(1))


def measure(pid, port, *extra, **kw):
    before = cpu_seconds(pid)
    n = wrk(port, *extra, **kw)
    return 1e6 * (cpu_seconds(pid) - before) / n


def compare(what, goal, ours, theirs, *extra, inverse=False, **kw):
    rows = []
    for i in range(RUNS + 1):
        row = measure(ours.process.pid, ours.port, *extra, **kw), measure(theirs.process.pid, theirs.port, *extra, **kw)
        if i > 0:  # the first one warms
            rows.append(row)
    a, b = (statistics.median(r[i] for r in rows) for i in (0, 1))
    ratio = statistics.median(r[1] / r[0] if inverse else r[0] / r[1] for r in rows)
    print(f"{what}: {a:.2f} us CPU a request, nginx {b:.2f}: " + (
        f"{ratio:.2f} x nginx's requests per CPU second" if inverse else f"ratio {ratio:.2f}") + f" (goal {goal})", flush=True)


def requests():
    ours = Server(1, OURS, access=True)
    with connect(ours.port) as s:
        size = len(ask(s))
    theirs = Nginx(size)
    for s in (ours, theirs):
        pin(s.process.pid, SERVER_CORE)
    script = os.path.join(theirs.folder, "pipeline.lua")
    with open(script, "w") as f:
        f.write(PIPELINE)
    print(f"GET /api/health with the whole chain and access log to a file, {size} bytes on the wire; median of {RUNS} runs")
    compare("  keep-alive", "<= 1.0", ours, theirs)
    compare("  16 pipelined", ">= 6", ours, theirs, "-s", script, inverse=True)
    compare("  new connection per request", "<= 1.1", ours, theirs, "-H", "Connection: close")
    ours.stop()
    theirs.stop()


def static_files():
    root = tempfile.mkdtemp(prefix="aragora-bench.")
    os.chmod(root, 0o755)
    for name, size in (("10k.js", 10000), ("1m.js", 1 << 20)):
        with open(os.path.join(root, name), "wb") as f:
            f.write(os.urandom(size))
    time.sleep(2.5)  # a younger file is looked at more closely
    ours, theirs = Server(1, OURS + f"\nstatic: {{root: {root}}}", access=True), Nginx(0, root)
    for s in (ours, theirs):
        pin(s.process.pid, SERVER_CORE)
    print(f"static files, kept connections, access log to a file; median of {RUNS} runs")
    compare("  10 KB", "<= 1.0", ours, theirs, path="/10k.js")
    compare("  1 MB", "<= 1.1", ours, theirs, path="/1m.js")
    ours.stop()
    theirs.stop()


def idle(count=10000):
    """Resident memory of the worker per connection that has made a request and waits."""
    rows = {}
    ours = Server(1, OURS, server=", worker_connections: 20000, keepalive: 60")
    for name, server in (("aragorad", ours), ("nginx", Nginx(1000))):
        warm = [connect(server.port) for _ in range(200)]
        for s in warm:
            ask(s, "/healthz")
        before = memory_kb(server.process.pid, "RssAnon")
        kept = []
        for _ in range(count):
            s = connect(server.port)
            ask(s, "/healthz")
            kept.append(s)
        rows[name] = 1024 * (memory_kb(server.process.pid, "RssAnon") - before) / count
        for s in kept + warm:
            s.close()
        server.stop()
    print(f"idle keep-alive connection: {rows['aragorad']:.0f} bytes resident, nginx {rows['nginx']:.0f} "
          f"({count} connections; goal <= 1024)", flush=True)


def start():
    """From exec to the first answered request, with a store that is already migrated."""
    first = Server(4, OURS)
    first.stop()
    times = []
    for _ in range(RUNS):
        again = Server(4, OURS, folder=first.folder)
        times.append(1e3 * (time.monotonic() - again.started))
        again.stop()
    print(f"start to ready, 4 workers, migrated SQLite: {statistics.median(times):.0f} ms (median of {RUNS}, goal <= 150)", flush=True)


if __name__ == "__main__":
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    requests()
    static_files()
    subprocess.run([os.environ.get("ROUTE_BENCH", "build/release/tests/bench/route_bench")], check=True)
    start()
    idle()
