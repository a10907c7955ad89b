# SPDX-License-Identifier: MIT
"""What rate limits cost: the same authenticated read with and without them, and with counts shared through Redis. The
limits are so high that nothing is refused; the client is not exempt."""
import statistics

from bench import Server, cost, row, rounds, wrk
from nodes_bench import Redis

TOKEN = "a-token-of-the-benchmark-0123456789"
READ = "/api/system/info"
HIGH = ", ".join(f'"{name}=100000/100000000"' for name in ("address", "token", "tenant", "admin", "tier.enterprise"))
COUNTED = ("limits: {exempt: [], connections_per_ip: 0}\nauth: {required: true, api_token: %s}\n"
           "rate_limit: {enabled: %s, tiers: true, rules: [%s]}\n")


def measure(server):
    return cost(server, lambda: wrk(server.port, "-H", "Authorization: Bearer " + TOKEN, path=READ))


def limits():
    redis = Redis()
    servers = [Server(1, COUNTED % (TOKEN, enabled, HIGH) + more)
               for enabled, more in (("false", ""), ("true", ""), ("true", f'redis: {{url: "redis://127.0.0.1:{redis.port}"}}\n'))]
    for s in servers:
        s.pin()
    off, on, shared = (statistics.median(x) for x in rounds(*(lambda s=s: measure(s) for s in servers)))
    row("rate limits: address, token, tenant, user and tier, added to a read", f"{on - off:.2f} us CPU", f"(read: {off:.2f})", goal="<= 2 us")
    row("  the same, shared through Redis", f"{shared - off:.2f} us CPU", goal="<= 2 us")
    for s in (*servers, redis):
        s.stop()
