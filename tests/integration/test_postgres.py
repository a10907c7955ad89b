# SPDX-License-Identifier: MIT
"""The PostgreSQL store: what a debate leaves behind, starts that cannot work, a server that goes away and comes back."""
import concurrent.futures
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from signal import SIGHUP

import pytest
import requests

import tls_kit
from conftest import binary, free_port, wait_until
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
    assert s.get("/api/debates/search?q=%00%ff").status_code in (200, 400)
    assert s.post("/api/debates", {"task": "What holds \0 and \ud800?"}).status_code in (200, 400)
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
    # A server that cannot be reached may come yet: that ends a strict start only.
    away = {"server": {"strict_startup": True}} if wrong in ("host", "name") else {}
    s = make_server({"storage": {"dsn": dsn, "pool_timeout": "1s"}, **away}, start=False)
    code, log = s.spawn().expect_exit(60)
    assert code != 0
    assert says in log and "storage.dsn" in log
    assert "wrongsecret" not in log and PASSWORD_URI not in log


def probe(s, path):
    """The answer in a list, which is true whatever its status; [] while nobody listens."""
    try:
        return [s.get(path, timeout=5)]
    except requests.RequestException:
        return []


def test_a_start_waits_for_a_database_that_comes_later(cluster, make_server):
    """A rolling restart during a failover: probes answer at once, the API says 503, and all works when it is there."""
    dsn = cluster.database()
    cluster.stop()
    s = make_server({"storage": {"dsn": dsn}}, start=False).spawn()
    assert wait_until(lambda: probe(s, "/healthz"), what="probes answer")[0].status_code == 200
    s.wait_log("waiting for the database")
    wait_until(lambda: "Connection refused" in s.get("/readyz").text, what="the reason")
    for path in ("/readyz", "/readyz/dependencies", "/api/health/ready"):
        r = s.get(path)
        assert r.status_code == 503 and r.json()["reason"] == "database" and r.headers["Retry-After"], path
        assert "Connection refused" in r.json()["detail"] and PASSWORD_URI not in r.text
    assert s.get("/api/health").status_code == 503 and s.get("/api/health/db").status_code == 503
    start = s.get("/api/health/startup").json()
    assert start["status"] == "in_progress" and start["phases"][1]["status"] == "pending"
    for r in (s.get("/api/debates"), s.post("/api/debates", {"task": TASK}), s.post("/api/auth/login", {}),
              s.get("/ws", headers={"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
                                    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="})):
        assert r.status_code == 503 and r.json()["code"] == "SERVICE_UNAVAILABLE" and int(r.headers["Retry-After"]) > 0
    wait_until(lambda: len(s.workers()) == 2, what="both workers")
    old = {w["pid"] for w in s.workers()}
    s.signal(SIGHUP)  # a reload while it waits
    wait_until(lambda: len(s.workers()) == 2 and old.isdisjoint(w["pid"] for w in s.workers(None)), 60, "new workers")
    assert s.get("/readyz").status_code == 503
    cluster.start()
    s.wait_ready()
    assert wait_until(lambda: [r for r in probe(s, "/readyz") if r.status_code == 200], what="it is ready")
    assert s.get("/api/health/startup").json()["phases"][1]["status"] == "ok"
    wait_end(s, ask(s))


def test_a_start_that_waits_ends_when_told(cluster, make_server):
    dsn = cluster.database()
    cluster.stop()
    s = make_server({"storage": {"dsn": dsn}}, start=False).spawn()
    wait_until(lambda: probe(s, "/healthz"), what="probes answer")
    assert s.stop() == 0 and not s.family()
    assert "time to drain is over" not in s.log()  # nothing was to be told to the store


def test_a_database_that_comes_and_says_no_ends_the_start(cluster, make_server):
    cluster.stop()
    s = make_server({"storage": {"dsn": cluster.dsn("nowhere")}}, start=False).spawn()
    wait_until(lambda: probe(s, "/healthz"), what="probes answer")
    cluster.start()
    code, log = s.expect_exit()
    assert code == 1 and 'database "nowhere" does not exist' in log


def test_a_start_outlives_a_session_that_is_ended(cluster, make_server):
    """While another node changes the tables the server ends the session that waits for it, and is there at once."""
    dsn = cluster.database()
    locker = cluster.connect(name_of(dsn))
    with locker.cursor() as c:
        c.execute("SELECT pg_advisory_lock(x'617261676f726164'::bigint)")
    s = make_server({"storage": {"dsn": dsn}}, start=False).spawn()
    s.wait_log("another node is changing the tables")
    wait_until(lambda: cluster.query("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
                                     " AND wait_event_type = 'Lock'", name_of(dsn)), what="the session")
    wait_until(lambda: re.search("terminating connection|server closed", s.get("/readyz").text), what="the reason")
    locker.close()
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


def test_a_commit_whose_answer_is_lost_is_settled(cluster, make_server):
    """The connection breaks after the server has committed: nothing is lost and nothing is written twice."""
    dsn = cluster.database()
    s = make_server({"storage": {"dsn": dsn}, "server": {"workers": 1}},
                    env={"ARAGORA_FAULT": ",".join("db.lost=fail@%d" % n for n in range(3, 40, 3))})
    debates = [ask(s) for _ in range(4)]
    assert all(wait_end(s, d)["status"] == "completed" for d in debates)
    s.wait_log("transactions of a broken connection settled")
    assert events_are_dense(cluster, name_of(dsn)) == 4
    assert cluster.query(name_of(dsn), "SELECT COUNT(*) FROM commit_marks WHERE closed = 1")[0][0] >= 5
    # A step that was committed and tried again would find its fence moved.
    assert "a step was not stored" not in s.log()


def test_locks_and_long_statements_end(cluster, make_server):
    dsn = cluster.database()
    s = make_server({"storage": {"dsn": dsn, "pool_size": 2, "pool_timeout": "1s", "statement_timeout": "4s"},
                     "server": {"workers": 1}, "debates": {"lease": "60s"}})
    debate = ask(s)
    wait_end(s, debate)
    locker = cluster.connect(name_of(dsn))
    locker.autocommit = False
    with locker.cursor() as c:
        c.execute("LOCK TABLE debates IN ACCESS EXCLUSIVE MODE")
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: s.get("/api/debates", timeout=60), range(8)))
        # Two wait for the lock; the others find no connection in time.
        refused = [a for a in answers if a.status_code == 503]
        assert len(refused) == 8 and all("Retry-After" in a.headers for a in refused)
        said = Counter(a.json()["error"] for a in refused)
        assert said == {"all 2 database connections were busy for 1000 ms": 6,
                        "the database took longer than storage.statement_timeout": 2}
    locker.rollback()
    locker.close()
    wait_until(lambda: s.get("/api/debates").status_code == 200, what="answers again")


# ---- a pooler, TLS ----

@pytest.fixture
def bouncer(postgres, tmp_path):
    """PgBouncer in transaction mode before the session's cluster: fewer server connections than clients."""
    folder, port = Path(tempfile.mkdtemp(prefix="aragora-bouncer-", dir="/tmp")), free_port()
    (folder / "users.txt").write_text('"%s" "%s"\n' % (ADMIN, PASSWORD))
    (folder / "bouncer.ini").write_text(
        "[databases]\n* = host=127.0.0.1 port=%d\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\n"
        "auth_type = plain\nauth_file = %s/users.txt\npool_mode = transaction\ndefault_pool_size = 3\nmax_client_conn = 200\n"
        "logfile = %s/log\npidfile =\n" % (postgres.port, port, folder, folder))
    for path in [folder, *folder.iterdir()]:
        os.chmod(path, 0o755)
        if postgres.user:
            os.chown(path, postgres.user.pw_uid, postgres.user.pw_gid)
    process = subprocess.Popen(["/usr/sbin/pgbouncer", str(folder / "bouncer.ini")], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
                               user=postgres.user and postgres.user.pw_uid, group=postgres.user and postgres.user.pw_gid,
                               extra_groups=[] if postgres.user else None)

    def listens():
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0
    wait_until(listens, what="pgbouncer")
    yield lambda dsn: dsn.replace(":%d/" % postgres.port, ":%d/" % port)
    process.terminate()
    process.wait(30)
    shutil.rmtree(folder)


@pytest.mark.parametrize("pooler", ["auto", "off"])
def test_behind_a_pooler_of_transactions(postgres, bouncer, make_server, pooler):
    """`off`: it is not told, and finds out when a prepared statement is not there."""
    dsn = postgres.database()
    nodes = [make_server({"storage": {"dsn": bouncer(dsn), "pooler": pooler}, "debates": {"max_concurrent": 10}})
             for _ in range(2)]
    debates = [ask(n) for n in nodes for _ in range(8)]
    assert all(wait_end(nodes[0], d, 60)["status"] == "completed" for d in debates)
    assert events_are_dense(postgres, name_of(dsn)) == 16
    assert len(postgres.backends(name_of(dsn))) <= 3
    if pooler == "auto":
        assert all("behind a pooler" in n.log() for n in nodes)


def test_tls_to_the_server(tmp_path, make_server):
    authority = tls_kit.Authority(tmp_path / "ca")
    cert, key = authority.issue("server", "localhost").split()
    c = Cluster().make()
    for source, name in ((cert, "server.crt"), (key, "server.key")):
        shutil.copy(source, c.data / name)
        os.chmod(c.data / name, 0o600)
        if c.user:
            os.chown(c.data / name, c.user.pw_uid, c.user.pw_gid)
    with open(c.data / "postgresql.conf", "a") as f:
        f.write("ssl = on\n")
    (c.data / "pg_hba.conf").write_text("local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n")
    c.start()
    try:
        name = c.create()
        s = make_server({"storage": {"dsn": c.dsn(name, sslmode="verify-ca", sslrootcert=str(authority.pem))}})
        wait_end(s, ask(s))
        assert c.query(name, "SELECT bool_and(ssl), COUNT(*) > 0 FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
                       " WHERE datname = %s AND application_name = 'aragorad'", name) == [(True, True)]
        bad = make_server({"storage": {"dsn": c.dsn(name, sslmode="verify-full", sslrootcert="/etc/ssl/certs/ca-certificates.crt"),
                                       "pool_timeout": "1s"}}, start=False)
        code, log = bad.spawn().expect_exit(60)
        assert code != 0 and "certificate verify failed" in log
    finally:
        c.close()


# ---- the interface's own tests ----

def test_the_unit_tests_of_the_store_on_postgresql(postgres):
    tests = Path(binary()).parent / "tests/unit/db_test"
    if not tests.exists():
        pytest.skip("unit tests are not built")
    r = subprocess.run([str(tests)], env={**os.environ, "ARAGORA_TEST_DSN": postgres.database()}, capture_output=True,
                       text=True, timeout=120)
    assert r.returncode == 0, r.stdout[-6000:] + r.stderr[-6000:]
    assert "[  PASSED  ]" in r.stdout + r.stderr
