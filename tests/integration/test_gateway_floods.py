"""A box that says what nobody can take in: it is told of, and neither it nor its neighbours fall silent by it."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.runtime.stop import Stop
from common.wire.codec import encode_packet
from common.wire.topics import Address
from gateway.decode import Decoded, Decoder, RawMessage
from gateway.fleet import repo as fleet
from gateway.fleet.audit import Actor
from gateway.fleet.release import put
from gateway.lease import LeaseKeeper
from gateway.metrics_catalogue import catalogue
from gateway.rejects.flood import CATEGORY
from gateway.store import Limits, Store
from local.broker import Broker
from tests.conftest import Credential
from tests.integration.gateway_rig import (
    SETTINGS,
    add_box,
    events,
    gateway_process,
    now_ms,
    readings,
    register,
    rows,
)
from tests.integration.test_doctor import ask, surroundings

pytestmark = pytest.mark.services
BOX, OTHER = Address("kiln", "box-0"), Address("kiln", "box-1")
DAY_MS = 86_400_000
DECODER = Decoder()
#: Who was told of, and why.
TOLD = (
    "SELECT d.name, o.phase, o.detail ->> 'reason' FROM observation o JOIN device d USING (device_id)"
    f" WHERE o.category = '{CATEGORY}' ORDER BY o.at"
)
#: How much of whose rejects was kept; without those that the broker still had of boxes which nobody knows here.
KEPT = "SELECT d.name, r.kept_bytes <= 10486, r.kept + r.dropped >= 1230 FROM reject_day r JOIN device d USING (device_id)"


@pytest.fixture
def begin(database_url: str) -> Iterator[Callable[[], Store]]:
    """Makes stores of two boxes under one lease, each as after a restart; a day's quota is 1,000 bytes."""
    register(database_url, "kiln", "box-0", "box-1")
    lease = LeaseKeeper(database_url, "default", "test").try_acquire()
    assert lease is not None
    held, made = lease, []

    def store() -> Store:
        limits = Limits(reject_bytes_per_day=1000)
        made.append(
            Store(database_url, "default", held.fencing, metrics=catalogue(), stop=Stop(), limits=limits)
        )
        return made[-1]

    yield store
    for one in made:
        one.close()
    held.release()


def nonsense(count: int, address: Address = BOX, *, days_on: int = 0) -> list[Decoded]:
    """So many messages of 90 bytes that are no packets."""
    at = now_ms() + days_on * DAY_MS
    return [
        DECODER.decode(RawMessage(address.up("readings"), b"x" * 90, False, at, 90)) for _ in range(count)
    ]


def test_what_is_not_kept_of_a_boxs_rejects_is_told_once_a_day(
    begin: Callable[[], Store], database_url: str
) -> None:
    store = begin()
    store.commit(nonsense(11))
    assert rows(database_url, TOLD) == [], "all of it is kept"
    assert store.commit([*nonsense(5), *nonsense(3, OTHER)]).rejects_dropped == 5
    store.commit(nonsense(5))
    begin().commit(nonsense(20))
    assert rows(database_url, TOLD) == [("box-0", "act", "not_json")]
    assert rows(database_url, "SELECT count(*)::int FROM observation_inbox") == [(1,)]
    begin().commit(nonsense(20, days_on=1))
    assert [name for name, _, _ in rows(database_url, TOLD)] == ["box-0", "box-0"]
    assert rows(database_url, "SELECT count(DISTINCT observation_id)::int FROM observation") == [(2,)]


def test_of_a_box_that_is_kept_out_nothing_more_is_told(
    begin: Callable[[], Store], database_url: str
) -> None:
    with fleet.connect(database_url, "test") as connection:
        put(connection, BOX, Actor("duty", "here"), "it floods")
    flood = [
        DECODER.decode(RawMessage(BOX.up("readings"), payload, False, now_ms(), len(payload)))
        for seq in range(1, 30)
        for payload in [encode_packet(BOX, 9, seq, now_ms(), readings(1.0))]
    ]
    result = begin().commit(flood)
    assert result.rejects == {"quarantined": 29}
    assert result.rejects_dropped > 0
    assert result.progress == [], "without a receipt it keeps all of it"
    assert rows(database_url, TOLD) == []


def test_a_box_that_floods_with_nonsense_gets_its_alarm_through_and_its_neighbour_goes_on(
    broker: Broker, gateway_credential: Credential, database_url: str, tmp_path: Path
) -> None:
    bad, good = (f"box-{secrets.token_hex(4)}" for _ in range(2))
    register(database_url, "kiln", bad, good)
    settings = SETTINGS + "limits: {reject_mb_per_device_day: 0.01}\n"
    name, password = gateway_credential.username, gateway_credential.password
    flooding, neighbour = add_box(broker, "kiln", bad), add_box(broker, "kiln", good)
    alarm = str(uuid.uuid4())
    try:
        with gateway_process(
            tmp_path / "gateway", database_url, broker, name, password, settings=settings
        ) as running:
            running.await_connected()
            # More than a box sends without a receipt (1,000): were these not receipted, the alarm would wait.
            for number in range(1200):
                flooding.send(readings(1.0, metric="phlogiston"))
                if number % 40 == 0:
                    flooding.publish_raw("readings", b"nonsense")
                    neighbour.send(readings(float(number)))
            flooding.send(events(alarm))
            flooding.settle()
            neighbour.settle()
            said = ask("gateway", **surroundings(broker, gateway_credential, database_url, tmp_path))
            assert running.stop() == 0
    finally:
        flooding.close()
        neighbour.close()
    assert rows(database_url, "SELECT count(*)::int FROM observation WHERE observation_id = %s", alarm) == [
        (1,)
    ]
    assert rows(database_url, "SELECT count(*)::int FROM reading") == [(30,)]
    assert rows(database_url, KEPT) == [(bad, True, True)]
    assert rows(database_url, TOLD) == [(bad, "act", "unknown_metric")]
    assert rows(database_url, "SELECT count(*)::int FROM device WHERE quarantined_at IS NOT NULL") == [(0,)]
    verdict, words = said("rejects not kept")
    assert (verdict, bad in words, good in words) == ("warn", True, False)
