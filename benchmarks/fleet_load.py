"""Thousands of simulated boxes in one process: a loop over their sockets, driven through standard input.

The first line says who the boxes are; every further line is an order: ``{"do": "connect"}``, ``{"do": "hush"}`` (number
nothing more), ``{"do": "stay away"}``. What the loop says of itself every second is one JSON object a line.
"""

from __future__ import annotations

import heapq
import json
import os
import queue
import random
import resource
import selectors
import socket
import ssl
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from benchmarks.fleet_box import CONNECT_S, Box, LostError
from common.wire.topics import Address
from edge.sensors.port import Sensor
from edge.sensors.simulated import SimulatedSensor
from edge.sensors.storm import Storm, course

_EXPOSURES: Final = (0.3, 0.5, 0.8, 1.0)
#: Real boxes shake hands on processors of their own. These share one, and all of them at once would keep each other
#: waiting beyond a box's patience; so others wait for their turn, which counts as their time too.
_SHAKING_AT_ONCE: Final = 100
_UNDER_WAY: Final = ("calling", "shaking hands")
_TURN_S: Final = 0.02
_LOOK_AFTER_S: Final = 2.0
_TELL_S: Final = 1.0
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Fleet:
    """The loop.

    Args:
        spec: ``port``, ``ca_file``, ``boxes`` (``username``, ``password``), ``seed``, and the fields of ``fleet_rig.Habits``.
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        self._port = spec["port"]
        self._every_s = spec["every_s"]
        self._context = ssl.create_default_context(cafile=spec["ca_file"])
        self._selector = selectors.DefaultSelector()
        self._chance = random.Random(spec["seed"])
        began_at = time.time_ns() // 1_000_000
        storms = [Storm(spec["seed"] + n, began_at, spec["time_scale"]) for n in range(2)]
        for seed in range(
            spec["seed"], spec["seed"] + 5
        ):  # each takes a while, and the loop must not stand still
            for exposure in _EXPOSURES:
                course(seed, exposure)
        self._boxes = [self._box(entry, storms, spec) for entry in spec["boxes"]]
        self._measures: list[tuple[float, int]] = []
        self._connects: list[tuple[float, int]] = []
        self._hushed = False
        self._shaking = 0
        self._connecting = False
        self._orders: queue.SimpleQueue[str] = queue.SimpleQueue()
        now = time.monotonic()
        for number in range(len(self._boxes)):
            heapq.heappush(self._measures, (now + self._chance.uniform(0, self._every_s), number))

    def run(self) -> None:
        """Until standard input ends."""
        threading.Thread(target=self._listen, daemon=True).start()
        look_after_at = tell_at = 0.0
        while True:
            for key, happened in self._selector.select(_TURN_S):
                self._serve(key.data, happened)
            if not self._obey():
                return
            now = time.monotonic()
            self._measure(now)
            if self._connecting:
                self._connect_due(now)
            if now >= look_after_at:
                look_after_at = now + _LOOK_AFTER_S
                self._look_after(now)
            if now >= tell_at:
                tell_at = now + _TELL_S
                self._tell()

    def _box(self, entry: dict[str, str], storms: list[Storm], spec: dict[str, Any]) -> Box:
        storm, exposure = self._chance.choice(storms), self._chance.choice(_EXPOSURES)
        sensors: list[Sensor] = [
            SimulatedSensor(f"{kind}-1", kind, storm, exposure) for kind in spec["kinds"]
        ]
        return Box(
            Address.parse(entry["username"]),
            entry["password"],
            sensors,
            reads=spec["reads"],
            apart_s=self._every_s / spec["reads"],
            status_every_s=spec["status_every_s"],
        )

    def _listen(self) -> None:
        for line in sys.stdin:
            self._orders.put(json.loads(line)["do"])
        self._orders.put("end")

    def _obey(self) -> bool:
        """Do what was ordered; False when that is to end."""
        if self._orders.empty():
            return True
        order = self._orders.get()
        now = time.monotonic()
        if order == "connect":
            # All of them at once, each within its first second of waiting, as after an outage of everything.
            self._connecting = True
            self._connects = [
                (now + self._chance.uniform(0, 1), n)
                for n, box in enumerate(self._boxes)
                if box.state == "away"
            ]
            heapq.heapify(self._connects)
        elif order == "stay away":
            self._connecting = False
        elif order == "hush":
            self._hushed = True
        return order != "end"

    def _measure(self, now: float) -> None:
        while self._measures and self._measures[0][0] <= now:
            due, number = heapq.heappop(self._measures)
            if self._hushed:
                continue
            heapq.heappush(self._measures, (due + self._every_s, number))
            box = self._boxes[number]
            box.measure()
            self._work(number, now)

    def _connect_due(self, now: float) -> None:
        while self._connects and self._connects[0][0] <= now and self._shaking < _SHAKING_AT_ONCE:
            _, number = heapq.heappop(self._connects)
            self._shaking += 1
            box = self._boxes[number]
            plain = socket.socket()
            plain.setblocking(False)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # One source has ports for 28,000 connections; some of them rest after the last ones.
            plain.bind((f"127.0.0.{2 + number % 4}", 0))
            with suppress(BlockingIOError):
                plain.connect(("127.0.0.1", self._port))
            box.connection, box.state, box.since = plain, "calling", now
            self._selector.register(plain, selectors.EVENT_WRITE, number)

    def _serve(self, number: int, happened: int) -> None:
        box = self._boxes[number]
        now = time.monotonic()
        try:
            if box.state == "calling":
                self._called(number)
            if box.state == "shaking hands":
                self._shake_hands(number)
            elif happened & selectors.EVENT_READ:
                self._receive(box, now)
                box.work(now)
            self._flush(number)
        except (OSError, LostError):
            self._lose(number, now)

    def _called(self, number: int) -> None:
        box = self._boxes[number]
        assert box.connection is not None
        if error := box.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, os.strerror(error))
        self._selector.unregister(box.connection)
        box.connection = self._context.wrap_socket(
            box.connection, server_hostname="127.0.0.1", do_handshake_on_connect=False
        )
        self._selector.register(box.connection, selectors.EVENT_READ, number)
        box.state = "shaking hands"

    def _shake_hands(self, number: int) -> None:
        box = self._boxes[number]
        assert isinstance(box.connection, ssl.SSLSocket)
        try:
            box.connection.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLWantWriteError:
            self._selector.modify(box.connection, selectors.EVENT_READ | selectors.EVENT_WRITE, number)
            return
        self._shaking -= 1
        box.greet()

    @staticmethod
    def _receive(box: Box, now: float) -> None:
        assert box.connection is not None
        while True:
            try:
                data = box.connection.recv(65_536)
            except ssl.SSLWantReadError:
                return
            if not data:
                raise LostError
            box.take(data, now)

    def _work(self, number: int, now: float) -> None:
        box = self._boxes[number]
        if box.state != "online":
            return
        box.work(now)
        try:
            self._flush(number)
        except OSError:
            self._lose(number, now)

    def _flush(self, number: int) -> None:
        box = self._boxes[number]
        if box.connection is None or box.state in _UNDER_WAY:
            return
        wanted = selectors.EVENT_READ
        while box.outgoing:
            try:
                del box.outgoing[: box.connection.send(box.outgoing)]
            except ssl.SSLWantWriteError:
                wanted |= selectors.EVENT_WRITE
                break
        if self._selector.get_key(box.connection).events != wanted:
            self._selector.modify(box.connection, wanted, number)

    def _lose(self, number: int, now: float) -> None:
        box = self._boxes[number]
        self._shaking -= box.state in _UNDER_WAY
        if box.connection is not None:
            self._selector.unregister(box.connection)
            box.connection.close()
        heapq.heappush(self._connects, (now + box.lost(now), number))

    def _look_after(self, now: float) -> None:
        for number, box in enumerate(self._boxes):
            if box.state == "online":
                if box.look_after(now):
                    self._work(number, now)
            elif box.state != "away" and now - box.since > CONNECT_S:
                self._lose(number, now)

    def _tell(self) -> None:
        boxes = self._boxes
        online = [box for box in boxes if box.state == "online"]
        print(
            json.dumps(
                {
                    "online": len(online),
                    "current": sum(1 for box in online if box.current_at),
                    "numbered": sum(box.numbered for box in boxes),
                    "unreceipted": sum(box.numbered - box.upto for box in boxes),
                    "connected_at": sorted(round(box.connected_at, 2) for box in online),
                    "current_at": sorted(round(box.current_at, 2) for box in online),
                    "rss_kb": int(Path("/proc/self/statm").read_text("ascii").split()[1]) * _PAGE // 1024,
                }
            ),
            flush=True,
        )


def main() -> None:
    """Read who the boxes are, and run them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    Fleet(json.loads(sys.stdin.readline())).run()


if __name__ == "__main__":
    main()
