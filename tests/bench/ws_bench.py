# SPDX-License-Identifier: MIT
"""WebSockets beside Nchan: one broadcast to many, and idle sockets.

Broadcasts go through /ws/echo/{room} (websocket.echo), which takes the path of events: bus, one frame for all, one queue
per socket. Nchan gets the same text by its publisher socket. Both servers have one worker on the same core, the client
has the other one, and they are measured in turn.
"""
import os
import resource
import select
import socket
import statistics
import subprocess
import tempfile
import time

from bench import Server, cpu_seconds, family, free_port, memory_kb

CORES = sorted(os.sched_getaffinity(0))
SOCKETS = int(os.environ.get("BENCH_SOCKETS", "1000"))
IDLE = int(os.environ.get("BENCH_IDLE", "15000"))
RUNS = int(os.environ.get("BENCH_RUNS", "5"))
BROADCASTS = 40
OURS = """limits: {exempt: ["127.0.0.0/8"]}
websocket: {echo: true, message_rate: 0, heartbeat: 3600, ping_interval: 3600}
"""


def handshake(port, path):
    s = socket.socket()
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.settimeout(30)
    s.connect(("127.0.0.1", port))
    s.sendall((f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").encode())
    data = b""
    while b"\r\n\r\n" not in data:
        part = s.recv(4096)
        if not part:
            raise SystemExit("no handshake: %r" % data)
        data += part
    if not data.startswith(b"HTTP/1.1 101"):
        raise SystemExit("no handshake: %r" % data)
    return s


def text_frame(text):
    """A client's frame, masked with zeros."""
    n = len(text)
    return bytes([0x81, 0x80 | (n if n < 126 else 126)]) + (b"" if n < 126 else n.to_bytes(2, "big")) + b"\0\0\0\0" + text


def server_size(n):
    return n + (2 if n < 126 else 4)


class Nchan:
    def __init__(self):
        self.folder, self.port = tempfile.mkdtemp(prefix="aragora-bench."), free_port()
        conf = os.path.join(self.folder, "nginx.conf")
        with open(conf, "w") as f:
            f.write(f"""load_module /usr/lib/nginx/modules/ngx_nchan_module.so;
daemon off; worker_processes 1; pid {self.folder}/pid; error_log {self.folder}/error.log;
events {{ worker_connections 40000; }} worker_rlimit_nofile 60000;
http {{ access_log off; client_body_temp_path {self.folder}/a; proxy_temp_path {self.folder}/b; fastcgi_temp_path {self.folder}/c;
uwsgi_temp_path {self.folder}/d; scgi_temp_path {self.folder}/e; nchan_message_buffer_length 1;
server {{ listen 127.0.0.1:{self.port} backlog=4096;
location ~ ^/pub/(.+)$ {{ nchan_publisher websocket; nchan_channel_id $1; }}
location ~ ^/sub/(.+)$ {{ nchan_subscriber websocket; nchan_channel_id $1; nchan_subscriber_first_message newest; }} }} }}
""")
        self.process = subprocess.Popen(["nginx", "-c", conf, "-p", self.folder])
        for _ in range(1000):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                break
            except OSError:
                time.sleep(0.01)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


def pin(pid, cores):
    for p in family(pid):
        os.sched_setaffinity(p, cores)


class Crowd:
    """Sockets that hear the same text, read in one process by epoll."""

    def __init__(self, port, path, publisher, count):
        self.publisher = handshake(port, publisher)
        self.sockets = {}
        self.epoll = select.epoll()
        for _ in range(count):
            s = handshake(port, path)
            s.setblocking(False)
            self.sockets[s.fileno()] = s
            self.epoll.register(s.fileno(), select.EPOLLIN | select.EPOLLET)

    def broadcast(self, text):
        """Seconds from sending to the last delivery."""
        due = server_size(len(text)) * len(self.sockets)
        start = time.perf_counter()
        self.publisher.sendall(text_frame(text))
        while due > 0:
            found = self.epoll.poll(10)
            if not found:
                raise SystemExit(f"{due} bytes of a broadcast did not come")
            for fd, _ in found:
                try:
                    due -= len(self.sockets[fd].recv(65536))
                except BlockingIOError:
                    pass
        took = time.perf_counter() - start
        self.publisher.setblocking(False)
        try:
            self.publisher.recv(65536)  # Nchan's answer, or the room's text
        except BlockingIOError:
            pass
        self.publisher.setblocking(True)
        return took

    def close(self):
        self.epoll.close()
        for s in [self.publisher, *self.sockets.values()]:
            s.close()


def measure(server, crowd):
    """CPU microseconds per delivery, seconds to the last one (median)."""
    before = cpu_seconds(server.process.pid)
    times = []
    for i in range(BROADCASTS):
        times.append(crowd.broadcast(b"%06d" % i + b"x" * 194))
        time.sleep(0.005)
    return (1e6 * (cpu_seconds(server.process.pid) - before) / BROADCASTS / len(crowd.sockets), statistics.median(times))


def broadcast():
    ours, theirs = Server(1, OURS, server=", worker_connections: 40000"), Nchan()
    for s in (ours, theirs):
        pin(s.process.pid, {CORES[0]})
    os.sched_setaffinity(0, {CORES[-1]})
    crowds = (Crowd(ours.port, "/ws/echo/bench", "/ws/echo/bench", SOCKETS), Crowd(theirs.port, "/sub/bench", "/pub/bench", SOCKETS))
    rows = []
    for i in range(RUNS + 1):
        row = [measure(s, c) for s, c in zip((ours, theirs), crowds)]
        if i > 0:  # the first one warms
            rows.append(row)
    cpu = [statistics.median(r[i][0] for r in rows) for i in (0, 1)]
    last = [statistics.median(r[i][1] for r in rows) for i in (0, 1)]
    ratio = statistics.median(r[0][0] / r[1][0] for r in rows)
    print(f"broadcast of 200 bytes to {SOCKETS} sockets, one worker: {cpu[0]:.2f} us CPU a delivery, Nchan {cpu[1]:.2f}: "
          f"ratio {ratio:.2f} (goal <= 0.75)")
    print(f"  last delivery p50: {1e3 * last[0]:.2f} ms, Nchan {1e3 * last[1]:.2f} ms (goal: below it)", flush=True)
    for c in crowds:
        c.close()
    os.sched_setaffinity(0, set(CORES))
    ours.stop()
    theirs.stop()


def idle_memory(server, path, count):
    warm = [handshake(server.port, path) for _ in range(200)]
    time.sleep(1.5)
    before = memory_kb(server.process.pid, "RssAnon")
    kept = [handshake(server.port, path) for _ in range(count)]
    time.sleep(1.5)
    grown = 1024 * (memory_kb(server.process.pid, "RssAnon") - before) / count
    probe = time.perf_counter()
    handshake(server.port, path).close()
    probe = time.perf_counter() - probe
    for k in kept + warm:
        k.close()
    return grown, probe


def idle():
    for path, what in (("/ws/echo", "bare"), ("/ws", "of debates, without subscription")):
        s = Server(1, OURS, server=", worker_connections: 40000")
        grown, probe = idle_memory(s, path, IDLE)
        print(f"idle WebSocket, {what}: {grown:.0f} bytes resident each, {IDLE} in one worker; one more opens in "
              f"{1e3 * probe:.1f} ms (goal <= 1229)", flush=True)
        s.stop()
    theirs = Nchan()
    grown, _ = idle_memory(theirs, "/sub/idle", IDLE)
    print(f"  Nchan's: {grown:.0f} bytes", flush=True)
    theirs.stop()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    broadcast()
    idle()
