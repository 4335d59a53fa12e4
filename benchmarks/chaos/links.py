"""Links between parts that can be cut, frozen and slowed: a TCP proxy a link, all in one thread."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from contextlib import suppress
from typing import Final

_CHUNK: Final = 16 * 1024
#: Close with a reset, as a router does that lost its table.
_RESET: Final = struct.pack("ii", 1, 0)


class Link:
    """One proxy: whoever connects to ``port`` is connected to ``target_port`` of 127.0.0.1.

    Its methods may be called from any thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, target_port: int) -> None:
        self.port = 0
        self._loop = loop
        self._target_port = target_port
        self._open = asyncio.Event()
        self._open.set()
        self._cut = False
        self._bytes_per_s = 0.0
        self._delay_s = 0.0
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Reset every connection, and refuse new ones."""
        self._loop.call_soon_threadsafe(self._do_cut)

    def freeze(self) -> None:
        """Let nothing through, and tell nobody."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def slow(self, bytes_per_s: float, delay_s: float) -> None:
        """Let so much through a second, each piece that much later."""
        self._loop.call_soon_threadsafe(self._set_pace, bytes_per_s, delay_s)

    def heal(self) -> None:
        """Be a good link again."""
        self._loop.call_soon_threadsafe(self._do_heal)

    async def listen(self) -> None:
        """Open the port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]

    def _do_cut(self) -> None:
        self._cut = True
        for writer in list(self._writers):
            _reset(writer)
        self._open.set()  # what was frozen finds out

    def _do_heal(self) -> None:
        self._cut = False
        self._set_pace(0.0, 0.0)
        self._open.set()

    def _set_pace(self, bytes_per_s: float, delay_s: float) -> None:
        self._bytes_per_s, self._delay_s = bytes_per_s, delay_s

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        if self._cut:
            _reset(writer)
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            _reset(writer)
            return
        self._writers |= {writer, far_writer}
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        finally:
            self._writers -= {writer, far_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                if self._bytes_per_s:
                    await asyncio.sleep(len(data) / self._bytes_per_s)
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        # One side is gone: what is under way to the other still arrives.
        writer.close()


class Switchboard:
    """The thread that all links run in. Usable as a context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="links", daemon=True)
        self._thread.start()

    def connect(self, target_port: int) -> Link:
        """A new link, open."""
        link = Link(self._loop, target_port)
        asyncio.run_coroutine_threadsafe(link.listen(), self._loop).result(10)
        return link

    def close(self) -> None:
        """End every link."""
        self._loop.call_soon_threadsafe(self._end)
        self._thread.join(10)
        self._loop.close()

    def _end(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.call_later(0.1, self._loop.stop)


def _reset(writer: asyncio.StreamWriter) -> None:
    held = writer.get_extra_info("socket")
    with suppress(OSError):  # it may be closed already
        held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
