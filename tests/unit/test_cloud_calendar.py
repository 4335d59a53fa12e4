"""Working time: due, worked, split, stopped and resumed; holidays and years that nobody has published."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.calendar.domain import (
    DISTRICT_ZONE,
    Holidays,
    WorkingCalendar,
    days_known,
    due_at,
    worked_s,
)
from cloud.calendar.files import read_year, shipped_years
from common.runtime.config import InvalidConfigError
from common.runtime.errors import InvalidError

H = 3600
WEEK = frozenset({1, 2, 3, 4, 5})
OFFICE = WorkingCalendar("office", WEEK, ((9 * H, 12 * H), (13 * H + 1800, 17 * H + 1800)), holidays=True)
PUBLISHED = OFFICE.keeping(shipped_years())


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=DISTRICT_ZONE)


instants = st.datetimes(datetime(2023, 12, 1), datetime(2027, 6, 1), timezones=st.just(UTC))  # noqa: DTZ001 - the zone is given beside it
spans = st.integers(0, 40 * 7 * H)
calendars = st.one_of(
    st.none(),
    st.just(PUBLISHED),
    st.builds(
        WorkingCalendar,
        st.just("any"),
        st.frozensets(st.integers(1, 7), min_size=1),
        st.lists(st.integers(0, 86_400), min_size=2, max_size=6, unique=True).map(
            lambda cuts: tuple(zip(sorted(cuts)[::2], sorted(cuts)[1::2], strict=False))
        ),
        st.just(True),
        st.just(frozenset({2024, 2025, 2026})),
        st.just(PUBLISHED.off),
        st.just(PUBLISHED.work),
    ).filter(lambda calendar: calendar.day_s >= 600),
)
some_seconds = st.integers(0, 60 * 600)


@given(calendars, instants, some_seconds, some_seconds)
def test_more_time_is_never_due_earlier(
    calendar: WorkingCalendar | None, start: datetime, one: int, more: int
) -> None:
    assert start <= due_at(calendar, start, one) <= due_at(calendar, start, one + more)


@given(calendars, instants, st.timedeltas(timedelta(0), timedelta(days=30)), some_seconds)
def test_what_starts_later_is_never_due_earlier(
    calendar: WorkingCalendar | None, start: datetime, later: timedelta, seconds: int
) -> None:
    assert due_at(calendar, start, seconds) <= due_at(calendar, start + later, seconds)


@given(calendars, instants, st.lists(some_seconds, max_size=5))
def test_a_time_may_be_split_anywhere(
    calendar: WorkingCalendar | None, start: datetime, parts: list[int]
) -> None:
    at = start
    for part in parts:
        at = due_at(calendar, at, part)
    assert at == due_at(calendar, start, sum(parts))


@given(calendars, instants, some_seconds)
def test_until_it_is_due_exactly_that_much_is_worked(
    calendar: WorkingCalendar | None, start: datetime, seconds: int
) -> None:
    assert worked_s(calendar, start, due_at(calendar, start, seconds)) == seconds


@given(calendars, instants, st.lists(st.timedeltas(timedelta(0), timedelta(days=9)), min_size=1, max_size=4))
def test_what_is_worked_adds_up(
    calendar: WorkingCalendar | None, start: datetime, steps: list[timedelta]
) -> None:
    at, total = start, 0.0
    for step in steps:
        total += worked_s(calendar, at, at + step)
        at += step
    assert total == pytest.approx(worked_s(calendar, start, at), abs=1e-5)


@given(
    calendars,
    instants,
    some_seconds,
    st.lists(st.tuples(st.integers(0, 4 * 86_400), st.integers(0, 4 * 86_400)), max_size=5),
)
def test_stops_resume_exactly(
    calendar: WorkingCalendar | None, start: datetime, seconds: int, pauses: list[tuple[int, int]]
) -> None:
    """Work, stop, go on: what is left is what was given less what was worked while it ran."""
    now, due, worked = start, due_at(calendar, start, seconds), 0.0
    for run_s, stop_s in pauses:
        until = min(now + timedelta(seconds=run_s), due)
        worked += worked_s(calendar, now, until)
        left = worked_s(calendar, until, due)
        now = until + timedelta(seconds=stop_s)
        due = due_at(calendar, now, left)
    assert worked + worked_s(calendar, now, due) == pytest.approx(seconds, abs=1e-5)


@pytest.mark.parametrize(
    ("start", "hours", "due"),
    [
        ("2026-06-01T09:00", 2, "2026-06-01T11:00"),
        ("2026-06-01T11:00", 1, "2026-06-01T12:00"),  # exactly to the end of a stretch
        ("2026-06-01T11:00", 2, "2026-06-01T14:30"),  # over lunch
        ("2026-06-01T22:00", 1, "2026-06-02T10:00"),  # opened at night
        ("2026-06-05T17:00", 1, "2026-06-08T09:30"),  # over a weekend
        ("2026-02-13T17:00", 1, "2026-02-14T09:30"),  # the Saturday is a make-up day
        ("2026-02-14T17:00", 1, "2026-02-24T09:30"),  # over nine days of Spring Festival
        ("2026-02-27T17:00", 1, "2026-02-28T09:30"),  # and its second make-up day
        ("2026-09-30T17:00", 1, "2026-10-08T09:30"),  # over National Day
        ("2025-09-30T17:00", 1, "2025-10-09T09:30"),
        ("2024-10-11T17:00", 1, "2024-10-12T09:30"),
    ],
)
def test_working_hours_as_a_person_counts_them(start: str, hours: int, due: str) -> None:
    assert due_at(PUBLISHED, local(start), hours * H) == local(due)


def test_a_day_under_a_calendar_is_its_working_day() -> None:
    assert PUBLISHED.day_s == 7 * H
    # Three working days from Thursday noon, a weekend between.
    assert due_at(PUBLISHED, local("2026-06-11T12:00"), 3 * PUBLISHED.day_s) == local("2026-06-16T12:00")


def test_the_zone_has_no_summer_time() -> None:
    for month in range(1, 13):
        assert due_at(OFFICE, local(f"2026-{month:02}-01T00:00"), 1).astimezone(DISTRICT_ZONE).hour == 9


def test_the_shipped_years_say_where_they_come_from() -> None:
    assert [one.year for one in shipped_years()] == [2024, 2025, 2026]
    for one in shipped_years():
        assert "国务院办公厅" in one.source
        # Each notice of these years gives this many days beyond weekends, less the days worked instead.
        off = sum(
            1
            for first, last in one.off
            for n in range((last - first).days + 1)
            if (first + timedelta(days=n)).isoweekday() < 6
        )
        assert off - len(one.work) == {2024: 11, 2025: 13, 2026: 13}[one.year]


def test_a_year_that_nobody_has_published_is_named_and_not_guessed() -> None:
    before, after = local("2026-12-31T17:00"), local("2027-01-04T10:00")
    assert PUBLISHED.gaps(before, after) == (2027,)
    assert PUBLISHED.gaps(before, before) == ()
    assert PUBLISHED.is_working_day(date(2027, 1, 1))  # a Friday; whether it is off nobody has said
    always_open = WorkingCalendar("shift", WEEK, ((0, 86_400),))
    assert always_open.gaps(before, after) == ()


def test_how_long_the_published_data_reaches() -> None:
    known = frozenset({2024, 2025, 2026})
    assert days_known(known, date(2026, 12, 30)) == 2
    assert days_known(known, date(2027, 1, 1)) == 0
    assert days_known(frozenset({2024, 2026}), date(2024, 12, 31)) == 1


@given(instants, some_seconds)
def test_a_frozen_calendar_says_the_same_from_that_day_on(start: datetime, seconds: int) -> None:
    frozen = WorkingCalendar.from_snapshot(PUBLISHED.snapshot(start.astimezone(DISTRICT_ZONE).date()))
    assert due_at(frozen, start, seconds) == due_at(PUBLISHED, start, seconds)
    assert frozen.gaps(start, start + timedelta(days=400)) == PUBLISHED.gaps(
        start, start + timedelta(days=400)
    )


def test_a_calendar_without_any_time_is_an_error_and_no_endless_search() -> None:
    closed = WorkingCalendar(
        "closed", WEEK, ((0, H),), holidays=True, off=((date(2020, 1, 1), date(2050, 1, 1)),)
    )
    with pytest.raises(InvalidError, match="ten years"):
        due_at(closed, local("2026-01-01T00:00"), 1)


def test_a_calendar_that_keeps_no_holidays_works_through_them() -> None:
    shift = WorkingCalendar("shift", WEEK, ((0, 86_400),)).keeping(
        (Holidays(2026, "", ((date(2026, 1, 1), date(2026, 1, 1)),), ()),)
    )
    assert shift.is_open(local("2026-01-01T03:00"))
    assert not PUBLISHED.is_open(local("2026-01-01T10:00"))
    assert PUBLISHED.is_open(local("2026-01-04T10:00"))
    assert not PUBLISHED.is_open(local("2026-01-04T12:00"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("work: [2027-02-07]\nholidays: [{name_zh: 元旦, name_en: N, first: 2028-01-01, last: 2028-01-01}]", "a day of 2027"),
        ("work: [2027-02-08]\nholidays: [{name_zh: 元旦, name_en: N, first: 2027-01-01, last: 2027-01-01}]", "is a weekday"),
        ("work: [2027-01-02]\nholidays: [{name_zh: 元旦, name_en: N, first: 2027-01-01, last: 2027-01-03}]", "off as well"),
        ("work: []\nholidays: [{name_zh: 元旦, name_en: N, first: 2027-01-03, last: 2027-01-01}]", "or later"),
        ("work: []\nholidays: []", "at least 1"),
    ],
)  # fmt: skip
def test_a_year_that_contradicts_itself_is_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "2027.yaml"
    file.write_text(f"year: 2027\nsource: nobody\n{text}\n", encoding="utf-8")
    with pytest.raises(InvalidConfigError) as caught:
        read_year(file)
    assert any(words in fault.message for fault in caught.value.faults), caught.value.faults
