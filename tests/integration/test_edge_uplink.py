"""The line to a real broker: TLS, refusals, receipts, and a broker that loses everything."""

from __future__ import annotations

import secrets
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from common.runtime.clock import Clock, SystemClock
from common.runtime.stop import Stop
from common.wire.messages import Readings
from common.wire.topics import Address
from edge.database import Database
from edge.flow import Flow, Pace, Window
from edge.outbox import SqliteOutbox
from edge.session import Session, UplinkError, UplinkFacts
from edge.settings import Broker as Where
from edge.settings import UplinkSettings
from edge.uplink import Uplink
from local.broker import Broker
from local.certificates import ensure_certificates
from tests.conftest import Credential
from tests.fixtures.edge_gateway import PATIENCE, PlayedGateway, eventually
from tests.fixtures.edge_memory_outbox import MemoryOutbox
from tests.fixtures.edge_messages import events, readings, receipt

pytestmark = pytest.mark.services
PASSWORD = "correct horse"


@dataclass
class Box:
    """An outbox and its line, without sensors."""

    address: Address
    outbox: SqliteOutbox
    uplink: Uplink
    stop: Stop
    thread: threading.Thread

    def accept(self, *values: float) -> None:
        for value in values:
            self.outbox.append(readings(value))
        self.uplink.wake()


@contextmanager
def run_box(
    broker: Broker,
    directory: Path,
    address: Address,
    *,
    password: str = PASSWORD,
    ca_file: Path | None = None,
    clock: Clock | None = None,
    **settings: Any,
) -> Iterator[Box]:
    clock = clock or SystemClock()
    database = Database(directory)
    outbox = SqliteOutbox(database, address, clock)
    where = Where("127.0.0.1", broker.port, True, password, ca_file or broker.ca_file)
    told = UplinkSettings(**{"reconnect_s": 0.1, "longest_reconnect_s": 0.5, "drain_s": 2, **settings})
    uplink = Uplink(
        address,
        outbox,
        where,
        settings=told,
        clock=clock,
        counters=lambda: {"frames": 7, "rss_mb": 1.5},
    )
    stop = Stop()
    thread = threading.Thread(target=uplink.run, args=(stop,), name="uplink")
    thread.start()
    try:
        yield Box(address, outbox, uplink, stop, thread)
    finally:
        stop.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        database.close()


@pytest.fixture
def address(broker: Broker) -> Iterator[Address]:
    """A box with an account of its own at the broker."""
    address = Address("gulou", f"box-{secrets.token_hex(4)}")
    broker.add_device(address.site, address.device, PASSWORD)
    broker.reload()
    yield address
    broker.remove_client(str(address))


def play(broker: Broker, credential: Credential, address: Address, **told: Any) -> PlayedGateway:
    """A gateway for one box."""
    return PlayedGateway(broker, credential.username, credential.password, only=address, **told)


@pytest.fixture
def gateway(broker: Broker, gateway_credential: Credential, address: Address) -> Iterator[PlayedGateway]:
    with play(broker, gateway_credential, address) as running:
        yield running


def test_packets_go_up_and_receipts_come_down(
    broker: Broker, address: Address, gateway: PlayedGateway, tmp_path: Path
) -> None:
    with run_box(broker, tmp_path, address) as box:
        box.accept(*range(250))
        eventually(lambda: box.outbox.stats().unreceipted == 0)
        assert box.outbox.stats().receipted == 250
        assert gateway.values == set(map(float, range(250)))
        clock = SystemClock()
        offset_ms = box.uplink.facts.clock_offset.offset_ms(clock.now_ms(), clock.monotonic())
        assert offset_ms is not None
        assert abs(offset_ms) < 1000 * PATIENCE


class SlowClock(SystemClock):
    """A wall clock that is an hour slow, until it is set."""

    slow_ms = 3_600_000

    def now_ms(self) -> int:
        return super().now_ms() - self.slow_ms


def test_a_box_measures_how_wrong_its_clock_is_and_changes_no_time_by_it(
    broker: Broker, address: Address, gateway: PlayedGateway, tmp_path: Path
) -> None:
    clock = SlowClock()

    def measured_ms() -> int:
        return box.uplink.facts.clock_offset.offset_ms(clock.now_ms(), clock.monotonic()) or 0

    with run_box(broker, tmp_path, address, clock=clock) as box:
        said_at = clock.now_ms()
        box.outbox.append(readings(7, at=said_at))
        box.uplink.wake()
        eventually(lambda: abs(measured_ms() - 3_600_000) < 20_000)
        (packet,) = gateway.packets
        assert isinstance(packet.data, Readings)
        assert packet.data.series[0].at == [said_at]
        clock.slow_ms = 0
        assert abs(measured_ms()) < 20_000


def test_mqtt_3_1_1_does_as_well(
    broker: Broker, address: Address, gateway: PlayedGateway, tmp_path: Path
) -> None:
    with run_box(broker, tmp_path, address, mqtt="3.1.1") as box:
        box.accept(1, 2, 3)
        eventually(lambda: box.outbox.stats().unreceipted == 0)
        assert gateway.values == {1, 2, 3}


def test_the_status_is_retained_and_says_offline_after_a_clean_stop(
    broker: Broker, address: Address, gateway_credential: Credential, tmp_path: Path
) -> None:
    with run_box(broker, tmp_path, address, status_every_s=0.2) as box:
        eventually(lambda: box.uplink.facts.connected)
        with play(broker, gateway_credential, address) as gateway:
            eventually(lambda: len(gateway.statuses) >= 3)
            assert gateway.statuses[-1].state == "online"
            assert gateway.statuses[-1].counters == {"frames": 7, "rss_mb": 1.5}
            assert gateway.statuses[-1].epoch == f"{box.outbox.epoch:x}"
    with play(broker, gateway_credential, address) as late:
        eventually(lambda: [status.state for status in late.statuses] == ["offline"])


def test_a_stop_waits_for_receipts_that_are_still_to_come(
    broker: Broker, address: Address, gateway_credential: Credential, tmp_path: Path
) -> None:
    with (
        play(broker, gateway_credential, address, receipts=False) as gateway,
        run_box(broker, tmp_path, address, drain_s=60) as box,
    ):
        box.accept(*range(20))
        eventually(lambda: gateway.committed == 20)
        box.stop.set()
        box.thread.join(0.7)
        assert box.thread.is_alive()
        gateway.answer()
        box.thread.join(30)
        assert not box.thread.is_alive()
        assert box.outbox.stats().unreceipted == 0


def test_without_receipts_a_stop_still_ends(broker: Broker, address: Address, tmp_path: Path) -> None:
    with run_box(broker, tmp_path, address, drain_s=0.5) as box:
        box.accept(1)
        eventually(lambda: box.uplink.facts.sent == 1)
        box.stop.set()
        box.thread.join(PATIENCE)
        assert not box.thread.is_alive()
        assert box.outbox.stats().unreceipted == 1


def test_what_the_store_misses_is_sent_again(
    broker: Broker, address: Address, gateway_credential: Credential, tmp_path: Path
) -> None:
    with (
        play(broker, gateway_credential, address, lose=frozenset({3, 4, 9})) as gateway,
        run_box(broker, tmp_path, address) as box,
    ):
        box.accept(*range(1, 13))
        eventually(lambda: box.outbox.stats().unreceipted == 0)
        assert gateway.values == set(map(float, range(1, 13)))


def test_a_receipt_that_never_came_has_the_packet_sent_again(
    broker: Broker, address: Address, gateway_credential: Credential, tmp_path: Path
) -> None:
    with (
        play(broker, gateway_credential, address, lose=frozenset({1})) as gateway,
        run_box(broker, tmp_path, address, resend_after_s=0.5) as box,
    ):
        box.accept(42)
        eventually(lambda: box.outbox.stats().unreceipted == 0)
        assert gateway.values == {42}
        assert box.uplink.facts.resent >= 1


def test_never_more_than_the_window_is_under_way(
    broker: Broker, address: Address, gateway_credential: Credential, tmp_path: Path
) -> None:
    with (
        play(broker, gateway_credential, address, receipts=False) as gateway,
        run_box(broker, tmp_path, address, window=10) as box,
    ):
        box.accept(*range(100))
        eventually(lambda: gateway.committed == 10)
        threading.Event().wait(0.5)
        assert gateway.committed == 10
        gateway.receipts = True
        gateway.answer()
        eventually(lambda: box.outbox.stats().unreceipted == 0)


def test_a_broker_that_loses_everything_it_acknowledged_is_sent_everything_again(tmp_path: Path) -> None:
    address = Address("gulou", "lamp-01")
    with Broker(tmp_path / "broker") as broker:
        broker.add_device(address.site, address.device, PASSWORD)
        broker.add_gateway("gateway", "gateway")
        broker.reload()
        with run_box(broker, tmp_path / "box", address) as box:
            box.accept(*range(60))
            eventually(lambda: box.uplink.facts.sent >= 60)
            broker.kill(delete_persistence=True)
            box.accept(*range(60, 90))
            broker.start()
            with PlayedGateway(broker, "gateway", "gateway") as gateway:
                box.accept(90)
                eventually(lambda: box.outbox.stats().unreceipted == 0)
                assert gateway.values == set(map(float, range(91)))
                assert gateway.committed == 91


def test_a_restored_store_is_sent_what_the_box_still_holds(
    broker: Broker, address: Address, gateway: PlayedGateway, tmp_path: Path
) -> None:
    with run_box(broker, tmp_path, address) as box:
        box.accept(*range(30))
        eventually(lambda: box.outbox.stats().unreceipted == 0)
        gateway.forget("store-b")
        box.accept(30)
        eventually(lambda: gateway.values == set(map(float, range(31))))
        eventually(lambda: box.outbox.stats().unreceipted == 0)


def test_a_receipt_for_numbers_never_issued_makes_the_box_number_anew(
    broker: Broker, address: Address, gateway: PlayedGateway, tmp_path: Path
) -> None:
    with run_box(broker, tmp_path, address) as box:
        box.accept(1, 2)
        eventually(lambda: box.outbox.stats().unreceipted == 0)
        epoch = box.outbox.epoch
        gateway.say(address, receipt(epoch, 77, incarnation=gateway.incarnation))
        eventually(lambda: box.outbox.epoch != epoch)
        box.accept(3)
        eventually(lambda: box.outbox.stats().unreceipted == 0)
        assert gateway.values == {1, 2, 3}


def test_a_wrong_password_is_said_and_nothing_is_lost(
    broker: Broker, address: Address, tmp_path: Path
) -> None:
    with (
        structlog.testing.capture_logs() as logs,
        run_box(broker, tmp_path, address, password="wrong") as box,
    ):
        box.accept(1)
        eventually(lambda: any(log["event"] == "uplink.refused" for log in logs))
        assert not box.uplink.facts.connected
        assert box.outbox.stats().unreceipted == 1
    (first, *_) = [log for log in logs if log["event"] == "uplink.refused"]
    assert "DRUMTOWER_CREDENTIAL_FILE" in first["hint"]
    assert "wrong" not in str(logs)


def test_a_broker_that_another_authority_signed_is_not_trusted(
    broker: Broker, address: Address, tmp_path: Path
) -> None:
    other = ensure_certificates(tmp_path / "other")
    with (
        structlog.testing.capture_logs() as logs,
        run_box(broker, tmp_path / "box", address, ca_file=other.authority) as box,
    ):
        eventually(lambda: any(log["event"] == "uplink.untrusted" for log in logs))
        assert box.uplink.facts.connections == 0


def test_a_box_that_may_not_publish_notices_and_says_so(
    broker: Broker, address: Address, tmp_path: Path
) -> None:
    broker.add_client(str(address), PASSWORD, ["dt/v1/other/box/up/#"], [address.down("#")])
    broker.reload()
    with structlog.testing.capture_logs() as logs, run_box(broker, tmp_path, address) as box:
        box.outbox.append(events())
        box.accept(1)
        eventually(lambda: box.uplink.facts.refused >= 2)
        assert box.uplink.facts.connected
        assert box.outbox.stats().unreceipted == 2
        assert not box.uplink.alarms_waiting()
    (refused,) = [log for log in logs if log["event"] == "uplink.publish_refused"]
    assert "ot authorized" in refused["reason"]
    assert str(address) in refused["hint"]


@pytest.mark.parametrize("mqtt", ["5", "3.1.1"])
def test_a_box_that_may_not_read_its_receipts_notices_and_says_so(
    broker: Broker, address: Address, gateway: PlayedGateway, tmp_path: Path, mqtt: str
) -> None:
    broker.add_client(str(address), PASSWORD, [address.up("#")], ["dt/v1/other/box/down/#"])
    broker.reload()
    with (
        structlog.testing.capture_logs() as logs,
        run_box(broker, tmp_path, address, mqtt=mqtt, resend_after_s=0.5) as box,
    ):
        box.accept(1)
        eventually(lambda: any(log["event"] == "uplink.no_receipts" for log in logs))
        eventually(lambda: gateway.values == {1})
        assert box.uplink.facts.connected
        assert box.outbox.stats().unreceipted == 1
    (said,) = [log for log in logs if log["event"] == "uplink.no_receipts"]
    assert said["log_level"] == "error"
    assert address.down("receipt") in said["hint"]


def test_a_box_that_may_not_publish_notices_even_where_the_broker_acknowledges_and_throws_away(
    broker: Broker, address: Address, gateway: PlayedGateway, tmp_path: Path
) -> None:
    broker.add_client(str(address), PASSWORD, ["dt/v1/other/box/up/#"], [address.down("#")])
    broker.reload()
    with (
        structlog.testing.capture_logs() as logs,
        run_box(broker, tmp_path, address, mqtt="3.1.1", resend_after_s=0.5) as box,
    ):
        box.accept(1)
        eventually(lambda: any(log["event"] == "uplink.no_receipts" for log in logs))
        assert box.uplink.facts.refused == 0
        assert box.outbox.stats().unreceipted == 1
        broker.add_device(address.site, address.device, PASSWORD)
        broker.reload()
        eventually(lambda: box.outbox.stats().unreceipted == 0)
        assert gateway.values == {1}


def test_a_box_that_has_its_receipts_says_nothing_of_silence(
    broker: Broker, address: Address, gateway: PlayedGateway, tmp_path: Path
) -> None:
    with (
        structlog.testing.capture_logs() as logs,
        run_box(broker, tmp_path, address, resend_after_s=0.5) as box,
    ):
        for value in range(3):
            box.accept(value)
            eventually(lambda: box.outbox.stats().unreceipted == 0)
    assert not [log for log in logs if log["event"] == "uplink.no_receipts"]


def test_two_boxes_of_one_name_are_told(
    broker: Broker, address: Address, gateway: PlayedGateway, tmp_path: Path
) -> None:
    with (
        structlog.testing.capture_logs() as logs,
        run_box(broker, tmp_path / "one", address) as one,
        run_box(broker, tmp_path / "two", address) as two,
    ):
        one.accept(1)
        two.accept(2)
        eventually(lambda: any(log["event"] == "uplink.taken_over" for log in logs))
        eventually(lambda: gateway.values == {1, 2})


def test_an_unreadable_receipt_is_left_out(
    broker: Broker, address: Address, gateway: PlayedGateway, tmp_path: Path
) -> None:
    with structlog.testing.capture_logs() as logs, run_box(broker, tmp_path, address) as box:
        eventually(lambda: box.uplink.facts.connected)
        gateway._client.publish(address.down("receipt"), b"\xff not a receipt", qos=1)
        eventually(lambda: any(log["event"] == "uplink.receipt_unreadable" for log in logs))
        box.accept(1)
        eventually(lambda: box.outbox.stats().unreceipted == 0)


def test_a_ca_file_that_is_gone_for_a_while_is_waited_for(
    broker: Broker, address: Address, gateway: PlayedGateway, tmp_path: Path
) -> None:
    """It is renewed now and then; a box that connects anew in that moment goes on."""
    ca_file, kept = tmp_path / "ca.pem", broker.ca_file.read_bytes()
    with structlog.testing.capture_logs() as logs, run_box(broker, tmp_path, address, ca_file=ca_file) as box:
        box.accept(1.0)
        eventually(lambda: any(log["event"] == "uplink.untrusted" for log in logs))
        ca_file.write_bytes(kept)
        eventually(lambda: box.outbox.stats().unreceipted == 0)


def test_a_line_that_breaks_before_the_farewell_is_lost_like_any_other() -> None:
    address, clock = Address("gulou", "box-1"), SystemClock()
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = Where("127.0.0.1", server.getsockname()[1], False, PASSWORD)
        flow = Flow(MemoryOutbox(address, clock), Window(), Pace(1, 1))
        session = Session(
            address, where, settings=UplinkSettings(), clock=clock, flow=flow, facts=UplinkFacts()
        )

        def answer_and_break() -> None:
            line, _ = server.accept()
            line.recv(4096)
            line.sendall(bytes([0x20, 3, 0, 0, 0]))  # CONNACK
            line.recv(4096)  # SUBSCRIBE
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            line.close()

        broker = threading.Thread(target=answer_and_break)
        broker.start()
        session.open()
        broker.join()
        with pytest.raises(UplinkError) as lost:
            session.farewell(1, {})
        assert lost.value.code == "uplink.lost"
        session.close()
