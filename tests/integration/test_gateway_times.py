"""Which times are believed, which statuses are news, and who is silent, as the real database tells it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from common.wire.codec import encode_packet, encode_status
from common.wire.messages import Readings, Status
from gateway.decode import Decoded, Decoder, RawMessage
from gateway.fleet import repo as fleet
from gateway.silence import sweep
from gateway.store import Limits
from tests.fixtures.gateway_store import BOX, Stores, opened_stores, packet, smoke, status
from tests.integration.gateway_rig import events, eventually, now_ms, readings, rows

pytestmark = pytest.mark.services
DAY = 86_400_000


@pytest.fixture
def stores(database_url: str) -> Iterator[Stores]:
    """Stores of this test."""
    with opened_stores(database_url) as made:
        yield made


def test_a_fast_clock_does_not_silence_the_rules_after_it_is_put_right(stores: Stores) -> None:
    store = stores()
    store.commit([packet(1, smoke(0.0, at=now_ms() + 20 * 3_600_000))])
    put_right = store.commit([packet(2, smoke(0.9, at=now_ms() + 11_000))])
    assert put_right.observations == 1
    assert stores().commit([packet(3, smoke(0.0, at=now_ms() + 12_000))]).observations == 1


def test_a_late_reading_raises_nothing_even_for_a_gateway_that_just_started(stores: Stores) -> None:
    at = now_ms() - 60_000
    stores().commit([packet(1, smoke(0.0, at=at + 10_000))])
    late = stores().commit([packet(2, smoke(0.9, at=at))])
    assert (late.rows, late.observations) == (1, 0)
    assert rows(stores.url, "SELECT flags FROM reading WHERE value = 0.9") == [(4,)]


def test_an_event_with_a_wild_clock_keeps_its_length(stores: Stores) -> None:
    year = 365 * 86_400_000
    stores().commit([packet(1, events(str(uuid.uuid4()), at=now_ms() + year))])
    found = rows(
        stores.url,
        "SELECT at = received_at, started_at = at, claimed_at > now() + interval '300 days' FROM observation",
    )
    assert found == [(True, True, True)]


def kept_since(days: float, seq: int, data: Any, *, numbered: int | None = None) -> Decoded:
    """A packet that a box numbered so long ago and sends only now."""
    at = now_ms() - round(days * DAY) if numbered is None else numbered
    payload = encode_packet(BOX, 9, seq, at, data)
    kind = "readings" if isinstance(data, Readings) else "events"
    return Decoder().decode(RawMessage(BOX.up(kind), payload, False, now_ms(), len(payload)))


def test_what_a_box_kept_through_three_days_of_outage_keeps_its_times(stores: Stores) -> None:
    then = now_ms() - 3 * DAY
    replay = [
        kept_since(3, 1, smoke(0.0, 0.9, at=then - 100)),
        kept_since(3, 2, events(str(uuid.uuid4()), at=then - 50)),
    ]
    first = stores()
    first.commit([status(now_ms())])
    result = stores().commit(replay)  # another gateway: it finds the clock in the store
    assert (result.rows, result.observations) == (2, 2)
    old = "received_at - {} BETWEEN interval '71 hours' AND interval '73 hours'"
    assert rows(stores.url, f"SELECT {old.format('captured_at')}, flags FROM reading") == [(True, 0)] * 2
    told = rows(
        stores.url, f"SELECT {old.format('at')}, {old.format('started_at')}, claimed_at FROM observation"
    )
    assert told == [(True, True, None)] * 2


def test_what_the_broker_kept_while_no_gateway_ran_keeps_its_times(stores: Stores) -> None:
    then = now_ms() - 3 * DAY
    queued = [status(then, offset_ms=-700), kept_since(3, 1, smoke(0.0, 0.9, at=then - 100))]
    assert stores().commit(queued).observations == 1
    over = kept_since(3, 2, smoke(0.0, at=then + 10_000), numbered=then + 11_000)
    stores().commit([over])  # another gateway goes on with the queue
    old = "received_at - {} BETWEEN interval '71 hours' AND interval '73 hours'"
    assert rows(stores.url, f"SELECT {old.format('captured_at')}, flags FROM reading") == [(True, 0)] * 3
    told = rows(stores.url, f"SELECT phase, {old.format('at')}, claimed_at FROM observation ORDER BY at")
    assert told == [("start", True, None), ("end", True, None)]


def test_a_gateway_that_starts_after_days_goes_on_with_the_clocks_it_knew(stores: Stores) -> None:
    then = now_ms() - 3 * DAY
    stores().commit([status(then, offset_ms=20, received=then)])
    stores().commit(
        [kept_since(3, 1, readings(1.0, at=then + 1000), numbered=then + 2000)]
    )  # before any status
    assert rows(stores.url, "SELECT flags FROM reading") == [(0,)]


def test_an_old_time_is_not_believed_of_a_box_with_a_wrong_clock(stores: Stores) -> None:
    store = stores()
    old = now_ms() - 5 * DAY
    cases = [
        ([], kept_since(5, 1, readings(1.0, at=old))),  # no status: nobody knows its clock
        (
            [status(old)],
            kept_since(5, 2, readings(1.0, at=old)),
        ),  # slow, or kept by the broker: it does not say
        ([status(old, offset_ms="none")], kept_since(5, 6, readings(1.0, at=old))),
        (
            [status(old, offset_ms=5 * DAY)],
            kept_since(5, 7, readings(1.0, at=old)),
        ),  # said just now, and slow
        (
            [status(old, offset_ms=-3 * DAY)],
            kept_since(5, 8, readings(1.0, at=old)),
        ),  # said long ago, and fast
        ([status(now_ms())], kept_since(5, 3, readings(1.0, at=old), numbered=old - 1000)),  # before it was
        ([status(now_ms())], kept_since(40, 4, readings(1.0, at=now_ms() - 40 * DAY))),
        ([status(now_ms() - 5 * DAY, retain=True), status(old)], kept_since(5, 5, readings(1.0, at=old))),
    ]
    for before, item in cases:
        store.commit([*before, item])
    flags = rows(stores.url, "SELECT flags, claimed_at < captured_at FROM reading")
    assert flags == [(1, True)] * len(cases)
    assert len(rows(stores.url, "SELECT show_chunks('reading')")) <= 2


def test_a_replay_is_believed_only_as_far_as_chunks_are_wanted(stores: Stores) -> None:
    store = stores(limits=Limits(replay_ms=4 * DAY))
    batch = [kept_since(day, day, readings(1.0, at=now_ms() - day * DAY)) for day in range(1, 400)]
    store.commit([status(now_ms()), *batch])
    assert len(rows(stores.url, "SELECT show_chunks('reading')")) <= 6
    assert rows(stores.url, "SELECT count(*)::int FROM reading WHERE flags & 1 = 1") in ([(396,)], [(395,)])


def test_a_replayed_status_counts_only_when_it_is_news(stores: Stores) -> None:
    store = stores()
    store.commit([status(now_ms() - 1000)])
    for _ in range(2):
        store.commit([status(now_ms() - 5000, retain=True)])
    assert rows(stores.url, "SELECT count(*) FROM device_status") == [(1,)]
    store.commit([status(now_ms(), state="offline", retain=True)])
    assert rows(stores.url, "SELECT state FROM device_presence") == [("offline",)]
    assert rows(stores.url, "SELECT count(*) FROM device_status") == [(2,)]


def test_a_last_will_leaves_the_last_figures_to_be_looked_at(stores: Stores) -> None:
    store = stores()
    store.commit([status(now_ms())])
    will = encode_status(BOX, now_ms(), Status("offline", now_ms()))
    store.commit([Decoder().decode(RawMessage(BOX.up("status"), will, False, now_ms(), len(will)))])
    presence = "SELECT state, version, epoch, counters FROM device_presence"
    assert rows(stores.url, presence) == [("offline", "0.1", 9, {"frames": 1})]


def listens(stores: Stores) -> None:
    """The gateway is connected to the broker, and has written so."""
    stores.lease.listening(connected=True)
    eventually(lambda: rows(stores.url, "SELECT 1 FROM partition_lease WHERE listening_since IS NOT NULL"))


def silences(url: str) -> list[tuple[Any, ...]]:
    """What was told of silence."""
    return rows(url, "SELECT phase, revision, category FROM observation_inbox ORDER BY inbox_id")


def test_a_silent_device_is_told_once_and_again_when_it_returns(stores: Stores) -> None:
    store = stores()
    store.commit([packet(1, readings(1.0))])
    age = "UPDATE device_stream SET received_at = now() - interval '5 minutes' RETURNING 1"
    listen = "UPDATE partition_lease SET listening_since = now() - %s::interval RETURNING 1"
    with fleet.connect(stores.url, "test") as connection:
        rows(stores.url, age)
        assert sweep(connection) == 0, "nobody listens yet"
        listens(stores)
        rows(stores.url, listen, "10 seconds")
        assert sweep(connection) == 0, "nobody listened long enough to know"
        rows(stores.url, listen, "10 minutes")
        assert sweep(connection) == 1
        assert sweep(connection) == 0
        assert silences(stores.url) == [("start", 0, "device.silent")]
        store.commit([packet(2, readings(1.0))])
        assert sweep(connection) == 1
        assert sweep(connection) == 0
        assert silences(stores.url) == [("start", 0, "device.silent"), ("end", 1, "device.silent")]
        ids = rows(stores.url, "SELECT DISTINCT observation_id FROM observation_inbox")
        assert len(ids) == 1
        rows(stores.url, age)
        assert sweep(connection) == 1
        assert len(rows(stores.url, "SELECT DISTINCT observation_id FROM observation_inbox")) == 2


def test_a_gateway_whose_clock_was_ahead_for_a_while_hides_no_silence(stores: Stores) -> None:
    ahead = now_ms() + DAY
    payload = encode_status(BOX, ahead, Status("online", ahead, "0.1", "9", {}))
    said = Decoder().decode(RawMessage(BOX.up("status"), payload, False, ahead, len(payload)))
    stores().commit([packet(1, readings(1.0), received=ahead), said])
    assert rows(stores.url, "SELECT received_at <= clock_timestamp() FROM device_stream") == [(True,)]
    assert rows(stores.url, "SELECT seen_at <= clock_timestamp() FROM device_presence") == [(True,)]


def test_a_last_will_does_not_count_as_a_sign_of_life(stores: Stores) -> None:
    store = stores()
    store.commit([status(now_ms())])
    rows(stores.url, "UPDATE device_presence SET seen_at = now() - interval '5 minutes' RETURNING 1")
    listens(stores)
    rows(stores.url, "UPDATE partition_lease SET listening_since = now() - interval '1 hour' RETURNING 1")
    store.commit([status(now_ms(), state="offline")])
    with fleet.connect(stores.url, "test") as connection:
        assert sweep(connection) == 1
        store.commit([status(now_ms())])
        assert sweep(connection) == 1
    assert [phase for phase, *_ in silences(stores.url)] == ["start", "end"]


def test_a_device_that_a_batch_holds_is_not_waited_for_but_looked_at_again(stores: Stores) -> None:
    stores().commit([status(now_ms())])
    rows(stores.url, "UPDATE device_presence SET seen_at = now() - interval '5 minutes' RETURNING 1")
    listens(stores)
    rows(stores.url, "UPDATE partition_lease SET listening_since = now() - interval '1 hour' RETURNING 1")
    with fleet.connect(stores.url, "test") as connection:
        connection.execute("SET lock_timeout = '5s'")
        with psycopg.connect(stores.url) as batch:
            batch.execute("SELECT FROM device_presence FOR UPDATE")
            assert sweep(connection) == 0
        assert sweep(connection) == 1


def test_only_one_sweeper_looks_at_a_time(stores: Stores) -> None:
    with fleet.connect(stores.url, "one") as one, fleet.connect(stores.url, "two") as two, one.transaction():
        assert fleet.lock_sweep(one)
        with two.transaction():
            assert not fleet.lock_sweep(two)
