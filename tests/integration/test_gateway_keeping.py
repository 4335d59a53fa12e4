"""What is kept, and nothing older than its days."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Literal

import psycopg
import pytest

from common.runtime.clock import SystemClock
from common.runtime.errors import TransientError
from common.runtime.stop import Stop
from common.wire.codec import encode_packet, encode_status
from common.wire.messages import Status
from common.wire.topics import Address
from gateway.config import KeepSettings
from gateway.decode import Decoded, Decoder, RawMessage
from gateway.fleet import repo as fleet
from gateway.keeping import repo
from gateway.keeping.worker import Housekeeper, tidy
from gateway.metrics_catalogue import catalogue
from gateway.rejects.retry import retry
from gateway.rollups import repo as rollups
from gateway.rollups.refresh import refresh_all
from gateway.store import Limits, Store
from tests.fixtures.gateway_keeping import BOX, DAY, HOUR, MINUTE, OTHER, aged, kept_store, packet, say_status
from tests.integration.gateway_rig import events, eventually, now_ms, readings, rows

pytestmark = pytest.mark.services
KEEP = KeepSettings()


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A store of two boxes under a lease."""
    with kept_store(database_url) as made:
        yield made


def test_a_reading_has_the_times_of_its_capture_receipt_and_commit(store: Store, database_url: str) -> None:
    store.commit([packet(1, readings(1.0, at=now_ms() - 5000))])
    times = "SELECT captured_at < received_at, received_at - committed_at < interval '2 s', committed_at <= now() FROM reading"
    assert rows(database_url, times) == [(True, True, True)]


@pytest.mark.parametrize("table", ["reading", "reading_minute", "reading_hour"])
def test_no_page_of_readings_is_gone_through_only_to_mark_that_all_see_it(
    store: Store, database_url: str, table: str
) -> None:
    store.commit([packet(1, readings(1.0, at=now_ms() - 5000))])
    with closing(fleet.connect(database_url, "test")) as connection:
        refresh_all(connection)
    options = (
        "SELECT DISTINCT 'autovacuum_vacuum_insert_threshold=-1' = ANY(reloptions) FROM pg_class"
        f" WHERE oid IN (SELECT show_chunks('{table}'))"
    )
    assert rows(database_url, options) == [(True,)]


@pytest.mark.parametrize(
    ("kind", "column", "days"),
    [
        ("readings", "captured_at", KEEP.readings_days),
        ("observations", "at", KEEP.observations_days),
        ("statuses", "received_at", KEEP.status_days),
    ],
)
def test_what_is_too_old_is_dropped_by_whole_chunks_and_what_is_not_stays(
    store: Store, database_url: str, kind: str, column: str, days: float
) -> None:
    table = repo.HYPERTABLES[kind]
    say_status(store)
    store.commit([packet(1, readings(1.0))])
    rows(
        database_url,
        "INSERT INTO observation SELECT now(), device_id, gen_random_uuid(), 'act', 0, 'smoke.alarm', 's', 's', 1, now(),"
        " NULL, 1, NULL, '', '[]', '{}', now() FROM device WHERE name = 'box-0'",
    )
    with fleet.connect(database_url, "test") as connection:
        aged(database_url, table, column, days - 1)
        assert tidy(connection, KEEP)[kind] == 0
        assert rows(database_url, f"SELECT count(*) FROM {table}") == [(1,)]
        aged(database_url, table, column, 3)
        assert tidy(connection, KEEP)[kind] == 1
        assert rows(database_url, f"SELECT count(*) FROM {table}") == [(0,)]


def test_keeping_readings_longer_from_now_on_does_not_bring_back_what_went(
    store: Store, database_url: str
) -> None:
    with fleet.connect(database_url, "test") as connection:
        since = []
        for days in (30.0, 90.0, 10.0):
            with connection.transaction():
                repo.note_retention(connection, days)
                since.append(round((now_ms() / MINUTE - rollups.raw_since(connection)) / 1440))
    assert since == [30, 30, 10]


def test_the_policies_of_the_community_edition_are_called_as_timescale_declares_them(
    database_url: str,
) -> None:
    """Debian's edition declares them all and refuses to run them, so their names and arguments can be checked."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        assert connection.execute("SELECT timescale_has_policies()").fetchone() == (False,)
        connection.execute(
            "CREATE OR REPLACE FUNCTION timescale_has_policies() RETURNS boolean LANGUAGE sql AS 'SELECT true'"
        )
        for call in (
            "SELECT keep_for('reading', 92)",
            "SELECT compress_after(35)",
            "SELECT add_retention_policy('reading'::regclass, drop_after => interval '1 day')",
            "SELECT remove_compression_policy('reading', if_exists => true)",
            "SELECT add_compression_policy('reading', compress_after => interval '1 day')",
        ):
            with pytest.raises(
                psycopg.errors.FeatureNotSupported, match='under the current "apache" license'
            ):
                connection.execute(call.encode())


def test_old_rejects_go_and_of_the_others_as_many_as_have_room(store: Store, database_url: str) -> None:
    store.commit([packet(number, readings(1.0, metric="phlogiston")) for number in range(1, 9)])
    rows(
        database_url, "UPDATE reject SET received_at = now() - interval '31 days' WHERE seq <= 3 RETURNING 1"
    )
    rows(database_url, "UPDATE reject_day SET day = day - 40 RETURNING 1")
    ((size,),) = rows(database_url, "SELECT max(octet_length(payload)) FROM reject")
    with fleet.connect(database_url, "test") as connection, connection.transaction():
        assert repo.forget_rejects(connection, 30, size * 4) == 4
    assert rows(database_url, "SELECT seq FROM reject ORDER BY 1") == [(5,), (6,), (7,), (8,)]
    assert rows(database_url, "SELECT count(*) FROM reject_day") == [(0,)]


def test_one_housekeeper_of_two_works_and_the_other_follows_it(store: Store, database_url: str) -> None:
    keep = KeepSettings(refresh_s=0.1, sweep_s=0.1)
    stops = [Stop(), Stop()]
    lags: list[list[float]] = [[], []]
    threads = [
        threading.Thread(
            target=Housekeeper(database_url, keep, SystemClock(), on_lag=lag.append).run, args=(stop,)
        )
        for stop, lag in zip(stops, lags, strict=True)
    ]
    holders = (
        "SELECT count(DISTINCT pid)::int FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = %s"
    )
    lock = repo.WORKER_LOCK % 2**32
    try:
        for thread in threads:
            thread.start()
        # The hour before this one waits for what is late until some minutes of this one have passed.
        store.commit([packet(1, readings(1.0, at=now_ms() - 2 * HOUR))])
        eventually(lambda: rows(database_url, "SELECT count(*) FROM reading_hour") == [(1,)])
        assert rows(database_url, holders, lock) == [(1,)]
        for turn, stop in enumerate(stops):
            stop.set("test")
            threads[turn].join()
            store.commit([packet(2 + turn, readings(1.0, at=now_ms() - (3 + turn) * HOUR))])
            if turn == 0:
                eventually(lambda: rows(database_url, "SELECT count(*) FROM reading_hour") == [(2,)])
    finally:
        for stop, thread in zip(stops, threads, strict=True):
            stop.set("test")
            thread.join()
    # The server lets go of it after its client has left.
    eventually(lambda: rows(database_url, holders, lock) == [(0,)])
    assert all(lags)


def commit_a_life(store: Store, url: str, epoch: int, numbers: range, *, days_ago: int) -> list[Decoded]:
    """Packets of one life of a box, committed and let age."""
    sent = now_ms() - days_ago * DAY
    batch = [packet(seq, readings(float(seq)), epoch=epoch, sent=sent + seq) for seq in numbers]
    store.commit(batch)
    rows(
        url,
        "UPDATE device_stream SET first_at = first_at - make_interval(days => %s), received_at = received_at -"
        " make_interval(days => %s) WHERE epoch = %s RETURNING 1",
        *(days_ago, days_ago, epoch),
    )
    rows(url, "UPDATE device SET registered_at = now() - interval '400 days' RETURNING 1")
    return batch


def test_old_lives_are_forgotten_and_the_newest_and_the_current_one_never(
    store: Store, database_url: str
) -> None:
    for epoch, days in ((5, 300), (6, 200), (7, 150), (8, 120)):
        commit_a_life(store, database_url, epoch, range(1, 4), days_ago=days)
    rows(
        database_url,
        "INSERT INTO device_presence (device_id, epoch) SELECT device_id, 6 FROM device RETURNING 1",
    )
    with fleet.connect(database_url, "test") as connection, connection.transaction():
        assert repo.forget_streams(connection, 100) == 2
    assert rows(database_url, "SELECT epoch FROM device_stream ORDER BY 1") == [(6,), (8,)]
    ((days,),) = rows(
        database_url,
        "SELECT extract(day FROM now() - streams_forgotten_until)::int FROM device WHERE name = 'box-0'",
    )
    assert days == 150


@pytest.mark.parametrize("remembered", [True, False])
def test_a_packet_of_a_forgotten_life_is_kept_and_not_taken_in_twice(
    store: Store, database_url: str, remembered: bool
) -> None:
    old = commit_a_life(store, database_url, 5, range(1, 4), days_ago=150)
    commit_a_life(store, database_url, 6, range(1, 3), days_ago=0)
    with fleet.connect(database_url, "test") as connection:
        with connection.transaction():
            assert repo.forget_streams(connection, 100) == 1
        if not remembered:
            store.close()
        again = store.commit(old[:2])
        assert (again.packets, again.rejects) == (0, {"forgotten_epoch": 2})
        assert [progress.upto for progress in again.progress] == [2], "the box lets go of it"
        later = store.commit(old)
        assert (later.packets, later.duplicates, later.rejects) == (0, 2, {"forgotten_epoch": 1})
        assert rows(database_url, "SELECT count(*)::int FROM reading") == [(5,)]
        ((reject,),) = rows(database_url, "SELECT reject_id FROM reject WHERE seq = 3")
        assert retry(connection, reject, catalogue(), Limits()) == 1, "a person may think otherwise"


def test_a_new_life_of_a_box_with_forgotten_ones_is_taken_in_whatever_its_clock_says(
    store: Store, database_url: str
) -> None:
    commit_a_life(store, database_url, 5, range(1, 4), days_ago=150)
    commit_a_life(store, database_url, 6, range(1, 3), days_ago=120)
    with fleet.connect(database_url, "test") as connection, connection.transaction():
        assert repo.forget_streams(connection, 100) == 1
    store.close()
    born = 86_400_000
    batch = [packet(1, readings(1.0), epoch=9), packet(2, readings(2.0, at=born), epoch=9, sent=born)]
    # Of the newest life, which is never forgotten: numbered when the forgotten one still went on.
    batch.append(packet(3, readings(3.0), epoch=6, sent=now_ms() - 150 * DAY))
    alarm = encode_packet(BOX, 77, 1, now_ms() - 150 * DAY, events(str(uuid.uuid4())))
    batch.append(Decoder().decode(RawMessage(BOX.up("events"), alarm, False, now_ms(), len(alarm))))
    result = store.commit(batch)
    assert (result.packets, result.rejects, result.observations) == (4, {}, 1)


def test_after_a_restore_a_box_with_nothing_to_say_is_answered_once_when_it_says_its_status(
    store: Store, database_url: str
) -> None:
    def say(address: Address, state: Literal["online", "offline"] = "online") -> list[tuple[str, int, bool]]:
        payload = encode_status(address, now_ms(), Status(state, now_ms(), "0.1", "9", {}))
        raw = RawMessage(address.up("status"), payload, False, now_ms(), len(payload))
        told = store.commit([Decoder().decode(raw)]).progress
        return [(str(one.address), one.upto, one.urgent) for one in told]

    store.commit([packet(1, readings(1.0))])
    assert say(BOX) == []
    rows(database_url, "UPDATE store SET restored_at = now() - interval '1 day' RETURNING 1")
    store.close()
    assert say(BOX, "offline") == [], "the broker says that the box is gone"
    assert say(BOX) == [("kiln/box-0", 1, True)]
    assert say(OTHER) == [("kiln/box-1", 0, True)], "of a life that the backup did not know"
    assert say(BOX) == say(OTHER) == []
    assert store.commit([packet(1, readings(1.0), OTHER)]).packets == 1


def test_dropping_gives_way_to_a_backup_and_nobody_waits_behind_it(
    store: Store, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.commit([packet(1, readings(1.0))])
    aged(database_url, "reading", "captured_at", KEEP.readings_days + 3)
    store.commit([packet(2, readings(2.0))])
    refused: list[TransientError] = []

    def sweep() -> None:
        with fleet.connect(database_url, "test") as connection:
            try:
                tidy(connection, KEEP)
            except TransientError as error:
                refused.append(error)

    thread = threading.Thread(target=sweep)
    with fleet.connect(database_url, "a backup") as reader:
        with reader.transaction():
            reader.execute("SELECT count(*) FROM reading")
            sweep()
            assert [error.code for error in refused] == ["gateway.database_busy"]
            # From here on it waits for as long as a slow machine may take to commit a packet.
            monkeypatch.setattr(repo, "_PATIENCE", "SET LOCAL lock_timeout = '150s'")
            thread.start()
            waiting = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"
            eventually(lambda: rows(database_url, waiting) == [(True,)])
            assert store.commit([packet(3, readings(3.0))]).packets == 1
            assert thread.is_alive(), "it still waits for the reader, and the packet did not wait for it"
        thread.join()
    assert len(refused) == 1
    assert rows(database_url, "SELECT value FROM reading ORDER BY 1") == [(2.0,), (3.0,)]
