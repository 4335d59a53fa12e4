"""The gateway as a process, with the real broker and the real database: once, only once, and told so."""

from __future__ import annotations

import secrets
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest

from common.wire.codec import encode_packet, encode_status
from common.wire.messages import Abandoned, Readings, Series, Status
from common.wire.topics import Address
from gateway.app import Gateway
from gateway.config import BrokerAddress, Environment, GatewaySettings, IntakeSettings
from gateway.lease import Lease
from local.broker import Broker
from tests.conftest import Credential
from tests.fixtures.gateway_intakes import INTAKES
from tests.integration.gateway_rig import (
    PATIENCE,
    SETTINGS,
    Box,
    GatewayProcess,
    add_box,
    events,
    eventually,
    gateway_process,
    now_ms,
    readings,
    register,
    rows,
)

pytestmark = pytest.mark.services


@pytest.fixture
def site() -> str:
    """A site of this test alone: the broker is shared."""
    return f"site-{secrets.token_hex(4)}"


@pytest.fixture
def box(broker: Broker, database_url: str, site: str) -> Iterator[Box]:
    """A registered box, connected."""
    register(database_url, site, "box-1")
    made = add_box(broker, site, "box-1")
    yield made
    made.close()


@pytest.fixture
def gateway(  # noqa: PLR0917 - fixtures
    tmp_path: Path,
    database_url: str,
    broker: Broker,
    gateway_credential: Credential,
    site: str,
    box: Box,
    request: pytest.FixtureRequest,
) -> Iterator[GatewayProcess]:
    """A gateway that takes in what the box sends, with settings of the test's own where it gives some."""
    partition = f"part-{secrets.token_hex(4)}"
    rows(database_url, "UPDATE device SET partition = %s RETURNING 1", partition)
    with gateway_process(
        tmp_path / "gateway",
        database_url,
        broker,
        gateway_credential.username,
        gateway_credential.password,
        partition=partition,
        settings=getattr(request, "param", SETTINGS),
    ) as running:
        yield running.await_connected()


def test_every_packet_is_committed_once_and_receipted(
    gateway: GatewayProcess, box: Box, database_url: str
) -> None:
    for number in range(200):
        box.send(readings(20.0, 20.5, number / 10))
    box.settle()
    assert rows(database_url, "SELECT count(*) FROM reading") == [(600,)]
    assert rows(database_url, "SELECT committed, missing, highest FROM device_packets") == [(200, 0, 200)]
    assert box.receipts[-1].upto == box.receipts[-1].highest == 200
    assert box.receipts[-1].gaps == []
    assert gateway.stop() == 0


def test_packets_sent_again_and_again_are_dropped_and_still_receipted(
    gateway: GatewayProcess, box: Box, database_url: str
) -> None:
    payloads = []
    for _ in range(30):
        seq = box.send(readings(1.0, 2.0))
        payloads.append(encode_packet(box.address, box.epoch, seq, now_ms(), readings(1.0, 2.0)))
    box.settle()
    told = len(box.receipts)
    box.publish_raw("readings", payloads[3])
    eventually(lambda: len(box.receipts) > told)
    assert rows(database_url, "SELECT count(*) FROM reading") == [(60,)]
    assert rows(database_url, "SELECT duplicates >= 1 FROM device_packets") == [(True,)]


@pytest.mark.parametrize("gateway", ["receipts: {every_packets: 1000, every_s: 600}"], indirect=True)
def test_an_alarm_is_receipted_at_once_and_handed_to_the_ticket_centre(
    gateway: GatewayProcess, box: Box, database_url: str
) -> None:
    alarm = str(uuid.uuid4())
    box.send(events(alarm))
    eventually(lambda: box.unreceipted() == 0)
    found = rows(database_url, "SELECT observation_id::text, phase, category, sensor FROM observation_inbox")
    assert found == [(alarm, "start", "camera.zone_crowded", "cam-1")]


def test_a_reading_over_its_threshold_becomes_an_observation(
    gateway: GatewayProcess, box: Box, database_url: str
) -> None:
    box.send(readings(0.01, 0.02, 0.2, 0.3, sensor="smoke-1", metric="smoke_density"))
    box.send(readings(0.05, sensor="smoke-1", metric="smoke_density", at=now_ms() + 1000))
    box.settle()
    found = rows(database_url, "SELECT phase, category, value, unit FROM observation_inbox ORDER BY inbox_id")
    assert found == [("start", "smoke.alarm", 0.2, "dB/m"), ("end", "smoke.alarm", 0.05, "dB/m")]


def test_a_gap_is_told_when_it_is_old_and_closes_when_the_box_gives_it_up(
    gateway: GatewayProcess, box: Box, database_url: str
) -> None:
    box.send(readings(1.0))
    box.settle()
    box.numbered += 2  # 2 and 3 fell off a full disk
    box.send(readings(1.0))
    eventually(lambda: box.receipts and box.receipts[-1].gaps == [(2, 3)])
    box.send(Abandoned(f"{box.epoch:x}", [(2, 3)], "disk full"))
    eventually(lambda: box.receipts[-1].upto == 5)
    assert rows(database_url, "SELECT committed, abandoned, missing FROM device_packets") == [(3, 2, 0)]
    lost = rows(database_url, "SELECT phase, count, detail->>'reason' FROM observation_inbox")
    assert lost == [("act", 2, "disk full")]


def test_each_bad_message_is_kept_with_its_reason_while_its_neighbours_go_in(
    gateway: GatewayProcess, box: Box, database_url: str, broker: Broker
) -> None:
    good = encode_packet(box.address, box.epoch, 1, now_ms(), readings(1.0))
    other = encode_packet(Address("elsewhere", "box-9"), 7, 1, now_ms(), readings(1.0))
    text = encode_packet(box.address, box.epoch, 50, now_ms(), events(str(uuid.uuid4())))
    bad = {
        "not_json": ("readings", b"\x00\xff garbage"),
        "wrong_version": ("readings", good.replace(b"readings.v1", b"readings.v9")),
        "wrong_sender": ("readings", other),
        "null_character": ("events", text.replace(b'"unit":""', b'"unit":"\\u0000"')),
        "wrong_shape": ("readings", good.replace(b'"value":[1.0]', b'"value":["hot"]')),
        "too_large": ("readings", b"{" + b" " * 700_000),
        "unsupported_kind": ("config", b"{}"),
        "wrong_topic": ("events", good.replace(b"-1", b"-60", 1)),
    }
    box.send(readings(1.0))
    for kind, payload in bad.values():
        box.publish_raw(kind, payload)
    box.publish_raw("readings", good[:-20])  # truncated: not_json again
    box.publish_raw("readings", good.replace(b'"value":[1.0]', b'"value":[NaN]'))  # as well
    box.send(
        Readings(
            [
                Series("s1", "temperature", [now_ms()], [3.0]),
                Series("s1", "phlogiston", [now_ms()], [3.0]),
            ]
        )
    )
    box.settle()
    expected = {*bad, "unknown_metric"}
    eventually(lambda: {r[0] for r in rows(database_url, "SELECT reason FROM reject")} == expected)
    counted = dict(rows(database_url, "SELECT reason, count(*) FROM reject GROUP BY 1"))
    assert counted.pop("not_json") == 3
    assert set(counted.values()) == {1}
    assert rows(database_url, "SELECT size, length(payload) FROM reject WHERE reason = 'too_large'") == [
        (700_001, 4096)
    ]
    assert rows(database_url, "SELECT value FROM reading ORDER BY 1") == [(1.0,), (3.0,)]


def test_an_enormous_message_ends_only_its_senders_connection(
    gateway: GatewayProcess, box: Box, database_url: str, broker: Broker, site: str
) -> None:
    rude = add_box(broker, site, "box-1-rude")
    rude.await_connected()
    cut_off = threading.Event()
    rude._client.on_disconnect = lambda *_: cut_off.set()
    rude._client.publish(rude.address.up("readings"), b"x" * 10_000_000, qos=1)
    box.send(readings(1.0))
    box.settle()
    assert cut_off.wait(PATIENCE), "the broker does not take such a message"
    rude.close()
    assert rows(database_url, "SELECT count(*) FROM reading") == [(1,)]
    assert rows(database_url, "SELECT reason FROM reject") == [], "it did not come as far as the gateway"


def test_a_box_cannot_speak_as_another_box_or_site(
    gateway: GatewayProcess, box: Box, database_url: str, broker: Broker
) -> None:
    here, elsewhere = Address(box.address.site, "box-2"), Address(f"{box.address.site}-too", "box-9")
    for victim in (here, elsewhere):
        rows(
            database_url,
            "INSERT INTO device (site, name, partition, lon, lat)"
            " SELECT %s, %s, partition, lon, lat FROM device LIMIT 1 RETURNING 1",
            victim.site,
            victim.device,
        )
    # The gateway listens to both sites, as what their own boxes say shows.
    for victim in (here, elsewhere):
        own = add_box(broker, victim.site, victim.device)
        own.send(readings(5.0))
        own.settle()
        own.close()
    box.await_connected()
    for victim in (here, elsewhere):
        forged = encode_packet(victim, 7, 1, now_ms(), readings(66.0))
        box._client.publish(victim.up("readings"), forged, qos=1)
    box.send(readings(1.0))
    box.settle()
    assert rows(database_url, "SELECT value FROM reading ORDER BY 1") == [(1.0,), (5.0,), (5.0,)]
    forgeries = (
        "SELECT count(*) FROM reject WHERE reason <> 'unknown_device' OR position('66.0' IN payload) > 0"
    )
    assert rows(database_url, forgeries) == [(0,)]


def test_a_clock_a_year_off_makes_no_flood_of_chunks(
    gateway: GatewayProcess, box: Box, database_url: str
) -> None:
    year = 365 * 86_400_000
    for day in range(40):
        box.send(readings(1.0, at=now_ms() - year + day * 86_400_000))
        box.send(readings(1.0, at=now_ms() + year - day * 86_400_000))
    box.settle()
    assert len(rows(database_url, "SELECT show_chunks('reading')")) <= 2
    assert rows(
        database_url, "SELECT count(*) FROM reading WHERE flags & 1 = 1 AND claimed_at IS NOT NULL"
    ) == [(80,)]


def test_a_cloned_card_is_kept_as_a_reject_not_lost(
    gateway: GatewayProcess, box: Box, database_url: str
) -> None:
    box.send(readings(1.0))
    box.settle()
    clone = encode_packet(box.address, box.epoch, 1, now_ms() + 5, readings(77.0))
    box.publish_raw("readings", clone)
    box.publish_raw("readings", clone)
    eventually(lambda: rows(database_url, "SELECT 1 FROM reject WHERE reason = 'reused_sequence'"))
    box.send(readings(2.0))
    box.settle()
    assert rows(database_url, "SELECT reason, payload FROM reject") == [("reused_sequence", clone)]
    assert rows(database_url, "SELECT value FROM reading ORDER BY 1") == [(1.0,), (2.0,)]


def test_a_status_is_kept_and_the_newest_one_shown(
    gateway: GatewayProcess, box: Box, database_url: str
) -> None:
    for count in (1, 2):
        status = Status("online", now_ms(), "0.1.0", f"{box.epoch:x}", {"frames": count, "rss_mb": 80.5})
        box.publish_raw("status", encode_status(box.address, now_ms(), status), retain=True)
    eventually(lambda: rows(database_url, "SELECT count(*) FROM device_status") == [(2,)])
    assert rows(database_url, "SELECT state, counters->>'frames' FROM device_presence") == [("online", "2")]


def test_a_device_enrolled_later_is_taken_in_without_a_restart(
    gateway: GatewayProcess, box: Box, database_url: str, broker: Broker, site: str
) -> None:
    newcomer = add_box(broker, site, "box-2")
    newcomer.send(readings(5.0))
    eventually(lambda: rows(database_url, "SELECT 1 FROM reject WHERE reason = 'unknown_device'"))
    assert newcomer.unreceipted() == 1
    rows(
        database_url,
        "INSERT INTO device (site, name, partition, lon, lat) SELECT site, 'box-2', partition, lon, lat FROM device"
        " RETURNING 1",
    )
    newcomer.settle()
    newcomer.close()
    assert rows(database_url, "SELECT value FROM reading") == [(5.0,)]


@pytest.mark.parametrize("client", get_args(IntakeSettings.model_fields["client"].annotation))
def test_a_gateway_speaks_to_the_broker_by_the_client_that_its_settings_name(
    database_url: str, lease: Lease, client: str
) -> None:
    """Taken for one another they would not be noticed: each does the whole work."""
    settings = GatewaySettings.model_validate({"intake": {"client": client}})
    broker = BrokerAddress("127.0.0.1", 1, False, "gateway", "", None)
    gateway = Gateway(settings, Environment(database_url, broker, None, None, None))
    with closing(gateway._intake(lease)) as intake:
        assert type(intake) is INTAKES[client]
