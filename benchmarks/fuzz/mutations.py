"""How a message is spoilt: its bytes, its JSON, its numbers and texts, its topic. Seeded; no I/O."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import msgspec

from benchmarks.fuzz.corpus import SITE, Message

_decode: Final = msgspec.json.decode
_encode: Final = msgspec.json.encode
#: Marks where raw JSON goes that no encoder would write.
_HERE: Final = "@@here@@"
#: As Python values …
_VALUES: Final[tuple[Any, ...]] = (
    *(0, -1, 1, 2**31 - 1, 2**31, 2**47 - 1, 2**47, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1),
    *(0.1, -0.0, 1e-320, 1.7976931348623157e308, -1.7976931348623157e308, 1e15, None, True, False),
    *("", " ", "0", "-1", "null", "\0", "a\0b", "\n", "a\n", "\u202e\u2066", "ｆｕｌｌ", "é" * 30, "😀" * 30),
    *(
        "x" * 49,
        "x" * 501,
        "y" * 5000,
        "../../etc",
        "' OR 1=1 --",
        "%s%n",
        "{}",
        "$1",
        "\\",
        '"',
        "\x7f",
        "\ufeff",
    ),
    *([], {}, [[]], [{}], [None], {"": ""}, [0] * 40, {"a": {"b": {"c": []}}}),
    *("2026-02-30T00:00:00Z", "0000-00-00T00:00:00Z", "9999-12-31T23:59:59+23:59", "1e9", "2026-11-22 06:00"),
    *(
        "a1b2-1",
        "0-1",
        "a1-0",
        "A1-1",
        "a1--1",
        "a1-1 ",
        "3fffffffffffffff-4611686018427387903",
        "1-99999999999999999999",
    ),
)
#: … and as JSON that is no value of Python's, or is not JSON.
_RAW: Final = (
    *(
        b"1e400",
        b"-1e400",
        b"NaN",
        b"Infinity",
        b"123456789012345678901234567890",
        b"0x10",
        b"01",
        b"1.",
        b".5",
        b"+1",
    ),
    *(
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'"\\u0000"',
        b"'a'",
        b'"\xff\xfe"',
        b'"\xc0\x80"',
        b'"\xed\xa0\x80"',
        b'"\n"',
    ),
    *(b"", b",", b"]", b"}", b"/*x*/0", b'{"a":1,"a":2}', b"[1,]", b"tru", b'"unfinished', b"\xef\xbb\xbf0"),
)
#: Names and epochs that are made up come from so many, so that what the gateway learns of them ends sometime.
_POOL: Final = 200
_EPOCHS: Final = 20


class Mutator:
    """Spoils messages.

    Args:
        chance: what is drawn from.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._other = b"{}"
        self._bytes: tuple[Callable[[bytes], bytes], ...] = (
            *(self._flip, self._flip, self._truncate, self._insert, self._delete, self._repeat),
            *(self._splice, self._splice, self._noise),
        )
        self._structures: tuple[Callable[[Any], bytes], ...] = (
            *(self._replace,) * 8,
            *(self._replace_raw,) * 3,
            *(self._drop_key, self._add_key, self._rename_key, self._double_key, self._shuffle_id),
        )

    def spoil(self, message: Message) -> Message:
        """The message with something wrong, more often than not; ``done`` says what."""
        chance = self._chance.random()
        if chance < 0.40:
            return self._on_bytes(message)
        if chance < 0.88:
            return self._on_structure(message)
        if chance < 0.96:
            return Message(self._topic(message.topic), message.payload, "topic")
        if chance < 0.995:
            both = self._on_structure(message)
            return Message(self._topic(message.topic), both.payload, "topic and json")
        return self._huge(message)

    def _on_bytes(self, message: Message) -> Message:
        change = self._chance.choice(self._bytes)
        payload = change(message.payload)
        self._other = message.payload
        return Message(message.topic, payload, change.__name__.strip("_"))

    def _on_structure(self, message: Message) -> Message:
        if not message.payload.startswith(b"{"):  # a bare number
            given = self._chance.choice(_VALUES)
            payload = given.encode() if isinstance(given, str) else _encode(given)
            return Message(message.topic, self._chance.choice((payload, *_RAW)), "replace")
        change = self._chance.choice(self._structures)
        return Message(message.topic, change(_decode(message.payload)), change.__name__.strip("_"))

    # Bytes.

    def _flip(self, payload: bytes) -> bytes:
        changed = bytearray(payload)
        for _ in range(self._chance.choice((1, 1, 2, 8))):
            changed[self._chance.randrange(len(changed))] ^= 1 << self._chance.randrange(8)
        return bytes(changed)

    def _truncate(self, payload: bytes) -> bytes:
        return payload[: self._chance.randrange(len(payload))]

    def _insert(self, payload: bytes) -> bytes:
        at = self._chance.randrange(len(payload) + 1)
        return payload[:at] + self._chance.choice(_RAW) + payload[at:]

    def _delete(self, payload: bytes) -> bytes:
        first, last = self._slice(payload)
        return payload[:first] + payload[last:]

    def _repeat(self, payload: bytes) -> bytes:
        first, last = self._slice(payload)
        return payload[:last] + payload[first:last] * self._chance.choice((1, 1, 3, 100)) + payload[last:]

    def _splice(self, payload: bytes) -> bytes:
        cut = self._chance.random()
        return payload[: int(len(payload) * cut)] + self._other[int(len(self._other) * cut) :]

    def _noise(self, _payload: bytes) -> bytes:
        return self._chance.randbytes(self._chance.choice((0, 1, 7, 64, 700)))

    def _slice(self, payload: bytes) -> tuple[int, int]:
        first = self._chance.randrange(len(payload))
        return first, min(first + self._chance.choice((1, 2, 8, 40)), len(payload))

    # JSON.

    def _replace(self, root: dict[str, Any]) -> bytes:
        holder, key = self._place(root)
        holder[key] = self._chance.choice(_VALUES)
        return _encode(root)

    def _replace_raw(self, root: dict[str, Any]) -> bytes:
        holder, key = self._place(root)
        holder[key] = _HERE
        return _encode(root).replace(b'"%b"' % _HERE.encode(), self._chance.choice(_RAW))

    def _drop_key(self, root: dict[str, Any]) -> bytes:
        holder, key = self._place(root)
        del holder[key]
        return _encode(root)

    def _add_key(self, root: dict[str, Any]) -> bytes:
        holder, _ = self._place(root)
        if isinstance(holder, dict):
            holder[self._chance.choice(("extra", "", "value", "at", "__class__", "数"))] = (
                self._chance.choice(_VALUES)
            )
        else:
            holder.append(self._chance.choice(_VALUES))
        return _encode(root)

    def _rename_key(self, root: dict[str, Any]) -> bytes:
        """Names that are well formed and unknown: another sensor, metric, category."""
        holder, key = self._place(root)
        new = f"n{self._chance.randrange(_POOL)}"
        if isinstance(holder, dict) and isinstance(holder[key], str):
            holder[key] = f"camera.{new}" if key == "category" else new
        elif isinstance(holder, dict):
            holder[new] = holder.pop(key)
        return _encode(root)

    def _double_key(self, root: dict[str, Any]) -> bytes:
        holder, key = self._place(root)
        if isinstance(holder, dict):
            holder[_HERE] = 0
            twice = _encode(str(key)) + b":" + _encode(self._chance.choice(_VALUES))
            return _encode(root).replace(b'"%b":0' % _HERE.encode(), twice)
        holder.insert(int(key), holder[key])
        return _encode(root)

    def _shuffle_id(self, root: dict[str, Any]) -> bytes:
        chance = self._chance
        epoch = 1000 + chance.randrange(_EPOCHS)
        root["id"] = f"{epoch:x}-{chance.choice((1, 2, chance.randrange(1, 200), 1 << chance.randrange(62)))}"
        return _encode(root)

    def _place(self, root: dict[str, Any]) -> tuple[Any, Any]:
        """Some member of some object or array in it, the deeper ones as likely as the outer."""
        holder: Any = root
        key: Any = self._chance.choice(list(root))
        while isinstance(holder[key], (dict, list)) and holder[key] and self._chance.random() < 0.8:
            holder = holder[key]
            key = (
                self._chance.choice(list(holder))
                if isinstance(holder, dict)
                else self._chance.randrange(len(holder))
            )
        return holder, key

    def _huge(self, message: Message) -> Message:
        """Deep nesting, long arrays, payloads around and beyond what a packet may have."""
        chance = self._chance
        root = _decode(message.payload)
        match chance.randrange(5) if isinstance(root, dict) else 3:
            case 0:
                depth = chance.choice((100, 1000, 20_000))
                root["data"] = _HERE
                nested = b"[" * depth + b"]" * depth
                return Message(
                    message.topic, _encode(root).replace(b'"%b"' % _HERE.encode(), nested), "deep nesting"
                )
            case 1:
                count = chance.choice((5000, 5001))
                series = {"sensor": "s-1", "metric": "temperature", "at": [1] * count, "value": [1.5] * count}
                root["data"] = {"series": [series]}
                return Message(message.topic, _encode(root), "long array")
            case 2:
                series = {"sensor": "s-1", "metric": "temperature", "at": [1], "value": [1.5]}
                root["data"] = {"series": [series] * chance.choice((1000, 1001))}
                return Message(message.topic, _encode(root), "many series")
            case 3:
                padding = b" " * chance.choice((1000, 100_000, 524_288, 600_000))
                return Message(
                    message.topic, message.payload[:-1] + padding + message.payload[-1:], "padding"
                )
            case _:
                root["data"] = {"reason": "z" * 300_000, "epoch": "1", "ranges": [[1, 2]]}
                return Message(message.topic, _encode(root), "long text")

    def _topic(self, topic: str) -> str:
        chance = self._chance
        parts = topic.split("/")
        place = parts.index("up") - 1 if "up" in parts[:-1] else 2  # where the device's name stands
        match chance.randrange(8):
            case 0:
                parts[place] = f"{parts[place].partition('-')[0]}-{chance.randrange(20):04d}"  # another's
            case 1:
                parts[place] = f"nobody-{chance.randrange(_POOL)}"
            case 2:
                parts[place - 1] = f"site-{chance.randrange(20)}"
            case 3:
                parts[-1] = chance.choice(
                    ("readings", "events", "status", "config", "command", "", "receipts")
                )
            case 4:
                odd = ("", "UP", "é", "x" * 200, "a b", "\u0001", "..", "-a", "dt")
                parts[chance.randrange(len(parts))] = chance.choice(odd)
            case 5:
                parts.insert(chance.randrange(len(parts) + 1), chance.choice(("up", SITE, "x")))
            case 6:
                del parts[chance.randrange(len(parts))]
            case _:
                parts = [chance.choice(("$SYS/broker", "dt", "dt/v2/a/b/up/readings", "/", "x" * 3000))]
        return "/".join(parts)
