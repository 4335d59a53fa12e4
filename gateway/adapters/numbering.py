"""Counters and times of foreign devices as sequence numbers of a stream, so that the store can know a repeat. Pure.

A counter of a few bits wraps, and starts again when its device does. Here it is unwrapped: a counter slightly behind
the highest is a repeat or a late message; any other goes forward, through the wrap where it has to. So a restart
needs no state of its own. The numbers that are missing behind the window are closed (such a device sends nothing
again), which keeps a stream at no more ranges than its window.
Source: the sliding window is that of RFC 4303 (appendix A), the arithmetic that of RFC 1982.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from gateway.adapters.channel import Numbering
from gateway.streams import SequenceSet

#: The number of a message that has none.
UNNUMBERED: Final = -1


class Seen:
    """Digests of the newest messages of a stream by number, in the order in which they came; at most ``window``."""

    __slots__ = ("_digests",)

    def __init__(self) -> None:
        self._digests: dict[int, int] = {}

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._digests)

    def get(self, number: int) -> int | None:
        """The digest of what came under a number, None when that is not remembered."""
        return self._digests.get(number)

    def note(self, entries: Iterable[tuple[int, int]], window: int) -> None:
        """Remember (number, digest) pairs, the newest last."""
        digests = self._digests
        for number, digest in entries:
            digests[number] = digest
        while len(digests) > window:
            del digests[next(iter(digests))]


def take(
    numbering: Numbering,
    received: SequenceSet,
    number: int,
    digest: int,
    known: Callable[[int], int | None],
) -> tuple[int, bool]:
    """Decide about one message, and widen the stream if it is new.

    Args:
        numbering: how it is numbered.
        received: the stream's numbers so far; changed.
        number: the message's counter or time.
        digest: of its bytes.
        known: the digest of what last came under a sequence number, None when that is not remembered.

    Returns:
        The sequence number under which it counts (``UNNUMBERED``: it is to be kept without one), and whether it is
        new; a repeat is not.
    """
    at = _place(numbering, received, number)
    if at not in received:
        received.add(at)
        close(numbering, received)
        return at, True
    seen = known(at)
    if seen == digest:
        return at, False
    if not numbering.modulus:
        # Another message of that instant; or what lies before the window was closed, and may have come or not.
        told_apart = seen is not None or at <= received.upto
        return (UNNUMBERED, True) if told_apart else (at, False)
    if seen is None and received.highest - at < numbering.window:
        return at, False
    at += numbering.modulus  # the device has started again, or its counter has come round
    received.add(at)
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
