# SPDX-License-Identifier: MIT
"""Storage that fails, at the start and while running: a clear word, nothing half-done, nothing lost, recovery."""
import os
import shutil
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path
from signal import SIGHUP

import pytest

from conftest import REPORT, Server, binary, wait_until
from crash import asked, check_debate, follow, node_config, pace
from pgkit import Cluster

DATABASE = "aragora.db"
OWN_FILE = {"backend": "sqlite"}  # whatever store the other tests run on
NOBODY = 65534


def file_config(provider, storage=None, **sections):
    return node_config(provider, storage={**OWN_FILE, **(storage or {})}, **sections)


class Disk:
    """A small file system that can be filled."""

    def __init__(self, path, size):
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%s,mode=0700" % size, "none", str(self.path)],
                              capture_output=True, text=True)
        if made.returncode != 0:
            pytest.skip("no small file system can be mounted here: " + made.stderr.strip())

    def fill(self):
        with open(self.path / "ballast", "ab", buffering=0) as f:
            for block in (1 << 20, 4096):
                try:
                    while True:
                        f.write(b"\0" * block)
                except OSError:
                    pass

    def free(self):
        (self.path / "ballast").unlink()

    def close(self):
        subprocess.run(["umount", "-l", str(self.path)], check=True)


@pytest.fixture
def make_disk():
    made = []

    def make(path, size):
        made.append(Disk(path, size))
        return made[-1]

    yield make
    for disk in made:
        disk.close()


def refused(s, code=1):
    """The server must not start; returns its one plain line, having checked that nothing half-done stays."""
    got, text = s.spawn().expect_exit()
    assert got == code, text
    assert not s.pidfile.exists() and not (s.data_dir / "control.sock").exists() and not s.family()
    assert not REPORT.search(text)
    plain = [line for line in text.splitlines() if line.startswith("aragorad: ")]
    assert len(plain) == 1, text
    return plain[0]


# ---- at the start ----

@pytest.mark.parametrize("mode,folder", [(0o000, "data"), (0o555, "data"), (0o000, "data/keys"), (0o555, "data/run")])
def test_folder_without_permission(mode, folder):
    """Modes mean nothing to root, so the server runs as nobody here."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become another user")
    root = Path(tempfile.mkdtemp(prefix="aragora-nobody-"))
    try:
        root.chmod(0o755)
        program = root / "aragorad"
        shutil.copy2(binary(), program)
        s = Server(root / "node", {"server": {"workers": 1}, "storage": OWN_FILE})
        for sub in ("", "keys", "run"):
            (s.data_dir / sub).mkdir()
        for path in (s.folder, *s.folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        target = s.folder / folder
        target.chmod(mode)
        done = subprocess.run(["setpriv", "--reuid=%d" % NOBODY, "--regid=%d" % NOBODY, "--clear-groups", program, "-c",
                               s.conf_path], capture_output=True, text=True, timeout=60, env=s.environment(), cwd=s.folder)
        assert done.returncode == 1, done.stderr
        plain = [line for line in done.stderr.splitlines() if line.startswith("aragorad: ")]
        assert len(plain) == 1 and str(target) in plain[0] and "Permission denied" in plain[0], done.stderr
        assert not s.pidfile.exists() and "Sanitizer" not in done.stderr
    finally:
        shutil.rmtree(root)


def test_disk_without_room(make_node, make_disk, provider):
    node = make_node(file_config(provider), start=False)
    make_disk(node.data_dir, "8m")
    line = refused(node)
    assert "storage.min_free_bytes" in line and str(node.data_dir) in line


def test_disk_that_is_full(make_node, make_disk, provider):
    node = make_node(file_config(provider, storage={"min_free_bytes": 0}), start=False)
    disk = make_disk(node.data_dir, "64k")
    disk.fill()
    assert "No space left on device" in (line := refused(node)) or "disk full" in line
    disk.free()


def test_damaged_database(make_node, provider):
    pace(provider)
    node = make_node(file_config(provider))
    node.wait_ended(node.create())
    assert node.stop() == 0
    path = node.data_dir / DATABASE
    pages = path.stat().st_size // 4096
    with open(path, "r+b") as f:
        for page in range(1, pages):
            f.seek(page * 4096)
            f.write(os.urandom(2048))
    before = path.read_bytes()
    line = refused(node)
    assert str(path) in line and "damaged" in line
    assert path.read_bytes() == before  # evidence is not touched


def test_newer_schema(make_node, provider):
    node = make_node(file_config(provider))
    assert node.stop() == 0
    db = sqlite3.connect(node.data_dir / DATABASE)
    db.execute("INSERT INTO schema_migrations (number, name, checksum, applied_at) VALUES (9999, 'flying cars', 'x', 1)")
    db.commit()
    db.close()
    line = refused(node)
    assert "newer aragorad" in line and "flying cars" in line


# ---- while running ----

def moved(node):
    """The file is renamed, its log with it."""
    for name in (DATABASE, DATABASE + "-wal", DATABASE + "-shm"):
        if (node.data_dir / name).exists():
            (node.data_dir / name).rename(node.data_dir / ("away." + name))


def moved_back(node):
    for name in (DATABASE + "-shm", DATABASE + "-wal", DATABASE):
        if (node.data_dir / ("away." + name)).exists():
            (node.data_dir / ("away." + name)).rename(node.data_dir / name)


def renamed(node):
    (node.data_dir / DATABASE).rename(node.data_dir / "away")


def renamed_back(node):
    (node.data_dir / "away").rename(node.data_dir / DATABASE)


def degraded(node, reason):
    """Every worker says so, with the reason, and takes no work; none dies of it."""
    wait_until(lambda: all(node.get("/readyz").status_code == 503 for _ in range(8)), what="all workers notice")
    health = wait_until(lambda: (r := node.get("/api/health")).status_code == 503 and r.json(), what="health tells")
    assert health["status"] == "degraded" and reason in health["reason"], health
    assert node.get("/healthz").status_code == 200
    for _ in range(4):
        r = node.post("/api/debates", {"task": "Will this be stored?"})
        assert r.status_code == 503 and reason in r.json()["error"], r.text


def troubled(node):
    """Processes whose last word on their store is that it is unusable."""
    bad = {"the store is unusable": True, "the store is usable again": False,
           "the database is not usable": True, "the database is usable": False}
    words = {x["pid"]: bad[x["message"]] for x in node.log_lines() if x["message"] in bad}
    return {w["pid"] for w in node.workers(None)} & {pid for pid, word in words.items() if word}


def recovered(node):
    """Each worker finds out by itself, and which of them answers is chance: all have said so."""
    wait_until(lambda: not troubled(node) and all(node.get("/readyz").status_code == 200 for _ in range(8)), what="recovery")
    health = node.get("/api/health").json()
    assert health["status"] == "healthy", health


def outage(node, provider, begin, end, reason, long=0.0):
    """Debates run into an outage in the middle of their calls and go on after it, with every answer that was paid."""
    workers = {w["pid"] for w in node.wait_workers(3)}
    debates = [node.create("Question %d" % i) for i in range(3)]
    followers = {d: follow(node, d) for d in debates}
    for d in debates:
        wait_until(lambda: sum(map(len, asked(provider, d).values())) == 3, what="the drafts")
    begin(node)
    degraded(node, reason)
    time.sleep(long)
    # The answers have come and wait for the store; nothing new is asked for meanwhile.
    assert all(sum(map(len, asked(provider, d).values())) == 3 for d in debates)
    end(node)
    recovered(node)
    pace(provider, 0.02)
    for d in debates:
        assert check_debate(node, provider, d, followers[d]) == 0
    assert {w["pid"] for w in node.workers(None)} == workers
    fresh = node.create("And now?")
    check_debate(node, provider, fresh)


@pytest.mark.parametrize("begin,end", [(renamed, renamed_back), (moved, moved_back)], ids=["renamed", "moved-with-log"])
def test_database_file_goes_and_comes_back(make_node, provider, begin, end):
    pace(provider, 0.7)
    node = make_node(file_config(provider))
    outage(node, provider, begin, end, "gone")


# With a reserve the server stops in time; without one SQLite itself runs into the end of the disk.
@pytest.mark.parametrize("reserve", ["2MiB", "0"])
def test_disk_fills_up_and_is_freed(make_node, make_disk, provider, reserve):
    pace(provider, 0.7)
    node = make_node(file_config(provider, storage={"min_free_bytes": reserve}), start=False)
    disk = make_disk(node.data_dir, "24m")
    node.start()
    outage(node, provider, lambda n: disk.fill(), lambda n: disk.free(), "disk full")


def test_long_outage_gives_up_nothing(make_node, provider):
    """Longer than any lease: what was paid for is still there."""
    pace(provider, 0.7)
    node = make_node(file_config(provider, debates={"lease": "500ms"}))
    outage(node, provider, renamed, renamed_back, "gone", long=5)


def test_reload_during_an_outage(make_node, provider):
    """The new workers cannot boot, so the old ones stay: their answers are kept."""
    pace(provider, 0.7)
    node = make_node(file_config(provider))

    def begin(node):
        renamed(node)
        node.signal(SIGHUP)
        node.wait_log("reload failed")

    outage(node, provider, begin, renamed_back, "gone")
    assert node.status()["generation"] == 1


def test_database_server_goes_and_comes_back(make_node, provider):
    """The same with PostgreSQL: what was paid for is kept until it is back."""
    with Cluster() as cluster:
        pace(provider, 0.7)
        node = make_node(node_config(provider, storage={"dsn": cluster.database(), "pool_timeout": "1500ms"}))
        outage(node, provider, lambda n: cluster.stop(), lambda n: cluster.start(), "connect")


def test_removed_database_is_not_made_anew(make_node, provider):
    node = make_node(file_config(provider))
    for name in (DATABASE, DATABASE + "-wal", DATABASE + "-shm"):
        (node.data_dir / name).unlink(missing_ok=True)
    degraded(node, "gone")
    assert node.stop() == 0
    assert not (node.data_dir / DATABASE).exists()


def test_store_that_fails_now_and_then(make_node, provider):
    """Single commits are refused with "disk full"; each is tried again."""
    pace(provider, 0.02)
    faults = ",".join("db.full=fail@%d" % n for n in (6, 7, 12, 13, 14, 17, 19, 21, 24, 27, 30))
    node = make_node(file_config(provider, server={"workers": 1}), env={"ARAGORA_FAULT": faults})
    debate = node.create()
    followers = follow(node, debate)
    assert check_debate(node, provider, debate, followers) == 0
    assert node.run_log().count("cannot be stored; trying again") >= 3
