# SPDX-License-Identifier: MIT
"""HTTP/2 in the clear beside nginx: GET /api/health with the whole chain and an access log, requests one by one and many at
a time on each connection. nginx answers `return 200` with our body and our header fields, so that both compress the same
head."""
import re
import statistics
import subprocess

from bench import EXEMPT, LOAD_CORE, LOGGED, SECONDS, Nginx, Server, ask, connect, cost, ratio_of, rounds, row


def nginx_alike(answer):
    head, _, body = answer.decode().partition("\r\n\r\n")
    own = ("date", "content-type", "content-length")
    fields = [line.split(": ", 1) for line in head.split("\r\n")[1:] if line.split(":")[0].lower() not in own]
    words = " ".join('add_header %s "%s";' % (k, v) for k, v in fields)
    return Nginx("location / { default_type application/json; return 200 '%s'; %s }" % (body, words), http=LOGGED, listen="http2")


def h2load(port, clients, streams):
    out = subprocess.run(["taskset", "-c", str(LOAD_CORE), "h2load", "-t1", f"-c{clients}", f"-m{streams}", f"-D{SECONDS}",
                          f"http://127.0.0.1:{port}/api/health"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+) succeeded, (\d+) failed", out)
    # Those under way at the end of the time count as failed.
    if found is None or int(found.group(2)) > clients * streams or not re.search(r"status codes: \d+ 2xx, 0 3xx, 0 4xx, 0 5xx", out):
        raise SystemExit("the server answered with errors:\n" + out)
    return int(found.group(1))


def http2():
    ours = Server(1, EXEMPT, access=True)
    with connect(ours.port) as s:
        answer = ask(s)
    theirs = nginx_alike(answer)
    for s in (ours, theirs):
        s.pin()
    for what, clients, streams, goal in (("HTTP/2, GET /api/health, one request at a time", 64, 1, "<= 1.2"),
                                         ("  the same, 32 at a time on each connection", 16, 32, "<= 1.0")):
        a, b = rounds(*(lambda s=s: cost(s, lambda: h2load(s.port, clients, streams)) for s in (ours, theirs)))
        row(what, f"{statistics.median(a):.2f} us CPU", f"nginx {statistics.median(b):.2f}", f"{ratio_of(a, b):.2f}", goal)
    ours.stop()
    theirs.stop()
