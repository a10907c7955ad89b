# SPDX-License-Identifier: MIT
"""Clients that ask without pause while something is done to the server, and count whatever does not succeed.

    with Load(server.port) as load:            # kept connections, one connection per request
        ...
    assert not load.failures and load.answers > 1000

With a TLS context the clients speak TLS to "localhost", and load.seen holds the serial numbers of the certificates shown.
A kept connection is opened again when the server has said `Connection: close`, and only then: any other end counts.
"""
import asyncio
import threading


class Load:
    def __init__(self, port, kept=8, fresh=4, path="/api/health", pause=0.0, context=None):
        self.port, self.path, self.pause, self.context = port, path, pause, context
        self.kept, self.fresh = kept, fresh
        self.failures, self.answers, self.told_to_close, self.seen = [], 0, 0, set()
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.run()), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.stopped.set()
        self.thread.join(60)

    async def run(self):
        await asyncio.gather(*[self.client(True) for _ in range(self.kept)],
                             *[self.client(False) for _ in range(self.fresh)])

    def request(self, kept):
        return ("GET %s HTTP/1.1\r\nHost: test\r\n%s\r\n" % (self.path, "" if kept else "Connection: close\r\n")).encode()

    async def ask(self, reader, writer, kept):
        """One request; true when the connection may be used again."""
        writer.write(self.request(kept))
        head = await reader.readuntil(b"\r\n\r\n")
        lower = head.lower()
        length = int(lower.split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ValueError(head.splitlines()[0])
        self.answers += 1
        return b"connection: close" not in lower

    async def connect(self):
        if self.context is None:
            return await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.context, server_hostname="localhost")
        self.seen.add(writer.get_extra_info("peercert")["serialNumber"])
        return reader, writer

    async def client(self, kept):
        while not self.stopped.is_set():
            writer = None
            try:
                reader, writer = await asyncio.wait_for(self.connect(), 20)
                while await asyncio.wait_for(self.ask(reader, writer, kept), 20) and not self.stopped.is_set():
                    await asyncio.sleep(self.pause)
                self.told_to_close += kept and not self.stopped.is_set()
            except (OSError, EOFError, ValueError, IndexError, asyncio.TimeoutError) as e:
                self.failures.append("%s: %r" % ("kept" if kept else "fresh", e))
            if writer is not None:
                writer.close()
