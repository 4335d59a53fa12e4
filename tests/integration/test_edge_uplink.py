"""The line to a real broker: packets up, receipts down, a stop, and a broker or store that loses everything."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.runtime.clock import SystemClock
from common.wire.messages import Readings
from common.wire.topics import Address
from local.broker import Broker
from tests.conftest import Credential
from tests.fixtures.edge_boxes import PASSWORD, enrolled, play, run_box
from tests.fixtures.edge_gateway import PATIENCE, PlayedGateway, eventually
from tests.fixtures.edge_messages import readings, receipt

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
