# SPDX-License-Identifier: MIT
"""The PostgreSQL store: what a debate leaves behind, starts that cannot work, a server that goes away and comes back."""
import concurrent.futures
import re
import threading
import time

import pytest
import requests

from conftest import free_port, merged, wait_until
from pgkit import ADMIN, PASSWORD, PASSWORD_URI, Cluster

TASK = "Should our team keep its sessions in Redis or in PostgreSQL?"


@pytest.fixture
def cluster(tmp_path):
    """A cluster of one's own, to be stopped and killed."""
    c = Cluster().start()
    yield c
    c.close()


def ask(server, **body):
    r = server.post("/api/debates", {"task": TASK, "rounds": 2, **body})
    assert r.status_code == 200, r.text
    return r.json()["debate_id"]


def wait_end(server, debate, timeout=30):
    def ended():
        d = server.get("/api/debates/" + debate)
        return d.status_code == 200 and d.json()["status"] in ("completed", "failed", "cancelled") and d.json()
    return wait_until(ended, timeout, "end of the debate", 0.1)


def name_of(dsn):
    return re.sub(r"\?.*", "", dsn).rsplit("/", 1)[1]


def events_are_dense(cluster, database):
    rows = cluster.query(database, "SELECT d.id, d.last_seq, COUNT(e.seq), MIN(e.seq), MAX(e.seq), COUNT(DISTINCT e.key)"
                         " FROM debates d LEFT JOIN debate_events e ON e.debate_id = d.id GROUP BY d.id, d.last_seq")
    for debate, last, count, first, highest, keys in rows:
        assert (count, keys) == (last, last) and (last == 0 or (first, highest) == (1, last)), debate
    return len(rows)


# ---- it works ----

def test_a_debate_is_kept_in_postgresql(postgres, make_server):
    dsn = postgres.database()
    s = make_server({"storage": {"dsn": dsn}})
    d = wait_end(s, ask(s))
    assert d["status"] == "completed"
    assert s.get("/api/health/db").json()["database"] == "connected"
    assert s.get("/api/health").json()["checks"]["database"]["backend"] == "postgres"
    database = name_of(dsn)
    assert events_are_dense(postgres, database) == 1
    assert not (s.data_dir / "aragora.db").exists()
    # Text is compared by bytes and numbers are wide, whatever the database's own locale is.
    assert postgres.query(database, "SELECT collation_name FROM information_schema.columns WHERE table_name = 'debates' AND"
                          " column_name = 'id'") == [("C",)]
    assert postgres.query(database, "SELECT DISTINCT data_type FROM information_schema.columns WHERE table_name = 'debates'"
                          " ORDER BY 1") == [("bigint",), ("text",)]
    text = s.get("/metrics").text
    assert re.search(r'aragora_db_connection_pool_size\{state="idle"\} [1-9]', text)
    # A second node on the same database reads what the first wrote.
    other = make_server({"storage": {"dsn": dsn}})
    assert other.get("/api/debates/" + d["debate_id"]).json()["status"] == "completed"
    assert PASSWORD not in s.log() and PASSWORD_URI not in s.log()


def test_nodes_start_at_the_same_time_on_an_empty_database(postgres, make_server):
    dsn = postgres.database()
    nodes = [make_server({"storage": {"dsn": dsn}, "server": {"workers": 1}}, start=False) for _ in range(4)]
    for n in nodes:
        n.spawn()
    for n in nodes:
        n.wait_ready()
    assert postgres.query(name_of(dsn), "SELECT MIN(number), COUNT(*) = COUNT(DISTINCT number) FROM schema_migrations") == [
        (1, True)]


def test_text_that_postgresql_cannot_hold(postgres, make_server):
    s = make_server({"storage": {"dsn": postgres.database()}})
    assert s.get("/api/debates/search?q=%00%ff").status_code == 200
    d = wait_end(s, ask(s))
    assert s.get("/api/debates/search?q=REDIS").json()["total"] == 1, "the search does not look at case"
    assert s.get("/api/debates/search?q=re_is").json()["total"] == 0
    assert d["debate_id"]


@pytest.mark.parametrize("form", ["keywords", "several hosts", "unix socket", "driver"])
def test_forms_of_the_address(postgres, make_server, form):
    name = postgres.create()
    dsn = {
        "keywords": "host=127.0.0.1 port=%d dbname=%s user=%s password='%s'" % (postgres.port, name, ADMIN, PASSWORD),
        "several hosts": postgres.dsn(name, target_session_attrs="read-write").replace(
            "127.0.0.1:%d" % postgres.port, "127.0.0.1:%d,localhost:%d" % (free_port(), postgres.port)),
        "unix socket": "host=%s port=%d dbname=%s user=%s password='%s'" % (postgres.sockets, postgres.port, name, ADMIN,
                                                                            PASSWORD),
        "driver": postgres.dsn(name).replace("postgresql://", "postgresql+asyncpg://"),
    }[form]
    s = make_server({"server": {"workers": 1}, "storage": {}}, env={"DATABASE_URL": dsn})
    wait_end(s, ask(s))
    assert postgres.query(name, "SELECT COUNT(*) FROM debates") == [(1,)]


# ---- starts that cannot work ----

@pytest.mark.parametrize("wrong,says", [
    ("password", "password authentication failed"),
    ("database", 'database "nowhere" does not exist'),
    ("host", "Connection refused"),
    ("name", "could not translate host name"),
    ("tls", "SSL"),
])
def test_a_start_that_cannot_work_says_why(postgres, make_server, wrong, says):
    dsn = {
        "password": "postgresql://%s:wrongsecret@127.0.0.1:%d/postgres" % (ADMIN, postgres.port),
        "database": postgres.dsn("nowhere"),
        "host": postgres.dsn("x").replace(str(postgres.port), str(free_port())),
        "name": postgres.dsn("x").replace("127.0.0.1", "no.such.host.invalid"),
        "tls": postgres.dsn("postgres", sslmode="require"),
    }[wrong]
    s = make_server({"storage": {"dsn": dsn, "pool_timeout": "1s"}}, start=False)
    code, log = s.spawn().expect_exit(60)
    assert code != 0
    assert says in log and "storage.dsn" in log
    assert "wrongsecret" not in log and PASSWORD_URI not in log


def test_a_start_waits_for_a_database_that_comes_later(cluster, make_server):
    dsn = cluster.database()
    cluster.stop()
    s = make_server({"storage": {"dsn": dsn}}, start=False)
    s.spawn()
    s.wait_log("waiting for the database")
    cluster.start()
    s.wait_ready()
    wait_end(s, ask(s))


# ---- a server that goes away ----

class Load:
    """Creates and reads debates without pause; keeps every answer that is not 200."""

    def __init__(self, server, threads=4):
        self.server, self.stop, self.made, self.bad = server, threading.Event(), [], []
        self.pool = [threading.Thread(target=self.run) for _ in range(threads)]
        for t in self.pool:
            t.start()

    def run(self):
        with requests.Session() as http:
            while not self.stop.is_set():
                try:
                    r = http.post(self.server.url + "/api/debates", json={"task": TASK, "rounds": 1}, timeout=60)
                    if r.status_code == 200:
                        self.made.append(r.json()["debate_id"])
                        r = http.get(self.server.url + "/api/debates/" + self.made[-1], timeout=60)
                    if r.status_code != 200:
                        self.bad.append((r.status_code, r.text))
                except requests.RequestException as e:
                    self.bad.append((0, str(e)))
                time.sleep(0.02)

    def end(self):
        self.stop.set()
        for t in self.pool:
            t.join()
        assert not self.bad, self.bad[:5]
        return self.made


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_a_restart_of_postgresql_fails_no_request(cluster, make_server, how):
    dsn = cluster.database()
    s = make_server({"storage": {"dsn": dsn}, "debates": {"max_queued": 100000}})
    load = Load(s)
    wait_until(lambda: len(load.made) > 10, what="load")
    cluster.stop({"fast": 2, "immediate": 3}[how])
    r = wait_until(lambda: (h := s.get("/api/health/db").json())["database"] == "disconnected" and h, what="health says so")
    assert r["error"]
    assert s.get("/api/health").json()["status"] != "healthy"
    cluster.start()
    wait_until(lambda: s.get("/api/health/db").status_code == 200, what="health again")
    before = len(load.made)
    wait_until(lambda: len(load.made) > before + 20, what="load goes on")
    made = load.end()
    for debate in made[:: max(1, len(made) // 20)]:
        wait_end(s, debate, 60)
    wait_until(lambda: cluster.query(name_of(dsn), "SELECT COUNT(*) FROM debates WHERE status IN ('queued', 'running')") == [
        (0,)], 120, "end of all debates", 0.2)
    # Each accepted creation exists, and nothing was written twice.
    assert events_are_dense(cluster, name_of(dsn)) >= len(made)
    stored = {r[0] for r in cluster.query(name_of(dsn), "SELECT id FROM debates")}
    assert set(made) == stored
    assert cluster.query(name_of(dsn), "SELECT COUNT(*) FROM debates WHERE status <> 'completed'") == [(0,)]
    assert re.search(r"aragora_db_reconnects_total [1-9]", s.get("/metrics").text)


def test_killed_sessions_are_replaced(cluster, make_server):
    dsn = cluster.database()
    s = make_server({"storage": {"dsn": dsn}, "debates": {"max_queued": 100000}})
    load = Load(s)
    for _ in range(15):
        cluster.query("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                      name_of(dsn))
        time.sleep(0.1)
    made = load.end()
    wait_until(lambda: cluster.query(name_of(dsn), "SELECT COUNT(*) FROM debates WHERE status IN ('queued', 'running')") == [
        (0,)], 120, "end of all debates", 0.2)
    assert len(made) > 5 and events_are_dense(cluster, name_of(dsn)) == len(made)
    assert re.search(r"aragora_db_retries_total [1-9]", s.get("/metrics").text)
