# SPDX-License-Identifier: MIT
"""`make growth`: does memory grow with use? Many requests and sockets through one worker, its resident memory by slices.

The first tenth warms; what is told is the growth over the other nine. Most requests are pipelined GETs of
/api/health; some ask one by one for debates that do not exist, which goes through a coroutine, the store and the
error envelope. Sockets are opened for one request each; every tenth one becomes a WebSocket and is echoed to.
"""
import os
import socket
import sys
import threading

from bench import EXEMPT, Server, family, folder_new, memory_kb, row, wrk
from http_bench import pipeline_script
from ws_bench import handshake, hear, text_frame

REQUESTS = int(os.environ.get("GROWTH_REQUESTS", "10000000"))
OPENS = int(os.environ.get("GROWTH_OPENS", "1000000"))
SLICES = 20
THREADS = 4


MISSING = """
local n = 0
request = function()
  n = n + 1
  return wrk.format("GET", "/api/debates/missing-" .. n .. "?n=" .. n)
end
"""


def missing_script():
    path = os.path.join(folder_new(), "missing.lua")
    with open(path, "w") as f:
        f.write(MISSING)
    return path


def requests(port, count, scripts):
    done = 0
    while done < count:
        done += wrk(port, "-s", scripts[0], seconds=2)
    return done + wrk(port, "-s", scripts[1], seconds=1, errors=True)


def sockets(port, count):
    """Opens that many: wrk makes one connection per request; WebSockets come from threads."""
    done, wanted = 0, count - count // 10

    def talk():
        for _ in range(count // 10 // THREADS):
            s = handshake(port, "/ws/echo")
            s.sendall(text_frame(b"x" * 100))
            hear(s, 102)
            # Reset, so that a million of them leave no TIME_WAIT behind.
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            s.close()

    threads = [threading.Thread(target=talk) for _ in range(THREADS)]
    for t in threads:
        t.start()
    while done < wanted:
        done += wrk(port, "-H", "Connection: close", seconds=2)
    for t in threads:
        t.join()
    return done + count // 10 // THREADS * THREADS


def watch(server, what, total, load):
    sizes, done = [], 0
    for _ in range(SLICES):
        done += load(server.port, total // SLICES)
        sizes.append(memory_kb(family(server.process.pid)[1], "VmRSS"))
        print(f"  {done} {what}: {sizes[-1]} KiB", file=sys.stderr, flush=True)
    first = sizes[SLICES // 10 - 1]
    row(f"growth over the last nine tenths of {done} {what}", f"{100 * (sizes[-1] - first) / first:.2f} %",
        f"({first} to {sizes[-1]} KiB resident)", goal="< 1 %")


def growth():
    server = Server(1, EXEMPT + "\nwebsocket: {echo: true, message_rate: 0, connection_rate: 0}", access="/dev/null")
    scripts = pipeline_script(), missing_script()
    watch(server, "requests", REQUESTS, lambda port, n: requests(port, n, scripts))
    watch(server, "socket opens", OPENS, sockets)
    server.stop()
