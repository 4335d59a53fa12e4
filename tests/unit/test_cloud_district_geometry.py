"""Areas of units: what is an area, what overlaps, what makes one outline."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.district import geometry
from cloud.district.geometry import Point, Ring

SQUARE: Ring = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))


@st.composite
def stars(draw: st.DrawFn) -> Ring:
    """A ring whose corners go once around its middle: never crosses itself."""
    count = draw(st.integers(3, 24))
    radii = draw(st.lists(st.floats(0.2, 1.0), min_size=count, max_size=count))
    x, y = draw(st.tuples(st.floats(-1, 1), st.floats(-1, 1)))
    angles = [2 * math.pi * step / count for step in range(count)]
    return tuple(
        (x + r * math.cos(a) * 0.02, y + r * math.sin(a) * 0.02) for r, a in zip(radii, angles, strict=True)
    )


def moved(ring: Ring, dx: float, dy: float = 0.0) -> Ring:
    return tuple((x + dx, y + dy) for x, y in ring)


@given(stars())
def test_a_ring_around_its_middle_is_an_area(ring: Ring) -> None:
    assert geometry.what_is_wrong(ring) is None
    assert geometry.signed_area(ring) > 0
    assert geometry.signed_area(tuple(reversed(ring))) == pytest.approx(-geometry.signed_area(ring))


@given(stars())
def test_an_area_shares_all_of_itself_with_itself(ring: Ring) -> None:
    assert geometry.shared_area(ring, ring) == pytest.approx(geometry.signed_area(ring), rel=1e-6)


@given(stars(), stars())
@settings(max_examples=60)
def test_shared_area_is_the_same_both_ways_and_never_more_than_either(one: Ring, other: Ring) -> None:
    shared = geometry.shared_area(one, other)
    assert shared == pytest.approx(geometry.shared_area(other, one), abs=1e-9)
    assert -1e-12 <= shared <= min(geometry.signed_area(one), geometry.signed_area(other)) + 1e-9


@given(stars())
def test_slices_around_the_middle_dissolve_into_the_whole(ring: Ring) -> None:
    middle = (sum(x for x, _ in ring) / len(ring), sum(y for _, y in ring) / len(ring))
    if not geometry.contains(ring, middle) or middle in ring:
        return
    centre = geometry.centroid(ring)
    slices = [(centre, a, b) for a, b in zip(ring, (*ring[1:], ring[0]), strict=True)]
    whole = geometry.dissolve(slices)
    if any(geometry.signed_area(part) <= 0 for part in slices):
        return  # not star-shaped around its centroid: the slices overlap
    assert whole is not None
    assert geometry.signed_area(whole) == pytest.approx(geometry.signed_area(ring))


@pytest.mark.parametrize(
    ("ring", "words"),
    [
        (((0, 0), (1, 1), (1, 0), (0, 1)), "crosses itself"),
        (((0, 0), (1, 0), (2, 0)), "no extent"),
        (((0, 0), (1, 0), (1, 1), (0, 0)), "repeats the first"),
        (((0, 0), (1, 0), (1, 1), (1, 0), (0, 1)), "same place"),
        (((0, 0), (2, 0), (1, 0), (1, 1)), "folds back"),
        (((0, 0), (2, 0), (2, 2), (1, 0), (0, 2)), "crosses itself"),
    ],
)
def test_what_is_not_an_area_says_why(ring: tuple[Point, ...], words: str) -> None:
    assert words in (geometry.what_is_wrong(ring) or "")


def test_neighbours_with_one_border_share_nothing() -> None:
    assert geometry.shared_area(SQUARE, moved(SQUARE, 1.0)) == 0.0


def test_half_over_is_half_shared() -> None:
    assert geometry.shared_area(SQUARE, moved(SQUARE, 0.5)) == pytest.approx(0.5)
    assert geometry.shared_area(SQUARE, moved(SQUARE, 0.5, 0.5)) == pytest.approx(0.25)


def test_one_inside_another_is_shared_whole() -> None:
    inner = tuple((0.25 + x / 2, 0.25 + y / 2) for x, y in SQUARE)
    assert geometry.shared_area(SQUARE, inner) == pytest.approx(0.25)


def test_two_squares_dissolve_into_a_rectangle_and_two_apart_do_not() -> None:
    whole = geometry.dissolve([SQUARE, moved(SQUARE, 1.0)])
    assert whole is not None
    assert geometry.signed_area(whole) == pytest.approx(2.0)
    assert geometry.dissolve([SQUARE, moved(SQUARE, 3.0)]) is None
    assert geometry.dissolve([SQUARE, moved(SQUARE, 1.0, 1.0)]) is None  # they touch in one corner only


def test_inside_and_outside_are_told_apart() -> None:
    assert geometry.contains(SQUARE, (0.5, 0.5))
    assert not geometry.contains(SQUARE, (1.5, 0.5))
    assert geometry.centroid(SQUARE) == pytest.approx((0.5, 0.5))
