# SPDX-License-Identifier: MIT
"""Real PostgreSQL for the tests: a cluster in a temporary folder on a free port, one database per server under test.

    def test_x(postgres, make_server):                      # the session's cluster
        s = make_server({"storage": {"dsn": postgres.database()}})

    cluster = Cluster(tmp_path / "pg").start()              # one of its own, to be stopped and killed
"""
import atexit
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg2

BIN = Path("/usr/lib/postgresql/15/bin")
ADMIN = "admin"
PASSWORD = "open sesame/%"  # with characters that a URI must escape
PASSWORD_URI = "open%20sesame%2F%25"


def _demote():
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("no user to run PostgreSQL as")


_shared = []
_template = []  # a folder as initdb leaves it, copied for every further cluster: initdb takes seconds


def shared():
    """The cluster of this run of tests, started when first asked for, ended with the process."""
    if not _shared:
        _shared.append(Cluster().start())
        atexit.register(_shared[0].close)
    return _shared[0]


class Cluster:
    def __init__(self, folder=None, durable=False, conf=()):
        from conftest import free_port
        self.folder = Path(folder or tempfile.mkdtemp(prefix="aragora-pg-", dir="/tmp"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data, self.port, self.user = self.folder / "data", free_port(), _demote()
        self.durable, self.conf, self.made, self.process = durable, list(conf), 0, None
        self.sockets = self.folder
        self.log = self.folder / "postgres.log"

    def _run(self, *command, **kw):
        return subprocess.run([str(c) for c in command], check=True, capture_output=True, user=self.user and self.user.pw_uid,
                              group=self.user and self.user.pw_gid, extra_groups=[] if self.user else None, **kw)

    def make(self):
        for path in [self.folder, *self.folder.parents]:  # the way to it, in pytest's private folders
            if path.stat().st_uid == os.getuid() and path != Path("/tmp"):
                path.chmod(path.stat().st_mode | 0o055)
        if self.user:
            os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
        if not _template:
            _template.append(self.make_template())
        self._run("cp", "-a", _template[0] / "data", self.data)
        with open(self.data / "postgresql.conf", "a") as f:
            f.write("listen_addresses = '127.0.0.1'\nport = %d\nunix_socket_directories = '%s'\nmax_connections = 200\n"
                    "shared_buffers = 32MB\nlog_min_messages = warning\n" % (self.port, self.sockets))
            if not self.durable:
                f.write("fsync = off\nsynchronous_commit = on\nfull_page_writes = off\n")
            f.writelines(line + "\n" for line in self.conf)
        return self

    def make_template(self):
        folder = Path(tempfile.mkdtemp(prefix="aragora-pg-template-", dir="/tmp"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        if self.user:
            os.chown(folder, self.user.pw_uid, self.user.pw_gid)
        secret = folder / "password"
        secret.write_text(PASSWORD)
        os.chmod(secret, 0o644)
        self._run(BIN / "initdb", "-D", folder / "data", "-U", ADMIN, "--pwfile", secret, "-A", "scram-sha-256", "-E", "UTF8",
                  "--locale=C.UTF-8", "--no-sync", cwd="/")
        return folder

    def start(self):
        if not self.data.exists():
            self.make()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([str(BIN / "postgres"), "-D", str(self.data)], stdout=log, stderr=log, cwd="/",
                                            stdin=subprocess.DEVNULL, user=self.user and self.user.pw_uid,
                                            group=self.user and self.user.pw_gid, extra_groups=[] if self.user else None)
        return self.wait()

    def wait(self, timeout=30):
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.connect().close()
                return self
            except psycopg2.OperationalError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.05)

    def stop(self, how=signal.SIGINT):
        """SIGINT: fast shutdown; SIGQUIT: immediate, as a crash; SIGTERM: waits for its clients."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(how)
            self.process.wait(30)
        self.process = None

    def restart(self, how=signal.SIGINT):
        self.stop(how)
        return self.start()

    def close(self):
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.close()

    # ---- using it ----

    def connect(self, database="postgres"):
        c = psycopg2.connect(host="127.0.0.1", port=self.port, user=ADMIN, password=PASSWORD, dbname=database)
        c.autocommit = True
        return c

    def query(self, database, sql, *args):
        """Rows of one statement."""
        c = self.connect(database)
        try:
            with c.cursor() as cursor:
                cursor.execute(sql, args or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            c.close()

    def create(self):
        """A new empty database; returns its name."""
        self.made += 1
        name = "test%d_%d" % (os.getpid(), self.made)
        self.query("postgres", "CREATE DATABASE " + name)
        return name

    def dsn(self, name, **options):
        """Its address; options go into the query part."""
        extra = "&".join("%s=%s" % o for o in options.items())
        return "postgresql://%s:%s@127.0.0.1:%d/%s%s" % (ADMIN, PASSWORD_URI, self.port, name, "?" + extra if extra else "")

    def database(self, **options):
        """The address of a new database."""
        return self.dsn(self.create(), **options)

    def backends(self, database):
        """Process ids of the server's sessions in a database."""
        return [r[0] for r in self.query("postgres", "SELECT pid FROM pg_stat_activity WHERE datname = %s AND"
                                         " backend_type = 'client backend'", database)]
