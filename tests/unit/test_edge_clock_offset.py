"""How far a box's clock is from the district's."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from common.runtime.clock import ManualClock
from edge.clock_offset import ClockOffset


def receive(offset: ClockOffset, box: ManualClock, district_ahead_s: float, delay_s: float) -> None:
    """A receipt made now, read after its way."""
    made_at_ms = box.now_ms() + round(district_ahead_s * 1000)
    box.advance(delay_s)
    offset.receipt(made_at_ms, box.monotonic())


def shown(offset: ClockOffset, box: ManualClock) -> int | None:
    return offset.offset_ms(box.now_ms(), box.monotonic())


def test_nothing_is_said_before_the_first_receipt() -> None:
    assert shown(ClockOffset(), ManualClock()) is None


def test_the_least_delayed_receipt_says_how_far_the_clocks_are_apart() -> None:
    box, offset = ManualClock(), ClockOffset()
    for delay_s in (0.9, 0.02, 2.5, 0.4):
        receive(offset, box, 37.0, delay_s)
        box.advance(10)
    assert shown(offset, box) == 37_000 - 20


def test_half_of_the_quickest_way_to_the_broker_and_back_is_the_receipts_own_way() -> None:
    box, offset = ManualClock(), ClockOffset()
    for seconds in (0.8, 0.3, 1.4):
        offset.round_trip(seconds)
    receive(offset, box, -5.0, 0.15)
    assert shown(offset, box) == -5_000


def test_a_clock_that_is_set_is_right_at_once_and_does_not_wait_for_receipts() -> None:
    box, offset = ManualClock(), ClockOffset()
    receive(offset, box, 3600.0, 0.0)
    assert shown(offset, box) == 3_600_000
    box.jump(3600.0)
    assert shown(offset, box) == 0


def test_another_gateways_clock_is_followed_when_the_old_ones_receipts_are_forgotten() -> None:
    box, offset = ManualClock(), ClockOffset()
    receive(offset, box, 8.0, 0.0)
    for _ in range(16):
        box.advance(10)
        receive(offset, box, 0.5, 0.0)
    assert shown(offset, box) == 500


def test_receipts_of_long_ago_say_nothing_any_more() -> None:
    box, offset = ManualClock(), ClockOffset()
    receive(offset, box, 8.0, 0.0)
    box.advance(901)
    receive(offset, box, 2.0, 0.0)
    assert shown(offset, box) == 2_000


@settings(max_examples=60, deadline=None)
@given(
    ahead_s=st.floats(-86_400, 86_400),
    delays=st.lists(st.floats(0, 30), min_size=1, max_size=40),
)
def test_whatever_the_delays_it_is_wrong_by_the_least_of_the_last_ones_at_most(
    ahead_s: float, delays: list[float]
) -> None:
    box, offset = ManualClock(), ClockOffset()
    for delay_s in delays:
        receive(offset, box, ahead_s, delay_s)
    found = shown(offset, box)
    assert found is not None
    assert -2 <= round(ahead_s * 1000) - found <= min(delays[-16:]) * 1000 + 2
