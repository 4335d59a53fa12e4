"""Valid messages of every kind, from boxes that number their packets, and what a hostile one could know of others."""

from __future__ import annotations

import random
import time
import uuid
from dataclasses import dataclass
from typing import Final

from common.wire import ids
from common.wire.codec import encode_packet, encode_receipt, encode_status
from common.wire.messages import Abandoned, Events, Evidence, Observation, Readings, Receipt, Series, Status
from common.wire.topics import Address

SITE: Final = "fuzz"
#: Packets in a box's epoch before it begins another.
_LIFE: Final = 400
_METRICS: Final = ("smoke_density", "temperature", "water_level", "water_depth", "cover_tilt", "battery")
_CATEGORIES: Final = ("camera.zone_crowded", "camera.wrong_way", "smoke.alarm", "flood.water_level")
_KINDS: Final = ("readings", "events", "abandoned", "status", "receipt")
_WEIGHTS: Final = (70, 14, 5, 9, 2)


@dataclass(slots=True)
class Message:
    """A topic and a payload, and what was done to them."""

    topic: str
    payload: bytes
    done: str = "nothing"


class Box:
    """One sender: its address and where its numbers stand."""

    def __init__(self, name: str, chance: random.Random) -> None:
        self.address = Address(SITE, name)
        self._chance = chance
        self.epoch = 1
        self.seq = _LIFE

    def number(self) -> tuple[int, int]:
        """The next packet's epoch and number."""
        if self.seq >= _LIFE:
            self.epoch, self.seq = ids.new_epoch(self._chance.getrandbits), 0
        self.seq += 1
        return self.epoch, self.seq

    def take_back(self) -> None:
        """The last number was not used after all: what carried it was spoilt, and is sent again."""
        self.seq = max(self.seq - 1, 0)


class Corpus:
    """Makes valid messages.

    Args:
        chance: what is drawn from.
        boxes: how many senders.
    """

    def __init__(self, chance: random.Random, boxes: int) -> None:
        self.boxes = [Box(f"box-{number:04d}", chance) for number in range(boxes)]
        self._chance = chance
        self._now_ms = time.time_ns() // 1_000_000

    def message(self) -> tuple[Message, Box]:
        """One message, and its sender."""
        chance = self._chance
        box = chance.choice(self.boxes)
        (kind,) = chance.choices(_KINDS, _WEIGHTS)
        address = box.address
        self._now_ms += chance.randrange(20)
        at = self._now_ms
        if kind == "status":
            return Message(address.up("status"), encode_status(address, at, self._status(at))), box
        if kind == "receipt":  # what only gateways say
            receipt = Receipt("a1", 7, 9, [(8, 8)], "store", at)
            return Message(address.up("config"), encode_receipt(address, at, receipt)), box
        epoch, seq = box.number()
        data = self._data(kind, box, at)
        topic = address.up("readings" if kind == "readings" else "events")
        return Message(topic, encode_packet(address, epoch, seq, at, data)), box

    def _data(self, kind: str, box: Box, at: int) -> Readings | Events | Abandoned:
        chance = self._chance
        if kind == "readings":
            return Readings([self._series(at) for _ in range(chance.choice((1, 1, 2, 3)))])
        if kind == "abandoned":
            first = chance.randrange(1, 50)
            return Abandoned(f"{box.epoch:x}", [(first, first + chance.randrange(3))], "the disk was full")
        return Events([self._observation(at) for _ in range(chance.choice((1, 1, 3)))])

    def _series(self, at: int) -> Series:
        chance = self._chance
        count = chance.choice((1, 1, 2, 5, 50))
        values = [round(chance.uniform(-1, 40), 3) for _ in range(count)]
        return Series(
            f"s-{chance.randrange(4)}", chance.choice(_METRICS), [at - i for i in range(count)], values
        )

    def _observation(self, at: int) -> Observation:
        chance = self._chance
        evidence = [Evidence(f"{chance.getrandbits(256):064x}", "image/jpeg", 9000, at, 640, 480)]
        return Observation(
            observation_id=str(uuid.UUID(int=chance.getrandbits(128))),
            phase=chance.choice(("start", "update", "end", "act")),
            revision=chance.randrange(5),
            category=chance.choice(_CATEGORIES),
            source="scene:cam-1:square",
            sensor="cam-1",
            started_at=at - 5000,
            at=at,
            severity=chance.randrange(1, 5),
            count=chance.randrange(20),
            evidence=evidence if chance.random() < 0.3 else [],
            detail={"why": "a test 测试", "share": 0.5},
        )

    def _status(self, at: int) -> Status:
        counters: dict[str, float | int | str] = {"frames": self._chance.randrange(10**6), "rss_mb": 81.5}
        return Status("online", at, "0.1.0", "a1b2", counters)
