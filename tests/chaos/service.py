# SPDX-License-Identifier: MIT
"""Two nodes that form one service (a PostgreSQL, a Redis, a model provider, a receiver of callbacks), everything that
can happen to them, and the judge of what must hold afterwards."""
import datetime
import json
import os
import random
import subprocess
import time
from collections import Counter, defaultdict
from signal import SIGCONT, SIGHUP, SIGKILL, SIGSTOP, SIGTERM, SIGUSR2

import psutil
import psycopg2
import requests

from conftest import merged, wait_until
from crash import AGENTS, ARRIVAL_SLACK, COMMIT_SLACK, Node, living, node_config, step_of
from link import Link

LEASE = 3.0
PATIENCE = 5.0  # from the end of a lease to the takeover on a busy machine
STALL = 2.0
# What the nodes share besides the database.
SECRETS = {"ARAGORA_RECEIPT_SIGNING_KEY": "11" * 32, "ARAGORA_ENCRYPTION_KEY": "22" * 32}
CALLBACK_SECRET = "the secret of the chaos"


class Member(Node):
    """One node. Its ways to PostgreSQL and Redis are cables that can be cut."""

    def __init__(self, folder, provider, postgres, database, redis, **sections):
        self.to_postgres, self.to_redis = Link(postgres.port).__enter__(), Link(redis.port).__enter__()
        self.postgres, self.database = postgres, database
        dsn = postgres.dsn(database).replace(":%d/" % postgres.port, ":%d/" % self.to_postgres.port)
        config = node_config(provider, **merged({
            "server": {"workers": 3, "stall_timeout": "%gs" % STALL, "graceful_timeout": "2s"},
            "storage": {"dsn": dsn, "pool_timeout": "10s"},
            "redis": {"url": "redis://127.0.0.1:%d/0" % self.to_redis.port},
            "debates": {"lease": "%gs" % LEASE, "max_concurrent": 40},
            "deliveries": {"allow_private": ["127.0.0.0/8"], "retry_base": "100ms", "retry_cap": "1s", "timeout": "3s"},
            "limits": {"connections_per_ip": 0}, "websocket": {"connection_rate": 0, "max_per_ip": 0},
            "log": {"level": "info"},
        }, sections))
        super().__init__(folder, config, env=SECRETS)
        self.data_dir.mkdir(mode=0o700, exist_ok=True)
        # A disk of its own that can be filled, where this may be done.
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m,mode=0700", "none", str(self.data_dir)], capture_output=True)

    def start(self, timeout=60):
        self.process = None if self.process is not None and self.process.poll() is not None else self.process
        return super().start(timeout)

    def master(self):
        """After an upgrade it is not the process that the test has started."""
        return int(self.pidfile.read_text())

    def pids(self):
        return [p.pid for p in self.family()]

    def workers_pids(self):
        master = self.master()
        return [p.pid for p in self.family() if p.pid != master and p.ppid() in (master, 1, self.process.pid)]

    def up(self):
        try:
            return self.get("/healthz", timeout=2).status_code == 200
        except requests.RequestException:
            return False

    def mastered(self):
        """Does its master live?"""
        try:
            return bool(living([self.master()]))
        except (OSError, ValueError):
            return False

    def revive(self):
        """Starts it again when nobody is left who would."""
        if not self.mastered():
            self.kill_all()
            self.start()

    def close(self):
        for p in self.family():
            p.send_signal(SIGCONT)
        if self.process is not None and self.mastered() and self.master() != self.process.pid:
            os.kill(self.master(), SIGTERM)
            wait_until(lambda: not self.family(), 60, "end of an upgraded node")
        super().close()
        if os.path.ismount(self.data_dir):
            subprocess.run(["umount", "-l", str(self.data_dir)], check=True)
        self.to_postgres.__exit__()
        self.to_redis.__exit__()


class Service:
    def __init__(self, folder, provider, postgres, redis, receiver, seed):
        self.random = random.Random(seed)
        self.provider, self.postgres, self.redis, self.receiver = provider, postgres, redis, receiver
        self.database = postgres.create()
        self.nodes = [Member(folder / ("node%d" % i), provider, postgres, self.database, redis) for i in range(2)]
        self.excuses = []  # (from, to), wall clock: what was in flight then may be asked for again
        self.accepted, self.acts, self.takeovers = {}, Counter(), {}

    def start(self):
        for node in self.nodes:
            node.start()
        return self

    def close(self):
        for node in self.nodes:
            node.close()

    # ---- debates ----

    def create(self, task):
        """A client that never gives up and repeats itself under one Idempotency-Key, at any node."""
        body = {"task": task, "rounds": 2, "agents": AGENTS, "callback_url": self.receiver.url("/%d" % self.random.randrange(8)),
                "callback_secret": CALLBACK_SECRET}
        key, deadline = os.urandom(8).hex(), time.monotonic() + 120
        while True:
            try:
                r = self.random.choice(self.nodes).post("/api/debates", body, headers={"Idempotency-Key": key}, timeout=10)
                if r.status_code in (200, 201):
                    self.accepted[r.json()["debate_id"]] = task
                    return r.json()["debate_id"]
                assert r.status_code in (429, 500, 502, 503, 504), (r.status_code, r.text)
            except requests.RequestException:
                pass
            assert time.monotonic() < deadline, "no node takes a debate"
            time.sleep(0.1)

    def rows(self, sql, *args):
        return self.postgres.query(self.database, sql, *args)

    def running(self):
        return self.rows("SELECT COUNT(*) FROM debates WHERE status IN ('queued', 'running')")[0][0]

    # ---- what can happen ----

    def node(self):
        return self.random.choice(self.nodes)

    def excused(self, begin):
        self.excuses.append((begin, time.time() + 0.3))

    def pause(self, longest):
        time.sleep(self.random.random() * longest)

    def kill(self, pids):
        begin = time.time()
        for pid in pids:
            try:
                os.kill(pid, SIGKILL)
            except ProcessLookupError:
                pass
        self.excused(begin)

    def kill_worker(self):
        pids = self.node().workers_pids()
        self.kill(self.random.sample(pids, min(1, len(pids))))

    def kill_workers(self):
        self.kill(self.node().workers_pids())

    def kill_master(self):
        node = self.node()
        self.kill([node.master()])
        self.pause(1)
        node.revive()

    def kill_node(self):
        node = self.node()
        begin = time.time()
        node.kill_all()
        self.excused(begin)
        self.pause(LEASE + 2)
        node.revive()

    def freeze(self, pids, longest):
        """They wake up later and believe that nothing has happened."""
        begin = time.time()
        for pid in pids:
            try:
                os.kill(pid, SIGSTOP)
            except ProcessLookupError:
                pass
        self.pause(longest)
        for pid in pids:
            try:
                os.kill(pid, SIGCONT)
            except ProcessLookupError:
                pass
        self.excused(begin)

    def freeze_worker(self):
        pids = self.node().workers_pids()
        self.freeze(self.random.sample(pids, min(1, len(pids))), 2 * STALL)

    def freeze_node(self):
        node = self.node()
        self.freeze(node.pids(), 2 * LEASE)
        node.revive()

    def cut_off(self):
        """Neither database nor Redis can be reached; the other node can."""
        node, begin = self.node(), time.time()
        node.to_postgres.cut()
        node.to_redis.cut()
        self.pause(2 * LEASE)
        node.to_redis.mend()
        node.to_postgres.mend()
        self.excused(begin)

    def break_postgres_link(self):
        node, begin = self.node(), time.time()
        node.to_postgres.break_()
        self.pause(2)
        node.to_postgres.mend()
        self.excused(begin)

    def cut_redis_link(self):
        node = self.node()
        self.random.choice((node.to_redis.cut, node.to_redis.break_))()
        self.pause(5)
        node.to_redis.mend()

    def restart_redis(self):
        self.redis.stop()
        self.pause(4)
        self.redis.start()

    def restart_postgres(self):
        begin = time.time()
        self.postgres.stop(self.random.choice((2, 3)))  # INT: fast; QUIT: as a crash
        self.pause(3)
        self.postgres.start()
        self.excused(begin)

    def kill_backends(self):
        begin = time.time()
        try:
            self.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
                      self.database)
        except psycopg2.OperationalError:
            pass
        self.excused(begin)

    def reload(self):
        os.kill(self.node().master(), SIGHUP)

    def upgrade(self):
        node = self.node()
        old = node.master()
        os.kill(old, SIGUSR2)
        wait_until(lambda: self.successor(node, old), 60, "the new master")
        os.kill(old, SIGTERM)
        wait_until(lambda: not living([old]), 60, "end of the old master")
        node.process.poll()

    @staticmethod
    def successor(node, old):
        try:
            status = node.status()
            return status["pid"] != old and [w for w in node.workers() if w["master"] == status["pid"]]
        except (OSError, ValueError):
            return False

    def fill_disk(self):
        """The folder of a node has no byte left for a while."""
        ballast = self.node().data_dir / "ballast"
        if not os.path.ismount(ballast.parent):
            return
        try:
            with open(ballast, "wb", buffering=0) as f:
                while True:
                    f.write(bytes(1 << 20))
        except OSError:
            pass
        self.pause(3)
        ballast.unlink()

    WEIGHTS = {"kill_worker": 10, "kill_workers": 3, "kill_master": 2, "kill_node": 2, "freeze_worker": 4, "freeze_node": 2,
               "cut_off": 3, "break_postgres_link": 2, "cut_redis_link": 3, "restart_redis": 3, "restart_postgres": 2,
               "kill_backends": 2, "reload": 4, "upgrade": 2, "fill_disk": 1}

    def act(self):
        name = self.random.choices(list(self.WEIGHTS), list(self.WEIGHTS.values()))[0]
        self.acts[name] += 1
        getattr(self, name)()
        for node in self.nodes:
            node.revive()

    # ---- what must hold ----

    def judge(self, followers):
        """followers: debate -> those who watched it. Returns figures."""
        asked = defaultdict(lambda: defaultdict(list))
        for r in self.provider.requests():
            debate, step, attempt = step_of(r["idempotency_key"])
            asked[debate][step].append((attempt, r))
        assert set(r[0] for r in self.rows("SELECT id FROM debates")) == set(self.accepted), "debates that nobody asked for"
        self.takeovers = self.read_takeovers()
        figures = Counter(debates=len(self.accepted))
        for debate in self.accepted:
            figures.update(self.judge_debate(debate, asked[debate], followers.get(debate, ())))
        figures.update(self.judge_deliveries())
        self.judge_rest()
        return dict(figures)

    def judge_debate(self, debate, asked, followers):
        status, error, crashes, receipt = self.rows(
            "SELECT status, COALESCE(error_code, ''), crashes, COALESCE(receipt_id, '') FROM debates WHERE id = %s", debate)[0]
        log = [(seq, json.loads(envelope)) for seq, envelope in
               self.rows("SELECT seq, envelope FROM debate_events WHERE debate_id = %s ORDER BY seq", debate)]
        types = [e["type"] for _, e in log]
        assert [seq for seq, _ in log] == list(range(1, len(log) + 1)), debate
        assert types[0] == "debate_start" and types.count("debate_start") == 1, debate
        assert types[-1] == "debate_end" and types.count("debate_end") == 1, debate
        for f in followers:
            assert f.events == [e for _, e in log], "%s follower of %s saw something else" % (f.wire, debate)
        again = self.judge_calls(debate, asked)
        if status != "completed":
            # Given up: every unclean death while it ran is counted, and five are too many.
            assert status == "failed" and crashes >= 5, (debate, status, error, crashes)
            return {"given up": 1, "asked again": again, "events": len(log)}
        verdict = self.nodes[0].get("/api/receipts/%s/verify" % receipt).json()
        assert verdict["valid"] and verdict["signature_valid"] and verdict["integrity_valid"], (debate, verdict)
        open_steps = self.rows("SELECT key, state FROM debate_steps WHERE debate_id = %s AND state <> 'done'", debate)
        assert open_steps == [], (debate, open_steps)
        return {"completed": 1, "asked again": again, "events": len(log)}

    def judge_calls(self, debate, asked):
        """No step is paid twice but what was in flight when its debate changed hands."""
        repeated, taken = 0, self.takeovers[debate]
        for step, calls in asked.items():
            attempts = [attempt for attempt, _ in calls]
            assert len(set(attempts)) == len(attempts), "%s %s: attempts %s" % (debate, step, attempts)
            for (_, first), (_, again) in zip(calls, calls[1:]):
                ended = first.get("end_time") or float("inf")
                assert any(first["time"] <= at + ARRIVAL_SLACK and again["time"] >= at and self.lost(ended, at) for at in taken), \
                    "%s %s: asked at %.3f (until %.3f) and again at %.3f; taken over at %s; excuses: %s" % (
                        debate, step, first["time"], ended, again["time"], taken, self.excuses)
                repeated += 1
        return repeated

    def lost(self, ended, at):
        """May an answer that the provider has finished at `ended` have gone with the owner who lost the debate at `at`?
        While something is broken nobody is held to a lease's time: those seconds do not count."""
        return ended + COMMIT_SLACK >= at or any(
            early <= ended + COMMIT_SLACK and early <= at <= late + LEASE + PATIENCE + self.broken(late, at)
            for early, late in self.excuses)

    def broken(self, begin, end):
        """Seconds between two moments during which something was broken."""
        return sum(max(0, min(end, late) - max(begin, early)) for early, late in self.excuses)

    def read_takeovers(self):
        """debate -> when it was resumed by a new owner, wall clock."""
        found = defaultdict(list)
        for node in self.nodes:
            for line in node.log_lines():
                if line.get("message") == "debate resumed":
                    at = datetime.datetime.fromisoformat(line["time"].replace("Z", "+00:00")).timestamp()
                    found[line["debate_id"]].append(at)
        return found

    def judge_deliveries(self):
        """One recorded outcome each, and what the receiver has seen twice carries the same id and the same bytes."""
        rows = self.rows("SELECT id, debate_id, state FROM deliveries")
        assert sorted(r[1] for r in rows) == sorted(self.accepted), "one delivery for each debate"
        assert {r[2] for r in rows} == {"delivered"}, Counter(r[2] for r in rows)
        seen = defaultdict(list)
        for request in self.receiver.requests:
            seen[request.id].append(request.body)
        assert set(seen) == {r[0] for r in rows}
        assert all(len(set(bodies)) == 1 for bodies in seen.values())
        sending = self.rows("SELECT COUNT(*) FROM delivery_attempts WHERE state = 'sending'")[0][0]
        assert sending == 0, "%d attempts without outcome" % sending
        return {"deliveries": len(rows), "seen again": sum(len(b) - 1 for b in seen.values())}

    def judge_rest(self):
        """No lease, no process, no half-done row stays when the nodes have gone."""
        workers = lambda: sum(len(node.workers()) for node in self.nodes)  # noqa: E731
        wait_until(lambda: self.rows("SELECT COUNT(*) FROM processes")[0][0] == workers(), 20 * LEASE, "leases of the dead are gone")
        before = [p for node in self.nodes for p in node.pids()]
        for node in self.nodes:
            os.kill(node.master(), SIGTERM)
        wait_until(lambda: not living(before), 60, "end of all processes")
        assert self.rows("SELECT COUNT(*) FROM processes")[0][0] == 0, self.rows("SELECT * FROM processes")
        assert self.rows("SELECT COUNT(*) FROM debates WHERE owner <> ''")[0][0] == 0
        assert not [p for node in self.nodes for p in node.family() if psutil.pid_exists(p.pid)]
