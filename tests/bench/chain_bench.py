# SPDX-License-Identifier: MIT
"""What the whole chain costs: a signed-in user's read (GET /api/debates/{id}/status) with JWT, rate limits, permissions,
tenant and audit, against the same read of the same server with authentication and limits off.

Both servers answer a finished debate from SQLite; the difference is what security adds to a request.
"""
import json
import statistics
import time
import urllib.request

from bench import Server, cost, ratio_of, rounds, row, wrk

TOKEN = "bench-0123456789-0123456789-0123456789"
# Limits that are counted and never reached; nobody is exempt.
CHAIN = f"""limits: {{exempt: [], connections_per_ip: 0}}
rate_limit: {{enabled: true, per_address: 100000, per_token: 100000, per_tenant: 100000, burst_multiplier: 100,
  rules: [admin=100000, authenticated=100000, "endpoint.debates/*=100000"]}}
auth: {{required: true, api_token: {TOKEN}}}"""
USER = {"email": "bench@example.org", "password": "Bench-0123456789", "name": "Bench"}
OPEN = "limits: {exempt: [], connections_per_ip: 0}\nrate_limit: {enabled: false}"


def call(server, path, token, body=None):
    headers = {"Content-Type": "application/json", **({"Authorization": "Bearer " + token} if token else {})}
    with urllib.request.urlopen(urllib.request.Request(server.url(path), body, headers), timeout=30) as r:
        return json.load(r)


def finished_debate(server, token=None):
    created = call(server, "/api/debates", token, b'{"task": "What does the chain cost?", "rounds": 1}')
    path = "/api/debates/%s/status" % created["id"]
    while call(server, path, token)["status"] != "completed":
        time.sleep(0.1)
    return path


def pipeline():
    closed, opened = Server(1, CHAIN, access=True), Server(1, OPEN, access=True)
    token = call(closed, "/api/auth/register", None, json.dumps(USER).encode())["access_token"]
    closed_path, opened_path = finished_debate(closed, token), finished_debate(opened)
    for s in (closed, opened):
        s.pin()
    a, b = rounds(lambda: cost(closed, lambda: wrk(closed.port, "-H", "Authorization: Bearer " + token, path=closed_path)),
                  lambda: cost(opened, lambda: wrk(opened.port, path=opened_path)))
    row("GET /api/debates/{id}/status: JWT, limits, permission, tenant, audit", f"{statistics.median(a):.1f} us CPU",
        f"all of it off {statistics.median(b):.1f}", f"{ratio_of(a, b):.2f}")
    row("  what security adds", f"{statistics.median(x - y for x, y in zip(a, b)):.1f} us CPU", goal="<= 25 us")
    for s in (closed, opened):
        s.stop()
