"""A connection to the broker after its machine stood still: what came meanwhile counts before the silence does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.config import BrokerAddress
from gateway.mqtt.frames import Connack, Connect, Frame, Pingreq, Pingresp, encode
from gateway.mqtt.link import Link
from gateway.mqtt.parser import Parser

_PATIENCE_S = 60.0


@contextmanager
def linked(keep_alive: int) -> Iterator[tuple[Link, socket.socket]]:
    """An accepted connection, and the broker's end of it."""
    ends: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(_PATIENCE_S)

        def accept() -> None:
            ends.append(listener.accept()[0])
            ends[0].settimeout(_PATIENCE_S)
            ends[0].recv(4096)
            ends[0].sendall(encode(Connack(False, 0), 5))

        broker = threading.Thread(target=accept)
        broker.start()
        address = BrokerAddress("127.0.0.1", listener.getsockname()[1], False, "gateway", "secret", None)
        link = Link(address, Connect("gateway", keep_alive=keep_alive), 5)
        broker.join(_PATIENCE_S)
    try:
        yield link, ends[0]
    finally:
        link.close()
        ends[0].close()


def pinged(link: Link, broker: socket.socket) -> None:
    """Let the connection fall silent until it asks whether anybody is there."""
    parser, heard = Parser(5), list[Frame]()
    broker.setblocking(False)
    deadline = time.monotonic() + _PATIENCE_S
    while not heard:
        assert time.monotonic() < deadline, "no ping came"
        assert not link.wait(reading=True)
        try:
            heard += parser.feed(broker.recv(4096))
        except BlockingIOError:
            continue
    assert heard == [Pingreq()]


def test_an_answer_that_lay_there_while_the_machine_stood_still_keeps_the_connection() -> None:
    with linked(keep_alive=1) as (link, broker):
        pinged(link, broker)
        broker.sendall(encode(Pingresp(), 5))
        time.sleep(0.6)  # longer than an answer may take
        assert link.wait(reading=True)
        assert link.read() == [Pingresp()]


def test_a_ping_that_nobody_answers_ends_the_connection() -> None:
    with linked(keep_alive=1) as (link, broker):
        pinged(link, broker)
        with pytest.raises(TimeoutError, match="has not answered a ping"):
            link.wait(reading=True)
