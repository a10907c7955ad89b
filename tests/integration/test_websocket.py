# SPDX-License-Identifier: MIT
"""Conformance of the WebSocket layer, by RFC 6455 and RFC 7692, in the order in which the well-known suites ask: framing,
pings, reserved bits, opcodes, fragmentation, UTF-8, closing, limits, compression; then sockets under load."""
import json
import os
import random
import struct
import threading
import time
import zlib
from signal import SIGKILL

import psutil
import pytest

from conftest import Server, wait_until
from rawws import BINARY, CLOSE, CONT, DEFLATE, PING, PONG, TEXT, Closed, Raw, deflated, frame, inflated
from talk import create, wait_end

MAX = 16 << 20


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    s = Server(tmp_path_factory.mktemp("echo"), {
        "server": {"workers": 1}, "websocket": {"echo": True, "max_message": MAX, "queue_bytes": 1 << 20}})
    s.start()
    yield s
    s.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The usual message limit, short timers, two workers."""
    s = Server(tmp_path_factory.mktemp("small"), {
        "server": {"workers": 2},
        "websocket": {"echo": True, "ping_interval": "300ms", "heartbeat": "200ms", "message_rate": 0}})
    s.start()
    yield s
    s.close()


def memory(server):
    """Resident bytes of the workers, now."""
    return sum(psutil.Process(w["pid"]).memory_info().rss for w in server.workers())


def fails(server, data, code=1002, headers=None, step=0):
    with Raw(server.port, headers=headers) as k:
        k.raw(data, step)
        assert k.closed() == code, data[:40]


# ---- 0: the opening handshake ----

@pytest.mark.parametrize("headers, status", [
    ({"Upgrade": None}, 426), ({"Connection": "keep-alive"}, 426), ({"Sec-WebSocket-Version": "8"}, 426),
    ({"Sec-WebSocket-Version": None}, 426), ({"Sec-WebSocket-Key": None}, 400), ({"Sec-WebSocket-Key": "short"}, 400),
    ({"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAAA*"}, 400), ({"Origin": "http://evil.example"}, 403),
    ({"Content-Length": "0"}, None), ({"Upgrade": "WebSocket", "Connection": "keep-alive, Upgrade"}, 101),
])
def test_handshake(echo, headers, status):
    with Raw(echo.port, headers=headers, expect=status) as k:
        if status == 426:
            assert k.headers["sec-websocket-version"] == "13"


def test_handshake_key(echo):
    """The example of RFC 6455 1.3."""
    with Raw(echo.port, headers={"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}) as k:
        assert k.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert k.headers["upgrade"].lower() == "websocket" and k.headers["connection"].lower() == "upgrade"
        assert k.extensions is None


def test_frames_behind_the_handshake(echo):
    """What is sent before the answer has come is not lost."""
    with Raw(echo.port) as k:
        k.s.close()
    import socket
    with socket.create_connection(("127.0.0.1", echo.port)) as s:
        s.settimeout(20)
        s.sendall(b"GET /ws/echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" + frame(TEXT, b"early"))
        data = b""
        while not data.endswith(b"\x81\x05early"):
            part = s.recv(65536)
            assert part, data
            data += part


def test_echo_is_off_by_default(make_server):
    s = make_server({"server": {"workers": 1}})
    for path in ("/ws/echo", "/ws/echo/room"):
        with Raw(s.port, path, expect=404):
            pass


# ---- 1: framing ----

SIZES = [0, 1, 125, 126, 127, 128, 65535, 65536, 65537, 300000]


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", SIZES)
def test_framing(echo, opcode, size):
    body = bytes(random.Random(size).choices(range(32, 127), k=size)) if opcode == TEXT else random.Random(size).randbytes(size)
    with Raw(echo.port) as k:
        k.send(opcode, body)
        assert k.recv() == (opcode, True, 0, body)
        k.raw(frame(opcode, body), step=997)
        assert k.recv() == (opcode, True, 0, body)
        if size < 1000:
            k.raw(frame(opcode, body), step=1)
            assert k.recv() == (opcode, True, 0, body)


def test_unmasked_frames_are_refused(echo):
    fails(echo, frame(TEXT, b"hello", mask=False))
    fails(echo, frame(PING, b"", mask=False))


@pytest.mark.parametrize("data", [frame(BINARY, b"x" * 125, length=16), frame(BINARY, b"x", length=64),
                                  frame(BINARY, b"x" * 65535, length=64), b"\x82\xff\x80" + b"\0" * 11])
def test_lengths_must_be_shortest(echo, data):
    fails(echo, data)


def test_masks(echo):
    with Raw(echo.port) as k:
        for key in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\1\2\3\4"):
            for n in range(20):
                k.send(BINARY, bytes(range(n)), key=key)
                assert k.recv() == (BINARY, True, 0, bytes(range(n)))


# ---- 2: pings ----

@pytest.mark.parametrize("size", [0, 1, 5, 125])
def test_pings(echo, size):
    body = os.urandom(size)
    with Raw(echo.port) as k:
        k.send(PING, body)
        assert k.recv() == (PONG, True, 0, body)
        k.raw(frame(PING, body), step=1)
        assert k.recv() == (PONG, True, 0, body)


def test_ping_of_126_bytes(echo):
    fails(echo, frame(PING, b"x" * 126))


def test_pongs_that_nobody_asked_for(echo):
    with Raw(echo.port) as k:
        k.send(PONG)
        k.send(PONG, b"unasked")
        k.alive()


def test_ten_pings_in_order(echo):
    with Raw(echo.port) as k:
        k.raw(b"".join(frame(PING, b"%d" % i) for i in range(10)))
        assert [k.recv()[3] for _ in range(10)] == [b"%d" % i for i in range(10)]


def test_server_pings_and_misses_the_pong(small):
    with Raw(small.port) as k:
        for _ in range(3):
            assert k.recv() == (PING, True, 0, b"")
            k.send(PONG)
        assert k.recv()[0] == PING
        start = time.monotonic()
        assert k.closed() == 1011
        assert 8 < time.monotonic() - start < 15


# ---- 3: reserved bits ----

@pytest.mark.parametrize("rsv", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG, CLOSE])
def test_reserved_bits(echo, rsv, opcode):
    fails(echo, frame(opcode, b"", rsv=rsv))


def test_reserved_bit_after_good_ones(echo):
    with Raw(echo.port) as k:
        k.raw(frame(TEXT, b"one") + frame(TEXT, b"two", rsv=2) + frame(TEXT, b"three"))
        assert k.recv() == (TEXT, True, 0, b"one")
        assert k.closed() == 1002


# ---- 4: opcodes ----

@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("body", [b"", b"reserved"])
def test_reserved_opcodes(echo, opcode, body):
    fails(echo, frame(opcode, body))


# ---- 5: fragmentation ----

@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_control_frames_are_not_fragmented(echo, opcode):
    fails(echo, frame(opcode, b"", fin=False) + frame(CONT, b""))


@pytest.mark.parametrize("step", [0, 1])
def test_fragments(echo, step):
    with Raw(echo.port) as k:
        k.raw(frame(TEXT, b"frag", fin=False) + frame(CONT, b"ment"), step)
        assert k.recv() == (TEXT, True, 0, b"fragment")
        k.raw(frame(TEXT, b"", fin=False) + frame(CONT, b"", fin=False) + frame(CONT, b""), step)
        assert k.recv() == (TEXT, True, 0, b"")
        k.raw(frame(TEXT, b"", fin=False) + frame(CONT, b"middle", fin=False) + frame(CONT, b""), step)
        assert k.recv() == (TEXT, True, 0, b"middle")
        k.raw(frame(BINARY, b"a", fin=False) + b"".join(frame(CONT, b"b", fin=False) for _ in range(500)) + frame(CONT, b"c"), step)
        assert k.recv() == (BINARY, True, 0, b"a" + b"b" * 500 + b"c")


def test_control_frames_between_fragments(echo):
    with Raw(echo.port) as k:
        k.send(TEXT, b"one ", fin=False)
        k.send(PING, b"now")
        assert k.recv() == (PONG, True, 0, b"now")
        k.send(PONG, b"")
        k.send(CONT, b"two ", fin=False)
        k.send(PING, b"again")
        assert k.recv() == (PONG, True, 0, b"again")
        k.send(CONT, b"three")
        assert k.recv() == (TEXT, True, 0, b"one two three")


def test_close_between_fragments(echo):
    with Raw(echo.port) as k:
        k.raw(frame(TEXT, b"never ", fin=False) + frame(CLOSE, struct.pack(">H", 1000)))
        assert k.closed() == 1000


@pytest.mark.parametrize("data", [
    frame(CONT, b"nothing before"), frame(CONT, b"", fin=False), frame(TEXT, b"whole") + frame(CONT, b"x"),
    frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), frame(TEXT, b"a", fin=False) + frame(BINARY, b"b", fin=False),
    frame(BINARY, b"a", fin=False) + frame(TEXT, b"b")])
def test_fragments_out_of_order(echo, data):
    fails(echo, data)
    fails(echo, data, step=1)


# ---- 6: UTF-8 ----

GOOD = ["κόσμε", "\u0000", "\u0080", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\ufffd", "\uffff", "\U00010000", "\U0010ffff",
        "Hello-µ@ßöäüàá-UTF-8!!", "\U0001f600" * 50]
BAD = [b"\x80", b"\xbf", b"\xc0\x80", b"\xc0\xaf", b"\xc1\xbf", b"\xe0\x80\x80", b"\xe0\x9f\xbf", b"\xed\xa0\x80", b"\xed\xbf\xbf",
       b"\xed\xa0\x80\xed\xb0\x80", b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80",
       b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80", b"\xfe", b"\xff", b"\xc3(", b"\xe2\x28\xa1", b"\xe2\x82\x28",
       b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"]
CUT = [b"\xc2", b"\xe0\xa0", b"\xe2\x82", b"\xf0\x90\x80", b"\xf4\x8f", "κόσμε".encode()[:-1]]


@pytest.mark.parametrize("text", GOOD)
def test_utf8(echo, text):
    body = text.encode()
    with Raw(echo.port) as k:
        k.send(TEXT, body)
        assert k.recv() == (TEXT, True, 0, body)
        for cut in range(len(body) + 1) if len(body) < 40 else (1, 2, 3, 101):  # anywhere, also inside a character
            k.raw(frame(TEXT, body[:cut], fin=False) + frame(CONT, body[cut:]))
            assert k.recv() == (TEXT, True, 0, body)


@pytest.mark.parametrize("body", BAD + CUT)
def test_bad_utf8(echo, body):
    fails(echo, frame(TEXT, body), 1007)
    fails(echo, frame(TEXT, b"good text before " + body), 1007)
    if len(body) > 1:
        fails(echo, frame(TEXT, body[:1], fin=False) + frame(CONT, body[1:]), 1007)
    with Raw(echo.port) as k:
        k.send(BINARY, body)
        assert k.recv() == (BINARY, True, 0, body)


@pytest.mark.parametrize("body", BAD)
def test_bad_utf8_fails_at_once(echo, body):
    """Neither the end of the frame nor that of the message is waited for."""
    with Raw(echo.port) as k:
        k.send(TEXT, body, fin=False)
        assert k.closed() == 1007
    with Raw(echo.port) as k:
        whole = frame(TEXT, body + b"x" * 1000)
        k.raw(whole[:len(whole) - 990])
        assert k.closed() == 1007


# ---- 7: closing ----

@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999])
def test_close_codes(echo, code):
    fails(echo, frame(CLOSE, struct.pack(">H", code)), code)
    fails(echo, frame(CLOSE, struct.pack(">H", code) + b"reason"), code)


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_bad_close_codes(echo, code):
    fails(echo, frame(CLOSE, struct.pack(">H", code)), 1002)


def test_close_payloads(echo):
    fails(echo, frame(CLOSE), None)
    fails(echo, frame(CLOSE, b"\x03"), 1002)
    fails(echo, frame(CLOSE, struct.pack(">H", 1000) + b"x" * 123), 1000)
    fails(echo, frame(CLOSE, struct.pack(">H", 1000) + b"x" * 124), 1002)
    fails(echo, frame(CLOSE, struct.pack(">H", 1000) + b"\xff\xfe"), 1007)
    fails(echo, frame(CLOSE, struct.pack(">H", 1000) + b"\xe2\x82"), 1007)


def test_nothing_counts_after_a_close(echo):
    with Raw(echo.port) as k:
        k.raw(frame(CLOSE, struct.pack(">H", 1000)) + frame(TEXT, b"late") + frame(PING, b"late"))
        assert k.recv() == (CLOSE, True, 0, struct.pack(">H", 1000))
        with pytest.raises(Closed):
            k.recv()


def test_echoes_before_a_close_still_come(echo):
    with Raw(echo.port) as k:
        k.raw(frame(TEXT, b"first") + frame(BINARY, b"x" * 200000) + frame(CLOSE))
        assert k.recv() == (TEXT, True, 0, b"first")
        assert k.recv() == (BINARY, True, 0, b"x" * 200000)
        assert k.closed() is None


def test_close_by_the_server_is_answered_or_timed_out(small):
    """A refused socket: after the server's close a client that answers is gone at once, a silent one soon."""
    for answers in (True, False):
        with Raw(small.port, "/ws/echo/room") as k:
            k.send(BINARY, b"a room takes texts")
            opcode = None
            while opcode != CLOSE:  # pings may come before
                opcode, _, _, payload = k.recv()
            assert payload[:2] == struct.pack(">H", 1003)
            start = time.monotonic()
            if answers:
                k.send(CLOSE, payload)
            with pytest.raises(Closed):
                k.recv()
            assert (time.monotonic() - start < 3) if answers else (3 < time.monotonic() - start < 12)


def test_hang_ups(echo):
    """Clients that vanish at any point of a frame leave nothing behind."""
    whole = frame(TEXT, b"hello", fin=False) + frame(PING, b"x") + frame(CONT, b"there")
    for cut in range(len(whole) + 1):
        with Raw(echo.port) as k:
            k.raw(whole[:cut])
    with Raw(echo.port) as k:
        k.alive()


# ---- 9 and 10: sizes and limits ----

@pytest.mark.parametrize("size", [1 << 20, 4 << 20, MAX])
def test_large_messages(echo, size):
    body = os.urandom(1 << 16) * (size >> 16)
    text = b"0123456789abcdef" * (size >> 4)
    with Raw(echo.port, timeout=60) as k:
        for opcode, b in ((BINARY, body), (TEXT, text)):
            sender = threading.Thread(target=k.send, args=(opcode, b))
            sender.start()
            got = k.recv()
            sender.join()
            assert got[:3] == (opcode, True, 0) and got[3] == b


def test_large_message_in_small_fragments(echo):
    body = os.urandom(1 << 20)
    parts = [body[i:i + 1024] for i in range(0, len(body), 1024)]
    with Raw(echo.port, timeout=60) as k:
        k.raw(b"".join(frame(BINARY if i == 0 else CONT, p, fin=i == len(parts) - 1) for i, p in enumerate(parts)))
        assert k.recv()[3] == body


def test_too_large(echo, small):
    for server, limit in ((echo, MAX), (small, 65536)):
        fails(server, b"\x82\xff" + struct.pack(">Q", limit + 1) + b"\1\2\3\4", 1009)
    with Raw(small.port) as k:
        k.send(BINARY, b"x" * 65536)
        assert k.message() == (BINARY, b"x" * 65536)
    fails(small, frame(BINARY, b"x" * 65537), 1009)
    fails(small, frame(BINARY, b"x" * 40000, fin=False) + frame(CONT, b"x" * 40000), 1009)
    fails(small, frame(TEXT, b"x" * 65536, fin=False) + frame(CONT, b"x"), 1009)


def test_many_messages_without_reading(echo):
    """A client that sends and sends before it reads: nothing is lost, and the server does not keep it all in memory."""
    body = os.urandom(50000)
    rss = memory(echo)
    with Raw(echo.port, timeout=60, rcvbuf=65536) as k:
        sender = threading.Thread(target=k.raw, args=(frame(BINARY, body) * 3000,))
        sender.start()
        time.sleep(1.5)
        grown = memory(echo) - rss
        for _ in range(3000):
            assert k.message() == (BINARY, body)
        sender.join()
    assert grown < 100 << 20, grown  # of 150 MB sent; the sanitizer keeps what is freed for a while


# ---- 12 and 13: compression ----

def compressed(server, offer=DEFLATE, **kw):
    return Raw(server.port, headers={"Sec-WebSocket-Extensions": offer}, **kw)


BOTH = DEFLATE + "; server_no_context_takeover; client_no_context_takeover"


@pytest.mark.parametrize("offer, answer", [
    (DEFLATE, BOTH),
    (DEFLATE + "; client_max_window_bits", BOTH),
    (DEFLATE + "; client_max_window_bits=12", BOTH + "; client_max_window_bits=12"),
    (DEFLATE + "; server_max_window_bits=9", BOTH + "; server_max_window_bits=9"),
    (DEFLATE + '; server_max_window_bits="10"; client_max_window_bits="8"',
     BOTH + "; server_max_window_bits=10; client_max_window_bits=8"),
    (DEFLATE + "; server_no_context_takeover; client_no_context_takeover", BOTH),
    (DEFLATE + "; server_max_window_bits=20, " + DEFLATE + "; server_max_window_bits=11", BOTH + "; server_max_window_bits=11"),
    ("x-unknown, " + DEFLATE, BOTH),
    (DEFLATE + "; unknown", None), (DEFLATE + "; server_max_window_bits", None), (DEFLATE + "; server_max_window_bits=7", None),
    (DEFLATE + "; client_max_window_bits=16", None), (DEFLATE + "; server_no_context_takeover=1", None),
    (DEFLATE + "; client_no_context_takeover; client_no_context_takeover", None), ("permessage-bzip2", None), ("", None),
])
def test_negotiation(echo, offer, answer):
    with compressed(echo, offer) as k:
        assert k.extensions == answer
        k.send(TEXT, b"plain is always allowed")
        assert k.recv() == (TEXT, True, 0, b"plain is always allowed")


TALK = json.dumps([{"type": "agent_message", "agent": "agent-%d" % (i % 4), "data": {"content": "words and words " * 3}}
                   for i in range(4000)]).encode()


@pytest.mark.parametrize("bits", range(8, 16))
@pytest.mark.parametrize("size", [16, 1023, 1024, 4096, 65536, 131072])
def test_compressed_echo(echo, bits, size):
    body = TALK[:size]
    with compressed(echo, DEFLATE + "; server_max_window_bits=%d; client_max_window_bits=%d" % (bits, bits)) as k:
        for _ in range(3):  # each message stands alone
            k.send(TEXT, deflated(body, max(bits, 9)), rsv=4)
            opcode, fin, rsv, payload = k.recv()
            assert (opcode, fin) == (TEXT, True)
            assert rsv == (4 if size >= 1024 else 0), "short ones are not worth it"
            if rsv:
                assert len(payload) < size and inflated(payload, max(bits, 9)) == body
            else:
                assert payload == body


def test_compressed_only_when_it_helps(echo):
    noise = os.urandom(20000)
    with compressed(echo) as k:
        k.send(BINARY, deflated(noise), rsv=4)
        assert k.recv() == (BINARY, True, 0, noise)
        k.send(BINARY, noise)
        assert k.recv() == (BINARY, True, 0, noise)


def test_compressed_fragments(echo):
    body = TALK[:50000]
    packed = deflated(body)
    with compressed(echo) as k:
        for step in (1, 7, 1000, len(packed)):
            parts = [packed[i:i + step] for i in range(0, len(packed), step)]
            data = b"".join(frame(TEXT if i == 0 else CONT, p, fin=False, rsv=4 if i == 0 else 0) for i, p in enumerate(parts))
            k.raw(data + frame(PING, b"between") + frame(CONT))
            assert k.recv() == (PONG, True, 0, b"between")
            assert k.message() == (TEXT, body)
        k.raw(frame(TEXT, packed, rsv=4), step=13)
        assert k.message() == (TEXT, body)


def test_forms_of_deflate(echo):
    """Every kind of block: stored, fixed, final ones, several, none."""
    stored = zlib.compressobj(0, zlib.DEFLATED, -15)
    forms = [b"\xf2\x48\xcd\xc9\xc9\x07\x00", b"\x00\x05\x00\xfa\xffHello\x00", b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
             b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
             (stored.compress(b"Hello") + stored.flush(zlib.Z_SYNC_FLUSH))[:-4]]
    with compressed(echo) as k:
        for form in forms:
            k.send(TEXT, form, rsv=4)
            assert k.recv() == (TEXT, True, 0, b"Hello"), form
        k.send(TEXT, b"\x00", rsv=4)
        assert k.recv() == (TEXT, True, 0, b"")


@pytest.mark.parametrize("data, code", [
    (frame(PING, b"", rsv=4), 1002), (frame(CLOSE, b"", rsv=4), 1002), (frame(TEXT, b"", rsv=2), 1002),
    (frame(TEXT, b"", rsv=6), 1002), (frame(TEXT, b"", rsv=1), 1002),
    (frame(TEXT, b"a", fin=False) + frame(CONT, b"b", rsv=4), 1002),
    (frame(TEXT, deflated(b"a"), fin=False, rsv=4) + frame(CONT, b"b", rsv=4), 1002),
    (frame(TEXT, b"\xff\xff\xff", rsv=4), 1007), (frame(TEXT, b"not deflate at all", rsv=4), 1007),
    (frame(TEXT, deflated(b"x" * 100)[:4], rsv=4), 1007),
    (frame(TEXT, deflated(TALK[:5000])[:-20], rsv=4), 1007),
    (frame(TEXT, deflated(b"bad \xff text"), rsv=4), 1007), (frame(TEXT, deflated("ä".encode()[:1]), rsv=4), 1007),
])
def test_compression_violations(echo, data, code):
    fails(echo, data, code, {"Sec-WebSocket-Extensions": DEFLATE})


def test_bad_utf8_in_compressed_fragments_fails_at_once(echo):
    packed = deflated(b"good " * 1000 + b"\xff" + os.urandom(20000).hex().encode())
    with compressed(echo) as k:
        k.send(TEXT, packed[:4000], rsv=4, fin=False)
        assert k.closed() == 1007


def test_characters_across_compressed_fragments(echo):
    body = ("\U0001f600κόσμε" * 40).encode()
    z = zlib.compressobj(6, zlib.DEFLATED, -15)
    parts = [z.compress(bytes([b])) + z.flush(zlib.Z_SYNC_FLUSH) for b in body]
    parts[-1] = parts[-1][:-4]
    with compressed(echo) as k:
        k.raw(b"".join(frame(TEXT if i == 0 else CONT, p, fin=i == len(parts) - 1, rsv=4 if i == 0 else 0)
                       for i, p in enumerate(parts)))
        assert k.message() == (TEXT, body)


def test_bombs(small):
    """A few KiB that unpack to 64 MiB, by one layer, in fragments, and as blocks without content that never end."""
    bomb = deflated(b"\0" * (64 << 20), level=9)
    rss = memory(small)
    for _ in range(20):
        with compressed(small) as k:
            k.send(BINARY, bomb[:65000], rsv=4)
            assert k.closed() == 1009
        with compressed(small) as k:
            k.raw(frame(BINARY, bomb[:100], rsv=4, fin=False) + frame(CONT, bomb[100:60000]))
            assert k.closed() == 1009
    with compressed(small) as k:
        k.raw(frame(BINARY, b"\0\0\0\xff\xff" * 10000, rsv=4, fin=False) + frame(CONT, b"\0\0\0\xff\xff" * 10000))
        assert k.closed() == 1009
    assert memory(small) - rss < 40 << 20
    with compressed(small) as k:
        k.send(BINARY, deflated(b"\0" * 65536), rsv=4)
        assert k.message() == (BINARY, b"\0" * 65536)
    fails(small, frame(BINARY, deflated(b"\0" * 65537), rsv=4), 1009, {"Sec-WebSocket-Extensions": DEFLATE})


def test_many_compressed_messages(echo):
    with compressed(echo, timeout=60) as k:
        rng = random.Random(1)
        for _ in range(300):
            at = rng.randrange(len(TALK) - 70000)
            body = TALK[at:at + rng.choice([10, 500, 2000, 60000])]
            k.send(TEXT, deflated(body), rsv=rng.choice([4]))
            assert k.message() == (TEXT, body)


# ---- a library's client ----

def test_library_client(echo):
    websockets = pytest.importorskip("websockets")
    import asyncio

    async def main():
        async with websockets.connect("ws://127.0.0.1:%d/ws/echo" % echo.port, max_size=None) as k:
            assert [type(x).__name__ for x in k.extensions] == ["PerMessageDeflate"]
            for body in ("text", TALK.decode(), b"binary" * 1000, ""):
                await k.send(body)
                assert await k.recv() == body
            await k.send([TALK[:1000].decode(), TALK[1000:3000].decode()])
            assert await k.recv() == TALK[:3000].decode()
    asyncio.run(main())


# ---- the debate's sockets ----

def frames(k, wanted, limit=500):
    """JSON frames up to one that satisfies wanted(frame)."""
    for _ in range(limit):
        opcode, _, rsv, payload = k.recv()
        if opcode == PING:
            k.send(PONG, payload)
        elif opcode == TEXT:
            f = json.loads(inflated(payload) if rsv else payload)
            yield f
            if wanted(f):
                return
    pytest.fail("not seen in %d frames" % limit)


def last(k, wanted):
    return list(frames(k, wanted))[-1]


def kind(*types):
    return lambda f: f["type"] in types


def test_events_are_compressed_and_the_same(small):
    i = create(small)
    wait_end(small, i)
    with Raw(small.port, "/ws?debate_id=%s&after_seq=0" % i) as a, \
            Raw(small.port, "/ws?debate_id=%s&after_seq=0" % i, {"Sec-WebSocket-Extensions": DEFLATE}) as b:
        plain, packed = [[f for f in frames(k, kind("replay_end")) if f.get("seq")] for k in (a, b)]
    assert plain == packed and plain[-1]["type"] == "debate_end"
    with Raw(small.port, "/ws?debate_id=" + i, {"Sec-WebSocket-Extensions": DEFLATE}) as k:
        seen = []
        while not seen or not seen[-1]:
            opcode, _, rsv, payload = k.recv()
            if opcode == TEXT and b'"debate_end"' in (inflated(payload) if rsv else payload):
                break
            seen.append(rsv == 4 and len(payload) < len(inflated(payload)))
        assert any(seen)


def test_heartbeat(small):
    with Raw(small.port, "/ws") as a, Raw(small.port, "/ws", {"Sec-WebSocket-Extensions": DEFLATE}) as b:
        start = time.monotonic()
        for k in (a, b):
            beats = [f for f in frames(k, lambda f, n=[0]: f["type"] == "heartbeat" and (n.append(1) or len(n) > 3))
                     if f["type"] == "heartbeat"]
            assert len(beats) >= 3 and all(x["data"]["connected_clients"] >= 1 for x in beats)
        assert time.monotonic() - start < 10


def stats(server):
    r = server.get("/api/ws/stats")
    assert r.status_code == 200, r.text
    return r.json()


def test_stats(small):
    before = stats(small)
    names = {"connections", "active_connections", "clients", "authenticated_clients", "subscriptions", "debate_states", "active_loops",
             "rate_limiters", "client_ids", "auth_states", "messages_sent", "messages_received", "running", "dropped", "lagging",
             "lagged", "workers"}
    assert names <= set(before) and before["running"] is True
    assert len(before["workers"]) == 2
    i = create(small)
    wait_end(small, i)
    with Raw(small.port, "/ws?debate_id=" + i) as a, Raw(small.port, "/ws") as b, Raw(small.port) as c:
        last(a, lambda f: f["type"] == "debate_end")
        last(b, kind("loop_list"))
        c.send(TEXT, b"one")
        while c.recv()[0] != TEXT:
            pass
        now = wait_until(lambda: (n := stats(small))["connections"] == 3 and n, what="three sockets counted")
        assert now["authenticated_clients"] == 2 and now["subscription_count"] == 1
        # The echo socket has no client id, and nothing limits its rate.
        assert now["client_ids"] == now["auth_states"] == 2
        assert now["rate_limiters"] == (2 if small.config["websocket"].get("message_rate", 10) else 0)
        assert now["messages_received"] - before["messages_received"] >= 1
        assert now["messages_sent"] - before["messages_sent"] >= 5
        for name in ("connections", "messages_sent", "messages_received", "authenticated_clients", "dropped", "lagged"):
            assert now[name] == sum(w[name] for w in now["workers"]), name
        assert wait_until(lambda: stats(small)["subscriptions"] == {i: 1}, what="the worker that has it answers")
    assert wait_until(lambda: stats(small)["connections"] == 0, what="no sockets left") is True


def test_stats_are_right_again_after_a_death(make_server):
    """Sockets come and go at four workers, one of which is killed: what is shown is what there is."""
    s = make_server({"server": {"workers": 4}})
    s.wait_workers(4)
    kept = [Raw(s.port, "/ws") for _ in range(24)]
    for k in kept[::2]:
        k.s.close()
    kept = kept[1::2]
    wait_until(lambda: stats(s)["connections"] == stats(s)["client_ids"] == 12, what="twelve sockets shown")
    victim = max(stats(s)["workers"], key=lambda w: w["connections"])
    assert 0 < victim["connections"] < 12
    os.kill(victim["pid"], SIGKILL)
    left = 12 - victim["connections"]
    wait_until(lambda: (n := stats(s))["connections"] == n["client_ids"] == left and len(n["workers"]) == 4, what="the others shown")
    for k in kept:
        k.s.close()
    wait_until(lambda: (n := stats(s))["connections"] == n["client_ids"] == n["authenticated_clients"] == 0, what="none shown")


# ---- rooms: a broadcast reaches all workers ----

def test_room_across_workers(small):
    sockets = [Raw(small.port, "/ws/echo/all") for _ in range(20)]
    try:
        wait_until(lambda: all(w["connections"] > 0 for w in stats(small)["workers"]), 5, "both workers have some")
        for n, k in enumerate(sockets):
            k.send(TEXT, b"from %d" % n)
        for k in sockets:
            got = set()
            while len(got) < 20:
                opcode, _, _, payload = k.recv()
                if opcode == TEXT:
                    got.add(payload)
                elif opcode == PING:
                    k.send(PONG)
            assert got == {b"from %d" % n for n in range(20)}
    finally:
        for k in sockets:
            k.s.close()


# ---- slow readers ----

@pytest.fixture
def narrow(make_server):
    return make_server({"server": {"workers": 1, "write_timeout": "60s"},
                        "websocket": {"echo": True, "queue_bytes": 65536, "lag_timeout": "2s", "message_rate": 0}})


def test_slow_reader_slows_nobody(narrow):
    """One in a room reads nothing. The others' latency stays as it was, and what it misses was never queued."""
    def latencies(k, n):
        out = []
        for i in range(n):
            start = time.monotonic()
            k.send(TEXT, b"%04d" % i + b"x" * 4000)
            while k.recv()[3][:4] != b"%04d" % i:
                pass
            out.append(time.monotonic() - start)
        return sorted(out)
    with Raw(narrow.port, "/ws/echo/r") as a:
        latencies(a, 50)
        alone = latencies(a, 300)
    with Raw(narrow.port, "/ws/echo/r") as a, Raw(narrow.port, "/ws/echo/r", rcvbuf=4096) as slow:
        crowded = latencies(a, 2000)  # 8 MB, more than kernel and queue hold
        assert slow is not None
    assert crowded[1000] < 3 * alone[150] + 0.002, (alone[150], crowded[1000])
    assert crowded[1980] < 3 * alone[297] + 0.01, (alone[297], crowded[1980])


# ---- the token in the first message ----

TOKEN = "first-message-token-of-more-than-thirty-two-characters"


def test_first_message_authenticates(make_server):
    s = make_server({"server": {"workers": 1}, "auth": {"api_token": TOKEN}, "websocket": {"heartbeat": "100ms"}})
    auth = {"Authorization": "Bearer " + TOKEN}
    i = s.post("/api/debates", {"task": "Is it so?", "rounds": 1}, headers=auth).json()["id"]
    with Raw(s.port, "/ws/" + i) as k:
        first = last(k, kind("connection_info"))["data"]
        assert first["authenticated"] is False and first["auth_required"] is True
        k.send(TEXT, json.dumps({"type": "subscribe", "debate_id": i}).encode())
        refused = last(k, lambda f: True)
        assert refused["type"] == "error" and refused["data"]["code"] == 401
        time.sleep(0.5)  # neither heartbeats nor events come to a stranger
        k.send(TEXT, json.dumps({"type": "auth", "token": TOKEN}).encode())
        assert last(k, lambda f: True)["type"] == "auth"
        seen = [f["type"] for f in frames(k, kind("debate_end"))]
        assert "loop_list" in seen and "subscribed" in seen
    for bad in ("wrong", "", 7, None):
        with Raw(s.port, "/ws") as k:
            last(k, kind("connection_info"))
            k.send(TEXT, json.dumps({"type": "auth", "token": bad}).encode())
            assert last(k, lambda f: True)["data"]["code"] == 401
            assert k.closed(answer=True) == 4401
    with Raw(s.port, "/ws?token=wrong", expect=401):
        pass
    with Raw(s.port, "/ws") as k:
        start = time.monotonic()
        assert k.closed() == 4401
        assert 8 < time.monotonic() - start < 25  # ten seconds, and five for an answer to the close
    assert s.get("/api/ws/stats").status_code == 401
    assert s.get("/api/ws/stats", headers=auth).json()["authenticated_clients"] == 0
    assert TOKEN not in s.log() + s.access_path.read_text()
