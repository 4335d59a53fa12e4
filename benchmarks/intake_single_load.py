"""Many plain devices in one process: frames encoded beforehand, MQTT 3.1.1 over TLS, no further ahead than told.

Driven by ``benchmarks.intake_single``: a file says what the devices are, every line of the input is an order in JSON. The frames
of a connection are the same from burst to burst, so that sending them is nearly all that the load does.
Source: MQTT 3.1.1 (OASIS, 2014), sections 2 and 3.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ingest_load import ANSWER_S

#: Messages that a connection sends at once.
BURST = 10
_READ = 65_536


@dataclass(slots=True)
class Device:
    """A connection, what it sends at once, and the rest of that which did not go out.

    TLS stands on memory: what the broker answers is taken from the socket unopened, for it is nothing but
    acknowledgements.
    """

    connection: socket.socket
    tls: ssl.SSLObject
    outgoing: ssl.MemoryBIO
    bursts: tuple[bytes, ...]
    turn: int = 0
    rest: bytes = b""

    def send(self) -> bool:
        """Send a burst, or the rest of the last one; whether a burst began."""
        begins = not self.rest
        if begins:
            self.tls.write(self.bursts[self.turn])
            self.rest = self.outgoing.read()
            self.turn = (self.turn + 1) % len(self.bursts)
            if not self.turn:
                self._throw_answers_away()
        try:
            self.rest = self.rest[self.connection.send(self.rest) :]
        except BlockingIOError:
            self._throw_answers_away()
            time.sleep(0.001)
        return begins

    def _throw_answers_away(self) -> None:
        try:
            if not self.connection.recv(_READ):
                raise ConnectionError("the broker closed a device's connection")
        except BlockingIOError:
            return


class Orders:
    """Lines of JSON from a pipe, without waiting longer than told."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._begun = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(pipe, selectors.EVENT_READ)

    def wait(self, seconds: float) -> list[dict[str, Any]]:
        """What came; at the end of the input, to stop."""
        if not self._selector.select(seconds):
            return []
        came = os.read(self._pipe, _READ)
        if not came:
            return [{"stop": True}]
        *lines, self._begun = (self._begun + came).split(b"\n")
        return [json.loads(line) for line in lines]


def main() -> None:
    """Take orders until the input ends: {"messages"}, then {"ahead_to"} as they are committed, {"stop"}."""
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    context = ssl.create_default_context(cafile=spec["ca_file"])
    devices = [_connect(entry, spec["port"], context) for entry in spec["devices"]]
    _say({"ready": len(devices)})
    orders = Orders(sys.stdin.fileno())
    allowed = sent = at = 0
    while True:
        for order in orders.wait(0.002 if sent >= allowed else 0.0):
            if "stop" in order:
                return
            allowed, sent = order["ahead_to"], 0 if order.get("from") == 0 else sent
        for _ in range(50):
            if sent >= allowed:
                break
            sent += BURST * devices[at].send()
            at = (at + 1) % len(devices)


def _connect(entry: dict[str, Any], port: int, context: ssl.SSLContext) -> Device:
    while True:
        try:
            return _connect_once(entry, port, context)
        except TimeoutError:
            continue  # see benchmarks.ingest_load


def _connect_once(entry: dict[str, Any], port: int, context: ssl.SSLContext) -> Device:
    plain = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    username, password = entry["username"].encode(), entry["password"].encode()
    body = b"\x00\x04MQTT\x04\xc2\x00\x00" + _text(username) + _text(username) + _text(password)

    def through(step: Callable[[], Any]) -> Any:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                plain.sendall(outgoing.read())
                incoming.write(plain.recv(_READ))

    through(tls.do_handshake)
    tls.write(b"\x10" + _length(len(body)) + body)
    answer = through(lambda: tls.read(4))
    if answer != b"\x20\x02\x00\x00":
        raise ConnectionError(f"expected an accepted connection, got {answer.hex()}")
    plain.setblocking(False)
    topic = entry["topic"].encode()
    bursts = tuple(
        b"".join(_publish(topic, number + 1, payload.encode()) for number, payload in enumerate(payloads))
        for payloads in entry["bursts"]
    )
    return Device(plain, tls, outgoing, bursts)


def _publish(topic: bytes, message_id: int, payload: bytes) -> bytes:
    body = _text(topic) + message_id.to_bytes(2, "big") + payload
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


def _say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main()
