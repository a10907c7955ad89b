# SPDX-License-Identifier: MIT
"""TLS 1.3 beside nginx: requests on kept connections, and whole handshakes.

Both have the same P-256 certificate and OpenSSL, both log to a file, and both answer as many bytes. A handshake is whole:
certificate, signature, ticket; what is counted is the server's own CPU, for the client is slower than either.
"""
import os
import re
import ssl
import statistics
import subprocess

from bench import EXEMPT, LOAD_CORE, SECONDS, Server, ask, connect, cost, folder_new, free_port, ratio_of, rounds, row, wrk
from http_bench import nginx_like


def certificate(folder):
    pem, key = os.path.join(folder, "tls.pem"), os.path.join(folder, "tls.key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                    key, "-out", pem, "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
                   check=True, capture_output=True)
    os.chmod(key, 0o600)
    return pem, key


def answer_size(port):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(connect(port)) as s:
        return len(ask(s))


def handshakes(port):
    out = subprocess.run(["taskset", "-c", str(LOAD_CORE), "openssl", "s_time", "-connect", f"127.0.0.1:{port}", "-new",
                          "-tls1_3", "-time", str(max(SECONDS, 2))], capture_output=True, text=True, check=True).stdout
    return int(re.search(r"(\d+) connections in \d+ real seconds", out).group(1))


def compare(what, load, ours, theirs):
    a, b = rounds(lambda: cost(ours, lambda: load(ours.tls_port)), lambda: cost(theirs, lambda: load(theirs.port)))
    row(what, f"{statistics.median(a):.1f} us CPU", f"nginx {statistics.median(b):.1f}", f"{ratio_of(a, b):.2f}", "<= 1.1")


def tls():
    pair, port = certificate(folder_new()), free_port()
    ours = Server(1, EXEMPT, access=True, ws_bind=f"tls:127.0.0.1:{port}",
                  server=f', tls: {{certificates: ["{pair[0]} {pair[1]}"]}}')
    ours.tls_port = port
    theirs = nginx_like(answer_size(port), answer_size, tls=pair)
    for s in (ours, theirs):
        s.pin()
    compare("TLS 1.3, the same request, keep-alive", lambda p: wrk(p, scheme="https"), ours, theirs)
    compare("TLS 1.3, whole handshake", handshakes, ours, theirs)
    ours.stop()
    theirs.stop()
