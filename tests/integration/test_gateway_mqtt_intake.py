"""What only the intake that speaks MQTT itself has to show: silence noticed, 3.1.1, and brokers that say odd things.

What every intake must do stands in tests/contract. The scripted brokers here say what Mosquitto cannot be brought to
say; whatever it does say is shown with the real one.
"""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from common.wire.topics import Address
from gateway.config import BrokerAddress
from gateway.intake import Delivery
from gateway.mqtt import intake as intake_module
from gateway.mqtt.frames import (
    Connack,
    Connect,
    Disconnect,
    Frame,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Version,
    encode,
)
from gateway.mqtt.intake import FramesIntake
from gateway.mqtt.parser import Parser
from gateway.mqtt.properties import Property
from local.broker import Broker
from tests.conftest import Credential
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


@contextmanager
def intake_at(
    address: BrokerAddress, *sites: str, keep_alive_s: int = 30, version: Version = 5
) -> Iterator[FramesIntake]:
    """A started intake."""
    made = FramesIntake(address, "part", keep_alive_s=keep_alive_s, version=version)
    made.listen_to(frozenset(sites))
    made.start()
    try:
        yield made
    finally:
        made.close()


def take(intake: FramesIntake, count: int) -> list[Delivery]:
    """Exactly so many messages."""
    taken: list[Delivery] = []

    def enough() -> bool:
        taken.extend(intake.poll(count - len(taken), 0.2))
        return len(taken) >= count

    eventually(enough)
    return taken


def texts(deliveries: list[Delivery]) -> list[str]:
    """What they say."""
    return [delivery.raw.payload.decode() for delivery in deliveries]


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


class ScriptedBroker:
    """Accepts connections one after the other and has each of them go by a script.

    A script gets the connection, the version that the client speaks, and what it sends, packet by packet.
    """

    def __init__(self, *scripts: Callable[[Conversation], None]) -> None:
        self._scripts = scripts
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = BrokerAddress(
            "127.0.0.1", int(self._listener.getsockname()[1]), False, "gateway", "secret", None
        )
        self.failed: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait until all scripts have been gone through."""
        self._thread.join(20)
        assert not self._thread.is_alive(), "not all scripts were asked for"
        self._listener.close()
        assert self.failed == []

    def _run(self) -> None:
        for script in self._scripts:
            connection, _ = self._listener.accept()
            with connection:
                connection.settimeout(20)
                try:
                    script(Conversation(connection))
                except (AssertionError, OSError) as error:
                    self.failed.append(error)


class Conversation:
    """A broker's side of one connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._waiting: list[Frame] = []
        first = connection.recv(4096)
        self.version: Version = 4 if first[8] == 4 else 5
        self._parser = Parser(self.version)
        (self.connect,) = self._parser.feed(first)
        assert isinstance(self.connect, Connect)

    def say(self, *frames: Frame) -> None:
        """Send packets."""
        self._connection.sendall(b"".join(encode(frame, self.version) for frame in frames))

    def say_bytes(self, data: bytes) -> None:
        """Send anything."""
        self._connection.sendall(data)

    def hear(self) -> Frame | None:
        """The next packet; None at the end of the connection."""
        while not self._waiting:
            data = self._connection.recv(65_536)
            if not data:
                return None
            self._waiting += self._parser.feed(data)
            assert self._parser.fault is None
        return self._waiting.pop(0)

    def accept(self, reason: int = 0) -> None:
        """Let the client in and grant its subscription."""
        self.say(Connack(False, 0))
        asked = self.hear()
        assert isinstance(asked, Subscribe)
        self.say(Suback(asked.packet_id, tuple(reason or 1 for _ in asked.filters)))


def until_goodbye(conversation: Conversation) -> None:
    """Let the client in and wait until it says goodbye."""
    conversation.accept()
    while not isinstance(conversation.hear(), Disconnect | None):
        pass


@pytest.mark.parametrize(
    "refusal",
    [b"\x20\x02\x00\x01", encode(Connack(False, 0x84))],
    ids=["in the words of 3.1.1", "in those of 5"],
)
def test_a_broker_that_refuses_version_5_is_spoken_to_in_3_1_1(refusal: bytes) -> None:
    versions: list[Version] = []

    def refuse(conversation: Conversation) -> None:
        versions.append(conversation.version)
        conversation.say_bytes(refusal)

    def let_in(conversation: Conversation) -> None:
        versions.append(conversation.version)
        assert isinstance(conversation.connect, Connect)
        assert not conversation.connect.clean_start
        until_goodbye(conversation)

    broker = ScriptedBroker(refuse, let_in)
    with intake_at(broker.address, "gulou") as intake:
        eventually(intake.is_connected)
    broker.finish()
    assert versions == [5, 4]


def test_a_session_is_asked_for_with_expiry_and_a_window() -> None:
    asked: list[Connect] = []

    def look(conversation: Conversation) -> None:
        assert isinstance(conversation.connect, Connect)
        asked.append(conversation.connect)
        until_goodbye(conversation)

    broker = ScriptedBroker(look)
    with intake_at(broker.address, "gulou") as intake:
        eventually(intake.is_connected)
    broker.finish()
    (connect,) = asked
    assert (connect.client_id, connect.username, connect.password) == ("gw-part", "gateway", b"secret")
    assert not connect.clean_start
    assert connect.properties[Property.RECEIVE_MAXIMUM] == 2000
    assert connect.properties[Property.SESSION_EXPIRY] == 14 * 86_400


def test_no_more_receipts_are_under_way_than_the_broker_takes() -> None:
    most: list[int] = []

    def take_two_at_a_time(conversation: Conversation) -> None:
        conversation.say(Connack(False, 0, {Property.RECEIVE_MAXIMUM: 2}))
        held: list[Publish] = []
        seen: list[bytes] = []
        while len(seen) < 7:
            frame = conversation.hear()
            if isinstance(frame, Subscribe):
                conversation.say(Suback(frame.packet_id, tuple(1 for _ in frame.filters)))
            if isinstance(frame, Publish):
                held.append(frame)
                seen.append(frame.payload)
                most.append(len(held))
            if len(held) == 2 or len(seen) == 7:
                conversation.say(*[Puback(one.packet_id) for one in held])
                held.clear()
        assert seen == [bytes([number]) for number in range(7)]
        while not isinstance(conversation.hear(), Disconnect | None):
            pass

    broker = ScriptedBroker(take_two_at_a_time)
    with intake_at(broker.address, "gulou") as intake:
        eventually(intake.is_connected)
        for number in range(7):
            assert intake.publish("dt/v1/gulou/box-1/down/receipt", bytes([number]))
        eventually(lambda: len(most) == 7)
    broker.finish()
    assert max(most) == 2


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (encode(Disconnect(0x8B)), "server shutting down"),
        (b"\x00\x00\x00\x00", "does not keep to MQTT"),
        (encode(Publish("a", b"", 2, False, False, 7, 0)), "does not keep to MQTT"),
        (encode(Connack(False, 0)), "does not keep to MQTT"),
    ],
    ids=["a shutdown", "no MQTT", "QoS 2", "a second CONNACK"],
)
def test_after_anything_a_broker_should_not_say_the_intake_comes_back(
    said: bytes, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    goodbyes: list[int] = []

    def say_it(conversation: Conversation) -> None:
        conversation.accept()
        conversation.say_bytes(said)
        while (frame := conversation.hear()) is not None:
            if isinstance(frame, Disconnect):
                goodbyes.append(frame.reason)

    broker = ScriptedBroker(say_it, until_goodbye)
    with intake_at(broker.address, "gulou") as intake:
        eventually(lambda: why in (capsys.readouterr().out))
        eventually(intake.is_connected)
        assert not intake.has_ended()
    broker.finish()
    assert all(reason >= 0x80 for reason in goodbyes)


def test_what_came_before_a_fault_counts() -> None:
    message = encode(Publish("dt/v1/gulou/box-1/up/readings", b"before", 1, False, False, 7, 6))

    def say_it(conversation: Conversation) -> None:
        conversation.accept()
        conversation.say_bytes(message + b"\x00\x00")
        while conversation.hear() is not None:
            pass

    broker = ScriptedBroker(say_it)
    with intake_at(broker.address, "gulou") as intake:
        assert texts(take(intake, 1)) == ["before"]
    broker.finish()


def test_a_refused_subscription_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(conversation: Conversation) -> None:
        conversation.accept(reason=0x87)
        while not isinstance(conversation.hear(), Disconnect | None):
            pass

    broker = ScriptedBroker(refuse)
    with intake_at(broker.address, "gulou"):
        eventually(lambda: "refuses a subscription" in capsys.readouterr().out)
    broker.finish()
