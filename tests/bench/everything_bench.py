# SPDX-License-Identifier: MIT
"""What a debate costs with everything on: real providers (a local server that speaks their formats), memory, knowledge and
embeddings that earlier debates on the same subjects have filled, a shared budget, ratings, receipts; on SQLite and PostgreSQL.

Decisions enter by the router, so its cache is asked too. The peer is the same debate by demo agents, which leave out the rest.
"""
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import Server, row
from store_bench import metric

WORKERS = 4
ABOUT = ["the billing system", "a second data centre", "the mobile client", "monthly releases", "our own search engine"]
VERBS = ["Should we replace", "Should we keep", "What does it cost to delay", "Who should own", "How do we test"]
SEEDED = 20  # debates before the measured ones, so that memory and knowledge have something to say


def task(n):
    return "%s %s? Case %d" % (VERBS[n // len(ABOUT) % len(VERBS)], ABOUT[n % len(ABOUT)], n)


def config(provider):
    return """debates: {max_concurrent: 1024, max_queued: 5000}
rate_limit: {enabled: false}
providers: {openai: {base_url: "%s", api_key: k, model: m1}, anthropic: {base_url: "%s", api_key: k, model: m2},
            ollama: {base_url: "%s", model: m4}}
embeddings: {url: "%s", model: e1, dimensions: 256}""" % (provider.openai_url, provider.anthropic_url, provider.ollama_url,
                                                          provider.openai_url)


def debate(server, n, agents):
    server.post("/api/decisions", {"content": task(n), "async": True,
                                   "config": {"rounds": 2, "agents": agents, "early_stopping": False}})


def ended(server, count):
    while metric(server, "aragora_debates_completed") + metric(server, "aragora_debates_failed_total") < count:
        time.sleep(0.5)
    time.sleep(1)  # what is written after the end belongs to the debate


def measure(count, dsn, extra, agents):
    os.environ.pop("DATABASE_URL", None)
    if dsn:
        os.environ["DATABASE_URL"] = dsn
    server = Server(WORKERS, extra)
    try:
        server.post("/api/budgets", {"name": "all", "amount_usd": 1000})
        for n in range(SEEDED):
            debate(server, n, agents)
        ended(server, SEEDED)
        before = metric(server, "aragora_db_commit_seconds_count")
        idle, cpu = server.memory_kb("VmRSS"), server.cpu()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: debate(server, SEEDED + n, agents), range(count)))
        ended(server, SEEDED + count)
        used, peak = server.cpu() - cpu, server.memory_kb("VmHWM")
        if metric(server, "aragora_debates_completed") != SEEDED + count:
            raise SystemExit("not every debate was completed")
        return 1e3 * used / count, (peak - idle) / 1024 / count, (metric(server, "aragora_db_commit_seconds_count") - before) / count
    finally:
        server.stop()
        os.environ.pop("DATABASE_URL", None)


def everything(count=200):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
    from pgkit import Cluster
    from provider import ProviderServer

    cluster, provider = Cluster(durable=True).start(), ProviderServer().start()
    real, demo = ["gpt", "claude", "ollama"], ["demo", "demo", "demo"]
    try:
        provider.script(first_delay=2)
        for name, dsn in (("SQLite", None), ("PostgreSQL", cluster.database())):
            on = measure(count, dsn, config(provider), real)
            off = measure(count, cluster.database() if dsn else None, "debates: {max_concurrent: 1024, max_queued: 5000}\n"
                          "rate_limit: {enabled: false}\nproviders: {demo: {delay_ms: 2000}}", demo)
            row("a debate of 3 agents and 2 rounds with everything on, %d at once, %s: CPU" % (count, name), "%.1f ms" % on[0],
                "demo agents %.1f ms" % off[0], "%.2f" % (on[0] / off[0]), "10 ms")
            row("  memory a debate (peak); commits a debate", "%.2f MB; %.1f" % on[1:], "%.2f MB; %.1f" % off[1:], goal="1 MB")
    finally:
        provider.stop()
        cluster.close()
