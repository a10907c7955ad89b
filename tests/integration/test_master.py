# SPDX-License-Identifier: MIT
"""The master: start and its failures, status, signals, reload as a transaction, replaced workers, stop."""
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import psutil
import pytest
import requests

from conftest import binary, free_port, wait_until

DATABASE = "aragora.db"  # in the data folder
ONE = {"server": {"workers": 1}}


def pids(server):
    return {w["pid"] for w in server.workers(None)}


def generation(server):
    return server.status()["generation"]


def refused(s, code):
    """The server must end with `code`; returns what it wrote, having checked that nothing half-done stays."""
    got, text = s.spawn().expect_exit()
    assert got == code, text
    assert not s.pidfile.exists()
    assert not (s.data_dir / "control.sock").exists()
    assert not s.family()
    plain = [line for line in text.splitlines() if line.startswith("aragorad: ")]
    assert len(plain) == 1, text
    return plain[0]


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


# ---- start and status ----

def test_start_status_and_stop(server):
    assert int(server.pidfile.read_text()) == server.process.pid
    workers = server.wait_workers(2)
    status = server.status()
    assert status["pid"] == server.process.pid
    assert status["generation"] == 1 and status["reloads"] == 0
    assert status["config"] == str(server.conf_path)
    assert status["data_dir"] == str(server.data_dir)
    assert "127.0.0.1:%d" % server.port in status["listeners"]
    assert {w["slot"] for w in workers} == {0, 1}
    assert {p.pid for p in psutil.Process(server.process.pid).children()} == {w["pid"] for w in workers}
    assert all(w["heartbeat_ms"] < 5000 and w["generation"] == 1 for w in workers)
    assert (server.data_dir / "control.sock").stat().st_mode & 0o777 == 0o600
    node = (server.data_dir / "node_id").read_text().split()[0]
    assert re.fullmatch(r"[0-9a-f-]{36}", node) and status["node_id"] == node

    assert server.stop() == 0
    assert not server.pidfile.exists()
    assert not (server.data_dir / "control.sock").exists()
    assert not server.family()
    assert not listens(server.port) and not listens(server.ws_port)
    server.start()
    assert server.status()["node_id"] == node


def test_status_for_people_and_for_programs(server):
    server.wait_workers(2)
    shown = server.command("status", "-c", server.conf_path, check=True).stdout
    assert "SLOT" in shown and "MiB" in shown and "serving" in shown and str(server.process.pid) in shown
    assert len(re.findall(r"^ +[01] .* serving ", shown, re.M)) == 2
    document = json.loads(server.command("status", "-c", server.conf_path, "--json", check=True).stdout)
    assert document["pid"] == server.process.pid
    server.stop()
    gone = server.command("status", "-c", server.conf_path)
    assert gone.returncode == 1 and "no aragorad answers" in gone.stderr


def test_control_socket_survives_strange_clients(make_server):
    s = make_server(ONE)
    path = "/proc/self/fd/%d/control.sock"
    fd = os.open(s.data_dir, os.O_PATH)
    silent = [socket.socket(socket.AF_UNIX) for _ in range(20)]
    try:
        for c in silent:
            c.connect(path % fd)
        with socket.socket(socket.AF_UNIX) as c:
            c.settimeout(20)
            c.connect(path % fd)
            c.sendall(b"x" * 4096)
            # Refused (also by a reset with bytes unread), never answered.
            try:
                assert c.recv(100) == b""
            except ConnectionResetError:
                pass
        for c in silent:
            c.close()
        with socket.socket(socket.AF_UNIX) as c:
            c.settimeout(20)
            c.connect(path % fd)
            c.sendall(b"dance\n")
            assert json.loads(c.recv(1000))["error"] == "unknown request"
    finally:
        os.close(fd)
    assert s.status()["pid"] == s.process.pid


@pytest.mark.parametrize("args,code,words", [
    (["--workrs", "2"], 2, "did you mean --workers"),
    (["--workers"], 2, "needs a value"),
    (["--workers", "many"], 4, "server.workers"),
    (["--test=yes"], 2, "takes no value"),
    (["statsu"], 2, "did you mean status"),
    (["surplus", "words"], 2, "no subcommand surplus"),
    (["-c", "/nonexistent/aragora.yml"], 4, "/nonexistent/aragora.yml"),
])
def test_command_line_mistakes(make_server, args, code, words):
    done = make_server(start=False).command(*args)
    assert done.returncode == code and words in done.stderr and "Sanitizer" not in done.stderr


def test_command_line_that_ends_at_once(make_server):
    s = make_server({"server": {"workers": 7}, "auth": {"api_token": "very-secret-token"}}, start=False)
    assert re.fullmatch(r"aragorad \d+\.\d+\.\d+\n", s.command("--version", check=True).stdout)
    shown = s.command("--help", check=True).stdout
    for word in ("serve", "status", "routes", "ask", "--api-port", "--limit-concurrency", "--access-logfile"):
        assert word in shown
    assert s.command("-t", "-c", s.conf_path, check=True).stdout == "configuration OK: %s\n" % s.conf_path
    printed = s.command("-T", "-c", s.conf_path, "--workers", "4", "--keep-alive=9s", check=True).stdout
    assert "workers: 4" in printed and "keepalive: 9" in printed and "very-secret-token" not in printed
    s.write_config(server={"worker": 3})
    bad = s.command("-t", "-c", s.conf_path)
    assert bad.returncode == 4 and "aragora.yml:" in bad.stderr and "did you mean" in bad.stderr


def test_options_win_over_the_file(make_server):
    s = make_server({"server": {"workers": 3}}, start=False)
    s.args = ["--workers=1", "--port", str(free_port()), "--ws-port", str(free_port())]
    s.port, s.ws_port = int(s.args[2]), int(s.args[4])
    s.start()
    assert len(s.wait_workers(1)) == 1
    assert s.status()["listeners"] == ["127.0.0.1:%d" % s.port, "127.0.0.1:%d" % s.ws_port]
    s.signal(signal.SIGHUP)
    wait_until(lambda: generation(s) == 2, what="reload")
    s.wait_workers(1)


def test_serve_under_the_other_name(make_server, tmp_path):
    link = tmp_path / "aragora"
    link.symlink_to(Path(binary()).resolve())
    s = make_server(start=False)
    s.conf_path.unlink()
    with open(s.log_path, "ab") as log:
        s.process = subprocess.Popen(
            [link, "serve", "--api-port", str(s.port), "--ws-port", str(s.ws_port), "-w", "1", "--data-dir", s.data_dir,
             "--pid", s.pidfile, "--access-log", s.access_path], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            cwd=s.folder, env=s.environment(), start_new_session=True)
    s.wait_ready()
    assert s.status()["config"] == ""
    assert s.stop() == 0


def test_unix_socket_listener(make_server, tmp_path):
    path = tmp_path / "api.sock"
    s = make_server(ONE, start=False)
    s.write_config(server={"bind": ["127.0.0.1:%d" % s.port, "unix:%s" % path]})
    s.start()
    with socket.socket(socket.AF_UNIX) as c:
        c.settimeout(10)
        c.connect(str(path))
        c.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert c.recv(100).startswith(b"HTTP/1.1 200")
    s.kill_all()
    assert path.exists()
    s.start()  # the stale file is no obstacle
    assert s.stop() == 0
    assert not path.exists()


# ---- starts that fail ----

def test_invalid_configuration(make_server):
    s = make_server({"server": {"workers": "plenty"}, "debates": {"max_concurent": 3}}, start=False)
    code, text = s.spawn().expect_exit()
    assert code == 4
    assert "server.workers" in text and "debates.max_concurrent?" in text  # every mistake at once
    assert not s.data_dir.exists()


def test_port_in_use(make_server):
    s = make_server(start=False)
    with socket.socket() as other:
        other.bind(("127.0.0.1", s.ws_port))
        other.listen()
        began = time.monotonic()
        assert refused(s, 1) == "aragorad: cannot bind 127.0.0.1:%d: address in use" % s.ws_port
        assert time.monotonic() - began >= 5
    assert not listens(s.port)


def test_port_that_becomes_free_is_waited_for(make_server):
    s = make_server(ONE, start=False)
    other = socket.socket()
    other.bind(("127.0.0.1", s.port))
    other.listen()
    threading.Timer(1.0, other.close).start()
    s.start()
    assert s.stop() == 0


def test_second_master_on_the_same_folder(make_server):
    first = make_server(ONE)
    second = make_server({"storage": {"data_dir": str(first.data_dir)}}, start=False)
    code, text = second.spawn().expect_exit()
    assert code == 1
    assert "another aragorad (pid %d) uses %s" % (first.process.pid, first.data_dir) in text
    assert first.get("/healthz").status_code == 200
    assert first.status()["pid"] == first.process.pid
    assert int(first.pidfile.read_text()) == first.process.pid


def test_pid_file_of_a_living_process(make_server):
    s = make_server(ONE, start=False)
    s.pidfile.write_text("%d\n" % os.getpid())
    code, text = s.spawn().expect_exit()
    assert code == 1 and "names process %d, which runs" % os.getpid() in text
    assert int(s.pidfile.read_text()) == os.getpid()
    s.pidfile.write_text("99999999\n")
    s.start()
    assert int(s.pidfile.read_text()) == s.process.pid


def test_data_folder_that_is_a_file(make_server):
    s = make_server(start=False)
    s.data_dir.write_text("not a folder")
    line = refused_without_folder(s)
    assert str(s.data_dir) in line and "Not a directory" in line


def refused_without_folder(s):
    code, text = s.spawn().expect_exit()
    assert code == 1, text
    assert not s.pidfile.exists() and not listens(s.port)
    return next(line for line in text.splitlines() if line.startswith("aragorad: "))


def test_data_folder_that_cannot_be_made(make_server):
    s = make_server({"storage": {"data_dir": "/proc/aragora"}}, start=False)
    assert "/proc/aragora" in refused_without_folder(s)


def test_broken_database_file(make_server):
    s = make_server(start=False)
    s.data_dir.mkdir()
    (s.data_dir / DATABASE).write_bytes(b"this is not a database file at all" * 200)
    assert "database" in refused(s, 1)


def test_unwritable_log(make_server):
    s = make_server({"log": {"access": "/nonexistent/access.log"}}, start=False)
    assert "log.access" in refused(s, 1)


def test_worker_that_cannot_boot_stops_the_start(make_server):
    s = make_server(start=False)
    (s.data_dir / "keys").mkdir(parents=True)
    (s.data_dir / "keys/receipt.key").write_text("short")
    (s.data_dir / "keys/receipt.key").chmod(0o600)
    line = refused(s, 3)
    assert "failed to boot" in line and "receipt.key" in line
    assert not listens(s.port)


def test_worker_that_crashes_at_boot_stops_the_start(make_server):
    s = make_server(env={"ARAGORA_FAULT": "worker.boot=kill"}, start=False)
    assert "failed to boot: killed by SIGKILL" in refused(s, 3)


def test_death_of_a_serving_worker_does_not_stop_the_start(make_server, tmp_path):
    """One that has served shows that workers can boot: it is replaced, though others are not ready yet."""
    arms = tmp_path / "arms"
    arms.mkdir()
    (arms / "worker.boot").write_text("stop")
    s = make_server(env={"ARAGORA_FAULT_ARM": str(arms)}, start=False).spawn()
    wait_until(lambda: not (arms / "worker.boot").exists() and s.log_path.exists(), what="a worker that hangs at boot")
    first = wait_until(lambda: re.search(r'worker serves.*?"worker":(\d+)', s.log()), what="a worker that serves")
    os.kill(int(first.group(1)), signal.SIGKILL)
    s.wait_log("killed by SIGKILL")
    for p in s.family():
        if p.status() == psutil.STATUS_STOPPED:
            p.resume()
    s.wait_workers(2)


def test_secrets_that_everybody_can_read_are_told(make_server):
    """Secrets in a file that all may read: a warning by -t and by the start; an address without password is no secret."""
    secrets = {"auth": {"api_token": "a token of sixteen and more"}, "redis": {"url": ""}, "smtp": {"url": "smtp://mail:25"}}
    s = make_server(secrets, start=False)
    s.conf_path.chmod(0o644)
    told = "can be read by everybody on this machine and holds auth.api_token: chmod 640 it"
    check = s.command("-t", "-c", s.conf_path)
    assert check.returncode == 0 and told in check.stderr, check
    s.start()
    s.wait_log(told)
    s.conf_path.chmod(0o640)
    assert s.command("-t", "-c", s.conf_path).stderr == ""
    s.signal(signal.SIGHUP)
    s.wait_log("reload complete|old workers retire|reloaded")
    assert s.log().count(told) == 1


# ---- workers that die or hang ----

def test_locks_without_a_name_are_cleared_away(make_server):
    """What a process leaves that is killed between making its lock and naming it; a young one may be somebody's."""
    s = make_server({"providers": {"demo": {"delay_ms": 3000}}}, start=False)
    run = s.data_dir / "run"
    run.mkdir(parents=True)
    old, young = run / ".left-over", run / ".just-made"
    for path in (old, young):
        path.write_text("")
    os.utime(old, (time.time() - 3600,) * 2)
    s.start()
    assert s.post("/api/debates", {"task": "Who is alive?"}).status_code < 300  # while one runs, its owner is looked for
    wait_until(lambda: not old.exists(), what="the old one's removal")
    assert young.exists()


def test_killed_worker_is_replaced(server):
    before = server.wait_workers(2)
    victim = before[0]
    os.kill(victim["pid"], signal.SIGKILL)
    server.wait_log("killed by SIGKILL")
    after = wait_until(lambda: len(w := server.workers()) == 2 and victim["pid"] not in pids(server) and w,
                       what="a replacement")
    assert {w["slot"] for w in after} == {0, 1}
    assert all(w["generation"] == 1 for w in after)
    assert server.get("/healthz").status_code == 200


def test_all_workers_killed_again_and_again(server):
    """Back-off is short while nobody serves."""
    for _ in range(3):
        old = {w["pid"] for w in server.wait_workers(2)}
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(server.workers()) == 2 and not old & pids(server), timeout=10, what="replacements")
    server.wait_ready(10)


def test_crash_loop_backs_off(server):
    """A worker that keeps dying young is not restarted in a tight loop while another one serves."""
    server.wait_workers(2)
    deaths = []
    for _ in range(4):
        victim = wait_until(lambda: next((w for w in server.workers() if w["slot"] == 1), None), what="slot 1")
        os.kill(victim["pid"], signal.SIGKILL)
        died = time.monotonic()
        wait_until(lambda: any(w["slot"] == 1 and w["pid"] != victim["pid"] for w in server.workers(None)),
                   what="a restart in slot 1")
        deaths.append(time.monotonic() - died)
    assert deaths[3] >= 0.75, deaths  # 100, 200, 400, 800 ms
    assert server.get("/healthz").status_code == 200


@pytest.mark.server({"server": {"workers": 2, "stall_timeout": "1s"}})
def test_stopped_worker_is_replaced(server):
    victim = server.wait_workers(2)[0]
    os.kill(victim["pid"], signal.SIGSTOP)
    server.wait_log("worker is stalled")
    server.wait_log("worker died")
    wait_until(lambda: len(server.workers()) == 2 and victim["pid"] not in pids(server), what="a replacement")
    stalled = [line for line in server.log_lines() if line.get("message") == "worker is stalled, replacing it"]
    assert len(stalled) == 1 and stalled[0]["worker"] == victim["pid"] and "action" in stalled[0]


@pytest.mark.server({"server": {"workers": 3, "stall_timeout": "1s"}})
def test_pause_of_the_whole_machine_kills_nobody(server):
    workers = pids(server) if server.wait_workers(3) else set()
    everybody = [server.process.pid, *workers]
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(3)  # longer than stall_timeout; there is nothing to wait for while all stand still
    for pid in everybody:
        os.kill(pid, signal.SIGCONT)
    beats = wait_until(lambda: [w for w in server.workers() if w["heartbeat_ms"] < 1000 and w["pid"] in workers],
                       what="fresh heartbeats")
    assert beats
    time.sleep(1.5)  # time enough for a watchdog that compares clocks to act
    assert pids(server) == workers
    assert "stalled" not in server.run_log()


def test_a_worker_that_is_told_to_end_is_replaced(server):
    victim = server.wait_workers(2)[0]["pid"]
    os.kill(victim, signal.SIGTERM)
    wait_until(lambda: len(server.workers()) == 2 and victim not in pids(server), what="a replacement")
    assert "worker died" not in server.run_log()


# ---- signals ----

def test_more_and_fewer_workers(server):
    server.wait_workers(2)
    server.signal(signal.SIGTTIN)
    assert len(server.wait_workers(3)) == 3
    server.signal(signal.SIGTTOU)
    server.wait_log('"workers":2')
    server.wait_workers(2)
    server.signal(signal.SIGTTOU)
    server.wait_workers(1)
    server.signal(signal.SIGTTOU)  # one stays
    server.wait_log("the number of workers stays")
    assert server.get("/healthz").status_code == 200
    assert len(server.wait_workers(1)) == 1
    server.signal(signal.SIGHUP)  # a reload goes back to what is configured
    wait_until(lambda: generation(server) == 2, what="reload")
    server.wait_workers(2)


def test_reopened_logs(make_server, tmp_path):
    log = tmp_path / "error.log"
    s = make_server({"log": {"error": str(log)}})
    s.wait_workers(2)
    moved = tmp_path / "error.log.1"
    log.rename(moved)
    s.access_path.rename(tmp_path / "access.log.1")
    s.signal(signal.SIGUSR1)
    wait_until(log.exists, what="a new error log")
    wait_until(s.access_path.exists, what="a new access log")
    size = moved.stat().st_size
    s.signal(signal.SIGTTIN)
    wait_until(lambda: "number of workers" in log.read_text(), what="a line of the master in the new file")
    # The worker that was forked since, and those that were told to reopen, write there, too.
    s.wait_workers(3)
    assert s.stop() == 0
    assert "number of workers" not in moved.read_text()
    assert moved.stat().st_size >= size


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
def test_stop_signals_end_cleanly(server, signum):
    server.wait_workers(2)
    assert server.stop(signum) == 0
    assert not server.pidfile.exists() and not (server.data_dir / "control.sock").exists()
    assert not server.family()
    with open(server.data_dir / "lock", "r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_ctrl_c_at_a_terminal_is_the_decent_end(make_server):
    s = make_server(start=False)
    terminal, s.stdin = os.openpty()
    try:
        s.start()
        s.wait_workers(2)
        os.killpg(s.process.pid, signal.SIGINT)  # as a terminal does: to the workers, too
        code, text = s.expect_exit()
    finally:
        os.close(terminal)
        os.close(s.stdin)
    assert code == 0
    assert '"how":"graceful"' in text and "worker died" not in text


@pytest.mark.server({"server": {"workers": 2, "graceful_timeout": "1s"}})
def test_worker_that_ignores_term_is_killed_in_the_end(server):
    victim = server.wait_workers(2)[0]["pid"]
    os.kill(victim, signal.SIGSTOP)
    assert server.stop(signal.SIGTERM, timeout=30) == 0
    assert not server.family()


def test_death_of_the_master_ends_the_workers(server):
    server.wait_workers(2)
    server.process.kill()
    server.process.wait()
    wait_until(lambda: not listens(server.port), what="closed listeners")
    server.start()  # the lock is free at once; the port within the patience of a bind
    wait_until(lambda: len(server.family()) == 3, timeout=30, what="only the new processes")
    server.wait_workers(2)


# ---- reload ----

def test_reload_replaces_the_workers(server):
    old = {w["pid"] for w in server.wait_workers(2)}
    server.write_config(server={"workers": 3})
    server.signal(signal.SIGHUP)
    wait_until(lambda: generation(server) == 2, what="reload")
    new = server.wait_workers(3)
    assert not old & {w["pid"] for w in new}
    assert all(w["generation"] == 2 for w in new)
    assert server.status()["reloads"] == 1
    assert server.process.poll() is None


def test_reload_under_load_loses_no_request(make_server):
    s = make_server({"server": {"workers": 2}})
    s.wait_workers(2)
    stop, failures, count = threading.Event(), [], [0]

    def ask():
        while not stop.is_set():
            try:
                # A connection each: the hardest case for listeners that change hands.
                if requests.get(s.url + "/healthz", timeout=20).status_code != 200:
                    failures.append("status")
            except requests.RequestException as e:
                failures.append(repr(e))
            count[0] += 1

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for t in threads:
        t.start()
    try:
        for wanted in (2, 3, 4):
            s.signal(signal.SIGHUP)
            wait_until(lambda: generation(s) == wanted, what="reload %d" % wanted)
        s.signal(signal.SIGTTIN)
        s.wait_workers(3)
        s.signal(signal.SIGTTOU)
        s.wait_workers(2)
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not failures and count[0] > 50


def test_invalid_reload_changes_nothing_and_says_why(server):
    old = {w["pid"] for w in server.wait_workers(2)}
    good = server.conf_path.read_text()
    server.conf_path.write_text(good.replace("workers: 2", "worker: 2"))
    server.signal(signal.SIGHUP)
    server.wait_log("did you mean server.workers")
    assert pids(server) == old and generation(server) == 1
    server.conf_path.write_text("server: [")
    server.signal(signal.SIGHUP)
    wait_until(lambda: server.run_log().count("the new configuration is not valid") >= 2, what="second refusal")
    assert pids(server) == old and server.get("/healthz").status_code == 200
    # A worker that dies now comes back from the configuration that serves, not from the broken file.
    victim = old.pop()
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(server.workers()) == 2 and victim not in pids(server), what="a replacement")
    server.conf_path.write_text(good)
    server.signal(signal.SIGHUP)
    wait_until(lambda: generation(server) == 2, what="reload of the repaired file")


def test_reload_refuses_what_needs_a_restart(server, tmp_path):
    old = {w["pid"] for w in server.wait_workers(2)}
    server.write_config(storage={"data_dir": str(tmp_path / "elsewhere")})
    server.signal(signal.SIGHUP)
    server.wait_log("storage.data_dir")
    assert pids(server) == old and generation(server) == 1
    assert not (tmp_path / "elsewhere").exists()


def test_reload_whose_port_is_taken_changes_nothing(server):
    old = {w["pid"] for w in server.wait_workers(2)}
    before = sorted(server.status()["listeners"])
    free = free_port()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        server.write_config(server={"bind": ["127.0.0.1:%d" % server.port, "127.0.0.1:%d" % free, "127.0.0.1:%d" % taken]})
        server.signal(signal.SIGHUP)
        server.wait_log("cannot bind 127.0.0.1:%d: address in use" % taken)
    assert pids(server) == old and generation(server) == 1
    assert sorted(server.status()["listeners"]) == before
    assert not listens(free)  # what had been bound for it is closed again


def test_reload_whose_workers_cannot_boot_changes_nothing(server):
    old = {w["pid"] for w in server.wait_workers(2)}
    key = server.data_dir / "keys/receipt.key"
    saved = key.read_bytes() if key.exists() else None
    key.parent.mkdir(exist_ok=True)
    key.write_text("short")
    key.chmod(0o600)
    server.signal(signal.SIGHUP)
    server.wait_log("reload failed, the old workers go on")
    wait_until(lambda: pids(server) == old, what="the end of the new workers")
    assert generation(server) == 1 and server.get("/healthz").status_code == 200
    assert "receipt.key" in server.run_log()
    key.unlink()
    if saved is not None:
        key.write_bytes(saved)
        key.chmod(0o600)
    server.signal(signal.SIGHUP)
    wait_until(lambda: server.status()["reloads"] == 1, what="reload")
    server.wait_workers(2)


def test_reload_moves_a_listener(server):
    server.wait_workers(2)
    kept, added = server.ws_port, free_port()
    server.write_config(server={"bind": ["127.0.0.1:%d" % added]})
    server.signal(signal.SIGHUP)
    wait_until(lambda: listens(added), what="the new port")
    wait_until(lambda: not listens(server.port), what="the end of the old port")
    assert sorted(server.status()["listeners"]) == sorted(["127.0.0.1:%d" % added, "127.0.0.1:%d" % kept])
    server.port = added
    assert server.get("/healthz").status_code == 200


def test_many_reloads_coalesce(server):
    server.wait_workers(2)
    for _ in range(30):
        server.signal(signal.SIGHUP)
        time.sleep(0.01)  # apart, so that the kernel does not merge them all into one
    wait_until(lambda: server.status()["reloads"] >= 1, what="reload")
    wait_until(lambda: not server.status()["reloading"], what="the last reload")
    server.wait_workers(2)
    assert server.status()["reloads"] < 30
    assert len(server.family()) == 3


@pytest.mark.server({"server": {"workers": 1, "graceful_timeout": "100ms", "body_timeout": "60s", "request_timeout": "60s"}})
def test_third_draining_generation_hurries_the_oldest(server):
    """A request whose body does not come keeps its worker draining, until too many generations do."""
    held = []
    try:
        for wanted in (2, 3, 4):
            c = socket.create_connection(("127.0.0.1", server.port))
            held.append(c)
            c.sendall(b"POST /api/debates HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                      b"Content-Length: 100\r\n\r\n{")
            wait_until(lambda: any(w["generation"] == wanted - 1 and w["connections"] > 0 for w in server.workers()),
                       what="the held request")
            server.signal(signal.SIGHUP)
            wait_until(lambda: generation(server) == wanted, what="reload %d" % wanted)
            if wanted < 4:
                assert "hurrying the oldest" not in server.run_log()
        server.wait_log("hurrying the oldest")
        wait_until(lambda: {w["generation"] for w in server.workers(None)} == {2, 3, 4}, timeout=30,
                   what="the end of the first generation")
    finally:
        for c in held:
            c.close()
    server.wait_workers(1)
