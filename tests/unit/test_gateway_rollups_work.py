"""Which minutes a batch makes dirty: all it wrote to, none forgotten in merging and cutting."""

from __future__ import annotations

from collections import Counter
from itertools import cycle, pairwise, product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.rollups.dirty import LIVE_MINUTES, MINUTE_MS, Range, Touched, touched
from gateway.rollups.work import Spans, areas, gather, hours, slices, union

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


SPANS = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 60), st.integers(0, 60)), max_size=8)
Cells = set[tuple[int, int]]


def spans(rows: list[tuple[int, int, int]]) -> Spans:
    return Spans(*(np.array([row[place] for row in rows], np.int64) for place in range(3)))


def listed(found: Spans) -> list[tuple[int, int, int]]:
    return list(zip(found.series.tolist(), found.first.tolist(), found.until.tolist(), strict=True))


def cells(found: Spans) -> Cells:
    """(series, minute) of every cell."""
    return {(one, minute) for one, first, until in listed(found) for minute in range(first, until)}


def cell_count(found: Spans) -> int:
    return int(np.maximum(found.until - found.first, 0).sum())


@given(RANGES)
def test_ranges_are_joined_as_sets_of_minutes_are(ranges: list[Range]) -> None:
    joined = union(ranges)
    assert minutes(joined) == minutes(ranges)
    assert all(before[1] < after[0] for before, after in pairwise(joined))


@given(SPANS)
def test_ranges_of_single_series_are_joined_in_order_and_no_cell_comes_twice(
    rows: list[tuple[int, int, int]],
) -> None:
    joined = spans(rows).joined()
    assert cells(joined) == cells(spans(rows))
    assert cell_count(joined) == len(cells(joined))
    assert listed(joined) == sorted(listed(joined))


@given(RANGES, SPANS, st.integers(0, 70))
def test_gathering_keeps_every_minute_that_may_be_computed(
    live: list[Range], late: list[tuple[int, int, int]], since: int
) -> None:
    work = gather(live, spans(late), since)
    assert minutes(work.everything) == {minute for minute in minutes(live) if minute >= since}
    wanted = {
        cell for cell in cells(spans(late)) if cell[1] >= since and cell[1] not in minutes(work.everything)
    }
    assert cells(work.single) == wanted
    assert cell_count(work.single) == len(wanted)


@given(SPANS, st.integers(1, 40))
def test_slices_of_single_series_are_the_whole_and_none_is_far_too_large(
    rows: list[tuple[int, int, int]], size: int
) -> None:
    whole = spans(rows).joined()
    found = list(slices(whole, lambda: size))
    assert set().union(*map(cells, found)) == cells(whole)
    assert sum(map(cell_count, found)) == len(cells(whole))
    assert all(cell_count(one) <= size or len(one) == 1 for one in found)


def test_a_long_replay_of_one_series_is_cut_too() -> None:
    found = list(slices(spans([(7, 0, 3000)]), lambda: 100))
    assert max(map(cell_count, found)) == 500
    assert sum(map(cell_count, found)) == 3000


@given(RANGES, st.integers(1, 30), st.lists(st.integers(0, 400), min_size=1, max_size=9))
def test_areas_cover_every_series_of_every_minute_once_whatever_their_sizes(
    ranges: list[Range], series: int, sizes: list[int]
) -> None:
    turns = cycle(sizes)
    found: Counter[tuple[int, int]] = Counter()
    for area in areas(union(ranges), series, lambda: next(turns)):
        size = (area.until - area.first) * (area.high - area.low)
        assert 0 < size <= max(*sizes, 1)
        found.update(product(range(area.low, area.high), range(area.first, area.until)))
    assert set(found) == set(product(range(series), minutes(union(ranges))))
    assert set(found.values()) <= {1}


def test_minutes_lie_in_their_hours() -> None:
    assert hours([(59, 60), (60, 61), (119, 121)]) == [(0, 3)]
    assert hours([(60, 120)]) == [(1, 2)]
    assert listed(spans([(1, 59, 60), (1, 119, 121), (2, 60, 120)]).hours()) == [(1, 0, 3), (2, 1, 2)]


@given(SPANS, st.integers(0, 60))
def test_hours_that_are_over_and_those_that_are_not_are_all_of_them(
    rows: list[tuple[int, int, int]], over: int
) -> None:
    whole = spans(rows).joined()
    before, after = whole.within(-1, over), whole.within(over, 1000)
    assert cells(before) | cells(after) == cells(whole)
    assert all(minute < over for _, minute in cells(before))
    assert all(minute >= over for _, minute in cells(after))
