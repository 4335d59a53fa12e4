"""Topic patterns: what they match, what they ask the broker for, when two would quarrel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters.topics import parse_pattern

LEVELS = st.lists(st.sampled_from(["a", "b", "+", "{x}", "{y}"]), min_size=1, max_size=5).filter(
    lambda levels: levels.count("{x}") < 2 and levels.count("{y}") < 2
)


def test_named_parts_are_taken_from_the_topic() -> None:
    pattern = parse_pattern("plant/{device}/+/{what}")
    assert pattern.match("plant/p-7/left/temp") == {"device": "p-7", "what": "temp"}
    assert pattern.filter() == "plant/+/+/+"
    assert pattern.filter({"device": "p-7"}) == "plant/p-7/+/+"
    assert pattern.match("plant/p-7/temp") is None
    assert pattern.match("other/p-7/left/temp") is None


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        ("", "1–250"),
        (" a", "control"),
        ("a\0b", "control"),
        ("a/#", "each level"),
        ("a/x{device}", "each level"),
        ("a/{Device}", "each level"),
        ("a/{x}/{x}", "stands twice"),
        ("dt/v1/{device}", "not for foreign"),
        ("$SYS/{device}", "not for foreign"),
        ("{device}/b/c/d/e/f", "first of 6 levels"),
    ],
)
def test_what_is_no_pattern_is_refused(topic: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_pattern(topic)


@given(LEVELS, st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=5))
def test_it_matches_what_its_filter_matches(levels: list[str], topic: list[str]) -> None:
    pattern = parse_pattern("/".join(levels))
    asked = pattern.filter().split("/")
    covered = len(asked) == len(topic) and all(a in {"+", t} for a, t in zip(asked, topic, strict=False))
    assert (pattern.match("/".join(topic)) is not None) == covered


@given(LEVELS, LEVELS, st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=5))
def test_two_that_match_one_topic_overlap(one: list[str], other: list[str], topic: list[str]) -> None:
    first, second = parse_pattern("/".join(one)), parse_pattern("/".join(other))
    assert first.overlaps(second) == second.overlaps(first)
    text = "/".join(topic)
    if first.match(text) is not None and second.match(text) is not None:
        assert first.overlaps(second)
