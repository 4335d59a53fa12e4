"""Stream time on the box's clock: it only grows, keeps its distances, and finds its way back after any jump."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.camera.timeline import LiveTimeline

NOW = 1_767_225_600_000


@given(st.lists(st.tuples(st.none() | st.floats(-1e6, 1e6), st.integers(0, 20_000)), min_size=2, max_size=80))
def test_whatever_a_stream_says_instants_only_grow_and_stay_near_the_clock(
    frames: list[tuple[float | None, int]],
) -> None:
    timeline, arrived, given_out = LiveTimeline(), NOW, []
    for stream_s, apart_ms in frames:
        arrived += apart_ms
        given_out.append(timeline.stamp(stream_s, arrived))
        assert given_out[-1] <= arrived + 5_000 + len(given_out)
    assert given_out == sorted(set(given_out))


@given(
    st.lists(st.integers(0, 900), min_size=50, max_size=300),
    st.floats(-50_000, 50_000),
    st.floats(0.9995, 1.0005),
)
def test_lateness_and_drift_do_not_show_in_the_distance_of_frames(
    lateness_ms: list[int], begins_s: float, drift: float
) -> None:
    timeline = LiveTimeline()
    times = [
        timeline.stamp(begins_s + n * 0.1 * drift, NOW + n * 100 + late) for n, late in enumerate(lateness_ms)
    ]
    assert all(94 <= after - before <= 106 for before, after in itertools.pairwise(times))


def test_a_clock_that_drifts_is_followed_for_days() -> None:
    timeline, at = LiveTimeline(), 0
    for n in range(2 * 86_400):
        at = timeline.stamp(n * 1.0002, NOW + n * 1000 + (n * 7919) % 300)
    assert at == pytest.approx(NOW + 2 * 86_400_000, abs=1500)


@pytest.mark.parametrize("jump_s", [-3600.0, -0.5, 60.0, 1e6])
def test_time_that_jumps_or_runs_backwards_is_found_anew_and_counted(jump_s: float) -> None:
    timeline = LiveTimeline()
    times = [timeline.stamp(n * 0.1 + (jump_s if n >= 50 else 0.0), NOW + n * 100) for n in range(100)]
    assert timeline.jumps == 1
    assert times == [NOW + n * 100 for n in range(100)]


@pytest.mark.parametrize("says", [True, False])
def test_where_the_boxs_clock_is_set_back_instants_go_back_with_it(*, says: bool) -> None:
    """A clock in local time taken for UTC is eight hours ahead, until a time service sets it right."""
    timeline, back = LiveTimeline(), 8 * 3_600_000
    times = [
        timeline.stamp(n * 0.1 if says else None, NOW + n * 100 - (back if n >= 50 else 0))
        for n in range(100)
    ]
    assert times == [NOW + n * 100 - (back if n >= 50 else 0) for n in range(100)]


def test_a_burst_after_a_stall_keeps_the_time_at_which_it_was_taken() -> None:
    timeline = LiveTimeline()
    arrivals = [n * 100 if n < 20 or n >= 60 else 6000 for n in range(100)]
    times = [timeline.stamp(n * 0.1, NOW + arrived) for n, arrived in enumerate(arrivals)]
    assert times == [NOW + n * 100 for n in range(100)]
