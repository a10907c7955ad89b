# SPDX-License-Identifier: MIT
"""Certificates made for a test, and clients that speak TLS."""
import socket
import ssl
import subprocess
from pathlib import Path

HOST = "127.0.0.1"


def openssl(*args, **kw):
    return subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True, check=True, timeout=60, **kw)


class Authority:
    """Signs certificates; what it made lies in its folder."""

    def __init__(self, folder, name="Test CA"):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.key, self.pem = self.folder / "ca.key", self.folder / "ca.pem"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.key,
                "-out", self.pem, "-days", "2", "-subj", "/CN=" + name, "-addext", "basicConstraints=critical,CA:TRUE")

    def issue(self, file, *names, rsa=False):
        """Certificate and key for the DNS names; returns the element of server.tls.certificates."""
        key, request, pem = (self.folder / (file + end) for end in (".key", ".csr", ".pem"))
        kind = ["rsa:2048"] if rsa else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        openssl("req", "-newkey", *kind, "-nodes", "-keyout", key, "-out", request, "-subj", "/CN=" + names[0])
        key.chmod(0o600)
        extensions = self.folder / (file + ".ext")
        extensions.write_text("subjectAltName=%s\n" % ",".join("DNS:" + n for n in names))
        openssl("x509", "-req", "-in", request, "-CA", self.pem, "-CAkey", self.key, "-CAcreateserial", "-days", "2",
                "-extfile", extensions, "-out", pem)
        return "%s %s" % (pem, key)

    def context(self, version=None, **kw):
        c = ssl.create_default_context(cafile=str(self.pem))
        if version is not None:
            c.minimum_version = c.maximum_version = version
        return c


def connect(port, context, name="localhost", session=None, timeout=20):
    raw = socket.create_connection((HOST, port), timeout=timeout)
    try:
        return context.wrap_socket(raw, server_hostname=name, session=session)
    except BaseException:
        raw.close()
        raise


def names_of(s):
    """DNS names of the certificate that the server showed."""
    return sorted(v for k, v in s.getpeercert()["subjectAltName"] if k == "DNS")


def ask(s, path="/healthz", headers="", method="GET", body=b""):
    """One request on an open connection; returns (status, headers, body)."""
    s.sendall(("%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n%s\r\n" %
               (method, path, len(body), headers)).encode() + body)
    return answer(s)


def answer(s):
    data = b""
    while b"\r\n\r\n" not in data:
        part = s.recv(65536)
        if not part:
            raise ConnectionError("closed before the answer: %r" % data)
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    fields = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}
    while len(body) < int(fields.get("content-length", 0)):
        part = s.recv(65536)
        if not part:
            raise ConnectionError("closed inside the body")
        body += part
    return int(lines[0].split()[1]), fields, body
