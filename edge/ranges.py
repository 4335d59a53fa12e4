"""Arithmetic of ranges of sequence numbers; both ends of a range are included."""

from __future__ import annotations

from collections.abc import Iterable

Range = tuple[int, int]


def runs(numbers: Iterable[int]) -> list[Range]:
    """Growing numbers as the fewest ranges."""
    return union((number, number) for number in numbers)


def union(ranges: Iterable[Range]) -> list[Range]:
    """Any ranges as the fewest, in order, touching ones joined."""
    joined: list[Range] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined


def subtract(span: Range, taken: Iterable[Range]) -> list[Range]:
    """What of a range no other range holds."""
    first, last = span
    left: list[Range] = []
    for begin, end in union(taken):
        if end < first or begin > last:
            continue
        if begin > first:
            left.append((first, begin - 1))
        first = end + 1
    if first <= last:
        left.append((first, last))
    return left


def size(ranges: Iterable[Range]) -> int:
    """How many numbers ranges hold together."""
    return sum(last - first + 1 for first, last in union(ranges))
