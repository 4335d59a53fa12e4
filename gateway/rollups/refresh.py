"""Rollups: what batches noted is computed anew from the readings themselves, so late and replayed data come right.

Notes are read, what they speak of is computed in slices, each a transaction, and then the notes are taken out. A
statement that computes begins after the notes were seen, so it sees their readings; a batch that commits meanwhile
leaves its own note for next time. Whoever is ended in between finds the notes again and computes the same once more.
"""

from __future__ import annotations

from typing import Final

from common.runtime.clock import to_datetime
from gateway.fleet.repo import Connection, transaction
from gateway.rollups import repo
from gateway.rollups.dirty import Range
from gateway.rollups.pace import Pace
from gateway.rollups.work import Spans, Work, areas, gather, hours, slices, union

_HOUR_MS: Final = 3_600_000
#: After its end an hour is left this long to what is still under way.
_GRACE_MS: Final = 150_000
_HOURS_AT_ONCE: Final = 4
_FOR_EVER: Final = 1 << 31


def refresh(connection: Connection, now_ms: int, pace: Pace | None = None) -> int:
    """Compute what is due; how many rows were written. Ends early when the pace is told to stop.

    Raises:
        TransientError: when the database went away.
    """
    return _compute(connection, now_ms, (now_ms - _GRACE_MS) // _HOUR_MS, pace or Pace())


def refresh_all(connection: Connection) -> int:
    """Compute everything that was noted, due or not, unfinished minutes and hours included."""
    return _compute(connection, None, _FOR_EVER, Pace())


def _compute(connection: Connection, now_ms: int | None, over: int, pace: Pace) -> int:
    written = 0
    pace.begin()
    while not pace.stopped and (some := _minutes(connection, now_ms, over, pace)) is not None:
        written += some
    while not pace.stopped and (some := _hours(connection, over, pace)) is not None:
        written += some
    return written


def _minutes(connection: Connection, now_ms: int | None, over: int, pace: Pace) -> int | None:
    """What the oldest notes speak of; None when none was due."""
    with transaction(connection):
        notes = repo.notes(connection, None if now_ms is None else to_datetime(now_ms))
        work = gather(notes.live, notes.late, repo.raw_since(connection))
        series = repo.series_end(connection) if work.everything else 0
    if not notes.taken:
        pace.hurry(0)
        return None
    pace.hurry(0 if now_ms is None else (now_ms - notes.due_ms) / 1000)
    later, finished = _hours_of(work, over)
    written = _slices(connection, repo.MINUTES, work, series, pace)
    written += _slices(connection, repo.HOURS, Work([], finished), 0, pace)
    if not pace.stopped:
        with transaction(connection):
            repo.note_hours(connection, later)
            repo.forget_notes(connection, notes.taken)
    return written


def _hours_of(work: Work, over: int) -> tuple[list[Range], Spans]:
    """Hours that wait until they are over (of every series), and those of single series that are: computed at once."""
    single = work.single.hours()
    unfinished = single.within(over, _FOR_EVER)
    waiting = zip(unfinished.first.tolist(), unfinished.until.tolist(), strict=True)
    return union([*hours(work.everything), *waiting]), single.within(-_FOR_EVER, over)


def _hours(connection: Connection, before: int, pace: Pace) -> int | None:
    """The next hours of every series that are over; None when there is none."""
    with transaction(connection):
        due = repo.hours_due(connection, before, _HOURS_AT_ONCE)
        series = repo.series_end(connection) if due else 0
    if not due:
        return None
    written = _slices(connection, repo.HOURS, Work([(hour, hour + 1) for hour in due]), series, pace)
    if not pace.stopped:
        with transaction(connection):
            repo.forget_hours(connection, due)
    return written


def _slices(connection: Connection, rollup: repo.Rollup, work: Work, series: int, pace: Pace) -> int:
    """Compute rows of a rollup a slice at a time, each in a transaction; how many rows that came to."""
    written = 0

    def size() -> int:
        return pace.size(rollup.name)

    for area in areas(work.everything, series, size):
        if pace.stopped:
            break
        with (
            pace.slice(rollup.name, (area.until - area.first) * (area.high - area.low)),
            transaction(connection),
        ):
            written += repo.compute_area(connection, rollup, area)
    for some in slices(work.single, size):
        if pace.stopped:
            break
        with pace.slice(rollup.name, int((some.until - some.first).sum())), transaction(connection):
            written += repo.compute_spans(connection, rollup, some)
    return written
