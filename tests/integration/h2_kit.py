# SPDX-License-Identifier: MIT
"""A client that speaks HTTP/2 frame by frame: it keeps the rules only as far as a test wants it to."""
import socket
import struct
import time

import hpack

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0, 1, 2, 7, 8, 11
INITIAL_WINDOW, MAX_STREAMS, MAX_HEADER_LIST = 4, 3, 6


def frame(kind, flags, stream, payload=b""):
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


def settings(**values):
    names = {"window": INITIAL_WINDOW, "streams": MAX_STREAMS}
    return frame(SETTINGS, 0, 0, b"".join(struct.pack("!HI", names[k], v) for k, v in values.items()))


class Closed(ConnectionError):
    """The server has closed the connection."""


class Answer:
    def __init__(self):
        self.status, self.fields, self.body, self.ended, self.reset, self.informed = None, {}, b"", False, None, []


class H2:
    """`window`: what the server may send on each stream unasked; it is given back as it comes unless `read` is False."""

    def __init__(self, port=None, sock=None, window=None, read=True, preface=True, timeout=20):
        self.sock = sock or socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.sock.settimeout(timeout)
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.decoder.max_header_list_size = 1 << 20
        self.buffer, self.next, self.read = b"", 1, read
        self.answers, self.goaways, self.settings, self.pongs, self.acks = {}, [], {}, [], 0
        if preface:
            self.send(PREFACE + (settings(window=window) if window is not None else settings()))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.sock.close()

    # ---- out ----

    def send(self, data):
        self.sock.sendall(data)

    def block(self, method="GET", path="/healthz", fields=(), authority="test", scheme="http"):
        pseudo = [(":method", method), (":scheme", scheme), (":path", path), (":authority", authority)]
        return self.encoder.encode([p for p in pseudo if p[1] is not None] + list(fields))

    def head(self, *args, end=True, **kw):
        """Frame of a request's head; returns (stream, bytes)."""
        stream, self.next = self.next, self.next + 2
        return stream, frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, self.block(*args, **kw))

    def begin(self, *args, **kw):
        stream, data = self.head(*args, **kw)
        self.send(data)
        return stream

    def raw(self, fields, end=True):
        """A head that may be wrong."""
        stream, self.next = self.next, self.next + 2
        self.send(frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, self.encoder.encode(fields)))
        return stream

    def data(self, stream, data=b"", end=False):
        self.send(frame(DATA, END_STREAM if end else 0, stream, data))

    def reset(self, stream, code=CANCEL):
        self.send(frame(RST_STREAM, 0, stream, struct.pack("!I", code)))

    def grow(self, stream, n):
        self.send(frame(WINDOW_UPDATE, 0, stream, struct.pack("!I", n)))

    # ---- in ----

    def take(self):
        """Reads one frame: (kind, flags, stream, payload)."""
        while len(self.buffer) < 9 or len(self.buffer) < 9 + int.from_bytes(self.buffer[:3], "big"):
            try:
                part = self.sock.recv(65536)
            except ConnectionError as e:
                raise Closed from e
            if not part:
                raise Closed
            self.buffer += part
        n = int.from_bytes(self.buffer[:3], "big")
        kind, flags, stream = self.buffer[3], self.buffer[4], int.from_bytes(self.buffer[5:9], "big")
        payload, self.buffer = self.buffer[9:9 + n], self.buffer[9 + n:]
        self.note(kind, flags, stream, payload)
        return kind, flags, stream, payload

    def confirm(self, data):
        try:
            self.send(data)
        except OSError:
            pass  # the server has closed; what it said before is still to be read

    def note(self, kind, flags, stream, payload):
        a = self.answers.setdefault(stream, Answer()) if stream else None
        if kind == SETTINGS and not flags & ACK:
            self.settings.update(struct.unpack_from("!HI", payload, i) for i in range(0, len(payload), 6))
            self.confirm(frame(SETTINGS, ACK, 0))
        elif kind == SETTINGS:
            self.acks += 1
        elif kind == PING and flags & ACK:
            self.pongs.append(payload)
        elif kind == PING:
            self.confirm(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            self.goaways.append(struct.unpack("!II", payload[:8]))
        elif kind == HEADERS:
            assert flags & END_HEADERS
            fields = self.decoder.decode(payload)
            status = int(dict(fields)[":status"])
            if status < 200:
                a.informed.append(status)
            else:
                a.status, a.fields = status, {k: v for k, v in fields if k != ":status"}
        elif kind == DATA:
            a.body += payload
            if self.read and payload:
                self.grow(0, len(payload))
                if not flags & END_STREAM:
                    self.grow(stream, len(payload))
        elif kind == RST_STREAM:
            a.reset = struct.unpack("!I", payload)[0]
        if a is not None and kind in (HEADERS, DATA) and flags & END_STREAM:
            a.ended = True

    def until(self, condition, timeout=20):
        deadline = time.monotonic() + timeout
        while not condition():
            self.sock.settimeout(max(0.01, deadline - time.monotonic()))
            self.take()
        self.sock.settimeout(timeout)

    def answer(self, stream, timeout=20):
        """Waits for the end of a stream."""
        self.answers.setdefault(stream, Answer())
        self.until(lambda: self.answers[stream].ended or self.answers[stream].reset is not None, timeout)
        return self.answers[stream]

    def ask(self, *args, body=None, **kw):
        stream = self.begin(*args, end=body is None, **kw)
        if body is not None:
            self.data(stream, body, end=True)
        return self.answer(stream)

    def closed(self, timeout=20):
        """Reads to the end of the connection; returns the error codes of the GOAWAYs."""
        try:
            self.until(lambda: False, timeout)
        except Closed:
            pass
        return [code for _, code in self.goaways]
