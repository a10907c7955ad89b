# SPDX-License-Identifier: MIT
"""A small JSON reply on kept connections, beside nginx answering the same bytes: requests/s and CPU per request."""
import os
import re
import socket
import subprocess
import tempfile
import time

from bench import Server, cpu_seconds, free_port

SECONDS = 5
RUNS = 3


def load(url):
    out = subprocess.run(["wrk", "-t1", "-c64", f"-d{SECONDS}s", url], capture_output=True, text=True, check=True).stdout
    return int(re.search(r"(\d+) requests in", out).group(1))


def nginx():
    folder, port = tempfile.mkdtemp(prefix="aragora-bench."), free_port()
    conf = os.path.join(folder, "nginx.conf")
    with open(conf, "w") as f:
        f.write(f"""daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;
fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
server {{ listen 127.0.0.1:{port}; location / {{ default_type application/json; return 200 '{{"status":"ok"}}'; }} }} }}
""")
    process = subprocess.Popen(["nginx", "-c", conf, "-p", folder])
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.05)
    return process, f"http://127.0.0.1:{port}/healthz"


def measure(name, pid, url):
    load(url)  # warm
    rows = []
    for _ in range(RUNS):
        before = cpu_seconds(pid)
        n = load(url)
        rows.append((1e6 * (cpu_seconds(pid) - before) / n, n / SECONDS))
    cpu, rate = sorted(rows)[RUNS // 2]
    print(f"{name:10} {cpu:6.1f} us CPU a request, {rate:8.0f} requests/s (median of {RUNS})")
    return cpu


if __name__ == "__main__":
    server = Server(1, "limits: {exempt: [\"127.0.0.0/8\"]}")
    ours = measure("aragorad", server.process.pid, server.url("/healthz"))
    server.stop()
    peer, url = nginx()
    theirs = measure("nginx", peer.pid, url)
    peer.terminate()
    print(f"ratio: {ours / theirs:.2f} times nginx's CPU for a 15-byte JSON reply with all default headers, one worker each")
