"""Whose turn it is on the way to the evidence door: a door that is away is left alone, a picture that fails keeps nobody."""

from __future__ import annotations

import random

import pytest

from edge.upload_order import UploadOrder

FIRST_S, LONGEST_S = 2.0, 300.0
MANY = [f"picture-{number}" for number in range(12)]


def new() -> UploadOrder:
    return UploadOrder(FIRST_S, LONGEST_S, random.Random(7))


def away(order: UploadOrder, names: list[str], now: float) -> list[float]:
    """The door fails each of them in turn; the pauses."""
    return [order.failed(name, now) for name in names]


def blame(order: UploadOrder, name: str, now: float) -> None:
    """It fails twice, and each time the next one passes."""
    for number in range(2):
        assert order.failed(name, now) > 0, (
            "one answer does not tell, and neither does one that passed before it"
        )
        order.taken(f"after-{name}-{number}", now)


def test_pauses_stay_within_bounds_however_long_the_door_is_away() -> None:
    """An evidence door that is gone for a week is thousands of failures in a row."""
    order = new()
    assert all(1 <= order.failed("a", 0.0) <= LONGEST_S for _ in range(5000))
    assert order.failed("a", 0.0) >= LONGEST_S / 2


def test_who_failed_for_the_doors_sake_goes_on_at_once_when_the_door_is_well() -> None:
    order = new()
    away(order, ["a", "b", "a", "b", "a"], 0.0)
    assert order.tried() == {"a", "b"}
    assert order.resting(0.0) == {"a", "b"}
    order.taken("c", 1.0)
    assert (order.tried(), order.resting(1.0)) == (set(), set())


def test_a_picture_that_fails_again_and_again_while_others_pass_keeps_nobody() -> None:
    order = new()
    blame(order, "a", 0.0)
    assert order.resting(0.0) == set(), "once more, now by itself"
    assert order.failed("a", 0.0) == 0
    assert order.is_alone("a")
    assert (order.resting(0.0), order.tried()) == ({"a"}, set())
    order.taken("b", 3.0)
    assert order.failed("a", 3.0) == 0
    before = order.rests_s("a", 3.0)
    while order.rests_s("a", 3.0) <= before:  # jittered, and longer and longer
        assert order.failed("a", 3.0) == 0
    order.forget_but(set())
    assert order.resting(3.0) == set()


@pytest.mark.parametrize("outages", [2, 3, 6])
@pytest.mark.parametrize("passes", [MANY[0], "a new one"], ids=["one-that-failed", "a-new-one"])
def test_a_door_that_comes_and_goes_is_left_alone_longer_and_longer_each_time(
    passes: str, outages: int
) -> None:
    order = new()
    names = MANY[1:]
    for outage in range(outages):
        now = 1000.0 * outage
        if passes == MANY[0]:
            away(order, [passes], now)
        pauses = away(order, names, now)
        assert min(pauses) >= FIRST_S / 2
        assert pauses[-1] >= LONGEST_S / 2
        assert not any(order.is_alone(name) for name in MANY), "others do not pass"
        order.taken(passes, now + 500)
        assert order.resting(now + 500) == set(), "none rests for the door's sake once it is well"


def test_a_door_that_goes_away_after_two_were_to_blame_is_spared_by_them_too() -> None:
    order = new()
    for name in ("a", "b"):
        blame(order, name, 0.0)
    assert order.failed("a", 1.0) == 0
    assert order.failed("b", 1.0) > 0, "nobody passed since another failed"
    assert not order.is_alone("b")
    assert order.failed("c", 1.0) > 0
    order.taken("c", 2.0)
    assert order.resting(2.0) == set(), "c failed with them and passes now: it was the door"
    assert order.failed("a", 3.0) > 0, "to be found out anew"


def test_two_that_always_fail_let_the_next_be_tried_soon_however_often_they_did() -> None:
    order = new()
    for number in range(4):
        away(order, ["a", "b"], 0.0)
        order.taken(f"good-{number}", 0.0)
    assert max(away(order, ["a", "b"] * 50, 0.0)) <= 2 * FIRST_S
