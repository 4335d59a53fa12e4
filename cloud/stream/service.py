"""The hub: one connection to the database for any number of browsers.

Each browser has only a cursor, the last event it was given. What comes after it is taken from memory when it
is recent and from the table when it is not, always in order and without a gap, so a slow browser costs
nobody else anything and a returning one gets exactly what it missed.

What browsers wait for together is an event that is set once and then replaced: all of them go on in one round of the
loop. A condition would hand its lock from each to the next, a round each, and an event is encoded once for all of them.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from itertools import takewhile

from prometheus_client import CollectorRegistry, Gauge

from cloud.db import Database
from cloud.stream import repo
from cloud.stream.domain import HEARTBEAT, StreamEvent, reset
from common.runtime.errors import TransientError
from common.runtime.log import get_logger

_log = get_logger("stream")
_KEPT = 2000
_PAGE = 500
_SWEEP_S = 1.0
#: An event's id and its form on the wire.
Encoded = tuple[int, bytes]


class StreamHub:
    """Follows the table and wakes browsers.

    Args:
        database: for what is no longer in memory.
        registry: where to count.
        heartbeat_s: how often a silent stream says that it lives.
        lifetime_s: after that a browser is sent to connect again, which asks anew whether it may.
    """

    def __init__(
        self,
        database: Database,
        registry: CollectorRegistry,
        heartbeat_s: float = 15.0,
        lifetime_s: float = 900.0,
    ) -> None:
        self._database = database
        self._heartbeat_s = heartbeat_s
        self._lifetime_s = lifetime_s
        self._recent: deque[Encoded] = deque(maxlen=_KEPT)
        self._floor = 0  # everything after this event is in memory
        self._head: int | None = None
        self._changed = asyncio.Event()  # of the state that there is; another one for the next
        self._closed = False
        self._hearing: asyncio.Future[None] | None = None
        self._clients = Gauge("drumtower_stream_clients", "Browsers that follow", registry=registry)

    async def run(self) -> None:
        """Follow the table until cancelled; a database that is away is waited for."""
        away_s = 0.1
        while not self._closed:
            try:
                async with repo.open_feed(self._database.url) as feed:
                    if self._head is None:
                        self._begin(await feed.newest(_PAGE))
                    away_s = 0.1
                    while not self._closed:
                        while events := await feed.after(self._head or 0, _PAGE):
                            self._add(events)
                        await self._hear(feed)
            except TransientError as error:
                _log.warning("the database is away", error=error.message, next_try_s=round(away_s, 1))
                await asyncio.sleep(away_s * random.uniform(0.5, 1.0))
                away_s = min(away_s * 2, 5.0)

    async def _hear(self, feed: repo.Feed) -> None:
        """Wait for something new, for the next sweep or for the end."""
        if self._closed:
            return
        self._hearing = asyncio.ensure_future(feed.wait(_SWEEP_S))
        try:
            await self._hearing
        except asyncio.CancelledError:
            if not self._closed:
                raise

    async def close(self) -> None:
        """Let every browser go, and stop following at once."""
        self._closed = True
        self._wake()
        if self._hearing is not None:
            self._hearing.cancel()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def follow(
        self, after: int | None, is_allowed: Callable[[], bool] = lambda: True
    ) -> AsyncIterator[bytes]:
        """The events for one browser, encoded; ends when the hub closes or the lifetime is over.

        Args:
            after: the last event it has; None begins with what comes next.
            is_allowed: whether it may still listen; asked in a thread at every heartbeat, also when events
                come so fast that none is sent. The stream ends when it may not.
        """
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._lifetime_s
        # Not all at once, though they may all have come at once.
        ask_at = loop.time() + self._heartbeat_s * random.uniform(0.5, 1.0)
        with self._clients.track_inprogress():
            yield b"retry: 2000\n\n"
            await self._until_begun()
            cursor = self._head or 0
            if after is not None:
                cursor, greeting = await self._come_back(after)
                yield greeting
            while not self._closed and loop.time() < ends:
                events = await self._after(cursor)
                if events:
                    cursor = events[-1][0]
                    yield events[0][1] if len(events) == 1 else b"".join(text for _, text in events)
                elif await self._wait_beyond(cursor):
                    continue
                else:
                    yield HEARTBEAT
                    ask_at = loop.time()
                # After what is given, so that no event waits for the answer.
                if loop.time() >= ask_at:
                    if not await self._may_go_on(is_allowed):
                        return
                    ask_at = loop.time() + self._heartbeat_s

    async def _may_go_on(self, is_allowed: Callable[[], bool]) -> bool:
        try:
            return await asyncio.to_thread(is_allowed)
        except TransientError:
            return True  # nobody can tell; and while the database is away there is nothing to hear either

    async def _come_back(self, after: int) -> tuple[int, bytes]:
        """Where a returning browser goes on, and what it is told first."""
        first, last = await asyncio.to_thread(self._bounds)
        # Ahead of the table: the store was restored from a backup. Behind it: what it missed is pruned.
        if after > last or (after < first - 1):
            return last, reset(last)
        return after, HEARTBEAT

    def _bounds(self) -> tuple[int, int]:
        with self._database.transaction() as transaction:
            return repo.bounds(transaction)

    def _begin(self, events: list[StreamEvent]) -> None:
        self._recent.extend(map(_encoded, events))
        self._floor = events[0].event_id - 1 if events else 0
        self._head = events[-1].event_id if events else 0
        self._wake()

    def _add(self, events: list[StreamEvent]) -> None:
        for event in events:
            if len(self._recent) == _KEPT:
                self._floor = self._recent[0][0]
            self._recent.append(_encoded(event))
        self._head = events[-1].event_id
        self._wake()

    async def _until_begun(self) -> None:
        while self._head is None and not self._closed:
            await self._changed.wait()

    async def _wait_beyond(self, cursor: int) -> bool:
        """Whether something came after the cursor before the next heartbeat is due."""
        try:
            async with asyncio.timeout(self._heartbeat_s):
                while (self._head or 0) <= cursor and not self._closed:
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def _after(self, cursor: int) -> list[Encoded]:
        if cursor >= (self._head or 0):
            return []
        if cursor < self._floor:
            return await asyncio.to_thread(self._page, cursor)
        # From the newest back to the cursor: a browser is rarely far behind.
        newer = list(takewhile(lambda event: event[0] > cursor, reversed(self._recent)))
        newer.reverse()
        return newer[:_PAGE]

    def _page(self, cursor: int) -> list[Encoded]:
        with self._database.transaction() as transaction:
            return [_encoded(event) for event in repo.after(transaction, cursor, _PAGE)]


def _encoded(event: StreamEvent) -> Encoded:
    return event.event_id, event.encoded()
