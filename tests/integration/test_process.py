# SPDX-License-Identifier: MIT
"""The process model under load: workers that have served their number, binary upgrade, systemd, privileges, titles."""
import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from signal import SIGHUP, SIGKILL, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH

import psutil
import pytest
import requests

from conftest import ROOT, binary, wait_until
from crash import check_debate, follow, gone, node_config, pace
from load import Load
from storm import storm


def pids(server):
    return {w["pid"] for w in server.workers()}


def owners(server, state="serving"):
    """The masters whose workers there are."""
    try:
        return {w["master"] for w in server.workers(state)}
    except OSError:  # asked a master that died over it
        return None


# ---- max_requests ----

@pytest.mark.server({"server": {"workers": 2, "max_requests": 300, "max_requests_jitter": 100}})
def test_worker_that_has_served_its_number_is_succeeded(server):
    """Its successor serves before it ends; nobody notices."""
    first = {w["pid"] for w in server.wait_workers(2)}
    fewest = 2
    with Load(server.port) as load:
        def renewed():
            nonlocal fewest
            now = pids(server)
            fewest = min(fewest, len(now))
            return not now & first
        wait_until(renewed, 60, "both workers succeeded")
        wait_until(lambda: load.answers > 3000, 60, "load")
    assert not load.failures, load.failures[:5]
    assert load.told_to_close > 0
    assert fewest == 2
    assert "worker died" not in server.run_log() and server.status()["generation"] == 1
    # The numbers of two workers differ (jitter), and each is at least what the configuration says.
    served = [line["requests"] for line in server.log_lines() if line["message"].startswith("worker has served its number")]
    assert len(served) >= 2 and all(n >= 300 for n in served)


def test_successor_that_dies_leaves_the_old_one_serving(make_server, tmp_path):
    """One death at boot: the old worker goes on, a later successor takes its place."""
    (tmp_path / "arms").mkdir()
    server = make_server({"server": {"workers": 1, "max_requests": 50}}, env={"ARAGORA_FAULT_ARM": str(tmp_path / "arms")})
    old = pids(server)
    armed = tmp_path / "arms" / "worker.boot"
    armed.touch()
    with Load(server.port, kept=2, fresh=1) as load:
        wait_until(lambda: not armed.exists(), what="death at boot")
        server.wait_log("worker died")
        assert pids(server) == old
        wait_until(lambda: not pids(server) & old, what="a successor serves")
    assert not load.failures, load.failures[:5]


# ---- reloads ----

def test_reload_every_second(make_node, provider):
    """Ten seconds of it (make chaos: a minute, more sockets): no failed request, no socket error, no lost event."""
    pace(provider, 0.05)
    node = make_node(node_config(provider, server={"workers": 2}, log={"level": "info"}))
    node.wait_workers(2)
    done = storm(node, provider, 10, 100)
    assert done["reloads"] >= 4 and done["restarts"] >= 100 and done["told_to_close"] > 0


# ---- binary upgrade ----

def masters(server):
    """Pids of masters, by their titles."""
    found = {}
    for p in server.family():
        try:
            title = " ".join(p.cmdline())
        except psutil.NoSuchProcess:
            continue
        if "master" in title:
            found[p.pid] = title
    return found


def upgrade(server, old=None):
    """USR2 to the master; returns the pid of the new one, which serves."""
    old = old or server.process.pid
    os.kill(old, SIGUSR2)
    return wait_until(lambda: next((pid for pid, title in masters(server).items() if "new master" in title), None),
                      what="the new master serves")


def end(pid, signum=SIGTERM):
    os.kill(pid, signum)
    gone([pid])


def test_upgrade_under_load(make_node, provider):
    """Clients, streams and debates through two upgrades: nothing fails, nothing is lost, nothing is paid twice."""
    pace(provider, 0.1)
    node = make_node(node_config(provider, server={"workers": 2}))
    with Load(node.port, pause=0.002) as load:
        debates = [node.create("Question %d" % i) for i in range(3)]
        followers = {d: follow(node, d) for d in debates}
        master = node.process.pid
        for n in range(2):
            new = upgrade(node, master)
            assert owners(node) == {master, new}
            debates.append(node.create("Question of both, %d" % n))
            followers[debates[-1]] = follow(node, debates[-1])
            os.kill(master, SIGWINCH)
            wait_until(lambda: owners(node) == {new}, what="old workers retired")
            end(master)
            node.process.poll()
            master = new
            assert wait_until(lambda: int(node.pidfile.read_text()) == new, what="pid file")
            assert not os.path.exists(str(node.pidfile) + ".2")
            assert (node.data_dir / "lock").read_text().strip() == str(new)
        repeated = [check_debate(node, provider, d, followers[d]) for d in debates]
    assert not load.failures, load.failures[:5]
    assert load.answers > 500 and load.told_to_close > 0
    assert sum(repeated) == 0
    assert not [line for line in node.log_lines() if line.get("level") == "error"]
    assert len(node.wait_workers(2)) == 2
    end(master)
    assert not node.family() and not node.pidfile.exists() and not (node.data_dir / "control.sock").exists()


def test_upgrade_takes_the_program_as_it_is_now(make_server, tmp_path):
    """The file at argv[0] is replaced; the new master runs the new file, with the same arguments."""
    program = tmp_path / "aragorad"
    shutil.copy(binary(), program)
    s = make_server(start=False)
    with open(s.log_path, "ab") as log:
        s.process = subprocess.Popen([str(program), "-c", str(s.conf_path), "--workers", "1"], stdin=subprocess.DEVNULL,
                                     stdout=log, stderr=log, cwd=s.folder, env=s.environment(), start_new_session=True)
    s.wait_ready()
    shutil.copy(binary(), tmp_path / "new")
    os.rename(tmp_path / "new", program)
    new = upgrade(s)
    assert os.stat("/proc/%d/exe" % new).st_ino == program.stat().st_ino != os.stat("/proc/%d/exe" % s.process.pid).st_ino
    assert len([w for w in s.workers() if w["master"] == new]) == 1
    end(s.process.pid, SIGQUIT)
    s.process.wait()
    assert len(s.wait_workers(1)) == 1
    end(new)


def test_new_master_ends_and_the_old_one_goes_on(make_server):
    """The way back: WINCH to the old one, TERM to the new one, HUP to the old one."""
    server = make_server({"server": {"bind": ["unix:api.sock"], "ws_bind": []}}, start=False)
    server.config["server"]["bind"].append("127.0.0.1:%d" % server.port)
    server.write_config()
    server.start()
    old = server.process.pid
    with Load(server.port, kept=4, fresh=2, pause=0.001) as load:
        new = upgrade(server)
        os.kill(old, SIGWINCH)
        wait_until(lambda: owners(server, None) == {new}, what="old workers gone")
        os.kill(old, SIGHUP)
        wait_until(lambda: owners(server) == {old, new}, what="old workers back")
        end(new)
        server.wait_log("the new master has ended, this one goes on")
        server.wait_workers(2)
    assert not load.failures, load.failures[:5]
    assert server.status()["pid"] == old and int(server.pidfile.read_text()) == old
    assert not os.path.exists(str(server.pidfile) + ".2")
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(server.folder / "api.sock"))
    # And once more, after which the file of the Unix socket is the new one's.
    new = upgrade(server)
    end(old)
    server.process.wait()
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(server.folder / "api.sock"))
    end(new)
    assert not (server.folder / "api.sock").exists()


def test_new_master_that_cannot_start_changes_nothing(server):
    server.write_config(server={"workers": "many"})
    server.signal(SIGUSR2)
    server.wait_log("the new master has ended, this one goes on")
    assert len(server.wait_workers(2)) == 2 and server.status()["pid"] == server.process.pid
    assert "server.workers" in server.run_log()
    server.write_config(server={"workers": 2})
    new = upgrade(server)
    end(server.process.pid)
    server.process.wait()
    assert server.wait_workers(2) and server.status()["pid"] == new
    end(new)


@pytest.mark.parametrize("victim", ["old", "new"])
def test_death_of_one_of_two_masters(server, victim):
    """kill -9 of one: the other one serves on, and gives back what the dead one's workers held."""
    old, new = server.process.pid, upgrade(server)
    dead, alive = (old, new) if victim == "old" else (new, old)
    os.kill(dead, SIGKILL)
    if victim == "old":
        server.process.wait()
    wait_until(lambda: owners(server, None) == {alive}, what="only one master's workers")
    assert len(server.wait_workers(2)) == 2 and server.status()["pid"] == alive
    assert int(server.pidfile.read_text()) == alive
    assert server.get("/healthz").status_code == 200
    end(alive)


def test_other_shared_memory_is_not_mixed(server):
    """Another number of slots: the new master makes its own segment, both serve."""
    server.write_config(server={"max_slots": 32})
    new = upgrade(server)
    assert "shared memory of another layout" in server.run_log()
    assert owners(server) == {new}
    end(server.process.pid)
    server.process.wait()
    assert server.wait_workers(2) and server.get("/healthz").status_code == 200
    end(new)


def test_second_upgrade_waits_for_the_end_of_the_first(server):
    new = upgrade(server)
    shown = server.command("status", "-c", server.conf_path, check=True).stdout
    assert "beside master %d" % server.process.pid in shown
    assert re.search(r"^generation +2: 2 serving$", shown, re.M) and re.search(r"^generation +1: 2 serving$", shown, re.M)
    for pid, why in ((server.process.pid, "a new master is already there"), (new, "the former master has not ended yet")):
        os.kill(pid, SIGUSR2)
        server.wait_log(why)
    assert len(masters(server)) == 2
    end(server.process.pid)
    server.process.wait()
    end(new)


def test_upgrade_of_process_one_is_refused(make_server):
    """In a container the end of process 1 is the end of everything."""
    if subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True).returncode != 0:
        pytest.skip("no right to make a pid namespace")
    s = make_server(start=False)
    with open(s.log_path, "ab") as log:
        s.process = subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", binary(), "-c",
                                      str(s.conf_path)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=s.folder,
                                     env=s.environment(), start_new_session=True)
    s.wait_ready()
    s.wait_workers(2)
    master = psutil.Process(s.process.pid).children()[0]
    master.send_signal(SIGUSR2)
    s.wait_log("no upgrade, nothing is changed")
    assert "process 1 of its container" in s.run_log() and len(s.workers()) == 2
    master.send_signal(SIGTERM)
    s.process.wait(30)


def test_winch_retires_the_workers_and_hup_brings_them_back(server):
    server.wait_workers(2)
    with requests.Session() as kept:
        kept.get(server.url + "/healthz")
        server.signal(SIGWINCH)
        wait_until(lambda: not server.workers(), what="no worker serves")
        assert server.process.poll() is None
    server.signal(SIGHUP)
    server.wait_workers(2)
    assert server.get("/healthz").status_code == 200


# ---- the service manager ----

class Manager:
    """The socket of a service manager; keeps every message."""

    def __init__(self, folder):
        self.path = str(folder / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.setblocking(False)
        self.messages = []

    def read(self):
        try:
            while True:
                text = self.socket.recv(4096).decode()
                self.messages.append(dict(line.split("=", 1) for line in text.splitlines()))
        except BlockingIOError:
            return self.messages

    def wait(self, key, value=None, after=0):
        """Waits for a message that says key (=value); returns its position."""
        def found():
            for i, m in enumerate(self.read()[after:], after):
                if key in m and value in (None, m[key]):
                    return i + 1
            return 0
        return wait_until(found, what="%s from the server" % key)


def test_service_manager_is_told(make_server, tmp_path):
    manager = Manager(tmp_path)
    server = make_server(env={"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "300000"}, start=False)
    begin = time.monotonic()
    server.spawn()
    at = manager.wait("READY", "1")
    assert manager.messages[at - 1]["STATUS"] == "Serving, 2 workers, generation 1"
    assert len(server.workers()) == 2  # ready means ready
    for _ in range(3):
        at = manager.wait("WATCHDOG", "1", at)
    server.signal(SIGHUP)
    at = manager.wait("RELOADING", "1", at)
    assert begin < int(manager.messages[at - 1]["MONOTONIC_USEC"]) / 1e6 <= time.monotonic()
    at = manager.wait("READY", "1", at)
    assert manager.messages[at - 1]["STATUS"].endswith("generation 2")
    # The main process changes hands; its end is not the end of the service.
    old = server.process.pid
    new = upgrade(server)
    at = manager.wait("MAINPID", str(new), at)
    end(old)
    server.process.wait()
    assert not any("STOPPING" in m for m in manager.read())
    at = manager.wait("WATCHDOG", "1", len(manager.messages))
    # And back: the newest master ends, the one before it goes on.
    newer = upgrade(server, new)
    at = manager.wait("MAINPID", str(newer), at)
    end(newer)
    at = manager.wait("MAINPID", str(new), at)
    assert not any("STOPPING" in m for m in manager.read())
    end(new)
    manager.wait("STOPPING", "1", at)


def test_reload_that_fails_is_told_as_its_end(make_server, tmp_path):
    manager = Manager(tmp_path)
    server = make_server(env={"NOTIFY_SOCKET": manager.path})
    at = manager.wait("READY", "1")
    server.write_config(server={"workers": "many"})
    server.signal(SIGHUP)
    server.wait_log("nothing is changed")
    at = manager.wait("RELOADING", "1", at)
    manager.wait("READY", "1", at)
    assert "failed" in manager.messages[-1]["STATUS"]


def test_unit_file():
    unit = ROOT / "packaging/systemd/aragorad.service"
    keys = dict(line.split("=", 1) for line in unit.read_text().splitlines() if "=" in line and line[0] not in "#[")
    assert keys["Type"] == "notify" and keys["NotifyAccess"] == "all" and keys["ExecReload"].endswith("-HUP $MAINPID")
    if shutil.which("systemd-analyze"):
        r = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60)
        # The program is not installed here; everything else must be known to systemd.
        said = [line for line in r.stderr.splitlines() if "aragorad.service" in line and "not executable" not in line and "'man " not in line]
        assert not said, said


# ---- titles ----

def titles(server):
    found = []
    for p in server.family():
        try:
            found.append(" ".join(p.cmdline()))
        except psutil.NoSuchProcess:
            pass
    return sorted(found)


def test_titles(server):
    server.wait_workers(2)
    conf = str(server.conf_path)
    wait_until(lambda: titles(server) == ["aragora: master [%s]" % conf, "aragora: worker 0: serving",
                                          "aragora: worker 1: serving"], what="titles")
    with socket.create_connection(("127.0.0.1", server.port)) as busy:
        busy.sendall(b"GET /api/health HTTP/1.1\r\nHo")  # its worker waits for the rest
        wait_until(lambda: sum(w["connections"] for w in server.workers()) == 1, what="connection")
        server.write_config(server={"proc_name": "debates"})
        server.signal(SIGHUP)
        wait_until(lambda: any(re.fullmatch("aragora: worker [01]: draining", t) for t in titles(server)), what="draining")
        wait_until(lambda: "debates: worker 2: serving" in titles(server), what="the new name")
        assert "debates: master [%s]" % conf in titles(server)
        shown = wait_until(lambda: re.search(r"^generation +1: 1 draining$", t := server.command(
            "status", "-c", server.conf_path, check=True).stdout, re.M) and t, what="the end of the worker that nobody keeps")
        assert re.search(r"^generation +2: 2 serving$", shown, re.M)
    server.wait_workers(2)


# ---- privileges, descriptors, limits ----

def proc(pid, name):
    """/proc/PID/status or limits as a dictionary."""
    with open("/proc/%d/%s" % (pid, name)) as f:
        if name == "status":
            return dict(line.rstrip("\n").split(":\t", 1) for line in f)
        return {line[:26].strip(): line[26:].split() for line in f}


def open_files(pid):
    found = set()
    for name in os.listdir("/proc/%d/fd" % pid):
        try:
            found.add(os.readlink("/proc/%d/fd/%s" % (pid, name)))
        except FileNotFoundError:
            pass
    return found


@pytest.fixture
def open_folder():
    """A folder that other users may look into."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_workers_run_as_another_user(make_server, open_folder):
    nobody = pwd.getpwnam("nobody")
    error = open_folder / "error.log"
    # The leak checker may not look into a process that has changed its user.
    s = make_server({"server": {"user": "nobody", "umask": "027"}, "log": {"error": str(error)}},
                    env={"ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0"}, folder=open_folder)
    workers = s.wait_workers(2)
    master = s.process.pid
    assert proc(master, "status")["Uid"].split() == ["0"] * 4
    for w in workers:
        status = proc(w["pid"], "status")
        assert status["Uid"].split() == [str(nobody.pw_uid)] * 4 and status["Gid"].split() == [str(nobody.pw_gid)] * 4
        assert set(status["Groups"].split()) <= {str(nobody.pw_gid)}
        assert int(status["CapEff"], 16) == 0 and int(status["CapPrm"], 16) == 0 and status["NoNewPrivs"] == "1"
        assert status["Umask"] == "0027"
        assert proc(w["pid"], "limits")["Max core file size"][0] == "0"
        assert not any(name.endswith("/lock") for name in open_files(w["pid"]))
    r = s.post("/api/debates", {"task": "Who are we?", "rounds": 1})
    assert r.status_code in (200, 201), r.text
    others = [p for p in [s.data_dir, *s.data_dir.rglob("*")] if p.stat().st_uid != nobody.pw_uid]
    assert not others
    # Logs are moved away and opened again, by root and by workers that are not root.
    os.rename(s.access_path, open_folder / "access.old")
    os.kill(master, SIGUSR1)
    wait_until(s.access_path.exists, what="the new access log")
    wait_until(lambda: s.get("/healthz") and s.access_path.stat().st_size > 0, what="lines in it")
    # A reload and an upgrade keep to it.
    s.signal(SIGHUP)
    wait_until(lambda: s.status()["generation"] == 2 and len(s.workers(None)) == 2, what="reload")
    os.kill(master, SIGUSR2)
    new = wait_until(lambda: next((p for p, title in masters(s).items() if "new master" in title), None), what="upgrade")
    end(master)
    s.process.wait()
    assert all(proc(w["pid"], "status")["Uid"].split()[0] == str(nobody.pw_uid) for w in s.wait_workers(2))
    end(new)
    assert not (s.data_dir / "control.sock").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("key,value,words", [("user", "nobody-of-that-name", "no user nobody-of-that-name"),
                                             ("group", "none-of-that-name", "no group none-of-that-name")])
def test_unknown_user_stops_the_start(make_server, key, value, words):
    code, text = make_server({"server": {key: value}}, start=False).spawn().expect_exit()
    assert code == 1 and words in text


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_data_folder_of_somebody_else_is_named(make_server, open_folder):
    s = make_server({"server": {"user": "nobody"}}, start=False, folder=open_folder)
    s.data_dir.mkdir(mode=0o700)
    code, text = s.spawn().expect_exit()
    assert code == 1 and "cannot open lock: Permission denied" in text


def test_limits_and_descriptors(make_server):
    s = make_server({"server": {"core_size": "1MiB", "memory_limit": "60000GiB"}}, start=False)
    with tempfile.TemporaryFile() as stray:
        with open(s.log_path, "ab") as log:
            s.process = subprocess.Popen([binary(), "-c", str(s.conf_path)], stdin=subprocess.DEVNULL, stdout=log,
                                         stderr=log, cwd=s.folder, env=s.environment(), start_new_session=True,
                                         pass_fds=[stray.fileno()])
        s.wait_ready()
        name = os.readlink("/proc/self/fd/%d" % stray.fileno())
        workers = s.wait_workers(2)
        for pid in [s.process.pid, *(w["pid"] for w in workers)]:
            assert name not in open_files(pid)
            assert proc(pid, "limits")["Max core file size"][0] == str(1 << 20)
        for w in workers:
            assert proc(w["pid"], "limits")["Max data size"][0] == str(60000 << 30)
            assert not any("memfd" in f or f.endswith("/lock") for f in open_files(w["pid"]))
