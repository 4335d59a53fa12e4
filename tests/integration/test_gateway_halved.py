"""A batch that is halved because of one bad message, while the database goes away: nothing of it counts twice."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from common.wire.codec import encode_status
from common.wire.messages import Status
from common.wire.topics import Address
from gateway.decode import Decoded
from tests.fixtures.gateway_store import BOX, Stores, opened_stores, packet, raw, status
from tests.integration.gateway_rig import events, now_ms, readings, rows

pytestmark = pytest.mark.services
OTHER = Address("kiln", "box-1")


@pytest.fixture
def stores(database_url: str) -> Iterator[Stores]:
    """Stores of this test."""
    with opened_stores(database_url) as made:
        yield made


def goes_away(url: str, table: str, when: str) -> None:
    """The database breaks the connection off the first time that such a row is written."""
    rows(url, "CREATE SEQUENCE broken_off")  # a sequence goes on whatever is rolled back
    rows(
        url,
        f"CREATE FUNCTION break_off() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF {when} THEN"
        " IF nextval('broken_off') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; END IF;"
        " RETURN NEW; END $$",
    )
    rows(url, f"CREATE TRIGGER break_off BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION break_off()")


def halved(url: str) -> list[Decoded]:
    """A batch of which the database refuses one event, and breaks off at the next after it."""
    poison, last = str(uuid.uuid4()), str(uuid.uuid4())
    rows(url, f"ALTER TABLE observation_inbox ADD CHECK (observation_id <> '{poison}')")
    goes_away(url, "observation_inbox", f"NEW.observation_id = '{last}'")
    return [
        packet(1, events(str(uuid.uuid4()))),
        raw(b"no packet"),
        status(now_ms()),
        packet(2, readings(1.0)),
        packet(1, events(poison), OTHER),
        packet(2, events(last), OTHER),
    ]


def test_what_went_in_before_the_database_went_away_is_not_done_again(stores: Stores) -> None:
    failures: list[None] = []
    batch = halved(stores.url)
    result = stores(on_retry=lambda: failures.append(None)).commit(batch)
    assert len(failures) == 1
    assert rows(stores.url, "SELECT reason FROM reject ORDER BY 1") == [("database_refused",), ("not_json",)]
    assert rows(stores.url, "SELECT count(*)::int FROM device_status") == [(1,)]
    assert (result.packets, result.rows, result.statuses, result.duplicates) == (3, 1, 1, 0)
    assert result.rejects == {"database_refused": 1, "not_json": 1}
    assert {one.address for one in result.progress if one.urgent} == {BOX, OTHER}, "alarms: receipts at once"


def test_rejects_kept_before_the_database_went_away_are_kept_once(stores: Stores) -> None:
    rows(stores.url, "ALTER TABLE device_presence ADD CHECK (version <> 'refused')")
    goes_away(stores.url, "reject", "position('second'::bytea IN NEW.payload) > 0")
    refused = [
        encode_status(BOX, now_ms(), Status("online", now_ms(), "refused", "9", {"which": which}))
        for which in ("first", "second", "third")
    ]
    result = stores().commit([raw(payload, "status") for payload in refused])
    assert result.rejects == {"database_refused": 3}
    assert rows(stores.url, "SELECT reason FROM reject") == [("database_refused",)] * 3


def test_a_restored_database_that_comes_back_half_way_gets_the_whole_batch(stores: Stores) -> None:
    def restore() -> None:
        tables = (
            "reading, device_status, device_presence, observation, observation_inbox, reject, device_stream"
        )
        rows(stores.url, f"TRUNCATE {tables} CASCADE")
        rows(stores.url, "UPDATE store SET incarnation = gen_random_uuid()")

    batch = halved(stores.url)
    result = stores(on_retry=restore).commit(batch)
    assert rows(stores.url, "SELECT incarnation::text FROM store") == [(result.incarnation,)]
    assert rows(stores.url, "SELECT reason FROM reject ORDER BY 1") == [("database_refused",), ("not_json",)]
    assert rows(stores.url, "SELECT count(*)::int FROM reading") == [(1,)]
    assert rows(stores.url, "SELECT count(*)::int FROM device_status") == [(1,)]
    assert (result.packets, result.duplicates) == (3, 0)
    told = {(one.address, one.upto) for one in result.progress}
    assert {(BOX, 2), (OTHER, 2)} <= told, "what the boxes are told is in the store that came back"
