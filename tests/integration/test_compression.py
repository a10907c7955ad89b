# SPDX-License-Identifier: MIT
"""Compressed answers and entity tags of the API, through the door: small and large bodies, weights, streams, clients that leave."""
import gzip
import json
import re
import socket
import subprocess

import pytest

import talk
from conftest import wait_until

ON = {"compression": {"enabled": True}}


def raw(s, path, *fields):
    """(status, header lines, body) as they are on the wire."""
    with socket.create_connection(("127.0.0.1", s.port), 30) as c:
        c.sendall("\r\n".join(["GET %s HTTP/1.1" % path, "Host: x", "Connection: close", *fields, "", ""]).encode())
        data = b""
        while part := c.recv(1 << 16):
            data += part
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    fields = {}
    for line in lines[1:]:
        name, _, value = line.partition(": ")
        fields[name.lower()] = fields[name.lower()] + ", " + value if name.lower() in fields else value
    assert fields.get("content-length", str(len(body))) == str(len(body))
    return int(lines[0].split()[1]), fields, body


def unbrotli(body):
    return subprocess.run(["brotli", "-dc"], input=body, capture_output=True, check=True).stdout


@pytest.mark.server(ON)
def test_json(server):
    large = talk.debate(server, rounds=3)["id"]
    for path in ("/api/openapi.json", "/api/debates/" + large):
        _, fields, plain = raw(server, path)
        assert "content-encoding" not in fields and "Accept-Encoding" in fields["vary"] and fields["etag"][0] == '"'
        assert len(plain) > 32768  # on the lane; small ones below
        for accept, coding in [("gzip", "gzip"), ("gzip, br", "br"), ("br;q=0.5, gzip;q=0.6", "gzip"), ("identity, gzip;q=0.5", None),
                               ("gzip;q=0", None), ("identity;q=0", None), ("*", "br")]:
            status, fields, body = raw(server, path, "Accept-Encoding: " + accept)
            assert (status, fields.get("content-encoding")) == (200, coding), accept
            assert "Accept-Encoding" in fields["vary"] and fields["content-type"] == "application/json"
            body = {"gzip": gzip.decompress, "br": unbrotli, None: bytes}[coding](body)
            assert json.loads(body) == json.loads(plain)
            if coding:
                assert len(body) > 4 * int(fields["content-length"]) and fields["etag"].startswith('W/"')
                assert raw(server, path, "Accept-Encoding: " + accept, "If-None-Match: " + fields["etag"])[0] == 304
    status, fields, body = raw(server, "/api/debates/%s/messages?limit=3" % large, "Accept-Encoding: gzip")
    assert fields["content-encoding"] == "gzip" and json.loads(gzip.decompress(body))["limit"] == 3
    assert "content-encoding" not in raw(server, "/healthz", "Accept-Encoding: gzip")[1]
    out = int(re.search(r'compression_bytes_total\{direction="out"\} (\d+)', server.get("/metrics").text).group(1))
    assert 0 < out < int(re.search(r'compression_bytes_total\{direction="in"\} (\d+)', server.get("/metrics").text).group(1)) / 4
    routes = server.command("routes", "-c", server.conf_path).stdout
    assert re.search(r"/api/openapi.json .* entity_tag compression", routes)


@pytest.mark.server(ON)
def test_streams_are_not(server):
    debate = talk.debate(server)["id"]
    status, fields, body = raw(server, "/api/debates/%s/events?stream=1" % debate, "Accept-Encoding: gzip")
    assert status == 200 and fields["content-type"].startswith("text/event-stream") and "content-encoding" not in fields
    assert b"debate_end" in body


def test_off_in_development(server):
    _, fields, _ = raw(server, "/api/openapi.json", "Accept-Encoding: gzip")
    assert "content-encoding" not in fields and "Accept-Encoding" not in fields["vary"]
    assert "compression" not in server.command("routes", "-c", server.conf_path).stdout


def test_on_in_production(make_server):
    s = make_server({"server": {"env": "production"}, "auth": {"api_token": "t" * 40}})
    assert raw(s, "/api/openapi.json", "Accept-Encoding: gzip")[1]["content-encoding"] == "gzip"


@pytest.mark.server({**ON, "server": {"workers": 1}})
def test_order_and_clients_that_leave(server):
    """Answers of the lane keep their place among pipelined ones; who leaves meanwhile harms nobody."""
    big = b"GET /api/openapi.json HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n"
    small = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 30) as c:
        c.sendall((big + small) * 5)
        data = b""
        while data.count(b'{"status":"ok"}') < 5:
            data += c.recv(1 << 16)
    kinds = [b"gzip" in head for head in re.findall(rb"HTTP/1.1 200 OK\r\n.*?\r\n\r\n", data, re.S)]
    assert kinds == [True, False] * 5
    for _ in range(30):
        with socket.create_connection(("127.0.0.1", server.port), 30) as c:
            c.sendall(big)
    wait_until(lambda: server.get("/healthz").status_code == 200, 10)


def test_entity_tags(server):
    debate = talk.debate(server)
    receipt = server.get("/api/receipts").json()["receipts"][0]["receipt_id"]
    for path in ("/api/debates/" + debate["id"], "/api/debates/%s/messages" % debate["id"], "/api/receipts/" + receipt,
                 "/api/receipts/%s?format=html" % receipt, "/api/debates/%s/export?format=md" % debate["id"], "/api/openapi.json"):
        r = server.get(path)
        assert r.status_code == 200 and re.fullmatch(r'"[0-9a-f]{32}"', r.headers["ETag"]), path
        again = server.get(path, headers={"If-None-Match": r.headers["ETag"]})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", r.headers["ETag"]), path
        assert server.request("HEAD", path, headers={"If-None-Match": r.headers["ETag"]}).status_code == 304
        assert server.get(path, headers={"If-Match": '"x"'}).status_code == 412
    # A change changes the tag; a list has none.
    path = "/api/debates/" + debate["id"]
    before = server.get(path).headers["ETag"]
    assert server.request("PATCH", path, json={"title": "Another"}).status_code == 200
    assert server.get(path, headers={"If-None-Match": before}).status_code == 200
    assert "ETag" not in server.get("/api/debates").headers
    assert "ETag" not in server.get("/api/debates/nothing").headers
