"""Shares, the league and the places where more happens than chance explains."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import hypothesis.strategies as st
import pytest
from hypothesis import given

from cloud.assessment.domain import (
    LEAST_CASES,
    Cell,
    Figures,
    Share,
    above,
    adjusted,
    hotspots,
    league,
    roll_up,
    score,
    tail,
)


def exact_tail(count: int, total: int, share: Fraction) -> Fraction:
    terms = (
        math.comb(total, k) * share**k * (1 - share) ** (total - k) for k in range(max(count, 0), total + 1)
    )
    return sum(terms, Fraction(0))


@given(
    st.integers(0, 60),
    st.integers(0, 60),
    st.fractions(Fraction(1, 50), Fraction(49, 50), max_denominator=50),
)
def test_the_tail_is_the_exact_one(count: int, total: int, share: Fraction) -> None:
    expected = float(exact_tail(count, total, share))
    assert tail(count, total, float(share)) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("count", "total", "share"), [(0, 10, 0.5), (3, 3, 1.0), (5, 10, 1.0)])
def test_what_is_certain_has_the_probability_one(count: int, total: int, share: float) -> None:
    assert tail(count, total, share) == 1.0


def test_great_counts_neither_overflow_nor_take_for_ever() -> None:
    assert tail(1, 0, 0.5) == 0.0
    assert tail(1, 5, 0.0) == 0.0
    assert tail(60_000, 100_000, 0.5) < 1e-300 or tail(60_000, 100_000, 0.5) == 0.0
    assert tail(50_000, 100_000, 0.5) == pytest.approx(0.5012615, rel=1e-4)
    assert tail(40_000, 100_000, 0.5) == pytest.approx(1.0)


def test_benjamini_and_hochberg_as_in_their_paper() -> None:
    # Their section 3.2: of these fifteen the four smallest are significant at 0.05.
    p = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.3240,
        0.4262,
        0.5719,
        0.6528,
        0.7590,
        1.0,
    ]
    q = adjusted(p, 15)
    assert sum(one <= 0.05 for one in q) == 4
    assert q[3] == pytest.approx(0.0095 * 15 / 4)
    assert q == sorted(q)
    assert all(one <= 1.0 for one in q)
    # Those that are not even listed count as tests all the same.
    assert adjusted(p[:4], 150)[0] == pytest.approx(0.0001 * 150)


def test_a_city_without_anything_special_has_next_to_no_hotspots_and_a_planted_one_is_found() -> None:
    seeded = random.Random(5)
    places, found = 60, 0
    for _ in range(40):
        counts = [sum(seeded.random() < 1 / places for _ in range(600)) for _ in range(places)]
        cells = [Cell(f"grid-{n}", "x", c, sum(counts) - c, 1 / places) for n, c in enumerate(counts) if c]
        found += bool(hotspots(cells, places))
    assert found <= 6  # one city in twenty is expected to have one by chance
    counts[7] += 30
    cells = [Cell(f"grid-{n}", "x", c, sum(counts) - c, 1 / places) for n, c in enumerate(counts) if c]
    (hot,) = hotspots(cells, places)
    assert hot.cell.place == "grid-7"
    assert hot.expected < hot.cell.count / 2
    assert hot.p <= hot.q <= 0.05


def test_many_tickets_are_no_hotspot_where_many_are_expected() -> None:
    even = [Cell(f"grid-{n}", "x", 500, 1500, 0.25) for n in range(4)]
    assert hotspots(even, 4) == []
    few = [Cell("grid-1", "x", 2, 0, 0.25)]  # two of two: striking, and proof of nothing
    assert hotspots(few, 4) == []


def test_a_share_of_few_cases_proves_little() -> None:
    assert Share().value is None
    assert Share().lower is None
    assert Share(1, 1).value == 1.0
    assert Share(1, 1).lower == pytest.approx(0.2065, abs=1e-4)
    assert Share(10, 10).lower == pytest.approx(0.7225, abs=1e-4)
    assert Share(0, 10).lower == 0.0
    assert Share(98, 100).lower == pytest.approx(0.9300, abs=1e-4)


@given(st.integers(0, 500), st.integers(1, 500))
def test_the_lower_end_lies_between_nothing_and_the_share(part: int, of: int) -> None:
    share = Share(min(part, of), of)
    assert share.lower is not None
    assert share.value is not None
    assert 0.0 <= share.lower <= share.value + 1e-12


def resolved(met: int, of: int) -> Figures:
    return Figures(tickets=of, resolve=of, resolve_met=met)


def test_the_league_puts_what_is_proven_first_and_ranks_nobody_by_a_handful() -> None:
    table = league(
        {
            "lucky": resolved(5, 5),
            "steady": resolved(98, 100),
            "twin": resolved(98, 100),
            "poor": resolved(40, 100),
            "new": resolved(LEAST_CASES - 1, LEAST_CASES - 1),
            "idle": Figures(),
        }
    )
    assert [(one.unit_code, one.rank) for one in table] == [
        ("steady", 1),
        ("twin", 1),
        ("lucky", 3),
        ("poor", 4),
        ("idle", None),
        ("new", None),
    ]
    assert table[0].score == pytest.approx(93.0, abs=0.1)


def test_what_a_unit_has_no_case_of_is_left_out_of_its_score() -> None:
    only = score(resolved(98, 100))
    both = score(resolved(98, 100) + Figures(calls=100, answered=98))
    worse = score(resolved(98, 100) + Figures(calls=100, answered=20))
    assert only == pytest.approx(both)
    assert worse is not None
    assert only is not None
    assert worse < only
    assert score(Figures()) is None
    stars = Figures(ratings=10, stars=50)
    assert stars.shares["rated"].value == 1.0
    assert Figures(ratings=10, stars=10).shares["rated"].value == 0.0


PARENTS = {"c": None, "s1": "c", "s2": "c", "v1": "s1", "g1": "v1", "g2": "s1", "d": "c"}
KINDS = {
    "c": "centre",
    "s1": "street",
    "s2": "street",
    "v1": "community",
    "g1": "grid",
    "g2": "grid",
    "d": "department",
}


def test_streets_stand_for_all_below_them() -> None:
    by_unit = {
        "g1": resolved(1, 2),
        "g2": resolved(1, 1),
        "s1": resolved(3, 3),
        "d": resolved(9, 9),
        "gone": resolved(1, 1),
    }
    rolled = roll_up(by_unit, PARENTS, KINDS, "street")
    assert set(rolled) == {"s1", "s2"}
    assert (rolled["s1"].resolve_met, rolled["s1"].resolve) == (5, 6)
    assert rolled["s2"] == Figures()
    assert roll_up(by_unit, PARENTS, KINDS, "department") == {"d": resolved(9, 9)}
    assert above("g1", PARENTS, KINDS, "community") == "v1"
    assert above("g2", PARENTS, KINDS, "community") is None
    assert above(None, PARENTS, KINDS, "street") is None
