"""Brokers that say odd things: scripted ones, for Mosquitto cannot be brought to say them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest

from gateway.config import BrokerAddress
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
from gateway.mqtt.parser import Parser
from gateway.mqtt.properties import Property
from tests.fixtures.gateway_mqtt import intake_at, take, texts
from tests.integration.gateway_rig import eventually

pytestmark = pytest.mark.services


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
