# SPDX-License-Identifier: MIT
"""What the benchmarks share: servers that always end, CPU and memory of a family of processes, rounds, the table.

The server under test and its peer are bound to the first core, the load to the last one. They are measured in turn,
round by round, the first round only warms, and medians are compared: the machine may be noisy.
"""
import atexit
import ctypes
import json
import os
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

TICK = os.sysconf("SC_CLK_TCK")
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]
SECONDS = int(os.environ.get("BENCH_SECONDS", "2"))
RUNS = int(os.environ.get("BENCH_RUNS", "5"))
EXEMPT = 'limits: {exempt: ["127.0.0.0/8"]}'
PR_SET_PDEATHSIG = 1

# ---- the table ----

ROWS = []


def row(what, ours, peer="", ratio="", goal=""):
    ROWS.append((what, ours, peer, ratio, goal))
    print("  ".join(x for x in ROWS[-1] if x), file=sys.stderr, flush=True)


def table():
    rows = [("what", "ours", "peer", "ratio", "goal"), *ROWS]
    widths = [max(len(r[i]) for r in rows) for i in range(5)]
    for i, r in enumerate(rows):
        print(" | ".join(cell.ljust(w) for cell, w in zip(r, widths)).rstrip())
        if i == 0:
            print("-|-".join("-" * w for w in widths))
    sys.stdout.flush()


def rounds(*measures):
    """Calls each in turn, RUNS rounds and one that warms; a list of values per measure."""
    kept = []
    for i in range(RUNS + 1):
        values = [m() for m in measures]
        if i > 0:
            kept.append(values)
    return list(zip(*kept))


def ratio_of(ours, theirs):
    """Median of the ratios of rounds: what disturbs a round disturbs both."""
    return statistics.median(a / b for a, b in zip(ours, theirs))


# ---- processes ----

LIVE = []  # with stop(); ended in reverse order however the benchmark ends
FOLDERS = []


def folder_new():
    FOLDERS.append(tempfile.mkdtemp(prefix="aragora-bench."))
    return FOLDERS[-1]


def stop_all():
    while LIVE:
        LIVE[-1].stop()
    while FOLDERS:
        shutil.rmtree(FOLDERS.pop(), ignore_errors=True)


atexit.register(stop_all)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda n, _: sys.exit(128 + n))
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)


def dies_with_us():
    """In the child: even a killed benchmark leaves no server behind."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Process:
    def launch(self, command, **options):
        LIVE.append(self)
        self.process = subprocess.Popen(command, preexec_fn=dies_with_us, **options)

    def stop(self):
        if self in LIVE:
            LIVE.remove(self)
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def pin(self, core=SERVER_CORE):
        for p in family(self.process.pid):
            os.sched_setaffinity(p, {core})

    def cpu(self):
        return cpu_seconds(self.process.pid)

    def memory_kb(self, field="VmHWM"):
        return memory_kb(self.process.pid, field)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def family(pid):
    """The process and its children."""
    pids = [pid]
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            pids += [int(p) for p in f.read().split()]
    except OSError:
        pass
    return pids


def cpu_seconds(pid):
    """CPU of the family's threads: in nanoseconds where the kernel tells, else in ticks."""
    total = 0
    for p in family(pid):
        try:
            for t in os.listdir(f"/proc/{p}/task"):
                with open(f"/proc/{p}/task/{t}/schedstat") as f:
                    total += int(f.read().split()[0]) / 1e9
        except OSError:
            try:
                with open(f"/proc/{p}/stat") as f:
                    fields = f.read().rsplit(")", 1)[1].split()
                total += (int(fields[11]) + int(fields[12])) / TICK
            except OSError:
                pass
    return total


def memory_kb(pid, field="VmHWM"):
    """Sum over the family; VmHWM is each process's own peak, shared pages counted in each."""
    total = 0
    for p in family(pid):
        try:
            with open(f"/proc/{p}/status") as f:
                total += sum(int(line.split()[1]) for line in f if line.startswith(field + ":"))
        except OSError:
            pass
    return total


class Server(Process):
    """build/aragorad in a temporary folder; `access`: True for a log in it, or a path."""

    def __init__(self, workers, extra="", access=False, folder=None, server="", ws_bind=None, files=None):
        self.folder = folder or folder_new()
        self.port = free_port()
        config = os.path.join(self.folder, "aragora.yml")
        log = f"{self.folder}/access" if access is True else access or ""
        with open(config, "w") as f:
            f.write(f"""server: {{bind: ["127.0.0.1:{self.port}"], ws_bind: ["{ws_bind or '127.0.0.1:%d' % free_port()}"], workers: {workers}{server}}}
log: {{level: warning, error: "{self.folder}/log", access: "{log}"}}
storage: {{data_dir: "{self.folder}/data"}}
{extra}
""")
        env = {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY") and k != "OPENAI_BASE_URL"}
        self.started = time.monotonic()
        command = [os.environ.get("ARAGORAD", "build/aragorad"), "-c", config]
        # The soft limit of open files that the server finds.
        self.launch(["prlimit", f"--nofile={files}:", *command] if files else command, env=env)
        self.wait()

    def wait(self):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                return self.get("/readyz")
            except OSError:
                time.sleep(0.002)
        raise SystemExit("the server did not start")

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def get(self, path):
        with urllib.request.urlopen(self.url(path), timeout=30) as r:
            return json.load(r)

    def post(self, path, body):
        request = urllib.request.Request(self.url(path), json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as r:
            return json.load(r)


class Nginx(Process):
    """One worker; `locations` stand in its one server, `tls` is certificate and key, `listen` more words about the port."""

    def __init__(self, locations, tls=None, top="", http="access_log off;", listen=""):
        self.folder, self.port = folder_new(), free_port()
        conf = os.path.join(self.folder, "nginx.conf")
        if tls:
            listen += " ssl"
            locations = f"ssl_protocols TLSv1.3; ssl_certificate {tls[0]}; ssl_certificate_key {tls[1]}; {locations}"
        with open(conf, "w") as f:
            f.write(f"""{top} daemon off; worker_processes 1; pid {self.folder}/pid; error_log {self.folder}/error.log;
events {{ worker_connections 40000; }} worker_rlimit_nofile 60000;
http {{ {http.replace("FOLDER", self.folder)} keepalive_requests 100000000; keepalive_timeout 60s;
client_body_temp_path {self.folder}/a; proxy_temp_path {self.folder}/b; fastcgi_temp_path {self.folder}/c;
uwsgi_temp_path {self.folder}/d; scgi_temp_path {self.folder}/e;
server {{ listen 127.0.0.1:{self.port} {listen} backlog=4096; {locations} }} }}
""")
        self.launch(["nginx", "-c", conf, "-p", self.folder])
        for _ in range(1000):
            try:
                connect(self.port).close()
                break
            except OSError:
                time.sleep(0.01)
        time.sleep(0.1)


# As large an answer as ours, and the log that people have: combined, through a buffer.
LOGGED = "access_log FOLDER/access combined buffer=32k flush=1s;"


def nginx_answering(body, **more):
    return Nginx(f"""location / {{ default_type application/json; return 200 '{"x" * body}'; }}""", http=LOGGED, **more)


# ---- clients ----

def connect(port):
    s = socket.create_connection(("127.0.0.1", port))
    s.settimeout(30)
    return s


def ask(s, path="/api/health"):
    """One reply as it stands on the wire."""
    s.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    data = b""
    while b"\r\n\r\n" not in data:
        data += s.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(re.search(rb"(?i)content-length: (\d+)", head).group(1))
    while len(body) < length:
        body += s.recv(65536)
    return head + b"\r\n\r\n" + body


def wrk(port, *extra, scheme="http", path="/api/health", seconds=SECONDS, connections=64, errors=False):
    """Requests that were answered; with errors, if those are wanted."""
    out = subprocess.run(["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *extra,
                          f"{scheme}://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out and not errors:
        raise SystemExit("the server answered with errors:\n" + out)
    return int(re.search(r"(\d+) requests in", out).group(1))


def cost(server, load):
    """CPU microseconds of the server per operation of `load`, which returns how many it did."""
    before = server.cpu()
    n = load()
    return 1e6 * (server.cpu() - before) / n
