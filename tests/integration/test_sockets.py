# SPDX-License-Identifier: MIT
"""WebSockets as such: greeting, heartbeat, bad messages, limits, origins, authentication."""
import asyncio
import json
import re
import time
from collections import Counter

import pytest
import websockets

from conftest import Server, wait_until
from talk import TASK, call, create, run, socket, wait_end, wait_status


@pytest.fixture(scope="module")
def tight(tmp_path_factory):
    """Small limits."""
    s = Server(tmp_path_factory.mktemp("tight"), {
        "server": {"workers": 1}, "limits": {"exempt": ["10.0.0.0/8"]},
        "websocket": {"message_rate": 10, "message_burst": 20, "max_per_ip": 3, "connection_rate": 0, "max_message": 65536}})
    s.start()
    yield s
    s.close()


# ---- greeting, ping, heartbeat, bad messages ----

def test_greeting(live):
    async def main():
        async with socket(live, subprotocols=["access_token.whatever", "aragora-v1"]) as k:
            assert k.ws.subprotocol == "aragora-v1"
            info, loops = await k.next(), await k.next()
            await k.send(type="ping", ts=12345)
            pong = await k.until("pong")
            await k.send(action="get_loops")
            again = await k.until("loop_list")
            await k.send(type="no_such_type")
            await (await k.ws.ping())
            beat = await k.until("heartbeat", 5)
            return info, loops, pong, again, beat, k.frames
    info, loops, pong, again, beat, frames = run(main())
    assert info["type"] == "connection_info" and info["data"]["client_id"] and info["data"]["authenticated"] is True
    assert loops["type"] == "loop_list" and loops["loops"] == loops["data"]["loops"] and loops["count"] == len(loops["loops"])
    assert pong["data"]["client_ts"] == 12345 and abs(pong["data"]["server_ts"] / 1000 - time.time()) < 60
    assert abs(pong["timestamp"] - time.time()) < 60
    assert again["count"] == len(again["loops"])
    assert beat["data"]["connected_clients"] >= 1 and beat["data"]["server_time"] > 0
    assert "error" not in [f["type"] for f in frames]


def test_running_debates_are_loops(live):
    async def main():
        i = create(live)
        await call(wait_status, live, i, "running")
        async with socket(live) as k:
            loops = await k.until("loop_list")
        await call(wait_end, live, i)
        return i, loops
    i, loops = run(main())
    mine = [x for x in loops["loops"] if x["loop_id"] == i]
    assert len(mine) == 1 and mine[0]["name"] == TASK and mine[0]["started_at"] > 0


@pytest.mark.parametrize("text", ["{bad", "[1]", "null", "5", '"x"', "{}", "[" * 200, '{"type":5}', '{"type":"subscribe"}',
                                  '{"type":"subscribe","debate_id":5}', '{"type":"subscribe","debate_ids":[1,null]}',
                                  '{"type":"subscribe","debate_id":""}'])
def test_bad_message_is_answered_and_the_socket_stays(live, text):
    async def main():
        async with socket(live) as k:
            await k.ready()
            await k.ws.send(text)
            await k.send(type="ping")
            await k.until("pong")
            return k.frames
    errors = [f for f in run(main()) if f["type"] == "error"]
    if text == '{"type":"subscribe","debate_ids":[1,null]}':
        return  # nothing in it to subscribe to
    assert len(errors) == 1
    assert errors[0]["data"]["error_category"] == "validation" and errors[0]["data"]["message"] and errors[0]["data"]["code"] == 400


def test_binary_message_is_refused(live):
    async def main():
        async with socket(live) as k:
            await k.ready()
            await k.ws.send(b"\x00\x01")
            return await k.until("error")
    assert run(main())["data"]["error_type"] == "binary_not_supported"


def test_five_bad_messages_close(live):
    async def main(n, between):
        async with socket(live) as k:
            await k.ready()
            for i in range(n):
                await k.ws.send("{bad")
                if between:
                    await k.send(type="ping")
            if between:
                for _ in range(n):
                    await k.until("pong")
                return None
            return await k.closed(5)
    assert run(main(5, False)) == 1003
    assert run(main(8, True)) is None  # only in a row


def test_message_too_big(live):
    async def main(size):
        async with socket(live) as k:
            await k.ready()
            message = json.dumps({"type": "ping", "ts": 1, "pad": ""})
            await k.ws.send(message[:-2] + "x" * (size - len(message)) + '"}')
            try:
                await k.until("pong", 10)
                return None
            except websockets.ConnectionClosed:
                return k.ws.close_code
    assert run(main(65536)) is None
    assert run(main(65537)) == 1009


def test_message_rate(tight):
    async def main():
        async with socket(tight) as k:
            await k.ready()
            for _ in range(60):
                await k.send(type="ping")
            await k.until(lambda f: f["type"] == "error")
            await k.quiet(0.5)
            counted = Counter(f["type"] for f in k.frames)
            error = next(f for f in k.frames if f["type"] == "error")
            await asyncio.sleep(0.5)
            await k.send(type="ping")
            await k.until("pong")  # it stays, and may speak again
            return counted, error
    counted, error = run(main())
    assert error["data"]["code"] == 429
    assert 20 <= counted["pong"] < 30 and counted["pong"] + counted["error"] == 60
    said = [x for x in tight.log_lines() if "rate_limit" in x.get("message", "")]
    assert len(said) == 1 and said[0]["status"] == 429


def test_messages_are_counted_once(tight):
    def counted():
        found = re.findall(r'^aragora_websocket_messages_total\{direction="(in|out)"\} (\S+)$', tight.get("/metrics").text, re.M)
        return {way: float(n) for way, n in found}

    async def main():
        async with socket(tight) as k:
            await k.ready()
            before = await call(counted)
            for _ in range(5):
                await k.send(type="ping")
                await k.until("pong")
            after = await call(counted)
            return {way: after[way] - before[way] for way in after}
    assert run(main()) == {"in": 5, "out": 5}


def test_sockets_per_address(tight):
    async def main():
        open_ones = [socket(tight) for _ in range(3)]
        for k in open_ones:
            await k.__aenter__()
            await k.ready()
        fourth = socket(tight)
        try:
            async with fourth:
                code = await fourth.closed(5)
        except websockets.InvalidStatusCode as e:
            code = e.status_code
        for k in open_ones:
            await k.__aexit__(None, None, None)

        async def again():
            async with socket(tight) as k:
                try:
                    await k.ready()
                    return True
                except websockets.ConnectionClosed:
                    return False
        for _ in range(100):
            if await again():
                return code
            await asyncio.sleep(0.02)
        pytest.fail("a place that became free was not given again")
    assert run(main()) in (4029, 429)


def test_origin(live):
    async def main(origin):
        try:
            async with socket(live, origin=origin) as k:
                await k.ready()
                return 101
        except websockets.InvalidStatusCode as e:
            return e.status_code
    assert run(main("http://localhost:3000")) == 101
    assert run(main("https://evil.example")) == 403


def test_plain_request_to_a_socket_path(live):
    r = live.get("/ws")
    assert r.status_code == 426 and r.json()["code"] == "UPGRADE_REQUIRED"


# ---- authentication ----

TOKEN = "socket-token-of-thirty-two-characters-or-more"


def test_socket_authentication(make_server):
    s = make_server({"server": {"workers": 1}, "auth": {"api_token": TOKEN}})

    async def attempt(query="", **kw):
        try:
            async with socket(s, query, **kw) as k:
                await k.ready()
                return k.frames[0]["data"]["authenticated"], k.ws.subprotocol
        except websockets.InvalidStatusCode as e:
            return e.status_code, None

    async def stranger():
        """Without a token the first message has to bring it (test_websocket.py)."""
        async with websockets.connect(s.ws_url + "/ws") as ws:
            assert json.loads(await ws.recv())["data"]["authenticated"] is False
            await ws.send(json.dumps({"type": "auth", "token": "wrong"}))
            assert json.loads(await ws.recv())["data"]["code"] == 401
            await ws.wait_closed()
            return ws.close_code
    assert run(stranger()) == 4401
    assert run(attempt("?token=wrong")) == (401, None)
    assert run(attempt(subprotocols=["aragora-v1", "access_token.wrong"])) == (401, None)
    assert run(attempt("?token=" + TOKEN)) == (True, None)
    assert run(attempt(subprotocols=["aragora-v1", "access_token." + TOKEN])) == (True, "aragora-v1")
    assert run(attempt(extra_headers={"Authorization": "Bearer " + TOKEN})) == (True, None)
    assert run(attempt(extra_headers={"X-API-Key": TOKEN})) == (True, None)
    wait_until(lambda: s.access_path.exists() and "/ws" in s.access_path.read_text(), what="access lines")
    assert TOKEN not in s.log() + s.access_path.read_text()
