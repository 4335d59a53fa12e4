"""Plane geometry of unit areas, in WGS-84 degrees taken as they are. Pure.

A ring is the corners of an area in order, the last joined to the first, without repeating it. Over a district
of some tens of kilometres degrees are straight enough to tell inside from outside and whole from crossed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TypeVar

Point = tuple[float, float]
Ring = tuple[Point, ...]
Box = tuple[float, float, float, float]
_Side = tuple[Point, Point]
_Corner = tuple[int, int]
_P = TypeVar("_P")

#: Coordinates are compared as whole 1e-7 degrees (about a centimetre), where arithmetic is exact.
_SCALE = 10_000_000
#: Thinner strips, in degrees, come from rounding.
_THINNEST = 1e-12


def box(ring: Sequence[Point]) -> Box:
    """The smallest upright box around it: west, south, east, north."""
    xs, ys = [x for x, _ in ring], [y for _, y in ring]
    return min(xs), min(ys), max(xs), max(ys)


def signed_area(ring: Sequence[Point]) -> float:
    """Its area in square degrees, positive when the corners run counter-clockwise (shoelace formula)."""
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in _edges(ring)) / 2


def centroid(ring: Sequence[Point]) -> Point:
    """Its centre of gravity; of a ring without area, the mean of its corners."""
    # Taken from the first corner: products of whole degrees would eat the digits that matter.
    x0, y0 = ring[0]
    near = [(x - x0, y - y0) for x, y in ring]
    doubled = 2 * signed_area(near)
    if doubled == 0:
        return x0 + sum(x for x, _ in near) / len(ring), y0 + sum(y for _, y in near) / len(ring)
    crossed = [(x1 + x2, y1 + y2, x1 * y2 - x2 * y1) for (x1, y1), (x2, y2) in _edges(near)]
    return (
        x0 + sum(x * weight for x, _, weight in crossed) / (3 * doubled),
        y0 + sum(y * weight for _, y, weight in crossed) / (3 * doubled),
    )


def contains(ring: Sequence[Point], place: Point) -> bool:
    """Whether a place lies inside (crossing count); on the border it is either."""
    x, y = place
    inside = False
    for (x1, y1), (x2, y2) in _edges(ring):
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
            inside = not inside
    return inside


def what_is_wrong(ring: Sequence[Point]) -> str | None:
    """Why a ring cannot be an area (a corner twice, no extent, borders that cross), or None."""
    corners = [(round(x * _SCALE), round(y * _SCALE)) for x, y in ring]
    if len(corners) > 1 and corners[0] == corners[-1]:
        return "the last corner repeats the first; leave it out"
    seen: dict[tuple[int, int], int] = {}
    for number, corner in enumerate(corners, start=1):
        if corner in seen:
            return f"corners {seen[corner]} and {number} are the same place"
        seen[corner] = number
    if len(corners) < 3 or all(_turn(corners[0], corners[1], corner) == 0 for corner in corners):
        return "it has no extent"
    edges = list(_edges(corners))
    for first, (a, b) in enumerate(edges):
        for second in range(first + 1, len(edges)):
            c, d = edges[second]
            if b == c or d == a:  # neighbours share a corner; they cross only by folding back
                if _turn(a, b, c if c != b else d) == 0 and _folds_back(a, b, c, d):
                    return f"its border folds back on itself at corner {second + 1}"
            elif _meet(a, b, c, d):
                return f"its border crosses itself: side {first + 1} meets side {second + 1}"
    return None


def shared_area(one: Sequence[Point], other: Sequence[Point]) -> float:
    """The area two simple rings have in common, in square degrees.

    Cut into upright strips at every corner and crossing; inside a strip no two sides cross, so the common
    length in its middle times its width is exact.
    """
    west, south, east, north = _overlap(box(one), box(other))
    if west >= east or south >= north:
        return 0.0
    sides = [
        [(a, b) if a[0] < b[0] else (b, a) for a, b in _edges(ring) if a[0] != b[0]] for ring in (one, other)
    ]
    sides = [[s for s in some if s[0][0] < east and s[1][0] > west] for some in sides]
    cuts = {west, east} | {x for x, _ in (*one, *other) if west < x < east}
    for first in sides[0]:
        cuts |= {x for second in sides[1] if (x := _crossing(first, second)) is not None and west < x < east}
    total = 0.0
    for left, right in pairwise(sorted(cuts)):
        if right - left < _THINNEST:
            continue
        middle = (left + right) / 2
        spans = [_spans(some, middle) for some in sides]
        total += (right - left) * sum(
            max(0.0, min(top, ceiling) - max(bottom, floor))
            for bottom, top in spans[0]
            for floor, ceiling in spans[1]
        )
    return total


def dissolve(rings: Sequence[Sequence[Point]]) -> Ring | None:
    """The outline of areas that share borders corner by corner: their inner borders fall away.

    Returns:
        One ring, counter-clockwise; None when they do not make one piece without holes, or when a border is
        drawn differently on its two sides.
    """
    following: dict[Point, set[Point]] = {}
    for ring in rings:
        corners = list(ring) if signed_area(ring) > 0 else list(reversed(ring))
        for a, b in _edges(corners):
            if a in following.get(b, set()):
                following[b].remove(a)
            else:
                following.setdefault(a, set()).add(b)
    following = {start: ends for start, ends in following.items() if ends}
    if not following or any(len(ends) > 1 for ends in following.values()):
        return None
    start = min(following)
    outline = [start]
    while (step := next(iter(following[outline[-1]]))) != start:
        outline.append(step)
        if step not in following or len(outline) > len(following):
            return None
    return tuple(outline) if len(outline) == len(following) else None


def _edges(ring: Sequence[_P]) -> Iterator[tuple[_P, _P]]:
    yield from zip(ring, (*ring[1:], ring[0]), strict=True)


def _turn(a: _Corner, b: _Corner, c: _Corner) -> int:
    """1 when a → b → c turns left, -1 right, 0 straight. Exact."""
    cross = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    return (cross > 0) - (cross < 0)


def _meet(a: _Corner, b: _Corner, c: _Corner, d: _Corner) -> bool:
    """Whether the sides a-b and c-d share any place. Exact."""
    turns = _turn(a, b, c), _turn(a, b, d), _turn(c, d, a), _turn(c, d, b)
    if turns[0] != turns[1] and turns[2] != turns[3]:
        return True
    sides = ((a, b, c), (a, b, d), (c, d, a), (c, d, b))
    return any(turn == 0 and _between(*side) for turn, side in zip(turns, sides, strict=True))


def _between(a: _Corner, b: _Corner, place: _Corner) -> bool:
    return min(a[0], b[0]) <= place[0] <= max(a[0], b[0]) and min(a[1], b[1]) <= place[1] <= max(a[1], b[1])


def _folds_back(a: _Corner, b: _Corner, c: _Corner, d: _Corner) -> bool:
    """Whether two sides on one line, that share a corner, go back the way they came."""
    return (b[0] - a[0]) * (d[0] - c[0]) + (b[1] - a[1]) * (d[1] - c[1]) < 0


def _overlap(one: Box, other: Box) -> Box:
    return max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])


def _height(side: _Side, x: float) -> float:
    (x1, y1), (x2, y2) = side
    return y1 + (y2 - y1) * (x - x1) / (x2 - x1)


def _crossing(one: _Side, other: _Side) -> float | None:
    """Where two sides (west to east) cross, as x; None when they do not or run alike."""
    left, right = max(one[0][0], other[0][0]), min(one[1][0], other[1][0])
    if left >= right:
        return None
    before, after = (_height(one, x) - _height(other, x) for x in (left, right))
    if before * after >= 0:
        return None
    return left + (right - left) * before / (before - after)


def _spans(sides: Sequence[_Side], x: float) -> list[tuple[float, float]]:
    """The stretches of an upright line that lie inside, from its sides."""
    heights = sorted(_height(side, x) for side in sides if side[0][0] < x < side[1][0])
    return list(zip(heights[::2], heights[1::2], strict=True))
