# SPDX-License-Identifier: MIT
"""What the whole chain costs: an authenticated read (GET /api/debates/{id}) with rate limits, permissions, tenant and audit,
against the same read of the same server with authentication and limits off.

Both servers answer the same debate from SQLite; the difference is what security adds to a request.
"""
import json
import statistics
import urllib.request

from bench import Server, cost, ratio_of, rounds, row, wrk

TOKEN = "bench-0123456789-0123456789-0123456789"
# Limits that are counted and never reached; nobody is exempt.
CHAIN = ("limits: {exempt: [], connections_per_ip: 0}\n"
         "rate_limit: {enabled: true, per_address: 100000000, per_token: 100000000, per_tenant: 100000000}\n"
         "auth: {api_token: %s}" % TOKEN)
OPEN = "limits: {exempt: [], connections_per_ip: 0}\nrate_limit: {enabled: false}"


def debate_of(server, token=None):
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = "Bearer " + token
    request = urllib.request.Request(server.url("/api/debates"), b'{"task": "What does the chain cost?", "rounds": 1}', headers)
    with urllib.request.urlopen(request, timeout=30) as r:
        return json.load(r)["id"]


def pipeline():
    closed, opened = Server(1, CHAIN, access=True), Server(1, OPEN, access=True)
    paths = "/api/debates/%s/status" % debate_of(closed, TOKEN), "/api/debates/%s/status" % debate_of(opened)
    for s in (closed, opened):
        s.pin()
    extra = ("-H", "Authorization: Bearer " + TOKEN), ()
    a, b = rounds(*(lambda s=s, p=p, e=e: cost(s, lambda: wrk(s.port, *e, path=p)) for s, p, e in
                    zip((closed, opened), paths, extra)))
    added = statistics.median(x - y for x, y in zip(a, b))
    row("GET /api/debates/{id}/status, token, limits, permission, audit", f"{statistics.median(a):.1f} us CPU",
        f"all of it off {statistics.median(b):.1f}", f"{ratio_of(a, b):.2f}")
    row("  what security adds", f"{added:.1f} us CPU", goal="<= 25 us")
    for s in (closed, opened):
        s.stop()
