"""The single transaction against the real database: each packet once, whole, and only so much of what is wrong."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from cloud.inbox import repo as inbox
from common.runtime.errors import InvalidError
from common.wire.messages import Abandoned, Readings, Series
from common.wire.topics import Address
from gateway import memory
from gateway.batch import BatchResult
from gateway.fleet import repo as fleet
from gateway.fleet.release import release
from gateway.metrics_catalogue import Metric, catalogue
from gateway.quarantine import Bounds
from gateway.rejects import repo as rejects
from gateway.rejects.retry import StillRejectedError, retry
from gateway.store import Limits
from tests.fixtures.gateway_store import BOX, Stores, opened_stores, packet, raw, smoke, status
from tests.integration.gateway_rig import PATIENCE, events, now_ms, readings, register, rows

pytestmark = pytest.mark.services


@pytest.fixture
def stores(database_url: str) -> Iterator[Stores]:
    """Stores of this test."""
    with opened_stores(database_url) as made:
        yield made


def test_a_batch_sent_twice_counts_once(stores: Stores) -> None:
    store = stores()
    batch = [packet(1, readings(1.0)), packet(2, events(str(uuid.uuid4()))), packet(1, readings(1.0))]
    first, again = store.commit(batch), store.commit(batch)
    assert (first.packets, first.duplicates, again.packets, again.duplicates) == (2, 1, 0, 3)
    assert rows(stores.url, "SELECT count(*) FROM reading") == [(1,)]
    assert rows(stores.url, "SELECT count(*) FROM observation_inbox") == [(1,)]
    assert rows(stores.url, "SELECT count(*) FROM observation") == [(1,)]


def test_observations_wake_the_ticket_centre_and_readings_do_not(stores: Stores) -> None:
    """Unwoken, it finds them when it next looks round: later, but without a fault that anybody sees."""
    store = stores()
    with psycopg.connect(stores.url, autocommit=True) as centre:
        centre.execute(f"LISTEN {inbox.CHANNEL}".encode())

        def heard() -> list[str]:
            """All that was said on the channel until now: what is said last comes last."""
            rows(stores.url, "SELECT pg_notify(%s, 'until now')", inbox.CHANNEL)
            said: list[str] = []
            for notification in centre.notifies(timeout=PATIENCE):
                if notification.payload == "until now":
                    return said
                said.append(notification.payload)
            raise AssertionError("expected what was said last, heard nothing of it")

        store.commit([packet(1, readings(1.0))])
        assert heard() == []
        store.commit([packet(2, events(str(uuid.uuid4())))])
        assert heard() == [""]


def test_what_the_database_refuses_is_found_and_kept_while_the_rest_goes_in(stores: Stores) -> None:
    poison, good = str(uuid.uuid4()), [str(uuid.uuid4()) for _ in range(6)]
    rows(stores.url, f"ALTER TABLE observation_inbox ADD CHECK (observation_id <> '{poison}')")
    store = stores()
    batch = [packet(seq, events(one)) for seq, one in enumerate(good[:4], 1)]
    batch.append(packet(5, events(poison)))
    batch += [packet(6, events(good[4])), packet(7, readings(1.0)), packet(8, events(good[5]))]
    result = store.commit(batch)
    assert result.rejects == {"database_refused": 1}
    assert {str(row[0]) for row in rows(stores.url, "SELECT observation_id FROM observation_inbox")} == set(
        good
    )
    assert rows(stores.url, "SELECT reason, seq, message LIKE '%23514%' FROM reject") == [
        ("database_refused", 5, True)
    ]
    assert rows(stores.url, "SELECT committed, missing FROM device_packets") == [(8, 0)]


def test_a_turn_is_held_while_rows_are_written_and_for_nothing_before_or_behind(stores: Stores) -> None:
    store = stores()
    store.commit([packet(1, readings(0.5))])
    seen: list[tuple[str, Any]] = []
    doing = "SELECT state, query FROM pg_stat_activity WHERE application_name LIKE 'drumtower/default/%%'"

    @contextmanager
    def writing() -> Iterator[None]:
        seen.append(("before", rows(stores.url, doing)))
        yield
        seen.append(("behind", rows(stores.url, doing)))

    assert store.commit([packet(2, readings(1.0, 2.0))], writing).rows == 2
    (_, before), (_, behind) = seen
    assert [state for state, _ in before + behind] == ["idle in transaction"] * 2
    assert "FOR UPDATE" in before[0][1] or "rule" in before[0][1], "numbers are looked up, rules have run"
    assert "COPY reading" in behind[0][1], "notes, numbers and the commit come when the turn is over"


def test_rule_state_survives_a_change_of_gateway(stores: Stores) -> None:
    at = now_ms() - 60_000
    first = stores()
    assert first.commit([packet(1, smoke(0.0, 0.2, at=at))]).observations == 1
    first.close()
    second = stores()
    assert second.commit([packet(2, smoke(0.3, at=at + 1000))]).observations == 0, "it is raised already"
    assert second.commit([packet(3, smoke(0.0, at=at + 2000))]).observations == 1
    told = rows(stores.url, "SELECT phase, observation_id FROM observation ORDER BY at")
    assert [phase for phase, _ in told] == ["start", "end"]
    assert told[0][1] == told[1][1]
    assert rows(stores.url, "SELECT count(*) FROM rule_state") == [(0,)]


def test_a_transaction_that_fails_leaves_no_trace_in_memory(stores: Stores) -> None:
    store = stores()
    at = now_ms() - 60_000
    store.commit([packet(1, smoke(0.0, at=at))])
    rows(stores.url, "ALTER TABLE observation_inbox ADD CONSTRAINT no CHECK (category <> 'smoke.alarm')")
    batch = [
        packet(2, Readings([Series("new-1", "temperature", [at], [1.0]), *smoke(0.9, at=at + 1).series]))
    ]
    assert store.commit(batch).rejects == {"database_refused": 1}
    rows(stores.url, "ALTER TABLE observation_inbox DROP CONSTRAINT no")
    again = store.commit(
        [packet(3, Readings([Series("new-1", "temperature", [at], [1.0]), *smoke(0.9, at=at + 2).series]))]
    )
    assert (again.rows, again.observations) == (2, 1)
    assert rows(
        stores.url,
        "SELECT count(*) FROM reading r JOIN series s USING (series_id) WHERE s.sensor = 'new-1'",
    ) == [(1,)]


def test_an_outage_is_waited_for_with_the_batch_in_hand(stores: Stores) -> None:
    store = stores()
    store.commit([packet(1, readings(1.0))])
    with psycopg.connect(stores.url, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'drumtower/%'"
        )
    result = store.commit([packet(2, readings(2.0))])
    assert result.packets == 1
    assert rows(stores.url, "SELECT value FROM reading ORDER BY 1") == [(1.0,), (2.0,)]


def test_abandoned_numbers_count_once_and_late_comers_among_them_are_repeats(stores: Stores) -> None:
    store = stores()
    store.commit([packet(1, readings(1.0)), packet(3, readings(3.0))])
    told = store.commit([packet(6, Abandoned("9", [(2, 5)], "disk full"))])
    assert (told.abandoned, told.observations) == (3, 1), "3 had come already"
    assert told.progress[0].upto == 6
    assert store.commit([packet(4, readings(4.0))]).duplicates == 1
    assert store.commit([packet(7, Abandoned("9", [(2, 5)], "disk full"))]).observations == 0
    assert rows(stores.url, "SELECT committed, abandoned, missing FROM device_packets") == [(4, 3, 0)]


def test_a_box_may_abandon_numbers_of_its_former_life(stores: Stores) -> None:
    store = stores()
    store.commit([packet(1, readings(1.0)), packet(4, readings(1.0))])
    store.commit([packet(1, Abandoned("9", [(2, 3)], "restored from an image"), epoch=10)])
    assert rows(stores.url, "SELECT epoch, abandoned, missing FROM device_packets ORDER BY 1") == [
        (9, 2, 0),
        (10, 0, 0),
    ]


def test_a_flood_of_rejects_is_kept_up_to_its_quota_and_counted_beyond(stores: Stores) -> None:
    store = stores(limits=Limits(reject_bytes_per_day=1000))
    result = BatchResult()
    for _ in range(10):
        result.add(store.commit([raw(b"x" * 90) for _ in range(5)]))
    assert result.rejects == {"not_json": 50}
    assert result.rejects_dropped == 39
    assert rows(stores.url, "SELECT count(*)::int, sum(length(payload))::int FROM reject") == [(11, 990)]
    assert rows(stores.url, "SELECT kept, kept_bytes, dropped FROM reject_day") == [(11, 990, 39)]
    assert store.commit([packet(1, readings(1.0))]).packets == 1


def test_a_device_may_not_make_up_series_without_end(stores: Stores) -> None:
    store = stores(limits=Limits(series_per_device=3))
    many = Readings([Series(f"s{number}", "temperature", [now_ms()], [1.0]) for number in range(5)])
    result = store.commit([packet(1, many)])
    assert (result.rows, result.rejects) == (3, {"too_many_series": 1})


def test_a_quarantined_device_is_kept_as_rejects_until_it_is_released(stores: Stores) -> None:
    rows(stores.url, "UPDATE device SET quarantined_at = now() WHERE name = 'box-0' RETURNING 1")
    store, held = stores(), packet(1, readings(1.0))
    result = store.commit([held, packet(1, readings(2.0), Address("kiln", "box-1")), held, status(now_ms())])
    assert (result.packets, result.ignored, result.rejects) == (1, 2, {"quarantined": 1})
    assert store.commit([held]).ignored == 1, "what it sends again is kept once"
    assert [one.address.device for one in result.progress] == ["box-1"], "no receipt: the box keeps it"
    with fleet.connect(stores.url, "test") as connection:
        assert release(connection, BOX).rejects == 1
        with pytest.raises(InvalidError, match="not quarantined"):
            release(connection, BOX)
        assert stores().commit([held]).packets == 1
        ((reject_id,),) = rows(stores.url, "SELECT reject_id FROM reject")
        assert retry(connection, reject_id, catalogue(), Limits()) == 0, "it came again by itself"


def quarantines(url: str) -> list[tuple[Any, ...]]:
    """Who is quarantined, and what was told of it."""
    told = rows(url, "SELECT phase FROM observation WHERE category = 'device.quarantined' ORDER BY at")
    return [*rows(url, "SELECT name FROM device WHERE quarantined_at IS NOT NULL"), *told]


def test_a_stream_with_too_many_holes_quarantines_its_device_and_the_district_goes_on(stores: Stores) -> None:
    store = stores(limits=Limits(bounds=Bounds(ranges_per_stream=20)))
    assert store.commit([packet(seq, readings(1.0)) for seq in range(1, 41, 2)]).rejects == {}
    other = packet(1, readings(2.0), Address("kiln", "box-1"))
    result = store.commit([*(packet(seq, readings(1.0)) for seq in range(41, 241, 2)), other])
    assert (result.packets, result.rejects) == (2, {"quarantined": 99})
    assert quarantines(stores.url) == [("box-0",), ("start",)]
    assert store.commit([packet(500, readings(1.0))]).rejects == {"quarantined": 1}
    with fleet.connect(stores.url, "test") as connection:
        release(connection, BOX)
    assert quarantines(stores.url) == [("start",), ("end",)]
    released = stores(limits=Limits(bounds=Bounds(ranges_per_stream=20)))
    assert released.commit([packet(seq, readings(1.0)) for seq in range(2, 40, 2)]).packets == 19, "mended"
    assert quarantines(stores.url) == [("start",), ("end",)]


def test_abandoning_every_other_number_quarantines_as_well(stores: Stores) -> None:
    store = stores(limits=Limits(bounds=Bounds(ranges_per_stream=20)))
    store.commit([packet(1, Abandoned("9", [(2 * n, 2 * n) for n in range(5, 105)], "x"))])
    assert quarantines(stores.url)[0] == ("box-0",)


def test_an_outbox_that_begins_again_and_again_quarantines_its_device(stores: Stores) -> None:
    store = stores(limits=Limits(bounds=Bounds(epochs_per_day=10)))
    for epoch in range(1, 11):
        assert store.commit([packet(1, readings(1.0), epoch=epoch)]).packets == 1
    again = stores(limits=Limits(bounds=Bounds(epochs_per_day=10)))
    assert again.commit([packet(2, readings(1.0), epoch=3)]).packets == 1, "an old one is no new one"
    burst = [packet(1, readings(1.0), epoch=epoch) for epoch in range(11, 61)]
    assert again.commit(burst).rejects == {"quarantined": 50}
    assert rows(stores.url, "SELECT count(*)::int FROM device_stream") == [(10,)]
    assert quarantines(stores.url) == [("box-0",), ("start",)]
    with fleet.connect(stores.url, "test") as connection:
        release(connection, BOX)
    assert stores().commit([packet(1, readings(1.0), epoch=99)]).packets == 1


def test_streams_that_a_gateway_has_forgotten_it_knew_are_neither_new_nor_begun_again(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_KNOWN_STREAMS", 3)
    store = stores(limits=Limits(bounds=Bounds(epochs_per_day=10)))
    sent = [packet(1, readings(1.0), epoch=epoch) for epoch in range(1, 11)]
    for _ in range(2):
        for one in sent:
            store.commit([one])
    assert rows(stores.url, "SELECT count(*)::int FROM device_stream") == [(10,)]
    assert rows(stores.url, "SELECT count(*)::int FROM reading") == [(10,)]
    assert quarantines(stores.url) == []


def test_devices_of_another_partition_are_left_to_their_own_gateway(stores: Stores) -> None:
    rows(stores.url, "UPDATE device SET partition = 'north' WHERE name = 'box-0' RETURNING 1")
    result = stores().commit([packet(1, readings(1.0))])
    assert (result.packets, result.ignored, result.progress) == (0, 1, [])


def test_an_unknown_category_is_kept_and_marked(stores: Stores) -> None:
    stores().commit([packet(1, events(str(uuid.uuid4()), category="lamp.out"))])
    assert rows(stores.url, "SELECT code, known FROM category") == [("lamp.out", False)]


def test_implausible_values_are_kept_and_flagged(stores: Stores) -> None:
    stores().commit([packet(1, readings(20.0, 5000.0))])
    assert rows(stores.url, "SELECT value, flags FROM reading ORDER BY 1") == [(20.0, 0), (5000.0, 2)]


def test_an_unknown_metric_is_taken_in_after_it_is_declared(stores: Stores) -> None:
    both = Readings(
        [Series("s1", "temperature", [now_ms()], [1.0]), Series("s1", "phlogiston", [now_ms()], [7.0])]
    )
    stores().commit([packet(1, both)])
    ((reject_id,),) = rows(stores.url, "SELECT reject_id FROM reject")
    with fleet.connect(stores.url, "test") as connection:
        with pytest.raises(StillRejectedError, match="unknown_metric"):
            retry(connection, reject_id, catalogue(), Limits())
        assert [line.reason for line in rejects.counts(connection)] == ["unknown_metric"]
        declared = catalogue([Metric("phlogiston", "g", 0, 10)])
        assert retry(connection, reject_id, declared, Limits()) == 1
        assert rejects.counts(connection) == []
    assert rows(stores.url, "SELECT value FROM reading ORDER BY 1") == [(1.0,), (7.0,)]
    assert rows(stores.url, "SELECT committed FROM device_packets") == [(1,)]


def test_a_reject_of_an_unknown_device_is_not_taken_in_twice(stores: Stores) -> None:
    stranger = Address("kiln", "box-7")
    store = stores()
    assert store.commit([packet(1, readings(1.0), stranger)]).rejects == {"unknown_device": 1}
    register(stores.url, "kiln", "box-7")
    ((reject_id,),) = rows(stores.url, "SELECT reject_id FROM reject")
    fresh = stores()
    assert fresh.commit([packet(1, readings(1.0), stranger)]).packets == 1, "the box sent it again meanwhile"
    with fleet.connect(stores.url, "test") as connection:
        assert retry(connection, reject_id, catalogue(), Limits()) == 0
    assert rows(stores.url, "SELECT count(*) FROM reading") == [(1,)]


def test_many_boxes_and_many_batches_add_up(stores: Stores) -> None:
    names = [f"many-{number}" for number in range(20)]
    register(stores.url, "kiln", *names)
    store = stores()
    order = secrets.SystemRandom()
    waiting = [(name, seq) for name in names for seq in range(1, 31)] * 2
    order.shuffle(waiting)
    while waiting:
        part, waiting = waiting[:97], waiting[97:]
        store.commit([packet(seq, readings(float(seq)), Address("kiln", name)) for name, seq in part])
    assert rows(stores.url, "SELECT count(*)::int FROM reading") == [(600,)]
    assert rows(stores.url, "SELECT DISTINCT received::text FROM device_stream") == [("{[1,31)}",)]
    assert rows(stores.url, "SELECT sum(duplicates)::int FROM device_stream") == [(600,)]
