"""Rollups: what batches noted is computed anew from the readings themselves, so late and replayed data come right.

A note is taken out in the transaction that computes what it speaks of. The statement that computes begins after
the note was seen, so it sees the note's readings; a batch that commits meanwhile leaves its own note for next time.
"""

from __future__ import annotations

from typing import Final

from common.runtime.clock import to_datetime
from gateway.fleet.repo import Connection, transaction
from gateway.keeping import repo
from gateway.keeping.dirty import MINUTES_OF_HOUR, Range, Work, gather, hours, split, subtract

_HOUR_MS: Final = 3_600_000
#: After its end an hour is left this long to what is still under way.
_GRACE_MS: Final = 150_000
_BUDGET: Final = 300_000
_HOURS_AT_ONCE: Final = 4


def refresh(connection: Connection, now_ms: int) -> int:
    """Compute what is due, in pieces of a transaction each; how many rows were written.

    Raises:
        TransientError: when the database went away.
    """
    written = 0
    while (some := _minutes(connection, now_ms)) is not None:
        written += some
    over = (now_ms - _GRACE_MS) // _HOUR_MS
    while (some := _hours(connection, over)) is not None:
        written += some
    return written


def refresh_all(connection: Connection) -> int:
    """Compute everything that was noted, due or not, unfinished minutes and hours included."""
    written = 0
    while (some := _minutes(connection, None)) is not None:
        written += some
    while (some := _hours(connection, None)) is not None:
        written += some
    return written


def _minutes(connection: Connection, now_ms: int | None) -> int | None:
    """One piece of what is due; None when nothing was."""
    with transaction(connection):
        notes = repo.take_notes(connection, None if now_ms is None else to_datetime(now_ms))
        if not notes.live and not notes.late:
            return None
        work = gather(notes.live, notes.late, repo.raw_since(connection))
        now, rest = split(work, _BUDGET)
        repo.put_back(connection, rest, notes.due_ms)
        written = repo.compute_minutes(connection, now)
        over = None if now_ms is None else (now_ms - _GRACE_MS) // _HOUR_MS
        return written + _follow(connection, now, over)


def _follow(connection: Connection, done: Work, over: int | None) -> int:
    """Hours of the minutes that were computed: those of single series at once, unless they are not over yet."""
    later = hours(done.everything)
    single: dict[int, list[Range]] = {}
    for series, ranges in done.single.items():
        of_series = hours(ranges)
        finished = [(a, b if over is None else min(b, over)) for a, b in of_series]
        single[series] = [(a * MINUTES_OF_HOUR, b * MINUTES_OF_HOUR) for a, b in finished if a < b]
        if over is not None:
            later += subtract(of_series, [(0, over)])
    if later:
        repo.note_hours(connection, later)
    return repo.compute_hours(connection, (), {series: ranges for series, ranges in single.items() if ranges})


def _hours(connection: Connection, before: int | None) -> int | None:
    with transaction(connection):
        due = repo.take_hours(connection, before, _HOURS_AT_ONCE)
        return repo.compute_hours(connection, due, {}) if due else None
