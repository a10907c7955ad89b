# SPDX-License-Identifier: MIT
"""TLS 1.3 beside nginx: requests on kept connections, and whole handshakes. One worker each, on the same core in turn.

Both have the same P-256 certificate and OpenSSL, both log to a file, and both answer as many bytes. A handshake is whole:
certificate, signature, ticket; what is counted is the server's own CPU, for the client is slower than either.
"""
import os
import re
import ssl
import statistics
import subprocess
import tempfile
import time

from bench import Server, cpu_seconds, free_port
from http_bench import LOAD_CORE, OURS, RUNS, SECONDS, SERVER_CORE, ask, connect, pin


def certificate(folder):
    pem, key = os.path.join(folder, "tls.pem"), os.path.join(folder, "tls.key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                    key, "-out", pem, "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
                   check=True, capture_output=True)
    os.chmod(key, 0o600)
    return pem, key


def answer_size(port):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(connect(port)) as s:
        return len(ask(s))


class Nginx:
    """One worker that answers with a body of that size."""

    def __init__(self, pair, body):
        self.folder, self.port = tempfile.mkdtemp(prefix="aragora-bench."), free_port()
        conf = os.path.join(self.folder, "nginx.conf")
        with open(conf, "w") as f:
            f.write(f"""daemon off; worker_processes 1; pid {self.folder}/pid; error_log {self.folder}/error.log;
events {{ worker_connections 20000; }} worker_rlimit_nofile 40000;
http {{ access_log {self.folder}/access combined buffer=32k flush=1s; keepalive_requests 100000000; keepalive_timeout 60s;
client_body_temp_path {self.folder}/a; proxy_temp_path {self.folder}/b; fastcgi_temp_path {self.folder}/c;
uwsgi_temp_path {self.folder}/d; scgi_temp_path {self.folder}/e;
server {{ listen 127.0.0.1:{self.port} ssl backlog=4096; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {pair[0]};
ssl_certificate_key {pair[1]}; location / {{ default_type application/json; return 200 '{"x" * body}'; }} }} }}
""")
        self.process = subprocess.Popen(["nginx", "-c", conf, "-p", self.folder])
        for _ in range(1000):
            try:
                connect(self.port).close()
                break
            except OSError:
                time.sleep(0.01)
        time.sleep(0.1)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


def kept(port):
    out = subprocess.run(["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", "-c64", f"-d{SECONDS}s",
                          f"https://127.0.0.1:{port}/api/health"], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out:
        raise SystemExit("the server answered with errors:\n" + out)
    return int(re.search(r"(\d+) requests in", out).group(1))


def handshakes(port):
    out = subprocess.run(["taskset", "-c", str(LOAD_CORE), "openssl", "s_time", "-connect", f"127.0.0.1:{port}", "-new",
                          "-tls1_3", "-time", str(max(SECONDS, 2))], capture_output=True, text=True, check=True).stdout
    return int(re.search(r"(\d+) connections in \d+ real seconds", out).group(1))


def compare(what, load, ours, theirs, unit):
    rows = []
    for i in range(RUNS + 1):
        row = []
        for pid, port in ((ours.process.pid, ours.tls_port), (theirs.process.pid, theirs.port)):
            before = cpu_seconds(pid)
            n = load(port)
            row.append(1e6 * (cpu_seconds(pid) - before) / n)
        if i > 0:  # the first one warms
            rows.append(row)
    a, b = (statistics.median(r[i] for r in rows) for i in (0, 1))
    ratio = statistics.median(r[0] / r[1] for r in rows)
    print(f"  {what}: {a:.1f} us CPU a {unit} ({1e6 / a:.0f} a second of CPU), nginx {b:.1f} ({1e6 / b:.0f}): "
          f"ratio {ratio:.2f} (goal <= 1.1)", flush=True)


def main():
    folder = tempfile.mkdtemp(prefix="aragora-bench.")
    pair, port = certificate(folder), free_port()
    ours = Server(1, OURS, access=True, ws_bind=f"tls:127.0.0.1:{port}",
                  server=f', tls: {{certificates: ["{pair[0]} {pair[1]}"]}}')
    ours.tls_port = port
    size = answer_size(port)
    probe = Nginx(pair, 1)
    head = answer_size(probe.port) - 1
    probe.stop()
    theirs = Nginx(pair, max(size - head - 3, 1))
    for s in (ours, theirs):
        pin(s.process.pid, SERVER_CORE)
    print(f"TLS 1.3, GET /api/health with the whole chain and access log to a file, {size} bytes; median of {RUNS} runs")
    compare("keep-alive", kept, ours, theirs, "request")
    compare("whole handshakes", handshakes, ours, theirs, "handshake")
    ours.stop()
    theirs.stop()


if __name__ == "__main__":
    main()
