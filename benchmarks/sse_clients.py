"""Many browsers in one process: each holds a stream open and notes when each event came.

``python -m benchmarks.sse_clients ADDRESS CLIENTS FILE`` with the session's cookie on standard input. It prints
``open`` when all streams are, follows them until a line comes on standard input, and then writes what it noted: one
JSON object of the client's number → its lines of [event id, receipt in seconds since the Unix epoch].
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

_AT_ONCE = 25


class Client:
    """One stream over a plain socket: HTTP/1.1, chunks, lines of server-sent events."""

    def __init__(self, address: str, cookie: str) -> None:
        self._address, self._cookie = urlsplit(address), cookie
        self.noted: list[tuple[int, float]] = []
        self.ended = False

    async def open(self) -> None:
        """Connect and read the head of the answer.

        Raises:
            ConnectionError: anything but 200.
        """
        host, port = self._address.hostname or "", self._address.port or 80
        self._reader, self._writer = await asyncio.open_connection(host, port)
        self._writer.write(
            f"GET /api/stream HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: text/event-stream\r\n"
            f"Cookie: {self._cookie}\r\n\r\n".encode()
        )
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(f"expected a stream, got {head.splitlines()[0].decode()}")

    async def follow(self) -> None:
        """Note events until the stream is cut."""
        # Chunk sizes stand between the lines; only lines that begin an event are looked at.
        async for line in self._reader:
            if line.startswith(b"id: "):
                self.noted.append((int(line[4:]), time.time()))
        self.ended = True

    def close(self) -> None:
        """Cut it."""
        self._writer.close()


async def run(address: str, number: int, cookie: str) -> dict[int, list[tuple[int, float]]]:
    """Open the streams, follow them until standard input says so; what each noted."""
    clients = [Client(address, cookie) for _ in range(number)]
    for first in range(0, number, _AT_ONCE):
        await asyncio.gather(*(client.open() for client in clients[first : first + _AT_ONCE]))
    following = [asyncio.create_task(client.follow()) for client in clients]
    await asyncio.sleep(1)
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    cut = sum(client.ended for client in clients)
    if cut:
        raise ConnectionError(f"{cut} of {number} streams ended early")
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)
    for client in clients:
        client.close()
    return {n: client.noted for n, client in enumerate(clients)}


def main() -> None:
    """Follow, then write what was noted."""
    address, number, file = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    cookie = sys.stdin.readline().strip()
    file.write_text(json.dumps(asyncio.run(run(address, number, cookie))), encoding="utf-8")


if __name__ == "__main__":
    main()
