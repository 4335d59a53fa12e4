"""A simulated box of ``benchmarks.fleet_rig``: an outbox in memory, the real flow, MQTT 5 over TLS without a thread.

What to send and when to send it again is decided by ``edge.flow``, as on a real box; what is measured comes from the
storm that the demo's sensors measure. Only the socket is driven from outside, by one loop over thousands of them.
"""

from __future__ import annotations

import random
import socket
import ssl
from typing import Final

from common.runtime.clock import SystemClock
from common.wire.codec import WireError, decode_receipt, encode_status
from common.wire.messages import Readings, Series, Status
from common.wire.topics import Address
from edge.flow import Flow, Pace, Window
from edge.packets import PacketId
from edge.sensors.port import Sensor
from edge.settings import UplinkSettings
from gateway.mqtt import frames
from gateway.mqtt.parser import Parser
from tests.fixtures.edge_memory_outbox import MemoryOutbox

_SETTINGS: Final = UplinkSettings()
_CLOCK: Final = SystemClock()
#: How long a connection may take until the broker has let the box in, as on a real one.
CONNECT_S: Final = 10.0
_STEADY_S: Final = 20.0
_NOBODY_LISTENS: Final = 0x10


class LostError(Exception):
    """The connection is of no use any more."""


class Box:
    """One box.

    Args:
        address: who it is.
        password: its own.
        sensors: what it measures.
        reads: how often each is read for a packet.
        apart_s: seconds between two readings.
        status_every_s: seconds between two statuses.
    """

    def __init__(
        self,
        address: Address,
        password: str,
        sensors: list[Sensor],
        *,
        reads: int,
        apart_s: float,
        status_every_s: float,
    ) -> None:
        self.address = address
        self.outbox = MemoryOutbox(address, _CLOCK, keep_receipted_s=0.0, fresh_s=_SETTINGS.fresh_s)
        self.connection: ssl.SSLSocket | socket.socket | None = None
        self.state = "away"
        self.since = 0.0
        self.attempt = 0
        self.outgoing = bytearray()
        #: The newest packet's number, and the highest one that is receipted with all below it.
        self.numbered = self.upto = 0
        #: What it had numbered when it came back, and when its receipts had caught up with that.
        self.goal = 0
        self.connected_at = self.current_at = 0.0
        self._password = password
        self._sensors = sensors
        self._back_ms = [round(n * apart_s * 1000) for n in reversed(range(reads))]
        self._status_every_s = status_every_s
        self._status_due = self._pinged = 0.0
        self._flow = self._new_flow()
        self._parser = Parser()
        self._sent: dict[int, PacketId] = {}
        self._next_id = 0

    def measure(self) -> None:
        """Number a packet of the last readings of every sensor."""
        now_ms = _CLOCK.now_ms()
        columns: dict[tuple[str, str], tuple[list[int], list[float]]] = {}
        for back_ms in self._back_ms:
            at_ms = now_ms - back_ms
            for sensor in self._sensors:
                for reading in sensor.read(at_ms):
                    at, value = columns.setdefault((reading.sensor, reading.metric), ([], []))
                    at.append(reading.at)
                    value.append(reading.value)
        packet = self.outbox.append(
            Readings([Series(*key, at, value) for key, (at, value) in columns.items()])
        )
        self.numbered = packet.seq

    def greet(self) -> None:
        """Say who we are; the broker's answer makes the box ``online``."""
        self._parser = Parser()
        connect = frames.Connect(
            f"box-{self.address.site}-{self.address.device}",
            str(self.address),
            self._password.encode(),
            clean_start=True,
            keep_alive=_SETTINGS.keepalive_s,
        )
        self.outgoing += frames.encode(connect)
        self.state = "greeted"

    def take(self, data: bytes, now: float) -> None:
        """What came over the connection; raises LostError."""
        for frame in self._parser.feed(data):
            match frame:
                case frames.Connack():
                    self._welcomed(frame, now)
                case frames.Puback():
                    self._acknowledged(frame, now)
                case frames.Publish():
                    self._told(frame, now)
                case frames.Disconnect():
                    raise LostError
        if self._parser.fault is not None:
            raise LostError

    def work(self, now: float) -> None:
        """Send what is to be sent."""
        if self.state != "online":
            return
        if now >= self._status_due:
            self._status_due = now + self._status_every_s
            at = _CLOCK.now_ms()
            status = Status("online", at, "0.1.0", f"{self.outbox.epoch:x}")
            self._publish(self.address.up("status"), encode_status(self.address, at, status), retain=True)
        for packet in self._flow.choose(now):
            held = self.outbox.payload(packet)
            if held is not None:
                kind, payload = held
                self._sent[self._publish(self.address.up(kind), payload)] = packet
                self._flow.window.sent(packet, now)
        if now - self._pinged > _SETTINGS.keepalive_s:
            self._pinged = now
            self.outgoing += frames.encode(frames.Pingreq())

    def look_after(self, now: float) -> bool:
        """Let wait again what has waited too long for a receipt; whether there is anything to send."""
        self._flow.expire(now)
        waiting = self.numbered - self.upto > self._flow.window.in_flight
        return waiting or now >= self._status_due or now - self._pinged > _SETTINGS.keepalive_s

    def lost(self, now: float) -> float:
        """The connection is gone; after how many seconds to try again (full jitter, as the uplink does it)."""
        steady = self.state == "online" and now - self.since > _STEADY_S
        self.attempt = 0 if steady else self.attempt + 1
        self.state, self.connection = "away", None
        self.outgoing.clear()
        self._sent.clear()
        self._flow.disconnected()
        ceiling = min(_SETTINGS.reconnect_s * 2**self.attempt, _SETTINGS.longest_reconnect_s)
        return random.uniform(0.0, ceiling)

    def _new_flow(self) -> Flow:
        window = Window(_SETTINGS.window, _SETTINGS.resend_after_s)
        return Flow(self.outbox, window, Pace(_SETTINGS.replay_per_s, _SETTINGS.replay_per_s))

    def _welcomed(self, frame: frames.Connack, now: float) -> None:
        if frame.reason >= frames.FAILED:
            raise LostError
        self.state, self.since, self._pinged, self._status_due = "online", now, now, now
        self.connected_at, self.current_at = now, 0.0
        self.goal = self.numbered
        self.outgoing += frames.encode(frames.Subscribe(1, ((self.address.down("receipt"), 1),)))
        if not self.goal:
            self.current_at = now

    def _acknowledged(self, frame: frames.Puback, now: float) -> None:
        packet = self._sent.pop(frame.packet_id, None)
        if packet is None:
            return
        if frame.reason == _NOBODY_LISTENS:
            self._flow.window.unheard(packet, now)
        elif frame.reason >= frames.FAILED:
            self._flow.window.refused(packet, now)
        else:
            self._flow.window.acknowledged(packet, now)

    def _told(self, frame: frames.Publish, now: float) -> None:
        self.outgoing += frames.encode_puback(frame.packet_id) if frame.qos else b""
        try:
            receipt = decode_receipt(frame.payload, self.address)
        except WireError as error:
            raise LostError from error
        self._flow.receipt(receipt)
        self.outbox.trim()
        self.upto = max(self.upto, receipt.upto)
        if not self.current_at and self.upto >= self.goal:
            self.current_at = now

    def _publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        self._next_id = self._next_id % 65_000 + 1
        message = frames.Publish(topic, payload, 1, retain, False, self._next_id, len(payload))
        self.outgoing += frames.encode(message)
        return self._next_id
