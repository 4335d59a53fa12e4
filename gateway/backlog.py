"""Decoded messages on their way to a committer, and how many of them go into one transaction. No I/O.

A batch is whatever came while the one before it was being committed. So batches are small while little comes, and
a message waits little; and they grow by themselves with what comes, up to a cap in rows, when every transaction's
own cost (round trips, the disk's flush) has to be shared by many. Where nothing waits, the first message is given
a moment's company. Committers write their rows one after the other, where there is time for it: two that write at
once take each other's processor, while what one computes goes on beside what the database writes for the other.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from common.runtime.clock import Clock
from gateway.decode import Decoded
from gateway.intake import Delivery

#: So old the oldest message of a batch may become while another committer writes its rows.
_FOR_A_TURN_S: Final = 0.1


@dataclass(slots=True)
class Batch:
    """Messages that go into one transaction; ``rows`` says how many each counts for, ``came_at`` when the oldest came."""

    items: list[Decoded] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    came_at: float = 0.0

    def add(self, item: Decoded, delivery: Delivery, rows: int) -> None:
        """One message more."""
        self.items.append(item)
        self.deliveries.append(delivery)
        self.rows.append(rows)

    def join(self, other: Batch) -> None:
        """All messages of another, behind these."""
        self.items += other.items
        self.deliveries += other.deliveries
        self.rows += other.rows

    def split(self, count: int) -> Batch:
        """Take the first ``count`` messages out."""
        first = Batch(self.items[:count], self.deliveries[:count], self.rows[:count])
        del self.items[:count], self.deliveries[:count], self.rows[:count]
        return first


@dataclass(slots=True)
class _Part:
    """Messages that were put in together."""

    batch: Batch
    rows: int
    came_at: float

    def fitting(self, rows: int, messages: int) -> int:
        """How many of its messages fit, from the first on."""
        if self.rows <= rows and len(self.batch.items) <= messages:
            return len(self.batch.items)
        count = bisect_right(list(accumulate(self.batch.rows)), rows)
        return min(count, messages)

    def split(self, count: int) -> _Part:
        """Take the first ``count`` messages out."""
        taken = self.batch.split(count)
        rows = sum(taken.rows)
        self.rows -= rows
        return _Part(taken, rows, self.came_at)


class Turns:
    """One after the other, where there is time for it."""

    def __init__(self) -> None:
        self._working = 0
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, patience_s: float) -> Iterator[None]:
        """Work: once nobody else does, or when so many seconds are over."""
        with self._changed:
            self._changed.wait_for(lambda: not self._working, patience_s)
            self._working += 1
        try:
            yield
        finally:
            with self._changed:
                self._working -= 1
                self._changed.notify_all()


class Backlog:
    """What waits for one committer. One thread puts in, another takes out.

    Args:
        most_rows: of a batch. A single message of more goes alone; it cannot be divided.
        most_messages: of a batch.
        linger_s: how long the oldest message may wait for others while the committer has nothing else to do.
        clock: for that.
    """

    def __init__(self, *, most_rows: int, most_messages: int, linger_s: float, clock: Clock) -> None:
        self._most_rows = most_rows
        self._most_messages = most_messages
        self._linger_s = linger_s
        self._clock = clock
        self._parts: deque[_Part] = deque()
        self._rows = 0
        self._messages = 0
        self._changed = threading.Condition()

    def put(self, batch: Batch, timeout_s: float) -> bool:
        """Add messages behind those that wait; False when there was no room for them within that time.

        There is room while less than a full batch waits, so memory is bounded by a batch and what is put at once.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: not self._is_full(), timeout_s):
                return False
            was_empty = not self._parts
            part = _Part(batch, sum(batch.rows), self._clock.monotonic())
            self._parts.append(part)
            self._rows += part.rows
            self._messages += len(batch.items)
            if was_empty or self._is_full():
                self._changed.notify_all()
            return True

    def wait(self, timeout_s: float) -> bool:
        """Wait for a message and its company; False when nothing came within that time."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._parts), timeout_s):
                return False
            lingering = self._parts[0].came_at + self._linger_s - self._clock.monotonic()
            if lingering > 0:
                self._changed.wait_for(self._is_full, lingering)
            return True

    def patience_s(self, batch: Batch) -> float:
        """For how long a batch that was taken may wait for a turn; not at all once another full one waits behind it."""
        with self._changed:
            if self._is_full():
                return 0.0
        return max(batch.came_at + _FOR_A_TURN_S - self._clock.monotonic(), 0.0)

    def take(self) -> Batch:
        """The next batch, never above the caps; empty when nothing waits."""
        with self._changed:
            batch = self._gather()
            self._changed.notify_all()
            return batch

    def waiting(self) -> int:
        """How many messages wait."""
        return self._messages

    def _is_full(self) -> bool:
        return self._rows >= self._most_rows or self._messages >= self._most_messages

    def _gather(self) -> Batch:
        batch, rows = Batch(), 0
        if self._parts:
            batch.came_at = self._parts[0].came_at
        while self._parts:
            part = self._parts[0]
            count = part.fitting(self._most_rows - rows, self._most_messages - len(batch.items))
            if not count and batch.items:
                break
            taken = part.split(max(count, 1))
            if not part.batch.items:
                self._parts.popleft()
            rows += taken.rows
            self._rows -= taken.rows
            self._messages -= len(taken.batch.items)
            batch.join(taken.batch)
        return batch
