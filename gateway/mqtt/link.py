"""One connection to the broker, from CONNECT to DISCONNECT: packets in and out, and whether anybody is there."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable
from typing import Final

from common.runtime.errors import TransientError
from gateway.config import BrokerAddress
from gateway.mqtt.frames import Connack, Connect, Disconnect, Frame, Pingreq, Version, encode
from gateway.mqtt.parser import Parser
from gateway.mqtt.properties import Property, ProtocolError
from gateway.mqtt.reasons import says
from gateway.mqtt.transport import Transport

_OPEN_SECONDS: Final = 10.0
_GOODBYE_SECONDS: Final = 2.0
_LARGEST: Final = 268_435_460


class RefusedError(TransientError):
    """The broker does not let this client in."""

    def __init__(self, reason: int) -> None:
        super().__init__(
            "mqtt.refused",
            f"the broker refuses this gateway: {says(reason)}",
            "check the account, its password and its rights at the broker",
        )
        self.reason = reason


class UnwantedError(ConnectionAbortedError):
    """By the time the way to the broker was open, nobody wanted the session any more."""


class Link:
    """An accepted connection.

    Args:
        broker: where to, and as whom.
        connect: the first packet; its keep alive and receive maximum count.
        version: the protocol level to speak.
        is_wanted: asked when the way is open, which may take half a minute: CONNECT takes the session from whoever has it.

    Raises:
        UnwantedError: when it is not wanted any more; the broker has heard nothing.
        RefusedError: when the broker says no.
        ProtocolError: when it does not speak MQTT.
        OSError: when it cannot be reached, or not be trusted.
    """

    def __init__(
        self,
        broker: BrokerAddress,
        connect: Connect,
        version: Version,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self.version = version
        self._parser = Parser(version)
        self._early: list[Frame] = []
        self._transport = Transport(broker, _OPEN_SECONDS)
        self._selector = selectors.DefaultSelector()
        self._interest = selectors.EVENT_READ
        self._selector.register(self._transport, self._interest)
        self._sent_at = self._heard_at = time.monotonic()
        self._pinged_at: float | None = None
        try:
            if not is_wanted():
                raise UnwantedError("the session may not be taken any more")
            self.connack = self._introduce(connect)
        except (OSError, TransientError):
            self.close()
            raise
        properties = self.connack.properties
        #: Messages the broker takes without acknowledging any, and bytes of the largest packet it takes.
        self.receive_maximum = _number(properties.get(Property.RECEIVE_MAXIMUM), 65_535)
        self.largest = _number(properties.get(Property.MAXIMUM_PACKET_SIZE), _LARGEST)
        self._keep_alive = _number(properties.get(Property.SERVER_KEEP_ALIVE), connect.keep_alive)

    def watch(self, other: int) -> None:
        """Have ``wait`` return as well when this file descriptor can be read."""
        self._selector.register(other, selectors.EVENT_READ)

    def wait(self, *, reading: bool) -> bool:
        """Wait until something can be done, at most until it is time to see whether the broker is there.

        Args:
            reading: False leaves what comes with the broker.

        Returns:
            Whether there is something to read.
        """
        interest = selectors.EVENT_READ if reading else 0
        interest |= selectors.EVENT_WRITE if self._transport.wants_to_write() else 0
        self._show(interest)
        if self._early:
            return True
        ready = self._selector.select(self._until_due())
        found = next((events for key, events in ready if key.fileobj is self._transport), 0)
        if found & selectors.EVENT_WRITE:
            self._transport.write(b"")
        if found & selectors.EVENT_READ:
            # Not read yet, but it is there: a machine that stood still finds the answer to its ping here.
            self._heard_at = time.monotonic()
        self._look_alive(reading=reading)
        return bool(found & selectors.EVENT_READ)

    def read(self) -> list[Frame]:
        """The packets that have come; raises ProtocolError, OSError."""
        if self._early:
            early, self._early = self._early, []
            return early
        data = self._transport.read()
        if not data:
            return []
        self._heard_at = time.monotonic()
        frames = self._parser.feed(data)
        if self._parser.fault is not None and not frames:
            raise self._parser.fault
        return frames

    @property
    def fault(self) -> ProtocolError | None:
        """What was wrong with the bytes behind the packets read last."""
        return self._parser.fault

    def write(self, data: bytes) -> None:
        """Send this after what waits to be sent; raises OSError."""
        self._sent_at = time.monotonic()
        self._transport.write(data)

    def say_goodbye(self, reason: int) -> None:
        """Send what waits, and why no more follows."""
        try:
            said = Disconnect(reason) if self.version == 5 else Disconnect()
            self._transport.write(encode(said, self.version))
            deadline = time.monotonic() + _GOODBYE_SECONDS
            self._show(selectors.EVENT_WRITE)
            while self._transport.wants_to_write() and time.monotonic() < deadline:
                self._selector.select(0.1)
                self._transport.write(b"")
        except OSError:
            return  # it is gone already, and knows our session

    def close(self) -> None:
        """Close it; the other end sees the connection break unless goodbye was said."""
        self._selector.close()
        self._transport.close()

    def _introduce(self, connect: Connect) -> Connack:
        self.write(encode(connect, self.version))
        deadline = time.monotonic() + _OPEN_SECONDS
        while time.monotonic() < deadline:
            self._selector.select(0.1)
            self._transport.write(b"")
            frames = self.read()
            if not frames:
                continue
            if not isinstance(frames[0], Connack):
                raise ProtocolError(f"expected an answer to CONNECT, got {type(frames[0]).__name__}", 0x82)
            if frames[0].reason:
                raise RefusedError(frames[0].reason)
            self._early = frames[1:]
            return frames[0]
        raise TimeoutError(f"no answer to CONNECT within {_OPEN_SECONDS:.0f} s")

    def _show(self, interest: int) -> None:
        """Wait for this from now on; for nothing at all the socket has to leave the selector."""
        if interest == self._interest:
            return
        if not self._interest:
            self._selector.register(self._transport, interest)
        elif interest:
            self._selector.modify(self._transport, interest)
        else:
            self._selector.unregister(self._transport)
        self._interest = interest

    def _until_due(self) -> float | None:
        if not self._keep_alive:
            return None
        due = self._sent_at + self._keep_alive
        if self._pinged_at is not None:
            due = min(due, self._pinged_at + self._keep_alive / 2)
        return max(due - time.monotonic(), 0.01)

    def _look_alive(self, *, reading: bool) -> None:
        """Ping after a time of saying nothing; give up on a broker that says nothing after that."""
        now = time.monotonic()
        if self._pinged_at is not None and (self._heard_at >= self._pinged_at or not reading):
            self._pinged_at = None
        if not self._keep_alive:
            return
        if self._pinged_at is not None and now - self._pinged_at >= self._keep_alive / 2:
            raise TimeoutError(f"the broker has not answered a ping for {self._keep_alive / 2:.0f} s")
        if now - self._sent_at >= self._keep_alive:
            self.write(encode(Pingreq(), self.version))
            self._pinged_at = now if reading else None


def _number(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) else otherwise
