"""When a stretch is a recurring place, and when it has got better: by the hours that were looked."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.calendar.domain import DISTRICT_ZONE
from cloud.district.checks import read_district
from cloud.incidents.domain import Device
from cloud.recurring.domain import (
    WHOLE_DAY,
    Band,
    Rate,
    RecurringRule,
    Stretch,
    bands_of,
    distance_to_line_m,
    exceeds,
    fell,
    judge,
    stretch_of,
)
from cloud.verify.domain import Verdict
from common.runtime.config import InvalidConfigError
from tests.unit.test_cloud_district import SMALL

H = 3600
MONDAY = datetime(2026, 6, 1, tzinfo=DISTRICT_ZONE)
MORNING = Band("morning", "早高峰", "Morning", (1, 2, 3, 4, 5), ((7 * H, 9 * H),))
RULE = RecurringRule(
    "camera.no_helmet",
    ("morning",),
    20.0,
    7 * 24 * H,
    20,
    2 * H,
    verify_looked_s=4 * H,
    verify_within_s=14 * 24 * H,
)


def rate(acts: int, looked_h: float, clock_h: float = 100.0, since: datetime = MONDAY) -> Rate:
    return Rate(since, since + timedelta(days=7), acts, looked_h * H, clock_h * H)


def test_a_band_counts_its_own_hours_on_its_own_days() -> None:
    assert MORNING.seconds(MONDAY, MONDAY + timedelta(days=7)) == 5 * 2 * H
    at = MONDAY.replace(hour=8)
    assert MORNING.seconds(at, at + timedelta(minutes=30)) == 1800
    assert MORNING.seconds(at, at + timedelta(hours=12)) == H
    assert WHOLE_DAY.seconds(at, at + timedelta(days=3)) == 3 * 24 * H


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_hours_of_a_band_add_up(one: int, two: int, three: int) -> None:
    a, b, c = (MONDAY + timedelta(seconds=s) for s in sorted((one, two, three)))
    assert MORNING.seconds(a, c) == MORNING.seconds(a, b) + MORNING.seconds(b, c)


def test_a_place_recurs_from_the_limit_on_by_the_hour_looked() -> None:
    assert exceeds(RULE, rate(200, 10))
    assert not exceeds(RULE, rate(199, 10))


def test_few_acts_and_little_looking_say_nothing() -> None:
    assert not exceeds(RULE, rate(19, 0.5))  # 38 an hour, but too few
    assert not exceeds(RULE, rate(60, 1.9))  # and looked for too short a time


def test_where_nobody_keeps_books_the_clock_gives_a_rate_that_it_cannot_be_below() -> None:
    assert rate(300, 0, 10).per_h is None
    assert exceeds(RULE, rate(300, 0, 10))
    assert not exceeds(RULE, rate(199, 0, 10))


def claim(acts: int, looked_h: float, clock_h: float = 100.0) -> Rate:
    return rate(acts, looked_h, clock_h, MONDAY + timedelta(days=7))


SOON, LATE = MONDAY + timedelta(days=8), MONDAY + timedelta(days=30)
BEFORE = rate(300, 10)


def test_a_rate_that_came_down_is_clean() -> None:
    assert judge(RULE, BEFORE, claim(10, 4), SOON) is Verdict.CLEAN


def test_a_rate_at_the_limit_still_is_dirty() -> None:
    assert judge(RULE, BEFORE, claim(80, 4), SOON) is Verdict.DIRTY


def test_nothing_is_said_before_enough_was_looked() -> None:
    assert judge(RULE, BEFORE, claim(0, 3.9), SOON) is Verdict.WAIT


def test_a_camera_that_did_not_look_makes_nothing_come_down_but_blind() -> None:
    assert judge(RULE, BEFORE, claim(0, 0), SOON) is Verdict.WAIT
    assert judge(RULE, BEFORE, claim(0, 0), LATE) is Verdict.BLIND
    assert judge(RULE, BEFORE, claim(0, 3.9), LATE) is Verdict.BLIND


def test_acts_that_pass_the_limit_even_by_the_clock_are_dirty_without_books() -> None:
    assert judge(RULE, BEFORE, claim(200, 0, 10), SOON) is Verdict.DIRTY


def test_a_fall_that_chance_explains_is_waited_for_and_then_is_none() -> None:
    before, after = rate(21, 1), claim(78, 4)  # 21 an hour, then 19.5
    assert not fell(before, after)
    assert judge(RULE, before, after, SOON) is Verdict.WAIT
    assert judge(RULE, before, after, LATE) is Verdict.DIRTY


@given(st.integers(0, 400), st.floats(0, 40), st.integers(0, 60))
def test_clean_only_after_enough_looking_and_below_the_limit(acts: int, looked_h: float, days: int) -> None:
    after = claim(acts, looked_h)
    verdict = judge(RULE, BEFORE, after, after.since + timedelta(days=days))
    if verdict is Verdict.CLEAN:
        assert looked_h >= 4
        assert acts / looked_h < 20
    if looked_h == 0:
        assert verdict is not Verdict.CLEAN


def test_a_camera_watches_the_stretch_that_names_it_or_the_nearest_or_its_own() -> None:
    avenue = Stretch("avenue", "大街", "Avenue", ((119.300, 26.080), (119.310, 26.080)), 60)
    lane = Stretch("lane", "巷", "Lane", (), 60, ("gulou/far",))
    names = ("灯杆", "Pole")
    near = Device(1, "gulou", "near", 119.305, 26.0804)  # 44 m from the line, 500 m from its ends
    away = Device(2, "gulou", "away", 119.305, 26.0810)
    far = Device(3, "gulou", "far", 119.305, 26.0800)
    assert stretch_of(near, names, [lane, avenue]) is avenue
    assert stretch_of(far, names, [lane, avenue]) is lane
    own = stretch_of(away, names, [lane, avenue])
    assert (own.code, own.name_en) == ("gulou/away", "Pole")
    assert distance_to_line_m(119.305, 26.0804, avenue.points) == pytest.approx(44.5, abs=0.1)
    assert distance_to_line_m(119.32, 26.08, avenue.points) == pytest.approx(998.7, rel=0.01)


def test_a_rule_without_bands_counts_the_whole_day() -> None:
    assert bands_of(RULE, [MORNING]) == (MORNING,)
    whole = RecurringRule("camera.no_helmet", (), 20, H, 1, H, H, H)
    assert bands_of(whole, [MORNING]) == (WHOLE_DAY,)


DISTRICT = """\
bands:
  - {name: morning, name_zh: 早高峰, name_en: Morning, hours: ["07:00-09:00"]}
stretches:
  - {code: avenue, name_zh: 大街, name_en: Avenue, points: [[0.1, 0.5], [0.9, 0.5]]}
recurring:
  - {category: camera.no_helmet, bands: [morning], per_hour: 20}
"""


def test_a_district_says_where_and_when_and_how_often(tmp_path: Path) -> None:
    path = tmp_path / "district.yaml"
    path.write_text(SMALL + DISTRICT, encoding="utf-8")
    district = read_district(path)
    assert district.bands[0].band().hours == ((7 * H, 9 * H),)
    assert district.recurring[0].rule() == RULE


def test_every_fault_of_recurring_places_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "district.yaml"
    path.write_text(
        SMALL + "bands:\n"
        "  - {name: day, name_zh: 全天, name_en: Day, hours: ['07:00-09:00']}\n"
        "  - {name: evening, name_zh: 晚, name_en: Evening, hours: ['17:00-19:00', '18:00-20:00']}\n"
        "stretches:\n"
        "  - {code: nowhere, name_zh: 无, name_en: Nowhere}\n"
        "recurring:\n"
        "  - {category: camera.no_helmet, bands: [evning], per_hour: 20, over: 90d}\n"
        "  - {category: camera.fire, per_hour: 1}\n",
        encoding="utf-8",
    )
    with pytest.raises(InvalidConfigError) as caught:
        read_district(path)
    said = [fault.message for fault in caught.value.faults]
    for fault in (
        "'day' stands for the whole day",
        "expected hours in order and apart",
        "expected points or cameras",
        "no band 'evning' (did you mean 'evening'?)",
        "at most 60d",
        "'camera.fire' goes on and is a ticket by itself",
    ):
        assert any(fault in one for one in said), (fault, said)
