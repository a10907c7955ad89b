# SPDX-License-Identifier: MIT
"""What the benchmarks share: a server of their own, and the CPU and memory of a family of processes."""
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

TICK = os.sysconf("SC_CLK_TCK")


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


class Server:
    """build/aragorad in a temporary folder."""

    def __init__(self, workers, extra="", access=False, folder=None, server="", ws_bind=None):
        self.folder = folder or tempfile.mkdtemp(prefix="aragora-bench.")
        self.port = free_port()
        config = os.path.join(self.folder, "aragora.yml")
        log = f"{self.folder}/access" if access else ""
        with open(config, "w") as f:
            f.write(f"""server: {{bind: ["127.0.0.1:{self.port}"], ws_bind: ["{ws_bind or '127.0.0.1:%d' % free_port()}"], workers: {workers}{server}}}
log: {{level: warning, error: "{self.folder}/log", access: "{log}"}}
storage: {{data_dir: "{self.folder}/data"}}
{extra}
""")
        env = {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY") and k != "OPENAI_BASE_URL"}
        self.started = time.monotonic()
        self.process = subprocess.Popen([os.environ.get("ARAGORAD", "build/aragorad"), "-c", config], env=env)
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

    def cpu(self):
        return cpu_seconds(self.process.pid)

    def memory_kb(self, field="VmHWM"):
        return memory_kb(self.process.pid, field)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
