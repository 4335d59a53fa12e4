"""Sets of sequence numbers behave as sets do."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.streams import SequenceSet

_numbers = st.integers(1, 60)


@given(st.lists(_numbers))
def test_adding_one_by_one_is_what_a_set_does(numbers: list[int]) -> None:
    ours, theirs = SequenceSet(), set[int]()
    for number in numbers:
        assert ours.add(number) is (number not in theirs)
        theirs.add(number)
    assert len(ours) == len(theirs)
    assert [n for n in range(70) if n in ours] == sorted(theirs)
    assert ours.highest == max(theirs, default=0)
    assert ours.upto == next(n for n in range(70) if n + 1 not in theirs)
    missing = {n for first, last in ours.gaps() for n in range(first, last + 1)}
    assert missing == set(range(1, ours.highest)) - theirs


@given(st.lists(st.tuples(_numbers, st.integers(0, 20))), _numbers, st.integers(0, 20))
def test_ranges_join_and_say_how_many_were_new(
    ranges: list[tuple[int, int]], start: int, length: int
) -> None:
    ours, theirs = SequenceSet(), set[int]()
    for low, span in ranges:
        new = set(range(low, low + span)) - theirs
        assert ours.add_range(low, low + span) == len(new)
        theirs |= new
    assert [n for n in range(100) if n in ours] == sorted(theirs)
    bounds = list(ours.ranges())
    assert all(end < start for (_, end), (start, _) in itertools.pairwise(bounds)), "touching ranges join"
    missing = {n for low, high in ours.missing_in(start, start + length) for n in range(low, high)}
    assert missing == set(range(start, start + length)) - theirs


@given(st.lists(st.tuples(_numbers, st.integers(1, 20))))
def test_postgresql_text_round_trips(ranges: list[tuple[int, int]]) -> None:
    ours = SequenceSet((low, low + span) for low, span in ranges)
    assert SequenceSet.parse(str(ours)) == ours


def test_the_text_is_what_postgresql_writes() -> None:
    ours = SequenceSet([(1, 500), (502, 510)])
    assert str(ours) == "{[1,500),[502,510)}"
    assert str(SequenceSet()) == "{}"
    with pytest.raises(ValueError, match="int8multirange"):
        SequenceSet.parse("[1,2)")


def test_a_million_numbers_in_order_stay_one_range() -> None:
    ours = SequenceSet()
    for number in range(1, 1_000_001):
        ours.add(number)
    assert str(ours) == "{[1,1000001)}"
