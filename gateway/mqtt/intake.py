"""The intake that speaks MQTT itself: the same port as paho's, for where paho is the wall.

One thread owns the socket: it reads what has come in large pieces, parses it, and sends what others left to be sent
(acknowledgements of whole batches, receipts). Bounded memory: beyond ``queue_bytes``, or twice the receive maximum,
it stops reading, and what is more waits with the broker and in the connection. Nothing is shed: what was not read
need not be asked for again.

Acknowledgements go out in the order of arrival, as the standard wants it (MQTT 5.0, 4.6): one that others have to
wait for is a batch still being committed. A broker that refuses version 5 is spoken to in 3.1.1, where nobody tells
of a session taken over and the receive maximum is the broker's own.

Source: MQTT 5.0 (OASIS, 2019), sections 3.1.2.4 (clean start), 3.1.2.11.3 (receive maximum), 4.4, 4.6, 4.9.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from common.runtime.clock import Clock, SystemClock
from common.runtime.errors import TransientError
from common.runtime.log import get_logger
from common.wire.codec import MAX_PACKET_BYTES
from gateway.config import BrokerAddress
from gateway.decode import KEPT_OF_OVERSIZED, RawMessage
from gateway.intake import Delivery
from gateway.mqtt.frames import (
    FAILED,
    Connect,
    Disconnect,
    Frame,
    Puback,
    Publish,
    Suback,
    Unsuback,
    Version,
)
from gateway.mqtt.link import Link, RefusedError, UnwantedError
from gateway.mqtt.properties import Property, ProtocolError
from gateway.mqtt.reasons import (
    NORMAL,
    PROTOCOL_ERROR,
    TAKEN_OVER,
    UNSUPPORTED_LEVEL,
    UNSUPPORTED_VERSION,
    says,
)
from gateway.mqtt.session import Session
from gateway.mqtt.waker import Waker

_SESSION_SECONDS: Final = 14 * 86_400
#: As many times the receive maximum may wait here: only QoS 0, or a broker without such a window, brings more.
_SLACK: Final = 2
_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 8.0
_CLOSE_SECONDS: Final = 15.0
_PLENTY: Final = 50
_GATHER_SECONDS: Final = 0.010
_log = get_logger("intake")


class _EndedError(TransientError):
    """Another client took the session over."""


class FramesIntake:
    """An intake without a client library.

    Args:
        broker: where and as whom.
        partition: the session is ``gw-{partition}``, so whoever holds the lease inherits the queue.
        receive_maximum: messages without an acknowledgement.
        queue_bytes: payload bytes that may wait here.
        may_connect: asked before every connection, and again before each CONNECT; a gateway whose lease is not fresh
            must not take the session from its successor.
        on_connection: told when messages can come in, and when no more.
        keep_alive_s: after this long without a word the broker is asked whether it is there.
        version: the protocol level to begin with.
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
        keep_alive_s: int = 30,
        version: Version = 5,
    ) -> None:
        self._broker = broker
        self._receive_maximum = receive_maximum
        self._queue_bytes = queue_bytes
        self._may_connect = may_connect
        self._on_connection = on_connection
        self._clock = clock or SystemClock()
        self._version = version
        self._connect = Connect(
            client_id=f"gw-{partition}",
            username=broker.username,
            password=broker.password.encode(),
            # Not from the very first connect on, or the session does not outlive a broker's restart.
            clean_start=False,
            keep_alive=keep_alive_s,
            properties={
                Property.SESSION_EXPIRY: _SESSION_SECONDS,
                Property.RECEIVE_MAXIMUM: receive_maximum,
            },
        )
        self._queue: deque[Delivery] = deque()
        self._queued_bytes = 0
        self._arrived = threading.Condition()
        #: Guards the session, the generation and the filters.
        self._lock = threading.Lock()
        self._session = Session()
        self._generation = 0
        self._filters: frozenset[str] = frozenset()
        self._waker = Waker()
        self._connected = threading.Event()
        self._open = False
        self._ended = threading.Event()
        self._closing = threading.Event()
        self._paused = False
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)

    def start(self) -> None:
        """Connect in the background; an absent broker is waited for."""
        self._thread.start()

    def poll(self, limit: int, timeout_s: float) -> list[Delivery]:
        """Up to ``limit`` messages; waits for the first one at most that long."""
        with self._arrived:
            if not self._queue:
                self._arrived.wait(timeout_s)
            queue = self._queue
            taken = [queue.popleft() for _ in range(min(limit, len(queue)))]
            self._queued_bytes -= sum(len(delivery.raw.payload) for delivery in taken)
            room_again = self._paused and not self._is_full(half=True)
        if room_again:
            self._waker.wake()
        return taken

    def acknowledge(self, deliveries: Iterable[Delivery]) -> None:
        """Acknowledge those that came by the connection that is open now."""
        with self._lock:
            generation = self._generation
            self._session.done_with(
                delivery.message_id
                for delivery in deliveries
                if delivery.generation == generation and delivery.qos
            )
            needed = self._session.has_output()
        if needed:
            self._waker.wake()

    def publish(self, topic: str, payload: bytes) -> bool:
        """Send at QoS 1; False when there is no connection or no room."""
        if not self._connected.is_set():
            return False
        with self._lock:
            taken = self._session.publish(topic, payload)
        self._waker.wake()
        return taken

    def listen_to(self, sites: frozenset[str], topics: frozenset[str] = frozenset()) -> None:
        """Subscribe to the sites' boxes and to other topics, and unsubscribe from those that left."""
        wanted = topics.union(f"dt/v1/{site}/+/up/#" for site in sites)
        with self._lock:
            new, gone = wanted - self._filters, self._filters - wanted
            self._filters = wanted
            if not self._open or not (new or gone):
                return
            self._session.subscribe(new)
            self._session.unsubscribe(gone)
        self._waker.wake()

    def is_connected(self) -> bool:
        """Whether messages can come in."""
        return self._connected.is_set()

    def has_ended(self) -> bool:
        """Whether it gave up, or its thread died of a fault: nobody is to wait for messages then."""
        return self._ended.is_set() or self.has_died()

    def has_died(self) -> bool:
        """Whether its thread died of a fault."""
        begun = self._thread.ident is not None
        return begun and not self._thread.is_alive() and not self._ended.is_set()

    def waiting(self) -> int:
        """How many messages are queued."""
        return len(self._queue)

    def shed(self) -> int:
        """Always none: what finds no room is not read."""
        return 0

    def close(self) -> None:
        """Disconnect in good order; the session stays with the broker."""
        self._closing.set()
        self._waker.wake()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_SECONDS)
        self._connected.clear()
        if not self._thread.is_alive():
            self._waker.close()  # else its thread does, which may look at it still

    # What follows runs on the intake's own thread.

    def _run(self) -> None:
        try:
            self._connect_until_closed()
        finally:
            self._waker.close()

    def _is_wanted(self) -> bool:
        return not self._closing.is_set() and self._may_connect()

    def _connect_until_closed(self) -> None:
        failures = 0
        while not self._closing.is_set():
            if not self._may_connect():
                self._ended.set()
                break
            try:
                link = Link(self._broker, self._connect, self._version, self._is_wanted)
            except UnwantedError:
                continue  # why it is not is asked above
            except RefusedError as error:
                self._note_refusal(error)
            except (OSError, ProtocolError) as error:
                _log.warning("the broker does not answer", host=self._broker.host, error=str(error))
            else:
                failures = 0
                if not self._stay(link):
                    break
            delay = min(_FIRST_DELAY * 2**failures, _LONGEST_DELAY)
            failures = min(failures + 1, 10)
            self._closing.wait(delay * random.uniform(0.5, 1.0))  # so that not all come back in one moment

    def _note_refusal(self, error: RefusedError) -> None:
        if self._version == 5 and error.reason in {UNSUPPORTED_VERSION, UNSUPPORTED_LEVEL}:
            _log.warning("the broker does not speak MQTT 5; going on with 3.1.1")
            self._version = 4
        else:
            _log.error(error.message, user=self._broker.username, hint=error.hint)

    def _stay(self, link: Link) -> bool:
        """Use a connection until it ends; False when that is for good."""
        reason = None
        try:
            self._begin(link)
            reason = self._serve(link)
        except ProtocolError as error:
            _log.error("the broker does not keep to MQTT", error=error.message)
            reason = error.reason
        except OSError as error:
            _log.warning("disconnected from the broker", reason=str(error))
        except _EndedError as error:
            _log.warning("disconnected from the broker", reason=error.message)
            self._ended.set()
        finally:
            self._end(link, reason)
        return not self._ended.is_set()

    def _begin(self, link: Link) -> None:
        kept = link.connack.session_present
        _log.info("connected to the broker", session_kept=kept)
        link.watch(self._waker.fileno())
        with self._lock:
            self._session.opened(
                kept=kept,
                version=link.version,
                receive_maximum=link.receive_maximum,
                largest=link.largest,
            )
            self._session.subscribe(self._filters)  # every time: the broker may have lost the session
            self._open = True
        self._connect_when_answered()

    def _connect_when_answered(self) -> None:
        """Count as connected once the subscriptions stand: what is said before that is nobody's."""
        with self._lock:
            if self._connected.is_set() or self._session.is_asking():
                return
            self._connected.set()
        self._on_connection(True)

    def _end(self, link: Link, reason: int | None) -> None:
        with self._lock:
            self._generation += 1
            self._open, was_connected = False, self._connected.is_set()
            self._connected.clear()
        if reason is not None:
            link.say_goodbye(reason)
        link.close()
        if was_connected:
            self._on_connection(False)

    def _serve(self, link: Link) -> int:
        """Bring messages in and send what is to be sent, until closed; the reason to say goodbye with."""
        while True:
            with self._lock:
                output = self._session.take_output()
            if output:
                link.write(output)
            if self._closing.is_set():
                return NORMAL
            readable = link.wait(reading=not self._paused)
            self._waker.sleep_again()
            if readable:
                frames = link.read()
                self._take(frames)
                if link.fault is not None:
                    raise link.fault
                if len(frames) < _PLENTY:
                    # Being woken for each message costs more than taking it: a moment later there are some.
                    self._closing.wait(_GATHER_SECONDS)
            with self._arrived:
                self._paused = self._is_full(half=self._paused)

    def _take(self, frames: list[Frame]) -> None:
        now_ms, generation = self._clock.now_ms(), self._generation
        came: list[Delivery] = []
        for frame in frames:
            if isinstance(frame, Publish):
                came.append(_delivery(frame, generation, now_ms))
            else:
                self._answer(frame)
        if not came:
            return
        with self._lock:
            self._session.came([delivery.message_id for delivery in came if delivery.qos])
        with self._arrived:
            self._queue.extend(came)
            self._queued_bytes += sum(len(delivery.raw.payload) for delivery in came)
            self._arrived.notify()

    def _answer(self, frame: Frame) -> None:
        match frame:
            case Puback():
                if frame.reason >= FAILED:
                    _log.warning("the broker refuses a receipt", reason=says(frame.reason))
                with self._lock:
                    self._session.acknowledged(frame.packet_id)
            case Suback() | Unsuback():
                with self._lock:
                    topics = self._session.answered(frame.packet_id)
                self._look_at_grants(topics, frame.reasons)
                self._connect_when_answered()
            case Disconnect():
                if frame.reason == TAKEN_OVER:
                    raise _EndedError(
                        "mqtt.taken_over", says(frame.reason), "another gateway has the session"
                    )
                raise ConnectionResetError(f"the broker disconnects: {says(frame.reason)}")
            case _:
                if type(frame).__name__ != "Pingresp":
                    raise ProtocolError(f"expected no {type(frame).__name__} from a broker", PROTOCOL_ERROR)

    def _look_at_grants(self, topics: tuple[str, ...], reasons: tuple[int, ...]) -> None:
        refused = {
            topic: says(reason)
            for topic, reason in zip(topics, reasons, strict=False)  # 3.1.1 gives no reasons to UNSUBSCRIBE
            if reason >= FAILED
        }
        if refused:
            _log.error(
                "the broker refuses a subscription",
                refused=refused,
                hint="the gateway's account must be allowed to read dt/v1/+/+/up/# and foreign devices' topics",
            )

    def _is_full(self, *, half: bool) -> bool:
        parts = 2 if half else 1
        return (
            self._queued_bytes >= self._queue_bytes / parts
            or len(self._queue) >= _SLACK * self._receive_maximum / parts
        )


def _delivery(message: Publish, generation: int, now_ms: int) -> Delivery:
    if message.qos > 1:
        raise ProtocolError("expected QoS 0 or 1, as subscribed, got 2", 0x9B)
    payload = message.payload if message.size <= MAX_PACKET_BYTES else message.payload[:KEPT_OF_OVERSIZED]
    raw = RawMessage(message.topic, payload, message.retain, now_ms, message.size)
    return Delivery(raw, generation, message.packet_id, message.qos)
