"""Which minutes a batch makes dirty: all it wrote to, none forgotten in merging, cutting or putting back."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.keeping.dirty import (
    LIVE_MINUTES,
    MINUTE_MS,
    Range,
    Touched,
    Work,
    gather,
    hours,
    split,
    subtract,
    touched,
    union,
)

NOW = 29_000_000  # minutes since the Unix epoch
Group = tuple[int, int, list[int]]
RANGES = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 12)).map(lambda r: (r[0], r[0] + r[1])), max_size=8
)
NEAR = st.integers(-4000, 1500)
GROUPS = st.lists(
    st.tuples(st.integers(1, 4), st.integers(-2, 2), st.lists(NEAR, min_size=1, max_size=5)),
    min_size=1,
    max_size=12,
)


def minutes(ranges: list[Range]) -> set[int]:
    return {minute for first, until in ranges for minute in range(first, until)}


def of_groups(groups: list[Group]) -> Touched:
    """What a batch touched whose groups are (series, minute of receipt, minutes of capture), as offsets from now."""
    captured = [(NOW + minute) * MINUTE_MS + 17 for _, _, group in groups for minute in group]
    received = [(NOW + came) * MINUTE_MS + 900 for _, came, group in groups for _ in group]
    lengths = np.array([len(group) for _, _, group in groups])
    starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))[:-1]
    series = np.array([one for one, _, _ in groups])
    return touched(np.array(captured), np.array(received), starts, series)


def covered(found: Touched, series: int) -> set[int]:
    """The minutes of a series that will be computed anew."""
    own = [
        (first, until)
        for one, first, until in zip(found.series, found.late_from, found.late_until, strict=True)
        if one == series
    ]
    return minutes(own + ([found.live] if found.live else []))


@given(GROUPS)
def test_every_minute_that_was_written_to_is_noted(groups: list[Group]) -> None:
    found = of_groups(groups)
    for series, _, group in groups:
        assert {NOW + minute for minute in group} <= covered(found, series)


def test_live_readings_cost_one_range_however_many_series_they_are() -> None:
    found = of_groups([(series, 0, [0, -1, -LIVE_MINUTES]) for series in range(1, 500)])
    assert found == Touched((NOW - LIVE_MINUTES, NOW + 1))


def test_late_readings_name_their_series_and_make_no_other_series_dirty() -> None:
    found = of_groups([(1, 0, [0]), (2, 0, [-600, -599]), (2, 0, [-598]), (3, 0, [30])])
    assert found == Touched((NOW, NOW + 1), [2, 3], [NOW - 600, NOW + 30], [NOW - 597, NOW + 31])


@given(RANGES, RANGES)
def test_ranges_are_joined_and_subtracted_as_sets_of_minutes_are(
    left: list[Range], right: list[Range]
) -> None:
    joined = union(left)
    assert minutes(joined) == minutes(left)
    assert all(before[1] < after[0] for before, after in pairwise(joined))
    assert minutes(subtract(joined, union(right))) == minutes(left) - minutes(right)


@given(
    RANGES,
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 60), st.integers(0, 60)), max_size=8),
    st.integers(0, 70),
)
def test_gathering_keeps_every_minute_that_may_be_computed(
    live: list[Range], late: list[tuple[int, int, int]], since: int
) -> None:
    work = gather(live, late, since)
    allowed = set(range(since, 200))
    assert minutes(work.everything) == minutes(live) & allowed
    for series in (1, 2, 3):
        wanted = minutes([(first, until) for one, first, until in late if one == series]) & allowed
        assert minutes(work.single.get(series, [])) == wanted - minutes(work.everything)


@given(RANGES, RANGES, st.integers(0, 60_000))
def test_a_piece_and_the_rest_are_the_whole_and_every_piece_gets_on(
    everything: list[Range], single: list[Range], budget: int
) -> None:
    work = Work(union(everything), {7: ranges} if (ranges := union(single)) else {})
    now, rest = split(work, budget)
    assert bool(now) == bool(work)
    assert minutes(now.everything) | minutes(rest.everything) == minutes(work.everything)
    assert not minutes(now.everything) & minutes(rest.everything)
    pieces = [minutes(part.single.get(7, [])) for part in (now, rest)]
    assert pieces[0] | pieces[1] == minutes(work.single.get(7, []))
    assert not pieces[0] & pieces[1]
    assert now.minutes() + rest.minutes() == work.minutes()


def test_minutes_lie_in_their_hours() -> None:
    assert hours([(59, 60), (60, 61), (119, 121)]) == [(0, 3)]
    assert hours([(60, 120)]) == [(1, 2)]
