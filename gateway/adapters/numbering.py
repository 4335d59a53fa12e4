"""Counters and times of foreign devices as sequence numbers of a stream, so that the store can know a repeat. Pure.

A counter of a few bits wraps, and starts again when its device does. Here it is unwrapped: a counter slightly behind
the highest is a repeat or a late message; any other goes forward, through the wrap where it has to. So a restart
needs no state of its own. The numbers that are missing behind the window are closed (such a device sends nothing
again), which keeps a stream at no more ranges than its window.
Source: the sliding window is that of RFC 4303 (appendix A), the arithmetic that of RFC 1982.
"""

from __future__ import annotations

from typing import Final

from gateway.adapters.channel import Numbering
from gateway.streams import SequenceSet

#: The number of a message that has none.
UNNUMBERED: Final = -1


class Seen:
    """The newest messages of a stream: a digest of each one's bytes by its number; at most ``window``.

    One that stands on another's ``base`` shows that as well and changes only itself.
    """

    __slots__ = ("_base", "_by_number", "_contents")

    def __init__(self, base: Seen | None = None) -> None:
        self._base = base
        self._by_number: dict[int, int] = {}
        self._contents: set[int] = set()

    def __len__(self) -> int:
        """How many it remembers itself."""
        return len(self._by_number)

    def digest_of(self, number: int) -> int | None:
        """The digest of what came under a number, None when that is not remembered."""
        found = self._by_number.get(number)
        return self._base.digest_of(number) if found is None and self._base is not None else found

    def has(self, digest: int) -> bool:
        """Whether a message of this content is among them."""
        return digest in self._contents or (self._base is not None and self._base.has(digest))

    def note(self, number: int, digest: int) -> None:
        """Remember a message."""
        self._by_number[number] = digest
        self._contents.add(digest)

    def add(self, newer: Seen, window: int) -> None:
        """Take over what another remembers itself, and forget the oldest beyond the window."""
        by_number = self._by_number
        by_number.update(newer._by_number)
        for oldest in list(by_number)[: max(len(by_number) - window, 0)]:
            del by_number[oldest]
        self._contents = set(by_number.values())


def take(
    numbering: Numbering, received: SequenceSet, number: int, digest: int, seen: Seen
) -> tuple[int, bool]:
    """Decide about one message, and widen the stream if it is new.

    Args:
        numbering: how it is numbered.
        received: the stream's numbers so far; changed.
        number: the message's counter or time.
        digest: of its bytes.
        seen: the stream's newest messages; changed.

    Returns:
        The sequence number under which it counts (``UNNUMBERED``: it is to be kept without one), and whether it is
        new; a repeat is not.
    """
    at = _place(numbering, received, number)
    if seen.has(digest):
        return at, False
    if at in received:
        before = seen.digest_of(at)
        if not numbering.modulus:
            # Another message of that instant; or what lies before the window was closed, and may have come or not.
            told_apart = before is not None or at <= received.upto
            return (UNNUMBERED, True) if told_apart else (at, False)
        if before is None and received.highest - at < numbering.window:
            seen.note(at, digest)
            return at, False
        at += numbering.modulus  # the device has started again, or its counter has come round
    received.add(at)
    seen.note(at, digest)
    close(numbering, received)
    return at, True


def _place(numbering: Numbering, received: SequenceSet, number: int) -> int:
    """The newest place at or behind the highest that a counter (from 0 on) can have, the next where there is none.

    Sequence numbers begin with 1. A time (ms) has one place.
    """
    if not numbering.modulus:
        return number + 1
    highest = received.highest
    if not highest:
        return number + 1
    at = highest - (highest - 1 - number) % numbering.modulus
    return at if at > 0 else at + numbering.modulus


def close(numbering: Numbering, received: SequenceSet) -> None:
    """Fill what is missing behind the window; such a device sends nothing again."""
    window = numbering.window
    if numbering.modulus:
        received.add_range(1, received.highest - window + 1)
    elif received.range_count > 2 * window:  # twice, so that it is not done for every message
        starts = [start for start, _ in received.ranges()]
        received.add_range(1, starts[-window])
