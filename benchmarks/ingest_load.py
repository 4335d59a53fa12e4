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
from collections.abc import Iterator
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
_BURST = 8


def make_packet(address: Address, epoch: int, seq: int, start_ms: int) -> bytes:
    """Packet ``seq`` of a box: five seconds of ten sensors, a second apart."""
    at = [start_ms + 1000 * ((seq - 1) * READINGS_EACH + i) for i in range(READINGS_EACH)]
    alarming = seq % ALARM_EVERY == 0 and (seq // ALARM_EVERY) % len(SENSORS)
    series = [
        Series(
            sensor,
            metric,
            at,
            [
                loud if number == alarming else quiet * (1 + 0.01 * ((seq + i) % 7))
                for i in range(READINGS_EACH)
            ],
        )
        for number, (sensor, metric, quiet, loud) in enumerate(SENSORS)
    ]
    return encode_packet(address, epoch, seq, at[-1], Readings(series))


@dataclass
class Box:
    """One connection and what is still to be sent over it."""

    address: Address
    password: str
    epoch: int
    connection: ssl.SSLSocket
    frames: Iterator[bytes]
    remaining: int
    sent: int = 0
    first_seq: int = 1
    receipted: int = 0
    outgoing: bytes = b""
    incoming: bytearray = field(default_factory=bytearray)
    sent_at: list[float] = field(default_factory=list)

    def in_flight(self) -> int:
        """Packets sent of which no receipt came."""
        return self.first_seq - 1 + self.sent - self.receipted


def main() -> None:
    """Take orders until the input ends: {"start_ms", "first_seq", "count", "rate"}."""
    spec = json.loads(sys.stdin.readline())
    context = ssl.create_default_context(cafile=spec["ca_file"])
    for line in sys.stdin:
        order = json.loads(line)
        boxes = [_connect(entry, spec["port"], context, order) for entry in spec["boxes"]]
        _say({"ready": len(boxes)})
        sys.stdin.readline()  # go
        began = time.time()
        _drive(boxes, order["rate"], began)
        sent_at = {str(box.address): box.sent_at for box in boxes} if order["rate"] else {}
        _say({"began": began, "seconds": time.time() - began, "sent_at": sent_at})
        for box in boxes:
            box.connection.close()


def _connect(entry: dict[str, Any], port: int, context: ssl.SSLContext, order: dict[str, Any]) -> Box:
    address = Address.parse(entry["username"])
    plain = socket.create_connection(("127.0.0.1", port))
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
    first, count = order["first_seq"], order["count"]
    made = [
        make_packet(address, entry["epoch"], seq, order["start_ms"]) for seq in range(first, first + count)
    ]
    frames = [_publish(address, number % 65_000 + 1, payload) for number, payload in enumerate(made)]
    return Box(
        address,
        entry["password"],
        entry["epoch"],
        connection,
        iter(frames),
        count,
        first_seq=first,
        receipted=first - 1,
    )


def _drive(boxes: list[Box], rate: float, began: float) -> None:
    """Send everything, as fast as receipts allow or at ``rate`` packets a second over all boxes."""
    selector = selectors.DefaultSelector()
    for box in boxes:
        selector.register(box.connection, selectors.EVENT_READ, box)
    paced = 0
    while any(box.remaining or box.outgoing or box.in_flight() for box in boxes):
        if rate:
            due = int((time.time() - began) * rate)
            while paced < due:
                box = boxes[paced % len(boxes)]
                paced += 1
                if box.remaining:
                    _queue(box, 1)
                    box.sent_at.append(time.time())
                    _flush(box)
        busy = False
        for box in boxes:
            if not rate and not box.outgoing and box.remaining and box.in_flight() < _WINDOW:
                _queue(box, _BURST)
            if box.outgoing:
                busy = _flush(box) or busy
        for key, _ in selector.select(0 if busy else 0.001):
            _receive(key.data)
    selector.close()


def _queue(box: Box, most: int) -> None:
    for _ in range(min(most, box.remaining)):
        box.outgoing += next(box.frames)
        box.sent += 1
        box.remaining -= 1


def _flush(box: Box) -> bool:
    try:
        written = box.connection.send(box.outgoing)
    except ssl.SSLWantWriteError:
        return False
    box.outgoing = box.outgoing[written:]
    return True


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
