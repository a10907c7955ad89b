# SPDX-License-Identifier: MIT
"""What an operator does with the program besides serving: migrate, check, back up, restore, export, clean up, encrypt."""
import json
import os
import sqlite3
import subprocess
from signal import SIGKILL

import pytest

from conftest import ROOT, binary, wait_until

REPORTS = ("Sanitizer", "runtime error", "BUG: ")


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
    assert "0 pending" in run(s, "migrate", "status")
    last = status["migrations"][-1]["number"]
    assert "undo %d" % last in run(s, "migrate", "rollback", code=1), "without --yes it only says what it would do"
    assert "0 pending" in run(s, "migrate", "status")
    run(s, "migrate", "rollback", "--to", "0", "--yes")
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
    for name in ("migrate", "init-db", "keygen", "check", "routes", "status", "ask"):
        out = subprocess.run([binary(), name, "--help"], capture_output=True, text=True)
        assert out.returncode == 0 and out.stdout.startswith("Usage: aragorad %s" % name), out
        assert max(map(len, out.stdout.splitlines())) <= 80, out.stdout
        assert "\n  %s " % name in help_text
        assert ".It Cm %s" % name in manual
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
