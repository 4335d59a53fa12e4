"""What only the intake that speaks MQTT itself has to show, at the real broker: silence noticed, 3.1.1, late connections.

What every intake must do stands in tests/contract.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from common.wire.topics import Address
from gateway.config import BrokerAddress
from gateway.mqtt import intake as intake_module
from gateway.mqtt.intake import FramesIntake
from local.broker import Broker
from tests.conftest import Credential
from tests.fixtures.gateway_mqtt import intake_at, take, texts
from tests.fixtures.tcp_proxy import TcpProxy
from tests.integration.gateway_rig import PATIENCE, eventually

pytestmark = pytest.mark.services


class Rig:
    """A box, and an address for gateways, at the real broker behind a proxy."""

    def __init__(self, broker: Broker, gateway: Credential, proxy: TcpProxy) -> None:
        self.site = f"site-{secrets.token_hex(4)}"
        self.box = Address(self.site, "box-1")
        self.proxy = proxy
        self.broker_port = broker.port
        self.address = BrokerAddress(
            "127.0.0.1", proxy.port, True, gateway.username, gateway.password, broker.ca_file
        )
        password = secrets.token_urlsafe(12)
        broker.add_device(self.site, "box-1", password)
        broker.reload()
        self.heard: list[bytes] = []
        self._box = mqtt.Client(CallbackAPIVersion.VERSION2, f"box-{self.site}")
        self._box.username_pw_set(str(self.box), password)
        self._box.tls_set(ca_certs=str(broker.ca_file))
        self._box.on_message = lambda _client, _data, message: self.heard.append(bytes(message.payload))
        self._box.on_connect = lambda client, *_: client.subscribe(self.box.down("receipt"), qos=1)
        self._box.connect("127.0.0.1", broker.port)
        self._box.loop_start()

    def say(self, *texts: str) -> None:
        """Publish at QoS 1, and wait until the broker has it."""
        for text in texts:
            self._box.publish(self.box.up("readings"), text.encode(), qos=1).wait_for_publish(10)

    def close(self) -> None:
        """Disconnect the box."""
        self._box.disconnect()
        self._box.loop_stop()


@pytest.fixture
def rig(broker: Broker, gateway_credential: Credential) -> Iterator[Rig]:
    """A rig of this test alone."""
    with TcpProxy(broker.port) as proxy:
        made = Rig(broker, gateway_credential, proxy)
        yield made
        made.close()


def test_a_connection_on_which_nobody_answers_is_given_up_and_opened_anew(rig: Rig) -> None:
    with intake_at(rig.address, rig.site, keep_alive_s=4) as intake:
        eventually(intake.is_connected)
        time.sleep(9)
        assert rig.proxy.connections == 1, "pings keep it open while nobody says anything"
        rig.proxy.stall()
        eventually(lambda: not intake.is_connected())
        rig.say("meanwhile")
        rig.proxy.stall(False)
        assert texts(take(intake, 1)) == ["meanwhile"]


def test_receipts_under_way_when_the_connection_breaks_arrive_by_the_next_one(rig: Rig) -> None:
    with intake_at(rig.address, rig.site) as intake:
        eventually(intake.is_connected)
        rig.proxy.stall()
        said = [str(number).encode() for number in range(50)]
        assert all(intake.publish(rig.box.down("receipt"), one) for one in said)
        time.sleep(0.3)  # until they are on their way
        rig.proxy.cut()
        rig.proxy.stall(False)
        eventually(lambda: set(rig.heard) == set(said))


def test_messages_that_stay_unread_for_long_do_not_look_like_a_dead_broker(rig: Rig) -> None:
    made = FramesIntake(rig.address, "part", keep_alive_s=1, queue_bytes=1000)
    made.listen_to(frozenset({rig.site}))
    made.start()
    eventually(made.is_connected)
    time.sleep(0.3)
    rig.say(*[str(number).ljust(600, ".") for number in range(10)])
    eventually(lambda: made.waiting() >= 2)
    time.sleep(3.0)
    assert rig.proxy.connections == 1, "it pings while it does not read, and expects no answers"
    taken = take(made, 10)
    made.acknowledge(taken)
    assert [text.rstrip(".") for text in texts(taken)] == [str(number) for number in range(10)]
    made.close()


def test_with_3_1_1_the_session_is_kept_and_what_is_not_acknowledged_comes_again(rig: Rig) -> None:
    with intake_at(rig.address, rig.site, version=4) as first:
        eventually(first.is_connected)
        time.sleep(0.3)
        rig.say("one", "two", "three")
        taken = take(first, 3)
        assert texts(taken) == ["one", "two", "three"]
        first.acknowledge(taken[:1])
        assert first.publish(rig.box.down("receipt"), b"well received")
        eventually(lambda: rig.heard == [b"well received"])
    rig.say("meanwhile")
    with intake_at(rig.address, rig.site, version=4) as second:
        assert texts(take(second, 3)) == ["two", "three", "meanwhile"]


@pytest.mark.parametrize("what", ["its lease grows old", "it is closed"])
def test_a_session_is_not_taken_when_the_way_to_the_broker_opens_too_late(
    rig: Rig, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "_CLOSE_SECONDS", 0.2)
    asked, fresh = threading.Event(), threading.Event()
    fresh.set()

    def may_connect() -> bool:
        asked.set()
        return fresh.is_set()

    rig.proxy.stall()
    late = FramesIntake(rig.address, "part", may_connect=may_connect)
    late.start()
    assert asked.wait(PATIENCE)
    time.sleep(0.3)  # until it waits for TLS
    if what == "it is closed":
        late.close()
    else:
        fresh.clear()
    with intake_at(replace(rig.address, port=rig.broker_port), rig.site) as successor:
        eventually(successor.is_connected)
        rig.proxy.stall(False)
        eventually(lambda: not late._thread.is_alive())
        rig.say("to the successor")
        assert texts(take(successor, 1)) == ["to the successor"]
        assert not successor.has_ended()
    late.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_intake_that_dies_as_it_begins_hangs_up_and_says_that_it_hears_nothing(rig: Rig) -> None:
    changes: list[bool] = []

    def change(connected: bool) -> None:
        changes.append(connected)
        if connected:
            raise RuntimeError("a fault of ours")

    made = FramesIntake(
        rig.address, "part", on_connection=change
    )  # nothing to subscribe to: connected at once
    made.start()
    eventually(made.has_died)
    assert changes == [True, False]
    assert not made.is_connected()
    made.close()
