"""Many boxes in one process: packets encoded beforehand, MQTT 3.1.1 over TLS, receipts honoured.

Speaks the protocol itself, in a loop over all connections, so that the load takes little of the machine it is
measured on. Driven through its standard input and output by ``benchmarks.ingest``; every line is one JSON object.
Source: MQTT 3.1.1 (OASIS, 2014), sections 2 and 3.
"""

from __future__ import annotations

import json
import selectors
import socket
import ssl
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from common.wire.codec import decode_receipt, encode_packet
from common.wire.messages import Readings, Series
from common.wire.topics import Address

#: Ten sensors of a box, each watched by a rule: (sensor, metric, quiet value, alarming value).
SENSORS = (
    ("smoke-1", "smoke_density", 0.02, 0.20),
    ("smoke-2", "smoke_density", 0.03, 0.20),
    ("smoke-3", "smoke_density", 0.01, 0.20),
    ("manhole-1", "cover_tilt", 2.0, 45.0),
    ("manhole-2", "cover_tilt", 1.0, 45.0),
    ("manhole-1", "water_level", 0.4, 1.8),
    ("manhole-2", "water_level", 0.5, 1.8),
    ("flood-1", "water_depth", 0.01, 0.30),
    ("flood-2", "water_depth", 0.02, 0.30),
    ("rain-1", "rain_intensity", 3.0, 60.0),
)
READINGS_EACH = 5
READINGS_A_PACKET = READINGS_EACH * len(SENSORS)
#: One packet in so many has a sensor beyond its threshold.
ALARM_EVERY = 200
_WINDOW = 200  # packets without a receipt; a real box allows itself 1,000
BURST = 8
#: How long the broker may take to let a newcomer in.
ANSWER_S = 5.0
#: At a rate, what comes in is taken in less often than is sent: the load should take little of the machine.
_HEAR_EVERY_S = 0.01
_QUIET = -1


def make_packet(address: Address, epoch: int, seq: int, start_ms: int, number: int = 0) -> bytes:
    """Packet ``seq`` of box ``number``: five seconds of ten sensors, a second apart."""
    at = [start_ms + 1000 * ((seq - 1) * READINGS_EACH + i) for i in range(READINGS_EACH)]
    turn = seq + 7 * number  # so that alarms are spread over the boxes
    alarming = _QUIET if turn % ALARM_EVERY else turn // ALARM_EVERY % len(SENSORS)
    series = [
        Series(
            sensor,
            metric,
            at,
            [
                loud if place == alarming else quiet * (1 + 0.01 * ((seq + i) % 7))
                for i in range(READINGS_EACH)
            ],
        )
        for place, (sensor, metric, quiet, loud) in enumerate(SENSORS)
    ]
    return encode_packet(address, epoch, seq, at[-1], Readings(series))


@dataclass(eq=False)
class Box:
    """One connection and what is still to be sent over it."""

    address: Address
    epoch: int
    number: int
    connection: ssl.SSLSocket
    frames: deque[bytes] = field(default_factory=deque)
    sent: int = 0
    receipted: int = 0
    outgoing: bytes = b""
    incoming: bytearray = field(default_factory=bytearray)
    sent_at: list[float] = field(default_factory=list)
    is_waiting: bool = False

    def prepare(self, order: dict[str, Any]) -> None:
        """Encode what an order asks for."""
        first, count = order["first_seq"], order["count"]
        self.sent = first - 1
        self.sent_at = []
        for seq in range(first, first + count):
            payload = make_packet(self.address, self.epoch, seq, order["start_ms"], self.number)
            self.frames.append(_publish(self.address, seq % 65_000 + 1, payload))

    def in_flight(self) -> int:
        """Packets sent of which no receipt came."""
        return self.sent - self.receipted

    def has_to_send(self) -> bool:
        """Whether it may send something now."""
        return bool(self.outgoing) or (bool(self.frames) and self.in_flight() < _WINDOW)

    def send(self, most: int) -> bool:
        """Send so many packets more; False when the connection has no room."""
        burst = min(most, len(self.frames), max(_WINDOW - self.in_flight(), 0))
        if burst:
            self.outgoing += b"".join([self.frames.popleft() for _ in range(burst)])
            self.sent += burst
        try:
            written = self.connection.send(self.outgoing)
        except ssl.SSLWantWriteError:
            return False
        self.outgoing = self.outgoing[written:]
        return not self.outgoing


def main() -> None:
    """Take orders until the input ends: {"start_ms", "first_seq", "count", "rate"}, with a rate "at_once" too."""
    spec = json.loads(sys.stdin.readline())
    context = ssl.create_default_context(cafile=spec["ca_file"])
    boxes = [_connect(entry, number, spec["port"], context) for number, entry in enumerate(spec["boxes"])]
    selector = selectors.DefaultSelector()
    for box in boxes:
        selector.register(box.connection, selectors.EVENT_READ, box)
    for line in sys.stdin:
        order = json.loads(line)
        for box in boxes:
            box.prepare(order)
        _say({"ready": len(boxes)})
        sys.stdin.readline()  # go
        began = time.time()
        if order["rate"]:
            _drive_at(boxes, selector, order["rate"], began, order["at_once"])
        else:
            _drive(boxes, selector)
        sent_at = {str(box.address): box.sent_at for box in boxes} if order["rate"] else {}
        _say({"began": began, "seconds": time.time() - began, "sent_at": sent_at})


def _connect(entry: dict[str, Any], number: int, port: int, context: ssl.SSLContext) -> Box:
    while True:
        try:
            return _connect_once(entry, number, port, context)
        except TimeoutError:
            # Mosquitto waits for the socket when a CONNECT came in one piece with the end of the handshake and lies
            # decrypted already: one in some thousand connections. Boxes knock again as well.
            continue


def _connect_once(entry: dict[str, Any], number: int, port: int, context: ssl.SSLContext) -> Box:
    address = Address.parse(entry["username"])
    plain = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = context.wrap_socket(plain, server_hostname="127.0.0.1")
    client_id = f"box-{address.site}-{address.device}".encode()
    username, password = entry["username"].encode(), entry["password"].encode()
    body = b"\x00\x04MQTT\x04\xc2\x00\x00" + _text(client_id) + _text(username) + _text(password)
    connection.sendall(b"\x10" + _length(len(body)) + body)
    _expect(connection, b"\x20\x02\x00\x00")
    body = b"\x00\x01" + _text(address.down("receipt").encode()) + b"\x01"
    connection.sendall(b"\x82" + _length(len(body)) + body)
    _expect(connection, b"\x90\x03\x00\x01\x01")
    connection.setblocking(False)
    return Box(address, entry["epoch"], number, connection)


def _drive(boxes: list[Box], selector: selectors.BaseSelector) -> None:
    """Send everything, as fast as receipts allow."""
    ready = deque(boxes)
    for box in boxes:
        box.is_waiting = False
    unfinished = sum(bool(box.frames) for box in boxes)
    while unfinished or ready:
        for _ in range(min(len(ready), 32)):
            box = ready.popleft()
            had = bool(box.frames)
            if box.send(BURST) and not box.has_to_send():
                box.is_waiting = True
            else:
                ready.append(box)
            unfinished -= had and not box.frames
        for key, _ in selector.select(0 if ready else 0.05):
            box = key.data
            _receive(box)
            if box.is_waiting and box.has_to_send():
                box.is_waiting = False
                ready.append(box)
    _await_receipts(boxes, selector)


def _drive_at(
    boxes: list[Box], selector: selectors.BaseSelector, rate: float, began: float, at_once: int
) -> None:
    """Send everything at so many packets a second over all boxes, each box so many at once."""
    paced = 0
    left = sum(len(box.frames) for box in boxes)
    heard_at = began
    while left:
        now = time.time()
        due = int((now - began) * rate)
        while paced + at_once <= due and left:
            box = boxes[paced // at_once % len(boxes)]
            paced += at_once
            count = min(at_once, len(box.frames))
            if count:
                left -= count
                box.sent_at += [time.time()] * count
                box.send(count)
        if now - heard_at > _HEAR_EVERY_S:
            heard_at = now
            for key, _ in selector.select(0):
                _receive(key.data)
        time.sleep(max(began + (paced + at_once) / rate - time.time(), 0))
    _await_receipts(boxes, selector)


def _await_receipts(boxes: list[Box], selector: selectors.BaseSelector) -> None:
    waiting = {box.number: box for box in boxes}
    while waiting:
        for key, _ in selector.select(0.05):
            _receive(key.data)
        for box in list(waiting.values()):
            if box.outgoing:
                box.send(0)
            if not box.outgoing and not box.in_flight():
                del waiting[box.number]


def _receive(box: Box) -> None:
    while True:
        try:
            data = box.connection.recv(65_536)
        except ssl.SSLWantReadError:
            return
        if not data:
            raise ConnectionError(f"the broker closed the connection of {box.address}")
        box.incoming += data
        _take_frames(box)


def _take_frames(box: Box) -> None:
    buffer = box.incoming
    at = 0
    while at + 2 <= len(buffer):
        size, place, shift = 0, at + 1, 0
        while place < len(buffer):
            size |= (buffer[place] & 127) << shift
            shift += 7
            place += 1
            if buffer[place - 1] < 128:
                break
        else:
            break
        if place + size > len(buffer):
            break
        if buffer[at] & 0xF0 == 0x30:
            _receipt_came(box, bytes(buffer[place : place + size]))
        at = place + size
    del buffer[:at]


def _receipt_came(box: Box, body: bytes) -> None:
    after_topic = 2 + int.from_bytes(body[:2], "big")
    receipt = decode_receipt(body[after_topic + 2 :], box.address)
    if int(receipt.epoch, 16) == box.epoch:
        box.receipted = max(box.receipted, receipt.upto)
    box.outgoing += b"\x40\x02" + body[after_topic : after_topic + 2]


def _publish(address: Address, message_id: int, payload: bytes) -> bytes:
    body = _text(address.up("readings").encode()) + message_id.to_bytes(2, "big") + payload
    return b"\x32" + _length(len(body)) + body


def _text(text: bytes) -> bytes:
    return len(text).to_bytes(2, "big") + text


def _length(size: int) -> bytes:
    encoded = bytearray()
    while True:
        size, digit = size >> 7, size & 127
        encoded.append(digit | 128 if size else digit)
        if not size:
            return bytes(encoded)


def _expect(connection: ssl.SSLSocket, answer: bytes) -> None:
    got = b""
    while len(got) < len(answer):
        more = connection.recv(len(answer) - len(got))
        if not more:
            break
        got += more
    if got != answer:
        raise ConnectionError(f"expected {answer.hex()} from the broker, got {got.hex()}")


def _say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main()
