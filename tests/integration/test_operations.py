# SPDX-License-Identifier: MIT
"""What an operator does with the program besides serving: migrate, check, back up, restore, export, clean up, encrypt."""
import base64
import gzip
import hashlib
import json
import os
import pty
import re
import sqlite3
import subprocess
import tarfile
import time
from signal import SIGHUP, SIGKILL

import pytest

from conftest import ROOT, binary, wait_until

REPORTS = ("Sanitizer", "runtime error", "BUG: ")
KEYS = ["%064x" % (7 ** 80 + i) for i in range(3)]


@pytest.fixture(autouse=True)
def on_sqlite(monkeypatch):
    """These look into the file; the same commands on a server are in test_operations_pg.py."""
    monkeypatch.delenv("ARAGORA_TEST_STORE", raising=False)


def run(server, *args, code=0, env=None, stdin=""):
    """A subcommand with this server's configuration; its standard output. `code` is the exit status it must have."""
    words = [binary(), *map(str, args), "-c", str(server.conf_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, cwd=server.folder, input=stdin,
                          env={**server.environment(), **(env or {})})
    assert not any(r in done.stderr for r in REPORTS), done.stderr
    assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
    run.stderr = done.stderr
    return done.stdout


def database(server, path=None):
    return sqlite3.connect(str(path or server.data_dir / "aragora.db"), timeout=20)


def ask(server, n=1, **body):
    """Starts n debates; their ids."""
    ids = []
    for i in range(n):
        r = server.post("/api/debates", {"task": "What is to be done, number %d?" % i, "rounds": 1, **body})
        assert r.status_code < 300, r.text
        ids.append(r.json()["debate_id"])
    return ids


def finished(server, ids, timeout=60):
    wait_until(lambda: all(server.get("/api/debates/" + i).json()["status"] == "completed" for i in ids), timeout,
               "the end of %d debates" % len(ids), 0.1)


# ---- migrate ----

def test_migrate_apply_status_rollback(make_server):
    s = make_server(start=False)
    status = json.loads(run(s, "migrate", "status", "--json", code=1))
    assert status["applied"] == 0 and status["pending"] == len(status["migrations"]) > 0
    assert "now applied: 1 debates" in run(s, "migrate", "apply")
    assert "nothing to apply" in run(s, "migrate", "apply")
    assert "nothing to apply" in run(s, "migrate", "upgrade"), "as other tools call it"
    assert "0 pending" in run(s, "migrate", "status")
    last = status["migrations"][-1]["number"]
    assert "undo %d" % last in run(s, "migrate", "rollback", code=1), "without --yes it only says what it would do"
    assert "0 pending" in run(s, "migrate", "status")
    run(s, "migrate", "downgrade", "--to", "0", "--yes")
    assert json.loads(run(s, "migrate", "status", "--json", code=1))["applied"] == 0
    with database(s) as db:
        assert [r[0] for r in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")] == ["schema_migrations"]
    s.start()
    finished(s, ask(s))


def test_migrate_rollback_refuses_beside_a_server(server):
    run(server, "migrate", "rollback", "--to", "0", "--yes", code=1)
    assert "another aragorad (pid %d)" % server.process.pid in run.stderr
    assert "nothing to apply" in run(server, "migrate", "apply"), "applying beside a server is fine"


def test_many_migrate_at_once(make_server):
    s = make_server(start=False)
    words = [binary(), "migrate", "apply", "-c", str(s.conf_path)]
    crowd = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=s.environment()) for _ in range(6)]
    for p in crowd:
        assert p.wait(60) == 0, p.stdout.read()
        p.stdout.close()
    with database(s) as db:
        rows = db.execute("SELECT number, COUNT(*) FROM schema_migrations GROUP BY number").fetchall()
    assert rows and all(n == 1 for _, n in rows)


@pytest.mark.parametrize("point", ["db.before_migrate_commit", "db.before_undo_commit"])
def test_migrate_killed_and_again(make_server, point):
    s = make_server(start=False)
    if "undo" in point:
        run(s, "migrate", "apply")
    how = ("rollback", "--to", "0", "--yes") if "undo" in point else ("apply",)
    before = run(s, "migrate", "status", "--json", code=0 if "undo" in point else 1)
    run(s, "migrate", *how, code=-SIGKILL, env={"ARAGORA_FAULT": point + "=kill"})
    after = run(s, "migrate", "status", "--json", code=0 if "undo" in point else 1)
    assert json.loads(before)["applied"] == json.loads(after)["applied"], "a migration is applied whole or not at all"
    run(s, "migrate", *how)


def test_changed_and_unknown_migrations_are_refused(make_server):
    s = make_server(start=False)
    run(s, "migrate", "apply")
    with database(s) as db:
        db.execute("UPDATE schema_migrations SET checksum = 'x' WHERE number = 1")
        db.execute("INSERT INTO schema_migrations VALUES (999, 'of the future', 'y', 1)")
    out = run(s, "migrate", "status", code=1)
    assert "changed" in out and "unknown" in out and "must not be started" in out
    run(s, "migrate", "rollback", "--yes", code=1)
    assert "migration 999 (of the future) is unknown" in run.stderr
    code, log = s.spawn().expect_exit()
    assert code != 0 and "another content" in log


@pytest.mark.parametrize("how", [{}, {"storage": {"auto_migrate": False}}])
def test_start_without_automatic_migration(make_server, how):
    env = {} if how else {"ARAGORA_AUTO_MIGRATE_ON_STARTUP": "false"}
    s = make_server(how, env, start=False)
    code, log = s.spawn().expect_exit()
    assert code != 0 and "run: aragorad migrate apply -c " + str(s.conf_path) in log
    assert not (s.data_dir / "aragora.db").exists()
    run(s, "init-db")
    s.start()
    finished(s, ask(s))


def test_migrate_new_prints_what_compiles(make_server, tmp_path):
    s = make_server(start=False)
    text = run(s, "migrate", "new", "widgets")
    name = tmp_path / "new.c"
    texts, row = text.split("\n    {", 1)
    name.write_text("struct m { int n; const char *name, *up, *down; };\n%s\nconst struct m rows[] = {\n    {%s};\n" % (texts, row))
    subprocess.run(["gcc", "-Wall", "-Werror", "-fsyntax-only", str(name)], check=True)
    assert '"widgets"' in row
    run(s, "migrate", "new", 'a"b', code=2)
    run(s, "migrate", "new", code=2)


def test_every_command_explains_itself():
    help_text = subprocess.run([binary(), "--help"], capture_output=True, text=True).stdout
    manual = (ROOT / "man/aragorad.8").read_text()
    names = set(re.findall(r"^  ([a-z-]+) ", help_text, re.M)) - {"serve"}
    assert len(names) >= 17 and {"ask", "receipt", "eval"} <= names
    for name in names:
        out = subprocess.run([binary(), name, "--help"], capture_output=True, text=True)
        assert out.returncode == 0 and out.stdout.startswith("Usage: aragorad %s" % name), out
        assert max(map(len, out.stdout.splitlines())) <= 80, out.stdout
        assert ".It Cm %s" % name in manual
        for letter, option in re.findall(r"^ +(?:-(\w), +)?--([a-z-]+)", out.stdout, re.M):
            assert re.search(r"\bFl (-%s|%s)(?![a-z-])" % (option, letter or "-" + option), manual), (name, option)
        assert subprocess.run([binary(), name, "--nonsense"], capture_output=True).returncode == 2


def test_keygen():
    def keygen(*args, code=0):
        out = subprocess.run([binary(), "keygen", *args], capture_output=True, text=True)
        assert out.returncode == code
        return out.stdout.strip()

    key = keygen()
    assert len(key) == 64 and bytes.fromhex(key) and key != keygen("encryption")
    assert len(keygen("jwt")) == 43 and len(keygen("password")) == 32
    keygen("nonsense", code=2)
    for good in (key, key + "," + keygen(), keygen("jwt"), keygen("jwt") + "="):
        env = {**os.environ, "ARAGORA_ENCRYPTION_KEY": good}
        assert subprocess.run([binary(), "check"], env=env, capture_output=True).returncode == 0
    bad = subprocess.run([binary(), "check"], env={**os.environ, "ARAGORA_ENCRYPTION_KEY": key + "00"}, capture_output=True, text=True)
    assert bad.returncode == 4 and "key 1 is neither" in bad.stderr and key not in bad.stderr


# ---- db ----

RATED = ("INSERT INTO ratings (workspace_id, agent, org_id, elo_milli, wins, losses, draws, updated_at) VALUES ('default', 'alpha', 'default',"
         " %d, 1, 0, 0, 1); INSERT INTO rating_changes (debate_id, agent, kind, org_id, workspace_id, domain, outcome, side, score_milli,"
         " change_milli, created_at) VALUES ('d', 'alpha', 'match', 'default', 'default', 'api', 'win', 0, 1000, 10000, 1)")

def test_db_check_sees_what_is_broken(server):
    finished(server, ask(server, 2))
    assert "the store is whole" in run(server, "db", "check")
    server.stop()
    breaks = {
        "dense events": "DELETE FROM debate_events WHERE seq = 3",
        "last event": "UPDATE debate_events SET type = 'agent_message' WHERE type = 'debate_end'",
        "results": "UPDATE debates SET result = NULL",
        "plans": "UPDATE debates SET status = 'queued', plan = '{}'",
        "owners": "UPDATE debates SET owner = 'somebody'",
        "receipt of a debate": "UPDATE debates SET receipt_id = NULL",
        "events without debate": "DELETE FROM debates",
        "steps without debate": "DELETE FROM debates",
        "finished steps": "UPDATE debate_steps SET result = NULL WHERE state = 'done'",
        "receipts": "UPDATE receipts SET document = replace(document, 'demo_', 'dema_')",
        "ends": "UPDATE debates SET completed_at = NULL",
        "ratings": RATED % 1510001,
        "matches": RATED % 1510000 + "; UPDATE ratings SET wins = 0",
        "events of running debates": "UPDATE debates SET status = 'running'; DELETE FROM debate_events",
    }
    good = (server.data_dir / "aragora.db").read_bytes()
    for name, sql in breaks.items():
        with database(server) as db:
            db.executescript(sql)
        report = json.loads(run(server, "db", "check", "--json", code=1))
        assert not report["ok"] and name in [c["check"] for c in report["checks"] if not c["ok"]], (name, report)
        db.close()
        for f in server.data_dir.glob("aragora.db*"):
            f.unlink()
        (server.data_dir / "aragora.db").write_bytes(good)
    rules = [c["check"] for c in json.loads(run(server, "db", "check", "--json"))["checks"]]
    assert set(breaks) | {"file structure", "foreign keys", "migrations"} == set(rules), "each rule is seen to fail"


def test_db_upkeep(server):
    finished(server, ask(server))
    assert "pages of the log" in run(server, "db", "checkpoint")
    run(server, "db", "checkpoint", "--mode", "nonsense", code=2)
    run(server, "db", "analyze")
    run(server, "db", "vacuum", code=1)
    assert "another aragorad" in run.stderr, "a vacuum would hold up every write"
    server.stop()
    run(server, "db", "vacuum")
    assert "the store is whole" in run(server, "db", "check")


# ---- backup and restore ----

def counts(server, path=None, audit=False):
    """Rows by table; the audit log apart, to which every command adds its event."""
    with database(server, path) as db:
        names = [r[0] for r in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND substr(name, 1, 1) <> '_'"
                                             " AND (substr(name, 1, 6) <> 'audit_' OR ?)", (audit,))]
        return {n: db.execute("SELECT COUNT(*) FROM " + n).fetchone()[0] for n in names}


@pytest.mark.server({"providers": {"demo": {"delay_ms": 30}}, "debates": {"max_concurrent": 20}})
def test_hot_backup_during_debates(server):
    ids = ask(server, 12)
    made = [json.loads(run(server, "backup", "--json")) for _ in range(4)]
    finished(server, ids)
    made.append(json.loads(run(server, "backup", "--json")))
    assert [m["rows"] for m in made] == sorted(m["rows"] for m in made) and made[0]["rows"] < made[-1]["rows"]
    for m in made:
        with database(server, m["path"]) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            broken = db.execute("SELECT d.id FROM debates d JOIN (SELECT debate_id, COUNT(*) n, MAX(seq) hi FROM debate_events"
                                " GROUP BY 1) e ON e.debate_id = d.id WHERE e.n <> e.hi OR e.hi <> d.last_seq").fetchall()
            assert broken == [], "one state of the store, not a mixture"
        assert not os.path.exists(m["path"] + "-wal")
    run(server, "backup", "verify")


def test_restore_resumes_what_was_running(make_server):
    s = make_server({"providers": {"demo": {"delay_ms": 300}}})
    done = ask(s)
    finished(s, done)
    running = ask(s, rounds=6)
    wait_until(lambda: s.get("/api/debates/" + running[0]).json()["status"] == "running", what="a running debate")
    path = json.loads(run(s, "backup", "--json"))["path"]
    later = ask(s)
    finished(s, later)
    run(s, "restore", path, "--yes", code=1)
    assert "another aragorad (pid %d)" % s.process.pid in run.stderr
    s.stop()
    run(s, "restore", path, code=1)
    assert "add --yes" in run.stderr
    out = run(s, "restore", path, "--yes")
    aside = out.split("what was there before is in ")[1].strip()
    assert counts(s, aside)["debates"] == 3 and counts(s)["debates"] == 2
    s.start()
    finished(s, done + running)
    assert s.get("/api/debates/" + later[0]).status_code == 404
    assert "the store is whole" in run(s, "db", "check")


def test_damaged_backups_are_refused(server):
    finished(server, ask(server))
    path = json.loads(run(server, "backup", "--json"))["path"]
    good = open(path, "rb").read()
    server.stop()
    before = counts(server)

    def refused(why):
        run(server, "backup", "verify", path, code=1)
        assert why in run.stderr, run.stderr
        run(server, "restore", path, "--yes", code=1)
        assert counts(server) == before

    at = good.index(b"agent_message")
    for content, why in ((good[:at] + b"b" + good[at + 1:], "has another content"), (good[:len(good) // 2], "damaged"),
                         (good[:4096] + bytes(8192) + good[12288:], "damaged"), (b"", "backup"), (b"nonsense" * 999, "damaged")):
        with open(path, "wb") as f:
            f.write(content)
        refused(why)
    with open(path, "wb") as f:
        f.write(good)
    with database(server, path) as db:
        db.execute("INSERT INTO schema_migrations VALUES (999, 'of the future', 'x', 1)")
    refused("table schema_migrations has")


def test_restore_over_a_damaged_database(make_server):
    s = make_server()
    finished(s, ask(s))
    path = json.loads(run(s, "backup", "--json"))["path"]
    whole = counts(s, path)
    finished(s, ask(s, 2))
    s.kill_all()
    file = s.data_dir / "aragora.db"
    good, log = file.read_bytes(), (s.data_dir / "aragora.db-wal").read_bytes()
    assert len(log) > 100000, "a log with something in it"
    for damage in (good[:4096] + os.urandom(len(good) - 4096), b"not a database at all" * 99, good[:20000], b""):
        for f in s.data_dir.glob("aragora.db*"):
            f.unlink()
        file.write_bytes(damage)
        (s.data_dir / "aragora.db-wal").write_bytes(log)
        out = run(s, "restore", path, "--yes")
        assert counts(s) == whole, "the log of the damaged file is not replayed"
        assert os.path.exists(out.split("what was there before is in ")[1].strip())
    file.write_bytes(good[:4096] + os.urandom(len(good) - 4096))
    run(s, "backup", code=1)
    run(s, "restore", path, "--yes")
    s.start()
    assert len(s.get("/api/debates").json()["debates"]) == 1


def test_tables_on_a_terminal(server):
    def columns(**env):
        main, sub = pty.openpty()
        words = [binary(), "migrate", "status", "-c", str(server.conf_path)]
        subprocess.run(words, stdout=sub, stderr=sub, env={**server.environment(), **env}, timeout=60)
        os.close(sub)
        text = os.read(main, 65536).decode()
        os.close(main)
        return text

    plain = run(server, "migrate", "status")
    assert "\033" not in plain and "\033[1mNUMBER" in columns() and "\033" not in columns(NO_COLOR="1")
    lines = [line for line in plain.splitlines() if "applied  " in line]
    assert lines and len({line.index("applied  ") for line in lines}) == 1, "columns stand below each other"


def test_encrypted_backup(make_server):
    s = make_server({"storage": {"encryption_key": KEYS[0]}})
    finished(s, ask(s))
    made = json.loads(run(s, "backup", "--encrypt", "--json"))
    assert made["path"].endswith(".db.enc") and made["encryption_key_id"]
    sealed = open(made["path"], "rb").read()
    assert b"SQLite" not in sealed and b"What is to be done" not in sealed
    assert [p.name for p in (s.data_dir / "backups").iterdir() if p.name != ".lock"] == [os.path.basename(made["path"])]
    s.stop()
    before = counts(s)
    s.write_config(storage={"encryption_key": KEYS[1]})
    run(s, "restore", made["path"], "--yes", code=1)
    assert "Key not found" in run.stderr and made["encryption_key_id"] in run.stderr
    s.write_config(storage={"encryption_key": KEYS[1] + "," + KEYS[0]})
    for at in (0, 9, 20, 40, len(sealed) // 2, len(sealed) - 1):
        with open(made["path"], "wb") as f:
            f.write(sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1:])
        run(s, "backup", "verify", made["path"], code=1)
    with open(made["path"], "wb") as f:
        f.write(sealed[:-100])
    run(s, "backup", "verify", made["path"], code=1)
    assert "was changed or cut" in run.stderr
    with open(made["path"], "wb") as f:
        f.write(sealed)
    run(s, "restore", made["path"], "--yes")
    assert {**counts(s), "processes": 0} == before
    assert [p.name for p in (s.data_dir / "backups").iterdir() if "partial" in p.name] == []


@pytest.mark.parametrize("point", ["backup.copying", "backup.copied", "backup.before_rename"])
def test_backup_killed_and_again(server, point):
    finished(server, ask(server))
    run(server, "backup", "--encrypt", code=-SIGKILL, env={"ARAGORA_FAULT": point + "=kill"})
    assert "there is no backup" in run(server, "backup", "list"), "complete or not at all"
    run(server, "backup", "--encrypt")
    run(server, "backup", "verify")
    assert [p.name for p in (server.data_dir / "backups").iterdir() if "partial" in p.name] == []


def test_restore_waits_for_the_workers_of_a_dead_master(make_server):
    s = make_server({"server": {"graceful_timeout": "20s"}, "providers": {"demo": {"delay_ms": 3000}}})
    path = json.loads(run(s, "backup", "--json"))["path"]
    ask(s)
    s.wait_log("debate started")
    s.process.kill()
    s.process.wait()
    for words in (["restore", path, "--yes"], ["db", "vacuum"]):
        run(s, *words, code=1)
        assert re.search(r"the master has gone, but \d of its workers still finish their work in .*/data; wait", run.stderr)
    wait_until(lambda: not s.family(), what="the end of the workers")
    run(s, "restore", path, "--yes")
    assert counts(s)["debates"] == 0


@pytest.mark.parametrize("point", ["restore.before_swap", "restore.set_aside"])
def test_restore_killed_and_again(make_server, point):
    s = make_server()
    finished(s, ask(s))
    path = json.loads(run(s, "backup", "--json"))["path"]
    finished(s, ask(s))
    s.kill_all()
    run(s, "restore", path, "--yes", code=-SIGKILL, env={"ARAGORA_FAULT": point + "=kill"})
    s.start()
    assert len(s.get("/api/debates").json()["debates"]) == 2, "the old content, whole"
    s.stop()
    run(s, "restore", path, "--yes")
    assert counts(s)["debates"] == 1


def test_backups_one_at_a_time_and_the_rule(server, tmp_path):
    finished(server, ask(server))
    run(server, "backup", "--output", str(tmp_path / "mine.db"))
    run(server, "backup", "--output", str(tmp_path / "mine.db"), code=1)
    assert "exists already" in run.stderr
    folder = server.data_dir / "backups"
    path = json.loads(run(server, "backup", "--json"))["path"]
    listed = json.loads(run(server, "backup", "list", "--json"))
    assert [b["path"] for b in listed] == [path] and listed[0]["encryption_key_id"] is None
    old = [folder / ("aragora_202601%02d_000000_00000000.db" % d) for d in range(1, 9)]
    for p in old:
        p.write_bytes(b"x")
    out = run(server, "backup", "--prune")
    left = sorted(p.name for p in folder.iterdir() if p.name.startswith("aragora_"))
    assert len(left) == 5 and os.path.basename(path) in left and out.count("removed ") == 5
    assert [p.name for p in old[-3:]] == left[:3], "the newest stay however old they are"
    import fcntl
    with open(folder / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run(server, "backup", code=1)
        assert "another backup or restore is at work" in run.stderr


# ---- encrypt ----

CALLBACKS = ("CREATE TABLE IF NOT EXISTS debate_callbacks (debate_id TEXT PRIMARY KEY NOT NULL, org_id TEXT NOT NULL, workspace_id"
             " TEXT NOT NULL, url TEXT NOT NULL, endpoint TEXT NOT NULL, secret TEXT NOT NULL DEFAULT '', created_at INTEGER"
             " NOT NULL) STRICT, WITHOUT ROWID")


def secrets(server):
    with database(server) as db:
        return dict(db.execute("SELECT debate_id, secret FROM debate_callbacks"))


def with_secrets(make_server, n, **config):
    s = make_server(config, start=False)
    run(s, "migrate", "apply")
    with database(s) as db:
        db.execute(CALLBACKS)
        db.executemany("INSERT INTO debate_callbacks VALUES (?, 'o', 'w', 'https://x', 'e', ?, 1)",
                       [("debate-%04d" % i, "whsec_%04d" % i if i else "") for i in range(n)])
    return s


def opened(stored, key, row):
    """What an envelope holds, by the description in common/envelope.h and not by our code."""
    from cryptography.hazmat.primitives.ciphers import aead
    outer = json.loads(stored)
    assert outer["_encrypted"] is True and set(outer) == {"_encrypted", "_value"}
    raw = base64.b64decode(outer["_value"], validate=True)
    key = bytes.fromhex(key)
    key_id = hashlib.sha256(b"aragora-key-id" + key).hexdigest()[:8]
    assert raw[:2] == b"\x01\x08" and raw[2:10].decode() == key_id and raw[10:14] == b"\0\0\0\1" and raw[14] == 12
    return aead.AESGCM(key).decrypt(raw[15:27], raw[27:], b"debate_callbacks|secret|" + row.encode()).decode()


def encrypt(server, *args, code=0, **kw):
    report = json.loads(run(server, "encrypt", "--all", "--json", *args, code=code, **kw))
    return {s["store"]: s for s in report["stores"]}["deliveries"]


def test_encrypt_existing_and_rotate(make_server):
    s = with_secrets(make_server, 500, storage={"encryption_key": KEYS[0]})
    before = secrets(s)
    dry = encrypt(s)
    assert (dry["total_records"], dry["plain"], dry["migrated"]) == (499, 499, 0) and secrets(s) == before
    assert "--execute brings 499 fields" in run(s, "encrypt")
    assert encrypt(s, "--execute")["migrated"] == 499
    first = secrets(s)
    assert first["debate-0000"] == "" and all(opened(v, KEYS[0], k) == before[k] for k, v in first.items() if v)
    again = encrypt(s, "--execute")
    assert again["migrated"] == 0 and again["already_encrypted"] == 499 and secrets(s) == first
    # The new key first: everything can be read, and is moved; then the old one goes.
    s.write_config(storage={"encryption_key": KEYS[1] + "," + KEYS[0]})
    assert encrypt(s)["other_key"] == 499
    assert encrypt(s, "--execute")["migrated"] == 499
    s.write_config(storage={"encryption_key": KEYS[1]})
    assert encrypt(s)["already_encrypted"] == 499
    assert all(opened(v, KEYS[1], k) == before[k] for k, v in secrets(s).items() if v)


def test_encrypt_with_the_wrong_key_and_corrupt_records(make_server):
    s = with_secrets(make_server, 10, storage={"encryption_key": KEYS[0]})
    assert encrypt(s, "--execute")["migrated"] == 9
    good = secrets(s)
    s.write_config(storage={"encryption_key": KEYS[1]})
    lost = encrypt(s, "--execute", "-v", code=1)
    assert lost["failed"] == 9 and lost["migrated"] == 0 and secrets(s) == good, "nothing that cannot be read is written"
    assert run.stderr.count("Key not found") == 9 and "secret of debate-0003" in run.stderr
    s.write_config(storage={"encryption_key": KEYS[1] + "," + KEYS[0]})
    with database(s) as db:
        db.execute("UPDATE debate_callbacks SET secret = ? WHERE debate_id = 'debate-0001'", (good["debate-0002"],))
        db.execute("UPDATE debate_callbacks SET secret = '{\"_encrypted\": true}' WHERE debate_id = 'debate-0005'")
        db.execute("UPDATE debate_callbacks SET secret = 'plain again' WHERE debate_id = 'debate-0007'")
    db.close()
    mixed = encrypt(s, "--execute", "-v", code=1)
    assert (mixed["failed"], mixed["migrated"], mixed["plain"]) == (2, 7, 1), "the others go on"
    assert "belongs to another row" in run.stderr and "damaged" in run.stderr
    assert opened(secrets(s)["debate-0007"], KEYS[1], "debate-0007") == "plain again"


def test_encrypt_killed_and_again(make_server):
    s = with_secrets(make_server, 900, storage={"encryption_key": KEYS[0]})
    run(s, "encrypt", "--execute", code=-SIGKILL, env={"ARAGORA_FAULT": "encrypt.page=kill@3"})
    part = encrypt(s)
    assert 0 < part["already_encrypted"] < 899
    rest = encrypt(s, "--execute")
    assert rest["migrated"] + part["already_encrypted"] == 899 and encrypt(s)["already_encrypted"] == 899


def test_encrypt_beside_a_server_is_counted(make_server):
    s = with_secrets(make_server, 5, storage={"encryption_key": KEYS[0]})
    s.start()
    with database(s) as db:
        db.execute("UPDATE debate_callbacks SET secret = '{\"_encrypted\": true}' WHERE debate_id = 'debate-0001'")
    db.close()
    encrypt(s, "--execute", code=1)
    text = s.get("/metrics").text
    for line in ('aragora_migration_records_total{store="deliveries",status="migrated"} 3',
                 'aragora_migration_records_total{store="deliveries",status="failed"} 1',
                 'aragora_migration_errors_total{store="deliveries",error_type="damaged"} 1'):
        assert line in text, text
    assert "aragora_encryption_operations_total" in text and "aragora_encryption_errors_total" in text


def test_encrypt_knows_its_stores(make_server):
    s = make_server(start=False)
    run(s, "migrate", "apply")
    run(s, "encrypt", "--gmail-tokens", code=2)
    assert "it has: deliveries" in run.stderr
    out = run(s, "encrypt", "--store", "deliveries")
    assert "keys/encryption.key" in out and "Data will not be recoverable after restart" in run.stderr
    assert oct((s.data_dir / "keys/encryption.key").stat().st_mode & 0o777) == "0o600"
    run(s, "encrypt")
    assert "recoverable" not in run.stderr, "said once"


# ---- cleanup ----

DAY = 86400


def cleanup(server, *args, code=0):
    rows = json.loads(run(server, "cleanup", "--json", *args, code=code))
    return {r["category"]: r for r in rows}


def aged(path, days, content="x"):
    """A file, or with content None a folder with a file in it, of that age."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        path.mkdir()
        (path / "inner").mkdir()
        (path / "inner/file").write_text("y" * 100)
    else:
        path.write_text(content)
    os.utime(path, (time.time() - days * DAY,) * 2)
    return path


def litter(data):
    """Files by category: (those that go, those that stay)."""
    goes = [aged(data / "sessions/old", 4, None), aged(data / "sessions/test_run", 2), aged(data / "checkpoints/c.json", 8),
            aged(data / "root-artifacts/a.log", 8), aged(data / "root-artifacts/b", 9, None),
            aged(data / "gone.db-wal", 0), aged(data / "gone.db-shm", 0),
            aged(data / "backups/replaced_20260101_000000_00000000.db", 8)]
    stays = [aged(data / "sessions/new", 2, None), aged(data / "sessions/default_telemetry", 99, None),
             aged(data / "sessions/test_fresh", 0.5), aged(data / "checkpoints/d.json", 6), aged(data / "root-artifacts/users.db", 99),
             aged(data / "sessions/core.db", 99), aged(data / "memory/old", 999), aged(data / "keys/other.key", 999),
             aged(data / "users.db", 999), aged(data / "users.db-wal", 999), aged(data / "backups/notes.txt", 999)]
    for i in range(7):
        name = "aragora_202601%02d_000000_0000000%d.db" % (i + 1, i)
        (goes if i < 2 else stays).append(aged(data / "backups" / name, 99))
    (data / "sessions/link").symlink_to("/etc/passwd")
    stays.append(data / "sessions/link")
    return goes, stays


def test_cleanup_by_category(server):
    finished(server, ask(server))
    goes, stays = litter(server.data_dir)
    before = counts(server)
    plan = cleanup(server, "--dry-run")
    assert {k: r["removable"] for k, r in plan.items()} == {
        "backups": 2, "set aside by restore": 1, "sessions": 2, "checkpoints": 1, "artifacts": 2, "logs without database": 2,
        "traces of debates": 0, "event logs": 0, "journals": 0, "votes and messages to debates": 0, "idempotency keys": 0}
    assert plan["sessions"]["found"] == 5 and plan["backups"]["keep"] == "7 days, 5 newest"
    assert plan == cleanup(server, "--analyze-only") and all(p.exists() for p in goes + stays)
    out = run(server, "cleanup", "--dry-run", "-v")
    assert all("  %s\n" % p in out for p in goes) and "Dry run" in out
    run(server, "cleanup", code=1)
    assert "add --yes" in run.stderr and all(p.exists() for p in goes)
    assert "removed 10 files and folders" in run(server, "cleanup", "--yes")
    assert not any(p.exists() for p in goes) and all(p.exists() or p.is_symlink() for p in stays)
    assert counts(server) == before and sum(r["removable"] for r in cleanup(server, "--yes").values()) == 0
    run(server, "cleanup", "--yes", "--backup-days", "200", "--session-days", "1", "--checkpoint-days", "5")
    assert not (server.data_dir / "sessions/new").exists() and not (server.data_dir / "checkpoints/d.json").exists()
    run(server, "cleanup", "--backup-days", "-1", code=2)


def test_cleanup_archives_first(server, tmp_path):
    ids = ask(server, 3)
    finished(server, ids)
    with database(server) as db:
        db.execute("UPDATE debates SET completed_at = completed_at - ? WHERE id = ?", (40 * DAY * 1000, ids[0]))
        logged = db.execute("SELECT COUNT(*) FROM debate_events WHERE debate_id = ?", (ids[0],)).fetchone()[0]
    db.close()
    goes, _ = litter(server.data_dir)
    folder = tmp_path / "archive"
    run(server, "cleanup", "--yes", "--event-days", "30", "--journal-days", "30", "--archive-to", str(folder))
    names = sorted(p.name for p in folder.iterdir())
    assert len(names) == len(goes) + 2, names
    assert not [n for n in names if n.endswith(".partial")]
    lines = [json.loads(line) for p in folder.glob("debate_events_*.jsonl.gz") for line in gzip.open(p)]
    assert len(lines) == logged and {line["debate_id"] for line in lines} == {ids[0]}
    assert [line["seq"] for line in lines] == list(range(1, logged + 1))
    with tarfile.open(next(folder.glob("old_*.tar.gz"))) as tar:
        assert tar.extractfile("old/inner/file").read() == b"y" * 100
    assert gzip.open(next(folder.glob("c.json_*.gz"))).read() == b"x"
    assert "the store is whole" in run(server, "db", "check")
    assert server.get("/api/debates/" + ids[0]).json()["status"] == "completed"
    # What cannot be archived is not removed.
    p = aged(server.data_dir / "checkpoints/e.json", 30)
    (tmp_path / "file").write_text("")
    run(server, "cleanup", "--yes", "--archive-to", str(tmp_path / "file"), code=1)
    assert p.exists()


@pytest.mark.server({"providers": {"demo": {"delay_ms": 300}}})
def test_cleanup_leaves_what_runs(server):
    running = ask(server, rounds=3)[0]
    wait_until(lambda: server.get("/api/debates/" + running).json()["status"] == "running", what="a running debate")
    kept = aged(server.data_dir / ("checkpoints/%s.json" % running), 99)
    with database(server) as db:
        db.execute("INSERT INTO idempotency_keys VALUES ('o', 'p', 'r', 'k1', 'h', ?, 1)", (running,))
        db.execute("INSERT INTO idempotency_keys VALUES ('o', 'p', 'r', 'k2', 'h', 'over', 1)")
    db.close()
    # A debate that has not ended has no age.
    run(server, "cleanup", "--yes", "--event-days", "1", "--journal-days", "1")
    assert kept.exists()
    with database(server) as db:
        assert db.execute("SELECT key FROM idempotency_keys").fetchall() == [("k1",)]
    db.close()
    finished(server, [running])
    assert "the store is whole" in run(server, "db", "check")


def test_cleanup_killed_and_again(server, tmp_path):
    ids = ask(server, 4)
    finished(server, ids)
    with database(server) as db:
        db.execute("UPDATE debates SET completed_at = 1")
    db.close()
    how = ("cleanup", "--yes", "--event-days", "1", "--archive-to", str(tmp_path / "a"))
    run(server, *how, code=-SIGKILL, env={"ARAGORA_FAULT": "cleanup.before_commit=kill@3"})
    left = counts(server)["debate_events"]
    assert left > 0 and "the store is whole" in run(server, "db", "check")
    run(server, *how)
    assert counts(server)["debate_events"] == 0
    lines = [json.loads(line) for p in (tmp_path / "a").glob("*.jsonl.gz") for line in gzip.open(p)]
    assert {line["debate_id"] for line in lines} == set(ids), "archived before it was removed"


# ---- traces of debates ----

def traces(server, folder="traces"):
    return sorted((server.data_dir / folder).glob("*.jsonl.gz"))


def trace_of(server, debate, folder="traces", timeout=30):
    """The lines of a debate's trace, by type."""
    path = wait_until(lambda: [p for p in traces(server, folder) if p.name.startswith(debate)], timeout, "the trace")[0]
    lines = [json.loads(line) for line in gzip.open(path)]
    return {t: [x for x in lines if x["type"] == t] for t in ("debate", "step", "event", "usage")}


def pending_traces(server):
    with database(server) as db:
        return db.execute("SELECT COUNT(*) FROM trace_exports").fetchone()[0]


@pytest.mark.server({"storage": {"traces": "traces"}, "debates": {"max_concurrent": 10}})
def test_traces_are_written_at_the_end(server):
    ids = ask(server, 8)
    finished(server, ids)
    for i in ids:
        t = trace_of(server, i)
        events = server.get("/api/debates/%s/events" % i, params={"limit": 1000}).json()["events"]
        assert [e["seq"] for e in t["event"]] == list(range(1, len(events) + 1)) and t["event"][-1]["event_type"] == "debate_end"
        assert [json.loads(e["envelope"])["type"] for e in t["event"]] == [e["type"] for e in events]
        (d,) = t["debate"]
        assert d["id"] == i and d["status"] == "completed" and json.loads(d["plan"]) and json.loads(d["result"])
        digest = hashlib.sha256(i.encode()).hexdigest()
        assert (d["trace_id"], d["span_id"]) == (digest[:32], digest[32:48])
        assert len(t["step"]) > 3 and {s["state"] for s in t["step"]} == {"done"} and t["usage"]
    wait_until(lambda: pending_traces(server) == 0, what="nothing left to write")
    assert 'aragora_debate_traces_total{result="written"} 8' in server.get("/metrics").text
    old = traces(server)[0]
    os.utime(old, (time.time() - 91 * DAY,) * 2)
    assert cleanup(server, "--yes")["traces of debates"]["removable"] == 1 and len(traces(server)) == 7


def test_traces_survive_deaths_and_a_folder_that_is_gone(make_server, tmp_path):
    arm, folder = tmp_path / "arm", tmp_path / "bucket"
    arm.mkdir()
    s = make_server({"storage": {"traces": str(folder / "here")}}, env={"ARAGORA_FAULT_ARM": str(arm)})
    s.reports_allowed = True
    # The folder's parent is not there: the trace is tried until it is.
    ids = ask(s)
    finished(s, ids)
    s.wait_log("a trace could not be written")
    assert pending_traces(s) == 1
    folder.mkdir()
    trace_of(s, ids[0], str(folder / "here"))
    wait_until(lambda: pending_traces(s) == 0, what="nothing left to write")
    # Written, but its writer dies before it can say so: written again, as the same file.
    (arm / "trace.written").write_text("")
    ids = ask(s)
    wait_until(lambda: not (arm / "trace.written").exists(), what="the death of the writer")
    trace_of(s, ids[0], str(folder / "here"))
    wait_until(lambda: pending_traces(s) == 0, timeout=40, what="nothing left to write")
    assert len(traces(s, str(folder / "here"))) == 2


def test_no_traces_unless_asked_for(server):
    finished(server, ask(server))
    assert pending_traces(server) == 0 and not (server.data_dir / "traces").exists()


# ---- keys while the service goes on ----

def test_rotation_without_downtime(make_server):
    from receiver import Receiver, verify_signature
    secret = "a secret of the receiver"
    with Receiver() as receiver:
        s = make_server({"storage": {"encryption_key": KEYS[0]}, "deliveries": {"allow_private": ["127.0.0.0/8"]},
                         "providers": {"demo": {"delay_ms": 1500}}})
        d = ask(s, callback_url=receiver.url("/hook"), callback_secret=secret)[0]
        assert opened(secrets(s)[d], KEYS[0], d) == secret

        def keys(text):
            before = s.status()["generation"]
            s.write_config(storage={"encryption_key": text})
            s.signal(SIGHUP)
            wait_until(lambda: s.status()["generation"] > before and not s.status()["reloading"], what="the reload")

        keys(KEYS[1] + "," + KEYS[0])
        assert encrypt(s, "--execute")["migrated"] == 1
        assert opened(secrets(s)[d], KEYS[1], d) == secret
        keys(KEYS[1])
        r = receiver.wait(1, timeout=60)[0]
        assert verify_signature(r.json, r.headers["X-Webhook-Signature"], secret)
        assert encrypt(s)["already_encrypted"] == 1


def test_a_start_notices_wrong_and_old_keys(make_server):
    s = make_server({"storage": {"encryption_key": KEYS[0]}})
    s.stop()
    s.write_config(storage={"encryption_key": KEYS[1]})
    s.start()
    s.wait_log("Key not found: secret fields may be encrypted")
    start = s.get("/api/health/startup").json()
    assert start["status"] == "degraded" and [p["name"] for p in start["phases"] if p["status"] == "degraded"] == ["security"]
    assert any("keys that other nodes use are missing" in w for w in s.get("/api/health/detailed").json()["warnings"])
    s.stop()
    s.write_config(storage={"encryption_key": KEYS[1] + "," + KEYS[0]})
    s.start()
    assert "Key not found" not in s.run_log() and "due for rotation" not in s.run_log()
    encrypt(s, "--execute")
    s.stop()
    s.write_config(storage={"encryption_key": KEYS[1]})
    with database(s) as db:
        db.execute("UPDATE settings SET updated_at = updated_at - ? WHERE key LIKE 'encryption_key.%'", (91 * DAY * 1000,))
    db.close()
    s.start()
    assert "Key not found" not in s.run_log(), "it is forgotten once nothing lies under it"
    s.wait_log("due for rotation")
