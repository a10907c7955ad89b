# SPDX-License-Identifier: MIT
"""Plain HTTP beside nginx: GET /api/health with the whole chain and an access log, kept, pipelined and on new connections;
static files of 10 KB and 1 MB, which nginx sends with sendfile and an open_file_cache of a second, as we do.

nginx answers `return 200` with as many bytes on the wire as our reply has and writes its combined log through a 32 KiB
buffer. Throughput is told per second of the server's own CPU: the load generator is slower than both.
"""
import os
import re
import statistics
import subprocess
import time

from bench import (EXEMPT, LOGGED, RUNS, Nginx, Server, ask, connect, cost, folder_new, nginx_answering, ratio_of, rounds,
                   row, wrk)

PIPELINE = """
local depth = 16
init = function(args)
  request_text = string.rep(wrk.format("GET"), depth)
end
request = function() return request_text end
"""


def pipeline_script():
    path = os.path.join(folder_new(), "pipeline.lua")
    with open(path, "w") as f:
        f.write(PIPELINE)
    return path


def answer_size(port):
    with connect(port) as s:
        return len(ask(s))


def nginx_like(size, measure=answer_size, **more):
    """nginx whose answer has `size` bytes, head and body together."""
    probe = nginx_answering(1, **more)
    head = measure(probe.port) - 1
    probe.stop()
    # The length has a few digits more.
    return nginx_answering(max(size - head - 3, 1), **more)


def compare(what, goal, ours, theirs, *extra, path="/api/health", inverse=False):
    a, b = rounds(*(lambda s=s: cost(s, lambda: wrk(s.port, *extra, path=path)) for s in (ours, theirs)))
    ratio = f"{ratio_of(b, a):.2f} x throughput" if inverse else f"{ratio_of(a, b):.2f}"
    row(what, f"{statistics.median(a):.2f} us CPU", f"nginx {statistics.median(b):.2f}", ratio, goal)


def requests():
    ours = Server(1, EXEMPT, access=True)
    size = answer_size(ours.port)
    theirs = nginx_like(size)
    for s in (ours, theirs):
        s.pin()
    compare(f"GET /api/health, {size} bytes, keep-alive, per request", "<= 1.0", ours, theirs)
    compare("  the same, 16 pipelined", ">= 6 x", ours, theirs, "-s", pipeline_script(), inverse=True)
    compare("  the same, new connection per request", "<= 1.1", ours, theirs, "-H", "Connection: close")
    ours.stop()
    theirs.stop()


def static_files():
    root = folder_new()
    os.chmod(root, 0o755)
    for name, size in (("10k.js", 10000), ("1m.js", 1 << 20)):
        with open(os.path.join(root, name), "wb") as f:
            f.write(os.urandom(size))
    time.sleep(2.5)  # a younger file is looked at more closely
    ours = Server(1, EXEMPT + f"\nstatic: {{root: {root}}}", access=True)
    theirs = Nginx(f"root {root}; sendfile on; open_file_cache max=1000; open_file_cache_valid 1s;", http=LOGGED)
    for s in (ours, theirs):
        s.pin()
    compare("static file of 10 KB, keep-alive, per request", "<= 1.0", ours, theirs, path="/10k.js")
    compare("static file of 1 MB, keep-alive, per request", "<= 1.1", ours, theirs, path="/1m.js")
    ours.stop()
    theirs.stop()


def idle(count=10000):
    """Resident memory of the worker per connection that has made a request and waits."""
    found = []
    for make in (lambda: Server(1, EXEMPT, server=", worker_connections: 20000, keepalive: 60"), lambda: nginx_answering(100)):
        server = make()
        warm = [connect(server.port) for _ in range(200)]
        for s in warm:
            ask(s, "/healthz")
        before, kept = server.memory_kb("RssAnon"), []
        for _ in range(count):
            kept.append(connect(server.port))
            ask(kept[-1], "/healthz")
        found.append(1024 * (server.memory_kb("RssAnon") - before) / count)
        for s in kept + warm:
            s.close()
        server.stop()
    row(f"idle keep-alive connection, resident, of {count}", f"{found[0]:.0f} bytes", f"nginx {found[1]:.0f}",
        f"{found[0] / found[1]:.2f}", "<= 1024 bytes")


def routes():
    out = subprocess.run([os.environ.get("ROUTE_BENCH", "build/release/tests/bench/route_bench")], check=True,
                         capture_output=True, text=True).stdout
    for name, few, many, ratio in re.findall(r"route lookup, ([^:]*): (\d+) ns .* (\d+) ns .* ratio ([\d.]+)", out):
        row(f"route lookup, {name}, among 5,000 (10)", f"{many} ns", f"({few} ns)", ratio, "within 1.2")


def start():
    """From exec to the first answered request, with a store that is already migrated."""
    first = Server(4, EXEMPT)
    first.stop()
    times = []
    for _ in range(RUNS):
        again = Server(4, EXEMPT, folder=first.folder)
        times.append(1e3 * (time.monotonic() - again.started))
        again.stop()
    row("start to ready, 4 workers, migrated SQLite", f"{statistics.median(times):.0f} ms", goal="<= 150 ms")
