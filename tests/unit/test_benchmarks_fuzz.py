"""What a fuzz run calls growth: memory that stays and rises, not what is under way, and not where nothing was told."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from benchmarks.fuzz.run import GROWTH_MB, GROWTH_SHARE, LONG_ENOUGH, WINDOWS, growth, too_much

FIRST, COUNT = 150_000, 1_000_000
#: How far the run is (0 … 1) → resident memory in MiB.
Course = Callable[[float], float]


def samples(course: Course, told: Callable[[float], bool] = lambda _: True) -> list[tuple[int, float]]:
    """What the gateway tells, 40 times a window; the small packets that come first have all its caches still to fill."""
    before = [(n * FIRST // 100, 20.0 + n) for n in range(100)]
    steps = 2 * WINDOWS * 40
    return before + [(FIRST + n * COUNT // steps, course(n / steps)) for n in range(steps) if told(n / steps)]


def second_half(done: float) -> float:
    """How far it is in the half that counts."""
    return max(done - 0.5, 0.0) * 2


def judged(
    course: Course, count: int = COUNT, told: Callable[[float], bool] = lambda _: True
) -> tuple[float, list[str]]:
    memory = growth(samples(course, told), FIRST, COUNT)
    return memory["growth_mb"], too_much(memory, count)


def test_flat_memory_is_no_growth() -> None:
    assert judged(lambda _: 120.0) == (0.0, [])


def test_what_grows_for_ever_is_told_with_how_much_it_was_and_how_much_may_be() -> None:
    grew, faults = judged(lambda done: 100.0 + 60.0 * done)
    assert grew == pytest.approx(30.0, abs=0.1), "the second half alone is told"
    assert faults == ["the gateway grew by 30.0 MB in the second half, at most 8.0 are allowed"]


@pytest.mark.parametrize(
    ("base_mb", "grown_mb", "too_much_of_it"),
    [
        (100.0, GROWTH_MB - 1, False),
        (100.0, GROWTH_MB + 1, True),
        (400.0, 400.0 * GROWTH_SHARE - 2, False),
        (400.0, 400.0 * GROWTH_SHARE + 2, True),
    ],
)
def test_so_much_of_what_it_has_may_be_added_and_a_little_in_any_case(
    base_mb: float, grown_mb: float, too_much_of_it: bool
) -> None:
    grew, faults = judged(lambda done: base_mb + grown_mb * second_half(done))
    assert grew == pytest.approx(grown_mb, abs=0.1)
    assert bool(faults) is too_much_of_it


def test_caches_that_fill_in_the_first_half_are_no_growth() -> None:
    assert judged(lambda done: 100.0 + 200.0 * min(done, 0.5)) == (0.0, [])


def test_large_messages_under_way_are_no_growth_and_do_not_hide_any() -> None:
    dice = random.Random(3)

    def under_way(done: float) -> float:
        return dice.choice((0.0, 0.0, 20.0, 150.0)) * (1.0 + done)

    assert judged(lambda done: 120.0 + under_way(done)) == (0.0, [])
    grew, faults = judged(lambda done: 120.0 + 20.0 * second_half(done) + under_way(done))
    assert grew == pytest.approx(20.0, abs=1.0)
    assert len(faults) == 1


def test_memory_that_falls_is_no_fault() -> None:
    grew, faults = judged(lambda done: 200.0 - 60.0 * done)
    assert grew < 0
    assert faults == []


def test_a_short_run_is_not_judged() -> None:
    def rising(done: float) -> float:
        return 100.0 + 60.0 * done

    assert judged(rising, LONG_ENOUGH - 1)[1] == []
    assert len(judged(rising, LONG_ENOUGH)[1]) == 1


@pytest.mark.parametrize(
    ("heard_of", "windows"),
    [(lambda _: False, 0), (lambda done: done < 0.6, 2), (lambda done: done > 0.6, 8)],
)
def test_memory_that_was_not_told_of_throughout_is_a_fault_and_not_flat(
    heard_of: Callable[[float], bool], windows: int
) -> None:
    grew, faults = judged(lambda _: 120.0, told=heard_of)
    assert (grew, faults) == (
        0.0,
        [f"the gateway told of its memory in {windows} of the last 10 twentieths of the run"],
    )


@pytest.mark.parametrize("count", [0, -FIRST])
def test_a_gateway_that_ends_before_the_first_mutated_message_leaves_nothing_to_divide_by(count: int) -> None:
    memory = growth([(0, 90.0), (100, 95.0)], FIRST, count)
    assert (memory["windows"], memory["growth_mb"], memory["peak_mb"]) == (0, 0.0, 95.0)
