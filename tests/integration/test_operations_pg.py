# SPDX-License-Identifier: MIT
"""The operator's commands on a real PostgreSQL, and the way there from SQLite."""
import json
import os
import re
import shutil
import subprocess
from signal import SIGKILL

import pytest

from conftest import binary, merged, wait_until
from pgkit import ADMIN, BIN, PASSWORD, Cluster
from test_operations import KEYS, ask, counts, finished, run


def named(dsn):
    return re.sub(r"\?.*", "", dsn).rsplit("/", 1)[1]


@pytest.fixture
def pg_server(postgres, make_server):
    """make(config, start) with a database of its own: the server has `database` and `sql(text)`."""
    def make(config=None, start=True, dsn=None):
        dsn = dsn or postgres.database()
        s = make_server(merged(config, {"storage": {"dsn": dsn}}), start=start)
        s.dsn, s.database = dsn, named(dsn)
        s.sql = lambda text, *args: postgres.query(s.database, text, *args)
        return s
    return make


def pg_counts(server):
    names = [r[0] for r in server.sql("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
                                      " AND left(relname, 1) <> '_'")]
    return {n: server.sql("SELECT COUNT(*) FROM " + n)[0][0] for n in names}


# ---- migrate and db ----

def test_migrate_on_postgres(pg_server):
    s = pg_server(start=False)
    out = run(s, "migrate", "status", code=1)
    assert "postgres, 127.0.0.1" in out and "sesame" not in out
    words = [binary(), "migrate", "apply", "-c", str(s.conf_path)]
    crowd = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=s.environment()) for _ in range(4)]
    for p in crowd:
        assert p.wait(60) == 0, p.stdout.read()
        p.stdout.close()
    assert json.loads(run(s, "migrate", "status", "--json"))["pending"] == 0
    run(s, "migrate", "rollback", "--to", "0", "--yes", code=-SIGKILL, env={"ARAGORA_FAULT": "db.before_undo_commit=kill"})
    assert json.loads(run(s, "migrate", "status", "--json"))["pending"] == 0
    run(s, "migrate", "rollback", "--to", "0", "--yes")
    assert set(pg_counts(s)) <= {"schema_migrations", "commit_marks"}
    s.start()
    finished(s, ask(s))
    assert "the store is whole" in run(s, "db", "check")
    run(s, "migrate", "rollback", "--yes", code=1)
    assert "another aragorad" in run.stderr


def test_rollback_sees_the_workers_of_other_nodes(pg_server):
    s = pg_server()
    other = pg_server(start=False, dsn=s.dsn)
    run(other, "migrate", "rollback", "--yes", code=1)
    assert "workers of other nodes use this database" in run.stderr


def test_db_check_on_postgres(pg_server):
    s = pg_server()
    finished(s, ask(s, 2))
    s.stop()
    run(s, "db", "check")
    s.sql("DELETE FROM debate_events WHERE seq = 3")
    s.sql("UPDATE receipts SET document = replace(document, 'demo_', 'dema_')")
    report = json.loads(run(s, "db", "check", "--json", code=1))
    assert {c["check"] for c in report["checks"] if not c["ok"]} == {"dense events", "receipts"}
    for how in ("vacuum", "analyze", "checkpoint"):
        run(s, "db", how)


# ---- backup ----

def test_backup_and_restore_on_postgres(pg_server):
    s = pg_server({"storage": {"encryption_key": KEYS[0]}})
    finished(s, ask(s, 2))
    made = [json.loads(run(s, "backup", "--json", *more)) for more in ((), ("--encrypt",))]
    assert made[0]["path"].endswith(".dump") and made[1]["path"].endswith(".dump.enc")
    assert open(made[0]["path"], "rb").read(5) == b"PGDMP" and oct(os.stat(made[0]["path"]).st_mode & 0o777) == "0o600"
    finished(s, ask(s))
    s.stop()
    # A table that the backup does not know must not stay.
    s.sql("CREATE TABLE later (id BIGINT PRIMARY KEY)")
    for m, left in zip(made, (3, 2)):
        run(s, "backup", "verify", m["path"])
        out = run(s, "restore", m["path"], "--yes")
        assert "what was there before is in" in out and pg_counts(s)["debates"] == 2 and "later" not in pg_counts(s)
        aside = re.search(r"is in (\S+)", out)[1]
        assert json.loads(run(s, "backup", "verify", aside, "--json"))["rows"] >= left
    s.start()
    finished(s, ask(s))
    assert "the store is whole" in run(s, "db", "check")
    s.stop()
    with open(made[0]["path"], "r+b") as f:
        f.truncate(os.path.getsize(made[0]["path"]) // 2)
    before = pg_counts(s)
    run(s, "backup", "verify", made[0]["path"], code=1)
    run(s, "restore", made[0]["path"], "--yes", code=1)
    assert {k: v for k, v in pg_counts(s).items() if k != "processes"} == {k: v for k, v in before.items() if k != "processes"}


def test_recovery_to_a_point_in_time(make_server):
    """The chapter of aragorad(8), step by step: base backup, archive, a named moment, and nothing after it."""
    cluster = Cluster()
    archive = cluster.folder / "archive"
    cluster.conf = ["wal_level = replica", "archive_mode = on", "archive_timeout = 60",
                    "archive_command = 'test ! -f %s/%%f && cp %%p %s/%%f'" % (archive, archive)]
    try:
        cluster.make()._run("mkdir", archive)
        cluster.start()
        dsn = cluster.database()
        name = named(dsn)
        s = make_server({"storage": {"dsn": dsn}})
        finished(s, before := ask(s))
        base = cluster.folder / "base"
        cluster._run(BIN / "pg_basebackup", "-D", base, "-X", "none", "-c", "fast", "--no-sync", "-d",
                     "host=127.0.0.1 port=%d user=%s password='%s'" % (cluster.port, ADMIN, PASSWORD))
        finished(s, kept := ask(s))
        cluster.query(name, "SELECT pg_create_restore_point('before')")
        finished(s, lost := ask(s))
        s.stop()
        cluster.stop()
        shutil.rmtree(cluster.data)
        base.rename(cluster.data)
        with open(cluster.data / "postgresql.conf", "a") as f:
            f.write("restore_command = 'cp %s/%%f %%p'\nrecovery_target_name = 'before'\n"
                    "recovery_target_action = promote\n" % archive)
        (cluster.data / "recovery.signal").touch()
        s.spawn()  # before the database: it waits
        cluster.start()
        s.wait_ready()
        for debate, status in ((before, 200), (kept, 200), (lost, 404)):
            assert s.get("/api/debates/" + debate[0]).status_code == status
        receipt = s.get("/api/debates/%s" % kept[0]).json()["receipt_id"]
        assert s.get("/api/receipts/" + receipt).status_code == 200
        assert "the store is whole" in run(s, "db", "check")
        run(s, "audit", "verify")
        finished(s, ask(s))
    finally:
        cluster.close()


def test_backup_without_the_programs_of_postgres(pg_server, tmp_path):
    s = pg_server(start=False)
    run(s, "migrate", "apply")
    run(s, "backup", code=1, env={"PATH": str(tmp_path)})
    assert "install the package postgresql-client" in run.stderr


# ---- cleanup and encrypt ----

def test_cleanup_on_postgres(pg_server, tmp_path):
    s = pg_server()
    ids = ask(s, 2)
    finished(s, ids)
    s.sql("UPDATE debates SET completed_at = 1 WHERE id = %s", ids[0])
    run(s, "cleanup", "--yes", "--event-days", "30", "--journal-days", "30", "--archive-to", str(tmp_path / "a"))
    assert s.sql("SELECT DISTINCT debate_id FROM debate_events") == [(ids[1],)] == s.sql("SELECT DISTINCT debate_id FROM debate_steps")
    assert len(list((tmp_path / "a").glob("debate_events_*.jsonl.gz"))) == 1
    assert "the store is whole" in run(s, "db", "check")


def test_encrypt_on_postgres(pg_server):
    s = pg_server({"storage": {"encryption_key": KEYS[0]}}, start=False)
    run(s, "migrate", "apply")
    s.sql('CREATE TABLE IF NOT EXISTS debate_callbacks (debate_id TEXT COLLATE "C" PRIMARY KEY, org_id TEXT, workspace_id TEXT,'
          " url TEXT, endpoint TEXT, secret TEXT NOT NULL DEFAULT '', created_at BIGINT)")
    s.sql("INSERT INTO debate_callbacks SELECT 'd' || i, 'o', 'w', 'u', 'e', 'whsec' || i, 1 FROM generate_series(1, 450) AS i")
    run(s, "encrypt", "--execute", code=-SIGKILL, env={"ARAGORA_FAULT": "encrypt.page=kill@2"})
    report = json.loads(run(s, "encrypt", "--execute", "--json"))["stores"][0]
    assert report["migrated"] == 250 and report["already_encrypted"] == 200 and report["failed"] == 0
    assert s.sql("SELECT COUNT(*) FROM debate_callbacks WHERE secret LIKE '{\"_encrypted\":true,%%'")[0][0] == 450


# ---- from SQLite to PostgreSQL ----

@pytest.fixture
def full(make_server):
    """A stopped server on SQLite with debates that ended and one that did not, and text that is hard to copy."""
    s = make_server({"providers": {"demo": {"delay_ms": 200}}, "storage": {"backend": "sqlite"}})
    ids = ask(s, 3) + [s.post("/api/debates", {"task": "Tab\there, back\\slash, \"quotes\", ümläut, 日本語 \N{ROCKET}, \\N and \\. \n.",
                                               "rounds": 1}).json()["debate_id"]]
    finished(s, ids)
    s.running = ask(s, rounds=3)
    wait_until(lambda: s.get("/api/debates/" + s.running[0]).json()["status"] == "running", what="a running debate")
    s.kill_all()
    s.ended = ids
    return s


def same_service(full, target):
    """The debates, events and receipts are the ones of before, and what was running goes on."""
    target.start()
    for i in full.ended:
        d = target.get("/api/debates/" + i).json()
        assert d["status"] == "completed"
        r = target.get("/api/debates/%s/receipt" % i).json()
        assert target.post("/api/receipts/verify", r.get("receipt", r)).json()["valid"] is True
    finished(target, full.running)
    assert "the store is whole" in run(target, "db", "check")


def move_data(full, target):
    """Keys and node id are files of the node."""
    import shutil
    shutil.copytree(full.data_dir / "keys", target.data_dir / "keys", dirs_exist_ok=True)


def test_export_to_postgres(full, pg_server, postgres):
    target = pg_server({"providers": {"demo": {"delay_ms": 20}}, "debates": {"lease": "2s"}}, start=False)
    table = json.loads(run(full, "export", "--to", "postgres", target.dsn, "--json"))
    here = {k: v for k, v in counts(full, audit=True).items() if k != "schema_migrations"}
    assert {t["table"]: t["rows"] for t in table} == here and all(t["rows"] == t["copied"] for t in table)
    there = pg_counts(target)
    assert {k: there[k] for k in here} == here
    run(full, "export", "--to", "postgres", target.dsn, code=1)
    assert "the database is not empty" in run.stderr and "sesame" not in run.stderr
    move_data(full, target)
    same_service(full, target)


def test_export_to_postgres_killed_and_again(full, pg_server):
    target = pg_server(start=False)
    for at in (1, 4):
        run(full, "export", "--to", "postgres", target.dsn, code=-SIGKILL,
            env={"ARAGORA_FAULT": "export.before_commit=kill@%d" % at})
    again = {t["table"]: t for t in json.loads(run(full, "export", "--to", "postgres", target.dsn, "--json"))}
    assert any(t["copied"] < t["rows"] for t in again.values()), "it goes on where it was"
    there = pg_counts(target)
    assert all(there[n] == t["rows"] for n, t in again.items())
    assert target.sql("SELECT to_regclass('_export')") == [(None,)]


def test_export_is_compared(full, pg_server):
    target = pg_server(start=False)
    run(full, "export", "--to", "postgres", target.dsn, code=-SIGKILL, env={"ARAGORA_FAULT": "export.before_commit=kill@5"})
    name = target.sql("SELECT e.name FROM _export e JOIN information_schema.columns c ON c.table_name = e.name"
                      " WHERE e.copied > 0 AND c.column_name = 'workspace_id' ORDER BY e.name LIMIT 1")[0][0]
    target.sql("UPDATE %s SET workspace_id = 'other'" % name)
    run(full, "export", "--to", "postgres", target.dsn, code=1)
    assert "table %s has another content there" % name in run.stderr


def test_export_refuses(full, pg_server, make_server, postgres):
    target = pg_server(start=False)
    run(full, "export", code=2)
    run(full, "export", "--to", "mysql", "x", code=2)
    run(full, "export", "--to", "postgres", "postgresql://nobody:secret@127.0.0.1:1/x", code=1)
    assert "secret" not in run.stderr
    run(target, "export", "--sql", "x.sql", code=1)
    assert "PostgreSQL already" in run.stderr
    full.start()
    run(full, "export", "--to", "postgres", target.dsn, code=1)
    assert "another aragorad" in run.stderr


def test_export_sql_is_loaded_by_psql(full, pg_server, postgres, tmp_path):
    full.start()
    path = tmp_path / "export.sql"
    run(full, "export", "--sql", path, code=-SIGKILL, env={"ARAGORA_FAULT": "export.before_rename=kill"})
    assert not path.exists(), "complete or not at all"
    out = run(full, "export", "--sql", path)
    assert str(path) in out and oct(path.stat().st_mode & 0o777) == "0o600"
    full.kill_all()
    target = pg_server({"providers": {"demo": {"delay_ms": 20}}, "debates": {"lease": "2s"}}, start=False)
    done = subprocess.run(["psql", "-X", "-v", "ON_ERROR_STOP=1", "-d", target.dsn, "-f", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    move_data(full, target)
    same_service(full, target)
