# SPDX-License-Identifier: MIT
"""A cable between a node and what it depends on: TCP that can be cut (bytes stop, connections stay), broken (all
connections are reset) and mended.

    with Link(5432) as link:
        link.port        # connect here
        link.cut(); link.mend(); link.break_()
"""
import asyncio
import socket
import struct
import threading


class Link:
    def __init__(self, target):
        self.target, self.port, self.pairs = target, 0, set()
        self.loop = asyncio.new_event_loop()
        self.flows = None  # set: bytes pass
        self.whole = True  # new connections are taken
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        asyncio.run_coroutine_threadsafe(self.open(), self.loop).result(10)
        return self

    def __exit__(self, *exc):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    async def open(self):
        self.flows = asyncio.Event()
        self.flows.set()
        server = await asyncio.start_server(self.carry, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]

    def call(self, fn):
        done = threading.Event()
        self.loop.call_soon_threadsafe(lambda: (fn(), done.set()))
        done.wait(10)

    def cut(self):
        """Nothing passes any more, and nobody is told."""
        self.call(self.flows.clear)

    def break_(self):
        """Connections are reset, new ones too, until mend()."""
        def reset():
            self.whole = False
            self.flows.set()
            for writer in list(self.pairs):
                self.reset(writer)
        self.call(reset)

    def mend(self):
        def whole():
            self.whole = True
            self.flows.set()
        self.call(whole)

    @staticmethod
    def reset(writer):
        s = writer.get_extra_info("socket")
        if s is not None:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def carry(self, reader, writer):
        """One connection: a cable that was cut lets nothing through, not even the first byte."""
        await self.flows.wait()
        if not self.whole:
            self.reset(writer)
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            self.reset(writer)
            return
        self.pairs |= {writer, far_writer}
        try:
            await asyncio.gather(self.pump(reader, far_writer), self.pump(far_reader, writer))
        finally:
            self.pairs -= {writer, far_writer}
            writer.close()
            far_writer.close()

    async def pump(self, reader, writer):
        try:
            while data := await reader.read(65536):
                await self.flows.wait()
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        except (OSError, asyncio.IncompleteReadError):
            writer.transport.abort()
