"""Valid messages of every kind, from boxes that number their packets, and what a hostile one could know of others."""

from __future__ import annotations

import random
import time
import uuid
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from common.wire import ids
from common.wire.codec import encode_packet, encode_receipt, encode_status
from common.wire.messages import Abandoned, Events, Evidence, Observation, Readings, Receipt, Series, Status
from common.wire.topics import Address

SITE: Final = "fuzz"
#: Where foreign devices speak: one topic a way of reading them, each message one value.
FOREIGN: Final = {
    "number": "sensors/number/{device}",
    "json": "sensors/json/{device}",
    "counted": "sensors/counted/{device}",
    "uplink": "application/fuzz/device/{device}/event/up",
}
_FOREIGN_DEVICES: Final = 20
#: Packets in a box's epoch before it begins another.
_LIFE: Final = 5000
_METRICS: Final = ("smoke_density", "temperature", "water_level", "water_depth", "cover_tilt", "battery")
#: What a box measures, it measures in every packet.
_SHAPES: Final = tuple(
    tuple((f"s-{n % 4}", _METRICS[(n + m) % 6]) for m in range(1 + n % 3)) for n in range(12)
)
_CATEGORIES: Final = ("camera.zone_crowded", "camera.wrong_way", "smoke.alarm", "flood.water_level")
_KINDS: Final = ("readings", "events", "abandoned", "status", "receipt", *FOREIGN)
_WEIGHTS: Final = (60, 13, 5, 8, 2, 3, 3, 3, 3)
#: Of the numbers whose packets were spoilt so many stay holes, and of one box so many at a time: then the oldest is filled.
#: Holes are remembered; a sender that leaves ever more of them is quarantined, and nothing else would be seen of it.
_LEFT: Final = 0.03
_HOLES: Final = 30


@dataclass(slots=True)
class Message:
    """A topic and a payload, and what was done to them."""

    topic: str
    payload: bytes
    done: str = "nothing"


class Box:
    """One sender: its address and where its numbers stand; ``life`` is how many packets it numbers in an epoch."""

    def __init__(self, name: str, chance: random.Random, life: int = _LIFE) -> None:
        self.address = Address(SITE, name)
        self._chance = chance
        self._life = life
        self._left: deque[tuple[int, int]] = deque()
        self._given = (0, 0)
        self.epoch = 1
        self.seq = life

    def number(self) -> tuple[int, int]:
        """A packet's epoch and number: the next one, or the oldest hole where there are too many."""
        if len(self._left) > _HOLES:
            self._given = self._left.popleft()
            return self._given
        if self.seq >= self._life:
            self.epoch, self.seq = ids.new_epoch(self._chance.getrandbits), 0
        self.seq += 1
        self._given = self.epoch, self.seq
        return self._given

    def spoilt(self) -> None:
        """What carried the last number was spoilt, and is sent again under it; now and then much later."""
        if self._given != (self.epoch, self.seq):
            self._left.appendleft(self._given)
        elif self._chance.random() < _LEFT:
            self._left.append(self._given)
        else:
            self.seq = max(self.seq - 1, 0)


def mapping() -> dict[str, Any]:
    """The mapping file of the foreign devices."""
    value = {"metric": "temperature", "sensor": "s"}
    return {
        "mapping": SITE,
        "site": "meadow",
        "devices": [{"name": f"f-{n:02d}", "lon": 119.3, "lat": 26.1} for n in range(_FOREIGN_DEVICES)],
        "topics": [
            {"topic": FOREIGN["number"], "payload": "number", "value": {**value, "sensor": "number"}},
            {
                "topic": FOREIGN["json"],
                "payload": "json",
                "values": [{**value, "sensor": "json", "path": "t.now"}],
            },
            {
                "topic": FOREIGN["counted"],
                "payload": "json",
                "time": {"path": "at", "format": "epoch_ms"},
                "counter": {"path": "n", "bits": 16},
                "values": [{**value, "sensor": "counted", "path": "values.0"}],
            },
            {
                "topic": FOREIGN["uplink"],
                "payload": "chirpstack",
                "values": [{**value, "sensor": "uplink", "path": "t"}],
            },
        ],
    }


class Corpus:
    """Makes valid messages.

    Args:
        chance: what is drawn from.
        boxes: how many senders.
    """

    def __init__(self, chance: random.Random, boxes: int) -> None:
        self.boxes = [Box(f"box-{number:04d}", chance) for number in range(boxes)]
        # One that forgets its epoch with every packet, and so is quarantined again and again.
        self.boxes[0] = Box("box-0000", chance, 1)
        self._chance = chance
        self._now_ms = time.time_ns() // 1_000_000
        self._counters = [0] * _FOREIGN_DEVICES

    def message(self) -> tuple[Message, Box | None]:
        """One message, and the box that numbered it, if one did."""
        chance = self._chance
        box = chance.choice(self.boxes)
        (kind,) = chance.choices(_KINDS, _WEIGHTS)
        address = box.address
        self._now_ms += chance.randrange(20)
        at = self._now_ms
        if kind in FOREIGN:
            return self._foreign(kind, at), None
        if kind == "status":
            return Message(address.up("status"), encode_status(address, at, self._status(at))), None
        if kind == "receipt":  # what only gateways say
            receipt = Receipt("a1", 7, 9, [(8, 8)], "store", at)
            return Message(address.up("config"), encode_receipt(address, at, receipt)), None
        epoch, seq = box.number()
        data = self._data(kind, box, at)
        topic = address.up("readings" if kind == "readings" else "events")
        return Message(topic, encode_packet(address, epoch, seq, at, data)), box

    def _foreign(self, kind: str, at: int) -> Message:
        number = self._chance.randrange(_FOREIGN_DEVICES)
        self._counters[number] += 1
        device, counter = f"f-{number:02d}", self._counters[number]
        value = round(self._chance.uniform(-10, 40), 2)
        said: Any = value
        if kind == "json":
            said = {"t": {"now": value, "max": 41.5}, "name": "温度计"}
        elif kind == "counted":
            said = {"n": counter % 65536, "at": at, "values": [value, 1]}
        elif kind == "uplink":
            info = {"devEui": device, "applicationName": "fuzz"}
            said = {
                "deviceInfo": info,
                "devAddr": "01ab",
                "fCnt": counter,
                "fPort": 2,
                "object": {"t": value},
            }
        return Message(FOREIGN[kind].format(device=device), msgspec.json.encode(said))

    def _data(self, kind: str, box: Box, at: int) -> Readings | Events | Abandoned:
        chance = self._chance
        if kind == "readings":
            return Readings([self._series(at, *names) for names in chance.choice(_SHAPES)])
        if kind == "abandoned":
            first = chance.randrange(1, 50)
            return Abandoned(f"{box.epoch:x}", [(first, first + chance.randrange(3))], "the disk was full")
        return Events([self._observation(at) for _ in range(chance.choice((1, 1, 3)))])

    def plain(self) -> Message:
        """A packet of readings, as small as they come."""
        box = self._chance.choice(self.boxes)
        self._now_ms += 1
        data = Readings([Series("s-1", "temperature", [self._now_ms], [20.5])])
        return Message(
            box.address.up("readings"), encode_packet(box.address, *box.number(), self._now_ms, data), "first"
        )

    def _series(self, at: int, sensor: str, metric: str) -> Series:
        chance = self._chance
        count = chance.choice((1, 1, 2, 5, 50))
        values = [round(chance.uniform(-1, 40), 3) for _ in range(count)]
        return Series(sensor, metric, [at - i for i in range(count)], values)

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
