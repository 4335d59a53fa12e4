"""Sets of sequence numbers as sorted ranges: what of a device's stream has been taken in. Pure.

In the store a set is an ``int8multirange`` in PostgreSQL's canonical text, ``{[1,500),[502,510)}``.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class SequenceSet:
    """Positive whole numbers as disjoint half-open ranges, never touching each other.

    Membership is a binary search; adding the number after the highest, which is nearly every case, is a
    constant-time widening of the last range.
    """

    __slots__ = ("_ends", "_starts")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        """Start from half-open ranges in any order."""
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in ranges:
            self.add_range(start, end)

    @classmethod
    def parse(cls, text: str) -> SequenceSet:
        """Read PostgreSQL's canonical text of an ``int8multirange``.

        Raises:
            ValueError: when it is not that.
        """
        made = cls()
        if text == "{}":
            return made
        if not (text.startswith("{[") and text.endswith(")}")):
            raise ValueError(f"expected an int8multirange like '{{[1,5)}}', got {text[:60]!r}")
        for part in text[2:-2].split("),["):
            start, _, end = part.partition(",")
            made._starts.append(int(start))
            made._ends.append(int(end))
        return made

    def __str__(self) -> str:
        """PostgreSQL's canonical text."""
        return "{" + ",".join(f"[{start},{end})" for start, end in self.ranges()) + "}"

    def __contains__(self, number: int) -> bool:
        """Whether the number is in the set."""
        place = bisect_right(self._starts, number) - 1
        return place >= 0 and number < self._ends[place]

    def __len__(self) -> int:
        """How many numbers it holds."""
        return sum(self._ends) - sum(self._starts)

    def __eq__(self, other: object) -> bool:
        """Whether both hold the same numbers."""
        if not isinstance(other, SequenceSet):
            return NotImplemented
        return self._starts == other._starts and self._ends == other._ends

    __hash__ = None  # type: ignore[assignment]  # it changes

    @property
    def range_count(self) -> int:
        """How many ranges there are, which is what the set costs."""
        return len(self._starts)

    def ranges(self) -> Iterator[tuple[int, int]]:
        """The half-open ranges in order."""
        return zip(self._starts, self._ends, strict=True)

    def add(self, number: int) -> bool:
        """Put one number in; False when it was there already."""
        ends = self._ends
        if ends and number == ends[-1]:
            ends[-1] = number + 1
            return True
        if number in self:
            return False
        self.add_range(number, number + 1)
        return True

    def add_range(self, start: int, end: int) -> int:
        """Put the numbers ``start`` … ``end - 1`` in; how many of them are new."""
        if start >= end:
            return 0
        starts, ends = self._starts, self._ends
        first = bisect_left(ends, start)  # ranges before it end below start, without touching it
        last = bisect_right(starts, end)  # ranges from it on start above end, without touching it
        held = sum(min(ends[i], end) - max(starts[i], start) for i in range(first, last))
        new = end - start - held
        if first < last:
            start, end = min(start, starts[first]), max(end, ends[last - 1])
        starts[first:last] = [start]
        ends[first:last] = [end]
        return new

    def missing_in(self, start: int, end: int) -> list[tuple[int, int]]:
        """The half-open ranges of ``start`` … ``end - 1`` that are not in the set."""
        found = []
        at = start
        for i in range(bisect_right(self._ends, start), len(self._starts)):
            if self._starts[i] >= end:
                break
            if self._starts[i] > at:
                found.append((at, self._starts[i]))
            at = max(at, self._ends[i])
        if at < end:
            found.append((at, end))
        return found

    @property
    def upto(self) -> int:
        """The highest number with nothing missing from 1 on; 0 when 1 itself is missing."""
        return self._ends[0] - 1 if self._starts and self._starts[0] == 1 else 0

    @property
    def highest(self) -> int:
        """The highest number; 0 when empty."""
        return self._ends[-1] - 1 if self._ends else 0

    def gaps(self) -> list[tuple[int, int]]:
        """The missing ranges below the highest number, both ends included."""
        edges = [1, *self._ends[:-1]] if self._starts and self._starts[0] > 1 else self._ends[:-1]
        tops = self._starts if self._starts and self._starts[0] > 1 else self._starts[1:]
        return [(low, high - 1) for low, high in zip(edges, tops, strict=True)]
