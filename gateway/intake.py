"""Messages from the broker, acknowledged only when told to: the port, and MQTT 5 by paho behind it.

``gateway.mqtt.intake`` is the other one; ``intake.client`` in gateway.yaml says which.

Bounded memory: the broker sends at most ``receive_maximum`` messages without an acknowledgement, and beyond
``queue_bytes`` (or for QoS 0, which no window holds back) messages are *shed*: not queued, not acknowledged, and
asked for again by a new connection once the queue has drained.

An acknowledgement belongs to the connection that brought its message: message ids are used again on the next
one. So every delivery carries its connection's generation, and one from an earlier connection is acknowledged by
nobody; the broker sends it again and the store knows it.

Source: MQTT 5.0 (OASIS, 2019), sections 3.1.2.4 (clean start), 3.1.2.11.3 (receive maximum), 4.4 (delivery retry).
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from common.runtime.clock import Clock, SystemClock
from common.runtime.log import get_logger
from common.runtime.sockets import send_at_once
from common.wire.codec import MAX_PACKET_BYTES
from gateway.config import BrokerAddress
from gateway.decode import KEPT_OF_OVERSIZED, RawMessage
from gateway.mqtt.order import Arrivals
from gateway.trust import telling_what_is_unreadable

_SESSION_SECONDS: Final = 14 * 86_400
_KEEPALIVE_SECONDS: Final = 30
_TAKEN_OVER: Final = 0x8E
_FAILED: Final = 0x80
#: How many more messages than the receive maximum may wait before QoS 0 is shed.
_SLACK: Final = 2
_OUTGOING: Final = 20_000
_log = get_logger("intake")


class Delivery(msgspec.Struct, frozen=True):
    """A message and what is needed to acknowledge it."""

    raw: RawMessage
    generation: int
    message_id: int
    qos: int


class Intake(Protocol):
    """Where messages come from and receipts go to."""

    def start(self) -> None:
        """Connect, and stay connected, in the background."""
        ...

    def poll(self, limit: int, timeout_s: float) -> list[Delivery]:
        """Up to ``limit`` messages; waits for the first one at most that long."""
        ...

    def acknowledge(self, deliveries: Iterable[Delivery]) -> None:
        """Tell the broker that these need not be sent again."""
        ...

    def publish(self, topic: str, payload: bytes) -> bool:
        """Send at QoS 1; False when there is no connection or no room: send something newer later."""
        ...

    def listen_to(self, sites: frozenset[str], topics: frozenset[str] = frozenset()) -> None:
        """Take in what the boxes of these sites say, from now on and after every reconnect.

        ``topics`` are the filters of foreign devices' topics, which are listened to as well.
        """
        ...

    def is_connected(self) -> bool:
        """Whether messages can come in."""
        ...

    def has_ended(self) -> bool:
        """Whether it gave up (another client took the session over, or it may not connect again), or died."""
        ...

    def has_died(self) -> bool:
        """Whether its thread died of a fault of ours; asked of one that has ended and was not closed."""
        ...

    def waiting(self) -> int:
        """How many messages are queued."""
        ...

    def shed(self) -> int:
        """How many messages were left with the broker for want of room, since the start."""
        ...

    def close(self) -> None:
        """Disconnect in good order; the session stays with the broker."""
        ...


class _Client(mqtt.Client):
    """paho's client, which says whose thread is its own: paho forgets it when it dies, and tells nobody."""

    thread: threading.Thread | None = None

    def loop_forever(self, *arguments: Any, **named: Any) -> MQTTErrorCode:
        """All that paho's thread does."""
        self.thread = threading.current_thread()
        return super().loop_forever(*arguments, **named)


class PahoIntake:
    """The default intake.

    Args:
        broker: where and as whom.
        partition: the session is ``gw-{partition}``, so whoever holds the lease inherits the queue.
        receive_maximum: messages without an acknowledgement.
        queue_bytes: payload bytes that may wait here.
        may_connect: asked before every reconnect; a gateway whose lease is not fresh must not take the
            session from its successor.
        on_connection: told when messages can come in, and when no more.
    """

    def __init__(
        self,
        broker: BrokerAddress,
        partition: str,
        *,
        receive_maximum: int = 2000,
        queue_bytes: int = 64 * 2**20,
        may_connect: Callable[[], bool] = lambda: True,
        on_connection: Callable[[bool], None] = lambda _connected: None,
        clock: Clock | None = None,
    ) -> None:
        self._broker = broker
        self._receive_maximum = receive_maximum
        self._queue_bytes = queue_bytes
        self._may_connect = may_connect
        self._on_connection = on_connection
        self._clock = clock or SystemClock()
        self._queue: deque[Delivery] = deque()
        self._queued_bytes = 0
        self._arrived = threading.Condition()
        self._generation_lock = threading.Lock()
        self._arrivals = Arrivals()
        self._generation = 0
        self._connected = threading.Event()
        self._subscribed = threading.Event()
        self._ended = threading.Event()
        self._closing = False
        self._shed = 0
        self._shed_now = False
        self._filters: frozenset[str] = frozenset()
        self._trusts = not broker.tls
        self._client = self._make_client(partition)

    def start(self) -> None:
        """Connect in the background; an absent broker is waited for."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = _SESSION_SECONDS
        properties.ReceiveMaximum = self._receive_maximum
        # clean_start=False from the very first connect, or the session does not outlive a broker's restart.
        self._client.connect_async(
            self._broker.host,
            self._broker.port,
            keepalive=_KEEPALIVE_SECONDS,
            clean_start=False,
            properties=properties,
        )
        self._client.loop_start()

    def poll(self, limit: int, timeout_s: float) -> list[Delivery]:
        """Up to ``limit`` messages; waits for the first one at most that long."""
        with self._arrived:
            if not self._queue:
                self._arrived.wait(timeout_s)
            taken = [self._queue.popleft() for _ in range(min(limit, len(self._queue)))]
            self._queued_bytes -= sum(len(delivery.raw.payload) for delivery in taken)
            ask_again = self._shed_now and self._queued_bytes <= self._queue_bytes // 2
            if ask_again:
                self._shed_now = False
        if ask_again:
            self._break_connection()
        return taken

    def acknowledge(self, deliveries: Iterable[Delivery]) -> None:
        """Acknowledge those that came by the connection that is open now."""
        with self._generation_lock:
            done = [one.message_id for one in deliveries if one.generation == self._generation and one.qos]
            for message_id in self._arrivals.done_with(done):
                self._client.ack(message_id, 1)

    def publish(self, topic: str, payload: bytes) -> bool:
        """Send at QoS 1; False when there is no connection or no room."""
        if not self._connected.is_set():
            return False
        return self._client.publish(topic, payload, qos=1).rc == mqtt.MQTT_ERR_SUCCESS

    def listen_to(self, sites: frozenset[str], topics: frozenset[str] = frozenset()) -> None:
        """Subscribe to the sites' boxes and to other topics, and unsubscribe from those that left."""
        wanted = topics.union(f"dt/v1/{site}/+/up/#" for site in sites)
        new, gone = wanted - self._filters, self._filters - wanted
        self._filters = wanted
        if self._connected.is_set():
            self._subscribe(new)
            if gone:
                self._client.unsubscribe(sorted(gone))

    def is_connected(self) -> bool:
        """Whether messages can come in: the broker has answered the subscriptions of this connection."""
        return self._subscribed.is_set()

    def has_ended(self) -> bool:
        """Whether it gave up, or paho's thread died of a fault: nobody is to wait for messages then."""
        return self._ended.is_set() or self.has_died()

    def has_died(self) -> bool:
        """Whether paho's thread died of a fault."""
        thread = self._client.thread
        # In this order: a thread that gives up says so before it ends.
        return thread is not None and not thread.is_alive() and not self._ended.is_set()

    def waiting(self) -> int:
        """How many messages are queued."""
        return len(self._queue)

    def shed(self) -> int:
        """How many messages were left with the broker for want of room."""
        return self._shed

    def close(self) -> None:
        """Disconnect in good order; the session stays with the broker."""
        self._closing = True
        self._client.disconnect()
        self._client.loop_stop()
        self._connected.clear()
        self._subscribed.clear()

    def _make_client(self, partition: str) -> _Client:
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"gw-{partition}",
            protocol=mqtt.MQTTv5,
            manual_ack=True,
        )
        client.username_pw_set(self._broker.username, self._broker.password)
        client.reconnect_delay_set(1, 8)
        client.max_inflight_messages_set(1000)
        client.max_queued_messages_set(_OUTGOING)
        client.on_socket_open = lambda _client, _data, connection: send_at_once(connection)
        client.on_pre_connect = self._before_connect
        client.on_connect = self._connect_answered
        client.on_connect_fail = self._connect_failed
        client.on_disconnect = self._disconnected
        client.on_message = self._message_came
        client.on_subscribe = self._subscribe_answered
        return client

    # paho calls what follows on its own thread.

    def _connect_answered(
        self, _client: mqtt.Client, _data: Any, flags: mqtt.ConnectFlags, reason: ReasonCode, _props: Any
    ) -> None:
        if reason.is_failure:
            _log.error("the broker refuses this gateway", reason=str(reason), user=self._broker.username)
            return
        _log.info("connected to the broker", session_kept=flags.session_present)
        self._connected.set()
        if not self._subscribe(self._filters):  # every time: the broker may have lost the session
            self._can_hear()

    def _connect_failed(self, _client: mqtt.Client, _data: Any) -> None:
        if not self._may_connect():
            self._end()
            return
        _log.warning("the broker does not answer", host=self._broker.host, port=self._broker.port)
        time.sleep(random.uniform(0.0, 0.5))

    def _disconnected(
        self, _client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _props: Any
    ) -> None:
        with self._generation_lock:  # before paho can open the next connection
            self._generation += 1
            self._arrivals.clear()
        self._connected.clear()
        self._subscribed.clear()
        self._on_connection(False)
        if self._closing:
            return
        _log.warning("disconnected from the broker", reason=str(reason))
        if reason.value == _TAKEN_OVER:
            self._end()
        else:
            time.sleep(random.uniform(0.0, 0.5))  # so that not all come back in one moment

    def _before_connect(self, client: mqtt.Client, _data: Any) -> None:
        """The last moment to see that the session is not ours any more; paho takes an OSError for a failed connect."""
        if not self._may_connect():
            raise ConnectionAbortedError("the lease is not fresh")
        if not self._trusts:
            ca_file = self._broker.ca_file
            with telling_what_is_unreadable(ca_file):
                client.tls_set(ca_certs=str(ca_file) if ca_file else None)
            self._trusts = True

    def _end(self) -> None:
        self._ended.set()
        self._client.disconnect()  # paho then does not reconnect by itself

    def _message_came(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        size = len(message.payload)
        payload = message.payload if size <= MAX_PACKET_BYTES else message.payload[:KEPT_OF_OVERSIZED]
        raw = RawMessage(_topic(message), bytes(payload), message.retain, self._clock.now_ms(), size)
        with self._arrived:
            full = self._queued_bytes >= self._queue_bytes
            if full or (not message.qos and len(self._queue) >= _SLACK * self._receive_maximum):
                self._shed += 1
                self._shed_now = self._shed_now or message.qos > 0
                return
            if message.qos:
                with self._generation_lock:
                    self._arrivals.came((message.mid,))
            self._queue.append(Delivery(raw, self._generation, message.mid, message.qos))
            self._queued_bytes += len(raw.payload)
            self._arrived.notify()

    def _subscribe(self, filters: Iterable[str]) -> bool:
        """Ask for what these say; whether there was anything to ask for."""
        # Retained statuses only for a new subscription: not all of them again at each reconnect.
        options = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
        if wanted := [(topic, options) for topic in sorted(filters)]:
            self._client.subscribe(wanted)
        return bool(wanted)

    def _subscribe_answered(
        self, _client: mqtt.Client, _data: Any, _mid: int, reasons: Sequence[ReasonCode], _props: Any
    ) -> None:
        if any(reason.value >= _FAILED for reason in reasons):
            _log.error(
                "the broker refuses a subscription",
                reasons=[str(reason) for reason in reasons],
                hint="the gateway's account must be allowed to read dt/v1/+/+/up/# and foreign devices' topics",
            )
        self._can_hear()

    def _can_hear(self) -> None:
        if not self._subscribed.is_set():
            self._subscribed.set()
            self._on_connection(True)

    def _break_connection(self) -> None:
        """Have the broker send again what was shed, by ending the connection under paho."""
        _log.warning("asking again for messages that found no room", shed=self._shed)
        open_socket = self._client.socket()
        if not isinstance(open_socket, socket.socket):  # a TLS socket is one too
            return
        try:
            # Not its own shutdown(): that takes TLS off at once, and what is left to read would come in as it is,
            # encrypted, in the middle of a message.
            socket.socket.shutdown(open_socket, socket.SHUT_RDWR)
        except OSError as error:  # it ended by itself, which serves as well
            _log.debug("connection was gone already", error=str(error))


def _topic(message: mqtt.MQTTMessage) -> str:
    try:
        return message.topic
    except UnicodeDecodeError:
        return "(a topic that is not UTF-8)"
