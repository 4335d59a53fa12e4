"""Rollups equal their readings, whatever came when and whoever was interrupted computing them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.runtime.clock import SystemClock
from common.wire.messages import Readings, Series
from gateway.config import KeepSettings
from gateway.decode import Decoded
from gateway.fleet import repo as fleet
from gateway.keeping.worker import tidy
from gateway.metrics_catalogue import Metric, catalogue
from gateway.rejects.retry import retry
from gateway.rollups import repo
from gateway.rollups.dirty import Touched
from gateway.rollups.pace import Pace
from gateway.rollups.refresh import refresh, refresh_all
from gateway.store import Limits, Store
from tests.fixtures.gateway_keeping import (
    BOX,
    DAY,
    HOUR,
    MINUTE,
    OTHER,
    aged,
    differences,
    kept_store,
    packet,
    say_status,
)
from tests.integration.gateway_rig import now_ms, readings, rows

pytestmark = pytest.mark.services
KEEP = KeepSettings()


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A store of two boxes under a lease."""
    with kept_store(database_url) as made:
        yield made


PACKETS = st.lists(
    st.tuples(
        st.sampled_from([BOX, OTHER]),
        st.sampled_from(["s1", "s2"]),
        # Seconds before now at which a packet's readings begin: live, of this hour, of yesterday, a little ahead.
        st.one_of(st.integers(-20, 200), st.integers(0, 7200), st.integers(80_000, 90_000)),
        st.lists(st.tuples(st.integers(0, 400), st.integers(-40, 400)), min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=5,
)
STEPS = st.lists(
    st.one_of(PACKETS, st.sampled_from(["again", "refresh", "refresh later"])), min_size=2, max_size=9
)


def test_rollups_equal_the_readings_whatever_arrives_in_which_order(store: Store, database_url: str) -> None:
    numbers = {BOX: 0, OTHER: 0}
    told: list[Decoded] = []

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(STEPS)
    def they_do(steps: list[Any]) -> None:
        start = now_ms()
        with fleet.connect(database_url, "test") as connection:
            for step in steps:
                if step == "again":
                    store.commit(told[-20:])
                elif step == "refresh":
                    refresh(connection, now_ms())
                elif step == "refresh later":
                    refresh(connection, now_ms() + 2 * HOUR)
                else:
                    batch = []
                    for address, sensor, ago, points in step:
                        numbers[address] += 1
                        at = [start - ago * 1000 + offset * 1000 + numbers[address] for offset, _ in points]
                        # Whole numbers: their sums are exact in any order. A time comes once: first and last are sure.
                        moments = dict(zip(at, (float(value) for _, value in points), strict=True))
                        data = Readings(
                            [Series(sensor, "temperature", list(moments), list(moments.values()))]
                        )
                        batch.append(packet(numbers[address], data, address))
                    told.extend(batch)
                    store.commit(batch)
            refresh_all(connection)
        same_time = rows(
            database_url, "SELECT series_id, captured_at FROM reading GROUP BY 1, 2 HAVING count(*) > 1"
        )
        ambiguous = {(series, at) for series, at in same_time}
        assert [
            row for row in differences(database_url) if not ambiguous & {(row[0], row[8]), (row[0], row[10])}
        ] == []

    they_do()
    assert rows(database_url, "SELECT count(*) FROM rollup_dirty") == [(0,)]
    assert rows(
        database_url, "SELECT sum(count + implausible) = (SELECT count(*) FROM reading) FROM reading_hour"
    ) == [(True,)]


def test_a_batch_that_commits_while_rollups_are_computed_is_computed_next_time(
    store: Store, database_url: str
) -> None:
    store.commit([packet(1, readings(1.0, 2.0))])
    ((series,),) = rows(database_url, "SELECT series_id FROM series")
    with (
        fleet.connect(database_url, "batch") as batch,
        fleet.connect(database_url, "worker") as worker,
    ):
        with batch.transaction():
            batch.execute("INSERT INTO reading VALUES (now(), now(), 7, %s, 0, NULL)", [series])
            minute = now_ms() // MINUTE
            batch.execute(
                "INSERT INTO rollup_dirty (due_at, live_from, live_until) VALUES (now(), %s, %s)",
                [minute - 1, minute + 2],
            )
            refresh_all(worker)
            assert rows(database_url, "SELECT sum(count)::int FROM reading_minute") == [(2,)]
        refresh_all(worker)
    assert rows(database_url, "SELECT sum(count)::int FROM reading_minute") == [(3,)]
    assert differences(database_url) == []


def test_a_minute_is_computed_when_it_is_over_and_an_hour_when_its_stragglers_had_time(
    store: Store, database_url: str
) -> None:
    begin = now_ms()
    store.commit([packet(1, readings(1.0, at=begin))])
    with fleet.connect(database_url, "test") as connection:
        minute_over = (begin // MINUTE + 1) * MINUTE
        assert refresh(connection, minute_over - 1) == 0
        assert refresh(connection, minute_over) == 1
        assert rows(database_url, "SELECT count(*) FROM reading_hour") == [(0,)]
        hour_over = (begin // HOUR + 1) * HOUR
        assert refresh(connection, hour_over + 149_000) == 0
        assert refresh(connection, hour_over + 150_000) == 1
    assert differences(database_url) == []


def test_what_a_box_replays_after_an_outage_makes_its_minutes_right_again(
    store: Store, database_url: str
) -> None:
    begin = now_ms() - 3 * DAY
    say_status(store)
    say_status(store, OTHER)
    early = Readings([Series("s1", "temperature", [begin, begin + 1000], [1.0, 2.0])])
    store.commit([packet(1, early, OTHER, sent=begin + 5000)])
    with fleet.connect(database_url, "test") as connection:
        refresh(connection, now_ms())
        late = [begin + 500 * number for number in range(400)]
        store.commit(
            [packet(1, Readings([Series("s1", "temperature", late, [3.0] * 400)]), sent=begin + HOUR)]
        )
        refresh(connection, now_ms())
    assert rows(database_url, "SELECT sum(count)::int FROM reading_hour") == [(402,)]
    assert differences(database_url) == []


def test_implausible_values_are_counted_and_spoil_no_average(store: Store, database_url: str) -> None:
    at = now_ms()
    store.commit([packet(1, readings(20.0, 9999.0, 22.0, at=at)), packet(2, readings(9999.0, at=at - HOUR))])
    with fleet.connect(database_url, "test") as connection:
        refresh_all(connection)
    kept = rows(database_url, "SELECT count, implausible, sum, max, last FROM reading_hour ORDER BY bucket")
    assert kept == [(0, 1, None, None, None), (2, 1, 42.0, 22.0, 22.0)]
    assert differences(database_url) == []


def test_a_reject_taken_in_after_a_fix_counts_in_the_minutes_it_belongs_to(
    store: Store, database_url: str
) -> None:
    store.commit([packet(1, readings(1.0, 2.0, metric="phlogiston", at=now_ms() - HOUR))])
    ((reject,),) = rows(database_url, "SELECT reject_id FROM reject")
    with fleet.connect(database_url, "test") as connection:
        refresh_all(connection)
        retry(connection, reject, catalogue([Metric("phlogiston", "g", 0, 9)]), Limits())
        refresh_all(connection)
    assert rows(database_url, "SELECT sum(count)::int FROM reading_hour") == [(2,)]
    assert differences(database_url) == []


def test_rollups_outlive_their_readings_and_a_straggler_does_not_make_them_forget(
    store: Store, database_url: str
) -> None:
    begin = now_ms()
    store.commit([packet(1, readings(1.0, 2.0, 3.0, at=begin))])
    with fleet.connect(database_url, "test") as connection:
        refresh_all(connection)
        old = f"- make_interval(days => {round(KEEP.readings_days) + 2})"
        for table, column in (
            ("reading_minute", "bucket"),
            ("reading_hour", "bucket"),
            ("reading", "captured_at"),
        ):
            aged(database_url, table, column, round(KEEP.readings_days) + 2)
        assert tidy(connection, KEEP)["readings"] == 1
        ((series,),) = rows(database_url, "SELECT series_id FROM series")
        rows(
            database_url, f"INSERT INTO reading VALUES (now() {old}, now(), 7, {series}, 0, NULL) RETURNING 1"
        )
        minute = begin // MINUTE - (round(KEEP.readings_days) + 2) * 1440
        with connection.transaction():
            repo.note(connection, Touched((minute - 2, minute + 3)), 0)
        refresh_all(connection)
    assert rows(database_url, "SELECT count FROM reading_minute") == [(3,)]
    assert rows(database_url, "SELECT count FROM reading_hour") == [(3,)]


class Rests:
    """Rests for no time at all, and says after so many of them that it is time to stop."""

    def __init__(self, until_stopped: int | None = None) -> None:
        self.until_stopped = until_stopped
        self.count = 0

    def __call__(self, seconds: float) -> bool:
        self.count += 1
        return self.until_stopped is not None and self.count > self.until_stopped


def test_whoever_is_interrupted_computing_leaves_the_rest_to_be_found(
    store: Store, database_url: str
) -> None:
    begin = now_ms() - 5 * HOUR
    say_status(store)
    for number in range(1, 7):
        at = [begin + number * 20 * MINUTE + 700 * step for step in range(400)]
        data = Readings([Series(f"s{number}", "temperature", at, [1.0] * 400)])
        store.commit([packet(number, data, sent=begin + HOUR)])
    turns = 0
    with fleet.connect(database_url, "test") as connection:
        while rows(database_url, "SELECT count(*) FROM rollup_dirty") != [(0,)]:
            rests = Rests(turns)
            refresh(connection, now_ms(), Pace(SystemClock(), rests))
            turns += 1
            assert turns < 50
        assert turns > 2, "it was interrupted again and again"
        refresh_all(connection)
    assert differences(database_url) == []


def test_live_minutes_are_computed_a_few_series_at_a_time(store: Store, database_url: str) -> None:
    begin = now_ms()
    store.commit([packet(1, Readings([Series("one", "temperature", [begin], [1.0])]))])
    rows(database_url, "SELECT setval(pg_get_serial_sequence('series', 'series_id'), 2000)")
    store.commit([packet(2, Readings([Series("other", "temperature", [begin], [1.0])]))])
    rests = Rests()
    with fleet.connect(database_url, "test") as connection:
        refresh(connection, begin + 2 * MINUTE, Pace(SystemClock(), rests))
        assert rests.count > 2, "numbers up to 2,000 do not fit into a slice"
        refresh_all(connection)
    assert differences(database_url) == []
