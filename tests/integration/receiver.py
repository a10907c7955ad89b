# SPDX-License-Identifier: MIT
"""A receiver of deliveries: a real HTTP server that records what comes and answers as the test says.

    with Receiver() as r:
        r.answers = [500, (429, {"Retry-After": "1"}), "cut", 200]   # one for each request; then r.otherwise
        ...
        r.wait(3)[0].json["delivery_id"]

An answer is a status, (status, headers), "cut" (the connection ends without an answer), or "hold" (no answer until
r.release() or the end of the test)."""
import hashlib
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from conftest import wait_until


class Request:
    def __init__(self, path, headers, body):
        self.path, self.headers, self.body, self.at = path, headers, body, time.monotonic()
        self.json = json.loads(body)

    @property
    def id(self):
        return self.headers["X-Webhook-Delivery-Id"]


def verify_signature(payload, signature, secret):
    """As the manual of the service tells receivers to do it."""
    expected = "sha256=" + hmac.new(secret.encode(), json.dumps(payload).encode(), hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, signature)


class Receiver:
    def __init__(self):
        self.requests, self.answers, self.otherwise = [], [], 200
        self.by_path = {}  # path -> list of answers, before self.answers
        self.lock, self.gate = threading.Lock(), threading.Event()
        self.together, self.most_together = {}, {}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                receiver.take(self)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.release()
        self.server.shutdown()
        self.server.server_close()

    def url(self, path="/hook"):
        return "http://127.0.0.1:%d%s" % (self.port, path)

    def release(self):
        self.gate.set()

    def hold(self):
        self.gate.clear()

    def take(self, handler):
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        with self.lock:
            self.requests.append(Request(handler.path, handler.headers, body))
            answers = self.by_path.get(handler.path) or self.answers
            answer = answers.pop(0) if answers else self.otherwise
            self.together[handler.path] = self.together.get(handler.path, 0) + 1
            self.most_together[handler.path] = max(self.most_together.get(handler.path, 0), self.together[handler.path])
        try:
            self.answer(handler, answer)
        except OSError:
            pass

    def leave(self, handler):
        with self.lock:
            self.together[handler.path] -= 1

    def answer(self, handler, answer):
        if answer == "hold":
            self.gate.wait(60)
            answer = 200
        self.leave(handler)  # before the answer: who has it may be here again before this thread goes on
        if answer == "cut":
            handler.close_connection = True
            return
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def wait(self, n, timeout=30):
        wait_until(lambda: len(self.requests) >= n, timeout, "%d requests, %d came" % (n, len(self.requests)))
        return self.requests
