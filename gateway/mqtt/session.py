"""What a client remembers of its session with the broker, and the bytes that follow from it. Pure; not thread-safe.

Of outgoing messages no more are under way than the broker allows;
they go out again, marked as repeats, when a connection was lost and the session was not. When the session was lost
as well they are new messages.

Source: MQTT 5.0 (OASIS, 2019), sections 4.3.2 (QoS 1), 4.4 (delivery retry), 4.9 (flow control).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from typing import Final

import msgspec

from gateway.mqtt.frames import Frame, Publish, Subscribe, Unsubscribe, Version, encode, encode_puback
from gateway.mqtt.order import Arrivals

_IDS: Final = 65_535
#: Ids left for subscriptions, however many messages are under way.
_SPARE_IDS: Final = 1000
#: QoS 1, and with version 5 retained messages for a new subscription only: not all of them at each reconnect.
_OPTIONS: Final = 0x11
#: Filters a packet, so that no broker finds one too large.
_FILTERS: Final = 100


class Session:
    """Packet ids and flow of one client, over all its connections.

    Args:
        room: messages that may wait to be sent or acknowledged.
    """

    def __init__(self, room: int = 20_000) -> None:
        self._room = room
        self._version: Version = 5
        self._maximum = 0
        self._largest = 0
        self._last_id = 0
        self._unacknowledged: dict[int, Publish] = {}
        self._waiting: deque[Publish] = deque()
        self._repeats: deque[Publish] = deque()
        self._in_flight: set[int] = set()
        self._asked: dict[int, tuple[str, ...]] = {}
        self._arrivals = Arrivals()
        self._out = bytearray()

    def opened(self, *, kept: bool, version: Version, receive_maximum: int, largest: int) -> None:
        """A connection was accepted.

        Args:
            kept: whether the broker still has the session.
            version: the protocol level.
            receive_maximum: messages that the broker takes without acknowledging any.
            largest: bytes of the largest packet that it takes.
        """
        self._version, self._maximum, self._largest = version, receive_maximum, largest
        for forgotten in (self._asked, self._arrivals, self._in_flight, self._repeats, self._out):
            forgotten.clear()
        if kept:
            self._repeats.extend(self._unacknowledged.values())
        else:
            self._waiting.extendleft(reversed(self._unacknowledged.values()))
            self._unacknowledged.clear()
        self._send_waiting()

    def publish(self, topic: str, payload: bytes) -> bool:
        """Send a QoS 1 message now or when the broker has room; False when there is none to wait in."""
        message = Publish(topic, payload, 1, False, False, 0, len(payload))
        if self.under_way() >= self._room or len(topic) * 4 + len(payload) + 16 > self._largest:
            return False
        self._waiting.append(message)
        self._send_waiting()
        return True

    def under_way(self) -> int:
        """How many outgoing messages have no acknowledgement."""
        return len(self._waiting) + len(self._unacknowledged)

    def acknowledged(self, packet_id: int) -> None:
        """The broker has a message, or refuses it for good."""
        if self._unacknowledged.pop(packet_id, None) is not None:
            self._in_flight.discard(packet_id)
            self._send_waiting()

    def came(self, packet_ids: Collection[int]) -> None:
        """QoS 1 messages came in."""
        self._arrivals.came(packet_ids)

    def done_with(self, packet_ids: Iterable[int]) -> None:
        """Messages that need not come again."""
        self._out += b"".join(map(encode_puback, self._arrivals.done_with(packet_ids)))

    def subscribe(self, filters: Iterable[str]) -> None:
        """Ask for messages."""
        for topics in _parts(filters):
            wanted = tuple((topic, _OPTIONS) for topic in topics)
            self.say(Subscribe(self._ask(topics), wanted))

    def unsubscribe(self, filters: Iterable[str]) -> None:
        """Ask for no more messages."""
        for topics in _parts(filters):
            self.say(Unsubscribe(self._ask(topics), topics))

    def answered(self, packet_id: int) -> tuple[str, ...]:
        """The filters that an answer is about; none when nobody asked."""
        return self._asked.pop(packet_id, ())

    def is_asking(self) -> bool:
        """Whether the broker has yet to answer something about filters."""
        return bool(self._asked)

    def say(self, frame: Frame) -> None:
        """Send any other packet after what waits to be sent."""
        self._out += encode(frame, self._version)

    def has_output(self) -> bool:
        """Whether there is anything to send."""
        return bool(self._out)

    def take_output(self) -> bytes:
        """What is to be sent now."""
        taken = bytes(self._out)
        self._out.clear()
        return taken

    def _ask(self, topics: tuple[str, ...]) -> int:
        packet_id = self._next_id()
        self._asked[packet_id] = topics
        return packet_id

    def _next_id(self) -> int:
        while True:
            self._last_id = self._last_id % _IDS + 1
            if self._last_id not in self._unacknowledged and self._last_id not in self._asked:
                return self._last_id

    def _send_waiting(self) -> None:
        while len(self._in_flight) < min(self._maximum, _IDS - _SPARE_IDS):
            if self._repeats:
                message = msgspec.structs.replace(self._repeats.popleft(), dup=True)
                if message.packet_id not in self._unacknowledged:
                    continue
            elif self._waiting:
                message = msgspec.structs.replace(self._waiting.popleft(), packet_id=self._next_id())
                self._unacknowledged[message.packet_id] = message
            else:
                return
            self._in_flight.add(message.packet_id)
            self._out += encode(message, self._version)


def _parts(filters: Iterable[str]) -> Iterator[tuple[str, ...]]:
    ordered = sorted(filters)
    for first in range(0, len(ordered), _FILTERS):
        yield tuple(ordered[first : first + _FILTERS])
