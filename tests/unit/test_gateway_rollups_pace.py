"""Rollups take their share of the processor in slices that fit, and rest between them."""

from __future__ import annotations

from common.runtime.clock import ManualClock
from gateway.rollups.pace import Pace


class Rests:
    """Notes how long somebody rested; the clock goes on meanwhile."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.seconds: list[float] = []
        self.stop = False

    def __call__(self, seconds: float) -> bool:
        self.seconds.append(seconds)
        self.clock.advance(seconds)
        return self.stop


def compute(pace: Pace, clock: ManualClock, cell_s: float) -> float:
    """One slice whose cells take so long each; how long it took."""
    cells = pace.size("minutes")
    with pace.slice("minutes", cells):
        clock.advance(cells * cell_s)
    return cells * cell_s


def test_slices_come_to_take_three_hundredths_of_a_second_whatever_a_cell_costs() -> None:
    for cell_s in (3e-5, 6e-5, 4e-4):
        clock = ManualClock()
        pace = Pace(clock, Rests(clock))
        for _ in range(20):
            took = compute(pace, clock, cell_s)
        assert 0.025 < took < 0.035


def test_cells_that_cost_nothing_do_not_make_a_slice_of_them_all() -> None:
    clock = ManualClock()
    pace = Pace(clock, Rests(clock))
    for _ in range(20):
        compute(pace, clock, 1e-8)
    assert pace.size("minutes") == 1000


def test_five_sixths_of_the_time_are_rest_and_whoever_is_behind_rests_less() -> None:
    clock = ManualClock()
    rests = Rests(clock)
    pace = Pace(clock, rests)
    rested = []
    for behind in (0, 150, 300, 3600):
        pace.hurry(behind)
        took = compute(pace, clock, 6e-5)
        rested.append(round(rests.seconds[-1] / took, 2))
    assert rested == [5.0, 2.5, 0.0, 0.0]


def test_what_is_due_gets_later_while_it_is_worked_on() -> None:
    clock = ManualClock()
    rests = Rests(clock)
    pace = Pace(clock, rests)
    pace.hurry(100)
    rested = []
    for goes_by in (0, 50, 150):
        clock.advance(goes_by)
        took = compute(pace, clock, 6e-5)
        rested.append(round(rests.seconds[-1] / took, 1))
    assert rested == [3.3, 2.5, 0.0]
    pace.begin()
    took = compute(pace, clock, 6e-5)
    assert round(rests.seconds[-1] / took, 1) == 5.0


def test_minutes_and_hours_have_sizes_of_their_own() -> None:
    clock = ManualClock()
    pace = Pace(clock, Rests(clock))
    before = pace.size("hours")
    for _ in range(5):
        compute(pace, clock, 1e-6)
    assert pace.size("minutes") > before
    assert pace.size("hours") == before


def test_whoever_is_told_to_stop_while_resting_knows_it() -> None:
    clock = ManualClock()
    rests = Rests(clock)
    pace = Pace(clock, rests)
    compute(pace, clock, 6e-5)
    assert not pace.stopped
    rests.stop = True
    compute(pace, clock, 6e-5)
    assert pace.stopped
