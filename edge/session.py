"""One MQTT connection of a box; the only module of the edge that knows paho.

Each connection is a fresh client with a clean session, so that paho never sends by its own judgement what the
flow is to decide. MQTT 5 by default: its PUBACK says when the broker refuses (OASIS MQTT 5.0 section 3.4.2.1,
0x87 not authorized). With 3.1.1 all works the same, but a refusal looks like a packet that is never receipted.
"""

from __future__ import annotations

import selectors
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from common.runtime.clock import Clock
from common.runtime.errors import TransientError
from common.runtime.log import get_logger
from common.runtime.sockets import send_at_once
from common.wire.codec import WireError, decode_receipt, encode_status
from common.wire.messages import Status
from common.wire.topics import Address
from edge.clock_offset import ClockOffset
from edge.database import DiskFullError
from edge.flow import Flow
from edge.packets import PacketId
from edge.settings import Broker, UplinkSettings

Counters = Mapping[str, float | int | str]
_CONNECT_S: Final = 10.0
_LONGEST_TURN_S: Final = 0.25
_FAREWELL_S: Final = 5.0
_TAKEN_OVER: Final = 0x8E
_NOBODY_LISTENS: Final = 0x10
_log = get_logger("uplink")


class UplinkError(TransientError):
    """The broker cannot be used now: try again later."""


@dataclass(slots=True)
class UplinkFacts:
    """What there is to say about the line; written by its thread, read by anyone."""

    connected: bool = False
    connections: int = 0
    sent: int = 0
    resent: int = 0
    refused: int = 0
    receipts: int = 0
    clock_offset: ClockOffset = field(default_factory=ClockOffset)


class Session:
    """One connection, from CONNECT to the end of its socket."""

    def __init__(
        self,
        address: Address,
        broker: Broker,
        *,
        settings: UplinkSettings,
        clock: Clock,
        flow: Flow,
        facts: UplinkFacts,
    ) -> None:
        self._address = address
        self._broker = broker
        self._settings = settings
        self._clock = clock
        self._flow = flow
        self._facts = facts
        self._packets: dict[int, PacketId] = {}
        self._sent_at: dict[int, float] = {}
        self._receive_maximum = 65_535
        self._connack: ReasonCode | None = None
        self._lost: UplinkError | None = None
        self._said_refused = self._said_nobody = False
        self._client = self._make_client()

    @property
    def quota(self) -> int:
        """How many packets the broker may be sent before it acknowledges one."""
        return max(self._receive_maximum - len(self._packets), 0)

    def open(self) -> None:
        """Connect, prove who we are, and listen for receipts; raises UplinkError."""
        where = f"{self._broker.host}:{self._broker.port}"
        try:
            self._client.connect(self._broker.host, self._broker.port, self._settings.keepalive_s)
        except ssl.SSLCertVerificationError as error:
            raise UplinkError(
                "uplink.untrusted",
                f"expected the broker at {where} to show a certificate that our CA signed, got: "
                f"{error.verify_message}",
                "check DRUMTOWER_CA_FILE and that the broker's name is in its certificate",
            ) from error
        except OSError as error:
            raise UplinkError(
                "uplink.unreachable",
                f"expected a broker at {where}, got: {error}",
                "packets wait in the outbox; check the network and DRUMTOWER_BROKER_URL",
            ) from error
        deadline = self._clock.monotonic() + _CONNECT_S
        while self._connack is None:
            if self._clock.monotonic() > deadline:
                raise UplinkError("uplink.unreachable", f"expected an answer from {where}, got none", "")
            self.turn(_LONGEST_TURN_S)
        self._client.subscribe(self._address.down("receipt"), qos=1)
        self._facts.connected = True
        self._facts.connections += 1
        _log.info("uplink.connected", broker=where, user=str(self._address))

    def turn(self, timeout: float, wake: socket.socket | None = None) -> None:
        """Wait for something to happen and deal with it; raises UplinkError when the connection is lost."""
        sock = self._client.socket()
        if sock is not None:
            self._wait(sock, timeout, wake)
            self._client.loop_misc()
        if self._lost is not None:
            raise self._lost
        if self._client.socket() is None:
            raise UplinkError("uplink.lost", "the connection to the broker was lost", "")

    def publish(self, packet: PacketId, kind: str, payload: bytes) -> None:
        """Hand a packet to the connection."""
        message = self._client.publish(self._address.up(kind), payload, qos=1)
        self._packets[message.mid] = packet
        self._sent_at[message.mid] = self._clock.monotonic()

    def say(self, state: Any, epoch: int, counters: Counters) -> mqtt.MQTTMessageInfo:
        """Publish the retained status; what comes back tells when the broker has it."""
        now = self._clock.now_ms()
        status = Status(state, now, version("drumtower"), f"{epoch:x}", dict(counters))
        return self._client.publish(
            self._address.up("status"), encode_status(self._address, now, status), qos=1, retain=True
        )

    def farewell(self, epoch: int, counters: Counters) -> None:
        """Say that the box goes, and leave without a last will once the broker has acknowledged it.

        A socket closed over bytes that nobody read resets the connection: the broker would drop these words, or
        tell the last will after them. So receipts stop first, and everything is waited for.
        """
        deadline = self._clock.monotonic() + _FAREWELL_S
        self._client.unsubscribe(self._address.down("receipt"))
        last_words = self.say("offline", epoch, counters)
        if last_words.rc != mqtt.MQTT_ERR_SUCCESS:
            raise UplinkError("uplink.lost", "the connection to the broker was lost before the farewell", "")
        while not last_words.is_published() and self._clock.monotonic() < deadline:
            self.turn(0.05)
        self._client.disconnect()

    def close(self) -> None:
        """Let the socket go."""
        sock = self._client.socket()
        if sock is not None:
            sock.close()

    def _wait(self, sock: Any, timeout: float, wake: socket.socket | None) -> None:
        with selectors.DefaultSelector() as selector:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._client.want_write() else 0)
            selector.register(sock, wanted)
            if wake is not None:
                selector.register(wake, selectors.EVENT_READ)
            ready = selector.select(timeout)
        for key, happened in ready:
            if key.fileobj is wake and wake is not None:
                wake.recv(4096)
                continue
            if happened & selectors.EVENT_WRITE:
                self._client.loop_write()
            if happened & selectors.EVENT_READ:
                self._client.loop_read()
                # TLS may have read more than it gave: the socket is silent about that.
                while self._client.socket() is sock and isinstance(sock, ssl.SSLSocket) and sock.pending():
                    self._client.loop_read()

    def _make_client(self) -> mqtt.Client:
        mqtt5 = self._settings.mqtt == "5"
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"box-{self._address.site}-{self._address.device}",
            protocol=MQTTProtocolVersion.MQTTv5 if mqtt5 else MQTTProtocolVersion.MQTTv311,
            clean_session=None if mqtt5 else True,
            reconnect_on_failure=False,
        )
        client.connect_timeout = _CONNECT_S / 2
        client.max_inflight_messages_set(65_535)
        client.username_pw_set(str(self._address), self._broker.password)
        if self._broker.tls:
            client.tls_set_context(self._trust())
        now = self._clock.now_ms()
        client.will_set(
            self._address.up("status"),
            encode_status(self._address, now, Status("offline", now, version("drumtower"))),
            qos=1,
            retain=True,
        )
        client.on_socket_open = lambda _client, _data, connection: send_at_once(connection)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        return client

    def _trust(self) -> ssl.SSLContext:
        """Whom to believe that he is the broker; read at every connection, since the file may be renewed any day."""
        try:
            return ssl.create_default_context(cafile=self._broker.ca_file)
        except OSError as error:
            raise UplinkError(
                "uplink.untrusted",
                f"expected the certificates of our CA in {self._broker.ca_file}, got: {error}",
                "check DRUMTOWER_CA_FILE; packets wait in the outbox",
            ) from error

    def _on_connect(
        self, _client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._connack = reason
        if reason.is_failure:
            self._lost = UplinkError(
                "uplink.refused",
                f"expected the broker to let {self._address} in, got: {reason}",
                "check that the device is enrolled and DRUMTOWER_CREDENTIAL_FILE holds its password",
            )
        self._receive_maximum = getattr(properties, "ReceiveMaximum", 65_535)

    def _on_disconnect(
        self, _client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        if self._lost is None and reason.value == _TAKEN_OVER:
            self._lost = UplinkError(
                "uplink.taken_over",
                f"another client connected as {self._address}",
                "two boxes share one name (a cloned card?): give each its own device and credential",
            )
        elif self._lost is None:
            self._lost = UplinkError("uplink.lost", f"the connection to the broker was lost: {reason}", "")

    def _on_subscribe(
        self, _client: mqtt.Client, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            _log.error(
                "uplink.receipts_refused",
                topic=self._address.down("receipt"),
                reason=str(reasons[0]),
                hint="let the device read below its own name; without receipts every packet is sent again",
            )

    def _on_publish(
        self, _client: mqtt.Client, _data: Any, mid: int, reason: ReasonCode, _properties: Any
    ) -> None:
        packet = self._packets.pop(mid, None)
        now = self._clock.monotonic()
        if (sent_at := self._sent_at.pop(mid, None)) is not None:
            self._facts.clock_offset.round_trip(now - sent_at)
        if reason.value == _NOBODY_LISTENS:
            if packet is not None:
                self._flow.window.unheard(packet, now)
            if not self._said_nobody:
                self._said_nobody = True
                _log.warning("uplink.nobody_listens", hint="no gateway has subscribed; packets are kept")
            return
        if not reason.is_failure:
            if packet is not None:
                self._flow.window.acknowledged(packet, now)
            return
        self._facts.refused += 1
        if packet is not None:
            self._flow.window.refused(packet, now)
        if not self._said_refused:
            self._said_refused = True
            _log.error(
                "uplink.publish_refused",
                packet=str(packet) if packet else "status",
                reason=str(reason),
                hint=f"let {self._address} publish below its own name at the broker; packets are kept",
            )

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        try:
            receipt = decode_receipt(bytes(message.payload), self._address)
        except WireError as error:
            _log.warning("uplink.receipt_unreadable", reason=error.reason, message=str(error))
            return
        self._facts.clock_offset.receipt(receipt.at, self._clock.monotonic())
        try:
            self._flow.receipt(receipt)
        except DiskFullError as error:
            _log.error(error.code, message=error.message, hint=error.hint)
            return
        self._facts.receipts += 1
