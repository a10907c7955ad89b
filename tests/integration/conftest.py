# SPDX-License-Identifier: MIT
"""Shared by all integration tests: a real aragorad in a folder of its own.

    def test_x(server):                        # started with defaults: 2 workers, SQLite, demo agents
        assert server.get("/healthz").status_code == 200

    @pytest.mark.server({"server": {"workers": 3}}, env={"ARAGORA_FAULT": "..."})
    def test_y(server): ...

    def test_z(make_server):                   # several servers, or one that is not to start
        s = make_server({"server": {"workers": 1}}, start=False)

The binary is $ARAGORAD or build/asan/aragorad. Every server is stopped at the end, and the test fails if a sanitizer,
a broken assertion or the system call filter reported anything in its log (server.reports_allowed = True where a crash
is wanted). $ARAGORA_TEST_SECCOMP is the filter's mode where a test does not say otherwise.
"""
import copy
import json
import os
import random
import re
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from signal import SIGTERM

import psutil
import pytest
import requests
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).resolve().parent))

REPORT = re.compile(r"ERROR: \w+Sanitizer|runtime error: |SUMMARY: \w+Sanitizer|^BUG: |killed by SIGSYS", re.M)
DEFAULTS = {
    "server": {"workers": 2, "graceful_timeout": "5s", "boot_timeout": "60s"},
    "log": {"level": "debug", "format": "json", "error": "-"},
    "providers": {"demo": {"delay_ms": 0}},
    "rate_limit": {"enabled": False},
}
if os.environ.get("ARAGORA_TEST_SECCOMP"):
    DEFAULTS["server"]["seccomp"] = os.environ["ARAGORA_TEST_SECCOMP"]
# Variables of the person who runs the tests must not reach the server.
FOREIGN = re.compile(r"^(ARAGORA_|OPENAI_|ANTHROPIC_|OPENROUTER_|GEMINI_|GOOGLE_|MISTRAL_|XAI_|GROK_|OLLAMA_|REDIS_|DATABASE_|"
                     r"SMTP_|SUPABASE_|OAUTH_|OIDC_)")


def binary():
    return os.environ.get("ARAGORAD") or str(ROOT / "build/asan/aragorad")


_given = set()
# Processes that test at the same time take ports of their own.
_first_port = 20000 + 1500 * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw7")[2:]) % 8)


def free_port():
    """A port below the range from which the kernel takes outgoing ones, given out once in this run."""
    for _ in range(1000):
        port = random.randint(_first_port, _first_port + 1499)
        if port in _given:
            continue
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise RuntimeError("no free port")


def wait_until(condition, timeout=20, what="condition", interval=0.02):
    """Polls until condition() is true and returns its value; fails the test after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail("%s: not reached in %s s" % (what, timeout))
        time.sleep(interval)


def merged(base, extra):
    out = copy.deepcopy(base or {})
    for key, value in (extra or {}).items():
        out[key] = merged(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out


def on_postgres():
    """Do servers keep their data in PostgreSQL where a test does not say otherwise (ARAGORA_TEST_STORE=postgres)?"""
    return os.environ.get("ARAGORA_TEST_STORE") == "postgres"


class Server:
    def __init__(self, folder, config=None, env=None, args=()):
        if on_postgres() and "storage" not in (config or {}) and "DATABASE_URL" not in (env or {}):
            import pgkit
            config = merged(config, {"storage": {"dsn": pgkit.shared().database()}})
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port, self.ws_port = free_port(), free_port()
        self.data_dir = self.folder / "data"
        self.pidfile = self.folder / "aragorad.pid"
        self.log_path = self.folder / "server.log"
        self.access_path = self.folder / "access.log"
        self.conf_path = self.folder / "aragora.yml"
        self.config = merged(merged(DEFAULTS, {
            "server": {"bind": ["127.0.0.1:%d" % self.port], "ws_bind": ["127.0.0.1:%d" % self.ws_port],
                       "pidfile": str(self.pidfile)},
            "log": {"access": str(self.access_path)},
            "storage": {"data_dir": str(self.data_dir)},
        }), config)
        if self.config["server"].get("env") == "production" and "rate_limit" not in (config or {}):
            del self.config["rate_limit"]  # production does not start without limits
        self.env, self.args = dict(env or {}), list(args)
        self.process, self.reports_allowed = None, False
        self.stdin = subprocess.DEVNULL
        self.log_start = 0
        self.write_config()

    # ---- life ----

    def write_config(self, **changes):
        """Writes the configuration again, with sections merged in: write_config(server={"workers": 3})."""
        self.config = merged(self.config, changes)
        self.conf_path.write_text(yaml.safe_dump(self.config))
        self.conf_path.chmod(0o600)  # it may hold secrets

    def environment(self):
        env = {k: v for k, v in os.environ.items() if not FOREIGN.match(k)}
        env.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:exitcode=86:detect_stack_use_after_return=0")
        env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1")
        env.update(self.env)
        return env

    def spawn(self):
        """Starts the process without waiting for it to serve."""
        assert self.process is None or self.process.poll() is not None, "already running"
        self.log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([binary(), "-c", str(self.conf_path), *self.args], stdin=self.stdin,
                                            stdout=log, stderr=log, cwd=self.folder, env=self.environment(),
                                            start_new_session=True)
        return self

    def start(self, timeout=60):
        self.spawn()
        return self.wait_ready(timeout)

    def wait_ready(self, timeout=60):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                pytest.fail("aragorad exited with %d:\n%s" % (self.process.returncode, self.run_log()))
            try:
                started = requests.get(self.url + "/api/health/startup", timeout=5).json()["status"]
                if started != "in_progress" and requests.get(self.url + "/healthz", timeout=5).status_code == 200:
                    return self
            except requests.RequestException:
                pass
            time.sleep(0.03)
        pytest.fail("aragorad does not answer:\n" + self.run_log())

    def expect_exit(self, timeout=60):
        """Waits for the end of the process; returns (exit code, what it wrote since its start)."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            pytest.fail("aragorad does not end:\n" + self.run_log())
        return code, self.run_log()

    def signal(self, signum):
        self.process.send_signal(signum)

    def stop(self, signum=SIGTERM, timeout=60):
        """Stops the server and returns its exit code."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.signal(signum)
            return self.expect_exit(timeout)[0]
        return self.process.returncode

    def kill_all(self):
        """kill -9 of the master and of all workers."""
        family = self.family()
        for p in family:
            try:
                p.kill()
            except psutil.NoSuchProcess:
                pass
        if self.process is not None:
            self.process.wait()
        psutil.wait_procs(family, timeout=10)

    def family(self):
        """All processes of the server, also workers whose master is gone (they keep its session)."""
        found = []
        if self.process is None:
            return found
        for p in psutil.process_iter():
            try:
                if os.getsid(p.pid) == self.process.pid and p.status() != psutil.STATUS_ZOMBIE:
                    found.append(p)
            except (psutil.Error, OSError):
                pass
        return found

    def close(self):
        """End of the test: nothing of this server stays, and its log holds no report."""
        if self.process is not None and self.process.poll() is None:
            self.signal(SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill_all()
                pytest.fail("aragorad did not end after TERM:\n" + self.run_log()[-4000:])
        self.kill_all()
        if not self.reports_allowed:
            assert not (m := REPORT.search(self.log())), "report in the log:\n" + self.log()[max(0, m.start() - 200):][:8000]

    # ---- what it says ----

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def run_log(self):
        """The log since the last start."""
        if not self.log_path.exists():
            return ""
        return self.log_path.read_bytes()[self.log_start:].decode(errors="replace")

    def log_lines(self):
        """The JSON lines of the log as objects; other text is left out."""
        found = []
        for line in self.log().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                pass
        return found

    def wait_log(self, text, timeout=20):
        """Waits for a regular expression in the log since the last start."""
        return wait_until(lambda: re.search(text, self.run_log()), timeout, "log line %r" % text)

    def command(self, *args, timeout=60, check=False):
        """Runs a subcommand of the same binary, e.g. command("status", "-c", s.conf_path, "--json")."""
        return subprocess.run([binary(), *map(str, args)], capture_output=True, text=True, timeout=timeout, check=check,
                              cwd=self.folder, env=self.environment())

    def status(self):
        """The document of the control socket."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            # A path may be longer than an address holds; the folder's descriptor shortens it.
            fd = os.open(self.data_dir, os.O_PATH)
            try:
                s.connect("/proc/self/fd/%d/control.sock" % fd)
            finally:
                os.close(fd)
            s.sendall(b"status\n")
            text = b""
            while part := s.recv(65536):
                text += part
        return json.loads(text)

    def workers(self, state="serving"):
        """Workers in a state (None: all), as the control socket lists them."""
        return [w for w in self.status()["workers"] if state is None or w["state"] == state]

    def wait_workers(self, count, timeout=60):
        """Waits until exactly `count` workers exist and serve."""
        return wait_until(lambda: len(self.workers(None)) == count == len(self.workers()) and self.workers(), timeout,
                          "%d workers" % count)

    def sql(self, sql, *args):
        """Runs a statement with ? parameters on the server's database behind its back; rows, or how many it changed."""
        dsn = self.config["storage"].get("dsn")
        if dsn:
            import psycopg2
            db = psycopg2.connect(dsn)
            db.autocommit = True
            sql, args = sql.replace("%", "%%").replace("?", "%s"), args or ()
        else:
            db = sqlite3.connect(self.data_dir / "aragora.db", timeout=20, isolation_level=None)
        try:
            c = db.cursor()
            c.execute(sql, args)
            return c.fetchall() if c.description else c.rowcount
        finally:
            db.close()

    # ---- talking to it ----

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.port

    @property
    def ws_url(self):
        return "ws://127.0.0.1:%d" % self.ws_port

    def request(self, method, path, **kw):
        kw.setdefault("timeout", 30)
        return requests.request(method, self.url + path, **kw)

    def get(self, path, **kw):
        return self.request("GET", path, **kw)

    def post(self, path, body=None, **kw):
        return self.request("POST", path, json=body, **kw)

    def delete(self, path, **kw):
        return self.request("DELETE", path, **kw)


def pytest_configure(config):
    config.addinivalue_line("markers", "server(config, env=None, args=()): configuration of the `server` fixture")


def pytest_make_parametrize_id(config, val, argname):
    """Bytes are numbered, not shown: many are random masks, and processes that test together must name tests alike."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL cluster for all tests of this run."""
    import pgkit
    return pgkit.shared()


def making(kind, tmp_path):
    """For fixtures: makes servers of this kind and ends them all; the test fails with every problem of that."""
    made = []

    def make(config=None, env=None, args=(), start=True, folder=None):
        s = kind(folder or tmp_path / ("node%d" % len(made)), config, env, args)
        made.append(s)
        return s.start() if start else s

    yield make
    problems = []
    for s in made:
        try:
            s.close()
        except (AssertionError, pytest.fail.Exception) as e:
            problems.append(str(e))
    assert not problems, "\n".join(problems)


@pytest.fixture
def make_server(tmp_path):
    yield from making(Server, tmp_path)


@pytest.fixture
def make_node(tmp_path):
    """Servers whose FAULT points can be armed while they run."""
    import crash
    yield from making(crash.Node, tmp_path)


@pytest.fixture(scope="module")
def provider():
    """What stands for the providers of models, one for all tests of a file (provider.provider: one for each); crash.pace
    sets how fast it answers."""
    import provider
    with provider.ProviderServer() as p:
        yield p


@pytest.fixture
def server(request, make_server):
    marker = request.node.get_closest_marker("server")
    return make_server(*(marker.args if marker else ()), **(marker.kwargs if marker else {}))


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """Three workers; a debate takes about a second, so that it can be watched."""
    s = Server(tmp_path_factory.mktemp("live"), {
        "server": {"workers": 3}, "debates": {"max_concurrent": 16, "token_merge": "5ms"},
        "providers": {"demo": {"delay_ms": 120}}, "websocket": {"message_rate": 0, "heartbeat": "500ms"}})
    s.start()
    yield s
    s.close()
