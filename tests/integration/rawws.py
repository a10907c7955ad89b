# SPDX-License-Identifier: MIT
"""A WebSocket client that can do wrong: frames are put together bit by bit and read back as they come."""
import base64
import os
import socket
import struct
import zlib

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
DEFLATE = "permessage-deflate"


class Closed(Exception):
    """The server has closed the connection."""


def frame(opcode, payload=b"", fin=True, rsv=0, mask=True, length=None, key=None):
    """One frame. rsv: the three bits as a number (4 = RSV1). length: 16 or 64 forces a longer form than needed."""
    n = len(payload)
    form = length or (7 if n < 126 else 16 if n < 65536 else 64)
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit = 0x80 if mask else 0
    head += (bytes([bit | n]) if form == 7 else bytes([bit | 126]) + struct.pack(">H", n) if form == 16
             else bytes([bit | 127]) + struct.pack(">Q", n))
    if not mask:
        return head + payload
    key = key or os.urandom(4)
    wide = (key * (n // 4 + 1))[:n]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(wide, "big")).to_bytes(n, "big") if n else b""
    return head + key + masked


def deflated(payload, bits=15, level=6):
    """A message's payload by RFC 7692 7.2.1."""
    z = zlib.compressobj(level, zlib.DEFLATED, -bits)
    out = z.compress(payload) + z.flush(zlib.Z_SYNC_FLUSH)
    assert out.endswith(b"\0\0\xff\xff")
    return out[:-4]


def inflated(payload, bits=15):
    return zlib.decompressobj(-bits).decompress(payload + b"\0\0\xff\xff")


class Raw:
    def __init__(self, port, path="/ws/echo", headers=None, host="127.0.0.1", timeout=20, expect=101, rcvbuf=None):
        self.s = socket.socket()
        if rcvbuf:
            self.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.s.settimeout(timeout)
        self.s.connect((host, port))
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        fields = {"Host": "localhost", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
                  "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(), **(headers or {})}
        self.s.sendall(("GET %s HTTP/1.1\r\n%s\r\n" % (path, "".join(
            "%s: %s\r\n" % (k, v) for k, v in fields.items() if v is not None))).encode())
        self.data = b""
        while b"\r\n\r\n" not in self.data:
            self.more()
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {k.lower(): v for k, v in (x.split(": ", 1) for x in lines[1:])}
        assert expect is None or self.status == expect, head

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.s.close()

    @property
    def extensions(self):
        return self.headers.get("sec-websocket-extensions")

    def more(self):
        try:
            part = self.s.recv(1 << 18)
        except ConnectionResetError:
            raise Closed("reset") from None
        if not part:
            raise Closed("end")
        self.data += part

    def take(self, n):
        while len(self.data) < n:
            self.more()
        out, self.data = self.data[:n], self.data[n:]
        return out

    def raw(self, data, step=0):
        try:
            for at in range(0, len(data), step or len(data) or 1):
                self.s.sendall(data[at:at + (step or len(data))])
        except (BrokenPipeError, ConnectionResetError):
            pass  # what the server has to say about it is read next

    def send(self, opcode, payload=b"", **kw):
        self.raw(frame(opcode, payload, **kw))

    def recv(self):
        """(opcode, fin, rsv, payload) of the next frame; checks what a server's frames must be."""
        a, b = self.take(2)
        n = b & 0x7f
        assert not b & 0x80, "a server does not mask"
        if n == 126:
            n, = struct.unpack(">H", self.take(2))
            assert n > 125
        elif n == 127:
            n, = struct.unpack(">Q", self.take(8))
            assert n > 65535
        return a & 15, bool(a & 0x80), a >> 4 & 7, self.take(n)

    def message(self, bits=15):
        """(opcode, payload) of the next data message, unpacked."""
        opcode, fin, rsv, payload = self.recv()
        assert fin and opcode in (TEXT, BINARY) and rsv in (0, 4), (opcode, fin, rsv, payload[:200])
        return opcode, inflated(payload, bits) if rsv else payload

    def closed(self, answer=False):
        """Reads to the end; returns the close code (None: a close frame without one, -1: none came). `answer`: as a
        client should, or else the server waits for it."""
        code = -1
        try:
            while True:
                opcode, fin, rsv, payload = self.recv()
                if opcode == CLOSE:
                    assert fin and not rsv and len(payload) != 1 and len(payload) <= 125
                    code = struct.unpack(">H", payload[:2])[0] if payload else None
                    payload[2:].decode()
                    if answer:
                        self.send(CLOSE, payload[:2])
        except Closed:
            return code

    def alive(self):
        """The socket still answers."""
        self.send(PING, b"still there?")
        assert self.recv() == (PONG, True, 0, b"still there?")
