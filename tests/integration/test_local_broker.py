"""The embedded broker: real Mosquitto and the real paho client, with TLS and accounts."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from local.broker import MESSAGE_LIMIT_BYTES, Broker, ClientAccount
from local.ports import free_port
from local.processes import ServiceError

pytestmark = pytest.mark.services
NOT_AUTHORIZED = 135
WAIT_SECONDS = 60.0


class Client:
    """A paho client with a lasting session, whose events can be waited for."""

    def __init__(
        self,
        broker: Broker,
        username: str,
        password: str,
        protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5,
        client_id: str = "",
    ) -> None:
        self.connected: queue.Queue[bool] = queue.Queue()
        self.disconnected = threading.Event()
        self.messages: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
        self._published: dict[int, ReasonCode] = {}
        self._news = threading.Condition()
        self._subscribed = threading.Event()
        is_five = protocol == MQTTProtocolVersion.MQTTv5
        self.mqtt = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id or (username or "anonymous").replace("/", "-"),
            clean_session=None if is_five else False,
            protocol=protocol,
        )
        if username:
            self.mqtt.username_pw_set(username, password)
        self.mqtt.tls_set(str(broker.ca_file))
        self.mqtt.reconnect_delay_set(1, 1)
        self.mqtt.on_connect = self._on_connect
        self.mqtt.on_disconnect = self._on_disconnect
        self.mqtt.on_message = self._on_message
        self.mqtt.on_subscribe = self._on_subscribe
        self.mqtt.on_publish = self._on_publish
        if is_five:
            lasting = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            lasting.SessionExpiryInterval = 3600
            self.mqtt.connect("127.0.0.1", broker.port, clean_start=False, properties=lasting)
        else:
            self.mqtt.connect("127.0.0.1", broker.port)
        self.mqtt.loop_start()

    def _on_connect(
        self, client: mqtt.Client, data: object, flags: object, code: ReasonCode, properties: object
    ) -> None:
        self.connected.put(not code.is_failure)

    def _on_disconnect(
        self, client: mqtt.Client, data: object, flags: object, code: ReasonCode, properties: object
    ) -> None:
        self.disconnected.set()

    def _on_message(self, client: mqtt.Client, data: object, message: mqtt.MQTTMessage) -> None:
        self.messages.put(message)

    def _on_subscribe(
        self, client: mqtt.Client, data: object, number: int, codes: object, properties: object
    ) -> None:
        self._subscribed.set()

    def _on_publish(
        self, client: mqtt.Client, data: object, number: int, code: ReasonCode, properties: object
    ) -> None:
        with self._news:
            self._published[number] = code
            self._news.notify_all()

    def is_admitted(self) -> bool:
        """Whether the broker let the client in."""
        return self.connected.get(timeout=WAIT_SECONDS)

    def subscribe(self, topic: str) -> None:
        self._subscribed.clear()
        self.mqtt.subscribe(topic, 1)
        assert self._subscribed.wait(WAIT_SECONDS)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Publish at QoS 1 and return the reason code of the acknowledgement."""
        number = self.mqtt.publish(topic, payload, 1, retain).mid
        with self._news:
            assert self._news.wait_for(lambda: number in self._published, WAIT_SECONDS)
        return int(self._published[number].value)

    def close(self) -> None:
        self.mqtt.disconnect()
        self.mqtt.loop_stop()


@contextmanager
def client_of(
    broker: Broker,
    username: str,
    password: str,
    protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5,
    client_id: str = "",
) -> Iterator[Client]:
    client = Client(broker, username, password, protocol, client_id)
    try:
        yield client
    finally:
        client.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker of this test alone, with a gateway, two boxes, and at another site a namesake of the first."""
    made = Broker(tmp_path / "broker")
    made.add_gateway("gateway", "gateway secret")
    made.add_device("east", "box-1", "secret 1")
    made.add_device("east", "box-2", "secret 2")
    made.add_device("west", "box-1", "secret 3")
    with made:
        yield made


@pytest.fixture
def gateway(broker: Broker) -> Iterator[Client]:
    """A gateway that listens to all boxes."""
    with client_of(broker, "gateway", "gateway secret") as client:
        assert client.is_admitted()
        client.subscribe("dt/v1/+/+/up/#")
        yield client


@pytest.mark.parametrize(
    ("username", "password"), [("", ""), ("east/box-1", "wrong"), ("nobody", "secret 1")]
)
def test_a_stranger_is_not_let_in(broker: Broker, username: str, password: str) -> None:
    with client_of(broker, username, password) as stranger:
        assert not stranger.is_admitted()


def test_a_client_that_does_not_trust_the_authority_refuses_the_broker(broker: Broker) -> None:
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.tls_set()  # the system's authorities only
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        client.connect("127.0.0.1", broker.port)


def test_a_box_reaches_the_gateway_and_the_gateway_the_box(broker: Broker, gateway: Client) -> None:
    with client_of(broker, "east/box-1", "secret 1") as box:
        assert box.is_admitted()
        box.subscribe("dt/v1/east/box-1/down/#")
        assert box.publish("dt/v1/east/box-1/up/readings", b"packet") == 0
        received = gateway.messages.get(timeout=WAIT_SECONDS)
        assert (received.topic, received.payload) == ("dt/v1/east/box-1/up/readings", b"packet")
        assert gateway.publish("dt/v1/east/box-1/down/receipt", b"receipt") == 0
        assert box.messages.get(timeout=WAIT_SECONDS).payload == b"receipt"


@pytest.mark.parametrize(
    "topic",
    [
        "dt/v1/east/box-2/up/readings",
        "dt/v1/west/box-1/up/readings",
        "dt/v1/east/box-1/down/command",
        "dt/v1/east/box-1",
        "elsewhere",
    ],
)
def test_a_box_that_speaks_in_anothers_name_is_told_so_and_stays_connected(
    broker: Broker, gateway: Client, topic: str
) -> None:
    with client_of(broker, "east/box-1", "secret 1") as box:
        assert box.is_admitted()
        assert box.publish(topic, b"forged") == NOT_AUTHORIZED
        assert box.publish("dt/v1/east/box-1/up/readings", b"own") == 0
        assert gateway.messages.get(timeout=WAIT_SECONDS).payload == b"own"
        assert gateway.messages.empty()
        assert not box.disconnected.is_set()


def test_a_box_that_listens_to_everything_hears_only_its_own(broker: Broker, gateway: Client) -> None:
    with client_of(broker, "east/box-1", "secret 1") as spy:
        assert spy.is_admitted()
        spy.subscribe("#")
        gateway.publish("dt/v1/east/box-2/down/receipt", b"for the other")
        gateway.publish("dt/v1/west/box-1/down/receipt", b"for its namesake")
        gateway.publish("dt/v1/east/box-1/down/receipt", b"for it")
        assert spy.messages.get(timeout=WAIT_SECONDS).payload == b"for it"
        assert spy.messages.empty()


@pytest.mark.parametrize(
    "topic",
    [
        "dt/v1/east/box-2/up/status",
        "dt/v1/east/box-2/down/receipt",
        "dt/v1/west/box-1/up/#",
        "dt/v1/+/+/down/command",
        "dt/v1/east/box-1/up/status",
        "$share/thieves/dt/v1/east/+/up/readings",
        "$SYS/#",
    ],
)
def test_a_box_reads_nothing_of_anothers_retained_or_new_whatever_it_asks_for(
    broker: Broker, gateway: Client, topic: str
) -> None:
    """An overseer, who may read everything, does hear something there: else the spy's hearing nothing would say nothing."""
    broker.add_client("overseer", "secret 4", [], ["#", "$SYS/#"])
    broker.reload()
    with (
        client_of(broker, "east/box-2", "secret 2") as other,
        client_of(broker, "west/box-1", "secret 3") as namesake,
        client_of(broker, "overseer", "secret 4") as overseer,
        client_of(broker, "east/box-1", "secret 1") as spy,
    ):
        assert overseer.is_admitted()
        for name, box in (("east/box-2", other), ("west/box-1", namesake), ("east/box-1", spy)):
            assert box.is_admitted()
            assert box.publish(f"dt/v1/{name}/up/status", b"kept", retain=True) == 0
        overseer.subscribe(topic.removeprefix("$share/thieves/"))
        spy.subscribe(topic)
        spy.subscribe("dt/v1/east/box-1/down/#")
        for name, box in (("east/box-2", other), ("west/box-1", namesake)):
            assert box.publish(f"dt/v1/{name}/up/readings", b"new") == 0
            for what in ("receipt", "command"):
                assert gateway.publish(f"dt/v1/{name}/down/{what}", b"for the other") != NOT_AUTHORIZED
        gateway.publish("dt/v1/east/box-1/down/receipt", b"for it")
        assert spy.messages.get(timeout=WAIT_SECONDS).payload == b"for it"
        assert spy.messages.empty()
        assert overseer.messages.get(timeout=WAIT_SECONDS).topic


def test_a_box_cannot_leave_a_last_will_in_anothers_name(broker: Broker, gateway: Client) -> None:
    for topic in ("dt/v1/east/box-2/up/status", "dt/v1/east/box-1/up/status"):
        answered = threading.Event()
        box = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="box", protocol=MQTTProtocolVersion.MQTTv5)
        box.username_pw_set("east/box-1", "secret 1")
        box.tls_set(str(broker.ca_file))
        box.will_set(topic, f"from {topic}".encode(), qos=1)
        box.on_connect = lambda *_, answered=answered: answered.set()
        box.connect("127.0.0.1", broker.port)
        box.loop_start()
        assert answered.wait(WAIT_SECONDS)
        box.loop_stop()
        if (line := box.socket()) is not None:
            line.close()  # without a word: now the broker says the will, if it would
    assert gateway.messages.get(timeout=WAIT_SECONDS).payload == b"from dt/v1/east/box-1/up/status"
    assert gateway.messages.empty()


@pytest.mark.parametrize("claimed", ["gateway", "gw-default", "east/box-2", "box-east-box-2"])
def test_a_box_cannot_take_anothers_session_by_its_client_id(broker: Broker, claimed: str) -> None:
    with (
        client_of(broker, "gateway", "gateway secret", client_id="gw-default") as gateway,
        client_of(broker, "east/box-2", "secret 2", client_id="box-east-box-2") as other,
    ):
        assert gateway.is_admitted()
        assert other.is_admitted()
        gateway.subscribe("dt/v1/+/+/up/#")
        with client_of(broker, "east/box-1", "secret 1", client_id=claimed) as thief:
            assert thief.is_admitted()
            assert other.publish("dt/v1/east/box-2/up/readings", b"heard") == 0
            assert gateway.messages.get(timeout=WAIT_SECONDS).payload == b"heard"
            assert not gateway.disconnected.is_set()
            assert not other.disconnected.is_set()
            assert thief.messages.empty()


@pytest.mark.parametrize("protocol", [MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5])
def test_ten_megabytes_end_their_senders_connection_and_nobody_elses(
    broker: Broker, gateway: Client, protocol: MQTTProtocolVersion
) -> None:
    with (
        client_of(broker, "east/box-1", "secret 1", protocol) as careless,
        client_of(broker, "east/box-2", "secret 2") as other,
    ):
        assert careless.is_admitted()
        assert other.is_admitted()
        careless.mqtt.publish("dt/v1/east/box-1/up/readings", b"x" * 10_000_000, 1)
        assert careless.disconnected.wait(WAIT_SECONDS)
        assert other.publish("dt/v1/east/box-2/up/readings", b"y" * MESSAGE_LIMIT_BYTES) == 0
        assert len(gateway.messages.get(timeout=WAIT_SECONDS).payload) == MESSAGE_LIMIT_BYTES
        assert not other.disconnected.is_set()
        assert not gateway.disconnected.is_set()
    assert "oversize packet" in broker.log.read_text()


def test_an_account_counts_from_the_next_reload_and_the_others_stay_connected(
    broker: Broker, gateway: Client
) -> None:
    broker.add_device("west", "box-9", "secret 9")
    broker.reload()
    with client_of(broker, "west/box-9", "secret 9") as box:
        assert box.is_admitted()
        broker.remove_client("west/box-9")
        broker.reload()
        assert box.disconnected.wait(WAIT_SECONDS)
    assert not gateway.disconnected.is_set()


def test_ten_thousand_boxes_are_written_and_loaded_by_one_reload(broker: Broker) -> None:
    broker.add_clients(
        ClientAccount(
            f"site/box-{n}", f"secret {n}", (f"dt/v1/site/box-{n}/up/#",), (f"dt/v1/site/box-{n}/down/#",)
        )
        for n in range(10_000)
    )
    broker.reload()
    with client_of(broker, "site/box-9999", "secret 9999") as last:
        assert last.is_admitted()
        assert last.publish("dt/v1/site/box-9999/up/readings", b"x") in (0, 16)  # 16: nobody listens


def test_what_was_queued_survives_a_restart_in_order(broker: Broker, gateway: Client) -> None:
    gateway.close()
    with client_of(broker, "east/box-1", "secret 1") as box:
        assert box.is_admitted()
        for number in range(2000):  # more than the broker's default queue holds
            assert box.publish("dt/v1/east/box-1/up/readings", str(number).encode()) == 0
    broker.restart()
    with client_of(broker, "gateway", "gateway secret") as again:
        assert again.is_admitted()
        received = [int(again.messages.get(timeout=WAIT_SECONDS).payload) for _ in range(2000)]
    assert received == list(range(2000))


def test_a_kill_with_its_persistence_deleted_forgets_sessions_and_comes_back_on_the_same_port(
    broker: Broker, gateway: Client
) -> None:
    port = broker.port
    gateway.close()
    with client_of(broker, "east/box-1", "secret 1") as box:
        assert box.is_admitted()
        assert box.publish("dt/v1/east/box-1/up/readings", b"will be lost") == 0
        broker.kill(delete_persistence=True)
        assert box.disconnected.wait(WAIT_SECONDS)
        assert broker.pid is None
        broker.start()
        assert broker.port == port
        assert box.is_admitted(), "the box comes back by itself"
        with client_of(broker, "gateway", "gateway secret") as again:
            assert again.is_admitted()
            again.subscribe("dt/v1/+/+/up/#")
            assert box.publish("dt/v1/east/box-1/up/readings", b"sent again") == 0
            assert again.messages.get(timeout=WAIT_SECONDS).payload == b"sent again"


def test_accounts_are_known_to_the_next_run_on_the_same_directory(broker: Broker) -> None:
    broker.stop()
    with Broker(broker.directory) as successor, client_of(successor, "east/box-1", "secret 1") as box:
        assert box.is_admitted()


def test_a_taken_port_is_one_clear_error(tmp_path: Path) -> None:
    port = free_port()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(ServiceError, match=f"port {port} of 127.0.0.1 is taken") as refused:
            Broker(tmp_path / "broker", port).start()
    assert refused.value.code == "service.port_taken"


def test_a_broker_does_not_run_as_root_and_its_files_are_private(broker: Broker) -> None:
    assert broker.pid is not None
    assert Path(f"/proc/{broker.pid}").stat().st_uid != 0
    for name in ("passwords", "acl", "server.key"):
        assert (broker.directory / "run" / name).stat().st_mode & 0o777 == 0o600
