"""A line that is refused, mistrusted, taken over or broken: said, and nothing is lost."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from common.runtime.clock import SystemClock
from common.wire.topics import Address
from edge.flow import Flow, Pace, Window
from edge.session import Session, UplinkError, UplinkFacts
from edge.settings import Broker as Where
from edge.settings import UplinkSettings
from edge.uplink import Unheard
from local.broker import Broker
from local.certificates import ensure_certificates
from tests.conftest import Credential
from tests.fixtures.edge_boxes import PASSWORD, enrolled, play, run_box
from tests.fixtures.edge_gateway import PlayedGateway, eventually
from tests.fixtures.edge_memory_outbox import MemoryOutbox
from tests.fixtures.edge_messages import events

pytestmark = pytest.mark.services


@pytest.fixture
def address(broker: Broker) -> Iterator[Address]:
    """A box with an account of its own at the broker."""
    with enrolled(broker) as made:
        yield made


@pytest.fixture
def gateway(broker: Broker, gateway_credential: Credential, address: Address) -> Iterator[PlayedGateway]:
    with play(broker, gateway_credential, address) as running:
        yield running


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


def test_packets_that_are_late_once_receipts_came_are_no_silence() -> None:
    assert not Unheard(0).noticed(1, receipts=1)
    assert Unheard(1).noticed(1, receipts=1)


def test_a_box_that_has_its_receipts_says_nothing_of_silence(
    broker: Broker, address: Address, gateway: PlayedGateway, tmp_path: Path
) -> None:
    with (
        structlog.testing.capture_logs() as logs,
        run_box(broker, tmp_path, address, resend_after_s=10) as box,
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
        box.accept(0)
        eventually(lambda: box.outbox.stats().unreceipted == 0)  # so it hears what is said to it
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
