"""Foreign devices through the single transaction, against the real database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from common.runtime.config import InvalidConfigError
from common.runtime.errors import ConfigError
from common.wire.codec import rfc3339
from common.wire.topics import Address
from gateway.adapters.mapping import MappingFile
from gateway.decode import Decoded, Decoder
from gateway.foreign.enrol import enrol_foreign
from gateway.metrics_catalogue import catalogue
from gateway.quarantine import Bounds
from gateway.rejects.retry import Retrier, StillRejectedError
from gateway.rows import Flag
from gateway.rules import ThresholdRule
from gateway.silence import sweep
from gateway.store import Limits
from tests.fixtures.foreign import COVERS, PLANT, UP, adapters, message, uplink
from tests.fixtures.gateway_store import Stores, opened_stores, packet
from tests.integration.gateway_rig import now_ms, readings, register, rows

pytestmark = pytest.mark.services

TILT = ThresholdRule("tilt", "cover_tilt", "manhole.open", 20.0, 10.0, ((20.0, 4),), "deg", update_ms=0)
ALL = adapters(PLANT, COVERS)


@pytest.fixture
def stores(database_url: str) -> Iterator[Stores]:
    """Stores of this test."""
    with opened_stores(database_url) as made:
        yield made


@pytest.fixture
def enrolled(database_url: str, tmp_path: Any) -> tuple[MappingFile, ...]:
    """The fixtures' devices in the registry."""
    enrol_foreign(database_url, ALL.files, tmp_path / "credentials")
    return ALL.files


def said(topic: str, payload: object, at: int | None = None, **more: Any) -> Decoded:
    """A decoded message of now."""
    return Decoder(ALL).decode(message(topic, payload, at=now_ms() if at is None else at, **more))


def stored(url: str) -> list[tuple[str, str, float, int]]:
    """Every reading: device, sensor/metric, value, flags."""
    return rows(
        url,
        "SELECT d.name, s.sensor || '/' || s.metric, round(r.value::numeric, 6)::float8, r.flags FROM reading r"
        " JOIN series s USING (series_id) JOIN device d USING (device_id) ORDER BY r.captured_at, r.value",
    )


def test_a_number_is_stored_in_our_unit_and_marked(stores: Stores, enrolled: object) -> None:
    result = stores().commit([said("plant/gauge-1/temp", "212"), said("plant/G 2/temp", "32")])
    assert (result.packets, result.foreign, result.rows) == (2, 2, 2)
    assert sorted(stored(stores.url)) == [
        ("gauge-1", "air/temperature", 100.0, Flag.UNNUMBERED),
        ("gauge-2", "air/temperature", 0.0, Flag.UNNUMBERED),
    ]
    assert rows(stores.url, "SELECT count(*) FROM device_stream") == [(0,)]
    assert result.progress == []


def test_what_cannot_be_known_again_is_kept_twice(stores: Stores, enrolled: object) -> None:
    store = stores()
    again = [said("plant/gauge-1/temp", "212"), said("plant/gauge-1/temp", "212")]
    assert [store.commit(again).rows, store.commit(again).rows] == [2, 2]


def test_a_counted_message_delivered_twice_is_stored_once(stores: Stores, enrolled: object) -> None:
    payload = {
        "n": 7,
        "t": now_ms() / 1000,
        "boot": 1,
        "values": {"level_mm": 1500, "rain": [1]},
        "button": True,
    }
    twice = [said("plant/gauge-1/counted", payload)] * 2
    first = stores()
    results = [first.commit(twice), first.commit(twice)]
    first.close()
    results.append(stores().commit(twice))  # another gateway remembers nothing but what the database says
    assert [(one.packets, one.duplicates, one.rows) for one in results] == [(1, 1, 3), (0, 2, 0), (0, 2, 0)]
    assert {flags for _, _, _, flags in stored(stores.url)} == {0}
    assert results[0].progress == []  # nobody to be sent a receipt
    assert rows(stores.url, "SELECT epoch < 0, duplicates, received::text FROM device_stream") == [
        (True, 5, "{[8,9)}")
    ]
    assert rows(stores.url, "SELECT count(*) FROM device_packets") == [(0,)]


def test_a_counter_that_wraps_or_starts_again_goes_on(stores: Stores, enrolled: object) -> None:
    store = stores()
    numbers = [*range(65_500, 65_536), *range(300), *range(40), *range(3), *range(3)]
    at = now_ms()
    batch = [
        said("plant/gauge-1/counted", {"n": n, "t": (at - 1000 + i) / 1000, "boot": 1, "button": True})
        for i, n in enumerate(numbers)
    ]
    result = store.commit(batch)
    assert (result.packets, result.rows, result.duplicates) == (len(numbers), len(numbers), 0)
    assert store.commit(batch[-20:]).duplicates == 20
    assert rows(stores.url, "SELECT count(*) FROM device_stream") == [(1,)]


def test_a_new_session_begins_a_new_stream(stores: Stores, enrolled: object) -> None:
    store = stores()
    events = [uplink(0, "01000000"), uplink(1, "01000000"), uplink(0, "02000000"), uplink(0, "02000000")]
    result = store.commit([said(UP, event) for event in events])
    assert (result.packets, result.duplicates, result.rows) == (3, 1, 6)
    assert rows(stores.url, "SELECT count(*) FROM device_stream") == [(2,)]


def test_a_timed_message_is_known_by_its_time(stores: Stores, enrolled: object) -> None:
    store = stores()
    one, other = {"v": 30, "at": "2026-01-01T08:00:00Z"}, {"v": 31, "at": "2026-01-01T08:00:00Z"}
    assert store.commit([said("plant/gauge-1/timed", one)] * 3).rows == 1
    assert store.commit([said("plant/gauge-1/timed", other)]).rows == 1
    flags = [flag & Flag.UNNUMBERED for _, _, _, flag in stored(stores.url)]
    assert flags == [0, Flag.UNNUMBERED]


def test_rules_run_on_foreign_readings_and_each_alarm_has_an_id_of_its_own(
    stores: Stores, enrolled: object
) -> None:
    store = stores(rules=(TILT,))
    at = now_ms()
    steps = [(1, 5.0), (2, 45.0), (3, 50.0), (4, 2.0), (5, 60.0)]
    for counter, tilt in steps:
        event = uplink(counter, time=rfc3339(at - 10_000 + counter), object={"tilt": tilt})
        store.commit([said(UP, event, at)])
        store.commit([said(UP, event, at)])
    told = rows(stores.url, "SELECT phase, observation_id, category FROM observation ORDER BY at")
    assert [phase for phase, _, _ in told] == ["start", "end", "start"]
    assert told[0][1] == told[1][1] != told[2][1]
    assert rows(stores.url, "SELECT count(*) FROM observation_inbox") == [(3,)]


def test_alarms_of_unnumbered_readings_have_ids_of_their_own(stores: Stores, enrolled: object) -> None:
    rule = ThresholdRule("hot", "temperature", "smoke.alarm", 50.0, 40.0, ((50.0, 3),), "°C", update_ms=0)
    store = stores(rules=(rule,))
    at = now_ms() - 10_000
    for second, value in enumerate((212, 32, 212, 32)):
        store.commit([said("plant/gauge-1/temp", str(value), at + 1000 * second)])
    told = rows(stores.url, "SELECT phase, observation_id FROM observation ORDER BY at")
    assert [phase for phase, _ in told] == ["start", "end", "start", "end"]
    assert len({one for _, one in told}) == 2


def test_bad_payloads_are_kept_while_the_others_go_in(stores: Stores, enrolled: object) -> None:
    batch = [
        said("plant/gauge-1/temp", "warm"),
        said("plant/gauge-1/temp", "70"),
        said("plant/gauge-1/counted", {"n": 1, "t": 1, "boot": 1, "values": {"level_mm": -5, "rain": [1]}}),
        said(UP, b"\xff{"),
        said("plant/nobody/temp", "70"),
    ]
    result = stores().commit(batch)
    assert result.rows == 2
    assert result.rejects == {"not_a_number": 1, "out_of_range": 1, "not_json": 1, "unknown_device": 1}
    kept = rows(
        stores.url,
        "SELECT d.name, r.reason, r.series FROM reject r LEFT JOIN device d USING (device_id) ORDER BY r.reason",
    )
    assert kept == [
        ("gauge-1", "not_a_number", None),
        ("cover-1", "not_json", None),
        ("gauge-1", "out_of_range", ["gauge/water_level"]),
        (None, "unknown_device", None),
    ]


def test_a_device_that_nobody_enrolled_is_unknown_until_it_is(stores: Stores, tmp_path: Any) -> None:
    store = stores(limits=Limits())
    assert store.commit([said("plant/gauge-1/temp", "70")]).rejects == {"unknown_device": 1}
    enrol_foreign(stores.url, ALL.files, tmp_path)
    store.close()
    assert store.commit([said("plant/gauge-1/temp", "70")]).rows == 1


def test_boxes_and_foreign_devices_share_a_batch(stores: Stores, enrolled: object) -> None:
    batch = [
        packet(1, readings(1.0, 2.0)),
        said("plant/gauge-1/temp", "212"),
        packet(2, readings(3.0)),
        said(UP, uplink(5, time=rfc3339(now_ms()))),
        packet(1, readings(1.0, 2.0)),
    ]
    result = stores().commit(batch)
    assert (result.packets, result.foreign, result.rows, result.duplicates) == (4, 2, 6, 1)
    assert sorted((name, value) for name, _, value, _ in stored(stores.url)) == [
        ("box-0", 1.0),
        ("box-0", 2.0),
        ("box-0", 3.0),
        ("cover-1", 1.5),
        ("cover-1", 93.0),
        ("gauge-1", 100.0),
    ]
    assert [one.address for one in result.progress] == [Address("kiln", "box-0")]


def test_a_batch_that_the_database_refuses_loses_only_the_bad_message(
    stores: Stores, enrolled: object
) -> None:
    store = stores()
    store.commit([said("plant/gauge-1/temp", "32")])
    rows(stores.url, "ALTER TABLE observation_inbox ADD CHECK (category <> 'manhole.open')")
    store = stores(rules=(TILT,))
    bad = uplink(1, time=rfc3339(now_ms()), object={"tilt": 80})
    result = store.commit([said("plant/gauge-1/temp", "50"), said(UP, bad), said("plant/gauge-1/temp", "68")])
    assert result.rejects == {"database_refused": 1}
    assert result.rows == 2
    assert rows(stores.url, "SELECT reason, seq FROM reject") == [("database_refused", None)]


def test_a_device_with_endless_topics_runs_out_of_series_not_the_store(
    stores: Stores, enrolled: object
) -> None:
    store = stores(limits=Limits(series_per_device=3))
    batch = [said(f"plant/gauge-1/level/well-{n}", "250") for n in range(5)]
    for expected in (2, 2):
        result = store.commit(batch)
        assert (result.rows, result.rejects) == (3, {"too_many_series": expected})


def test_a_device_that_begins_streams_without_end_is_quarantined(stores: Stores, enrolled: object) -> None:
    store = stores(limits=Limits(bounds=Bounds(5000, 5)))
    result = store.commit([said(UP, uplink(1, f"{session:08x}")) for session in range(10)])
    assert (result.rows, result.rejects["quarantined"]) == (0, 10)
    assert rows(stores.url, "SELECT name FROM device WHERE quarantined_at IS NOT NULL") == [("cover-1",)]
    assert store.commit([said(UP, uplink(2))]).rejects == {"quarantined": 1}


def test_presence_of_an_unnumbered_device_is_noted_now_and_then_and_its_silence_is_told(
    stores: Stores, enrolled: object
) -> None:
    store = stores()
    at = now_ms() - 120_000
    for later in (0, 1_000, 9_999, 10_000):
        store.commit([said("plant/G 2/temp", "50", at + later)])
    (seen,) = rows(stores.url, "SELECT (extract(epoch FROM seen_at) * 1000)::bigint FROM device_presence")
    assert seen == (at + 10_000,)
    rows(stores.url, "UPDATE partition_lease SET listening_since = now() - interval '1 hour'")
    with psycopg.connect(stores.url, autocommit=True) as connection:
        assert sweep(connection) == 1
    assert rows(stores.url, "SELECT category FROM observation_inbox") == [("device.silent",)]


def test_presence_goes_on_when_the_clock_that_was_ahead_is_set_right(
    stores: Stores, enrolled: object
) -> None:
    store = stores()
    store.commit([said("plant/G 2/temp", "50", now_ms() + 86_400_000)])
    assert rows(stores.url, "SELECT seen_at <= clock_timestamp() FROM device_presence") == [(True,)]
    rows(stores.url, "UPDATE device_presence SET seen_at = now() - interval '1 hour'")
    store.commit([said("plant/G 2/temp", "51")])
    assert rows(stores.url, "SELECT seen_at > now() - interval '1 minute' FROM device_presence") == [(True,)]


def test_a_device_of_another_partition_is_left_to_its_gateway(
    stores: Stores, database_url: str, tmp_path: Any
) -> None:
    other = adapters(PLANT.replace("site: plant", "site: plant\npartition: north"))
    enrol_foreign(database_url, other.files, tmp_path)
    result = stores().commit([said("plant/gauge-1/temp", "70")])
    assert (result.rows, result.ignored) == (0, 1)


def test_enrolling_gives_each_account_its_topics_and_keeps_its_password(
    database_url: str, tmp_path: Any
) -> None:
    first = enrol_foreign(database_url, ALL.files, tmp_path)
    again = enrol_foreign(database_url, ALL.files, tmp_path)
    assert [one.account.username for one in first] == ["plant/gauge-1", "plant/gauge-2", "foreign-covers"]
    assert [one.password for one in first] == [one.password for one in again]
    assert ([one.made for one in first], [one.made for one in again]) == ([True] * 3, [False] * 3)
    assert "plant/G 2/temp" in first[1].account.publish
    assert not any("gauge-1" in topic for topic in first[1].account.publish)
    assert first[2].account.publish == ("application/+/device/+/event/up",)
    assert all((tmp_path / one.account.file).stat().st_mode & 0o777 == 0o600 for one in first)
    kept = rows(database_url, "SELECT name, mapping, silent_after_s FROM device ORDER BY name")
    assert kept == [("cover-1", "covers", 3600), ("gauge-1", "plant", 3600), ("gauge-2", "plant", 60)]


def test_a_box_is_not_made_a_foreign_device(database_url: str, tmp_path: Any) -> None:
    register(database_url, "plant", "gauge-1")
    with pytest.raises(ConfigError, match="plant/gauge-1") as caught:
        enrol_foreign(database_url, ALL.files, tmp_path)
    assert not isinstance(caught.value, InvalidConfigError)
    assert rows(database_url, "SELECT count(*) FROM device") == [(1,)]


def test_a_reject_is_taken_in_once_its_mapping_is_right(stores: Stores, enrolled: object) -> None:
    payload = {"n": 1, "t": now_ms() / 1000, "boot": 1, "values": {"level_mm": 90_000, "rain": [1]}}
    whole = {"n": 2, "t": now_ms() / 1000, "boot": 1, "values": {"level_mm": 91_000}}
    stores().commit([said("plant/gauge-1/counted", payload), said("plant/gauge-1/counted", whole)])
    stores().commit([said("plant/gauge-1/temp", "900", retain=False)])
    mended = adapters(
        PLANT.replace("unit: mm}", "unit: mm, range: [0, 100]}").replace(
            "unit: °F}", "unit: °F, range: [0, 500]}"
        )
    )
    with psycopg.connect(stores.url, autocommit=True) as connection:
        retrier = Retrier(connection, catalogue(), Limits(), decoder=Decoder(ALL))
        ids = [row[0] for row in rows(stores.url, "SELECT reject_id FROM reject ORDER BY reject_id")]
        assert len(ids) == 3
        with pytest.raises(StillRejectedError, match="out_of_range"):
            retrier.retry(ids[0])
        retrier = Retrier(connection, catalogue(), Limits(), decoder=Decoder(mended))
        assert [retrier.retry(one) for one in ids] == [1, 1, 1]
    assert sorted(value for _, _, value, _ in stored(stores.url)) == [25.4, 90.0, 91.0, 482.222222]
    again = stores().commit([Decoder(mended).decode(message("plant/gauge-1/counted", whole))])
    assert (again.rows, again.duplicates) == (0, 1)
    assert rows(stores.url, "SELECT count(*) FROM reject") == [(0,)]
