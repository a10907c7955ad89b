# SPDX-License-Identifier: MIT
"""WebSockets beside Nchan: one broadcast to many, the way from another worker, and idle sockets.

Broadcasts go through /ws/echo/{room} (websocket.echo), which takes the path of events: bus, one frame for all, one queue
per socket. Nchan gets the same text by its publisher socket.
"""
import os
import select
import socket
import statistics
import time

from bench import CORES, EXEMPT, Nginx, Server, family, ratio_of, rounds, row

SOCKETS = int(os.environ.get("BENCH_SOCKETS", "1000"))
IDLE = int(os.environ.get("BENCH_IDLE", "15000"))
BROADCASTS = 40
MESSAGES = 1000
OURS = EXEMPT + """
websocket: {echo: true, message_rate: 0, heartbeat: 3600, ping_interval: 3600}
"""
WIDE = ", worker_connections: 40000"


def handshake(port, path, source=None):
    s = socket.socket()
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.settimeout(30)
    if source:
        s.bind((source, 0))
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


def nchan():
    return Nginx("""location ~ ^/pub/(.+)$ { nchan_publisher websocket; nchan_channel_id $1; }
location ~ ^/sub/(.+)$ { nchan_subscriber websocket; nchan_channel_id $1; nchan_subscriber_first_message newest; }""",
                 top="load_module /usr/lib/nginx/modules/ngx_nchan_module.so;",
                 http="access_log off; nchan_message_buffer_length 1;")


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
    """CPU microseconds per delivery, milliseconds to the last one (median)."""
    before, times = server.cpu(), []
    for i in range(BROADCASTS):
        times.append(1e3 * crowd.broadcast(b"%06d" % i + b"x" * 194))
        time.sleep(0.005)
    return 1e6 * (server.cpu() - before) / BROADCASTS / len(crowd.sockets), statistics.median(times)


def broadcast():
    ours, theirs = Server(1, OURS, server=WIDE), nchan()
    for s in (ours, theirs):
        s.pin()
    os.sched_setaffinity(0, {CORES[-1]})
    crowds = Crowd(ours.port, "/ws/echo/bench", "/ws/echo/bench", SOCKETS), Crowd(theirs.port, "/sub/bench", "/pub/bench", SOCKETS)
    (cpu, last), (their_cpu, their_last) = (
        zip(*found) for found in rounds(lambda: measure(ours, crowds[0]), lambda: measure(theirs, crowds[1])))
    row(f"broadcast of 200 bytes to {SOCKETS} sockets, per delivery", f"{statistics.median(cpu):.2f} us CPU",
        f"Nchan {statistics.median(their_cpu):.2f}", f"{ratio_of(cpu, their_cpu):.2f}", "<= 0.75")
    row("  its last delivery, p50", f"{statistics.median(last):.2f} ms", f"Nchan {statistics.median(their_last):.2f}",
        f"{ratio_of(last, their_last):.2f}", "< 1.0")
    for c in crowds:
        c.close()
    os.sched_setaffinity(0, set(CORES))
    ours.stop()
    theirs.stop()


def worker_of(s, pids):
    """The process that holds the other end of a socket, by the kernel's table of connections."""
    here, there = s.getsockname()[1], s.getpeername()[1]
    with open("/proc/net/tcp") as f:
        inode = next(line.split()[9] for line in f.readlines()[1:]
                     if (int(line.split()[1][9:], 16), int(line.split()[2][9:], 16)) == (there, here))
    for pid in pids:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                if os.readlink(f"/proc/{pid}/fd/{fd}") == f"socket:[{inode}]":
                    return pid
            except OSError:
                pass
    raise SystemExit("nobody holds the socket")


def two_workers(server):
    """A socket at each of the two workers, both in one room."""
    pids, found = family(server.process.pid)[1:], {}
    spare = []
    while len(found) < 2:
        s = handshake(server.port, "/ws/echo/way")
        if found.setdefault(worker_of(s, pids), s) is not s:
            spare.append(s)
    for s in spare:
        s.close()
    return list(found.values())


def hear(s, size):
    while size > 0:
        size -= len(s.recv(size))


def added_by(a, b):
    """The same message is heard by its sender a, at once, and by b elsewhere: microseconds, and how many more."""
    frame, size = text_frame(b"x" * 200), server_size(200)
    own, other = [], []
    time.sleep(0.2)
    for _ in range(MESSAGES):
        # In turn one and the other is waited for first: a reader that wakes takes time from the worker it waits for.
        for first, second, times in ((a, b, own), (b, a, other)):
            start = time.perf_counter()
            a.sendall(frame)
            hear(first, size)
            times.append(1e6 * (time.perf_counter() - start))
            hear(second, size)
    return statistics.median(own), statistics.median(other) - statistics.median(own)


def across():
    server = Server(2, OURS)
    a, b = two_workers(server)
    own, added = added_by(a, b)
    row("broadcast from another worker, p50 added", f"{added:.0f} us", f"(own worker: {own:.0f} us)", goal="<= 150 us")
    server.stop()


def idle_memory(server, path, count):
    warm = [handshake(server.port, path) for _ in range(200)]
    time.sleep(1.5)
    before = server.memory_kb("RssAnon")
    kept = [handshake(server.port, path, "127.0.0.%d" % (2 + i % 50)) for i in range(count)]
    time.sleep(1.5)
    grown = 1024 * (server.memory_kb("RssAnon") - before) / count
    probe = time.perf_counter()
    handshake(server.port, path).close()
    probe = time.perf_counter() - probe
    for k in kept + warm:
        k.close()
    return grown, 1e3 * probe


def idle():
    theirs = nchan()
    peer, _ = idle_memory(theirs, "/sub/idle", IDLE)
    theirs.stop()
    for path, what in (("/ws/echo", "bare"), ("/ws", "of debates, unsubscribed")):
        # The shell's usual limit: the server raises its own.
        server = Server(1, OURS, server=WIDE, files=1024)
        grown, probe = idle_memory(server, path, IDLE)
        row(f"idle WebSocket, {what}, {IDLE} in one worker", f"{grown:.0f} bytes", f"Nchan {peer:.0f}",
            f"{grown / peer:.2f}", "<= 1229 bytes")
        row("  one more opens beside them", f"{probe:.1f} ms")
        server.stop()
