# SPDX-License-Identifier: MIT
"""Several nodes on one PostgreSQL and one Redis are one service: any node serves any request and streams any debate,
an abandoned one is taken over, work is shared, and a frozen owner that comes back writes nothing.
"""
import asyncio
import time
from collections import Counter
from signal import SIGCONT, SIGSTOP

import psutil
import pytest

from conftest import wait_until
from pgkit import Cluster
from redis_kit import health, make_redis, redis_server  # noqa: F401  (fixtures)
from talk import Sse, call, create, dense, durable, log, run, socket, status, wait_end, wait_status

LEASE = 2.0


@pytest.fixture
def cluster(postgres, redis_server, make_server):
    return Nodes(postgres, redis_server, make_server)


@pytest.fixture
def postgres_alone():
    """A cluster of its own, to be stopped."""
    c = Cluster().start()
    yield c
    c.close()


class Nodes:
    """Nodes of one service. Without Redis: `redis=False`."""

    def __init__(self, postgres, redis, make_server):
        self.postgres, self.redis, self.make_server = postgres, redis, make_server
        self.database = postgres.create()
        self.nodes = []

    def node(self, delay=150, redis=True, workers=2, start=True, role="all", **more):
        config = {"server": {"workers": workers, "role": role}, "storage": {"dsn": self.postgres.dsn(self.database)},
                  "debates": {"lease": "%gs" % LEASE, "max_concurrent": 8, "token_merge": "10ms"},
                  "providers": {"demo": {"delay_ms": delay}}, "websocket": {"message_rate": 0}}
        if redis:
            config["redis"] = {"url": self.redis.url(), "timeout": "500ms", "retry_max": "200ms"}
        for section, values in more.items():
            config[section] = {**config.get(section, {}), **values}
        s = self.make_server(config, start=start)
        self.nodes.append(s)
        if redis and start:
            health(s, "connected")
        return s

    def query(self, sql, *args):
        return self.postgres.query(self.database, sql, *args)

    def owner(self, debate):
        """The node that runs it, or None."""
        found = self.query("SELECT p.node_id FROM debates d JOIN processes p ON p.incarnation = d.owner WHERE d.id = %s", debate)
        return found[0][0] if found else None

    def owner_pid(self, node, debate):
        """The process on the node that runs it."""
        slot = self.query("SELECT p.slot FROM debates d JOIN processes p ON p.incarnation = d.owner WHERE d.id = %s", debate)
        return next(w["pid"] for w in node.workers() if w["slot"] == slot[0][0])

    def takeovers(self, debate):
        return self.query("SELECT epoch - 1 FROM debates WHERE id = %s", debate)[0][0]


def node_id(server):
    return server.status()["node_id"]


def told_once(events):
    """Each thing is said once, whoever said it: no step ran to its end twice."""
    dense(events)
    assert [e["type"] for e in events].count("debate_end") == 1 and events[-1]["type"] == "debate_end"
    said = Counter((e["type"], e["agent"], e["round"], e["data"].get("kind"), e["data"].get("target"), e["data"].get("phase"))
                   for e in events if e["type"] in ("agent_message", "critique", "vote", "round_start", "consensus", "debate_start"))
    assert max(said.values()) == 1, said


def same_everywhere(debate, *nodes):
    logs = [log(n, debate) for n in nodes]
    assert all(x == logs[0] for x in logs)
    told_once(logs[0])
    return logs[0]


def freeze(server, signum=SIGSTOP):
    """All processes of a node, the master first, so that it does not see its workers stand still."""
    for p in sorted(server.family(), key=lambda p: p.pid != server.process.pid):
        p.send_signal(signum)


# ---- one service ----

def test_any_node_serves_and_streams(cluster):
    a, b = cluster.node(), cluster.node()
    assert node_id(a) != node_id(b)

    async def main():
        i = create(a, rounds=2)
        stream = call(lambda: Sse(b, i).events())
        async with socket(a, "?debate_id=" + i) as near, socket(b, "?debate_id=" + i) as far:
            sse, *_ = await asyncio.gather(stream, near.end_of(i), far.end_of(i))
        return i, sse, near.frames, far.frames
    i, sse, near, far = run(main())
    events = same_everywhere(i, a, b)
    assert durable(sse) == durable(near, i) == durable(far, i) == events
    assert a.get("/api/debates/%s" % i).json() == b.get("/api/debates/%s" % i).json()
    assert {f["type"] for f in far} >= {"token_start", "token_delta", "token_end"}  # what is not in the log came too


def test_a_debate_is_cancelled_from_anywhere(cluster):
    a, b = cluster.node(500), cluster.node(500, debates={"max_concurrent": 1})
    i = create(a)
    wait_status(a, i, "running")
    here = a if cluster.owner(i) == node_id(a) else b
    other = b if here is a else a
    began = time.monotonic()
    assert other.post("/api/debates/%s/cancel" % i, {"reason": "enough"}).status_code == 200
    assert wait_end(other, i)["status"] == "cancelled"
    assert time.monotonic() - began < 10
    same_everywhere(i, a, b)


def test_nodes_share_the_work(cluster):
    a, b = cluster.node(1500), cluster.node(1500)
    ids = []
    for n in range(6):
        ids.append(create(a))
        wait_status(a, ids[-1], "running")
    owners = Counter(cluster.owner(i) for i in ids)
    assert owners[node_id(a)] >= 1 and owners[node_id(b)] >= 1 and sum(owners.values()) == 6, owners
    for i in ids:
        assert wait_end(b, i)["status"] == "completed"
    assert all(cluster.takeovers(i) == 0 for i in ids)


def test_the_limit_is_per_node(cluster):
    nodes = [cluster.node(1500, debates={"max_concurrent": 2}) for _ in range(2)]
    ids = [create(nodes[0]) for _ in range(5)]
    wait_until(lambda: Counter(status(nodes[0], i)["status"] for i in ids)["running"] == 4, what="four of five run")
    owners = Counter(o for i in ids if (o := cluster.owner(i)))
    assert owners == {node_id(n): 2 for n in nodes}
    for i in ids:
        assert wait_end(nodes[1], i)["status"] == "completed"


# ---- deaths ----

def test_death_of_a_node(cluster):
    """kill -9 of master and workers: another node finishes, and who follows there misses nothing."""
    a = cluster.node(300)
    i = create(a, rounds=2)
    wait_until(lambda: len(log(a, i)) >= 4, what="first events")
    b = cluster.node(300)

    async def main():
        async with socket(b, "?debate_id=" + i) as ws:
            await ws.until(lambda f: f.get("seq", 0) >= 4)
            beat = cluster.query("SELECT seen_at FROM processes p JOIN debates d ON p.incarnation = d.owner WHERE d.id = %s", i)
            a.kill_all()
            died, last = time.time(), len(log(b, i))  # nobody writes before the lease is over
            frame = await ws.until(lambda f: f.get("seq", 0) > last)
            await ws.end_of(i, 60)
        return beat[0][0] / 1000, died, frame["timestamp"], durable(ws.frames, i)
    beat, died, resumed, seen = run(main())
    # Not before a lease after the last sign of life, and soon after that: each look comes within a second.
    assert beat + LEASE <= resumed < died + LEASE + 15, (beat, died, resumed)
    assert seen == same_everywhere(i, b) and cluster.takeovers(i) == 1
    assert wait_end(b, i)["status"] == "completed"


def test_death_of_a_worker_is_repaired_at_home(cluster):
    """Its node sees it at once, before another could."""
    a = cluster.node(400, debates={"lease": "60s"})
    i = create(a, rounds=2)
    wait_until(lambda: len(log(a, i)) >= 4, what="first events")
    b = cluster.node(400, debates={"lease": "60s"})
    psutil.Process(cluster.owner_pid(a, i)).kill()
    died = time.monotonic()
    wait_until(lambda: cluster.takeovers(i) == 1 and cluster.owner(i), 20, "takeover")
    assert time.monotonic() - died < 10
    assert wait_end(b, i)["status"] == "completed"
    same_everywhere(i, a, b)


@pytest.mark.parametrize("whole", [True, False], ids=["node", "worker"])
def test_a_frozen_owner_comes_back(cluster, whole):
    """Frozen beyond its lease, taken over, thawed: it finds that it owns nothing, and writes nothing."""
    a = cluster.node(300, server={"stall_timeout": "120s", "workers": 2, "role": "all"})
    i = create(a, rounds=3)
    wait_until(lambda: len(log(a, i)) >= 4, what="first events")
    b = cluster.node(300, server={"workers": 2, "role": "all"})
    victim = cluster.owner_pid(a, i)
    freeze(a) if whole else psutil.Process(victim).send_signal(SIGSTOP)
    try:
        if whole:
            wait_until(lambda: cluster.owner(i) == node_id(b), LEASE + 10, "takeover by the other node")
            wait_until(lambda: len(log(b, i)) >= 12, 30, "the new owner goes on")
        else:
            wait_until(lambda: cluster.takeovers(i) == 1 and cluster.owner(i), LEASE + 10, "takeover")
    finally:
        freeze(a, SIGCONT) if whole else psutil.Process(victim).send_signal(SIGCONT)
    assert wait_end(b, i, 60)["status"] == "completed"
    a.wait_log("left to its new owner|debate released")
    assert cluster.takeovers(i) == 1
    events = same_everywhere(i, a, b)
    time.sleep(1)
    assert log(b, i) == events
    # It is as good as new: what is asked there is done there.
    assert wait_end(a, create(a))["status"] == "completed"


def test_an_outage_of_the_database_ends_in_no_takeover(postgres_alone, redis_server, make_server):
    """Away for longer than a lease: when it is back, everybody goes on with what is his."""
    nodes = Nodes(postgres_alone, redis_server, make_server)
    a, b = nodes.node(400), nodes.node(400)
    ids = [create(n, rounds=2) for n in (a, b, a, b)]
    wait_until(lambda: all(len(log(a, i)) >= 2 for i in ids), what="first events")
    owners = {i: nodes.owner(i) for i in ids}
    postgres_alone.stop()
    wait_until(lambda: a.get("/api/health/db").status_code == 503, 30, "health says so")
    assert a.get("/api/health").json()["status"] == "degraded" and a.get("/readyz").status_code == 503
    r = a.get("/readyz/dependencies")
    assert r.status_code == 503 and r.json()["checks"]["postgresql"]["connected"] is False and r.json()["reason"] == "database"
    time.sleep(LEASE * 2)
    postgres_alone.start()
    for i in ids:
        assert wait_end(a, i, 90)["status"] == "completed"
    assert {i: nodes.takeovers(i) for i in ids} == {i: 0 for i in owners}
    for i in ids:
        same_everywhere(i, a, b)


def test_a_copied_folder_is_another_node(cluster):
    """As when a machine is cloned: the folder says that it was made on another host."""
    a = cluster.node(workers=1)
    before = node_id(a)
    a.stop()
    a.start()
    assert node_id(a) == before
    a.stop()
    path = a.data_dir / "node_id"
    assert path.read_text().splitlines()[0] == before
    path.write_text(before + "\nanother-host\n")
    a.start()
    assert node_id(a) != before


# ---- without Redis ----

def test_redis_goes_and_comes_in_the_middle(cluster):
    a = cluster.node(400)
    i = create(a, rounds=3)
    wait_until(lambda: cluster.owner(i) == node_id(a), what="a runs it")
    b = cluster.node(400)

    async def main():
        late = []
        async with socket(b, "?debate_id=" + i) as ws:
            await ws.until(lambda f: f.get("seq", 0) >= 4)
            for _ in range(2):
                cluster.redis.stop()
                health(b, "disconnected")
                first = ws.frames[-1].get("seq", 0)
                while True:
                    f = await ws.next(20)
                    if f.get("seq"):
                        late.append(time.time() - f["timestamp"])
                    if f.get("seq", 0) >= first + 3 or f["type"] == "debate_end":
                        break
                cluster.redis.start()
                health(a, "connected"), health(b, "connected")
            if ws.frames[-1]["type"] != "debate_end":
                await ws.end_of(i, 60)
        return late, durable(ws.frames, i)
    late, seen = run(main())
    assert seen == same_everywhere(i, a, b)
    assert late and max(late) < 4, late  # a second or two, on a busy machine


def test_nodes_without_redis(cluster):
    """The database alone joins them: events come a second or two late, the firehose knows of every debate."""
    a, b = cluster.node(100, redis=False), cluster.node(100, redis=False, role="web")

    async def main():
        seen = {}
        async with socket(b) as everything:
            await everything.until("connection_info")
            for _ in range(3):
                i = create(a)
                # Followed by name before the other socket hears of it: that one needs the first events from the log.
                wait_until(lambda: status(a, i)["last_seq"] > 1)
                async with socket(b, "?debate_id=" + i) as one:
                    await one.end_of(i)
                await everything.end_of(i)
                seen[i] = durable(one.frames, i)
        return seen, everything.frames
    seen, everything = run(main())
    for i, one in seen.items():
        assert one == durable(everything, i) == same_everywhere(i, a, b)


def test_the_firehose_spans_nodes(cluster):
    a, b = cluster.node(50), cluster.node(50)

    async def main():
        async with socket(b) as ws:
            await ws.until("connection_info")
            ids = [create(n) for n in (a, b, a)]
            for i in ids:
                if not any(f["type"] == "debate_end" and f["debate_id"] == i for f in ws.frames):
                    await ws.end_of(i)
        return ids, ws.frames
    ids, frames = run(main())
    for i in ids:
        assert durable(frames, i) == same_everywhere(i, a, b)


# ---- roles ----

def test_web_and_worker_nodes(cluster):
    """Web nodes run nothing; worker nodes listen nowhere, run what web nodes are asked, and may die."""
    web = cluster.node(200, role="web")
    i = create(web)
    time.sleep(1)
    assert status(web, i)["status"] in ("created", "queued") and cluster.owner(i) is None
    first = cluster.node(1500, role="worker", start=False).spawn()  # time enough to start the second one
    second = cluster.node(200, role="worker", start=False)

    async def main():
        async with socket(web, "?debate_id=" + i) as ws:
            await ws.until(lambda f: f.get("seq", 0) >= 4, 60)
            assert cluster.owner(i) == node_id(first)
            assert first.status()["listeners"] == []
            second.spawn()
            wait_until(lambda: "serving" in second.log() and second.workers(), 60, "the second worker node")
            first.kill_all()
            await ws.end_of(i, 60)
        return durable(ws.frames, i)
    seen = run(main())
    assert seen == same_everywhere(i, web) and cluster.takeovers(i) == 1
    listening = [c for p in second.family() for c in p.connections("inet") if c.status == psutil.CONN_LISTEN]
    assert listening == []
    # A queued one is cancelled by the web node itself.
    second.kill_all()
    j = create(web)
    assert web.post("/api/debates/%s/cancel" % j).status_code == 200
    assert wait_end(web, j)["status"] == "cancelled"
